/* etcdutl: joins utl_main() to the process. */
#include "ctl/utl.h"
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

int main(int argc, char **argv, char **environment)
{
    static const struct ctl_terminal terminal = {
        .write = write_stream, .read = read_stdin, .read_password = read_password};
    struct env *env = posix_env_new();
    int code =
        utl_main(argc, (const char *const *)argv, (const char *const *)environment, env, &terminal);
    posix_env_free(&env);
    /* A full disk or a closed pipe must not look like success. */
    if (ferror(stdout) != 0 && code == 0) {
        code = 1;
    }
    return code;
}
