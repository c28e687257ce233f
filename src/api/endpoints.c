/* HTTP/1 endpoints of a member: routing, CORS, the Host check, and the short answers.
 *
 * Order as in etcd: the Host header is checked (DNS rebinding, CVE-2018-5702), CORS fields are
 * added, OPTIONS ends there, then the path decides. */
#include "api/gateway.h"

#include "codec/gzip.h"
#include "codec/json.h"

/* ---- answering ------------------------------------------------------------------------------- */

static bool list_has(const struct config_strings *list, struct slice text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (slice_eq_str(text, list->items[i])) {
            return true;
        }
    }
    return false;
}

/* The origin to allow: "*", the request's own when it is listed, or none. */
static struct slice allowed_origin(const struct api *api, const struct http_request *request)
{
    struct slice origin;
    if (list_has(&api->config->cors, SLICE("*"))) {
        return SLICE("*");
    }
    if (http_header(request, "Origin", &origin) && list_has(&api->config->cors, origin)) {
        return origin;
    }
    return SLICE_EMPTY;
}

#define FIELDS_MAX 8

/* The listener's own fields and the caller's. */
static size_t gather_fields(const struct web *web, struct http_request *request,
                            const struct http_field *fields, size_t count, struct http_field *all)
{
    size_t n = 0;
    struct slice origin = web->is_client ? allowed_origin(web->api, request) : SLICE_EMPTY;
    if (origin.len > 0) {
        all[n++] = (struct http_field){SLICE("Access-Control-Allow-Headers"),
                                       SLICE("accept, content-type, authorization")};
        all[n++] = (struct http_field){SLICE("Access-Control-Allow-Methods"),
                                       SLICE("POST, GET, OPTIONS, PUT, DELETE")};
        all[n++] = (struct http_field){SLICE("Access-Control-Allow-Origin"), origin};
    }
    ASSERT(n + count <= FIELDS_MAX);
    for (size_t i = 0; i < count; i++) {
        all[n++] = fields[i];
    }
    return n;
}

void web__reply_fields(const struct web *web, struct http_request *request, unsigned status,
                       const struct http_field *fields, size_t count, struct slice body)
{
    struct http_field all[FIELDS_MAX];
    http_reply(request, status, all, gather_fields(web, request, fields, count, all), body);
}

void web__reply_begin(const struct web *web, struct http_request *request, unsigned status,
                      const struct http_field *fields, size_t count, http_event_fn *on_event,
                      void *ctx)
{
    struct http_field all[FIELDS_MAX];
    size_t n = gather_fields(web, request, fields, count, all);
    http_reply_begin(request, status, all, n, on_event, ctx);
}

#define PLAIN "text/plain; charset=utf-8"

void web__reply(const struct web *web, struct http_request *request, unsigned status,
                const char *type, struct slice body)
{
    struct http_field field = {SLICE("Content-Type"), slice_str(type == NULL ? PLAIN : type)};
    web__reply_fields(web, request, status, &field, 1, body);
}

void web__reply_error(const struct web *web, struct http_request *request, unsigned status,
                      const char *text)
{
    const struct http_field fields[] = {
        {SLICE("Content-Type"), SLICE(PLAIN)},
        {SLICE("X-Content-Type-Options"), SLICE("nosniff")},
        {SLICE("Allow"), SLICE("GET")},
    };
    struct slice body = slice_str(arena_printf(http_arena(request), "%s\n", text));
    web__reply_fields(web, request, status, fields, status == 405 ? 3 : 2, body);
}

bool web__is_get(const struct web *web, struct http_request *request)
{
    if (slice_eq_str(http_method(request), "GET")) {
        return true;
    }
    web__reply_error(web, request, 405, "Method Not Allowed");
    return false;
}

struct slice web__path(const struct web *web, struct http_request *request)
{
    static const char beta[] = "/v3beta/";
    struct slice path = http_path(request);
    if (path.len > 0 && memchr(path.data, '%', path.len) != NULL &&
        http_unescape(path, false, http_arena(request), &path) != ERR_OK) {
        return http_path(request); /* it is nobody's */
    }
    if (web->is_client && slice_starts(path, slice_str(beta))) {
        struct slice rest = slice_skip(path, sizeof(beta) - 1);
        struct buf v3 = {0};
        buf_append_str(&v3, "/v3/");
        buf_append_slice(&v3, rest);
        path = slice_of(arena_dup(http_arena(request), v3.data, v3.len), v3.len);
        buf_fini(&v3);
    }
    return path;
}

