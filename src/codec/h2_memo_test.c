/* A server's session that is fed blocks by hand: those that come again must mean what they would
 * mean to a session that has no memory. */
#include "codec/h2_memo.h"

#include "base/mem.h"
#include "codec/h2.h"

#include "unit.h"

/* RFC 7541 appendix A: ":method: POST", ":scheme: http", ":path: /". */
#define BASE "\x83\x86\x84"
#define BASE_FIELDS ":method=POST;:scheme=http;:path=/;"
/* A literal that goes into the table, and the newest entry of the table. */
#define INSERT(name, value) "\x40\x01" name "\x01" value
#define NEWEST "\xbe"
#define LENGTH_5 "\x0f\x0d\x01\x35"

enum { END_STREAM = 1, END_HEADERS = 4, HEADERS = 1, CONTINUATION = 9 };

struct stream {
    struct world *world;
    struct buf fields;
    bool is_open;
    uint32_t code;
};

struct world {
    struct h2 *h2;
    struct outq out;
    struct stream streams[64];
    size_t count;
    uint32_t next_id;
    unsigned known; /* streams opened with a block that came before */
    unsigned kept;
    unsigned dropped;
    bool keeps_nothing;
};

static void *on_open(void *ctx, int32_t id)
{
    struct world *world = ctx;
    UNUSED(id);
    assert_true(world->count < ARRAY_LEN(world->streams));
    struct stream *stream = &world->streams[world->count++];
    *stream = (struct stream){.world = world, .is_open = true};
    return stream;
}

static void on_field(void *owner, struct slice name, struct slice value)
{
    struct stream *stream = owner;
    buf_append_slice(&stream->fields, name);
    buf_append_str(&stream->fields, "=");
    buf_append_slice(&stream->fields, value);
    buf_append_str(&stream->fields, ";");
}

static void on_headers(void *owner, bool is_trailers)
{
    struct stream *stream = owner;
    buf_append_str(&stream->fields, is_trailers ? "trailers" : "headers");
}

static bool on_data(void *owner, struct slice bytes)
{
    UNUSED(owner);
    UNUSED(bytes);
    return true;
}

static void on_end(void *owner)
{
    struct stream *stream = owner;
    buf_append_str(&stream->fields, " end");
}

static void on_closed(void *owner, uint32_t code)
{
    struct stream *stream = owner;
    stream->is_open = false;
    stream->code = code;
}

static void *on_keep(void *owner)
{
    struct stream *stream = owner;
    if (stream->world->keeps_nothing) {
        return NULL;
    }
    struct world **kept = mem_alloc(sizeof(struct world *) + sizeof(struct buf));
    struct buf *fields = (struct buf *)(kept + 1);
    *kept = stream->world;
    *fields = (struct buf){0};
    buf_append(fields, stream->fields.data, stream->fields.len - strlen("headers"));
    stream->world->kept++;
    return kept;
}

static void *on_open_known(void *ctx, int32_t id, void *kept)
{
    struct stream *stream = on_open(ctx, id);
    buf_append_slice(&stream->fields, buf_slice((struct buf *)((struct world **)kept + 1)));
    stream->world->known++;
    return stream;
}

static void on_drop(void *kept)
{
    struct world **world = kept;
    (*world)->dropped++;
    buf_fini((struct buf *)(world + 1));
    mem_free(kept);
}

static const struct h2_handler handler = {
    .open = on_open,
    .field = on_field,
    .headers = on_headers,
    .data = on_data,
    .end = on_end,
    .closed = on_closed,
    .keep = on_keep,
    .open_known = on_open_known,
    .drop = on_drop,
};

static enum err feed(struct world *world, struct slice bytes)
{
    enum err err = h2_recv(world->h2, bytes, 0);
    h2_send(world->h2, &world->out, SIZE_MAX);
    outq_clear(&world->out);
    return err;
}

static void frame_put(struct buf *out, uint8_t type, uint8_t flags, uint32_t id, struct slice block)
{
    uint8_t head[9] = {0, 0, (uint8_t)block.len, type, flags, 0, 0, 0, (uint8_t)id};
    buf_append(out, head, sizeof(head));
    buf_append_slice(out, block);
}

static void setup(struct world *world)
{
    struct h2_options options = {
        .streams_max = UINT32_MAX,
        .stream_window = 65535,
        .connection_window = 65535,
        .header_bytes_max = 4096,
        .header_count_max = 32,
    };
    *world = (struct world){.next_id = 1};
    world->h2 = h2_new(&options, &handler, world);
    outq_init(&world->out, NULL);
    struct buf start = {0};
    buf_append_str(&start, H2_PREFACE);
    frame_put(&start, 4, 0, 0, SLICE_EMPTY);
    assert_int_equal(feed(world, buf_slice(&start)), ERR_OK);
    buf_fini(&start);
}

