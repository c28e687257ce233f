/* Stream sockets over uv_poll: connected sockets and listeners. posix_dial.c makes connections.
 *
 * Interest is lazy: sock_want_*() only marks the socket dirty, and posix__net_flush() tells uv_poll
 * what has really changed before the next poll, because each change costs two system calls. */
#include "env/posix_net.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPT_BATCH 64      /* connections taken from one listener in one poll */
#define FD_NEAR 16           /* so far below the limit no more than the number is looked at */
#define FD_RESERVE 32        /* descriptors that connections leave to files and peers */
#define ACCEPT_RETRY_MS 100  /* after running out of descriptors */
#define KEEPALIVE_SECONDS 15 /* as Go's net package: idle time and interval */

/* ---- words ------------------------------------------------------------------------------- */

const char *posix__reason(int errnum, char *out, size_t cap)
{
    char reason[128];
    snprintf(out, cap, "%s", strerror_r(errnum, reason, sizeof(reason)));
    out[0] = (char)tolower((unsigned char)out[0]);
    return out;
}

enum err posix__net_err(int errnum)
{
    switch (errnum) {
    case EADDRINUSE:
        return ERR_EXISTS;
    case EINVAL:
    case EADDRNOTAVAIL:
        return ERR_INVALID;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return err_from_errno(NULL, errnum, "", "");
    }
}

/* As Go prints it: an IPv4 address mapped into IPv6 is an IPv4 address. */
static void format_in6(const struct sockaddr_in6 *addr, struct sock_addr *out)
{
    char ip[INET6_ADDRSTRLEN];
    char zone[IF_NAMESIZE];
    unsigned port = ntohs(addr->sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&addr->sin6_addr)) {
        inet_ntop(AF_INET, &addr->sin6_addr.s6_addr[12], ip, sizeof(ip));
        snprintf(out->text, sizeof(out->text), "%s:%u", ip, port);
        return;
    }
    inet_ntop(AF_INET6, &addr->sin6_addr, ip, sizeof(ip));
    if (addr->sin6_scope_id != 0 && if_indextoname(addr->sin6_scope_id, zone) != NULL) {
        snprintf(out->text, sizeof(out->text), "[%s%%%s]:%u", ip, zone, port);
    } else {
        snprintf(out->text, sizeof(out->text), "[%s]:%u", ip, port);
    }
}

void posix__format_addr(const union posix_addr *addr, struct sock_addr *out)
{
    char ip[INET_ADDRSTRLEN];
    switch (addr->any.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &addr->in.sin_addr, ip, sizeof(ip));
        snprintf(out->text, sizeof(out->text), "%s:%u", ip, ntohs(addr->in.sin_port));
        break;
    case AF_INET6:
        format_in6(&addr->in6, out);
        break;
    default:
        snprintf(out->text, sizeof(out->text), "%.*s", (int)sizeof(addr->un.sun_path),
                 addr->un.sun_path);
        break;
    }
}

socklen_t posix__addr_len(const union posix_addr *addr)
{
    switch (addr->any.sa_family) {
    case AF_INET:
        return sizeof(addr->in);
    case AF_INET6:
        return sizeof(addr->in6);
    default:
        return sizeof(addr->un);
    }
}

bool posix__unix_addr(const char *path, union posix_addr *out)
{
    *out = (union posix_addr){.un = {.sun_family = AF_UNIX}};
    if (strlen(path) >= sizeof(out->un.sun_path)) {
        return false;
    }
    memcpy(out->un.sun_path, path, strlen(path) + 1);
    return true;
}

/* ---- connected sockets --------------------------------------------------------------------- */

static struct posix_sock *sock_of(struct sock *sock)
{
    return CONTAINER_OF(sock, struct posix_sock, sock);
}

static int wanted_events(const struct posix_sock *sock)
{
    if (sock->dial != NULL) {
        return UV_WRITABLE;
    }
    return (sock->want_read && sock->handler != NULL ? UV_READABLE : 0) |
           (sock->want_write && sock->handler != NULL ? UV_WRITABLE : 0);
}

static void mark_dirty(struct posix_sock *sock)
{
    if (wanted_events(sock) != sock->armed && list_empty(&sock->dirty)) {
        list_add_tail(&sock->net->dirty, &sock->dirty);
    }
}

