#include "base/mem.h"
#include "env/posix.h"

#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

struct work {
    struct job job;
    struct world *world;
    int number;
};

struct world {
    struct env *env;
    struct executor *executor;
    pthread_t loop_thread;
    int ran[4096]; /* numbers in the order of run(): a serial executor's thread writes them */
    int done[4096];
    atomic_int ran_count;
    int done_count;
    atomic_int inside; /* jobs inside run() now, and most of them */
    atomic_int inside_max;
    struct work *again; /* submitted once more by done() */
};

static struct work *work_of(struct job *job)
{
    return CONTAINER_OF(job, struct work, job);
}

static void world_init(struct world *world, unsigned threads)
{
    memset(world, 0, sizeof(*world));
    world->env = posix_env_new();
    world->executor = env_executor_new(world->env, "test", threads);
    world->loop_thread = pthread_self();
}

static void world_fini(struct world *world)
{
    executor_close(&world->executor);
    assert_null(world->executor);
    posix_env_free(&world->env);
    assert_null(world->env);
}

static void note_run(struct job *job)
{
    struct work *work = work_of(job);
    assert_false(pthread_equal(pthread_self(), work->world->loop_thread));
    work->world->ran[atomic_fetch_add(&work->world->ran_count, 1)] = work->number;
}

static void note_done(struct job *job)
{
    struct work *work = work_of(job);
    assert_true(pthread_equal(pthread_self(), work->world->loop_thread));
    work->world->done[work->world->done_count++] = work->number;
}

static void work_init(struct work *work, struct world *world, int number)
{
    *work = (struct work){
        .job = {.run = note_run, .done = note_done}, .world = world, .number = number};
}

static void poll_until_done(struct world *world, int count)
{
    while (world->done_count < count) {
        env_poll(world->env, UINT64_MAX);
    }
}

TEST(posix_executor, a_serial_one_runs_and_completes_in_order_of_submission)
{
    struct world world;
    world_init(&world, 1);
    struct work works[1000];
    for (int i = 0; i < 1000; i++) {
        work_init(&works[i], &world, i);
        executor_submit(world.executor, &works[i].job);
        if (i % 100 == 99) {
            env_poll(world.env, 0);
        }
    }
    poll_until_done(&world, 1000);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(world.ran[i], i);
        assert_int_equal(world.done[i], i);
    }
    world_fini(&world);
}

TEST(posix_executor, done_is_called_by_poll_and_not_by_submit)
{
    struct world world;
    struct work work;
    world_init(&world, 1);
    work_init(&work, &world, 7);
    executor_submit(world.executor, &work.job);
    while (atomic_load(&world.ran_count) == 0) {
        sched_yield();
    }
    assert_int_equal(world.done_count, 0);
    poll_until_done(&world, 1);
    assert_int_equal(world.done[0], 7);
    world_fini(&world);
}

/* Returns only when another job is inside too: needs two threads. */
static void meet(struct job *job)
{
    struct world *world = work_of(job)->world;
    int inside = atomic_fetch_add(&world->inside, 1) + 1;
    if (inside > atomic_load(&world->inside_max)) {
        atomic_store(&world->inside_max, inside);
    }
    while (atomic_load(&world->inside_max) < 2) {
        sched_yield();
    }
    atomic_fetch_sub(&world->inside, 1);
}

TEST(posix_executor, a_pool_runs_jobs_side_by_side)
{
    struct world world;
    struct work works[2];
    world_init(&world, 2);
    for (int i = 0; i < 2; i++) {
        work_init(&works[i], &world, i);
        works[i].job.run = meet;
        executor_submit(world.executor, &works[i].job);
    }
    poll_until_done(&world, 2);
    assert_int_equal(atomic_load(&world.inside_max), 2);
    world_fini(&world);
}

TEST(posix_executor, a_pool_completes_every_job_once)
{
    struct world world;
    static struct work works[4000];
    static unsigned seen[4000];
    world_init(&world, 4);
    for (int i = 0; i < 4000; i++) {
        work_init(&works[i], &world, i);
        executor_submit(world.executor, &works[i].job);
    }
    poll_until_done(&world, 4000);
    for (int i = 0; i < 4000; i++) {
        seen[world.done[i]]++;
    }
    for (int i = 0; i < 4000; i++) {
        assert_int_equal(seen[i], 1);
    }
    world_fini(&world);
}

TEST(posix_executor, closing_runs_and_completes_what_was_submitted)
{
    struct world world;
    struct work works[100];
    world_init(&world, 1);
    for (int i = 0; i < 100; i++) {
        work_init(&works[i], &world, i);
        executor_submit(world.executor, &works[i].job);
    }
    executor_close(&world.executor);
    assert_int_equal(world.done_count, 100);
    assert_int_equal(world.done[99], 99);
    world_fini(&world);
}

static void close_own(struct job *job)
{
    note_done(job);
    if (work_of(job)->world->executor != NULL) {
        executor_close(&work_of(job)->world->executor);
    }
}

TEST(posix_executor, a_done_may_close_its_own_executor)
{
    struct world world;
    struct work works[10];
    world_init(&world, 1);
    for (int i = 0; i < 10; i++) {
        work_init(&works[i], &world, i);
        works[i].job.done = close_own;
        executor_submit(world.executor, &works[i].job);
    }
    while (world.executor != NULL) {
        env_poll(world.env, UINT64_MAX);
    }
    assert_int_equal(world.done_count, 10);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(world.done[i], i);
    }
    world_fini(&world);
}

static void submit_again(struct job *job)
{
    struct world *world = work_of(job)->world;
    note_done(job);
    if (world->done_count < 50) {
        executor_submit(world->executor, job);
    }
}

