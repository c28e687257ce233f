#include "base/mem.h"
#include "env/loop.h"
#include "env/sim.h"

#include "unit.h"

/* What happened, one letter or word each. */
struct world {
    struct env *env;
    struct loop *loop;
    struct buf story;
};

static struct world *current; /* the callbacks' */

static void world_init(struct world *world)
{
    *world = (struct world){.env = sim_env_new(1, NULL)};
    world->loop = loop_new(world->env);
    current = world;
}

static void world_fini(struct world *world)
{
    loop_free(&world->loop);
    assert_null(world->loop);
    sim_env_free(&world->env);
    buf_fini(&world->story);
}

static void note(const char *text)
{
    buf_printf(&current->story, "%s ", text);
}

static void assert_story(struct world *world, const char *expected)
{
    assert_string_equal(buf_cstr(&world->story), expected);
    buf_reset(&world->story);
}

struct named_timer {
    struct timer timer;
    const char *name;
    struct named_timer *starts; /* when it fires */
    struct named_timer *stops;
    mono_ns delay; /* of the one it starts */
};

static void timer_fired(struct timer *timer)
{
    struct named_timer *named = CONTAINER_OF(timer, struct named_timer, timer);
    assert_false(timer_running(timer));
    note(named->name);
    if (named->starts != NULL) {
        timer_start(current->loop, &named->starts->timer, loop_now(current->loop) + named->delay);
    }
    if (named->stops != NULL) {
        timer_stop(current->loop, &named->stops->timer);
    }
}

static void named_init(struct named_timer *named, const char *name)
{
    *named = (struct named_timer){.name = name};
    timer_init(&named->timer, timer_fired);
}

TEST(loop, timers_fire_by_deadline_then_in_the_order_they_were_started)
{
    struct world world;
    struct named_timer a;
    struct named_timer b;
    struct named_timer c;
    struct named_timer d;
    world_init(&world);
    mono_ns now = loop_now(world.loop);
    named_init(&a, "a");
    named_init(&b, "b");
    named_init(&c, "c");
    named_init(&d, "d");
    timer_start(world.loop, &d.timer, now + 20);
    timer_start(world.loop, &a.timer, now + 30);
    timer_start(world.loop, &b.timer, now + 10);
    timer_start(world.loop, &c.timer, now + 10);
    timer_start(world.loop, &a.timer, now + 10); /* moved, so started last */
    loop_turn(world.loop, true);
    assert_story(&world, "b c a ");
    assert_true(loop_now(world.loop) == now + 10);
    assert_true(timer_running(&d.timer));
    timer_stop(world.loop, &d.timer);
    timer_stop(world.loop, &d.timer);
    assert_false(timer_running(&d.timer));
    world_fini(&world);
}

TEST(loop, a_timer_started_while_timers_fire_waits_for_the_next_turn)
{
    struct world world;
    struct named_timer again;
    struct named_timer other;
    world_init(&world);
    named_init(&again, "again");
    named_init(&other, "other");
    again.starts = &again; /* with no delay: for ever */
    timer_start(world.loop, &again.timer, 0);
    timer_start(world.loop, &other.timer, 0);
    loop_turn(world.loop, true);
    assert_story(&world, "again other ");
    loop_turn(world.loop, true);
    assert_story(&world, "again ");
    timer_stop(world.loop, &again.timer);
    world_fini(&world);
}

TEST(loop, a_timer_stopped_by_another_due_with_it_does_not_fire)
{
    struct world world;
    struct named_timer a;
    struct named_timer b;
    world_init(&world);
    named_init(&a, "a");
    named_init(&b, "b");
    a.stops = &b;
    timer_start(world.loop, &a.timer, loop_now(world.loop) + 5);
    timer_start(world.loop, &b.timer, loop_now(world.loop) + 5);
    loop_turn(world.loop, true);
    assert_story(&world, "a ");
    world_fini(&world);
}

TEST(loop, a_turn_that_may_not_wait_does_not)
{
    struct world world;
    struct named_timer a;
    world_init(&world);
    named_init(&a, "a");
    mono_ns start = loop_now(world.loop);
    timer_start(world.loop, &a.timer, start + NS_PER_SEC);
    loop_turn(world.loop, false);
    assert_story(&world, "");
    assert_true(loop_now(world.loop) == start);
    sim_env_advance(world.env, NS_PER_SEC);
    loop_turn(world.loop, false);
    assert_story(&world, "a ");
    world_fini(&world);
}

static const char *const phase_names[LOOP_PHASE_COUNT] = {
    [LOOP_INPUT] = "input",   [LOOP_STEP] = "step",   [LOOP_PERSIST] = "persist",
    [LOOP_OUTPUT] = "output", [LOOP_CLOSE] = "close",
};

