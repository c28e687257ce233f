/* Requests: taking them, batching them, finishing them; and the member's own clockwork.
 *
 * States of a request and who moves it:
 *
 *   NEW --submit--> QUEUED ----------------------> DONE   local reads, in this turn's step
 *               |-> QUEUED --> READING ----------> DONE   linearizable reads
 *               |        \--> RANGING -----------> DONE   either, when it is a large Range or Txn
 *               |-> PROPOSED --------------------> DONE   writes, when applied
 *               |        \--> REMOVING ----------> DONE   physical compaction
 *               |-> WORKING ---------------------> DONE   hash jobs, lists of leases
 *               \-> QUEUED --> WAITING ----------> DONE   renewals that the lessor holds up
 *
 * finish() puts a request on the finished list; done() is called at the end of the persist phase,
 * before the output of this turn leaves. */
#include "server/server_priv.h"

#include "codec/pb.h"

/* Steps of a compaction in one turn: some 0.3 ms, and no more begin when the turn is that old. */
#define COMPACT_STEPS 6
#define COMPACT_NS (400 * NS_PER_US)

/* ---- finishing ------------------------------------------------------------------------------ */

void server__detach(struct server_request *request)
{
    struct raft_payload *payload = request->attachment;
    if (payload != NULL) {
        payload->attached = NULL;
        raft_payload_unref(&payload);
        request->attachment = NULL;
    }
}

void server__finish(struct server *server, struct server_request *request, enum status status)
{
    ASSERT(request->state != REQUEST_DONE);
    server__detach(request);
    if (request->read != NULL) {
        server__drop_range(request);
    }
    list_del(&request->link);
    request->state = REQUEST_DONE;
    request->status = status;
    list_add_tail(&server->finished, &request->link);
}

/* Before it was done. Compatibility: only a write whose outcome nobody learns is a failed proposal;
 * one that is refused, before or in its turn, is not. */
static void give_up(struct server *server, struct server_request *request, enum status status)
{
    if (request->state == REQUEST_PROPOSED) {
        server_metrics_proposal_failed(server->metrics);
    }
    server__finish(server, request, status);
}

static void finish_all(struct server *server, struct list *list, enum status status)
{
    LIST_FOR_EACH (list, link) {
        server__finish(server, CONTAINER_OF(link, struct server_request, link), status);
    }
}

static void call_done(struct server *server)
{
    for (struct list *link = list_pop(&server->finished); link != NULL;
         link = list_pop(&server->finished)) {
        struct server_request *request = CONTAINER_OF(link, struct server_request, link);
        request->done(request);
    }
}

/* Sees to it that the hooks run soon: in this turn when their phase is still ahead, else without a
 * wait in between. */
static void kicked(struct task *task)
{
    UNUSED(task);
}

void server__kick(struct server *server)
{
    loop_task_add(server->loop, LOOP_STEP, &server->kick_task);
}

/* ---- taking --------------------------------------------------------------------------------- */

static uint64_t cost_of(const struct server_request *request)
{
    if (request->kind == REQUEST_PUT) {
        return apply_cost_put(request->message);
    }
    if (request->kind == REQUEST_LEASE_GRANT) {
        return APPLY_COST_LEASE;
    }
    return request->kind == REQUEST_TXN ? apply_cost_txn(request->message) : 0;
}

void server__raise_nospace(struct server *server)
{
    if (server->nospace_proposed || server->is_stopping) {
        return;
    }
    struct raft_payload *payload = server__encode_nospace(server);
    server->nospace_proposed = true;
    LOG_WARN(&server->log, "alarm raised", log_str("alarm", "NOSPACE"),
             log_hex("from", server->member_id));
    node_propose(server->node, payload, false);
    raft_payload_unref(&payload);
}

