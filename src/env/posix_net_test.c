#include "base/mem.h"
#include "env/posix.h"

#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* One end of a connection, which keeps what it reads. */
struct end {
    struct sock *sock;
    struct buf in;
    enum err last; /* ERR_OK, or how reading ended */
    unsigned readable_count;
    unsigned writable_count;
    struct errbuf why; /* of a failed dial */
    bool dial_done;
    bool close_in_readable;
    bool is_lazy; /* readable() does not read */
};

struct world {
    struct env *env;
    struct listener *listener;
    char host[128];
    char port[32];
    struct end client;
    struct end server;
    struct sock_addr peer; /* of the connection accepted last */
    unsigned accepted;
};

static void on_readable(struct sock *sock, void *ctx)
{
    struct end *end = ctx;
    assert_ptr_equal(sock, end->sock);
    end->readable_count++;
    if (end->close_in_readable) {
        sock_close(&end->sock);
        return;
    }
    while (!end->is_lazy) {
        size_t got;
        enum err err = sock_read(sock, buf_reserve(&end->in, 65536), 65536, &got);
        if (err == ERR_AGAIN) {
            return;
        }
        if (err != ERR_OK) {
            end->last = err;
            sock_want_read(sock, false);
            return;
        }
        end->in.len += got;
    }
}

static void on_writable(struct sock *sock, void *ctx)
{
    struct end *end = ctx;
    assert_ptr_equal(sock, end->sock);
    end->writable_count++;
    sock_want_write(sock, false);
}

static const struct sock_handler handler = {.readable = on_readable, .writable = on_writable};

static void on_accept(struct sock *sock, const struct sock_addr *peer, void *ctx)
{
    struct world *world = ctx;
    world->accepted++;
    world->peer = *peer;
    assert_null(world->server.sock);
    world->server.sock = sock;
    sock_set_handler(sock, &handler, &world->server);
}

static void on_connect(struct sock *sock, const struct errbuf *why, void *ctx)
{
    struct end *end = ctx;
    assert_false(end->dial_done);
    end->dial_done = true;
    end->sock = sock;
    if (sock == NULL) {
        end->why = *why;
    } else {
        assert_null(why);
        sock_set_handler(sock, &handler, end);
    }
}

/* Polls until `cond`, for at most 20 seconds. */
#define POLL_UNTIL(world, cond)                                                                    \
    do {                                                                                           \
        mono_ns give_up = env_now_mono((world)->env) + 20 * NS_PER_SEC;                            \
        while (!(cond)) {                                                                          \
            assert_true(env_now_mono((world)->env) < give_up);                                     \
            env_poll((world)->env, give_up);                                                       \
        }                                                                                          \
    } while (0)

static void poll_for_ms(struct world *world, unsigned ms)
{
    mono_ns until = env_now_mono(world->env) + ms * NS_PER_MS;
    while (env_now_mono(world->env) < until) {
        env_poll(world->env, until);
    }
}

static void world_listen(struct world *world, const char *host, const char *port)
{
    struct errbuf why;
    struct sock_addr addr;
    enum err err =
        net_listen(world->env->net, host, port, NULL, on_accept, world, &world->listener, &why);
    if (err != ERR_OK) {
        fail_msg("%s", why.text);
    }
    listener_addr(world->listener, &addr);
    snprintf(world->host, sizeof(world->host), "%s", host);
    if (strcmp(port, "unix") == 0) {
        snprintf(world->port, sizeof(world->port), "unix");
    } else {
        snprintf(world->port, sizeof(world->port), "%s", strrchr(addr.text, ':') + 1);
    }
}

static void world_init(struct world *world)
{
    memset(world, 0, sizeof(*world));
    world->env = posix_env_new();
}

static void world_connect(struct world *world)
{
    net_connect(world->env->net, world->host, world->port, on_connect, &world->client);
    POLL_UNTIL(world, world->client.dial_done && world->server.sock != NULL);
    assert_non_null(world->client.sock);
}

