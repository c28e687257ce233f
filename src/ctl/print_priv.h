/* What the formats of print.h share. */
#ifndef CTL_PRINT_PRIV_H
#define CTL_PRINT_PRIV_H

#include "codec/pb.h"
#include "ctl/print.h"
#include "ctl/table.h"

/* One function a kind of answer; NULL: not supported as output format. */
struct print_ops {
    void (*put)(struct printer *p, const Etcdserverpb__PutResponse *put);
    void (*get)(struct printer *p, const Etcdserverpb__RangeResponse *range);
    void (*del)(struct printer *p, const Etcdserverpb__DeleteRangeResponse *del);
    void (*txn)(struct printer *p, const Etcdserverpb__TxnResponse *txn);
    void (*watch)(struct printer *p, const Etcdserverpb__WatchResponse *watch);
    void (*members)(struct printer *p, const Etcdserverpb__MemberListResponse *list);
    void (*alarms)(struct printer *p, const Etcdserverpb__AlarmResponse *alarms);
    void (*lease_grant)(struct printer *p, const Etcdserverpb__LeaseGrantResponse *grant);
    void (*lease_revoke)(struct printer *p, int64_t id,
                         const Etcdserverpb__LeaseRevokeResponse *revoke);
    void (*lease_kept)(struct printer *p, const Etcdserverpb__LeaseKeepAliveResponse *kept);
    void (*lease_time)(struct printer *p, const Etcdserverpb__LeaseTimeToLiveResponse *time,
                       bool shows_keys);
    void (*leases)(struct printer *p, const Etcdserverpb__LeaseLeasesResponse *list);
    void (*health)(struct printer *p, const struct print_health *list, size_t count);
    void (*status)(struct printer *p, const struct print_status *list, size_t count);
    void (*hashkv)(struct printer *p, const struct print_hashkv *list, size_t count);
};

extern const struct print_ops print_simple_ops;
extern const struct print_ops print_fields_ops;
extern const struct print_ops print_json_ops;
extern const struct print_ops print_protobuf_ops;
extern const struct print_ops print_table_ops;

/* "NONE" "NOSPACE" "CORRUPT", or the number. Appends. */
void print__alarm_type(Etcdserverpb__AlarmType type, struct buf *out);
/* The header, or an empty one when the server sent none. */
const Etcdserverpb__ResponseHeader *print__header(const Etcdserverpb__ResponseHeader *header);

/* How long a health check took, as Go shows a duration; "" when it never began. Appends. */
void print__took(const struct print_health *health, struct buf *out);

/* Empty tables with the columns of each kind. */
struct table *print__member_table(void);
struct table *print__health_table(void);
struct table *print__status_table(void);
struct table *print__hashkv_table(void);

/* Rows of cells, as the table shows them and the simple format joins them. */
void print__member_rows(const Etcdserverpb__MemberListResponse *list, struct table *table);
void print__health_rows(const struct print_health *list, size_t count, struct table *table);
void print__status_rows(const struct print_status *list, size_t count, struct table *table);
void print__hashkv_rows(const struct print_hashkv *list, size_t count, struct table *table);

/* print_lease.c: the columns of each format's table. */
void print__simple_lease_grant(struct printer *p, const Etcdserverpb__LeaseGrantResponse *grant);
void print__simple_lease_revoke(struct printer *p, int64_t id,
                                const Etcdserverpb__LeaseRevokeResponse *revoke);
void print__simple_lease_kept(struct printer *p, const Etcdserverpb__LeaseKeepAliveResponse *kept);
void print__simple_lease_time(struct printer *p, const Etcdserverpb__LeaseTimeToLiveResponse *time,
                              bool shows_keys);
void print__simple_leases(struct printer *p, const Etcdserverpb__LeaseLeasesResponse *list);
void print__fields_lease_grant(struct printer *p, const Etcdserverpb__LeaseGrantResponse *grant);
void print__fields_lease_revoke(struct printer *p, int64_t id,
                                const Etcdserverpb__LeaseRevokeResponse *revoke);
void print__fields_lease_kept(struct printer *p, const Etcdserverpb__LeaseKeepAliveResponse *kept);
void print__fields_lease_time(struct printer *p, const Etcdserverpb__LeaseTimeToLiveResponse *time,
                              bool shows_keys);
void print__fields_leases(struct printer *p, const Etcdserverpb__LeaseLeasesResponse *list);
void print__json_lease_grant(struct printer *p, const Etcdserverpb__LeaseGrantResponse *grant);
void print__json_lease_kept(struct printer *p, const Etcdserverpb__LeaseKeepAliveResponse *kept);
void print__json_lease_time(struct printer *p, const Etcdserverpb__LeaseTimeToLiveResponse *time,
                            bool shows_keys);
void print__json_leases(struct printer *p, const Etcdserverpb__LeaseLeasesResponse *list);
void print__protobuf_lease_grant(struct printer *p, const Etcdserverpb__LeaseGrantResponse *grant);
void print__protobuf_lease_kept(struct printer *p,
                                const Etcdserverpb__LeaseKeepAliveResponse *kept);
void print__protobuf_lease_time(struct printer *p,
                                const Etcdserverpb__LeaseTimeToLiveResponse *time, bool shows_keys);
void print__protobuf_leases(struct printer *p, const Etcdserverpb__LeaseLeasesResponse *list);
/* Of print_fields.c. */
void print__fields_header(struct printer *p, const Etcdserverpb__ResponseHeader *header);

/* 24576 as "25 kB", base 1000. Appends. */
void print__humanize(uint64_t size, struct buf *out);

#endif
