/* Making a log, finding one, and throwing old segments away. */
#include "storage/wal_priv.h"

#include "base/mem.h"

struct finder {
    bool has_log;
    bool has_any;
};

static void find_one(const char *name, void *ctx)
{
    struct finder *finder = ctx;
    size_t len = strlen(name);
    finder->has_any = true;
    if (len >= 4 && strcmp(name + len - 4, ".wal") == 0) {
        finder->has_log = true;
    }
}

enum err wal_exists(struct disk *disk, const char *dir, bool *out, struct errbuf *why)
{
    struct finder finder = {0};
    enum err err = disk_list(disk, dir, find_one, &finder, why);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        return err;
    }
    *out = finder.has_log;
    return ERR_OK;
}

/* ---- creating ---------------------------------------------------------------------------- */

static FALLIBLE fill_first_segment(struct file *file, struct slice metadata, uint64_t segment_bytes,
                                   struct errbuf *why)
{
    struct buf out = {0};
    uint32_t crc = 0;
    wal__put_record(&out, &crc, WAL_RECORD_CRC, SLICE_EMPTY, SLICE_EMPTY);
    wal__put_record(&out, &crc, WAL_RECORD_METADATA, metadata, SLICE_EMPTY);
    wal__put_snapshot(&out, &crc, (struct wal_position){0}, NULL);
    enum err err = file_preallocate(file, segment_bytes, why);
    if (err == ERR_OK) {
        err = file_pwrite(file, out.data, out.len, 0, why);
    }
    if (err == ERR_OK) {
        err = file_sync(file, why);
    }
    buf_fini(&out);
    return err;
}

static FALLIBLE make_first_segment(struct disk *disk, const char *path, struct slice metadata,
                                   uint64_t segment_bytes, struct errbuf *why)
{
    struct file *file = NULL;
    TRY(disk_open(disk, path, FILE_READ | FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &file, why));
    enum err err = fill_first_segment(file, metadata, segment_bytes, why);
    file_close(&file);
    return err;
}

/* The directory that holds `path`: everything before the last '/', "/" or ".". */
static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return mem_strdup(".");
    }
    if (slash == path) {
        return mem_strdup("/");
    }
    return mem_printf("%.*s", (int)(slash - path), path);
}

struct remover {
    struct disk *disk;
    const char *dir;
    enum err err;
    struct errbuf *why;
};

static void remove_one(const char *name, void *ctx)
{
    struct remover *remover = ctx;
    if (remover->err == ERR_OK) {
        char *path = mem_printf("%s/%s", remover->dir, name);
        remover->err = disk_unlink(remover->disk, path, remover->why);
        mem_free(path);
    }
}

/* What a creation that was cut short left behind: a directory with one file. */
static FALLIBLE remove_leftover(struct disk *disk, const char *dir, struct errbuf *why)
{
    struct remover remover = {.disk = disk, .dir = dir, .why = why};
    if (!disk_exists(disk, dir)) {
        return ERR_OK;
    }
    TRY(disk_list(disk, dir, remove_one, &remover, why));
    TRY(remover.err);
    return disk_rmdir(disk, dir, why);
}

/* Above the first, a directory that may not be read is somebody else's and older than we. */
FALLIBLE wal__sync_ancestors(struct disk *disk, const char *dir, struct errbuf *why)
{
    char *at = parent_of(dir);
    enum err err = disk_sync_dir(disk, at, why);
    while (err == ERR_OK && strcmp(at, "/") != 0 && strcmp(at, ".") != 0) {
        char *above = parent_of(at);
        mem_free(at);
        at = above;
        enum err ignored = disk_sync_dir(disk, at, NULL);
        UNUSED(ignored);
    }
    mem_free(at);
    return err;
}

