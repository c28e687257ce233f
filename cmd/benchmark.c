/* benchmark: joins bench_main() to the process. */
#include "ctl/bench.h"
#include "env/posix.h"
#include "env/posix_tty.h"

#include <stdio.h>

static void write_stream(void *ctx, enum ctl_stream stream, struct slice data)
{
    (void)ctx;
    FILE *file = stream == CTL_STDOUT ? stdout : stderr;
    fwrite(data.data, 1, data.len, file);
    fflush(file);
}

static enum err read_password(void *ctx, struct buf *out, struct errbuf *why)
{
    (void)ctx;
    return posix_tty_read_password(out, why);
}

int main(int argc, char **argv)
{
    static const struct ctl_terminal terminal = {.write = write_stream,
                                                 .read_password = read_password};
    posix_raise_fd_limit();
    struct env *env = posix_env_new();
    int code = bench_main(argc, (const char *const *)argv, env, &terminal, posix_tty_is_watched());
    posix_env_free(&env);
    /* A full disk or a closed pipe must not look like success. */
    if (ferror(stdout) != 0 && code == 0) {
        code = 1;
    }
    return code;
}
