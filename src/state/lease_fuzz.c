/* Fuzz: random grants, revokes, puts, deletes, renewals, expiries, checkpoints, changes of the
 * primary and restarts of the lessor, against an array of leases and one of keys.
 *
 * The input is a run of operations of three bytes. The first byte decides whether the second is
 * one row of the bucket as the disk might give it, which must be refused or read, never more. */
#include "base/mem.h"
#include "state/lease.h"
#include "storage/backend.h"
#include "storage/manual_env.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LEASES 12
#define KEYS 20
#define TTL_MIN 2
#define CHECK_STRIDE 8 /* steps between two looks at everything, which cost more than a step */
#define GRACE NS_PER_SEC

struct entry {
    bool exists;
    int64_t ttl;
    int64_t left;
    uint64_t deadline;
    uint64_t named_until; /* named by expire: when it is named again; 0: not named */
    bool is_clearing;
};

struct world {
    struct manual_env manual;
    struct backend *backend;
    struct lessor *lessor;
    char dir[64];
    char path[80];
    uint64_t index;
    uint64_t now;
    bool is_primary;
    struct entry leases[LEASES];
    unsigned owner[KEYS]; /* lease + 1; 0: none */
};

/* Small, negative, extreme. */
static lease_id id_of(unsigned lease)
{
    static const int64_t ids[LEASES] = {1,  2,         3,          -1,  INT64_MIN, INT64_MAX,
                                        -9, 1LL << 40, 0x7fffffff, 255, 256,       -256};
    return ids[lease];
}

static struct slice key_of(char text[8], unsigned k)
{
    int len = snprintf(text, 8, k % 3 == 0 ? "a/%02u" : "b%02u", k);
    return slice_of(text, (size_t)len);
}

static int64_t time_of(const struct entry *entry)
{
    return entry->left > 0 ? entry->left : entry->ttl;
}

static void open_lessor(struct world *world)
{
    struct errbuf why = {.text = ""};
    char text[8];
    manual_env_init(&world->manual, NULL);
    struct backend_options backend = {
        .env = &world->manual.env, .path = world->path, .no_sync = true};
    enum err err = backend_open(&backend, &world->backend, &why);
    ASSERT(err == ERR_OK);
    struct lessor_options options = {.backend = world->backend, .ttl_min = TTL_MIN, .seed = 7};
    err = lessor_open(&options, &world->lessor, &why);
    ASSERT(err == ERR_OK);
    lessor_advance(world->lessor, world->now);
    for (unsigned k = 0; k < KEYS; k++) {
        if (world->owner[k] != 0) {
            lessor_attach(world->lessor, key_of(text, k), id_of(world->owner[k] - 1));
        }
    }
}

static void close_lessor(struct world *world)
{
    lessor_close(&world->lessor);
    backend_close(&world->backend);
}

/* ---- comparing --------------------------------------------------------------------------------
 */

struct keys {
    struct world *world;
    unsigned lease;
    size_t count;
    char last[8];
};

static bool see_key(void *ctx, struct slice key)
{
    struct keys *keys = ctx;
    char text[8];
    bool is_ours = false;
    ASSERT(key.len < sizeof(keys->last));
    ASSERT(keys->count == 0 || slice_cmp(slice_str(keys->last), key) < 0);
    memcpy(keys->last, key.data, key.len);
    keys->last[key.len] = '\0';
    for (unsigned k = 0; k < KEYS; k++) {
        is_ours |= slice_eq(key, key_of(text, k)) && keys->world->owner[k] == keys->lease + 1;
    }
    ASSERT(is_ours);
    keys->count++;
    return true;
}

