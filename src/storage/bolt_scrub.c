/* A walk in the order of keys with the way down on a stack, so that it can stop after any page. */
#include "storage/bolt_scrub.h"

#include "storage/bolt_priv.h"

/* A bucket being walked: its tree from the root to the page at hand. */
struct frame {
    struct frame *outer;
    struct bolt_bucket *bucket;
    unsigned depth; /* 0: all of it has been seen */
    struct bolt_level level[BOLT_DEPTH_MAX];
};

struct bolt_scrub {
    struct bolt_tx *tx;
    struct frame *inner;
    bool is_begun;
    struct bolt_scrub_stats stats;
};

/* ---- pages ----------------------------------------------------------------------------------- */

static FALLIBLE elements_look(struct bolt_scrub *scrub, const struct bolt_page *page, uint64_t pgno)
{
    struct slice last = SLICE_EMPTY;
    for (uint32_t i = 0; i < page->count; i++) {
        struct bolt_elem elem;
        if (!bolt__page_elem(page, i, &elem)) {
            return bolt__tx_page_error(scrub->tx, pgno, "has an element outside of the page");
        }
        if (i > 0 && slice_cmp(last, elem.key) >= 0) {
            return bolt__tx_page_error(scrub->tx, pgno, "has keys out of order");
        }
        last = elem.key;
    }
    return ERR_OK;
}

/* `level` has just been read, which looked at its checksum. */
static FALLIBLE page_look(struct bolt_scrub *scrub, const struct bolt_level *level)
{
    const char *problem = NULL;
    struct bolt_page page = {
        .data = level->page, .len = level->len, .count = level->count, .is_leaf = level->is_leaf};
    uint64_t pages = level->len >> scrub->tx->db->page_shift;
    bool is_sealed = bolt__seal_check(&page, scrub->tx->meta.txid, &problem) == SEAL_GOOD;
    scrub->stats.pages += pages;
    scrub->stats.unsealed += is_sealed ? 0 : pages;
    return elements_look(scrub, &page, get_le64(level->page));
}

/* ---- the walk -------------------------------------------------------------------------------- */

static FALLIBLE enter_bucket(struct bolt_scrub *scrub, struct bolt_bucket *bucket)
{
    struct frame *frame = NEW(struct frame);
    frame->outer = scrub->inner;
    frame->bucket = bucket;
    scrub->inner = frame;
    TRY(bolt__level_root(bucket, &frame->level[0]));
    frame->level[0].index = 0;
    frame->depth = 1;
    if (bucket->root != 0) {
        return page_look(scrub, &frame->level[0]);
    }
    struct bolt_page page = bucket->inline_page; /* inside a page that has been looked at */
    return elements_look(scrub, &page, 0);
}

static FALLIBLE enter_page(struct bolt_scrub *scrub, struct frame *frame)
{
    struct bolt_level *above = &frame->level[frame->depth - 1];
    if (frame->depth == BOLT_DEPTH_MAX) {
        return bolt__tx_error(scrub->tx, ERR_CORRUPT, "%s: a tree is deeper than %d pages",
                              scrub->tx->db->path, BOLT_DEPTH_MAX);
    }
    TRY(bolt__level_child(frame->bucket, above, above + 1));
    above->index++;
    above[1].index = 0;
    frame->depth++;
    return page_look(scrub, above + 1);
}

/* Rows need no visit of their own; buckets do. */
static FALLIBLE pass_row(struct bolt_scrub *scrub, struct frame *frame)
{
    struct bolt_level *leaf = &frame->level[frame->depth - 1];
    struct bolt_bucket *bucket = NULL;
    struct bolt_elem elem;
    TRY(bolt__level_elem(frame->bucket, leaf, &elem));
    leaf->index++;
    if ((elem.flags & ELEM_IS_BUCKET) == 0) {
        return ERR_OK;
    }
    TRY(bolt_bucket(frame->bucket, elem.key, &bucket));
    return enter_bucket(scrub, bucket);
}

static FALLIBLE advance(struct bolt_scrub *scrub)
{
    struct frame *frame = scrub->inner;
    if (frame->depth == 0) {
        scrub->inner = frame->outer;
        mem_free(frame);
        return ERR_OK;
    }
    const struct bolt_level *top = &frame->level[frame->depth - 1];
    if (top->index >= top->count) {
        frame->depth--;
        return ERR_OK;
    }
    return top->is_leaf ? pass_row(scrub, frame) : enter_page(scrub, frame);
}

struct bolt_scrub *bolt_scrub_new(struct bolt_tx *tx)
{
    ASSERT(!tx->is_writable);
    struct bolt_scrub *scrub = NEW(struct bolt_scrub);
    scrub->tx = tx;
    tx->is_scrub = true;
    return scrub;
}

void bolt_scrub_free(struct bolt_scrub **scrub)
{
    struct bolt_scrub *done = *scrub;
    *scrub = NULL;
    if (done == NULL) {
        return;
    }
    while (done->inner != NULL) {
        struct frame *frame = done->inner;
        done->inner = frame->outer;
        mem_free(frame);
    }
    mem_free(done);
}

static FALLIBLE walk(struct bolt_scrub *scrub, uint64_t pages)
{
    uint64_t end = scrub->stats.pages + pages;
    if (!scrub->is_begun) {
        scrub->is_begun = true;
        TRY(enter_bucket(scrub, bolt_root(scrub->tx)));
    }
    while (scrub->inner != NULL && scrub->stats.pages < end) {
        TRY(advance(scrub));
    }
    return ERR_OK;
}

FALLIBLE bolt_scrub_step(struct bolt_scrub *scrub, uint64_t pages, bool *is_done_out,
                         struct errbuf *why)
{
    enum err err = walk(scrub, pages);
    if (err != ERR_OK) {
        return errf(why, err == ERR_IO ? ERR_IO : ERR_CORRUPT, "%s", bolt_tx_why(scrub->tx));
    }
    *is_done_out = scrub->inner == NULL;
    return ERR_OK;
}

void bolt_scrub_stats(const struct bolt_scrub *scrub, struct bolt_scrub_stats *out)
{
    *out = scrub->stats;
}
