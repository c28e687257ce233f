/* What applying costs, replies included: a put, a transaction, a Range of one key, of a thousand
 * (rows spliced behind a tag and a length), and a count.
 *
 * usage: apply_bench [KEYS]   (32-byte keys, 256-byte values, on a file in the current folder that
 * is never synced) */
#include "server/apply.h"

#include "base/mem.h"
#include "storage/manual_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROWS = 1000, KEY_LEN = 32, VALUE_LEN = 256 };

/* callgrind counts calls of these, by name: no clones. */
#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noipa))
#endif

struct bench {
    struct manual_env manual;
    struct backend *backend;
    struct mvcc *mvcc;
    struct alarms *alarms;
    struct apply *apply;
    struct arena arena;
    uint64_t index;
    uint64_t keys;
};

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static ProtobufCBinaryData nth_key(struct bench *bench, uint64_t i)
{
    char *text = arena_printf(&bench->arena, "/bench/keys/%020llu", (unsigned long long)i);
    return (ProtobufCBinaryData){.len = KEY_LEN, .data = (uint8_t *)text};
}

static Etcdserverpb__PutRequest nth_put(struct bench *bench, uint64_t i)
{
    static uint8_t value[VALUE_LEN] = {1};
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = nth_key(bench, i);
    put.value = (ProtobufCBinaryData){.len = VALUE_LEN, .data = value};
    return put;
}

static void must(enum status status)
{
    ASSERT(status == STATUS_OK);
}

static NOINLINE void bench_put(struct bench *bench, const Etcdserverpb__PutRequest *put)
{
    struct slice reply;
    backend_begin(bench->backend);
    must(apply_put(bench->apply, put, &bench->arena, &reply));
    backend_end(bench->backend, ++bench->index, 1);
}

static NOINLINE void bench_txn(struct bench *bench, const Etcdserverpb__TxnRequest *txn)
{
    struct slice reply;
    backend_begin(bench->backend);
    must(apply_txn(bench->apply, txn, &bench->arena, &reply));
    backend_end(bench->backend, ++bench->index, 1);
}

static NOINLINE void bench_range_one(struct bench *bench, const Etcdserverpb__RangeRequest *range)
{
    struct slice reply;
    must(apply_range(bench->apply, range, &bench->arena, &reply));
    ASSERT(reply.len > VALUE_LEN);
}

static NOINLINE void bench_range_rows(struct bench *bench, const Etcdserverpb__RangeRequest *range)
{
    struct slice reply;
    must(apply_range(bench->apply, range, &bench->arena, &reply));
    ASSERT(reply.len > (size_t)ROWS * VALUE_LEN);
}

static NOINLINE void bench_count(struct bench *bench, const Etcdserverpb__RangeRequest *range)
{
    struct slice reply;
    must(apply_range(bench->apply, range, &bench->arena, &reply));
    ASSERT(reply.len < VALUE_LEN);
}

static void report(const char *what, double start, uint64_t count)
{
    printf("%-28s %8.0f ns each\n", what, (now_ns() - start) / (double)count);
}

static void puts_of(struct bench *bench, const char *what)
{
    double start = now_ns();
    for (uint64_t i = 0; i < bench->keys; i++) {
        Etcdserverpb__PutRequest put = nth_put(bench, i);
        bench_put(bench, &put);
        arena_reset(&bench->arena);
        manual_settle(&bench->manual);
    }
    report(what, start, bench->keys);
}

