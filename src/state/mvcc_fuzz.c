/* Fuzz: random transactions, reads, compactions, commits, restarts and crashes on the store,
 * against a list of maps: for every revision a whole copy of what was there.
 *
 * The input is a run of operations of four bytes. Each write transaction and each compaction is one
 * log entry. A crash copies the file as it stands and opens the copy: it must hold exactly what the
 * entries up to its consistent index made. */
#include "base/digest.h"
#include "base/mem.h"
#include "state/mvcc.h"
#include "storage/manual_env.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define KEYS 20
#define REVS_MAX 600
#define ENTRIES_MAX 1200
#define ROWS_MAX 4000

struct cell {
    int64_t create; /* 0: not there */
    int64_t mod;
    int64_t version;
    int64_t lease;
    uint32_t value; /* stands for its bytes */
};

struct row {
    struct revision rev;
    unsigned key;
    bool is_delete;
    uint8_t *raw;
    size_t raw_len;
};

struct model {
    struct cell state[REVS_MAX + 2][KEYS]; /* by revision */
    int64_t revision;
    int64_t compact;
    int64_t revision_at[ENTRIES_MAX + 1]; /* by log index */
    int64_t compact_at[ENTRIES_MAX + 1];
    uint64_t index;
    struct row rows[ROWS_MAX];
    size_t row_count;
};

struct world {
    struct manual_env manual;
    struct backend *backend;
    struct mvcc *store;
    struct model model;
    char dir[64];
    char path[80];
    char copy[80];
    int64_t lease[KEYS]; /* as told by the hook */
    size_t changed;      /* changes seen by the hook */
    uint32_t value_next;
};

static struct slice key_of(char text[8], unsigned k)
{
    int len = snprintf(text, 8, k % 3 == 0 ? "a/%02u" : "b%02u", k);
    return slice_of(text, (size_t)len);
}

/* Keys sorted by bytes: "a/…" (k % 3 == 0) come first. */
static void key_order(unsigned order[KEYS])
{
    unsigned n = 0;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned k = 0; k < KEYS; k++) {
            if ((k % 3 == 0) == (pass == 0)) {
                order[n++] = k;
            }
        }
    }
}

static unsigned key_index(struct slice key)
{
    char text[8];
    for (unsigned k = 0; k < KEYS; k++) {
        if (slice_eq(key, key_of(text, k))) {
            return k;
        }
    }
    UNREACHABLE();
}

/* A value's bytes are its number, repeated; some are empty, some fill pages. */
static struct slice value_of(struct buf *buf, uint32_t value)
{
    buf_reset(buf);
    uint32_t repeat = value % 7 == 0 ? 0 : value % 31 == 0 ? 3000 : value % 5;
    for (uint32_t i = 0; i < repeat; i++) {
        put_le32(buf_extend(buf, 4), value);
    }
    return buf_slice(buf);
}

static void on_attach(void *ctx, struct slice key, lease_id lease)
{
    struct world *world = ctx;
    world->lease[key_index(key)] = lease;
}

static void on_changed(void *ctx, int64_t revision, const struct mvcc_change *changes, size_t count)
{
    struct world *world = ctx;
    ASSERT(mvcc_revision(world->store) == revision);
    for (size_t i = 0; i < count; i++) {
        ASSERT(changes[i].rev.main == revision);
        ASSERT(changes[i].rev.sub == i);
    }
    world->changed += count;
}

static void open_store(struct world *world, const char *path)
{
    struct errbuf why = {.text = ""};
    manual_env_init(&world->manual, NULL);
    struct backend_options backend = {
        .env = &world->manual.env, .path = path, .no_sync = true, .batch_limit = 40};
    enum err err = backend_open(&backend, &world->backend, &why);
    ASSERT(err == ERR_OK);
    memset(world->lease, 0, sizeof(world->lease));
    struct mvcc_options options = {
        .backend = world->backend,
        .hooks = {.ctx = world, .attach = on_attach, .changed = on_changed},
        .compact_batch_limit = 7,
        .hash_seed = 42,
    };
    err = mvcc_open(&options, &world->store, &why);
    ASSERT(err == ERR_OK);
}

static void close_store(struct world *world)
{
    mvcc_close(&world->store);
    backend_close(&world->backend);
}

/* ---- comparing --------------------------------------------------------------------------------
 */

static void same_row(const struct cell *want, unsigned k, const struct mvcc_row *got)
{
    char text[8];
    struct buf value = {0};
    ASSERT(slice_eq(got->key, key_of(text, k)));
    ASSERT(got->create == want->create);
    ASSERT(got->mod == want->mod);
    ASSERT(got->version == want->version);
    ASSERT(got->lease == want->lease);
    ASSERT(slice_eq(got->value, value_of(&value, want->value)));
    buf_fini(&value);
}

