/* A call's states, and who moves it on:
 *
 *   WAITING  no connection stands        an endpoint comes up, or the deadline
 *   RUNNING  sent to one endpoint        its answer
 *   BACKOFF  to be sent again            the timer
 *   LOGIN    the token was refused       the end of a login
 *
 * Every call is on the client's list; a waiting one is found there when an endpoint comes up. An
 * endpoint whose connection is lost dials again after a pause that grows from 50 ms to 3 s and has
 * a random part, so that the clients of a cluster do not return in step. (grpc-go begins at 1 s:
 * for a command line tool, which lives for one call, that is long.)
 *
 * Source: clientv3 3.6, unaryClientInterceptor: at most 100 attempts, 25 ms with 10 % jitter
 * between rounds over a quorum of the endpoints. */
#include "client/client_priv.h"

#include "codec/pb.h"
#include "rpc.pb-c.h"

#include <stdio.h>

#define ATTEMPTS_MAX 100
#define BACKOFF_NS (25 * NS_PER_MS)
#define BACKOFF_JITTER 10 /* one part in so many, up or down */
#define REDIAL_MIN_NS (50 * NS_PER_MS)
#define REDIAL_MAX_NS (3 * NS_PER_SEC)
#define CONNECT_TIMEOUT_NS (20 * NS_PER_SEC)

enum call_state {
    CALL_WAITING = 1,
    CALL_RUNNING,
    CALL_BACKOFF,
    CALL_LOGIN,
    CALL_DONE,
};

static void dispatch(struct client *client);
static void call_send(struct client_call *call);

/* ---- endpoints ------------------------------------------------------------------------- */

static uint64_t jitter(struct client *client, uint64_t ns, uint64_t part)
{
    uint64_t spread = ns / part;
    return spread == 0 ? ns : ns - spread + env_random_u64(client->env) % (2 * spread + 1);
}

static void remote_state(struct grpc_conn *conn, const char *why, void *ctx)
{
    struct remote *remote = ctx;
    struct client *client = remote->client;
    ASSERT(conn == remote->conn);
    if (why == NULL) {
        remote->is_up = true;
        remote->pause_ns = REDIAL_MIN_NS;
        dispatch(client);
        return;
    }
    remote->is_up = false;
    errf(&remote->why, ERR_CLOSED, "%s", why);
    timer_start(client->loop, &remote->redial,
                loop_now(client->loop) + jitter(client, remote->pause_ns, 5));
    remote->pause_ns = remote->pause_ns * 2 > REDIAL_MAX_NS ? REDIAL_MAX_NS : remote->pause_ns * 2;
}

static void remote_dial(struct timer *timer)
{
    struct remote *remote = CONTAINER_OF(timer, struct remote, redial);
    struct client *client = remote->client;
    grpc_conn_close(&remote->conn);
    struct grpc_conn_options options = {
        .host = remote->endpoint.host,
        .port = remote->endpoint.port,
        .authority = remote->endpoint.authority,
        .message_max = (uint32_t)client->reply_max,
        .connect_timeout_ns = CONNECT_TIMEOUT_NS,
        .keepalive_ns = client->keepalive_ns,
        .keepalive_timeout_ns = client->keepalive_timeout_ns,
        .on_state = remote_state,
        .ctx = remote,
    };
    remote->conn = grpc_conn_open(client->env, client->loop, &options);
}

/* The next endpoint that stands, in turn; NULL when none does. */
struct remote *client__pick(struct client *client)
{
    for (size_t i = 0; i < client->count; i++) {
        struct remote *remote = &client->remotes[(client->next + i) % client->count];
        if (remote->is_up) {
            client->next = (client->next + i + 1) % client->count;
            return remote;
        }
    }
    return NULL;
}

