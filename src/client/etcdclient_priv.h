/* What the files of libetcdclient share: the handle, its thread, and what runs on it.
 *
 * Two kinds of things cross from the callers' threads to the handle's:
 *
 *   a task   runs once on the handle's thread, in the order of posting; waited for or not
 *   a call   a task that ends later, with a result or an error: etcd__finish()
 *
 * Everything else in these files belongs to the handle's thread, but for what a monitor guards. */
#ifndef CLIENT_ETCDCLIENT_PRIV_H
#define CLIENT_ETCDCLIENT_PRIV_H

#include "base/mem.h"
#include "client/client_rpc.h"
#include "client/etcdclient.h"
#include "client/keeper.h"
#include "client/watcher.h"
#include "env/posix.h"
#include "env/posix_thread.h"
#include "rpc.pb-c.h"

struct etcd_client {
    struct posix_thread *thread;
    struct posix_monitor *monitor; /* of the queue and of starting */
    struct list queue;             /* of tasks, under the monitor */
    bool has_started;              /* under the monitor */
    struct etcd_error start_error; /* before has_started */
    uint32_t timeout_ms;
    const struct etcd_options *options; /* until has_started */
    /* The handle's thread's. */
    struct env *env;
    struct loop *loop;
    struct client *client;
    struct client_keeper *keeper;
    struct client_watcher *watcher; /* of locks and elections */
    struct hook hook;
    struct list calls; /* under way */
    bool is_closing;
};

static inline struct slice etcd__slice(struct etcd_slice bytes)
{
    return slice_of(bytes.data, bytes.len);
}
static inline struct etcd_slice etcd__public(struct slice bytes)
{
    return etcd_bytes(bytes.data, bytes.len);
}

/* Fills *error (may be NULL); returns the code. */
int etcd__error(struct etcd_error *error, int code, const char *text);
/* The code for a failure of which only clientv3's sentence is known. */
int etcd__code_of(const char *text);
bool etcd__is_current(const struct etcd_client *client);
/* Monotonic, so many milliseconds from now; UINT64_MAX for 0. */
mono_ns etcd__deadline(const struct etcd_client *client, uint32_t timeout_ms);

/* ---- tasks -------------------------------------------------------------------------------- */

struct etcd__task {
    struct list link;
    void (*run)(struct etcd__task *task);
    struct posix_monitor *waiter; /* NULL: nobody waits, and run() may free the task */
    bool is_over;                 /* under the waiter */
};

/* Runs later on the handle's thread, never from inside. */
void etcd__post(struct etcd_client *client, struct etcd__task *task);
/* Posts it and waits for it; on the handle's thread only posts. */
void etcd__post_and_wait(struct etcd_client *client, struct etcd__task *task);

/* ---- calls -------------------------------------------------------------------------------- */

struct etcd__call {
    struct etcd__task task;
    struct list link; /* client->calls */
    struct etcd_client *client;
    void (*start)(struct etcd__call *call);
    /* The handle is being closed: lets go of what is under way. May be NULL. */
    void (*abandon)(struct etcd__call *call);
    /* How it ends: told on the handle's thread, or noted for who waits. */
    void (*done)(struct etcd__call *call); /* NULL: somebody waits */
    struct posix_monitor *waiter;
    bool is_over; /* under the waiter */
    struct etcd_error error;
    struct etcd_result *result; /* NULL: none; whoever is told gets it */
};

void etcd__call_init(struct etcd__call *call, struct etcd_client *client,
                     void (*start)(struct etcd__call *call));
/* Starts it; done() is called later. */
void etcd__call_post(struct etcd__call *call, void (*done)(struct etcd__call *call));
/* Starts it and waits. ETCD_WRONG_THREAD without starting it. */
int etcd__call_wait(struct etcd__call *call, struct etcd_error *error);
/* On the handle's thread, exactly once: the call ends. It may be freed inside. */
void etcd__finish(struct etcd__call *call, int code, const char *text);

/* ---- results ------------------------------------------------------------------------------ */

/* The public form of a reply; NULL: the server has left out what it must send. */
struct etcd_result *etcd__result_new(enum etcd_op_kind kind, const void *reply);
void etcd__kv_set(struct etcd_kv *out, const Mvccpb__KeyValue *kv);
/* The end of the range of all keys that begin with `prefix`, appended; "\0" when there is none. */
void etcd__prefix_end(struct slice prefix, struct buf *out);

#endif
