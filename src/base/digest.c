#include "base/digest.h"

#include "base/mem.h"

#include <openssl/evp.h>

#if defined(HAVE_ISAL)
#include <isa-l/crc.h>
#endif
#define XXH_INLINE_ALL
#include <xxhash.h>

#if defined(HAVE_ISAL)

/* ISA-L takes and returns the register, Go the inverted register. Its length is an int. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    unsigned char *at = (unsigned char *)(uintptr_t)data;
    while (len > 0) {
        size_t part = len > (1u << 30) ? (1u << 30) : len;
        crc = ~crc32_iscsi(at, (int)part, ~crc);
        at += part;
        len -= part;
    }
    return crc;
}

#else

/* Bit-reflected polynomial 0x1EDC6F41; one nibble at a time keeps the table at 64 bytes. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    const uint8_t *at = data;
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= at[i];
        crc = (crc >> 4) ^ nibble[crc & 15];
        crc = (crc >> 4) ^ nibble[crc & 15];
    }
    return ~crc;
}

#endif

uint64_t fnv1a64(const void *data, size_t len)
{
    const uint8_t *at = data;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ at[i]) * 0x100000001b3u;
    }
    return hash;
}

uint64_t hash64(uint64_t seed, struct slice data)
{
    return XXH3_64bits_withSeed(data.data, data.len, seed);
}

static void digest(const EVP_MD *kind, struct slice data, uint8_t *out)
{
    ASSERT(EVP_Digest(data.data, data.len, out, NULL, kind, NULL) == 1);
}

void sha1(struct slice data, uint8_t out[SHA1_LEN])
{
    digest(EVP_sha1(), data, out);
}

void sha256(struct slice data, uint8_t out[SHA256_LEN])
{
    digest(EVP_sha256(), data, out);
}

struct sha256 {
    EVP_MD_CTX *ctx;
};

struct sha256 *sha256_new(void)
{
    struct sha256 *sha = NEW(struct sha256);
    sha->ctx = EVP_MD_CTX_new();
    ASSERT(sha->ctx != NULL);
    ASSERT(EVP_DigestInit_ex(sha->ctx, EVP_sha256(), NULL) == 1);
    return sha;
}

void sha256_update(struct sha256 *sha, const void *data, size_t len)
{
    ASSERT(EVP_DigestUpdate(sha->ctx, data, len) == 1);
}

void sha256_final(struct sha256 *sha, uint8_t out[SHA256_LEN])
{
    ASSERT(EVP_DigestFinal_ex(sha->ctx, out, NULL) == 1);
    ASSERT(EVP_DigestInit_ex(sha->ctx, EVP_sha256(), NULL) == 1);
}

void sha256_free(struct sha256 **sha)
{
    if (*sha != NULL) {
        EVP_MD_CTX_free((*sha)->ctx);
        mem_free(*sha);
        *sha = NULL;
    }
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct slice data, struct buf *out)
{
    size_t i = 0;
    for (; i + 3 <= data.len; i += 3) {
        uint32_t word =
            (uint32_t)data.data[i] << 16 | (uint32_t)data.data[i + 1] << 8 | data.data[i + 2];
        uint8_t *at = buf_extend(out, 4);
        at[0] = (uint8_t)base64_digits[word >> 18];
        at[1] = (uint8_t)base64_digits[(word >> 12) & 63];
        at[2] = (uint8_t)base64_digits[(word >> 6) & 63];
        at[3] = (uint8_t)base64_digits[word & 63];
    }
    size_t left = data.len - i;
    if (left > 0) {
        uint32_t word = (uint32_t)data.data[i] << 16;
        if (left == 2) {
            word |= (uint32_t)data.data[i + 1] << 8;
        }
        uint8_t *at = buf_extend(out, 4);
        at[0] = (uint8_t)base64_digits[word >> 18];
        at[1] = (uint8_t)base64_digits[(word >> 12) & 63];
        at[2] = left == 2 ? (uint8_t)base64_digits[(word >> 6) & 63] : '=';
        at[3] = '=';
    }
}

static int base64_value(uint8_t c)
{
    const char *at = c == 0 ? NULL : strchr(base64_digits, c);
    return at == NULL ? -1 : (int)(at - base64_digits);
}

FALLIBLE base64_decode(struct slice text, struct buf *out)
{
    if (text.len % 4 != 0) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < text.len; i += 4) {
        const uint8_t *in = text.data + i;
        bool last = i + 4 == text.len;
        size_t pad = last && in[3] == '=' ? (in[2] == '=' ? 2 : 1) : 0;
        uint32_t word = 0;
        for (size_t k = 0; k < 4; k++) {
            int value = k >= 4 - pad ? 0 : base64_value(in[k]);
            if (value < 0) {
                return ERR_INVALID;
            }
            word = word << 6 | (uint32_t)value;
        }
        uint8_t bytes[3] = {(uint8_t)(word >> 16), (uint8_t)(word >> 8), (uint8_t)word};
        buf_append(out, bytes, 3 - pad);
    }
    return ERR_OK;
}
