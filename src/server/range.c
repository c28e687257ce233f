/* Etcd's order of things:
 *
 *   1. fetch  with a sort order or a filter everything, else limit + 1 keys
 *   2. filter by mod and create revision
 *   3. sort   by the target; a target other than KEY without an order sorts ascending what was
 *             fetched, so after the limit: that is etcd's behaviour
 *   4. cut    to the limit; `more` when something was cut
 *
 * `count` is of the whole range, before filters and limit.
 *
 * Sorted by key, in either direction, is the order of the index: such a Range walks it, once to
 * measure (unless the index knows the sum) and once to give the rows out. Both walks see the same
 * rows, because both are as of one revision. The others gather references and make a heap of them:
 * unlike a quicksort it can be left and taken up again after every step, and it needs no second
 * array. What the reply will hold is popped to the end of the array, so it is read from there
 * backwards.
 *
 * Ties keep key order, descending too, as Go's sort does for the few rows where it is stable. */
#include "server/range.h"

#include "codec/pb.h"
#include "codec/pbwire.h"

/* rpc.proto: RangeResponse.kvs, DeleteRangeResponse.prev_kvs. Their tags are equally long. */
#define KVS_FIELD 2
#define PREV_KVS_FIELD 3
#define REFS_CAP_MIN 64
/* What a step of the heap costs: some twenty levels in memory that is not cached. */
#define SIFT_UNITS 4

typedef Etcdserverpb__RangeRequest RangeRequest;

static void spend(uint64_t *budget, uint64_t units)
{
    *budget -= units < *budget ? units : *budget;
}

/* ---- rows -------------------------------------------------------------------------------------
 */

static struct slice row_read(struct range *range, struct revision mod, uint32_t row_len,
                             uint64_t *budget)
{
    uint64_t pages = range->read.pages;
    struct slice raw = mvcc_read_row(&range->read, mod, row_len);
    spend(budget, RANGE_ROW_UNITS + RANGE_PAGE_UNITS * (range->read.pages - pages));
    return raw;
}

/* The row of a key, taken apart. */
static void row_load(struct range *range, struct revision mod, uint32_t row_len,
                     struct mvcc_row *out, uint64_t *budget)
{
    if (mvcc_row_parse(row_read(range, mod, row_len, budget), out) != ERR_OK) {
        fatal("the database holds a row that is no key-value; restore it from a snapshot");
    }
}

/* Key, create and mod revision and version: from the index if it has them all, else from the row.
 */
static void facts_load(struct range *range, const struct key_version *version, struct mvcc_row *out,
                       uint64_t *budget)
{
    if (!version->is_newest) {
        row_load(range, version->mod, version->row_len, out, budget);
        return;
    }
    *out = (struct mvcc_row){
        .key = version->key,
        .create = version->create,
        .mod = version->mod.main,
        .version = version->version,
    };
}

static bool is_between(int64_t value, int64_t min, int64_t max)
{
    return !(max != 0 && value > max) && !(min != 0 && value < min);
}

static bool passes(struct range *range, const struct key_version *version, uint64_t *budget)
{
    const RangeRequest *request = range->request;
    struct mvcc_row row;
    if (!range->is_filtered) {
        return true;
    }
    if (!is_between(version->mod.main, request->min_mod_revision, request->max_mod_revision)) {
        return false;
    }
    if (request->min_create_revision == 0 && request->max_create_revision == 0) {
        return true;
    }
    facts_load(range, version, &row, budget);
    return is_between(row.create, request->min_create_revision, request->max_create_revision);
}

static struct kv_row bare_of(const struct mvcc_row *row)
{
    return (struct kv_row){
        .key = row->key,
        .create_revision = row->create,
        .mod_revision = row->mod,
        .version = row->version,
        .lease = row->lease,
    };
}

/* What a row takes in the reply without tag and length. The index knows no leases, so to leave the
 * value out the row has to be seen. */
