/* endpoint health, endpoint status, endpoint hashkv.
 *
 * status and hashkv ask one endpoint after the other; health asks all at once and lists them in the
 * order of their answers. Each endpoint gets a client of its own, so that no other answers for it.
 */
#include "ctl/ctl_priv.h"

#include "codec/pb.h"

/* ---- which endpoints ------------------------------------------------------------------- */

/* What --endpoints says, or with --cluster what the members advertise. */
static int list_endpoints(struct ctl *ctl, const struct command_call *call, const char *const **out,
                          size_t *count_out)
{
    *out = ctl->options.endpoints;
    *count_out = ctl->options.endpoint_count;
    if (!pflag_bool(call->flags, "cluster")) {
        return CTL_OK;
    }
    int code = ctl__connect(ctl);
    struct ctl_rpc rpc;
    if (code != CTL_OK) {
        return code;
    }
    if (!ctl__member_list(ctl, ctl->client, false, &rpc)) {
        return ctl__fail(ctl, CTL_ERROR,
                         "failed to fetch endpoints from etcd cluster member list: %s", rpc.error);
    }
    const Etcdserverpb__MemberListResponse *list = rpc.reply;
    size_t count = 0;
    for (size_t i = 0; i < list->n_members; i++) {
        count += list->members[i]->n_clienturls;
    }
    const char **endpoints = arena_alloc(&ctl->arena, (count + 1) * sizeof(*endpoints));
    *count_out = 0;
    for (size_t i = 0; i < list->n_members; i++) {
        for (size_t j = 0; j < list->members[i]->n_clienturls; j++) {
            endpoints[(*count_out)++] = list->members[i]->clienturls[j];
        }
    }
    *out = endpoints;
    return CTL_OK;
}

int ctl__endpoints(struct ctl *ctl, const struct command_call *call, const char *const **endpoints,
                   size_t *count)
{
    int code = ctl__setup(ctl, call);
    return code == CTL_OK ? list_endpoints(ctl, call, endpoints, count) : code;
}

/* ---- health ---------------------------------------------------------------------------- */

struct health_check;

/* One endpoint on its way through login, a read and the list of alarms. */
struct probe {
    struct health_check *check;
    const char *endpoint;
    struct client *client;
    struct client_call call;
    mono_ns started;
    mono_ns deadline;
    uint64_t took_ns;
};

struct health_check {
    struct ctl *ctl;
    struct probe *probes;
    struct print_health *list; /* in the order of the answers */
    size_t count;
    size_t answered;
    bool is_over;
};

static void probe_end(struct probe *probe, const char *error)
{
    struct health_check *check = probe->check;
    ASSERT(check->answered < check->count);
    check->list[check->answered++] = (struct print_health){
        .endpoint = probe->endpoint,
        .is_healthy = error[0] == 0,
        .took_ns = probe->took_ns,
        .error = arena_printf(&check->ctl->arena, "%s", error),
    };
    check->is_over = check->answered == check->count;
}

static void probe_alarms(struct client_call *call, const struct client_result *result,
                         struct slice reply)
{
    struct probe *probe = CONTAINER_OF(call, struct probe, call);
    const char *ignored = NULL;
    void *decoded = NULL;
    if (result->status != GRPC_OK ||
        !ctl__decode(probe->check->ctl, &etcdserverpb__alarm_response__descriptor, reply, &decoded,
                     &ignored)) {
        probe_end(probe, "Unable to fetch the alarm list");
        return;
    }
    const Etcdserverpb__AlarmResponse *alarms = decoded;
    struct buf error = {0};
    buf_append_str(&error, alarms->n_alarms > 0 ? "Active Alarm(s): " : "");
    for (size_t i = 0; i < alarms->n_alarms; i++) {
        Etcdserverpb__AlarmType type = alarms->alarms[i]->alarm;
        buf_append_str(&error, type == ETCDSERVERPB__ALARM_TYPE__NOSPACE   ? "NOSPACE "
                               : type == ETCDSERVERPB__ALARM_TYPE__CORRUPT ? "CORRUPT "
                                                                           : "UNKNOWN ");
    }
    probe_end(probe, buf_cstr(&error));
    buf_fini(&error);
}

static void probe_call(struct probe *probe, const char *path, const void *request,
                       client_done_fn *done)
{
    probe->call = (struct client_call){
        .path = path,
        .request = pb_encode_arena(request, &probe->check->ctl->arena),
        .deadline = probe->deadline,
        .is_repeatable = true,
        .done = done,
    };
    client_call_start(probe->client, &probe->call);
}

static void probe_read(struct client_call *call, const struct client_result *result,
                       struct slice reply)
{
    struct probe *probe = CONTAINER_OF(call, struct probe, call);
    (void)reply;
    probe->took_ns = env_now_mono(probe->check->ctl->env) - probe->started;
    /* A read that is not allowed went through consensus all the same. */
    if (result->status != GRPC_OK &&
        strcmp(result->message, "etcdserver: permission denied") != 0) {
        probe_end(probe, result->error);
        return;
    }
    Etcdserverpb__AlarmRequest request = ETCDSERVERPB__ALARM_REQUEST__INIT;
    probe_call(probe, "/etcdserverpb.Maintenance/Alarm", &request, probe_alarms);
}

