/* Large requests over a whole server: they go in slices of turns, others are answered meanwhile,
 * and nobody sees half of anything. The slices are counted in units of work, so no clock judges. */
#include "server/server_run.h"

#define MANY 300

static void fill(struct world *w, unsigned count)
{
    struct call *calls[MANY];
    assert_true(count <= MANY);
    for (unsigned i = 0; i < count; i++) {
        char key[16];
        char value[400];
        snprintf(key, sizeof(key), "k%03u", i);
        memset(value, 'a' + (int)(i % 26), sizeof(value) - 1);
        value[sizeof(value) - 1] = '\0';
        calls[i] = call_submit(w, call_put(key, value));
    }
    for (unsigned i = 0; i < count; i++) {
        call_end(w, calls[i], STATUS_OK);
    }
}

static struct call *call_range(bool is_serializable, bool count_only, int64_t revision)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = pb_binary(SLICE("k"));
    request.range_end = pb_binary(SLICE("l"));
    request.count_only = count_only;
    request.revision = revision;
    struct call *call = call_new(REQUEST_RANGE, &request.base);
    call->request.is_serializable = is_serializable;
    return call;
}

static const Etcdserverpb__RangeResponse *range_reply(struct call *call)
{
    return call_reply(call, &etcdserverpb__range_response__descriptor);
}

/* Until an entry is under way. */
static void turn_until_applying(struct world *w)
{
    for (unsigned i = 0; i < 1000 && !w->server->entry.is_on; i++) {
        loop_turn(w->loop, true);
    }
    assert_true(w->server->entry.is_on);
}

static void open_world(struct world *w, struct config **config)
{
    *config = world_config("1000");
    world_open(w, *config, sim_disk_new());
}

static void close_world(struct world *w, struct config **config)
{
    world_check(w);
    world_close(w);
    sim_disk_free(&w->disk);
    config_free(config);
}

static void assert_count(struct world *w, struct call *call, int64_t count, int64_t revision)
{
    assert_int_equal(call_wait(w, call), STATUS_OK);
    const Etcdserverpb__RangeResponse *reply = range_reply(call);
    assert_int_equal(reply->count, count);
    assert_int_equal(reply->header->revision, revision);
    call_free(call);
}

/* A clock that goes on by so much whenever somebody looks at it, as it does where work is slow. */
static struct {
    struct env_ops ops;
    const struct env_ops *before;
    uint64_t step_ns;
} slow;

static mono_ns slow_now(struct env *env)
{
    sim_env_advance(env, slow.step_ns);
    return slow.before->now_mono(env);
}

static void slow_begin(struct world *w, uint64_t step_ns)
{
    slow.before = w->env->ops;
    slow.ops = *slow.before;
    slow.ops.now_mono = slow_now;
    slow.step_ns = step_ns;
    w->env->ops = &slow.ops;
}

static void slow_end(struct world *w)
{
    w->env->ops = slow.before;
}

/* ---- deletes ----------------------------------------------------------------------------------
 */

static void assert_deleted(struct call *call, int64_t revision, bool has_rows)
{
    const Etcdserverpb__DeleteRangeResponse *reply =
        call_reply(call, &etcdserverpb__delete_range_response__descriptor);
    assert_int_equal(reply->deleted, MANY);
    assert_int_equal(reply->header->revision, revision);
    assert_int_equal(reply->n_prev_kvs, has_rows ? MANY : 0);
    for (unsigned i = 0; i < reply->n_prev_kvs; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%03u", i);
        assert_true(slice_eq_str(pb_bytes(reply->prev_kvs[i]->key), key));
        assert_int_equal(reply->prev_kvs[i]->value.len, 399);
        assert_int_equal(reply->prev_kvs[i]->value.data[0], 'a' + i % 26);
    }
}

