/* What this process tells the ones that started it: readiness, and how it ended. */
#include "env/posix.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#ifdef HAVE_LIBSYSTEMD
#include <systemd/sd-daemon.h>

bool posix_notify_ready(void)
{
    return sd_notify(0, "READY=1") > 0;
}

#else

bool posix_notify_ready(void)
{
    return false;
}

#endif

unsigned posix_cpu_count(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    return count > 0 ? (unsigned)count : 1;
}

void posix_die_of(int signum)
{
    signal(signum, SIG_DFL);
    raise(signum);
    exit(128 + signum); /* a signal that was ignored */
}
