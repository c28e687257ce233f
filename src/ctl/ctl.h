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

/* A program that a command runs: lists up to NULL. */
struct ctl_process {
    const char *const *argv; /* argv[0] is looked for in PATH */
    const char *const *environment;
    /* How it ended: an exit status, or a signal and its status. Once, from the loop. */
    void (*done)(void *arg, int status, int signum);
    void *arg;
};

struct ctl_terminal {
    void *ctx;
    void (*write)(void *ctx, enum ctl_stream stream, struct slice data);
    /* Up to `len` bytes of standard input; 0 at its end. May block. */
    size_t (*read)(void *ctx, void *data, size_t len);
    /* A line typed without echo, without its newline. ERR_IO with a sentence; NULL: there is no
     * terminal. */
    enum err (*read_password)(void *ctx, struct buf *out, struct errbuf *why);
    /* Calls ready(arg) once, from the loop, when read() would not block. False: it never does.
     * NULL: likewise. */
    bool (*await_input)(void *ctx, struct env *env, void (*ready)(void *arg), void *arg);
    /* Starts a program whose outputs are this terminal; its input is empty. Any error with a
     * sentence; NULL: there are no programs. */
    enum err (*run)(void *ctx, struct env *env, const struct ctl_process *process,
                    struct errbuf *why);
    /* What Go says of its end: "exit status 3". */
    void (*exit_text)(int status, int signum, char *out, size_t cap);
    /* From now on interrupt(arg) is called, from the loop, instead of dying of an interrupt. NULL:
     * there are none. */
    void (*on_interrupt)(void *ctx, struct env *env, void (*interrupt)(int signum, void *arg),
                         void *arg);
};

/* Runs one command line (argv[0] is the program's name) and returns the exit code of the process.
 * `environment` is a list of "NAME=value" up to NULL. */
int ctl_main(int argc, const char *const *argv, const char *const *environment, struct env *env,
             const struct ctl_terminal *terminal);

#endif
