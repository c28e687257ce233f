#include "api/check.h"

#include "base/mem.h"
#include "codec/pb.h"

#include "unit.h"

typedef Etcdserverpb__RequestOp Op;
typedef Etcdserverpb__TxnRequest Txn;

/* A little language: "pK" puts K, "dK" deletes K, "dK-E" deletes [K, E), "gK" gets K, "e" is an
 * empty op, and "(S|F)" is a nested transaction with success S and failure F. */
struct parser {
    struct arena arena;
    const char *at;
};

static Txn *parse_txn(struct parser *p, char stop);

static ProtobufCBinaryData one_byte(struct parser *p)
{
    struct slice key = slice_of(arena_dup(&p->arena, p->at, 1), 1);
    p->at++;
    return pb_binary(key);
}

static Op *parse_op(struct parser *p)
{
    Op *op = pb_new(&p->arena, &etcdserverpb__request_op__descriptor);
    switch (*p->at++) {
    case 'p':
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        op->request_put = pb_new(&p->arena, &etcdserverpb__put_request__descriptor);
        op->request_put->key = one_byte(p);
        break;
    case 'g':
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        op->request_range = pb_new(&p->arena, &etcdserverpb__range_request__descriptor);
        op->request_range->key = one_byte(p);
        break;
    case 'd':
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        op->request_delete_range =
            pb_new(&p->arena, &etcdserverpb__delete_range_request__descriptor);
        op->request_delete_range->key = one_byte(p);
        if (*p->at == '-') {
            p->at++;
            op->request_delete_range->range_end =
                *p->at == '0' ? pb_binary(SLICE("\0")) : one_byte(p);
            p->at += *p->at == '0';
        }
        break;
    case '(':
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
        op->request_txn = parse_txn(p, ')');
        break;
    default:
        break;
    }
    return op;
}

static Op **parse_branch(struct parser *p, const char *stops, size_t *count)
{
    Op **ops = arena_alloc(&p->arena, 512 * sizeof(Op *));
    *count = 0;
    while (*p->at != '\0' && strchr(stops, *p->at) == NULL) {
        if (*p->at == ' ') {
            p->at++;
            continue;
        }
        ops[(*count)++] = parse_op(p);
    }
    return ops;
}

static Txn *parse_txn(struct parser *p, char stop)
{
    const char stops[] = {'|', stop, '\0'};
    Txn *txn = pb_new(&p->arena, &etcdserverpb__txn_request__descriptor);
    txn->success = parse_branch(p, stops, &txn->n_success);
    if (*p->at == '|') {
        p->at++;
        txn->failure = parse_branch(p, stops, &txn->n_failure);
    }
    p->at += *p->at != '\0';
    return txn;
}

static enum status check(const char *text, size_t ops_max)
{
    struct parser p = {.at = text};
    arena_init(&p.arena);
    enum status status = check_txn(parse_txn(&p, '\0'), ops_max);
    arena_fini(&p.arena);
    return status;
}

TEST(check, a_key_is_put_once_in_a_branch)
{
    static const struct {
        const char *txn;
        enum status status;
    } cases[] = {
        {"pa pb", STATUS_OK},
        {"pa pa", STATUS_DUPLICATE_KEY},
        {"pa|pa", STATUS_OK},
        {"|pa pa", STATUS_DUPLICATE_KEY},
        {"pa da", STATUS_DUPLICATE_KEY},
        {"da pa", STATUS_DUPLICATE_KEY},
        {"da-c pb", STATUS_DUPLICATE_KEY},
        {"da-c pc", STATUS_OK},
        {"da-c da-c", STATUS_OK},
        {"ga pa ga", STATUS_OK},
        {"(pa|pa)", STATUS_OK},
        {"(pa|pa) pa", STATUS_DUPLICATE_KEY},
        {"(pa) (pa)", STATUS_DUPLICATE_KEY},
        {"(pa|pb) (pb)", STATUS_DUPLICATE_KEY},
        {"(pa) (|pa)", STATUS_DUPLICATE_KEY},
        {"(da) (pa)", STATUS_DUPLICATE_KEY},
        /* A later nested delete of what an earlier one put is not looked for, as in etcd. */
        {"(pa) (da)", STATUS_OK},
        {"(pa) da", STATUS_DUPLICATE_KEY},
        {"((pa)) ((pa))", STATUS_DUPLICATE_KEY},
        {"((pa pa))", STATUS_DUPLICATE_KEY},
        /* "every key from a": etcd sees an interval that ends before it begins. */
        {"da-0 pb", STATUS_OK},
        {"da-0 pa", STATUS_OK},
        {"da-a pa", STATUS_OK},
        {"e", STATUS_KEY_NOT_FOUND},
        {"(e)", STATUS_KEY_NOT_FOUND},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (check(cases[i].txn, 128) != cases[i].status) {
            fail_msg("%s: %s", cases[i].txn, status_row(check(cases[i].txn, 128))->text);
        }
    }
}

