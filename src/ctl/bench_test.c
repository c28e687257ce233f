/* The benchmark program behind a terminal of memory: help, flags, refusals. (Loads on real servers
 * are in test/e2e/benchmark_test.py.) */
#include "ctl/bench.h"

#include "env/posix.h"

#include "unit.h"

#include <stdio.h>

struct terminal {
    struct buf out;
    struct buf err;
    int code;
};

static void write_stream(void *ctx, enum ctl_stream stream, struct slice data)
{
    struct terminal *terminal = ctx;
    buf_append_slice(stream == CTL_STDOUT ? &terminal->out : &terminal->err, data);
}

static enum err read_password(void *ctx, struct buf *out, struct errbuf *why)
{
    UNUSED(ctx);
    UNUSED(out);
    return errf(why, ERR_IO, "no terminal");
}

#define WORDS_MAX 16

/* Words parted by blanks. */
static void run(struct terminal *terminal, const char *line)
{
    char text[512];
    const char *words[WORDS_MAX] = {"benchmark"};
    int count = 1;
    snprintf(text, sizeof(text), "%s", line);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " ")) {
        assert_true(count < WORDS_MAX);
        words[count++] = word;
    }
    const struct ctl_terminal interface = {
        .ctx = terminal, .write = write_stream, .read_password = read_password};
    struct env *env = posix_env_new();
    buf_reset(&terminal->out);
    buf_reset(&terminal->err);
    terminal->code = bench_main(count, words, env, &interface, false);
    posix_env_free(&env);
}

static void fini(struct terminal *terminal)
{
    buf_fini(&terminal->out);
    buf_fini(&terminal->err);
}

TEST(bench, help_names_commands_and_flags)
{
    struct terminal terminal = {0};
    run(&terminal, "help");
    assert_int_equal(terminal.code, 0);
    static const char *const commands[] = {"put",       "range",           "txn-put",
                                           "txn-mixed", "watch",           "watch-latency",
                                           "watch-get", "lease-keepalive", "stm"};
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        assert_non_null(strstr(buf_cstr(&terminal.out), commands[i]));
    }
    run(&terminal, "txn-mixed --help");
    static const char *const flags[] = {"--key-size=8",       "--val-size=8",
                                        "--total=10000",      "--rate=0",
                                        "--key-space-size=1", "--consistency=\"l\"",
                                        "--limit=1000",       "--rw-ratio=1",
                                        "--end-key=",         "--conns=1",
                                        "--clients=1",        "--precise",
                                        "--sample",           "--endpoints=[127.0.0.1:2379]"};
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        assert_non_null(strstr(buf_cstr(&terminal.out), flags[i]));
    }
    run(&terminal, "stm --help");
    static const char *const stm_flags[] = {
        "--isolation=\"r\"",    "--keys=1",     "--keys-per-txn=1", "--txn-wr-percent=50",
        "--stm-locker=\"stm\"", "--val-size=8", "--total=10000",    "--rate=0"};
    for (size_t i = 0; i < ARRAY_LEN(stm_flags); i++) {
        assert_non_null(strstr(buf_cstr(&terminal.out), stm_flags[i]));
    }
    run(&terminal, "watch-get --help");
    static const char *const get_flags[] = {"--watchers=10000", "--streams=1", "--events=8"};
    for (size_t i = 0; i < ARRAY_LEN(get_flags); i++) {
        assert_non_null(strstr(buf_cstr(&terminal.out), get_flags[i]));
    }
    fini(&terminal);
}

TEST(bench, refuses_what_makes_no_sense)
{
    static const struct {
        const char *line;
        const char *error;
    } cases[] = {
        {"put --nosuch", "unknown flag: --nosuch"},
        {"nosuch", "unknown command \"nosuch\" for \"benchmark\""},
        {"put --total=x", "invalid argument \"x\" for \"--total\" flag"},
        {"put --total=-1", "--total must not be negative"},
        {"put --rate=-1", "--rate must be from 0"},
        {"put --conns=0", "--conns must be from 1"},
        {"put --conns=60001", "--conns must be from 1"},
        {"put --clients=0", "--clients must be from 1"},
        {"put --key-space-size=0", "expected positive --key-space-size, got (0)"},
        {"put --key-size=1 --key-space-size=65", "--key-size 1 is too small for 65 different keys"},
        {"put --key-size=0", "--key-size 0 is too small"},
        {"put --val-size=-1", "must be from 0 to"},
        {"put --compact-index-delta=-1", "--compact-index-delta must not be negative"},
        {"put --cert=x", "--cert: TLS is not built into this program yet"},
        {"put --report-perfdash", "--report-perfdash is not built"},
        {"put --auto-sync-interval=1s", "--auto-sync-interval is not built"},
        {"put --user=root", "bad user information: root no terminal"},
        {"put --endpoints=https://127.0.0.1:1", "TLS is not built"},
        {"put --endpoints=", "no endpoint is given"},
        {"put --endpoints=127.0.0.1:1 --dial-timeout=1s", "dial error:"},
        {"range", "range needs a key"},
        {"range a b c", "range needs a key"},
        {"range a --count-only --keys-only", "cannot be set at the same time"},
        {"range a --stream", "--stream is not built"},
        {"range a --paginate", "--paginate is not built"},
        {"range a --consistency=x", "--consistency"},
        {"txn-put --txn-ops=2", "expected --txn-ops no larger than --key-space-size"},
        {"txn-put --txn-ops=-1", "--txn-ops must not be negative"},
        {"txn-mixed --rw-ratio=-1", "--rw-ratio must be a number"},
        {"txn-mixed --rw-ratio=inf", "--rw-ratio must be a number"},
        {"stm --keys=0", "expected positive --keys, got (0)"},
        {"stm --txn-wr-percent=101", "expected [0, 100] --txn-wr-percent, got (101)"},
        {"stm --txn-wr-percent=-1", "expected [0, 100] --txn-wr-percent, got (-1)"},
        {"stm --keys-per-txn=2", "expected --keys-per-txn between 0 and 1, got (2)"},
        {"stm --keys-per-txn=-1", "expected --keys-per-txn between 0 and 1, got (-1)"},
        {"stm --isolation=x", "--isolation must be c, r, s or ss"},
        {"stm --stm-locker=x", "unexpected stm locker \"x\""},
        {"stm --total=-1", "--total must be from 0"},
        {"stm --val-size=-1", "--val-size must be from 0"},
        {"stm --rate=-1", "--rate must be from 0"},
        {"stm --clients=0", "--clients must be from 1"},
        {"stm --cert=x", "--cert: TLS is not built into this program yet"},
        {"watch-get --watchers=0", "--watchers must be from 1"},
        {"watch-get --streams=0", "--streams must be from 1"},
        {"watch-get --events=0", "--events must be from 1"},
        {"watch-get --conns=0", "--conns must be from 1"},
        {"watch --user=root", "bad user information: root no terminal"},
        {"lease-keepalive --clients=0", "--clients must be from 1"},
        {"txn-mixed --rw-ratio=x", "strconv.ParseFloat: parsing \"x\": invalid syntax"},
    };
    struct terminal terminal = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        run(&terminal, cases[i].line);
        if (terminal.code != 1 || strstr(buf_cstr(&terminal.err), cases[i].error) == NULL) {
            fail_msg("%s: %d\n%s", cases[i].line, terminal.code, buf_cstr(&terminal.err));
        }
        assert_null(strstr(buf_cstr(&terminal.out), "Summary"));
    }
    fini(&terminal);
}
