/* The simulated disk at rest: names, inodes, what syncing makes durable, copies and digests. */
#include "base/digest.h"
#include "base/mem.h"
#include "env/sim_priv.h"

/* ---- names ---------------------------------------------------------------------------------- */

/* Where the name is, or where it belongs. */
static size_t names_slot(const struct sim_names *names, const char *name, bool *found_out)
{
    size_t low = 0;
    size_t high = names->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(names->entries[middle].name, name);
        if (order == 0) {
            *found_out = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found_out = false;
    return low;
}

uint32_t sim_names_find(const struct sim_names *names, const char *name)
{
    bool found;
    size_t slot = names_slot(names, name, &found);
    return found ? names->entries[slot].inode : 0;
}

void sim_names_set(struct sim_names *names, const char *name, uint32_t inode)
{
    bool found;
    size_t slot = names_slot(names, name, &found);
    struct sim_entry_name *entries = names->entries;
    if (found && inode != 0) {
        entries[slot].inode = inode;
    } else if (found) {
        mem_free(entries[slot].name);
        names->count--;
        memmove(entries + slot, entries + slot + 1, (names->count - slot) * sizeof(*entries));
    } else if (inode != 0) {
        if (names->count == names->cap) {
            names->cap = names->cap == 0 ? 8 : names->cap * 2;
            names->entries = entries = mem_realloc(entries, names->cap * sizeof(*entries));
        }
        memmove(entries + slot + 1, entries + slot, (names->count - slot) * sizeof(*entries));
        entries[slot] = (struct sim_entry_name){.name = mem_strdup(name), .inode = inode};
        names->count++;
    }
}

void sim_names_fini(struct sim_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        mem_free(names->entries[i].name);
    }
    mem_free(names->entries);
    *names = (struct sim_names){0};
}

void sim_names_copy(struct sim_names *target, const struct sim_names *source)
{
    struct sim_names copy = {.count = source->count, .cap = source->count};
    if (source->count > 0) {
        copy.entries = mem_array(source->count, sizeof(struct sim_entry_name));
    }
    for (size_t i = 0; i < source->count; i++) {
        copy.entries[i] = (struct sim_entry_name){.name = mem_strdup(source->entries[i].name),
                                                  .inode = source->entries[i].inode};
    }
    sim_names_fini(target);
    *target = copy;
}

static bool names_eq(const struct sim_names *a, const struct sim_names *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->entries[i].name, b->entries[i].name) != 0 ||
            a->entries[i].inode != b->entries[i].inode) {
            return false;
        }
    }
    return true;
}

/* ---- inodes ------------------------------------------------------------------------------- */

struct sim_inode *sim__inode_new(struct sim_disk *disk, bool is_dir, uint32_t mode,
                                 uint32_t *number_out)
{
    uint32_t number = SIM_ROOT;
    while (number < disk->inode_count && disk->inodes[number] != NULL) {
        number++;
    }
    if (number >= disk->inode_count) {
        uint32_t count = disk->inode_count == 0 ? 16 : disk->inode_count * 2;
        disk->inodes = mem_realloc(disk->inodes, count * sizeof(struct sim_inode *));
        memset(disk->inodes + disk->inode_count, 0,
               (count - disk->inode_count) * sizeof(struct sim_inode *));
        disk->inode_count = count;
    }
    struct sim_inode *inode = NEW(struct sim_inode);
    inode->is_dir = is_dir;
    inode->mode = mode;
    disk->inodes[number] = inode;
    *number_out = number;
    return inode;
}

void sim__changes_clear(struct sim_inode *inode)
{
    for (size_t i = 0; i < inode->change_count; i++) {
        mem_free(inode->changes[i].data);
    }
    inode->change_count = 0;
}

void sim__inode_free(struct sim_inode **inode)
{
    if (*inode != NULL) {
        sim__changes_clear(*inode);
        mem_free((*inode)->changes);
        sim_image_fini(&(*inode)->now);
        sim_image_fini(&(*inode)->durable);
        sim_names_fini(&(*inode)->names);
        sim_names_fini(&(*inode)->names_durable);
        mem_free(*inode);
        *inode = NULL;
    }
}

static void mark(const struct sim_disk *disk, uint32_t number, bool *marks)
{
    if (number == 0 || marks[number]) {
        return;
    }
    marks[number] = true;
    const struct sim_inode *inode = disk->inodes[number];
    ASSERT(inode != NULL);
    for (size_t i = 0; i < inode->names.count; i++) {
        mark(disk, inode->names.entries[i].inode, marks);
    }
    for (size_t i = 0; i < inode->names_durable.count; i++) {
        mark(disk, inode->names_durable.entries[i].inode, marks);
    }
}

