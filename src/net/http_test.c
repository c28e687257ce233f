/* The server end to end over loopback sockets: against our own client, and against raw bytes. */
#include "net/http.h"

#include "base/mem.h"
#include "codec/h2.h"
#include "env/posix.h"
#include "net/grpc_client.h"

#include "unit.h"

#include <stdio.h>

#define H2_TEST_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* ---- a world with a server in it
 * ------------------------------------------------------------------ */

struct world {
    struct env *env;
    struct loop *loop;
    struct http_server *server;
    struct grpc_conn *conn;
    char port[8];
    struct grpc_call *held; /* of test.T/Hold */
    unsigned cancels;
    enum grpc_status cancel_why;
    unsigned starts;
    unsigned pulls;
    uint64_t pulled;
    unsigned closes;
    bool stopped;
    struct http_request *request; /* of /hold */
    bool request_gone;
};

static uint8_t pattern[65536];

static struct world *world_of(struct grpc_call *call)
{
    return grpc_call_server_ctx(call);
}

static void turn_until(struct world *world, const bool *done)
{
    mono_ns limit = env_now_mono(world->env) + 20 * NS_PER_SEC;
    while (!*done) {
        assert_true(env_now_mono(world->env) < limit);
        loop_turn(world->loop, false);
        http_server_check(world->server);
    }
}

static void turn_some(struct world *world, uint64_t ms)
{
    mono_ns limit = env_now_mono(world->env) + ms * NS_PER_MS;
    while (env_now_mono(world->env) < limit) {
        loop_turn(world->loop, false);
    }
}

/* ---- its services
 * ----------------------------------------------------------------------------------- */

static void echo(struct grpc_call *call, struct slice message)
{
    grpc_call_reply(call, message);
}

static void on_cancel(struct grpc_call *call, enum grpc_status why)
{
    struct world *world = world_of(call);
    world->cancels++;
    world->cancel_why = why;
}

static void hold(struct grpc_call *call, struct slice message)
{
    UNUSED(message);
    world_of(call)->held = call;
}

static void describe(struct grpc_call *call, struct slice message)
{
    struct slice first;
    struct slice second = SLICE("none");
    struct slice binary = SLICE("none");
    UNUSED(message);
    assert_true(grpc_call_metadata(call, "token", 0, &first));
    grpc_call_metadata(call, "token", 1, &second);
    grpc_call_metadata(call, "trace-bin", 0, &binary);
    char *text =
        arena_printf(grpc_call_arena(call), "%.*s %.*s %.*s %s", (int)first.len,
                     (const char *)first.data, (int)second.len, (const char *)second.data,
                     (int)binary.len, (const char *)binary.data, grpc_call_method(call)->name);
    grpc_call_reply(call, slice_str(text));
}

static enum err pull_next(void *ctx, size_t want, struct grpc_chunk *out)
{
    struct world *world = ctx;
    size_t start = (size_t)(world->pulled % sizeof(pattern));
    size_t len = sizeof(pattern) - start < want ? sizeof(pattern) - start : want;
    world->pulls++;
    world->pulled += len;
    out->bytes = slice_of(pattern + start, len);
    return ERR_OK;
}

static enum err pull_fails(void *ctx, size_t want, struct grpc_chunk *out)
{
    struct world *world = ctx;
    if (world->pulled > 100000) {
        return ERR_IO;
    }
    return pull_next(ctx, want, out);
}

static void pull_close(void *ctx)
{
    ((struct world *)ctx)->closes++;
}

