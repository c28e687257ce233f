/* What the server's end-to-end tests share: a loop with a server, its services, and a client. */
#ifndef NET_HTTP_WORLD_H
#define NET_HTTP_WORLD_H

#include "net/grpc_client.h"
#include "net/http.h"

struct world {
    struct env *env;
    struct loop *loop;
    struct http_server *server;
    struct grpc_conn *conn;
    char port[8];
    struct grpc_call *held; /* of test.T/Hold */
    unsigned cancels;
    enum grpc_status cancel_why;
    unsigned starts;
    unsigned pulls;
    uint64_t pulled;
    struct grpc_call *pulling; /* the last call with a source */
    bool asks_peer;            /* when that is closed */
    bool rests;                /* a source has just said ERR_AGAIN */
    unsigned closes;
    unsigned writables; /* of test.T/Bidi */
    bool stopped;
    struct http_request *request; /* of /hold */
    bool request_gone;
    unsigned pieces; /* of bodies of /early, those that came behind the first */
};

#define PATTERN_LEN 65536
extern uint8_t pattern[PATTERN_LEN];

/* A server on a free port of 127.0.0.1 with service test.T; options may be NULL. */
struct world *world_new(const struct http_options *options);
void world_connect(struct world *world); /* world->conn */
void world_free(struct world *world);

/* Turns the loop until *done, at most 20 s, or for so many milliseconds. */
void turn_until(struct world *world, const bool *done);
void turn_some(struct world *world, uint64_t ms);

#endif
