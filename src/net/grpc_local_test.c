/* The same services as over HTTP/2 (http_world.c), called from inside. */
#include "net/grpc_local.h"

#include "net/http_world.h"

#include "unit.h"

struct sink {
    struct buf messages; /* one behind the other, each with a '|' */
    unsigned count;
    bool ended;
    enum grpc_status status;
    char text[128];
    bool is_full;
    struct buf pieces;
    bool was_last;
};

static void on_message(void *ctx, struct slice message)
{
    struct sink *sink = ctx;
    assert_false(sink->ended);
    buf_append_slice(&sink->messages, message);
    buf_append_byte(&sink->messages, '|');
    sink->count++;
}

static void on_end(void *ctx, enum grpc_status status, const char *text)
{
    struct sink *sink = ctx;
    assert_false(sink->ended);
    sink->ended = true;
    sink->status = status;
    snprintf(sink->text, sizeof(sink->text), "%s", text);
}

static bool is_writable(void *ctx)
{
    return !((struct sink *)ctx)->is_full;
}

static const struct grpc_local_sink sink_functions = {
    .message = on_message, .end = on_end, .writable = is_writable};

static void on_piece(void *ctx, struct slice bytes, bool is_last)
{
    struct sink *sink = ctx;
    assert_false(sink->ended);
    assert_false(sink->was_last);
    assert_false(sink->is_full);
    buf_append_slice(&sink->pieces, bytes);
    sink->was_last = is_last;
}

static const struct grpc_local_sink piece_functions = {
    .message = on_message, .end = on_end, .writable = is_writable, .piece = on_piece};

static struct grpc_call *start_with(struct world *world, const char *path,
                                    const struct grpc_local_sink *functions, struct sink *sink,
                                    mono_ns deadline)
{
    static const struct grpc_local_field fields[] = {
        {{(const uint8_t *)"token", 5}, {(const uint8_t *)"t1", 2}},
        {{(const uint8_t *)"token", 5}, {(const uint8_t *)"t2", 2}},
    };
    const struct grpc_local_options options = {
        .path = path,
        .metadata = fields,
        .metadata_count = ARRAY_LEN(fields),
        .peer = "local",
        .deadline = deadline,
        .sink = functions,
        .ctx = sink,
    };
    return grpc_local_start(world->server, &options);
}

static struct grpc_call *start(struct world *world, const char *path, struct sink *sink,
                               mono_ns deadline)
{
    return start_with(world, path, &sink_functions, sink, deadline);
}

static void ask(struct world *world, const char *path, struct slice message, struct sink *sink)
{
    struct grpc_call *call = start(world, path, sink, UINT64_MAX);
    assert_non_null(call);
    grpc_local_send(call, message);
    if (!sink->ended) {
        grpc_local_close_send(call);
    }
    assert_true(sink->ended);
}

TEST(grpc_local, a_unary_call_gets_its_reply_and_its_metadata)
{
    struct world *world = world_new(NULL);
    struct sink sink = {0};
    ask(world, "/test.T/Echo", SLICE("hello"), &sink);
    assert_string_equal(buf_cstr(&sink.messages), "hello|");
    assert_int_equal(sink.status, GRPC_OK);
    buf_fini(&sink.messages);
    sink = (struct sink){0};
    ask(world, "/test.T/Describe", SLICE_EMPTY, &sink);
    assert_string_equal(buf_cstr(&sink.messages), "t1 t2 none Describe|");
    buf_fini(&sink.messages);
    world_free(world);
}