static void source(struct grpc_call *call, struct slice message)
{
    struct world *world = world_of(call);
    struct grpc_source from = {.next = pull_next, .close = pull_close, .ctx = world};
    struct slice number = message;
    if (message.data[0] == '!') {
        from.next = pull_fails;
        number = slice_skip(message, 1);
    }
    assert_int_equal(slice_to_u64(number, &from.len), ERR_OK);
    grpc_call_send_source(call, &from);
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void release_count(void *ctx)
{
    (*(unsigned *)ctx)++;
}

static void chunks(struct grpc_call *call, struct slice message)
{
    struct world *world = world_of(call);
    struct grpc_chunk list[] = {
        {.bytes = message},
        {.bytes = slice_of(pattern, 5000), .release = release_count, .ctx = &world->closes},
        {.bytes = SLICE("end"), .release = release_count, .ctx = &world->closes},
    };
    grpc_call_send_chunks(call, list, ARRAY_LEN(list));
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void refuse(struct grpc_call *call, struct slice message)
{
    UNUSED(message);
    grpc_call_finish(call, GRPC_INVALID_ARGUMENT, "etcdserver: 100% wr\xc3\xb6ng\n");
}

static void bidi_start(struct grpc_call *call)
{
    world_of(call)->starts++;
}

static void bidi_message(struct grpc_call *call, struct slice message)
{
    grpc_call_send_copy(call, message);
}

static void bidi_end(struct grpc_call *call)
{
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void bidi_cancel(struct grpc_call *call, enum grpc_status why)
{
    on_cancel(call, why);
    grpc_call_finish(call, why, NULL);
}

static const struct grpc_handler echo_handler = {.message = echo};
static const struct grpc_handler hold_handler = {.message = hold, .cancel = on_cancel};
static const struct grpc_handler describe_handler = {.message = describe};
static const struct grpc_handler source_handler = {.message = source};
static const struct grpc_handler chunks_handler = {.message = chunks};
static const struct grpc_handler refuse_handler = {.message = refuse};
static const struct grpc_handler bidi_handler = {
    .start = bidi_start, .message = bidi_message, .half_close = bidi_end, .cancel = bidi_cancel};

static const struct grpc_method methods[] = {
    {.name = "Echo", .kind = GRPC_UNARY, .handler = &echo_handler},
    {.name = "Hold", .kind = GRPC_UNARY, .handler = &hold_handler},
    {.name = "Describe", .kind = GRPC_UNARY, .handler = &describe_handler},
    {.name = "Source", .kind = GRPC_UNARY, .handler = &source_handler},
    {.name = "Chunks", .kind = GRPC_UNARY, .handler = &chunks_handler},
    {.name = "Refuse", .kind = GRPC_UNARY, .handler = &refuse_handler},
    {.name = "Bidi", .kind = GRPC_BIDI, .handler = &bidi_handler},
};
static const struct grpc_service service = {
    .name = "test.T", .methods = methods, .method_count = ARRAY_LEN(methods)};

static void on_gone(struct http_request *request, bool gone, void *ctx)
{
    struct world *world = ctx;
    UNUSED(request);
    world->request_gone = gone;
}

static void on_request(struct http_request *request, void *ctx)
{
    struct world *world = ctx;
    struct slice path = http_path(request);
    if (slice_eq_str(path, "/hold")) {
        world->request = request;
        http_on_gone(request, on_gone, world);
    } else if (slice_eq_str(path, "/echo")) {
        http_reply(request, 200, NULL, 0, http_body(request));
    } else {
        http_reply_error(request, 404, "404 page not found");
    }
}

static struct world *world_new(const struct http_options *options)
{
    struct world *world = NEW(struct world);
    struct http_options mine = options == NULL ? (struct http_options){0} : *options;
    struct sock_addr addr;
    struct errbuf why;
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i * 131 + i / 256);
    }
    mine.on_request = on_request;
    mine.ctx = world;
    mine.grpc_ctx = world;
    world->env = posix_env_new();
    world->loop = loop_new(world->env);
    world->server = http_server_new(world->env, world->loop, &mine);
    http_server_service(world->server, &service);
    assert_int_equal(http_server_listen(world->server, "127.0.0.1", "0", NULL, &why), ERR_OK);
    http_server_addr(world->server, 0, &addr);
    snprintf(world->port, sizeof(world->port), "%.7s", strrchr(addr.text, ':') + 1);
    return world;
}

static void world_connect(struct world *world)
{
    struct grpc_conn_options options = {.host = "127.0.0.1", .port = world->port};
    world->conn = grpc_conn_open(world->env, world->loop, &options);
}

static void world_free(struct world *world)
{
    grpc_conn_close(&world->conn);
    http_server_free(&world->server);
    loop_free(&world->loop);
    posix_env_free(&world->env);
    mem_free(world);
}

/* ---- unary
 * ---------------------------------------------------------------------------------------------- */

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
    struct answer answer = ask_with(world, "/test.T/Hold", SLICE("x"), NULL, 0, 30 * NS_PER_MS);
    assert_int_equal(answer.status, GRPC_DEADLINE_EXCEEDED);
    turn_some(world, 30);
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

/* ---- streams
 * -----------------------------------------------------------------------------------------------
 */

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

/* ---- raw bytes
 * --------------------------------------------------------------------------------------------------
 */

/* A peer that sends what it is told and keeps what it gets. */
struct peer {
    struct world *world;
    struct sock *sock;
    struct buf got;
    bool connected;
    bool closed;
    bool deaf; /* does not read */
};

static void peer_readable(struct sock *sock, void *ctx)
{
    struct peer *peer = ctx;
    size_t len = 0;
    enum err err = sock_read(sock, buf_reserve(&peer->got, 65536), 65536, &len);
    if (err == ERR_OK) {
        peer->got.len += len;
    } else if (err != ERR_AGAIN) {
        peer->closed = true;
        sock_want_read(sock, false);
    }
}

static const struct sock_handler peer_handler = {.readable = peer_readable};

static void peer_connected(struct sock *sock, const struct errbuf *why, void *ctx)
{
    struct peer *peer = ctx;
    UNUSED(why);
    assert_non_null(sock);
    peer->sock = sock;
    peer->connected = true;
    sock_set_handler(sock, &peer_handler, peer);
}

static struct peer peer_new(struct world *world)
{
    return (struct peer){.world = world};
}

static void peer_connect(struct peer *peer)
{
    net_connect(peer->world->env->net, "127.0.0.1", peer->world->port, peer_connected, peer);
    turn_until(peer->world, &peer->connected);
}

static void peer_send(struct peer *peer, struct slice bytes)
{
    while (bytes.len > 0) {
        struct iov iov = {.data = bytes.data, .len = bytes.len};
        size_t len = 0;
        enum err err = sock_writev(peer->sock, &iov, 1, &len);
        assert_true(err == ERR_OK || err == ERR_AGAIN);
        bytes = slice_skip(bytes, err == ERR_OK ? len : 0);
        loop_turn(peer->world->loop, false);
    }
}

static void peer_free(struct peer *peer)
{
    sock_close(&peer->sock);
    buf_fini(&peer->got);
}

/* A session that only makes bytes. */
static enum h2_pull mute_pull(void *stream, size_t max, size_t *len_out)
{
    struct outq *body = stream;
    assert_true(body->len <= max);
    *len_out = (size_t)body->len;
    return H2_PULL_END;
}

static void mute_write(void *stream, struct outq *out, size_t len)
{
    outq_move(out, stream, len, NULL);
}

static const struct h2_handler mute_handler = {.pull = mute_pull, .write = mute_write};

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

TEST(http, a_client_that_never_reads_is_bounded)
{
    struct world *world = world_new(NULL);
    struct peer peer = peer_new(world);
    struct h2_options options = {
        .is_client = true,
        .streams_max = UINT32_MAX,
        .stream_window = INT32_MAX,
        .connection_window = INT32_MAX,
        .header_bytes_max = 65536,
        .header_count_max = 100,
    };
    struct outq out;
    struct outq body;
    struct h2 *h2 = h2_new(&options, &mute_handler, &body);
    struct h2_field fields[] = {
        {SLICE(":method"), SLICE("POST"), true},
        {SLICE(":scheme"), SLICE("http"), true},
        {SLICE(":path"), SLICE("/test.T/Source"), true},
        {SLICE(":authority"), SLICE("a"), true},
        {SLICE("content-type"), SLICE("application/grpc"), true},
    };
    outq_init(&out, NULL);
    outq_init(&body, NULL);
    outq_append(&body,
                "\0\0\0\0\xa"
                "2000000000",
                15);
    h2_request(h2, fields, ARRAY_LEN(fields), true, &body);
    h2_send(h2, &out, SIZE_MAX);
    peer_connect(&peer);
    sock_want_read(peer.sock, false);
    struct slice pieces[8];
    size_t count = outq_peek(&out, pieces, ARRAY_LEN(pieces));
    for (size_t i = 0; i < count; i++) {
        peer_send(&peer, pieces[i]);
    }
    turn_some(world, 500);
    /* 2 GB are asked for and all windows are open: what was pulled lies in the system's socket
     * buffers, and 256 KiB here. */
    struct http_stats stats;
    http_server_stats(world->server, &stats);
    assert_true(world->pulled > 100000);
    assert_true(world->pulled - stats.bytes_out < HTTP_OUT_MAX + 64 * 1024);
    assert_true(world->pulled < 64 * 1024 * 1024);
    peer_free(&peer);
    turn_some(world, 30);
    assert_int_equal(world->closes, 1);
    outq_fini(&out);
    outq_fini(&body);
    h2_free(&h2);
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

/* ---- stopping
 * ------------------------------------------------------------------------------------------------
 */

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

/* What comes back for `text`, until the server closes or has nothing to say for a while. */
static void exchange(struct peer *peer, const char *text)
{
    peer_connect(peer);
    peer_send(peer, slice_str(text));
    turn_some(peer->world, 30);
    buf_cstr(&peer->got);
}

static const char *got_text(struct peer *peer)
{
    return buf_cstr(&peer->got);
}

TEST(http, http1_is_answered_as_go_does)
{
    struct world *world = world_new(NULL);
    struct peer peer = peer_new(world);
    exchange(&peer, "GET /nope HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_memory_equal(peer.got.data,
                        "HTTP/1.1 404 Not Found\r\n"
                        "Content-Type: text/plain; charset=utf-8\r\n"
                        "X-Content-Type-Options: nosniff\r\n"
                        "Date: ",
                        strlen("HTTP/1.1 404 Not Found\r\n"
                               "Content-Type: text/plain; charset=utf-8\r\n"
                               "X-Content-Type-Options: nosniff\r\n"
                               "Date: "));
    assert_non_null(strstr(got_text(&peer), "Content-Length: 19\r\n\r\n404 page not found\n"));
    assert_false(peer.closed);
    peer_free(&peer);
    world_free(world);
}

TEST(http, malformed_http1_gets_gos_words_and_the_end)
{
    static const struct {
        const char *request;
        const char *answer;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n",
         "HTTP/1.1 400 Bad Request: missing required Host header\r\n"
         "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
         "400 Bad Request: missing required Host header"},
        {"garbage\r\n\r\n",
         "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
         "Connection: close\r\n\r\n400 Bad Request"},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
         "HTTP/1.1 400 Bad Request\r\n"
         "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
         "400 Bad Request"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
         "HTTP/1.1 501 Not Implemented\r\nContent-Type: text/plain; charset=utf-8\r\n"
         "Connection: close\r\n\r\nUnsupported transfer encoding"},
    };
    struct world *world = world_new(NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct peer peer = peer_new(world);
        exchange(&peer, cases[i].request);
        assert_string_equal(got_text(&peer), cases[i].answer);
        assert_true(peer.closed);
        peer_free(&peer);
    }
    world_free(world);
}

