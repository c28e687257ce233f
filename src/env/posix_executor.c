/* Executors over threads.
 *
 *   loop thread                       a thread of the executor
 *   submit: queue, signal  ------->   parked on `work`; takes the first job, run()
 *   reap: done list, done() <-------  done list; has_done and uv_async when it was empty
 *
 * A lone job costs one futex wake and one eventfd write; jobs that queue up meanwhile cost
 * neither. Threads start when work first finds nobody idle.
 *
 * Waking a processor that sleeps takes 30 us and more in a virtual machine, as long as a quarter
 * of a sync. So a loop that has nothing else to do looks for the completion of a job whose like
 * has been quick (a WAL append and its sync) instead of going to sleep, or sleeps only until it may
 * be near: executor_bench shows the difference. Only serial executors; a pool's jobs have no common
 * length. */
#include "base/mem.h"
#include "env/posix_priv.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define TRIP_FIRST_NS (100 * NS_PER_US)     /* what is expected of an executor at first */
#define TRIP_QUICK_MAX_NS (300 * NS_PER_US) /* longer ones are not worth a spin */

struct posix_executor {
    struct executor executor;
    struct posix_env *env;
    struct list link; /* of env->executors */
    char name[16];    /* what the kernel keeps of a thread's name */
    pthread_mutex_t lock;
    pthread_cond_t work;

    /* Under the lock. */
    struct list queue;
    struct list done;
    size_t queue_len;
    size_t idle_count; /* threads parked on `work` */
    bool is_closing;   /* threads leave once the queue is empty */

    /* The loop thread's. */
    pthread_t *threads;
    unsigned thread_count;
    unsigned thread_max;
    size_t flying_count;  /* submitted, not yet done */
    mono_ns submitted_at; /* when flying_count left 0 */
    uint64_t trip_ns;     /* from submit to done, smoothed */
    uint64_t spread_ns;   /* how far a trip is from that, smoothed */
    struct list reaped;   /* done() is being called for these, in order */
    unsigned reap_depth;
    bool is_closed; /* freed by whoever reaps */
};

static struct posix_executor *executor_of(struct executor *executor)
{
    return CONTAINER_OF(executor, struct posix_executor, executor);
}

static struct job *take_job(struct posix_executor *executor)
{
    while (list_empty(&executor->queue)) {
        if (executor->is_closing) {
            return NULL;
        }
        executor->idle_count++;
        pthread_cond_wait(&executor->work, &executor->lock);
        executor->idle_count--;
    }
    executor->queue_len--;
    return CONTAINER_OF(list_pop(&executor->queue), struct job, link);
}

/* Either the loop sees has_done, or we see that it has stopped looking: both are sequentially
 * consistent. */
static void tell_loop(struct posix_env *env)
{
    atomic_store(&env->has_done, true);
    if (!atomic_load(&env->is_looking)) {
        uv_async_send(&env->async);
    }
}

static void *work(void *ctx)
{
    struct posix_executor *executor = ctx;
    pthread_setname_np(pthread_self(), executor->name);
    pthread_mutex_lock(&executor->lock);
    for (;;) {
        struct job *job = take_job(executor);
        if (job == NULL) {
            break;
        }
        pthread_mutex_unlock(&executor->lock);
        job->run(job);
        pthread_mutex_lock(&executor->lock);
        bool was_empty = list_empty(&executor->done);
        list_add_tail(&executor->done, &job->link);
        if (was_empty) {
            pthread_mutex_unlock(&executor->lock);
            tell_loop(executor->env);
            pthread_mutex_lock(&executor->lock);
        }
    }
    pthread_mutex_unlock(&executor->lock);
    return NULL;
}

/* Signals stay with the loop thread. */
static void start_thread(struct posix_executor *executor)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&executor->threads[executor->thread_count], NULL, work, executor);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed == 0) {
        executor->thread_count++;
    } else if (executor->thread_count == 0) {
        fatal("cannot start a thread for %s: %s", executor->name, strerror(failed));
    }
}

static void submit(struct executor *base, struct job *job)
{
    struct posix_executor *executor = executor_of(base);
    ASSERT(!executor->is_closed);
    if (executor->flying_count++ == 0) {
        executor->submitted_at = posix__now();
    }
    pthread_mutex_lock(&executor->lock);
    list_add_tail(&executor->queue, &job->link);
    executor->queue_len++;
    bool has_idle = executor->idle_count > 0;
    bool is_short = executor->queue_len > executor->idle_count;
    pthread_mutex_unlock(&executor->lock);
    if (has_idle) {
        pthread_cond_signal(&executor->work);
    }
    if (is_short && executor->thread_count < executor->thread_max) {
        start_thread(executor);
    }
}

static void free_executor(struct posix_executor *executor)
{
    ASSERT(list_empty(&executor->queue));
    ASSERT(list_empty(&executor->done));
    ASSERT(list_empty(&executor->reaped));
    pthread_mutex_destroy(&executor->lock);
    pthread_cond_destroy(&executor->work);
    mem_free(executor->threads);
    mem_free(executor);
}

