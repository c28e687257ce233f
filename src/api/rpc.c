/* The gRPC services: tables of methods, and the way of a unary call through the server.
 *
 *   message()   decode into the call's arena, check, server_submit()
 *   done()      reply with the server's bytes, or finish with its status
 *   cancel()    server_cancel(): done() still comes, once */
#include "api/rpc_priv.h"

#include "api/check.h"
#include "base/utf8.h"
#include "server/request_text.h"

/* One unary call; lives in its arena. */
struct rpc_call {
    struct server_request request;
    struct grpc_call *call;
    const struct rpc_method *row;
};

/* ---- what each method does --------------------------------------------------------------------
 */

static enum status prepare_range(struct api *api, const void *message,
                                 struct server_request *request)
{
    const Etcdserverpb__RangeRequest *range = message;
    UNUSED(api);
    request->kind = REQUEST_RANGE;
    request->is_serializable = range->serializable;
    request->takes_source = true;
    return check_range(range);
}

static enum status prepare_put(struct api *api, const void *message, struct server_request *request)
{
    UNUSED(api);
    request->kind = REQUEST_PUT;
    return check_put(message);
}

static enum status prepare_delete(struct api *api, const void *message,
                                  struct server_request *request)
{
    UNUSED(api);
    request->kind = REQUEST_DELETE_RANGE;
    request->takes_source = true;
    return check_delete_range(message);
}

static enum status prepare_txn(struct api *api, const void *message, struct server_request *request)
{
    request->kind = txn_is_write(message) ? REQUEST_TXN : REQUEST_TXN_READ;
    request->takes_source = true;
    request->is_serializable = request->kind == REQUEST_TXN_READ && txn_is_serializable(message);
    return check_txn(message, api->config->max_txn_ops);
}

static enum status prepare_compact(struct api *api, const void *message,
                                   struct server_request *request)
{
    UNUSED(api);
    UNUSED(message);
    request->kind = REQUEST_COMPACT;
    return STATUS_OK;
}

static enum status prepare_alarm(struct api *api, const void *message,
                                 struct server_request *request)
{
    const Etcdserverpb__AlarmRequest *alarm = message;
    UNUSED(api);
    request->kind = alarm->action == ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET
                        ? REQUEST_ALARM_LIST
                        : REQUEST_ALARM;
    return STATUS_OK;
}

static enum status prepare_local(struct server_request *request, enum request_kind kind)
{
    request->kind = kind;
    request->is_serializable = true;
    return STATUS_OK;
}

static enum status prepare_status(struct api *api, const void *message,
                                  struct server_request *request)
{
    UNUSED(api);
    UNUSED(message);
    return prepare_local(request, REQUEST_STATUS);
}

static enum status prepare_hash(struct api *api, const void *message,
                                struct server_request *request)
{
    UNUSED(api);
    UNUSED(message);
    return prepare_local(request, REQUEST_HASH);
}

static enum status prepare_hash_kv(struct api *api, const void *message,
                                   struct server_request *request)
{
    UNUSED(api);
    UNUSED(message);
    return prepare_local(request, REQUEST_HASH_KV);
}

static enum status prepare_defragment(struct api *api, const void *message,
                                      struct server_request *request)
{
    UNUSED(api);
    UNUSED(message);
    return prepare_local(request, REQUEST_DEFRAGMENT);
}

static enum status prepare_lease_grant(struct api *api, const void *message,
                                       struct server_request *request)
{
    UNUSED(api);
    UNUSED(message);
    request->kind = REQUEST_LEASE_GRANT;
    return STATUS_OK;
}

static enum status prepare_lease_revoke(struct api *api, const void *message,
                                        struct server_request *request)
{
    UNUSED(api);
    UNUSED(message);
    request->kind = REQUEST_LEASE_REVOKE;
    return STATUS_OK;
}

static enum status prepare_lease_time(struct api *api, const void *message,
                                      struct server_request *request)
{
    UNUSED(api);
    UNUSED(message);
    return prepare_local(request, REQUEST_LEASE_TIME_TO_LIVE);
}

static enum status prepare_leases(struct api *api, const void *message,
                                  struct server_request *request)
{
    UNUSED(api);
    UNUSED(message);
    return prepare_local(request, REQUEST_LEASE_LIST);
}

static enum status prepare_member_list(struct api *api, const void *message,
                                       struct server_request *request)
{
    const Etcdserverpb__MemberListRequest *list = message;
    UNUSED(api);
    request->kind = REQUEST_MEMBER_LIST;
    request->is_serializable = !list->linearizable;
    return STATUS_OK;
}

