#include "storage/wal_fixture.h"

#include "base/digest.h"
#include "storage/wal_priv.h"

static bool is_there(struct wal_world *w)
{
    bool out = false;
    assert_int_equal(wal_exists(w->env->disk, w->dir, &out, NULL), ERR_OK);
    return out;
}

/* ---- creating ------------------------------------------------------------------------------ */

TEST(wal, a_new_log_is_byte_for_byte_etcds)
{
    struct wal_world w = wal_world_new();
    wal_world_create(&w, WAL_SMALL);
    assert_true(is_there(&w));
    char *path = wal_world_first_segment(&w);
    struct buf bytes = wal_world_read_file(&w, path);
    /* crc 0; metadata {1, 2}; snapshot {0, 0} */
    static const uint8_t head[] = {4, 0, 0, 0, 0, 0, 0, 0x84, 8, 4, 0x10, 0, 0, 0, 0, 0};
    assert_int_equal(bytes.len, WAL_SMALL);
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
    wal_world_fini(&w);
}

TEST(wal, a_log_is_not_made_twice)
{
    struct wal_world w = wal_world_new();
    struct errbuf why;
    assert_false(is_there(&w));
    wal_world_create(&w, WAL_SMALL);
    assert_int_equal(wal_create(w.env->disk, w.dir, SLICE("x"), WAL_SMALL, &why), ERR_EXISTS);
    assert_non_null(strstr(why.text, w.dir));
    wal_world_fini(&w);
}

TEST(wal, a_creation_that_was_cut_short_is_begun_again)
{
    struct wal_world w = wal_world_new();
    char *tmp = mem_printf("%s.tmp", w.dir);
    char *file = mem_printf("%s/0000000000000000-0000000000000000.wal", tmp);
    assert_int_equal(disk_mkdir(w.env->disk, tmp, 0700, NULL), ERR_OK);
    wal_world_write_file(&w, file, SLICE("half"));
    wal_world_open_new(&w, WAL_SMALL);
    assert_false(disk_exists(w.env->disk, tmp));
    mem_free(tmp);
    mem_free(file);
    wal_world_fini(&w);
}

TEST(wal, a_directory_with_other_things_in_it_keeps_them)
{
    struct wal_world w = wal_world_new();
    char *other = mem_printf("%s/lost+found", w.dir);
    assert_int_equal(disk_mkdir(w.env->disk, w.dir, 0700, NULL), ERR_OK);
    assert_int_equal(disk_mkdir(w.env->disk, other, 0700, NULL), ERR_OK);
    wal_world_open_new(&w, WAL_SMALL);
    wal_world_append(&w, 1, 3, 1, 10);
    struct wal_contents contents;
    wal_world_reopen(&w, WAL_SMALL, WAL_ORIGIN, &contents);
    wal_check_entries(&contents, 1, 3);
    assert_true(disk_exists(w.env->disk, other));
    wal_contents_fini(&contents);
    mem_free(other);
    wal_world_fini(&w);
}

/* ---- appending and reading ------------------------------------------------------------------ */

TEST(wal, what_was_appended_comes_back)
{
    struct wal_world w = wal_world_new();
    wal_world_open_new(&w, WAL_SMALL);
    wal_world_append(&w, 1, 1, 1, 0);
    wal_world_append(&w, 2, 5, 1, 100);
    wal_world_append(&w, 7, 1, 2, 3000);
    struct wal_contents contents;
    wal_world_reopen(&w, WAL_SMALL, WAL_ORIGIN, &contents);
    wal_check_entries(&contents, 1, 7);
    assert_int_equal(contents.entries[6].term, 2);
    assert_int_equal(contents.hard_state.term, 2);
    assert_int_equal(contents.hard_state.vote, 1);
    assert_int_equal(contents.hard_state.commit, 7);
    assert_true(slice_eq(buf_slice(&contents.metadata), SLICE("\x08\x01\x10\x02")));
    assert_null(contents.repaired);
    wal_contents_fini(&contents);
    wal_world_append(&w, 8, 1, 2, 10); /* the checksum chain goes on after opening */
    wal_world_reopen(&w, WAL_SMALL, WAL_ORIGIN, &contents);
    wal_check_entries(&contents, 1, 8);
    wal_contents_fini(&contents);
    wal_world_fini(&w);
}

