/* watch, watch-latency, watch-get: loads over Watch streams.
 *
 * watch and watch-latency make their watches one after the other on each stream, time each
 * creation, then put at a rate; every value carries the moment it was sent, so that each event that
 * comes back tells its own latency. watch-get makes watches that all start some revisions back,
 * as fast as the streams take them, and times reads beside them until every watch has caught up.
 *
 * Responses are not decoded into structs: events are counted where they lie, because a client that
 * costs more than the server would measure itself. A stream that is lost is not opened again, for
 * the same reason as in bench_load.h.
 *
 *   WatchResponse  created = 3, canceled = 4, cancel_reason = 6, events = 11
 *   Event          kv = 2                    KeyValue  value = 5
 *
 * Where we differ: etcd's tool counts an event of "watch" from when its own program got to it; here
 * from the put.
 *
 * Source: etcd 3.6 tools/benchmark: names, flags, defaults, titles. */
#include "ctl/bench_priv.h"

#include "codec/pb.h"
#include "codec/pbwire.h"
#include "rpc.pb-c.h"

#define QUIET_NS (30 * NS_PER_SEC) /* no event for so long: the rest does not come */

struct watch_run;

/* One Watch stream and its watches. */
struct watch_line {
    struct watch_run *run;
    struct client_stream stream;
    uint64_t asked; /* watches that were asked for */
    mono_ns asked_at;
};

struct watch_run {
    struct bench *bench;
    struct bench_clients clients;
    struct watch_line *lines;
    size_t line_count;
    uint64_t watch_total;
    uint64_t key_count; /* watched keys */
    int64_t start_revision;
    bool prev_kv;
    bool is_one_by_one; /* a stream's next watch is asked for when the one before stands */
    uint64_t made;      /* watches that stand */
    uint64_t puts;      /* sent */
    uint64_t answered;
    uint64_t put_total;
    uint64_t put_rate;
    uint64_t events;
    uint64_t wanted;    /* events */
    struct timer timer; /* of puts */
    struct bench_report *creation;
    struct bench_report *put;
    struct bench_report *event; /* NULL: values carry no moments */
    mono_ns start;
    mono_ns heard_at;
    const char *failure; /* NULL: none */
    /* watch-get */
    struct bench_clients reader;
    struct client_rpc *read;
    mono_ns read_at;
    struct bench_report *reads;
};

/* ---- responses ---------------------------------------------------------------------------- */

enum { RESPONSE_CREATED = 3, RESPONSE_CANCELED = 4, RESPONSE_REASON = 6, RESPONSE_EVENTS = 11 };
enum { EVENT_KV = 2, KV_VALUE = 5 };

static bool find_field(struct slice message, uint32_t number, struct slice *out)
{
    struct pbwire_field field;
    struct pbwire_iter it = pbwire_iter_init(message);
    while (pbwire_next(&it, &field)) {
        if (field.number == number && field.type == PBWIRE_BYTES) {
            *out = field.bytes;
            return true;
        }
    }
    return false;
}

/* The value carries when it was put. Ours have no lease, so that it is what the row ends with. */
static void time_event(struct watch_run *run, struct slice event, mono_ns now)
{
    struct slice kv;
    struct slice value;
    size_t len = run->bench->value.len;
    if (!find_field(event, EVENT_KV, &kv)) {
        return;
    }
    if (len < 0x80 && kv.len > len + 2 && kv.data[kv.len - len - 1] == len &&
        kv.data[kv.len - len - 2] == pbwire_tag(KV_VALUE, PBWIRE_BYTES)) {
        value = slice_skip(kv, kv.len - len);
    } else if (!find_field(kv, KV_VALUE, &value)) {
        return;
    }
    struct reader reader = reader_init(value);
    uint64_t sent_at = reader_le64(&reader);
    if (reader.err == ERR_OK && sent_at >= run->start && sent_at <= now) {
        bench_report_success(run->event, sent_at, now);
    }
}

static void fail_with(struct watch_run *run, const char *what, struct slice why)
{
    if (run->failure == NULL) {
        run->failure = arena_printf(&run->bench->arena, "%s: %.*s", what, (int)why.len,
                                    (const char *)why.data);
    }
}

static void ask_more(struct watch_line *line);

