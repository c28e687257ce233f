/* Opening and closing: the metas, the file's birth, and finding the free pages.
 *
 * Which meta counts: of those whose checksum holds, the one with the larger txid. When that one
 * says something impossible (a page beyond the file's end), the file is damaged; the older meta is
 * not taken instead, because that would silently forget a committed transaction.
 *
 * Birth: the pages of data first, synced, then both metas, synced. So a file whose meta pages are
 * all zero, and which is no longer than a new one, was never born: it is made again. */
#include "storage/bolt_priv.h"

#include <inttypes.h>

#define NEW_FILE_PAGES 4u /* two metas, an empty freelist, an empty root */

/* ---- birth --------------------------------------------------------------------------------- */

static uint32_t new_page_size(const struct bolt *db)
{
    return db->options.page_size == 0 ? PAGE_SIZE_DEFAULT : db->options.page_size;
}

/* The folder part of a path: "." when there is none. The caller frees. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return mem_strdup(".");
    }
    return slash == path ? mem_strdup("/") : mem_printf("%.*s", (int)(slash - path), path);
}

static FALLIBLE new_file_write(struct bolt *db, const uint8_t *pages, struct errbuf *why)
{
    size_t half = (size_t)new_page_size(db) * 2;
    TRY(file_pwrite(db->file, pages + half, half, half, why));
    TRY(file_sync(db->file, why));
    TRY(file_pwrite(db->file, pages, half, 0, why));
    TRY(file_sync(db->file, why));
    char *folder = folder_of(db->path);
    enum err err = disk_sync_dir(db->disk, folder, why);
    mem_free(folder);
    return err;
}

static FALLIBLE file_create(struct bolt *db, struct errbuf *why)
{
    uint32_t page_size = new_page_size(db);
    uint8_t *pages = mem_zalloc((size_t)page_size * NEW_FILE_PAGES);
    struct bolt_meta meta = {
        .page_size = page_size, .root = 3, .freelist = 2, .hwm = NEW_FILE_PAGES};
    for (meta.txid = 0; meta.txid < 2; meta.txid++) {
        bolt__meta_encode(&meta, meta.txid, pages + meta.txid * page_size);
    }
    bolt__page_header(pages + 2 * (size_t)page_size, 2, PAGE_FREELIST, 0, 0);
    bolt__page_header(pages + 3 * (size_t)page_size, 3, PAGE_LEAF, 0, 0);
    enum err err = new_file_write(db, pages, why);
    mem_free(pages);
    return err;
}

/* ---- metas --------------------------------------------------------------------------------- */

/* The valid metas in the head of the file; returns how many. The second one's place follows from
 * the first one's page size, or has to be looked for. */
static unsigned metas_find(struct slice head, struct bolt_meta out[2])
{
    const size_t meta_end = PAGE_HEADER_LEN + META_LEN;
    unsigned count = 0;
    uint32_t from = PAGE_SIZE_MIN;
    uint32_t to = PAGE_SIZE_MAX;
    if (head.len >= meta_end && bolt__meta_decode(head.data, &out[0])) {
        count = 1;
        from = out[0].page_size;
        to = from;
    }
    for (uint32_t at = from; at <= to && head.len >= at + meta_end; at *= 2) {
        struct bolt_meta second;
        if (bolt__meta_decode(head.data + at, &second) && second.page_size == at) {
            out[count++] = second;
            break;
        }
    }
    return count;
}

static bool is_zero(struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] != 0) {
            return false;
        }
    }
    return true;
}

/* Never born: see the top. */
static bool is_unborn(const struct bolt *db, struct slice head)
{
    size_t metas = (size_t)new_page_size(db) * 2;
    if (db->file_size > (uint64_t)new_page_size(db) * NEW_FILE_PAGES) {
        return false;
    }
    return is_zero(slice_of(head.data, head.len < metas ? head.len : metas));
}

static FALLIBLE meta_bounds(const struct bolt *db, const struct bolt_meta *meta, struct errbuf *why)
{
    uint64_t file_pages = db->file_size / meta->page_size;
    if (meta->hwm > file_pages) {
        return errf(why, ERR_CORRUPT,
                    "%s: is %" PRIu64 " pages long, but its meta page tells of %" PRIu64, db->path,
                    file_pages, meta->hwm);
    }
    if (meta->root < 2 || meta->root >= meta->hwm) {
        return errf(why, ERR_CORRUPT, "%s: meta page: root page %" PRIu64 " is impossible",
                    db->path, meta->root);
    }
    if (meta->freelist != BOLT_NO_FREELIST && (meta->freelist < 2 || meta->freelist >= meta->hwm)) {
        return errf(why, ERR_CORRUPT, "%s: meta page: freelist page %" PRIu64 " is impossible",
                    db->path, meta->freelist);
    }
    if (meta->txid >= TXID_MAX) {
        return errf(why, ERR_CORRUPT, "%s: meta page: transaction id %" PRIu64 " is impossible",
                    db->path, meta->txid);
    }
    return ERR_OK;
}

