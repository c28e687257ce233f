#include "storage/wal.h"

#include "base/digest.h"
#include "base/mem.h"
#include "env/loop.h"
#include "env/posix.h"
#include "storage/wal_priv.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a world, a log and a writer ----------------------------------------------------------- */

static const struct wal_position origin;

struct world {
    struct env *env;
    struct loop *loop;
    char *dir;
    struct wal *wal;
    size_t done_count;
};

static struct world world_new(void)
{
    struct world w = {.env = posix_env_new()};
    w.loop = loop_new(w.env);
    w.dir = mem_printf("%s/wal", test_dir());
    return w;
}

static void world_fini(struct world *w)
{
    wal_close(&w->wal);
    loop_free(&w->loop);
    posix_env_free(&w->env);
    mem_free(w->dir);
}

static void create(struct world *w, uint64_t segment_bytes)
{
    struct errbuf why;
    enum err err = wal_create(w->env->disk, w->dir, SLICE("\x08\x01\x10\x02"), segment_bytes, &why);
    if (err != ERR_OK) {
        print_error("%s\n", why.text);
    }
    assert_int_equal(err, ERR_OK);
}

static enum err try_open(struct world *w, uint64_t segment_bytes, struct wal_position start,
                         struct wal_contents *contents, struct errbuf *why)
{
    struct wal_config config = {.env = w->env, .dir = w->dir, .segment_bytes = segment_bytes};
    *contents = (struct wal_contents){0};
    return wal_open(&config, start, &w->wal, contents, why);
}

static void open_at(struct world *w, uint64_t segment_bytes, struct wal_position start,
                    struct wal_contents *contents)
{
    struct errbuf why;
    enum err err = try_open(w, segment_bytes, start, contents, &why);
    if (err != ERR_OK) {
        print_error("%s\n", why.text);
    }
    assert_int_equal(err, ERR_OK);
}

static void open_new(struct world *w, uint64_t segment_bytes)
{
    struct wal_contents contents;
    create(w, segment_bytes);
    open_at(w, segment_bytes, origin, &contents);
    assert_int_equal(contents.entry_count, 0);
    wal_contents_fini(&contents);
}

struct pending {
    struct wal_write write;
    struct world *world;
    struct raft_entry *entries;
    size_t order; /* in which it was done; from 1 */
};

static void pending_done(struct wal_write *write)
{
    struct pending *pending = CONTAINER_OF(write, struct pending, write);
    pending->order = ++pending->world->done_count;
}

/* Entries [first, first + count) of `term`, whose data say their index and fill `len` bytes. */
static void submit(struct world *w, struct pending *p, raft_index first, size_t count,
                   raft_term term, size_t len)
{
    *p = (struct pending){.world = w};
    p->entries = mem_array(count, sizeof(p->entries[0]));
    for (size_t i = 0; i < count; i++) {
        struct raft_payload *payload = raft_payload_new(len);
        memset(payload->bytes, (int)(first + i) & 0xff, len);
        p->entries[i] = (struct raft_entry){.index = first + i, .term = term, .payload = payload};
    }
    p->write.entries = p->entries;
    p->write.entry_count = count;
    p->write.must_sync = count > 0;
    p->write.has_hard_state = true;
    p->write.hard_state =
        (struct raft_hard_state){.term = term, .vote = 1, .commit = first + count - 1};
    p->write.done = pending_done;
    wal_append(w->wal, &p->write);
}

static void wait_for(struct world *w, struct pending *p)
{
    while (p->order == 0) {
        loop_turn(w->loop, true);
    }
    for (size_t i = 0; i < p->write.entry_count; i++) {
        raft_payload_unref(&p->entries[i].payload);
    }
    mem_free(p->entries);
    wal_check(w->wal);
}

static void append(struct world *w, raft_index first, size_t count, raft_term term, size_t len)
{
    struct pending p;
    submit(w, &p, first, count, term, len);
    wait_for(w, &p);
}

static void save_snapshot(struct world *w, raft_index index, raft_term term)
{
    struct wal_snapshot snapshot = {.index = index, .term = term};
    snapshot.conf_state.voters = (struct raft_id_set){.count = 1, .ids = {1}};
    struct pending p = {.world = w};
    p.write.snapshot = &snapshot;
    p.write.done = pending_done;
    wal_append(w->wal, &p.write);
    wait_for(w, &p);
}

