/* The loop's thread does a quick job itself, and a stand-in minds the loop meanwhile.
 *
 * For a client that is alone a put is one thing after another: the request comes, the log syncs it,
 * the answer leaves. A sync on a thread of its own wakes a sleeping processor twice, which takes
 * half as long as a quick sync, and for nothing, since nothing else happens meanwhile. A sync on
 * the loop's thread alone would let a slow disk stop everything. So, once the like of a job has
 * been alone (posix_executor.c decides that):
 *
 *   the loop's thread                  the stand-in
 *   arm                                asleep on an epoll set that holds the loop's own
 *   run() ...                          an event, or the next timer is due: takes the loop,
 *     nobody came: disarm, done()      and turns it until the job has ended
 *     taken: tells, waits   ------->   gives it back between two turns
 *
 * An untaken job costs three system calls and no wake-up. The loop runs on one thread at a time
 * all along; which one matters to nobody above env. */
#include "base/mem.h"
#include "env/posix_priv.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* A timer may fire so much late: most jobs end before, and it is not worth a wake-up. */
#define TIMER_LATE_NS NS_PER_MS

enum state {
    AT_HOME, /* the loop is its own thread's */
    ARMED,   /* that works: whoever changes the state has the loop */
    TAKEN,   /* the stand-in turns it */
};

struct posix_stand_in {
    struct posix_env *env;
    pthread_t thread;
    int events;           /* epoll: the loop's own set, while it is armed, and `timer` */
    int timer;            /* timerfd */
    mono_ns timer_at;     /* what it is set to; the loop's thread's */
    atomic_int state;     /* enum state */
    atomic_bool is_ended; /* the job, while TAKEN */
    atomic_bool is_closing;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* is_ended, or state from TAKEN */
};

/* The loop may have stopped before the job has ended: then there is nothing to turn. */
static void mind_loop(struct posix_stand_in *stand_in)
{
    struct env *env = &stand_in->env->env;
    while (!atomic_load(&stand_in->is_ended) && env->turn(env->turn_ctx)) {
    }
    pthread_mutex_lock(&stand_in->lock);
    while (!atomic_load(&stand_in->is_ended)) {
        pthread_cond_wait(&stand_in->changed, &stand_in->lock);
    }
    atomic_store(&stand_in->is_ended, false);
    atomic_store(&stand_in->state, AT_HOME);
    pthread_cond_broadcast(&stand_in->changed);
    pthread_mutex_unlock(&stand_in->lock);
}

static bool change(struct posix_stand_in *stand_in, enum state from, enum state to)
{
    int expected = from;
    return atomic_compare_exchange_strong(&stand_in->state, &expected, to);
}

/* What wakes it up is not consumed here: the loop finds it. */
static void *stand_by(void *ctx)
{
    struct posix_stand_in *stand_in = ctx;
    pthread_setname_np(pthread_self(), "stand-in");
    prctl(PR_SET_TIMERSLACK, (unsigned long)POSIX_TIMER_SLACK_NS, 0, 0, 0);
    while (!atomic_load(&stand_in->is_closing)) {
        struct epoll_event event;
        epoll_wait(stand_in->events, &event, 1, -1);
        if (change(stand_in, ARMED, TAKEN)) {
            mind_loop(stand_in);
        }
    }
    return NULL;
}

static bool watch(struct posix_stand_in *stand_in, int how, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    return epoll_ctl(stand_in->events, how, fd, &event) == 0;
}

static void set_timer(struct posix_stand_in *stand_in, mono_ns at)
{
    if (at != stand_in->timer_at) {
        stand_in->timer_at = at;
        mono_ns when = at == UINT64_MAX ? 0 : at; /* 0: never */
        struct itimerspec spec = {.it_value = {.tv_sec = (time_t)(when / NS_PER_SEC),
                                               .tv_nsec = (long)(when % NS_PER_SEC)}};
        int failed = timerfd_settime(stand_in->timer, TFD_TIMER_ABSTIME, &spec, NULL);
        ASSERT(failed == 0);
    }
}

