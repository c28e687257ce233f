/* grpc_server_* and etcd_server_client_requests_total, as go-grpc-prometheus and etcd name them. */
#include "api/api_priv.h"

#include "base/mem.h"

#include <stdio.h>

/* Clients say their own version: that many different ones get a series, the rest share one, and so
 * do texts that are too long to be a version. */
#define CLIENT_VERSIONS_MAX 32
#define CLIENT_VERSION_LEN_MAX 32
#define CLIENT_VERSION_OTHER "other"

struct client_version {
    char text[CLIENT_VERSION_LEN_MAX + 1];
    struct metric *requests[2]; /* unary, stream */
};

struct rpc_counters {
    struct rpc_counters *next;
    struct metric *started;
    struct metric *received;
    struct metric *sent;
    struct metric *handled[GRPC_STATUS_COUNT];
    struct histogram *seconds; /* --metrics=extensive; else NULL */
};

static const double seconds_bounds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

struct rpc_metrics {
    struct metrics *registry;
    bool is_extensive;
    struct rpc_counters *methods;
    struct client_version versions[CLIENT_VERSIONS_MAX + 1]; /* one more for the others */
    size_t version_count;
    struct metric *stream_failures[RPC_STREAM_COUNT]; /* NULL: none yet, and no series */
};

struct rpc_metrics *rpc_metrics_new(struct metrics *metrics, bool is_extensive)
{
    struct rpc_metrics *m = NEW(struct rpc_metrics);
    m->registry = metrics;
    m->is_extensive = is_extensive;
    return m;
}

void rpc_metrics_free(struct rpc_metrics **metrics)
{
    if (*metrics == NULL) {
        return;
    }
    struct rpc_counters *counters = (*metrics)->methods;
    while (counters != NULL) {
        struct rpc_counters *next = counters->next;
        mem_free(counters);
        counters = next;
    }
    mem_free(*metrics);
    *metrics = NULL;
}

struct rpc_counters *rpc_metrics_method(struct rpc_metrics *metrics, const char *service,
                                        const char *method, const char *kind)
{
    char labels[256];
    struct rpc_counters *counters = NEW(struct rpc_counters);
    counters->next = metrics->methods;
    metrics->methods = counters;
    snprintf(labels, sizeof(labels), "grpc_method=\"%s\",grpc_service=\"%s\",grpc_type=\"%s\"",
             method, service, kind);
    counters->started = metrics_counter(metrics->registry, "grpc_server_started_total",
                                        "Total number of RPCs started on the server.", labels);
    counters->received =
        metrics_counter(metrics->registry, "grpc_server_msg_received_total",
                        "Total number of RPC stream messages received on the server.", labels);
    counters->sent =
        metrics_counter(metrics->registry, "grpc_server_msg_sent_total",
                        "Total number of gRPC stream messages sent by the server.", labels);
    if (metrics->is_extensive) {
        counters->seconds = metrics_histogram(
            metrics->registry, "grpc_server_handling_seconds",
            "Histogram of response latency (seconds) of gRPC that had been application-level "
            "handled by the server.",
            labels, seconds_bounds, ARRAY_LEN(seconds_bounds));
    }
    for (uint32_t code = 0; code < GRPC_STATUS_COUNT; code++) {
        snprintf(labels, sizeof(labels),
                 "grpc_code=\"%s\",grpc_method=\"%s\",grpc_service=\"%s\",grpc_type=\"%s\"",
                 grpc_status_name(code), method, service, kind);
        counters->handled[code] = metrics_counter(
            metrics->registry, "grpc_server_handled_total",
            "Total number of RPCs completed on the server, regardless of success or failure.",
            labels);
    }
    return counters;
}

void rpc_counters_started(struct rpc_counters *counters)
{
    metric_add(counters->started, 1);
}

void rpc_counters_received(struct rpc_counters *counters)
{
    metric_add(counters->received, 1);
}

void rpc_counters_sent(struct rpc_counters *counters)
{
    metric_add(counters->sent, 1);
}

void rpc_counters_handled(struct rpc_counters *counters, enum grpc_status status, uint64_t took_ns)
{
    metric_add(counters->handled[status], 1);
    if (counters->seconds != NULL) {
        histogram_observe(counters->seconds, (double)took_ns / (double)NS_PER_SEC);
    }
}

/* The place of that version, which may be its first. Each text stands in one place, so that no
 * series is made twice: a client may well call itself "other". */
static struct client_version *version_find(struct rpc_metrics *m, struct slice text)
{
    for (size_t i = 0; i < m->version_count; i++) {
        if (slice_eq_str(text, m->versions[i].text)) {
            return &m->versions[i];
        }
    }
    bool is_text = text.len <= CLIENT_VERSION_LEN_MAX &&
                   (text.len == 0 || memchr(text.data, 0, text.len) == NULL);
    bool is_other = slice_eq_str(text, CLIENT_VERSION_OTHER);
    if (!is_other && (!is_text || m->version_count >= CLIENT_VERSIONS_MAX)) {
        return version_find(m, SLICE(CLIENT_VERSION_OTHER));
    }
    struct client_version *version = &m->versions[m->version_count++];
    ASSERT(m->version_count <= ARRAY_LEN(m->versions)); /* the last place is only for "other" */
    if (text.len > 0) {
        memcpy(version->text, text.data, text.len);
    }
    return version;
}

void rpc_metrics_client(struct rpc_metrics *m, struct slice version_text, bool is_stream)
{
    struct client_version *version = version_find(m, version_text);
    struct metric **series = &version->requests[is_stream];
    if (*series == NULL) {
        struct buf labels = {0};
        buf_append_str(&labels, "client_api_version=\"");
        metrics_escape(slice_str(version->text), &labels);
        buf_printf(&labels, "\",type=\"%s\"", is_stream ? "stream" : "unary");
        *series = metrics_counter(m->registry, "etcd_server_client_requests_total",
                                  "The total number of client requests per client version.",
                                  buf_cstr(&labels));
        buf_fini(&labels);
    }
    metric_add(*series, 1);
}

void rpc_metrics_stream_failed(struct rpc_metrics *m, enum rpc_stream stream)
{
    static const char *const labels[RPC_STREAM_COUNT] = {
        [RPC_STREAM_WATCH] = "API=\"watch\",Type=\"receive\"",
        [RPC_STREAM_KEEPALIVE] = "API=\"lease-keepalive\",Type=\"receive\"",
    };
    if (m->stream_failures[stream] == NULL) {
        m->stream_failures[stream] = metrics_counter(
            m->registry, "etcd_network_server_stream_failures_total",
            "The total number of stream failures from the local server.", labels[stream]);
    }
    metric_add(m->stream_failures[stream], 1);
}

void rpc_metrics_stream_ended(struct rpc_metrics *m, enum rpc_stream stream, enum grpc_status why)
{
    bool is_clients_wish = why == GRPC_CANCELED || why == GRPC_DEADLINE_EXCEEDED;
    if (!is_clients_wish && why != GRPC_UNAVAILABLE) {
        rpc_metrics_stream_failed(m, stream);
    }
}
