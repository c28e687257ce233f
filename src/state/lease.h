/* The lessor: every lease, when it runs out, and which keys go with it.
 *
 * What is replicated is that a lease exists, its time to live, how much of that was left at its
 * last checkpoint, and its keys: grants, revokes, checkpoints, puts and deletes come out of the
 * log and are the same on every member. Those of a lease are rows of bucket `lease`
 * (docs/formats/db.md); its keys are told by their own rows, through mvcc_hooks.attach.
 *
 * When a lease runs out is known to the leader alone, the primary, and lives in memory. Between
 * lessor_promote() and lessor_demote() every lease has a deadline; before and after none has one,
 * and nothing runs out. A new primary gives each lease its full time again (or what was left at
 * its last checkpoint) and some grace on top, so that no lease ends early because a leader did.
 * Running out is not dying: the primary names the leases that are due (lessor_expire) and the
 * caller sends a revoke of each through the log.
 *
 * It is not the server: it proposes nothing, answers nobody and deletes no key. It has no clock:
 * time comes in by lessor_advance() alone, is monotonic, and never goes back, so that a jump of
 * the wall clock changes nothing.
 *
 * Cost: a lease takes 72 bytes, a map bucket and 16 bytes a heap; an attached key 44 bytes and its
 * own length. Renewing moves nothing in the heap. Whatever visits all leases is done in steps.
 *
 * Ownership: keys are copied. The backend must outlive the lessor.
 * Threads:   loop thread only.
 * Failure:   a row that is no lease is a damaged database: ERR_CORRUPT from lessor_open(). */
#ifndef STATE_LEASE_H
#define STATE_LEASE_H

#include "base/bytes.h"

struct backend;
struct lessor;
typedef int64_t lease_id; /* 0: none; negative ones are as good as others */

/* Compatibility: etcd's bound, in seconds. In nanoseconds it still fits 63 bits. */
#define LEASE_TTL_MAX 9000000000
/* Compatibility: how old the time on disk may be, and how long a revoke may take before it is sent
 * again. */
#define LEASE_CHECKPOINT_S 300
#define LEASE_RETRY_S 3

struct lessor_options {
    struct backend *backend;
    int64_t ttl_min; /* seconds: shorter leases get this */
    uint64_t seed;   /* random: so that nobody can choose ids or keys that collide */
};

/* Reads bucket `lease`. Before mvcc_open(), which attaches the keys. */
FALLIBLE lessor_open(const struct lessor_options *options, struct lessor **out, struct errbuf *why);
void lessor_close(struct lessor **lessor); /* safe on NULL */

/* It is `now`, in nanoseconds of a monotonic clock. Earlier than before: stays as it was. */
void lessor_advance(struct lessor *lessor, uint64_t now);

/* ---- what the log says, in its order; inside backend_begin() and backend_end() ----------------
 */

/* *ttl_out: what was granted.
 *
 * ERR_NOT_FOUND   id 0 (compatibility: etcd's answer)
 * ERR_TOO_LARGE   ttl is above LEASE_TTL_MAX
 * ERR_EXISTS      there is such a lease */
FALLIBLE lessor_grant(struct lessor *lessor, lease_id id, int64_t ttl, int64_t *ttl_out);
/* The smallest key of the lease; false when it has none. Valid until the key is detached. */
bool lessor_first_key(const struct lessor *lessor, lease_id id, struct slice *out);
/* Its revoke has begun: no renewal saves it any more. It exists. */
void lessor_revoke_begin(struct lessor *lessor, lease_id id);
/* Forgets the lease, which exists, and any key it still has. */
void lessor_revoke(struct lessor *lessor, lease_id id);
/* `left` seconds were left of it; 0: all. Without `persists`, the row stays as it is. An unknown
 * lease is passed over. */
void lessor_checkpoint(struct lessor *lessor, lease_id id, int64_t left, bool persists);
/* `key` now belongs to `lease`, or to none (0). One that does not exist is as good as none: etcd
 * leaves such keys behind. Has the form of mvcc_hooks.attach. */
void lessor_attach(void *lessor, struct slice key, lease_id lease);

/* ---- the primary ----------------------------------------------------------------------------- */

/* Every lease now ends `grace_ns` after its time from now. O(1): the leases follow by
 * lessor_due() and lessor_step(), or when they are asked for. */
