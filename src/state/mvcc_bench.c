/* What the store costs: puts with commits behind them, reads, restore, HashKV, compaction.
 *
 * usage: mvcc_bench [KEYS]   (32-byte keys, 256-byte values, on a real file in the current folder)
 */
#include "base/mem.h"
#include "state/mvcc.h"
#include "storage/manual_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TURN 500 /* puts between two turns of the loop */

struct bench {
    struct env *env;
    struct loop *loop;
    struct backend *backend;
    struct mvcc *store;
    char path[64];
    uint64_t index;
    uint64_t commits;
    double commit_ms;
    double commit_ms_max;
    double turn_ms_max; /* the longest turn of the loop without the puts */
};

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static struct slice nth_key(char text[48], uint64_t i)
{
    int len = snprintf(text, 48, "/bench/keys/%020llu", (unsigned long long)i);
    return slice_of(text, (size_t)len);
}

static void on_commit(void *ctx, const struct backend_commit *commit)
{
    struct bench *bench = ctx;
    double ms = (double)commit->total_ns / 1e6;
    bench->commits++;
    bench->commit_ms += ms;
    bench->commit_ms_max = ms > bench->commit_ms_max ? ms : bench->commit_ms_max;
}

static void open_store(struct bench *bench)
{
    struct errbuf why;
    struct backend_options backend = {.env = bench->env,
                                      .loop = bench->loop,
                                      .path = bench->path,
                                      .on_commit = on_commit,
                                      .ctx = bench};
    if (backend_open(&backend, &bench->backend, &why) != ERR_OK) {
        fatal("%s", why.text);
    }
    double start = now_ns();
    struct mvcc_options mvcc = {.backend = bench->backend, .hash_seed = 1};
    if (mvcc_open(&mvcc, &bench->store, &why) != ERR_OK) {
        fatal("%s", why.text);
    }
    printf("restore                      %8.1f ms\n", (now_ns() - start) / 1e6);
}

static void close_store(struct bench *bench)
{
    mvcc_close(&bench->store);
    backend_close(&bench->backend);
}

static void turn(struct bench *bench)
{
    double start = now_ns();
    loop_turn(bench->loop, false);
    double ms = (now_ns() - start) / 1e6;
    bench->turn_ms_max = ms > bench->turn_ms_max ? ms : bench->turn_ms_max;
}

static void puts_of(struct bench *bench, const char *what, uint64_t keys, uint64_t stride)
{
    char text[48];
    static const uint8_t value[256] = {1};
    double in_puts = 0;
    double start = now_ns();
    bench->commits = 0;
    bench->commit_ms = bench->commit_ms_max = bench->turn_ms_max = 0;
    for (uint64_t i = 0; i < keys;) {
        double turn_start = now_ns();
        for (uint64_t n = 0; n < TURN && i < keys; n++, i++) {
            struct slice key = nth_key(text, i * stride % keys);
            backend_begin(bench->backend);
            mvcc_begin(bench->store);
            mvcc_put(bench->store, key, slice_of(value, sizeof(value)), 0);
            mvcc_end(bench->store);
            backend_end(bench->backend, ++bench->index, 1);
        }
        in_puts += now_ns() - turn_start;
        turn(bench);
    }
    double total = now_ns() - start;
    printf("%-28s %8.0f ns each, %.0f k/s with the loop's turns\n", what, in_puts / (double)keys,
           (double)keys / total * 1e6);
    printf("  commits %llu, mean %.1f ms, longest %.1f ms; longest turn of the loop %.2f ms\n",
           (unsigned long long)bench->commits, bench->commit_ms / (double)bench->commits,
           bench->commit_ms_max, bench->turn_ms_max);
}

static void set_true(void *ctx)
{
    *(bool *)ctx = true;
}

static void settle(struct bench *bench)
{
    bool is_done = false;
    backend_force_commit(bench->backend, set_true, &is_done);
    while (!is_done) {
        loop_turn(bench->loop, true);
    }
}

static void gets_of(struct bench *bench, uint64_t keys)
{
    char text[48];
    struct mvcc_row row;
    double start = now_ns();
    for (uint64_t i = 0; i < keys; i++) {
        ASSERT(mvcc_get(bench->store, nth_key(text, i * 7919 % keys), &row));
    }
    printf("%-28s %8.0f ns each\n", "get", (now_ns() - start) / (double)keys);
}

static void range_all(struct bench *bench)
{
    struct key_range all = {.kind = KEY_FROM};
    struct mvcc_read read;
    struct slice raw;
    uint64_t bytes = 0;
    uint64_t rows = 0;
    double start = now_ns();
    enum err err = mvcc_read_open(bench->store, &all, 0, &read);
    ASSERT(err == ERR_OK);
    while (mvcc_read_next(&read, &raw)) {
        bytes += raw.len;
        rows++;
    }
    mvcc_read_close(&read);
    printf("%-28s %8.0f ns each, %llu MB\n", "range of all", (now_ns() - start) / (double)rows,
           (unsigned long long)(bytes >> 20));
}

static void hash(struct bench *bench)
{
    struct mvcc_hash *job;
    struct mvcc_hash_result result;
    double start = now_ns();
    enum err err = mvcc_hash_begin(bench->store, 0, &job);
    ASSERT(err == ERR_OK);
    double begun = now_ns();
    mvcc_hash_run(job);
    double run = now_ns();
    mvcc_hash_end(&job, &result);
    printf("%-28s %8.1f ms off the loop, %.3f ms on it\n", "hashkv", (run - begun) / 1e6,
           (begun - start + now_ns() - run) / 1e6);
}

static void compact(struct bench *bench)
{
    double longest = 0;
    uint64_t steps = 0;
    double start = now_ns();
    enum err err = mvcc_compact(bench->store, mvcc_revision(bench->store));
    ASSERT(err == ERR_OK);
    int sleep_ms;
    do {
        double step = now_ns();
        sleep_ms = mvcc_compact_step(bench->store);
        double ms = (now_ns() - step) / 1e6;
        longest = ms > longest ? ms : longest;
        steps++;
        loop_turn(bench->loop, false);
    } while (sleep_ms >= 0);
    printf("%-28s %8.1f ms without its sleeps, %llu steps, longest %.2f ms\n", "compaction",
           (now_ns() - start) / 1e6, (unsigned long long)steps, longest);
}

int main(int argc, char **argv)
{
    uint64_t keys = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    struct bench bench = {.env = posix_env_new()};
    struct process_info before;
    struct process_info after;
    bench.loop = loop_new(bench.env);
    snprintf(bench.path, sizeof(bench.path), "mvcc_bench.db");
    if (disk_exists(bench.env->disk, bench.path)) {
        fatal("%s is in the way", bench.path);
    }
    posix_process_info(&before);
    open_store(&bench);
    puts_of(&bench, "put new, ascending", keys, 1);
    settle(&bench);
    mem_trim();
    posix_process_info(&after);
    printf("%-28s %8.1f MB resident more, pages of the file included\n", "memory",
           (double)(after.resident_bytes - before.resident_bytes) / 1e6);
    gets_of(&bench, keys);
    range_all(&bench);
    hash(&bench);
    puts_of(&bench, "put again, scattered", keys, 611953);
    settle(&bench);
    close_store(&bench);
    open_store(&bench);
    compact(&bench);
    settle(&bench);
    hash(&bench);
    close_store(&bench);
    open_store(&bench);
    close_store(&bench);
    enum err err = disk_unlink(bench.env->disk, bench.path, NULL);
    ASSERT(err == ERR_OK);
    loop_free(&bench.loop);
    posix_env_free(&bench.env);
    return 0;
}
