/* check perf, check datascale: a load as the benchmark makes it, and what is to be said of it.
 *
 * The bar is that of etcdctl where it does not write to a terminal: numbers without the bar itself,
 * redrawn on standard output behind carriage returns.
 *
 * Source: etcdctl 3.6, check.go: loads, limits and sentences. */
#include "ctl/bench_load.h"
#include "ctl/ctl_priv.h"

#include "base/gotext.h"
#include "codec/pb.h"
#include "codec/pbwire.h"

#include <stdlib.h>

#define PERF_SECONDS 60
#define PERF_KEY_LEN 256
#define PERF_VALUE_LEN 1024
#define SCALE_KEY_LEN 512
#define SCALE_VALUE_LEN 512
#define ASIDE_TIMEOUT_NS (30 * NS_PER_SEC)
#define METRICS_MAX ((size_t)16 * 1024 * 1024)

struct load_model {
    const char *names[2]; /* "s", "small" */
    uint64_t rate;        /* perf: writes a second */
    size_t perf_clients;
    uint64_t pairs; /* datascale */
    size_t scale_clients;
};

static const struct load_model models[] = {
    {{"s", "small"}, 150, 50, 10000, 50},
    {{"m", "medium"}, 1000, 200, 100000, 200},
    {{"l", "large"}, 8000, 500, 1000000, 500},
    {{"xl", "xLarge"}, 15000, 1000, 3000000, 1000},
};

struct check {
    struct ctl *ctl;
    const struct command_call *call;
    const struct load_model *model;
    const char *prefix;
    struct bench_load *load;
    struct bench_report *report;
    /* Requests. */
    size_t key_len;
    size_t value_len;
    struct buf key;
    struct buf value;
    /* The bar. */
    uint64_t bar_total;
    uint64_t bar_now;
    mono_ns bar_moved; /* since the start, when bar_now became what it is */
    bool counts_seconds;
};

/* ---- requests ---------------------------------------------------------------------------- */

static void append_bytes(struct buf *out, uint32_t number, struct slice bytes)
{
    size_t size = pbwire_bytes_size(number, bytes.len);
    uint8_t *at = buf_extend(out, size);
    uint8_t *end = pbwire_put_bytes(at, number, bytes);
    ASSERT(end == at + size);
}

/* A key of random bytes in front of zeroes, as etcdctl's. */
static unsigned next_put(void *ctx, uint64_t index, struct buf *request)
{
    struct check *check = ctx;
    UNUSED(index);
    buf_reset(&check->key);
    buf_append_str(&check->key, check->prefix);
    uint8_t *rest = buf_extend(&check->key, check->key_len);
    memset(rest, 0, check->key_len);
    pbwire_put_varint(rest, env_random_u64(check->ctl->env));
    append_bytes(request, 1, buf_slice(&check->key));
    append_bytes(request, 2, buf_slice(&check->value));
    return 0;
}

/* The range of everything under the prefix. */
static void set_range(struct check *check, ProtobufCBinaryData *key, ProtobufCBinaryData *range_end)
{
    struct slice prefix = slice_str(check->prefix);
    *key = pb_binary(prefix.len == 0 ? slice_of("\0", 1) : prefix);
    *range_end = pb_binary(kv_prefix_end(&check->ctl->arena, prefix));
}

/* CTL_OK when nothing is there yet. */
static int refuse_used_prefix(struct check *check)
{
    struct ctl *ctl = check->ctl;
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    set_range(check, &range.key, &range.range_end);
    range.limit = 1;
    struct ctl_rpc rpc = {.path = "/etcdserverpb.KV/Range",
                          .request = &range,
                          .reply_type = &etcdserverpb__range_response__descriptor,
                          .is_repeatable = true,
                          .deadline = env_now_mono(ctl->env) + PERF_SECONDS * NS_PER_SEC};
    if (!ctl__call(ctl, ctl->client, &rpc)) {
        return ctl__fail_text(ctl, CTL_ERROR, slice_str(rpc.error));
    }
    if (((const Etcdserverpb__RangeResponse *)rpc.reply)->n_kvs == 0) {
        return CTL_OK;
    }
    struct buf why = {0};
    buf_append_str(&why, "prefix ");
    go_quote(slice_str(check->prefix), &why);
    buf_printf(&why, " has keys. Delete with etcdctl del --prefix %s first", check->prefix);
    int code = ctl__fail_text(ctl, CTL_INVALID_INPUT, buf_slice(&why));
    buf_fini(&why);
    return code;
}

