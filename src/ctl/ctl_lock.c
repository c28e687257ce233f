/* lock and elect: take a name, hold it until told to stop.
 *
 * An interrupt ends the wait, or the holding, and gives the name back before the program ends. The
 * session's lease is revoked as well, so that nothing is left to expire (etcdctl leaves it). */
#include "ctl/ctl_priv.h"

#include "client/contender.h"
#include "client/observer.h"
#include "client/session.h"
#include "codec/pb.h"

#define GOODBYE_NS (2 * NS_PER_SEC) /* for revoking the lease */

/* What both commands wait for. */
struct holder {
    struct ctl *ctl;
    struct client_keeper *keeper;
    struct client_watcher *watcher;
    struct client_session *session;
    struct client_contender *contender;
    bool is_ready;
    bool is_lost;
    bool is_interrupted;
    bool is_done;
    bool wakes; /* any of these: the wait looks again */
    const char *error;
};

static const char *keep(struct holder *holder, const char *text)
{
    return arena_printf(&holder->ctl->arena, "%s", text);
}

static void session_ready(struct client_session *session, const char *error, void *ctx)
{
    struct holder *holder = ctx;
    (void)session;
    holder->is_ready = true;
    holder->error = keep(holder, error);
}

static void session_lost(struct client_session *session, const char *error, void *ctx)
{
    struct holder *holder = ctx;
    (void)session;
    (void)error;
    holder->is_lost = true;
    holder->wakes = true;
}

static void interrupted(int signum, void *arg)
{
    struct holder *holder = arg;
    (void)signum;
    holder->is_interrupted = true;
    holder->wakes = true;
}

static void contended(struct client_contender *contender, const char *error, void *ctx)
{
    struct holder *holder = ctx;
    (void)contender;
    holder->is_done = true;
    holder->wakes = true;
    holder->error = keep(holder, error);
}

/* A session, and from then on interrupts are ours. CTL_OK, or the code of a printed failure. */
static int holder_open(struct holder *holder, const struct command_call *call, int64_t ttl_s)
{
    struct ctl *ctl = ctl_of(call);
    const struct ctl_terminal *terminal = ctl->terminal;
    int code = ctl__open(ctl, call);
    if (code != CTL_OK) {
        return code;
    }
    *holder = (struct holder){.ctl = ctl, .error = ""};
    holder->keeper = client_keeper_new(ctl->client);
    holder->watcher = client_watcher_new(ctl->client, false);
    struct client_session_options options = {
        .client = ctl->client,
        .keeper = holder->keeper,
        .ttl_s = ttl_s,
        .ready = session_ready,
        .lost = session_lost,
        .ctx = holder,
    };
    holder->session = client_session_open(&options);
    ctl__wait(ctl, &holder->is_ready);
    if (holder->error[0] != 0) {
        return ctl__fail_text(ctl, CTL_ERROR, slice_str(holder->error));
    }
    if (terminal->on_interrupt != NULL) {
        terminal->on_interrupt(terminal->ctx, ctl->env, interrupted, holder);
    }
    return CTL_OK;
}

static void holder_close(struct holder *holder)
{
    struct ctl *ctl = holder->ctl;
    if (ctl == NULL) {
        return;
    }
    int64_t lease = client_session_lease(holder->session);
    client_contender_free(&holder->contender);
    client_session_free(&holder->session);
    client_watcher_free(&holder->watcher);
    client_keeper_free(&holder->keeper);
    if (lease != 0 && !holder->is_lost) {
        Etcdserverpb__LeaseRevokeRequest request = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
        request.id = lease;
        struct ctl_rpc rpc = {.path = "/etcdserverpb.Lease/LeaseRevoke",
                              .request = &request,
                              .reply_type = &etcdserverpb__lease_revoke_response__descriptor,
                              .deadline = env_now_mono(ctl->env) + GOODBYE_NS};
        (void)ctl__call(ctl, ctl->client, &rpc); /* unreachable: it expires */
    }
}

/* Contends for the name; an interrupt gives it up. */
static int holder_contend(struct holder *holder, const char *name, const char *value,
                          bool is_election)
{
    struct client_contender_options options = {
        .client = holder->ctl->client,
        .watcher = holder->watcher,
        .lease = client_session_lease(holder->session),
        .name = slice_str(name),
        .value = slice_str(value),
        .is_election = is_election,
    };
    holder->contender = client_contender_start(&options, contended, holder);
    while (!holder->is_done && !holder->is_interrupted) {
        holder->wakes = false;
        ctl__wait(holder->ctl, &holder->wakes);
    }
    if (!holder->is_done) {
        client_contender_leave(holder->contender, ctl__deadline(holder->ctl), contended, holder);
        ctl__wait(holder->ctl, &holder->is_done);
        return ctl__fail(holder->ctl, CTL_ERROR, "context canceled");
    }
    if (holder->error[0] != 0) {
        return ctl__fail_text(holder->ctl, CTL_ERROR, slice_str(holder->error));
    }
    return CTL_OK;
}

static int holder_leave(struct holder *holder)
{
    holder->is_done = false;
    client_contender_leave(holder->contender, UINT64_MAX, contended, holder);
    ctl__wait(holder->ctl, &holder->is_done);
    if (holder->error[0] != 0) {
        return ctl__fail_text(holder->ctl, CTL_ERROR, slice_str(holder->error));
    }
    return CTL_OK;
}

