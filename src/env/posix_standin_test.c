#include "base/mem.h"
#include "env/loop.h"
#include "env/posix.h"

#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TRIPS_MAX 100000

/* One job at a time on a serial executor, submitted again by its done(): what a lone client's puts
 * are to the log. */
struct world {
    struct env *env;
    struct loop *loop;
    struct executor *executor;
    pthread_t home; /* the thread of loop_run() */
    struct job job;
    struct hook hook;
    struct timer timer;
    void (*at_home)(struct world *world); /* what a job does that runs at home */
    void (*away)(struct world *world);    /* what the first turn does that is another thread's */
    unsigned home_goal;                   /* stop after so many jobs at home */
    unsigned trip_count;
    unsigned home_count;
    unsigned first_home;  /* the trip that was the first at home */
    unsigned away_count;  /* turns on another thread */
    atomic_bool has_come; /* such a turn has begun */
    atomic_bool is_ended; /* the job at home */
    mono_ns ended_at;
    struct job second;
    bool has_second;
    struct task task;
    struct task next_task;
    int fd;
    struct listener *listener;
    struct sock *sock;
    atomic_uint input_count;
};

static bool is_home(const struct world *world)
{
    return pthread_equal(pthread_self(), world->home) != 0;
}

static void sleep_ms(long ms)
{
    struct timespec pause = {.tv_nsec = ms * 1000000};
    nanosleep(&pause, NULL);
}

static void run(struct job *job)
{
    struct world *world = CONTAINER_OF(job, struct world, job);
    if (is_home(world)) {
        world->home_count++;
        if (world->home_count == 1) {
            world->first_home = world->trip_count;
        }
        if (world->at_home != NULL) {
            world->at_home(world);
        }
        world->ended_at = env_now_mono(world->env);
        atomic_store(&world->is_ended, true);
    }
}

static void done(struct job *job)
{
    struct world *world = CONTAINER_OF(job, struct world, job);
    world->trip_count++;
    assert_true(world->trip_count < TRIPS_MAX);
    if (world->home_count >= world->home_goal) {
        loop_stop(world->loop);
    } else if (world->executor != NULL) {
        executor_submit(world->executor, &world->job);
    }
}

static void note_turn(struct hook *hook)
{
    struct world *world = CONTAINER_OF(hook, struct world, hook);
    if (is_home(world)) { /* a job is no stall of the loop */
        assert_true(world->env->woken_at >= world->ended_at);
        return;
    }
    world->away_count++;
    if (!atomic_exchange(&world->has_come, true) && world->away != NULL) {
        world->away(world);
    }
}

static void world_init(struct world *world)
{
    *world = (struct world){.home = pthread_self(), .home_goal = 1};
    world->env = posix_env_new();
    world->loop = loop_new(world->env);
    world->executor = env_executor_new(world->env, "test", 1);
    world->job = (struct job){.run = run, .done = done};
    loop_hook_add(world->loop, LOOP_STEP, &world->hook, note_turn);
}

static void turn_until_home(struct world *world)
{
    alarm(60); /* a loop that nobody turns fails here */
    executor_submit(world->executor, &world->job);
    loop_run(world->loop);
    alarm(0);
    assert_true(is_home(world));
}

static void world_fini(struct world *world)
{
    executor_close(&world->executor);
    loop_hook_remove(&world->hook);
    loop_free(&world->loop);
    posix_env_free(&world->env);
}

TEST(posix_standin, a_job_that_is_usually_alone_runs_on_the_loops_own_thread)
{
    struct world w;
    world_init(&w);
    w.home_goal = 100;
    turn_until_home(&w);
    assert_int_equal(w.home_count, 100);
    assert_true(w.first_home >= 4);
    assert_int_equal(w.away_count, 0);
    world_fini(&w);
}

/* ---- the loop goes on meanwhile ----------------------------------------------------------------
 */

static void wait_until_come(struct world *world)
{
    while (!atomic_load(&world->has_come)) {
        sched_yield();
    }
}

static void wake_and_wait(struct world *world)
{
    env_wake(world->env);
    wait_until_come(world);
}

TEST(posix_standin, an_event_is_handled_while_the_job_runs)
{
    struct world w;
    world_init(&w);
    w.at_home = wake_and_wait;
    turn_until_home(&w);
    assert_true(w.away_count >= 1);
    world_fini(&w);
}

static void no_timer(struct timer *timer)
{
    UNUSED(timer);
}

static void start_timer(struct job *job)
{
    struct world *world = CONTAINER_OF(job, struct world, job);
    done(job);
    timer_start(world->loop, &world->timer, env_now_mono(world->env) + 3 * NS_PER_MS);
}

TEST(posix_standin, a_timer_fires_while_the_job_runs)
{
    struct world w;
    world_init(&w);
    timer_init(&w.timer, no_timer);
    w.job.done = start_timer;
    w.at_home = wait_until_come;
    turn_until_home(&w);
    assert_true(w.away_count >= 1);
    timer_stop(w.loop, &w.timer);
    world_fini(&w);
}

