/* The JSON gateway: every method of etcd's services as POST with JSON under /v3/ (and /v3beta/),
 * and over WebSocket.
 *
 * A request is read as JSON, called as any gRPC call of this server is (net/grpc_local.h), and its
 * messages are written as JSON: one for a unary method, one a line inside {"result":…} for a
 * stream. Streams take several values, one behind the other, as they come: they are sent while the
 * body is open, and answered meanwhile. Texts and statuses are those of
 * grpc-gateway v2, which etcd 3.6 has.
 *
 * Unlike etcd's, whose gateway is a client over a socket of its own: no certificate of the server's
 * can ever become a user (CVE-2018-16886), and an answer has no limit but the method's own.
 *
 * Threads: loop thread only. */
#ifndef API_GATEWAY_H
#define API_GATEWAY_H

#include "api/api_priv.h"

/* Whether the path (web__path()) is the gateway's: /v3/…. */
bool gateway_takes(struct slice path);
/* Whether it is one whose body may come while the answer does: a stream's. */
bool gateway_is_early(const struct web *web, struct http_request *request);
/* Answers the request. */
void gateway_serve(const struct web *web, struct http_request *request);

#endif
