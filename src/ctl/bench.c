/* The frame: terminal, progress bar, connections, exit codes. */
#include "ctl/bench_priv.h"

#include <stdio.h>

#define BAR_WIDTH 40

void bench__print(struct bench *bench, enum ctl_stream stream, struct slice text)
{
    bench->terminal->write(bench->terminal->ctx, stream, text);
}

int bench__fail(struct bench *bench, const char *format, ...)
{
    struct errbuf sentence;
    struct buf line = {0};
    va_list args;
    va_start(args, format);
    vsnprintf(sentence.text, sizeof(sentence.text), format, args);
    va_end(args);
    buf_printf(&line, "Error: %s\n", sentence.text);
    bench__print(bench, CTL_STDERR, buf_slice(&line));
    buf_fini(&line);
    return COMMAND_EXIT_ERROR;
}

/* ---- progress ------------------------------------------------------------------------------- */

/* " 3021 / 10000 [=====>------]  30.21% 15105 p/s" */
static void on_progress(void *ctx, uint64_t done, mono_ns since_start)
{
    struct bench *bench = ctx;
    bool is_last = done == bench->total;
    if (!bench->is_live && !is_last) {
        return;
    }
    double share = bench->total == 0 ? 1 : (double)done / (double)bench->total;
    double seconds = (double)since_start / (double)NS_PER_SEC;
    int filled = (int)(share * BAR_WIDTH);
    struct buf line = {0};
    buf_printf(&line, "%s%llu / %llu [", bench->is_live ? "\r" : "", (unsigned long long)done,
               (unsigned long long)bench->total);
    for (int i = 0; i < BAR_WIDTH; i++) {
        buf_append_byte(&line, i < filled ? '=' : i == filled ? '>' : '-');
    }
    buf_printf(&line, "] %6.2f%% %.0f p/s ", share * 100, seconds > 0 ? (double)done / seconds : 0);
    bench__print(bench, CTL_STDERR, buf_slice(&line));
    bench->has_bar = true;
    buf_fini(&line);
}

static void end_bar(struct bench *bench)
{
    if (bench->has_bar) {
        bench__print(bench, CTL_STDERR, SLICE("\n"));
        bench->has_bar = false;
    }
}

/* ---- the run --------------------------------------------------------------------------------- */

void bench__reports(const struct command_call *call, struct bench_report **out, size_t count)
{
    unsigned flags = (pflag_bool(call->flags, "precise") ? BENCH_PRECISE : 0) |
                     (pflag_bool(call->flags, "sample") ? BENCH_SAMPLE : 0);
    for (size_t i = 0; i < count; i++) {
        out[i] = bench_report_new(flags);
    }
}

int bench__check_shared(struct bench *bench, const struct pflag_set *flags)
{
    static const char *const tls[] = {"cert", "key", "cacert"};
    for (size_t i = 0; i < ARRAY_LEN(tls); i++) {
        if (pflag_str(flags, tls[i])[0] != 0) {
            return bench__fail(bench, "--%s: TLS is not built into this program yet", tls[i]);
        }
    }
    if (pflag_bool(flags, "report-perfdash")) {
        return bench__fail(bench, "--report-perfdash is not built into this program yet");
    }
    if (pflag_i64(flags, "auto-sync-interval") != 0) {
        return bench__fail(bench, "--auto-sync-interval is not built into this program yet");
    }
    if (pflag_u64(flags, "conns") == 0 || pflag_u64(flags, "conns") > BENCH_CONNS_MAX) {
        return bench__fail(bench, "--conns must be from 1 to %d", BENCH_CONNS_MAX);
    }
    if (pflag_u64(flags, "clients") == 0 || pflag_u64(flags, "clients") > BENCH_CLIENTS_MAX) {
        return bench__fail(bench, "--clients must be from 1 to %d", BENCH_CLIENTS_MAX);
    }
    return COMMAND_EXIT_OK;
}

static int check_flags(struct bench *bench, const struct pflag_set *flags)
{
    int code = bench__check_shared(bench, flags);
    if (code != COMMAND_EXIT_OK) {
        return code;
    }
    if (pflag_i64(flags, "total") < 0) {
        return bench__fail(bench, "--total must not be negative");
    }
    if (pflag_i64(flags, "rate") < 0 || pflag_i64(flags, "rate") > (int64_t)NS_PER_SEC) {
        return bench__fail(bench, "--rate must be from 0 to %llu", (unsigned long long)NS_PER_SEC);
    }
    return COMMAND_EXIT_OK;
}

