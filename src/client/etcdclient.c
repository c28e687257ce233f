/* The handle: its thread, tasks, calls. */
#include "client/client_priv.h"
#include "client/etcdclient_priv.h"

#include <stdio.h>

const char *etcd_client_version(void)
{
    return ETCDCLIENT_VERSION;
}

int etcd__code_of(const char *text)
{
    static const struct {
        const char *text;
        int code;
    } known[] = {
        {"", ETCD_OK},
        {"mutex: Locked by another session", ETCD_LOCKED},
        {"mutex: session is expired", ETCD_SESSION_LOST},
        {"etcdserver: requested lease not found", ETCD_SESSION_LOST},
        {"election: not leader", ETCD_NOT_LEADER},
        {"election: no leader", ETCD_NO_LEADER},
        {"context deadline exceeded", ETCD_DEADLINE_EXCEEDED},
        {"etcdserver: permission denied", ETCD_PERMISSION_DENIED},
        {"etcdserver: mvcc: required revision has been compacted", ETCD_OUT_OF_RANGE},
        {"etcdserver: no leader", ETCD_UNAVAILABLE},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(known[i].text, text) == 0) {
            return known[i].code;
        }
    }
    return strstr(text, "code = Unavailable") != NULL ? ETCD_UNAVAILABLE : ETCD_UNKNOWN;
}

int etcd__error(struct etcd_error *error, int code, const char *text)
{
    if (error != NULL) {
        error->code = code;
        snprintf(error->text, sizeof(error->text), "%s", text);
    }
    return code;
}

bool etcd__is_current(const struct etcd_client *client)
{
    return posix_thread_is_current(client->thread);
}

mono_ns etcd__deadline(const struct etcd_client *client, uint32_t timeout_ms)
{
    return timeout_ms == 0 ? UINT64_MAX
                           : env_now_mono(client->env) + (uint64_t)timeout_ms * NS_PER_MS;
}

/* ---- tasks ------------------------------------------------------------------------------- */

void etcd__post(struct etcd_client *client, struct etcd__task *task)
{
    posix_monitor_enter(client->monitor);
    list_init(&task->link);
    list_add_tail(&client->queue, &task->link);
    posix_monitor_leave(client->monitor);
    loop_wake(client->loop);
}

void etcd__post_and_wait(struct etcd_client *client, struct etcd__task *task)
{
    if (etcd__is_current(client)) {
        task->waiter = NULL;
        etcd__post(client, task);
        return;
    }
    task->waiter = posix_monitor_new();
    task->is_over = false;
    etcd__post(client, task);
    posix_monitor_enter(task->waiter);
    while (!task->is_over) {
        posix_monitor_wait(task->waiter, UINT64_MAX);
    }
    posix_monitor_leave(task->waiter);
    posix_monitor_free(&task->waiter);
}

static struct etcd__task *take(struct etcd_client *client)
{
    posix_monitor_enter(client->monitor);
    struct list *node = list_pop(&client->queue);
    posix_monitor_leave(client->monitor);
    return node == NULL ? NULL : CONTAINER_OF(node, struct etcd__task, link);
}

static void run_tasks(struct etcd_client *client)
{
    for (struct etcd__task *task = take(client); task != NULL; task = take(client)) {
        struct posix_monitor *waiter = task->waiter;
        task->run(task);
        if (waiter != NULL) {
            posix_monitor_enter(waiter);
            task->is_over = true;
            posix_monitor_notify(waiter);
            posix_monitor_leave(waiter);
        }
    }
}

static void on_input(struct hook *hook)
{
    run_tasks(CONTAINER_OF(hook, struct etcd_client, hook));
}

/* ---- calls ------------------------------------------------------------------------------- */

static void call_run(struct etcd__task *task)
{
    struct etcd__call *call = CONTAINER_OF(task, struct etcd__call, task);
    list_add_tail(&call->client->calls, &call->link);
    call->start(call);
}

void etcd__call_init(struct etcd__call *call, struct etcd_client *client,
                     void (*start)(struct etcd__call *call))
{
    *call = (struct etcd__call){.client = client, .start = start, .task.run = call_run};
    list_init(&call->link);
}

void etcd__call_post(struct etcd__call *call, void (*done)(struct etcd__call *call))
{
    call->done = done;
    etcd__post(call->client, &call->task);
}

int etcd__call_wait(struct etcd__call *call, struct etcd_error *error)
{
    if (etcd__is_current(call->client)) {
        return etcd__error(error, ETCD_WRONG_THREAD,
                           "a function that waits was called from a callback");
    }
    call->waiter = posix_monitor_new();
    etcd__post(call->client, &call->task);
    posix_monitor_enter(call->waiter);
    while (!call->is_over) {
        posix_monitor_wait(call->waiter, UINT64_MAX);
    }
    posix_monitor_leave(call->waiter);
    posix_monitor_free(&call->waiter);
    if (error != NULL) {
        *error = call->error;
    }
    return call->error.code;
}

