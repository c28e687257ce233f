/* The loop: one thread, owning all state, turning in fixed phases.
 *
 *   poll -> timers -> input -> step -> persist -> output -> close
 *
 * Socket handlers and job completions only decode and queue (poll, input); hooks of the step
 * phase see the whole batch; persist starts the writes; output flushes what has become due.
 * Timers due together fire in the order they were started.
 *
 * The loop measures itself: from when a poll stopped waiting (env.woken_at) to the start of the
 * next is a stall, kept in a histogram and as a maximum. Work of socket handlers counts.
 *
 * Threads: all calls on the loop thread, except loop_stop() and loop_wake(). Inside of loop_run()
 * the env may give that role to another thread for a while (env.turn), never in the middle of a
 * turn. */
#ifndef ENV_LOOP_H
#define ENV_LOOP_H

#include "env/env.h"

struct loop;

enum loop_phase {
    LOOP_INPUT,
    LOOP_STEP,
    LOOP_PERSIST,
    LOOP_OUTPUT,
    LOOP_CLOSE,
    LOOP_PHASE_COUNT,
};

struct loop *loop_new(struct env *env);
void loop_free(struct loop **loop); /* no hook or timer may be left */
/* Turns until loop_stop(). */
void loop_run(struct loop *loop);
/* One turn; does not wait when `block` is false. For tests and the simulator. */
void loop_turn(struct loop *loop, bool block);
void loop_stop(struct loop *loop); /* any thread */
void loop_wake(struct loop *loop); /* any thread */

/* The clock as of the end of the last poll; inside a poll's handlers, as of its waking up. */
mono_ns loop_now(const struct loop *loop);
/* How long this turn has held the loop by now. Large work that is cut by units of work asks, too,
 * so that what makes a unit long (a cold cache, a page that has to come from the disk, a busy
 * processor) ends the slice as well. In the simulator time stands still inside of a turn. */
uint64_t loop_turn_ns(const struct loop *loop);

struct timer;
typedef void timer_fn(struct timer *timer);
struct timer {
    struct heap_node node; /* the loop's */
    mono_ns deadline;
    uint64_t sequence;
    timer_fn *fn;
};
void timer_init(struct timer *timer, timer_fn *fn);
/* Fires once at or after `deadline`. Restarting moves it. One that is started while timers fire
 * never fires before the next turn: a deadline in the past becomes loop_now() + 1. */
void timer_start(struct loop *loop, struct timer *timer, mono_ns deadline);
void timer_stop(struct loop *loop, struct timer *timer); /* safe when not running */
static inline bool timer_running(const struct timer *timer)
{
    return heap_has(&timer->node);
}

/* A standing hook: called once each turn in its phase, after the phase's tasks, in order of
 * registration. A hook may add and remove any hook, itself too. */
struct hook;
typedef void hook_fn(struct hook *hook);
struct hook {
    struct list link;
    hook_fn *fn;
};
void loop_hook_add(struct loop *loop, enum loop_phase phase, struct hook *hook, hook_fn *fn);
void loop_hook_remove(struct hook *hook);

/* A one-shot task: runs in `phase` of this turn when that is still ahead, else of the next turn
 * (a phase that has begun is not ahead), and keeps the poll from waiting. Tasks of a phase run in
 * order of queueing, before its hooks. Queueing a queued task does nothing. */
struct task;
typedef void task_fn(struct task *task);
struct task {
    struct list link;
    task_fn *fn;
};
void task_init(struct task *task, task_fn *fn);
void loop_task_add(struct loop *loop, enum loop_phase phase, struct task *task);
void loop_task_remove(struct task *task); /* safe when not queued */

/* Stall histogram: bucket i counts turns that held the loop up to 2^i * 16 us (the last one: and
 * everything above), as etcdc_loop_stall_seconds shows. */
#define LOOP_STALL_BUCKETS 16
struct loop_stats {
    uint64_t turns;
    uint64_t stall_count[LOOP_STALL_BUCKETS];
    uint64_t stall_sum_ns;
    uint64_t stall_max_ns;
};
const struct loop_stats *loop_stats(const struct loop *loop);

#endif
