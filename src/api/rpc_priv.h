/* What rpc.c's table and unary calls share with the files of single services (rpc_*.c).
 *
 * A service whose methods are all unary needs rows with a prepare function in rpc.c and nothing
 * else. A stream, or a call that asks the server more than once, brings a grpc_handler of its own
 * in a file of its own; its row names that handler.
 *
 * Threads: loop thread only. */
#ifndef API_RPC_PRIV_H
#define API_RPC_PRIV_H

#include "api/api_priv.h"

#include "codec/pb.h"

/* Checks the decoded message and says what kind of request it is. */
typedef enum status rpc_prepare_fn(struct api *api, const void *message,
                                   struct server_request *request);

/* One method of etcd. Either `type` and `prepare` (unary, one request to the server), or `handler`;
 * without both it is answered "not built yet". */
struct rpc_method {
    const char *service;
    const char *name;
    enum grpc_kind kind;
    const ProtobufCMessageDescriptor *type;
    rpc_prepare_fn *prepare;
    const struct grpc_handler *handler;
};

struct api *rpc__api(const struct grpc_call *call);
const struct rpc_method *rpc__method(const struct grpc_call *call);
struct rpc_counters *rpc__counters(const struct grpc_call *call);

/* The call's first event: counts it as started, and checks the metadata that every call may carry
 * (client-api-version, hasleader); no stream begins during a stop. Not STATUS_OK: for
 * rpc__finish_status(). */
enum status rpc__start(struct grpc_call *call);
/* Counts a message received and decodes it into `arena`. False: the call has been finished with
 * grpc-go's words. */
bool rpc__decode(struct grpc_call *call, struct arena *arena,
                 const ProtobufCMessageDescriptor *type, struct slice bytes, void *message_out);
/* Count and end the call; it must not be touched afterwards. `text` may be NULL. */
void rpc__finish(struct grpc_call *call, enum grpc_status status, const char *text);
void rpc__finish_status(struct grpc_call *call, enum status status);
/* Counts and sends the only message of a call, and ends it with GRPC_OK. */
void rpc__reply(struct grpc_call *call, struct slice message);

/* rpc_snapshot.c: Maintenance.Snapshot */
#define SNAPSHOT_STREAMS_MAX 16
extern const struct grpc_handler rpc__snapshot_handler;

/* rpc_lasting.c: a call that may go on for ever: when the process is about to stop
 * (STATUS_STOPPED), and for a stream that asked for a leader (hasleader) when there has been none
 * for a while (STATUS_NO_LEADER), stop() is called, which ends it or sees to it that it ends.
 * Embed; zeroed is as good as ended. */
struct rpc_lasting;
typedef void rpc_stop_fn(struct rpc_lasting *lasting, enum status why);
struct rpc_lasting {
    struct list link;
    struct api *api;
    rpc_stop_fn *stop;
    bool needs_leader;
};
void rpc__lasting_begin(struct grpc_call *call, struct rpc_lasting *lasting, rpc_stop_fn *stop);
void rpc__lasting_end(struct rpc_lasting *lasting);
/* Its metadata say that it is to be served only while the member knows a leader. */
bool rpc__needs_leader(const struct grpc_call *call);

/* rpc_lock.c, rpc_election.c, rpc_observe.c */
extern const struct grpc_handler rpc__lock_handler, rpc__unlock_handler;
extern const struct grpc_handler rpc__campaign_handler, rpc__proclaim_handler;
extern const struct grpc_handler rpc__leader_handler, rpc__resign_handler, rpc__observe_handler;
/* rpc_lease.c: the stream of renewals */
extern const struct grpc_handler rpc__lease_keep_alive_handler;

/* rpc_watch.c */
extern const struct grpc_handler rpc__watch_handler;

/* rpc_health.c: grpc.health.v1.Health */
extern const struct rpc_method rpc__health_methods[];
extern const size_t rpc__health_method_count;

#endif
