/* The json format: one line as Go's encoding/json writes the response structs. */
#include "ctl/print_priv.h"

#include "codec/json.h"
#include "codec/pbjson.h"

static void message_line(struct printer *p, const void *message)
{
    pbjson_encode(message, PBJSON_GO, p->out);
    buf_append_byte(p->out, '\n');
}

static void show_put(struct printer *p, const Etcdserverpb__PutResponse *put)
{
    message_line(p, put);
}

static void show_get(struct printer *p, const Etcdserverpb__RangeResponse *range)
{
    message_line(p, range);
}

static void show_del(struct printer *p, const Etcdserverpb__DeleteRangeResponse *del)
{
    message_line(p, del);
}

static void show_txn(struct printer *p, const Etcdserverpb__TxnResponse *txn)
{
    message_line(p, txn);
}

static void show_alarms(struct printer *p, const Etcdserverpb__AlarmResponse *alarms)
{
    message_line(p, alarms);
}

static void show_lease_revoke(struct printer *p, int64_t id,
                              const Etcdserverpb__LeaseRevokeResponse *revoke)
{
    UNUSED(id);
    message_line(p, revoke);
}

/* clientv3's own struct, whose fields have no names for JSON. Its end without a server (no header)
 * has a nil slice of events. */
static void show_watch(struct printer *p, const Etcdserverpb__WatchResponse *watch)
{
    buf_append_str(p->out, "{\"Header\":");
    pbjson_encode(print__header(watch->header), PBJSON_GO, p->out);
    buf_append_str(p->out, ",\"Events\":");
    for (size_t i = 0; i < watch->n_events; i++) {
        buf_append_byte(p->out, i == 0 ? '[' : ',');
        pbjson_encode(watch->events[i], PBJSON_GO, p->out);
    }
    buf_append_str(p->out, watch->n_events > 0 ? "]" : watch->header == NULL ? "null" : "[]");
    buf_printf(p->out, ",\"CompactRevision\":%lld,\"Canceled\":%s,\"Created\":%s}\n",
               (long long)watch->compact_revision, watch->canceled ? "true" : "false",
               watch->created ? "true" : "false");
}

static void show_string(struct printer *p, const char *text)
{
    json_append_string(p->out, slice_str(text));
}

static void show_strings(struct printer *p, char *const *texts, size_t count)
{
    if (count == 0) {
        buf_append_str(p->out, "null");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        buf_append_byte(p->out, i == 0 ? '[' : ',');
        show_string(p, texts[i]);
    }
    buf_append_byte(p->out, ']');
}

/* With --hex etcdctl writes this one message by hand: every field but isLearner, and no other
 * answer knows --hex. (It does not escape the name; we do, which is the same for honest names.) */
static void show_members_hex(struct printer *p, const Etcdserverpb__MemberListResponse *list)
{
    const Etcdserverpb__ResponseHeader *header = print__header(list->header);
    buf_printf(p->out,
               "{\"header\":{\"cluster_id\":\"%llx\",\"member_id\":\"%llx\",\"raft_term\":%llu}",
               (unsigned long long)header->cluster_id, (unsigned long long)header->member_id,
               (unsigned long long)header->raft_term);
    for (size_t i = 0; i < list->n_members; i++) {
        const Etcdserverpb__Member *member = list->members[i];
        buf_printf(p->out, "%s{\"ID\":\"%llx\",\"name\":", i == 0 ? ",\"members\":[" : ",",
                   (unsigned long long)member->id);
        show_string(p, member->name);
        buf_append_str(p->out, ",\"peerURLs\":");
        show_strings(p, member->peerurls, member->n_peerurls);
        buf_append_str(p->out, ",\"clientURLs\":");
        show_strings(p, member->clienturls, member->n_clienturls);
        buf_append_str(p->out, i + 1 == list->n_members ? "}]" : "}");
    }
    buf_append_str(p->out, "}\n");
}

static void show_members(struct printer *p, const Etcdserverpb__MemberListResponse *list)
{
    if (p->is_hex) {
        show_members_hex(p, list);
    } else {
        message_line(p, list);
    }
}

/* A nil slice is null in Go. */
static void end_list(struct printer *p, size_t count)
{
    buf_append_str(p->out, count == 0 ? "null\n" : "]\n");
}

static void show_health(struct printer *p, const struct print_health *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_append_str(p->out, i == 0 ? "[" : ",");
        buf_append_str(p->out, "{\"endpoint\":");
        show_string(p, list[i].endpoint);
        buf_printf(p->out, ",\"health\":%s,\"took\":\"", list[i].is_healthy ? "true" : "false");
        print__took(&list[i], p->out);
        buf_append_byte(p->out, '"');
        if (list[i].error[0] != 0) {
            buf_append_str(p->out, ",\"error\":");
            show_string(p, list[i].error);
        }
        buf_append_byte(p->out, '}');
    }
    end_list(p, count);
}

/* [{"Endpoint":"…","<name>":{…}},…] */
static void endpoint_item(struct printer *p, size_t index, const char *endpoint, const char *name,
                          const void *message)
{
    buf_append_str(p->out, index == 0 ? "[" : ",");
    buf_append_str(p->out, "{\"Endpoint\":");
    show_string(p, endpoint);
    buf_printf(p->out, ",\"%s\":", name);
    pbjson_encode(message, PBJSON_GO, p->out);
    buf_append_byte(p->out, '}');
}

static void show_status(struct printer *p, const struct print_status *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        endpoint_item(p, i, list[i].endpoint, "Status", list[i].status);
    }
    end_list(p, count);
}

static void show_hashkv(struct printer *p, const struct print_hashkv *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        endpoint_item(p, i, list[i].endpoint, "HashKV", list[i].hashkv);
    }
    end_list(p, count);
}

const struct print_ops print_json_ops = {
    .put = show_put,
    .get = show_get,
    .del = show_del,
    .txn = show_txn,
    .watch = show_watch,
    .members = show_members,
    .alarms = show_alarms,
    .lease_grant = print__json_lease_grant,
    .lease_revoke = show_lease_revoke,
    .lease_kept = print__json_lease_kept,
    .lease_time = print__json_lease_time,
    .leases = print__json_leases,
    .health = show_health,
    .status = show_status,
    .hashkv = show_hashkv,
};