static void check_entries(const struct wal_contents *contents, raft_index first, size_t count)
{
    assert_int_equal(contents->entry_count, count);
    for (size_t i = 0; i < count; i++) {
        const struct raft_entry *entry = &contents->entries[i];
        assert_int_equal(entry->index, first + i);
        struct slice data = raft_payload_slice(entry->payload);
        for (size_t k = 0; k < data.len; k++) {
            assert_int_equal(data.data[k], (first + i) & 0xff);
        }
    }
}

/* Closes and opens again. */
static void reopen(struct world *w, uint64_t segment_bytes, struct wal_position start,
                   struct wal_contents *contents)
{
    wal_close(&w->wal);
    open_at(w, segment_bytes, start, contents);
}

static char *first_segment(struct world *w)
{
    return wal__path(w->dir, (struct wal__segment){0});
}

static struct buf read_file(struct world *w, const char *path)
{
    struct buf bytes = {0};
    assert_int_equal(disk_read_file(w->env->disk, path, (size_t)1 << 30, &bytes, NULL), ERR_OK);
    return bytes;
}

static void write_file(struct world *w, const char *path, struct slice bytes)
{
    assert_int_equal(disk_write_file(w->env->disk, path, bytes, NULL), ERR_OK);
}

#define SMALL ((uint64_t)64 * 1024)

/* ---- creating ------------------------------------------------------------------------------ */

TEST(wal, a_new_log_is_byte_for_byte_etcds)
{
    struct world w = world_new();
    create(&w, SMALL);
    assert_true(wal_exists(w.env->disk, w.dir));
    char *path = first_segment(&w);
    struct buf bytes = read_file(&w, path);
    /* crc 0; metadata {1, 2}; snapshot {0, 0} */
    static const uint8_t head[] = {4, 0, 0, 0, 0, 0, 0, 0x84, 8, 4, 0x10, 0, 0, 0, 0, 0};
    assert_int_equal(bytes.len, SMALL);
    assert_memory_equal(bytes.data, head, sizeof(head));
    uint32_t crc = crc32c(0, "\x08\x01\x10\x02", 4);
    struct buf expected = {0};
    uint32_t chain = 0;
    wal__put_record(&expected, &chain, WAL_RECORD_CRC, SLICE_EMPTY, SLICE_EMPTY);
    wal__put_record(&expected, &chain, WAL_RECORD_METADATA, SLICE("\x08\x01\x10\x02"), SLICE_EMPTY);
    assert_int_equal(chain, crc);
    wal__put_record(&expected, &chain, WAL_RECORD_SNAPSHOT, SLICE("\x08\x00\x10\x00"), SLICE_EMPTY);
    assert_memory_equal(bytes.data, expected.data, expected.len);
    for (size_t i = expected.len; i < bytes.len; i++) {
        assert_int_equal(bytes.data[i], 0);
    }
    struct file_info info;
    assert_int_equal(disk_stat(w.env->disk, path, &info, NULL), ERR_OK);
    assert_int_equal(info.mode, 0600);
    assert_int_equal(disk_stat(w.env->disk, w.dir, &info, NULL), ERR_OK);
    assert_int_equal(info.mode, 0700);
    buf_fini(&expected);
    buf_fini(&bytes);
    mem_free(path);
    world_fini(&w);
}

TEST(wal, a_log_is_not_made_twice)
{
    struct world w = world_new();
    struct errbuf why;
    assert_false(wal_exists(w.env->disk, w.dir));
    create(&w, SMALL);
    assert_int_equal(wal_create(w.env->disk, w.dir, SLICE("x"), SMALL, &why), ERR_EXISTS);
    assert_non_null(strstr(why.text, w.dir));
    world_fini(&w);
}

TEST(wal, a_creation_that_was_cut_short_is_begun_again)
{
    struct world w = world_new();
    char *tmp = mem_printf("%s.tmp", w.dir);
    char *file = mem_printf("%s/0000000000000000-0000000000000000.wal", tmp);
    assert_int_equal(disk_mkdir(w.env->disk, tmp, 0700, NULL), ERR_OK);
    write_file(&w, file, SLICE("half"));
    open_new(&w, SMALL);
    assert_false(disk_exists(w.env->disk, tmp));
    mem_free(tmp);
    mem_free(file);
    world_fini(&w);
}

