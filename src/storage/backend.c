/* The backend's states, seen from the loop:
 *
 *   gathering   nothing in flight; the open batch gathers until the interval has passed, it is
 *               full, or someone asks
 *   committing  every sealed batch is on its way; the next open batch gathers. When the commit is
 *               heard of, its batches leave the pending set and the pinned tree moves to a state
 *               that has them, in the same breath: a read never misses a row or sees two.
 *
 *   waiting     the last commit met a full disk and has changed nothing; its batches are still
 *               pending, and after a while they are tried again, without sealing more
 *
 * Between backend_begin() and backend_end() neither a seal nor a commit starts; what asks for one
 * then is served by backend_end(). */
#include "storage/backend_priv.h"

#include "base/failpoint.h"

#include <stdio.h>

#define BATCH_INTERVAL_MS 100 /* etcd's defaults */
#define BATCH_LIMIT 10000
/* Mapped pages are let go of when so much time has passed or so many rows were committed, which map
 * some 4 MB. */
#define FORGET_NS (10 * NS_PER_SEC)
#define FORGET_ROWS 200000
#define RETRY_MS 1000    /* between two tries of a commit that met a full disk */
#define FREE_SLICE 16384 /* rows let go of at once: a full batch, some 0.2 ms */

static const char *const bucket_names[BUCKET_COUNT] = {
    [BUCKET_ALARM] = "alarm",
    [BUCKET_AUTH] = "auth",
    [BUCKET_AUTH_ROLES] = "authRoles",
    [BUCKET_AUTH_USERS] = "authUsers",
    [BUCKET_CLUSTER] = "cluster",
    [BUCKET_KEY] = "key",
    [BUCKET_LEASE] = "lease",
    [BUCKET_MEMBERS] = "members",
    [BUCKET_MEMBERS_REMOVED] = "members_removed",
    [BUCKET_META] = "meta",
};

const char *backend_bucket_name(enum backend_bucket bucket)
{
    ASSERT(bucket < BUCKET_COUNT);
    return bucket_names[bucket];
}

void backend_damaged(const struct backend *backend, const char *format, ...)
{
    char why[512];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    fatal("the database %s is damaged: %s; replace this member, or restore it from a snapshot",
          backend->options.path, why);
}

const char *backend_path(const struct backend *backend)
{
    return backend->options.path;
}

/* ---- the pinned tree --------------------------------------------------------------------------
 */

void backend__tree_pin(struct backend *backend)
{
    bolt_walk_enter(backend->walk, NULL);
    if (backend->tree != NULL && bolt_tx_leave_scanned(backend->tree)) {
        backend->is_scan_mapped = true;
    }
    bolt_read_end(&backend->tree);
    backend->tree = bolt_read_begin(backend->db);
    for (unsigned i = 0; i < BUCKET_COUNT; i++) {
        struct slice name = slice_str(bucket_names[i]);
        if (bolt_bucket(bolt_root(backend->tree), name, &backend->bucket[i]) != ERR_OK) {
            backend_damaged(backend, "%s", bolt_tx_why(backend->tree));
        }
    }
    bolt_walk_enter(backend->walk, backend->bucket[BUCKET_KEY]);
}

bool backend__tree_get(struct backend *backend, enum backend_bucket bucket, struct slice key,
                       struct slice *out)
{
    enum err err = bolt_get(backend->bucket[bucket], key, out);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        backend_damaged(backend, "%s", bolt_tx_why(backend->tree));
    }
    return err == ERR_OK;
}

/* ---- letting go of batches ---------------------------------------------------------------------
 */

/* Frees a slice of what is garbage. True when nothing is left. */
static bool free_slice(struct backend *backend, size_t budget)
{
    while (!list_empty(&backend->garbage)) {
        struct batch *batch = CONTAINER_OF(backend->garbage.next, struct batch, link);
        size_t rows = batch->row_count;
        list_del(&batch->link);
        if (!batch__free(batch, budget)) {
            list_add_head(&backend->garbage, &batch->link);
            return false;
        }
        budget -= rows;
    }
    return true;
}

static void free_later(struct task *task)
{
    struct backend *backend = CONTAINER_OF(task, struct backend, free_task);
    if (!free_slice(backend, FREE_SLICE)) {
        loop_task_add(backend->options.loop, LOOP_CLOSE, task);
    }
}

/* A commit on a slow disk can carry very many rows, and letting go of them all at once would hold
 * the loop: with a loop the rest goes turn by turn. */
