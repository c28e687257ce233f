/* Defragmentation while everything goes on.
 *
 *   copying    On the executor, a slice a job, so that commits come in between: the rows of a
 *              pinned state into a new file beside the old one, then what was committed meanwhile,
 *              then what was committed meanwhile … (storage/bolt_sync).
 *   swapping   When a round was small: no commit begins; one job brings the new file up to the
 *              last commit, and renames it over the old one. Back on the loop the new file is the
 *              database, from the next read on, and commits go there.
 *
 * Reads and writes never wait: until the swap they see the old file, and what is written while no
 * commit may begin gathers in the pending set as it does while one is in flight.
 *
 * Crashes. Until the rename the new file is "db.tmp.…", which the next start removes, and the old
 * one has every commit. After it the new one has every commit too: nothing is committed between
 * the last round and the folder's sync. So either file is the whole database, whichever the crash
 * leaves under the name.
 *
 * Errors. Before the rename, whatever fails removes the new file and is the answer; the old file
 * has not been touched. A folder that cannot be synced after it ends the process: commits would go
 * to a file that might not be there after a power failure.
 *
 * The old file lives on without its name as long as somebody reads it: a stream of a snapshot, a
 * hash. When nobody does, it is closed on the executor, because giving back gigabytes takes time.
 */
#include "storage/backend_priv.h"

#include "base/failpoint.h"
#include "storage/bolt_sync.h"

#define SLICE_BYTES ((uint64_t)256 << 10) /* a commit waits for one slice, the log for its sync */
#define SMALL_ROUND ((uint64_t)1 << 20)   /* bytes that the swap may find once more */
#define ROUNDS_MAX 16                     /* then the disk is too slow to ever catch up: swap */

#define CLOSED "the member stops"

enum defrag_state {
    DEFRAG_IDLE,
    DEFRAG_COPYING,  /* a job is in flight */
    DEFRAG_READY,    /* waits for the commit in flight */
    DEFRAG_SWAPPING, /* a job is in flight */
};

struct defrag_waiter {
    struct list link;
    backend_defrag_fn *done;
    void *ctx;
};

/* A file that has lost its name and is still read. */
struct retired {
    struct list link;
    struct job job;
    struct defrag *defrag;
    struct bolt *db;
};

struct defrag {
    struct backend *backend;
    enum defrag_state state;
    bool is_canceled;
    enum err given_up_err; /* the answer to whom it was given up */
    struct errbuf given_up_why;
    char *path;          /* of the new file */
    struct list running; /* struct defrag_waiter: of the run in progress */
    struct list waiting; /* came during it: of the next one */
    struct list retired;
    size_t closing; /* retired files that the executor closes */

    /* The executor's while a job is in flight. */
    struct job job;
    struct bolt *target;
    struct bolt_tx *from; /* the state that the target holds; NULL: none */
    struct bolt_tx *to;   /* the one it is being brought to; NULL: between two rounds */
    struct bolt_sync *sync;
    unsigned rounds;
    bool is_near; /* the last round was small */
    bool has_moved;
    enum err err;
    struct errbuf why;
};

/* ---- on the executor ------------------------------------------------------------------------- */

static void drop_round(struct defrag *defrag)
{
    bolt_sync_free(&defrag->sync);
    bolt_read_end(&defrag->from);
    bolt_read_end(&defrag->to);
}

/* Everything of a run that will not be finished. */
static void drop_all(struct defrag *defrag)
{
    drop_round(defrag);
    bolt_close(&defrag->target);
    struct errbuf ignored;
    (void)!disk_unlink(defrag->backend->options.env->disk, defrag->path, &ignored);
}

static FALLIBLE open_target(struct defrag *defrag)
{
    struct backend *backend = defrag->backend;
    struct disk *disk = backend->options.env->disk;
    struct bolt_options options = {
        .no_freelist_sync = true,
        .no_sync = backend->options.no_sync,
        .reserve_bytes = backend->options.reserve_bytes,
        .page_size = bolt_page_size(backend->db),
    };
    if (disk_exists(disk, defrag->path)) {
        TRY(disk_unlink(disk, defrag->path, &defrag->why));
    }
    FAILPOINT(defragBeforeCopy);
    return bolt_open(disk, defrag->path, &options, &defrag->target, &defrag->why);
}

