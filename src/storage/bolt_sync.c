/* Two trees of one file are walked side by side, in the order of their keys.
 *
 * Each side stands before an element: a row, when its top level is a leaf, or a subtree that has
 * not been entered, when it is a branch. Pages are never overwritten while a transaction sees them,
 * so two subtrees with the same page number are the same, and both sides step over them. Where the
 * sides differ the one that stands lower is entered, or the taller one, so that what they share
 * comes to stand opposite each other. That is only for speed: what is written is decided by
 * comparing rows, and every row of one side that the other has in a page of its own is compared.
 *
 *   row of `from` only       deleted          row of both, different   put
 *   row of `to` only         put              bucket of both           walked, one level further in
 *
 * Between two steps nothing of the target is held: a step opens the bucket anew by its path. */
#include "storage/bolt_sync.h"

#include "storage/bolt_priv.h"

struct side {
    struct bolt_bucket *bucket; /* NULL: nothing here */
    unsigned depth;             /* levels on the stack; 0: past the end */
    unsigned height;            /* levels of the whole tree */
    struct slice last;          /* the key passed last */
    bool has_last;
    struct bolt_level level[BOLT_DEPTH_MAX];
};

/* One bucket of both, or of `to` only. */
struct frame {
    struct frame *outer;
    struct slice name; /* in the transaction `to` */
    struct side from;
    struct side to;
};

struct bolt_sync {
    struct bolt_tx *from;
    struct bolt_tx *to;
    unsigned fill;
    struct frame *inner; /* the bucket being walked */
    bool is_begun;
    bool is_done;
    uint64_t bytes;
    struct errbuf *why;

    /* The step in progress. */
    struct bolt_tx *tx; /* of the target */
    struct bolt_bucket *bucket;
    bool is_changed;
};

/* ---- one side -------------------------------------------------------------------------------- */

static struct bolt_level *side_top(struct side *side)
{
    ASSERT(side->depth > 0);
    return &side->level[side->depth - 1];
}

static bool stands_on_row(struct side *side)
{
    return side_top(side)->is_leaf;
}

/* Levels from the element the side stands before down to the leaves. */
static unsigned subtree_height(const struct side *side)
{
    return side->height > side->depth ? side->height - side->depth : 0;
}

static FALLIBLE too_deep(struct side *side)
{
    struct bolt_tx *tx = side->bucket->tx;
    return bolt__tx_error(tx, ERR_CORRUPT, "%s: a tree is deeper than %d pages", tx->db->path,
                          BOLT_DEPTH_MAX);
}

static FALLIBLE find_height(struct side *side)
{
    struct bolt_level level = side->level[0];
    side->height = 1;
    while (!level.is_leaf) {
        if (++side->height > BOLT_DEPTH_MAX) {
            return too_deep(side);
        }
        level.index = 0;
        TRY(bolt__level_child(side->bucket, &level, &level));
    }
    return ERR_OK;
}

/* Leaves the levels that are used up. */
static void settle(struct side *side)
{
    while (side->depth > 0 && side_top(side)->index >= side_top(side)->count) {
        side->depth--;
        if (side->depth > 0) {
            side_top(side)->index++;
        }
    }
}

static FALLIBLE side_open(struct side *side, struct bolt_bucket *bucket)
{
    side->bucket = bucket;
    side->depth = 0;
    if (bucket == NULL) {
        return ERR_OK;
    }
    TRY(bolt__level_root(bucket, &side->level[0]));
    side->level[0].index = 0;
    side->depth = 1;
    TRY(find_height(side));
    settle(side);
    return ERR_OK;
}

static FALLIBLE side_elem(struct side *side, struct bolt_elem *out)
{
    return bolt__level_elem(side->bucket, side_top(side), out);
}

/* Into the subtree that the side stands before. */
static FALLIBLE side_enter(struct side *side)
{
    if (side->depth == BOLT_DEPTH_MAX) {
        return too_deep(side);
    }
    struct bolt_level *level = &side->level[side->depth];
    TRY(bolt__level_child(side->bucket, side_top(side), level));
    level->index = 0;
    side->depth++;
    settle(side);
    return ERR_OK;
}

