/* For tests: a store of its own with apply over it, requests in a short notation, replies as text.
 *
 * Requests. Keys are one letter; a range is "a-c", "a-0" for all from a on; words end at blanks.
 *   pK1    put K = 1           Pk1  with prev_kv          iK  with ignore_value
 *   lK1    with lease 77       LK   with ignore_lease
 *   gK     range               hK9  range at revision 9
 *   dK     delete              DK   with prev_kv
 *   e      an op without a request
 *   { compares : ops : ops }   a transaction, also as an op
 * Compares: V(alue) M(od) C(reate) N (version) L(ease), the key, one of = ! < >, the operand;
 * "X" instead of the target leaves the operand out.
 *
 * Replies. "@5" is a header's revision; [a=1 b=2 #3 more] a range; P a put, P<a=0> its prev_kv;
 * D2<a=1 b=2> a delete; {+ …} a transaction that succeeded, {- …} one that failed. */
#ifndef SERVER_APPLY_RUN_H
#define SERVER_APPLY_RUN_H

#include "server/apply.h"

#include "codec/pb.h"
#include "state/lease.h"
#include "storage/manual_env.h"
#include "unit.h"

#include <inttypes.h>
#include <stdlib.h>

typedef Etcdserverpb__RequestOp Op;
typedef Etcdserverpb__TxnRequest Txn;
typedef Etcdserverpb__Compare Compare;

#define RUN_CLUSTER 0xc1
#define RUN_MEMBER 0x3e
#define RUN_LEASE 77
#define RUN_TERM 9

struct run {
    struct manual_env manual;
    struct backend *backend;
    struct lessor *lessor;
    struct mvcc *mvcc;
    struct alarms *alarms;
    struct apply *apply;
    struct arena arena; /* requests and replies */
    struct buf text;    /* the last answer */
    bool shows_rows;    /* "a=1(create,mod,version)" */
    uint64_t index;
};

static inline void run_options(struct run *run, int64_t quota)
{
    struct apply_options options = {
        .mvcc = run->mvcc,
        .backend = run->backend,
        .alarms = run->alarms,
        .lessor = run->lessor,
        .cluster_id = RUN_CLUSTER,
        .member_id = RUN_MEMBER,
        .quota = quota,
    };
    apply_free(&run->apply);
    run->apply = apply_new(&options);
    apply_set_term(run->apply, RUN_TERM);
}

static inline void run_open(struct run *run)
{
    struct errbuf why = {""};
    char *path = mem_printf("%s/db", test_dir());
    *run = (struct run){0};
    arena_init(&run->arena);
    manual_env_init(&run->manual, NULL);
    struct backend_options backend = {.env = &run->manual.env, .path = path, .no_sync = true};
    assert_int_equal(backend_open(&backend, &run->backend, &why), ERR_OK);
    struct lessor_options leases = {.backend = run->backend, .ttl_min = 2};
    assert_int_equal(lessor_open(&leases, &run->lessor, &why), ERR_OK);
    struct mvcc_options mvcc = {
        .backend = run->backend,
        .hooks = {.ctx = run->lessor, .attach = lessor_attach},
    };
    assert_int_equal(mvcc_open(&mvcc, &run->mvcc, &why), ERR_OK);
    assert_int_equal(alarms_open(run->backend, &run->alarms, &why), ERR_OK);
    run_options(run, INT64_MAX);
    mem_free(path);
}

static inline void run_close(struct run *run)
{
    mvcc_check(run->mvcc);
    lessor_check(run->lessor);
    apply_free(&run->apply);
    alarms_close(&run->alarms);
    mvcc_close(&run->mvcc);
    lessor_close(&run->lessor);
    backend_close(&run->backend);
    arena_fini(&run->arena);
    buf_fini(&run->text);
}

/* HashKV of everything. */
static inline uint32_t run_hash(struct run *run)
{
    struct mvcc_hash *hash = NULL;
    struct mvcc_hash_result result;
    assert_int_equal(mvcc_hash_begin(run->mvcc, 0, &hash), ERR_OK);
    mvcc_hash_run(hash);
    mvcc_hash_end(&hash, &result);
    return result.hash;
}

