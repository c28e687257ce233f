/* Leases: what entries of the log do to them and to their keys. */
#include "server/apply_priv.h"

#include "state/lease.h"

enum status apply_lease_grant(struct apply *apply, const Etcdserverpb__LeaseGrantRequest *request,
                              struct arena *arena, struct slice *reply_out)
{
    int64_t ttl = 0;
    enum status status = apply__alarm_refuses(apply, APPLY_COST_LEASE);
    if (status != STATUS_OK) {
        return status;
    }
    bool has_room = apply_has_room(apply, APPLY_COST_LEASE);
    enum err err = lessor_grant(apply->options.lessor, request->id, request->ttl, &ttl);
    if (err != ERR_OK) {
        return err == ERR_EXISTS      ? STATUS_LEASE_EXISTS
               : err == ERR_TOO_LARGE ? STATUS_LEASE_TTL_TOO_LARGE
                                      : STATUS_LEASE_NOT_FOUND;
    }
    buf_reset(&apply->scratch);
    reply_put_uint(&apply->scratch, 2, (uint64_t)request->id);
    reply_put_uint(&apply->scratch, 3, (uint64_t)ttl);
    *reply_out =
        apply__reply(apply, mvcc_revision(apply->options.mvcc), buf_slice(&apply->scratch), arena);
    return has_room ? STATUS_OK : STATUS_NO_SPACE;
}

void apply_lease_checkpoint(struct apply *apply,
                            const Etcdserverpb__LeaseCheckpointRequest *request, bool persists)
{
    for (size_t i = 0; i < request->n_checkpoints; i++) {
        const Etcdserverpb__LeaseCheckpoint *checkpoint = request->checkpoints[i];
        lessor_checkpoint(apply->options.lessor, checkpoint->id, checkpoint->remaining_ttl,
                          persists);
    }
}