/* libuv stops polling and reports a bad descriptor where epoll says EPOLLERR: whoever waits is told
 * to read or write, and learns the reason there. */
static void sock_ready(uv_poll_t *poll, int status, int events)
{
    struct posix_sock *sock = CONTAINER_OF(poll, struct posix_sock, poll);
    posix__awake(sock->net->env);
    if (status < 0) {
        sock->armed = 0;
        events = UV_READABLE | UV_WRITABLE;
    }
    if (sock->dial != NULL) {
        posix__dial_ready(sock);
        return;
    }
    if ((events & UV_READABLE) != 0 && sock->want_read && !sock->is_closed) {
        sock->net->env->input_count++;
        sock->handler->readable(&sock->sock, sock->ctx);
    }
    if ((events & UV_WRITABLE) != 0 && sock->want_write && !sock->is_closed) {
        sock->handler->writable(&sock->sock, sock->ctx);
    }
    if (!sock->is_closed) {
        mark_dirty(sock);
    }
}

static void arm(struct posix_sock *sock)
{
    int events = wanted_events(sock);
    if (events == sock->armed) {
        return;
    }
    int failed =
        events == 0 ? uv_poll_stop(&sock->poll) : uv_poll_start(&sock->poll, events, sock_ready);
    ASSERT(failed == 0);
    sock->armed = events;
}

void posix__net_flush(struct posix_net *net)
{
    for (struct list *node = list_pop(&net->dirty); node != NULL; node = list_pop(&net->dirty)) {
        arm(CONTAINER_OF(node, struct posix_sock, dirty));
    }
}

/* Failures mean a socket that is already dead, which the first read will tell. */
static void tune_tcp(int fd)
{
    int on = 1;
    int seconds = KEEPALIVE_SECONDS;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
}

static const struct net_ops posix_net_ops;

struct posix_sock *posix__sock_new(struct posix_net *net, int fd, int family)
{
    struct posix_sock *sock = NEW(struct posix_sock);
    sock->sock.net = &net->net;
    sock->net = net;
    sock->fd = fd;
    sock->want_read = true;
    list_init(&sock->dirty);
    if (family != AF_UNIX) {
        tune_tcp(fd);
    }
    int failed = uv_poll_init(&net->env->uv, &sock->poll, fd);
    if (failed != 0) {
        fatal("cannot watch a socket: %s", uv_strerror(failed));
    }
    net->sock_count++;
    return sock;
}

void posix__sock_watch(struct posix_sock *sock)
{
    mark_dirty(sock);
}

static void sock_gone(uv_handle_t *handle)
{
    mem_free(CONTAINER_OF((uv_poll_t *)handle, struct posix_sock, poll));
}

static void resume_starved(struct posix_net *net);

void posix__sock_close(struct posix_sock *sock)
{
    ASSERT(!sock->is_closed);
    sock->is_closed = true;
    list_del(&sock->dirty);
    uv_close((uv_handle_t *)&sock->poll, sock_gone);
    close(sock->fd);
    sock->fd = -1;
    sock->net->sock_count--;
    resume_starved(sock->net);
}

static void close_sock(struct sock *sock)
{
    posix__sock_close(sock_of(sock));
}

static void set_handler(struct sock *base, const struct sock_handler *handler, void *ctx)
{
    struct posix_sock *sock = sock_of(base);
    sock->handler = handler;
    sock->ctx = ctx;
    mark_dirty(sock);
}

static enum err read_sock(struct sock *sock, void *data, size_t len, size_t *n_out)
{
    ssize_t got;
    do {
        got = recv(sock_of(sock)->fd, data, len, 0);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        *n_out = (size_t)got;
        return ERR_OK;
    }
    if (got == 0) {
        return ERR_EOF;
    }
    return errno == EAGAIN ? ERR_AGAIN : ERR_CLOSED;
}

/* sendmsg takes our iov as it is. */
_Static_assert(sizeof(struct iov) == sizeof(struct iovec), "struct iov is struct iovec");
_Static_assert(offsetof(struct iov, data) == offsetof(struct iovec, iov_base), "iov_base");
_Static_assert(offsetof(struct iov, len) == offsetof(struct iovec, iov_len), "iov_len");

