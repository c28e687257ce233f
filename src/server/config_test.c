#include "server/config.h"
#include "server/config_priv.h"

#include "env/posix.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#define WORDS_MAX 64

/* One run of config_load() and what came of it. */
struct run {
    const char *argv[WORDS_MAX];
    int argc;
    const char *environ[WORDS_MAX];
    size_t env_count;
    struct buf out;
    struct buf err;
    struct config *config;
    enum config_verdict verdict;
    int status;
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

static void run_init(struct run *run)
{
    *run = (struct run){.argv = {"etcd"}, .argc = 1};
}

static void run_arg(struct run *run, const char *word)
{
    assert_true(run->argc < WORDS_MAX);
    run->argv[run->argc++] = word;
}

static void run_env(struct run *run, const char *variable)
{
    assert_true(run->env_count + 1 < WORDS_MAX);
    run->environ[run->env_count++] = variable;
}

static void run_go(struct run *run)
{
    struct config_input in = {
        .argc = run->argc,
        .argv = run->argv,
        .environ = run->environ,
        .disk = posix_disk(),
        .clock = clock_fn,
        .standard_out = {capture, &run->out},
        .standard_error = {capture, &run->err},
    };
    run->status = -1;
    run->verdict = config_load(&in, &run->config, &run->status);
    assert_true((run->config != NULL) == (run->verdict == CONFIG_RUN));
    buf_cstr(&run->out);
    buf_cstr(&run->err);
}

static void run_fini(struct run *run)
{
    config_free(&run->config);
    buf_fini(&run->out);
    buf_fini(&run->err);
}

/* Runs with the flags in `line`, split at blanks. */
static void run_line(struct run *run, const char *line)
{
    static char copy[4096];
    run_init(run);
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
        run_arg(run, word);
    }
    run_go(run);
}

static void expect_in(struct buf *text, const char *wanted)
{
    if (strstr(buf_cstr(text), wanted) == NULL) {
        print_message("# wanted: %s\n# in: %s\n", wanted, buf_cstr(text));
        fail();
    }
}

static void expect_not_in(struct buf *text, const char *unwanted)
{
    if (strstr(buf_cstr(text), unwanted) != NULL) {
        print_message("# unwanted: %s\n# in: %s\n", unwanted, buf_cstr(text));
        fail();
    }
}

/* The line ended with exit 1 and this error in `failed to verify flags`. */
static void expect_refusal(struct run *run, const char *sentence)
{
    struct buf wanted = {0};
    buf_append_str(&wanted, "\"msg\":\"failed to verify flags\",\"error\":");
    log_json_quote(slice_str(sentence), &wanted);
    buf_append_str(&wanted, "}\n");
    assert_int_equal(run->verdict, CONFIG_EXIT);
    assert_int_equal(run->status, 1);
    expect_in(&run->err, buf_cstr(&wanted));
    buf_fini(&wanted);
}

/* ---- running ------------------------------------------------------------------------------------
 */

TEST(config, without_flags_everything_has_etcds_default)
{
    struct run run;
    run_line(&run, "");
    assert_int_equal(run.verdict, CONFIG_RUN);
    assert_int_equal(run.status, 0);
    const struct config *config = run.config;
    assert_string_equal(config->name, "default");
    assert_string_equal(config->data_dir, "default.etcd");
    assert_int_equal(config->snapshot_count, 10000);
    assert_int_equal(config->snapshot_catchup_entries, 5000);
    assert_int_equal(config->election_ticks, 10);
    assert_int_equal(config->max_request_bytes, 1572864);
    assert_int_equal(config->max_txn_ops, 128);
    assert_true(config->max_concurrent_streams == UINT32_MAX);
    assert_int_equal(config->grpc_keepalive_min_time_ns, 5000000000);
    assert_int_equal(config_quota(config), CONFIG_QUOTA_DEFAULT);
    assert_int_equal(config_batch_interval_ns(config), 100000000);
    assert_int_equal(config_batch_limit(config), 10000);
    assert_int_equal(config_compaction_batch_limit(config), 1000);
    assert_int_equal(config_compaction_sleep_ns(config), 10000000);
    assert_int_equal(config_watch_progress_ns(config), 600000000000);
    assert_int_equal(config_freelist(config), CONFIG_FREELIST_MAP);
    assert_int_equal(config_request_timeout_ns(config), 7000000000);
    assert_int_equal(config->warning_unary_request_duration_ns, 300000000);
    assert_string_equal(config->initial_cluster, "default=http://localhost:2380");
    assert_string_equal(config->v2_deprecation, "write-only");
    assert_true(config->pre_vote);
    assert_true(config->gates[CONFIG_GATE_TXN_MODE_WRITE_WITH_SHARED_BUFFER]);
    assert_false(config->gates[CONFIG_GATE_LEASE_CHECKPOINT]);
    assert_string_equal(config->gates_text, "");
    assert_string_equal(config_member_dir(config), "default.etcd/member");
    assert_string_equal(config_wal_dir(config), "default.etcd/member/wal");
    assert_string_equal(config_snap_dir(config), "default.etcd/member/snap");
    assert_string_equal(config_backend_path(config), "default.etcd/member/snap/db");
    expect_in(&run.err, "\"msg\":\"Running: \",\"args\":[\"etcd\"]}");
    expect_in(&run.err, "it isn't recommended to use default name");
    expect_in(&run.err, "\"msg\":\"'data-dir' was empty; using default\","
                        "\"data-dir\":\"default.etcd\"}");
    expect_in(&run.err, "Running http and grpc server on single port.");
    run_fini(&run);
}

