/* A session: a lease that is kept alive as long as its owner lives.
 *
 * Whatever is put with it (locks, candidacies, registrations) goes away with it.
 *
 * Ownership: the session copies its options; the keeper is borrowed for its life.
 * Threads:   loop thread only; callbacks come from the loop and may free the session.
 * Source:    clientv3/concurrency, Session. */
#ifndef CLIENT_SESSION_H
#define CLIENT_SESSION_H

#include "client/keeper.h"

struct client_session;

#define CLIENT_SESSION_TTL_S 60 /* clientv3's own */

struct client_session_options {
    struct client *client;
    struct client_keeper *keeper;
    int64_t ttl_s; /* 0: CLIENT_SESSION_TTL_S */
    int64_t lease; /* 0: grants one */
    /* Once: it stands (error ""), or could not be made. */
    void (*ready)(struct client_session *session, const char *error, void *ctx);
    /* Once, after ready(): the lease is gone, or may be. May be NULL. */
    void (*lost)(struct client_session *session, const char *error, void *ctx);
    void *ctx;
};

struct client_session *client_session_open(const struct client_session_options *options);
/* Leaves the lease to itself. NULLs; safe on NULL. */
void client_session_free(struct client_session **session);

int64_t client_session_lease(const struct client_session *session); /* 0 until it stands */
bool client_session_is_lost(const struct client_session *session);

#endif
