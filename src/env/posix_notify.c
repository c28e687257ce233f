/* What this process tells the ones that started it: readiness, and how it ended. */
#include "env/posix.h"

#include <signal.h>
#include <stdlib.h>

#ifdef HAVE_LIBSYSTEMD
#include <systemd/sd-daemon.h>

void posix_notify_ready(void)
{
    /* Without a manager it does nothing; a manager that has gone is not our problem. */
    (void)sd_notify(0, "READY=1");
}

#else

void posix_notify_ready(void)
{
}

#endif

void posix_die_of(int signum)
{
    signal(signum, SIG_DFL);
    raise(signum);
    exit(128 + signum); /* a signal that was ignored */
}
