/* The program behind a terminal of memory: what needs no server. (What needs one is compared with
 * another etcdctl in test/etcdctl_compare_test.py.) */
#include "ctl/ctl.h"

#include "env/posix.h"

#include "unit.h"

#include <stdio.h>

struct terminal {
    struct buf out;
    struct buf err;
    const char *in;
    const char *password; /* NULL: cannot be read */
    int code;
};

static void write_stream(void *ctx, enum ctl_stream stream, struct slice data)
{
    struct terminal *terminal = ctx;
    buf_append_slice(stream == CTL_STDOUT ? &terminal->out : &terminal->err, data);
}

/* Three bytes at a time, so that lines come in pieces. */
static size_t read_some(void *ctx, void *data, size_t len)
{
    struct terminal *terminal = ctx;
    size_t left = strlen(terminal->in);
    size_t take = left > 3 ? 3 : left;
    assert_true(len >= take);
    memcpy(data, terminal->in, take);
    terminal->in += take;
    return take;
}

static enum err read_password(void *ctx, struct buf *out, struct errbuf *why)
{
    struct terminal *terminal = ctx;
    if (terminal->password == NULL) {
        return errf(why, ERR_IO, "no terminal");
    }
    buf_append_str(out, terminal->password);
    return ERR_OK;
}

#define WORDS_MAX 16

static const char *const no_environment[] = {NULL};

/* Words parted by '|'. */
static void run_in(struct terminal *terminal, const char *line, const char *const *environment)
{
    char text[512];
    snprintf(text, sizeof(text), "etcdctl|%s", line);
    const char *words[WORDS_MAX] = {text};
    int count = line[0] == 0 ? 1 : 0;
    for (char *p = text; count == 0 || *p != 0; p++) {
        if (count == 0) {
            count = 1;
        }
        if (*p == '|') {
            *p = 0;
            assert_true(count < WORDS_MAX - 1);
            words[count++] = p + 1;
        }
    }
    if (line[0] == 0) {
        text[strlen("etcdctl")] = 0;
        count = 1;
    }
    words[count] = NULL;
    const struct ctl_terminal interface = {
        .ctx = terminal, .write = write_stream, .read = read_some, .read_password = read_password};
    struct env *env = posix_env_new();
    buf_reset(&terminal->out);
    buf_reset(&terminal->err);
    terminal->in = terminal->in == NULL ? "" : terminal->in;
    terminal->code = ctl_main(count, words, environment, env, &interface);
    posix_env_free(&env);
}

static void run(struct terminal *terminal, const char *line)
{
    run_in(terminal, line, no_environment);
}

static void fini(struct terminal *terminal)
{
    buf_fini(&terminal->out);
    buf_fini(&terminal->err);
}

static bool contains(struct buf *text, const char *part)
{
    return strstr(buf_cstr(text), part) != NULL;
}

