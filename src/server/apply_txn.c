/* Txn: compare, check, do.
 *
 *   1. every compare of the transaction, nested ones included, is decided on the state before it:
 *      the outcome is a path, one bool a transaction met, in depth-first order
 *   2. the requests on the path are checked: leases and keys of puts, revisions of ranges
 *   3. they are done in order in one write transaction of the store; ranges see its writes
 *
 * So a transaction that is refused has changed nothing. Recursion follows the nesting, which the
 * decoder bounds for requests of clients (codec/pb.h) and TXN_DEPTH_MAX for those of the log. */
#include "server/apply_priv.h"

typedef Etcdserverpb__TxnRequest TxnRequest;
typedef Etcdserverpb__RequestOp RequestOp;
typedef Etcdserverpb__Compare Compare;

struct path {
    bool *taken; /* in the arena */
    size_t count;
    size_t cap;
    size_t next; /* reading position */
};

struct branch {
    RequestOp **ops;
    size_t count;
};

static struct branch branch_of(const TxnRequest *txn, bool succeeded)
{
    return succeeded ? (struct branch){txn->success, txn->n_success}
                     : (struct branch){txn->failure, txn->n_failure};
}

/* ---- compare -------------------------------------------------------------------------------- */

static int compare_int(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* A union member of another target than the compare's counts as zero, as in etcd. */
static int compare_kv(const Compare *compare, const struct mvcc_row *row)
{
    Etcdserverpb__Compare__TargetUnionCase set = compare->target_union_case;
    switch (compare->target) {
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE:
        return slice_cmp(row->value, set == ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE
                                         ? pb_bytes(compare->value)
                                         : SLICE_EMPTY);
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE:
        return compare_int(row->create, set == ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION
                                            ? compare->create_revision
                                            : 0);
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD:
        return compare_int(row->mod, set == ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION
                                         ? compare->mod_revision
                                         : 0);
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION:
        return compare_int(row->version, set == ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION
                                             ? compare->version
                                             : 0);
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE:
        return compare_int(row->lease,
                           set == ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE ? compare->lease : 0);
    case _ETCDSERVERPB__COMPARE__COMPARE_TARGET_IS_INT_SIZE:
        break;
    }
    return 0;
}

static bool holds_for(const Compare *compare, const struct mvcc_row *row)
{
    int order = compare_kv(compare, row);
    switch (compare->result) {
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL:
        return order == 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL:
        return order != 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER:
        return order > 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS:
        return order < 0;
    case _ETCDSERVERPB__COMPARE__COMPARE_RESULT_IS_INT_SIZE:
        break;
    }
    return true; /* compatibility: an unknown operator holds */
}

/* On nothing: a value compare fails, the others see zeros. */
static bool holds_for_none(const Compare *compare)
{
    struct mvcc_row none = {0};
    return compare->target != ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE &&
           holds_for(compare, &none);
}

static bool holds_for_range(struct apply *apply, const Compare *compare)
{
    struct key_range range = key_range_of(pb_bytes(compare->key), pb_bytes(compare->range_end));
    struct mvcc_read read;
    struct slice raw;
    bool is_empty = true;
    bool holds = true;
    enum err err = mvcc_read_open(apply->options.mvcc, &range, 0, &read);
    ASSERT(err == ERR_OK); /* the current revision is never compacted */
    while (holds && mvcc_read_next(&read, &raw)) {
        struct mvcc_row row;
        if (mvcc_row_parse(raw, &row) != ERR_OK) {
            fatal("the database holds a row that is no key-value; restore it from a snapshot");
        }
        is_empty = false;
        holds = holds_for(compare, &row);
    }
    mvcc_read_close(&read);
    return is_empty ? holds_for_none(compare) : holds;
}

static bool holds(struct apply *apply, const Compare *compare)
{
    struct mvcc_row row;
    if (compare->range_end.len > 0) {
        return holds_for_range(apply, compare);
    }
    if (!mvcc_get(apply->options.mvcc, pb_bytes(compare->key), &row)) {
        return holds_for_none(compare);
    }
    return holds_for(compare, &row);
}

static void path_add(struct path *path, struct arena *arena, bool taken)
{
    if (path->count == path->cap) {
        size_t cap = path->cap == 0 ? 16 : path->cap * 2;
        bool *grown = arena_alloc(arena, cap * sizeof(bool));
        if (path->count > 0) {
            memcpy(grown, path->taken, path->count * sizeof(bool));
        }
        path->taken = grown;
        path->cap = cap;
    }
    path->taken[path->count++] = taken;
}

/* False: nested too deep. */
static bool path_find(struct apply *apply, const TxnRequest *txn, struct arena *arena,
                      struct path *path, size_t depth)
{
    bool succeeded = true;
    if (depth > TXN_DEPTH_MAX) {
        return false;
    }
    for (size_t i = 0; i < txn->n_compare && succeeded; i++) {
        succeeded = holds(apply, txn->compare[i]);
    }
    path_add(path, arena, succeeded);
    struct branch branch = branch_of(txn, succeeded);
    for (size_t i = 0; i < branch.count; i++) {
        if (branch.ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN &&
            !path_find(apply, branch.ops[i]->request_txn, arena, path, depth + 1)) {
            return false;
        }
    }
    return true;
}

/* ---- check ---------------------------------------------------------------------------------- */

typedef enum status op_check_fn(struct apply *apply, const RequestOp *op);

static enum status check_put_op(struct apply *apply, const RequestOp *op)
{
    return op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT
               ? apply__put_check(apply, op->request_put)
               : STATUS_OK;
}

static enum status check_range_op(struct apply *apply, const RequestOp *op)
{
    if (op->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE ||
        op->request_range->revision == 0) {
        return STATUS_OK;
    }
    if (op->request_range->revision > mvcc_revision(apply->options.mvcc)) {
        return STATUS_FUTURE_REVISION;
    }
    if (op->request_range->revision < mvcc_compact_revision(apply->options.mvcc)) {
        return STATUS_COMPACTED;
    }
    return STATUS_OK;
}

static enum status check_ops(struct apply *apply, const TxnRequest *txn, struct path *path,
                             op_check_fn *check)
{
    struct branch branch = branch_of(txn, path->taken[path->next++]);
    for (size_t i = 0; i < branch.count; i++) {
        bool is_txn = branch.ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
        enum status status = is_txn ? check_ops(apply, branch.ops[i]->request_txn, path, check)
                                    : check(apply, branch.ops[i]);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

/* ---- do ------------------------------------------------------------------------------------- */

static void do_txn(struct apply *apply, const TxnRequest *txn, struct path *path, struct buf *out);

/* Fields of the inner response: a header with only a revision, then its body. */
static void op_header(struct buf *out, size_t start, int64_t revision)
{
    struct reply_header header = {.revision = revision};
    struct buf head = {0};
    reply_put_header(&head, 1, &header);
    buf_extend(out, head.len);
    memmove(out->data + start + head.len, out->data + start, out->len - head.len - start);
    memcpy(out->data + start, head.data, head.len);
    buf_fini(&head);
}

/* One ResponseOp. The checks have passed, so nothing can be refused any more. */
static void do_op(struct apply *apply, const RequestOp *op, struct path *path, struct buf *out)
{
    size_t start = out->len;
    int64_t revision = 0;
    uint32_t field = 0;
    enum status status = STATUS_OK;
    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        status = apply__range_body(apply, op->request_range, out, &revision);
        field = 1;
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        status = apply__put_body(apply, op->request_put, out, &revision);
        field = 2;
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        apply__delete_body(apply, op->request_delete_range, out, &revision);
        field = 3;
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
        do_txn(apply, op->request_txn, path, out);
        reply_wrap(out, start, 4);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST__NOT_SET:
    case _ETCDSERVERPB__REQUEST_OP__REQUEST__CASE_IS_INT_SIZE:
        break;
    }
    /* A key that a put refers to may be deleted by an earlier request of the same transaction:
     * etcd's members would panic alike; we answer with an empty response and stay up. */
    UNUSED(status);
    if (field != 0) {
        op_header(out, start, revision);
        reply_wrap(out, start, field);
    }
    reply_wrap(out, start, 3);
}

/* succeeded and responses of a TxnResponse, behind an empty header when it is nested. */
static void do_body(struct apply *apply, const TxnRequest *txn, struct path *path, struct buf *out)
{
    bool succeeded = path->taken[path->next++];
    struct branch branch = branch_of(txn, succeeded);
    reply_put_uint(out, 2, succeeded);
    for (size_t i = 0; i < branch.count; i++) {
        do_op(apply, branch.ops[i], path, out);
    }
}

static void do_txn(struct apply *apply, const TxnRequest *txn, struct path *path, struct buf *out)
{
    struct reply_header none = {0};
    reply_put_header(out, 1, &none);
    do_body(apply, txn, path, out);
}

/* ---- entry points --------------------------------------------------------------------------- */

static enum status prepare(struct apply *apply, const TxnRequest *txn, bool is_write,
                           struct arena *arena, struct path *path)
{
    enum status status = STATUS_OK;
    if (!path_find(apply, txn, arena, path, 1)) {
        return STATUS_TOO_MANY_OPS;
    }
    if (is_write) {
        status = check_ops(apply, txn, path, check_put_op);
    }
    if (status == STATUS_OK) {
        path->next = 0;
        status = check_ops(apply, txn, path, check_range_op);
    }
    path->next = 0;
    return status;
}

enum status apply_txn_read(struct apply *apply, const TxnRequest *request, struct arena *arena,
                           struct slice *reply_out)
{
    struct path path = {0};
    if (alarms_any(apply->options.alarms, ALARM_CORRUPT)) {
        return STATUS_CORRUPT;
    }
    enum status status = prepare(apply, request, false, arena, &path);
    if (status != STATUS_OK) {
        return status;
    }
    buf_reset(&apply->scratch);
    do_body(apply, request, &path, &apply->scratch);
    *reply_out =
        apply__reply(apply, mvcc_revision(apply->options.mvcc), buf_slice(&apply->scratch), arena);
    return STATUS_OK;
}

enum status apply_txn(struct apply *apply, const TxnRequest *request, struct arena *arena,
                      struct slice *reply_out)
{
    struct path path = {0};
    uint64_t cost = apply_cost_txn(request);
    if (alarms_any(apply->options.alarms, ALARM_CORRUPT)) {
        return STATUS_CORRUPT;
    }
    if (cost > 0 && alarms_any(apply->options.alarms, ALARM_NOSPACE)) {
        return STATUS_NO_SPACE;
    }
    enum status status = prepare(apply, request, true, arena, &path);
    if (status != STATUS_OK) {
        return status;
    }
    bool has_room = apply_has_room(apply, cost);
    buf_reset(&apply->scratch);
    mvcc_begin(apply->options.mvcc);
    do_body(apply, request, &path, &apply->scratch);
    int64_t revision = mvcc_end(apply->options.mvcc);
    *reply_out = apply__reply(apply, revision, buf_slice(&apply->scratch), arena);
    return has_room ? STATUS_OK : STATUS_NO_SPACE;
}
