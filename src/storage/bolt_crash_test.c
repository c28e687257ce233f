/* Crashes and failing disks: whatever happens at whatever call, the file holds exactly the last
 * committed state, or the one whose commit was under way. */
#include "unit.h"

#include "env/env.h"
#include "storage/bolt_model.h"
#include "storage/bolt_priv.h"

#include <stdio.h>

#define SECTOR 512u

/* ---- a disk of one file, in memory --------------------------------------------------------- */

/* What was written since the last sync may or may not survive a crash, each sector on its own. */
struct pending {
    uint64_t offset;
    uint64_t len;
};
struct crash_disk {
    struct disk disk;
    struct file file;
    char path[8];
    struct buf live;    /* what reads see */
    struct buf durable; /* what a sync has promised */
    struct pending pending[256];
    size_t pending_count;
    uint64_t calls;   /* that change something, so far */
    uint64_t fail_at; /* this call fails, and is half done */
    bool is_dead;     /* after that one, all fail: a crash; else only that one */
    enum err failure;
};

static struct crash_disk *disk_of(struct file *file)
{
    return CONTAINER_OF(file, struct crash_disk, file);
}

/* True when this call is to fail. */
static bool strikes(struct crash_disk *d)
{
    uint64_t call = d->calls++;
    return call == d->fail_at || (d->is_dead && call > d->fail_at);
}

static enum err cd_open(struct disk *disk, const char *path, unsigned flags, struct file **out,
                        struct errbuf *why)
{
    UNUSED(path);
    UNUSED(flags);
    UNUSED(why);
    *out = &CONTAINER_OF(disk, struct crash_disk, disk)->file;
    return ERR_OK;
}

static enum err cd_sync_dir(struct disk *disk, const char *path, struct errbuf *why)
{
    UNUSED(path);
    struct crash_disk *d = CONTAINER_OF(disk, struct crash_disk, disk);
    return strikes(d) ? errf(why, d->failure, "sync_dir fails") : ERR_OK;
}

static enum err cd_pread(struct file *file, void *data, size_t len, uint64_t offset, size_t *n_out,
                         struct errbuf *why)
{
    UNUSED(why);
    const struct buf *live = &disk_of(file)->live;
    size_t n = offset >= live->len ? 0 : live->len - (size_t)offset;
    n = n < len ? n : len;
    if (n > 0) {
        memcpy(data, live->data + offset, n);
    }
    *n_out = n;
    return ERR_OK;
}

static void extend(struct buf *buf, uint64_t len)
{
    if (len > buf->len) {
        size_t extra = (size_t)len - buf->len;
        memset(buf_extend(buf, extra), 0, extra);
    }
}

static enum err cd_pwrite(struct file *file, const void *data, size_t len, uint64_t offset,
                          struct errbuf *why)
{
    struct crash_disk *d = disk_of(file);
    bool is_struck = strikes(d);
    if (!is_struck || d->calls == d->fail_at + 1) {
        extend(&d->live, offset + len);
        memcpy(d->live.data + offset, data, len);
        ASSERT(d->pending_count < ARRAY_LEN(d->pending));
        d->pending[d->pending_count++] = (struct pending){.offset = offset, .len = len};
    }
    return is_struck ? errf(why, d->failure, "pwrite fails") : ERR_OK;
}

static enum err cd_preallocate(struct file *file, uint64_t len, struct errbuf *why)
{
    struct crash_disk *d = disk_of(file);
    if (strikes(d)) {
        return errf(why, d->failure, "preallocate fails");
    }
    extend(&d->live, len);
    return ERR_OK;
}

static enum err cd_sync(struct file *file, struct errbuf *why)
{
    struct crash_disk *d = disk_of(file);
    if (strikes(d)) {
        return errf(why, d->failure, "sync fails");
    }
    buf_reset(&d->durable);
    buf_append_slice(&d->durable, buf_slice(&d->live));
    d->pending_count = 0;
    return ERR_OK;
}

static enum err cd_size(struct file *file, uint64_t *out, struct errbuf *why)
{
    UNUSED(why);
    *out = disk_of(file)->live.len;
    return ERR_OK;
}

