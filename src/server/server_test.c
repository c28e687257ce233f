/* The life of a member and of the requests given to it. */
#include "server/server_run.h"

#include <sys/wait.h>
#include <unistd.h>

static struct config *config;

static void setup(struct world *w)
{
    config = world_config("1000");
    world_open(w, config, sim_disk_new());
}

static void teardown(struct world *w)
{
    world_check(w);
    world_close(w);
    sim_disk_free(&w->disk);
    config_free(&config);
}

/* ---- start and restart ----------------------------------------------------------------------- */

TEST(server, a_new_member_founds_its_cluster_and_leads_it)
{
    struct world w;
    setup(&w);
    assert_true(server_is_leader(w.server));
    assert_int_equal(server_leader(w.server), server_member_id(w.server));
    assert_int_equal(member_set_count(server_members(w.server)), 1);
    const struct member *self = member_set_at(server_members(w.server), 0);
    assert_int_equal(self->id, server_member_id(w.server));
    assert_string_equal(self->name, "m1");
    assert_int_equal(self->client_urls.count, 1);
    assert_string_equal(self->client_urls.urls[0], "http://127.0.0.1:2379");
    assert_int_equal(mvcc_revision(w.server->mvcc), 1);
    assert_string_equal(server_cluster_version(w.server), "3.6.0");
    teardown(&w);
}

/* It need not wait for an election timeout, of which the shortest is a second. */
TEST(server, the_only_member_leads_at_once)
{
    struct world w;
    config = world_config("1000");
    struct disk *disk = sim_disk_new();
    world_start(&w, config, disk);
    mono_ns began = env_now_mono(w.env);
    world_wait_ready(&w);
    assert_true(env_now_mono(w.env) - began < 500 * NS_PER_MS);
    world_restart(&w);
    began = env_now_mono(w.env);
    assert_true(began < 1500 * NS_PER_MS); /* the clock starts at one second */
    teardown(&w);
}

TEST(server, a_restart_keeps_everything)
{
    struct world w;
    char key[8];
    setup(&w);
    uint64_t member = server_member_id(w.server);
    uint64_t cluster = server_cluster_id(w.server);
    for (unsigned i = 0; i < 50; i++) {
        snprintf(key, sizeof(key), "k%u", i % 7);
        call_end(&w, call_submit(&w, call_put(key, "v")), STATUS_OK);
    }
    call_end(&w, call_submit(&w, call_delete("k3")), STATUS_OK);
    call_end(&w, call_submit(&w, call_compact(20, true)), STATUS_OK);
    uint32_t hash = world_hash(&w);
    int64_t revision = mvcc_revision(w.server->mvcc);
    uint64_t applied = w.server->applied;
    uint64_t term = raft_current_term(node_raft(w.server->node));
    assert_int_equal(revision, 52);
    for (unsigned i = 0; i < 3; i++) {
        world_restart(&w);
        assert_int_equal(world_hash(&w), hash);
        assert_int_equal(mvcc_revision(w.server->mvcc), revision);
        assert_int_equal(mvcc_compact_revision(w.server->mvcc), 20);
        assert_true(w.server->applied > applied); /* the new term's entries */
        assert_int_equal(raft_current_term(node_raft(w.server->node)), ++term);
        assert_int_equal(server_member_id(w.server), member);
        assert_int_equal(server_cluster_id(w.server), cluster);
        assert_int_equal(member_set_count(server_members(w.server)), 1);
        assert_string_equal(world_get(&w, "k3", false), "");
        assert_string_equal(world_get(&w, "k4", false), "v");
        world_check(&w);
    }
    teardown(&w);
}

TEST(server, a_directory_in_use_is_refused)
{
    struct world w;
    struct server *second = NULL;
    struct errbuf why = {""};
    setup(&w);
    struct server_options options = w.server->options;
    struct metrics *metrics = metrics_new();
    options.metrics = metrics;
    assert_int_equal(server_open(&options, &second, &why), ERR_LOCKED);
    assert_null(second);
    assert_non_null(strstr(why.text, "in use by another process"));
    metrics_free(&metrics);
    call_end(&w, call_submit(&w, call_put("a", "1")), STATUS_OK); /* the first goes on */
    teardown(&w);
}

