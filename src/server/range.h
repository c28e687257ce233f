/* One Range: what is fetched, filtered, sorted and cut, in slices of work.
 *
 *   open -> measure … measure -> fill … fill -> close
 *
 * First the length of the reply is found out, because a gRPC message begins with it; then its bytes
 * are given out as there is room for them. A Range at the current revision that neither filters nor
 * leaves values out nor sorts by anything but the key is measured in O(log n) when it is opened.
 * One with a sort target keeps 32 bytes a row found; every other keeps nothing that grows: rows are
 * read when they are given.
 *
 * Between two calls the store may change: the Range is as of the moment of its opening, and holds
 * the removal of rows by compaction back for as long as it is open. Whoever keeps it over turns of
 * the loop calls range_pause() before each.
 *
 * Work is counted in units of about 0.1 us, not in time: the same steps are taken in every run.
 *
 * Ownership: the request is borrowed until range_close().
 * Threads:   loop thread only.
 * Failure:   a row that is not what the index says is a damaged database and ends the process. */
#ifndef SERVER_RANGE_H
#define SERVER_RANGE_H

#include "base/mem.h"
#include "server/reply.h"
#include "server/status.h"
#include "state/mvcc.h"

#include "rpc.pb-c.h"

/* A row that is looked up costs this many units; a key that is only passed in the index, one. */
#define RANGE_ROW_UNITS ((uint64_t)12)
/* And so many each page that has to be read for it. */
#define RANGE_PAGE_UNITS ((uint64_t)12)
/* So many bytes copied cost a unit. */
#define RANGE_UNIT_BYTES ((uint64_t)256)

enum range_stage {
    RANGE_COUNT,  /* a revision of the past: how many keys */
    RANGE_WALK,   /* what the rows take, one by one */
    RANGE_GATHER, /* to be sorted: references to the rows */
    RANGE_HEAP,
    RANGE_POP,
    RANGE_HEAD, /* the length is known */
    RANGE_ROWS,
    RANGE_TAIL,
    RANGE_END,
};

/* A row found, to be sorted. */
struct range_ref {
    int64_t order; /* what is sorted by; of a value, its first 8 bytes */
    int64_t mod_main;
    uint32_t mod_sub;
    uint32_t row_len;  /* as stored */
    uint32_t body_len; /* in the reply, without tag and length */
    uint32_t at;       /* in the order of keys: decides between equals */
};
_Static_assert(sizeof(struct range_ref) == 32, "what a sorted Range keeps of a row");

/* Embed; all is private. */
struct range {
    struct mvcc_read read;
    const Etcdserverpb__RangeRequest *request;
    enum range_stage stage;
    bool is_filtered;
    bool is_sorted; /* by something else than the key */
    bool is_reverse;
    int64_t revision; /* current when it was opened: for the header */
    uint64_t limit;   /* UINT64_MAX: none */
    uint64_t total;   /* keys of the whole range */
    uint64_t found;   /* rows that pass the filters; counted up to one behind the limit */
    uint64_t give;    /* rows in the reply */
    uint64_t bytes;   /* what they take in it */

    struct range_ref *refs; /* a heap of heap_len; behind it the sorted ones, from the end */
    size_t ref_count;
    size_t ref_cap;
    size_t heap_len;
    size_t heap_next; /* to sift down next */

    uint32_t row_field; /* of the reply */
    uint64_t given;     /* rows that have left */
    struct revision row;
    uint32_t row_len;
    size_t item_len; /* of the row under way, with tag and length; 0: none is */
    size_t item_at;
    struct buf bare; /* a row without its value */
    struct buf left; /* a value that is compared */
    uint8_t head[96];
    size_t head_len;
    uint8_t tail[24];
    size_t tail_len;
    size_t edge_at; /* how much of head or tail has left */
};

/* `header` NULL: the reply is to have none (an answer inside a transaction's). The revision in it
 * is replaced by the current one.
 *
 * STATUS_COMPACTED, STATUS_FUTURE_REVISION: nothing to close. */
enum status range_open(struct mvcc *mvcc, const Etcdserverpb__RangeRequest *request,
                       const struct reply_header *header, struct range *range);
/* As of the moment `other` was opened, which is open still; mvcc_read_open_beside(). */
void range_open_beside(const struct mvcc_read *other, const Etcdserverpb__RangeRequest *request,
                       const struct reply_header *header, struct range *range);
void range_close(struct range *range);
/* Makes it, before its first byte, the prev_kvs of a DeleteRangeResponse, and nothing but them. */
void range_be_prev_kvs(struct range *range);
/* Works until the length is known (true) or *budget units are used up. */
bool range_measure(struct range *range, uint64_t *budget);
/* Of the whole reply, once it is measured. */
uint64_t range_len(const struct range *range);
/* How many rows that takes. */
uint64_t range_rows(const struct range *range);
/* The next bytes of the reply: up to `room` of them, fewer when the budget ends; none is given
 * without a unit. They are range_len() in all. */
size_t range_fill(struct range *range, uint8_t *at, size_t room, uint64_t *budget);
/* Has all of it been given? */
bool range_is_given(const struct range *range);
/* Before anything is written or the loop turns. */
void range_pause(struct range *range);

#endif
