/* From a request to its answer:
 *
 *   gateway_serve -> gateway__open    the path's method, its metadata, grpc_local_start()
 *                 -> gateway__input   JSON values in, messages to the call
 *   on_message                        messages of the answer, to JSON, to the carrier
 *   on_end                            noted; finish() when no function of grpc_local.h is active */
#include "api/gateway_priv.h"

#include "base/utf8.h"
#include "codec/gojson.h"
#include "codec/pbjson.h"

#include <ctype.h>
#include <strings.h>

#define JSON_TYPE "application/json"
/* Metadata fields of one request. */
#define METADATA_MAX 64

/* ---- errors ------------------------------------------------------------------------------------
 */

/* runtime.HTTPStatusFromCode of grpc-gateway v2. */
static unsigned http_status_of(enum grpc_status status)
{
    static const uint16_t table[GRPC_STATUS_COUNT] = {
        [GRPC_OK] = 200,
        [GRPC_CANCELED] = 499,
        [GRPC_UNKNOWN] = 500,
        [GRPC_INVALID_ARGUMENT] = 400,
        [GRPC_DEADLINE_EXCEEDED] = 504,
        [GRPC_NOT_FOUND] = 404,
        [GRPC_ALREADY_EXISTS] = 409,
        [GRPC_PERMISSION_DENIED] = 403,
        [GRPC_RESOURCE_EXHAUSTED] = 429,
        [GRPC_FAILED_PRECONDITION] = 400,
        [GRPC_ABORTED] = 409,
        [GRPC_OUT_OF_RANGE] = 400,
        [GRPC_UNIMPLEMENTED] = 501,
        [GRPC_INTERNAL] = 500,
        [GRPC_UNAVAILABLE] = 503,
        [GRPC_DATA_LOSS] = 500,
        [GRPC_UNAUTHENTICATED] = 401,
    };
    return table[status];
}

/* {"code":5,"message":"…"}: a google.rpc.Status. */
static void error_json(struct buf *out, enum grpc_status status, const char *text)
{
    buf_printf(out, "{\"code\":%d,\"message\":", (int)status);
    pbjson_append_string(out, slice_str(text));
    buf_append_byte(out, '}');
}

static void refuse(const struct web *web, struct http_request *request, enum grpc_status status,
                   const char *text)
{
    struct buf body = {0};
    error_json(&body, status, text);
    web__reply(web, request, http_status_of(status), JSON_TYPE, buf_slice(&body));
    buf_fini(&body);
}

/* ---- the answer as HTTP/1 ----------------------------------------------------------------------
 */

static void http_begin(struct gateway *gateway, unsigned status)
{
    const struct http_field fields[] = {
        {SLICE("Content-Type"), SLICE(JSON_TYPE)},
        {SLICE("Grpc-Metadata-Content-Type"), SLICE("application/grpc")},
    };
    gateway->has_begun = true;
    web__reply_begin(gateway->web, gateway->request, status, fields, ARRAY_LEN(fields),
                     gateway__event, gateway);
}

static void http_line(struct gateway *gateway, struct slice json)
{
    if (!gateway->has_begun) {
        http_begin(gateway, 200);
    }
    http_reply_write(gateway->request, json); /* one chunk: some clients take each for a message */
}

/* The gateway lies in the request's arena and may go with the reply: its buffers are taken out. */
static void http_end(struct gateway *gateway, enum grpc_status status, struct slice error)
{
    struct http_request *request = gateway->request;
    const struct web *web = gateway->web;
    struct buf line = gateway->line;
    bool is_unary = gateway->row->kind == GRPC_UNARY;
    if (is_unary && status == GRPC_OK) {
        const struct http_field fields[] = {
            {SLICE("Content-Type"), SLICE(JSON_TYPE)},
            {SLICE("Grpc-Metadata-Content-Type"), SLICE("application/grpc")},
        };
        buf_init(&gateway->line);
        gateway__free(gateway);
        web__reply_fields(web, request, 200, fields, ARRAY_LEN(fields), buf_slice(&line));
        buf_fini(&line);
        return;
    }
    if (is_unary || !gateway->has_begun) {
        /* A stream that never began still answers as one; an empty one has an empty body. */
        gateway__free(gateway);
        web__reply(web, request, http_status_of(status), JSON_TYPE, error);
        return;
    }
    if (error.len > 0) {
        http_line(gateway, error);
    }
    gateway__free(gateway);
    http_reply_end(request);
}

static const struct gateway_carrier http_carrier = {.line = http_line, .end = http_end};

/* ---- the call ----------------------------------------------------------------------------------
 */

void gateway__free(struct gateway *gateway)
{
    buf_fini(&gateway->error);
    buf_fini(&gateway->line);
}

