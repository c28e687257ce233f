/* What a request is made into, and how it is done.
 *
 * A Txn:
 *
 *   WORK_CHOOSE    every compare of it, nested ones included, is decided on the state before it;
 *                  the operations on the path chosen are listed in depth-first order
 *   WORK_CHECK_*   the list is checked: leases and keys of puts, then revisions of ranges
 *   WORK_DO        it is done in order in one write transaction of the store; ranges see the
 *                  writes before them
 *
 * So one that is refused has changed nothing, and none of the walks recurses, however deeply a
 * request is nested. The others begin at WORK_BEGIN with a list of one.
 *
 * Invariants:
 * 1. ops[0] has all others in it; an operation stands behind the transaction that it is in, and
 *    before what that does next.
 * 2. Between two steps nothing is under way that a write by somebody else would disturb: iterators
 *    are paused, a transaction is suspended, one that only reads is anchored. */
#include "server/work_priv.h"

#include "codec/pb.h"
#include "state/lease.h"

typedef Etcdserverpb__TxnRequest TxnRequest;
typedef Etcdserverpb__RequestOp RequestOp;
typedef Etcdserverpb__RangeRequest RangeRequest;
typedef Etcdserverpb__PutRequest PutRequest;
typedef Etcdserverpb__DeleteRangeRequest DeleteRangeRequest;

/* Units of an operation, besides what is in range.h and APPLY_DELETE_UNITS. */
#define CHOOSE_UNITS ((uint64_t)1)
#define CHECK_UNITS ((uint64_t)1)
#define PUT_UNITS ((uint64_t)10)

/* A Range of more rows, or with more bytes, is left open instead of copied. */
#define COPY_ROWS_MAX 64
#define COPY_BYTES_MAX ((uint64_t)32 * 1024)
/* The small answers grow in one place up to this; larger ones, or more of them, have places of
 * their own: doubling what is large is a long copy. */
#define OUT_MAX ((size_t)64 * 1024)
/* So many operations are listed in memory that is used again and again. */
#define OPS_LENT ((size_t)32)

/* ---- the list -------------------------------------------------------------------------------- */

static RequestOp **branch_of(const TxnRequest *txn, bool succeeded, size_t *count_out)
{
    *count_out = succeeded ? txn->n_success : txn->n_failure;
    return succeeded ? txn->success : txn->failure;
}

static void ops_reserve(struct work *work, size_t more)
{
    if (work->cap - work->count >= more) {
        return;
    }
    size_t cap = work->count + more > 2 * work->cap ? work->count + more : 2 * work->cap;
    struct work_op *grown = arena_alloc(work->arena, cap * sizeof(work->ops[0]));
    if (work->count > 0) {
        memcpy(grown, work->ops, work->count * sizeof(work->ops[0]));
    }
    work->ops = grown;
    work->cap = cap;
}

static struct work_op *op_add(struct work *work, enum work_op_kind kind, const void *request)
{
    ops_reserve(work, 1);
    ASSERT(work->count < UINT32_MAX);
    struct work_op *op = &work->ops[work->count++];
    *op = (struct work_op){.kind = kind, .request = request, .parent = (uint32_t)work->at};
    return op;
}

static void op_list(struct work *work, const RequestOp *op)
{
    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        op_add(work, WORK_OP_RANGE, op->request_range);
        return;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        op_add(work, WORK_OP_PUT, op->request_put);
        return;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        op_add(work, WORK_OP_DELETE, op->request_delete_range);
        return;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
        op_add(work, WORK_OP_TXN, op->request_txn);
        return;
    case ETCDSERVERPB__REQUEST_OP__REQUEST__NOT_SET:
    case _ETCDSERVERPB__REQUEST_OP__REQUEST__CASE_IS_INT_SIZE:
        op_add(work, WORK_OP_NONE, NULL);
        return;
    }
    UNREACHABLE();
}

/* The compares of the transaction under way. */
static bool decide(struct work *work, uint64_t *budget)
{
    struct work_op *txn = &work->ops[work->at];
    size_t count;
    if (!work__compare(work, txn->request, budget, &txn->succeeded)) {
        return false;
    }
    branch_of(txn->request, txn->succeeded, &count);
    ops_reserve(work, count);
    work->is_decided = true;
    return true;
}

/* Lists what the transaction under way does, up to the next that is in it. False: the budget is
 * used up. */
