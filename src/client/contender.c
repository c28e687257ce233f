/* Steps of a contest, each one call or watch:
 *
 *   ENTER    txn: put our key unless it is there; also ask for the lowest of the prefix
 *   SETTLE   (election, key was there with another value) put the new value
 *   LOOK     range: who of the prefix was created last before us? Nobody: CONFIRM
 *   WAIT     watch that one's key until it is deleted, then LOOK again
 *   CONFIRM  range: is our key still there? It goes with its lease. Then we have the name
 *   CLEAN    something failed: our key is deleted, and the failure told afterwards
 *
 * A name that nobody has costs one call: ENTER. Only one operation is under way at a time; `rpc` is
 * its call. */
#include "client/contender.h"

#include "base/mem.h"
#include "client/client_priv.h"
#include "client/client_rpc.h"
#include "codec/pb.h"

#define CLEAN_TIMEOUT_NS (5 * NS_PER_SEC)

struct client_contender {
    struct client_contender_options options;
    struct buf prefix; /* "<name>/" */
    struct buf key;
    struct buf value;
    int64_t revision;        /* create revision of our key */
    int64_t header_revision; /* of the answer that gave us the name */
    struct client_rpc *rpc;
    struct client_watch *watch; /* in WAIT */
    client_contender_fn *done;
    void *ctx;
    char error[512]; /* in CLEAN */
};

static void look(struct client_contender *contender);

static void finish(struct client_contender *contender, const char *error)
{
    client_contender_fn *done = contender->done;
    contender->done = NULL;
    done(contender, error, contender->ctx);
}

/* ---- requests ---------------------------------------------------------------------------- */

/* A transaction guarded by the create revision of our key, with one operation for each case. */
struct guarded {
    Etcdserverpb__TxnRequest txn;
    Etcdserverpb__Compare compare;
    Etcdserverpb__Compare *compares[1];
    Etcdserverpb__RequestOp ops[4];
    Etcdserverpb__RequestOp *success[2];
    Etcdserverpb__RequestOp *failure[2];
    Etcdserverpb__PutRequest put;
    Etcdserverpb__RangeRequest get;
    Etcdserverpb__RangeRequest owner;
    Etcdserverpb__DeleteRangeRequest del;
};

static void guarded_init(struct guarded *g, const struct client_contender *contender,
                         int64_t create_revision)
{
    etcdserverpb__txn_request__init(&g->txn);
    etcdserverpb__compare__init(&g->compare);
    etcdserverpb__put_request__init(&g->put);
    etcdserverpb__range_request__init(&g->get);
    etcdserverpb__range_request__init(&g->owner);
    etcdserverpb__delete_range_request__init(&g->del);
    for (size_t i = 0; i < ARRAY_LEN(g->ops); i++) {
        etcdserverpb__request_op__init(&g->ops[i]);
    }
    g->compare.result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL;
    g->compare.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE;
    g->compare.key = pb_binary(buf_slice(&contender->key));
    g->compare.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
    g->compare.create_revision = create_revision;
    g->compares[0] = &g->compare;
    g->txn.compare = g->compares;
    g->txn.n_compare = 1;
    g->txn.success = g->success;
    g->txn.failure = g->failure;
}

static Etcdserverpb__RequestOp *put_op(struct guarded *g, size_t slot,
                                       const struct client_contender *contender)
{
    g->put.key = pb_binary(buf_slice(&contender->key));
    g->put.value = pb_binary(buf_slice(&contender->value));
    g->put.lease = contender->options.lease;
    g->ops[slot].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    g->ops[slot].request_put = &g->put;
    return &g->ops[slot];
}

static Etcdserverpb__RequestOp *range_op(struct guarded *g, size_t slot,
                                         Etcdserverpb__RangeRequest *range)
{
    g->ops[slot].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    g->ops[slot].request_range = range;
    return &g->ops[slot];
}

/* The end of the range of a prefix that ends with '/': the next character. */
static void range_prefix(Etcdserverpb__RangeRequest *range, const struct buf *prefix,
                         struct buf *end)
{
    ASSERT(prefix->len > 0);
    ASSERT(prefix->data[prefix->len - 1] == '/');
    buf_append_slice(end, buf_slice(prefix));
    end->data[end->len - 1]++;
    range->key = pb_binary(buf_slice(prefix));
    range->range_end = pb_binary(buf_slice(end));
    range->sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE;
    range->limit = 1;
}

/* ---- failures ---------------------------------------------------------------------------- */

static void cleaned(void *ctx, const struct client_result *result, void *reply)
{
    struct client_contender *contender = ctx;
    (void)result;
    (void)reply;
    contender->rpc = NULL;
    finish(contender, contender->error);
}

static void delete_ours(struct client_contender *contender, mono_ns deadline, client_rpc_fn *done)
{
    struct guarded g;
    guarded_init(&g, contender, contender->revision);
    g.del.key = pb_binary(buf_slice(&contender->key));
    g.ops[0].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    g.ops[0].request_delete_range = &g.del;
    g.success[0] = &g.ops[0];
    g.txn.n_success = 1;
    contender->rpc =
        client_rpc_start(contender->options.client, CLIENT_TXN, &g.txn, deadline, done, contender);
}

