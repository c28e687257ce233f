/* A world for tests: a real disk, a clock that stands still, and an executor whose jobs run and
 * finish when the test says so. So a test can stop between any two steps of a commit. */
#ifndef STORAGE_MANUAL_ENV_H
#define STORAGE_MANUAL_ENV_H

/* All of env, for tests and benches of the floors above, which may not see it by themselves. */
#include "env/env.h"
#include "env/loop.h"
#include "env/posix.h"
#include "env/sim.h"

struct manual_env {
    struct env env;
    struct executor executor;
    struct list submitted; /* struct job, oldest first */
    struct list ran;       /* run(), not yet done() */
    mono_ns now;
};

/* disk NULL: the real one. */
void manual_env_init(struct manual_env *manual, struct disk *disk);
/* Runs, then finishes, the oldest job. False when there is none. */
bool manual_run(struct manual_env *manual);
bool manual_finish(struct manual_env *manual);
/* Until nothing is left. */
void manual_settle(struct manual_env *manual);

#endif