void backend__unref_batch(struct backend *backend, struct batch *batch)
{
    if (!batch__unref(batch)) {
        return;
    }
    list_add_tail(&backend->garbage, &batch->link);
    if (backend->options.loop == NULL) {
        bool is_empty = free_slice(backend, SIZE_MAX);
        ASSERT(is_empty);
    } else {
        loop_task_add(backend->options.loop, LOOP_CLOSE, &backend->free_task);
    }
}

/* ---- committing -------------------------------------------------------------------------------
 */

static void batch_open(struct backend *backend)
{
    uint64_t sequence = backend->open == NULL ? 1 : backend->open->sequence + 1;
    backend->open = batch__new(sequence);
    list_add_tail(&backend->batches, &backend->open->link);
    backend->batch_count++;
}

/* Adds the meta rows and closes the open batch to writing. False when there is nothing in it. */
bool backend__seal(struct backend *backend)
{
    uint8_t bytes[8];
    struct batch *batch = backend->open;
    ASSERT(!backend->is_applying);
    if (batch->ops == 0 && !backend->is_index_dirty && !backend->is_conf_dirty) {
        return false;
    }
    FAILPOINT(commitBeforePreCommitHook);
    if (backend->is_index_dirty) {
        put_be64(bytes, backend->index);
        batch__set(batch, BUCKET_META, SLICE("consistent_index"), slice_of(bytes, 8), false);
        put_be64(bytes, backend->term);
        batch__set(batch, BUCKET_META, SLICE("term"), slice_of(bytes, 8), false);
        backend->is_index_dirty = false;
    }
    if (backend->is_conf_dirty) {
        batch__set(batch, BUCKET_META, SLICE("confState"), buf_slice(&backend->conf_state), false);
        backend->is_conf_dirty = false;
    }
    FAILPOINT(commitAfterPreCommitHook);
    batch__seal(batch);
    batch_open(backend);
    return true;
}

static FALLIBLE write_rows(const struct batch *batch, struct bolt_bucket *bucket)
{
    uint8_t key[TOMBSTONE_LEN];
    for (size_t i = 0; i < batch->gone_count; i++) {
        const struct row_name *name = &batch->gone[i];
        enum err err = bolt_delete(bucket, revision_encode(name->rev, name->is_tombstone, key));
        ASSERT(err != ERR_NOT_FOUND);
        TRY(err);
    }
    for (size_t i = 0; i < batch->row_count; i++) {
        const struct pending_kv *row = &batch->rows[i];
        if (!row->is_dead) {
            TRY(bolt_put(bucket, revision_encode(row->rev, row->is_tombstone, key),
                         slice_of(row->data, row->len)));
        }
    }
    return ERR_OK;
}

static FALLIBLE write_map(const struct pending_map *map, struct bolt_bucket *bucket)
{
    for (const struct pending_row *row = map->head[0]; row != NULL; row = row->next[0]) {
        if (!row->is_delete) {
            TRY(bolt_put(bucket, row->key, row->value));
            continue;
        }
        enum err err = bolt_delete(bucket, row->key);
        if (err != ERR_NOT_FOUND) {
            TRY(err);
        }
    }
    return ERR_OK;
}

static FALLIBLE write_batch(const struct batch *batch, struct bolt_tx *tx)
{
    for (unsigned i = 0; i < BUCKET_COUNT; i++) {
        bool is_key = i == BUCKET_KEY;
        if (is_key ? batch->row_count + batch->gone_count == 0 : batch->map[i].count == 0) {
            continue;
        }
        struct bolt_bucket *bucket;
        TRY(bolt_bucket(bolt_root(tx), slice_str(bucket_names[i]), &bucket));
        if (is_key) {
            bolt_bucket_set_fill(bucket, BACKEND_FILL_ASCENDING);
            TRY(write_rows(batch, bucket));
        } else {
            TRY(write_map(&batch->map[i], bucket));
        }
    }
    return ERR_OK;
}

static FALLIBLE commit_batches(struct backend *backend, size_t count, struct errbuf *why)
{
    struct bolt_tx *tx;
    FAILPOINT(beforeStartDBTxn);
    TRY(bolt_write_begin(backend->db, &tx, why));
    FAILPOINT(afterStartDBTxn);
    for (size_t i = 0; i < count; i++) {
        enum err err = write_batch(backend->commit_batch[i], tx);
        if (err != ERR_OK) {
            errf(why, err, "%s", bolt_tx_why(tx));
            bolt_rollback(&tx);
            return err;
        }
    }
    FAILPOINT(beforeCommit);
    TRY(bolt_commit(&tx, why));
    FAILPOINT(afterCommit);
    return ERR_OK;
}