/* ---- the bar ----------------------------------------------------------------------------- */

static void draw_bar(void *ctx, uint64_t done, mono_ns since_start)
{
    struct check *check = ctx;
    struct buf *out = &check->ctl->out;
    uint64_t seconds = since_start / NS_PER_SEC;
    uint64_t now = check->counts_seconds ? seconds : done;
    now = now > check->bar_total ? check->bar_total : now;
    double share = 100 * (double)now / (double)check->bar_total;
    buf_printf(out, "\r %llu / %llu  %6.2f%%", (unsigned long long)now,
               (unsigned long long)check->bar_total, share);
    if (now != check->bar_now) {
        check->bar_now = now;
        check->bar_moved = since_start;
    }
    /* As from the last move, less what has passed since: it never grows while the bar stands. */
    uint64_t left = now == 0 ? 0 : (check->bar_total - now) * (check->bar_moved / now);
    uint64_t since_move = since_start - check->bar_moved;
    left = left > since_move ? (left - since_move) / NS_PER_SEC : 0;
    if (left > 0) {
        buf_printf(out, " %02llum%02llus", (unsigned long long)(left / 60),
                   (unsigned long long)(left % 60));
    }
    ctl__flush(check->ctl);
}

static void finish_bar(struct check *check, mono_ns took)
{
    struct buf *out = &check->ctl->out;
    uint64_t seconds = (took + NS_PER_SEC / 2) / NS_PER_SEC;
    buf_printf(out, "\r %llu / %llu  100.00%% ", (unsigned long long)check->bar_total,
               (unsigned long long)check->bar_total);
    go_format_duration((int64_t)(seconds * NS_PER_SEC), out);
    buf_append_byte(out, '\n');
    ctl__flush(check->ctl);
}

/* ---- the load ---------------------------------------------------------------------------- */

static int open_load(struct check *check, size_t clients)
{
    struct ctl *ctl = check->ctl;
    struct errbuf why = {{0}};
    bool has_user = ctl->options.username != NULL && ctl->options.username[0] != 0;
    struct bench_load_options options = {
        .endpoints = ctl->options.endpoints,
        .endpoint_count = ctl->options.endpoint_count,
        .conn_count = clients,
        .client_count = clients,
        .dial_timeout_ns = ctl->options.dial_timeout_ns,
        .username = has_user ? ctl->options.username : NULL,
        .password = ctl->options.password,
    };
    if (bench_load_open(ctl->env, ctl->loop, &options, &check->load, &why) != ERR_OK) {
        return ctl__fail(ctl, CTL_BAD_CONNECTION, "%s", why.text);
    }
    return CTL_OK;
}

static void run_load(struct check *check, uint64_t total, uint64_t rate, uint64_t duration_ns)
{
    struct bench_work work = {
        .path = "/etcdserverpb.KV/Put",
        .total = total,
        .rate = rate,
        .duration_ns = duration_ns,
        .next = next_put,
        .progress = draw_bar,
        .ctx = check,
        .reports = &check->report,
        .report_count = 1,
    };
    mono_ns start = env_now_mono(check->ctl->env);
    check->report = bench_report_new(0);
    buf_extend(&check->value, check->value_len);
    memset(check->value.data, 0, check->value_len);
    (void)bench_load_run(check->load, &work); /* what was not answered is an error of the report */
    finish_bar(check, env_now_mono(check->ctl->env) - start);
}

/* ---- afterwards -------------------------------------------------------------------------- */

