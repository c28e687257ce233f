/* Inside the hub: watch.c (streams, watchers, groups), watch_body.c (encoding), watch_window.c
 * (events of some revisions, and whom they hit), watch_step.c (delivery).
 *
 * Words:
 *   group    the watchers of one and the same range; it is in `exact` or in `spans`
 *   window   whole revisions, their events as far as a group is interested, and for every such
 *            group which events hit it
 *   flushed  the revision up to which the synced have been told
 *   looking  a turn has brought more than can be matched at once (a DeleteRange of a million keys):
 *            its rows are looked through in slices, and so are those of the turns that come
 *            meanwhile; whoever is hit falls behind
 *
 * States of a watcher, and which list its link is on:
 *
 *   SYNCED -> BEHIND <-> IN_WINDOW -> SYNCED
 *               |  ^
 *               v  |
 *              BLOCKED
 *
 *   SYNCED     group->synced    has been told up to `flushed`; `next` only matters while it is
 *                               above that (a start in the future)
 *   BEHIND     hub->behind      has been told what is below `next`; waits for its slice
 *   BLOCKED    stream->blocked  as BEHIND, and its sink has no room
 *   IN_WINDOW  hub->members     as BEHIND, and the open window of history will serve it
 *
 * Invariants:
 *   1. Between watch_hub_changed() and the end of watch_hub_flush() the turn's window holds every
 *      event of (flushed, revision] of every group that has synced watchers; but while the hub is
 *      looking the turn's window is empty, and of the synced those are owed something that a row
 *      at or behind hub->look hits (those with next above it: nothing of that row).
 *   2. A window of history is opened, filled and delivered only while the turn's window is empty.
 *   3. compact <= next for every watcher that is not SYNCED, or it will be canceled when it is
 *      looked at: rows at and above the compact revision are all there, but for those that the same
 *      revision replaced.
 *   4. stream->behind counts its watchers that are not SYNCED, stream->future those in the heap. */
#ifndef STATE_WATCH_PRIV_H
#define STATE_WATCH_PRIV_H

#include "base/coll.h"
#include "base/itree.h"
#include "base/linmap.h"
#include "base/mem.h"
#include "base/slab.h"
#include "codec/pbwire.h"
#include "state/watch.h"

/* Costs are counted in units of a sixteenth of a microsecond or so. What a slice may cost by
 * default: */
#define STEP_COST 9600
#define SEND_COST 1             /* a response, */
#define SEND_BYTES_PER_COST 128 /* and its bytes, which are copied, and again by the system */
#define FIRST_SEND_COST                                                                            \
    64                /* to a stream in this slice: its socket will want a write of its own        \
                       */
#define TOUCH_COST 4  /* a watcher that is looked at, moved or freed */
#define ROW_COST 16   /* a row of one key, found through the index */
#define SCAN_COST 4   /* a row that comes behind the one before */
#define ENCODE_COST 2 /* an event; one that looks for what was there before costs a ROW_COST */
/* A window of history ends with the first whole revision behind either of these. */
#define WINDOW_ROWS 1024
#define WINDOW_BYTES ((size_t)512 * 1024)
/* Watchers that one window of history serves, and how far down the queue they are looked for. */
#define WINDOW_MEMBERS 256
/* What the turn's window may gather, and changes that are matched at once; more is looked for in
 * slices. */
#define TURN_HITS_MAX 8192
#define TURN_CHANGES_MAX 8192
#define TURN_BYTES_MAX ((size_t)32 * 1024 * 1024)
/* From here on a value has a chunk of its own (base/chunk.h), and to refer to it pins nothing else;
 * below, it is copied into the body. */
#define REFER_MIN ((size_t)CHUNK_LEN / 4 + 1)

#define NO_HIT UINT32_MAX

enum { WINDOW_TURN, WINDOW_HISTORY, WINDOW_COUNT };

/* A group that a window has to do with, and which of its events hit it: a chain through
 * window->hits. */
struct window_group {
    struct watch_group *group; /* with a reference */
    uint32_t first; /* NO_HIT: a watcher of the group is served by the window, and nothing hit it */
    uint32_t last;
};

/* Allocated as far as its kind of node goes; the bytes of the key, and of the end, lie behind that:
 * of groups of single keys there may be a million. */
struct watch_group {
    struct list synced;
    uint32_t refs;               /* one for each watcher, and while a window or a loop has it */
    uint32_t slot[WINDOW_COUNT]; /* its place in window->groups, if it stands there: else stale */
    uint32_t key_len : 31;
    uint32_t is_exact : 1;
    union {
        struct linmap_node exact; /* in hub->exact */
        struct itree_node spans;  /* in hub->spans */
    } at;
};
_Static_assert(offsetof(struct watch_group, at) == 32, "a million keys are watched");

enum watch_state {
    WATCHER_SYNCED,
    WATCHER_BEHIND,
    WATCHER_BLOCKED,
    WATCHER_IN_WINDOW,
};

/* Flags of ours, above the client's. */
enum {
    WATCHER_IS_QUIET = 1 << 8, /* had no event since the last tick */
    WATCHER_HAS_EXTRA = 1 << 9,
};

/* What only few watchers need. */
struct watcher_extra {
    struct list progress;    /* stream->progress or ->ticking: WATCH_PROGRESS */
    struct heap_node future; /* hub->future: start above the newest revision */
};

struct watcher {
    struct list link;         /* by state */
    struct linmap_node by_id; /* stream->ids */
    struct watch_stream *stream;
    struct watch_group *group;
    watch_id id;
    int64_t next;
    uint16_t flags;
    uint8_t state; /* enum watch_state */
    struct watcher_extra extra[];
};
_Static_assert(sizeof(struct watcher) == 64, "a million watchers are held");