/* What refuses a write before it costs anything. */
static enum status refuses(struct server *server, const struct server_request *request)
{
    struct raft_status raft;
    raft_status(node_raft(server->node), &raft);
    if (raft.hard_state.commit > server->applied + SERVER_APPLY_GAP_MAX) {
        return STATUS_TOO_MANY_REQUESTS;
    }
    uint64_t cost = cost_of(request);
    if (!apply_has_room(server->apply, cost) || !server_space_allows(server, request->kind, cost)) {
        server__raise_nospace(server);
        return STATUS_NO_SPACE;
    }
    return STATUS_OK;
}

static void propose(struct server *server, struct server_request *request)
{
    enum status status = refuses(server, request);
    if (request->kind == REQUEST_LEASE_GRANT) {
        lease_desk_choose_id(server->leases, request);
    }
    struct raft_payload *payload = status == STATUS_OK ? server__encode(server, request) : NULL;
    if (status == STATUS_OK && payload->len > server->config->max_request_bytes) {
        status = STATUS_REQUEST_TOO_LARGE;
    }
    if (status != STATUS_OK) {
        raft_payload_unref(&payload);
        server__finish(server, request, status);
        return;
    }
    payload->attached = request;
    request->attachment = payload;
    request->state = REQUEST_PROPOSED;
    list_add_tail(&server->proposed, &request->link);
    node_propose(server->node, payload, true);
}

void server_submit(struct server *server, struct server_request *request)
{
    ASSERT(request->done != NULL);
    list_init(&request->link);
    request->attachment = NULL;
    request->read = NULL;
    request->handed_at = request->began_at = request->ended_at = 0;
    request->reply = SLICE_EMPTY;
    request->source = (struct reply_source){0};
    request->state = REQUEST_QUEUED;
    server->asked_at = loop_now(server->loop);
    if (server->is_stopping) {
        server__finish(server, request, STATUS_STOPPED);
    } else if (request_is_write(request->kind)) {
        propose(server, request);
    } else {
        list_add_tail(request->is_serializable ? &server->immediate : &server->reads,
                      &request->link);
    }
    server__kick(server); /* it may come after this turn's step */
}

void server_cancel(struct server *server, struct server_request *request, enum status why)
{
    if (request->state == REQUEST_DONE || request->state == REQUEST_WORKING) {
        return; /* done() is due, or comes with the job, which reads the request */
    }
    give_up(server, request, why);
}

/* ---- reads ---------------------------------------------------------------------------------- */

static void ask_read_index(struct server *server)
{
    uint8_t context[8];
    server->read_context = id_generator_next(&server->ids);
    server->read_asked = loop_now(server->loop);
    put_be64(context, server->read_context);
    node_read_index(server->node, slice_of(context, sizeof(context)));
}

static uint64_t units_of(const struct server_units *units)
{
    return units->apply + units->reads + units->sources;
}

static void turn_begin(struct server *server)
{
    uint64_t spent = units_of(&server->per_turn) - units_of(&server->left);
    if (server->turn > 0 && spent > server->units_max) {
        server->units_max = spent;
    }
    server->turn++;
    server->left = server->per_turn;
    server->source_shares = server->source_askers;
    server->source_askers = 0;
    server->sources_until = 0;
}

/* One read index is under way at a time; reads that come meanwhile share the next. */
static void on_step(struct hook *hook)
{
    struct server *server = CONTAINER_OF(hook, struct server, step_hook);
    turn_begin(server);
    lease_desk_advance(server->leases);
    if (!list_empty(&server->reads) && list_empty(&server->reading)) {
        LIST_FOR_EACH (&server->reads, link) {
            struct server_request *request = CONTAINER_OF(link, struct server_request, link);
            request->state = REQUEST_READING;
            request->handed_at = loop_now(server->loop);
        }
        list_splice(&server->reading, &server->reads);
        ask_read_index(server);
    }
}

static void on_read_index(void *ctx, raft_index index, struct slice context)
{
    struct server *server = ctx;
    if (lease_desk_read_index(server->leases, context)) {
        return;
    }
    if (context.len != 8 || get_be64(context.data) != server->read_context) {
        return; /* the answer to an earlier asking */
    }
    LIST_FOR_EACH (&server->reading, link) {
        CONTAINER_OF(link, struct server_request, link)->index = index;
    }
    list_splice(&server->confirmed, &server->reading);
}

