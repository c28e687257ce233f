/* What a commit and a read cost: 10,000 ascending rows a transaction as etcd commits them, random
 * lookups, an ordered scan, scattered replacement.
 *
 * usage: bolt_bench [FOLDER [BATCHES [LOOKUPS]]]   on a real disk: a commit is mostly two syncs */
#include "base/mem.h"
#include "env/env.h"
#include "env/posix.h"
#include "storage/bolt_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROWS = 10000, BATCHES_MAX = 1000, VALUE_LEN = 290 };

static uint64_t batches = 30;
static uint64_t lookups = 500000;

static double now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void must(enum err err, const struct errbuf *why)
{
    if (err != ERR_OK) {
        fatal("%s: %s", err_name(err), why->text);
    }
}

/* A revision as etcd writes it: big-endian number, "_", big-endian number. */
static struct slice row_key(uint64_t number, uint8_t out[17])
{
    put_be64(out, number);
    out[8] = '_';
    put_be64(out + 9, 0);
    return slice_of(out, 17);
}

static int compare_double(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;
    return (*x > *y) - (*x < *y);
}

struct times {
    double put[BATCHES_MAX];
    double commit[BATCHES_MAX];
};

static void report(const char *what, struct times *times)
{
    qsort(times->put, batches, sizeof(double), compare_double);
    qsort(times->commit, batches, sizeof(double), compare_double);
    printf("%-34s puts %6.2f ms, commit %6.2f ms (median), %6.2f (least)\n", what,
           times->put[batches / 2], times->commit[batches / 2], times->commit[0]);
}

static void write_rows(struct bolt *db, bool is_random, const char *what)
{
    struct errbuf why = {0};
    struct times times;
    struct model_random random = {.state = 1};
    uint8_t value[VALUE_LEN] = {1};
    for (uint64_t batch = 0; batch < batches; batch++) {
        struct bolt_tx *tx = NULL;
        struct bolt_bucket *bucket = NULL;
        double start = now_ms();
        must(bolt_write_begin(db, &tx, &why), &why);
        must(bolt_bucket_ensure(bolt_root(tx), SLICE("key"), &bucket), &why);
        bolt_bucket_set_fill(bucket, 90);
        uint64_t count = is_random ? ROWS / 10 : ROWS;
        for (uint64_t i = 0; i < count; i++) {
            uint8_t key[17];
            uint64_t number =
                is_random ? model_random_below(&random, ROWS * batches) : batch * ROWS + i;
            must(bolt_put(bucket, row_key(number, key), slice_of(value, VALUE_LEN)), &why);
        }
        double middle = now_ms();
        must(bolt_commit(&tx, &why), &why);
        times.put[batch] = middle - start;
        times.commit[batch] = now_ms() - middle;
    }
    report(what, &times);
}

static void read_rows(struct bolt *db)
{
    struct errbuf why = {0};
    struct bolt_tx *tx = bolt_read_begin(db);
    struct bolt_bucket *bucket = NULL;
    must(bolt_bucket(bolt_root(tx), SLICE("key"), &bucket), &why);
    struct model_random random = {.state = 2};
    double start = now_ms();
    for (uint64_t i = 0; i < lookups; i++) {
        uint8_t key[17];
        struct slice value;
        must(bolt_get(bucket, row_key(model_random_below(&random, ROWS * batches), key), &value),
             &why);
    }
    printf("%-34s %8.0f ns each\n", "random get", (now_ms() - start) * 1e6 / (double)lookups);
    struct bolt_cursor cursor;
    struct bolt_item item;
    uint64_t count = 0;
    bolt_cursor_init(&cursor, bucket);
    start = now_ms();
    for (enum err err = bolt_cursor_first(&cursor, &item); err == ERR_OK;
         err = bolt_cursor_next(&cursor, &item)) {
        count++;
    }
    printf("%-34s %8.1f ns a row, %llu rows\n", "ordered scan",
           (now_ms() - start) * 1e6 / (double)count, (unsigned long long)count);
    start = now_ms();
    must(bolt_check(tx, &why), &why);
    printf("%-34s %8.1f ms\n", "check", now_ms() - start);
    bolt_read_end(&tx);
}

int main(int argc, char **argv)
{
    struct errbuf why = {0};
    struct bolt *db = NULL;
    char *path = mem_printf("%s/bolt_bench.db", argc > 1 ? argv[1] : ".");
    batches = argc > 2 ? strtoull(argv[2], NULL, 10) : batches;
    lookups = argc > 3 ? strtoull(argv[3], NULL, 10) : lookups;
    if (batches == 0 || batches > BATCHES_MAX) {
        fatal("bolt_bench runs 1 to %d batches", BATCHES_MAX);
    }
    struct bolt_options options = {.no_freelist_sync = true,
                                   .initial_map_size = (uint64_t)10 << 30};
    must(bolt_open(posix_disk(), path, &options, &db, &why), &why);
    write_rows(db, false, "10,000 ascending rows");
    write_rows(db, true, "1,000 random replacements");
    read_rows(db);
    bolt_close(&db);
    double start = now_ms();
    must(bolt_open(posix_disk(), path, &options, &db, &why), &why);
    printf("%-34s %8.1f ms\n", "open, free pages by scanning", now_ms() - start);
    bolt_close(&db);
    options.no_sync = true;
    must(bolt_open(posix_disk(), path, &options, &db, &why), &why);
    write_rows(db, true, "1,000 random, never synced");
    write_rows(db, false, "10,000 replaced, never synced");
    bolt_close(&db);
    must(disk_unlink(posix_disk(), path, &why), &why);
    mem_free(path);
    return 0;
}
