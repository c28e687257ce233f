#include "raft/raftlog.h"

#include <stdarg.h>
#include <stdio.h>

void raft__trace_line(const struct raft_trace *trace, enum raft_trace_level level,
                      const char *format, ...)
{
    struct buf line = {0};
    va_list args;
    va_start(args, format);
    char small[512];
    int len = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    ASSERT(len >= 0);
    if ((size_t)len < sizeof(small)) {
        trace->fn(trace->priv, level, small);
        return;
    }
    va_start(args, format);
    uint8_t *text = buf_extend(&line, (size_t)len + 1);
    vsnprintf((char *)text, (size_t)len + 1, format, args);
    va_end(args);
    trace->fn(trace->priv, level, (const char *)text);
    buf_fini(&line);
}

static uint64_t segment_of(raft_index index)
{
    return index >> RAFTLOG_SEGMENT_BITS;
}

static struct raft_entry *slot(const struct raftlog *log, raft_index index)
{
    uint64_t segment = segment_of(index) - log->first_segment;
    ASSERT(segment < log->segment_count);
    return &log->segments[segment]->entries[index & (RAFTLOG_SEGMENT_LEN - 1)];
}

void raftlog_init(struct raftlog *log, raft_index base, raft_term base_term,
                  uint64_t applying_bytes_max, struct raft_trace trace)
{
    *log = (struct raftlog){
        .first_segment = segment_of(base + 1),
        .base = base,
        .base_term = base_term,
        .last = base,
        .committed = base,
        .applying = base,
        .applied = base,
        .offset = base + 1,
        .in_progress = base + 1,
        .applying_bytes_max = applying_bytes_max,
        .trace = trace,
    };
}

static void segments_free(struct raftlog *log)
{
    for (size_t i = 0; i < log->segment_count; i++) {
        mem_free(log->segments[i]);
    }
    log->segment_count = 0;
}

/* Drops the entries above `index`. */
static void truncate_above(struct raftlog *log, raft_index index)
{
    for (raft_index i = log->last; i > index; i--) {
        raft_payload_unref(&slot(log, i)->payload);
    }
    log->last = index;
}

void raftlog_fini(struct raftlog *log)
{
    truncate_above(log, log->base);
    segments_free(log);
    mem_free(log->segments);
    mem_free(log->spare);
    raft_snapshot_unref(&log->saved);
    raft_snapshot_unref(&log->pending);
    *log = (struct raftlog){0};
}

const struct raft_entry *raftlog_at(const struct raftlog *log, raft_index index)
{
    ASSERT(index > log->base);
    ASSERT(index <= log->last);
    return slot(log, index);
}

FALLIBLE raftlog_term(const struct raftlog *log, raft_index index, raft_term *out)
{
    if (index < log->base) {
        return ERR_COMPACTED;
    }
    if (index > log->last) {
        return ERR_FUTURE;
    }
    *out = index == log->base ? log->base_term : slot(log, index)->term;
    return ERR_OK;
}

raft_term raftlog_term_or_zero(const struct raftlog *log, raft_index index)
{
    raft_term term;
    return raftlog_term(log, index, &term) == ERR_OK ? term : 0;
}

raft_term raftlog_last_term(const struct raftlog *log)
{
    return raftlog_term_or_zero(log, log->last);
}

bool raftlog_matches(const struct raftlog *log, raft_index index, raft_term term)
{
    raft_term ours;
    return raftlog_term(log, index, &ours) == ERR_OK && ours == term;
}

bool raftlog_is_up_to_date(const struct raftlog *log, raft_index index, raft_term term)
{
    raft_term ours = raftlog_last_term(log);
    return term > ours || (term == ours && index >= log->last);
}

static void segment_append(struct raftlog *log)
{
    if (log->segment_count == log->segment_cap) {
        log->segment_cap = log->segment_cap == 0 ? 8 : log->segment_cap * 2;
        log->segments = mem_realloc(log->segments, log->segment_cap * sizeof(*log->segments));
    }
    struct raftlog_segment *segment = log->spare;
    log->spare = NULL;
    log->segments[log->segment_count++] = segment == NULL ? mem_alloc(sizeof(*segment)) : segment;
}

