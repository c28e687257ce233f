/* watch, watch-latency, lease-keepalive: loads over streams.
 *
 * watch and watch-latency make their watches one after the other on each stream, time each
 * creation, then put at a rate; every value carries the moment it was sent, so that each event that
 * comes back tells its own latency. lease-keepalive has one stream a client, with one request out
 * at a time.
 *
 * Where we differ: etcd's tool counts an event of "watch" from when its own program got to it; here
 * from the put. Its lease-keepalive opens a stream for every renewal.
 *
 * Source: etcd 3.6 tools/benchmark: names, flags, defaults, titles. */
#include "ctl/bench_priv.h"

#include "client/client_rpc.h"
#include "client/watcher.h"
#include "codec/pb.h"

#define QUIET_NS (30 * NS_PER_SEC) /* no event for so long: the rest does not come */
#define LEASE_TTL_S 100

struct streams_run;

/* One Watch stream and its watches. */
struct watch_line {
    struct streams_run *run;
    struct client_watcher *watcher;
    struct client_watch **watches;
    uint64_t made;
    mono_ns asked_at;
};

/* One client that keeps its lease alive. */
struct lease_line {
    struct streams_run *run;
    struct client_stream stream;
    struct buf request;
    mono_ns asked_at;
    bool is_over;
};

struct streams_run {
    struct bench *bench;
    struct client **clients;
    size_t client_count;
    struct watch_line *lines;
    size_t line_count;
    uint64_t per_line;
    uint64_t key_count; /* watched keys */
    uint64_t made;      /* watches that stand */
    uint64_t puts;      /* sent */
    uint64_t answered;
    uint64_t put_total;
    uint64_t put_rate;
    uint64_t events;
    uint64_t wanted; /* events */
    bool prev_kv;
    struct timer timer; /* of puts */
    struct bench_report *creation;
    struct bench_report *put;
    struct bench_report *event;
    mono_ns start;
    mono_ns heard_at;
    const char *failure; /* NULL: none */
    /* lease-keepalive */
    uint64_t taken;
    uint64_t done;
    uint64_t total;
    size_t over;
};

/* ---- connections and reports -------------------------------------------------------------- */

static int open_clients(struct streams_run *run, const struct command_call *call)
{
    struct bench *bench = run->bench;
    const struct pflag *endpoints = pflag_find(call->flags, SLICE("endpoints"));
    struct errbuf why = {{0}};
    uint64_t count = pflag_u64(call->flags, "conns");
    if (count == 0 || count > BENCH_CONNS_MAX) {
        return bench__fail(bench, "--conns must be from 1 to %d", BENCH_CONNS_MAX);
    }
    run->clients = arena_zalloc(&bench->arena, count * sizeof(struct client *));
    struct client_options options = {
        .endpoints = endpoints->list.items,
        .endpoint_count = endpoints->list.count,
    };
    for (; run->client_count < count; run->client_count++) {
        if (client_new(bench->env, bench->loop, &options, &run->clients[run->client_count], &why) !=
            ERR_OK) {
            return bench__fail(bench, "%s", why.text);
        }
    }
    return COMMAND_EXIT_OK;
}

static void report_begin(struct streams_run *run, struct bench_report *report)
{
    bench_report_start(report, env_now_mono(run->bench->env), env_now_wall(run->bench->env));
}

static void report_end(struct streams_run *run, struct bench_report *report, const char *title)
{
    struct buf text = {0};
    bench_report_finish(report, env_now_mono(run->bench->env));
    buf_append_str(&text, title);
    bench_report_format(report, &text);
    bench__print(run->bench, CTL_STDOUT, buf_slice(&text));
    buf_fini(&text);
}

/* ---- watches ------------------------------------------------------------------------------ */

static void set_key(struct streams_run *run, uint64_t number)
{
    struct buf *key = &run->bench->key;
    ASSERT(key->len >= 8);
    put_le64(key->data, number);
}

static void make_watch(struct watch_line *line);

static void on_update(struct client_watch *watch, const struct client_watch_update *update,
                      void *ctx)
{
    struct watch_line *line = ctx;
    struct streams_run *run = line->run;
    mono_ns now = env_now_mono(run->bench->env);
    UNUSED(watch);
    if (update->is_end) {
        run->failure = arena_printf(&run->bench->arena, "a watch has ended: %s", update->error);
        return;
    }
    if (update->response->created) {
        bench_report_success(run->creation, line->asked_at, now);
        run->made++;
        make_watch(line);
        return;
    }
    for (size_t i = 0; i < update->response->n_events; i++) {
        struct slice value = pb_bytes(update->response->events[i]->kv->value);
        struct reader reader = reader_init(value);
        uint64_t sent_at = reader_le64(&reader);
        if (reader.err == ERR_OK && sent_at <= now) {
            bench_report_success(run->event, sent_at, now);
        }
        run->events++;
    }
    run->heard_at = now;
}