static void check_lease(struct world *world, unsigned lease)
{
    const struct entry *want = &world->leases[lease];
    struct lease_info info;
    struct slice first;
    struct keys keys = {.world = world, .lease = lease};
    size_t count = 0;
    ASSERT(lessor_has(world->lessor, id_of(lease)) == want->exists);
    bool exists = lessor_get(world->lessor, id_of(lease), &info);
    ASSERT(exists == want->exists);
    for (unsigned k = 0; k < KEYS; k++) {
        count += world->owner[k] == lease + 1;
    }
    lessor_keys(world->lessor, id_of(lease), SLICE_EMPTY, see_key, &keys);
    ASSERT(keys.count == count);
    if (!exists) {
        ASSERT(count == 0);
        return;
    }
    ASSERT(info.ttl == want->ttl);
    ASSERT(info.left == want->left);
    ASSERT(info.key_count == count);
    ASSERT(info.deadline == (world->is_primary ? want->deadline : UINT64_MAX));
    ASSERT(info.is_ending == (want->named_until != 0));
    ASSERT(lessor_first_key(world->lessor, id_of(lease), &first) == (count > 0));
    if (count > 1) {
        struct keys rest = {.world = world, .lease = lease};
        lessor_keys(world->lessor, id_of(lease), first, see_key, &rest);
        ASSERT(rest.count == count - 1);
    }
}

static void check_all(struct world *world)
{
    struct lessor_stats stats;
    size_t count = 0;
    for (unsigned i = 0; i < LEASES; i++) {
        check_lease(world, i);
        count += world->leases[i].exists;
    }
    lessor_stats(world->lessor, &stats);
    ASSERT(stats.leases == count);
    ASSERT(lessor_is_primary(world->lessor) == world->is_primary);
    lessor_check(world->lessor);
}

/* ---- operations -------------------------------------------------------------------------------
 */

static void begin(struct world *world)
{
    backend_begin(world->backend);
}

static void end(struct world *world)
{
    backend_end(world->backend, ++world->index, 1);
}

static void do_grant(struct world *world, unsigned lease, uint8_t b)
{
    struct entry *entry = &world->leases[lease];
    int64_t ttl = b == 255 ? LEASE_TTL_MAX + 1 : b == 254 ? LEASE_TTL_MAX : b * 5 - 10;
    int64_t granted = 0;
    begin(world);
    enum err err = lessor_grant(world->lessor, id_of(lease), ttl, &granted);
    ASSERT(lessor_grant(world->lessor, 0, 10, &(int64_t){0}) == ERR_NOT_FOUND);
    end(world);
    if (b == 255) {
        ASSERT(err == ERR_TOO_LARGE);
    } else if (entry->exists) {
        ASSERT(err == ERR_EXISTS);
    } else {
        ASSERT(err == ERR_OK);
        ASSERT(granted == (ttl < TTL_MIN ? TTL_MIN : ttl));
        *entry = (struct entry){
            .exists = true,
            .ttl = granted,
            .deadline = world->now + (uint64_t)granted * NS_PER_SEC,
        };
    }
}

static void do_revoke(struct world *world, unsigned lease, bool deletes_first)
{
    struct slice key;
    if (!world->leases[lease].exists) {
        return;
    }
    begin(world);
    while (deletes_first && lessor_first_key(world->lessor, id_of(lease), &key)) {
        char copy[8];
        memcpy(copy, key.data, key.len);
        lessor_attach(world->lessor, slice_of(copy, key.len), 0);
    }
    lessor_revoke(world->lessor, id_of(lease));
    end(world);
    world->leases[lease] = (struct entry){0};
    for (unsigned k = 0; k < KEYS; k++) {
        world->owner[k] = world->owner[k] == lease + 1 ? 0 : world->owner[k];
    }
}

static void do_attach(struct world *world, unsigned k, unsigned lease)
{
    char text[8];
    bool exists = lease < LEASES && world->leases[lease].exists;
    lessor_attach(world->lessor, key_of(text, k), lease < LEASES ? id_of(lease) : 0);
    world->owner[k] = exists ? lease + 1 : 0;
}

static void do_promote(struct world *world, bool promotes)
{
    if (promotes) {
        lessor_promote(world->lessor, GRACE);
    } else {
        lessor_demote(world->lessor);
    }
    world->is_primary = promotes;
    for (unsigned i = 0; i < LEASES; i++) {
        struct entry *entry = &world->leases[i];
        entry->named_until = 0;
        entry->is_clearing = false;
        entry->deadline = world->now + GRACE + (uint64_t)time_of(entry) * NS_PER_SEC;
    }
}

