/* Range as part of apply: with its header, whole or to be streamed; the work is server/range's. */
#include "server/apply_priv.h"

static enum status open_range(struct apply *apply, const Etcdserverpb__RangeRequest *request,
                              bool has_header, struct range *range)
{
    struct reply_header header = apply_header(apply);
    return range_open(apply->options.mvcc, request, has_header ? &header : NULL, range);
}

static void measure_all(struct range *range)
{
    uint64_t budget = UINT64_MAX;
    bool is_measured = range_measure(range, &budget);
    ASSERT(is_measured);
}

static void fill_all(struct range *range, uint8_t *at, size_t len)
{
    uint64_t budget = UINT64_MAX;
    size_t filled = range_fill(range, at, len, &budget);
    ASSERT(filled == len);
}

enum status apply__range_body(struct apply *apply, const Etcdserverpb__RangeRequest *request,
                              struct buf *out, int64_t *revision_out)
{
    struct range range;
    enum status status = open_range(apply, request, false, &range);
    if (status != STATUS_OK) {
        return status;
    }
    measure_all(&range);
    size_t len = (size_t)range_len(&range);
    fill_all(&range, buf_extend(out, len), len);
    range_close(&range);
    *revision_out = range.revision;
    return STATUS_OK;
}

/* A row up to this long is copied into a reply without further ado. */
#define ONE_MAX ((size_t)32 * 1024)

static bool is_one(const Etcdserverpb__RangeRequest *request)
{
    /* Limit and sort orders change nothing about one row. */
    return request->range_end.len == 0 && request->revision <= 0 && !request->keys_only &&
           !request->count_only && request->min_mod_revision == 0 &&
           request->max_mod_revision == 0 && request->min_create_revision == 0 &&
           request->max_create_revision == 0;
}

bool apply_range_one(struct apply *apply, const Etcdserverpb__RangeRequest *request,
                     struct arena *arena, struct slice *reply_out)
{
    enum { KVS = 2, COUNT = 4, EDGES_MAX = 128 };
    struct slice raw;
    if (!is_one(request) || alarms_any(apply->options.alarms, ALARM_CORRUPT) ||
        !mvcc_read_one(apply->options.mvcc, pb_bytes(request->key), ONE_MAX, &raw)) {
        return false;
    }
    struct reply_header header = apply_header(apply);
    struct buf out = {.data = arena_alloc(arena, raw.len + EDGES_MAX), .cap = raw.len + EDGES_MAX};
    const uint8_t *start = out.data;
    reply_put_header(&out, 1, &header);
    if (raw.len > 0) {
        reply_put_bytes(&out, KVS, raw);
        reply_put_uint(&out, COUNT, 1);
    }
    ASSERT(out.data ==
           start); /* at most 2 + 4 * 11, 6 and 2 bytes around the row: it never grows */
    *reply_out = buf_slice(&out);
    return true;
}

enum status apply_range_open(struct apply *apply, const Etcdserverpb__RangeRequest *request,
                             struct range *range)
{
    if (alarms_any(apply->options.alarms, ALARM_CORRUPT)) {
        return STATUS_CORRUPT;
    }
    return open_range(apply, request, true, range);
}

struct slice apply_range_take(struct range *range, struct arena *arena)
{
    size_t len = (size_t)range_len(range);
    uint8_t *reply = arena_alloc(arena, len);
    fill_all(range, reply, len);
    range_close(range);
    return slice_of(reply, len);
}

enum status apply_range(struct apply *apply, const Etcdserverpb__RangeRequest *request,
                        struct arena *arena, struct slice *reply_out)
{
    struct range range;
    if (apply_range_one(apply, request, arena, reply_out)) {
        return STATUS_OK;
    }
    enum status status = apply_range_open(apply, request, &range);
    if (status == STATUS_OK) {
        measure_all(&range);
        *reply_out = apply_range_take(&range, arena);
    }
    return status;
}
