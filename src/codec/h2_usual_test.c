/* A server that answers as usual, and a client that reads it with nghttp2's inflater: whatever
 * happened to the table, the fields are the same. */
#include "codec/h2_usual.h"

#include "base/mem.h"

#include "unit.h"

#define ANSWER ":status=200;content-type=application/grpc;|grpc-status=0;grpc-message=;"

static const struct h2_field head[] = {
    {SLICE(":status"), SLICE("200"), true},
    {SLICE("content-type"), SLICE("application/grpc"), true},
};
static const struct h2_field trailers[] = {
    {SLICE("grpc-status"), SLICE("0"), true},
    {SLICE("grpc-message"), SLICE(""), true},
};

struct side;
struct stream {
    struct side *side;
    int32_t id;
    struct buf told;
    struct buf data;
    size_t left; /* of the answer's body */
    bool is_late;
    bool is_done;
    uint32_t code;
};

struct side {
    struct h2 *h2;
    struct outq out;
    struct stream streams[128];
    size_t count;
};

static struct stream *stream_add(struct side *side, int32_t id)
{
    assert_true(side->count < ARRAY_LEN(side->streams));
    struct stream *stream = &side->streams[side->count++];
    *stream = (struct stream){.side = side, .id = id, .left = 3};
    return stream;
}

static void *on_open(void *ctx, int32_t id)
{
    return stream_add(ctx, id);
}

static void on_field(void *owner, struct slice name, struct slice value)
{
    struct stream *stream = owner;
    buf_append_slice(&stream->told, name);
    buf_append_str(&stream->told, "=");
    buf_append_slice(&stream->told, value);
    buf_append_str(&stream->told, ";");
}

static void on_headers(void *owner, bool is_trailers)
{
    struct stream *stream = owner;
    if (!is_trailers) {
        buf_append_str(&stream->told, "|");
    }
}

static bool on_data(void *owner, struct slice bytes)
{
    struct stream *stream = owner;
    buf_append_slice(&stream->data, bytes);
    return true;
}

static void on_end(void *owner)
{
    UNUSED(owner);
}

static void on_closed(void *owner, uint32_t code)
{
    struct stream *stream = owner;
    stream->is_done = true;
    stream->code = code;
}

static enum h2_pull on_pull(void *owner, size_t max, size_t *len_out)
{
    struct stream *stream = owner;
    *len_out = stream->left < max ? stream->left : max;
    if (stream->is_late) {
        return *len_out > 0 ? H2_PULL_MORE : H2_PULL_WAIT;
    }
    return *len_out < stream->left ? H2_PULL_MORE : H2_PULL_USUAL;
}