/* ---- requests -------------------------------------------------------------------------------- */

struct parser {
    struct run *run;
    const char *at;
};

static inline void skip_blanks(struct parser *p)
{
    while (*p->at == ' ') {
        p->at++;
    }
}

static inline ProtobufCBinaryData take(struct parser *p, size_t len)
{
    struct slice copy = slice_of(arena_dup(&p->run->arena, p->at, len), len);
    p->at += len;
    return pb_binary(copy);
}

static inline ProtobufCBinaryData take_word(struct parser *p)
{
    return take(p, strcspn(p->at, " "));
}

static inline int64_t take_number(struct parser *p)
{
    char *end;
    int64_t number = strtoll(p->at, &end, 10);
    p->at = end;
    return number;
}

static inline ProtobufCBinaryData take_end(struct parser *p)
{
    if (*p->at != '-') {
        return (ProtobufCBinaryData){0};
    }
    p->at++;
    if (*p->at == '0') {
        p->at++;
        return pb_binary(slice_of("\0", 1));
    }
    return take(p, 1);
}

static inline Etcdserverpb__PutRequest *parse_put(struct parser *p, char kind)
{
    Etcdserverpb__PutRequest *put = pb_new(&p->run->arena, &etcdserverpb__put_request__descriptor);
    put->key = take(p, *p->at == ' ' || *p->at == '\0' ? 0 : 1);
    put->value = take_word(p);
    put->prev_kv = kind == 'P';
    put->ignore_value = kind == 'i';
    put->ignore_lease = kind == 'L';
    put->lease = kind == 'l' ? RUN_LEASE : 0;
    return put;
}

static inline Etcdserverpb__DeleteRangeRequest *parse_delete(struct parser *p, char kind)
{
    Etcdserverpb__DeleteRangeRequest *request =
        pb_new(&p->run->arena, &etcdserverpb__delete_range_request__descriptor);
    request->key = take(p, *p->at == ' ' || *p->at == '\0' ? 0 : 1);
    request->range_end = take_end(p);
    request->prev_kv = kind == 'D';
    return request;
}

static inline Etcdserverpb__RangeRequest *parse_range(struct parser *p, char kind)
{
    Etcdserverpb__RangeRequest *range =
        pb_new(&p->run->arena, &etcdserverpb__range_request__descriptor);
    range->key = take(p, 1);
    range->range_end = take_end(p);
    range->revision = kind == 'h' ? take_number(p) : 0;
    return range;
}

static inline Txn *parse_txn(struct parser *p);

static inline Op *parse_op(struct parser *p)
{
    Op *op = pb_new(&p->run->arena, &etcdserverpb__request_op__descriptor);
    char kind = *p->at++;
    if (kind == '{') {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
        op->request_txn = parse_txn(p);
    } else if (strchr("pPilL", kind) != NULL) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        op->request_put = parse_put(p, kind);
    } else if (kind == 'd' || kind == 'D') {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        op->request_delete_range = parse_delete(p, kind);
    } else if (kind == 'g' || kind == 'h') {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        op->request_range = parse_range(p, kind);
    } else {
        assert_int_equal(kind, 'e');
    }
    return op;
}

static inline Compare *parse_compare(struct parser *p)
{
    Compare *compare = pb_new(&p->run->arena, &etcdserverpb__compare__descriptor);
    static const char targets[] = "NCMVL";
    static const char results[] = "=><!";
    char kind = *p->at++;
    if (kind != 'X') {
        compare->target = (Etcdserverpb__Compare__CompareTarget)(strchr(targets, kind) - targets);
    }
    compare->key = take(p, 1);
    compare->range_end = take_end(p);
    compare->result = (Etcdserverpb__Compare__CompareResult)(strchr(results, *p->at++) - results);
    if (kind == 'X') {
        return compare;
    }
    if (kind == 'V') {
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        compare->value = take_word(p);
        return compare;
    }
    int64_t number = take_number(p);
    if (kind == 'N') {
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
        compare->version = number;
    } else if (kind == 'C') {
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
        compare->create_revision = number;
    } else if (kind == 'M') {
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
        compare->mod_revision = number;
    } else {
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE;
        compare->lease = number;
    }
    return compare;
}

