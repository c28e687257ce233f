/* A client connection with three calls under way, and a server that says arbitrary bytes in
 * arbitrary pieces, while the client's socket is full now and then and the clock jumps.
 *
 * Input: one byte of options (1: SETTINGS, and heads of all three answers, are put in front; 2:
 * small writes; 4: the server resets at the end; 8: the stream is cancelled in the middle), then
 * records: a byte that says how much follows (0: one second passes), and that many bytes.
 *
 * Properties: every call ends exactly once, with a text when it failed; no message comes after its
 * end; what the client writes is its preface and whole frames; nothing is left behind. */
#include "net/grpc_client.h"

#include "net/fake_net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PREFACE_LEN 24
/* HEADERS of a stream without its number: ":status: 200", "content-type: application/grpc". */
#define ANSWER                                                                                     \
    "\x88\x0f\x10\x10"                                                                             \
    "application/grpc"

struct outcome {
    unsigned ends;
    unsigned messages;
};

static void ended(struct outcome *outcome, const struct grpc_result *result)
{
    outcome->ends++;
    ASSERT(outcome->ends == 1);
    ASSERT(result->message != NULL);
    ASSERT(!result->unseen || result->status != GRPC_OK);
}

static void on_unary(const struct grpc_result *result, struct slice reply, void *ctx)
{
    ASSERT(reply.len == 0 || result->status == GRPC_OK);
    ended(ctx, result);
}

static void on_message(struct grpc_stream *stream, struct slice message, void *ctx)
{
    struct outcome *outcome = ctx;
    ASSERT(outcome->ends == 0);
    outcome->messages++;
    if (message.len % 4 == 3) {
        grpc_stream_pause(stream, true);
    } else {
        grpc_stream_send(stream, message);
    }
}

static void on_end(struct grpc_stream *stream, const struct grpc_result *result, void *ctx)
{
    UNUSED(stream);
    ended(ctx, result);
}

static const struct grpc_stream_handler stream_handler = {.message = on_message, .end = on_end};

static void heads_send(struct fake_sock *sock)
{
    fake_sock_send(sock, SLICE("\0\0\0\4\0\0\0\0\0"));
    fake_sock_send(sock, SLICE("\0\0\x14\1\4\0\0\0\1" ANSWER));
    fake_sock_send(sock, SLICE("\0\0\x14\1\4\0\0\0\3" ANSWER));
    fake_sock_send(sock, SLICE("\0\0\x14\1\4\0\0\0\5" ANSWER));
}

static void play(struct loop *loop, struct env *env, struct fake_sock *sock,
                 struct grpc_stream *stream, struct slice in, unsigned options)
{
    unsigned turn = 0;
    while (in.len > 0 && !fake_sock_closed(sock)) {
        size_t len = in.data[0];
        in = slice_skip(in, 1);
        len = len < in.len ? len : in.len;
        if (len == 0) {
            fake_env_advance(env, NS_PER_SEC);
            grpc_stream_pause(stream, false);
        }
        fake_sock_send(sock, slice_of(in.data, len));
        in = slice_skip(in, len);
        if ((options & 2) != 0) {
            fake_sock_room(sock, turn % 3 * 50);
        }
        if ((options & 8) != 0 && turn == 3) {
            grpc_stream_cancel(stream);
        }
        loop_turn(loop, false);
        turn++;
    }
    fake_sock_room(sock, SIZE_MAX);
    for (unsigned i = 0; i < 8; i++) {
        loop_turn(loop, false);
    }
}

static void output_check(struct slice out, bool is_closed)
{
    ASSERT(out.len >= PREFACE_LEN);
    out = slice_skip(out, PREFACE_LEN);
    while (out.len >= 9) {
        size_t len = (size_t)out.data[0] << 16 | (size_t)out.data[1] << 8 | out.data[2];
        ASSERT(len <= 16384);
        if (out.len < 9 + len) {
            break;
        }
        out = slice_skip(out, 9 + len);
    }
    ASSERT(is_closed || out.len < 9 + 16384);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct env *env = fake_env_new();
    struct loop *loop = loop_new(env);
    struct outcome unary = {0};
    struct outcome late = {0};
    struct outcome bidi = {0};
    struct grpc_conn_options options = {
        .host = "h", .port = "1", .message_max = 2000, .keepalive_ns = 3 * NS_PER_SEC};
    struct grpc_conn *conn = grpc_conn_open(env, loop, &options);
    struct fake_sock *sock = fake_accept(env);
    struct grpc_metadata metadata = {SLICE("a-bin"), SLICE("\0\1")};
    grpc_unary(conn, "/T/E", SLICE("ask"), &metadata, 1, UINT64_MAX, on_unary, &unary);
    grpc_unary(conn, "/T/E", SLICE("ask"), NULL, 0, loop_now(loop) + 5 * NS_PER_SEC, on_unary,
               &late);
    struct grpc_stream *stream =
        grpc_stream_open(conn, "/T/B", NULL, 0, UINT64_MAX, &stream_handler, &bidi);
    grpc_stream_send(stream, SLICE("one"));
    loop_turn(loop, false);
    if ((data[0] & 1) != 0) {
        heads_send(sock);
    }
    play(loop, env, sock, stream, slice_of(data + 1, size - 1), data[0]);
    output_check(buf_slice(fake_sock_output(sock)), fake_sock_closed(sock));
    if ((data[0] & 4) != 0) {
        fake_sock_reset(sock);
    } else {
        fake_sock_end(sock);
    }
    /* What a lost connection leaves has ended: keepalive and deadlines see to the rest. */
    for (unsigned i = 0; i < 60; i++) {
        fake_env_advance(env, NS_PER_SEC);
        loop_turn(loop, false);
    }
    ASSERT(grpc_conn_is_lost(conn));
    ASSERT(unary.ends == 1);
    ASSERT(late.ends == 1);
    ASSERT(bidi.ends == 1);
    grpc_stream_free(&stream);
    grpc_conn_close(&conn);
    fake_sock_free(&sock);
    loop_free(&loop);
    fake_env_free(&env);
    return 0;
}
