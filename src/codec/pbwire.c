#include "codec/pbwire.h"

struct pbwire_iter pbwire_iter_init(struct slice message)
{
    static const uint8_t none[1];
    const uint8_t *start = message.data == NULL ? none : message.data;
    return (struct pbwire_iter){.next = start, .end = start + message.len, .err = ERR_OK};
}

static bool fail(struct pbwire_iter *it, enum err err)
{
    it->err = err;
    it->next = it->end;
    return false;
}

static bool take_varint(struct pbwire_iter *it, uint64_t *out)
{
    const uint8_t *next = pbwire_get_varint(it->next, it->end, out, &it->err);
    if (next == NULL) {
        it->next = it->end;
        return false;
    }
    it->next = next;
    return true;
}

static bool take_bytes(struct pbwire_iter *it, uint64_t len, struct slice *out)
{
    if (len > (uint64_t)(it->end - it->next)) {
        return fail(it, len > INT64_MAX ? ERR_CORRUPT : ERR_EOF);
    }
    *out = slice_of(it->next, (size_t)len);
    it->next += len;
    return true;
}

/* The payload behind a tag; nothing for the two group types. */
static bool take_value(struct pbwire_iter *it, struct pbwire_field *field)
{
    uint64_t len;
    switch (field->type) {
    case PBWIRE_VARINT:
        return take_varint(it, &field->value);
    case PBWIRE_FIXED64:
        if (!take_bytes(it, 8, &field->bytes)) {
            return false;
        }
        field->value = get_le64(field->bytes.data);
        return true;
    case PBWIRE_BYTES:
        return take_varint(it, &len) && take_bytes(it, len, &field->bytes);
    case PBWIRE_GROUP_START:
    case PBWIRE_GROUP_END:
        return true;
    case PBWIRE_FIXED32:
        if (!take_bytes(it, 4, &field->bytes)) {
            return false;
        }
        field->value = get_le32(field->bytes.data);
        return true;
    }
    return fail(it, ERR_CORRUPT);
}

bool pbwire_next(struct pbwire_iter *it, struct pbwire_field *out)
{
    uint64_t depth = 0; /* of the group being skipped */
    while (it->next < it->end) {
        uint64_t tag;
        if (!take_varint(it, &tag)) {
            return false;
        }
        struct pbwire_field field = {.number = (uint32_t)(tag >> 3),
                                     .type = (enum pbwire_type)(tag & 7)};
        /* Go takes the number as an int32, and looks at none inside a group it skips. */
        if (depth == 0 && (field.number == 0 || field.number > INT32_MAX)) {
            return fail(it, ERR_CORRUPT);
        }
        if (!take_value(it, &field)) {
            return false;
        }
        if (field.type == PBWIRE_GROUP_START) {
            depth++;
        } else if (field.type == PBWIRE_GROUP_END) {
            if (depth == 0) {
                return fail(it, ERR_CORRUPT);
            }
            depth--;
        } else if (depth == 0) {
            *out = field;
            return true;
        }
    }
    if (it->err == ERR_OK && depth > 0) {
        it->err = ERR_EOF;
    }
    return false;
}

enum kv_field {
    KV_KEY = 1,
    KV_CREATE_REVISION = 2,
    KV_MOD_REVISION = 3,
    KV_VERSION = 4,
    KV_VALUE = 5,
    KV_LEASE = 6,
};

/* Tags of all fields up to 15 take one byte. */
static size_t int_size(int64_t value)
{
    return value == 0 ? 0 : 1 + pbwire_varint_size((uint64_t)value);
}

static size_t slice_size(struct slice bytes)
{
    return bytes.len == 0 ? 0 : 1 + pbwire_varint_size(bytes.len) + bytes.len;
}

static uint8_t *put_int(uint8_t *at, uint32_t number, int64_t value)
{
    return value == 0 ? at : pbwire_put_uint(at, number, (uint64_t)value);
}

static uint8_t *put_slice(uint8_t *at, uint32_t number, struct slice bytes)
{
    return bytes.len == 0 ? at : pbwire_put_bytes(at, number, bytes);
}

size_t kv_row_size(const struct kv_row *row)
{
    return slice_size(row->key) + int_size(row->create_revision) + int_size(row->mod_revision) +
           int_size(row->version) + slice_size(row->value) + int_size(row->lease);
}

uint8_t *kv_row_put(uint8_t *at, const struct kv_row *row)
{
    at = put_slice(at, KV_KEY, row->key);
    at = put_int(at, KV_CREATE_REVISION, row->create_revision);
    at = put_int(at, KV_MOD_REVISION, row->mod_revision);
    at = put_int(at, KV_VERSION, row->version);
    at = put_slice(at, KV_VALUE, row->value);
    return put_int(at, KV_LEASE, row->lease);
}

void kv_row_encode(const struct kv_row *row, struct buf *out)
{
    uint8_t *at = buf_extend(out, kv_row_size(row));
    uint8_t *end = kv_row_put(at, row);
    ASSERT(end == out->data + out->len);
}

static FALLIBLE kv_bytes(const struct pbwire_field *field, struct slice *out)
{
    if (field->type != PBWIRE_BYTES) {
        return ERR_CORRUPT;
    }
    *out = field->bytes;
    return ERR_OK;
}

static FALLIBLE kv_int(const struct pbwire_field *field, int64_t *out)
{
    if (field->type != PBWIRE_VARINT) {
        return ERR_CORRUPT;
    }
    *out = (int64_t)field->value;
    return ERR_OK;
}

static FALLIBLE kv_field_decode(const struct pbwire_field *field, struct kv_row *row)
{
    switch (field->number) {
    case KV_KEY:
        return kv_bytes(field, &row->key);
    case KV_CREATE_REVISION:
        return kv_int(field, &row->create_revision);
    case KV_MOD_REVISION:
        return kv_int(field, &row->mod_revision);
    case KV_VERSION:
        return kv_int(field, &row->version);
    case KV_VALUE:
        return kv_bytes(field, &row->value);
    case KV_LEASE:
        return kv_int(field, &row->lease);
    default:
        return ERR_OK;
    }
}

FALLIBLE kv_row_decode(struct slice in, struct kv_row *out)
{
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    struct kv_row row = {0};
    while (pbwire_next(&it, &field)) {
        TRY(kv_field_decode(&field, &row));
    }
    if (it.err == ERR_OK) {
        *out = row;
    }
    return it.err;
}
