/* The fields format: lines of "Name" : value, texts in Go's quotes. */
#include "ctl/print_priv.h"

#include "base/gotext.h"

static void field_i64(struct printer *p, const char *name, int64_t number)
{
    buf_printf(p->out, "\"%s\" : %lld\n", name, (long long)number);
}

static void field_u64(struct printer *p, const char *name, uint64_t number)
{
    buf_printf(p->out, "\"%s\" : %llu\n", name, (unsigned long long)number);
}

/* In hexadecimal with --hex. */
static void field_id(struct printer *p, const char *name, uint64_t id)
{
    if (p->is_hex) {
        buf_printf(p->out, "\"%s\" : %llx\n", name, (unsigned long long)id);
    } else {
        field_u64(p, name, id);
    }
}

static void field_bool(struct printer *p, const char *name, bool fact)
{
    buf_printf(p->out, "\"%s\" : %s\n", name, fact ? "true" : "false");
}

static void field_quoted(struct printer *p, const char *name, struct slice text)
{
    buf_printf(p->out, "\"%s\" : ", name);
    go_quote(text, p->out);
    buf_append_byte(p->out, '\n');
}

void print__fields_header(struct printer *p, const Etcdserverpb__ResponseHeader *maybe)
{
    const Etcdserverpb__ResponseHeader *header = print__header(maybe);
    field_id(p, "ClusterID", header->cluster_id);
    field_id(p, "MemberID", header->member_id);
    if (header->revision > 0) {
        field_i64(p, "Revision", header->revision);
    }
    field_u64(p, "RaftTerm", header->raft_term);
}

static void fields_kv(struct printer *p, const char *prefix, const Mvccpb__KeyValue *kv)
{
    buf_printf(p->out, "\"%sKey\" : ", prefix);
    go_quote(pb_bytes(kv->key), p->out);
    buf_printf(p->out, "\n\"%sCreateRevision\" : %lld\n", prefix, (long long)kv->create_revision);
    buf_printf(p->out, "\"%sModRevision\" : %lld\n", prefix, (long long)kv->mod_revision);
    buf_printf(p->out, "\"%sVersion\" : %lld\n", prefix, (long long)kv->version);
    buf_printf(p->out, "\"%sValue\" : ", prefix);
    go_quote(pb_bytes(kv->value), p->out);
    buf_printf(p->out, p->is_hex ? "\n\"%sLease\" : %016llx\n" : "\n\"%sLease\" : %lld\n", prefix,
               (long long)kv->lease);
}

static void fields_put(struct printer *p, const Etcdserverpb__PutResponse *put)
{
    print__fields_header(p, put->header);
    if (put->prev_kv != NULL) {
        fields_kv(p, "Prev", put->prev_kv);
    }
}

static void fields_get(struct printer *p, const Etcdserverpb__RangeResponse *range)
{
    print__fields_header(p, range->header);
    for (size_t i = 0; i < range->n_kvs; i++) {
        fields_kv(p, "", range->kvs[i]);
    }
    field_bool(p, "More", range->more);
    field_i64(p, "Count", range->count);
}

static void fields_del(struct printer *p, const Etcdserverpb__DeleteRangeResponse *del)
{
    print__fields_header(p, del->header);
    field_i64(p, "Deleted", del->deleted);
    for (size_t i = 0; i < del->n_prev_kvs; i++) {
        fields_kv(p, "Prev", del->prev_kvs[i]);
    }
}

static void fields_op(struct printer *p, const Etcdserverpb__ResponseOp *op)
{
    if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE) {
        fields_get(p, op->response_range);
    } else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT) {
        fields_put(p, op->response_put);
    } else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE) {
        fields_del(p, op->response_delete_range);
    } else {
        /* Not what any operation of the txn command is answered with. */
        field_quoted(p, "Unknown", SLICE_EMPTY);
    }
}

static void fields_txn(struct printer *p, const Etcdserverpb__TxnResponse *txn)
{
    print__fields_header(p, txn->header);
    field_bool(p, "Succeeded", txn->succeeded);
    for (size_t i = 0; i < txn->n_responses; i++) {
        fields_op(p, txn->responses[i]);
    }
}

