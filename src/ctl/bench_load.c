/* A client is IDLE until it takes a request, HELD until the moment that the rate gives it, and BUSY
 * until its answer. Moments are reserved when a request is taken, one every 1/rate, so that a timer
 * that is late delays but loses none; held clients stand in the order of their moments, and one
 * timer serves them all.
 *
 * A client whose connections are lost is LOST for good. */
#include "ctl/bench_load.h"

#include "base/mem.h"
#include "client/client.h"
#include "codec/pb.h"
#include "net/grpc_client.h"
#include "rpc.pb-c.h"

#define PROGRESS_NS (200 * NS_PER_MS)
#define POLL_NS (10 * NS_PER_MS)

/* One connection to one endpoint. */
struct link {
    struct bench_load *load;
    struct grpc_conn *conn;
    bool is_up;
    bool is_lost;
};

struct bench_client {
    struct bench_load *load;
    struct list held;   /* on load->held, or on nothing */
    struct link *links; /* of its connection: one for every endpoint */
    size_t turn;
    mono_ns moment; /* HELD: when to send */
    mono_ns sent_at;
    unsigned report;
    struct buf request;
};

struct bench_load {
    struct env *env;
    struct loop *loop;
    struct arena arena;
    struct endpoint *endpoints;
    size_t endpoint_count;
    struct link *links;
    size_t link_count;
    size_t up_count;
    struct bench_client *clients;
    size_t client_count;
    struct buf token;
    struct errbuf lost_why; /* of the first connection that failed */
    /* Of the run. */
    const struct bench_work *work;
    uint64_t taken; /* requests, by clients */
    uint64_t done;
    size_t aside;      /* calls besides the load that are out */
    mono_ns next_slot; /* the next moment that nobody has reserved */
    uint64_t slot_ns;  /* 0: no rate */
    struct list held;
    struct timer held_timer;
    struct timer progress_timer;
    struct timer period_timer;
    mono_ns start;
};

/* ---- connections -------------------------------------------------------------------------- */

static void on_state(struct grpc_conn *conn, const char *why, void *ctx)
{
    struct link *link = ctx;
    UNUSED(conn);
    if (why == NULL) {
        ASSERT(!link->is_up);
        link->is_up = true;
        link->load->up_count++;
        return;
    }
    if (link->is_up) {
        link->load->up_count--;
    }
    link->is_up = false;
    link->is_lost = true;
    if (link->load->lost_why.text[0] == 0) {
        errf(&link->load->lost_why, ERR_CLOSED, "%s", why);
    }
}

static FALLIBLE parse_endpoints(struct bench_load *load, const struct bench_load_options *options,
                                struct errbuf *why)
{
    if (options->endpoint_count == 0) {
        return errf(why, ERR_INVALID, "no endpoint is given");
    }
    load->endpoint_count = options->endpoint_count;
    load->endpoints =
        arena_zalloc(&load->arena, options->endpoint_count * sizeof(*load->endpoints));
    for (size_t i = 0; i < options->endpoint_count; i++) {
        TRY(endpoint_parse(&load->arena, options->endpoints[i], &load->endpoints[i], why));
        if (load->endpoints[i].security == ENDPOINT_TLS) {
            return errf(why, ERR_UNSUPPORTED, "%s: TLS is not built into this program yet",
                        options->endpoints[i]);
        }
    }
    return ERR_OK;
}

static void dial_all(struct bench_load *load, const struct bench_load_options *options)
{
    load->link_count = options->conn_count * load->endpoint_count;
    load->links = mem_zalloc(load->link_count * sizeof(*load->links));
    for (size_t i = 0; i < load->link_count; i++) {
        const struct endpoint *endpoint = &load->endpoints[i % load->endpoint_count];
        load->links[i].load = load;
        struct grpc_conn_options conn = {.host = endpoint->host,
                                         .port = endpoint->port,
                                         .authority = endpoint->authority,
                                         .on_state = on_state,
                                         .ctx = &load->links[i]};
        load->links[i].conn = grpc_conn_open(load->env, load->loop, &conn);
    }
}

static void on_nothing(struct timer *timer)
{
    UNUSED(timer); /* it only ends a poll */
}

