/* Checksums of pages and the scrub: any flipped bit of a page in use is found or harmless. */
#include "env/env.h"
#include "env/posix.h"
#include "env/sim.h"
#include "storage/bolt_model.h"
#include "storage/bolt_priv.h"
#include "storage/bolt_scrub.h"
#include "unit.h"

static struct bolt *open_db(struct disk *disk, const char *path, struct bolt_options options)
{
    struct bolt *db = NULL;
    struct errbuf why = {0};
    options.no_freelist_sync = true;
    if (bolt_open(disk, path, &options, &db, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    return db;
}

static void write_some(struct bolt *db, struct model *model, struct model_random *random,
                       const char *mix, int ops)
{
    struct bolt_tx *tx = NULL;
    struct errbuf why = {0};
    assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_OK);
    for (; ops > 0; ops--) {
        model_step_top(random, model_mix_named(mix), model, tx);
    }
    assert_int_equal(bolt_commit(&tx, &why), ERR_OK);
}

static enum err scrub(struct bolt *db, struct bolt_scrub_stats *stats, unsigned *steps,
                      struct errbuf *why)
{
    struct bolt_tx *tx = bolt_read_begin(db);
    struct bolt_scrub *scrub = bolt_scrub_new(tx);
    enum err err = ERR_OK;
    bool is_done = false;
    while (err == ERR_OK && !is_done) {
        err = bolt_scrub_step(scrub, 3, &is_done, why);
        *steps += 1;
    }
    bolt_scrub_stats(scrub, stats);
    bolt_scrub_free(&scrub);
    bolt_read_end(&tx);
    return err;
}

TEST(bolt_seal, every_page_of_ours_has_one_and_scrub_sees_them_all)
{
    static const char *const mixes[] = {"even", "growing", "nested", "tiny"};
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct disk *disk = sim_disk_new();
        struct bolt *db = open_db(disk, "db", (struct bolt_options){.page_size = 1024});
        struct model *model = model_new();
        struct model_random random = {.state = seed};
        for (int i = 0; i < 6; i++) {
            write_some(db, model, &random, mixes[seed % ARRAY_LEN(mixes)], 80);
        }
        struct bolt_scrub_stats stats;
        struct errbuf why = {0};
        unsigned steps = 0;
        struct bolt_tx *tx = bolt_read_begin(db);
        uint64_t *seen = bolt__seen_new(tx);
        uint64_t reached = 0;
        assert_int_equal(bolt__reach(tx, true, seen), ERR_OK);
        for (uint64_t pgno = 2; pgno < tx->meta.hwm; pgno++) {
            reached += bolt__seen_has(seen, pgno);
        }
        mem_free(seen);
        bolt_read_end(&tx);
        assert_int_equal(scrub(db, &stats, &steps, &why), ERR_OK);
        assert_int_equal(stats.pages, reached);
        assert_int_equal(stats.unsealed, 0);
        assert_true(steps > reached / 64);
        model_free(&model);
        bolt_close(&db);
        sim_disk_free(&disk);
    }
}

/* What a reader of a damaged file gets: the rows as they were, or an error. */
static bool is_refused_or_right(struct disk *disk, const struct model *model, bool *is_refused)
{
    struct bolt_options options = {.read_only = true};
    struct bolt *db = NULL;
    struct errbuf why = {0};
    struct bolt_scrub_stats stats;
    unsigned steps = 0;
    if (bolt_open(disk, "db", &options, &db, &why) != ERR_OK) {
        *is_refused = true;
        return true;
    }
    *is_refused = scrub(db, &stats, &steps, &why) != ERR_OK;
    if (*is_refused) {
        assert_non_null(strstr(why.text, "db: "));
    } else {
        struct bolt_tx *tx = bolt_read_begin(db);
        model_compare(model, bolt_root(tx)); /* ASSERTs */
        bolt_read_end(&tx);
    }
    bolt_close(&db);
    return true;
}

TEST(bolt_seal, any_flipped_bit_is_found_or_harmless)
{
    struct disk *disk = sim_disk_new();
    struct bolt *db = open_db(disk, "db", (struct bolt_options){.page_size = 1024});
    struct model *model = model_new();
    struct model *before = NULL;
    struct model_random random = {.state = 11};
    for (int i = 0; i < 4; i++) {
        write_some(db, model, &random, "nested", 40);
    }
    struct bolt_tx *tx = bolt_read_begin(db);
    uint64_t *seen = bolt__seen_new(tx);
    assert_int_equal(bolt__reach(tx, true, seen), ERR_OK);
    uint64_t hwm = tx->meta.hwm;
    bolt_read_end(&tx);
    bolt_close(&db);
    unsigned flips = 0;
    unsigned found = 0;
    for (uint64_t bit = 2 * 1024 * 8; bit < hwm * 1024 * 8; bit += 41) {
        if (!bolt__seen_has(seen, bit / 8 / 1024)) {
            continue;
        }
        struct disk *rotten = sim_disk_clone(disk);
        bool is_refused = false;
        assert_true(sim_disk_flip(rotten, "db", bit / 8, bit % 8));
        assert_true(is_refused_or_right(rotten, model, &is_refused));
        sim_disk_free(&rotten);
        flips++;
        found += is_refused;
    }
    /* In pages in use nothing is harmless: the checksum covers all of them. */
    assert_int_equal(found, flips);
    assert_true(flips > 500);
    mem_free(seen);
    model_free(&before);
    model_free(&model);
    sim_disk_free(&disk);
}

