/* The commands, their flags, and what they make of them. Names and defaults are etcd's. */
#include "ctl/bench_priv.h"

#include "codec/pb.h"
#include "ctl/kv_op.h"
#include "rpc.pb-c.h"

#include <math.h>

/* ---- requests from flags ----------------------------------------------------------------------
 */

/* "bench with linearizable range", or the usage where the flag is neither l nor s. */
static bool say_consistency(const struct command_call *call, bool *is_serializable_out)
{
    struct bench *bench = bench_of(call);
    const char *consistency = pflag_str(call->flags, "consistency");
    *is_serializable_out = strcmp(consistency, "s") == 0;
    if (*is_serializable_out || strcmp(consistency, "l") == 0) {
        bench__print(bench, CTL_STDOUT,
                     *is_serializable_out ? SLICE("bench with serializable range\n")
                                          : SLICE("bench with linearizable range\n"));
        return true;
    }
    struct buf usage = {0};
    command_usage(call->program, call->path, true, &usage);
    bench__print(bench, CTL_STDERR, buf_slice(&usage));
    buf_fini(&usage);
    return false;
}

/* Prints one report between a title and what follows. */
static void print_report(struct bench *bench, const char *title, struct bench_report *report,
                         const char *tail)
{
    struct buf text = {0};
    buf_append_str(&text, title);
    bench_report_format(report, &text);
    buf_append_str(&text, tail);
    bench__print(bench, CTL_STDOUT, buf_slice(&text));
    buf_fini(&text);
}

/* Runs work with one report and prints it. */
static int run_and_print(const struct command_call *call, struct bench_work *work, const char *tail)
{
    struct bench_report *report = NULL;
    bench__reports(call, &report, 1);
    work->reports = &report;
    work->report_count = 1;
    int code = bench__run(call, work);
    if (bench_of(call)->load != NULL) {
        print_report(bench_of(call), "", report, tail);
    }
    bench_report_free(&report);
    return code;
}

/* ---- put ------------------------------------------------------------------------------------- */

static int put_run(const struct command_call *call)
{
    struct bench *bench = bench_of(call);
    int64_t interval = pflag_i64(call->flags, "compact-interval");
    if (!bench__keys(call)) {
        return COMMAND_EXIT_ERROR;
    }
    bench->prefix = slice_str(pflag_str(call->flags, "prefix"));
    bench->is_sequential = pflag_bool(call->flags, "sequential-keys");
    bench->compact_delta = pflag_i64(call->flags, "compact-index-delta");
    if (bench->compact_delta < 0) {
        return bench__fail(bench, "--compact-index-delta must not be negative");
    }
    struct bench_work work = {.path = "/etcdserverpb.KV/Put",
                              .next = bench__next_put,
                              .period_ns = interval > 0 ? (uint64_t)interval : 0,
                              .periodic = bench__compact};
    int code = run_and_print(call, &work, "\n");
    if (code == COMMAND_EXIT_OK && pflag_bool(call->flags, "check-hashkv")) {
        code = bench__hashkv(bench, pflag_find(call->flags, SLICE("endpoints"))->list.items[0]);
    }
    return code;
}

/* ---- range ------------------------------------------------------------------------------------
 */

static enum err range_args(const struct command_call *call, struct buf *why)
{
    const struct pflag_set *flags = call->flags;
    static const char *const absent[] = {"stream", "paginate"};
    for (size_t i = 0; i < ARRAY_LEN(absent); i++) {
        if (pflag_bool(flags, absent[i])) {
            buf_printf(why, "--%s is not built into this program yet", absent[i]);
            return ERR_INVALID;
        }
    }
    if (pflag_narg(flags) > 2 || (pflag_narg(flags) == 0 && !pflag_bool(flags, "prefix"))) {
        buf_append_str(why, "range needs a key and may have an end: range key [end-range]");
        return ERR_INVALID;
    }
    if (pflag_bool(flags, "count-only") && pflag_bool(flags, "keys-only")) {
        buf_append_str(why, "`--keys-only` and `--count-only` cannot be set at the same time");
        return ERR_INVALID;
    }
    return ERR_OK;
}

