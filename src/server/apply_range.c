/* Range: what is fetched, filtered, sorted and cut, in etcd's order.
 *
 *   1. fetch  with a sort order or a revision filter everything, else limit + 1 keys
 *   2. filter by mod and create revision
 *   3. sort   by the target; a target other than KEY without an order sorts ascending what was
 *             fetched, so after the limit: that is etcd's behaviour
 *   4. cut    to the limit; `more` when something was cut
 *
 * `count` is of the whole range, before filters and limit.
 *
 * A read without filter and sort (nearly all) splices each row as it comes and keeps nothing. */
#include "server/apply_priv.h"

#include "codec/pbwire.h"

#include <stdlib.h>

typedef Etcdserverpb__RangeRequest RangeRequest;

static bool is_filtered(const RangeRequest *request)
{
    return request->min_mod_revision != 0 || request->max_mod_revision != 0 ||
           request->min_create_revision != 0 || request->max_create_revision != 0;
}

static bool passes(const RangeRequest *request, const struct mvcc_row *row)
{
    return !(request->max_mod_revision != 0 && row->mod > request->max_mod_revision) &&
           !(request->min_mod_revision != 0 && row->mod < request->min_mod_revision) &&
           !(request->max_create_revision != 0 && row->create > request->max_create_revision) &&
           !(request->min_create_revision != 0 && row->create < request->min_create_revision);
}

static void row_parse(struct slice raw, struct mvcc_row *row)
{
    if (mvcc_row_parse(raw, row) != ERR_OK) {
        fatal("the database holds a row that is no key-value; restore it from a snapshot");
    }
}

/* Field 2 of the response. */
static void kv_append(struct buf *out, bool keys_only, struct slice raw)
{
    if (!keys_only) {
        reply_put_bytes(out, 2, raw);
        return;
    }
    struct mvcc_row row;
    row_parse(raw, &row);
    struct kv_row bare = {
        .key = row.key,
        .create_revision = row.create,
        .mod_revision = row.mod,
        .version = row.version,
        .lease = row.lease,
    };
    size_t start = out->len;
    kv_row_encode(&bare, out);
    reply_wrap(out, start, 2);
}

/* ---- the plain way ------------------------------------------------------------------------- */

static void range_plain(const RangeRequest *request, struct mvcc_read *read, struct buf *out,
                        bool *more_out)
{
    uint64_t limit = request->limit > 0 ? (uint64_t)request->limit : UINT64_MAX;
    uint64_t count = 0;
    struct slice raw;
    *more_out = false;
    while (mvcc_read_next(read, &raw)) {
        if (count == limit) {
            *more_out = true;
            return;
        }
        kv_append(out, request->keys_only, raw);
        count++;
    }
}

/* ---- the sorted and filtered way ------------------------------------------------------------ */

struct kept {
    size_t at; /* of the raw row in `rows` */
    size_t len;
    int sign;            /* -1 to sort descending */
    struct mvcc_row row; /* slices are set once `rows` stands still */
};

struct gathered {
    struct buf rows;
    struct kept *items;
    size_t count;
    size_t cap;
};

static void gather(struct gathered *g, struct slice raw, const struct mvcc_row *row)
{
    if (g->count == g->cap) {
        g->cap = g->cap == 0 ? 64 : g->cap * 2;
        g->items = mem_realloc(g->items, g->cap * sizeof(struct kept));
    }
    g->items[g->count++] = (struct kept){.at = g->rows.len, .len = raw.len, .row = *row};
    buf_append_slice(&g->rows, raw);
}