/* Each commit reads a few pages of the tree, and the kernel maps their neighbours with them: they
 * would add up to the whole file. The same goes for what compaction looks through on the loop. On
 * the executor, because letting go of pages has to interrupt every other processor, which in a
 * virtual machine takes milliseconds at times, and more the more pages they are; seldom, because a
 * busy reader has to map its pages again. */
static void forget_maybe(struct backend *backend)
{
    mono_ns now = env_now_mono(backend->options.env);
    for (size_t i = 0; i < backend->commit_batch_count; i++) {
        backend->rows_since_forgotten += backend->commit_batch[i]->row_count;
    }
    if (!backend->commit_forgets && now - backend->forgotten_at < FORGET_NS &&
        backend->rows_since_forgotten < FORGET_ROWS) {
        return;
    }
    backend->forgotten_at = now;
    backend->rows_since_forgotten = 0;
    struct bolt_tx *tx = bolt_read_begin(backend->db);
    bolt_tx_forget_pages(tx);
    bolt_read_end(&tx);
}

/* On the executor. What does not fit at once may fit in parts: pages that the first part frees take
 * the second. */
static void commit_run(struct job *job)
{
    struct backend *backend = CONTAINER_OF(job, struct backend, job);
    struct bolt_stats stats;
    backend->commit_err = ERR_OK;
    for (size_t count = backend->commit_batch_count; count > 0; count /= 2) {
        backend->commit_err = commit_batches(backend, count, &backend->commit_why);
        if (backend->commit_err != ERR_NOSPACE) {
            backend->commit_batch_count = count;
            forget_maybe(backend);
            break;
        }
    }
    if (backend->commit_err == ERR_OK) {
        backend->commit_err = bolt_restore_reserve(backend->db, &backend->commit_why);
    }
    bolt_stats(backend->db, &stats);
    backend->commit_is_short = stats.is_short;
}

/* An answer may ask for the next commit, which then is in flight already. */
static void call_waiters(struct backend *backend, uint64_t committed)
{
    while (!list_empty(&backend->waiters)) {
        struct commit_waiter *waiter =
            CONTAINER_OF(backend->waiters.next, struct commit_waiter, link);
        if (waiter->sequence > committed) {
            return;
        }
        list_del(&waiter->link);
        waiter->done(waiter->ctx);
        mem_free(waiter);
    }
}

static void drop_committed(struct backend *backend)
{
    backend->commit_ops = 0;
    for (size_t i = 0; i < backend->commit_batch_count; i++) {
        struct batch *batch = backend->commit_batch[i];
        backend->commit_ops += batch->ops;
        backend->commit_sequence = batch->sequence;
        list_del(&batch->link);
        backend->batch_count--;
        backend__unref_batch(backend, batch);
    }
    backend->commit_batch_count = 0;
    /* Of what did not fit at once, the rest is as due as the first part was. */
    backend->is_due = backend->is_due || backend->batch_count > 1;
}

static void tell_space(struct backend *backend)
{
    enum backend_space space = backend->commit_err == ERR_NOSPACE ? BACKEND_SPACE_OUT
                               : backend->commit_is_short         ? BACKEND_SPACE_LOW
                                                                  : BACKEND_SPACE_OK;
    if (space == backend->space) {
        return;
    }
    backend->space = space;
    if (backend->options.on_space != NULL && !backend->is_closing) {
        const char *why =
            space == BACKEND_SPACE_OUT ? backend->commit_why.text : backend->options.path;
        backend->options.on_space(backend->options.ctx, space, why);
    }
}

/* The batches of a commit that did not fit are as pending as before. Without a loop, who next asks
 * for a commit tries again. */
static void commit_put_off(struct backend *backend)
{
    struct loop *loop = backend->options.loop;
    backend->is_committing = false;
    backend->is_due = true;
    backend->is_waiting = !backend->is_closing;
    tell_space(backend);
    if (loop != NULL && backend->is_waiting) {
        timer_start(loop, &backend->timer, loop_now(loop) + RETRY_MS * NS_PER_MS);
    }
}