/* Prints the pair that shows who holds it. */
static int show_own_key(struct holder *holder, const char *lost)
{
    struct ctl *ctl = holder->ctl;
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    range.key = pb_binary(client_contender_key(holder->contender));
    struct ctl_rpc rpc = {.path = "/etcdserverpb.KV/Range",
                          .request = &range,
                          .reply_type = &etcdserverpb__range_response__descriptor,
                          .is_repeatable = true,
                          .deadline = UINT64_MAX};
    if (!ctl__call(ctl, ctl->client, &rpc)) {
        return ctl__fail_text(ctl, CTL_ERROR, slice_str(rpc.error));
    }
    const Etcdserverpb__RangeResponse *answer = rpc.reply;
    if (answer->n_kvs == 0 && lost != NULL) {
        return ctl__fail(ctl, CTL_ERROR, "%s", lost);
    }
    int code = ctl__shown(ctl, print_get(&ctl->printer, answer));
    ctl__flush(ctl);
    return code;
}

static int hold(struct holder *holder, const char *expired)
{
    while (!holder->is_interrupted && !holder->is_lost) {
        holder->wakes = false;
        ctl__wait(holder->ctl, &holder->wakes);
    }
    if (!holder->is_interrupted) {
        return ctl__fail(holder->ctl, CTL_ERROR, "%s", expired);
    }
    return holder_leave(holder);
}

/* ---- lock -------------------------------------------------------------------------------- */

static int run_program(struct holder *holder, const char *const *words, size_t count)
{
    struct ctl *ctl = holder->ctl;
    struct slice key = client_contender_key(holder->contender);
    const char **argv = arena_alloc(&ctl->arena, (count + 1) * sizeof(*argv));
    memcpy((void *)argv, (const void *)words, count * sizeof(*argv));
    argv[count] = NULL;
    const char *variables[] = {
        arena_printf(&ctl->arena, "ETCD_LOCK_KEY=%.*s", (int)key.len, (const char *)key.data),
        arena_printf(&ctl->arena, "ETCD_LOCK_REV=%lld",
                     (long long)client_contender_header_revision(holder->contender)),
        NULL,
    };
    struct ctl_exec exec = {.argv = argv, .variables = variables, .inherits_over = true};
    struct errbuf why = {{0}};
    int code = ctl__exec(ctl, &exec, &why);
    if (code == CTL_OK) {
        return holder_leave(holder);
    }
    holder->is_done = false;
    client_contender_leave(holder->contender, UINT64_MAX, contended, holder);
    ctl__wait(ctl, &holder->is_done);
    return ctl__fail(ctl, code, "%s", why.text);
}

int ctl__lock_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    size_t count = pflag_narg(call->flags);
    struct holder holder = {0};
    if (count == 0) {
        return ctl__fail(ctl, CTL_BAD_ARGS,
                         "lock takes a lock name argument and an optional command to execute");
    }
    int code = holder_open(&holder, call, pflag_i64(call->flags, "ttl"));
    if (code == CTL_OK) {
        code = holder_contend(&holder, pflag_arg(call->flags, 0), "", false);
    }
    if (code == CTL_OK && count > 1) {
        code = run_program(&holder, pflag_args(call->flags) + 1, count - 1);
    } else if (code == CTL_OK) {
        code = show_own_key(&holder, "lock lost on init");
        if (code == CTL_OK) {
            code = hold(&holder, "session expired");
        }
    }
    holder_close(&holder);
    return code;
}

/* ---- elect ------------------------------------------------------------------------------- */

static void on_leader(struct client_observer *observer, const Etcdserverpb__RangeResponse *range,
                      const char *error, void *ctx)
{
    struct holder *holder = ctx;
    struct ctl *ctl = holder->ctl;
    (void)observer;
    (void)error;
    if (range != NULL && print_get(&ctl->printer, range) == ERR_OK) {
        ctl__flush(ctl);
        return;
    }
    holder->is_done = true;
    holder->wakes = true;
    holder->error = range != NULL ? "format" : "elect: observer lost";
}

static int observe(struct holder *holder, const char *name)
{
    struct client_observer *observer = client_observer_start(holder->ctl->client, holder->watcher,
                                                             slice_str(name), on_leader, holder);
    while (!holder->is_done && !holder->is_interrupted) {
        holder->wakes = false;
        ctl__wait(holder->ctl, &holder->wakes);
    }
    client_observer_free(&observer);
    if (!holder->is_done) {
        return CTL_OK;
    }
    if (strcmp(holder->error, "format") == 0) {
        return ctl__shown(holder->ctl, ERR_UNSUPPORTED);
    }
    return ctl__fail(holder->ctl, CTL_ERROR, "%s", holder->error);
}

static int campaign(struct holder *holder, const char *name, const char *proposal)
{
    int code = holder_contend(holder, name, proposal, true);
    if (code == CTL_OK) {
        code = show_own_key(holder, NULL);
    }
    if (code == CTL_OK) {
        code = hold(holder, "elect: session expired");
    }
    return code;
}

int ctl__elect_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    size_t count = pflag_narg(call->flags);
    bool listens = pflag_bool(call->flags, "listen");
    struct holder holder = {0};
    if (count != 1 && count != 2) {
        return ctl__fail(
            ctl, CTL_BAD_ARGS,
            "elect takes one election name argument and an optional proposal argument");
    }
    if (count == 1 && !listens) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "no proposal argument but -l not set");
    }
    if (count == 2 && listens) {
        return ctl__fail(ctl, CTL_BAD_ARGS, "proposal given but -l is set");
    }
    int code = holder_open(&holder, call, CLIENT_SESSION_TTL_S);
    if (code == CTL_OK) {
        const char *name = pflag_arg(call->flags, 0);
        code =
            listens ? observe(&holder, name) : campaign(&holder, name, pflag_arg(call->flags, 1));
    }
    holder_close(&holder);
    return code;
}
