#include "api/watch_reply.h"

#include "base/mem.h"
#include "codec/pb.h"
#include "state/watch_world.h"
#include "unit.h"

#include "rpc.pb-c.h"

#include <stdio.h>

/* A stream that keeps its body, and what the parts of it came to. */
struct parts {
    const struct watch_body *body;
    struct buf messages[64];
    size_t count;
};

static void keep(struct world_stream *stream, const struct watch_batch *batch)
{
    watch_body_unref(stream->kept);
    stream->kept = watch_body_ref(batch->body);
}

static void on_part(void *ctx, struct slice head, struct watch_cursor from, size_t len)
{
    struct parts *parts = ctx;
    struct slice piece;
    assert_true(parts->count < ARRAY_LEN(parts->messages));
    struct buf *message = &parts->messages[parts->count++];
    buf_append_slice(message, head);
    while (watch_cursor_take(parts->body, &from, &len, &piece)) {
        buf_append_slice(message, piece);
    }
}

static void parts_make(struct parts *parts, const struct watch_reply *reply,
                       const struct watch_body *body, bool may_fragment, size_t max)
{
    struct buf scratch = {0};
    *parts = (struct parts){.body = body};
    watch_reply_events(reply, body, may_fragment, max, &scratch, on_part, parts);
    buf_fini(&scratch);
}

static void parts_fini(struct parts *parts)
{
    for (size_t i = 0; i < parts->count; i++) {
        buf_fini(&parts->messages[i]);
    }
}

static const Etcdserverpb__WatchResponse *decode(struct arena *arena, const struct buf *message)
{
    void *out = NULL;
    assert_int_equal(
        pb_decode(arena, &etcdserverpb__watch_response__descriptor, buf_slice(message), &out, NULL),
        ERR_OK);
    return out;
}

/* `count` keys, each with `value`, in one revision; the body as a watcher got it. */
static struct watch_world *world_with(unsigned count, const char *value)
{
    struct watch_world *w = NEW(struct watch_world);
    char key[16];
    watch_world_init(w, NULL);
    watch_world_watch(w, 0, "k", "l", 0, 0);
    w->streams[0].on_events = keep;
    watch_world_begin(w);
    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof(key), "k%03u", i);
        mvcc_put(w->store, slice_str(key), slice_str(value), 0);
    }
    watch_world_end(w);
    watch_hub_flush(w->hub);
    return w;
}

static void world_free(struct watch_world *w)
{
    watch_world_fini(w);
    mem_free(w);
}

