/* What a hand-off to a thread and back costs: ns a round trip, alone and in bursts of nothing, and
 * of a write and its sync compared with doing the same on the spot. A pause between round trips
 * lets the thread fall asleep, as a lone client does. */
#include "base/mem.h"
#include "env/posix.h"

#include <stdio.h>
#include <stdlib.h>

#define BURST 64

#define PAUSE_NS (100 * NS_PER_US)
#define SYNC_FILE_LEN ((uint64_t)1 << 20)

struct trip {
    struct job job;
    uint64_t *done_count;
    struct file *file;
};

static void run(struct job *job)
{
    UNUSED(job);
}

/* What a WAL append of one small entry does. */
static void append(struct job *job)
{
    static const char record[512] = "record";
    static uint64_t offset;
    struct file *file = CONTAINER_OF(job, struct trip, job)->file;
    struct errbuf why;
    if (file_pwrite(file, record, sizeof(record), offset, &why) != ERR_OK ||
        file_sync_data(file, &why) != ERR_OK) {
        fatal("%s", why.text);
    }
    offset = (offset + sizeof(record)) % SYNC_FILE_LEN;
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

/* Idles as a loop does that waits for its client. */
static void idle(struct env *env)
{
    mono_ns until = env_now_mono(env) + PAUSE_NS;
    while (env_now_mono(env) < until) {
        env_poll(env, until);
    }
}

/* Round trips of `burst` jobs each: total time of each in out[]. */
static void measure(struct env *env, struct executor *executor, job_fn *fn, struct file *file,
                    size_t burst, size_t count, uint64_t *out)
{
    struct trip trips[BURST];
    uint64_t done_count = 0;
    for (size_t i = 0; i < burst; i++) {
        trips[i] = (struct trip){
            .job = {.run = fn, .done = done}, .done_count = &done_count, .file = file};
    }
    for (size_t i = 0; i < count; i++) {
        idle(env);
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

static void measure_inline(struct env *env, struct file *file, size_t count, uint64_t *out)
{
    struct trip trip = {.file = file};
    for (size_t i = 0; i < count; i++) {
        idle(env);
        mono_ns start = env_now_mono(env);
        append(&trip.job);
        out[i] = env_now_mono(env) - start;
    }
    qsort(out, count, sizeof(uint64_t), compare);
}

static struct file *sync_file_new(const char *path)
{
    struct file *file;
    struct errbuf why;
    static const char zeros[SYNC_FILE_LEN];
    if (disk_open(posix_disk(), path, FILE_READ | FILE_WRITE | FILE_CREATE, &file, &why) !=
            ERR_OK ||
        file_pwrite(file, zeros, sizeof(zeros), 0, &why) != ERR_OK ||
        file_sync(file, &why) != ERR_OK || disk_unlink(posix_disk(), path, &why) != ERR_OK) {
        fatal("%s", why.text);
    }
    return file;
}

static void print(const char *what, size_t burst, size_t count, const uint64_t *sorted)
{
    printf("%-10s %8.0f ns a job at the median, %8.0f at 99 %%\n", what,
           (double)sorted[count / 2] / (double)burst,
           (double)sorted[count * 99 / 100] / (double)burst);
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 5000;
    if (count == 0) {
        fprintf(stderr, "usage: executor_bench [round trips] [file to sync]\n");
        return 1;
    }
    struct file *file = sync_file_new(argc > 2 ? argv[2] : "/var/tmp/executor_bench.tmp");
    uint64_t *times = mem_array(count, sizeof(uint64_t));
    struct env *env = posix_env_new();
    struct executor *executor = env_executor_new(env, "bench", 1);
    measure(env, executor, run, NULL, 1, count, times);
    print("alone", 1, count, times);
    measure(env, executor, run, NULL, BURST, count, times);
    print("burst", BURST, count, times);
    measure_inline(env, file, count, times);
    print("sync here", 1, count, times);
    measure(env, executor, append, file, 1, count, times);
    print("sync there", 1, count, times);
    executor_close(&executor);
    posix_env_free(&env);
    file_close(&file);
    mem_free(times);
    return 0;
}
