/* A client against servers in the same loop that answer what a script says. */
#include "client/client_rpc.h"

#include "codec/pbwire.h"
#include "env/posix.h"
#include "net/grpc_server.h"
#include "net/http.h"
#include "rpc.pb-c.h"

#include "unit.h"

#include <stdio.h>

/* ---- the server ------------------------------------------------------------------------ */

struct answer {
    enum grpc_status status;
    const char *message;
};

#define ANSWERS_MAX 8

struct world {
    struct env *env;
    struct loop *loop;
    struct http_server *server;
    char endpoint[64];
    struct answer answers[ANSWERS_MAX]; /* of reads and writes, in turn; the last one stays */
    size_t answer_count;
    size_t asked;
    struct answer login;
    size_t logins;
    char token[64]; /* of the last read or write */
};

static void on_kv(struct grpc_call *call, struct slice message)
{
    struct world *world = grpc_call_server_ctx(call);
    struct slice token = SLICE_EMPTY;
    grpc_call_metadata(call, "token", 0, &token);
    snprintf(world->token, sizeof(world->token), "%.*s", (int)token.len, (const char *)token.data);
    size_t turn = world->asked < world->answer_count ? world->asked : world->answer_count - 1;
    world->asked++;
    if (world->answers[turn].status == GRPC_OK) {
        grpc_call_send_copy(call, message); /* an echo is an answer to bytes */
    }
    grpc_call_finish(call, world->answers[turn].status, world->answers[turn].message);
}

static void on_login(struct grpc_call *call, struct slice message)
{
    struct world *world = grpc_call_server_ctx(call);
    (void)message;
    world->logins++;
    if (world->login.status == GRPC_OK) {
        char token[32];
        Etcdserverpb__AuthenticateResponse *answer =
            pb_new(grpc_call_arena(call), &etcdserverpb__authenticate_response__descriptor);
        snprintf(token, sizeof(token), "token-%zu", world->logins);
        answer->token = token;
        grpc_call_send_copy(call, pb_encode_arena(answer, grpc_call_arena(call)));
    }
    grpc_call_finish(call, world->login.status, world->login.message);
}

static const struct grpc_handler kv_handler = {.message = on_kv};
static const struct grpc_handler login_handler = {.message = on_login};
static const struct grpc_method kv_methods[] = {{"Range", GRPC_UNARY, &kv_handler, NULL},
                                                {"Put", GRPC_UNARY, &kv_handler, NULL}};
static const struct grpc_method auth_methods[] = {
    {"Authenticate", GRPC_UNARY, &login_handler, NULL}};
static const struct grpc_service kv_service = {"etcdserverpb.KV", kv_methods, 2};
static const struct grpc_service auth_service = {"etcdserverpb.Auth", auth_methods, 1};

static void world_listen(struct world *world, const char *port)
{
    struct errbuf why = {{0}};
    struct sock_addr addr;
    struct http_options options = {.grpc_ctx = world};
    world->server = http_server_new(world->env, world->loop, &options);
    http_server_service(world->server, &kv_service);
    http_server_service(world->server, &auth_service);
    assert_int_equal(http_server_listen(world->server, "127.0.0.1", port, NULL, &why), ERR_OK);
    http_server_addr(world->server, 0, &addr);
    snprintf(world->endpoint, sizeof(world->endpoint), "%.60s", addr.text);
}

static void world_init(struct world *world)
{
    *world = (struct world){.answers = {{GRPC_OK, NULL}}, .answer_count = 1};
    world->env = posix_env_new();
    world->loop = loop_new(world->env);
    world_listen(world, "0");
}

static void world_fini(struct world *world)
{
    http_server_free(&world->server);
    loop_free(&world->loop);
    posix_env_free(&world->env);
}

/* ---- calls ----------------------------------------------------------------------------- */

struct outcome {
    struct client_call call;
    uint32_t status;
    char error[256];
    size_t reply_len;
    bool is_over;
};

