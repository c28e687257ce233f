/* Two sessions joined by their bytes, and one that is fed frames by hand. */
#include "codec/h2.h"

#include "base/mem.h"

#include "unit.h"

#include <stdio.h>

/* ---- one side -------------------------------------------------------------------------------- */

#define STREAMS_MAX 8192

struct side;
struct test_stream {
    struct side *side;
    int32_t id;
    struct buf fields; /* "name=value;" */
    struct buf data;
    struct outq body;
    bool is_last; /* nothing follows the body */
    bool has_trailers;
    bool keeps; /* data() keeps its bytes */
    unsigned headers;
    unsigned trailers;
    bool ended;
    bool closed;
    uint32_t code;
};

struct side {
    struct h2 *h2;
    struct outq out;
    struct test_stream streams[STREAMS_MAX];
    size_t count;
    bool refuse;
    unsigned pings;
    unsigned acks;
    unsigned goaways;
    uint32_t goaway_code;
    char goaway_text[64];
};

static struct test_stream *stream_add(struct side *side, int32_t id)
{
    assert_true(side->count < STREAMS_MAX);
    struct test_stream *stream = &side->streams[side->count++];
    stream->side = side;
    stream->id = id;
    outq_init(&stream->body, NULL);
    return stream;
}

static void *on_open(void *ctx, int32_t id)
{
    struct side *side = ctx;
    return side->refuse ? NULL : stream_add(side, id);
}

static void on_field(void *owner, struct slice name, struct slice value)
{
    struct test_stream *stream = owner;
    buf_append_slice(&stream->fields, name);
    buf_append_str(&stream->fields, "=");
    buf_append_slice(&stream->fields, value);
    buf_append_str(&stream->fields, ";");
}

static void on_headers(void *owner, bool is_trailers)
{
    struct test_stream *stream = owner;
    if (is_trailers) {
        stream->trailers++;
    } else {
        stream->headers++;
    }
}

static bool on_data(void *owner, struct slice bytes)
{
    struct test_stream *stream = owner;
    buf_append_slice(&stream->data, bytes);
    return !stream->keeps;
}

static void on_end(void *owner)
{
    struct test_stream *stream = owner;
    assert_false(stream->ended);
    stream->ended = true;
}

static void on_closed(void *owner, uint32_t code)
{
    struct test_stream *stream = owner;
    assert_false(stream->closed);
    stream->closed = true;
    stream->code = code;
}

static enum h2_pull on_pull(void *owner, size_t max, size_t *len_out)
{
    struct test_stream *stream = owner;
    *len_out = stream->body.len < max ? (size_t)stream->body.len : max;
    if (!stream->is_last || *len_out < stream->body.len) {
        return *len_out == 0 ? H2_PULL_WAIT : H2_PULL_MORE;
    }
    if (!stream->has_trailers) {
        return H2_PULL_END;
    }
    struct h2_field trailer = {SLICE("grpc-status"), SLICE("0"), true};
    h2_trailers(stream->side->h2, stream->id, &trailer, 1);
    return H2_PULL_TRAILERS;
}

static void on_write(void *owner, struct outq *out, size_t len)
{
    struct test_stream *stream = owner;
    outq_move(out, &stream->body, len, NULL);
}

static void on_ping(void *ctx, bool is_ack)
{
    struct side *side = ctx;
    side->pings += !is_ack;
    side->acks += is_ack;
}

static void on_goaway(void *ctx, int32_t last_id, uint32_t code, struct slice debug)
{
    struct side *side = ctx;
    UNUSED(last_id);
    side->goaways++;
    side->goaway_code = code;
    snprintf(side->goaway_text, sizeof(side->goaway_text), "%.*s", (int)debug.len,
             (const char *)debug.data);
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
};

static struct side *side_new(bool is_client, uint32_t window)
{
    struct side *side = NEW(struct side);
    struct h2_options options = {
        .is_client = is_client,
        .streams_max = UINT32_MAX,
        .stream_window = window,
        .connection_window = 1 << 20,
        .header_bytes_max = 4096,
        .header_count_max = 32,
    };
    side->h2 = h2_new(&options, &handler, side);
    outq_init(&side->out, NULL);
    return side;
}