TEST(server_slice, a_delete_spans_turns_and_nobody_sees_half_of_it)
{
    for (unsigned has_rows = 0; has_rows < 2; has_rows++) {
        struct world w;
        struct config *config;
        unsigned turns = 0;
        open_world(&w, &config);
        fill(&w, MANY);
        int64_t before = mvcc_revision(w.server->mvcc);
        uint64_t applied = w.server->applied;
        w.server->per_turn.apply = 100;
        struct call *deletion = call_submit(&w, call_delete_range("k", "l", has_rows != 0));
        turn_until_applying(&w);
        struct call *put = call_submit(&w, call_put("k1", "later"));
        struct call *fresh = call_submit(&w, call_range(false, true, 0));
        while (w.server->entry.is_on) {
            assert_int_equal(mvcc_revision(w.server->mvcc), before);
            assert_int_equal(w.server->applied, applied);
            assert_int_equal(deletion->done, 0);
            if (turns % 5 == 0) {
                /* Whoever asks for local state gets the newest there is: all the keys. */
                struct call *one = call_get("k299");
                one->request.is_serializable = true;
                call_submit(&w, one);
                struct call *whole = call_submit(&w, call_range(true, false, 0));
                struct call *count = call_submit(&w, call_range(true, true, before));
                loop_turn(w.loop, false);
                if (w.server->entry.is_on) {
                    assert_int_equal(one->done, 1);
                    assert_int_equal(range_reply(one)->n_kvs, 1);
                    assert_int_equal(whole->done, 1);
                    assert_int_equal(range_reply(whole)->n_kvs, MANY);
                    assert_int_equal(range_reply(whole)->header->revision, before);
                }
                call_end(&w, one, STATUS_OK);
                assert_int_equal(call_wait(&w, whole), STATUS_OK);
                assert_int_equal(call_wait(&w, count), STATUS_OK);
                assert_int_equal(range_reply(count)->count, MANY);
                call_free(whole);
                call_free(count);
            } else {
                loop_turn(w.loop, false);
            }
            turns++;
        }
        assert_true(turns > 5);
        assert_int_equal(call_wait(&w, deletion), STATUS_OK);
        assert_deleted(deletion, before + 1, has_rows != 0);
        call_free(deletion);
        call_end(&w, put, STATUS_OK);
        assert_int_equal(call_wait(&w, fresh), STATUS_OK);
        assert_true(range_reply(fresh)->count <= 1); /* after the delete, perhaps after the put */
        call_free(fresh);
        assert_count(&w, call_submit(&w, call_range(false, true, before)), MANY, before + 2);
        uint32_t hash = world_hash(&w);
        world_check(&w);
        world_restart(&w);
        assert_int_equal(world_hash(&w), hash);
        close_world(&w, &config);
    }
}

TEST(server_slice, what_needs_the_whole_waits_for_a_delete_to_end)
{
    struct world w;
    struct config *config;
    open_world(&w, &config);
    fill(&w, MANY);
    int64_t before = mvcc_revision(w.server->mvcc);
    call_end(&w, call_submit(&w, call_compact(before - 10, false)), STATUS_OK);
    w.server->per_turn.apply = 100;
    struct call *deletion = call_submit(&w, call_delete_range("k", "l", false));
    turn_until_applying(&w);
    Etcdserverpb__HashKVRequest request = ETCDSERVERPB__HASH_KVREQUEST__INIT;
    struct call *hash = call_new(REQUEST_HASH_KV, &request.base);
    hash->request.is_serializable = true;
    call_submit(&w, hash);
    while (w.server->entry.is_on) {
        assert_int_equal(hash->done, 0);
        sim_env_advance(w.env, 20 * NS_PER_MS); /* a step of compaction would be due */
        loop_turn(w.loop, false);
    }
    call_end(&w, deletion, STATUS_OK);
    assert_int_equal(call_wait(&w, hash), STATUS_OK);
    const Etcdserverpb__HashKVResponse *reply =
        call_reply(hash, &etcdserverpb__hash_kvresponse__descriptor);
    assert_int_equal(reply->header->revision, before + 1);
    call_free(hash);
    close_world(&w, &config);
}

TEST(server_slice, a_delete_that_was_begun_cannot_be_given_up_and_a_stop_waits_for_it)
{
    struct world w;
    struct config *config;
    open_world(&w, &config);
    fill(&w, MANY);
    w.server->per_turn.apply = 100;
    struct call *deletion = call_submit(&w, call_delete_range("k", "l", true));
    turn_until_applying(&w);
    struct call *waits = call_submit(&w, call_put("k1", "behind it"));
    server_cancel(w.server, &deletion->request, STATUS_CANCELED);
    loop_turn(w.loop, false);
    assert_int_equal(deletion->done, 0);
    world_stop(&w);
    assert_int_equal(deletion->done, 1);
    assert_int_equal(deletion->request.status, STATUS_OK);
    call_free(deletion);
    assert_int_equal(waits->done, 1);
    call_free(waits);
    world_free(&w);
    world_open(&w, config, w.disk);
    assert_string_equal(world_get(&w, "k299", false), "");
    close_world(&w, &config);
}

