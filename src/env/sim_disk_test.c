#include "base/mem.h"
#include "env/sim.h"

#include "unit.h"

#include <stdio.h>
#include <string.h>

#define SECTOR ((size_t)512)

static struct file *open_rw(struct disk *disk, const char *path)
{
    struct file *file = NULL;
    struct errbuf why;
    if (disk_open(disk, path, FILE_READ | FILE_WRITE | FILE_CREATE, &file, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    return file;
}

static void put(struct file *file, const char *text, uint64_t offset)
{
    assert_int_equal(file_pwrite(file, text, strlen(text), offset, NULL), ERR_OK);
}

/* A file with durable name and bytes. */
static void make_durable(struct disk *disk, const char *path, const char *text)
{
    assert_int_equal(disk_write_file(disk, path, slice_str(text), NULL), ERR_OK);
    assert_int_equal(disk_sync_dir(disk, "/", NULL), ERR_OK);
}

static void assert_content(struct disk *disk, const char *path, const char *expected)
{
    struct buf out = {0};
    struct errbuf why = {""};
    enum err err = disk_read_file(disk, path, 1 << 20, &out, &why);
    if (expected == NULL) {
        assert_int_equal(err, ERR_NOT_FOUND);
    } else {
        assert_string_equal(why.text, "");
        assert_string_equal(buf_cstr(&out), expected);
    }
    buf_fini(&out);
}

static void crash_and_check(struct disk *disk, enum sim_crash policy, uint64_t seed)
{
    sim_disk_crash(disk, policy, seed);
    sim_disk_check(disk);
    assert_true(sim_disk_digest(disk) == sim_disk_digest_durable(disk));
}

/* ---- as a disk ----------------------------------------------------------------------------- */

static void collect(const char *name, void *ctx)
{
    buf_printf(ctx, "%s ", name);
}

TEST(sim_disk, it_behaves_as_a_file_system)
{
    struct disk *disk = sim_disk_new();
    struct buf names = {0};
    struct errbuf why;
    struct file_info info;
    struct file *file = NULL;
    assert_int_equal(disk_mkdir_all(disk, "/data/member/wal", 0700, &why), ERR_OK);
    assert_int_equal(disk_write_file(disk, "data/member/./wal/../b", SLICE("2"), &why), ERR_OK);
    assert_int_equal(disk_write_file(disk, "/data//member/a", SLICE("1"), &why), ERR_OK);
    assert_int_equal(disk_list(disk, "/data/member", collect, &names, &why), ERR_OK);
    assert_string_equal(buf_cstr(&names), "a b wal ");
    assert_int_equal(disk_rename(disk, "/data/member/a", "/data/member/b", &why), ERR_OK);
    assert_content(disk, "/data/member/b", "1");
    assert_content(disk, "/data/member/a", NULL);
    assert_int_equal(disk_stat(disk, "/data/member", &info, &why), ERR_OK);
    assert_true(info.is_dir);
    assert_int_equal(info.mode, 0700);

    assert_int_equal(disk_rmdir(disk, "/data/member", &why), ERR_IO);
    assert_int_equal(disk_rmdir(disk, "/data/member/b", &why), ERR_IO);
    assert_int_equal(disk_unlink(disk, "/data/member/wal", &why), ERR_IO);
    assert_int_equal(disk_unlink(disk, "/data/x", &why), ERR_NOT_FOUND);
    assert_string_equal(why.text, "unlink /data/x: no such file or directory");
    assert_int_equal(disk_mkdir(disk, "/data", 0700, &why), ERR_EXISTS);
    assert_int_equal(disk_mkdir(disk, "/no/where", 0700, &why), ERR_NOT_FOUND);
    assert_int_equal(disk_rename(disk, "/data/x", "/y", &why), ERR_NOT_FOUND);
    assert_int_equal(disk_rename(disk, "/data/member/b", "/data", &why), ERR_IO);
    assert_int_equal(disk_open(disk, "/data/x", FILE_READ, &file, &why), ERR_NOT_FOUND);
    assert_int_equal(disk_open(disk, "/data/member/b/c", FILE_READ, &file, &why), ERR_IO);
    assert_int_equal(disk_open(disk, "/data", FILE_READ | FILE_WRITE, &file, &why), ERR_IO);
    assert_int_equal(
        disk_open(disk, "/data/member/b", FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE, &file, &why),
        ERR_EXISTS);
    assert_null(file);
    assert_int_equal(disk_rmdir(disk, "/data/member/wal", &why), ERR_OK);
    assert_false(disk_exists(disk, "/data/member/wal"));
    sim_disk_check(disk);
    buf_fini(&names);
    sim_disk_free(&disk);
    assert_null(disk);
}

TEST(sim_disk, bytes_sizes_and_holes_are_as_written)
{
    struct disk *disk = sim_disk_new();
    struct file *file = open_rw(disk, "a");
    char data[16];
    size_t got;
    uint64_t size;
    put(file, "hello", 4094); /* across pages */
    assert_int_equal(file_size(file, &size, NULL), ERR_OK);
    assert_int_equal(size, 4099);
    assert_int_equal(file_pread(file, data, 16, 4092, &got, NULL), ERR_OK);
    assert_int_equal(got, 7);
    assert_memory_equal(data, "\0\0hello", 7);
    assert_int_equal(file_truncate(file, 4096, NULL), ERR_OK);
    assert_int_equal(file_preallocate(file, 10000, NULL), ERR_OK);
    assert_int_equal(file_pread(file, data, 8, 4092, &got, NULL), ERR_OK);
    assert_memory_equal(data, "\0\0he\0\0\0\0", 8);
    assert_int_equal(file_preallocate(file, 10, NULL), ERR_OK);
    assert_int_equal(file_size(file, &size, NULL), ERR_OK);
    assert_int_equal(size, 10000);
    assert_int_equal(sim_disk_used(disk), 10000);
    const uint8_t *base;
    assert_int_equal(file_map(file, 100, &base, NULL), ERR_UNSUPPORTED);
    struct errbuf why;
    assert_int_equal(file_pwrite(file, "x", 1, UINT64_MAX - 5, &why), ERR_IO);
    sim_disk_check(disk);
    file_close(&file);
    sim_disk_free(&disk);
}

TEST(sim_disk, modes_and_open_flags_are_obeyed)
{
    struct disk *disk = sim_disk_new();
    struct file *file = NULL;
    struct errbuf why;
    size_t got;
    char byte;
    make_durable(disk, "a", "x");
    assert_int_equal(disk_open(disk, "a", FILE_READ, &file, &why), ERR_OK);
    assert_int_equal(file_pwrite(file, "y", 1, 0, &why), ERR_IO);
    file_close(&file);
    assert_int_equal(disk_open(disk, "a", FILE_WRITE, &file, &why), ERR_OK);
    assert_int_equal(file_pread(file, &byte, 1, 0, &got, &why), ERR_IO);
    file_close(&file);
    assert_int_equal(disk_chmod(disk, "a", 0400, &why), ERR_OK);
    assert_int_equal(disk_open(disk, "a", FILE_WRITE, &file, &why), ERR_PERM);
    assert_int_equal(disk_chmod(disk, "/", 0500, &why), ERR_OK);
    assert_int_equal(disk_open(disk, "b", FILE_WRITE | FILE_CREATE, &file, &why), ERR_PERM);
    assert_int_equal(disk_mkdir(disk, "b", 0700, &why), ERR_PERM);
    assert_int_equal(disk_unlink(disk, "a", &why), ERR_PERM);
    assert_int_equal(disk_rename(disk, "a", "b", &why), ERR_PERM);
    assert_null(file);
    sim_disk_free(&disk);
}

TEST(sim_disk, locks_keep_out_other_handles_until_closed)
{
    static const struct {
        enum file_lock first;
        enum file_lock second;
        enum err err;
    } cases[] = {
        {FILE_LOCK_FLOCK_EXCLUSIVE, FILE_LOCK_FLOCK_EXCLUSIVE, ERR_LOCKED},
        {FILE_LOCK_FLOCK_EXCLUSIVE, FILE_LOCK_FLOCK_SHARED, ERR_LOCKED},
        {FILE_LOCK_FLOCK_SHARED, FILE_LOCK_FLOCK_EXCLUSIVE, ERR_LOCKED},
        {FILE_LOCK_FLOCK_SHARED, FILE_LOCK_FLOCK_SHARED, ERR_OK},
        {FILE_LOCK_OFD_EXCLUSIVE, FILE_LOCK_OFD_EXCLUSIVE, ERR_LOCKED},
        {FILE_LOCK_OFD_EXCLUSIVE, FILE_LOCK_FLOCK_EXCLUSIVE, ERR_OK},
    };
    struct disk *disk = sim_disk_new();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct file *first = open_rw(disk, "a");
        struct file *second = open_rw(disk, "a");
        assert_int_equal(file_lock(first, cases[i].first, NULL), ERR_OK);
        assert_int_equal(file_lock(first, cases[i].first, NULL), ERR_OK);
        assert_int_equal(file_lock(second, cases[i].second, NULL), cases[i].err);
        file_close(&first);
        assert_int_equal(file_lock(second, cases[i].second, NULL), ERR_OK);
        file_close(&second);
    }
    struct file *holder = open_rw(disk, "a");
    assert_int_equal(file_lock(holder, FILE_LOCK_FLOCK_EXCLUSIVE, NULL), ERR_OK);
    sim_disk_crash(disk, SIM_CRASH_KEEP, 0);
    struct file *next = open_rw(disk, "a");
    assert_int_equal(file_lock(next, FILE_LOCK_FLOCK_EXCLUSIVE, NULL), ERR_OK);
    file_close(&holder); /* of before the crash: does not release the new lock */
    holder = open_rw(disk, "a");
    assert_int_equal(file_lock(holder, FILE_LOCK_FLOCK_SHARED, NULL), ERR_LOCKED);
    file_close(&holder);
    file_close(&next);
    sim_disk_free(&disk);
}

/* ---- crashes --------------------------------------------------------------------------------- */

TEST(sim_disk, synced_bytes_under_synced_names_survive_every_crash)
{
    for (unsigned policy = 0; policy < SIM_CRASH_COUNT; policy++) {
        for (uint64_t seed = 0; seed < 50; seed++) {
            struct disk *disk = sim_disk_new();
            make_durable(disk, "a", "precious");
            struct file *file = open_rw(disk, "a");
            put(file, "more", 8);
            crash_and_check(disk, (enum sim_crash)policy, seed);
            struct buf out = {0};
            assert_int_equal(disk_read_file(disk, "a", 100, &out, NULL), ERR_OK);
            assert_true(out.len >= 8);
            assert_memory_equal(out.data, "precious", 8);
            buf_fini(&out);
            file_close(&file);
            sim_disk_free(&disk);
        }
    }
}

TEST(sim_disk, losing_leaves_what_was_synced_and_keeping_leaves_all)
{
    struct disk *disk = sim_disk_new();
    make_durable(disk, "a", "old");
    struct file *file = open_rw(disk, "a");
    put(file, "new text", 0);
    assert_int_equal(disk_write_file(disk, "b", SLICE("synced, but not its name"), NULL), ERR_OK);
    struct disk *kept = sim_disk_clone(disk);
    uint64_t before = sim_disk_digest(disk);
    crash_and_check(kept, SIM_CRASH_KEEP, 1);
    assert_true(sim_disk_digest(kept) == before);
    assert_content(kept, "a", "new text");
    crash_and_check(disk, SIM_CRASH_LOSE, 1);
    assert_content(disk, "a", "old");
    assert_content(disk, "b", NULL);
    assert_content(kept, "b", "synced, but not its name");
    file_close(&file);
    sim_disk_free(&disk);
    sim_disk_free(&kept);
}

TEST(sim_disk, a_name_needs_its_directory_synced_and_bytes_their_file)
{
    struct disk *disk = sim_disk_new();
    struct file *file = open_rw(disk, "a");
    put(file, "bytes", 0);
    assert_int_equal(disk_sync_dir(disk, "/", NULL), ERR_OK);
    crash_and_check(disk, SIM_CRASH_LOSE, 0);
    assert_content(disk, "a", ""); /* the name, without the bytes */
    file_close(&file);
    assert_int_equal(disk_mkdir(disk, "/d", 0700, NULL), ERR_OK);
    assert_int_equal(disk_write_file(disk, "/d/x", SLICE("1"), NULL), ERR_OK);
    assert_int_equal(disk_sync_dir(disk, "/d", NULL), ERR_OK);
    crash_and_check(disk, SIM_CRASH_LOSE, 0);
    assert_false(disk_exists(disk, "/d")); /* "/" was not synced */
    sim_disk_free(&disk);
}

TEST(sim_disk, an_unsynced_rename_leaves_the_old_or_the_new_and_never_neither)
{
    unsigned seen[2] = {0};
    for (uint64_t seed = 0; seed < 100; seed++) {
        for (unsigned policy = 0; policy < SIM_CRASH_COUNT; policy++) {
            struct disk *disk = sim_disk_new();
            make_durable(disk, "a", "old");
            make_durable(disk, "a.tmp", "new");
            assert_int_equal(disk_rename(disk, "a.tmp", "a", NULL), ERR_OK);
            assert_content(disk, "a", "new");
            crash_and_check(disk, (enum sim_crash)policy, seed);
            bool is_new = !disk_exists(disk, "a.tmp");
            assert_content(disk, "a", is_new ? "new" : "old");
            assert_content(disk, "a.tmp", is_new ? NULL : "new");
            seen[is_new]++;
            sim_disk_free(&disk);
        }
    }
    assert_true(seen[0] > 100 && seen[1] > 100);
}

TEST(sim_disk, syncing_a_directory_makes_a_rename_into_it_durable_at_both_ends)
{
    struct disk *disk = sim_disk_new();
    assert_int_equal(disk_mkdir(disk, "/from", 0700, NULL), ERR_OK);
    assert_int_equal(disk_mkdir(disk, "/to", 0700, NULL), ERR_OK);
    assert_int_equal(disk_sync_dir(disk, "/", NULL), ERR_OK);
    assert_int_equal(disk_write_file(disk, "/from/x", SLICE("1"), NULL), ERR_OK);
    assert_int_equal(disk_write_file(disk, "/from/other", SLICE("2"), NULL), ERR_OK);
    assert_int_equal(disk_rename(disk, "/from/x", "/to/y", NULL), ERR_OK);
    assert_int_equal(disk_sync_dir(disk, "/to", NULL), ERR_OK);
    crash_and_check(disk, SIM_CRASH_LOSE, 0);
    assert_content(disk, "/to/y", "1");
    assert_content(disk, "/from/x", NULL);
    assert_content(disk, "/from/other", NULL); /* independent of the rename */
    sim_disk_free(&disk);
}

TEST(sim_disk, unsynced_names_survive_one_by_one_when_reordered)
{
    unsigned seen[4] = {0};
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct disk *disk = sim_disk_new();
        assert_int_equal(disk_write_file(disk, "a", SLICE("1"), NULL), ERR_OK);
        assert_int_equal(disk_write_file(disk, "b", SLICE("2"), NULL), ERR_OK);
        crash_and_check(disk, SIM_CRASH_REORDER, seed);
        seen[disk_exists(disk, "a") * 2 + disk_exists(disk, "b")]++;
        sim_disk_free(&disk);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_true(seen[i] > 20);
    }
}

