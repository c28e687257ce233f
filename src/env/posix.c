#include "env/posix.h"

#include "base/mem.h"
#include "env/posix_priv.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <time.h>

#define RECENT_NS (2 * NS_PER_MS)
#define PAUSE_SHORT_NS                                                                             \
    (80 * NS_PER_US) /* on average: requests come so fast that sleeping is slower */
#define PAUSE_COUNTED_MAX_NS NS_PER_MS /* of one pause: a single long one ends the spinning */
/* A look that takes longer was another process's turn on this processor: yielding to it costs a
 * slice of its time, milliseconds, where being woken up would not. So there is no spinning for a
 * while. */
#define CROWDED_NS (100 * NS_PER_US)
#define CROWDED_REST_NS (500 * NS_PER_MS)

static struct posix_env *posix_of(struct env *env)
{
    return CONTAINER_OF(env, struct posix_env, env);
}

mono_ns posix__now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

static mono_ns posix_now_mono(struct env *env)
{
    return posix__now();
}

static wall_ns posix_now_wall(struct env *env)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * (int64_t)NS_PER_SEC + now.tv_nsec;
}

static void posix_random(struct env *env, void *out, size_t len)
{
    uint8_t *next = out;
    while (len > 0) {
        ssize_t got = getrandom(next, len, 0);
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            fatal("the system gives no random bytes (getrandom): errno %d", errno);
        }
        next += got;
        len -= (size_t)got;
    }
}

void posix__awake(struct posix_env *env)
{
    if (!env->is_awake) {
        env->is_awake = true;
        env->env.woken_at = posix__now();
    }
}

/* uv_run() runs timers before it polls, too: without uv_stop() a deadline that passes in between
 * would be spent, and the poll would wait for ever. */
static void deadline_passed(uv_timer_t *timer)
{
    struct posix_env *env = CONTAINER_OF(timer, struct posix_env, deadline);
    posix__awake(env);
    uv_stop(&env->uv);
}

static void async_woken(uv_async_t *async)
{
    struct posix_env *env = CONTAINER_OF(async, struct posix_env, async);
    posix__awake(env);
    posix__executors_reap(env);
}

/* libuv counts in milliseconds: rounds up, so that the poll does not end before `until` and the
 * loop does not spin through the last fraction. */
static void arm_deadline(struct posix_env *env, uint64_t wait_ns)
{
    uint64_t wait_ms = (wait_ns + NS_PER_MS - 1) / NS_PER_MS;
    uv_update_time(&env->uv);
    int failed = uv_timer_start(&env->deadline, deadline_passed, wait_ms, 0);
    ASSERT(failed == 0);
}

/* Sleeps to the nanosecond where milliseconds would be too coarse, unless something comes. */
static void sleep_exactly(struct posix_env *env, mono_ns wake_at)
{
    uv_run(&env->uv, UV_RUN_NOWAIT); /* tells epoll what is waited for */
    mono_ns now = posix__now();
    if (env->is_awake || wake_at <= now) {
        return;
    }
    struct pollfd events = {.fd = uv_backend_fd(&env->uv), .events = POLLIN};
    struct timespec wait = {.tv_sec = (time_t)((wake_at - now) / NS_PER_SEC),
                            .tv_nsec = (long)((wake_at - now) % NS_PER_SEC)};
    ppoll(&events, 1, &wait, NULL);
    uv_run(&env->uv, UV_RUN_NOWAIT);
}

/* Looks without sleeping for the next request of a client that has been answering at once, as long
 * as this thread is idle most of the time: a busy one has better use for its processor. */
static void spin(struct posix_env *env, mono_ns start, mono_ns until)
{
    if (env->pause_ns >= PAUSE_SHORT_NS || env->waited_ns < 2 * env->worked_ns ||
        start < env->crowded_until) {
        return;
    }
    mono_ns spin_until = start + PAUSE_SHORT_NS < until ? start + PAUSE_SHORT_NS : until;
    mono_ns now = posix__now();
    while (now < spin_until) {
        mono_ns before = now;
        uv_run(&env->uv, UV_RUN_NOWAIT);
        if (env->is_awake) {
            break;
        }
        sched_yield();
        now = posix__now();
        if (now - before > CROWDED_NS) {
            env->crowded_until = now + CROWDED_REST_NS;
            break;
        }
    }
}

/* Runs the job that is held for this thread, unless there is something to do: false. */
static bool work_here(struct posix_env *env, mono_ns until)
{
    if (env->held == NULL) {
        return false;
    }
    uv_run(&env->uv, UV_RUN_NOWAIT); /* tells epoll what is waited for */
    if (env->is_awake) {
        posix__executors_release(env);
        return false;
    }
    posix__executors_run_held(env, until);
    env->is_awake = false; /* whatever a stand-in has done meanwhile */
    posix__awake(env);
    posix__executors_reap(env);
    return true;
}

/* Sleeps until a handler has run, or until `until`. */
static void sleep_until(struct posix_env *env, mono_ns until)
{
    mono_ns now = posix__now();
    if (until < now + NS_PER_MS) {
        sleep_exactly(env, until);
        return;
    }
    if (until != UINT64_MAX) {
        arm_deadline(env, until - now);
    }
    uv_run(&env->uv, UV_RUN_ONCE);
    uv_timer_stop(&env->deadline);
}

