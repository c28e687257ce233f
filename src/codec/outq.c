#include "codec/outq.h"

#include "base/mem.h"

/* A block holds copied bytes; it is the owner of the segments that lie in it, and has one more
 * reference while a queue fills it. */
struct outq_block {
    struct outq_owner owner;
    struct outq_pool *pool;
    struct outq_block *next; /* in the pool */
    size_t len;
    uint8_t data[OUTQ_BLOCK];
};

static void block_free(struct outq_owner *owner)
{
    struct outq_block *block = CONTAINER_OF(owner, struct outq_block, owner);
    struct outq_pool *pool = block->pool;
    if (pool == NULL || pool->spare_count == OUTQ_SPARE_MAX) {
        mem_free(block);
        return;
    }
    block->next = pool->spare;
    pool->spare = block;
    pool->spare_count++;
}

static struct outq_block *block_new(struct outq_pool *pool)
{
    struct outq_block *block;
    if (pool != NULL && pool->spare != NULL) {
        block = pool->spare;
        pool->spare = block->next;
        pool->spare_count--;
    } else {
        block = mem_alloc(sizeof(*block));
    }
    block->owner = (struct outq_owner){.refs = 1, .release = block_free};
    block->pool = pool;
    block->next = NULL;
    block->len = 0;
    return block;
}

void outq_pool_fini(struct outq_pool *pool)
{
    while (pool->spare != NULL) {
        struct outq_block *block = pool->spare;
        pool->spare = block->next;
        mem_free(block);
    }
    pool->spare_count = 0;
}

void outq_init(struct outq *queue, struct outq_pool *pool)
{
    *queue = (struct outq){.pool = pool};
}

static struct outq_segment *segment_at(const struct outq *queue, size_t i)
{
    return &queue->segments[(queue->first + i) & (queue->cap - 1)];
}

static void drop_tail(struct outq *queue)
{
    if (queue->tail != NULL) {
        struct outq_block *tail = queue->tail;
        queue->tail = NULL;
        outq_owner_unref(&tail->owner);
    }
}

void outq_clear(struct outq *queue)
{
    outq_consume(queue, (size_t)queue->len);
    drop_tail(queue);
}

void outq_fini(struct outq *queue)
{
    outq_clear(queue);
    mem_free(queue->segments);
    *queue = (struct outq){0};
}

static void grow(struct outq *queue)
{
    size_t cap = queue->cap == 0 ? 4 : queue->cap * 2;
    struct outq_segment *segments = mem_array(cap, sizeof(*segments));
    for (size_t i = 0; i < queue->count; i++) {
        segments[i] = *segment_at(queue, i);
    }
    mem_free(queue->segments);
    queue->segments = segments;
    queue->cap = cap;
    queue->first = 0;
}

static void push(struct outq *queue, struct outq_segment segment)
{
    if (queue->count == queue->cap) {
        grow(queue);
    }
    queue->count++;
    *segment_at(queue, queue->count - 1) = segment;
    queue->len += segment.len;
}

/* The next `len` bytes of the tail block, which has them; grows the last segment when it ends
 * there. */
static uint8_t *extend(struct outq *queue, size_t len)
{
    struct outq_block *tail = queue->tail;
    uint8_t *target = tail->data + tail->len;
    tail->len += len;
    if (queue->count > 0) {
        struct outq_segment *last = segment_at(queue, queue->count - 1);
        if (last->owner == &tail->owner && last->data + last->len == target) {
            last->len += len;
            queue->len += len;
            return target;
        }
    }
    outq_owner_ref(&tail->owner);
    push(queue, (struct outq_segment){.data = target, .len = len, .owner = &tail->owner});
    return target;
}

/* A tail block with room for `len` bytes at least. */
static void tail_ready(struct outq *queue, size_t len)
{
    if (queue->tail != NULL && OUTQ_BLOCK - queue->tail->len < len) {
        drop_tail(queue);
    }
    if (queue->tail == NULL) {
        queue->tail = block_new(queue->pool);
    }
}

uint8_t *outq_room(struct outq *queue, size_t len)
{
    ASSERT(len > 0 && len <= OUTQ_BLOCK);
    tail_ready(queue, len);
    return extend(queue, len);
}

void outq_append(struct outq *queue, const void *data, size_t len)
{
    const uint8_t *next = data;
    while (len > 0) {
        tail_ready(queue, 1);
        size_t room = OUTQ_BLOCK - queue->tail->len;
        size_t part = len < room ? len : room;
        memcpy(extend(queue, part), next, part);
        next += part;
        len -= part;
    }
}

void outq_append_ref(struct outq *queue, struct slice bytes, struct outq_owner *owner)
{
    if (bytes.len == 0) {
        if (owner != NULL) {
            outq_owner_unref(owner);
        }
        return;
    }
    push(queue, (struct outq_segment){.data = bytes.data, .len = bytes.len, .owner = owner});
}

static void pop_front(struct outq *queue, size_t len)
{
    struct outq_segment *segment = segment_at(queue, 0);
    ASSERT(len <= segment->len);
    segment->data += len;
    segment->len -= len;
    queue->len -= len;
    if (segment->len == 0) {
        struct outq_owner *owner = segment->owner;
        queue->first = (queue->first + 1) & (queue->cap - 1);
        queue->count--;
        if (owner != NULL) {
            outq_owner_unref(owner);
        }
    }
}

void outq_move(struct outq *target, struct outq *source, size_t len, struct outq_owner *fallback)
{
    ASSERT(len <= source->len);
    while (len > 0) {
        struct outq_segment *segment = segment_at(source, 0);
        size_t part = len < segment->len ? len : segment->len;
        if (part <= OUTQ_COPY_MAX) {
            outq_append(target, segment->data, part);
        } else {
            struct outq_owner *owner = segment->owner == NULL ? fallback : segment->owner;
            if (owner != NULL) {
                outq_owner_ref(owner);
            }
            outq_append_ref(target, slice_of(segment->data, part), owner);
        }
        pop_front(source, part);
        len -= part;
    }
}

size_t outq_peek(const struct outq *queue, struct slice *out, size_t max)
{
    size_t count = queue->count < max ? queue->count : max;
    for (size_t i = 0; i < count; i++) {
        const struct outq_segment *segment = segment_at(queue, i);
        out[i] = slice_of(segment->data, segment->len);
    }
    return count;
}

void outq_consume(struct outq *queue, size_t len)
{
    ASSERT(len <= queue->len);
    while (len > 0) {
        size_t part = segment_at(queue, 0)->len;
        part = len < part ? len : part;
        pop_front(queue, part);
        len -= part;
    }
    /* An empty queue keeps no block: idle connections are many. */
    if (queue->len == 0) {
        drop_tail(queue);
    }
}

void outq_check(const struct outq *queue)
{
    uint64_t len = 0;
    ASSERT(queue->count <= queue->cap);
    for (size_t i = 0; i < queue->count; i++) {
        const struct outq_segment *segment = segment_at(queue, i);
        ASSERT(segment->len > 0);
        ASSERT(segment->owner == NULL || segment->owner->refs > 0);
        len += segment->len;
    }
    ASSERT(len == queue->len);
}