static void fail(struct client_contender *contender, const char *error)
{
    struct client *client = contender->options.client;
    struct errbuf kept = {{0}};
    errf(&kept, ERR_INVALID, "%s", error);
    memcpy(contender->error, kept.text, sizeof(contender->error));
    delete_ours(contender, loop_now(client->loop) + CLEAN_TIMEOUT_NS, cleaned);
}

/* ---- waiting for those before us ---------------------------------------------------------- */

static void confirmed(void *ctx, const struct client_result *result, void *reply)
{
    struct client_contender *contender = ctx;
    const Etcdserverpb__RangeResponse *range = reply;
    contender->rpc = NULL;
    if (range == NULL) {
        fail(contender, result->error);
    } else if (range->n_kvs == 0 || range->kvs[0]->create_revision != contender->revision) {
        finish(contender,
               contender->options.is_election ? CLIENT_NOT_LEADER : CLIENT_SESSION_EXPIRED);
    } else {
        contender->header_revision = range->header == NULL ? 0 : range->header->revision;
        finish(contender, "");
    }
}

static void confirm(struct client_contender *contender)
{
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    range.key = pb_binary(buf_slice(&contender->key));
    contender->rpc = client_rpc_start(contender->options.client, CLIENT_RANGE, &range, UINT64_MAX,
                                      confirmed, contender);
}

static void on_update(struct client_watch *watch, const struct client_watch_update *update,
                      void *ctx)
{
    struct client_contender *contender = ctx;
    bool is_gone = false;
    (void)watch;
    for (size_t i = 0; i < update->response->n_events; i++) {
        is_gone = is_gone || update->response->events[i]->type == MVCCPB__EVENT__EVENT_TYPE__DELETE;
    }
    if (is_gone) {
        client_watch_free(&contender->watch);
        look(contender);
    } else if (update->is_end) {
        /* Compacted, say: what happened to the key can be asked for. */
        bool is_compacted = update->response->compact_revision != 0;
        client_watch_free(&contender->watch);
        if (is_compacted) {
            look(contender);
        } else {
            fail(contender, update->error);
        }
    }
}

static void looked(void *ctx, const struct client_result *result, void *reply)
{
    struct client_contender *contender = ctx;
    const Etcdserverpb__RangeResponse *range = reply;
    contender->rpc = NULL;
    if (range == NULL) {
        fail(contender, result->error);
    } else if (range->n_kvs == 0) {
        confirm(contender);
    } else {
        struct client_watch_options options = {
            .key = pb_bytes(range->kvs[0]->key),
            .start_revision = range->header == NULL ? 0 : client__behind(range->header->revision),
            .no_put = true,
        };
        contender->watch =
            client_watch_start(contender->options.watcher, &options, on_update, contender);
    }
}

static void look(struct client_contender *contender)
{
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    struct buf end = {0};
    range_prefix(&range, &contender->prefix, &end);
    range.sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    range.max_create_revision = contender->revision - 1;
    contender->rpc = client_rpc_start(contender->options.client, CLIENT_RANGE, &range, UINT64_MAX,
                                      looked, contender);
    buf_fini(&end);
}

/* ---- entering ---------------------------------------------------------------------------- */

static void settled(void *ctx, const struct client_result *result, void *reply)
{
    struct client_contender *contender = ctx;
    const Etcdserverpb__TxnResponse *txn = reply;
    contender->rpc = NULL;
    if (txn == NULL) {
        fail(contender, result->error);
    } else if (!txn->succeeded) {
        fail(contender, CLIENT_NOT_LEADER);
    } else {
        look(contender);
    }
}

static void propose(struct client_contender *contender, mono_ns deadline, client_rpc_fn *done)
{
    struct guarded g;
    guarded_init(&g, contender, contender->revision);
    g.success[0] = put_op(&g, 0, contender);
    g.txn.n_success = 1;
    contender->rpc =
        client_rpc_start(contender->options.client, CLIENT_TXN, &g.txn, deadline, done, contender);
}

/* The pairs of the index-th answer. False: the server has answered something else. */
static bool answered(const Etcdserverpb__TxnResponse *txn, size_t index,
                     const Etcdserverpb__RangeResponse **out)
{
    if (index >= txn->n_responses || txn->responses[index]->response_case !=
                                         ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE) {
        return false;
    }
    *out = txn->responses[index]->response_range;
    return *out != NULL;
}