TEST(wal, a_directory_with_other_things_in_it_keeps_them)
{
    struct world w = world_new();
    char *other = mem_printf("%s/lost+found", w.dir);
    assert_int_equal(disk_mkdir(w.env->disk, w.dir, 0700, NULL), ERR_OK);
    assert_int_equal(disk_mkdir(w.env->disk, other, 0700, NULL), ERR_OK);
    open_new(&w, SMALL);
    append(&w, 1, 3, 1, 10);
    struct wal_contents contents;
    reopen(&w, SMALL, origin, &contents);
    check_entries(&contents, 1, 3);
    assert_true(disk_exists(w.env->disk, other));
    wal_contents_fini(&contents);
    mem_free(other);
    world_fini(&w);
}

/* ---- appending and reading ------------------------------------------------------------------ */

TEST(wal, what_was_appended_comes_back)
{
    struct world w = world_new();
    open_new(&w, SMALL);
    append(&w, 1, 1, 1, 0);
    append(&w, 2, 5, 1, 100);
    append(&w, 7, 1, 2, 3000);
    struct wal_contents contents;
    reopen(&w, SMALL, origin, &contents);
    check_entries(&contents, 1, 7);
    assert_int_equal(contents.entries[6].term, 2);
    assert_int_equal(contents.hard_state.term, 2);
    assert_int_equal(contents.hard_state.vote, 1);
    assert_int_equal(contents.hard_state.commit, 7);
    assert_true(slice_eq(buf_slice(&contents.metadata), SLICE("\x08\x01\x10\x02")));
    assert_null(contents.repaired);
    wal_contents_fini(&contents);
    append(&w, 8, 1, 2, 10); /* the checksum chain goes on after opening */
    reopen(&w, SMALL, origin, &contents);
    check_entries(&contents, 1, 8);
    wal_contents_fini(&contents);
    world_fini(&w);
}

TEST(wal, a_later_entry_with_the_same_index_replaces_the_tail)
{
    struct world w = world_new();
    open_new(&w, SMALL);
    append(&w, 1, 10, 1, 10);
    append(&w, 4, 2, 2, 20);
    struct wal_contents contents;
    reopen(&w, SMALL, origin, &contents);
    check_entries(&contents, 1, 5);
    assert_int_equal(contents.entries[2].term, 1);
    assert_int_equal(contents.entries[3].term, 2);
    wal_contents_fini(&contents);
    world_fini(&w);
}

TEST(wal, a_gap_between_entries_is_an_error)
{
    struct world w = world_new();
    struct wal_contents contents;
    struct errbuf why;
    open_new(&w, SMALL);
    append(&w, 1, 2, 1, 10);
    append(&w, 4, 1, 1, 10);
    wal_close(&w.wal);
    assert_int_equal(try_open(&w, SMALL, origin, &contents, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.text, "slice bounds out of range"));
    world_fini(&w);
}

TEST(wal, writes_during_a_sync_share_the_next_one_and_finish_in_order)
{
    struct world w = world_new();
    enum { COUNT = 50 };
    struct pending p[COUNT];
    open_new(&w, SMALL);
    for (size_t i = 0; i < COUNT; i++) {
        submit(&w, &p[i], i + 1, 1, 1, 20);
        assert_int_equal(p[i].order, 0); /* never from inside the append */
    }
    for (size_t i = 0; i < COUNT; i++) {
        wait_for(&w, &p[i]);
        assert_int_equal(p[i].order, i + 1);
    }
    struct wal_stats stats;
    wal_stats(w.wal, &stats);
    assert_int_equal(stats.appends, COUNT);
    assert_int_equal(stats.syncs, 2); /* the first alone, the other 49 together */
    struct wal_contents contents;
    reopen(&w, SMALL, origin, &contents);
    check_entries(&contents, 1, COUNT);
    wal_contents_fini(&contents);
    world_fini(&w);
}

TEST(wal, a_commit_alone_is_written_and_not_synced)
{
    struct world w = world_new();
    open_new(&w, SMALL);
    append(&w, 1, 1, 1, 10);
    struct wal_stats before;
    struct wal_stats after;
    wal_stats(w.wal, &before);
    struct pending p = {.world = &w};
    p.write.has_hard_state = true;
    p.write.hard_state = (struct raft_hard_state){.term = 1, .vote = 1, .commit = 9};
    p.write.done = pending_done;
    wal_append(w.wal, &p.write);
    wait_for(&w, &p);
    wal_stats(w.wal, &after);
    assert_int_equal(after.syncs, before.syncs);
    assert_true(after.bytes > before.bytes);
    struct raft_hard_state state;
    assert_int_equal(wal_verify(w.env->disk, w.dir, origin, &state, NULL), ERR_OK);
    assert_int_equal(state.commit, 9);
    world_fini(&w);
}

