/* A whole member in one process, for tests and benchmarks: configuration, server, API and its HTTP
 * server, on the real clock and disk and on whatever sockets the env has.
 *
 * Ownership: the world owns all it has made; the env is its caller's and outlives it.
 * Threads: one. Failure: ends the process with a sentence. */
#ifndef API_MEMBER_WORLD_H
#define API_MEMBER_WORLD_H

#include "api/api.h"
#include "env/posix.h"

struct member_world {
    struct env *env;
    struct loop *loop;
    struct config *config;
    struct metrics *metrics;
    struct server *server;
    struct api *api;
    struct http_server *http; /* listens on 127.0.0.1, on a free port */
    char data_dir[512];       /* the flag; the configuration borrows it */
    bool is_ready;
    bool is_stopped;
    bool http_stopped;
};

/* Founds a member in DIR/data with two more flags (each may be NULL) and returns when it serves. */
void member_world_open(struct member_world *w, struct env *env, const char *dir, const char *flag_1,
                       const char *flag_2);
/* Connections that are still open have `grace_ns` to end. */
void member_world_close(struct member_world *w, uint64_t grace_ns);

/* For on_...-functions that take a `bool *` as their context. */
void member_world_set_true(void *ctx);
/* Ends the process when it takes longer than 20 s. */
void member_world_turn_until(struct member_world *w, const bool *done);

#endif
