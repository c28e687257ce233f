/* Answers as etcdctl shows them: simple, fields, json, protobuf, table; byte for byte.
 *
 * A printer appends to buffers and knows neither a terminal nor a connection. Each format is a
 * table of functions (struct print_ops); what a format cannot show is NULL there.
 *
 * Source: etcdctl 3.6 (the newest of its releases where they differ). Tables have the ASCII frames
 * of its own builds, not the box drawing of some distributions' builds.
 *
 * Ownership: answers are borrowed for the call.
 * Threads:   no shared state.
 * Failure:   ERR_UNSUPPORTED: the format cannot show this. */
#ifndef CTL_PRINT_H
#define CTL_PRINT_H

#include "base/bytes.h"
#include "rpc.pb-c.h"

enum print_format {
    PRINT_SIMPLE,
    PRINT_FIELDS,
    PRINT_JSON,
    PRINT_PROTOBUF,
    PRINT_TABLE,
};

struct print_ops;
struct printer {
    const struct print_ops *ops;
    enum print_format format;
    bool is_hex;      /* --hex */
    bool values_only; /* get --print-value-only */
    struct buf *out;
    struct buf *err;
};

/* What "endpoint health" found out about one endpoint. */
struct print_health {
    const char *endpoint;
    bool is_healthy;
    uint64_t took_ns;
    const char *error; /* "" when healthy */
};
struct print_status {
    const char *endpoint;
    const Etcdserverpb__StatusResponse *status;
};
struct print_hashkv {
    const char *endpoint;
    const Etcdserverpb__HashKVResponse *hashkv;
};

/* ERR_INVALID: no such format. */
FALLIBLE print_format_parse(const char *name, enum print_format *out);
const char *print_format_name(enum print_format format);

void printer_init(struct printer *printer, enum print_format format, bool is_hex, struct buf *out,
                  struct buf *err);

/* "PUT" "DELETE", or the number. Appends. */
void print_event_type(Mvccpb__Event__EventType type, struct buf *out);

FALLIBLE print_put(struct printer *p, const Etcdserverpb__PutResponse *put);
FALLIBLE print_get(struct printer *p, const Etcdserverpb__RangeResponse *range);
FALLIBLE print_del(struct printer *p, const Etcdserverpb__DeleteRangeResponse *del);
FALLIBLE print_txn(struct printer *p, const Etcdserverpb__TxnResponse *txn);
FALLIBLE print_watch(struct printer *p, const Etcdserverpb__WatchResponse *watch);
FALLIBLE print_members(struct printer *p, const Etcdserverpb__MemberListResponse *list);
FALLIBLE print_alarms(struct printer *p, const Etcdserverpb__AlarmResponse *alarms);
FALLIBLE print_lease_grant(struct printer *p, const Etcdserverpb__LeaseGrantResponse *grant);
FALLIBLE print_lease_revoke(struct printer *p, int64_t id,
                            const Etcdserverpb__LeaseRevokeResponse *revoke);
FALLIBLE print_lease_kept(struct printer *p, const Etcdserverpb__LeaseKeepAliveResponse *kept);
/* shows_keys: they were asked for. */
FALLIBLE print_lease_time(struct printer *p, const Etcdserverpb__LeaseTimeToLiveResponse *time,
                          bool shows_keys);
FALLIBLE print_leases(struct printer *p, const Etcdserverpb__LeaseLeasesResponse *list);
/* What the simple format says when a lease cannot be kept alive any more. */
void print_lease_over(struct printer *p, int64_t id);
FALLIBLE print_health(struct printer *p, const struct print_health *list, size_t count);
FALLIBLE print_status(struct printer *p, const struct print_status *list, size_t count);
FALLIBLE print_hashkv(struct printer *p, const struct print_hashkv *list, size_t count);

#endif
