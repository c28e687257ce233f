/* What a log written by another etcd does to leases: their rows, and the keys of a revoked one.
 *
 * This member grants no lease and lets none run out; but where the log that it takes over ends in
 * such entries, they were acknowledged, and the rows must come out as they would have there. Which
 * keys hang on a lease is told by the keys' newest rows. */
#include "server/apply_priv.h"

#include "lease.pb-c.h"

/* Compatibility: etcd's own bound, in seconds. */
#define LEASE_TTL_MAX 9000000000

static struct slice row_key(int64_t lease, uint8_t key[8])
{
    put_be64(key, (uint64_t)lease);
    return slice_of(key, 8);
}

bool apply__lease_exists(struct apply *apply, int64_t lease)
{
    uint8_t key[8];
    struct slice row;
    return backend_get(apply->options.backend, BUCKET_LEASE, row_key(lease, key), &row);
}

static void row_put(struct apply *apply, int64_t lease, int64_t ttl, int64_t remaining)
{
    uint8_t key[8];
    struct buf row = {0};
    Leasepb__Lease message = LEASEPB__LEASE__INIT;
    message.id = lease;
    message.ttl = ttl;
    message.remainingttl = remaining;
    pb_encode(&message, &row);
    backend_put(apply->options.backend, BUCKET_LEASE, row_key(lease, key), buf_slice(&row));
    buf_fini(&row);
}

enum status apply_lease_grant(struct apply *apply, const Etcdserverpb__LeaseGrantRequest *request)
{
    enum { COST = 1 }; /* any: an active alarm refuses what costs space at all */
    enum status status = apply__alarm_refuses(apply, COST);
    if (status != STATUS_OK) {
        return status;
    }
    if (request->id == 0 || request->ttl > LEASE_TTL_MAX ||
        apply__lease_exists(apply, request->id)) {
        return STATUS_LEASE_NOT_FOUND; /* nobody waits to be told which of the three */
    }
    int64_t least = apply->options.lease_ttl_min;
    row_put(apply, request->id, request->ttl < least ? least : request->ttl, 0);
    return STATUS_OK;
}

/* The keys of a lease, one after the other, each behind its length. */
static void keys_of(struct apply *apply, int64_t lease, struct buf *out)
{
    struct key_range all = key_range_of(slice_of("", 1), slice_of("", 1));
    struct mvcc_read read;
    struct slice raw;
    enum err err = mvcc_read_open(apply->options.mvcc, &all, 0, &read);
    ASSERT(err == ERR_OK); /* the current revision is never compacted */
    while (mvcc_read_next(&read, &raw)) {
        struct mvcc_row row;
        if (mvcc_row_parse(raw, &row) == ERR_OK && row.lease == lease) {
            uint8_t len[8];
            put_be64(len, row.key.len);
            buf_append(out, len, sizeof(len));
            buf_append_slice(out, row.key);
        }
    }
    mvcc_read_close(&read);
}

enum status apply_lease_revoke(struct apply *apply, const Etcdserverpb__LeaseRevokeRequest *request)
{
    uint8_t row[8];
    struct buf keys = {0};
    enum status status = apply__alarm_refuses(apply, 0);
    if (status == STATUS_OK && !apply__lease_exists(apply, request->id)) {
        status = STATUS_LEASE_NOT_FOUND;
    }
    if (status != STATUS_OK) {
        return status;
    }
    keys_of(apply, request->id, &keys);
    mvcc_begin(apply->options.mvcc);
    for (size_t at = 0; at < keys.len;) {
        struct slice key = slice_of(keys.data + at + 8, get_be64(keys.data + at));
        struct key_range range = key_range_of(key, SLICE_EMPTY);
        mvcc_delete(apply->options.mvcc, &range);
        at += 8 + key.len;
    }
    mvcc_end(apply->options.mvcc);
    backend_delete(apply->options.backend, BUCKET_LEASE, row_key(request->id, row));
    buf_fini(&keys);
    return STATUS_OK;
}

void apply_lease_checkpoint(struct apply *apply,
                            const Etcdserverpb__LeaseCheckpointRequest *request,
                            struct arena *arena)
{
    for (size_t i = 0; i < request->n_checkpoints; i++) {
        const Etcdserverpb__LeaseCheckpoint *checkpoint = request->checkpoints[i];
        uint8_t key[8];
        struct slice bytes;
        Leasepb__Lease *row = NULL;
        if (backend_get(apply->options.backend, BUCKET_LEASE, row_key(checkpoint->id, key),
                        &bytes) &&
            pb_decode(arena, &leasepb__lease__descriptor, bytes, &row, NULL) == ERR_OK) {
            row_put(apply, checkpoint->id, row->ttl, checkpoint->remaining_ttl);
        }
    }
}
