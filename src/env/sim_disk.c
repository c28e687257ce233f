/* The simulated disk's operations: each passes one gate (down? counted? failing?), changes what can
 * be seen, and leaves a record of what is not durable yet. Invariants in sim_priv.h. */
#include "base/mem.h"
#include "env/sim_priv.h"

struct sim_file {
    struct file file;
    uint32_t inode;
    unsigned flags;
    uint64_t epoch;
    bool has_flock_shared;
    bool has_flock_exclusive;
    bool has_ofd;
};

static struct sim_file *file_of(struct file *file)
{
    return CONTAINER_OF(file, struct sim_file, file);
}

static struct sim_inode *inode_of(const struct sim_disk *disk, uint32_t number)
{
    ASSERT(number > 0 && number < disk->inode_count);
    ASSERT(disk->inodes[number] != NULL);
    return disk->inodes[number];
}

static enum err fail(struct errbuf *why, enum err err, const char *what, const char *path,
                     const char *reason)
{
    ASSERT(err != ERR_OK);
    errf(why, err, "%s %s: %s", what, path, reason);
    return err;
}

static enum err fail_down(struct errbuf *why, const char *what, const char *path)
{
    return fail(why, ERR_IO, what, path, "the simulated machine is down");
}

/* ---- the gate ----------------------------------------------------------------------------- */

static enum err injected(struct sim_disk *disk, enum sim_op op, const char *path)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < disk->fault_count; i++) {
        struct sim_fault *fault = &disk->faults[i];
        if ((fault->ops & (unsigned)op) == 0 ||
            (fault->part != NULL && strstr(path, fault->part) == NULL)) {
            continue;
        }
        if (fault->nth > 1) {
            fault->nth--;
        } else if (fault->count > 0) {
            fault->count -= fault->count != UINT64_MAX;
            err = err == ERR_OK ? fault->err : err;
        }
    }
    return err;
}

/* Lets an operation pass, or says how it fails. After a changing operation that passed, leave()
 * tells whether power failed in the middle of it. */
static enum err enter(struct sim_disk *disk, enum sim_op op, const char *what, const char *path,
                      struct errbuf *why)
{
    if (disk->is_down) {
        return fail_down(why, what, path);
    }
    if (((unsigned)op & SIM_OPS_CHANGING) != 0) {
        disk->op_count++;
        if (disk->on_op != NULL) {
            disk->on_op(op, path, disk->op_count, disk->on_op_ctx);
        }
        disk->is_down = disk->op_count == disk->crash_at;
    }
    enum err err = injected(disk, op, path);
    return err == ERR_OK ? ERR_OK : fail(why, err, what, path, err_name(err));
}

static enum err leave(const struct sim_disk *disk, const char *what, const char *path,
                      struct errbuf *why)
{
    return disk->is_down ? fail_down(why, what, path) : ERR_OK;
}

/* ---- paths ---------------------------------------------------------------------------------- */

struct place {
    uint32_t dir;   /* that holds the last name */
    uint32_t inode; /* 0: nothing of that name */
    char *name;     /* owned; "" for the root */
};

/* Finds the directory of the last name of `path`, without regard to whether that exists. */
static enum err find(const struct sim_disk *disk, const char *what, const char *path,
                     struct place *out, struct errbuf *why)
{
    uint32_t trail[64] = {SIM_ROOT};
    size_t depth = 0; /* trail[depth] is where we are */
    struct place place = {.dir = SIM_ROOT, .inode = SIM_ROOT, .name = mem_strdup("")};
    struct slice rest = slice_str(path);
    while (rest.len > 0) {
        struct slice part;
        rest = slice_split(rest, '/', &part);
        if (part.len == 0 || slice_eq_str(part, ".")) {
            continue;
        }
        enum err err = ERR_OK;
        if (trail[depth] == 0) {
            err = fail(why, ERR_NOT_FOUND, what, path, "no such file or directory");
        } else if (!inode_of(disk, trail[depth])->is_dir) {
            err = fail(why, ERR_IO, what, path, "not a directory");
        } else if (depth + 1 == ARRAY_LEN(trail)) {
            err = fail(why, ERR_TOO_LARGE, what, path, "too many directories");
        }
        if (err != ERR_OK) {
            mem_free(place.name);
            return err;
        }
        mem_free(place.name);
        place.name = mem_printf("%.*s", (int)part.len, (const char *)part.data);
        if (slice_eq_str(part, "..")) {
            depth -= depth > 0;
            place.dir = depth > 0 ? trail[depth - 1] : SIM_ROOT;
            place.inode = trail[depth];
            continue;
        }
        place.dir = trail[depth];
        place.inode = sim_names_find(&inode_of(disk, place.dir)->names, place.name);
        trail[++depth] = place.inode;
    }
    *out = place;
    return ERR_OK;
}

