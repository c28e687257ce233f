/* Life of the server and of its connections; the protocols are in http_h2.c and http_h1.c. */
#include "net/http.h"

#include "base/digest.h"
#include "base/mem.h"
#include "net/http_priv.h"

#include <stdio.h>

static struct http_conn *conn_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct http_conn, stream);
}

/* ---- the first bytes ----------------------------------------------------------------------- */

static void timer_in(struct http_conn *conn, uint64_t ns)
{
    timer_start(conn->server->loop, &conn->timer, loop_now(conn->server->loop) + ns);
}

/* Enough has come to know the protocol: hands over what was collected, then the rest. */
static void detected(struct http_conn *conn, enum conn_kind kind, struct slice rest)
{
    struct slice first = slice_of(conn->preface, conn->preface_len);
    conn->kind = kind;
    timer_stop(conn->server->loop, &conn->timer);
    if (kind == CONN_H2) {
        http__h2_start(conn);
        http__h2_input(conn, first);
        http__h2_input(conn, rest);
    } else {
        http__h1_start(conn);
        http__h1_input(conn, first);
        http__h1_input(conn, rest);
    }
}

static void detect(struct http_conn *conn, struct slice bytes)
{
    const struct http_options *options = &conn->server->options;
    if (conn->preface_len == 0) {
        timer_in(conn, options->head_timeout_ns);
    }
    size_t part = H2_PREFACE_LEN - conn->preface_len;
    part = bytes.len < part ? bytes.len : part;
    memcpy(conn->preface + conn->preface_len, bytes.data, part);
    conn->preface_len += part;
    bytes = slice_skip(bytes, part);
    bool is_h2 = memcmp(conn->preface, H2_PREFACE, conn->preface_len) == 0;
    if (!is_h2 || options->grpc_off) {
        if (options->on_request == NULL) {
            stream_kill(&conn->stream);
            return;
        }
        detected(conn, CONN_H1, bytes);
    } else if (conn->preface_len == H2_PREFACE_LEN) {
        detected(conn, CONN_H2, bytes);
    }
}

/* ---- the stream's events --------------------------------------------------------------------- */

static void on_input(struct stream *stream, struct slice bytes)
{
    struct http_conn *conn = conn_of(stream);
    switch (conn->kind) {
    case CONN_UNKNOWN:
        detect(conn, bytes);
        break;
    case CONN_H2:
        http__h2_input(conn, bytes);
        break;
    case CONN_H1:
        http__h1_input(conn, bytes);
        break;
    }
}

static bool on_fill(struct stream *stream)
{
    struct http_conn *conn = conn_of(stream);
    switch (conn->kind) {
    case CONN_UNKNOWN:
        return false;
    case CONN_H2:
        return http__h2_fill(conn);
    case CONN_H1:
        return http__h1_room(conn);
    }
    UNREACHABLE();
}

static void on_lost(struct stream *stream, enum err why)
{
    struct http_conn *conn = conn_of(stream);
    if (conn->kind == CONN_H1 && why == ERR_EOF) {
        http__h1_lost(conn);
        return;
    }
    stream_kill(stream);
}

static void on_dispose(struct stream *stream)
{
    struct http_conn *conn = conn_of(stream);
    struct http_server *server = conn->server;
    timer_stop(server->loop, &conn->timer);
    if (conn->kind == CONN_H2) {
        http__h2_gone(conn);
    } else if (conn->kind == CONN_H1) {
        http__h1_gone(conn);
    }
    ASSERT(conn->call_count == 0);
    ASSERT(conn->queued == 0 && conn->running_count == 0);
    loop_task_remove(&conn->wait_task);
    timer_stop(server->loop, &conn->wait_timer);
    list_del(&conn->link);
    h2_free(&conn->h2);
    http1_free(&conn->http1);
    buf_fini(&conn->pending);
    mem_free(conn);
    http__stop_check(server);
}

static const struct stream_handler stream_events = {
    .input = on_input, .fill = on_fill, .lost = on_lost, .dispose = on_dispose};

static void on_conn_timer(struct timer *timer)
{
    struct http_conn *conn = CONTAINER_OF(timer, struct http_conn, timer);
    if (conn->kind == CONN_H2) {
        http__h2_timer(conn);
    } else {
        stream_kill(&conn->stream);
    }
}