static void pair(struct world *world)
{
    world_init(world);
    world_listen(world, "127.0.0.1", "0");
    world_connect(world);
}

static void world_fini(struct world *world)
{
    sock_close(&world->client.sock);
    sock_close(&world->server.sock);
    listener_close(&world->listener);
    posix_env_free(&world->env);
    buf_fini(&world->client.in);
    buf_fini(&world->server.in);
}

static void send_text(struct sock *sock, const char *text)
{
    struct iov iov[2] = {{.data = text, .len = 1}, {.data = text + 1, .len = strlen(text) - 1}};
    size_t put = 0;
    assert_int_equal(sock_writev(sock, iov, 2, &put), ERR_OK);
    assert_int_equal(put, strlen(text));
}

static void echo_both_ways(struct world *world)
{
    world_connect(world);
    send_text(world->client.sock, "ping");
    POLL_UNTIL(world, world->server.in.len == 4);
    assert_memory_equal(world->server.in.data, "ping", 4);
    send_text(world->server.sock, "pong!");
    POLL_UNTIL(world, world->client.in.len == 5);
    assert_memory_equal(world->client.in.data, "pong!", 5);
}

TEST(posix_net, bytes_cross_over_ipv4)
{
    struct world world;
    world_init(&world);
    world_listen(&world, "127.0.0.1", "0");
    echo_both_ways(&world);
    assert_int_equal(strncmp(world.peer.text, "127.0.0.1:", 10), 0);
    world_fini(&world);
}

TEST(posix_net, bytes_cross_over_ipv6)
{
    struct world world;
    struct errbuf why;
    world_init(&world);
    enum err err =
        net_listen(world.env->net, "::1", "0", NULL, on_accept, &world, &world.listener, &why);
    if (err != ERR_OK) {
        world_fini(&world);
        TEST_SKIP(why.text); /* no IPv6 here */
    }
    listener_close(&world.listener);
    world_listen(&world, "::1", "0");
    echo_both_ways(&world);
    assert_int_equal(strncmp(world.peer.text, "[::1]:", 6), 0);
    world_fini(&world);
}

TEST(posix_net, bytes_cross_over_a_unix_socket_which_replaces_a_stale_one)
{
    struct world world;
    char path[128];
    snprintf(path, sizeof(path), "%s/sock", test_dir());
    world_init(&world);
    world_listen(&world, path, "unix");
    /* A second listener takes the path over, as after a crash. */
    struct listener *stale = world.listener;
    world_listen(&world, path, "unix");
    echo_both_ways(&world);
    struct stat info;
    listener_close(&world.listener);
    assert_int_equal(stat(path, &info), -1);
    listener_close(&stale);
    world_fini(&world);
}

TEST(posix_net, a_file_that_is_no_socket_is_not_replaced)
{
    struct world world;
    struct errbuf why;
    char path[128];
    snprintf(path, sizeof(path), "%s/file", test_dir());
    assert_int_equal(disk_write_file(posix_disk(), path, SLICE("x"), &why), ERR_OK);
    world_init(&world);
    assert_int_equal(
        net_listen(world.env->net, path, "unix", NULL, on_accept, &world, &world.listener, &why),
        ERR_EXISTS);
    assert_true(disk_exists(posix_disk(), path));
    world_fini(&world);
}

TEST(posix_net, every_address_takes_ipv4_connections_and_names_them_so)
{
    static const char *const hosts[] = {"", "0.0.0.0"};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct world world;
        world_init(&world);
        world_listen(&world, hosts[i], "0");
        snprintf(world.host, sizeof(world.host), "127.0.0.1");
        echo_both_ways(&world);
        assert_int_equal(strncmp(world.peer.text, "127.0.0.1:", 10), 0);
        world_fini(&world);
    }
}

TEST(posix_net, localhost_is_a_host)
{
    struct world world;
    world_init(&world);
    world_listen(&world, "localhost", "0");
    echo_both_ways(&world);
    world_fini(&world);
}