static void make_watch(struct watch_line *line)
{
    struct streams_run *run = line->run;
    if (line->made == run->per_line) {
        return;
    }
    uint64_t index = (uint64_t)(line - run->lines) * run->per_line + line->made;
    set_key(run, index % run->key_count);
    struct client_watch_options options = {
        .key = buf_slice(&run->bench->key), .created_notify = true, .prev_kv = run->prev_kv};
    line->asked_at = env_now_mono(run->bench->env);
    line->watches[line->made++] = client_watch_start(line->watcher, &options, on_update, line);
}

static void make_lines(struct streams_run *run)
{
    struct arena *arena = &run->bench->arena;
    run->lines = arena_zalloc(arena, run->line_count * sizeof(*run->lines));
    report_begin(run, run->creation);
    for (size_t i = 0; i < run->line_count; i++) {
        struct watch_line *line = &run->lines[i];
        line->run = run;
        line->watcher = client_watcher_new(run->clients[i % run->client_count], false);
        line->watches = arena_zalloc(arena, run->per_line * sizeof(*line->watches));
        make_watch(line);
    }
    while (run->made < run->line_count * run->per_line && run->failure == NULL) {
        loop_turn(run->bench->loop, true);
    }
}

/* ---- puts --------------------------------------------------------------------------------- */

struct put_out {
    struct streams_run *run;
    mono_ns sent_at;
};

static void put_answered(void *ctx, const struct client_result *result, void *reply)
{
    struct put_out *out = ctx;
    struct streams_run *run = out->run;
    UNUSED(reply);
    run->answered++;
    if (result->status == GRPC_OK) {
        bench_report_success(run->put, out->sent_at, env_now_mono(run->bench->env));
    } else {
        bench_report_error(run->put, result->error);
        run->wanted = run->events; /* what was not put is not seen */
    }
    if (run->put_rate == 0 && run->puts < run->put_total) {
        timer_start(run->bench->loop, &run->timer, loop_now(run->bench->loop));
    }
}

static void send_put(struct streams_run *run)
{
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    struct put_out *out = ARENA_NEW(&run->bench->arena, struct put_out);
    out->run = run;
    out->sent_at = env_now_mono(run->bench->env);
    set_key(run, run->puts % run->key_count);
    put_le64(run->bench->value.data, out->sent_at);
    request.key = pb_binary(buf_slice(&run->bench->key));
    request.value = pb_binary(buf_slice(&run->bench->value));
    client_rpc_start(run->clients[run->puts % run->client_count], CLIENT_PUT, &request, UINT64_MAX,
                     put_answered, out);
    run->puts++;
}

/* Without a rate one put at a time; with one, at its moments. */
static void on_put(struct timer *timer)
{
    struct streams_run *run = CONTAINER_OF(timer, struct streams_run, timer);
    mono_ns now = env_now_mono(run->bench->env);
    if (run->put_rate == 0) {
        send_put(run);
        return;
    }
    uint64_t slot = NS_PER_SEC / run->put_rate;
    while (run->puts < run->put_total && run->start + run->puts * slot <= now) {
        send_put(run);
    }
    if (run->puts < run->put_total) {
        timer_start(run->bench->loop, &run->timer, run->start + run->puts * slot);
    }
}

/* How often each key is watched, times how often it is put. */
static uint64_t count_wanted(const struct streams_run *run)
{
    uint64_t watches = run->line_count * run->per_line;
    uint64_t wanted = 0;
    for (uint64_t key = 0; key < run->key_count; key++) {
        uint64_t watched = watches / run->key_count + (key < watches % run->key_count);
        uint64_t put = run->put_total / run->key_count + (key < run->put_total % run->key_count);
        wanted += watched * put;
    }
    return wanted;
}

static void put_and_listen(struct streams_run *run)
{
    struct loop *loop = run->bench->loop;
    run->wanted = count_wanted(run);
    timer_init(&run->timer, on_put);
    report_begin(run, run->put);
    report_begin(run, run->event);
    run->start = env_now_mono(run->bench->env);
    run->heard_at = run->start;
    timer_start(loop, &run->timer, run->start);
    while ((run->answered < run->put_total || run->events < run->wanted) && run->failure == NULL) {
        loop_turn(loop, true);
        if (env_now_mono(run->bench->env) - run->heard_at > QUIET_NS) {
            run->failure = "the events stopped coming";
        }
    }
    timer_stop(loop, &run->timer);
}

static void run_close(struct streams_run *run)
{
    for (size_t i = 0; run->lines != NULL && i < run->line_count; i++) {
        struct watch_line *line = &run->lines[i];
        for (uint64_t j = 0; j < line->made; j++) {
            client_watch_free(&line->watches[j]);
        }
        client_watcher_free(&line->watcher);
    }
    for (size_t i = 0; i < run->client_count; i++) {
        client_free(&run->clients[i]);
    }
    bench_report_free(&run->creation);
    bench_report_free(&run->put);
    bench_report_free(&run->event);
}

/* False: refused, and said. */
static bool take_number(const struct command_call *call, const char *name, int64_t least,
                        uint64_t *out)
{
    int64_t number = pflag_i64(call->flags, name);
    if (number < least || number > INT32_MAX) {
        bench__fail(bench_of(call), "--%s must be from %lld to %d", name, (long long)least,
                    INT32_MAX);
        return false;
    }
    *out = (uint64_t)number;
    return true;
}

