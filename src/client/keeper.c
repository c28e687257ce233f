/* A keep's timer fires when it is to be renewed, and then as often as it takes until an answer
 * comes or its deadline passes. Requests carry nothing but the id, so that answers are matched by
 * it; two keeps of one lease each get every answer. */
#include "client/keeper.h"

#include "base/mem.h"
#include "client/client_priv.h"
#include "codec/pb.h"
#include "rpc.pb-c.h"

#define FIRST_ANSWER_NS (5 * NS_PER_SEC) /* where the time left is not known */
#define TTL_MAX_S ((int64_t)9000000000)  /* what a server grants at most */
#define AUTH_TRIES_MAX 10
#define NOT_FOUND "etcdserver: requested lease not found"

struct client_keep {
    struct client_keeper *keeper;
    struct list link;     /* keeper->keeps; on none once it has ended */
    struct map_node node; /* keeper->ids, as long as it is on the list */
    uint64_t round;       /* the last answer it was told of, by the keeper's count */
    int64_t lease;
    mono_ns deadline; /* the lease may be gone from then on */
    struct timer timer;
    client_keep_fn *fn;
    void *ctx;
    bool has_ended;
};

struct client_keeper {
    struct client *client;
    struct client_stream stream;
    struct timer timer; /* until the stream is opened again */
    struct list keeps;
    struct map ids;
    uint64_t round;
    struct arena arena;
    struct buf out;
    unsigned attempts;
    unsigned auth_attempts;
};

static struct client_keep *keep_of(struct list *node)
{
    return CONTAINER_OF(node, struct client_keep, link);
}

static uint64_t id_hash(int64_t lease)
{
    return (uint64_t)lease * 0x9e3779b97f4a7c15u;
}

struct answered {
    int64_t lease;
    uint64_t round;
};

/* A keep of this lease that has not been told in this round. */
static bool id_eq(const struct map_node *node, const void *key)
{
    const struct client_keep *keep = CONTAINER_OF_CONST(node, struct client_keep, node);
    const struct answered *answered = key;
    return keep->lease == answered->lease && keep->round != answered->round;
}

static void take_off(struct client_keep *keep)
{
    if (!keep->has_ended) {
        map_remove(&keep->keeper->ids, &keep->node);
    }
    list_del(&keep->link);
    timer_stop(keep->keeper->client->loop, &keep->timer);
    keep->has_ended = true;
}

static mono_ns after_s(const struct client_keeper *keeper, int64_t ttl_s)
{
    int64_t bounded = ttl_s > TTL_MAX_S ? TTL_MAX_S : ttl_s;
    return loop_now(keeper->client->loop) + (uint64_t)bounded * NS_PER_SEC;
}

static void send_request(struct client_keep *keep)
{
    struct client_keeper *keeper = keep->keeper;
    Etcdserverpb__LeaseKeepAliveRequest request = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    request.id = keep->lease;
    buf_reset(&keeper->out);
    pb_encode(&request, &keeper->out);
    client_stream_send(&keeper->stream, buf_slice(&keeper->out));
}

static void end_keep(struct client_keep *keep, const char *error)
{
    take_off(keep);
    keep->fn(keep, 0, error, keep->ctx);
}

/* Takes them off one by one, since those who are told may free any. */
static void end_all(struct client_keeper *keeper, const char *error)
{
    while (!list_empty(&keeper->keeps)) {
        end_keep(keep_of(keeper->keeps.next), error);
    }
}

/* ---- the stream -------------------------------------------------------------------------- */

static void open_stream(struct client_keeper *keeper)
{
    if (list_empty(&keeper->keeps)) {
        return;
    }
    client_stream_open(keeper->client, &keeper->stream);
    LIST_FOR_EACH (&keeper->keeps, node) {
        send_request(keep_of(node));
    }
}

static void on_reopen(struct timer *timer)
{
    open_stream(CONTAINER_OF(timer, struct client_keeper, timer));
}

static void on_end(struct client_stream *stream, const struct client_result *result)
{
    struct client_keeper *keeper = CONTAINER_OF(stream, struct client_keeper, stream);
    struct client *client = keeper->client;
    bool wants_login = client__wants_login(client, result->message);
    bool is_passing = result->status == GRPC_UNAVAILABLE || result->status == GRPC_INTERNAL;
    keeper->auth_attempts += wants_login;
    if (!is_passing && !(wants_login && keeper->auth_attempts < AUTH_TRIES_MAX)) {
        end_all(keeper, result->error);
        return;
    }
    timer_start(client->loop, &keeper->timer,
                loop_now(client->loop) + client_stream_pause_ns(client, keeper->attempts++));
}

static void renewed(struct client_keep *keep, int64_t ttl_s)
{
    struct client_keeper *keeper = keep->keeper;
    keep->deadline = after_s(keeper, ttl_s);
    mono_ns now = loop_now(keeper->client->loop);
    timer_start(keeper->client->loop, &keep->timer, now + (keep->deadline - now) / 3);
    keep->fn(keep, ttl_s, "", keep->ctx);
}