static enum err writev_sock(struct sock *sock, const struct iov *iov, size_t count, size_t *n_out)
{
    struct msghdr message = {
        .msg_iov = (struct iovec *)(uintptr_t)iov,
        .msg_iovlen = count < IOV_MAX ? count : IOV_MAX,
    };
    ssize_t put;
    do {
        put = sendmsg(sock_of(sock)->fd, &message, MSG_NOSIGNAL);
    } while (put < 0 && errno == EINTR);
    if (put >= 0) {
        *n_out = (size_t)put;
        return ERR_OK;
    }
    return errno == EAGAIN ? ERR_AGAIN : ERR_CLOSED;
}

static void want_read(struct sock *base, bool wanted)
{
    struct posix_sock *sock = sock_of(base);
    sock->want_read = wanted;
    mark_dirty(sock);
}

static void want_write(struct sock *base, bool wanted)
{
    struct posix_sock *sock = sock_of(base);
    ASSERT(!wanted || sock->handler == NULL || sock->handler->writable != NULL);
    sock->want_write = wanted;
    mark_dirty(sock);
}

static void shutdown_sock(struct sock *sock)
{
    shutdown(sock_of(sock)->fd, SHUT_WR);
}

/* ---- listeners --------------------------------------------------------------------------- */

struct posix_listener {
    struct listener listener;
    struct posix_net *net;
    uv_poll_t poll;
    int fd;
    accept_fn *accept;
    void *ctx;
    struct list starved; /* of net->starved */
    bool is_paused;
    bool is_closed;
    union posix_addr addr; /* what it is bound to */
};

static struct posix_listener *listener_of(const struct listener *listener)
{
    return CONTAINER_OF((struct listener *)(uintptr_t)listener, struct posix_listener, listener);
}

static void listener_ready(uv_poll_t *poll, int status, int events);

/* Accepts exactly while it is neither paused nor starved. */
static void listener_arm(struct posix_listener *listener)
{
    bool is_on = !listener->is_paused && list_empty(&listener->starved);
    int failed = is_on ? uv_poll_start(&listener->poll, UV_READABLE, listener_ready)
                       : uv_poll_stop(&listener->poll);
    ASSERT(failed == 0);
}

static void retry_accept(uv_timer_t *timer)
{
    struct posix_net *net = CONTAINER_OF(timer, struct posix_net, retry);
    posix__awake(net->env);
    resume_starved(net);
}

static void resume_starved(struct posix_net *net)
{
    for (struct list *node = list_pop(&net->starved); node != NULL;
         node = list_pop(&net->starved)) {
        listener_arm(CONTAINER_OF(node, struct posix_listener, starved));
    }
    uv_timer_stop(&net->retry);
}

/* Out of descriptors: waits until a socket of ours closes, or a little. */
static void starve(struct posix_listener *listener)
{
    struct posix_net *net = listener->net;
    if (list_empty(&listener->starved)) {
        list_add_tail(&net->starved, &listener->starved);
        listener_arm(listener);
    }
    uv_timer_start(&net->retry, retry_accept, ACCEPT_RETRY_MS, 0);
}

/* Near the limit it is looked before a connection is taken: one that waits is better off than one
 * that is taken and closed. */
static bool has_descriptor(struct posix_listener *listener)
{
    struct posix_net *net = listener->net;
    if (!net->is_short) {
        return true;
    }
    int probe = fcntl(listener->fd, F_DUPFD_CLOEXEC, 0);
    if (probe < 0) {
        return false;
    }
    close(probe);
    net->is_short = (unsigned)probe + FD_NEAR >= net->fd_limit;
    return (unsigned)probe < net->fd_limit;
}

/* One connection; false when there is none left or none can be taken now. */
static bool accept_one(struct posix_listener *listener)
{
    struct posix_net *net = listener->net;
    if (!has_descriptor(listener)) {
        starve(listener);
        return false;
    }
    union posix_addr peer = {.any = {.sa_family = AF_UNIX}};
    socklen_t len = sizeof(peer);
    int fd = accept4(listener->fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            net->is_short = true;
            starve(listener);
            return false;
        }
        /* accept(2): a network error of the new connection; the next one may be well. */
        return errno != EAGAIN && errno != EBADF && errno != EINVAL;
    }
    net->is_short = (unsigned)fd + FD_NEAR >= net->fd_limit;
    if ((unsigned)fd >= net->fd_limit) {
        close(fd);
        starve(listener);
        return false;
    }
    struct posix_sock *sock = posix__sock_new(net, fd, listener->addr.any.sa_family);
    struct sock_addr addr;
    posix__format_addr(&peer, &addr);
    listener->accept(&sock->sock, &addr, listener->ctx);
    return true;
}

