/* Requests, transactions, results: from the public structs to messages and back. */
#include "client/etcdclient_priv.h"

#include "codec/pb.h"

/* ---- requests ---------------------------------------------------------------------------- */

void etcd__prefix_end(struct slice prefix, struct buf *out)
{
    size_t len = prefix.len;
    while (len > 0 && prefix.data[len - 1] == 0xff) {
        len--;
    }
    if (len == 0) {
        buf_append_byte(out, 0); /* up to the last key there is */
        return;
    }
    buf_append(out, prefix.data, len);
    out->data[out->len - 1]++;
}

static ProtobufCBinaryData copy(struct arena *arena, struct etcd_slice bytes)
{
    return pb_binary(
        slice_of(arena_dup(arena, bytes.data == NULL ? "" : bytes.data, bytes.len), bytes.len));
}

static void copy_range(struct arena *arena, const struct etcd_op *op, ProtobufCBinaryData *key,
                       ProtobufCBinaryData *range_end)
{
    static const struct etcd_slice first = {"", 1}; /* the byte 0 */
    bool is_many = (op->flags & (ETCD_PREFIX | ETCD_FROM_KEY)) != 0;
    *key = copy(arena, is_many && op->key.len == 0 ? first : op->key);
    *range_end = copy(arena, op->range_end);
    if ((op->flags & ETCD_FROM_KEY) != 0) {
        *range_end = copy(arena, first);
    } else if ((op->flags & ETCD_PREFIX) != 0) {
        struct buf end = {0};
        etcd__prefix_end(etcd__slice(op->key), &end);
        *range_end = copy(arena, etcd__public(buf_slice(&end)));
        buf_fini(&end);
    }
}

static Etcdserverpb__RangeRequest *make_get(struct arena *arena, const struct etcd_op *op)
{
    Etcdserverpb__RangeRequest *get = pb_new(arena, &etcdserverpb__range_request__descriptor);
    copy_range(arena, op, &get->key, &get->range_end);
    get->limit = op->limit;
    get->revision = op->revision;
    get->serializable = (op->flags & ETCD_SERIALIZABLE) != 0;
    get->keys_only = (op->flags & ETCD_KEYS_ONLY) != 0;
    get->count_only = (op->flags & ETCD_COUNT_ONLY) != 0;
    get->max_create_revision = op->max_create_revision;
    get->sort_target = (Etcdserverpb__RangeRequest__SortTarget)op->sort_by;
    if ((op->flags & ETCD_DESCEND) != 0) {
        get->sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    } else if (op->sort_by != ETCD_SORT_KEY) {
        get->sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND;
    }
    return get;
}

static Etcdserverpb__PutRequest *make_put(struct arena *arena, const struct etcd_op *op)
{
    Etcdserverpb__PutRequest *put = pb_new(arena, &etcdserverpb__put_request__descriptor);
    put->key = copy(arena, op->key);
    put->value = copy(arena, op->value);
    put->lease = op->lease;
    put->prev_kv = (op->flags & ETCD_PREV_KV) != 0;
    put->ignore_value = (op->flags & ETCD_IGNORE_VALUE) != 0;
    put->ignore_lease = (op->flags & ETCD_IGNORE_LEASE) != 0;
    return put;
}

static Etcdserverpb__DeleteRangeRequest *make_delete(struct arena *arena, const struct etcd_op *op)
{
    Etcdserverpb__DeleteRangeRequest *del =
        pb_new(arena, &etcdserverpb__delete_range_request__descriptor);
    copy_range(arena, op, &del->key, &del->range_end);
    del->prev_kv = (op->flags & ETCD_PREV_KV) != 0;
    return del;
}

/* ---- transactions ------------------------------------------------------------------------ */

struct messages {
    void **items;
    size_t count;
};

struct etcd_txn {
    struct arena arena;
    struct messages compares;
    struct messages success;
    struct messages failure;
    bool is_bad; /* something that no transaction can have was added */
};

static void push(struct arena *arena, struct messages *messages, void *item)
{
    if ((messages->count & (messages->count - 1)) == 0) {
        size_t cap = messages->count == 0 ? 1 : messages->count * 2;
        void **items = arena_alloc(arena, cap * sizeof(*items));
        if (messages->count > 0) {
            memcpy((void *)items, (void *)messages->items, messages->count * sizeof(*items));
        }
        messages->items = items;
    }
    messages->items[messages->count++] = item;
}

static void txn_message(const struct etcd_txn *txn, Etcdserverpb__TxnRequest *out)
{
    out->compare = (Etcdserverpb__Compare **)(void *)txn->compares.items;
    out->n_compare = txn->compares.count;
    out->success = (Etcdserverpb__RequestOp **)(void *)txn->success.items;
    out->n_success = txn->success.count;
    out->failure = (Etcdserverpb__RequestOp **)(void *)txn->failure.items;
    out->n_failure = txn->failure.count;
}

