#include "ctl/print_priv.h"

#include "base/gotext.h"

#include <math.h>

static const struct {
    const char *name;
    const struct print_ops *ops;
} formats[] = {
    [PRINT_SIMPLE] = {"simple", &print_simple_ops},
    [PRINT_FIELDS] = {"fields", &print_fields_ops},
    [PRINT_JSON] = {"json", &print_json_ops},
    [PRINT_PROTOBUF] = {"protobuf", &print_protobuf_ops},
    [PRINT_TABLE] = {"table", &print_table_ops},
};

enum err print_format_parse(const char *name, enum print_format *out)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        if (strcmp(formats[i].name, name) == 0) {
            *out = (enum print_format)i;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

const char *print_format_name(enum print_format format)
{
    ASSERT((size_t)format < ARRAY_LEN(formats));
    return formats[format].name;
}

void printer_init(struct printer *printer, enum print_format format, bool is_hex, struct buf *out,
                  struct buf *err)
{
    ASSERT((size_t)format < ARRAY_LEN(formats));
    *printer = (struct printer){
        .ops = formats[format].ops, .format = format, .is_hex = is_hex, .out = out, .err = err};
}

/* ---- one answer ------------------------------------------------------------------------ */

enum err print_put(struct printer *p, const Etcdserverpb__PutResponse *put)
{
    if (p->ops->put == NULL) {
        return ERR_UNSUPPORTED;
    }
    p->ops->put(p, put);
    return ERR_OK;
}

enum err print_get(struct printer *p, const Etcdserverpb__RangeResponse *range)
{
    if (p->ops->get == NULL) {
        return ERR_UNSUPPORTED;
    }
    p->ops->get(p, range);
    return ERR_OK;
}

enum err print_del(struct printer *p, const Etcdserverpb__DeleteRangeResponse *del)
{
    if (p->ops->del == NULL) {
        return ERR_UNSUPPORTED;
    }
    p->ops->del(p, del);
    return ERR_OK;
}

enum err print_txn(struct printer *p, const Etcdserverpb__TxnResponse *txn)
{
    if (p->ops->txn == NULL) {
        return ERR_UNSUPPORTED;
    }
    p->ops->txn(p, txn);
    return ERR_OK;
}

enum err print_watch(struct printer *p, const Etcdserverpb__WatchResponse *watch)
{
    if (p->ops->watch == NULL) {
        return ERR_UNSUPPORTED;
    }
    p->ops->watch(p, watch);
    return ERR_OK;
}

enum err print_members(struct printer *p, const Etcdserverpb__MemberListResponse *list)
{
    if (p->ops->members == NULL) {
        return ERR_UNSUPPORTED;
    }
    p->ops->members(p, list);
    return ERR_OK;
}

enum err print_alarms(struct printer *p, const Etcdserverpb__AlarmResponse *alarms)
{
    if (p->ops->alarms == NULL) {
        return ERR_UNSUPPORTED;
    }
    p->ops->alarms(p, alarms);
    return ERR_OK;
}

enum err print_health(struct printer *p, const struct print_health *list, size_t count)
{
    if (p->ops->health == NULL) {
        return ERR_UNSUPPORTED;
    }
    p->ops->health(p, list, count);
    return ERR_OK;
}

enum err print_status(struct printer *p, const struct print_status *list, size_t count)
{
    if (p->ops->status == NULL) {
        return ERR_UNSUPPORTED;
    }
    p->ops->status(p, list, count);
    return ERR_OK;
}

enum err print_hashkv(struct printer *p, const struct print_hashkv *list, size_t count)
{
    if (p->ops->hashkv == NULL) {
        return ERR_UNSUPPORTED;
    }
    p->ops->hashkv(p, list, count);
    return ERR_OK;
}

/* ---- shared ---------------------------------------------------------------------------- */

void print_event_type(Mvccpb__Event__EventType type, struct buf *out)
{
    if (type == MVCCPB__EVENT__EVENT_TYPE__PUT) {
        buf_append_str(out, "PUT");
    } else if (type == MVCCPB__EVENT__EVENT_TYPE__DELETE) {
        buf_append_str(out, "DELETE");
    } else {
        buf_printf(out, "%d", (int)type);
    }
}

void print__alarm_type(Etcdserverpb__AlarmType type, struct buf *out)
{
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value(&etcdserverpb__alarm_type__descriptor, (int)type);
    if (value != NULL) {
        buf_append_str(out, value->name);
    } else {
        buf_printf(out, "%d", (int)type);
    }
}

const Etcdserverpb__ResponseHeader *print__header(const Etcdserverpb__ResponseHeader *header)
{
    static const Etcdserverpb__ResponseHeader none = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    return header == NULL ? &none : header;
}

void print__humanize(uint64_t size, struct buf *out)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    if (size < 10) {
        buf_printf(out, "%llu B", (unsigned long long)size);
        return;
    }
    /* go-humanize's own arithmetic, rounding errors of the logarithm included. */
    double exponent = floor(log((double)size) / log(1000));
    double value = floor((double)size / pow(1000, exponent) * 10 + 0.5) / 10;
    size_t unit = (size_t)exponent;
    ASSERT(unit < ARRAY_LEN(units));
    buf_printf(out, value < 10 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

void print__took(const struct print_health *health, struct buf *out)
{
    if (health->took_ns > 0) {
        go_format_duration((int64_t)health->took_ns, out);
    }
}

static void cell_str(struct table *table, const char *text)
{
    table_cell(table, slice_str(text));
}

static void cell_bool(struct table *table, bool fact)
{
    cell_str(table, fact ? "true" : "false");
}

static void cell_joined(struct table *table, char *const *texts, size_t count,
                        const char *separator)
{
    struct buf joined = {0};
    for (size_t i = 0; i < count; i++) {
        buf_append_str(&joined, i == 0 ? "" : separator);
        buf_append_str(&joined, texts[i]);
    }
    table_cell(table, buf_slice(&joined));
    buf_fini(&joined);
}

static void cell_size(struct table *table, int64_t size)
{
    struct buf text = {0};
    print__humanize((uint64_t)size, &text);
    table_cell(table, buf_slice(&text));
    buf_fini(&text);
}

void print__member_rows(const Etcdserverpb__MemberListResponse *list, struct table *table)
{
    for (size_t i = 0; i < list->n_members; i++) {
        const Etcdserverpb__Member *member = list->members[i];
        table_cellf(table, "%llx", (unsigned long long)member->id);
        cell_str(table, member->name[0] == 0 ? "unstarted" : "started");
        cell_str(table, member->name);
        cell_joined(table, member->peerurls, member->n_peerurls, ",");
        cell_joined(table, member->clienturls, member->n_clienturls, ",");
        cell_bool(table, member->islearner);
    }
}

void print__health_rows(const struct print_health *list, size_t count, struct table *table)
{
    struct buf took = {0};
    for (size_t i = 0; i < count; i++) {
        cell_str(table, list[i].endpoint);
        cell_bool(table, list[i].is_healthy);
        buf_reset(&took);
        print__took(&list[i], &took);
        table_cell(table, buf_slice(&took));
        cell_str(table, list[i].error);
    }
    buf_fini(&took);
}

/* How much of the file holds nothing. Go divides by zero here when a server reports no size. */
static long long percent_free(const Etcdserverpb__StatusResponse *status)
{
    if (status->dbsize <= 0) {
        return 0;
    }
    return 100 - (int64_t)((uint64_t)status->dbsizeinuse * 100) / status->dbsize;
}

void print__status_rows(const struct print_status *list, size_t count, struct table *table)
{
    for (size_t i = 0; i < count; i++) {
        const Etcdserverpb__StatusResponse *status = list[i].status;
        uint64_t member_id = print__header(status->header)->member_id;
        const Etcdserverpb__DowngradeInfo *downgrade = status->downgradeinfo;
        cell_str(table, list[i].endpoint);
        table_cellf(table, "%llx", (unsigned long long)member_id);
        cell_str(table, status->version);
        cell_str(table, status->storageversion);
        cell_size(table, status->dbsize);
        cell_size(table, status->dbsizeinuse);
        table_cellf(table, "%lld%%", percent_free(status));
        cell_size(table, status->dbsizequota);
        cell_bool(table, status->leader == member_id);
        cell_bool(table, status->islearner);
        table_cellf(table, "%llu", (unsigned long long)status->raftterm);
        table_cellf(table, "%llu", (unsigned long long)status->raftindex);
        table_cellf(table, "%llu", (unsigned long long)status->raftappliedindex);
        cell_joined(table, status->errors, status->n_errors, ", ");
        cell_str(table, downgrade == NULL ? "" : downgrade->targetversion);
        cell_bool(table, downgrade != NULL && downgrade->enabled);
    }
}

void print__hashkv_rows(const struct print_hashkv *list, size_t count, struct table *table)
{
    for (size_t i = 0; i < count; i++) {
        cell_str(table, list[i].endpoint);
        table_cellf(table, "%u", list[i].hashkv->hash);
        table_cellf(table, "%lld", (long long)list[i].hashkv->hash_revision);
    }
}