static void listener_ready(uv_poll_t *poll, int status, int events)
{
    struct posix_listener *listener = CONTAINER_OF(poll, struct posix_listener, poll);
    posix__awake(listener->net->env);
    for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
        if (listener->is_closed || listener->is_paused || !accept_one(listener)) {
            break;
        }
    }
    if (status < 0 && !listener->is_closed) {
        listener_arm(listener);
    }
}

void posix__place(const char *host, const char *port, bool is_unix, char *out, size_t cap)
{
    if (is_unix) {
        snprintf(out, cap, "unix %s", host);
    } else if (strchr(host, ':') != NULL) {
        snprintf(out, cap, "tcp [%s]:%s", host, port);
    } else {
        snprintf(out, cap, "tcp %s:%s", host, port);
    }
}

static enum err listen_failed(struct errbuf *why, int errnum, const char *step, const char *place)
{
    char reason[128];
    return errf(why, posix__net_err(errnum), "listen %s: %s: %s", place, step,
                posix__reason(errnum, reason, sizeof(reason)));
}

static bool is_wildcard(const union posix_addr *addr)
{
    return addr->any.sa_family == AF_INET
               ? addr->in.sin_addr.s_addr == htonl(INADDR_ANY)
               : addr->any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&addr->in6.sin6_addr);
}

static bool has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    union posix_addr addr = {.in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT}};
    bool bound = bind(fd, &addr.any, sizeof(addr.in6)) == 0;
    close(fd);
    return bound;
}

/* Fills in the one address to bind, preferring IPv4 where a name has both, as Go does. */
static enum err resolve_local(const char *host, const char *port, const char *place,
                              union posix_addr *out, struct errbuf *why)
{
    struct addrinfo *found = NULL;
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
    };
    int failed = getaddrinfo(host[0] == '\0' ? NULL : host, port, &hints, &found);
    if (failed != 0) {
        return errf(why, ERR_INVALID, "listen tcp: lookup %s: no such host", host);
    }
    struct addrinfo *chosen = found;
    for (struct addrinfo *info = found; info != NULL; info = info->ai_next) {
        if (info->ai_family == AF_INET) {
            chosen = info;
            break;
        }
    }
    memset(out, 0, sizeof(*out));
    memcpy(out, chosen->ai_addr, chosen->ai_addrlen);
    freeaddrinfo(found);
    /* Go's listener on every address is one socket for both families. */
    if (is_wildcard(out) && has_ipv6()) {
        in_port_t bound = out->any.sa_family == AF_INET ? out->in.sin_port : out->in6.sin6_port;
        *out = (union posix_addr){.in6 = {.sin6_family = AF_INET6, .sin6_port = bound}};
    }
    return ERR_OK;
}

bool posix__port_valid(const char *port)
{
    uint64_t number;
    return slice_to_u64(slice_str(port), &number) == ERR_OK && number <= 65535;
}

/* A socket file that another run has left; anything else there stays and makes bind fail. */
static void remove_stale(const char *path)
{
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISSOCK(info.st_mode)) {
        unlink(path);
    }
}

static enum err find_place(const char *host, const char *port, bool is_unix, const char *place,
                           union posix_addr *out, struct errbuf *why)
{
    if (is_unix) {
        if (!posix__unix_addr(host, out)) {
            return errf(why, ERR_INVALID, "listen %s: bind: invalid argument", place);
        }
        remove_stale(host);
        return ERR_OK;
    }
    if (!posix__port_valid(port)) {
        return errf(why, ERR_INVALID, "listen tcp: address %s: invalid port", port);
    }
    return resolve_local(host, port, place, out, why);
}

static void set_listen_options(int fd, const union posix_addr *addr,
                               const struct listen_options *options)
{
    int on = 1;
    int off = 0;
    if (addr->any.sa_family == AF_UNIX) {
        return;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (options->reuse_port) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    }
    if (addr->any.sa_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_wildcard(addr) ? &off : &on, sizeof(on));
    }
}

