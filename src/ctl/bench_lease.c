/* lease-keepalive: renewals over streams. Each client has a lease and a stream of its own, with one
 * request out at a time.
 *
 * Where we differ: etcd's tool opens a stream for every renewal.
 *
 * Source: etcd 3.6 tools/benchmark: name, flags, defaults. */
#include "ctl/bench_priv.h"

#include "codec/pb.h"
#include "rpc.pb-c.h"

#define LEASE_TTL_S 100

struct lease_run {
    struct bench *bench;
    struct bench_clients clients;
    struct bench_report *report;
    uint64_t taken;
    uint64_t done;
    uint64_t total;
    size_t over;
};

/* One client that keeps its lease alive. */
struct lease_line {
    struct lease_run *run;
    struct client_stream stream;
    struct buf request;
    mono_ns asked_at;
    bool is_over;
};

static void lease_over(struct lease_line *line)
{
    if (!line->is_over) {
        line->is_over = true;
        line->run->over++;
        client_stream_cancel(&line->stream);
    }
}

static void renew(struct lease_line *line)
{
    struct lease_run *run = line->run;
    if (run->taken == run->total) {
        lease_over(line);
        return;
    }
    run->taken++;
    line->asked_at = env_now_mono(run->bench->env);
    client_stream_send(&line->stream, buf_slice(&line->request));
}

static void renewed(struct client_stream *stream, struct slice message)
{
    struct lease_line *line = CONTAINER_OF(stream, struct lease_line, stream);
    UNUSED(message);
    bench_report_success(line->run->report, line->asked_at, env_now_mono(line->run->bench->env));
    line->run->done++;
    renew(line);
}

static void lease_stream_end(struct client_stream *stream, const struct client_result *result)
{
    struct lease_line *line = CONTAINER_OF(stream, struct lease_line, stream);
    bench_report_error(line->run->report, result->error);
    lease_over(line);
}

static const struct client_stream_handler lease_events = {.message = renewed,
                                                          .end = lease_stream_end};

static void granted(void *ctx, const struct client_result *result, void *reply)
{
    struct lease_line *line = ctx;
    const Etcdserverpb__LeaseGrantResponse *grant = reply;
    if (grant == NULL) {
        bench_report_error(line->run->report, result->error);
        lease_over(line);
        return;
    }
    Etcdserverpb__LeaseKeepAliveRequest request = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    request.id = grant->id;
    pb_encode(&request, &line->request);
    size_t index = (size_t)(uintptr_t)line->stream.ctx;
    client_stream_open(bench__client(&line->run->clients, index), &line->stream);
    renew(line);
}

int bench__lease_keepalive_run(const struct command_call *call)
{
    struct bench *bench = bench_of(call);
    struct lease_run run = {.bench = bench};
    uint64_t count = pflag_u64(call->flags, "clients");
    if (!bench__take_number(call, "total", 0, &run.total)) {
        return COMMAND_EXIT_ERROR;
    }
    bench__reports(call, &run.report, 1);
    int code = bench__clients_open(call, &run.clients);
    if (code == COMMAND_EXIT_OK) {
        Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
        struct lease_line *lines = arena_zalloc(&bench->arena, count * sizeof(*lines));
        request.ttl = LEASE_TTL_S;
        bench__report_begin(bench, run.report);
        for (size_t i = 0; i < count; i++) {
            lines[i].run = &run;
            lines[i].stream = (struct client_stream){.path = "/etcdserverpb.Lease/LeaseKeepAlive",
                                                     .handler = &lease_events,
                                                     .deadline = UINT64_MAX,
                                                     .ctx = (void *)(uintptr_t)i};
            client_rpc_start(bench__client(&run.clients, i), CLIENT_LEASE_GRANT, &request,
                             UINT64_MAX, granted, &lines[i]);
        }
        while (run.over < count) {
            loop_turn(bench->loop, true);
        }
        bench__report_end(bench, run.report, "");
        for (size_t i = 0; i < count; i++) {
            buf_fini(&lines[i].request);
        }
        if (run.done < run.total) {
            code = bench__fail(bench, "not all leases were renewed");
        }
    }
    bench__clients_close(&run.clients);
    bench_report_free(&run.report);
    return code;
}
