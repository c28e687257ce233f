/* For tests of the hub: a store on a simulated disk, a hub on it, and streams whose sinks write
 * down what they are told, a line each:
 *
 *   1: 0 @5 PUT a=x(4,5,2) DELETE b was y    stream 1, watcher 0, revision 5: (create, mod,
 * version) 1: 0 canceled compact 4 1: progress @5 */
#ifndef STATE_WATCH_WORLD_H
#define STATE_WATCH_WORLD_H

#include "state/watch.h"
#include "storage/manual_env.h"

#define WORLD_STREAMS 8

struct watch_world;

struct world_stream {
    struct watch_world *world;
    unsigned number;
    struct watch_stream *stream;
    bool is_full; /* its sink has no room */
    bool was_refused;
    unsigned sends_left; /* when not 0: full after so many */
    struct watch_body *kept;
    void (*on_events)(struct world_stream *stream, const struct watch_batch *batch);
};

struct watch_world {
    struct disk *disk;
    struct manual_env manual;
    struct backend *backend;
    struct mvcc *store;
    struct watch_hub *hub;
    struct world_stream streams[WORLD_STREAMS];
    struct buf told;
    unsigned wakes;
    uint64_t index;
    const char *refusal; /* what refuses() says */
    const char *revoked;
};

void watch_world_init(struct watch_world *world, const struct watch_options *options);
void watch_world_fini(struct watch_world *world);

void watch_world_begin(struct watch_world *world);
void watch_world_end(struct watch_world *world);
/* A transaction each. */
void watch_world_put(struct watch_world *world, const char *key, const char *value);
void watch_world_delete(struct watch_world *world, const char *key, const char *end);
void watch_world_compact(struct watch_world *world, int64_t revision);

void watch_world_open(struct watch_world *world, unsigned stream);
/* Returns the id, or the negative error. */
int64_t watch_world_create(struct watch_world *world, unsigned stream,
                           const struct watch_request *request);
/* "a" or "a-b" from a revision on. */
int64_t watch_world_watch(struct watch_world *world, unsigned stream, const char *key,
                          const char *end, int64_t start, unsigned flags);
/* Steps until there is nothing to do; returns how many. */
unsigned watch_world_settle(struct watch_world *world);
/* What was told since, as text. */
const char *watch_world_told(struct watch_world *world);

#endif
