/* Shared inside the bolt module only. See bolt.h for the contract, docs/formats/bolt.md for the
 * bytes.
 *
 * Files:  bolt.c         open, close, metas, views and readers
 *         bolt_page.c    bytes of pages in and out, nothing else
 *         bolt_seal.c    checksums of pages, and which pages have been looked at
 *         bolt_pager.c   pages from the map or from pread; growth; writing dirty pages
 *         bolt_free.c    which pages may be allocated
 *         bolt_node.c    pages in memory while a write transaction changes them
 *         bolt_spill.c   rebalance and spill: changed nodes back to pages
 *         bolt_bucket.c  buckets and rows
 *         bolt_cursor.c  cursors
 *         bolt_walk.c    many rows one after the other
 *         bolt_tx.c      transactions and copies
 *         bolt_check.c   the walk over everything
 *
 * Invariants:
 *  1. A page below a committed state's high-water mark that the state reaches is never written
 *     while that state is the newest, or pinned by a reader.
 *  2. view->map, when there is one, covers all pages below the view's high-water mark, and the
 *     file is at least that long.
 *  3. A node in memory owns no page: its page was freed (pending) when it was loaded, and it gets
 *     new pages when it is spilled.
 *  4. Every page below the high-water mark is a meta, reachable, free, or pending; never two. */
#ifndef STORAGE_BOLT_PRIV_H
#define STORAGE_BOLT_PRIV_H

#include "base/coll.h"
#include "base/mem.h"
#include "env/env.h"
#include "storage/bolt.h"

#include <stdatomic.h>

/* ---- format -------------------------------------------------------------------------------- */

enum {
    PAGE_BRANCH = 0x01,
    PAGE_LEAF = 0x02,
    PAGE_META = 0x04,
    PAGE_FREELIST = 0x10,
};

enum {
    PAGE_HEADER_LEN = 16,
    ELEM_LEN = 16,
    META_LEN = 64,
    BUCKET_HEADER_LEN = 16,
    ELEM_IS_BUCKET = 0x01, /* leaf element flag */
    FREELIST_COUNT_LONG = 0xffff,
    PAGE_SIZE_MIN = 1024,
    PAGE_SIZE_MAX = 65536,
    PAGE_SIZE_DEFAULT = 4096,
    KEYS_PER_PAGE_MIN = 2,
    /* A gap between the elements and the first key, where our pages have their checksum. Not a
     * power of two, so that no single bit tells a page with the gap from one without. */
    SEAL_LEN = 12,
};

#define META_MAGIC 0xED0CDAEDu
#define META_VERSION 2u
/* Above it txid + 1 could wrap; at a million commits a second it is 292,000 years away. */
#define TXID_MAX ((uint64_t)1 << 63)

struct bolt_meta {
    uint32_t page_size;
    uint64_t root;
    uint64_t sequence;
    uint64_t freelist;
    uint64_t hwm; /* one past the highest page in use */
    uint64_t txid;
};

/* A branch or leaf page whose header has been checked. */
struct bolt_page {
    const uint8_t *data; /* header included */
    size_t len;          /* overflow included */
    uint32_t count;
    bool is_leaf;
};

struct bolt_elem {
    struct slice key;
    struct slice value; /* of a leaf */
    uint64_t pgno;      /* of a branch */
    uint32_t flags;     /* of a leaf */
};

void bolt__meta_encode(const struct bolt_meta *meta, uint64_t pgno, uint8_t *page);
/* `page` has PAGE_HEADER_LEN + META_LEN bytes at least. Checks magic, version, checksum and that
 * the page size is possible; not what needs the file. */
bool bolt__meta_decode(const uint8_t *page, struct bolt_meta *out);

void bolt__page_header(uint8_t *page, uint64_t pgno, uint16_t flags, uint32_t count,
                       uint32_t overflow);
/* Checks kind, and that the element array is inside; `*problem` gets a phrase when not. */
bool bolt__page_parse(const uint8_t *data, size_t len, struct bolt_page *out, const char **problem);

/* The i-th element, i < count; false when it reaches out of the page. */
static inline bool bolt__page_key(const struct bolt_page *page, uint32_t i, struct slice *out)
{
    uint64_t at = PAGE_HEADER_LEN + (uint64_t)i * ELEM_LEN;
    const uint8_t *elem = page->data + at + (page->is_leaf ? 4 : 0);
    uint64_t pos = get_le32(elem);
    uint64_t len = get_le32(elem + 4);
    if (at + pos + len > page->len) {
        return false;
    }
    *out = slice_of(page->data + at + pos, len);
    return true;
}
bool bolt__page_elem(const struct bolt_page *page, uint32_t i, struct bolt_elem *out);