static inline void parse_ops(struct parser *p, char stop, Op ***ops, size_t *count)
{
    *ops = arena_zalloc(&p->run->arena, 64 * sizeof(Op *));
    for (skip_blanks(p); *p->at != stop; skip_blanks(p)) {
        assert_true(*count < 64);
        (*ops)[(*count)++] = parse_op(p);
    }
    p->at++;
}

/* What is behind the opening brace. */
static inline Txn *parse_txn(struct parser *p)
{
    Txn *txn = pb_new(&p->run->arena, &etcdserverpb__txn_request__descriptor);
    txn->compare = arena_zalloc(&p->run->arena, 16 * sizeof(Compare *));
    for (skip_blanks(p); *p->at != ':'; skip_blanks(p)) {
        assert_true(txn->n_compare < 16);
        txn->compare[txn->n_compare++] = parse_compare(p);
    }
    p->at++;
    parse_ops(p, ':', &txn->success, &txn->n_success);
    parse_ops(p, '}', &txn->failure, &txn->n_failure);
    return txn;
}

static inline Txn *run_txn_of(struct run *run, const char *text)
{
    struct parser p = {.run = run, .at = text};
    assert_int_equal(*p.at++, '{');
    return parse_txn(&p);
}

/* ---- replies --------------------------------------------------------------------------------- */

static inline void show_kv(struct run *run, const Mvccpb__KeyValue *kv)
{
    buf_append_slice(&run->text, pb_bytes(kv->key));
    buf_append_byte(&run->text, '=');
    buf_append_slice(&run->text, pb_bytes(kv->value));
    if (run->shows_rows) {
        buf_printf(&run->text, "(%" PRId64 ",%" PRId64 ",%" PRId64 ")", kv->create_revision,
                   kv->mod_revision, kv->version);
    }
    if (kv->lease != 0) {
        buf_printf(&run->text, "~%" PRId64, kv->lease);
    }
}

static inline void show_kvs(struct run *run, Mvccpb__KeyValue **kvs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            buf_append_byte(&run->text, ' ');
        }
        show_kv(run, kvs[i]);
    }
}

static inline void show_header(struct run *run, const Etcdserverpb__ResponseHeader *header)
{
    assert_non_null(header);
    if (header->revision != 0) {
        buf_printf(&run->text, "@%" PRId64, header->revision);
    }
}

static inline void show_range(struct run *run, const Etcdserverpb__RangeResponse *range)
{
    buf_append_byte(&run->text, '[');
    show_kvs(run, range->kvs, range->n_kvs);
    buf_printf(&run->text, "%s#%" PRId64 "%s]", range->n_kvs == 0 ? "" : " ", range->count,
               range->more ? " more" : "");
    show_header(run, range->header);
}

static inline void show_put(struct run *run, const Etcdserverpb__PutResponse *put)
{
    buf_append_byte(&run->text, 'P');
    if (put->prev_kv != NULL) {
        buf_append_byte(&run->text, '<');
        show_kv(run, put->prev_kv);
        buf_append_byte(&run->text, '>');
    }
    show_header(run, put->header);
}

static inline void show_delete(struct run *run, const Etcdserverpb__DeleteRangeResponse *del)
{
    buf_printf(&run->text, "D%" PRId64, del->deleted);
    if (del->n_prev_kvs > 0) {
        buf_append_byte(&run->text, '<');
        show_kvs(run, del->prev_kvs, del->n_prev_kvs);
        buf_append_byte(&run->text, '>');
    }
    show_header(run, del->header);
}

