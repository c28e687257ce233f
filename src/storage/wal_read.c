/* Reading a log whole: its contents beyond a snapshot, its snapshot records, its raw records. */
#include "storage/wal_priv.h"

#include "base/mem.h"
#include "storage/raftconv.h"

void wal_contents_fini(struct wal_contents *contents)
{
    for (size_t i = 0; i < contents->entry_count; i++) {
        raft_payload_unref(&contents->entries[i].payload);
    }
    mem_free(contents->entries);
    mem_free(contents->repaired);
    buf_fini(&contents->metadata);
    *contents = (struct wal_contents){0};
}

/* ---- replay ------------------------------------------------------------------------------ */

struct replay {
    struct wal__reader reader;
    struct wal_position start;
    bool keeps_entries;
    bool has_start;     /* a record of the snapshot `start` was seen */
    raft_term at_start; /* term of the entry at start.index, as far as was read; 0: none */
    bool has_metadata;
    struct wal_contents contents;
    size_t entry_cap;
    raft_index last_index;
    struct arena arena; /* of one snapshot record */
};

static enum err bad_record(struct replay *replay, struct errbuf *why, const char *what)
{
    return errf(why, ERR_CORRUPT, "%s: %s before offset %llu", replay->reader.file->path, what,
                (unsigned long long)replay->reader.offset);
}

static FALLIBLE replay_metadata(struct replay *replay, struct slice data, struct errbuf *why)
{
    struct wal_contents *contents = &replay->contents;
    if (replay->has_metadata && !slice_eq(buf_slice(&contents->metadata), data)) {
        return bad_record(replay, why, "wal: conflicting metadata found");
    }
    if (!replay->has_metadata) {
        buf_append_slice(&contents->metadata, data);
        replay->has_metadata = true;
    }
    return ERR_OK;
}

static void drop_entries_from(struct wal_contents *contents, size_t count)
{
    while (contents->entry_count > count) {
        contents->entry_count--;
        raft_payload_unref(&contents->entries[contents->entry_count].payload);
    }
}

static void keep_entry(struct replay *replay, struct raft_entry entry)
{
    struct wal_contents *contents = &replay->contents;
    if (contents->entry_count == replay->entry_cap) {
        replay->entry_cap = replay->entry_cap == 0 ? 64 : 2 * replay->entry_cap;
        contents->entries =
            mem_realloc(contents->entries, replay->entry_cap * sizeof(contents->entries[0]));
    }
    contents->entries[contents->entry_count++] = entry;
}

/* An entry replaces the one with its index and all behind it: it was written by a later leader.
 * That goes for an entry at or before the snapshot too, though it is not kept itself. (etcd skips
 * it, and keeps what stood behind the snapshot before; such entries are older than the snapshot,
 * and could make this member vote for a candidate that lacks committed ones.) */
static FALLIBLE replay_entry(struct replay *replay, struct slice data, struct errbuf *why)
{
    struct raftpb_entry message;
    if (raftpb_entry_decode(data, &message) != ERR_OK) {
        return bad_record(replay, why, "an undecodable entry");
    }
    replay->last_index = message.index;
    if (message.index <= replay->start.index) {
        replay->at_start = message.index == replay->start.index ? message.term : 0;
        drop_entries_from(&replay->contents, 0);
        return ERR_OK;
    }
    if (!replay->keeps_entries) {
        return ERR_OK;
    }
    uint64_t slot = message.index - replay->start.index - 1;
    if (slot > replay->contents.entry_count) {
        return errf(why, ERR_CORRUPT,
                    "%s: wal: slice bounds out of range: entry %llu follows entry %llu",
                    replay->reader.file->path, (unsigned long long)message.index,
                    (unsigned long long)(replay->start.index + replay->contents.entry_count));
    }
    struct raft_entry entry;
    if (raftconv_entry_from(&message, &entry) != ERR_OK) {
        return bad_record(replay, why, "an entry of unknown type");
    }
    drop_entries_from(&replay->contents, (size_t)slot);
    keep_entry(replay, entry);
    return ERR_OK;
}

