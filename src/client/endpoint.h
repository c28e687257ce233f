/* Endpoints as users write them, taken apart for a connection.
 *
 *   host:port  http://host:port[/…]  https://host:port  unix:path  unix://path  unix:///path
 *
 * Ownership: results live in the caller's arena.
 * Threads:   pure functions. */
#ifndef CLIENT_ENDPOINT_H
#define CLIENT_ENDPOINT_H

#include "base/bytes.h"
#include "base/mem.h"

#define ENDPOINT_LEN_MAX 4096

enum endpoint_security {
    ENDPOINT_CLEARTEXT, /* http:// */
    ENDPOINT_TLS,       /* https://, unixs:// */
    ENDPOINT_EITHER,    /* no scheme, unix: what the client is configured for */
};

struct endpoint {
    const char *text;      /* as written */
    const char *host;      /* for net_connect(); a path when port is "unix" */
    const char *port;      /* "2379", or "unix" */
    const char *authority; /* what goes into :authority */
    enum endpoint_security security;
};

/* ERR_INVALID with a sentence naming the endpoint. */
FALLIBLE endpoint_parse(struct arena *arena, const char *text, struct endpoint *out,
                        struct errbuf *why);

#endif