/* ---- checksums ------------------------------------------------------------------------------ */

/* Fills the gap of a rendered page, all `len` bytes of it final. */
void bolt__seal_put(uint8_t *page, size_t len, uint64_t txid);

enum bolt_seal {
    SEAL_GOOD,
    SEAL_NONE, /* Go's page, or one from before there were seals */
    SEAL_BROKEN,
};
/* `txid`: of the state that the page is read for. `*problem` gets a phrase when it is broken. */
enum bolt_seal bolt__seal_check(const struct bolt_page *page, uint64_t txid, const char **problem);

/* A bit for every page that has been looked at since it was written: any thread. */
#define SEEN_CHUNK_PAGES ((uint64_t)1 << 18)
#define SEEN_CHUNKS                                                                                \
    ((size_t)1 << 12) /* 4 TiB of pages of 4 KiB; what is beyond is always checked */
struct bolt_looked {
    _Atomic(_Atomic(uint64_t) *) chunk[SEEN_CHUNKS];
};
struct bolt_looked *bolt__looked_new(void);
void bolt__looked_free(struct bolt_looked **looked);
bool bolt__looked_at(const struct bolt_looked *looked, uint64_t pgno);
void bolt__looked_set(struct bolt_looked *looked, uint64_t pgno);
void bolt__looked_clear(struct bolt_looked *looked, uint64_t pgno); /* the writer's: written anew */
/* The first element whose key is not less than `key` (count when there is none). */
bool bolt__page_search(const struct bolt_page *page, struct slice key, uint32_t *index_out,
                       bool *exact_out);

/* ---- free pages ---------------------------------------------------------------------------- */

struct bolt_run {
    uint64_t txid; /* that freed or allocated it */
    uint64_t pgno;
    uint64_t count;
};
struct bolt_runs {
    struct bolt_run *runs;
    size_t head; /* first live one */
    size_t count;
    size_t cap;
};

/* Two bitmaps over all pages, and what is pending in order of freeing. */
struct bolt_free {
    uint64_t *free;     /* may be allocated */
    uint64_t *pending;  /* freed, and perhaps still read by someone */
    uint32_t *in_block; /* free pages in each block of FREE_BLOCK pages: to skip empty ones */
    uint64_t word_count;
    uint64_t free_count;
    uint64_t pending_count;
    struct bolt_runs queue; /* pending runs, oldest txid first */
    struct bolt_runs taken; /* taken from `free` by the open write transaction */
    uint64_t hint_one;      /* no free page below */
    uint64_t hint_run;      /* no run of run_len free pages begins below */
    uint64_t run_len;
    uint64_t fail_len; /* no run that long or longer is left */
};

void bolt__free_init(struct bolt_free *f);
void bolt__free_fini(struct bolt_free *f);
/* Marks pages as allocatable while loading; false when one is free already. */
bool bolt__free_load(struct bolt_free *f, uint64_t pgno, uint64_t count);
/* Starts a write transaction: whatever was freed at or before `oldest` becomes allocatable. */
void bolt__free_begin(struct bolt_free *f, uint64_t oldest);
/* Frees pages in transaction `txid`; false when one is free or pending already. */
bool bolt__free_add(struct bolt_free *f, uint64_t txid, uint64_t pgno, uint64_t count);
/* Takes a run of free pages, the lowest that fits; false when there is none. */
bool bolt__free_take(struct bolt_free *f, uint64_t count, uint64_t *pgno_out);
void bolt__free_commit(struct bolt_free *f);
/* Undoes what `txid` took and freed. */
void bolt__free_rollback(struct bolt_free *f, uint64_t txid);
bool bolt__free_has(const struct bolt_free *f, uint64_t pgno); /* free or pending */
/* Page ids, free and pending, ascending: count of them, and as little-endian u64 into `out`. */
uint64_t bolt__free_count(const struct bolt_free *f);
void bolt__free_write(const struct bolt_free *f, uint8_t *out);
void bolt__free_check(const struct bolt_free *f);

/* ---- views and readers --------------------------------------------------------------------- */