static void on_response(struct client_stream *stream, struct slice message)
{
    struct watch_line *line = CONTAINER_OF(stream, struct watch_line, stream);
    struct watch_run *run = line->run;
    struct pbwire_field field;
    struct pbwire_iter it = pbwire_iter_init(message);
    mono_ns now = env_now_mono(run->bench->env);
    bool is_created = false;
    bool is_canceled = false;
    struct slice reason = SLICE_EMPTY;
    while (pbwire_next(&it, &field)) {
        if (field.number == RESPONSE_EVENTS && field.type == PBWIRE_BYTES) {
            run->events++;
            if (run->event != NULL) {
                time_event(run, field.bytes, now);
            }
        }
        is_created |= field.number == RESPONSE_CREATED && field.value != 0;
        is_canceled |= field.number == RESPONSE_CANCELED && field.value != 0;
        if (field.number == RESPONSE_REASON && field.type == PBWIRE_BYTES) {
            reason = field.bytes;
        }
    }
    run->heard_at = now;
    if (it.err != ERR_OK) {
        fail_with(run, "a response makes no sense", SLICE("malformed"));
    } else if (is_canceled) {
        fail_with(run, "a watch has ended", reason);
    } else if (is_created) {
        run->made++;
        if (run->creation != NULL) {
            bench_report_success(run->creation, line->asked_at, now);
        }
        ask_more(line);
    }
}

static void on_end(struct client_stream *stream, const struct client_result *result)
{
    struct watch_line *line = CONTAINER_OF(stream, struct watch_line, stream);
    fail_with(line->run, "a watch stream has ended", slice_str(result->error));
}

static void on_writable(struct client_stream *stream)
{
    ask_more(CONTAINER_OF(stream, struct watch_line, stream));
}

static const struct client_stream_handler watch_events = {
    .message = on_response, .end = on_end, .writable = on_writable};

/* ---- watches ------------------------------------------------------------------------------ */

static void set_key(struct watch_run *run, uint64_t number)
{
    struct buf *key = &run->bench->key;
    ASSERT(key->len >= 8);
    put_le64(key->data, number);
}

/* The watches of a line: those whose number leaves its index over when divided by the lines. */
static uint64_t watches_of(const struct watch_line *line)
{
    const struct watch_run *run = line->run;
    uint64_t index = (uint64_t)(line - run->lines);
    return run->watch_total / run->line_count + (index < run->watch_total % run->line_count);
}

/* Watches of one key are spread over the lines in blocks, as etcd's tool does. */
static uint64_t key_of(const struct watch_line *line, uint64_t number)
{
    const struct watch_run *run = line->run;
    uint64_t index = (uint64_t)(line - run->lines);
    return (index * (run->watch_total / run->line_count) + number) % run->key_count;
}

static void ask_one(struct watch_line *line)
{
    struct watch_run *run = line->run;
    Etcdserverpb__WatchCreateRequest create = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    if (run->key_count > 0) {
        set_key(run, key_of(line, line->asked));
    }
    create.key = pb_binary(buf_slice(&run->bench->key));
    create.start_revision = run->start_revision;
    create.prev_kv = run->prev_kv;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    request.create_request = &create;
    buf_reset(&run->bench->work);
    pb_encode(&request, &run->bench->work);
    line->asked++;
    line->asked_at = env_now_mono(run->bench->env);
    client_stream_send(&line->stream, buf_slice(&run->bench->work));
}

static void ask_more(struct watch_line *line)
{
    while (line->run->failure == NULL && line->asked < watches_of(line) &&
           client_stream_writable(&line->stream)) {
        ask_one(line);
        if (line->run->is_one_by_one) {
            return;
        }
    }
}

static void open_lines(struct watch_run *run)
{
    struct arena *arena = &run->bench->arena;
    run->lines = arena_zalloc(arena, run->line_count * sizeof(*run->lines));
    run->heard_at = env_now_mono(run->bench->env);
    for (size_t i = 0; i < run->line_count; i++) {
        struct watch_line *line = &run->lines[i];
        line->run = run;
        line->stream = (struct client_stream){
            .path = "/etcdserverpb.Watch/Watch", .handler = &watch_events, .deadline = UINT64_MAX};
        client_stream_open(bench__client(&run->clients, i), &line->stream);
        ask_more(line);
    }
}

/* One turn. False: it has failed. */
static bool turn(struct watch_run *run)
{
    loop_turn(run->bench->loop, true);
    if (run->failure == NULL && env_now_mono(run->bench->env) - run->heard_at > QUIET_NS) {
        run->failure = "the events stopped coming";
    }
    return run->failure == NULL;
}