/* What this turn has no work left for waits for the next. */
static void run_reads(struct server *server)
{
    LIST_FOR_EACH (&server->confirmed, link) {
        struct server_request *request = CONTAINER_OF(link, struct server_request, link);
        if (request->index > server->applied) {
            break; /* later ones have later indices */
        }
        if (server->left.reads == 0) {
            server__kick(server);
            return;
        }
        server__run_read(server, request);
    }
    LIST_FOR_EACH (&server->immediate, link) {
        if (server->left.reads == 0) {
            server__kick(server);
            return;
        }
        server__run_read(server, CONTAINER_OF(link, struct server_request, link));
    }
    server__continue_ranges(server);
}

/* The only voter need not wait for an election timeout: nobody else could win. It may campaign once
 * it has applied what it knows to be committed, its own membership included. */
static void campaign_alone(struct server *server)
{
    struct raft_status raft;
    const struct raft_id_set *voters = &server->conf_state.voters;
    raft_status(node_raft(server->node), &raft);
    if (voters->count == 1 && voters->ids[0] == server->member_id &&
        server->applied == raft.hard_state.commit) {
        server->has_campaigned = true;
        raft_campaign(node_raft(server->node));
        server__kick(server);
    }
}

/* Notes when raft has taken what was proposed last; those before it it took before. */
static void stamp_proposed(struct server *server)
{
    mono_ns now = loop_now(server->loop);
    if (node_pending(server->node) > 0) {
        return;
    }
    for (struct list *link = server->proposed.prev; link != &server->proposed; link = link->prev) {
        struct server_request *request = CONTAINER_OF(link, struct server_request, link);
        if (request->handed_at != 0) {
            return;
        }
        request->handed_at = now;
    }
}

/* After node's own hook of this phase: what was committed is applied. */
static void on_persist(struct hook *hook)
{
    struct server *server = CONTAINER_OF(hook, struct server, persist_hook);
    stamp_proposed(server);
    server__continue_entries(server);
    if (mvcc_tidy(server->mvcc, SERVER_TIDY_ROWS)) {
        server__kick(server);
    }
    if (!server->has_campaigned) {
        campaign_alone(server);
    }
    lease_desk_turn(server->leases);
    run_reads(server);
    lease_desk_do_due(server->leases);
    call_done(server);
    server__watch_flush(server);
}

/* ---- clockwork ------------------------------------------------------------------------------ */

static void time_out(struct server *server, struct list *list)
{
    mono_ns now = loop_now(server->loop);
    mono_ns patience = (mono_ns)config_request_timeout_ns(server->config);
    LIST_FOR_EACH (list, link) {
        struct server_request *request = CONTAINER_OF(link, struct server_request, link);
        if (now - request->started < patience) {
            return; /* in the order of their start */
        }
        give_up(server, request, STATUS_TIMEOUT);
    }
}

static void publish(struct server *server)
{
    struct raft_payload *payload = server__encode_publish(server);
    server->is_publishing = true;
    node_propose(server->node, payload, false);
    raft_payload_unref(&payload);
    if (member_set_cluster_version(server->members)[0] == '\0') {
        payload = server__encode_version(server);
        node_propose(server->node, payload, false);
        raft_payload_unref(&payload);
    }
}

static void on_tick(struct timer *timer)
{
    struct server *server = CONTAINER_OF(timer, struct server, tick);
    mono_ns now = loop_now(server->loop);
    time_out(server, &server->proposed);
    time_out(server, &server->reading);
    time_out(server, &server->reads);
    server__give_up_sources(server);
    if (!list_empty(&server->reading) && now - server->read_asked >= SERVER_READ_RETRY_NS) {
        ask_read_index(server);
    }
    lease_desk_tick(server->leases);
    timer_start(server->loop, timer, now + server->config->heartbeat_ms * NS_PER_MS);
}

