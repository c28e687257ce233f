/* Random transactions, nested ones with large ranges among them, against a model that does them the
 * obvious way: one after the other, by recursion, on an array of keys. They are done in steps of
 * any size; what they answer is read at once, or long after, when other writes and a compaction
 * have been; and what only reads meets writes by others between its steps. */
#include "server/apply_run.h"

#include "server/work.h"

#define KEYS 200
#define BIG ((size_t)40 * 1024) /* a value of which one row is left open */

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* ---- model ------------------------------------------------------------------------------------
 */

struct model_key {
    bool is_live;
    size_t len;     /* of the value */
    uint32_t value; /* its first 4 bytes; 0: it has fewer */
    int64_t create;
    int64_t mod;
    int64_t version;
};

struct model {
    struct model_key keys[KEYS];
    int64_t revision;
    bool has_written; /* in the transaction under way */
    struct buf text;
};

static const char *key_name(unsigned k)
{
    static char name[8];
    snprintf(name, sizeof(name), "k%03u", k);
    return name;
}

/* Every 30th is long. */
static size_t value_len(uint32_t value)
{
    return value % 30 == 7 ? BIG : value % 20;
}

static void show_row(struct buf *out, const char *key, uint32_t value, size_t len, int64_t create,
                     int64_t mod, int64_t version)
{
    buf_printf(out, " %s=%u/%zu(%" PRId64 ",%" PRId64 ",%" PRId64 ")", key, value, len, create, mod,
               version);
}

static void model_row(struct model *m, unsigned k)
{
    const struct model_key *key = &m->keys[k];
    show_row(&m->text, key_name(k), key->value, key->len, key->create, key->mod, key->version);
}

static unsigned index_of(ProtobufCBinaryData key)
{
    return (unsigned)strtoul((const char *)key.data + 1, NULL, 10);
}

/* [first, last) of the model. */
static void span_of(ProtobufCBinaryData key, ProtobufCBinaryData end, unsigned *first,
                    unsigned *last)
{
    *first = index_of(key);
    *last = end.len == 0 ? *first + 1 : end.len == 1 ? KEYS : index_of(end);
}

static bool model_compare_one(const Compare *compare, const struct model_key *key)
{
    int64_t is = 0;
    int64_t want = 0;
    if (compare->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION) {
        is = key->is_live ? key->version : 0;
        want = compare->version;
    } else if (compare->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD) {
        is = key->is_live ? key->mod : 0;
        want = compare->mod_revision;
    } else {
        is = key->is_live ? key->create : 0;
        want = compare->create_revision;
    }
    return compare->result == ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS      ? is < want
           : compare->result == ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER ? is > want
           : compare->result == ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL   ? is == want
                                                                               : is != want;
}

static bool model_compare(const struct model *m, const Compare *compare)
{
    static const struct model_key none;
    unsigned first;
    unsigned last;
    bool is_empty = true;
    span_of(compare->key, compare->range_end, &first, &last);
    for (unsigned k = first; k < last; k++) {
        if (m->keys[k].is_live) {
            is_empty = false;
            if (!model_compare_one(compare, &m->keys[k])) {
                return false;
            }
        }
    }
    return !is_empty || model_compare_one(compare, &none);
}

static int64_t model_now(const struct model *m)
{
    return m->revision + m->has_written;
}

static void model_range(struct model *m, const Etcdserverpb__RangeRequest *range)
{
    unsigned first;
    unsigned last;
    unsigned count = 0;
    buf_append_str(&m->text, " [");
    span_of(range->key, range->range_end, &first, &last);
    for (unsigned k = first; k < last; k++) {
        if (m->keys[k].is_live) {
            count++;
            if (!range->count_only && (range->limit == 0 || count <= range->limit)) {
                model_row(m, k);
            }
        }
    }
    bool has_more = !range->count_only && range->limit > 0 && count > range->limit;
    buf_printf(&m->text, " #%u%s]@%" PRId64, count, has_more ? " more" : "", model_now(m));
}

