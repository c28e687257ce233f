/* What the loads over streams and conversations of calls share: their connections, their numbers,
 * the beginning and the end of a report. (The others go through bench_load.h.) */
#include "ctl/bench_priv.h"

int bench__clients_open_some(const struct command_call *call, size_t count,
                             struct bench_clients *clients)
{
    struct bench *bench = bench_of(call);
    const struct pflag *endpoints = pflag_find(call->flags, SLICE("endpoints"));
    int64_t timeout = pflag_i64(call->flags, "dial-timeout");
    struct errbuf why = {{0}};
    struct client_options options = {
        .endpoints = endpoints->list.items,
        .endpoint_count = endpoints->list.count,
        .dial_timeout_ns = timeout > 0 ? (uint64_t)timeout : 0,
    };
    int code =
        bench__user(bench, pflag_str(call->flags, "user"), &options.username, &options.password);
    if (code != COMMAND_EXIT_OK) {
        return code;
    }
    clients->all = arena_zalloc(&bench->arena, count * sizeof(struct client *));
    for (; clients->count < count; clients->count++) {
        if (client_new(bench->env, bench->loop, &options, &clients->all[clients->count], &why) !=
            ERR_OK) {
            return bench__fail(bench, "%s", why.text);
        }
    }
    return COMMAND_EXIT_OK;
}

int bench__clients_open(const struct command_call *call, struct bench_clients *clients)
{
    int code = bench__check_shared(bench_of(call), call->flags);
    if (code != COMMAND_EXIT_OK) {
        return code;
    }
    return bench__clients_open_some(call, (size_t)pflag_u64(call->flags, "conns"), clients);
}

void bench__clients_close(struct bench_clients *clients)
{
    for (size_t i = 0; i < clients->count; i++) {
        client_free(&clients->all[i]);
    }
    clients->count = 0;
}

bool bench__take_number(const struct command_call *call, const char *name, int64_t least,
                        uint64_t *out)
{
    int64_t number = pflag_i64(call->flags, name);
    if (number < least || number > INT32_MAX) {
        bench__fail(bench_of(call), "--%s must be from %lld to %d", name, (long long)least,
                    INT32_MAX);
        return false;
    }
    *out = (uint64_t)number;
    return true;
}

void bench__report_begin(struct bench *bench, struct bench_report *report)
{
    bench_report_start(report, env_now_mono(bench->env), env_now_wall(bench->env));
}

void bench__report_end(struct bench *bench, struct bench_report *report, const char *title)
{
    struct buf text = {0};
    bench_report_finish(report, env_now_mono(bench->env));
    buf_append_str(&text, title);
    bench_report_format(report, &text);
    bench__print(bench, CTL_STDOUT, buf_slice(&text));
    buf_fini(&text);
}