TEST(sim_disk, a_torn_crash_keeps_a_prefix_of_the_operations_cut_at_a_sector)
{
    bool seen_torn = false;
    bool seen_whole = false;
    bool seen_none = false;
    for (uint64_t seed = 0; seed < 200; seed++) {
        static char text[8 * 512 + 1];
        struct disk *disk = sim_disk_new();
        make_durable(disk, "a", "");
        struct file *file = open_rw(disk, "a");
        memset(text, '1', sizeof(text) - 1);
        assert_int_equal(file_pwrite(file, text, 4 * SECTOR, 100, NULL), ERR_OK);
        memset(text, '2', sizeof(text) - 1);
        assert_int_equal(file_pwrite(file, text, 4 * SECTOR, 100 + 4 * SECTOR, NULL), ERR_OK);
        crash_and_check(disk, SIM_CRASH_TEAR, seed);
        struct buf out = {0};
        assert_int_equal(disk_read_file(disk, "a", 1 << 20, &out, NULL), ERR_OK);
        bool is_whole = out.len == 100 + 8 * SECTOR;
        seen_whole |= is_whole;
        seen_none |= out.len == 0;
        seen_torn |= out.len > 0 && out.len % SECTOR == 0;
        assert_true(is_whole || out.len % SECTOR == 0 || out.len == 100 + 4 * SECTOR);
        for (size_t i = 100; i < out.len; i++) {
            assert_int_equal(out.data[i], i < 100 + 4 * SECTOR ? '1' : '2');
        }
        buf_fini(&out);
        file_close(&file);
        sim_disk_free(&disk);
    }
    assert_true(seen_torn && seen_whole && seen_none);
}