static void on_changed(void *ctx, const struct raft_soft_state *state)
{
    struct server *server = ctx;
    bool was_led = server->leader != RAFT_NONE;
    server->leader = state->lead;
    server->is_leader = state->state == RAFT_LEADER;
    apply_set_term(server->apply, raft_current_term(node_raft(server->node)));
    if (!server->is_leader) {
        lease_desk_leader_lost(server->leases);
    }
    server_metrics_leader_changed(server->metrics, state->lead != RAFT_NONE, server->is_leader);
    if (was_led) {
        finish_all(server, &server->reading, STATUS_LEADER_CHANGED);
    }
    if (state->lead != RAFT_NONE && !list_empty(&server->reading)) {
        ask_read_index(server); /* raft has dropped what was asked while nobody led */
    }
    if (state->lead != RAFT_NONE && !server->is_publishing) {
        publish(server);
    }
}

void server__ready(struct server *server)
{
    if (!server->has_published) {
        server->has_published = true;
        server->options.on_ready(server->options.ctx);
    }
}

/* ---- compaction ----------------------------------------------------------------------------- */

/* Several steps a turn, as long as there is time. */
static int compact_steps(struct server *server)
{
    int wait_ms = 0;
    for (unsigned i = 0; i < COMPACT_STEPS && wait_ms == 0; i++) {
        if (i > 0 && loop_turn_ns(server->loop) >= COMPACT_NS) {
            break;
        }
        wait_ms = mvcc_compact_step(server->mvcc);
    }
    return wait_ms;
}

static void on_compact_timer(struct timer *timer)
{
    struct server *server = CONTAINER_OF(timer, struct server, compact_timer);
    if (server->entry.is_on || watch_hub_is_looking(server_watch_hub(server))) {
        timer_start(server->loop, timer, loop_now(server->loop) + NS_PER_MS);
        return;
    }
    int wait_ms = compact_steps(server);
    if (wait_ms >= 0 && !server->is_stopping) {
        timer_start(server->loop, timer, loop_now(server->loop) + (uint64_t)wait_ms * NS_PER_MS);
    }
}

void server__compact_soon(struct server *server)
{
    if (!server->is_stopping && !timer_running(&server->compact_timer)) {
        timer_start(server->loop, &server->compact_timer, loop_now(server->loop));
    }
}

static void compaction_committed(void *ctx)
{
    struct server *server = ctx;
    ASSERT(server->working > 0);
    ASSERT(server->compact_commits > 0);
    server->working--;
    server->compact_commits--;
    LIST_FOR_EACH (&server->compacting, link) {
        struct server_request *request = CONTAINER_OF(link, struct server_request, link);
        const Etcdserverpb__CompactionRequest *message = request->message;
        if (mvcc_is_compacted(server->mvcc, message->revision)) {
            server__finish(server, request, STATUS_OK);
        }
    }
}

static void on_compacted(void *ctx, int64_t revision)
{
    struct server *server = ctx;
    UNUSED(revision);
    if (!list_empty(&server->compacting)) {
        server->working++;
        server->compact_commits++;
        backend_force_commit(server->backend, compaction_committed, server);
    }
}

/* ---- life cycle ----------------------------------------------------------------------------- */

/* Compatibility: no lease may run out within one and a half election timeouts. */
static int64_t lease_ttl_min(const struct config *config)
{
    uint64_t ms = 3 * config->election_ticks / 2 * config->heartbeat_ms;
    return (int64_t)((ms + 999) / 1000);
}

/* Without users and their permissions, everybody would be let at what they protect. */
static FALLIBLE refuse_auth(struct server *server, struct errbuf *why)
{
    struct slice enabled;
    if (!backend_get(server->backend, BUCKET_AUTH, SLICE("authEnabled"), &enabled) ||
        !slice_eq(enabled, SLICE("\x01"))) {
        return ERR_OK;
    }
    return errf(why, ERR_UNSUPPORTED,
                "%s has authentication enabled, which this version does not serve yet; start the "
                "etcd that wrote it, or disable authentication there first (etcdctl auth disable)",
                config_backend_path(server->config));
}

