#include "server/status.h"

static const struct status_row rows[STATUS_COUNT] = {
    [STATUS_OK] = {GRPC_OK, ""},
    [STATUS_CANCELED] = {GRPC_CANCELED, "context canceled"},
    [STATUS_DEADLINE_EXCEEDED] = {GRPC_DEADLINE_EXCEEDED, "context deadline exceeded"},
    [STATUS_EMPTY_KEY] = {GRPC_INVALID_ARGUMENT, "etcdserver: key is not provided"},
    [STATUS_KEY_NOT_FOUND] = {GRPC_INVALID_ARGUMENT, "etcdserver: key not found"},
    [STATUS_VALUE_PROVIDED] = {GRPC_INVALID_ARGUMENT, "etcdserver: value is provided"},
    [STATUS_LEASE_PROVIDED] = {GRPC_INVALID_ARGUMENT, "etcdserver: lease is provided"},
    [STATUS_TOO_MANY_OPS] = {GRPC_INVALID_ARGUMENT,
                             "etcdserver: too many operations in txn request"},
    [STATUS_DUPLICATE_KEY] = {GRPC_INVALID_ARGUMENT,
                              "etcdserver: duplicate key given in txn request"},
    [STATUS_INVALID_SORT_OPTION] = {GRPC_INVALID_ARGUMENT, "etcdserver: invalid sort option"},
    [STATUS_INVALID_CLIENT_API_VERSION] = {GRPC_INVALID_ARGUMENT,
                                           "etcdserver: invalid client api version"},
    [STATUS_COMPACTED] = {GRPC_OUT_OF_RANGE,
                          "etcdserver: mvcc: required revision has been compacted"},
    [STATUS_FUTURE_REVISION] = {GRPC_OUT_OF_RANGE,
                                "etcdserver: mvcc: required revision is a future revision"},
    [STATUS_NO_SPACE] = {GRPC_RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"},
    [STATUS_LEASE_NOT_FOUND] = {GRPC_NOT_FOUND, "etcdserver: requested lease not found"},
    [STATUS_LEASE_EXISTS] = {GRPC_FAILED_PRECONDITION, "etcdserver: lease already exists"},
    [STATUS_LEASE_TTL_TOO_LARGE] = {GRPC_OUT_OF_RANGE, "etcdserver: too large lease TTL"},
    [STATUS_REQUEST_TOO_LARGE] = {GRPC_INVALID_ARGUMENT, "etcdserver: request is too large"},
    /* Known in rpctypes as ResourceExhausted, and Unknown on the wire: the error is not mapped. */
    [STATUS_TOO_MANY_REQUESTS] = {GRPC_UNKNOWN, "etcdserver: too many requests"},
    [STATUS_NO_LEADER] = {GRPC_UNAVAILABLE, "etcdserver: no leader"},
    [STATUS_LEADER_CHANGED] = {GRPC_UNAVAILABLE, "etcdserver: leader changed"},
    [STATUS_NOT_CAPABLE] = {GRPC_FAILED_PRECONDITION, "etcdserver: not capable"},
    [STATUS_STOPPED] = {GRPC_UNAVAILABLE, "etcdserver: server stopped"},
    [STATUS_TIMEOUT] = {GRPC_UNAVAILABLE, "etcdserver: request timed out"},
    [STATUS_CORRUPT] = {GRPC_DATA_LOSS, "etcdserver: corrupt cluster"},
    [STATUS_TOLD] = {GRPC_UNKNOWN, "etcdserver: failed"},
};

const struct status_row *status_row(enum status status)
{
    ASSERT((unsigned)status < STATUS_COUNT);
    return &rows[status];
}
