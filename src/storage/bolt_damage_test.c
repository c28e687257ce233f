/* Damaged files: an error that names file and page, or the other meta's state, never a crash. */
#include "unit.h"

#include "base/digest.h"
#include "storage/bolt_double.h"
#include "storage/bolt_priv.h"

#include <stdio.h>

#define PAGE 1024u

static struct bolt *open_double(struct bolt_double *d, struct bolt_options options)
{
    struct bolt *db = NULL;
    struct errbuf why = {0};
    enum err err = bolt_open(&d->disk, d->path, &options, &db, &why);
    if (err != ERR_OK) {
        fail_msg("%s: %s", err_name(err), why.text);
    }
    return db;
}

static void commit(struct bolt_tx **tx)
{
    struct errbuf why = {0};
    if (bolt_commit(tx, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
}

static void put_rows(struct bolt *db, int from, int to)
{
    struct bolt_tx *tx = NULL;
    struct bolt_bucket *b = NULL;
    assert_int_equal(bolt_write_begin(db, &tx, NULL), ERR_OK);
    assert_int_equal(bolt_bucket_ensure(bolt_root(tx), SLICE("b"), &b), ERR_OK);
    for (int i = from; i < to; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%06d", i);
        assert_int_equal(bolt_put(b, slice_str(key), SLICE("0123456789012345678901234567")),
                         ERR_OK);
    }
    commit(&tx);
}

/* Pages of the file that make_file() made. */
struct places {
    uint64_t meta;     /* the newer one */
    uint64_t root;     /* of the root bucket: a leaf */
    uint64_t branch;   /* the root of bucket "b" */
    uint64_t leaf;     /* the second child of it */
    uint64_t freelist; /* BOLT_NO_FREELIST without */
};

static struct places places_of(struct bolt *db)
{
    struct bolt_tx *tx = bolt_read_begin(db);
    struct bolt_bucket *b = NULL;
    struct bolt_page page;
    struct bolt_elem elem;
    assert_int_equal(bolt_bucket(bolt_root(tx), SLICE("b"), &b), ERR_OK);
    assert_int_equal(bolt__page_get(tx, b->root, &page), ERR_OK);
    assert_false(page.is_leaf);
    assert_true(bolt__page_elem(&page, 1, &elem));
    struct places places = {.meta = tx->meta.txid % 2,
                            .root = tx->meta.root,
                            .branch = b->root,
                            .leaf = elem.pgno,
                            .freelist = tx->meta.freelist};
    bolt_read_end(&tx);
    return places;
}

/* Two levels in bucket "b", free pages, nothing else. */
static struct bolt_double *make_file(bool no_freelist, struct places *out)
{
    struct bolt_double *d = bolt_double_new();
    struct bolt *db = open_double(d, (struct bolt_options){.page_size = PAGE,
                                                           .no_checksums = true,
                                                           .no_freelist_sync = no_freelist});
    put_rows(db, 0, 100);
    put_rows(db, 50, 200);
    *out = places_of(db);
    bolt_close(&db);
    return d;
}

static uint8_t *at(struct bolt_double *d, uint64_t pgno, size_t offset)
{
    ASSERT(pgno * PAGE + offset + 8 <= d->live.len);
    return d->live.data + pgno * PAGE + offset;
}

static void mend_checksum(struct bolt_double *d, uint64_t pgno)
{
    put_le64(at(d, pgno, PAGE_HEADER_LEN + 56), fnv1a64(at(d, pgno, PAGE_HEADER_LEN), 56));
}

/* Opening, or else the check, fails with ERR_CORRUPT and exactly this sentence. */
static void assert_damage(struct bolt_double **d, const char *sentence)
{
    struct bolt *db = NULL;
    struct errbuf why = {0};
    struct bolt_options options = {0};
    enum err err = bolt_open(&(*d)->disk, (*d)->path, &options, &db, &why);
    if (err == ERR_OK) {
        struct bolt_tx *tx = bolt_read_begin(db);
        err = bolt_check(tx, &why);
        bolt_read_end(&tx);
        bolt_close(&db);
    }
    assert_int_equal(err, ERR_CORRUPT);
    assert_string_equal(why.text, sentence);
    bolt_double_free(d);
}

static const char *text(const char *format, uint64_t pgno)
{
    static char out[200];
    char *number = mem_printf("%llu", (unsigned long long)pgno);
    const char *mark = strchr(format, '#');
    snprintf(out, sizeof(out), "%.*s%s%s", (int)(mark - format), format, number, mark + 1);
    mem_free(number);
    return out;
}

TEST(bolt_damage, what_is_no_database_is_said_so)
{
    struct bolt_double *d = bolt_double_new();
    buf_append_str(&d->live, "SQLite format 3");
    assert_damage(&d, "db: no valid meta page: not a bolt file, or damaged");
    struct places p;
    d = make_file(false, &p);
    put_le32(at(d, 0, 16), 1);
    put_le32(at(d, 1, 16), 1);
    assert_damage(&d, "db: no valid meta page: not a bolt file, or damaged");
}

TEST(bolt_damage, a_torn_meta_page_gives_the_state_before)
{
    struct places p;
    struct bolt_double *d = make_file(false, &p);
    *at(d, p.meta, PAGE_HEADER_LEN + 20) ^= 1;
    struct bolt *db = open_double(d, (struct bolt_options){.no_checksums = true});
    struct bolt_tx *tx = bolt_read_begin(db);
    struct bolt_bucket *b = NULL;
    struct slice value;
    assert_int_equal(bolt_tx_id(tx), 2);
    assert_int_equal(bolt_bucket(bolt_root(tx), SLICE("b"), &b), ERR_OK);
    assert_int_equal(bolt_get(b, SLICE("000099"), &value), ERR_OK);
    assert_int_equal(bolt_get(b, SLICE("000100"), &value), ERR_NOT_FOUND);
    bolt_read_end(&tx);
    /* And the next commit goes where the torn one is, not over the good one. */
    put_rows(db, 300, 301);
    bolt_close(&db);
    struct bolt_meta metas[2];
    assert_true(bolt__meta_decode(at(d, 0, 0), &metas[0]));
    assert_true(bolt__meta_decode(at(d, 1, 0), &metas[1]));
    assert_int_equal(metas[p.meta].txid, 3);
    assert_int_equal(metas[1 - p.meta].txid, 2);
    bolt_double_free(&d);
}

TEST(bolt_damage, a_file_cut_short_is_not_taken_for_an_older_one)
{
    struct places p;
    struct bolt_double *d = make_file(false, &p);
    uint64_t hwm = get_le64(at(d, p.meta, PAGE_HEADER_LEN + 40));
    d->live.len = (hwm - 1) * PAGE + 100;
    char sentence[100];
    snprintf(sentence, sizeof(sentence), "db: is %llu pages long, but its meta page tells of %llu",
             (unsigned long long)hwm - 1, (unsigned long long)hwm);
    assert_damage(&d, sentence);
}

TEST(bolt_damage, impossible_numbers_in_the_meta_page_are_refused)
{
    static const struct {
        size_t offset;
        uint64_t value;
        const char *sentence;
    } cases[] = {
        {16, 1, "db: meta page: root page 1 is impossible"},
        {16, UINT64_MAX, "db: meta page: root page 18446744073709551615 is impossible"},
        {32, 0, "db: meta page: freelist page 0 is impossible"},
        {32, 1 << 20, "db: meta page: freelist page 1048576 is impossible"},
        {48, UINT64_MAX, "db: meta page: transaction id 18446744073709551615 is impossible"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct places p;
        struct bolt_double *d = make_file(false, &p);
        put_le64(at(d, p.meta, PAGE_HEADER_LEN + cases[i].offset), cases[i].value);
        mend_checksum(d, p.meta);
        assert_damage(&d, cases[i].sentence);
    }
}

TEST(bolt_damage, damaged_pages_are_named)
{
    struct places p;
    struct bolt_double *d = make_file(true, &p);
    put_le64(at(d, p.leaf, 0), 77);
    assert_damage(&d, text("db: page # says it is page 77", p.leaf));

    d = make_file(true, &p);
    put_le16(at(d, p.leaf, 8), 0x40);
    assert_damage(&d, text("db: page # is neither a branch nor a leaf", p.leaf));

    d = make_file(true, &p);
    put_le16(at(d, p.leaf, 10), 64);
    assert_damage(&d, text("db: page # has more elements than fit", p.leaf));

    d = make_file(true, &p);
    put_le32(at(d, p.leaf, 12), UINT32_MAX);
    assert_damage(&d, text("db: page # reaches over the high-water mark", p.leaf));

    d = make_file(true, &p);
    put_le16(at(d, p.branch, 10), 0);
    assert_damage(&d, text("db: page # is a branch without children", p.branch));

    d = make_file(true, &p);
    put_le32(at(d, p.leaf, 16 + 4), 5000);
    assert_damage(&d, text("db: page # has its first key in an impossible place", p.leaf));

    d = make_file(true, &p);
    put_le32(at(d, p.leaf, 16 + 12), UINT32_MAX);
    assert_damage(&d, text("db: page # has an element outside of the page", p.leaf));

    d = make_file(true, &p);
    put_le32(at(d, p.leaf, 16 + 8), 0);
    assert_damage(&d, text("db: page # has a key of impossible length", p.leaf));
}

/* One byte is inside or outside. */
TEST(bolt_damage, an_element_may_reach_to_the_last_byte_of_its_page)
{
    for (uint32_t over = 0; over < 2; over++) {
        struct places p;
        struct bolt_double *d = make_file(true, &p);
        uint32_t last = get_le16(at(d, p.leaf, 10)) - 1u;
        size_t offset = PAGE_HEADER_LEN + last * ELEM_LEN;
        uint8_t *elem = at(d, p.leaf, offset);
        uint32_t room = PAGE - (uint32_t)offset - get_le32(elem + 4) - get_le32(elem + 8);
        put_le32(elem + 12, room + over);
        if (over == 1) {
            assert_damage(&d, text("db: page # has an element outside of the page", p.leaf));
            continue;
        }
        struct bolt *db = open_double(d, (struct bolt_options){.no_checksums = true});
        struct bolt_tx *tx = bolt_read_begin(db);
        assert_int_equal(bolt_check(tx, NULL), ERR_OK);
        bolt_read_end(&tx);
        bolt_close(&db);
        bolt_double_free(&d);
    }
    struct places p;
    struct bolt_double *d = make_file(true, &p);
    uint32_t last = get_le16(at(d, p.branch, 10)) - 1u;
    size_t offset = PAGE_HEADER_LEN + last * ELEM_LEN;
    uint8_t *elem = at(d, p.branch, offset);
    put_le32(elem + 4, PAGE - (uint32_t)offset - get_le32(elem) + 1);
    assert_damage(&d, text("db: page # has an element outside of the page", p.branch));
}

TEST(bolt_damage, a_tree_of_the_wrong_shape_is_named)
{
    struct places p;
    /* A child that is out of bounds, is the page itself, or is there twice. */
    struct bolt_double *d = make_file(true, &p);
    put_le64(at(d, p.branch, 16 + 16 + 8), UINT64_MAX);
    uint64_t hwm = get_le64(at(d, p.meta, PAGE_HEADER_LEN + 40));
    assert_damage(&d,
                  text("db: page 18446744073709551615 is referred to, outside of 2..#", hwm - 1));

    d = make_file(true, &p);
    put_le64(at(d, p.branch, 16 + 16 + 8), p.branch);
    assert_damage(&d, text("db: page # is reached twice", p.branch));

    d = make_file(true, &p);
    put_le64(at(d, p.branch, 16 + 8), p.leaf);
    assert_damage(&d, text("db: page # is reached twice", p.leaf));

    /* Keys: swapped, or not what the branch says. */
    d = make_file(true, &p);
    uint8_t *elem = at(d, p.leaf, 16);
    uint8_t *key = elem + get_le32(elem + 4);
    key[5]++;
    key[0] = '9';
    assert_damage(&d, text("db: page # has a key outside of what its branch says", p.leaf));

    d = make_file(true, &p);
    elem = at(d, p.leaf, 16 + 16);
    key = elem + get_le32(elem + 4);
    key[0] = '!';
    assert_damage(&d, text("db: page # has keys out of order", p.leaf));

    /* A plain value where only buckets can be, and a bucket with a broken header. */
    d = make_file(true, &p);
    put_le32(at(d, p.root, 16), 0);
    assert_damage(&d, text("db: page # has a plain value at the top level", p.root));

    d = make_file(true, &p);
    put_le32(at(d, p.root, 16 + 12), 15);
    assert_damage(&d, "db: a bucket's value is shorter than its header");

    d = make_file(true, &p);
    elem = at(d, p.root, 16);
    put_le64(elem + get_le32(elem + 4) + get_le32(elem + 8), 0);
    assert_damage(&d, "db: a bucket's inline page is shorter than a page header");
}

TEST(bolt_damage, a_damaged_freelist_is_named)
{
    struct places p;
    struct bolt_double *d = make_file(false, &p);
    assert_true(get_le16(at(d, p.freelist, 10)) >= 3);
    put_le16(at(d, p.freelist, 8), PAGE_LEAF);
    assert_damage(&d, text("db: page # is not a freelist", p.freelist));

    d = make_file(false, &p);
    put_le16(at(d, p.freelist, 10), 2000);
    assert_damage(&d, text("db: page # is a freelist of more pages than fit", p.freelist));

    d = make_file(false, &p);
    put_le16(at(d, p.freelist, 10), FREELIST_COUNT_LONG);
    put_le64(at(d, p.freelist, 16), UINT64_MAX / 8);
    assert_damage(&d, text("db: page # is a freelist of more pages than fit", p.freelist));

    d = make_file(false, &p);
    put_le64(at(d, p.freelist, 16 + 8), 1);
    assert_damage(&d, text("db: page # is a freelist with ids out of order or bounds", p.freelist));

    d = make_file(false, &p);
    put_le16(at(d, p.freelist, 10), 1);
    put_le64(at(d, p.freelist, 16), p.freelist);
    assert_damage(&d, text("db: page # is a freelist that lists itself", p.freelist));

    d = make_file(false, &p);
    put_le16(at(d, p.freelist, 10), 1);
    put_le64(at(d, p.freelist, 16), p.leaf);
    assert_damage(&d, text("db: page # is in use and free at the same time", p.leaf));

    d = make_file(false, &p);
    uint64_t first = get_le64(at(d, p.freelist, 16));
    uint16_t count = get_le16(at(d, p.freelist, 10));
    memmove(at(d, p.freelist, 16), at(d, p.freelist, 24), ((size_t)count - 1) * 8);
    put_le16(at(d, p.freelist, 10), (uint16_t)(count - 1));
    assert_damage(&d, text("db: page # is neither in use nor free", first));
}

/* Damage met in the middle of a write transaction makes its commit impossible, and only that. */
TEST(bolt_damage, a_write_transaction_that_meets_damage_cannot_commit)
{
    struct places p;
    struct bolt_double *d = make_file(false, &p);
    put_le64(at(d, p.leaf, 0), 77);
    struct bolt *db = open_double(d, (struct bolt_options){.no_checksums = true});
    struct bolt_tx *tx = NULL;
    struct bolt_bucket *b = NULL;
    struct bolt_page page;
    struct errbuf why = {0};
    assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_OK);
    assert_int_equal(bolt_bucket(bolt_root(tx), SLICE("b"), &b), ERR_OK);
    assert_int_equal(bolt__page_get(tx, b->root, &page), ERR_OK);
    struct slice key;
    assert_true(bolt__page_key(&page, 1, &key));
    assert_int_equal(bolt_put(b, key, SLICE("v")), ERR_CORRUPT);
    assert_string_equal(bolt_tx_why(tx), text("db: page # says it is page 77", p.leaf));
    assert_int_equal(bolt_put(b, SLICE(""), SLICE("v")), ERR_INVALID);
    assert_int_equal(bolt_commit(&tx, &why), ERR_CORRUPT);
    assert_null(tx);
    assert_string_equal(why.text, text("db: page # says it is page 77", p.leaf));
    assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_OK);
    assert_int_equal(bolt_bucket_ensure(bolt_root(tx), SLICE("other"), &b), ERR_OK);
    commit(&tx);
    bolt_close(&db);
    bolt_double_free(&d);
}

/* Every byte of every page in use set to several values: no crash, and what the check passes can
 * be read and written. Twin of the fuzz target, for those who have no libFuzzer. */
TEST(bolt_damage, any_single_byte)
{
    struct places p;
    struct bolt_double *good = make_file(false, &p);
    uint64_t pages[] = {p.meta, p.root, p.branch, p.leaf, p.freelist};
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0xff};
    for (size_t i = 0; i < ARRAY_LEN(pages) * 160 * ARRAY_LEN(values); i++) {
        size_t offset = i / ARRAY_LEN(values) % 160;
        uint64_t pgno = pages[i / ARRAY_LEN(values) / 160];
        struct bolt_double *d = bolt_double_new();
        buf_append_slice(&d->live, buf_slice(&good->live));
        *at(d, pgno, offset) = values[i % ARRAY_LEN(values)];
        if (pgno == p.meta) {
            mend_checksum(d, pgno);
        }
        struct bolt *db = NULL;
        struct errbuf why = {0};
        struct bolt_options options = {0};
        if (bolt_open(&d->disk, d->path, &options, &db, &why) == ERR_OK) {
            struct bolt_tx *tx = bolt_read_begin(db);
            bool is_whole = bolt_check(tx, &why) == ERR_OK;
            bolt_read_end(&tx);
            assert_int_equal(bolt_write_begin(db, &tx, NULL), ERR_OK);
            (void)!bolt_bucket_drop(bolt_root(tx), SLICE("b"));
            enum err err = bolt_commit(&tx, &why);
            assert_true(!is_whole || err == ERR_OK);
            bolt_close(&db);
        }
        bolt_double_free(&d);
    }
    bolt_double_free(&good);
}