static enum err cd_lock(struct file *file, enum file_lock kind, struct errbuf *why)
{
    UNUSED(file);
    UNUSED(kind);
    UNUSED(why);
    return ERR_OK;
}

static enum err cd_map(struct file *file, uint64_t len, const uint8_t **out, struct errbuf *why)
{
    UNUSED(file);
    UNUSED(len);
    UNUSED(out);
    UNUSED(why);
    return ERR_UNSUPPORTED;
}

static void cd_close(struct file *file)
{
    UNUSED(file);
}

static const struct disk_ops crash_ops = {
    .open = cd_open,
    .sync_dir = cd_sync_dir,
    .pread = cd_pread,
    .pwrite = cd_pwrite,
    .preallocate = cd_preallocate,
    .sync = cd_sync,
    .sync_data = cd_sync,
    .size = cd_size,
    .lock = cd_lock,
    .map = cd_map,
    .close = cd_close,
};

static struct crash_disk *disk_new(uint64_t fail_at, bool is_dead, enum err failure)
{
    struct crash_disk *d = NEW(struct crash_disk);
    snprintf(d->path, sizeof(d->path), "db");
    d->disk.ops = &crash_ops;
    d->file = (struct file){.disk = &d->disk, .path = d->path};
    d->fail_at = fail_at;
    d->is_dead = is_dead;
    d->failure = failure;
    return d;
}

static void disk_free(struct crash_disk *d)
{
    buf_fini(&d->live);
    buf_fini(&d->durable);
    mem_free(d);
}

/* What the disk holds after a power cut: of the writes since the last sync each sector is there or
 * not, by chance; all or none of the growth too. */
static struct crash_disk *after_crash(const struct crash_disk *d, struct model_random *random)
{
    struct crash_disk *after = disk_new(UINT64_MAX, false, ERR_OK);
    buf_append_slice(&after->live, buf_slice(&d->durable));
    if (model_random_below(random, 2) == 0) {
        extend(&after->live, d->live.len);
    }
    for (size_t i = 0; i < d->pending_count; i++) {
        const struct pending *p = &d->pending[i];
        for (uint64_t at = p->offset; at < p->offset + p->len; at += SECTOR) {
            if (model_random_below(random, 2) == 0 && at + SECTOR <= d->live.len) {
                extend(&after->live, at + SECTOR);
                memcpy(after->live.data + at, d->live.data + at, SECTOR);
            }
        }
    }
    buf_append_slice(&after->durable, buf_slice(&after->live));
    return after;
}

/* ---- the workload -------------------------------------------------------------------------- */

#define TXNS 8

struct story {
    struct model *before; /* the last committed state */
    struct model *after;  /* the one being committed when it went wrong, or NULL */
    bool is_over;         /* it never went wrong */
    enum err err;
};

static void story_fini(struct story *story)
{
    model_free(&story->before);
    model_free(&story->after);
}

/* Nothing more is written, and readers go on. */
static void broken_db_check(struct bolt *db, const struct model *model)
{
    struct bolt_tx *tx = NULL;
    struct errbuf why = {0};
    assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_CLOSED);
    assert_null(tx);
    tx = bolt_read_begin(db);
    model_compare(model, bolt_root(tx));
    bolt_read_end(&tx);
}

static struct story tell(struct crash_disk *d, struct bolt_options options, uint64_t seed)
{
    struct story story = {.before = model_new()};
    struct model_random random = {seed};
    const struct model_mix *mix = model_mix_named(seed % 2 == 0 ? "nested" : "even");
    struct bolt *db = NULL;
    struct errbuf why = {0};
    story.err = bolt_open(&d->disk, d->path, &options, &db, &why);
    if (story.err != ERR_OK) {
        assert_null(db);
        return story;
    }
    for (int i = 0; i < TXNS; i++) {
        struct bolt_tx *tx = NULL;
        assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_OK);
        story.after = model_clone(story.before);
        for (uint64_t n = 1 + model_random_below(&random, 60); n > 0; n--) {
            model_step_top(&random, mix, story.after, tx);
        }
        story.err = bolt_commit(&tx, &why);
        assert_null(tx);
        if (story.err != ERR_OK) {
            assert_true(why.text[0] != '\0');
            broken_db_check(db, story.before);
            bolt_close(&db);
            return story;
        }
        model_free(&story.before);
        story.before = story.after;
        story.after = NULL;
    }
    story.is_over = true;
    bolt_close(&db);
    return story;
}

