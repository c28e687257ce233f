/* Making connections: resolve on the pool, then try each address in turn on the loop.
 *
 *   posix__connect -> resolve (pool) -> resolved -> try_next -> posix__dial_ready -> finish
 *                                                      ^               | failed
 *                                                      +---------------+
 *
 * A canceled dial that is with the pool lives until the pool gives it back. */
#include "base/mem.h"
#include "env/posix_net.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>

struct posix_dial {
    struct dial dial;
    struct posix_net *net;
    struct job job;
    char *host;
    char *port;
    bool is_unix;
    connect_fn *fn;
    void *ctx;
    bool is_resolving; /* with the pool */
    bool is_canceled;
    int failed;             /* of getaddrinfo */
    struct addrinfo *found; /* all addresses */
    struct addrinfo *next;  /* the one to try next */
    struct posix_sock *sock;
    struct errbuf why; /* about the first address that failed, as Go reports it */
};

static struct posix_dial *dial_of_job(struct job *job)
{
    return CONTAINER_OF(job, struct posix_dial, job);
}

static void free_dial(struct posix_dial *dial)
{
    ASSERT(!dial->is_resolving);
    if (dial->found != NULL) {
        freeaddrinfo(dial->found);
    }
    if (dial->sock != NULL) {
        dial->sock->dial = NULL;
        posix__sock_close(dial->sock);
    }
    dial->net->sock_count--;
    mem_free(dial->host);
    mem_free(dial->port);
    mem_free(dial);
}

/* Tells the caller; the dial is gone after it. */
static void finish(struct posix_dial *dial)
{
    struct posix_sock *sock = dial->sock;
    connect_fn *fn = dial->fn;
    void *ctx = dial->ctx;
    struct errbuf why = dial->why;
    if (sock != NULL) {
        sock->dial = NULL;
        dial->sock = NULL;
    }
    free_dial(dial);
    fn(sock == NULL ? NULL : &sock->sock, sock == NULL ? &why : NULL, ctx);
}

static void note_failure(struct posix_dial *dial, const union posix_addr *addr, int errnum)
{
    char reason[128];
    struct sock_addr text;
    if (dial->why.text[0] != '\0') {
        return;
    }
    posix__format_addr(addr, &text);
    errf(&dial->why, ERR_IO, "dial %s %s: connect: %s", dial->is_unix ? "unix" : "tcp", text.text,
         posix__reason(errnum, reason, sizeof(reason)));
}

/* Starts a connection to `addr`: 0 when it is made or being made, else errno. */
static int start_connect(struct posix_dial *dial, const union posix_addr *addr)
{
    int fd = socket(addr->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    dial->sock = posix__sock_new(dial->net, fd, addr->any.sa_family);
    dial->sock->dial = dial;
    int failed = connect(fd, &addr->any, posix__addr_len(addr)) == 0 ? 0 : errno;
    if (failed == 0 || failed == EINPROGRESS || failed == EINTR) {
        posix__sock_watch(dial->sock); /* writable at once when it is made */
        return 0;
    }
    dial->sock->dial = NULL;
    posix__sock_close(dial->sock);
    dial->sock = NULL;
    return failed;
}

static void try_next(struct posix_dial *dial)
{
    while (dial->next != NULL) {
        union posix_addr addr = {0};
        ASSERT(dial->next->ai_addrlen <= sizeof(addr));
        memcpy(&addr, dial->next->ai_addr, dial->next->ai_addrlen);
        int failed = start_connect(dial, &addr);
        if (failed == 0) {
            return;
        }
        note_failure(dial, &addr, failed);
        dial->next = dial->next->ai_next;
    }
    finish(dial);
}

static void try_unix(struct posix_dial *dial)
{
    union posix_addr addr;
    int failed = posix__unix_addr(dial->host, &addr) ? start_connect(dial, &addr) : EINVAL;
    if (failed != 0) {
        note_failure(dial, &addr, failed);
        finish(dial);
    }
}

static void current_addr(const struct posix_dial *dial, union posix_addr *out)
{
    *out = (union posix_addr){0};
    if (dial->is_unix) {
        posix__unix_addr(dial->host, out);
    } else {
        memcpy(out, dial->next->ai_addr, dial->next->ai_addrlen);
    }
}

void posix__dial_ready(struct posix_sock *sock)
{
    struct posix_dial *dial = sock->dial;
    int failed = 0;
    socklen_t len = sizeof(failed);
    if (getsockopt(sock->fd, SOL_SOCKET, SO_ERROR, &failed, &len) != 0) {
        failed = errno;
    }
    if (failed == 0) {
        finish(dial);
        return;
    }
    union posix_addr addr;
    current_addr(dial, &addr);
    note_failure(dial, &addr, failed);
    sock->dial = NULL;
    dial->sock = NULL;
    posix__sock_close(sock);
    if (dial->is_unix) {
        finish(dial);
        return;
    }
    dial->next = dial->next->ai_next;
    try_next(dial);
}

static void resolve(struct job *job)
{
    struct posix_dial *dial = dial_of_job(job);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV,
    };
    if (!dial->is_unix) {
        /* Go takes no host for this machine. */
        dial->failed = getaddrinfo(dial->host[0] == '\0' ? NULL : dial->host, dial->port, &hints,
                                   &dial->found);
    }
}

static void resolved(struct job *job)
{
    struct posix_dial *dial = dial_of_job(job);
    dial->is_resolving = false;
    if (dial->is_canceled) {
        free_dial(dial);
        return;
    }
    if (dial->is_unix) {
        try_unix(dial);
        return;
    }
    if (dial->failed != 0) {
        const char *reason =
            dial->failed == EAI_NONAME ? "no such host" : gai_strerror(dial->failed);
        errf(&dial->why, ERR_NOT_FOUND, "dial tcp: lookup %s: %s", dial->host, reason);
        finish(dial);
        return;
    }
    dial->next = dial->found;
    try_next(dial);
}

struct dial *posix__connect(struct net *base, const char *host, const char *port, connect_fn *fn,
                            void *ctx)
{
    struct posix_net *net = CONTAINER_OF(base, struct posix_net, net);
    struct posix_dial *dial = NEW(struct posix_dial);
    dial->dial.net = base;
    dial->net = net;
    dial->host = mem_strdup(host);
    dial->port = mem_strdup(port);
    dial->is_unix = strcmp(port, "unix") == 0;
    dial->fn = fn;
    dial->ctx = ctx;
    dial->job.run = resolve;
    dial->job.done = resolved;
    dial->is_resolving = true;
    net->sock_count++;
    executor_submit(net->env->env.pool, &dial->job);
    return &dial->dial;
}

void posix__connect_cancel(struct dial *base)
{
    struct posix_dial *dial = CONTAINER_OF(base, struct posix_dial, dial);
    ASSERT(!dial->is_canceled);
    dial->is_canceled = true;
    if (!dial->is_resolving) {
        free_dial(dial);
    }
}
