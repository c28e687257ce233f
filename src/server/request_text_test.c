#include "server/request_text.h"

#include "codec/pb.h"
#include "unit.h"

#include "rpc.pb-c.h"

static void assert_text(enum request_kind kind, const void *message, const char *want)
{
    struct buf text = {0};
    request_text(kind, message, &text);
    assert_string_equal(buf_cstr(&text), want);
    buf_fini(&text);
}

TEST(request_text, says_what_is_set_and_sizes_instead_of_values)
{
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__DeleteRangeRequest del = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    Etcdserverpb__CompactionRequest compact = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    range.key = pb_binary(SLICE("a\n"));
    range.range_end = pb_binary(SLICE("b"));
    range.limit = 5;
    range.sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    range.sort_target = (Etcdserverpb__RangeRequest__SortTarget)77;
    range.keys_only = true;
    assert_text(REQUEST_RANGE, &range,
                "key:\"a\\n\" range_end:\"b\" limit:5 sort_order:DESCEND sort_target:77 "
                "keys_only:true ");
    put.key = pb_binary(SLICE("k"));
    put.value = pb_binary(SLICE("secret"));
    put.prev_kv = true;
    assert_text(REQUEST_PUT, &put, "put:<key:\"k\" value_size:6 prev_kv:true >");
    del.key = pb_binary(SLICE("k"));
    assert_text(REQUEST_DELETE_RANGE, &del, "delete_range:<key:\"k\" >");
    compact.revision = 9;
    compact.physical = true;
    assert_text(REQUEST_COMPACT, &compact, "compaction:<revision:9 physical:true >");
    assert_text(REQUEST_STATUS, NULL, "Status");
}

TEST(request_text, names_what_a_transaction_compares_and_does)
{
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__Compare compare = ETCDSERVERPB__COMPARE__INIT;
    Etcdserverpb__Compare *compares[] = {&compare};
    Etcdserverpb__RequestOp ops[3] = {ETCDSERVERPB__REQUEST_OP__INIT,
                                      ETCDSERVERPB__REQUEST_OP__INIT,
                                      ETCDSERVERPB__REQUEST_OP__INIT};
    Etcdserverpb__RequestOp *list[] = {&ops[0], &ops[1], &ops[2]};
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__TxnRequest inner = ETCDSERVERPB__TXN_REQUEST__INIT;
    compare.result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER;
    compare.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD;
    compare.key = pb_binary(SLICE("c"));
    put.key = pb_binary(SLICE("k"));
    ops[0].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    ops[0].request_put = &put;
    ops[1].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
    ops[1].request_txn = &inner;
    txn.compare = compares;
    txn.n_compare = 1;
    txn.success = list;
    txn.n_success = 2;
    txn.failure = list + 2;
    txn.n_failure = 1;
    assert_text(REQUEST_TXN, &txn,
                "txn:<compare:<result:GREATER target:MOD key:\"c\" > "
                "success:<request_put:<key:\"k\" > > success:<request_txn:<> > "
                "failure:<<> > >");
}

TEST(request_text, is_cut_where_a_key_is_long)
{
    static uint8_t key[1 << 20];
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    struct buf text = {0};
    put.key = pb_binary(slice_of(key, sizeof(key)));
    request_text(REQUEST_PUT, &put, &text);
    assert_int_equal(text.len, REQUEST_TEXT_MAX + 3);
    assert_true(text.cap < 65536);
    buf_fini(&text);
}

TEST(request_text, times_are_the_parts_of_a_request)
{
    struct server_request request = {
        .started = 100, .handed_at = 110, .began_at = 130, .ended_at = 170};
    struct request_times times = request_times(&request, 250);
    assert_int_equal(times.queue, 10);
    assert_int_equal(times.sync, 20);
    assert_int_equal(times.apply, 40);
    assert_int_equal(times.send, 80);
    /* A read of local state is handed to nobody; one that was given up did nothing. */
    request.handed_at = 0;
    times = request_times(&request, 0);
    assert_int_equal(times.queue, 30);
    assert_int_equal(times.sync, 0);
    assert_int_equal(times.send, 0);
    request.began_at = request.ended_at = 0;
    times = request_times(&request, 250);
    assert_int_equal(times.queue + times.sync + times.apply + times.send, 0);
}
