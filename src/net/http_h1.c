/* HTTP/1 connections: one request at a time, answers in the order of the questions.
 *
 * What is pipelined behind a request, or behind answers that do not leave, waits in `pending`; when
 * that is full, nothing is read. The
 * end of the peer's input does not end the request in progress: it is answered, then the
 * connection is closed. */
#include "base/mem.h"
#include "net/http_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define HEAD_MAX ((size_t)1024 * 1024) /* as Go's DefaultMaxHeaderBytes */
#define FIELDS_MAX 256
#define PENDING_MAX ((size_t)64 * 1024)
#define STREAM_HIGH ((size_t)256 * 1024)
#define STREAM_LOW ((size_t)64 * 1024)
#define REPLY_FIELDS_MAX 64

struct http_request {
    struct http_server *server;
    struct http_conn *conn; /* NULL once the connection is gone */
    const struct http1_request *parsed;
    struct arena arena;
    struct slice method;
    struct slice target;
    struct slice body;
    const struct http1_field *fields;
    size_t field_count;
    char peer[160];
    void *data;
    http_event_fn *on_event;
    http_input_fn *on_input; /* upgraded: the connection is this request's */
    void *event_ctx;
    http_body_fn *on_body;
    void *body_ctx;
    bool is_open;         /* the body is not whole yet */
    bool is_input_paused; /* it waits in `pending` */
    bool is_gone;
    bool gone_told;
    bool has_begun;  /* http_reply_begin() */
    bool is_chunked; /* else until close */
    bool wants_writable;
    bool keep_alive;
    bool is_head;
    bool is_old; /* HTTP/1.0 */
};

static void timer_in(struct http_conn *conn, uint64_t ns)
{
    if (ns == UINT64_MAX) {
        timer_stop(conn->server->loop, &conn->timer);
    } else {
        timer_start(conn->server->loop, &conn->timer, loop_now(conn->server->loop) + ns);
    }
}

static bool is_over(const struct http_conn *conn)
{
    return conn->stream.is_dead || conn->stream.is_finishing;
}

/* ---- requests ----------------------------------------------------------------------------------
 */

static struct http_request *request_new(struct http_conn *conn)
{
    const struct http1_request *parsed = http1_request(conn->http1);
    struct http_request *request = NEW(struct http_request);
    request->server = conn->server;
    request->conn = conn;
    request->parsed = parsed;
    arena_init(&request->arena);
    request->method = parsed->method;
    request->target = parsed->target;
    request->body = parsed->body;
    request->fields = parsed->fields;
    request->field_count = parsed->field_count;
    request->keep_alive = parsed->keep_alive;
    request->is_head = parsed->is_head;
    request->is_old = parsed->minor == 0;
    memcpy(request->peer, conn->peer, sizeof(request->peer));
    conn->request = request;
    conn->server->requests_live++;
    return request;
}

/* The parser's memory goes with the connection: keeps what the handler may still look at. */
static void request_detach(struct http_request *request)
{
    struct arena *arena = &request->arena;
    struct http1_field *fields = arena_alloc(arena, request->field_count * sizeof(*fields) + 1);
    for (size_t i = 0; i < request->field_count; i++) {
        const struct http1_field *field = &request->fields[i];
        fields[i].name =
            slice_of(arena_dup(arena, field->name.data, field->name.len), field->name.len);
        fields[i].value =
            slice_of(arena_dup(arena, field->value.data, field->value.len), field->value.len);
    }
    request->fields = fields;
    request->target =
        slice_of(arena_dup(arena, request->target.data, request->target.len), request->target.len);
    request->body =
        slice_of(arena_dup(arena, request->body.data, request->body.len), request->body.len);
    request->parsed = NULL;
    request->conn = NULL;
}

static void tell_gone(struct http_request *request)
{
    request->is_gone = true;
    if (request->on_event != NULL && !request->gone_told) {
        request->gone_told = true;
        request->on_event(request, true, request->event_ctx);
    }
}

static void request_free(struct http_request *request)
{
    struct http_server *server = request->server;
    ASSERT(server->requests_live > 0);
    server->requests_live--;
    arena_fini(&request->arena);
    mem_free(request);
    http__stop_check(server);
}

