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
    const void *heard;     /* the socket that had input last; only compared */
    mono_ns several_until; /* more than one socket has been heard lately */
    uint64_t nap_late_ns;  /* how late a nap ends, smoothed */
    /* A thread sets has_done when it has finished a job, and wakes the loop unless that looks
     * anyway; the loop clears is_looking before it looks for the last time. */
    atomic_bool has_done;
    atomic_bool is_looking;
    struct posix_net net;
};

/* Every libuv callback that leads to a handler calls it first: notes when the poll woke up. */
void posix__awake(struct posix_env *env);

mono_ns posix__now(void);

/* Input has come from there. After posix__awake(). */
void posix__heard(struct posix_env *env, const void *who);

struct executor *posix__executor_new(struct env *env, const char *name, unsigned threads);
/* How long it pays to look for a completion without sleeping: a time, or 0 for not at all. */
mono_ns posix__executors_spin_until(struct posix_env *env);
/* When the first completion that it pays to look for may come; 0: there is none. */
mono_ns posix__executors_nap_until(struct posix_env *env);
/* Whether a completion is expected at all. */
bool posix__executors_are_busy(struct posix_env *env);
/* Calls done() for what the threads have finished. */
void posix__executors_reap(struct posix_env *env);

void posix__net_init(struct posix_net *net, struct posix_env *env);
/* Tells uv_poll about changed interests; before each poll. */
void posix__net_flush(struct posix_net *net);
void posix__net_fini(struct posix_net *net);

/* Closes what posix_process.c has made. */
void posix__process_fini(struct posix_env *env);

#endif