static uint32_t body_len(struct range *range, const struct key_version *version, uint64_t *budget)
{
    struct mvcc_row row;
    if (!range->request->keys_only) {
        return version->row_len;
    }
    row_load(range, version->mod, version->row_len, &row, budget);
    struct kv_row bare = bare_of(&row);
    return (uint32_t)kv_row_size(&bare);
}

/* ---- sorting ----------------------------------------------------------------------------------
 */

static bool sorts_by_value(const struct range *range)
{
    return range->request->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE;
}

/* The first 8 bytes, as a number that compares as they do. */
static int64_t value_prefix(struct slice value)
{
    uint64_t prefix = 0;
    for (size_t i = 0; i < 8; i++) {
        prefix = prefix << 8 | (i < value.len ? value.data[i] : 0);
    }
    return (int64_t)(prefix ^ (UINT64_C(1) << 63));
}

static int64_t order_of(struct range *range, const struct key_version *version, uint64_t *budget)
{
    struct mvcc_row row;
    if (sorts_by_value(range)) {
        row_load(range, version->mod, version->row_len, &row, budget);
        return value_prefix(row.value);
    }
    facts_load(range, version, &row, budget);
    switch (range->request->sort_target) {
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VERSION:
        return row.version;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE:
        return row.create;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD:
        return row.mod;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY:
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE:
    case _ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET_IS_INT_SIZE:
        break;
    }
    UNREACHABLE();
}

static int compare_values(struct range *range, const struct range_ref *a, const struct range_ref *b,
                          uint64_t *budget)
{
    struct mvcc_row left;
    struct mvcc_row right;
    row_load(range, (struct revision){a->mod_main, a->mod_sub}, a->row_len, &left, budget);
    buf_reset(&range->left); /* the next row may be put where this one is */
    buf_append_slice(&range->left, left.value);
    left.value = buf_slice(&range->left);
    row_load(range, (struct revision){b->mod_main, b->mod_sub}, b->row_len, &right, budget);
    spend(budget,
          (left.value.len < right.value.len ? left.value.len : right.value.len) / RANGE_UNIT_BYTES);
    return slice_cmp(left.value, right.value);
}

static bool is_before(struct range *range, size_t x, size_t y, uint64_t *budget)
{
    const struct range_ref *a = &range->refs[x];
    const struct range_ref *b = &range->refs[y];
    int order = (a->order > b->order) - (a->order < b->order);
    if (order == 0 && sorts_by_value(range)) {
        order = compare_values(range, a, b, budget);
    }
    if (range->request->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND) {
        order = -order;
    }
    return order != 0 ? order < 0 : a->at < b->at;
}

static void ref_swap(struct range *range, size_t x, size_t y)
{
    struct range_ref kept = range->refs[x];
    range->refs[x] = range->refs[y];
    range->refs[y] = kept;
}

static void sift_down(struct range *range, size_t at, uint64_t *budget)
{
    spend(budget, SIFT_UNITS);
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= range->heap_len) {
            return;
        }
        if (child + 1 < range->heap_len && is_before(range, child + 1, child, budget)) {
            child++;
        }
        if (!is_before(range, child, at, budget)) {
            return;
        }
        ref_swap(range, at, child);
        at = child;
    }
}

static void ref_add(struct range *range, const struct key_version *version, uint64_t *budget)
{
    if (range->ref_count == range->ref_cap) {
        range->ref_cap = range->ref_cap == 0 ? REFS_CAP_MIN : 2 * range->ref_cap;
        range->refs = mem_realloc(range->refs, range->ref_cap * sizeof(range->refs[0]));
    }
    ASSERT(range->ref_count < UINT32_MAX); /* so many keys fit in no memory */
    range->refs[range->ref_count] = (struct range_ref){
        .order = order_of(range, version, budget),
        .mod_main = version->mod.main,
        .mod_sub = version->mod.sub,
        .row_len = version->row_len,
        .body_len = body_len(range, version, budget),
        .at = (uint32_t)range->ref_count,
    };
    range->ref_count++;
}

/* ---- measuring --------------------------------------------------------------------------------
 */