/* One slice. At the end of a round `from` is the state that the target has. */
static FALLIBLE copy_slice(struct defrag *defrag, bool *is_over_out)
{
    if (defrag->target == NULL) {
        TRY(open_target(defrag));
    }
    if (defrag->sync == NULL) {
        defrag->to = bolt_read_begin(defrag->backend->db);
        defrag->sync = bolt_sync_new(defrag->from, defrag->to, BACKEND_FILL_ASCENDING);
    }
    TRY(bolt_sync_step(defrag->sync, defrag->target, SLICE_BYTES, is_over_out, &defrag->why));
    if (*is_over_out) {
        defrag->rounds++;
        defrag->is_near =
            bolt_sync_bytes(defrag->sync) <= SMALL_ROUND || defrag->rounds >= ROUNDS_MAX;
        bolt_sync_free(&defrag->sync);
        bolt_read_end(&defrag->from);
        defrag->from = defrag->to;
        defrag->to = NULL;
    }
    return ERR_OK;
}

static void copy_run(struct job *job)
{
    struct defrag *defrag = CONTAINER_OF(job, struct defrag, job);
    bool is_over = false;
    defrag->err = copy_slice(defrag, &is_over);
    if (defrag->err != ERR_OK) {
        drop_all(defrag);
    }
}

static FALLIBLE swap(struct defrag *defrag)
{
    bool is_over = false;
    while (!is_over) {
        TRY(copy_slice(defrag, &is_over));
    }
    drop_round(defrag);
    FAILPOINT(defragBeforeRename);
    return bolt_rename(defrag->target, defrag->backend->options.path, BACKEND_MAP_SIZE,
                       &defrag->has_moved, &defrag->why);
}

static void swap_run(struct job *job)
{
    struct defrag *defrag = CONTAINER_OF(job, struct defrag, job);
    defrag->has_moved = false;
    defrag->err = swap(defrag);
    if (defrag->err != ERR_OK && !defrag->has_moved) {
        drop_all(defrag);
    }
}

/* ---- files without a name -------------------------------------------------------------------- */

static void retired_run(struct job *job)
{
    bolt_close(&CONTAINER_OF(job, struct retired, job)->db);
}

static void retired_done(struct job *job)
{
    struct retired *retired = CONTAINER_OF(job, struct retired, job);
    ASSERT(retired->defrag->closing > 0);
    retired->defrag->closing--;
    mem_free(retired);
}

/* Closes those that nobody reads any more. */
void backend__defrag_tidy(struct backend *backend)
{
    struct defrag *defrag = backend->defrag;
    LIST_FOR_EACH (&defrag->retired, link) {
        struct retired *retired = CONTAINER_OF(link, struct retired, link);
        if (!backend->is_closing && bolt_readers(retired->db) == 0) {
            list_del(&retired->link);
            defrag->closing++;
            executor_submit(backend->executor, &retired->job);
        }
    }
}

static void retire(struct defrag *defrag, struct bolt *db)
{
    struct retired *retired = NEW(struct retired);
    retired->defrag = defrag;
    retired->db = db;
    retired->job = (struct job){.run = retired_run, .done = retired_done};
    list_add_tail(&defrag->retired, &retired->link);
    backend__defrag_tidy(defrag->backend);
}

/* ---- on the loop ----------------------------------------------------------------------------- */

static void submit(struct defrag *defrag, enum defrag_state state, job_fn *run, job_fn *done)
{
    defrag->state = state;
    defrag->job = (struct job){.run = run, .done = done};
    executor_submit(defrag->backend->executor, &defrag->job);
}

static void copy_done(struct job *job);
static void swap_done(struct job *job);

static void set_answer(struct defrag *defrag, enum err err, const char *why)
{
    defrag->given_up_err = errf(&defrag->given_up_why, err, "%s", why);
}

static void begin(struct defrag *defrag)
{
    list_splice(&defrag->running, &defrag->waiting);
    set_answer(defrag, ERR_CLOSED, CLOSED);
    defrag->is_canceled = false;
    defrag->is_near = false;
    defrag->rounds = 0;
    defrag->err = ERR_OK;
    submit(defrag, DEFRAG_COPYING, copy_run, copy_done);
}

static bool is_given_up(const struct defrag *defrag)
{
    return defrag->is_canceled || defrag->backend->is_closing;
}

static void answer(struct list *waiters, enum err err, const char *why)
{
    while (!list_empty(waiters)) {
        struct defrag_waiter *waiter = CONTAINER_OF(waiters->next, struct defrag_waiter, link);
        list_del(&waiter->link);
        waiter->done(waiter->ctx, err, why);
        mem_free(waiter);
    }
}

