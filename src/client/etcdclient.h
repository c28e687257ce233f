/* libetcdclient: etcd from C and C++.
 *
 * A handle is a client of one cluster: several endpoints behind one face, with the rules of etcd's
 * own clientv3 for failing over and trying again. It runs a thread of its own, on which all sockets
 * and timers live.
 *
 * Sync and async. Every operation has a form that waits for its end, and one that calls back. The
 * waiting ones end after options.timeout_ms, when that is not 0. Callbacks run on the handle's
 * thread: they must not block, may start anything asynchronous and close anything but the handle;
 * a function that waits returns ETCD_WRONG_THREAD there.
 *
 * Threads. A handle, and whatever is made from it, may be used from any number of threads at once.
 * Only closing is the caller's to order: nothing may be used while or after it is closed. After a
 * close returns (outside of callbacks) none of the callbacks of what was closed runs any more. A
 * handle does not survive fork().
 *
 * Ownership. Arguments are borrowed for the call, and copied where they are needed longer. What a
 * function returns through an out-parameter is the caller's, to be given back with the function
 * named there. Slices inside of results live as long as the result; those given to a callback until
 * it returns. Functions that close take the address of your pointer, make it NULL, and accept NULL.
 *
 * Errors. Functions return an enum etcd_code; ETCD_OK is 0. `error` may be NULL; else it gets the
 * code and a sentence, etcd's own where the server said it ("etcdserver: key not found").
 * Out-parameters stay untouched on failure. Out of memory ends the process.
 *
 * Units. Time is in milliseconds (_ms) or seconds (_s); revisions and leases are etcd's numbers.
 *
 * Link with `pkg-config --libs etcdclient`. */
#ifndef ETCDCLIENT_H
#define ETCDCLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ETCDCLIENT_VERSION "0.1.0"
const char *etcd_client_version(void); /* of the library that runs; static */

/* ---- values and errors -------------------------------------------------------------------- */

/* Bytes; they need not be text. */
struct etcd_slice {
    const void *data;
    size_t len;
};

static inline struct etcd_slice etcd_bytes(const void *data, size_t len)
{
    struct etcd_slice slice = {data, len};
    return slice;
}
static inline struct etcd_slice etcd_str(const char *text)
{
    return etcd_bytes(text, strlen(text));
}

/* Up to 16 the codes of gRPC, which are the server's; then the library's own. */
enum etcd_code {
    ETCD_OK = 0,
    ETCD_CANCELED = 1,
    ETCD_UNKNOWN = 2,
    ETCD_INVALID_ARGUMENT = 3,
    ETCD_DEADLINE_EXCEEDED = 4,
    ETCD_NOT_FOUND = 5,
    ETCD_ALREADY_EXISTS = 6,
    ETCD_PERMISSION_DENIED = 7,
    ETCD_RESOURCE_EXHAUSTED = 8,
    ETCD_FAILED_PRECONDITION = 9,
    ETCD_ABORTED = 10,
    ETCD_OUT_OF_RANGE = 11, /* compacted, or a future revision */
    ETCD_UNIMPLEMENTED = 12,
    ETCD_INTERNAL = 13,
    ETCD_UNAVAILABLE = 14,
    ETCD_DATA_LOSS = 15,
    ETCD_UNAUTHENTICATED = 16,
    ETCD_CLOSED = 100,       /* the handle, or the thing, is being closed */
    ETCD_WRONG_THREAD = 101, /* a function that waits, called from a callback */
    ETCD_LOCKED = 102,       /* somebody else has the lock */
    ETCD_SESSION_LOST = 103, /* the lease of the session is gone */
    ETCD_NOT_LEADER = 104,
    ETCD_NO_LEADER = 105,
};

struct etcd_error {
    int code; /* enum etcd_code, or what else a server sent */
    char text[508];
};

/* ---- the handle --------------------------------------------------------------------------- */

struct etcd_client;

struct etcd_options {
    const char *const *endpoints; /* "host:port", "http://host:port", "unix:path" */
    size_t endpoint_count;
    const char *username; /* NULL: no authentication */
    const char *password;
    uint32_t timeout_ms;      /* of each request; 0: none */
    uint32_t dial_timeout_ms; /* of the login; 0: none */
    uint32_t keepalive_ms;    /* ping a silent connection so often; 0: never */
};