struct phase_task {
    struct task task;
    const char *name;
    struct phase_task *adds;
    enum loop_phase phase; /* of the one it adds */
    struct phase_task *removes;
};

static void task_ran(struct task *task)
{
    struct phase_task *named = CONTAINER_OF(task, struct phase_task, task);
    note(named->name);
    if (named->adds != NULL) {
        loop_task_add(current->loop, named->phase, &named->adds->task);
    }
    if (named->removes != NULL) {
        loop_task_remove(&named->removes->task);
    }
}

static void phase_task_init(struct phase_task *named, const char *name)
{
    *named = (struct phase_task){.name = name};
    task_init(&named->task, task_ran);
}

TEST(loop, phases_run_in_order_and_tasks_once)
{
    struct world world;
    struct phase_task tasks[LOOP_PHASE_COUNT];
    world_init(&world);
    for (unsigned i = LOOP_PHASE_COUNT; i-- > 0;) {
        phase_task_init(&tasks[i], phase_names[i]);
        loop_task_add(world.loop, (enum loop_phase)i, &tasks[i].task);
        loop_task_add(world.loop, (enum loop_phase)i, &tasks[i].task); /* does nothing */
    }
    loop_turn(world.loop, true); /* tasks keep it from waiting */
    assert_story(&world, "input step persist output close ");
    loop_turn(world.loop, false);
    assert_story(&world, "");
    world_fini(&world);
}

TEST(loop, a_task_added_for_a_later_phase_runs_in_the_same_turn_and_else_in_the_next)
{
    struct world world;
    struct phase_task first;
    struct phase_task second;
    world_init(&world);
    phase_task_init(&first, "first");
    phase_task_init(&second, "second");
    first.adds = &second;

    first.phase = LOOP_OUTPUT;
    loop_task_add(world.loop, LOOP_STEP, &first.task);
    loop_turn(world.loop, true);
    assert_story(&world, "first second ");

    static const enum loop_phase not_ahead[] = {LOOP_STEP, LOOP_INPUT};
    for (size_t i = 0; i < ARRAY_LEN(not_ahead); i++) {
        first.phase = not_ahead[i];
        loop_task_add(world.loop, LOOP_STEP, &first.task);
        loop_turn(world.loop, true);
        assert_story(&world, "first ");
        loop_turn(world.loop, true);
        assert_story(&world, "second ");
    }
    world_fini(&world);
}

TEST(loop, a_removed_task_does_not_run_even_when_its_phase_has_begun)
{
    struct world world;
    struct phase_task a;
    struct phase_task b;
    world_init(&world);
    phase_task_init(&a, "a");
    phase_task_init(&b, "b");
    a.removes = &b;
    loop_task_remove(&b.task); /* safe when not queued */
    loop_task_add(world.loop, LOOP_STEP, &a.task);
    loop_task_add(world.loop, LOOP_STEP, &b.task);
    loop_turn(world.loop, true);
    assert_story(&world, "a ");
    world_fini(&world);
}

struct named_hook {
    struct hook hook;
    const char *name;
    struct named_hook *removes;
    struct named_hook *adds;
};

static void hook_called(struct hook *hook)
{
    struct named_hook *named = CONTAINER_OF(hook, struct named_hook, hook);
    note(named->name);
    if (named->removes != NULL) {
        loop_hook_remove(&named->removes->hook);
        named->removes = NULL;
    }
    if (named->adds != NULL) {
        loop_hook_add(current->loop, LOOP_STEP, &named->adds->hook, hook_called);
        named->adds = NULL;
    }
}

TEST(loop, hooks_stand_and_follow_the_tasks_of_their_phase)
{
    struct world world;
    struct named_hook a = {.name = "a"};
    struct named_hook b = {.name = "b"};
    struct phase_task task;
    world_init(&world);
    phase_task_init(&task, "task");
    loop_hook_add(world.loop, LOOP_STEP, &a.hook, hook_called);
    loop_hook_add(world.loop, LOOP_STEP, &b.hook, hook_called);
    loop_task_add(world.loop, LOOP_STEP, &task.task);
    loop_turn(world.loop, true);
    assert_story(&world, "task a b ");
    loop_turn(world.loop, false);
    assert_story(&world, "a b ");
    loop_hook_remove(&a.hook);
    loop_hook_remove(&b.hook);
    world_fini(&world);
}

TEST(loop, a_hook_may_remove_itself_and_others_and_add_more)
{
    struct world world;
    struct named_hook a = {.name = "a"};
    struct named_hook b = {.name = "b"};
    struct named_hook c = {.name = "c"};
    struct named_hook d = {.name = "d"};
    world_init(&world);
    loop_hook_add(world.loop, LOOP_STEP, &a.hook, hook_called);
    loop_hook_add(world.loop, LOOP_STEP, &b.hook, hook_called);
    loop_hook_add(world.loop, LOOP_STEP, &c.hook, hook_called);
    a.removes = &b;
    c.removes = &c;
    a.adds = &d;
    loop_turn(world.loop, false);
    assert_story(&world, "a c d ");
    loop_turn(world.loop, false);
    assert_story(&world, "a d ");
    loop_hook_remove(&a.hook);
    loop_hook_remove(&d.hook);
    world_fini(&world);
}