TEST(server_slice, a_delete_goes_on_in_the_next_turn_when_this_one_has_taken_long)
{
    struct world w;
    struct config *config;
    unsigned turns = 0;
    open_world(&w, &config);
    fill(&w, MANY);
    struct call *deletion = call_submit(&w, call_delete_range("k", "l", true));
    slow_begin(&w, 600 * NS_PER_US);
    turn_until_applying(&w);
    while (w.server->entry.is_on) {
        loop_turn(w.loop, false);
        turns++;
    }
    slow_end(&w);
    assert_int_equal(turns, 2); /* 101 keys each, and the first turn has been */
    assert_int_equal(call_wait(&w, deletion), STATUS_OK);
    call_free(deletion);
    close_world(&w, &config);
}

static uint64_t compacted_rows(const struct world *w)
{
    struct mvcc_stats stats;
    mvcc_stats(w->server->mvcc, &stats);
    return stats.compacted_rows;
}

/* The most rows that a turn has compacted of MANY. */
static uint64_t most_compacted(uint64_t step_ns)
{
    struct world w;
    struct config *config;
    uint64_t most = 0;
    open_world(&w, &config);
    fill(&w, MANY);
    fill(&w, MANY);
    call_end(&w, call_submit(&w, call_compact(mvcc_revision(w.server->mvcc), false)), STATUS_OK);
    uint64_t before = compacted_rows(&w);
    slow_begin(&w, step_ns);
    while (before < MANY) {
        loop_turn(w.loop, true);
        uint64_t now = compacted_rows(&w);
        most = now - before > most ? now - before : most;
        before = now;
    }
    slow_end(&w);
    assert_int_equal(before, MANY);
    close_world(&w, &config);
    return most;
}

TEST(server_slice, a_turn_compacts_a_few_rows_and_fewer_when_they_take_long)
{
    assert_in_range(most_compacted(0), 100, 200);
    assert_in_range(most_compacted(100 * NS_PER_US), 64, 128);
    assert_in_range(most_compacted(NS_PER_MS), 1, 32);
}

TEST(server_slice, no_turn_applies_more_than_it_has_work_for)
{
    struct world w;
    struct config *config;
    struct call *calls[MANY];
    open_world(&w, &config);
    w.server->per_turn.apply = 100;
    for (unsigned i = 0; i < MANY; i++) {
        calls[i] = call_submit(&w, call_put("a", "1"));
    }
    uint64_t applied = w.server->applied;
    while (calls[MANY - 1]->done == 0) {
        loop_turn(w.loop, true);
        assert_true(w.server->applied <= applied + 13); /* 8 units each */
        applied = w.server->applied;
    }
    for (unsigned i = 0; i < MANY; i++) {
        call_end(&w, calls[i], STATUS_OK);
    }
    close_world(&w, &config);
}

/* ---- watchers of a delete under way -----------------------------------------------------------
 */

struct seen {
    unsigned puts;
    unsigned deletes;
    int64_t last;     /* revision of the last event */
    int64_t revision; /* of the last batch */
};

static void note_events(void *ctx, const struct watch_batch *batch)
{
    struct seen *seen = ctx;
    struct watch_event event;
    struct watch_event_iter iter = watch_event_iter_init(batch->body);
    while (watch_event_next(&iter, &event)) {
        *(event.is_delete ? &seen->deletes : &seen->puts) += 1;
        assert_true(event.kv.mod <= batch->revision);
        seen->last = event.kv.mod;
    }
    watch_event_iter_fini(&iter);
    seen->revision = batch->revision;
}

