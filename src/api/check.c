/* The duplicate check of a transaction.
 *
 * No key may be put twice, or put and deleted, in one branch of a Txn, nested branches included;
 * the two branches of one nested Txn exclude each other, so the same key may be put in both.
 * A level's deletes are collected first, then each nested Txn's puts and deletes in order, then
 * the level's own puts. Compatibility: etcd takes a delete's range_end literally, so one of "\0"
 * (every key from here) is an interval that ends before it begins and collides with nothing;
 * api/check_test.c pins that. */
#include "api/check.h"

#include "base/coll.h"
#include "base/digest.h"
#include "base/mem.h"

typedef Etcdserverpb__RequestOp RequestOp;

static struct slice bytes(ProtobufCBinaryData data)
{
    return slice_of(data.data, data.len);
}

enum status check_range(const Etcdserverpb__RangeRequest *request)
{
    if (request->key.len == 0) {
        return STATUS_EMPTY_KEY;
    }
    if ((unsigned)request->sort_order > ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND ||
        (unsigned)request->sort_target > ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE) {
        return STATUS_INVALID_SORT_OPTION;
    }
    return STATUS_OK;
}

enum status check_put(const Etcdserverpb__PutRequest *request)
{
    if (request->key.len == 0) {
        return STATUS_EMPTY_KEY;
    }
    if (request->ignore_value && request->value.len != 0) {
        return STATUS_VALUE_PROVIDED;
    }
    if (request->ignore_lease && request->lease != 0) {
        return STATUS_LEASE_PROVIDED;
    }
    return STATUS_OK;
}

enum status check_delete_range(const Etcdserverpb__DeleteRangeRequest *request)
{
    return request->key.len == 0 ? STATUS_EMPTY_KEY : STATUS_OK;
}

/* ---- limits and fields --------------------------------------------------------------------- */

static enum status check_fields(const Etcdserverpb__TxnRequest *txn, size_t ops_max);

static enum status check_op(const RequestOp *op, size_t ops_max)
{
    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        return check_range(op->request_range);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        return check_put(op->request_put);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        return check_delete_range(op->request_delete_range);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
        return check_fields(op->request_txn, ops_max);
    case ETCDSERVERPB__REQUEST_OP__REQUEST__NOT_SET:
    case _ETCDSERVERPB__REQUEST_OP__REQUEST__CASE_IS_INT_SIZE:
        break;
    }
    return STATUS_KEY_NOT_FOUND; /* an empty RequestOp */
}