TEST(sim_disk, reordering_may_keep_a_later_sector_and_lose_an_earlier_one)
{
    unsigned seen[4] = {0};
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct disk *disk = sim_disk_new();
        static char old_text[1025];
        memset(old_text, '-', 1024);
        make_durable(disk, "a", old_text);
        struct file *file = open_rw(disk, "a");
        put(file, "1", 0);
        put(file, "2", 512);
        crash_and_check(disk, SIM_CRASH_REORDER, seed);
        struct buf out = {0};
        assert_int_equal(disk_read_file(disk, "a", 1 << 20, &out, NULL), ERR_OK);
        assert_int_equal(out.len, 1024);
        seen[(out.data[0] == '1') * 2 + (out.data[512] == '2')]++;
        buf_fini(&out);
        file_close(&file);
        sim_disk_free(&disk);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_true(seen[i] > 20);
    }
}

TEST(sim_disk, bytes_cut_off_do_not_come_back_behind_a_later_write)
{
    bool seen_old = false;
    bool seen_new = false;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct disk *disk = sim_disk_new();
        make_durable(disk, "a", "oldoldold");
        struct file *file = open_rw(disk, "a");
        assert_int_equal(file_truncate(file, 0, NULL), ERR_OK);
        put(file, "new", 0);
        assert_int_equal(file_preallocate(file, 9, NULL), ERR_OK);
        crash_and_check(disk, SIM_CRASH_REORDER, seed);
        struct buf out = {0};
        assert_int_equal(disk_read_file(disk, "a", 100, &out, NULL), ERR_OK);
        static const char old[] = "oldoldold";
        static const char new[] = "new\0\0\0\0\0\0";
        static const char zero[9];
        bool is_old = out.len == 9 && memcmp(out.data, old, 9) == 0;
        bool is_new = out.len <= 9 && (out.len == 0 || memcmp(out.data, new, out.len) == 0);
        bool is_zero = out.len <= 9 && (out.len == 0 || memcmp(out.data, zero, out.len) == 0);
        assert_true(is_old || is_new || is_zero);
        seen_old |= is_old;
        seen_new |= is_new && out.len == 9;
        buf_fini(&out);
        file_close(&file);
        sim_disk_free(&disk);
    }
    assert_true(seen_old && seen_new);
}