void sim__collect(struct sim_disk *disk)
{
    bool *marks = mem_zalloc(disk->inode_count * sizeof(bool));
    mark(disk, SIM_ROOT, marks);
    for (size_t i = 0; i < disk->name_op_count; i++) {
        for (unsigned j = 0; j < disk->name_ops[i].edit_count; j++) {
            mark(disk, disk->name_ops[i].edits[j].dir, marks);
            mark(disk, disk->name_ops[i].edits[j].inode, marks);
        }
    }
    for (uint32_t i = SIM_ROOT; i < disk->inode_count; i++) {
        if (disk->inodes[i] != NULL && disk->inodes[i]->open_count > 0) {
            mark(disk, i, marks);
        }
    }
    for (uint32_t i = SIM_ROOT; i < disk->inode_count; i++) {
        if (disk->inodes[i] != NULL && !marks[i]) {
            disk->used -= disk->inodes[i]->now.size;
            sim__inode_free(&disk->inodes[i]);
        }
    }
    mem_free(marks);
}

/* ---- changes and syncing ---------------------------------------------------------------- */

void sim__change_apply(struct sim_image *image, const struct sim_change *change)
{
    if (change->is_write) {
        sim_image_write(image, change->data, (size_t)change->len, change->offset);
    } else {
        sim_image_resize(image, change->len);
    }
}

void sim__name_op_apply(struct sim_disk *disk, const struct sim_name_op *op, bool durable)
{
    for (unsigned i = 0; i < op->edit_count; i++) {
        struct sim_inode *dir = disk->inodes[op->edits[i].dir];
        ASSERT(dir != NULL);
        sim_names_set(durable ? &dir->names_durable : &dir->names, op->edits[i].name,
                      op->edits[i].inode);
    }
}

void sim__name_op_fini(struct sim_name_op *op)
{
    for (unsigned i = 0; i < op->edit_count; i++) {
        mem_free(op->edits[i].name);
    }
}

bool sim__same_name(const struct sim_name_op *a, const struct sim_name_op *b)
{
    for (unsigned i = 0; i < a->edit_count; i++) {
        for (unsigned j = 0; j < b->edit_count; j++) {
            if (a->edits[i].dir == b->edits[j].dir &&
                strcmp(a->edits[i].name, b->edits[j].name) == 0) {
                return true;
            }
        }
    }
    return false;
}

static bool edits_dir(const struct sim_name_op *op, uint32_t dir)
{
    return op->edits[0].dir == dir || (op->edit_count > 1 && op->edits[1].dir == dir);
}

void sim__settle_names(struct sim_disk *disk, const bool *chosen)
{
    size_t kept = 0;
    for (size_t i = 0; i < disk->name_op_count; i++) {
        if (chosen[i]) {
            sim__name_op_apply(disk, &disk->name_ops[i], true);
            sim__name_op_fini(&disk->name_ops[i]);
        } else {
            disk->name_ops[kept++] = disk->name_ops[i];
        }
    }
    disk->name_op_count = kept;
}

void sim__sync_names(struct sim_disk *disk, uint32_t dir)
{
    size_t count = disk->name_op_count;
    if (count == 0) {
        return;
    }
    bool *chosen = mem_zalloc(count * sizeof(bool));
    for (size_t i = count; i-- > 0;) {
        chosen[i] = edits_dir(&disk->name_ops[i], dir);
        for (size_t j = i + 1; j < count && !chosen[i]; j++) {
            chosen[i] = chosen[j] && sim__same_name(&disk->name_ops[i], &disk->name_ops[j]);
        }
    }
    sim__settle_names(disk, chosen);
    mem_free(chosen);
}

/* ---- life ------------------------------------------------------------------------------------ */

struct disk *sim_disk_new(void)
{
    struct sim_disk *disk = NEW(struct sim_disk);
    disk->disk.ops = &sim_disk_ops;
    uint32_t root;
    sim__inode_new(disk, true, 0755, &root);
    ASSERT(root == SIM_ROOT);
    return &disk->disk;
}

void sim_disk_free(struct disk **base)
{
    if (*base == NULL) {
        return;
    }
    struct sim_disk *disk = sim_disk_of(*base);
    *base = NULL;
    ASSERT(disk->open_count == 0);
    sim_disk_heal(&disk->disk);
    for (uint32_t i = SIM_ROOT; i < disk->inode_count; i++) {
        sim__inode_free(&disk->inodes[i]);
    }
    mem_free(disk->inodes);
    for (size_t i = 0; i < disk->name_op_count; i++) {
        sim__name_op_fini(&disk->name_ops[i]);
    }
    mem_free(disk->name_ops);
    mem_free(disk);
}

static struct sim_inode *clone_inode(const struct sim_inode *source)
{
    struct sim_inode *copy = NEW(struct sim_inode);
    copy->is_dir = source->is_dir;
    copy->mode = source->mode;
    copy->has_dropped = source->has_dropped;
    sim_image_copy(&copy->now, &source->now);
    sim_image_copy(&copy->durable, &source->durable);
    sim_names_copy(&copy->names, &source->names);
    sim_names_copy(&copy->names_durable, &source->names_durable);
    copy->change_count = copy->change_cap = source->change_count;
    if (source->change_count > 0) {
        copy->changes = mem_dup(source->changes, source->change_count * sizeof(struct sim_change));
    }
    for (size_t i = 0; i < source->change_count; i++) {
        struct sim_change *change = &copy->changes[i];
        change->data =
            change->is_write ? mem_dup(source->changes[i].data, (size_t)change->len) : NULL;
    }
    return copy;
}

