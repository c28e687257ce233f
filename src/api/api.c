#include "api/rpc_priv.h"

#include "base/mem.h"

static void collect(void *ctx)
{
    struct api *api = ctx;
    struct http_stats sum = {0};
    for (size_t i = 0; i < api->server_count; i++) {
        struct http_stats one;
        http_server_stats(api->servers[i], &one);
        sum.bytes_in += one.bytes_in;
        sum.bytes_out += one.bytes_out;
    }
    metric_set(api->bytes_in, (double)sum.bytes_in);
    metric_set(api->bytes_out, (double)sum.bytes_out);
}

struct api *api_new(const struct api_options *options)
{
    struct api *api = NEW(struct api);
    api->options = *options;
    api->server = options->server;
    api->config = server_config(options->server);
    api->client_web =
        (struct web){.api = api, .is_client = true, .has_metrics = true, .has_version = true};
    api->metrics_web = (struct web){.api = api, .has_metrics = true};
    api->peer_web = (struct web){.api = api, .has_version = true};
    api->rpc_metrics =
        rpc_metrics_new(options->metrics, strcmp(api->config->metrics, "extensive") == 0);
    api->health_ok = metrics_counter(options->metrics, "etcd_server_health_success",
                                     "The total number of successful health checks", "");
    api->health_failed = metrics_counter(options->metrics, "etcd_server_health_failures",
                                         "The total number of failed health checks", "");
    api->bytes_in =
        metrics_counter(options->metrics, "etcd_network_client_grpc_received_bytes_total",
                        "The total number of bytes received from grpc clients.", "");
    api->bytes_out = metrics_counter(options->metrics, "etcd_network_client_grpc_sent_bytes_total",
                                     "The total number of bytes sent to grpc clients.", "");
    metrics_on_collect(options->metrics, collect, api);
    rpc_lastings_init(api);
    api->watch = rpc_watch_new(api);
    return api;
}

void api_free(struct api **api)
{
    if (*api != NULL) {
        rpc_lastings_fini(*api);
        rpc_watch_free(&(*api)->watch);
        api__tables_free(*api);
        rpc_metrics_free(&(*api)->rpc_metrics);
        mem_free(*api);
        *api = NULL;
    }
}

void api_stop(struct api *api)
{
    rpc_lastings_stop(api);
}

static struct web *web_of(struct api *api, enum api_listener kind)
{
    switch (kind) {
    case API_CLIENT:
    case API_CLIENT_GRPC:
    case API_CLIENT_HTTP:
        return &api->client_web;
    case API_METRICS:
        return &api->metrics_web;
    case API_PEER:
        return &api->peer_web;
    }
    UNREACHABLE();
}

struct http_server *api_http_server(struct api *api, enum api_listener kind)
{
    const struct config *config = api->config;
    struct http_options options = {
        .grpc_message_max = (uint32_t)(config->max_request_bytes + CONFIG_GRPC_OVERHEAD),
        .streams_max = (uint32_t)config->max_concurrent_streams,
        .ping_min_ns = (uint64_t)config->grpc_keepalive_min_time_ns,
        .keepalive_ns = config->grpc_keepalive_interval_ns > 0
                            ? (uint64_t)config->grpc_keepalive_interval_ns
                            : UINT64_MAX,
        .keepalive_timeout_ns = (uint64_t)config->grpc_keepalive_timeout_ns,
        .grpc_off = kind == API_CLIENT_HTTP || kind == API_METRICS || kind == API_PEER,
        .on_request = kind == API_CLIENT_GRPC ? NULL : web__on_request,
        .is_early = web__is_early,
        .ctx = web_of(api, kind),
        .grpc_ctx = api,
    };
    struct http_server *server = http_server_new(api->options.env, api->options.loop, &options);
    if (kind != API_METRICS && kind != API_PEER) {
        api__add_services(api, server); /* for the gateway too */
    }
    ASSERT(api->server_count < ARRAY_LEN(api->servers));
    api->servers[api->server_count++] = server;
    return server;
}
