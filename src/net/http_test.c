/* The server end to end over loopback sockets, against our own client. http_raw_test.c speaks to it
 * in raw bytes. */
#include "net/http_world.h"

#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- unary ------------------------------------------------------------------------------ */

struct answer {
    bool done;
    uint32_t status;
    bool unseen;
    char message[256];
    struct buf reply;
};

static void on_answer(const struct grpc_result *result, struct slice reply, void *ctx)
{
    struct answer *answer = ctx;
    assert_false(answer->done);
    answer->done = true;
    answer->status = result->status;
    answer->unseen = result->unseen;
    snprintf(answer->message, sizeof(answer->message), "%s", result->message);
    buf_append_slice(&answer->reply, reply);
}

static struct answer ask_with(struct world *world, const char *path, struct slice request,
                              const struct grpc_metadata *metadata, size_t count,
                              uint64_t timeout_ns)
{
    struct answer answer = {0};
    mono_ns deadline = timeout_ns == 0 ? UINT64_MAX : env_now_mono(world->env) + timeout_ns;
    grpc_unary(world->conn, path, request, metadata, count, deadline, on_answer, &answer);
    turn_until(world, &answer.done);
    return answer;
}

static struct answer ask(struct world *world, const char *path, struct slice request)
{
    return ask_with(world, path, request, NULL, 0, 0);
}

TEST(http, a_unary_call_gets_its_reply)
{
    struct world *world = world_new(NULL);
    world_connect(world);
    for (size_t len = 0; len < 200000; len = len * 3 + 1) {
        struct slice request = slice_of(pattern, len % sizeof(pattern));
        struct answer answer = ask(world, "/test.T/Echo", request);
        assert_int_equal(answer.status, GRPC_OK);
        assert_true(slice_eq(buf_slice(&answer.reply), request));
        buf_fini(&answer.reply);
    }
    world_free(world);
}

TEST(http, many_calls_at_once_on_one_connection)
{
    struct world *world = world_new(NULL);
    static struct answer answers[500];
    memset(answers, 0, sizeof(answers));
    world_connect(world);
    for (unsigned i = 0; i < ARRAY_LEN(answers); i++) {
        char text[16];
        snprintf(text, sizeof(text), "call %u", i);
        grpc_unary(world->conn, "/test.T/Echo", slice_str(text), NULL, 0, UINT64_MAX, on_answer,
                   &answers[i]);
    }
    for (unsigned i = 0; i < ARRAY_LEN(answers); i++) {
        char text[16];
        snprintf(text, sizeof(text), "call %u", i);
        turn_until(world, &answers[i].done);
        assert_true(slice_eq_str(buf_slice(&answers[i].reply), text));
        buf_fini(&answers[i].reply);
    }
    world_free(world);
}

TEST(http, a_message_at_the_limit_passes_and_one_byte_more_does_not)
{
    struct world *world = world_new(NULL);
    struct buf large = {0};
    world_connect(world);
    memset(buf_extend(&large, 2097153), 'x', 2097153);
    struct answer answer = ask(world, "/test.T/Echo", slice_of(large.data, 2097152));
    assert_int_equal(answer.status, GRPC_OK);
    assert_int_equal(answer.reply.len, 2097152);
    buf_fini(&answer.reply);
    answer = ask(world, "/test.T/Echo", buf_slice(&large));
    assert_int_equal(answer.status, GRPC_RESOURCE_EXHAUSTED);
    assert_string_equal(answer.message,
                        "grpc: received message larger than max (2097153 vs. 2097152)");
    buf_fini(&large);
    world_free(world);
}

TEST(http, what_is_not_there_is_named)
{
    static const struct {
        const char *path;
        const char *text;
    } cases[] = {
        {"/test.T/Nope", "unknown method Nope for service test.T"},
        {"/nope.X/Y", "unknown service nope.X"},
        {"/a/b/c", "unknown service a/b"},
        {"/test.T/", "unknown method  for service test.T"},
        {"/bad", "malformed method name: \"/bad\""},
        {"/", "malformed method name: \"/\""},
        {"//Echo", "unknown service "},
        {"test.T/Echo", "malformed method name: \"test.T/Echo\""},
    };
    struct world *world = world_new(NULL);
    world_connect(world);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct answer answer = ask(world, cases[i].path, SLICE("x"));
        assert_int_equal(answer.status, GRPC_UNIMPLEMENTED);
        assert_string_equal(answer.message, cases[i].text);
    }
    world_free(world);
}