TEST(server, a_database_that_is_gone_is_refused_once_the_log_needs_it)
{
    struct world w;
    struct errbuf why = {""};
    config = world_config("10");
    world_open(&w, config, sim_disk_new());
    for (unsigned i = 0; i < 30; i++) {
        call_end(&w, call_submit(&w, call_put("a", "1")), STATUS_OK);
    }
    world_close(&w);
    assert_int_equal(disk_unlink(w.disk, "/data/member/snap/db", &why), ERR_OK);
    w.env = sim_env_new(4, w.disk);
    w.loop = loop_new(w.env);
    w.metrics = metrics_new();
    struct server_options options = {.env = w.env,
                                     .loop = w.loop,
                                     .config = config,
                                     .log = config_log(config),
                                     .metrics = w.metrics,
                                     .on_ready = world_on_ready,
                                     .ctx = &w};
    assert_int_equal(server_open(&options, &w.server, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.text, "/data/member/snap/db is missing"));
    assert_false(disk_exists(w.disk, "/data/member/snap/db")); /* and none was made */
    world_free(&w);
    sim_disk_free(&w.disk);
    config_free(&config);
}

/* ---- writes and reads ------------------------------------------------------------------------ */

TEST(server, requests_before_there_is_a_leader_wait_for_it)
{
    struct world w;
    config = world_config("1000");
    world_start(&w, config, sim_disk_new());
    struct call *read = call_submit(&w, call_get("a"));
    struct call *write = call_submit(&w, call_put("a", "1"));
    assert_int_equal(server_leader(w.server), 0);
    call_end(&w, write, STATUS_OK);
    call_end(&w, read, STATUS_OK);
    world_wait_ready(&w);
    teardown(&w);
}

TEST(server, a_read_before_there_is_a_leader_is_asked_as_soon_as_there_is)
{
    struct world w;
    config = world_config("1000");
    world_start(&w, config, sim_disk_new());
    struct call *get = call_submit(&w, call_get("a"));
    for (unsigned i = 0; i < 1000 && w.server->leader == 0; i++) {
        assert_int_equal(get->done, 0);
        loop_turn(w.loop, true);
    }
    mono_ns led = loop_now(w.loop);
    call_end(&w, get, STATUS_OK);
    assert_true(loop_now(w.loop) - led < SERVER_READ_RETRY_NS / 10);
    world_wait_ready(&w);
    teardown(&w);
}

TEST(server, a_linearizable_read_sees_every_acknowledged_write)
{
    struct world w;
    char value[16];
    setup(&w);
    sim_env_delay_jobs(w.env, 5 * NS_PER_MS);
    for (unsigned i = 0; i < 40; i++) {
        snprintf(value, sizeof(value), "%u", i);
        struct call *put = call_submit(&w, call_put("a", value));
        struct call *later = call_submit(&w, call_put("b", value)); /* in flight meanwhile */
        assert_int_equal(call_wait(&w, put), STATUS_OK);
        call_free(put);
        assert_string_equal(world_get(&w, "a", false), value);
        call_end(&w, later, STATUS_OK);
        assert_string_equal(world_get(&w, "b", true), value); /* local state has it, too */
    }
    teardown(&w);
}

/* A read that is asked for while a write is on its way to the disk waits for nothing. */
TEST(server, a_read_does_not_wait_for_writes_that_are_not_acknowledged)
{
    struct world w;
    setup(&w);
    sim_env_delay_jobs(w.env, 400 * NS_PER_MS);
    struct call *put = call_submit(&w, call_put("a", "1"));
    loop_turn(w.loop, false);
    assert_string_equal(world_get(&w, "a", false), "");
    assert_string_equal(world_get(&w, "a", true), "");
    assert_int_equal(put->done, 0);
    call_end(&w, put, STATUS_OK);
    assert_string_equal(world_get(&w, "a", true), "1");
    teardown(&w);
}

TEST(server, a_write_is_acknowledged_when_it_is_durable)
{
    struct world w;
    setup(&w);
    for (unsigned i = 0; i < 10; i++) {
        char value[16];
        struct world after;
        snprintf(value, sizeof(value), "%u", i);
        call_end(&w, call_submit(&w, call_put("a", value)), STATUS_OK);
        struct disk *left = sim_disk_clone(w.disk);
        sim_disk_crash(left, SIM_CRASH_LOSE, i);
        world_open(&after, config, left);
        assert_string_equal(world_get(&after, "a", false), value);
        world_check(&after);
        world_close(&after);
        sim_disk_free(&left);
    }
    teardown(&w);
}

