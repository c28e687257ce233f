/* put, get, del, compaction. */
#include "ctl/ctl_priv.h"

#include "base/gotext.h"

/* Prints what a builder found wrong. */
static int refuse(struct ctl *ctl, int code, struct buf *why)
{
    code = ctl__fail_text(ctl, code, buf_slice(why));
    buf_fini(why);
    return code;
}

/* Connects, calls, prints a failure. */
static int call_out(struct ctl *ctl, const struct command_call *call, struct ctl_rpc *rpc)
{
    int code = ctl__open(ctl, call);
    if (code != CTL_OK) {
        return code;
    }
    rpc->deadline = ctl__deadline(ctl);
    if (!ctl__call(ctl, ctl->client, rpc)) {
        return ctl__fail_text(ctl, CTL_ERROR, slice_str(rpc->error));
    }
    return CTL_OK;
}

int ctl__put_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    struct buf why = {0};
    Etcdserverpb__PutRequest *put = NULL;
    int code = kv_op_put(&ctl->arena, call->flags, &ctl->input, &put, &why);
    if (code != CTL_OK) {
        return refuse(ctl, code, &why);
    }
    struct ctl_rpc rpc = {.path = "/etcdserverpb.KV/Put",
                          .request = put,
                          .reply_type = &etcdserverpb__put_response__descriptor};
    code = call_out(ctl, call, &rpc);
    if (code == CTL_OK) {
        code = ctl__shown(ctl, print_put(&ctl->printer, rpc.reply));
    }
    return code;
}

int ctl__get_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    struct buf why = {0};
    Etcdserverpb__RangeRequest *range = NULL;
    int code = kv_op_get(&ctl->arena, call->flags, &range, &why);
    if (code != CTL_OK) {
        return refuse(ctl, code, &why);
    }
    struct ctl_rpc rpc = {.path = "/etcdserverpb.KV/Range",
                          .request = range,
                          .reply_type = &etcdserverpb__range_response__descriptor,
                          .is_repeatable = true};
    code = call_out(ctl, call, &rpc);
    if (code != CTL_OK) {
        return code;
    }
    /* etcdctl says so only now, after the call. */
    if (range->count_only && ctl->printer.format != PRINT_FIELDS) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "--count-only is only for `--write-out=fields`");
    }
    ctl->printer.values_only = pflag_bool(call->flags, "print-value-only");
    if (ctl->printer.values_only && ctl->printer.format != PRINT_SIMPLE) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "print-value-only is only for `--write-out=simple`");
    }
    return ctl__shown(ctl, print_get(&ctl->printer, rpc.reply));
}

#define DEL_DELAY_NS (2 * NS_PER_SEC)

int ctl__del_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    struct buf why = {0};
    Etcdserverpb__DeleteRangeRequest *del = NULL;
    int code = kv_op_del(&ctl->arena, call->flags, &del, &ctl->err, &why);
    if (code != CTL_OK) {
        return refuse(ctl, code, &why);
    }
    if (ctl->err.len > 0) {
        ctl__sleep(ctl, DEL_DELAY_NS);
    }
    struct ctl_rpc rpc = {.path = "/etcdserverpb.KV/DeleteRange",
                          .request = del,
                          .reply_type = &etcdserverpb__delete_range_response__descriptor};
    code = call_out(ctl, call, &rpc);
    if (code == CTL_OK) {
        code = ctl__shown(ctl, print_del(&ctl->printer, rpc.reply));
    }
    return code;
}

int ctl__compaction_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    Etcdserverpb__CompactionRequest request = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    if (pflag_narg(call->flags) != 1) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "compaction command needs 1 argument");
    }
    const char *revision = pflag_arg(call->flags, 0);
    struct errbuf cause = {{0}};
    if (go_parse_int(slice_str(revision), 10, 64, &request.revision, &cause) != ERR_OK) {
        struct buf why = {0};
        buf_append_str(&why, "strconv.ParseInt: parsing ");
        go_quote(slice_str(revision), &why);
        buf_printf(&why, ": %s", cause.text);
        return refuse(ctl, CTL_ERROR, &why);
    }
    request.physical = pflag_bool(call->flags, "physical");
    struct ctl_rpc rpc = {.path = "/etcdserverpb.KV/Compact",
                          .request = &request,
                          .reply_type = &etcdserverpb__compaction_response__descriptor};
    int code = call_out(ctl, call, &rpc);
    if (code == CTL_OK) {
        buf_printf(&ctl->out, "compacted revision %lld\n", (long long)request.revision);
    }
    return code;
}