/* Past the element. Rows must come in order, or what the other side has would be missed. */
static FALLIBLE side_pass(struct side *side, struct slice key)
{
    if (stands_on_row(side)) {
        struct bolt_tx *tx = side->bucket->tx;
        if (side->has_last && slice_cmp(side->last, key) >= 0) {
            return bolt__tx_error(tx, ERR_CORRUPT, "%s: pages of one tree have keys out of order",
                                  tx->db->path);
        }
        side->last = key;
        side->has_last = true;
    }
    side_top(side)->index++;
    settle(side);
    return ERR_OK;
}

/* ---- buckets --------------------------------------------------------------------------------- */

static bool is_bucket(const struct bolt_elem *elem)
{
    return (elem->flags & ELEM_IS_BUCKET) != 0;
}

static FALLIBLE sequence_copy(struct bolt_sync *sync, const struct bolt_bucket *to)
{
    if (bolt_bucket_sequence(sync->bucket) == bolt_bucket_sequence(to)) {
        return ERR_OK;
    }
    sync->is_changed = true;
    return bolt_bucket_set_sequence(sync->bucket, bolt_bucket_sequence(to));
}

static FALLIBLE enter_bucket(struct bolt_sync *sync, struct slice name, bool is_in_from)
{
    struct frame *outer = sync->inner;
    struct bolt_bucket *from = NULL;
    struct bolt_bucket *to = NULL;
    TRY(bolt_bucket(outer->to.bucket, name, &to));
    if (is_in_from) {
        TRY(bolt_bucket(outer->from.bucket, name, &from));
        TRY(bolt_bucket(sync->bucket, name, &sync->bucket));
    } else {
        TRY(bolt_bucket_create(sync->bucket, name, &sync->bucket));
        sync->is_changed = true;
    }
    bolt_bucket_set_fill(sync->bucket, sync->fill);
    struct frame *frame = NEW(struct frame);
    frame->outer = outer;
    frame->name = name;
    sync->inner = frame;
    TRY(side_open(&frame->from, from));
    TRY(side_open(&frame->to, to));
    return sequence_copy(sync, to);
}

/* The target's bucket for `frame`, and how full its pages get. */
static FALLIBLE open_path(struct bolt_sync *sync, const struct frame *frame,
                          struct bolt_bucket **out)
{
    if (frame->outer == NULL) {
        *out = bolt_root(sync->tx);
    } else {
        TRY(open_path(sync, frame->outer, out));
        TRY(bolt_bucket(*out, frame->name, out));
    }
    bolt_bucket_set_fill(*out, sync->fill);
    return ERR_OK;
}