static bool models_equal(const struct model *a, const struct model *b)
{
    if (a->count != b->count || a->sequence != b->sequence) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        const struct model_row *x = &a->rows[i];
        const struct model_row *y = &b->rows[i];
        if (!slice_eq(x->key, y->key) || !slice_eq(x->value, y->value) ||
            (x->bucket == NULL) != (y->bucket == NULL) ||
            (x->bucket != NULL && !models_equal(x->bucket, y->bucket))) {
            return false;
        }
    }
    return true;
}

static struct model *load(struct bolt_bucket *bucket)
{
    struct model *model = model_new();
    struct bolt_cursor cursor;
    struct bolt_item item;
    bolt_cursor_init(&cursor, bucket);
    model->sequence = bolt_bucket_sequence(bucket);
    for (enum err err = bolt_cursor_first(&cursor, &item); err == ERR_OK;
         err = bolt_cursor_next(&cursor, &item)) {
        model_put(model, item.key, item.value);
        if (item.is_bucket) {
            struct bolt_bucket *inner = NULL;
            assert_int_equal(bolt_bucket(bucket, item.key, &inner), ERR_OK);
            model->rows[model->count - 1].bucket = load(inner);
        }
    }
    return model;
}

/* Opens what is left, and finds one of the two states the story allows; then writes on. */
static void recover(struct crash_disk *d, struct bolt_options options, const struct story *story)
{
    struct bolt *db = NULL;
    struct errbuf why = {0};
    enum err err = bolt_open(&d->disk, d->path, &options, &db, &why);
    if (err != ERR_OK) {
        fail_msg("%s", why.text);
    }
    struct bolt_tx *tx = bolt_read_begin(db);
    err = bolt_check(tx, &why);
    if (err != ERR_OK) {
        fail_msg("%s", why.text);
    }
    struct model *found = load(bolt_root(tx));
    bolt_read_end(&tx);
    bool is_before = models_equal(found, story->before);
    bool is_after = story->after != NULL && models_equal(found, story->after);
    assert_true(is_before || is_after);
    struct model_random random = {7};
    assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_OK);
    for (int n = 0; n < 20; n++) {
        model_step_top(&random, model_mix_named("even"), found, tx);
    }
    assert_int_equal(bolt_commit(&tx, &why), ERR_OK);
    bolt__db_check(db);
    tx = bolt_read_begin(db);
    model_compare(found, bolt_root(tx));
    bolt_read_end(&tx);
    model_free(&found);
    bolt_close(&db);
}

/* Goes wrong at every call in turn, until a run is through without. */
static void every_call(struct bolt_options options, uint64_t seed, bool is_crash, enum err failure)
{
    struct model_random random = {seed * 1000 + 1};
    bool is_over = false;
    uint64_t at = 0;
    for (; !is_over; at++) {
        struct crash_disk *d = disk_new(at, is_crash, failure);
        struct story story = tell(d, options, seed);
        is_over = story.is_over;
        assert_true(is_over || story.err == failure);
        for (int i = 0; i < 3; i++) {
            struct crash_disk *after = after_crash(d, &random);
            recover(after, options, &story);
            disk_free(after);
        }
        /* And without a crash: the process closed the file and opens it again. */
        d->fail_at = UINT64_MAX;
        d->is_dead = false;
        recover(d, options, &story);
        story_fini(&story);
        disk_free(d);
    }
    assert_true(at > 40);
}

TEST(bolt_crash, at_every_call_leaves_the_old_or_the_new_state)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        every_call((struct bolt_options){0}, seed, true, ERR_IO);
        every_call((struct bolt_options){.no_freelist_sync = true, .page_size = 1024}, seed, true,
                   ERR_IO);
    }
}

TEST(bolt_crash, a_failed_call_stops_writing_and_keeps_the_file_whole)
{
    for (uint64_t seed = 5; seed <= 6; seed++) {
        every_call((struct bolt_options){0}, seed, false, ERR_IO);
        every_call((struct bolt_options){.no_freelist_sync = true, .page_size = 1024}, seed, false,
                   ERR_NOSPACE);
    }
}
