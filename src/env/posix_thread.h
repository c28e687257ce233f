/* A thread with a loop of its own, and a monitor to talk to it: for those who give a loop to
 * programs that have none. Everything inside such a loop stays single-threaded. */
#ifndef ENV_POSIX_THREAD_H
#define ENV_POSIX_THREAD_H

#include "env/env.h"

struct posix_thread;
struct posix_monitor;

/* Runs run(ctx) with every signal blocked: those are the program's. ERR_IO when there is none. */
FALLIBLE posix_thread_start(const char *name, void (*run)(void *ctx), void *ctx,
                            struct posix_thread **out, struct errbuf *why);
bool posix_thread_is_current(const struct posix_thread *thread);
void posix_thread_join(struct posix_thread **thread); /* waits for run()'s end; NULLs */

/* A lock and a condition. */
struct posix_monitor *posix_monitor_new(void);
void posix_monitor_free(struct posix_monitor **monitor);
void posix_monitor_enter(struct posix_monitor *monitor);
void posix_monitor_leave(struct posix_monitor *monitor);
/* Inside. Leaves, waits for a notification (or nothing at all), enters. False: `until`
 * (CLOCK_MONOTONIC; UINT64_MAX for ever) has passed. */
bool posix_monitor_wait(struct posix_monitor *monitor, mono_ns until);
void posix_monitor_notify(struct posix_monitor *monitor); /* wakes all who wait */

#endif