static bool list(struct work *work, uint64_t *budget)
{
    const struct work_op *txn = &work->ops[work->at];
    size_t count;
    RequestOp **ops = branch_of(txn->request, txn->succeeded, &count);
    while (work->ops[work->at].next < count) {
        if (*budget == 0) {
            return false;
        }
        work__spend(budget, CHOOSE_UNITS);
        op_list(work, ops[work->ops[work->at].next++]);
        struct work_op *added = &work->ops[work->count - 1]; /* the list may have moved */
        if (added->kind == WORK_OP_TXN) {
            added->depth = work->ops[work->at].depth + 1;
            work->at = work->count - 1;
            work->is_decided = false;
            return true;
        }
    }
    return true;
}

static bool choose(struct work *work, uint64_t *budget)
{
    for (;;) {
        if (work->ops[work->at].depth > TXN_DEPTH_MAX) {
            work->status = STATUS_TOO_MANY_OPS;
            return true;
        }
        if ((!work->is_decided && !decide(work, budget)) || !list(work, budget)) {
            return false;
        }
        if (work->is_decided && work->at == 0) {
            return true;
        }
        if (work->is_decided) {
            work->at = work->ops[work->at].parent;
        }
    }
}

/* ---- checks ---------------------------------------------------------------------------------- */

static bool check_puts(struct work *work, uint64_t *budget)
{
    for (; work->at < work->count; work->at++) {
        const struct work_op *op = &work->ops[work->at];
        if (*budget == 0) {
            return false;
        }
        work__spend(budget, CHECK_UNITS);
        if (op->kind == WORK_OP_PUT) {
            work->status = apply__put_check(work->apply, op->request);
            if (work->status != STATUS_OK) {
                return true;
            }
        }
    }
    return true;
}

static int64_t revision_before(const struct work *work)
{
    return work->is_anchored ? work->anchor->at : mvcc_revision(work->apply->options.mvcc);
}

static enum status check_range(const struct work *work, const RangeRequest *range)
{
    if (range->revision == 0) {
        return STATUS_OK;
    }
    if (range->revision > revision_before(work)) {
        return STATUS_FUTURE_REVISION;
    }
    if (range->revision < mvcc_compact_revision(work->apply->options.mvcc)) {
        return STATUS_COMPACTED;
    }
    return STATUS_OK;
}

static bool check_ranges(struct work *work, uint64_t *budget)
{
    for (; work->at < work->count; work->at++) {
        const struct work_op *op = &work->ops[work->at];
        if (*budget == 0) {
            return false;
        }
        work__spend(budget, CHECK_UNITS);
        if (op->kind == WORK_OP_RANGE) {
            work->status = check_range(work, op->request);
            if (work->status != STATUS_OK) {
                return true;
            }
        }
    }
    return true;
}

/* ---- ranges ---------------------------------------------------------------------------------- */

/* Room for `len` bytes of the operation's body. */
static uint8_t *body_place(struct work *work, struct work_op *op, size_t len)
{
    op->body_len = len;
    if (work->out.len + len > OUT_MAX) {
        op->body = arena_alloc(work->arena, len);
        return op->body;
    }
    op->body_at = work->out.len;
    return buf_extend(&work->out, len);
}

/* One key as it is now: what nearly every Range in a transaction asks for. */
static bool range_one(struct work *work, struct work_op *op)
{
    struct slice raw;
    if (work->is_anchored || !apply__range_one(work->apply, op->request, &raw)) {
        return false;
    }
    apply__one_put(raw, body_place(work, op, apply__one_len(raw)));
    op->revision = mvcc_revision(work->apply->options.mvcc);
    return true;
}

static struct range *rows_place(struct work *work)
{
    if (work->rows == NULL) {
        work->rows = arena_alloc(work->arena, sizeof(*work->rows));
    }
    return work->rows;
}

static enum status rows_open(struct work *work, const RangeRequest *request)
{
    struct range *rows = rows_place(work);
    enum status status = STATUS_OK;
    if (work->is_anchored && request->revision <= 0) {
        range_open_beside(work->anchor, request, NULL, rows);
    } else {
        status = range_open(work->apply->options.mvcc, request, NULL, rows);
    }
    work->is_ranging = status == STATUS_OK;
    return status;
}