/* It reads the history of one key by the index, in which the delete already is. */
TEST(server_slice, who_watches_one_key_from_the_past_hears_of_a_delete_once_and_when_it_is_whole)
{
    static const struct watch_sink sink = {.events = note_events};
    struct world w;
    struct config *config;
    struct seen seen[2] = {{0}};
    struct watch_stream *stream[2];
    watch_id id;
    open_world(&w, &config);
    fill(&w, MANY);
    int64_t before = mvcc_revision(w.server->mvcc);
    w.server->per_turn.apply = 100;
    struct call *deletion = call_submit(&w, call_delete_range("k", "l", false));
    turn_until_applying(&w);
    for (unsigned i = 0; i < 2; i++) {
        struct watch_request request = {.key = SLICE("k000"),
                                        .range_end = i == 0 ? SLICE_EMPTY : SLICE("k001"),
                                        .start_revision = 1};
        stream[i] = watch_stream_open(server_watch_hub(w.server), &sink, &seen[i]);
        assert_int_equal(watch_create(stream[i], &request, &id, NULL), ERR_OK);
    }
    for (unsigned i = 0; i < 3; i++) {
        loop_turn(w.loop, false);
    }
    assert_true(w.server->entry.is_on);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(seen[i].puts, 1);
        assert_int_equal(seen[i].deletes, 0);
        assert_int_equal(seen[i].revision, before);
    }
    call_end(&w, deletion, STATUS_OK);
    for (unsigned i = 0; i < 3; i++) {
        loop_turn(w.loop, false);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(seen[i].puts, 1);
        assert_int_equal(seen[i].deletes, 1);
        assert_int_equal(seen[i].last, before + 1);
        watch_stream_close(&stream[i]);
    }
    close_world(&w, &config);
}

/* ---- ranges -----------------------------------------------------------------------------------
 */

/* Takes all that the source gives in this turn. */
static size_t source_take(struct call *call, struct buf *out)
{
    const struct reply_source *source = &call->request.source;
    size_t before = out->len;
    size_t len = 0;
    uint8_t piece[1000];
    while (out->len < source->len &&
           source->fill(source->ctx, piece, sizeof(piece), &len) == ERR_OK) {
        assert_in_range(len, 1, sizeof(piece));
        buf_append(out, piece, len);
    }
    return out->len - before;
}

/* Turn after turn, to its end. */
static void source_take_rest(struct world *w, struct call *call, struct buf *out)
{
    for (unsigned i = 0; i < 100 && out->len < call->request.source.len; i++) {
        loop_turn(w->loop, false);
        source_take(call, out);
    }
    assert_int_equal(out->len, call->request.source.len);
}

static struct call *open_source(struct world *w)
{
    struct call *call = call_range(true, false, 0);
    call->request.takes_source = true;
    assert_int_equal(call_wait(w, call_submit(w, call)), STATUS_OK);
    assert_non_null(call->request.source.fill);
    assert_int_equal(call->request.reply.len, 0);
    return call;
}

static void source_end(struct call *call)
{
    call->request.source.close(call->request.source.ctx);
    call_free(call);
}

static uint64_t open_reads(const struct world *w)
{
    struct mvcc_stats stats;
    mvcc_stats(w->server->mvcc, &stats);
    return stats.open_reads;
}

TEST(server_slice, a_large_range_is_a_source_that_gives_what_the_whole_reply_is)
{
    struct world w;
    struct config *config;
    struct buf got = {0};
    unsigned turns = 0;
    open_world(&w, &config);
    fill(&w, MANY);
    struct call *whole = call_range(true, false, 0);
    assert_int_equal(call_wait(&w, call_submit(&w, whole)), STATUS_OK);
    assert_null(whole->request.source.fill); /* it was not asked for */
    w.server->per_turn.sources = 500;
    struct call *streamed = open_source(&w);
    assert_int_equal(streamed->request.source.len, whole->request.reply.len);
    while (got.len < streamed->request.source.len) {
        size_t len = source_take(streamed, &got);
        assert_true(len <= 500 * RANGE_UNIT_BYTES);
        assert_true(len <= 70 * 450); /* rows of 8 units and some 420 bytes */
        call_end(&w, call_submit(&w, call_put("k000", "changed")), STATUS_OK);
        call_end(&w, call_submit(&w, call_delete("k299")), STATUS_OK);
        turns++;
    }
    assert_true(turns > 4);
    assert_true(slice_eq(buf_slice(&got), whole->request.reply));
    assert_int_equal(open_reads(&w), 1);
    source_end(streamed);
    assert_int_equal(open_reads(&w), 0);
    call_free(whole);
    buf_fini(&got);
    close_world(&w, &config);
}

TEST(server_slice, sources_share_a_turn)
{
    struct world w;
    struct config *config;
    struct call *calls[5];
    struct buf got[5] = {{0}};
    open_world(&w, &config);
    fill(&w, MANY);
    w.server->per_turn.sources = 2000;
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        calls[i] = open_source(&w);
    }
    for (unsigned turn = 0; turn < 3; turn++) {
        loop_turn(w.loop, false);
        for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
            size_t len = source_take(calls[i], &got[i]);
            /* At first nobody knows of the others; then each has its part. */
            assert_true(turn == 0 || len > 0);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        buf_fini(&got[i]);
        source_end(calls[i]);
    }
    close_world(&w, &config);
}