static void on_write(void *owner, struct outq *out, size_t len)
{
    struct stream *stream = owner;
    for (size_t i = 0; i < len; i++) {
        outq_append(out, "x", 1);
    }
    stream->left -= len;
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

struct pair {
    struct side client;
    struct side server;
    struct buf said; /* by the server, of late */
};

static void side_init(struct side *side, bool is_client)
{
    struct h2_options options = {
        .is_client = is_client,
        .streams_max = UINT32_MAX,
        .stream_window = 65535,
        .connection_window = 65535,
        .header_bytes_max = 4096,
        .header_count_max = 32,
    };
    if (!is_client) {
        options.usual =
            (struct h2_usual_fields){head, ARRAY_LEN(head), trailers, ARRAY_LEN(trailers)};
    }
    *side = (struct side){0};
    side->h2 = h2_new(&options, &handler, side);
    outq_init(&side->out, NULL);
}

/* All that `side` has to say, in turns of `limit` bytes. */
static void say(struct side *side, size_t limit, struct buf *said)
{
    bool has_more = true;
    while (has_more) {
        has_more = h2_send(side->h2, &side->out, limit);
        while (side->out.len > 0) {
            struct slice piece;
            outq_peek(&side->out, &piece, 1);
            buf_append_slice(said, piece);
            outq_consume(&side->out, piece.len);
        }
    }
}

/* The client knows nothing of resize(), and must not see the acknowledgement. */
static void hear(struct side *side, struct slice in, bool is_client)
{
    while (is_client && in.len > 0) {
        size_t len = 9 + ((size_t)in.data[1] << 8 | in.data[2]);
        if (in.data[3] != 4 || in.data[4] != 1) {
            assert_int_equal(h2_recv(side->h2, slice_of(in.data, len), 0), ERR_OK);
        }
        in = slice_skip(in, len);
    }
    assert_int_equal(h2_recv(side->h2, in, 0), ERR_OK);
}

static bool carry(struct side *from, struct side *to, size_t limit, bool to_client,
                  struct buf *said_out)
{
    struct buf said = {0};
    say(from, limit, &said);
    bool any = said.len > 0;
    hear(to, buf_slice(&said), to_client);
    if (to_client) {
        buf_append_slice(said_out, buf_slice(&said));
    }
    buf_fini(&said);
    return any;
}

static void settle(struct pair *pair, size_t limit)
{
    buf_reset(&pair->said);
    while (carry(&pair->client, &pair->server, SIZE_MAX, false, NULL) ||
           carry(&pair->server, &pair->client, limit, true, &pair->said)) {
    }
}

static void setup(struct pair *pair)
{
    side_init(&pair->client, true);
    side_init(&pair->server, false);
    pair->said = (struct buf){0};
}

static void side_fini(struct side *side)
{
    h2_free(&side->h2);
    outq_fini(&side->out);
    for (size_t i = 0; i < side->count; i++) {
        buf_fini(&side->streams[i].told);
        buf_fini(&side->streams[i].data);
    }
}

static void teardown(struct pair *pair)
{
    side_fini(&pair->client);
    side_fini(&pair->server);
    buf_fini(&pair->said);
}

static void request(struct pair *pair)
{
    static const struct h2_field fields[] = {
        {SLICE(":method"), SLICE("POST"), true},
        {SLICE(":scheme"), SLICE("http"), true},
        {SLICE(":path"), SLICE("/"), true},
    };
    struct stream *stream = stream_add(&pair->client, 0);
    stream->id = h2_request(pair->client.h2, fields, ARRAY_LEN(fields), false, stream);
    settle(pair, SIZE_MAX);
}

static struct stream *newest(struct side *side)
{
    return &side->streams[side->count - 1];
}

static void answer_check(struct stream *stream)
{
    assert_string_equal(buf_cstr(&stream->told), ANSWER);
    assert_int_equal(stream->data.len, 3);
    assert_true(stream->is_done);
    assert_int_equal(stream->code, H2_NO_ERROR);
}

/* One request and its usual answer: its length on the wire. */
static size_t exchange(struct pair *pair)
{
    request(pair);
    h2_respond_usual(pair->server.h2, newest(&pair->server)->id);
    settle(pair, SIZE_MAX);
    answer_check(newest(&pair->client));
    assert_true(newest(&pair->server)->is_done);
    return pair->said.len;
}

/* Three frames: two indexes, the body, two indexes. */
#define SHORTEST ((size_t)(9 + 2 + 9 + 3 + 9 + 2))

/* The peer changes the size of the server's table. */
static void resize(struct pair *pair, uint32_t size)
{
    uint8_t frame[9 + 6] = {0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 1};
    put_be32(frame + 11, size);
    assert_int_equal(h2_recv(pair->server.h2, slice_of(frame, sizeof(frame)), 0), ERR_OK);
}

static void fail_one(struct pair *pair, struct slice message)
{
    struct h2_field fields[] = {
        {SLICE(":status"), SLICE("200"), true},
        {SLICE("grpc-message"), message, false},
    };
    h2_respond(pair->server.h2, newest(&pair->server)->id, fields, ARRAY_LEN(fields), false);
}

TEST(h2_usual, answers_become_short_and_stay_the_same)
{
    struct pair pair;
    setup(&pair);
    assert_true(exchange(&pair) > SHORTEST);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(exchange(&pair), SHORTEST);
    }
    teardown(&pair);
}