void raftlog_push(struct raftlog *log, raft_term term, enum raft_entry_type type,
                  struct raft_payload *payload)
{
    raft_index index = log->last + 1;
    if (segment_of(index) - log->first_segment >= log->segment_count) {
        segment_append(log);
    }
    *slot(log, index) = (struct raft_entry){
        .index = index,
        .term = term,
        .payload = raft_payload_ref(payload),
        .type = type,
    };
    log->last = index;
}

/* The first entry that the log does not hold, as an offset; `count` when it holds them all. */
static size_t first_difference(const struct raftlog *log, const struct raft_entry *entries,
                               size_t count)
{
    size_t i = 0;
    while (i < count && raftlog_matches(log, entries[i].index, entries[i].term)) {
        i++;
    }
    if (i < count && entries[i].index <= log->last) {
        RAFT_TRACE(&log->trace, RAFT_INFO,
                   "found conflict at index %" PRIu64 " [existing term: %" PRIu64
                   ", conflicting term: %" PRIu64 "]",
                   entries[i].index, raftlog_term_or_zero(log, entries[i].index), entries[i].term);
    }
    return i;
}

/* Makes room for entries from `index` on. What was durable there no longer counts as such. */
static void make_way(struct raftlog *log, raft_index index)
{
    if (index == log->last + 1) {
        return;
    }
    if (index <= log->offset) {
        RAFT_TRACE(&log->trace, RAFT_INFO, "replace the unstable entries from index %" PRIu64,
                   index);
        log->offset = index;
        log->in_progress = index;
    } else {
        RAFT_TRACE(&log->trace, RAFT_INFO, "truncate the unstable entries before index %" PRIu64,
                   index);
        if (log->in_progress > index) {
            log->in_progress = index;
        }
    }
    truncate_above(log, index - 1);
}

FALLIBLE raftlog_append(struct raftlog *log, raft_index prev, raft_term prev_term,
                        const struct raft_entry *entries, size_t count, raft_index commit)
{
    if (!raftlog_matches(log, prev, prev_term)) {
        return ERR_FUTURE;
    }
    size_t from = first_difference(log, entries, count);
    if (from < count && entries[from].index <= log->committed) {
        return ERR_CORRUPT;
    }
    if (from < count) {
        make_way(log, entries[from].index);
        for (size_t i = from; i < count; i++) {
            raftlog_push(log, entries[i].term, entries[i].type, entries[i].payload);
        }
    }
    raft_index proven = prev + count;
    raftlog_commit_to(log, commit < proven ? commit : proven);
    return ERR_OK;
}

raft_index raftlog_conflict_by_term(const struct raftlog *log, raft_index index, raft_term term,
                                    raft_term *out_term)
{
    *out_term = 0;
    for (; index > 0; index--) {
        raft_term ours;
        if (raftlog_term(log, index, &ours) != ERR_OK) {
            return index;
        }
        if (ours <= term) {
            *out_term = ours;
            return index;
        }
    }
    return 0;
}

void raftlog_commit_to(struct raftlog *log, raft_index index)
{
    if (index > log->committed) {
        ASSERT(index <= log->last);
        log->committed = index;
    }
}

bool raftlog_maybe_commit(struct raftlog *log, raft_index index, raft_term term)
{
    if (term == 0 || index <= log->committed || !raftlog_matches(log, index, term)) {
        return false;
    }
    raftlog_commit_to(log, index);
    return true;
}

static uint64_t varint_bytes(uint64_t value)
{
    uint64_t bits = 64 - (uint64_t)__builtin_clzll(value | 1);
    return (bits + 6) / 7;
}

uint64_t raftlog_entry_bytes(const struct raft_entry *entry)
{
    /* A tag byte before each field; data is left out when empty, the type when it is normal. */
    uint64_t bytes = 2 + varint_bytes(entry->term) + varint_bytes(entry->index);
    if (entry->type != RAFT_ENTRY_NORMAL) {
        bytes += 2;
    }
    if (entry->payload != NULL) {
        bytes += 1 + varint_bytes(entry->payload->len) + entry->payload->len;
    }
    return bytes;
}

