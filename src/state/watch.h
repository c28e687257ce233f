/* The watch hub: who is told of which changes, in order, without gaps and without repetition.
 *
 * A watcher is a cursor over history: a set of keys and the revision from which on its events have
 * not been delivered. One that is up to date costs nothing until one of its keys changes: then it
 * is found by the hash of the key, or in a tree of intervals, and its event, encoded once for all
 * who want the same, is handed to its sink at the end of the turn. One that starts in the past, or
 * whose sink has no room, is *behind*: it reads history in slices, and nothing is queued for it
 * meanwhile. So a reader that does not read costs what its sink has taken, and slows nobody.
 *
 * What is promised, per watcher (docs/notes/watch.md):
 *   - every event of its keys from its start revision on, each once, in the order of revisions;
 *   - all events of one revision in one batch;
 *   - a batch's or a progress note's `revision` R says that all its events up to R have been
 *     delivered, or are in this very batch (for a batch of one that is behind: that R is the
 *     store's, which etcd tells there, too);
 *   - when compaction takes what it has not seen, it ends with canceled(), and never skips.
 *
 * It is not the stream of messages: api/rpc_watch.c makes those, and others inside the process may
 * bring a sink of their own. To be told when one key is deleted, from revision r on:
 *
 *     static void gone(void *ctx, const struct watch_batch *batch) { ... }
 *     static const struct watch_sink sink = {.events = gone, .canceled = ...};
 *     stream = watch_stream_open(hub, &sink, ctx);
 *     watch_create(stream, &(struct watch_request){.key = key, .start_revision = r,
 *                                                  .flags = WATCH_NO_PUT}, &id);
 *
 * and for the events of a prefix, key and range_end as a Range names them, and a
 * watch_event_iter over the batch's body. A sink may create and cancel watchers of its stream and
 * close it from inside its callbacks, and submit requests to the server.
 *
 * Ownership: the hub owns streams and watchers; keys are copied; a body is shared by reference.
 * Threads:   loop thread only. There is no clock: whoever owns the hub calls watch_hub_step() while
 *            there is work, as wake() tells.
 * Failure:   a damaged row ends the process, as in state/mvcc. */
#ifndef STATE_WATCH_H
#define STATE_WATCH_H

#include "base/chunk.h"
#include "state/mvcc.h"

struct watch_hub;
struct watch_stream;
typedef int64_t watch_id;

#define WATCH_ID_NONE ((watch_id)-1) /* a progress note for all watchers of a stream */

/* ---- events --------------------------------------------------------------------------------- */

struct watch_piece {
    struct slice bytes;
    struct chunk *chunk; /* that holds them; NULL: the body itself does */
};

/* Events as they stand in a WatchResponse: field 11, once for each. Read-only, and shared by all
 * watchers that want the same. */
struct watch_body {
    uint32_t refs;
    uint32_t event_count;
    size_t len;
    size_t piece_count;
    struct watch_piece *pieces;
    struct buf bytes; /* what is not in chunks */
    struct watch_piece one;
};

struct watch_body *watch_body_ref(struct watch_body *body);
void watch_body_unref(struct watch_body *body); /* safe on NULL */

/* A place between two events of a body: {0} is its start. */
struct watch_cursor {
    size_t piece;
    size_t at;
};
/* The length of the encoded event there; 0 at the end. */
size_t watch_cursor_event_len(const struct watch_body *body, const struct watch_cursor *cursor);
/* Gives the next contiguous bytes, at most *left of them, and takes them from *left. False when
 * *left is 0. */
bool watch_cursor_take(const struct watch_body *body, struct watch_cursor *cursor, size_t *left,
                       struct slice *out);

/* One event, taken apart. Slices are valid until the next call on the iterator. */
struct watch_event {
    bool is_delete; /* kv has key and mod only */
    struct mvcc_row kv;
    bool has_prev;
    struct mvcc_row prev;
};
struct watch_event_iter {
    const struct watch_body *body; /* borrowed */
    struct watch_cursor cursor;
    struct buf scratch;
};
struct watch_event_iter watch_event_iter_init(const struct watch_body *body);
bool watch_event_next(struct watch_event_iter *iter, struct watch_event *out);
void watch_event_iter_fini(struct watch_event_iter *iter);

/* ---- sinks ---------------------------------------------------------------------------------- */

struct watch_batch {
    watch_id id;
    int64_t revision;
    bool may_fragment;       /* WATCH_FRAGMENT was asked for */
    struct watch_body *body; /* borrowed: watch_body_ref() to keep it */
};

struct watch_sink {
    /* Is there room? When not, nothing is delivered before watch_stream_writable(). NULL: always.
     * One batch may be larger than any room, for a revision is never split here. */
    bool (*writable)(void *ctx);
    void (*events)(void *ctx, const struct watch_batch *batch);
    /* The watcher is gone: the revisions it still wanted are compacted up to `compact_revision`
     * (then `reason` is NULL), or it may not watch any more (compact_revision 0). */
    void (*canceled)(void *ctx, watch_id id, int64_t compact_revision, const char *reason);
    /* All events up to `revision` have been delivered: to watcher `id`, or to all of the stream
     * (WATCH_ID_NONE). Needed only by those who ask for it. */
    void (*progress)(void *ctx, watch_id id, int64_t revision);
};

/* ---- the hub -------------------------------------------------------------------------------- */