static void over(struct client_call *call, const struct client_result *result, struct slice reply)
{
    struct outcome *outcome = CONTAINER_OF(call, struct outcome, call);
    outcome->status = result->status;
    outcome->reply_len = reply.len;
    snprintf(outcome->error, sizeof(outcome->error), "%s", result->error);
    outcome->is_over = true;
}

static struct client *connect_to(struct world *world, const char *const *endpoints, size_t count,
                                 const char *user)
{
    struct client_options options = {.endpoints = endpoints,
                                     .endpoint_count = count,
                                     .username = user,
                                     .password = "secret",
                                     .request_max = 1000};
    struct client *client = NULL;
    struct errbuf why = {{0}};
    assert_int_equal(client_new(world->env, world->loop, &options, &client, &why), ERR_OK);
    return client;
}

static struct client *connect_world(struct world *world, const char *user)
{
    const char *endpoints[] = {world->endpoint};
    return connect_to(world, endpoints, 1, user);
}

static void start(struct world *world, struct client *client, bool is_read, size_t len,
                  uint64_t timeout_ns, struct outcome *outcome)
{
    static const uint8_t request[2000];
    *outcome = (struct outcome){
        .call = {.path = is_read ? "/etcdserverpb.KV/Range" : "/etcdserverpb.KV/Put",
                 .request = slice_of(request, len),
                 .deadline = env_now_mono(world->env) + timeout_ns,
                 .is_repeatable = is_read,
                 .done = over}};
    client_call_start(client, &outcome->call);
    assert_false(outcome->is_over); /* never from inside */
}

static void finish(struct world *world, struct outcome *outcome)
{
    while (!outcome->is_over) {
        loop_turn(world->loop, true);
    }
}

static void run(struct world *world, struct client *client, bool is_read, struct outcome *outcome)
{
    start(world, client, is_read, 10, 10 * NS_PER_SEC, outcome);
    finish(world, outcome);
}

TEST(client, an_answer_comes_back)
{
    struct world world;
    struct outcome outcome;
    world_init(&world);
    struct client *client = connect_world(&world, NULL);
    run(&world, client, false, &outcome);
    assert_int_equal(outcome.status, GRPC_OK);
    assert_string_equal(outcome.error, "");
    assert_int_equal(outcome.reply_len, 10);
    assert_int_equal(world.asked, 1);
    assert_string_equal(client_connection_error(client), "");
    client_free(&client);
    client_free(&client);
    world_fini(&world);
}

TEST(client, a_read_is_sent_again_while_the_server_is_unavailable)
{
    struct world world;
    struct outcome outcome;
    world_init(&world);
    world.answers[0] = (struct answer){GRPC_UNAVAILABLE, "etcdserver: leader changed"};
    world.answers[1] = (struct answer){GRPC_UNAVAILABLE, "etcdserver: no leader"};
    world.answers[2] = (struct answer){GRPC_OK, NULL};
    world.answer_count = 3;
    struct client *client = connect_world(&world, NULL);
    run(&world, client, true, &outcome);
    assert_int_equal(outcome.status, GRPC_OK);
    assert_int_equal(world.asked, 3);
    client_free(&client);
    world_fini(&world);
}

TEST(client, a_write_that_may_have_been_seen_is_not_sent_again)
{
    struct world world;
    struct outcome outcome;
    world_init(&world);
    world.answers[0] = (struct answer){GRPC_UNAVAILABLE, "the server went away"};
    struct client *client = connect_world(&world, NULL);
    run(&world, client, false, &outcome);
    assert_int_equal(outcome.status, GRPC_UNAVAILABLE);
    assert_string_equal(outcome.error, "rpc error: code = Unavailable desc = the server went away");
    assert_int_equal(world.asked, 1);
    client_free(&client);
    world_fini(&world);
}

TEST(client, an_error_of_etcd_is_shown_bare_and_ends_the_call)
{
    struct world world;
    struct outcome outcome;
    world_init(&world);
    world.answers[0] = (struct answer){GRPC_OUT_OF_RANGE,
                                       "etcdserver: mvcc: required revision has been compacted"};
    struct client *client = connect_world(&world, NULL);
    run(&world, client, true, &outcome);
    assert_string_equal(outcome.error, "etcdserver: mvcc: required revision has been compacted");
    assert_int_equal(world.asked, 1);
    client_free(&client);
    world_fini(&world);
}

