#include "base/mem.h"
#include "env/sim.h"

#include "unit.h"

struct work {
    struct job job;
    struct buf *story;
    struct executor **closes; /* by done() */
    char name;
    bool is_repeated;
    struct executor *executor;
};

static struct work *work_of(struct job *job)
{
    return CONTAINER_OF(job, struct work, job);
}

static void run(struct job *job)
{
    buf_printf(work_of(job)->story, "r%c ", work_of(job)->name);
}

static void done(struct job *job)
{
    struct work *work = work_of(job);
    buf_printf(work->story, "d%c ", work->name);
    if (work->is_repeated) {
        work->is_repeated = false;
        executor_submit(work->executor, job);
    }
    if (work->closes != NULL) {
        executor_close(work->closes);
    }
}

static void submit(struct work *work, struct executor *executor, char name, struct buf *story)
{
    *work = (struct work){.job = {.run = run, .done = done}, .story = story, .name = name};
    work->executor = executor;
    executor_submit(executor, &work->job);
}

static void assert_story(struct buf *story, const char *expected)
{
    assert_string_equal(buf_cstr(story), expected);
    buf_reset(story);
}

TEST(sim_env, the_same_seed_gives_the_same_bytes_and_another_one_others)
{
    uint8_t a[37];
    uint8_t b[37];
    uint8_t c[37];
    struct env *first = sim_env_new(7, NULL);
    struct env *second = sim_env_new(7, NULL);
    struct env *other = sim_env_new(8, NULL);
    env_random(first, a, sizeof(a));
    env_random(second, b, sizeof(b));
    env_random(other, c, sizeof(c));
    assert_memory_equal(a, b, sizeof(a));
    assert_memory_not_equal(a, c, sizeof(a));
    assert_true(env_random_u64(first) == env_random_u64(second));
    sim_env_free(&first);
    sim_env_free(&second);
    sim_env_free(&other);
}

/* The reference implementation from state {1, 2, 3, 4} begins 11520, 0, 1509978240. */
TEST(sim_env, the_generator_is_xoshiro256_starstar)
{
    struct sim_rng rng = {.state = {1, 2, 3, 4}};
    assert_true(sim_rng_u64(&rng) == 11520);
    assert_true(sim_rng_u64(&rng) == 0);
    assert_true(sim_rng_u64(&rng) == 1509978240);
    unsigned seen[10] = {0};
    for (unsigned i = 0; i < 10000; i++) {
        uint64_t value = sim_rng_below(&rng, 10);
        assert_true(value < 10);
        seen[value]++;
    }
    for (unsigned i = 0; i < 10; i++) {
        assert_in_range(seen[i], 850, 1150);
    }
}

TEST(sim_env, time_stands_still_but_for_polls_and_the_test)
{
    struct env *env = sim_env_new(1, NULL);
    mono_ns mono = env_now_mono(env);
    wall_ns wall = env_now_wall(env);
    assert_true(env_now_mono(env) == mono);
    env_poll(env, 0);
    env_poll(env, mono - 1);
    assert_true(env_now_mono(env) == mono);
    env_poll(env, mono + 50);
    assert_true(env_now_mono(env) == mono + 50);
    assert_true(env_now_wall(env) == wall + 50);
    sim_env_advance(env, 7);
    sim_env_jump_wall(env, -3600 * (int64_t)NS_PER_SEC);
    assert_true(env_now_mono(env) == mono + 57);
    assert_true(env_now_wall(env) == wall + 57 - 3600 * (int64_t)NS_PER_SEC);
    env_wake(env);
    env_poll(env, UINT64_MAX); /* woken: returns at once */
    assert_true(env_now_mono(env) == mono + 57);
    sim_env_free(&env);
}

TEST(sim_env, jobs_of_all_executors_run_in_order_of_submission)
{
    struct env *env = sim_env_new(1, NULL);
    struct executor *wal = env_executor_new(env, "wal", 1);
    struct executor *pool = env_executor_new(env, "pool", 4);
    struct buf story = {0};
    struct work works[4];
    submit(&works[0], wal, 'a', &story);
    submit(&works[1], pool, 'b', &story);
    submit(&works[2], wal, 'c', &story);
    submit(&works[3], pool, 'd', &story);
    works[0].is_repeated = true;
    assert_story(&story, "");
    env_poll(env, 0);
    assert_story(&story, "ra da rb db rc dc rd dd ");
    env_poll(env, UINT64_MAX); /* what done() submitted runs in the next poll */
    assert_story(&story, "ra da ");
    executor_close(&wal);
    executor_close(&pool);
    sim_env_free(&env);
    buf_fini(&story);
}

TEST(sim_env, delayed_jobs_are_waited_for_and_do_not_overtake)
{
    struct env *env = sim_env_new(1, NULL);
    struct executor *wal = env_executor_new(env, "wal", 1);
    struct executor *backend = env_executor_new(env, "backend", 1);
    struct buf story = {0};
    struct work works[4];
    mono_ns start = env_now_mono(env);
    sim_env_delay_jobs(env, 100);
    submit(&works[0], wal, 'a', &story);
    sim_env_delay_jobs(env, 30);
    submit(&works[1], wal, 'b', &story);     /* the same thread: behind a */
    submit(&works[2], backend, 'c', &story); /* another one: before */
    env_poll(env, start + 10);
    assert_story(&story, "");
    env_poll(env, start + 1000);
    assert_story(&story, "rc dc ");
    assert_true(env_now_mono(env) == start + 30);
    env_poll(env, UINT64_MAX);
    assert_story(&story, "ra da rb db ");
    assert_true(env_now_mono(env) == start + 100);
    submit(&works[3], wal, 'd', &story);
    executor_close(&wal); /* does not wait */
    assert_story(&story, "rd dd ");
    executor_close(&backend);
    sim_env_free(&env);
    buf_fini(&story);
}

TEST(sim_env, a_done_may_close_its_own_executor)
{
    struct env *env = sim_env_new(1, NULL);
    struct executor *wal = env_executor_new(env, "wal", 1);
    struct buf story = {0};
    struct work works[3];
    for (unsigned i = 0; i < 3; i++) {
        submit(&works[i], wal, (char)('a' + i), &story);
    }
    works[0].closes = &wal;
    env_poll(env, 0);
    assert_null(wal);
    assert_story(&story, "ra da rb db rc dc ");
    sim_env_free(&env);
    buf_fini(&story);
}
