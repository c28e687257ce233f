/* From a request to its answer:
 *
 *   gateway_serve -> gateway__open    the path's method, its metadata, grpc_local_start()
 *                 -> gateway__input   JSON values in, messages to the call
 *   on_message                        messages of the answer, to JSON, to the carrier
 *   on_piece                          the same for a large reply, a little of it at a time
 *   on_end                            noted; finish() when no function of grpc_local.h is active */
#include "api/gateway_priv.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <ctype.h>
#include <strings.h>

#define JSON_TYPE "application/json"
/* Metadata fields of one request. */
#define METADATA_MAX 64
/* A value that is not whole yet, as long as a request body may be (net/http.h). */
#define INPUT_MAX ((size_t)4 * 1024 * 1024)
/* A longer one is read on the pool: 5 ns a byte, at the worst. */
#define INLINE_MAX ((size_t)32 * 1024)
/* A client may well say "{}{}{}…". */
#define VALUES_PER_TURN 256

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
    if (is_unary && gateway->has_begun) { /* a large reply */
        gateway__free(gateway);
        if (status == GRPC_OK) {
            http_reply_end(request);
        } else {
            http_reply_abort(request);
        }
        return;
    }
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

static void http_piece(struct gateway *gateway, struct slice json, bool is_last)
{
    UNUSED(is_last);
    if (json.len > 0) {
        http_line(gateway, json);
    }
}

static const struct gateway_carrier http_carrier = {
    .line = http_line, .piece = http_piece, .end = http_end};

/* ---- the call ----------------------------------------------------------------------------------
 */

void gateway__free(struct gateway *gateway)
{
    ASSERT(gateway->decode == NULL);
    loop_task_remove(&gateway->more);
    buf_fini(&gateway->error);
    buf_fini(&gateway->line);
    buf_fini(&gateway->input);
    pbjson_pieces_fini(&gateway->pieces);
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
    bool is_stream = gateway->row->kind != GRPC_UNARY && !gateway->is_unread;
    if (gateway->status != GRPC_OK) {
        buf_append_str(&error, is_stream ? "{\"error\":" : "");
        error_json(&error, gateway->status, buf_cstr(&gateway->error));
        buf_append_str(&error, is_stream ? "}\n" : "");
    }
    gateway->carrier->end(gateway, gateway->status, buf_slice(&error));
    buf_fini(&error);
}

/* Not for the client to see: the end waits until no function of grpc_local.h is active, and until
 * the pool has given back what it reads. */
static void settle(struct gateway *gateway)
{
    if (gateway->has_ended && !gateway->is_busy && gateway->decode == NULL) {
        finish(gateway);
    }
}

static void on_end(void *ctx, enum grpc_status status, const char *text)
{
    struct gateway *gateway = ctx;
    gateway->call = NULL;
    gateway->has_ended = true;
    gateway->status = status;
    buf_append_str(&gateway->error, text);
    settle(gateway);
}

static bool is_writable(void *ctx)
{
    struct gateway *gateway = ctx;
    return http_reply_writable(gateway->request);
}

/* A large reply, as it is made. */
static void on_piece(void *ctx, struct slice bytes, bool is_last)
{
    struct gateway *gateway = ctx;
    buf_reset(&gateway->line);
    pbjson_pieces_add(&gateway->pieces, bytes, is_last, &gateway->line);
    gateway->carrier->piece(gateway, buf_slice(&gateway->line), is_last);
}

static const struct grpc_local_sink sink = {
    .message = on_message, .end = on_end, .writable = is_writable, .piece = on_piece};

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

/* ---- input -------------------------------------------------------------------------------------
 */

void gateway__fail(struct gateway *gateway, enum grpc_status status, const char *text)
{
    if (gateway->call != NULL) {
        grpc_local_cancel(gateway->call, GRPC_CANCELED);
        gateway->call = NULL;
    }
    gateway->has_input_ended = true;
    if (!gateway->has_ended) {
        gateway->has_ended = true;
        gateway->status = status;
        buf_append_str(&gateway->error, text);
    }
    settle(gateway);
}

/* The input makes no sense: before the first message that is the answer, and no line of a stream;
 * later only the end of what the client says, as in etcd. */
