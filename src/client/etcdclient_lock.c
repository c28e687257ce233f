/* Sessions and claims: locks and leaderships. */
#include "client/etcdclient_priv.h"

#include "client/contender.h"
#include "client/session.h"
#include "codec/pb.h"

#define RELEASE_TIMEOUT_MS 5000 /* where the handle has none */
#define REVOKE_TIMEOUT_MS 2000

/* ---- sessions ---------------------------------------------------------------------------- */

struct etcd_session {
    struct etcd_client *client;
    etcd_session_lost_fn *fn;
    void *ctx;
    int64_t ttl_s;
    int64_t lease;
    struct client_session *session;
    struct posix_monitor *monitor;
    bool is_lost; /* under the monitor */
    bool is_closed;
    struct etcd__call *opening;
};

static void session_ready(struct client_session *client_session, const char *error, void *ctx)
{
    struct etcd_session *session = ctx;
    struct etcd__call *opening = session->opening;
    session->opening = NULL;
    session->lease = client_session_lease(client_session);
    etcd__finish(opening, error[0] == 0 ? ETCD_OK : etcd__code_of(error), error);
}

static void session_lost(struct client_session *client_session, const char *text, void *ctx)
{
    struct etcd_session *session = ctx;
    struct etcd_error error;
    (void)client_session;
    posix_monitor_enter(session->monitor);
    session->is_lost = true;
    posix_monitor_leave(session->monitor);
    if (session->fn != NULL && !session->is_closed) {
        etcd__error(&error, ETCD_SESSION_LOST, text);
        session->fn(session->ctx, &error);
    }
}

struct opening {
    struct etcd__call call;
    struct etcd_session *session;
};

static void session_start(struct etcd__call *call)
{
    struct etcd_session *session = CONTAINER_OF(call, struct opening, call)->session;
    struct client_session_options options = {
        .client = call->client->client,
        .keeper = call->client->keeper,
        .ttl_s = session->ttl_s,
        .ready = session_ready,
        .lost = session_lost,
        .ctx = session,
    };
    session->opening = call;
    session->session = client_session_open(&options);
}

static void session_abandon(struct etcd__call *call)
{
    struct etcd_session *session = CONTAINER_OF(call, struct opening, call)->session;
    client_session_free(&session->session);
}

static void session_free(struct etcd_session *session)
{
    posix_monitor_free(&session->monitor);
    mem_free(session);
}

struct session_ending {
    struct etcd__call call;
    struct etcd_session *session;
    struct client_rpc *rpc;
};

static void revoked(void *ctx, const struct client_result *result, void *reply)
{
    struct session_ending *ending = ctx;
    (void)reply;
    ending->rpc = NULL;
    etcd__finish(&ending->call, (int)result->status, result->error);
}

static void ending_start(struct etcd__call *call)
{
    struct session_ending *ending = CONTAINER_OF(call, struct session_ending, call);
    struct etcd_session *session = ending->session;
    Etcdserverpb__LeaseRevokeRequest request = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    client_session_free(&session->session);
    if (session->lease == 0 || session->is_lost) {
        etcd__finish(call, ETCD_OK, "");
        return;
    }
    request.id = session->lease;
    ending->rpc =
        client_rpc_start(call->client->client, CLIENT_LEASE_REVOKE, &request,
                         etcd__deadline(call->client, REVOKE_TIMEOUT_MS), revoked, ending);
}

static void ending_abandon(struct etcd__call *call)
{
    client_rpc_forget(&CONTAINER_OF(call, struct session_ending, call)->rpc);
}

static void ending_done(struct etcd__call *call)
{
    struct session_ending *ending = CONTAINER_OF(call, struct session_ending, call);
    session_free(ending->session);
    mem_free(ending);
}

void etcd_session_close(struct etcd_session **out)
{
    struct etcd_session *session = *out;
    if (session == NULL) {
        return;
    }
    *out = NULL;
    struct session_ending *ending = NEW(struct session_ending);
    etcd__call_init(&ending->call, session->client, ending_start);
    ending->call.abandon = ending_abandon;
    ending->session = session;
    if (etcd__is_current(session->client)) {
        session->is_closed = true;
        etcd__call_post(&ending->call, ending_done);
        return;
    }
    (void)etcd__call_wait(&ending->call, NULL); /* unreachable: the lease ends by itself */
    ending_done(&ending->call);
}

int etcd_session_open(struct etcd_client *client, int64_t ttl_s, etcd_session_lost_fn *fn,
                      void *ctx, struct etcd_session **out, struct etcd_error *error)
{
    struct etcd_session *session = NEW(struct etcd_session);
    struct opening opening = {.session = session};
    session->client = client;
    session->fn = fn;
    session->ctx = ctx;
    session->ttl_s = ttl_s;
    session->monitor = posix_monitor_new();
    etcd__call_init(&opening.call, client, session_start);
    opening.call.abandon = session_abandon;
    int code = etcd__call_wait(&opening.call, error);
    if (code == ETCD_OK) {
        *out = session;
    } else if (code == ETCD_WRONG_THREAD) {
        session_free(session);
    } else {
        etcd_session_close(&session);
    }
    return code;
}

