/* The receiving half of a call: header fields, the order of refusals, messages, half-close.
 *
 * Which refusal comes first, and every text, is grpc-go's (internal/transport's server and
 * server.go): reference rpc.md 0.2 lists them, test/grpc_wire_test.py pins them. */
#include "base/mem.h"
#include "codec/gzip.h"
#include "net/grpc_call_priv.h"

#include <stdio.h>

/* ---- fields ----------------------------------------------------------------------------- */

static struct slice keep(struct grpc_call *call, struct slice text)
{
    return slice_of(arena_dup(&call->arena, text.data, text.len), text.len);
}

/* As Go's %q prints it, for what can be in a header. */
static const char *quoted(struct grpc_call *call, struct slice text)
{
    struct buf out = {0};
    buf_append_byte(&out, '"');
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '"' || c == '\\') {
            buf_append_byte(&out, '\\');
            buf_append_byte(&out, c);
        } else if (c == '\t') {
            buf_append_str(&out, "\\t");
        } else if (c < 0x20 || c >= 0x7f) {
            buf_printf(&out, "\\x%02x", c);
        } else {
            buf_append_byte(&out, c);
        }
    }
    buf_append_byte(&out, '"');
    char *copy = arena_strndup(&call->arena, (const char *)out.data, out.len);
    buf_fini(&out);
    return copy;
}

static void field_add(struct grpc_call *call, struct slice name, struct slice value)
{
    if (call->field_count == call->field_cap) {
        size_t cap = call->field_cap * 2;
        struct call_field *fields = mem_array(cap, sizeof(*fields));
        memcpy(fields, call->fields, call->field_count * sizeof(*fields));
        if (call->fields != call->fields_inline) {
            mem_free(call->fields);
        }
        call->fields = fields;
        call->field_cap = cap;
    }
    call->fields[call->field_count++] =
        (struct call_field){.name = keep(call, name), .value = value};
}

static void timeout_set(struct grpc_call *call, struct slice value)
{
    struct errbuf why;
    uint64_t ns;
    if (grpc_timeout_parse(value, &ns, &why) != ERR_OK) {
        call->head_error = arena_printf(&call->arena, "malformed grpc-timeout: %s", why.text);
        return;
    }
    call->deadline = call->started + ns;
}

static void metadata_add(struct grpc_call *call, struct slice name, struct slice value)
{
    if (!grpc_metadata_is_binary(name)) {
        field_add(call, name, keep(call, value));
        return;
    }
    struct slice bytes;
    if (grpc_metadata_decode(value, &call->arena, &bytes) != ERR_OK) {
        call->head_error = arena_printf(
            &call->arena,
            "malformed binary metadata %s in header \"%.*s\": illegal base64 data at input byte 0",
            quoted(call, value), (int)name.len, (const char *)name.data);
        return;
    }
    field_add(call, name, bytes);
}

static void on_content_type(struct grpc_call *call, struct slice value)
{
    struct slice subtype;
    if (grpc_content_type(value, &subtype)) {
        call->is_grpc = true;
        call->subtype = keep(call, subtype);
    } else {
        call->bad_type = keep(call, value);
    }
}

static void on_field(void *stream, struct slice name, struct slice value)
{
    struct grpc_call *call = stream;
    if (call->stage != CALL_HEADERS) {
        return; /* trailers: nothing in them matters */
    }
    if (name.data[0] == ':') {
        if (slice_eq_str(name, ":path")) {
            call->path = keep(call, value);
        } else if (slice_eq_str(name, ":method")) {
            if (!slice_eq_str(value, "POST")) {
                call->bad_method = keep(call, value);
            }
        } else if (slice_eq_str(name, ":authority")) {
            field_add(call, name, keep(call, value));
        }
    } else if (slice_eq_str(name, "content-type")) {
        on_content_type(call, value);
    } else if (slice_eq_str(name, "grpc-timeout")) {
        timeout_set(call, value);
    } else if (slice_eq_str(name, "grpc-encoding")) {
        call->encoding = keep(call, value);
    } else if (slice_eq_str(name, "user-agent") || !grpc_metadata_is_reserved(name)) {
        metadata_add(call, name, value);
    }
}

/* ---- heads that come again ---------------------------------------------------------------- */

static size_t head_text_len(const struct grpc_call *call)
{
    size_t len = call->path.len + call->subtype.len + call->encoding.len;
    for (size_t i = 0; i < call->field_count; i++) {
        len += call->fields[i].name.len + call->fields[i].value.len;
    }
    return len;
}

