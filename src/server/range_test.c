/* A Range in slices gives, byte for byte, what the obvious way gives: fetch every row, filter,
 * sort, cut, encode. Whatever the slices are, and whatever is written or compacted between them. */
#include "server/apply_run.h"

#include "codec/pbwire.h"

typedef Etcdserverpb__RangeRequest RangeRequest;

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* ---- the obvious way --------------------------------------------------------------------------
 */

struct model_row {
    const RangeRequest *request;
    size_t at;
    struct buf raw;
    struct mvcc_row row;
};

static int order_i64(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int model_order(const void *x, const void *y)
{
    const struct model_row *a = x;
    const struct model_row *b = y;
    int order = 0;
    switch ((int)a->request->sort_target) {
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY:
        order = slice_cmp(a->row.key, b->row.key);
        break;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VERSION:
        order = order_i64(a->row.version, b->row.version);
        break;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE:
        order = order_i64(a->row.create, b->row.create);
        break;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD:
        order = order_i64(a->row.mod, b->row.mod);
        break;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE:
        order = slice_cmp(a->row.value, b->row.value);
        break;
    default:
        break;
    }
    if (a->request->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND) {
        order = -order;
    }
    return order != 0 ? order : (a->at > b->at) - (a->at < b->at);
}

static bool model_passes(const RangeRequest *request, const struct mvcc_row *row)
{
    return (request->max_mod_revision == 0 || row->mod <= request->max_mod_revision) &&
           (request->min_mod_revision == 0 || row->mod >= request->min_mod_revision) &&
           (request->max_create_revision == 0 || row->create <= request->max_create_revision) &&
           (request->min_create_revision == 0 || row->create >= request->min_create_revision);
}

static void model_kv(const RangeRequest *request, const struct mvcc_row *row, struct buf *out)
{
    struct kv_row kv = {
        .key = row->key,
        .create_revision = row->create,
        .mod_revision = row->mod,
        .version = row->version,
        .value = request->keys_only ? SLICE_EMPTY : row->value,
        .lease = row->lease,
    };
    size_t start = out->len;
    kv_row_encode(&kv, out);
    reply_wrap(out, start, 2);
}

/* The reply of etcd's Range, from all rows of the range at its revision. */
static void model(struct run *run, const RangeRequest *request, struct buf *out)
{
    struct key_range keys = key_range_of(pb_bytes(request->key), pb_bytes(request->range_end));
    struct model_row *rows = mem_array(2000, sizeof(*rows));
    struct reply_header header = apply_header(run->apply);
    bool has_order = request->sort_order != ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE;
    bool has_target = request->sort_target != ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY;
    bool has_filter = request->min_mod_revision != 0 || request->max_mod_revision != 0 ||
                      request->min_create_revision != 0 || request->max_create_revision != 0;
    size_t limit = request->limit > 0 ? (size_t)request->limit : SIZE_MAX;
    size_t fetch = has_order || has_filter || limit == SIZE_MAX ? SIZE_MAX : limit + 1;
    size_t total = 0;
    size_t count = 0;
    struct mvcc_read read;
    struct slice raw;
    assert_int_equal(mvcc_read_open(run->mvcc, &keys, request->revision, &read), ERR_OK);
    while (mvcc_read_next(&read, &raw)) {
        struct model_row row = {.request = request, .at = count};
        assert_int_equal(mvcc_row_parse(raw, &row.row), ERR_OK);
        if (total++ < fetch && model_passes(request, &row.row)) {
            buf_append_slice(&row.raw, raw);
            assert_true(count < 2000);
            rows[count++] = row;
        }
    }
    mvcc_read_close(&read);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(mvcc_row_parse(buf_slice(&rows[i].raw), &rows[i].row), ERR_OK);
    }
    if (count > 0 && (has_order || has_target)) {
        qsort(rows, count, sizeof(*rows), model_order);
    }
    reply_put_header(out, 1, &header);
    if (!request->count_only) {
        for (size_t i = 0; i < count && i < limit; i++) {
            model_kv(request, &rows[i].row, out);
        }
        reply_put_uint(out, 3, count > limit);
    }
    reply_put_uint(out, 4, total);
    for (size_t i = 0; i < count; i++) {
        buf_fini(&rows[i].raw);
    }
    mem_free(rows);
}

