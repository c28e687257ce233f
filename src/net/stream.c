#include "net/stream.h"

#include "base/mem.h"

#define IOV_MAX_COUNT 64
/* Reads of one socket in one turn, so that a fast sender does not keep others waiting. */
#define READS_MAX 4
/* Writes of one socket in one turn: the pause budget again. */
#define WRITES_MAX 4
/* Reading stops while the socket is blocked with so much output queued, and resumes below. */
#define THROTTLE_LEN (STREAM_OUT_MAX / 2)

/* ---- the group ------------------------------------------------------------------------- */

static void flush_all(struct task *task);

void stream_group_bury(struct stream_group *group)
{
    for (struct list *node = list_pop(&group->dead); node != NULL; node = list_pop(&group->dead)) {
        struct stream *stream = CONTAINER_OF(node, struct stream, dirty_link);
        ASSERT(stream->is_dead);
        ASSERT(group->count > 0);
        group->count--;
        stream->handler->dispose(stream);
    }
}

static void bury_all(struct task *task)
{
    stream_group_bury(CONTAINER_OF(task, struct stream_group, bury));
}

void stream_group_init(struct stream_group *group, struct loop *loop)
{
    *group = (struct stream_group){.loop = loop, .read_buf = mem_alloc(STREAM_READ_LEN)};
    slab_init(&group->slabs);
    list_init(&group->dirty);
    list_init(&group->dead);
    task_init(&group->flush, flush_all);
    task_init(&group->bury, bury_all);
}

void stream_group_fini(struct stream_group *group)
{
    ASSERT(group->count == 0);
    loop_task_remove(&group->flush);
    loop_task_remove(&group->bury);
    outq_pool_fini(&group->pool);
    slab_fini(&group->slabs);
    mem_free(group->read_buf);
}

/* ---- reading --------------------------------------------------------------------------- */

static void update_reading(struct stream *stream)
{
    bool is_throttled = stream->is_blocked && stream->out.len >= THROTTLE_LEN;
    bool wanted = !stream->at_eof && (stream->is_shut || (!stream->is_paused && !is_throttled));
    if (wanted != stream->is_reading) {
        stream->is_reading = wanted;
        sock_want_read(stream->sock, wanted);
    }
}

static void read_failed(struct stream *stream, enum err err)
{
    if (stream->is_shut || (err == ERR_EOF && stream->is_finishing)) {
        stream_kill(stream);
        return;
    }
    if (err == ERR_EOF) {
        stream->at_eof = true;
        update_reading(stream);
    }
    stream->handler->lost(stream, err);
    ASSERT(err == ERR_EOF || stream->is_dead);
}

static void on_readable(struct sock *sock, void *ctx)
{
    struct stream *stream = ctx;
    struct stream_group *group = stream->group;
    for (unsigned i = 0; i < READS_MAX && !stream->is_dead && stream->is_reading; i++) {
        size_t len = 0;
        enum err err = sock_read(sock, group->read_buf, STREAM_READ_LEN, &len);
        if (err == ERR_AGAIN) {
            return;
        }
        if (err != ERR_OK) {
            read_failed(stream, err);
            return;
        }
        group->bytes_in += len;
        if (!stream->is_finishing) {
            stream->handler->input(stream, slice_of(group->read_buf, len));
        }
        /* A short read has emptied the socket: asking again would only cost a call. */
        if (len < STREAM_READ_LEN) {
            return;
        }
    }
}

/* ---- writing --------------------------------------------------------------------------- */

static void set_blocked(struct stream *stream, bool blocked)
{
    if (blocked != stream->is_blocked) {
        stream->is_blocked = blocked;
        sock_want_write(stream->sock, blocked);
    }
    if (blocked && !timer_running(&stream->timer)) {
        timer_start(stream->group->loop, &stream->timer,
                    loop_now(stream->group->loop) + STREAM_STALL_NS);
    }
    update_reading(stream);
}

static void shut(struct stream *stream)
{
    stream->is_shut = true;
    if (stream->at_eof) {
        stream_kill(stream);
        return;
    }
    sock_shutdown(stream->sock);
    timer_start(stream->group->loop, &stream->timer,
                loop_now(stream->group->loop) + STREAM_LINGER_NS);
    update_reading(stream);
}

