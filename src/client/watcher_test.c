/* Watches against a server in the same loop whose answers the test writes. */
#include "client/watcher.h"

#include "codec/pb.h"
#include "env/posix.h"
#include "net/grpc_server.h"
#include "net/http.h"

#include "unit.h"

#include <stdio.h>

/* ---- the server ------------------------------------------------------------------------ */

struct world {
    struct env *env;
    struct loop *loop;
    struct http_server *server;
    char endpoint[64];
    struct client *client;
    struct client_watcher *watcher;
    struct grpc_call *call; /* the open stream, or NULL */
    struct buf requests;    /* as text: "create a..b @5;" "cancel 3;" "progress;" */
    unsigned streams;
    enum grpc_status login_status;
    unsigned logins;
};

static void text_of(const Etcdserverpb__WatchRequest *request, struct buf *out)
{
    if (request->request_union_case == ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST) {
        const Etcdserverpb__WatchCreateRequest *create = request->create_request;
        buf_printf(out, "create %.*s", (int)create->key.len, (const char *)create->key.data);
        if (create->range_end.len > 0) {
            buf_printf(out, "..%.*s", (int)create->range_end.len,
                       (const char *)create->range_end.data);
        }
        buf_printf(out, " @%lld", (long long)create->start_revision);
        buf_append_str(out, create->prev_kv ? " prev" : "");
        buf_append_str(out, create->progress_notify ? " progress" : "");
        buf_append_str(out, create->fragment ? " fragment" : "");
        for (size_t i = 0; i < create->n_filters; i++) {
            buf_printf(out, " filter%d", (int)create->filters[i]);
        }
    } else if (request->request_union_case ==
               ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST) {
        buf_printf(out, "cancel %lld", (long long)request->cancel_request->watch_id);
    } else {
        buf_append_str(out, "progress");
    }
    buf_append_byte(out, ';');
}

static void on_start(struct grpc_call *call)
{
    struct world *world = grpc_call_server_ctx(call);
    world->call = call;
    world->streams++;
}

static void on_message(struct grpc_call *call, struct slice message)
{
    struct world *world = grpc_call_server_ctx(call);
    struct arena arena;
    Etcdserverpb__WatchRequest *request = NULL;
    arena_init(&arena);
    assert_int_equal(
        pb_decode(&arena, &etcdserverpb__watch_request__descriptor, message, &request, NULL),
        ERR_OK);
    text_of(request, &world->requests);
    arena_fini(&arena);
}

static void on_cancel(struct grpc_call *call, enum grpc_status why)
{
    struct world *world = grpc_call_server_ctx(call);
    if (world->call == call) {
        world->call = NULL;
    }
    grpc_call_finish(call, why, NULL);
}

static void on_login(struct grpc_call *call, struct slice message)
{
    struct world *world = grpc_call_server_ctx(call);
    (void)message;
    world->logins++;
    Etcdserverpb__AuthenticateResponse *answer =
        pb_new(grpc_call_arena(call), &etcdserverpb__authenticate_response__descriptor);
    answer->token = "token";
    grpc_call_send_copy(call, pb_encode_arena(answer, grpc_call_arena(call)));
    grpc_call_finish(call, GRPC_OK, NULL);
}

static const struct grpc_handler watch_handler = {
    .start = on_start, .message = on_message, .cancel = on_cancel};
static const struct grpc_handler login_handler = {.message = on_login};
static const struct grpc_method watch_methods[] = {{"Watch", GRPC_BIDI, &watch_handler, NULL}};
static const struct grpc_method auth_methods[] = {
    {"Authenticate", GRPC_UNARY, &login_handler, NULL}};
static const struct grpc_service watch_service = {"etcdserverpb.Watch", watch_methods, 1};
static const struct grpc_service auth_service = {"etcdserverpb.Auth", auth_methods, 1};

