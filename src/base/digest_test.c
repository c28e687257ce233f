#include "base/digest.h"

#include "unit.h"

TEST(digest, crc32c_matches_the_published_vectors_and_chains)
{
    uint8_t zeros[32] = {0};
    uint8_t ones[32];
    memset(ones, 0xff, sizeof(ones));
    /* RFC 3720 appendix B.4 */
    assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aa);
    assert_int_equal(crc32c(0, ones, 32), 0x62a8ab43);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
    assert_int_equal(crc32c(7, NULL, 0), 7);
}

TEST(digest, fnv_and_sha_match_known_values)
{
    assert_true(fnv1a64("", 0) == 0xcbf29ce484222325u);
    assert_true(fnv1a64("a", 1) == 0xaf63dc4c8601ec8cu);
    uint8_t out[SHA256_LEN];
    struct buf hex = {0};
    sha1(SLICE("abc"), out);
    buf_append_hex(&hex, slice_of(out, SHA1_LEN));
    assert_string_equal(buf_cstr(&hex), "a9993e364706816aba3e25717850c26c9cd0d89d");
    struct sha256 *sha = sha256_new();
    uint8_t again[SHA256_LEN];
    for (int i = 0; i < 2; i++) {
        sha256_update(sha, "a", 1);
        sha256_update(sha, "bc", 2);
        sha256_final(sha, again);
        sha256(SLICE("abc"), out);
        assert_memory_equal(out, again, SHA256_LEN);
    }
    assert_int_equal(out[0], 0xba);
    sha256_free(&sha);
    assert_null(sha);
    buf_fini(&hex);
}

TEST(digest, base64_round_trips_and_refuses_bad_text)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    struct buf out = {0};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        buf_reset(&out);
        base64_encode(slice_str(pairs[i][0]), &out);
        assert_string_equal(buf_cstr(&out), pairs[i][1]);
        buf_reset(&out);
        assert_int_equal(base64_decode(slice_str(pairs[i][1]), &out), ERR_OK);
        assert_string_equal(buf_cstr(&out), pairs[i][0]);
    }
    static const char *const bad[] = {"Z", "Zg=", "Zg==Zg==", "====", "Zm9%", "Z===", "=Zg="};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(base64_decode(slice_str(bad[i]), &out), ERR_INVALID);
    }
    buf_fini(&out);
}
