#include "server/request_text.h"

#include "base/gotext.h"
#include "codec/pb.h"

#include "rpc.pb-c.h"

#include <inttypes.h>

static void put_bytes(struct buf *out, const char *name, ProtobufCBinaryData bytes)
{
    if (bytes.len > 0) {
        struct slice text = pb_bytes(bytes);
        buf_printf(out, "%s:", name);
        go_quote(slice_of(text.data, text.len < REQUEST_TEXT_MAX ? text.len : REQUEST_TEXT_MAX),
                 out);
        buf_append_byte(out, ' ');
    }
}

static void put_int(struct buf *out, const char *name, int64_t number)
{
    if (number != 0) {
        buf_printf(out, "%s:%" PRId64 " ", name, number);
    }
}

static void put_bool(struct buf *out, const char *name, bool fact)
{
    if (fact) {
        buf_printf(out, "%s:true ", name);
    }
}

static void put_enum(struct buf *out, const char *name, const ProtobufCEnumDescriptor *type,
                     int number)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(type, number);
    if (number != 0 && value != NULL) {
        buf_printf(out, "%s:%s ", name, value->name);
    } else {
        put_int(out, name, number);
    }
}

static void range_text(const Etcdserverpb__RangeRequest *range, struct buf *out)
{
    put_bytes(out, "key", range->key);
    put_bytes(out, "range_end", range->range_end);
    put_int(out, "limit", range->limit);
    put_int(out, "revision", range->revision);
    put_enum(out, "sort_order", &etcdserverpb__range_request__sort_order__descriptor,
             (int)range->sort_order);
    put_enum(out, "sort_target", &etcdserverpb__range_request__sort_target__descriptor,
             (int)range->sort_target);
    put_bool(out, "serializable", range->serializable);
    put_bool(out, "keys_only", range->keys_only);
    put_bool(out, "count_only", range->count_only);
    put_int(out, "min_mod_revision", range->min_mod_revision);
    put_int(out, "max_mod_revision", range->max_mod_revision);
    put_int(out, "min_create_revision", range->min_create_revision);
    put_int(out, "max_create_revision", range->max_create_revision);
}

static void put_text(const Etcdserverpb__PutRequest *put, struct buf *out)
{
    put_bytes(out, "key", put->key);
    put_int(out, "value_size", (int64_t)put->value.len);
    put_int(out, "lease", put->lease);
    put_bool(out, "prev_kv", put->prev_kv);
    put_bool(out, "ignore_value", put->ignore_value);
    put_bool(out, "ignore_lease", put->ignore_lease);
}

static void delete_text(const Etcdserverpb__DeleteRangeRequest *delete, struct buf *out)
{
    put_bytes(out, "key", delete->key);
    put_bytes(out, "range_end", delete->range_end);
    put_bool(out, "prev_kv", delete->prev_kv);
}

/* Transactions inside are named and not opened: nobody reads so far. */
static void ops_text(const char *name, Etcdserverpb__RequestOp **ops, size_t count, struct buf *out)
{
    for (size_t i = 0; i < count && out->len < REQUEST_TEXT_MAX; i++) {
        buf_printf(out, "%s:<", name);
        switch (ops[i]->request_case) {
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
            buf_append_str(out, "request_range:<");
            range_text(ops[i]->request_range, out);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
            buf_append_str(out, "request_put:<");
            put_text(ops[i]->request_put, out);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
            buf_append_str(out, "request_delete_range:<");
            delete_text(ops[i]->request_delete_range, out);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
            buf_append_str(out, "request_txn:<");
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST__NOT_SET:
        case _ETCDSERVERPB__REQUEST_OP__REQUEST__CASE_IS_INT_SIZE:
            buf_append_byte(out, '<');
            break;
        }
        buf_append_str(out, "> > ");
    }
}

static void txn_text(const Etcdserverpb__TxnRequest *txn, struct buf *out)
{
    for (size_t i = 0; i < txn->n_compare && out->len < REQUEST_TEXT_MAX; i++) {
        const Etcdserverpb__Compare *compare = txn->compare[i];
        buf_append_str(out, "compare:<");
        put_enum(out, "result", &etcdserverpb__compare__compare_result__descriptor,
                 (int)compare->result);
        put_enum(out, "target", &etcdserverpb__compare__compare_target__descriptor,
                 (int)compare->target);
        put_bytes(out, "key", compare->key);
        put_bytes(out, "range_end", compare->range_end);
        buf_append_str(out, "> ");
    }
    ops_text("success", txn->success, txn->n_success, out);
    ops_text("failure", txn->failure, txn->n_failure, out);
}

static void compact_text(const Etcdserverpb__CompactionRequest *compact, struct buf *out)
{
    put_int(out, "revision", compact->revision);
    put_bool(out, "physical", compact->physical);
}

void request_text(enum request_kind kind, const void *message, struct buf *out)
{
    size_t start = out->len;
    switch (kind) {
    case REQUEST_RANGE:
        range_text(message, out);
        break;
    case REQUEST_PUT:
        buf_append_str(out, "put:<");
        put_text(message, out);
        buf_append_byte(out, '>');
        break;
    case REQUEST_DELETE_RANGE:
        buf_append_str(out, "delete_range:<");
        delete_text(message, out);
        buf_append_byte(out, '>');
        break;
    case REQUEST_TXN:
        buf_append_str(out, "txn:<");
        txn_text(message, out);
        buf_append_byte(out, '>');
        break;
    case REQUEST_TXN_READ:
        txn_text(message, out);
        break;
    case REQUEST_COMPACT:
        buf_append_str(out, "compaction:<");
        compact_text(message, out);
        buf_append_byte(out, '>');
        break;
    case REQUEST_LEASE_GRANT: {
        const Etcdserverpb__LeaseGrantRequest *grant = message;
        buf_append_str(out, "lease_grant:<");
        put_int(out, "ttl", grant->ttl);
        put_int(out, "id", grant->id);
        buf_append_byte(out, '>');
        break;
    }
    case REQUEST_LEASE_REVOKE: {
        const Etcdserverpb__LeaseRevokeRequest *revoke = message;
        buf_append_str(out, "lease_revoke:<");
        put_int(out, "id", revoke->id);
        buf_append_byte(out, '>');
        break;
    }
    case REQUEST_LEASE_CHECKPOINT:
    case REQUEST_LEASE_LIST:
    case REQUEST_LEASE_RENEW:
    case REQUEST_LEASE_TIME_TO_LIVE:
    case REQUEST_DEFRAGMENT:
    case REQUEST_ALARM:
    case REQUEST_ALARM_LIST:
    case REQUEST_STATUS:
    case REQUEST_HASH:
    case REQUEST_HASH_KV:
    case REQUEST_MEMBER_LIST:
    case REQUEST_KIND_COUNT:
        buf_append_str(out, request_kind_name(kind));
        break;
    }
    if (out->len - start > REQUEST_TEXT_MAX) {
        out->len = start + REQUEST_TEXT_MAX;
        buf_append_str(out, "...");
    }
}

static uint64_t between(mono_ns from, mono_ns to)
{
    return from != 0 && to > from ? to - from : 0;
}

struct request_times request_times(const struct server_request *request, mono_ns sent)
{
    mono_ns handed = request->handed_at != 0 ? request->handed_at : request->began_at;
    return (struct request_times){
        .queue = between(request->started, handed),
        .sync = between(request->handed_at, request->began_at),
        .apply = between(request->began_at, request->ended_at),
        .send = between(request->ended_at, sent),
    };
}
