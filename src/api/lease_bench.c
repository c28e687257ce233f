/* Renewals of leases on a whole member, over sockets that are two buffers: some connections, a
 * stream with a lease on each, one renewal of each a turn. Counts renewals a second; under
 * callgrind the instructions of lease_bench_server() alone are the server's.
 *
 * Usage: lease_bench DIRECTORY [TURNS [CONNECTIONS]] */
#include "api/member_world.h"

#include "base/mem.h"
#include "codec/grpc.h"
#include "codec/h2.h"
#include "codec/pb.h"
#include "env/posix.h"
#include "net/fake_net.h"
#include "server/server_priv.h"

#include "rpc.pb-c.h"

#include <stdio.h>
#include <stdlib.h>

#define LEASE_TTL_S 100

/* The client's half of one connection. */
struct line {
    struct h2 *h2;
    struct outq out;
    struct fake_sock *sock;
    struct buf message; /* one renewal, with its prefix */
    bool is_due;        /* not sent yet */
    uint64_t answers;
};

struct bench {
    struct member_world member;
    struct env *env;
    struct env *fake; /* whose sockets `env` uses */
    struct line *lines;
    size_t line_count;
};

/* ---- a member -------------------------------------------------------------------------------- */

static void member_open(struct bench *bench, const char *folder)
{
    bench->fake = fake_env_new();
    bench->env = posix_env_new();
    bench->env->net = bench->fake->net;
    member_world_open(&bench->member, bench->env, folder, NULL, NULL);
}

static void member_close(struct bench *bench)
{
    member_world_close(&bench->member, 0);
    for (size_t i = 0; i < bench->line_count; i++) {
        fake_sock_free(&bench->lines[i].sock);
    }
    posix_env_free(&bench->env);
    fake_env_free(&bench->fake);
}

struct grant {
    struct server_request request;
    bool is_done;
};

static void granted(struct server_request *request)
{
    ASSERT(request->status == STATUS_OK);
    CONTAINER_OF(request, struct grant, request)->is_done = true;
}

static void grant_lease(struct bench *bench, lease_id id)
{
    struct arena arena;
    arena_init(&arena);
    Etcdserverpb__LeaseGrantRequest *message =
        pb_new(&arena, &etcdserverpb__lease_grant_request__descriptor);
    message->id = id;
    message->ttl = LEASE_TTL_S;
    struct grant grant = {.request = {.kind = REQUEST_LEASE_GRANT,
                                      .message = &message->base,
                                      .encoded = pb_encode_arena(message, &arena),
                                      .arena = &arena,
                                      .started = loop_now(bench->member.loop),
                                      .done = granted}};
    server_submit(bench->member.server, &grant.request);
    member_world_turn_until(&bench->member, &grant.is_done);
    arena_fini(&arena);
}

/* ---- clients --------------------------------------------------------------------------------- */

static void *on_open(void *ctx, int32_t id)
{
    UNUSED(ctx);
    UNUSED(id);
    return NULL;
}

static void on_field(void *stream, struct slice name, struct slice value)
{
    UNUSED(stream);
    UNUSED(name);
    UNUSED(value);
}

static void on_headers(void *stream, bool is_trailers)
{
    UNUSED(stream);
    ASSERT(!is_trailers);
}

/* One DATA frame an answer. */
static bool on_data(void *stream, struct slice bytes)
{
    ASSERT(bytes.len > GRPC_PREFIX_LEN);
    ((struct line *)stream)->answers++;
    return true;
}

static void on_end(void *stream)
{
    UNUSED(stream);
}

static void on_closed(void *stream, uint32_t code)
{
    UNUSED(stream);
    UNUSED(code);
}

static enum h2_pull on_pull(void *stream, size_t max, size_t *len_out)
{
    const struct line *line = stream;
    ASSERT(line->message.len <= max);
    *len_out = line->is_due ? line->message.len : 0;
    return line->is_due ? H2_PULL_MORE : H2_PULL_WAIT;
}

