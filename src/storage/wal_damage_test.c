/* Torn tails, damage at rest, and a disk that fails. */
#include "storage/wal_fixture.h"

#include "storage/wal_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- torn tails and damage ------------------------------------------------------------------- */

/* A log of five entries in one segment, closed; its bytes, and where the last entry's frame is. */
struct specimen {
    char *path;
    struct buf bytes;
    size_t last_frame;
    size_t end;
};

static struct specimen specimen_new(struct wal_world *w, size_t last_len)
{
    struct specimen s = {.path = NULL};
    wal_world_open_new(w, WAL_SMALL);
    wal_world_append(w, 1, 4, 1, 50);
    struct wal_stats stats;
    wal_stats(w->wal, &stats);
    struct wal_pending p = {.world = w};
    struct raft_entry entry = {.index = 5, .term = 1, .payload = raft_payload_new(last_len)};
    memset(entry.payload->bytes, 5, last_len);
    p.write.entries = &entry;
    p.write.entry_count = 1;
    p.write.must_sync = true;
    p.write.done = wal_pending_done;
    wal_append(w->wal, &p.write);
    while (p.order == 0) {
        loop_turn(w->loop, true);
    }
    raft_payload_unref(&entry.payload);
    s.path = wal_world_first_segment(w);
    s.end = (size_t)wal__tail_offset(w->wal);
    wal_close(&w->wal);
    s.bytes = wal_world_read_file(w, s.path);
    s.last_frame = s.end - 8 - ((last_len + 24) & ~(size_t)7);
    while (get_le64(s.bytes.data + s.last_frame) == 0 || s.bytes.data[s.last_frame + 8] != 8) {
        s.last_frame -= 8;
    }
    return s;
}

static void specimen_fini(struct specimen *s)
{
    buf_fini(&s->bytes);
    mem_free(s->path);
}

/* Writes the damaged bytes and opens: `count` entries come back, with or without a repair. */
static void opens_with(struct wal_world *w, const struct specimen *s, size_t count,
                       bool is_repaired)
{
    struct wal_contents contents;
    wal_world_write_file(w, s->path, buf_slice(&s->bytes));
    wal_world_open(w, WAL_SMALL, WAL_ORIGIN, &contents);
    wal_check_entries(&contents, 1, count);
    assert_int_equal(contents.repaired != NULL, is_repaired);
    if (is_repaired) {
        struct buf copy = wal_world_read_file(w, contents.repaired);
        assert_true(slice_eq(buf_slice(&copy), buf_slice(&s->bytes)));
        buf_fini(&copy);
    }
    wal_contents_fini(&contents);
    wal_world_append(w, count + 1, 3, 2, 700); /* and the log goes on */
    wal_world_reopen(w, WAL_SMALL, WAL_ORIGIN, &contents);
    wal_check_entries(&contents, 1, count + 3);
    wal_contents_fini(&contents);
    wal_close(&w->wal);
}

static void refused_with(struct wal_world *w, const struct specimen *s, const char *sentence)
{
    struct wal_contents contents;
    struct errbuf why = {0};
    wal_world_write_file(w, s->path, buf_slice(&s->bytes));
    assert_int_equal(wal_world_try_open(w, WAL_SMALL, WAL_ORIGIN, &contents, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.text, sentence));
    assert_non_null(strstr(why.text, s->path));
    struct buf after = wal_world_read_file(w, s->path);
    assert_true(slice_eq(buf_slice(&after), buf_slice(&s->bytes))); /* nothing was changed */
    buf_fini(&after);
}

TEST(wal_damage, a_record_with_a_sector_of_zeros_is_a_torn_tail_and_is_cut)
{
    struct wal_world w = wal_world_new();
    struct specimen s = specimen_new(&w, 3000);
    size_t sector = (s.last_frame / WAL_SECTOR_BYTES + 2) * WAL_SECTOR_BYTES;
    memset(s.bytes.data + sector, 0, WAL_SECTOR_BYTES);
    opens_with(&w, &s, 4, true);
    specimen_fini(&s);
    wal_world_fini(&w);
}

TEST(wal_damage, a_record_whose_last_sectors_never_came_is_a_torn_tail)
{
    struct wal_world w = wal_world_new();
    struct specimen s = specimen_new(&w, 3000);
    size_t from = (s.last_frame / WAL_SECTOR_BYTES + 1) * WAL_SECTOR_BYTES;
    memset(s.bytes.data + from, 0, s.bytes.len - from);
    opens_with(&w, &s, 4, true);
    specimen_fini(&s);
    wal_world_fini(&w);
}

