/* Pages of a committed state, from the map or from pread; and dirty pages on their way out.
 *
 * With a map a page costs nothing to get. Without (the simulator's disk cannot map) every
 * transaction keeps private copies of the pages it has read, until it ends: no sharing between
 * threads, nothing to invalidate, and slices live as long as the transaction either way.
 *
 * The map is made longer than the file (reading past its end is a signal, so invariant 2 in
 * bolt_priv.h matters), in the steps of bbolt, for two reasons: the file's own growth depends on
 * the mapped size there, and remapping is rare. An old map lives until no view refers to it. */
#include "storage/bolt_priv.h"

#include <inttypes.h>
#include <stdlib.h>

#define MAP_LEN_MIN ((uint64_t)32 << 10)
#define MAP_STEP ((uint64_t)1 << 30)

/* A page read without a map. */
struct page_copy {
    struct map_node node;
    uint64_t pgno;
    size_t len;
    uint8_t data[];
};

static bool copy_eq(const struct map_node *node, const void *key)
{
    const uint64_t *pgno = key;
    return CONTAINER_OF_CONST(node, struct page_copy, node)->pgno == *pgno;
}

static uint64_t copy_hash(uint64_t pgno)
{
    return pgno * UINT64_C(0x9E3779B97F4A7C15);
}

/* How long a page is, overflow included, from its header at `pgno`; checks what the header says
 * against the high-water mark. */
static FALLIBLE page_length(struct bolt_tx *tx, uint64_t pgno, const uint8_t *header,
                            size_t *len_out)
{
    uint64_t id = get_le64(header);
    uint64_t overflow = get_le32(header + 12);
    if (id != pgno) {
        return bolt__tx_error(tx, ERR_CORRUPT, "%s: page %" PRIu64 " says it is page %" PRIu64,
                              tx->db->path, pgno, id);
    }
    if (overflow >= tx->view->meta.hwm - pgno) {
        return bolt__tx_page_error(tx, pgno, "reaches over the high-water mark");
    }
    *len_out = (size_t)(overflow + 1) << tx->db->page_shift;
    return ERR_OK;
}

static FALLIBLE page_read(struct bolt_tx *tx, uint64_t pgno, struct slice *out)
{
    struct map_node *found = map_find(&tx->pages, copy_hash(pgno), copy_eq, &pgno);
    if (found != NULL) {
        const struct page_copy *hit = CONTAINER_OF(found, struct page_copy, node);
        *out = slice_of(hit->data, hit->len);
        return ERR_OK;
    }
    struct bolt *db = tx->db;
    uint64_t offset = pgno << db->page_shift;
    uint8_t header[PAGE_HEADER_LEN];
    struct errbuf why = {0};
    enum err err = file_pread_all(db->file, header, sizeof(header), offset, &why);
    if (err != ERR_OK) {
        return bolt__tx_error(tx, err, "%s", why.text);
    }
    size_t len = 0;
    TRY(page_length(tx, pgno, header, &len));
    struct page_copy *copy = mem_alloc(sizeof(*copy) + len);
    err = file_pread_all(db->file, copy->data, len, offset, &why);
    if (err != ERR_OK) {
        mem_free(copy);
        return bolt__tx_error(tx, err, "%s", why.text);
    }
    copy->pgno = pgno;
    copy->len = len;
    map_insert(&tx->pages, &copy->node, copy_hash(pgno));
    *out = slice_of(copy->data, len);
    return ERR_OK;
}

/* ---- scans ---------------------------------------------------------------------------------- */

/* The kernel maps, with the page that is touched, what it has of the 64 KiB around it. */
static uintptr_t window_down(uintptr_t at)
{
    return at & ~(SCAN_WINDOW - 1);
}

static uintptr_t window_up(uintptr_t at)
{
    return window_down(at + SCAN_WINDOW - 1);
}

