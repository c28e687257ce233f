#include "storage/snap.h"

#include "base/digest.h"
#include "codec/raftpb.h"
#include "env/posix.h"
#include "storage/raftconv.h"
#include "unit.h"

static struct disk *disk;
static char *dir;
static struct arena arena;

static void begin(void)
{
    disk = posix_disk();
    dir = mem_strdup(test_dir());
    arena_init(&arena);
}

static void end(void)
{
    mem_free(dir);
    arena_fini(&arena);
}

static const char *in_dir(const char *name)
{
    return arena_printf(&arena, "%s/%s", dir, name);
}

static void put_file(const char *name, struct slice bytes)
{
    assert_int_equal(disk_write_file(disk, in_dir(name), bytes, NULL), ERR_OK);
}

static bool has_file(const char *name)
{
    return disk_exists(disk, in_dir(name));
}

static void save(raft_term term, raft_index index)
{
    struct snap snap = {.index = index, .term = term, .data = SLICE("{\"Root\":{}}")};
    snap.conf_state.voters = (struct raft_id_set){.count = 2, .ids = {1, 300}};
    snap.conf_state.learners = (struct raft_id_set){.count = 1, .ids = {7}};
    struct errbuf why;
    enum err err = snap_save(disk, dir, &snap, &why);
    if (err != ERR_OK) {
        print_error("%s\n", why.text);
    }
    assert_int_equal(err, ERR_OK);
}

static struct buf file_bytes(const char *name)
{
    struct buf bytes = {0};
    assert_int_equal(disk_read_file(disk, in_dir(name), 1 << 20, &bytes, NULL), ERR_OK);
    return bytes;
}

#define SNAP_2_5 "0000000000000002-0000000000000005.snap"

TEST(snap, a_saved_snapshot_comes_back_under_etcds_name)
{
    begin();
    save(2, 5);
    assert_true(has_file(SNAP_2_5));
    assert_string_equal(snap_name(&arena, 2, 5), SNAP_2_5);
    assert_string_equal(snap_db_name(&arena, 0xabc), "0000000000000abc.snap.db");
    struct snap snap;
    size_t broken;
    assert_int_equal(snap_load_newest(disk, dir, &snap, &broken, NULL), ERR_OK);
    assert_int_equal(broken, 0);
    assert_int_equal(snap.index, 5);
    assert_int_equal(snap.term, 2);
    assert_int_equal(snap.conf_state.voters.count, 2);
    assert_int_equal(snap.conf_state.voters.ids[1], 300);
    assert_int_equal(snap.conf_state.learners.ids[0], 7);
    assert_true(slice_eq_str(snap.data, "{\"Root\":{}}"));
    snap_fini(&snap);
    end();
}

TEST(snap, the_file_is_byte_for_byte_etcds)
{
    begin();
    save(2, 5);
    struct buf bytes = file_bytes(SNAP_2_5);
    static const char inner[] = "\x0a\x0b{\"Root\":{}}"
                                "\x12\x0f\x0a\x09\x08\x01\x08\xac\x02\x10\x07\x28\x00\x10\x05\x18"
                                "\x02";
    struct raftpb_snap_file file;
    assert_int_equal(raftpb_snap_file_decode(buf_slice(&bytes), &file), ERR_OK);
    assert_true(slice_eq(file.data, slice_of(inner, sizeof(inner) - 1)));
    assert_int_equal(file.crc, crc32c(0, inner, sizeof(inner) - 1));
    assert_int_equal(bytes.data[0], 0x08); /* crc, then data */
    struct file_info info;
    assert_int_equal(disk_stat(disk, in_dir(SNAP_2_5), &info, NULL), ERR_OK);
    assert_int_equal(info.mode, 0600);
    buf_fini(&bytes);
    end();
}

TEST(snap, index_zero_is_not_saved)
{
    begin();
    struct snap snap = {.term = 1};
    assert_int_equal(snap_save(disk, dir, &snap, NULL), ERR_INVALID);
    assert_int_equal(snap_load_newest(disk, dir, &snap, NULL, NULL), ERR_NOT_FOUND);
    end();
}

TEST(snap, a_directory_that_is_not_there_has_none)
{
    begin();
    struct snap snap;
    struct errbuf why = {0};
    assert_int_equal(snap_load_newest(disk, in_dir("missing"), &snap, NULL, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.text, "missing"));
    end();
}

TEST(snap, unreadable_files_are_set_aside_and_an_older_one_is_taken)
{
    begin();
    save(2, 5);
    struct buf good = file_bytes(SNAP_2_5);
    put_file("0000000000000003-0000000000000006.snap", SLICE("garbage"));
    put_file("0000000000000003-0000000000000007.snap", SLICE_EMPTY);
    put_file("0000000000000003-0000000000000008.snap", SLICE("\x08\x00\x12\x01x")); /* crc 0 */
    put_file("0000000000000003-0000000000000009.snap", SLICE("\x08\x05\x12\x00"));  /* no data */
    good.data[good.len - 1] ^= 1;
    put_file("0000000000000003-000000000000000a.snap", buf_slice(&good)); /* crc mismatch */
    struct snap snap;
    size_t broken;
    assert_int_equal(snap_load_newest(disk, dir, &snap, &broken, NULL), ERR_OK);
    assert_int_equal(broken, 5);
    assert_int_equal(snap.index, 5);
    assert_true(has_file("0000000000000003-0000000000000006.snap.broken"));
    assert_false(has_file("0000000000000003-0000000000000006.snap"));
    snap_fini(&snap);
    buf_fini(&good);
    end();
}

/* A flipped bit may leave the meaning alone: the fifth byte of the checksum has bits beyond the
 * 32nd, which Go drops too. */