TEST(http, pipelined_requests_are_answered_in_order)
{
    struct world *world = world_new(NULL);
    struct peer peer = peer_new(world);
    exchange(&peer, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfirst"
                    "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n"
                    "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nthird");
    assert_non_null(strstr(got_text(&peer), "\r\n\r\nfirst"));
    assert_null(strstr(got_text(&peer), "third"));
    http_reply(world->request, 200, NULL, 0, SLICE("second"));
    turn_some(world, 20);
    const char *second = strstr(got_text(&peer), "\r\n\r\nsecond");
    assert_non_null(second);
    assert_non_null(strstr(second, "\r\n\r\nthird"));
    peer_free(&peer);
    world_free(world);
}

TEST(http, a_client_that_leaves_is_told_to_the_handler)
{
    struct world *world = world_new(NULL);
    struct peer peer = peer_new(world);
    exchange(&peer, "GET /hold?x=1 HTTP/1.1\r\nHost: x\r\nX-Name: value\r\n\r\n");
    assert_non_null(world->request);
    peer_free(&peer);
    turn_some(world, 30);
    assert_true(world->request_gone);
    assert_true(http_canceled(world->request));
    struct slice value;
    assert_true(http_header(world->request, "x-name", &value));
    assert_true(slice_eq_str(value, "value"));
    assert_true(slice_eq_str(http_query(world->request), "x=1"));
    http_reply(world->request, 200, NULL, 0, SLICE("nobody hears"));
    turn_some(world, 30);
    world_free(world);
}