TEST(config, flags_arrive_and_settings_follow_from_them)
{
    struct run run;
    run_line(&run, "--name m1 -data-dir=/d --wal-dir /w --heartbeat-interval 50 "
                   "--election-timeout=1025 --quota-backend-bytes -1 "
                   "--listen-client-urls http://127.0.0.1:2,http://127.0.0.1:1,http://127.0.0.1:2 "
                   "--advertise-client-urls http://h:1 --listen-peer-urls http://127.0.0.1:3 "
                   "--initial-advertise-peer-urls http://127.0.0.1:3 "
                   "--backend-bbolt-freelist-type array");
    assert_int_equal(run.verdict, CONFIG_RUN);
    const struct config *config = run.config;
    assert_int_equal(config->election_ticks, 20);
    assert_int_equal(config_request_timeout_ns(config), 7000000000);
    assert_true(config_quota(config) == INT64_MAX);
    assert_string_equal(config_wal_dir(config), "/w");
    assert_int_equal(config->listen_client_urls.count, 2);
    assert_string_equal(config->listen_client_urls.items[0].text, "http://127.0.0.1:1");
    assert_string_equal(config->initial_cluster, "m1=http://127.0.0.1:3");
    assert_int_equal(config_freelist(config), CONFIG_FREELIST_ARRAY);
    expect_not_in(&run.err, "default name");
    struct url_map map;
    struct errbuf why;
    assert_int_equal(config_bootstrap(config, &map, &why), ERR_OK);
    assert_int_equal(map.count, 1);
    run_fini(&run);
}

/* ---- help, version, usage
 * --------------------------------------------------------------------------- */

TEST(config, help_lists_every_flag_on_standard_output)
{
    static const char *const lines[] = {"--help", "-h", "--name x -help"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct run run;
        run_line(&run, lines[i]);
        assert_int_equal(run.verdict, CONFIG_EXIT);
        assert_int_equal(run.status, 0);
        for (size_t row = 0; row < config__row_count; row++) {
            char line[96];
            snprintf(line, sizeof(line), "\n  --%s '", config__rows[row].name);
            expect_in(&run.out, line);
        }
        expect_in(&run.out, "\nMember:\n  --name 'default'\n    Name of this member");
        expect_in(&run.out, "\n\nUnsafe feature:\n  --force-new-cluster 'false'\n");
        expect_in(&run.out, "\n    CompactHashCheck=true|false (ALPHA - default=false)\n");
        expect_in(&run.err, "Usage:\n\n  etcd [flags]\n");
        run_fini(&run);
    }
}

TEST(config, version_is_four_lines_of_etcd_and_one_of_ours)
{
    struct run run;
    run_line(&run, "--version --name x");
    assert_int_equal(run.verdict, CONFIG_EXIT);
    assert_int_equal(run.status, 0);
    expect_in(&run.out, "etcd Version: 3.6.0\nGit SHA: ");
    expect_in(&run.out, "\nGo Version: none\nGo OS/Arch: linux/");
    expect_in(&run.out, "\netcd.c Version: 0.1.0\n");
    assert_int_equal(run.err.len, 0);
    run_fini(&run);
}