static struct slice head_text(uint8_t **next, struct slice text)
{
    uint8_t *at = *next;
    if (text.len > 0) {
        memcpy(at, text.data, text.len);
    }
    *next += text.len;
    return slice_of(at, text.len);
}

/* Only of a request that is in order: every refusal is found anew. */
static void *on_keep(void *stream)
{
    struct grpc_call *call = stream;
    if (call->stage != CALL_OPEN || call->head != NULL) {
        return NULL;
    }
    size_t fields_len = call->field_count * sizeof(struct call_field);
    struct grpc_head *head = mem_alloc(sizeof(*head) + fields_len + head_text_len(call));
    uint8_t *next = (uint8_t *)head->fields + fields_len;
    *head = (struct grpc_head){
        .refs = 1,
        .method = call->method,
        .timeout_ns = call->deadline == UINT64_MAX ? UINT64_MAX : call->deadline - call->started,
        .field_count = call->field_count,
    };
    head->path = head_text(&next, call->path);
    head->subtype = head_text(&next, call->subtype);
    head->encoding = head_text(&next, call->encoding);
    for (size_t i = 0; i < call->field_count; i++) {
        head->fields[i].name = head_text(&next, call->fields[i].name);
        head->fields[i].value = head_text(&next, call->fields[i].value);
    }
    return head;
}

static void head_use(struct grpc_call *call, struct grpc_head *head)
{
    head->refs++;
    call->head = head;
    call->method = head->method;
    call->path = head->path;
    call->subtype = head->subtype;
    call->encoding = head->encoding;
    call->is_grpc = true;
    call->fields = head->fields;
    call->field_count = head->field_count;
    call->field_cap = 0;
    if (head->timeout_ns != UINT64_MAX) {
        call->deadline = call->started + head->timeout_ns;
    }
}

void grpc_call__head_unref(struct grpc_head *head)
{
    if (head != NULL) {
        ASSERT(head->refs > 0);
        head->refs--;
        if (head->refs == 0) {
            mem_free(head);
        }
    }
}

static void on_drop(void *kept)
{
    grpc_call__head_unref(kept);
}

/* ---- refusals --------------------------------------------------------------------------- */

__attribute__((format(printf, 4, 5))) static void refuse(struct grpc_call *call,
                                                         unsigned http_status,
                                                         enum grpc_status status,
                                                         const char *format, ...)
{
    struct buf text = {0};
    va_list args;
    va_start(args, format);
    char line[512];
    int len = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    ASSERT(len >= 0);
    if ((size_t)len < sizeof(line)) {
        buf_append_str(&text, line);
    } else {
        va_start(args, format);
        vsnprintf((char *)buf_extend(&text, (size_t)len + 1), (size_t)len + 1, format, args);
        va_end(args);
    }
    if (http_status == 0) {
        grpc_call__abort(call, status, buf_cstr(&text));
    } else {
        grpc_call__refuse(call, http_status, status, buf_cstr(&text));
    }
    buf_fini(&text);
}

/* The path has no method: says which part of it is unknown. */
static void refuse_path(struct grpc_call *call)
{
    struct slice path = call->path;
    size_t slash = path.len;
    while (slash > 1 && path.data[slash - 1] != '/') {
        slash--;
    }
    if (path.len == 0 || path.data[0] != '/' || slash <= 1) {
        refuse(call, 200, GRPC_UNIMPLEMENTED, "malformed method name: %s", quoted(call, path));
        return;
    }
    struct slice service = slice_of(path.data + 1, slash - 2);
    struct slice method = slice_skip(path, slash);
    for (size_t i = 0; i < call->server->service_count; i++) {
        if (slice_eq_str(service, call->server->services[i]->name)) {
            refuse(call, 200, GRPC_UNIMPLEMENTED, "unknown method %.*s for service %.*s",
                   (int)method.len, (const char *)method.data, (int)service.len,
                   (const char *)service.data);
            return;
        }
    }
    refuse(call, 200, GRPC_UNIMPLEMENTED, "unknown service %.*s", (int)service.len,
           (const char *)service.data);
}

static bool is_expired(const struct grpc_call *call)
{
    return call->deadline != UINT64_MAX && env_now_mono(call->server->env) >= call->deadline;
}

static void handler_take(struct grpc_call *call)
{
    ASSERT(!call->has_handler);
    call->has_handler = true;
    outq_owner_ref(&call->owner);
}

