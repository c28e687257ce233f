/* Large reads and large replies: Ranges that are measured, and Txns that only read, in slices of a
 * turn's work; and the replies of these and of writes, given out as sources.
 *
 *   run -> small: whole reply, DONE in the same turn
 *     \--> RANGING: a slice a turn until the length is known --> DONE, whole or as a source
 *
 * A source costs what its socket's window holds, however large the reply is. Its rows stay as long
 * as it is open: compaction waits. So that a client that does not read cannot keep the past for
 * ever, a source that compaction waits for has to move SOURCE_PACE_BYTES every SOURCE_PACE_NS, and
 * to be through after SOURCE_HOLD_NS; else it is given up, and the stream is reset when it is asked
 * next. While no compaction waits, a slow client disturbs nobody and may take its time.
 *
 * What one turn may spend is shared by the sources that were asked in the last one, so that none
 * starves behind another whose connection comes first. It ends by units or by time, whichever comes
 * first; while others ask, the time is short: a put takes three turns, and each would wait. */
#include "server/server_priv.h"

/* A reply up to this long is made whole: it takes less than a source's way through the layers. */
#define WHOLE_MAX ((uint64_t)64 * 1024)
/* The least that a source gets of a turn, so that many of them do not chop each other up. */
#define SHARE_MIN ((uint64_t)64)
/* Between two looks at the clock: some 10 rows, which are 10 pages when each lies in another. */
#define STEP_UNITS ((uint64_t)256)
/* 1 MiB in 10 s: much slower than any client that reads. */
#define SOURCE_PACE_NS (10 * NS_PER_SEC)
#define SOURCE_PACE_BYTES ((uint64_t)1 << 20)
#define SOURCE_HOLD_NS (600 * NS_PER_SEC)

struct server_range {
    struct server *server;
    struct pieces *pieces; /* once they are measured */
    struct list link;      /* server->sources */
    bool is_lost;          /* given up: the pieces are closed already */
    uint64_t turn;         /* of the last asking */
    uint64_t share;        /* units left to it in that turn */
    /* While compaction waits for it. */
    bool is_waited_for;
    mono_ns waited_since;
    mono_ns pace_since;
    uint64_t moved; /* bytes since then */
};

/* ---- sources ----------------------------------------------------------------------------------
 */