TEST(http, a_refusal_carries_its_text_through_percent_encoding)
{
    struct world *world = world_new(NULL);
    world_connect(world);
    struct answer answer = ask(world, "/test.T/Refuse", SLICE_EMPTY);
    assert_int_equal(answer.status, GRPC_INVALID_ARGUMENT);
    assert_string_equal(answer.message, "etcdserver: 100% wr\xc3\xb6ng\n");
    world_free(world);
}

TEST(http, a_text_that_is_too_long_for_a_header_is_cut_between_escapes)
{
    struct world *world = world_new(NULL);
    world_connect(world);
    struct answer answer = ask(world, "/test.T/RefuseLong", SLICE_EMPTY);
    assert_int_equal(answer.status, GRPC_UNKNOWN);
    /* on_answer() keeps 255 characters: they are what was sent, not halves of escapes. */
    assert_int_equal(strspn(answer.message, "%"), 255);
    world_free(world);
}

TEST(http, metadata_arrives_in_order_and_binary_decoded)
{
    struct world *world = world_new(NULL);
    struct grpc_metadata metadata[] = {
        {SLICE("token"), SLICE("one")},
        {SLICE("trace-bin"), SLICE("\x00\xff!")},
        {SLICE("token"), SLICE("two")},
    };
    metadata[1].value = SLICE("raw;~");
    world_connect(world);
    struct answer answer =
        ask_with(world, "/test.T/Describe", SLICE_EMPTY, metadata, ARRAY_LEN(metadata), 0);
    assert_int_equal(answer.status, GRPC_OK);
    assert_true(slice_eq_str(buf_slice(&answer.reply), "one two raw;~ Describe"));
    buf_fini(&answer.reply);
    world_free(world);
}

TEST(http, a_deadline_cancels_the_handler_and_the_call_outlives_it)
{
    struct world *world = world_new(NULL);
    world_connect(world);
    /* On a slow machine the deadline may pass before the handler has the call: then with more. */
    struct answer answer;
    uint64_t timeout_ns = 30 * NS_PER_MS;
    do {
        answer = ask_with(world, "/test.T/Hold", SLICE("x"), NULL, 0, timeout_ns);
        assert_int_equal(answer.status, GRPC_DEADLINE_EXCEEDED);
        turn_some(world, 20);
        timeout_ns *= 2;
        assert_true(timeout_ns < 20 * NS_PER_SEC);
    } while (world->held == NULL);
    mono_ns limit = env_now_mono(world->env) + 20 * NS_PER_SEC;
    while (world->cancels == 0) {
        assert_true(env_now_mono(world->env) < limit);
        loop_turn(world->loop, false);
    }
    assert_int_equal(world->cancels, 1);
    assert_true(grpc_call_canceled(world->held));
    /* The handler still owns it: its memory is there, and sending goes nowhere. */
    assert_non_null(arena_alloc(grpc_call_arena(world->held), 100));
    grpc_call_send_copy(world->held, SLICE("late"));
    grpc_call_finish(world->held, GRPC_OK, NULL);
    answer = ask(world, "/test.T/Echo", SLICE("next"));
    assert_int_equal(answer.status, GRPC_OK);
    buf_fini(&answer.reply);
    world_free(world);
}

TEST(http, a_lost_connection_cancels_what_waits)
{
    struct world *world = world_new(NULL);
    struct answer answer = {0};
    world_connect(world);
    grpc_unary(world->conn, "/test.T/Hold", SLICE("x"), NULL, 0, UINT64_MAX, on_answer, &answer);
    while (world->held == NULL) {
        loop_turn(world->loop, false);
    }
    grpc_conn_close(&world->conn);
    assert_false(answer.done);
    turn_some(world, 20);
    assert_int_equal(world->cancels, 1);
    assert_int_equal(world->cancel_why, GRPC_CANCELED);
    assert_string_not_equal(grpc_call_peer(world->held), "");
    grpc_call_finish(world->held, GRPC_OK, "nobody hears");
    world_free(world);
}

