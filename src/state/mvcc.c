/* Transactions and reads. A put costs one search in the index, one row written into the chunk that
 * the pending set and the watchers share, and no allocation of its own unless the key is new. */
#include "state/mvcc_priv.h"

#define CHANGES_CAP_MIN 16
/* A transaction with more changes does not leave its memory behind, nor is it let go of at once. */
#define CHANGES_KEEP 4096
/* A read of more rows does not keep what it has seen of the database's file resident. */
#define LONG_ROWS 64

/* ---- rows ------------------------------------------------------------------------------------ */

FALLIBLE mvcc_row_parse(struct slice raw, struct mvcc_row *out)
{
    struct kv_row row;
    if (kv_row_decode(raw, &row) != ERR_OK) {
        return ERR_CORRUPT;
    }
    *out = (struct mvcc_row){
        .raw = raw,
        .key = row.key,
        .value = row.value,
        .create = row.create_revision,
        .mod = row.mod_revision,
        .version = row.version,
        .lease = row.lease,
    };
    return ERR_OK;
}

__attribute__((noreturn)) static void damaged(const struct mvcc *store, struct revision rev,
                                              const char *what)
{
    backend_damaged(store->backend, "the row of revision %lld.%u %s", (long long)rev.main, rev.sub,
                    what);
}

void mvcc__parse(const struct mvcc *store, struct revision rev, struct slice raw,
                 struct mvcc_row *out)
{
    if (mvcc_row_parse(raw, out) != ERR_OK || out->key.len == 0) {
        damaged(store, rev, "is no key-value");
    }
}

static struct slice row_at(struct mvcc *store, struct revision rev)
{
    struct slice raw;
    if (!backend_get_row(store->backend, rev, &raw)) {
        damaged(store, rev, "is missing");
    }
    return raw;
}

/* ---- life -------------------------------------------------------------------------------------
 */

struct restore {
    struct mvcc *store;
    struct errbuf *why;
    enum err err;
    struct revision last; /* row seen; {1, 0} before the first */
    bool has_leases;
};

static bool restore_row(void *ctx, struct slice key, struct slice value)
{
    struct restore *restore = ctx;
    struct mvcc *store = restore->store;
    struct revision rev;
    bool is_tombstone;
    struct mvcc_row row;
    if (revision_decode(key, &rev, &is_tombstone) != ERR_OK) {
        restore->err = errf(restore->why, ERR_CORRUPT,
                            "bucket key has a key of %zu bytes that is no revision", key.len);
        return false;
    }
    if (rev.main > REVISION_MAIN_MAX || rev.sub == UINT32_MAX) {
        restore->err = errf(restore->why, ERR_CORRUPT, "the revision %lld.%u is impossible",
                            (long long)rev.main, rev.sub);
        return false;
    }
    if (mvcc__is_bump(value, is_tombstone) && revision_cmp(rev, restore->last) > 0) {
        restore->last = rev;
        return true;
    }
    bool is_row = mvcc_row_parse(value, &row) == ERR_OK && row.key.len > 0;
    if (!is_row || value.len > UINT32_MAX) {
        restore->err =
            errf(restore->why, ERR_CORRUPT, "the row of revision %lld.%u is no key-value",
                 (long long)rev.main, rev.sub);
        return false;
    }
    /* Pages of others carry no checksum: what a row repeats of its key must agree with it. */
    bool is_in_order = revision_cmp(rev, restore->last) > 0;
    bool is_of_row = is_tombstone || (row.mod == rev.main && row.create > 0 &&
                                      row.create <= row.mod && row.version > 0);
    if (!is_in_order || !is_of_row) {
        restore->err = errf(restore->why, ERR_CORRUPT,
                            "the row of revision %lld.%u does not belong where it stands",
                            (long long)rev.main, rev.sub);
        return false;
    }
    keyindex_restore(store->index, row.key, rev, is_tombstone ? 0 : row.create,
                     is_tombstone ? 0 : row.version, is_tombstone ? 0 : (uint32_t)value.len);
    restore->last = rev;
    restore->has_leases = restore->has_leases || row.lease != 0;
    if (restore->has_leases && store->options.hooks.attach != NULL) {
        store->options.hooks.attach(store->options.hooks.ctx, row.key,
                                    is_tombstone ? 0 : row.lease);
    }
    return true;
}

