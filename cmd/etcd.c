/* etcd: one member of a cluster.
 *
 *   config -> env and loop -> listeners bound -> data directory -> server, api -> loop -> stop
 *
 * Ports are bound before the data directory is touched, as etcd does, so that a second server
 * started by mistake changes nothing. */
#include "api/api.h"
#include "base/log.h"
#include "base/mem.h"
#include "env/posix.h"
#include "server/banner.h"
#include "server/config.h"
#include "server/server.h"

#ifdef FAILPOINTS
#include "failpoints.h"
#endif

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

extern char **environ;

/* How long calls in progress may go on after a signal: etcd's client listeners get as long. */
#define DRAIN_NS (5 * NS_PER_SEC)

struct process {
    struct env *env;
    struct loop *loop;
    struct config *config;
    struct log log;
    struct metrics *metrics;
    struct metric *cpu, *fds, *fds_max, *os_fds, *os_fds_max, *rss, *vsize, *started;
    struct server *server;
    struct api *api;
    struct http_server *http[4];
    size_t http_count;
    size_t http_open;
#ifdef FAILPOINTS
    struct http_server *failpoints; /* NULL: not asked for */
#endif
    struct arena arena; /* addresses */
    int signum;         /* the one that stops us; 0 */
};

static int64_t clock_now(void *ctx)
{
    return env_now_wall(ctx);
}

static uint64_t resident_bytes(void)
{
    struct process_info info;
    posix_process_info(&info);
    return info.resident_bytes;
}

/* ---- process metrics --------------------------------------------------------------------------
 */

static void collect_process(void *ctx)
{
    struct process *p = ctx;
    struct process_info info;
    posix_process_info(&info);
    metric_set(p->cpu, info.cpu_seconds);
    metric_set(p->fds, (double)info.fd_open);
    metric_set(p->fds_max, (double)info.fd_max);
    metric_set(p->os_fds, (double)info.fd_open);
    metric_set(p->os_fds_max, (double)info.fd_max);
    metric_set(p->rss, (double)info.resident_bytes);
    metric_set(p->vsize, (double)info.virtual_bytes);
    metric_set(p->started, info.start_seconds);
}

static void add_process_metrics(struct process *p)
{
    p->cpu = metrics_counter(p->metrics, "process_cpu_seconds_total",
                             "Total user and system CPU time spent in seconds.", "");
    p->fds = metrics_gauge(p->metrics, "process_open_fds", "Number of open file descriptors.", "");
    p->fds_max = metrics_gauge(p->metrics, "process_max_fds",
                               "Maximum number of open file descriptors.", "");
    p->os_fds = metrics_gauge(p->metrics, "os_fd_used", "The number of used file descriptors.", "");
    p->os_fds_max = metrics_gauge(p->metrics, "os_fd_limit", "The file descriptor limit.", "");
    p->rss = metrics_gauge(p->metrics, "process_resident_memory_bytes",
                           "Resident memory size in bytes.", "");
    p->vsize = metrics_gauge(p->metrics, "process_virtual_memory_bytes",
                             "Virtual memory size in bytes.", "");
    p->started = metrics_gauge(p->metrics, "process_start_time_seconds",
                               "Start time of the process since unix epoch in seconds.", "");
    metrics_on_collect(p->metrics, collect_process, p);
}

/* ---- listeners --------------------------------------------------------------------------------
 */

/* How net_listen() names what a URL says. A unix socket's name is host and path together:
 * unix://name:123 is the file "name:123" in the working directory. */
static void address_of(struct arena *arena, const struct url *url, const char **host,
                       const char **port)
{
    bool is_unix = strncmp(url->scheme, "unix", 4) == 0;
    if (!is_unix) {
        *host = url->hostname;
        *port = url->port;
        return;
    }
    *host =
        url->opaque[0] != '\0' ? url->opaque : arena_printf(arena, "%s%s", url->host, url->path);
    *port = "unix";
}