TEST(h2_usual, other_fields_in_between_move_the_table)
{
    struct pair pair;
    setup(&pair);
    for (unsigned i = 0; i < 20; i++) {
        exchange(&pair);
        request(&pair);
        uint8_t text[] = {'e', (uint8_t)('a' + i)};
        fail_one(&pair, slice_of(text, i % 4 == 0 ? 1 : 2));
        settle(&pair, SIZE_MAX);
        assert_true(newest(&pair.client)->is_done);
    }
    teardown(&pair);
}

TEST(h2_usual, an_answer_survives_what_is_sent_before_it)
{
    struct pair pair;
    setup(&pair);
    for (unsigned i = 0; i < 3; i++) {
        exchange(&pair);
    }
    request(&pair);
    request(&pair);
    /* The other one's block goes first and changes the table under this one's. */
    fail_one(&pair, SLICE("moves the table"));
    h2_respond_usual(pair.server.h2, pair.server.streams[pair.server.count - 2].id);
    settle(&pair, SIZE_MAX);
    answer_check(&pair.client.streams[pair.client.count - 2]);
    assert_int_not_equal(pair.said.len, 0);
    exchange(&pair);
    assert_int_equal(exchange(&pair), SHORTEST);
    teardown(&pair);
}

TEST(h2_usual, a_changed_size_of_the_table_is_obeyed)
{
    static const uint32_t sizes[] = {0, 4096, 60, 100, 4096, 65536};
    struct pair pair;
    setup(&pair);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (unsigned at = 0; at < 3; at++) {
            for (unsigned k = 0; k < 3; k++) {
                exchange(&pair);
            }
            request(&pair);
            if (at == 0) {
                resize(&pair, sizes[i]); /* before the answer is given */
            }
            h2_respond_usual(pair.server.h2, newest(&pair.server)->id);
            if (at == 1) {
                resize(&pair, sizes[i]); /* before it is sent */
            }
            settle(&pair, SIZE_MAX);
            answer_check(newest(&pair.client));
        }
    }
    for (unsigned k = 0; k < 3; k++) {
        exchange(&pair);
    }
    assert_int_equal(exchange(&pair), SHORTEST);
    teardown(&pair);
}

TEST(h2_usual, an_output_with_little_room_changes_nothing)
{
    for (size_t limit = 1; limit < 80; limit++) {
        struct pair pair;
        setup(&pair);
        exchange(&pair);
        exchange(&pair);
        for (unsigned i = 0; i < 3; i++) {
            request(&pair);
        }
        for (unsigned i = 1; i <= 3; i++) {
            h2_respond_usual(pair.server.h2, pair.server.streams[pair.server.count - i].id);
        }
        settle(&pair, limit);
        for (unsigned i = 1; i <= 3; i++) {
            answer_check(&pair.client.streams[pair.client.count - i]);
        }
        teardown(&pair);
    }
}

TEST(h2_usual, an_end_that_comes_later_has_trailers_of_its_own)
{
    struct pair pair;
    setup(&pair);
    exchange(&pair);
    exchange(&pair);
    request(&pair);
    struct stream *stream = newest(&pair.server);
    stream->is_late = true;
    h2_respond_usual(pair.server.h2, stream->id);
    settle(&pair, SIZE_MAX);
    assert_false(newest(&pair.client)->is_done);
    stream->is_late = false;
    h2_resume(pair.server.h2, stream->id);
    settle(&pair, SIZE_MAX);
    answer_check(newest(&pair.client));
    assert_int_equal(exchange(&pair), SHORTEST);
    teardown(&pair);
}

TEST(h2_usual, only_indexes_of_one_byte_are_pure)
{
    assert_true(h2_usual_is_pure(SLICE("\x88\xfe\x81")));
    assert_false(h2_usual_is_pure(SLICE("")));
    assert_false(h2_usual_is_pure(SLICE("\x88\xff")));
    assert_false(h2_usual_is_pure(SLICE("\x80")));
    assert_false(h2_usual_is_pure(SLICE("\x88\x40\x01x\x01y")));
    assert_false(h2_usual_is_pure(SLICE("\x20\x88")));
}
