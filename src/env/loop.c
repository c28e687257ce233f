#include "env/loop.h"

#include "base/mem.h"

#include <stdatomic.h>

/* Invariants:
 * 1. A timer is in the heap exactly while it runs; equal deadlines are ordered by `sequence`,
 *    which only grows.
 * 2. While timers fire, every timer started has a deadline past `now`, so firing ends.
 * 3. A queued task is on one list: tasks[phase], or `running` once its phase has begun. */
struct loop {
    struct env *env;
    struct heap timers;
    uint64_t sequence; /* of the last timer started */
    mono_ns now;       /* end of the last poll */
    bool is_firing;
    struct list hooks[LOOP_PHASE_COUNT];
    struct list tasks[LOOP_PHASE_COUNT];
    struct list running; /* tasks of the phase that is on */
    atomic_bool stop;
    struct loop_stats stats;
};

static bool timer_less(const struct heap_node *a, const struct heap_node *b)
{
    const struct timer *left = (const struct timer *)a;
    const struct timer *right = (const struct timer *)b;
    return left->deadline != right->deadline ? left->deadline < right->deadline
                                             : left->sequence < right->sequence;
}
_Static_assert(offsetof(struct timer, node) == 0, "timer_less casts");

struct loop *loop_new(struct env *env)
{
    struct loop *loop = NEW(struct loop);
    loop->env = env;
    heap_init(&loop->timers, timer_less);
    for (size_t i = 0; i < LOOP_PHASE_COUNT; i++) {
        list_init(&loop->hooks[i]);
        list_init(&loop->tasks[i]);
    }
    list_init(&loop->running);
    loop->now = env_now_mono(env);
    return loop;
}

void loop_free(struct loop **loop)
{
    if (*loop == NULL) {
        return;
    }
    ASSERT((*loop)->timers.count == 0);
    for (size_t i = 0; i < LOOP_PHASE_COUNT; i++) {
        ASSERT(list_empty(&(*loop)->hooks[i]));
        ASSERT(list_empty(&(*loop)->tasks[i]));
    }
    ASSERT(list_empty(&(*loop)->running));
    heap_fini(&(*loop)->timers);
    mem_free(*loop);
    *loop = NULL;
}

static void fire_timers(struct loop *loop)
{
    loop->is_firing = true;
    for (;;) {
        struct heap_node *node = heap_min(&loop->timers);
        if (node == NULL) {
            break;
        }
        struct timer *timer = CONTAINER_OF(node, struct timer, node);
        if (timer->deadline > loop->now) {
            break;
        }
        heap_remove(&loop->timers, node);
        timer->fn(timer);
    }
    loop->is_firing = false;
}

static void run_tasks(struct loop *loop, enum loop_phase phase)
{
    list_splice(&loop->running, &loop->tasks[phase]);
    for (struct list *node = list_pop(&loop->running); node != NULL;
         node = list_pop(&loop->running)) {
        struct task *task = CONTAINER_OF(node, struct task, link);
        task->fn(task);
    }
}

/* A cursor node travels behind the hook being called, so that it may remove any hook. */
static void run_hooks(struct loop *loop, enum loop_phase phase)
{
    struct list *head = &loop->hooks[phase];
    struct list cursor;
    list_add_head(head, &cursor);
    while (cursor.next != head) {
        struct list *node = cursor.next;
        list_del(&cursor);
        list_add_head(node, &cursor);
        struct hook *hook = CONTAINER_OF(node, struct hook, link);
        hook->fn(hook);
    }
    list_del(&cursor);
}

static bool has_tasks(const struct loop *loop)
{
    for (size_t i = 0; i < LOOP_PHASE_COUNT; i++) {
        if (!list_empty(&loop->tasks[i])) {
            return true;
        }
    }
    return false;
}