static int watch_load(const struct command_call *call, const char *per_stream, bool is_latency)
{
    struct bench *bench = bench_of(call);
    struct streams_run run = {.bench = bench};
    uint64_t lines = 0;
    uint64_t key_size = 0;
    uint64_t value_size = 8;
    run.key_count = 1;
    if (!take_number(call, "streams", 1, &lines) ||
        !take_number(call, per_stream, 1, &run.per_line) ||
        !take_number(call, "put-total", 0, &run.put_total) ||
        !take_number(call, "put-rate", 0, &run.put_rate) ||
        !take_number(call, "key-size", 8, &key_size) ||
        (is_latency && !take_number(call, "val-size", 8, &value_size)) ||
        (!is_latency && !take_number(call, "watched-key-total", 1, &run.key_count))) {
        return COMMAND_EXIT_ERROR;
    }
    run.line_count = lines;
    run.prev_kv = is_latency && pflag_bool(call->flags, "prevkv");
    memset(buf_extend(&bench->key, key_size), 'k', key_size);
    memset(buf_extend(&bench->value, value_size), 'v', value_size);
    bench__reports(call, &run.creation, 1);
    bench__reports(call, &run.put, 1);
    bench__reports(call, &run.event, 1);
    int code = open_clients(&run, call);
    if (code == COMMAND_EXIT_OK) {
        make_lines(&run);
        report_end(&run, run.creation, "Watch creation summary:\n");
        if (run.failure == NULL) {
            put_and_listen(&run);
            report_end(&run, run.put, "Put summary:\n");
            report_end(&run, run.event,
                       is_latency ? "Watch events summary:\n" : "Watch events received summary:\n");
        }
        if (run.failure != NULL) {
            code = bench__fail(bench, "%s", run.failure);
        }
    }
    run_close(&run);
    return code;
}

int bench__watch_run(const struct command_call *call)
{
    return watch_load(call, "watch-per-stream", false);
}

int bench__watch_latency_run(const struct command_call *call)
{
    return watch_load(call, "watchers-per-stream", true);
}

/* ---- leases ------------------------------------------------------------------------------- */

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
    struct streams_run *run = line->run;
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
    bench_report_success(line->run->put, line->asked_at, env_now_mono(line->run->bench->env));
    line->run->done++;
    renew(line);
}

static void lease_stream_end(struct client_stream *stream, const struct client_result *result)
{
    struct lease_line *line = CONTAINER_OF(stream, struct lease_line, stream);
    bench_report_error(line->run->put, result->error);
    lease_over(line);
}

static const struct client_stream_handler lease_events = {.message = renewed,
                                                          .end = lease_stream_end};

static void granted(void *ctx, const struct client_result *result, void *reply)
{
    struct lease_line *line = ctx;
    const Etcdserverpb__LeaseGrantResponse *grant = reply;
    if (grant == NULL) {
        bench_report_error(line->run->put, result->error);
        lease_over(line);
        return;
    }
    Etcdserverpb__LeaseKeepAliveRequest request = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    request.id = grant->id;
    pb_encode(&request, &line->request);
    size_t index = (size_t)(uintptr_t)line->stream.ctx;
    client_stream_open(line->run->clients[index % line->run->client_count], &line->stream);
    renew(line);
}

int bench__lease_keepalive_run(const struct command_call *call)
{
    struct bench *bench = bench_of(call);
    struct streams_run run = {.bench = bench};
    uint64_t count = pflag_u64(call->flags, "clients");
    if (!take_number(call, "total", 0, &run.total)) {
        return COMMAND_EXIT_ERROR;
    }
    if (count == 0 || count > BENCH_CLIENTS_MAX) {
        return bench__fail(bench, "--clients must be from 1 to %d", BENCH_CLIENTS_MAX);
    }
    bench__reports(call, &run.put, 1);
    int code = open_clients(&run, call);
    if (code == COMMAND_EXIT_OK) {
        Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
        struct lease_line *lines = arena_zalloc(&bench->arena, count * sizeof(*lines));
        request.ttl = LEASE_TTL_S;
        report_begin(&run, run.put);
        for (size_t i = 0; i < count; i++) {
            lines[i].run = &run;
            lines[i].stream = (struct client_stream){.path = "/etcdserverpb.Lease/LeaseKeepAlive",
                                                     .handler = &lease_events,
                                                     .deadline = UINT64_MAX,
                                                     .ctx = (void *)(uintptr_t)i};
            client_rpc_start(run.clients[i % run.client_count], CLIENT_LEASE_GRANT, &request,
                             UINT64_MAX, granted, &lines[i]);
        }
        while (run.over < count) {
            loop_turn(bench->loop, true);
        }
        report_end(&run, run.put, "");
        for (size_t i = 0; i < count; i++) {
            buf_fini(&lines[i].request);
        }
        if (run.done < run.total) {
            code = bench__fail(bench, "not all leases were renewed");
        }
    }
    run_close(&run);
    return code;
}