static void model_put(struct model *m, const Etcdserverpb__PutRequest *put)
{
    unsigned k = index_of(put->key);
    struct model_key *key = &m->keys[k];
    buf_append_str(&m->text, " P");
    if (put->prev_kv && key->is_live) {
        model_row(m, k);
    }
    m->has_written = true;
    if (!key->is_live) {
        *key = (struct model_key){.is_live = true, .create = model_now(m)};
    }
    key->version++;
    key->mod = model_now(m);
    key->len = put->value.len;
    key->value = key->len < 4 ? 0 : get_le32(put->value.data);
    buf_printf(&m->text, "@%" PRId64, model_now(m));
}

static void model_delete(struct model *m, const Etcdserverpb__DeleteRangeRequest *request)
{
    unsigned first;
    unsigned last;
    unsigned count = 0;
    span_of(request->key, request->range_end, &first, &last);
    buf_append_str(&m->text, " D");
    for (unsigned k = first; k < last; k++) {
        if (m->keys[k].is_live) {
            count++;
            if (request->prev_kv) {
                model_row(m, k);
            }
            m->keys[k].is_live = false;
            m->has_written = true;
        }
    }
    buf_printf(&m->text, " #%u@%" PRId64, count, model_now(m));
}

/* The model before the whole transaction decides, whatever it has done so far. */
static void model_txn(struct model *m, const struct model *before, const Txn *txn)
{
    bool succeeded = true;
    for (size_t i = 0; i < txn->n_compare && succeeded; i++) {
        succeeded = model_compare(before, txn->compare[i]);
    }
    buf_append_str(&m->text, succeeded ? " {+" : " {-");
    for (size_t i = 0; i < (succeeded ? txn->n_success : txn->n_failure); i++) {
        const Op *op = succeeded ? txn->success[i] : txn->failure[i];
        switch (op->request_case) {
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
            model_range(m, op->request_range);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
            model_put(m, op->request_put);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
            model_delete(m, op->request_delete_range);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
            model_txn(m, before, op->request_txn);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST__NOT_SET:
        case _ETCDSERVERPB__REQUEST_OP__REQUEST__CASE_IS_INT_SIZE:
            buf_append_str(&m->text, " e");
            break;
        }
    }
    buf_append_str(&m->text, " }");
}

static const char *model_do(struct model *m, const Txn *txn)
{
    struct model before = *m;
    buf_reset(&m->text);
    m->has_written = false;
    model_txn(m, &before, txn);
    m->revision = model_now(m);
    m->has_written = false;
    buf_printf(&m->text, "@%" PRId64, m->revision);
    return buf_cstr(&m->text);
}

/* ---- replies ----------------------------------------------------------------------------------
 */

static void show_kv_short(struct buf *out, const Mvccpb__KeyValue *kv)
{
    char key[8];
    snprintf(key, sizeof(key), "%.*s", (int)kv->key.len, (const char *)kv->key.data);
    show_row(out, key, kv->value.len < 4 ? 0 : get_le32(kv->value.data), kv->value.len,
             kv->create_revision, kv->mod_revision, kv->version);
}

static void show_reply(struct buf *out, const Etcdserverpb__TxnResponse *txn)
{
    buf_append_str(out, txn->succeeded ? " {+" : " {-");
    for (size_t i = 0; i < txn->n_responses; i++) {
        const Etcdserverpb__ResponseOp *op = txn->responses[i];
        if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE) {
            const Etcdserverpb__RangeResponse *range = op->response_range;
            buf_append_str(out, " [");
            for (size_t k = 0; k < range->n_kvs; k++) {
                show_kv_short(out, range->kvs[k]);
            }
            buf_printf(out, " #%" PRId64 "%s]@%" PRId64, range->count, range->more ? " more" : "",
                       range->header->revision);
        } else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT) {
            buf_append_str(out, " P");
            if (op->response_put->prev_kv != NULL) {
                show_kv_short(out, op->response_put->prev_kv);
            }
            buf_printf(out, "@%" PRId64, op->response_put->header->revision);
        } else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE) {
            const Etcdserverpb__DeleteRangeResponse *del = op->response_delete_range;
            buf_append_str(out, " D");
            for (size_t k = 0; k < del->n_prev_kvs; k++) {
                show_kv_short(out, del->prev_kvs[k]);
            }
            buf_printf(out, " #%" PRId64 "@%" PRId64, del->deleted, del->header->revision);
        } else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN) {
            assert_int_equal(op->response_txn->header->revision, 0);
            show_reply(out, op->response_txn);
        } else {
            buf_append_str(out, " e");
        }
    }
    buf_append_str(out, " }");
}