static void refused_or_unharmed(const char *path)
{
    struct snap snap;
    struct errbuf why = {0};
    enum err err = snap_read(disk, path, &snap, &why);
    if (err == ERR_OK) {
        assert_int_equal(snap.index, 5);
        assert_int_equal(snap.term, 2);
        assert_true(slice_eq_str(snap.data, "{\"Root\":{}}"));
        snap_fini(&snap);
        return;
    }
    assert_int_equal(err, ERR_CORRUPT);
    assert_non_null(strstr(why.text, path));
}

TEST(snap, every_flipped_bit_and_every_cut_is_found)
{
    begin();
    save(2, 5);
    struct buf good = file_bytes(SNAP_2_5);
    struct snap snap;
    for (size_t i = 0; i < good.len * 8; i++) {
        good.data[i / 8] ^= (uint8_t)(1 << i % 8);
        put_file("x", buf_slice(&good));
        refused_or_unharmed(in_dir("x"));
        good.data[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t len = 0; len < good.len; len++) {
        put_file("x", slice_of(good.data, len));
        assert_int_equal(snap_read(disk, in_dir("x"), &snap, NULL), ERR_CORRUPT);
    }
    buf_fini(&good);
    end();
}

/* A wrapper with a right checksum around `inner`. */
static void put_checked(const char *name, struct slice inner)
{
    struct raftpb_snap_file file = {.crc = crc32c(0, inner.data, inner.len), .data = inner};
    struct buf bytes = {0};
    raftpb_snap_file_put(buf_extend(&bytes, raftpb_snap_file_size(&file)), &file);
    put_file(name, buf_slice(&bytes));
    buf_fini(&bytes);
}

TEST(snap, impossible_members_are_refused)
{
    begin();
    struct snap snap;
    put_checked("twice", SLICE("\x12\x0a\x0a\x04\x08\x01\x08\x01\x10\x05\x18\x02"));
    assert_int_equal(snap_read(disk, in_dir("twice"), &snap, NULL), ERR_CORRUPT);
    put_checked("nobody", SLICE("\x12\x08\x0a\x02\x08\x00\x10\x05\x18\x02"));
    assert_int_equal(snap_read(disk, in_dir("nobody"), &snap, NULL), ERR_CORRUPT);
    put_checked("unsorted", SLICE("\x12\x0a\x0a\x04\x08\x09\x08\x01\x10\x05\x18\x02"));
    assert_int_equal(snap_read(disk, in_dir("unsorted"), &snap, NULL), ERR_OK);
    assert_int_equal(snap.conf_state.voters.ids[0], 1);
    assert_int_equal(snap.conf_state.voters.ids[1], 9);
    snap_fini(&snap);
    end();
}

TEST(snap, only_what_the_log_knows_is_loaded)
{
    begin();
    save(1, 3);
    save(2, 5);
    save(2, 9);
    static const struct wal_position list[] = {{0, 0}, {3, 1}, {5, 2}, {7, 2}};
    struct snap snap;
    assert_int_equal(snap_load_matching(disk, dir, list, ARRAY_LEN(list), &snap, NULL, NULL),
                     ERR_OK);
    assert_int_equal(snap.index, 5);
    snap_fini(&snap);
    static const struct wal_position other_term[] = {{5, 1}};
    assert_int_equal(snap_load_matching(disk, dir, other_term, 1, &snap, NULL, NULL),
                     ERR_NOT_FOUND);
    assert_int_equal(snap_load_matching(disk, dir, NULL, 0, &snap, NULL, NULL), ERR_NOT_FOUND);
    end();
}

TEST(snap, purging_keeps_the_newest_of_each_kind)
{
    begin();
    save(1, 3);
    save(1, 5);
    save(2, 4);
    save(2, 9);
    put_file("0000000000000003.snap.db", SLICE("db"));
    put_file("0000000000000009.snap.db", SLICE("db"));
    put_file("0000000000000008.snap.db", SLICE("db"));
    put_file("db", SLICE("db"));
    size_t removed;
    assert_int_equal(snap_purge(disk, dir, 2, &removed, NULL), ERR_OK);
    assert_int_equal(removed, 3);
    assert_true(has_file("0000000000000002-0000000000000004.snap"));
    assert_true(has_file("0000000000000002-0000000000000009.snap"));
    assert_false(has_file("0000000000000003.snap.db"));
    assert_true(has_file("0000000000000008.snap.db"));
    assert_true(has_file("db"));
    end();
}

TEST(snap, cleaning_removes_orphans_and_unfinished_work_only)
{
    begin();
    save(1, 3);
    save(1, 5);
    save(2, 6);
    put_file("0000000000000004.snap.db", SLICE("db"));
    put_file("0000000000000005.snap.db", SLICE("db"));
    put_file("0000000000000006.snap.db", SLICE("db"));
    put_file("tmp123", SLICE(""));
    put_file("tmp." SNAP_2_5, SLICE(""));
    put_file("db.tmp.77", SLICE(""));
    put_file("db", SLICE("db"));
    put_file("notes", SLICE("mine"));
    size_t removed;
    assert_int_equal(snap_clean(disk, dir, 5, &removed, NULL), ERR_OK);
    assert_int_equal(removed, 5);
    assert_true(has_file("0000000000000001-0000000000000003.snap"));
    assert_true(has_file("0000000000000001-0000000000000005.snap"));
    assert_false(has_file("0000000000000002-0000000000000006.snap"));
    assert_false(has_file("0000000000000004.snap.db"));
    assert_true(has_file("0000000000000005.snap.db"));
    assert_true(has_file("0000000000000006.snap.db"));
    assert_false(has_file("tmp123"));
    assert_true(has_file("db"));
    assert_true(has_file("notes"));
    end();
}
