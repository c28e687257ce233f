#include "api/contend.h"

#include "api/check.h"

#include <inttypes.h>
#include <stdio.h>

/* Compatibility: of a lease that is made for a caller without one. */
#define SESSION_TTL_S 60

/* ---- errands -------------------------------------------------------------------------------- */

void errand_init(struct errand *errand, struct grpc_call *call)
{
    *errand = (struct errand){.call = call, .api = rpc__api(call)};
}

static void on_done(struct server_request *request)
{
    struct errand *errand = CONTAINER_OF(request, struct errand, request);
    errand->is_out = false;
    errand->next(errand, request->status);
}

static void submit(struct errand *errand, enum request_kind kind, const void *message,
                   errand_next_fn *next)
{
    struct arena *arena = grpc_call_arena(errand->call);
    ASSERT(!errand->is_out);
    errand->is_out = true;
    errand->next = next;
    errand->request = (struct server_request){
        .kind = kind,
        .message = message,
        .encoded = request_is_write(kind) ? pb_encode_arena(message, arena) : SLICE_EMPTY,
        .arena = arena,
        .started = loop_now(errand->api->options.loop),
        .done = on_done,
    };
    server_submit(errand->api->server, &errand->request);
}

void errand_range(struct errand *errand, const Etcdserverpb__RangeRequest *range,
                  errand_next_fn *next)
{
    submit(errand, REQUEST_RANGE, range, next);
}

void errand_txn(struct errand *errand, const Etcdserverpb__TxnRequest *txn, errand_next_fn *next)
{
    enum status status = check_txn(txn, errand->api->config->max_txn_ops);
    if (status != STATUS_OK) {
        next(errand, status);
        return;
    }
    submit(errand, REQUEST_TXN, txn, next);
}

void errand_delete(struct errand *errand, struct slice key, errand_next_fn *next)
{
    Etcdserverpb__DeleteRangeRequest *request =
        pb_new(grpc_call_arena(errand->call), &etcdserverpb__delete_range_request__descriptor);
    request->key = pb_binary(key);
    enum status status = check_delete_range(request);
    if (status != STATUS_OK) {
        next(errand, status);
        return;
    }
    submit(errand, REQUEST_DELETE_RANGE, request, next);
}

void *errand_reply(struct errand *errand, const ProtobufCMessageDescriptor *type)
{
    void *reply = NULL;
    enum err err = pb_decode_limits(grpc_call_arena(errand->call), type, errand->request.reply,
                                    PB_LIMITS_NONE, &reply, NULL);
    ASSERT(err == ERR_OK); /* our own server's */
    return reply;
}

void errand_fail(struct grpc_call *call, enum status status)
{
    if (status == STATUS_CANCELED || status == STATUS_DEADLINE_EXCEEDED ||
        status == STATUS_STOPPED) {
        rpc__finish_status(call, status); /* nobody reads it, or it is the truth about us */
    } else {
        rpc__finish(call, GRPC_UNKNOWN, status_row(status)->text);
    }
}

void errand_cancel(struct grpc_call *call, enum grpc_status why)
{
    struct errand *errand = grpc_call_data(call);
    ASSERT(errand->is_out); /* else it is finished */
    server_cancel(errand->api->server, &errand->request,
                  why == GRPC_DEADLINE_EXCEEDED ? STATUS_DEADLINE_EXCEEDED
                  : why == GRPC_UNAVAILABLE     ? STATUS_STOPPED
                                                : STATUS_CANCELED);
}

/* ---- messages ------------------------------------------------------------------------------- */

struct slice errand_prefix(struct arena *arena, struct slice name)
{
    uint8_t *prefix = arena_alloc(arena, name.len + 1);
    if (name.len > 0) {
        memcpy(prefix, name.data, name.len);
    }
    prefix[name.len] = '/';
    return slice_of(prefix, name.len + 1);
}

/* Keys that begin with `prefix`, which ends in a slash. */
static Etcdserverpb__RangeRequest *range_of(struct arena *arena, struct slice prefix)
{
    Etcdserverpb__RangeRequest *range = pb_new(arena, &etcdserverpb__range_request__descriptor);
    uint8_t *end = arena_dup(arena, prefix.data, prefix.len);
    ASSERT(prefix.len > 0 && end[prefix.len - 1] == '/');
    end[prefix.len - 1]++;
    range->key = pb_binary(prefix);
    range->range_end = pb_binary(slice_of(end, prefix.len));
    return range;
}

