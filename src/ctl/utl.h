/* etcdutl: the tool for files of members that are not running.
 *
 * The whole program behind an env and a terminal, as ctl.h.
 *
 * Threads: the caller's, which becomes the loop thread of the env.
 * Source:  etcdutl 3.6, whose commands, words and exit codes these are (reference: cli.md). */
#ifndef CTL_UTL_H
#define CTL_UTL_H

#include "ctl/ctl.h"

int utl_main(int argc, const char *const *argv, const char *const *environment, struct env *env,
             const struct ctl_terminal *terminal);

#endif