TEST(wal, a_deferred_state_leaves_with_the_next_append_or_at_close)
{
    struct world w = world_new();
    struct raft_hard_state state;
    struct raft_hard_state deferred = {.term = 1, .vote = 1, .commit = 5};
    open_new(&w, SMALL);
    wal_defer_state(w.wal, &deferred);
    assert_int_equal(wal_verify(w.env->disk, w.dir, origin, &state, NULL), ERR_OK);
    assert_int_equal(state.commit, 0);
    save_snapshot(&w, 4, 1);
    assert_int_equal(wal_verify(w.env->disk, w.dir, origin, &state, NULL), ERR_OK);
    assert_int_equal(state.commit, 5);
    deferred.commit = 6;
    wal_defer_state(w.wal, &deferred);
    append(&w, 1, 8, 1, 10); /* brings a newer one: commit 8 */
    deferred.commit = 7;
    assert_int_equal(wal_verify(w.env->disk, w.dir, origin, &state, NULL), ERR_OK);
    assert_int_equal(state.commit, 8);
    deferred.commit = 9;
    wal_defer_state(w.wal, &deferred);
    wal_close(&w.wal);
    assert_int_equal(wal_verify(w.env->disk, w.dir, origin, &state, NULL), ERR_OK);
    assert_int_equal(state.commit, 9);
    world_fini(&w);
}

TEST(wal, an_entry_larger_than_any_buffer_comes_back)
{
    struct world w = world_new();
    open_new(&w, (uint64_t)16 << 20);
    append(&w, 1, 3, 1, (size_t)3 << 20);
    struct wal_contents contents;
    reopen(&w, (uint64_t)16 << 20, origin, &contents);
    check_entries(&contents, 1, 3);
    wal_contents_fini(&contents);
    world_fini(&w);
}

/* ---- segments ------------------------------------------------------------------------------- */

TEST(wal, segments_are_cut_and_named_after_the_entry_that_may_come_next)
{
    struct world w = world_new();
    open_new(&w, SMALL);
    for (raft_index i = 1; i <= 100; i++) {
        append(&w, i, 1, 1, 4000);
    }
    struct wal_stats stats;
    wal_stats(w.wal, &stats);
    assert_int_equal(stats.cuts, 5); /* after every 17th: 17 * 4048 > 65536 */
    assert_int_equal(wal_segment_count(w.wal), 6);
    struct wal__segments segments;
    assert_int_equal(wal__list(w.env->disk, w.dir, &segments, NULL), ERR_OK);
    assert_int_equal(segments.count, 6);
    assert_int_equal(segments.list[1].seq, 1);
    assert_int_equal(segments.list[1].first, 18);
    /* A finished segment has its true length; the open one is preallocated. */
    struct file_info info;
    char *path = wal__path(w.dir, segments.list[0]);
    assert_int_equal(disk_stat(w.env->disk, path, &info, NULL), ERR_OK);
    assert_true(info.size >= SMALL && info.size < SMALL + 4096);
    mem_free(path);
    path = wal__path(w.dir, segments.list[5]);
    assert_int_equal(disk_stat(w.env->disk, path, &info, NULL), ERR_OK);
    assert_int_equal(info.size, SMALL);
    mem_free(path);
    wal__segments_fini(&segments);
    struct wal_contents contents;
    reopen(&w, SMALL, origin, &contents);
    check_entries(&contents, 1, 100);
    wal_contents_fini(&contents);
    world_fini(&w);
}

TEST(wal, a_log_is_read_from_the_segment_that_reaches_back_to_the_snapshot)
{
    struct world w = world_new();
    open_new(&w, SMALL);
    for (raft_index i = 1; i <= 50; i++) {
        append(&w, i, 1, 1, 4000);
    }
    save_snapshot(&w, 40, 1);
    struct wal_contents contents;
    struct wal_position at = {.index = 40, .term = 1};
    reopen(&w, SMALL, at, &contents);
    check_entries(&contents, 41, 10);
    assert_int_equal(wal_segment_count(w.wal), 1); /* 0, 18, 35: the last one will do */
    wal_contents_fini(&contents);
    append(&w, 51, 1, 1, 100);
    reopen(&w, SMALL, at, &contents);
    check_entries(&contents, 41, 11);
    wal_contents_fini(&contents);
    world_fini(&w);
}