/* ---- a random workload against a model ------------------------------------------------------- */

#define MODEL_SECTORS 12
#define MODEL_VERSIONS 64

/* Every content a sector has had since its last sync; [0] is the synced one. Sizes likewise. */
struct model {
    uint8_t sectors[MODEL_SECTORS][MODEL_VERSIONS][512];
    unsigned version_count[MODEL_SECTORS];
    size_t sizes[MODEL_VERSIONS];
    unsigned size_count;
};

static void model_write(struct model *model, const uint8_t *data, size_t len, size_t offset)
{
    for (size_t s = offset / SECTOR; s * SECTOR < offset + len; s++) {
        unsigned last = model->version_count[s] - 1;
        uint8_t *next = model->sectors[s][last + 1];
        memcpy(next, model->sectors[s][last], SECTOR);
        for (size_t i = 0; i < SECTOR; i++) {
            size_t at = s * SECTOR + i;
            if (at >= offset && at < offset + len) {
                next[i] = data[at - offset];
            }
        }
        model->version_count[s]++;
    }
    size_t size = model->sizes[model->size_count - 1];
    model->sizes[model->size_count++] = offset + len > size ? offset + len : size;
}

static void model_sync(struct model *model)
{
    for (size_t s = 0; s < MODEL_SECTORS; s++) {
        memmove(model->sectors[s][0], model->sectors[s][model->version_count[s] - 1], SECTOR);
        model->version_count[s] = 1;
    }
    model->sizes[0] = model->sizes[model->size_count - 1];
    model->size_count = 1;
}