static void place_fini(struct place *place)
{
    mem_free(place->name);
}

/* The inode at `path`, or ERR_NOT_FOUND. */
static enum err look_up(const struct sim_disk *disk, const char *what, const char *path,
                        uint32_t *out, struct errbuf *why)
{
    struct place place;
    TRY(find(disk, what, path, &place, why));
    uint32_t inode = place.inode;
    place_fini(&place);
    if (inode == 0) {
        return fail(why, ERR_NOT_FOUND, what, path, "no such file or directory");
    }
    *out = inode;
    return ERR_OK;
}

static bool may_write(const struct sim_disk *disk, uint32_t inode)
{
    return (inode_of(disk, inode)->mode & 0200) != 0;
}

/* ---- names ---------------------------------------------------------------------------------- */

static struct sim_name_op *name_op_add(struct sim_disk *disk)
{
    if (disk->name_op_count == disk->name_op_cap) {
        disk->name_op_cap = disk->name_op_cap == 0 ? 16 : disk->name_op_cap * 2;
        disk->name_ops =
            mem_realloc(disk->name_ops, disk->name_op_cap * sizeof(struct sim_name_op));
    }
    struct sim_name_op *op = &disk->name_ops[disk->name_op_count++];
    *op = (struct sim_name_op){.seq = ++disk->seq};
    return op;
}

static void edit_add(struct sim_name_op *op, uint32_t dir, const char *name, uint32_t inode)
{
    ASSERT(op->edit_count < 2);
    op->edits[op->edit_count++] =
        (struct sim_edit){.dir = dir, .inode = inode, .name = mem_strdup(name)};
}

/* One name gets an inode, or loses its own (0). */
static void set_name(struct sim_disk *disk, const struct place *place, uint32_t inode)
{
    struct sim_name_op *op = name_op_add(disk);
    edit_add(op, place->dir, place->name, inode);
    sim__name_op_apply(disk, op, false);
}

static enum err sim_rename(struct disk *base, const char *from, const char *to, struct errbuf *why)
{
    struct sim_disk *disk = sim_disk_of(base);
    TRY(enter(disk, SIM_OP_RENAME, "rename", from, why));
    struct place source;
    struct place target;
    TRY(find(disk, "rename", from, &source, why));
    enum err err = find(disk, "rename", to, &target, why);
    if (err != ERR_OK) {
        place_fini(&source);
        return err;
    }
    if (source.inode == 0 || source.inode == SIM_ROOT) {
        err = fail(why, ERR_NOT_FOUND, "rename", from, "no such file or directory");
    } else if (!may_write(disk, source.dir) || !may_write(disk, target.dir)) {
        err = fail(why, ERR_PERM, "rename", from, "permission denied");
    } else if (target.inode != 0 && target.inode != source.inode) {
        const struct sim_inode *old = inode_of(disk, target.inode);
        if (old->is_dir != inode_of(disk, source.inode)->is_dir) {
            err = fail(why, ERR_IO, "rename", to, "a file and a directory");
        } else if (old->is_dir && old->names.count > 0) {
            err = fail(why, ERR_EXISTS, "rename", to, "directory not empty");
        }
    }
    if (err == ERR_OK && target.inode != source.inode) {
        struct sim_name_op *op = name_op_add(disk);
        edit_add(op, source.dir, source.name, 0);
        edit_add(op, target.dir, target.name, source.inode);
        sim__name_op_apply(disk, op, false);
    }
    place_fini(&source);
    place_fini(&target);
    return err == ERR_OK ? leave(disk, "rename", from, why) : err;
}

