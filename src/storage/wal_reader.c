/* Records out of hostile files: nothing is believed before it is checked, and the file is read once
 * in large pieces.
 *
 * A torn tail is told from damage, because cutting damage off would lose what was acknowledged.
 * Disks write sectors whole, and segments are zeros until they are written. So a record in the
 * last segment that fails its check is torn when one of the sectors it covers (its share of the
 * first and the last one) is all zero, or when it reaches beyond the end of the file; otherwise
 * somebody changed bytes. That is etcd's rule.
 *
 * We ask for one thing more. A changed length makes a record reach into the zeros behind the log,
 * or beyond the end, and etcd's rule would cut off all that follows. But a length is 8 aligned
 * bytes in one sector and cannot be torn itself, and the fields at the start of a record tell its
 * length a second time. So the record is torn only if they agree with its length, or if the sector
 * that holds them never came. */
#include "storage/wal_priv.h"

#include "base/digest.h"
#include "base/mem.h"
#include "codec/pbwire.h"

#define WINDOW_BYTES ((size_t)1 << 20)
/* Tags and values of type and crc, tag and length of data. */
#define HEAD_BYTES_MAX ((size_t)3 * (1 + PBWIRE_VARINT_MAX))

void wal__reader_init(struct wal__reader *r, struct disk *disk, const char *dir,
                      const struct wal__segments *segments)
{
    ASSERT(segments->count > 0);
    *r = (struct wal__reader){.disk = disk, .dir = dir, .segments = segments};
    r->window = mem_alloc(WINDOW_BYTES);
    r->window_cap = WINDOW_BYTES;
}

void wal__reader_fini(struct wal__reader *r)
{
    file_close(&r->file);
    mem_free(r->window);
    *r = (struct wal__reader){0};
}

static bool is_last_segment(const struct wal__reader *r)
{
    return r->at + 1 == r->segments->count;
}

static enum err corrupt(struct wal__reader *r, struct errbuf *why, const char *what)
{
    return errf(why, ERR_CORRUPT,
                "%s: %s at offset %llu; the file was damaged after it was written: restore the "
                "member from a snapshot or replace it",
                r->file->path, what, (unsigned long long)r->offset);
}

static FALLIBLE open_segment(struct wal__reader *r, struct errbuf *why)
{
    char *path = wal__path(r->dir, r->segments->list[r->at]);
    enum err err = disk_open(r->disk, path, FILE_READ, &r->file, why);
    mem_free(path);
    TRY(err);
    r->offset = 0;
    r->base = 0;
    r->len = 0;
    return file_size(r->file, &r->size, why);
}

/* Brings [offset, offset + need) into the window as far as the file goes. */
static FALLIBLE fill(struct wal__reader *r, size_t need, struct slice *out, struct errbuf *why)
{
    size_t skip = (size_t)(r->offset - r->base);
    ASSERT(skip <= r->len);
    if (r->len - skip < need && r->base + r->len < r->size) {
        size_t kept = r->len - skip;
        if (need > r->window_cap) {
            r->window = mem_realloc(r->window, need);
            r->window_cap = need;
        }
        memmove(r->window, r->window + skip, kept);
        size_t got;
        TRY(file_pread(r->file, r->window + kept, r->window_cap - kept, r->offset + kept, &got,
                       why));
        r->base = r->offset;
        r->len = kept + got;
        skip = 0;
    }
    size_t there = r->len - skip;
    *out = slice_of(r->window + skip, there < need ? there : need);
    return ERR_OK;
}

static bool is_zero(struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] != 0) {
            return false;
        }
    }
    return true;
}

/* Is one sector's share of these bytes, which start at `offset` of the file, all zero? */
static bool has_zero_sector(struct slice bytes, uint64_t offset)
{
    while (bytes.len > 0) {
        size_t share = WAL_SECTOR_BYTES - (size_t)(offset % WAL_SECTOR_BYTES);
        share = share < bytes.len ? share : bytes.len;
        if (is_zero(slice_of(bytes.data, share))) {
            return true;
        }
        bytes = slice_skip(bytes, share);
        offset += share;
    }
    return false;
}

/* Do the fields at the start of a record add up to its length? A file that ends before the fields
 * do has nothing to say against it. */
static bool length_is_plausible(struct slice start, uint64_t record_len)
{
    struct reader fields = reader_init(start);
    uint64_t type_tag = reader_varint(&fields);
    uint64_t type = reader_varint(&fields);
    uint64_t crc_tag = reader_varint(&fields);
    reader_varint(&fields);
    uint64_t data_tag = reader_varint(&fields);
    uint64_t data_len = reader_varint(&fields);
    size_t head_len = start.len - reader_left(&fields);
    if (fields.err == ERR_EOF) {
        return true;
    }
    return fields.err == ERR_OK && type_tag == pbwire_tag(1, PBWIRE_VARINT) &&
           type >= WAL_RECORD_METADATA && type <= WAL_RECORD_SNAPSHOT &&
           crc_tag == pbwire_tag(2, PBWIRE_VARINT) && data_tag == pbwire_tag(3, PBWIRE_BYTES) &&
           data_len < record_len && head_len == record_len - data_len;
}

