/* Work: a request that may be large, applied in steps: a Txn, one that only reads, a DeleteRange, a
 * LeaseRevoke.
 *
 *   open -> step … step -> end
 *
 * A request is first made a list of its operations, in the order in which they are done: of a Txn
 * those on the path that its compares choose, nested ones included; a DeleteRange is a list of one.
 * Then the list is walked: checked, done, and the reply laid out. Every walk can be left after any
 * step and taken up in a later turn of the loop.
 *
 * What writes is one transaction of the store (state/mvcc.h): suspended between two steps, so that
 * nobody sees any of it, and ended by work_end(). Nothing else is applied meanwhile; that is for
 * the caller to see to. What only reads is as of the revision at which it was opened, whatever is
 * written or compacted between its steps.
 *
 * Small answers of a Txn are copied while they are at hand; the rows of a large Range, or of a
 * DeleteRange with prev_kv, are not: the Range is left open, as of its place in the transaction,
 * and is a piece of the reply (server/pieces.h). So a reply takes the memory of what is small in
 * it.
 *
 * Work is counted in units (server/range.h).
 *
 * Ownership: request and arena stay until the reply's pieces are closed, or work_close().
 * Threads:   loop thread only. */
#ifndef SERVER_WORK_H
#define SERVER_WORK_H

#include "server/apply.h"
#include "server/pieces.h"

enum work_kind {
    WORK_TXN,
    WORK_TXN_READ,
    WORK_DELETE,
    WORK_REVOKE,
};

enum work_stage {
    WORK_CHOOSE, /* compares, and the list of what is to be done */
    WORK_CHECK_PUTS,
    WORK_CHECK_RANGES,
    WORK_BEGIN,
    WORK_DO,
    WORK_MEASURE, /* how long each part of the reply is, from the inside out */
    WORK_LAY_OUT,
    WORK_END,
};

/* An operation. The numbers are the fields of ResponseOp. */
enum work_op_kind {
    WORK_OP_NONE, /* one without a request */
    WORK_OP_RANGE,
    WORK_OP_PUT,
    WORK_OP_DELETE,
    WORK_OP_TXN,
    WORK_OP_REVOKE, /* of no transaction */
};

struct work_op {
    enum work_op_kind kind;
    uint32_t parent; /* the transaction that it is in; the first's is itself */
    uint32_t depth;  /* of a transaction: how many it is in, and itself */
    uint32_t next;   /* of a transaction: which of its operations is listed next */
    bool succeeded;
    const void *request;
    int64_t revision; /* in its header */
    uint64_t deleted;
    uint64_t len; /* of its response, without tag and length */
    /* What follows the fields made of the above: */
    struct range *rows; /* rows still to be read; or */
    uint8_t *body;      /* bytes; NULL: in work->out at body_at */
    size_t body_at;
    size_t body_len;
};

/* Embed; all is private. */
struct work {
    struct apply *apply;
    enum work_kind kind;
    enum work_stage stage;
    enum status status;
    bool wants_reply;
    bool is_begun;     /* its transaction of the store is */
    bool is_suspended; /* between two steps */
    bool is_decided;   /* the compares of the transaction under way are */
    bool is_anchored;
    bool is_comparing; /* `compared` is open */
    bool has_compared; /* a key of it */
    bool is_ranging;   /* `rows` is open */
    bool is_deleting;  /* `keys` is begun */
    bool lacks_room;   /* when it began, the quota was exceeded */
    struct arena *arena;
    const void *request;
    lease_id lease; /* to be revoked */
    uint64_t cost;  /* of the quota */

    struct work_op *ops;  /* in preorder */
    struct work_op *lent; /* the apply's room for few of them */
    size_t count;
    size_t cap;
    size_t at;      /* the one under way */
    size_t compare; /* of its compares */
    size_t kept;    /* operations with rows */

    struct buf out;     /* small answers */
    struct range *rows; /* of the operation under way; or to be used again */
    struct pieces *pieces;
    uint8_t
        *text; /* what is made of the reply: up to text_end, not yet in a piece: from text_from */
    uint8_t *text_from;
    uint8_t *text_end;

    struct mvcc_read *compared; /* of a range that is compared */
    struct mvcc_read *anchor;   /* a read that is opened only to be one at that revision */
    struct mvcc_delete keys;    /* set when it is used */
};

/* A status other than OK has begun nothing: no work_close(). Without wants_reply nobody reads it.
 */
enum status work_open(struct work *work, struct apply *apply, enum work_kind kind,
                      const void *request, struct arena *arena, bool wants_reply);
/* True when all is done but the end. */
bool work_step(struct work *work, uint64_t *budget);
/* Makes what was written readable. STATUS_OK: the reply is *pieces_out, to be closed, or, with
 * that NULL, *reply_out. STATUS_NO_SPACE may have been applied, as apply.h tells; any other status
 * has changed nothing. */
enum status work_end(struct work *work, struct slice *reply_out, struct pieces **pieces_out);
/* Gives up what only reads, between two steps. */
void work_close(struct work *work);

#endif