static void make_watches(struct watch_run *run)
{
    bench__report_begin(run->bench, run->creation);
    open_lines(run);
    while (run->made < run->watch_total && turn(run)) {
    }
}

/* ---- puts --------------------------------------------------------------------------------- */

struct put_out {
    struct watch_run *run;
    mono_ns sent_at;
};

static void put_answered(void *ctx, const struct client_result *result, void *reply)
{
    struct put_out *out = ctx;
    struct watch_run *run = out->run;
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

static void send_put(struct watch_run *run)
{
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    struct put_out *out = ARENA_NEW(&run->bench->arena, struct put_out);
    out->run = run;
    out->sent_at = env_now_mono(run->bench->env);
    set_key(run, run->puts % run->key_count);
    put_le64(run->bench->value.data, out->sent_at);
    request.key = pb_binary(buf_slice(&run->bench->key));
    request.value = pb_binary(buf_slice(&run->bench->value));
    client_rpc_start(bench__client(&run->clients, run->puts), CLIENT_PUT, &request, UINT64_MAX,
                     put_answered, out);
    run->puts++;
}

/* Without a rate one put at a time; with one, at its moments. */
static void on_put(struct timer *timer)
{
    struct watch_run *run = CONTAINER_OF(timer, struct watch_run, timer);
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
static uint64_t count_wanted(const struct watch_run *run)
{
    uint64_t wanted = 0;
    for (uint64_t key = 0; key < run->key_count; key++) {
        uint64_t watched =
            run->watch_total / run->key_count + (key < run->watch_total % run->key_count);
        uint64_t put = run->put_total / run->key_count + (key < run->put_total % run->key_count);
        wanted += watched * put;
    }
    return wanted;
}

static void put_and_listen(struct watch_run *run)
{
    struct loop *loop = run->bench->loop;
    run->wanted = count_wanted(run);
    timer_init(&run->timer, on_put);
    bench__report_begin(run->bench, run->put);
    bench__report_begin(run->bench, run->event);
    run->start = env_now_mono(run->bench->env);
    run->heard_at = run->start;
    if (run->put_total > 0) {
        timer_start(loop, &run->timer, run->start);
    }
    while ((run->answered < run->put_total || run->events < run->wanted) && turn(run)) {
    }
    timer_stop(loop, &run->timer);
}

static void run_close(struct watch_run *run)
{
    for (size_t i = 0; run->lines != NULL && i < run->line_count; i++) {
        client_stream_cancel(&run->lines[i].stream);
    }
    client_rpc_forget(&run->read);
    bench__clients_close(&run->clients);
    bench__clients_close(&run->reader);
    bench_report_free(&run->creation);
    bench_report_free(&run->put);
    bench_report_free(&run->event);
    bench_report_free(&run->reads);
}

static int run_finish(struct watch_run *run)
{
    int code = run->failure == NULL ? COMMAND_EXIT_OK : bench__fail(run->bench, "%s", run->failure);
    run_close(run);
    return code;
}

/* ---- watch, watch-latency ----------------------------------------------------------------- */

static int watch_load(const struct command_call *call, const char *per_stream, bool is_latency)
{
    struct bench *bench = bench_of(call);
    struct watch_run run = {.bench = bench, .key_count = 1, .is_one_by_one = true};
    uint64_t lines = 0;
    uint64_t per_line = 0;
    uint64_t key_size = 0;
    uint64_t value_size = 8;
    if (!bench__take_number(call, "streams", 1, &lines) ||
        !bench__take_number(call, per_stream, 1, &per_line) ||
        !bench__take_number(call, "put-total", 0, &run.put_total) ||
        !bench__take_number(call, "put-rate", 0, &run.put_rate) ||
        !bench__take_number(call, "key-size", 8, &key_size) ||
        (is_latency && !bench__take_number(call, "val-size", 8, &value_size)) ||
        (!is_latency && !bench__take_number(call, "watched-key-total", 1, &run.key_count))) {
        return COMMAND_EXIT_ERROR;
    }
    run.line_count = lines;
    run.watch_total = lines * per_line;
    run.prev_kv = is_latency && pflag_bool(call->flags, "prevkv");
    memset(buf_extend(&bench->key, key_size), 'k', key_size);
    memset(buf_extend(&bench->value, value_size), 'v', value_size);
    int code = bench__clients_open(call, &run.clients);
    if (code != COMMAND_EXIT_OK) {
        run_close(&run);
        return code;
    }
    bench__reports(call, &run.creation, 1);
    bench__reports(call, &run.put, 1);
    bench__reports(call, &run.event, 1);
    make_watches(&run);
    bench__report_end(bench, run.creation, "Watch creation summary:\n");
    if (run.failure == NULL) {
        put_and_listen(&run);
        bench__report_end(bench, run.put, "Put summary:\n");
        bench__report_end(bench, run.event,
                          is_latency ? "Watch events summary:\n"
                                     : "Watch events received summary:\n");
    }
    return run_finish(&run);
}

int bench__watch_run(const struct command_call *call)
{
    return watch_load(call, "watch-per-stream", false);
}

int bench__watch_latency_run(const struct command_call *call)
{
    return watch_load(call, "watchers-per-stream", true);
}

/* ---- watch-get ---------------------------------------------------------------------------- */

#define GET_KEY "watchkey" /* what is watched */
#define GET_READ "abc"     /* what is read meanwhile */

static bool has_caught_up(const struct watch_run *run)
{
    return run->made == run->watch_total && run->events >= run->wanted;
}

static void read_again(struct watch_run *run);

static void read_answered(void *ctx, const struct client_result *result, void *reply)
{
    struct watch_run *run = ctx;
    UNUSED(reply);
    run->read = NULL;
    if (result->status == GRPC_OK) {
        bench_report_success(run->reads, run->read_at, env_now_mono(run->bench->env));
    } else {
        bench_report_error(run->reads, result->error);
    }
    if (!has_caught_up(run) && run->failure == NULL) {
        read_again(run);
    }
}

static void read_again(struct watch_run *run)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = pb_binary(SLICE(GET_READ));
    request.serializable = true;
    run->read_at = env_now_mono(run->bench->env);
    run->read = client_rpc_start(bench__client(&run->reader, 0), CLIENT_RANGE, &request, UINT64_MAX,
                                 read_answered, run);
}

static void setup_answered(void *ctx, const struct client_result *result, void *reply)
{
    struct watch_run *run = ctx;
    const Etcdserverpb__PutResponse *put = reply;
    run->answered++;
    if (put == NULL) {
        fail_with(run, "put", slice_str(result->error));
    } else if (run->start_revision == 0) {
        run->start_revision = put->header->revision;
    }
}

/* The history that the watches will start behind. */
static void put_history(struct watch_run *run, uint64_t count)
{
    run->heard_at = env_now_mono(run->bench->env);
    for (uint64_t i = 0; i < count && run->failure == NULL; i++) {
        Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
        char *value = arena_printf(&run->bench->arena, "%llu", (unsigned long long)i);
        request.key = pb_binary(SLICE(GET_KEY));
        request.value = pb_binary(slice_str(value));
        client_rpc_start(bench__client(&run->clients, 0), CLIENT_PUT, &request, UINT64_MAX,
                         setup_answered, run);
        while (run->answered <= i && turn(run)) {
        }
    }
}

int bench__watch_get_run(const struct command_call *call)
{
    struct bench *bench = bench_of(call);
    struct watch_run run = {.bench = bench};
    uint64_t lines = 0;
    uint64_t events = 0;
    if (!bench__take_number(call, "watchers", 1, &run.watch_total) ||
        !bench__take_number(call, "streams", 1, &lines) ||
        !bench__take_number(call, "events", 1, &events)) {
        return COMMAND_EXIT_ERROR;
    }
    run.line_count = lines;
    run.wanted = run.watch_total * events;
    buf_append_str(&bench->key, GET_KEY);
    int code = bench__clients_open(call, &run.clients);
    if (code == COMMAND_EXIT_OK) {
        code = bench__clients_open_some(call, 1, &run.reader);
    }
    if (code != COMMAND_EXIT_OK) {
        run_close(&run);
        return code;
    }
    bench__reports(call, &run.reads, 1);
    put_history(&run, events);
    if (run.failure == NULL) {
        bench__report_begin(bench, run.reads);
        open_lines(&run);
        read_again(&run);
        /* The read under way when the last watch catches up ran beside it, so it counts. */
        while ((!has_caught_up(&run) || run.read != NULL) && turn(&run)) {
        }
        bench__report_end(bench, run.reads, "Get during watch summary:\n");
    }
    return run_finish(&run);
}