/* Measured: copied if it is small, else left open. */
static void rows_end(struct work *work, struct work_op *op, uint64_t *budget)
{
    struct range *rows = work->rows;
    uint64_t len = range_len(rows);
    work->is_ranging = false;
    if (range_rows(rows) <= COPY_ROWS_MAX && len <= COPY_BYTES_MAX) {
        uint64_t all = UINT64_MAX;
        size_t filled = range_fill(rows, body_place(work, op, (size_t)len), (size_t)len, &all);
        ASSERT(filled == len);
        work__spend(budget, UINT64_MAX - all);
        range_close(rows);
        return;
    }
    range_pause(rows);
    op->rows = rows;
    work->rows = NULL;
    work->kept++;
}

static bool do_range(struct work *work, struct work_op *op, uint64_t *budget)
{
    if (!work->wants_reply) {
        return true;
    }
    if (!work->is_ranging) {
        work__spend(budget, RANGE_ROW_UNITS);
        if (range_one(work, op)) {
            return true;
        }
        enum status status = rows_open(work, op->request);
        if (status != STATUS_OK) { /* compacted since the check, by a later entry: only a read */
            ASSERT(work->kind == WORK_TXN_READ);
            work->status = status;
            return true;
        }
        op->revision = work->is_anchored ? work->anchor->at : work->rows->revision;
    }
    if (!range_measure(work->rows, budget)) {
        return false;
    }
    rows_end(work, op, budget);
    return true;
}

/* ---- writes ---------------------------------------------------------------------------------- */

static bool do_put(struct work *work, struct work_op *op, uint64_t *budget)
{
    const PutRequest *put = op->request;
    struct buf *out = &work->out;
    size_t start = out->len;
    /* A key that it refers to may be deleted by an earlier operation of the same transaction:
     * etcd's members would panic alike; we answer with an empty response and stay up. */
    enum status status = apply__put_body(work->apply, put, out, &op->revision);
    UNUSED(status);
    op->body_at = start;
    op->body_len = out->len - start;
    work__spend(budget, PUT_UNITS + (put->value.len + op->body_len) / RANGE_UNIT_BYTES);
    if (out->len > OUT_MAX && op->body_len > 0) {
        op->body = arena_dup(work->arena, out->data + start, op->body_len);
        out->len = start;
    }
    return true;
}

/* The rows that go are a Range of them, as of before. */
static void prev_kvs_open(struct work *work, struct work_op *op, uint64_t *budget)
{
    const DeleteRangeRequest *request = op->request;
    RangeRequest *range = pb_new(work->arena, &etcdserverpb__range_request__descriptor);
    range->key = request->key;
    range->range_end = request->range_end;
    enum status status = rows_open(work, range);
    ASSERT(status == STATUS_OK); /* the current revision is never compacted */
    bool is_measured = range_measure(work->rows, budget);
    ASSERT(is_measured); /* by the index */
    range_be_prev_kvs(work->rows);
    rows_end(work, op, budget);
}

static bool do_delete(struct work *work, struct work_op *op, uint64_t *budget)
{
    const DeleteRangeRequest *request = op->request;
    struct mvcc *mvcc = work->apply->options.mvcc;
    if (!work->is_deleting) {
        struct key_range keys = key_range_of(pb_bytes(request->key), pb_bytes(request->range_end));
        if (request->prev_kv && work->wants_reply) {
            prev_kvs_open(work, op, budget);
        }
        mvcc_delete_begin(mvcc, &keys, &work->keys);
        work->is_deleting = true;
    }
    uint64_t keys = *budget / APPLY_DELETE_UNITS + 1;
    uint64_t left = keys;
    bool is_done = mvcc_delete_step(mvcc, &work->keys, &left);
    work__spend(budget, (keys - left) * APPLY_DELETE_UNITS);
    if (is_done) {
        work->is_deleting = false;
        op->deleted = work->keys.count;
        op->revision = mvcc_revision(mvcc);
    }
    return is_done;
}

/* All keys of the lease go in one revision, in their order, which every member must share. */
static bool do_revoke(struct work *work, struct work_op *op, uint64_t *budget)
{
    struct lessor *lessor = work->apply->options.lessor;
    struct mvcc *mvcc = work->apply->options.mvcc;
    struct slice key;
    while (lessor_first_key(lessor, work->lease, &key)) {
        if (*budget == 0) {
            return false;
        }
        buf_reset(&work->out);
        buf_append_slice(&work->out, key); /* detaching frees the lessor's bytes */
        struct key_range range = key_range_of(buf_slice(&work->out), SLICE_EMPTY);
        mvcc_delete(mvcc, &range);
        lessor_attach(lessor, range.from, 0); /* the store has told it, too */
        work__spend(budget, APPLY_DELETE_UNITS);
    }
    op->revision = mvcc_revision(mvcc);
    return true;
}

