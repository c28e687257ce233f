/* A Txn, a DeleteRange or a LeaseRevoke as an entry: in this turn if it is small, else a slice a
 * turn.
 *
 * Between two slices the store's transaction is suspended (state/mvcc.h): reads are answered as of
 * the revision before, which is the newest there is. The backend seals nothing (storage/backend.h),
 * so a crash finds all of it on disk or nothing, and the log has it still. Entries behind it wait
 * in the backlog (server_entry.c). The request cannot be given up meanwhile: it is read. */
#include "server/server_priv.h"

/* Between two looks at the clock: 100 keys. */
#define STEP_UNITS ((uint64_t)1000)
/* What an entry may take of a turn that has no units left, so that a small one is never cut. */
#define FIRST_UNITS ((uint64_t)256)

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void finish(struct server *server, enum status status, struct slice reply,
                   struct pieces *pieces)
{
    struct server_entry *entry = &server->entry;
    struct server_request *request = entry->request;
    struct server_done done = {
        .kind = entry->kind,
        .message = entry->message,
        .request = request,
        .began = entry->began,
        .status = status,
        .reply_len = pieces != NULL ? pieces_len(pieces) : reply.len,
    };
    entry->is_on = false;
    server__applied(server, &done);
    if (request == NULL) {
        return;
    }
    request->reply = reply;
    if (pieces != NULL) {
        server__answer_pieces(server, request, pieces);
    } else {
        server__finish(server, request, status);
    }
}

/* As much as the turn has units and time for, and at least one step in each. */
static bool steps(struct server *server)
{
    struct server_entry *entry = &server->entry;
    bool is_first = entry->turn == 0;
    bool is_done = false;
    if (entry->turn == server->turn && !server__has_time(server)) {
        return false;
    }
    entry->turn = server->turn;
    do {
        uint64_t units = least(server->left.apply, STEP_UNITS);
        uint64_t first = least(server->per_turn.apply, FIRST_UNITS);
        if (is_first && units < first) {
            units = first;
        }
        uint64_t left = units;
        is_done = work_step(&entry->work, &left);
        is_first = false;
        server->left.apply -= least(units - left, server->left.apply);
    } while (!is_done && server->left.apply > 0 && server__has_time(server));
    return is_done;
}

bool server__entry_step(struct server *server)
{
    struct server_entry *entry = &server->entry;
    struct server_request *request = entry->request;
    struct pieces *pieces = NULL;
    struct slice reply;
    ASSERT(entry->is_on);
    if (!steps(server)) {
        if (request != NULL && request->state != REQUEST_WORKING) {
            request->state = REQUEST_WORKING;
            list_del(&request->link);
        }
        return false;
    }
    enum status status = work_end(&entry->work, &reply, &pieces);
    finish(server, status, reply, pieces);
    return true;
}

static enum work_kind work_kind_of(enum request_kind kind)
{
    ASSERT(kind == REQUEST_TXN || kind == REQUEST_DELETE_RANGE || kind == REQUEST_LEASE_REVOKE);
    return kind == REQUEST_TXN            ? WORK_TXN
           : kind == REQUEST_DELETE_RANGE ? WORK_DELETE
                                          : WORK_REVOKE;
}

void server__entry_begin(struct server *server, struct server_request *request,
                         enum request_kind kind, const void *message, struct arena *arena)
{
    struct server_entry *entry = &server->entry;
    ASSERT(!entry->is_on);
    entry->is_on = true;
    entry->request = request;
    entry->kind = kind;
    entry->message = message;
    entry->turn = 0;
    entry->began = env_now_mono(server->options.env);
    enum status status =
        work_open(&entry->work, server->apply, work_kind_of(kind), message, arena, request != NULL);
    if (status != STATUS_OK) {
        finish(server, status, SLICE_EMPTY, NULL);
        return;
    }
    UNUSED(server__entry_step(server));
}