static void forget(struct bolt_tx *tx, uintptr_t from, uintptr_t end)
{
    const struct bolt_map *map = tx->view->map;
    uintptr_t base = (uintptr_t)map->base;
    from = from > base ? from : base;
    end = end < base + map->len ? end : base + map->len;
    file_map_forget(tx->db->file, map->base + (from - base), end - from);
}

void bolt__scan_forget(struct bolt_tx *tx)
{
    struct bolt_scan *scan = tx->scan;
    if (scan == NULL) {
        return;
    }
    for (size_t i = 0; i < scan->count; i++) {
        forget(tx, scan->span[i].from, scan->span[i].end);
    }
    scan->count = 0;
    scan->bytes = 0;
}

/* Branches lie elsewhere than leaves, and leaves in pieces: several spans grow side by side. */
static void scan_note(struct bolt_tx *tx, const uint8_t *page, size_t len)
{
    struct bolt_scan *scan = tx->scan;
    uintptr_t from = window_down((uintptr_t)page);
    uintptr_t end = window_up((uintptr_t)page + len);
    for (size_t i = scan->count; i-- > 0;) {
        if (from < scan->span[i].from || from > scan->span[i].end) {
            continue;
        }
        if (end > scan->span[i].end) {
            scan->bytes += end - scan->span[i].end;
            scan->span[i].end = end;
        }
        return;
    }
    if (scan->count == SCAN_SPANS) {
        bolt__scan_forget(tx);
    }
    scan->span[scan->count].from = from;
    scan->span[scan->count].end = end;
    scan->count++;
    scan->bytes += end - from;
}

static void scan_over(struct bolt_tx *tx, const uint8_t *page, size_t len)
{
    if (tx->scan->bytes >= BOLT_SCAN_BYTES) {
        bolt__scan_forget(tx);
    }
    scan_note(tx, page, len);
}

void bolt_tx_set_scanning(struct bolt_tx *tx, bool is_scanning)
{
    tx->is_scanning = is_scanning && tx->view->map != NULL;
    if (tx->is_scanning && tx->scan == NULL) {
        tx->scan = ARENA_NEW(&tx->arena, struct bolt_scan);
    }
}

bool bolt_tx_leave_scanned(struct bolt_tx *tx)
{
    bool is_any = tx->scan != NULL && tx->scan->count > 0;
    if (is_any) {
        tx->scan->count = 0;
        tx->scan->bytes = 0;
    }
    return is_any;
}

void bolt__page_forget(struct bolt_tx *tx, const struct bolt_page *page)
{
    forget(tx, window_down((uintptr_t)page->data), window_up((uintptr_t)page->data + page->len));
}

/* ---- pages ---------------------------------------------------------------------------------- */

static FALLIBLE check_bounds(struct bolt_tx *tx, uint64_t pgno)
{
    uint64_t hwm = tx->view->meta.hwm;
    if (pgno < 2 || pgno >= hwm) {
        return bolt__tx_error(tx, ERR_CORRUPT,
                              "%s: page %" PRIu64 " is referred to, outside of 2..%" PRIu64,
                              tx->db->path, pgno, hwm - 1);
    }
    return ERR_OK;
}

FALLIBLE bolt__page_bytes(struct bolt_tx *tx, uint64_t pgno, struct slice *out)
{
    const struct bolt_view *view = tx->view;
    TRY(check_bounds(tx, pgno));
    if (view->map == NULL) {
        return page_read(tx, pgno, out);
    }
    const uint8_t *data = view->map->base + (pgno << tx->db->page_shift);
    size_t len = 0;
    TRY(page_length(tx, pgno, data, &len));
    *out = slice_of(data, len);
    if (tx->is_scanning) {
        scan_over(tx, data, len);
    }
    return ERR_OK;
}

/* Not again for a page of the map that was right before: the memory is the same. */
static FALLIBLE look_at(struct bolt_tx *tx, uint64_t pgno, const struct bolt_page *page)
{
    struct bolt *db = tx->db;
    const char *problem = NULL;
    bool is_kept = tx->view->map != NULL;
    if (is_kept && !tx->is_scrub && bolt__looked_at(db->looked, pgno)) {
        return ERR_OK;
    }
    if (bolt__seal_check(page, tx->view->meta.txid, &problem) == SEAL_BROKEN) {
        return bolt__tx_page_error(tx, pgno, problem);
    }
    if (is_kept) {
        bolt__looked_set(db->looked, pgno);
    }
    return ERR_OK;
}

