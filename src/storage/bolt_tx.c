/* Transactions: pinning and publishing committed states, the order of a commit, and copies.
 *
 * A commit:
 *   1. rebalance and spill every changed bucket: page images in memory, the new root known
 *   2. the freelist's new page, or none
 *   3. grow the file when the high-water mark has moved over its end; when the disk is full, go
 *      back to the state before, as nothing has been written
 *   4. write the page images; when the disk does not take one (not all of the file need be
 * allocated: Go's may end in a hole), go back as well, as only free pages have been written
 *   5. sync
 *   6. write the meta page txid % 2, sync
 *   7. publish the new state to readers
 * Until 6 is on the disk the other meta names the old state, whose pages nobody has touched. */
#include "storage/bolt_priv.h"

#include "base/failpoint.h"

#include <inttypes.h>
#include <stdio.h>

enum err bolt__tx_error(struct bolt_tx *tx, enum err err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(tx->why.text, sizeof(tx->why.text), format, args);
    va_end(args);
    if (tx->err == ERR_OK && err != ERR_INVALID && err != ERR_TOO_LARGE) {
        tx->err = err;
        tx->damage = tx->why;
    }
    return err;
}

enum err bolt__tx_page_error(struct bolt_tx *tx, uint64_t pgno, const char *problem)
{
    return pgno == 0
               ? bolt__tx_error(tx, ERR_CORRUPT, "%s: an inline page %s", tx->db->path, problem)
               : bolt__tx_error(tx, ERR_CORRUPT, "%s: page %" PRIu64 " %s", tx->db->path, pgno,
                                problem);
}

/* ---- views --------------------------------------------------------------------------------- */

/* A free slot, now holding `view`. */
static _Atomic(struct bolt_view *) *slot_claim(struct bolt *db, struct bolt_view *view)
{
    struct bolt_slots *block = &db->slots;
    for (;;) {
        for (size_t i = 0; i < READER_SLOTS; i++) {
            struct bolt_view *none = NULL;
            if (atomic_load_explicit(&block->slot[i], memory_order_relaxed) == NULL &&
                atomic_compare_exchange_strong(&block->slot[i], &none, view)) {
                return &block->slot[i];
            }
        }
        struct bolt_slots *next = atomic_load(&block->next);
        if (next == NULL) {
            struct bolt_slots *added = NEW(struct bolt_slots);
            if (atomic_compare_exchange_strong(&block->next, &next, added)) {
                next = added;
            } else {
                mem_free(added);
            }
        }
        block = next;
    }
}

struct bolt_view *bolt__view_pin(struct bolt *db, _Atomic(struct bolt_view *) **slot_out)
{
    struct bolt_view *view = atomic_load(&db->current);
    _Atomic(struct bolt_view *) *slot = slot_claim(db, view);
    for (;;) {
        struct bolt_view *newest = atomic_load(&db->current);
        if (newest == view) {
            *slot_out = slot;
            return view;
        }
        view = newest;
        atomic_store(slot, view);
    }
}

static bool is_pinned(const struct bolt *db, const struct bolt_view *view)
{
    for (const struct bolt_slots *block = &db->slots; block != NULL;
         block = atomic_load(&block->next)) {
        for (size_t i = 0; i < READER_SLOTS; i++) {
            if (atomic_load(&block->slot[i]) == view) {
                return true;
            }
        }
    }
    return false;
}

void bolt__view_publish(struct bolt *db, const struct bolt_meta *meta)
{
    struct bolt_view *view = NEW(struct bolt_view);
    view->meta = *meta;
    view->map = db->map;
    view->free_pages = db->free.free_count;
    if (view->map != NULL) {
        view->map->refs++;
    }
    list_add_tail(&db->views, &view->link);
    atomic_store(&db->current, view);
}

uint64_t bolt__views_reclaim(struct bolt *db)
{
    const struct bolt_view *newest = atomic_load(&db->current);
    LIST_FOR_EACH (&db->views, link) {
        struct bolt_view *view = CONTAINER_OF(link, struct bolt_view, link);
        if (view != newest && !is_pinned(db, view)) {
            list_del(&view->link);
            bolt__map_unref(db, view->map);
            mem_free(view);
        }
    }
    return CONTAINER_OF(db->views.next, struct bolt_view, link)->meta.txid;
}

/* ---- begin and end ------------------------------------------------------------------------- */

static struct bolt_tx *tx_new(struct bolt *db, struct bolt_view *view)
{
    struct bolt_tx *tx = NEW(struct bolt_tx);
    tx->db = db;
    tx->view = view;
    tx->meta = view->meta;
    arena_init(&tx->arena);
    map_init(&tx->buckets);
    map_init(&tx->pages);
    tx->root = bolt__bucket_root_new(tx);
    return tx;
}

static void tx_free(struct bolt_tx *tx)
{
    bolt__scan_forget(tx);
    bolt__dirty_drop(tx);
    bolt__pages_drop(tx);
    map_fini(&tx->buckets);
    arena_fini(&tx->arena);
    mem_free(tx);
}