TEST(posix_net, a_port_in_use_is_told_as_go_tells_it)
{
    struct world world;
    struct errbuf why;
    char expected[128];
    world_init(&world);
    world_listen(&world, "127.0.0.1", "0");
    struct listener *second = NULL;
    assert_int_equal(
        net_listen(world.env->net, "127.0.0.1", world.port, NULL, on_accept, &world, &second, &why),
        ERR_EXISTS);
    assert_null(second);
    snprintf(expected, sizeof(expected), "listen tcp 127.0.0.1:%s: bind: address already in use",
             world.port);
    assert_string_equal(why.text, expected);
    world_fini(&world);
}

TEST(posix_net, listening_refuses_what_makes_no_sense)
{
    char long_path[200];
    memset(long_path, 'x', sizeof(long_path) - 1);
    long_path[sizeof(long_path) - 1] = '\0';
    const struct {
        const char *host;
        const char *port;
        const char *sentence;
    } cases[] = {
        {"127.0.0.1", "65536", "listen tcp: address 65536: invalid port"},
        {"127.0.0.1", "-1", "listen tcp: address -1: invalid port"},
        {"127.0.0.1", "http", "listen tcp: address http: invalid port"},
        {"127.0.0.1", "", "listen tcp: address : invalid port"},
        {"192.0.2.1", "0", "listen tcp 192.0.2.1:0: bind: cannot assign requested address"},
        {"2001:db8::1", "0", NULL},
        {long_path, "unix", NULL},
    };
    struct world world;
    world_init(&world);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct errbuf why = {""};
        enum err err = net_listen(world.env->net, cases[i].host, cases[i].port, NULL, on_accept,
                                  &world, &world.listener, &why);
        assert_null(world.listener);
        assert_int_not_equal(err, ERR_OK);
        if (cases[i].sentence != NULL) {
            assert_int_equal(err, ERR_INVALID);
            assert_string_equal(why.text, cases[i].sentence);
        } else {
            assert_int_equal(strncmp(why.text, "listen ", 7), 0);
        }
    }
    world_fini(&world);
}

TEST(posix_net, a_refused_connection_is_told_as_go_tells_it)
{
    struct world world;
    char expected[128];
    world_init(&world);
    world_listen(&world, "127.0.0.1", "0");
    listener_close(&world.listener);
    net_connect(world.env->net, "127.0.0.1", world.port, on_connect, &world.client);
    assert_false(world.client.dial_done);
    POLL_UNTIL(&world, world.client.dial_done);
    assert_null(world.client.sock);
    snprintf(expected, sizeof(expected), "dial tcp 127.0.0.1:%s: connect: connection refused",
             world.port);
    assert_string_equal(world.client.why.text, expected);

    world.client.dial_done = false;
    net_connect(world.env->net, "/nonexistent/socket", "unix", on_connect, &world.client);
    assert_false(world.client.dial_done);
    POLL_UNTIL(&world, world.client.dial_done);
    assert_string_equal(world.client.why.text,
                        "dial unix /nonexistent/socket: connect: no such file or directory");

    world.client.dial_done = false;
    net_connect(world.env->net, "not a host", "1", on_connect, &world.client);
    POLL_UNTIL(&world, world.client.dial_done);
    assert_int_equal(strncmp(world.client.why.text, "dial tcp: lookup not a host: ", 29), 0);
    world_fini(&world);
}

TEST(posix_net, a_canceled_dial_never_calls_back)
{
    struct world world;
    world_init(&world);
    world_listen(&world, "127.0.0.1", "0");
    struct dial *dial =
        net_connect(world.env->net, "127.0.0.1", world.port, on_connect, &world.client);
    net_connect_cancel(&dial);
    assert_null(dial);
    /* 192.0.2.0/24 is for documentation: nobody answers, or the system refuses at once. */
    dial = net_connect(world.env->net, "192.0.2.1", "1", on_connect, &world.client);
    poll_for_ms(&world, 20);
    if (!world.client.dial_done) {
        net_connect_cancel(&dial);
    }
    world.client.dial_done = false;
    poll_for_ms(&world, 20);
    assert_false(world.client.dial_done);
    world_fini(&world);
}