TEST(wal_damage, a_record_whose_first_sector_never_came_ends_the_log_and_the_rest_is_zeroed)
{
    struct wal_world w = wal_world_new();
    struct specimen s = specimen_new(&w, 3000);
    size_t next = (s.last_frame / WAL_SECTOR_BYTES + 1) * WAL_SECTOR_BYTES;
    memset(s.bytes.data + s.last_frame, 0, next - s.last_frame);
    opens_with(&w, &s, 4, false);
    specimen_fini(&s);
    wal_world_fini(&w);
}

TEST(wal_damage, a_file_that_ends_inside_a_record_is_a_torn_tail)
{
    struct wal_world w = wal_world_new();
    struct specimen s = specimen_new(&w, 3000);
    size_t full = s.bytes.len;
    static const size_t kept[] = {1, 7, 8, 9, 12, 20, 40, 600, 2900};
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        s.bytes.len = s.last_frame + kept[i];
        opens_with(&w, &s, 4, true);
    }
    s.bytes.len = s.last_frame; /* at a boundary: simply the end */
    opens_with(&w, &s, 4, false);
    s.bytes.len = full;
    opens_with(&w, &s, 5, false);
    specimen_fini(&s);
    wal_world_fini(&w);
}

TEST(wal_damage, changed_bytes_are_damage_and_refused)
{
    struct wal_world w = wal_world_new();
    struct specimen s = specimen_new(&w, 3000);
    s.bytes.data[s.last_frame + 1000] ^= 0x10; /* even in the last record */
    refused_with(&w, &s, "crc mismatch");
    s.bytes.data[s.last_frame + 1000] ^= 0x10;
    s.bytes.data[200] ^= 1; /* in an early entry */
    refused_with(&w, &s, "at offset");
    s.bytes.data[200] ^= 1;
    opens_with(&w, &s, 5, false);
    specimen_fini(&s);
    wal_world_fini(&w);
}