/* ---- stores and requests ----------------------------------------------------------------------
 */

#define KEYS 300

static void put_one(struct run *run, uint32_t *seed)
{
    char key[16];
    uint8_t value[3000];
    static const size_t lens[] = {0, 1, 1, 7, 8, 9, 130, 500, 520, 2900};
    size_t len = lens[next_random(seed) % ARRAY_LEN(lens)];
    snprintf(key, sizeof(key), "k%03u", next_random(seed) % KEYS);
    /* Few different values, many with the same beginning: what sorting by value has to tell apart.
     */
    memset(value, 'a' + (int)(next_random(seed) % 2), sizeof(value));
    if (len > 8) {
        value[8] = (uint8_t)next_random(seed);
    }
    backend_begin(run->backend);
    mvcc_begin(run->mvcc);
    if (next_random(seed) % 8 == 0) {
        struct key_range one = key_range_of(slice_str(key), SLICE_EMPTY);
        (void)mvcc_delete(run->mvcc, &one);
    } else {
        (void)mvcc_put(run->mvcc, slice_str(key), slice_of(value, len), next_random(seed) % 3);
    }
    (void)mvcc_end(run->mvcc);
    backend_end(run->backend, ++run->index, 1);
}

static int64_t some_revision(struct run *run, uint32_t *seed)
{
    int64_t compact = mvcc_compact_revision(run->mvcc);
    int64_t first = compact > 1 ? compact : 1;
    int64_t span = mvcc_revision(run->mvcc) - first + 1;
    return first + (int64_t)(next_random(seed) % (uint32_t)span);
}

static void some_request(struct run *run, uint32_t *seed, RangeRequest *out)
{
    static const char *const from[] = {"k", "k050", "k100", "k2", "z", "k007"};
    static const char *const ends[] = {"l", "k200", "k250", "k", "k008", "k299"};
    etcdserverpb__range_request__init(out);
    out->key = pb_binary(slice_str(from[next_random(seed) % ARRAY_LEN(from)]));
    if (next_random(seed) % 8 == 0) {
        out->range_end = pb_binary(slice_of("", 1));
    } else if (next_random(seed) % 16 != 0) {
        out->range_end = pb_binary(slice_str(ends[next_random(seed) % ARRAY_LEN(ends)]));
    }
    if (next_random(seed) % 2 == 0) {
        out->revision = some_revision(run, seed);
    }
    if (next_random(seed) % 2 == 0) {
        out->limit = 1 + (int64_t)(next_random(seed) % (KEYS + 20));
    }
    out->keys_only = next_random(seed) % 3 == 0;
    out->count_only = next_random(seed) % 10 == 0;
    if (next_random(seed) % 2 == 0) {
        out->sort_order = (Etcdserverpb__RangeRequest__SortOrder)(next_random(seed) % 3);
        out->sort_target = (Etcdserverpb__RangeRequest__SortTarget)(next_random(seed) % 6);
    }
    if (next_random(seed) % 4 == 0) {
        out->min_mod_revision = some_revision(run, seed);
    }
    if (next_random(seed) % 4 == 0) {
        out->max_mod_revision = some_revision(run, seed);
    }
    if (next_random(seed) % 4 == 0) {
        out->min_create_revision = some_revision(run, seed) / 2;
    }
    if (next_random(seed) % 4 == 0) {
        out->max_create_revision = some_revision(run, seed);
    }
}

/* ---- the property -----------------------------------------------------------------------------
 */

static void committed(void *ctx)
{
    UNUSED(ctx);
}

/* What happens between two slices. */
static void disturb(struct run *run, struct range *range, uint32_t *seed)
{
    range_pause(range);
    if (next_random(seed) % 4 == 0) {
        put_one(run, seed);
    }
    if (next_random(seed) % 64 == 0) {
        enum err err = mvcc_compact(run->mvcc, some_revision(run, seed));
        assert_true(err == ERR_OK || err == ERR_COMPACTED);
    }
    (void)mvcc_compact_step(run->mvcc);
    if (next_random(seed) % 64 == 0) {
        backend_force_commit(run->backend, committed, NULL);
        manual_settle(&run->manual);
    }
}