FALLIBLE bolt__page_get(struct bolt_tx *tx, uint64_t pgno, struct bolt_page *out)
{
    struct slice bytes = SLICE_EMPTY;
    TRY(bolt__page_bytes(tx, pgno, &bytes));
    const char *problem = NULL;
    if (!bolt__page_parse(bytes.data, bytes.len, out, &problem)) {
        return bolt__tx_page_error(tx, pgno, problem);
    }
    return look_at(tx, pgno, out);
}

/* `len` more bytes of the page, behind the `had` first ones. */
static FALLIBLE copy_bytes(struct bolt_tx *tx, uint64_t pgno, uint8_t **buffer, size_t *cap,
                           size_t had, size_t len)
{
    struct errbuf why = {0};
    if (*cap < had + len) {
        *buffer = mem_realloc(*buffer, had + len);
        *cap = had + len;
    }
    enum err err =
        file_pread_all(tx->db->file, *buffer + had, len, (pgno << tx->db->page_shift) + had, &why);
    return err == ERR_OK ? ERR_OK : bolt__tx_error(tx, err, "%s", why.text);
}

FALLIBLE bolt__page_copy(struct bolt_tx *tx, uint64_t pgno, uint8_t **buffer, size_t *cap,
                         struct bolt_page *out)
{
    const char *problem = NULL;
    size_t had = tx->db->page_size;
    size_t len = 0;
    TRY(check_bounds(tx, pgno));
    TRY(copy_bytes(tx, pgno, buffer, cap, 0, had));
    TRY(page_length(tx, pgno, *buffer, &len));
    if (len > BOLT_COPY_MAX && tx->view->map != NULL) {
        return bolt__page_get(tx, pgno, out);
    }
    if (len > had) {
        TRY(copy_bytes(tx, pgno, buffer, cap, had, len - had));
    }
    if (!bolt__page_parse(*buffer, len, out, &problem)) {
        return bolt__tx_page_error(tx, pgno, problem);
    }
    return look_at(tx, pgno, out);
}

void bolt_tx_forget_pages(struct bolt_tx *tx)
{
    const struct bolt_map *map = tx->view->map;
    if (map != NULL) {
        file_map_forget(tx->db->file, map->base, map->len);
    }
}

void bolt__pages_drop(struct bolt_tx *tx)
{
    for (struct map_node *node = map_any(&tx->pages); node != NULL; node = map_any(&tx->pages)) {
        map_remove(&tx->pages, node);
        mem_free(CONTAINER_OF(node, struct page_copy, node));
    }
    map_fini(&tx->pages);
}

/* ---- map and growth ------------------------------------------------------------------------ */

/* As bbolt: doubling from 32 KiB to 1 GiB, then whole GiB. */
static uint64_t map_length(const struct bolt *db, uint64_t len)
{
    if (len < db->options.initial_map_size) {
        len = db->options.initial_map_size;
    }
    for (uint64_t size = MAP_LEN_MIN; size <= MAP_STEP; size *= 2) {
        if (len <= size) {
            return size;
        }
    }
    return (len + MAP_STEP - 1) / MAP_STEP * MAP_STEP;
}

void bolt__map_unref(struct bolt *db, struct bolt_map *map)
{
    if (map == NULL) {
        return;
    }
    ASSERT(map->refs > 0);
    if (--map->refs == 0) {
        file_unmap(db->file, map->base, map->len);
        mem_free(map);
    }
}