TEST(server, too_large_a_request_is_refused_and_nothing_is_proposed)
{
    struct world w;
    setup(&w);
    size_t len = (size_t)config->max_request_bytes;
    char *value = mem_alloc(len + 1);
    memset(value, 'x', len);
    value[len] = '\0';
    call_end(&w, call_submit(&w, call_put("a", value)), STATUS_REQUEST_TOO_LARGE);
    value[len - 100] = '\0';
    call_end(&w, call_submit(&w, call_put("a", value)), STATUS_OK);
    assert_int_equal(mvcc_revision(w.server->mvcc), 2);
    mem_free(value);
    teardown(&w);
}

TEST(server, a_physical_compaction_is_answered_when_the_rows_are_gone)
{
    struct world w;
    setup(&w);
    for (unsigned i = 0; i < 20; i++) {
        call_end(&w, call_submit(&w, call_put("a", "1")), STATUS_OK);
    }
    call_end(&w, call_submit(&w, call_compact(21, true)), STATUS_OK);
    assert_true(mvcc_is_compacted(w.server->mvcc, 21));
    struct mvcc_stats stats;
    mvcc_stats(w.server->mvcc, &stats);
    assert_int_equal(stats.compacted_rows, 19);
    call_end(&w, call_submit(&w, call_compact(21, true)), STATUS_COMPACTED);
    call_end(&w, call_submit(&w, call_compact(99, true)), STATUS_FUTURE_REVISION);
    teardown(&w);
}

/* ---- cancel, timeout, stop ------------------------------------------------------------------- */

TEST(server, a_write_canceled_in_its_own_turn_never_happens)
{
    struct world w;
    setup(&w);
    struct call *call = call_submit(&w, call_put("a", "1"));
    server_cancel(w.server, &call->request, STATUS_CANCELED);
    assert_int_equal(call->done, 0);                                   /* never from inside */
    server_cancel(w.server, &call->request, STATUS_DEADLINE_EXCEEDED); /* the first one counts */
    call_end(&w, call, STATUS_CANCELED);
    call_end(&w, call_submit(&w, call_put("b", "1")), STATUS_OK);
    assert_int_equal(mvcc_revision(w.server->mvcc), 2);
    assert_string_equal(world_get(&w, "a", false), "");
    teardown(&w);
}

TEST(server, a_write_canceled_in_the_log_happens_all_the_same)
{
    struct world w;
    setup(&w);
    sim_env_delay_jobs(w.env, 400 * NS_PER_MS);
    struct call *call = call_submit(&w, call_put("a", "1"));
    loop_turn(w.loop, false);
    server_cancel(w.server, &call->request, STATUS_CANCELED);
    mono_ns began = env_now_mono(w.env);
    call_end(&w, call, STATUS_CANCELED);
    assert_true(env_now_mono(w.env) - began < 300 * NS_PER_MS); /* it does not wait for the disk */
    assert_int_equal(mvcc_revision(w.server->mvcc), 1);
    call_end(&w, call_submit(&w, call_put("b", "1")), STATUS_OK);
    assert_string_equal(world_get(&w, "a", false), "1");
    assert_int_equal(mvcc_revision(w.server->mvcc), 3);
    teardown(&w);
}

TEST(server, a_read_can_be_canceled_in_every_state)
{
    struct world w;
    setup(&w);
    struct call *call = call_submit(&w, call_get("a"));
    server_cancel(w.server, &call->request, STATUS_CANCELED);
    call_end(&w, call, STATUS_CANCELED);
    call = call_get("a");
    call->request.is_serializable = true;
    call_submit(&w, call);
    server_cancel(w.server, &call->request, STATUS_CANCELED);
    call_end(&w, call, STATUS_CANCELED);
    Etcdserverpb__HashKVRequest hash = ETCDSERVERPB__HASH_KVREQUEST__INIT;
    call = call_new(REQUEST_HASH_KV, &hash.base);
    call->request.is_serializable = true;
    sim_env_delay_jobs(w.env, 50 * NS_PER_MS);
    call_submit(&w, call);
    loop_turn(w.loop, false); /* a job works on it now: done() comes with the job */
    server_cancel(w.server, &call->request, STATUS_CANCELED);
    loop_turn(w.loop, false);
    assert_int_equal(call->done, 0);
    call_end(&w, call, STATUS_OK);
    teardown(&w);
}

