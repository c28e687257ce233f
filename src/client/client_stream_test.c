/* Streams of a client against a server in the same loop that echoes what it gets. */
#include "client/client_stream.h"

#include "codec/pb.h"
#include "env/posix.h"
#include "net/grpc_server.h"
#include "net/http.h"
#include "rpc.pb-c.h"

#include "unit.h"

#include <stdio.h>

/* ---- the server ------------------------------------------------------------------------ */

struct world {
    struct env *env;
    struct loop *loop;
    struct http_server *server;
    char endpoint[64];
    char port[8];
    bool wants_token; /* streams without the newest token are refused */
    size_t logins;
    size_t streams;
    char token[32]; /* of the last stream */
    bool has_leader_field;
};

static void on_start(struct grpc_call *call)
{
    struct world *world = grpc_call_server_ctx(call);
    struct slice value = SLICE_EMPTY;
    char newest[32];
    world->has_leader_field = grpc_call_metadata(call, "hasleader", 0, &value);
    value = SLICE_EMPTY;
    grpc_call_metadata(call, "token", 0, &value);
    snprintf(world->token, sizeof(world->token), "%.*s", (int)value.len, (const char *)value.data);
    snprintf(newest, sizeof(newest), "token-%zu", world->logins);
    world->streams++;
    if (world->wants_token && (world->logins < 2 || strcmp(newest, world->token) != 0)) {
        grpc_call_finish(call, GRPC_UNAUTHENTICATED, "etcdserver: invalid auth token");
    }
}

/* "end" is answered with an error, everything else with itself. */
static void on_message(struct grpc_call *call, struct slice message)
{
    if (slice_eq_str(message, "end")) {
        grpc_call_finish(call, GRPC_OUT_OF_RANGE,
                         "etcdserver: mvcc: required revision has been compacted");
        return;
    }
    grpc_call_send_copy(call, message);
}

