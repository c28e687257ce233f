/* etcdctl: the command line client.
 *
 * The whole program behind two interfaces: an env for clocks and sockets, and a terminal for what
 * is read and written. main() joins them to the process; tests put their own behind them.
 *
 * Threads: the caller's, which becomes the loop thread of the env.
 * Source:  etcdctl 3.6, whose commands, words and exit codes these are (reference: cli.md). */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "env/env.h"

#define CTL_VERSION "3.6.0"
#define CTL_API_VERSION "3.6"

enum ctl_stream {
    CTL_STDOUT,
    CTL_STDERR,
};

struct ctl_terminal {
    void *ctx;
    void (*write)(void *ctx, enum ctl_stream stream, struct slice data);
    /* Up to `len` bytes of standard input; 0 at its end. May block. */
    size_t (*read)(void *ctx, void *data, size_t len);
    /* A line typed without echo, without its newline. ERR_IO with a sentence; NULL: there is no
     * terminal. */
    enum err (*read_password)(void *ctx, struct buf *out, struct errbuf *why);
};

/* Runs one command line (argv[0] is the program's name) and returns the exit code of the process.
 * `environment` is a list of "NAME=value" up to NULL. */
int ctl_main(int argc, const char *const *argv, const char *const *environment, struct env *env,
             const struct ctl_terminal *terminal);

#endif