static int compact(struct check *check, int64_t revision)
{
    struct ctl *ctl = check->ctl;
    Etcdserverpb__CompactionRequest request = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    request.revision = revision;
    request.physical = true;
    buf_printf(&ctl->out, "Compacting with revision %lld\n", (long long)revision);
    struct ctl_rpc rpc = {.path = "/etcdserverpb.KV/Compact",
                          .request = &request,
                          .reply_type = &etcdserverpb__compaction_response__descriptor,
                          .deadline = env_now_mono(ctl->env) + ASIDE_TIMEOUT_NS};
    if (!ctl__call(ctl, ctl->client, &rpc)) {
        return ctl__fail_text(ctl, CTL_ERROR, slice_str(rpc.error));
    }
    buf_printf(&ctl->out, "Compacted with revision %lld\n", (long long)revision);
    return CTL_OK;
}

static int defrag(struct check *check, const char *endpoint)
{
    struct ctl *ctl = check->ctl;
    struct client *client = NULL;
    Etcdserverpb__DefragmentRequest request = ETCDSERVERPB__DEFRAGMENT_REQUEST__INIT;
    buf_append_str(&ctl->out, "Defragmenting ");
    go_quote(slice_str(endpoint), &ctl->out);
    buf_append_byte(&ctl->out, '\n');
    int code = ctl__connect_to(ctl, &endpoint, 1, &client);
    if (code != CTL_OK) {
        return code;
    }
    struct ctl_rpc rpc = {.path = "/etcdserverpb.Maintenance/Defragment",
                          .request = &request,
                          .reply_type = &etcdserverpb__defragment_response__descriptor,
                          .deadline = env_now_mono(ctl->env) + ASIDE_TIMEOUT_NS};
    bool is_good = ctl__call(ctl, client, &rpc);
    client_free(&client);
    if (!is_good) {
        return ctl__fail_text(ctl, CTL_ERROR, slice_str(rpc.error));
    }
    buf_append_str(&ctl->out, "Defragmented ");
    go_quote(slice_str(endpoint), &ctl->out);
    buf_append_byte(&ctl->out, '\n');
    return CTL_OK;
}

/* Deletes what was written; compacts and defragments when asked to. */
static int clean_up(struct check *check, mono_ns deadline)
{
    struct ctl *ctl = check->ctl;
    Etcdserverpb__DeleteRangeRequest del = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    set_range(check, &del.key, &del.range_end);
    struct ctl_rpc rpc = {.path = "/etcdserverpb.KV/DeleteRange",
                          .request = &del,
                          .reply_type = &etcdserverpb__delete_range_response__descriptor,
                          .deadline = deadline};
    if (!ctl__call(ctl, ctl->client, &rpc)) {
        return ctl__fail_text(ctl, CTL_ERROR, slice_str(rpc.error));
    }
    int code = CTL_OK;
    const Etcdserverpb__DeleteRangeResponse *answer = rpc.reply;
    if (pflag_bool(check->call->flags, "auto-compact")) {
        code = compact(check, answer->header == NULL ? 0 : answer->header->revision);
    }
    for (size_t i = 0; code == CTL_OK && i < ctl->options.endpoint_count &&
                       pflag_bool(check->call->flags, "auto-defrag");
         i++) {
        code = defrag(check, ctl->options.endpoints[i]);
    }
    ctl__flush(ctl);
    return code;
}

static void say_error(void *ctx, const char *text, uint64_t count)
{
    struct check *check = ctx;
    buf_printf(&check->ctl->out, "FAIL: ERROR(%s) -> %llu\n", text, (unsigned long long)count);
}

static bool say_errors(struct check *check)
{
    if (bench_report_stats(check->report)->errors == 0) {
        return true;
    }
    buf_append_str(&check->ctl->out, "FAIL: too many errors\n");
    bench_report_each_error(check->report, say_error, check);
    return false;
}

/* ---- perf -------------------------------------------------------------------------------- */

static int say_perf(struct check *check)
{
    struct buf *out = &check->ctl->out;
    const struct bench_stats *stats = bench_report_stats(check->report);
    bool is_good = say_errors(check);
    long long rate = (long long)stats->rate + 1;
    if (stats->rate / (double)check->model->rate <= 0.9) {
        buf_printf(out, "FAIL: Throughput too low: %lld writes/s\n", rate);
        is_good = false;
    } else {
        buf_printf(out, "PASS: Throughput is %lld writes/s\n", rate);
    }
    if (stats->slowest > 0.5) {
        buf_printf(out, "Slowest request took too long: %fs\n", stats->slowest);
        is_good = false;
    } else {
        buf_printf(out, "PASS: Slowest request took %fs\n", stats->slowest);
    }
    if (stats->stddev > 0.1) {
        buf_printf(out, "Stddev too high: %fs\n", stats->stddev);
        is_good = false;
    } else {
        buf_printf(out, "PASS: Stddev is %fs\n", stats->stddev);
    }
    buf_append_str(out, is_good ? "PASS\n" : "FAIL\n");
    return is_good ? CTL_OK : CTL_ERROR;
}

