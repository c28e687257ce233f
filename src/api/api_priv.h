/* Shared inside api/ only. */
#ifndef API_API_PRIV_H
#define API_API_PRIV_H

#include "api/api.h"

struct rpc_metrics;
struct rpc_tables;
struct rpc_watch;

/* What a listener serves: the context of its requests. */
struct web {
    struct api *api;
    bool is_client; /* the client API: CORS, Host check, /version, /debug, gateway */
    bool has_metrics;
    bool has_version;
};

/* etcd_server_healthcheck{,s_total} of one check. */
struct check_series {
    const char *name;
    const char *type;
    struct metric *last;
    struct metric *total[2]; /* errors, successes */
};

/* rpc_lasting.c's: the calls that may go on for ever. */
struct rpc_lastings {
    struct list calls;   /* struct rpc_lasting */
    size_t need_leader;  /* of them, those that are to end without one */
    unsigned leaderless; /* looks without one, up to the last */
    struct timer timer;
    bool is_stopping;
};

struct api {
    struct api_options options;
    struct server *server;
    const struct config *config;
    struct rpc_metrics *rpc_metrics;
    struct rpc_tables *tables; /* rpc.c's */
    size_t snapshot_streams;   /* rpc_snapshot.c's, open now */
    struct rpc_watch *watch;
    struct rpc_lastings lasting;
    struct web client_web;
    struct web metrics_web;
    struct web peer_web;
    struct metric *health_ok;
    struct metric *health_failed;
    struct check_series checks[8];
    size_t check_count;
    struct metric *bytes_in;
    struct metric *bytes_out;
    struct http_server *servers[8]; /* for their statistics */
    size_t server_count;
};

/* rpc.c */
void api__add_services(struct api *api, struct http_server *server);
void api__tables_free(struct api *api);

/* rpc_watch.c */
struct rpc_watch *rpc_watch_new(struct api *api);
void rpc_watch_free(struct rpc_watch **watch); /* its calls are gone */

/* rpc_lasting.c */
void rpc_lastings_init(struct api *api);
/* Compatibility: etcd stops at once, whoever watches; clients find the next member. */
void rpc_lastings_stop(struct api *api);
void rpc_lastings_fini(struct api *api); /* none is left */

/* rpc_metrics.c */
/* `is_extensive`: histograms of handling times too. */
struct rpc_metrics *rpc_metrics_new(struct metrics *metrics, bool is_extensive);
void rpc_metrics_free(struct rpc_metrics **metrics);
/* Counters of one method; made at start, so that all appear with zeros. */
struct rpc_counters;
struct rpc_counters *rpc_metrics_method(struct rpc_metrics *metrics, const char *service,
                                        const char *method, const char *kind);
void rpc_counters_started(struct rpc_counters *counters);
void rpc_counters_received(struct rpc_counters *counters);
void rpc_counters_sent(struct rpc_counters *counters);
void rpc_counters_handled(struct rpc_counters *counters, enum grpc_status status, uint64_t took_ns);
/* A stream that a client's own bytes ended: a message too large, or one that is none. etcd counts
 * its failures of sending, too; here nothing is sent to a stream that cannot take it. */
enum rpc_stream { RPC_STREAM_WATCH, RPC_STREAM_KEEPALIVE, RPC_STREAM_COUNT };
void rpc_metrics_stream_failed(struct rpc_metrics *metrics, enum rpc_stream stream);
/* The same, if that is what a handler's cancel() tells of. */
void rpc_metrics_stream_ended(struct rpc_metrics *metrics, enum rpc_stream stream,
                              enum grpc_status why);
/* One more request by a client that calls itself `version`. */
void rpc_metrics_client(struct rpc_metrics *metrics, struct slice version, bool is_stream);

/* endpoints.c */
void web__on_request(struct http_request *request, void *ctx);
bool web__is_early(struct http_request *request, void *ctx);
/* The path that is asked for, without its escapes; of clients, "/v3/" instead of "/v3beta/". */
struct slice web__path(const struct web *web, struct http_request *request);
/* Answers with the CORS fields that this listener owes. `type` NULL: Go's sniffed plain text. */
void web__reply(const struct web *web, struct http_request *request, unsigned status,
                const char *type, struct slice body);
/* The same with other fields, or with a body that follows (http_reply_begin()). */
void web__reply_fields(const struct web *web, struct http_request *request, unsigned status,
                       const struct http_field *fields, size_t count, struct slice body);
void web__reply_begin(const struct web *web, struct http_request *request, unsigned status,
                      const struct http_field *fields, size_t count, http_event_fn *on_event,
                      void *ctx);
/* Go's http.Error: plain text, nosniff, a newline behind. */
void web__reply_error(const struct web *web, struct http_request *request, unsigned status,
                      const char *text);
/* False, and answered 405, when the method is not GET. */
bool web__is_get(const struct web *web, struct http_request *request);

/* health.c */
void web__health(const struct web *web, struct http_request *request);
/* /livez, /readyz and one check of them; `check` is what is behind the second slash, or empty. */
void web__livez(const struct web *web, struct http_request *request, struct slice check);
void web__readyz(const struct web *web, struct http_request *request, struct slice check);

#endif