static void come_and_go(struct world *world)
{
    atomic_store(&world->has_come, false);
    env_wake(world->env);
    if (world->home_count % 2 == 0) {
        wait_until_come(world);
    }
}

/* Half of them end at about the moment at which the stand-in comes. */
TEST(posix_standin, the_loop_changes_hands_and_comes_back_many_times)
{
    struct world w;
    world_init(&w);
    w.at_home = come_and_go;
    w.home_goal = 2000;
    turn_until_home(&w);
    assert_true(w.away_count >= 1000);
    world_fini(&w);
}

/* ---- what the stand-in's turns may do -----------------------------------------------------------
 */

static void run_second(struct job *job)
{
    struct world *world = CONTAINER_OF(job, struct world, second);
    assert_true(atomic_load(&world->is_ended));
}

static void second_done(struct job *job)
{
    struct world *world = CONTAINER_OF(job, struct world, second);
    world->has_second = true;
    loop_stop(world->loop);
}

static void first_done(struct job *job)
{
    struct world *world = CONTAINER_OF(job, struct world, job);
    assert_false(world->has_second);
    if (world->home_count == 0) {
        executor_submit(world->executor, job);
    }
}

static void submit_second(struct world *world)
{
    world->second = (struct job){.run = run_second, .done = second_done};
    executor_submit(world->executor, &world->second);
}

static void wake_and_linger(struct world *world)
{
    wake_and_wait(world);
    sleep_ms(5);
}

TEST(posix_standin, a_job_submitted_meanwhile_runs_after_the_one_at_home)
{
    struct world w;
    world_init(&w);
    w.at_home = wake_and_linger;
    w.away = submit_second;
    w.job.done = first_done;
    turn_until_home(&w);
    assert_true(w.has_second);
    assert_int_equal(w.home_count, 1);
    world_fini(&w);
}

static void close_it(struct world *world)
{
    assert_false(atomic_load(&world->is_ended));
    executor_close(&world->executor);
    assert_true(atomic_load(&world->is_ended));
}

TEST(posix_standin, closing_waits_for_the_job_at_home)
{
    struct world w;
    world_init(&w);
    w.at_home = wake_and_linger;
    w.away = close_it;
    turn_until_home(&w);
    assert_null(w.executor);
    assert_int_equal(w.home_count, 1);
    world_fini(&w);
}

static void stop_it(struct world *world)
{
    loop_stop(world->loop);
}

static void again_until_home(struct job *job)
{
    struct world *world = CONTAINER_OF(job, struct world, job);
    world->trip_count++;
    if (world->home_count < world->home_goal) {
        executor_submit(world->executor, job);
    }
}

TEST(posix_standin, a_loop_stopped_meanwhile_returns_after_the_job)
{
    struct world w;
    world_init(&w);
    w.at_home = wake_and_linger;
    w.away = stop_it;
    w.job.done = again_until_home;
    for (unsigned i = 1; i <= 3; i++) {
        w.home_goal = i;
        atomic_store(&w.is_ended, false);
        atomic_store(&w.has_come, false);
        turn_until_home(&w);
        assert_true(atomic_load(&w.is_ended));
        assert_int_equal(w.home_count, i);
        assert_int_equal(w.away_count, i); /* a stopped loop is not turned */
    }
    world_fini(&w);
}

static void close_held(struct job *job)
{
    struct world *world = CONTAINER_OF(job, struct world, job);
    done(job);
    if (world->home_count == 2 && world->executor != NULL) { /* the next one is held by now */
        executor_close(&world->executor);
        loop_stop(world->loop);
    }
}

TEST(posix_standin, closing_runs_a_job_that_is_held)
{
    struct world w;
    world_init(&w);
    w.job.done = close_held;
    w.home_goal = UINT32_MAX;
    turn_until_home(&w);
    assert_int_equal(w.home_count, 2);
    world_fini(&w);
}

/* ---- when not to -------------------------------------------------------------------------------
 */

static void read_some(struct sock *sock, void *ctx)
{
    struct world *world = ctx;
    char bytes[64];
    size_t got = 0;
    if (sock_read(sock, bytes, sizeof(bytes), &got) == ERR_OK) {
        atomic_fetch_add(&world->input_count, (unsigned)got);
    }
}

static void accepted(struct sock *sock, const struct sock_addr *peer, void *ctx)
{
    static const struct sock_handler handler = {.readable = read_some};
    struct world *world = ctx;
    UNUSED(peer);
    world->sock = sock;
    sock_set_handler(sock, &handler, world);
    loop_stop(world->loop);
}

