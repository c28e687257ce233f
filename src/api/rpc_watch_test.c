/* The Watch service on a whole member with real sockets: what cannot be brought about from outside
 * of the process, a lost leader and watchers of other services. The rest is
 * test/e2e/watch*_test.py. */
#include "api/member_world.h"

#include "codec/pb.h"
#include "env/posix.h"
#include "net/grpc_client.h"
#include "server/server_priv.h"
#include "unit.h"

#include "rpc.pb-c.h"

#include <stdio.h>

struct world {
    struct member_world member;
    struct env *env;
    struct grpc_conn *conn;
};

struct client {
    struct world *world;
    struct grpc_stream *stream;
    unsigned messages;
    bool is_ended;
    uint32_t status;
    char text[128];
};

static void turn_until(struct world *w, const bool *done)
{
    member_world_turn_until(&w->member, done);
}

static struct world *world_new(void)
{
    struct world *w = NEW(struct world);
    struct sock_addr addr;
    w->env = posix_env_new();
    member_world_open(&w->member, w->env, test_dir(), "--heartbeat-interval=10",
                      "--election-timeout=50");
    http_server_addr(w->member.http, 0, &addr);
    struct grpc_conn_options conn = {.host = "127.0.0.1", .port = strrchr(addr.text, ':') + 1};
    w->conn = grpc_conn_open(w->env, w->member.loop, &conn);
    return w;
}

static void world_free(struct world *w)
{
    grpc_conn_close(&w->conn);
    member_world_close(&w->member, NS_PER_SEC);
    posix_env_free(&w->env);
    mem_free(w);
}

/* ---- a client's stream ----------------------------------------------------------------------- */

static void on_message(struct grpc_stream *stream, struct slice message, void *ctx)
{
    UNUSED(stream);
    UNUSED(message);
    ((struct client *)ctx)->messages++;
}

static void on_end(struct grpc_stream *stream, const struct grpc_result *result, void *ctx)
{
    struct client *client = ctx;
    UNUSED(stream);
    client->is_ended = true;
    client->status = result->status;
    snprintf(client->text, sizeof(client->text), "%s", result->message);
}

static const struct grpc_stream_handler client_handler = {.message = on_message, .end = on_end};

static void client_open(struct world *w, struct client *client, const char *hasleader)
{
    struct grpc_metadata metadata = {SLICE("hasleader"), slice_str(hasleader)};
    *client = (struct client){.world = w};
    client->stream = grpc_stream_open(w->conn, "/etcdserverpb.Watch/Watch", &metadata, 1,
                                      UINT64_MAX, &client_handler, client);
    grpc_stream_send(client->stream, slice_of("\x0a\x03\x0a\x01k", 5));
}

static void turn_for(struct world *w, uint64_t ms)
{
    mono_ns limit = env_now_mono(w->env) + ms * NS_PER_MS;
    while (env_now_mono(w->env) < limit) {
        loop_turn(w->member.loop, false);
    }
}

TEST(rpc_watch, a_stream_that_needs_a_leader_ends_when_there_has_been_none_for_a_while)
{
    struct world *w = world_new();
    struct client needs;
    struct client does_not;
    client_open(w, &needs, "true");
    client_open(w, &does_not, "false");
    turn_for(w, 300);
    assert_int_equal(needs.messages, 1);
    assert_false(needs.is_ended);
    uint64_t leader = w->member.server->leader;
    w->member.server->leader = 0; /* as raft would say it */
    turn_for(w, 60);              /* one election timeout is not enough */
    assert_false(needs.is_ended);
    turn_until(w, &needs.is_ended);
    assert_int_equal(needs.status, GRPC_UNAVAILABLE);
    assert_string_equal(needs.text, "etcdserver: no leader");
    assert_false(does_not.is_ended);
    grpc_stream_free(&needs.stream);
    client_open(w, &needs, "true"); /* and none is begun */
    turn_until(w, &needs.is_ended);
    assert_string_equal(needs.text, "etcdserver: no leader");
    assert_int_equal(needs.messages, 0);
    w->member.server->leader = leader;
    assert_false(does_not.is_ended);
    grpc_stream_free(&needs.stream);
    grpc_stream_free(&does_not.stream);
    world_free(w);
}

/* A client that comes back after a restart may be faster than the election; etcd lets it wait. */
TEST(rpc_watch, who_asks_for_a_leader_before_there_was_one_waits_for_it)
{
    struct world *w = world_new();
    struct client needs;
    uint64_t leader = w->member.server->leader;
    w->member.server->leader = 0;
    w->member.server->has_published = false;
    client_open(w, &needs, "true");
    turn_for(w, 60);
    assert_int_equal(needs.messages, 1);
    assert_false(needs.is_ended);
    w->member.server->leader = leader;
    w->member.server->has_published = true;
    turn_for(w, 300);
    assert_false(needs.is_ended);
    grpc_stream_free(&needs.stream);
    world_free(w);
}

/* ---- a watcher of another service ------------------------------------------------------------ */

struct waiter {
    struct watch_stream *stream;
    int64_t deleted_at;
    bool is_gone;
};

static void on_gone(void *ctx, const struct watch_batch *batch)
{
    struct waiter *waiter = ctx;
    struct watch_event event;
    struct watch_event_iter iter = watch_event_iter_init(batch->body);
    assert_true(watch_event_next(&iter, &event));
    assert_true(event.is_delete);
    waiter->deleted_at = event.kv.mod;
    watch_event_iter_fini(&iter);
    watch_stream_close(&waiter->stream);
    waiter->is_gone = true;
}

