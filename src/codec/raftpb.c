#include "codec/raftpb.h"

#include "codec/pbwire.h"

/* ---- shared pieces ------------------------------------------------------------------------ */

static FALLIBLE get_u64(const struct pbwire_field *field, uint64_t *out)
{
    if (field->type != PBWIRE_VARINT) {
        return ERR_CORRUPT;
    }
    *out = field->value;
    return ERR_OK;
}

/* int32 and enums: Go keeps the low 32 bits. */
static FALLIBLE get_i32(const struct pbwire_field *field, int32_t *out)
{
    if (field->type != PBWIRE_VARINT) {
        return ERR_CORRUPT;
    }
    *out = (int32_t)(uint32_t)field->value;
    return ERR_OK;
}

static FALLIBLE get_bool(const struct pbwire_field *field, bool *out)
{
    if (field->type != PBWIRE_VARINT) {
        return ERR_CORRUPT;
    }
    *out = field->value != 0;
    return ERR_OK;
}

static FALLIBLE get_bytes(const struct pbwire_field *field, struct slice *out)
{
    if (field->type != PBWIRE_BYTES) {
        return ERR_CORRUPT;
    }
    *out = field->bytes;
    return ERR_OK;
}

static size_t bytes_size(uint32_t number, struct slice bytes)
{
    return bytes.data == NULL ? 0 : pbwire_bytes_size(number, bytes.len);
}

static uint8_t *put_bytes(uint8_t *at, uint32_t number, struct slice bytes)
{
    return bytes.data == NULL ? at : pbwire_put_bytes(at, number, bytes);
}

/* A signed 32-bit value leaves sign-extended. */
static uint64_t wide(int32_t value)
{
    return (uint64_t)(int64_t)value;
}

/* ---- Entry -------------------------------------------------------------------------------- */

size_t raftpb_entry_size(const struct raftpb_entry *entry)
{
    return pbwire_uint_size(1, wide(entry->type)) + pbwire_uint_size(2, entry->term) +
           pbwire_uint_size(3, entry->index) + bytes_size(4, entry->data);
}

uint8_t *raftpb_entry_put(uint8_t *at, const struct raftpb_entry *entry)
{
    at = pbwire_put_uint(at, 1, wide(entry->type));
    at = pbwire_put_uint(at, 2, entry->term);
    at = pbwire_put_uint(at, 3, entry->index);
    return put_bytes(at, 4, entry->data);
}

static FALLIBLE entry_field(const struct pbwire_field *field, struct raftpb_entry *entry)
{
    switch (field->number) {
    case 1:
        return get_i32(field, &entry->type);
    case 2:
        return get_u64(field, &entry->term);
    case 3:
        return get_u64(field, &entry->index);
    case 4:
        return get_bytes(field, &entry->data);
    default:
        return ERR_OK;
    }
}

FALLIBLE raftpb_entry_decode(struct slice in, struct raftpb_entry *out)
{
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    *out = (struct raftpb_entry){0};
    while (pbwire_next(&it, &field)) {
        TRY(entry_field(&field, out));
    }
    return it.err;
}

/* ---- HardState ---------------------------------------------------------------------------- */

size_t raftpb_hard_state_size(const struct raftpb_hard_state *state)
{
    return pbwire_uint_size(1, state->term) + pbwire_uint_size(2, state->vote) +
           pbwire_uint_size(3, state->commit);
}

uint8_t *raftpb_hard_state_put(uint8_t *at, const struct raftpb_hard_state *state)
{
    at = pbwire_put_uint(at, 1, state->term);
    at = pbwire_put_uint(at, 2, state->vote);
    return pbwire_put_uint(at, 3, state->commit);
}

FALLIBLE raftpb_hard_state_decode(struct slice in, struct raftpb_hard_state *out)
{
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    *out = (struct raftpb_hard_state){0};
    while (pbwire_next(&it, &field)) {
        if (field.number == 1) {
            TRY(get_u64(&field, &out->term));
        } else if (field.number == 2) {
            TRY(get_u64(&field, &out->vote));
        } else if (field.number == 3) {
            TRY(get_u64(&field, &out->commit));
        }
    }
    return it.err;
}

