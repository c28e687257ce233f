/* lease grant, revoke, timetolive, list, keep-alive. */
#include "ctl/ctl_priv.h"

#include "base/gotext.h"
#include "client/client_stream.h"
#include "codec/pb.h"

/* clientv3 gives a lease up that was not renewed for its time, and one that never was after this.
 */
#define FIRST_ANSWER_NS (5 * NS_PER_SEC)
/* clientv3 looks this often whether a renewal is due, and waits so long to open a stream again. */
#define LOOK_NS (500 * NS_PER_MS)

/* The only argument as a lease, in hexadecimal. */
static int lease_argument(struct ctl *ctl, const struct command_call *call, int64_t *out)
{
    struct buf quoted = {0};
    const char *text = pflag_arg(call->flags, 0);
    const char *error = kv_op_parse_hex(text, out);
    if (error == NULL) {
        return CTL_OK;
    }
    go_quote(slice_str(text), &quoted);
    int code = ctl__fail(ctl, CTL_BAD_ARGS,
                         "bad lease ID arg (strconv.ParseInt: parsing %s: %s), expecting ID in Hex",
                         buf_cstr(&quoted), error);
    buf_fini(&quoted);
    return code;
}

/* Connects and calls; a failure is printed as `format` says it, which has one %s. */
__attribute__((format(printf, 4, 0))) static int
call_out(struct ctl *ctl, const struct command_call *call, struct ctl_rpc *rpc, const char *format)
{
    int code = ctl__open(ctl, call);
    if (code != CTL_OK) {
        return code;
    }
    rpc->deadline = ctl__deadline(ctl);
    if (!ctl__call(ctl, ctl->client, rpc)) {
        return ctl__fail(ctl, CTL_ERROR, format, rpc->error);
    }
    return CTL_OK;
}

int ctl__lease_grant_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    struct errbuf why;
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    if (pflag_narg(call->flags) != 1) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "lease grant command needs TTL argument");
    }
    const char *text = pflag_arg(call->flags, 0);
    if (go_parse_int(slice_str(text), 10, 64, &request.ttl, &why) != ERR_OK) {
        struct buf quoted = {0};
        go_quote(slice_str(text), &quoted);
        int code = ctl__fail(ctl, CTL_BAD_ARGS, "bad TTL (strconv.ParseInt: parsing %s: %s)",
                             buf_cstr(&quoted), why.text);
        buf_fini(&quoted);
        return code;
    }
    struct ctl_rpc rpc = {.path = "/etcdserverpb.Lease/LeaseGrant",
                          .request = &request,
                          .reply_type = &etcdserverpb__lease_grant_response__descriptor};
    int code = call_out(ctl, call, &rpc, "failed to grant lease (%s)");
    return code != CTL_OK ? code : ctl__shown(ctl, print_lease_grant(&ctl->printer, rpc.reply));
}

/* etcdctl's own words: clientv3's type of this one answer cannot be encoded. */
static int refuse_protobuf(struct ctl *ctl, const Etcdserverpb__LeaseRevokeResponse *revoke)
{
    const Etcdserverpb__ResponseHeader *header = revoke->header;
    if (header == NULL) {
        return ctl__fail(ctl, CTL_BAD_FEATURE,
                         "marshal unsupported for type clientv3.LeaseRevokeResponse ({<nil>})");
    }
    return ctl__fail(ctl, CTL_BAD_FEATURE,
                     "marshal unsupported for type clientv3.LeaseRevokeResponse "
                     "({cluster_id:%llu member_id:%llu revision:%lld raft_term:%llu })",
                     (unsigned long long)header->cluster_id, (unsigned long long)header->member_id,
                     (long long)header->revision, (unsigned long long)header->raft_term);
}

int ctl__lease_revoke_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    Etcdserverpb__LeaseRevokeRequest request = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    if (pflag_narg(call->flags) != 1) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "lease revoke command needs 1 argument");
    }
    int code = lease_argument(ctl, call, &request.id);
    if (code != CTL_OK) {
        return code;
    }
    struct ctl_rpc rpc = {.path = "/etcdserverpb.Lease/LeaseRevoke",
                          .request = &request,
                          .reply_type = &etcdserverpb__lease_revoke_response__descriptor};
    code = call_out(ctl, call, &rpc, "failed to revoke lease (%s)");
    if (code == CTL_OK && ctl->printer.format == PRINT_PROTOBUF) {
        return refuse_protobuf(ctl, rpc.reply);
    }
    return code != CTL_OK
               ? code
               : ctl__shown(ctl, print_lease_revoke(&ctl->printer, request.id, rpc.reply));
}

int ctl__lease_time_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    Etcdserverpb__LeaseTimeToLiveRequest request = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    if (pflag_narg(call->flags) != 1) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "lease timetolive command needs lease ID as argument");
    }
    int code = lease_argument(ctl, call, &request.id);
    if (code != CTL_OK) {
        return code;
    }
    request.keys = pflag_bool(call->flags, "keys");
    struct ctl_rpc rpc = {.path = "/etcdserverpb.Lease/LeaseTimeToLive",
                          .request = &request,
                          .reply_type = &etcdserverpb__lease_time_to_live_response__descriptor,
                          .is_repeatable = true};
    code = call_out(ctl, call, &rpc, "%s");
    return code != CTL_OK
               ? code
               : ctl__shown(ctl, print_lease_time(&ctl->printer, rpc.reply, request.keys));
}