static void on_attach(void *ctx, struct slice key, lease_id lease)
{
    lessor_attach(((struct server *)ctx)->lessor, key, lease);
}

static FALLIBLE open_store(struct server *server, struct errbuf *why)
{
    struct lessor_options leases = {
        .backend = server->backend,
        .ttl_min = lease_ttl_min(server->config),
        .seed = env_random_u64(server->options.env),
    };
    struct mvcc_options options = {
        .backend = server->backend,
        .hash_seed = env_random_u64(server->options.env),
        .hooks = {.ctx = server,
                  .attach = on_attach,
                  .changed = server__watch_changed,
                  .compacted = on_compacted},
        .compact_batch_limit = (uint32_t)config_compaction_batch_limit(server->config),
        .compact_sleep_ms =
            (uint32_t)(config_compaction_sleep_ns(server->config) / (int64_t)NS_PER_MS),
    };
    TRY(lessor_open(&leases, &server->lessor, why));
    TRY(mvcc_open(&options, &server->mvcc, why));
    server__watch_open(server);
    TRY(alarms_open(server->backend, &server->alarms, why));
    TRY(refuse_auth(server, why));
    struct apply_options apply = {
        .mvcc = server->mvcc,
        .backend = server->backend,
        .alarms = server->alarms,
        .cluster_id = server->cluster_id,
        .member_id = server->member_id,
        .quota = config_quota(server->config),
        .lessor = server->lessor,
    };
    server->apply = apply_new(&apply);
    server->leases = lease_desk_new(server);
    server->applied_term = backend_term(server->backend);
    return ERR_OK;
}

FALLIBLE server_open(const struct server_options *options, struct server **out, struct errbuf *why)
{
    struct server *server = NEW(struct server);
    server->options = *options;
    server->config = options->config;
    server->loop = options->loop;
    server->log = options->log;
    arena_init(&server->scratch);
    task_init(&server->kick_task, kicked);
    server->per_turn = (struct server_units){
        .apply = SERVER_APPLY_UNITS,
        .reads = SERVER_READ_UNITS,
        .sources = SERVER_SOURCE_UNITS,
    };
    list_init(&server->proposed);
    list_init(&server->reads);
    list_init(&server->reading);
    list_init(&server->confirmed);
    list_init(&server->immediate);
    list_init(&server->ranging);
    list_init(&server->sources);
    list_init(&server->finished);
    list_init(&server->compacting);
    list_init(&server->pins);
    server_space_init(server);
    server->metrics = server_metrics_new(server);
    enum err err = server__boot(server, why);
    if (err == ERR_OK) {
        err = open_store(server, why);
    }
    if (err != ERR_OK) {
        server_free(&server);
        return err;
    }
    id_generator_init(&server->ids, server->member_id, env_now_wall(options->env));
    *out = server;
    return ERR_OK;
}

struct node_hooks server__node_hooks(struct server *server)
{
    return (struct node_hooks){
        .ctx = server,
        .apply = server__apply_entries,
        .read_index = on_read_index,
        .changed = on_changed,
    };
}

void server_start(struct server *server)
{
    struct banner_member self = server__banner(server);
    const char *version = member_set_cluster_version(server->members);
    banner_limits(server->config);
    banner_start(server->config, &self, version[0] == '\0' ? NULL : version);
    loop_hook_add(server->loop, LOOP_STEP, &server->step_hook, on_step);
    loop_hook_add(server->loop, LOOP_PERSIST, &server->persist_hook, on_persist);
    timer_init(&server->tick, on_tick);
    timer_start(server->loop, &server->tick,
                loop_now(server->loop) + server->config->heartbeat_ms * NS_PER_MS);
    timer_init(&server->compact_timer, on_compact_timer);
    server__compact_soon(server); /* one that was under way at the last stop goes on */
    server__kick(server);
}

