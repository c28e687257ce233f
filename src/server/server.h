/* The server: one member of a cluster, from its data directory to its replies.
 *
 * server_open() finds out what the directory holds and brings the state up to it; server_start()
 * begins to elect, apply and publish. Requests come in through server_submit() and are answered
 * through their done(); the server knows no socket.
 *
 * Life of a write: server_submit() encodes it as an InternalRaftRequest whose payload points back
 * at the request; node proposes it with the others of this turn; when it is committed,
 * server_entry.c applies it from the decoded request (or, when nobody waits, from the bytes) and
 * finishes it. Life of a linearizable read: all reads of a turn share one read index; they run
 * when it is applied.
 *
 * Threads: loop thread only.
 * Failure: what the disk loses or damages while running ends the process with a sentence. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "base/log.h"
#include "base/metrics.h"
#include "env/loop.h"
#include "server/config.h"
#include "server/reply.h"
#include "server/request.h"
#include "state/member.h"

struct server;
struct watch_hub;

struct server_options {
    struct env *env;
    struct loop *loop;
    const struct config *config;
    struct log log;
    struct metrics *metrics;     /* the server's series are added to it */
    uint64_t wal_segment_bytes;  /* 0: etcd's; for tests, which cannot fill so many */
    void (*on_ready)(void *ctx); /* once: published, clients may be served */
    void *ctx;
};

/* Creates or opens the data directory. Every refusal has a sentence that names the file and the
 * remedy: ERR_LOCKED (another process), ERR_CORRUPT, ERR_UNSUPPORTED, ERR_INVALID (flags that do
 * not fit the directory), ERR_IO, ERR_PERM, ERR_NOSPACE. */
FALLIBLE server_open(const struct server_options *options, struct server **out, struct errbuf *why);
void server_start(struct server *server);
/* Refuses what comes from now on, finishes what is under way (STATUS_STOPPED where it cannot be),
 * brings everything to disk, and calls done(ctx) from the loop. */
void server_stop(struct server *server, void (*done)(void *ctx), void *ctx);
/* After server_stop()'s done, or instead of server_start(). Safe on NULL. */
void server_free(struct server **server);

/* The request is answered by its done(), exactly once and never from inside. */
void server_submit(struct server *server, struct server_request *request);
/* Nobody waits any more: done() comes as soon as the server can let go of the request, at the
 * latest when what it started has ended. A write that raft has seen may still happen. */
void server_cancel(struct server *server, struct server_request *request, enum status why);

/* ---- the database as a file -------------------------------------------------------------------
 */

/* Pins the database for somebody who reads all of it: everything applied before this call is in the
 * transaction that pinned() is called with, once and never from inside. It may be read on any
 * thread (bolt_tx_read_at). The server does not stop, and the file does not shrink, before the end
 * of the pin; but one that waits for space on the disk is given up by a stop, and pinned() does not
 * come. */
struct server_pin;
struct bolt_tx;
typedef void server_pinned_fn(void *ctx, struct bolt_tx *tx);
struct server_pin *server_pin_begin(struct server *server, server_pinned_fn *pinned, void *ctx);
/* Before pinned(), too, which then does not come. NULLs; safe on NULL. */
void server_pin_end(struct server_pin **pin);
/* Whether the database is being defragmented. */
bool server_is_defragmenting(const struct server *server);

/* Where streams of watchers are opened (state/watch.h): by the Watch service, and by others that
 * have to wait for a key. They are closed before server_free(). */
struct watch_hub *server_watch_hub(struct server *server);

/* ---- observers ------------------------------------------------------------------------------ */

uint64_t server_member_id(const struct server *server);
uint64_t server_cluster_id(const struct server *server);
/* The header of a reply that is made outside of the server, with the newest revision. */
struct reply_header server_header(const struct server *server);
const struct member_set *server_members(const struct server *server);
uint64_t server_leader(const struct server *server); /* 0: none */
/* on_ready() has been called. Before that there has been no leader yet: etcd does not serve clients
 * then; here they are served, and what needs a leader waits for the first. */
bool server_was_ready(const struct server *server);
bool server_is_leader(const struct server *server);
/* What clients are told the cluster speaks: "3.6.0", or "" before it is decided. */
const char *server_cluster_version(const struct server *server);
/* "3.6.0": what the data directory is marked with. */
const char *server_storage_version(const struct server *server);
size_t server_alarm_count(const struct server *server);
/* By position: the type is alarm.h's. */
int32_t server_alarm_at(const struct server *server, size_t at, uint64_t *member_out);
/* raft.Status as JSON, for /debug/vars. */
void server_raft_status_json(const struct server *server, struct buf *out);
const struct config *server_config(const struct server *server);
const struct log *server_log(const struct server *server);

#endif