static const char *reply_text(struct run *run, struct slice reply)
{
    Etcdserverpb__TxnResponse *txn = NULL;
    buf_reset(&run->text);
    assert_int_equal(pb_decode(&run->arena, &etcdserverpb__txn_response__descriptor, reply,
                               (void **)(void *)&txn, NULL),
                     ERR_OK);
    assert_int_equal(txn->header->raft_term, RUN_TERM);
    show_reply(&run->text, txn);
    buf_printf(&run->text, "@%" PRId64, txn->header->revision);
    return buf_cstr(&run->text);
}

/* ---- requests ---------------------------------------------------------------------------------
 */

struct make {
    struct arena *arena;
    uint32_t seed;
    int64_t revision;
    bool writes;
};

static uint32_t below(struct make *make, uint32_t count)
{
    return next_random(&make->seed) % count;
}

static ProtobufCBinaryData make_key(struct make *make, unsigned k)
{
    return pb_binary(slice_str(arena_printf(make->arena, "%s", key_name(k))));
}

/* One key, a few, many, or all from one on. */
static void make_span(struct make *make, unsigned kind, ProtobufCBinaryData *key,
                      ProtobufCBinaryData *end)
{
    unsigned first = below(make, KEYS);
    *key = make_key(make, first);
    if (kind == 1) {
        *end = pb_binary(slice_of("\0", 1));
    } else if (kind >= 2) {
        unsigned last = first + 1 + below(make, kind == 2 ? 5 : KEYS);
        *end = make_key(make, last < KEYS ? last : KEYS - 1);
    }
}

static Compare *make_compare(struct make *make)
{
    Compare *compare = pb_new(make->arena, &etcdserverpb__compare__descriptor);
    unsigned target = below(make, 3);
    compare->result = (Etcdserverpb__Compare__CompareResult)below(make, 4);
    make_span(make, below(make, 4), &compare->key, &compare->range_end);
    if (target == 0) {
        compare->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION;
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
        compare->version = below(make, 4);
    } else if (target == 1) {
        compare->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD;
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
        compare->mod_revision = below(make, (uint32_t)make->revision + 2);
    } else {
        compare->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE;
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
        compare->create_revision = below(make, (uint32_t)make->revision + 2);
    }
    return compare;
}

static Txn *make_txn(struct make *make, unsigned depth);

static Op *make_op(struct make *make, unsigned depth)
{
    Op *op = pb_new(make->arena, &etcdserverpb__request_op__descriptor);
    unsigned kind = below(make, make->writes ? 12 : 5);
    if (kind < 3) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        op->request_range = pb_new(make->arena, &etcdserverpb__range_request__descriptor);
        make_span(make, below(make, 4), &op->request_range->key, &op->request_range->range_end);
        op->request_range->limit = below(make, 3) == 0 ? below(make, 100) : 0;
        op->request_range->count_only = below(make, 8) == 0;
        /* A filter that lets everything pass: it is measured by a walk. */
        op->request_range->min_mod_revision = below(make, 2);
    } else if (kind == 3 && depth < 4) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
        op->request_txn = make_txn(make, depth + 1);
    } else if (kind >= 5 && kind < 9) {
        Etcdserverpb__PutRequest *put = pb_new(make->arena, &etcdserverpb__put_request__descriptor);
        uint32_t value = next_random(&make->seed);
        size_t len = value_len(value);
        uint8_t *bytes = arena_zalloc(make->arena, len + 4);
        put_le32(bytes, value);
        put->key = make_key(make, below(make, KEYS));
        put->value = pb_binary(slice_of(bytes, len));
        put->prev_kv = below(make, 2) == 0;
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        op->request_put = put;
    } else if (kind == 9) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        op->request_delete_range =
            pb_new(make->arena, &etcdserverpb__delete_range_request__descriptor);
        /* Seldom many: else few would ever be there. */
        unsigned width = below(make, 20) == 0 ? below(make, 4) : 2 * below(make, 2);
        make_span(make, width, &op->request_delete_range->key,
                  &op->request_delete_range->range_end);
        op->request_delete_range->prev_kv = below(make, 2) == 0;
    }
    return op;
}

