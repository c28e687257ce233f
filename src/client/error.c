/* Source: etcd's rpctypes, the texts that its client of 3.6 knows (errors.md section 1 has three
 * more, which that client shows with their code), and clientv3's rules of what is safe to send
 * again (section 4). */
#include "client/client.h"

static const char *const etcd_texts[] = {
    "etcdserver: Peer URLs already exists",
    "etcdserver: authentication failed, invalid user ID or password",
    "etcdserver: authentication is not enabled",
    "etcdserver: bad leader transferee",
    "etcdserver: can only promote a learner member",
    "etcdserver: can only promote a learner member which is in sync with leader",
    "etcdserver: cluster ID mismatch",
    "etcdserver: cluster has a downgrade job in progress",
    "etcdserver: cluster version not found during downgrade",
    "etcdserver: corrupt cluster",
    "etcdserver: duplicate key given in txn request",
    "etcdserver: given member URLs are invalid",
    "etcdserver: invalid auth management",
    "etcdserver: invalid auth token",
    "etcdserver: invalid downgrade target version",
    "etcdserver: invalid sort option",
    "etcdserver: key is not provided",
    "etcdserver: key not found",
    "etcdserver: leader changed",
    "etcdserver: lease already exists",
    "etcdserver: lease is provided",
    "etcdserver: member ID already exist",
    "etcdserver: member not found",
    "etcdserver: mvcc: database space exceeded",
    "etcdserver: mvcc: required revision has been compacted",
    "etcdserver: mvcc: required revision is a future revision",
    "etcdserver: no inflight downgrade job",
    "etcdserver: no leader",
    "etcdserver: not capable",
    "etcdserver: not leader",
    "etcdserver: permission denied",
    "etcdserver: permission is not granted to the role",
    "etcdserver: re-configuration failed due to not enough started members",
    "etcdserver: request is too large",
    "etcdserver: request timed out",
    "etcdserver: request timed out, possibly due to connection lost",
    "etcdserver: request timed out, possibly due to previous leader failure",
    "etcdserver: requested lease not found",
    "etcdserver: revision of auth store is old",
    "etcdserver: role is not granted to the user",
    "etcdserver: role name already exists",
    "etcdserver: role name is empty",
    "etcdserver: role name not found",
    "etcdserver: root user does not exist",
    "etcdserver: root user does not have root role",
    "etcdserver: rpc not supported for learner",
    "etcdserver: server stopped",
    "etcdserver: too large lease TTL",
    "etcdserver: too many learner members in cluster",
    "etcdserver: too many operations in txn request",
    "etcdserver: too many requests",
    "etcdserver: unhealthy cluster",
    "etcdserver: user name already exists",
    "etcdserver: user name is empty",
    "etcdserver: user name not found",
    "etcdserver: value is provided",
    "etcdserver: wrong downgrade target version format",
};

bool client_error_is_etcd(const char *message)
{
    size_t low = 0;
    size_t high = ARRAY_LEN(etcd_texts);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(message, etcd_texts[middle]);
        if (order == 0) {
            return true;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return false;
}

void client_error_format(uint32_t status, const char *message, struct buf *out)
{
    buf_printf(out, "rpc error: code = %s desc = ", grpc_status_name(status));
    buf_append_str(out, message);
}

bool client_error_is_retryable(uint32_t status, const char *message, bool is_repeatable,
                               size_t endpoint_count)
{
    if (endpoint_count > 1 && strcmp(message, "etcdserver: rpc not supported for learner") == 0) {
        return true;
    }
    return is_repeatable && status == GRPC_UNAVAILABLE;
}
