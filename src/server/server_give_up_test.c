/* What is given up, refused or begun again: the paths on which a member does less than it was asked
 * for. */
#include "server/server_run.h"

#include <stdlib.h>

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

/* ---- failed proposals ------------------------------------------------------------------------ */

static unsigned failed_proposals(struct world *w)
{
    struct buf text = {0};
    metrics_write(w->metrics, &text);
    const char *at = strstr(buf_cstr(&text), "\netcd_server_proposals_failed_total ");
    assert_non_null(at);
    unsigned count = (unsigned)strtoul(strchr(at, ' ') + 1, NULL, 10);
    buf_fini(&text);
    return count;
}

TEST(server_give_up, a_write_that_nobody_learns_the_outcome_of_is_a_failed_proposal)
{
    struct world w;
    setup(&w);
    struct call *call = call_submit(&w, call_put("a", "1"));
    server_cancel(w.server, &call->request, STATUS_CANCELED);
    call_end(&w, call, STATUS_CANCELED);
    assert_int_equal(failed_proposals(&w), 1);
    sim_env_delay_jobs(w.env, 9 * NS_PER_SEC);
    call_end(&w, call_submit(&w, call_put("a", "1")), STATUS_TIMEOUT);
    sim_env_delay_jobs(w.env, 0);
    assert_int_equal(failed_proposals(&w), 2);
    teardown(&w);
}

TEST(server_give_up, a_write_that_is_refused_is_no_failed_proposal)
{
    struct world w;
    setup(&w);
    call_end(&w, call_submit(&w, call_put("a", "1")), STATUS_OK);
    call_end(&w, call_submit(&w, call_compact(99, false)), STATUS_FUTURE_REVISION);
    struct call *call = call_submit(&w, call_get("a")); /* and a read is none at all */
    server_cancel(w.server, &call->request, STATUS_CANCELED);
    call_end(&w, call, STATUS_CANCELED);
    assert_int_equal(failed_proposals(&w), 0);
    teardown(&w);
}

/* ---- physical compactions -------------------------------------------------------------------- */

/* It may take long in a large database: nobody who has left, and no stop, waits for it. */
TEST(server_give_up, who_leaves_does_not_wait_for_the_rows_of_a_compaction)
{
    struct world w;
    setup(&w);
    for (unsigned i = 0; i < 2000; i++) {
        call_end(&w, call_submit(&w, call_put("a", "1")), STATUS_OK);
    }
    struct call *call = call_submit(&w, call_compact(1900, true));
    while (mvcc_compact_revision(w.server->mvcc) != 1900) {
        loop_turn(w.loop, true);
    }
    assert_int_equal(call->done, 0);
    server_cancel(w.server, &call->request, STATUS_CANCELED);
    assert_int_equal(call->done, 0);
    loop_turn(w.loop, false);
    assert_int_equal(call->done, 1);
    assert_false(mvcc_is_compacted(w.server->mvcc, 1900));
    call_end(&w, call, STATUS_CANCELED);
    call_end(&w, call_submit(&w, call_compact(1950, true)), STATUS_OK);
    assert_true(mvcc_is_compacted(w.server->mvcc, 1950));
    teardown(&w);
}

/* ---- a founding that was cut short ----------------------------------------------------------- */

static struct config *config_of(const char *token)
{
    const char *argv[] = {
        "etcd",
        "--name=m1",
        "--data-dir=/data",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=m1=http://127.0.0.1:2380",
        "--initial-cluster-token",
        token,
    };
    static const char *const environ_none[] = {NULL};
    struct disk *disk = sim_disk_new();
    struct config *loaded = NULL;
    int status = 0;
    struct config_input in = {
        .argc = (int)ARRAY_LEN(argv),
        .argv = argv,
        .environ = environ_none,
        .disk = disk,
        .clock = world_clock,
        .standard_out = {world_log, NULL},
        .standard_error = {world_log, NULL},
    };
    assert_int_equal(config_load(&in, &loaded, &status), CONFIG_RUN);
    sim_disk_free(&disk);
    return loaded;
}

static enum err open_only(struct world *w, const struct config *loaded, struct disk *disk,
                          struct errbuf *why)
{
    *w = (struct world){.disk = disk, .config = loaded};
    w->env = sim_env_new(3, disk);
    w->loop = loop_new(w->env);
    w->metrics = metrics_new();
    struct server_options options = {
        .env = w->env,
        .loop = w->loop,
        .config = loaded,
        .log = config_log(loaded),
        .metrics = w->metrics,
        .on_ready = world_on_ready,
        .ctx = w,
    };
    return server_open(&options, &w->server, why);
}

/* A crash in the first start may leave a log that has its metadata and no entry. It says whose it
 * is: a start with flags that make another member would found a cluster that can elect nobody. */
TEST(server_give_up, a_founding_cut_short_goes_on_only_with_the_same_flags)
{
    struct world w;
    struct errbuf why = {""};
    struct config *first = config_of("one");
    struct config *second = config_of("two");
    struct disk *disk = sim_disk_new();
    assert_int_equal(open_only(&w, first, disk, &why), ERR_OK);
    uint64_t id = server_member_id(w.server);
    world_free(&w); /* before the first turn: nothing but the metadata is in the log */
    assert_int_equal(open_only(&w, second, disk, &why), ERR_INVALID);
    assert_null(w.server);
    assert_non_null(strstr(why.text, "with other flags"));
    assert_non_null(strstr(why.text, "/data/member/wal"));
    world_free(&w);
    world_open(&w, first, disk);
    assert_int_equal(server_member_id(w.server), id);
    call_end(&w, call_submit(&w, call_put("a", "1")), STATUS_OK);
    world_check(&w);
    world_close(&w);
    sim_disk_free(&disk);
    config_free(&second);
    config_free(&first);
}
