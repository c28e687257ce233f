/* Digests, checksums and the keyed hash. The door to OpenSSL's EVP digests, ISA-L and xxhash.
 *
 * Threads: pure functions; a `struct sha256` belongs to one thread. */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/bytes.h"

/* CRC-32C (Castagnoli) as Go's crc32.Update(crc, table, p): chains, start with 0. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/* FNV-1a, 64 bits, over `len` bytes: the checksum of a bolt meta page. */
uint64_t fnv1a64(const void *data, size_t len);

/* A fast keyed hash for in-memory maps; never on disk or wire. */
uint64_t hash64(uint64_t seed, struct slice data);

#define SHA1_LEN 20
#define SHA256_LEN 32
void sha1(struct slice data, uint8_t out[SHA1_LEN]);
void sha256(struct slice data, uint8_t out[SHA256_LEN]);

/* SHA-256 of a stream. */
struct sha256;
struct sha256 *sha256_new(void);
void sha256_update(struct sha256 *sha, const void *data, size_t len);
void sha256_final(struct sha256 *sha, uint8_t out[SHA256_LEN]); /* usable again afterwards */
void sha256_free(struct sha256 **sha);

/* Standard base64 (RFC 4648 section 4, with padding). */
void base64_encode(struct slice data, struct buf *out);
/* ERR_INVALID on any character or padding that RFC 4648 does not allow; `out` may have grown. */
FALLIBLE base64_decode(struct slice text, struct buf *out);

#endif
