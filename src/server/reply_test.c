/* Replies written by hand are byte for byte what the generic encoder makes of the same message. */
#include "server/reply.h"

#include "codec/pb.h"
#include "unit.h"

#include "rpc.pb-c.h"

TEST(reply, a_header_is_the_generic_encoders)
{
    static const struct reply_header headers[] = {
        {0},
        {.revision = 1},
        {.raft_term = 2},
        {.cluster_id = 0xcdf818194e3a8c32, .member_id = 0x8e9e05c52164694d, .revision = 42},
        {.cluster_id = UINT64_MAX, .member_id = UINT64_MAX, .revision = -1, .raft_term = 1u << 31},
    };
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
        Etcdserverpb__CompactionResponse response = ETCDSERVERPB__COMPACTION_RESPONSE__INIT;
        struct buf want = {0};
        struct buf got = {0};
        header.cluster_id = headers[i].cluster_id;
        header.member_id = headers[i].member_id;
        header.revision = headers[i].revision;
        header.raft_term = headers[i].raft_term;
        response.header = &header;
        pb_encode(&response, &want);
        reply_put_header(&got, 1, &headers[i]);
        assert_true(slice_eq(buf_slice(&want), buf_slice(&got)));
        buf_fini(&want);
        buf_fini(&got);
    }
}

TEST(reply, zero_is_absent_and_bytes_are_not)
{
    struct buf out = {0};
    reply_put_uint(&out, 3, 0);
    assert_int_equal(out.len, 0);
    reply_put_uint(&out, 3, 300);
    reply_put_bytes(&out, 16, SLICE("ab"));
    reply_put_bytes(&out, 2, SLICE_EMPTY);
    assert_true(slice_eq(buf_slice(&out), SLICE("\x18\xac\x02\x82\x01\x02"
                                                "ab\x12\x00")));
    buf_fini(&out);
}

/* The length in front grows from one byte to two and three. */
TEST(reply, what_was_appended_becomes_a_field)
{
    static const size_t lens[] = {0, 1, 127, 128, 16383, 16384};
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct buf out = {0};
        buf_append_str(&out, "before");
        size_t start = out.len;
        for (size_t k = 0; k < lens[i]; k++) {
            buf_append_byte(&out, (uint8_t)k);
        }
        reply_wrap(&out, start, 5);
        struct reader r = reader_init(buf_slice(&out));
        assert_true(slice_eq_str(reader_bytes(&r, start), "before"));
        assert_int_equal(reader_u8(&r), 5 << 3 | 2);
        assert_int_equal(reader_varint(&r), lens[i]);
        struct slice rest = reader_rest(&r);
        assert_int_equal(r.err, ERR_OK);
        assert_int_equal(rest.len, lens[i]);
        for (size_t k = 0; k < rest.len; k++) {
            assert_int_equal(rest.data[k], (uint8_t)k);
        }
        buf_fini(&out);
    }
}