TEST(wal, a_later_entry_with_the_same_index_replaces_the_tail)
{
    struct wal_world w = wal_world_new();
    wal_world_open_new(&w, WAL_SMALL);
    wal_world_append(&w, 1, 10, 1, 10);
    wal_world_append(&w, 4, 2, 2, 20);
    struct wal_contents contents;
    wal_world_reopen(&w, WAL_SMALL, WAL_ORIGIN, &contents);
    wal_check_entries(&contents, 1, 5);
    assert_int_equal(contents.entries[2].term, 1);
    assert_int_equal(contents.entries[3].term, 2);
    wal_contents_fini(&contents);
    wal_world_fini(&w);
}

TEST(wal, entries_behind_a_snapshot_that_a_later_leader_replaced_do_not_come_back)
{
    struct wal_world w = wal_world_new();
    wal_world_open_new(&w, WAL_SMALL);
    wal_world_append(&w, 1, 10, 1, 10);
    wal_world_append(&w, 5, 1, 2, 20); /* replaces 5 to 10 */
    wal_world_save_snapshot(&w, 5, 2);
    struct wal_contents contents;
    struct wal_position at = {.index = 5, .term = 2};
    wal_world_reopen(&w, WAL_SMALL, at, &contents);
    assert_int_equal(contents.entry_count, 0);
    wal_contents_fini(&contents);
    wal_world_append(&w, 6, 2, 2, 20);
    wal_world_reopen(&w, WAL_SMALL, at, &contents);
    wal_check_entries(&contents, 6, 2);
    wal_contents_fini(&contents);
    wal_world_fini(&w);
}

TEST(wal, a_snapshot_from_a_leader_replaces_entries_of_another_term)
{
    struct wal_world w = wal_world_new();
    wal_world_open_new(&w, WAL_SMALL);
    wal_world_append(&w, 1, 10, 1, 10);
    wal_world_save_snapshot(&w, 8, 3); /* our entry 8 is of term 1 */
    struct wal_contents contents;
    wal_world_reopen(&w, WAL_SMALL, (struct wal_position){.index = 8, .term = 3}, &contents);
    assert_int_equal(contents.entry_count, 0);
    wal_contents_fini(&contents);
    wal_world_append(&w, 9, 2, 3, 10);
    wal_world_save_snapshot(&w, 8, 3); /* once more: changes nothing */
    wal_world_reopen(&w, WAL_SMALL, (struct wal_position){.index = 8, .term = 3}, &contents);
    wal_check_entries(&contents, 9, 2);
    assert_int_equal(contents.entries[0].term, 3);
    wal_contents_fini(&contents);
    wal_world_fini(&w);
}

TEST(wal, a_snapshot_of_our_own_keeps_what_follows_it)
{
    struct wal_world w = wal_world_new();
    wal_world_open_new(&w, WAL_SMALL);
    wal_world_append(&w, 1, 10, 1, 10);
    wal_world_save_snapshot(&w, 8, 1);
    struct wal_contents contents;
    wal_world_reopen(&w, WAL_SMALL, (struct wal_position){.index = 8, .term = 1}, &contents);
    wal_check_entries(&contents, 9, 2);
    wal_contents_fini(&contents);
    wal_world_fini(&w);
}

TEST(wal, a_gap_between_entries_is_an_error)
{
    struct wal_world w = wal_world_new();
    struct wal_contents contents;
    struct errbuf why;
    wal_world_open_new(&w, WAL_SMALL);
    wal_world_append(&w, 1, 2, 1, 10);
    wal_world_append(&w, 4, 1, 1, 10);
    wal_close(&w.wal);
    assert_int_equal(wal_world_try_open(&w, WAL_SMALL, WAL_ORIGIN, &contents, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.text, "slice bounds out of range"));
    wal_world_fini(&w);
}

TEST(wal, writes_during_a_sync_share_the_next_one_and_finish_in_order)
{
    struct wal_world w = wal_world_new();
    enum { COUNT = 50 };
    struct wal_pending p[COUNT];
    wal_world_open_new(&w, WAL_SMALL);
    for (size_t i = 0; i < COUNT; i++) {
        wal_world_submit(&w, &p[i], i + 1, 1, 1, 20);
        assert_int_equal(p[i].order, 0); /* never from inside the append */
    }
    for (size_t i = 0; i < COUNT; i++) {
        wal_world_wait(&w, &p[i]);
        assert_int_equal(p[i].order, i + 1);
    }
    struct wal_stats stats;
    wal_stats(w.wal, &stats);
    assert_int_equal(stats.appends, COUNT);
    assert_int_equal(stats.syncs, 2); /* the first alone, the other 49 together */
    struct wal_contents contents;
    wal_world_reopen(&w, WAL_SMALL, WAL_ORIGIN, &contents);
    wal_check_entries(&contents, 1, COUNT);
    wal_contents_fini(&contents);
    wal_world_fini(&w);
}