static void side_free(struct side *side)
{
    h2_free(&side->h2);
    outq_fini(&side->out);
    for (size_t i = 0; i < side->count; i++) {
        buf_fini(&side->streams[i].fields);
        buf_fini(&side->streams[i].data);
        outq_fini(&side->streams[i].body);
    }
    mem_free(side);
}

/* Moves what `from` says to `to`, in pieces of `step`. True when there was something. */
static bool carry(struct side *from, struct side *to, size_t step)
{
    bool any = false;
    h2_send(from->h2, &from->out, SIZE_MAX);
    while (from->out.len > 0) {
        struct slice piece;
        outq_peek(&from->out, &piece, 1);
        piece.len = piece.len < step ? piece.len : step;
        enum err err = h2_recv(to->h2, piece, 0);
        assert_true(err == ERR_OK || err == ERR_CLOSED);
        outq_consume(&from->out, piece.len);
        any = true;
    }
    return any;
}

static void settle(struct side *a, struct side *b, size_t step)
{
    bool any = true;
    while (any) {
        any = carry(a, b, step);
        any = carry(b, a, step) || any;
    }
}

static struct test_stream *request(struct side *client, const char *path, bool has_body)
{
    struct h2_field fields[] = {
        {SLICE(":method"), SLICE("POST"), true},
        {SLICE(":scheme"), SLICE("http"), true},
        {SLICE(":path"), slice_str(path), false},
        {SLICE(":authority"), SLICE("a"), true},
    };
    struct test_stream *stream = stream_add(client, 0);
    stream->is_last = true;
    stream->id = h2_request(client->h2, fields, ARRAY_LEN(fields), has_body, stream);
    assert_true(stream->id > 0);
    return stream;
}

static void respond(struct test_stream *stream, bool has_body)
{
    struct h2_field status = {SLICE(":status"), SLICE("200"), true};
    h2_respond(stream->side->h2, stream->id, &status, 1, has_body);
}

/* ---- exchanges ----------------------------------------------------------------------------------
 */

static void exchange(size_t step)
{
    struct side *client = side_new(true, 65535);
    struct side *server = side_new(false, 65535);
    struct test_stream *ask = request(client, "/echo", true);
    outq_append(&ask->body, "question", 8);
    settle(client, server, step);
    assert_int_equal(server->count, 1);
    struct test_stream *answer = &server->streams[0];
    assert_string_equal(buf_cstr(&answer->fields), ":method=POST;:scheme=http;:path=/echo;"
                                                   ":authority=a;");
    assert_int_equal(answer->headers, 1);
    assert_true(answer->ended);
    assert_true(slice_eq_str(buf_slice(&answer->data), "question"));
    respond(answer, true);
    answer->has_trailers = true;
    outq_append(&answer->body, "part one, ", 10);
    h2_resume(server->h2, answer->id);
    settle(client, server, step);
    assert_false(ask->ended);
    outq_append(&answer->body, "part two", 8);
    answer->is_last = true;
    h2_resume(server->h2, answer->id);
    settle(client, server, step);
    assert_true(slice_eq_str(buf_slice(&ask->data), "part one, part two"));
    assert_string_equal(buf_cstr(&ask->fields), ":status=200;grpc-status=0;");
    assert_int_equal(ask->headers, 1);
    assert_int_equal(ask->trailers, 1);
    assert_true(ask->ended && ask->closed && answer->closed);
    assert_int_equal(ask->code, H2_NO_ERROR);
    side_free(client);
    side_free(server);
}

TEST(h2, a_request_and_its_answer_survive_any_trickle)
{
    for (size_t step = 1; step < 20; step++) {
        exchange(step);
    }
    exchange(100000);
}