/* ---- ConfState ---------------------------------------------------------------------------- */

static size_t ids_size(uint32_t number, struct raftpb_ids ids)
{
    size_t size = 0;
    for (size_t i = 0; i < ids.count; i++) {
        size += pbwire_uint_size(number, ids.ids[i]);
    }
    return size;
}

static uint8_t *put_ids(uint8_t *at, uint32_t number, struct raftpb_ids ids)
{
    for (size_t i = 0; i < ids.count; i++) {
        at = pbwire_put_uint(at, number, ids.ids[i]);
    }
    return at;
}

/* Doubles in the arena whenever the count is a power of two. */
static FALLIBLE ids_add(struct arena *arena, struct raftpb_ids *ids, uint64_t id)
{
    if (ids->count >= RAFTPB_IDS_MAX) {
        return ERR_CORRUPT;
    }
    if ((ids->count & (ids->count - 1)) == 0) {
        size_t cap = ids->count == 0 ? 1 : 2 * ids->count;
        uint64_t *grown = arena_alloc(arena, cap * sizeof(*grown));
        if (ids->count > 0) {
            memcpy(grown, ids->ids, ids->count * sizeof(*grown));
        }
        ids->ids = grown;
    }
    /* The array is ours and was allocated above; only readers see it as const. */
    ((uint64_t *)(uintptr_t)ids->ids)[ids->count++] = id;
    return ERR_OK;
}

static FALLIBLE get_ids(struct arena *arena, const struct pbwire_field *field,
                        struct raftpb_ids *ids)
{
    if (field->type == PBWIRE_VARINT) {
        return ids_add(arena, ids, field->value);
    }
    if (field->type != PBWIRE_BYTES) {
        return ERR_CORRUPT;
    }
    struct reader packed = reader_init(field->bytes);
    while (reader_left(&packed) > 0) {
        uint64_t id = reader_varint(&packed);
        if (packed.err != ERR_OK) {
            return ERR_CORRUPT;
        }
        TRY(ids_add(arena, ids, id));
    }
    return ERR_OK;
}

size_t raftpb_conf_state_size(const struct raftpb_conf_state *state)
{
    return ids_size(1, state->voters) + ids_size(2, state->learners) +
           ids_size(3, state->voters_outgoing) + ids_size(4, state->learners_next) +
           pbwire_uint_size(5, state->auto_leave);
}

uint8_t *raftpb_conf_state_put(uint8_t *at, const struct raftpb_conf_state *state)
{
    at = put_ids(at, 1, state->voters);
    at = put_ids(at, 2, state->learners);
    at = put_ids(at, 3, state->voters_outgoing);
    at = put_ids(at, 4, state->learners_next);
    return pbwire_put_uint(at, 5, state->auto_leave);
}

static FALLIBLE conf_state_field(struct arena *arena, const struct pbwire_field *field,
                                 struct raftpb_conf_state *state)
{
    switch (field->number) {
    case 1:
        return get_ids(arena, field, &state->voters);
    case 2:
        return get_ids(arena, field, &state->learners);
    case 3:
        return get_ids(arena, field, &state->voters_outgoing);
    case 4:
        return get_ids(arena, field, &state->learners_next);
    case 5:
        return get_bool(field, &state->auto_leave);
    default:
        return ERR_OK;
    }
}

/* Adds to what is there: a sub-message that comes twice is merged. */
static FALLIBLE conf_state_merge(struct arena *arena, struct slice in,
                                 struct raftpb_conf_state *state)
{
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    while (pbwire_next(&it, &field)) {
        TRY(conf_state_field(arena, &field, state));
    }
    return it.err;
}

FALLIBLE raftpb_conf_state_decode(struct arena *arena, struct slice in,
                                  struct raftpb_conf_state *out)
{
    *out = (struct raftpb_conf_state){0};
    return conf_state_merge(arena, in, out);
}