/* unlink and rmdir. */
static enum err remove_name(struct disk *base, const char *path, bool is_dir, struct errbuf *why)
{
    struct sim_disk *disk = sim_disk_of(base);
    const char *what = is_dir ? "rmdir" : "unlink";
    TRY(enter(disk, SIM_OP_UNLINK, what, path, why));
    struct place place;
    TRY(find(disk, what, path, &place, why));
    enum err err = ERR_OK;
    if (place.inode == 0) {
        err = fail(why, ERR_NOT_FOUND, what, path, "no such file or directory");
    } else if (place.inode == SIM_ROOT || !may_write(disk, place.dir)) {
        err = fail(why, ERR_PERM, what, path, "permission denied");
    } else if (inode_of(disk, place.inode)->is_dir != is_dir) {
        err = fail(why, ERR_IO, what, path, is_dir ? "not a directory" : "is a directory");
    } else if (is_dir && inode_of(disk, place.inode)->names.count > 0) {
        err = fail(why, ERR_IO, what, path, "directory not empty");
    } else {
        set_name(disk, &place, 0);
    }
    place_fini(&place);
    return err == ERR_OK ? leave(disk, what, path, why) : err;
}

static enum err sim_unlink(struct disk *disk, const char *path, struct errbuf *why)
{
    return remove_name(disk, path, false, why);
}

static enum err sim_rmdir(struct disk *disk, const char *path, struct errbuf *why)
{
    return remove_name(disk, path, true, why);
}

static enum err sim_mkdir(struct disk *base, const char *path, uint32_t mode, struct errbuf *why)
{
    struct sim_disk *disk = sim_disk_of(base);
    TRY(enter(disk, SIM_OP_CREATE, "mkdir", path, why));
    struct place place;
    TRY(find(disk, "mkdir", path, &place, why));
    enum err err = ERR_OK;
    if (place.inode != 0) {
        err = fail(why, ERR_EXISTS, "mkdir", path, "file exists");
    } else if (!may_write(disk, place.dir)) {
        err = fail(why, ERR_PERM, "mkdir", path, "permission denied");
    } else {
        uint32_t number;
        sim__inode_new(disk, true, mode, &number);
        set_name(disk, &place, number);
    }
    place_fini(&place);
    return err == ERR_OK ? leave(disk, "mkdir", path, why) : err;
}

static enum err sim_sync_dir(struct disk *base, const char *path, struct errbuf *why)
{
    struct sim_disk *disk = sim_disk_of(base);
    TRY(enter(disk, SIM_OP_SYNC_DIR, "fsync", path, why));
    TRY(leave(disk, "fsync", path, why));
    uint32_t inode;
    TRY(look_up(disk, "fsync", path, &inode, why));
    if (!inode_of(disk, inode)->is_dir) {
        return fail(why, ERR_IO, "fsync", path, "not a directory");
    }
    sim__sync_names(disk, inode);
    sim__collect(disk);
    return ERR_OK;
}

static enum err sim_list(struct disk *base, const char *path,
                         void (*each)(const char *name, void *ctx), void *ctx, struct errbuf *why)
{
    struct sim_disk *disk = sim_disk_of(base);
    TRY(enter(disk, SIM_OP_LOOK, "readdir", path, why));
    uint32_t inode;
    TRY(look_up(disk, "readdir", path, &inode, why));
    const struct sim_inode *dir = inode_of(disk, inode);
    if (!dir->is_dir) {
        return fail(why, ERR_IO, "readdir", path, "not a directory");
    }
    /* The callback may change the directory. */
    struct sim_names names = {0};
    sim_names_copy(&names, &dir->names);
    for (size_t i = 0; i < names.count; i++) {
        each(names.entries[i].name, ctx);
    }
    sim_names_fini(&names);
    return ERR_OK;
}

static enum err sim_stat(struct disk *base, const char *path, struct file_info *out,
                         struct errbuf *why)
{
    struct sim_disk *disk = sim_disk_of(base);
    TRY(enter(disk, SIM_OP_LOOK, "stat", path, why));
    uint32_t number;
    TRY(look_up(disk, "stat", path, &number, why));
    const struct sim_inode *inode = inode_of(disk, number);
    *out =
        (struct file_info){.size = inode->now.size, .mode = inode->mode, .is_dir = inode->is_dir};
    return ERR_OK;
}

