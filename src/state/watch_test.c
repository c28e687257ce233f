#include "state/watch_world.h"

#include "state/watch_priv.h"

#include "unit.h"

#include <stdio.h>

/* watch_fuzz.c: random operations against a sorted log of events. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct watch_world *world_new_with(const struct watch_options *options)
{
    struct watch_world *w = NEW(struct watch_world);
    watch_world_init(w, options);
    return w;
}

static struct watch_world *world_new(void)
{
    return world_new_with(NULL);
}

static void world_free(struct watch_world *w)
{
    watch_world_fini(w);
    mem_free(w);
}

static void expect_flush(struct watch_world *w, const char *want)
{
    watch_hub_check(w->hub);
    watch_hub_flush(w->hub);
    watch_hub_check(w->hub);
    assert_string_equal(watch_world_told(w), want);
}

static void expect_settled(struct watch_world *w, const char *want)
{
    watch_world_settle(w);
    assert_string_equal(watch_world_told(w), want);
}

/* ---- what is up to date ---------------------------------------------------------------------- */

TEST(watch, a_key_a_span_a_prefix_and_everything_are_told_of_what_is_theirs)
{
    struct watch_world *w = world_new();
    assert_int_equal(watch_world_watch(w, 1, "b", "", 0, 0), 0);
    assert_int_equal(watch_world_watch(w, 1, "a", "b", 0, 0), 1);
    assert_int_equal(watch_world_watch(w, 1, "b", "c", 0, 0), 2);
    struct watch_request all = {.range_end = slice_of("", 1)};
    assert_int_equal(watch_world_create(w, 1, &all), 3);
    struct watch_request from = {.key = SLICE("b"), .range_end = slice_of("", 1)};
    assert_int_equal(watch_world_create(w, 1, &from), 4);
    struct watch_request smallest = {.key = SLICE_EMPTY};
    assert_int_equal(watch_world_create(w, 1, &smallest), 5);
    watch_world_put(w, "b", "x");
    expect_flush(w, "1: 0 @2 PUT b=x(2,2,1)\n"
                    "1: 3 @2 PUT b=x(2,2,1)\n"
                    "1: 2 @2 PUT b=x(2,2,1)\n"
                    "1: 4 @2 PUT b=x(2,2,1)\n");
    watch_world_put(w, "a", "");
    expect_flush(w, "1: 3 @3 PUT a=(3,3,1)\n"
                    "1: 1 @3 PUT a=(3,3,1)\n");
    watch_world_put(w, "c", "y");
    expect_flush(w, "1: 3 @4 PUT c=y(4,4,1)\n"
                    "1: 4 @4 PUT c=y(4,4,1)\n");
    expect_settled(w, "");
    world_free(w);
}

TEST(watch, events_of_one_revision_leave_together_and_so_do_those_of_one_turn)
{
    struct watch_world *w = world_new();
    watch_world_watch(w, 1, "a", "c", 0, 0);
    watch_world_begin(w);
    mvcc_put(w->store, SLICE("a"), SLICE("1"), 0);
    mvcc_put(w->store, SLICE("x"), SLICE("1"), 0);
    mvcc_put(w->store, SLICE("b"), SLICE("1"), 0);
    watch_world_end(w);
    watch_world_put(w, "x", "2");
    watch_world_delete(w, "a", "z");
    expect_flush(w, "1: 0 @4 PUT a=1(2,2,1) PUT b=1(2,2,1) DELETE a(4) DELETE b(4)\n");
    world_free(w);
}

TEST(watch, filters_leave_nothing_and_then_nothing_is_sent)
{
    struct watch_world *w = world_new();
    watch_world_watch(w, 1, "a", "", 0, WATCH_NO_PUT);
    watch_world_watch(w, 1, "a", "", 0, WATCH_NO_DELETE);
    watch_world_watch(w, 1, "a", "", 0, WATCH_NO_PUT | WATCH_NO_DELETE);
    watch_world_put(w, "a", "1");
    expect_flush(w, "1: 1 @2 PUT a=1(2,2,1)\n");
    watch_world_delete(w, "a", "");
    expect_flush(w, "1: 0 @3 DELETE a(3)\n");
    world_free(w);
}

