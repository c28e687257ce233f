/* gRPC round trips without a system: our client session makes the bytes, the server answers them
 * over a socket that is two buffers. Counts calls a second of server and client halves together;
 * under callgrind the instructions of http_bench_server() alone are the server's.
 *
 * Usage: http_bench [BATCHES [STREAMS [BYTES]]] */
#include "base/mem.h"
#include "codec/h2.h"
#include "env/posix.h"
#include "net/fake_net.h"
#include "net/http.h"

#include <stdio.h>
#include <stdlib.h>

struct client {
    struct h2 *h2;
    struct outq out;
    struct slice message;
    uint64_t answered;
};

struct client_stream {
    struct client *client;
    bool sent;
    bool ok;
};

static void *on_open(void *ctx, int32_t id)
{
    UNUSED(ctx);
    UNUSED(id);
    return NULL;
}

static void on_field(void *stream, struct slice name, struct slice value)
{
    if (slice_eq_str(name, "grpc-status") && slice_eq_str(value, "0")) {
        ((struct client_stream *)stream)->ok = true;
    }
}

static void on_headers(void *stream, bool is_trailers)
{
    UNUSED(stream);
    UNUSED(is_trailers);
}

static bool on_data(void *stream, struct slice bytes)
{
    UNUSED(stream);
    UNUSED(bytes);
    return true;
}

static void on_end(void *stream)
{
    UNUSED(stream);
}

static void on_closed(void *owner, uint32_t code)
{
    struct client_stream *stream = owner;
    ASSERT(code == H2_NO_ERROR && stream->ok);
    stream->client->answered++;
}

static enum h2_pull on_pull(void *owner, size_t max, size_t *len_out)
{
    struct client_stream *stream = owner;
    ASSERT(stream->client->message.len <= max);
    *len_out = stream->client->message.len;
    return H2_PULL_END;
}

static void on_write(void *owner, struct outq *out, size_t len)
{
    outq_append(out, ((struct client_stream *)owner)->client->message.data, len);
}

static const struct h2_handler handler = {
    .open = on_open,
    .field = on_field,
    .headers = on_headers,
    .data = on_data,
    .end = on_end,
    .closed = on_closed,
    .pull = on_pull,
    .write = on_write,
};

static void echo(struct grpc_call *call, struct slice message)
{
    grpc_call_reply(call, message);
}

static const struct grpc_handler echo_handler = {.message = echo};
static const struct grpc_method methods[] = {
    {.name = "Range", .kind = GRPC_UNARY, .handler = &echo_handler}};
static const struct grpc_service service = {
    .name = "etcdserverpb.KV", .methods = methods, .method_count = 1};

static void ask(struct client *client, struct client_stream *stream)
{
    static const struct h2_field fields[] = {
        {{(const uint8_t *)":method", 7}, {(const uint8_t *)"POST", 4}, true},
        {{(const uint8_t *)":scheme", 7}, {(const uint8_t *)"http", 4}, true},
        {{(const uint8_t *)":path", 5}, {(const uint8_t *)"/etcdserverpb.KV/Range", 22}, true},
        {{(const uint8_t *)":authority", 10}, {(const uint8_t *)"127.0.0.1:2379", 14}, true},
        {{(const uint8_t *)"content-type", 12}, {(const uint8_t *)"application/grpc", 16}, true},
        {{(const uint8_t *)"te", 2}, {(const uint8_t *)"trailers", 8}, true},
        {{(const uint8_t *)"user-agent", 10}, {(const uint8_t *)"grpc-go/1.71.1", 14}, true},
    };
    *stream = (struct client_stream){.client = client};
    int32_t id = h2_request(client->h2, fields, ARRAY_LEN(fields), true, stream);
    ASSERT(id > 0);
}

static void client_send(struct client *client, struct fake_sock *sock)
{
    h2_send(client->h2, &client->out, SIZE_MAX);
    while (client->out.len > 0) {
        struct slice piece;
        outq_peek(&client->out, &piece, 1);
        fake_sock_send(sock, piece);
        outq_consume(&client->out, piece.len);
    }
}

static void client_receive(struct client *client, struct fake_sock *sock)
{
    struct buf *output = fake_sock_output(sock);
    enum err err = h2_recv(client->h2, buf_slice(output), 0);
    ASSERT(err == ERR_OK);
    buf_reset(output);
}

/* One turn of the server's loop: input, calls, output. */
__attribute__((noinline)) static void http_bench_server(struct loop *loop)
{
    loop_turn(loop, false);
}

static uint64_t argument(int argc, char **argv, int index, uint64_t otherwise)
{
    return argc > index ? strtoull(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    uint64_t batches = argument(argc, argv, 1, 2000);
    uint64_t streams = argument(argc, argv, 2, 20);
    uint64_t len = argument(argc, argv, 3, 20);
    ASSERT(streams > 0 && streams <= 1000 && len <= 10000);
    struct env *clock = posix_env_new();
    struct env *env = fake_env_new();
    struct loop *loop = loop_new(env);
    struct http_options options = {0};
    struct http_server *server = http_server_new(env, loop, &options);
    struct h2_options h2_options = {.is_client = true,
                                    .streams_max = UINT32_MAX,
                                    .stream_window = 1 << 20,
                                    .connection_window = 1 << 24,
                                    .header_bytes_max = 65536,
                                    .header_count_max = 100};
    struct client client = {0};
    struct buf message = {0};
    struct client_stream *slots = mem_array((size_t)streams, sizeof(*slots));
    uint8_t *prefix = buf_extend(&message, GRPC_PREFIX_LEN + (size_t)len);
    memset(prefix, 'x', message.len);
    grpc_prefix_put(prefix, false, (uint32_t)len);
    http_server_service(server, &service);
    enum err err = http_server_listen(server, "", "0", NULL, NULL);
    ASSERT(err == ERR_OK);
    struct fake_sock *sock = fake_connect(env);
    client.message = buf_slice(&message);
    client.h2 = h2_new(&h2_options, &handler, &client);
    outq_init(&client.out, NULL);
    /* The server's settings first: its windows are larger than the protocol's. */
    client_send(&client, sock);
    loop_turn(loop, false);
    client_receive(&client, sock);
    uint64_t server_ns = 0;
    mono_ns start = env_now_mono(clock);
    for (uint64_t i = 0; i < batches; i++) {
        for (uint64_t j = 0; j < streams; j++) {
            ask(&client, &slots[j]);
        }
        client_send(&client, sock);
        mono_ns before = env_now_mono(clock);
        http_bench_server(loop);
        server_ns += env_now_mono(clock) - before;
        client_receive(&client, sock);
    }
    mono_ns took = env_now_mono(clock) - start;
    uint64_t calls = batches * streams;
    ASSERT(client.answered == calls);
    printf("%llu calls of %llu bytes, %llu at once: server %llu ns a call (%.0f/s), both halves "
           "%llu ns (%.0f/s)\n",
           (unsigned long long)calls, (unsigned long long)len, (unsigned long long)streams,
           (unsigned long long)(server_ns / calls), (double)calls * 1e9 / (double)server_ns,
           (unsigned long long)(took / calls), (double)calls * 1e9 / (double)took);
    http_server_free(&server);
    fake_sock_free(&sock);
    h2_free(&client.h2);
    outq_fini(&client.out);
    buf_fini(&message);
    mem_free(slots);
    loop_free(&loop);
    fake_env_free(&env);
    posix_env_free(&clock);
    return 0;
}