TEST(wal, a_commit_alone_is_written_and_not_synced)
{
    struct wal_world w = wal_world_new();
    wal_world_open_new(&w, WAL_SMALL);
    wal_world_append(&w, 1, 1, 1, 10);
    struct wal_stats before;
    struct wal_stats after;
    wal_stats(w.wal, &before);
    struct wal_pending p = {.world = &w};
    p.write.has_hard_state = true;
    p.write.hard_state = (struct raft_hard_state){.term = 1, .vote = 1, .commit = 9};
    p.write.done = wal_pending_done;
    wal_append(w.wal, &p.write);
    wal_world_wait(&w, &p);
    wal_stats(w.wal, &after);
    assert_int_equal(after.syncs, before.syncs);
    assert_true(after.bytes > before.bytes);
    struct raft_hard_state state;
    assert_int_equal(wal_verify(w.env->disk, w.dir, WAL_ORIGIN, &state, NULL), ERR_OK);
    assert_int_equal(state.commit, 9);
    wal_world_fini(&w);
}

TEST(wal, a_deferred_state_leaves_with_the_next_append_or_at_close)
{
    struct wal_world w = wal_world_new();
    struct raft_hard_state state;
    struct raft_hard_state deferred = {.term = 1, .vote = 1, .commit = 5};
    wal_world_open_new(&w, WAL_SMALL);
    wal_defer_state(w.wal, &deferred);
    assert_int_equal(wal_verify(w.env->disk, w.dir, WAL_ORIGIN, &state, NULL), ERR_OK);
    assert_int_equal(state.commit, 0);
    wal_world_save_snapshot(&w, 4, 1);
    assert_int_equal(wal_verify(w.env->disk, w.dir, WAL_ORIGIN, &state, NULL), ERR_OK);
    assert_int_equal(state.commit, 5);
    deferred.commit = 6;
    wal_defer_state(w.wal, &deferred);
    wal_world_append(&w, 1, 8, 1, 10); /* brings a newer one: commit 8 */
    deferred.commit = 7;
    assert_int_equal(wal_verify(w.env->disk, w.dir, WAL_ORIGIN, &state, NULL), ERR_OK);
    assert_int_equal(state.commit, 8);
    deferred.commit = 9;
    wal_defer_state(w.wal, &deferred);
    wal_close(&w.wal);
    assert_int_equal(wal_verify(w.env->disk, w.dir, WAL_ORIGIN, &state, NULL), ERR_OK);
    assert_int_equal(state.commit, 9);
    wal_world_fini(&w);
}

/* Else a snapshot at the deferred commit would not count after a crash, and the segments before it
 * are gone. */
TEST(wal, a_deferred_state_is_not_overtaken_by_older_writes_that_still_wait)
{
    struct wal_world w = wal_world_new();
    struct wal_pending p[3];
    struct wal_snapshot snapshot = {.index = 3, .term = 1};
    struct wal_position *list;
    size_t count;
    wal_world_open_new(&w, WAL_SMALL);
    wal_world_submit(&w, &p[0], 1, 2, 1, 10);
    wal_world_submit(&w, &p[1], 3, 1, 1, 10); /* waits behind the first; says commit 3 */
    p[1].write.hard_state.commit = 1;
    wal_defer_state(w.wal, &(struct raft_hard_state){.term = 1, .vote = 1, .commit = 3});
    p[2] = (struct wal_pending){.world = &w};
    p[2].write.snapshot = &snapshot;
    p[2].write.done = wal_pending_done;
    wal_append(w.wal, &p[2].write);
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        wal_world_wait(&w, &p[i]);
    }
    assert_int_equal(wal_snapshots(w.env->disk, w.dir, &list, &count, NULL), ERR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(list[1].index, 3);
    mem_free(list);
    wal_world_fini(&w);
}

TEST(wal, an_entry_larger_than_any_buffer_comes_back)
{
    struct wal_world w = wal_world_new();
    wal_world_open_new(&w, (uint64_t)16 << 20);
    wal_world_append(&w, 1, 3, 1, (size_t)3 << 20);
    struct wal_contents contents;
    wal_world_reopen(&w, (uint64_t)16 << 20, WAL_ORIGIN, &contents);
    wal_check_entries(&contents, 1, 3);
    wal_contents_fini(&contents);
    wal_world_fini(&w);
}