static bool is_streaming_in(const struct grpc_call *call)
{
    return call->method->kind == GRPC_CLIENT_STREAM || call->method->kind == GRPC_BIDI;
}

static bool encoding_check(struct grpc_call *call)
{
    if (call->encoding.len == 0 || slice_eq_str(call->encoding, "identity")) {
        return true;
    }
    if (slice_eq_str(call->encoding, "gzip")) {
        call->is_gzip = true;
        return true;
    }
    refuse(call, 200, GRPC_UNIMPLEMENTED,
           "grpc: Decompressor is not installed for grpc-encoding %s",
           quoted(call, call->encoding));
    return false;
}

void grpc_call__begin(struct grpc_call *call)
{
    call->stage = CALL_OPEN;
    if (call->deadline != UINT64_MAX) {
        timer_start(call->server->loop, &call->timer, call->deadline);
    }
    if (is_streaming_in(call)) {
        handler_take(call);
        if (call->method->handler->start != NULL) {
            call->method->handler->start(call);
        }
    }
}

/* The header block is whole: refuses, or opens. */
static void on_headers(void *stream, bool is_trailers)
{
    struct grpc_call *call = stream;
    if (is_trailers || call->stage != CALL_HEADERS) {
        return;
    }
    if (!call->is_grpc) {
        refuse(call, 415, GRPC_INVALID_ARGUMENT, "invalid gRPC request content-type %s",
               quoted(call, call->bad_type));
        return;
    }
    if (call->head_error != NULL) {
        refuse(call, 400, GRPC_INTERNAL, "%s", call->head_error);
        return;
    }
    if (call->bad_method.len > 0) {
        refuse(call, 405, GRPC_INTERNAL,
               "Received a HEADERS frame with :method %s which should be POST",
               quoted(call, call->bad_method));
        return;
    }
    if (is_expired(call)) {
        grpc_call__reset(call, H2_CANCEL, GRPC_DEADLINE_EXCEEDED);
        return;
    }
    if (call->head == NULL) {
        call->method = http__method_find(call->server, call->path);
    }
    if (call->method == NULL) {
        refuse_path(call);
        return;
    }
    if (encoding_check(call)) {
        grpc_call__begin(call);
    }
}

/* ---- messages --------------------------------------------------------------------------- */

/* False: refused. */
static bool inflate_message(struct grpc_call *call, struct grpc_frame *frame)
{
    uint32_t limit = call->server->options.grpc_message_max;
    if (!call->is_gzip) {
        refuse(call, 0, GRPC_INTERNAL, "grpc: compressed flag set with identity or empty encoding");
        return false;
    }
    buf_reset(&call->inflated);
    enum err err = gzip_decode(frame->data, limit, &call->inflated);
    if (err == ERR_TOO_LARGE) {
        refuse(call, 0, GRPC_RESOURCE_EXHAUSTED,
               "grpc: received message after decompression larger than max %u", limit);
        return false;
    }
    if (err != ERR_OK) {
        refuse(call, 0, GRPC_INTERNAL, "grpc: failed to decompress the message: %s",
               err == ERR_EOF ? "unexpected EOF" : "gzip: invalid header");
        return false;
    }
    frame->data = buf_slice(&call->inflated);
    return true;
}

static bool lies_in(struct slice part, const struct buf *buf)
{
    return buf->data != NULL && part.data >= buf->data && part.data <= buf->data + buf->cap;
}

static bool may_run(const struct http_conn *conn)
{
    return conn->running_count < conn->server->options.running_max &&
           conn->queued < CONN_QUEUED_MAX;
}

/* Hands a unary call's one message to its handler. */
static void message_run(struct grpc_call *call, struct slice message)
{
    if (is_expired(call)) {
        grpc_call__reset(call, H2_CANCEL, GRPC_DEADLINE_EXCEEDED);
        return;
    }
    if (call->method->kind == GRPC_UNARY) {
        grpc_call__run_begin(call);
    }
    handler_take(call);
    call->method->handler->message(call, message);
}

static void wait_arm(struct http_conn *conn)
{
    if (!list_empty(&conn->waiting) && !list_empty(&conn->running) &&
        !timer_running(&conn->wait_timer)) {
        struct grpc_call *first = CONTAINER_OF(conn->running.next, struct grpc_call, run_link);
        timer_start(conn->server->loop, &conn->wait_timer, first->ran_at + CALL_PATIENCE_NS);
    }
}