TEST(watch_reply, a_small_message_written_in_place_has_the_same_bytes)
{
    struct watch_world *w = NEW(struct watch_world);
    struct watch_reply_header ready = {.header = {0}};
    watch_world_init(w, NULL);
    watch_world_watch(w, 1, "a", "z", 0, 0);
    w->streams[1].on_events = keep;
    watch_world_put(w, "a", "1");
    watch_world_put(w, "b", "2");
    watch_hub_flush(w->hub);
    const struct watch_body *body = w->streams[1].kept;
    assert_int_equal(body->piece_count, 1);
    static const struct watch_reply replies[] = {
        {.header = {.cluster_id = 1, .member_id = 2, .revision = 3, .raft_term = 4}, .id = 0},
        {.header = {.cluster_id = 1, .member_id = 2, .revision = 3, .raft_term = 4}, .id = 7},
        {.header = {.cluster_id = 1, .member_id = 2, .revision = 300, .raft_term = 4}, .id = 300},
        {.header = {.cluster_id = 1, .member_id = 2, .revision = 300, .raft_term = 5}, .id = -9},
        {.header = {.cluster_id = 1, .member_id = 3, .revision = 300, .raft_term = 5}, .id = 1},
        {.header = {.cluster_id = 9, .member_id = 3, .revision = 300, .raft_term = 5}, .id = 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        struct parts parts;
        uint8_t bytes[256];
        struct slice events = body->pieces[0].bytes;
        parts_make(&parts, &replies[i], body, false, 1 << 20);
        assert_int_equal(parts.count, 1);
        watch_reply_header_set(&ready, &replies[i].header);
        size_t len = watch_reply_whole_size(&ready, replies[i].id, events);
        assert_true(len <= sizeof(bytes));
        assert_ptr_equal(watch_reply_whole_put(bytes, &ready, replies[i].id, events), bytes + len);
        assert_true(slice_eq(slice_of(bytes, len), buf_slice(&parts.messages[0])));
        parts_fini(&parts);
    }
    buf_fini(&ready.bytes);
    watch_world_fini(w);
    mem_free(w);
}

TEST(watch_reply, fields_stand_in_the_order_of_their_numbers_and_zeros_are_left_out)
{
    static const struct {
        struct watch_reply reply;
        const char *want;
    } cases[] = {
        {{.id = 0}, "0a00"},
        {{.header = {.cluster_id = 1, .member_id = 2, .revision = 3, .raft_term = 4}, .id = 5},
         "0a0808011002180320041005"},
        {{.id = -1, .created = true, .canceled = true, .cancel_reason = "no"},
         "0a0010ffffffffffffffffff011801200132026e6f"},
        {{.id = 7, .canceled = true, .compact_revision = 9}, "0a00100720012809"},
        {{.fragment = true, .cancel_reason = ""}, "0a003801"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = {0};
        struct buf hex = {0};
        watch_reply_put(&out, &cases[i].reply);
        buf_append_hex(&hex, buf_slice(&out));
        assert_string_equal(buf_cstr(&hex), cases[i].want);
        buf_fini(&out);
        buf_fini(&hex);
    }
}

TEST(watch_reply, one_message_holds_all_events_unless_parts_were_asked_for)
{
    struct watch_world *w = world_with(10, "v");
    struct watch_reply reply = {.header = {.revision = 2}, .id = 3};
    for (unsigned i = 0; i < 2; i++) {
        struct parts parts;
        struct arena arena;
        arena_init(&arena);
        parts_make(&parts, &reply, w->streams[0].kept, i == 1, i == 1 ? 1000000 : 1);
        assert_int_equal(parts.count, 1);
        const Etcdserverpb__WatchResponse *got = decode(&arena, &parts.messages[0]);
        assert_int_equal(got->n_events, 10);
        assert_int_equal(got->watch_id, 3);
        assert_int_equal(got->header->revision, 2);
        assert_false(got->fragment);
        parts_fini(&parts);
        arena_fini(&arena);
    }
    world_free(w);
}

/* Compatibility: a part is below the limit unless one event alone is not, and takes what fits. */
static void check_parts(const struct watch_world *w, unsigned events, size_t max)
{
    struct watch_reply reply = {.header = {.revision = 2}, .id = 3};
    struct parts parts;
    struct arena arena;
    unsigned seen = 0;
    char key[16];
    size_t event_len = w->streams[0].kept->len / events; /* all are as long */
    arena_init(&arena);
    parts_make(&parts, &reply, w->streams[0].kept, true, max);
    for (size_t i = 0; i < parts.count; i++) {
        const Etcdserverpb__WatchResponse *got = decode(&arena, &parts.messages[i]);
        assert_int_equal(got->fragment, i + 1 < parts.count);
        assert_int_equal(got->watch_id, 3);
        assert_true(got->n_events > 0);
        assert_true(got->n_events == 1 || parts.messages[i].len < max);
        if (i + 1 < parts.count) { /* one more would not have fitted */
            assert_true(parts.messages[i].len + event_len >= max);
        }
        for (size_t k = 0; k < got->n_events; k++) {
            snprintf(key, sizeof(key), "k%03u", seen++);
            const ProtobufCBinaryData *name = &got->events[k]->kv->key;
            assert_true(slice_eq_str(slice_of(name->data, name->len), key));
        }
    }
    assert_int_equal(seen, events);
    parts_fini(&parts);
    arena_fini(&arena);
}

TEST(watch_reply, parts_stay_below_the_limit_and_put_together_are_the_whole)
{
    struct watch_world *w = world_with(30, "a value of some length");
    for (size_t max = 1; max < 1800; max += 7) {
        check_parts(w, 30, max);
    }
    world_free(w);
}

TEST(watch_reply, large_values_that_are_referred_to_are_cut_between_events_too)
{
    enum { LEN = 40000 };
    char *value = mem_zalloc(LEN + 1);
    memset(value, 'x', LEN);
    struct watch_world *w = world_with(20, value);
    assert_true(w->streams[0].kept->piece_count > 20);
    check_parts(w, 20, 100000);
    check_parts(w, 20, 10);
    world_free(w);
    mem_free(value);
}