static int range_run(const struct command_call *call)
{
    struct bench *bench = bench_of(call);
    const struct pflag_set *flags = call->flags;
    bool is_serializable = false;
    if (!say_consistency(call, &is_serializable)) {
        return COMMAND_EXIT_ERROR;
    }
    struct slice key = pflag_narg(flags) > 0 ? slice_str(pflag_arg(flags, 0)) : SLICE_EMPTY;
    struct slice end = pflag_narg(flags) > 1 ? slice_str(pflag_arg(flags, 1)) : SLICE_EMPTY;
    if (pflag_bool(flags, "prefix")) {
        end = kv_prefix_end(&bench->arena, key);
        key = key.len == 0 ? slice_of("\0", 1) : key;
    }
    Etcdserverpb__RangeRequest *request =
        pb_new(&bench->arena, &etcdserverpb__range_request__descriptor);
    request->key = pb_binary(key);
    request->range_end = pb_binary(end);
    request->limit = pflag_i64(flags, "limit") > 0 ? pflag_i64(flags, "limit") : 0;
    request->serializable = is_serializable;
    request->count_only = pflag_bool(flags, "count-only");
    request->keys_only = pflag_bool(flags, "keys-only");
    bench->read_op = pb_encode_arena(request, &bench->arena);
    struct bench_work work = {.path = "/etcdserverpb.KV/Range", .next = bench__next_range};
    return run_and_print(call, &work, "");
}

/* ---- txn-put ----------------------------------------------------------------------------------
 */

static int txn_put_run(const struct command_call *call)
{
    struct bench *bench = bench_of(call);
    int64_t ops = pflag_i64(call->flags, "txn-ops");
    int64_t space = pflag_i64(call->flags, "key-space-size");
    if (!bench__keys(call)) {
        return COMMAND_EXIT_ERROR;
    }
    if (ops < 0) {
        return bench__fail(bench, "--txn-ops must not be negative");
    }
    if (ops > space) {
        return bench__fail(bench,
                           "expected --txn-ops no larger than --key-space-size, got "
                           "txn-ops(%lld) key-space-size(%lld)",
                           (long long)ops, (long long)space);
    }
    bench->ops_per_txn = (uint64_t)ops;
    struct bench_work work = {.path = "/etcdserverpb.KV/Txn", .next = bench__next_txn_put};
    return run_and_print(call, &work, "\n");
}

/* ---- txn-mixed --------------------------------------------------------------------------------
 */

static void set_read_op(struct bench *bench, const struct pflag_set *flags, bool is_serializable)
{
    struct slice end = slice_str(pflag_str(flags, "end-key"));
    Etcdserverpb__RangeRequest *request =
        pb_new(&bench->arena, &etcdserverpb__range_request__descriptor);
    request->key = pb_binary(slice_of("\0", 1));
    request->range_end = pb_binary(end.len == 0 ? slice_of("\0", 1) : end);
    request->limit = pflag_i64(flags, "limit");
    request->serializable = is_serializable;
    bench->read_op = pb_encode_arena(request, &bench->arena);
}

static void print_kind(struct bench *bench, const char *kind, uint64_t count,
                       struct bench_report *report)
{
    struct buf title = {0};
    buf_printf(&title, "Total %s Ops: %llu\nDetails:", kind, (unsigned long long)count);
    print_report(bench, buf_cstr(&title), report, "\n");
    buf_fini(&title);
}

static int mixed_run(const struct command_call *call)
{
    struct bench *bench = bench_of(call);
    double ratio = pflag_f64(call->flags, "rw-ratio");
    bool is_serializable = false;
    if (!bench__keys(call) || !say_consistency(call, &is_serializable)) {
        return COMMAND_EXIT_ERROR;
    }
    if (!isfinite(ratio) || ratio < 0) {
        return bench__fail(bench, "--rw-ratio must be a number from 0 on");
    }
    set_read_op(bench, call->flags, is_serializable);
    bench->read_share = ratio / (1 + ratio);
    struct bench_report *reports[2] = {NULL, NULL};
    bench__reports(call, reports, 2);
    struct bench_work work = {.path = "/etcdserverpb.KV/Txn",
                              .next = bench__next_mixed,
                              .reports = reports,
                              .report_count = 2};
    int code = bench__run(call, &work);
    if (bench->load != NULL) {
        print_kind(bench, "Read", bench->counts[BENCH_READ], reports[BENCH_READ]);
        print_kind(bench, "Write", bench->counts[BENCH_WRITE], reports[BENCH_WRITE]);
    }
    bench_report_free(&reports[0]);
    bench_report_free(&reports[1]);
    return code;
}

/* ---- tables -----------------------------------------------------------------------------------
 */

static const char *const consistencies[] = {"l", "s", NULL};

#define RATE_AND_TOTAL(things)                                                                     \
    {"rate", 0, PFLAG_INT64, "0", "at most so many " things " a second (0: no limit)", NULL},      \
    {                                                                                              \
        "total", 0, PFLAG_INT64, "10000", "how many " things " to send", NULL                      \
    }
