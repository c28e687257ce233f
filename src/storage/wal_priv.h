/* Shared inside the wal: names, frames, the reader.
 *
 * A segment is a run of frames and then zeros (docs/formats/wal.md):
 *
 *   offset  size  meaning
 *   0       8     little-endian: low 56 bits = bytes of the record; top byte 0 without padding,
 *                 else 0x80 | padding bytes. All zero: the end of what was written.
 *   8       n     walpb.Record {type, crc, data}
 *   8 + n   pad   zeros, up to a multiple of 8
 *
 * A record's crc is the CRC-32C of the data of all records up to and with this one, through all
 * segments; every segment begins with a crc record that repeats where the previous one ended. */
#ifndef STORAGE_WAL_PRIV_H
#define STORAGE_WAL_PRIV_H

#include "codec/raftpb.h"
#include "storage/wal.h"

enum wal_record_type {
    WAL_RECORD_METADATA = 1,
    WAL_RECORD_ENTRY = 2,
    WAL_RECORD_STATE = 3,
    WAL_RECORD_CRC = 4,
    WAL_RECORD_SNAPSHOT = 5,
};

#define WAL_FRAME_BYTES 8
/* Disks write sectors whole or not at all; etcd reckons with the smallest. */
#define WAL_SECTOR_BYTES 512
/* No record is larger: entries are bounded by --max-request-bytes, and an absurd length in a
 * sparse file must not become an allocation. */
#define WAL_RECORD_BYTES_MAX ((uint64_t)512 << 20)

/* ---- names ------------------------------------------------------------------------------- */

struct wal__segment {
    uint64_t seq;
    raft_index first; /* of the first entry that may be in it */
};

struct wal__segments {
    struct wal__segment *list; /* in order of seq */
    size_t count;
};
void wal__segments_fini(struct wal__segments *segments);

char *wal__path(const char *dir, struct wal__segment segment); /* mem_free() it */
bool wal__name_parse(const char *name, struct wal__segment *out);
/* All segments in `dir`; other files are none of ours. */
FALLIBLE wal__list(struct disk *disk, const char *dir, struct wal__segments *out,
                   struct errbuf *why);
/* Keeps the segments behind the last hole in their numbers: a crash while old segments are being
 * removed may bring back one and not the next. At least one segment must be there. */
void wal__drop_before_hole(struct wal__segments *segments);
/* Drops the segments before the last one whose first index is at most `index`, and checks that
 * what stays is numbered without holes. ERR_NOT_FOUND, ERR_CORRUPT. */
FALLIBLE wal__select(struct wal__segments *segments, const char *dir, raft_index index,
                     struct errbuf *why);

/* Makes the name of `dir` durable, and those of the directories above it, which may be as new. */
FALLIBLE wal__sync_ancestors(struct disk *disk, const char *dir, struct errbuf *why);

/* ---- records ----------------------------------------------------------------------------- */

/* Appends one framed record whose data is `head` followed by `body`, advancing *crc over them.
 * Nil data (head.data NULL) leaves the field out. */
void wal__put_record(struct buf *out, uint32_t *crc, enum wal_record_type type, struct slice head,
                     struct slice body);
void wal__put_entry(struct buf *out, uint32_t *crc, const struct raft_entry *entry);
void wal__put_state(struct buf *out, uint32_t *crc, const struct raft_hard_state *state);
/* `conf_state` NULL: left out, as in the record every log begins with. */
void wal__put_snapshot(struct buf *out, uint32_t *crc, struct wal_position at,
                       const struct raft_conf_state *conf_state);

/* ---- the reader -------------------------------------------------------------------------- */

enum wal__next {
    WAL_NEXT_RECORD,
    WAL_NEXT_END,  /* everything was read */
    WAL_NEXT_TORN, /* the last segment ends in a record that was not written whole */
};

/* Reads records through consecutive segments. */
struct wal__reader {
    struct disk *disk;
    const char *dir;
    const struct wal__segments *segments;
    size_t at; /* segment being read */
    struct file *file;
    uint64_t size;   /* of the file */
    uint64_t offset; /* behind the last whole record */
    uint32_t crc;    /* after the last whole record */

    uint8_t *window; /* bytes [base, base + len) of the file */
    size_t window_cap;
    uint64_t base;
    size_t len;
};

void wal__reader_init(struct wal__reader *r, struct disk *disk, const char *dir,
                      const struct wal__segments *segments);
void wal__reader_fini(struct wal__reader *r);
/* record->data points into the window: it dies with the next call. ERR_CORRUPT, ERR_IO. */
FALLIBLE wal__reader_next(struct wal__reader *r, enum wal__next *next_out,
                          struct raftpb_record *out, struct errbuf *why);

/* What a whole read came to, beside its contents. */
struct wal__tail {
    uint64_t offset;       /* where the next record goes in the last segment */
    uint32_t crc;          /* and the checksum it continues */
    raft_index last_index; /* of the last entry or, if higher, snapshot record */
    bool is_torn;
};

/* Reads `segments` from snapshot `start`. A torn end is told, not mended. */
FALLIBLE wal__read_all(struct disk *disk, const char *dir, const struct wal__segments *segments,
                       struct wal_position start, struct wal_contents *out,
                       struct wal__tail *tail_out, struct errbuf *why);

/* Where the next record goes in the last segment. Nothing may be in flight. */
uint64_t wal__tail_offset(const struct wal *wal);

#endif
