/* Everything but Range (apply_range.c), leases (apply_lease.c), and what is applied in steps
 * (work.c).
 */
#include "server/apply_priv.h"

#include "codec/pbwire.h"
#include "state/lease.h"

/* Bytes a key costs beside itself and its value: etcd's estimate, part of the protocol because all
 * members must agree on what fits. */
#define QUOTA_KEY_OVERHEAD 256

struct apply *apply_new(const struct apply_options *options)
{
    struct apply *apply = NEW(struct apply);
    apply->options = *options;
    return apply;
}

void apply_free(struct apply **apply)
{
    if (*apply != NULL) {
        buf_fini(&(*apply)->scratch);
        mem_free((*apply)->ops);
        mem_free(*apply);
        *apply = NULL;
    }
}

void apply_set_term(struct apply *apply, uint64_t term)
{
    apply->term = term;
}

struct reply_header apply_header(const struct apply *apply)
{
    return (struct reply_header){
        .cluster_id = apply->options.cluster_id,
        .member_id = apply->options.member_id,
        .revision = mvcc_revision(apply->options.mvcc),
        .raft_term = apply->term,
    };
}

/* A reply larger than this does not leave its scratch memory behind. */
#define SCRATCH_KEEP ((size_t)64 * 1024)

struct slice apply__reply(struct apply *apply, int64_t revision, struct slice body,
                          struct arena *arena)
{
    uint8_t head[64];
    struct reply_header header = apply_header(apply);
    struct buf out = {.data = head, .cap = sizeof(head)};
    header.revision = revision;
    reply_put_header(&out, 1, &header); /* at most 2 + 4 * 11 bytes: never grows */
    ASSERT(out.data == head);
    uint8_t *reply = arena_alloc(arena, out.len + body.len);
    memcpy(reply, head, out.len);
    if (body.len > 0) {
        memcpy(reply + out.len, body.data, body.len);
    }
    if (apply->scratch.cap > SCRATCH_KEEP) {
        buf_fini(&apply->scratch); /* where body lay */
    }
    return slice_of(reply, out.len + body.len);
}

/* ---- quota --------------------------------------------------------------------------------- */

uint64_t apply_cost_put(const Etcdserverpb__PutRequest *request)
{
    return QUOTA_KEY_OVERHEAD + request->key.len + request->value.len;
}

static uint64_t cost_txn(const Etcdserverpb__TxnRequest *request, size_t depth);

static uint64_t cost_branch(Etcdserverpb__RequestOp **ops, size_t count, size_t depth)
{
    uint64_t cost = 0;
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT) {
            cost += apply_cost_put(ops[i]->request_put);
        } else if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN) {
            cost += cost_txn(ops[i]->request_txn, depth + 1);
        }
    }
    return cost;
}

/* What lies deeper than anything that is applied costs nothing. */
static uint64_t cost_txn(const Etcdserverpb__TxnRequest *request, size_t depth)
{
    if (depth > TXN_DEPTH_MAX) {
        return 0;
    }
    uint64_t success = cost_branch(request->success, request->n_success, depth);
    uint64_t failure = cost_branch(request->failure, request->n_failure, depth);
    return success > failure ? success : failure;
}

uint64_t apply_cost_txn(const Etcdserverpb__TxnRequest *request)
{
    return cost_txn(request, 1);
}

bool apply_has_room(const struct apply *apply, uint64_t cost)
{
    struct backend_stats stats;
    if (cost == 0) {
        return true;
    }
    backend_stats(apply->options.backend, &stats);
    return stats.size + cost < (uint64_t)apply->options.quota;
}

enum status apply__alarm_refuses(const struct apply *apply, uint64_t cost)
{
    if (alarms_count(apply->options.alarms) == 0) {
        return STATUS_OK;
    }
    if (alarms_any(apply->options.alarms, ALARM_CORRUPT)) {
        return STATUS_CORRUPT;
    }
    bool is_full = cost > 0 && alarms_any(apply->options.alarms, ALARM_NOSPACE);
    return is_full ? STATUS_NO_SPACE : STATUS_OK;
}

/* ---- put ----------------------------------------------------------------------------------- */

enum status apply__put_check(struct apply *apply, const Etcdserverpb__PutRequest *request)
{
    struct key_version version;
    if (request->key.len == 0) {
        return STATUS_EMPTY_KEY;
    }
    if ((request->ignore_value || request->ignore_lease) &&
        !mvcc_get_version(apply->options.mvcc, pb_bytes(request->key), &version)) {
        return STATUS_KEY_NOT_FOUND;
    }
    if (request->lease != 0 && !lessor_has(apply->options.lessor, request->lease)) {
        return STATUS_LEASE_NOT_FOUND;
    }
    return STATUS_OK;
}