int64_t etcd_session_lease(const struct etcd_session *session)
{
    return session->lease;
}

bool etcd_session_is_lost(struct etcd_session *session)
{
    posix_monitor_enter(session->monitor);
    bool is_lost = session->is_lost;
    posix_monitor_leave(session->monitor);
    return is_lost;
}

/* ---- claims ------------------------------------------------------------------------------ */

struct etcd_claim {
    struct etcd__call call; /* the operation under way */
    struct etcd_client *client;
    struct buf name;
    struct buf value;
    int64_t lease;
    bool is_election;
    bool is_try;
    uint32_t timeout_ms;
    struct timer timer;
    struct client_contender *contender;
    struct buf key; /* once it is held */
    int64_t revision;
    etcd_claim_fn *done; /* of the async form */
    void *ctx;
};

static void claim_free(struct etcd_claim *claim)
{
    buf_fini(&claim->name);
    buf_fini(&claim->value);
    buf_fini(&claim->key);
    mem_free(claim);
}

static mono_ns release_deadline(const struct etcd_client *client)
{
    return etcd__deadline(client,
                          client->timeout_ms == 0 ? RELEASE_TIMEOUT_MS : client->timeout_ms);
}

static void claim_won(struct client_contender *contender, const char *error, void *ctx)
{
    struct etcd_claim *claim = ctx;
    timer_stop(claim->client->loop, &claim->timer);
    if (error[0] == 0) {
        buf_append_slice(&claim->key, client_contender_key(contender));
        claim->revision = client_contender_revision(contender);
        etcd__finish(&claim->call, ETCD_OK, "");
        return;
    }
    struct etcd_error kept;
    etcd__error(&kept, etcd__code_of(error), error);
    client_contender_free(&claim->contender);
    etcd__finish(&claim->call, kept.code, kept.text);
}

static void claim_timed_out(struct client_contender *contender, const char *error, void *ctx)
{
    struct etcd_claim *claim = ctx;
    (void)contender;
    (void)error; /* what is left behind goes with the session */
    client_contender_free(&claim->contender);
    etcd__finish(&claim->call, ETCD_DEADLINE_EXCEEDED, "context deadline exceeded");
}

static void claim_timer(struct timer *timer)
{
    struct etcd_claim *claim = CONTAINER_OF(timer, struct etcd_claim, timer);
    client_contender_leave(claim->contender, release_deadline(claim->client), claim_timed_out,
                           claim);
}

static void claim_start(struct etcd__call *call)
{
    struct etcd_claim *claim = CONTAINER_OF(call, struct etcd_claim, call);
    struct client_contender_options options = {
        .client = claim->client->client,
        .watcher = claim->client->watcher,
        .lease = claim->lease,
        .name = buf_slice(&claim->name),
        .value = buf_slice(&claim->value),
        .is_election = claim->is_election,
        .is_try = claim->is_try,
    };
    claim->contender = client_contender_start(&options, claim_won, claim);
    if (claim->timeout_ms != 0) {
        timer_start(claim->client->loop, &claim->timer,
                    etcd__deadline(claim->client, claim->timeout_ms));
    }
}

static void claim_abandon(struct etcd__call *call)
{
    struct etcd_claim *claim = CONTAINER_OF(call, struct etcd_claim, call);
    timer_stop(claim->client->loop, &claim->timer);
    client_contender_free(&claim->contender);
}

static struct etcd_claim *claim_new(struct etcd_session *session, struct etcd_slice name,
                                    struct etcd_slice value, uint32_t timeout_ms)
{
    struct etcd_claim *claim = NEW(struct etcd_claim);
    claim->client = session->client;
    claim->lease = session->lease;
    claim->timeout_ms = timeout_ms;
    buf_append_slice(&claim->name, etcd__slice(name));
    buf_append_slice(&claim->value, etcd__slice(value));
    timer_init(&claim->timer, claim_timer);
    etcd__call_init(&claim->call, session->client, claim_start);
    claim->call.abandon = claim_abandon;
    return claim;
}

static int claim_wait(struct etcd_claim *claim, struct etcd_claim **out, struct etcd_error *error)
{
    int code = etcd__call_wait(&claim->call, error);
    if (code == ETCD_OK) {
        *out = claim;
    } else {
        claim_free(claim);
    }
    return code;
}

int etcd_lock(struct etcd_session *session, struct etcd_slice name, uint32_t timeout_ms,
              struct etcd_claim **out, struct etcd_error *error)
{
    return claim_wait(claim_new(session, name, etcd_bytes(NULL, 0), timeout_ms), out, error);
}

int etcd_try_lock(struct etcd_session *session, struct etcd_slice name, struct etcd_claim **out,
                  struct etcd_error *error)
{
    struct etcd_claim *claim = claim_new(session, name, etcd_bytes(NULL, 0), 0);
    claim->is_try = true;
    return claim_wait(claim, out, error);
}