TEST(client, an_endpoint_that_is_down_is_passed_over)
{
    struct world world;
    struct outcome outcome;
    world_init(&world);
    const char *endpoints[] = {"127.0.0.1:1", world.endpoint, "http://127.0.0.1:1"};
    struct client *client = connect_to(&world, endpoints, 3, NULL);
    for (int i = 0; i < 5; i++) {
        run(&world, client, false, &outcome);
        assert_int_equal(outcome.status, GRPC_OK);
    }
    client_free(&client);
    world_fini(&world);
}

TEST(client, a_call_waits_for_a_server_that_comes_up_later)
{
    struct world world;
    struct outcome outcome;
    world_init(&world);
    struct client *client = connect_world(&world, NULL);
    char port[8];
    snprintf(port, sizeof(port), "%.7s", strrchr(world.endpoint, ':') + 1);
    http_server_free(&world.server);
    start(&world, client, false, 10, 10 * NS_PER_SEC, &outcome);
    for (int i = 0; i < 20 && !outcome.is_over; i++) {
        loop_turn(world.loop, true);
        if (i == 5) {
            world_listen(&world, port);
        }
    }
    if (world.server == NULL) {
        world_listen(&world, port);
    }
    finish(&world, &outcome);
    assert_int_equal(outcome.status, GRPC_OK);
    client_free(&client);
    world_fini(&world);
}

TEST(client, without_a_server_the_deadline_ends_the_call)
{
    struct world world;
    struct outcome outcome;
    world_init(&world);
    const char *endpoints[] = {"127.0.0.1:1"};
    struct client *client = connect_to(&world, endpoints, 1, NULL);
    start(&world, client, true, 10, 150 * NS_PER_MS, &outcome);
    mono_ns before = env_now_mono(world.env);
    finish(&world, &outcome);
    assert_true(env_now_mono(world.env) - before >= 100 * NS_PER_MS);
    assert_int_equal(outcome.status, GRPC_DEADLINE_EXCEEDED);
    assert_string_equal(outcome.error, "context deadline exceeded");
    assert_true(strlen(client_connection_error(client)) > 0);
    client_free(&client);
    world_fini(&world);
}

TEST(client, a_request_over_the_limit_never_leaves)
{
    struct world world;
    struct outcome outcome;
    world_init(&world);
    struct client *client = connect_world(&world, NULL);
    start(&world, client, false, 1001, 10 * NS_PER_SEC, &outcome);
    finish(&world, &outcome);
    assert_string_equal(outcome.error, "rpc error: code = ResourceExhausted desc = trying to send "
                                       "message larger than max (1001 vs. 1000)");
    assert_int_equal(world.asked, 0);
    client_free(&client);
    world_fini(&world);
}

TEST(client, freeing_it_drops_its_calls)
{
    struct world world;
    struct outcome outcomes[2];
    world_init(&world);
    const char *nowhere[] = {"127.0.0.1:1"};
    struct client *waiting = connect_to(&world, nowhere, 1, NULL);
    struct client *running = connect_world(&world, NULL);
    start(&world, waiting, true, 10, 10 * NS_PER_SEC, &outcomes[0]);
    start(&world, running, true, 10, 10 * NS_PER_SEC, &outcomes[1]);
    loop_turn(world.loop, false);
    loop_turn(world.loop, false);
    client_free(&waiting);
    client_free(&running);
    assert_false(outcomes[0].is_over);
    world_fini(&world);
}

/* ---- logging in -------------------------------------------------------------------------- */

struct login_outcome {
    bool is_over;
    char error[256];
};

static void logged_in(struct client *client, const struct client_result *result, void *ctx)
{
    struct login_outcome *outcome = ctx;
    (void)client;
    snprintf(outcome->error, sizeof(outcome->error), "%s", result->error);
    outcome->is_over = true;
}

