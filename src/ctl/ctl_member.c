/* member list. */
#include "ctl/ctl_priv.h"

bool ctl__member_list(struct ctl *ctl, struct client *client, bool is_serializable,
                      struct ctl_rpc *rpc)
{
    Etcdserverpb__MemberListRequest request = ETCDSERVERPB__MEMBER_LIST_REQUEST__INIT;
    request.linearizable = !is_serializable;
    *rpc = (struct ctl_rpc){.path = "/etcdserverpb.Cluster/MemberList",
                            .request = &request,
                            .reply_type = &etcdserverpb__member_list_response__descriptor,
                            .is_repeatable = true,
                            .deadline = ctl__deadline(ctl)};
    bool is_ok = ctl__call(ctl, client, rpc);
    rpc->request = NULL;
    return is_ok;
}

int ctl__member_list_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    bool is_serializable = false;
    struct buf why = {0};
    int code = kv_op_consistency(pflag_str(call->flags, "consistency"), &is_serializable, &why);
    if (code != CTL_OK) {
        ctl__fail_text(ctl, code, buf_slice(&why));
    } else {
        code = ctl__open(ctl, call);
    }
    buf_fini(&why);
    struct ctl_rpc rpc;
    if (code != CTL_OK) {
        return code;
    }
    if (!ctl__member_list(ctl, ctl->client, is_serializable, &rpc)) {
        return ctl__fail_text(ctl, CTL_ERROR, slice_str(rpc.error));
    }
    return ctl__shown(ctl, print_members(&ctl->printer, rpc.reply));
}