TEST(http, half_a_head_runs_into_the_timeout)
{
    struct http_options options = {.head_timeout_ns = 50 * NS_PER_MS};
    struct world *world = world_new(&options);
    const char *halves[] = {"G", "GET / HTTP/1.1\r\nHost: x\r\nX-", "PRI * HTTP/2.0\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(halves); i++) {
        struct peer peer = peer_new(world);
        exchange(&peer, halves[i]);
        assert_false(peer.closed);
        turn_until(world, &peer.closed);
        peer_free(&peer);
    }
    /* Half a block of HTTP/2 header fields: HEADERS without END_HEADERS. */
    struct peer peer = peer_new(world);
    static const char half_block[] = H2_TEST_PREFACE "\0\0\0\4\0\0\0\0\0"
                                                     "\0\0\1\1\0\0\0\0\1\x82";
    peer_connect(&peer);
    peer_send(&peer, slice_of(half_block, sizeof(half_block) - 1));
    turn_until(world, &peer.closed);
    peer_free(&peer);
    world_free(world);
}

TEST(http, a_preface_that_trickles_in_is_understood)
{
    struct world *world = world_new(NULL);
    struct peer peer = peer_new(world);
    static const char bytes[] = H2_TEST_PREFACE "\0\0\0\4\0\0\0\0\0"
                                                "\0\0\x8\6\0\0\0\0\0"
                                                "pingpong";
    peer_connect(&peer);
    for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
        peer_send(&peer, slice_of(bytes + i, 1));
    }
    turn_some(world, 20);
    static const char ack[] = "\0\0\x8\6\1\0\0\0\0pingpong";
    assert_true(peer.got.len >= sizeof(ack) - 1);
    assert_memory_equal(peer.got.data + peer.got.len - (sizeof(ack) - 1), ack, sizeof(ack) - 1);
    peer_free(&peer);
    world_free(world);
}