static void on_write(void *stream, struct outq *out, size_t len)
{
    struct line *line = stream;
    ASSERT(len == line->message.len);
    outq_append(out, line->message.data, len);
    line->is_due = false;
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

static void line_send(struct line *line)
{
    h2_send(line->h2, &line->out, SIZE_MAX);
    while (line->out.len > 0) {
        struct slice piece;
        outq_peek(&line->out, &piece, 1);
        fake_sock_send(line->sock, piece);
        outq_consume(&line->out, piece.len);
    }
}

static void line_receive(struct line *line)
{
    struct buf *output = fake_sock_output(line->sock);
    enum err err = h2_recv(line->h2, buf_slice(output), 0);
    ASSERT(err == ERR_OK);
    buf_reset(output);
}

static void line_renew(struct line *line, int32_t stream)
{
    line->is_due = true;
    h2_resume(line->h2, stream);
    line_send(line);
}

/* Its connection, with the server's settings, and its stream. Returns the number of that. */
static int32_t line_open(struct bench *bench, struct line *line, lease_id id)
{
    static const struct h2_field fields[] = {
        {{(const uint8_t *)":method", 7}, {(const uint8_t *)"POST", 4}, true},
        {{(const uint8_t *)":scheme", 7}, {(const uint8_t *)"http", 4}, true},
        {{(const uint8_t *)":path", 5},
         {(const uint8_t *)"/etcdserverpb.Lease/LeaseKeepAlive", 34},
         true},
        {{(const uint8_t *)":authority", 10}, {(const uint8_t *)"127.0.0.1:2379", 14}, true},
        {{(const uint8_t *)"content-type", 12}, {(const uint8_t *)"application/grpc", 16}, true},
        {{(const uint8_t *)"te", 2}, {(const uint8_t *)"trailers", 8}, true},
    };
    struct h2_options options = {.is_client = true,
                                 .streams_max = UINT32_MAX,
                                 .stream_window = 1 << 20,
                                 .connection_window = 1 << 24,
                                 .header_bytes_max = 65536,
                                 .header_count_max = 100};
    Etcdserverpb__LeaseKeepAliveRequest request = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    struct buf body = {0};
    request.id = id;
    pb_encode(&request, &body);
    grpc_prefix_put(buf_extend(&line->message, GRPC_PREFIX_LEN), false, (uint32_t)body.len);
    buf_append_slice(&line->message, buf_slice(&body));
    buf_fini(&body);
    line->sock = fake_connect(bench->fake);
    line->h2 = h2_new(&options, &handler, line);
    outq_init(&line->out, NULL);
    line_send(line);
    env_poll(bench->fake, 0);
    loop_turn(bench->member.loop, false);
    line_receive(line);
    return h2_request(line->h2, fields, ARRAY_LEN(fields), true, line);
}

static void line_close(struct line *line)
{
    h2_free(&line->h2);
    outq_fini(&line->out);
    buf_fini(&line->message);
}

/* ---- the load -------------------------------------------------------------------------------- */

/* One turn of the server's loop: input, renewals, output. */
__attribute__((noinline)) static void lease_bench_server(struct bench *bench)
{
    env_poll(bench->fake, 0);
    loop_turn(bench->member.loop, false);
}

static uint64_t argument(int argc, char **argv, int index, uint64_t otherwise)
{
    return argc > index ? strtoull(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    uint64_t turns = argument(argc, argv, 2, 20000);
    size_t count = (size_t)argument(argc, argv, 3, 50);
    struct bench bench = {0};
    if (argc < 2 || turns == 0 || count == 0 || count > 1000) {
        fprintf(stderr, "usage: lease_bench DIRECTORY [TURNS [CONNECTIONS]]\n");
        return 1;
    }
    member_open(&bench, argv[1]);
    bench.lines = mem_zalloc(count * sizeof(*bench.lines));
    bench.line_count = count;
    int32_t *streams = mem_array(count, sizeof(*streams));
    for (size_t i = 0; i < count; i++) {
        grant_lease(&bench, (lease_id)i + 1);
        streams[i] = line_open(&bench, &bench.lines[i], (lease_id)i + 1);
        ASSERT(streams[i] > 0);
    }
    uint64_t server_ns = 0;
    for (uint64_t turn = 0; turn < turns; turn++) {
        for (size_t i = 0; i < count; i++) {
            line_renew(&bench.lines[i], streams[i]);
        }
        mono_ns before = env_now_mono(bench.env);
        lease_bench_server(&bench);
        server_ns += env_now_mono(bench.env) - before;
        for (size_t i = 0; i < count; i++) {
            line_receive(&bench.lines[i]);
            ASSERT(bench.lines[i].answers == turn + 1);
        }
    }
    uint64_t total = turns * count;
    printf("%llu renewals, %zu a turn: server %llu ns each (%.0f/s)\n", (unsigned long long)total,
           count, (unsigned long long)(server_ns / total), (double)total * 1e9 / (double)server_ns);
    for (size_t i = 0; i < count; i++) {
        line_close(&bench.lines[i]);
        fake_sock_end(bench.lines[i].sock);
    }
    env_poll(bench.fake, 0);
    member_close(&bench);
    mem_free(streams);
    mem_free(bench.lines);
    return 0;
}