/* Connects in the background; with a user name it waits for the login.
 *
 * ETCD_INVALID_ARGUMENT  no endpoint, or one that makes no sense
 * ETCD_UNIMPLEMENTED     an endpoint needs TLS
 * else                   why the login failed */
int etcd_open(const struct etcd_options *options, struct etcd_client **out,
              struct etcd_error *error);
/* Ends everything that is under way with ETCD_CLOSED; what was made from the handle must have been
 * closed before. Not from a callback. */
void etcd_close(struct etcd_client **client);

/* ---- requests ----------------------------------------------------------------------------- */

enum etcd_op_kind {
    ETCD_GET,
    ETCD_PUT,
    ETCD_DELETE,
    ETCD_TXN,
    /* Not inside of transactions: */
    ETCD_COMPACT,      /* forget the history before `revision` */
    ETCD_LEASE_GRANT,  /* `ttl_s`; `lease` 0: the server chooses the id */
    ETCD_LEASE_REVOKE, /* `lease` */
    ETCD_LEASE_TTL,    /* `lease`: what is left of it */
};

enum etcd_op_flags {
    ETCD_PREFIX = 1 << 0,        /* all keys that start with `key` */
    ETCD_FROM_KEY = 1 << 1,      /* all keys from `key` on */
    ETCD_PREV_KV = 1 << 2,       /* put, delete: answer what was there before */
    ETCD_IGNORE_VALUE = 1 << 3,  /* put: keep the value, change the lease */
    ETCD_IGNORE_LEASE = 1 << 4,  /* put: keep the lease */
    ETCD_SERIALIZABLE = 1 << 5,  /* get: this member's view, which may lag behind */
    ETCD_KEYS_ONLY = 1 << 6,     /* get */
    ETCD_COUNT_ONLY = 1 << 7,    /* get */
    ETCD_DESCEND = 1 << 8,       /* get: the highest first */
    ETCD_PHYSICAL = 1 << 9,      /* compact: wait until it is done on disk */
    ETCD_ATTACHED_KEYS = 1 << 10 /* lease ttl: answer its keys too */
};

enum etcd_sort {
    ETCD_SORT_KEY,
    ETCD_SORT_VERSION,
    ETCD_SORT_CREATE,
    ETCD_SORT_MOD,
    ETCD_SORT_VALUE,
};

struct etcd_txn;

/* One request. Everything that is zero is left out; start from the functions below. */
struct etcd_op {
    enum etcd_op_kind kind;
    unsigned flags;
    struct etcd_slice key;
    struct etcd_slice range_end; /* get, delete: keys from `key` up to before this one */
    struct etcd_slice value;     /* put */
    int64_t lease;               /* put: attach the key to it */
    int64_t ttl_s;
    int64_t revision; /* get: as of this revision */
    int64_t limit;    /* get: at most so many pairs */
    enum etcd_sort sort_by;
    int64_t max_create_revision; /* get: leave out pairs made later */
    const struct etcd_txn *txn;  /* borrowed as long as the op */
};

static inline struct etcd_op etcd_op_get(struct etcd_slice key)
{
    struct etcd_op op;
    memset(&op, 0, sizeof(op));
    op.kind = ETCD_GET;
    op.key = key;
    return op;
}
static inline struct etcd_op etcd_op_put(struct etcd_slice key, struct etcd_slice value)
{
    struct etcd_op op = etcd_op_get(key);
    op.kind = ETCD_PUT;
    op.value = value;
    return op;
}
static inline struct etcd_op etcd_op_delete(struct etcd_slice key)
{
    struct etcd_op op = etcd_op_get(key);
    op.kind = ETCD_DELETE;
    return op;
}
static inline struct etcd_op etcd_op_txn(const struct etcd_txn *txn)
{
    struct etcd_op op = etcd_op_get(etcd_bytes(NULL, 0));
    op.kind = ETCD_TXN;
    op.txn = txn;
    return op;
}
static inline struct etcd_op etcd_op_lease_grant(int64_t ttl_s)
{
    struct etcd_op op = etcd_op_get(etcd_bytes(NULL, 0));
    op.kind = ETCD_LEASE_GRANT;
    op.ttl_s = ttl_s;
    return op;
}

