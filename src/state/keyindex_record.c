/* The revisions of one key: the newest in the record, the older ones in an array beside it. */
#include "state/keyindex_priv.h"

#include "base/mem.h"

#define HISTORY_CAP_MIN 2

static size_t record_len(size_t key_len)
{
    return offsetof(struct keyindex_record, key) + key_len;
}

static size_t history_len(uint32_t cap)
{
    return sizeof(struct keyindex_history) + (size_t)cap * sizeof(struct keyindex_old);
}

struct keyindex_record *keyindex__record_new(struct keyindex *index, struct slice key)
{
    ASSERT(key.len > 0);
    ASSERT(key.len <= UINT32_MAX);
    struct keyindex_record *record = slab_alloc(&index->slabs, record_len(key.len));
    memset(record, 0, offsetof(struct keyindex_record, key));
    record->key_len = (uint32_t)key.len;
    memcpy(record->key, key.data, key.len);
    index->stats.keys_known++;
    index->stats.bytes += slab_size(record_len(key.len));
    index->stats.key_bytes += key.len;
    return record;
}

static struct keyindex_history *history_new(struct keyindex *index, uint32_t cap)
{
    struct keyindex_history *history = slab_alloc(&index->slabs, history_len(cap));
    *history = (struct keyindex_history){.cap = cap};
    index->stats.bytes += slab_size(history_len(cap));
    return history;
}

static void history_free(struct keyindex *index, struct keyindex_history *history)
{
    if (history != NULL) {
        index->stats.bytes -= slab_size(history_len(history->cap));
        slab_free(&index->slabs, history, history_len(history->cap));
    }
}

void keyindex__record_free(struct keyindex *index, struct keyindex_record *record)
{
    history_free(index, record->history);
    index->stats.keys_known--;
    index->stats.bytes -= slab_size(record_len(record->key_len));
    index->stats.key_bytes -= record->key_len;
    slab_free(&index->slabs, record, record_len(record->key_len));
}

static void history_resize(struct keyindex *index, struct keyindex_record *record, uint32_t cap)
{
    struct keyindex_history *old = record->history;
    struct keyindex_history *history = history_new(index, cap);
    ASSERT(old->count <= cap);
    history->create = old->create;
    history->version = old->version;
    history->count = old->count;
    memcpy(history->revs, old->revs + old->first, old->count * sizeof(old->revs[0]));
    history_free(index, old);
    record->history = history;
}

static void history_shift(struct keyindex_history *history)
{
    memmove(history->revs, history->revs + history->first,
            history->count * sizeof(history->revs[0]));
    history->first = 0;
}

void keyindex__record_push(struct keyindex *index, struct keyindex_record *record)
{
    struct keyindex_history *history = record->history;
    if (history == NULL) {
        record->history = history_new(index, HISTORY_CAP_MIN);
    } else if (history->first + history->count == history->cap) {
        if (history->cap > 0 && history->first >= history->cap / 2) {
            history_shift(history);
        } else {
            history_resize(index, record, history->cap == 0 ? HISTORY_CAP_MIN : 2 * history->cap);
        }
    }
    history = record->history;
    history->revs[history->first + history->count] =
        (struct keyindex_old){.main = record->mod, .sub = record->sub, .row_len = record->row_len};
    history->count++;
}

/* Whether a record without a history would say the same. */
static bool is_plain(int64_t mod, int64_t create, int64_t version, uint32_t row_len)
{
    return row_len == 0 || (create == mod && version == 1);
}

void keyindex__record_set(struct keyindex *index, struct keyindex_record *record,
                          struct revision rev, int64_t create, int64_t version, uint32_t row_len)
{
    ASSERT(row_len > 0 || create == 0);
    ASSERT(row_len > 0 || version == 0);
    record->mod = rev.main;
    record->sub = rev.sub;
    record->row_len = row_len;
    if (record->history == NULL && !is_plain(rev.main, create, version, row_len)) {
        record->history = history_new(index, 0);
    }
    if (record->history != NULL) {
        record->history->create = create;
        record->history->version = version;
    }
}

void keyindex__record_shift(struct keyindex *index, struct keyindex_record *record)
{
    struct keyindex_history *history = record->history;
    ASSERT(history != NULL);
    ASSERT(history->count > 0);
    history->first++;
    history->count--;
    if (history->count == 0 &&
        is_plain(record->mod, history->create, history->version, record->row_len)) {
        history_free(index, history);
        record->history = NULL;
    } else if (history->count == 0) {
        history_resize(index, record, 0);
    } else if (history->cap > 4 * HISTORY_CAP_MIN && history->count <= history->cap / 4) {
        history_resize(index, record, history->cap / 2);
    }
}

uint32_t keyindex__record_revs(const struct keyindex_record *record)
{
    return record->history == NULL ? 1 : record->history->count + 1;
}

struct keyindex_old keyindex__record_rev(const struct keyindex_record *record, uint32_t i)
{
    if (i + 1 == keyindex__record_revs(record)) {
        return (struct keyindex_old){
            .main = record->mod, .sub = record->sub, .row_len = record->row_len};
    }
    ASSERT(record->history != NULL);
    ASSERT(i < record->history->count);
    return record->history->revs[record->history->first + i];
}

static bool is_by(int64_t main, uint32_t sub, struct revision at)
{
    return main < at.main || (main == at.main && sub <= at.sub);
}

bool keyindex__record_last(const struct keyindex_record *record, struct revision at,
                           struct keyindex_old *out)
{
    uint32_t low = 0; /* how many revisions are <= at, by bisection */
    uint32_t high = keyindex__record_revs(record);
    if (is_by(record->mod, record->sub, at)) {
        low = high;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct keyindex_old rev = keyindex__record_rev(record, middle);
        if (is_by(rev.main, rev.sub, at)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        return false;
    }
    *out = keyindex__record_rev(record, low - 1);
    return true;
}

bool keyindex__record_get(const struct keyindex_record *record, struct revision at,
                          struct key_version *out)
{
    struct keyindex_old rev;
    if (!keyindex__record_last(record, at, &rev) || rev.row_len == 0) {
        return false;
    }
    bool is_newest = rev.main == record->mod && rev.sub == record->sub;
    *out = (struct key_version){
        .key = record_key(record),
        .mod = {.main = rev.main, .sub = rev.sub},
        .row_len = rev.row_len,
        .is_newest = is_newest,
        .create = is_newest ? record_create(record) : 0,
        .version = is_newest ? record_version(record) : 0,
    };
    return true;
}