static void log_in(struct world *world, struct client *client, struct login_outcome *outcome)
{
    *outcome = (struct login_outcome){0};
    client_login(client, logged_in, outcome);
    assert_false(outcome->is_over);
    while (!outcome->is_over) {
        loop_turn(world->loop, true);
    }
}

TEST(client, a_login_brings_a_token_that_calls_carry)
{
    struct world world;
    struct outcome outcome;
    struct login_outcome login;
    world_init(&world);
    struct client *client = connect_world(&world, "root");
    log_in(&world, client, &login);
    assert_string_equal(login.error, "");
    run(&world, client, true, &outcome);
    assert_string_equal(world.token, "token-1");
    assert_int_equal(world.logins, 1);
    client_free(&client);
    world_fini(&world);
}

TEST(client, without_a_user_there_is_no_login)
{
    struct world world;
    struct outcome outcome;
    struct login_outcome login;
    world_init(&world);
    struct client *client = connect_world(&world, "");
    log_in(&world, client, &login);
    assert_string_equal(login.error, "");
    run(&world, client, true, &outcome);
    assert_string_equal(world.token, "");
    assert_int_equal(world.logins, 0);
    client_free(&client);
    world_fini(&world);
}

TEST(client, a_server_without_authentication_is_no_error)
{
    struct world world;
    struct outcome outcome;
    struct login_outcome login;
    world_init(&world);
    world.login =
        (struct answer){GRPC_FAILED_PRECONDITION, "etcdserver: authentication is not enabled"};
    struct client *client = connect_world(&world, "root");
    log_in(&world, client, &login);
    assert_string_equal(login.error, "");
    run(&world, client, true, &outcome);
    assert_string_equal(world.token, "");
    client_free(&client);
    world_fini(&world);
}

TEST(client, a_wrong_password_is_said)
{
    struct world world;
    struct login_outcome login;
    static const char text[] = "etcdserver: authentication failed, invalid user ID or password";
    world_init(&world);
    world.login = (struct answer){GRPC_INVALID_ARGUMENT, text};
    struct client *client = connect_world(&world, "root");
    log_in(&world, client, &login);
    assert_string_equal(login.error, text);
    client_free(&client);
    world_fini(&world);
}

TEST(client, a_token_that_is_no_longer_good_is_replaced)
{
    struct world world;
    struct outcome outcomes[2];
    struct login_outcome login;
    world_init(&world);
    world.answers[0] = (struct answer){GRPC_UNAUTHENTICATED, "etcdserver: invalid auth token"};
    world.answers[1] = (struct answer){GRPC_UNAUTHENTICATED, "etcdserver: invalid auth token"};
    world.answers[2] = (struct answer){GRPC_OK, NULL};
    world.answer_count = 3;
    struct client *client = connect_world(&world, "root");
    log_in(&world, client, &login);
    start(&world, client, false, 10, 10 * NS_PER_SEC, &outcomes[0]);
    start(&world, client, false, 10, 10 * NS_PER_SEC, &outcomes[1]);
    finish(&world, &outcomes[0]);
    finish(&world, &outcomes[1]);
    assert_int_equal(outcomes[0].status, GRPC_OK);
    assert_int_equal(outcomes[1].status, GRPC_OK);
    assert_string_equal(world.token, "token-2");
    assert_int_equal(world.logins, 2);
    client_free(&client);
    world_fini(&world);
}

TEST(client, when_the_new_login_fails_so_does_the_call)
{
    struct world world;
    struct outcome outcome;
    struct login_outcome login;
    world_init(&world);
    world.answers[0] = (struct answer){GRPC_UNAUTHENTICATED, "etcdserver: invalid auth token"};
    struct client *client = connect_world(&world, "root");
    log_in(&world, client, &login);
    world.login = (struct answer){GRPC_INVALID_ARGUMENT, "etcdserver: user name not found"};
    run(&world, client, false, &outcome);
    assert_string_equal(outcome.error, "etcdserver: user name not found");
    assert_int_equal(world.asked, 1);
    client_free(&client);
    world_fini(&world);
}

/* ---- refusals -------------------------------------------------------------------------- */

