/* The leader's duties towards leases: to let them run out, to keep what is left of them in the
 * log, and to answer who renews them or asks for their time.
 *
 * When this member is the primary. Leading is not enough: an entry of its own term must have been
 * applied. Then every grant and revoke that any earlier leader acknowledged is applied here, too,
 * and no client hears that a lease is unknown which somebody was granted; and what an earlier
 * leader let run out is gone before this one gives leases their time again.
 *
 * When it is sure. A process that was stopped for a while may lead no more and not know it. When
 * the clock of ticks shows a gap of more than DOUBT_TICKS, nothing runs out and nobody is answered
 * until a read index has confirmed that this member leads (etcd issue 15247).
 *
 * The turn that notices such a gap lets nothing run out either: a wait that the stop has broken off
 * returns without what lies in the sockets, and a renewal in there was sent in time.
 *
 * What it proposes, it proposes as the leader of this term (node_propose_leading): a revoke that
 * comes too late is dropped, never forwarded to a leader that has given the lease more time.
 *
 * A renewal touches neither log nor disk, with one exception: of a lease that has a checkpoint the
 * first renewal clears it, through the log, before it is answered (lease.h, LEASE_CLEAR). That is
 * one entry for each checkpoint, and leases that are renewed within LEASE_CHECKPOINT_S have none.
 *
 * A member that does not lead would forward renewals and questions to the leader's peer address,
 * as etcd does; until members talk to each other there is nobody to forward to, and a request
 * waits for a leader here until it times out: lease_desk_run() is the place. */
#include "server/server_priv.h"

#include "codec/pb.h"
#include "codec/pbwire.h"

/* Leases, and keys of theirs, that are let run out at a time. With a million others in memory each
 * costs 3 to 4 us to name, to propose and to take away: below a millisecond. */
#define WINDOW 256
/* Compatibility: etcd's bound for the checkpoints of one entry. */
#define CHECKPOINTS_MAX 1000
/* Ticks that may be missed before this member doubts that it leads; etcd's number. */
#define DOUBT_TICKS 3

struct lease_desk {
    struct server *server;
    struct list waiting;  /* requests, by start */
    struct timer timer;   /* wakes the loop for the next thing due */
    uint64_t term;        /* raft's term in which we are primary */
    uint64_t ticked;      /* time of the last tick */
    bool is_sure;         /* nothing makes us doubt that we lead */
    bool was_stopped;     /* noticed in this turn */
    uint64_t doubt;       /* context of the read index that settles it; 0: none asked for */
    uint64_t doubt_asked; /* when */
    uint64_t looked;      /* lessor_changes() when the waiting were last looked at */
    bool was_ready;       /* is_ready() then */
};

static void woken(struct timer *timer)
{
    UNUSED(timer); /* the turn does it */
}

struct lease_desk *lease_desk_new(struct server *server)
{
    struct lease_desk *desk = NEW(struct lease_desk);
    desk->server = server;
    desk->ticked = loop_now(server->loop);
    list_init(&desk->waiting);
    timer_init(&desk->timer, woken);
    return desk;
}

void lease_desk_free(struct lease_desk **desk)
{
    if (*desk != NULL) {
        timer_stop((*desk)->server->loop, &(*desk)->timer);
        mem_free(*desk);
        *desk = NULL;
    }
}

static bool is_ready(const struct lease_desk *desk)
{
    return desk->is_sure && lessor_is_primary(desk->server->lessor);
}

/* ---- leading --------------------------------------------------------------------------------- */

static void ask_whether_we_lead(struct lease_desk *desk)
{
    struct server *server = desk->server;
    uint8_t context[8];
    desk->doubt = id_generator_next(&server->ids);
    desk->doubt_asked = loop_now(server->loop);
    put_be64(context, desk->doubt);
    node_read_index(server->node, slice_of(context, sizeof(context)));
}

bool lease_desk_read_index(struct lease_desk *desk, struct slice context)
{
    if (desk->doubt == 0 || context.len != 8 || get_be64(context.data) != desk->doubt) {
        return false;
    }
    desk->doubt = 0;
    desk->is_sure = true;
    return true;
}

void lease_desk_leader_lost(struct lease_desk *desk)
{
    lessor_demote(desk->server->lessor);
    desk->is_sure = false;
    desk->doubt = 0;
}

static void lead(struct lease_desk *desk)
{
    struct server *server = desk->server;
    uint64_t term = raft_current_term(node_raft(server->node));
    bool leads = server->is_leader && server->applied_term == term;
    if (!leads || (lessor_is_primary(server->lessor) && desk->term == term)) {
        return;
    }
    desk->term = term;
    desk->is_sure = true;
    desk->doubt = 0;
    lessor_promote(server->lessor,
                   server->config->election_ticks * server->config->heartbeat_ms * NS_PER_MS);
}