const char *client_connection_error(const struct client *client)
{
    const char *why = "";
    for (size_t i = 0; i < client->count; i++) {
        if (client->remotes[i].is_up) {
            return "";
        }
        if (why[0] == 0) {
            why = client->remotes[i].why.text;
        }
    }
    return why;
}

/* ---- ends ------------------------------------------------------------------------------ */

static bool past(const struct client *client, const struct client_call *call)
{
    return call->deadline != UINT64_MAX && env_now_mono(client->env) >= call->deadline;
}

void client__error_text(uint32_t status, const char *message, bool is_past, struct buf *out)
{
    bool is_context = status == GRPC_DEADLINE_EXCEEDED || status == GRPC_CANCELED;
    if (status == GRPC_OK) {
        return;
    }
    if (client_error_is_etcd(message)) {
        buf_append_str(out, message);
    } else if (is_context && is_past) {
        buf_append_str(out, "context deadline exceeded");
    } else {
        client_error_format(status, message, out);
    }
}

static void call_end(struct client_call *call, uint32_t status, const char *message,
                     struct slice reply)
{
    struct client *client = call->client;
    struct buf error = {0};
    client__error_text(status, message, past(client, call), &error);
    struct client_result result = {.status = status, .message = message, .error = buf_cstr(&error)};
    ASSERT(call->state != CALL_DONE);
    call->state = CALL_DONE;
    call->stream = NULL;
    list_del(&call->link);
    timer_stop(client->loop, &call->timer);
    call->done(call, &result, reply);
    buf_fini(&error);
}

/* The line of clientv3's interceptor. */
static void log_failure(const struct client_call *call, uint32_t status, const char *message)
{
    struct buf error = {0};
    client_error_format(status, message, &error);
    LOG_WARN(call->client->log, "retrying of unary invoker failed",
             log_str("target", call->client->target), log_str("method", call->path),
             log_u64("attempt", call->attempt), log_str("error", buf_cstr(&error)));
    buf_fini(&error);
}

static void call_expire(struct client_call *call)
{
    struct buf message = {0};
    const char *why = client_connection_error(call->client);
    if (call->state == CALL_WAITING && why[0] != 0) {
        buf_printf(&message, "latest balancer error: last connection error: %s", why);
    } else {
        buf_append_str(&message, "context deadline exceeded");
    }
    const char *text = buf_cstr(&message);
    log_failure(call, GRPC_DEADLINE_EXCEEDED, text);
    call_end(call, GRPC_DEADLINE_EXCEEDED, text, SLICE_EMPTY);
    buf_fini(&message);
}

/* ---- logging in -------------------------------------------------------------------------- */

static bool has_credentials(const struct client *client)
{
    return client->username[0] != 0 && client->password[0] != 0;
}

static void login_end(struct client *client, const struct client_result *result)
{
    client->is_logging_in = false;
    client_login_fn *done = client->login_done;
    client->login_done = NULL;
    struct list waiting;
    list_init(&waiting);
    LIST_FOR_EACH (&client->calls, node) {
        if (CONTAINER_OF(node, struct client_call, link)->state == CALL_LOGIN) {
            list_del(node);
            list_add_tail(&waiting, node);
        }
    }
    for (struct list *node = list_pop(&waiting); node != NULL; node = list_pop(&waiting)) {
        struct client_call *call = CONTAINER_OF(node, struct client_call, link);
        list_add_tail(&client->calls, node);
        if (result->status == GRPC_OK) {
            call->state = CALL_WAITING;
            call_send(call);
        } else {
            call_end(call, result->status, result->message, SLICE_EMPTY);
        }
    }
    client__streams_login_ended(client, result->status == GRPC_OK ? NULL : result);
    if (done != NULL) {
        done(client, result, client->login_ctx);
    }
}