int ctl__lease_list_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    Etcdserverpb__LeaseLeasesRequest request = ETCDSERVERPB__LEASE_LEASES_REQUEST__INIT;
    struct ctl_rpc rpc = {.path = "/etcdserverpb.Lease/LeaseLeases",
                          .request = &request,
                          .reply_type = &etcdserverpb__lease_leases_response__descriptor,
                          .is_repeatable = true};
    int code = call_out(ctl, call, &rpc, "%s");
    return code != CTL_OK ? code : ctl__shown(ctl, print_leases(&ctl->printer, rpc.reply));
}

/* ---- keep-alive ------------------------------------------------------------------------ */

/* One stream, opened again when it ends; the lease is renewed at a third of its time. */
struct keeper {
    struct ctl *ctl;
    struct client_stream stream;
    struct arena arena; /* of one answer */
    int64_t id;
    bool is_once;
    struct timer look;
    mono_ns next;     /* when to renew */
    mono_ns given_up; /* when it is over without an answer */
    mono_ns reopen;   /* when the stream that ended is opened again; 0: it stands */
    int code;
    bool is_over;
};

static void finish(struct keeper *keeper, int code)
{
    keeper->code = code;
    keeper->is_over = true;
}

static void send_renewal(struct keeper *keeper)
{
    Etcdserverpb__LeaseKeepAliveRequest request = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    struct buf bytes = {0};
    request.id = keeper->id;
    pb_encode(&request, &bytes);
    client_stream_send(&keeper->stream, buf_slice(&bytes));
    buf_fini(&bytes);
}

static void on_message(struct client_stream *stream, struct slice message)
{
    struct keeper *keeper = stream->ctx;
    struct ctl *ctl = keeper->ctl;
    Etcdserverpb__LeaseKeepAliveResponse *reply = NULL;
    struct errbuf why;
    arena_reset(&keeper->arena);
    if (pb_decode(&keeper->arena, &etcdserverpb__lease_keep_alive_response__descriptor, message,
                  &reply, &why) != ERR_OK) {
        finish(keeper, ctl__fail(ctl, CTL_BAD_CONNECTION, "%s", why.text));
        return;
    }
    if (reply->ttl <= 0) {
        finish(keeper, keeper->is_once ? ctl__fail(ctl, CTL_BAD_CONNECTION, "%s",
                                                   "etcdserver: requested lease not found")
                                       : CTL_OK);
        return;
    }
    int code = ctl__shown(ctl, print_lease_kept(&ctl->printer, reply));
    ctl__flush(ctl);
    if (keeper->is_once || code != CTL_OK) {
        finish(keeper, code);
        return;
    }
    mono_ns now = loop_now(ctl->loop);
    keeper->next = now + (uint64_t)reply->ttl * NS_PER_SEC / 3;
    keeper->given_up = now + (uint64_t)reply->ttl * NS_PER_SEC;
}

static void on_end(struct client_stream *stream, const struct client_result *result)
{
    struct keeper *keeper = stream->ctx;
    if (keeper->is_once && !client_error_is_retryable(result->status, result->message, true, 1)) {
        finish(keeper, ctl__fail(keeper->ctl, CTL_BAD_CONNECTION, "%s", result->error));
        return;
    }
    keeper->reopen = loop_now(keeper->ctl->loop) + LOOK_NS;
}

static const struct client_stream_handler handler = {.message = on_message, .end = on_end};

static void on_look(struct timer *timer)
{
    struct keeper *keeper = CONTAINER_OF(timer, struct keeper, look);
    mono_ns now = loop_now(keeper->ctl->loop);
    if (now >= keeper->given_up && !keeper->is_once) {
        finish(keeper, CTL_OK);
        return;
    }
    if (keeper->reopen != 0 && now >= keeper->reopen) {
        keeper->reopen = 0;
        keeper->next = now;
        client_stream_open(keeper->ctl->client, &keeper->stream);
    }
    if (keeper->reopen == 0 && now >= keeper->next) {
        send_renewal(keeper);
        keeper->next = UINT64_MAX; /* until it is answered */
    }
    timer_start(keeper->ctl->loop, timer, now + LOOK_NS);
}

static int keep(struct ctl *ctl, int64_t id, bool is_once)
{
    mono_ns now = env_now_mono(ctl->env);
    struct keeper keeper = {
        .ctl = ctl,
        .id = id,
        .is_once = is_once,
        .stream = {.path = "/etcdserverpb.Lease/LeaseKeepAlive",
                   .handler = &handler,
                   .deadline = UINT64_MAX},
        .next = now,
        .given_up = now + FIRST_ANSWER_NS,
    };
    keeper.stream.ctx = &keeper;
    arena_init(&keeper.arena);
    timer_init(&keeper.look, on_look);
    client_stream_open(ctl->client, &keeper.stream);
    timer_start(ctl->loop, &keeper.look, now);
    ctl__wait(ctl, &keeper.is_over);
    timer_stop(ctl->loop, &keeper.look);
    client_stream_cancel(&keeper.stream);
    arena_fini(&keeper.arena);
    if (keeper.code == CTL_OK && !is_once && ctl->printer.format == PRINT_SIMPLE) {
        print_lease_over(&ctl->printer, id);
    }
    return keeper.code;
}

int ctl__lease_keep_alive_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    int64_t id;
    if (pflag_narg(call->flags) != 1) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "lease keep-alive command needs lease ID as argument");
    }
    int code = lease_argument(ctl, call, &id);
    if (code == CTL_OK) {
        code = ctl__open(ctl, call);
    }
    return code != CTL_OK ? code : keep(ctl, id, pflag_bool(call->flags, "once"));
}
