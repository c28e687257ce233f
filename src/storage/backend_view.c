/* Scans over the pending set and the tree, and views.
 *
 * A scan merges sources in byte order of keys: the rows of each batch, the deletes of each batch,
 * and the tree. When several stand at the same key, the newest source decides, and all of them move
 * on. That also makes it harmless that a view's tree may already hold what its oldest batches hold:
 * a commit may be finished before the loop hears of it, and writing the same again changes nothing.
 *
 * Numbers of sources are small (two a batch, one or two batches), so a scan just looks at all. */
#include "storage/backend_priv.h"

#include "base/digest.h"

enum source_kind {
    SOURCE_TREE,
    SOURCE_MAP,
    SOURCE_ROWS,
    SOURCE_GONE,
};

struct source {
    enum source_kind kind;
    bool has_item;
    bool is_delete;
    struct slice key;
    struct slice value;
    const struct batch *batch;
    const struct pending_row *row; /* SOURCE_MAP */
    size_t at;                     /* SOURCE_ROWS, SOURCE_GONE */
    uint8_t key_bytes[TOMBSTONE_LEN];
    struct bolt_cursor *cursor; /* SOURCE_TREE */
};

static FALLIBLE source_set_tree(struct source *source, enum err err, const struct bolt_item *item)
{
    source->has_item = err == ERR_OK;
    if (err == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    TRY(err);
    source->key = item->key;
    source->value = item->value;
    return ERR_OK;
}

static void source_set_map(struct source *source)
{
    source->has_item = source->row != NULL;
    if (source->has_item) {
        source->key = source->row->key;
        source->value = source->row->value;
        source->is_delete = source->row->is_delete;
    }
}

static void source_set_rows(struct source *source)
{
    const struct batch *batch = source->batch;
    while (source->at < batch->row_count && batch->rows[source->at].is_dead) {
        source->at++;
    }
    source->has_item = source->at < batch->row_count;
    if (source->has_item) {
        const struct pending_kv *row = &batch->rows[source->at];
        source->key = revision_encode(row->rev, row->is_tombstone, source->key_bytes);
        source->value = slice_of(row->data, row->len);
    }
}

static void source_set_gone(struct source *source)
{
    source->has_item = source->at < source->batch->gone_count;
    if (source->has_item) {
        const struct row_name *name = &source->batch->gone[source->at];
        source->key = revision_encode(name->rev, name->is_tombstone, source->key_bytes);
        source->is_delete = true;
    }
}

static FALLIBLE source_next(struct source *source)
{
    struct bolt_item item;
    switch (source->kind) {
    case SOURCE_TREE:
        return source_set_tree(source, bolt_cursor_next(source->cursor, &item), &item);
    case SOURCE_MAP:
        source->row = source->row->next[0];
        source_set_map(source);
        return ERR_OK;
    case SOURCE_ROWS:
        source->at++;
        source_set_rows(source);
        return ERR_OK;
    case SOURCE_GONE:
        source->at++;
        source_set_gone(source);
        return ERR_OK;
    }
    UNREACHABLE();
}

/* The revision from which a scan of bucket `key` starts: `from` cut to a whole revision. */
static struct revision seek_revision(struct slice from)
{
    uint8_t key[REVISION_LEN] = {0};
    memcpy(key, from.data == NULL ? (const uint8_t *)"" : from.data,
           from.len < REVISION_LEN ? from.len : REVISION_LEN);
    uint64_t main = get_be64(key);
    uint64_t sub = get_be64(key + 9);
    return (struct revision){
        .main = main > INT64_MAX ? INT64_MAX : (int64_t)main,
        .sub = sub > UINT32_MAX ? UINT32_MAX : (uint32_t)sub,
    };
}

static FALLIBLE source_seek(struct source *source, enum backend_bucket bucket, struct slice from)
{
    struct bolt_item item;
    switch (source->kind) {
    case SOURCE_TREE:
        return source_set_tree(source,
                               from.len == 0 ? bolt_cursor_first(source->cursor, &item)
                                             : bolt_cursor_seek(source->cursor, from, &item),
                               &item);
    case SOURCE_MAP:
        source->row = batch__seek(source->batch, bucket, from);
        source_set_map(source);
        return ERR_OK;
    case SOURCE_ROWS:
        source->at = batch__seek_row(source->batch, seek_revision(from));
        source_set_rows(source);
        return ERR_OK;
    case SOURCE_GONE:
        source->at = batch__seek_gone(source->batch, seek_revision(from));
        source_set_gone(source);
        return ERR_OK;
    }
    UNREACHABLE();
}

/* Newest first, so that the first of equals decides. */
static size_t list_sources(struct batch *const *batches, size_t count, enum backend_bucket bucket,
                           struct source *sources)
{
    size_t n = 0;
    for (size_t i = count; i-- > 0;) {
        const struct batch *batch = batches[i];
        if (bucket != BUCKET_KEY) {
            if (batch->map[bucket].count > 0) {
                sources[n++] = (struct source){.kind = SOURCE_MAP, .batch = batch};
            }
            continue;
        }
        if (batch->row_count > 0) {
            sources[n++] = (struct source){.kind = SOURCE_ROWS, .batch = batch};
        }
        if (batch->gone_count > 0) {
            sources[n++] = (struct source){.kind = SOURCE_GONE, .batch = batch};
        }
    }
    return n;
}

static FALLIBLE merge(struct source *sources, size_t count, struct slice end, backend_each_fn *each,
                      void *ctx)
{
    for (;;) {
        struct source *first = NULL;
        for (size_t i = 0; i < count; i++) {
            if (sources[i].has_item &&
                (first == NULL || slice_cmp(sources[i].key, first->key) < 0)) {
                first = &sources[i];
            }
        }
        if (first == NULL || (end.len > 0 && slice_cmp(first->key, end) >= 0)) {
            return ERR_OK;
        }
        if (!first->is_delete && !each(ctx, first->key, first->value)) {
            return ERR_OK;
        }
        for (struct source *other = sources + count - 1; other > first; other--) {
            if (other->has_item && slice_eq(other->key, first->key)) {
                TRY(source_next(other));
            }
        }
        TRY(source_next(first));
    }
}

static FALLIBLE scan(struct bolt_bucket *tree, struct batch *const *batches, size_t count,
                     enum backend_bucket bucket, struct slice from, struct slice end,
                     struct source *sources, backend_each_fn *each, void *ctx)
{
    struct bolt_cursor cursor;
    bolt_cursor_init(&cursor, tree);
    size_t n = list_sources(batches, count, bucket, sources);
    sources[n++] = (struct source){.kind = SOURCE_TREE, .cursor = &cursor};
    for (size_t i = 0; i < n; i++) {
        TRY(source_seek(&sources[i], bucket, from));
        while (sources[i].has_item && slice_cmp(sources[i].key, from) < 0) {
            TRY(source_next(&sources[i]));
        }
    }
    return merge(sources, n, end, each, ctx);
}

FALLIBLE backend__scan(struct bolt_tx *tree, struct batch *const *batches, size_t count,
                       enum backend_bucket bucket, struct slice from, struct slice end,
                       backend_each_fn *each, void *ctx, struct errbuf *why)
{
    struct bolt_bucket *handle;
    enum err err = bolt_bucket(bolt_root(tree), slice_str(backend_bucket_name(bucket)), &handle);
    if (err != ERR_OK) {
        return errf(why, err, "bucket %s: %s", backend_bucket_name(bucket), bolt_tx_why(tree));
    }
    struct source few[8];
    struct source *sources =
        2 * count + 1 <= ARRAY_LEN(few) ? few : mem_array(2 * count + 1, sizeof(*sources));
    err = scan(handle, batches, count, bucket, from, end, sources, each, ctx);
    if (sources != few) {
        mem_free(sources);
    }
    if (err != ERR_OK) {
        return errf(why, err, "bucket %s: %s", backend_bucket_name(bucket), bolt_tx_why(tree));
    }
    return ERR_OK;
}

/* ---- views ------------------------------------------------------------------------------------
 */

struct backend_view {
    struct backend *backend;
    struct bolt_tx *tree;
    size_t batch_count;
    struct batch *batches[];
};

struct backend_view *backend_view_begin(struct backend *backend)
{
    ASSERT(!backend->is_applying);
    if (backend->open->ops > 0) {
        bool is_sealed = backend__seal(backend);
        ASSERT(is_sealed);
    }
    struct backend_view *view =
        mem_zalloc(sizeof(*view) + backend->batch_count * sizeof(view->batches[0]));
    view->backend = backend;
    LIST_FOR_EACH (&backend->batches, link) {
        struct batch *batch = CONTAINER_OF(link, struct batch, link);
        if (batch->is_sealed) {
            view->batches[view->batch_count++] = batch__ref(batch);
        }
    }
    view->tree = bolt_read_begin(backend->db);
    bolt_tx_set_scanning(view->tree, true);
    backend->view_count++;
    return view;
}

void backend_view_end(struct backend_view **view)
{
    if (*view == NULL) {
        return;
    }
    bolt_read_end(&(*view)->tree);
    for (size_t i = 0; i < (*view)->batch_count; i++) {
        backend__unref_batch((*view)->backend, (*view)->batches[i]);
    }
    ASSERT((*view)->backend->view_count > 0);
    (*view)->backend->view_count--;
    backend__defrag_tidy((*view)->backend);
    mem_free(*view);
    *view = NULL;
}

FALLIBLE backend_view_scan(struct backend_view *view, enum backend_bucket bucket, struct slice from,
                           struct slice end, backend_each_fn *each, void *ctx, struct errbuf *why)
{
    return backend__scan(view->tree, view->batches, view->batch_count, bucket, from, end, each, ctx,
                         why);
}

struct hash_state {
    uint32_t crc;
    bool is_meta;
};

static bool hash_row(void *ctx, struct slice key, struct slice value)
{
    struct hash_state *state = ctx;
    if (state->is_meta && (slice_eq_str(key, "consistent_index") || slice_eq_str(key, "term") ||
                           slice_eq_str(key, "storageVersion"))) {
        return true;
    }
    state->crc = crc32c(state->crc, key.data, key.len);
    state->crc = crc32c(state->crc, value.data, value.len);
    return true;
}

/* A bucket that this program does not know; nothing of it can be pending. */
static FALLIBLE hash_foreign(struct bolt_bucket *root, struct slice name, struct hash_state *state)
{
    struct bolt_bucket *bucket;
    struct bolt_cursor cursor;
    struct bolt_item item;
    TRY(bolt_bucket(root, name, &bucket));
    bolt_cursor_init(&cursor, bucket);
    enum err err = bolt_cursor_first(&cursor, &item);
    for (; err == ERR_OK; err = bolt_cursor_next(&cursor, &item)) {
        hash_row(state, item.key, item.value);
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static FALLIBLE hash_bucket(struct backend_view *view, struct slice name, struct hash_state *state,
                            struct errbuf *why)
{
    state->crc = crc32c(state->crc, name.data, name.len);
    for (unsigned i = 0; i < BUCKET_COUNT; i++) {
        enum backend_bucket bucket = (enum backend_bucket)i;
        if (slice_eq_str(name, backend_bucket_name(bucket))) {
            state->is_meta = bucket == BUCKET_META;
            return backend_view_scan(view, bucket, SLICE_EMPTY, SLICE_EMPTY, hash_row, state, why);
        }
    }
    state->is_meta = false;
    enum err err = hash_foreign(bolt_root(view->tree), name, state);
    return err == ERR_OK ? err : errf(why, err, "%s", bolt_tx_why(view->tree));
}

FALLIBLE backend_view_hash(struct backend_view *view, uint32_t *out, struct errbuf *why)
{
    struct hash_state state = {0};
    struct bolt_cursor cursor;
    struct bolt_item item;
    bolt_cursor_init(&cursor, bolt_root(view->tree));
    enum err err = bolt_cursor_first(&cursor, &item);
    for (; err == ERR_OK; err = bolt_cursor_next(&cursor, &item)) {
        if (item.is_bucket) {
            TRY(hash_bucket(view, item.key, &state, why));
        }
    }
    if (err != ERR_NOT_FOUND) {
        return errf(why, err, "%s", bolt_tx_why(view->tree));
    }
    *out = state.crc;
    return ERR_OK;
}