TEST(watch, prev_kv_is_what_stood_there_before_the_revision)
{
    struct watch_world *w = world_new();
    watch_world_watch(w, 1, "a", "", 0, WATCH_PREV_KV);
    watch_world_put(w, "a", "1");
    watch_world_put(w, "a", "2");
    watch_world_delete(w, "a", "");
    watch_world_put(w, "a", "3");
    const char *want = "1: 0 @5 PUT a=1(2,2,1) PUT a=2(2,3,2) was 1(2) DELETE a(4) was 2(3) "
                       "PUT a=3(5,5,1)\n";
    expect_flush(w, want);
    /* A transaction that deletes and puts: before it there was 3. */
    struct key_range range = key_range_of(SLICE("a"), SLICE(""));
    watch_world_begin(w);
    mvcc_delete(w->store, &range);
    mvcc_put(w->store, SLICE("a"), SLICE("4"), 0);
    watch_world_end(w);
    expect_flush(w, "1: 0 @6 DELETE a(6) was 3(5) PUT a=4(6,6,1)\n");
    /* From history it reads the same. */
    watch_world_watch(w, 2, "a", "", 2, WATCH_PREV_KV);
    watch_world_watch(w, 3, "a", "b", 4, WATCH_PREV_KV);
    expect_settled(w, "2: 0 @6 PUT a=1(2,2,1) PUT a=2(2,3,2) was 1(2) DELETE a(4) was 2(3) "
                      "PUT a=3(5,5,1) DELETE a(6) was 3(5) PUT a=4(6,6,1)\n"
                      "3: 0 @6 DELETE a(4) was 2(3) PUT a=3(5,5,1) DELETE a(6) was 3(5) "
                      "PUT a=4(6,6,1)\n");
    world_free(w);
}

TEST(watch, watchers_that_want_the_same_share_one_body)
{
    struct watch_world *w = world_new();
    struct watch_stats stats;
    for (unsigned i = 0; i < 100; i++) {
        watch_world_watch(w, i % 4, "a", "", 0, i % 2 == 0 ? 0 : WATCH_PREV_KV);
    }
    watch_world_put(w, "a", "1");
    watch_hub_flush(w->hub);
    watch_hub_stats(w->hub, &stats);
    assert_int_equal(stats.watchers, 100);
    assert_int_equal(stats.events, 100);
    assert_int_equal(stats.bodies, 2);
    world_free(w);
}

TEST(watch, a_large_value_is_referred_to_and_lives_as_long_as_the_body)
{
    struct watch_world *w = world_new();
    char *large = mem_zalloc(REFER_MIN + 1);
    memset(large, 'v', REFER_MIN);
    watch_world_watch(w, 1, "a", "", 0, WATCH_PREV_KV);
    watch_world_put(w, "a", large);
    watch_hub_flush(w->hub);
    large[0] = 'w';
    watch_world_put(w, "a", large);
    watch_world_put(w, "a", "small");
    expect_flush(w, "1: 0 @2 PUT a=vvv(2,2,1)\n"
                    "1: 0 @4 PUT a=wvv(2,3,2) was vvv(2) PUT a=small(2,4,3) was wvv(3)\n");
    watch_world_watch(w, 2, "a", "", 3, WATCH_PREV_KV);
    expect_settled(w, "2: 0 @4 PUT a=wvv(2,3,2) was vvv(2) PUT a=small(2,4,3) was wvv(3)\n");
    mem_free(large);
    world_free(w);
}

/* ---- starting somewhere else ----------------------------------------------------------------- */

TEST(watch, a_start_in_the_past_the_present_and_the_future)
{
    struct watch_world *w = world_new();
    watch_world_put(w, "a", "1"); /* 2 */
    watch_world_put(w, "a", "2"); /* 3 */
    watch_world_watch(w, 1, "a", "", 1, 0);
    watch_world_watch(w, 2, "a", "", 3, 0);
    watch_world_watch(w, 3, "a", "", 4, 0);
    watch_world_watch(w, 4, "a", "", 6, 0);
    expect_settled(w, "1: 0 @3 PUT a=1(2,2,1) PUT a=2(2,3,2)\n"
                      "2: 0 @3 PUT a=2(2,3,2)\n");
    watch_world_put(w, "a", "3"); /* 4 */
    watch_world_put(w, "a", "4"); /* 5 */
    expect_flush(w, "3: 0 @5 PUT a=3(2,4,3) PUT a=4(2,5,4)\n"
                    "1: 0 @5 PUT a=3(2,4,3) PUT a=4(2,5,4)\n"
                    "2: 0 @5 PUT a=3(2,4,3) PUT a=4(2,5,4)\n");
    watch_world_put(w, "a", "5"); /* 6 */
    expect_flush(w, "3: 0 @6 PUT a=5(2,6,5)\n"
                    "4: 0 @6 PUT a=5(2,6,5)\n"
                    "1: 0 @6 PUT a=5(2,6,5)\n"
                    "2: 0 @6 PUT a=5(2,6,5)\n");
    world_free(w);
}