static void world_listen(struct world *world, const char *port)
{
    struct errbuf why = {{0}};
    struct sock_addr addr;
    struct http_options options = {.grpc_ctx = world};
    world->server = http_server_new(world->env, world->loop, &options);
    http_server_service(world->server, &watch_service);
    http_server_service(world->server, &auth_service);
    assert_int_equal(http_server_listen(world->server, "127.0.0.1", port, NULL, &why), ERR_OK);
    http_server_addr(world->server, 0, &addr);
    snprintf(world->endpoint, sizeof(world->endpoint), "%.60s", addr.text);
}

static void world_init(struct world *world)
{
    *world = (struct world){0};
    world->env = posix_env_new();
    world->loop = loop_new(world->env);
    world_listen(world, "0");
    const char *endpoints[] = {world->endpoint};
    struct client_options options = {
        .endpoints = endpoints, .endpoint_count = 1, .username = "root", .password = "secret"};
    struct errbuf why = {{0}};
    assert_int_equal(client_new(world->env, world->loop, &options, &world->client, &why), ERR_OK);
    world->watcher = client_watcher_new(world->client, false);
}

static void world_fini(struct world *world)
{
    client_watcher_free(&world->watcher);
    client_free(&world->client);
    http_server_free(&world->server);
    buf_fini(&world->requests);
    loop_free(&world->loop);
    posix_env_free(&world->env);
}

/* Without waiting, so that what never comes is noticed when its time is over. */
static void turn(struct world *world)
{
    loop_turn(world->loop, false);
    client_watcher_check(world->watcher);
}

/* Waits until the server has been asked this, in all since the last time. */
static void expect(struct world *world, const char *requests)
{
    mono_ns end = env_now_mono(world->env) + 10 * NS_PER_SEC;
    while (world->requests.len < strlen(requests)) {
        assert_true(env_now_mono(world->env) < end);
        turn(world);
    }
    assert_string_equal(buf_cstr(&world->requests), requests);
    buf_reset(&world->requests);
}

/* ---- answers --------------------------------------------------------------------------- */

static void send(struct world *world, const Etcdserverpb__WatchResponse *response)
{
    struct buf bytes = {0};
    pb_encode(response, &bytes);
    assert_non_null(world->call);
    grpc_call_send_copy(world->call, buf_slice(&bytes));
    buf_fini(&bytes);
}

static void send_state(struct world *world, int64_t id, int64_t revision, bool is_created,
                       const char *cancel_reason, int64_t compact_revision)
{
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    Etcdserverpb__WatchResponse response;
    etcdserverpb__watch_response__init(&response);
    header.revision = revision;
    response.header = &header;
    response.watch_id = id;
    response.created = is_created;
    response.canceled = cancel_reason != NULL;
    response.cancel_reason = (char *)(uintptr_t)(cancel_reason == NULL ? "" : cancel_reason);
    response.compact_revision = compact_revision;
    send(world, &response);
}

static void send_created(struct world *world, int64_t id, int64_t revision)
{
    send_state(world, id, revision, true, NULL, 0);
}

/* One event for each letter of `keys`, at this revision. */
static void send_events(struct world *world, int64_t id, int64_t revision, const char *keys,
                        bool is_fragment)
{
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    Etcdserverpb__WatchResponse response;
    etcdserverpb__watch_response__init(&response);
    Mvccpb__KeyValue kvs[8];
    Mvccpb__Event events[8];
    Mvccpb__Event *list[8];
    header.revision = revision;
    response.header = &header;
    response.watch_id = id;
    response.fragment = is_fragment;
    response.events = list;
    for (; keys[response.n_events] != 0; response.n_events++) {
        size_t i = response.n_events;
        mvccpb__key_value__init(&kvs[i]);
        mvccpb__event__init(&events[i]);
        kvs[i].key = pb_binary(slice_of(&keys[i], 1));
        kvs[i].mod_revision = revision;
        events[i].kv = &kvs[i];
        list[i] = &events[i];
    }
    send(world, &response);
}

/* ---- watches --------------------------------------------------------------------------- */

struct told {
    struct world *world;
    struct client_watch *watch;
    struct buf text; /* "created;" "x@5 y@5;" "progress 7;" "end …;" */
    struct told *frees;
};