struct loop_job {
    struct job job;
    struct phase_task *adds;
};

static void job_run(struct job *job)
{
    note("run");
}

static void job_done(struct job *job)
{
    note("done");
    loop_task_add(current->loop, LOOP_INPUT, &CONTAINER_OF(job, struct loop_job, job)->adds->task);
}

TEST(loop, completions_come_before_timers_and_timers_before_input)
{
    struct world world;
    struct named_timer timer;
    struct phase_task task;
    struct loop_job job = {.job = {.run = job_run, .done = job_done}, .adds = &task};
    world_init(&world);
    named_init(&timer, "timer");
    phase_task_init(&task, "input");
    timer_start(world.loop, &timer.timer, loop_now(world.loop));
    executor_submit(world.env->pool, &job.job);
    loop_turn(world.loop, true);
    assert_story(&world, "run done timer input ");
    world_fini(&world);
}

static void stop_fired(struct timer *timer)
{
    note("stop");
    loop_stop(current->loop);
}

TEST(loop, run_turns_until_stopped_and_can_run_again)
{
    struct world world;
    struct named_timer early;
    struct timer stop;
    world_init(&world);
    named_init(&early, "early");
    for (unsigned i = 0; i < 2; i++) {
        timer_init(&stop, stop_fired);
        timer_start(world.loop, &early.timer, loop_now(world.loop) + 3 * NS_PER_SEC);
        timer_start(world.loop, &stop, loop_now(world.loop) + 5 * NS_PER_SEC);
        loop_run(world.loop);
        assert_story(&world, "early stop ");
    }
    loop_stop(world.loop); /* before it runs: it does not start */
    loop_run(world.loop);
    loop_wake(world.loop);
    loop_turn(world.loop, true); /* woken: does not wait for ever */
    world_fini(&world);
}

static void slow_fired(struct timer *timer)
{
    sim_env_advance(current->env, 3 * NS_PER_MS);
}

struct asking_timer {
    struct timer timer;
    uint64_t turn_ns[2];
};

static void asks_for_the_turn(struct timer *timer)
{
    struct asking_timer *asking = CONTAINER_OF(timer, struct asking_timer, timer);
    asking->turn_ns[0] = loop_turn_ns(current->loop);
    sim_env_advance(current->env, 3 * NS_PER_MS);
    asking->turn_ns[1] = loop_turn_ns(current->loop);
}

/* The wait before it does not count, and the next turn begins anew. */
TEST(loop, a_turn_knows_how_long_it_has_been_going_on)
{
    struct world world;
    struct asking_timer asking;
    world_init(&world);
    timer_init(&asking.timer, asks_for_the_turn);
    for (unsigned i = 0; i < 2; i++) {
        asking.turn_ns[0] = UINT64_MAX;
        timer_start(world.loop, &asking.timer, loop_now(world.loop) + NS_PER_SEC);
        loop_turn(world.loop, true);
        assert_int_equal(asking.turn_ns[0], 0);
        assert_int_equal(asking.turn_ns[1], 3 * NS_PER_MS);
    }
    world_fini(&world);
}

static void slow_done(struct job *job)
{
    note("done");
    sim_env_advance(current->env, 40 * NS_PER_US);
}

TEST(loop, stalls_are_counted_from_waking_up_to_the_next_poll)
{
    struct world world;
    struct timer slow;
    struct job job = {.run = job_run, .done = slow_done};
    world_init(&world);
    const struct loop_stats *stats = loop_stats(world.loop);
    loop_turn(world.loop, false);
    assert_int_equal(stats->turns, 1);
    assert_int_equal(stats->stall_count[0], 1);
    /* A timer that takes 3 ms after a wait of a second: the wait does not count. */
    timer_init(&slow, slow_fired);
    timer_start(world.loop, &slow, loop_now(world.loop) + NS_PER_SEC);
    loop_turn(world.loop, true);
    assert_int_equal(stats->stall_max_ns, 3 * NS_PER_MS);
    assert_int_equal(stats->stall_count[8], 1); /* 2.048 … 4.096 ms */
    /* A handler inside the poll counts. */
    executor_submit(world.env->pool, &job);
    loop_turn(world.loop, true);
    assert_int_equal(stats->stall_count[2], 1); /* 32 … 64 us */
    assert_int_equal(stats->stall_sum_ns, 3 * NS_PER_MS + 40 * NS_PER_US);
    world_fini(&world);
}