static FALLIBLE leave_bucket(struct bolt_sync *sync)
{
    struct frame *frame = sync->inner;
    sync->inner = frame->outer;
    mem_free(frame);
    if (sync->inner == NULL) {
        sync->is_done = true;
        return ERR_OK;
    }
    return open_path(sync, sync->inner, &sync->bucket);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static FALLIBLE remove_elem(struct bolt_sync *sync, const struct bolt_elem *elem)
{
    sync->is_changed = true;
    sync->bytes += elem->key.len;
    return is_bucket(elem) ? bolt_bucket_drop(sync->bucket, elem->key)
                           : bolt_delete(sync->bucket, elem->key);
}

static FALLIBLE add_elem(struct bolt_sync *sync, const struct bolt_elem *elem)
{
    sync->bytes += elem->key.len + elem->value.len;
    if (is_bucket(elem)) {
        return enter_bucket(sync, elem->key, false);
    }
    sync->is_changed = true;
    return bolt_put(sync->bucket, elem->key, elem->value);
}

static FALLIBLE compare_rows(struct bolt_sync *sync, const struct bolt_elem *from,
                             const struct bolt_elem *to)
{
    if (is_bucket(from) != is_bucket(to)) {
        TRY(remove_elem(sync, from));
        return add_elem(sync, to);
    }
    if (slice_eq(from->value, to->value)) {
        return ERR_OK; /* buckets: the same tree, so the same in everything */
    }
    return is_bucket(to) ? enter_bucket(sync, to->key, true) : add_elem(sync, to);
}

static FALLIBLE only_to(struct bolt_sync *sync, struct side *to)
{
    struct bolt_elem elem = {0};
    if (!stands_on_row(to)) {
        return side_enter(to);
    }
    TRY(side_elem(to, &elem));
    TRY(side_pass(to, elem.key));
    return add_elem(sync, &elem);
}

static FALLIBLE only_from(struct bolt_sync *sync, struct side *from)
{
    struct bolt_elem elem = {0};
    if (!stands_on_row(from)) {
        return side_enter(from);
    }
    TRY(side_elem(from, &elem));
    TRY(side_pass(from, elem.key));
    return remove_elem(sync, &elem);
}

/* Both stand before subtrees that are not the same page. */
static FALLIBLE enter_one(struct side *from, struct side *to, int order)
{
    unsigned from_height = subtree_height(from);
    unsigned to_height = subtree_height(to);
    if (from_height != to_height) {
        return side_enter(from_height > to_height ? from : to);
    }
    if (order <= 0) {
        TRY(side_enter(from));
    }
    return order >= 0 ? side_enter(to) : ERR_OK;
}

/* One element of the bucket at hand. */
static FALLIBLE advance(struct bolt_sync *sync)
{
    struct side *from = &sync->inner->from;
    struct side *to = &sync->inner->to;
    struct bolt_elem a = {0};
    struct bolt_elem b = {0};
    if (from->depth == 0 || to->depth == 0) {
        return from->depth == 0 ? to->depth == 0 ? leave_bucket(sync) : only_to(sync, to)
                                : only_from(sync, from);
    }
    TRY(side_elem(from, &a));
    TRY(side_elem(to, &b));
    int order = slice_cmp(a.key, b.key);
    if (!stands_on_row(from) && !stands_on_row(to)) {
        if (a.pgno != b.pgno) {
            return enter_one(from, to, order);
        }
        TRY(side_pass(from, a.key));
        return side_pass(to, b.key);
    }
    if (order < 0 || (order == 0 && !stands_on_row(from))) {
        return only_from(sync, from);
    }
    if (order > 0 || !stands_on_row(to)) {
        return only_to(sync, to);
    }
    TRY(side_pass(from, a.key));
    TRY(side_pass(to, b.key));
    return compare_rows(sync, &a, &b);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static FALLIBLE begin(struct bolt_sync *sync)
{
    struct frame *frame = NEW(struct frame);
    sync->inner = frame;
    sync->is_begun = true;
    TRY(side_open(&frame->from, sync->from == NULL ? NULL : bolt_root(sync->from)));
    TRY(side_open(&frame->to, bolt_root(sync->to)));
    return sequence_copy(sync, bolt_root(sync->to));
}

static FALLIBLE walk(struct bolt_sync *sync, uint64_t budget)
{
    uint64_t work = 0;
    if (!sync->is_begun) {
        sync->bucket = bolt_root(sync->tx);
        TRY(begin(sync));
    }
    TRY(open_path(sync, sync->inner, &sync->bucket));
    while (!sync->is_done && work < budget) {
        uint64_t before = sync->bytes;
        TRY(advance(sync));
        work += ELEM_LEN + sync->bytes - before;
    }
    return ERR_OK;
}

/* Whoever of the three has a sentence was the one to complain. */
static FALLIBLE explain(const struct bolt_sync *sync, enum err err, struct errbuf *why)
{
    const struct bolt_tx *all[] = {sync->tx, sync->to, sync->from};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i] != NULL && all[i]->why.text[0] != '\0') {
            return errf(why, err, "%s", all[i]->why.text);
        }
    }
    return errf(why, ERR_CORRUPT, "%s: a row is not where it was", sync->to->db->path);
}

