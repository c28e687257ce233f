/* What this member answers from its own state: ranges, hashes, status, members, alarms. */
#include "server/server_priv.h"

#include "codec/pb.h"
#include "codec/pbwire.h"

#include <stdio.h>

/* ---- hashes: computed on the pool ------------------------------------------------------------ */

struct hash_job {
    struct job job;
    struct server *server;
    struct server_request *request;
    struct mvcc_hash *hash;
};

static void hash_run(struct job *job)
{
    mvcc_hash_run(CONTAINER_OF(job, struct hash_job, job)->hash);
}

static void hash_done(struct job *job)
{
    struct hash_job *hash_job = CONTAINER_OF(job, struct hash_job, job);
    struct server *server = hash_job->server;
    struct server_request *request = hash_job->request;
    struct mvcc_hash_result result;
    struct buf out = {0};
    struct reply_header header = apply_header(server->apply);
    mvcc_hash_end(&hash_job->hash, &result);
    header.revision = result.current_revision; /* when it was asked for: others compare by it */
    reply_put_header(&out, 1, &header);
    reply_put_uint(&out, 2, result.hash);
    if (request->kind == REQUEST_HASH_KV) {
        reply_put_uint(&out, 3, (uint64_t)result.compact_revision);
        reply_put_uint(&out, 4, (uint64_t)result.hash_revision);
    }
    request->reply = slice_of(arena_dup(request->arena, out.data, out.len), out.len);
    buf_fini(&out);
    mem_free(hash_job);
    ASSERT(server->working > 0);
    server->working--;
    server__finish(server, request, STATUS_OK);
}

static void run_hash(struct server *server, struct server_request *request)
{
    struct mvcc_hash *hash = NULL;
    if (server->entry.is_on) {
        return; /* it stays in its list: a hash is of what is whole */
    }
    if (request->kind == REQUEST_HASH) {
        mvcc_hash_all_begin(server->mvcc, &hash);
    } else {
        const Etcdserverpb__HashKVRequest *message = request->message;
        enum err err = mvcc_hash_begin(server->mvcc, message->revision, &hash);
        if (err != ERR_OK) {
            server__finish(server, request,
                           err == ERR_COMPACTED ? STATUS_COMPACTED : STATUS_FUTURE_REVISION);
            return;
        }
    }
    struct hash_job *hash_job = NEW(struct hash_job);
    hash_job->server = server;
    hash_job->request = request;
    hash_job->hash = hash;
    hash_job->job = (struct job){.run = hash_run, .done = hash_done};
    list_del(&request->link);
    request->state = REQUEST_WORKING;
    server->working++;
    executor_submit(server->options.env->pool, &hash_job->job);
}

/* ---- members, status ------------------------------------------------------------------------- */

static char **urls_dup(struct arena *arena, const struct member_urls *urls)
{
    char **copy = arena_alloc(arena, (urls->count + 1) * sizeof(char *));
    for (size_t i = 0; i < urls->count; i++) {
        copy[i] = arena_strndup(arena, urls->urls[i], strlen(urls->urls[i]));
    }
    return copy;
}

static struct slice member_list(struct server *server, struct arena *arena)
{
    Etcdserverpb__MemberListResponse *out =
        pb_new(arena, &etcdserverpb__member_list_response__descriptor);
    size_t count = member_set_count(server->members);
    out->header = pb_new(arena, &etcdserverpb__response_header__descriptor);
    out->header->cluster_id = server->cluster_id;
    out->header->member_id = server->member_id;
    out->header->raft_term = raft_current_term(node_raft(server->node));
    out->members = arena_alloc(arena, (count + 1) * sizeof(out->members[0]));
    out->n_members = count;
    for (size_t i = 0; i < count; i++) {
        const struct member *member = member_set_at(server->members, i);
        Etcdserverpb__Member *one = pb_new(arena, &etcdserverpb__member__descriptor);
        one->id = member->id;
        one->name = arena_strndup(arena, member->name, strlen(member->name));
        one->peerurls = urls_dup(arena, &member->peer_urls);
        one->n_peerurls = member->peer_urls.count;
        one->clienturls = urls_dup(arena, &member->client_urls);
        one->n_clienturls = member->client_urls.count;
        one->islearner = member->is_learner;
        out->members[i] = one;
    }
    return pb_encode_arena(out, arena);
}

/* As Go prints the message: "memberID:1 alarm:NOSPACE ". */
static char *alarm_text(struct arena *arena, struct alarm alarm)
{
    if (alarm.member_id == 0) {
        return arena_printf(arena, "alarm:%s ", alarm_type_name(alarm.type));
    }
    return arena_printf(arena, "memberID:%llu alarm:%s ", (unsigned long long)alarm.member_id,
                        alarm_type_name(alarm.type));
}