static inline void show_txn(struct run *run, const Etcdserverpb__TxnResponse *txn)
{
    buf_append_str(&run->text, txn->succeeded ? "{+" : "{-");
    for (size_t i = 0; i < txn->n_responses; i++) {
        const Etcdserverpb__ResponseOp *op = txn->responses[i];
        buf_append_byte(&run->text, ' ');
        switch (op->response_case) {
        case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE:
            show_range(run, op->response_range);
            break;
        case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT:
            show_put(run, op->response_put);
            break;
        case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE:
            show_delete(run, op->response_delete_range);
            break;
        case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN:
            show_txn(run, op->response_txn);
            break;
        case ETCDSERVERPB__RESPONSE_OP__RESPONSE__NOT_SET:
        case _ETCDSERVERPB__RESPONSE_OP__RESPONSE__CASE_IS_INT_SIZE:
            buf_append_byte(&run->text, 'e');
            break;
        }
    }
    buf_append_byte(&run->text, '}');
    show_header(run, txn->header);
}

/* The text of an answer: decodes the reply, checks the outer header, and shows it. */
#define RUN_SHOW(run, status, reply, type, show)                                                   \
    do {                                                                                           \
        struct errbuf why_ = {""};                                                                 \
        buf_reset(&(run)->text);                                                                   \
        if ((status) != STATUS_OK && (reply).len == 0) {                                           \
            buf_append_str(&(run)->text, status_row(status)->text);                                \
            break;                                                                                 \
        }                                                                                          \
        void *message_ = NULL;                                                                     \
        assert_int_equal(pb_decode(&(run)->arena, &etcdserverpb__##type##__descriptor, reply,      \
                                   &message_, &why_),                                              \
                         ERR_OK);                                                                  \
        show(run, message_);                                                                       \
        if ((status) != STATUS_OK) {                                                               \
            buf_printf(&(run)->text, " but %s", status_row(status)->text);                         \
        }                                                                                          \
    } while (0)

static inline const char *run_range(struct run *run, const Etcdserverpb__RangeRequest *request)
{
    struct slice reply = {0};
    enum status status = apply_range(run->apply, request, &run->arena, &reply);
    RUN_SHOW(run, status, reply, range_response, show_range);
    return buf_cstr(&run->text);
}

/* One applied entry: a put, a delete, a range or a transaction in the notation above. */
static inline const char *run_do(struct run *run, const char *text)
{
    struct parser p = {.run = run, .at = text};
    struct slice reply = {0};
    Op *op = parse_op(&p);
    assert_int_equal(*p.at, '\0');
    if (op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE) {
        return run_range(run, op->request_range);
    }
    backend_begin(run->backend);
    enum status status;
    if (op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT) {
        status = apply_put(run->apply, op->request_put, &run->arena, &reply);
        RUN_SHOW(run, status, reply, put_response, show_put);
    } else if (op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE) {
        status = apply_delete_range(run->apply, op->request_delete_range, &run->arena, &reply);
        RUN_SHOW(run, status, reply, delete_range_response, show_delete);
    } else {
        status = apply_txn(run->apply, op->request_txn, &run->arena, &reply);
        RUN_SHOW(run, status, reply, txn_response, show_txn);
    }
    backend_end(run->backend, ++run->index, 1);
    return buf_cstr(&run->text);
}

#define assert_do(run, request, answer) assert_string_equal(run_do(run, request), answer)

/* Refused with `sentence`, and nothing has changed. */
static inline void assert_refused(struct run *run, const char *request, const char *sentence)
{
    uint32_t before = run_hash(run);
    int64_t revision = mvcc_revision(run->mvcc);
    assert_do(run, request, sentence);
    assert_int_equal(run_hash(run), before);
    assert_int_equal(mvcc_revision(run->mvcc), revision);
}

#define NO_LEASE "etcdserver: requested lease not found"
#define NO_KEY "etcdserver: key not found"
#define NO_SPACE "etcdserver: mvcc: database space exceeded"
#define GONE "etcdserver: mvcc: required revision has been compacted"
#define FUTURE "etcdserver: mvcc: required revision is a future revision"
#define CORRUPT "etcdserver: corrupt cluster"

#endif