struct etcd_kv {
    struct etcd_slice key;
    struct etcd_slice value;
    int64_t create_revision; /* 0: there is no such key */
    int64_t mod_revision;
    int64_t version;
    int64_t lease;
};

/* The answer to any request. What the request does not answer is zero. */
struct etcd_result {
    enum etcd_op_kind kind;
    uint64_t cluster_id;
    uint64_t member_id;
    uint64_t raft_term;
    int64_t revision; /* of the store */
    const struct etcd_kv *kvs;
    size_t kv_count;
    int64_t count;                  /* get: pairs in the range; delete: pairs deleted */
    bool more;                      /* get: the limit has left some out */
    const struct etcd_kv *prev_kvs; /* with ETCD_PREV_KV */
    size_t prev_kv_count;
    bool succeeded; /* txn: every compare held */
    const struct etcd_result *responses;
    size_t response_count;
    int64_t lease;
    int64_t ttl_s; /* lease ttl: what is left, -1 when the lease is gone */
    int64_t granted_ttl_s;
};

/* Waits for the answer; *out (may be NULL) is for etcd_result_free(). */
int etcd_do(struct etcd_client *client, const struct etcd_op *op, struct etcd_result **out,
            struct etcd_error *error);
void etcd_result_free(struct etcd_result **result);

/* Once, on the handle's thread. The result is NULL unless error->code is ETCD_OK; both are
 * borrowed until it returns. */
typedef void etcd_done_fn(void *ctx, const struct etcd_error *error,
                          const struct etcd_result *result);
void etcd_do_async(struct etcd_client *client, const struct etcd_op *op, etcd_done_fn *done,
                   void *ctx);

/* ---- transactions ------------------------------------------------------------------------- */

enum etcd_target {
    ETCD_VERSION,
    ETCD_CREATE,
    ETCD_MOD,
    ETCD_VALUE,
    ETCD_LEASE,
};

enum etcd_relation {
    ETCD_EQUAL,
    ETCD_GREATER,
    ETCD_LESS,
    ETCD_NOT_EQUAL,
};

struct etcd_compare {
    enum etcd_target target;
    enum etcd_relation relation;
    struct etcd_slice key;
    struct etcd_slice range_end; /* all keys of the range must hold */
    int64_t number;              /* all targets but ETCD_VALUE */
    struct etcd_slice value;
};

/* A transaction is built from copies, by one thread at a time, and may be done any number of times.
 * If every compare holds (or there is none) the `then` requests are done, else the `else` ones. */
struct etcd_txn *etcd_txn_new(void);
void etcd_txn_if(struct etcd_txn *txn, const struct etcd_compare *compare);
/* Get, put, delete, and nested transactions, which are taken as they are now. Other kinds are not
 * added: etcd_do() then fails with ETCD_INVALID_ARGUMENT. */
void etcd_txn_then(struct etcd_txn *txn, const struct etcd_op *op);
void etcd_txn_else(struct etcd_txn *txn, const struct etcd_op *op);
void etcd_txn_free(struct etcd_txn **txn);

/* ---- watches ------------------------------------------------------------------------------ */

enum etcd_watch_flags {
    ETCD_WATCH_PREFIX = 1 << 0,
    ETCD_WATCH_FROM_KEY = 1 << 1,
    ETCD_WATCH_PREV_KV = 1 << 2,
    ETCD_WATCH_PROGRESS = 1 << 3, /* tell from time to time how far it is */
    ETCD_WATCH_NO_PUT = 1 << 4,
    ETCD_WATCH_NO_DELETE = 1 << 5,
    ETCD_WATCH_CREATED = 1 << 6, /* tell when it stands */
};

struct etcd_watch_options {
    struct etcd_slice key;
    struct etcd_slice range_end;
    int64_t start_revision; /* 0: what happens from now on */
    unsigned flags;
};

struct etcd_event {
    bool is_delete;
    struct etcd_kv kv;             /* of a delete: key and mod_revision alone */
    const struct etcd_kv *prev_kv; /* NULL: not asked for, or there was none */
};