static struct slice status_reply(struct server *server, struct arena *arena)
{
    static char version[] = CONFIG_ETCD_VERSION;
    struct raft_status raft;
    struct backend_stats backend;
    struct reply_header header = apply_header(server->apply);
    Etcdserverpb__StatusResponse *out = pb_new(arena, &etcdserverpb__status_response__descriptor);
    raft_status(node_raft(server->node), &raft);
    backend_stats(server->backend, &backend);
    out->header = pb_new(arena, &etcdserverpb__response_header__descriptor);
    out->header->cluster_id = header.cluster_id;
    out->header->member_id = header.member_id;
    out->header->revision = header.revision;
    out->header->raft_term = header.raft_term;
    out->version = version;
    out->dbsize = (int64_t)backend.size;
    out->dbsizeinuse = (int64_t)backend.size_in_use;
    out->leader = raft.lead;
    out->raftindex = raft.hard_state.commit;
    out->raftterm = raft.hard_state.term;
    out->raftappliedindex = server->applied;
    out->islearner = raft.is_learner;
    out->storageversion = version;
    out->dbsizequota = config_quota(server->config);
    out->downgradeinfo = pb_new(arena, &etcdserverpb__downgrade_info__descriptor);
    size_t alarms = alarms_count(server->alarms);
    out->errors = arena_alloc(arena, (alarms + 1) * sizeof(char *));
    if (raft.lead == RAFT_NONE) {
        out->errors[out->n_errors++] =
            arena_printf(arena, "%s", status_row(STATUS_NO_LEADER)->text);
    }
    for (size_t i = 0; i < alarms; i++) {
        out->errors[out->n_errors++] = alarm_text(arena, alarms_at(server->alarms, i));
    }
    return pb_encode_arena(out, arena);
}

/* ---- dispatch -------------------------------------------------------------------------------- */

void server__run_read(struct server *server, struct server_request *request)
{
    enum status status = STATUS_OK;
    if (request->began_at == 0) {
        request->began_at = loop_now(server->loop);
    }
    switch (request->kind) {
    case REQUEST_RANGE:
        server__run_range(server, request);
        return;
    case REQUEST_TXN_READ:
        server__run_txn(server, request);
        return;
    case REQUEST_ALARM_LIST:
        status = apply_alarm(server->apply, request->message, request->arena, &request->reply);
        break;
    case REQUEST_STATUS:
        request->reply = status_reply(server, request->arena);
        break;
    case REQUEST_MEMBER_LIST:
        request->reply = member_list(server, request->arena);
        break;
    case REQUEST_HASH:
    case REQUEST_HASH_KV:
        run_hash(server, request);
        return;
    case REQUEST_DEFRAGMENT:
        server__defragment(server, request);
        return;
    case REQUEST_LEASE_LIST:
        server__lease_list(server, request);
        return;
    case REQUEST_LEASE_RENEW:
    case REQUEST_LEASE_TIME_TO_LIVE:
        lease_desk_run(server->leases, request);
        return;
    case REQUEST_LEASE_GRANT:
    case REQUEST_LEASE_REVOKE:
    case REQUEST_LEASE_CHECKPOINT:
    case REQUEST_PUT:
    case REQUEST_DELETE_RANGE:
    case REQUEST_TXN:
    case REQUEST_COMPACT:
    case REQUEST_ALARM:
    case REQUEST_KIND_COUNT:
        UNREACHABLE();
    }
    server__finish(server, request, status);
}

/* ---- raft's own status ------------------------------------------------------------------------
 */

void server_raft_status_json(const struct server *server, struct buf *out)
{
    struct raft *raft = node_raft(server->node);
    struct raft_status status;
    raft_status(raft, &status);
    buf_printf(out,
               "{\"id\":\"%llx\",\"term\":%llu,\"vote\":\"%llx\",\"commit\":%llu,\"lead\":\"%llx\","
               "\"raftState\":\"%s\",\"applied\":%llu,\"progress\":{",
               (unsigned long long)status.id, (unsigned long long)status.hard_state.term,
               (unsigned long long)status.hard_state.vote,
               (unsigned long long)status.hard_state.commit, (unsigned long long)status.lead,
               raft_state_name(status.state), (unsigned long long)status.applied);
    static const char *const states[] = {"StateProbe", "StateReplicate", "StateSnapshot"};
    for (size_t i = 0; server->is_leader && i < raft_peer_count(raft); i++) {
        struct raft_peer_status peer;
        raft_peer(raft, i, &peer);
        buf_printf(out, "%s\"%llx\":{\"match\":%llu,\"next\":%llu,\"state\":\"%s\"}",
                   i == 0 ? "" : ",", (unsigned long long)peer.id, (unsigned long long)peer.match,
                   (unsigned long long)peer.next, states[peer.state]);
    }
    buf_printf(out, "},\"leadtransferee\":\"%llx\"}", (unsigned long long)status.lead_transferee);
}