TEST(client, refuses_options_that_make_no_sense)
{
    static const struct {
        const char *endpoint;
        size_t request_max;
        size_t reply_max;
        bool wants_tls;
        enum err err;
        const char *why;
    } cases[] = {
        {NULL, 0, 0, false, ERR_INVALID, "etcdclient: no available endpoints"},
        {"127.0.0.1:1", 10, 5, false, ERR_INVALID,
         "gRPC message recv limit (5 bytes) must be greater than send limit (10 bytes)"},
        {"https://127.0.0.1:1", 0, 0, false, ERR_UNSUPPORTED,
         "endpoint \"https://127.0.0.1:1\" needs TLS, which is not built into this program yet"},
        {"127.0.0.1:1", 0, 0, true, ERR_UNSUPPORTED,
         "endpoint \"127.0.0.1:1\" needs TLS, which is not built into this program yet"},
        {"localhost", 0, 0, false, ERR_INVALID, "endpoint \"localhost\": missing port in address"},
    };
    struct world world;
    world_init(&world);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct client_options options = {.endpoints = &cases[i].endpoint,
                                         .endpoint_count = cases[i].endpoint != NULL,
                                         .request_max = cases[i].request_max,
                                         .reply_max = cases[i].reply_max,
                                         .wants_tls = cases[i].wants_tls};
        struct client *client = NULL;
        struct errbuf why = {{0}};
        assert_int_equal(client_new(world.env, world.loop, &options, &client, &why), cases[i].err);
        assert_string_equal(why.text, cases[i].why);
        assert_null(client);
    }
    world_fini(&world);
}

TEST(client, endpoints_are_taken_apart)
{
    static const struct {
        const char *text;
        const char *host;
        const char *port;
        const char *authority;
        enum endpoint_security security;
    } cases[] = {
        {"127.0.0.1:2379", "127.0.0.1", "2379", "127.0.0.1:2379", ENDPOINT_EITHER},
        {"http://node1:2379", "node1", "2379", "node1:2379", ENDPOINT_CLEARTEXT},
        {"http://u:p@node1:2379/x?y", "node1", "2379", "node1:2379", ENDPOINT_CLEARTEXT},
        {"https://node1:2379", "node1", "2379", "node1:2379", ENDPOINT_TLS},
        {"[::1]:2379", "::1", "2379", "[::1]:2379", ENDPOINT_EITHER},
        {"http://[fe80::1]:2379", "fe80::1", "2379", "[fe80::1]:2379", ENDPOINT_CLEARTEXT},
        {":2379", "localhost", "2379", ":2379", ENDPOINT_EITHER},
        {"unix:///run/etcd.sock", "/run/etcd.sock", "unix", "etcd.sock", ENDPOINT_EITHER},
        {"unix://etcd.sock", "etcd.sock", "unix", "etcd.sock", ENDPOINT_EITHER},
        {"unix:dir/etcd.sock", "dir/etcd.sock", "unix", "etcd.sock", ENDPOINT_EITHER},
        {"unixs://etcd.sock", "etcd.sock", "unix", "etcd.sock", ENDPOINT_TLS},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct endpoint endpoint;
        assert_int_equal(endpoint_parse(&arena, cases[i].text, &endpoint, NULL), ERR_OK);
        assert_string_equal(endpoint.host, cases[i].host);
        assert_string_equal(endpoint.port, cases[i].port);
        assert_string_equal(endpoint.authority, cases[i].authority);
        assert_int_equal(endpoint.security, cases[i].security);
        assert_string_equal(endpoint.text, cases[i].text);
    }
    arena_fini(&arena);
}

