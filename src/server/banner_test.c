#include "server/banner.h"

#include "env/posix.h"
#include "unit.h"

#include <stdio.h>

struct fixture {
    struct config *config;
    struct buf lines;
    struct banner_member member;
};

static int64_t clock_fn(void *ctx)
{
    UNUSED(ctx);
    return 0;
}

static void capture(void *ctx, enum log_level level, struct slice text)
{
    UNUSED(level);
    buf_append_slice(ctx, text);
}

static void fixture_init(struct fixture *f, const char *extra)
{
    const char *argv[] = {"etcd", "--name=m1", "--data-dir=d", extra};
    struct config_input in = {
        .argc = extra == NULL ? 3 : 4,
        .argv = argv,
        .disk = posix_disk(),
        .clock = clock_fn,
        .standard_out = {capture, &f->lines},
        .standard_error = {capture, &f->lines},
    };
    int status;
    *f = (struct fixture){.member = {0x8e9e05c52164694d, 0xcdf818194e3a8c32}};
    assert_int_equal(config_load(&in, &f->config, &status), CONFIG_RUN);
    buf_reset(&f->lines);
}

static void fixture_fini(struct fixture *f)
{
    config_free(&f->config);
    buf_fini(&f->lines);
}

/* The lines from their message on, as one text; forgets them. */
static void expect(struct fixture *f, const char *wanted)
{
    struct buf got = {0};
    struct slice rest = buf_slice(&f->lines);
    while (rest.len > 0) {
        struct slice line;
        rest = slice_split(rest, '\n', &line);
        const uint8_t *at = memmem(line.data, line.len, "\"msg\":", 6);
        assert_non_null(at);
        buf_append_slice(&got, slice_skip(line, (size_t)(at - line.data) + 6));
        buf_append_byte(&got, '\n');
    }
    assert_string_equal(buf_cstr(&got), wanted);
    buf_fini(&got);
    buf_reset(&f->lines);
}

TEST(banner, a_start_is_told_in_etcds_words)
{
    static const char *const peers[] = {"http://localhost:2380"};
    struct fixture f;
    fixture_init(&f, NULL);
    banner_peer_listeners(f.config);
    expect(&f,
           "\"configuring peer listeners\",\"listen-peer-urls\":[\"http://localhost:2380\"]}\n");
    banner_client_listeners(f.config);
    expect(&f, "\"configuring client listeners\",\"listen-client-urls\":"
               "[\"http://localhost:2379\"]}\n");
    banner_backend(f.config, 1147996);
    expect(&f, "\"opened backend db\",\"path\":\"d/member/snap/db\",\"took\":\"1.147996ms\"}\n");
    banner_new_member(f.config, &f.member);
    expect(&f, "\"starting local member\",\"local-member-id\":\"8e9e05c52164694d\","
               "\"cluster-id\":\"cdf818194e3a8c32\"}\n");
    banner_old_member(f.config, &f.member, 4);
    expect(&f, "\"restarting local member\",\"cluster-id\":\"cdf818194e3a8c32\","
               "\"local-member-id\":\"8e9e05c52164694d\",\"commit-index\":4}\n");
    banner_limits(f.config);
    expect(&f, "\"enabled backend quota with default value\",\"quota-name\":\"v3-applier\","
               "\"quota-size-bytes\":2147483648,\"quota-size\":\"2.1 GB\"}\n");
    banner_start(f.config, &f.member, NULL);
    expect(&f, "\"starting etcd server\",\"local-member-id\":\"8e9e05c52164694d\","
               "\"local-server-version\":\"3.6.0\",\"cluster-version\":\"to_be_decided\"}\n");
    banner_start(f.config, &f.member, "3.6");
    expect(&f, "\"starting etcd server\",\"local-member-id\":\"8e9e05c52164694d\","
               "\"local-server-version\":\"3.6.0\",\"cluster-id\":\"cdf818194e3a8c32\","
               "\"cluster-version\":\"3.6\"}\n");
    banner_fast_forward(f.config, &f.member, 9);
    expect(&f, "\"started as single-node; fast-forwarding election ticks\",\"local-member-id\":"
               "\"8e9e05c52164694d\",\"forward-ticks\":9,\"forward-duration\":\"900ms\","
               "\"election-ticks\":10,\"election-timeout\":\"1s\"}\n");
    banner_member_added(f.config, &f.member, f.member.member_id, peers, 1, false);
    expect(&f, "\"added member\",\"cluster-id\":\"cdf818194e3a8c32\",\"local-member-id\":"
               "\"8e9e05c52164694d\",\"added-peer-id\":\"8e9e05c52164694d\","
               "\"added-peer-peer-urls\":[\"http://localhost:2380\"],"
               "\"added-peer-is-learner\":false}\n");
    banner_published(f.config, &f.member);
    expect(&f, "\"published local member to cluster through raft\",\"local-member-id\":"
               "\"8e9e05c52164694d\",\"local-member-attributes\":\"{Name:m1 ClientURLs:"
               "[http://localhost:2379]}\",\"cluster-id\":\"cdf818194e3a8c32\","
               "\"publish-timeout\":\"7s\"}\n");
    fixture_fini(&f);
}