TEST(server_slice, a_source_stops_in_time_and_sooner_while_others_ask)
{
    struct world w;
    struct config *config;
    struct buf got = {0};
    open_world(&w, &config);
    fill(&w, MANY);
    struct call *source = open_source(&w);
    loop_turn(w.loop, false);
    slow_begin(&w, 60 * NS_PER_US);
    size_t shared = source_take(source, &got);
    assert_in_range(shared, 1, 100 * 450); /* 3 looks, so 3 times some 20 rows */
    assert_int_equal(source_take(source, &got), 0);
    sim_env_advance(w.env, 20 * NS_PER_MS); /* nobody asks any more */
    loop_turn(w.loop, false);
    size_t alone = source_take(source, &got);
    assert_true(alone > 2 * shared);
    assert_true(got.len < source->request.source.len);
    slow_end(&w);
    source_take_rest(&w, source, &got);
    buf_fini(&got);
    source_end(source);
    close_world(&w, &config);
}

TEST(server_slice, a_turn_that_has_taken_long_gives_a_source_the_least_that_makes_it_go_on)
{
    struct world w;
    struct config *config;
    struct buf got = {0};
    open_world(&w, &config);
    fill(&w, MANY);
    struct call *source = open_source(&w);
    loop_turn(w.loop, false);
    sim_env_advance(w.env, 2 * NS_PER_MS);
    assert_in_range(source_take(source, &got), 1, 8 * 450);
    assert_int_equal(source_take(source, &got), 0);
    source_take_rest(&w, source, &got);
    buf_fini(&got);
    source_end(source);
    close_world(&w, &config);
}

TEST(server_slice, a_reader_that_does_not_read_holds_compaction_back_for_seconds_only)
{
    struct world w;
    struct config *config;
    struct buf got = {0};
    uint8_t byte;
    size_t len;
    open_world(&w, &config);
    fill(&w, MANY);
    call_end(&w, call_submit(&w, call_put("k000", "new")), STATUS_OK);
    struct call *idle = open_source(&w);
    struct call *busy = open_source(&w);
    /* As long as nothing waits for it, it may take its time. */
    for (unsigned i = 0; i < 100; i++) {
        sim_env_advance(w.env, NS_PER_SEC);
        loop_turn(w.loop, false);
    }
    assert_int_equal(open_reads(&w), 2);
    call_end(&w, call_submit(&w, call_put("k000", "newer")), STATUS_OK);
    call_end(&w, call_submit(&w, call_compact(mvcc_revision(w.server->mvcc), false)), STATUS_OK);
    for (unsigned i = 0; i < 90 && open_reads(&w) == 2; i++) {
        assert_true(mvcc_compact_step(w.server->mvcc) > 0); /* held back */
        sim_env_advance(w.env, 100 * NS_PER_MS);
        loop_turn(w.loop, false);
    }
    assert_int_equal(open_reads(&w), 2);
    source_take(busy, &got); /* all of it: it is through before it could be given up */
    source_end(busy);
    for (unsigned i = 0; i < 50; i++) {
        sim_env_advance(w.env, 100 * NS_PER_MS);
        loop_turn(w.loop, false);
    }
    assert_int_equal(open_reads(&w), 0);
    assert_int_equal(idle->request.source.fill(idle->request.source.ctx, &byte, 1, &len),
                     ERR_CANCELED);
    source_end(idle);
    assert_true(mvcc_is_compacted(w.server->mvcc, mvcc_revision(w.server->mvcc)));
    buf_fini(&got);
    close_world(&w, &config);
}

