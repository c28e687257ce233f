#include "api/member_world.h"

#include <stdio.h>

#define TURN_NS (20 * NS_PER_SEC)

static int64_t clock_zero(void *ctx)
{
    UNUSED(ctx);
    return 0;
}

static void log_nothing(void *ctx, enum log_level level, struct slice text)
{
    UNUSED(ctx);
    UNUSED(level);
    UNUSED(text);
}

static void load_config(struct member_world *w, const char *dir, const char *flag_1,
                        const char *flag_2)
{
    snprintf(w->data_dir, sizeof(w->data_dir), "--data-dir=%s/data", dir);
    const char *argv[8] = {"etcd", "--name=m1", w->data_dir,
                           "--initial-cluster=m1=http://localhost:2380"};
    int argc = 4;
    argv[argc] = flag_1;
    argc += flag_1 != NULL;
    argv[argc] = flag_2;
    argc += flag_2 != NULL;
    static const char *const none[] = {NULL};
    int status = 0;
    struct config_input in = {
        .argc = argc,
        .argv = argv,
        .environ = none,
        .disk = posix_disk(),
        .clock = clock_zero,
        .standard_out = {log_nothing, NULL},
        .standard_error = {log_nothing, NULL},
    };
    enum config_verdict verdict = config_load(&in, &w->config, &status);
    ASSERT(verdict == CONFIG_RUN);
}

void member_world_set_true(void *ctx)
{
    *(bool *)ctx = true;
}

void member_world_turn_until(struct member_world *w, const bool *done)
{
    mono_ns limit = env_now_mono(w->env) + TURN_NS;
    while (!*done) {
        ASSERT(env_now_mono(w->env) < limit);
        loop_turn(w->loop, false);
    }
}

void member_world_open(struct member_world *w, struct env *env, const char *dir, const char *flag_1,
                       const char *flag_2)
{
    struct errbuf why = {""};
    *w = (struct member_world){.env = env};
    load_config(w, dir, flag_1, flag_2);
    w->loop = loop_new(env);
    w->metrics = metrics_new();
    struct server_options server = {
        .env = env,
        .loop = w->loop,
        .config = w->config,
        .log = config_log(w->config),
        .metrics = w->metrics,
        .on_ready = member_world_set_true,
        .ctx = &w->is_ready,
    };
    if (server_open(&server, &w->server, &why) != ERR_OK) {
        fatal("%s", why.text);
    }
    struct api_options api = {
        .env = env, .loop = w->loop, .server = w->server, .metrics = w->metrics};
    w->api = api_new(&api);
    w->http = api_http_server(w->api, API_CLIENT);
    struct listen_options listen = {0};
    if (http_server_listen(w->http, "127.0.0.1", "0", &listen, &why) != ERR_OK) {
        fatal("%s", why.text);
    }
    server_start(w->server);
    member_world_turn_until(w, &w->is_ready);
}

void member_world_close(struct member_world *w, uint64_t grace_ns)
{
    api_stop(w->api);
    http_server_stop(w->http, env_now_mono(w->env) + grace_ns, member_world_set_true,
                     &w->http_stopped);
    member_world_turn_until(w, &w->http_stopped);
    server_stop(w->server, member_world_set_true, &w->is_stopped);
    member_world_turn_until(w, &w->is_stopped);
    http_server_free(&w->http);
    api_free(&w->api);
    server_free(&w->server);
    metrics_free(&w->metrics);
    loop_free(&w->loop);
    config_free(&w->config);
}
