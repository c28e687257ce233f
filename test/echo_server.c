/* A small server over net/http.h for tests with stock clients and for load: what it gets, it gives
 * back. Usage: echo_server HOST PORT [PING_MIN_MS]; port 0 chooses. Prints "listening ADDR".
 *
 *   test.Echo/Unary    replies with the request
 *   test.Echo/Source   the request is a decimal number: a message of so many bytes, pulled
 *   test.Echo/Fail     the request is "CODE TEXT"
 *   test.Echo/Hang     never replies; ends when it is canceled
 *   test.Echo/Server   the request is "COUNT SIZE": so many messages of so many bytes
 *   test.Echo/Bidi     every message comes back; ends with the client's end
 *   etcdserverpb.KV/Range  as Unary, for tests that also run against etcd
 *
 * HTTP/1: GET /version, POST /echo, GET /chunks?n=N, GET /metadata; anything else is 404. */
#include "base/mem.h"
#include "env/posix.h"
#include "net/http.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct echo {
    struct loop *loop;
    struct http_server *server;
};

static uint64_t number_of(struct slice text)
{
    uint64_t value;
    return slice_to_u64(text, &value) == ERR_OK ? value : 0;
}

/* ---- gRPC ------------------------------------------------------------------------------------ */

static void unary(struct grpc_call *call, struct slice message)
{
    grpc_call_reply(call, message);
}

static uint8_t pattern[65536];

struct pulled {
    uint64_t at;
};

static enum err pulled_next(void *ctx, size_t want, struct grpc_chunk *out)
{
    struct pulled *pulled = ctx;
    size_t start = (size_t)(pulled->at % sizeof(pattern));
    size_t len = sizeof(pattern) - start < want ? sizeof(pattern) - start : want;
    out->bytes = slice_of(pattern + start, len);
    pulled->at += len;
    return ERR_OK;
}

static void pulled_close(void *ctx)
{
    UNUSED(ctx);
}