struct watch_options {
    struct mvcc *store;
    void *ctx;
    /* There is work for watch_hub_step(). Called from inside of other functions: only note it. May
     * be NULL. */
    void (*wake)(void *ctx);
    /* May the owner of a stream (`sink_ctx`) watch these keys? NULL when it may, else a sentence
     * for the client, in static storage. `range` is what will be watched, after every special
     * meaning of empty ends. `refuses` is asked when a watcher is made; `revokes` before each
     * batch, and what it says ends the watcher with canceled(). Either may be NULL: everybody may.
     */
    const char *(*refuses)(void *ctx, void *sink_ctx, const struct key_range *range);
    const char *(*revokes)(void *ctx, void *sink_ctx, const struct key_range *range);
    uint64_t hash_seed; /* random: so that nobody can choose colliding keys */
    /* Limits, against floods; 0: the default. */
    size_t stream_watchers_max;  /* on one stream: 1 million */
    size_t stream_key_bytes_max; /* of one stream's watchers: 64 MiB */
    size_t watchers_max;         /* on all streams: 16 million */
    size_t key_bytes_max;        /* of all watchers: 1 GiB */
    size_t turn_changes_max;     /* looked at in one turn; more, in slices: 8192 */
    unsigned step_cost; /* what one slice may cost, in sixteenths of a microsecond or so: 9600 */
};

struct watch_hub *watch_hub_new(const struct watch_options *options);
void watch_hub_free(struct watch_hub **hub); /* every stream is closed; safe on NULL */

/* mvcc_hooks.changed: notes what has changed for those who are up to date, and delivers nothing. */
void watch_hub_changed(struct watch_hub *hub, int64_t revision, const struct mvcc_change *changes,
                       size_t count);
/* Delivers what was noted, unless there is so much that it is looked for in slices. At the end of
 * every turn in which something may have changed, before compaction can take a step. */
void watch_hub_flush(struct watch_hub *hub);
/* Flushes, and does one slice of everything else: some 0.5 ms at most. True: call again soon. */
bool watch_hub_step(struct watch_hub *hub);
/* More has changed than could be looked at at once, and who is hit by it is still being looked for
 * in the store's rows: compaction must not take a step. */
bool watch_hub_is_looking(const struct watch_hub *hub);
/* The store was replaced (a snapshot was installed): every watcher goes on from its cursor. */
void watch_hub_restored(struct watch_hub *hub, struct mvcc *store);

/* ---- streams and watchers ------------------------------------------------------------------- */

/* Watchers that share a sink and a space of ids. `sink` is borrowed for good. */
struct watch_stream *watch_stream_open(struct watch_hub *hub, const struct watch_sink *sink,
                                       void *ctx);
/* No callback comes any more; its watchers go in steps. *stream becomes NULL; safe on NULL. */
void watch_stream_close(struct watch_stream **stream);

enum watch_flags {
    WATCH_PREV_KV = 1 << 0,
    WATCH_NO_PUT = 1 << 1,
    WATCH_NO_DELETE = 1 << 2,
    WATCH_PROGRESS = 1 << 3,
    WATCH_FRAGMENT = 1 << 4,
};
struct watch_request {
    struct slice key; /* empty: from the smallest key on, which is "\0" */
    struct slice range_end;
    int64_t start_revision; /* 0: what comes from now on */
    watch_id id;            /* 0: the stream's choice */
    unsigned flags;
};
/* Events come later, never from inside.
 *
 * ERR_INVALID     the range is empty
 * ERR_EXISTS      the stream has a watcher of that id
 * ERR_COMPACTED   the start revision is negative
 * ERR_PERM        refuses() said no: *why_out is its sentence
 * ERR_TOO_LARGE   over a limit of the stream, or of all */
FALLIBLE watch_create(struct watch_stream *stream, const struct watch_request *request,
                      watch_id *id_out, const char **why_out);
/* False when the stream has no such watcher. */
bool watch_cancel(struct watch_stream *stream, watch_id id);
/* There is room again, after writable() has said no. */
void watch_stream_writable(struct watch_stream *stream);
/* Asks for progress(WATCH_ID_NONE), which comes once, when every watcher of the stream has been
 * told of everything up to the newest revision (those with a start in the future: when that is
 * here). */
void watch_stream_ask_progress(struct watch_stream *stream);
/* An interval has passed: watchers with WATCH_PROGRESS that had no event in it and are up to date
 * get their progress(), in steps. */
void watch_stream_tick(struct watch_stream *stream);

/* ---- observers ------------------------------------------------------------------------------ */

size_t watch_stream_watchers(const struct watch_stream *stream);
/* How many of them have WATCH_PROGRESS. */
size_t watch_stream_progress_watchers(const struct watch_stream *stream);

struct watch_stats {
    uint64_t streams;
    uint64_t watchers;
    uint64_t behind;       /* watchers that read history: etcd calls them slow, or unsynced */
    uint64_t events;       /* delivered, to any watcher */
    uint64_t history_rows; /* read for those behind */
    uint64_t bodies;       /* encoded */
    int64_t lag;           /* revisions from the slowest watcher's cursor to the newest */
};
void watch_hub_stats(const struct watch_hub *hub, struct watch_stats *out);

/* ASSERTs what must hold. Slow; for tests and sim. */
void watch_hub_check(const struct watch_hub *hub);

#endif