static void fields_watch(struct printer *p, const Etcdserverpb__WatchResponse *watch)
{
    print__fields_header(p, watch->header);
    for (size_t i = 0; i < watch->n_events; i++) {
        buf_append_str(p->out, "\"Type\" : ");
        print_event_type(watch->events[i]->type, p->out);
        buf_append_byte(p->out, '\n');
        if (watch->events[i]->prev_kv != NULL) {
            fields_kv(p, "Prev", watch->events[i]->prev_kv);
        }
        fields_kv(p, "", watch->events[i]->kv);
    }
}

static void fields_members(struct printer *p, const Etcdserverpb__MemberListResponse *list)
{
    print__fields_header(p, list->header);
    for (size_t i = 0; i < list->n_members; i++) {
        const Etcdserverpb__Member *member = list->members[i];
        field_id(p, "ID", member->id);
        field_quoted(p, "Name", slice_str(member->name));
        for (size_t j = 0; j < member->n_peerurls; j++) {
            field_quoted(p, "PeerURL", slice_str(member->peerurls[j]));
        }
        for (size_t j = 0; j < member->n_clienturls; j++) {
            field_quoted(p, "ClientURL", slice_str(member->clienturls[j]));
        }
        field_bool(p, "IsLearner", member->islearner);
        buf_append_byte(p->out, '\n');
    }
}

static void fields_alarms(struct printer *p, const Etcdserverpb__AlarmResponse *alarms)
{
    print__fields_header(p, alarms->header);
    for (size_t i = 0; i < alarms->n_alarms; i++) {
        field_id(p, "MemberID", alarms->alarms[i]->memberid);
        buf_append_str(p->out, "\"AlarmType\" : ");
        print__alarm_type(alarms->alarms[i]->alarm, p->out);
        buf_append_str(p->out, "\n\n");
    }
}

static void fields_health(struct printer *p, const struct print_health *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        field_quoted(p, "Endpoint", slice_str(list[i].endpoint));
        field_bool(p, "Health", list[i].is_healthy);
        buf_append_str(p->out, "\"Took\" : ");
        print__took(&list[i], p->out);
        buf_printf(p->out, "\n\"Error\" : %s\n\n", list[i].error);
    }
}

static void fields_status(struct printer *p, const struct print_status *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const Etcdserverpb__StatusResponse *status = list[i].status;
        const Etcdserverpb__DowngradeInfo *downgrade = status->downgradeinfo;
        print__fields_header(p, status->header);
        field_quoted(p, "Version", slice_str(status->version));
        field_quoted(p, "StorageVersion", slice_str(status->storageversion));
        field_i64(p, "DBSize", status->dbsize);
        field_i64(p, "DBSizeInUse", status->dbsizeinuse);
        field_i64(p, "DBSizeQuota", status->dbsizequota);
        field_u64(p, "Leader", status->leader);
        field_bool(p, "IsLearner", status->islearner);
        field_u64(p, "RaftIndex", status->raftindex);
        field_u64(p, "RaftTerm", status->raftterm);
        field_u64(p, "RaftAppliedIndex", status->raftappliedindex);
        buf_append_str(p->out, "\"Errors\" : [");
        for (size_t j = 0; j < status->n_errors; j++) {
            buf_printf(p->out, "%s%s", j == 0 ? "" : " ", status->errors[j]);
        }
        buf_append_str(p->out, "]\n");
        field_quoted(p, "Endpoint", slice_str(list[i].endpoint));
        field_quoted(p, "DowngradeTargetVersion",
                     slice_str(downgrade == NULL ? "" : downgrade->targetversion));
        field_bool(p, "DowngradeEnabled", downgrade != NULL && downgrade->enabled);
        buf_append_byte(p->out, '\n');
    }
}

static void fields_hashkv(struct printer *p, const struct print_hashkv *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        print__fields_header(p, list[i].hashkv->header);
        field_quoted(p, "Endpoint", slice_str(list[i].endpoint));
        field_u64(p, "Hash", list[i].hashkv->hash);
        field_i64(p, "HashRevision", list[i].hashkv->hash_revision);
        buf_append_byte(p->out, '\n');
    }
}

const struct print_ops print_fields_ops = {
    .put = fields_put,
    .get = fields_get,
    .del = fields_del,
    .txn = fields_txn,
    .watch = fields_watch,
    .members = fields_members,
    .alarms = fields_alarms,
    .lease_grant = print__fields_lease_grant,
    .lease_revoke = print__fields_lease_revoke,
    .lease_kept = print__fields_lease_kept,
    .lease_time = print__fields_lease_time,
    .leases = print__fields_leases,
    .health = fields_health,
    .status = fields_status,
    .hashkv = fields_hashkv,
};