static mono_ns next_deadline(const struct loop *loop)
{
    struct heap_node *node = heap_min(&loop->timers);
    return node == NULL ? UINT64_MAX : CONTAINER_OF(node, struct timer, node)->deadline;
}

static void count_stall(struct loop_stats *stats, uint64_t stall_ns)
{
    size_t bucket = 0;
    while (bucket < LOOP_STALL_BUCKETS - 1 && stall_ns > (16 * NS_PER_US) << bucket) {
        bucket++;
    }
    stats->turns++;
    stats->stall_count[bucket]++;
    stats->stall_sum_ns += stall_ns;
    if (stall_ns > stats->stall_max_ns) {
        stats->stall_max_ns = stall_ns;
    }
}

void loop_turn(struct loop *loop, bool block)
{
    struct env *env = loop->env;
    bool wait = block && !has_tasks(loop) && !atomic_load(&loop->stop);
    env_poll(env, wait ? next_deadline(loop) : 0);
    loop->now = env_now_mono(env);
    fire_timers(loop);
    for (unsigned i = 0; i < LOOP_PHASE_COUNT; i++) {
        run_tasks(loop, (enum loop_phase)i);
        run_hooks(loop, (enum loop_phase)i);
    }
    mono_ns end = env_now_mono(env);
    count_stall(&loop->stats, end > env->woken_at ? end - env->woken_at : 0);
}

/* For who minds the loop while the thread of loop_run() works inside of a poll. */
static bool turn_for_another(void *ctx)
{
    struct loop *loop = ctx;
    if (atomic_load(&loop->stop)) {
        return false;
    }
    loop_turn(loop, true);
    return true;
}

void loop_run(struct loop *loop)
{
    loop->env->turn_ctx = loop;
    loop->env->turn = turn_for_another;
    while (!atomic_load(&loop->stop)) {
        loop_turn(loop, true);
    }
    loop->env->turn = NULL;
    atomic_store(&loop->stop, false);
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stop, true);
    env_wake(loop->env);
}

void loop_wake(struct loop *loop)
{
    env_wake(loop->env);
}

mono_ns loop_now(const struct loop *loop)
{
    return loop->env->woken_at > loop->now ? loop->env->woken_at : loop->now;
}

uint64_t loop_turn_ns(const struct loop *loop)
{
    mono_ns now = env_now_mono(loop->env);
    return now > loop->env->woken_at ? now - loop->env->woken_at : 0;
}

void timer_init(struct timer *timer, timer_fn *fn)
{
    *timer = (struct timer){.fn = fn};
}

void timer_start(struct loop *loop, struct timer *timer, mono_ns deadline)
{
    ASSERT(timer->fn != NULL);
    heap_remove(&loop->timers, &timer->node);
    timer->deadline = loop->is_firing && deadline <= loop->now ? loop->now + 1 : deadline;
    timer->sequence = ++loop->sequence;
    heap_push(&loop->timers, &timer->node);
}

void timer_stop(struct loop *loop, struct timer *timer)
{
    heap_remove(&loop->timers, &timer->node);
}

void loop_hook_add(struct loop *loop, enum loop_phase phase, struct hook *hook, hook_fn *fn)
{
    ASSERT(phase < LOOP_PHASE_COUNT);
    hook->fn = fn;
    list_add_tail(&loop->hooks[phase], &hook->link);
}

void loop_hook_remove(struct hook *hook)
{
    list_del(&hook->link);
}

void task_init(struct task *task, task_fn *fn)
{
    list_init(&task->link);
    task->fn = fn;
}

void loop_task_add(struct loop *loop, enum loop_phase phase, struct task *task)
{
    ASSERT(phase < LOOP_PHASE_COUNT);
    if (list_empty(&task->link)) {
        list_add_tail(&loop->tasks[phase], &task->link);
    }
}

void loop_task_remove(struct task *task)
{
    list_del(&task->link);
}

const struct loop_stats *loop_stats(const struct loop *loop)
{
    return &loop->stats;
}