static FALLIBLE read_marker(struct mvcc *store, struct slice key, int64_t *out, struct errbuf *why)
{
    struct slice value;
    struct revision rev;
    bool is_tombstone;
    *out = -1;
    if (!backend_get(store->backend, BUCKET_META, key, &value)) {
        return ERR_OK;
    }
    if (value.len != REVISION_LEN || revision_decode(value, &rev, &is_tombstone) != ERR_OK ||
        rev.main > REVISION_MAIN_MAX) {
        return errf(why, ERR_CORRUPT, "row %.*s of bucket meta is no revision", (int)key.len,
                    (const char *)key.data);
    }
    *out = rev.main;
    return ERR_OK;
}

/* The newest revision is that of the last row or of the last compaction, scheduled ones included:
 * compaction may have taken the rows at the head (etcd issue 17780). */
static FALLIBLE restore(struct mvcc *store, struct errbuf *why)
{
    int64_t scheduled;
    struct restore state = {.store = store, .why = why, .last = {.main = 1}};
    TRY(read_marker(store, FINISHED_COMPACT, &store->finished, why));
    TRY(read_marker(store, SCHEDULED_COMPACT, &scheduled, why));
    backend_scan_rows(store->backend, (struct revision){0}, restore_row, &state);
    backend_forget_pages(store->backend);
    TRY(state.err);
    store->revision = state.last.main;
    if (store->revision < store->finished) {
        store->revision = store->finished;
    }
    if (store->revision < scheduled) {
        store->revision = scheduled;
    }
    store->compact = store->finished;
    if (scheduled > store->finished) {
        store->compact = scheduled;
        mvcc__compact_resume(store, scheduled);
    }
    return ERR_OK;
}

FALLIBLE mvcc_open(const struct mvcc_options *options, struct mvcc **out, struct errbuf *why)
{
    struct mvcc *store = NEW(struct mvcc);
    store->options = *options;
    if (store->options.compact_batch_limit == 0) {
        store->options.compact_batch_limit = 1000;
    }
    if (store->options.compact_sleep_ms == 0) {
        store->options.compact_sleep_ms = 10;
    }
    store->backend = options->backend;
    store->index = keyindex_new();
    store->target = -1;
    list_init(&store->reads);
    enum err err = restore(store, why);
    if (err != ERR_OK) {
        (void)err_wrap(
            why, err,
            "the database %s is damaged; replace this member, or restore it from a snapshot",
            backend_path(store->backend));
        mvcc_close(&store);
        return err;
    }
    *out = store;
    return ERR_OK;
}

static struct mvcc_change *changes_resize(struct mvcc_change *changes, size_t *cap, size_t want)
{
    size_t old_len = *cap * sizeof(changes[0]);
    *cap = want;
    return mem_resize(changes, old_len, want * sizeof(changes[0]));
}

/* The array, too, goes piece by piece: its pages are many. */
bool mvcc_tidy(struct mvcc *store, size_t budget)
{
    for (; store->stale_count > 0 && budget > 0; budget--) {
        chunk_unref(store->stale[--store->stale_count].chunk);
    }
    store->stale = changes_resize(store->stale, &store->stale_cap, store->stale_count);
    return store->stale_count > 0;
}

static void changes_release(struct mvcc *store)
{
    if (store->change_count > CHANGES_KEEP) {
        (void)mvcc_tidy(store, SIZE_MAX); /* two large ones in a row, and nobody had the time */
        store->stale = store->changes;
        store->stale_count = store->change_count;
        store->stale_cap = store->change_cap;
        store->changes = NULL;
        store->change_cap = 0;
        store->change_count = 0;
        return;
    }
    for (size_t i = 0; i < store->change_count; i++) {
        chunk_unref(store->changes[i].chunk);
    }
    store->change_count = 0;
}

void mvcc_close(struct mvcc **out)
{
    struct mvcc *store = *out;
    if (store == NULL) {
        return;
    }
    ASSERT(!store->is_writing);
    ASSERT(list_empty(&store->reads));
    ASSERT(store->hash_count == 0);
    changes_release(store);
    (void)mvcc_tidy(store, SIZE_MAX);
    store->changes = changes_resize(store->changes, &store->change_cap, 0);
    keyindex_free(&store->index);
    mem_free(store);
    *out = NULL;
}

