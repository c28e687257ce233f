/* Shared inside gateway*.c only. */
#ifndef API_GATEWAY_PRIV_H
#define API_GATEWAY_PRIV_H

#include "api/gateway.h"
#include "codec/gojson.h"
#include "codec/pbjson.h"
#include "net/grpc_local.h"

struct gateway_row {
    const char *http_path;
    const char *grpc_path;
    enum grpc_kind kind;
    const ProtobufCMessageDescriptor *request;
    const ProtobufCMessageDescriptor *response;
};

/* gateway_table.c. NULL: the gateway has no such path. */
const struct gateway_row *gateway__find(struct slice path);

/* How an answer leaves: as HTTP/1, or as WebSocket messages (gateway_ws.c). */
struct gateway;
struct gateway_carrier {
    /* One message of a stream: a line of JSON with its line break. */
    void (*line)(struct gateway *gateway, struct slice json);
    /* What comes next of the one message of a large unary reply. */
    void (*piece)(struct gateway *gateway, struct slice json, bool is_last);
    /* The last word: `error` is empty, or the JSON that tells how the call failed, a line too if it
     * is a stream's. After it the gateway is gone. */
    void (*end)(struct gateway *gateway, enum grpc_status status, struct slice error);
};

/* One call that is being translated. In the arena of its request, and freed with it. */
struct decode;
struct gateway {
    struct http_request *request;
    const struct web *web;
    const struct gateway_row *row;
    const struct gateway_carrier *carrier;
    struct grpc_call *call; /* NULL before it is started and once it has ended */
    struct buf input;       /* what the client said and is not sent */
    size_t input_at;        /* of it, what is */
    struct gojson scan;     /* of what is behind that */
    struct decode *decode;  /* a large value on its way through the pool; the end waits for it */
    struct task more;       /* goes on with the input in the next turn */
    bool is_last;           /* nothing follows the input */
    bool is_waiting;        /* `more` is due */
    size_t input_count;     /* values sent */
    bool has_input_ended;   /* no further value is taken */
    bool is_unread;         /* the first one made no sense */
    bool is_closed;         /* the call has been told so */
    bool has_begun;         /* HTTP: the head of the answer has left; a large reply's first piece */
    bool is_busy; /* inside a function of grpc_local.h: the end is carried out when it returns */
    bool has_ended;
    enum grpc_status status;
    struct buf error;            /* the text of the end */
    struct buf line;             /* unary: the reply; else scratch */
    struct pbjson_pieces pieces; /* unary: a large reply */
};

/* gateway.c */
void gateway__init(struct gateway *gateway, const struct web *web, struct http_request *request,
                   const struct gateway_row *row, const struct gateway_carrier *carrier);
/* Starts the call. False: it has ended already, and the gateway is gone. */
bool gateway__open(struct gateway *gateway);
/* Takes more of what the client says, and sends the values that are whole; `is_last`: nothing will
 * follow. The gateway may be gone afterwards: false then. */
bool gateway__input(struct gateway *gateway, struct slice text, bool is_last);
/* Ends the call: nobody waits for it, or it cannot go on. */
void gateway__fail(struct gateway *gateway, enum grpc_status status, const char *text);
/* The client is gone or there is room again. */
void gateway__event(struct http_request *request, bool gone, void *ctx);
/* What it owns outside of the arena. For carriers, at the end. */
void gateway__free(struct gateway *gateway);

/* gateway_ws.c */
bool gateway__is_upgrade(const struct http_request *request);
void gateway__upgrade(const struct web *web, struct http_request *request,
                      const struct gateway_row *row);
/* The token that a browser, which cannot set fields, hides in Sec-WebSocket-Protocol:
 * "Bearer, TOKEN". */
bool gateway__protocol_token(const struct http_request *request, struct slice *out);

#endif