/* The reply is complete: on to the next request, or to the end of the connection. */
static void request_done(struct http_request *request)
{
    struct http_conn *conn = request->conn;
    bool keep_alive = request->keep_alive && !request->is_open;
    request_free(request);
    if (conn == NULL) {
        return;
    }
    conn->request = NULL;
    if (conn->stream.is_dead) {
        return;
    }
    stream_touch(&conn->stream);
    bool is_last = conn->stream.at_eof && conn->pending.len == 0 && !conn->is_parsing;
    if (!keep_alive || conn->is_stopping || is_last) {
        http__conn_finish(conn);
        return;
    }
    http1_next(conn->http1);
    conn->was_asked = false;
    timer_in(conn, conn->server->options.idle_timeout_ns);
    /* What waited is parsed from the output phase, not from inside the handler's reply. */
    stream_pause(&conn->stream, false);
}

/* ---- parsing ---------------------------------------------------------------------------- */

static void refuse(struct http_conn *conn)
{
    struct slice answer = http1_refusal(conn->http1);
    outq_append(&conn->stream.out, answer.data, answer.len);
    http__conn_finish(conn);
}

static void hold(struct http_conn *conn, struct slice in)
{
    buf_append_slice(&conn->pending, in);
    if (conn->pending.len >= PENDING_MAX) {
        stream_pause(&conn->stream, true);
    }
}

static void update_timer(struct http_conn *conn, bool was_idle)
{
    if (http1_is_idle(conn->http1)) {
        return;
    }
    if (was_idle) {
        timer_in(conn, conn->server->options.head_timeout_ns);
    } else if (http1_has_head(conn->http1)) {
        timer_in(conn, BODY_TIMEOUT_NS);
    }
}

/* Gives a request to its handler before its body is here, if that is what the handler takes. */
static void start_early(struct http_conn *conn)
{
    const struct http_options *options = &conn->server->options;
    if (options->is_early == NULL || conn->was_asked || !http1_has_head(conn->http1)) {
        return;
    }
    conn->was_asked = true;
    struct http_request *request = request_new(conn);
    if (!options->is_early(request, options->ctx)) {
        conn->request = NULL;
        request_free(request);
        return;
    }
    request->is_open = true;
    request->body = http1_body(conn->http1);
    options->on_request(request, options->ctx);
    if (conn->request != NULL) {
        conn->request->body = SLICE_EMPTY;
        http1_body_drop(conn->http1);
    }
}

/* The body makes no sense, and so nothing behind it does. What was answered leaves; the answer has
 * no proper end. */
static void break_off(struct http_conn *conn)
{
    struct http_request *request = conn->request;
    bool has_begun = request->has_begun;
    conn->request = NULL;
    request_detach(request);
    tell_gone(request);
    if (has_begun) {
        http__conn_finish(conn);
    } else {
        refuse(conn);
    }
}

/* More of the body of the request in progress. Its pieces may come as slowly as they like once the
 * answer has begun: it may be this answer that the client waits for. */
static void body_input(struct http_conn *conn, struct slice in)
{
    struct http_request *request = conn->request;
    enum err err = http1_feed(conn->http1, &in);
    if (err == ERR_INVALID) {
        break_off(conn);
        return;
    }
    request->is_open = err == ERR_AGAIN;
    if (request->is_open && !request->has_begun) {
        timer_in(conn, BODY_TIMEOUT_NS);
    } else {
        timer_stop(conn->server->loop, &conn->timer);
    }
    struct slice bytes = http1_body(conn->http1);
    if (request->on_body != NULL && (bytes.len > 0 || !request->is_open)) {
        request->on_body(request, bytes, !request->is_open, request->body_ctx);
    }
    if (conn->request != NULL) {
        http1_body_drop(conn->http1);
    }
    if (in.len > 0 && !is_over(conn)) {
        hold(conn, in);
    }
}