/* Finds the model, connects, looks at the prefix. */
static int check_begin(struct check *check, const struct command_call *call)
{
    const char *name = pflag_str(call->flags, "load");
    *check = (struct check){.ctl = ctl_of(call), .call = call};
    check->prefix = pflag_str(call->flags, "prefix");
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        if (strcmp(models[i].names[0], name) == 0 || strcmp(models[i].names[1], name) == 0) {
            check->model = &models[i];
        }
    }
    if (check->model == NULL) {
        return ctl__fail(check->ctl, CTL_BAD_FEATURE, "unknown load option %s", name);
    }
    int code = ctl__open(check->ctl, call);
    return code == CTL_OK ? refuse_used_prefix(check) : code;
}

static void check_end(struct check *check)
{
    bench_load_close(&check->load);
    bench_report_free(&check->report);
    buf_fini(&check->key);
    buf_fini(&check->value);
}

int ctl__check_perf_run(const struct command_call *call)
{
    struct check check;
    int code = check_begin(&check, call);
    if (code == CTL_OK) {
        code = open_load(&check, check.model->perf_clients);
    }
    if (code == CTL_OK) {
        check.key_len = PERF_KEY_LEN;
        check.value_len = PERF_VALUE_LEN;
        check.bar_total = PERF_SECONDS;
        check.counts_seconds = true;
        run_load(&check, check.model->rate * PERF_SECONDS, check.model->rate,
                 PERF_SECONDS * NS_PER_SEC);
        code = clean_up(&check, env_now_mono(check.ctl->env) + ASIDE_TIMEOUT_NS);
    }
    if (code == CTL_OK) {
        code = say_perf(&check);
    }
    check_end(&check);
    return code;
}

/* ---- datascale --------------------------------------------------------------------------- */

/* GET /metrics of one endpoint, by hand: HTTP/1.0, whose answer ends with the connection. */
struct fetch {
    struct ctl *ctl;
    struct dial *dial;
    struct sock *sock;
    struct timer timer;
    struct buf request;
    size_t sent;
    struct buf answer;
    bool is_over;
    struct errbuf why; /* "" when it went well */
};

static void fetch_over(struct fetch *fetch, const char *why)
{
    errf(&fetch->why, ERR_IO, "%s", why);
    fetch->is_over = true;
}

static void fetch_readable(struct sock *sock, void *ctx)
{
    struct fetch *fetch = ctx;
    size_t got = 0;
    uint8_t *at = buf_reserve(&fetch->answer, 65536);
    enum err err = sock_read(sock, at, 65536, &got);
    if (err == ERR_OK) {
        fetch->answer.len += got;
        if (fetch->answer.len > METRICS_MAX) {
            fetch_over(fetch, "the answer is too long");
        }
    } else if (err != ERR_AGAIN) {
        fetch_over(fetch, err == ERR_EOF ? "" : "the connection was reset");
    }
}

static void fetch_writable(struct sock *sock, void *ctx)
{
    struct fetch *fetch = ctx;
    struct iov iov = {fetch->request.data + fetch->sent, fetch->request.len - fetch->sent};
    size_t put = 0;
    enum err err = sock_writev(sock, &iov, 1, &put);
    if (err == ERR_OK) {
        fetch->sent += put;
        sock_want_write(sock, fetch->sent < fetch->request.len);
    } else if (err != ERR_AGAIN) {
        fetch_over(fetch, "the connection was reset");
    }
}

static const struct sock_handler fetch_events = {.readable = fetch_readable,
                                                 .writable = fetch_writable};