/* One mmap of the file. Alive while a view refers to it. Writer's. */
struct bolt_map {
    const uint8_t *base;
    uint64_t len;
    uint32_t refs;
};

/* One committed state. Immutable once published; freed by the writer when it is no longer the
 * newest and no reader's slot holds it. */
struct bolt_view {
    struct list link; /* the db's, newest last */
    struct bolt_meta meta;
    struct bolt_map *map; /* NULL: pread */
    uint64_t free_pages;
};

/* Readers announce the view they use in a slot: hazard pointers. A reader stores the newest view
 * in its slot and then looks whether it still is the newest. If so, any writer that replaces it
 * later will see the slot, for both sides use sequentially consistent operations; if not, it
 * tries again. */
#define READER_SLOTS 64
struct bolt_slots {
    _Atomic(struct bolt_view *) slot[READER_SLOTS];
    _Atomic(struct bolt_slots *) next; /* blocks are added, never removed */
};

/* Memory for page images of a commit: images of neighbouring pages are neighbours. */
#define CHUNK_LEN ((size_t)1 << 20)
#define CHUNKS_KEPT 8
struct bolt_chunk {
    struct bolt_chunk *next;
    size_t cap;
    size_t used;
    uint8_t data[];
};

struct bolt {
    struct disk *disk;
    struct file *file;
    char *path;
    struct bolt_options options;
    uint32_t page_size;
    uint32_t page_shift;
    uint64_t file_size;
    uint64_t map_size;    /* as bbolt would map: decides growth, also without a map */
    bool is_broken;       /* a commit failed: no more writes */
    bool is_short;        /* of space: there is less than options.reserve_bytes behind the end */
    struct bolt_map *map; /* newest, or NULL */
    struct list views;
    _Atomic(struct bolt_view *) current;
    struct bolt_slots slots;
    struct bolt_free free;
    struct bolt_tx *writer;
    struct bolt_looked *looked; /* pages of the map whose checksum was right */
    struct bolt_chunk *spare;   /* chunks kept between commits */
    size_t spare_count;
    struct bolt_stats stats;
};

/* ---- transactions -------------------------------------------------------------------------- */

struct bolt_dirty {
    uint64_t pgno;
    uint64_t count; /* pages */
    uint8_t *data;
};

/* What a scanning transaction has mapped, in pieces of what the kernel maps for one page. */
#define SCAN_WINDOW ((uintptr_t)64 << 10)
#define SCAN_SPANS 32
struct bolt_scan {
    struct {
        uintptr_t from;
        uintptr_t end;
    } span[SCAN_SPANS];
    size_t count;
    uint64_t bytes;
};

struct bolt_tx {
    struct bolt *db;
    struct bolt_view *view;            /* the state it reads */
    _Atomic(struct bolt_view *) *slot; /* of a reader; NULL for the writer */
    bool is_writable;
    bool is_scanning;
    struct bolt_scan *scan; /* in the arena, once it has scanned */
    bool is_scrub;          /* looks at the checksum of every page, again */
    enum err err;           /* the first that makes a commit impossible */
    struct bolt_meta meta;  /* the state it makes, or the view's */
    struct arena arena;
    struct map buckets; /* every open handle, by parent and name */
    uint64_t bucket_serial;
    struct bolt_bucket *root;
    struct map pages; /* struct page_copy, when there is no map */
    struct bolt_dirty *dirty;
    size_t dirty_count;
    size_t dirty_cap;
    struct bolt_chunk *chunks; /* newest first */
    struct errbuf why;         /* of the last call that left one */
    struct errbuf damage;      /* behind err */
};

/* Leaves the sentence in tx->why; ERR_CORRUPT and ERR_IO also make the commit impossible. */
__attribute__((format(printf, 3, 4))) enum err bolt__tx_error(struct bolt_tx *tx, enum err err,
                                                              const char *format, ...);
enum err bolt__tx_page_error(struct bolt_tx *tx, uint64_t pgno, const char *problem);

static inline size_t bolt__seal_len(const struct bolt *db)
{
    return db->options.no_checksums ? 0 : SEAL_LEN;
}

/* Pins the newest view in a slot; the view stays until the slot is NULL again. */
struct bolt_view *bolt__view_pin(struct bolt *db, _Atomic(struct bolt_view *) **slot_out);
void bolt__view_publish(struct bolt *db, const struct bolt_meta *meta);
/* Frees views nobody reads; returns the txid of the oldest that is left. Writer. */
uint64_t bolt__views_reclaim(struct bolt *db);