static struct raftpb_ids ids_dup(struct arena *arena, struct raftpb_ids ids)
{
    if (ids.count == 0) {
        return (struct raftpb_ids){0};
    }
    return (struct raftpb_ids){.ids = arena_dup(arena, ids.ids, ids.count * sizeof(ids.ids[0])),
                               .count = ids.count};
}

struct raftpb_conf_state raftpb_conf_state_dup(struct arena *arena,
                                               const struct raftpb_conf_state *state)
{
    return (struct raftpb_conf_state){
        .voters = ids_dup(arena, state->voters),
        .learners = ids_dup(arena, state->learners),
        .voters_outgoing = ids_dup(arena, state->voters_outgoing),
        .learners_next = ids_dup(arena, state->learners_next),
        .auto_leave = state->auto_leave,
    };
}

/* ---- Snapshot ----------------------------------------------------------------------------- */

static size_t snapshot_metadata_size(const struct raftpb_snapshot_metadata *metadata)
{
    return pbwire_bytes_size(1, raftpb_conf_state_size(&metadata->conf_state)) +
           pbwire_uint_size(2, metadata->index) + pbwire_uint_size(3, metadata->term);
}

static uint8_t *snapshot_metadata_put(uint8_t *at, const struct raftpb_snapshot_metadata *metadata)
{
    at = pbwire_put_head(at, 1, raftpb_conf_state_size(&metadata->conf_state));
    at = raftpb_conf_state_put(at, &metadata->conf_state);
    at = pbwire_put_uint(at, 2, metadata->index);
    return pbwire_put_uint(at, 3, metadata->term);
}

static FALLIBLE snapshot_metadata_merge(struct arena *arena, struct slice in,
                                        struct raftpb_snapshot_metadata *metadata)
{
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    while (pbwire_next(&it, &field)) {
        if (field.number == 1) {
            struct slice bytes;
            TRY(get_bytes(&field, &bytes));
            TRY(conf_state_merge(arena, bytes, &metadata->conf_state));
        } else if (field.number == 2) {
            TRY(get_u64(&field, &metadata->index));
        } else if (field.number == 3) {
            TRY(get_u64(&field, &metadata->term));
        }
    }
    return it.err;
}

size_t raftpb_snapshot_size(const struct raftpb_snapshot *snapshot)
{
    return bytes_size(1, snapshot->data) +
           pbwire_bytes_size(2, snapshot_metadata_size(&snapshot->metadata));
}

uint8_t *raftpb_snapshot_put(uint8_t *at, const struct raftpb_snapshot *snapshot)
{
    at = put_bytes(at, 1, snapshot->data);
    at = pbwire_put_head(at, 2, snapshot_metadata_size(&snapshot->metadata));
    return snapshot_metadata_put(at, &snapshot->metadata);
}

static FALLIBLE snapshot_merge(struct arena *arena, struct slice in,
                               struct raftpb_snapshot *snapshot)
{
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    while (pbwire_next(&it, &field)) {
        if (field.number == 1) {
            TRY(get_bytes(&field, &snapshot->data));
        } else if (field.number == 2) {
            struct slice bytes;
            TRY(get_bytes(&field, &bytes));
            TRY(snapshot_metadata_merge(arena, bytes, &snapshot->metadata));
        }
    }
    return it.err;
}

FALLIBLE raftpb_snapshot_decode(struct arena *arena, struct slice in, struct raftpb_snapshot *out)
{
    *out = (struct raftpb_snapshot){0};
    return snapshot_merge(arena, in, out);
}

/* ---- ConfChange --------------------------------------------------------------------------- */

size_t raftpb_conf_change_size(const struct raftpb_conf_change *change)
{
    return pbwire_uint_size(1, change->id) + pbwire_uint_size(2, wide(change->type)) +
           pbwire_uint_size(3, change->node_id) + bytes_size(4, change->context);
}

uint8_t *raftpb_conf_change_put(uint8_t *at, const struct raftpb_conf_change *change)
{
    at = pbwire_put_uint(at, 1, change->id);
    at = pbwire_put_uint(at, 2, wide(change->type));
    at = pbwire_put_uint(at, 3, change->node_id);
    return put_bytes(at, 4, change->context);
}

