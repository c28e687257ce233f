#include "storage/snap.h"

#include "base/digest.h"
#include "base/mem.h"
#include "storage/raftconv.h"

#include <stdio.h>

#define SNAP_NAME_LEN 38    /* 16 hex digits, '-', 16 hex digits, ".snap" */
#define SNAP_DB_NAME_LEN 24 /* 16 hex digits, ".snap.db" */

void snap_fini(struct snap *snap)
{
    buf_fini(&snap->file);
    *snap = (struct snap){0};
}

/* ---- names ------------------------------------------------------------------------------- */

const char *snap_name(struct arena *arena, raft_term term, raft_index index)
{
    return arena_printf(arena, "%016llx-%016llx.snap", (unsigned long long)term,
                        (unsigned long long)index);
}

const char *snap_db_name(struct arena *arena, raft_index index)
{
    return arena_printf(arena, "%016llx.snap.db", (unsigned long long)index);
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t len = strlen(name);
    size_t suffix_len = strlen(suffix);
    return len >= suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

static bool parse_snap_name(const char *name, struct wal_position *out)
{
    return strlen(name) == SNAP_NAME_LEN && ends_with(name, ".snap") && name[16] == '-' &&
           slice_hex_to_u64(slice_of(name, 16), &out->term) == ERR_OK &&
           slice_hex_to_u64(slice_of(name + 17, 16), &out->index) == ERR_OK;
}

static bool parse_snap_db_name(const char *name, raft_index *out)
{
    return strlen(name) == SNAP_DB_NAME_LEN && ends_with(name, ".snap.db") &&
           slice_hex_to_u64(slice_of(name, 16), out) == ERR_OK;
}

/* The names of a directory that a predicate accepts, in byte order. */
struct names {
    bool (*accepts)(const char *name, void *ctx);
    void *ctx;
    struct arena arena;
    const char **list;
    size_t count;
};

static void names_add(const char *name, void *ctx)
{
    struct names *names = ctx;
    if (!names->accepts(name, names->ctx)) {
        return;
    }
    if ((names->count & (names->count - 1)) == 0) {
        size_t cap = names->count == 0 ? 1 : 2 * names->count;
        names->list = mem_realloc(names->list, cap * sizeof(names->list[0]));
    }
    names->list[names->count++] = arena_strndup(&names->arena, name, strlen(name));
}

static void names_fini(struct names *names)
{
    mem_free(names->list);
    arena_fini(&names->arena);
}

/* names_fini() after success and failure alike. */
static FALLIBLE names_list(struct disk *disk, const char *dir,
                           bool (*accepts)(const char *name, void *ctx), void *ctx,
                           struct names *out, struct errbuf *why)
{
    *out = (struct names){.accepts = accepts, .ctx = ctx};
    return disk_list(disk, dir, names_add, out, why);
}

static const char *name_path(struct names *names, const char *dir, size_t i)
{
    return arena_printf(&names->arena, "%s/%s", dir, names->list[i]);
}

/* Removes names [0, count), oldest first. */
static FALLIBLE names_remove(struct disk *disk, const char *dir, struct names *names, size_t count,
                             size_t *removed_out, struct errbuf *why)
{
    for (size_t i = 0; i < count; i++) {
        TRY(disk_unlink(disk, name_path(names, dir, i), why));
        (*removed_out)++;
    }
    return ERR_OK;
}

/* ---- saving ------------------------------------------------------------------------------ */

/* crc, then the length-prefixed snapshot, in one buffer: the snapshot is copied once. */
static void encode(const struct snap *snap, struct buf *out)
{
    struct raftpb_snapshot message = {
        .data = snap->data,
        .metadata = {.conf_state = raftconv_conf_state(&snap->conf_state),
                     .index = snap->index,
                     .term = snap->term},
    };
    struct buf inner = {0};
    raftpb_snapshot_put(buf_extend(&inner, raftpb_snapshot_size(&message)), &message);
    struct raftpb_snap_file file = {.crc = crc32c(0, inner.data, inner.len),
                                    .data = buf_slice(&inner)};
    raftpb_snap_file_put(buf_extend(out, raftpb_snap_file_size(&file)), &file);
    buf_fini(&inner);
}

FALLIBLE snap_save(struct disk *disk, const char *dir, const struct snap *snap, struct errbuf *why)
{
    if (snap->index == 0) {
        return errf(why, ERR_INVALID, "%s: a snapshot at index 0 cannot be saved", dir);
    }
    struct arena arena;
    struct buf bytes = {0};
    arena_init(&arena);
    encode(snap, &bytes);
    const char *name = snap_name(&arena, snap->term, snap->index);
    const char *path = arena_printf(&arena, "%s/%s", dir, name);
    const char *tmp = arena_printf(&arena, "%s/tmp.%s", dir, name);
    enum err err = disk_write_file(disk, tmp, buf_slice(&bytes), why);
    if (err == ERR_OK) {
        err = disk_rename(disk, tmp, path, why);
    }
    if (err == ERR_OK) {
        err = disk_sync_dir(disk, dir, why);
    } else if (disk_exists(disk, tmp)) {
        /* The first failure is the one to report; snap_clean() tries again. */
        enum err ignored = disk_unlink(disk, tmp, NULL);
        UNUSED(ignored);
    }
    buf_fini(&bytes);
    arena_fini(&arena);
    return err;
}

/* ---- loading ----------------------------------------------------------------------------- */

static enum err corrupt(const char *path, const char *what, struct errbuf *why)
{
    return errf(why, ERR_CORRUPT, "snapshot file %s: %s", path, what);
}

static FALLIBLE decode(struct arena *arena, const char *path, struct snap *snap, struct errbuf *why)
{
    struct raftpb_snap_file file;
    struct raftpb_snapshot message;
    if (snap->file.len == 0) {
        return corrupt(path, "snap: empty snapshot", why);
    }
    if (raftpb_snap_file_decode(buf_slice(&snap->file), &file) != ERR_OK) {
        return corrupt(path, "not a snapshot", why);
    }
    if (file.data.len == 0 || file.crc == 0) {
        return corrupt(path, "snap: empty snapshot", why);
    }
    if (crc32c(0, file.data.data, file.data.len) != file.crc) {
        return corrupt(path, "snap: crc mismatch", why);
    }
    if (raftpb_snapshot_decode(arena, file.data, &message) != ERR_OK) {
        return corrupt(path, "not a raft snapshot", why);
    }
    if (raftconv_conf_state_from(&message.metadata.conf_state, &snap->conf_state) != ERR_OK) {
        return corrupt(path, "an impossible set of members", why);
    }
    snap->index = message.metadata.index;
    snap->term = message.metadata.term;
    snap->data = message.data;
    return ERR_OK;
}

FALLIBLE snap_read(struct disk *disk, const char *path, struct snap *out, struct errbuf *why)
{
    struct snap snap = {0};
    struct arena arena;
    arena_init(&arena);
    enum err err = disk_read_file(disk, path, SNAP_BYTES_MAX, &snap.file, why);
    if (err == ERR_OK) {
        err = decode(&arena, path, &snap, why);
    }
    arena_fini(&arena);
    if (err != ERR_OK) {
        snap_fini(&snap);
        return err;
    }
    *out = snap;
    return ERR_OK;
}

struct wanted {
    const struct wal_position *list; /* NULL: any will do */
    size_t count;
};

static bool is_wanted(const struct wanted *wanted, const struct snap *snap)
{
    if (wanted->list == NULL) {
        return true;
    }
    for (size_t i = 0; i < wanted->count; i++) {
        if (wanted->list[i].index == snap->index && wanted->list[i].term == snap->term) {
            return true;
        }
    }
    return false;
}

static bool is_snap_name(const char *name, void *ctx)
{
    return ends_with(name, ".snap");
}

/* Out of the way, so that neither we nor etcd try it again. */
static FALLIBLE set_aside(struct disk *disk, const char *path, size_t *broken, struct errbuf *why)
{
    char *aside = mem_printf("%s.broken", path);
    enum err err = disk_rename(disk, path, aside, why);
    mem_free(aside);
    *broken += err == ERR_OK;
    return err;
}

static FALLIBLE load(struct disk *disk, const char *dir, struct names *names,
                     const struct wanted *wanted, struct snap *out, size_t *broken,
                     struct errbuf *why)
{
    for (size_t i = names->count; i > 0; i--) {
        const char *path = name_path(names, dir, i - 1);
        struct snap snap;
        enum err err = snap_read(disk, path, &snap, why);
        if (err == ERR_CORRUPT) {
            TRY(set_aside(disk, path, broken, why));
            continue;
        }
        TRY(err); /* a disk that cannot be read says nothing against the file */
        if (is_wanted(wanted, &snap)) {
            *out = snap;
            return ERR_OK;
        }
        snap_fini(&snap);
    }
    return errf(why, ERR_NOT_FOUND, "%s: snap: no available snapshot", dir);
}

static FALLIBLE load_wanted(struct disk *disk, const char *dir, const struct wanted *wanted,
                            struct snap *out, size_t *broken_out, struct errbuf *why)
{
    struct names names;
    size_t broken = 0;
    enum err err = names_list(disk, dir, is_snap_name, NULL, &names, why);
    if (err == ERR_OK) {
        err = load(disk, dir, &names, wanted, out, &broken, why);
    }
    names_fini(&names);
    if (broken_out != NULL) {
        *broken_out = broken;
    }
    return err;
}

FALLIBLE snap_load_newest(struct disk *disk, const char *dir, struct snap *out, size_t *broken_out,
                          struct errbuf *why)
{
    struct wanted any = {0};
    return load_wanted(disk, dir, &any, out, broken_out, why);
}

FALLIBLE snap_load_matching(struct disk *disk, const char *dir, const struct wal_position *list,
                            size_t count, struct snap *out, size_t *broken_out, struct errbuf *why)
{
    static const struct wal_position none[1];
    struct wanted wanted = {.list = list == NULL ? none : list, .count = count};
    return load_wanted(disk, dir, &wanted, out, broken_out, why);
}

/* ---- upkeep ------------------------------------------------------------------------------ */

static bool is_snap_db_name(const char *name, void *ctx)
{
    return ends_with(name, ".snap.db");
}

static FALLIBLE purge_kind(struct disk *disk, const char *dir,
                           bool (*accepts)(const char *name, void *ctx), size_t keep,
                           size_t *removed_out, struct errbuf *why)
{
    struct names names;
    enum err err = names_list(disk, dir, accepts, NULL, &names, why);
    if (err == ERR_OK && names.count > keep) {
        err = names_remove(disk, dir, &names, names.count - keep, removed_out, why);
    }
    names_fini(&names);
    return err;
}

FALLIBLE snap_purge(struct disk *disk, const char *dir, size_t keep, size_t *removed_out,
                    struct errbuf *why)
{
    *removed_out = 0;
    TRY(purge_kind(disk, dir, is_snap_name, keep, removed_out, why));
    return purge_kind(disk, dir, is_snap_db_name, keep, removed_out, why);
}

static bool is_leftover(const char *name, void *ctx)
{
    raft_index index = *(raft_index *)ctx;
    struct wal_position at;
    raft_index db_index;
    if (strncmp(name, "tmp", 3) == 0 || strncmp(name, "db.tmp", 6) == 0) {
        return true;
    }
    if (parse_snap_name(name, &at)) {
        return at.index > index;
    }
    return parse_snap_db_name(name, &db_index) && db_index < index;
}

FALLIBLE snap_clean(struct disk *disk, const char *dir, raft_index index, size_t *removed_out,
                    struct errbuf *why)
{
    struct names names;
    *removed_out = 0;
    enum err err = names_list(disk, dir, is_leftover, &index, &names, why);
    if (err == ERR_OK) {
        err = names_remove(disk, dir, &names, names.count, removed_out, why);
    }
    names_fini(&names);
    return err;
}
