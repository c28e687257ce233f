/* The load of a benchmark: many clients over many connections, each with one request out at a time.
 *
 * It asks for requests one after the other, hands each to the next idle client, holds clients back
 * to keep to a rate, times every answer, and ends when all are answered or nobody is left to ask.
 * A connection that is lost is not made again: a benchmark over a fault measures the fault. It
 * knows requests only as bytes.
 *
 * A connection here is one to every endpoint, used in turn, as clientv3 does.
 *
 * Ownership: options are borrowed for the run.
 * Threads:   one; it turns the loop itself.
 * Failure:   what a request meets is counted in the report. */
#ifndef CTL_BENCH_LOAD_H
#define CTL_BENCH_LOAD_H

#include "client/endpoint.h"
#include "ctl/bench_report.h"
#include "env/loop.h"

struct bench_load;

#define BENCH_CONNS_MAX 60000 /* the ports of one address */
#define BENCH_CLIENTS_MAX 1000000

struct bench_load_options {
    const char *const *endpoints;
    size_t endpoint_count;
    size_t conn_count;        /* to each endpoint */
    size_t client_count;      /* spread over the connections */
    uint64_t dial_timeout_ns; /* 0: BENCH_DIAL_TIMEOUT_NS */
    const char *username;     /* NULL: no authentication */
    const char *password;
};

#define BENCH_DIAL_TIMEOUT_NS (10 * NS_PER_SEC)

/* Connects, and logs in where there is a user name.
 *
 * ERR_INVALID      an endpoint that makes no sense
 * ERR_UNSUPPORTED  an endpoint needs TLS
 * ERR_TIMEOUT      some connection does not stand in time; *why has what was wrong with it
 * ERR_PERM         the login was refused */
FALLIBLE bench_load_open(struct env *env, struct loop *loop,
                         const struct bench_load_options *options, struct bench_load **out,
                         struct errbuf *why);
void bench_load_close(struct bench_load **load); /* NULLs; safe on NULL */

struct bench_work {
    const char *path; /* "/etcdserverpb.KV/Put" */
    uint64_t total;
    uint64_t rate;        /* requests a second; 0: as fast as they are answered */
    uint64_t duration_ns; /* nothing is begun after so long; 0: no end but `total` */
    /* Appends the index-th request to `request` and returns which of the reports it belongs to. */
    unsigned (*next)(void *ctx, uint64_t index, struct buf *request);
    /* A few times a second and at the end; may be NULL. */
    void (*progress)(void *ctx, uint64_t done, mono_ns since_start);
    /* As often as this, if not 0, `periodic` is called; it may use bench_load_call_start(). */
    uint64_t period_ns;
    void (*periodic)(void *ctx);
    void *ctx;
    struct bench_report *const *reports; /* started and finished here */
    size_t report_count;
};

/* False: not all requests were sent, because the connections were lost or the time was over. */
bool bench_load_run(struct bench_load *load, const struct bench_work *work);

/* One call besides the load. `error` is "" when it went well; reply and error are borrowed until
 * done() returns. */
typedef void bench_call_fn(void *ctx, const char *error, struct slice reply);
void bench_load_call_start(struct bench_load *load, const char *path, struct slice request,
                           bench_call_fn *done, void *ctx);
/* Waits for the end of one; the reply is appended. ERR_IO with the error in *why. */
FALLIBLE bench_load_call(struct bench_load *load, const char *path, struct slice request,
                         struct buf *reply, struct errbuf *why);

#endif