TEST(h2, an_answer_without_a_body_ends_the_stream)
{
    struct side *client = side_new(true, 65535);
    struct side *server = side_new(false, 65535);
    struct test_stream *ask = request(client, "/", false);
    settle(client, server, 1000);
    respond(&server->streams[0], false);
    settle(client, server, 1000);
    assert_true(ask->ended && ask->closed);
    assert_int_equal(ask->data.len, 0);
    side_free(client);
    side_free(server);
}

TEST(h2, a_complete_answer_to_an_open_request_resets_it_without_an_error)
{
    struct side *client = side_new(true, 65535);
    struct side *server = side_new(false, 65535);
    struct test_stream *ask = request(client, "/", true);
    ask->is_last = false; /* the body never ends */
    settle(client, server, 1000);
    respond(&server->streams[0], false);
    settle(client, server, 1000);
    assert_true(ask->ended && ask->closed);
    assert_int_equal(ask->code, H2_NO_ERROR);
    assert_true(server->streams[0].closed);
    side_free(client);
    side_free(server);
}

TEST(h2, windows_hold_a_body_back_until_it_is_consumed)
{
    struct side *client = side_new(true, 1000);
    struct side *server = side_new(false, 65535);
    struct test_stream *ask = request(client, "/", false);
    ask->keeps = true;
    settle(client, server, 1000);
    struct test_stream *answer = &server->streams[0];
    for (unsigned i = 0; i < 5000; i++) {
        outq_append(&answer->body, "x", 1);
    }
    answer->is_last = true;
    respond(answer, true);
    settle(client, server, 1000);
    assert_int_equal(ask->data.len, 1000);
    h2_consume(client->h2, ask->id, 1000);
    settle(client, server, 1000);
    assert_int_equal(ask->data.len, 2000);
    ask->keeps = false;
    h2_consume(client->h2, ask->id, 1000);
    settle(client, server, 1000);
    assert_int_equal(ask->data.len, 5000);
    assert_true(ask->ended);
    side_free(client);
    side_free(server);
}

TEST(h2, output_stops_at_the_limit)
{
    struct side *client = side_new(true, 1 << 20);
    struct side *server = side_new(false, 65535);
    static uint8_t large[500000];
    request(client, "/", false);
    settle(client, server, 1000);
    struct test_stream *answer = &server->streams[0];
    outq_append_ref(&answer->body, slice_of(large, sizeof(large)), NULL);
    answer->is_last = true;
    respond(answer, true);
    assert_true(h2_send(server->h2, &server->out, 100000));
    assert_in_range(server->out.len, 100000, 100000 + 16384 + 9);
    outq_check(&server->out);
    while (server->out.len > 0) {
        carry(server, client, 4096);
    }
    settle(client, server, 4096);
    assert_int_equal(client->streams[0].data.len, sizeof(large));
    side_free(client);
    side_free(server);
}

TEST(h2, an_incremental_stream_lets_a_later_one_pass)
{
    struct side *client = side_new(true, 1 << 20);
    struct side *server = side_new(false, 65535);
    static uint8_t large[900000];
    struct test_stream *first = request(client, "/large", false);
    struct test_stream *second = request(client, "/small", false);
    settle(client, server, 1000);
    struct test_stream *bulk = &server->streams[0];
    struct test_stream *quick = &server->streams[1];
    outq_append_ref(&bulk->body, slice_of(large, sizeof(large)), NULL);
    bulk->is_last = true;
    h2_urgency(server->h2, bulk->id, 3);
    respond(bulk, true);
    assert_true(h2_send(server->h2, &server->out, 100000));
    outq_append(&quick->body, "quick", 5);
    quick->is_last = true;
    respond(quick, true);
    h2_send(server->h2, &server->out, 200000);
    while (server->out.len > 0) {
        struct slice piece;
        outq_peek(&server->out, &piece, 1);
        assert_int_equal(h2_recv(client->h2, piece, 0), ERR_OK);
        outq_consume(&server->out, piece.len);
    }
    assert_true(second->ended);
    assert_false(first->ended);
    assert_in_range(first->data.len, 100000, 250000);
    settle(client, server, 100000);
    assert_int_equal(first->data.len, sizeof(large));
    side_free(client);
    side_free(server);
}