static void in_slices(struct run *run, const RangeRequest *request, uint32_t *seed, struct buf *out)
{
    static const uint64_t budgets[] = {1, 2, 9, 50, 400, 100000};
    static const size_t rooms[] = {1, 2, 3, 100, 1000, 16384};
    struct range range;
    uint64_t slice = budgets[next_random(seed) % ARRAY_LEN(budgets)];
    size_t room = rooms[next_random(seed) % ARRAY_LEN(rooms)];
    assert_int_equal(apply_range_open(run->apply, request, &range), STATUS_OK);
    for (uint64_t budget = slice; !range_measure(&range, &budget); budget = slice) {
        assert_int_equal(budget, 0);
        disturb(run, &range, seed);
    }
    uint64_t len = range_len(&range);
    for (unsigned idle = 0; out->len < len;) {
        uint8_t piece[16384];
        uint64_t budget = slice;
        size_t done = range_fill(&range, piece, room, &budget);
        assert_true(done <= room);
        assert_true(done > 0 || budget == 0);
        assert_true(done > 0 || idle++ < 10 * KEYS);
        buf_append(out, piece, done);
        disturb(run, &range, seed);
    }
    assert_int_equal(out->len, len);
    range_close(&range);
}

TEST(range, slices_give_the_bytes_of_the_whole)
{
    uint32_t seed = 20;
    for (unsigned round = 0; round < 4; round++) {
        struct run run;
        run_open(&run);
        for (unsigned i = 0; i < 600; i++) {
            put_one(&run, &seed);
        }
        for (unsigned i = 0; i < 60; i++) {
            RangeRequest request;
            struct buf want = {0};
            struct buf got = {0};
            struct slice whole;
            some_request(&run, &seed, &request);
            model(&run, &request, &want);
            assert_int_equal(apply_range(run.apply, &request, &run.arena, &whole), STATUS_OK);
            assert_int_equal(whole.len, want.len);
            assert_memory_equal(whole.data, want.data, want.len);
            in_slices(&run, &request, &seed, &got);
            assert_int_equal(got.len, want.len);
            assert_memory_equal(got.data, want.data, want.len);
            buf_fini(&want);
            buf_fini(&got);
            arena_reset(&run.arena);
        }
        run_close(&run);
    }
}

/* ---- what it costs ----------------------------------------------------------------------------
 */

static void fill_keys(struct run *run, unsigned count)
{
    backend_begin(run->backend);
    for (unsigned i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%06u", i);
        mvcc_begin(run->mvcc);
        (void)mvcc_put(run->mvcc, slice_str(key), SLICE("value"), 0);
        (void)mvcc_end(run->mvcc);
    }
    backend_end(run->backend, ++run->index, 1);
}

TEST(range, the_length_is_known_at_once_at_the_current_revision)
{
    struct run run;
    struct range range;
    RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    uint64_t none = 0;
    run_open(&run);
    fill_keys(&run, 20000);
    request.key = pb_binary(SLICE("k"));
    request.range_end = pb_binary(SLICE("l"));
    for (unsigned i = 0; i < 2; i++) {
        request.sort_order = i == 0 ? ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE
                                    : ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
        for (request.limit = 0; request.limit < 30000; request.limit += 7000) {
            assert_int_equal(apply_range_open(run.apply, &request, &range), STATUS_OK);
            assert_true(range_measure(&range, &none));
            range_close(&range);
        }
    }
    /* One that has to look at rows does not do it at once. */
    request.keys_only = true;
    assert_int_equal(apply_range_open(run.apply, &request, &range), STATUS_OK);
    assert_false(range_measure(&range, &none));
    range_close(&range);
    run_close(&run);
}

