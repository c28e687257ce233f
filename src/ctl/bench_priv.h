/* What the files of the benchmark program share: the run in progress. */
#ifndef CTL_BENCH_PRIV_H
#define CTL_BENCH_PRIV_H

#include "base/mem.h"
#include "client/client_rpc.h"
#include "client/client_stream.h"
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
/* The flags that every load has. The exit code: an error has been printed. */
int bench__check_shared(struct bench *bench, const struct pflag_set *flags);
/* "name:password", or asks for the password. Out-parameters are untouched when `user` is empty. */
int bench__user(struct bench *bench, const char *user, const char **name_out,
                const char **password_out);
/* Connects, runs the work (total, rate and progress are filled in from the flags), leaves the load
 * connected. The exit code: an error has been printed. */
int bench__run(const struct command_call *call, struct bench_work *work);

/* ---- bench_requests.c ------------------------------------------------------------------------ */

/* From the flags --key-size, --val-size, --key-space-size and --prefix. False: refused, with the
 * sentence printed. */
bool bench__keys(const struct command_call *call);
uint64_t bench__random(struct bench *bench);
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

/* ---- bench_clients.c: loads over streams and conversations ------------------------------------
 */

struct bench_clients {
    struct client **all;
    size_t count;
};

/* --conns clients, after a look at the shared flags; or `count` of them, without one. The exit
 * code: an error has been printed, and some may be open. */
int bench__clients_open(const struct command_call *call, struct bench_clients *clients);
int bench__clients_open_some(const struct command_call *call, size_t count,
                             struct bench_clients *clients);
void bench__clients_close(struct bench_clients *clients);
static inline struct client *bench__client(const struct bench_clients *clients, size_t index)
{
    return clients->all[index % clients->count];
}

/* A flag that is a number of things. False: refused, and said. */
bool bench__take_number(const struct command_call *call, const char *name, int64_t least,
                        uint64_t *out);
void bench__report_begin(struct bench *bench, struct bench_report *report);
/* Finishes and prints it. */
void bench__report_end(struct bench *bench, struct bench_report *report, const char *title);

/* ---- bench_watch.c, bench_lease.c, bench_stm.c ------------------------------------------------
 */

command_run_fn bench__watch_run, bench__watch_latency_run, bench__watch_get_run,
    bench__lease_keepalive_run, bench__stm_run;
extern const char *const bench__isolations[]; /* what --isolation may be, up to NULL */
extern const char *const bench__lockers[];    /* --stm-locker */

/* ---- bench_commands.c -------------------------------------------------------------------------
 */

extern const struct command bench__root;

#endif