static void measured(struct range *range)
{
    uint64_t found = range->is_filtered ? range->found : range->total;
    struct buf tail = {.data = range->tail, .cap = sizeof(range->tail)};
    range->stage = RANGE_HEAD;
    mvcc_read_expect(&range->read, range->give);
    if (range->request->count_only) {
        found = 0;
    }
    reply_put_uint(&tail, 3, found > range->limit);
    reply_put_uint(&tail, 4, range->total);
    ASSERT(tail.data == range->tail); /* at most 2 + 11 bytes: it never grows */
    range->tail_len = tail.len;
}

/* How many keys a walk or a gathering may look at, so that it is known from the first row on
 * whether they are many. */
static uint64_t looked_at_max(const struct range *range)
{
    return range->is_sorted || range->is_filtered || range->total < range->limit ? range->total
                                                                                 : range->limit;
}

/* The keys of the range are counted: what else has to be known? */
static void counted(struct range *range, struct key_count total)
{
    range->total = total.keys;
    if (range->request->count_only) {
        measured(range);
        return;
    }
    mvcc_read_rewind(&range->read, range->is_reverse);
    if (range->is_sorted || range->is_filtered || range->request->keys_only) {
        mvcc_read_expect(&range->read, looked_at_max(range));
    }
    if (range->is_sorted) {
        range->stage = RANGE_GATHER;
        return;
    }
    if (range->is_filtered || range->request->keys_only) {
        range->stage = RANGE_WALK;
        return;
    }
    range->give = total.keys < range->limit ? total.keys : range->limit;
    range->bytes = total.wire_bytes;
    if (range->give < total.keys && !range->read.is_current) {
        range->bytes = 0;
        range->stage = RANGE_WALK;
        return;
    }
    if (range->give < total.keys) {
        range->bytes = mvcc_read_count(&range->read, range->limit, range->is_reverse).wire_bytes;
    }
    measured(range);
}

static bool count(struct range *range, uint64_t *budget)
{
    struct key_count total;
    if (!mvcc_read_measure(&range->read, budget, &total)) {
        return false;
    }
    counted(range, total);
    return true;
}

/* One key of a walk or a gathering. False: there is none any more, or the budget is used up. */
static bool next_key(struct range *range, struct key_version *version, uint64_t *budget)
{
    while (*budget > 0 && mvcc_read_key(&range->read, version, budget)) {
        if (passes(range, version, budget)) {
            return true;
        }
    }
    return false;
}

static bool walk(struct range *range, uint64_t *budget)
{
    struct key_version version;
    /* Filtered, the first row behind the limit tells that there is more. */
    uint64_t enough = range->limit + (range->is_filtered && range->limit < UINT64_MAX);
    while (range->found < enough) {
        if (!next_key(range, &version, budget)) {
            if (!mvcc_read_is_done(&range->read)) {
                return false;
            }
            break;
        }
        range->found++;
        if (range->found <= range->limit) {
            range->give = range->found;
            range->bytes += keyindex_wire_len(body_len(range, &version, budget));
        }
    }
    mvcc_read_rewind(&range->read, range->is_reverse);
    measured(range);
    return true;
}

static bool gather(struct range *range, uint64_t *budget)
{
    struct key_version version;
    bool has_order = range->request->sort_order != ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE;
    uint64_t fetch = has_order || range->is_filtered || range->limit == UINT64_MAX
                         ? UINT64_MAX
                         : range->limit + 1;
    while (range->ref_count < fetch) {
        if (!next_key(range, &version, budget)) {
            if (!mvcc_read_is_done(&range->read)) {
                return false;
            }
            break;
        }
        ref_add(range, &version, budget);
    }
    range->found = range->ref_count;
    range->heap_len = range->ref_count;
    range->heap_next = range->ref_count / 2;
    range->stage = RANGE_HEAP;
    return true;
}

static bool heap_make(struct range *range, uint64_t *budget)
{
    while (range->heap_next > 0) {
        if (*budget == 0) {
            return false;
        }
        range->heap_next--;
        sift_down(range, range->heap_next, budget);
    }
    range->stage = RANGE_POP;
    return true;
}