/* Pages of the state that the transaction reads. */
FALLIBLE bolt__page_bytes(struct bolt_tx *tx, uint64_t pgno, struct slice *out);
FALLIBLE bolt__page_get(struct bolt_tx *tx, uint64_t pgno, struct bolt_page *out);
void bolt__pages_drop(struct bolt_tx *tx);
/* The page, read into *buffer of *cap bytes, which grows; one that is longer than BOLT_COPY_MAX is
 * taken from the map, if there is one. */
#define BOLT_COPY_MAX ((size_t)64 << 10)
FALLIBLE bolt__page_copy(struct bolt_tx *tx, uint64_t pgno, uint8_t **buffer, size_t *cap,
                         struct bolt_page *out);
/* Lets go of what the transaction has scanned so far, and of what a long page has mapped. */
void bolt__scan_forget(struct bolt_tx *tx);
void bolt__page_forget(struct bolt_tx *tx, const struct bolt_page *page);

/* Maps the file so that `len` bytes are covered; sets db->map and db->map_size. */
FALLIBLE bolt__map_extend(struct bolt *db, uint64_t len, struct errbuf *why);
void bolt__map_unref(struct bolt *db, struct bolt_map *map);
/* New pages for the write transaction, zeroed, with where their bytes go. */
uint8_t *bolt__page_allocate(struct bolt_tx *tx, uint64_t count, uint64_t *pgno_out);
/* Frees the pages of the old state at `pgno`. */
FALLIBLE bolt__page_free(struct bolt_tx *tx, uint64_t pgno, size_t len);
/* Makes the file long enough for the transaction. ERR_NOSPACE: nothing has changed. */
FALLIBLE bolt__grow(struct bolt_tx *tx, struct errbuf *why);
/* As far as there is room: full or not, it is no error. */
FALLIBLE bolt__make_reserve(struct bolt *db, struct errbuf *why);
FALLIBLE bolt__dirty_write(struct bolt_tx *tx, struct errbuf *why);
void bolt__dirty_drop(struct bolt_tx *tx);
void bolt__chunks_free(struct bolt *db);

/* ---- nodes --------------------------------------------------------------------------------- */

/* A row or a child of a node. Keys and values point into pages or into the arena. */
struct bolt_inode {
    const uint8_t *key;
    uint32_t key_len;
    uint32_t value_len; /* leaf */
    union {
        const uint8_t *value; /* leaf */
        uint64_t pgno;        /* branch, when child is NULL */
    };
    union {
        uint64_t flags;          /* leaf */
        struct bolt_node *child; /* branch: the child in memory, or NULL */
    };
};
_Static_assert(sizeof(struct bolt_inode) == 32, "two to a cache line");

struct bolt_node {
    bool is_leaf;
    bool is_unbalanced; /* something was taken out */
    uint32_t count;
    uint32_t cap;
    struct bolt_inode *inodes; /* strictly ascending keys */
};

static inline struct slice bolt__inode_key(const struct bolt_inode *inode)
{
    return slice_of(inode->key, inode->key_len);
}

struct bolt_node *bolt__node_new(struct bolt_tx *tx, bool is_leaf, uint32_t cap);
/* Copies a page's elements; keys out of order are damage. `pgno` is for the sentence. */
FALLIBLE bolt__node_from_page(struct bolt_tx *tx, const struct bolt_page *page, uint64_t pgno,
                              struct bolt_node **out);
/* Reads a page into a node and frees the page. */
FALLIBLE bolt__node_load(struct bolt_tx *tx, uint64_t pgno, struct bolt_node **out);
FALLIBLE bolt__node_child(struct bolt_tx *tx, struct bolt_node *node, uint32_t index,
                          struct bolt_node **out);
/* The first inode whose key is not less than `key`. */
uint32_t bolt__node_search(const struct bolt_node *node, struct slice key, bool *exact_out);
/* The child that may hold `key`, from the result of a search in a branch. */
static inline uint32_t bolt__branch_index(uint32_t found, bool exact)
{
    return exact || found == 0 ? found : found - 1;
}
/* Opens a gap at `index` and returns it, uninitialised. */
struct bolt_inode *bolt__node_insert(struct bolt_tx *tx, struct bolt_node *node, uint32_t index);
void bolt__node_remove(struct bolt_node *node, uint32_t index);
void bolt__node_append(struct bolt_tx *tx, struct bolt_node *node, const struct bolt_inode *inodes,
                       uint32_t count);