TEST(server_slice, a_range_that_is_measured_can_be_given_up_and_leaves_nothing_open)
{
    struct world w;
    struct config *config;
    open_world(&w, &config);
    fill(&w, MANY);
    w.server->per_turn.reads = 10;
    struct call *call = call_range(true, false, 0);
    const Etcdserverpb__RangeRequest *message = call->request.message;
    struct call *other = call_range(true, false, mvcc_revision(w.server->mvcc) - 1);
    UNUSED(message);
    call_submit(&w, other);
    for (unsigned i = 0; i < 10 && other->request.state != REQUEST_RANGING; i++) {
        loop_turn(w.loop, false);
    }
    assert_int_equal(other->request.state, REQUEST_RANGING);
    assert_int_equal(open_reads(&w), 1);
    /* A small one is answered between its slices. */
    assert_string_equal(world_get(&w, "none", true), "");
    assert_int_equal(other->done, 0);
    server_cancel(w.server, &other->request, STATUS_CANCELED);
    assert_int_equal(open_reads(&w), 0);
    call_end(&w, other, STATUS_CANCELED);
    call_submit(&w, call);
    call_end(&w, call, STATUS_OK);
    close_world(&w, &config);
}

TEST(server_slice, a_stop_gives_up_what_is_on_its_way)
{
    struct world w;
    struct config *config;
    uint8_t byte;
    size_t len;
    open_world(&w, &config);
    fill(&w, MANY);
    struct call *call = open_source(&w);
    world_close(&w);
    assert_int_equal(call->request.source.fill(call->request.source.ctx, &byte, 1, &len),
                     ERR_CANCELED);
    source_end(call);
    sim_disk_free(&w.disk);
    config_free(&config);
}

/* ---- transactions ----------------------------------------------------------------------------
 */

static Etcdserverpb__RequestOp *op_range(struct arena *arena, const char *from, const char *end)
{
    Etcdserverpb__RequestOp *op = pb_new(arena, &etcdserverpb__request_op__descriptor);
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op->request_range = pb_new(arena, &etcdserverpb__range_request__descriptor);
    op->request_range->key = pb_binary(slice_str(from));
    op->request_range->range_end = pb_binary(slice_str(end));
    return op;
}

static Etcdserverpb__RequestOp *op_delete(struct arena *arena, const char *from, const char *end)
{
    Etcdserverpb__RequestOp *op = pb_new(arena, &etcdserverpb__request_op__descriptor);
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    op->request_delete_range = pb_new(arena, &etcdserverpb__delete_range_request__descriptor);
    op->request_delete_range->key = pb_binary(slice_str(from));
    op->request_delete_range->range_end = pb_binary(slice_str(end));
    return op;
}

static Etcdserverpb__RequestOp *op_put(struct arena *arena, const char *key)
{
    Etcdserverpb__RequestOp *op = pb_new(arena, &etcdserverpb__request_op__descriptor);
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op->request_put = pb_new(arena, &etcdserverpb__put_request__descriptor);
    op->request_put->key = pb_binary(slice_str(key));
    op->request_put->value = pb_binary(SLICE("new"));
    return op;
}

/* If every key of [k, l) has been written once: `ops`. */
static struct call *call_txn(enum request_kind kind, Etcdserverpb__RequestOp **ops, size_t count)
{
    Etcdserverpb__Compare compare = ETCDSERVERPB__COMPARE__INIT;
    Etcdserverpb__Compare *compares[] = {&compare};
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    compare.key = pb_binary(SLICE("k"));
    compare.range_end = pb_binary(SLICE("l"));
    compare.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
    compare.version = 1;
    txn.compare = compares;
    txn.n_compare = 1;
    txn.success = ops;
    txn.n_success = count;
    return call_new(kind, &txn.base);
}

/* Reads all, puts one, deletes all but a few, reads all, in a transaction in a transaction. */
static struct call *call_large_txn(struct arena *arena)
{
    Etcdserverpb__RequestOp *inner[] = {
        op_range(arena, "k", "l"),
        op_put(arena, "k999"),
        op_delete(arena, "k", "k290"),
        op_range(arena, "k", "l"),
    };
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT;
    Etcdserverpb__RequestOp *outer[] = {&op, op_put(arena, "m")};
    txn.success = inner;
    txn.n_success = ARRAY_LEN(inner);
    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
    op.request_txn = &txn;
    return call_txn(REQUEST_TXN, outer, ARRAY_LEN(outer));
}

