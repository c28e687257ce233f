/* Work on the database as a file: defragmenting it, and pinning it while a client reads it all. */
#include "server/server_priv.h"

#include "storage/bolt.h"

/* ---- defragmentation --------------------------------------------------------------------------
 */

struct defragment {
    struct server *server;
    struct server_request *request;
    mono_ns began;
    struct backend_stats before;
};

static void log_begin(const struct defragment *defragment)
{
    const struct server *server = defragment->server;
    LOG_INFO(&server->log, "starting defragment");
    LOG_INFO(&server->log, "defragmenting", log_str("path", backend_path(server->backend)),
             log_u64("current-db-size-bytes", defragment->before.size),
             log_u64("current-db-size-in-use-bytes", defragment->before.size_in_use));
}

static void log_end(const struct defragment *defragment, int64_t took_ns)
{
    const struct server *server = defragment->server;
    struct backend_stats after;
    backend_stats(server->backend, &after);
    LOG_INFO(&server->log, "finished defragmenting directory",
             log_str("path", backend_path(server->backend)),
             log_i64("current-db-size-bytes-diff",
                     (int64_t)after.size - (int64_t)defragment->before.size),
             log_u64("current-db-size-bytes", after.size),
             log_u64("current-db-size-in-use-bytes", after.size_in_use),
             log_duration("took", took_ns));
    LOG_INFO(&server->log, "finished defragment");
}

static void defragmented(void *ctx, enum err err, const char *why)
{
    struct defragment *defragment = ctx;
    struct server *server = defragment->server;
    struct server_request *request = defragment->request;
    mono_ns took = env_now_mono(server->options.env) - defragment->began;
    enum status status = STATUS_OK;
    server_metrics_defragmented(server->metrics, took, err == ERR_OK);
    if (err == ERR_OK) {
        log_end(defragment, (int64_t)took);
    } else if (err == ERR_CLOSED) {
        status = STATUS_STOPPED;
    } else {
        LOG_WARN(&server->log, "failed to defragment", log_error(why));
        request->text = arena_printf(request->arena, "%s", why);
        status = STATUS_TOLD;
    }
    mem_free(defragment);
    ASSERT(server->working > 0);
    server->working--;
    server__finish(server, request, status);
}

/* Compatibility: the reply has no header. */
void server__defragment(struct server *server, struct server_request *request)
{
    struct defragment *defragment = NEW(struct defragment);
    defragment->server = server;
    defragment->request = request;
    defragment->began = env_now_mono(server->options.env);
    backend_stats(server->backend, &defragment->before);
    log_begin(defragment);
    request->reply = SLICE_EMPTY;
    list_del(&request->link);
    request->state = REQUEST_WORKING;
    server->working++;
    server_metrics_defragmenting(server->metrics);
    backend_defrag(server->backend, defragmented, defragment);
}

/* ---- pinning -----------------------------------------------------------------------------------
 */

struct server_pin {
    struct list link; /* server->pins, as long as it waits for the database to be committed */
    struct server *server;
    struct bolt_tx *tx;
    mono_ns began;
    server_pinned_fn *pinned; /* NULL: ended while it waited; pin_committed() frees it */
    void *ctx;
    bool is_given_up; /* the server has forgotten it */
};

static void pin_free(struct server_pin *pin)
{
    struct server *server = pin->server;
    backend_snapshot_end(server->backend, &pin->tx);
    ASSERT(server->working > 0);
    server->working--;
    mem_free(pin);
}

static void pin_committed(void *ctx)
{
    struct server_pin *pin = ctx;
    list_del(&pin->link);
    if (pin->pinned == NULL) {
        pin_free(pin);
        return;
    }
    pin->tx = backend_snapshot_begin(pin->server->backend);
    pin->pinned(pin->ctx, pin->tx);
}

struct server_pin *server_pin_begin(struct server *server, server_pinned_fn *pinned, void *ctx)
{
    struct server_pin *pin = NEW(struct server_pin);
    pin->server = server;
    pin->pinned = pinned;
    pin->ctx = ctx;
    pin->began = env_now_mono(server->options.env);
    server->working++;
    list_add_tail(&server->pins, &pin->link);
    backend_force_commit(server->backend, pin_committed, pin);
    return pin;
}

void server_pin_end(struct server_pin **out)
{
    struct server_pin *pin = *out;
    *out = NULL;
    if (pin == NULL) {
        return;
    }
    if (pin->is_given_up) {
        mem_free(pin);
        return;
    }
    if (pin->tx == NULL) {
        pin->pinned = NULL; /* pin_committed() is still to come */
        return;
    }
    server_metrics_snapshot_read(pin->server->metrics,
                                 env_now_mono(pin->server->options.env) - pin->began);
    pin_free(pin);
}

void server__give_up_pins(struct server *server)
{
    LIST_FOR_EACH (&server->pins, link) {
        struct server_pin *pin = CONTAINER_OF(link, struct server_pin, link);
        list_del(link);
        pin->is_given_up = true;
        if (pin->pinned == NULL) {
            pin_free(pin);
        } else {
            server->working--;
        }
    }
}