/* One write of what is queued. False: no progress possible now. */
static bool write_some(struct stream *stream)
{
    struct slice pieces[IOV_MAX_COUNT];
    struct iov iov[IOV_MAX_COUNT];
    size_t count = outq_peek(&stream->out, pieces, IOV_MAX_COUNT);
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        iov[i] = (struct iov){.data = pieces[i].data, .len = pieces[i].len};
        total += pieces[i].len;
    }
    size_t len = 0;
    enum err err = sock_writev(stream->sock, iov, count, &len);
    if (err == ERR_AGAIN) {
        set_blocked(stream, true);
        return false;
    }
    if (err != ERR_OK) {
        stream->handler->lost(stream, ERR_CLOSED);
        ASSERT(stream->is_dead);
        return false;
    }
    stream->group->bytes_out += len;
    outq_consume(&stream->out, len);
    timer_stop(stream->group->loop, &stream->timer);
    set_blocked(stream, len < total);
    return len == total;
}

/* True: there is more to do in the next turn. */
static bool flush(struct stream *stream)
{
    if (stream->is_shut) {
        return false; /* there is nothing after FIN */
    }
    if (stream->is_blocked) {
        /* on_writable() comes back. What queues up meanwhile, up to its limit, stops the reading:
         * a write that took nearly all would else leave the peer read from for ever. */
        stream->handler->fill(stream);
        if (!stream->is_dead) {
            update_reading(stream);
        }
        return false;
    }
    for (unsigned i = 0; i < WRITES_MAX; i++) {
        bool has_more = stream->handler->fill(stream);
        if (stream->is_dead) {
            return false;
        }
        if (stream->out.len == 0) {
            if (stream->is_finishing && !stream->is_shut) {
                shut(stream);
            }
            return false;
        }
        bool is_all = stream->out.count <= IOV_MAX_COUNT;
        if (!write_some(stream)) {
            return false;
        }
        if (!has_more && is_all && !stream->is_finishing) {
            return false;
        }
    }
    return true;
}

static void flush_all(struct task *task)
{
    struct stream_group *group = CONTAINER_OF(task, struct stream_group, flush);
    struct list batch;
    list_init(&batch);
    list_splice(&batch, &group->dirty);
    for (struct list *node = list_pop(&batch); node != NULL; node = list_pop(&batch)) {
        struct stream *stream = CONTAINER_OF(node, struct stream, dirty_link);
        if (flush(stream)) {
            stream_touch(stream);
        }
    }
}

static void on_writable(struct sock *sock, void *ctx)
{
    struct stream *stream = ctx;
    UNUSED(sock);
    /* The stall timer runs on: only a byte that leaves is progress. */
    stream->is_blocked = false;
    sock_want_write(stream->sock, false);
    stream_touch(stream);
}

static void on_timer(struct timer *timer)
{
    struct stream *stream = CONTAINER_OF(timer, struct stream, timer);
    if (stream->is_shut || stream->is_finishing) {
        stream_kill(stream);
        return;
    }
    stream->handler->lost(stream, ERR_TIMEOUT);
    ASSERT(stream->is_dead);
}

/* ---- life ------------------------------------------------------------------------------ */

static const struct sock_handler sock_events = {.readable = on_readable, .writable = on_writable};

void stream_init(struct stream *stream, struct stream_group *group, struct sock *sock,
                 const struct stream_handler *handler)
{
    *stream = (struct stream){.group = group, .handler = handler, .sock = sock};
    outq_init(&stream->out, &group->pool);
    list_init(&stream->dirty_link);
    timer_init(&stream->timer, on_timer);
    stream->is_reading = true;
    group->count++;
    sock_set_handler(sock, &sock_events, stream);
}

void stream_touch(struct stream *stream)
{
    if (!stream->is_dead && list_empty(&stream->dirty_link)) {
        list_add_tail(&stream->group->dirty, &stream->dirty_link);
        loop_task_add(stream->group->loop, LOOP_OUTPUT, &stream->group->flush);
    }
}

void stream_pause(struct stream *stream, bool paused)
{
    if (!stream->is_dead) {
        stream->is_paused = paused;
        update_reading(stream);
    }
}

void stream_finish(struct stream *stream)
{
    if (!stream->is_dead) {
        stream->is_finishing = true;
        stream_touch(stream);
    }
}

void stream_kill(struct stream *stream)
{
    if (stream->is_dead) {
        return;
    }
    stream->is_dead = true;
    timer_stop(stream->group->loop, &stream->timer);
    list_del(&stream->dirty_link);
    outq_fini(&stream->out);
    sock_close(&stream->sock);
    list_add_tail(&stream->group->dead, &stream->dirty_link);
    loop_task_add(stream->group->loop, LOOP_CLOSE, &stream->group->bury);
}