struct watch_stream {
    struct watch_hub *hub;
    const struct watch_sink *sink;
    void *ctx;
    struct list link; /* hub->streams, or hub->closing */
    struct linmap ids;
    watch_id next_id;
    size_t key_bytes;
    size_t progress_count;
    uint32_t behind;
    uint32_t future;
    struct list blocked;
    struct list progress;    /* watcher_extra */
    struct list ticking;     /* those of `progress` that a tick has still to look at */
    struct list tick_link;   /* hub->ticking */
    struct list answer_link; /* hub->answers: a progress note may be due */
    size_t walk;             /* a place in ids, for closing */
    uint64_t slice;          /* hub->slice in which it was last sent to */
    bool wants_progress;
    bool is_closed;
};

struct window_event {
    struct revision rev;
    bool is_delete;
    bool is_create;
    bool knows_prev; /* `prev` is what the store said */
    struct slice key;
    struct slice kv;
    struct chunk *chunk;
    struct revision prev;
};
struct window_hit {
    uint32_t event;
    uint32_t next;
};
struct watch_window {
    unsigned slot; /* WINDOW_TURN or WINDOW_HISTORY */
    uint64_t serial;
    int64_t first;
    int64_t last; /* of history: 0 before it is whole */
    struct window_event *events;
    size_t event_count;
    size_t event_cap;
    struct window_hit *hits;
    size_t hit_count;
    size_t hit_cap;
    struct window_group *groups;
    size_t group_count;
    size_t group_cap;
    size_t bytes;
};

/* The last body of each combination of flags, whole or in the making: a revision can have so many
 * events that to encode them takes several slices. */
#define VARIANT_MASK ((unsigned)(WATCH_PREV_KV | WATCH_NO_PUT | WATCH_NO_DELETE))
struct body_cache {
    const struct watch_group *group; /* NULL: nothing is here */
    uint64_t serial;                 /* of the window */
    uint32_t first;                  /* hit that it begins with */
    uint32_t next;                   /* hit to be encoded next; NO_HIT: it is whole */
    struct watch_body *body;         /* when whole: NULL if nothing was left after filtering */
};

struct watch_hub {
    struct watch_options options;
    struct mvcc *store;
    int64_t revision; /* newest that changed() told of */
    int64_t flushed;
    struct slab_pool slabs; /* of groups and watchers */
    struct linmap exact;
    struct itree spans;
    struct list streams;
    struct list closing;
    struct list ticking;
    struct list answers;
    struct heap future; /* watcher_extra */

    struct watch_window turn;
    size_t turn_changes; /* matched in this turn */
    bool is_looking;
    struct revision look; /* where looking goes on */
    bool is_flushing;

    struct list behind;
    struct watch_window history;
    bool is_open;             /* the window of history */
    struct watch_group *only; /* the window is of this group's key alone; with a reference */
    struct revision resume;   /* where filling goes on */
    struct list members;
    size_t member_count;
    struct chunk_pool pool; /* for rows of history */

    struct body_cache cache[WINDOW_COUNT][VARIANT_MASK + 1];
    uint64_t serial;
    uint64_t slice;
    int cost_left;

    size_t stream_count;
    size_t watcher_count;
    size_t key_bytes; /* of all watchers, shared or not */
    size_t behind_count;
    uint64_t event_count;
    uint64_t row_count;
    uint64_t body_count;
};

/* watch.c */
struct watch_group *watch__exact_group(const struct watch_hub *hub, struct slice key);
struct key_range watch__group_range(const struct watch_group *group);
void watch__group_unref(struct watch_hub *hub, struct watch_group *group);
void watch__set_state(struct watcher *watcher, enum watch_state state);
void watch__free_watcher(struct watcher *watcher);
void watch__wake(struct watch_hub *hub);

/* watch_body.c */
/* What `watcher` is to get of a window: a body with a reference for the caller, or NULL when
 * nothing hits it. Shared with the one before when that wanted the same. Costs are charged. */
struct watch_body *watch__body_for(struct watch_hub *hub, const struct watch_window *window,
                                   const struct watcher *watcher);
/* Encodes a slice's worth of it. True when watch__body_for() has nothing left to do. */
bool watch__body_prepare(struct watch_hub *hub, const struct watch_window *window,
                         const struct watcher *watcher);
void watch__cache_drop(struct watch_hub *hub, unsigned slot);

/* watch_window.c */
void watch__window_begin(struct watch_hub *hub, struct watch_window *window, unsigned slot,
                         int64_t first);
/* Lets go of its events and groups. */
void watch__window_end(struct watch_hub *hub, struct watch_window *window);
void watch__window_fini(struct watch_window *window);
/* The group's hits in this window; NULL: it has nothing to do with it. */
struct window_group *watch__window_find(const struct watch_window *window,
                                        const struct watch_group *group);
struct window_group *watch__window_add(struct watch_window *window, struct watch_group *group);
/* Looks through a slice of what a turn has brought too much of. */
void watch__look(struct watch_hub *hub);
/* Takes up to `budget` units' worth of history. True when the window is whole. */
bool watch__window_fill(struct watch_hub *hub);

/* watch_step.c */
/* A watcher of the stream has caught up, or gone: answers a progress request that waits. */
void watch__settled(struct watch_stream *stream);
/* Starts in the future that are now here. */
void watch__arrive(struct watch_hub *hub);
/* Its members go back to the queue. */
void watch__give_up_window(struct watch_hub *hub);
/* Every synced watcher of the group that has not been told of `revision` goes on by history. */
void watch__fall_behind(struct watch_group *group, int64_t revision);
/* Everything up to hub->revision has been told to the synced: another turn begins. */
void watch__turn_over(struct watch_hub *hub);

#endif