TEST(ctl, wrong_command_lines_end_with_their_words_and_codes)
{
    static const struct {
        const char *line;
        int code;
        const char *err;
    } cases[] = {
        {"nosuch", 1,
         "Error: unknown command \"nosuch\" for \"etcdctl\"\nRun 'etcdctl --help' for usage.\n"},
        {"gett|foo", 1,
         "Error: unknown command \"gett\" for \"etcdctl\"\n\nDid you mean this?\n\tget\n\nRun "
         "'etcdctl --help' for usage.\n"},
        {"M", 1,
         "Error: unknown command \"M\" for \"etcdctl\"\n\nDid you mean this?\n\tmove-leader\n"
         "\tmember\n\tmake-mirror\n\nRun 'etcdctl --help' for usage.\n"},
        {"--nosuch|get|foo", 1,
         "Error: unknown command \"foo\" for \"etcdctl\"\nRun 'etcdctl --help' for usage.\n"},
        {"get|--nosuch", 1, "Error: unknown flag: --nosuch\n\n"},
        {"get|-q", 1, "Error: unknown shorthand flag: 'q' in -q\n\n"},
        {"get|foo|--limit=9223372036854775808", 1,
         "Error: invalid argument \"9223372036854775808\" for \"--limit\" flag: "
         "strconv.ParseInt: parsing \"9223372036854775808\": value out of range\n\n"},
        {"get", 128,
         "Error: get command needs one argument as key and an optional argument as range_end\n"},
        {"get|--prefix|--from-key|a", 128,
         "Error: `--prefix` and `--from-key` cannot be set at the same time, choose one\n"},
        {"get|foo|--keys-only|--count-only", 128,
         "Error: `--keys-only` and `--count-only` cannot be set at the same time, choose one\n"},
        {"get|foo|--consistency=x", 4, "Error: unknown consistency flag \"x\"\n"},
        {"get|foo|--sort-by=bad", 4, "Error: bad sort target bad\n"},
        {"get|foo|--order=bad", 4, "Error: bad sort order bad\n"},
        {"get|foo|--min-create-rev=5|--max-create-rev=4", 4,
         "Error: getMinCreateRev(=5) > getMaxCreateRev(=4)\n"},
        {"-w|bad|get|foo", 4, "Error: unsupported output format\n"},
        {"put", 128, "Error: put command needs 1 argument and input from stdin or 2 arguments\n"},
        {"put|k", 128, "Error: put command needs 1 argument and input from stdin or 2 arguments\n"},
        {"put|k|v|--lease=xyz", 128,
         "Error: bad lease ID (strconv.ParseInt: parsing \"xyz\": invalid syntax), expecting ID in "
         "Hex\n"},
        {"del", 128,
         "Error: del command needs one argument as key and an optional argument as range_end\n"},
        {"txn|x", 128, "Error: txn command does not accept argument\n"},
        {"compaction", 128, "Error: compaction command needs 1 argument\n"},
        {"compaction|x", 1, "Error: strconv.ParseInt: parsing \"x\": invalid syntax\n"},
        {"alarm|list|x", 128, "Error: alarm list command accepts no arguments\n"},
        {"alarm|disarm|x", 128, "Error: alarm disarm command accepts no arguments\n"},
        {"member|list|--consistency=x", 4, "Error: unknown consistency flag \"x\"\n"},
        {"completion", 1, "Error: accepts 1 arg(s), received 0\n\n"},
        {"completion|tcsh", 1, "Error: invalid argument \"tcsh\" for \"etcdctl completion\"\n\n"},
        {"get|foo|--cert=", 128, "Error: empty string is passed to --cert option\n"},
        {"get|foo|--endpoints=", 2, "Error: etcdclient: no available endpoints\n"},
        {"get|foo|--endpoints=https://h:1", 2,
         "Error: endpoint \"https://h:1\" needs TLS, which is not built into this program yet\n"},
        {"get|foo|--cacert=/x|--endpoints=h:1", 2,
         "Error: endpoint \"h:1\" needs TLS, which is not built into this program yet\n"},
        {"get|foo|--discovery-srv=example.org", 1,
         "Error: --discovery-srv: finding endpoints by DNS is not built into this program yet; "
         "name "
         "them with --endpoints\n"},
        {"get|foo|--max-request-bytes=9|--max-recv-bytes=8", 2,
         "Error: gRPC message recv limit (8 bytes) must be greater than send limit (9 bytes)\n"},
    };
    struct terminal terminal = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        run(&terminal, cases[i].line);
        assert_string_equal(buf_cstr(&terminal.err), cases[i].err);
        assert_int_equal(terminal.code, cases[i].code);
    }
    fini(&terminal);
}

TEST(ctl, what_is_not_built_says_so)
{
    static const char *const lines[] = {
        "user|add|root:pw",     "role|list",     "auth|enable",
        "downgrade|enable|3.5", "move-leader|1", "member|add|m",
        "member|remove|1",      "make-mirror|x", "downgrade|cancel",
    };
    struct terminal terminal = {0};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        run(&terminal, lines[i]);
        assert_true(contains(&terminal.err, "\" is not built into this program yet\n"));
        assert_int_equal(terminal.out.len, 0);
        assert_int_equal(terminal.code, 1);
    }
    run(&terminal, "auth|enable");
    assert_string_equal(buf_cstr(&terminal.err), "Error: the command \"etcdctl auth enable\" is "
                                                 "not built into this program yet\n");
    run(&terminal, "watch|--help");
    assert_int_equal(terminal.code, 0);
    assert_true(contains(&terminal.out, "USAGE:\n  etcdctl watch [options]"));
    fini(&terminal);
}