void grpc_call__on_wait_task(struct task *task)
{
    struct http_conn *conn = CONTAINER_OF(task, struct http_conn, wait_task);
    while (!conn->stream.is_dead && may_run(conn) && !list_empty(&conn->waiting)) {
        struct grpc_call *call =
            CONTAINER_OF(list_pop(&conn->waiting), struct grpc_call, wait_link);
        message_run(call, call->wait_message);
    }
    if (!conn->stream.is_dead) {
        wait_arm(conn);
    }
}

/* Those that have run for long do not count any more; the others will be looked at in time. */
void grpc_call__on_wait_timer(struct timer *timer)
{
    struct http_conn *conn = CONTAINER_OF(timer, struct http_conn, wait_timer);
    mono_ns now = loop_now(conn->server->loop);
    while (!list_empty(&conn->running)) {
        struct grpc_call *call = CONTAINER_OF(conn->running.next, struct grpc_call, run_link);
        if (call->ran_at + CALL_PATIENCE_NS > now) {
            break;
        }
        grpc_call__run_end(call);
    }
    wait_arm(conn);
}

void grpc_call__wake(struct http_conn *conn)
{
    if (!list_empty(&conn->waiting) && may_run(conn)) {
        loop_task_add(conn->server->loop, LOOP_INPUT, &conn->wait_task);
    }
}

static void on_message(struct grpc_call *call, struct grpc_frame frame)
{
    if (frame.compressed && !inflate_message(call, &frame)) {
        return;
    }
    if (is_streaming_in(call)) {
        if (call->has_handler && !call->is_canceled) {
            call->method->handler->message(call, frame.data);
        }
        return;
    }
    /* One message, which must live as long as the call. */
    struct slice message = frame.data;
    if (!lies_in(message, &call->deframer.partial) && !lies_in(message, &call->inflated)) {
        message = keep(call, message);
    }
    call->has_message = true;
    struct http_conn *conn = call->conn;
    if (conn == NULL || (may_run(conn) && list_empty(&conn->waiting))) {
        message_run(call, message);
    } else {
        call->wait_message = message;
        list_add_tail(&conn->waiting, &call->wait_link);
        wait_arm(conn);
    }
}

static bool takes_input(const struct grpc_call *call)
{
    return call->stage == CALL_OPEN && !(call->has_message && !is_streaming_in(call)) &&
           !call->is_finished;
}

/* Hands over whole messages until the input, the pause or the call ends; returns the rest. */
static struct slice deliver(struct grpc_call *call, struct slice in)
{
    while (takes_input(call) && !call->is_paused) {
        struct grpc_frame frame;
        enum err err = grpc_deframer_next(&call->deframer, &in, &frame);
        if (err == ERR_AGAIN) {
            break;
        }
        if (err == ERR_TOO_LARGE) {
            refuse(call, 0, GRPC_RESOURCE_EXHAUSTED,
                   "grpc: received message larger than max (%u vs. %u)", call->deframer.len,
                   call->deframer.limit);
            break;
        }
        if (err != ERR_OK) {
            refuse(call, 0, GRPC_INTERNAL, "grpc: received unexpected payload format %u",
                   call->deframer.prefix[0]);
            break;
        }
        on_message(call, frame);
    }
    return takes_input(call) ? in : SLICE_EMPTY;
}

/* The client has finished, and all it sent has been handed over. */
static void half_close(struct grpc_call *call)
{
    bool is_between = grpc_deframer_between(&call->deframer);
    if (is_streaming_in(call)) {
        if (!is_between) {
            refuse(call, 0, GRPC_INTERNAL, "unexpected EOF");
        } else if (call->has_handler && !call->is_canceled && !call->half_close_told) {
            call->half_close_told = true;
            if (call->method->handler->half_close != NULL) {
                call->method->handler->half_close(call);
            }
        }
        return;
    }
    enum grpc_status status =
        !is_between && call->method->kind == GRPC_SERVER_STREAM ? GRPC_INTERNAL : GRPC_UNKNOWN;
    refuse(call, 0, status, "%s", is_between ? "EOF" : "unexpected EOF");
}