static int order_i64(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* Ties keep key order, descending too, as Go's sort does for the few rows where it is stable: rows
 * lie in `rows` in the order of their keys. */
#define SORT_BY(name, expr)                                                                        \
    static int name(const void *x, const void *y)                                                  \
    {                                                                                              \
        const struct kept *a = x;                                                                  \
        const struct kept *b = y;                                                                  \
        int order = (expr)*a->sign;                                                                \
        return order != 0 ? order : (a->at > b->at) - (a->at < b->at);                             \
    }
SORT_BY(by_key, slice_cmp(a->row.key, b->row.key))
SORT_BY(by_version, order_i64(a->row.version, b->row.version))
SORT_BY(by_create, order_i64(a->row.create, b->row.create))
SORT_BY(by_mod, order_i64(a->row.mod, b->row.mod))
SORT_BY(by_value, slice_cmp(a->row.value, b->row.value))

static void sort(const RangeRequest *request, struct gathered *g)
{
    static int (*const orders[])(const void *, const void *) = {
        [ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY] = by_key,
        [ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VERSION] = by_version,
        [ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE] = by_create,
        [ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD] = by_mod,
        [ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE] = by_value,
    };
    bool has_order = request->sort_order != ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE;
    bool by_default = request->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY;
    if (!has_order && by_default) {
        return;
    }
    if ((size_t)request->sort_target < ARRAY_LEN(orders) && g->count > 0) {
        qsort(g->items, g->count, sizeof(struct kept), orders[request->sort_target]);
    }
}

static void range_gathered(const RangeRequest *request, struct mvcc_read *read, struct buf *out,
                           bool *more_out)
{
    struct gathered g = {0};
    struct slice raw;
    bool has_order = request->sort_order != ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE;
    bool fetch_all = request->limit <= 0 || has_order || is_filtered(request);
    uint64_t fetch = fetch_all ? UINT64_MAX : (uint64_t)request->limit + 1;
    for (uint64_t i = 0; i < fetch && mvcc_read_next(read, &raw); i++) {
        struct mvcc_row row;
        row_parse(raw, &row);
        if (passes(request, &row)) {
            gather(&g, raw, &row);
        }
    }
    bool is_descending = request->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    for (size_t i = 0; i < g.count; i++) {
        g.items[i].sign = is_descending ? -1 : 1;
        row_parse(slice_of(g.rows.data + g.items[i].at, g.items[i].len), &g.items[i].row);
    }
    sort(request, &g);
    uint64_t give = g.count;
    if (request->limit > 0 && give > (uint64_t)request->limit) {
        give = (uint64_t)request->limit;
    }
    for (uint64_t i = 0; i < give; i++) {
        kv_append(out, request->keys_only, g.items[i].row.raw);
    }
    *more_out = give < g.count;
    mem_free(g.items);
    buf_fini(&g.rows);
}

/* ---- entry points --------------------------------------------------------------------------- */

enum status apply__range_body(struct apply *apply, const RangeRequest *request, struct buf *out,
                              int64_t *revision_out)
{
    struct key_range range = key_range_of(pb_bytes(request->key), pb_bytes(request->range_end));
    struct mvcc_read read;
    struct key_count total;
    bool more = false;
    enum err err = mvcc_read_open(apply->options.mvcc, &range, request->revision, &read);
    if (err != ERR_OK) {
        return err == ERR_COMPACTED ? STATUS_COMPACTED : STATUS_FUTURE_REVISION;
    }
    while (!mvcc_read_measure(&read, UINT64_MAX, &total)) {
    }
    if (request->count_only) {
        /* nothing but the count */
    } else if (is_filtered(request) ||
               request->sort_order != ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE ||
               request->sort_target != ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY) {
        range_gathered(request, &read, out, &more);
    } else {
        if (request->limit <= 0) {
            buf_reserve(out, total.wire_bytes + 32);
        }
        range_plain(request, &read, out, &more);
    }
    mvcc_read_close(&read);
    reply_put_uint(out, 3, more);
    reply_put_uint(out, 4, total.keys);
    *revision_out = mvcc_revision(apply->options.mvcc);
    return STATUS_OK;
}

/* A reply larger than this does not leave its scratch memory behind. */
#define SCRATCH_KEEP ((size_t)1 << 20)

enum status apply_range(struct apply *apply, const RangeRequest *request, struct arena *arena,
                        struct slice *reply_out)
{
    int64_t revision;
    if (alarms_any(apply->options.alarms, ALARM_CORRUPT)) {
        return STATUS_CORRUPT;
    }
    buf_reset(&apply->scratch);
    enum status status = apply__range_body(apply, request, &apply->scratch, &revision);
    if (status == STATUS_OK) {
        *reply_out = apply__reply(apply, revision, buf_slice(&apply->scratch), arena);
    }
    if (apply->scratch.cap > SCRATCH_KEEP) {
        buf_fini(&apply->scratch);
    }
    return status;
}
