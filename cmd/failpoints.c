#include "failpoints.h"

#include "base/failpoint.h"
#include "base/url.h"

#include <stdlib.h>

static void reply_text(struct http_request *request, struct buf *text)
{
    struct http_field type = {SLICE("Content-Type"), SLICE("text/plain; charset=utf-8")};
    http_reply(request, 200, &type, 1, buf_slice(text));
}

static void put(struct http_request *request, struct slice name)
{
    struct errbuf why = {""};
    struct slice body = http_body(request);
    enum err err = slice_eq_str(name, "failpoints") ? failpoint_set_all(body, &why)
                                                    : failpoint_set(name, body, &why);
    if (err != ERR_OK) {
        http_reply_error(request, 400, why.text);
        return;
    }
    http_reply(request, 204, NULL, 0, SLICE_EMPTY);
}

static void clear(struct http_request *request, struct slice name)
{
    struct errbuf why = {""};
    if (failpoint_clear(name, &why) != ERR_OK) {
        http_reply_error(request, 400, why.text);
        return;
    }
    http_reply(request, 204, NULL, 0, SLICE_EMPTY);
}

static void get(struct http_request *request, struct slice name)
{
    struct buf text = {0};
    struct slice point;
    struct slice what = slice_split(name, '/', &point);
    uint64_t count;
    enum err err = ERR_OK;
    if (name.len == 0) {
        failpoint_list(&text);
    } else if (slice_eq_str(what, "count")) {
        err = failpoint_count(point, &count);
        if (err == ERR_OK) {
            buf_printf(&text, "%llu", (unsigned long long)count);
        }
    } else {
        err = failpoint_terms(name, &text);
        buf_append_str(&text, "\n");
    }
    if (err != ERR_OK) {
        http_reply_error(request, 404, "failpoint: failpoint does not exist");
    } else {
        reply_text(request, &text);
    }
    buf_fini(&text);
}

static void on_request(struct http_request *request, void *ctx)
{
    UNUSED(ctx);
    struct slice method = http_method(request);
    struct slice name = http_path(request);
    if (name.len > 0 && name.data[0] == '/') {
        name = slice_skip(name, 1);
    }
    if (slice_eq_str(method, "PUT")) {
        put(request, name);
    } else if (slice_eq_str(method, "GET")) {
        get(request, name);
    } else if (slice_eq_str(method, "DELETE")) {
        clear(request, name);
    } else {
        http_reply_error(request, 405, "Method not allowed");
    }
}

static FALLIBLE listen_on(struct http_server *server, const char *address, struct errbuf *why)
{
    struct arena arena;
    struct slice host;
    struct slice port;
    struct listen_options options = {0};
    TRY(host_port_split(slice_str(address), &host, &port, why));
    arena_init(&arena);
    enum err err = http_server_listen(
        server, arena_printf(&arena, "%.*s", (int)host.len, (const char *)host.data),
        arena_printf(&arena, "%.*s", (int)port.len, (const char *)port.data), &options, why);
    arena_fini(&arena);
    return err;
}

FALLIBLE failpoints_start(struct env *env, struct loop *loop, struct http_server **out,
                          struct errbuf *why)
{
    const char *terms = getenv("GOFAIL_FAILPOINTS");
    const char *address = getenv("GOFAIL_HTTP");
    if (terms != NULL) {
        TRY(failpoint_set_all(slice_str(terms), why));
    }
    *out = NULL;
    if (address == NULL || address[0] == '\0') {
        return ERR_OK;
    }
    struct http_options options = {
        .http_body_max = 4096, .grpc_off = true, .on_request = on_request};
    struct http_server *server = http_server_new(env, loop, &options);
    enum err err = listen_on(server, address, why);
    if (err != ERR_OK) {
        http_server_free(&server);
        return err;
    }
    *out = server;
    return ERR_OK;
}