static void parse(struct http_conn *conn, struct slice in)
{
    while (in.len > 0 && conn->request == NULL && !is_over(conn) &&
           conn->stream.out.len < STREAM_HIGH) {
        bool was_idle = http1_is_idle(conn->http1);
        enum err err = http1_feed(conn->http1, &in);
        if (err == ERR_AGAIN) {
            update_timer(conn, was_idle);
            if (http1_wants_continue(conn->http1)) {
                outq_append(&conn->stream.out, HTTP1_CONTINUE, sizeof(HTTP1_CONTINUE) - 1);
                stream_touch(&conn->stream);
            }
            start_early(conn);
            return;
        }
        if (err != ERR_OK) {
            refuse(conn);
            return;
        }
        timer_stop(conn->server->loop, &conn->timer);
        struct http_request *request = request_new(conn);
        conn->server->options.on_request(request, conn->server->options.ctx);
    }
    if (in.len > 0 && !is_over(conn)) {
        hold(conn, in);
    }
}

void http__h1_start(struct http_conn *conn)
{
    struct http1_limits limits = {
        .head_max = HEAD_MAX,
        .field_max = FIELDS_MAX,
        .body_max = conn->server->options.http_body_max,
    };
    conn->http1 = http1_new(&limits);
}

void http__h1_input(struct http_conn *conn, struct slice bytes)
{
    if (is_over(conn) || bytes.len == 0) {
        return;
    }
    struct http_request *request = conn->request;
    bool must_wait = conn->pending.len > 0 || (request != NULL && request->is_input_paused);
    if (request != NULL && request->on_input != NULL && !must_wait) {
        request->on_input(request, bytes, request->event_ctx);
    } else if (request != NULL && request->is_open && !must_wait) {
        body_input(conn, bytes);
    } else if (request != NULL || must_wait) {
        hold(conn, bytes);
    } else {
        parse(conn, bytes);
    }
}

/* Whether something is pipelined that may come up, as soon as there is room for its answer. */
static bool has_pending(const struct http_conn *conn)
{
    const struct http_request *request = conn->request;
    bool is_waiting = request == NULL || request->on_input != NULL || request->is_open;
    is_waiting = is_waiting && (request == NULL || !request->is_input_paused);
    return is_waiting && conn->pending.len > 0 && !is_over(conn);
}

/* The output phase: what was pipelined comes up, and writers hear that there is room. */
bool http__h1_room(struct http_conn *conn)
{
    struct http_request *request = conn->request;
    if (request != NULL && request->wants_writable && conn->stream.out.len <= STREAM_LOW) {
        request->wants_writable = false;
        if (request->on_event != NULL) {
            request->on_event(request, false, request->event_ctx);
        }
    }
    if (has_pending(conn) && conn->stream.out.len < STREAM_HIGH) {
        struct buf pending = conn->pending;
        conn->pending = (struct buf){0};
        conn->is_parsing = true;
        http__h1_input(conn, buf_slice(&pending));
        conn->is_parsing = false;
        buf_fini(&pending);
        if (conn->pending.len < PENDING_MAX) {
            stream_pause(&conn->stream, false); /* a body that goes on needs more */
        }
        if (conn->stream.at_eof && conn->request == NULL && conn->pending.len == 0 &&
            !is_over(conn)) {
            http__conn_finish(conn);
        }
    }
    return (conn->request != NULL && conn->request->wants_writable) || has_pending(conn);
}

/* The peer's end. */
void http__h1_lost(struct http_conn *conn)
{
    if (conn->request == NULL && conn->pending.len == 0) {
        http__conn_finish(conn);
    } else if (conn->request != NULL) {
        tell_gone(conn->request);
    }
}

void http__h1_gone(struct http_conn *conn)
{
    struct http_request *request = conn->request;
    conn->request = NULL;
    if (request != NULL) {
        request_detach(request);
        tell_gone(request);
    }
}

void http__h1_stop(struct http_conn *conn)
{
    if (conn->request == NULL && !is_over(conn)) {
        http__conn_finish(conn);
    }
}

/* ---- observers -------------------------------------------------------------------------- */

struct slice http_method(const struct http_request *request)
{
    return request->method;
}

struct slice http_target(const struct http_request *request)
{
    return request->target;
}

/* RFC 9112 section 3.2.2: a server accepts the absolute form as well, though only proxies get it.
 */
