/* Every path of the gateway and the method behind it. The paths are etcd's own (google.api.http
 * annotations of its services). */
#include "api/gateway_priv.h"

#include "election.pb-c.h"
#include "lock.pb-c.h"
#include "rpc.pb-c.h"

#define KV "/etcdserverpb.KV/"
#define WATCH "/etcdserverpb.Watch/"
#define LEASE "/etcdserverpb.Lease/"
#define CLUSTER "/etcdserverpb.Cluster/"
#define MAINTENANCE "/etcdserverpb.Maintenance/"
#define AUTH "/etcdserverpb.Auth/"
#define LOCK "/v3lockpb.Lock/"
#define ELECTION "/v3electionpb.Election/"

#define ETCD(request, response)                                                                    \
    &etcdserverpb__##request##__descriptor, &etcdserverpb__##response##__descriptor
#define ETCD_PAIR(name) ETCD(name##_request, name##_response)
#define LOCK_PAIR(name)                                                                            \
    &v3lockpb__##name##_request__descriptor, &v3lockpb__##name##_response__descriptor
#define ELECTION_TYPES(request, response)                                                          \
    &v3electionpb__##request##__descriptor, &v3electionpb__##response##__descriptor
#define ELECTION_PAIR(name) ELECTION_TYPES(name##_request, name##_response)

