#include "codec/outq.h"

#include "unit.h"

#include <stdio.h>

struct owned {
    struct outq_owner owner;
    int freed;
};

static void owned_free(struct outq_owner *owner)
{
    CONTAINER_OF(owner, struct owned, owner)->freed++;
}

/* Everything in the queue, taken out in steps of `step`. */
static struct buf drain(struct outq *queue, size_t step)
{
    struct buf out = {0};
    while (queue->len > 0) {
        struct slice pieces[3];
        size_t count = outq_peek(queue, pieces, ARRAY_LEN(pieces));
        size_t left = step < queue->len ? step : (size_t)queue->len;
        size_t taken = 0;
        for (size_t i = 0; i < count && taken < left; i++) {
            size_t part = pieces[i].len < left - taken ? pieces[i].len : left - taken;
            buf_append(&out, pieces[i].data, part);
            taken += part;
        }
        outq_consume(queue, taken);
        outq_check(queue);
    }
    return out;
}

TEST(outq, copies_join_and_come_out_in_order)
{
    struct outq_pool pool = {0};
    struct outq queue;
    outq_init(&queue, &pool);
    struct buf expected = {0};
    for (unsigned i = 0; i < 5000; i++) {
        char text[32];
        int len = snprintf(text, sizeof(text), "piece %u;", i);
        outq_append(&queue, text, (size_t)len);
        buf_append(&expected, text, (size_t)len);
    }
    outq_check(&queue);
    assert_true(queue.count <= expected.len / OUTQ_BLOCK + 1);
    struct buf got = drain(&queue, 777);
    assert_true(slice_eq(buf_slice(&got), buf_slice(&expected)));
    buf_fini(&got);
    buf_fini(&expected);
    outq_fini(&queue);
    assert_true(pool.spare_count > 0);
    outq_pool_fini(&pool);
}

TEST(outq, room_is_in_one_piece_and_joins_what_was_copied)
{
    struct outq_pool pool = {0};
    struct outq queue;
    struct buf expected = {0};
    outq_init(&queue, &pool);
    for (unsigned i = 0; i < 300; i++) {
        size_t len = 1 + i * 37 % 3000;
        memset(outq_room(&queue, len), (int)i, len);
        memset(buf_extend(&expected, len), (int)i, len);
        outq_append(&queue, "x", 1);
        buf_append_byte(&expected, 'x');
        outq_check(&queue);
    }
    assert_true(queue.count <= expected.len / (OUTQ_BLOCK - 3000) + 1);
    memset(outq_room(&queue, OUTQ_BLOCK), 'z', OUTQ_BLOCK);
    memset(buf_extend(&expected, OUTQ_BLOCK), 'z', OUTQ_BLOCK);
    struct buf got = drain(&queue, 997);
    assert_true(slice_eq(buf_slice(&got), buf_slice(&expected)));
    buf_fini(&got);
    buf_fini(&expected);
    outq_fini(&queue);
    outq_pool_fini(&pool);
}

TEST(outq, an_owner_is_told_when_its_last_byte_has_left)
{
    struct outq queue;
    struct owned owned = {.owner = {.refs = 1, .release = owned_free}};
    outq_init(&queue, NULL);
    outq_append(&queue, "head", 4);
    outq_append_ref(&queue, SLICE("borrowed"), &owned.owner);
    outq_append(&queue, "tail", 4);
    outq_consume(&queue, 11);
    assert_int_equal(owned.freed, 0);
    outq_consume(&queue, 1);
    assert_int_equal(owned.freed, 1);
    assert_int_equal(queue.len, 4);
    outq_fini(&queue);
}

TEST(outq, an_empty_reference_is_let_go_at_once)
{
    struct outq queue;
    struct owned owned = {.owner = {.refs = 1, .release = owned_free}};
    outq_init(&queue, NULL);
    outq_append_ref(&queue, SLICE_EMPTY, &owned.owner);
    assert_int_equal(owned.freed, 1);
    assert_int_equal(queue.len, 0);
    outq_fini(&queue);
}

TEST(outq, moving_keeps_large_pieces_and_their_owner)
{
    struct outq source;
    struct outq target;
    struct owned owned = {.owner = {.refs = 1, .release = owned_free}};
    struct owned fallback = {.owner = {.refs = 1, .release = owned_free}};
    struct buf large = {0};
    for (unsigned i = 0; i < 10000; i++) {
        buf_append_byte(&large, (uint8_t)(i * 7));
    }
    outq_init(&source, NULL);
    outq_init(&target, NULL);
    outq_append_ref(&source, SLICE("small"), NULL);
    outq_append_ref(&source, buf_slice(&large), &owned.owner);
    outq_append_ref(&source, buf_slice(&large), NULL);
    outq_move(&target, &source, 5 + 4000, &fallback.owner);
    assert_int_equal(owned.owner.refs, 2);
    outq_move(&target, &source, 6000 + 2000, &fallback.owner);
    assert_int_equal(owned.owner.refs, 2); /* 4000 + 6000, both in the target */
    assert_int_equal(fallback.owner.refs, 2);
    outq_fini(&source);
    outq_check(&target);
    struct buf got = drain(&target, 1234);
    assert_int_equal(got.len, 5 + 10000 + 2000);
    assert_memory_equal(got.data, "small", 5);
    assert_memory_equal(got.data + 5, large.data, 10000);
    assert_memory_equal(got.data + 10005, large.data, 2000);
    assert_int_equal(owned.freed, 1);
    assert_int_equal(fallback.freed, 0);
    assert_int_equal(fallback.owner.refs, 1);
    buf_fini(&got);
    buf_fini(&large);
    outq_fini(&target);
}

TEST(outq, clearing_lets_go_of_everything)
{
    struct outq queue;
    struct owned owned = {.owner = {.refs = 2, .release = owned_free}};
    outq_init(&queue, NULL);
    outq_append_ref(&queue, SLICE("one"), &owned.owner);
    outq_append(&queue, "x", 1);
    outq_append_ref(&queue, SLICE("two"), &owned.owner);
    outq_clear(&queue);
    assert_int_equal(owned.freed, 1);
    assert_int_equal(queue.len, 0);
    outq_append(&queue, "again", 5);
    assert_int_equal(queue.len, 5);
    outq_fini(&queue);
}