static void fetch_connected(struct sock *sock, const struct errbuf *why, void *ctx)
{
    struct fetch *fetch = ctx;
    fetch->dial = NULL;
    if (sock == NULL) {
        fetch_over(fetch, why->text);
        return;
    }
    fetch->sock = sock;
    sock_set_handler(sock, &fetch_events, fetch);
    sock_want_write(sock, true);
}

static void fetch_timeout(struct timer *timer)
{
    fetch_over(CONTAINER_OF(timer, struct fetch, timer), "no answer in time");
}

/* The value behind the name; 0: not there. */
static double find_metric(struct slice text, const char *name)
{
    while (text.len > 0) {
        struct slice line;
        text = slice_split(text, '\n', &line);
        if (slice_starts(line, slice_str(name))) {
            char number[64] = "";
            size_t len = line.len - strlen(name);
            memcpy(number, line.data + strlen(name), len < sizeof(number) ? len : 0);
            return strtod(number, NULL);
        }
    }
    return 0;
}

/* Bytes of memory of the server; 0 when it does not say, which has been printed. */
static double server_memory(struct ctl *ctl)
{
    struct fetch fetch = {.ctl = ctl};
    struct endpoint endpoint;
    double bytes = 0;
    if (endpoint_parse(&ctl->arena, ctl->options.endpoints[0], &endpoint, &fetch.why) == ERR_OK) {
        buf_printf(&fetch.request, "GET /metrics HTTP/1.0\r\nHost: %s\r\n\r\n", endpoint.authority);
        timer_init(&fetch.timer, fetch_timeout);
        timer_start(ctl->loop, &fetch.timer, env_now_mono(ctl->env) + ASIDE_TIMEOUT_NS);
        fetch.dial =
            net_connect(ctl->env->net, endpoint.host, endpoint.port, fetch_connected, &fetch);
        ctl__wait(ctl, &fetch.is_over);
        timer_stop(ctl->loop, &fetch.timer);
        net_connect_cancel(&fetch.dial);
        if (fetch.sock != NULL) {
            sock_close(&fetch.sock);
        }
    }
    if (fetch.why.text[0] != 0) {
        buf_printf(&ctl->out, "fetch error: %s\n", fetch.why.text);
    } else {
        bytes = find_metric(buf_slice(&fetch.answer), "process_resident_memory_bytes");
        if (bytes == 0) {
            buf_append_str(&ctl->out, "could not find: process_resident_memory_bytes\n");
        }
    }
    buf_fini(&fetch.request);
    buf_fini(&fetch.answer);
    return bytes;
}

static int say_no_memory(struct ctl *ctl, const char *when)
{
    buf_printf(&ctl->out,
               "FAIL: Could not read process_resident_memory_bytes %s the put operations.\n", when);
    return CTL_ERROR;
}

static int scale(struct check *check)
{
    struct ctl *ctl = check->ctl;
    const struct load_model *model = check->model;
    double before = server_memory(ctl);
    if (before == 0) {
        return say_no_memory(ctl, "before");
    }
    buf_printf(&ctl->out,
               "Start data scale check for work load [%llu key-value pairs, %d bytes per "
               "key-value, %zu concurrent clients].\n",
               (unsigned long long)model->pairs, SCALE_KEY_LEN + SCALE_VALUE_LEN,
               model->scale_clients);
    check->key_len = SCALE_KEY_LEN;
    check->value_len = SCALE_VALUE_LEN;
    check->bar_total = model->pairs;
    run_load(check, model->pairs, 0, 0);
    double after = server_memory(ctl);
    if (after == 0) {
        return say_no_memory(ctl, "after");
    }
    int code = clean_up(check, UINT64_MAX);
    if (code != CTL_OK) {
        return code;
    }
    if (!say_errors(check)) {
        return CTL_ERROR;
    }
    buf_printf(&ctl->out, "PASS: Approximate system memory used : %.2f MB.\n",
               (after - before) / (1024 * 1024));
    return CTL_OK;
}

int ctl__check_datascale_run(const struct command_call *call)
{
    struct check check;
    int code = check_begin(&check, call);
    if (code == CTL_OK) {
        code = open_load(&check, check.model->scale_clients);
    }
    if (code == CTL_OK) {
        code = scale(&check);
    }
    check_end(&check);
    return code;
}
