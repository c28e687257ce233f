/* WebSocket (RFC 6455), the server's side of an open connection: bytes in, text messages out, and
 * the reverse. The door to wslay.
 *
 * Control frames are answered here. Binary messages are taken as text, as grpc-websocket-proxy
 * does. The upgrade itself is HTTP's (net/http.h) and the caller's.
 *
 * Threads: one at a time. Its callback comes from inside ws_recv() and may call everything here but
 * ws_recv() and ws_free(). */
#ifndef CODEC_WS_H
#define CODEC_WS_H

#include "base/bytes.h"

struct ws;
typedef void ws_message_fn(void *ctx, struct slice message);

/* Messages above message_max bytes end the connection with status 1009. */
struct ws *ws_new(size_t message_max, ws_message_fn *on_message, void *ctx);
void ws_free(struct ws **ws); /* safe on NULL */

/* ERR_CLOSED: the peer has closed, or broke the protocol; what ws_output() then gives is the last,
 * and the connection ends after it. */
FALLIBLE ws_recv(struct ws *ws, struct slice bytes);
void ws_send_text(struct ws *ws, struct slice text); /* copied */
/* One message in several parts (RFC 6455 section 5.4), of which the last may be empty. No other
 * message in between; control frames find their way. Copied. */
void ws_send_part(struct ws *ws, struct slice text, bool is_last);
void ws_send_close(struct ws *ws, uint16_t status); /* 1000: normal; nothing may follow */
/* Appends what is to be written to the socket. */
void ws_output(struct ws *ws, struct buf *out);

/* Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 section 4.2.2); appends. ERR_INVALID when
 * the key is not 16 bytes in base64. */
FALLIBLE ws_accept(struct slice key, struct buf *out);

#endif