static void do_renew(struct world *world, unsigned lease)
{
    struct entry *entry = &world->leases[lease];
    int64_t ttl = 0;
    if (!world->is_primary) {
        return;
    }
    enum lease_renewal got = lessor_renew(world->lessor, id_of(lease), &ttl);
    if (!entry->exists) {
        ASSERT(got == LEASE_UNKNOWN);
    } else if (entry->named_until != 0) {
        ASSERT(got == LEASE_ENDING);
    } else if (entry->left > 0) {
        ASSERT(got == (entry->is_clearing ? LEASE_CLEARING : LEASE_CLEAR));
        entry->is_clearing = true;
    } else {
        ASSERT(got == LEASE_RENEWED);
        ASSERT(ttl == entry->ttl);
        entry->deadline = world->now + (uint64_t)ttl * NS_PER_SEC;
    }
}

static void do_checkpoint(struct world *world, unsigned lease, int64_t left, bool persists)
{
    struct entry *entry = &world->leases[lease];
    begin(world);
    lessor_checkpoint(world->lessor, id_of(lease), left, true);
    if (!persists) { /* what is not on disk is not compared after a restart: write it, too */
        lessor_checkpoint(world->lessor, id_of(lease), left, false);
    }
    end(world);
    if (entry->exists) {
        entry->left = left;
        entry->is_clearing = entry->is_clearing && left > 0;
    }
}

/* When it is next in the queue of those that are over. */
static uint64_t end_of(const struct entry *entry)
{
    return entry->named_until != 0 ? entry->named_until : entry->deadline;
}

static void do_expire(struct world *world, size_t window)
{
    lease_id ids[4];
    size_t count = lessor_expire(world->lessor, window, ids, 4);
    size_t under_way = 0;
    for (unsigned i = 0; i < LEASES; i++) {
        for (unsigned k = 0; world->leases[i].named_until != 0 && k < KEYS; k++) {
            under_way += world->owner[k] == i + 1;
        }
        under_way += world->leases[i].named_until != 0;
    }
    for (size_t n = 0; n <= count; n++) {
        unsigned first = LEASES;
        for (unsigned i = 0; world->is_primary && i < LEASES; i++) {
            const struct entry *entry = &world->leases[i];
            if (entry->exists && end_of(entry) <= world->now &&
                (first == LEASES || end_of(entry) < end_of(&world->leases[first]) ||
                 (end_of(entry) == end_of(&world->leases[first]) && id_of(i) < id_of(first)))) {
                first = i;
            }
        }
        size_t cost = 1;
        for (unsigned k = 0; k < KEYS; k++) {
            cost += world->owner[k] == first + 1;
        }
        struct entry *entry = &world->leases[first];
        bool fits = first < LEASES &&
                    (entry->named_until != 0 || under_way == 0 || under_way + cost <= window);
        if (n == count) {
            ASSERT(!fits || count == 4);
            break;
        }
        ASSERT(fits);
        ASSERT(ids[n] == id_of(first));
        under_way += entry->named_until == 0 ? cost : 0;
        entry->named_until = world->now + LEASE_RETRY_S * NS_PER_SEC;
    }
}

static void do_checkpoints(struct world *world)
{
    struct lease_left left[4];
    size_t count = lessor_checkpoints(world->lessor, left, 4);
    for (size_t n = 0; n < count; n++) {
        for (unsigned i = 0; i < LEASES; i++) {
            const struct entry *entry = &world->leases[i];
            if (id_of(i) == left[n].id) {
                ASSERT(entry->exists);
                ASSERT(entry->deadline > world->now);
                ASSERT(left[n].left <= time_of(entry) - LEASE_CHECKPOINT_S);
                ASSERT((uint64_t)left[n].left * NS_PER_SEC >= entry->deadline - world->now);
                ASSERT((uint64_t)(left[n].left - 1) * NS_PER_SEC < entry->deadline - world->now);
                do_checkpoint(world, i, left[n].left, true);
            }
        }
    }
}

static void do_restart(struct world *world)
{
    close_lessor(world);
    open_lessor(world);
    do_promote(world, false);
    check_all(world);
}