static void connect_to(struct world *world)
{
    struct errbuf why;
    struct sock_addr bound;
    struct listen_options options = {0};
    assert_int_equal(net_listen(world->env->net, "127.0.0.1", "0", &options, accepted, world,
                                &world->listener, &why),
                     ERR_OK);
    listener_addr(world->listener, &bound);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port =
                                 htons((uint16_t)strtoul(strrchr(bound.text, ':') + 1, NULL, 10))};
    world->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(world->fd >= 0);
    assert_int_equal(connect(world->fd, (struct sockaddr *)&to, sizeof(to)), 0);
    loop_run(world->loop);
    assert_non_null(world->sock);
}

static void run_beside_input(struct job *job)
{
    struct world *world = CONTAINER_OF(job, struct world, job);
    unsigned before = atomic_load(&world->input_count);
    assert_false(is_home(world));
    assert_int_equal(write(world->fd, "x", 1), 1);
    while (atomic_load(&world->input_count) == before) {
        sched_yield();
    }
}

static void stop_after_some(struct job *job)
{
    struct world *world = CONTAINER_OF(job, struct world, job);
    if (++world->trip_count == 200) {
        loop_stop(world->loop);
    } else {
        executor_submit(world->executor, job);
    }
}

TEST(posix_standin, jobs_beside_which_input_comes_stay_on_their_thread)
{
    struct world w;
    world_init(&w);
    connect_to(&w);
    w.job = (struct job){.run = run_beside_input, .done = stop_after_some};
    turn_until_home(&w);
    assert_int_equal(w.trip_count, 200);
    sock_close(&w.sock);
    listener_close(&w.listener);
    close(w.fd);
    world_fini(&w);
}

static void run_long(struct job *job)
{
    struct world *world = CONTAINER_OF(job, struct world, job);
    assert_false(is_home(world) && world->trip_count > 20);
    sleep_ms(5);
}

TEST(posix_standin, long_jobs_stay_on_their_thread)
{
    struct world w;
    world_init(&w);
    w.job = (struct job){.run = run_long, .done = stop_after_some};
    turn_until_home(&w);
    assert_int_equal(w.trip_count, 200);
    world_fini(&w);
}

static void run_second_away(struct job *job)
{
    assert_false(is_home(CONTAINER_OF(job, struct world, second)));
}

static void two_done(struct job *job)
{
    UNUSED(job);
}

static void submit_both(struct job *job)
{
    struct world *world = CONTAINER_OF(job, struct world, job);
    executor_submit(world->executor, &world->second);
    stop_after_some(job);
}

static void run_away(struct job *job)
{
    assert_false(is_home(CONTAINER_OF(job, struct world, job)));
}

TEST(posix_standin, jobs_in_company_stay_on_their_thread)
{
    struct world w;
    world_init(&w);
    w.second = (struct job){.run = run_second_away, .done = two_done};
    w.job = (struct job){.run = run_away, .done = submit_both};
    turn_until_home(&w);
    assert_int_equal(w.trip_count, 200);
    world_fini(&w);
}

static void no_task(struct task *task)
{
    UNUSED(task);
}

static void submit_beside_task(struct job *job)
{
    struct world *world = CONTAINER_OF(job, struct world, job);
    stop_after_some(job);
    loop_task_add(world->loop, LOOP_INPUT, &world->task);
    loop_task_add(world->loop, LOOP_CLOSE, &world->next_task);
}

static void task_of_next_turn(struct task *task)
{
    struct world *world = CONTAINER_OF(task, struct world, next_task);
    loop_task_add(world->loop, LOOP_INPUT, &world->task);
}

TEST(posix_standin, jobs_beside_which_the_loop_has_work_stay_on_their_thread)
{
    struct world w;
    world_init(&w);
    task_init(&w.task, no_task);
    task_init(&w.next_task, task_of_next_turn);
    w.job = (struct job){.run = run_away, .done = submit_beside_task};
    turn_until_home(&w);
    assert_int_equal(w.trip_count, 200);
    loop_task_remove(&w.task);
    loop_task_remove(&w.next_task);
    world_fini(&w);
}

static void submit_and_wake(struct job *job)
{
    struct world *world = CONTAINER_OF(job, struct world, job);
    stop_after_some(job);
    env_wake(world->env);
}

TEST(posix_standin, a_held_job_goes_to_its_thread_when_an_event_comes_first)
{
    struct world w;
    world_init(&w);
    w.job = (struct job){.run = run_away, .done = submit_and_wake};
    turn_until_home(&w);
    assert_int_equal(w.trip_count, 200);
    world_fini(&w);
}

TEST(posix_standin, a_loop_that_nobody_runs_has_no_stand_in)
{
    struct world w;
    world_init(&w);
    turn_until_home(&w);
    w.job = (struct job){.run = run_away, .done = stop_after_some};
    w.trip_count = 100;
    executor_submit(w.executor, &w.job);
    while (w.trip_count < 200) {
        env_poll(w.env, UINT64_MAX);
    }
    world_fini(&w);
}