/* In "<dir>.tmp", which then becomes `dir`. */
static FALLIBLE create_by_rename(struct disk *disk, const char *dir, const char *tmp_dir,
                                 struct slice metadata, uint64_t segment_bytes, struct errbuf *why)
{
    TRY(remove_leftover(disk, tmp_dir, why));
    TRY(disk_mkdir_all(disk, tmp_dir, 0700, why));
    char *path = wal__path(tmp_dir, (struct wal__segment){0});
    enum err err = make_first_segment(disk, path, metadata, segment_bytes, why);
    mem_free(path);
    TRY(err);
    TRY(disk_sync_dir(disk, tmp_dir, why));
    TRY(disk_rename(disk, tmp_dir, dir, why));
    return wal__sync_ancestors(disk, dir, why);
}

/* Inside a directory that has to stay, such as a mount point. */
static FALLIBLE create_in_place(struct disk *disk, const char *dir, struct slice metadata,
                                uint64_t segment_bytes, struct errbuf *why)
{
    char *tmp = mem_printf("%s/0.tmp", dir);
    char *path = wal__path(dir, (struct wal__segment){0});
    enum err err = make_first_segment(disk, tmp, metadata, segment_bytes, why);
    if (err == ERR_OK) {
        err = disk_rename(disk, tmp, path, why);
    }
    if (err == ERR_OK) {
        err = disk_sync_dir(disk, dir, why);
    }
    if (err == ERR_OK) {
        err = wal__sync_ancestors(disk, dir, why);
    }
    mem_free(tmp);
    mem_free(path);
    return err;
}

FALLIBLE wal_create(struct disk *disk, const char *dir, struct slice metadata,
                    uint64_t segment_bytes, struct errbuf *why)
{
    bool is_there = false;
    TRY(wal_exists(disk, dir, &is_there, why));
    if (is_there) {
        return errf(why, ERR_EXISTS, "%s: there is a write-ahead log already", dir);
    }
    /* Metadata without fields is still there: Go's reader tells nil from empty. */
    struct slice present = metadata.data == NULL ? SLICE("") : metadata;
    uint64_t bytes = segment_bytes == 0 ? WAL_SEGMENT_BYTES : segment_bytes;
    if (disk_exists(disk, dir) && disk_rmdir(disk, dir, NULL) != ERR_OK) {
        return create_in_place(disk, dir, present, bytes, why);
    }
    char *tmp_dir = mem_printf("%s.tmp", dir);
    enum err err = create_by_rename(disk, dir, tmp_dir, present, bytes, why);
    mem_free(tmp_dir);
    return err;
}

/* ---- purging ----------------------------------------------------------------------------- */

/* ERR_LOCKED: still in use. */
static FALLIBLE purge_one(struct disk *disk, const char *path, struct errbuf *why)
{
    struct file *file = NULL;
    TRY(disk_open(disk, path, FILE_READ | FILE_WRITE, &file, why));
    enum err err = file_lock(file, FILE_LOCK_OFD_EXCLUSIVE, why);
    if (err == ERR_OK) {
        err = disk_unlink(disk, path, why);
    }
    file_close(&file);
    return err;
}

static FALLIBLE purge_segments(struct disk *disk, const char *dir,
                               const struct wal__segments *segments, size_t keep,
                               size_t *removed_out, struct errbuf *why)
{
    for (size_t i = 0; i + keep < segments->count; i++) {
        char *path = wal__path(dir, segments->list[i]);
        enum err err = purge_one(disk, path, why);
        mem_free(path);
        if (err == ERR_LOCKED) { /* this one and all after it are in use */
            return ERR_OK;
        }
        TRY(err);
        (*removed_out)++;
    }
    return ERR_OK;
}

FALLIBLE wal_purge(struct disk *disk, const char *dir, size_t keep, size_t *removed_out,
                   struct errbuf *why)
{
    struct wal__segments segments;
    *removed_out = 0;
    TRY(wal__list(disk, dir, &segments, why));
    enum err err = purge_segments(disk, dir, &segments, keep, removed_out, why);
    wal__segments_fini(&segments);
    return err;
}