static struct slice without_authority(struct slice target)
{
    static const char scheme[] = "http://";
    size_t len = sizeof(scheme) - 1;
    if (target.len < len || strncasecmp((const char *)target.data, scheme, len) != 0) {
        return target;
    }
    while (len < target.len && target.data[len] != '/' && target.data[len] != '?') {
        len++;
    }
    return slice_skip(target, len);
}

struct slice http_path(const struct http_request *request)
{
    struct slice path;
    struct slice rest = without_authority(request->target);
    slice_split(rest, '?', &path);
    return path.len == 0 && rest.len < request->target.len ? SLICE("/") : path;
}

struct slice http_query(const struct http_request *request)
{
    struct slice path;
    return slice_split(without_authority(request->target), '?', &path);
}

struct slice http_body(const struct http_request *request)
{
    return request->body;
}

bool http_body_is_open(const struct http_request *request)
{
    return request->is_open;
}

void http_on_body(struct http_request *request, http_body_fn *on_body, void *ctx)
{
    request->on_body = on_body;
    request->body_ctx = ctx;
}

bool http_is_old(const struct http_request *request)
{
    return request->is_old;
}

void http_input_pause(struct http_request *request, bool paused)
{
    request->is_input_paused = paused;
    if (!paused && request->conn != NULL) {
        stream_touch(&request->conn->stream); /* what waited is looked at in the output phase */
    }
}

const char *http_peer(const struct http_request *request)
{
    return request->peer;
}

bool http_header(const struct http_request *request, const char *name, struct slice *out)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < request->field_count; i++) {
        const struct http1_field *field = &request->fields[i];
        if (field->name.len == len && strncasecmp((const char *)field->name.data, name, len) == 0) {
            *out = field->value;
            return true;
        }
    }
    return false;
}

bool http_field_at(const struct http_request *request, size_t index, struct slice *name_out,
                   struct slice *value_out)
{
    if (index >= request->field_count) {
        return false;
    }
    *name_out = request->fields[index].name;
    *value_out = request->fields[index].value;
    return true;
}

struct arena *http_arena(struct http_request *request)
{
    return &request->arena;
}

bool http_canceled(const struct http_request *request)
{
    return request->is_gone;
}

struct http_server *http_request_server(const struct http_request *request)
{
    return request->server;
}

void http_set_data(struct http_request *request, void *data)
{
    request->data = data;
}

void *http_data(const struct http_request *request)
{
    return request->data;
}

void http_on_gone(struct http_request *request, http_event_fn *on_event, void *ctx)
{
    request->on_event = on_event;
    request->event_ctx = ctx;
}

const char *http_status_text(unsigned status)
{
    return http1_status_text(status);
}

/* ---- replies ---------------------------------------------------------------------------- */

/* Go writes the fields of a handler sorted by name, then its own. */
static int by_name(const void *a, const void *b)
{
    return slice_cmp(((const struct http1_field *)a)->name, ((const struct http1_field *)b)->name);
}

static const char *connection_text(struct http_request *request, enum http1_framing framing)
{
    bool can_stay = request->keep_alive && framing != HTTP1_CLOSE && request->conn != NULL &&
                    !request->conn->is_stopping;
    if (!can_stay) {
        bool was_asked = request->keep_alive || !request->is_old;
        request->keep_alive = false;
        /* HTTP/1.0 without "keep-alive" expects the end: Go does not announce it. */
        return was_asked ? "close" : NULL;
    }
    return request->is_old ? "keep-alive" : NULL;
}

static void head_write(struct http_request *request, unsigned status,
                       const struct http_field *fields, size_t count, enum http1_framing framing,
                       uint64_t body_len)
{
    struct http1_field sorted[REPLY_FIELDS_MAX];
    ASSERT(count <= REPLY_FIELDS_MAX);
    for (size_t i = 0; i < count; i++) {
        sorted[i] = (struct http1_field){.name = fields[i].name, .value = fields[i].value};
    }
    qsort(sorted, count, sizeof(sorted[0]), by_name);
    struct http1_response response = {
        .status = status,
        .fields = sorted,
        .field_count = count,
        .framing = framing,
        .body_len = body_len,
        .is_old = request->is_old,
        .date_sec = env_now_wall(request->server->env) / (int64_t)NS_PER_SEC,
        .connection = connection_text(request, framing),
    };
    struct buf head = {0};
    http1_response_head(&head, &response);
    outq_append(&request->conn->stream.out, head.data, head.len);
    buf_fini(&head);
    stream_touch(&request->conn->stream);
}