/* Random deletes and a put: the answer of the runs against a look at every delete. */
TEST(check, deletes_are_found_however_they_overlap)
{
    uint32_t random = 7;
    for (int round = 0; round < 2000; round++) {
        char text[256];
        size_t len = 0;
        bool is_hit = false;
        random = random * 1664525 + 1013904223;
        char key = (char)('a' + (random >> 16) % 12);
        size_t count = (random >> 8) % 20;
        for (size_t i = 0; i < count; i++) {
            random = random * 1664525 + 1013904223;
            char from = (char)('a' + (random >> 16) % 12);
            char to = (char)('a' + (random >> 24) % 12);
            bool is_point = (random >> 13) % 3 == 0;
            const char *format = (random >> 11) % 2 == 0 ? "(d%c) " : "d%c ";
            if (is_point) {
                len += (size_t)snprintf(text + len, sizeof(text) - len, format, from);
            } else {
                len += (size_t)snprintf(text + len, sizeof(text) - len, "d%c-%c ", from, to);
            }
            is_hit |= is_point ? from == key : from <= key && key < to;
        }
        snprintf(text + len, sizeof(text) - len, "p%c", key);
        enum status want = is_hit ? STATUS_DUPLICATE_KEY : STATUS_OK;
        if (check(text, 128) != want) {
            fail_msg("%s", text);
        }
    }
}

TEST(check, operations_are_counted_down_the_nesting)
{
    assert_int_equal(check("pa pb pc", 3), STATUS_OK);
    assert_int_equal(check("pa pb pc", 2), STATUS_TOO_MANY_OPS);
    assert_int_equal(check("(pa pb)", 3), STATUS_OK);
    assert_int_equal(check("(pa pb pc)", 3), STATUS_TOO_MANY_OPS);
    assert_int_equal(check("|pa pb pc", 2), STATUS_TOO_MANY_OPS);
    assert_int_equal(check("", 0), STATUS_OK);
}

TEST(check, fields_that_contradict_each_other_are_refused)
{
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    assert_int_equal(check_put(&put), STATUS_EMPTY_KEY);
    put.key = pb_binary(SLICE("k"));
    assert_int_equal(check_put(&put), STATUS_OK);
    put.ignore_value = true;
    put.value = pb_binary(SLICE("v"));
    assert_int_equal(check_put(&put), STATUS_VALUE_PROVIDED);
    put.ignore_value = false;
    put.ignore_lease = true;
    put.lease = 1;
    assert_int_equal(check_put(&put), STATUS_LEASE_PROVIDED);

    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    assert_int_equal(check_range(&range), STATUS_EMPTY_KEY);
    range.key = pb_binary(SLICE("k"));
    range.sort_order = (Etcdserverpb__RangeRequest__SortOrder)3;
    assert_int_equal(check_range(&range), STATUS_INVALID_SORT_OPTION);
    range.sort_order = (Etcdserverpb__RangeRequest__SortOrder)-1;
    assert_int_equal(check_range(&range), STATUS_INVALID_SORT_OPTION);
    range.sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    range.sort_target = (Etcdserverpb__RangeRequest__SortTarget)5;
    assert_int_equal(check_range(&range), STATUS_INVALID_SORT_OPTION);

    Etcdserverpb__DeleteRangeRequest del = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    assert_int_equal(check_delete_range(&del), STATUS_EMPTY_KEY);
}

TEST(check, transactions_know_whether_they_write)
{
    static const struct {
        const char *txn;
        bool is_write;
    } cases[] = {{"", false},   {"ga", false},      {"ga pa", true},
                 {"|da", true}, {"(ga|gb)", false}, {"(ga|(pa))", true}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct parser p = {.at = cases[i].txn};
        arena_init(&p.arena);
        assert_int_equal(txn_is_write(parse_txn(&p, '\0')), cases[i].is_write);
        arena_fini(&p.arena);
    }
}