FALLIBLE bolt__map_extend(struct bolt *db, uint64_t len, struct errbuf *why)
{
    if (len <= db->map_size) {
        return ERR_OK;
    }
    uint64_t map_size = map_length(db, len > db->file_size ? len : db->file_size);
    const uint8_t *base = NULL;
    enum err err = db->options.no_map ? ERR_UNSUPPORTED : file_map(db->file, map_size, &base, why);
    if (err != ERR_OK && err != ERR_UNSUPPORTED) {
        return err;
    }
    db->map_size = map_size;
    if (err == ERR_OK) {
        struct bolt_map *map = NEW(struct bolt_map);
        *map = (struct bolt_map){.base = base, .len = map_size, .refs = 1};
        bolt__map_unref(db, db->map);
        db->map = map;
    } else {
        ASSERT(db->map == NULL);
    }
    return ERR_OK;
}

/* Allocates up to `size`, or nothing: what was allocated before the disk was full goes back. */
static FALLIBLE allocate(struct bolt *db, uint64_t size, struct errbuf *why)
{
    struct errbuf ignored;
    enum err err = file_preallocate(db->file, size, why);
    if (err == ERR_NOSPACE) {
        TRY(file_truncate(db->file, db->file_size, &ignored));
    }
    return err;
}

/* Makes the file hold `len` bytes, by bbolt's steps. Where bbolt truncates, this allocates: a full
 * disk is met here and not while writing pages, and later writes need no allocation.
 *
 * With a reserve the file grows before it has to: when less than that is left behind `len`. Where
 * there is no room for that, the reserve is there to be used, and the database says that it is
 * short. ERR_NOSPACE: not even `len` fits; nothing has changed. */
static FALLIBLE file_grow(struct bolt *db, uint64_t len, struct errbuf *why)
{
    const uint64_t step = (uint64_t)16 << 20;
    uint64_t wanted = len + db->options.reserve_bytes;
    if (wanted <= db->file_size) {
        db->is_short = false;
        return ERR_OK;
    }
    uint64_t size = db->map_size <= step && db->map_size >= wanted ? db->map_size : wanted + step;
    enum err err = allocate(db, size, why);
    if (err == ERR_NOSPACE) {
        size = wanted;
        err = allocate(db, size, why);
    }
    db->is_short = err == ERR_NOSPACE;
    if (err == ERR_NOSPACE && len <= db->file_size) {
        return ERR_OK;
    }
    if (err == ERR_NOSPACE) {
        size = len;
        err = allocate(db, size, why);
    }
    TRY(err);
    /* The size must be on the disk before pages beyond the old one are relied upon. */
    TRY(db->options.no_sync ? ERR_OK : file_sync(db->file, why));
    db->file_size = size;
    return ERR_OK;
}

FALLIBLE bolt__grow(struct bolt_tx *tx, struct errbuf *why)
{
    struct bolt *db = tx->db;
    bool has_grown = tx->meta.hwm > tx->view->meta.hwm;
    /* One page more than needed, as bbolt asks for. */
    uint64_t len = (tx->meta.hwm + 1) << db->page_shift;
    if (has_grown) {
        TRY(bolt__map_extend(db, len, why));
    }
    return has_grown || db->options.reserve_bytes > 0 ? file_grow(db, len, why) : ERR_OK;
}

FALLIBLE bolt__make_reserve(struct bolt *db, struct errbuf *why)
{
    uint64_t len = (atomic_load(&db->current)->meta.hwm + 1) << db->page_shift;
    enum err err = file_grow(db, len, why);
    return err == ERR_NOSPACE ? ERR_OK : err;
}

/* ---- dirty pages --------------------------------------------------------------------------- */

static struct bolt_chunk *chunk_new(struct bolt *db, size_t len)
{
    struct bolt_chunk *chunk = db->spare;
    if (len <= CHUNK_LEN && chunk != NULL) {
        db->spare = chunk->next;
        db->spare_count--;
    } else {
        size_t cap = len > CHUNK_LEN ? len : CHUNK_LEN;
        chunk = mem_alloc(sizeof(*chunk) + cap);
        chunk->cap = cap;
    }
    chunk->used = 0;
    return chunk;
}