/* Of three calls one may run: the second waits for its end, or for the first to have run for long.
 */
TEST(http, calls_beyond_the_limit_wait_for_their_turn)
{
    struct http_options options = {.running_max = 1};
    struct world *world = world_new(&options);
    struct answer answers[3] = {{0}};
    world_connect(world);
    for (unsigned i = 0; i < 3; i++) {
        grpc_unary(world->conn, "/test.T/Hold", SLICE("x"), NULL, 0, UINT64_MAX, on_answer,
                   &answers[i]);
    }
    while (world->held == NULL) {
        loop_turn(world->loop, false);
    }
    struct grpc_call *first = world->held;
    turn_some(world, 20);
    assert_ptr_equal(world->held, first);
    grpc_call_reply(first, SLICE("1"));
    turn_until(world, &answers[0].done);
    while (world->held == first) {
        loop_turn(world->loop, false);
    }
    struct grpc_call *second = world->held;
    assert_false(answers[1].done);
    mono_ns since = env_now_mono(world->env);
    while (world->held == second) { /* as if it waited for a lock that the third gives back */
        loop_turn(world->loop, true);
    }
    assert_true(env_now_mono(world->env) - since < 10 * NS_PER_SEC);
    grpc_call_reply(world->held, SLICE("3"));
    turn_until(world, &answers[2].done);
    assert_false(answers[1].done);
    grpc_call_reply(second, SLICE("2"));
    turn_until(world, &answers[1].done);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(answers[i].status, GRPC_OK);
        buf_fini(&answers[i].reply);
    }
    world_free(world);
}

TEST(http, a_call_that_ends_while_it_waits_never_runs)
{
    struct http_options options = {.running_max = 1};
    struct world *world = world_new(&options);
    struct answer held = {0};
    struct answer late = {0};
    struct answer lost = {0};
    world_connect(world);
    grpc_unary(world->conn, "/test.T/Hold", SLICE("x"), NULL, 0, UINT64_MAX, on_answer, &held);
    grpc_unary(world->conn, "/test.T/Hold", SLICE("x"), NULL, 0,
               env_now_mono(world->env) + 20 * NS_PER_MS, on_answer, &late);
    turn_until(world, &late.done);
    assert_int_equal(late.status, GRPC_DEADLINE_EXCEEDED);
    struct grpc_call *first = world->held;
    assert_non_null(first);
    turn_some(world, 150);
    assert_ptr_equal(world->held, first);
    grpc_unary(world->conn, "/test.T/Hold", SLICE("x"), NULL, 0, UINT64_MAX, on_answer, &lost);
    grpc_conn_close(&world->conn);
    turn_some(world, 20);
    grpc_call_finish(first, GRPC_OK, NULL);
    turn_some(world, 20);
    assert_ptr_equal(world->held, first);
    world_free(world);
}

TEST(http, a_huge_reply_is_pulled_as_the_window_opens)
{
    struct world *world = world_new(NULL);
    world_connect(world);
    struct answer answer = ask(world, "/test.T/Source", SLICE("30000000"));
    assert_int_equal(answer.status, GRPC_OK);
    assert_int_equal(answer.reply.len, 30000000);
    for (size_t i = 0; i < answer.reply.len; i += 997) {
        assert_int_equal(answer.reply.data[i], pattern[i % sizeof(pattern)]);
    }
    assert_int_equal(world->closes, 1);
    buf_fini(&answer.reply);
    world_free(world);
}

TEST(http, a_source_that_fails_resets_the_stream)
{
    struct world *world = world_new(NULL);
    world_connect(world);
    struct answer answer = ask(world, "/test.T/Source", SLICE("!30000000"));
    assert_int_equal(answer.status, GRPC_INTERNAL);
    assert_int_equal(world->closes, 1);
    answer = ask(world, "/test.T/Source", SLICE("0"));
    assert_int_equal(answer.status, GRPC_OK);
    assert_int_equal(answer.reply.len, 0);
    assert_int_equal(world->closes, 2);
    buf_fini(&answer.reply);
    world_free(world);
}

