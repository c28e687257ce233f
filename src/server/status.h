/* What a request can be refused with: etcd's own texts and gRPC codes, byte for byte.
 *
 * One row a condition. Texts that are made at run time (a proposal over a limit names no number)
 * do not exist here by design: clients compare these strings. Source: etcd's rpctypes. */
#ifndef SERVER_STATUS_H
#define SERVER_STATUS_H

#include "codec/grpc.h"

enum status {
    STATUS_OK,
    STATUS_CANCELED,
    STATUS_DEADLINE_EXCEEDED,
    STATUS_EMPTY_KEY,
    STATUS_KEY_NOT_FOUND,
    STATUS_VALUE_PROVIDED,
    STATUS_LEASE_PROVIDED,
    STATUS_TOO_MANY_OPS,
    STATUS_DUPLICATE_KEY,
    STATUS_INVALID_SORT_OPTION,
    STATUS_INVALID_CLIENT_API_VERSION,
    STATUS_COMPACTED,
    STATUS_FUTURE_REVISION,
    STATUS_NO_SPACE,
    STATUS_LEASE_NOT_FOUND,
    STATUS_LEASE_EXISTS,
    STATUS_LEASE_TTL_TOO_LARGE,
    STATUS_REQUEST_TOO_LARGE,
    STATUS_TOO_MANY_REQUESTS,
    STATUS_NO_LEADER,
    STATUS_LEADER_CHANGED,
    STATUS_NOT_CAPABLE,
    STATUS_STOPPED,
    STATUS_TIMEOUT,
    STATUS_CORRUPT,
    STATUS_TOLD, /* the request's own text: what the system said about a file */
    STATUS_COUNT,
};

struct status_row {
    enum grpc_status code;
    const char *text;
};

/* Static storage. */
const struct status_row *status_row(enum status status);

#endif
