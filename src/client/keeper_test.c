/* Leases kept alive against a server in the same loop that answers what the test says. */
#include "client/keeper.h"

#include "codec/pb.h"
#include "env/posix.h"
#include "net/grpc_server.h"
#include "net/http.h"
#include "rpc.pb-c.h"

#include "unit.h"

#include <stdio.h>

struct world {
    struct env *env;
    struct loop *loop;
    struct http_server *server;
    struct client *client;
    struct client_keeper *keeper;
    struct grpc_call *call; /* the open stream, or NULL */
    unsigned streams;
    unsigned asked;
    int64_t last_lease;
    int64_t ttl_s;   /* what is answered; -1: nothing */
    bool is_garbage; /* answers what is no message */
};

static void on_start(struct grpc_call *call)
{
    struct world *world = grpc_call_server_ctx(call);
    world->call = call;
    world->streams++;
}

static void on_message(struct grpc_call *call, struct slice message)
{
    struct world *world = grpc_call_server_ctx(call);
    struct arena *arena = grpc_call_arena(call);
    Etcdserverpb__LeaseKeepAliveRequest *request = NULL;
    Etcdserverpb__LeaseKeepAliveResponse answer = ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT;
    assert_int_equal(pb_decode(arena, &etcdserverpb__lease_keep_alive_request__descriptor, message,
                               &request, NULL),
                     ERR_OK);
    world->asked++;
    world->last_lease = request->id;
    answer.id = request->id;
    answer.ttl = world->ttl_s;
    if (world->is_garbage) {
        grpc_call_send_copy(call, SLICE("\x0a\xff"));
    } else if (world->ttl_s >= 0) {
        grpc_call_send_copy(call, pb_encode_arena(&answer, arena));
    }
}

static void on_cancel(struct grpc_call *call, enum grpc_status why)
{
    struct world *world = grpc_call_server_ctx(call);
    if (world->call == call) {
        world->call = NULL;
    }
    grpc_call_finish(call, why, NULL);
}

static const struct grpc_handler handler = {
    .start = on_start, .message = on_message, .cancel = on_cancel};
static const struct grpc_method methods[] = {{"LeaseKeepAlive", GRPC_BIDI, &handler, NULL}};
static const struct grpc_service service = {"etcdserverpb.Lease", methods, 1};

static void world_init(struct world *world)
{
    struct errbuf why = {{0}};
    struct sock_addr addr;
    *world = (struct world){.ttl_s = 30};
    world->env = posix_env_new();
    world->loop = loop_new(world->env);
    struct http_options options = {.grpc_ctx = world};
    world->server = http_server_new(world->env, world->loop, &options);
    http_server_service(world->server, &service);
    assert_int_equal(http_server_listen(world->server, "127.0.0.1", "0", NULL, &why), ERR_OK);
    http_server_addr(world->server, 0, &addr);
    const char *endpoints[] = {addr.text};
    struct client_options client = {.endpoints = endpoints, .endpoint_count = 1};
    assert_int_equal(client_new(world->env, world->loop, &client, &world->client, &why), ERR_OK);
    world->keeper = client_keeper_new(world->client);
}

static void world_fini(struct world *world)
{
    client_keeper_free(&world->keeper);
    client_free(&world->client);
    http_server_free(&world->server);
    loop_free(&world->loop);
    posix_env_free(&world->env);
}

struct told {
    struct client_keep *keep;
    unsigned renewals;
    unsigned ends;
    int64_t ttl_s;
    char error[256];
    bool frees;
};

static void on_keep(struct client_keep *keep, int64_t ttl_s, const char *error, void *ctx)
{
    struct told *told = ctx;
    assert_ptr_equal(keep, told->keep);
    assert_int_equal(ttl_s > 0, error[0] == 0);
    told->renewals += ttl_s > 0;
    told->ends += ttl_s == 0;
    told->ttl_s = ttl_s;
    snprintf(told->error, sizeof(told->error), "%s", error);
    if (told->frees) {
        client_keep_free(&told->keep);
    }
}

static void start(struct world *world, struct told *told, int64_t lease, int64_t ttl_s)
{
    told->keep = client_keep_start(world->keeper, lease, ttl_s, on_keep, told);
    assert_int_equal(told->renewals + told->ends, 0); /* never from inside */
}

static void await(struct world *world, const unsigned *count, unsigned wanted)
{
    mono_ns end = env_now_mono(world->env) + 15 * NS_PER_SEC;
    while (*count < wanted) {
        assert_true(env_now_mono(world->env) < end);
        loop_turn(world->loop, true);
    }
}

