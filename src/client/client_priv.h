/* What client.c and client_stream.c share: the client and its endpoints. */
#ifndef CLIENT_CLIENT_PRIV_H
#define CLIENT_CLIENT_PRIV_H

#include "client/client.h"
#include "client/client_stream.h"
#include "net/grpc_client.h"

/* One endpoint and its connection. */
struct remote {
    struct client *client;
    struct endpoint endpoint;
    struct grpc_conn *conn; /* NULL only before the first dial and in client_free() */
    struct timer redial;
    uint64_t pause_ns; /* before the next dial */
    bool is_up;
    struct errbuf why; /* why not */
};

struct client {
    struct env *env;
    struct loop *loop;
    const struct log *log;
    struct arena arena;
    struct remote *remotes;
    size_t count;
    size_t next; /* whose turn it is */
    size_t request_max;
    size_t reply_max;
    uint64_t dial_timeout_ns;
    uint64_t keepalive_ns;
    uint64_t keepalive_timeout_ns;
    const char *username;
    const char *password;
    struct buf token;
    struct list calls;
    struct list streams; /* all that have not ended */
    struct list rpcs;    /* client_rpc.c: all that are under way */
    /* The login in progress. */
    struct client_call login;
    struct buf login_request;
    bool is_logging_in;
    client_login_fn *login_done; /* NULL: only calls wait for it */
    void *login_ctx;
    struct task login_task; /* for one that has nothing to do */
    char target[160];       /* for log lines */
};

/* The revision behind one that a server has told. */
static inline int64_t client__behind(int64_t revision)
{
    return revision < INT64_MAX ? revision + 1 : revision;
}

/* The next endpoint that stands, in turn; NULL when none does. */
struct remote *client__pick(struct client *client);
/* The metadata of every call; the slices live as long as the client's token. */
#define CLIENT_METADATA_MAX 3
size_t client__metadata(const struct client *client, bool with_token,
                        struct grpc_metadata out[CLIENT_METADATA_MAX]);
/* Does this error mean that another token would do? */
bool client__wants_login(const struct client *client, const char *message);
/* Gets a new token, when that is not under way; calls and streams that wait go on then. */
void client__login_start(struct client *client);
/* As clientv3 shows it. Appends; nothing for GRPC_OK. */
void client__error_text(uint32_t status, const char *message, bool is_past, struct buf *out);

/* client_stream.c: an endpoint came up; a login has ended (NULL: well); nobody is told. */
void client__streams_dispatch(struct client *client);
void client__streams_login_ended(struct client *client, const struct client_result *failure);
void client__streams_free(struct client *client);
void client__rpcs_free(struct client *client);

#endif
