/* Leases kept alive by themselves.
 *
 * A keeper is one LeaseKeepAlive stream for any number of leases. Each is renewed when a third of
 * its time has passed. A stream that is lost is opened again, on another endpoint if there is one;
 * a lease is only given up when its time has run out without an answer, or the server says that it
 * is gone.
 *
 * Ownership: a keep belongs to whoever started it, until client_keep_free().
 * Threads:   loop thread only; callbacks come from the loop and may start and free keeps, but not
 *            free the keeper.
 * Source:    clientv3's lessor. */
#ifndef CLIENT_KEEPER_H
#define CLIENT_KEEPER_H

#include "client/client_stream.h"

struct client_keeper;
struct client_keep;

/* After each renewal, with the seconds the lease has now; or once at the end, with 0 and the
 * reason, after which the keep is only good for client_keep_free(). `error` is "" else. */
typedef void client_keep_fn(struct client_keep *keep, int64_t ttl_s, const char *error, void *ctx);

struct client_keeper *client_keeper_new(struct client *client);
/* Before the client is freed, and after every keep. NULLs; safe on NULL. */
void client_keeper_free(struct client_keeper **keeper);

/* ttl_s: how long the lease has now, as far as is known (0: not at all). */
struct client_keep *client_keep_start(struct client_keeper *keeper, int64_t lease, int64_t ttl_s,
                                      client_keep_fn *fn, void *ctx);
/* The lease is left to itself. NULLs; safe on NULL. */
void client_keep_free(struct client_keep **keep);

#endif
