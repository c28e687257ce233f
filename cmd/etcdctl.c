/* etcdctl: joins ctl_main() to the process. */
#include "ctl/ctl.h"
#include "env/posix_process.h"
#include "env/posix_tty.h"

#include <signal.h>
#include <stdio.h>

static void write_stream(void *ctx, enum ctl_stream stream, struct slice data)
{
    (void)ctx;
    FILE *file = stream == CTL_STDOUT ? stdout : stderr;
    fwrite(data.data, 1, data.len, file);
    fflush(file);
}

static size_t read_stdin(void *ctx, void *data, size_t len)
{
    (void)ctx;
    return posix_tty_read(data, len);
}

static enum err read_password(void *ctx, struct buf *out, struct errbuf *why)
{
    (void)ctx;
    return posix_tty_read_password(out, why);
}

static bool await_input(void *ctx, struct env *env, void (*ready)(void *arg), void *arg)
{
    (void)ctx;
    return posix_await_input(env, ready, arg);
}

static enum err run(void *ctx, struct env *env, const struct ctl_process *process,
                    struct errbuf *why)
{
    (void)ctx;
    return posix_run(env, process->argv, process->environment, process->done, process->arg, why);
}

static void on_interrupt(void *ctx, struct env *env, void (*interrupt)(int signum, void *arg),
                         void *arg)
{
    (void)ctx;
    posix_on_signal(env, SIGINT, interrupt, arg);
    posix_on_signal(env, SIGTERM, interrupt, arg);
}

int main(int argc, char **argv, char **environment)
{
    static const struct ctl_terminal terminal = {
        .write = write_stream,
        .read = read_stdin,
        .read_password = read_password,
        .await_input = await_input,
        .run = run,
        .exit_text = posix_exit_text,
        .on_interrupt = on_interrupt,
    };
    struct env *env = posix_env_new();
    int code =
        ctl_main(argc, (const char *const *)argv, (const char *const *)environment, env, &terminal);
    posix_env_free(&env);
    /* A full disk or a closed pipe must not look like success. */
    if (ferror(stdout) != 0 && code == 0) {
        code = 1;
    }
    return code;
}
