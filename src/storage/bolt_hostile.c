#include "storage/bolt_hostile.h"

#include "base/digest.h"
#include "storage/bolt_model.h"
#include "storage/bolt_priv.h"

static void meta_mend(struct buf *file, size_t at, uint32_t page_size)
{
    if (file->len < at + PAGE_HEADER_LEN + META_LEN) {
        return;
    }
    uint8_t *meta = file->data + at + PAGE_HEADER_LEN;
    put_le32(meta, META_MAGIC);
    put_le32(meta + 4, META_VERSION);
    put_le32(meta + 8, page_size);
    put_le64(meta + 56, fnv1a64(meta, 56));
}

void bolt_hostile_mend(struct buf *file, uint32_t page_size)
{
    meta_mend(file, 0, page_size);
    meta_mend(file, page_size, page_size);
}

/* Changes spread over the first buckets that are there, chosen by the file's own bytes. */
void bolt_hostile_change(struct bolt_tx *tx, uint64_t seed)
{
    struct model_random random = {.state = seed};
    struct bolt_bucket *bucket = NULL;
    struct bolt_cursor cursor;
    struct bolt_item item;
    bolt_cursor_init(&cursor, bolt_root(tx));
    if (bolt_cursor_first(&cursor, &item) != ERR_OK ||
        bolt_bucket(bolt_root(tx), item.key, &bucket) != ERR_OK) {
        (void)!bolt_bucket_ensure(bolt_root(tx), SLICE("b"), &bucket);
    }
    for (int i = 0; i < 30 && bucket != NULL; i++) {
        uint8_t key[2] = {(uint8_t)('a' + model_random_below(&random, 26)),
                          (uint8_t)model_random(&random)};
        uint8_t value[300] = {0};
        struct slice name = slice_of(key, 1 + model_random_below(&random, 2));
        struct bolt_bucket *inner = NULL;
        bolt_cursor_init(&cursor, bucket);
        switch (model_random_below(&random, 6)) {
        case 0:
            if (bolt_cursor_seek(&cursor, name, &item) == ERR_OK) {
                (void)!bolt_cursor_delete(&cursor);
            }
            break;
        case 1:
            if (bolt_cursor_last(&cursor, &item) == ERR_OK && item.is_bucket) {
                (void)!bolt_bucket_drop(bucket, item.key);
            }
            break;
        case 2:
            if (bolt_bucket_ensure(bucket, name, &inner) == ERR_OK) {
                (void)!bolt_put(inner, SLICE("in"), SLICE("side"));
            }
            break;
        default:
            (void)!bolt_put(bucket, name, slice_of(value, model_random_below(&random, 300)));
            break;
        }
    }
}