/* On the loop, after commit_run(). */
static void commit_finish(struct backend *backend)
{
    if (backend->commit_err == ERR_NOSPACE) {
        commit_put_off(backend);
        return;
    }
    if (backend->commit_err != ERR_OK) {
        fatal("the database cannot be written: %s; what was not written is in the log and comes "
              "back at the next start, once the disk is well and has space",
              backend->commit_why.text);
    }
    backend->is_due = backend->is_due || backend->space == BACKEND_SPACE_OUT; /* what waited */
    if (backend->commit_batch_count > 0) {
        backend__tree_pin(backend);
        drop_committed(backend);
        backend->commit_count++;
        if (backend->options.on_commit != NULL) {
            struct backend_commit commit = {
                .ops = backend->commit_ops,
                .total_ns = env_now_mono(backend->options.env) - backend->commit_start,
            };
            backend->options.on_commit(backend->options.ctx, &commit);
        }
    }
    /* The commit's fields are free for the next one, which whoever is told may bring about. */
    uint64_t committed = backend->commit_sequence;
    backend->is_committing = false;
    tell_space(backend);
    call_waiters(backend, committed);
}

/* Fills the commit's own fields with all that is sealed, and seals what is open first. */
static void commit_prepare(struct backend *backend)
{
    ASSERT(!backend->is_committing);
    ASSERT(!backend->is_applying);
    if (backend->space != BACKEND_SPACE_OUT || backend->batch_count == 1) {
        backend__seal(backend);
    }
    backend->is_committing = true;
    backend->commit_forgets = backend->is_scan_mapped;
    backend->is_scan_mapped = false;
    backend->is_due = false;
    backend->commit_batch_count = 0;
    backend->commit_ops = 0;
    backend->commit_sequence = backend->open->sequence - 1;
    LIST_FOR_EACH (&backend->batches, link) {
        struct batch *batch = CONTAINER_OF(link, struct batch, link);
        if (!batch->is_sealed) {
            break;
        }
        if (backend->commit_batch_count == BATCHES_MAX) {
            backend->commit_sequence = batch->sequence - 1;
            backend->is_due = true;
            break;
        }
        backend->commit_batch[backend->commit_batch_count++] = batch;
        backend->commit_ops += batch->ops;
    }
    backend->commit_start = env_now_mono(backend->options.env);
}

static bool wants_commit(const struct backend *backend)
{
    return backend->is_due || !list_empty(&backend->waiters) ||
           backend->open->ops >= backend->options.batch_limit;
}

void backend__commit_maybe(struct backend *backend)
{
    bool is_barred = backend->is_committing || backend->is_applying || backend->is_closing ||
                     backend->is_waiting;
    if (is_barred || !wants_commit(backend) || backend__defrag_turn(backend)) {
        return;
    }
    commit_prepare(backend);
    if (backend->options.loop != NULL) {
        timer_stop(backend->options.loop, &backend->timer);
    }
    executor_submit(backend->executor, &backend->job);
}

static void timer_maybe(struct backend *backend)
{
    struct loop *loop = backend->options.loop;
    if (loop != NULL && !backend->is_due && !timer_running(&backend->timer)) {
        timer_start(loop, &backend->timer,
                    loop_now(loop) + backend->options.batch_interval_ms * NS_PER_MS);
    }
}

static void commit_done(struct job *job)
{
    struct backend *backend = CONTAINER_OF(job, struct backend, job);
    commit_finish(backend);
    backend__defrag_turn(backend);
    backend__defrag_tidy(backend);
    backend__commit_maybe(backend);
}

static void interval_passed(struct timer *timer)
{
    struct backend *backend = CONTAINER_OF(timer, struct backend, timer);
    backend->is_waiting = false;
    backend->is_due = true;
    backend__commit_maybe(backend);
}

void backend__wrote(struct backend *backend)
{
    timer_maybe(backend);
    if (backend->open->ops >= backend->options.batch_limit) {
        backend__commit_maybe(backend);
    }
}

void backend_force_commit(struct backend *backend, backend_done_fn *done, void *ctx)
{
    struct commit_waiter *waiter = NEW(struct commit_waiter);
    bool is_dirty = backend->open->ops > 0 || backend->is_index_dirty || backend->is_conf_dirty ||
                    backend->is_applying;
    waiter->sequence = backend->open->sequence - !is_dirty;
    waiter->done = done;
    waiter->ctx = ctx;
    list_add_tail(&backend->waiters, &waiter->link);
    backend->is_waiting = backend->is_waiting && backend->options.loop != NULL;
    backend__commit_maybe(backend);
}

void backend_retry(struct backend *backend)
{
    backend->is_due = backend->is_due || backend->space != BACKEND_SPACE_OK;
    backend__commit_maybe(backend);
}