static struct listen_options listen_options(const struct process *p)
{
    return (struct listen_options){
        .reuse_port = p->config->socket_reuse_port,
        .reuse_address = p->config->socket_reuse_address,
    };
}

static void accept_none(struct sock *sock, const struct sock_addr *peer, void *ctx)
{
    UNUSED(peer);
    UNUSED(ctx);
    sock_close(&sock);
}

/* Binds each address for a moment: a port that is taken is found before anything is written. */
static FALLIBLE probe_ports(struct process *p, const struct url_list *urls, struct errbuf *why)
{
    struct listen_options options = listen_options(p);
    for (size_t i = 0; i < urls->count; i++) {
        struct listener *listener;
        const char *host;
        const char *port;
        address_of(&p->arena, &urls->items[i], &host, &port);
        if (strcmp(port, "unix") == 0) {
            continue; /* binding makes a file: left to the real one */
        }
        TRY(net_listen(p->env->net, host, port, &options, accept_none, NULL, &listener, why));
        listener_close(&listener);
    }
    return ERR_OK;
}

static FALLIBLE serve(struct process *p, enum api_listener kind, const struct url_list *urls,
                      struct errbuf *why)
{
    struct listen_options options = listen_options(p);
    if (urls->count == 0) {
        return ERR_OK;
    }
    ASSERT(p->http_count < ARRAY_LEN(p->http));
    struct http_server *http = api_http_server(p->api, kind);
    p->http[p->http_count++] = http;
    for (size_t i = 0; i < urls->count; i++) {
        const char *host;
        const char *port;
        address_of(&p->arena, &urls->items[i], &host, &port);
        TRY(http_server_listen(http, host, port, &options, why));
    }
    return ERR_OK;
}

static FALLIBLE serve_all(struct process *p, struct errbuf *why)
{
    const struct config *config = p->config;
    bool is_split = config->listen_client_http_urls.count > 0;
    TRY(serve(p, API_PEER, &config->listen_peer_urls, why));
    TRY(serve(p, is_split ? API_CLIENT_GRPC : API_CLIENT, &config->listen_client_urls, why));
    TRY(serve(p, API_CLIENT_HTTP, &config->listen_client_http_urls, why));
    return serve(p, API_METRICS, &config->listen_metrics_urls, why);
}

/* ---- start and stop ----------------------------------------------------------------------------
 */

static void on_ready(void *ctx)
{
    struct process *p = ctx;
    const struct config *config = p->config;
    bool is_split = config->listen_client_http_urls.count > 0;
    for (size_t i = 0; i < config->listen_client_urls.count; i++) {
        banner_ready(config, is_split ? BANNER_GRPC : BANNER_GRPC_HTTP,
                     config->listen_client_urls.items[i].host);
    }
    for (size_t i = 0; i < config->listen_client_http_urls.count; i++) {
        banner_ready(config, BANNER_HTTP, config->listen_client_http_urls.items[i].host);
    }
    if (posix_notify_ready()) {
        banner_notified(config);
    }
}

static void on_server_stopped(void *ctx)
{
    struct process *p = ctx;
    loop_stop(p->loop);
}

static void on_http_stopped(void *ctx)
{
    struct process *p = ctx;
    if (--p->http_open == 0) {
        server_stop(p->server, on_server_stopped, p);
    }
}

static void on_signal(int signum, void *ctx)
{
    struct process *p = ctx;
    if (p->signum != 0) {
        return; /* it is stopping already */
    }
    p->signum = signum;
    banner_signal(p->config, signum);
    banner_closing(p->config);
    mono_ns deadline = loop_now(p->loop) + DRAIN_NS;
    p->http_open = p->http_count;
    ASSERT(p->http_open > 0); /* there is always a peer listener */
    if (p->api != NULL) {
        api_stop(p->api);
    }
    for (size_t i = 0; i < p->http_count; i++) {
        http_server_stop(p->http[i], deadline, on_http_stopped, p);
    }
}