size_t raftlog_fit(const struct raftlog *log, raft_index lo, raft_index hi, uint64_t bytes_max)
{
    ASSERT(lo > log->base);
    ASSERT(hi <= log->last + 1);
    if (lo >= hi) {
        return 0;
    }
    if (bytes_max == RAFT_NO_LIMIT) {
        return hi - lo;
    }
    uint64_t bytes = raftlog_entry_bytes(slot(log, lo));
    raft_index i = lo + 1;
    for (; i < hi; i++) {
        bytes += raftlog_entry_bytes(slot(log, i));
        if (bytes > bytes_max) {
            break;
        }
    }
    return i - lo;
}

void raftlog_copy(const struct raftlog *log, raft_index lo, size_t count, struct raft_entry *out)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = *raftlog_at(log, lo + i);
        raft_payload_ref(out[i].payload);
    }
}

bool raftlog_has_unstable(const struct raftlog *log)
{
    return log->last >= log->offset;
}

bool raftlog_has_next_unstable(const struct raftlog *log)
{
    return log->last >= log->in_progress;
}

void raftlog_accept_unstable(struct raftlog *log)
{
    log->in_progress = log->last + 1;
    log->is_pending_in_progress = log->pending != NULL;
}

void raftlog_stable_to(struct raftlog *log, raft_index index, raft_term term)
{
    if (log->pending != NULL && log->pending->index == index) {
        RAFT_TRACE(&log->trace, RAFT_INFO,
                   "entry at index %" PRIu64 " matched unstable snapshot; ignoring", index);
        return;
    }
    if (index < log->offset || index > log->last) {
        RAFT_TRACE(&log->trace, RAFT_INFO,
                   "entry at index %" PRIu64 " missing from unstable log; ignoring", index);
        return;
    }
    raft_term ours = raftlog_at(log, index)->term;
    if (ours != term) {
        /* It was replaced while the write of its predecessor was in flight. */
        RAFT_TRACE(&log->trace, RAFT_INFO,
                   "entry at (index,term)=(%" PRIu64 ",%" PRIu64
                   ") mismatched with entry at (%" PRIu64 ",%" PRIu64 ") in unstable log; ignoring",
                   index, term, index, ours);
        return;
    }
    log->offset = index + 1;
    if (log->in_progress < log->offset) {
        log->in_progress = log->offset;
    }
}

static raft_index appliable(const struct raftlog *log, bool allow_unstable)
{
    if (allow_unstable || log->committed < log->offset) {
        return log->committed;
    }
    return log->offset - 1;
}

bool raftlog_next_committed(const struct raftlog *log, bool allow_unstable, raft_index *lo,
                            raft_index *hi)
{
    if (log->is_applying_paused || log->pending != NULL) {
        return false;
    }
    *lo = log->applying + 1;
    *hi = appliable(log, allow_unstable) + 1;
    return *lo < *hi;
}

void raftlog_accept_applying(struct raftlog *log, raft_index index, uint64_t bytes,
                             bool allow_unstable)
{
    ASSERT(index >= log->applying);
    ASSERT(index <= log->committed);
    log->applying = index;
    log->applying_bytes += bytes;
    /* Stop at the limit, and also where the limit cut this page short. */
    log->is_applying_paused =
        log->applying_bytes >= log->applying_bytes_max || index < appliable(log, allow_unstable);
}

uint64_t raftlog_applied_to(struct raftlog *log, raft_index index)
{
    ASSERT(index >= log->applied);
    ASSERT(index <= log->committed);
    uint64_t payload_bytes = 0;
    uint64_t bytes = 0;
    raft_index from = log->applied > log->base ? log->applied : log->base;
    for (raft_index i = from + 1; i <= index; i++) {
        const struct raft_entry *entry = slot(log, i);
        bytes += raftlog_entry_bytes(entry);
        payload_bytes += entry->payload == NULL ? 0 : entry->payload->len;
    }
    log->applied = index;
    if (log->applying < index) {
        log->applying = index;
    }
    log->applying_bytes -= bytes < log->applying_bytes ? bytes : log->applying_bytes;
    log->is_applying_paused = log->applying_bytes >= log->applying_bytes_max;
    return payload_bytes;
}

bool raftlog_has_unapplied_conf_change(const struct raftlog *log)
{
    raft_index from = log->applied > log->base ? log->applied : log->base;
    for (raft_index i = from + 1; i <= log->committed; i++) {
        if (slot(log, i)->type != RAFT_ENTRY_NORMAL) {
            return true;
        }
    }
    return false;
}