static bool heap_pop(struct range *range, uint64_t *budget)
{
    while (range->heap_len > 0 && range->give < range->limit) {
        if (*budget == 0) {
            return false;
        }
        range->bytes += keyindex_wire_len(range->refs[0].body_len);
        range->give++;
        range->heap_len--;
        ref_swap(range, 0, range->heap_len);
        sift_down(range, 0, budget);
    }
    measured(range);
    return true;
}

bool range_measure(struct range *range, uint64_t *budget)
{
    static bool (*const steps[])(struct range * range, uint64_t * budget) = {
        [RANGE_COUNT] = count,    [RANGE_WALK] = walk,    [RANGE_GATHER] = gather,
        [RANGE_HEAP] = heap_make, [RANGE_POP] = heap_pop,
    };
    while (range->stage < RANGE_HEAD) {
        if (!steps[range->stage](range, budget)) {
            return false;
        }
    }
    return true;
}

uint64_t range_len(const struct range *range)
{
    ASSERT(range->stage >= RANGE_HEAD);
    return range->head_len + range->bytes + range->tail_len;
}

uint64_t range_rows(const struct range *range)
{
    ASSERT(range->stage >= RANGE_HEAD);
    return range->give;
}

/* ---- giving -----------------------------------------------------------------------------------
 */

/* Finds the next row of the reply. False: the budget is used up. */
static bool row_find(struct range *range, uint64_t *budget)
{
    struct key_version version;
    if (range->is_sorted) {
        const struct range_ref *ref = &range->refs[range->ref_count - 1 - range->given];
        range->row = (struct revision){.main = ref->mod_main, .sub = ref->mod_sub};
        range->row_len = ref->row_len;
        return true;
    }
    if (!next_key(range, &version, budget)) {
        ASSERT(!mvcc_read_is_done(&range->read)); /* measuring has met it */
        return false;
    }
    range->row = version.mod;
    range->row_len = version.row_len;
    return true;
}

/* The body of the row under way. */
static struct slice row_body(struct range *range, uint64_t *budget)
{
    if (!range->request->keys_only) {
        return row_read(range, range->row, range->row_len, budget);
    }
    if (range->item_at == 0) {
        struct mvcc_row row;
        row_load(range, range->row, range->row_len, &row, budget);
        struct kv_row bare = bare_of(&row);
        buf_reset(&range->bare);
        kv_row_encode(&bare, &range->bare);
    }
    return buf_slice(&range->bare);
}

/* Copies what fits of bytes[skip...]. */
static size_t copy_from(struct slice bytes, size_t skip, uint8_t *at, size_t room)
{
    size_t len = bytes.len - skip < room ? bytes.len - skip : room;
    if (len > 0) {
        memcpy(at, bytes.data + skip, len);
    }
    return len;
}

/* Gives of the row under way, or of the next one, what fits. 0: the budget is used up. */
static size_t row_fill(struct range *range, uint8_t *at, size_t room, uint64_t *budget)
{
    uint8_t head[2 * PBWIRE_VARINT_MAX];
    size_t done = 0;
    if (range->item_len == 0) {
        if (!row_find(range, budget)) {
            return 0;
        }
        range->item_at = 0;
    }
    struct slice body = row_body(range, budget);
    size_t head_len = (size_t)(pbwire_put_head(head, range->row_field, body.len) - head);
    range->item_len = head_len + body.len;
    if (range->item_at < head_len) {
        done = copy_from(slice_of(head, head_len), range->item_at, at, room);
    }
    if (range->item_at + done >= head_len) {
        done += copy_from(body, range->item_at + done - head_len, at + done, room - done);
    }
    spend(budget, done / RANGE_UNIT_BYTES);
    range->item_at += done;
    if (range->item_at == range->item_len) {
        range->item_len = 0;
        range->given++;
    }
    return done;
}

