/* The server end to end over loopback sockets, against peers that send raw bytes. */
#include "codec/h2.h"
#include "net/http_world.h"

#include "unit.h"

#define H2_TEST_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* ---- raw bytes -------------------------------------------------------------------------- */

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
    mono_ns limit = env_now_mono(peer->world->env) + 20 * NS_PER_SEC;
    while (bytes.len > 0) {
        assert_true(env_now_mono(peer->world->env) < limit);
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

TEST(http_raw, a_client_that_never_reads_is_bounded)
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

TEST(http_raw, http1_is_answered_as_go_does)
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

TEST(http_raw, malformed_http1_gets_gos_words_and_the_end)
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

TEST(http_raw, pipelined_requests_are_answered_in_order)
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

/* The first reply is too much to go on at once, so that the beginning of the second body waits;
 * what waited is taken, and the rest of the body is read. */
TEST(http_raw, a_large_body_behind_a_large_reply_is_read_to_its_end)
{
    static const char head[] = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n";
    const size_t body_len = 2000000;
    struct world *world = world_new(NULL);
    struct peer peer = peer_new(world);
    struct buf text = {0};
    for (unsigned i = 0; i < 4; i++) {
        buf_append_str(&text, head);
        memset(buf_extend(&text, body_len), 'a' + (int)i, body_len);
    }
    peer_connect(&peer);
    peer_send(&peer, buf_slice(&text));
    mono_ns limit = env_now_mono(world->env) + 20 * NS_PER_SEC;
    while (peer.got.len < 4 * body_len || peer.got.data[peer.got.len - 1] != 'd') {
        assert_true(env_now_mono(world->env) < limit);
        loop_turn(world->loop, false);
    }
    buf_fini(&text);
    peer_free(&peer);
    turn_some(world, 5);
    world_free(world);
}

TEST(http_raw, a_client_that_leaves_is_told_to_the_handler)
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

TEST(http_raw, half_a_head_runs_into_the_timeout)
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

TEST(http_raw, a_preface_that_trickles_in_is_understood)
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

TEST(http_raw, too_many_pings_are_answered_with_goaway)
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

TEST(http_raw, a_silent_peer_is_pinged_and_then_dropped)
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

/* ---- bodies that stay open ------------------------------------------------------------------- */

#define EARLY(path) "POST /early/" path " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

static void say(struct peer *peer, const char *text)
{
    buf_reset(&peer->got);
    peer_send(peer, slice_str(text));
    turn_some(peer->world, 30);
}

static bool ends_with(struct peer *peer, const char *text)
{
    struct slice got = buf_slice(&peer->got);
    size_t len = strlen(text);
    return got.len >= len && memcmp(got.data + got.len - len, text, len) == 0;
}

TEST(http_raw, an_open_body_is_answered_while_it_comes_and_the_connection_goes_on_behind_it)
{
    struct world *world = world_new(NULL);
    struct peer peer = peer_new(world);
    exchange(&peer, EARLY("echo") "2\r\nab\r\n");
    assert_true(strncmp(got_text(&peer), "HTTP/1.1 200 OK\r\n", 17) == 0);
    assert_null(strstr(got_text(&peer), "Connection"));
    assert_true(ends_with(&peer, "2\r\nab\r\n"));
    say(&peer, "3\r\nc");
    assert_string_equal(got_text(&peer), "1\r\nc\r\n");
    say(&peer, "de\r\n");
    assert_string_equal(got_text(&peer), "2\r\nde\r\n");
    assert_int_equal(world->pieces, 2);
    say(&peer, "0\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_true(strncmp(got_text(&peer), "0\r\n\r\nHTTP/1.1 200 OK\r\n", 22) == 0);
    assert_true(ends_with(&peer, "hi"));
    assert_false(peer.closed);
    assert_false(world->request_gone);
    peer_free(&peer);
    world_free(world);
}

/* One that is told to go on says so before it is answered; one of known length ends by itself; a
 * body that is there with its head is like any other. */
TEST(http_raw, open_bodies_come_in_all_forms)
{
    struct world *world = world_new(NULL);
    struct peer peer = peer_new(world);
    exchange(&peer, "POST /early/echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n");
    assert_true(strncmp(got_text(&peer), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200", 36) == 0);
    say(&peer, "1\r\nx\r\n0\r\n\r\n");
    assert_string_equal(got_text(&peer), "1\r\nx\r\n0\r\n\r\n");
    say(&peer, "POST /early/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    assert_true(ends_with(&peer, "2\r\nab\r\n"));
    say(&peer, "cd");
    assert_string_equal(got_text(&peer), "2\r\ncd\r\n0\r\n\r\n");
    say(&peer, "POST /early/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nef");
    assert_true(ends_with(&peer, "2\r\nef\r\n0\r\n\r\n"));
    assert_false(peer.closed);
    peer_free(&peer);
    world_free(world);
}

TEST(http_raw, input_of_an_open_body_can_be_paused)
{
    struct world *world = world_new(NULL);
    struct peer peer = peer_new(world);
    exchange(&peer, EARLY("echo") "1\r\na\r\n");
    say(&peer, "4\r\nwait\r\n");
    say(&peer, "1\r\nb\r\n");
    say(&peer, "0\r\n\r\n");
    assert_string_equal(got_text(&peer), "");
    http_input_pause(world->request, false);
    say(&peer, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_true(strncmp(got_text(&peer), "1\r\nb\r\n0\r\n\r\nHTTP/1.1 200", 23) == 0);
    peer_free(&peer);
    world_free(world);
}

/* What follows on a connection whose body did not end may be body or request: it is closed. */
TEST(http_raw, a_connection_does_not_outlive_an_open_body)
{
    static const struct {
        const char *first;
        const char *then;
        const char *answer; /* to `then`: its beginning */
        bool is_gone;
    } rows[] = {
        {EARLY("no") "1\r\na\r\n", NULL, NULL, false},
        {EARLY("echo") "1\r\na\r\n", "zz\r\n", "", true},
        {EARLY("echo") "1\r\na\r\n", "1\r\nabc\r\n", "", true},
        {EARLY("echo") "1\r\na\r\n", "FFFFFFFFFFFFFFFFF\r\n", "", true},
        {EARLY("echo") "1\r\na\r\n", "500000\r\n", "", true},
        {EARLY("hold") "1\r\na\r\n", "zz\r\n", "HTTP/1.1 400 Bad Request\r\n", true},
        {EARLY("hold") "1\r\na\r\n", "500000\r\n", "HTTP/1.1 413 ", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct world *world = world_new(NULL);
        struct peer peer = peer_new(world);
        exchange(&peer, rows[i].first);
        if (rows[i].then == NULL) {
            assert_true(strncmp(got_text(&peer), "HTTP/1.1 403 Forbidden\r\n", 24) == 0);
            assert_non_null(strstr(got_text(&peer), "\r\nConnection: close\r\n"));
        } else {
            assert_false(peer.closed);
            say(&peer, rows[i].then);
            size_t len = strlen(rows[i].answer);
            assert_true(strncmp(got_text(&peer), rows[i].answer, len) == 0);
            assert_null(strstr(got_text(&peer), "0\r\n\r\n")); /* no proper end */
            assert_null(strstr(got_text(&peer), "499"));
        }
        assert_true(peer.closed);
        assert_int_equal(world->request_gone, rows[i].is_gone);
        peer_free(&peer);
        world_free(world);
    }
}

TEST(http_raw, what_smuggles_never_gets_to_an_early_handler)
{
    static const char *const heads[] = {
        "POST /early/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: "
        "chunked\r\n\r\n1\r\n",
        "POST /early/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n1\r\n",
        "POST /early/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x, chunked\r\n\r\n1\r\n",
        "POST /early/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nContent-Length: 4\r\n\r\na",
        "POST /early/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\na",
    };
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        struct world *world = world_new(NULL);
        struct peer peer = peer_new(world);
        exchange(&peer, heads[i]);
        assert_true(strncmp(got_text(&peer), "HTTP/1.1 4", 10) == 0 ||
                    strncmp(got_text(&peer), "HTTP/1.1 501", 12) == 0);
        assert_true(peer.closed);
        assert_int_equal(world->pieces, 0);
        peer_free(&peer);
        world_free(world);
    }
}

TEST(http_raw, a_client_that_leaves_in_an_open_body_is_told_of)
{
    struct world *world = world_new(NULL);
    struct peer peer = peer_new(world);
    exchange(&peer, EARLY("echo") "1\r\na\r\n");
    sock_close(&peer.sock);
    turn_until(world, &world->request_gone);
    peer_free(&peer);
    world_free(world);
}
