/* Range as part of apply: with its header, whole or to be streamed; the work is server/range's. */
#include "server/apply_priv.h"

#include "codec/pbwire.h"

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

/* rpc.proto: RangeResponse */
enum { KVS = 2, COUNT = 4 };

bool apply__range_one(struct apply *apply, const Etcdserverpb__RangeRequest *request,
                      struct slice *raw_out)
{
    return is_one(request) &&
           mvcc_read_one(apply->options.mvcc, pb_bytes(request->key), ONE_MAX, raw_out);
}

size_t apply__one_len(struct slice raw)
{
    return raw.len == 0 ? 0 : pbwire_bytes_size(KVS, raw.len) + pbwire_uint_size(COUNT, 1);
}

uint8_t *apply__one_put(struct slice raw, uint8_t *at)
{
    if (raw.len > 0) {
        at = pbwire_put_bytes(at, KVS, raw);
        at = pbwire_put_uint(at, COUNT, 1);
    }
    return at;
}

bool apply_range_one(struct apply *apply, const Etcdserverpb__RangeRequest *request,
                     struct arena *arena, struct slice *reply_out)
{
    struct slice raw;
    if (alarms_any(apply->options.alarms, ALARM_CORRUPT) ||
        !apply__range_one(apply, request, &raw)) {
        return false;
    }
    struct reply_header header = apply_header(apply);
    size_t header_len = reply_header_len(&header);
    size_t len = pbwire_bytes_size(1, header_len) + apply__one_len(raw);
    uint8_t *reply = arena_alloc(arena, len);
    uint8_t *end = apply__one_put(raw, reply_write_header(reply, 1, &header, header_len));
    ASSERT(end == reply + len);
    *reply_out = slice_of(reply, len);
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