struct bolt_tx *bolt_read_begin(struct bolt *db)
{
    _Atomic(struct bolt_view *) *slot = NULL;
    struct bolt_view *view = bolt__view_pin(db, &slot);
    struct bolt_tx *tx = tx_new(db, view);
    tx->slot = slot;
    return tx;
}

void bolt_read_end(struct bolt_tx **tx)
{
    struct bolt_tx *done = *tx;
    *tx = NULL;
    if (done == NULL) {
        return;
    }
    ASSERT(!done->is_writable);
    _Atomic(struct bolt_view *) *slot = done->slot;
    tx_free(done);
    atomic_store(slot, NULL);
}

FALLIBLE bolt_write_begin(struct bolt *db, struct bolt_tx **out, struct errbuf *why)
{
    ASSERT(db->writer == NULL);
    if (db->options.read_only) {
        return errf(why, ERR_PERM, "%s: is open read-only", db->path);
    }
    if (db->is_broken) {
        return errf(why, ERR_CLOSED, "%s: an earlier commit failed; no more writes", db->path);
    }
    bolt__free_begin(&db->free, bolt__views_reclaim(db));
    struct bolt_tx *tx = tx_new(db, atomic_load(&db->current));
    tx->is_writable = true;
    tx->meta.txid++;
    db->writer = tx;
    *out = tx;
    return ERR_OK;
}

static void write_end(struct bolt_tx *tx)
{
    ASSERT(tx->db->writer == tx);
    tx->db->writer = NULL;
    tx_free(tx);
}

void bolt_rollback(struct bolt_tx **tx)
{
    struct bolt_tx *done = *tx;
    *tx = NULL;
    if (done == NULL) {
        return;
    }
    ASSERT(done->is_writable);
    bolt__free_rollback(&done->db->free, done->meta.txid);
    write_end(done);
}

/* ---- commit -------------------------------------------------------------------------------- */

static FALLIBLE freelist_spill(struct bolt_tx *tx)
{
    struct bolt *db = tx->db;
    if (tx->meta.freelist != BOLT_NO_FREELIST) {
        struct slice old = SLICE_EMPTY;
        TRY(bolt__page_bytes(tx, tx->meta.freelist, &old));
        TRY(bolt__page_free(tx, tx->meta.freelist, old.len));
    }
    if (db->options.no_freelist_sync) {
        tx->meta.freelist = BOLT_NO_FREELIST;
        return ERR_OK;
    }
    /* Allocating takes from the list, so this is enough, and perhaps a page too many. */
    uint64_t ids_max = bolt__free_count(&db->free) + 1;
    uint64_t pages = (PAGE_HEADER_LEN + ids_max * 8 + db->page_size - 1) >> db->page_shift;
    uint8_t *page = bolt__page_allocate(tx, pages, &tx->meta.freelist);
    memset(page, 0, pages << db->page_shift);
    uint64_t count = bolt__free_count(&db->free);
    bool is_long = count >= FREELIST_COUNT_LONG;
    bolt__page_header(page, tx->meta.freelist, PAGE_FREELIST,
                      is_long ? FREELIST_COUNT_LONG : (uint32_t)count, (uint32_t)(pages - 1));
    uint8_t *ids = page + PAGE_HEADER_LEN;
    if (is_long) {
        put_le64(ids, count);
        ids += 8;
    }
    bolt__free_write(&db->free, ids);
    return ERR_OK;
}

static FALLIBLE commit_spill(struct bolt_tx *tx)
{
    struct bolt_bucket *root = tx->root;
    TRY(tx->err);
    TRY(bolt__bucket_spill(root));
    if (root->node != NULL) {
        TRY(bolt__spill_tree(root, &tx->meta.root));
        tx->meta.sequence = root->sequence;
    }
    TRY(freelist_spill(tx));
    return tx->err;
}

static FALLIBLE meta_write(struct bolt *db, const struct bolt_meta *meta, struct errbuf *why)
{
    uint64_t pgno = meta->txid % 2;
    uint8_t *page = mem_zalloc(db->page_size);
    bolt__meta_encode(meta, pgno, page);
    enum err err = file_pwrite(db->file, page, db->page_size, pgno << db->page_shift, why);
    mem_free(page);
    db->stats.writes++;
    db->stats.pages_written++;
    return err;
}

/* Everything that makes the state last. After an error nobody knows which of the two is there. */
static FALLIBLE commit_settle(struct bolt_tx *tx, struct errbuf *why)
{
    struct bolt *db = tx->db;
    if (tx->dirty_count > 0) {
        FAILPOINT(beforeSyncDataPages);
        if (!db->options.no_sync) {
            TRY(file_sync_data(db->file, why));
        }
    }
    enum err err = meta_write(db, &tx->meta, why);
    TRY(err == ERR_NOSPACE ? ERR_IO : err); /* too late to be tried again */
    FAILPOINT(beforeSyncMetaPage);
    if (!db->options.no_sync) {
        TRY(file_sync_data(db->file, why));
    }
    return ERR_OK;
}