static FALLIBLE conf_change_field(const struct pbwire_field *field,
                                  struct raftpb_conf_change *change)
{
    switch (field->number) {
    case 1:
        return get_u64(field, &change->id);
    case 2:
        return get_i32(field, &change->type);
    case 3:
        return get_u64(field, &change->node_id);
    case 4:
        return get_bytes(field, &change->context);
    default:
        return ERR_OK;
    }
}

FALLIBLE raftpb_conf_change_decode(struct slice in, struct raftpb_conf_change *out)
{
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    *out = (struct raftpb_conf_change){0};
    while (pbwire_next(&it, &field)) {
        TRY(conf_change_field(&field, out));
    }
    return it.err;
}

/* ---- ConfChangeV2 ------------------------------------------------------------------------- */

static size_t single_size(const struct raftpb_conf_change_single *single)
{
    return pbwire_uint_size(1, wide(single->type)) + pbwire_uint_size(2, single->node_id);
}

size_t raftpb_conf_change_v2_size(const struct raftpb_conf_change_v2 *change)
{
    size_t size = pbwire_uint_size(1, wide(change->transition)) + bytes_size(3, change->context);
    for (size_t i = 0; i < change->change_count; i++) {
        size += pbwire_bytes_size(2, single_size(&change->changes[i]));
    }
    return size;
}

uint8_t *raftpb_conf_change_v2_put(uint8_t *at, const struct raftpb_conf_change_v2 *change)
{
    at = pbwire_put_uint(at, 1, wide(change->transition));
    for (size_t i = 0; i < change->change_count; i++) {
        const struct raftpb_conf_change_single *single = &change->changes[i];
        at = pbwire_put_head(at, 2, single_size(single));
        at = pbwire_put_uint(at, 1, wide(single->type));
        at = pbwire_put_uint(at, 2, single->node_id);
    }
    return put_bytes(at, 3, change->context);
}

static FALLIBLE single_decode(const struct pbwire_field *outer,
                              struct raftpb_conf_change_single *out)
{
    struct slice bytes;
    TRY(get_bytes(outer, &bytes));
    struct pbwire_iter it = pbwire_iter_init(bytes);
    struct pbwire_field field;
    *out = (struct raftpb_conf_change_single){0};
    while (pbwire_next(&it, &field)) {
        if (field.number == 1) {
            TRY(get_i32(&field, &out->type));
        } else if (field.number == 2) {
            TRY(get_u64(&field, &out->node_id));
        }
    }
    return it.err;
}

/* How many fields `number` a message has: to size an array before filling it. */
static size_t count_fields(struct slice in, uint32_t number)
{
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    size_t count = 0;
    while (pbwire_next(&it, &field)) {
        count += field.number == number;
    }
    return count;
}

FALLIBLE raftpb_conf_change_v2_decode(struct arena *arena, struct slice in,
                                      struct raftpb_conf_change_v2 *out)
{
    size_t cap = count_fields(in, 2);
    if (cap > RAFTPB_IDS_MAX) {
        return ERR_CORRUPT;
    }
    struct raftpb_conf_change_single *changes = arena_alloc(arena, cap * sizeof(*changes));
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    *out = (struct raftpb_conf_change_v2){.changes = changes};
    while (pbwire_next(&it, &field)) {
        if (field.number == 1) {
            TRY(get_i32(&field, &out->transition));
        } else if (field.number == 2) {
            ASSERT(out->change_count < cap);
            TRY(single_decode(&field, &changes[out->change_count]));
            out->change_count++;
        } else if (field.number == 3) {
            TRY(get_bytes(&field, &out->context));
        }
    }
    return it.err;
}

/* ---- Message ------------------------------------------------------------------------------ */