/* Header, elements, seal and first bytes of the keys of one page: every single bit. */
TEST(bolt_seal, no_single_bit_makes_a_sealed_page_look_like_one_of_gos)
{
    struct disk *disk = sim_disk_new();
    struct bolt *db = open_db(disk, "db", (struct bolt_options){.page_size = 1024});
    struct model *model = model_new();
    struct model_random random = {.state = 3};
    write_some(db, model, &random, "growing", 200);
    struct bolt_tx *tx = bolt_read_begin(db);
    struct bolt_page page;
    struct bolt_page parsed;
    const char *problem = NULL;
    uint64_t pgno = tx->meta.root;
    assert_int_equal(bolt__page_get(tx, pgno, &page), ERR_OK);
    assert_int_equal(bolt__seal_check(&page, tx->meta.txid, &problem), SEAL_GOOD);
    uint8_t *copy = mem_dup(page.data, page.len);
    for (size_t bit = 8 * 8; bit < page.len * 8; bit++) {
        copy[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        bool is_page = bolt__page_parse(copy, page.len, &parsed, &problem);
        if (is_page) {
            assert_int_equal(bolt__seal_check(&parsed, tx->meta.txid, &problem), SEAL_BROKEN);
        }
        copy[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    /* A page from the future. */
    assert_int_equal(bolt__seal_check(&page, 0, &problem), SEAL_BROKEN);
    mem_free(copy);
    bolt_read_end(&tx);
    bolt_close(&db);
    model_free(&model);
    sim_disk_free(&disk);
}

TEST(bolt_seal, pages_of_others_are_read_and_sealed_when_they_are_written)
{
    struct disk *disk = sim_disk_new();
    struct bolt *db =
        open_db(disk, "db", (struct bolt_options){.page_size = 1024, .no_checksums = true});
    struct model *model = model_new();
    struct model_random random = {.state = 4};
    struct bolt_scrub_stats all;
    struct bolt_scrub_stats later;
    struct errbuf why = {0};
    unsigned steps = 0;
    for (int i = 0; i < 5; i++) {
        write_some(db, model, &random, "growing", 100);
    }
    assert_int_equal(scrub(db, &all, &steps, &why), ERR_OK);
    assert_true(all.unsealed > 20);
    bolt_close(&db);
    db = open_db(disk, "db", (struct bolt_options){0});
    write_some(db, model, &random, "even", 3);
    assert_int_equal(scrub(db, &later, &steps, &why), ERR_OK);
    assert_true(later.unsealed < all.unsealed);
    assert_true(later.unsealed > 0);
    struct bolt_tx *tx = bolt_read_begin(db);
    assert_int_equal(bolt_check(tx, &why), ERR_OK);
    model_compare(model, bolt_root(tx));
    bolt_read_end(&tx);
    bolt_close(&db);
    model_free(&model);
    sim_disk_free(&disk);
}

/* With a map a page is looked at once, then again when it has been written anew or by a scrub. */
TEST(bolt_seal, a_mapped_page_is_looked_at_once)
{
    struct disk *disk = posix_disk();
    char *path = mem_printf("%s/db", test_dir());
    struct bolt *db = open_db(disk, path, (struct bolt_options){0});
    struct bolt_tx *tx = NULL;
    struct bolt_bucket *bucket = NULL;
    struct slice value;
    struct errbuf why = {0};
    struct bolt_scrub_stats stats;
    unsigned steps = 0;
    assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_OK);
    assert_int_equal(bolt_bucket_ensure(bolt_root(tx), SLICE("b"), &bucket), ERR_OK);
    static const char text[2000] = "value";
    assert_int_equal(bolt_put(bucket, SLICE("k"), slice_of(text, sizeof(text))), ERR_OK);
    assert_int_equal(bolt_commit(&tx, &why), ERR_OK);
    tx = bolt_read_begin(db);
    assert_int_equal(bolt_bucket(bolt_root(tx), SLICE("b"), &bucket), ERR_OK);
    uint64_t pgno = bucket->root;
    assert_false(bolt__looked_at(db->looked, pgno));
    assert_int_equal(bolt_get(bucket, SLICE("k"), &value), ERR_OK);
    assert_true(bolt__looked_at(db->looked, pgno));
    bolt_read_end(&tx);
    /* Rot in memory, which nobody looks for but a scrub. */
    struct file *file = NULL;
    uint8_t byte = 1;
    assert_int_equal(disk_open(disk, path, FILE_READ | FILE_WRITE, &file, &why), ERR_OK);
    assert_int_equal(file_pwrite(file, &byte, 1, (pgno << 12) + 1000, &why), ERR_OK);
    file_close(&file);
    tx = bolt_read_begin(db);
    assert_int_equal(bolt_bucket(bolt_root(tx), SLICE("b"), &bucket), ERR_OK);
    assert_int_equal(bolt_get(bucket, SLICE("k"), &value), ERR_OK);
    bolt_read_end(&tx);
    assert_int_equal(scrub(db, &stats, &steps, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.text, "does not have the checksum that was written with it"));
    bolt_close(&db);
    db = open_db(disk, path, (struct bolt_options){.read_only = true});
    tx = bolt_read_begin(db);
    assert_int_equal(bolt_bucket(bolt_root(tx), SLICE("b"), &bucket), ERR_OK);
    assert_int_equal(bolt_get(bucket, SLICE("k"), &value), ERR_CORRUPT);
    bolt_read_end(&tx);
    bolt_close(&db);
    mem_free(path);
}