/* Only pauses in which nothing but the network could end: a job's length is its own. */
static void count_pause(struct posix_env *env, uint64_t waited_ns)
{
    uint64_t counted = waited_ns < PAUSE_COUNTED_MAX_NS ? waited_ns : PAUSE_COUNTED_MAX_NS;
    env->pause_ns = (env->pause_ns * 7 + counted) / 8;
}

/* Sums over the recent past: halved every few milliseconds, and no wait counts for more. */
static void count_wait(struct posix_env *env, uint64_t worked_ns, uint64_t waited_ns)
{
    env->worked_ns += worked_ns;
    env->waited_ns += waited_ns < RECENT_NS ? waited_ns : RECENT_NS;
    if (env->worked_ns + env->waited_ns > 2 * RECENT_NS) {
        env->worked_ns /= 2;
        env->waited_ns /= 2;
    }
}

/* Waits for something to do, or until `until`: works, looks for it, or sleeps. */
static void wait_for_event(struct posix_env *env, mono_ns start, mono_ns until)
{
    bool is_pause = !posix__executors_are_busy(env);
    if (!is_pause && work_here(env, until)) {
        return;
    }
    if (is_pause) {
        spin(env, start, until);
    }
    if (!env->is_awake) {
        sleep_until(env, until);
    }
    posix__awake(env);
    if (is_pause) {
        count_pause(env, env->env.woken_at - start);
    }
}

static void posix_poll(struct env *base, mono_ns until)
{
    struct posix_env *env = posix_of(base);
    posix__net_flush(&env->net);
    mono_ns start = posix__now();
    uint64_t worked_ns = start - env->env.woken_at;
    env->is_awake = false;
    if (until <= start) {
        posix__executors_release(env);
        uv_run(&env->uv, UV_RUN_NOWAIT);
    } else {
        wait_for_event(env, start, until);
    }
    posix__awake(env);
    count_wait(env, worked_ns, env->env.woken_at - start);
}

static void posix_wake(struct env *env)
{
    int failed = uv_async_send(&posix_of(env)->async);
    ASSERT(failed == 0);
}

static const struct env_ops posix_env_ops = {
    .now_mono = posix_now_mono,
    .now_wall = posix_now_wall,
    .random = posix_random,
    .executor_new = posix__executor_new,
    .poll = posix_poll,
    .wake = posix_wake,
};

struct env *posix_env_new(void)
{
    struct posix_env *env = NEW(struct posix_env);
    env->env.ops = &posix_env_ops;
    env->env.disk = posix_disk();
    env->pause_ns = PAUSE_COUNTED_MAX_NS;
    list_init(&env->executors);
    int failed = uv_loop_init(&env->uv);
    if (failed != 0) {
        fatal("cannot start the event loop: %s", uv_strerror(failed));
    }
    failed = uv_async_init(&env->uv, &env->async, async_woken);
    if (failed != 0) {
        fatal("cannot start the event loop's wake-up: %s", uv_strerror(failed));
    }
    uv_timer_init(&env->uv, &env->deadline);
    prctl(PR_SET_TIMERSLACK, (unsigned long)POSIX_TIMER_SLACK_NS, 0, 0,
          0); /* refused: longer naps */
    posix__net_init(&env->net, env);
    env->env.net = &env->net.net;
    env->env.pool = env_executor_new(&env->env, "pool", POSIX_POOL_THREADS);
    env->env.woken_at = posix__now();
    return &env->env;
}

void posix_env_free(struct env **base)
{
    if (*base == NULL) {
        return;
    }
    struct posix_env *env = posix_of(*base);
    *base = NULL;
    executor_close(&env->env.pool);
    ASSERT(list_empty(&env->executors));
    posix__stand_in_fini(env);
    posix__net_fini(&env->net);
    posix__process_fini(env);
    for (unsigned i = 0; i < env->signal_count; i++) {
        uv_close((uv_handle_t *)&env->signals[i].handle, NULL);
    }
    uv_close((uv_handle_t *)&env->deadline, NULL);
    uv_close((uv_handle_t *)&env->async, NULL);
    uv_run(&env->uv, UV_RUN_DEFAULT);
    int failed = uv_loop_close(&env->uv);
    ASSERT(failed == 0);
    mem_free(env);
}

static void signal_came(uv_signal_t *handle, int signum)
{
    struct posix_signal *signal = CONTAINER_OF(handle, struct posix_signal, handle);
    posix__awake(signal->env);
    signal->fn(signum, signal->ctx);
}

void posix_on_signal(struct env *base, int signum, signal_fn *fn, void *ctx)
{
    struct posix_env *env = posix_of(base);
    ASSERT(env->signal_count < POSIX_SIGNALS_MAX);
    struct posix_signal *signal = &env->signals[env->signal_count++];
    *signal = (struct posix_signal){.env = env, .fn = fn, .ctx = ctx};
    int failed = uv_signal_init(&env->uv, &signal->handle);
    ASSERT(failed == 0);
    failed = uv_signal_start(&signal->handle, signal_came, signum);
    ASSERT(failed == 0);
}