TEST(watch, compaction_cancels_those_who_want_what_is_gone_and_no_others)
{
    struct watch_world *w = world_new();
    watch_world_put(w, "a", "1");   /* 2 */
    watch_world_put(w, "a", "2");   /* 3 */
    watch_world_delete(w, "a", ""); /* 4 */
    watch_world_put(w, "a", "3");   /* 5 */
    watch_world_compact(w, 4);
    watch_world_watch(w, 1, "a", "", 3, 0);
    watch_world_watch(w, 1, "a", "b", 3, 0);
    watch_world_watch(w, 1, "a", "", 4, 0);
    watch_world_watch(w, 1, "a", "b", 4, WATCH_PREV_KV);
    const char *at_the_revision = "1: 2 @5 DELETE a(4) PUT a=3(5,5,1)\n"
                                  "1: 3 @5 DELETE a(4) PUT a=3(5,5,1)\n";
    char want[256];
    snprintf(want, sizeof(want), "1: 0 canceled compact 4\n1: 1 canceled compact 4\n%s",
             at_the_revision);
    expect_settled(w, want);
    while (mvcc_compact_step(w->store) >= 0) {
    }
    /* etcd issue 19179: a delete at the compacted revision is still told. */
    watch_world_open(w, 2);
    watch_world_watch(w, 2, "a", "", 4, 0);
    watch_world_watch(w, 2, "a", "b", 4, 0);
    expect_settled(w, "2: 0 @5 DELETE a(4) PUT a=3(5,5,1)\n"
                      "2: 1 @5 DELETE a(4) PUT a=3(5,5,1)\n");
    assert_int_equal(watch_stream_watchers(w->streams[1].stream), 2);
    world_free(w);
}

TEST(watch, compaction_that_overtakes_a_slow_watcher_cancels_it)
{
    struct watch_world *w = world_new();
    watch_world_watch(w, 1, "a", "", 0, 0);
    watch_world_watch(w, 2, "a", "", 0, 0);
    w->streams[1].is_full = true;
    w->streams[2].is_full = true;
    watch_world_put(w, "a", "1");   /* 2 */
    watch_world_delete(w, "a", ""); /* 3 */
    watch_world_put(w, "b", "1");   /* 4 */
    expect_settled(w, "");
    watch_world_compact(w, 2);
    w->streams[1].is_full = false;
    watch_stream_writable(w->streams[1].stream);
    expect_settled(w, "1: 0 @4 PUT a=1(2,2,1) DELETE a(3)\n");
    watch_world_compact(w, 3);
    w->streams[2].is_full = false;
    watch_stream_writable(w->streams[2].stream);
    expect_settled(w, "2: 0 canceled compact 3\n");
    world_free(w);
}

TEST(watch, a_store_that_was_replaced_is_read_from_where_each_watcher_was)
{
    struct watch_world *w = world_new();
    watch_world_watch(w, 1, "a", "", 0, 0);
    watch_world_watch(w, 1, "b", "", 4, 0);
    watch_world_watch(w, 1, "c", "d", 9, 0);
    watch_world_put(w, "a", "1");
    expect_flush(w, "1: 0 @2 PUT a=1(2,2,1)\n");
    /* As if a snapshot had brought revisions 3 to 5: the hub hears nothing of them. */
    struct watch_hub *hub = w->hub;
    struct watch_options none = {.store = w->store};
    w->hub = watch_hub_new(&none);
    watch_world_put(w, "a", "2"); /* 3 */
    watch_world_put(w, "b", "3"); /* 4 */
    watch_world_put(w, "c", "4"); /* 5 */
    watch_hub_free(&w->hub);
    w->hub = hub;
    watch_hub_restored(hub, w->store);
    watch_hub_check(hub);
    expect_settled(w, "1: 0 @5 PUT a=2(2,3,2)\n"
                      "1: 1 @5 PUT b=3(4,4,1)\n");
    watch_hub_restored(hub, w->store); /* nothing new: nothing to do */
    expect_settled(w, "");
    world_free(w);
}

/* ---- refusals -------------------------------------------------------------------------------- */

TEST(watch, ids_are_the_clients_or_the_next_that_is_free)
{
    struct watch_world *w = world_new();
    struct watch_request request = {.key = SLICE("a"), .id = 1};
    assert_int_equal(watch_world_create(w, 1, &request), 1);
    assert_int_equal(watch_world_create(w, 1, &request), -ERR_EXISTS);
    request.id = -7;
    assert_int_equal(watch_world_create(w, 1, &request), -7);
    request.id = 0;
    assert_int_equal(watch_world_create(w, 1, &request), 0);
    assert_int_equal(watch_world_create(w, 1, &request), 2);
    assert_int_equal(watch_world_create(w, 2, &request), 0); /* ids are a stream's own */
    assert_true(watch_cancel(w->streams[1].stream, 1));
    assert_false(watch_cancel(w->streams[1].stream, 1));
    assert_int_equal(watch_world_create(w, 1, &request), 3); /* as etcd: not again the 1 */
    assert_false(watch_cancel(w->streams[1].stream, 99));
    assert_int_equal(watch_stream_watchers(w->streams[1].stream), 4);
    world_free(w);
}

TEST(watch, watcher_zero_is_canceled_only_when_it_is_meant)
{
    /* etcd PR 14562 */
    struct watch_world *w = world_new();
    assert_int_equal(watch_world_watch(w, 1, "a", "", 0, 0), 0);
    assert_int_equal(watch_world_watch(w, 1, "b", "a", 0, 0), -ERR_INVALID);
    assert_int_equal(watch_world_watch(w, 1, "b", "", -1, 0), -ERR_COMPACTED);
    watch_world_put(w, "a", "1");
    expect_flush(w, "1: 0 @2 PUT a=1(2,2,1)\n");
    assert_true(watch_cancel(w->streams[1].stream, 0));
    watch_world_put(w, "a", "2");
    expect_settled(w, "");
    world_free(w);
}