TEST(http, too_many_pings_are_answered_with_goaway)
{
    struct world *world = world_new(NULL);
    struct peer peer = peer_new(world);
    peer_connect(&peer);
    peer_send(&peer, SLICE(H2_TEST_PREFACE "\0\0\0\4\0\0\0\0\0"));
    for (unsigned i = 0; i < 3; i++) {
        peer_send(&peer, SLICE("\0\0\x8\6\0\0\0\0\0pingpong"));
    }
    turn_some(world, 20);
    assert_false(peer.closed);
    peer_send(&peer, SLICE("\0\0\x8\6\0\0\0\0\0pingpong"));
    turn_until(world, &peer.closed);
    /* GOAWAY, last stream 0, ENHANCE_YOUR_CALM, "too_many_pings". */
    static const char goaway[] = "\0\0\x16\7\0\0\0\0\0\0\0\0\0\0\0\0\x0btoo_many_pings";
    assert_true(peer.got.len >= sizeof(goaway) - 1);
    assert_memory_equal(peer.got.data + peer.got.len - (sizeof(goaway) - 1), goaway,
                        sizeof(goaway) - 1);
    peer_free(&peer);
    world_free(world);
}

TEST(http, a_silent_peer_is_pinged_and_then_dropped)
{
    struct http_options options = {.keepalive_ns = 30 * NS_PER_MS,
                                   .keepalive_timeout_ns = 30 * NS_PER_MS};
    struct world *world = world_new(&options);
    struct peer peer = peer_new(world);
    peer_connect(&peer);
    peer_send(&peer, SLICE(H2_TEST_PREFACE "\0\0\0\4\0\0\0\0\0"));
    turn_until(world, &peer.closed);
    static const char ping[] = "\0\0\x8\6\0\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_true(peer.got.len >= sizeof(ping) - 1);
    assert_memory_equal(peer.got.data + peer.got.len - (sizeof(ping) - 1), ping, sizeof(ping) - 1);
    peer_free(&peer);
    world_free(world);
}
