/* Shared inside apply_*.c only. */
#ifndef SERVER_APPLY_PRIV_H
#define SERVER_APPLY_PRIV_H

#include "server/apply.h"

#include "codec/pb.h"

/* Transactions inside transactions in an entry of the log: Go's decoder ends there. */
#define TXN_DEPTH_MAX 10000

/* What deleting a key costs, in units of server/range.h. */
#define APPLY_DELETE_UNITS 10

struct apply {
    struct apply_options options;
    uint64_t term;
    struct buf scratch; /* the reply being made: reused */
    /* Room for a small work's operations (work.c); NULL while one has it. */
    struct work_op *ops;
};

/* A Range of one key as it is now: its row, which is empty when it does not live, and what a
 * RangeResponse of it has behind its header. False: it is not such a Range, or the row is long. */
bool apply__range_one(struct apply *apply, const Etcdserverpb__RangeRequest *request,
                      struct slice *raw_out);
size_t apply__one_len(struct slice raw);
uint8_t *apply__one_put(struct slice raw, uint8_t *at);
/* Inside a write transaction of the store: does it, and appends the fields behind the header. */
enum status apply__put_body(struct apply *apply, const Etcdserverpb__PutRequest *request,
                            struct buf *out, int64_t *revision_out);
/* Whether a put could be applied: its lease and, where it refers to it, its key exist. */
enum status apply__put_check(struct apply *apply, const Etcdserverpb__PutRequest *request);

/* What an active alarm forbids: CORRUPT everything, NOSPACE what costs space. */
enum status apply__alarm_refuses(const struct apply *apply, uint64_t cost);

/* Header with `revision`, then `body` (which may lie in apply->scratch, and is gone then), into the
 * arena. */
struct slice apply__reply(struct apply *apply, int64_t revision, struct slice body,
                          struct arena *arena);

#endif