static Op **make_branch(struct make *make, unsigned depth, size_t *count_out)
{
    *count_out = below(make, depth == 0 ? 12 : 4);
    Op **ops = arena_zalloc(make->arena, (*count_out + 1) * sizeof(Op *));
    for (size_t i = 0; i < *count_out; i++) {
        ops[i] = make_op(make, depth);
    }
    return ops;
}

static Txn *make_txn(struct make *make, unsigned depth)
{
    Txn *txn = pb_new(make->arena, &etcdserverpb__txn_request__descriptor);
    txn->n_compare = below(make, 3);
    txn->compare = arena_zalloc(make->arena, 3 * sizeof(Compare *));
    for (size_t i = 0; i < txn->n_compare; i++) {
        txn->compare[i] = make_compare(make);
    }
    txn->success = make_branch(make, depth, &txn->n_success);
    txn->failure = make_branch(make, depth, &txn->n_failure);
    return txn;
}

/* ---- doing them -------------------------------------------------------------------------------
 */

/* A reply that is read later, and what it is to be. */
struct later {
    struct pieces *pieces;
    struct buf want;
};

struct test {
    struct run run;
    struct model model;
    uint32_t seed;
    struct arena arena; /* what outlives the transaction it came with */
    struct later later[8];
    unsigned kept;
    unsigned steps_max;
};

static uint32_t pick(struct test *t, uint32_t count)
{
    return next_random(&t->seed) % count;
}

static void test_open(struct test *t, uint32_t seed)
{
    *t = (struct test){.seed = seed, .model = {.revision = 1}};
    run_open(&t->run);
    arena_init(&t->arena);
    for (unsigned k = 0; k < KEYS; k += 2) {
        char value[] = "abcd";
        Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
        struct slice reply;
        put.key = pb_binary(slice_str(key_name(k)));
        put.value = pb_binary(slice_of(value, k % 5));
        backend_begin(t->run.backend);
        assert_int_equal(apply_put(t->run.apply, &put, &t->run.arena, &reply), STATUS_OK);
        backend_end(t->run.backend, ++t->run.index, 1);
        model_put(&t->model, &put);
        t->model.revision++;
        t->model.has_written = false;
    }
}

/* In pieces of any size. */
static struct slice take_slowly(struct test *t, struct pieces *pieces)
{
    size_t len = (size_t)pieces_len(pieces);
    uint8_t *bytes = arena_alloc(&t->run.arena, len);
    size_t at = 0;
    while (at < len) {
        size_t room = 1 + pick(t, 5000);
        uint64_t budget = 1 + pick(t, 200);
        at += pieces_fill(pieces, bytes + at, room < len - at ? room : len - at, &budget);
        pieces_pause(pieces);
    }
    pieces_close(pieces);
    return slice_of(bytes, len);
}

static void later_read(struct test *t, struct later *later)
{
    if (later->pieces != NULL) {
        assert_string_equal(reply_text(&t->run, take_slowly(t, later->pieces)),
                            buf_cstr(&later->want));
        later->pieces = NULL;
    }
    buf_fini(&later->want);
}

/* Against the model's text: now, or later. */
static void expect(struct test *t, struct slice reply, struct pieces *pieces, const char *want)
{
    if (pieces == NULL) {
        assert_string_equal(reply_text(&t->run, reply), want);
        return;
    }
    struct later *later = &t->later[pick(t, ARRAY_LEN(t->later))];
    later_read(t, later);
    t->kept++;
    later->pieces = pieces;
    buf_append_str(&later->want, want);
}

