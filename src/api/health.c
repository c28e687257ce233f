/* /health, /livez and /readyz.
 *
 * A probe runs its checks in order; those that read go through the server as a client's Range
 * would, so a probe answers "true" only when the member really serves. The probe is embedded in the
 * request's arena and waits there for the server. */
#include "api/api_priv.h"

#include "codec/json.h"
#include "server/alarm.h"

#include "rpc.pb-c.h"

#include <stdio.h>

struct probe;
/* A check: NULL when it passed, else what is wrong. */
typedef const char *check_fn(struct probe *probe);

struct check {
    const char *name;
    check_fn *run;        /* at once, or NULL: */
    bool is_serializable; /* a read of this kind */
};

#define CHECKS_MAX 4

struct probe {
    const struct web *web;
    struct http_request *http;
    void (*end)(struct probe *probe);
    const char *type; /* "livez", "readyz", NULL for /health */
    const struct check *checks[CHECKS_MAX];
    const char *failures[CHECKS_MAX];
    size_t count;
    size_t next;
    struct server_request request;
    Etcdserverpb__RangeRequest range;
};

/* ---- running ----------------------------------------------------------------------------------
 */

static void run(struct probe *probe);

static void on_read(struct server_request *request)
{
    struct probe *probe = CONTAINER_OF(request, struct probe, request);
    if (request->status != STATUS_OK) {
        probe->failures[probe->next] = status_row(request->status)->text;
    }
    probe->next++;
    run(probe);
}

static void read_one(struct probe *probe, bool is_serializable)
{
    struct api *api = probe->web->api;
    etcdserverpb__range_request__init(&probe->range);
    probe->range.keys_only = true;
    probe->range.limit = 1;
    probe->range.serializable = is_serializable;
    probe->request = (struct server_request){
        .kind = REQUEST_RANGE,
        .is_serializable = is_serializable,
        .message = &probe->range,
        .arena = http_arena(probe->http),
        .started = loop_now(api->options.loop),
        .done = on_read,
    };
    server_submit(api->server, &probe->request);
}

static void run(struct probe *probe)
{
    while (probe->next < probe->count) {
        const struct check *check = probe->checks[probe->next];
        if (check->run == NULL) {
            read_one(probe, check->is_serializable);
            return;
        }
        probe->failures[probe->next] = check->run(probe);
        probe->next++;
    }
    probe->end(probe);
}

static struct probe *probe_new(const struct web *web, struct http_request *http,
                               void (*end)(struct probe *probe))
{
    struct probe *probe = ARENA_NEW(http_arena(http), struct probe);
    probe->web = web;
    probe->http = http;
    probe->end = end;
    return probe;
}

/* ---- single checks ------------------------------------------------------------------------------
 */

static const char *check_corruption(struct probe *probe)
{
    struct server *server = probe->web->api->server;
    for (size_t i = 0; i < server_alarm_count(server); i++) {
        uint64_t member;
        if (server_alarm_at(server, i, &member) == ALARM_CORRUPT) {
            return "alarm activated: CORRUPT";
        }
    }
    return NULL;
}

static const char *check_learner(struct probe *probe)
{
    const struct member *self = member_set_find(server_members(probe->web->api->server),
                                                server_member_id(probe->web->api->server));
    return self != NULL && self->is_learner ? "not supported for learner" : NULL;
}

static const struct check serializable_read = {"serializable_read", NULL, true};
static const struct check linearizable_read = {"linearizable_read", NULL, false};
static const struct check data_corruption = {"data_corruption", check_corruption, false};
static const struct check non_learner = {"non_learner", check_learner, false};

static const struct check *const livez_checks[] = {&serializable_read};
static const struct check *const readyz_checks[] = {&data_corruption, &serializable_read,
                                                    &linearizable_read, &non_learner};

/* ---- /livez, /readyz ----------------------------------------------------------------------------
 */

static void count_check(const struct probe *probe, size_t at)
{
    struct api *api = probe->web->api;
    bool ok = probe->failures[at] == NULL;
    struct check_series *series = NULL;
    for (size_t i = 0; i < api->check_count && series == NULL; i++) {
        if (strcmp(api->checks[i].name, probe->checks[at]->name) == 0 &&
            strcmp(api->checks[i].type, probe->type) == 0) {
            series = &api->checks[i];
        }
    }
    if (series == NULL) {
        char labels[128];
        ASSERT(api->check_count < ARRAY_LEN(api->checks));
        series = &api->checks[api->check_count++];
        series->name = probe->checks[at]->name;
        series->type = probe->type;
        snprintf(labels, sizeof(labels), "name=\"%s\",type=\"%s\"", series->name, series->type);
        series->last = metrics_gauge(api->options.metrics, "etcd_server_healthcheck",
                                     "The result of each kind of healthcheck.", labels);
        for (size_t k = 0; k < 2; k++) {
            snprintf(labels, sizeof(labels), "name=\"%s\",status=\"%s\",type=\"%s\"", series->name,
                     k == 1 ? "success" : "error", series->type);
            series->total[k] =
                metrics_counter(api->options.metrics, "etcd_server_healthchecks_total",
                                "The total number of each kind of healthcheck.", labels);
        }
    }
    metric_set(series->last, ok);
    metric_add(series->total[ok], 1);
}

