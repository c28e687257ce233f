/* Shared by posix_net.c and posix_dial.c only. */
#ifndef ENV_POSIX_NET_H
#define ENV_POSIX_NET_H

#include "env/posix_priv.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

union posix_addr {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

struct posix_dial;

/* A connected socket, or one on its way to be: then `dial` is whose it is. */
struct posix_sock {
    struct sock sock;
    struct posix_net *net;
    uv_poll_t poll;
    int fd;
    const struct sock_handler *handler; /* NULL at birth */
    void *ctx;
    struct posix_dial *dial;
    struct list dirty; /* of net->dirty */
    int armed;         /* what uv_poll watches now */
    bool want_read;
    bool want_write;
    bool is_closed; /* freed when libuv lets go of it */
};

struct posix_sock *posix__sock_new(struct posix_net *net, int fd, int family);
/* Has the next poll watch for what is wanted. */
void posix__sock_watch(struct posix_sock *sock);
void posix__sock_close(struct posix_sock *sock);

/* strerror with a small first letter, as Go prints it. */
const char *posix__reason(int errnum, char *out, size_t cap);
enum err posix__net_err(int errnum);
void posix__format_addr(const union posix_addr *addr, struct sock_addr *out);
socklen_t posix__addr_len(const union posix_addr *addr);
bool posix__unix_addr(const char *path, union posix_addr *out); /* false: too long */
bool posix__port_valid(const char *port);
/* "tcp host:port" or "unix path", for sentences. */
void posix__place(const char *host, const char *port, bool is_unix, char *out, size_t cap);

struct dial *posix__connect(struct net *net, const char *host, const char *port, connect_fn *fn,
                            void *ctx);
void posix__connect_cancel(struct dial *dial);
/* The system has decided about the connection of sock->dial. */
void posix__dial_ready(struct posix_sock *sock);

#endif