TEST(posix_net, a_half_closed_connection_still_carries_the_other_way)
{
    struct world world;
    pair(&world);
    send_text(world.client.sock, "last words");
    sock_shutdown(world.client.sock);
    POLL_UNTIL(&world, world.server.last != ERR_OK);
    assert_int_equal(world.server.last, ERR_EOF);
    assert_int_equal(world.server.in.len, 10);
    send_text(world.server.sock, "answer");
    sock_close(&world.server.sock);
    POLL_UNTIL(&world, world.client.last != ERR_OK);
    assert_int_equal(world.client.last, ERR_EOF);
    assert_int_equal(world.client.in.len, 6);
    world_fini(&world);
}

TEST(posix_net, a_reset_is_seen_by_reader_and_writer)
{
    struct world world;
    pair(&world);
    /* Closing with bytes unread resets the connection. */
    world.server.is_lazy = true;
    send_text(world.client.sock, "never read");
    POLL_UNTIL(&world, world.server.readable_count > 0);
    sock_close(&world.server.sock);
    POLL_UNTIL(&world, world.client.last != ERR_OK);
    assert_int_equal(world.client.last, ERR_CLOSED);
    struct iov iov = {.data = "x", .len = 1};
    size_t put;
    assert_int_equal(sock_writev(world.client.sock, &iov, 1, &put), ERR_CLOSED);
    world_fini(&world);
}

TEST(posix_net, a_full_connection_says_so_and_becomes_writable_again)
{
    struct world world;
    pair(&world);
    sock_want_read(world.server.sock, false);
    static char data[65536];
    struct iov iov[3] = {{data, sizeof(data)}, {data, sizeof(data)}, {data, 1}};
    size_t total = 0;
    enum err err;
    for (;;) {
        size_t put = 0;
        err = sock_writev(world.client.sock, iov, 3, &put);
        if (err != ERR_OK) {
            break;
        }
        assert_true(put > 0 && put <= 2 * sizeof(data) + 1);
        total += put;
    }
    assert_int_equal(err, ERR_AGAIN);
    sock_want_write(world.client.sock, true);
    poll_for_ms(&world, 5);
    assert_int_equal(world.client.writable_count, 0);
    assert_int_equal(world.server.in.len, 0);
    sock_want_read(world.server.sock, true);
    POLL_UNTIL(&world, world.server.in.len == total && world.client.writable_count > 0);
    poll_for_ms(&world, 5);
    assert_int_equal(world.client.writable_count, 1);
    world_fini(&world);
}

TEST(posix_net, readable_comes_again_while_something_is_left_and_only_when_wanted)
{
    struct world world;
    pair(&world);
    world.server.is_lazy = true;
    send_text(world.client.sock, "abc");
    POLL_UNTIL(&world, world.server.readable_count >= 3);
    sock_want_read(world.server.sock, false);
    unsigned before = world.server.readable_count;
    poll_for_ms(&world, 5);
    assert_int_equal(world.server.readable_count, before);
    world.server.is_lazy = false;
    sock_want_read(world.server.sock, true);
    POLL_UNTIL(&world, world.server.in.len == 3);
    world_fini(&world);
}

TEST(posix_net, a_socket_closed_by_its_reader_is_not_written)
{
    struct world world;
    pair(&world);
    world.server.close_in_readable = true;
    sock_want_write(world.server.sock, true);
    sock_want_read(world.server.sock, false);
    poll_for_ms(&world, 5);
    assert_int_equal(world.server.writable_count, 1);
    send_text(world.client.sock, "x");
    sock_want_read(world.server.sock, true);
    sock_want_write(world.server.sock, true);
    POLL_UNTIL(&world, world.server.sock == NULL);
    poll_for_ms(&world, 5);
    assert_int_equal(world.server.writable_count, 1);
    world_fini(&world);
}

