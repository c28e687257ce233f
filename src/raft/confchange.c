/* raftpb.ConfChange          raftpb.ConfChangeV2          raftpb.ConfChangeSingle
 *   1 id       varint          1 transition  varint         1 type     varint
 *   2 type     varint          2 changes     bytes, each    2 node_id  varint
 *   3 node_id  varint          3 context     bytes
 *   4 context  bytes
 *
 * Written as the older generated code does, which spells out zeroes: every etcd reads both. */
#include "raft/confchange.h"

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* One field of a protobuf message: its number and either value. */
struct field {
    uint64_t number;
    enum wire wire;
    uint64_t value;
    struct slice bytes;
};

static bool field_next(struct reader *r, struct field *out)
{
    if (r->err != ERR_OK || reader_left(r) == 0) {
        return false;
    }
    uint64_t key = reader_varint(r);
    *out = (struct field){.number = key >> 3, .wire = (enum wire)(key & 7)};
    switch (key & 7) {
    case WIRE_VARINT:
        out->value = reader_varint(r);
        break;
    case WIRE_FIXED64:
        out->value = reader_le64(r);
        break;
    case WIRE_BYTES:
        out->bytes = reader_bytes(r, reader_varint(r));
        break;
    case WIRE_FIXED32:
        out->value = reader_le32(r);
        break;
    default:
        r->err = ERR_CORRUPT;
        break;
    }
    if (out->number == 0) {
        r->err = ERR_CORRUPT;
    }
    return r->err == ERR_OK;
}

static FALLIBLE change_type_set(uint64_t value, enum raft_conf_change_type *out)
{
    if (value > RAFT_CONF_ADD_LEARNER_NODE) {
        return ERR_INVALID;
    }
    *out = (enum raft_conf_change_type)value;
    return ERR_OK;
}

static FALLIBLE decode_v1(struct slice bytes, struct raft_conf_change *out)
{
    struct reader r = reader_init(bytes);
    struct field field;
    out->is_v1 = true;
    out->change_count = 1;
    while (field_next(&r, &field)) {
        if (field.number == 1 && field.wire == WIRE_VARINT) {
            out->id = field.value;
        } else if (field.number == 2 && field.wire == WIRE_VARINT) {
            TRY(change_type_set(field.value, &out->changes[0].type));
        } else if (field.number == 3 && field.wire == WIRE_VARINT) {
            out->changes[0].node_id = field.value;
        } else if (field.number == 4 && field.wire == WIRE_BYTES) {
            out->context = field.bytes;
        }
    }
    return r.err == ERR_OK ? ERR_OK : ERR_CORRUPT;
}

static FALLIBLE decode_single(struct slice bytes, struct raft_conf_change_single *out)
{
    struct reader r = reader_init(bytes);
    struct field field;
    while (field_next(&r, &field)) {
        if (field.number == 1 && field.wire == WIRE_VARINT) {
            TRY(change_type_set(field.value, &out->type));
        } else if (field.number == 2 && field.wire == WIRE_VARINT) {
            out->node_id = field.value;
        }
    }
    return r.err == ERR_OK ? ERR_OK : ERR_CORRUPT;
}

static FALLIBLE decode_v2(struct slice bytes, struct raft_conf_change *out)
{
    struct reader r = reader_init(bytes);
    struct field field;
    while (field_next(&r, &field)) {
        if (field.number == 1 && field.wire == WIRE_VARINT) {
            if (field.value > RAFT_CONF_JOINT_EXPLICIT) {
                return ERR_INVALID;
            }
            out->transition = (enum raft_conf_transition)field.value;
        } else if (field.number == 2 && field.wire == WIRE_BYTES) {
            if (out->change_count == RAFT_CONF_CHANGES_MAX) {
                return ERR_TOO_LARGE;
            }
            TRY(decode_single(field.bytes, &out->changes[out->change_count++]));
        } else if (field.number == 3 && field.wire == WIRE_BYTES) {
            out->context = field.bytes;
        }
    }
    return r.err == ERR_OK ? ERR_OK : ERR_CORRUPT;
}

FALLIBLE raft_conf_change_decode(enum raft_entry_type type, struct slice bytes,
                                 struct raft_conf_change *out)
{
    struct raft_conf_change change = {0};
    if (type == RAFT_ENTRY_CONF_CHANGE) {
        TRY(decode_v1(bytes, &change));
    } else if (type == RAFT_ENTRY_CONF_CHANGE_V2) {
        TRY(decode_v2(bytes, &change));
    } else {
        return ERR_INVALID;
    }
    *out = change;
    return ERR_OK;
}

static void put_varint(struct buf *out, uint64_t value)
{
    while (value >= 0x80) {
        buf_append_byte(out, (uint8_t)(value | 0x80));
        value >>= 7;
    }
    buf_append_byte(out, (uint8_t)value);
}

static void put_number(struct buf *out, uint8_t field, uint64_t value)
{
    buf_append_byte(out, (uint8_t)(field << 3 | WIRE_VARINT));
    put_varint(out, value);
}

static void put_bytes(struct buf *out, uint8_t field, struct slice bytes)
{
    buf_append_byte(out, (uint8_t)(field << 3 | WIRE_BYTES));
    put_varint(out, bytes.len);
    buf_append_slice(out, bytes);
}

static void put_single(struct buf *out, const struct raft_conf_change_single *change)
{
    struct buf single = {0};
    put_number(&single, 1, change->type);
    put_number(&single, 2, change->node_id);
    put_bytes(out, 2, buf_slice(&single));
    buf_fini(&single);
}

enum raft_entry_type raft_conf_change_encode(const struct raft_conf_change *change, struct buf *out)
{
    if (change->is_v1) {
        ASSERT(change->change_count == 1);
        put_number(out, 1, change->id);
        put_number(out, 2, change->changes[0].type);
        put_number(out, 3, change->changes[0].node_id);
        if (change->context.len > 0) {
            put_bytes(out, 4, change->context);
        }
        return RAFT_ENTRY_CONF_CHANGE;
    }
    put_number(out, 1, change->transition);
    for (uint32_t i = 0; i < change->change_count; i++) {
        put_single(out, &change->changes[i]);
    }
    if (change->context.len > 0) {
        put_bytes(out, 3, change->context);
    }
    return RAFT_ENTRY_CONF_CHANGE_V2;
}