enum status apply__put_body(struct apply *apply, const Etcdserverpb__PutRequest *request,
                            struct buf *out, int64_t *revision_out)
{
    struct mvcc *mvcc = apply->options.mvcc;
    struct slice value = pb_bytes(request->value);
    int64_t lease = request->lease;
    struct buf kept = {0};
    if (request->prev_kv || request->ignore_value || request->ignore_lease) {
        struct mvcc_row row;
        bool is_there = mvcc_get(mvcc, pb_bytes(request->key), &row);
        if (!is_there && (request->ignore_value || request->ignore_lease)) {
            return STATUS_KEY_NOT_FOUND;
        }
        if (is_there && request->prev_kv) {
            reply_put_bytes(out, 2, row.raw);
        }
        if (request->ignore_value) {
            buf_append_slice(&kept, row.value); /* the row may go away in mvcc_put() */
            value = buf_slice(&kept);
        }
        if (request->ignore_lease) {
            lease = row.lease;
        }
    }
    *revision_out = mvcc_put(mvcc, pb_bytes(request->key), value, lease);
    buf_fini(&kept);
    return STATUS_OK;
}

enum status apply_put(struct apply *apply, const Etcdserverpb__PutRequest *request,
                      struct arena *arena, struct slice *reply_out)
{
    int64_t revision;
    uint64_t cost = apply_cost_put(request);
    enum status status = apply__alarm_refuses(apply, cost);
    if (status == STATUS_OK) {
        /* Compatibility: a lone put looks its lease up first, a put in a Txn its key. */
        status = request->lease != 0 && !lessor_has(apply->options.lessor, request->lease)
                     ? STATUS_LEASE_NOT_FOUND
                     : apply__put_check(apply, request);
    }
    if (status != STATUS_OK) {
        return status;
    }
    bool has_room = apply_has_room(apply, cost);
    buf_reset(&apply->scratch);
    mvcc_begin(apply->options.mvcc);
    status = apply__put_body(apply, request, &apply->scratch, &revision);
    ASSERT(status == STATUS_OK);
    mvcc_end(apply->options.mvcc);
    *reply_out = apply__reply(apply, revision, buf_slice(&apply->scratch), arena);
    return has_room ? STATUS_OK : STATUS_NO_SPACE;
}

/* ---- compaction, alarms -------------------------------------------------------------------- */

enum status apply_compact(struct apply *apply, const Etcdserverpb__CompactionRequest *request,
                          struct arena *arena, struct slice *reply_out)
{
    enum status status = apply__alarm_refuses(apply, 0);
    if (status != STATUS_OK) {
        return status;
    }
    enum err err = mvcc_compact(apply->options.mvcc, request->revision);
    if (err != ERR_OK) {
        return err == ERR_COMPACTED ? STATUS_COMPACTED : STATUS_FUTURE_REVISION;
    }
    *reply_out = apply__reply(apply, mvcc_revision(apply->options.mvcc), SLICE_EMPTY, arena);
    return STATUS_OK;
}

static void alarm_append(struct buf *out, struct alarm alarm)
{
    size_t start = out->len;
    alarm_encode(alarm, out);
    reply_wrap(out, start, 2);
}

enum status apply_alarm(struct apply *apply, const Etcdserverpb__AlarmRequest *request,
                        struct arena *arena, struct slice *reply_out)
{
    struct alarms *alarms = apply->options.alarms;
    struct alarm alarm = {.member_id = request->memberid, .type = (int32_t)request->alarm};
    buf_reset(&apply->scratch);
    switch (request->action) {
    case ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET:
        for (size_t i = 0; i < alarms_count(alarms); i++) {
            struct alarm one = alarms_at(alarms, i);
            if (request->alarm == ETCDSERVERPB__ALARM_TYPE__NONE || one.type == alarm.type) {
                alarm_append(&apply->scratch, one);
            }
        }
        break;
    case ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE:
        if (alarm.type != ALARM_NONE) {
            alarms_activate(alarms, alarm);
            alarm_append(&apply->scratch, alarm);
        }
        break;
    case ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE:
        if (alarms_deactivate(alarms, alarm)) {
            alarm_append(&apply->scratch, alarm);
        }
        break;
    case _ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION_IS_INT_SIZE:
        break;
    }
    *reply_out =
        apply__reply(apply, mvcc_revision(apply->options.mvcc), buf_slice(&apply->scratch), arena);
    return STATUS_OK;
}
