#include "codec/ws.h"

#include "base/digest.h"
#include "base/mem.h"

#include <wslay/wslay.h>

struct ws {
    wslay_event_context_ptr context;
    ws_message_fn *on_message;
    void *ctx;
    struct slice in; /* what ws_recv() was given and wslay has not read yet */
    struct buf out;
    bool is_in_parts; /* a message is begun and not ended */
};

static ssize_t on_recv(wslay_event_context_ptr context, uint8_t *to, size_t len, int flags,
                       void *user_data)
{
    struct ws *ws = user_data;
    UNUSED(flags);
    size_t take = ws->in.len < len ? ws->in.len : len;
    if (take == 0) {
        wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(to, ws->in.data, take);
    ws->in = slice_skip(ws->in, take);
    return (ssize_t)take;
}

static ssize_t on_send(wslay_event_context_ptr context, const uint8_t *data, size_t len, int flags,
                       void *user_data)
{
    struct ws *ws = user_data;
    UNUSED(context);
    UNUSED(flags);
    buf_append(&ws->out, data, len);
    return (ssize_t)len;
}

static void on_msg(wslay_event_context_ptr context, const struct wslay_event_on_msg_recv_arg *arg,
                   void *user_data)
{
    struct ws *ws = user_data;
    UNUSED(context);
    if (!wslay_is_ctrl_frame(arg->opcode)) {
        ws->on_message(ws->ctx, slice_of(arg->msg, arg->msg_length));
    }
}

struct ws *ws_new(size_t message_max, ws_message_fn *on_message, void *ctx)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv,
        .send_callback = on_send,
        .on_msg_recv_callback = on_msg,
    };
    struct ws *ws = NEW(struct ws);
    ws->on_message = on_message;
    ws->ctx = ctx;
    if (wslay_event_context_server_init(&ws->context, &callbacks, ws) != 0) {
        fatal("out of memory: a WebSocket connection");
    }
    wslay_event_config_set_max_recv_msg_length(ws->context, message_max);
    return ws;
}

void ws_free(struct ws **ws)
{
    if (*ws != NULL) {
        wslay_event_context_free((*ws)->context);
        buf_fini(&(*ws)->out);
        mem_free(*ws);
        *ws = NULL;
    }
}

FALLIBLE ws_recv(struct ws *ws, struct slice bytes)
{
    ws->in = bytes;
    while (ws->in.len > 0 && wslay_event_want_read(ws->context)) {
        if (wslay_event_recv(ws->context) != 0) {
            return ERR_CLOSED;
        }
    }
    ws->in = SLICE_EMPTY;
    bool is_over =
        wslay_event_get_close_received(ws->context) || !wslay_event_want_read(ws->context);
    return is_over ? ERR_CLOSED : ERR_OK;
}

/* wslay lets control frames pass what was queued before them: nothing is left in its queues. */
static void pump(struct ws *ws)
{
    while (wslay_event_want_write(ws->context) && wslay_event_send(ws->context) == 0) {
    }
}

/* Both queueings fail only behind a close frame, where nothing may be sent any more. */
void ws_send_text(struct ws *ws, struct slice text)
{
    ASSERT(!ws->is_in_parts);
    struct wslay_event_msg message = {
        .opcode = WSLAY_TEXT_FRAME, .msg = text.data, .msg_length = text.len};
    int rv = wslay_event_queue_msg(ws->context, &message);
    UNUSED(rv);
    pump(ws);
}

/* wslay asks for the rest of a message when it wants to write, and takes "not yet" for an error; a
 * frame of a server's is a head and the bytes. */
void ws_send_part(struct ws *ws, struct slice text, bool is_last)
{
    enum { FIN = 0x80, TEXT = 1, CONTINUATION = 0, LEN_16 = 126, LEN_64 = 127 };
    uint8_t head[10] = {(uint8_t)((is_last ? FIN : 0) | (ws->is_in_parts ? CONTINUATION : TEXT))};
    size_t head_len = 2;
    pump(ws);
    if (wslay_event_get_close_sent(ws->context)) {
        return; /* nothing may follow */
    }
    if (text.len < LEN_16) {
        head[1] = (uint8_t)text.len;
    } else if (text.len <= UINT16_MAX) {
        head[1] = LEN_16;
        head_len = 4;
        put_be64(head + 2, (uint64_t)text.len << 48);
    } else {
        head[1] = LEN_64;
        head_len = 10;
        put_be64(head + 2, text.len);
    }
    buf_append(&ws->out, head, head_len);
    buf_append_slice(&ws->out, text);
    ws->is_in_parts = !is_last;
}

void ws_send_close(struct ws *ws, uint16_t status)
{
    int rv = wslay_event_queue_close(ws->context, status, NULL, 0);
    UNUSED(rv);
}

void ws_output(struct ws *ws, struct buf *out)
{
    pump(ws);
    buf_append_slice(out, buf_slice(&ws->out));
    buf_reset(&ws->out);
}

FALLIBLE ws_accept(struct slice key, struct buf *out)
{
    uint8_t digest[SHA1_LEN];
    struct buf text = {0};
    enum err err = base64_decode(key, &text);
    if (err == ERR_OK && text.len == 16) {
        buf_reset(&text);
        buf_append_slice(&text, key);
        buf_append_str(&text, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"); /* RFC 6455 section 1.3 */
        sha1(buf_slice(&text), digest);
        base64_encode(slice_of(digest, sizeof(digest)), out);
    } else {
        err = ERR_INVALID;
    }
    buf_fini(&text);
    return err;
}
