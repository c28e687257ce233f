/* The API: gRPC services and HTTP endpoints of one member, over net/http and server/.
 *
 * A gRPC message is decoded into its call's arena, checked, and handed to the server as a request;
 * the reply's bytes go out as they are. HTTP endpoints are answered here: /health, /livez, /readyz,
 * /version, /metrics, /debug/vars.
 *
 * A method that etcd has and this version does not is answered UNIMPLEMENTED with a sentence that
 * says so, never silently.
 *
 * Ownership: the server, its configuration and the metrics must outlive the api.
 * Threads:   loop thread only. */
#ifndef API_API_H
#define API_API_H

#include "base/metrics.h"
#include "net/http.h"
#include "server/server.h"

struct api;

struct api_options {
    struct env *env;
    struct loop *loop;
    struct server *server;
    struct metrics *metrics;
    /* For /debug/vars. */
    const char *const *argv;
    size_t argc;
    uint64_t (*resident_bytes)(void);
    uint64_t fd_limit;
};

struct api *api_new(const struct api_options *options);
void api_free(struct api **api); /* after its HTTP servers are free; safe on NULL */

/* The process is about to stop: ends the streams that would go on for ever. Before
 * http_server_stop(), which waits for calls in progress. */
void api_stop(struct api *api);

enum api_listener {
    API_CLIENT,      /* gRPC and HTTP */
    API_CLIENT_GRPC, /* gRPC only: --listen-client-http-urls takes the rest */
    API_CLIENT_HTTP, /* HTTP only */
    API_METRICS,     /* /metrics and health only */
    API_PEER,        /* what other members see: /version so far */
};

/* A server with the services and endpoints of that kind; free it with http_server_free(). */
struct http_server *api_http_server(struct api *api, enum api_listener kind);

#endif