/* A message of the answer as JSON; a stream's stands inside {"result":…}. */
static void on_message(void *ctx, struct slice message)
{
    struct gateway *gateway = ctx;
    bool is_stream = gateway->row->kind != GRPC_UNARY;
    struct arena arena;
    void *decoded = NULL;
    arena_init(&arena);
    enum err err =
        pb_decode_limits(&arena, gateway->row->response, message, PB_LIMITS_NONE, &decoded, NULL);
    ASSERT(err == ERR_OK); /* we have made it ourselves */
    buf_reset(&gateway->line);
    buf_append_str(&gateway->line, is_stream ? "{\"result\":" : "");
    pbjson_encode(decoded, PBJSON_PROTO, &gateway->line);
    buf_append_str(&gateway->line, is_stream ? "}\n" : "");
    arena_fini(&arena);
    if (is_stream) {
        gateway->carrier->line(gateway, buf_slice(&gateway->line));
    }
}

static void finish(struct gateway *gateway)
{
    struct buf error = {0};
    bool is_stream = gateway->row->kind != GRPC_UNARY;
    if (gateway->status != GRPC_OK) {
        buf_append_str(&error, is_stream ? "{\"error\":" : "");
        error_json(&error, gateway->status, buf_cstr(&gateway->error));
        buf_append_str(&error, is_stream ? "}\n" : "");
    }
    gateway->carrier->end(gateway, gateway->status, buf_slice(&error));
    buf_fini(&error);
}

static void on_end(void *ctx, enum grpc_status status, const char *text)
{
    struct gateway *gateway = ctx;
    gateway->call = NULL;
    gateway->has_ended = true;
    gateway->status = status;
    buf_append_str(&gateway->error, text);
    if (!gateway->is_busy) {
        finish(gateway);
    }
}

static bool is_writable(void *ctx)
{
    struct gateway *gateway = ctx;
    return http_reply_writable(gateway->request);
}

static const struct grpc_local_sink sink = {on_message, on_end, is_writable};

/* Whether a field's name starts so, in any letter case. */
static bool has_prefix(struct slice name, const char *prefix)
{
    size_t len = strlen(prefix);
    return name.len > len && strncasecmp((const char *)name.data, prefix, len) == 0;
}

static struct slice lower(struct arena *arena, struct slice name)
{
    uint8_t *copy = arena_dup(arena, name.data, name.len);
    for (size_t i = 0; i < name.len; i++) {
        copy[i] = (uint8_t)tolower(copy[i]);
    }
    return slice_of(copy, name.len);
}

/* Authorization, as it is or out of Sec-WebSocket-Protocol, and what Grpc-Metadata- stands before.
 */
static size_t metadata_of(struct http_request *request, struct grpc_local_field *out)
{
    static const char prefix[] = "Grpc-Metadata-";
    struct slice name;
    struct slice value;
    size_t count = 0;
    if (http_header(request, "Authorization", &value) ||
        (gateway__is_upgrade(request) && gateway__protocol_token(request, &value))) {
        out[count++] = (struct grpc_local_field){SLICE("authorization"), value};
    }
    for (size_t i = 0; count < METADATA_MAX && http_field_at(request, i, &name, &value); i++) {
        if (has_prefix(name, prefix)) {
            out[count++] = (struct grpc_local_field){
                lower(http_arena(request), slice_skip(name, sizeof(prefix) - 1)), value};
        }
    }
    return count;
}

bool gateway__open(struct gateway *gateway)
{
    struct http_request *request = gateway->request;
    struct grpc_local_field metadata[METADATA_MAX];
    struct grpc_local_options options = {
        .path = gateway->row->grpc_path,
        .metadata = metadata,
        .metadata_count = metadata_of(request, metadata),
        .peer = http_peer(request),
        .deadline = UINT64_MAX,
        .sink = &sink,
        .ctx = gateway,
    };
    struct slice timeout;
    struct errbuf why;
    uint64_t ns;
    if (http_header(request, "Grpc-Timeout", &timeout)) {
        if (grpc_timeout_parse(timeout, &ns, &why) != ERR_OK) {
            gateway->status = GRPC_INVALID_ARGUMENT;
            buf_printf(&gateway->error, "invalid grpc-timeout: %.*s", (int)timeout.len,
                       (const char *)timeout.data);
            finish(gateway);
            return false;
        }
        options.deadline = loop_now(gateway->web->api->options.loop) + ns;
    }
    gateway->is_busy = true;
    gateway->call = grpc_local_start(http_request_server(request), &options);
    gateway->is_busy = false;
    if (gateway->has_ended) {
        gateway->call = NULL;
        finish(gateway);
        return false;
    }
    ASSERT(gateway->call != NULL); /* every path of the table has a method */
    return true;
}

