/* A DeleteRange, or a LeaseRevoke, as an entry: in this turn if it is small, else a slice a turn.
 *
 * Between two slices the store's transaction is suspended (state/mvcc.h): reads are answered as of
 * the revision before, which is the newest there is. The backend seals nothing (storage/backend.h),
 * so a crash finds all of it on disk or nothing, and the log has it still. Entries behind it wait
 * in the backlog (server_entry.c). The request cannot be given up meanwhile: it is read. */
#include "server/server_priv.h"

/* Between two looks at the clock: 100 keys. */
#define STEP_UNITS ((uint64_t)1000)

static void finish(struct server *server, enum status status, struct slice reply)
{
    struct server_delete *delete = &server->deleting;
    struct server_request *request = delete->request;
    bool has_rows = status == STATUS_OK && request != NULL && request->range != NULL;
    struct server_done done = {
        .kind = delete->is_revoke ? REQUEST_LEASE_REVOKE : REQUEST_DELETE_RANGE,
        .message = delete->message,
        .request = request,
        .began = delete->began,
        .status = status,
        .reply_len = has_rows ? range_len(server__range_of(request->range)) : reply.len,
    };
    delete->is_on = false;
    server__applied(server, &done);
    if (request == NULL) {
        return;
    }
    request->reply = reply;
    if (has_rows) {
        server__answer_range(server, request);
    } else {
        server__finish(server, request, status);
    }
}

static bool keys_step(struct server *server, uint64_t *budget)
{
    struct server_delete *delete = &server->deleting;
    return delete->is_revoke
               ? apply_revoke_step(server->apply, delete->lease, &delete->is_suspended, budget)
               : apply_delete_step(server->apply, &delete->work, budget);
}

/* As much as the turn has units and time for, and at least one step in each. */
static bool keys_steps(struct server *server)
{
    bool is_done = false;
    if (server->deleting.turn == server->turn && !server__has_time(server)) {
        return false;
    }
    server->deleting.turn = server->turn;
    do {
        uint64_t units = server->left.apply < STEP_UNITS ? server->left.apply : STEP_UNITS;
        uint64_t left = units;
        is_done = keys_step(server, &left);
        server->left.apply -= units - left;
    } while (!is_done && server->left.apply > 0 && server__has_time(server));
    return is_done;
}

bool server__delete_step(struct server *server)
{
    struct server_delete *delete = &server->deleting;
    struct server_request *request = delete->request;
    struct arena *arena = request != NULL ? request->arena : &server->scratch;
    struct slice reply = SLICE_EMPTY;
    ASSERT(delete->is_on);
    if (!keys_steps(server)) {
        if (request != NULL && request->state != REQUEST_WORKING) {
            request->state = REQUEST_WORKING;
            list_del(&request->link);
        }
        return false;
    }
    if (delete->is_revoke) {
        apply_revoke_end(server->apply, delete->lease, arena, &reply);
    } else {
        apply_delete_end(server->apply, &delete->work, arena, &reply);
    }
    finish(server, STATUS_OK, reply);
    return true;
}

void server__delete(struct server *server, struct server_request *request,
                    const Etcdserverpb__DeleteRangeRequest *message, struct arena *arena)
{
    struct server_delete *delete = &server->deleting;
    struct server_range *prev =
        request != NULL && message->prev_kv ? server__range_new(server, arena) : NULL;
    ASSERT(!delete->is_on);
    *delete = (struct server_delete){
        .is_on = true,
        .request = request,
        .message = message,
        .began = env_now_mono(server->options.env),
    };
    enum status status = apply_delete_open(
        server->apply, message, arena, prev == NULL ? NULL : server__range_of(prev), &delete->work);
    if (status != STATUS_OK) {
        finish(server, status, SLICE_EMPTY);
        return;
    }
    if (request != NULL) {
        request->range = prev;
    }
    UNUSED(server__delete_step(server));
}

void server__revoke(struct server *server, struct server_request *request,
                    const Etcdserverpb__LeaseRevokeRequest *message)
{
    struct server_delete *delete = &server->deleting;
    ASSERT(!delete->is_on);
    *delete = (struct server_delete){
        .is_on = true,
        .request = request,
        .message = message,
        .is_revoke = true,
        .lease = message->id,
        .began = env_now_mono(server->options.env),
    };
    enum status status = apply_revoke_open(server->apply, message->id);
    if (status != STATUS_OK) {
        finish(server, status, SLICE_EMPTY);
        return;
    }
    UNUSED(server__delete_step(server));
}