TEST(grpc_local, an_answer_in_pieces_is_one_message)
{
    struct world *world = world_new(NULL);
    struct sink sink = {0};
    ask(world, "/test.T/Chunks", SLICE("head"), &sink);
    assert_int_equal(sink.count, 1);
    assert_int_equal(sink.messages.len, 4 + 5000 + 3 + 1);
    assert_int_equal(world->closes, 2);
    buf_fini(&sink.messages);
    sink = (struct sink){0};
    ask(world, "/test.T/Source", SLICE("200000"), &sink);
    assert_int_equal(sink.count, 1);
    assert_int_equal(sink.messages.len, 200001);
    assert_int_equal(world->closes, 3);
    buf_fini(&sink.messages);
    sink = (struct sink){0};
    ask(world, "/test.T/Source", SLICE("!200000"), &sink);
    assert_int_equal(sink.count, 0);
    assert_int_equal(sink.status, GRPC_INTERNAL);
    assert_int_equal(world->closes, 4);
    world_free(world);
}

TEST(grpc_local, a_source_may_take_several_turns)
{
    struct world *world = world_new(NULL);
    struct sink sink = {0};
    struct grpc_call *call = start(world, "/test.T/Source", &sink, UINT64_MAX);
    grpc_local_send(call, SLICE("~200000"));
    assert_int_equal(sink.count, 0);
    turn_until(world, &sink.ended);
    assert_int_equal(sink.status, GRPC_OK);
    assert_int_equal(sink.messages.len, 200001);
    assert_int_equal(world->closes, 1);
    buf_fini(&sink.messages);
    sink = (struct sink){0};
    call = start(world, "/test.T/Source", &sink, UINT64_MAX);
    grpc_local_send(call, SLICE("~200000"));
    grpc_local_cancel(call, GRPC_CANCELED);
    turn_some(world, 5);
    assert_int_equal(sink.count, 0);
    assert_int_equal(world->closes, 2);
    world_free(world);
}

TEST(grpc_local, refusals_come_with_their_text)
{
    struct world *world = world_new(NULL);
    struct sink sink = {0};
    struct buf large = {0};
    assert_null(start(world, "/test.T/Nope", &sink, UINT64_MAX));
    assert_false(sink.ended);
    ask(world, "/test.T/Refuse", SLICE_EMPTY, &sink);
    assert_int_equal(sink.status, GRPC_INVALID_ARGUMENT);
    assert_string_equal(sink.text, "etcdserver: 100% wr\xc3\xb6ng\n");
    sink = (struct sink){0};
    memset(buf_extend(&large, 2097153), 'x', 2097153);
    ask(world, "/test.T/Echo", buf_slice(&large), &sink);
    assert_int_equal(sink.status, GRPC_RESOURCE_EXHAUSTED);
    assert_string_equal(sink.text, "grpc: received message larger than max (2097153 vs. 2097152)");
    sink = (struct sink){0};
    struct grpc_call *call = start(world, "/test.T/Echo", &sink, UINT64_MAX);
    grpc_local_close_send(call); /* a unary call without a message */
    assert_true(sink.ended);
    assert_int_equal(sink.status, GRPC_UNKNOWN);
    buf_fini(&large);
    world_free(world);
}

TEST(grpc_local, a_stream_goes_both_ways_until_it_is_closed)
{
    struct world *world = world_new(NULL);
    struct sink sink = {0};
    struct grpc_call *call = start(world, "/test.T/Bidi", &sink, UINT64_MAX);
    assert_int_equal(world->starts, 1);
    grpc_local_send(call, SLICE("a"));
    grpc_call_pause(call, true);
    grpc_local_send(call, SLICE("b"));
    grpc_local_send(call, SLICE(""));
    assert_string_equal(buf_cstr(&sink.messages), "a|");
    grpc_call_pause(call, false);
    assert_string_equal(buf_cstr(&sink.messages), "a|b||");
    sink.is_full = true;
    assert_false(grpc_call_writable(call));
    sink.is_full = false;
    grpc_local_writable(call);
    assert_true(grpc_call_writable(call));
    grpc_local_close_send(call);
    assert_true(sink.ended);
    assert_int_equal(sink.status, GRPC_OK);
    buf_fini(&sink.messages);
    world_free(world);
}