TEST(watch, a_range_that_is_empty_is_refused)
{
    struct watch_world *w = world_new();
    assert_int_equal(watch_world_watch(w, 1, "b", "b", 0, 0), -ERR_INVALID);
    assert_int_equal(watch_world_watch(w, 1, "b", "a", 0, 0), -ERR_INVALID);
    assert_int_equal(watch_world_watch(w, 1, "b", "ba", 0, 0), 0);
    struct watch_request zero = {.key = slice_of("", 1), .range_end = slice_of("", 1)};
    assert_int_equal(watch_world_create(w, 1, &zero), 1);
    world_free(w);
}

TEST(watch, limits_of_a_stream_hold)
{
    struct watch_options options = {.stream_watchers_max = 3, .stream_key_bytes_max = 10};
    struct watch_world *w = NEW(struct watch_world);
    watch_world_init(w, &options);
    assert_int_equal(watch_world_watch(w, 1, "12345678901", "", 0, 0), -ERR_TOO_LARGE);
    assert_int_equal(watch_world_watch(w, 1, "12345", "2345", 0, 0), 0);
    assert_int_equal(watch_world_watch(w, 1, "12", "", 0, 0), -ERR_TOO_LARGE);
    assert_int_equal(watch_world_watch(w, 1, "1", "", 0, 0), 1);
    assert_true(watch_cancel(w->streams[1].stream, 0));
    assert_int_equal(watch_world_watch(w, 1, "2", "", 0, 0), 2);
    assert_int_equal(watch_world_watch(w, 1, "3", "", 0, 0), 3);
    assert_int_equal(watch_world_watch(w, 1, "4", "", 0, 0), -ERR_TOO_LARGE);
    assert_int_equal(watch_world_watch(w, 2, "4", "", 0, 0), 0);
    world_free(w);
}

TEST(watch, limits_of_all_streams_hold)
{
    struct watch_options options = {.watchers_max = 3, .key_bytes_max = 10};
    struct watch_world *w = NEW(struct watch_world);
    watch_world_init(w, &options);
    assert_int_equal(watch_world_watch(w, 1, "1234", "", 0, 0), 0);
    assert_int_equal(watch_world_watch(w, 2, "1234", "", 0, 0), 0);
    assert_int_equal(watch_world_watch(w, 3, "123", "", 0, 0), -ERR_TOO_LARGE);
    assert_int_equal(watch_world_watch(w, 3, "12", "", 0, 0), 0);
    assert_true(watch_cancel(w->streams[1].stream, 0));
    assert_int_equal(watch_world_watch(w, 3, "1", "", 0, 0), 1);
    assert_int_equal(watch_world_watch(w, 3, "2", "", 0, 0), -ERR_TOO_LARGE);
    watch_stream_close(&w->streams[2].stream);
    watch_world_settle(w);
    assert_int_equal(watch_world_watch(w, 3, "1234", "", 0, 0), 2);
    world_free(w);
}

TEST(watch, permissions_are_asked_for_at_creation_and_before_every_batch)
{
    struct watch_world *w = world_new();
    w->refusal = "no";
    assert_int_equal(watch_world_watch(w, 1, "a", "", 0, 0), -ERR_PERM);
    assert_int_equal(watch_world_watch(w, 1, "b", "a", 0, 0), -ERR_PERM);
    w->refusal = NULL;
    assert_int_equal(watch_world_watch(w, 1, "a", "", 0, 0), 0);
    watch_world_put(w, "a", "1");
    expect_flush(w, "1: refused: no\n1: refused: no\n1: 0 @2 PUT a=1(2,2,1)\n");
    w->revoked = "no more";
    watch_world_put(w, "b", "1");
    expect_flush(w, "");
    watch_world_put(w, "a", "2");
    expect_flush(w, "1: 0 canceled no more\n");
    watch_world_put(w, "a", "3");
    expect_settled(w, "");
    assert_int_equal(watch_stream_watchers(w->streams[1].stream), 0);
    world_free(w);
}

/* ---- slow readers ---------------------------------------------------------------------------- */

TEST(watch, a_reader_without_room_costs_a_cursor_and_gets_everything_later)
{
    struct watch_world *w = world_new();
    struct watch_stats stats;
    char key[8];
    watch_world_watch(w, 1, "k", "l", 0, 0);
    watch_world_watch(w, 2, "k", "l", 0, 0);
    w->streams[1].is_full = true;
    for (unsigned i = 0; i < 50; i++) {
        snprintf(key, sizeof(key), "k%02u", i);
        watch_world_put(w, key, "v");
        watch_hub_flush(w->hub);
    }
    watch_world_settle(w);
    watch_hub_stats(w->hub, &stats);
    assert_int_equal(stats.behind, 1);
    assert_int_equal(stats.lag, 50);
    assert_int_equal(stats.events, 50);
    assert_int_equal(stats.history_rows, 0); /* nothing is read for whom nothing can be sent to */
    assert_true(w->streams[1].was_refused);
    watch_world_told(w);
    w->streams[1].is_full = false;
    watch_stream_writable(w->streams[1].stream);
    watch_world_settle(w);
    watch_hub_stats(w->hub, &stats);
    assert_int_equal(stats.behind, 0);
    assert_int_equal(stats.lag, 0);
    assert_int_equal(stats.events, 100);
    const char *told = watch_world_told(w);
    assert_int_equal(strncmp(told, "1: 0 @51 PUT k00=v(2,2,1) PUT k01=v(3,3,1)", 42), 0);
    watch_world_put(w, "k", "x");
    expect_flush(w, "2: 0 @52 PUT k=x(52,52,1)\n"
                    "1: 0 @52 PUT k=x(52,52,1)\n");
    world_free(w);
}

