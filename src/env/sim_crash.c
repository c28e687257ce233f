/* What a crash leaves of a simulated disk.
 *
 * What a crash may leave of a file (SIM_CRASH_REORDER). Let c1 … cn be its changes since the sync.
 * Journaling file systems never show bytes again that a committed truncation cut off, so a
 * shrinking change is a barrier:
 *
 *   1. some number of the shrinking changes have happened, the first ones; the size is that after
 *      the last of these, or after one of the growing changes between it and the next;
 *   2. a sector holds what it held after some change that touched it: not before the last shrink
 *      that happened and touched it, not after the first that did not happen and touched it.
 *
 * A sector is written whole or not at all. */
#include "base/mem.h"
#include "env/sim_priv.h"

#include <stdlib.h>

/* ---- what a crash leaves of a file --------------------------------------------------------- */

static bool is_shrink(const struct sim_change *change)
{
    return !change->is_write && change->len < change->from;
}

static uint64_t size_after(const struct sim_change *change)
{
    if (!change->is_write) {
        return change->len;
    }
    uint64_t end = change->offset + change->len;
    return end > change->from ? end : change->from;
}

static bool touches(const struct sim_change *change, uint64_t sector)
{
    uint64_t start = sector * SIM_SECTOR;
    uint64_t end = start + SIM_SECTOR;
    if (change->is_write) {
        return change->offset < end && change->offset + change->len > start;
    }
    return is_shrink(change) && change->len < end && change->from > start;
}

/* Does a change to one sector's bytes. */
static void change_sector(const struct sim_change *change, uint64_t sector, uint8_t *bytes)
{
    uint64_t start = sector * SIM_SECTOR;
    uint64_t end = start + SIM_SECTOR;
    if (!change->is_write) {
        uint64_t from = change->len > start ? change->len - start : 0;
        memset(bytes + from, 0, SIM_SECTOR - from);
        return;
    }
    uint64_t first = change->offset > start ? change->offset : start;
    uint64_t last = change->offset + change->len < end ? change->offset + change->len : end;
    memcpy(bytes + (first - start), change->data + (first - change->offset), last - first);
}

/* Which of the changes have happened to the size: see the top of the file. */
struct fate {
    size_t happened; /* changes before it may have happened wherever, shrinks before it have */
    size_t limit;    /* the first shrink that did not happen, or the count */
    uint64_t size;
};

static struct fate draw_fate(const struct sim_inode *inode, struct sim_rng *rng)
{
    size_t shrink_count = 0;
    for (size_t i = 0; i < inode->change_count; i++) {
        shrink_count += is_shrink(&inode->changes[i]);
    }
    size_t happened_count = (size_t)sim_rng_below(rng, shrink_count + 1);
    struct fate fate = {.limit = inode->change_count, .size = inode->durable.size};
    size_t seen = 0;
    for (size_t i = 0; i < inode->change_count; i++) {
        if (is_shrink(&inode->changes[i])) {
            if (seen == happened_count) {
                fate.limit = i;
                break;
            }
            seen++;
            fate.happened = i + 1;
            fate.size = inode->changes[i].len;
        }
    }
    size_t growth = (size_t)sim_rng_below(rng, fate.limit - fate.happened + 1);
    if (growth > 0) {
        fate.size = size_after(&inode->changes[fate.happened + growth - 1]);
    }
    return fate;
}

static void draw_sector(const struct sim_inode *inode, const struct fate *fate, uint64_t sector,
                        struct sim_rng *rng, uint8_t *bytes)
{
    size_t lower = 0;
    size_t upper = inode->change_count;
    size_t choices = 0;
    for (size_t i = 0; i < fate->happened; i++) {
        if (is_shrink(&inode->changes[i]) && touches(&inode->changes[i], sector)) {
            lower = i + 1;
        }
    }
    for (size_t i = fate->limit; i < upper; i++) {
        if (is_shrink(&inode->changes[i]) && touches(&inode->changes[i], sector)) {
            upper = i;
        }
    }
    for (size_t i = lower; i < upper; i++) {
        choices += touches(&inode->changes[i], sector);
    }
    uint64_t applied = sim_rng_below(rng, choices + 1);
    for (size_t i = 0; i < upper; i++) {
        if (touches(&inode->changes[i], sector) && (i < lower || applied > 0)) {
            applied -= i >= lower;
            change_sector(&inode->changes[i], sector, bytes);
        }
    }
}