TEST(ctl, help_has_etcdctls_layout)
{
    struct terminal terminal = {0};
    run(&terminal, "endpoint|hashkv|--help");
    assert_int_equal(terminal.code, 0);
    assert_int_equal(terminal.err.len, 0);
    assert_true(slice_starts(buf_slice(&terminal.out),
                             SLICE("NAME:\n"
                                   "  endpoint hashkv - Prints a hash of the keys' history for "
                                   "each endpoint\n"
                                   "\n"
                                   "USAGE:\n"
                                   "  etcdctl endpoint hashkv [flags]\n"
                                   "\n"
                                   "OPTIONS:\n"
                                   "  -h, --help[=false]\thelp for hashkv\n"
                                   "      --rev=0\t\thash the store up to this revision (0: all "
                                   "of it)\n"
                                   "\n"
                                   "GLOBAL OPTIONS:\n"
                                   "      --cacert=\"\"\t\t\t\ttrust servers")));
    assert_true(contains(&terminal.out, "\n      --cluster[=false]\t\t\t\task every member"));
    assert_true(contains(&terminal.out, "\n      --endpoints=[127.0.0.1:2379]\t\taddresses"));
    assert_true(contains(&terminal.out, "\n      --insecure-skip-tls-verify[=false]\tdo not"));
    assert_true(contains(&terminal.out, "\n  -w, --write-out=\"simple\"\t\t\toutput format: "
                                        "fields, json, protobuf, simple or table\n\n"));
    run(&terminal, "");
    assert_int_equal(terminal.code, 0);
    assert_true(
        slice_starts(buf_slice(&terminal.out),
                     SLICE("NAME:\n"
                           "  etcdctl - The command line client of etcd.\n"
                           "\n"
                           "USAGE:\n"
                           "  etcdctl [flags]\n"
                           "\n"
                           "VERSION:\n"
                           "  3.6.0\n"
                           "\n"
                           "API VERSION:\n"
                           "  3.6\n"
                           "\n"
                           "COMMANDS:\n"
                           "  alarm disarm\t\t\tLifts every alarm\n"
                           "  alarm list\t\t\tLists the alarms that are raised\n"
                           "  auth disable\t\t\tTurns authentication off (not built yet)\n")));
    assert_false(contains(&terminal.out, "__complete"));
    assert_true(contains(&terminal.out, "\n  role revoke-permission\tTakes"));
    assert_true(contains(&terminal.out, "\n  watch\t\t\t\tPrints"));
    fini(&terminal);
}

TEST(ctl, help_is_found_in_every_way)
{
    struct terminal terminal = {0};
    struct buf first = {0};
    static const char *const same[] = {"help|get", "get|--help",          "get|-h",
                                       "g|--help", "get|foo|--help=true", "h|get"};
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        run(&terminal, same[i]);
        assert_int_equal(terminal.code, 0);
        if (i == 0) {
            buf_append_slice(&first, buf_slice(&terminal.out));
        }
        assert_true(slice_eq(buf_slice(&first), buf_slice(&terminal.out)));
    }
    run(&terminal, "endpoint");
    assert_true(contains(&terminal.out, "COMMANDS:\n  hashkv\tPrints"));
    run(&terminal, "endpoint|bogus");
    assert_true(contains(&terminal.out, "COMMANDS:\n  hashkv\tPrints"));
    assert_int_equal(terminal.code, 0);
    run(&terminal, "help|nosuch|x");
    assert_string_equal(buf_cstr(&terminal.err), "Unknown help topic [`nosuch` `x`]\n");
    assert_true(contains(&terminal.out, "NAME:\n  etcdctl - "));
    assert_false(contains(&terminal.out, "-h, --help"));
    assert_int_equal(terminal.code, 0);
    buf_fini(&first);
    fini(&terminal);
}

TEST(ctl, version)
{
    struct terminal terminal = {0};
    run(&terminal, "version");
    assert_string_equal(buf_cstr(&terminal.out), "etcdctl version: 3.6.0\nAPI version: 3.6\n");
    assert_int_equal(terminal.code, 0);
    fini(&terminal);
}

/* ---- environment ----------------------------------------------------------------------- */

#define NOWHERE "get|foo|--endpoints=127.0.0.1:1|--command-timeout=10ms"