/* ---- other ways to write a path -----------------------------------------------------------------
 *
 * Go's ServeMux, which etcd's listeners are made of, leads to the path without what may be left out
 * ("//version", of clients whose base URL ends in a slash), and from "/v3" to "/v3/". */

static void append_html(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        switch (text.data[i]) {
        case '&':
            buf_append_str(out, "&amp;");
            break;
        case '<':
            buf_append_str(out, "&lt;");
            break;
        case '>':
            buf_append_str(out, "&gt;");
            break;
        case '"':
            buf_append_str(out, "&#34;");
            break;
        case '\'':
            buf_append_str(out, "&#39;");
            break;
        default:
            buf_append_byte(out, text.data[i]);
        }
    }
}

/* As it came, but for what may not stand in a field. */
static void append_query(struct slice query, struct buf *out)
{
    buf_append_str(out, query.len > 0 ? "?" : "");
    for (size_t i = 0; i < query.len; i++) {
        if (query.data[i] >= 0x80) {
            buf_printf(out, "%%%02x", query.data[i]);
        } else {
            buf_append_byte(out, query.data[i]);
        }
    }
}

static void redirect(const struct web *web, struct http_request *request, struct slice path)
{
    struct buf to = {0};
    struct buf body = {0};
    bool is_get = slice_eq_str(http_method(request), "GET");
    bool has_type = is_get || slice_eq_str(http_method(request), "HEAD");
    http_path_escape(path, &to);
    append_query(http_query(request), &to);
    if (is_get) {
        buf_append_str(&body, "<a href=\"");
        append_html(buf_slice(&to), &body);
        buf_append_str(&body, "\">Moved Permanently</a>.\n\n");
    }
    const struct http_field fields[] = {
        {SLICE("Location"), buf_slice(&to)},
        {SLICE("Content-Type"), SLICE("text/html; charset=utf-8")},
    };
    web__reply_fields(web, request, 301, fields, has_type ? 2 : 1, buf_slice(&body));
    buf_fini(&body);
    buf_fini(&to);
}

/* True: answered. */
static bool redirected(const struct web *web, struct http_request *request, struct slice path)
{
    struct slice clean = http_path_clean(path, http_arena(request));
    if (slice_eq_str(clean, "/v3") && web->is_client && web->api->config->enable_grpc_gateway) {
        clean = SLICE("/v3/");
    }
    if (slice_eq(clean, path)) {
        return false;
    }
    redirect(web, request, clean);
    return true;
}

/* ---- /version, /metrics, /debug/vars -----------------------------------------------------------
 */

static void version(const struct web *web, struct http_request *request)
{
    if (!web__is_get(web, request)) {
        return;
    }
    const char *cluster = server_cluster_version(web->api->server);
    char *body = arena_printf(http_arena(request),
                              "{\"etcdserver\":\"%s\",\"etcdcluster\":\"%s\",\"storage\":\"%s\"}",
                              CONFIG_ETCD_VERSION, cluster[0] == '\0' ? "not_decided" : cluster,
                              server_storage_version(web->api->server));
    web__reply(web, request, 200, "application/json", slice_str(body));
}

/* Whether the client lists gzip among what it takes, and not with q=0. */
static bool accepts_gzip(const struct http_request *request)
{
    struct slice list;
    if (!http_header(request, "Accept-Encoding", &list)) {
        return false;
    }
    while (list.len > 0) {
        struct slice item;
        struct slice name;
        list = slice_split(list, ',', &item);
        while (item.len > 0 && item.data[0] == ' ') {
            item = slice_skip(item, 1);
        }
        struct slice quality = slice_split(item, ';', &name);
        if (slice_eq_str(name, "gzip")) {
            return !slice_eq_str(quality, "q=0");
        }
    }
    return false;
}

static void metrics(const struct web *web, struct http_request *request)
{
    struct buf text = {0};
    struct buf packed = {0};
    metrics_write(web->api->options.metrics, &text);
    const struct http_field fields[] = {
        {SLICE("Content-Type"), SLICE("text/plain; version=0.0.4; charset=utf-8")},
        {SLICE("Content-Encoding"), SLICE("gzip")},
    };
    if (accepts_gzip(request)) {
        gzip_encode(buf_slice(&text), &packed);
        web__reply_fields(web, request, 200, fields, 2, buf_slice(&packed));
    } else {
        web__reply_fields(web, request, 200, fields, 1, buf_slice(&text));
    }
    buf_fini(&packed);
    buf_fini(&text);
}