static void check_range(struct world *world, const struct key_range *range, int64_t at, bool pauses)
{
    unsigned order[KEYS];
    char text[8];
    struct mvcc_read read;
    struct mvcc_row row;
    struct slice raw;
    struct key_count count;
    struct key_count want = {0};
    const struct cell *state = world->model.state[at];
    enum err err = mvcc_read_open(world->store, range, at, &read);
    ASSERT(err == ERR_OK);
    key_order(order);
    for (unsigned i = 0; i < KEYS; i++) {
        unsigned k = order[i];
        if (state[k].create == 0 || !key_range_has(range, key_of(text, k))) {
            continue;
        }
        bool is_there = mvcc_read_next(&read, &raw);
        ASSERT(is_there);
        err = mvcc_row_parse(raw, &row);
        ASSERT(err == ERR_OK);
        same_row(&state[k], k, &row);
        want.keys++;
        want.wire_bytes += keyindex_wire_len((uint32_t)raw.len);
        if (pauses) {
            mvcc_read_pause(&read);
        }
    }
    ASSERT(!mvcc_read_next(&read, &raw));
    while (!mvcc_read_measure(&read, &(uint64_t){3}, &count)) {
    }
    ASSERT(count.keys == want.keys);
    ASSERT(count.wire_bytes == want.wire_bytes);
    mvcc_read_close(&read);
}

static struct key_range all_keys(void)
{
    return (struct key_range){.kind = KEY_FROM};
}

/* The revisions that a compaction at `at` keeps: `kept` by row number. Returns how many. */
static size_t model_keep(const struct model *model, int64_t at, bool *kept)
{
    size_t count = 0;
    memset(kept, 0, ROWS_MAX * sizeof(*kept));
    for (unsigned k = 0; k < KEYS; k++) {
        size_t newest = SIZE_MAX;
        for (size_t i = 0; i < model->row_count; i++) {
            if (model->rows[i].key == k && model->rows[i].rev.main <= at) {
                newest = i;
            }
        }
        if (newest != SIZE_MAX && !model->rows[newest].is_delete) {
            kept[newest] = true;
            count++;
        }
    }
    return count;
}

/* formats.md section 5, said once more in the plainest way. */
static uint32_t model_hash(const struct model *model, int64_t at)
{
    bool *kept = mem_array(ROWS_MAX, sizeof(*kept));
    uint8_t key[TOMBSTONE_LEN];
    uint32_t crc = crc32c(0, "key", 3);
    if (model_keep(model, at, kept) == 0) {
        model_keep(model, model->compact, kept);
    }
    for (size_t i = 0; i < model->row_count; i++) {
        const struct row *row = &model->rows[i];
        bool is_compacted = row->rev.main <= model->compact;
        if (row->rev.main <= at && (!is_compacted || kept[i])) {
            struct slice name = revision_encode(row->rev, row->is_delete, key);
            crc = crc32c(crc, name.data, name.len);
            crc = crc32c(crc, row->raw, row->raw_len);
        }
    }
    mem_free(kept);
    return crc;
}

static void check_hash(struct world *world, int64_t at)
{
    struct mvcc_hash *hash = NULL;
    struct mvcc_hash_result result;
    enum err err = mvcc_hash_begin(world->store, at, &hash);
    if (at > 0 && at <= world->model.compact) {
        ASSERT(err == ERR_COMPACTED);
        return;
    }
    if (at > world->model.revision) {
        ASSERT(err == ERR_FUTURE);
        return;
    }
    ASSERT(err == ERR_OK);
    mvcc_hash_run(hash);
    mvcc_hash_end(&hash, &result);
    int64_t revision = at == 0 ? world->model.revision : at;
    ASSERT(result.hash_revision == revision);
    ASSERT(result.current_revision == world->model.revision);
    ASSERT(result.compact_revision == world->model.compact);
    ASSERT(result.hash == model_hash(&world->model, revision));
}