static bool has_no_body(unsigned status)
{
    return status < 200 || status == 204 || status == 304;
}

static bool can_write(const struct http_request *request)
{
    return request->conn != NULL && !request->conn->stream.is_dead;
}

void http_reply(struct http_request *request, unsigned status, const struct http_field *fields,
                size_t field_count, struct slice body)
{
    ASSERT(!request->has_begun);
    ASSERT(status >= 200 && status <= 999);
    request->keep_alive = request->keep_alive && !request->is_open;
    if (can_write(request)) {
        enum http1_framing framing = has_no_body(status) ? HTTP1_NONE : HTTP1_LENGTH;
        head_write(request, status, fields, field_count, framing, body.len);
        if (framing == HTTP1_LENGTH && !request->is_head) {
            outq_append(&request->conn->stream.out, body.data, body.len);
        }
    }
    request_done(request);
}

void http_reply_error(struct http_request *request, unsigned status, const char *text)
{
    struct http_field fields[] = {
        {SLICE("Content-Type"), SLICE("text/plain; charset=utf-8")},
        {SLICE("X-Content-Type-Options"), SLICE("nosniff")},
    };
    char *body = arena_printf(&request->arena, "%s\n", text);
    http_reply(request, status, fields, ARRAY_LEN(fields), slice_str(body));
}

void http_reply_begin(struct http_request *request, unsigned status,
                      const struct http_field *fields, size_t field_count, http_event_fn *on_event,
                      void *ctx)
{
    ASSERT(!request->has_begun);
    request->has_begun = true;
    request->on_event = on_event;
    request->event_ctx = ctx;
    if (can_write(request)) {
        timer_stop(request->server->loop, &request->conn->timer); /* of an open body */
        enum http1_framing framing = has_no_body(status) ? HTTP1_NONE
                                     : request->is_old   ? HTTP1_CLOSE
                                                         : HTTP1_CHUNKED;
        request->is_chunked = framing == HTTP1_CHUNKED && !request->is_head;
        request->is_head = request->is_head || framing == HTTP1_NONE;
        head_write(request, status, fields, field_count, framing, 0);
    }
}

void http_reply_upgrade(struct http_request *request, const struct http_field *fields,
                        size_t field_count, http_input_fn *on_input, http_event_fn *on_event,
                        void *ctx)
{
    ASSERT(!request->is_old);
    http_reply_begin(request, 101, fields, field_count, on_event, ctx);
    request->is_head = false;
    request->keep_alive = false; /* its end is the connection's */
    request->on_input = on_input;
    if (request->conn != NULL) {
        stream_pause(&request->conn->stream, false); /* what came early may have paused it */
    }
}

void http_reply_write(struct http_request *request, struct slice data)
{
    ASSERT(request->has_begun);
    if (!can_write(request) || data.len == 0 || request->is_head) {
        return;
    }
    struct outq *out = &request->conn->stream.out;
    if (request->is_chunked) {
        struct buf head = {0};
        http1_chunk_head(&head, data.len);
        outq_append(out, head.data, head.len);
        buf_fini(&head);
    }
    outq_append(out, data.data, data.len);
    if (request->is_chunked) {
        outq_append(out, "\r\n", 2);
    }
    stream_touch(&request->conn->stream);
}

bool http_reply_writable(struct http_request *request)
{
    if (!can_write(request)) {
        return true;
    }
    bool writable = request->conn->stream.out.len < STREAM_HIGH;
    request->wants_writable = !writable;
    return writable;
}

void http_reply_end(struct http_request *request)
{
    ASSERT(request->has_begun);
    if (can_write(request) && request->is_chunked) {
        outq_append(&request->conn->stream.out, HTTP1_LAST_CHUNK, sizeof(HTTP1_LAST_CHUNK) - 1);
    }
    request_done(request);
}

void http_reply_abort(struct http_request *request)
{
    ASSERT(request->has_begun);
    request->keep_alive = false;
    request_done(request);
}