static void assert_pattern(const struct answer *answer, size_t len)
{
    assert_int_equal(answer->status, GRPC_OK);
    assert_int_equal(answer->reply.len, len);
    for (size_t i = 0; i < len; i++) {
        if (answer->reply.data[i] != pattern[i % sizeof(pattern)]) {
            fail_msg("byte %zu differs", i);
        }
    }
}

TEST(http, a_source_that_has_enough_of_a_turn_is_asked_again_in_the_next)
{
    static const char *const lens[] = {"~1", "~16384", "~16385", "~1000000"};
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct world *world = world_new(NULL);
        world_connect(world);
        struct answer answer = ask(world, "/test.T/Source", slice_str(lens[i]));
        assert_pattern(&answer, (size_t)atoi(lens[i] + 1));
        assert_int_equal(world->closes, 1);
        buf_fini(&answer.reply);
        world_free(world);
    }
}

TEST(http, sources_that_rest_share_a_connection)
{
    struct world *world = world_new(NULL);
    struct answer answers[20] = {0};
    world_connect(world);
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        grpc_unary(world->conn, "/test.T/Source", SLICE("~100000"), NULL, 0, UINT64_MAX, on_answer,
                   &answers[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        turn_until(world, &answers[i].done);
        assert_int_equal(answers[i].reply.len, 100000);
        buf_fini(&answers[i].reply);
    }
    assert_int_equal(world->closes, ARRAY_LEN(answers));
    world_free(world);
}

TEST(http, a_source_of_up_to_a_megabyte_is_compressed_when_the_request_was)
{
    static const char *const lens[] = {"0", "1", "16384", "700000", "~700000", "1048576"};
    const struct grpc_metadata gzip = {.name = SLICE("grpc-encoding"), .value = SLICE("gzip")};
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct world *world = world_new(NULL);
        world_connect(world);
        struct answer answer = ask_with(world, "/test.T/Source", slice_str(lens[i]), &gzip, 1, 0);
        size_t len = (size_t)atoi(lens[i][0] == '~' ? lens[i] + 1 : lens[i]);
        struct http_stats stats;
        http_server_stats(world->server, &stats);
        assert_pattern(&answer, len);
        assert_true(len < 16384 || stats.bytes_out < len); /* the pattern repeats */
        assert_int_equal(world->closes, 1);
        buf_fini(&answer.reply);
        world_free(world);
    }
}

TEST(http, a_compressed_source_that_fails_or_is_not_waited_for_is_closed)
{
    const struct grpc_metadata gzip = {.name = SLICE("grpc-encoding"), .value = SLICE("gzip")};
    struct world *world = world_new(NULL);
    world_connect(world);
    struct answer answer = ask_with(world, "/test.T/Source", SLICE("!1000000"), &gzip, 1, 0);
    assert_int_equal(answer.status, GRPC_INTERNAL);
    assert_int_equal(world->closes, 1);
    grpc_unary(world->conn, "/test.T/Source", SLICE("~1000000"), &gzip, 1, UINT64_MAX, on_answer,
               &answer);
    world->asks_peer = true; /* the source outlives the connection and the handler */
    for (unsigned pulls = world->pulls; world->pulls < pulls + 3;) {
        loop_turn(world->loop, false);
    }
    grpc_conn_close(&world->conn);
    turn_some(world, 20);
    assert_int_equal(world->closes, 2);
    world_free(world);
}

TEST(http, pieces_of_a_reply_are_released_once)
{
    struct world *world = world_new(NULL);
    world_connect(world);
    struct answer answer = ask(world, "/test.T/Chunks", SLICE("begin"));
    assert_int_equal(answer.status, GRPC_OK);
    assert_int_equal(answer.reply.len, 5 + 5000 + 3);
    assert_memory_equal(answer.reply.data, "begin", 5);
    assert_memory_equal(answer.reply.data + 5005, "end", 3);
    turn_some(world, 5);
    assert_int_equal(world->closes, 2);
    buf_fini(&answer.reply);
    world_free(world);
}

/* ---- streams ---------------------------------------------------------------------------- */

struct talk {
    unsigned messages;
    size_t bytes;
    bool done;
    uint32_t status;
};

