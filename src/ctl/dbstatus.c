#include "ctl/dbstatus.h"

#include "base/digest.h"
#include "storage/bolt.h"
#include "storage/revision.h"

#include <stdio.h>

static void hash_add(struct dbstatus *status, struct slice bytes)
{
    status->hash = crc32c(status->hash, bytes.data, bytes.len);
}

static void row_add(struct dbstatus *status, const struct bolt_item *item, bool is_key)
{
    struct revision rev;
    bool is_tombstone;
    hash_add(status, item->key);
    hash_add(status, item->value);
    status->total_key++;
    if (is_key && revision_decode(item->key, &rev, &is_tombstone) == ERR_OK) {
        status->revision = rev.main;
    }
}

static FALLIBLE bucket_add(struct bolt_tx *tx, struct slice name, struct dbstatus *status)
{
    struct bolt_bucket *bucket = NULL;
    struct bolt_cursor cursor;
    struct bolt_item item;
    struct slice version;
    bool is_key = slice_eq_str(name, "key");
    TRY(bolt_bucket(bolt_root(tx), name, &bucket));
    hash_add(status, name);
    bolt_cursor_init(&cursor, bucket);
    enum err err = bolt_cursor_first(&cursor, &item);
    for (; err == ERR_OK; err = bolt_cursor_next(&cursor, &item)) {
        row_add(status, &item, is_key);
    }
    if (slice_eq_str(name, "meta") &&
        bolt_get(bucket, SLICE("storageVersion"), &version) == ERR_OK) {
        snprintf(status->version, sizeof(status->version), "%.*s",
                 (int)(version.len < sizeof(status->version) ? version.len : 0),
                 (const char *)version.data);
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static FALLIBLE read_all(struct bolt_tx *tx, struct dbstatus *out, struct errbuf *why)
{
    struct bolt_cursor cursor;
    struct bolt_item item;
    struct errbuf problem = {{0}};
    enum err err = bolt_check(tx, &problem);
    if (err != ERR_OK) {
        return errf(why, err, "snapshot file integrity check failed. 1 errors found.\n%s",
                    problem.text);
    }
    out->total_size = (int64_t)bolt_tx_size(tx);
    bolt_cursor_init(&cursor, bolt_root(tx));
    err = bolt_cursor_first(&cursor, &item);
    while (err == ERR_OK) {
        err = bucket_add(tx, item.key, out);
        err = err == ERR_OK ? bolt_cursor_next(&cursor, &item) : err;
    }
    return err == ERR_NOT_FOUND ? ERR_OK : errf(why, err, "%s", bolt_tx_why(tx));
}

FALLIBLE dbstatus_read(struct disk *disk, const char *path, struct dbstatus *out,
                       struct errbuf *why)
{
    struct bolt_options options = {.read_only = true};
    struct bolt *db = NULL;
    struct file_info info;
    struct dbstatus status = {0};
    enum err err = disk_stat(disk, path, &info, why);
    if (err == ERR_NOT_FOUND) {
        return errf(why, err, "stat %s: no such file or directory", path);
    }
    TRY(err);
    TRY(bolt_open(disk, path, &options, &db, why));
    struct bolt_tx *tx = bolt_read_begin(db);
    err = read_all(tx, &status, why);
    bolt_read_end(&tx);
    bolt_close(&db);
    TRY(err);
    *out = status;
    return ERR_OK;
}
