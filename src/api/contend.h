/* Contending for a name: what Lock and Campaign have in common.
 *
 * Whoever wants a name puts a key `<name>/<lease in hex>` that hangs on its lease, and holds the
 * name while no key under `<name>/` is older by create revision. So the order is that of arrival,
 * and a holder's number, the create revision, only grows: it fences. A contender waits for its
 * immediate predecessor only; when that is gone it looks again, and only one is woken.
 *
 *   grant (without a lease) -> enter -> [proclaim] -> look <-> wait for the predecessor's end
 *                                                      \-> check that its own key still stands
 *
 * The last step is for a lease that ran out while it waited (etcd issue 11456). Like etcd's these
 * locks are advisory: a holder that is paused longer than its lease lives does not know it.
 *
 * Who gives up while waiting takes its key away again, before the call is finished; unless the
 * server stops: then the client may come again with its lease, and keeps its place.
 *
 * Ownership: one contender a call, in the call's arena; everything it asks for comes back before
 *            the call is finished.
 * Threads:   loop thread only. */
#ifndef API_CONTEND_H
#define API_CONTEND_H

#include "api/rpc_priv.h"

#include "rpc.pb-c.h"
#include "state/watch.h"

/* One request after the other on behalf of a call. */
struct errand {
    struct grpc_call *call;
    struct api *api;
    struct server_request request;
    bool is_out; /* the server has it */
    /* With the answer, or what it was refused with. */
    void (*next)(struct errand *errand, enum status status);
};

void errand_init(struct errand *errand, struct grpc_call *call);
/* The message is a generated struct in the call's arena. */
typedef void errand_next_fn(struct errand *errand, enum status status);
void errand_range(struct errand *errand, const Etcdserverpb__RangeRequest *range,
                  errand_next_fn *next);
void errand_txn(struct errand *errand, const Etcdserverpb__TxnRequest *txn, errand_next_fn *next);
void errand_delete(struct errand *errand, struct slice key, errand_next_fn *next);
/* Decodes the reply into the call's arena. */
void *errand_reply(struct errand *errand, const ProtobufCMessageDescriptor *type);
/* Ends the call as etcd's own client inside the server does: its error is a bare text, and gRPC
 * calls that Unknown. */
void errand_fail(struct grpc_call *call, enum status status);
#define ERRAND_NOT_LEADER "election: not leader"
#define ERRAND_NO_LEADER "election: no leader"
#define ERRAND_NO_LEADER_FIELD "\"leader\" field must be provided"
#define ERRAND_EXPIRED "mutex: session is expired"

/* The cancel() of a call whose data is an errand that is out. */
void errand_cancel(struct grpc_call *call, enum grpc_status why);

/* Messages for them, in the arena. */
struct slice errand_prefix(struct arena *arena, struct slice name); /* "<name>/" */
Etcdserverpb__RangeRequest *errand_first_create(struct arena *arena, struct slice prefix);
/* "create revision of `key` is `rev`", and what is done then. */
Etcdserverpb__TxnRequest *errand_guarded(struct arena *arena, struct slice key, int64_t rev);
void errand_add_put(struct arena *arena, Etcdserverpb__TxnRequest *txn, struct slice key,
                    struct slice value, int64_t lease);
void errand_add_delete(struct arena *arena, Etcdserverpb__TxnRequest *txn, struct slice key);

struct contender {
    struct errand errand;
    /* Set by contend(). */
    struct slice prefix; /* "<name>/" */
    struct slice key;
    struct slice value;
    bool is_election;
    int64_t lease;
    int64_t rev;                          /* the create revision of our key */
    Etcdserverpb__ResponseHeader *header; /* as etcd reports it */
    bool is_ours;                         /* this call has made the key */
    struct rpc_lasting lasting;
    struct watch_stream *stream;
    enum status canceled; /* STATUS_OK: not */
    const char *failure;  /* what the call ends with after the key was taken away */
    /* Won; the call is for this to finish. */
    void (*won)(struct contender *contender);
};

void contend(struct contender *contender, struct grpc_call *call, struct slice name, int64_t lease);
/* The call's cancel(). */
void contend_cancel(struct grpc_call *call, enum grpc_status why);

#endif