static void talk_message(struct grpc_stream *stream, struct slice message, void *ctx)
{
    struct talk *talk = ctx;
    UNUSED(stream);
    talk->messages++;
    talk->bytes += message.len;
}

static void talk_end(struct grpc_stream *stream, const struct grpc_result *result, void *ctx)
{
    struct talk *talk = ctx;
    UNUSED(stream);
    talk->done = true;
    talk->status = result->status;
}

static const struct grpc_stream_handler talk_handler = {.message = talk_message, .end = talk_end};

TEST(http, a_bidi_stream_talks_both_ways_and_ends)
{
    struct world *world = world_new(NULL);
    struct talk talk = {0};
    world_connect(world);
    struct grpc_stream *stream =
        grpc_stream_open(world->conn, "/test.T/Bidi", NULL, 0, UINT64_MAX, &talk_handler, &talk);
    for (unsigned i = 0; i < 100; i++) {
        grpc_stream_send(stream, slice_of(pattern, i * 500));
        loop_turn(world->loop, false);
    }
    while (talk.messages < 100) {
        loop_turn(world->loop, false);
    }
    assert_false(talk.done);
    assert_int_equal(world->starts, 1);
    grpc_stream_close_send(stream);
    turn_until(world, &talk.done);
    assert_int_equal(talk.status, GRPC_OK);
    assert_int_equal(talk.bytes, 99 * 100 / 2 * 500);
    grpc_stream_free(&stream);
    assert_null(stream);
    world_free(world);
}

TEST(http, a_paused_stream_is_resumed_where_it_stopped)
{
    struct world *world = world_new(NULL);
    struct talk talk = {0};
    world_connect(world);
    struct grpc_stream *stream =
        grpc_stream_open(world->conn, "/test.T/Bidi", NULL, 0, UINT64_MAX, &talk_handler, &talk);
    grpc_stream_pause(stream, true);
    for (unsigned i = 0; i < 400; i++) {
        grpc_stream_send(stream, slice_of(pattern, 50000));
    }
    grpc_stream_close_send(stream);
    turn_some(world, 200);
    assert_int_equal(talk.messages, 0);
    assert_false(talk.done);
    grpc_stream_pause(stream, false);
    turn_until(world, &talk.done);
    assert_int_equal(talk.messages, 400);
    assert_int_equal(talk.status, GRPC_OK);
    grpc_stream_free(&stream);
    world_free(world);
}

TEST(http, a_huge_reply_costs_no_more_than_the_window)
{
    struct world *world = world_new(NULL);
    struct talk talk = {0};
    world_connect(world);
    struct grpc_stream *stream =
        grpc_stream_open(world->conn, "/test.T/Source", NULL, 0, UINT64_MAX, &talk_handler, &talk);
    grpc_stream_pause(stream, true);
    grpc_stream_send(stream, SLICE("2000000000"));
    grpc_stream_close_send(stream);
    turn_some(world, 300);
    /* The client's stream window is 4 MiB; the connection queues 256 KiB at most. */
    assert_in_range(world->pulled, 1000000, 4 * 1024 * 1024 + 512 * 1024);
    assert_int_equal(world->closes, 0);
    grpc_stream_free(&stream);
    turn_some(world, 30);
    assert_int_equal(world->closes, 1);
    assert_false(talk.done);
    world_free(world);
}

TEST(http, a_small_reply_passes_a_huge_one_on_the_same_connection)
{
    struct world *world = world_new(NULL);
    struct talk talk = {0};
    world_connect(world);
    struct grpc_stream *stream =
        grpc_stream_open(world->conn, "/test.T/Source", NULL, 0, UINT64_MAX, &talk_handler, &talk);
    grpc_stream_send(stream, SLICE("200000000"));
    grpc_stream_close_send(stream);
    while (world->pulled == 0) {
        loop_turn(world->loop, false);
    }
    struct answer answer = ask(world, "/test.T/Echo", SLICE("small"));
    assert_int_equal(answer.status, GRPC_OK);
    assert_false(talk.done);
    assert_true(world->pulled < 100000000);
    buf_fini(&answer.reply);
    grpc_stream_free(&stream);
    world_free(world);
}