TEST(config, a_wrong_flag_is_gos_sentence_and_the_usage_with_status_two)
{
    static const struct {
        const char *line;
        const char *sentence;
    } cases[] = {
        {"--nope", "flag provided but not defined: -nope\nUsage:\n"},
        {"--name", "flag needs an argument: -name\nUsage:\n"},
        {"--pre-vote=maybe",
         "invalid boolean value \"maybe\" for -pre-vote: parse error\nUsage:\n"},
        {"--snapshot-count -1", "invalid value \"-1\" for flag -snapshot-count: parse error\n"},
        {"--quota-backend-bytes 9223372036854775808",
         "invalid value \"9223372036854775808\" for flag -quota-backend-bytes: value out of "
         "range\n"},
        {"--max-concurrent-streams x",
         "invalid value \"x\" for flag -max-concurrent-streams: strconv.ParseUint: parsing \"x\": "
         "invalid syntax\n"},
        {"--backend-batch-interval 5",
         "invalid value \"5\" for flag -backend-batch-interval: parse error\n"},
        {"--initial-cluster-state old",
         "invalid value \"old\" for flag -initial-cluster-state: invalid value\n"},
        {"--discovery-fallback x", "invalid value \"x\" for flag -discovery-fallback: invalid "
                                   "value\n"},
        {"--v2-deprecation not-yet",
         "invalid value \"not-yet\" for flag -v2-deprecation: invalid value \"not-yet\"\n"},
        {"--listen-client-urls ftp://a:1",
         "invalid value \"ftp://a:1\" for flag -listen-client-urls: URL scheme must be http, "
         "https, unix, or unixs: ftp://a:1\n"},
        {"--listen-client-urls http://a",
         "invalid value \"http://a\" for flag -listen-client-urls: URL address does not have the "
         "form \"host:port\": http://a\n"},
        {"--advertise-client-urls http://a:1/x",
         "invalid value \"http://a:1/x\" for flag -advertise-client-urls: URL must not contain a "
         "path: http://a:1/x\n"},
        {"--cors=x", "invalid value \"x\" for flag -cors: URL scheme must be http, https, unix, or "
                     "unixs: x\n"},
        {"--feature-gates X=true",
         "invalid value \"X=true\" for flag -feature-gates: unrecognized feature gate: X\n"},
        {"--feature-gates AllBeta",
         "invalid value \"AllBeta\" for flag -feature-gates: missing bool value for AllBeta\n"},
        {"--feature-gates AllBeta=x",
         "invalid value \"AllBeta=x\" for flag -feature-gates: invalid value of AllBeta=x, err: "
         "strconv.ParseBool: parsing \"x\": invalid syntax\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct run run;
        run_line(&run, cases[i].line);
        assert_int_equal(run.verdict, CONFIG_EXIT);
        assert_int_equal(run.status, 2);
        assert_int_equal(run.out.len, 0);
        expect_in(&run.err, cases[i].sentence);
        run_fini(&run);
    }
}

TEST(config, sub_commands_are_refused_by_name)
{
    struct run run;
    run_line(&run, "gateway start");
    assert_int_equal(run.status, 1);
    expect_in(&run.err, "etcd gateway: the TCP gateway is not built yet");
    run_fini(&run);
    run_line(&run, "grpc-proxy start --endpoints x");
    assert_int_equal(run.status, 1);
    expect_in(&run.err, "etcd grpc-proxy: the gRPC proxy is not built yet");
    run_fini(&run);
}

/* ---- validation
 * ------------------------------------------------------------------------------------- */

TEST(config, what_etcd_refuses_is_refused_in_its_words)
{
    static const struct {
        const char *line;
        const char *sentence;
    } cases[] = {
        {"x", "\"x\" is not a valid flag"},
        {"--name m x -y", "\"x\" is not a valid flag"},
        {"--listen-peer-urls http://example.com:1",
         "expected IP in URL for binding (http://example.com:1)"},
        {"--listen-client-urls http://[::g]:1 --advertise-client-urls http://a:1",
         "expected IP in URL for binding (http://[::g]:1)"},
        {"--listen-metrics-urls http://:1", "expected IP in URL for binding (http://:1)"},
        {"--advertise-client-urls http://:2379",
         "--advertise-client-urls \"http://:2379\" must be \"host:port\" (unexpected empty host "
         "(http://:2379))"},
        {"--initial-advertise-peer-urls unix:///x",
         "--initial-advertise-peer-urls \"unix:///x\" must be \"host:port\" (missing port in "
         "address)"},
        {"--listen-client-urls http://127.0.0.1:1",
         "--advertise-client-urls is required when --listen-client-urls is set explicitly"},
        {"--heartbeat-interval 0", "--heartbeat-interval must be >0 (set to 0ms)"},
        {"--election-timeout 0", "--election-timeout must be >0 (set to 0ms)"},
        {"--heartbeat-interval 201",
         "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[201ms]"},
        {"--heartbeat-interval 18446744073709551615",
         "--election-timeout[1000ms] should be at least as 5 times as "
         "--heartbeat-interval[18446744073709551615ms]"},
        {"--election-timeout 50001",
         "--election-timeout[50001ms] is too long, and should be set less than 50000ms"},
        {"--auto-compaction-mode x", "unknown auto-compaction-mode \"x\""},
        {"--auto-compaction-mode=", "undefined auto-compaction-mode"},
        {"--compact-hash-check-time 0s", "--compact-hash-check-time must be >0 (set to 0s)"},
        {"--experimental-compact-hash-check-time -1s",
         "--experimental-compact-hash-check-time must be >0 (set to -1s)"},
        {"--feature-gates LeaseCheckpointPersist=true",
         "enabling feature gate LeaseCheckpointPersist requires enabling feature gate "
         "LeaseCheckpoint"},
        {"--experimental-enable-lease-checkpoint-persist",
         "enabling feature gate LeaseCheckpointPersist requires enabling feature gate "
         "LeaseCheckpoint"},
        {"--tls-min-version x", "unexpected TLS version \"x\" (must be one of: TLS1.2, TLS1.3)"},
        {"--tls-min-version TLS1.3 --tls-max-version TLS1.2",
         "min version (TLS1.3) is greater than max version (TLS1.2)"},
        {"--tls-min-version TLS1.3 --cipher-suites A",
         "cipher suites cannot be configured when only TLS1.3 is enabled"},
        {"--initial-cluster a=http://a:1 --discovery http://d",
         "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", "
         "\"discovery\", \"discovery-endpoints\" or \"discovery-srv\""},
        {"--discovery-token t", "both --discovery-token and --discovery-endpoints must be set"},
        {"--discovery-token t --discovery-endpoints a,,b",
         "--discovery-endpoints must not contain empty endpoints"},
        {"--discovery-proxy p --discovery-token t",
         "both v2 discovery settings (discovery, discovery-proxy) and v3 discovery settings "
         "(discovery-token, discovery-endpoints, discovery-cert, discovery-key, discovery-cacert, "
         "discovery-user, discovery-password) are set"},
        {"--discovery-fallback proxy",
         "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\""},
        {"--logger capnslog", "--logger=capnslog is removed in v3.5"},
        {"--logger x", "unknown logger option \"x\""},
        {"--log-format x", "unknown log format: x, supported values json, console"},
        {"--log-level x", "unrecognized level: \"x\""},
        {"--log-outputs default,stderr", "multi logoutput for \"default\" is not supported yet"},
        {"--enable-log-rotation", "--log-outputs requires a single file path when "
                                  "--log-rotate-config-json is defined"},
        {"--enable-log-rotation --log-outputs a,b",
         "--log-outputs requires a single file path when --log-rotate-config-json is defined"},
        {"--corrupt-check-time 1s --experimental-corrupt-check-time 1s",
         "cannot set --experimental-corrupt-check-time and --corrupt-check-time at the same time, "
         "please use --corrupt-check-time only"},
        {"--warning-unary-request-duration 1s --experimental-warning-unary-request-duration 1s",
         "both --experimental-warning-unary-request-duration and --warning-unary-request-duration "
         "flags are set. Use only --warning-unary-request-duration"},
        {"--experimental-initial-corrupt-check --feature-gates InitialCorruptCheck=false",
         "cannot specify both flags: --experimental-initial-corrupt-check=true and "
         "--feature-gates=InitialCorruptCheck=false at the same time, please just use "
         "--feature-gates=InitialCorruptCheck=false"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct run run;
        print_message("# %s\n", cases[i].line);
        run_line(&run, cases[i].line);
        expect_refusal(&run, cases[i].sentence);
        expect_in(&run.err, "\"msg\":\"Running: \",\"args\":[\"etcd\",\"");
        run_fini(&run);
    }
}

TEST(config, an_unreadable_retention_is_fatal_as_in_etcd)
{
    struct run run;
    run_line(&run, "--auto-compaction-retention 0h");
    assert_int_equal(run.verdict, CONFIG_EXIT);
    run_fini(&run);
    run_line(&run, "--auto-compaction-retention=");
    assert_int_equal(run.verdict, CONFIG_EXIT);
    run_fini(&run);
}

TEST(config, older_flags_work_and_warn)
{
    struct run run;
    run_line(&run, "--experimental-warning-apply-duration 5s "
                   "--experimental-compaction-batch-limit 7 "
                   "--experimental-snapshot-catchup-entries=9 --max-snapshots 3 "
                   "--experimental-txn-mode-write-with-shared-buffer=false "
                   "--experimental-warning-unary-request-duration 2s");
    assert_int_equal(run.verdict, CONFIG_RUN);
    assert_int_equal(run.config->warning_apply_duration_ns, 5000000000);
    assert_int_equal(run.config->compaction_batch_limit, 7);
    assert_int_equal(run.config->snapshot_catchup_entries, 9);
    assert_int_equal(run.config->warning_unary_request_duration_ns, 2000000000);
    assert_false(run.config->gates[CONFIG_GATE_TXN_MODE_WRITE_WITH_SHARED_BUFFER]);
    assert_string_equal(run.config->gates_text, "TxnModeWriteWithSharedBuffer=false");
    expect_in(&run.err, "\"level\":\"warn\"");
    expect_in(&run.err,
              "\"msg\":\"--experimental-warning-apply-duration is deprecated in v3.6 and will be "
              "decommissioned in v3.7. Use '--warning-apply-duration' instead.\"}");
    expect_in(&run.err, "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.");
    expect_in(&run.err, "--experimental-warning-unary-request-duration is deprecated, and will be");
    run_fini(&run);
}

TEST(config, legacy_flags_are_taken_with_a_warning)
{
    struct run run;
    run_line(&run, "--force -v --vv=3 --snapshot --peer-heartbeat-interval=5");
    assert_int_equal(run.verdict, CONFIG_RUN);
    expect_in(&run.err, "\"msg\":\"flag is no longer supported - ignoring\",\"flag-name\":\"vv\"}");
    run_fini(&run);
}

TEST(config, gates_by_group_and_by_name)
{
    struct run run;
    run_line(&run, "--feature-gates AllBeta=false");
    assert_int_equal(run.verdict, CONFIG_RUN);
    assert_false(run.config->gates[CONFIG_GATE_TXN_MODE_WRITE_WITH_SHARED_BUFFER]);
    assert_string_equal(run.config->gates_text, "AllBeta=false,TxnModeWriteWithSharedBuffer=false");
    run_fini(&run);
    run_line(&run, "--feature-gates=AllBeta=false,TxnModeWriteWithSharedBuffer=1,,");
    assert_int_equal(run.verdict, CONFIG_RUN);
    assert_true(run.config->gates[CONFIG_GATE_TXN_MODE_WRITE_WITH_SHARED_BUFFER]);
    run_fini(&run);
    run_line(&run, "--feature-gates=AllAlpha=true");
    expect_refusal(&run, "--feature-gates: of the gates only TxnModeWriteWithSharedBuffer can be "
                         "set yet; the others' features are not built");
    run_fini(&run);
}

/* ---- environment
 * ------------------------------------------------------------------------------------ */

TEST(config, the_environment_counts_where_the_command_line_is_silent)
{
    struct run run;
    run_init(&run);
    run_arg(&run, "--max-txn-ops=5");
    run_env(&run, "ETCD_NAME=from-env");
    run_env(&run, "ETCD_DATA_DIR=");
    run_env(&run, "ETCD_PRE_VOTE=0");
    run_env(&run, "ETCD_NO_SUCH=1");
    run_env(&run, "ETCD_VERSION=9");
    run_env(&run, "no-equals-sign");
    run_env(&run, "HOME=/x");
    run_go(&run);
    assert_int_equal(run.verdict, CONFIG_RUN);
    assert_string_equal(run.config->name, "from-env");
    assert_string_equal(run.config->data_dir, "from-env.etcd");
    assert_false(run.config->pre_vote);
    expect_in(&run.err, "\"level\":\"info\",\"ts\":\"1970-01-01T00:00:00.000000Z\",\"caller\":"
                        "\"server/config_env.c:");
    expect_in(&run.err, "\"msg\":\"recognized and used environment variable\",\"variable-name\":"
                        "\"ETCD_NAME\",\"variable-value\":\"from-env\"}");
    expect_in(&run.err, "\"msg\":\"unrecognized environment variable\",\"environment-variable\":"
                        "\"ETCD_NO_SUCH=1\"}");
    expect_in(&run.err, "\"msg\":\"cannot set special environment variable\",\"key\":"
                        "\"ETCD_VERSION\",\"value\":\"9\"}");
    expect_in(&run.err, "\"msg\":\"found invalid environment variable\",\"environment-variable\":"
                        "\"no-equals-sign\"}");
    expect_not_in(&run.err, "ETCD_VERSION=9");
    run_fini(&run);
}

TEST(config, a_flag_and_its_variable_together_are_fatal)
{
    struct run run;
    run_init(&run);
    run_arg(&run, "--name=same");
    run_env(&run, "ETCD_NAME=same");
    run_go(&run);
    assert_int_equal(run.verdict, CONFIG_EXIT);
    assert_int_equal(run.status, 1);
    expect_in(&run.err, "{\"level\":\"fatal\"");
    expect_in(&run.err, "\"msg\":\"conflicting environment variable is shadowed by corresponding "
                        "command-line flag (either unset environment variable or disable flag))\","
                        "\"environment-variable\":\"ETCD_NAME\"}\n");
    expect_not_in(&run.err, "Running: ");
    run_fini(&run);
}

TEST(config, a_wrong_variable_is_refused_with_its_name)
{
    struct run run;
    run_init(&run);
    run_env(&run, "ETCD_SNAPSHOT_COUNT=many");
    run_go(&run);
    expect_refusal(&run, "invalid value \"many\" for ETCD_SNAPSHOT_COUNT: parse error");
    run_fini(&run);
}

/* ---- the file
 * ----------------------------------------------------------------------------------------- */

/* Writes `text` to a file of its own and loads it. */
static void run_file(struct run *run, const char *text)
{
    static char path[128];
    struct errbuf why;
    snprintf(path, sizeof(path), "%s/etcd.yaml", test_dir());
    assert_int_equal(disk_write_file(posix_disk(), path, slice_str(text), &why), ERR_OK);
    run_init(run);
    run_arg(run, "--config-file");
    run_arg(run, path);
    run_go(run);
}

TEST(config, a_file_takes_the_place_of_flags_and_environment)
{
    static char path[128];
    struct run run;
    struct errbuf why;
    snprintf(path, sizeof(path), "%s/etcd.yaml", test_dir());
    assert_int_equal(disk_write_file(posix_disk(), path, SLICE("name: m1\n"), &why), ERR_OK);
    run_init(&run);
    run_arg(&run, "--name=flag");
    run_arg(&run, "--max-txn-ops=7");
    run_arg(&run, "--feature-gates=AllAlpha=true");
    run_arg(&run, "--config-file");
    run_arg(&run, path);
    run_env(&run, "ETCD_NAME=env");
    run_go(&run);
    assert_int_equal(run.verdict, CONFIG_RUN);
    assert_string_equal(run.config->name, "m1");
    assert_int_equal(run.config->max_txn_ops, 128);
    assert_string_equal(run.config->initial_cluster, "m1=http://localhost:2380");
    expect_in(&run.err, "\"msg\":\"loaded server configuration, other configuration command line "
                        "flags and environment variables will be ignored if provided\",\"path\":");
    run_fini(&run);

    run_init(&run);
    snprintf(path, sizeof(path), "ETCD_CONFIG_FILE=%s/etcd.yaml", test_dir());
    assert_int_equal(disk_write_file(posix_disk(), path + 17, SLICE("max-txn-ops: 9"), &why),
                     ERR_OK);
    run_env(&run, path);
    run_go(&run);
    assert_int_equal(run.verdict, CONFIG_RUN);
    assert_int_equal(run.config->max_txn_ops, 9);
    run_fini(&run);
}

TEST(config, a_file_has_every_kind_of_value)
{
    struct run run;
    run_file(&run, "name: 12\n"
                   "auto-compaction-retention: 0\n"
                   "snapshot-count: 1e3\n"
                   "quota-backend-bytes: -5\n"
                   "backend-batch-interval: 5000000\n"
                   "pre-vote: no\n"
                   "listen-client-urls: 'http://127.0.0.1:2,http://127.0.0.1:1'\n"
                   "cors: 'http://a:1,http://b:1'\n"
                   "host-whitelist: b,a,b\n"
                   "log-outputs: [stdout, stderr]\n"
                   "socket-options:\n  reuse-port: true\n"
                   "feature-gates: TxnModeWriteWithSharedBuffer=false\n"
                   "experimental-snapshot-catch-up-entries: 77\n"
                   "no-such-key: {a: [1]}\n");
    assert_int_equal(run.verdict, CONFIG_RUN);
    const struct config *config = run.config;
    assert_string_equal(config->name, "12");
    assert_int_equal(config->snapshot_count, 1000);
    assert_int_equal(config->backend_batch_interval_ns, 5000000);
    assert_false(config->pre_vote);
    assert_string_equal(config->listen_client_urls.items[0].text, "http://127.0.0.1:1");
    assert_int_equal(config->advertise_client_urls.count, 1);
    assert_int_equal(config->cors.count, 2);
    assert_int_equal(config->host_whitelist.count, 2);
    assert_string_equal(config->host_whitelist.items[0], "a");
    assert_true(config->socket_reuse_port);
    assert_int_equal(config->snapshot_catchup_entries, 77);
    assert_false(config->gates[CONFIG_GATE_TXN_MODE_WRITE_WITH_SHARED_BUFFER]);
    expect_in(&run.out, "Running: ");
    expect_in(&run.err, "Running: ");
    run_fini(&run);
}

TEST(config, a_wrong_file_is_refused)
{
    static const struct {
        const char *text;
        const char *sentence;
    } cases[] = {
        {"[1]", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into "
                "Go value of type embed.configYAML"},
        {"a: [1", "error converting YAML to JSON: yaml: line 1: did not find expected ',' or ']'"},
        {"heartbeat-interval: x",
         "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go "
         "struct field configYAML.heartbeat-interval of type uint"},
        {"snapshot-count: -1",
         "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal number -1 into Go "
         "struct field configYAML.snapshot-count of type uint"},
        {"snapshot-count: 1.5",
         "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal number 1.5 into Go "
         "struct field configYAML.snapshot-count of type uint"},
        {"max-concurrent-streams: 4294967296",
         "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal number 4294967296 "
         "into Go struct field configYAML.max-concurrent-streams of type uint32"},
        {"backend-batch-interval: 5s",
         "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go "
         "struct field configYAML.backend-batch-interval of type time.Duration"},
        {"pre-vote: 1", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal "
                        "number 1 into Go struct field configYAML.pre-vote of type bool"},
        {"name: [a]", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array "
                      "into Go struct field configYAML.name of type string"},
        {"log-outputs: stderr",
         "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go "
         "struct field configYAML.log-outputs of type []string"},
        {"name: \"a\\0b\"", "the value of name has a zero byte in it"},
        {"peer-transport-security: x", "invalid peer-transport-security"},
        {"feature-gates: X=true", "unrecognized feature gate: X"},
        {"initial-cluster-state: maybe", "unexpected clusterState \"maybe\""},
        {"cors: nope", "URL scheme must be http, https, unix, or unixs: nope"},
        {"experimental-initial-corrupt-check: true\nfeature-gates: InitialCorruptCheck=true\n",
         "cannot specify both flags: --experimental-initial-corrupt-check=true and "
         "--feature-gates=InitialCorruptCheck=true at the same time, please just use "
         "--feature-gates=InitialCorruptCheck=true"},
        {"client-transport-security:\n  cert-file: c\n",
         "--cert-file: TLS is not built yet; serve plain HTTP behind something that encrypts"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct run run;
        print_message("# %s\n", cases[i].text);
        run_file(&run, cases[i].text);
        expect_refusal(&run, cases[i].sentence);
        run_fini(&run);
    }
}

TEST(config, a_wrong_url_in_a_file_is_said_on_standard_error)
{
    struct run run;
    run_file(&run, "listen-peer-urls: nope\n");
    assert_int_equal(run.status, 1);
    assert_string_equal(buf_cstr(&run.err), "unexpected error setting up listen-peer-urls: URL "
                                            "scheme must be http, https, unix, or unixs: nope\n");
    run_fini(&run);
}

TEST(config, a_missing_file_is_refused)
{
    struct run run;
    run_line(&run, "--config-file /nonexistent/etcd.yaml");
    expect_refusal(&run, "open /nonexistent/etcd.yaml: no such file or directory");
    run_fini(&run);
}

/* ---- every flag, every way
 * --------------------------------------------------------------------------- */

/* A value of the row's kind that is not its default. */
static const char *sample(const struct config_row *row)
{
    switch (row->kind) {
    case CONFIG_KIND_BOOL:
    case CONFIG_KIND_GATE:
        return row->initial != NULL && strcmp(row->initial, "true") == 0 ? "false" : "true";
    case CONFIG_KIND_INT:
    case CONFIG_KIND_UINT:
    case CONFIG_KIND_UINT32:
        return strcmp(row->name, "election-timeout") == 0 ? "2000" : "77";
    case CONFIG_KIND_DURATION:
        return "7s";
    case CONFIG_KIND_STRING:
        return strcmp(row->name, "auto-compaction-mode") == 0 ? "revision"
               : strcmp(row->name, "log-format") == 0         ? "console"
               : strcmp(row->name, "log-level") == 0          ? "debug"
               : strcmp(row->name, "tls-min-version") == 0    ? "TLS1.3"
               : strcmp(row->name, "tls-max-version") == 0    ? "TLS1.3"
               : strcmp(row->name, "initial-cluster") == 0    ? "a=http://a:1"
                                                              : "sample";
    case CONFIG_KIND_URLS:
    case CONFIG_KIND_CORS:
        return "http://127.0.0.1:4321";
    case CONFIG_KIND_SET:
    case CONFIG_KIND_WORDS:
        return strcmp(row->name, "log-outputs") == 0 ? "stdout" : "one,two";
    case CONFIG_KIND_STATE:
        return "existing";
    case CONFIG_KIND_FALLBACK:
        return "proxy";
    case CONFIG_KIND_V2:
        return "write-only-skip-check";
    case CONFIG_KIND_GATES:
        return "TxnModeWriteWithSharedBuffer=false";
    case CONFIG_KIND_IGNORED:
        return "true";
    }
    UNREACHABLE();
}

/* The value arrived where its name of today keeps it, or was refused by a sentence that names the
 * flag or what is wrong with it: never taken and forgotten. */
static void expect_arrived(struct run *run, const struct config_row *row)
{
    const char *value = sample(row);
    if (run->verdict == CONFIG_EXIT) {
        assert_int_equal(run->status, 1);
        bool is_gate = row->kind == CONFIG_KIND_GATE;
        const char *name = is_gate ? "gate" : row->successor != NULL ? row->successor : row->name;
        const char *reason = strstr(buf_cstr(&run->err), "failed to verify flags");
        assert_non_null(reason);
        if (strstr(reason, name) == NULL) { /* these are refused for what must go with them */
            bool is_known = strcmp(row->name, "logger") == 0 ||
                            strcmp(row->name, "enable-log-rotation") == 0 ||
                            strncmp(row->name, "discovery-", 10) == 0;
            assert_true(is_known);
        }
        return;
    }
    const struct config_row *today = row;
    if (row->successor != NULL && row->kind != CONFIG_KIND_GATE) {
        today = config__row(row->successor);
    }
    if (row->kind != CONFIG_KIND_IGNORED) {
        assert_string_equal(config__show(run->config, today), value);
    }
}

TEST(config, every_flag_arrives_from_the_command_line_or_is_refused)
{
    for (size_t i = 0; i < config__row_count; i++) {
        const struct config_row *row = &config__rows[i];
        struct run run;
        char word[256];
        print_message("# --%s\n", row->name);
        run_init(&run);
        snprintf(word, sizeof(word), "--%s=%s", row->name, sample(row));
        run_arg(&run, word);
        if (strcmp(row->name, "listen-client-urls") == 0) {
            run_arg(&run, "--advertise-client-urls=http://a:1");
        }
        run_go(&run);
        expect_arrived(&run, row);
        run_fini(&run);
    }
}

TEST(config, every_flag_arrives_from_the_environment_or_is_refused)
{
    for (size_t i = 0; i < config__row_count; i++) {
        const struct config_row *row = &config__rows[i];
        struct run run;
        char word[256];
        char name[96];
        size_t len = 0;
        for (; row->name[len] != 0; len++) {
            char c = row->name[len];
            name[len] = (char)(c == '-' ? '_' : c >= 'a' && c <= 'z' ? c - 32 : c);
        }
        name[len] = 0;
        print_message("# ETCD_%s\n", name);
        run_init(&run);
        snprintf(word, sizeof(word), "ETCD_%s=%s", name, sample(row));
        run_env(&run, word);
        if (strcmp(row->name, "listen-client-urls") == 0) {
            run_env(&run, "ETCD_ADVERTISE_CLIENT_URLS=http://a:1");
        }
        run_go(&run);
        expect_arrived(&run, row);
        run_fini(&run);
    }
}

/* "a.b.c" and a value as the lines of nested maps. */
static void nest(struct buf *out, const char *path, const char *value)
{
    int depth = 0;
    struct slice rest = slice_str(path);
    while (rest.len > 0) {
        struct slice part;
        rest = slice_split(rest, '.', &part);
        buf_printf(out, "%*s%.*s:", depth, "", (int)part.len, (const char *)part.data);
        buf_append_str(out, rest.len > 0 ? "\n" : " ");
        depth += 2;
    }
    buf_append_str(out, value);
    buf_append_byte(out, '\n');
}

TEST(config, every_flag_arrives_from_the_file_or_is_refused)
{
    for (size_t i = 0; i < config__row_count; i++) {
        const struct config_row *row = &config__rows[i];
        const char *key = row->key == NULL ? row->name : row->key;
        struct run run;
        struct buf text = {0};
        char list[64];
        const char *value = sample(row);
        if (key[0] == 0) {
            continue;
        }
        bool is_list = row->kind == CONFIG_KIND_WORDS ||
                       (row->kind == CONFIG_KIND_SET && strcmp(row->name, "host-whitelist") != 0);
        if (is_list) {
            snprintf(list, sizeof(list), "[%s]", value);
            value = list;
        } else if (row->kind == CONFIG_KIND_DURATION) {
            value = "7000000000";
        }
        nest(&text, key, value);
        print_message("# %s", buf_cstr(&text));
        run_file(&run, buf_cstr(&text));
        expect_arrived(&run, row);
        run_fini(&run);
        buf_fini(&text);
    }
}

/* ---- what is not built
 * --------------------------------------------------------------------------- */

TEST(config, what_is_not_built_is_refused_and_names_its_flag)
{
    static const char *const lines[] = {
        "--cert-file c",
        "--key-file k",
        "--client-cert-auth",
        "--client-crl-file c",
        "--trusted-ca-file c",
        "--auto-tls",
        "--peer-auto-tls",
        "--peer-cert-allowed-cn a",
        "--listen-client-urls https://127.0.0.1:1 --advertise-client-urls http://a:1",
        "--listen-peer-urls https://127.0.0.1:1",
        "--listen-metrics-urls unixs:///x",
        "--discovery http://d",
        "--discovery-srv d",
        "--initial-cluster default=http://localhost:2380,b=http://b:1",
        "--force-new-cluster",
        "--auth-token jwt,pub-key=x",
        "--auto-compaction-retention 1",
        "--corrupt-check-time 1s",
        "--bootstrap-defrag-threshold-megabytes 1",
        "--memory-mlock",
        "--enable-pprof",
        "--metrics extensive",
        "--enable-distributed-tracing",
        "--feature-gates SetMemberLocalAddr=true",
        "--log-outputs systemd/journal",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct run run;
        char flag[64];
        print_message("# %s\n", lines[i]);
        run_line(&run, lines[i]);
        assert_int_equal(run.verdict, CONFIG_EXIT);
        assert_int_equal(run.status, 1);
        size_t len = strcspn(lines[i], " ");
        snprintf(flag, sizeof(flag), "\"error\":\"%.*s", (int)len, lines[i]);
        expect_in(&run.err, flag);
        expect_in(&run.err, "not built");
        run_fini(&run);
    }
}
