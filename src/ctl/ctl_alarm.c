/* alarm list, alarm disarm. */
#include "ctl/ctl_priv.h"

#include "codec/pb.h"

static bool call_alarm(struct ctl *ctl, const Etcdserverpb__AlarmRequest *request, mono_ns deadline,
                       struct ctl_rpc *rpc)
{
    *rpc = (struct ctl_rpc){.path = "/etcdserverpb.Maintenance/Alarm",
                            .request = request,
                            .reply_type = &etcdserverpb__alarm_response__descriptor,
                            .is_repeatable = true,
                            .deadline = deadline};
    return ctl__call(ctl, ctl->client, rpc);
}

int ctl__alarm_list_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    if (pflag_narg(call->flags) != 0) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "alarm list command accepts no arguments");
    }
    int code = ctl__open(ctl, call);
    if (code != CTL_OK) {
        return code;
    }
    Etcdserverpb__AlarmRequest request = ETCDSERVERPB__ALARM_REQUEST__INIT;
    struct ctl_rpc rpc;
    if (!call_alarm(ctl, &request, ctl__deadline(ctl), &rpc)) {
        return ctl__fail_text(ctl, CTL_ERROR, slice_str(rpc.error));
    }
    return ctl__shown(ctl, print_alarms(&ctl->printer, rpc.reply));
}

/* Adds what one call disarmed to the answer of the command. */
static void add_alarms(struct arena *arena, Etcdserverpb__AlarmResponse *sum,
                       const Etcdserverpb__AlarmResponse *part)
{
    if (part->n_alarms == 0) {
        return;
    }
    size_t count = sum->n_alarms + part->n_alarms;
    Etcdserverpb__AlarmMember **alarms = arena_alloc(arena, count * sizeof(*alarms));
    if (sum->n_alarms > 0) {
        memcpy((void *)alarms, (void *)sum->alarms, sum->n_alarms * sizeof(*alarms));
    }
    memcpy((void *)(alarms + sum->n_alarms), (void *)part->alarms,
           part->n_alarms * sizeof(*alarms));
    sum->alarms = alarms;
    sum->n_alarms = count;
}

/* Every alarm there is, one by one, as clientv3 does. Its answer has no header. */
int ctl__alarm_disarm_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    if (pflag_narg(call->flags) != 0) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "alarm disarm command accepts no arguments");
    }
    int code = ctl__open(ctl, call);
    if (code != CTL_OK) {
        return code;
    }
    mono_ns deadline = ctl__deadline(ctl);
    Etcdserverpb__AlarmRequest request = ETCDSERVERPB__ALARM_REQUEST__INIT;
    Etcdserverpb__AlarmResponse sum = ETCDSERVERPB__ALARM_RESPONSE__INIT;
    struct ctl_rpc rpc;
    if (!call_alarm(ctl, &request, deadline, &rpc)) {
        return ctl__fail_text(ctl, CTL_ERROR, slice_str(rpc.error));
    }
    const Etcdserverpb__AlarmResponse *list = rpc.reply;
    for (size_t i = 0; i < list->n_alarms; i++) {
        request.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE;
        request.memberid = list->alarms[i]->memberid;
        request.alarm = list->alarms[i]->alarm;
        if (!call_alarm(ctl, &request, deadline, &rpc)) {
            return ctl__fail_text(ctl, CTL_ERROR, slice_str(rpc.error));
        }
        add_alarms(&ctl->arena, &sum, rpc.reply);
    }
    return ctl__shown(ctl, print_alarms(&ctl->printer, &sum));
}