static bool model_allows_sector(const struct model *model, size_t sector, const uint8_t *bytes,
                                size_t len)
{
    for (unsigned v = 0; v < model->version_count[sector]; v++) {
        if (memcmp(model->sectors[sector][v], bytes, len) == 0) {
            return true;
        }
    }
    return false;
}

static void assert_model_allows(const struct model *model, struct disk *disk)
{
    struct buf out = {0};
    assert_int_equal(disk_read_file(disk, "f", 1 << 20, &out, NULL), ERR_OK);
    assert_true(out.len >= model->sizes[0]);
    assert_true(out.len <= model->sizes[model->size_count - 1]);
    for (size_t s = 0; s * SECTOR < out.len; s++) {
        size_t left = out.len - s * SECTOR;
        assert_true(
            model_allows_sector(model, s, out.data + s * SECTOR, left < SECTOR ? left : SECTOR));
    }
    buf_fini(&out);
}

TEST(sim_disk, after_any_crash_each_sector_is_one_it_has_been_since_the_sync)
{
    static struct model model;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct sim_rng rng;
        sim_rng_init(&rng, seed);
        struct disk *disk = sim_disk_new();
        make_durable(disk, "f", "");
        struct file *file = open_rw(disk, "f");
        memset(&model, 0, sizeof(model));
        model.size_count = 1;
        for (size_t s = 0; s < MODEL_SECTORS; s++) {
            model.version_count[s] = 1;
        }
        unsigned steps = 1 + (unsigned)sim_rng_below(&rng, 40);
        for (unsigned i = 0; i < steps; i++) {
            if (sim_rng_chance(&rng, 10)) {
                assert_int_equal(file_sync_data(file, NULL), ERR_OK);
                model_sync(&model);
            } else {
                uint8_t data[2000];
                size_t offset = (size_t)sim_rng_below(&rng, 4000);
                size_t len = 1 + (size_t)sim_rng_below(&rng, sizeof(data));
                memset(data, (int)i + 1, len);
                assert_int_equal(file_pwrite(file, data, len, offset, NULL), ERR_OK);
                model_write(&model, data, len, offset);
            }
            sim_disk_check(disk);
        }
        for (unsigned policy = 0; policy < SIM_CRASH_COUNT; policy++) {
            struct disk *one = sim_disk_clone(disk);
            struct disk *two = sim_disk_clone(disk);
            crash_and_check(one, (enum sim_crash)policy, seed);
            crash_and_check(two, (enum sim_crash)policy, seed);
            assert_true(sim_disk_digest(one) == sim_disk_digest(two));
            assert_model_allows(&model, one);
            sim_disk_free(&one);
            sim_disk_free(&two);
        }
        file_close(&file);
        sim_disk_free(&disk);
    }
}

TEST(sim_disk, another_seed_gives_another_outcome)
{
    struct disk *disk = sim_disk_new();
    make_durable(disk, "f", "");
    struct file *file = open_rw(disk, "f");
    static char data[64 * 512];
    memset(data, 'x', sizeof(data));
    assert_int_equal(file_pwrite(file, data, sizeof(data), 0, NULL), ERR_OK);
    struct disk *one = sim_disk_clone(disk);
    struct disk *two = sim_disk_clone(disk);
    crash_and_check(one, SIM_CRASH_REORDER, 1);
    crash_and_check(two, SIM_CRASH_REORDER, 2);
    assert_true(sim_disk_digest(one) != sim_disk_digest(two));
    sim_disk_free(&one);
    sim_disk_free(&two);
    file_close(&file);
    sim_disk_free(&disk);
}

/* ---- crash points, faults, rot ------------------------------------------------------------- */

/* A file replaced safely, n times: "v1" … "vn", as an atomic writer does it. Stops at the first
 * failure; returns the last version whose replacement was acknowledged. */
static unsigned replace_safely(struct disk *disk, unsigned count)
{
    unsigned acknowledged = 0;
    for (unsigned i = 1; i <= count; i++) {
        char text[16];
        snprintf(text, sizeof(text), "v%u", i);
        if (disk_write_file(disk, "f.tmp", slice_str(text), NULL) != ERR_OK ||
            disk_rename(disk, "f.tmp", "f", NULL) != ERR_OK ||
            disk_sync_dir(disk, "/", NULL) != ERR_OK) {
            break;
        }
        acknowledged = i;
    }
    return acknowledged;
}