void lessor_promote(struct lessor *lessor, uint64_t grace_ns);
/* No lease ends any more. O(1). Safe when not primary. */
void lessor_demote(struct lessor *lessor);
bool lessor_is_primary(const struct lessor *lessor);

/* Starts its time again, and tells how long that is. Touches neither rows nor, in the common case,
 * a heap. One that is over but was not named by lessor_expire() yet lives on. */
enum lease_renewal {
    LEASE_RENEWED,
    LEASE_UNKNOWN,
    LEASE_ENDING,   /* its revoke is on the way: wait for it */
    LEASE_CLEAR,    /* a checkpoint says that less than all is left of it: the caller has one with 0
                     * sent first, or a later primary would end it early; told once */
    LEASE_CLEARING, /* as above, and it is on the way */
};
enum lease_renewal lessor_renew(struct lessor *lessor, lease_id id, int64_t *ttl_out);

/* When there is something to do: 0 for at once, UINT64_MAX for nothing. */
uint64_t lessor_due(const struct lessor *lessor);
/* One slice of the work that lessor_promote() put off. */
void lessor_step(struct lessor *lessor);
/* Leases that are over, by deadline, then by id: at most `max`, and as long as no more than
 * `window` leases and keys of such leases are under way (a large one goes alone). Each is named
 * once, and again after LEASE_RETRY_S if it is still there. One slice: there may be more. */
size_t lessor_expire(struct lessor *lessor, size_t window, lease_id *out, size_t max);
/* Leases of which LEASE_CHECKPOINT_S have passed since they were renewed or last checkpointed, and
 * what is left of them, in seconds rounded up. One slice: there may be more. */
struct lease_left {
    lease_id id;
    int64_t left;
};
size_t lessor_checkpoints(struct lessor *lessor, struct lease_left *out, size_t max);

/* ---- observers ------------------------------------------------------------------------------- */

struct lease_info {
    int64_t ttl;       /* seconds, as granted */
    int64_t left;      /* seconds at the last checkpoint; 0: all */
    uint64_t deadline; /* UINT64_MAX when not primary */
    uint32_t key_count;
    bool is_ending; /* named by lessor_expire() */
};
bool lessor_has(const struct lessor *lessor, lease_id id);
bool lessor_get(struct lessor *lessor, lease_id id, struct lease_info *out);
/* Whole seconds that remain, as etcd counts them: rounded towards zero, and INT64_MAX / 10^9 of
 * them where there is no deadline. */
int64_t lessor_remaining_s(const struct lessor *lessor, const struct lease_info *info);
/* The keys of a lease above `after` (empty: all), ascending, as long as each() returns true. */
typedef bool lease_key_fn(void *ctx, struct slice key);
void lessor_keys(const struct lessor *lessor, lease_id id, struct slice after, lease_key_fn *each,
                 void *ctx);
/* All leases, in no order that may be seen: one part of `LEASE_PARTS` a call. */
#define LEASE_PARTS 1024
typedef void lease_fn(void *ctx, lease_id id, uint64_t deadline);
void lessor_each(struct lessor *lessor, size_t part, lease_fn *each, void *ctx);

/* Granted times: bucket i counts those up to 2^i seconds, the last one what is above. */
#define LEASE_TTL_BUCKETS 25
struct lessor_stats {
    uint64_t leases;
    uint64_t keys; /* attached */
    uint64_t granted;
    uint64_t revoked;
    uint64_t renewed;
    uint64_t expired; /* revoked after lessor_expire() */
    uint64_t ending;  /* named by lessor_expire(), still there */
    uint64_t bytes;   /* heap used */
    uint64_t ttl_counts[LEASE_TTL_BUCKETS];
    uint64_t ttl_sum;
};
void lessor_stats(const struct lessor *lessor, struct lessor_stats *out);
/* Leases named by lessor_expire() that are still there. */
uint64_t lessor_ending(const struct lessor *lessor);
/* Grows with every revoke, checkpoint, promotion and demotion: with whatever lessor_renew() may
 * have made somebody wait for. */
uint64_t lessor_changes(const struct lessor *lessor);

/* Walks everything and ASSERTs what must hold. */
void lessor_check(const struct lessor *lessor);

#endif