struct etcd_txn *etcd_txn_new(void)
{
    struct etcd_txn *txn = NEW(struct etcd_txn);
    arena_init(&txn->arena);
    return txn;
}

void etcd_txn_if(struct etcd_txn *txn, const struct etcd_compare *compare)
{
    Etcdserverpb__Compare *message = pb_new(&txn->arena, &etcdserverpb__compare__descriptor);
    message->target = (Etcdserverpb__Compare__CompareTarget)compare->target;
    message->result = (Etcdserverpb__Compare__CompareResult)compare->relation;
    message->key = copy(&txn->arena, compare->key);
    message->range_end = copy(&txn->arena, compare->range_end);
    switch (compare->target) {
    case ETCD_VERSION:
        message->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
        message->version = compare->number;
        break;
    case ETCD_CREATE:
        message->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
        message->create_revision = compare->number;
        break;
    case ETCD_MOD:
        message->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
        message->mod_revision = compare->number;
        break;
    case ETCD_VALUE:
        message->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        message->value = copy(&txn->arena, compare->value);
        break;
    case ETCD_LEASE:
        message->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE;
        message->lease = compare->number;
        break;
    }
    push(&txn->arena, &txn->compares, message);
}

static void add_op(struct etcd_txn *txn, struct messages *list, const struct etcd_op *op)
{
    Etcdserverpb__RequestOp *message = pb_new(&txn->arena, &etcdserverpb__request_op__descriptor);
    if (op->kind == ETCD_GET) {
        message->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        message->request_range = make_get(&txn->arena, op);
    } else if (op->kind == ETCD_PUT) {
        message->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        message->request_put = make_put(&txn->arena, op);
    } else if (op->kind == ETCD_DELETE) {
        message->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        message->request_delete_range = make_delete(&txn->arena, op);
    } else if (op->kind == ETCD_TXN && op->txn != NULL && op->txn != txn && !op->txn->is_bad) {
        /* Through its bytes, so that it may change or go afterwards. */
        Etcdserverpb__TxnRequest inner = ETCDSERVERPB__TXN_REQUEST__INIT;
        txn_message(op->txn, &inner);
        struct slice bytes = pb_encode_arena(&inner, &txn->arena);
        message->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
        enum err err = pb_decode_limits(&txn->arena, &etcdserverpb__txn_request__descriptor, bytes,
                                        PB_LIMITS_NONE, &message->request_txn, NULL);
        ASSERT(err == ERR_OK);
    } else {
        txn->is_bad = true;
        return;
    }
    push(&txn->arena, list, message);
}

void etcd_txn_then(struct etcd_txn *txn, const struct etcd_op *op)
{
    add_op(txn, &txn->success, op);
}

void etcd_txn_else(struct etcd_txn *txn, const struct etcd_op *op)
{
    add_op(txn, &txn->failure, op);
}

void etcd_txn_free(struct etcd_txn **txn)
{
    if (*txn != NULL) {
        arena_fini(&(*txn)->arena);
        mem_free(*txn);
        *txn = NULL;
    }
}

/* ---- results ----------------------------------------------------------------------------- */

struct kept_result {
    struct etcd_result result;
    struct arena arena;
};

void etcd__kv_set(struct etcd_kv *out, const Mvccpb__KeyValue *kv)
{
    *out = (struct etcd_kv){
        .key = etcd__public(pb_bytes(kv->key)),
        .value = etcd__public(pb_bytes(kv->value)),
        .create_revision = kv->create_revision,
        .mod_revision = kv->mod_revision,
        .version = kv->version,
        .lease = kv->lease,
    };
}

static const struct etcd_kv *set_kvs(struct arena *arena, Mvccpb__KeyValue *const *kvs,
                                     size_t count)
{
    struct etcd_kv *out = arena_alloc(arena, count * sizeof(*out));
    for (size_t i = 0; i < count; i++) {
        etcd__kv_set(&out[i], kvs[i]);
        out[i].key = etcd__public(pb_bytes(copy(arena, out[i].key)));
        out[i].value = etcd__public(pb_bytes(copy(arena, out[i].value)));
    }
    return out;
}

static void set_header(struct etcd_result *out, const Etcdserverpb__ResponseHeader *header)
{
    if (header != NULL) {
        out->cluster_id = header->cluster_id;
        out->member_id = header->member_id;
        out->raft_term = header->raft_term;
        out->revision = header->revision;
    }
}