static FALLIBLE meta_choose(struct bolt *db, struct slice head, struct bolt_meta *out,
                            struct errbuf *why)
{
    struct bolt_meta metas[2];
    unsigned count = metas_find(head, metas);
    if (count == 0) {
        return errf(why, ERR_CORRUPT, "%s: no valid meta page: not a bolt file, or damaged",
                    db->path);
    }
    *out = count == 2 && metas[1].txid > metas[0].txid ? metas[1] : metas[0];
    return meta_bounds(db, out, why);
}

/* The first bytes of the file, as many as two metas can reach. */
static FALLIBLE head_read(struct bolt *db, struct buf *out, struct errbuf *why)
{
    size_t len = PAGE_SIZE_MAX + PAGE_HEADER_LEN + META_LEN;
    size_t got = 0;
    buf_reset(out);
    TRY(file_pread(db->file, buf_reserve(out, len), len, 0, &got, why));
    out->len = got;
    return ERR_OK;
}

/* A process that was killed may have left a state that can be read and is not on the disk: its meta
 * page, or even the name of the file. From here on others rely on that state, and the pages of the
 * one before are written over; so it has to last. */
static FALLIBLE found_sync(struct bolt *db, struct errbuf *why)
{
    if (db->options.no_sync) {
        return ERR_OK;
    }
    TRY(file_sync(db->file, why));
    char *folder = folder_of(db->path);
    enum err err = disk_sync_dir(db->disk, folder, why);
    mem_free(folder);
    return err;
}

static FALLIBLE meta_load(struct bolt *db, struct buf *head, struct bolt_meta *out,
                          struct errbuf *why)
{
    TRY(file_size(db->file, &db->file_size, why));
    TRY(head_read(db, head, why));
    if (is_unborn(db, buf_slice(head))) {
        if (db->options.read_only) {
            return errf(why, ERR_CORRUPT, "%s: is empty", db->path);
        }
        TRY(file_create(db, why));
        TRY(file_size(db->file, &db->file_size, why));
        TRY(head_read(db, head, why));
    } else if (!db->options.read_only) {
        TRY(found_sync(db, why));
    }
    return meta_choose(db, buf_slice(head), out, why);
}

/* ---- free pages ---------------------------------------------------------------------------- */

static enum err free_load_one(void *ctx, uint64_t pgno)
{
    struct bolt_free *f = ctx;
    return bolt__free_load(f, pgno, 1) ? ERR_OK : ERR_CORRUPT;
}

static FALLIBLE free_scan(struct bolt *db, struct bolt_tx *tx)
{
    uint64_t *seen = bolt__seen_new(tx);
    enum err err = bolt__reach(tx, false, seen);
    for (uint64_t pgno = 2; err == ERR_OK && pgno < tx->meta.hwm; pgno++) {
        if (!bolt__seen_has(seen, pgno) && !bolt__free_load(&db->free, pgno, 1)) {
            UNREACHABLE();
        }
    }
    mem_free(seen);
    return err;
}

static FALLIBLE free_load(struct bolt *db, struct errbuf *why)
{
    struct bolt_tx *tx = bolt_read_begin(db);
    enum err err = tx->meta.freelist == BOLT_NO_FREELIST
                       ? free_scan(db, tx)
                       : bolt__freelist_read(tx, free_load_one, &db->free);
    if (err != ERR_OK) {
        (void)errf(why, err, "%s", tx->why.text);
    }
    tx->view->free_pages = db->free.free_count; /* nobody else has seen the view yet */
    bolt_read_end(&tx);
    return err;
}

/* ---- open and close ------------------------------------------------------------------------ */

static FALLIBLE options_check(const struct bolt_options *options, const char *path,
                              struct errbuf *why)
{
    uint32_t size = options->page_size;
    if (size != 0 && (size < PAGE_SIZE_MIN || size > PAGE_SIZE_MAX || (size & (size - 1)) != 0)) {
        return errf(why, ERR_INVALID, "%s: a page size of %" PRIu32 " bytes is impossible", path,
                    size);
    }
    if (options->initial_map_size > (uint64_t)1 << 46) {
        return errf(why, ERR_INVALID, "%s: an initial map of %" PRIu64 " bytes is impossible", path,
                    options->initial_map_size);
    }
    return ERR_OK;
}

static FALLIBLE open_file(struct bolt *db, struct errbuf *why)
{
    bool read_only = db->options.read_only;
    unsigned flags = read_only ? FILE_READ : FILE_READ | FILE_WRITE | FILE_CREATE;
    TRY(disk_open(db->disk, db->path, flags, &db->file, why));
    return file_lock(db->file, read_only ? FILE_LOCK_FLOCK_SHARED : FILE_LOCK_FLOCK_EXCLUSIVE, why);
}