static int compare_sectors(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* The sectors below `size` that a change has touched, in order, each once. */
static uint64_t *dirty_sectors(const struct sim_inode *inode, uint64_t size, size_t *count_out)
{
    uint64_t *sectors = NULL;
    size_t count = 0;
    size_t cap = 0;
    for (size_t i = 0; i < inode->change_count; i++) {
        const struct sim_change *change = &inode->changes[i];
        uint64_t start = change->is_write ? change->offset : change->len;
        uint64_t end = change->is_write ? change->offset + change->len : change->from;
        end = end < size ? end : size;
        for (uint64_t at = start / SIM_SECTOR; at * SIM_SECTOR < end && start < end; at++) {
            if (count == cap) {
                cap = cap == 0 ? 64 : cap * 2;
                sectors = mem_realloc(sectors, cap * sizeof(uint64_t));
            }
            sectors[count++] = at;
        }
    }
    if (count > 0) {
        qsort(sectors, count, sizeof(uint64_t), compare_sectors);
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || sectors[kept - 1] != sectors[i]) {
            sectors[kept++] = sectors[i];
        }
    }
    *count_out = kept;
    return sectors;
}

/* Reads a sector, zeros behind the end. */
static void read_sector(const struct sim_image *image, uint64_t sector, uint8_t *bytes)
{
    uint64_t start = sector * SIM_SECTOR;
    uint64_t left = image->size > start ? image->size - start : 0;
    size_t part = (size_t)(left < SIM_SECTOR ? left : SIM_SECTOR);
    memset(bytes, 0, SIM_SECTOR);
    if (part > 0) {
        sim_image_read(image, bytes, part, start);
    }
}

static void crash_reorder(struct sim_inode *inode, struct sim_rng *rng, struct sim_image *out)
{
    struct fate fate = draw_fate(inode, rng);
    size_t count;
    uint64_t *sectors = dirty_sectors(inode, fate.size, &count);
    sim_image_resize(out, fate.size);
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[SIM_SECTOR];
        uint64_t start = sectors[i] * SIM_SECTOR;
        uint64_t left = fate.size - start;
        read_sector(&inode->durable, sectors[i], bytes);
        draw_sector(inode, &fate, sectors[i], rng, bytes);
        sim_image_write(out, bytes, (size_t)(left < SIM_SECTOR ? left : SIM_SECTOR), start);
    }
    mem_free(sectors);
}

/* The first sectors of a write, and nothing of a resize. */
static void apply_torn(struct sim_image *image, const struct sim_change *change,
                       struct sim_rng *rng)
{
    if (!change->is_write) {
        return;
    }
    uint64_t first = change->offset / SIM_SECTOR;
    uint64_t last = (change->offset + change->len - 1) / SIM_SECTOR;
    uint64_t end = (first + sim_rng_below(rng, last - first + 1)) * SIM_SECTOR;
    if (end > change->offset) {
        sim_image_write(image, change->data, (size_t)(end - change->offset), change->offset);
    }
}

static void crash_tear(struct sim_inode *inode, uint64_t cut, struct sim_rng *rng,
                       struct sim_image *out)
{
    for (size_t i = 0; i < inode->change_count && inode->changes[i].seq <= cut; i++) {
        if (inode->changes[i].seq < cut) {
            sim__change_apply(out, &inode->changes[i]);
        } else {
            apply_torn(out, &inode->changes[i], rng);
        }
    }
}

static void crash_file(struct sim_inode *inode, enum sim_crash policy, uint64_t cut,
                       struct sim_rng *rng)
{
    struct sim_image left = {0};
    sim_image_copy(&left, policy == SIM_CRASH_KEEP ? &inode->now : &inode->durable);
    switch (policy) {
    case SIM_CRASH_TEAR:
        crash_tear(inode, cut, rng, &left);
        break;
    case SIM_CRASH_REORDER:
        crash_reorder(inode, rng, &left);
        break;
    case SIM_CRASH_LOSE:
    case SIM_CRASH_KEEP:
    case SIM_CRASH_COUNT:
        break;
    }
    sim__changes_clear(inode);
    sim_image_copy(&inode->now, &left);
    sim_image_copy(&inode->durable, &left);
    sim_image_fini(&left);
    inode->has_dropped = false;
}