TEST(posix_executor, a_done_may_submit_its_job_again)
{
    struct world world;
    struct work work;
    world_init(&world, 1);
    work_init(&work, &world, 3);
    work.job.done = submit_again;
    executor_submit(world.executor, &work.job);
    poll_until_done(&world, 50);
    assert_int_equal(atomic_load(&world.ran_count), 50);
    world_fini(&world);
}

/* Takes from no time to longer than a wake-up takes. */
static void run_for_a_while(struct job *job)
{
    struct env *env = work_of(job)->world->env;
    mono_ns until = env_now_mono(env) + (uint64_t)(work_of(job)->number % 40) * 6 * NS_PER_US;
    while (env_now_mono(env) < until) {
        sched_yield();
    }
    note_run(job);
}

/* The job ends before the loop polls, as it goes to sleep, and while it sleeps: were a completion
 * lost, the poll without a deadline would hang. */
TEST(posix_executor, no_completion_is_lost_between_polling_and_sleeping)
{
    struct world world;
    struct work work;
    world_init(&world, 1);
    for (int i = 0; i < 4000; i++) {
        work_init(&work, &world, i);
        work.job.run = run_for_a_while;
        executor_submit(world.executor, &work.job);
        poll_until_done(&world, i + 1);
        assert_int_equal(world.done[i], i);
    }
    world_fini(&world);
}

static void *wake_soon(void *ctx)
{
    struct timespec pause = {.tv_nsec = 5000000};
    nanosleep(&pause, NULL);
    env_wake(ctx);
    return NULL;
}

TEST(posix_executor, wake_from_another_thread_ends_a_poll)
{
    struct env *env = posix_env_new();
    pthread_t thread;
    mono_ns start = env_now_mono(env);
    assert_int_equal(pthread_create(&thread, NULL, wake_soon, env), 0);
    env_poll(env, start + 60 * NS_PER_SEC);
    assert_true(env_now_mono(env) - start < 30 * NS_PER_SEC);
    pthread_join(thread, NULL);
    posix_env_free(&env);
}

TEST(posix_executor, a_wake_before_the_poll_is_not_lost)
{
    struct env *env = posix_env_new();
    env_wake(env);
    env_poll(env, UINT64_MAX);
    posix_env_free(&env);
}

TEST(posix_executor, poll_waits_until_the_deadline_and_not_for_the_past)
{
    struct env *env = posix_env_new();
    mono_ns start = env_now_mono(env);
    env_poll(env, 0);
    env_poll(env, start);
    mono_ns until = env_now_mono(env) + 5 * NS_PER_MS;
    while (env_now_mono(env) < until) {
        env_poll(env, until);
    }
    assert_true(env->woken_at >= start + 4 * NS_PER_MS);
    posix_env_free(&env);
}

TEST(posix_executor, a_deadline_that_passes_before_the_poll_ends_it_all_the_same)
{
    struct env *env = posix_env_new();
    alarm(30); /* a poll that never returns fails here */
    for (unsigned i = 0; i < 1000; i++) {
        /* libuv counts whole milliseconds: start less than 1 us before one. */
        while (env_now_mono(env) % NS_PER_MS < NS_PER_MS - 1 - i * 37 % 1000) {
        }
        env_poll(env, env_now_mono(env) + 10 * NS_PER_US);
    }
    alarm(0);
    posix_env_free(&env);
}

/* ---- jobs of all lengths --------------------------------------------------------------------- */

static void take_some_time(struct job *job)
{
    struct timespec pause = {.tv_nsec = work_of(job)->number};
    nanosleep(&pause, NULL);
    note_run(job);
}

/* One job of `ns` at a time, as a lone client's puts are. */
static void trips(struct world *world, struct work *work, unsigned count, int ns)
{
    for (unsigned i = 0; i < count; i++) {
        world->done_count = 0;
        atomic_store(&world->ran_count, 0);
        work_init(work, world, ns);
        work->job.run = take_some_time;
        executor_submit(world->executor, &work->job);
        poll_until_done(world, 1);
        assert_int_equal(world->done[0], ns);
    }
}

TEST(posix_executor, jobs_that_are_shorter_and_longer_than_those_before_come_back_all_the_same)
{
    static const int lengths[] = {100000, 1, 250000, 50000, 2000000, 1};
    struct world world;
    struct work work;
    world_init(&world, 1);
    alarm(60); /* a completion that nobody is told of fails here */
    for (unsigned round = 0; round < 4; round++) {
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
            trips(&world, &work, 25, lengths[i]);
        }
    }
    alarm(0);
    world_fini(&world);
}

static void wait_until_told(struct job *job)
{
    while (atomic_load(&work_of(job)->world->inside) == 0) {
        sched_yield();
    }
    note_run(job);
}

TEST(posix_executor, a_deadline_and_a_wake_end_a_poll_beside_a_job)
{
    struct world world;
    struct work work;
    world_init(&world, 1);
    for (unsigned i = 0; i < 20; i++) {
        trips(&world, &work, 20, 100000);
        world.done_count = 0;
        atomic_store(&world.inside, 0);
        atomic_store(&world.ran_count, 0);
        work_init(&work, &world, 7);
        work.job.run = wait_until_told;
        executor_submit(world.executor, &work.job);
        alarm(30); /* a poll that only the job ends fails here */
        mono_ns until = env_now_mono(world.env) + i * 20 * NS_PER_US;
        while (env_now_mono(world.env) < until) {
            env_poll(world.env, until);
        }
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, wake_soon, world.env), 0);
        env_poll(world.env, UINT64_MAX);
        pthread_join(thread, NULL);
        alarm(0);
        assert_int_equal(world.done_count, 0);
        atomic_store(&world.inside, 1);
        poll_until_done(&world, 1);
    }
    world_fini(&world);
}