TEST(h2, a_refused_stream_is_closed_with_that_code)
{
    struct side *client = side_new(true, 65535);
    struct side *server = side_new(false, 65535);
    server->refuse = true;
    struct test_stream *ask = request(client, "/", true);
    settle(client, server, 1000);
    assert_true(ask->closed);
    assert_int_equal(ask->code, H2_REFUSED_STREAM);
    assert_int_equal(server->count, 0);
    side_free(client);
    side_free(server);
}

TEST(h2, too_many_header_bytes_or_fields_cost_the_stream)
{
    struct side *client = side_new(true, 65535);
    struct side *server = side_new(false, 65535);
    char large[5000];
    memset(large, 'v', sizeof(large));
    struct h2_field fields[40] = {
        {SLICE(":method"), SLICE("POST"), true},
        {SLICE(":scheme"), SLICE("http"), true},
        {SLICE(":path"), SLICE("/"), true},
        {SLICE(":authority"), SLICE("a"), true},
        {SLICE("x-large"), slice_of(large, 5000), false},
    };
    struct test_stream *ask = stream_add(client, 0);
    ask->id = h2_request(client->h2, fields, 5, false, ask);
    settle(client, server, 1000);
    assert_true(ask->closed);
    assert_int_equal(ask->code, H2_FRAME_SIZE_ERROR);
    for (size_t i = 4; i < ARRAY_LEN(fields); i++) {
        fields[i] = (struct h2_field){SLICE("x"), SLICE("y"), true};
    }
    ask = stream_add(client, 0);
    ask->id = h2_request(client->h2, fields, ARRAY_LEN(fields), false, ask);
    settle(client, server, 1000);
    assert_true(ask->closed);
    assert_int_equal(ask->code, H2_FRAME_SIZE_ERROR);
    assert_int_equal(server->streams[0].headers + server->streams[1].headers, 0);
    /* The session lives on. */
    ask = request(client, "/fine", false);
    settle(client, server, 1000);
    assert_int_equal(server->streams[2].headers, 1);
    side_free(client);
    side_free(server);
}

TEST(h2, going_away_in_two_steps)
{
    struct side *client = side_new(true, 65535);
    struct side *server = side_new(false, 65535);
    struct test_stream *first = request(client, "/1", false);
    settle(client, server, 1000);
    h2_shutdown_notice(server->h2);
    h2_ping(server->h2);
    settle(client, server, 1000);
    assert_int_equal(client->goaways, 1);
    assert_int_equal(client->goaway_code, H2_NO_ERROR);
    assert_int_equal(server->acks, 1);
    h2_shutdown(server->h2);
    settle(client, server, 1000);
    assert_false(first->closed);
    assert_false(h2_is_done(server->h2));
    respond(&server->streams[0], false);
    settle(client, server, 1000);
    assert_true(first->closed);
    assert_true(h2_is_done(server->h2));
    side_free(client);
    side_free(server);
}

/* ---- floods ----------------------------------------------------------------------------- */

static enum err feed(struct side *server, struct slice bytes, uint64_t now)
{
    enum err err = h2_recv(server->h2, bytes, now);
    /* What it says is read, so that no queue of acknowledgements fills. */
    h2_send(server->h2, &server->out, SIZE_MAX);
    return err;
}