/* Events of one or more whole revisions; or none: created, or a progress notification, which says
 * that nothing is missing up to `revision`. */
struct etcd_watch_response {
    int64_t revision;
    bool is_created;
    const struct etcd_event *events;
    size_t event_count;
};

/* A watch goes on by itself when its endpoint is lost, behind the last revision it has told of:
 * nothing is left out and nothing comes twice. */
struct etcd_watch;

/* On the handle's thread. At the end, once, response is NULL and error says why: ETCD_OUT_OF_RANGE
 * with *compact_revision not 0 when it cannot go on because of a compaction. */
typedef void etcd_watch_fn(void *ctx, struct etcd_watch *watch,
                           const struct etcd_watch_response *response,
                           const struct etcd_error *error, int64_t compact_revision);

/* fn NULL: responses wait for etcd_watch_next(); when many wait, the server is held back. */
struct etcd_watch *etcd_watch_open(struct etcd_client *client,
                                   const struct etcd_watch_options *options, etcd_watch_fn *fn,
                                   void *ctx);
/* Waits for the next response of a watch without callback; it lives until the next call, or the
 * close. One thread at a time. timeout_ms 0: for ever.
 *
 * ETCD_DEADLINE_EXCEEDED  none came in time: ask again
 * else                    the watch has ended; compact_revision_out (may be NULL) is set */
int etcd_watch_next(struct etcd_watch *watch, uint32_t timeout_ms,
                    const struct etcd_watch_response **out, int64_t *compact_revision_out,
                    struct etcd_error *error);
/* Asks for a progress notification, which comes once the watch has caught up. */
void etcd_watch_progress(struct etcd_watch *watch);
void etcd_watch_close(struct etcd_watch **watch);

/* ---- leases ------------------------------------------------------------------------------- */

/* Keeps a lease alive until it is closed. */
struct etcd_keep_alive;

/* After each renewal with the seconds it has now; once at the end, with 0 and the error. */
typedef void etcd_keep_alive_fn(void *ctx, int64_t ttl_s, const struct etcd_error *error);

/* fn may be NULL. */
struct etcd_keep_alive *etcd_keep_alive_open(struct etcd_client *client, int64_t lease,
                                             etcd_keep_alive_fn *fn, void *ctx);
void etcd_keep_alive_close(struct etcd_keep_alive **keep); /* the lease is left to itself */

/* ---- sessions, locks, elections ----------------------------------------------------------- */

/* A lease of one's own, kept alive; what is locked with it is freed when its owner dies. */
struct etcd_session;

/* On the handle's thread, once: the lease is gone, and with it every lock. */
typedef void etcd_session_lost_fn(void *ctx, const struct etcd_error *error);

/* ttl_s 0: 60. fn may be NULL. */
int etcd_session_open(struct etcd_client *client, int64_t ttl_s, etcd_session_lost_fn *fn,
                      void *ctx, struct etcd_session **out, struct etcd_error *error);
/* Revokes the lease, waiting at most 2 s for that. Its claims must have been closed before. */
void etcd_session_close(struct etcd_session **session);
int64_t etcd_session_lease(const struct etcd_session *session);
bool etcd_session_is_lost(struct etcd_session *session);

/* A lock that is held, or a leadership. The same session gets the same lock again at once. */
struct etcd_claim;

/* timeout_ms 0: waits for ever; on ETCD_DEADLINE_EXCEEDED nothing is left behind. */
int etcd_lock(struct etcd_session *session, struct etcd_slice name, uint32_t timeout_ms,
              struct etcd_claim **out, struct etcd_error *error);
/* ETCD_LOCKED at once when somebody else has it. */
int etcd_try_lock(struct etcd_session *session, struct etcd_slice name, struct etcd_claim **out,
                  struct etcd_error *error);
/* Waits until it leads the election, proposing `value`. */
int etcd_campaign(struct etcd_session *session, struct etcd_slice name, struct etcd_slice value,
                  uint32_t timeout_ms, struct etcd_claim **out, struct etcd_error *error);

/* The async forms. The claim is the caller's, or NULL. */
typedef void etcd_claim_fn(void *ctx, struct etcd_claim *claim, const struct etcd_error *error);
void etcd_lock_async(struct etcd_session *session, struct etcd_slice name, uint32_t timeout_ms,
                     etcd_claim_fn *done, void *ctx);