size_t raftpb_message_size(const struct raftpb_message *message)
{
    size_t size = pbwire_uint_size(1, wide(message->type)) + pbwire_uint_size(2, message->to) +
                  pbwire_uint_size(3, message->from) + pbwire_uint_size(4, message->term) +
                  pbwire_uint_size(5, message->log_term) + pbwire_uint_size(6, message->index);
    for (size_t i = 0; i < message->entry_count; i++) {
        size += pbwire_bytes_size(7, raftpb_entry_size(&message->entries[i]));
    }
    return size + pbwire_uint_size(8, message->commit) +
           pbwire_bytes_size(9, raftpb_snapshot_size(&message->snapshot)) +
           pbwire_uint_size(10, message->reject) + pbwire_uint_size(11, message->reject_hint) +
           bytes_size(12, message->context);
}

uint8_t *raftpb_message_put(uint8_t *at, const struct raftpb_message *message)
{
    at = pbwire_put_uint(at, 1, wide(message->type));
    at = pbwire_put_uint(at, 2, message->to);
    at = pbwire_put_uint(at, 3, message->from);
    at = pbwire_put_uint(at, 4, message->term);
    at = pbwire_put_uint(at, 5, message->log_term);
    at = pbwire_put_uint(at, 6, message->index);
    for (size_t i = 0; i < message->entry_count; i++) {
        at = pbwire_put_head(at, 7, raftpb_entry_size(&message->entries[i]));
        at = raftpb_entry_put(at, &message->entries[i]);
    }
    at = pbwire_put_uint(at, 8, message->commit);
    at = pbwire_put_head(at, 9, raftpb_snapshot_size(&message->snapshot));
    at = raftpb_snapshot_put(at, &message->snapshot);
    at = pbwire_put_uint(at, 10, message->reject);
    at = pbwire_put_uint(at, 11, message->reject_hint);
    return put_bytes(at, 12, message->context);
}

static FALLIBLE message_snapshot(struct arena *arena, const struct pbwire_field *field,
                                 struct raftpb_message *message)
{
    struct slice bytes;
    TRY(get_bytes(field, &bytes));
    return snapshot_merge(arena, bytes, &message->snapshot);
}

static FALLIBLE message_field(struct arena *arena, const struct pbwire_field *field,
                              struct raftpb_message *message)
{
    switch (field->number) {
    case 1:
        return get_i32(field, &message->type);
    case 2:
        return get_u64(field, &message->to);
    case 3:
        return get_u64(field, &message->from);
    case 4:
        return get_u64(field, &message->term);
    case 5:
        return get_u64(field, &message->log_term);
    case 6:
        return get_u64(field, &message->index);
    case 8:
        return get_u64(field, &message->commit);
    case 9:
        return message_snapshot(arena, field, message);
    case 10:
        return get_bool(field, &message->reject);
    case 11:
        return get_u64(field, &message->reject_hint);
    case 12:
        return get_bytes(field, &message->context);
    default:
        return ERR_OK;
    }
}

FALLIBLE raftpb_message_decode(struct arena *arena, struct slice in, struct raftpb_message *out)
{
    /* At least two bytes an entry: the input bounds the array. */
    size_t cap = count_fields(in, 7);
    struct raftpb_entry *entries = arena_alloc(arena, cap * sizeof(*entries));
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    *out = (struct raftpb_message){.entries = entries};
    while (pbwire_next(&it, &field)) {
        if (field.number != 7) {
            TRY(message_field(arena, &field, out));
            continue;
        }
        struct slice bytes;
        TRY(get_bytes(&field, &bytes));
        ASSERT(out->entry_count < cap);
        TRY(raftpb_entry_decode(bytes, &entries[out->entry_count]));
        out->entry_count++;
    }
    return it.err;
}

/* ---- walpb, snappb, etcdserverpb.Metadata --------------------------------------------------- */

size_t raftpb_record_size(const struct raftpb_record *record)
{
    return pbwire_uint_size(1, (uint64_t)record->type) + pbwire_uint_size(2, record->crc) +
           bytes_size(3, record->data);
}

uint8_t *raftpb_record_put(uint8_t *at, const struct raftpb_record *record)
{
    at = pbwire_put_uint(at, 1, (uint64_t)record->type);
    at = pbwire_put_uint(at, 2, record->crc);
    return put_bytes(at, 3, record->data);
}

