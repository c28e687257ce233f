/* Rows: written to the open batch; read from the batches, the newest first, and then from the
 * pinned tree. */
#include "base/mem.h"
#include "storage/backend_priv.h"

#define SMALL_FILE ((uint64_t)16 << 20) /* may be resident as a whole */

/* ---- rows ------------------------------------------------------------------------------------ */

void backend_put(struct backend *backend, enum backend_bucket bucket, struct slice key,
                 struct slice value)
{
    ASSERT(bucket != BUCKET_KEY);
    ASSERT(key.len > 0);
    ASSERT(key.len <= BOLT_KEY_MAX);
    batch__set(backend->open, bucket, key, value, false);
    backend__wrote(backend);
}

void backend_delete(struct backend *backend, enum backend_bucket bucket, struct slice key)
{
    ASSERT(bucket != BUCKET_KEY);
    ASSERT(key.len > 0);
    batch__set(backend->open, bucket, key, SLICE_EMPTY, true);
    backend__wrote(backend);
}

static struct batch *older_batch(const struct backend *backend, const struct batch *batch)
{
    return batch->link.prev == &backend->batches
               ? NULL
               : CONTAINER_OF(batch->link.prev, struct batch, link);
}

bool backend_get(struct backend *backend, enum backend_bucket bucket, struct slice key,
                 struct slice *out)
{
    ASSERT(bucket != BUCKET_KEY);
    for (const struct batch *batch = backend->open; batch != NULL;
         batch = older_batch(backend, batch)) {
        const struct pending_row *row = batch__find(batch, bucket, key);
        if (row != NULL && row->is_delete) {
            return false;
        }
        if (row != NULL) {
            *out = row->value;
            return true;
        }
    }
    return backend__tree_get(backend, bucket, key, out);
}

uint8_t *backend_row_alloc(struct backend *backend, size_t len, struct chunk **chunk_out)
{
    return chunk_alloc(&backend->pool, len, chunk_out);
}

void backend_put_row(struct backend *backend, struct revision rev, bool is_tombstone,
                     struct slice row, struct chunk *chunk)
{
    ASSERT(revision_cmp(rev, backend->last_row) > 0);
    backend->last_row = rev;
    batch__put_row(backend->open, rev, is_tombstone, row, chunk);
    backend__wrote(backend);
}

void backend_delete_row(struct backend *backend, struct revision rev, bool is_tombstone)
{
    if (!batch__kill_row(backend->open, rev)) {
        batch__note_gone(backend->open, rev, is_tombstone);
    }
    backend__wrote(backend);
}

/* Looks the row up in the pending set. True when that decides: *found_out says how. */
static bool pending_row(struct backend *backend, struct revision rev, struct slice *out,
                        bool *found_out)
{
    for (struct batch *batch = backend->open; batch != NULL; batch = older_batch(backend, batch)) {
        if (!batch->is_sealed) {
            batch__sort_gone(batch);
        }
        const struct pending_kv *row = batch__row(batch, rev);
        if (row != NULL) {
            *out = slice_of(row->data, row->len);
            *found_out = !row->is_dead && !row->is_tombstone;
            return true;
        }
        if (batch__is_gone(batch, rev)) {
            *found_out = false;
            return true;
        }
    }
    return false;
}

bool backend_get_row(struct backend *backend, struct revision rev, struct slice *out)
{
    uint8_t key[TOMBSTONE_LEN];
    bool is_found = false;
    return pending_row(backend, rev, out, &is_found)
               ? is_found
               : backend__tree_get(backend, BUCKET_KEY, revision_encode(rev, false, key), out);
}

bool backend_get_row_near(struct backend *backend, struct revision rev, bool is_long,
                          struct slice *out)
{
    uint8_t key[TOMBSTONE_LEN];
    bool is_found = false;
    if (pending_row(backend, rev, out, &is_found)) {
        return is_found;
    }
    is_long = is_long && bolt_tx_size(backend->tree) > SMALL_FILE;
    enum err err = bolt_walk_find(backend->walk, revision_encode(rev, false, key), is_long, out);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        backend_damaged(backend, "%s", bolt_tx_why(backend->tree));
    }
    return err == ERR_OK;
}

uint64_t backend_pages_read(const struct backend *backend)
{
    return bolt_walk_pages(backend->walk);
}

/* ---- scans ---------------------------------------------------------------------------------- */

void backend_scan(struct backend *backend, enum backend_bucket bucket, struct slice from,
                  struct slice end, backend_each_fn *each, void *ctx)
{
    struct errbuf why;
    size_t count = 0;
    struct batch *few[8];
    struct batch **batches = backend->batch_count <= ARRAY_LEN(few)
                                 ? few
                                 : mem_array(backend->batch_count, sizeof(batches[0]));
    batch__sort_gone(backend->open);
    LIST_FOR_EACH (&backend->batches, link) {
        batches[count++] = CONTAINER_OF(link, struct batch, link);
    }
    ASSERT(count == backend->batch_count);
    bolt_tx_set_scanning(backend->tree, bucket == BUCKET_KEY);
    enum err err = backend__scan(backend->tree, batches, count, bucket, from, end, each, ctx, &why);
    bolt_tx_set_scanning(backend->tree, false);
    if (batches != few) {
        mem_free(batches);
    }
    if (err != ERR_OK) {
        backend_damaged(backend, "%s", why.text);
    }
}

void backend_scan_rows(struct backend *backend, struct revision from, backend_each_fn *each,
                       void *ctx)
{
    uint8_t key[TOMBSTONE_LEN];
    backend_scan(backend, BUCKET_KEY, revision_encode(from, false, key), SLICE_EMPTY, each, ctx);
}

void backend_forget_pages(struct backend *backend)
{
    bolt_tx_forget_pages(backend->tree);
}

struct bolt_tx *backend_snapshot_begin(struct backend *backend)
{
    return bolt_read_begin(backend->db);
}

void backend_snapshot_end(struct backend *backend, struct bolt_tx **tx)
{
    bolt_read_end(tx);
    backend__defrag_tidy(backend);
}