void etcd_campaign_async(struct etcd_session *session, struct etcd_slice name,
                         struct etcd_slice value, uint32_t timeout_ms, etcd_claim_fn *done,
                         void *ctx);

/* Proposes another value. ETCD_NOT_LEADER when the leadership is gone. */
int etcd_proclaim(struct etcd_claim *claim, struct etcd_slice value, struct etcd_error *error);
/* Unlocks, or resigns; the claim is gone in any case. From a callback it does not wait. */
int etcd_release(struct etcd_claim **claim, struct etcd_error *error);
struct etcd_slice etcd_claim_key(const struct etcd_claim *claim);
/* Grows from holder to holder: the fencing token. */
int64_t etcd_claim_revision(const struct etcd_claim *claim);
/* For transactions that may only happen while the claim is held. Lives as long as the claim. */
struct etcd_compare etcd_claim_guard(const struct etcd_claim *claim);

/* Who leads: one pair, its value what is proposed. ETCD_NO_LEADER. */
int etcd_leader(struct etcd_client *client, struct etcd_slice name, struct etcd_result **out,
                struct etcd_error *error);

/* Tells every leader and every value a leader proposes. `leader` is NULL at the end. */
struct etcd_observer;
typedef void etcd_observe_fn(void *ctx, const struct etcd_kv *leader,
                             const struct etcd_error *error);
struct etcd_observer *etcd_observe_open(struct etcd_client *client, struct etcd_slice name,
                                        etcd_observe_fn *fn, void *ctx);
void etcd_observe_close(struct etcd_observer **observer);

/* ---- transactional memory ------------------------------------------------------------------ */

enum etcd_isolation {
    ETCD_SERIALIZABLE_SNAPSHOT,  /* serializable, and nobody wrote what we write since we read */
    ETCD_ISOLATION_SERIALIZABLE, /* all reads are of one revision, and hold at the commit */
    ETCD_REPEATABLE_READS,       /* a key read twice reads the same, and holds at the commit */
    ETCD_READ_COMMITTED,         /* reads are of what was committed; nothing is checked */
};

struct etcd_stm;

/* The body of a transaction: reads and writes, and has no other effects, since it runs again when
 * somebody else got in between. ETCD_OK to commit; anything else gives up, and is what etcd_stm()
 * returns. */
typedef int etcd_stm_fn(struct etcd_stm *stm, void *ctx);

/* Runs it on the caller's thread until it commits. *out may be NULL. */
int etcd_stm(struct etcd_client *client, enum etcd_isolation isolation, etcd_stm_fn *apply,
             void *ctx, struct etcd_result **out, struct etcd_error *error);
/* The value, which lives until the body returns; empty when there is no such key. After a failed
 * read everything reads as empty, and the transaction fails with that error. */
struct etcd_slice etcd_stm_get(struct etcd_stm *stm, struct etcd_slice key);
/* The revision of its last change; 0: there is no such key. Of what is read, not of what the body
 * has written. */
int64_t etcd_stm_revision(struct etcd_stm *stm, struct etcd_slice key);
void etcd_stm_put(struct etcd_stm *stm, struct etcd_slice key, struct etcd_slice value,
                  int64_t lease);
void etcd_stm_delete(struct etcd_stm *stm, struct etcd_slice key);

/* ---- conveniences -------------------------------------------------------------------------- */

static inline int etcd_get(struct etcd_client *client, const char *key, struct etcd_result **out,
                           struct etcd_error *error)
{
    struct etcd_op op = etcd_op_get(etcd_str(key));
    return etcd_do(client, &op, out, error);
}
static inline int etcd_put(struct etcd_client *client, const char *key, const char *value,
                           struct etcd_error *error)
{
    struct etcd_op op = etcd_op_put(etcd_str(key), etcd_str(value));
    return etcd_do(client, &op, NULL, error);
}
static inline int etcd_delete(struct etcd_client *client, const char *key, struct etcd_error *error)
{
    struct etcd_op op = etcd_op_delete(etcd_str(key));
    return etcd_do(client, &op, NULL, error);
}

#ifdef __cplusplus
}
#endif

#endif