static enum err sim_chmod(struct disk *base, const char *path, uint32_t mode, struct errbuf *why)
{
    struct sim_disk *disk = sim_disk_of(base);
    TRY(leave(disk, "chmod", path, why));
    uint32_t number;
    TRY(look_up(disk, "chmod", path, &number, why));
    inode_of(disk, number)->mode = mode;
    return ERR_OK;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static struct sim_change *change_add(struct sim_disk *disk, struct sim_inode *inode)
{
    if (inode->change_count == inode->change_cap) {
        inode->change_cap = inode->change_cap == 0 ? 16 : inode->change_cap * 2;
        inode->changes = mem_realloc(inode->changes, inode->change_cap * sizeof(struct sim_change));
    }
    struct sim_change *change = &inode->changes[inode->change_count++];
    *change = (struct sim_change){.seq = ++disk->seq, .from = inode->now.size};
    return change;
}

/* Does the change that was just added, and keeps the account of used bytes. */
static void change_now(struct sim_disk *disk, struct sim_inode *inode,
                       const struct sim_change *change)
{
    disk->used -= inode->now.size;
    sim__change_apply(&inode->now, change);
    disk->used += inode->now.size;
}

static void write_now(struct sim_disk *disk, struct sim_inode *inode, const void *data, size_t len,
                      uint64_t offset)
{
    if (len == 0) {
        return;
    }
    struct sim_change *change = change_add(disk, inode);
    change->is_write = true;
    change->offset = offset;
    change->len = len;
    change->data = mem_dup(data, len);
    change_now(disk, inode, change);
}

static void resize_now(struct sim_disk *disk, struct sim_inode *inode, uint64_t size)
{
    if (size != inode->now.size) {
        struct sim_change *change = change_add(disk, inode);
        change->len = size;
        change_now(disk, inode, change);
    }
}

static bool has_room(const struct sim_disk *disk, const struct sim_inode *inode, uint64_t size)
{
    return disk->capacity == 0 || size <= inode->now.size ||
           disk->used + (size - inode->now.size) <= disk->capacity;
}

/* The inode behind an open file, when the handle is alive and allows `flag`. */
static enum err file_inode(struct file *base, unsigned flag, const char *what,
                           struct sim_inode **out, struct errbuf *why)
{
    struct sim_file *file = file_of(base);
    struct sim_disk *disk = sim_disk_of(base->disk);
    if (file->epoch != disk->epoch) {
        return fail_down(why, what, base->path);
    }
    struct sim_inode *inode = inode_of(disk, file->inode);
    if ((file->flags & flag) != flag || inode->is_dir) {
        return fail(why, ERR_IO, what, base->path,
                    inode->is_dir ? "is a directory" : "bad file descriptor");
    }
    *out = inode;
    return ERR_OK;
}

static enum err sim_pread(struct file *file, void *data, size_t len, uint64_t offset, size_t *n_out,
                          struct errbuf *why)
{
    struct sim_disk *disk = sim_disk_of(file->disk);
    struct sim_inode *inode;
    TRY(file_inode(file, FILE_READ, "read", &inode, why));
    TRY(enter(disk, SIM_OP_READ, "read", file->path, why));
    uint64_t left = offset < inode->now.size ? inode->now.size - offset : 0;
    size_t part = left < len ? (size_t)left : len;
    if (part > 0) {
        sim_image_read(&inode->now, data, part, offset);
    }
    *n_out = part;
    return ERR_OK;
}

static enum err sim_pwrite(struct file *file, const void *data, size_t len, uint64_t offset,
                           struct errbuf *why)
{
    struct sim_disk *disk = sim_disk_of(file->disk);
    struct sim_inode *inode;
    TRY(file_inode(file, FILE_WRITE, "write", &inode, why));
    enum err err = enter(disk, SIM_OP_WRITE, "write", file->path, why);
    if (disk->is_down && err != ERR_OK) {
        return err;
    }
    if (offset > SIM_FILE_MAX || len > SIM_FILE_MAX) {
        return fail(why, ERR_IO, "write", file->path, "file too large");
    }
    size_t part = err == ERR_OK ? len : len / 2;
    if (!has_room(disk, inode, offset + part)) {
        uint64_t room = disk->capacity > disk->used ? disk->capacity - disk->used : 0;
        uint64_t end = inode->now.size + room;
        part = end > offset ? (size_t)(end - offset) : 0;
        err = err == ERR_OK ? fail(why, ERR_NOSPACE, "write", file->path, err_name(ERR_NOSPACE))
                            : err;
    }
    write_now(disk, inode, data, part, offset);
    return err == ERR_OK ? leave(disk, "write", file->path, why) : err;
}

static enum err sim_preallocate(struct file *file, uint64_t len, struct errbuf *why)
{
    struct sim_disk *disk = sim_disk_of(file->disk);
    struct sim_inode *inode;
    TRY(file_inode(file, FILE_WRITE, "fallocate", &inode, why));
    TRY(enter(disk, SIM_OP_ALLOCATE, "fallocate", file->path, why));
    if (len > SIM_FILE_MAX || !has_room(disk, inode, len)) {
        return fail(why, ERR_NOSPACE, "fallocate", file->path, err_name(ERR_NOSPACE));
    }
    resize_now(disk, inode, len > inode->now.size ? len : inode->now.size);
    return leave(disk, "fallocate", file->path, why);
}

/* By pages: one that was written is data, whatever is in it. */
static enum err sim_next_data(struct file *file, uint64_t from, uint64_t *out, struct errbuf *why)
{
    struct sim_inode *inode;
    TRY(file_inode(file, 0, "lseek", &inode, why));
    TRY(enter(sim_disk_of(file->disk), SIM_OP_READ, "lseek", file->path, why));
    const struct sim_image *image = &inode->now;
    uint64_t page = from / SIM_PAGE;
    while (page * SIM_PAGE < image->size &&
           (page >= image->page_count || image->pages[page] == NULL)) {
        page++;
    }
    uint64_t at = page * SIM_PAGE < from ? from : page * SIM_PAGE;
    *out = at < image->size ? at : image->size;
    return ERR_OK;
}

static enum err sim_truncate(struct file *file, uint64_t len, struct errbuf *why)
{
    struct sim_disk *disk = sim_disk_of(file->disk);
    struct sim_inode *inode;
    TRY(file_inode(file, FILE_WRITE, "truncate", &inode, why));
    TRY(enter(disk, SIM_OP_TRUNCATE, "truncate", file->path, why));
    if (len > SIM_FILE_MAX || !has_room(disk, inode, len)) {
        return fail(why, ERR_NOSPACE, "truncate", file->path, err_name(ERR_NOSPACE));
    }
    resize_now(disk, inode, len);
    return leave(disk, "truncate", file->path, why);
}

static enum err sim_sync(struct file *file, struct errbuf *why)
{
    struct sim_disk *disk = sim_disk_of(file->disk);
    struct sim_inode *inode;
    TRY(file_inode(file, 0, "fsync", &inode, why));
    bool was_down = disk->is_down;
    enum err err = enter(disk, SIM_OP_SYNC, "fsync", file->path, why);
    if (was_down || (err == ERR_OK && disk->is_down)) {
        return fail_down(why, "fsync", file->path);
    }
    if (err != ERR_OK) {
        inode->has_dropped |= inode->change_count > 0;
    } else {
        for (size_t i = 0; i < inode->change_count; i++) {
            sim__change_apply(&inode->durable, &inode->changes[i]);
        }
    }
    sim__changes_clear(inode);
    return err;
}

static enum err sim_size(struct file *file, uint64_t *out, struct errbuf *why)
{
    struct sim_disk *disk = sim_disk_of(file->disk);
    struct sim_inode *inode;
    TRY(file_inode(file, 0, "stat", &inode, why));
    TRY(enter(disk, SIM_OP_READ, "stat", file->path, why));
    *out = inode->now.size;
    return ERR_OK;
}

/* ---- handles ------------------------------------------------------------------------------- */

static struct file *file_new(struct sim_disk *disk, const char *path, uint32_t number,
                             unsigned flags)
{
    struct sim_file *file = NEW(struct sim_file);
    file->file.disk = &disk->disk;
    file->file.path = mem_strdup(path);
    file->inode = number;
    file->flags = flags;
    file->epoch = disk->epoch;
    inode_of(disk, number)->open_count++;
    disk->open_count++;
    return &file->file;
}

static enum err open_existing(struct sim_disk *disk, const char *path, uint32_t number,
                              unsigned flags, struct errbuf *why)
{
    struct sim_inode *inode = inode_of(disk, number);
    if ((flags & FILE_EXCLUSIVE) != 0) {
        return fail(why, ERR_EXISTS, "open", path, "file exists");
    }
    if (inode->is_dir && (flags & FILE_WRITE) != 0) {
        return fail(why, ERR_IO, "open", path, "is a directory");
    }
    if (((flags & FILE_READ) != 0 && (inode->mode & 0400) == 0) ||
        ((flags & FILE_WRITE) != 0 && (inode->mode & 0200) == 0)) {
        return fail(why, ERR_PERM, "open", path, "permission denied");
    }
    if ((flags & FILE_TRUNCATE) != 0 && inode->now.size > 0) {
        TRY(enter(disk, SIM_OP_TRUNCATE, "open", path, why));
        resize_now(disk, inode, 0);
    }
    return leave(disk, "open", path, why);
}

static enum err open_missing(struct sim_disk *disk, const char *path, const struct place *place,
                             unsigned flags, uint32_t *out, struct errbuf *why)
{
    if ((flags & FILE_CREATE) == 0) {
        return fail(why, ERR_NOT_FOUND, "open", path, "no such file or directory");
    }
    TRY(enter(disk, SIM_OP_CREATE, "open", path, why));
    if (!may_write(disk, place->dir)) {
        return fail(why, ERR_PERM, "open", path, "permission denied");
    }
    uint32_t number;
    sim__inode_new(disk, false, 0600, &number);
    set_name(disk, place, number);
    *out = number;
    return leave(disk, "open", path, why);
}

static enum err sim_open(struct disk *base, const char *path, unsigned flags, struct file **out,
                         struct errbuf *why)
{
    struct sim_disk *disk = sim_disk_of(base);
    TRY(enter(disk, SIM_OP_OPEN, "open", path, why));
    struct place place;
    TRY(find(disk, "open", path, &place, why));
    uint32_t number = place.inode;
    enum err err = number != 0 ? open_existing(disk, path, number, flags, why)
                               : open_missing(disk, path, &place, flags, &number, why);
    place_fini(&place);
    if (err == ERR_OK) {
        *out = file_new(disk, path, number, flags);
    }
    return err;
}

static bool lock_flock(struct sim_file *file, struct sim_inode *inode, bool exclusive)
{
    unsigned others_shared = inode->flock_shared - file->has_flock_shared;
    bool others_exclusive = inode->flock_exclusive && !file->has_flock_exclusive;
    if (others_exclusive || (exclusive && others_shared > 0)) {
        return false;
    }
    inode->flock_shared = others_shared + !exclusive;
    inode->flock_exclusive = exclusive;
    file->has_flock_shared = !exclusive;
    file->has_flock_exclusive = exclusive;
    return true;
}

static bool lock_ofd(struct sim_file *file, struct sim_inode *inode)
{
    if (inode->ofd_exclusive && !file->has_ofd) {
        return false;
    }
    inode->ofd_exclusive = true;
    file->has_ofd = true;
    return true;
}

static enum err sim_lock(struct file *base, enum file_lock kind, struct errbuf *why)
{
    struct sim_file *file = file_of(base);
    struct sim_inode *inode;
    TRY(file_inode(base, kind == FILE_LOCK_OFD_EXCLUSIVE ? FILE_WRITE : 0, "lock", &inode, why));
    TRY(leave(sim_disk_of(base->disk), "lock", base->path, why));
    bool is_ours = false;
    switch (kind) {
    case FILE_LOCK_FLOCK_EXCLUSIVE:
        is_ours = lock_flock(file, inode, true);
        break;
    case FILE_LOCK_FLOCK_SHARED:
        is_ours = lock_flock(file, inode, false);
        break;
    case FILE_LOCK_OFD_EXCLUSIVE:
        is_ours = lock_ofd(file, inode);
        break;
    }
    return is_ours ? ERR_OK : fail(why, ERR_LOCKED, "lock", base->path, "another process holds it");
}

static enum err sim_map(struct file *file, uint64_t len, const uint8_t **out, struct errbuf *why)
{
    return fail(why, ERR_UNSUPPORTED, "mmap", file->path, "not on a simulated disk");
}

static void sim_unmap(struct file *file, const uint8_t *base, uint64_t len)
{
    UNREACHABLE();
}

static void sim_map_forget(struct file *file, const uint8_t *base, uint64_t len)
{
    UNREACHABLE();
}

static void sim_close(struct file *base)
{
    struct sim_file *file = file_of(base);
    struct sim_disk *disk = sim_disk_of(base->disk);
    if (file->epoch == disk->epoch) {
        struct sim_inode *inode = inode_of(disk, file->inode);
        inode->flock_shared -= file->has_flock_shared;
        inode->flock_exclusive &= !file->has_flock_exclusive;
        inode->ofd_exclusive &= !file->has_ofd;
        inode->open_count--;
    }
    disk->open_count--;
    mem_free(file->file.path);
    mem_free(file);
}

const struct disk_ops sim_disk_ops = {
    .open = sim_open,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
    .rmdir = sim_rmdir,
    .sync_dir = sim_sync_dir,
    .list = sim_list,
    .stat = sim_stat,
    .chmod = sim_chmod,
    .pread = sim_pread,
    .pwrite = sim_pwrite,
    .preallocate = sim_preallocate,
    .next_data = sim_next_data,
    .truncate = sim_truncate,
    .sync = sim_sync,
    .sync_data = sim_sync,
    .size = sim_size,
    .lock = sim_lock,
    .map = sim_map,
    .unmap = sim_unmap,
    .map_forget = sim_map_forget,
    .close = sim_close,
};

/* ---- what tests turn ------------------------------------------------------------------------ */

uint64_t sim_disk_op_count(const struct disk *disk)
{
    return sim_disk_of(disk)->op_count;
}

void sim_disk_crash_at(struct disk *disk, uint64_t number)
{
    ASSERT(number == 0 || number > sim_disk_of(disk)->op_count);
    sim_disk_of(disk)->crash_at = number;
}

bool sim_disk_is_down(const struct disk *disk)
{
    return sim_disk_of(disk)->is_down;
}

void sim_disk_on_op(struct disk *disk, sim_op_fn *fn, void *ctx)
{
    sim_disk_of(disk)->on_op = fn;
    sim_disk_of(disk)->on_op_ctx = ctx;
}

/* Faults that have happened as often as they should make room. */
static void forget_spent(struct sim_disk *disk)
{
    size_t kept = 0;
    for (size_t i = 0; i < disk->fault_count; i++) {
        if (disk->faults[i].count > 0) {
            disk->faults[kept++] = disk->faults[i];
        } else {
            mem_free(disk->faults[i].part);
        }
    }
    disk->fault_count = kept;
}

void sim_disk_fail(struct disk *base, unsigned ops, const char *part, uint64_t nth, uint64_t count,
                   enum err err)
{
    struct sim_disk *disk = sim_disk_of(base);
    forget_spent(disk);
    ASSERT(disk->fault_count < SIM_FAULTS_MAX);
    ASSERT(nth > 0);
    ASSERT(count > 0);
    ASSERT(err != ERR_OK);
    disk->faults[disk->fault_count++] =
        (struct sim_fault){.ops = ops,
                           .part = part == NULL ? NULL : mem_strdup(part),
                           .nth = nth,
                           .count = count,
                           .err = err};
}

void sim_disk_heal(struct disk *base)
{
    struct sim_disk *disk = sim_disk_of(base);
    for (size_t i = 0; i < disk->fault_count; i++) {
        mem_free(disk->faults[i].part);
    }
    disk->fault_count = 0;
}

void sim_disk_set_capacity(struct disk *disk, uint64_t bytes)
{
    sim_disk_of(disk)->capacity = bytes;
}

uint64_t sim_disk_used(const struct disk *disk)
{
    return sim_disk_of(disk)->used;
}

static bool flip(struct sim_image *image, uint64_t byte, unsigned bit)
{
    if (byte >= image->size) {
        return false;
    }
    uint8_t value;
    sim_image_read(image, &value, 1, byte);
    value ^= (uint8_t)(1u << bit);
    sim_image_write(image, &value, 1, byte);
    return true;
}

bool sim_disk_flip(struct disk *base, const char *path, uint64_t byte, unsigned bit)
{
    struct sim_disk *disk = sim_disk_of(base);
    ASSERT(bit < 8);
    uint32_t number;
    if (look_up(disk, "flip", path, &number, NULL) != ERR_OK) {
        return false;
    }
    struct sim_inode *inode = inode_of(disk, number);
    if (inode->is_dir || !flip(&inode->now, byte, bit)) {
        return false;
    }
    flip(&inode->durable, byte, bit);
    /* What is pending there has the flipped bit, too. */
    for (size_t i = 0; i < inode->change_count; i++) {
        struct sim_change *change = &inode->changes[i];
        if (change->is_write && byte >= change->offset && byte < change->offset + change->len) {
            change->data[byte - change->offset] ^= (uint8_t)(1u << bit);
        }
        inode->has_dropped |= !change->is_write; /* it may have cut the byte off and back on */
    }
    return true;
}