/* ---- what a crash leaves of names ---------------------------------------------------------- */

/* An operation needs every earlier one on its names. */
static bool needs_lost(const struct sim_disk *disk, size_t index, const bool *chosen)
{
    for (size_t i = 0; i < index; i++) {
        if (!chosen[i] && sim__same_name(&disk->name_ops[i], &disk->name_ops[index])) {
            return true;
        }
    }
    return false;
}

static bool name_op_survives(const struct sim_disk *disk, size_t index, const bool *chosen,
                             enum sim_crash policy, uint64_t cut, struct sim_rng *rng)
{
    switch (policy) {
    case SIM_CRASH_LOSE:
        return false;
    case SIM_CRASH_KEEP:
        return true;
    case SIM_CRASH_TEAR:
        return disk->name_ops[index].seq < cut;
    case SIM_CRASH_REORDER:
        return sim_rng_chance(rng, 50) && !needs_lost(disk, index, chosen);
    case SIM_CRASH_COUNT:
        break;
    }
    UNREACHABLE();
}

static void crash_names(struct sim_disk *disk, enum sim_crash policy, uint64_t cut,
                        struct sim_rng *rng)
{
    bool *chosen = mem_zalloc((disk->name_op_count + 1) * sizeof(bool));
    for (size_t i = 0; i < disk->name_op_count; i++) {
        chosen[i] = name_op_survives(disk, i, chosen, policy, cut, rng);
    }
    sim__settle_names(disk, chosen);
    mem_free(chosen);
    for (size_t i = 0; i < disk->name_op_count; i++) {
        sim__name_op_fini(&disk->name_ops[i]);
    }
    disk->name_op_count = 0;
    for (uint32_t i = SIM_ROOT; i < disk->inode_count; i++) {
        if (disk->inodes[i] != NULL && disk->inodes[i]->is_dir) {
            sim_names_copy(&disk->inodes[i]->names, &disk->inodes[i]->names_durable);
        }
    }
}

/* The sequence number at which a torn crash cuts: of any pending operation, or behind the last. */
static uint64_t draw_cut(const struct sim_disk *disk, struct sim_rng *rng)
{
    uint64_t first = disk->name_op_count > 0 ? disk->name_ops[0].seq : disk->seq + 1;
    for (uint32_t i = SIM_ROOT; i < disk->inode_count; i++) {
        const struct sim_inode *inode = disk->inodes[i];
        if (inode != NULL && inode->change_count > 0 && inode->changes[0].seq < first) {
            first = inode->changes[0].seq;
        }
    }
    return first + sim_rng_below(rng, disk->seq + 2 - first);
}

/* Nobody of before is left: files that are open only fail from here on. */
static void end_handles(struct sim_disk *disk)
{
    for (uint32_t i = SIM_ROOT; i < disk->inode_count; i++) {
        struct sim_inode *inode = disk->inodes[i];
        if (inode != NULL) {
            inode->open_count = 0;
            inode->flock_shared = 0;
            inode->flock_exclusive = false;
            inode->ofd_exclusive = false;
        }
    }
    disk->epoch++;
    disk->crash_at = 0;
    disk->is_down = false;
    sim__collect(disk);
}

void sim_disk_kill(struct disk *base)
{
    end_handles(sim_disk_of(base));
}

void sim_disk_crash(struct disk *base, enum sim_crash policy, uint64_t seed)
{
    struct sim_disk *disk = sim_disk_of(base);
    ASSERT(policy < SIM_CRASH_COUNT);
    struct sim_rng rng;
    sim_rng_init(&rng, seed);
    uint64_t cut = draw_cut(disk, &rng);
    for (uint32_t i = SIM_ROOT; i < disk->inode_count; i++) {
        struct sim_inode *inode = disk->inodes[i];
        if (inode != NULL) {
            disk->used -= inode->now.size;
            crash_file(inode, policy, cut, &rng);
            disk->used += inode->now.size;
        }
    }
    crash_names(disk, policy, cut, &rng);
    end_handles(disk);
}