/* Each keep of the lease, whatever those who are told free. */
static void on_answer(struct client_keeper *keeper, int64_t lease, int64_t ttl_s)
{
    struct answered answered = {.lease = lease, .round = ++keeper->round};
    for (struct map_node *node = map_find(&keeper->ids, id_hash(lease), id_eq, &answered);
         node != NULL; node = map_find(&keeper->ids, id_hash(lease), id_eq, &answered)) {
        struct client_keep *keep = CONTAINER_OF(node, struct client_keep, node);
        keep->round = answered.round;
        if (ttl_s > 0) {
            renewed(keep, ttl_s);
        } else {
            end_keep(keep, NOT_FOUND);
        }
    }
}

static void on_message(struct client_stream *stream, struct slice message)
{
    struct client_keeper *keeper = CONTAINER_OF(stream, struct client_keeper, stream);
    Etcdserverpb__LeaseKeepAliveResponse *answer = NULL;
    keeper->attempts = 0;
    keeper->auth_attempts = 0;
    if (pb_decode_limits(&keeper->arena, &etcdserverpb__lease_keep_alive_response__descriptor,
                         message, PB_LIMITS_NONE, &answer, NULL) == ERR_OK) {
        on_answer(keeper, answer->id, answer->ttl);
    } else {
        client_stream_cancel(&keeper->stream);
        end_all(keeper, "rpc error: code = Internal desc = grpc: failed to unmarshal the received "
                        "message");
    }
    arena_reset(&keeper->arena);
}

static const struct client_stream_handler stream_events = {.message = on_message, .end = on_end};

/* ---- keeps ------------------------------------------------------------------------------- */

#define RETRY_NS (500 * NS_PER_MS)

static void on_due(struct timer *timer)
{
    struct client_keep *keep = CONTAINER_OF(timer, struct client_keep, timer);
    struct client_keeper *keeper = keep->keeper;
    mono_ns now = loop_now(keeper->client->loop);
    if (now >= keep->deadline) {
        end_keep(keep, NOT_FOUND);
        return;
    }
    if (client_stream_is_open(&keeper->stream)) {
        send_request(keep);
    }
    mono_ns next = now + RETRY_NS;
    timer_start(keeper->client->loop, &keep->timer, next < keep->deadline ? next : keep->deadline);
}

struct client_keep *client_keep_start(struct client_keeper *keeper, int64_t lease, int64_t ttl_s,
                                      client_keep_fn *fn, void *ctx)
{
    struct client_keep *keep = NEW(struct client_keep);
    struct loop *loop = keeper->client->loop;
    keep->keeper = keeper;
    keep->lease = lease;
    keep->fn = fn;
    keep->ctx = ctx;
    keep->deadline = ttl_s > 0 ? after_s(keeper, ttl_s) : loop_now(loop) + FIRST_ANSWER_NS;
    timer_init(&keep->timer, on_due);
    list_init(&keep->link);
    list_add_tail(&keeper->keeps, &keep->link);
    map_insert(&keeper->ids, &keep->node, id_hash(lease));
    timer_start(loop, &keep->timer, loop_now(loop) + RETRY_NS);
    if (client_stream_is_open(&keeper->stream)) {
        send_request(keep);
    } else if (!timer_running(&keeper->timer)) {
        open_stream(keeper);
    }
    return keep;
}

void client_keep_free(struct client_keep **out)
{
    struct client_keep *keep = *out;
    if (keep == NULL) {
        return;
    }
    *out = NULL;
    struct client_keeper *keeper = keep->keeper;
    take_off(keep);
    mem_free(keep);
    if (list_empty(&keeper->keeps)) {
        client_stream_cancel(&keeper->stream);
        timer_stop(keeper->client->loop, &keeper->timer);
    }
}

struct client_keeper *client_keeper_new(struct client *client)
{
    struct client_keeper *keeper = NEW(struct client_keeper);
    keeper->client = client;
    keeper->stream = (struct client_stream){.path = "/etcdserverpb.Lease/LeaseKeepAlive",
                                            .handler = &stream_events,
                                            .deadline = UINT64_MAX,
                                            .requires_leader = true};
    timer_init(&keeper->timer, on_reopen);
    list_init(&keeper->keeps);
    map_init(&keeper->ids);
    arena_init(&keeper->arena);
    return keeper;
}

void client_keeper_free(struct client_keeper **out)
{
    struct client_keeper *keeper = *out;
    if (keeper == NULL) {
        return;
    }
    ASSERT(list_empty(&keeper->keeps));
    client_stream_cancel(&keeper->stream);
    timer_stop(keeper->client->loop, &keeper->timer);
    map_fini(&keeper->ids);
    buf_fini(&keeper->out);
    arena_fini(&keeper->arena);
    mem_free(keeper);
    *out = NULL;
}