static void login_reply(struct client_call *call, const struct client_result *result,
                        struct slice reply)
{
    struct client *client = call->client;
    static const struct client_result ok = {.status = GRPC_OK, .message = "", .error = ""};
    buf_reset(&client->token);
    if (result->status != GRPC_OK) {
        bool is_off = strcmp(result->message, "etcdserver: authentication is not enabled") == 0;
        login_end(client, is_off ? &ok : result);
        return;
    }
    struct arena arena;
    arena_init(&arena);
    Etcdserverpb__AuthenticateResponse *answer = NULL;
    struct errbuf why = {{0}};
    if (pb_decode_limits(&arena, &etcdserverpb__authenticate_response__descriptor, reply,
                         PB_LIMITS_NONE, &answer, &why) == ERR_OK) {
        buf_append_str(&client->token, answer->token);
        login_end(client, &ok);
    } else {
        struct client_result bad = {
            .status = GRPC_INTERNAL, .message = why.text, .error = why.text};
        login_end(client, &bad);
    }
    arena_fini(&arena);
}

void client__login_start(struct client *client)
{
    if (client->is_logging_in) {
        return;
    }
    struct arena arena;
    arena_init(&arena);
    Etcdserverpb__AuthenticateRequest *request =
        pb_new(&arena, &etcdserverpb__authenticate_request__descriptor);
    request->name = arena_strndup(&arena, client->username, strlen(client->username));
    request->password = arena_strndup(&arena, client->password, strlen(client->password));
    buf_reset(&client->login_request);
    pb_encode(request, &client->login_request);
    arena_fini(&arena);
    client->is_logging_in = true;
    client->login = (struct client_call){
        .path = "/etcdserverpb.Auth/Authenticate",
        .request = buf_slice(&client->login_request),
        .deadline = client->dial_timeout_ns == 0
                        ? UINT64_MAX
                        : env_now_mono(client->env) + client->dial_timeout_ns,
        .is_login = true,
        .done = login_reply,
    };
    client_call_start(client, &client->login);
}

static void login_not_needed(struct task *task)
{
    struct client *client = CONTAINER_OF(task, struct client, login_task);
    static const struct client_result ok = {.status = GRPC_OK, .message = "", .error = ""};
    client_login_fn *done = client->login_done;
    client->login_done = NULL;
    done(client, &ok, client->login_ctx);
}

void client_login(struct client *client, client_login_fn *done, void *ctx)
{
    ASSERT(client->login_done == NULL);
    client->login_done = done;
    client->login_ctx = ctx;
    if (has_credentials(client)) {
        client__login_start(client);
    } else {
        loop_task_add(client->loop, LOOP_STEP, &client->login_task);
    }
}

bool client__wants_login(const struct client *client, const char *message)
{
    return has_credentials(client) &&
           (strcmp(message, "etcdserver: user name is empty") == 0 ||
            strcmp(message, "etcdserver: invalid auth token") == 0 ||
            strcmp(message, "etcdserver: revision of auth store is old") == 0);
}

/* ---- calls ----------------------------------------------------------------------------- */

/* Sends again after a pause once a round over a quorum is done. */
static void call_again(struct client_call *call)
{
    struct client *client = call->client;
    uint64_t pause = 0;
    if (call->attempt % (client->count / 2 + 1) == 0) {
        pause = jitter(client, BACKOFF_NS, BACKOFF_JITTER);
    }
    call->state = CALL_BACKOFF;
    mono_ns at = loop_now(client->loop) + pause;
    timer_start(client->loop, &call->timer, at < call->deadline ? at : call->deadline);
}

