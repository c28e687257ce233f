/* Shared inside env/posix*: the struct behind `struct env`, and what its parts need of each other.
 */
#ifndef ENV_POSIX_PRIV_H
#define ENV_POSIX_PRIV_H

#include "env/env.h"
#include "env/posix.h"

#include <stdatomic.h>
#include <uv.h>

#define POSIX_SIGNALS_MAX 8
#define POSIX_POOL_THREADS 4
#define POSIX_TIMER_SLACK_NS 1000 /* the system's own is 50 us */

struct posix_signal {
    uv_signal_t handle;
    struct posix_env *env;
    signal_fn *fn;
    void *ctx;
};

struct posix_net {
    struct net net;
    struct posix_env *env;
    struct list dirty;   /* sockets whose interest differs from what uv_poll knows */
    struct list starved; /* listeners that ran out of descriptors */
    uv_timer_t retry;    /* until starved listeners accept again */
    bool is_short;       /* of descriptors, or nearly */
    unsigned fd_limit;   /* accept up to this descriptor number; the rest is for files */
    unsigned sock_count; /* open sockets, dials and listeners */
};

struct posix_env {
    struct env env;
    uv_loop_t uv;
    uv_timer_t deadline; /* ends a poll that waits for a timer of the loop */
    uv_async_t async;    /* wake() and job completions */
    struct list executors;
    struct posix_executor *held; /* its only job waits for the next poll, to run on this thread */
    struct posix_stand_in *stand_in; /* NULL: not needed so far, or */
    bool has_no_stand_in;            /* there is none to be had */
    uint64_t input_count;            /* how often a socket had input */
    struct posix_signal signals[POSIX_SIGNALS_MAX];
    unsigned signal_count;
    uv_poll_t input; /* standard input, once somebody waits for it */
    int input_fd;
    bool has_input;
    void (*input_ready)(void *ctx);
    void *input_ctx;
    bool is_awake; /* this poll has run a handler already */
    /* Of the last few milliseconds: is there time to spin? */
    uint64_t waited_ns;
    uint64_t worked_ns;
    mono_ns crowded_until; /* others want our processor: no spinning before */
    uint64_t pause_ns;     /* from having nothing to do to the next event, smoothed */
    struct posix_net net;
};

/* Every libuv callback that leads to a handler calls it first: notes when the poll woke up. */
void posix__awake(struct posix_env *env);

mono_ns posix__now(void);

struct executor *posix__executor_new(struct env *env, const char *name, unsigned threads);
/* Whether a completion is expected at all. */
bool posix__executors_are_busy(struct posix_env *env);
/* Calls done() for what the threads have finished. */
void posix__executors_reap(struct posix_env *env);
/* The held job goes to its thread after all; safe when there is none. */
void posix__executors_release(struct posix_env *env);
/* Runs the held job here and now, while the stand-in minds the loop, which has nothing to do
 * before `until`. Afterwards the job is finished, and may have been reaped. */
void posix__executors_run_held(struct posix_env *env, mono_ns until);

/* Whether somebody can mind the loop now. */
bool posix__stand_in_ready(struct posix_env *env);
/* From here to disarm() the stand-in may turn the loop, on an event or a little after `until`.
 * Every interest in events has to be known to epoll: uv_run() comes first. */
void posix__stand_in_arm(struct posix_env *env, mono_ns until);
/* The loop is the caller's again; waits for the end of the stand-in's turn. */
void posix__stand_in_disarm(struct posix_env *env);
void posix__stand_in_fini(struct posix_env *env);

void posix__net_init(struct posix_net *net, struct posix_env *env);
/* Tells uv_poll about changed interests; before each poll. */
void posix__net_flush(struct posix_net *net);
void posix__net_fini(struct posix_net *net);

/* Closes what posix_process.c has made. */
void posix__process_fini(struct posix_env *env);

#endif
