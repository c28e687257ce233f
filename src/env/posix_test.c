#include "env/posix.h"

#include "env/loop.h"
#include "unit.h"

static struct env *setup(struct loop **loop)
{
    struct env *env = posix_env_new();
    *loop = loop_new(env);
    return env;
}

static bool has_fired;

static void fired(struct timer *timer)
{
    (void)timer;
    has_fired = true;
}

/* A timer that is due within a millisecond is slept for: neither in one turn after the other, nor
 * too short; and not for a whole millisecond, as libuv would, each time. */
TEST(posix, a_fraction_of_a_millisecond_is_one_wait)
{
    struct loop *loop;
    struct env *env = setup(&loop);
    struct timer timer;
    timer_init(&timer, fired);
    uint64_t quickest_ns = UINT64_MAX;
    for (unsigned i = 0; i < 200; i++) {
        uint64_t turns = loop_stats(loop)->turns;
        mono_ns began = env_now_mono(env);
        mono_ns until = env_now_mono(env) + (50 + i) * NS_PER_US;
        has_fired = false;
        timer_start(loop, &timer, until);
        while (!has_fired) {
            loop_turn(loop, true);
        }
        mono_ns now = env_now_mono(env);
        assert_true(now >= until);
        assert_in_range(loop_stats(loop)->turns - turns, 1, 2);
        quickest_ns = now - began < quickest_ns ? now - began : quickest_ns;
    }
    assert_true(quickest_ns < NS_PER_MS);
    loop_free(&loop);
    posix_env_free(&env);
}

/* What was waited for, and did not come to it, wakes nobody later. */
TEST(posix, a_wait_that_was_cut_short_leaves_nothing_behind)
{
    struct loop *loop;
    struct env *env = setup(&loop);
    struct timer soon;
    struct timer later;
    timer_init(&soon, fired);
    timer_init(&later, fired);
    timer_start(loop, &soon, env_now_mono(env) + 900 * NS_PER_US);
    env_wake(env);
    loop_turn(loop, true);
    timer_stop(loop, &soon);
    has_fired = false;
    timer_start(loop, &later, env_now_mono(env) + 20 * NS_PER_MS);
    uint64_t turns = loop_stats(loop)->turns;
    while (!has_fired) {
        loop_turn(loop, true);
    }
    assert_in_range(loop_stats(loop)->turns - turns, 1, 2);
    loop_free(&loop);
    posix_env_free(&env);
}
