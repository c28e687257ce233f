/* Any bytes as a script of operations, on a database and on the model: they must agree. After
 * each commit the whole file is checked. */
#include "storage/bolt_double.h"
#include "storage/bolt_model.h"
#include "storage/bolt_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PINS = 4, SCRIPT_MAX = 8192 };

struct world {
    struct bolt_double *disk;
    struct bolt_options options;
    struct bolt *db;
    struct bolt_tx *tx;
    struct model *committed;
    struct model *changing;
    struct bolt_tx *pins[PINS];
    struct model *pin_models[PINS];
};

static void open_db(struct world *w)
{
    struct errbuf why = {0};
    ASSERT(bolt_open(&w->disk->disk, w->disk->path, &w->options, &w->db, &why) == ERR_OK);
}

static void begin(struct world *w)
{
    ASSERT(bolt_write_begin(w->db, &w->tx, NULL) == ERR_OK);
    w->changing = model_clone(w->committed);
}

static void check(struct world *w)
{
    struct bolt_tx *tx = bolt_read_begin(w->db);
    ASSERT(bolt_check(tx, NULL) == ERR_OK);
    model_compare(w->committed, bolt_root(tx));
    bolt_read_end(&tx);
    bolt__db_check(w->db);
}

static void end(struct world *w, bool is_commit)
{
    model_compare(w->changing, bolt_root(w->tx));
    if (is_commit) {
        ASSERT(bolt_commit(&w->tx, NULL) == ERR_OK);
        model_free(&w->committed);
        w->committed = w->changing;
        w->changing = NULL;
    } else {
        bolt_rollback(&w->tx);
        model_free(&w->changing);
    }
    check(w);
}

static void unpin(struct world *w, size_t i)
{
    if (w->pins[i] != NULL) {
        model_compare(w->pin_models[i], bolt_root(w->pins[i]));
        ASSERT(bolt_check(w->pins[i], NULL) == ERR_OK);
        bolt_read_end(&w->pins[i]);
        model_free(&w->pin_models[i]);
    }
}

static void pin(struct world *w, size_t i)
{
    if (w->pins[i] != NULL) {
        unpin(w, i);
        return;
    }
    w->pins[i] = bolt_read_begin(w->db);
    w->pin_models[i] = model_clone(w->committed);
}

static void close_db(struct world *w)
{
    for (size_t i = 0; i < PINS; i++) {
        unpin(w, i);
    }
    bolt_close(&w->db);
}

static void step(struct world *w, struct model_random *random)
{
    switch (model_random_below(random, 16)) {
    case 0:
        end(w, true);
        begin(w);
        break;
    case 1:
        end(w, false);
        begin(w);
        break;
    case 2:
        pin(w, (size_t)model_random_below(random, PINS));
        break;
    case 3:
        end(w, true);
        close_db(w);
        w->options.no_freelist_sync = !w->options.no_freelist_sync;
        open_db(w);
        check(w);
        begin(w);
        break;
    case 4:
        model_step_top(random, model_mix_named("even"), w->changing, w->tx);
        break;
    case 5:
        model_step_top(random, model_mix_named("shrinking"), w->changing, w->tx);
        break;
    default:
        model_step_top(random, model_mix_named("tiny"), w->changing, w->tx);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > SCRIPT_MAX) {
        return 0;
    }
    struct model_random random = {.script = slice_of(data + 1, size - 1)};
    struct world w = {.disk = bolt_double_new(),
                      .options = {.no_sync = true,
                                  .no_freelist_sync = (data[0] & 1) != 0,
                                  .page_size = 1024u << (data[0] >> 1) % 3},
                      .committed = model_new()};
    open_db(&w);
    begin(&w);
    while (random.script.len >= 2) {
        step(&w, &random);
    }
    end(&w, true);
    close_db(&w);
    model_free(&w.committed);
    bolt_double_free(&w.disk);
    return 0;
}