static void on_update(struct client_watch *watch, const struct client_watch_update *update,
                      void *ctx)
{
    struct told *told = ctx;
    const Etcdserverpb__WatchResponse *response = update->response;
    assert_ptr_equal(watch, told->watch);
    assert_false(response->fragment);
    if (update->is_end) {
        buf_printf(&told->text, "end %u %s", update->status, update->error);
    } else if (response->created) {
        buf_append_str(&told->text, "created");
    } else if (response->n_events == 0) {
        buf_printf(&told->text, "progress %lld", (long long)response->header->revision);
    }
    for (size_t i = 0; i < response->n_events; i++) {
        const Mvccpb__KeyValue *kv = response->events[i]->kv;
        buf_printf(&told->text, "%s%.*s@%lld", i == 0 ? "" : " ", (int)kv->key.len,
                   (const char *)kv->key.data, (long long)kv->mod_revision);
    }
    buf_append_byte(&told->text, ';');
    if (told->frees != NULL) {
        client_watch_free(&told->frees->watch);
    }
}

static void start_options(struct world *world, struct told *told,
                          const struct client_watch_options *options)
{
    told->world = world;
    told->watch = client_watch_start(world->watcher, options, on_update, told);
}

static void start(struct world *world, struct told *told, const char *key, int64_t revision)
{
    struct client_watch_options options = {.key = slice_str(key), .start_revision = revision};
    start_options(world, told, &options);
}

static void expect_told(struct told *told, const char *text)
{
    struct world *world = told->world;
    mono_ns end = env_now_mono(world->env) + 10 * NS_PER_SEC;
    while (told->text.len < strlen(text)) {
        assert_true(env_now_mono(world->env) < end);
        turn(world);
    }
    assert_string_equal(buf_cstr(&told->text), text);
    buf_reset(&told->text);
}

static void told_fini(struct told *told)
{
    client_watch_free(&told->watch);
    buf_fini(&told->text);
}

TEST(watcher, events_come_to_the_watch_that_asked)
{
    struct world world;
    struct told told[2] = {0};
    world_init(&world);
    start(&world, &told[0], "a", 0);
    start(&world, &told[1], "b", 7);
    expect(&world, "create a @0;create b @7;");
    send_created(&world, 0, 10);
    send_created(&world, 1, 10);
    send_events(&world, 1, 8, "b", false);
    send_events(&world, 0, 11, "aa", false);
    expect_told(&told[0], "a@11 a@11;");
    expect_told(&told[1], "b@8;");
    assert_int_equal(world.streams, 1);
    assert_int_equal(client_watch_next_revision(told[0].watch), 12);
    told_fini(&told[0]);
    expect(&world, "cancel 0;");
    told_fini(&told[1]);
    world_fini(&world);
}

TEST(watcher, every_option_reaches_the_server)
{
    struct world world;
    struct told told = {0};
    world_init(&world);
    struct client_watch_options options = {.key = SLICE("a"),
                                           .range_end = SLICE("c"),
                                           .start_revision = 3,
                                           .prev_kv = true,
                                           .progress_notify = true,
                                           .no_put = true,
                                           .no_delete = true,
                                           .fragment = true,
                                           .created_notify = true};
    start_options(&world, &told, &options);
    expect(&world, "create a..c @3 prev progress fragment filter0 filter1;");
    send_created(&world, 0, 10);
    expect_told(&told, "created;");
    told_fini(&told);
    world_fini(&world);
}