static void test_close(struct test *t)
{
    for (size_t i = 0; i < ARRAY_LEN(t->later); i++) {
        later_read(t, &t->later[i]);
    }
    struct mvcc_stats stats;
    mvcc_stats(t->run.mvcc, &stats);
    assert_int_equal(stats.open_reads, 0);
    run_close(&t->run);
    arena_fini(&t->arena);
    buf_fini(&t->model.text);
}

static void write_one(struct test *t, uint64_t budget_max)
{
    struct make make = {.arena = &t->arena, .seed = next_random(&t->seed), .writes = true};
    struct work work;
    struct pieces *pieces;
    struct slice reply;
    unsigned steps = 1;
    make.revision = t->model.revision;
    const Txn *txn = make_txn(&make, 0);
    int64_t before = mvcc_revision(t->run.mvcc);
    backend_begin(t->run.backend);
    assert_int_equal(work_open(&work, t->run.apply, WORK_TXN, txn, &t->arena, true), STATUS_OK);
    for (uint64_t budget = budget_max; !work_step(&work, &budget); budget = budget_max) {
        /* Nobody sees any of it. */
        assert_int_equal(mvcc_revision(t->run.mvcc), before);
        steps++;
    }
    assert_int_equal(work_end(&work, &reply, &pieces), STATUS_OK);
    backend_end(t->run.backend, ++t->run.index, 1);
    t->steps_max = steps > t->steps_max ? steps : t->steps_max;
    const char *want = model_do(&t->model, txn);
    assert_int_equal(mvcc_revision(t->run.mvcc), t->model.revision);
    expect(t, reply, pieces, want);
}

/* Writes come between its steps: it answers what was there when it began. */
static void read_one(struct test *t, uint64_t budget_max)
{
    struct make make = {.arena = &t->arena, .seed = next_random(&t->seed), .writes = false};
    struct work work;
    struct pieces *pieces;
    struct slice reply;
    struct buf want = {0};
    make.revision = t->model.revision;
    const Txn *txn = make_txn(&make, 0);
    buf_append_str(&want, model_do(&t->model, txn));
    assert_int_equal(work_open(&work, t->run.apply, WORK_TXN_READ, txn, &t->arena, true),
                     STATUS_OK);
    for (uint64_t budget = budget_max; !work_step(&work, &budget); budget = budget_max) {
        if (pick(t, 4) == 0) {
            write_one(t, UINT64_MAX);
        }
    }
    assert_int_equal(work_end(&work, &reply, &pieces), STATUS_OK);
    expect(t, reply, pieces, buf_cstr(&want));
    buf_fini(&want);
}

static void compact(struct test *t)
{
    Etcdserverpb__CompactionRequest request = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    struct slice reply;
    request.revision = mvcc_revision(t->run.mvcc);
    if (request.revision == mvcc_compact_revision(t->run.mvcc)) {
        return;
    }
    backend_begin(t->run.backend);
    assert_int_equal(apply_compact(t->run.apply, &request, &t->run.arena, &reply), STATUS_OK);
    backend_end(t->run.backend, ++t->run.index, 1);
    for (unsigned i = 0; i < 20; i++) {
        mvcc_compact_step(t->run.mvcc);
    }
}

static void run_random(uint32_t seed, unsigned rounds)
{
    struct test t;
    test_open(&t, seed);
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t budget = pick(&t, 4) == 0 ? UINT64_MAX : 1 + pick(&t, 100);
        if (pick(&t, 3) == 0) {
            read_one(&t, budget);
        } else {
            write_one(&t, budget);
        }
        if (pick(&t, 10) == 0) {
            compact(&t);
        }
        manual_settle(&t.run.manual);
        arena_reset(&t.run.arena);
    }
    assert_true(t.kept > rounds / 10);
    assert_true(t.steps_max > 20);
    test_close(&t);
}

TEST(work, random_transactions_in_steps_do_and_answer_what_the_model_does)
{
    for (uint32_t seed = 1; seed <= 8; seed++) {
        run_random(seed, 150);
    }
}