/* What waits while the handler pauses has an end. */
TEST(grpc_local, a_flood_while_paused_ends_the_call)
{
    struct world *world = world_new(NULL);
    struct sink sink = {0};
    struct buf large = {0};
    unsigned sent = 0;
    memset(buf_extend(&large, 1024 * 1024), 'x', 1024 * 1024);
    struct grpc_call *call = start(world, "/test.T/Bidi", &sink, UINT64_MAX);
    grpc_call_pause(call, true);
    while (!sink.ended) {
        assert_true(sent++ < 65);
        grpc_local_send(call, buf_slice(&large));
    }
    assert_int_equal(sent, 64); /* with the prefixes over 64 MiB */
    assert_int_equal(sink.status, GRPC_RESOURCE_EXHAUSTED);
    assert_int_equal(world->cancels, 1);
    buf_fini(&large);
    world_free(world);
}

/* The call ends inside of grpc_call_pause(), when so many are spare that its memory goes at once.
 */
TEST(grpc_local, a_paused_message_may_end_the_call)
{
    static struct grpc_call *calls[5000];
    struct world *world = world_new(NULL);
    struct sink sinks = {0};
    struct sink sink = {0};
    struct buf large = {0};
    memset(buf_extend(&large, 2097153), 'x', 2097153);
    struct grpc_call *call = start(world, "/test.T/Bidi", &sink, UINT64_MAX);
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++) {
        calls[i] = start(world, "/test.T/Bidi", &sinks, UINT64_MAX);
    }
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++) {
        sinks.ended = false;
        grpc_local_close_send(calls[i]);
    }
    grpc_call_pause(call, true);
    grpc_local_send(call, buf_slice(&large));
    assert_false(sink.ended);
    grpc_call_pause(call, false);
    assert_true(sink.ended);
    assert_int_equal(sink.status, GRPC_RESOURCE_EXHAUSTED);
    buf_fini(&large);
    world_free(world);
}

TEST(grpc_local, a_call_that_nobody_waits_for_is_canceled_and_its_answer_disappears)
{
    struct world *world = world_new(NULL);
    struct sink sink = {0};
    struct grpc_call *call = start(world, "/test.T/Hold", &sink, UINT64_MAX);
    grpc_local_send(call, SLICE("x"));
    assert_ptr_equal(world->held, call);
    grpc_local_cancel(call, GRPC_CANCELED);
    assert_int_equal(world->cancels, 1);
    grpc_call_reply(world->held, SLICE("late"));
    assert_false(sink.ended);
    assert_int_equal(sink.count, 0);
    world_free(world);
}

TEST(grpc_local, a_deadline_ends_it)
{
    struct world *world = world_new(NULL);
    struct sink sink = {0};
    mono_ns deadline = env_now_mono(world->env) + 10 * NS_PER_MS;
    struct grpc_call *call = start(world, "/test.T/Hold", &sink, deadline);
    grpc_local_send(call, SLICE("x"));
    turn_until(world, &sink.ended);
    assert_int_equal(sink.status, GRPC_DEADLINE_EXCEEDED);
    assert_string_equal(sink.text, "context deadline exceeded");
    assert_int_equal(world->cancel_why, GRPC_DEADLINE_EXCEEDED);
    grpc_call_finish(world->held, GRPC_OK, NULL);
    world_free(world);
}

static void assert_is_pattern(const struct buf *bytes, size_t len)
{
    assert_int_equal(bytes->len, len);
    for (size_t at = 0; at < len; at += PATTERN_LEN) {
        size_t part = len - at < PATTERN_LEN ? len - at : PATTERN_LEN;
        assert_memory_equal(bytes->data + at, pattern, part);
    }
}

/* A sink that takes pieces gets a large message as it is made, some in each turn, and none when it
 * has no room; so it is never whole in memory. */