Etcdserverpb__RangeRequest *errand_first_create(struct arena *arena, struct slice prefix)
{
    Etcdserverpb__RangeRequest *range = range_of(arena, prefix);
    range->limit = 1;
    range->sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE;
    range->sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND;
    return range;
}

/* The youngest that is older than `rev`. */
static Etcdserverpb__RangeRequest *predecessor(struct arena *arena, struct slice prefix,
                                               int64_t rev)
{
    Etcdserverpb__RangeRequest *range = errand_first_create(arena, prefix);
    range->sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    range->max_create_revision = rev - 1;
    range->keys_only = true;
    return range;
}

static Etcdserverpb__RangeRequest *range_key(struct arena *arena, struct slice key)
{
    Etcdserverpb__RangeRequest *range = pb_new(arena, &etcdserverpb__range_request__descriptor);
    range->key = pb_binary(key);
    return range;
}

/* Room for the few operations that are needed. */
enum { OPS_MAX = 2 };

Etcdserverpb__TxnRequest *errand_guarded(struct arena *arena, struct slice key, int64_t rev)
{
    Etcdserverpb__TxnRequest *txn = pb_new(arena, &etcdserverpb__txn_request__descriptor);
    Etcdserverpb__Compare *compare = pb_new(arena, &etcdserverpb__compare__descriptor);
    compare->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE;
    compare->result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL;
    compare->key = pb_binary(key);
    compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
    compare->create_revision = rev;
    txn->compare = arena_alloc(arena, sizeof(txn->compare[0]));
    txn->compare[0] = compare;
    txn->n_compare = 1;
    txn->success = arena_alloc(arena, OPS_MAX * sizeof(txn->success[0]));
    txn->failure = arena_alloc(arena, OPS_MAX * sizeof(txn->failure[0]));
    return txn;
}

static Etcdserverpb__RequestOp *add_op(struct arena *arena, Etcdserverpb__RequestOp **ops,
                                       size_t *count,
                                       Etcdserverpb__RequestOp__RequestCase request_case)
{
    Etcdserverpb__RequestOp *op = pb_new(arena, &etcdserverpb__request_op__descriptor);
    ASSERT(*count < OPS_MAX);
    op->request_case = request_case;
    ops[(*count)++] = op;
    return op;
}

