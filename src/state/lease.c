/* Leases and their time.
 *
 * Invariants:
 *
 *   1. every lease is a row of bucket `lease`, and every such row a lease
 *   2. while primary, a lease of this reign is in the heap of deadlines, at a time that is not
 *      after its deadline, or, once it was named by lessor_expire(), at the time of the next naming
 *   3. a lease of an older reign (all, right after lessor_promote) gets its time when it is asked
 *      for, or in its turn; since that time counts from the promotion, the order does not matter
 *   4. while not primary the heaps are empty
 *   5. a deadline only moves by a renewal */
#include "state/lease_priv.h"

#include "base/digest.h"
#include "base/mem.h"
#include "codec/pbwire.h"
#include "storage/backend.h"

#define NS_PER_S ((uint64_t)1000000000)

/* What one slice may visit: well below a millisecond. */
enum { SLICE_MAX = 1024 };

/* ---- finding --------------------------------------------------------------------------------- */

static uint64_t hash_of(const struct lessor *lessor, lease_id id)
{
    return hash64(lessor->options.seed, slice_of(&id, sizeof(id)));
}

static bool is_id(const struct map_node *node, const void *key)
{
    return CONTAINER_OF_CONST(node, struct lease, node)->id == *(const lease_id *)key;
}

struct lease *lease__find(const struct lessor *lessor, lease_id id)
{
    uint64_t hash = hash_of(lessor, id);
    struct map *map = parts__map((struct parts *)(uintptr_t)&lessor->leases, hash);
    struct map_node *node = map_find(map, hash, is_id, &id);
    return node == NULL ? NULL : CONTAINER_OF(node, struct lease, node);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* leasepb.Lease */
enum { ROW_ID = 1, ROW_TTL = 2, ROW_LEFT = 3 };

static struct slice row_key(lease_id id, uint8_t key[8])
{
    put_be64(key, (uint64_t)id);
    return slice_of(key, 8);
}

static uint8_t *put_int(uint8_t *at, uint32_t number, int64_t value)
{
    return value == 0 ? at : pbwire_put_uint(at, number, (uint64_t)value);
}

static void row_put(const struct lessor *lessor, const struct lease *lease)
{
    uint8_t key[8];
    uint8_t row[3 * (1 + PBWIRE_VARINT_MAX)];
    uint8_t *end = put_int(row, ROW_ID, lease->id);
    end = put_int(end, ROW_TTL, lease->ttl);
    end = put_int(end, ROW_LEFT, lease->left);
    backend_put(lessor->options.backend, BUCKET_LEASE, row_key(lease->id, key),
                slice_of(row, (size_t)(end - row)));
}

static FALLIBLE row_read(struct slice key, struct slice row, struct lease *out)
{
    struct pbwire_iter it = pbwire_iter_init(row);
    struct pbwire_field field;
    while (pbwire_next(&it, &field)) {
        int64_t *place = field.number == ROW_ID     ? &out->id
                         : field.number == ROW_TTL  ? &out->ttl
                         : field.number == ROW_LEFT ? &out->left
                                                    : NULL;
        if (place != NULL && field.type == PBWIRE_VARINT) {
            *place = (int64_t)field.value;
        }
    }
    TRY(it.err);
    bool belongs = key.len == 8 && (int64_t)get_be64(key.data) == out->id && out->id != 0;
    return belongs ? ERR_OK : ERR_CORRUPT;
}

struct loading {
    struct lessor *lessor;
    enum err err;
};

static void insert(struct lessor *lessor, const struct lease *from)
{
    struct lease *lease = NEW(struct lease);
    *lease = *from;
    parts__insert(&lessor->leases, &lease->node, hash_of(lessor, lease->id));
}

static bool load(void *ctx, struct slice key, struct slice value)
{
    struct loading *loading = ctx;
    struct lease lease = {0};
    loading->err = row_read(key, value, &lease);
    if (loading->err != ERR_OK) {
        return false;
    }
    if (lease.ttl < loading->lessor->options.ttl_min) {
        lease.ttl = loading->lessor->options.ttl_min;
    }
    insert(loading->lessor, &lease);
    return true;
}

FALLIBLE lessor_open(const struct lessor_options *options, struct lessor **out, struct errbuf *why)
{
    struct lessor *lessor = NEW(struct lessor);
    struct loading loading = {.lessor = lessor};
    lessor->options = *options;
    lessor->reign = 1;
    for (unsigned kind = 0; kind < DUE_KINDS; kind++) {
        lessor->due[kind].kind = (enum due_kind)kind;
    }
    backend_scan(options->backend, BUCKET_LEASE, SLICE_EMPTY, SLICE_EMPTY, load, &loading);
    if (loading.err != ERR_OK) {
        lessor_close(&lessor);
        return errf(why, ERR_CORRUPT, "bucket lease: a row is no lease; restore from a snapshot");
    }
    *out = lessor;
    return ERR_OK;
}

void lessor_close(struct lessor **out)
{
    struct lessor *lessor = *out;
    if (lessor == NULL) {
        return;
    }
    for (size_t i = 0; i < LEASE_PARTS; i++) {
        struct map *map = &lessor->leases.map[i];
        while (map->count > 0) {
            struct lease *lease = CONTAINER_OF(map_any(map), struct lease, node);
            lease__keys_free(lessor, lease);
            parts__remove(&lessor->leases, &lease->node);
            mem_free(lease);
        }
        map_fini(map);
    }
    for (size_t i = 0; i < LEASE_PARTS; i++) {
        map_fini(&lessor->keys.map[i]);
    }
    for (unsigned kind = 0; kind < DUE_KINDS; kind++) {
        mem_free(lessor->due[kind].items);
    }
    mem_free(lessor);
    *out = NULL;
}

void lessor_advance(struct lessor *lessor, uint64_t now)
{
    lessor->now = now > lessor->now ? now : lessor->now;
}

/* ---- deadlines ------------------------------------------------------------------------------- */

/* The time a new primary gives it. What a foreign log or file says meets the bound here. */
static int64_t time_s(const struct lease *lease)
{
    int64_t time = lease->left > 0 ? lease->left : lease->ttl;
    return time < LEASE_TTL_MAX ? time : LEASE_TTL_MAX;
}

static uint64_t time_ns(int64_t seconds)
{
    return seconds > 0 ? (uint64_t)seconds * NS_PER_S : 0;
}

/* Puts its checkpoint where it belongs, or nowhere: a short lease, or one with little left, is
 * not worth one. */
static void plan_checkpoint(struct lessor *lessor, struct lease *lease)
{
    struct due_heap *heap = &lessor->due[DUE_CHECKPOINT];
    if (time_s(lease) <= LEASE_CHECKPOINT_S) {
        due__remove(heap, lease);
        return;
    }
    uint64_t at = lease->deadline - time_ns(time_s(lease) - LEASE_CHECKPOINT_S);
    if (lease->slot[DUE_CHECKPOINT] == 0) {
        due__push(heap, lease, at);
    } else {
        due__move(heap, lease, at);
    }
}

static void begin(struct lessor *lessor, struct lease *lease, uint64_t deadline)
{
    lease->reign = lessor->reign;
    lease->is_ending = false;
    lease->is_clearing = false;
    memset(lease->slot, 0, sizeof(lease->slot));
    lease->deadline = deadline;
    due__push(&lessor->due[DUE_END], lease, deadline);
    plan_checkpoint(lessor, lease);
}

static void touch(struct lessor *lessor, struct lease *lease)
{
    if (lessor->is_primary && lease->reign != lessor->reign) {
        begin(lessor, lease, lessor->promoted_at + lessor->grace + time_ns(time_s(lease)));
    }
}

/* ---- what the log says ----------------------------------------------------------------------- */

static void count_granted(struct lessor_stats *stats, int64_t ttl)
{
    size_t bucket = 0;
    while (bucket < LEASE_TTL_BUCKETS - 1 && ttl > (int64_t)1 << bucket) {
        bucket++;
    }
    stats->granted++;
    stats->ttl_counts[bucket]++;
    stats->ttl_sum += (uint64_t)ttl;
}

FALLIBLE lessor_grant(struct lessor *lessor, lease_id id, int64_t ttl, int64_t *ttl_out)
{
    struct lease lease = {.id = id, .ttl = ttl};
    if (id == 0) {
        return ERR_NOT_FOUND;
    }
    if (ttl > LEASE_TTL_MAX) {
        return ERR_TOO_LARGE;
    }
    if (lease__find(lessor, id) != NULL) {
        return ERR_EXISTS;
    }
    if (ttl < lessor->options.ttl_min) {
        lease.ttl = lessor->options.ttl_min;
    }
    insert(lessor, &lease);
    row_put(lessor, &lease);
    if (lessor->is_primary) {
        begin(lessor, lease__find(lessor, id), lessor->now + time_ns(lease.ttl));
    }
    count_granted(&lessor->stats, lease.ttl);
    *ttl_out = lease.ttl;
    return ERR_OK;
}

void lessor_revoke_begin(struct lessor *lessor, lease_id id)
{
    struct lease *lease = lease__find(lessor, id);
    ASSERT(lease != NULL);
    lease->is_going = true;
}

void lessor_revoke(struct lessor *lessor, lease_id id)
{
    uint8_t key[8];
    struct lease *lease = lease__find(lessor, id);
    ASSERT(lease != NULL);
    lease__keys_free(lessor, lease);
    if (lease->reign == lessor->reign) {
        lessor->stats.expired += lease->is_ending;
        lessor->stats.ending -= lease->is_ending;
        due__remove(&lessor->due[DUE_END], lease);
        due__remove(&lessor->due[DUE_CHECKPOINT], lease);
    }
    backend_delete(lessor->options.backend, BUCKET_LEASE, row_key(id, key));
    parts__remove(&lessor->leases, &lease->node);
    mem_free(lease);
    lessor->stats.revoked++;
    lessor->changes++;
}

void lessor_checkpoint(struct lessor *lessor, lease_id id, int64_t left, bool persists)
{
    struct lease *lease = lease__find(lessor, id);
    if (lease == NULL) {
        return;
    }
    touch(lessor, lease); /* by what was known before */
    lessor->changes++;
    lease->left = left;
    if (persists) {
        row_put(lessor, lease);
    }
    if (lessor->is_primary) {
        lease->is_clearing = lease->is_clearing && left > 0;
        plan_checkpoint(lessor, lease);
    }
}

/* ---- the primary ----------------------------------------------------------------------------- */

void lessor_demote(struct lessor *lessor)
{
    lessor->reign++;
    lessor->changes++;
    lessor->is_primary = false;
    lessor->stats.ending = 0;
    lessor->ending_keys = 0;
    for (unsigned kind = 0; kind < DUE_KINDS; kind++) {
        lessor->due[kind].count = 0;
    }
}

void lessor_promote(struct lessor *lessor, uint64_t grace_ns)
{
    lessor_demote(lessor);
    lessor->is_primary = true;
    lessor->promoted_at = lessor->now;
    lessor->grace = grace_ns;
    lessor->touched_parts = 0;
}

bool lessor_is_primary(const struct lessor *lessor)
{
    return lessor->is_primary;
}

enum lease_renewal lessor_renew(struct lessor *lessor, lease_id id, int64_t *ttl_out)
{
    struct lease *lease = lease__find(lessor, id);
    ASSERT(lessor->is_primary);
    if (lease == NULL) {
        return LEASE_UNKNOWN;
    }
    touch(lessor, lease);
    if (lease->is_ending || lease->is_going) {
        return LEASE_ENDING;
    }
    if (lease->left > 0) {
        bool is_told = lease->is_clearing;
        lease->is_clearing = true;
        return is_told ? LEASE_CLEARING : LEASE_CLEAR;
    }
    lease->deadline = lessor->now + time_ns(time_s(lease));
    struct due_heap *ends = &lessor->due[DUE_END];
    if (lease->deadline < ends->items[lease->slot[DUE_END] - 1].at) {
        due__move(ends, lease, lease->deadline); /* the grace of a promotion is over */
    }
    if (lease->slot[DUE_CHECKPOINT] == 0) {
        plan_checkpoint(lessor, lease);
    }
    lessor->stats.renewed++;
    *ttl_out = lease->ttl;
    return LEASE_RENEWED;
}

uint64_t lessor_due(const struct lessor *lessor)
{
    uint64_t due = UINT64_MAX;
    if (lessor->is_primary && lessor->touched_parts < LEASE_PARTS) {
        return 0;
    }
    for (unsigned kind = 0; kind < DUE_KINDS; kind++) {
        const struct due_heap *heap = &lessor->due[kind];
        if (heap->count > 0 && heap->items[0].at < due) {
            due = heap->items[0].at;
        }
    }
    return due;
}

/* Calls each lease of a part. */
static size_t visit_part(struct lessor *lessor, size_t part,
                         void (*each)(struct lessor *lessor, struct lease *lease))
{
    struct map *map = &lessor->leases.map[part];
    for (size_t i = 0; i < map->bucket_count; i++) {
        for (struct map_node *node = map->buckets[i]; node != NULL; node = node->next) {
            each(lessor, CONTAINER_OF(node, struct lease, node));
        }
    }
    return map->count;
}

void lessor_step(struct lessor *lessor)
{
    size_t visited = 0;
    while (lessor->is_primary && lessor->touched_parts < LEASE_PARTS && visited < SLICE_MAX) {
        visited += visit_part(lessor, lessor->touched_parts, touch);
        lessor->touched_parts++;
    }
}

size_t lessor_expire(struct lessor *lessor, size_t window, lease_id *out, size_t max)
{
    struct due_heap *heap = &lessor->due[DUE_END];
    size_t count = 0;
    for (size_t visited = 0; visited < SLICE_MAX && count < max; visited++) {
        struct due *first = due__min(heap);
        if (first == NULL || first->at > lessor->now) {
            break;
        }
        struct lease *lease = first->lease;
        if (!lease->is_ending && lease->deadline > first->at) {
            due__move(heap, lease, lease->deadline); /* renewed since it was put here */
            continue;
        }
        uint64_t under_way = lessor->stats.ending + lessor->ending_keys;
        if (!lease->is_ending) {
            if (under_way > 0 && under_way + 1 + lease->key_count > window) {
                break;
            }
            lease->is_ending = true;
            lessor->stats.ending++;
            lessor->ending_keys += lease->key_count;
        }
        due__move(heap, lease, lessor->now + time_ns(LEASE_RETRY_S));
        out[count++] = lease->id;
    }
    return count;
}

size_t lessor_checkpoints(struct lessor *lessor, struct lease_left *out, size_t max)
{
    struct due_heap *heap = &lessor->due[DUE_CHECKPOINT];
    size_t count = 0;
    for (size_t visited = 0; visited < SLICE_MAX && count < max; visited++) {
        struct due *first = due__min(heap);
        if (first == NULL || first->at > lessor->now) {
            break;
        }
        struct lease *lease = first->lease;
        if (lease->deadline <= lessor->now) {
            due__remove(heap, lease); /* over; a renewal plans it again */
            continue;
        }
        uint64_t due = lease->deadline - time_ns(time_s(lease) - LEASE_CHECKPOINT_S);
        if (due > lessor->now) {
            due__move(heap, lease, due);
            continue;
        }
        uint64_t left = lease->deadline - lessor->now;
        out[count++] = (struct lease_left){
            .id = lease->id,
            .left = (int64_t)((left + NS_PER_S - 1) / NS_PER_S),
        };
        due__move(heap, lease, lessor->now + time_ns(LEASE_CHECKPOINT_S)); /* if it gets lost */
    }
    return count;
}

/* ---- observers ------------------------------------------------------------------------------- */

bool lessor_has(const struct lessor *lessor, lease_id id)
{
    return lease__find(lessor, id) != NULL;
}

bool lessor_get(struct lessor *lessor, lease_id id, struct lease_info *out)
{
    struct lease *lease = lease__find(lessor, id);
    if (lease == NULL) {
        return false;
    }
    touch(lessor, lease);
    *out = (struct lease_info){
        .ttl = lease->ttl,
        .left = lease->left,
        .deadline = lessor->is_primary ? lease->deadline : UINT64_MAX,
        .key_count = lease->key_count,
        .is_ending = lease__is_ending(lessor, lease),
    };
    return true;
}

int64_t lessor_remaining_s(const struct lessor *lessor, const struct lease_info *info)
{
    int64_t remaining =
        info->deadline == UINT64_MAX ? INT64_MAX : (int64_t)(info->deadline - lessor->now);
    return remaining / (int64_t)NS_PER_S;
}

void lessor_each(struct lessor *lessor, size_t part, lease_fn *each, void *ctx)
{
    ASSERT(part < LEASE_PARTS);
    visit_part(lessor, part, touch);
    const struct map *map = &lessor->leases.map[part];
    for (size_t i = 0; i < map->bucket_count; i++) {
        for (struct map_node *node = map->buckets[i]; node != NULL; node = node->next) {
            const struct lease *lease = CONTAINER_OF(node, struct lease, node);
            each(ctx, lease->id, lessor->is_primary ? lease->deadline : UINT64_MAX);
        }
    }
}

static uint64_t parts_bytes(const struct parts *parts)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < LEASE_PARTS; i++) {
        bytes += parts->map[i].bucket_count * sizeof(struct map_node *);
    }
    return bytes;
}

