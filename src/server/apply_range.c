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
    enum status status = apply_range_open(apply, request, &range);
    if (status == STATUS_OK) {
        measure_all(&range);
        *reply_out = apply_range_take(&range, arena);
    }
    return status;
}