TEST(client, endpoints_that_are_none_are_refused_by_name)
{
    static const char *const cases[][2] = {
        {"", "endpoint \"\": missing port in address"},
        {"localhost", "endpoint \"localhost\": missing port in address"},
        {"localhost:", "endpoint \"localhost:\": missing port in address"},
        {"http://", "endpoint \"http://\": missing port in address"},
        {"http://node/path:1", "endpoint \"http://node/path:1\": missing port in address"},
        {"::1:2379", "endpoint \"::1:2379\": too many colons in address"},
        {"[::1]", "endpoint \"[::1]\": missing port in address"},
        {"[::1:2379", "endpoint \"[::1:2379\": missing port in address"},
        {"[:1", "endpoint \"[:1\": missing port in address"},
        {"ftp://node:1", "endpoint \"ftp://node:1\": unknown scheme: use http, https or unix"},
        {"unix://", "endpoint \"unix://\": no path to a socket"},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct endpoint endpoint;
        struct errbuf why = {{0}};
        assert_int_equal(endpoint_parse(&arena, cases[i][0], &endpoint, &why), ERR_INVALID);
        assert_string_equal(why.text, cases[i][1]);
    }
    arena_fini(&arena);
}

TEST(client, knows_the_errors_of_etcd)
{
    assert_true(client_error_is_etcd("etcdserver: Peer URLs already exists"));
    assert_true(client_error_is_etcd("etcdserver: key not found"));
    assert_true(client_error_is_etcd("etcdserver: wrong downgrade target version format"));
    assert_false(client_error_is_etcd("etcdserver: key not foun"));
    assert_false(client_error_is_etcd(""));
    assert_false(client_error_is_etcd("auth: token signing attempted with verify-only key"));
    assert_false(client_error_is_etcd("etcdserver: request timed out, leader transfer took too "
                                      "long"));
}

TEST(client, what_may_be_sent_again)
{
    static const char learner[] = "etcdserver: rpc not supported for learner";
    assert_true(client_error_is_retryable(GRPC_UNAVAILABLE, "x", true, 1));
    assert_false(client_error_is_retryable(GRPC_UNAVAILABLE, "x", false, 1));
    assert_false(client_error_is_retryable(GRPC_INTERNAL, "x", true, 1));
    assert_true(client_error_is_retryable(GRPC_FAILED_PRECONDITION, learner, false, 2));
    assert_false(client_error_is_retryable(GRPC_FAILED_PRECONDITION, learner, true, 1));
}

/* A reply to a Txn with so many replies to Txns inside of each other. */
static struct buf nested_reply(size_t levels)
{
    enum { RESPONSES = 3, RESPONSE_TXN = 4 };
    size_t *lens = mem_array(levels + 1, sizeof(lens[0])); /* of the reply with so many inside */
    struct buf out = {0};
    for (size_t i = 1; i <= levels; i++) {
        lens[i] = pbwire_bytes_size(RESPONSES, pbwire_bytes_size(RESPONSE_TXN, lens[i - 1]));
    }
    uint8_t *at = buf_extend(&out, lens[levels]);
    for (size_t i = levels; i > 0; i--) {
        at = pbwire_put_head(at, RESPONSES, pbwire_bytes_size(RESPONSE_TXN, lens[i - 1]));
        at = pbwire_put_head(at, RESPONSE_TXN, lens[i - 1]);
    }
    assert_true(at == out.data + out.len);
    mem_free(lens);
    return out;
}

static enum err decode_nested(size_t levels, struct errbuf *why)
{
    struct arena arena;
    struct buf bytes = nested_reply(levels);
    void *reply = NULL;
    arena_init(&arena);
    enum err err = client_rpc_decode(&arena, CLIENT_TXN, buf_slice(&bytes), &reply, why);
    assert_true((err == ERR_OK) == (reply != NULL));
    arena_fini(&arena);
    buf_fini(&bytes);
    return err;
}

/* Who is told of it walks it recursively. */
TEST(client, a_reply_that_is_nested_without_end_is_refused)
{
    struct errbuf why = {{0}};
    assert_int_equal(decode_nested(0, &why), ERR_OK);
    assert_int_equal(decode_nested(CLIENT_REPLY_DEPTH_MAX / 2 - 1, &why), ERR_OK);
    assert_int_equal(decode_nested(CLIENT_REPLY_DEPTH_MAX / 2, &why), ERR_TOO_LARGE);
    assert_string_not_equal(why.text, "");
    assert_int_equal(decode_nested(200000, &why), ERR_TOO_LARGE);
}
