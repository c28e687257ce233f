#include "storage/bolt_model.h"

#include "base/mem.h"
#include "storage/bolt_priv.h"

#include <stdio.h>

static struct slice copy(struct slice bytes)
{
    return slice_of(mem_dup(bytes.data, bytes.len), bytes.len);
}

static void release(struct slice bytes)
{
    void *data;
    memcpy(&data, &bytes.data, sizeof(data)); /* owned, so not const */
    mem_free(data);
}

struct model *model_new(void)
{
    return NEW(struct model);
}

static void row_fini(struct model_row *row)
{
    release(row->key);
    release(row->value);
    model_free(&row->bucket);
}

void model_free(struct model **model)
{
    struct model *done = *model;
    *model = NULL;
    if (done == NULL) {
        return;
    }
    for (size_t i = 0; i < done->count; i++) {
        row_fini(&done->rows[i]);
    }
    mem_free(done->rows);
    mem_free(done);
}

struct model *model_clone(const struct model *model)
{
    struct model *clone = model_new();
    clone->count = model->count;
    clone->cap = model->count;
    clone->sequence = model->sequence;
    clone->rows = mem_array(model->count, sizeof(clone->rows[0]));
    for (size_t i = 0; i < model->count; i++) {
        const struct model_row *row = &model->rows[i];
        clone->rows[i] =
            (struct model_row){.key = copy(row->key),
                               .value = copy(row->value),
                               .bucket = row->bucket == NULL ? NULL : model_clone(row->bucket)};
    }
    return clone;
}

