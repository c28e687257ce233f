/* The revisions of one key: the newest in the record, the older ones in an array beside it. */
#include "state/keyindex_priv.h"

#include "base/mem.h"

#define HISTORY_CAP_MIN 2

static size_t record_size(size_t key_len)
{
    return offsetof(struct keyindex_record, key) + key_len;
}

static size_t history_size(uint32_t cap)
{
    return sizeof(struct keyindex_history) + (size_t)cap * sizeof(struct keyindex_old);
}

struct keyindex_record *keyindex__record_new(struct keyindex *index, struct slice key)
{
    ASSERT(key.len > 0);
    ASSERT(key.len <= UINT32_MAX);
    struct keyindex_record *record = mem_alloc(record_size(key.len));
    memset(record, 0, offsetof(struct keyindex_record, key));
    record->key_len = (uint32_t)key.len;
    memcpy(record->key, key.data, key.len);
    index->stats.keys_known++;
    index->stats.bytes += record_size(key.len);
    index->stats.key_bytes += key.len;
    return record;
}

static void history_free(struct keyindex *index, struct keyindex_record *record)
{
    if (record->history != NULL) {
        index->stats.bytes -= history_size(record->history->cap);
        mem_free(record->history);
        record->history = NULL;
    }
}

void keyindex__record_free(struct keyindex *index, struct keyindex_record *record)
{
    history_free(index, record);
    index->stats.keys_known--;
    index->stats.bytes -= record_size(record->key_len);
    index->stats.key_bytes -= record->key_len;
    mem_free(record);
}

static struct keyindex_history *history_resize(struct keyindex *index,
                                               struct keyindex_history *history, uint32_t cap)
{
    index->stats.bytes += history_size(cap);
    if (history != NULL) {
        index->stats.bytes -= history_size(history->cap);
        memmove(history->revs, history->revs + history->first,
                history->count * sizeof(history->revs[0]));
        history->first = 0;
        ASSERT(history->count <= cap);
    }
    bool is_new = history == NULL;
    history = mem_realloc(history, history_size(cap));
    if (is_new) {
        *history = (struct keyindex_history){0};
    }
    history->cap = cap;
    return history;
}

void keyindex__record_push(struct keyindex *index, struct keyindex_record *record)
{
    struct keyindex_history *history = record->history;
    if (history == NULL) {
        history = history_resize(index, NULL, HISTORY_CAP_MIN);
    } else if (history->first + history->count == history->cap) {
        bool is_half_empty = history->first >= history->cap / 2;
        history = history_resize(index, history, is_half_empty ? history->cap : 2 * history->cap);
    }
    record->history = history;
    history->revs[history->first + history->count] =
        (struct keyindex_old){.main = record->mod, .sub = record->sub, .row_len = record->row_len};
    history->count++;
}

void keyindex__record_shift(struct keyindex *index, struct keyindex_record *record)
{
    struct keyindex_history *history = record->history;
    ASSERT(history != NULL);
    ASSERT(history->count > 0);
    history->first++;
    history->count--;
    if (history->count == 0) {
        history_free(index, record);
    } else if (history->cap > 4 * HISTORY_CAP_MIN && history->count <= history->cap / 4) {
        record->history = history_resize(index, history, history->cap / 2);
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

bool keyindex__record_last(const struct keyindex_record *record, int64_t at,
                           struct keyindex_old *out)
{
    uint32_t low = 0; /* how many revisions are <= at, by bisection */
    uint32_t high = keyindex__record_revs(record);
    if (record->mod <= at) {
        low = high;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (keyindex__record_rev(record, middle).main <= at) {
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

bool keyindex__record_get(const struct keyindex_record *record, int64_t at, struct key_version *out)
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
        .create = is_newest ? record->create : 0,
        .version = is_newest ? record->version : 0,
    };
    return true;
}
