#include "server/config_run.h"

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

TEST(config, one_address_for_two_kinds_of_listener_is_fatal_as_in_etcd)
{
    struct run run;
    run_line(&run, "--listen-client-urls http://127.0.0.1:1,http://127.0.0.1:2 "
                   "--advertise-client-urls http://a:1 "
                   "--listen-client-http-urls http://127.0.0.1:2");
    assert_int_equal(run.verdict, CONFIG_EXIT);
    assert_int_equal(run.status, 1);
    expect_in(&run.err, "{\"level\":\"fatal\"");
    expect_in(&run.err, "\"msg\":\"discovery failed\",\"error\":\"cannot bind both "
                        "--listen-client-urls and --listen-client-http-urls on the same url "
                        "http://127.0.0.1:2\"}");
    run_fini(&run);
    run_line(&run, "--listen-client-http-urls http://127.0.0.1:2");
    assert_int_equal(run.verdict, CONFIG_RUN);
    expect_not_in(&run.err, "single port");
    run_fini(&run);
}

TEST(config, a_retention_of_nothing_is_taken_and_an_unreadable_one_is_fatal)
{
    static const char *const lines[] = {
        "--auto-compaction-retention=", "--auto-compaction-retention 0h",
        "--auto-compaction-mode revision"};
    struct run run;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        run_line(&run, lines[i]);
        assert_int_equal(run.verdict, CONFIG_RUN);
        assert_int_equal(run.config->compaction_retention, 0);
        assert_int_equal(run.config->compaction_mode,
                         i == 2 ? CONFIG_COMPACTION_REVISION : CONFIG_COMPACTION_PERIODIC);
        run_fini(&run);
    }
    run_line(&run, "--auto-compaction-retention x");
    assert_int_equal(run.status, 1);
    expect_in(&run.err, "\"msg\":\"discovery failed\",\"error\":\"error parsing "
                        "CompactionRetention: time: invalid duration \\\"x\\\"\"}");
    run_fini(&run);
}

TEST(config, keys_of_a_file_may_be_in_any_case)
{
    struct run run;
    run_file(&run, "NAME: m1\nSocket-Options: {Reuse-Port: true}\nMax-Wals: 9\nmax-wals: 8\n");
    assert_int_equal(run.verdict, CONFIG_RUN);
    assert_string_equal(run.config->name, "m1");
    assert_true(run.config->socket_reuse_port);
    assert_int_equal(run.config->max_wals, 8);
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
         "struct field configYAML.snapshot-count of type uint64"},
        {"snapshot-count: 1.5",
         "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal number 1.5 into Go "
         "struct field configYAML.snapshot-count of type uint64"},
        {"max-concurrent-streams: 4294967296",
         "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal number 4294967296 "
         "into Go struct field configYAML.max-concurrent-streams of type uint32"},
        {"backend-batch-interval: 5s",
         "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go "
         "struct field configYAML.backend-batch-interval of type time.Duration"},
        {"pre-vote: 1", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal "
                        "number into Go struct field configYAML.pre-vote of type bool"},
        {"name: [a]", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array "
                      "into Go struct field configYAML.name of type string"},
        {"log-outputs: stderr",
         "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go "
         "struct field configYAML.log-outputs of type []string"},
        {"name: \"a\\0b\"", "the value of name has a zero byte in it"},
        {"peer-transport-security: x",
         "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go "
         "struct field configYAML.peer-transport-security of type embed.securityConfig"},
        {"quota-backend-bytes: 18446744073709551616",
         "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal number "
         "18446744073709552000 into Go struct field configYAML.quota-backend-bytes of type int64"},
        {"max-wals: -0x10", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal "
                            "number -16 into Go struct field configYAML.max-wals of type uint"},
        {"true", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal bool into "
                 "Go value of type embed.configYAML"},
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
