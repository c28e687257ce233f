/* The gateway over WebSocket, as grpc-websocket-proxy in front of etcd's: every message of the
 * client's is input, every line of the answer is a message. The method of the request does not
 * matter. */
#include "api/gateway_priv.h"

#include "codec/ws.h"

#include <strings.h>

/* As a request body may have (net/http.h). */
#define MESSAGE_MAX ((size_t)4 * 1024 * 1024)
#define WS_NORMAL 1000
#define WS_FAILED 1011

/* ---- the upgrade -------------------------------------------------------------------------------
 */

static struct slice trim(struct slice text)
{
    while (text.len > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
        text = slice_skip(text, 1);
    }
    while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t')) {
        text.len--;
    }
    return text;
}

/* Whether the field's comma-separated list has the token, in any letter case. */
static bool has_token(const struct http_request *request, const char *name, const char *token)
{
    struct slice list;
    if (!http_header(request, name, &list)) {
        return false;
    }
    while (list.len > 0) {
        struct slice item;
        list = slice_split(list, ',', &item);
        item = trim(item);
        if (item.len == strlen(token) &&
            strncasecmp((const char *)item.data, token, item.len) == 0) {
            return true;
        }
    }
    return false;
}

/* RFC 9110 section 7.8: "A server MUST ignore an Upgrade header field that is received in an
 * HTTP/1.0 request." */
bool gateway__is_upgrade(const struct http_request *request)
{
    return !http_is_old(request) && has_token(request, "Connection", "upgrade") &&
           has_token(request, "Upgrade", "websocket");
}

bool gateway__protocol_token(const struct http_request *request, struct slice *out)
{
    struct slice list;
    struct slice scheme;
    struct slice token;
    if (!http_header(request, "Sec-WebSocket-Protocol", &list)) {
        return false;
    }
    struct slice rest = slice_split(list, ',', &scheme);
    rest = slice_split(rest, ',', &token);
    if (!slice_eq_str(trim(scheme), "Bearer") || rest.len > 0 || trim(token).len == 0) {
        return false;
    }
    *out = trim(token);
    return true;
}

/* ---- lines and messages ------------------------------------------------------------------------
 */

struct socket {
    struct gateway gateway;
    struct ws *ws;
    bool is_receiving; /* inside ws_recv(): the end waits until it returns */
    bool is_broken;    /* what came was no WebSocket: no last words */
    bool is_over;
};

static struct socket *socket_of(struct gateway *gateway)
{
    return CONTAINER_OF(gateway, struct socket, gateway);
}

static void flush(struct socket *socket)
{
    struct buf out = {0};
    ws_output(socket->ws, &out);
    http_reply_write(socket->gateway.request, buf_slice(&out));
    buf_fini(&out);
}

static void close_socket(struct socket *socket)
{
    struct http_request *request = socket->gateway.request;
    ws_free(&socket->ws);
    gateway__free(&socket->gateway);
    http_reply_end(request);
}

/* A message needs no line break. */
static void send_line(struct socket *socket, struct slice json)
{
    json.len -= json.data[json.len - 1] == '\n';
    ws_send_text(socket->ws, json);
}

static void socket_line(struct gateway *gateway, struct slice json)
{
    struct socket *socket = socket_of(gateway);
    send_line(socket, json);
    flush(socket);
}

/* A message in parts, for those who read it as well as for us: no more of it is in memory. */
static void socket_piece(struct gateway *gateway, struct slice json, bool is_last)
{
    struct socket *socket = socket_of(gateway);
    gateway->has_begun = true;
    ws_send_part(socket->ws, json, is_last);
    flush(socket);
}

static void socket_end(struct gateway *gateway, enum grpc_status status, struct slice error)
{
    struct socket *socket = socket_of(gateway);
    if (!socket->is_broken) {
        bool is_cut = gateway->has_begun && status != GRPC_OK; /* in the middle of a large reply */
        if (status != GRPC_OK && !is_cut) {
            send_line(socket, error);
        } else if (gateway->row->kind == GRPC_UNARY && !gateway->has_begun) {
            ws_send_text(socket->ws, buf_slice(&gateway->line));
        }
        ws_send_close(socket->ws, is_cut ? WS_FAILED : WS_NORMAL);
        flush(socket);
    }
    socket->is_over = true;
    if (!socket->is_receiving) {
        close_socket(socket);
    }
}

static const struct gateway_carrier socket_carrier = {
    .line = socket_line, .piece = socket_piece, .end = socket_end};

static void on_message(void *ctx, struct slice message)
{
    struct socket *socket = ctx;
    if (!socket->is_over && gateway__input(&socket->gateway, message, false) && !socket->is_over) {
        gateway__input(&socket->gateway, SLICE("\n"), false); /* the end of a number, too */
    }
}

static void on_input(struct http_request *request, struct slice bytes, void *ctx)
{
    struct socket *socket = socket_of(ctx);
    UNUSED(request);
    socket->is_receiving = true;
    enum err err = ws_recv(socket->ws, bytes);
    socket->is_receiving = false;
    if (socket->is_over) {
        close_socket(socket);
        return;
    }
    flush(socket);
    if (err != ERR_OK) {
        socket->is_broken = true;
        gateway__fail(&socket->gateway, GRPC_CANCELED, "");
    }
}

void gateway__upgrade(const struct web *web, struct http_request *request,
                      const struct gateway_row *row)
{
    struct slice key;
    struct slice version;
    struct slice token;
    struct buf accept = {0};
    bool is_good = slice_eq_str(http_method(request), "GET") &&
                   http_header(request, "Sec-WebSocket-Version", &version) &&
                   slice_eq_str(version, "13") && http_header(request, "Sec-WebSocket-Key", &key) &&
                   ws_accept(key, &accept) == ERR_OK;
    if (!is_good) {
        buf_fini(&accept);
        http_reply_error(request, 400, "Bad Request");
        return;
    }
    const struct http_field fields[4] = {
        {SLICE("Upgrade"), SLICE("websocket")},
        {SLICE("Connection"), SLICE("Upgrade")},
        {SLICE("Sec-WebSocket-Accept"), buf_slice(&accept)},
        {SLICE("Sec-WebSocket-Protocol"), SLICE("Bearer")},
    };
    size_t count = gateway__protocol_token(request, &token) ? 4 : 3;
    struct socket *socket = ARENA_NEW(http_arena(request), struct socket);
    gateway__init(&socket->gateway, web, request, row, &socket_carrier);
    socket->ws = ws_new(MESSAGE_MAX, on_message, socket);
    http_reply_upgrade(request, fields, count, on_input, gateway__event, &socket->gateway);
    buf_fini(&accept);
    gateway__open(&socket->gateway);
}