static void entered(void *ctx, const struct client_result *result, void *reply)
{
    struct client_contender *contender = ctx;
    const Etcdserverpb__TxnResponse *txn = reply;
    const Etcdserverpb__RangeResponse *ours = NULL;
    const Etcdserverpb__RangeResponse *owner = NULL;
    contender->rpc = NULL;
    if (txn == NULL) {
        finish(contender, result->error); /* if it was done after all, it goes with the lease */
        return;
    }
    bool is_good = txn->header != NULL && answered(txn, 1, &owner) &&
                   (txn->succeeded || (answered(txn, 0, &ours) && ours->n_kvs == 1));
    if (!is_good) {
        finish(contender, "rpc error: code = Internal desc = the server has not answered what it "
                          "was asked");
        return;
    }
    contender->revision = txn->succeeded ? txn->header->revision : ours->kvs[0]->create_revision;
    bool has_other_value = !txn->succeeded && contender->options.is_election &&
                           !slice_eq(pb_bytes(ours->kvs[0]->value), buf_slice(&contender->value));
    if (has_other_value) {
        propose(contender, UINT64_MAX, settled);
    } else if (owner->n_kvs == 0 || owner->kvs[0]->create_revision == contender->revision) {
        contender->header_revision = txn->header->revision;
        finish(contender, "");
    } else if (contender->options.is_try) {
        fail(contender, CLIENT_LOCKED);
    } else {
        look(contender);
    }
}

struct client_contender *client_contender_start(const struct client_contender_options *options,
                                                client_contender_fn *done, void *ctx)
{
    struct client_contender *contender = NEW(struct client_contender);
    contender->options = *options;
    contender->done = done;
    contender->ctx = ctx;
    buf_append_slice(&contender->prefix, options->name);
    buf_append_byte(&contender->prefix, '/');
    buf_append_slice(&contender->key, buf_slice(&contender->prefix));
    buf_printf(&contender->key, "%llx", (unsigned long long)options->lease);
    buf_append_slice(&contender->value, options->value);
    contender->options.name = SLICE_EMPTY;
    contender->options.value = SLICE_EMPTY;

    struct guarded g;
    struct buf end = {0};
    guarded_init(&g, contender, 0);
    g.get.key = pb_binary(buf_slice(&contender->key));
    range_prefix(&g.owner, &contender->prefix, &end);
    g.owner.sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND;
    g.success[0] = put_op(&g, 0, contender);
    g.success[1] = range_op(&g, 1, &g.owner);
    g.failure[0] = range_op(&g, 2, &g.get);
    g.failure[1] = range_op(&g, 3, &g.owner);
    g.txn.n_success = 2;
    g.txn.n_failure = 2;
    contender->rpc =
        client_rpc_start(options->client, CLIENT_TXN, &g.txn, UINT64_MAX, entered, contender);
    buf_fini(&end);
    return contender;
}

/* ---- what else it does -------------------------------------------------------------------- */

static void left(void *ctx, const struct client_result *result, void *reply)
{
    struct client_contender *contender = ctx;
    contender->rpc = NULL;
    finish(contender, reply == NULL ? result->error : "");
}

static void stop(struct client_contender *contender)
{
    client_rpc_forget(&contender->rpc);
    client_watch_free(&contender->watch);
    contender->done = NULL;
}

/* The answer to ENTER has not come: what is deleted is whatever is under our key. */
static void delete_blindly(struct client_contender *contender, mono_ns deadline)
{
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    request.key = pb_binary(buf_slice(&contender->key));
    contender->rpc = client_rpc_start(contender->options.client, CLIENT_DELETE, &request, deadline,
                                      left, contender);
}

void client_contender_leave(struct client_contender *contender, mono_ns deadline,
                            client_contender_fn *done, void *ctx)
{
    stop(contender);
    contender->done = done;
    contender->ctx = ctx;
    if (contender->revision == 0) {
        delete_blindly(contender, deadline);
    } else {
        delete_ours(contender, deadline, left);
    }
}

static void proposed(void *ctx, const struct client_result *result, void *reply)
{
    struct client_contender *contender = ctx;
    const Etcdserverpb__TxnResponse *txn = reply;
    contender->rpc = NULL;
    finish(contender, txn == NULL ? result->error : txn->succeeded ? "" : CLIENT_NOT_LEADER);
}

void client_contender_propose(struct client_contender *contender, struct slice value,
                              mono_ns deadline, client_contender_fn *done, void *ctx)
{
    ASSERT(contender->done == NULL);
    contender->done = done;
    contender->ctx = ctx;
    buf_reset(&contender->value);
    buf_append_slice(&contender->value, value);
    propose(contender, deadline, proposed);
}

void client_contender_free(struct client_contender **out)
{
    struct client_contender *contender = *out;
    if (contender == NULL) {
        return;
    }
    stop(contender);
    buf_fini(&contender->prefix);
    buf_fini(&contender->key);
    buf_fini(&contender->value);
    mem_free(contender);
    *out = NULL;
}

struct slice client_contender_key(const struct client_contender *contender)
{
    return buf_slice(&contender->key);
}

int64_t client_contender_revision(const struct client_contender *contender)
{
    return contender->revision;
}

int64_t client_contender_header_revision(const struct client_contender *contender)
{
    return contender->header_revision;
}