static void on_half_close(struct grpc_call *call)
{
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void on_cancel(struct grpc_call *call, enum grpc_status why)
{
    grpc_call_finish(call, why, NULL);
}

static void on_login(struct grpc_call *call, struct slice message)
{
    struct world *world = grpc_call_server_ctx(call);
    char token[32];
    (void)message;
    world->logins++;
    Etcdserverpb__AuthenticateResponse *answer =
        pb_new(grpc_call_arena(call), &etcdserverpb__authenticate_response__descriptor);
    snprintf(token, sizeof(token), "token-%zu", world->logins);
    answer->token = token;
    grpc_call_send_copy(call, pb_encode_arena(answer, grpc_call_arena(call)));
    grpc_call_finish(call, GRPC_OK, NULL);
}

static const struct grpc_handler watch_handler = {
    .start = on_start, .message = on_message, .half_close = on_half_close, .cancel = on_cancel};
static const struct grpc_handler login_handler = {.message = on_login};
static const struct grpc_method watch_methods[] = {{"Watch", GRPC_BIDI, &watch_handler, NULL}};
static const struct grpc_method auth_methods[] = {
    {"Authenticate", GRPC_UNARY, &login_handler, NULL}};
static const struct grpc_service watch_service = {"etcdserverpb.Watch", watch_methods, 1};
static const struct grpc_service auth_service = {"etcdserverpb.Auth", auth_methods, 1};

static void world_listen(struct world *world)
{
    struct errbuf why = {{0}};
    struct sock_addr addr;
    struct http_options options = {.grpc_ctx = world};
    world->server = http_server_new(world->env, world->loop, &options);
    http_server_service(world->server, &watch_service);
    http_server_service(world->server, &auth_service);
    const char *port = world->port[0] == 0 ? "0" : world->port;
    assert_int_equal(http_server_listen(world->server, "127.0.0.1", port, NULL, &why), ERR_OK);
    http_server_addr(world->server, 0, &addr);
    snprintf(world->endpoint, sizeof(world->endpoint), "%.60s", addr.text);
    snprintf(world->port, sizeof(world->port), "%.7s", strrchr(world->endpoint, ':') + 1);
}

static void world_init(struct world *world)
{
    *world = (struct world){0};
    world->env = posix_env_new();
    world->loop = loop_new(world->env);
    world_listen(world);
}

static void world_fini(struct world *world)
{
    http_server_free(&world->server);
    loop_free(&world->loop);
    posix_env_free(&world->env);
}

/* ---- the client ------------------------------------------------------------------------ */

struct user {
    struct client_stream stream;
    struct buf received; /* messages, each with a comma behind it */
    bool is_over;
    uint32_t status;
    char error[256];
    unsigned opened;
};

static void user_opened(struct client_stream *stream)
{
    CONTAINER_OF(stream, struct user, stream)->opened++;
}

static void user_message(struct client_stream *stream, struct slice message)
{
    struct user *user = CONTAINER_OF(stream, struct user, stream);
    buf_append_slice(&user->received, message);
    buf_append_byte(&user->received, ',');
}

static void user_end(struct client_stream *stream, const struct client_result *result)
{
    struct user *user = CONTAINER_OF(stream, struct user, stream);
    assert_false(client_stream_is_open(stream));
    user->is_over = true;
    user->status = result->status;
    snprintf(user->error, sizeof(user->error), "%s", result->error);
}

static const struct client_stream_handler user_handler = {
    .opened = user_opened, .message = user_message, .end = user_end};

static struct client *connect_to(struct world *world, const char *const *endpoints, size_t count,
                                 const char *name)
{
    struct client_options options = {
        .endpoints = endpoints, .endpoint_count = count, .username = name, .password = "secret"};
    struct client *client = NULL;
    struct errbuf why = {{0}};
    assert_int_equal(client_new(world->env, world->loop, &options, &client, &why), ERR_OK);
    return client;
}

static struct client *connect_world(struct world *world, const char *name)
{
    const char *endpoints[] = {world->endpoint};
    return connect_to(world, endpoints, 1, name);
}

static void user_open(struct user *user, struct client *client, mono_ns deadline)
{
    user->is_over = false;
    user->stream.path = "/etcdserverpb.Watch/Watch";
    user->stream.handler = &user_handler;
    user->stream.deadline = deadline;
    client_stream_open(client, &user->stream);
}

static void user_await(struct world *world, struct user *user, const char *received)
{
    mono_ns end = env_now_mono(world->env) + 20 * NS_PER_SEC;
    while (strcmp(buf_cstr(&user->received), received) != 0) {
        assert_false(user->is_over);
        assert_true(env_now_mono(world->env) < end);
        loop_turn(world->loop, true);
    }
}

static void user_await_end(struct world *world, struct user *user)
{
    mono_ns end = env_now_mono(world->env) + 20 * NS_PER_SEC;
    while (!user->is_over) {
        assert_true(env_now_mono(world->env) < end);
        loop_turn(world->loop, true);
    }
}

static void user_fini(struct user *user)
{
    client_stream_cancel(&user->stream);
    buf_fini(&user->received);
}

TEST(client_stream, messages_go_and_come_in_order_also_those_sent_before_it_stands)
{
    struct world world;
    struct user user = {0};
    world_init(&world);
    struct client *client = connect_world(&world, NULL);
    user_open(&user, client, UINT64_MAX);
    client_stream_send(&user.stream, SLICE("one"));
    client_stream_send(&user.stream, SLICE(""));
    client_stream_send(&user.stream, SLICE("two"));
    assert_int_equal(user.received.len, 0); /* never from inside */
    user_await(&world, &user, "one,,two,");
    client_stream_send(&user.stream, SLICE("three"));
    user_await(&world, &user, "one,,two,three,");
    assert_int_equal(user.opened, 1);
    client_stream_close_send(&user.stream);
    user_await_end(&world, &user);
    assert_int_equal(user.status, GRPC_OK);
    assert_string_equal(user.error, "");
    user_fini(&user);
    client_free(&client);
    world_fini(&world);
}

TEST(client_stream, half_closed_before_it_stands)
{
    struct world world;
    struct user user = {0};
    world_init(&world);
    struct client *client = connect_world(&world, NULL);
    user_open(&user, client, UINT64_MAX);
    client_stream_send(&user.stream, SLICE("only"));
    client_stream_close_send(&user.stream);
    user_await_end(&world, &user);
    assert_int_equal(user.status, GRPC_OK);
    assert_string_equal(buf_cstr(&user.received), "only,");
    user_fini(&user);
    client_free(&client);
    world_fini(&world);
}

TEST(client_stream, an_error_of_etcd_is_shown_bare)
{
    struct world world;
    struct user user = {0};
    world_init(&world);
    struct client *client = connect_world(&world, NULL);
    user_open(&user, client, UINT64_MAX);
    client_stream_send(&user.stream, SLICE("end"));
    user_await_end(&world, &user);
    assert_int_equal(user.status, GRPC_OUT_OF_RANGE);
    assert_string_equal(user.error, "etcdserver: mvcc: required revision has been compacted");
    user_fini(&user);
    client_free(&client);
    world_fini(&world);
}

TEST(client_stream, an_endpoint_that_is_down_is_passed_over)
{
    struct world world;
    world_init(&world);
    const char *endpoints[] = {"127.0.0.1:1", world.endpoint};
    struct client *client = connect_to(&world, endpoints, 2, NULL);
    for (int i = 0; i < 3; i++) {
        struct user user = {0};
        user_open(&user, client, UINT64_MAX);
        client_stream_send(&user.stream, SLICE("x"));
        user_await(&world, &user, "x,");
        user_fini(&user);
    }
    client_free(&client);
    world_fini(&world);
}

TEST(client_stream, it_ends_with_its_server_and_can_be_opened_again)
{
    struct world world;
    struct user user = {0};
    world_init(&world);
    struct client *client = connect_world(&world, NULL);
    user_open(&user, client, UINT64_MAX);
    client_stream_send(&user.stream, SLICE("before"));
    user_await(&world, &user, "before,");
    http_server_free(&world.server);
    user_await_end(&world, &user);
    assert_int_equal(user.status, GRPC_UNAVAILABLE);
    user_open(&user, client, UINT64_MAX);
    client_stream_send(&user.stream, SLICE("after"));
    for (int i = 0; i < 5; i++) {
        loop_turn(world.loop, true);
    }
    assert_false(user.is_over); /* it waits */
    world_listen(&world);
    user_await(&world, &user, "before,after,");
    assert_int_equal(user.opened, 2);
    user_fini(&user);
    client_free(&client);
    world_fini(&world);
}

TEST(client_stream, without_a_server_the_deadline_ends_it)
{
    struct world world;
    struct user user = {0};
    world_init(&world);
    const char *endpoints[] = {"127.0.0.1:1"};
    struct client *client = connect_to(&world, endpoints, 1, NULL);
    user_open(&user, client, env_now_mono(world.env) + 100 * NS_PER_MS);
    user_await_end(&world, &user);
    assert_int_equal(user.status, GRPC_DEADLINE_EXCEEDED);
    assert_string_equal(user.error, "context deadline exceeded");
    user_fini(&user);
    client_free(&client);
    world_fini(&world);
}

TEST(client_stream, a_canceled_one_is_not_told_of_its_end)
{
    struct world world;
    struct user user = {0};
    struct user waiting = {0};
    world_init(&world);
    struct client *client = connect_world(&world, NULL);
    user_open(&user, client, UINT64_MAX);
    user_open(&waiting, client, UINT64_MAX);
    client_stream_cancel(&waiting.stream);
    client_stream_send(&user.stream, SLICE("x"));
    user_await(&world, &user, "x,");
    client_stream_cancel(&user.stream);
    client_stream_cancel(&user.stream);
    assert_false(client_stream_is_open(&user.stream));
    for (int i = 0; i < 5; i++) {
        loop_turn(world.loop, false);
    }
    assert_false(user.is_over);
    assert_false(waiting.is_over);
    assert_int_equal(world.streams, 1);
    user_fini(&user);
    user_fini(&waiting);
    client_free(&client);
    world_fini(&world);
}

TEST(client_stream, freeing_the_client_ends_all_without_a_word)
{
    struct world world;
    struct user users[2] = {0};
    world_init(&world);
    const char *nowhere[] = {"127.0.0.1:1"};
    struct client *waiting = connect_to(&world, nowhere, 1, NULL);
    struct client *running = connect_world(&world, NULL);
    user_open(&users[0], waiting, UINT64_MAX);
    user_open(&users[1], running, UINT64_MAX);
    client_stream_send(&users[0].stream, SLICE("never"));
    client_stream_send(&users[1].stream, SLICE("x"));
    user_await(&world, &users[1], "x,");
    client_free(&waiting);
    client_free(&running);
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        assert_false(users[i].is_over);
        assert_false(client_stream_is_open(&users[i].stream));
        buf_fini(&users[i].received);
    }
    world_fini(&world);
}