int bench__user(struct bench *bench, const char *user, const char **name_out,
                const char **password_out)
{
    if (user[0] == 0) {
        return COMMAND_EXIT_OK;
    }
    const char *colon = strchr(user, ':');
    if (colon != NULL) {
        *name_out = arena_strndup(&bench->arena, user, (size_t)(colon - user));
        *password_out = colon + 1;
        return COMMAND_EXIT_OK;
    }
    struct buf password = {0};
    struct errbuf why = {{0}};
    bench__print(bench, CTL_STDERR, SLICE("Password: "));
    enum err err = bench->terminal->read_password(bench->terminal->ctx, &password, &why);
    bench__print(bench, CTL_STDERR, SLICE("\n"));
    *name_out = user;
    *password_out = arena_printf(&bench->arena, "%s", buf_cstr(&password));
    buf_fini(&password);
    return err == ERR_OK ? COMMAND_EXIT_OK
                         : bench__fail(bench, "bad user information: %s %s", user, why.text);
}

static int connect_all(struct bench *bench, const struct pflag_set *flags)
{
    const struct pflag *endpoints = pflag_find(flags, SLICE("endpoints"));
    int64_t timeout = pflag_i64(flags, "dial-timeout");
    struct bench_load_options options = {
        .endpoints = endpoints->list.items,
        .endpoint_count = endpoints->list.count,
        .conn_count = (size_t)pflag_u64(flags, "conns"),
        .client_count = (size_t)pflag_u64(flags, "clients"),
        .dial_timeout_ns = timeout > 0 ? (uint64_t)timeout : 0,
    };
    int code = bench__user(bench, pflag_str(flags, "user"), &options.username, &options.password);
    if (code != COMMAND_EXIT_OK) {
        return code;
    }
    struct errbuf why = {{0}};
    if (bench_load_open(bench->env, bench->loop, &options, &bench->load, &why) != ERR_OK) {
        return bench__fail(bench, "dial error: %s", why.text);
    }
    return COMMAND_EXIT_OK;
}

int bench__run(const struct command_call *call, struct bench_work *work)
{
    struct bench *bench = bench_of(call);
    int code = check_flags(bench, call->flags);
    if (code == COMMAND_EXIT_OK) {
        code = connect_all(bench, call->flags);
    }
    if (code != COMMAND_EXIT_OK) {
        return code;
    }
    bench->total = (uint64_t)pflag_i64(call->flags, "total");
    work->total = bench->total;
    work->rate = (uint64_t)pflag_i64(call->flags, "rate");
    work->progress = on_progress;
    work->ctx = bench;
    bool is_whole = bench_load_run(bench->load, work);
    end_bar(bench);
    return is_whole ? COMMAND_EXIT_OK
                    : bench__fail(bench, "the connections were lost before all requests were sent");
}

/* ---- the program ------------------------------------------------------------------------------
 */

static void print(void *ctx, struct slice text)
{
    bench__print(ctx, CTL_STDOUT, text);
}

static void print_error(void *ctx, struct slice text)
{
    bench__print(ctx, CTL_STDERR, text);
}

int bench_main(int argc, const char *const *argv, struct env *env,
               const struct ctl_terminal *terminal, bool is_live)
{
    struct bench bench = {.env = env, .terminal = terminal, .is_live = is_live};
    arena_init(&bench.arena);
    bench.loop = loop_new(env);
    bench.random = env_random_u64(env) | 1;
    struct command_program program = {
        .root = &bench__root,
        .version = CTL_VERSION,
        .api_version = CTL_API_VERSION,
        .print = print,
        .print_error = print_error,
        .ctx = &bench,
    };
    size_t count = argc > 1 ? (size_t)argc - 1 : 0;
    int code = command_execute(&program, argv + (argc > 0), count);
    bench_load_close(&bench.load);
    loop_free(&bench.loop);
    buf_fini(&bench.key);
    buf_fini(&bench.value);
    buf_fini(&bench.work);
    arena_fini(&bench.arena);
    return code;
}