/* One value to the call. Not ERR_OK: `why` has the sentence. */
static enum err send_value(struct gateway *gateway, struct slice value, struct errbuf *why)
{
    struct arena arena;
    void *message = NULL;
    arena_init(&arena);
    enum err err = pbjson_decode(&arena, gateway->row->request, value, &message, why);
    if (err == ERR_OK) {
        grpc_local_send(gateway->call, pb_encode_arena(message, &arena));
    }
    arena_fini(&arena);
    return err;
}

/* The input makes no sense: before the first message that is the answer, later only the end of
 * what the client says, as in etcd. */
static void bad_input(struct gateway *gateway, bool is_first, const struct errbuf *why)
{
    gateway->has_input_ended = true;
    if (!is_first) {
        return;
    }
    grpc_local_cancel(gateway->call, GRPC_CANCELED);
    gateway->call = NULL;
    gateway->has_ended = true;
    gateway->status = GRPC_INVALID_ARGUMENT;
    buf_append_str(&gateway->error, why->text);
}

bool gateway__input(struct gateway *gateway, struct slice *text, bool is_last)
{
    bool takes_one = gateway->row->kind != GRPC_BIDI;
    bool is_first = gateway->input_count == 0;
    gateway->is_busy = true;
    while (gateway->call != NULL && !gateway->has_input_ended) {
        struct errbuf why = {{0}};
        struct slice value = SLICE("{}");
        enum err err = gojson_next(text, &value, &why);
        if (err == ERR_EOF) {
            *text = SLICE_EMPTY; /* blanks */
        }
        bool is_empty = err == ERR_EOF && is_last;
        if (is_empty && takes_one) {
            value = SLICE("{}"); /* an empty body is an empty message */
            err = ERR_OK;
        }
        if (err == ERR_EOF || (err == ERR_AGAIN && !is_last)) {
            break;
        }
        if (err == ERR_OK) {
            gateway->input_count++;
            err = send_value(gateway, value, &why);
        }
        if (err != ERR_OK) {
            bad_input(gateway, is_first, &why);
            break;
        }
        is_first = false;
        gateway->has_input_ended = takes_one;
    }
    if (gateway->call != NULL && (is_last || gateway->has_input_ended) && !gateway->is_closed) {
        gateway->is_closed = true;
        grpc_local_close_send(gateway->call);
    }
    gateway->is_busy = false;
    if (gateway->has_ended) {
        finish(gateway);
        return false;
    }
    return true;
}

void gateway__event(struct http_request *request, bool gone, void *ctx)
{
    struct gateway *gateway = ctx;
    UNUSED(request);
    ASSERT(gateway->call != NULL); /* else it would have ended */
    gateway->is_busy = true;
    if (gone) {
        grpc_local_cancel(gateway->call, GRPC_CANCELED);
        on_end(gateway, GRPC_CANCELED, "context canceled");
    } else {
        grpc_local_writable(gateway->call);
    }
    gateway->is_busy = false;
    if (gateway->has_ended) {
        finish(gateway);
    }
}

/* ---- requests ----------------------------------------------------------------------------------
 */

bool gateway_takes(struct slice path)
{
    return slice_starts(path, SLICE("/v3/")) || slice_starts(path, SLICE("/v3beta/"));
}

static const struct gateway_row *row_of(struct http_request *request)
{
    static const char beta[] = "/v3beta/";
    struct slice path = http_path(request);
    if (slice_starts(path, SLICE("/v3beta/"))) {
        struct slice rest = slice_skip(path, sizeof(beta) - 1);
        path = slice_str(
            arena_printf(http_arena(request), "/v3/%.*s", (int)rest.len, (const char *)rest.data));
    }
    return gateway__find(path);
}

void gateway_serve(const struct web *web, struct http_request *request)
{
    const struct gateway_row *row = row_of(request);
    bool is_upgrade = gateway__is_upgrade(request);
    if (row == NULL) {
        refuse(web, request, GRPC_NOT_FOUND, "Not Found");
        return;
    }
    if (!is_upgrade && !slice_eq_str(http_method(request), "POST")) {
        refuse(web, request, GRPC_UNIMPLEMENTED, "Method Not Allowed");
        return;
    }
    if (is_upgrade) {
        gateway__upgrade(web, request, row);
        return;
    }
    struct gateway *gateway = ARENA_NEW(http_arena(request), struct gateway);
    *gateway =
        (struct gateway){.request = request, .web = web, .row = row, .carrier = &http_carrier};
    struct slice body = http_body(request);
    http_on_gone(request, gateway__event, gateway);
    if (gateway__open(gateway)) {
        gateway__input(gateway, &body, true);
    }
}