TEST(ctl, variables_set_global_flags)
{
    static const char *const environment[] = {"PATH=/bin", "ETCDCTL_WRITE_OUT=bad", NULL};
    struct terminal terminal = {0};
    run_in(&terminal, NOWHERE, environment);
    assert_string_equal(buf_cstr(&terminal.err), "Error: unsupported output format\n");
    assert_int_equal(terminal.code, 4);
    static const char *const endpoints[] = {"ETCDCTL_ENDPOINTS=http://,x:1", NULL};
    run_in(&terminal, "get|foo", endpoints);
    assert_string_equal(buf_cstr(&terminal.err),
                        "Error: endpoint \"http://\": missing port in address\n");
    static const char *const cluster[] = {"ETCDCTL_CLUSTER=true", "ETCDCTL_ENDPOINTS=127.0.0.1:1",
                                          "ETCDCTL_COMMAND_TIMEOUT=10ms", NULL};
    run_in(&terminal, "endpoint|status", cluster);
    assert_true(contains(&terminal.err, "Error: failed to fetch endpoints from etcd cluster member "
                                        "list: context deadline exceeded\n"));
    assert_int_equal(terminal.code, 1);
    fini(&terminal);
}

TEST(ctl, a_variable_and_its_flag_do_not_go_together)
{
    static const char *const environment[] = {"ETCDCTL_WRITE_OUT=json", NULL};
    struct terminal terminal = {0};
    run_in(&terminal, NOWHERE "|-w|json", environment);
    assert_int_equal(terminal.code, 1);
    assert_true(contains(&terminal.err, "\"level\":\"fatal\""));
    assert_true(contains(&terminal.err, "conflicting environment variable is shadowed by "
                                        "corresponding command-line flag"));
    assert_true(contains(&terminal.err, "\"environment-variable\":\"ETCDCTL_WRITE_OUT\""));
    assert_false(contains(&terminal.err, "Error:"));
    fini(&terminal);
}

TEST(ctl, variables_that_mean_nothing_are_warned_of)
{
    static const char *const environment[] = {
        "ETCDCTL_API=3", "ETCDCTL_PREFIX=true", "ETCDCTL_DIAL_TIMEOUT=nonsense",
        "ETCDCTL_HEX=",  "ETCDCTL_API=2",       NULL};
    struct terminal terminal = {0};
    run_in(&terminal, NOWHERE, environment);
    assert_true(contains(&terminal.err, "\"level\":\"warn\""));
    assert_true(contains(&terminal.err, "\"msg\":\"unrecognized environment variable\","
                                        "\"environment-variable\":\"ETCDCTL_API=3\"}"));
    assert_true(contains(&terminal.err, "ETCDCTL_PREFIX=true"));
    assert_true(contains(&terminal.err, "ETCDCTL_HEX="));
    assert_false(contains(&terminal.err, "ETCDCTL_DIAL_TIMEOUT"));
    assert_false(contains(&terminal.err, "ETCDCTL_API=2"));
    assert_true(contains(&terminal.err, "Error: context deadline exceeded\n"));
    run_in(&terminal, "version", environment); /* which connects to nothing */
    assert_int_equal(terminal.err.len, 0);
    fini(&terminal);
}

TEST(ctl, debug_shows_the_global_flags)
{
    struct terminal terminal = {0};
    run(&terminal, NOWHERE "|--debug");
    assert_true(slice_starts(buf_slice(&terminal.err),
                             SLICE("ETCDCTL_CACERT=\nETCDCTL_CERT=\nETCDCTL_COMMAND_TIMEOUT=10ms\n"
                                   "ETCDCTL_DEBUG=true\nETCDCTL_DIAL_TIMEOUT=2s\n")));
    assert_true(contains(&terminal.err, "\nETCDCTL_ENDPOINTS=[127.0.0.1:1]\n"));
    fini(&terminal);
}

TEST(ctl, a_call_that_fails_is_logged_as_clientv3_does)
{
    struct terminal terminal = {0};
    run(&terminal, NOWHERE);
    assert_true(slice_starts(buf_slice(&terminal.err), SLICE("{\"level\":\"warn\",\"ts\":\"")));
    assert_true(contains(&terminal.err, "\"logger\":\"etcd-client\""));
    assert_true(
        contains(&terminal.err, "\"msg\":\"retrying of unary invoker failed\",\"target\":"));
    assert_true(contains(&terminal.err, "\"method\":\"/etcdserverpb.KV/Range\",\"attempt\":0,"
                                        "\"error\":\"rpc error: code = DeadlineExceeded desc = "));
    assert_true(contains(&terminal.err, "}\nError: context deadline exceeded\n"));
    assert_int_equal(terminal.code, 1);
    fini(&terminal);
}