/* One turn of the loop, and not much longer than POLL_NS. */
static void turn_briefly(struct bench_load *load)
{
    struct timer timer;
    timer_init(&timer, on_nothing);
    timer_start(load->loop, &timer, env_now_mono(load->env) + POLL_NS);
    loop_turn(load->loop, true);
    timer_stop(load->loop, &timer);
}

static FALLIBLE wait_for_links(struct bench_load *load, uint64_t timeout_ns, struct errbuf *why)
{
    mono_ns deadline = env_now_mono(load->env) + timeout_ns;
    while (load->up_count < load->link_count) {
        if (load->lost_why.text[0] != 0) {
            return errf(why, ERR_TIMEOUT, "%s", load->lost_why.text);
        }
        if (env_now_mono(load->env) >= deadline) {
            return errf(why, ERR_TIMEOUT, "%zu of %zu connections stand after the dial timeout",
                        load->up_count, load->link_count);
        }
        turn_briefly(load);
    }
    return ERR_OK;
}

/* ---- calls besides the load ---------------------------------------------------------------- */

struct aside {
    struct bench_load *load;
    bench_call_fn *done;
    void *ctx;
};

static size_t metadata_of(const struct bench_load *load, struct grpc_metadata out[2])
{
    size_t count = 0;
    out[count++] = (struct grpc_metadata){SLICE("client-api-version"), SLICE("3.6")};
    if (load->token.len > 0) {
        out[count++] = (struct grpc_metadata){SLICE("token"), buf_slice(&load->token)};
    }
    return count;
}

/* As clientv3 shows it: etcd's own errors bare. */
static void show_error(const struct grpc_result *result, struct buf *out)
{
    if (result->status == GRPC_OK) {
        return;
    }
    if (client_error_is_etcd(result->message)) {
        buf_append_str(out, result->message);
    } else {
        client_error_format(result->status, result->message, out);
    }
}

static void aside_over(const struct grpc_result *result, struct slice reply, void *ctx)
{
    struct aside *aside = ctx;
    struct buf error = {0};
    show_error(result, &error);
    aside->load->aside--;
    aside->done(aside->ctx, buf_cstr(&error), reply);
    buf_fini(&error);
    mem_free(aside);
}

void bench_load_call_start(struct bench_load *load, const char *path, struct slice request,
                           bench_call_fn *done, void *ctx)
{
    struct aside *aside = NEW(struct aside);
    struct grpc_metadata metadata[2];
    *aside = (struct aside){.load = load, .done = done, .ctx = ctx};
    load->aside++;
    grpc_unary(load->links[0].conn, path, request, metadata, metadata_of(load, metadata),
               UINT64_MAX, aside_over, aside);
}

struct waiting {
    struct buf *reply;
    struct errbuf *why;
    enum err err;
    bool is_over;
};

static void waiting_over(void *ctx, const char *error, struct slice reply)
{
    struct waiting *waiting = ctx;
    waiting->is_over = true;
    waiting->err = error[0] == 0 ? ERR_OK : errf(waiting->why, ERR_IO, "%s", error);
    buf_append_slice(waiting->reply, reply);
}

enum err bench_load_call(struct bench_load *load, const char *path, struct slice request,
                         struct buf *reply, struct errbuf *why)
{
    struct waiting waiting = {.reply = reply, .why = why};
    bench_load_call_start(load, path, request, waiting_over, &waiting);
    while (!waiting.is_over) {
        loop_turn(load->loop, true);
    }
    return waiting.err;
}

