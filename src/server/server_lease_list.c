/* Long answers about leases, gathered in slices on the loop: the list of all, by deadline, sorted
 * and encoded on the pool when it is long; and the keys of one.
 *
 * A lease that is there all the while is listed once; one that comes or goes meanwhile may be. So
 * with keys. Until it is answered the request counts as worked on and cannot be given up. */
#include "server/server_priv.h"

#include <stdlib.h>

/* Leases gathered in a turn; fewer in all are sorted at once. */
#define SLICE_MAX 4096

struct item {
    uint64_t deadline;
    lease_id id;
};

struct lease_list {
    struct server *server;
    struct server_request *request;
    struct reply_header header;
    struct item *items;
    size_t count;
    size_t cap;
    size_t part; /* the next to be gathered */
    struct task task;
    struct job job;
};

static void add(void *ctx, lease_id id, uint64_t deadline)
{
    struct lease_list *list = ctx;
    if (list->count == list->cap) {
        list->cap = list->cap == 0 ? 64 : list->cap * 2;
        list->items = mem_realloc(list->items, list->cap * sizeof(list->items[0]));
    }
    list->items[list->count++] = (struct item){.deadline = deadline, .id = id};
}

static int by_deadline(const void *a, const void *b)
{
    const struct item *left = a;
    const struct item *right = b;
    if (left->deadline != right->deadline) {
        return left->deadline < right->deadline ? -1 : 1;
    }
    return (left->id > right->id) - (left->id < right->id);
}

/* On the loop or on the pool: it touches nothing but the list and the request's arena. */
static void make_reply(struct lease_list *list)
{
    struct buf out = {0};
    if (list->count > 0) {
        qsort(list->items, list->count, sizeof(list->items[0]), by_deadline);
    }
    reply_put_header(&out, 1, &list->header);
    for (size_t i = 0; i < list->count; i++) {
        size_t start = out.len;
        reply_put_uint(&out, 1, (uint64_t)list->items[i].id);
        reply_wrap(&out, start, 2);
    }
    list->request->reply = slice_of(arena_dup(list->request->arena, out.data, out.len), out.len);
    buf_fini(&out);
}

static void finish(struct lease_list *list)
{
    ASSERT(list->server->working > 0);
    list->server->working--;
    server__finish(list->server, list->request, STATUS_OK);
    mem_free(list->items);
    mem_free(list);
}

static void run(struct job *job)
{
    make_reply(CONTAINER_OF(job, struct lease_list, job));
}

static void done(struct job *job)
{
    finish(CONTAINER_OF(job, struct lease_list, job));
}

static void gather(struct lease_list *list)
{
    size_t before = list->count;
    while (list->part < LEASE_PARTS && list->count - before < SLICE_MAX) {
        lessor_each(list->server->lessor, list->part, add, list);
        list->part++;
    }
    if (list->part < LEASE_PARTS) {
        loop_task_add(list->server->loop, LOOP_STEP, &list->task);
    } else if (list->count < SLICE_MAX) {
        make_reply(list);
        finish(list);
    } else {
        executor_submit(list->server->options.env->pool, &list->job);
    }
}

static void on_task(struct task *task)
{
    gather(CONTAINER_OF(task, struct lease_list, task));
}

void server__lease_list(struct server *server, struct server_request *request)
{
    struct lease_list *list = NEW(struct lease_list);
    list->server = server;
    list->request = request;
    list->header = apply_header(server->apply);
    list->job = (struct job){.run = run, .done = done};
    task_init(&list->task, on_task);
    list_del(&request->link);
    request->state = REQUEST_WORKING;
    server->working++;
    gather(list);
}

/* ---- the keys of one ------------------------------------------------------------------------- */

struct lease_keys {
    struct server *server;
    struct server_request *request;
    struct buf body; /* the fields of the keys */
    struct buf last; /* the key after which to go on */
    size_t count;    /* of this slice */
    struct task task;
};

static bool add_key(void *ctx, struct slice key)
{
    struct lease_keys *keys = ctx;
    reply_put_bytes(&keys->body, 5, key);
    buf_reset(&keys->last);
    buf_append_slice(&keys->last, key);
    return ++keys->count < SLICE_MAX;
}

/* The times are those of the end; a lease that is gone by then has none and no keys. */
static void finish_keys(struct lease_keys *keys)
{
    struct server *server = keys->server;
    struct server_request *request = keys->request;
    const Etcdserverpb__LeaseTimeToLiveRequest *message = request->message;
    struct reply_header header = apply_header(server->apply);
    struct lease_info info;
    struct buf out = {0};
    bool exists = lessor_get(server->lessor, message->id, &info);
    reply_put_header(&out, 1, &header);
    reply_put_uint(&out, 2, (uint64_t)message->id);
    reply_put_uint(&out, 3,
                   exists ? (uint64_t)lessor_remaining_s(server->lessor, &info) : (uint64_t)-1);
    if (exists) {
        reply_put_uint(&out, 4, (uint64_t)info.ttl);
        buf_append_slice(&out, buf_slice(&keys->body));
    }
    request->reply = slice_of(arena_dup(request->arena, out.data, out.len), out.len);
    buf_fini(&out);
    buf_fini(&keys->body);
    buf_fini(&keys->last);
    mem_free(keys);
    ASSERT(server->working > 0);
    server->working--;
    server__finish(server, request, STATUS_OK);
}

static void gather_keys(struct lease_keys *keys)
{
    const Etcdserverpb__LeaseTimeToLiveRequest *message = keys->request->message;
    if (keys->server->entry.is_on) { /* some of them are gone, and nobody is to see it yet */
        loop_task_add(keys->server->loop, LOOP_STEP, &keys->task);
        return;
    }
    keys->count = 0;
    lessor_keys(keys->server->lessor, message->id, buf_slice(&keys->last), add_key, keys);
    if (keys->count == SLICE_MAX) {
        loop_task_add(keys->server->loop, LOOP_STEP, &keys->task);
    } else {
        finish_keys(keys);
    }
}

static void on_keys_task(struct task *task)
{
    gather_keys(CONTAINER_OF(task, struct lease_keys, task));
}

void server__lease_keys(struct server *server, struct server_request *request)
{
    struct lease_keys *keys = NEW(struct lease_keys);
    keys->server = server;
    keys->request = request;
    task_init(&keys->task, on_keys_task);
    list_del(&request->link);
    request->state = REQUEST_WORKING;
    server->working++;
    gather_keys(keys);
}
