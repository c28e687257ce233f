/* The simple format: lines for people. */
#include "ctl/print_priv.h"

/* \x66\x6f\x6f */
static void append_hex(struct slice bytes, struct buf *out)
{
    for (size_t i = 0; i < bytes.len; i++) {
        buf_printf(out, "\\x%02x", bytes.data[i]);
    }
}

static void append_line(const struct printer *p, ProtobufCBinaryData bytes)
{
    if (p->is_hex) {
        append_hex(pb_bytes(bytes), p->out);
    } else {
        buf_append_slice(p->out, pb_bytes(bytes));
    }
    buf_append_byte(p->out, '\n');
}

static void simple_kv(struct printer *p, const Mvccpb__KeyValue *kv)
{
    if (!p->values_only) {
        append_line(p, kv->key);
    }
    append_line(p, kv->value);
}

static void simple_put(struct printer *p, const Etcdserverpb__PutResponse *put)
{
    buf_append_str(p->out, "OK\n");
    if (put->prev_kv != NULL) {
        simple_kv(p, put->prev_kv);
    }
}

static void simple_get(struct printer *p, const Etcdserverpb__RangeResponse *range)
{
    for (size_t i = 0; i < range->n_kvs; i++) {
        simple_kv(p, range->kvs[i]);
    }
}

static void simple_del(struct printer *p, const Etcdserverpb__DeleteRangeResponse *del)
{
    buf_printf(p->out, "%lld\n", (long long)del->deleted);
    for (size_t i = 0; i < del->n_prev_kvs; i++) {
        simple_kv(p, del->prev_kvs[i]);
    }
}

static void simple_op(struct printer *p, const Etcdserverpb__ResponseOp *op)
{
    if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE) {
        simple_get(p, op->response_range);
    } else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT) {
        simple_put(p, op->response_put);
    } else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE) {
        simple_del(p, op->response_delete_range);
    } else {
        /* Not what any operation of the txn command is answered with. */
        buf_append_str(p->out, "unexpected response\n");
    }
}

static void simple_txn(struct printer *p, const Etcdserverpb__TxnResponse *txn)
{
    buf_append_str(p->out, txn->succeeded ? "SUCCESS\n" : "FAILURE\n");
    for (size_t i = 0; i < txn->n_responses; i++) {
        buf_append_byte(p->out, '\n');
        simple_op(p, txn->responses[i]);
    }
}

static void simple_watch(struct printer *p, const Etcdserverpb__WatchResponse *watch)
{
    for (size_t i = 0; i < watch->n_events; i++) {
        print_event_type(watch->events[i]->type, p->out);
        buf_append_byte(p->out, '\n');
        if (watch->events[i]->prev_kv != NULL) {
            simple_kv(p, watch->events[i]->prev_kv);
        }
        simple_kv(p, watch->events[i]->kv);
    }
}

static void simple_members(struct printer *p, const Etcdserverpb__MemberListResponse *list)
{
    struct table *table = print__member_table();
    print__member_rows(list, table);
    table_join(table, ", ", p->out);
    table_free(&table);
}

/* As protobuf's text format: zero fields absent, a blank behind each. */
static void simple_alarms(struct printer *p, const Etcdserverpb__AlarmResponse *alarms)
{
    for (size_t i = 0; i < alarms->n_alarms; i++) {
        const Etcdserverpb__AlarmMember *alarm = alarms->alarms[i];
        if (alarm->memberid != 0) {
            buf_printf(p->out, "memberID:%llu ", (unsigned long long)alarm->memberid);
        }
        if (alarm->alarm != ETCDSERVERPB__ALARM_TYPE__NONE) {
            buf_append_str(p->out, "alarm:");
            print__alarm_type(alarm->alarm, p->out);
            buf_append_byte(p->out, ' ');
        }
        buf_append_byte(p->out, '\n');
    }
}

static void simple_health(struct printer *p, const struct print_health *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i].error[0] != 0) {
            buf_printf(p->err, "%s is unhealthy: failed to commit proposal: %s\n", list[i].endpoint,
                       list[i].error);
            continue;
        }
        buf_printf(p->out,
                   "%s is healthy: successfully committed proposal: took = ", list[i].endpoint);
        print__took(&list[i], p->out);
        buf_append_byte(p->out, '\n');
    }
}

static void simple_status(struct printer *p, const struct print_status *list, size_t count)
{
    struct table *table = print__status_table();
    print__status_rows(list, count, table);
    table_join(table, ", ", p->out);
    table_free(&table);
}

static void simple_hashkv(struct printer *p, const struct print_hashkv *list, size_t count)
{
    struct table *table = print__hashkv_table();
    print__hashkv_rows(list, count, table);
    table_join(table, ", ", p->out);
    table_free(&table);
}

const struct print_ops print_simple_ops = {
    .put = simple_put,
    .get = simple_get,
    .del = simple_del,
    .txn = simple_txn,
    .watch = simple_watch,
    .members = simple_members,
    .alarms = simple_alarms,
    .lease_grant = print__simple_lease_grant,
    .lease_revoke = print__simple_lease_revoke,
    .lease_kept = print__simple_lease_kept,
    .lease_time = print__simple_lease_time,
    .leases = print__simple_leases,
    .health = simple_health,
    .status = simple_status,
    .hashkv = simple_hashkv,
};