static FALLIBLE log_in(struct bench_load *load, const struct bench_load_options *options,
                       struct errbuf *why)
{
    Etcdserverpb__AuthenticateRequest *request =
        pb_new(&load->arena, &etcdserverpb__authenticate_request__descriptor);
    request->name = arena_printf(&load->arena, "%s", options->username);
    request->password = arena_printf(&load->arena, "%s", options->password);
    struct buf reply = {0};
    Etcdserverpb__AuthenticateResponse *answer = NULL;
    enum err err = bench_load_call(load, "/etcdserverpb.Auth/Authenticate",
                                   pb_encode_arena(request, &load->arena), &reply, why);
    if (err != ERR_OK) {
        err = ERR_PERM;
    } else if (pb_decode_limits(&load->arena, &etcdserverpb__authenticate_response__descriptor,
                                buf_slice(&reply), PB_LIMITS_NONE, &answer, why) != ERR_OK) {
        err = ERR_PERM;
    } else {
        buf_append_str(&load->token, answer->token);
    }
    buf_fini(&reply);
    return err;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void make_clients(struct bench_load *load, const struct bench_load_options *options)
{
    load->client_count = options->client_count;
    load->clients = mem_zalloc(load->client_count * sizeof(*load->clients));
    for (size_t i = 0; i < load->client_count; i++) {
        struct bench_client *client = &load->clients[i];
        client->load = load;
        client->links = &load->links[i % options->conn_count * load->endpoint_count];
        client->turn = i / options->conn_count; /* so that they do not all begin with the first */
        list_init(&client->held);
    }
}

enum err bench_load_open(struct env *env, struct loop *loop,
                         const struct bench_load_options *options, struct bench_load **out,
                         struct errbuf *why)
{
    ASSERT(options->conn_count > 0);
    ASSERT(options->conn_count <= BENCH_CONNS_MAX);
    ASSERT(options->client_count > 0);
    ASSERT(options->client_count <= BENCH_CLIENTS_MAX);
    struct bench_load *load = NEW(struct bench_load);
    load->env = env;
    load->loop = loop;
    arena_init(&load->arena);
    list_init(&load->held);
    enum err err = parse_endpoints(load, options, why);
    if (err == ERR_OK) {
        dial_all(load, options);
        make_clients(load, options);
        uint64_t timeout = options->dial_timeout_ns;
        err = wait_for_links(load, timeout == 0 ? BENCH_DIAL_TIMEOUT_NS : timeout, why);
    }
    if (err == ERR_OK && options->username != NULL) {
        err = log_in(load, options, why);
    }
    if (err != ERR_OK) {
        bench_load_close(&load);
        return err;
    }
    *out = load;
    return ERR_OK;
}

void bench_load_close(struct bench_load **load_in)
{
    struct bench_load *load = *load_in;
    if (load == NULL) {
        return;
    }
    ASSERT(load->work == NULL);
    for (size_t i = 0; i < load->link_count; i++) {
        grpc_conn_close(&load->links[i].conn);
    }
    for (size_t i = 0; i < load->client_count; i++) {
        buf_fini(&load->clients[i].request);
    }
    mem_free(load->links);
    mem_free(load->clients);
    buf_fini(&load->token);
    arena_fini(&load->arena);
    mem_free(load);
    *load_in = NULL;
}

/* ---- the load ------------------------------------------------------------------------------- */

static void client_next(struct bench_client *client);

/* The next of its links that stands, or NULL: the client is lost. */
static struct link *pick(struct bench_client *client)
{
    size_t count = client->load->endpoint_count;
    for (size_t i = 0; i < count; i++) {
        struct link *link = &client->links[client->turn++ % count];
        if (link->is_up && !grpc_conn_is_lost(link->conn)) {
            return link;
        }
    }
    return NULL;
}

static void answered(const struct grpc_result *result, struct slice reply, void *ctx)
{
    struct bench_client *client = ctx;
    struct bench_load *load = client->load;
    struct bench_report *report = load->work->reports[client->report];
    UNUSED(reply);
    if (result->status == GRPC_OK) {
        bench_report_success(report, client->sent_at, env_now_mono(load->env));
    } else {
        struct buf error = {0};
        show_error(result, &error);
        bench_report_error(report, buf_cstr(&error));
        buf_fini(&error);
    }
    load->done++;
    client_next(client);
}

static void send_request(struct bench_client *client)
{
    struct bench_load *load = client->load;
    struct link *link = pick(client);
    if (link == NULL) {
        bench_report_error(load->work->reports[client->report], load->lost_why.text);
        load->done++;
        return;
    }
    struct grpc_metadata metadata[2];
    client->sent_at = env_now_mono(load->env);
    grpc_unary(link->conn, load->work->path, buf_slice(&client->request), metadata,
               metadata_of(load, metadata), UINT64_MAX, answered, client);
}

/* Gives an idle client the next request, if there is one and it has somewhere to send it. */
static bool is_time_over(const struct bench_load *load)
{
    uint64_t duration = load->work->duration_ns;
    return duration != 0 && env_now_mono(load->env) - load->start >= duration;
}

static void client_next(struct bench_client *client)
{
    struct bench_load *load = client->load;
    if (load->taken == load->work->total || is_time_over(load) || pick(client) == NULL) {
        return;
    }
    buf_reset(&client->request);
    client->report = load->work->next(load->work->ctx, load->taken++, &client->request);
    ASSERT(client->report < load->work->report_count);
    if (load->slot_ns == 0) {
        send_request(client);
        return;
    }
    mono_ns now = env_now_mono(load->env);
    /* One moment may have been missed and still counts: a token bucket of one. */
    mono_ns earliest = now - load->start > load->slot_ns ? now - load->slot_ns : load->start;
    client->moment = load->next_slot > earliest ? load->next_slot : earliest;
    load->next_slot = client->moment + load->slot_ns;
    list_add_tail(&load->held, &client->held);
    if (!timer_running(&load->held_timer)) {
        timer_start(load->loop, &load->held_timer, client->moment);
    }
}

static void on_held(struct timer *timer)
{
    struct bench_load *load = CONTAINER_OF(timer, struct bench_load, held_timer);
    mono_ns now = env_now_mono(load->env);
    while (!list_empty(&load->held)) {
        struct bench_client *client = CONTAINER_OF(load->held.next, struct bench_client, held);
        if (client->moment > now) {
            timer_start(load->loop, timer, client->moment);
            return;
        }
        list_del(&client->held);
        send_request(client);
    }
}

static void on_progress(struct timer *timer)
{
    struct bench_load *load = CONTAINER_OF(timer, struct bench_load, progress_timer);
    mono_ns now = env_now_mono(load->env);
    load->work->progress(load->work->ctx, load->done, now - load->start);
    timer_start(load->loop, timer, now + PROGRESS_NS);
}

static void on_period(struct timer *timer)
{
    struct bench_load *load = CONTAINER_OF(timer, struct bench_load, period_timer);
    load->work->periodic(load->work->ctx);
    timer_start(load->loop, timer, env_now_mono(load->env) + load->work->period_ns);
}

static void run_begin(struct bench_load *load, const struct bench_work *work)
{
    load->work = work;
    load->taken = 0;
    load->done = 0;
    load->start = env_now_mono(load->env);
    load->next_slot = load->start;
    load->slot_ns = work->rate == 0 ? 0 : NS_PER_SEC / work->rate;
    timer_init(&load->held_timer, on_held);
    timer_init(&load->progress_timer, on_progress);
    timer_init(&load->period_timer, on_period);
    for (size_t i = 0; i < work->report_count; i++) {
        bench_report_start(work->reports[i], load->start, env_now_wall(load->env));
    }
    if (work->progress != NULL) {
        timer_start(load->loop, &load->progress_timer, load->start + PROGRESS_NS);
    }
    if (work->period_ns != 0) {
        timer_start(load->loop, &load->period_timer, load->start + work->period_ns);
    }
}

bool bench_load_run(struct bench_load *load, const struct bench_work *work)
{
    ASSERT(load->work == NULL);
    ASSERT(work->report_count > 0);
    ASSERT(work->rate <= NS_PER_SEC);
    run_begin(load, work);
    for (size_t i = 0; i < load->client_count; i++) {
        client_next(&load->clients[i]);
    }
    /* What was taken is always answered: a lost connection ends its calls. */
    while (load->done < load->taken) {
        loop_turn(load->loop, true);
    }
    mono_ns end = env_now_mono(load->env);
    timer_stop(load->loop, &load->held_timer);
    timer_stop(load->loop, &load->progress_timer);
    timer_stop(load->loop, &load->period_timer);
    while (load->aside > 0) {
        loop_turn(load->loop, true);
    }
    if (work->progress != NULL) {
        work->progress(work->ctx, load->done, end - load->start);
    }
    for (size_t i = 0; i < work->report_count; i++) {
        bench_report_finish(work->reports[i], end);
    }
    load->work = NULL;
    return load->done == work->total;
}