void backend_forget_waiters(struct backend *backend)
{
    LIST_FOR_EACH (&backend->waiters, link) {
        list_del(link);
        mem_free(CONTAINER_OF(link, struct commit_waiter, link));
    }
}

/* ---- life -------------------------------------------------------------------------------------
 */

static FALLIBLE ensure_buckets(struct bolt *db, struct errbuf *why)
{
    struct bolt_tx *tx = bolt_read_begin(db);
    struct bolt_bucket *bucket;
    enum err err = ERR_OK;
    for (unsigned i = 0; i < BUCKET_COUNT && err == ERR_OK; i++) {
        err = bolt_bucket(bolt_root(tx), slice_str(bucket_names[i]), &bucket);
    }
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        errf(why, err, "%s", bolt_tx_why(tx));
    }
    bolt_read_end(&tx);
    if (err != ERR_NOT_FOUND) {
        return err;
    }
    TRY(bolt_write_begin(db, &tx, why));
    for (unsigned i = 0; i < BUCKET_COUNT; i++) {
        err = bolt_bucket_ensure(bolt_root(tx), slice_str(bucket_names[i]), &bucket);
        if (err != ERR_OK) {
            errf(why, err, "%s", bolt_tx_why(tx));
            bolt_rollback(&tx);
            return err;
        }
    }
    return bolt_commit(&tx, why);
}

static FALLIBLE load_meta(struct backend *backend, struct errbuf *why)
{
    struct slice value;
    const char *path = backend->options.path;
    if (backend__tree_get(backend, BUCKET_META, SLICE("consistent_index"), &value)) {
        if (value.len != 8) {
            return errf(why, ERR_CORRUPT, "%s: consistent_index has %zu bytes instead of 8", path,
                        value.len);
        }
        backend->index = get_be64(value.data);
    }
    if (backend__tree_get(backend, BUCKET_META, SLICE("term"), &value)) {
        if (value.len != 8) {
            return errf(why, ERR_CORRUPT, "%s: term has %zu bytes instead of 8", path, value.len);
        }
        backend->term = get_be64(value.data);
    }
    return ERR_OK;
}

