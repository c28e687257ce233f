/* Apply: what a committed request does to the state, and what it answers.
 *
 * The same entries in the same order give every member the same state, so nothing here looks at a
 * clock, a random number or a setting that may differ between members. Requests arrive checked by
 * the proposer (api/check.h), but from the log they may come from any member: what an unchecked
 * request could do wrong is refused here again, never asserted.
 *
 * Replies are encoded at once: rows are spliced from the store while they are valid. reply slices
 * live in the arena given. What may be large (a Txn, a DeleteRange, a LeaseRevoke) is
 * server/work's.
 *
 * Threads: loop thread only. */
#ifndef SERVER_APPLY_H
#define SERVER_APPLY_H

#include "base/mem.h"
#include "server/alarm.h"
#include "server/range.h"
#include "server/reply.h"
#include "server/status.h"
#include "state/mvcc.h"

#include "raft_internal.pb-c.h"
#include "rpc.pb-c.h"

struct apply_options {
    struct mvcc *mvcc;
    struct backend *backend;
    struct alarms *alarms;
    uint64_t cluster_id;
    uint64_t member_id;
    int64_t quota; /* bytes; INT64_MAX: none */
    /* Attached to the store: what mvcc_hooks.attach tells goes to lessor_attach(). */
    struct lessor *lessor;
};

struct apply;

struct apply *apply_new(const struct apply_options *options);
void apply_free(struct apply **apply);

/* The term that reply headers carry from now on. */
void apply_set_term(struct apply *apply, uint64_t term);
/* A header with the current revision, for replies made elsewhere. */
struct reply_header apply_header(const struct apply *apply);

/* Reads. STATUS_COMPACTED, STATUS_FUTURE_REVISION, STATUS_CORRUPT. */

/* Of one key as it is now, which is what nearly every Range asks for: at once. False when it is
 * not such a Range, or its reply is not small; nothing is done then. */
bool apply_range_one(struct apply *apply, const Etcdserverpb__RangeRequest *request,
                     struct arena *arena, struct slice *reply_out);
/* A Range that may be large: the caller measures it in slices, and takes it whole or has it filled
 * in as it is sent (server/range.h). A status other than OK has opened nothing. */
enum status apply_range_open(struct apply *apply, const Etcdserverpb__RangeRequest *request,
                             struct range *range);
/* The whole of a measured one, in the arena; closes it. */
struct slice apply_range_take(struct range *range, struct arena *arena);
/* All of it at once. */
enum status apply_range(struct apply *apply, const Etcdserverpb__RangeRequest *request,
                        struct arena *arena, struct slice *reply_out);
/* Writes: one call is one applied request, between backend_begin() and backend_end(). A status
 * other than OK has changed nothing, but for STATUS_NO_SPACE of a request that was applied while
 * the quota was exceeded: etcd applies it and says so. */
enum status apply_put(struct apply *apply, const Etcdserverpb__PutRequest *request,
                      struct arena *arena, struct slice *reply_out);

enum status apply_compact(struct apply *apply, const Etcdserverpb__CompactionRequest *request,
                          struct arena *arena, struct slice *reply_out);
enum status apply_alarm(struct apply *apply, const Etcdserverpb__AlarmRequest *request,
                        struct arena *arena, struct slice *reply_out);

/* The id was chosen by the proposer. */
enum status apply_lease_grant(struct apply *apply, const Etcdserverpb__LeaseGrantRequest *request,
                              struct arena *arena, struct slice *reply_out);
/* persists: the cluster keeps the rest of a lease's life on disk. Nobody waits for an answer. */
void apply_lease_checkpoint(struct apply *apply,
                            const Etcdserverpb__LeaseCheckpointRequest *request, bool persists);

/* What may be large is applied in steps (server/work.h). All of it at once, for whoever has no
 * turns to think of: */
enum status apply_txn(struct apply *apply, const Etcdserverpb__TxnRequest *request,
                      struct arena *arena, struct slice *reply_out);
/* One without writes. */
enum status apply_txn_read(struct apply *apply, const Etcdserverpb__TxnRequest *request,
                           struct arena *arena, struct slice *reply_out);
enum status apply_delete_range(struct apply *apply, const Etcdserverpb__DeleteRangeRequest *request,
                               struct arena *arena, struct slice *reply_out);

/* What a write costs against the quota, in bytes; 0 for what may always go on. */
uint64_t apply_cost_put(const Etcdserverpb__PutRequest *request);
uint64_t apply_cost_txn(const Etcdserverpb__TxnRequest *request);
#define APPLY_COST_LEASE 64
/* Whether `cost` more bytes fit under the quota. */
bool apply_has_room(const struct apply *apply, uint64_t cost);

#endif
