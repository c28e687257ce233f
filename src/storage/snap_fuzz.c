/* A hostile .snap file. Property: what loads, saves and loads again as the same. */
#include "storage/snap.h"

#include "base/digest.h"
#include "codec/raftpb.h"
#include "env/posix.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *dir;

static void remove_dir(void)
{
    char *path = mem_printf("%s/in", dir);
    if (disk_unlink(posix_disk(), path, NULL) == ERR_OK) {
        enum err ignored = disk_rmdir(posix_disk(), dir, NULL);
        UNUSED(ignored);
    }
    mem_free(path);
}

static void prepare(void)
{
    if (dir == NULL) {
        const char *base = getenv("TMPDIR");
        dir = mem_printf("%s/etcdc-snap-fuzz-XXXXXX", base == NULL ? "/var/tmp" : base);
        ASSERT(mkdtemp(dir) != NULL);
        atexit(remove_dir);
    }
}

static void save_and_compare(const struct snap *snap)
{
    struct arena arena;
    struct snap again;
    arena_init(&arena);
    ASSERT(snap_save(posix_disk(), dir, snap, NULL) == ERR_OK);
    const char *name = snap_name(&arena, snap->term, snap->index);
    const char *path = arena_printf(&arena, "%s/%s", dir, name);
    ASSERT(snap_read(posix_disk(), path, &again, NULL) == ERR_OK);
    ASSERT(again.index == snap->index);
    ASSERT(again.term == snap->term);
    ASSERT(slice_eq(again.data, snap->data));
    ASSERT(again.conf_state.voters.count == snap->conf_state.voters.count);
    ASSERT(again.conf_state.auto_leave == snap->conf_state.auto_leave);
    ASSERT(disk_unlink(posix_disk(), path, NULL) == ERR_OK);
    snap_fini(&again);
    arena_fini(&arena);
}

/* The file as it is, and its bytes as the inside of one with a right checksum: a fuzzer does not
 * find checksums. */
static void try_file(struct slice bytes)
{
    struct arena arena;
    struct snap snap;
    struct errbuf why = {.text = ""};
    arena_init(&arena);
    const char *path = arena_printf(&arena, "%s/in", dir);
    ASSERT(disk_write_file(posix_disk(), path, bytes, NULL) == ERR_OK);
    enum err err = snap_read(posix_disk(), path, &snap, &why);
    if (err == ERR_OK) {
        if (snap.index > 0) {
            save_and_compare(&snap);
        }
        snap_fini(&snap);
    } else {
        ASSERT(err == ERR_CORRUPT);
        ASSERT(why.text[0] != '\0');
    }
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    prepare();
    try_file(slice_of(data, size));
    struct raftpb_snap_file file = {.crc = crc32c(0, data, size), .data = slice_of(data, size)};
    struct buf wrapped = {0};
    raftpb_snap_file_put(buf_extend(&wrapped, raftpb_snap_file_size(&file)), &file);
    try_file(buf_slice(&wrapped));
    buf_fini(&wrapped);
    return 0;
}