void etcd__finish(struct etcd__call *call, int code, const char *text)
{
    struct posix_monitor *waiter = call->waiter;
    list_del(&call->link);
    etcd__error(&call->error, code, text);
    if (waiter == NULL) {
        call->done(call);
        return;
    }
    posix_monitor_enter(waiter);
    call->is_over = true;
    posix_monitor_notify(waiter);
    posix_monitor_leave(waiter);
}

/* ---- the thread -------------------------------------------------------------------------- */

static void started(struct etcd_client *client)
{
    posix_monitor_enter(client->monitor);
    client->options = NULL;
    client->has_started = true;
    posix_monitor_notify(client->monitor);
    posix_monitor_leave(client->monitor);
}

static void logged_in(struct client *client, const struct client_result *result, void *ctx)
{
    struct etcd_client *handle = ctx;
    (void)client;
    if (result->status != GRPC_OK) {
        etcd__error(&handle->start_error, (int)result->status, result->error);
        handle->is_closing = true;
    }
    started(handle);
}

/* False: start_error has why not. */
static bool start(struct etcd_client *client)
{
    const struct etcd_options *given = client->options;
    struct client_options options = {
        .endpoints = given->endpoints,
        .endpoint_count = given->endpoint_count,
        .username = given->username,
        .password = given->password,
        .dial_timeout_ns = given->dial_timeout_ms * NS_PER_MS,
        .keepalive_ns = given->keepalive_ms * NS_PER_MS,
    };
    struct errbuf why = {{0}};
    client->env = posix_env_new();
    client->loop = loop_new(client->env);
    enum err err = client_new(client->env, client->loop, &options, &client->client, &why);
    if (err != ERR_OK) {
        etcd__error(&client->start_error,
                    err == ERR_UNSUPPORTED ? ETCD_UNIMPLEMENTED : ETCD_INVALID_ARGUMENT, why.text);
        return false;
    }
    client->keeper = client_keeper_new(client->client);
    client->watcher = client_watcher_new(client->client, true);
    loop_hook_add(client->loop, LOOP_INPUT, &client->hook, on_input);
    client_login(client->client, logged_in, client);
    return true;
}

/* Waiters are released; what they wait for is not freed here, but by them. */
static void end_calls(struct etcd_client *client)
{
    run_tasks(client);
    while (!list_empty(&client->calls)) {
        struct etcd__call *call = CONTAINER_OF(client->calls.next, struct etcd__call, link);
        if (call->abandon != NULL) {
            call->abandon(call);
        }
        etcd__finish(call, ETCD_CLOSED, "the client is closed");
        run_tasks(client);
    }
}

static void thread_main(void *ctx)
{
    struct etcd_client *client = ctx;
    bool is_good = start(client);
    while (is_good && !client->is_closing) {
        loop_turn(client->loop, true);
    }
    if (is_good) {
        end_calls(client);
        loop_hook_remove(&client->hook);
    }
    client_watcher_free(&client->watcher);
    client_keeper_free(&client->keeper);
    client_free(&client->client);
    loop_free(&client->loop);
    posix_env_free(&client->env);
    if (!is_good) {
        started(client);
    }
}

/* ---- open and close ---------------------------------------------------------------------- */

static void client_fini(struct etcd_client *client)
{
    posix_thread_join(&client->thread);
    posix_monitor_free(&client->monitor);
    mem_free(client);
}

int etcd_open(const struct etcd_options *options, struct etcd_client **out,
              struct etcd_error *error)
{
    struct etcd_client *client = NEW(struct etcd_client);
    struct errbuf why = {{0}};
    client->monitor = posix_monitor_new();
    client->options = options;
    client->timeout_ms = options->timeout_ms;
    list_init(&client->queue);
    list_init(&client->calls);
    etcd__error(error, ETCD_OK, "");
    if (posix_thread_start("etcdclient", thread_main, client, &client->thread, &why) != ERR_OK) {
        client_fini(client);
        return etcd__error(error, ETCD_RESOURCE_EXHAUSTED, why.text);
    }
    posix_monitor_enter(client->monitor);
    while (!client->has_started) {
        posix_monitor_wait(client->monitor, UINT64_MAX);
    }
    int code = client->start_error.code;
    posix_monitor_leave(client->monitor);
    if (code != ETCD_OK) {
        etcd__error(error, code, client->start_error.text);
        client_fini(client);
        return code;
    }
    *out = client;
    return ETCD_OK;
}

struct closing {
    struct etcd__task task;
    struct etcd_client *client;
};

static void close_run(struct etcd__task *task)
{
    CONTAINER_OF(task, struct closing, task)->client->is_closing = true;
}

void etcd_close(struct etcd_client **out)
{
    struct etcd_client *client = *out;
    if (client == NULL) {
        return;
    }
    ASSERT(!etcd__is_current(client));
    struct closing closing = {.task.run = close_run, .client = client};
    etcd__post_and_wait(client, &closing.task);
    client_fini(client);
    *out = NULL;
}
