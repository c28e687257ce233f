/* A whole server connection fed with arbitrary bytes, in arbitrary pieces, with a socket that is
 * full now and then and a clock that jumps.
 *
 * Input: one byte of options (1: the preface and SETTINGS are put in front; 2: small writes; 4: the
 * peer resets at the end), then records: a byte that says how much follows (0: one second passes),
 * and that many bytes.
 *
 * Properties: no assertion of the server fails; every call that a handler was given can be
 * finished; what an HTTP/2 server writes is a sequence of whole frames; nothing is left behind. */
#include "base/mem.h"
#include "net/fake_net.h"
#include "net/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct target {
    struct grpc_call *held[64];
    size_t held_count;
    uint64_t begun;
    uint64_t finished;
};

static struct target *target_of(struct grpc_call *call)
{
    return grpc_call_server_ctx(call);
}

static void finish(struct grpc_call *call, enum grpc_status status, const char *message)
{
    target_of(call)->finished++;
    grpc_call_finish(call, status, message);
}

static void echo(struct grpc_call *call, struct slice message)
{
    target_of(call)->begun++;
    grpc_call_send_copy(call, message);
    finish(call, GRPC_OK, NULL);
}

/* Kept for a while, also beyond the end of its connection. */
static void hold(struct grpc_call *call, struct slice message)
{
    struct target *target = target_of(call);
    UNUSED(message);
    target->begun++;
    if (target->held_count < ARRAY_LEN(target->held)) {
        target->held[target->held_count++] = call;
    } else {
        finish(call, GRPC_UNAVAILABLE, "full \xff");
    }
}

static void held_finish(struct target *target)
{
    while (target->held_count > 0) {
        struct grpc_call *call = target->held[--target->held_count];
        struct grpc_chunk chunk = {.bytes = SLICE("a reply")};
        grpc_call_send_chunks(call, &chunk, 1);
        finish(call, GRPC_OK, NULL);
    }
}

static void bidi_start(struct grpc_call *call)
{
    target_of(call)->begun++;
}

static void bidi_message(struct grpc_call *call, struct slice message)
{
    grpc_call_send_copy(call, message);
    grpc_call_pause(call, message.len % 3 == 1);
    if (message.len % 7 == 6) {
        grpc_call_pause(call, false);
    }
}

static void bidi_end(struct grpc_call *call)
{
    finish(call, GRPC_OK, NULL);
}

static void bidi_cancel(struct grpc_call *call, enum grpc_status why)
{
    finish(call, why, NULL);
}

static uint8_t zeros[4096];

static enum err pull_next(void *ctx, size_t want, struct grpc_chunk *out)
{
    UNUSED(ctx);
    out->bytes = slice_of(zeros, want < sizeof(zeros) ? want : sizeof(zeros));
    return ERR_OK;
}

static void pull_close(void *ctx)
{
    ((struct target *)ctx)->finished++;
}

static void source(struct grpc_call *call, struct slice message)
{
    struct target *target = target_of(call);
    struct grpc_source from = {
        .len = 1000000, .next = pull_next, .close = pull_close, .ctx = target};
    UNUSED(message);
    target->begun += 2;
    grpc_call_send_source(call, &from);
    finish(call, GRPC_OK, NULL);
}

static const struct grpc_handler echo_handler = {.message = echo};
static const struct grpc_handler hold_handler = {.message = hold};
static const struct grpc_handler source_handler = {.message = source};
static const struct grpc_handler bidi_handler = {
    .start = bidi_start, .message = bidi_message, .half_close = bidi_end, .cancel = bidi_cancel};
static const struct grpc_method methods[] = {
    {.name = "E", .kind = GRPC_UNARY, .handler = &echo_handler},
    {.name = "H", .kind = GRPC_SERVER_STREAM, .handler = &hold_handler},
    {.name = "U", .kind = GRPC_UNARY, .handler = &hold_handler},
    {.name = "S", .kind = GRPC_UNARY, .handler = &source_handler},
    {.name = "B", .kind = GRPC_BIDI, .handler = &bidi_handler},
};
static const struct grpc_service service = {
    .name = "T", .methods = methods, .method_count = ARRAY_LEN(methods)};

static void on_request(struct http_request *request, void *ctx)
{
    struct slice name;
    UNUSED(ctx);
    if (http_query_get(http_query(request), "chunks", 0, http_arena(request), &name)) {
        http_reply_begin(request, 200, NULL, 0, NULL, NULL);
        http_reply_write(request, http_body(request));
        http_reply_write(request, name);
        http_reply_end(request);
    } else {
        struct http_field field = {SLICE("X-Path"), http_path(request)};
        http_reply(request, 200, &field, 1, http_body(request));
    }
}

/* The server's bytes are frames: the first is SETTINGS, none is longer than the least maximum. */
static void output_check(struct slice out, bool is_closed)
{
    bool is_first = true;
    while (out.len >= 9) {
        size_t len = (size_t)out.data[0] << 16 | (size_t)out.data[1] << 8 | out.data[2];
        ASSERT(len <= 16384);
        ASSERT(!is_first || out.data[3] == 4);
        is_first = false;
        if (out.len < 9 + len) {
            break;
        }
        out = slice_skip(out, 9 + len);
    }
    ASSERT(is_closed || out.len < 9 + 16384);
}

static void play(struct loop *loop, struct env *env, struct http_server *server,
                 struct target *target, struct fake_sock *sock, struct slice in, bool small)
{
    unsigned turn = 0;
    while (in.len > 0 && !fake_sock_closed(sock)) {
        size_t len = in.data[0];
        in = slice_skip(in, 1);
        len = len < in.len ? len : in.len;
        if (len == 0) {
            fake_env_advance(env, NS_PER_SEC);
            held_finish(target);
        }
        fake_sock_send(sock, slice_of(in.data, len));
        in = slice_skip(in, len);
        if (small) {
            fake_sock_room(sock, turn % 3 * 50);
        }
        loop_turn(loop, false);
        http_server_check(server);
        turn++;
    }
    fake_sock_room(sock, SIZE_MAX);
    for (unsigned i = 0; i < 8; i++) {
        loop_turn(loop, false);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct env *env = fake_env_new();
    struct loop *loop = loop_new(env);
    struct target target = {0};
    struct http_options options = {
        .grpc_message_max = 2000, .running_max = 2, .on_request = on_request, .grpc_ctx = &target};
    struct http_server *server = http_server_new(env, loop, &options);
    http_server_service(server, &service);
    enum err err = http_server_listen(server, "", "0", NULL, NULL);
    ASSERT(err == ERR_OK);
    struct fake_sock *sock = fake_connect(env);
    bool is_h2 = (data[0] & 1) != 0;
    if (is_h2) {
        fake_sock_send(sock, SLICE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"));
    }
    play(loop, env, server, &target, sock, slice_of(data + 1, size - 1), (data[0] & 2) != 0);
    if (is_h2) {
        output_check(buf_slice(fake_sock_output(sock)), fake_sock_closed(sock));
    }
    if ((data[0] & 4) != 0) {
        fake_sock_reset(sock);
    } else {
        fake_sock_end(sock);
    }
    for (unsigned i = 0; i < 4; i++) {
        loop_turn(loop, false);
        fake_env_advance(env, NS_PER_SEC);
    }
    held_finish(&target);
    loop_turn(loop, false);
    http_server_free(&server);
    ASSERT(target.begun == target.finished);
    fake_sock_free(&sock);
    loop_free(&loop);
    fake_env_free(&env);
    return 0;
}