/* etcd would take every one of these for a torn tail and cut acknowledged entries off. */
TEST(wal_damage, a_changed_length_is_damage_and_cuts_nothing_off)
{
    struct wal_world w = wal_world_new();
    struct specimen s = specimen_new(&w, 3000);
    size_t second = 16 + 24 + 24; /* crc, metadata, snapshot; then the entries */
    while (s.bytes.data[second + 8] != 8 || s.bytes.data[second + 9] != WAL_RECORD_ENTRY) {
        second += 8;
    }
    for (unsigned bit = 20; bit < 56; bit++) {
        s.bytes.data[second + bit / 8] ^= (uint8_t)(1 << bit % 8);
        refused_with(&w, &s, "a record longer than the rest of the file");
        s.bytes.data[second + bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (unsigned bit = 0; bit < 20; bit++) {
        s.bytes.data[second + bit / 8] ^= (uint8_t)(1 << bit % 8);
        refused_with(&w, &s, "at offset");
        s.bytes.data[second + bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    specimen_fini(&s);
    wal_world_fini(&w);
}

TEST(wal_damage, damage_in_a_finished_segment_is_never_a_torn_tail)
{
    struct wal_world w = wal_world_new();
    wal_world_open_new(&w, WAL_SMALL);
    for (raft_index i = 1; i <= 30; i++) {
        wal_world_append(&w, i, 1, 1, 4000);
    }
    wal_close(&w.wal);
    struct specimen s = {.path = wal_world_first_segment(&w)};
    s.bytes = wal_world_read_file(&w, s.path);
    memset(s.bytes.data + 9216, 0, WAL_SECTOR_BYTES); /* a lost sector */
    refused_with(&w, &s, "crc mismatch");
    memset(s.bytes.data + 9216, 1, WAL_SECTOR_BYTES); /* entry 3's data are 3s there */
    refused_with(&w, &s, "crc mismatch");
    memset(s.bytes.data + 9216, 3, WAL_SECTOR_BYTES);
    s.bytes.len -= 100; /* shorter than it was */
    refused_with(&w, &s, "a record longer than the rest of the file");
    specimen_fini(&s);
    wal_world_fini(&w);
}

/* CVE-2020-15106: a length is looked at before it becomes an allocation, in a sparse file too. */
TEST(wal_damage, a_record_of_impossible_length_is_refused_and_never_allocated)
{
    struct wal_world w = wal_world_new();
    wal_world_open_new(&w, WAL_SMALL);
    raft_index last = 0;
    do { /* the fields of the next record are to lie in one sector */
        wal_world_append(&w, ++last, 1, 1, 100);
    } while (wal__tail_offset(w.wal) % WAL_SECTOR_BYTES > WAL_SECTOR_BYTES / 2);
    uint64_t end = wal__tail_offset(w.wal);
    wal_close(&w.wal);
    char *path = wal_world_first_segment(&w);
    static const uint64_t lengths[] = {(uint64_t)1 << 40, WAL_RECORD_BYTES_MAX + 8,
                                       ((uint64_t)1 << 56) - 8};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct file *file = NULL;
        uint8_t frame[WAL_FRAME_BYTES + 4] = {0};
        put_le64(frame, lengths[i]);
        memset(frame + WAL_FRAME_BYTES, 0x77, 4); /* no fields of a record */
        assert_int_equal(disk_open(w.env->disk, path, FILE_READ | FILE_WRITE, &file, NULL), ERR_OK);
        assert_int_equal(file_pwrite(file, frame, sizeof(frame), end, NULL), ERR_OK);
        assert_int_equal(file_truncate(file, (uint64_t)1 << 31, NULL), ERR_OK); /* all holes */
        file_close(&file);
        struct wal_contents contents;
        struct errbuf why = {""};
        assert_int_equal(wal_world_try_open(&w, WAL_SMALL, WAL_ORIGIN, &contents, &why),
                         ERR_CORRUPT);
        assert_non_null(strstr(why.text, path));
        assert_non_null(strstr(why.text, "at offset"));
    }
    mem_free(path);
    wal_world_fini(&w);
}

/* etcd's PR 11924: the checksum goes on from one segment to the next. */
TEST(wal_damage, a_segment_that_does_not_continue_the_one_before_is_refused)
{
    struct wal_world w = wal_world_new();
    wal_world_open_new(&w, WAL_SMALL);
    for (raft_index i = 1; i <= 40; i++) {
        wal_world_append(&w, i, 1, 1, 4000);
    }
    wal_close(&w.wal);
    struct wal__segments segments;
    assert_int_equal(wal__list(w.env->disk, w.dir, &segments, NULL), ERR_OK);
    assert_true(segments.count > 2);
    char *to = wal__path(w.dir, segments.list[1]);
    struct buf second = wal_world_read_file(&w, to);
    second.data[WAL_FRAME_BYTES + 3] ^= 1; /* where it says the chain stands */
    wal_world_write_file(&w, to, buf_slice(&second));
    struct wal_contents contents;
    struct errbuf why = {""};
    assert_int_equal(wal_world_try_open(&w, WAL_SMALL, WAL_ORIGIN, &contents, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.text, to));
    assert_non_null(strstr(why.text, "does not continue"));
    buf_fini(&second);
    mem_free(to);
    wal__segments_fini(&segments);
    wal_world_fini(&w);
}

/* ---- a broken disk ----------------------------------------------------------------------------
 */

/* A disk that passes everything on but fails one kind of call. */
static struct {
    struct disk disk;
    struct disk_ops ops;
    bool fails_write;
    bool fails_sync;
} broken;

static enum err broken_pwrite(struct file *file, const void *data, size_t len, uint64_t offset,
                              struct errbuf *why)
{
    if (broken.fails_write) {
        return errf(why, ERR_IO, "write %s: Input/output error", file->path);
    }
    return posix_disk()->ops->pwrite(file, data, len, offset, why);
}

static enum err broken_sync_data(struct file *file, struct errbuf *why)
{
    if (broken.fails_sync) {
        return errf(why, ERR_IO, "fdatasync %s: Input/output error", file->path);
    }
    return posix_disk()->ops->sync_data(file, why);
}

static void dies_with(bool fails_write, bool fails_sync, const char *sentence)
{
    int ends[2];
    char said[1024] = {0};
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], 2);
        struct wal_world w = wal_world_new();
        broken.ops = *w.env->disk->ops;
        broken.ops.pwrite = broken_pwrite;
        broken.ops.sync_data = broken_sync_data;
        broken.disk.ops = &broken.ops;
        w.env->disk = &broken.disk;
        wal_world_open_new(&w, WAL_SMALL);
        wal_world_append(&w, 1, 1, 1, 10);
        broken.fails_write = fails_write;
        broken.fails_sync = fails_sync;
        wal_world_append(&w, 2, 1, 1, 10);
        _exit(77); /* acknowledged what is not on disk */
    }
    close(ends[1]);
    size_t len = 0;
    ssize_t got;
    while ((got = read(ends[0], said + len, sizeof(said) - 1 - len)) > 0) {
        len += (size_t)got;
    }
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_non_null(strstr(said, sentence));
    assert_non_null(strstr(said, "0000000000000000-0000000000000000.wal"));
}

TEST(wal_damage, a_failed_sync_or_write_ends_the_process_and_acknowledges_nothing)
{
    dies_with(false, true, "fdatasync");
    dies_with(true, false, "write");
}