struct disk *sim_disk_clone(const struct disk *base)
{
    const struct sim_disk *source = sim_disk_of(base);
    struct sim_disk *copy = NEW(struct sim_disk);
    copy->disk.ops = &sim_disk_ops;
    copy->seq = source->seq;
    copy->op_count = source->op_count;
    copy->is_down = source->is_down;
    copy->capacity = source->capacity;
    copy->used = source->used;
    copy->inode_count = source->inode_count;
    copy->inodes = mem_zalloc(source->inode_count * sizeof(struct sim_inode *));
    for (uint32_t i = SIM_ROOT; i < source->inode_count; i++) {
        if (source->inodes[i] != NULL) {
            copy->inodes[i] = clone_inode(source->inodes[i]);
        }
    }
    copy->name_op_count = copy->name_op_cap = source->name_op_count;
    if (source->name_op_count > 0) {
        copy->name_ops =
            mem_dup(source->name_ops, source->name_op_count * sizeof(struct sim_name_op));
    }
    for (size_t i = 0; i < source->name_op_count; i++) {
        for (unsigned j = 0; j < source->name_ops[i].edit_count; j++) {
            copy->name_ops[i].edits[j].name = mem_strdup(source->name_ops[i].edits[j].name);
        }
    }
    sim__collect(copy); /* of files that were only open */
    return &copy->disk;
}

/* ---- observers --------------------------------------------------------------------------------
 */

static uint64_t mix(uint64_t hash, const void *data, size_t len)
{
    return hash64(hash, slice_of(data, len));
}

static uint64_t mix_image(uint64_t hash, const struct sim_image *image)
{
    uint8_t bytes[SIM_PAGE];
    hash = mix(hash, &image->size, sizeof(image->size));
    for (uint64_t at = 0; at < image->size; at += SIM_PAGE) {
        uint64_t left = image->size - at;
        size_t part = (size_t)(left < SIM_PAGE ? left : SIM_PAGE);
        sim_image_read(image, bytes, part, at);
        hash = mix(hash, bytes, part);
    }
    return hash;
}

static uint64_t mix_inode(const struct sim_disk *disk, uint64_t hash, uint32_t number, bool durable)
{
    const struct sim_inode *inode = disk->inodes[number];
    uint32_t facts[2] = {inode->mode, inode->is_dir};
    hash = mix(hash, facts, sizeof(facts));
    if (!inode->is_dir) {
        return mix_image(hash, durable ? &inode->durable : &inode->now);
    }
    const struct sim_names *names = durable ? &inode->names_durable : &inode->names;
    hash = mix(hash, &names->count, sizeof(names->count));
    for (size_t i = 0; i < names->count; i++) {
        hash = mix(hash, names->entries[i].name, strlen(names->entries[i].name) + 1);
        hash = mix_inode(disk, hash, names->entries[i].inode, durable);
    }
    return hash;
}

uint64_t sim_disk_digest(const struct disk *disk)
{
    return mix_inode(sim_disk_of(disk), 0, SIM_ROOT, false);
}

uint64_t sim_disk_digest_durable(const struct disk *disk)
{
    return mix_inode(sim_disk_of(disk), 0, SIM_ROOT, true);
}

static void check_file(const struct sim_inode *inode)
{
    struct sim_image replayed = {0};
    sim_image_copy(&replayed, &inode->durable);
    for (size_t i = 0; i < inode->change_count; i++) {
        ASSERT(i == 0 || inode->changes[i - 1].seq < inode->changes[i].seq);
        sim__change_apply(&replayed, &inode->changes[i]);
    }
    ASSERT(inode->has_dropped || sim_image_eq(&replayed, &inode->now));
    sim_image_fini(&replayed);
}

void sim_disk_check(const struct disk *base)
{
    const struct sim_disk *disk = sim_disk_of(base);
    uint64_t used = 0;
    for (uint32_t i = SIM_ROOT; i < disk->inode_count; i++) {
        if (disk->inodes[i] != NULL) {
            used += disk->inodes[i]->now.size;
            check_file(disk->inodes[i]);
        }
    }
    ASSERT(used == disk->used);
    struct disk *clone = sim_disk_clone(base);
    struct sim_disk *copy = sim_disk_of(clone);
    for (size_t i = 0; i < copy->name_op_count; i++) {
        ASSERT(i == 0 || copy->name_ops[i - 1].seq < copy->name_ops[i].seq);
        sim__name_op_apply(copy, &copy->name_ops[i], true);
    }
    for (uint32_t i = SIM_ROOT; i < copy->inode_count; i++) {
        const struct sim_inode *inode = copy->inodes[i];
        ASSERT(inode == NULL || names_eq(&inode->names, &inode->names_durable));
    }
    sim_disk_free(&clone);
}