/* Did a sector that holds the fields at the start of a record never come? */
static bool head_is_torn(struct slice bytes, uint64_t offset)
{
    size_t share = WAL_SECTOR_BYTES - (size_t)(offset % WAL_SECTOR_BYTES);
    if (bytes.len <= share) {
        return is_zero(bytes);
    }
    struct slice rest = slice_skip(bytes, share);
    rest.len = rest.len < WAL_SECTOR_BYTES ? rest.len : WAL_SECTOR_BYTES;
    return is_zero(slice_of(bytes.data, share)) || (share < HEAD_BYTES_MAX && is_zero(rest));
}

/* A record that fails its check: torn or damaged? `bytes` follow the frame's length, up to the end
 * of the record or of the file. */
static FALLIBLE torn_or_corrupt(struct wal__reader *r, struct slice bytes, uint64_t record_len,
                                const char *what, enum wal__next *next_out, struct errbuf *why)
{
    uint64_t offset = r->offset + WAL_FRAME_BYTES;
    bool is_cut = bytes.len < record_len;
    if (is_last_segment(r) &&
        (bytes.len == 0 || head_is_torn(bytes, offset) ||
         (length_is_plausible(bytes, record_len) && (is_cut || has_zero_sector(bytes, offset))))) {
        *next_out = WAL_NEXT_TORN;
        return ERR_OK;
    }
    return corrupt(r, why, what);
}

/* A record that reaches beyond the end of its file. */
static FALLIBLE oversized(struct wal__reader *r, uint64_t record_len, enum wal__next *next_out,
                          struct errbuf *why)
{
    struct slice bytes;
    TRY(fill(r, WAL_FRAME_BYTES + HEAD_BYTES_MAX + WAL_SECTOR_BYTES, &bytes, why));
    bytes = bytes.len < WAL_FRAME_BYTES ? SLICE_EMPTY : slice_skip(bytes, WAL_FRAME_BYTES);
    return torn_or_corrupt(r, bytes, record_len, "a record longer than the rest of the file",
                           next_out, why);
}

static FALLIBLE check_record(struct wal__reader *r, struct slice framed, uint64_t record_len,
                             struct raftpb_record *rec, enum wal__next *next_out,
                             struct errbuf *why)
{
    if (rec->type == WAL_RECORD_CRC) {
        /* A fresh chain takes over whatever the first segment read says. */
        if (r->crc != 0 && rec->crc != r->crc) {
            return corrupt(r, why, "a segment that does not continue the one before it");
        }
        r->crc = rec->crc;
        return ERR_OK;
    }
    uint32_t crc = crc32c(r->crc, rec->data.data, rec->data.len);
    if (crc != rec->crc) {
        return torn_or_corrupt(r, framed, record_len, "walpb: crc mismatch", next_out, why);
    }
    r->crc = crc;
    return ERR_OK;
}

/* The record whose length field is `frame`. */
static FALLIBLE read_record(struct wal__reader *r, uint64_t frame, enum wal__next *next_out,
                            struct raftpb_record *out, struct errbuf *why)
{
    uint64_t record_len = frame & (((uint64_t)1 << 56) - 1);
    uint64_t pad = frame >> 63 != 0 ? (frame >> 56) & 7 : 0;
    if (record_len + pad > r->size - r->offset - WAL_FRAME_BYTES) {
        return oversized(r, record_len, next_out, why);
    }
    if (record_len > WAL_RECORD_BYTES_MAX) {
        return corrupt(r, why, "a record of impossible length");
    }
    size_t need = WAL_FRAME_BYTES + (size_t)(record_len + pad);
    struct slice bytes;
    TRY(fill(r, need, &bytes, why));
    if (bytes.len < need) {
        return corrupt(r, why, "a record that ended while it was read");
    }
    struct slice framed = slice_skip(bytes, WAL_FRAME_BYTES);
    if (raftpb_record_decode(slice_of(framed.data, (size_t)record_len), out) != ERR_OK) {
        return torn_or_corrupt(r, framed, record_len, "an undecodable record", next_out, why);
    }
    TRY(check_record(r, framed, record_len, out, next_out, why));
    if (*next_out == WAL_NEXT_RECORD) {
        r->offset += need;
    }
    return ERR_OK;
}

FALLIBLE wal__reader_next(struct wal__reader *r, enum wal__next *next_out,
                          struct raftpb_record *out, struct errbuf *why)
{
    *next_out = WAL_NEXT_RECORD;
    for (;;) {
        if (r->file == NULL) {
            TRY(open_segment(r, why));
        }
        struct slice head;
        TRY(fill(r, WAL_FRAME_BYTES, &head, why));
        if (head.len > 0 && head.len < WAL_FRAME_BYTES) {
            return oversized(r, 0, next_out, why);
        }
        uint64_t frame = head.len == 0 ? 0 : get_le64(head.data);
        if (frame != 0) {
            return read_record(r, frame, next_out, out, why);
        }
        if (is_last_segment(r)) {
            *next_out = WAL_NEXT_END;
            return ERR_OK;
        }
        file_close(&r->file);
        r->at++;
    }
}