void lease_desk_tick(struct lease_desk *desk)
{
    struct server *server = desk->server;
    uint64_t now = loop_now(server->loop);
    uint64_t patience = (uint64_t)config_request_timeout_ns(server->config);
    uint64_t gap = DOUBT_TICKS * server->config->heartbeat_ms * NS_PER_MS;
    desk->was_stopped = now - desk->ticked > gap;
    if (lessor_is_primary(server->lessor)) {
        desk->is_sure = desk->is_sure && !desk->was_stopped;
        bool is_asked = desk->doubt != 0 && now - desk->doubt_asked < SERVER_READ_RETRY_NS;
        if (!desk->is_sure && !is_asked) {
            ask_whether_we_lead(desk);
        }
    }
    desk->ticked = now;
    LIST_FOR_EACH (&desk->waiting, link) {
        struct server_request *request = CONTAINER_OF(link, struct server_request, link);
        if (now - request->started < patience) {
            break; /* in the order of their start */
        }
        server__finish(server, request,
                       server->leader == RAFT_NONE ? STATUS_NO_LEADER : STATUS_TIMEOUT);
    }
}

/* ---- proposing ------------------------------------------------------------------------------- */

static void propose(struct lease_desk *desk, enum request_kind kind, const void *message)
{
    struct raft_payload *payload = server__encode_own(desk->server, kind, message);
    node_propose_leading(desk->server->node, payload, desk->term);
    raft_payload_unref(&payload);
}

static void propose_checkpoints(struct lease_desk *desk, const struct lease_left *left,
                                size_t count)
{
    Etcdserverpb__LeaseCheckpoint *all = mem_array(count, sizeof(*all));
    Etcdserverpb__LeaseCheckpoint **each = mem_array(count, sizeof(*each));
    Etcdserverpb__LeaseCheckpointRequest request = ETCDSERVERPB__LEASE_CHECKPOINT_REQUEST__INIT;
    for (size_t i = 0; i < count; i++) {
        etcdserverpb__lease_checkpoint__init(&all[i]);
        all[i].id = left[i].id;
        all[i].remaining_ttl = left[i].left;
        each[i] = &all[i];
    }
    request.checkpoints = each;
    request.n_checkpoints = count;
    propose(desk, REQUEST_LEASE_CHECKPOINT, &request);
    mem_free(each);
    mem_free(all);
}

/* On where every member understands and keeps them alike: alone; elsewhere, where asked to. */
static bool makes_checkpoints(const struct server *server)
{
    return server->config->gates[CONFIG_GATE_LEASE_CHECKPOINT] || server__is_alone(server);
}

/* Returns how many. */
static size_t let_run_out(struct lease_desk *desk)
{
    lease_id ids[WINDOW];
    size_t count = lessor_expire(desk->server->lessor, WINDOW, ids, ARRAY_LEN(ids));
    for (size_t i = 0; i < count; i++) {
        Etcdserverpb__LeaseRevokeRequest request = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
        request.id = ids[i];
        propose(desk, REQUEST_LEASE_REVOKE, &request);
    }
    return count;
}

static void keep_what_is_left(struct lease_desk *desk)
{
    struct lease_left left[CHECKPOINTS_MAX];
    size_t count = lessor_checkpoints(desk->server->lessor, left, ARRAY_LEN(left));
    if (count > 0 && makes_checkpoints(desk->server)) {
        propose_checkpoints(desk, left, count);
    }
}

/* After the turn's renewals, so that those that came in time count.
 *
 * One slice of what is due, and the timer for the next. What the window holds up goes on when
 * revokes have been applied, or when one that got lost is due again. */
void lease_desk_do_due(struct lease_desk *desk)
{
    struct server *server = desk->server;
    struct lessor *lessor = server->lessor;
    uint64_t now = loop_now(server->loop);
    if (!is_ready(desk) || server->is_stopping) {
        timer_stop(server->loop, &desk->timer);
        return;
    }
    if (desk->was_stopped) {
        desk->was_stopped = false;
        timer_start(server->loop, &desk->timer, now);
        return;
    }
    bool is_held_up = false;
    if (lessor_due(lessor) <= now) {
        lessor_step(lessor);
        is_held_up = let_run_out(desk) == 0 && lessor_ending(lessor) > 0;
        keep_what_is_left(desk);
    }
    uint64_t due = lessor_due(lessor);
    if (due <= now && is_held_up) {
        due = now + LEASE_RETRY_S * NS_PER_SEC;
    }
    if (due == UINT64_MAX) {
        timer_stop(server->loop, &desk->timer);
    } else if (!timer_running(&desk->timer) || desk->timer.deadline != due) {
        timer_start(server->loop, &desk->timer, due);
    }
}

/* ---- answering ------------------------------------------------------------------------------- */

void lease_desk_choose_id(struct lease_desk *desk, struct server_request *request)
{
    const Etcdserverpb__LeaseGrantRequest *asked = request->message;
    if (asked->id != 0) {
        return;
    }
    Etcdserverpb__LeaseGrantRequest *chosen = arena_dup(request->arena, asked, sizeof(*asked));
    while (chosen->id == 0) {
        chosen->id = (int64_t)(id_generator_next(&desk->server->ids) & INT64_MAX);
    }
    /* The last field of a number is the one that counts. */
    size_t len = request->encoded.len + pbwire_uint_size(2, (uint64_t)chosen->id);
    uint8_t *encoded = arena_alloc(request->arena, len);
    if (request->encoded.len > 0) {
        memcpy(encoded, request->encoded.data, request->encoded.len);
    }
    uint8_t *end = pbwire_put_uint(encoded + request->encoded.len, 2, (uint64_t)chosen->id);
    ASSERT(end == encoded + len);
    request->message = chosen;
    request->encoded = slice_of(encoded, len);
}