int64_t mvcc_revision(const struct mvcc *store)
{
    bool has_written = store->is_writing && !store->is_suspended && store->change_count > 0;
    return store->revision + has_written;
}

/* As of which revision whoever asks now sees the index. */
static int64_t visible_at(const struct mvcc *store)
{
    return store->is_suspended ? store->revision : INT64_MAX;
}

int64_t mvcc_compact_revision(const struct mvcc *store)
{
    return store->compact;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

void mvcc_begin(struct mvcc *store)
{
    ASSERT(!store->is_writing);
    changes_release(store);
    store->is_writing = true;
}

static struct mvcc_change *change_add(struct mvcc *store)
{
    ASSERT(store->is_writing);
    ASSERT(!store->is_suspended);
    ASSERT(store->change_count < UINT32_MAX);
    if (store->change_count == store->change_cap) {
        size_t cap = store->change_cap == 0 ? CHANGES_CAP_MIN : 2 * store->change_cap;
        store->changes = changes_resize(store->changes, &store->change_cap, cap);
    }
    struct mvcc_change *change = &store->changes[store->change_count];
    *change = (struct mvcc_change){
        .rev = {.main = store->revision + 1, .sub = (uint32_t)store->change_count},
    };
    store->change_count++;
    return change;
}

static void attach(struct mvcc *store, struct slice key, lease_id lease)
{
    if (store->options.hooks.attach != NULL) {
        store->options.hooks.attach(store->options.hooks.ctx, key, lease);
    }
}

/* Where the key's bytes lie in a row that starts with field 1. */
static struct slice key_in_row(struct slice row, size_t key_len)
{
    size_t head = pbwire_head_size(1, key_len);
    ASSERT(head + key_len <= row.len);
    return slice_of(row.data + head, key_len);
}

int64_t mvcc_put(struct mvcc *store, struct slice key, struct slice value, lease_id lease)
{
    struct keyindex_place place;
    struct key_version before;
    ASSERT(key.len > 0);
    bool is_live = keyindex_find(store->index, key, &place, &before);
    struct mvcc_change *change = change_add(store);
    struct kv_row row = {
        .key = key,
        .create_revision = is_live ? before.create : change->rev.main,
        .mod_revision = change->rev.main,
        .version = is_live ? before.version + 1 : 1,
        .value = value,
        .lease = lease,
    };
    size_t len = kv_row_size(&row);
    ASSERT(len <= UINT32_MAX);
    uint8_t *bytes = backend_row_alloc(store->backend, len, &change->chunk);
    uint8_t *end = kv_row_put(bytes, &row);
    ASSERT(end == bytes + len);
    change->is_create = !is_live;
    change->prev = is_live ? before.mod : (struct revision){0};
    change->row = slice_of(bytes, len);
    change->kv = change->row;
    change->key = key_in_row(change->row, key.len);
    backend_put_row(store->backend, change->rev, false, change->row, change->chunk);
    keyindex_put_at(store->index, &place, change->key, change->rev, (uint32_t)len);
    attach(store, change->key, lease);
    store->stats.puts++;
    return store->revision + 1;
}

/* A tombstone's row is KeyValue{key}; an event also carries mod_revision, which is the next field:
 * one string serves both. */
static void delete_at(struct mvcc *store, struct keyindex_place *place,
                      const struct key_version *before)
{
    struct mvcc_change *change = change_add(store);
    struct kv_row row = {.key = before->key};
    size_t row_len = kv_row_size(&row);
    row.mod_revision = change->rev.main;
    size_t kv_len = kv_row_size(&row);
    uint8_t *bytes = backend_row_alloc(store->backend, kv_len, &change->chunk);
    uint8_t *end = kv_row_put(bytes, &row);
    ASSERT(end == bytes + kv_len);
    change->is_delete = true;
    change->prev = before->mod;
    change->row = slice_of(bytes, row_len);
    change->kv = slice_of(bytes, kv_len);
    change->key = key_in_row(change->row, before->key.len);
    backend_put_row(store->backend, change->rev, true, change->row, change->chunk);
    keyindex_tombstone_at(store->index, place, change->rev);
    attach(store, change->key, 0);
    store->stats.deletes++;
}

void mvcc_delete_begin(struct mvcc *store, const struct key_range *range, struct mvcc_delete *out)
{
    *out = (struct mvcc_delete){0};
    keyindex_iter_init(&out->iter, store->index, range, INT64_MAX);
}

bool mvcc_delete_step(struct mvcc *store, struct mvcc_delete *delete, uint64_t *budget)
{
    struct key_version version;
    ASSERT(store->is_writing);
    ASSERT(!store->is_suspended);
    while (keyindex_iter_next(&delete->iter, &version, budget)) {
        delete_at(store, &delete->iter.place, &version); /* the tree keeps its shape */
        delete->count++;
    }
    if (!delete->iter.is_done) {
        return false;
    }
    keyindex_iter_fini(&delete->iter);
    return true;
}

uint64_t mvcc_delete(struct mvcc *store, const struct key_range *range)
{
    struct mvcc_delete delete;
    uint64_t budget = UINT64_MAX;
    mvcc_delete_begin(store, range, &delete);
    bool is_done = mvcc_delete_step(store, &delete, &budget);
    ASSERT(is_done);
    return delete.count;
}

void mvcc_suspend(struct mvcc *store, struct mvcc_delete *delete)
{
    ASSERT(store->is_writing);
    ASSERT(!store->is_suspended);
    if (delete != NULL) {
        keyindex_iter_pause(&delete->iter);
    }
    store->is_suspended = true;
}

void mvcc_resume(struct mvcc *store)
{
    ASSERT(store->is_suspended);
    store->is_suspended = false;
}

size_t mvcc_change_count(const struct mvcc *store)
{
    return store->change_count;
}

const struct mvcc_change *mvcc_changes(const struct mvcc *store, size_t *count_out)
{
    *count_out = store->change_count;
    return store->changes;
}

int64_t mvcc_end(struct mvcc *store)
{
    ASSERT(store->is_writing);
    ASSERT(!store->is_suspended);
    store->is_writing = false;
    if (store->change_count > 0) {
        store->revision++;
        store->stats.txns++;
        if (store->options.hooks.changed != NULL) {
            store->options.hooks.changed(store->options.hooks.ctx, store->revision, store->changes,
                                         store->change_count);
        }
    }
    return store->revision;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

bool mvcc_get_version(struct mvcc *store, struct slice key, struct key_version *out)
{
    ASSERT(!store->is_suspended);
    return keyindex_get(store->index, key, INT64_MAX, out);
}

bool mvcc_get(struct mvcc *store, struct slice key, struct mvcc_row *out)
{
    struct key_version version;
    if (!keyindex_get(store->index, key, visible_at(store), &version)) {
        return false;
    }
    mvcc__parse(store, version.mod, row_at(store, version.mod), out);
    return true;
}

bool mvcc_read_one(struct mvcc *store, struct slice key, size_t len_max, struct slice *raw_out)
{
    struct key_version version;
    bool is_live = keyindex_get(store->index, key, visible_at(store), &version);
    if (is_live && version.row_len > len_max) {
        return false;
    }
    *raw_out = is_live ? row_at(store, version.mod) : SLICE_EMPTY;
    store->stats.ranges++;
    return true;
}

bool mvcc_get_at(struct mvcc *store, struct revision rev, struct mvcc_row *out)
{
    struct slice raw;
    if (!backend_get_row(store->backend, rev, &raw)) {
        return false;
    }
    mvcc__parse(store, rev, raw, out);
    return true;
}

bool mvcc_get_as_of(struct mvcc *store, struct slice key, int64_t at, struct mvcc_row *out)
{
    struct key_version version;
    if (at < store->compact || !keyindex_get(store->index, key, at, &version)) {
        return false;
    }
    mvcc__parse(store, version.mod, row_at(store, version.mod), out);
    return true;
}

static void iter_init(const struct mvcc_read *read, const struct key_range *range,
                      struct keyindex_iter *iter)
{
    keyindex_iter_init(iter, read->store->index, range, read->at);
    if (read->sub != UINT32_MAX) {
        keyindex_iter_within(iter, read->sub);
    }
}

static void read_init(struct mvcc *store, const struct key_range *range, int64_t at, uint32_t sub,
                      bool is_current, struct mvcc_read *read)
{
    *read = (struct mvcc_read){.store = store, .at = at, .sub = sub, .is_current = is_current};
    iter_init(read, range, &read->iter);
    iter_init(read, range, &read->measure);
    list_add_tail(&store->reads, &read->link);
    store->read_count++;
    store->stats.ranges++;
}

FALLIBLE mvcc_read_open(struct mvcc *store, const struct key_range *range, int64_t revision,
                        struct mvcc_read *read)
{
    int64_t current = mvcc_revision(store);
    if (revision > current) {
        return ERR_FUTURE;
    }
    int64_t at = revision <= 0 ? current : revision;
    if (at < store->compact) {
        return ERR_COMPACTED;
    }
    /* What a suspended transaction has changed is in the index already. */
    bool is_newest = at == current && !(store->is_suspended && store->change_count > 0);
    bool is_inside = at > store->revision; /* of a transaction that may write more */
    uint32_t sub = is_inside ? (uint32_t)store->change_count - 1 : UINT32_MAX;
    read_init(store, range, at, sub, is_newest, read);
    return ERR_OK;
}

void mvcc_read_open_beside(const struct mvcc_read *other, const struct key_range *range,
                           struct mvcc_read *read)
{
    struct mvcc *store = other->store;
    bool is_changed = store->is_writing && store->change_count > 0;
    ASSERT(other->sub == UINT32_MAX);
    read_init(store, range, other->at, UINT32_MAX, other->at == store->revision && !is_changed,
              read);
}

bool mvcc_read_get(const struct mvcc_read *read, struct slice key, struct mvcc_row *out)
{
    struct key_version version;
    ASSERT(read->sub == UINT32_MAX);
    if (!keyindex_get(read->store->index, key, read->at, &version)) {
        return false;
    }
    mvcc__parse(read->store, version.mod, row_at(read->store, version.mod), out);
    return true;
}

void mvcc_read_close(struct mvcc_read *read)
{
    ASSERT(read->store->read_count > 0);
    list_del(&read->link);
    read->store->read_count--;
    keyindex_iter_fini(&read->iter);
    keyindex_iter_fini(&read->measure);
}

bool mvcc_read_measure(struct mvcc_read *read, uint64_t *budget, struct key_count *out)
{
    if (!read->is_measured && read->is_current) {
        ASSERT(mvcc_revision(read->store) == read->at);
        read->total = keyindex_count(read->store->index, &read->iter.range);
        read->is_measured = true;
    }
    if (!read->is_measured) {
        read->is_measured = keyindex_iter_count(&read->measure, budget, &read->total);
    }
    keyindex_iter_pause(&read->measure);
    *out = read->total;
    return read->is_measured;
}

struct key_count mvcc_read_count(const struct mvcc_read *read, uint64_t limit, bool from_end)
{
    const struct keyindex *index = read->store->index;
    ASSERT(read->is_current);
    ASSERT(mvcc_revision(read->store) == read->at);
    return from_end ? keyindex_count_last(index, &read->iter.range, limit)
                    : keyindex_count_first(index, &read->iter.range, limit);
}

void mvcc_read_rewind(struct mvcc_read *read, bool is_reverse)
{
    struct key_range range = read->iter.range;
    keyindex_iter_fini(&read->iter);
    iter_init(read, &range, &read->iter);
    read->iter.is_reverse = is_reverse;
}

bool mvcc_read_key(struct mvcc_read *read, struct key_version *out, uint64_t *budget)
{
    return keyindex_iter_next(&read->iter, out, budget);
}

bool mvcc_read_is_done(const struct mvcc_read *read)
{
    return read->iter.is_done;
}

void mvcc_read_expect(struct mvcc_read *read, uint64_t rows)
{
    read->rows += rows;
}

struct slice mvcc_read_row(struct mvcc_read *read, struct revision mod, uint32_t row_len)
{
    struct slice raw;
    bool is_long = read->rows >= LONG_ROWS;
    uint64_t before = backend_pages_read(read->store->backend);
    if (!backend_get_row_near(read->store->backend, mod, is_long, &raw)) {
        damaged(read->store, mod, "is missing");
    }
    read->pages += backend_pages_read(read->store->backend) - before;
    read->rows++;
    if (raw.len != row_len) {
        damaged(read->store, mod, "has changed its length"); /* a reply may have promised it */
    }
    return raw;
}

bool mvcc_read_next(struct mvcc_read *read, struct slice *raw_out)
{
    struct key_version version;
    if (!keyindex_iter_next(&read->iter, &version, NULL)) {
        return false;
    }
    *raw_out = mvcc_read_row(read, version.mod, version.row_len);
    return true;
}

void mvcc_read_pause(struct mvcc_read *read)
{
    struct key_count total;
    uint64_t none = 0;
    if (read->is_current && !read->is_measured) {
        bool is_measured = mvcc_read_measure(read, &none, &total);
        ASSERT(is_measured);
    }
    keyindex_iter_pause(&read->iter);
}

struct history {
    const struct mvcc *store;
    mvcc_history_fn *each;
    void *ctx;
};

static bool history_row(void *ctx, struct slice key, struct slice value)
{
    struct history *history = ctx;
    struct revision rev = {0};
    bool is_tombstone;
    if (revision_decode(key, &rev, &is_tombstone) != ERR_OK) {
        damaged(history->store, rev, "has a key that is no revision");
    }
    if (rev.main > history->store->revision) {
        return false; /* of a transaction that has not ended */
    }
    return history->each(history->ctx, rev, is_tombstone, value);
}

void mvcc_history_from(struct mvcc *store, struct revision from, mvcc_history_fn *each, void *ctx)
{
    struct history history = {.store = store, .each = each, .ctx = ctx};
    backend_scan_rows(store->backend, from, history_row, &history);
}

void mvcc_history(struct mvcc *store, int64_t from, mvcc_history_fn *each, void *ctx)
{
    mvcc_history_from(store, (struct revision){.main = from < 0 ? 0 : from}, each, ctx);
}

struct key_history {
    struct mvcc *store;
    mvcc_history_fn *each;
    void *ctx;
};

static bool key_history_rev(void *ctx, struct revision rev, bool is_tombstone)
{
    struct key_history *history = ctx;
    if (rev.main > history->store->revision) {
        return false; /* of a transaction that has not ended */
    }
    struct slice row = is_tombstone ? SLICE_EMPTY : row_at(history->store, rev);
    return history->each(history->ctx, rev, is_tombstone, row);
}

void mvcc_key_history(struct mvcc *store, struct slice key, int64_t from, mvcc_history_fn *each,
                      void *ctx)
{
    struct key_history history = {.store = store, .each = each, .ctx = ctx};
    keyindex_revisions(store->index, key, from, key_history_rev, &history);
}

/* ---- observers --------------------------------------------------------------------------------
 */

void mvcc_stats(const struct mvcc *store, struct mvcc_stats *out)
{
    *out = store->stats;
    out->open_reads = store->read_count;
    keyindex_stats(store->index, &out->index);
}

struct row_check {
    struct mvcc *store;
    struct revision rev;
    bool is_tombstone;
    bool is_known;
    uint64_t rows;
};

static bool is_this_revision(void *ctx, struct revision rev, bool is_tombstone)
{
    struct row_check *check = ctx;
    if (revision_cmp(rev, check->rev) != 0) {
        return rev.main <= check->rev.main;
    }
    ASSERT(is_tombstone == check->is_tombstone);
    check->is_known = true;
    return false;
}

static bool check_row(void *ctx, struct slice key, struct slice value)
{
    struct row_check *check = ctx;
    struct mvcc_row row;
    enum err err = revision_decode(key, &check->rev, &check->is_tombstone);
    ASSERT(err == ERR_OK);
    if (mvcc__is_bump(value, check->is_tombstone)) {
        return true;
    }
    mvcc__parse(check->store, check->rev, value, &row);
    ASSERT(check->is_tombstone || row.mod == check->rev.main);
    check->is_known = false;
    keyindex_revisions(check->store->index, row.key, check->rev.main, is_this_revision, check);
    ASSERT(check->is_known);
    check->rows++;
    return true;
}

void mvcc_check(struct mvcc *store)
{
    struct row_check check = {.store = store};
    struct keyindex_stats stats;
    keyindex_check(store->index);
    keyindex_stats(store->index, &stats);
    backend_scan_rows(store->backend, (struct revision){0}, check_row, &check);
    ASSERT(check.rows == stats.revisions);
    ASSERT(store->compact <= store->revision);
    ASSERT(store->finished <= store->compact);
    ASSERT(store->target == -1 || (store->target > store->finished));
    ASSERT(store->target <= store->compact);
}