/* Sends `frame` until the session ends; returns how many it took, `max` when it did not. */
static unsigned flood(struct slice frame, unsigned max, uint64_t interval_ns, const char *debug)
{
    struct side *server = side_new(false, 65535);
    unsigned count = 0;
    uint64_t now = 1000000000;
    assert_int_equal(feed(server, SLICE(H2_PREFACE "\0\0\0\4\0\0\0\0\0"), now), ERR_OK);
    while (count < max && feed(server, frame, now) == ERR_OK) {
        count++;
        now += interval_ns;
        outq_clear(&server->out);
    }
    if (count < max && debug != NULL) {
        struct buf said = {0};
        struct slice piece;
        while (outq_peek(&server->out, &piece, 1) > 0) {
            buf_append_slice(&said, piece);
            outq_consume(&server->out, piece.len);
        }
        size_t len = strlen(debug);
        assert_true(said.len >= 17 + len);
        const uint8_t *goaway = said.data + said.len - 17 - len;
        assert_int_equal(goaway[3], 7);
        assert_int_equal(get_be32(goaway + 13), H2_ENHANCE_YOUR_CALM);
        assert_memory_equal(goaway + 17, debug, len);
        buf_fini(&said);
    }
    side_free(server);
    return count;
}

TEST(h2, control_frame_floods_end_in_enhance_your_calm)
{
    struct slice settings = SLICE("\0\0\0\4\0\0\0\0\0");
    struct slice ping = SLICE("\0\0\x8\6\0\0\0\0\0abcdefgh");
    struct slice priority = SLICE("\0\0\5\2\0\0\0\0\1\0\0\0\0\x10");
    const char *calm = "too_many_control_frames";
    assert_in_range(flood(settings, 100000, 1000, calm), H2_CONTROL_BURST - 10, 4200);
    assert_in_range(flood(ping, 100000, 1000, calm), H2_CONTROL_BURST - 10, 4200);
    assert_in_range(flood(priority, 100000, 1000, calm), H2_CONTROL_BURST - 10, 4200);
    assert_in_range(flood(SLICE("\0\0\1\xee\0\0\0\0\0x"), 100000, 1000, calm),
                    H2_CONTROL_BURST - 10, 4200);
    assert_in_range(flood(SLICE("\0\0\1\xee\0\0\0\0\1x"), 100000, 1000, calm),
                    H2_CONTROL_BURST - 10, 4200);
    /* At a moderate pace they are served for ever. */
    assert_int_equal(flood(ping, 20000, 2000000, NULL), 20000);
}

/* A request on stream `id` and its reset: 0x83 :method POST, 0x86 :scheme http, 0x84 :path /. */
static void reset_pair(uint32_t id, uint8_t out[25])
{
    static const uint8_t shape[25] = {0, 0, 3, 1, 4, 0, 0, 0, 0, 0x83, 0x86, 0x84, 0,
                                      0, 4, 3, 0, 0, 0, 0, 0, 0, 0,    0,    8};
    memcpy(out, shape, sizeof(shape));
    put_be32(out + 5, id);
    put_be32(out + 17, id);
}

TEST(h2, rapid_reset_is_stopped)
{
    struct side *server = side_new(false, 65535);
    unsigned count = 0;
    assert_int_equal(feed(server, SLICE(H2_PREFACE "\0\0\0\4\0\0\0\0\0"), 1), ERR_OK);
    for (; count < 8000; count++) {
        uint8_t pair[25];
        reset_pair(count * 2 + 1, pair);
        if (feed(server, slice_of(pair, sizeof(pair)), 1 + count * 1000ull) != ERR_OK) {
            break;
        }
    }
    assert_in_range(count, H2_RESETS_BURST / 2 - 10, H2_RESETS_BURST + 10);
    side_free(server);
}

/* ---- malformed requests ----------------------------------------------------------------- */

/* A request on stream 1 with literal fields, "name|value" lines, then `frames` as they are. Returns
 * the server, that has been fed all of it. */