void lessor_stats(const struct lessor *lessor, struct lessor_stats *out)
{
    *out = lessor->stats;
    out->leases = lessor->leases.count;
    out->keys = lessor->keys.count;
    out->bytes = sizeof(*lessor) + parts_bytes(&lessor->leases) + parts_bytes(&lessor->keys) +
                 lessor->leases.count * sizeof(struct lease) +
                 lessor->keys.count * sizeof(struct lease_key) + lessor->key_bytes;
    for (unsigned kind = 0; kind < DUE_KINDS; kind++) {
        out->bytes += lessor->due[kind].cap * sizeof(struct due);
    }
}

uint64_t lessor_ending(const struct lessor *lessor)
{
    return lessor->stats.ending;
}

uint64_t lessor_changes(const struct lessor *lessor)
{
    return lessor->changes;
}

/* ---- check ----------------------------------------------------------------------------------- */

struct sums {
    uint64_t leases;
    uint64_t keys;
    uint64_t ending;
    uint64_t ending_keys;
    uint64_t of_reign;
};

static void check_lease(const struct lessor *lessor, const struct lease *lease, struct sums *sums)
{
    uint8_t key[8];
    struct slice row;
    ASSERT(lease->id != 0);
    ASSERT(lease->node.hash == hash_of(lessor, lease->id));
    ASSERT(backend_get(lessor->options.backend, BUCKET_LEASE, row_key(lease->id, key), &row));
    lease__keys_check(lessor, lease);
    sums->leases++;
    sums->keys += lease->key_count;
    if (lease->reign != lessor->reign) {
        return;
    }
    sums->of_reign++;
    sums->ending += lease->is_ending;
    sums->ending_keys += lease->is_ending ? lease->key_count : 0;
    ASSERT(lease->slot[DUE_END] != 0);
    ASSERT(lease->is_ending ||
           lessor->due[DUE_END].items[lease->slot[DUE_END] - 1].at <= lease->deadline);
}

void lessor_check(const struct lessor *lessor)
{
    struct sums sums = {0};
    for (size_t part = 0; part < LEASE_PARTS; part++) {
        const struct map *map = &lessor->leases.map[part];
        for (size_t i = 0; i < map->bucket_count; i++) {
            for (struct map_node *node = map->buckets[i]; node != NULL; node = node->next) {
                check_lease(lessor, CONTAINER_OF(node, struct lease, node), &sums);
            }
        }
    }
    ASSERT(sums.leases == lessor->leases.count);
    ASSERT(sums.keys == lessor->keys.count);
    ASSERT(sums.ending == lessor->stats.ending);
    ASSERT(sums.ending_keys == lessor->ending_keys);
    ASSERT(sums.of_reign == lessor->due[DUE_END].count);
    ASSERT(lessor->is_primary || sums.of_reign == 0);
    for (unsigned kind = 0; kind < DUE_KINDS; kind++) {
        due__check(&lessor->due[kind]);
    }
}