static void teardown(struct world *world)
{
    h2_free(&world->h2);
    outq_fini(&world->out);
    for (size_t i = 0; i < world->count; i++) {
        buf_fini(&world->streams[i].fields);
    }
    assert_int_equal(world->kept, world->dropped);
}

static uint32_t id_next(struct world *world)
{
    world->next_id += 2;
    return world->next_id - 2;
}

/* A request with this block; what its stream was told. */
static const char *ask_with(struct world *world, struct slice block, uint8_t flags)
{
    struct buf frame = {0};
    frame_put(&frame, HEADERS, END_HEADERS | flags, id_next(world), block);
    assert_int_equal(feed(world, buf_slice(&frame)), ERR_OK);
    buf_fini(&frame);
    assert_true(world->count > 0);
    return buf_cstr(&world->streams[world->count - 1].fields);
}

#define ASK(world, text) ask_with(world, SLICE(text), 0)

TEST(h2_memo, a_block_that_comes_again_is_told_as_the_first_time)
{
    struct world world;
    setup(&world);
    assert_string_equal(ASK(&world, BASE), BASE_FIELDS "headers");
    assert_int_equal(world.known, 0);
    for (unsigned i = 1; i < 5; i++) {
        assert_string_equal(ASK(&world, BASE), BASE_FIELDS "headers");
        assert_int_equal(world.known, i);
    }
    assert_string_equal(ask_with(&world, SLICE(BASE), END_STREAM), BASE_FIELDS "headers end");
    assert_int_equal(world.kept, 1);
    teardown(&world);
}

TEST(h2_memo, the_same_bytes_mean_something_else_when_the_table_has_changed)
{
    struct world world;
    setup(&world);
    ASK(&world, BASE INSERT("x", "1"));
    assert_string_equal(ASK(&world, BASE NEWEST), BASE_FIELDS "x=1;headers");
    assert_string_equal(ASK(&world, BASE NEWEST), BASE_FIELDS "x=1;headers");
    assert_int_equal(world.known, 1);
    ASK(&world, BASE INSERT("y", "2"));
    assert_string_equal(ASK(&world, BASE NEWEST), BASE_FIELDS "y=2;headers");
    assert_int_equal(world.known, 1);
    teardown(&world);
}

TEST(h2_memo, trailers_change_the_table_too)
{
    struct world world;
    setup(&world);
    uint32_t id = world.next_id;
    ASK(&world, BASE INSERT("x", "1"));
    ASK(&world, BASE NEWEST);
    struct buf frame = {0};
    frame_put(&frame, HEADERS, END_HEADERS | END_STREAM, id, SLICE(INSERT("y", "2")));
    assert_int_equal(feed(&world, buf_slice(&frame)), ERR_OK);
    buf_fini(&frame);
    assert_string_equal(ASK(&world, BASE NEWEST), BASE_FIELDS "y=2;headers");
    teardown(&world);
}

TEST(h2_memo, a_smaller_table_makes_all_be_forgotten)
{
    struct world world;
    setup(&world);
    ASK(&world, BASE INSERT("x", "1"));
    ASK(&world, BASE NEWEST);
    ASK(&world, "\x20" BASE);
    struct buf frame = {0};
    frame_put(&frame, HEADERS, END_HEADERS, id_next(&world), SLICE(BASE NEWEST));
    feed(&world, buf_slice(&frame));
    assert_int_equal(feed(&world, buf_slice(&frame)), ERR_CLOSED); /* there is no such entry */
    buf_fini(&frame);
    assert_string_equal(buf_cstr(&world.streams[world.count - 1].fields), BASE_FIELDS);
    assert_int_equal(world.known, 0);
    teardown(&world);
}

/* `cut`: bytes of the block in the first frame, the others in a CONTINUATION; all of it in pieces
 * of `step`. */
static void continued(size_t cut, size_t step)
{
    struct world world;
    setup(&world);
    ASK(&world, BASE INSERT("x", "1"));
    ASK(&world, BASE NEWEST);
    struct slice block = SLICE(BASE INSERT("y", "2"));
    struct buf frames = {0};
    uint32_t id = id_next(&world);
    if (cut < block.len) {
        frame_put(&frames, HEADERS, 0, id, slice_of(block.data, cut));
        frame_put(&frames, CONTINUATION, END_HEADERS, id, slice_skip(block, cut));
    } else {
        frame_put(&frames, HEADERS, END_HEADERS, id, block);
    }
    for (struct slice in = buf_slice(&frames); in.len > 0;) {
        size_t len = in.len < step ? in.len : step;
        if (feed(&world, slice_of(in.data, len)) != ERR_OK) {
            fail_msg("cut %zu, step %zu", cut, step);
        }
        in = slice_skip(in, len);
    }
    buf_fini(&frames);
    assert_string_equal(ASK(&world, BASE NEWEST), BASE_FIELDS "y=2;headers");
    assert_int_equal(world.known, 0);
    teardown(&world);
}