/* The file may end in a hole (etcd 3.6 makes it longer and writes nothing there), and a reserve
 * that is only promised is none. Where there is no room for it, a commit finds that out. */
static FALLIBLE end_allocate(struct bolt *db, struct errbuf *why)
{
    if (db->options.read_only || db->options.reserve_bytes == 0) {
        return ERR_OK;
    }
    enum err err = file_preallocate(db->file, db->file_size, why);
    return err == ERR_NOSPACE ? ERR_OK : err;
}

static FALLIBLE open_state(struct bolt *db, struct errbuf *why)
{
    struct bolt_meta meta = {0};
    struct buf head = {0};
    enum err err = meta_load(db, &head, &meta, why);
    buf_fini(&head);
    TRY(err);
    db->page_size = meta.page_size;
    db->page_shift = (uint32_t)__builtin_ctz(meta.page_size);
    TRY(end_allocate(db, why));
    TRY(bolt__map_extend(db, db->file_size, why));
    bolt__view_publish(db, &meta);
    return db->options.read_only ? ERR_OK : free_load(db, why);
}

FALLIBLE bolt_open(struct disk *disk, const char *path, const struct bolt_options *options,
                   struct bolt **out, struct errbuf *why)
{
    TRY(options_check(options, path, why));
    struct bolt *db = NEW(struct bolt);
    db->disk = disk;
    db->path = mem_strdup(path);
    db->options = *options;
    list_init(&db->views);
    db->looked = bolt__looked_new();
    bolt__free_init(&db->free);
    enum err err = open_file(db, why);
    if (err == ERR_OK) {
        err = open_state(db, why);
    }
    if (err != ERR_OK) {
        bolt_close(&db);
        return err;
    }
    *out = db;
    return ERR_OK;
}

static void slots_close(struct bolt *db)
{
    struct bolt_slots *block = &db->slots;
    while (block != NULL) {
        for (size_t i = 0; i < READER_SLOTS; i++) {
            ASSERT(atomic_load(&block->slot[i]) == NULL);
        }
        struct bolt_slots *next = atomic_load(&block->next);
        if (block != &db->slots) {
            mem_free(block);
        }
        block = next;
    }
}

void bolt_close(struct bolt **db)
{
    struct bolt *done = *db;
    *db = NULL;
    if (done == NULL) {
        return;
    }
    ASSERT(done->writer == NULL);
    slots_close(done);
    for (struct list *link = list_pop(&done->views); link != NULL; link = list_pop(&done->views)) {
        struct bolt_view *view = CONTAINER_OF(link, struct bolt_view, link);
        bolt__map_unref(done, view->map);
        mem_free(view);
    }
    bolt__map_unref(done, done->map);
    file_close(&done->file);
    bolt__free_fini(&done->free);
    bolt__chunks_free(done);
    bolt__looked_free(&done->looked);
    mem_free(done->path);
    mem_free(done);
}

static FALLIBLE move_file(struct bolt *db, const char *path, bool *has_moved_out,
                          struct errbuf *why)
{
    TRY(disk_rename(db->disk, db->path, path, why));
    *has_moved_out = true;
    mem_free(db->path);
    mem_free(db->file->path);
    db->path = mem_strdup(path);
    db->file->path = mem_strdup(path);
    char *folder = folder_of(path);
    enum err err = disk_sync_dir(db->disk, folder, why);
    mem_free(folder);
    return err;
}

FALLIBLE bolt_rename(struct bolt *db, const char *path, uint64_t map_size, bool *has_moved_out,
                     struct errbuf *why)
{
    ASSERT(db->writer == NULL);
    ASSERT(bolt_readers(db) == 0);
    *has_moved_out = false;
    db->options.initial_map_size = map_size;
    TRY(bolt__map_extend(db, map_size, why));
    /* The state has to know the new map: its own may be the one that was replaced. */
    struct bolt_meta meta = atomic_load(&db->current)->meta;
    bolt__view_publish(db, &meta);
    bolt__views_reclaim(db);
    return move_file(db, path, has_moved_out, why);
}

uint32_t bolt_page_size(const struct bolt *db)
{
    return db->page_size;
}

uint64_t bolt_readers(const struct bolt *db)
{
    uint64_t count = 0;
    for (const struct bolt_slots *block = &db->slots; block != NULL;
         block = atomic_load(&block->next)) {
        for (size_t i = 0; i < READER_SLOTS; i++) {
            count += atomic_load(&block->slot[i]) != NULL;
        }
    }
    return count;
}

void bolt_stats(const struct bolt *db, struct bolt_stats *out)
{
    *out = db->stats;
    out->free_pages = db->free.free_count;
    out->pending_pages = db->free.pending_count;
    out->file_size = db->file_size;
    out->map_size = db->map_size;
    out->readers = bolt_readers(db);
    out->is_short = db->is_short;
}