/* At the end of every turn while stopping: what is waited for are jobs, whose ends bring turns. */
static void on_stopping(struct hook *hook)
{
    struct server *server = CONTAINER_OF(hook, struct server, stop_hook);
    server_space_stop(server);
    bool is_idle = node_is_idle(server->node) && server->working == 0 &&
                   !server__is_applying(server) && snapshotter_is_idle(server->snapshotter) &&
                   list_empty(&server->finished);
    if (!is_idle) {
        return;
    }
    loop_hook_remove(&server->stop_hook);
    loop_hook_remove(&server->step_hook);
    loop_hook_remove(&server->persist_hook);
    loop_task_remove(&server->kick_task);
    server__watch_stop(server);
    server->stopped(server->stopped_ctx);
}

void server_stop(struct server *server, void (*done)(void *ctx), void *ctx)
{
    ASSERT(!server->is_stopping);
    server->is_stopping = true;
    server->stopped = done;
    server->stopped_ctx = ctx;
    timer_stop(server->loop, &server->tick);
    timer_stop(server->loop, &server->compact_timer);
    lease_desk_stop(server->leases);
    if (server->is_leader) {
        struct banner_member self = server__banner(server);
        banner_alone(server->config, &self, server->leader);
    }
    node_stop(server->node);
    backend_defrag_cancel(server->backend, ERR_CLOSED, "the member stops");
    finish_all(server, &server->proposed, STATUS_STOPPED);
    finish_all(server, &server->reads, STATUS_STOPPED);
    finish_all(server, &server->reading, STATUS_STOPPED);
    finish_all(server, &server->confirmed, STATUS_STOPPED);
    finish_all(server, &server->immediate, STATUS_STOPPED);
    finish_all(server, &server->ranging, STATUS_STOPPED);
    server__stop_sources(server);
    finish_all(server, &server->compacting, STATUS_STOPPED);
    loop_hook_add(server->loop, LOOP_CLOSE, &server->stop_hook, on_stopping);
    server__kick(server);
}

void server_free(struct server **server)
{
    struct server *s = *server;
    if (s == NULL) {
        return;
    }
    snapshotter_free(&s->snapshotter);
    node_free(&s->node);
    server__backlog_free(s);
    lease_desk_free(&s->leases);
    apply_free(&s->apply);
    alarms_close(&s->alarms);
    server__watch_close(s);
    mvcc_close(&s->mvcc);
    lessor_close(&s->lessor);
    backend_close(&s->backend);
    member_set_free(&s->members);
    server_metrics_free(&s->metrics);
    arena_fini(&s->scratch);
    mem_free(s);
    *server = NULL;
}

/* ---- observers ------------------------------------------------------------------------------ */

bool server_is_defragmenting(const struct server *server)
{
    return backend_is_defragmenting(server->backend);
}

uint64_t server_member_id(const struct server *server)
{
    return server->member_id;
}

uint64_t server_cluster_id(const struct server *server)
{
    return server->cluster_id;
}

const struct member_set *server_members(const struct server *server)
{
    return server->members;
}

struct reply_header server_header(const struct server *server)
{
    return apply_header(server->apply);
}

bool server_was_ready(const struct server *server)
{
    return server->has_published;
}

uint64_t server_leader(const struct server *server)
{
    return server->leader;
}

bool server_is_leader(const struct server *server)
{
    return server->is_leader;
}

const char *server_cluster_version(const struct server *server)
{
    return member_set_cluster_version(server->members)[0] == '\0' ? "" : CONFIG_ETCD_VERSION;
}

const char *server_storage_version(const struct server *server)
{
    UNUSED(server);
    return CONFIG_ETCD_VERSION;
}

size_t server_alarm_count(const struct server *server)
{
    return alarms_count(server->alarms);
}

int32_t server_alarm_at(const struct server *server, size_t at, uint64_t *member_out)
{
    struct alarm alarm = alarms_at(server->alarms, at);
    *member_out = alarm.member_id;
    return alarm.type;
}

const struct config *server_config(const struct server *server)
{
    return server->config;
}

const struct log *server_log(const struct server *server)
{
    return &server->log;
}