TEST(watcher, when_the_stream_is_lost_each_goes_on_behind_what_it_has_told)
{
    struct world world;
    struct told told[3] = {0};
    world_init(&world);
    start(&world, &told[0], "a", 0);
    start(&world, &told[1], "b", 0);
    start(&world, &told[2], "c", 5);
    expect(&world, "create a @0;create b @0;create c @5;");
    send_created(&world, 0, 10);
    send_created(&world, 1, 11);
    send_created(&world, 2, 12);
    send_events(&world, 0, 20, "a", false);
    expect_told(&told[0], "a@20;");
    grpc_call_finish(world.call, GRPC_UNAVAILABLE, "the server is going away");
    /* b has seen nothing since it was created at 11; c nothing at all. */
    expect(&world, "create a @21;create b @12;create c @5;");
    assert_int_equal(world.streams, 2);
    send_created(&world, 7, 30);
    send_created(&world, 8, 30);
    send_created(&world, 9, 30);
    send_events(&world, 8, 25, "b", false);
    send_events(&world, 7, 26, "a", false);
    expect_told(&told[0], "a@26;");
    expect_told(&told[1], "b@25;");
    assert_int_equal(told[2].text.len, 0);
    for (size_t i = 0; i < ARRAY_LEN(told); i++) {
        told_fini(&told[i]);
    }
    world_fini(&world);
}

TEST(watcher, the_creation_is_told_once_however_often_it_resumes)
{
    struct world world;
    struct told told = {0};
    world_init(&world);
    struct client_watch_options options = {.key = SLICE("a"), .created_notify = true};
    start_options(&world, &told, &options);
    expect(&world, "create a @0;");
    send_created(&world, 0, 10);
    expect_told(&told, "created;");
    grpc_call_finish(world.call, GRPC_UNAVAILABLE, "gone");
    expect(&world, "create a @11;");
    send_created(&world, 0, 10);
    send_events(&world, 0, 11, "a", false);
    expect_told(&told, "a@11;");
    told_fini(&told);
    world_fini(&world);
}

TEST(watcher, a_server_that_comes_back_on_its_port_is_found)
{
    struct world world;
    struct told told = {0};
    char port[8];
    world_init(&world);
    snprintf(port, sizeof(port), "%.7s", strrchr(world.endpoint, ':') + 1);
    start(&world, &told, "a", 0);
    expect(&world, "create a @0;");
    send_created(&world, 0, 10);
    send_events(&world, 0, 11, "a", false);
    expect_told(&told, "a@11;");
    http_server_free(&world.server);
    world.call = NULL;
    for (int i = 0; i < 5; i++) {
        turn(&world);
    }
    world_listen(&world, port);
    expect(&world, "create a @12;");
    told_fini(&told);
    world_fini(&world);
}

TEST(watcher, progress_moves_where_it_resumes)
{
    struct world world;
    struct told told = {0};
    world_init(&world);
    start(&world, &told, "a", 0);
    expect(&world, "create a @0;");
    send_created(&world, 0, 10);
    send_state(&world, 0, 50, false, NULL, 0);
    expect_told(&told, "progress 50;");
    grpc_call_finish(world.call, GRPC_UNAVAILABLE, "gone");
    expect(&world, "create a @51;");
    told_fini(&told);
    world_fini(&world);
}

TEST(watcher, progress_that_was_asked_for_is_told_to_all)
{
    struct world world;
    struct told told[3] = {0};
    world_init(&world);
    for (size_t i = 0; i < 3; i++) {
        start(&world, &told[i], "a", 0);
    }
    told[0].frees = &told[0];
    client_watcher_progress(world.watcher);
    expect(&world, "create a @0;create a @0;create a @0;progress;");
    for (int64_t i = 0; i < 3; i++) {
        send_created(&world, i, 10);
    }
    send_state(&world, -1, 15, false, NULL, 0);
    for (size_t i = 0; i < 3; i++) {
        expect_told(&told[i], "progress 15;");
    }
    expect(&world, "cancel 0;");
    for (size_t i = 0; i < 3; i++) {
        told_fini(&told[i]);
    }
    world_fini(&world);
}

TEST(watcher, fragments_are_told_as_one)
{
    struct world world;
    struct told told = {0};
    world_init(&world);
    start(&world, &told, "a", 0);
    expect(&world, "create a @0;");
    send_created(&world, 0, 10);
    send_events(&world, 0, 11, "ab", true);
    send_events(&world, 0, 11, "cd", true);
    for (int i = 0; i < 3; i++) {
        loop_turn(world.loop, false);
    }
    assert_int_equal(told.text.len, 0);
    send_events(&world, 0, 11, "e", false);
    expect_told(&told, "a@11 b@11 c@11 d@11 e@11;");
    told_fini(&told);
    world_fini(&world);
}

