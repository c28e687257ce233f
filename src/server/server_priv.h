/* Shared inside server*.c only: the member's parts and how they hang together. */
#ifndef SERVER_SERVER_PRIV_H
#define SERVER_SERVER_PRIV_H

#include "server/server.h"

#include "server/apply.h"
#include "server/banner.h"
#include "server/ids.h"
#include "server/node.h"
#include "server/work.h"
#include "state/lease.h"
#include "state/watch.h"
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

/* Units of work (server/range.h: some 0.1 us each) that one turn of the loop may spend: on entries
 * and on reads some millisecond each, on replies that are on their way out half of one. What is
 * left over waits for the next turn. */
#define SERVER_APPLY_UNITS ((uint64_t)10000)
#define SERVER_READ_UNITS ((uint64_t)10000)
#define SERVER_SOURCE_UNITS ((uint64_t)5000)
/* Large work asks for the time, too. A turn that has taken so long gives it no more than the least
 * that makes it go on; and to replies on their way out it gives so much, or less while others ask:
 * who has asked within the last 10 ms will ask again, and be in the way of each slice. */
#define SERVER_TURN_NS NS_PER_MS
#define SERVER_SOURCE_NS (500 * NS_PER_US)
#define SERVER_SOURCE_SHARED_NS (150 * NS_PER_US)
#define SERVER_SHARED_NS (10 * NS_PER_MS)
/* Changes of past transactions that a turn lets go of: some 0.1 ms. */
#define SERVER_TIDY_ROWS 4096

/* The database's file is kept this much longer than it is: enough for deletes, a compaction and the
 * alarm's own row on a full disk. */
#define SERVER_DB_RESERVE_BYTES ((uint64_t)4 << 20)

struct server_units {
    uint64_t apply;
    uint64_t reads;
    uint64_t sources;
};

struct lease_desk;
struct server_metrics;
struct server_watch;
struct snapshotter;

/* What the last report of each said (server_space.c). */
struct server_space {
    enum wal_space wal;
    enum backend_space backend;
    bool is_snapshot_short;
    unsigned alarm_put_off; /* for so many retries: a defragmentation gives space back; 0: not */
    struct timer retry;
};

/* The entry that is being applied over several turns, if there is one. Nothing of it can be seen,
 * and its rows are not sealed, before its end; the entries behind it wait. */
struct server_entry {
    bool is_on;
    struct server_request *request; /* NULL: nobody waits */
    enum request_kind kind;
    const void *message;
    uint64_t turn; /* in which it was worked on last */
    mono_ns began;
    struct work work;
};

/* Committed entries that wait for their turn: [first, count), with references to their payloads. */
struct server_backlog {
    struct raft_entry *entries;
    size_t first;
    size_t count;
    size_t cap;
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
    struct lessor *lessor;
    struct mvcc *mvcc;
    struct server_watch *watch;
    struct alarms *alarms;
    struct apply *apply;
    struct node *node;
    struct lease_desk *leases;
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
    struct list proposed;         /* writes in raft's hands, by start */
    struct list reads;            /* linearizable reads of this turn */
    struct list reading;          /* reads that wait for the read index asked for */
    struct list confirmed;        /* reads whose index is known but not applied */
    struct list immediate;        /* reads of local state, this turn */
    struct list ranging;          /* reads that are being worked on */
    struct list sources;          /* struct server_range: replies on their way out */
    struct list finished;         /* done() is due */
    struct list compacting;       /* physical compactions that wait for their rows to go */
    struct list pins;             /* struct server_pin: those that wait for a commit */
    size_t working;               /* hash jobs and commits under way */
    uint64_t turn;                /* counts turns of the loop */
    struct server_units per_turn; /* what a turn may spend; tests make it little */
    struct server_units left;     /* of it in this turn */
    uint64_t units_max;           /* the most that a turn has spent */
    size_t source_askers;         /* sources asked in this turn */
    size_t source_shares;         /* in the last */
    size_t compact_commits;       /* the latter among them */
    mono_ns asked_at;             /* when the last request came */
    mono_ns sources_until;        /* for so long this turn works for sources */
    uint64_t read_context;        /* of the read index asked for */
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

    struct server_entry entry;
    struct server_backlog backlog;
    struct arena scratch; /* one entry's decoded request */
};

/* server.c */
/* Another turn is to follow without a wait. */
void server__kick(struct server *server);
/* The entry no longer belongs to the request: it is applied from its bytes, or has been applied. */
void server__detach(struct server_request *request);
void server__finish(struct server *server, struct server_request *request, enum status status);
void server__raise_nospace(struct server *server);
void server__ready(struct server *server);
void server__compact_soon(struct server *server);
struct node_hooks server__node_hooks(struct server *server);
/* The only member. */
static inline bool server__is_alone(const struct server *server)
{
    const struct raft_conf_state *state = &server->conf_state;
    return state->voters.count == 1 && state->voters.ids[0] == server->member_id &&
           state->voters_outgoing.count == 0 && state->learners.count == 0 &&
           state->learners_next.count == 0;
}
static inline struct banner_member server__banner(const struct server *server)
{
    return (struct banner_member){.member_id = server->member_id, .cluster_id = server->cluster_id};
}