TEST(http, canceling_a_stream_reaches_the_handler)
{
    struct world *world = world_new(NULL);
    struct talk talk = {0};
    world_connect(world);
    struct grpc_stream *stream =
        grpc_stream_open(world->conn, "/test.T/Bidi", NULL, 0, UINT64_MAX, &talk_handler, &talk);
    grpc_stream_send(stream, SLICE("x"));
    while (talk.messages < 1) {
        loop_turn(world->loop, false);
    }
    grpc_stream_cancel(stream);
    turn_until(world, &talk.done);
    assert_int_equal(talk.status, GRPC_CANCELED);
    turn_some(world, 20);
    assert_int_equal(world->cancels, 1);
    grpc_stream_free(&stream);
    world_free(world);
}

TEST(http, freeing_a_live_stream_cancels_it_silently)
{
    struct world *world = world_new(NULL);
    struct talk talk = {0};
    world_connect(world);
    struct grpc_stream *stream =
        grpc_stream_open(world->conn, "/test.T/Bidi", NULL, 0, UINT64_MAX, &talk_handler, &talk);
    grpc_stream_send(stream, SLICE("x"));
    while (talk.messages < 1) {
        loop_turn(world->loop, false);
    }
    grpc_stream_free(&stream);
    turn_some(world, 20);
    assert_false(talk.done);
    assert_int_equal(world->cancels, 1);
    world_free(world);
}

TEST(http, a_connection_that_cannot_be_made_fails_its_calls_as_unseen)
{
    struct world *world = world_new(NULL);
    struct grpc_conn_options options = {.host = "127.0.0.1", .port = "1"};
    world->conn = grpc_conn_open(world->env, world->loop, &options);
    struct answer answer = ask(world, "/test.T/Echo", SLICE("x"));
    assert_int_equal(answer.status, GRPC_UNAVAILABLE);
    assert_true(answer.unseen);
    assert_non_null(strstr(answer.message, "connection refused"));
    assert_true(grpc_conn_is_lost(world->conn));
    answer = ask(world, "/test.T/Echo", SLICE("again"));
    assert_int_equal(answer.status, GRPC_UNAVAILABLE);
    world_free(world);
}

/* ---- stopping --------------------------------------------------------------------------- */

static void on_stopped(void *ctx)
{
    ((struct world *)ctx)->stopped = true;
}

TEST(http, stopping_lets_a_call_finish_and_then_closes)
{
    struct world *world = world_new(NULL);
    struct answer answer = {0};
    world_connect(world);
    grpc_unary(world->conn, "/test.T/Hold", SLICE("x"), NULL, 0, UINT64_MAX, on_answer, &answer);
    while (world->held == NULL) {
        loop_turn(world->loop, false);
    }
    http_server_stop(world->server, env_now_mono(world->env) + 20 * NS_PER_SEC, on_stopped, world);
    turn_some(world, 50);
    assert_false(world->stopped);
    assert_false(answer.done);
    grpc_call_reply(world->held, SLICE("late, but there"));
    turn_until(world, &answer.done);
    assert_int_equal(answer.status, GRPC_OK);
    turn_until(world, &world->stopped);
    assert_int_equal(world->cancels, 0);
    buf_fini(&answer.reply);
    world_free(world);
}

TEST(http, stopping_has_a_bound)
{
    struct world *world = world_new(NULL);
    struct answer answer = {0};
    world_connect(world);
    grpc_unary(world->conn, "/test.T/Hold", SLICE("x"), NULL, 0, UINT64_MAX, on_answer, &answer);
    while (world->held == NULL) {
        loop_turn(world->loop, false);
    }
    http_server_stop(world->server, env_now_mono(world->env) + 50 * NS_PER_MS, on_stopped, world);
    turn_until(world, &answer.done);
    assert_int_equal(answer.status, GRPC_UNAVAILABLE);
    assert_int_equal(world->cancels, 1);
    assert_int_equal(world->cancel_why, GRPC_UNAVAILABLE);
    turn_some(world, 20);
    assert_false(world->stopped); /* the handler has not finished */
    grpc_call_finish(world->held, GRPC_UNAVAILABLE, NULL);
    turn_until(world, &world->stopped);
    world_free(world);
}