static void reply(struct server *server, struct server_request *request, struct buf *body,
                  int64_t revision)
{
    struct buf out = {0};
    struct reply_header header = apply_header(server->apply);
    header.revision = revision;
    reply_put_header(&out, 1, &header);
    buf_append_slice(&out, buf_slice(body));
    request->reply = slice_of(arena_dup(request->arena, out.data, out.len), out.len);
    buf_fini(&out);
    server__finish(server, request, STATUS_OK);
}

static void reply_renewed(struct server *server, struct server_request *request, int64_t ttl)
{
    const Etcdserverpb__LeaseKeepAliveRequest *message = request->message;
    uint8_t bytes[96];
    struct buf out = {.data = bytes, .cap = sizeof(bytes)}; /* six numbers: never grows */
    struct reply_header header = apply_header(server->apply);
    header.revision = (int64_t)request->index;
    reply_put_header(&out, 1, &header);
    reply_put_uint(&out, 2, (uint64_t)message->id);
    reply_put_uint(&out, 3, (uint64_t)ttl);
    ASSERT(out.data == bytes);
    request->reply = slice_of(arena_dup(request->arena, out.data, out.len), out.len);
    server__finish(server, request, STATUS_OK);
}

/* False: it waits on. */
static bool try_renew(struct lease_desk *desk, struct server_request *request)
{
    struct server *server = desk->server;
    const Etcdserverpb__LeaseKeepAliveRequest *message = request->message;
    int64_t ttl = 0;
    switch (lessor_renew(server->lessor, message->id, &ttl)) {
    case LEASE_RENEWED:
    case LEASE_UNKNOWN:
        reply_renewed(server, request, ttl);
        return true;
    case LEASE_CLEAR:
        propose_checkpoints(desk, &(struct lease_left){.id = message->id}, 1);
        return false;
    case LEASE_CLEARING:
    case LEASE_ENDING:
        return false;
    }
    UNREACHABLE();
}

static void answer_time(struct lease_desk *desk, struct server_request *request)
{
    struct server *server = desk->server;
    const Etcdserverpb__LeaseTimeToLiveRequest *message = request->message;
    struct lease_info info;
    struct buf body = {0};
    bool exists = lessor_get(server->lessor, message->id, &info);
    if (exists && message->keys) {
        server__lease_keys(server, request);
        return;
    }
    reply_put_uint(&body, 2, (uint64_t)message->id);
    if (exists) {
        reply_put_uint(&body, 3, (uint64_t)lessor_remaining_s(server->lessor, &info));
        reply_put_uint(&body, 4, (uint64_t)info.ttl);
    } else {
        reply_put_uint(&body, 3, (uint64_t)-1);
    }
    reply(server, request, &body, mvcc_revision(server->mvcc));
    buf_fini(&body);
}

static bool try_answer(struct lease_desk *desk, struct server_request *request)
{
    if (!is_ready(desk)) {
        return false;
    }
    if (request->kind == REQUEST_LEASE_RENEW) {
        return try_renew(desk, request);
    }
    answer_time(desk, request);
    return true;
}

void lease_desk_run(struct lease_desk *desk, struct server_request *request)
{
    /* Compatibility: a renewal's header is taken before it is done, so that a lease revoked at
     * revision 3 is not said to live at 4. */
    request->index = (uint64_t)mvcc_revision(desk->server->mvcc);
    if (!try_answer(desk, request)) {
        list_del(&request->link);
        request->state = REQUEST_WAITING;
        list_add_tail(&desk->waiting, &request->link);
    }
}

/* ---- turns ----------------------------------------------------------------------------------- */

void lease_desk_advance(struct lease_desk *desk)
{
    lessor_advance(desk->server->lessor, loop_now(desk->server->loop));
}

/* They wait for this member to be ready, for a revoke or for a checkpoint. */
static void look_at_waiting(struct lease_desk *desk)
{
    uint64_t changes = lessor_changes(desk->server->lessor);
    bool has_changed = changes != desk->looked || is_ready(desk) != desk->was_ready;
    desk->looked = changes;
    desk->was_ready = is_ready(desk);
    if (!has_changed) {
        return;
    }
    LIST_FOR_EACH (&desk->waiting, link) {
        (void)try_answer(desk, CONTAINER_OF(link, struct server_request, link));
    }
}

void lease_desk_turn(struct lease_desk *desk)
{
    lead(desk);
    if (!list_empty(&desk->waiting)) {
        look_at_waiting(desk);
    }
}

void lease_desk_stop(struct lease_desk *desk)
{
    timer_stop(desk->server->loop, &desk->timer);
    LIST_FOR_EACH (&desk->waiting, link) {
        server__finish(desk->server, CONTAINER_OF(link, struct server_request, link),
                       STATUS_STOPPED);
    }
}