static void count_done(struct posix_executor *executor)
{
    ASSERT(executor->flying_count > 0);
    if (--executor->flying_count == 0) {
        uint64_t trip_ns = posix__now() - executor->submitted_at;
        uint64_t usual_ns = executor->trip_ns;
        uint64_t off_ns = trip_ns > usual_ns ? trip_ns - usual_ns : usual_ns - trip_ns;
        /* A single long trip must not make it look for long. */
        off_ns = off_ns < usual_ns ? off_ns : usual_ns;
        executor->spread_ns = (executor->spread_ns * 7 + off_ns) / 8;
        executor->trip_ns = (usual_ns * 7 + trip_ns) / 8;
    }
}

/* Calls done() for what is finished. A done() may close the executor, which reaps all there is and
 * leaves the freeing to the outermost reap(). */
static void reap(struct posix_executor *executor)
{
    pthread_mutex_lock(&executor->lock);
    list_splice(&executor->reaped, &executor->done);
    pthread_mutex_unlock(&executor->lock);
    executor->reap_depth++;
    for (struct list *node = list_pop(&executor->reaped); node != NULL;
         node = list_pop(&executor->reaped)) {
        struct job *job = CONTAINER_OF(node, struct job, link);
        count_done(executor);
        job->done(job);
    }
    executor->reap_depth--;
    if (executor->is_closed && executor->reap_depth == 0) {
        free_executor(executor);
    }
}

static void close_executor(struct executor *base)
{
    struct posix_executor *executor = executor_of(base);
    ASSERT(!executor->is_closed);
    pthread_mutex_lock(&executor->lock);
    executor->is_closing = true;
    pthread_mutex_unlock(&executor->lock);
    pthread_cond_broadcast(&executor->work);
    for (unsigned i = 0; i < executor->thread_count; i++) {
        pthread_join(executor->threads[i], NULL);
    }
    list_del(&executor->link);
    executor->is_closed = true;
    reap(executor);
}

static const struct executor_ops posix_executor_ops = {
    .submit = submit,
    .close = close_executor,
};

struct executor *posix__executor_new(struct env *base, const char *name, unsigned threads)
{
    struct posix_env *env = CONTAINER_OF(base, struct posix_env, env);
    struct posix_executor *executor = NEW(struct posix_executor);
    executor->executor.ops = &posix_executor_ops;
    executor->env = env;
    snprintf(executor->name, sizeof(executor->name), "%s", name);
    pthread_mutex_init(&executor->lock, NULL);
    pthread_cond_init(&executor->work, NULL);
    list_init(&executor->queue);
    list_init(&executor->done);
    list_init(&executor->reaped);
    executor->threads = mem_array(threads, sizeof(pthread_t));
    executor->thread_max = threads;
    executor->trip_ns = TRIP_FIRST_NS;
    list_add_tail(&env->executors, &executor->link);
    return &executor->executor;
}

static bool is_quick(const struct posix_executor *executor)
{
    return executor->flying_count > 0 && executor->thread_max == 1 &&
           executor->trip_ns <= TRIP_QUICK_MAX_NS;
}

mono_ns posix__executors_spin_until(struct posix_env *env)
{
    mono_ns until = 0;
    LIST_FOR_EACH (&env->executors, node) {
        const struct posix_executor *executor = CONTAINER_OF(node, struct posix_executor, link);
        if (is_quick(executor)) {
            mono_ns end = executor->submitted_at + 2 * executor->trip_ns;
            until = end > until ? end : until;
        }
    }
    return until;
}

mono_ns posix__executors_nap_until(struct posix_env *env)
{
    mono_ns until = UINT64_MAX;
    LIST_FOR_EACH (&env->executors, node) {
        const struct posix_executor *executor = CONTAINER_OF(node, struct posix_executor, link);
        if (is_quick(executor) && executor->spread_ns < executor->trip_ns) {
            mono_ns soonest = executor->submitted_at + executor->trip_ns - executor->spread_ns;
            until = soonest < until ? soonest : until;
        }
    }
    return until == UINT64_MAX ? 0 : until;
}

bool posix__executors_are_busy(struct posix_env *env)
{
    LIST_FOR_EACH (&env->executors, node) {
        if (CONTAINER_OF(node, struct posix_executor, link)->flying_count > 0) {
            return true;
        }
    }
    return false;
}

/* A cursor travels behind the executor being reaped: done() may open and close others. */
void posix__executors_reap(struct posix_env *env)
{
    struct list *head = &env->executors;
    struct list cursor;
    atomic_store(&env->has_done, false); /* before looking: what comes later sets it again */
    list_add_head(head, &cursor);
    while (cursor.next != head) {
        struct list *node = cursor.next;
        list_del(&cursor);
        list_add_head(node, &cursor);
        reap(CONTAINER_OF(node, struct posix_executor, link));
    }
    list_del(&cursor);
}