TEST(banner, the_settings_are_all_shown)
{
    struct fixture f;
    fixture_init(&f, NULL);
    banner_server(f.config, false, 2);
    const char *line = buf_cstr(&f.lines);
    assert_non_null(strstr(line, "\"msg\":\"starting an etcd server\",\"etcd-version\":\"3.6.0\","
                                 "\"git-sha\":"));
    assert_non_null(strstr(
        line, "\"max-cpu-set\":2,\"max-cpu-available\":2,\"member-initialized\":false,\"name\":"
              "\"m1\",\"data-dir\":\"d\",\"wal-dir\":\"\",\"wal-dir-dedicated\":\"\","
              "\"member-dir\":\"d/member\",\"force-new-cluster\":false,\"heartbeat-interval\":"
              "\"100ms\",\"election-timeout\":\"1s\",\"initial-election-tick-advance\":true,"
              "\"snapshot-count\":10000,\"max-wals\":5,\"max-snapshots\":5,"
              "\"snapshot-catchup-entries\":5000,"));
    assert_non_null(strstr(
        line, "\"listen-metrics-urls\":[],\"experimental-local-address\":\"\",\"cors\":[\"*\"],"
              "\"host-whitelist\":[\"*\"],\"initial-cluster\":\"m1=http://localhost:2380\","
              "\"initial-cluster-state\":\"new\",\"initial-cluster-token\":\"etcd-cluster\","
              "\"quota-backend-bytes\":2147483648,\"max-request-bytes\":1572864,"
              "\"max-concurrent-streams\":4294967295,\"pre-vote\":true,\"feature-gates\":\"\","
              "\"initial-corrupt-check\":false,\"corrupt-check-time-interval\":\"0s\","
              "\"compact-check-time-interval\":\"1m0s\",\"auto-compaction-mode\":\"periodic\","
              "\"auto-compaction-retention\":\"0s\",\"auto-compaction-interval\":\"0s\","));
    assert_non_null(strstr(line, "\"max-learners\":1,\"v2-deprecation\":\"write-only\"}\n"));
    buf_reset(&f.lines);
    banner_server(f.config, true, 2);
    assert_non_null(strstr(buf_cstr(&f.lines), "\"member-initialized\":true"));
    assert_non_null(strstr(buf_cstr(&f.lines), "\"initial-cluster\":\"\""));
    fixture_fini(&f);
}

