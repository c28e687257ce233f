/* Executors over threads.
 *
 *   loop thread                       a thread of the executor
 *   submit: queue, signal  ------->   parked on `work`; takes the first job, run()
 *   reap: done list, done() <-------  done list; uv_async when it was empty
 *
 * A lone job costs one futex wake and one eventfd write; jobs that queue up meanwhile cost
 * neither. Threads start when work first finds nobody idle.
 *
 * Waking a processor that sleeps takes 30 us and more in a virtual machine, twice a quarter of a
 * quick sync. So a job of a serial executor whose like has been quick and alone (no input while
 * it ran) is held until the loop has nothing to do, and then runs on the
 * loop's own thread, while a stand-in minds the loop (posix_standin.c). A pool's jobs have no
 * common length. */
#include "base/mem.h"
#include "env/posix_priv.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define TRIP_FIRST_NS (100 * NS_PER_US) /* what is expected of an executor at first */
/* Longer ones gain too little on the loop's thread, compared with what a stand-in that has to take
 * the loop costs. */
#define TRIP_HERE_MAX_NS (2 * NS_PER_MS)
#define TRIPS_ALONE 4 /* so many in a row, and the next is expected to be alone as well */

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
    bool is_held;      /* its only job runs on the loop's thread, or will: no thread may take one */

    /* The loop thread's. */
    pthread_t *threads;
    unsigned thread_count;
    unsigned thread_max;
    size_t flying_count;  /* submitted, not yet done */
    mono_ns submitted_at; /* when flying_count left 0 */
    uint64_t trip_ns;     /* from submit to done, smoothed */
    uint64_t input_count; /* the env's when flying_count left 0 */
    unsigned alone_count; /* trips in which no input came, in a row */
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
    while (list_empty(&executor->queue) || executor->is_held) {
        if (executor->is_closing && !executor->is_held) {
            return NULL;
        }
        executor->idle_count++;
        pthread_cond_wait(&executor->work, &executor->lock);
        executor->idle_count--;
    }
    executor->queue_len--;
    return CONTAINER_OF(list_pop(&executor->queue), struct job, link);
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
            uv_async_send(&executor->env->async);
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

/* Whether a job that is the only one is better run on the loop's thread. */
static bool may_hold(const struct posix_executor *executor)
{
    return executor->thread_max == 1 && executor->alone_count >= TRIPS_ALONE &&
           executor->trip_ns <= TRIP_HERE_MAX_NS && executor->env->held == NULL &&
           posix__stand_in_ready(executor->env);
}

void posix__executors_release(struct posix_env *env)
{
    struct posix_executor *executor = env->held;
    if (executor != NULL) {
        env->held = NULL;
        pthread_mutex_lock(&executor->lock);
        executor->is_held = false;
        pthread_mutex_unlock(&executor->lock);
        pthread_cond_signal(&executor->work);
    }
}

static void submit(struct executor *base, struct job *job)
{
    struct posix_executor *executor = executor_of(base);
    ASSERT(!executor->is_closed);
    bool is_alone = executor->flying_count++ == 0;
    if (is_alone) {
        executor->submitted_at = posix__now();
        executor->input_count = executor->env->input_count;
    } else if (executor->env->held == executor) {
        posix__executors_release(executor->env);
    }
    bool is_held = is_alone && may_hold(executor);
    pthread_mutex_lock(&executor->lock);
    list_add_tail(&executor->queue, &job->link);
    executor->queue_len++;
    if (is_held) {
        executor->is_held = true;
        pthread_mutex_unlock(&executor->lock);
        executor->env->held = executor;
        return;
    }
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
        executor->trip_ns = (executor->trip_ns * 7 + trip_ns) / 8;
        bool is_alone = executor->input_count == executor->env->input_count;
        executor->alone_count = is_alone ? executor->alone_count + 1 : 0;
    }
}

/* The stand-in may turn the loop meanwhile, and even close the executor: it is not touched once its
 * job is on the list of those done. */
void posix__executors_run_held(struct posix_env *env, mono_ns until)
{
    struct posix_executor *executor = env->held;
    env->held = NULL;
    pthread_mutex_lock(&executor->lock);
    struct job *job = CONTAINER_OF(list_pop(&executor->queue), struct job, link);
    executor->queue_len--;
    pthread_mutex_unlock(&executor->lock);
    posix__stand_in_arm(env, until);
    job->run(job);
    pthread_mutex_lock(&executor->lock);
    list_add_tail(&executor->done, &job->link);
    executor->is_held = false;
    if (!list_empty(&executor->queue) || executor->is_closing) {
        pthread_cond_broadcast(&executor->work);
    }
    pthread_mutex_unlock(&executor->lock);
    posix__stand_in_disarm(env);
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
    if (executor->env->held == executor) {
        posix__executors_release(executor->env);
    }
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
    list_add_head(head, &cursor);
    while (cursor.next != head) {
        struct list *node = cursor.next;
        list_del(&cursor);
        list_add_head(node, &cursor);
        reap(CONTAINER_OF(node, struct posix_executor, link));
    }
    list_del(&cursor);
}