TEST(keeper, a_lease_is_renewed_when_a_third_of_its_time_has_passed)
{
    struct world world;
    struct told told = {0};
    world_init(&world);
    world.ttl_s = 1;
    start(&world, &told, 7, 0);
    await(&world, &told.renewals, 1);
    mono_ns first = env_now_mono(world.env);
    await(&world, &told.renewals, 3);
    uint64_t took = env_now_mono(world.env) - first;
    assert_true(took >= 600 * NS_PER_MS); /* two thirds of a second */
    assert_int_equal(world.last_lease, 7);
    assert_int_equal(world.streams, 1);
    client_keep_free(&told.keep);
    world_fini(&world);
}

TEST(keeper, many_leases_share_a_stream_and_two_keeps_of_one_are_both_told)
{
    struct world world;
    struct told told[5] = {0};
    world_init(&world);
    for (size_t i = 0; i < 5; i++) {
        start(&world, &told[i], i < 2 ? 100 : (int64_t)i, 30);
    }
    for (size_t i = 0; i < 5; i++) {
        await(&world, &told[i].renewals, 1);
        assert_int_equal(told[i].ttl_s, 30);
    }
    assert_int_equal(world.streams, 1);
    for (size_t i = 0; i < 5; i++) {
        client_keep_free(&told[i].keep);
    }
    world_fini(&world);
}

TEST(keeper, a_lease_that_the_server_does_not_know_has_ended)
{
    struct world world;
    struct told told[2] = {0};
    world_init(&world);
    world.ttl_s = 0;
    told[0].frees = true;
    start(&world, &told[0], 7, 30);
    start(&world, &told[1], 8, 30);
    await(&world, &told[0].ends, 1);
    await(&world, &told[1].ends, 1);
    assert_string_equal(told[1].error, "etcdserver: requested lease not found");
    assert_null(told[0].keep);
    client_keep_free(&told[1].keep);
    world_fini(&world);
}

TEST(keeper, a_lost_stream_is_opened_again_and_nothing_is_given_up)
{
    struct world world;
    struct told told = {0};
    world_init(&world);
    start(&world, &told, 7, 30);
    await(&world, &told.renewals, 1);
    grpc_call_finish(world.call, GRPC_UNAVAILABLE, "going away");
    await(&world, &told.renewals, 2);
    assert_int_equal(world.streams, 2);
    assert_int_equal(told.ends, 0);
    client_keep_free(&told.keep);
    world_fini(&world);
}

TEST(keeper, an_error_that_another_try_would_not_mend_ends_all)
{
    struct world world;
    struct told told[2] = {0};
    world_init(&world);
    world.ttl_s = -1;
    start(&world, &told[0], 7, 30);
    start(&world, &told[1], 8, 30);
    await(&world, &world.asked, 2);
    grpc_call_finish(world.call, GRPC_PERMISSION_DENIED, "etcdserver: permission denied");
    for (size_t i = 0; i < 2; i++) {
        await(&world, &told[i].ends, 1);
        assert_string_equal(told[i].error, "etcdserver: permission denied");
        client_keep_free(&told[i].keep);
    }
    world_fini(&world);
}

TEST(keeper, without_an_answer_a_lease_is_given_up_when_its_time_is_over)
{
    struct world world;
    struct told told = {0};
    world_init(&world);
    world.ttl_s = -1;
    mono_ns before = env_now_mono(world.env);
    start(&world, &told, 7, 1);
    await(&world, &told.ends, 1);
    assert_true(env_now_mono(world.env) - before >= NS_PER_SEC);
    assert_true(world.asked >= 2); /* it asked again meanwhile */
    assert_int_equal(told.renewals, 0);
    client_keep_free(&told.keep);
    world_fini(&world);
}

TEST(keeper, an_answer_that_is_no_message_ends_all)
{
    struct world world;
    struct told told = {0};
    world_init(&world);
    world.is_garbage = true;
    start(&world, &told, 7, 30);
    await(&world, &told.ends, 1);
    assert_non_null(strstr(told.error, "failed to unmarshal"));
    client_keep_free(&told.keep);
    world_fini(&world);
}

TEST(keeper, the_last_one_closes_the_stream)
{
    struct world world;
    struct told told = {0};
    world_init(&world);
    start(&world, &told, 7, 30);
    await(&world, &told.renewals, 1);
    client_keep_free(&told.keep);
    while (world.call != NULL) {
        loop_turn(world.loop, true);
    }
    told = (struct told){0};
    start(&world, &told, 8, 30);
    await(&world, &told.renewals, 1);
    assert_int_equal(world.streams, 2);
    client_keep_free(&told.keep);
    world_fini(&world);
}