TEST(wal, a_snapshot_beyond_the_entries_is_where_the_next_segment_begins)
{
    struct world w = world_new();
    open_new(&w, SMALL);
    append(&w, 1, 1, 1, 10);
    save_snapshot(&w, 1000, 3); /* received from a leader */
    append(&w, 1001, 1, 3, 70000);
    append(&w, 1002, 1, 3, 10);
    struct wal_contents contents;
    reopen(&w, SMALL, (struct wal_position){.index = 1000, .term = 3}, &contents);
    check_entries(&contents, 1001, 2);
    assert_int_equal(wal_segment_count(w.wal), 2);
    wal_contents_fini(&contents);
    world_fini(&w);
}

TEST(wal, snapshot_records_count_up_to_the_commit)
{
    struct world w = world_new();
    struct wal_position *list;
    size_t count;
    open_new(&w, SMALL);
    append(&w, 1, 10, 1, 10);
    save_snapshot(&w, 5, 1);
    save_snapshot(&w, 10, 1);
    save_snapshot(&w, 11, 2); /* not committed yet */
    assert_int_equal(wal_snapshots(w.env->disk, w.dir, &list, &count, NULL), ERR_OK);
    assert_int_equal(count, 3);
    assert_int_equal(list[0].index, 0);
    assert_int_equal(list[1].index, 5);
    assert_int_equal(list[2].index, 10);
    assert_int_equal(list[2].term, 1);
    mem_free(list);
    world_fini(&w);
}

TEST(wal, a_snapshot_of_another_term_or_without_a_record_is_refused)
{
    struct world w = world_new();
    struct wal_contents contents;
    struct errbuf why;
    open_new(&w, SMALL);
    append(&w, 1, 10, 1, 10);
    save_snapshot(&w, 5, 1);
    wal_close(&w.wal);
    struct wal_position other_term = {.index = 5, .term = 2};
    assert_int_equal(try_open(&w, SMALL, other_term, &contents, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.text, "wal: snapshot mismatch"));
    struct wal_position unknown = {.index = 6, .term = 1};
    assert_int_equal(try_open(&w, SMALL, unknown, &contents, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.text, "wal: snapshot not found"));
    assert_int_equal(wal_read(w.env->disk, w.dir, unknown, &contents, &why), ERR_NOT_FOUND);
    world_fini(&w);
}

TEST(wal, released_segments_are_purged_and_held_ones_are_not)
{
    struct world w = world_new();
    size_t removed;
    open_new(&w, SMALL);
    for (raft_index i = 1; i <= 100; i++) {
        append(&w, i, 1, 1, 4000);
    }
    assert_int_equal(wal_segment_count(w.wal), 6);
    assert_int_equal(wal_purge(w.env->disk, w.dir, 2, &removed, NULL), ERR_OK);
    assert_int_equal(removed, 0);
    save_snapshot(&w, 60, 1);
    wal_release_to(w.wal, 60); /* 0, 18, 35, 52, 69, 86: 52 holds 60 */
    assert_int_equal(wal_segment_count(w.wal), 3);
    wal_check(w.wal);
    assert_int_equal(wal_purge(w.env->disk, w.dir, 5, &removed, NULL), ERR_OK);
    assert_int_equal(removed, 1);
    assert_int_equal(wal_purge(w.env->disk, w.dir, 1, &removed, NULL), ERR_OK);
    assert_int_equal(removed, 2);
    struct wal_contents contents;
    struct wal_position at = {.index = 60, .term = 1};
    reopen(&w, SMALL, at, &contents);
    check_entries(&contents, 61, 40);
    wal_contents_fini(&contents);
    /* And the beginning is gone. */
    assert_int_equal(wal_read(w.env->disk, w.dir, origin, &contents, NULL), ERR_NOT_FOUND);
    world_fini(&w);
}

