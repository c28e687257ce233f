/* A client's request on its way through the server: the seam between api and server.
 *
 * api decodes and checks a message, fills a request and hands it over with server_submit(); the
 * server answers with done(), exactly once, never from inside server_submit(). Nothing in the
 * server knows a socket, a stream or a gateway.
 *
 * Ownership: the request, its message and its arena belong to the server from server_submit() until
 * done(). The reply's bytes live in the arena.
 * Threads:   loop thread only. */
#ifndef SERVER_REQUEST_H
#define SERVER_REQUEST_H

#include "base/coll.h"
#include "base/mem.h"
#include "env/env.h"
#include "server/status.h"

enum request_kind {
    /* Reads: linearizable ones wait for a confirmed read index first. */
    REQUEST_RANGE,
    REQUEST_TXN_READ, /* a Txn without a write */
    /* Writes: proposed, committed, applied. */
    REQUEST_PUT,
    REQUEST_DELETE_RANGE,
    REQUEST_TXN,
    REQUEST_COMPACT,
    REQUEST_ALARM, /* activate, deactivate */
    REQUEST_LEASE_GRANT,
    REQUEST_LEASE_REVOKE,
    REQUEST_LEASE_CHECKPOINT, /* the member's own */
    /* This member's own state. */
    REQUEST_ALARM_LIST,
    REQUEST_STATUS,
    REQUEST_HASH,
    REQUEST_HASH_KV,
    REQUEST_DEFRAGMENT,
    REQUEST_MEMBER_LIST,
    REQUEST_LEASE_LIST,
    /* The leader's clock: wait until this member is sure to lead, and sometimes for an entry. */
    REQUEST_LEASE_RENEW,
    REQUEST_LEASE_TIME_TO_LIVE,
    REQUEST_KIND_COUNT,
};

/* "Range", "Put", … as etcd's metrics and slow-request logs name them. */
const char *request_kind_name(enum request_kind kind);
/* Whether it goes through the log. */
bool request_is_write(enum request_kind kind);

struct server_request;
typedef void request_done_fn(struct server_request *request);

/* A large reply that is made while it is sent: `len` bytes in all, and never all of them in memory.
 *
 * Whoever gets one closes it, exactly once and before the request's arena goes; until then the
 * store keeps what is still to be read. It may be given up by the server when nobody takes its
 * bytes while compaction waits for them: it then fails, and is closed all the same. */
struct reply_source {
    uint64_t len;
    /* Up to `room` bytes, at least one. ERR_AGAIN: no more in this turn of the loop. ERR_CANCELED:
     * given up. */
    enum err (*fill)(void *ctx, uint8_t *at, size_t room, size_t *len_out);
    void (*close)(void *ctx);
    void *ctx;
};

struct server_request {
    /* Set by the caller. */
    enum request_kind kind;
    bool is_serializable; /* reads: answer from local state at once */
    bool takes_source;    /* a large reply may come as `source` */
    const void *message;  /* the decoded protobuf, of the type that kind tells */
    struct slice encoded; /* the same message as bytes */
    struct arena *arena;
    mono_ns started;
    request_done_fn *done;

    /* The server's. */
    struct list link;
    enum {
        REQUEST_NEW,
        REQUEST_QUEUED,   /* waits for this turn's step */
        REQUEST_READING,  /* waits for a read index */
        REQUEST_RANGING,  /* a Range whose length is being found out, or a Txn that reads */
        REQUEST_PROPOSED, /* in the log, not applied */
        REQUEST_REMOVING, /* a physical compaction, applied: its rows are being removed */
        REQUEST_WORKING,  /* a job works on it: cannot be given up */
        REQUEST_WAITING,  /* for the lessor */
        REQUEST_DONE,
    } state;
    void *attachment; /* the log entry's payload while proposed: a reference */
    uint64_t index;   /* the read index to wait for; of a waiting renewal, the revision it met */
    struct server_read *read; /* while it is RANGING */
    mono_ns handed_at;        /* raft has it; 0: not yet, or it needs none */
    mono_ns began_at;         /* when it was its turn to be applied or answered */
    mono_ns ended_at;

    /* The answer: when status is STATUS_OK the encoded response message, or, with a fill function,
     * its source. */
    enum status status;
    const char *text; /* STATUS_TOLD: what happened; in the arena */
    struct slice reply;
    struct reply_source source;
};

#endif