static void on_lost(void *ctx, watch_id id, int64_t compact_revision, const char *reason)
{
    UNUSED(ctx);
    UNUSED(id);
    UNUSED(compact_revision);
    UNUSED(reason);
    fail();
}

static const struct watch_sink waiter_sink = {.events = on_gone, .canceled = on_lost};

static void on_reply(const struct grpc_result *result, struct slice reply, void *ctx)
{
    UNUSED(reply);
    assert_int_equal(result->status, GRPC_OK);
    *(bool *)ctx = true;
}

static void unary(struct world *w, const char *path, struct slice request)
{
    bool done = false;
    grpc_unary(w->conn, path, request, NULL, 0, UINT64_MAX, on_reply, &done);
    turn_until(w, &done);
}

/* Ends them, and no other begins: it would hold the stop up. */
TEST(rpc_watch, a_stop_ends_all_streams_and_none_begins_during_it)
{
    static const struct {
        const char *path;
        const char *message;
    } rows[] = {{"/etcdserverpb.Watch/Watch", "\x0a\x03\x0a\x01k"},
                {"/etcdserverpb.Lease/LeaseKeepAlive", "\x08\x05"},
                {"/v3electionpb.Election/Observe", "\x0a\x01k"}};
    struct world *w = world_new();
    for (unsigned is_late = 0; is_late < 2; is_late++) {
        struct client clients[ARRAY_LEN(rows)] = {0};
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
            clients[i].world = w;
            clients[i].stream = grpc_stream_open(w->conn, rows[i].path, NULL, 0, UINT64_MAX,
                                                 &client_handler, &clients[i]);
            grpc_stream_send(clients[i].stream, slice_str(rows[i].message));
        }
        if (!is_late) {
            turn_for(w, 100);
            api_stop(w->member.api);
        }
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
            turn_until(w, &clients[i].is_ended);
            assert_int_equal(clients[i].status, GRPC_UNAVAILABLE);
            assert_string_equal(clients[i].text, "etcdserver: server stopped");
            grpc_stream_free(&clients[i].stream);
        }
    }
    world_free(w);
}

/* Streams of other services do the same. */
TEST(rpc_watch, renewals_and_observers_that_need_a_leader_end_without_one)
{
    static const struct {
        const char *path;
        const char *message;
    } rows[] = {{"/etcdserverpb.Lease/LeaseKeepAlive", "\x08\x05"},
                {"/v3electionpb.Election/Observe", "\x0a\x01k"}};
    struct world *w = world_new();
    struct grpc_metadata metadata = {SLICE("hasleader"), SLICE("true")};
    struct client needs[2] = {0};
    struct client does_not[2] = {0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        needs[i].world = does_not[i].world = w;
        needs[i].stream = grpc_stream_open(w->conn, rows[i].path, &metadata, 1, UINT64_MAX,
                                           &client_handler, &needs[i]);
        does_not[i].stream = grpc_stream_open(w->conn, rows[i].path, NULL, 0, UINT64_MAX,
                                              &client_handler, &does_not[i]);
        grpc_stream_send(needs[i].stream, slice_str(rows[i].message));
        grpc_stream_send(does_not[i].stream, slice_str(rows[i].message));
    }
    turn_for(w, 300);
    assert_false(needs[0].is_ended || needs[1].is_ended);
    uint64_t leader = w->member.server->leader;
    w->member.server->leader = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        turn_until(w, &needs[i].is_ended);
        assert_int_equal(needs[i].status, GRPC_UNAVAILABLE);
        assert_string_equal(needs[i].text, "etcdserver: no leader");
        assert_false(does_not[i].is_ended);
    }
    w->member.server->leader = leader;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        grpc_stream_free(&needs[i].stream);
        grpc_stream_free(&does_not[i].stream);
    }
    world_free(w);
}

TEST(rpc_watch, a_service_inside_may_wait_for_the_end_of_a_key)
{
    struct world *w = world_new();
    struct waiter waiter = {.stream = NULL};
    watch_id id;
    const char *why;
    unary(w, "/etcdserverpb.KV/Put", slice_of("\x0a\x01k\x12\x01v", 6)); /* revision 2 */
    waiter.stream = watch_stream_open(server_watch_hub(w->member.server), &waiter_sink, &waiter);
    struct watch_request request = {.key = SLICE("k"), .start_revision = 2, .flags = WATCH_NO_PUT};
    assert_int_equal(watch_create(waiter.stream, &request, &id, &why), ERR_OK);
    unary(w, "/etcdserverpb.KV/Put", slice_of("\x0a\x01k\x12\x01w", 6)); /* 3 */
    assert_false(waiter.is_gone);
    unary(w, "/etcdserverpb.KV/DeleteRange", slice_of("\x0a\x01k", 3)); /* 4 */
    turn_until(w, &waiter.is_gone);
    assert_int_equal(waiter.deleted_at, 4);
    /* And one that comes late, when it has gone already. */
    waiter = (struct waiter){
        .stream = watch_stream_open(server_watch_hub(w->member.server), &waiter_sink, &waiter)};
    assert_int_equal(watch_create(waiter.stream, &request, &id, &why), ERR_OK);
    turn_until(w, &waiter.is_gone);
    assert_int_equal(waiter.deleted_at, 4);
    world_free(w);
}