TEST(client_stream, a_token_that_is_no_longer_good_is_replaced_before_the_next_try)
{
    struct world world;
    struct user user = {0};
    world_init(&world);
    world.wants_token = true;
    world.logins = 1;
    struct client *client = connect_world(&world, "root");
    user_open(&user, client, UINT64_MAX);
    user_await_end(&world, &user);
    assert_int_equal(user.status, GRPC_UNAUTHENTICATED);
    assert_string_equal(user.error, "etcdserver: invalid auth token");
    user_open(&user, client, UINT64_MAX);
    client_stream_send(&user.stream, SLICE("x"));
    user_await(&world, &user, "x,");
    assert_string_equal(world.token, "token-2");
    user_fini(&user);
    client_free(&client);
    world_fini(&world);
}

TEST(client_stream, a_leader_is_asked_for_when_wanted)
{
    struct world world;
    struct user users[2] = {0};
    world_init(&world);
    struct client *client = connect_world(&world, NULL);
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        users[i].stream.requires_leader = i == 1;
        user_open(&users[i], client, UINT64_MAX);
        client_stream_send(&users[i].stream, SLICE("x"));
        user_await(&world, &users[i], "x,");
        assert_int_equal(world.has_leader_field, i == 1);
        user_fini(&users[i]);
    }
    client_free(&client);
    world_fini(&world);
}

TEST(client_stream, pauses_grow_and_stay_within_bounds)
{
    struct world world;
    world_init(&world);
    struct client *client = connect_world(&world, NULL);
    static const uint64_t middle_ms[] = {25, 50, 100, 100, 100};
    for (unsigned i = 0; i < ARRAY_LEN(middle_ms); i++) {
        uint64_t pause = client_stream_pause_ns(client, i);
        assert_true(pause >= middle_ms[i] * NS_PER_MS * 3 / 4);
        assert_true(pause < middle_ms[i] * NS_PER_MS * 5 / 4);
    }
    client_free(&client);
    world_fini(&world);
}