static void bad_input(struct gateway *gateway, const struct errbuf *why)
{
    gateway->has_input_ended = true;
    if (gateway->input_count == 0) {
        gateway->is_unread = true;
        gateway__fail(gateway, GRPC_INVALID_ARGUMENT, why->text);
    }
}

/* JSON to protobuf. Pure: on the loop for a small value, on the pool for a large one. */
static FALLIBLE translate(const struct gateway_row *row, struct slice text, struct arena *arena,
                          struct slice *out, struct errbuf *why)
{
    struct slice value = SLICE("{}");
    void *message = NULL;
    enum err err = gojson_next(&text, &value, why);
    if (err != ERR_OK && err != ERR_EOF) { /* an empty body is an empty message */
        return err;
    }
    TRY(pbjson_decode(arena, row->request, value, &message, why));
    *out = pb_encode_arena(message, arena);
    return ERR_OK;
}

static void translated(struct gateway *gateway, enum err err, struct slice message,
                       const struct errbuf *why)
{
    if (gateway->call == NULL) {
        return;
    }
    if (err != ERR_OK) {
        bad_input(gateway, why);
        return;
    }
    gateway->input_count++;
    grpc_local_send(gateway->call, message);
}

struct decode {
    struct job job;
    struct gateway *gateway;
    struct buf text;
    struct arena arena;
    struct slice message; /* in the arena */
    struct errbuf why;
    enum err err;
};

static bool pump(struct gateway *gateway);

static void decode_run(struct job *job)
{
    struct decode *decode = CONTAINER_OF(job, struct decode, job);
    decode->err = translate(decode->gateway->row, buf_slice(&decode->text), &decode->arena,
                            &decode->message, &decode->why);
}

static void decode_done(struct job *job)
{
    struct decode *decode = CONTAINER_OF(job, struct decode, job);
    struct gateway *gateway = decode->gateway;
    gateway->decode = NULL;
    gateway->is_busy = true;
    translated(gateway, decode->err, decode->message, &decode->why);
    gateway->is_busy = false;
    buf_fini(&decode->text);
    arena_fini(&decode->arena);
    mem_free(decode);
    pump(gateway);
}

/* One value, or a whole body that is to be one, to the call. Takes the text. */
static void send_text(struct gateway *gateway, struct buf *text)
{
    struct executor *pool = gateway->web->api->options.env->pool;
    struct decode *decode = NEW(struct decode);
    decode->job = (struct job){.run = decode_run, .done = decode_done};
    decode->gateway = gateway;
    decode->text = *text;
    *text = (struct buf){0};
    arena_init(&decode->arena);
    gateway->decode = decode;
    executor_submit(pool, &decode->job);
}

static void send_value(struct gateway *gateway, struct slice value)
{
    struct arena arena;
    struct slice message = SLICE_EMPTY;
    struct errbuf why = {{0}};
    if (value.len > INLINE_MAX) {
        struct buf text = {0};
        buf_append_slice(&text, value);
        send_text(gateway, &text);
        return;
    }
    arena_init(&arena);
    enum err err = translate(gateway->row, value, &arena, &message, &why);
    translated(gateway, err, message, &why);
    arena_fini(&arena);
}

/* The next value of the input, if it is whole. */
static bool take_value(struct gateway *gateway)
{
    bool takes_one = gateway->row->kind != GRPC_BIDI;
    struct errbuf why = {{0}};
    struct slice value = SLICE_EMPTY;
    struct slice text = slice_skip(buf_slice(&gateway->input), gateway->input_at);
    if (takes_one && gateway->is_last && text.len > INLINE_MAX) {
        gateway->has_input_ended = true;
        send_text(gateway, &gateway->input);
        return false;
    }
    enum err err = gojson_continue(&gateway->scan, &text, gateway->is_last, &value, &why);
    if (err == ERR_EOF && takes_one && gateway->is_last) {
        err = ERR_OK; /* with nothing */
    } else if (err == ERR_EOF) {
        gojson_init(&gateway->scan);
        gateway->input_at = gateway->input.len; /* blanks */
        return false;
    }
    if (err == ERR_AGAIN && !gateway->is_last) {
        return false;
    }
    gateway->input_at = gateway->input.len - text.len;
    if (err != ERR_OK) {
        bad_input(gateway, &why);
        return false;
    }
    gateway->has_input_ended = takes_one;
    send_value(gateway, value);
    return true;
}