TEST(watch, a_sink_that_fills_up_in_the_middle_stops_there)
{
    struct watch_world *w = world_new();
    for (unsigned i = 0; i < 3; i++) {
        watch_world_watch(w, 1, "a", "", 0, 0);
    }
    w->streams[1].sends_left = 2;
    watch_world_put(w, "a", "1");
    expect_flush(w, "1: 0 @2 PUT a=1(2,2,1)\n"
                    "1: 1 @2 PUT a=1(2,2,1)\n");
    watch_world_put(w, "a", "2");
    expect_settled(w, "");
    w->streams[1].is_full = false;
    w->streams[1].sends_left = 1;
    watch_stream_writable(w->streams[1].stream);
    expect_settled(w, "1: 2 @3 PUT a=1(2,2,1) PUT a=2(2,3,2)\n");
    w->streams[1].is_full = false;
    watch_stream_writable(w->streams[1].stream);
    expect_settled(w, "1: 0 @3 PUT a=2(2,3,2)\n"
                      "1: 1 @3 PUT a=2(2,3,2)\n");
    world_free(w);
}

TEST(watch, a_thousand_watchers_of_one_key_are_served_over_several_turns)
{
    enum { COST = 1200 };
    struct watch_world *w = world_new_with(&(struct watch_options){.step_cost = COST});
    struct watch_stats stats;
    for (unsigned i = 0; i < 1000; i++) {
        watch_world_watch(w, i % WORLD_STREAMS, "a", i % 3 == 0 ? "b" : "", 0, 0);
    }
    watch_world_put(w, "a", "1");
    watch_hub_flush(w->hub);
    watch_hub_stats(w->hub, &stats);
    assert_true(stats.events >= COST / 2);
    assert_true(stats.events <= COST);
    assert_int_equal(stats.behind, 1000 - stats.events);
    watch_world_put(w, "a", "2"); /* while some have not heard of 1 */
    watch_world_settle(w);
    watch_hub_stats(w->hub, &stats);
    assert_int_equal(stats.events, 2000);
    assert_int_equal(stats.behind, 0);
    world_free(w);
}

TEST(watch, a_revision_larger_than_a_slice_leaves_whole)
{
    struct watch_world *w = world_new();
    char key[8];
    watch_world_begin(w);
    for (unsigned i = 0; i < 6000; i++) {
        snprintf(key, sizeof(key), "k%04u", i);
        mvcc_put(w->store, slice_str(key), SLICE("v"), 0);
    }
    watch_world_end(w);           /* 2 */
    watch_world_put(w, "z", "1"); /* 3 */
    watch_world_watch(w, 1, "k", "l", 2, 0);
    watch_world_watch(w, 1, "z", "", 1, 0);
    watch_world_watch(w, 1, "k5999", "", 1, 0);
    watch_world_watch(w, 1, "a", "zz", 3, 0);
    unsigned steps = watch_world_settle(w);
    assert_true(steps >= 3); /* it was read in slices */
    const char *told = watch_world_told(w);
    assert_int_equal(strncmp(told, "1: 0 @3 PUT k0000=v(2,2,1) PUT k0001=v(2,2,1)", 45), 0);
    struct watch_stats stats;
    watch_hub_stats(w->hub, &stats);
    assert_int_equal(stats.events, 6003);
    assert_int_equal(stats.bodies, 4);
    world_free(w);
}

TEST(watch, a_large_revision_is_encoded_in_slices_too)
{
    struct watch_world *w = world_new();
    struct watch_stats stats;
    char key[8];
    watch_world_begin(w);
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "k%04u", i);
        mvcc_put(w->store, slice_str(key), SLICE("v"), 0);
    }
    watch_world_end(w);              /* 2 */
    watch_world_delete(w, "k", "l"); /* 3 */
    watch_world_watch(w, 1, "k", "l", 3, WATCH_PREV_KV);
    watch_world_watch(w, 2, "k", "l", 3, WATCH_PREV_KV);
    unsigned steps = 0;
    while (watch_hub_step(w->hub)) {
        steps++;
        watch_world_put(w, "x", "1"); /* turns go on meanwhile, and are flushed */
        watch_hub_flush(w->hub);
        watch_hub_check(w->hub);
    }
    assert_true(steps >= 5000 * ROW_COST / STEP_COST);
    watch_hub_stats(w->hub, &stats);
    assert_int_equal(stats.events, 10000);
    assert_int_equal(stats.bodies, 1);
    const char *told = watch_world_told(w);
    assert_int_equal(
        strncmp(strchr(told, 'D'), "DELETE k0000(3) was v(2) DELETE k0001(3) was v(2)", 49), 0);
    world_free(w);
}