static void debug_vars(const struct web *web, struct http_request *request)
{
    const struct api_options *options = &web->api->options;
    struct buf out = {0};
    buf_append_str(&out, "{\n\"cmdline\": [");
    for (size_t i = 0; i < options->argc; i++) {
        buf_append_str(&out, i == 0 ? "" : ",");
        json_append_string(&out, slice_str(options->argv[i]));
    }
    buf_printf(&out,
               "],\n\"file_descriptor_limit\": %llu,\n\"memstats\": {\"Sys\":%llu},\n"
               "\"raft.status\": ",
               (unsigned long long)options->fd_limit,
               (unsigned long long)options->resident_bytes());
    server_raft_status_json(web->api->server, &out);
    buf_append_str(&out, "\n}\n");
    web__reply(web, request, 200, "application/json; charset=utf-8", buf_slice(&out));
    buf_fini(&out);
}

/* ---- routing ------------------------------------------------------------------------------------
 */

/* The host of a Host header without its port; brackets of IPv6 stay off. */
static struct slice hostname(struct slice host)
{
    if (host.len > 0 && host.data[0] == '[') {
        struct slice inside;
        slice_split(slice_skip(host, 1), ']', &inside);
        return inside;
    }
    struct slice name;
    slice_split(host, ':', &name);
    return name;
}

/* CVE-2018-5702: a page in a browser must not reach us under a name of its own. */
static bool host_is_allowed(const struct api *api, const struct http_request *request)
{
    struct slice host;
    const struct config_strings *list = &api->config->host_whitelist;
    if (list->count == 0 || list_has(list, SLICE("*"))) {
        return true;
    }
    return http_header(request, "Host", &host) && list_has(list, hostname(host));
}

/* What is behind `prefix` and a slash; true also when nothing is. */
static bool is_under(struct slice path, const char *prefix, struct slice *rest)
{
    struct slice head = slice_str(prefix);
    if (!slice_starts(path, head)) {
        return false;
    }
    *rest = slice_skip(path, head.len);
    if (rest->len == 0) {
        return true;
    }
    if (rest->data[0] != '/') {
        return false;
    }
    *rest = slice_skip(*rest, 1);
    return true;
}

static void route(const struct web *web, struct http_request *request)
{
    struct slice path = web__path(web, request);
    struct slice rest;
    if (redirected(web, request, path)) {
        return;
    }
    if (web->has_metrics && slice_eq_str(path, "/metrics")) {
        metrics(web, request);
    } else if (web->has_metrics && slice_eq_str(path, "/health")) {
        web__health(web, request);
    } else if (web->has_metrics && is_under(path, "/livez", &rest)) {
        web__livez(web, request, rest);
    } else if (web->has_metrics && is_under(path, "/readyz", &rest)) {
        web__readyz(web, request, rest);
    } else if (web->has_version && slice_eq_str(path, "/version")) {
        version(web, request);
    } else if (web->is_client && slice_eq_str(path, "/debug/vars")) {
        debug_vars(web, request);
    } else if (web->is_client && web->api->config->enable_grpc_gateway && gateway_takes(path)) {
        gateway_serve(web, request);
    } else {
        web__reply_error(web, request, 404, "404 page not found");
    }
}

void web__on_request(struct http_request *request, void *ctx)
{
    const struct web *web = ctx;
    if (web->is_client && !host_is_allowed(web->api, request)) {
        struct slice host = SLICE_EMPTY;
        http_header(request, "Host", &host);
        http_reply_error(request, 421,
                         arena_printf(http_arena(request),
                                      "The Host header was unrecognized: %.*s. Add the name to "
                                      "--host-whitelist, or use a TLS listener.",
                                      (int)(host.len < 256 ? host.len : 256),
                                      (const char *)host.data));
        return;
    }
    if (web->is_client && slice_eq_str(http_method(request), "OPTIONS")) {
        web__reply_fields(web, request, 200, NULL, 0, SLICE_EMPTY);
        return;
    }
    route(web, request);
}

bool web__is_early(struct http_request *request, void *ctx)
{
    return gateway_is_early(ctx, request);
}
