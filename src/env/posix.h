/* The real world: Linux files, threads and sockets, over libuv.
 *
 * Only this module and its .c files know system headers and libuv. */
#ifndef ENV_POSIX_H
#define ENV_POSIX_H

#include "env/env.h"

/* The loop thread is the one that calls this. One per process is usual; several work. A poll's
 * deadline is met to the next whole millisecond: timers fire up to 1 ms late. */
struct env *posix_env_new(void);
void posix_env_free(struct env **env); /* executors, sockets and listeners must be closed */

/* Raises the soft limit of open descriptors to the hard one, as every Go program does when it
 * starts. Call it before posix_env_new(), which sizes accepting by the limit. */
void posix_raise_fd_limit(void);

/* Just the disk, for tools and tests that need no loop. Static storage. */
struct disk *posix_disk(void);

/* Calls fn(ctx) on the loop thread when the process gets `signum`. At most 8 signals. */
typedef void signal_fn(int signum, void *ctx);
void posix_on_signal(struct env *env, int signum, signal_fn *fn, void *ctx);

/* Tells the service manager that started us ($NOTIFY_SOCKET) that we are ready. False: there is
 * none, or it could not be told. */
bool posix_notify_ready(void);

/* Processors this process may run on. */
unsigned posix_cpu_count(void);

/* Ends the process the way the signal would have, had nobody caught it. */
__attribute__((noreturn)) void posix_die_of(int signum);

/* Process facts for /metrics: CPU seconds, resident and virtual bytes, open and most descriptors,
 * start time (seconds since 1970), threads. Zero where the system does not say. */
struct process_info {
    double cpu_seconds;
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    uint64_t fd_open;
    uint64_t fd_max;
    double start_seconds;
    uint64_t threads;
};
void posix_process_info(struct process_info *out);

#endif