/* ---- the table --------------------------------------------------------------------------------
 */

#define KV "etcdserverpb.KV"
#define MAINTENANCE "etcdserverpb.Maintenance"
#define CLUSTER "etcdserverpb.Cluster"
#define WATCH "etcdserverpb.Watch"
#define LEASE "etcdserverpb.Lease"
#define AUTH "etcdserverpb.Auth"
#define LOCK "v3lockpb.Lock"
#define ELECTION "v3electionpb.Election"
#define TYPE(name) &etcdserverpb__##name##__descriptor
#define UNBUILT(service, name, kind)                                                               \
    {                                                                                              \
        service, name, kind, NULL, NULL, NULL                                                      \
    }

/* In the order of services. */
static const struct rpc_method methods[] = {
    {KV, "Range", GRPC_UNARY, TYPE(range_request), prepare_range, NULL},
    {KV, "Put", GRPC_UNARY, TYPE(put_request), prepare_put, NULL},
    {KV, "DeleteRange", GRPC_UNARY, TYPE(delete_range_request), prepare_delete, NULL},
    {KV, "Txn", GRPC_UNARY, TYPE(txn_request), prepare_txn, NULL},
    {KV, "Compact", GRPC_UNARY, TYPE(compaction_request), prepare_compact, NULL},
    {MAINTENANCE, "Alarm", GRPC_UNARY, TYPE(alarm_request), prepare_alarm, NULL},
    {MAINTENANCE, "Status", GRPC_UNARY, TYPE(status_request), prepare_status, NULL},
    {MAINTENANCE, "Hash", GRPC_UNARY, TYPE(hash_request), prepare_hash, NULL},
    {MAINTENANCE, "HashKV", GRPC_UNARY, TYPE(hash_kvrequest), prepare_hash_kv, NULL},
    {MAINTENANCE, "Defragment", GRPC_UNARY, TYPE(defragment_request), prepare_defragment, NULL},
    {MAINTENANCE, "Snapshot", GRPC_SERVER_STREAM, NULL, NULL, &rpc__snapshot_handler},
    UNBUILT(MAINTENANCE, "MoveLeader", GRPC_UNARY),
    UNBUILT(MAINTENANCE, "Downgrade", GRPC_UNARY),
    {CLUSTER, "MemberList", GRPC_UNARY, TYPE(member_list_request), prepare_member_list, NULL},
    UNBUILT(CLUSTER, "MemberAdd", GRPC_UNARY),
    UNBUILT(CLUSTER, "MemberRemove", GRPC_UNARY),
    UNBUILT(CLUSTER, "MemberUpdate", GRPC_UNARY),
    UNBUILT(CLUSTER, "MemberPromote", GRPC_UNARY),
    {WATCH, "Watch", GRPC_BIDI, NULL, NULL, &rpc__watch_handler},
    {LEASE, "LeaseGrant", GRPC_UNARY, TYPE(lease_grant_request), prepare_lease_grant, NULL},
    {LEASE, "LeaseRevoke", GRPC_UNARY, TYPE(lease_revoke_request), prepare_lease_revoke, NULL},
    {LEASE, "LeaseKeepAlive", GRPC_BIDI, NULL, NULL, &rpc__lease_keep_alive_handler},
    {LEASE, "LeaseTimeToLive", GRPC_UNARY, TYPE(lease_time_to_live_request), prepare_lease_time,
     NULL},
    {LEASE, "LeaseLeases", GRPC_UNARY, TYPE(lease_leases_request), prepare_leases, NULL},
    UNBUILT(AUTH, "AuthEnable", GRPC_UNARY),
    UNBUILT(AUTH, "AuthDisable", GRPC_UNARY),
    UNBUILT(AUTH, "AuthStatus", GRPC_UNARY),
    UNBUILT(AUTH, "Authenticate", GRPC_UNARY),
    UNBUILT(AUTH, "UserAdd", GRPC_UNARY),
    UNBUILT(AUTH, "UserGet", GRPC_UNARY),
    UNBUILT(AUTH, "UserList", GRPC_UNARY),
    UNBUILT(AUTH, "UserDelete", GRPC_UNARY),
    UNBUILT(AUTH, "UserChangePassword", GRPC_UNARY),
    UNBUILT(AUTH, "UserGrantRole", GRPC_UNARY),
    UNBUILT(AUTH, "UserRevokeRole", GRPC_UNARY),
    UNBUILT(AUTH, "RoleAdd", GRPC_UNARY),
    UNBUILT(AUTH, "RoleGet", GRPC_UNARY),
    UNBUILT(AUTH, "RoleList", GRPC_UNARY),
    UNBUILT(AUTH, "RoleDelete", GRPC_UNARY),
    UNBUILT(AUTH, "RoleGrantPermission", GRPC_UNARY),
    UNBUILT(AUTH, "RoleRevokePermission", GRPC_UNARY),
    {LOCK, "Lock", GRPC_UNARY, NULL, NULL, &rpc__lock_handler},
    {LOCK, "Unlock", GRPC_UNARY, NULL, NULL, &rpc__unlock_handler},
    {ELECTION, "Campaign", GRPC_UNARY, NULL, NULL, &rpc__campaign_handler},
    {ELECTION, "Proclaim", GRPC_UNARY, NULL, NULL, &rpc__proclaim_handler},
    {ELECTION, "Leader", GRPC_UNARY, NULL, NULL, &rpc__leader_handler},
    {ELECTION, "Observe", GRPC_SERVER_STREAM, NULL, NULL, &rpc__observe_handler},
    {ELECTION, "Resign", GRPC_UNARY, NULL, NULL, &rpc__resign_handler},
};

