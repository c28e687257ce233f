/* What a hand-off to a thread and back costs: ns a round trip, alone and in bursts. */
#include "base/mem.h"
#include "env/posix.h"

#include <stdio.h>
#include <stdlib.h>

#define BURST 64

struct trip {
    struct job job;
    uint64_t *done_count;
};

static void run(struct job *job)
{
    UNUSED(job);
}

static void done(struct job *job)
{
    (*CONTAINER_OF(job, struct trip, job)->done_count)++;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* Round trips of `burst` jobs each: total time of each in out[]. */
static void measure(struct env *env, struct executor *executor, size_t burst, size_t count,
                    uint64_t *out)
{
    struct trip trips[BURST];
    uint64_t done_count = 0;
    for (size_t i = 0; i < burst; i++) {
        trips[i] = (struct trip){.job = {.run = run, .done = done}, .done_count = &done_count};
    }
    for (size_t i = 0; i < count; i++) {
        mono_ns start = env_now_mono(env);
        done_count = 0;
        for (size_t j = 0; j < burst; j++) {
            executor_submit(executor, &trips[j].job);
        }
        while (done_count < burst) {
            env_poll(env, UINT64_MAX);
        }
        out[i] = env_now_mono(env) - start;
    }
    qsort(out, count, sizeof(uint64_t), compare);
}

static void print(const char *what, size_t burst, size_t count, const uint64_t *sorted)
{
    printf("%-8s %8.0f ns a job at the median, %8.0f at 99 %%\n", what,
           (double)sorted[count / 2] / (double)burst,
           (double)sorted[count * 99 / 100] / (double)burst);
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 20000;
    if (count == 0) {
        fprintf(stderr, "usage: executor_bench [round trips]\n");
        return 1;
    }
    uint64_t *times = mem_array(count, sizeof(uint64_t));
    struct env *env = posix_env_new();
    struct executor *executor = env_executor_new(env, "bench", 1);
    measure(env, executor, 1, count, times);
    print("alone", 1, count, times);
    measure(env, executor, BURST, count / 10 + 1, times);
    print("burst", BURST, count / 10 + 1, times);
    executor_close(&executor);
    posix_env_free(&env);
    mem_free(times);
    return 0;
}
