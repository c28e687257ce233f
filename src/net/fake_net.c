#include "net/fake_net.h"

#include "base/mem.h"

struct fake_sock {
    struct sock sock;
    struct fake_env *world;
    struct list link;
    const struct sock_handler *handler;
    void *ctx;
    struct buf input;
    size_t input_at;
    struct buf output;
    size_t room;
    bool wants_read;
    bool wants_write;
    bool at_end;
    bool is_reset;
    bool is_closed;
};

struct fake_env {
    struct env env;
    struct net net;
    struct listener listener;
    accept_fn *accept;
    void *accept_ctx;
    struct dial dial;
    connect_fn *dial_done; /* NULL: nobody waits */
    void *dial_ctx;
    struct list socks;
    mono_ns now;
    uint64_t seed;
};

static struct fake_env *world_of(struct env *env)
{
    return CONTAINER_OF(env, struct fake_env, env);
}

static struct fake_sock *fake_of(struct sock *sock)
{
    return CONTAINER_OF(sock, struct fake_sock, sock);
}

/* ---- net ------------------------------------------------------------------------------------- */

static enum err fake_listen(struct net *net, const char *host, const char *port,
                            const struct listen_options *options, accept_fn *accept, void *ctx,
                            struct listener **out, struct errbuf *why)
{
    struct fake_env *world = CONTAINER_OF(net, struct fake_env, net);
    UNUSED(host);
    UNUSED(port);
    UNUSED(options);
    UNUSED(why);
    world->accept = accept;
    world->accept_ctx = ctx;
    world->listener.net = net;
    *out = &world->listener;
    return ERR_OK;
}

static void fake_listener_close(struct listener *listener)
{
    CONTAINER_OF(listener, struct fake_env, listener)->accept = NULL;
}

static struct dial *fake_dial(struct net *net, const char *host, const char *port, connect_fn *fn,
                              void *ctx)
{
    struct fake_env *world = CONTAINER_OF(net, struct fake_env, net);
    UNUSED(host);
    UNUSED(port);
    ASSERT(world->dial_done == NULL);
    world->dial.net = net;
    world->dial_done = fn;
    world->dial_ctx = ctx;
    return &world->dial;
}

static void fake_dial_cancel(struct dial *dial)
{
    CONTAINER_OF(dial, struct fake_env, dial)->dial_done = NULL;
}

static void fake_set_handler(struct sock *sock, const struct sock_handler *handler, void *ctx)
{
    fake_of(sock)->handler = handler;
    fake_of(sock)->ctx = ctx;
}

static enum err fake_read(struct sock *sock, void *data, size_t len, size_t *n_out)
{
    struct fake_sock *fake = fake_of(sock);
    if (fake->is_reset) {
        return ERR_CLOSED;
    }
    size_t left = fake->input.len - fake->input_at;
    if (left == 0) {
        return fake->at_end ? ERR_EOF : ERR_AGAIN;
    }
    size_t part = left < len ? left : len;
    memcpy(data, fake->input.data + fake->input_at, part);
    fake->input_at += part;
    *n_out = part;
    if (fake->input_at == fake->input.len) {
        buf_reset(&fake->input);
        fake->input_at = 0;
    }
    return ERR_OK;
}

static enum err fake_writev(struct sock *sock, const struct iov *iov, size_t count, size_t *n_out)
{
    struct fake_sock *fake = fake_of(sock);
    if (fake->is_reset) {
        return ERR_CLOSED;
    }
    if (fake->room == 0) {
        return ERR_AGAIN;
    }
    size_t total = 0;
    for (size_t i = 0; i < count && total < fake->room; i++) {
        size_t part = iov[i].len < fake->room - total ? iov[i].len : fake->room - total;
        buf_append(&fake->output, iov[i].data, part);
        total += part;
    }
    *n_out = total;
    return ERR_OK;
}

static void fake_want_read(struct sock *sock, bool wanted)
{
    fake_of(sock)->wants_read = wanted;
}

static void fake_want_write(struct sock *sock, bool wanted)
{
    fake_of(sock)->wants_write = wanted;
}

static void fake_shutdown(struct sock *sock)
{
    UNUSED(sock);
}

static void fake_close(struct sock *sock)
{
    struct fake_sock *fake = fake_of(sock);
    ASSERT(!fake->is_closed);
    fake->is_closed = true;
    list_del(&fake->link);
}