FALLIBLE raftpb_record_decode(struct slice in, struct raftpb_record *out)
{
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    *out = (struct raftpb_record){0};
    while (pbwire_next(&it, &field)) {
        uint64_t value = 0;
        if (field.number == 1) {
            TRY(get_u64(&field, &value));
            out->type = (int64_t)value;
        } else if (field.number == 2) {
            TRY(get_u64(&field, &value));
            out->crc = (uint32_t)value;
        } else if (field.number == 3) {
            TRY(get_bytes(&field, &out->data));
        }
    }
    return it.err;
}

size_t raftpb_wal_snapshot_size(const struct raftpb_wal_snapshot *snapshot)
{
    size_t size = pbwire_uint_size(1, snapshot->index) + pbwire_uint_size(2, snapshot->term);
    if (snapshot->has_conf_state) {
        size += pbwire_bytes_size(3, raftpb_conf_state_size(&snapshot->conf_state));
    }
    return size;
}

uint8_t *raftpb_wal_snapshot_put(uint8_t *at, const struct raftpb_wal_snapshot *snapshot)
{
    at = pbwire_put_uint(at, 1, snapshot->index);
    at = pbwire_put_uint(at, 2, snapshot->term);
    if (snapshot->has_conf_state) {
        at = pbwire_put_head(at, 3, raftpb_conf_state_size(&snapshot->conf_state));
        at = raftpb_conf_state_put(at, &snapshot->conf_state);
    }
    return at;
}

FALLIBLE raftpb_wal_snapshot_decode(struct arena *arena, struct slice in,
                                    struct raftpb_wal_snapshot *out)
{
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    *out = (struct raftpb_wal_snapshot){0};
    while (pbwire_next(&it, &field)) {
        if (field.number == 1) {
            TRY(get_u64(&field, &out->index));
        } else if (field.number == 2) {
            TRY(get_u64(&field, &out->term));
        } else if (field.number == 3) {
            struct slice bytes;
            TRY(get_bytes(&field, &bytes));
            out->has_conf_state = true;
            TRY(conf_state_merge(arena, bytes, &out->conf_state));
        }
    }
    return it.err;
}

size_t raftpb_metadata_size(const struct raftpb_metadata *metadata)
{
    return pbwire_uint_size(1, metadata->node_id) + pbwire_uint_size(2, metadata->cluster_id);
}

uint8_t *raftpb_metadata_put(uint8_t *at, const struct raftpb_metadata *metadata)
{
    at = pbwire_put_uint(at, 1, metadata->node_id);
    return pbwire_put_uint(at, 2, metadata->cluster_id);
}

FALLIBLE raftpb_metadata_decode(struct slice in, struct raftpb_metadata *out)
{
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    *out = (struct raftpb_metadata){0};
    while (pbwire_next(&it, &field)) {
        if (field.number == 1) {
            TRY(get_u64(&field, &out->node_id));
        } else if (field.number == 2) {
            TRY(get_u64(&field, &out->cluster_id));
        }
    }
    return it.err;
}

size_t raftpb_snap_file_size(const struct raftpb_snap_file *file)
{
    return pbwire_uint_size(1, file->crc) + bytes_size(2, file->data);
}

uint8_t *raftpb_snap_file_put(uint8_t *at, const struct raftpb_snap_file *file)
{
    at = pbwire_put_uint(at, 1, file->crc);
    return put_bytes(at, 2, file->data);
}

FALLIBLE raftpb_snap_file_decode(struct slice in, struct raftpb_snap_file *out)
{
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    *out = (struct raftpb_snap_file){0};
    while (pbwire_next(&it, &field)) {
        if (field.number == 1) {
            uint64_t crc = 0;
            TRY(get_u64(&field, &crc));
            out->crc = (uint32_t)crc;
        } else if (field.number == 2) {
            TRY(get_bytes(&field, &out->data));
        }
    }
    return it.err;
}