static void probe_login(struct client *client, const struct client_result *result, void *ctx)
{
    struct probe *probe = ctx;
    (void)client;
    if (result->status != GRPC_OK) {
        probe_end(probe, result->error);
        return;
    }
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = pb_binary(SLICE("health"));
    probe->started = env_now_mono(probe->check->ctl->env);
    probe->deadline = ctl__deadline(probe->check->ctl);
    probe_call(probe, "/etcdserverpb.KV/Range", &request, probe_read);
}

static void probe_start(struct probe *probe)
{
    struct ctl *ctl = probe->check->ctl;
    struct client_options options = ctl->options;
    struct errbuf why = {{0}};
    options.endpoints = &probe->endpoint;
    options.endpoint_count = 1;
    if (client_new(ctl->env, ctl->loop, &options, &probe->client, &why) != ERR_OK) {
        probe_end(probe, why.text);
    } else {
        client_login(probe->client, probe_login, probe);
    }
}

int ctl__health_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    const char *const *endpoints = NULL;
    struct health_check check = {.ctl = ctl};
    int code = ctl__endpoints(ctl, call, &endpoints, &check.count);
    if (code != CTL_OK) {
        return code;
    }
    check.probes = arena_zalloc(&ctl->arena, (check.count + 1) * sizeof(*check.probes));
    check.list = arena_zalloc(&ctl->arena, (check.count + 1) * sizeof(*check.list));
    check.is_over = check.count == 0;
    for (size_t i = 0; i < check.count; i++) {
        check.probes[i].check = &check;
        check.probes[i].endpoint = endpoints[i];
        probe_start(&check.probes[i]);
    }
    ctl__wait(ctl, &check.is_over);
    bool is_healthy = true;
    for (size_t i = 0; i < check.count; i++) {
        client_free(&check.probes[i].client);
        is_healthy = is_healthy && check.list[i].is_healthy;
    }
    code = ctl__shown(ctl, print_health(&ctl->printer, check.list, check.count));
    if (code == CTL_OK && !is_healthy) {
        code = ctl__fail(ctl, CTL_ERROR, "unhealthy cluster");
    }
    return code;
}

/* ---- status and hashkv ----------------------------------------------------------------- */

int ctl__ask(struct ctl *ctl, const char *endpoint, struct ctl_rpc *rpc)
{
    struct client *client = NULL;
    int code = ctl__connect_to(ctl, &endpoint, 1, &client);
    if (code == CTL_OK) {
        rpc->deadline = ctl__deadline(ctl);
        ctl__call(ctl, client, rpc);
        client_free(&client);
    }
    return code;
}

int ctl__status_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    const char *const *endpoints = NULL;
    size_t count = 0;
    int code = ctl__endpoints(ctl, call, &endpoints, &count);
    struct print_status *list = arena_zalloc(&ctl->arena, (count + 1) * sizeof(*list));
    size_t answered = 0;
    for (size_t i = 0; i < count && code == CTL_OK; i++) {
        Etcdserverpb__StatusRequest request = ETCDSERVERPB__STATUS_REQUEST__INIT;
        struct ctl_rpc rpc = {.path = "/etcdserverpb.Maintenance/Status",
                              .request = &request,
                              .reply_type = &etcdserverpb__status_response__descriptor,
                              .is_repeatable = true};
        code = ctl__ask(ctl, endpoints[i], &rpc);
        if (rpc.reply != NULL) {
            list[answered++] = (struct print_status){endpoints[i], rpc.reply};
        } else if (code == CTL_OK) {
            buf_printf(&ctl->err, "Failed to get the status of endpoint %s (%s)\n", endpoints[i],
                       rpc.error);
            ctl__flush(ctl);
        }
    }
    if (code == CTL_OK) {
        code = ctl__shown(ctl, print_status(&ctl->printer, list, answered));
    }
    if (code == CTL_OK && answered < count) {
        code = CTL_ERROR;
    }
    return code;
}

int ctl__hashkv_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    const char *const *endpoints = NULL;
    size_t count = 0;
    int code = ctl__endpoints(ctl, call, &endpoints, &count);
    struct print_hashkv *list = arena_zalloc(&ctl->arena, (count + 1) * sizeof(*list));
    const char *last_error = NULL;
    size_t answered = 0;
    for (size_t i = 0; i < count && code == CTL_OK; i++) {
        Etcdserverpb__HashKVRequest request = ETCDSERVERPB__HASH_KVREQUEST__INIT;
        request.revision = pflag_i64(call->flags, "rev");
        struct ctl_rpc rpc = {.path = "/etcdserverpb.Maintenance/HashKV",
                              .request = &request,
                              .reply_type = &etcdserverpb__hash_kvresponse__descriptor,
                              .is_repeatable = true};
        code = ctl__ask(ctl, endpoints[i], &rpc);
        if (rpc.reply != NULL) {
            list[answered++] = (struct print_hashkv){endpoints[i], rpc.reply};
        } else if (code == CTL_OK) {
            last_error = rpc.error;
            buf_printf(&ctl->err, "Failed to get the hash of endpoint %s (%s)\n", endpoints[i],
                       rpc.error);
            ctl__flush(ctl);
        }
    }
    if (code == CTL_OK) {
        code = ctl__shown(ctl, print_hashkv(&ctl->printer, list, answered));
    }
    if (code == CTL_OK && last_error != NULL) {
        code = ctl__fail_text(ctl, CTL_ERROR, slice_str(last_error));
    }
    return code;
}
