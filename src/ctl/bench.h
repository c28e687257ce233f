/* benchmark: etcd's load tool.
 *
 * The whole program behind an env and a terminal, as ctl.h has it for etcdctl. It puts as much load
 * on a server as one thread can, so what it measures is the server.
 *
 * Threads: the caller's, which becomes the loop thread of the env.
 * Source:  etcd 3.6 tools/benchmark, whose commands, flags, defaults and report these are. */
#ifndef CTL_BENCH_H
#define CTL_BENCH_H

#include "ctl/ctl.h"

/* Runs one command line (argv[0] is the program's name) and returns the exit code of the process.
 * The progress bar goes to standard error, and moves only where `is_live`: on a terminal. */
int bench_main(int argc, const char *const *argv, struct env *env,
               const struct ctl_terminal *terminal, bool is_live);

#endif