TEST(server, a_write_that_the_disk_holds_up_times_out_and_may_still_happen)
{
    struct world w;
    setup(&w);
    mono_ns began = env_now_mono(w.env);
    sim_env_delay_jobs(w.env, 9 * NS_PER_SEC);
    struct call *call = call_submit(&w, call_put("a", "1"));
    assert_int_equal(call_wait(&w, call), STATUS_TIMEOUT);
    mono_ns took = env_now_mono(w.env) - began;
    assert_true(took >= (mono_ns)config_request_timeout_ns(config));
    assert_true(took < (mono_ns)config_request_timeout_ns(config) + 300 * NS_PER_MS);
    call_free(call);
    assert_int_equal(mvcc_revision(w.server->mvcc), 1);
    sim_env_delay_jobs(w.env, 0);
    call_end(&w, call_submit(&w, call_put("b", "1")), STATUS_OK);
    assert_string_equal(world_get(&w, "a", false), "1");
    teardown(&w);
}

TEST(server, what_comes_too_late_for_a_stop_is_answered_so)
{
    struct world w;
    setup(&w);
    sim_env_delay_jobs(w.env, 100 * NS_PER_MS);
    struct call *in_log = call_submit(&w, call_put("a", "1"));
    loop_turn(w.loop, false);
    struct call *write = call_submit(&w, call_put("b", "1"));
    struct call *read = call_submit(&w, call_get("a"));
    struct call *local = call_get("a");
    local->request.is_serializable = true;
    call_submit(&w, local);
    server_stop(w.server, world_on_stopped, &w);
    struct call *late = call_submit(&w, call_put("c", "1"));
    struct call *late_read = call_submit(&w, call_get("c"));
    while (!w.is_stopped) {
        loop_turn(w.loop, true);
    }
    assert_int_equal(in_log->request.status, STATUS_STOPPED);
    call_end(&w, in_log, STATUS_STOPPED);
    call_end(&w, write, STATUS_STOPPED);
    call_end(&w, read, STATUS_STOPPED);
    call_end(&w, local, STATUS_STOPPED);
    call_end(&w, late, STATUS_STOPPED);
    call_end(&w, late_read, STATUS_STOPPED);
    world_free(&w);
    world_open(&w, config, w.disk);
    assert_string_equal(world_get(&w, "a", false), "1"); /* the log had it */
    assert_string_equal(world_get(&w, "b", false), "");
    assert_string_equal(world_get(&w, "c", false), "");
    teardown(&w);
}

TEST(server, a_stop_waits_for_work_under_way)
{
    struct world w;
    setup(&w);
    for (unsigned i = 0; i < 5; i++) {
        call_end(&w, call_submit(&w, call_put("a", "1")), STATUS_OK);
    }
    sim_env_delay_jobs(w.env, 100 * NS_PER_MS);
    Etcdserverpb__HashKVRequest request = ETCDSERVERPB__HASH_KVREQUEST__INIT;
    struct call *hash = call_new(REQUEST_HASH_KV, &request.base);
    hash->request.is_serializable = true;
    call_submit(&w, hash);
    struct call *compact = call_submit(&w, call_compact(5, true));
    for (unsigned i = 0; i < 3; i++) {
        loop_turn(w.loop, false);
    }
    world_stop(&w);
    call_end(&w, hash, STATUS_OK);
    assert_true(compact->request.status == STATUS_OK || compact->request.status == STATUS_STOPPED);
    assert_int_equal(compact->done, 1);
    call_free(compact);
    world_free(&w);
    world_open(&w, config, w.disk);
    teardown(&w);
}

/* ---- quota ----------------------------------------------------------------------------------- */