void errand_add_put(struct arena *arena, Etcdserverpb__TxnRequest *txn, struct slice key,
                    struct slice value, int64_t lease)
{
    Etcdserverpb__PutRequest *put = pb_new(arena, &etcdserverpb__put_request__descriptor);
    put->key = pb_binary(key);
    put->value = pb_binary(value);
    put->lease = lease;
    add_op(arena, txn->success, &txn->n_success, ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
        ->request_put = put;
}

void errand_add_delete(struct arena *arena, Etcdserverpb__TxnRequest *txn, struct slice key)
{
    Etcdserverpb__DeleteRangeRequest *request =
        pb_new(arena, &etcdserverpb__delete_range_request__descriptor);
    request->key = pb_binary(key);
    add_op(arena, txn->success, &txn->n_success,
           ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE)
        ->request_delete_range = request;
}

static void add_range(struct arena *arena, Etcdserverpb__RequestOp **ops, size_t *count,
                      Etcdserverpb__RangeRequest *range)
{
    add_op(arena, ops, count, ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE)->request_range =
        range;
}

/* ---- the end -------------------------------------------------------------------------------- */

static struct contender *contender_of(struct errand *errand)
{
    return CONTAINER_OF(errand, struct contender, errand);
}

static struct arena *arena_of(struct contender *c)
{
    return grpc_call_arena(c->errand.call);
}

static void finish(struct contender *c)
{
    watch_stream_close(&c->stream);
    rpc__lasting_end(&c->lasting);
    if (c->canceled != STATUS_OK) {
        rpc__finish_status(c->errand.call, c->canceled);
    } else {
        rpc__finish(c->errand.call, GRPC_UNKNOWN, c->failure);
    }
}

static void taken_away(struct errand *errand, enum status status)
{
    UNUSED(status); /* if it could not be, the lease's end will */
    finish(contender_of(errand));
}

/* It does not win: its key, if this call has made it, goes. */
static void give_up(struct contender *c)
{
    struct arena *arena = arena_of(c);
    watch_stream_close(&c->stream);
    if (!c->is_ours || c->canceled == STATUS_STOPPED) {
        finish(c);
        return;
    }
    Etcdserverpb__TxnRequest *txn = errand_guarded(arena, c->key, c->rev);
    errand_add_delete(arena, txn, c->key);
    c->is_ours = false;
    errand_txn(&c->errand, txn, taken_away);
}

/* What the server answers: false when it does not go on, and has been seen to. */
static bool goes_on(struct contender *c, enum status status)
{
    if (c->canceled == STATUS_OK && status == STATUS_OK) {
        return true;
    }
    if (c->canceled == STATUS_OK && status == STATUS_STOPPED) {
        c->canceled = STATUS_STOPPED;
    }
    c->failure = status_row(status)->text;
    give_up(c);
    return false;
}

static void win(struct contender *c)
{
    rpc__lasting_end(&c->lasting);
    c->won(c);
}

/* ---- waiting -------------------------------------------------------------------------------- */

static void look(struct contender *c);

static void on_deleted(void *ctx, const struct watch_batch *batch)
{
    struct contender *c = ctx;
    UNUSED(batch);
    watch_stream_close(&c->stream);
    look(c);
}

/* Compaction went past the revision that it wanted: looking again is as good. */
static void on_watch_canceled(void *ctx, watch_id id, int64_t compact_revision, const char *reason)
{
    struct contender *c = ctx;
    UNUSED(id);
    UNUSED(compact_revision);
    UNUSED(reason);
    watch_stream_close(&c->stream);
    look(c);
}

static const struct watch_sink sink = {.events = on_deleted, .canceled = on_watch_canceled};

static void wait_for(struct contender *c, struct slice key, int64_t revision)
{
    watch_id id;
    const char *why = NULL;
    struct watch_request request = {
        .key = key,
        .start_revision = revision + 1,
        .flags = WATCH_NO_PUT,
    };
    c->stream = watch_stream_open(server_watch_hub(c->errand.api->server), &sink, c);
    if (watch_create(c->stream, &request, &id, &why) != ERR_OK) {
        c->failure = why != NULL ? why : "lost watcher waiting for delete";
        give_up(c);
    }
}

/* The own key still stands: it is our turn. */
static void checked(struct errand *errand, enum status status)
{
    struct contender *c = contender_of(errand);
    if (!goes_on(c, status)) {
        return;
    }
    const Etcdserverpb__RangeResponse *reply =
        errand_reply(errand, &etcdserverpb__range_response__descriptor);
    if (reply->n_kvs == 0 || reply->kvs[0]->create_revision != c->rev) {
        c->is_ours = false;
        c->failure = c->is_election ? ERRAND_NOT_LEADER : ERRAND_EXPIRED;
        give_up(c);
        return;
    }
    if (!c->is_election) {
        c->header = reply->header; /* compatibility: a lock's revision is that of its turn */
    }
    win(c);
}

static void looked(struct errand *errand, enum status status)
{
    struct contender *c = contender_of(errand);
    if (!goes_on(c, status)) {
        return;
    }
    const Etcdserverpb__RangeResponse *reply =
        errand_reply(errand, &etcdserverpb__range_response__descriptor);
    if (reply->n_kvs > 0) {
        wait_for(c, pb_bytes(reply->kvs[0]->key), reply->header->revision);
        return;
    }
    errand_range(errand, range_key(arena_of(c), c->key), checked);
}

static void look(struct contender *c)
{
    errand_range(&c->errand, predecessor(arena_of(c), c->prefix, c->rev), looked);
}

/* ---- entering ------------------------------------------------------------------------------- */

static void proclaimed(struct errand *errand, enum status status)
{
    struct contender *c = contender_of(errand);
    if (!goes_on(c, status)) {
        return;
    }
    const Etcdserverpb__TxnResponse *reply =
        errand_reply(errand, &etcdserverpb__txn_response__descriptor);
    if (!reply->succeeded) {
        c->failure = ERRAND_NOT_LEADER;
        give_up(c);
        return;
    }
    look(c);
}

/* The key was there: this lease contends already, perhaps with another value. */
static void came_back(struct contender *c, const Mvccpb__KeyValue *kv)
{
    struct arena *arena = arena_of(c);
    c->rev = kv->create_revision;
    if (c->is_election && !slice_eq(pb_bytes(kv->value), c->value)) {
        Etcdserverpb__TxnRequest *txn = errand_guarded(arena, c->key, c->rev);
        errand_add_put(arena, txn, c->key, c->value, c->lease);
        errand_txn(&c->errand, txn, proclaimed);
        return;
    }
    look(c);
}

static void entered(struct errand *errand, enum status status)
{
    struct contender *c = contender_of(errand);
    if (status == STATUS_OK) {
        const Etcdserverpb__TxnResponse *reply =
            errand_reply(errand, &etcdserverpb__txn_response__descriptor);
        c->header = reply->header;
        c->rev = reply->header->revision;
        c->is_ours = reply->succeeded;
    }
    if (!goes_on(c, status)) {
        return;
    }
    const Etcdserverpb__TxnResponse *reply =
        errand_reply(errand, &etcdserverpb__txn_response__descriptor);
    if (!c->is_election) {
        /* The uncontended way takes one request: the second answer is the holder. */
        const Etcdserverpb__RangeResponse *owner = reply->responses[1]->response_range;
        int64_t rev =
            c->is_ours ? c->rev : reply->responses[0]->response_range->kvs[0]->create_revision;
        if (owner->n_kvs == 0 || owner->kvs[0]->create_revision == rev) {
            c->rev = rev;
            win(c);
            return;
        }
    }
    if (c->is_ours) {
        look(c);
    } else {
        came_back(c, reply->responses[0]->response_range->kvs[0]);
    }
}

/* Go's %x of a signed number. */
static struct slice key_of(struct arena *arena, struct slice prefix, int64_t lease)
{
    char hex[24];
    uint64_t magnitude = lease < 0 ? 0 - (uint64_t)lease : (uint64_t)lease;
    int len = snprintf(hex, sizeof(hex), "%s%" PRIx64, lease < 0 ? "-" : "", magnitude);
    uint8_t *key = arena_alloc(arena, prefix.len + (size_t)len);
    memcpy(key, prefix.data, prefix.len);
    memcpy(key + prefix.len, hex, (size_t)len);
    return slice_of(key, prefix.len + (size_t)len);
}

static void enter(struct contender *c)
{
    struct arena *arena = arena_of(c);
    c->key = key_of(arena, c->prefix, c->lease);
    Etcdserverpb__TxnRequest *txn = errand_guarded(arena, c->key, 0);
    errand_add_put(arena, txn, c->key, c->value, c->lease);
    add_range(arena, txn->failure, &txn->n_failure, range_key(arena, c->key));
    if (!c->is_election) {
        add_range(arena, txn->success, &txn->n_success, errand_first_create(arena, c->prefix));
        add_range(arena, txn->failure, &txn->n_failure, errand_first_create(arena, c->prefix));
    }
    errand_txn(&c->errand, txn, entered);
}

static void granted(struct errand *errand, enum status status)
{
    struct contender *c = contender_of(errand);
    if (!goes_on(c, status)) {
        return;
    }
    const Etcdserverpb__LeaseGrantResponse *reply =
        errand_reply(errand, &etcdserverpb__lease_grant_response__descriptor);
    c->lease = reply->id;
    enter(c);
}

static void on_stop(struct rpc_lasting *lasting, enum status why)
{
    struct contender *c = CONTAINER_OF(lasting, struct contender, lasting);
    c->canceled = why;
    if (!c->errand.is_out) {
        give_up(c);
    }
}

void contend(struct contender *c, struct grpc_call *call, struct slice name, int64_t lease)
{
    struct arena *arena = grpc_call_arena(call);
    errand_init(&c->errand, call);
    grpc_call_set_data(call, c);
    c->prefix = errand_prefix(arena, name);
    c->lease = lease;
    rpc__lasting_begin(c->errand.call, &c->lasting, on_stop);
    if (lease != 0) {
        enter(c);
        return;
    }
    Etcdserverpb__LeaseGrantRequest *grant =
        pb_new(arena, &etcdserverpb__lease_grant_request__descriptor);
    grant->ttl = SESSION_TTL_S;
    submit(&c->errand, REQUEST_LEASE_GRANT, grant, granted);
}

void contend_cancel(struct grpc_call *call, enum grpc_status why)
{
    struct contender *c = grpc_call_data(call);
    c->canceled = why == GRPC_DEADLINE_EXCEEDED ? STATUS_DEADLINE_EXCEEDED
                  : why == GRPC_UNAVAILABLE     ? STATUS_STOPPED
                                                : STATUS_CANCELED;
    if (!c->errand.is_out) {
        give_up(c);
    } /* else with the answer, which may tell that there is a key to take away */
}