static FALLIBLE replay_state(struct replay *replay, struct slice data, struct errbuf *why)
{
    struct raftpb_hard_state message;
    if (raftpb_hard_state_decode(data, &message) != ERR_OK) {
        return bad_record(replay, why, "an undecodable hard state");
    }
    replay->contents.has_hard_state = true;
    replay->contents.hard_state = (struct raft_hard_state){
        .term = message.term, .vote = message.vote, .commit = message.commit};
    return ERR_OK;
}

static FALLIBLE replay_snapshot(struct replay *replay, struct slice data, struct errbuf *why)
{
    struct raftpb_wal_snapshot message;
    arena_reset(&replay->arena);
    if (raftpb_wal_snapshot_decode(&replay->arena, data, &message) != ERR_OK) {
        return bad_record(replay, why, "an undecodable snapshot record");
    }
    if (message.index > replay->last_index) {
        replay->last_index = message.index;
    }
    if (message.index != replay->start.index) {
        return ERR_OK;
    }
    if (message.term != replay->start.term) {
        return bad_record(replay, why, "wal: snapshot mismatch");
    }
    /* A snapshot that came from a leader and does not fit our log has replaced all of it. */
    if (replay->at_start != message.term) {
        drop_entries_from(&replay->contents, 0);
        replay->at_start = message.term;
    }
    replay->has_start = true;
    return ERR_OK;
}

static FALLIBLE replay_record(struct replay *replay, const struct raftpb_record *record,
                              struct errbuf *why)
{
    switch (record->type) {
    case WAL_RECORD_METADATA:
        return replay_metadata(replay, record->data, why);
    case WAL_RECORD_ENTRY:
        return replay_entry(replay, record->data, why);
    case WAL_RECORD_STATE:
        return replay_state(replay, record->data, why);
    case WAL_RECORD_CRC:
        return ERR_OK; /* the reader has checked it */
    case WAL_RECORD_SNAPSHOT:
        return replay_snapshot(replay, record->data, why);
    default:
        return bad_record(replay, why, "a record of unknown type");
    }
}

static FALLIBLE replay_run(struct replay *replay, struct wal__tail *tail_out, struct errbuf *why)
{
    struct raftpb_record record;
    enum wal__next next;
    for (;;) {
        TRY(wal__reader_next(&replay->reader, &next, &record, why));
        if (next != WAL_NEXT_RECORD) {
            break;
        }
        TRY(replay_record(replay, &record, why));
    }
    if (!replay->has_start) {
        return errf(
            why, ERR_NOT_FOUND,
            "%s: wal: snapshot not found: no record of the snapshot at index %llu; segments "
            "are missing or damaged: restore the member from a snapshot or replace it",
            replay->reader.dir, (unsigned long long)replay->start.index);
    }
    *tail_out = (struct wal__tail){.offset = replay->reader.offset,
                                   .crc = replay->reader.crc,
                                   .last_index = replay->last_index,
                                   .is_torn = next == WAL_NEXT_TORN};
    return ERR_OK;
}

static FALLIBLE replay_all(struct disk *disk, const char *dir, const struct wal__segments *segments,
                           struct wal_position start, bool keeps_entries, struct wal_contents *out,
                           struct wal__tail *tail_out, struct errbuf *why)
{
    struct replay replay = {.start = start, .keeps_entries = keeps_entries};
    wal__reader_init(&replay.reader, disk, dir, segments);
    enum err err = replay_run(&replay, tail_out, why);
    wal__reader_fini(&replay.reader);
    arena_fini(&replay.arena);
    if (err != ERR_OK) {
        wal_contents_fini(&replay.contents);
        return err;
    }
    *out = replay.contents;
    return ERR_OK;
}

FALLIBLE wal__read_all(struct disk *disk, const char *dir, const struct wal__segments *segments,
                       struct wal_position start, struct wal_contents *out,
                       struct wal__tail *tail_out, struct errbuf *why)
{
    return replay_all(disk, dir, segments, start, true, out, tail_out, why);
}

/* ---- for tools and for the start ---------------------------------------------------------- */