size_t model_search(const struct model *model, struct slice key, bool *exact_out)
{
    size_t low = 0;
    size_t high = model->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (slice_cmp(model->rows[mid].key, key) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    *exact_out = low < model->count && slice_eq(model->rows[low].key, key);
    return low;
}

static struct model_row *insert(struct model *model, size_t index, struct slice key)
{
    if (model->count == model->cap) {
        model->cap = model->cap * 2 + 8;
        model->rows = mem_realloc(model->rows, model->cap * sizeof(model->rows[0]));
    }
    struct model_row *row = &model->rows[index];
    memmove(row + 1, row, (model->count - index) * sizeof(*row));
    model->count++;
    *row = (struct model_row){.key = copy(key), .value = copy(SLICE_EMPTY)};
    return row;
}

void model_put(struct model *model, struct slice key, struct slice value)
{
    bool exact;
    size_t index = model_search(model, key, &exact);
    struct model_row *row = exact ? &model->rows[index] : insert(model, index, key);
    ASSERT(row->bucket == NULL);
    release(row->value);
    row->value = copy(value);
}

void model_remove(struct model *model, size_t index)
{
    ASSERT(index < model->count);
    row_fini(&model->rows[index]);
    model->count--;
    memmove(&model->rows[index], &model->rows[index + 1],
            (model->count - index) * sizeof(model->rows[0]));
}

struct model *model_bucket_ensure(struct model *model, struct slice name)
{
    bool exact;
    size_t index = model_search(model, name, &exact);
    struct model_row *row = exact ? &model->rows[index] : insert(model, index, name);
    ASSERT(!exact || row->bucket != NULL);
    if (row->bucket == NULL) {
        row->bucket = model_new();
    }
    return row->bucket;
}

/* ---- compare ------------------------------------------------------------------------------- */

static void compare_item(const struct model_row *row, const struct bolt_item *item)
{
    ASSERT(slice_eq(row->key, item->key));
    ASSERT(slice_eq(row->value, item->value));
    ASSERT((row->bucket != NULL) == item->is_bucket);
}

static void compare_forward(const struct model *model, struct bolt_bucket *bucket)
{
    struct bolt_cursor cursor;
    struct bolt_item item;
    bolt_cursor_init(&cursor, bucket);
    enum err err = bolt_cursor_first(&cursor, &item);
    for (size_t i = 0; i < model->count; i++) {
        ASSERT(err == ERR_OK);
        compare_item(&model->rows[i], &item);
        err = bolt_cursor_next(&cursor, &item);
    }
    ASSERT(err == ERR_NOT_FOUND);
}

static void compare_backward(const struct model *model, struct bolt_bucket *bucket)
{
    struct bolt_cursor cursor;
    struct bolt_item item;
    bolt_cursor_init(&cursor, bucket);
    enum err err = bolt_cursor_last(&cursor, &item);
    for (size_t i = model->count; i-- > 0;) {
        ASSERT(err == ERR_OK);
        compare_item(&model->rows[i], &item);
        err = bolt_cursor_prev(&cursor, &item);
    }
    ASSERT(err == ERR_NOT_FOUND);
}

static void compare_lookup(const struct model_row *row, struct bolt_bucket *bucket)
{
    struct slice value;
    struct bolt_cursor cursor;
    struct bolt_item item;
    enum err err = bolt_get(bucket, row->key, &value);
    ASSERT(err == (row->bucket == NULL ? ERR_OK : ERR_NOT_FOUND));
    ASSERT(err != ERR_OK || slice_eq(row->value, value));
    bolt_cursor_init(&cursor, bucket);
    ASSERT(bolt_cursor_seek(&cursor, row->key, &item) == ERR_OK);
    compare_item(row, &item);
}

static void compare_find(const struct model_row *row, struct bolt_walk *walk, bool is_long)
{
    struct slice value = SLICE_EMPTY;
    enum err err = bolt_walk_find(walk, row->key, is_long, &value);
    ASSERT(err == (row->bucket != NULL ? ERR_NOT_FOUND : ERR_OK));
    ASSERT(row->bucket != NULL || slice_eq(value, row->value));
}

/* Forwards, backwards, here and there, and what is not there. */
void model_compare_walk(const struct model *model, struct bolt_walk *walk, bool is_long)
{
    struct slice value;
    for (size_t i = 0; i < model->count; i++) {
        compare_find(&model->rows[i], walk, is_long);
    }
    for (size_t i = model->count; i-- > 0;) {
        compare_find(&model->rows[i], walk, is_long);
    }
    for (size_t i = 0; i < model->count; i++) {
        compare_find(&model->rows[i * 7919 % model->count], walk, is_long);
    }
    for (size_t i = 0; i < model->count; i++) {
        struct slice key = model->rows[i].key;
        bool exact;
        key.len -= key.len > 1;
        (void)model_search(model, key, &exact);
        enum err err = bolt_walk_find(walk, key, is_long, &value);
        ASSERT(exact || err == ERR_NOT_FOUND);
    }
}

static void compare_walks(const struct model *model, struct bolt_bucket *bucket)
{
    struct bolt_walk *walk = bolt_walk_new();
    bolt_walk_enter(walk, bucket);
    model_compare_walk(model, walk, false);
    model_compare_walk(model, walk, true);
    bolt_walk_free(&walk);
}

void model_compare(const struct model *model, struct bolt_bucket *bucket)
{
    ASSERT(model->sequence == bolt_bucket_sequence(bucket));
    if (!bucket->tx->is_writable) {
        compare_walks(model, bucket);
    }
    compare_forward(model, bucket);
    compare_backward(model, bucket);
    for (size_t i = 0; i < model->count; i++) {
        const struct model_row *row = &model->rows[i];
        compare_lookup(row, bucket);
        if (row->bucket != NULL) {
            struct bolt_bucket *inner = NULL;
            ASSERT(bolt_bucket(bucket, row->key, &inner) == ERR_OK);
            model_compare(row->bucket, inner);
        }
    }
}

/* ---- random -------------------------------------------------------------------------------- */

uint64_t model_random(struct model_random *random)
{
    if (random->script.data != NULL) {
        uint64_t number = random->script.len >= 2 ? get_le16(random->script.data) : 0;
        random->script = slice_skip(random->script, random->script.len >= 2 ? 2 : 0);
        return number;
    }
    uint64_t z = (random->state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint64_t model_random_below(struct model_random *random, uint64_t end)
{
    return model_random(random) % end;
}

static const struct model_mix mixes[] = {
    {.name = "even",
     .key_space = 400,
     .value_max = 200,
     .delete_pct = 40,
     .bucket_pct = 5,
     .huge_pct = 2},
    {.name = "growing",
     .key_space = 5000,
     .value_max = 300,
     .delete_pct = 15,
     .bucket_pct = 1,
     .huge_pct = 1},
    {.name = "shrinking",
     .key_space = 300,
     .value_max = 600,
     .delete_pct = 60,
     .bucket_pct = 3,
     .huge_pct = 5},
    {.name = "nested",
     .key_space = 30,
     .value_max = 100,
     .delete_pct = 30,
     .bucket_pct = 40,
     .huge_pct = 3},
    {.name = "tiny",
     .key_space = 12,
     .value_max = 120,
     .delete_pct = 30,
     .bucket_pct = 20,
     .huge_pct = 0},
};

const struct model_mix *model_mix_named(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(mixes); i++) {
        if (strcmp(mixes[i].name, name) == 0) {
            return &mixes[i];
        }
    }
    return NULL;
}

static bool chance(struct model_random *random, uint32_t percent)
{
    return model_random_below(random, 100) < percent;
}

static struct slice random_key(struct model_random *random, const struct model_mix *mix, char *out,
                               size_t cap)
{
    uint64_t number = model_random_below(random, mix->key_space);
    /* Keys of several lengths, the long ones with a common prefix. */
    int len = number % 7 == 0 ? snprintf(out, cap, "a-rather-long-prefix-of-a-key/%08llu",
                                         (unsigned long long)number)
                              : snprintf(out, cap, "k%llu", (unsigned long long)number);
    return slice_of(out, (size_t)len);
}

static void step_put(struct model_random *random, const struct model_mix *mix, struct model *model,
                     struct bolt_bucket *bucket, struct slice key)
{
    bool is_huge = chance(random, mix->huge_pct);
    size_t len = (size_t)model_random_below(random, is_huge ? 20000 : mix->value_max + 1);
    uint8_t *data = mem_alloc(len);
    memset(data, (int)model_random_below(random, 256), len);
    bool exact;
    size_t index = model_search(model, key, &exact);
    enum err err = bolt_put(bucket, key, slice_of(data, len));
    if (exact && model->rows[index].bucket != NULL) {
        ASSERT(err == ERR_INVALID);
    } else {
        ASSERT(err == ERR_OK);
        model_put(model, key, slice_of(data, len));
    }
    mem_free(data);
}

/* Deletes the first row at or after `key` through a cursor, and looks at what follows. */
static void step_cursor_delete(struct model *model, struct bolt_bucket *bucket, struct slice key)
{
    struct bolt_cursor cursor;
    struct bolt_item item;
    bool exact;
    size_t index = model_search(model, key, &exact);
    bolt_cursor_init(&cursor, bucket);
    enum err err = bolt_cursor_seek(&cursor, key, &item);
    ASSERT(err == (index < model->count ? ERR_OK : ERR_NOT_FOUND));
    if (err != ERR_OK) {
        return;
    }
    compare_item(&model->rows[index], &item);
    err = bolt_cursor_delete(&cursor);
    if (model->rows[index].bucket != NULL) {
        ASSERT(err == ERR_INVALID);
        return;
    }
    ASSERT(err == ERR_OK);
    model_remove(model, index);
    ASSERT(bolt_cursor_delete(&cursor) == ERR_NOT_FOUND);
    err = bolt_cursor_next(&cursor, &item);
    ASSERT(err == (index < model->count ? ERR_OK : ERR_NOT_FOUND));
    if (err == ERR_OK) {
        compare_item(&model->rows[index], &item);
    }
    err = bolt_cursor_prev(&cursor, &item);
    ASSERT(err == (index > 0 ? ERR_OK : ERR_NOT_FOUND));
    if (err == ERR_OK) {
        compare_item(&model->rows[index - 1], &item);
    }
}

static void step_delete(struct model *model, struct bolt_bucket *bucket, struct slice key)
{
    bool exact;
    size_t index = model_search(model, key, &exact);
    enum err err = bolt_delete(bucket, key);
    if (!exact) {
        ASSERT(err == ERR_NOT_FOUND);
    } else if (model->rows[index].bucket != NULL) {
        ASSERT(err == ERR_INVALID);
    } else {
        ASSERT(err == ERR_OK);
        model_remove(model, index);
    }
}

static void step_bucket(struct model_random *random, struct model *model,
                        struct bolt_bucket *bucket, struct slice key)
{
    bool exact;
    size_t index = model_search(model, key, &exact);
    struct bolt_bucket *inner = NULL;
    if (exact && model->rows[index].bucket == NULL) {
        ASSERT(bolt_bucket(bucket, key, &inner) == ERR_INVALID);
        ASSERT(bolt_bucket_create(bucket, key, &inner) == ERR_INVALID);
        ASSERT(bolt_bucket_drop(bucket, key) == ERR_INVALID);
        return;
    }
    if (exact && chance(random, 30)) {
        ASSERT(bolt_bucket_create(bucket, key, &inner) == ERR_EXISTS);
        ASSERT(bolt_bucket_drop(bucket, key) == ERR_OK);
        ASSERT(bolt_bucket_drop(bucket, key) == ERR_NOT_FOUND);
        model_remove(model, index);
        return;
    }
    ASSERT(bolt_bucket_ensure(bucket, key, &inner) == ERR_OK);
    struct model *inner_model = model_bucket_ensure(model, key);
    if (chance(random, 20)) {
        inner_model->sequence = model_random(random);
        ASSERT(bolt_bucket_set_sequence(inner, inner_model->sequence) == ERR_OK);
    }
}

void model_step(struct model_random *random, const struct model_mix *mix, struct model *model,
                struct bolt_bucket *bucket)
{
    char text[64];
    struct slice key = random_key(random, mix, text, sizeof(text));
    bool exact;
    size_t index = model_search(model, key, &exact);
    bool is_bucket = exact && model->rows[index].bucket != NULL;
    if (is_bucket && chance(random, 60)) {
        struct bolt_bucket *inner = NULL;
        ASSERT(bolt_bucket(bucket, key, &inner) == ERR_OK);
        for (uint64_t i = model_random_below(random, 8) + 1; i > 0; i--) {
            model_step(random, mix, model->rows[index].bucket, inner);
        }
        return;
    }
    if (chance(random, mix->bucket_pct)) {
        step_bucket(random, model, bucket, key);
    } else if (chance(random, mix->delete_pct)) {
        if (chance(random, 50)) {
            step_delete(model, bucket, key);
        } else {
            step_cursor_delete(model, bucket, key);
        }
    } else {
        step_put(random, mix, model, bucket, key);
    }
}

void model_step_top(struct model_random *random, const struct model_mix *mix, struct model *model,
                    struct bolt_tx *tx)
{
    char name[8];
    snprintf(name, sizeof(name), "b%u", (unsigned)model_random_below(random, 3));
    struct bolt_bucket *bucket = NULL;
    ASSERT(bolt_bucket_ensure(bolt_root(tx), slice_str(name), &bucket) == ERR_OK);
    bolt_bucket_set_fill(bucket, 10 + (unsigned)model_random_below(random, 91));
    model_step(random, mix, model_bucket_ensure(model, slice_str(name)), bucket);
}