static void source(struct grpc_call *call, struct slice message)
{
    struct pulled *pulled = ARENA_NEW(grpc_call_arena(call), struct pulled);
    struct grpc_source from = {
        .len = number_of(message), .next = pulled_next, .close = pulled_close, .ctx = pulled};
    grpc_call_send_source(call, &from);
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void fail(struct grpc_call *call, struct slice message)
{
    struct slice code;
    struct slice text = slice_split(message, ' ', &code);
    uint64_t status = number_of(code);
    char *copy = arena_strndup(grpc_call_arena(call), (const char *)text.data, text.len);
    grpc_call_finish(call, status < GRPC_STATUS_COUNT ? (enum grpc_status)status : GRPC_UNKNOWN,
                     copy);
}

static void hang(struct grpc_call *call, struct slice message)
{
    UNUSED(call);
    UNUSED(message);
}

static void canceled(struct grpc_call *call, enum grpc_status why)
{
    printf("canceled %s\n", grpc_status_name(why));
    fflush(stdout);
    grpc_call_finish(call, why, "");
}

struct series {
    uint64_t left;
    size_t size;
};

static void series_step(struct grpc_call *call)
{
    struct series *series = grpc_call_data(call);
    while (series->left > 0 && grpc_call_writable(call)) {
        series->left--;
        struct grpc_chunk chunk = {.bytes = slice_of(pattern, series->size)};
        grpc_call_send_chunks(call, &chunk, 1);
    }
    if (series->left == 0) {
        grpc_call_finish(call, GRPC_OK, NULL);
    }
}

static void server_stream(struct grpc_call *call, struct slice message)
{
    struct series *series = ARENA_NEW(grpc_call_arena(call), struct series);
    struct slice count;
    struct slice size = slice_split(message, ' ', &count);
    series->left = number_of(count);
    series->size = (size_t)(number_of(size) % sizeof(pattern));
    grpc_call_set_data(call, series);
    series_step(call);
}

static void bidi_message(struct grpc_call *call, struct slice message)
{
    grpc_call_send_copy(call, message);
    if (!grpc_call_writable(call)) {
        grpc_call_pause(call, true);
    }
}

static void bidi_writable(struct grpc_call *call)
{
    grpc_call_pause(call, false);
}

static void bidi_end(struct grpc_call *call)
{
    grpc_call_finish(call, GRPC_OK, NULL);
}

static const struct grpc_handler unary_handler = {.message = unary, .cancel = canceled};
static const struct grpc_handler source_handler = {.message = source, .cancel = canceled};
static const struct grpc_handler fail_handler = {.message = fail, .cancel = canceled};
static const struct grpc_handler hang_handler = {.message = hang, .cancel = canceled};
static const struct grpc_handler server_handler = {
    .message = server_stream, .writable = series_step, .cancel = canceled};
static const struct grpc_handler bidi_handler = {
    .message = bidi_message, .half_close = bidi_end, .writable = bidi_writable, .cancel = canceled};

static const struct grpc_method echo_methods[] = {
    {.name = "Unary", .kind = GRPC_UNARY, .handler = &unary_handler},
    {.name = "Source", .kind = GRPC_UNARY, .handler = &source_handler},
    {.name = "Fail", .kind = GRPC_UNARY, .handler = &fail_handler},
    {.name = "Hang", .kind = GRPC_UNARY, .handler = &hang_handler},
    {.name = "Server", .kind = GRPC_SERVER_STREAM, .handler = &server_handler},
    {.name = "Bidi", .kind = GRPC_BIDI, .handler = &bidi_handler},
};
static const struct grpc_method kv_methods[] = {
    {.name = "Range", .kind = GRPC_UNARY, .handler = &unary_handler},
};
static const struct grpc_service echo_service = {
    .name = "test.Echo", .methods = echo_methods, .method_count = ARRAY_LEN(echo_methods)};
static const struct grpc_service kv_service = {
    .name = "etcdserverpb.KV", .methods = kv_methods, .method_count = ARRAY_LEN(kv_methods)};

/* ---- HTTP/1 ------------------------------------------------------------------------------------
 */

static void chunks_step(struct http_request *request, bool gone, void *ctx)
{
    uint64_t *left = ctx;
    while (!gone && *left > 0 && http_reply_writable(request)) {
        (*left)--;
        http_reply_write(request, slice_of(pattern, 1000));
    }
    if (gone || *left == 0) {
        http_reply_end(request);
    }
}

static void on_request(struct http_request *request, void *ctx)
{
    struct slice path = http_path(request);
    struct http_field json = {SLICE("Content-Type"), SLICE("application/json")};
    struct slice value;
    UNUSED(ctx);
    if (slice_eq_str(path, "/version")) {
        http_reply(request, 200, &json, 1, SLICE("{\"etcdserver\":\"3.6.0\"}"));
    } else if (slice_eq_str(path, "/echo")) {
        http_reply(request, 200, NULL, 0, http_body(request));
    } else if (slice_eq_str(path, "/chunks") &&
               http_query_get(http_query(request), "n", 0, http_arena(request), &value)) {
        uint64_t *left = ARENA_NEW(http_arena(request), uint64_t);
        *left = number_of(value);
        http_reply_begin(request, 200, &json, 1, chunks_step, left);
        chunks_step(request, false, left);
    } else {
        http_reply_error(request, 404, "404 page not found");
    }
}

/* ---- main ------------------------------------------------------------------------------- */

static void stopped(void *ctx)
{
    struct echo *echo = ctx;
    loop_stop(echo->loop);
}

static void on_signal(int signum, void *ctx)
{
    struct echo *echo = ctx;
    UNUSED(signum);
    http_server_stop(echo->server, loop_now(echo->loop) + 2 * NS_PER_SEC, stopped, echo);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: echo_server HOST PORT [PING_MIN_MS]\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i * 131 + i / 256);
    }
    struct env *env = posix_env_new();
    struct echo echo = {.loop = loop_new(env)};
    struct http_options options = {.on_request = on_request, .ctx = &echo};
    if (argc > 3) {
        options.ping_min_ns = (uint64_t)atoi(argv[3]) * NS_PER_MS;
    }
    struct errbuf why;
    struct sock_addr addr;
    echo.server = http_server_new(env, echo.loop, &options);
    http_server_service(echo.server, &echo_service);
    http_server_service(echo.server, &kv_service);
    if (http_server_listen(echo.server, argv[1], argv[2], NULL, &why) != ERR_OK) {
        fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    posix_on_signal(env, SIGTERM, on_signal, &echo);
    http_server_addr(echo.server, 0, &addr);
    printf("listening %s\n", addr.text);
    fflush(stdout);
    loop_run(echo.loop);
    http_server_free(&echo.server);
    loop_free(&echo.loop);
    posix_env_free(&env);
    return 0;
}