static FALLIBLE start(struct process *p, int argc, char **argv, struct errbuf *why)
{
    const struct config *config = p->config;
    struct process_info info;
    enum config_dir kind;
#ifdef FAILPOINTS
    TRY(failpoints_start(p->env, p->loop, &p->failpoints, why));
#endif
    banner_peer_listeners(config);
    TRY(probe_ports(p, &config->listen_peer_urls, why));
    banner_client_listeners(config);
    TRY(probe_ports(p, &config->listen_client_urls, why));
    TRY(probe_ports(p, &config->listen_client_http_urls, why));
    TRY(probe_ports(p, &config->listen_metrics_urls, why));
    TRY(config_identify_dir(config, p->env->disk, &kind));
    banner_server(config, kind == CONFIG_DIR_MEMBER, posix_cpu_count());
    struct server_options options = {
        .env = p->env,
        .loop = p->loop,
        .config = config,
        .log = p->log,
        .metrics = p->metrics,
        .on_ready = on_ready,
        .ctx = p,
    };
    TRY(server_open(&options, &p->server, why));
    posix_process_info(&info);
    struct api_options api = {
        .env = p->env,
        .loop = p->loop,
        .server = p->server,
        .metrics = p->metrics,
        .argv = (const char *const *)argv,
        .argc = (size_t)argc,
        .resident_bytes = resident_bytes,
        .fd_limit = info.fd_max,
    };
    p->api = api_new(&api);
    TRY(serve_all(p, why));
    struct banner_member member = {.member_id = server_member_id(p->server),
                                   .cluster_id = server_cluster_id(p->server)};
    server_start(p->server);
    for (size_t i = 0; i < config->listen_peer_urls.count; i++) {
        banner_serving_peer(config, config->listen_peer_urls.items[i].host);
    }
    banner_serving(config, &member);
    return ERR_OK;
}

static void release(struct process *p)
{
    for (size_t i = 0; i < p->http_count; i++) {
        http_server_free(&p->http[i]);
    }
#ifdef FAILPOINTS
    http_server_free(&p->failpoints);
#endif
    server_free(&p->server);
    api_free(&p->api);
    metrics_free(&p->metrics);
    loop_free(&p->loop);
    config_free(&p->config);
    posix_env_free(&p->env);
    arena_fini(&p->arena);
}

static struct log fatal_log;

static void fatal_line(const char *sentence)
{
    LOG_FATAL(&fatal_log, sentence);
}

int main(int argc, char **argv)
{
    posix_raise_fd_limit();
    struct process p = {.env = posix_env_new()};
    struct errbuf why = {""};
    int status = 0;
    struct config_input input = {
        .argc = argc,
        .argv = (const char *const *)argv,
        .environ = (const char *const *)environ,
        .disk = p.env->disk,
        .clock = clock_now,
        .clock_ctx = p.env,
        .local_time = true,
    };
    if (config_load(&input, &p.config, &status) == CONFIG_EXIT) {
        posix_env_free(&p.env);
        return status;
    }
    p.log = config_log(p.config);
    fatal_log = p.log;
    fatal_hook_set(fatal_line);
    p.loop = loop_new(p.env);
    p.metrics = metrics_new();
    add_process_metrics(&p);
    posix_on_signal(p.env, SIGTERM, on_signal, &p);
    posix_on_signal(p.env, SIGINT, on_signal, &p);
    if (start(&p, argc, argv, &why) != ERR_OK) {
        /* Compatibility: etcd calls whatever keeps it from starting so. */
        LOG_FATAL(&p.log, "discovery failed", log_error(why.text));
        exit(1);
    }
    loop_run(p.loop);
    for (size_t i = 0; i < p.config->listen_peer_urls.count; i++) {
        banner_peer_stopped(p.config, p.config->listen_peer_urls.items[i].host);
    }
    banner_closed(p.config);
    int signum = p.signum;
    release(&p);
    /* As etcd: having stopped cleanly, die of the signal, so that who waits sees which it was. */
    posix_die_of(signum);
}