static struct side *server_fed(const char *lines, bool is_end, struct slice frames)
{
    struct side *server = side_new(false, 65535);
    struct buf block = {0};
    struct slice rest = slice_str(lines);
    while (rest.len > 0) {
        struct slice line;
        struct slice name;
        rest = slice_split(rest, '\n', &line);
        struct slice value = slice_split(line, '|', &name);
        buf_append_byte(&block, 0); /* literal, not indexed, new name */
        buf_append_byte(&block, (uint8_t)name.len);
        buf_append_slice(&block, name);
        buf_append_byte(&block, (uint8_t)value.len);
        buf_append_slice(&block, value);
    }
    uint8_t head[9] = {0, 0, 0, 1, is_end ? 5 : 4, 0, 0, 0, 1};
    assert_in_range(block.len, 1, 255);
    head[2] = (uint8_t)block.len;
    assert_int_equal(feed(server, SLICE(H2_PREFACE "\0\0\0\4\0\0\0\0\0"), 1), ERR_OK);
    assert_int_equal(feed(server, slice_of(head, 9), 1), ERR_OK);
    assert_int_equal(feed(server, buf_slice(&block), 1), ERR_OK);
    if (frames.len > 0) {
        assert_int_equal(feed(server, frames, 1), ERR_OK);
    }
    buf_fini(&block);
    return server;
}

#define POST ":method|POST\n:scheme|http\n:path|/\n"
#define DATA_ABC "\0\0\3\0\0\0\0\0\1abc"
#define DATA_ABC_END "\0\0\3\0\1\0\0\0\1abc"
/* Trailers: the literal field t: v. */
#define TRAILERS(flags) "\0\0\5\1" flags "\0\0\0\1\0\1t\1v"

TEST(h2, a_malformed_request_costs_its_stream_only)
{
    static const struct {
        const char *lines;
        bool is_end;
        struct slice frames;
        unsigned headers; /* the request was told before it went wrong */
    } rows[] = {
        {":method|POST\n:scheme|http\n", true, {0}, 0},
        {POST ":path|/\n", false, {0}, 0},
        {POST "x|y\n:authority|a\n", true, {0}, 0},
        {POST "Upper|y\n", false, SLICE(DATA_ABC_END), 0},
        {POST "connection|close\n", true, {0}, 0},
        {POST "content-length|1\n", true, {0}, 0},
        {POST "content-length|2\n", false, SLICE(DATA_ABC), 1},
        {POST "content-length|4\n", false, SLICE(DATA_ABC_END), 1},
        {POST "content-length|4\n", false, SLICE(DATA_ABC TRAILERS("\5")), 1},
        {POST, false, SLICE(DATA_ABC TRAILERS("\4")), 1},
        {POST, false, SLICE("\0\0\1\1\5\0\0\0\1\x84"), 1}, /* :path in trailers */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct side *server = server_fed(rows[i].lines, rows[i].is_end, rows[i].frames);
        assert_int_equal(server->count, 1);
        struct test_stream *stream = &server->streams[0];
        assert_int_equal(stream->headers, rows[i].headers);
        assert_int_equal(stream->trailers, 0);
        assert_false(stream->ended);
        assert_true(stream->closed);
        assert_int_equal(stream->code, H2_PROTOCOL_ERROR);
        /* The session lives on: 0x83 :method POST, 0x86 :scheme http, 0x84 :path /. */
        assert_int_equal(feed(server, SLICE("\0\0\3\1\5\0\0\0\3\x83\x86\x84"), 1), ERR_OK);
        assert_int_equal(server->count, 2);
        assert_true(server->streams[1].ended);
        assert_int_equal(server->streams[1].headers, 1);
        side_free(server);
    }
}

TEST(h2, bytes_over_the_content_length_are_not_told)
{
    struct side *server = server_fed(POST "content-length|4\n", false, SLICE(DATA_ABC DATA_ABC));
    assert_true(slice_eq_str(buf_slice(&server->streams[0].data), "abc"));
    assert_true(server->streams[0].closed);
    side_free(server);
}

TEST(h2, a_content_length_that_is_kept_is_fine)
{
    struct side *server =
        server_fed(POST "content-length|6\n", false, SLICE(DATA_ABC DATA_ABC TRAILERS("\5")));
    struct test_stream *stream = &server->streams[0];
    assert_true(slice_eq_str(buf_slice(&stream->data), "abcabc"));
    assert_true(stream->ended);
    assert_int_equal(stream->trailers, 1);
    assert_false(stream->closed);
    side_free(server);
}