#define METHOD_COUNT ARRAY_LEN(methods)

/* What a registered method's tag points at: the row and this process's counters. */
struct rpc_binding {
    const struct rpc_method *row;
    struct rpc_counters *counters;
};

/* ---- what services share -------------------------------------------------------------------- */

static const struct rpc_binding *binding_of(const struct grpc_call *call)
{
    return grpc_call_method(call)->tag;
}

struct api *rpc__api(const struct grpc_call *call)
{
    return grpc_call_server_ctx(call);
}

const struct rpc_method *rpc__method(const struct grpc_call *call)
{
    return binding_of(call)->row;
}

struct rpc_counters *rpc__counters(const struct grpc_call *call)
{
    return binding_of(call)->counters;
}

static void count_handled(struct grpc_call *call, enum grpc_status status)
{
    mono_ns now = loop_now(rpc__api(call)->options.loop);
    rpc_counters_handled(rpc__counters(call), status, now - grpc_call_started(call));
}

void rpc__finish(struct grpc_call *call, enum grpc_status status, const char *text)
{
    count_handled(call, status);
    grpc_call_finish(call, status, text);
}

void rpc__finish_status(struct grpc_call *call, enum status status)
{
    const struct status_row *row = status_row(status);
    rpc__finish(call, row->code, row->text);
}

void rpc__reply(struct grpc_call *call, struct slice message)
{
    rpc_counters_sent(rpc__counters(call));
    count_handled(call, GRPC_OK);
    grpc_call_reply(call, message);
}

enum status rpc__start(struct grpc_call *call)
{
    struct api *api = rpc__api(call);
    struct slice value;
    bool is_stream = grpc_call_method(call)->kind != GRPC_UNARY;
    rpc_counters_started(rpc__counters(call));
    if (!grpc_call_metadata(call, "client-api-version", 0, &value)) {
        value = SLICE("unknown");
    } else if (!utf8_valid(value)) {
        return STATUS_INVALID_CLIENT_API_VERSION;
    }
    rpc_metrics_client(api->rpc_metrics, value, is_stream);
    if (is_stream && api->lasting.is_stopping) {
        return STATUS_STOPPED; /* it would hold the stop up */
    }
    if (rpc__needs_leader(call) && server_leader(api->server) == 0 &&
        server_was_ready(api->server)) {
        return STATUS_NO_LEADER;
    }
    return STATUS_OK;
}

bool rpc__decode(struct grpc_call *call, struct arena *arena,
                 const ProtobufCMessageDescriptor *type, struct slice bytes, void *message_out)
{
    struct errbuf why;
    rpc_counters_received(rpc__counters(call));
    if (pb_decode(arena, type, bytes, message_out, &why) != ERR_OK) {
        rpc__finish(
            call, GRPC_INTERNAL,
            arena_printf(grpc_call_arena(call), "grpc: error unmarshalling request: %s", why.text));
        return false;
    }
    return true;
}

/* ---- slow ones ----------------------------------------------------------------------------- */

/* etcd's line for a unary request slower than --warning-unary-request-duration; 0 turns it off.
 * Behind its fields ours: where the time went. */