static FALLIBLE load_last_row(struct backend *backend, struct errbuf *why)
{
    struct bolt_cursor cursor;
    struct bolt_item item;
    bool is_tombstone;
    bolt_cursor_init(&cursor, backend->bucket[BUCKET_KEY]);
    enum err err = bolt_cursor_last(&cursor, &item);
    if (err == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    if (err != ERR_OK) {
        return errf(why, err, "%s", bolt_tx_why(backend->tree));
    }
    if (revision_decode(item.key, &backend->last_row, &is_tombstone) != ERR_OK) {
        return errf(why, ERR_CORRUPT, "%s: bucket key ends with a key that is no revision",
                    backend->options.path);
    }
    return ERR_OK;
}

static void backend_free(struct backend *backend)
{
    LIST_FOR_EACH (&backend->batches, link) {
        list_del(link);
        bool is_last = batch__unref(CONTAINER_OF(link, struct batch, link));
        ASSERT(is_last);
        list_add_tail(&backend->garbage, link);
    }
    bool is_empty = free_slice(backend, SIZE_MAX);
    ASSERT(is_empty);
    if (backend->options.loop != NULL) {
        loop_task_remove(&backend->free_task);
    }
    bolt_walk_free(&backend->walk);
    bolt_read_end(&backend->tree);
    backend__scrub_close(backend);
    backend__defrag_close(backend);
    bolt_close(&backend->db);
    chunk_pool_fini(&backend->pool);
    buf_fini(&backend->conf_state);
    mem_free(backend);
}

FALLIBLE backend_open(const struct backend_options *options, struct backend **out,
                      struct errbuf *why)
{
    struct backend *backend = NEW(struct backend);
    backend->options = *options;
    if (backend->options.batch_interval_ms == 0) {
        backend->options.batch_interval_ms = BATCH_INTERVAL_MS;
    }
    if (backend->options.batch_limit == 0) {
        backend->options.batch_limit = BATCH_LIMIT;
    }
    list_init(&backend->batches);
    list_init(&backend->waiters);
    list_init(&backend->garbage);
    task_init(&backend->free_task, free_later);
    chunk_pool_init(&backend->pool);
    buf_init(&backend->conf_state);
    backend->walk = bolt_walk_new();
    timer_init(&backend->timer, interval_passed);
    backend->job = (struct job){.run = commit_run, .done = commit_done};
    struct bolt_options bolt = {
        .no_freelist_sync = true,
        .no_sync = options->no_sync,
        .initial_map_size = BACKEND_MAP_SIZE,
        .reserve_bytes = options->reserve_bytes,
    };
    enum err err = bolt_open(options->env->disk, options->path, &bolt, &backend->db, why);
    if (err == ERR_OK) {
        err = ensure_buckets(backend->db, why);
    }
    if (err == ERR_OK) {
        backend__tree_pin(backend);
        err = load_meta(backend, why);
    }
    if (err == ERR_OK) {
        err = load_last_row(backend, why);
    }
    if (err != ERR_OK) {
        backend_free(backend);
        return err;
    }
    batch_open(backend);
    backend__defrag_open(backend);
    backend->executor = env_executor_new(options->env, "backend", 1);
    backend__scrub_open(backend);
    *out = backend;
    return ERR_OK;
}

void backend_close(struct backend **out)
{
    struct backend *backend = *out;
    if (backend == NULL) {
        return;
    }
    ASSERT(!backend->is_applying);
    ASSERT(backend->view_count == 0);
    if (backend->options.loop != NULL) {
        timer_stop(backend->options.loop, &backend->timer);
    }
    backend->is_closing = true;
    backend__scrub_stop(backend);
    executor_close(&backend->executor);
    ASSERT(!backend->is_committing);
    backend->space = BACKEND_SPACE_OK; /* one last try, with everything */
    do {
        commit_prepare(backend);
        commit_run(&backend->job);
        commit_finish(backend);
    } while (wants_commit(backend) && backend->space != BACKEND_SPACE_OUT);
    backend_forget_waiters(backend);
    backend_free(backend);
    *out = NULL;
}

/* ---- entries ----------------------------------------------------------------------------------
 */

void backend_begin(struct backend *backend)
{
    ASSERT(!backend->is_applying);
    backend->is_applying = true;
}

void backend_end(struct backend *backend, uint64_t index, uint64_t term)
{
    ASSERT(backend->is_applying);
    backend->is_applying = false;
    backend_set_consistent_index(backend, index, term);
    backend__commit_maybe(backend);
}

enum backend_space backend_space(const struct backend *backend)
{
    return backend->space;
}

bool backend_is_applying(const struct backend *backend)
{
    return backend->is_applying;
}

uint64_t backend_consistent_index(const struct backend *backend)
{
    return backend->index;
}

uint64_t backend_term(const struct backend *backend)
{
    return backend->term;
}

void backend_set_conf_state(struct backend *backend, struct slice json)
{
    buf_reset(&backend->conf_state);
    buf_append_slice(&backend->conf_state, json);
    backend->is_conf_dirty = true;
    timer_maybe(backend);
}

void backend_set_consistent_index(struct backend *backend, uint64_t index, uint64_t term)
{
    ASSERT(!backend->is_applying);
    backend->index = index;
    backend->term = term;
    backend->is_index_dirty = true;
}

/* ---- observers --------------------------------------------------------------------------------
 */

void backend_stats(const struct backend *backend, struct backend_stats *out)
{
    *out = (struct backend_stats){
        .size = bolt_tx_size(backend->tree),
        .size_in_use = bolt_tx_size_in_use(backend->tree),
        .commits = backend->commit_count,
        .open_views = backend->view_count,
    };
    LIST_FOR_EACH (&backend->batches, link) {
        out->pending_ops += CONTAINER_OF(link, struct batch, link)->ops;
    }
}

void backend_check(const struct backend *backend)
{
    uint64_t sequence = 0;
    size_t count = 0;
    struct revision last = {0};
    LIST_FOR_EACH (&backend->batches, link) {
        const struct batch *batch = CONTAINER_OF(link, struct batch, link);
        batch__check(batch);
        ASSERT(batch->sequence > sequence);
        ASSERT(batch->is_sealed == (batch != backend->open));
        if (batch->row_count > 0) {
            ASSERT(revision_cmp(batch->rows[0].rev, last) > 0);
            last = batch->rows[batch->row_count - 1].rev;
        }
        sequence = batch->sequence;
        count++;
    }
    ASSERT(count == backend->batch_count);
    ASSERT(sequence == backend->open->sequence);
    ASSERT(revision_cmp(last, backend->last_row) <= 0);
    ASSERT(!backend->is_applying || !backend->is_committing ||
           backend->commit_sequence < backend->open->sequence);
}