static void turn_begin(struct server_range *job)
{
    struct server *server = job->server;
    size_t sharers = server->source_shares > 0 ? server->source_shares : 1;
    uint64_t share = server->per_turn.sources / sharers;
    job->turn = server->turn;
    job->share = share > SHARE_MIN ? share : SHARE_MIN;
    server->source_askers++;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The clock runs from the first source that is asked in the turn. */
static bool has_time(struct server *server)
{
    mono_ns now = env_now_mono(server->options.env);
    if (server->sources_until == 0) {
        uint64_t turn_ns = loop_turn_ns(server->loop);
        bool is_shared = loop_now(server->loop) - server->asked_at < SERVER_SHARED_NS;
        uint64_t slice_ns = is_shared ? SERVER_SOURCE_SHARED_NS : SERVER_SOURCE_NS;
        uint64_t rest_ns = turn_ns < SERVER_TURN_NS ? SERVER_TURN_NS - turn_ns : 0;
        server->sources_until = now + least(slice_ns, rest_ns);
    }
    return now < server->sources_until;
}

/* A step's worth of units; none when the turn's are used up, or its time. */
static uint64_t step_units(const struct server_range *job, bool is_first)
{
    uint64_t units = least(least(job->share, job->server->left.sources), STEP_UNITS);
    if (has_time(job->server)) {
        return units;
    }
    return is_first ? least(units, SHARE_MIN) : 0;
}

static enum err source_fill(void *ctx, uint8_t *at, size_t room, size_t *len_out)
{
    struct server_range *job = ctx;
    struct server *server = job->server;
    size_t len = 0;
    if (job->is_lost) {
        return ERR_CANCELED;
    }
    bool is_first = job->turn != server->turn;
    if (is_first) {
        turn_begin(job);
    }
    for (uint64_t units = step_units(job, is_first); units > 0 && len < room;
         units = step_units(job, false)) {
        uint64_t left = units;
        size_t got = pieces_fill(job->pieces, at + len, room - len, &left);
        job->share -= units - left;
        server->left.sources -= units - left;
        len += got;
        if (got == 0 && left == units) {
            break; /* that was all of it */
        }
    }
    pieces_pause(job->pieces);
    job->moved += len;
    *len_out = len;
    return len == 0 ? ERR_AGAIN : ERR_OK;
}

static void source_close(void *ctx)
{
    struct server_range *job = ctx;
    if (!job->is_lost) {
        pieces_close(job->pieces);
    }
    list_del(&job->link);
}

static void give_up(struct server_range *job)
{
    pieces_close(job->pieces);
    list_del(&job->link);
    job->is_lost = true;
}

static void give_up_slow(struct server_range *job, const char *why)
{
    LOG_WARN(&job->server->log, "gave up a range reply that compaction waits for",
             log_str("why", why), log_u64("size", pieces_len(job->pieces)),
             log_i64("revision", pieces_revision(job->pieces)));
    give_up(job);
}

void server__give_up_sources(struct server *server)
{
    mono_ns now = loop_now(server->loop);
    LIST_FOR_EACH (&server->sources, link) {
        struct server_range *job = CONTAINER_OF(link, struct server_range, link);
        if (!pieces_are_waited_for(job->pieces)) {
            job->is_waited_for = false;
            continue;
        }
        if (!job->is_waited_for) {
            job->is_waited_for = true;
            job->waited_since = now;
            job->pace_since = now;
            job->moved = 0;
        }
        if (now - job->waited_since >= SOURCE_HOLD_NS) {
            give_up_slow(job, "it takes too long");
        } else if (now - job->pace_since >= SOURCE_PACE_NS) {
            if (job->moved < SOURCE_PACE_BYTES) {
                give_up_slow(job, "the client does not read");
            }
            job->pace_since = now;
            job->moved = 0;
        }
    }
}

void server__stop_sources(struct server *server)
{
    LIST_FOR_EACH (&server->sources, link) {
        give_up(CONTAINER_OF(link, struct server_range, link));
    }
}

/* ---- answers ----------------------------------------------------------------------------------
 */

static void spend(struct server *server, uint64_t units)
{
    server->left.reads -= least(units, server->left.reads);
}

void server__answer_pieces(struct server *server, struct server_request *request,
                           struct pieces *pieces)
{
    uint64_t len = pieces_len(pieces);
    if (request->takes_source && len > WHOLE_MAX) {
        struct server_range *job = ARENA_NEW(request->arena, struct server_range);
        job->server = server;
        job->pieces = pieces;
        list_init(&job->link);
        request->source = (struct reply_source){
            .len = len, .fill = source_fill, .close = source_close, .ctx = job};
        list_add_tail(&server->sources, &job->link);
        pieces_pause(pieces);
        request->ended_at = env_now_mono(server->options.env);
    } else {
        spend(server, RANGE_ROW_UNITS * (1 + pieces_rows(pieces)) + len / RANGE_UNIT_BYTES);
        request->reply = pieces_take(pieces, request->arena);
    }
    server__finish(server, request, STATUS_OK);
}

/* ---- reads ------------------------------------------------------------------------------------
 */

/* One that is not answered yet: a Range that is being measured, or a Txn. */
struct server_read {
    struct work *work; /* the Txn */
    struct range *range;
};

/* Between two looks at the clock. */
#define READ_STEP_UNITS ((uint64_t)1000)

static bool read_step(struct server_read *read, uint64_t *budget)
{
    if (read->work != NULL) {
        return work_step(read->work, budget);
    }
    bool is_measured = range_measure(read->range, budget);
    if (!is_measured) {
        range_pause(read->range);
    }
    return is_measured;
}

/* False: the turn has no more work for it. */
static bool read_steps(struct server *server, struct server_read *read)
{
    bool is_done = false;
    do {
        uint64_t units = least(server->left.reads, READ_STEP_UNITS);
        uint64_t left = units;
        is_done = read_step(read, &left);
        server->left.reads -= units - left;
    } while (!is_done && server->left.reads > 0 && server__has_time(server));
    if (!is_done) {
        server__kick(server);
    }
    return is_done;
}

static void read_answer(struct server *server, struct server_request *request)
{
    struct server_read *read = request->read;
    struct pieces *pieces = NULL;
    enum status status = STATUS_OK;
    request->read = NULL;
    if (read->work != NULL) {
        status = work_end(read->work, &request->reply, &pieces);
        spend(server, request->reply.len / RANGE_UNIT_BYTES);
    } else {
        pieces = arena_alloc(request->arena, sizeof(*pieces));
        pieces_init(pieces, arena_alloc(request->arena, sizeof(struct piece)), 1);
        pieces_add_range(pieces, read->range);
    }
    if (pieces != NULL) {
        server__answer_pieces(server, request, pieces);
    } else {
        server__finish(server, request, status);
    }
}

static void read_begin(struct server *server, struct server_request *request,
                       struct server_read *read)
{
    request->read = read;
    if (read_steps(server, read)) {
        read_answer(server, request);
        return;
    }
    request->state = REQUEST_RANGING;
    list_del(&request->link);
    list_add_tail(&server->ranging, &request->link);
}

void server__run_range(struct server *server, struct server_request *request)
{
    if (apply_range_one(server->apply, request->message, request->arena, &request->reply)) {
        spend(server, RANGE_ROW_UNITS);
        server__finish(server, request, STATUS_OK);
        return;
    }
    struct server_read *read = ARENA_NEW(request->arena, struct server_read);
    read->range = arena_alloc(request->arena, sizeof(*read->range));
    enum status status = apply_range_open(server->apply, request->message, read->range);
    if (status != STATUS_OK) {
        server__finish(server, request, status);
        return;
    }
    read_begin(server, request, read);
}

void server__run_txn(struct server *server, struct server_request *request)
{
    struct server_read *read = ARENA_NEW(request->arena, struct server_read);
    read->work = arena_alloc(request->arena, sizeof(*read->work));
    enum status status =
        work_open(read->work, server->apply, WORK_TXN_READ, request->message, request->arena, true);
    if (status != STATUS_OK) {
        server__finish(server, request, status);
        return;
    }
    read_begin(server, request, read);
}

/* The one that was worked on last goes behind the others. */
void server__continue_ranges(struct server *server)
{
    bool has_time = true;
    while (has_time && !list_empty(&server->ranging) && server->left.reads > 0) {
        struct server_request *request =
            CONTAINER_OF(server->ranging.next, struct server_request, link);
        if (read_steps(server, request->read)) {
            read_answer(server, request);
        } else {
            list_del(&request->link);
            list_add_tail(&server->ranging, &request->link);
            has_time = server__has_time(server);
        }
    }
    if (!list_empty(&server->ranging)) {
        server__kick(server);
    }
}

void server__drop_range(struct server_request *request)
{
    struct server_read *read = request->read;
    request->read = NULL;
    if (read->work != NULL) {
        work_close(read->work);
    } else {
        range_close(read->range);
    }
}