TEST(banner, ready_and_stop_are_told_in_etcds_words)
{
    struct fixture f;
    fixture_init(&f, NULL);
    banner_serving(f.config, &f.member);
    expect(&f, "\"now serving peer/client/metrics\",\"local-member-id\":\"8e9e05c52164694d\","
               "\"initial-advertise-peer-urls\":[\"http://localhost:2380\"],\"listen-peer-urls\":"
               "[\"http://localhost:2380\"],\"advertise-client-urls\":[\"http://localhost:2379\"],"
               "\"listen-client-urls\":[\"http://localhost:2379\"],\"listen-metrics-urls\":[]}\n");
    banner_cluster_version(f.config, &f.member, "3.6");
    expect(&f, "\"set initial cluster version\",\"cluster-id\":\"cdf818194e3a8c32\","
               "\"local-member-id\":\"8e9e05c52164694d\",\"cluster-version\":\"3.6\"}\n"
               "\"enabled capabilities for version\",\"cluster-version\":\"3.6\"}\n"
               "\"cluster version is updated\",\"cluster-version\":\"3.6\"}\n");
    banner_serving_peer(f.config, "127.0.0.1:2380");
    expect(&f, "\"serving peer traffic\",\"address\":\"127.0.0.1:2380\"}\n");
    banner_ready(f.config, BANNER_GRPC_HTTP, "127.0.0.1:2379");
    expect(&f, "\"ready to serve client requests\"}\n"
               "\"serving client traffic insecurely; this is strongly discouraged!\",\"traffic\":"
               "\"grpc+http\",\"address\":\"127.0.0.1:2379\"}\n");
    banner_notified(f.config);
    expect(&f, "\"notifying init daemon\"}\n\"successfully notified init daemon\"}\n");
    banner_signal(f.config, 15);
    expect(&f, "\"received signal; shutting down\",\"signal\":\"terminated\"}\n");
    banner_signal(f.config, 2);
    expect(&f, "\"received signal; shutting down\",\"signal\":\"interrupt\"}\n");
    banner_closing(f.config);
    expect(&f, "\"closing etcd server\",\"name\":\"m1\",\"data-dir\":\"d\",\"advertise-peer-urls\":"
               "[\"http://localhost:2380\"],\"advertise-client-urls\":"
               "[\"http://localhost:2379\"]}\n");
    banner_alone(f.config, &f.member, f.member.member_id);
    expect(&f, "\"skipped leadership transfer for single voting member cluster\","
               "\"local-member-id\":\"8e9e05c52164694d\",\"current-leader-member-id\":"
               "\"8e9e05c52164694d\"}\n");
    banner_peer_stopped(f.config, "127.0.0.1:2380");
    expect(&f, "\"stopping serving peer traffic\",\"address\":\"127.0.0.1:2380\"}\n"
               "\"stopped serving peer traffic\",\"address\":\"127.0.0.1:2380\"}\n");
    banner_closed(f.config);
    expect(&f, "\"closed etcd server\",\"name\":\"m1\",\"data-dir\":\"d\",\"advertise-peer-urls\":"
               "[\"http://localhost:2380\"],\"advertise-client-urls\":"
               "[\"http://localhost:2379\"]}\n");
    fixture_fini(&f);
}

TEST(banner, quotas_and_requests_beyond_the_usual_are_pointed_out)
{
    struct fixture f;
    fixture_init(&f, "--quota-backend-bytes=9000000000");
    banner_limits(f.config);
    expect(&f, "\"quota exceeds the maximum value\",\"quota-name\":\"v3-applier\","
               "\"quota-size-bytes\":9000000000,\"quota-size\":\"9.0 GB\","
               "\"quota-maximum-size-bytes\":8589934592,\"quota-maximum-size\":\"8.6 GB\"}\n"
               "\"enabled backend quota\",\"quota-name\":\"v3-applier\","
               "\"quota-size-bytes\":9000000000,\"quota-size\":\"9.0 GB\"}\n");
    fixture_fini(&f);
    fixture_init(&f, "--quota-backend-bytes=-1");
    banner_limits(f.config);
    expect(&f, "\"disabled backend quota\",\"quota-name\":\"v3-applier\","
               "\"quota-size-bytes\":-1}\n");
    fixture_fini(&f);
    fixture_init(&f, "--max-request-bytes=20000000");
    banner_limits(f.config);
    assert_non_null(strstr(buf_cstr(&f.lines),
                           "\"msg\":\"exceeded recommended request limit\",\"max-request-bytes\":"
                           "20000000,\"max-request-size\":\"20 MB\",\"recommended-request-bytes\":"
                           "10485760,\"recommended-request-size\":\"10 MB\"}"));
    fixture_fini(&f);
}

TEST(banner, bytes_are_shown_in_powers_of_ten)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},       {999, "999 B"},         {1000, "1.0 kB"}, {16384, "16 kB"},
        {20480, "20 kB"}, {2147483648, "2.1 GB"}, {9950, "10 kB"},  {UINT64_MAX, "18 EB"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = {0};
        banner_bytes(cases[i].bytes, &out);
        assert_string_equal(buf_cstr(&out), cases[i].text);
        buf_fini(&out);
    }
}
