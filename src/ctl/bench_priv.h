/* What the files of the benchmark program share: the run in progress. */
#ifndef CTL_BENCH_PRIV_H
#define CTL_BENCH_PRIV_H

#include "base/mem.h"
#include "ctl/bench.h"
#include "ctl/bench_load.h"
#include "ctl/bench_report.h"
#include "ctl/command.h"

/* One run of the program. A command's run() finds it in call->program->ctx. */
struct bench {
    struct env *env;
    struct loop *loop;
    const struct ctl_terminal *terminal;
    bool is_live;
    struct arena arena;
    struct bench_load *load;
    uint64_t total;
    bool has_bar; /* on the screen, without a newline behind it */
    /* Requests. */
    uint64_t random; /* state of the generator */
    struct buf key;
    struct buf value;
    struct buf work; /* inner messages */
    uint64_t key_space;
    bool is_sequential;
    uint64_t ops_per_txn;
    double read_share;
    struct slice prefix;
    struct slice read_op; /* an encoded RangeRequest */
    uint64_t counts[2];   /* of each kind, so far */
    int64_t compact_delta;
};

static inline struct bench *bench_of(const struct command_call *call)
{
    return call->program->ctx;
}

/* ---- bench.c: the terminal and the run ------------------------------------------------------ */

void bench__print(struct bench *bench, enum ctl_stream stream, struct slice text);
/* Prints "Error: <sentence>" to standard error and returns the exit code. */
__attribute__((format(printf, 2, 3))) int bench__fail(struct bench *bench, const char *format, ...);

/* Makes `count` reports as the flags ask for them. */
void bench__reports(const struct command_call *call, struct bench_report **out, size_t count);
/* Connects, runs the work (total, rate and progress are filled in from the flags), leaves the load
 * connected. The exit code: an error has been printed. */
int bench__run(const struct command_call *call, struct bench_work *work);

/* ---- bench_requests.c ------------------------------------------------------------------------ */

/* From the flags --key-size, --val-size, --key-space-size and --prefix. False: refused, with the
 * sentence printed. */
bool bench__keys(const struct command_call *call);
/* bench_work.next of each command; ctx is the bench. */
unsigned bench__next_put(void *ctx, uint64_t index, struct buf *request);
unsigned bench__next_range(void *ctx, uint64_t index, struct buf *request);
unsigned bench__next_txn_put(void *ctx, uint64_t index, struct buf *request);
unsigned bench__next_mixed(void *ctx, uint64_t index, struct buf *request);

#define BENCH_READ 0 /* the reports of txn-mixed */
#define BENCH_WRITE 1

/* ---- bench_aside.c: compaction and hashes besides the load ------------------------------------
 */

/* bench_work.periodic: compacts up to compact_delta revisions before the current one. */
void bench__compact(void *ctx);
/* Prints hash and size of the first endpoint's store. The exit code. */
int bench__hashkv(struct bench *bench, const char *endpoint);

/* ---- bench_streams.c --------------------------------------------------------------------------
 */

command_run_fn bench__watch_run, bench__watch_latency_run, bench__lease_keepalive_run;

/* ---- bench_commands.c -------------------------------------------------------------------------
 */

extern const struct command bench__root;

#endif