static void call_failed(struct client_call *call, uint32_t status, const char *message,
                        bool is_unseen)
{
    struct client *client = call->client;
    if (past(client, call)) {
        log_failure(call, status, message);
        call_end(call, GRPC_DEADLINE_EXCEEDED, message, SLICE_EMPTY);
        return;
    }
    if (is_unseen && status == GRPC_UNAVAILABLE) {
        call_again(call); /* as if it had not been sent */
        return;
    }
    log_failure(call, status, message);
    call->attempt++;
    bool is_context = status == GRPC_DEADLINE_EXCEEDED || status == GRPC_CANCELED;
    bool is_safe = client_error_is_retryable(status, message, call->is_repeatable, client->count);
    if (call->attempt >= ATTEMPTS_MAX) {
        call_end(call, status, message, SLICE_EMPTY);
    } else if (!call->is_login && client__wants_login(client, message)) {
        call->state = CALL_LOGIN;
        timer_start(client->loop, &call->timer, call->deadline);
        client__login_start(client);
    } else if (is_context || is_safe) {
        call_again(call);
    } else {
        call_end(call, status, message, SLICE_EMPTY);
    }
}

static void call_reply(const struct grpc_result *result, struct slice reply, void *ctx)
{
    struct client_call *call = ctx;
    ASSERT(call->state == CALL_RUNNING);
    call->stream = NULL;
    if (result->status == GRPC_OK) {
        call_end(call, GRPC_OK, "", reply);
    } else {
        call_failed(call, result->status, result->message, result->unseen);
    }
}

size_t client__metadata(const struct client *client, bool with_token,
                        struct grpc_metadata out[CLIENT_METADATA_MAX])
{
    size_t count = 0;
    out[count++] = (struct grpc_metadata){SLICE("client-api-version"), SLICE("3.6")};
    if (client->token.len > 0 && with_token) {
        out[count++] = (struct grpc_metadata){SLICE("token"), buf_slice(&client->token)};
    }
    return count;
}

/* Sends it to an endpoint that stands, or leaves it waiting for one. */
static void call_send(struct client_call *call)
{
    struct client *client = call->client;
    struct remote *remote = client__pick(client);
    if (remote == NULL) {
        call->state = CALL_WAITING;
        timer_start(client->loop, &call->timer, call->deadline);
        return;
    }
    struct grpc_metadata metadata[CLIENT_METADATA_MAX];
    size_t count = client__metadata(client, !call->is_login, metadata);
    timer_stop(client->loop, &call->timer);
    call->state = CALL_RUNNING;
    call->stream = grpc_unary(remote->conn, call->path, call->request, metadata, count,
                              call->deadline, call_reply, call);
}

static void call_timer(struct timer *timer)
{
    struct client_call *call = CONTAINER_OF(timer, struct client_call, timer);
    struct client *client = call->client;
    if (call->request.len > client->request_max) {
        struct buf message = {0};
        buf_printf(&message, "trying to send message larger than max (%zu vs. %zu)",
                   call->request.len, client->request_max);
        log_failure(call, GRPC_RESOURCE_EXHAUSTED, buf_cstr(&message));
        call_end(call, GRPC_RESOURCE_EXHAUSTED, buf_cstr(&message), SLICE_EMPTY);
        buf_fini(&message);
    } else if (past(client, call)) {
        call_expire(call);
    } else {
        call_send(call);
    }
}

/* An endpoint came up: what waits can go. */
static void dispatch(struct client *client)
{
    LIST_FOR_EACH (&client->calls, node) {
        struct client_call *call = CONTAINER_OF(node, struct client_call, link);
        if (call->state == CALL_WAITING) {
            call_send(call);
        }
    }
    client__streams_dispatch(client);
}

void client_call_start(struct client *client, struct client_call *call)
{
    call->client = client;
    call->stream = NULL;
    call->attempt = 0;
    call->state = CALL_BACKOFF; /* its first attempt is due now */
    timer_init(&call->timer, call_timer);
    list_init(&call->link);
    list_add_tail(&client->calls, &call->link);
    timer_start(client->loop, &call->timer, loop_now(client->loop));
}

/* ---- life cycle ------------------------------------------------------------------------ */