static void checks_end(struct probe *probe)
{
    struct buf lines = {0};
    struct slice verbose;
    bool all_ok = true;
    for (size_t i = 0; i < probe->count; i++) {
        count_check(probe, i);
        if (probe->failures[i] == NULL) {
            buf_printf(&lines, "[+]%s ok\n", probe->checks[i]->name);
        } else {
            buf_printf(&lines, "[-]%s failed: %s\n", probe->checks[i]->name, probe->failures[i]);
            all_ok = false;
        }
    }
    if (!all_ok) {
        web__reply_error(probe->web, probe->http, 503, buf_cstr(&lines));
    } else {
        if (!http_query_get(http_query(probe->http), "verbose", 0, http_arena(probe->http),
                            &verbose)) {
            buf_reset(&lines);
        }
        buf_append_str(&lines, "ok\n");
        web__reply(probe->web, probe->http, 200, NULL, buf_slice(&lines));
    }
    buf_fini(&lines);
}

static bool is_excluded(struct http_request *http, const char *name)
{
    struct slice value;
    for (size_t i = 0; http_query_get(http_query(http), "exclude", i, http_arena(http), &value);
         i++) {
        if (slice_eq_str(value, name)) {
            return true;
        }
    }
    return false;
}

static void probe_checks(const struct web *web, struct http_request *http, const char *type,
                         const struct check *const *checks, size_t count, struct slice only)
{
    if (!web__is_get(web, http)) {
        return;
    }
    struct probe *probe = probe_new(web, http, checks_end);
    probe->type = type;
    for (size_t i = 0; i < count; i++) {
        bool is_wanted = only.len > 0 ? slice_eq_str(only, checks[i]->name)
                                      : !is_excluded(http, checks[i]->name);
        if (is_wanted) {
            probe->checks[probe->count++] = checks[i];
        }
    }
    if (only.len > 0 && probe->count == 0) {
        web__reply_error(web, http, 404, "404 page not found");
        return;
    }
    run(probe);
}

void web__livez(const struct web *web, struct http_request *request, struct slice check)
{
    probe_checks(web, request, "livez", livez_checks, ARRAY_LEN(livez_checks), check);
}

void web__readyz(const struct web *web, struct http_request *request, struct slice check)
{
    probe_checks(web, request, "readyz", readyz_checks, ARRAY_LEN(readyz_checks), check);
}

/* ---- /health
 * ------------------------------------------------------------------------------------- */

static void health_answer(struct probe *probe, const char *reason)
{
    struct api *api = probe->web->api;
    struct buf body = {0};
    bool ok = reason[0] == '\0';
    buf_printf(&body, "{\"health\":\"%s\",\"reason\":", ok ? "true" : "false");
    json_append_string(&body, slice_str(reason));
    buf_append_byte(&body, '}');
    metric_add(ok ? api->health_ok : api->health_failed, 1);
    if (ok) {
        web__reply(probe->web, probe->http, 200, NULL, buf_slice(&body));
    } else {
        LOG_WARN(server_log(api->server), "serving /health false", log_str("reason", reason));
        web__reply_error(probe->web, probe->http, 503, buf_cstr(&body));
    }
    buf_fini(&body);
}

static void health_end(struct probe *probe)
{
    const char *reason = "";
    if (probe->failures[0] != NULL) {
        reason = arena_printf(http_arena(probe->http), "RANGE ERROR:%s", probe->failures[0]);
    }
    health_answer(probe, reason);
}

/* The first alarm that is not excluded, or NULL. */
static const char *alarm_reason(struct api *api, struct http_request *http)
{
    for (size_t i = 0; i < server_alarm_count(api->server); i++) {
        uint64_t member;
        const char *name = alarm_type_name(server_alarm_at(api->server, i, &member));
        if (!is_excluded(http, name)) {
            return arena_printf(http_arena(http), "ALARM %s", name);
        }
    }
    return NULL;
}

void web__health(const struct web *web, struct http_request *request)
{
    struct slice value;
    if (!web__is_get(web, request)) {
        return;
    }
    bool is_serializable =
        http_query_get(http_query(request), "serializable", 0, http_arena(request), &value) &&
        slice_eq_str(value, "true");
    struct probe *probe = probe_new(web, request, health_end);
    const char *reason = alarm_reason(web->api, request);
    if (reason == NULL && !is_serializable && server_leader(web->api->server) == 0) {
        reason = "RAFT NO LEADER";
    }
    if (reason != NULL) {
        health_answer(probe, reason);
        return;
    }
    probe->checks[0] = is_serializable ? &serializable_read : &linearizable_read;
    probe->count = 1;
    run(probe);
}