TEST(grpc_local, a_source_goes_out_in_pieces_as_there_is_room)
{
    static const char *const asks[] = {"1000000", "~1000000"};
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        struct world *world = world_new(NULL);
        struct sink sink = {0};
        struct grpc_call *call =
            start_with(world, "/test.T/Source", &piece_functions, &sink, UINT64_MAX);
        grpc_local_send(call, slice_str(asks[i]));
        assert_int_equal(sink.pieces.len, 0); /* not before its turn */
        size_t last = 0;
        while (sink.pieces.len < 300000) {
            loop_turn(world->loop, false);
            assert_true(sink.pieces.len - last <= 65536);
            last = sink.pieces.len;
        }
        sink.is_full = true;
        turn_some(world, 5);
        assert_int_equal(sink.pieces.len, last);
        sink.is_full = false;
        grpc_local_writable(call);
        turn_until(world, &sink.ended);
        assert_int_equal(sink.status, GRPC_OK);
        assert_true(sink.was_last);
        assert_int_equal(sink.count, 0);
        assert_is_pattern(&sink.pieces, 1000000);
        assert_int_equal(world->closes, 1);
        buf_fini(&sink.pieces);
        world_free(world);
    }
}

/* All of them together get no more of a turn than one would. */
TEST(grpc_local, many_sources_in_pieces_share_a_turn)
{
    struct world *world = world_new(NULL);
    struct sink sinks[8] = {0};
    size_t last = 0;
    for (size_t i = 0; i < ARRAY_LEN(sinks); i++) {
        grpc_local_send(
            start_with(world, "/test.T/Source", &piece_functions, &sinks[i], UINT64_MAX),
            SLICE("200000"));
    }
    for (size_t sum = 0; sum < 8 * 200000; last = sum) {
        loop_turn(world->loop, false);
        sum = 0;
        for (size_t i = 0; i < ARRAY_LEN(sinks); i++) {
            sum += sinks[i].pieces.len;
        }
        assert_true(sum - last <= 65536);
    }
    for (size_t i = 0; i < ARRAY_LEN(sinks); i++) {
        turn_until(world, &sinks[i].ended);
        buf_fini(&sinks[i].pieces);
    }
    world_free(world);
}

TEST(grpc_local, a_source_in_pieces_fails_or_is_left_in_the_middle)
{
    struct world *world = world_new(NULL);
    struct sink sink = {0};
    struct grpc_call *call =
        start_with(world, "/test.T/Source", &piece_functions, &sink, UINT64_MAX);
    grpc_local_send(call, SLICE("!200000"));
    turn_until(world, &sink.ended);
    assert_int_equal(sink.status, GRPC_INTERNAL);
    assert_false(sink.was_last);
    assert_int_equal(world->closes, 1);
    buf_fini(&sink.pieces);
    sink = (struct sink){0};
    call = start_with(world, "/test.T/Source", &piece_functions, &sink, UINT64_MAX);
    grpc_local_send(call, SLICE("~200000"));
    loop_turn(world->loop, false);
    loop_turn(world->loop, false);
    grpc_local_cancel(call, GRPC_CANCELED);
    turn_some(world, 5);
    assert_false(sink.ended);
    assert_int_equal(world->closes, 2);
    buf_fini(&sink.pieces);
    world_free(world);
}

/* A handler that was refused because of a source hears when that is through: at once if the sink
 * has room, else when it has. */
TEST(grpc_local, a_source_that_is_through_makes_the_call_writable_again)
{
    for (unsigned in_pieces = 0; in_pieces < 2; in_pieces++) {
        struct world *world = world_new(NULL);
        struct sink sink = {0};
        struct grpc_call *call =
            start_with(world, "/test.T/Bidi", in_pieces ? &piece_functions : &sink_functions, &sink,
                       UINT64_MAX);
        grpc_local_send(call, SLICE("~100000"));
        assert_false(grpc_call_writable(call));
        while (world->closes == 0) {
            assert_int_equal(world->writables, 0);
            loop_turn(world->loop, false);
        }
        assert_int_equal(world->writables, 1);
        assert_true(grpc_call_writable(call));
        assert_int_equal(in_pieces ? sink.pieces.len : sink.messages.len - 1, 100000);
        grpc_local_close_send(call);
        assert_true(sink.ended);
        buf_fini(&sink.pieces);
        buf_fini(&sink.messages);
        world_free(world);
    }
}
