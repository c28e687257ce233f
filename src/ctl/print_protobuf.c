/* The protobuf format: the answer's own bytes, encoded again, without a newline. */
#include "ctl/print_priv.h"

static void protobuf_put(struct printer *p, const Etcdserverpb__PutResponse *put)
{
    pb_encode(put, p->out);
}

static void protobuf_get(struct printer *p, const Etcdserverpb__RangeResponse *range)
{
    pb_encode(range, p->out);
}

static void protobuf_del(struct printer *p, const Etcdserverpb__DeleteRangeResponse *del)
{
    pb_encode(del, p->out);
}

static void protobuf_txn(struct printer *p, const Etcdserverpb__TxnResponse *txn)
{
    pb_encode(txn, p->out);
}

/* etcdctl makes a new message of what clientv3 keeps: no id, no reason, always a header. */
static void protobuf_watch(struct printer *p, const Etcdserverpb__WatchResponse *watch)
{
    Etcdserverpb__WatchResponse copy;
    Etcdserverpb__ResponseHeader header = *print__header(watch->header);
    etcdserverpb__watch_response__init(&copy);
    copy.header = &header;
    copy.created = watch->created;
    copy.canceled = watch->canceled;
    copy.compact_revision = watch->compact_revision;
    copy.events = watch->events;
    copy.n_events = watch->n_events;
    pb_encode(&copy, p->out);
}

static void protobuf_members(struct printer *p, const Etcdserverpb__MemberListResponse *list)
{
    pb_encode(list, p->out);
}

static void protobuf_alarms(struct printer *p, const Etcdserverpb__AlarmResponse *alarms)
{
    pb_encode(alarms, p->out);
}

/* Answers of several endpoints are no one message. */
const struct print_ops print_protobuf_ops = {
    .put = protobuf_put,
    .get = protobuf_get,
    .del = protobuf_del,
    .txn = protobuf_txn,
    .watch = protobuf_watch,
    .members = protobuf_members,
    .alarms = protobuf_alarms,
    .lease_grant = print__protobuf_lease_grant,
    .lease_kept = print__protobuf_lease_kept,
    .lease_time = print__protobuf_lease_time,
    .leases = print__protobuf_leases,
};