static size_t edge_fill(struct range *range, struct slice edge, uint8_t *at, size_t room)
{
    size_t len = copy_from(edge, range->edge_at, at, room);
    range->edge_at += len;
    if (range->edge_at == edge.len) {
        range->edge_at = 0;
        range->stage++;
    }
    return len;
}

size_t range_fill(struct range *range, uint8_t *at, size_t room, uint64_t *budget)
{
    size_t done = 0;
    ASSERT(range->stage >= RANGE_HEAD);
    while (done<room && * budget> 0 && range->stage != RANGE_END) {
        if (range->stage == RANGE_HEAD) {
            done += edge_fill(range, slice_of(range->head, range->head_len), at, room);
        } else if (range->stage == RANGE_TAIL) {
            done +=
                edge_fill(range, slice_of(range->tail, range->tail_len), at + done, room - done);
        } else if (range->given == range->give) {
            range->stage = RANGE_TAIL;
        } else {
            done += row_fill(range, at + done, room - done, budget);
        }
    }
    return done;
}

bool range_is_given(const struct range *range)
{
    return range->stage == RANGE_END;
}

void range_pause(struct range *range)
{
    mvcc_read_pause(&range->read);
}

/* ---- life -------------------------------------------------------------------------------------
 */

/* A target that this version does not know sorts nothing: key order. */
static bool needs_sort(const RangeRequest *request)
{
    switch (request->sort_target) {
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VERSION:
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE:
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD:
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE:
        return true;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY:
    case _ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET_IS_INT_SIZE:
        break;
    }
    return false;
}

static struct key_range keys_of(const RangeRequest *request)
{
    return key_range_of(pb_bytes(request->key), pb_bytes(request->range_end));
}

static void range_init(struct range *range, const RangeRequest *request, int64_t revision)
{
    *range = (struct range){
        .request = request,
        .row_field = KVS_FIELD,
        .limit = request->limit > 0 ? (uint64_t)request->limit : UINT64_MAX,
        .is_filtered = request->min_mod_revision != 0 || request->max_mod_revision != 0 ||
                       request->min_create_revision != 0 || request->max_create_revision != 0,
        .is_sorted = needs_sort(request),
        .is_reverse = request->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY &&
                      request->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND,
        .revision = revision,
    };
}

/* With its read open. */
static void range_begin(struct range *range, const struct reply_header *header)
{
    if (header != NULL) {
        struct buf head = {.data = range->head, .cap = sizeof(range->head)};
        struct reply_header now = *header;
        now.revision = range->revision;
        reply_put_header(&head, 1, &now);
        ASSERT(head.data == range->head); /* at most 2 + 4 * 11 bytes: it never grows */
        range->head_len = head.len;
    }
    if (range->read.is_current) {
        uint64_t none = 0;
        bool is_counted = count(range, &none);
        ASSERT(is_counted);
    }
}

enum status range_open(struct mvcc *mvcc, const RangeRequest *request,
                       const struct reply_header *header, struct range *range)
{
    struct key_range keys = keys_of(request);
    range_init(range, request, mvcc_revision(mvcc));
    enum err err = mvcc_read_open(mvcc, &keys, request->revision, &range->read);
    if (err != ERR_OK) {
        return err == ERR_COMPACTED ? STATUS_COMPACTED : STATUS_FUTURE_REVISION;
    }
    range_begin(range, header);
    return STATUS_OK;
}

void range_open_beside(const struct mvcc_read *other, const RangeRequest *request,
                       const struct reply_header *header, struct range *range)
{
    struct key_range keys = keys_of(request);
    range_init(range, request, other->at);
    mvcc_read_open_beside(other, &keys, &range->read);
    range_begin(range, header);
}

void range_be_prev_kvs(struct range *range)
{
    ASSERT(range->stage == RANGE_HEAD);
    ASSERT(range->edge_at == 0);
    ASSERT(range->head_len == 0);
    range->row_field = PREV_KVS_FIELD;
    range->tail_len = 0;
}

void range_close(struct range *range)
{
    mvcc_read_close(&range->read);
    mem_free(range->refs);
    buf_fini(&range->bare);
    buf_fini(&range->left);
}
