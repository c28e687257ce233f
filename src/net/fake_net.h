/* An env without a system, for fuzz targets and benches: a clock that moves when told, one
 * listener, one connection being made, sockets that are two buffers. Not for production.
 *
 * Threads: one. */
#ifndef NET_FAKE_NET_H
#define NET_FAKE_NET_H

#include "env/env.h"

struct fake_env;
struct fake_sock;

struct env *fake_env_new(void);
void fake_env_free(struct env **env); /* every socket must be freed, the listener closed */
void fake_env_advance(struct env *env, uint64_t ns);

/* Connects to the listener; the result belongs to the caller. */
struct fake_sock *fake_connect(struct env *env);
/* Lets net_connect() succeed, which must have been called; the result belongs to the caller. */
struct fake_sock *fake_accept(struct env *env);
void fake_sock_free(struct fake_sock **sock); /* the other side must be closed */
void fake_sock_send(struct fake_sock *sock, struct slice bytes);
void fake_sock_end(struct fake_sock *sock);           /* our end: EOF */
void fake_sock_reset(struct fake_sock *sock);         /* reads and writes fail from now on */
struct buf *fake_sock_output(struct fake_sock *sock); /* what the other side has written */
bool fake_sock_closed(const struct fake_sock *sock);
/* How many bytes a write takes; 0: the socket is full. SIZE_MAX at first. */
void fake_sock_room(struct fake_sock *sock, size_t len);

#endif