static void log_when_slow(const struct rpc_call *rpc, uint64_t reply_len)
{
    const struct api *api = rpc__api(rpc->call);
    const struct server_request *request = &rpc->request;
    int64_t limit = api->config->warning_unary_request_duration_ns;
    mono_ns now = loop_now(api->options.loop);
    uint64_t took = now - request->started;
    if (limit <= 0 || took <= (uint64_t)limit) {
        return;
    }
    struct buf text = {0};
    struct request_times times = request_times(request, now);
    request_text(request->kind, request->message, &text);
    LOG_WARN(server_log(api->server), "request stats", log_duration("time spent", (int64_t)took),
             log_str("remote", grpc_call_peer(rpc->call)), log_str("response type", rpc->row->name),
             log_u64("request size", request->encoded.len), log_u64("response size", reply_len),
             log_slice("request content", buf_slice(&text)),
             log_duration("queue", (int64_t)times.queue), log_duration("sync", (int64_t)times.sync),
             log_duration("apply", (int64_t)times.apply),
             log_duration("send", (int64_t)times.send));
    buf_fini(&text);
}

/* ---- large replies --------------------------------------------------------------------------- */

/* A piece of a reply on its way out: some kilobytes, as much as one DATA frame takes. */
static FALLIBLE source_next(void *ctx, size_t want, struct grpc_chunk *out)
{
    const struct reply_source *source = &((struct rpc_call *)ctx)->request.source;
    uint8_t *bytes = mem_alloc(want);
    size_t len = 0;
    enum err err = source->fill(source->ctx, bytes, want, &len);
    if (err != ERR_OK) {
        mem_free(bytes);
        return err;
    }
    ASSERT(len > 0 && len <= want);
    *out = (struct grpc_chunk){.bytes = slice_of(bytes, len), .release = mem_free, .ctx = bytes};
    return ERR_OK;
}

/* The last piece is in the socket's queue, or nobody wants it. */
static void source_close(void *ctx)
{
    struct rpc_call *rpc = ctx;
    const struct reply_source *source = &rpc->request.source;
    source->close(source->ctx);
    log_when_slow(rpc, source->len);
}

/* Compatibility: Go's servers send no more than this, and say so. */
#define REPLY_MAX ((uint64_t)INT32_MAX)

static void finish_too_large(struct grpc_call *call, uint64_t len)
{
    rpc__finish(call, GRPC_RESOURCE_EXHAUSTED,
                arena_printf(grpc_call_arena(call),
                             "grpc: trying to send message larger than max (%llu vs. %llu)",
                             (unsigned long long)len, (unsigned long long)REPLY_MAX));
}

/* The call is finished, but it and its arena stay until the source is closed. */
static void reply_source(struct rpc_call *rpc)
{
    struct grpc_call *call = rpc->call;
    const struct reply_source *source = &rpc->request.source;
    struct grpc_source pulled = {
        .len = source->len, .next = source_next, .close = source_close, .ctx = rpc};
    if (source->len > REPLY_MAX) {
        source->close(source->ctx);
        finish_too_large(call, source->len);
        return;
    }
    rpc_counters_sent(rpc__counters(call));
    count_handled(call, GRPC_OK);
    grpc_call_send_source(call, &pulled);
    grpc_call_finish(call, GRPC_OK, NULL);
}

/* ---- unary calls ---------------------------------------------------------------------------- */

static void on_done(struct server_request *request)
{
    struct rpc_call *rpc = CONTAINER_OF(request, struct rpc_call, request);
    if (request->status == STATUS_OK && request->source.fill != NULL) {
        reply_source(rpc);
        return;
    }
    log_when_slow(rpc, request->reply.len);
    if (request->status == STATUS_TOLD) {
        rpc__finish(rpc->call, GRPC_UNKNOWN, request->text);
    } else if (request->status != STATUS_OK) {
        rpc__finish_status(rpc->call, request->status);
    } else if (request->reply.len > REPLY_MAX) {
        finish_too_large(rpc->call, request->reply.len);
    } else {
        rpc__reply(rpc->call, request->reply);
    }
}

static void on_message(struct grpc_call *call, struct slice bytes)
{
    struct api *api = rpc__api(call);
    const struct rpc_method *row = rpc__method(call);
    struct arena *arena = grpc_call_arena(call);
    void *message = NULL;
    enum status status = rpc__start(call);
    if (!rpc__decode(call, arena, row->type, bytes, &message)) {
        return;
    }
    struct rpc_call *rpc = ARENA_NEW(arena, struct rpc_call);
    rpc->call = call;
    rpc->row = row;
    rpc->request = (struct server_request){
        .message = message,
        .encoded = bytes,
        .arena = arena,
        .started = loop_now(api->options.loop),
        .done = on_done,
    };
    if (status == STATUS_OK) {
        status = row->prepare(api, message, &rpc->request);
    }
    if (status != STATUS_OK) {
        rpc__finish_status(call, status);
        return;
    }
    grpc_call_set_data(call, rpc);
    server_submit(api->server, &rpc->request);
}