static const struct net_ops net_ops = {
    .listen = fake_listen,
    .listener_close = fake_listener_close,
    .connect = fake_dial,
    .connect_cancel = fake_dial_cancel,
    .set_handler = fake_set_handler,
    .read = fake_read,
    .writev = fake_writev,
    .want_read = fake_want_read,
    .want_write = fake_want_write,
    .shutdown = fake_shutdown,
    .close = fake_close,
};

/* ---- env ------------------------------------------------------------------------------------- */

static mono_ns fake_now_mono(struct env *env)
{
    return world_of(env)->now;
}

static wall_ns fake_now_wall(struct env *env)
{
    return (wall_ns)world_of(env)->now;
}

static void fake_random(struct env *env, void *out, size_t len)
{
    uint8_t *bytes = out;
    for (size_t i = 0; i < len; i++) {
        world_of(env)->seed = world_of(env)->seed * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (uint8_t)(world_of(env)->seed >> 56);
    }
}

static void fake_poll(struct env *env, mono_ns until)
{
    struct fake_env *world = world_of(env);
    UNUSED(until);
    env->woken_at = world->now;
    LIST_FOR_EACH (&world->socks, node) {
        struct fake_sock *fake = CONTAINER_OF(node, struct fake_sock, link);
        bool has_input = fake->input.len > fake->input_at || fake->at_end || fake->is_reset;
        if (fake->wants_read && has_input) {
            fake->handler->readable(&fake->sock, fake->ctx);
        }
        if (!fake->is_closed && fake->wants_write && (fake->room > 0 || fake->is_reset)) {
            fake->handler->writable(&fake->sock, fake->ctx);
        }
    }
}

static void fake_wake(struct env *env)
{
    UNUSED(env);
}

static const struct env_ops env_ops = {
    .now_mono = fake_now_mono,
    .now_wall = fake_now_wall,
    .random = fake_random,
    .poll = fake_poll,
    .wake = fake_wake,
};

struct env *fake_env_new(void)
{
    struct fake_env *world = NEW(struct fake_env);
    world->env.ops = &env_ops;
    world->env.net = &world->net;
    world->net.ops = &net_ops;
    world->now = NS_PER_SEC;
    world->seed = 1;
    list_init(&world->socks);
    return &world->env;
}

void fake_env_free(struct env **env)
{
    struct fake_env *world = world_of(*env);
    ASSERT(list_empty(&world->socks));
    ASSERT(world->accept == NULL);
    ASSERT(world->dial_done == NULL);
    mem_free(world);
    *env = NULL;
}

void fake_env_advance(struct env *env, uint64_t ns)
{
    world_of(env)->now += ns;
}

/* ---- the other end --------------------------------------------------------------------------- */

static struct fake_sock *sock_new(struct fake_env *world)
{
    struct fake_sock *fake = NEW(struct fake_sock);
    fake->sock.net = &world->net;
    fake->world = world;
    fake->room = SIZE_MAX;
    fake->wants_read = true;
    list_add_tail(&world->socks, &fake->link);
    return fake;
}

struct fake_sock *fake_connect(struct env *env)
{
    struct fake_env *world = world_of(env);
    struct fake_sock *fake = sock_new(world);
    struct sock_addr peer = {.text = "fake:1"};
    ASSERT(world->accept != NULL);
    world->accept(&fake->sock, &peer, world->accept_ctx);
    return fake;
}

struct fake_sock *fake_accept(struct env *env)
{
    struct fake_env *world = world_of(env);
    connect_fn *fn = world->dial_done;
    ASSERT(fn != NULL);
    struct fake_sock *fake = sock_new(world);
    world->dial_done = NULL;
    fn(&fake->sock, NULL, world->dial_ctx);
    return fake;
}

void fake_sock_free(struct fake_sock **sock_ptr)
{
    struct fake_sock *fake = *sock_ptr;
    ASSERT(fake->is_closed);
    buf_fini(&fake->input);
    buf_fini(&fake->output);
    mem_free(fake);
    *sock_ptr = NULL;
}

void fake_sock_send(struct fake_sock *sock, struct slice bytes)
{
    buf_append_slice(&sock->input, bytes);
}

void fake_sock_end(struct fake_sock *sock)
{
    sock->at_end = true;
}

void fake_sock_reset(struct fake_sock *sock)
{
    sock->is_reset = true;
}

struct buf *fake_sock_output(struct fake_sock *sock)
{
    return &sock->output;
}

bool fake_sock_closed(const struct fake_sock *sock)
{
    return sock->is_closed;
}

void fake_sock_room(struct fake_sock *sock, size_t len)
{
    sock->room = len;
}