TEST(watch, compaction_under_an_open_window_gives_it_up)
{
    struct watch_world *w = world_new();
    char key[8];
    watch_world_begin(w);
    for (unsigned i = 0; i < 6000; i++) {
        snprintf(key, sizeof(key), "k%04u", i);
        mvcc_put(w->store, slice_str(key), SLICE("v"), 0);
    }
    watch_world_end(w);              /* 2 */
    watch_world_delete(w, "k", "l"); /* 3 */
    watch_world_put(w, "k", "1");    /* 4 */
    watch_world_watch(w, 1, "k", "l", 2, 0);
    assert_true(watch_hub_step(w->hub));
    assert_true(w->hub->is_open);
    watch_world_compact(w, 3);
    while (mvcc_compact_step(w->store) >= 0) {
    }
    expect_settled(w, "1: 0 canceled compact 3\n");
    world_free(w);
}

TEST(watch, too_much_for_one_turn_is_read_as_history)
{
    struct watch_world *w = world_new();
    char key[8];
    watch_world_watch(w, 1, "k", "l", 0, WATCH_NO_PUT);
    watch_world_watch(w, 1, "a", "", 0, 0);
    for (unsigned round = 0; round < 14; round++) { /* 70,000 hits before anything is flushed */
        watch_world_begin(w);
        for (unsigned i = 0; i < 5000; i++) {
            snprintf(key, sizeof(key), "k%04u", i);
            mvcc_put(w->store, slice_str(key), SLICE("v"), 0);
        }
        watch_world_end(w);
    }
    assert_true(watch_hub_is_looking(w->hub));
    watch_world_put(w, "a", "1");
    watch_world_delete(w, "k0001", "");
    watch_hub_check(w->hub);
    assert_int_equal(w->hub->turn.hit_count, 0);
    watch_hub_flush(w->hub);
    assert_string_equal(watch_world_told(w), "");
    watch_world_settle(w);
    assert_string_equal(watch_world_told(w), "1: 0 @17 DELETE k0001(17)\n"
                                             "1: 1 @17 PUT a=1(16,16,1)\n");
    watch_world_put(w, "a", "2");
    expect_flush(w, "1: 1 @18 PUT a=2(16,18,2)\n");
    world_free(w);
}

TEST(watch, a_huge_revision_is_looked_through_in_slices_and_passes_nobody_by)
{
    enum { KEYS = 30000 };
    struct watch_world *w = world_new();
    struct watch_stats stats;
    char key[8];
    watch_world_begin(w);
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "k%05u", i);
        mvcc_put(w->store, slice_str(key), SLICE("v"), 0);
    }
    watch_world_end(w); /* 2 */
    watch_hub_flush(w->hub);
    watch_world_watch(w, 1, "k00001", "", 0, 0); /* one at each end, one of everything, */
    watch_world_watch(w, 1, "k29999", "", 0, 0);
    watch_world_watch(w, 1, "k2999", "k3", 0, WATCH_NO_PUT);
    watch_world_watch(w, 2, "x", "", 0, WATCH_PROGRESS); /* and some that have no part in it */
    watch_world_watch(w, 2, "y", "", 4, 0);
    watch_world_delete(w, "k", "l"); /* 3 */
    assert_true(watch_hub_is_looking(w->hub));
    watch_hub_flush(w->hub);
    watch_world_put(w, "k00001", "again");       /* 4: turns go on meanwhile */
    watch_world_put(w, "y", "1");                /* 5 */
    watch_world_watch(w, 1, "k00001", "", 0, 0); /* from 6 on */
    watch_stream_ask_progress(w->streams[2].stream);
    watch_stream_tick(w->streams[2].stream);
    watch_hub_flush(w->hub);
    assert_string_equal(watch_world_told(w), "");
    unsigned steps = 0;
    while (watch_hub_is_looking(w->hub)) {
        watch_hub_step(w->hub);
        watch_hub_check(w->hub);
        steps++;
    }
    assert_true(steps >= KEYS * SCAN_COST / STEP_COST);
    assert_true(steps <= 2 * KEYS * SCAN_COST / STEP_COST);
    watch_hub_stats(w->hub, &stats);
    assert_true(stats.behind <= 4); /* those who were hit, and nobody else */
    watch_world_settle(w);
    watch_world_put(w, "k00001", "6");
    watch_hub_flush(w->hub);
    const char *told = watch_world_told(w);
    assert_non_null(strstr(told, "1: 0 @5 DELETE k00001(3) PUT k00001=again(4,4,1)\n"));
    assert_non_null(strstr(told, "1: 1 @5 DELETE k29999(3)\n"));
    assert_non_null(strstr(told, "1: 2 @5 DELETE k29990(3) DELETE k29991(3)"));
    assert_non_null(strstr(told, "2: 1 @5 PUT y=1(5,5,1)\n"));
    assert_non_null(strstr(told, "2: progress @5\n"));
    assert_non_null(strstr(told, "1: 3 @6 PUT k00001=6(4,6,2)\n"));
    assert_null(strstr(told, "1: 3 @5"));
    watch_hub_stats(w->hub, &stats);
    assert_int_equal(stats.events, 2 + 1 + 10 + 1 + 2);
    assert_int_equal(stats.behind, 0);
    world_free(w);
}