static enum status check_fields(const Etcdserverpb__TxnRequest *txn, size_t ops_max)
{
    size_t ops = txn->n_compare;
    ops = txn->n_success > ops ? txn->n_success : ops;
    ops = txn->n_failure > ops ? txn->n_failure : ops;
    if (ops > ops_max) {
        return STATUS_TOO_MANY_OPS;
    }
    for (size_t i = 0; i < txn->n_compare; i++) {
        if (txn->compare[i]->key.len == 0) {
            return STATUS_EMPTY_KEY;
        }
    }
    for (size_t i = 0; i < txn->n_success + txn->n_failure; i++) {
        const RequestOp *op =
            i < txn->n_success ? txn->success[i] : txn->failure[i - txn->n_success];
        enum status status = check_op(op, ops_max - ops);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

/* ---- duplicates ---------------------------------------------------------------------------- */

struct put {
    struct map_node node;
    struct slice key;
};

struct interval {
    struct slice begin;
    struct slice end; /* exclusive; unused when is_point */
    bool is_point;
};

/* Intervals in order that do not overlap. */
struct run {
    struct interval *items;
    size_t count;
};

/* What a branch writes. Deletes are kept in runs, each less than half as long as the one before it:
 * adding n of them takes O(n log n) in all and asking for a key O(log^2 n), so that no request,
 * however nested, holds the loop for long. */
#define RUNS_MAX 64
struct writes {
    struct map puts; /* in the check's arena */
    struct run runs[RUNS_MAX];
    size_t run_count;
};

static bool put_is(const struct map_node *node, const void *key)
{
    const struct put *put = (const struct put *)((const char *)node - offsetof(struct put, node));
    return slice_eq(put->key, *(const struct slice *)key);
}

static bool has_put(const struct writes *writes, struct slice key)
{
    return map_find(&writes->puts, hash64(0, key), put_is, &key) != NULL;
}

static void put_add(struct writes *writes, struct arena *arena, struct slice key)
{
    struct put *put = ARENA_NEW(arena, struct put);
    put->key = key;
    map_insert(&writes->puts, &put->node, hash64(0, key));
}

static void writes_fini(struct writes *writes)
{
    for (size_t i = 0; i < writes->run_count; i++) {
        mem_free(writes->runs[i].items);
    }
    map_fini(&writes->puts);
}

/* Adds an interval behind the others, or widens the last of them where the two overlap. */
static void run_append(struct run *run, const struct interval *next)
{
    struct interval *last = run->count == 0 ? NULL : &run->items[run->count - 1];
    if (last == NULL || (last->is_point ? !slice_eq(last->begin, next->begin)
                                        : slice_cmp(last->end, next->begin) <= 0)) {
        run->items[run->count++] = *next;
    } else if (last->is_point) {
        *last = *next;
    } else if (!next->is_point && slice_cmp(last->end, next->end) < 0) {
        last->end = next->end;
    }
}

/* The union of both, whose memory it takes. */
static struct run run_merge(struct run a, struct run b)
{
    struct run out = {.items = mem_array(a.count + b.count, sizeof(struct interval))};
    size_t i = 0;
    size_t k = 0;
    while (i < a.count || k < b.count) {
        bool take_a =
            k == b.count || (i < a.count && slice_cmp(a.items[i].begin, b.items[k].begin) <= 0);
        run_append(&out, take_a ? &a.items[i++] : &b.items[k++]);
    }
    mem_free(a.items);
    mem_free(b.items);
    return out;
}

static void run_add(struct writes *writes, struct run run)
{
    while (writes->run_count > 0 && writes->runs[writes->run_count - 1].count <= run.count * 2) {
        run = run_merge(writes->runs[--writes->run_count], run);
    }
    ASSERT(writes->run_count < RUNS_MAX);
    writes->runs[writes->run_count++] = run;
}

static void delete_add(struct writes *writes, struct interval interval)
{
    if (interval.is_point || slice_cmp(interval.begin, interval.end) < 0) {
        run_add(writes, (struct run){.items = mem_dup(&interval, sizeof(interval)), .count = 1});
    }
}

static bool run_has(const struct run *run, struct slice key)
{
    size_t low = 0; /* the first interval that begins behind the key */
    size_t high = run->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_cmp(run->items[middle].begin, key) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const struct interval *found = low == 0 ? NULL : &run->items[low - 1];
    return found != NULL &&
           (found->is_point ? slice_eq(found->begin, key) : slice_cmp(key, found->end) < 0);
}

static bool is_deleted(const struct writes *writes, struct slice key)
{
    for (size_t i = 0; i < writes->run_count; i++) {
        if (run_has(&writes->runs[i], key)) {
            return true;
        }
    }
    return false;
}

static enum status check_writes(RequestOp **ops, size_t count, struct arena *arena,
                                struct writes *out);

/* Puts of one nested branch against what is known so far; those also in `other` are safe. */
static enum status merge_puts(struct writes *writes, const struct writes *branch,
                              const struct writes *other, struct arena *arena)
{
    for (size_t i = 0; i < branch->puts.bucket_count; i++) {
        for (struct map_node *node = branch->puts.buckets[i]; node != NULL; node = node->next) {
            struct slice key = CONTAINER_OF(node, struct put, node)->key;
            if (other != NULL && has_put(other, key)) {
                continue;
            }
            if (has_put(writes, key) || is_deleted(writes, key)) {
                return STATUS_DUPLICATE_KEY;
            }
            put_add(writes, arena, key);
        }
    }
    return STATUS_OK;
}

static void merge_deletes(struct writes *writes, struct writes *branch)
{
    while (branch->run_count > 0) {
        run_add(writes, branch->runs[--branch->run_count]);
    }
}

static enum status check_nested(const Etcdserverpb__TxnRequest *txn, struct arena *arena,
                                struct writes *writes)
{
    struct writes success = {0};
    struct writes failure = {0};
    enum status status = check_writes(txn->success, txn->n_success, arena, &success);
    if (status == STATUS_OK) {
        status = check_writes(txn->failure, txn->n_failure, arena, &failure);
    }
    if (status == STATUS_OK) {
        status = merge_puts(writes, &success, NULL, arena);
    }
    if (status == STATUS_OK) {
        status = merge_puts(writes, &failure, &success, arena);
    }
    if (status == STATUS_OK) {
        merge_deletes(writes, &success);
        merge_deletes(writes, &failure);
    }
    writes_fini(&success);
    writes_fini(&failure);
    return status;
}

static enum status check_writes(RequestOp **ops, size_t count, struct arena *arena,
                                struct writes *out)
{
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE) {
            const Etcdserverpb__DeleteRangeRequest *del = ops[i]->request_delete_range;
            delete_add(out, (struct interval){.begin = bytes(del->key),
                                              .end = bytes(del->range_end),
                                              .is_point = del->range_end.len == 0});
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN) {
            enum status status = check_nested(ops[i]->request_txn, arena, out);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT) {
            struct slice key = bytes(ops[i]->request_put->key);
            if (has_put(out, key) || is_deleted(out, key)) {
                return STATUS_DUPLICATE_KEY;
            }
            put_add(out, arena, key);
        }
    }
    return STATUS_OK;
}

static enum status check_branch(RequestOp **ops, size_t count)
{
    struct writes writes = {0};
    struct arena arena;
    if (count == 0) {
        return STATUS_OK;
    }
    arena_init(&arena);
    enum status status = check_writes(ops, count, &arena, &writes);
    writes_fini(&writes);
    arena_fini(&arena);
    return status;
}

enum status check_txn(const Etcdserverpb__TxnRequest *request, size_t ops_max)
{
    enum status status = check_fields(request, ops_max);
    if (status == STATUS_OK) {
        status = check_branch(request->success, request->n_success);
    }
    if (status == STATUS_OK) {
        status = check_branch(request->failure, request->n_failure);
    }
    return status;
}

/* ---- kinds of transactions ----------------------------------------------------------------- */

bool txn_is_write(const Etcdserverpb__TxnRequest *request)
{
    for (size_t i = 0; i < request->n_success + request->n_failure; i++) {
        const RequestOp *op =
            i < request->n_success ? request->success[i] : request->failure[i - request->n_success];
        if (op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN) {
            if (txn_is_write(op->request_txn)) {
                return true;
            }
        } else if (op->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE) {
            return true;
        }
    }
    return false;
}

/* Compatibility: etcd looks at the two top-level branches only. */
bool txn_is_serializable(const Etcdserverpb__TxnRequest *request)
{
    for (size_t i = 0; i < request->n_success + request->n_failure; i++) {
        const RequestOp *op =
            i < request->n_success ? request->success[i] : request->failure[i - request->n_success];
        if (op->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE ||
            !op->request_range->serializable) {
            return false;
        }
    }
    return true;
}
