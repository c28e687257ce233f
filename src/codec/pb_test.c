#include "codec/pb.h"

#include "codec/pbwire.h"
#include "unit.h"

#include "etcdserver.pb-c.h"
#include "raft_internal.pb-c.h"
#include "rpc.pb-c.h"

#include <stdio.h>

static struct arena arena;

/* Decodes, expecting success. */
#define DECODE(type_name, in, out)                                                                 \
    do {                                                                                           \
        struct errbuf why_ = {0};                                                                  \
        enum err err_ =                                                                            \
            pb_decode(&arena, &etcdserverpb__##type_name##__descriptor, in, &(out), &why_);        \
        if (err_ != ERR_OK) {                                                                      \
            print_error("%s\n", why_.text);                                                        \
        }                                                                                          \
        assert_int_equal(err_, ERR_OK);                                                            \
    } while (0)

static void same_bytes(const void *message, struct slice expected)
{
    struct buf out = {0};
    pb_encode(message, &out);
    assert_int_equal(pb_size(message), expected.len);
    assert_true(slice_eq(buf_slice(&out), expected));
    assert_true(slice_eq(pb_encode_arena(message, &arena), expected));
    buf_fini(&out);
}

TEST(pb, a_put_comes_in_and_goes_out)
{
    struct slice in = SLICE("\x0a\x03"
                            "foo\x12\x03"
                            "bar\x18\x07\x20\x01");
    Etcdserverpb__PutRequest *put;
    DECODE(put_request, in, put);
    assert_true(slice_eq_str(pb_bytes(put->key), "foo"));
    assert_true(slice_eq_str(pb_bytes(put->value), "bar"));
    assert_ptr_equal(put->key.data, in.data + 2); /* not copied */
    assert_int_equal(put->lease, 7);
    assert_true(put->prev_kv);
    assert_false(put->ignore_lease);
    same_bytes(put, in);
    arena_fini(&arena);
}

TEST(pb, an_empty_message_is_all_defaults)
{
    Etcdserverpb__RangeRequest *range;
    DECODE(range_request, SLICE_EMPTY, range);
    assert_int_equal(range->key.len, 0);
    assert_int_equal(range->limit, 0);
    same_bytes(range, SLICE_EMPTY);
    arena_fini(&arena);
}

TEST(pb, unknown_fields_and_groups_are_skipped)
{
    Etcdserverpb__RangeRequest *range;
    DECODE(range_request,
           SLICE("\xf8\x07\x05\xfa\x07\x02zz\xfb\x07\x0b\x08\x01\x0c\xfc\x07\x18\x05"), range);
    assert_int_equal(range->limit, 5);
    arena_fini(&arena);
}

TEST(pb, enum_values_outside_the_enum_are_kept)
{
    Etcdserverpb__RangeRequest *range;
    DECODE(range_request, SLICE("\x28\x63\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), range);
    assert_int_equal(range->sort_order, 99);
    assert_int_equal((int)range->sort_target, -1);
    same_bytes(range, SLICE("\x28\x63\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    arena_fini(&arena);
}

TEST(pb, repeated_fields_grow_and_keep_their_order)
{
    struct buf in = {0};
    for (int i = 0; i < 100; i++) {
        uint8_t compare[] = {0x0a, 0x02, 0x20, (uint8_t)(i + 1)}; /* compare { version: i + 1 } */
        buf_append(&in, compare, sizeof(compare));
    }
    Etcdserverpb__TxnRequest *txn;
    DECODE(txn_request, buf_slice(&in), txn);
    assert_int_equal(txn->n_compare, 100);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(txn->compare[i]->target_union_case,
                         ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION);
        assert_int_equal(txn->compare[i]->version, i + 1);
    }
    same_bytes(txn, buf_slice(&in));
    buf_fini(&in);
    arena_fini(&arena);
}

TEST(pb, filters_are_read_packed_or_plain_and_written_packed)
{
    Etcdserverpb__WatchCreateRequest *packed;
    Etcdserverpb__WatchCreateRequest *plain;
    DECODE(watch_create_request, SLICE("\x2a\x02\x01\x00"), packed);
    DECODE(watch_create_request, SLICE("\x28\x01\x28\x00"), plain);
    assert_int_equal(packed->n_filters, 2);
    assert_int_equal(plain->n_filters, 2);
    assert_int_equal(plain->filters[0], 1);
    same_bytes(packed, SLICE("\x2a\x02\x01\x00"));
    same_bytes(plain, SLICE("\x2a\x02\x01\x00"));
    arena_fini(&arena);
}

TEST(pb, strings_end_and_empty_ones_are_there)
{
    Etcdserverpb__Member *member;
    DECODE(member, SLICE("\x08\x01\x12\x02m1\x1a\x01u\x1a\x00\x28\x01"), member);
    assert_string_equal(member->name, "m1");
    assert_int_equal(member->n_peerurls, 2);
    assert_string_equal(member->peerurls[0], "u");
    assert_string_equal(member->peerurls[1], "");
    assert_true(member->islearner);
    same_bytes(member, SLICE("\x08\x01\x12\x02m1\x1a\x01u\x1a\x00\x28\x01"));
    arena_fini(&arena);
}

TEST(pb, in_a_oneof_the_last_one_wins_and_zero_is_a_value)
{
    Etcdserverpb__Compare *compare;
    DECODE(compare, SLICE("\x20\x05\x3a\x02zz\x28\x00"), compare);
    assert_int_equal(compare->target_union_case,
                     ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION);
    assert_int_equal(compare->create_revision, 0);
    same_bytes(compare, SLICE("\x28\x00"));
    Etcdserverpb__RequestOp *op;
    DECODE(request_op, SLICE("\x12\x03\x0a\x01k\x12\x02\x18\x05"), op);
    assert_int_equal(op->request_put->key.len, 0); /* replaced, not merged */
    assert_int_equal(op->request_put->lease, 5);
    arena_fini(&arena);
}

TEST(pb, a_sub_message_that_comes_twice_is_merged)
{
    Etcdserverpb__PutResponse *response;
    DECODE(put_response, SLICE("\x0a\x02\x08\x01\x0a\x02\x10\x02"), response);
    assert_int_equal(response->header->cluster_id, 1);
    assert_int_equal(response->header->member_id, 2);
    arena_fini(&arena);
}

TEST(pb, tags_above_fifteen_and_far_apart_are_found)
{
    /* header (100) { ID: 3 }, auth_enable (1000) {}, downgrade_version_test (9900) { ver: "x" } */
    struct slice in = SLICE("\xa2\x06\x02\x08\x03\xc2\x3e\x00\xe2\xea\x04\x03\x0a\x01x");
    Etcdserverpb__InternalRaftRequest *request;
    DECODE(internal_raft_request, in, request);
    assert_int_equal(request->header->id, 3);
    assert_non_null(request->auth_enable);
    assert_null(request->auth_disable);
    assert_string_equal(request->downgrade_version_test->ver, "x");
    same_bytes(request, in);
    arena_fini(&arena);
}

TEST(pb, a_proto2_field_has_presence)
{
    Etcdserverpb__Request *request;
    DECODE(request, SLICE("\x08\x00\x12\x00\x40\x00"), request);
    assert_true(request->has_id);
    assert_true(request->has_prevexist);
    assert_false(request->prevexist);
    assert_false(request->has_refresh);
    assert_string_equal(request->method, "");
    assert_null(request->path);
    same_bytes(request, SLICE("\x08\x00\x12\x00\x40\x00"));
    arena_fini(&arena);
}

/* Sentences as gogo's generated code has them. */
TEST(pb, malformed_input_gets_gos_sentence)
{
    static const struct {
        struct slice in;
        const char *sentence;
    } cases[] = {
        {SLICE("\x0a"), "unexpected EOF"},
        {SLICE("\x0a\x05zz"), "unexpected EOF"},
        {SLICE("\xff"), "unexpected EOF"},
        {SLICE("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "proto: integer overflow"},
        {SLICE("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
         "proto: negative length found during unmarshaling"},
        {SLICE("\x08\x01"), "proto: wrong wireType = 0 for field Key"},
        {SLICE("\x12\x00\x10\x01"), "proto: wrong wireType = 0 for field RangeEnd"},
        {SLICE("\x1a\x00"), "proto: wrong wireType = 2 for field Limit"},
        {SLICE("\x5d\x00\x00\x00\x00"), "proto: wrong wireType = 5 for field MaxModRevision"},
        {SLICE("\x0c"), "proto: RangeRequest: wiretype end group for non-group"},
        {SLICE("\x02\x00"), "proto: RangeRequest: illegal tag 0 (wire type 2)"},
        {SLICE("\xfe\x07"), "proto: illegal wireType 6"},
        {SLICE("\xfb\x07\x08"), "unexpected EOF"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Etcdserverpb__RangeRequest *range = NULL;
        struct errbuf why = {0};
        assert_int_equal(
            pb_decode(&arena, &etcdserverpb__range_request__descriptor, cases[i].in, &range, &why),
            ERR_CORRUPT);
        assert_string_equal(why.text, cases[i].sentence);
        assert_null(range);
    }
    arena_fini(&arena);
}

TEST(pb, a_zero_byte_inside_a_string_is_refused)
{
    Etcdserverpb__AuthUserAddRequest *add = NULL;
    struct errbuf why = {0};
    assert_int_equal(pb_decode(&arena, &etcdserverpb__auth_user_add_request__descriptor,
                               SLICE("\x0a\x06root\0x"), &add, &why),
                     ERR_CORRUPT);
    assert_string_equal(why.text, "proto: zero byte in string field Name");
    /* etcd 3.4 to 3.6 take strings that are not UTF-8. */
    DECODE(auth_user_add_request, SLICE("\x0a\x02\xff\xfe"), add);
    assert_string_equal(add->name, "\xff\xfe");
    arena_fini(&arena);
}

/* A transaction with `levels` transactions inside each other, built from the inside out. */
static struct buf nested_txn(size_t levels)
{
    struct buf back = {0}; /* reversed bytes */
    for (size_t i = 0; i < levels; i++) {
        static const uint8_t tags[] = {0x22, 0x12}; /* request_txn, success */
        for (size_t k = 0; k < 2; k++) {
            uint8_t head[1 + PBWIRE_VARINT_MAX];
            head[0] = tags[k];
            uint8_t *end = pbwire_put_varint(head + 1, back.len);
            while (end > head) {
                buf_append_byte(&back, *--end);
            }
        }
    }
    for (size_t i = 0; i < back.len / 2; i++) {
        uint8_t byte = back.data[i];
        back.data[i] = back.data[back.len - 1 - i];
        back.data[back.len - 1 - i] = byte;
    }
    return back;
}

TEST(pb, a_transaction_of_five_thousand_levels_is_an_error_not_a_crash)
{
    Etcdserverpb__TxnRequest *txn = NULL;
    struct errbuf why = {0};
    struct buf bomb = nested_txn(5000);
    assert_true(bomb.len > 25000);
    assert_int_equal(
        pb_decode(&arena, &etcdserverpb__txn_request__descriptor, buf_slice(&bomb), &txn, &why),
        ERR_TOO_LARGE);
    assert_string_equal(why.text, "message nested deeper than 128 levels");
    assert_null(txn);
    assert_true(arena.used < 64 * 1024);
    buf_fini(&bomb);
    arena_fini(&arena);
}

TEST(pb, the_deepest_transaction_allowed_decodes_and_encodes)
{
    Etcdserverpb__TxnRequest *txn;
    struct buf deep = nested_txn((PB_DEPTH_MAX - 2) / 2);
    DECODE(txn_request, buf_slice(&deep), txn);
    same_bytes(txn, buf_slice(&deep));
    buf_fini(&deep);
    deep = nested_txn(PB_DEPTH_MAX / 2);
    assert_int_equal(
        pb_decode(&arena, &etcdserverpb__txn_request__descriptor, buf_slice(&deep), &txn, NULL),
        ERR_TOO_LARGE);
    buf_fini(&deep);
    arena_fini(&arena);
}

TEST(pb, without_limits_depth_costs_no_stack)
{
    Etcdserverpb__TxnRequest *txn;
    struct buf deep = nested_txn(200000);
    assert_int_equal(pb_decode_limits(&arena, &etcdserverpb__txn_request__descriptor,
                                      buf_slice(&deep), PB_LIMITS_NONE, &txn, NULL),
                     ERR_OK);
    size_t depth = 0;
    while (txn->n_success > 0) {
        txn = txn->success[0]->request_txn;
        depth++;
    }
    assert_int_equal(depth, 200000);
    buf_fini(&deep);
    arena_fini(&arena);
}

TEST(pb, two_megabytes_of_empty_operations_stay_within_forty_megabytes)
{
    Etcdserverpb__TxnRequest *txn = NULL;
    struct errbuf why = {0};
    struct buf flood = {0};
    for (size_t i = 0; i < (1 << 20); i++) {
        buf_append(&flood, i % 2 == 0 ? "\x0a\x00" : "\x12\x00", 2);
    }
    assert_int_equal(
        pb_decode(&arena, &etcdserverpb__txn_request__descriptor, buf_slice(&flood), &txn, &why),
        ERR_TOO_LARGE);
    assert_string_equal(why.text, "message has more than 262144 elements");
    assert_true(arena.used < (size_t)40 << 20);
    flood.len = 2 * PB_ELEMENTS_MAX;
    DECODE(txn_request, buf_slice(&flood), txn);
    assert_int_equal(txn->n_compare + txn->n_success, PB_ELEMENTS_MAX);
    buf_fini(&flood);
    arena_fini(&arena);
}

TEST(pb, packed_numbers_count_as_elements)
{
    Etcdserverpb__WatchCreateRequest *create;
    struct buf flood = {0};
    uint8_t head[1 + PBWIRE_VARINT_MAX];
    head[0] = 0x2a;
    uint8_t *end = pbwire_put_varint(head + 1, 1 << 20);
    buf_append(&flood, head, (size_t)(end - head));
    memset(buf_extend(&flood, 1 << 20), 1, 1 << 20);
    assert_int_equal(pb_decode(&arena, &etcdserverpb__watch_create_request__descriptor,
                               buf_slice(&flood), &create, NULL),
                     ERR_TOO_LARGE);
    buf_fini(&flood);
    arena_fini(&arena);
}

TEST(pb, every_cut_of_a_message_is_refused_or_shorter)
{
    struct slice in = SLICE("\x0a\x05\x1a\x01k\x20\x05\x12\x07\x12\x05\x0a\x01k\x18\x02\x1a\x02"
                            "\x22\x00");
    Etcdserverpb__TxnRequest *txn;
    DECODE(txn_request, in, txn);
    for (size_t len = 0; len < in.len; len++) {
        /* On the heap and exactly sized, so that a sanitizer sees a read past the end. */
        uint8_t *exact = mem_dup(in.data, len);
        enum err err = pb_decode(&arena, &etcdserverpb__txn_request__descriptor,
                                 slice_of(exact, len), &txn, NULL);
        assert_true(err == ERR_OK || err == ERR_CORRUPT);
        mem_free(exact);
    }
    arena_fini(&arena);
}
