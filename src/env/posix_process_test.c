#include "env/posix_process.h"

#include "env/loop.h"

#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

struct world {
    struct env *env;
    struct loop *loop;
    int status;
    int signum;
    unsigned ends;
    unsigned ready;
};

static void world_init(struct world *world)
{
    *world = (struct world){0};
    world->env = posix_env_new();
    world->loop = loop_new(world->env);
}

static void world_fini(struct world *world)
{
    loop_free(&world->loop);
    posix_env_free(&world->env);
}

static void ended(void *ctx, int status, int signum)
{
    struct world *world = ctx;
    world->status = status;
    world->signum = signum;
    world->ends++;
}

static void run(struct world *world, const char *script, const char *const *environment)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    struct errbuf why = {{0}};
    unsigned before = world->ends;
    assert_int_equal(posix_run(world->env, argv, environment, ended, world, &why), ERR_OK);
    assert_int_equal(world->ends, before); /* never from inside */
    while (world->ends == before) {
        loop_turn(world->loop, true);
    }
}

static const char *const no_environment[] = {NULL};

TEST(posix_process, says_how_a_program_ended)
{
    struct world world;
    char text[64];
    world_init(&world);
    run(&world, "exit 0", no_environment);
    assert_int_equal(world.status, 0);
    assert_int_equal(world.signum, 0);
    run(&world, "exit 3", no_environment);
    assert_int_equal(world.status, 3);
    posix_exit_text(world.status, world.signum, text, sizeof(text));
    assert_string_equal(text, "exit status 3");
    run(&world, "kill -9 $$", no_environment);
    assert_int_equal(world.signum, SIGKILL);
    posix_exit_text(world.status, world.signum, text, sizeof(text));
    assert_string_equal(text, "signal: killed");
    world_fini(&world);
}

TEST(posix_process, the_program_gets_this_environment_and_no_input)
{
    struct world world;
    static const char *const environment[] = {"A=1 2", NULL};
    world_init(&world);
    run(&world, "test \"$A\" = '1 2' && test -z \"$HOME\" && test \"$(cat)\" = ''", environment);
    assert_int_equal(world.status, 0);
    world_fini(&world);
}

TEST(posix_process, what_cannot_be_started_is_refused_as_go_says_it)
{
    struct world world;
    struct errbuf why = {{0}};
    static const char *const missing[] = {"no-such-program-here", NULL};
    static const char *const nowhere[] = {"/no/such/program", NULL};
    static const char *const directory[] = {"/", NULL};
    world_init(&world);
    assert_int_equal(posix_run(world.env, missing, no_environment, ended, &world, &why),
                     ERR_NOT_FOUND);
    assert_string_equal(why.text,
                        "exec: \"no-such-program-here\": executable file not found in $PATH");
    assert_int_equal(posix_run(world.env, nowhere, no_environment, ended, &world, &why),
                     ERR_NOT_FOUND);
    assert_string_equal(why.text, "fork/exec /no/such/program: no such file or directory");
    assert_int_equal(posix_run(world.env, directory, no_environment, ended, &world, &why),
                     ERR_PERM);
    assert_string_equal(why.text, "fork/exec /: permission denied");
    assert_int_equal(world.ends, 0);
    world_fini(&world);
}

static void ready(void *ctx)
{
    struct world *world = ctx;
    world->ready++;
}

/* Puts `fd` in place of standard input; the result is the old one. */
static int replace_input(int fd)
{
    int before = dup(STDIN_FILENO);
    assert_true(before >= 0);
    assert_int_equal(dup2(fd, STDIN_FILENO), STDIN_FILENO);
    return before;
}

TEST(posix_process, input_is_waited_for_and_stays_blocking)
{
    struct world world;
    int ends[2];
    char c;
    assert_int_equal(pipe(ends), 0);
    int before = replace_input(ends[0]);
    world_init(&world);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(posix_await_input(world.env, ready, &world));
        loop_turn(world.loop, false);
        loop_turn(world.loop, false);
        assert_int_equal(world.ready, i);
        assert_int_equal(write(ends[1], "x", 1), 1);
        while (world.ready == i) {
            loop_turn(world.loop, true);
        }
        assert_int_equal(read(STDIN_FILENO, &c, 1), 1);
    }
    assert_int_equal(fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK, 0);
    /* The end counts as something to read. */
    assert_true(posix_await_input(world.env, ready, &world));
    close(ends[1]);
    while (world.ready == 2) {
        loop_turn(world.loop, true);
    }
    world_fini(&world);
    dup2(before, STDIN_FILENO);
    close(before);
    close(ends[0]);
}

TEST(posix_process, a_file_is_always_ready)
{
    struct world world;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    int before = replace_input(fd);
    world_init(&world);
    assert_false(posix_await_input(world.env, ready, &world));
    world_fini(&world);
    dup2(before, STDIN_FILENO);
    close(before);
    close(fd);
}
