/* Frames of any bytes, in any pieces, to two servers' sessions, of which one remembers header
 * blocks. Property: both tell the same and answer the same.
 *
 * Input: records: a byte that says how much follows, and that many bytes; 0: both send what they
 * have. */
#include "base/coll.h"
#include "base/mem.h"
#include "codec/h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    struct h2 *h2;
    struct outq out;
    struct buf told;
    struct buf said;
    struct list streams;
    bool is_closed;
};

struct stream {
    struct world *world;
    struct list link; /* world->streams */
    int32_t id;
    struct buf fields;
};

static void *on_open(void *ctx, int32_t id)
{
    struct world *world = ctx;
    struct stream *stream = NEW(struct stream);
    stream->world = world;
    stream->id = id;
    list_add_tail(&world->streams, &stream->link);
    return stream;
}

static void stream_free(struct stream *stream)
{
    list_del(&stream->link);
    buf_fini(&stream->fields);
    mem_free(stream);
}

static void on_field(void *owner, struct slice name, struct slice value)
{
    struct stream *stream = owner;
    buf_append_slice(&stream->fields, name);
    buf_append_byte(&stream->fields, 0);
    buf_append_slice(&stream->fields, value);
    buf_append_byte(&stream->fields, 0);
}

static void on_headers(void *owner, bool is_trailers)
{
    struct stream *stream = owner;
    buf_append_slice(&stream->world->told, buf_slice(&stream->fields));
    buf_printf(&stream->world->told, "%d headers %d\n", stream->id, is_trailers);
}

static bool on_data(void *owner, struct slice bytes)
{
    UNUSED(owner);
    UNUSED(bytes); /* the pieces are not the same */
    return true;
}

static void on_end(void *owner)
{
    struct stream *stream = owner;
    buf_printf(&stream->world->told, "%d end\n", stream->id);
    h2_respond_usual(stream->world->h2, stream->id);
}

static void on_closed(void *owner, uint32_t code)
{
    struct stream *stream = owner;
    buf_printf(&stream->world->told, "%d closed %u\n", stream->id, code);
    stream_free(stream);
}

static enum h2_pull on_pull(void *owner, size_t max, size_t *len_out)
{
    UNUSED(owner);
    *len_out = max < 2 ? max : 2;
    return max < 2 ? H2_PULL_MORE : H2_PULL_USUAL;
}

static void on_write(void *owner, struct outq *out, size_t len)
{
    UNUSED(owner);
    outq_append(out, "ok", len);
}

static void on_ping(void *ctx, bool is_ack)
{
    struct world *world = ctx;
    buf_printf(&world->told, "ping %d\n", is_ack);
}

static void on_goaway(void *ctx, int32_t last_id, uint32_t code, struct slice debug)
{
    struct world *world = ctx;
    buf_printf(&world->told, "goaway %d %u %zu\n", last_id, code, debug.len);
}

static void *on_keep(void *owner)
{
    struct stream *stream = owner;
    struct buf *kept = NEW(struct buf);
    buf_append_slice(kept, buf_slice(&stream->fields));
    return kept;
}

static void *on_open_known(void *ctx, int32_t id, void *kept)
{
    struct stream *stream = on_open(ctx, id);
    buf_append_slice(&stream->fields, buf_slice((struct buf *)kept));
    return stream;
}

static void on_drop(void *kept)
{
    buf_fini(kept);
    mem_free(kept);
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
    .ping = on_ping,
    .goaway = on_goaway,
    .keep = on_keep,
    .open_known = on_open_known,
    .drop = on_drop,
};

static const struct h2_field head[] = {
    {SLICE(":status"), SLICE("200"), true},
    {SLICE("content-type"), SLICE("application/grpc"), true},
};
static const struct h2_field trailers[] = {
    {SLICE("grpc-status"), SLICE("0"), true},
    {SLICE("grpc-message"), SLICE(""), true},
};

static void world_init(struct world *world, bool remembers)
{
    struct h2_options options = {
        .streams_max = 100,
        .stream_window = 65535,
        .connection_window = 65535,
        .header_bytes_max = 1024,
        .header_count_max = 16,
        .usual = {head, ARRAY_LEN(head), trailers, ARRAY_LEN(trailers)},
    };
    struct h2_handler own = handler;
    if (!remembers) {
        own.keep = NULL;
        own.open_known = NULL;
        own.drop = NULL;
    }
    *world = (struct world){0};
    list_init(&world->streams);
    world->h2 = h2_new(&options, &own, world);
    outq_init(&world->out, NULL);
}

static void world_feed(struct world *world, struct slice in)
{
    if (in.len > 0 && !world->is_closed) {
        world->is_closed = h2_recv(world->h2, in, 1) != ERR_OK;
    }
}

static void world_send(struct world *world)
{
    h2_send(world->h2, &world->out, SIZE_MAX);
    while (world->out.len > 0) {
        struct slice piece;
        outq_peek(&world->out, &piece, 1);
        buf_append_slice(&world->said, piece);
        outq_consume(&world->out, piece.len);
    }
}

static void world_fini(struct world *world)
{
    h2_free(&world->h2);
    while (!list_empty(&world->streams)) {
        stream_free(CONTAINER_OF(world->streams.next, struct stream, link));
    }
    outq_fini(&world->out);
    buf_fini(&world->told);
    buf_fini(&world->said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world worlds[2];
    struct slice in = slice_of(data, size);
    for (size_t i = 0; i < 2; i++) {
        world_init(&worlds[i], i == 0);
        world_feed(&worlds[i], SLICE(H2_PREFACE));
    }
    while (in.len > 0) {
        size_t len = in.data[0];
        in = slice_skip(in, 1);
        len = len < in.len ? len : in.len;
        for (size_t i = 0; i < 2; i++) {
            if (len > 0) {
                world_feed(&worlds[i], slice_of(in.data, len));
            } else {
                world_send(&worlds[i]);
            }
        }
        in = slice_skip(in, len);
    }
    world_send(&worlds[0]);
    world_send(&worlds[1]);
    ASSERT(worlds[0].is_closed == worlds[1].is_closed);
    ASSERT(slice_eq(buf_slice(&worlds[0].told), buf_slice(&worlds[1].told)));
    ASSERT(slice_eq(buf_slice(&worlds[0].said), buf_slice(&worlds[1].said)));
    world_fini(&worlds[0]);
    world_fini(&worlds[1]);
    return 0;
}
