/* One who contends for a name: for a lock, or for the leadership of an election.
 *
 * Each contender puts the key "<name>/<lease in hex>" with its lease; who has the lowest create
 * revision has the name. The others each wait for the one before them to go, and only for that one,
 * so that nobody is woken in vain. The create revision fences: it is higher than that of whoever
 * had the name before.
 *
 * Locks and elections use the same keys as clientv3/concurrency and the Lock and Election services,
 * and contend with those.
 *
 * Ownership: name and value are copied; client and watcher are borrowed for its life.
 * Threads:   loop thread only; callbacks come from the loop and may free the contender.
 * Source:    clientv3/concurrency, Mutex and Election. */
#ifndef CLIENT_CONTENDER_H
#define CLIENT_CONTENDER_H

#include "client/watcher.h"

struct client_contender;

/* Once for each operation. `error` is "" when it went well. */
typedef void client_contender_fn(struct client_contender *contender, const char *error, void *ctx);

struct client_contender_options {
    struct client *client;
    struct client_watcher *watcher;
    int64_t lease;
    struct slice name;
    struct slice value; /* what is proposed; empty for a lock */
    bool is_election;   /* who is there already proposes the new value */
    bool is_try;        /* gives up at once when somebody else has the name */
};

/* How those fail that clientv3 has sentences for. */
#define CLIENT_LOCKED "mutex: Locked by another session"
#define CLIENT_SESSION_EXPIRED "mutex: session is expired"
#define CLIENT_NOT_LEADER "election: not leader"
#define CLIENT_NO_LEADER "election: no leader"

/* Contends; done() is called when it has the name. On failure its key is deleted. */
struct client_contender *client_contender_start(const struct client_contender_options *options,
                                                client_contender_fn *done, void *ctx);
/* Deletes its key, if it is still its own, and stops contending; the done() of the start is not
 * called any more. At most one of these at a time. `deadline`: UINT64_MAX for none. */
void client_contender_leave(struct client_contender *contender, mono_ns deadline,
                            client_contender_fn *done, void *ctx);
/* Puts another value, if the key is still its own; else CLIENT_NOT_LEADER. Only after it has the
 * name. */
void client_contender_propose(struct client_contender *contender, struct slice value,
                              mono_ns deadline, client_contender_fn *done, void *ctx);
/* Nothing is told any more, nothing deleted. NULLs; safe on NULL. */
void client_contender_free(struct client_contender **contender);

struct slice client_contender_key(const struct client_contender *contender);
/* The create revision of its key, 0 before it is known. */
int64_t client_contender_revision(const struct client_contender *contender);
/* The store's when it got the name. */
int64_t client_contender_header_revision(const struct client_contender *contender);

#endif