TEST(server, a_full_database_raises_the_alarm_which_outlives_a_restart)
{
    struct world w;
    uint64_t member;
    setup(&w);
    struct backend_stats stats;
    backend_stats(w.server->backend, &stats);
    world_close(&w);
    config->quota_backend_bytes = (int64_t)stats.size + 1000;
    world_open(&w, config, w.disk);
    call_end(&w, call_submit(&w, call_put("a", "1")), STATUS_OK);
    char value[1024];
    memset(value, 'x', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    call_end(&w, call_submit(&w, call_put("a", value)), STATUS_NO_SPACE);
    call_end(&w, call_submit(&w, call_delete("x")), STATUS_OK);
    assert_int_equal(server_alarm_count(w.server), 1);
    assert_int_equal(server_alarm_at(w.server, 0, &member), ALARM_NOSPACE);
    assert_int_equal(member, server_member_id(w.server));
    call_end(&w, call_submit(&w, call_put("a", "2")), STATUS_NO_SPACE); /* however small */
    world_restart(&w);
    assert_int_equal(server_alarm_count(w.server), 1);
    call_end(&w, call_submit(&w, call_put("a", "2")), STATUS_NO_SPACE);
    assert_string_equal(world_get(&w, "a", false), "1");
    Etcdserverpb__AlarmRequest off = ETCDSERVERPB__ALARM_REQUEST__INIT;
    off.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE;
    off.memberid = member;
    off.alarm = ETCDSERVERPB__ALARM_TYPE__NOSPACE;
    call_end(&w, call_submit(&w, call_new(REQUEST_ALARM, &off.base)), STATUS_OK);
    call_end(&w, call_submit(&w, call_put("a", "2")), STATUS_OK);
    teardown(&w);
}

/* As if it had been in the log. False: the member is gone, with a sentence and status 1. */
static bool survives(const char *bytes, size_t len)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct world w;
        (void)!freopen("/dev/null", "w", stderr);
        setup(&w);
        uint64_t before = w.server->applied;
        struct raft_payload *payload = raft_payload_copy(slice_of(bytes, len));
        node_propose(w.server->node, payload, false);
        for (unsigned i = 0; i < 100 && w.server->applied == before; i++) {
            loop_turn(w.loop, true);
        }
        _exit(w.server->applied == before ? 2 : 0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status)); /* by no signal */
    assert_in_range(WEXITSTATUS(status), 0, 1);
    return WEXITSTATUS(status) == 0;
}

TEST(server, an_entry_that_makes_no_sense_is_passed_over_or_ends_the_member_with_a_sentence)
{
#define ENTRY(text) text, sizeof(text) - 1
    static const struct {
        const char *bytes;
        size_t len;
        bool survives;
    } entries[] = {
        {ENTRY("\x12\x03PUT"), false},                   /* v2: no path, no value */
        {ENTRY("\x12\x03PUT\x1a\x0a/0/version"), false}, /* no value */
        {ENTRY("\x12\x04SYNC"), true},
        {ENTRY("\x12\x03PUT\x1a\x01/\x22\x01v"), false},   /* a v2 key */
        {ENTRY("\x12\x03PUT\x22\x01v\x12\x04SYNC"), true}, /* the last method counts */
        {ENTRY("\xff"), false},
        {ENTRY("\x22\x02\x12\x01"), false},                /* a put cut short */
        {ENTRY("\x22\x03\x12\x01v"), true},                /* without a key: refused in its turn */
        {ENTRY("\x2a\x02\x12\x00"), true},                 /* a delete of nothing */
        {ENTRY("\x32\x02\x12\x00"), true},                 /* a Txn with an empty request in it */
        {ENTRY("\x32\x06\x12\x04\x12\x02\x18\x05"), true}, /* a put without a key */
        {ENTRY("\x3a\x02\x08\x7f"), true},                 /* a compaction of the future */
        {ENTRY("\x42\x02\x08\x7f"), true},                 /* a lease of id 0 */
        {ENTRY("\x4a\x02\x08\x7f"), true},                 /* a revoke of nothing */
        {ENTRY("\x52\x06\x08\x01\x10\x07\x18\x63"), true}, /* an alarm of no known kind */
        {ENTRY("\x5a\x06\x0a\x04\x08\x01\x10\x01"), true}, /* a checkpoint of no lease */
        {ENTRY("\xe2\x44\x00"), false},                    /* a user */
        {ENTRY("\x62\x02\x08\x01"), false},                /* of a later version */
    };
#undef ENTRY
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        if (survives(entries[i].bytes, entries[i].len) != entries[i].survives) {
            fail_msg("entry %zu", i);
        }
    }
}
