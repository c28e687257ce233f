/* What a command line program needs of its system beside an env: other programs, and standard
 * input that does not block the loop. Loop thread only. */
#ifndef ENV_POSIX_PROCESS_H
#define ENV_POSIX_PROCESS_H

#include "env/posix.h"

/* How a program ended: `signum` is 0, or the signal that ended it. Once, from the loop. */
typedef void posix_exit_fn(void *ctx, int status, int signum);

/* Starts argv[0] (looked for in PATH) with exactly this environment. Its standard input is empty,
 * its outputs are ours. Both lists end with NULL. It must have ended before the env is freed.
 *
 * ERR_NOT_FOUND, ERR_PERM, ERR_IO with Go's sentence: exec: "x": executable file not found in
 * $PATH */
FALLIBLE posix_run(struct env *env, const char *const *argv, const char *const *environment,
                   posix_exit_fn *done, void *ctx, struct errbuf *why);

/* What Go says of a program that failed: "exit status 3", "signal: killed". */
void posix_exit_text(int status, int signum, char *out, size_t cap);

/* Calls fn(ctx) once, from the loop, when reading standard input would not block. False: it never
 * blocks (a file), and fn is not called. At most one at a time; the env's end forgets it. */
bool posix_await_input(struct env *env, void (*fn)(void *ctx), void *ctx);

#endif