/* Bytes it would take as one page. */
uint64_t bolt__node_size(const struct bolt_node *node);
void bolt__node_check(const struct bolt_node *node);

/* The tree of `bucket` balanced, then on new pages; its new root page. */
FALLIBLE bolt__rebalance(struct bolt_bucket *bucket);
FALLIBLE bolt__spill_tree(struct bolt_bucket *bucket, uint64_t *root_out);
/* Writes `count` inodes as a page image, with `gap` bytes before the first key. */
void bolt__page_render(uint8_t *page, uint64_t pgno, uint32_t overflow, bool is_leaf,
                       const struct bolt_inode *inodes, uint32_t count, size_t gap);

/* ---- buckets ------------------------------------------------------------------------------- */

struct bolt_bucket {
    struct bolt_tx *tx;
    struct bolt_bucket *parent; /* NULL: the root bucket */
    struct slice name;
    struct map_node hash;
    uint64_t serial;
    struct list siblings;         /* in the parent's children */
    struct list children;         /* open handles, oldest first */
    uint64_t root;                /* page; 0: inline or new */
    struct bolt_page inline_page; /* when root is 0 and node is NULL */
    struct bolt_node *node;       /* the root in memory, once something changed */
    struct bolt_node *tail;       /* the rightmost leaf in memory, if known */
    uint64_t sequence;
    uint64_t version; /* counts changes, for cursors */
    unsigned fill;    /* percent */
    unsigned nesting; /* 0: the root bucket */
    bool is_dropped;
};

struct bolt_bucket *bolt__bucket_root_new(struct bolt_tx *tx);
/* Reads the value of a bucket element: a header, and an inline page when root is 0. */
FALLIBLE bolt__bucket_parse(struct bolt_tx *tx, struct slice value, uint64_t *root_out,
                            uint64_t *sequence_out, struct bolt_page *inline_out);
FALLIBLE bolt__bucket_load(struct bolt_bucket *bucket); /* sets bucket->node */
/* Inserts or replaces a row or a child bucket's value. Takes slices that live with the tx. */
FALLIBLE bolt__bucket_put(struct bolt_bucket *bucket, struct slice key, struct slice value,
                          uint32_t flags);
/* Everything changed below the root bucket onto new pages. */
FALLIBLE bolt__bucket_spill(struct bolt_bucket *bucket);

/* The root of the bucket's tree, and the child at a level's index, as levels of a cursor. */
FALLIBLE bolt__level_root(struct bolt_bucket *bucket, struct bolt_level *out);
FALLIBLE bolt__level_child(struct bolt_bucket *bucket, const struct bolt_level *level,
                           struct bolt_level *out);
FALLIBLE bolt__level_search(struct bolt_bucket *bucket, struct bolt_level *level, struct slice key,
                            bool *exact_out);
FALLIBLE bolt__level_elem(struct bolt_bucket *bucket, const struct bolt_level *level,
                          struct bolt_elem *out);

/* In-memory free pages, pending pages and the newest state's pages make up the whole file.
 * ASSERTs; for tests, without a write transaction. */
void bolt__db_check(struct bolt *db);
/* Sets the bit of every page that the transaction's state reaches, metas and freelist excluded;
 * `seen` has a bit for every page below the high-water mark. A page reached twice is damage, and
 * so, when `is_strict`, are keys that are out of order or outside of what the branch says. */
FALLIBLE bolt__reach(struct bolt_tx *tx, bool is_strict, uint64_t *seen);
/* The bitmap for it: zeroed, the caller frees it. */
uint64_t *bolt__seen_new(const struct bolt_tx *tx);
static inline bool bolt__seen_has(const uint64_t *seen, uint64_t pgno)
{
    return (seen[pgno / 64] >> (pgno % 64) & 1) != 0;
}
/* Calls `each` for every id of the persisted freelist, ascending, checked against the bounds. */
typedef enum err bolt_free_fn(void *ctx, uint64_t pgno);
FALLIBLE bolt__freelist_read(struct bolt_tx *tx, bolt_free_fn *each, void *ctx);

#endif