/* The same request in steps of every size and at once: the same bytes, also of errors. */
TEST(work, steps_of_any_size_make_the_same_bytes)
{
    static const char *const requests[] = {
        "{ Na-0>0 : pa9 { Va=9 : e : Pb2 } ga-0 Da-0 ga-0 : pz1 }",
        "{ : : }",
        "{ Nx=7 : : ga ha3 Dc dx }",
        "{ : pa5 ha99 : }",
        "{ : pa5 ix : }",
        "{ : pa5 lc1 : }",
    };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct buf want = {0};
        for (uint64_t units = 0; units < 80; units++) {
            struct run run;
            struct work work;
            struct pieces *pieces;
            struct slice reply;
            run_open(&run);
            run_do(&run, "pa1");
            run_do(&run, "pb2");
            run_do(&run, "pc3");
            backend_begin(run.backend);
            uint64_t step = units == 0 ? UINT64_MAX : units;
            assert_int_equal(work_open(&work, run.apply, WORK_TXN, run_txn_of(&run, requests[i]),
                                       &run.arena, true),
                             STATUS_OK);
            for (uint64_t budget = step; !work_step(&work, &budget); budget = step) {
                assert_int_equal(mvcc_revision(run.mvcc), 4);
            }
            enum status status = work_end(&work, &reply, &pieces);
            backend_end(run.backend, ++run.index, 1);
            struct buf got = {0};
            buf_printf(&got, "%d %08x ", (int)status, run_hash(&run));
            buf_append_slice(&got, reply);
            if (units == 0) {
                buf_append_slice(&want, buf_slice(&got));
            }
            assert_null(pieces);
            assert_true(slice_eq(buf_slice(&got), buf_slice(&want)));
            buf_fini(&got);
            run_close(&run);
        }
        buf_fini(&want);
    }
}

/* Without a reply nobody reads rows, and the state is the same. */
TEST(work, what_nobody_waits_for_changes_the_same_and_makes_no_reply)
{
    struct run run;
    struct work work;
    struct pieces *pieces;
    struct slice reply;
    uint64_t budget = UINT64_MAX;
    struct mvcc_stats before;
    struct mvcc_stats after;
    run_open(&run);
    run_do(&run, "pa1");
    mvcc_stats(run.mvcc, &before);
    backend_begin(run.backend);
    assert_int_equal(work_open(&work, run.apply, WORK_TXN, run_txn_of(&run, "{ : ga-0 Pa2 Da : }"),
                               &run.arena, false),
                     STATUS_OK);
    assert_true(work_step(&work, &budget));
    assert_int_equal(work_end(&work, &reply, &pieces), STATUS_OK);
    backend_end(run.backend, ++run.index, 1);
    assert_int_equal(reply.len, 0);
    assert_null(pieces);
    mvcc_stats(run.mvcc, &after);
    assert_int_equal(after.ranges, before.ranges);
    assert_do(&run, "ga", "[#0]@3");
    run_close(&run);
}

/* One that only reads is given up between two steps, wherever it is. */
TEST(work, a_read_that_is_given_up_leaves_nothing_open)
{
    struct test t;
    test_open(&t, 5);
    for (unsigned i = 0; i < 300; i++) {
        struct make make = {.arena = &t.arena, .seed = i, .writes = false};
        struct work work;
        struct pieces *pieces;
        struct slice reply;
        make.revision = t.model.revision;
        bool is_done = false;
        unsigned steps = i % 40;
        assert_int_equal(
            work_open(&work, t.run.apply, WORK_TXN_READ, make_txn(&make, 0), &t.arena, true),
            STATUS_OK);
        for (unsigned k = 0; k <= steps && !is_done; k++) {
            uint64_t budget = 20;
            is_done = work_step(&work, &budget);
        }
        if (!is_done) {
            work_close(&work);
        } else if (work_end(&work, &reply, &pieces) == STATUS_OK && pieces != NULL) {
            pieces_close(pieces);
        }
        struct mvcc_stats stats;
        mvcc_stats(t.run.mvcc, &stats);
        assert_int_equal(stats.open_reads, 0);
    }
    test_close(&t);
}