void raftlog_restore(struct raftlog *log, struct raft_snapshot *snapshot)
{
    ASSERT(snapshot->index > log->committed);
    RAFT_TRACE(&log->trace, RAFT_INFO,
               "log [committed=%" PRIu64 ", applied=%" PRIu64 ", applying=%" PRIu64
               ", unstable.offset=%" PRIu64 ", unstable.offsetInProgress=%" PRIu64
               ", len(unstable.Entries)=%" PRIu64 "] starts to restore snapshot [index: %" PRIu64
               ", term: %" PRIu64 "]",
               log->committed, log->applied, log->applying, log->offset, log->in_progress,
               log->last + 1 - log->offset, snapshot->index, snapshot->term);
    truncate_above(log, log->base);
    segments_free(log);
    log->first_segment = segment_of(snapshot->index + 1);
    log->base = snapshot->index;
    log->base_term = snapshot->term;
    log->last = snapshot->index;
    log->committed = snapshot->index;
    log->offset = snapshot->index + 1;
    log->in_progress = log->offset;
    struct raft_snapshot *old = log->pending;
    log->pending = raft_snapshot_ref(snapshot);
    log->is_pending_in_progress = false;
    raft_snapshot_unref(&old);
}

void raftlog_stable_snapshot(struct raftlog *log, raft_index index)
{
    if (log->pending == NULL || log->pending->index != index) {
        return;
    }
    raft_snapshot_unref(&log->saved);
    log->saved = log->pending;
    log->pending = NULL;
    log->is_pending_in_progress = false;
    /* Whatever was being applied below it no longer matters. */
    log->applied = index;
    if (log->applying < index) {
        log->applying = index;
    }
    log->applying_bytes = 0;
    log->is_applying_paused = false;
}

struct raft_snapshot *raftlog_snapshot(const struct raftlog *log)
{
    return log->pending != NULL ? log->pending : log->saved;
}

/* Frees the segments below the first entry, keeping one for the next append. */
static void segments_drop(struct raftlog *log)
{
    uint64_t first = segment_of(log->base + 1);
    size_t gone = (size_t)(first - log->first_segment);
    if (gone > log->segment_count) {
        gone = log->segment_count;
    }
    log->first_segment = first;
    if (gone == 0) {
        return;
    }
    for (size_t i = 0; i < gone; i++) {
        mem_free(log->spare);
        log->spare = log->segments[i];
    }
    log->segment_count -= gone;
    memmove(log->segments, log->segments + gone, log->segment_count * sizeof(*log->segments));
}

void raftlog_compact(struct raftlog *log, raft_index index)
{
    ASSERT(index >= log->base);
    ASSERT(index <= log->applied);
    if (index == log->base) {
        return;
    }
    raft_term term = slot(log, index)->term;
    for (raft_index i = log->base + 1; i <= index; i++) {
        raft_payload_unref(&slot(log, i)->payload);
    }
    log->base = index;
    log->base_term = term;
    if (log->offset <= index) {
        /* Only with allow_unstable: applied before its write was acknowledged. */
        log->offset = index + 1;
    }
    if (log->in_progress < log->offset) {
        log->in_progress = log->offset;
    }
    segments_drop(log);
}

void raftlog_check(const struct raftlog *log)
{
    ASSERT(log->committed <= log->last);
    ASSERT(log->applied <= log->applying);
    ASSERT(log->applying <= log->committed);
    ASSERT(log->base <= log->committed);
    if (log->pending == NULL) {
        ASSERT(log->base <= log->applied);
    } else {
        ASSERT(log->pending->index >= log->base);
    }
    ASSERT(log->base < log->offset);
    ASSERT(log->offset <= log->in_progress);
    ASSERT(log->in_progress <= log->last + 1);
    raft_term term = log->base_term;
    for (raft_index i = log->base + 1; i <= log->last; i++) {
        const struct raft_entry *entry = raftlog_at(log, i);
        ASSERT(entry->index == i);
        ASSERT(entry->term >= term);
        ASSERT(entry->payload == NULL || entry->payload->refs > 0);
        term = entry->term;
    }
}