TEST(ctl, a_password_that_is_not_there_is_asked_for)
{
    struct terminal terminal = {.password = "pw"};
    run(&terminal, "get|foo|--user=root|--endpoints=127.0.0.1:1|--dial-timeout=20ms");
    assert_string_equal(buf_cstr(&terminal.out), "Password: \n");
    assert_true(contains(&terminal.err, "Error: context deadline exceeded\n"));
    assert_int_equal(terminal.code, 2);
    terminal.password = NULL;
    run(&terminal, "get|foo|--user=root");
    assert_string_equal(buf_cstr(&terminal.err), "Error: no terminal\n");
    assert_int_equal(terminal.code, 1);
    fini(&terminal);
}

/* ---- transactions ------------------------------------------------------------------------ */

TEST(ctl, a_transaction_that_cannot_be_read_is_code_3)
{
    static const struct {
        const char *in;
        const char *err;
        int code;
    } cases[] = {
        {"", "Error: EOF\n", 3},
        {"\n\n", "Error: EOF\n", 3},
        {"\n\nget foo", "Error: EOF\n", 3},
        {"bogus\n\n\n\n", "Error: malformed comparison: bogus\n", 3},
        {"\nbad op\n\n\n", "Error: invalid txn request: bad op\n", 3},
        {"lease(\"k\") = \"0\"\n\n\n\n",
         "Error: bad value: lease(\"k\") = \"0\" (a lease cannot be compared here)\n", 2},
        {"\nput k\n", "Error: put command needs 1 argument and input from stdin or 2 arguments\n",
         128},
    };
    struct terminal terminal = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        terminal.in = cases[i].in;
        run(&terminal, "txn|--endpoints=127.0.0.1:1");
        assert_string_equal(buf_cstr(&terminal.err), cases[i].err);
        assert_int_equal(terminal.code, cases[i].code);
        assert_int_equal(terminal.out.len, 0);
    }
    terminal.in = "\nget a\n\nbad op\n";
    run(&terminal, "txn|-i|--endpoints=127.0.0.1:1");
    assert_string_equal(buf_cstr(&terminal.out), "compares:\nsuccess requests (get, put, del):\n"
                                                 "failure requests (get, put, del):\n");
    fini(&terminal);
}

/* ---- completion ------------------------------------------------------------------------ */

TEST(ctl, completes_words)
{
    static const struct {
        const char *line;
        const char *out;
    } cases[] = {
        {"__complete|ge", "get\tReads a key or a range of keys\n:4\n"},
        {"__complete|alarm|", "disarm\tLifts every alarm\nlist\tLists the alarms that are raised\n"
                              ":4\n"},
        {"__complete|get|--pre", "--prefix\tall keys that begin with the given one\n:4\n"},
        {"__complete|get|-w|", "fields\njson\nprotobuf\nsimple\ntable\n:4\n"},
        {"__complete|get|--write-out=j", "json\n:4\n"},
        {"__complete|get|--order|A", "ASCEND\n:4\n"},
        {"__complete|get|--prefix|", ":0\n"},
        {"__complete|get|--cacert|", ":0\n"},
        {"__complete|completion|z", "zsh\n:4\n"},
        {"__complete|nosuch|x", ":0\n"},
        {"__complete|-w|json|endpoint|hea", "health\tChecks that each endpoint serves\n:4\n"},
    };
    struct terminal terminal = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        run(&terminal, cases[i].line);
        assert_string_equal(buf_cstr(&terminal.out), cases[i].out);
        assert_int_equal(terminal.code, 0);
    }
    run(&terminal, "__complete");
    assert_int_equal(terminal.code, 0);
    fini(&terminal);
}

TEST(ctl, completion_scripts_name_the_program)
{
    static const char *const shells[] = {"bash", "zsh", "fish", "powershell"};
    struct terminal terminal = {0};
    for (size_t i = 0; i < ARRAY_LEN(shells); i++) {
        char line[64];
        snprintf(line, sizeof(line), "completion|%s", shells[i]);
        run(&terminal, line);
        assert_int_equal(terminal.code, 0);
        assert_true(contains(&terminal.out, "etcdctl"));
        assert_true(contains(&terminal.out, "__complete"));
        assert_false(contains(&terminal.out, "%P"));
    }
    fini(&terminal);
}