void bolt__chunks_free(struct bolt *db)
{
    while (db->spare != NULL) {
        struct bolt_chunk *chunk = db->spare;
        db->spare = chunk->next;
        mem_free(chunk);
    }
    db->spare_count = 0;
}

uint8_t *bolt__page_allocate(struct bolt_tx *tx, uint64_t count, uint64_t *pgno_out)
{
    struct bolt *db = tx->db;
    ASSERT(tx->is_writable);
    uint64_t pgno;
    if (!bolt__free_take(&db->free, count, &pgno)) {
        pgno = tx->meta.hwm;
        tx->meta.hwm += count;
    }
    size_t len = (size_t)count << db->page_shift;
    if (tx->chunks == NULL || tx->chunks->cap - tx->chunks->used < len) {
        struct bolt_chunk *chunk = chunk_new(db, len);
        chunk->next = tx->chunks;
        tx->chunks = chunk;
    }
    uint8_t *data = tx->chunks->data + tx->chunks->used;
    tx->chunks->used += len;
    if (tx->dirty_count == tx->dirty_cap) {
        tx->dirty_cap = tx->dirty_cap == 0 ? 256 : tx->dirty_cap * 2;
        tx->dirty = mem_realloc(tx->dirty, tx->dirty_cap * sizeof(tx->dirty[0]));
    }
    tx->dirty[tx->dirty_count++] = (struct bolt_dirty){.pgno = pgno, .count = count, .data = data};
    *pgno_out = pgno;
    return data;
}

FALLIBLE bolt__page_free(struct bolt_tx *tx, uint64_t pgno, size_t len)
{
    ASSERT(tx->is_writable);
    if (!bolt__free_add(&tx->db->free, tx->meta.txid, pgno, len >> tx->db->page_shift)) {
        return bolt__tx_page_error(tx, pgno, "is in use and free at the same time");
    }
    return ERR_OK;
}

static int dirty_cmp(const void *a, const void *b)
{
    const struct bolt_dirty *x = a;
    const struct bolt_dirty *y = b;
    return (x->pgno > y->pgno) - (x->pgno < y->pgno);
}

/* Ascending allocations are the rule, so the sort is usually a look. */
static void dirty_sort(struct bolt_tx *tx)
{
    for (size_t i = 1; i < tx->dirty_count; i++) {
        if (tx->dirty[i - 1].pgno > tx->dirty[i].pgno) {
            qsort(tx->dirty, tx->dirty_count, sizeof(tx->dirty[0]), dirty_cmp);
            return;
        }
    }
}

FALLIBLE bolt__dirty_write(struct bolt_tx *tx, struct errbuf *why)
{
    struct bolt *db = tx->db;
    dirty_sort(tx);
    for (size_t i = 0; i < tx->dirty_count;) {
        const struct bolt_dirty *first = &tx->dirty[i];
        uint64_t count = 0;
        while (i < tx->dirty_count && tx->dirty[i].pgno == first->pgno + count &&
               tx->dirty[i].data == first->data + (count << db->page_shift)) {
            count += tx->dirty[i].count;
            i++;
        }
        for (uint64_t pgno = first->pgno; pgno < first->pgno + count; pgno++) {
            bolt__looked_clear(db->looked, pgno);
        }
        TRY(file_pwrite(db->file, first->data, (size_t)count << db->page_shift,
                        first->pgno << db->page_shift, why));
        db->stats.writes++;
        db->stats.pages_written += count;
    }
    return ERR_OK;
}

void bolt__dirty_drop(struct bolt_tx *tx)
{
    struct bolt *db = tx->db;
    while (tx->chunks != NULL) {
        struct bolt_chunk *chunk = tx->chunks;
        tx->chunks = chunk->next;
        if (chunk->cap == CHUNK_LEN && db->spare_count < CHUNKS_KEPT) {
            chunk->next = db->spare;
            db->spare = chunk;
            db->spare_count++;
        } else {
            mem_free(chunk);
        }
    }
    mem_free(tx->dirty);
    tx->dirty = NULL;
    tx->dirty_count = 0;
    tx->dirty_cap = 0;
}
