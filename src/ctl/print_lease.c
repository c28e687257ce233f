/* What the lease commands show, in each format. */
#include "ctl/print_priv.h"

#include "base/digest.h"
#include "base/gotext.h"

/* Go's %016x of a signed number. */
static void append_id(struct buf *out, int64_t id)
{
    if (id < 0) {
        buf_printf(out, "-%015llx", 0 - (unsigned long long)id);
    } else {
        buf_printf(out, "%016llx", (unsigned long long)id);
    }
}

/* ---- simple ---------------------------------------------------------------------------- */

void print__simple_lease_grant(struct printer *p, const Etcdserverpb__LeaseGrantResponse *grant)
{
    buf_append_str(p->out, "lease ");
    append_id(p->out, grant->id);
    buf_printf(p->out, " granted with TTL(%llds)\n", (long long)grant->ttl);
}

void print__simple_lease_revoke(struct printer *p, int64_t id,
                                const Etcdserverpb__LeaseRevokeResponse *revoke)
{
    UNUSED(revoke);
    buf_append_str(p->out, "lease ");
    append_id(p->out, id);
    buf_append_str(p->out, " revoked\n");
}

void print__simple_lease_kept(struct printer *p, const Etcdserverpb__LeaseKeepAliveResponse *kept)
{
    buf_append_str(p->out, "lease ");
    append_id(p->out, kept->id);
    buf_printf(p->out, " keepalived with TTL(%lld)\n", (long long)kept->ttl);
}

void print__simple_lease_time(struct printer *p, const Etcdserverpb__LeaseTimeToLiveResponse *time,
                              bool shows_keys)
{
    buf_append_str(p->out, "lease ");
    append_id(p->out, time->id);
    if (time->grantedttl == 0 && time->ttl == -1) {
        buf_append_str(p->out, " already expired\n");
        return;
    }
    buf_printf(p->out, " granted with TTL(%llds), remaining(%llds)", (long long)time->grantedttl,
               (long long)time->ttl);
    if (shows_keys) {
        buf_append_str(p->out, ", attached keys([");
        for (size_t i = 0; i < time->n_keys; i++) {
            buf_append_str(p->out, i == 0 ? "" : " ");
            buf_append_slice(p->out, pb_bytes(time->keys[i]));
        }
        buf_append_str(p->out, "])");
    }
    buf_append_byte(p->out, '\n');
}

void print__simple_leases(struct printer *p, const Etcdserverpb__LeaseLeasesResponse *list)
{
    buf_printf(p->out, "found %zu leases\n", list->n_leases);
    for (size_t i = 0; i < list->n_leases; i++) {
        append_id(p->out, list->leases[i]->id);
        buf_append_byte(p->out, '\n');
    }
}

/* ---- fields ---------------------------------------------------------------------------- */

static void field_lease(struct printer *p, int64_t id)
{
    if (p->is_hex && id < 0) {
        buf_printf(p->out, "\"ID\" : -%llx\n", 0 - (unsigned long long)id);
    } else {
        buf_printf(p->out, p->is_hex ? "\"ID\" : %llx\n" : "\"ID\" : %lld\n", (long long)id);
    }
}

static void field_number(struct printer *p, const char *name, int64_t number)
{
    buf_printf(p->out, "\"%s\" : %lld\n", name, (long long)number);
}

void print__fields_lease_grant(struct printer *p, const Etcdserverpb__LeaseGrantResponse *grant)
{
    print__fields_header(p, grant->header);
    field_lease(p, grant->id);
    field_number(p, "TTL", grant->ttl);
}

void print__fields_lease_revoke(struct printer *p, int64_t id,
                                const Etcdserverpb__LeaseRevokeResponse *revoke)
{
    UNUSED(id);
    print__fields_header(p, revoke->header);
}

void print__fields_lease_kept(struct printer *p, const Etcdserverpb__LeaseKeepAliveResponse *kept)
{
    print__fields_header(p, kept->header);
    field_lease(p, kept->id);
    field_number(p, "TTL", kept->ttl);
}

void print__fields_lease_time(struct printer *p, const Etcdserverpb__LeaseTimeToLiveResponse *time,
                              bool shows_keys)
{
    UNUSED(shows_keys);
    print__fields_header(p, time->header);
    field_lease(p, time->id);
    field_number(p, "TTL", time->ttl);
    field_number(p, "GrantedTTL", time->grantedttl);
    for (size_t i = 0; i < time->n_keys; i++) {
        buf_append_str(p->out, "\"Key\" : ");
        go_quote(pb_bytes(time->keys[i]), p->out);
        buf_append_byte(p->out, '\n');
    }
}

void print__fields_leases(struct printer *p, const Etcdserverpb__LeaseLeasesResponse *list)
{
    print__fields_header(p, list->header);
    for (size_t i = 0; i < list->n_leases; i++) {
        field_lease(p, list->leases[i]->id);
    }
}

/* ---- json: clientv3's own structs, in which the header's fields lie open ---------------- */

static void json_number(struct printer *p, const char *name, unsigned long long number)
{
    if (number != 0) {
        buf_printf(p->out, "\"%s\":%llu,", name, number);
    }
}

