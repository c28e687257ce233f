/* Checks on KV requests that need no state: what etcd refuses before it proposes anything.
 *
 * Threads: pure functions. */
#ifndef API_CHECK_H
#define API_CHECK_H

#include "server/status.h"

#include "rpc.pb-c.h"

enum status check_range(const Etcdserverpb__RangeRequest *request);
enum status check_put(const Etcdserverpb__PutRequest *request);
enum status check_delete_range(const Etcdserverpb__DeleteRangeRequest *request);
/* `ops_max`: --max-txn-ops. The depth of nesting was bounded when the message was decoded. */
enum status check_txn(const Etcdserverpb__TxnRequest *request, size_t ops_max);

/* Whether any branch at any depth writes. */
bool txn_is_write(const Etcdserverpb__TxnRequest *request);
/* Whether every Range inside is serializable, so that no read index is needed. */
bool txn_is_serializable(const Etcdserverpb__TxnRequest *request);

#endif