static void check_all(struct world *world)
{
    struct key_range all = all_keys();
    struct mvcc_read read;
    ASSERT(mvcc_revision(world->store) == world->model.revision);
    ASSERT(mvcc_compact_revision(world->store) == world->model.compact);
    int64_t first = world->model.compact < 1 ? 1 : world->model.compact;
    int64_t stride = 1 + (world->model.revision - first) / 10;
    for (int64_t at = world->model.revision; at >= first; at -= stride) {
        check_range(world, &all, at, false);
    }
    check_range(world, &all, first, true);
    ASSERT(mvcc_read_open(world->store, &all, world->model.revision + 1, &read) == ERR_FUTURE);
    if (first > 1) {
        ASSERT(mvcc_read_open(world->store, &all, first - 1, &read) == ERR_COMPACTED);
    }
    for (unsigned k = 0; k < KEYS; k++) {
        ASSERT(world->lease[k] == world->model.state[world->model.revision][k].lease);
    }
    check_hash(world, 0);
    mvcc_check(world->store);
    backend_check(world->backend);
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static void model_add_row(struct model *model, const struct mvcc_change *change)
{
    ASSERT(model->row_count < ROWS_MAX);
    model->rows[model->row_count++] = (struct row){
        .rev = change->rev,
        .key = key_index(change->key),
        .is_delete = change->is_delete,
        .raw = mem_dup(change->row.data, change->row.len),
        .raw_len = change->row.len,
    };
}

static void do_put(struct world *world, struct cell *next, unsigned k, int64_t lease)
{
    char text[8];
    struct buf value = {0};
    struct mvcc_row row;
    struct cell *cell = &next[k];
    uint32_t number = world->value_next++;
    ASSERT(mvcc_get(world->store, key_of(text, k), &row) == (cell->create != 0));
    int64_t revision = mvcc_put(world->store, key_of(text, k), value_of(&value, number), lease);
    *cell = (struct cell){
        .create = cell->create == 0 ? revision : cell->create,
        .mod = revision,
        .version = cell->version + 1,
        .lease = lease,
        .value = number,
    };
    bool is_there = mvcc_get(world->store, key_of(text, k), &row);
    ASSERT(is_there);
    same_row(cell, k, &row);
    buf_fini(&value);
}

static void do_delete(struct world *world, struct cell *next, const struct key_range *range)
{
    char text[8];
    uint64_t want = 0;
    for (unsigned k = 0; k < KEYS; k++) {
        if (next[k].create != 0 && key_range_has(range, key_of(text, k))) {
            next[k] = (struct cell){0};
            want++;
        }
    }
    uint64_t got = mvcc_delete(world->store, range);
    ASSERT(got == want);
}

static struct key_range a_range(char from[8], char end[8], uint8_t a, uint8_t b)
{
    struct slice low = key_of(from, a % KEYS);
    switch (b % 4) {
    case 0:
        return key_range_of(low, SLICE_EMPTY);
    case 1:
        return key_range_of(low, slice_of("", 1));
    default:
        return key_range_of(low, key_of(end, b % KEYS));
    }
}

static void end_entry(struct world *world)
{
    struct model *model = &world->model;
    model->index++;
    model->revision_at[model->index] = model->revision;
    model->compact_at[model->index] = model->compact;
    backend_end(world->backend, model->index, 1);
}

static void check_changes(struct world *world, const struct cell *before, const struct cell *after)
{
    size_t count;
    const struct mvcc_change *changes = mvcc_changes(world->store, &count);
    struct mvcc_row row;
    for (size_t i = 0; i < count; i++) {
        unsigned k = key_index(changes[i].key);
        enum err err = mvcc_row_parse(changes[i].kv, &row);
        ASSERT(err == ERR_OK);
        ASSERT(row.mod == changes[i].rev.main);
        if (changes[i].is_delete) {
            ASSERT(row.create == 0);
            ASSERT(row.version == 0);
            ASSERT(row.value.len == 0);
        }
        if (i + 1 == count) {
            ASSERT((after[k].create == 0) == changes[i].is_delete);
        }
        if (i == 0) {
            ASSERT(changes[i].prev.main == before[k].mod);
        }
        model_add_row(&world->model, &changes[i]);
    }
}

static void do_txn(struct world *world, uint8_t a, uint8_t b, uint8_t c)
{
    struct model *model = &world->model;
    char from[8];
    char end[8];
    if (model->revision >= REVS_MAX || model->index >= ENTRIES_MAX ||
        model->row_count + 4 * KEYS > ROWS_MAX) {
        return;
    }
    const struct cell *before = model->state[model->revision];
    struct cell *next = model->state[model->revision + 1];
    memcpy(next, before, sizeof(model->state[0]));
    size_t changed = world->changed;
    backend_begin(world->backend);
    mvcc_begin(world->store);
    for (unsigned i = 0; i < 1 + c % 4u; i++) {
        uint8_t k = (uint8_t)(a + i * 7);
        if ((c >> 2 & (1 << i)) != 0) {
            struct key_range range = a_range(from, end, k, b);
            do_delete(world, next, &range);
        } else {
            do_put(world, next, k % KEYS, b % 3 == 0 ? b : 0);
        }
    }
    size_t count = mvcc_change_count(world->store);
    ASSERT(mvcc_revision(world->store) == model->revision + (count > 0));
    int64_t revision = mvcc_end(world->store);
    model->revision += count > 0;
    ASSERT(revision == model->revision);
    ASSERT(world->changed == changed + count);
    if (count > 0) {
        check_changes(world, before, next);
    }
    end_entry(world);
}

static void do_compact(struct world *world, int64_t at)
{
    struct model *model = &world->model;
    if (model->index >= ENTRIES_MAX) {
        return;
    }
    backend_begin(world->backend);
    enum err err = mvcc_compact(world->store, at);
    if (at <= model->compact) {
        ASSERT(err == ERR_COMPACTED);
    } else if (at > model->revision) {
        ASSERT(err == ERR_FUTURE);
    } else {
        ASSERT(err == ERR_OK);
        model->compact = at;
    }
    end_entry(world);
}

/* ---- restarts ---------------------------------------------------------------------------------
 */

static void model_back_to(struct model *model, uint64_t index)
{
    model->index = index;
    model->revision = index == 0 ? 1 : model->revision_at[index];
    model->compact = index == 0 ? -1 : model->compact_at[index];
    while (model->row_count > 0 && model->rows[model->row_count - 1].rev.main > model->revision) {
        mem_free(model->rows[--model->row_count].raw);
    }
}

static void do_restart(struct world *world)
{
    close_store(world);
    open_store(world, world->path);
    ASSERT(backend_consistent_index(world->backend) == world->model.index);
    check_all(world);
}

/* Opens a copy of the file as it is on the disk now; goes on with the copy. */
static void do_crash(struct world *world)
{
    struct buf bytes = {0};
    struct disk *disk = world->manual.env.disk;
    enum err err = disk_read_file(disk, world->path, SIZE_MAX, &bytes, NULL);
    ASSERT(err == ERR_OK);
    close_store(world);
    err = disk_write_file(disk, world->copy, buf_slice(&bytes), NULL);
    ASSERT(err == ERR_OK);
    err = disk_rename(disk, world->copy, world->path, NULL);
    ASSERT(err == ERR_OK);
    buf_fini(&bytes);
    open_store(world, world->path);
    uint64_t index = backend_consistent_index(world->backend);
    ASSERT(index <= world->model.index);
    model_back_to(&world->model, index);
    check_all(world);
}

static void step(struct world *world, uint8_t op, uint8_t a, uint8_t b, uint8_t c)
{
    char from[8];
    char end[8];
    struct key_range range = a_range(from, end, a, b);
    struct model *model = &world->model;
    int64_t first = model->compact < 1 ? 1 : model->compact;
    int64_t past = first + (model->revision - first) * c / 255;
    switch (op % 16) {
    case 8:
        check_range(world, &range, past, op & 16);
        break;
    case 9:
        check_hash(world, op & 16 ? past : a);
        break;
    case 10:
        do_compact(world, op & 16 ? past : a);
        break;
    case 11:
    case 12:
        (void)mvcc_compact_step(world->store);
        break;
    case 13:
        manual_run(&world->manual);
        break;
    case 14:
        manual_finish(&world->manual);
        break;
    case 15:
        if (op == 15) {
            do_restart(world);
        } else if (op == 31) {
            do_crash(world);
        } else if (op == 47) {
            check_all(world);
        } else if (op == 63) {
            backend_force_commit(world->backend, (backend_done_fn *)mem_free, NULL);
        }
        break;
    default:
        do_txn(world, a, b, c);
        break;
    }
}

static struct world *world_new(void)
{
    struct world *world = NEW(struct world);
    snprintf(world->dir, sizeof(world->dir), "/var/tmp/etcdc-mvcc-XXXXXX");
    char *made = mkdtemp(world->dir);
    ASSERT(made != NULL);
    snprintf(world->path, sizeof(world->path), "%s/db", world->dir);
    snprintf(world->copy, sizeof(world->copy), "%s/copy", world->dir);
    world->model.revision = 1;
    world->model.compact = -1;
    world->value_next = 1;
    open_store(world, world->path);
    return world;
}

static void world_free(struct world *world)
{
    close_store(world);
    enum err err = disk_unlink(world->manual.env.disk, world->path, NULL);
    ASSERT(err == ERR_OK);
    err = disk_rmdir(world->manual.env.disk, world->dir, NULL);
    ASSERT(err == ERR_OK);
    model_back_to(&world->model, 0);
    mem_free(world);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 6000) {
        return 0;
    }
    struct world *world = world_new();
    for (; size >= 4; data += 4, size -= 4) {
        step(world, data[0], data[1], data[2], data[3]);
    }
    check_all(world);
    while (mvcc_compact_step(world->store) >= 0) {
    }
    ASSERT(mvcc_is_compacted(world->store, world->model.compact));
    check_all(world);
    do_restart(world);
    world_free(world);
    return 0;
}