/* May large work go on in this turn? */
static inline bool server__has_time(const struct server *server)
{
    return loop_turn_ns(server->loop) < SERVER_TURN_NS;
}

/* server_boot.c */
FALLIBLE server__boot(struct server *server, struct errbuf *why);

/* server_origin.c: the database is not of a newer etcd, nor of another cluster than the log.
 * ERR_UNSUPPORTED, ERR_INVALID. */
FALLIBLE server__check_origin(struct server *server, struct errbuf *why);

/* server_entry.c */
raft_index server__apply_entries(void *ctx, const struct raft_entry *entries, size_t count);
/* Goes on with what the last turn left. */
void server__continue_entries(struct server *server);
/* Is an entry half done, or does one wait? */
bool server__is_applying(const struct server *server);
void server__backlog_free(struct server *server);
/* What was applied, for metrics and warnings. */
struct server_done {
    enum request_kind kind;
    const void *message;
    struct server_request *request; /* NULL: nobody waits for it */
    mono_ns began;
    enum status status;
    uint64_t reply_len;
};
/* Metrics, warnings, and what the member has to do itself. */
void server__applied(struct server *server, const struct server_done *done);
struct raft_payload *server__encode(struct server *server, const struct server_request *request);
struct raft_payload *server__encode_publish(struct server *server);
struct raft_payload *server__encode_version(struct server *server);
struct raft_payload *server__encode_nospace(struct server *server);
void server__conf_state_json(const struct raft_conf_state *state, struct buf *out);
void server__member_rows_put(struct server *server, const struct member *member);

/* A member's own request, of kind `kind`. */
struct raft_payload *server__encode_own(struct server *server, enum request_kind kind,
                                        const void *message);

/* server_lease.c: the leader's duties towards leases, and what waits for it (docs/notes/lease.md)
 */
struct lease_desk *lease_desk_new(struct server *server);
void lease_desk_free(struct lease_desk **desk);
void lease_desk_stop(struct lease_desk *desk);
/* In each turn: at its beginning; after what is committed was applied; after the reads. */
void lease_desk_advance(struct lease_desk *desk);
void lease_desk_turn(struct lease_desk *desk);
void lease_desk_do_due(struct lease_desk *desk);
void lease_desk_tick(struct lease_desk *desk);
/* This member does not lead any more. */
void lease_desk_leader_lost(struct lease_desk *desk);
/* The answer to a read index; false when it was not asked for here. */
bool lease_desk_read_index(struct lease_desk *desk, struct slice context);
/* Chooses an id for a grant without one. */
void lease_desk_choose_id(struct lease_desk *desk, struct server_request *request);
/* REQUEST_LEASE_LIST, _RENEW and _TIME_TO_LIVE: answers, or makes it wait. */
void lease_desk_run(struct lease_desk *desk, struct server_request *request);

/* server_lease_list.c: REQUEST_LEASE_LIST, and REQUEST_LEASE_TIME_TO_LIVE with the keys of a lease,
 * which exists */
void server__lease_keys(struct server *server, struct server_request *request);
void server__lease_list(struct server *server, struct server_request *request);

/* server_local.c */
void server__run_read(struct server *server, struct server_request *request);

/* server_maintenance.c */
void server__defragment(struct server *server, struct server_request *request);
/* Those that wait for a commit that does not come any more; their owners still end them. */
void server__give_up_pins(struct server *server);

/* server_work.c */
/* Applies a Txn, a DeleteRange or a LeaseRevoke, or begins to: server->entry.is_on says so.
 * `request` may be NULL. */
void server__entry_begin(struct server *server, struct server_request *request,
                         enum request_kind kind, const void *message, struct arena *arena);
/* Goes on. True when it is done and answered. */
bool server__entry_step(struct server *server);

/* server_range.c */
/* Answers with pieces, which lie in the request's arena. */
void server__answer_pieces(struct server *server, struct server_request *request,
                           struct pieces *pieces);
/* Begin, and end at once what is small. */
void server__run_range(struct server *server, struct server_request *request);
void server__run_txn(struct server *server, struct server_request *request);
/* Works on those that are not done yet. */
void server__continue_ranges(struct server *server);
/* Before it was answered. */
void server__drop_range(struct server_request *request);
/* Gives up replies that nobody takes while compaction waits for their rows. */
void server__give_up_sources(struct server *server);
/* Gives all of them up. */
void server__stop_sources(struct server *server);

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

/* server_watch.c */
void server__watch_open(struct server *server);
void server__watch_stop(struct server *server);
void server__watch_close(struct server *server); /* every stream is closed */
void server__watch_changed(void *ctx, int64_t revision, const struct mvcc_change *changes,
                           size_t count);
/* What this turn has changed goes to those who watch. */
void server__watch_flush(struct server *server);

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
void server_metrics_defragmenting(struct server_metrics *metrics);
void server_metrics_defragmented(struct server_metrics *metrics, uint64_t took_ns, bool ok);
void server_metrics_snapshot_read(struct server_metrics *metrics, uint64_t took_ns);

#endif