static void on_cancel(struct grpc_call *call, enum grpc_status why)
{
    struct rpc_call *rpc = grpc_call_data(call);
    enum status status = why == GRPC_DEADLINE_EXCEEDED ? STATUS_DEADLINE_EXCEEDED
                         : why == GRPC_UNAVAILABLE     ? STATUS_STOPPED
                                                       : STATUS_CANCELED;
    ASSERT(rpc !=
           NULL); /* a unary call is ours from its message on, and that sets it or finishes */
    server_cancel(rpc__api(call)->server, &rpc->request, status);
}

static const struct grpc_handler unary_handler = {
    .message = on_message,
    .cancel = on_cancel,
};

/* ---- methods of etcd that are not built yet ---------------------------------------------------
 */

static void refuse(struct grpc_call *call)
{
    const struct rpc_method *row = rpc__method(call);
    rpc_counters_started(rpc__counters(call));
    rpc__finish(call, GRPC_UNIMPLEMENTED,
                arena_printf(grpc_call_arena(call),
                             "etcd.c: %s/%s is not built yet in this version", row->service,
                             row->name));
}

static void refuse_message(struct grpc_call *call, struct slice message)
{
    UNUSED(message);
    refuse(call);
}

static const struct grpc_handler unbuilt_unary_handler = {.message = refuse_message};
static const struct grpc_handler unbuilt_stream_handler = {.start = refuse};

/* ---- registration --------------------------------------------------------------------------- */

static const struct grpc_handler *handler_of(const struct rpc_method *row)
{
    if (row->handler != NULL) {
        return row->handler;
    }
    if (row->type != NULL) {
        return &unary_handler;
    }
    bool has_one_message = row->kind == GRPC_UNARY || row->kind == GRPC_SERVER_STREAM;
    return has_one_message ? &unbuilt_unary_handler : &unbuilt_stream_handler;
}

#define HEALTH_METHODS_MAX 4

/* Everything a registration needs to stay, in one allocation that lives with the api. */
struct rpc_tables {
    struct rpc_binding bindings[METHOD_COUNT + HEALTH_METHODS_MAX];
    struct grpc_method methods[METHOD_COUNT + HEALTH_METHODS_MAX];
    struct grpc_service services[16];
    size_t method_count;
    size_t service_count;
};

static const char *kind_name(enum grpc_kind kind)
{
    static const char *const names[] = {
        [GRPC_UNARY] = "unary",
        [GRPC_SERVER_STREAM] = "server_stream",
        [GRPC_CLIENT_STREAM] = "client_stream",
        [GRPC_BIDI] = "bidi_stream",
    };
    return names[kind];
}

static void table_add(struct api *api, struct rpc_tables *tables, const struct rpc_method *row)
{
    ASSERT(tables->method_count < ARRAY_LEN(tables->methods));
    size_t at = tables->method_count++;
    tables->bindings[at] = (struct rpc_binding){
        .row = row,
        .counters =
            rpc_metrics_method(api->rpc_metrics, row->service, row->name, kind_name(row->kind)),
    };
    tables->methods[at] = (struct grpc_method){
        .name = row->name,
        .kind = row->kind,
        .handler = handler_of(row),
        .tag = &tables->bindings[at],
    };
    struct grpc_service *last =
        tables->service_count == 0 ? NULL : &tables->services[tables->service_count - 1];
    if (last == NULL || strcmp(last->name, row->service) != 0) {
        ASSERT(tables->service_count < ARRAY_LEN(tables->services));
        last = &tables->services[tables->service_count++];
        *last = (struct grpc_service){.name = row->service, .methods = &tables->methods[at]};
    }
    last->method_count++;
}

static struct rpc_tables *tables_new(struct api *api)
{
    struct rpc_tables *tables = NEW(struct rpc_tables);
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        table_add(api, tables, &methods[i]);
    }
    for (size_t i = 0; i < rpc__health_method_count; i++) {
        table_add(api, tables, &rpc__health_methods[i]);
    }
    return tables;
}

void api__add_services(struct api *api, struct http_server *server)
{
    if (api->tables == NULL) {
        api->tables = tables_new(api);
    }
    for (size_t i = 0; i < api->tables->service_count; i++) {
        http_server_service(server, &api->tables->services[i]);
    }
}

void api__tables_free(struct api *api)
{
    mem_free(api->tables);
    api->tables = NULL;
}