TEST(watch, one_that_is_far_behind_lets_others_pass)
{
    struct watch_world *w = world_new();
    char key[8];
    for (unsigned i = 0; i < 30000; i++) {
        snprintf(key, sizeof(key), "k%03u", i % 1000);
        watch_world_put(w, key, "v");
    }
    watch_world_watch(w, 1, "x", "y", 1, 0);
    watch_world_watch(w, 2, "k", "l", 30001, 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(watch_hub_step(w->hub));
    }
    assert_string_equal(watch_world_told(w), "2: 0 @30001 PUT k999=v(1001,30001,30)\n");
    watch_world_settle(w);
    assert_string_equal(watch_world_told(w), "");
    world_free(w);
}

/* ---- progress -------------------------------------------------------------------------------- */

TEST(watch, progress_is_answered_once_all_watchers_have_caught_up)
{
    struct watch_world *w = world_new();
    watch_world_open(w, 1);
    watch_stream_ask_progress(w->streams[1].stream);
    expect_settled(w, "1: progress @1\n"); /* nobody is behind */
    watch_world_put(w, "a", "1");
    watch_world_watch(w, 1, "a", "", 2, 0);
    watch_world_watch(w, 1, "b", "", 0, 0); /* idle */
    watch_stream_ask_progress(w->streams[1].stream);
    watch_stream_ask_progress(w->streams[1].stream);
    expect_settled(w, "1: 0 @2 PUT a=1(2,2,1)\n"
                      "1: progress @2\n");
    w->streams[1].is_full = true;
    watch_world_put(w, "a", "2");
    watch_stream_ask_progress(w->streams[1].stream);
    expect_settled(w, "");
    w->streams[1].is_full = false;
    watch_stream_writable(w->streams[1].stream);
    expect_settled(w, "1: 0 @3 PUT a=2(2,3,2)\n"
                      "1: progress @3\n");
    world_free(w);
}

TEST(watch, progress_never_runs_ahead_of_events)
{
    /* etcd issue 15220 */
    struct watch_world *w = world_new();
    watch_world_watch(w, 1, "a", "", 0, 0);
    watch_world_put(w, "a", "1"); /* applied, and not flushed */
    watch_stream_ask_progress(w->streams[1].stream);
    watch_hub_step(w->hub);
    assert_string_equal(watch_world_told(w), "1: 0 @2 PUT a=1(2,2,1)\n"
                                             "1: progress @2\n");
    world_free(w);
}

TEST(watch, progress_waits_for_a_start_in_the_future)
{
    /* etcd issue 20221 */
    struct watch_world *w = world_new();
    watch_world_watch(w, 1, "a", "", 4, WATCH_PROGRESS);
    watch_stream_ask_progress(w->streams[1].stream);
    watch_stream_tick(w->streams[1].stream);
    expect_settled(w, "");
    watch_stream_tick(w->streams[1].stream);
    expect_settled(w, "");
    watch_world_put(w, "b", "1"); /* 2 */
    watch_stream_tick(w->streams[1].stream);
    expect_settled(w, "");
    watch_world_put(w, "b", "1"); /* 3: from now on it is like any other */
    expect_settled(w, "1: progress @3\n");
    watch_stream_tick(w->streams[1].stream);
    expect_settled(w, "1: 0 progress @3\n");
    watch_world_watch(w, 1, "a", "", 9, 0);
    watch_stream_ask_progress(w->streams[1].stream);
    expect_settled(w, "");
    assert_true(watch_cancel(w->streams[1].stream, 1));
    expect_settled(w, "1: progress @3\n");
    world_free(w);
}

TEST(watch, a_tick_tells_those_that_want_it_and_were_quiet)
{
    struct watch_world *w = world_new();
    watch_world_watch(w, 1, "a", "", 0, WATCH_PROGRESS);
    watch_world_watch(w, 1, "b", "", 0, WATCH_PROGRESS);
    watch_world_watch(w, 1, "c", "", 0, 0);
    assert_int_equal(watch_stream_progress_watchers(w->streams[1].stream), 2);
    watch_stream_tick(w->streams[1].stream); /* the first interval has begun before them */
    expect_settled(w, "");
    watch_world_put(w, "a", "1");
    expect_settled(w, "1: 0 @2 PUT a=1(2,2,1)\n");
    watch_stream_tick(w->streams[1].stream);
    expect_settled(w, "1: 1 progress @2\n");
    watch_stream_tick(w->streams[1].stream);
    expect_settled(w, "1: 0 progress @2\n"
                      "1: 1 progress @2\n");
    assert_true(watch_cancel(w->streams[1].stream, 0));
    watch_stream_tick(w->streams[1].stream);
    assert_true(watch_cancel(w->streams[1].stream, 1)); /* in the middle of a tick */
    expect_settled(w, "");
    world_free(w);
}

