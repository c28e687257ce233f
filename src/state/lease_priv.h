/* Shared inside lease*.c only. */
#ifndef STATE_LEASE_PRIV_H
#define STATE_LEASE_PRIV_H

#include "state/lease.h"

#include "base/coll.h"

/* Two things can be due about a lease. */
enum due_kind {
    DUE_END,        /* its deadline */
    DUE_CHECKPOINT, /* its time on disk gets old */
    DUE_KINDS,
};

/* deadline, slots, reign and the flags mean something only while reign is the lessor's: a lease of
 * an older reign has yet to be given its time (lease__touch). */
struct lease {
    struct map_node node;
    lease_id id;
    int64_t ttl;  /* seconds, as granted */
    int64_t left; /* seconds at the last checkpoint; 0: all */
    uint64_t deadline;
    struct lease_key *keys; /* root of its keys' tree */
    uint32_t key_count : 29;
    uint32_t is_going : 1;    /* its revoke has begun: whatever the reign */
    uint32_t is_ending : 1;   /* its revoke is on the way */
    uint32_t is_clearing : 1; /* so is a checkpoint that gives it all its time again */
    uint32_t reign;
    uint32_t slot[DUE_KINDS]; /* position in the heap of that kind + 1; 0: not there */
};
_Static_assert(sizeof(struct lease) == 72, "a million leases are held");

/* An attached key: in the map of all, and in the tree of its lease. */
struct lease_key {
    struct map_node node; /* by the key's hash, which is its priority in the tree, too */
    struct lease *lease;
    struct lease_key *child[2]; /* smaller, greater keys */
    uint32_t len;
    uint8_t bytes[];
};

/* A map in parts, so that growing never moves more than a part at once: the pause of a million
 * nodes would be long. */
struct parts {
    struct map map[LEASE_PARTS];
    uint64_t count;
};

/* A heap of leases by (at, id). `at` may be earlier than what it stands for: a renewal only writes
 * the lease, and whoever finds it on top puts it where it belongs. */
struct due {
    uint64_t at;
    struct lease *lease;
};
struct due_heap {
    struct due *items;
    size_t count;
    size_t cap;
    enum due_kind kind;
};

struct lessor {
    struct lessor_options options;
    uint64_t now;
    struct parts leases;
    struct parts keys;
    bool is_primary;
    uint32_t reign; /* counts promotions and demotions; no lease has it before it is touched */
    uint64_t promoted_at;
    uint64_t grace;
    size_t touched_parts; /* of this reign: those below have no lease of an older one */
    struct due_heap due[DUE_KINDS];
    uint64_t key_bytes;
    uint64_t changes;
    uint64_t ending_keys; /* of the leases named by lessor_expire() */
    struct lessor_stats stats;
};

/* lease.c */
struct lease *lease__find(const struct lessor *lessor, lease_id id);
static inline bool lease__is_ending(const struct lessor *lessor, const struct lease *lease)
{
    return lease->reign == lessor->reign && lease->is_ending;
}

/* lease_keys.c */
struct map *parts__map(struct parts *parts, uint64_t hash);
void parts__insert(struct parts *parts, struct map_node *node, uint64_t hash);
void parts__remove(struct parts *parts, struct map_node *node);
void lease__keys_free(struct lessor *lessor, struct lease *lease);
void lease__keys_check(const struct lessor *lessor, const struct lease *lease);

/* lease_due.c: a slot tells where a lease is; all but the first in O(log n). */
struct due *due__min(struct due_heap *heap); /* NULL when empty */
void due__push(struct due_heap *heap, struct lease *lease, uint64_t at);
void due__remove(struct due_heap *heap, struct lease *lease); /* safe when not in it */
void due__move(struct due_heap *heap, struct lease *lease, uint64_t at);
void due__check(const struct due_heap *heap);

#endif