/* Sends what can be sent in this turn. While something must wait, so does what the client still
 * says. False: the gateway is gone. */
static bool pump(struct gateway *gateway)
{
    unsigned left = VALUES_PER_TURN;
    gateway->is_busy = true;
    while (gateway->call != NULL && !gateway->has_input_ended && gateway->decode == NULL &&
           left > 0 && take_value(gateway)) {
        left--;
    }
    gateway->is_waiting = left == 0 && gateway->call != NULL;
    if (gateway->has_input_ended) {
        buf_reset(&gateway->input); /* nobody will look at it */
    } else {
        buf_consume(&gateway->input, gateway->input_at);
    }
    gateway->input_at = 0;
    bool is_held = gateway->is_waiting || gateway->decode != NULL;
    if (gateway->is_waiting) {
        loop_task_add(gateway->web->api->options.loop, LOOP_INPUT, &gateway->more);
    } else if (!is_held && gateway->input.len > INPUT_MAX) {
        gateway__fail(gateway, GRPC_RESOURCE_EXHAUSTED, "a value of the request is too large");
    }
    if (gateway->call != NULL && !is_held && !gateway->is_closed &&
        (gateway->is_last || gateway->has_input_ended)) {
        gateway->is_closed = true;
        grpc_local_close_send(gateway->call);
    }
    gateway->is_busy = false;
    if (gateway->has_ended) {
        bool is_kept = gateway->decode != NULL;
        settle(gateway);
        return is_kept;
    }
    http_input_pause(gateway->request, is_held);
    return true;
}

static void on_more(struct task *task)
{
    struct gateway *gateway = CONTAINER_OF(task, struct gateway, more);
    gateway->is_waiting = false;
    pump(gateway);
}

bool gateway__input(struct gateway *gateway, struct slice text, bool is_last)
{
    gateway->is_last = is_last;
    if (!gateway->has_input_ended) {
        buf_append_slice(&gateway->input, text);
    }
    return gateway->is_waiting || gateway->decode != NULL || pump(gateway);
}

static void on_body(struct http_request *request, struct slice bytes, bool is_last, void *ctx)
{
    UNUSED(request);
    gateway__input(ctx, bytes, is_last);
}

void gateway__init(struct gateway *gateway, const struct web *web, struct http_request *request,
                   const struct gateway_row *row, const struct gateway_carrier *carrier)
{
    *gateway = (struct gateway){.request = request, .web = web, .row = row, .carrier = carrier};
    gojson_init(&gateway->scan);
    task_init(&gateway->more, on_more);
    pbjson_pieces_init(&gateway->pieces, row->response);
}

void gateway__event(struct http_request *request, bool gone, void *ctx)
{
    struct gateway *gateway = ctx;
    UNUSED(request);
    if (gone) {
        gateway__fail(gateway, GRPC_CANCELED, "context canceled");
    } else if (gateway->call != NULL) {
        gateway->is_busy = true;
        grpc_local_writable(gateway->call);
        gateway->is_busy = false;
        settle(gateway);
    }
}

/* ---- requests ----------------------------------------------------------------------------------
 */

bool gateway_takes(struct slice path)
{
    return slice_starts(path, SLICE("/v3/"));
}

bool gateway_is_early(const struct web *web, struct http_request *request)
{
    if (!web->is_client || !web->api->config->enable_grpc_gateway || gateway__is_upgrade(request) ||
        !slice_eq_str(http_method(request), "POST")) {
        return false;
    }
    const struct gateway_row *row = gateway__find(web__path(web, request));
    return row != NULL && row->kind == GRPC_BIDI;
}

void gateway_serve(const struct web *web, struct http_request *request)
{
    const struct gateway_row *row = gateway__find(web__path(web, request));
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
    gateway__init(gateway, web, request, row, &http_carrier);
    http_on_gone(request, gateway__event, gateway);
    http_on_body(request, on_body, gateway);
    if (gateway__open(gateway)) {
        gateway__input(gateway, http_body(request), !http_body_is_open(request));
    }
}