static void set_get(struct arena *arena, struct etcd_result *out,
                    const Etcdserverpb__RangeResponse *range)
{
    set_header(out, range->header);
    out->kind = ETCD_GET;
    out->kvs = set_kvs(arena, range->kvs, range->n_kvs);
    out->kv_count = range->n_kvs;
    out->count = range->count;
    out->more = range->more != 0;
}

static void set_put(struct arena *arena, struct etcd_result *out,
                    const Etcdserverpb__PutResponse *put)
{
    set_header(out, put->header);
    out->kind = ETCD_PUT;
    if (put->prev_kv != NULL) {
        out->prev_kvs = set_kvs(arena, (Mvccpb__KeyValue *const *)&put->prev_kv, 1);
        out->prev_kv_count = 1;
    }
}

static void set_delete(struct arena *arena, struct etcd_result *out,
                       const Etcdserverpb__DeleteRangeResponse *del)
{
    set_header(out, del->header);
    out->kind = ETCD_DELETE;
    out->count = del->deleted;
    out->prev_kvs = set_kvs(arena, del->prev_kvs, del->n_prev_kvs);
    out->prev_kv_count = del->n_prev_kvs;
}

/* As deep as the request was nested, which was the caller's own choice. */
static void set_txn(struct arena *arena, struct etcd_result *out,
                    const Etcdserverpb__TxnResponse *txn)
{
    struct etcd_result *responses = arena_zalloc(arena, txn->n_responses * sizeof(*responses));
    set_header(out, txn->header);
    out->kind = ETCD_TXN;
    out->succeeded = txn->succeeded != 0;
    out->responses = responses;
    out->response_count = txn->n_responses;
    for (size_t i = 0; i < txn->n_responses; i++) {
        const Etcdserverpb__ResponseOp *op = txn->responses[i];
        if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE) {
            set_get(arena, &responses[i], op->response_range);
        } else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT) {
            set_put(arena, &responses[i], op->response_put);
        } else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE) {
            set_delete(arena, &responses[i], op->response_delete_range);
        } else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN) {
            set_txn(arena, &responses[i], op->response_txn);
        }
    }
}

static void set_ttl(struct arena *arena, struct etcd_result *out,
                    const Etcdserverpb__LeaseTimeToLiveResponse *ttl)
{
    struct etcd_kv *keys = arena_zalloc(arena, ttl->n_keys * sizeof(*keys));
    set_header(out, ttl->header);
    out->lease = ttl->id;
    out->ttl_s = ttl->ttl;
    out->granted_ttl_s = ttl->grantedttl;
    for (size_t i = 0; i < ttl->n_keys; i++) {
        keys[i].key = etcd__public(pb_bytes(copy(arena, etcd__public(pb_bytes(ttl->keys[i])))));
    }
    out->kvs = keys;
    out->kv_count = ttl->n_keys;
}

static void set_grant(struct etcd_result *out, const Etcdserverpb__LeaseGrantResponse *grant)
{
    set_header(out, grant->header);
    out->lease = grant->id;
    out->ttl_s = grant->ttl;
    out->granted_ttl_s = grant->ttl;
}

struct etcd_result *etcd__result_new(enum etcd_op_kind kind, const void *reply)
{
    struct kept_result *kept = NEW(struct kept_result);
    struct etcd_result *out = &kept->result;
    arena_init(&kept->arena);
    switch (kind) {
    case ETCD_GET:
        set_get(&kept->arena, out, reply);
        break;
    case ETCD_PUT:
        set_put(&kept->arena, out, reply);
        break;
    case ETCD_DELETE:
        set_delete(&kept->arena, out, reply);
        break;
    case ETCD_TXN:
        set_txn(&kept->arena, out, reply);
        break;
    case ETCD_COMPACT:
        set_header(out, ((const Etcdserverpb__CompactionResponse *)reply)->header);
        break;
    case ETCD_LEASE_GRANT:
        set_grant(out, reply);
        break;
    case ETCD_LEASE_REVOKE:
        set_header(out, ((const Etcdserverpb__LeaseRevokeResponse *)reply)->header);
        break;
    case ETCD_LEASE_TTL:
        set_ttl(&kept->arena, out, reply);
        break;
    }
    out->kind = kind;
    return out;
}

void etcd_result_free(struct etcd_result **result)
{
    if (*result != NULL) {
        struct kept_result *kept = CONTAINER_OF(*result, struct kept_result, result);
        arena_fini(&kept->arena);
        mem_free(kept);
        *result = NULL;
    }
}

/* ---- doing ------------------------------------------------------------------------------- */

struct op_call {
    struct etcd__call call;
    struct arena arena; /* of the request */
    enum etcd_op_kind kind;
    enum client_method method;
    void *request; /* NULL: refused */
    struct client_rpc *rpc;
    etcd_done_fn *done; /* of the async form */
    void *ctx;
};