static void discard(struct posix_stand_in *stand_in)
{
    if (stand_in->events >= 0) {
        close(stand_in->events);
    }
    if (stand_in->timer >= 0) {
        close(stand_in->timer);
    }
    pthread_mutex_destroy(&stand_in->lock);
    pthread_cond_destroy(&stand_in->changed);
    mem_free(stand_in);
}

/* NULL: no descriptors or no thread to be had. Signals stay with the loop's own thread. */
static struct posix_stand_in *stand_in_new(struct posix_env *env)
{
    struct posix_stand_in *stand_in = NEW(struct posix_stand_in);
    stand_in->env = env;
    pthread_mutex_init(&stand_in->lock, NULL);
    pthread_cond_init(&stand_in->changed, NULL);
    stand_in->events = epoll_create1(EPOLL_CLOEXEC);
    stand_in->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    stand_in->timer_at = UINT64_MAX;
    if (stand_in->events < 0 || stand_in->timer < 0 ||
        !watch(stand_in, EPOLL_CTL_ADD, stand_in->timer, EPOLLIN | EPOLLET) ||
        !watch(stand_in, EPOLL_CTL_ADD, uv_backend_fd(&env->uv), 0)) {
        discard(stand_in);
        return NULL;
    }
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&stand_in->thread, NULL, stand_by, stand_in);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        discard(stand_in);
        return NULL;
    }
    return stand_in;
}

bool posix__stand_in_ready(struct posix_env *env)
{
    if (env->env.turn == NULL) {
        return false;
    }
    if (env->stand_in == NULL && !env->has_no_stand_in) {
        env->stand_in = stand_in_new(env);
        env->has_no_stand_in = env->stand_in == NULL;
    }
    return env->stand_in != NULL && atomic_load(&env->stand_in->state) == AT_HOME;
}

void posix__stand_in_arm(struct posix_env *env, mono_ns until)
{
    struct posix_stand_in *stand_in = env->stand_in;
    set_timer(stand_in, until < UINT64_MAX - TIMER_LATE_NS ? until + TIMER_LATE_NS : UINT64_MAX);
    bool is_home = change(stand_in, AT_HOME, ARMED);
    ASSERT(is_home);
    bool is_watched =
        watch(stand_in, EPOLL_CTL_MOD, uv_backend_fd(&env->uv), EPOLLIN | EPOLLONESHOT);
    ASSERT(is_watched);
}

/* Takes the loop back from a stand-in that has it. */
static void relieve(struct posix_stand_in *stand_in)
{
    pthread_mutex_lock(&stand_in->lock);
    atomic_store(&stand_in->is_ended, true);
    pthread_cond_broadcast(&stand_in->changed);
    pthread_mutex_unlock(&stand_in->lock);
    uv_async_send(&stand_in->env->async); /* it may be waiting for an event */
    pthread_mutex_lock(&stand_in->lock);
    while (atomic_load(&stand_in->state) == TAKEN) {
        pthread_cond_wait(&stand_in->changed, &stand_in->lock);
    }
    pthread_mutex_unlock(&stand_in->lock);
}

void posix__stand_in_disarm(struct posix_env *env)
{
    struct posix_stand_in *stand_in = env->stand_in;
    if (!change(stand_in, ARMED, AT_HOME)) {
        relieve(stand_in);
    }
    bool is_watched = watch(stand_in, EPOLL_CTL_MOD, uv_backend_fd(&env->uv), 0);
    ASSERT(is_watched);
}

void posix__stand_in_fini(struct posix_env *env)
{
    struct posix_stand_in *stand_in = env->stand_in;
    if (stand_in == NULL) {
        return;
    }
    env->stand_in = NULL;
    ASSERT(atomic_load(&stand_in->state) == AT_HOME);
    atomic_store(&stand_in->is_closing, true);
    set_timer(stand_in, 1); /* has passed: wakes it up */
    pthread_join(stand_in->thread, NULL);
    discard(stand_in);
}