struct bolt_sync *bolt_sync_new(struct bolt_tx *from, struct bolt_tx *to, unsigned fill)
{
    ASSERT(!to->is_writable);
    ASSERT(from == NULL || (!from->is_writable && from->db == to->db));
    ASSERT(from == NULL || bolt_tx_id(from) <= bolt_tx_id(to));
    struct bolt_sync *sync = NEW(struct bolt_sync);
    bolt_tx_set_scanning(to, true);
    if (from != NULL) {
        bolt_tx_set_scanning(from, true);
    }
    sync->from = from;
    sync->to = to;
    sync->fill = fill;
    return sync;
}

void bolt_sync_free(struct bolt_sync **sync)
{
    struct bolt_sync *done = *sync;
    *sync = NULL;
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

FALLIBLE bolt_sync_step(struct bolt_sync *sync, struct bolt *target, uint64_t budget,
                        bool *is_done_out, struct errbuf *why)
{
    ASSERT(!sync->is_done);
    TRY(bolt_write_begin(target, &sync->tx, why));
    sync->is_changed = false;
    enum err err = walk(sync, budget);
    if (err != ERR_OK) {
        err = explain(sync, err, why);
        bolt_rollback(&sync->tx);
        return err;
    }
    sync->bucket = NULL;
    if (sync->is_changed) {
        TRY(bolt_commit(&sync->tx, why));
    } else {
        bolt_rollback(&sync->tx);
    }
    *is_done_out = sync->is_done;
    return ERR_OK;
}

uint64_t bolt_sync_bytes(const struct bolt_sync *sync)
{
    return sync->bytes;
}

/* ---- a whole file ---------------------------------------------------------------------------- */

#define DEFRAG_STEP ((uint64_t)4 << 20)
#define DEFRAG_FILL 90

static FALLIBLE copy_all(struct bolt_tx *to, struct bolt *target, struct errbuf *why)
{
    struct bolt_sync *sync = bolt_sync_new(NULL, to, DEFRAG_FILL);
    bool is_done = false;
    enum err err = ERR_OK;
    while (err == ERR_OK && !is_done) {
        err = bolt_sync_step(sync, target, DEFRAG_STEP, &is_done, why);
    }
    bolt_sync_free(&sync);
    return err;
}

static FALLIBLE replace(struct bolt *db, const char *temporary, uint64_t *size_after_out,
                        struct errbuf *why)
{
    struct bolt_options options = {.no_freelist_sync = true, .page_size = db->page_size};
    struct bolt *target = NULL;
    struct errbuf ignored;
    bool has_moved = false;
    (void)!disk_unlink(db->disk, temporary, &ignored);
    enum err err = bolt_open(db->disk, temporary, &options, &target, why);
    if (err == ERR_OK) {
        struct bolt_tx *to = bolt_read_begin(db);
        err = copy_all(to, target, why);
        bolt_read_end(&to);
    }
    if (err == ERR_OK) {
        *size_after_out = atomic_load(&target->current)->meta.hwm << target->page_shift;
        err = bolt_rename(target, db->path, 0, &has_moved, why);
    }
    bolt_close(&target);
    if (err != ERR_OK && !has_moved) {
        (void)!disk_unlink(db->disk, temporary, &ignored);
    }
    return err;
}

FALLIBLE bolt_sync_defrag(struct disk *disk, const char *path, uint64_t *size_before_out,
                          uint64_t *size_after_out, struct errbuf *why)
{
    struct bolt_options options = {.no_freelist_sync = true};
    struct bolt *db = NULL;
    struct file_info info;
    uint64_t size_after = 0;
    TRY(disk_stat(disk, path, &info, why));
    TRY(bolt_open(disk, path, &options, &db, why));
    char *temporary = mem_printf("%s.tmp.defrag", path);
    uint64_t size_before = atomic_load(&db->current)->meta.hwm << db->page_shift;
    enum err err = replace(db, temporary, &size_after, why);
    mem_free(temporary);
    bolt_close(&db);
    if (err == ERR_OK && size_before_out != NULL) {
        *size_before_out = size_before;
    }
    if (err == ERR_OK && size_after_out != NULL) {
        *size_after_out = size_after;
    }
    return err;
}