FALLIBLE bolt_commit(struct bolt_tx **tx, struct errbuf *why)
{
    struct bolt_tx *done = *tx;
    struct bolt *db = done->db;
    ASSERT(done->is_writable);
    enum err err = commit_spill(done);
    if (err != ERR_OK) {
        (void)errf(why, err, "%s", done->damage.text);
        bolt_rollback(tx);
        return err;
    }
    err = bolt__grow(done, why);
    if (err == ERR_OK) {
        err = bolt__dirty_write(done, why);
    }
    if (err == ERR_NOSPACE) { /* nothing that counts is written yet */
        bolt_rollback(tx);
        return err;
    }
    if (err == ERR_OK) {
        err = commit_settle(done, why);
    }
    if (err != ERR_OK) {
        db->is_broken = true;
        bolt_rollback(tx);
        return err;
    }
    bolt__free_commit(&db->free);
    db->stats.commits++;
    bolt__view_publish(db, &done->meta);
    write_end(done);
    *tx = NULL;
    return ERR_OK;
}

FALLIBLE bolt_restore_reserve(struct bolt *db, struct errbuf *why)
{
    ASSERT(db->writer == NULL);
    if (db->is_broken || !db->is_short) {
        return ERR_OK;
    }
    enum err err = bolt__make_reserve(db, why);
    db->is_broken = err != ERR_OK;
    return err;
}

/* ---- observers ----------------------------------------------------------------------------- */

const char *bolt_tx_why(const struct bolt_tx *tx)
{
    return tx->why.text;
}

struct bolt_bucket *bolt_root(struct bolt_tx *tx)
{
    return tx->root;
}

uint64_t bolt_tx_id(const struct bolt_tx *tx)
{
    return tx->meta.txid;
}

uint64_t bolt_tx_size(const struct bolt_tx *tx)
{
    return tx->meta.hwm << tx->db->page_shift;
}

uint64_t bolt_tx_size_in_use(const struct bolt_tx *tx)
{
    return (tx->meta.hwm - tx->view->free_pages) << tx->db->page_shift;
}

/* ---- copies -------------------------------------------------------------------------------- */

/* The two meta pages of a copy: this state, and under it one with an older txid. */
static void copy_metas(const struct bolt_tx *tx, uint64_t offset, uint8_t *out, size_t len)
{
    uint32_t page_size = tx->db->page_size;
    uint8_t *pages = mem_zalloc((size_t)page_size * 2);
    struct bolt_meta meta = tx->meta;
    bolt__meta_encode(&meta, 0, pages);
    meta.txid--;
    bolt__meta_encode(&meta, 1, pages + page_size);
    memcpy(out, pages + offset, len);
    mem_free(pages);
}

FALLIBLE bolt_tx_read_at(struct bolt_tx *tx, uint64_t offset, void *out, size_t len,
                         struct errbuf *why)
{
    ASSERT(!tx->is_writable);
    ASSERT(offset <= bolt_tx_size(tx));
    ASSERT(len <= bolt_tx_size(tx) - offset);
    uint8_t *to = out;
    uint64_t metas_len = (uint64_t)tx->db->page_size * 2;
    if (offset < metas_len) {
        size_t part = len < metas_len - offset ? len : (size_t)(metas_len - offset);
        copy_metas(tx, offset, to, part);
        offset += part;
        to += part;
        len -= part;
    }
    if (len == 0) {
        return ERR_OK;
    }
    /* Not from the map: that would make the whole file resident. */
    return file_pread_all(tx->db->file, to, len, offset, why);
}

static FALLIBLE copy_to(struct bolt_tx *tx, struct file *file, struct errbuf *why)
{
    const size_t step = (size_t)1 << 20;
    uint8_t *data = mem_alloc(step);
    enum err err = ERR_OK;
    for (uint64_t at = 0; at < bolt_tx_size(tx) && err == ERR_OK; at += step) {
        uint64_t left = bolt_tx_size(tx) - at;
        size_t len = left < step ? (size_t)left : step;
        err = bolt_tx_read_at(tx, at, data, len, why);
        if (err == ERR_OK) {
            err = file_pwrite(file, data, len, at, why);
        }
    }
    mem_free(data);
    return err == ERR_OK ? file_sync(file, why) : err;
}

FALLIBLE bolt_tx_write_file(struct bolt_tx *tx, const char *path, struct errbuf *why)
{
    struct file *file = NULL;
    TRY(disk_open(tx->db->disk, path, FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE, &file, why));
    enum err err = copy_to(tx, file, why);
    file_close(&file);
    if (err != ERR_OK) {
        struct errbuf ignored;
        (void)!disk_unlink(tx->db->disk, path, &ignored);
    }
    return err;
}
