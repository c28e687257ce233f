/* What may be large, all at once: one step without an end to its units. */
#include "server/apply_priv.h"
#include "server/work.h"

static enum status apply_at_once(struct apply *apply, enum work_kind kind, const void *request,
                                 struct arena *arena, struct slice *reply_out)
{
    struct work work;
    struct pieces *pieces = NULL;
    uint64_t budget = UINT64_MAX;
    enum status status = work_open(&work, apply, kind, request, arena, true);
    if (status != STATUS_OK) {
        return status;
    }
    bool is_done = work_step(&work, &budget);
    ASSERT(is_done);
    status = work_end(&work, reply_out, &pieces);
    if (pieces != NULL) {
        *reply_out = pieces_take(pieces, arena);
    }
    return status;
}

enum status apply_txn(struct apply *apply, const Etcdserverpb__TxnRequest *request,
                      struct arena *arena, struct slice *reply_out)
{
    return apply_at_once(apply, WORK_TXN, request, arena, reply_out);
}

enum status apply_txn_read(struct apply *apply, const Etcdserverpb__TxnRequest *request,
                           struct arena *arena, struct slice *reply_out)
{
    return apply_at_once(apply, WORK_TXN_READ, request, arena, reply_out);
}

enum status apply_delete_range(struct apply *apply, const Etcdserverpb__DeleteRangeRequest *request,
                               struct arena *arena, struct slice *reply_out)
{
    return apply_at_once(apply, WORK_DELETE, request, arena, reply_out);
}
