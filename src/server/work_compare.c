/* Compares of a Txn. One of a range looks at its keys until one fails: of a million, over turns. */
#include "server/work_priv.h"

#include "codec/pb.h"

typedef Etcdserverpb__Compare Compare;

/* A compare of one key that is looked at: its place in the index, and perhaps its row. */
#define COMPARE_UNITS ((uint64_t)4)

static int compare_int(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* A union member of another target than the compare's counts as zero, as in etcd. */
static int compare_kv(const Compare *compare, const struct mvcc_row *row)
{
    Etcdserverpb__Compare__TargetUnionCase set = compare->target_union_case;
    switch (compare->target) {
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE:
        return slice_cmp(row->value, set == ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE
                                         ? pb_bytes(compare->value)
                                         : SLICE_EMPTY);
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE:
        return compare_int(row->create, set == ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION
                                            ? compare->create_revision
                                            : 0);
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD:
        return compare_int(row->mod, set == ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION
                                         ? compare->mod_revision
                                         : 0);
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION:
        return compare_int(row->version, set == ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION
                                             ? compare->version
                                             : 0);
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE:
        return compare_int(row->lease,
                           set == ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE ? compare->lease : 0);
    case _ETCDSERVERPB__COMPARE__COMPARE_TARGET_IS_INT_SIZE:
        break;
    }
    return 0;
}

static bool holds_for(const Compare *compare, const struct mvcc_row *row)
{
    int order = compare_kv(compare, row);
    switch (compare->result) {
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL:
        return order == 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL:
        return order != 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER:
        return order > 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS:
        return order < 0;
    case _ETCDSERVERPB__COMPARE__COMPARE_RESULT_IS_INT_SIZE:
        break;
    }
    return true; /* compatibility: an unknown operator holds */
}

/* On nothing: a value compare fails, the others see zeros. */
static bool holds_for_none(const Compare *compare)
{
    struct mvcc_row none = {0};
    return compare->target != ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE &&
           holds_for(compare, &none);
}

static bool needs_row(const Compare *compare)
{
    return compare->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE ||
           compare->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE;
}

static struct mvcc_row row_of_version(const struct key_version *version)
{
    return (struct mvcc_row){
        .create = version->create, .mod = version->mod.main, .version = version->version};
}

/* What the index does not tell is in the row. One that only reads may meet another's transaction
 * half done, and the index with what it has changed so far. */
static bool holds_for_one(struct work *work, const Compare *compare)
{
    struct mvcc *mvcc = work->apply->options.mvcc;
    struct slice key = pb_bytes(compare->key);
    struct mvcc_row row;
    struct key_version version;
    bool is_there;
    if (work->is_anchored) {
        is_there = mvcc_read_get(work->anchor, key, &row);
    } else if (work->kind == WORK_TXN && !needs_row(compare)) {
        is_there = mvcc_get_version(mvcc, key, &version);
        row = is_there ? row_of_version(&version) : (struct mvcc_row){0};
    } else {
        is_there = mvcc_get(mvcc, key, &row);
    }
    return is_there ? holds_for(compare, &row) : holds_for_none(compare);
}

/* ---- of ranges ------------------------------------------------------------------------------- */

static void compared_open(struct work *work, const Compare *compare)
{
    struct key_range range = key_range_of(pb_bytes(compare->key), pb_bytes(compare->range_end));
    if (work->compared == NULL) {
        work->compared = arena_alloc(work->arena, sizeof(*work->compared));
    }
    if (work->is_anchored) {
        mvcc_read_open_beside(work->anchor, &range, work->compared);
    } else {
        enum err err = mvcc_read_open(work->apply->options.mvcc, &range, 0, work->compared);
        ASSERT(err == ERR_OK); /* the current revision is never compacted */
    }
    work->is_comparing = true;
    work->has_compared = false;
}

static bool holds_for_version(struct work *work, const Compare *compare,
                              const struct key_version *version, uint64_t *budget)
{
    struct mvcc_row row = row_of_version(version);
    if (needs_row(compare) || !version->is_newest) {
        uint64_t pages = work->compared->pages;
        struct slice raw = mvcc_read_row(work->compared, version->mod, version->row_len);
        work__spend(budget, RANGE_ROW_UNITS + RANGE_PAGE_UNITS * (work->compared->pages - pages) +
                                raw.len / RANGE_UNIT_BYTES);
        if (mvcc_row_parse(raw, &row) != ERR_OK) {
            fatal("the database holds a row that is no key-value; restore it from a snapshot");
        }
    }
    return holds_for(compare, &row);
}

/* False: the budget is used up. */
static bool compare_range(struct work *work, const Compare *compare, uint64_t *budget,
                          bool *holds_out)
{
    struct key_version version;
    bool holds = true;
    if (!work->is_comparing) {
        compared_open(work, compare);
    }
    while (holds && *budget > 0 && mvcc_read_key(work->compared, &version, budget)) {
        work->has_compared = true;
        holds = holds_for_version(work, compare, &version, budget);
    }
    if (holds && !mvcc_read_is_done(work->compared)) {
        return false;
    }
    mvcc_read_close(work->compared);
    work->is_comparing = false;
    *holds_out = work->has_compared ? holds : holds_for_none(compare);
    return true;
}

bool work__compare(struct work *work, const Etcdserverpb__TxnRequest *txn, uint64_t *budget,
                   bool *holds_out)
{
    bool holds = true;
    for (; holds && work->compare < txn->n_compare; work->compare++) {
        const Compare *compare = txn->compare[work->compare];
        if (*budget == 0) {
            return false;
        }
        if (compare->range_end.len == 0) {
            holds = holds_for_one(work, compare);
            work__spend(budget, COMPARE_UNITS);
        } else if (!compare_range(work, compare, budget, &holds)) {
            return false;
        }
    }
    work->compare = 0;
    *holds_out = holds;
    return true;
}