/* A local call has no connection that others share: the limit is its own. */
static void held_update(struct grpc_call *call)
{
    size_t partial = call->deframer.delivered ? 0 : call->deframer.partial.len;
    uint64_t held = takes_input(call) ? partial + call->paused.len : 0;
    grpc_call__hold(call, held);
    if ((call->conn == NULL ? held : call->conn->held) > CONN_HELD_MAX && takes_input(call)) {
        refuse(call, 0, GRPC_RESOURCE_EXHAUSTED,
               "grpc: too many unfinished messages on this connection");
        grpc_call__hold(call, 0);
        grpc_deframer_reset(&call->deframer, 0);
    }
}

static bool on_data(void *stream, struct slice bytes)
{
    struct grpc_call *call = stream;
    if (!takes_input(call)) {
        return true;
    }
    bool was_paused = call->is_paused;
    struct slice rest = deliver(call, bytes);
    buf_append_slice(&call->paused, rest);
    held_update(call);
    if (was_paused && takes_input(call)) {
        call->unconsumed += bytes.len;
        return false;
    }
    return true;
}

static void on_end(void *stream)
{
    struct grpc_call *call = stream;
    call->is_half_closed = true;
    if (takes_input(call) && call->paused.len == 0 && !call->is_paused) {
        half_close(call);
    }
}

static void resume_input(struct grpc_call *call)
{
    struct buf paused = call->paused;
    call->paused = (struct buf){0};
    struct slice rest = deliver(call, buf_slice(&paused));
    buf_append_slice(&call->paused, rest);
    buf_fini(&paused);
    held_update(call);
    if (call->is_paused) {
        return;
    }
    if (call->conn != NULL && call->unconsumed > 0) {
        h2_consume(call->conn->h2, call->id, call->unconsumed);
        call->unconsumed = 0;
        stream_touch(&call->conn->stream);
    }
    if (call->is_half_closed && takes_input(call)) {
        half_close(call);
    }
}

void grpc_call__resume_input(struct grpc_call *call)
{
    outq_owner_ref(&call->owner); /* what is handed over may end it */
    resume_input(call);
    outq_owner_unref(&call->owner);
}

void grpc_call__input(struct grpc_call *call, struct slice bytes)
{
    on_data(call, bytes);
}

void grpc_call__input_end(struct grpc_call *call)
{
    on_end(call);
}

/* ---- the session's events --------------------------------------------------------------- */

static void *on_open(void *ctx, int32_t id)
{
    struct http_conn *conn = ctx;
    if (conn->call_count >= conn->server->options.streams_max ||
        conn->call_count >= CALLS_PER_CONN_MAX) {
        return NULL;
    }
    return grpc_call__open(conn, id);
}

static void *on_open_known(void *ctx, int32_t id, void *kept)
{
    struct grpc_call *call = on_open(ctx, id);
    if (call != NULL) {
        head_use(call, kept);
    }
    return call;
}

static void on_closed(void *stream, uint32_t code)
{
    UNUSED(code);
    grpc_call__gone(stream, GRPC_CANCELED);
}

/* The keepalive enforcement of grpc-go: a ping is a strike when it comes sooner than allowed after
 * the last one; without a stream, two hours are the least. Sending forgives. Two strikes pass. */
#define PING_STRIKES_MAX 2
#define PING_IDLE_NS (7200 * NS_PER_SEC)

static void on_ping(void *ctx, bool is_ack)
{
    struct http_conn *conn = ctx;
    if (is_ack) {
        conn->keepalive_out = false;
        if (conn->drain_out) {
            conn->drain_out = false;
            h2_shutdown(conn->h2);
        }
        return;
    }
    mono_ns now = loop_now(conn->server->loop);
    mono_ns last = conn->ping_at;
    conn->ping_at = now;
    if (conn->has_sent) {
        conn->has_sent = false;
        conn->ping_strikes = 0;
        return;
    }
    uint64_t least = conn->call_count == 0 ? PING_IDLE_NS : conn->server->options.ping_min_ns;
    if (last != 0 && now - last < least) {
        conn->ping_strikes++;
    }
    if (conn->ping_strikes > PING_STRIKES_MAX) {
        h2_terminate(conn->h2, H2_ENHANCE_YOUR_CALM, "too_many_pings");
    }
}

/* A client that leaves (GOAWAY) ends its streams itself. */
const struct h2_handler http__h2_handler = {
    .open = on_open,
    .field = on_field,
    .headers = on_headers,
    .data = on_data,
    .end = on_end,
    .closed = on_closed,
    .pull = grpc_call__pull,
    .write = grpc_call__write,
    .ping = on_ping,
    .keep = on_keep,
    .open_known = on_open_known,
    .drop = on_drop,
};
