#include "server/request.h"

static const struct {
    const char *name;
    bool is_write;
} kinds[REQUEST_KIND_COUNT] = {
    [REQUEST_RANGE] = {"Range", false},
    [REQUEST_TXN_READ] = {"Txn", false},
    [REQUEST_PUT] = {"Put", true},
    [REQUEST_DELETE_RANGE] = {"DeleteRange", true},
    [REQUEST_TXN] = {"Txn", true},
    [REQUEST_COMPACT] = {"Compaction", true},
    [REQUEST_ALARM] = {"Alarm", true},
    [REQUEST_ALARM_LIST] = {"Alarm", false},
    [REQUEST_STATUS] = {"Status", false},
    [REQUEST_HASH] = {"Hash", false},
    [REQUEST_HASH_KV] = {"HashKV", false},
    [REQUEST_DEFRAGMENT] = {"Defragment", false},
    [REQUEST_MEMBER_LIST] = {"MemberList", false},
    [REQUEST_LEASE_GRANT] = {"LeaseGrant", true},
    [REQUEST_LEASE_REVOKE] = {"LeaseRevoke", true},
    [REQUEST_LEASE_CHECKPOINT] = {"LeaseCheckpoint", true},
    [REQUEST_LEASE_LIST] = {"LeaseLeases", false},
    [REQUEST_LEASE_RENEW] = {"LeaseKeepAlive", false},
    [REQUEST_LEASE_TIME_TO_LIVE] = {"LeaseTimeToLive", false},
};

const char *request_kind_name(enum request_kind kind)
{
    ASSERT((unsigned)kind < REQUEST_KIND_COUNT);
    return kinds[kind].name;
}

bool request_is_write(enum request_kind kind)
{
    ASSERT((unsigned)kind < REQUEST_KIND_COUNT);
    return kinds[kind].is_write;
}
