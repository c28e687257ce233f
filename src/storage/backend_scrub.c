/* The scrub: every so often all of the file is read again, slowly, on the executor.
 *
 * Damage found ends the process, as damage met by a read does: a member that stops is repaired from
 * its peers or a snapshot, one that goes on may serve what is wrong. An alarm would instead keep
 * the whole cluster from writing because one disk rots.
 *
 * A pass pins one state, so what is freed meanwhile is used again only afterwards; the pace is made
 * to keep that short. */
#include "storage/backend_priv.h"

#include "storage/bolt_scrub.h"

#define SLICE_PAGES 128          /* half a megabyte: a commit waits for one slice at most */
#define PACE_NS (10 * NS_PER_MS) /* from one slice to the next: some 50 MB/s */

struct scrub {
    struct backend *backend;
    struct timer timer; /* the next pass or the next slice */
    struct bolt_tx *tx; /* NULL: between passes */
    struct bolt_scrub *walk;
    struct backend_scrub_stats stats;
    uint64_t before; /* pages of the passes before this one */

    /* The executor's while a job is in flight. */
    struct job job;
    bool is_done;
    enum err err;
    struct errbuf why;
};

static void slice_run(struct job *job)
{
    struct scrub *scrub = CONTAINER_OF(job, struct scrub, job);
    scrub->err = bolt_scrub_step(scrub->walk, SLICE_PAGES, &scrub->is_done, &scrub->why);
}

static void wait_for(struct scrub *scrub, uint64_t ns)
{
    struct loop *loop = scrub->backend->options.loop;
    timer_start(loop, &scrub->timer, loop_now(loop) + ns);
}

static void pass_end(struct scrub *scrub)
{
    bolt_scrub_free(&scrub->walk);
    bolt_read_end(&scrub->tx);
    backend__defrag_tidy(scrub->backend);
}

static void slice_done(struct job *job)
{
    struct scrub *scrub = CONTAINER_OF(job, struct scrub, job);
    struct bolt_scrub_stats pass;
    if (scrub->err != ERR_OK) {
        backend_damaged(scrub->backend, "%s", scrub->why.text);
    }
    bolt_scrub_stats(scrub->walk, &pass);
    scrub->stats.pages = scrub->before + pass.pages;
    if (scrub->backend->is_closing) {
        return; /* backend__scrub_close() ends the pass */
    }
    if (!scrub->is_done) {
        wait_for(scrub, PACE_NS);
        return;
    }
    scrub->before = scrub->stats.pages;
    scrub->stats.passes++;
    scrub->stats.unsealed = pass.unsealed;
    pass_end(scrub);
    wait_for(scrub, scrub->backend->options.scrub_interval_ns);
}

static void on_timer(struct timer *timer)
{
    struct scrub *scrub = CONTAINER_OF(timer, struct scrub, timer);
    if (scrub->tx == NULL) {
        scrub->tx = bolt_read_begin(scrub->backend->db);
        scrub->walk = bolt_scrub_new(scrub->tx);
    }
    scrub->job = (struct job){.run = slice_run, .done = slice_done};
    executor_submit(scrub->backend->executor, &scrub->job);
}

void backend__scrub_open(struct backend *backend)
{
    struct scrub *scrub = NEW(struct scrub);
    scrub->backend = backend;
    backend->scrub = scrub;
    timer_init(&scrub->timer, on_timer);
    if (backend->options.loop != NULL && backend->options.scrub_interval_ns > 0) {
        wait_for(scrub, backend->options.scrub_interval_ns);
    }
}

void backend__scrub_stop(struct backend *backend)
{
    if (backend->options.loop != NULL) {
        timer_stop(backend->options.loop, &backend->scrub->timer);
    }
}

void backend__scrub_close(struct backend *backend)
{
    struct scrub *scrub = backend->scrub;
    backend->scrub = NULL;
    if (scrub != NULL) {
        bolt_scrub_free(&scrub->walk);
        bolt_read_end(&scrub->tx);
        mem_free(scrub);
    }
}

void backend_scrub_stats(const struct backend *backend, struct backend_scrub_stats *out)
{
    *out = backend->scrub->stats;
    out->is_under_way = backend->scrub->tx != NULL;
}