/* If the key is still at its first version, put two keys and read one. */
static void txns(struct bench *bench)
{
    double start = now_ns();
    for (uint64_t i = 0; i < bench->keys; i++) {
        Etcdserverpb__PutRequest put[2] = {nth_put(bench, i),
                                           nth_put(bench, i * 7919 % bench->keys)};
        Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
        range.key = put[0].key;
        Etcdserverpb__Compare compare = ETCDSERVERPB__COMPARE__INIT;
        compare.key = put[0].key;
        compare.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION;
        compare.result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER;
        compare.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
        Etcdserverpb__RequestOp op[3];
        Etcdserverpb__RequestOp *ops[3] = {&op[0], &op[1], &op[2]};
        for (size_t k = 0; k < ARRAY_LEN(op); k++) {
            op[k] = (Etcdserverpb__RequestOp)ETCDSERVERPB__REQUEST_OP__INIT;
        }
        op[0].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        op[0].request_put = &put[0];
        op[1].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        op[1].request_put = &put[1];
        op[2].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        op[2].request_range = &range;
        size_t count =
            slice_eq(slice_of(put[0].key.data, KEY_LEN), slice_of(put[1].key.data, KEY_LEN))
                ? 1
                : 3; /* a key may be put once */
        Etcdserverpb__Compare *compares[1] = {&compare};
        Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
        txn.compare = compares;
        txn.n_compare = 1;
        txn.success = ops;
        txn.n_success = count;
        bench_txn(bench, &txn);
        arena_reset(&bench->arena);
        manual_settle(&bench->manual);
    }
    report("txn of 2 puts and a read", start, bench->keys);
}

static void ranges(struct bench *bench)
{
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    double start = now_ns();
    for (uint64_t i = 0; i < bench->keys; i++) {
        range.key = nth_key(bench, i * 7919 % bench->keys);
        bench_range_one(bench, &range);
        arena_reset(&bench->arena);
    }
    report("range of one key", start, bench->keys);
    uint64_t rounds = bench->keys / ROWS;
    start = now_ns();
    for (uint64_t i = 0; i < rounds; i++) {
        range.key = nth_key(bench, i * ROWS);
        range.range_end = nth_key(bench, (i + 1) * ROWS);
        bench_range_rows(bench, &range);
        arena_reset(&bench->arena);
    }
    report("range of 1000 keys, a row", start, rounds * ROWS);
    range.count_only = true;
    start = now_ns();
    for (uint64_t i = 0; i < bench->keys; i++) {
        range.key = nth_key(bench, i / 2);
        range.range_end = nth_key(bench, bench->keys - i / 2);
        bench_count(bench, &range);
        arena_reset(&bench->arena);
    }
    report("count of a range", start, bench->keys);
}

static void bench_open(struct bench *bench, const char *path)
{
    struct errbuf why;
    arena_init(&bench->arena);
    manual_env_init(&bench->manual, NULL);
    struct backend_options backend = {.env = &bench->manual.env, .path = path, .no_sync = true};
    struct mvcc_options mvcc = {0};
    enum err err = backend_open(&backend, &bench->backend, &why);
    if (err == ERR_OK) {
        mvcc.backend = bench->backend;
        err = mvcc_open(&mvcc, &bench->mvcc, &why);
    }
    if (err == ERR_OK) {
        err = alarms_open(bench->backend, &bench->alarms, &why);
    }
    if (err != ERR_OK) {
        fatal("%s", why.text);
    }
    struct apply_options options = {.mvcc = bench->mvcc,
                                    .backend = bench->backend,
                                    .alarms = bench->alarms,
                                    .cluster_id = 1,
                                    .member_id = 2,
                                    .quota = INT64_MAX};
    bench->apply = apply_new(&options);
}

int main(int argc, char **argv)
{
    struct bench bench = {.keys = argc > 1 ? strtoull(argv[1], NULL, 10) : 200000};
    const char *path = "apply_bench.db";
    struct disk *disk = posix_disk();
    if (bench.keys < ROWS) {
        fatal("apply_bench needs at least %d keys", ROWS);
    }
    if (disk_exists(disk, path)) {
        fatal("%s is in the way", path);
    }
    bench_open(&bench, path);
    puts_of(&bench, "put of a new key");
    puts_of(&bench, "put of a known key");
    txns(&bench);
    ranges(&bench);
    apply_free(&bench.apply);
    alarms_close(&bench.alarms);
    mvcc_close(&bench.mvcc);
    backend_close(&bench.backend);
    arena_fini(&bench.arena);
    enum err err = disk_unlink(disk, path, NULL);
    ASSERT(err == ERR_OK);
    return 0;
}