/* ---- segments ------------------------------------------------------------------------------- */

TEST(wal, segments_are_cut_and_named_after_the_entry_that_may_come_next)
{
    struct wal_world w = wal_world_new();
    wal_world_open_new(&w, WAL_SMALL);
    for (raft_index i = 1; i <= 100; i++) {
        wal_world_append(&w, i, 1, 1, 4000);
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
    assert_true(info.size >= WAL_SMALL && info.size < WAL_SMALL + 4096);
    mem_free(path);
    path = wal__path(w.dir, segments.list[5]);
    assert_int_equal(disk_stat(w.env->disk, path, &info, NULL), ERR_OK);
    assert_int_equal(info.size, WAL_SMALL);
    mem_free(path);
    wal__segments_fini(&segments);
    struct wal_contents contents;
    wal_world_reopen(&w, WAL_SMALL, WAL_ORIGIN, &contents);
    wal_check_entries(&contents, 1, 100);
    wal_contents_fini(&contents);
    wal_world_fini(&w);
}

TEST(wal, a_log_is_read_from_the_segment_that_reaches_back_to_the_snapshot)
{
    struct wal_world w = wal_world_new();
    wal_world_open_new(&w, WAL_SMALL);
    for (raft_index i = 1; i <= 50; i++) {
        wal_world_append(&w, i, 1, 1, 4000);
    }
    wal_world_save_snapshot(&w, 40, 1);
    struct wal_contents contents;
    struct wal_position at = {.index = 40, .term = 1};
    wal_world_reopen(&w, WAL_SMALL, at, &contents);
    wal_check_entries(&contents, 41, 10);
    assert_int_equal(wal_segment_count(w.wal), 1); /* 0, 18, 35: the last one will do */
    wal_contents_fini(&contents);
    wal_world_append(&w, 51, 1, 1, 100);
    wal_world_reopen(&w, WAL_SMALL, at, &contents);
    wal_check_entries(&contents, 41, 11);
    wal_contents_fini(&contents);
    wal_world_fini(&w);
}

TEST(wal, a_snapshot_beyond_the_entries_is_where_the_next_segment_begins)
{
    struct wal_world w = wal_world_new();
    wal_world_open_new(&w, WAL_SMALL);
    wal_world_append(&w, 1, 1, 1, 10);
    wal_world_save_snapshot(&w, 1000, 3); /* received from a leader */
    wal_world_append(&w, 1001, 1, 3, 70000);
    wal_world_append(&w, 1002, 1, 3, 10);
    struct wal_contents contents;
    wal_world_reopen(&w, WAL_SMALL, (struct wal_position){.index = 1000, .term = 3}, &contents);
    wal_check_entries(&contents, 1001, 2);
    assert_int_equal(wal_segment_count(w.wal), 2);
    wal_contents_fini(&contents);
    wal_world_fini(&w);
}

TEST(wal, snapshot_records_count_up_to_the_commit)
{
    struct wal_world w = wal_world_new();
    struct wal_position *list;
    size_t count;
    wal_world_open_new(&w, WAL_SMALL);
    wal_world_append(&w, 1, 10, 1, 10);
    wal_world_save_snapshot(&w, 5, 1);
    wal_world_save_snapshot(&w, 10, 1);
    wal_world_save_snapshot(&w, 11, 2); /* not committed yet */
    assert_int_equal(wal_snapshots(w.env->disk, w.dir, &list, &count, NULL), ERR_OK);
    assert_int_equal(count, 3);
    assert_int_equal(list[0].index, 0);
    assert_int_equal(list[1].index, 5);
    assert_int_equal(list[2].index, 10);
    assert_int_equal(list[2].term, 1);
    mem_free(list);
    wal_world_fini(&w);
}

TEST(wal, a_snapshot_of_another_term_or_without_a_record_is_refused)
{
    struct wal_world w = wal_world_new();
    struct wal_contents contents;
    struct errbuf why;
    wal_world_open_new(&w, WAL_SMALL);
    wal_world_append(&w, 1, 10, 1, 10);
    wal_world_save_snapshot(&w, 5, 1);
    wal_close(&w.wal);
    struct wal_position other_term = {.index = 5, .term = 2};
    assert_int_equal(wal_world_try_open(&w, WAL_SMALL, other_term, &contents, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.text, "wal: snapshot mismatch"));
    struct wal_position unknown = {.index = 6, .term = 1};
    assert_int_equal(wal_world_try_open(&w, WAL_SMALL, unknown, &contents, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.text, "wal: snapshot not found"));
    assert_int_equal(wal_read(w.env->disk, w.dir, unknown, &contents, &why), ERR_NOT_FOUND);
    wal_world_fini(&w);
}

TEST(wal, released_segments_are_purged_and_held_ones_are_not)
{
    struct wal_world w = wal_world_new();
    size_t removed;
    wal_world_open_new(&w, WAL_SMALL);
    for (raft_index i = 1; i <= 100; i++) {
        wal_world_append(&w, i, 1, 1, 4000);
    }
    assert_int_equal(wal_segment_count(w.wal), 6);
    assert_int_equal(wal_purge(w.env->disk, w.dir, 2, &removed, NULL), ERR_OK);
    assert_int_equal(removed, 0);
    wal_world_save_snapshot(&w, 60, 1);
    wal_release_to(w.wal, 60); /* 0, 18, 35, 52, 69, 86: 52 holds 60 */
    assert_int_equal(wal_segment_count(w.wal), 3);
    wal_check(w.wal);
    assert_int_equal(wal_purge(w.env->disk, w.dir, 5, &removed, NULL), ERR_OK);
    assert_int_equal(removed, 1);
    assert_int_equal(wal_purge(w.env->disk, w.dir, 1, &removed, NULL), ERR_OK);
    assert_int_equal(removed, 2);
    struct wal_contents contents;
    struct wal_position at = {.index = 60, .term = 1};
    wal_world_reopen(&w, WAL_SMALL, at, &contents);
    wal_check_entries(&contents, 61, 40);
    wal_contents_fini(&contents);
    /* And the beginning is gone. */
    assert_int_equal(wal_read(w.env->disk, w.dir, WAL_ORIGIN, &contents, NULL), ERR_NOT_FOUND);
    wal_world_fini(&w);
}

TEST(wal, a_missing_segment_is_an_error_that_names_it)
{
    struct wal_world w = wal_world_new();
    struct wal_contents contents;
    struct errbuf why;
    wal_world_open_new(&w, WAL_SMALL);
    for (raft_index i = 1; i <= 50; i++) {
        wal_world_append(&w, i, 1, 1, 4000);
    }
    wal_close(&w.wal);
    struct wal__segments segments;
    assert_int_equal(wal__list(w.env->disk, w.dir, &segments, NULL), ERR_OK);
    char *path = wal__path(w.dir, segments.list[1]);
    assert_int_equal(disk_unlink(w.env->disk, path, NULL), ERR_OK);
    assert_int_equal(wal_world_try_open(&w, WAL_SMALL, WAL_ORIGIN, &contents, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.text, "0000000000000001"));
    mem_free(path);
    wal__segments_fini(&segments);
    wal_world_fini(&w);
}

TEST(wal, a_log_is_opened_once_at_a_time)
{
    struct wal_world w = wal_world_new();
    struct errbuf why;
    struct wal_contents contents;
    wal_world_open_new(&w, WAL_SMALL);
    struct wal *first = w.wal;
    w.wal = NULL;
    assert_int_equal(wal_world_try_open(&w, WAL_SMALL, WAL_ORIGIN, &contents, &why), ERR_LOCKED);
    /* Reading needs no lock. */
    assert_int_equal(wal_read(w.env->disk, w.dir, WAL_ORIGIN, &contents, &why), ERR_OK);
    wal_contents_fini(&contents);
    w.wal = first;
    wal_world_fini(&w);
}

TEST(wal, foreign_files_are_left_alone)
{
    struct wal_world w = wal_world_new();
    wal_world_open_new(&w, WAL_SMALL);
    wal_world_append(&w, 1, 3, 1, 10);
    static const char *const names[] = {"0000000000000000-0000000000000000.wal.broken", "x.wal",
                                        "00000000000000FF-0000000000000000.wal", "README"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = mem_printf("%s/%s", w.dir, names[i]);
        wal_world_write_file(&w, path, SLICE("not a log"));
        mem_free(path);
    }
    struct wal_contents contents;
    wal_world_reopen(&w, WAL_SMALL, WAL_ORIGIN, &contents);
    wal_check_entries(&contents, 1, 3);
    wal_contents_fini(&contents);
    wal_world_fini(&w);
}