static const struct gateway_row rows[] = {
    {"/v3/kv/range", KV "Range", GRPC_UNARY, ETCD_PAIR(range)},
    {"/v3/kv/put", KV "Put", GRPC_UNARY, ETCD_PAIR(put)},
    {"/v3/kv/deleterange", KV "DeleteRange", GRPC_UNARY, ETCD_PAIR(delete_range)},
    {"/v3/kv/txn", KV "Txn", GRPC_UNARY, ETCD_PAIR(txn)},
    {"/v3/kv/compaction", KV "Compact", GRPC_UNARY, ETCD_PAIR(compaction)},
    {"/v3/watch", WATCH "Watch", GRPC_BIDI, ETCD_PAIR(watch)},
    {"/v3/lease/grant", LEASE "LeaseGrant", GRPC_UNARY, ETCD_PAIR(lease_grant)},
    {"/v3/lease/revoke", LEASE "LeaseRevoke", GRPC_UNARY, ETCD_PAIR(lease_revoke)},
    {"/v3/kv/lease/revoke", LEASE "LeaseRevoke", GRPC_UNARY, ETCD_PAIR(lease_revoke)},
    {"/v3/lease/keepalive", LEASE "LeaseKeepAlive", GRPC_BIDI, ETCD_PAIR(lease_keep_alive)},
    {"/v3/lease/timetolive", LEASE "LeaseTimeToLive", GRPC_UNARY, ETCD_PAIR(lease_time_to_live)},
    {"/v3/kv/lease/timetolive", LEASE "LeaseTimeToLive", GRPC_UNARY, ETCD_PAIR(lease_time_to_live)},
    {"/v3/lease/leases", LEASE "LeaseLeases", GRPC_UNARY, ETCD_PAIR(lease_leases)},
    {"/v3/kv/lease/leases", LEASE "LeaseLeases", GRPC_UNARY, ETCD_PAIR(lease_leases)},
    {"/v3/cluster/member/add", CLUSTER "MemberAdd", GRPC_UNARY, ETCD_PAIR(member_add)},
    {"/v3/cluster/member/remove", CLUSTER "MemberRemove", GRPC_UNARY, ETCD_PAIR(member_remove)},
    {"/v3/cluster/member/update", CLUSTER "MemberUpdate", GRPC_UNARY, ETCD_PAIR(member_update)},
    {"/v3/cluster/member/list", CLUSTER "MemberList", GRPC_UNARY, ETCD_PAIR(member_list)},
    {"/v3/cluster/member/promote", CLUSTER "MemberPromote", GRPC_UNARY, ETCD_PAIR(member_promote)},
    {"/v3/maintenance/alarm", MAINTENANCE "Alarm", GRPC_UNARY, ETCD_PAIR(alarm)},
    {"/v3/maintenance/status", MAINTENANCE "Status", GRPC_UNARY, ETCD_PAIR(status)},
    {"/v3/maintenance/defragment", MAINTENANCE "Defragment", GRPC_UNARY, ETCD_PAIR(defragment)},
    {"/v3/maintenance/hash", MAINTENANCE "Hash", GRPC_UNARY, ETCD_PAIR(hash)},
    {"/v3/maintenance/hashkv", MAINTENANCE "HashKV", GRPC_UNARY,
     ETCD(hash_kvrequest, hash_kvresponse)},
    {"/v3/maintenance/snapshot", MAINTENANCE "Snapshot", GRPC_SERVER_STREAM, ETCD_PAIR(snapshot)},
    {"/v3/maintenance/transfer-leadership", MAINTENANCE "MoveLeader", GRPC_UNARY,
     ETCD_PAIR(move_leader)},
    {"/v3/maintenance/downgrade", MAINTENANCE "Downgrade", GRPC_UNARY, ETCD_PAIR(downgrade)},
    {"/v3/auth/enable", AUTH "AuthEnable", GRPC_UNARY, ETCD_PAIR(auth_enable)},
    {"/v3/auth/disable", AUTH "AuthDisable", GRPC_UNARY, ETCD_PAIR(auth_disable)},
    {"/v3/auth/status", AUTH "AuthStatus", GRPC_UNARY, ETCD_PAIR(auth_status)},
    {"/v3/auth/authenticate", AUTH "Authenticate", GRPC_UNARY, ETCD_PAIR(authenticate)},
    {"/v3/auth/user/add", AUTH "UserAdd", GRPC_UNARY, ETCD_PAIR(auth_user_add)},
    {"/v3/auth/user/get", AUTH "UserGet", GRPC_UNARY, ETCD_PAIR(auth_user_get)},
    {"/v3/auth/user/list", AUTH "UserList", GRPC_UNARY, ETCD_PAIR(auth_user_list)},
    {"/v3/auth/user/delete", AUTH "UserDelete", GRPC_UNARY, ETCD_PAIR(auth_user_delete)},
    {"/v3/auth/user/changepw", AUTH "UserChangePassword", GRPC_UNARY,
     ETCD_PAIR(auth_user_change_password)},
    {"/v3/auth/user/grant", AUTH "UserGrantRole", GRPC_UNARY, ETCD_PAIR(auth_user_grant_role)},
    {"/v3/auth/user/revoke", AUTH "UserRevokeRole", GRPC_UNARY, ETCD_PAIR(auth_user_revoke_role)},
    {"/v3/auth/role/add", AUTH "RoleAdd", GRPC_UNARY, ETCD_PAIR(auth_role_add)},
    {"/v3/auth/role/get", AUTH "RoleGet", GRPC_UNARY, ETCD_PAIR(auth_role_get)},
    {"/v3/auth/role/list", AUTH "RoleList", GRPC_UNARY, ETCD_PAIR(auth_role_list)},
    {"/v3/auth/role/delete", AUTH "RoleDelete", GRPC_UNARY, ETCD_PAIR(auth_role_delete)},
    {"/v3/auth/role/grant", AUTH "RoleGrantPermission", GRPC_UNARY,
     ETCD_PAIR(auth_role_grant_permission)},
    {"/v3/auth/role/revoke", AUTH "RoleRevokePermission", GRPC_UNARY,
     ETCD_PAIR(auth_role_revoke_permission)},
    {"/v3/lock/lock", LOCK "Lock", GRPC_UNARY, LOCK_PAIR(lock)},
    {"/v3/lock/unlock", LOCK "Unlock", GRPC_UNARY, LOCK_PAIR(unlock)},
    {"/v3/election/campaign", ELECTION "Campaign", GRPC_UNARY, ELECTION_PAIR(campaign)},
    {"/v3/election/proclaim", ELECTION "Proclaim", GRPC_UNARY, ELECTION_PAIR(proclaim)},
    {"/v3/election/leader", ELECTION "Leader", GRPC_UNARY, ELECTION_PAIR(leader)},
    {"/v3/election/observe", ELECTION "Observe", GRPC_SERVER_STREAM,
     ELECTION_TYPES(leader_request, leader_response)},
    {"/v3/election/resign", ELECTION "Resign", GRPC_UNARY, ELECTION_PAIR(resign)},
};

const struct gateway_row *gateway__find(struct slice path)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (slice_eq_str(path, rows[i].http_path)) {
            return &rows[i];
        }
    }
    return NULL;
}
