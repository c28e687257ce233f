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

enum status apply_revoke_open(struct apply *apply, lease_id lease)
{
    enum status status = apply__alarm_refuses(apply, 0);
    if (status == STATUS_OK && !lessor_has(apply->options.lessor, lease)) {
        status = STATUS_LEASE_NOT_FOUND;
    }
    if (status == STATUS_OK) {
        lessor_revoke_begin(apply->options.lessor, lease);
        mvcc_begin(apply->options.mvcc);
    }
    return status;
}

/* All its keys go in one revision, in their order, which every member must share. */
bool apply_revoke_step(struct apply *apply, lease_id lease, bool *is_suspended, uint64_t *budget)
{
    struct slice key;
    uint64_t spent = 0;
    if (*is_suspended) {
        mvcc_resume(apply->options.mvcc);
        *is_suspended = false;
    }
    while (lessor_first_key(apply->options.lessor, lease, &key)) {
        if (spent >= *budget) {
            *is_suspended = true;
            mvcc_suspend(apply->options.mvcc, NULL);
            break;
        }
        buf_reset(&apply->scratch);
        buf_append_slice(&apply->scratch, key); /* detaching frees the lessor's bytes */
        struct key_range range = key_range_of(buf_slice(&apply->scratch), SLICE_EMPTY);
        mvcc_delete(apply->options.mvcc, &range);
        lessor_attach(apply->options.lessor, range.from, 0); /* the store has told it, too */
        spent += APPLY_DELETE_UNITS;
    }
    *budget -= spent < *budget ? spent : *budget;
    return !*is_suspended;
}

void apply_revoke_end(struct apply *apply, lease_id lease, struct arena *arena,
                      struct slice *reply_out)
{
    mvcc_end(apply->options.mvcc);
    lessor_revoke(apply->options.lessor, lease);
    *reply_out = apply__reply(apply, mvcc_revision(apply->options.mvcc), SLICE_EMPTY, arena);
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