/* A socket bound to `addr` and listening. */
static enum err bind_place(const union posix_addr *addr, const struct listen_options *options,
                           const char *place, int *out, struct errbuf *why)
{
    int fd = socket(addr->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return listen_failed(why, errno, "socket", place);
    }
    set_listen_options(fd, addr, options);
    enum err err = ERR_OK;
    if (bind(fd, &addr->any, posix__addr_len(addr)) != 0) {
        err = listen_failed(why, errno, "bind", place);
    } else if (listen(fd, options->backlog > 0 ? options->backlog : INT_MAX) != 0) {
        err = listen_failed(why, errno, "listen", place);
    }
    if (err != ERR_OK) {
        close(fd);
        return err;
    }
    *out = fd;
    return ERR_OK;
}

static enum err listen_on(struct net *base, const char *host, const char *port,
                          const struct listen_options *options, accept_fn *accept, void *ctx,
                          struct listener **out, struct errbuf *why)
{
    struct posix_net *net = CONTAINER_OF(base, struct posix_net, net);
    bool is_unix = strcmp(port, "unix") == 0;
    char place[320];
    posix__place(host, port, is_unix, place, sizeof(place));
    union posix_addr addr;
    int fd = -1;
    TRY(find_place(host, port, is_unix, place, &addr, why));
    TRY(bind_place(&addr, options, place, &fd, why));

    struct posix_listener *listener = NEW(struct posix_listener);
    listener->listener.net = base;
    listener->net = net;
    listener->fd = fd;
    listener->accept = accept;
    listener->ctx = ctx;
    listener->addr = addr;
    list_init(&listener->starved);
    socklen_t len = sizeof(listener->addr);
    getsockname(fd, &listener->addr.any, &len);
    int failed = uv_poll_init(&net->env->uv, &listener->poll, fd);
    if (failed != 0) {
        fatal("cannot watch a listening socket: %s", uv_strerror(failed));
    }
    net->sock_count++;
    listener_arm(listener);
    *out = &listener->listener;
    return ERR_OK;
}

static void listener_gone(uv_handle_t *handle)
{
    mem_free(CONTAINER_OF((uv_poll_t *)handle, struct posix_listener, poll));
}

static void close_listener(struct listener *base)
{
    struct posix_listener *listener = listener_of(base);
    ASSERT(!listener->is_closed);
    listener->is_closed = true;
    list_del(&listener->starved);
    uv_close((uv_handle_t *)&listener->poll, listener_gone);
    close(listener->fd);
    if (listener->addr.any.sa_family == AF_UNIX) {
        unlink(listener->addr.un.sun_path);
    }
    listener->net->sock_count--;
}

static void pause_listener(struct listener *base, bool paused)
{
    struct posix_listener *listener = listener_of(base);
    if (listener->is_paused != paused) {
        listener->is_paused = paused;
        listener_arm(listener);
    }
}

static void addr_of_listener(const struct listener *listener, struct sock_addr *out)
{
    posix__format_addr(&listener_of(listener)->addr, out);
}

/* ---- life cycle ---------------------------------------------------------------------------- */

static const struct net_ops posix_net_ops = {
    .listen = listen_on,
    .listener_close = close_listener,
    .listener_pause = pause_listener,
    .listener_addr = addr_of_listener,
    .connect = posix__connect,
    .connect_cancel = posix__connect_cancel,
    .set_handler = set_handler,
    .read = read_sock,
    .writev = writev_sock,
    .want_read = want_read,
    .want_write = want_write,
    .shutdown = shutdown_sock,
    .close = close_sock,
};

void posix__net_init(struct posix_net *net, struct posix_env *env)
{
    net->net.ops = &posix_net_ops;
    net->env = env;
    list_init(&net->dirty);
    list_init(&net->starved);
    uv_timer_init(&env->uv, &net->retry);
    struct rlimit limit;
    net->fd_limit = UINT_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < UINT_MAX) {
        net->fd_limit = (unsigned)(limit.rlim_cur > 2 * FD_RESERVE ? limit.rlim_cur - FD_RESERVE
                                                                   : limit.rlim_cur);
    }
}

void posix__net_fini(struct posix_net *net)
{
    ASSERT(net->sock_count == 0);
    uv_close((uv_handle_t *)&net->retry, NULL);
}