static void step(struct world *world, uint8_t op, uint8_t a, uint8_t b)
{
    static const uint64_t jumps[] = {1,
                                     NS_PER_SEC / 3,
                                     NS_PER_SEC,
                                     3 * NS_PER_SEC,
                                     60 * NS_PER_SEC,
                                     LEASE_CHECKPOINT_S * NS_PER_SEC,
                                     0,
                                     1000 * NS_PER_SEC};
    unsigned lease = a % LEASES;
    switch (op % 16) {
    case 0:
    case 1:
        do_grant(world, lease, b);
        break;
    case 2:
        do_revoke(world, lease, b % 2);
        break;
    case 3:
    case 4:
    case 5:
        do_attach(world, b % KEYS, a % (LEASES + 3));
        break;
    case 6:
    case 7:
        world->now += jumps[a % 8];
        lessor_advance(world->lessor, world->now);
        lessor_advance(world->lessor, world->now / 2); /* time does not go back */
        break;
    case 8:
        do_promote(world, a % 4 != 0);
        break;
    case 9:
        do_renew(world, lease);
        break;
    case 10:
    case 11:
        lessor_step(world->lessor);
        do_expire(world, 1 + b % 16);
        break;
    case 12:
        do_checkpoint(world, lease, b % 3 == 0 ? 0 : b * 4 - 3, a % 2);
        break;
    case 13:
        do_checkpoints(world);
        break;
    case 14:
        manual_settle(&world->manual);
        break;
    case 15:
        if (op < 64) {
            do_restart(world);
        } else {
            check_all(world);
        }
        break;
    }
}

static struct world *world_new(void)
{
    struct world *world = NEW(struct world);
    snprintf(world->dir, sizeof(world->dir), "/var/tmp/etcdc-lease-XXXXXX");
    char *made = mkdtemp(world->dir);
    ASSERT(made != NULL);
    snprintf(world->path, sizeof(world->path), "%s/db", world->dir);
    world->now = 5 * NS_PER_SEC;
    open_lessor(world);
    return world;
}

static void world_free(struct world *world)
{
    close_lessor(world);
    enum err err = disk_unlink(world->manual.env.disk, world->path, NULL);
    ASSERT(err == ERR_OK);
    err = disk_rmdir(world->manual.env.disk, world->dir, NULL);
    ASSERT(err == ERR_OK);
    mem_free(world);
}

/* One row as the disk gives it: read, and then it is a lease, or refused with a sentence. */
static void one_row(struct world *world, struct slice row)
{
    uint8_t key[8] = {0, 0, 0, 0, 0, 0, 0, 77};
    struct errbuf why = {.text = ""};
    struct lessor *lessor = NULL;
    struct lease_info info;
    begin(world);
    backend_put(world->backend, BUCKET_LEASE, slice_of(key, sizeof(key)), row);
    end(world);
    struct lessor_options options = {.backend = world->backend, .ttl_min = TTL_MIN, .seed = 7};
    enum err err = lessor_open(&options, &lessor, &why);
    ASSERT(err == ERR_OK || (err == ERR_CORRUPT && why.text[0] != '\0'));
    if (err == ERR_OK) {
        lessor_advance(lessor, world->now);
        lessor_promote(lessor, GRACE);
        bool exists = lessor_get(lessor, 77, &info);
        ASSERT(exists);
        ASSERT(info.ttl >= TTL_MIN);
        ASSERT(info.deadline >= world->now);
        ASSERT(info.deadline <= world->now + GRACE + LEASE_TTL_MAX * NS_PER_SEC);
        lessor_check(lessor);
    }
    lessor_close(&lessor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 6000) {
        return 0;
    }
    struct world *world = world_new();
    if (data[0] == 0xff) {
        one_row(world, slice_of(data + 1, size - 1));
        world_free(world);
        return 0;
    }
    data++;
    size--;
    for (unsigned n = 0; size >= 3; n++, data += 3, size -= 3) {
        step(world, data[0], data[1], data[2]);
        if (n % CHECK_STRIDE == 0) {
            lessor_check(world->lessor);
        }
    }
    check_all(world);
    do_restart(world);
    world_free(world);
    return 0;
}
