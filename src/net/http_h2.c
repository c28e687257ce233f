/* An HTTP/2 connection: session, keepalive, graceful stop. Calls are in grpc_*.c. */
#include "net/http_priv.h"

/* What a client may send ahead: enough for 1.5 MiB requests without a round trip in between. */
#define STREAM_WINDOW (1024 * 1024)
#define CONNECTION_WINDOW (4 * 1024 * 1024)
#define HEADER_BYTES_MAX (16 * 1024)
#define HEADER_COUNT_MAX 256

static void timer_rearm(struct http_conn *conn, mono_ns at)
{
    conn->due_at = at;
    timer_start(conn->server->loop, &conn->timer, at);
}

static mono_ns later(mono_ns now, uint64_t ns)
{
    return ns > UINT64_MAX - now ? UINT64_MAX : now + ns;
}

static void keepalive_arm(struct http_conn *conn)
{
    uint64_t interval = conn->server->options.keepalive_ns;
    if (interval != UINT64_MAX) {
        timer_rearm(conn, later(conn->read_at, interval));
    } else {
        timer_stop(conn->server->loop, &conn->timer);
    }
}

void http__h2_start(struct http_conn *conn)
{
    struct h2_options options = {
        .streams_max = conn->server->options.streams_max,
        .stream_window = STREAM_WINDOW,
        .connection_window = CONNECTION_WINDOW,
        .header_bytes_max = HEADER_BYTES_MAX,
        .header_count_max = HEADER_COUNT_MAX,
        .memory = &conn->server->group.slabs,
        .usual = grpc_call__usual,
    };
    conn->h2 = h2_new(&options, &http__h2_handler, conn);
    conn->read_at = loop_now(conn->server->loop);
    timer_rearm(conn, later(conn->read_at, conn->server->options.head_timeout_ns));
    stream_touch(&conn->stream);
}

void http__h2_check_idle(struct http_conn *conn)
{
    if (conn->is_stopping && !conn->drain_out && conn->call_count == 0 &&
        !conn->stream.is_finishing) {
        http__conn_finish(conn);
    }
}

void http__h2_input(struct http_conn *conn, struct slice bytes)
{
    if (conn->stream.is_dead || conn->stream.is_finishing || bytes.len == 0) {
        return;
    }
    mono_ns now = loop_now(conn->server->loop);
    bool was_owed = h2_is_owed(conn->h2);
    conn->read_at = now;
    enum err err = h2_recv(conn->h2, bytes, now);
    stream_touch(&conn->stream);
    if (err != ERR_OK) {
        http__conn_finish(conn);
        return;
    }
    bool is_owed = h2_is_owed(conn->h2);
    if (is_owed && !was_owed) {
        timer_rearm(conn, later(now, conn->server->options.head_timeout_ns));
    } else if (was_owed && !is_owed) {
        keepalive_arm(conn);
    }
}

bool http__h2_fill(struct http_conn *conn)
{
    struct outq *out = &conn->stream.out;
    if (conn->is_closing) {
        return false; /* the last words are queued */
    }
    conn->is_closing = conn->stream.is_finishing;
    bool has_more = h2_send(conn->h2, out, STREAM_OUT_MAX);
    while (!list_empty(&conn->notify)) {
        grpc_call__notify(conn);
        has_more = h2_send(conn->h2, out, STREAM_OUT_MAX);
    }
    if (h2_is_done(conn->h2) && !conn->stream.is_finishing) {
        http__conn_finish(conn);
    }
    http__h2_check_idle(conn);
    return has_more;
}

/* Fires when the peer may owe something: the rest of its preface or of a header block, any sign of
 * life, the answer to our ping. Input does not move the timer; it is looked at when it fires. */
void http__h2_timer(struct http_conn *conn)
{
    const struct http_options *options = &conn->server->options;
    mono_ns now = loop_now(conn->server->loop);
    if (h2_is_owed(conn->h2)) {
        stream_kill(&conn->stream);
        return;
    }
    if (conn->read_at + options->keepalive_ns > now) {
        conn->keepalive_out = false;
        keepalive_arm(conn);
        return;
    }
    if (conn->keepalive_out) {
        stream_kill(&conn->stream);
        return;
    }
    conn->keepalive_out = true;
    h2_ping(conn->h2);
    stream_touch(&conn->stream);
    timer_rearm(conn, later(now, options->keepalive_timeout_ns));
}

/* First the largest id, so that requests on their way are still taken; the answer to the ping says
 * that the client has read it, then GOAWAY is final (RFC 9113 section 6.8). */
void http__h2_stop(struct http_conn *conn)
{
    if (conn->stream.is_dead || conn->stream.is_finishing) {
        return;
    }
    conn->drain_out = true;
    h2_shutdown_notice(conn->h2);
    h2_ping(conn->h2);
    stream_touch(&conn->stream);
}

void http__h2_gone(struct http_conn *conn)
{
    grpc_call__gone_all(conn, GRPC_CANCELED);
}