static void finish(struct defrag *defrag, enum err err)
{
    struct errbuf why = defrag->why;
    struct errbuf refusal = defrag->given_up_why;
    enum err refused_with = defrag->given_up_err;
    struct list ended;
    struct list refused;
    list_init(&ended);
    list_init(&refused);
    list_splice(&ended, &defrag->running);
    defrag->state = DEFRAG_IDLE;
    if (is_given_up(defrag)) {
        list_splice(&refused, &defrag->waiting);
    } else if (!list_empty(&defrag->waiting)) {
        begin(defrag);
    }
    answer(&ended, err, err == ERR_OK ? "" : why.text);
    answer(&refused, refused_with, refusal.text);
}

/* Between two jobs, so everything is the loop's. */
static void abandon(struct defrag *defrag)
{
    drop_all(defrag);
    defrag->why = defrag->given_up_why;
    finish(defrag, defrag->given_up_err);
}

/* Called when a commit has ended, too. True when commits have to wait. */
bool backend__defrag_turn(struct backend *backend)
{
    struct defrag *defrag = backend->defrag;
    if (defrag->state == DEFRAG_READY && is_given_up(defrag)) {
        abandon(defrag);
    } else if (defrag->state == DEFRAG_READY && !backend->is_committing) {
        submit(defrag, DEFRAG_SWAPPING, swap_run, swap_done);
    }
    return defrag->state == DEFRAG_READY || defrag->state == DEFRAG_SWAPPING;
}

static void copy_done(struct job *job)
{
    struct defrag *defrag = CONTAINER_OF(job, struct defrag, job);
    if (defrag->err != ERR_OK) {
        finish(defrag, defrag->err);
    } else if (is_given_up(defrag)) {
        abandon(defrag);
    } else if (defrag->is_near) {
        defrag->state = DEFRAG_READY;
        backend__defrag_turn(defrag->backend);
    } else {
        submit(defrag, DEFRAG_COPYING, copy_run, copy_done);
    }
}

static void swap_done(struct job *job)
{
    struct defrag *defrag = CONTAINER_OF(job, struct defrag, job);
    struct backend *backend = defrag->backend;
    if (defrag->err != ERR_OK && defrag->has_moved) {
        fatal("the folder of the database %s cannot be synced after a defragmentation: %s; start "
              "again once the disk is well: both files that may be there are whole",
              backend->options.path, defrag->why.text);
    }
    if (defrag->err == ERR_OK) {
        struct bolt *old = backend->db;
        backend->db = defrag->target;
        defrag->target = NULL;
        backend__tree_pin(backend);
        retire(defrag, old);
    }
    finish(defrag, defrag->err);
    backend__commit_maybe(backend);
}

/* ---- life ------------------------------------------------------------------------------------ */

void backend__defrag_open(struct backend *backend)
{
    struct defrag *defrag = NEW(struct defrag);
    defrag->backend = backend;
    defrag->path = mem_printf("%s.tmp.defrag", backend->options.path);
    list_init(&defrag->running);
    list_init(&defrag->waiting);
    list_init(&defrag->retired);
    backend->defrag = defrag;
}

void backend__defrag_close(struct backend *backend)
{
    struct defrag *defrag = backend->defrag;
    backend->defrag = NULL;
    if (defrag == NULL) {
        return;
    }
    ASSERT(defrag->state == DEFRAG_IDLE);
    ASSERT(defrag->closing == 0);
    LIST_FOR_EACH (&defrag->retired, link) {
        struct retired *retired = CONTAINER_OF(link, struct retired, link);
        list_del(&retired->link);
        bolt_close(&retired->db);
        mem_free(retired);
    }
    mem_free(defrag->path);
    mem_free(defrag);
}

void backend_defrag(struct backend *backend, backend_defrag_fn *done, void *ctx)
{
    struct defrag *defrag = backend->defrag;
    struct defrag_waiter *waiter = NEW(struct defrag_waiter);
    ASSERT(!backend->is_closing);
    waiter->done = done;
    waiter->ctx = ctx;
    list_add_tail(&defrag->waiting, &waiter->link);
    if (defrag->state == DEFRAG_IDLE) {
        begin(defrag);
    }
}

void backend_defrag_cancel(struct backend *backend, enum err err, const char *why)
{
    ASSERT(err != ERR_OK);
    if (!backend->defrag->is_canceled) {
        set_answer(backend->defrag, err, why);
    }
    backend->defrag->is_canceled = true;
    backend__defrag_turn(backend);
}

bool backend_is_defragmenting(const struct backend *backend)
{
    return backend->defrag->state != DEFRAG_IDLE;
}