static void on_accept(struct sock *sock, const struct sock_addr *peer, void *ctx)
{
    struct http_server *server = ctx;
    struct http_conn *conn = NEW(struct http_conn);
    conn->server = server;
    memcpy(conn->peer, peer->text,
           sizeof(conn->peer) < sizeof(peer->text) ? sizeof(conn->peer) : sizeof(peer->text));
    conn->peer[sizeof(conn->peer) - 1] = 0;
    list_init(&conn->calls);
    list_init(&conn->notify);
    list_init(&conn->waiting);
    list_init(&conn->running);
    task_init(&conn->wait_task, grpc_call__on_wait_task);
    timer_init(&conn->wait_timer, grpc_call__on_wait_timer);
    timer_init(&conn->timer, on_conn_timer);
    list_add_tail(&server->conns, &conn->link);
    server->connections_total++;
    stream_init(&conn->stream, &server->group, sock, &stream_events);
    timer_in(conn, SILENT_TIMEOUT_NS);
}

void http__conn_finish(struct http_conn *conn)
{
    timer_stop(conn->server->loop, &conn->timer);
    stream_finish(&conn->stream);
}

/* ---- life --------------------------------------------------------------------------------------
 */

static void on_stop_timer(struct timer *timer);
static void on_stop_task(struct task *task);

static void default_u64(uint64_t *value, uint64_t otherwise)
{
    if (*value == 0) {
        *value = otherwise;
    }
}

static void options_default(struct http_options *options)
{
    if (options->grpc_message_max == 0) {
        options->grpc_message_max = 2097152;
    }
    if (options->streams_max == 0) {
        options->streams_max = UINT32_MAX;
    }
    if (options->running_max == 0) {
        options->running_max = 1000;
    }
    if (options->http_body_max == 0) {
        options->http_body_max = (size_t)4 * 1024 * 1024;
    }
    default_u64(&options->head_timeout_ns, 10 * NS_PER_SEC);
    default_u64(&options->idle_timeout_ns, UINT64_MAX);
    default_u64(&options->ping_min_ns, 5 * NS_PER_SEC);
    default_u64(&options->keepalive_ns, 7200 * NS_PER_SEC);
    default_u64(&options->keepalive_timeout_ns, 20 * NS_PER_SEC);
}

struct http_server *http_server_new(struct env *env, struct loop *loop,
                                    const struct http_options *options)
{
    struct http_server *server = NEW(struct http_server);
    server->env = env;
    server->loop = loop;
    server->options = *options;
    options_default(&server->options);
    stream_group_init(&server->group, loop);
    list_init(&server->conns);
    list_init(&server->again_hungry);
    list_init(&server->again_served);
    task_init(&server->again_task, grpc_call__ask_again);
    list_init(&server->spare_calls);
    timer_init(&server->stop_timer, on_stop_timer);
    task_init(&server->stop_task, on_stop_task);
    map_init(&server->paths);
    server->path_seed = env_random_u64(env);
    return server;
}

static void listeners_close(struct http_server *server)
{
    for (size_t i = 0; i < server->listener_count; i++) {
        listener_close(&server->listeners[i]);
    }
    server->listener_count = 0;
}

static void conns_kill(struct http_server *server)
{
    LIST_FOR_EACH (&server->conns, node) {
        stream_kill(&CONTAINER_OF(node, struct http_conn, link)->stream);
    }
}

void http_server_free(struct http_server **server_ptr)
{
    struct http_server *server = *server_ptr;
    if (server == NULL) {
        return;
    }
    listeners_close(server);
    server->is_stopping = true;
    server->stop_done = NULL;
    conns_kill(server);
    stream_group_bury(&server->group);
    /* Handlers have been told; they must have finished what they own. */
    ASSERT(server->calls_live == 0);
    ASSERT(server->requests_live == 0);
    timer_stop(server->loop, &server->stop_timer);
    loop_task_remove(&server->stop_task);
    loop_task_remove(&server->again_task);
    grpc_call__free_spare(server);
    stream_group_fini(&server->group);
    for (struct map_node *node = map_any(&server->paths); node != NULL;
         node = map_any(&server->paths)) {
        map_remove(&server->paths, node);
        mem_free(CONTAINER_OF(node, struct http_path, node));
    }
    map_fini(&server->paths);
    mem_free(server->listeners);
    mem_free(server->services);
    mem_free(server);
    *server_ptr = NULL;
}

static bool path_eq(const struct map_node *node, const void *key)
{
    const struct slice *path = key;
    const struct http_path *entry = (const void *)node;
    return slice_eq(entry->path, *path);
}

const struct grpc_method *http__method_find(const struct http_server *server, struct slice path)
{
    struct map_node *node =
        map_find(&server->paths, hash64(server->path_seed, path), path_eq, &path);
    return node == NULL ? NULL : CONTAINER_OF(node, struct http_path, node)->method;
}

