/* Our side of the exchange test with Go's bbolt, and a tool to look into a database file.
 *
 *   bolt_dump check FILE              bolt_check()
 *   bolt_dump dump FILE               all buckets as text
 *   bolt_dump make FILE SEED KIND     a new file by random changes; prints what the model holds
 *   bolt_dump change FILE SEED KIND   random changes to a file that is there; prints the result
 *
 * The text: "sequence N", then a line a row, "row KEY VALUE" in hexadecimal; a bucket inside is
 * "bucket NAME", its text, "end". KIND is one of model_kinds. */
#include "base/mem.h"
#include "env/posix.h"
#include "storage/bolt_model.h"

#include <stdio.h>
#include <stdlib.h>

static void must(enum err err, const struct errbuf *why)
{
    if (err != ERR_OK) {
        fprintf(stderr, "%s: %s\n", err_name(err), why->text);
        exit(1);
    }
}

static void print_hex(struct slice bytes)
{
    struct buf text = {0};
    buf_append_hex(&text, bytes);
    fputs(buf_cstr(&text), stdout);
    buf_fini(&text);
}

static void print_row(struct slice key, struct slice value)
{
    fputs("row ", stdout);
    print_hex(key);
    putchar(' ');
    print_hex(value);
    putchar('\n');
}

static void print_bucket(struct slice name)
{
    fputs("bucket ", stdout);
    print_hex(name);
    putchar('\n');
}

static void print_model(const struct model *model)
{
    printf("sequence %llu\n", (unsigned long long)model->sequence);
    for (size_t i = 0; i < model->count; i++) {
        const struct model_row *row = &model->rows[i];
        if (row->bucket == NULL) {
            print_row(row->key, row->value);
            continue;
        }
        print_bucket(row->key);
        print_model(row->bucket);
        puts("end");
    }
}

/* Reads a whole bucket into a model. */
static struct model *load(struct bolt_tx *tx, struct bolt_bucket *bucket)
{
    struct model *model = model_new();
    struct errbuf why = {0};
    struct bolt_cursor cursor;
    struct bolt_item item;
    bolt_cursor_init(&cursor, bucket);
    enum err err = bolt_cursor_first(&cursor, &item);
    for (; err == ERR_OK; err = bolt_cursor_next(&cursor, &item)) {
        model_put(model, item.key, item.value);
        if (item.is_bucket) {
            struct bolt_bucket *inner = NULL;
            (void)errf(&why, ERR_OK, "%s", bolt_tx_why(tx));
            must(bolt_bucket(bucket, item.key, &inner), &why);
            model->rows[model->count - 1].bucket = load(tx, inner);
        }
    }
    if (err != ERR_NOT_FOUND) {
        must(errf(&why, err, "%s", bolt_tx_why(tx)), &why);
    }
    model->sequence = bolt_bucket_sequence(bucket);
    return model;
}

static struct model *load_all(struct bolt *db)
{
    struct bolt_tx *tx = bolt_read_begin(db);
    struct model *model = load(tx, bolt_root(tx));
    bolt_read_end(&tx);
    return model;
}

static void check(struct bolt *db)
{
    struct errbuf why = {0};
    struct bolt_tx *tx = bolt_read_begin(db);
    must(bolt_check(tx, &why), &why);
    bolt_read_end(&tx);
}

static void change(struct bolt *db, struct model_random *random, const struct model_mix *mix)
{
    struct errbuf why = {0};
    struct model *model = load_all(db);
    for (uint64_t txns = 5 + model_random_below(random, 20); txns > 0; txns--) {
        struct bolt_tx *tx = NULL;
        must(bolt_write_begin(db, &tx, &why), &why);
        for (uint64_t n = model_random_below(random, 400); n > 0; n--) {
            model_step_top(random, mix, model, tx);
        }
        must(bolt_commit(&tx, &why), &why);
    }
    check(db);
    print_model(model);
    model_free(&model);
}

int main(int argc, char **argv)
{
    struct errbuf why = {0};
    if (argc != 3 && argc != 5) {
        fprintf(stderr, "usage: bolt_dump check|dump|make|change FILE [SEED KIND]\n");
        return 2;
    }
    bool is_change = argc == 5;
    struct model_random random = {.state = is_change ? strtoull(argv[3], NULL, 10) : 0};
    const struct model_mix *mix = is_change ? model_mix_named(argv[4]) : NULL;
    if (is_change && mix == NULL) {
        fprintf(stderr, "no such kind: %s\n", argv[4]);
        return 2;
    }
    struct bolt_options options = {.read_only = !is_change, .no_sync = true};
    if (is_change) {
        options.no_freelist_sync = random.state % 2 == 0;
        options.no_map = random.state % 5 == 0;
        options.page_size = 1024u << random.state % 4;
        options.initial_map_size = random.state % 7 == 0 ? (uint64_t)1 << 32 : 0;
    }
    struct bolt *db = NULL;
    must(bolt_open(posix_disk(), argv[2], &options, &db, &why), &why);
    if (is_change) {
        change(db, &random, mix);
    } else if (strcmp(argv[1], "check") == 0) {
        check(db);
    } else {
        struct model *model = load_all(db);
        print_model(model);
        model_free(&model);
    }
    bolt_close(&db);
    return 0;
}