TEST(h2_memo, a_block_in_pieces_makes_all_be_forgotten)
{
    for (size_t cut = 0; cut <= strlen(BASE INSERT("y", "2")); cut++) {
        /* Debian's nghttp2 counts reads of a CONTINUATION's head, not frames: eight are the most.
         */
        for (size_t step = 2; step < 40; step++) {
            continued(cut, step);
        }
    }
}

TEST(h2_memo, a_block_byte_by_byte_makes_all_be_forgotten)
{
    continued(SIZE_MAX, 1);
}

TEST(h2_memo, a_known_block_is_malformed_as_trailers)
{
    struct world world;
    setup(&world);
    uint32_t id = world.next_id;
    ASK(&world, BASE);
    ASK(&world, BASE);
    struct buf frame = {0};
    frame_put(&frame, HEADERS, END_HEADERS | END_STREAM, id, SLICE(BASE));
    assert_int_equal(feed(&world, buf_slice(&frame)), ERR_OK);
    buf_fini(&frame);
    assert_false(world.streams[0].is_open);
    assert_int_equal(world.streams[0].code, H2_PROTOCOL_ERROR);
    assert_int_equal(world.count, 2);
    teardown(&world);
}

TEST(h2_memo, a_known_block_keeps_its_content_length)
{
    struct world world;
    setup(&world);
    ASK(&world, BASE LENGTH_5);
    ask_with(&world, SLICE(BASE LENGTH_5), END_STREAM);
    assert_int_equal(world.known, 1);
    assert_false(world.streams[1].is_open);
    assert_int_equal(world.streams[1].code, H2_PROTOCOL_ERROR);
    teardown(&world);
}

TEST(h2_memo, what_the_handler_does_not_keep_comes_as_if_new)
{
    struct world world;
    setup(&world);
    world.keeps_nothing = true;
    ASK(&world, BASE);
    assert_string_equal(ASK(&world, BASE), BASE_FIELDS "headers");
    assert_int_equal(world.known, 0);
    teardown(&world);
}

TEST(h2_memo, a_malformed_block_is_not_remembered)
{
    struct world world;
    setup(&world);
    for (unsigned i = 0; i < 3; i++) {
        ASK(&world, "\x83\x86"); /* no path */
        assert_false(world.streams[world.count - 1].is_open);
        assert_int_equal(world.streams[world.count - 1].code, H2_PROTOCOL_ERROR);
    }
    assert_int_equal(world.kept, 0);
    teardown(&world);
}

TEST(h2_memo, the_oldest_makes_room)
{
    static const struct slice blocks[] = {
        SLICE(BASE),           SLICE("\x82\x86\x84"), SLICE("\x83\x87\x84"),
        SLICE("\x82\x87\x84"), SLICE("\x86\x83\x84"),
    };
    _Static_assert(ARRAY_LEN(blocks) == H2_MEMO_SLOTS + 1, "one more than there is room for");
    struct world world;
    setup(&world);
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        ask_with(&world, blocks[i], 0);
    }
    assert_int_equal(world.dropped, 1);
    ask_with(&world, blocks[1], 0);
    assert_int_equal(world.known, 1);
    ask_with(&world, blocks[0], 0);
    assert_int_equal(world.known, 1);
    teardown(&world);
}

TEST(h2_memo, neutral_blocks_are_whole_and_leave_the_table_alone)
{
    static const struct {
        struct slice block;
        bool is_neutral;
    } rows[] = {
        {SLICE(""), true},
        {SLICE(BASE), true},
        {SLICE(BASE NEWEST LENGTH_5), true},
        {SLICE("\xff\x00"), true},
        {SLICE("\xff\x80\x01"), true},
        {SLICE("\xff"), false},
        {SLICE("\xff\x80"), false},
        {SLICE("\xff\x80\x80\x01"), false},
        {SLICE("\x40\x01x\x01y"), false},
        {SLICE("\x41\x01y"), false},
        {SLICE("\x20"), false},
        {SLICE("\x3f\xe1\x1f"), false},
        {SLICE(BASE "\x20"), false},
        {SLICE("\x04\x01y"), true},
        {SLICE("\x14\x01y"), true},
        {SLICE("\x00\x01x\x01y"), true},
        {SLICE("\x10\x01x\x01y"), true},
        {SLICE("\x00\x81x\x81y"), true}, /* Huffman's */
        {SLICE("\x00\x01x\x02y"), false},
        {SLICE("\x00\x01x"), false},
        {SLICE("\x00\x02x"), false},
        {SLICE("\x00"), false},
        {SLICE("\x0f"), false},
        {SLICE("\x0f\x0d"), false},
        {SLICE("\x00\x00\x00"), true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (h2_memo_is_neutral(rows[i].block) != rows[i].is_neutral) {
            fail_msg("row %zu", i);
        }
    }
}