static FALLIBLE read_only(struct disk *disk, const char *dir, struct wal_position start,
                          bool keeps_entries, struct wal_contents *out, struct errbuf *why)
{
    struct wal__segments segments;
    struct wal__tail tail;
    TRY(wal__list(disk, dir, &segments, why));
    enum err err = wal__select(&segments, dir, start.index, why);
    if (err == ERR_OK) {
        err = replay_all(disk, dir, &segments, start, keeps_entries, out, &tail, why);
    }
    wal__segments_fini(&segments);
    return err;
}

FALLIBLE wal_read(struct disk *disk, const char *dir, struct wal_position start,
                  struct wal_contents *out, struct errbuf *why)
{
    return read_only(disk, dir, start, true, out, why);
}

FALLIBLE wal_verify(struct disk *disk, const char *dir, struct wal_position start,
                    struct raft_hard_state *out, struct errbuf *why)
{
    struct wal_contents contents;
    TRY(read_only(disk, dir, start, false, &contents, why));
    *out = contents.hard_state;
    wal_contents_fini(&contents);
    return ERR_OK;
}

static FALLIBLE dump_run(struct wal__reader *reader, wal_record_fn *each, void *ctx,
                         struct errbuf *why)
{
    struct raftpb_record record;
    enum wal__next next;
    for (;;) {
        TRY(wal__reader_next(reader, &next, &record, why));
        if (next != WAL_NEXT_RECORD) {
            return ERR_OK;
        }
        each(record.type, record.crc, record.data, ctx);
    }
}

FALLIBLE wal_dump(struct disk *disk, const char *dir, wal_record_fn *each, void *ctx,
                  struct errbuf *why)
{
    struct wal__segments segments;
    TRY(wal__list(disk, dir, &segments, why));
    if (segments.count == 0) {
        wal__segments_fini(&segments);
        return errf(why, ERR_NOT_FOUND, "%s: no write-ahead log files", dir);
    }
    wal__drop_before_hole(&segments);
    struct wal__reader reader;
    wal__reader_init(&reader, disk, dir, &segments);
    enum err err = dump_run(&reader, each, ctx, why);
    wal__reader_fini(&reader);
    wal__segments_fini(&segments);
    return err;
}

struct snapshot_list {
    struct wal_position *list;
    size_t count;
    uint64_t commit;
    struct arena arena;
    bool is_bad;
};

static void collect_snapshot(struct snapshot_list *found, struct slice data)
{
    struct raftpb_wal_snapshot message;
    arena_reset(&found->arena);
    if (raftpb_wal_snapshot_decode(&found->arena, data, &message) != ERR_OK) {
        found->is_bad = true;
        return;
    }
    if ((found->count & (found->count - 1)) == 0) {
        size_t cap = found->count == 0 ? 1 : 2 * found->count;
        found->list = mem_realloc(found->list, cap * sizeof(found->list[0]));
    }
    found->list[found->count++] =
        (struct wal_position){.index = message.index, .term = message.term};
}

static void collect(int64_t type, uint32_t crc, struct slice data, void *ctx)
{
    struct snapshot_list *found = ctx;
    struct raftpb_hard_state state;
    if (type == WAL_RECORD_SNAPSHOT) {
        collect_snapshot(found, data);
    } else if (type == WAL_RECORD_STATE) {
        if (raftpb_hard_state_decode(data, &state) == ERR_OK) {
            found->commit = state.commit;
        } else {
            found->is_bad = true;
        }
    }
}

FALLIBLE wal_snapshots(struct disk *disk, const char *dir, struct wal_position **out,
                       size_t *count_out, struct errbuf *why)
{
    struct snapshot_list found = {0};
    enum err err = wal_dump(disk, dir, collect, &found, why);
    arena_fini(&found.arena);
    if (err == ERR_OK && found.is_bad) {
        err = errf(why, ERR_CORRUPT, "%s: an undecodable snapshot or state record", dir);
    }
    if (err != ERR_OK) {
        mem_free(found.list);
        return err;
    }
    size_t kept = 0;
    for (size_t i = 0; i < found.count; i++) {
        if (found.list[i].index <= found.commit) {
            found.list[kept++] = found.list[i];
        }
    }
    *out = found.list;
    *count_out = kept;
    return ERR_OK;
}