static void json_begin(struct printer *p, const Etcdserverpb__ResponseHeader *maybe)
{
    const Etcdserverpb__ResponseHeader *header = print__header(maybe);
    buf_append_byte(p->out, '{');
    json_number(p, "cluster_id", header->cluster_id);
    json_number(p, "member_id", header->member_id);
    json_number(p, "revision", (unsigned long long)header->revision);
    json_number(p, "raft_term", header->raft_term);
}

void print__json_lease_grant(struct printer *p, const Etcdserverpb__LeaseGrantResponse *grant)
{
    json_begin(p, grant->header);
    buf_printf(p->out, "\"ID\":%lld,\"TTL\":%lld,\"Error\":\"\"}\n", (long long)grant->id,
               (long long)grant->ttl);
}

void print__json_lease_kept(struct printer *p, const Etcdserverpb__LeaseKeepAliveResponse *kept)
{
    json_begin(p, kept->header);
    buf_printf(p->out, "\"ID\":%lld,\"TTL\":%lld}\n", (long long)kept->id, (long long)kept->ttl);
}

void print__json_lease_time(struct printer *p, const Etcdserverpb__LeaseTimeToLiveResponse *time,
                            bool shows_keys)
{
    UNUSED(shows_keys);
    json_begin(p, time->header);
    buf_printf(p->out,
               "\"id\":%lld,\"ttl\":%lld,\"granted-ttl\":%lld,\"keys\":", (long long)time->id,
               (long long)time->ttl, (long long)time->grantedttl);
    for (size_t i = 0; i < time->n_keys; i++) {
        buf_append_str(p->out, i == 0 ? "[\"" : ",\"");
        base64_encode(pb_bytes(time->keys[i]), p->out);
        buf_append_byte(p->out, '"');
    }
    buf_append_str(p->out, time->n_keys == 0 ? "null}\n" : "]}\n");
}

void print__json_leases(struct printer *p, const Etcdserverpb__LeaseLeasesResponse *list)
{
    json_begin(p, list->header);
    buf_append_str(p->out, "\"leases\":[");
    for (size_t i = 0; i < list->n_leases; i++) {
        buf_printf(p->out, "%s{\"id\":%lld}", i == 0 ? "" : ",", (long long)list->leases[i]->id);
    }
    buf_append_str(p->out, "]}\n");
}

/* ---- protobuf: of clientv3's own structs only the header can be encoded ------------------ */

static void protobuf_header(struct printer *p, const Etcdserverpb__ResponseHeader *header)
{
    pb_encode(print__header(header), p->out);
}

void print__protobuf_lease_grant(struct printer *p, const Etcdserverpb__LeaseGrantResponse *grant)
{
    protobuf_header(p, grant->header);
}

void print__protobuf_lease_kept(struct printer *p, const Etcdserverpb__LeaseKeepAliveResponse *kept)
{
    protobuf_header(p, kept->header);
}

void print__protobuf_lease_time(struct printer *p,
                                const Etcdserverpb__LeaseTimeToLiveResponse *time, bool shows_keys)
{
    UNUSED(shows_keys);
    protobuf_header(p, time->header);
}

void print__protobuf_leases(struct printer *p, const Etcdserverpb__LeaseLeasesResponse *list)
{
    protobuf_header(p, list->header);
}

/* ---- the printer ----------------------------------------------------------------------- */

enum err print_lease_grant(struct printer *p, const Etcdserverpb__LeaseGrantResponse *grant)
{
    if (p->ops->lease_grant == NULL) {
        return ERR_UNSUPPORTED;
    }
    p->ops->lease_grant(p, grant);
    return ERR_OK;
}

enum err print_lease_revoke(struct printer *p, int64_t id,
                            const Etcdserverpb__LeaseRevokeResponse *revoke)
{
    if (p->ops->lease_revoke == NULL) {
        return ERR_UNSUPPORTED;
    }
    p->ops->lease_revoke(p, id, revoke);
    return ERR_OK;
}

enum err print_lease_kept(struct printer *p, const Etcdserverpb__LeaseKeepAliveResponse *kept)
{
    if (p->ops->lease_kept == NULL) {
        return ERR_UNSUPPORTED;
    }
    p->ops->lease_kept(p, kept);
    return ERR_OK;
}

enum err print_lease_time(struct printer *p, const Etcdserverpb__LeaseTimeToLiveResponse *time,
                          bool shows_keys)
{
    if (p->ops->lease_time == NULL) {
        return ERR_UNSUPPORTED;
    }
    p->ops->lease_time(p, time, shows_keys);
    return ERR_OK;
}

void print_lease_over(struct printer *p, int64_t id)
{
    buf_append_str(p->out, "lease ");
    append_id(p->out, id);
    buf_append_str(p->out, " expired or revoked.\n");
}

enum err print_leases(struct printer *p, const Etcdserverpb__LeaseLeasesResponse *list)
{
    if (p->ops->leases == NULL) {
        return ERR_UNSUPPORTED;
    }
    p->ops->leases(p, list);
    return ERR_OK;
}