TEST(wal, a_missing_segment_is_an_error_that_names_it)
{
    struct world w = world_new();
    struct wal_contents contents;
    struct errbuf why;
    open_new(&w, SMALL);
    for (raft_index i = 1; i <= 50; i++) {
        append(&w, i, 1, 1, 4000);
    }
    wal_close(&w.wal);
    struct wal__segments segments;
    assert_int_equal(wal__list(w.env->disk, w.dir, &segments, NULL), ERR_OK);
    char *path = wal__path(w.dir, segments.list[1]);
    assert_int_equal(disk_unlink(w.env->disk, path, NULL), ERR_OK);
    assert_int_equal(try_open(&w, SMALL, origin, &contents, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.text, "0000000000000001"));
    mem_free(path);
    wal__segments_fini(&segments);
    world_fini(&w);
}

TEST(wal, a_log_is_opened_once_at_a_time)
{
    struct world w = world_new();
    struct errbuf why;
    struct wal_contents contents;
    open_new(&w, SMALL);
    struct wal *first = w.wal;
    w.wal = NULL;
    assert_int_equal(try_open(&w, SMALL, origin, &contents, &why), ERR_LOCKED);
    /* Reading needs no lock. */
    assert_int_equal(wal_read(w.env->disk, w.dir, origin, &contents, &why), ERR_OK);
    wal_contents_fini(&contents);
    w.wal = first;
    world_fini(&w);
}

TEST(wal, foreign_files_are_left_alone)
{
    struct world w = world_new();
    open_new(&w, SMALL);
    append(&w, 1, 3, 1, 10);
    static const char *const names[] = {"0000000000000000-0000000000000000.wal.broken", "x.wal",
                                        "00000000000000FF-0000000000000000.wal", "README"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = mem_printf("%s/%s", w.dir, names[i]);
        write_file(&w, path, SLICE("not a log"));
        mem_free(path);
    }
    struct wal_contents contents;
    reopen(&w, SMALL, origin, &contents);
    check_entries(&contents, 1, 3);
    wal_contents_fini(&contents);
    world_fini(&w);
}

/* ---- torn tails and damage ------------------------------------------------------------------- */

/* A log of five entries in one segment, closed; its bytes, and where the last entry's frame is. */
struct specimen {
    char *path;
    struct buf bytes;
    size_t last_frame;
    size_t end;
};

