/* Any bytes as a database file: opening, checking, scanning and changing it must end in an error
 * or in a whole file, never in a crash.
 *
 * The first byte says how the rest is prepared: bit 0 mends magic, version, page size and checksum
 * of both meta pages, so that mutations get past them; bit 1 opens without a persisted freelist. */
#include "base/digest.h"
#include "base/mem.h"
#include "storage/bolt_double.h"
#include "storage/bolt_hostile.h"
#include "storage/bolt_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_LEN_MAX = 1 << 18, SCAN_MAX = 20000 };

/* Rows seen, forward; counts down `budget`, because damaged pages may be met again and again. */
static enum err scan(struct bolt_bucket *bucket, uint64_t *budget, uint64_t *rows_out)
{
    struct bolt_cursor cursor;
    struct bolt_item item;
    struct bolt_walk *walk = bolt_walk_new();
    bolt_walk_enter(walk, bucket);
    bolt_cursor_init(&cursor, bucket);
    enum err err = bolt_cursor_first(&cursor, &item);
    for (; err == ERR_OK && *budget > 0; err = bolt_cursor_next(&cursor, &item)) {
        --*budget;
        ++*rows_out;
        struct bolt_bucket *inner = NULL;
        struct slice value;
        (void)!bolt_get(bucket, item.key, &value);
        (void)!bolt_walk_find(walk, item.key, *budget % 2 == 0, &value);
        if (item.is_bucket && bolt_bucket(bucket, item.key, &inner) == ERR_OK) {
            enum err inner_err = scan(inner, budget, rows_out);
            if (inner_err != ERR_NOT_FOUND) {
                err = inner_err;
                break;
            }
        }
    }
    bolt_walk_free(&walk);
    return err;
}

static uint64_t scan_back(struct bolt_bucket *bucket)
{
    struct bolt_cursor cursor;
    struct bolt_item item;
    uint64_t rows = 0;
    bolt_cursor_init(&cursor, bucket);
    for (enum err err = bolt_cursor_last(&cursor, &item); err == ERR_OK && rows < SCAN_MAX;
         err = bolt_cursor_prev(&cursor, &item)) {
        rows++;
    }
    return rows;
}

/* True when nothing is wrong with the newest state. */
static bool read_all(struct bolt *db)
{
    struct errbuf why = {0};
    struct bolt_tx *tx = bolt_read_begin(db);
    uint64_t budget = SCAN_MAX;
    uint64_t rows = 0;
    bool is_whole = bolt_check(tx, &why) == ERR_OK;
    ASSERT(is_whole || why.text[0] != '\0');
    enum err err = scan(bolt_root(tx), &budget, &rows);
    if (is_whole && budget > 0) {
        ASSERT(err == ERR_NOT_FOUND);
    }
    (void)scan_back(bolt_root(tx));
    bolt_read_end(&tx);
    return is_whole;
}

static void write_some(struct bolt *db, bool was_whole, uint64_t seed)
{
    struct errbuf why = {0};
    struct bolt_tx *tx = NULL;
    ASSERT(bolt_write_begin(db, &tx, &why) == ERR_OK);
    bolt_hostile_change(tx, seed);
    bool is_dropped = seed % 3 == 0 && bolt_bucket_drop(bolt_root(tx), SLICE("b1")) == ERR_OK;
    UNUSED(is_dropped);
    enum err err = bolt_commit(&tx, &why);
    ASSERT(err == ERR_OK || why.text[0] != '\0');
    if (was_whole) {
        ASSERT(err == ERR_OK);
        ASSERT(read_all(db));
        bolt__db_check(db);
    } else {
        (void)read_all(db);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > FILE_LEN_MAX) {
        return 0;
    }
    struct bolt_double *disk = bolt_double_new();
    buf_append(&disk->live, data + 1, size - 1);
    if ((data[0] & 1) != 0) {
        bolt_hostile_mend(&disk->live, 1024);
    }
    struct bolt *db = NULL;
    struct errbuf why = {0};
    struct bolt_options options = {.no_freelist_sync = (data[0] & 2) != 0, .no_sync = true};
    if (bolt_open(&disk->disk, disk->path, &options, &db, &why) == ERR_OK) {
        bool is_whole = read_all(db);
        write_some(db, is_whole, fnv1a64(data, size));
        bolt_close(&db);
    } else {
        ASSERT(db == NULL);
        ASSERT(why.text[0] != '\0');
    }
    bolt_double_free(&disk);
    return 0;
}