static void *make_request(struct op_call *call, const struct etcd_op *op)
{
    struct arena *arena = &call->arena;
    switch (op->kind) {
    case ETCD_GET:
        call->method = CLIENT_RANGE;
        return make_get(arena, op);
    case ETCD_PUT:
        call->method = CLIENT_PUT;
        return make_put(arena, op);
    case ETCD_DELETE:
        call->method = CLIENT_DELETE;
        return make_delete(arena, op);
    case ETCD_TXN: {
        Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
        Etcdserverpb__TxnRequest *kept = NULL;
        if (op->txn == NULL || op->txn->is_bad) {
            return NULL;
        }
        txn_message(op->txn, &txn);
        struct slice bytes = pb_encode_arena(&txn, arena);
        enum err err = pb_decode_limits(arena, &etcdserverpb__txn_request__descriptor, bytes,
                                        PB_LIMITS_NONE, &kept, NULL);
        ASSERT(err == ERR_OK);
        call->method = CLIENT_TXN;
        return kept;
    }
    case ETCD_COMPACT: {
        Etcdserverpb__CompactionRequest *request =
            pb_new(arena, &etcdserverpb__compaction_request__descriptor);
        request->revision = op->revision;
        request->physical = (op->flags & ETCD_PHYSICAL) != 0;
        call->method = CLIENT_COMPACT;
        return request;
    }
    case ETCD_LEASE_GRANT: {
        Etcdserverpb__LeaseGrantRequest *request =
            pb_new(arena, &etcdserverpb__lease_grant_request__descriptor);
        request->id = op->lease;
        request->ttl = op->ttl_s;
        call->method = CLIENT_LEASE_GRANT;
        return request;
    }
    case ETCD_LEASE_REVOKE: {
        Etcdserverpb__LeaseRevokeRequest *request =
            pb_new(arena, &etcdserverpb__lease_revoke_request__descriptor);
        request->id = op->lease;
        call->method = CLIENT_LEASE_REVOKE;
        return request;
    }
    case ETCD_LEASE_TTL: {
        Etcdserverpb__LeaseTimeToLiveRequest *request =
            pb_new(arena, &etcdserverpb__lease_time_to_live_request__descriptor);
        request->id = op->lease;
        request->keys = (op->flags & ETCD_ATTACHED_KEYS) != 0;
        call->method = CLIENT_LEASE_TIME_TO_LIVE;
        return request;
    }
    }
    return NULL;
}

static void op_answered(void *ctx, const struct client_result *result, void *reply)
{
    struct op_call *op = ctx;
    op->rpc = NULL;
    if (reply != NULL) {
        op->call.result = etcd__result_new(op->kind, reply);
    }
    etcd__finish(&op->call, (int)result->status, result->error);
}

static void op_start(struct etcd__call *call)
{
    struct op_call *op = CONTAINER_OF(call, struct op_call, call);
    struct etcd_client *client = call->client;
    if (op->request == NULL) {
        etcd__finish(call, ETCD_INVALID_ARGUMENT, "this is no request, or no transaction");
        return;
    }
    op->rpc = client_rpc_start(client->client, op->method, op->request,
                               etcd__deadline(client, client->timeout_ms), op_answered, op);
}

static void op_abandon(struct etcd__call *call)
{
    client_rpc_forget(&CONTAINER_OF(call, struct op_call, call)->rpc);
}

static void op_init(struct op_call *op, struct etcd_client *client, const struct etcd_op *asked)
{
    memset(op, 0, sizeof(*op));
    etcd__call_init(&op->call, client, op_start);
    op->call.abandon = op_abandon;
    arena_init(&op->arena);
    op->kind = asked->kind;
    op->request = make_request(op, asked);
}

static void op_fini(struct op_call *op)
{
    etcd_result_free(&op->call.result);
    arena_fini(&op->arena);
}

int etcd_do(struct etcd_client *client, const struct etcd_op *asked, struct etcd_result **out,
            struct etcd_error *error)
{
    struct op_call op;
    op_init(&op, client, asked);
    int code = etcd__call_wait(&op.call, error);
    if (code == ETCD_OK && out != NULL) {
        *out = op.call.result;
        op.call.result = NULL;
    }
    op_fini(&op);
    return code;
}

static void op_done(struct etcd__call *call)
{
    struct op_call *op = CONTAINER_OF(call, struct op_call, call);
    op->done(op->ctx, &call->error, call->result);
    op_fini(op);
    mem_free(op);
}

void etcd_do_async(struct etcd_client *client, const struct etcd_op *asked, etcd_done_fn *done,
                   void *ctx)
{
    struct op_call *op = mem_alloc(sizeof(*op));
    op_init(op, client, asked);
    op->done = done;
    op->ctx = ctx;
    etcd__call_post(&op->call, op_done);
}
