/* Shared inside server*.c only: the member's parts and how they hang together. */
#ifndef SERVER_SERVER_PRIV_H
#define SERVER_SERVER_PRIV_H

#include "server/server.h"

#include "server/apply.h"
#include "server/banner.h"
#include "server/ids.h"
#include "server/node.h"
#include "storage/snap.h"

/* Entries that may be committed and not applied before writes are refused (etcd's gap). */
#define SERVER_APPLY_GAP_MAX 5000
/* A read index that has not come by then is asked for again. */
#define SERVER_READ_RETRY_NS (500 * NS_PER_MS)
/* Old segments and snapshot files are looked for this often. */
#define SERVER_PURGE_NS (30 * NS_PER_SEC)
/* The lowest version whose files these are: every etcd since then can take the directory over
 * (docs/notes/cluster-version.md). */
#define SERVER_FILES_VERSION "3.4.0"

/* The database's file is kept this much longer than it is: enough for deletes, a compaction and the
 * alarm's own row on a full disk. */
#define SERVER_DB_RESERVE_BYTES ((uint64_t)4 << 20)

struct server_metrics;
struct snapshotter;

/* What the last report of each said (server_space.c). */
struct server_space {
    enum wal_space wal;
    enum backend_space backend;
    bool is_snapshot_short;
    struct timer retry;
};

struct server {
    struct server_options options;
    const struct config *config;
    struct loop *loop;
    struct log log;
    uint64_t member_id;
    uint64_t cluster_id;
    struct id_generator ids;

    struct member_set *members;
    struct backend *backend;
    struct mvcc *mvcc;
    struct alarms *alarms;
    struct apply *apply;
    struct node *node;
    struct snapshotter *snapshotter;
    struct server_metrics *metrics;

    struct raft_conf_state conf_state; /* as of applied */
    uint64_t applied;                  /* last applied index */
    uint64_t applied_term;
    uint64_t leader;
    bool is_leader;
    bool has_campaigned; /* as the only voter, at start */
    bool has_published;
    bool is_publishing; /* an attribute request of ours is in the log */
    bool is_stopping;

    /* Requests. */
    struct list proposed;   /* writes in raft's hands, by start */
    struct list reads;      /* linearizable reads of this turn */
    struct list reading;    /* reads that wait for the read index asked for */
    struct list confirmed;  /* reads whose index is known but not applied */
    struct list immediate;  /* reads of local state, this turn */
    struct list finished;   /* done() is due */
    struct list compacting; /* physical compactions that wait for their rows to go */
    size_t working;         /* hash jobs and commits under way */
    size_t compact_commits; /* the latter among them */
    uint64_t read_context;  /* of the read index asked for */
    mono_ns read_asked;
    struct hook step_hook;
    struct hook persist_hook;
    struct timer tick; /* timeouts, publishing, retries */
    struct timer compact_timer;
    bool nospace_proposed; /* our alarm is in the log */
    struct server_space space;

    void (*stopped)(void *ctx);
    void *stopped_ctx;
    struct hook stop_hook;
    struct task kick_task;

    struct arena scratch; /* one entry's decoded request */
};

/* server.c */
/* The entry no longer belongs to the request: it is applied from its bytes, or has been applied. */
void server__detach(struct server_request *request);
void server__finish(struct server *server, struct server_request *request, enum status status);
void server__raise_nospace(struct server *server);
void server__ready(struct server *server);
void server__compact_soon(struct server *server);
struct node_hooks server__node_hooks(struct server *server);
static inline struct banner_member server__banner(const struct server *server)
{
    return (struct banner_member){.member_id = server->member_id, .cluster_id = server->cluster_id};
}

/* server_boot.c */
FALLIBLE server__boot(struct server *server, struct errbuf *why);

/* server_origin.c: the database is not of a newer etcd, nor of another cluster than the log.
 * ERR_UNSUPPORTED, ERR_INVALID. */
FALLIBLE server__check_origin(struct server *server, struct errbuf *why);

/* server_entry.c */
void server__apply_entries(void *ctx, const struct raft_entry *entries, size_t count);
struct raft_payload *server__encode(struct server *server, const struct server_request *request);
struct raft_payload *server__encode_publish(struct server *server);
struct raft_payload *server__encode_version(struct server *server);
struct raft_payload *server__encode_nospace(struct server *server);
void server__conf_state_json(const struct raft_conf_state *state, struct buf *out);
void server__member_rows_put(struct server *server, const struct member *member);

/* server_local.c */
void server__run_read(struct server *server, struct server_request *request);

/* server_snapshot.c */
struct snapshotter *snapshotter_new(struct server *server, raft_index snapshot_index);
void snapshotter_free(struct snapshotter **snapshotter);
/* After entries were applied: starts a snapshot when one is due. */
void snapshotter_applied(struct snapshotter *snapshotter);
bool snapshotter_is_idle(const struct snapshotter *snapshotter);
/* One that did not fit on the disk is begun again. */
void snapshotter_retry(struct snapshotter *snapshotter);
/* One that waits for the database is forgotten. */
void snapshotter_give_up(struct snapshotter *snapshotter);

/* server_space.c */
void server_space_init(struct server *server);
void server_space_stop(struct server *server);
/* Reports: of the log, the database and the snapshotter. */
void server_space_wal(enum wal_space space, void *ctx);
void server_space_backend(void *ctx, enum backend_space space, const char *why);
void server_space_snapshot(struct server *server, bool is_short, const char *why);
/* May a client's write go on that costs so much of the quota? */
bool server_space_allows(const struct server *server, enum request_kind kind, uint64_t cost);

/* server_metrics.c */
struct server_metrics *server_metrics_new(struct server *server);
void server_metrics_free(struct server_metrics **metrics);
void server_metrics_proposal_failed(struct server_metrics *metrics);
void server_metrics_applied(struct server_metrics *metrics, enum request_kind kind, bool ok,
                            uint64_t took_ns);
void server_metrics_leader_changed(struct server_metrics *metrics, bool has_leader, bool is_leader);
void server_metrics_wal_synced(uint64_t sync_ns, uint64_t bytes, void *ctx);
struct backend_commit;
void server_metrics_committed(void *ctx, const struct backend_commit *commit);
void server_metrics_snap_saved(struct server_metrics *metrics, uint64_t took_ns);

#endif