static bool do_nothing(struct work *work, struct work_op *op, uint64_t *budget)
{
    UNUSED(work);
    UNUSED(op);
    UNUSED(budget);
    return true;
}

static bool begin(struct work *work, uint64_t *budget)
{
    UNUSED(budget);
    if (work->kind == WORK_TXN && !apply_has_room(work->apply, work->cost)) {
        work->lacks_room = true;
    }
    if (work->kind != WORK_TXN_READ) {
        mvcc_begin(work->apply->options.mvcc);
        work->is_begun = true;
    }
    return true;
}

static bool do_all(struct work *work, uint64_t *budget)
{
    static bool (*const does[])(struct work * work, struct work_op * op, uint64_t * budget) = {
        [WORK_OP_NONE] = do_nothing,  [WORK_OP_RANGE] = do_range, [WORK_OP_PUT] = do_put,
        [WORK_OP_DELETE] = do_delete, [WORK_OP_TXN] = do_nothing, [WORK_OP_REVOKE] = do_revoke,
    };
    for (; work->at < work->count && work->status == STATUS_OK; work->at++) {
        struct work_op *op = &work->ops[work->at];
        if (*budget == 0 || !does[op->kind](work, op, budget)) {
            return false;
        }
    }
    return true;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* To the next stage, which begins at the first operation, or at the last. */
static void stage_end(struct work *work)
{
    work->stage++;
    work->at = 0;
    if (work->status != STATUS_OK || (work->stage == WORK_MEASURE && !work->wants_reply)) {
        work->stage = WORK_END;
        return;
    }
    if (work->stage == WORK_CHECK_PUTS && work->kind == WORK_TXN_READ) {
        work->stage = WORK_CHECK_RANGES;
    }
    if (work->stage == WORK_MEASURE) {
        if (work->ops[0].kind == WORK_OP_TXN) {
            work->ops[0].revision = revision_before(work); /* and after, when it has written */
        }
        work->at = work->count;
    }
}

static void pause(struct work *work)
{
    struct mvcc *mvcc = work->apply->options.mvcc;
    if (work->is_comparing) {
        mvcc_read_pause(work->compared);
    }
    if (work->is_ranging) {
        range_pause(work->rows);
    }
    if (work->is_begun) {
        mvcc_suspend(mvcc, work->is_deleting ? &work->keys : NULL);
    }
    if (work->kind == WORK_TXN_READ && !work->is_anchored) {
        struct key_range none = {.kind = KEY_ONE};
        work->anchor = arena_alloc(work->arena, sizeof(*work->anchor));
        enum err err = mvcc_read_open(mvcc, &none, 0, work->anchor);
        ASSERT(err == ERR_OK); /* the current revision is never compacted */
        work->is_anchored = true;
    }
    work->is_suspended = true;
}

bool work_step(struct work *work, uint64_t *budget)
{
    static bool (*const stages[])(struct work * work, uint64_t * budget) = {
        [WORK_CHOOSE] = choose,
        [WORK_CHECK_PUTS] = check_puts,
        [WORK_CHECK_RANGES] = check_ranges,
        [WORK_BEGIN] = begin,
        [WORK_DO] = do_all,
        [WORK_MEASURE] = work__measure,
        [WORK_LAY_OUT] = work__lay_out,
    };
    if (work->is_suspended && work->is_begun) {
        mvcc_resume(work->apply->options.mvcc);
    }
    work->is_suspended = false;
    while (work->stage != WORK_END) {
        if (!stages[work->stage](work, budget)) {
            pause(work);
            return false;
        }
        stage_end(work);
    }
    return true;
}

/* ---- life ------------------------------------------------------------------------------------ */

static enum work_op_kind first_kind(enum work_kind kind)
{
    switch (kind) {
    case WORK_TXN:
    case WORK_TXN_READ:
        return WORK_OP_TXN;
    case WORK_DELETE:
        return WORK_OP_DELETE;
    case WORK_REVOKE:
        return WORK_OP_REVOKE;
    }
    UNREACHABLE();
}

/* What refuses it before anything is looked at. */
static enum status refuses(struct work *work)
{
    struct apply *apply = work->apply;
    switch (work->kind) {
    case WORK_TXN:
        work->cost = apply_cost_txn(work->request);
        return apply__alarm_refuses(apply, work->cost);
    case WORK_TXN_READ:
        return apply__alarm_refuses(apply, 0);
    case WORK_DELETE: {
        enum status status = apply__alarm_refuses(apply, 0);
        const DeleteRangeRequest *request = work->request;
        return status == STATUS_OK && request->key.len == 0 ? STATUS_EMPTY_KEY : status;
    }
    case WORK_REVOKE: {
        enum status status = apply__alarm_refuses(apply, 0);
        const Etcdserverpb__LeaseRevokeRequest *request = work->request;
        work->lease = request->id;
        return status == STATUS_OK && !lessor_has(apply->options.lessor, work->lease)
                   ? STATUS_LEASE_NOT_FOUND
                   : status;
    }
    }
    UNREACHABLE();
}

/* Not as one assignment: what is large in it is set when it is used. */
static void work_init(struct work *work, struct apply *apply, enum work_kind kind,
                      const void *request, struct arena *arena, bool wants_reply)
{
    memset(work, 0, offsetof(struct work, keys));
    work->apply = apply;
    work->kind = kind;
    work->request = request;
    work->arena = arena;
    work->wants_reply = wants_reply;
    work->stage = kind == WORK_TXN || kind == WORK_TXN_READ ? WORK_CHOOSE : WORK_BEGIN;
}

/* What small work needs is there: without a malloc, and warm. */
static void borrow(struct work *work)
{
    struct apply *apply = work->apply;
    work->out = apply->scratch;
    apply->scratch = (struct buf){0};
    buf_reset(&work->out);
    work->lent = apply->ops != NULL ? apply->ops : mem_array(OPS_LENT, sizeof(work->lent[0]));
    apply->ops = NULL;
    work->ops = work->lent;
    work->cap = OPS_LENT;
}

enum status work_open(struct work *work, struct apply *apply, enum work_kind kind,
                      const void *request, struct arena *arena, bool wants_reply)
{
    work_init(work, apply, kind, request, arena, wants_reply);
    enum status status = refuses(work);
    if (status != STATUS_OK) {
        return status;
    }
    if (kind == WORK_REVOKE) {
        lessor_revoke_begin(apply->options.lessor, work->lease);
    }
    borrow(work);
    op_add(work, first_kind(kind), request)->depth = 1;
    return STATUS_OK;
}

/* A reply larger than this does not leave its memory behind. */
static void give_back(struct work *work)
{
    struct buf *scratch = &work->apply->scratch;
    if (work->apply->ops != NULL) {
        mem_free(work->lent);
    } else {
        work->apply->ops = work->lent;
    }
    work->lent = NULL;
    if (scratch->data != NULL || work->out.cap > 2 * OUT_MAX) {
        buf_fini(&work->out);
    } else {
        *scratch = work->out;
    }
    work->out = (struct buf){0};
}

static void rows_close(struct work *work)
{
    for (size_t i = 0; work->kept > 0; i++) {
        if (work->ops[i].rows != NULL) {
            range_close(work->ops[i].rows);
            work->kept--;
        }
    }
}

enum status work_end(struct work *work, struct slice *reply_out, struct pieces **pieces_out)
{
    enum status status = work->status;
    ASSERT(work->stage == WORK_END);
    ASSERT(!work->is_comparing);
    ASSERT(!work->is_ranging);
    if (work->is_begun) {
        mvcc_end(work->apply->options.mvcc);
        work->is_begun = false;
    }
    if (work->kind == WORK_REVOKE) {
        lessor_revoke(work->apply->options.lessor, work->lease);
    }
    if (status == STATUS_OK && work->lacks_room) {
        status = STATUS_NO_SPACE;
    }
    *reply_out = SLICE_EMPTY;
    *pieces_out = NULL;
    if (status == STATUS_OK) {
        *pieces_out = work->pieces;
        work->kept = 0; /* they are the pieces' */
    }
    if (work->status == STATUS_OK && work->wants_reply && work->pieces == NULL) {
        *reply_out = slice_of(work->text, (size_t)(work->text_end - work->text));
    }
    work_close(work);
    return status;
}

void work_close(struct work *work)
{
    ASSERT(!work->is_begun);
    if (work->is_comparing) {
        mvcc_read_close(work->compared);
        work->is_comparing = false;
    }
    if (work->is_ranging) {
        range_close(work->rows);
        work->is_ranging = false;
    }
    rows_close(work);
    if (work->is_anchored) {
        mvcc_read_close(work->anchor);
        work->is_anchored = false;
    }
    give_back(work);
}
