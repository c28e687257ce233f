#include "storage/wal_priv.h"

#include "base/digest.h"
#include "base/mem.h"
#include "codec/pbwire.h"
#include "storage/raftconv.h"

#define NAME_LEN 37 /* 16 hex digits, '-', 16 hex digits, ".wal" */

/* ---- names ------------------------------------------------------------------------------- */

char *wal__path(const char *dir, struct wal__segment segment)
{
    return mem_printf("%s/%016llx-%016llx.wal", dir, (unsigned long long)segment.seq,
                      (unsigned long long)segment.first);
}

bool wal__name_parse(const char *name, struct wal__segment *out)
{
    return strlen(name) == NAME_LEN && strcmp(name + 33, ".wal") == 0 && name[16] == '-' &&
           slice_hex_to_u64(slice_of(name, 16), &out->seq) == ERR_OK &&
           slice_hex_to_u64(slice_of(name + 17, 16), &out->first) == ERR_OK;
}

void wal__segments_fini(struct wal__segments *segments)
{
    mem_free(segments->list);
    *segments = (struct wal__segments){0};
}

/* The directory lists names in byte order, which is the order of their numbers. */
static void list_one(const char *name, void *ctx)
{
    struct wal__segments *segments = ctx;
    struct wal__segment segment;
    if (!wal__name_parse(name, &segment)) {
        return;
    }
    if ((segments->count & (segments->count - 1)) == 0) {
        size_t cap = segments->count == 0 ? 1 : 2 * segments->count;
        segments->list = mem_realloc(segments->list, cap * sizeof(segments->list[0]));
    }
    segments->list[segments->count++] = segment;
}

FALLIBLE wal__list(struct disk *disk, const char *dir, struct wal__segments *out,
                   struct errbuf *why)
{
    struct wal__segments segments = {0};
    enum err err = disk_list(disk, dir, list_one, &segments, why);
    if (err != ERR_OK) {
        wal__segments_fini(&segments);
        return err;
    }
    *out = segments;
    return ERR_OK;
}

void wal__drop_before_hole(struct wal__segments *segments)
{
    size_t first = segments->count - 1;
    while (first > 0 && segments->list[first - 1].seq + 1 == segments->list[first].seq) {
        first--;
    }
    segments->count -= first;
    memmove(segments->list, segments->list + first, segments->count * sizeof(segments->list[0]));
}

FALLIBLE wal__select(struct wal__segments *segments, const char *dir, raft_index index,
                     struct errbuf *why)
{
    size_t first = segments->count;
    while (first > 0 && segments->list[first - 1].first > index) {
        first--;
    }
    if (first == 0) {
        return errf(why, ERR_NOT_FOUND, "%s: no write-ahead log file reaches back to index %llu",
                    dir, (unsigned long long)index);
    }
    first--;
    segments->count -= first;
    memmove(segments->list, segments->list + first, segments->count * sizeof(segments->list[0]));
    for (size_t i = 1; i < segments->count; i++) {
        if (segments->list[i].seq != segments->list[i - 1].seq + 1) {
            return errf(why, ERR_CORRUPT,
                        "%s: the write-ahead log file with sequence number %016llx is missing", dir,
                        (unsigned long long)segments->list[i - 1].seq + 1);
        }
    }
    return ERR_OK;
}

/* ---- records ----------------------------------------------------------------------------- */

void wal__put_record(struct buf *out, uint32_t *crc, enum wal_record_type type, struct slice head,
                     struct slice body)
{
    bool has_data = head.data != NULL;
    ASSERT(has_data || body.len == 0);
    size_t data_len = head.len + body.len;
    *crc = crc32c(*crc, head.data, head.len);
    *crc = crc32c(*crc, body.data, body.len);
    size_t record_len = pbwire_uint_size(1, type) + pbwire_uint_size(2, *crc) +
                        (has_data ? pbwire_bytes_size(3, data_len) : 0);
    size_t pad = (8 - record_len % 8) % 8;
    size_t total = WAL_FRAME_BYTES + record_len + pad;

    uint8_t *start = buf_extend(out, total);
    uint64_t frame = record_len;
    if (pad > 0) {
        frame |= (uint64_t)(0x80 | pad) << 56;
    }
    put_le64(start, frame);
    uint8_t *at = start + WAL_FRAME_BYTES;
    at = pbwire_put_uint(at, 1, type);
    at = pbwire_put_uint(at, 2, *crc);
    if (has_data) {
        at = pbwire_put_head(at, 3, data_len);
        memcpy(at, head.data, head.len);
        at += head.len;
        if (body.len > 0) {
            memcpy(at, body.data, body.len);
            at += body.len;
        }
    }
    memset(at, 0, pad);
    ASSERT(at + pad == start + total);
}

/* The entry's own head is put aside so that its data is copied once, straight into place. */
void wal__put_entry(struct buf *out, uint32_t *crc, const struct raft_entry *entry)
{
    struct raftpb_entry message = raftconv_entry(entry);
    struct slice body = message.data;
    uint8_t head[5 * (PBWIRE_VARINT_MAX + 1)];
    message.data = SLICE_EMPTY;
    uint8_t *at = raftpb_entry_put(head, &message);
    if (body.data != NULL) {
        at = pbwire_put_head(at, 4, body.len);
    }
    wal__put_record(out, crc, WAL_RECORD_ENTRY, slice_of(head, (size_t)(at - head)), body);
}

void wal__put_state(struct buf *out, uint32_t *crc, const struct raft_hard_state *state)
{
    struct raftpb_hard_state message = raftconv_hard_state(state);
    uint8_t bytes[3 * (PBWIRE_VARINT_MAX + 1)];
    uint8_t *end = raftpb_hard_state_put(bytes, &message);
    wal__put_record(out, crc, WAL_RECORD_STATE, slice_of(bytes, (size_t)(end - bytes)),
                    SLICE_EMPTY);
}

void wal__put_snapshot(struct buf *out, uint32_t *crc, struct wal_position at,
                       const struct raft_conf_state *conf_state)
{
    struct raftpb_wal_snapshot message = {.index = at.index, .term = at.term};
    if (conf_state != NULL) {
        message.has_conf_state = true;
        message.conf_state = raftconv_conf_state(conf_state);
    }
    struct buf bytes = {0};
    raftpb_wal_snapshot_put(buf_extend(&bytes, raftpb_wal_snapshot_size(&message)), &message);
    wal__put_record(out, crc, WAL_RECORD_SNAPSHOT, buf_slice(&bytes), SLICE_EMPTY);
    buf_fini(&bytes);
}