TEST(posix_net, a_paused_listener_leaves_connections_waiting)
{
    struct world world;
    world_init(&world);
    world_listen(&world, "127.0.0.1", "0");
    listener_pause(world.listener, true);
    net_connect(world.env->net, world.host, world.port, on_connect, &world.client);
    POLL_UNTIL(&world, world.client.dial_done);
    assert_non_null(world.client.sock);
    poll_for_ms(&world, 5);
    assert_int_equal(world.accepted, 0);
    listener_pause(world.listener, false);
    POLL_UNTIL(&world, world.accepted == 1);
    world_fini(&world);
}

struct crowd {
    struct sock *socks[256];
    unsigned count;
};

static void crowd_readable(struct sock *sock, void *ctx)
{
    struct crowd *crowd = ctx;
    for (unsigned i = 0; i < crowd->count; i++) {
        if (crowd->socks[i] == sock) {
            sock_close(&crowd->socks[i]);
            crowd->socks[i] = crowd->socks[--crowd->count];
            return;
        }
    }
    fail();
}

static void crowd_accept(struct sock *sock, const struct sock_addr *peer, void *ctx)
{
    static const struct sock_handler crowd_handler = {.readable = crowd_readable};
    struct crowd *crowd = ctx;
    assert_true(crowd->count < 256);
    crowd->socks[crowd->count++] = sock;
    sock_set_handler(sock, &crowd_handler, crowd);
}

TEST(posix_net, running_out_of_descriptors_leaves_some_for_files_and_heals)
{
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit small = before;
    small.rlim_cur = 160;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);

    struct crowd crowd = {.count = 0};
    struct world world;
    world_init(&world);
    struct errbuf why;
    assert_int_equal(net_listen(world.env->net, "127.0.0.1", "0", NULL, crowd_accept, &crowd,
                                &world.listener, &why),
                     ERR_OK);
    struct sock_addr addr;
    listener_addr(world.listener, &addr);
    const char *port = strrchr(addr.text, ':') + 1;
    struct end ends[80] = {0};
    for (unsigned i = 0; i < 80; i++) {
        net_connect(world.env->net, "127.0.0.1", port, on_connect, &ends[i]);
    }
    poll_for_ms(&world, 50);
    assert_true(crowd.count > 10 && crowd.count < 80);
    /* There is still room for a file. */
    struct file *file = NULL;
    assert_int_equal(disk_open(posix_disk(), "/dev/null", FILE_READ, &file, &why), ERR_OK);
    file_close(&file);
    for (unsigned i = 0; i < 80; i++) {
        sock_close(&ends[i].sock);
        buf_fini(&ends[i].in);
    }
    POLL_UNTIL(&world, crowd.count == 0);
    net_connect(world.env->net, "127.0.0.1", port, on_connect, &world.client);
    POLL_UNTIL(&world, crowd.count == 1);
    sock_close(&crowd.socks[0]);
    world_fini(&world);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static int signal_seen;

static void on_signal(int signum, void *ctx)
{
    signal_seen = signum;
    *(bool *)ctx = true;
}

TEST(posix_net, a_signal_becomes_a_call_on_the_loop)
{
    struct world world;
    bool is_seen = false;
    world_init(&world);
    posix_on_signal(world.env, SIGUSR1, on_signal, &is_seen);
    raise(SIGUSR1);
    POLL_UNTIL(&world, is_seen);
    assert_int_equal(signal_seen, SIGUSR1);
    world_fini(&world);
}

TEST(posix_net, random_bytes_differ_and_clocks_go_on)
{
    struct world world;
    world_init(&world);
    assert_true(env_random_u64(world.env) != env_random_u64(world.env));
    mono_ns before = env_now_mono(world.env);
    assert_true(env_now_mono(world.env) >= before);
    assert_true(env_now_wall(world.env) > 1500000000 * (wall_ns)NS_PER_SEC);
    world_fini(&world);
}
