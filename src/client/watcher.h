/* Watches that resume by themselves.
 *
 * A watcher is one Watch stream and any number of watches on it. When the stream is lost (the
 * endpoint went away, say) it is opened again, on another endpoint if there is one, and every watch
 * goes on behind the last revision it has told of: no event is missed and none comes twice. What
 * cannot be resumed, because the server has compacted it away or says no, ends the watch with the
 * reason. Fragments of one revision are put together before they are told.
 *
 * Ownership: a watch belongs to whoever started it, until client_watch_free(). Responses are
 *            borrowed until the callback returns.
 * Threads:   loop thread only; callbacks come from the loop, never from inside these functions. A
 *            callback may start and free watches, but not free the watcher.
 * Source:    clientv3 3.4 to 3.6, watcher: which errors end a watch, where it resumes. */
#ifndef CLIENT_WATCHER_H
#define CLIENT_WATCHER_H

#include "client/client_stream.h"
#include "rpc.pb-c.h"

struct client_watcher;
struct client_watch;

struct client_watch_options {
    struct slice key;
    struct slice range_end; /* empty: one key; "\0": from the key on */
    int64_t start_revision; /* 0: what happens from now on */
    bool prev_kv;
    bool progress_notify;
    bool no_put;    /* leave puts out */
    bool no_delete; /* leave deletes out */
    bool fragment;  /* the server may cut up what is larger than it likes to send */
    bool created_notify;
};

struct client_watch_update {
    /* Never NULL. Events, or none: a progress notification, the creation (when asked for, and only
     * the first), or the end. */
    const Etcdserverpb__WatchResponse *response;
    bool is_end;       /* nothing follows; the watch is only good for client_watch_free() */
    uint32_t status;   /* of the end; GRPC_OK else */
    const char *error; /* of the end, as clientv3 shows it; "" else */
};

typedef void client_watch_fn(struct client_watch *watch, const struct client_watch_update *update,
                             void *ctx);

/* requires_leader: a member that has lost its leader ends the watches. */
struct client_watcher *client_watcher_new(struct client *client, bool requires_leader);
/* Ends every watch without a word; they must still be freed, before or after. Before the client is
 * freed. NULLs; safe on NULL. Not from inside a callback of its own. */
void client_watcher_free(struct client_watcher **watcher);

/* Options are copied. */
struct client_watch *client_watch_start(struct client_watcher *watcher,
                                        const struct client_watch_options *options,
                                        client_watch_fn *fn, void *ctx);
/* Cancels it if it has not ended. NULLs; safe on NULL. */
void client_watch_free(struct client_watch **watch);

/* Asks the server how far the watches are. Each is told the answer as a progress notification; a
 * server answers only once all of the stream have caught up. */
void client_watcher_progress(struct client_watcher *watcher);

/* While paused nothing is told, and the server runs into our window. */
void client_watcher_pause(struct client_watcher *watcher, bool is_paused);

/* The revision the watch would resume from; 0: it has seen none. */
int64_t client_watch_next_revision(const struct client_watch *watch);

/* Walks the lists and ASSERTs what must hold. For tests. */
void client_watcher_check(const struct client_watcher *watcher);

#endif