/* The version in the file: 0 when it is not there; never anything torn. */
static unsigned version_of(struct disk *disk)
{
    struct buf out = {0};
    unsigned version = 0;
    if (disk_read_file(disk, "f", 100, &out, NULL) == ERR_OK) {
        uint64_t number;
        assert_true(out.len >= 2 && out.data[0] == 'v');
        assert_int_equal(slice_to_u64(slice_skip(buf_slice(&out), 1), &number), ERR_OK);
        version = (unsigned)number;
    }
    buf_fini(&out);
    return version;
}

TEST(sim_disk, an_atomic_writer_survives_a_crash_at_every_operation)
{
    struct disk *disk = sim_disk_new();
    assert_int_equal(replace_safely(disk, 5), 5);
    uint64_t total = sim_disk_op_count(disk);
    sim_disk_free(&disk);
    /* The first time: create, write, sync, rename, sync of the directory; then the name is made
     * anew each time. */
    assert_int_equal(total, 25);
    for (uint64_t n = 1; n <= total; n++) {
        for (uint64_t seed = 0; seed < 20 * SIM_CRASH_COUNT; seed++) {
            disk = sim_disk_new();
            sim_disk_crash_at(disk, n);
            unsigned acknowledged = replace_safely(disk, 5);
            assert_true(sim_disk_is_down(disk));
            assert_int_equal(sim_disk_op_count(disk), n);
            assert_false(disk_exists(disk, "/"));
            crash_and_check(disk, (enum sim_crash)(seed % SIM_CRASH_COUNT), seed);
            assert_false(sim_disk_is_down(disk));
            assert_in_range(version_of(disk), acknowledged, acknowledged + 1);
            assert_int_equal(replace_safely(disk, 5), 5);
            sim_disk_free(&disk);
        }
    }
}

struct cloner {
    struct disk *disk;
    unsigned acknowledged;
    uint64_t crashes;
};

static void crash_a_clone(enum sim_op op, const char *path, uint64_t number, void *ctx)
{
    struct cloner *cloner = ctx;
    for (unsigned policy = 0; policy < SIM_CRASH_COUNT; policy++) {
        struct disk *clone = sim_disk_clone(cloner->disk);
        crash_and_check(clone, (enum sim_crash)policy, number);
        unsigned version = version_of(clone);
        assert_true(version <= 5);
        assert_true(version + 1 >= (number + 4) / 5); /* five operations each */
        sim_disk_free(&clone);
        cloner->crashes++;
    }
}

TEST(sim_disk, one_run_can_crash_a_clone_before_each_operation)
{
    struct cloner cloner = {.disk = sim_disk_new()};
    sim_disk_on_op(cloner.disk, crash_a_clone, &cloner);
    assert_int_equal(replace_safely(cloner.disk, 5), 5);
    assert_int_equal(cloner.crashes, 25 * SIM_CRASH_COUNT);
    sim_disk_free(&cloner.disk);
}

TEST(sim_disk, a_writer_that_skips_the_sync_is_caught)
{
    unsigned torn = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct disk *disk = sim_disk_new();
        make_durable(disk, "f", "v1");
        struct file *file = open_rw(disk, "f.tmp");
        put(file, "v2", 0);
        file_close(&file);
        assert_int_equal(disk_rename(disk, "f.tmp", "f", NULL), ERR_OK);
        assert_int_equal(disk_sync_dir(disk, "/", NULL), ERR_OK);
        crash_and_check(disk, SIM_CRASH_REORDER, seed);
        struct buf out = {0};
        assert_int_equal(disk_read_file(disk, "f", 100, &out, NULL), ERR_OK);
        torn += out.len < 2 || out.data[0] != 'v';
        buf_fini(&out);
        sim_disk_free(&disk);
    }
    assert_true(torn > 10);
}

TEST(sim_disk, after_the_crash_point_everything_fails_until_the_crash)
{
    struct disk *disk = sim_disk_new();
    struct errbuf why;
    struct file_info info;
    char byte;
    size_t got;
    make_durable(disk, "a", "x");
    struct file *file = open_rw(disk, "a");
    sim_disk_crash_at(disk, sim_disk_op_count(disk) + 2);
    put(file, "y", 0);
    assert_int_equal(file_sync(file, &why), ERR_IO);
    assert_string_equal(why.text, "fsync a: the simulated machine is down");
    assert_int_equal(file_pwrite(file, "z", 1, 0, &why), ERR_IO);
    assert_int_equal(file_pread(file, &byte, 1, 0, &got, &why), ERR_IO);
    assert_int_equal(file_sync(file, &why), ERR_IO);
    assert_int_equal(file_lock(file, FILE_LOCK_FLOCK_EXCLUSIVE, &why), ERR_IO);
    assert_int_equal(disk_stat(disk, "a", &info, &why), ERR_IO);
    assert_int_equal(disk_chmod(disk, "a", 0, &why), ERR_IO);
    assert_int_equal(disk_unlink(disk, "a", &why), ERR_IO);
    crash_and_check(disk, SIM_CRASH_LOSE, 0);
    assert_content(disk, "a", "x");
    assert_int_equal(file_pread(file, &byte, 1, 0, &got, &why), ERR_IO);
    assert_int_equal(file_pwrite(file, "z", 1, 0, &why), ERR_IO);
    file_close(&file);
    sim_disk_free(&disk);
}

