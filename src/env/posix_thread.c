#include "env/posix_thread.h"

#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct posix_thread {
    pthread_t id;
    char name[16];
    void (*run)(void *ctx);
    void *ctx;
};

/* Which of ours this one is; NULL: none. */
static __thread const struct posix_thread *current;

struct posix_monitor {
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void *main_of_thread(void *arg)
{
    struct posix_thread *thread = arg;
    current = thread;
    pthread_setname_np(pthread_self(), thread->name);
    thread->run(thread->ctx);
    return NULL;
}

enum err posix_thread_start(const char *name, void (*run)(void *ctx), void *ctx,
                            struct posix_thread **out, struct errbuf *why)
{
    struct posix_thread *thread = NEW(struct posix_thread);
    sigset_t all;
    sigset_t before;
    snprintf(thread->name, sizeof(thread->name), "%s", name);
    thread->run = run;
    thread->ctx = ctx;
    *out = thread; /* before it runs: it may ask whether it is the one */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread->id, NULL, main_of_thread, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        *out = NULL;
        mem_free(thread);
        return errf(why, ERR_IO, "cannot start a thread: %s", strerror(failed));
    }
    return ERR_OK;
}

bool posix_thread_is_current(const struct posix_thread *thread)
{
    return current == thread;
}

void posix_thread_join(struct posix_thread **thread)
{
    if (*thread != NULL) {
        int failed = pthread_join((*thread)->id, NULL);
        ASSERT(failed == 0);
        mem_free(*thread);
        *thread = NULL;
    }
}

struct posix_monitor *posix_monitor_new(void)
{
    struct posix_monitor *monitor = NEW(struct posix_monitor);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&monitor->lock, NULL);
    pthread_cond_init(&monitor->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return monitor;
}

void posix_monitor_free(struct posix_monitor **monitor)
{
    if (*monitor != NULL) {
        pthread_cond_destroy(&(*monitor)->changed);
        pthread_mutex_destroy(&(*monitor)->lock);
        mem_free(*monitor);
        *monitor = NULL;
    }
}

void posix_monitor_enter(struct posix_monitor *monitor)
{
    int failed = pthread_mutex_lock(&monitor->lock);
    ASSERT(failed == 0);
}

void posix_monitor_leave(struct posix_monitor *monitor)
{
    int failed = pthread_mutex_unlock(&monitor->lock);
    ASSERT(failed == 0);
}

bool posix_monitor_wait(struct posix_monitor *monitor, mono_ns until)
{
    if (until == UINT64_MAX) {
        pthread_cond_wait(&monitor->changed, &monitor->lock);
        return true;
    }
    struct timespec deadline = {.tv_sec = (time_t)(until / NS_PER_SEC),
                                .tv_nsec = (long)(until % NS_PER_SEC)};
    return pthread_cond_timedwait(&monitor->changed, &monitor->lock, &deadline) != ETIMEDOUT;
}

void posix_monitor_notify(struct posix_monitor *monitor)
{
    pthread_cond_broadcast(&monitor->changed);
}
