#include "net/http_world.h"

#include "base/mem.h"
#include "env/posix.h"

#include "unit.h"

#include <stdio.h>

uint8_t pattern[PATTERN_LEN];

static struct world *world_of(struct grpc_call *call)
{
    return grpc_call_server_ctx(call);
}

void turn_until(struct world *world, const bool *done)
{
    mono_ns limit = env_now_mono(world->env) + 20 * NS_PER_SEC;
    while (!*done) {
        assert_true(env_now_mono(world->env) < limit);
        loop_turn(world->loop, false);
        http_server_check(world->server);
    }
}

void turn_some(struct world *world, uint64_t ms)
{
    mono_ns limit = env_now_mono(world->env) + ms * NS_PER_MS;
    while (env_now_mono(world->env) < limit) {
        loop_turn(world->loop, false);
    }
}

/* ---- its services ----------------------------------------------------------------------- */

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

/* Has enough of a turn after every piece. */
static enum err pull_rests(void *ctx, size_t want, struct grpc_chunk *out)
{
    struct world *world = ctx;
    world->rests = !world->rests;
    return world->rests ? ERR_AGAIN : pull_next(ctx, want, out);
}

static void pull_close(void *ctx)
{
    struct world *world = ctx;
    world->closes++;
    if (world->asks_peer) {
        assert_string_not_equal(grpc_call_peer(world->pulling), "");
    }
}

static void source(struct grpc_call *call, struct slice message)
{
    struct world *world = world_of(call);
    struct grpc_source from = {.next = pull_next, .close = pull_close, .ctx = world};
    struct slice number = message;
    if (message.data[0] == '!') {
        from.next = pull_fails;
        number = slice_skip(message, 1);
    } else if (message.data[0] == '~') {
        from.next = pull_rests;
        number = slice_skip(message, 1);
    }
    assert_int_equal(slice_to_u64(number, &from.len), ERR_OK);
    world->pulling = call;
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
    grpc_call_urgency(call, 1);
    world_of(call)->starts++;
}

static void bidi_writable(struct grpc_call *call)
{
    world_of(call)->writables++;
}

/* "~N": N bytes from a source that rests. */
static void bidi_message(struct grpc_call *call, struct slice message)
{
    struct grpc_source from = {.next = pull_rests, .close = pull_close, .ctx = world_of(call)};
    if (message.len > 1 && message.data[0] == '~') {
        assert_int_equal(slice_to_u64(slice_skip(message, 1), &from.len), ERR_OK);
        world_of(call)->pulling = call;
        grpc_call_send_source(call, &from);
        return;
    }
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
static void refuse_long(struct grpc_call *call, struct slice message)
{
    char *text = arena_alloc(grpc_call_arena(call), 100001);
    UNUSED(message);
    memset(text, '%', 100000);
    text[100000] = 0;
    grpc_call_finish(call, GRPC_UNKNOWN, text);
}

static const struct grpc_handler refuse_long_handler = {.message = refuse_long};
static const struct grpc_handler refuse_handler = {.message = refuse};
static const struct grpc_handler bidi_handler = {.start = bidi_start,
                                                 .message = bidi_message,
                                                 .half_close = bidi_end,
                                                 .cancel = bidi_cancel,
                                                 .writable = bidi_writable};

static const struct grpc_method methods[] = {
    {.name = "Echo", .kind = GRPC_UNARY, .handler = &echo_handler},
    {.name = "Hold", .kind = GRPC_UNARY, .handler = &hold_handler},
    {.name = "Describe", .kind = GRPC_UNARY, .handler = &describe_handler},
    {.name = "Source", .kind = GRPC_UNARY, .handler = &source_handler},
    {.name = "Chunks", .kind = GRPC_UNARY, .handler = &chunks_handler},
    {.name = "Refuse", .kind = GRPC_UNARY, .handler = &refuse_handler},
    {.name = "RefuseLong", .kind = GRPC_UNARY, .handler = &refuse_long_handler},
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

/* Paths with /early take their bodies while they come. /early/echo answers with them; /early/hold
 * waits; /early/no is refused at once. */
static void on_echo_gone(struct http_request *request, bool gone, void *ctx)
{
    struct world *world = ctx;
    if (gone) {
        world->request_gone = true;
        http_reply_end(request);
    }
}

static void on_hold_gone(struct http_request *request, bool gone, void *ctx)
{
    struct world *world = ctx;
    if (gone) {
        world->request_gone = true;
        http_reply_error(request, 499, "");
    }
}

static void on_body(struct http_request *request, struct slice bytes, bool is_last, void *ctx)
{
    struct world *world = ctx;
    world->pieces++;
    http_reply_write(request, bytes);
    if (slice_eq_str(bytes, "wait")) {
        world->request = request;
        http_input_pause(request, true);
    }
    if (is_last) {
        http_reply_end(request);
    }
}

static void early(struct world *world, struct http_request *request)
{
    struct slice path = http_path(request);
    if (slice_eq_str(path, "/early/no")) {
        http_reply_error(request, 403, "no");
    } else if (slice_eq_str(path, "/early/hold")) {
        http_on_gone(request, on_hold_gone, world);
    } else {
        http_reply_begin(request, 200, NULL, 0, on_echo_gone, world);
        http_reply_write(request, http_body(request));
        if (http_body_is_open(request)) {
            http_on_body(request, on_body, world);
        } else {
            http_reply_end(request);
        }
    }
}

static bool is_early(struct http_request *request, void *ctx)
{
    UNUSED(ctx);
    return slice_starts(http_path(request), SLICE("/early/"));
}

static void on_request(struct http_request *request, void *ctx)
{
    struct world *world = ctx;
    struct slice path = http_path(request);
    if (slice_eq_str(path, "/hold")) {
        world->request = request;
        http_on_gone(request, on_gone, world);
    } else if (is_early(request, NULL)) {
        early(world, request);
    } else if (slice_eq_str(path, "/echo")) {
        http_reply(request, 200, NULL, 0, http_body(request));
    } else {
        http_reply_error(request, 404, "404 page not found");
    }
}

struct world *world_new(const struct http_options *options)
{
    struct world *world = NEW(struct world);
    struct http_options mine = options == NULL ? (struct http_options){0} : *options;
    struct sock_addr addr;
    struct errbuf why;
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i * 131 + i / 256);
    }
    mine.on_request = on_request;
    mine.is_early = is_early;
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

void world_connect(struct world *world)
{
    struct grpc_conn_options options = {.host = "127.0.0.1", .port = world->port};
    world->conn = grpc_conn_open(world->env, world->loop, &options);
}

void world_free(struct world *world)
{
    grpc_conn_close(&world->conn);
    http_server_free(&world->server);
    loop_free(&world->loop);
    posix_env_free(&world->env);
    mem_free(world);
}