#define KEY_AND_VALUE                                                                              \
    {"key-size", 0, PFLAG_INT64, "8", "bytes of a key", NULL},                                     \
        {"val-size", 0, PFLAG_INT64, "8", "bytes of a value", NULL},                               \
    {                                                                                              \
        "key-space-size", 0, PFLAG_INT64, "1", "how many different keys", NULL                     \
    }
#define CONSISTENCY                                                                                \
    {                                                                                              \
        "consistency", 0, PFLAG_STRING, "l", "linearizable (l) or serializable (s) reads",         \
            consistencies                                                                          \
    }

static const struct pflag_spec put_flags[] = {
    KEY_AND_VALUE,
    RATE_AND_TOTAL("puts"),
    {"sequential-keys", 0, PFLAG_BOOL, "false", "keys in order instead of at random", NULL},
    {"prefix", 0, PFLAG_STRING, "", "text in front of every key", NULL},
    {"compact-interval", 0, PFLAG_DURATION, "0s",
     "how often to compact during the load (0: never; not together with the server's own)", NULL},
    {"compact-index-delta", 0, PFLAG_INT64, "1000",
     "how many revisions before the current one a compaction leaves", NULL},
    {"check-hashkv", 0, PFLAG_BOOL, "false", "show the hash of the store at the end", NULL},
};

static const struct pflag_spec range_flags[] = {
    RATE_AND_TOTAL("reads"),
    CONSISTENCY,
    {"limit", 0, PFLAG_INT64, "0", "at most so many keys in an answer (0: no limit)", NULL},
    {"count-only", 0, PFLAG_BOOL, "false", "ask for the number of keys alone", NULL},
    {"keys-only", 0, PFLAG_BOOL, "false", "ask for keys without values", NULL},
    {"stream", 0, PFLAG_BOOL, "false", "read by RangeStream (not built yet)", NULL},
    {"paginate", 0, PFLAG_BOOL, "false", "read in pages of 10000 keys (not built yet)", NULL},
    {"prefix", 0, PFLAG_BOOL, "false", "read all keys that start with the key", NULL},
};

static const struct pflag_spec txn_put_flags[] = {
    KEY_AND_VALUE,
    RATE_AND_TOTAL("transactions"),
    {"txn-ops", 0, PFLAG_INT64, "1", "puts in a transaction", NULL},
};

static const struct pflag_spec mixed_flags[] = {
    KEY_AND_VALUE,
    RATE_AND_TOTAL("transactions"),
    CONSISTENCY,
    {"end-key", 0, PFLAG_STRING, "", "where reads end (empty: they read all keys)", NULL},
    {"limit", 0, PFLAG_INT64, "1000", "at most so many keys in an answer", NULL},
    {"rw-ratio", 0, PFLAG_FLOAT64, "1", "reads for each write", NULL},
};

#define STREAMS_AND_PUTS                                                                           \
    {"streams", 0, PFLAG_INT64, "10", "watch streams", NULL},                                      \
        {"put-total", 0, PFLAG_INT64, "1000", "how many puts to send", NULL},                      \
    {                                                                                              \
        "key-size", 0, PFLAG_INT64, "32", "bytes of a key", NULL                                   \
    }

static const struct pflag_spec watch_flags[] = {
    STREAMS_AND_PUTS,
    {"watch-per-stream", 0, PFLAG_INT64, "100", "watches on each stream", NULL},
    {"watched-key-total", 0, PFLAG_INT64, "1", "how many different keys are watched", NULL},
    {"put-rate", 0, PFLAG_INT64, "0", "at most so many puts a second (0: one at a time)", NULL},
};

static const struct pflag_spec watch_latency_flags[] = {
    STREAMS_AND_PUTS,
    {"watchers-per-stream", 0, PFLAG_INT64, "10", "watches on each stream", NULL},
    {"put-rate", 0, PFLAG_INT64, "100", "at most so many puts a second (0: one at a time)", NULL},
    {"val-size", 0, PFLAG_INT64, "32", "bytes of a value", NULL},
    {"prevkv", 0, PFLAG_BOOL, "false", "ask for what was there before", NULL},
};

static const struct pflag_spec watch_get_flags[] = {
    {"watchers", 0, PFLAG_INT64, "10000", "watches, each of the same key", NULL},
    {"streams", 0, PFLAG_INT64, "1", "watch streams", NULL},
    {"events", 0, PFLAG_INT64, "8", "events that each watch has to catch up with", NULL},
};