TEST(sim_disk, faults_hit_the_nth_operation_of_their_kind_and_path)
{
    struct disk *disk = sim_disk_new();
    struct file *file = open_rw(disk, "a.wal");
    struct file *other = open_rw(disk, "b.db");
    struct file *none = NULL;
    struct errbuf why;
    sim_disk_fail(disk, SIM_OP_WRITE, ".wal", 2, 1, ERR_IO);
    assert_int_equal(file_pwrite(file, "1", 1, 0, &why), ERR_OK);
    assert_int_equal(file_pwrite(other, "1", 1, 0, &why), ERR_OK);
    assert_int_equal(file_pwrite(file, "2222", 4, 1, &why), ERR_IO);
    assert_non_null(strstr(why.text, "a.wal"));
    assert_int_equal(file_pwrite(file, "3", 1, 5, &why), ERR_OK);
    assert_content(disk, "a.wal", "122"); /* half of the failed write; then a hole */
    sim_disk_fail(disk, SIM_OP_OPEN, NULL, 1, 2, ERR_PERM);
    assert_int_equal(disk_open(disk, "b.db", FILE_READ, &none, &why), ERR_PERM);
    assert_int_equal(disk_open(disk, "b.db", FILE_READ, &none, &why), ERR_PERM);
    assert_int_equal(disk_open(disk, "b.db", FILE_READ, &none, &why), ERR_OK);
    file_close(&none);
    sim_disk_fail(disk, SIM_OP_CREATE | SIM_OP_RENAME, NULL, 1, UINT64_MAX, ERR_NOSPACE);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(disk_mkdir(disk, "/d", 0700, &why), ERR_NOSPACE);
        assert_int_equal(disk_rename(disk, "b.db", "c.db", &why), ERR_NOSPACE);
    }
    sim_disk_heal(disk);
    assert_int_equal(disk_mkdir(disk, "/d", 0700, &why), ERR_OK);
    for (unsigned i = 0; i < 20; i++) { /* spent faults make room for new ones */
        sim_disk_fail(disk, SIM_OP_LOOK, "b.db", 1, 1, ERR_IO);
        assert_false(disk_exists(disk, "b.db"));
    }
    assert_true(disk_exists(disk, "b.db"));
    sim_disk_check(disk);
    file_close(&file);
    file_close(&other);
    sim_disk_free(&disk);
}

TEST(sim_disk, a_failed_sync_has_dropped_the_bytes_and_the_next_one_lies)
{
    struct disk *disk = sim_disk_new();
    make_durable(disk, "a", "old");
    struct file *file = open_rw(disk, "a");
    put(file, "new", 0);
    sim_disk_fail(disk, SIM_OP_SYNC, NULL, 1, 1, ERR_IO);
    assert_int_equal(file_sync_data(file, NULL), ERR_IO);
    assert_int_equal(file_sync_data(file, NULL), ERR_OK);
    assert_content(disk, "a", "new"); /* in the page cache */
    crash_and_check(disk, SIM_CRASH_TEAR, 3);
    assert_content(disk, "a", "old");
    file_close(&file);
    sim_disk_free(&disk);
}

TEST(sim_disk, a_full_disk_refuses_growth_and_takes_it_again_when_there_is_room)
{
    struct disk *disk = sim_disk_new();
    struct file *file = open_rw(disk, "a");
    struct file *other = open_rw(disk, "b");
    struct errbuf why;
    sim_disk_set_capacity(disk, 100);
    assert_int_equal(file_preallocate(file, 90, &why), ERR_OK);
    assert_int_equal(file_pwrite(file, "in place", 8, 0, &why), ERR_OK);
    assert_int_equal(file_pwrite(other, "0123456789ab", 12, 0, &why), ERR_NOSPACE);
    assert_string_equal(why.text, "write b: no space");
    assert_content(disk, "b", "0123456789");
    assert_int_equal(file_preallocate(file, 91, &why), ERR_NOSPACE);
    assert_int_equal(file_truncate(file, 91, &why), ERR_NOSPACE);
    assert_int_equal(sim_disk_used(disk), 100);
    file_close(&file);
    assert_int_equal(disk_unlink(disk, "a", &why), ERR_OK);
    assert_int_equal(disk_sync_dir(disk, "/", &why), ERR_OK);
    assert_int_equal(sim_disk_used(disk), 10);
    assert_int_equal(file_pwrite(other, "0123456789ab", 12, 0, &why), ERR_OK);
    sim_disk_check(disk);
    file_close(&other);
    sim_disk_free(&disk);
}