static void path_add(struct http_server *server, const char *service,
                     const struct grpc_method *method)
{
    size_t len = strlen(service) + strlen(method->name) + 2;
    struct http_path *entry = mem_alloc(sizeof(*entry) + len + 1);
    char *text = (char *)(entry + 1);
    snprintf(text, len + 1, "/%s/%s", service, method->name);
    entry->path = slice_of(text, len);
    entry->method = method;
    ASSERT(http__method_find(server, entry->path) == NULL);
    map_insert(&server->paths, &entry->node, hash64(server->path_seed, entry->path));
}

void http_server_service(struct http_server *server, const struct grpc_service *service)
{
    ASSERT(server->listener_count == 0);
    server->services =
        mem_realloc(server->services, (server->service_count + 1) * sizeof(*server->services));
    server->services[server->service_count++] = service;
    for (size_t i = 0; i < service->method_count; i++) {
        path_add(server, service->name, &service->methods[i]);
    }
}

FALLIBLE http_server_listen(struct http_server *server, const char *host, const char *port,
                            const struct listen_options *options, struct errbuf *why)
{
    struct listen_options plain = {0};
    struct listener *listener;
    TRY(net_listen(server->env->net, host, port, options == NULL ? &plain : options, on_accept,
                   server, &listener, why));
    server->listeners =
        mem_realloc(server->listeners, (server->listener_count + 1) * sizeof(*server->listeners));
    server->listeners[server->listener_count++] = listener;
    return ERR_OK;
}

void http_server_addr(const struct http_server *server, size_t index, struct sock_addr *out)
{
    ASSERT(index < server->listener_count);
    listener_addr(server->listeners[index], out);
}

/* ---- stopping ----------------------------------------------------------------------------------
 */

static void on_stop_task(struct task *task)
{
    struct http_server *server = CONTAINER_OF(task, struct http_server, stop_task);
    void (*done)(void *ctx) = server->stop_done;
    if (done != NULL) {
        server->stop_done = NULL;
        done(server->stop_ctx);
    }
}

void http__stop_check(struct http_server *server)
{
    if (server->is_stopping && server->stop_done != NULL && list_empty(&server->conns) &&
        server->calls_live == 0 && server->requests_live == 0) {
        timer_stop(server->loop, &server->stop_timer);
        loop_task_add(server->loop, LOOP_CLOSE, &server->stop_task);
    }
}

/* The grace is over. */
static void on_stop_timer(struct timer *timer)
{
    struct http_server *server = CONTAINER_OF(timer, struct http_server, stop_timer);
    LIST_FOR_EACH (&server->conns, node) {
        struct http_conn *conn = CONTAINER_OF(node, struct http_conn, link);
        grpc_call__cancel_all(conn, GRPC_UNAVAILABLE);
        stream_kill(&conn->stream);
    }
}

void http_server_stop(struct http_server *server, mono_ns deadline, void (*done)(void *ctx),
                      void *ctx)
{
    ASSERT(!server->is_stopping);
    server->is_stopping = true;
    server->stop_done = done;
    server->stop_ctx = ctx;
    listeners_close(server);
    LIST_FOR_EACH (&server->conns, node) {
        struct http_conn *conn = CONTAINER_OF(node, struct http_conn, link);
        conn->is_stopping = true;
        switch (conn->kind) {
        case CONN_UNKNOWN:
            stream_kill(&conn->stream);
            break;
        case CONN_H2:
            http__h2_stop(conn);
            break;
        case CONN_H1:
            http__h1_stop(conn);
            break;
        }
    }
    timer_start(server->loop, &server->stop_timer, deadline);
    http__stop_check(server);
}

/* ---- observers ---------------------------------------------------------------------------------
 */

void http_server_stats(const struct http_server *server, struct http_stats *out)
{
    *out = (struct http_stats){
        .connections = server->group.count,
        .connections_total = server->connections_total,
        .calls = server->calls_live,
        .bytes_in = server->group.bytes_in,
        .bytes_out = server->group.bytes_out,
    };
}

void http_server_check(const struct http_server *server)
{
    size_t calls = 0;
    for (struct list *node = server->conns.next; node != &server->conns; node = node->next) {
        const struct http_conn *conn = CONTAINER_OF(node, struct http_conn, link);
        size_t count = 0;
        for (struct list *call = conn->calls.next; call != &conn->calls; call = call->next) {
            count++;
        }
        ASSERT(conn->server == server);
        ASSERT(count == conn->call_count);
        if (!conn->stream.is_dead) {
            outq_check(&conn->stream.out);
        }
        calls += count;
    }
    ASSERT(calls <= server->calls_live);
}