static const struct pflag_spec stm_flags[] = {
    {"isolation", 0, PFLAG_STRING, "r",
     "read committed (c), repeatable reads (r), serializable (s) or snapshot (ss)",
     bench__isolations},
    {"keys", 0, PFLAG_INT64, "1", "how many different keys", NULL},
    {"total", 0, PFLAG_INT64, "10000", "how many transactions to complete", NULL},
    {"keys-per-txn", 0, PFLAG_INT64, "1", "keys that a transaction reads", NULL},
    {"txn-wr-percent", 0, PFLAG_INT64, "50", "how many of them it overwrites, in percent", NULL},
    {"stm-locker", 0, PFLAG_STRING, "stm",
     "what is put around a transaction: nothing (stm), a lock by the client (lock-client) or by "
     "the "
     "Lock service (lock-rpc)",
     bench__lockers},
    {"val-size", 0, PFLAG_INT64, "8", "bytes of a value", NULL},
    {"rate", 0, PFLAG_INT64, "0", "at most so many transactions a second (0: no limit)", NULL},
};

static const struct pflag_spec keepalive_flags[] = {
    {"total", 0, PFLAG_INT64, "10000", "how many renewals to send", NULL},
};

static const struct pflag_spec global_flags[] = {
    {"endpoints", 0, PFLAG_STRINGS, "127.0.0.1:2379",
     "addresses of the servers, with commas between them", NULL},
    {"conns", 0, PFLAG_UINT64, "1", "connections, each to every endpoint", NULL},
    {"clients", 0, PFLAG_UINT64, "1", "clients that share them, each with one request out", NULL},
    {"precise", 0, PFLAG_BOOL, "false", "print numbers in full", NULL},
    {"sample", 0, PFLAG_BOOL, "false", "print a table of seconds too", NULL},
    {"cert", 0, PFLAG_STRING, "", "certificate file to show to servers (not built yet)", NULL},
    {"key", 0, PFLAG_STRING, "", "key file that belongs to --cert (not built yet)", NULL},
    {"cacert", 0, PFLAG_STRING, "", "authorities to trust (not built yet)", NULL},
    {"insecure-skip-tls-verify", 0, PFLAG_BOOL, "false", "do not check the certificates of servers",
     NULL},
    {"user", 0, PFLAG_STRING, "",
     "name[:password] to log in with; asks for a password that is not there", NULL},
    {"dial-timeout", 0, PFLAG_DURATION, "0s", "how long to wait for connections (0: 10s)", NULL},
    {"auto-sync-interval", 0, PFLAG_DURATION, "0s",
     "how often to ask for the members' addresses (not built yet)", NULL},
    {"report-perfdash", 0, PFLAG_BOOL, "false", "write a perfdash report (not built yet)", NULL},
};

#define FLAGS(table) .flags = (table), .flag_count = ARRAY_LEN(table)

static const struct command commands[] = {
    {.name = "put",
     .use = "put",
     .summary = "Measures writes of single keys",
     FLAGS(put_flags),
     .run = put_run},
    {.name = "range",
     .use = "range key [end-range]",
     .summary = "Measures reads",
     FLAGS(range_flags),
     .check_args = range_args,
     .run = range_run},
    {.name = "txn-put",
     .use = "txn-put",
     .summary = "Measures writes by transactions",
     FLAGS(txn_put_flags),
     .run = txn_put_run},
    {.name = "txn-mixed",
     .use = "txn-mixed",
     .summary = "Measures reads and writes by transactions, mixed",
     FLAGS(mixed_flags),
     .run = mixed_run},
    {.name = "watch",
     .use = "watch",
     .summary = "Measures how watches are made and events delivered",
     FLAGS(watch_flags),
     .run = bench__watch_run},
    {.name = "watch-latency",
     .use = "watch-latency",
     .summary = "Measures how long events take from their put",
     FLAGS(watch_latency_flags),
     .run = bench__watch_latency_run},
    {.name = "watch-get",
     .use = "watch-get",
     .summary = "Measures reads while many watches catch up",
     FLAGS(watch_get_flags),
     .run = bench__watch_get_run},
    {.name = "stm",
     .use = "stm",
     .summary = "Measures transactions that are tried until nobody came in between",
     FLAGS(stm_flags),
     .run = bench__stm_run},
    {.name = "lease-keepalive",
     .use = "lease-keepalive",
     .summary = "Measures renewals of leases",
     FLAGS(keepalive_flags),
     .run = bench__lease_keepalive_run},
    {.name = "help",
     .use = "help [command]",
     .summary = "Prints help about a command",
     .run = command_help_run},
};

const struct command bench__root = {
    .name = "benchmark",
    .use = "benchmark",
    .summary = "A load tool for etcd.",
    .shared_flags = global_flags,
    .shared_flag_count = ARRAY_LEN(global_flags),
    .children = commands,
    .child_count = ARRAY_LEN(commands),
};