static FALLIBLE check_options(const struct client_options *options, struct errbuf *why)
{
    if (options->endpoint_count == 0) {
        return errf(why, ERR_INVALID, "etcdclient: no available endpoints");
    }
    if (options->endpoint_count > CLIENT_ENDPOINTS_MAX) {
        return errf(why, ERR_INVALID, "more than %d endpoints", CLIENT_ENDPOINTS_MAX);
    }
    if (options->reply_max > 0 && options->request_max > options->reply_max) {
        return errf(why, ERR_INVALID,
                    "gRPC message recv limit (%zu bytes) must be greater than send limit (%zu "
                    "bytes)",
                    options->reply_max, options->request_max);
    }
    return ERR_OK;
}

static FALLIBLE parse_endpoints(struct client *client, const struct client_options *options,
                                struct errbuf *why)
{
    for (size_t i = 0; i < options->endpoint_count; i++) {
        struct remote *remote = &client->remotes[i];
        TRY(endpoint_parse(&client->arena, options->endpoints[i], &remote->endpoint, why));
        bool is_tls = remote->endpoint.security == ENDPOINT_TLS ||
                      (remote->endpoint.security == ENDPOINT_EITHER && options->wants_tls);
        if (is_tls) {
            return errf(why, ERR_UNSUPPORTED,
                        "endpoint \"%.200s\" needs TLS, which is not built into this program yet",
                        options->endpoints[i]);
        }
        remote->client = client;
        remote->pause_ns = REDIAL_MIN_NS;
        timer_init(&remote->redial, remote_dial);
    }
    return ERR_OK;
}

static size_t limit_or(size_t wanted, size_t initial)
{
    return wanted == 0 || wanted > CLIENT_REPLY_MAX ? initial : wanted;
}

enum err client_new(struct env *env, struct loop *loop, const struct client_options *options,
                    struct client **out, struct errbuf *why)
{
    TRY(check_options(options, why));
    struct client *client = NEW(struct client);
    client->env = env;
    client->loop = loop;
    client->log = options->log;
    arena_init(&client->arena);
    list_init(&client->calls);
    list_init(&client->streams);
    list_init(&client->rpcs);
    task_init(&client->login_task, login_not_needed);
    client->request_max = limit_or(options->request_max, CLIENT_REQUEST_MAX);
    client->reply_max = limit_or(options->reply_max, CLIENT_REPLY_MAX);
    client->dial_timeout_ns = options->dial_timeout_ns;
    client->keepalive_ns = options->keepalive_ns;
    client->keepalive_timeout_ns = options->keepalive_timeout_ns;
    client->username =
        arena_printf(&client->arena, "%s", options->username == NULL ? "" : options->username);
    client->password =
        arena_printf(&client->arena, "%s", options->password == NULL ? "" : options->password);
    client->count = options->endpoint_count;
    client->remotes = arena_zalloc(&client->arena, client->count * sizeof(*client->remotes));
    snprintf(client->target, sizeof(client->target), "etcd-endpoints://client/%.120s",
             options->endpoints[0]);
    enum err err = parse_endpoints(client, options, why);
    if (err != ERR_OK) {
        client_free(&client);
        return err;
    }
    for (size_t i = 0; i < client->count; i++) {
        remote_dial(&client->remotes[i].redial);
    }
    *out = client;
    return ERR_OK;
}

void client_free(struct client **out)
{
    struct client *client = *out;
    if (client == NULL) {
        return;
    }
    client__streams_free(client);
    for (size_t i = 0; i < client->count; i++) {
        timer_stop(client->loop, &client->remotes[i].redial);
        grpc_conn_close(&client->remotes[i].conn);
    }
    LIST_FOR_EACH (&client->calls, node) {
        timer_stop(client->loop, &CONTAINER_OF(node, struct client_call, link)->timer);
        list_del(node);
    }
    client__rpcs_free(client);
    loop_task_remove(&client->login_task);
    buf_fini(&client->token);
    buf_fini(&client->login_request);
    arena_fini(&client->arena);
    mem_free(client);
    *out = NULL;
}