static void assert_large_txn(struct call *call, struct slice bytes, int64_t revision)
{
    Etcdserverpb__TxnResponse *reply = NULL;
    assert_int_equal(pb_decode(&call->arena, &etcdserverpb__txn_response__descriptor, bytes,
                               (void **)(void *)&reply, NULL),
                     ERR_OK);
    assert_true(reply->succeeded);
    assert_int_equal(reply->header->revision, revision);
    assert_int_equal(reply->n_responses, 2);
    const Etcdserverpb__TxnResponse *inner = reply->responses[0]->response_txn;
    assert_int_equal(inner->n_responses, 4);
    assert_int_equal(inner->responses[0]->response_range->n_kvs, MANY);
    assert_int_equal(inner->responses[0]->response_range->header->revision, revision - 1);
    assert_int_equal(inner->responses[1]->response_put->header->revision, revision);
    assert_int_equal(inner->responses[2]->response_delete_range->deleted, 290);
    assert_int_equal(inner->responses[3]->response_range->n_kvs, MANY - 290 + 1);
    assert_int_equal(inner->responses[3]->response_range->header->revision, revision);
    assert_int_equal(inner->responses[3]->response_range->kvs[10]->mod_revision, revision);
}

TEST(server_slice, a_txn_spans_turns_and_nobody_sees_half_of_it)
{
    struct world w;
    struct config *config;
    struct arena arena;
    unsigned turns = 0;
    unsigned served = 0;
    arena_init(&arena);
    open_world(&w, &config);
    fill(&w, MANY);
    int64_t before = mvcc_revision(w.server->mvcc);
    uint64_t applied = w.server->applied;
    w.server->per_turn.apply = 100;
    struct call *txn = call_submit(&w, call_large_txn(&arena));
    turn_until_applying(&w);
    struct call *put = call_submit(&w, call_put("k1", "later"));
    struct call *fresh = call_submit(&w, call_range(false, true, 0));
    while (w.server->entry.is_on) {
        struct call *whole = call_submit(&w, call_range(true, false, 0));
        assert_int_equal(mvcc_revision(w.server->mvcc), before);
        assert_int_equal(w.server->applied, applied);
        assert_int_equal(txn->done + put->done + fresh->done, 0);
        loop_turn(w.loop, false);
        turns++;
        if (w.server->entry.is_on) {
            assert_int_equal(whole->done, 1);
            assert_int_equal(range_reply(whole)->n_kvs, MANY);
            assert_int_equal(range_reply(whole)->header->revision, before);
            served++;
        }
        call_end(&w, whole, STATUS_OK);
    }
    assert_true(turns > 20);
    assert_true(served > 20);
    assert_int_equal(call_wait(&w, txn), STATUS_OK);
    assert_large_txn(txn, txn->request.reply, before + 1);
    call_free(txn);
    call_end(&w, put, STATUS_OK);
    assert_count(&w, fresh, MANY - 290 + 2, before + 2);
    assert_count(&w, call_submit(&w, call_range(false, true, before)), MANY, before + 2);
    uint32_t hash = world_hash(&w);
    world_check(&w);
    world_restart(&w);
    assert_int_equal(world_hash(&w), hash);
    arena_fini(&arena);
    close_world(&w, &config);
}

/* What it gives is as of its place in the transaction, however much is written while it is taken.
 */
TEST(server_slice, a_txn_with_large_ranges_is_a_source)
{
    struct world w;
    struct config *config;
    struct arena arena;
    struct buf got = {0};
    arena_init(&arena);
    open_world(&w, &config);
    fill(&w, MANY);
    int64_t before = mvcc_revision(w.server->mvcc);
    struct call *txn = call_large_txn(&arena);
    txn->request.takes_source = true;
    assert_int_equal(call_wait(&w, call_submit(&w, txn)), STATUS_OK);
    assert_non_null(txn->request.source.fill);
    assert_int_equal(txn->request.reply.len, 0);
    assert_int_equal(open_reads(&w), 1); /* the first Range; the second is small */
    w.server->per_turn.sources = 500;
    unsigned turns = 0;
    while (got.len < txn->request.source.len) {
        loop_turn(w.loop, false);
        source_take(txn, &got);
        call_end(&w, call_submit(&w, call_put("k295", "changed")), STATUS_OK);
        call_end(&w, call_submit(&w, call_delete("k299")), STATUS_OK);
        turns++;
    }
    assert_true(turns > 4);
    assert_large_txn(txn, buf_slice(&got), before + 1);
    source_end(txn);
    assert_int_equal(open_reads(&w), 0);
    buf_fini(&got);
    arena_fini(&arena);
    close_world(&w, &config);
}