TEST(h2, an_authority_that_is_a_url_is_told_as_it_is)
{
    struct side *server = server_fed(POST ":authority|http://127.0.0.1:2379\n", true, SLICE_EMPTY);
    struct test_stream *stream = &server->streams[0];
    assert_true(stream->ended);
    assert_string_equal(buf_cstr(&stream->fields), ":method=POST;:scheme=http;:path=/;"
                                                   ":authority=http://127.0.0.1:2379;");
    side_free(server);
}

TEST(h2, a_flood_of_malformed_requests_is_stopped)
{
    struct side *server = side_new(false, 65535);
    unsigned count = 0;
    assert_int_equal(feed(server, SLICE(H2_PREFACE "\0\0\0\4\0\0\0\0\0"), 1), ERR_OK);
    for (; count < STREAMS_MAX; count++) {
        uint8_t frame[10] = {0, 0, 1, 1, 5, 0, 0, 0, 0, 0x83};
        put_be32(frame + 5, count * 2 + 1);
        if (feed(server, slice_of(frame, sizeof(frame)), 1 + count * 1000ull) != ERR_OK) {
            break;
        }
    }
    assert_in_range(count, H2_RESETS_BURST - 10, H2_RESETS_BURST + 10);
    side_free(server);
}

TEST(h2, a_continuation_flood_ends_the_session)
{
    struct side *server = side_new(false, 65535);
    enum err err = feed(server, SLICE(H2_PREFACE "\0\0\0\4\0\0\0\0\0"), 1);
    unsigned count = 0;
    assert_int_equal(err, ERR_OK);
    err = feed(server, SLICE("\0\0\1\1\0\0\0\0\1\x83"), 1);
    while (err == ERR_OK && count < 1000) {
        err = feed(server, SLICE("\0\0\1\x9\0\0\0\0\1\x86"), 1);
        count++;
    }
    assert_int_equal(err, ERR_CLOSED);
    assert_in_range(count, 1, 20);
    side_free(server);
}

TEST(h2, an_unfinished_block_shows)
{
    struct side *server = side_new(false, 65535);
    assert_true(h2_is_owed(server->h2));
    assert_int_equal(feed(server, SLICE(H2_PREFACE), 1), ERR_OK);
    assert_true(h2_is_owed(server->h2));
    assert_int_equal(feed(server, SLICE("\0\0\0\4\0\0\0\0\0"), 1), ERR_OK);
    assert_false(h2_is_owed(server->h2));
    assert_int_equal(feed(server, SLICE("\0\0\1\1\0\0\0\0\1\x83"), 1), ERR_OK);
    assert_true(h2_is_owed(server->h2));
    assert_int_equal(feed(server, SLICE("\0\0\2\x9\4\0\0\0\1\x86\x84"), 1), ERR_OK);
    assert_false(h2_is_owed(server->h2));
    side_free(server);
}

TEST(h2, a_bad_preface_is_the_end)
{
    struct side *server = side_new(false, 65535);
    assert_int_equal(feed(server, SLICE("GET / HTTP/1.1\r\n\r\n"), 1), ERR_CLOSED);
    assert_true(h2_is_done(server->h2));
    side_free(server);
}

TEST(h2, termination_says_why)
{
    struct side *client = side_new(true, 65535);
    struct side *server = side_new(false, 65535);
    settle(client, server, 1000);
    h2_terminate(server->h2, H2_ENHANCE_YOUR_CALM, "too_many_pings");
    h2_terminate(server->h2, H2_INTERNAL_ERROR, "only the first counts");
    carry(server, client, 1000);
    assert_int_equal(client->goaways, 1);
    assert_int_equal(client->goaway_code, H2_ENHANCE_YOUR_CALM);
    assert_string_equal(client->goaway_text, "too_many_pings");
    assert_int_equal(h2_recv(server->h2, SLICE("x"), 0), ERR_CLOSED);
    side_free(client);
    side_free(server);
}
