#include "client/session.h"

#include "base/mem.h"
#include "client/client_priv.h"
#include "client/client_rpc.h"
#include "rpc.pb-c.h"

struct client_session {
    struct client_session_options options;
    struct client_rpc *grant;
    struct client_keep *keep;
    struct timer timer; /* ready() of a session whose lease is given */
    int64_t lease;
    bool is_lost;
};

static void on_keep(struct client_keep *keep, int64_t ttl_s, const char *error, void *ctx)
{
    struct client_session *session = ctx;
    (void)keep;
    if (ttl_s == 0) {
        session->is_lost = true;
        if (session->options.lost != NULL) {
            session->options.lost(session, error, session->options.ctx);
        }
    }
}

static void stand(struct client_session *session, int64_t lease, int64_t ttl_s)
{
    session->lease = lease;
    session->keep = client_keep_start(session->options.keeper, lease, ttl_s, on_keep, session);
    session->options.ready(session, "", session->options.ctx);
}

static void granted(void *ctx, const struct client_result *result, void *reply)
{
    struct client_session *session = ctx;
    const Etcdserverpb__LeaseGrantResponse *grant = reply;
    session->grant = NULL;
    if (grant == NULL) {
        session->options.ready(session, result->error, session->options.ctx);
    } else {
        stand(session, grant->id, grant->ttl);
    }
}

static void on_given(struct timer *timer)
{
    struct client_session *session = CONTAINER_OF(timer, struct client_session, timer);
    stand(session, session->options.lease, 0);
}

struct client_session *client_session_open(const struct client_session_options *options)
{
    struct client_session *session = NEW(struct client_session);
    struct client *client = options->client;
    session->options = *options;
    timer_init(&session->timer, on_given);
    if (options->lease != 0) {
        timer_start(client->loop, &session->timer, loop_now(client->loop));
        return session;
    }
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    request.ttl = options->ttl_s == 0 ? CLIENT_SESSION_TTL_S : options->ttl_s;
    session->grant =
        client_rpc_start(client, CLIENT_LEASE_GRANT, &request, UINT64_MAX, granted, session);
    return session;
}

void client_session_free(struct client_session **out)
{
    struct client_session *session = *out;
    if (session == NULL) {
        return;
    }
    client_rpc_forget(&session->grant);
    client_keep_free(&session->keep);
    timer_stop(session->options.client->loop, &session->timer);
    mem_free(session);
    *out = NULL;
}

int64_t client_session_lease(const struct client_session *session)
{
    return session->lease;
}

bool client_session_is_lost(const struct client_session *session)
{
    return session->is_lost;
}