static struct specimen specimen_new(struct world *w, size_t last_len)
{
    struct specimen s = {.path = NULL};
    open_new(w, SMALL);
    append(w, 1, 4, 1, 50);
    struct wal_stats stats;
    wal_stats(w->wal, &stats);
    struct pending p = {.world = w};
    struct raft_entry entry = {.index = 5, .term = 1, .payload = raft_payload_new(last_len)};
    memset(entry.payload->bytes, 5, last_len);
    p.write.entries = &entry;
    p.write.entry_count = 1;
    p.write.must_sync = true;
    p.write.done = pending_done;
    wal_append(w->wal, &p.write);
    while (p.order == 0) {
        loop_turn(w->loop, true);
    }
    raft_payload_unref(&entry.payload);
    s.path = first_segment(w);
    s.end = (size_t)wal__tail_offset(w->wal);
    wal_close(&w->wal);
    s.bytes = read_file(w, s.path);
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
static void opens_with(struct world *w, const struct specimen *s, size_t count, bool is_repaired)
{
    struct wal_contents contents;
    write_file(w, s->path, buf_slice(&s->bytes));
    open_at(w, SMALL, origin, &contents);
    check_entries(&contents, 1, count);
    assert_int_equal(contents.repaired != NULL, is_repaired);
    if (is_repaired) {
        struct buf copy = read_file(w, contents.repaired);
        assert_true(slice_eq(buf_slice(&copy), buf_slice(&s->bytes)));
        buf_fini(&copy);
    }
    wal_contents_fini(&contents);
    append(w, count + 1, 3, 2, 700); /* and the log goes on */
    reopen(w, SMALL, origin, &contents);
    check_entries(&contents, 1, count + 3);
    wal_contents_fini(&contents);
    wal_close(&w->wal);
}

static void refused_with(struct world *w, const struct specimen *s, const char *sentence)
{
    struct wal_contents contents;
    struct errbuf why = {0};
    write_file(w, s->path, buf_slice(&s->bytes));
    assert_int_equal(try_open(w, SMALL, origin, &contents, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.text, sentence));
    assert_non_null(strstr(why.text, s->path));
    struct buf after = read_file(w, s->path);
    assert_true(slice_eq(buf_slice(&after), buf_slice(&s->bytes))); /* nothing was changed */
    buf_fini(&after);
}

TEST(wal, a_record_with_a_sector_of_zeros_is_a_torn_tail_and_is_cut)
{
    struct world w = world_new();
    struct specimen s = specimen_new(&w, 3000);
    size_t sector = (s.last_frame / WAL_SECTOR_BYTES + 2) * WAL_SECTOR_BYTES;
    memset(s.bytes.data + sector, 0, WAL_SECTOR_BYTES);
    opens_with(&w, &s, 4, true);
    specimen_fini(&s);
    world_fini(&w);
}

TEST(wal, a_record_whose_last_sectors_never_came_is_a_torn_tail)
{
    struct world w = world_new();
    struct specimen s = specimen_new(&w, 3000);
    size_t from = (s.last_frame / WAL_SECTOR_BYTES + 1) * WAL_SECTOR_BYTES;
    memset(s.bytes.data + from, 0, s.bytes.len - from);
    opens_with(&w, &s, 4, true);
    specimen_fini(&s);
    world_fini(&w);
}

TEST(wal, a_record_whose_first_sector_never_came_ends_the_log_and_the_rest_is_zeroed)
{
    struct world w = world_new();
    struct specimen s = specimen_new(&w, 3000);
    size_t next = (s.last_frame / WAL_SECTOR_BYTES + 1) * WAL_SECTOR_BYTES;
    memset(s.bytes.data + s.last_frame, 0, next - s.last_frame);
    opens_with(&w, &s, 4, false);
    specimen_fini(&s);
    world_fini(&w);
}

TEST(wal, a_file_that_ends_inside_a_record_is_a_torn_tail)
{
    struct world w = world_new();
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
    world_fini(&w);
}

TEST(wal, changed_bytes_are_damage_and_refused)
{
    struct world w = world_new();
    struct specimen s = specimen_new(&w, 3000);
    s.bytes.data[s.last_frame + 1000] ^= 0x10; /* even in the last record */
    refused_with(&w, &s, "crc mismatch");
    s.bytes.data[s.last_frame + 1000] ^= 0x10;
    s.bytes.data[200] ^= 1; /* in an early entry */
    refused_with(&w, &s, "at offset");
    s.bytes.data[200] ^= 1;
    opens_with(&w, &s, 5, false);
    specimen_fini(&s);
    world_fini(&w);
}

/* etcd would take every one of these for a torn tail and cut acknowledged entries off. */
TEST(wal, a_changed_length_is_damage_and_cuts_nothing_off)
{
    struct world w = world_new();
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
    world_fini(&w);
}

TEST(wal, damage_in_a_finished_segment_is_never_a_torn_tail)
{
    struct world w = world_new();
    open_new(&w, SMALL);
    for (raft_index i = 1; i <= 30; i++) {
        append(&w, i, 1, 1, 4000);
    }
    wal_close(&w.wal);
    struct specimen s = {.path = first_segment(&w)};
    s.bytes = read_file(&w, s.path);
    memset(s.bytes.data + 9216, 0, WAL_SECTOR_BYTES); /* a lost sector */
    refused_with(&w, &s, "crc mismatch");
    memset(s.bytes.data + 9216, 1, WAL_SECTOR_BYTES); /* entry 3's data are 3s there */
    refused_with(&w, &s, "crc mismatch");
    memset(s.bytes.data + 9216, 3, WAL_SECTOR_BYTES);
    s.bytes.len -= 100; /* shorter than it was */
    refused_with(&w, &s, "a record longer than the rest of the file");
    specimen_fini(&s);
    world_fini(&w);
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
        struct world w = world_new();
        broken.ops = *w.env->disk->ops;
        broken.ops.pwrite = broken_pwrite;
        broken.ops.sync_data = broken_sync_data;
        broken.disk.ops = &broken.ops;
        w.env->disk = &broken.disk;
        open_new(&w, SMALL);
        append(&w, 1, 1, 1, 10);
        broken.fails_write = fails_write;
        broken.fails_sync = fails_sync;
        append(&w, 2, 1, 1, 10);
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

TEST(wal, a_failed_sync_or_write_ends_the_process_and_acknowledges_nothing)
{
    dies_with(false, true, "fdatasync");
    dies_with(true, false, "write");
}