TEST(range, a_slice_is_bounded_whatever_it_does)
{
    static const struct {
        bool keys_only;
        int sort_target;
        int64_t revision;
        int64_t max_create;
    } rows[] = {{true, 0, 0, 0},     {false, 1, 0, 0}, {false, 4, 0, 0},
                {true, 0, 19000, 0}, {false, 0, 0, 3}, {true, 3, 19000, 5000}};
    struct run run;
    run_open(&run);
    fill_keys(&run, 20000);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
        struct range range;
        unsigned slices = 0;
        uint64_t budget;
        request.key = pb_binary(SLICE("k"));
        request.range_end = pb_binary(SLICE("l"));
        request.keys_only = rows[i].keys_only;
        request.sort_target = (Etcdserverpb__RangeRequest__SortTarget)rows[i].sort_target;
        request.revision = rows[i].revision;
        request.max_create_revision = rows[i].max_create;
        assert_int_equal(apply_range_open(run.apply, &request, &range), STATUS_OK);
        do {
            budget = 1000;
            slices++;
            range_pause(&range);
        } while (!range_measure(&range, &budget));
        assert_true(slices >= 19); /* 20,000 keys, and no slice looks at more than 1,000 */
        range_close(&range);
    }
    run_close(&run);
}

TEST(range, the_length_as_of_a_recent_revision_costs_what_has_changed_since)
{
    struct run run;
    struct range range;
    RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    uint64_t budget = 1200; /* 1,000 of the 20,000 keys are newer */
    run_open(&run);
    fill_keys(&run, 20000);
    request.key = pb_binary(SLICE("k"));
    request.range_end = pb_binary(SLICE("l"));
    request.revision = mvcc_revision(run.mvcc) - 1000;
    assert_int_equal(apply_range_open(run.apply, &request, &range), STATUS_OK);
    assert_true(range_measure(&range, &budget));
    range_close(&range);
    request.revision = mvcc_revision(run.mvcc) - 15000;
    budget = 1200;
    assert_int_equal(apply_range_open(run.apply, &request, &range), STATUS_OK);
    assert_false(range_measure(&range, &budget));
    range_close(&range);
    run_close(&run);
}

TEST(range, one_key_is_answered_at_once_and_alike)
{
    static uint8_t value[40000];
    static const size_t lens[] = {0, 1, 200, 32000, 32768, 40000};
    struct run run;
    run_open(&run);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
        struct buf want = {0};
        struct slice one;
        backend_begin(run.backend);
        mvcc_begin(run.mvcc);
        (void)mvcc_put(run.mvcc, SLICE("one"), slice_of(value, lens[i]), (int64_t)i);
        (void)mvcc_end(run.mvcc);
        backend_end(run.backend, ++run.index, 1);
        request.key = pb_binary(SLICE("one"));
        request.limit = (int64_t)i % 2;
        model(&run, &request, &want);
        bool is_small = apply_range_one(run.apply, &request, &run.arena, &one);
        assert_int_equal(is_small, lens[i] < 32700);
        assert_int_equal(apply_range(run.apply, &request, &run.arena, &one), STATUS_OK);
        assert_true(slice_eq(one, buf_slice(&want)));
        buf_reset(&want);
        request.key = pb_binary(SLICE("none"));
        model(&run, &request, &want);
        assert_true(apply_range_one(run.apply, &request, &run.arena, &one));
        assert_true(slice_eq(one, buf_slice(&want)));
        /* Anything else goes the long way. */
        request.revision = 1;
        assert_false(apply_range_one(run.apply, &request, &run.arena, &one));
        buf_fini(&want);
    }
    run_close(&run);
}

TEST(range, refuses_other_times_and_leaves_nothing_open)
{
    struct run run;
    struct range range;
    struct mvcc_stats stats;
    RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    run_open(&run);
    fill_keys(&run, 10);
    assert_int_equal(mvcc_compact(run.mvcc, 8), ERR_OK);
    request.key = pb_binary(SLICE("k"));
    request.revision = 7;
    assert_int_equal(apply_range_open(run.apply, &request, &range), STATUS_COMPACTED);
    request.revision = 12;
    assert_int_equal(apply_range_open(run.apply, &request, &range), STATUS_FUTURE_REVISION);
    alarms_activate(run.alarms, (struct alarm){.member_id = 1, .type = ALARM_CORRUPT});
    request.revision = 0;
    assert_int_equal(apply_range_open(run.apply, &request, &range), STATUS_CORRUPT);
    mvcc_stats(run.mvcc, &stats);
    assert_int_equal(stats.open_reads, 0);
    run_close(&run);
}