TEST(watcher, fragments_of_a_lost_stream_are_forgotten)
{
    struct world world;
    struct told told = {0};
    world_init(&world);
    start(&world, &told, "a", 0);
    expect(&world, "create a @0;");
    send_created(&world, 0, 10);
    send_events(&world, 0, 11, "ab", true);
    grpc_call_finish(world.call, GRPC_UNAVAILABLE, "gone");
    expect(&world, "create a @11;");
    send_created(&world, 0, 11);
    send_events(&world, 0, 11, "ab", true);
    send_events(&world, 0, 11, "c", false);
    expect_told(&told, "a@11 b@11 c@11;");
    told_fini(&told);
    world_fini(&world);
}

TEST(watcher, what_the_server_cancels_ends_with_its_reason)
{
    static const struct {
        bool is_created;
        const char *reason;
        int64_t compact_revision;
        const char *told;
    } cases[] = {
        {false, "", 5, "end 11 etcdserver: mvcc: required revision has been compacted;"},
        {true, "mvcc: watcher range is empty", 0, "end 9 mvcc: watcher range is empty;"},
        {false, "somebody else's reason", 0,
         "end 9 rpc error: code = FailedPrecondition desc = somebody else's reason;"},
        {true, "etcdserver: permission denied", 0, "end 9 etcdserver: permission denied;"},
        {false, "", 0, "end 11 etcdserver: mvcc: required revision is a future revision;"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world world;
        struct told told[2] = {0};
        world_init(&world);
        start(&world, &told[0], "a", 1);
        start(&world, &told[1], "b", 0);
        expect(&world, "create a @1;create b @0;");
        if (!cases[i].is_created) {
            send_created(&world, 0, 10);
        }
        send_state(&world, cases[i].is_created ? -1 : 0, 0, cases[i].is_created, cases[i].reason,
                   cases[i].compact_revision);
        expect_told(&told[0], cases[i].told);
        /* The other one lives. */
        send_created(&world, 4, 10);
        send_events(&world, 4, 11, "b", false);
        expect_told(&told[1], "b@11;");
        told_fini(&told[0]);
        told_fini(&told[1]);
        world_fini(&world);
    }
}

TEST(watcher, errors_that_another_try_would_not_mend_end_all)
{
    static const struct {
        enum grpc_status status;
        const char *message;
        const char *told;
    } cases[] = {
        {GRPC_PERMISSION_DENIED, "etcdserver: permission denied",
         "end 7 etcdserver: permission denied;"},
        {GRPC_UNAVAILABLE, "etcdserver: no leader", "end 14 etcdserver: no leader;"},
        {GRPC_UNKNOWN, "what", "end 2 rpc error: code = Unknown desc = what;"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world world;
        struct told told[2] = {0};
        world_init(&world);
        start(&world, &told[0], "a", 0);
        start(&world, &told[1], "b", 0);
        expect(&world, "create a @0;create b @0;");
        send_created(&world, 0, 10);
        grpc_call_finish(world.call, cases[i].status, cases[i].message);
        expect_told(&told[0], cases[i].told);
        expect_told(&told[1], cases[i].told);
        told_fini(&told[0]);
        told_fini(&told[1]);
        world_fini(&world);
    }
}

TEST(watcher, a_refused_token_is_replaced_and_the_watch_goes_on)
{
    struct world world;
    struct told told = {0};
    world_init(&world);
    start(&world, &told, "a", 0);
    expect(&world, "create a @0;");
    send_state(&world, -1, 0, true,
               "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token", 0);
    expect(&world, "create a @0;");
    assert_int_equal(world.logins, 1);
    send_created(&world, 0, 10);
    grpc_call_finish(world.call, GRPC_UNAUTHENTICATED, "etcdserver: invalid auth token");
    expect(&world, "create a @11;");
    assert_int_equal(world.logins, 2);
    told_fini(&told);
    world_fini(&world);
}

TEST(watcher, one_freed_before_the_answer_is_canceled_with_it)
{
    struct world world;
    struct told told[2] = {0};
    world_init(&world);
    start(&world, &told[0], "a", 0);
    start(&world, &told[1], "b", 0);
    client_watch_free(&told[0].watch);
    expect(&world, "create a @0;create b @0;");
    send_created(&world, 0, 10);
    send_events(&world, 0, 11, "a", false);
    send_created(&world, 1, 10);
    send_events(&world, 1, 11, "b", false);
    expect_told(&told[1], "b@11;");
    assert_int_equal(told[0].text.len, 0);
    expect(&world, "cancel 0;");
    told_fini(&told[0]);
    told_fini(&told[1]);
    world_fini(&world);
}

TEST(watcher, the_last_one_closes_the_stream_and_the_next_opens_another)
{
    struct world world;
    struct told told = {0};
    world_init(&world);
    start(&world, &told, "a", 0);
    expect(&world, "create a @0;");
    send_created(&world, 0, 10);
    send_events(&world, 0, 11, "a", false);
    expect_told(&told, "a@11;");
    client_watch_free(&told.watch);
    while (world.call != NULL) {
        turn(&world);
    }
    buf_reset(&world.requests);
    start(&world, &told, "b", 0);
    expect(&world, "create b @0;");
    assert_int_equal(world.streams, 2);
    told_fini(&told);
    world_fini(&world);
}

TEST(watcher, one_may_be_freed_and_started_while_being_told)
{
    struct world world;
    struct told told = {0};
    world_init(&world);
    start(&world, &told, "a", 0);
    told.frees = &told;
    expect(&world, "create a @0;");
    send_created(&world, 0, 10);
    send_events(&world, 0, 11, "a", false);
    expect_told(&told, "a@11;");
    assert_null(told.watch);
    told_fini(&told);
    world_fini(&world);
}

TEST(watcher, while_paused_nothing_is_told)
{
    struct world world;
    struct told told = {0};
    world_init(&world);
    start(&world, &told, "a", 0);
    expect(&world, "create a @0;");
    send_created(&world, 0, 10);
    client_watcher_pause(world.watcher, true);
    send_events(&world, 0, 11, "a", false);
    for (int i = 0; i < 10; i++) {
        loop_turn(world.loop, false);
    }
    assert_int_equal(told.text.len, 0);
    client_watcher_pause(world.watcher, false);
    expect_told(&told, "a@11;");
    told_fini(&told);
    world_fini(&world);
}

TEST(watcher, nonsense_of_a_server_ends_all)
{
    struct world world;
    struct told told[2] = {0};
    world_init(&world);
    start(&world, &told[0], "a", 0);
    start(&world, &told[1], "b", 0);
    expect(&world, "create a @0;create b @0;");
    send_created(&world, 0, 10);
    send_created(&world, 0, 10);
    expect_told(&told[0],
                "end 13 rpc error: code = Internal desc = the server has given two watches one "
                "id;");
    client_watch_free(&told[0].watch);
    client_watch_free(&told[1].watch);
    start(&world, &told[0], "c", 0);
    expect(&world, "create c @0;");
    grpc_call_send_copy(world.call, SLICE("\x0a\xff"));
    expect_told(&told[0], "end 13 rpc error: code = Internal desc = grpc: failed to unmarshal the "
                          "received message;");
    told_fini(&told[0]);
    told_fini(&told[1]);
    world_fini(&world);
}

TEST(watcher, freeing_the_watcher_leaves_watches_to_their_owners)
{
    struct world world;
    struct told told[2] = {0};
    world_init(&world);
    start(&world, &told[0], "a", 0);
    start(&world, &told[1], "b", 0);
    expect(&world, "create a @0;create b @0;");
    send_created(&world, 0, 10);
    turn(&world);
    client_watcher_free(&world.watcher);
    for (int i = 0; i < 5; i++) {
        loop_turn(world.loop, false);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(told[i].text.len, 0);
        told_fini(&told[i]);
    }
    world_fini(&world);
}