TEST(sim_disk, a_flipped_bit_stays_flipped)
{
    struct disk *disk = sim_disk_new();
    make_durable(disk, "a", "abc");
    assert_true(sim_disk_flip(disk, "a", 1, 0));
    assert_content(disk, "a", "acc");
    assert_false(sim_disk_flip(disk, "a", 3, 0));
    assert_false(sim_disk_flip(disk, "b", 0, 0));
    assert_false(sim_disk_flip(disk, "/", 0, 0));
    struct file *file = open_rw(disk, "a");
    put(file, "xyz", 0);
    assert_true(sim_disk_flip(disk, "a", 2, 7));
    sim_disk_check(disk);
    assert_int_equal(file_sync(file, NULL), ERR_OK);
    crash_and_check(disk, SIM_CRASH_LOSE, 0);
    assert_content(disk, "a", "xy\xfa");
    file_close(&file);
    sim_disk_free(&disk);
}

TEST(sim_disk, a_clone_is_equal_and_independent)
{
    struct disk *disk = sim_disk_new();
    make_durable(disk, "a", "same");
    struct file *file = open_rw(disk, "a");
    put(file, "S", 0);
    struct disk *clone = sim_disk_clone(disk);
    sim_disk_check(clone);
    assert_true(sim_disk_digest(clone) == sim_disk_digest(disk));
    assert_true(sim_disk_digest_durable(clone) == sim_disk_digest_durable(disk));
    assert_int_equal(sim_disk_op_count(clone), sim_disk_op_count(disk));
    put(file, "other", 0);
    assert_content(clone, "a", "Same");
    assert_int_equal(disk_unlink(clone, "a", NULL), ERR_OK);
    assert_content(disk, "a", "other");
    file_close(&file);
    sim_disk_free(&disk);
    sim_disk_check(clone);
    sim_disk_free(&clone);
}

TEST(sim_disk, an_unlinked_file_lives_as_long_as_it_is_open)
{
    struct disk *disk = sim_disk_new();
    make_durable(disk, "a", "text");
    struct file *file = open_rw(disk, "a");
    char data[4];
    assert_int_equal(disk_unlink(disk, "a", NULL), ERR_OK);
    assert_int_equal(disk_sync_dir(disk, "/", NULL), ERR_OK);
    assert_int_equal(file_pread_all(file, data, 4, 0, NULL), ERR_OK);
    assert_memory_equal(data, "text", 4);
    put(file, "more", 4);
    sim_disk_check(disk);
    file_close(&file);
    crash_and_check(disk, SIM_CRASH_KEEP, 0);
    assert_int_equal(sim_disk_used(disk), 0);
    sim_disk_free(&disk);
}

TEST(sim_disk, a_kill_loses_nothing_and_makes_nothing_durable)
{
    struct disk *disk = sim_disk_new();
    make_durable(disk, "/a", "old");
    struct file *file = open_rw(disk, "/a");
    put(file, "new", 0);
    assert_int_equal(disk_rename(disk, "/a", "/b", NULL), ERR_OK);
    assert_int_equal(file_lock(file, FILE_LOCK_OFD_EXCLUSIVE, NULL), ERR_OK);
    sim_disk_kill(disk);
    sim_disk_check(disk);
    assert_int_equal(file_pwrite(file, "x", 1, 0, NULL), ERR_IO); /* of the dead process */
    file_close(&file);
    assert_content(disk, "/b", "new");
    file = open_rw(disk, "/b");
    assert_int_equal(file_lock(file, FILE_LOCK_OFD_EXCLUSIVE, NULL), ERR_OK);
    file_close(&file);
    /* The next process may sync what this one has written; if it does not, a cut takes it. */
    struct disk *synced = sim_disk_clone(disk);
    file = open_rw(synced, "/b");
    assert_int_equal(file_sync(file, NULL), ERR_OK);
    file_close(&file);
    assert_int_equal(disk_sync_dir(synced, "/", NULL), ERR_OK);
    crash_and_check(synced, SIM_CRASH_LOSE, 1);
    assert_content(synced, "/b", "new");
    crash_and_check(disk, SIM_CRASH_LOSE, 1);
    assert_content(disk, "/b", NULL);
    assert_content(disk, "/a", "old");
    sim_disk_free(&synced);
    sim_disk_free(&disk);
}

TEST(sim_disk, data_are_found_behind_holes)
{
    struct disk *disk = sim_disk_new();
    struct file *file = open_rw(disk, "/a");
    uint64_t at = 7;
    assert_int_equal(file_preallocate(file, 1 << 20, NULL), ERR_OK);
    assert_int_equal(file_next_data(file, 0, &at, NULL), ERR_OK);
    assert_int_equal(at, 1 << 20);
    put(file, "x", 300000);
    assert_int_equal(file_next_data(file, 0, &at, NULL), ERR_OK);
    assert_true(at > 290000 && at <= 300000);
    assert_int_equal(file_next_data(file, 300000, &at, NULL), ERR_OK);
    assert_int_equal(at, 300000);
    assert_int_equal(file_next_data(file, 310000, &at, NULL), ERR_OK);
    assert_int_equal(at, 1 << 20);
    file_close(&file);
    sim_disk_free(&disk);
}
