/* Any bytes as a database file that is copied, goes on, rots, and is caught up with: bolt_sync must
 * end with an error and a sentence, or with a target that holds what the state holds; never in a
 * crash, and whatever the source is made of, what it writes is a whole file.
 *
 * Input: one byte of options, one that says how many of the last bytes are damage, the file, and
 * the damage: four bytes each, where (two) and what, into the file behind its meta pages.
 *
 *   1  magic, version, page size and checksum of the meta pages are mended, so that mutations get
 * past 2  the source's new pages carry no checksums, so that damage gets past 4  small steps */
#include "base/digest.h"
#include "base/mem.h"
#include "storage/bolt_double.h"
#include "storage/bolt_hostile.h"
#include "storage/bolt_priv.h"
#include "storage/bolt_sync.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    PAGE_LEN = 1024,
    FILE_LEN_MAX = 1 << 18,
    STEPS_MAX = 500,  /* in a damaged tree the way to the end may be as long as it likes */
    ROWS_MAX = 20000, /* that are compared */
};

/* ---- what two states hold ------------------------------------------------------------------- */

static void compare(struct bolt_bucket *left, struct bolt_bucket *right, unsigned *rows)
{
    struct bolt_cursor cursors[2];
    struct bolt_item a;
    struct bolt_item b;
    ASSERT(bolt_bucket_sequence(left) == bolt_bucket_sequence(right));
    bolt_cursor_init(&cursors[0], left);
    bolt_cursor_init(&cursors[1], right);
    enum err err = bolt_cursor_first(&cursors[0], &a);
    enum err other = bolt_cursor_first(&cursors[1], &b);
    while (err == ERR_OK && *rows < ROWS_MAX) {
        ++*rows;
        ASSERT(other == ERR_OK);
        ASSERT(slice_eq(a.key, b.key));
        ASSERT(a.is_bucket == b.is_bucket);
        ASSERT(slice_eq(a.value, b.value));
        if (a.is_bucket) {
            struct bolt_bucket *inner[2] = {NULL};
            ASSERT(bolt_bucket(left, a.key, &inner[0]) == ERR_OK);
            ASSERT(bolt_bucket(right, b.key, &inner[1]) == ERR_OK);
            compare(inner[0], inner[1], rows);
        }
        err = bolt_cursor_next(&cursors[0], &a);
        other = bolt_cursor_next(&cursors[1], &b);
    }
    ASSERT(*rows >= ROWS_MAX || (err == ERR_NOT_FOUND && other == ERR_NOT_FOUND));
}

static bool is_whole(struct bolt_tx *tx)
{
    struct errbuf why = {0};
    return bolt_check(tx, &why) == ERR_OK;
}

/* ---- bringing a target there ------------------------------------------------------------------
 */

/* True when it was brought there. */
static bool bring(struct bolt_tx *from, struct bolt_tx *to, struct bolt *target, uint64_t budget)
{
    struct errbuf why = {0};
    struct bolt_sync *sync = bolt_sync_new(from, to, 90);
    bool is_done = false;
    enum err err = ERR_OK;
    for (unsigned i = 0; i < STEPS_MAX && err == ERR_OK && !is_done; i++) {
        err = bolt_sync_step(sync, target, budget, &is_done, &why);
        if (err == ERR_OK) {
            bolt__db_check(target);
        }
    }
    bolt_sync_free(&sync);
    ASSERT(err == ERR_OK || why.text[0] != '\0');
    return err == ERR_OK && is_done;
}

static void holds(struct bolt *target, struct bolt_tx *to)
{
    unsigned rows = 0;
    struct bolt_tx *tx = bolt_read_begin(target);
    compare(bolt_root(to), bolt_root(tx), &rows);
    bolt_read_end(&tx);
}

static void go_on(struct bolt *source, uint64_t seed)
{
    struct errbuf why = {0};
    struct bolt_tx *tx = NULL;
    ASSERT(bolt_write_begin(source, &tx, &why) == ERR_OK);
    bolt_hostile_change(tx, seed);
    (void)!bolt_commit(&tx, &why);
}

/* True when some byte is another one now. */
static bool rot(struct buf *file, struct slice damage)
{
    uint64_t before = fnv1a64(file->data, file->len);
    for (; damage.len >= 4; damage = slice_skip(damage, 4)) {
        size_t at = 2 * PAGE_LEN + get_le16(damage.data);
        if (at + 2 <= file->len) {
            memcpy(file->data + at, damage.data + 2, 2);
        }
    }
    return fnv1a64(file->data, file->len) != before;
}

static void play(struct bolt_double *disk, struct bolt *source, struct bolt *target,
                 struct slice damage, uint64_t budget)
{
    struct bolt_tx *from = bolt_read_begin(source);
    bool was_whole = is_whole(from);
    bool is_there = bring(NULL, from, target, budget);
    ASSERT(is_there || !was_whole);
    if (is_there && was_whole) {
        holds(target, from);
    }
    if (is_there) {
        go_on(source, fnv1a64(disk->live.data, disk->live.len));
        bool has_rotted = rot(&disk->live, damage);
        struct bolt_tx *to = bolt_read_begin(source);
        bool is_sound = was_whole && is_whole(to);
        is_there = bring(from, to, target, budget);
        ASSERT(is_there || !is_sound);
        if (is_there && is_sound && !has_rotted) { /* a page that both have is not read again */
            holds(target, to);
        }
        bolt_read_end(&to);
    }
    bolt_read_end(&from);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > FILE_LEN_MAX) {
        return 0;
    }
    struct bolt_double *disk = bolt_double_new();
    struct bolt_double *other = bolt_double_new();
    struct bolt_options options = {
        .no_freelist_sync = true, .no_sync = true, .no_checksums = (data[0] & 2) != 0};
    struct bolt_options fresh = {.no_freelist_sync = true, .no_sync = true, .page_size = PAGE_LEN};
    struct bolt *source = NULL;
    struct bolt *target = NULL;
    struct errbuf why = {0};
    size_t rotten = data[1] < size - 2 ? data[1] : size - 2;
    buf_append(&disk->live, data + 2, size - 2 - rotten);
    if ((data[0] & 1) != 0) {
        bolt_hostile_mend(&disk->live, PAGE_LEN);
    }
    if (bolt_open(&disk->disk, disk->path, &options, &source, &why) == ERR_OK) {
        ASSERT(bolt_open(&other->disk, other->path, &fresh, &target, &why) == ERR_OK);
        play(disk, source, target, slice_of(data + size - rotten, rotten),
             (data[0] & 4) != 0 ? 200 : 100000);
    } else {
        ASSERT(why.text[0] != '\0');
    }
    bolt_close(&source);
    bolt_close(&target);
    bolt_double_free(&disk);
    bolt_double_free(&other);
    return 0;
}