/* ---- free pages, by themselves ----------------------------------------------------------------
 */

TEST(bolt_free, the_lowest_run_that_fits_is_taken)
{
    struct bolt_free f;
    uint64_t pgno = 0;
    bolt__free_init(&f);
    /* Free: 5, 10-12, 62-66 (over a word's edge), 9000-9999. */
    assert_true(bolt__free_load(&f, 5, 1));
    assert_true(bolt__free_load(&f, 10, 3));
    assert_true(bolt__free_load(&f, 62, 5));
    assert_true(bolt__free_load(&f, 9000, 1000));
    assert_false(bolt__free_load(&f, 11, 1));
    bolt__free_begin(&f, 0);
    assert_true(bolt__free_take(&f, 4, &pgno));
    assert_int_equal(pgno, 62);
    assert_true(bolt__free_take(&f, 3, &pgno)); /* fewer: from the start again */
    assert_int_equal(pgno, 10);
    assert_true(bolt__free_take(&f, 1, &pgno));
    assert_int_equal(pgno, 5);
    assert_true(bolt__free_take(&f, 1, &pgno));
    assert_int_equal(pgno, 66);
    assert_true(bolt__free_take(&f, 999, &pgno));
    assert_int_equal(pgno, 9000);
    assert_false(bolt__free_take(&f, 2, &pgno));
    assert_true(bolt__free_take(&f, 1, &pgno));
    assert_int_equal(pgno, 9999);
    assert_false(bolt__free_take(&f, 1, &pgno));
    assert_int_equal(bolt__free_count(&f), 0);
    bolt__free_rollback(&f, 7);
    bolt__free_check(&f);
    assert_int_equal(bolt__free_count(&f), 1009);
    bolt__free_fini(&f);
}

TEST(bolt_free, what_is_freed_waits_for_its_readers)
{
    struct bolt_free f;
    uint64_t pgno = 0;
    bolt__free_init(&f);
    bolt__free_begin(&f, 1);
    assert_true(bolt__free_add(&f, 2, 100, 2));
    assert_false(bolt__free_add(&f, 2, 101, 1));
    bolt__free_commit(&f);
    bolt__free_begin(&f, 1); /* a reader still has transaction 1 */
    assert_false(bolt__free_take(&f, 1, &pgno));
    assert_true(bolt__free_add(&f, 3, 50, 1));
    assert_true(bolt__free_has(&f, 100));
    bolt__free_rollback(&f, 3);
    assert_false(bolt__free_has(&f, 50));
    assert_true(bolt__free_has(&f, 100));
    bolt__free_check(&f);
    bolt__free_begin(&f, 2);
    assert_true(bolt__free_take(&f, 2, &pgno));
    assert_int_equal(pgno, 100);
    bolt__free_commit(&f);
    bolt__free_check(&f);
    assert_int_equal(bolt__free_count(&f), 0);
    bolt__free_fini(&f);
}
