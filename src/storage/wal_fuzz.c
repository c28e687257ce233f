/* A hostile segment. Property: what opens can be opened again, unrepaired and with the same
 * entries, and goes on: an entry appended after it comes back behind them. */
#include "storage/wal.h"

#include "base/mem.h"
#include "env/loop.h"
#include "env/posix.h"
#include "storage/wal_priv.h"

#include <stdlib.h>

#define SEGMENT_BYTES ((uint64_t)32 * 1024)
#define INPUT_BYTES_MAX ((size_t)256 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct env *env;
static struct loop *loop;
static char *dir;

static void remove_file(const char *name, void *ctx)
{
    char *path = mem_printf("%s/%s", dir, name);
    ASSERT(disk_unlink(env->disk, path, NULL) == ERR_OK);
    mem_free(path);
}

static void remove_dir(void)
{
    if (disk_list(env->disk, dir, remove_file, NULL, NULL) == ERR_OK) {
        enum err ignored = disk_rmdir(env->disk, dir, NULL);
        UNUSED(ignored);
    }
}

static void prepare(void)
{
    if (env == NULL) {
        const char *base = getenv("TMPDIR");
        env = posix_env_new();
        loop = loop_new(env);
        dir = mem_printf("%s/etcdc-wal-fuzz-XXXXXX", base == NULL ? "/var/tmp" : base);
        ASSERT(mkdtemp(dir) != NULL);
        atexit(remove_dir);
    }
    ASSERT(disk_list(env->disk, dir, remove_file, NULL, NULL) == ERR_OK);
}

static enum err open_log(struct wal **wal, struct wal_contents *contents)
{
    struct wal_config config = {
        .env = env, .dir = dir, .segment_bytes = SEGMENT_BYTES, .unsafe_no_fsync = true};
    struct errbuf why = {.text = ""};
    enum err err = wal_open(&config, (struct wal_position){0}, wal, contents, &why);
    ASSERT(err == ERR_OK || why.text[0] != '\0');
    return err;
}

static bool written;

static void on_done(struct wal_write *write)
{
    written = true;
}

static void append(struct wal *wal, raft_index index)
{
    struct raft_entry entry = {.index = index, .term = 1, .payload = raft_payload_new(100)};
    memset(entry.payload->bytes, 0x5a, 100);
    struct wal_write write = {
        .entries = &entry, .entry_count = 1, .must_sync = true, .done = on_done};
    written = false;
    wal_append(wal, &write);
    while (!written) {
        loop_turn(loop, true);
    }
    raft_payload_unref(&entry.payload);
}

static void check_same(const struct wal_contents *a, const struct wal_contents *b, size_t count)
{
    ASSERT(b->entry_count >= count);
    for (size_t i = 0; i < count; i++) {
        ASSERT(a->entries[i].index == b->entries[i].index);
        ASSERT(a->entries[i].term == b->entries[i].term);
        ASSERT(slice_eq(raft_payload_slice(a->entries[i].payload),
                        raft_payload_slice(b->entries[i].payload)));
    }
}

/* Two segments: the input, split at a byte the input names, or one. */
static void write_segments(const uint8_t *data, size_t size)
{
    size_t split = size;
    if (size > 2 && data[0] == 0xff) {
        split = 2 + data[1] * (size - 2) / 256;
    }
    struct slice first = slice_of(data, split);
    if (split < size) {
        first = slice_skip(first, 2);
        char *second = wal__path(dir, (struct wal__segment){.seq = 1, .first = 3});
        ASSERT(disk_write_file(env->disk, second, slice_of(data + split, size - split), NULL) ==
               ERR_OK);
        mem_free(second);
    }
    char *path = wal__path(dir, (struct wal__segment){0});
    ASSERT(disk_write_file(env->disk, path, first, NULL) == ERR_OK);
    mem_free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wal *wal;
    struct wal_contents before;
    struct wal_contents after;
    struct wal_position *snapshots;
    size_t count;
    if (size > INPUT_BYTES_MAX) {
        return 0;
    }
    prepare();
    write_segments(data, size);
    if (wal_snapshots(env->disk, dir, &snapshots, &count, NULL) == ERR_OK) {
        mem_free(snapshots);
    }
    if (open_log(&wal, &before) != ERR_OK) {
        return 0;
    }
    wal_check(wal);
    raft_index next = before.entry_count + 1;
    append(wal, next);
    wal_close(&wal);
    ASSERT(open_log(&wal, &after) == ERR_OK);
    ASSERT(after.repaired == NULL);
    ASSERT(after.entry_count == next);
    check_same(&before, &after, before.entry_count);
    wal_close(&wal);
    wal_contents_fini(&before);
    wal_contents_fini(&after);
    return 0;
}
