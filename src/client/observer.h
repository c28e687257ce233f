/* Watches who leads an election: tells every leader, and every value a leader proposes, in order.
 * Changes that follow each other faster than they can be told may be left out, but never the last.
 *
 * Ownership: the name is copied; client and watcher are borrowed for its life.
 * Threads:   loop thread only; callbacks come from the loop and may free the observer.
 * Source:    clientv3/concurrency, Election.Observe. */
#ifndef CLIENT_OBSERVER_H
#define CLIENT_OBSERVER_H

#include "client/watcher.h"

struct client_observer;

/* `range` has one pair, the leader's, and the header it came with; or NULL at the end, with the
 * reason, after which the observer is only good for client_observer_free(). */
typedef void client_observer_fn(struct client_observer *observer,
                                const Etcdserverpb__RangeResponse *range, const char *error,
                                void *ctx);

struct client_observer *client_observer_start(struct client *client, struct client_watcher *watcher,
                                              struct slice name, client_observer_fn *fn, void *ctx);
void client_observer_free(struct client_observer **observer); /* NULLs; safe on NULL */

#endif