int etcd_campaign(struct etcd_session *session, struct etcd_slice name, struct etcd_slice value,
                  uint32_t timeout_ms, struct etcd_claim **out, struct etcd_error *error)
{
    struct etcd_claim *claim = claim_new(session, name, value, timeout_ms);
    claim->is_election = true;
    return claim_wait(claim, out, error);
}

static void claim_done(struct etcd__call *call)
{
    struct etcd_claim *claim = CONTAINER_OF(call, struct etcd_claim, call);
    if (call->error.code == ETCD_OK) {
        claim->done(claim->ctx, claim, &call->error);
    } else {
        claim->done(claim->ctx, NULL, &call->error);
        claim_free(claim);
    }
}

static void claim_post(struct etcd_claim *claim, etcd_claim_fn *done, void *ctx)
{
    claim->done = done;
    claim->ctx = ctx;
    etcd__call_post(&claim->call, claim_done);
}

void etcd_lock_async(struct etcd_session *session, struct etcd_slice name, uint32_t timeout_ms,
                     etcd_claim_fn *done, void *ctx)
{
    claim_post(claim_new(session, name, etcd_bytes(NULL, 0), timeout_ms), done, ctx);
}

void etcd_campaign_async(struct etcd_session *session, struct etcd_slice name,
                         struct etcd_slice value, uint32_t timeout_ms, etcd_claim_fn *done,
                         void *ctx)
{
    struct etcd_claim *claim = claim_new(session, name, value, timeout_ms);
    claim->is_election = true;
    claim_post(claim, done, ctx);
}

/* ---- what a holder does ------------------------------------------------------------------ */

static void claim_over(struct client_contender *contender, const char *error, void *ctx)
{
    struct etcd_claim *claim = ctx;
    (void)contender;
    etcd__finish(&claim->call, etcd__code_of(error), error);
}

static void proclaim_start(struct etcd__call *call)
{
    struct etcd_claim *claim = CONTAINER_OF(call, struct etcd_claim, call);
    client_contender_propose(claim->contender, buf_slice(&claim->value),
                             etcd__deadline(claim->client, claim->client->timeout_ms), claim_over,
                             claim);
}

int etcd_proclaim(struct etcd_claim *claim, struct etcd_slice value, struct etcd_error *error)
{
    buf_reset(&claim->value);
    buf_append_slice(&claim->value, etcd__slice(value));
    etcd__call_init(&claim->call, claim->client, proclaim_start);
    claim->call.abandon = claim_abandon;
    return etcd__call_wait(&claim->call, error);
}

static void released(struct client_contender *contender, const char *error, void *ctx)
{
    struct etcd_claim *claim = ctx;
    struct etcd_error kept;
    (void)contender;
    etcd__error(&kept, etcd__code_of(error), error);
    client_contender_free(&claim->contender);
    etcd__finish(&claim->call, kept.code, kept.text);
}

static void release_start(struct etcd__call *call)
{
    struct etcd_claim *claim = CONTAINER_OF(call, struct etcd_claim, call);
    client_contender_leave(claim->contender, release_deadline(claim->client), released, claim);
}

static void release_done(struct etcd__call *call)
{
    claim_free(CONTAINER_OF(call, struct etcd_claim, call));
}

int etcd_release(struct etcd_claim **out, struct etcd_error *error)
{
    struct etcd_claim *claim = *out;
    if (claim == NULL) {
        return etcd__error(error, ETCD_OK, "");
    }
    *out = NULL;
    etcd__call_init(&claim->call, claim->client, release_start);
    claim->call.abandon = claim_abandon;
    if (etcd__is_current(claim->client)) {
        etcd__call_post(&claim->call, release_done);
        return etcd__error(error, ETCD_OK, "");
    }
    int code = etcd__call_wait(&claim->call, error);
    claim_free(claim);
    return code;
}

struct etcd_slice etcd_claim_key(const struct etcd_claim *claim)
{
    return etcd__public(buf_slice(&claim->key));
}

int64_t etcd_claim_revision(const struct etcd_claim *claim)
{
    return claim->revision;
}

struct etcd_compare etcd_claim_guard(const struct etcd_claim *claim)
{
    return (struct etcd_compare){.target = ETCD_CREATE,
                                 .relation = ETCD_EQUAL,
                                 .key = etcd_claim_key(claim),
                                 .number = claim->revision};
}

int etcd_leader(struct etcd_client *client, struct etcd_slice name, struct etcd_result **out,
                struct etcd_error *error)
{
    struct buf prefix = {0};
    struct etcd_result *result = NULL;
    buf_append_slice(&prefix, etcd__slice(name));
    buf_append_byte(&prefix, '/');
    struct etcd_op op = etcd_op_get(etcd__public(buf_slice(&prefix)));
    op.flags = ETCD_PREFIX;
    op.sort_by = ETCD_SORT_CREATE;
    op.limit = 1;
    int code = etcd_do(client, &op, &result, error);
    buf_fini(&prefix);
    if (code == ETCD_OK && result->kv_count == 0) {
        etcd_result_free(&result);
        return etcd__error(error, ETCD_NO_LEADER, CLIENT_NO_LEADER);
    }
    if (code == ETCD_OK) {
        *out = result;
    }
    return code;
}