TEST(server_slice, a_txn_that_only_reads_spans_turns_and_answers_as_of_its_first)
{
    struct world w;
    struct config *config;
    struct arena arena;
    unsigned turns = 0;
    arena_init(&arena);
    open_world(&w, &config);
    fill(&w, MANY);
    int64_t before = mvcc_revision(w.server->mvcc);
    Etcdserverpb__RequestOp *ops[] = {op_range(&arena, "k", "l"), op_range(&arena, "k000", "")};
    struct call *txn = call_txn(REQUEST_TXN_READ, ops, ARRAY_LEN(ops));
    struct call *given_up = call_txn(REQUEST_TXN_READ, ops, ARRAY_LEN(ops));
    txn->request.is_serializable = given_up->request.is_serializable = true;
    w.server->per_turn.reads = 50;
    call_submit(&w, txn);
    loop_turn(w.loop, false);
    assert_int_equal(txn->done, 0);
    assert_int_equal(txn->request.state, REQUEST_RANGING);
    call_submit(&w, given_up);
    loop_turn(w.loop, false);
    loop_turn(w.loop, false);
    assert_int_equal(given_up->request.state, REQUEST_RANGING);
    server_cancel(w.server, &given_up->request, STATUS_CANCELED);
    call_end(&w, given_up, STATUS_CANCELED);
    call_end(&w, call_submit(&w, call_put("k000", "changed")), STATUS_OK);
    call_end(&w, call_submit(&w, call_delete_range("k1", "l", false)), STATUS_OK);
    call_end(&w, call_submit(&w, call_compact(mvcc_revision(w.server->mvcc), false)), STATUS_OK);
    while (txn->done == 0) {
        sim_env_advance(w.env, 20 * NS_PER_MS); /* a step of compaction would be due */
        loop_turn(w.loop, false);
        turns++;
    }
    assert_true(turns > 1);
    const Etcdserverpb__TxnResponse *reply =
        call_reply(txn, &etcdserverpb__txn_response__descriptor);
    assert_true(reply->succeeded);
    assert_int_equal(reply->header->revision, before);
    assert_int_equal(reply->responses[0]->response_range->n_kvs, MANY);
    assert_int_equal(reply->responses[0]->response_range->header->revision, before);
    assert_int_equal(reply->responses[1]->response_range->n_kvs, 1);
    assert_int_equal(reply->responses[1]->response_range->kvs[0]->version, 1);
    call_free(txn);
    assert_int_equal(open_reads(&w), 0);
    arena_fini(&arena);
    close_world(&w, &config);
}

TEST(server_slice, a_txn_that_was_begun_cannot_be_given_up_and_a_stop_waits_for_it)
{
    for (unsigned turns = 0; turns < 40; turns += 3) {
        struct world w;
        struct config *config;
        struct arena arena;
        arena_init(&arena);
        open_world(&w, &config);
        fill(&w, MANY);
        w.server->per_turn.apply = 100;
        struct call *txn = call_submit(&w, call_large_txn(&arena));
        turn_until_applying(&w);
        for (unsigned i = 0; i < turns && w.server->entry.is_on; i++) {
            loop_turn(w.loop, false);
        }
        server_cancel(w.server, &txn->request, STATUS_CANCELED);
        world_stop(&w);
        assert_int_equal(txn->done, 1);
        assert_int_equal(txn->request.status, STATUS_OK);
        call_free(txn);
        world_free(&w);
        world_open(&w, config, w.disk);
        assert_string_equal(world_get(&w, "k000", false), "");
        assert_string_equal(world_get(&w, "m", false), "new");
        arena_fini(&arena);
        close_world(&w, &config);
    }
}

/* However little a turn has left: a small one is done in the turn in which its entry comes. */
TEST(server_slice, a_small_txn_is_never_cut)
{
    struct world w;
    struct config *config;
    struct arena arena;
    arena_init(&arena);
    open_world(&w, &config);
    Etcdserverpb__RequestOp *ops[] = {op_put(&arena, "m"), op_range(&arena, "m", "")};
    w.server->per_turn.apply = 300;
    struct call *calls[60];
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++) {
        calls[i] = call_submit(&w, call_txn(REQUEST_TXN, i % 2 == 0 ? NULL : ops, i % 2 * 2));
    }
    while (calls[ARRAY_LEN(calls) - 1]->done == 0) {
        loop_turn(w.loop, true);
        assert_false(w.server->entry.is_on);
    }
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++) {
        call_end(&w, calls[i], STATUS_OK);
    }
    arena_fini(&arena);
    close_world(&w, &config);
}
