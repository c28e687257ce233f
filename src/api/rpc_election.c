/* v3electionpb.Election: Campaign, Proclaim, Leader, Resign (api/contend.h); Observe is in
 * rpc_observe.c. */
#include "api/contend.h"

#include "election.pb-c.h"

/* ---- Campaign ------------------------------------------------------------------------------- */

struct campaign {
    struct contender contender;
    struct slice name;
};

static void on_won(struct contender *contender)
{
    struct campaign *campaign = CONTAINER_OF(contender, struct campaign, contender);
    struct grpc_call *call = contender->errand.call;
    V3electionpb__CampaignResponse reply = V3ELECTIONPB__CAMPAIGN_RESPONSE__INIT;
    V3electionpb__LeaderKey leader = V3ELECTIONPB__LEADER_KEY__INIT;
    leader.name = pb_binary(campaign->name);
    leader.key = pb_binary(contender->key);
    leader.rev = contender->rev;
    leader.lease = contender->lease;
    reply.header = contender->header;
    reply.leader = &leader;
    rpc__reply(call, pb_encode_arena(&reply, grpc_call_arena(call)));
}

static void on_campaign(struct grpc_call *call, struct slice bytes)
{
    V3electionpb__CampaignRequest *request = NULL;
    enum status status = rpc__start(call);
    if (!rpc__decode(call, grpc_call_arena(call), &v3electionpb__campaign_request__descriptor,
                     bytes, &request)) {
        return;
    }
    if (status != STATUS_OK) {
        rpc__finish_status(call, status);
        return;
    }
    struct campaign *campaign = ARENA_NEW(grpc_call_arena(call), struct campaign);
    campaign->name = pb_bytes(request->name);
    campaign->contender.is_election = true;
    campaign->contender.value = pb_bytes(request->value);
    campaign->contender.won = on_won;
    contend(&campaign->contender, call, campaign->name, request->lease);
}

/* ---- Proclaim, Resign ------------------------------------------------------------------------ */

/* False: refused, and the call is finished. */
static bool has_leader(struct grpc_call *call, const V3electionpb__LeaderKey *leader,
                       enum status status)
{
    if (status != STATUS_OK) {
        rpc__finish_status(call, status);
        return false;
    }
    if (leader == NULL) { /* etcd's gateway once crashed on it: issue 9379 */
        rpc__finish(call, GRPC_UNKNOWN, ERRAND_NO_LEADER_FIELD);
        return false;
    }
    return true;
}

static struct errand *errand_new(struct grpc_call *call)
{
    struct errand *errand = ARENA_NEW(grpc_call_arena(call), struct errand);
    errand_init(errand, call);
    grpc_call_set_data(call, errand);
    return errand;
}

static void on_proclaimed(struct errand *errand, enum status status)
{
    if (status != STATUS_OK) {
        errand_fail(errand->call, status);
        return;
    }
    const Etcdserverpb__TxnResponse *done =
        errand_reply(errand, &etcdserverpb__txn_response__descriptor);
    if (!done->succeeded) {
        rpc__finish(errand->call, GRPC_UNKNOWN, ERRAND_NOT_LEADER);
        return;
    }
    V3electionpb__ProclaimResponse reply = V3ELECTIONPB__PROCLAIM_RESPONSE__INIT;
    reply.header = done->header;
    rpc__reply(errand->call, pb_encode_arena(&reply, grpc_call_arena(errand->call)));
}

static void on_proclaim(struct grpc_call *call, struct slice bytes)
{
    struct arena *arena = grpc_call_arena(call);
    V3electionpb__ProclaimRequest *request = NULL;
    enum status status = rpc__start(call);
    if (!rpc__decode(call, arena, &v3electionpb__proclaim_request__descriptor, bytes, &request) ||
        !has_leader(call, request->leader, status)) {
        return;
    }
    struct slice key = pb_bytes(request->leader->key);
    Etcdserverpb__TxnRequest *txn = errand_guarded(arena, key, request->leader->rev);
    errand_add_put(arena, txn, key, pb_bytes(request->value), request->leader->lease);
    errand_txn(errand_new(call), txn, on_proclaimed);
}

/* It succeeds when somebody else leads by now. */
static void on_resigned(struct errand *errand, enum status status)
{
    if (status != STATUS_OK) {
        errand_fail(errand->call, status);
        return;
    }
    const Etcdserverpb__TxnResponse *done =
        errand_reply(errand, &etcdserverpb__txn_response__descriptor);
    V3electionpb__ResignResponse reply = V3ELECTIONPB__RESIGN_RESPONSE__INIT;
    reply.header = done->header;
    rpc__reply(errand->call, pb_encode_arena(&reply, grpc_call_arena(errand->call)));
}

static void on_resign(struct grpc_call *call, struct slice bytes)
{
    struct arena *arena = grpc_call_arena(call);
    V3electionpb__ResignRequest *request = NULL;
    enum status status = rpc__start(call);
    if (!rpc__decode(call, arena, &v3electionpb__resign_request__descriptor, bytes, &request) ||
        !has_leader(call, request->leader, status)) {
        return;
    }
    struct slice key = pb_bytes(request->leader->key);
    Etcdserverpb__TxnRequest *txn = errand_guarded(arena, key, request->leader->rev);
    errand_add_delete(arena, txn, key);
    errand_txn(errand_new(call), txn, on_resigned);
}

/* ---- Leader ---------------------------------------------------------------------------------- */

static void on_leader_known(struct errand *errand, enum status status)
{
    if (status != STATUS_OK) {
        errand_fail(errand->call, status);
        return;
    }
    const Etcdserverpb__RangeResponse *range =
        errand_reply(errand, &etcdserverpb__range_response__descriptor);
    if (range->n_kvs == 0) {
        rpc__finish(errand->call, GRPC_UNKNOWN, ERRAND_NO_LEADER);
        return;
    }
    V3electionpb__LeaderResponse reply = V3ELECTIONPB__LEADER_RESPONSE__INIT;
    reply.header = range->header;
    reply.kv = range->kvs[0];
    rpc__reply(errand->call, pb_encode_arena(&reply, grpc_call_arena(errand->call)));
}

static void on_leader(struct grpc_call *call, struct slice bytes)
{
    struct arena *arena = grpc_call_arena(call);
    V3electionpb__LeaderRequest *request = NULL;
    enum status status = rpc__start(call);
    if (!rpc__decode(call, arena, &v3electionpb__leader_request__descriptor, bytes, &request)) {
        return;
    }
    if (status != STATUS_OK) {
        rpc__finish_status(call, status);
        return;
    }
    errand_range(errand_new(call),
                 errand_first_create(arena, errand_prefix(arena, pb_bytes(request->name))),
                 on_leader_known);
}

const struct grpc_handler rpc__campaign_handler = {.message = on_campaign,
                                                   .cancel = contend_cancel};
const struct grpc_handler rpc__proclaim_handler = {.message = on_proclaim, .cancel = errand_cancel};
const struct grpc_handler rpc__resign_handler = {.message = on_resign, .cancel = errand_cancel};
const struct grpc_handler rpc__leader_handler = {.message = on_leader, .cancel = errand_cancel};