/* ---- sinks that do things -------------------------------------------------------------------- */

static void cancel_all(struct world_stream *stream, const struct watch_batch *batch)
{
    UNUSED(batch);
    for (watch_id id = 0; id < 3; id++) {
        watch_cancel(stream->stream, id);
    }
}

TEST(watch, a_sink_may_cancel_its_watchers_from_inside)
{
    struct watch_world *w = world_new();
    for (unsigned i = 0; i < 3; i++) {
        watch_world_watch(w, 1, "a", "", 0, 0);
    }
    watch_world_watch(w, 2, "a", "", 0, 0);
    w->streams[1].on_events = cancel_all;
    watch_world_put(w, "a", "1");
    expect_flush(w, "1: 0 @2 PUT a=1(2,2,1)\n"
                    "2: 0 @2 PUT a=1(2,2,1)\n");
    for (unsigned i = 0; i < 3; i++) {
        watch_world_watch(w, 1, "a", i == 0 ? "" : "b", 1, 0);
    }
    expect_settled(w, "1: 3 @2 PUT a=1(2,2,1)\n"
                      "1: 4 @2 PUT a=1(2,2,1)\n"
                      "1: 5 @2 PUT a=1(2,2,1)\n");
    world_free(w);
}

static void close_it(struct world_stream *stream, const struct watch_batch *batch)
{
    stream->kept = watch_body_ref(batch->body);
    watch_stream_close(&stream->stream);
}

TEST(watch, a_sink_may_close_its_stream_and_keep_the_body)
{
    struct watch_world *w = world_new();
    struct watch_event event;
    for (unsigned i = 0; i < 3; i++) {
        watch_world_watch(w, 1, "a", "", 0, 0);
        watch_world_watch(w, 2, "a", "", 0, 0);
    }
    w->streams[1].on_events = close_it;
    watch_world_put(w, "a", "1");
    expect_flush(w, "1: 0 @2 PUT a=1(2,2,1)\n"
                    "2: 0 @2 PUT a=1(2,2,1)\n"
                    "2: 1 @2 PUT a=1(2,2,1)\n"
                    "2: 2 @2 PUT a=1(2,2,1)\n");
    watch_world_settle(w);
    struct watch_event_iter iter = watch_event_iter_init(w->streams[1].kept);
    assert_true(watch_event_next(&iter, &event));
    assert_true(slice_eq_str(event.kv.value, "1"));
    assert_false(watch_event_next(&iter, &event));
    watch_event_iter_fini(&iter);
    struct watch_stats stats;
    watch_hub_stats(w->hub, &stats);
    assert_int_equal(stats.watchers, 3);
    assert_int_equal(stats.streams, 1);
    w->streams[2].on_events = close_it;
    watch_world_watch(w, 2, "a", "b", 1, 0);
    expect_settled(w, "2: 3 @2 PUT a=1(2,2,1)\n");
    watch_hub_stats(w->hub, &stats);
    assert_int_equal(stats.watchers, 0);
    world_free(w);
}

static void watch_more(struct world_stream *stream, const struct watch_batch *batch)
{
    UNUSED(batch);
    stream->on_events = NULL;
    watch_world_watch(stream->world, stream->number, "a", "", 0, 0);
    watch_world_watch(stream->world, stream->number, "a", "", 2, 0);
}

TEST(watch, a_sink_may_make_watchers_from_inside)
{
    struct watch_world *w = world_new();
    watch_world_watch(w, 1, "a", "", 0, 0);
    w->streams[1].on_events = watch_more;
    watch_world_put(w, "a", "1");
    expect_settled(w, "1: 0 @2 PUT a=1(2,2,1)\n"
                      "1: 2 @2 PUT a=1(2,2,1)\n");
    watch_world_put(w, "a", "2");
    expect_settled(w, "1: 0 @3 PUT a=2(2,3,2)\n"
                      "1: 1 @3 PUT a=2(2,3,2)\n"
                      "1: 2 @3 PUT a=2(2,3,2)\n");
    world_free(w);
}

/* ---- all together ---------------------------------------------------------------------------- */

TEST(watch, random_operations_agree_with_a_sorted_log)
{
    enum { RUNS = 60, LEN = 1200 };
    uint8_t bytes[LEN];
    uint64_t state = 88172645463325252u;
    for (unsigned run = 0; run < RUNS; run++) {
        for (size_t i = 0; i < LEN; i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes[i] = (uint8_t)(state >> 32);
        }
        LLVMFuzzerTestOneInput(bytes, LEN);
    }
}
