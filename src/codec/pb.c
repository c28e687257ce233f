/* The decoder keeps a stack of open messages in the arena instead of recursing, so that depth
 * costs memory bounded by the input and never the C stack:
 *
 *   frame = { struct being filled, its descriptor, where its bytes end }
 *
 * A sub-message pushes a frame; the end of the bytes of the top frame pops it. The array of a
 * repeated field doubles in the arena whenever its count is a power of two, so that no capacity
 * needs to be stored.
 *
 * The encoder sizes the message once and then writes back to front, as gogo does: the length in
 * front of a sub-message is known when it is written, and nothing is sized or moved twice.
 *
 * Only the field types that occur in proto/ are known here; another one is a bug of ours. */
#include "codec/pb_priv.h"

#include "codec/pbwire.h"

_Static_assert(sizeof(protobuf_c_boolean) == 4, "a bool is read as a 32-bit number");

#define FRAMES_INLINE 16 /* enough for a transaction with five levels */

/* ---- what the descriptors say ------------------------------------------------------------ */

static void *field_at(void *message, pb_field *field)
{
    return (uint8_t *)message + field->offset;
}

static const void *field_at_const(const void *message, pb_field *field)
{
    return (const uint8_t *)message + field->offset;
}

static bool is_packed(pb_field *field)
{
    return (field->flags & PROTOBUF_C_FIELD_FLAG_PACKED) != 0;
}

static bool is_repeated(pb_field *field)
{
    return field->label == PROTOBUF_C_LABEL_REPEATED;
}

static bool is_scalar(pb_field *field)
{
    return field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_BYTES &&
           field->type != PROTOBUF_C_TYPE_MESSAGE;
}

/* Fields are sorted by number, and mostly numbered without holes. */
static pb_field *field_find(pb_type *type, uint32_t number)
{
    if (number - 1 < type->n_fields && type->fields[number - 1].id == number) {
        return &type->fields[number - 1];
    }
    size_t low = 0;
    size_t high = type->n_fields;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (type->fields[mid].id == number) {
            return &type->fields[mid];
        }
        if (type->fields[mid].id < number) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return NULL;
}

void *pb_new(struct arena *arena, const ProtobufCMessageDescriptor *type)
{
    ASSERT(type->magic == PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC);
    void *message = arena_alloc(arena, type->sizeof_message);
    type->message_init(message);
    return message;
}

/* ---- decoding ---------------------------------------------------------------------------- */

struct frame {
    void *message;
    pb_type *type;
    const uint8_t *end;
};

struct decoder {
    struct arena *arena;
    struct pb_limits limits;
    struct errbuf *why;
    const uint8_t *next;
    size_t elements;
    struct frame *frames;
    size_t depth;
    size_t cap;
    struct frame inlined[FRAMES_INLINE];
};

static struct frame *top(struct decoder *d)
{
    ASSERT(d->depth > 0);
    return &d->frames[d->depth - 1];
}

static FALLIBLE push(struct decoder *d, void *message, pb_type *type, const uint8_t *end)
{
    if (d->depth >= d->limits.depth) {
        return errf(d->why, ERR_TOO_LARGE, "message nested deeper than %zu levels",
                    d->limits.depth);
    }
    if (d->depth == d->cap) {
        struct frame *grown = arena_alloc(d->arena, 2 * d->cap * sizeof(*grown));
        memcpy(grown, d->frames, d->depth * sizeof(*grown));
        d->frames = grown;
        d->cap *= 2;
    }
    d->frames[d->depth++] = (struct frame){.message = message, .type = type, .end = end};
    return ERR_OK;
}

static FALLIBLE count_element(struct decoder *d)
{
    if (d->elements >= d->limits.elements) {
        return errf(d->why, ERR_TOO_LARGE, "message has more than %zu elements",
                    d->limits.elements);
    }
    d->elements++;
    return ERR_OK;
}

static enum err fail_eof(struct decoder *d)
{
    return errf(d->why, ERR_CORRUPT, "unexpected EOF");
}

static FALLIBLE take_varint(struct decoder *d, const uint8_t *end, uint64_t *out)
{
    enum err err = ERR_OK;
    const uint8_t *next = pbwire_get_varint(d->next, end, out, &err);
    if (next == NULL) {
        return err == ERR_EOF ? fail_eof(d) : errf(d->why, ERR_CORRUPT, "proto: integer overflow");
    }
    d->next = next;
    return ERR_OK;
}

static FALLIBLE take_bytes(struct decoder *d, uint64_t len, struct slice *out)
{
    if (len > INT64_MAX) {
        return errf(d->why, ERR_CORRUPT, "proto: negative length found during unmarshaling");
    }
    if (len > (uint64_t)(top(d)->end - d->next)) {
        return fail_eof(d);
    }
    *out = slice_of(d->next, (size_t)len);
    d->next += len;
    return ERR_OK;
}

static FALLIBLE take_prefixed(struct decoder *d, struct slice *out)
{
    uint64_t len = 0;
    TRY(take_varint(d, top(d)->end, &len));
    return take_bytes(d, len, out);
}

/* Go's name of a field: range_end is RangeEnd, member_ID is Member_ID. */
static void go_name(const char *name, char *out, size_t cap)
{
    size_t len = 0;
    bool word_start = true;
    for (size_t i = 0; name[i] != '\0' && len + 1 < cap; i++) {
        bool lower = name[i] >= 'a' && name[i] <= 'z';
        bool next_lower = name[i] != '\0' && name[i + 1] >= 'a' && name[i + 1] <= 'z';
        if (name[i] == '_' && next_lower) {
            word_start = true;
            continue;
        }
        out[len++] = lower && word_start ? (char)(name[i] - 'a' + 'A') : name[i];
        word_start = !lower && !(name[i] >= 'A' && name[i] <= 'Z');
    }
    out[len] = '\0';
}

static enum err fail_wire_type(struct decoder *d, pb_field *field, unsigned wire_type)
{
    char name[64];
    go_name(field->name, name, sizeof(name));
    return errf(d->why, ERR_CORRUPT, "proto: wrong wireType = %u for field %s", wire_type, name);
}

/* Room for one more element of a repeated field. */
static FALLIBLE array_extend(struct decoder *d, pb_field *field, void **out)
{
    TRY(count_element(d));
    struct frame *frame = top(d);
    size_t *count = (size_t *)(void *)((uint8_t *)frame->message + field->quantifier_offset);
    void **array = field_at(frame->message, field);
    size_t size = pb__element_size(field);
    if ((*count & (*count - 1)) == 0) { /* 0 and the powers of two: full */
        void *grown = arena_alloc(d->arena, (*count == 0 ? 1 : 2 * *count) * size);
        if (*count > 0) {
            memcpy(grown, *array, *count * size);
        }
        *array = grown;
    }
    *out = (uint8_t *)*array + *count * size;
    (*count)++;
    return ERR_OK;
}

/* Where the value of `field` goes, marked present. */
static FALLIBLE field_slot(struct decoder *d, pb_field *field, void **out)
{
    if (is_repeated(field)) {
        return array_extend(d, field, out);
    }
    void *message = top(d)->message;
    uint8_t *quantifier = (uint8_t *)message + field->quantifier_offset;
    if (pb__is_oneof(field)) {
        uint32_t which = field->id;
        memcpy(quantifier, &which, sizeof(which));
    } else if (field->label == PROTOBUF_C_LABEL_OPTIONAL && field->quantifier_offset != 0) {
        protobuf_c_boolean has = 1;
        memcpy(quantifier, &has, sizeof(has));
    }
    *out = field_at(message, field);
    return ERR_OK;
}

static void store_scalar(pb_field *field, uint64_t value, void *slot)
{
    if (field->type == PROTOBUF_C_TYPE_BOOL) {
        protobuf_c_boolean truth = value != 0;
        memcpy(slot, &truth, sizeof(truth));
    } else if (pb__element_size(field) == 4) {
        uint32_t low = (uint32_t)value;
        memcpy(slot, &low, sizeof(low));
    } else {
        memcpy(slot, &value, sizeof(value));
    }
}

static FALLIBLE decode_packed(struct decoder *d, pb_field *field)
{
    struct slice packed;
    TRY(take_prefixed(d, &packed));
    const uint8_t *end = d->next;
    d->next = packed.data;
    while (d->next < end) {
        uint64_t value = 0;
        void *slot;
        TRY(take_varint(d, end, &value));
        TRY(array_extend(d, field, &slot));
        store_scalar(field, value, slot);
    }
    return ERR_OK;
}

static FALLIBLE decode_scalar(struct decoder *d, pb_field *field, unsigned wire_type)
{
    if (wire_type == PBWIRE_BYTES && is_repeated(field)) {
        return decode_packed(d, field);
    }
    if (wire_type != PBWIRE_VARINT) {
        return fail_wire_type(d, field, wire_type);
    }
    uint64_t value = 0;
    void *slot;
    TRY(take_varint(d, top(d)->end, &value));
    TRY(field_slot(d, field, &slot));
    store_scalar(field, value, slot);
    return ERR_OK;
}

static FALLIBLE decode_string(struct decoder *d, pb_field *field, struct slice bytes)
{
    if (bytes.len > 0 && memchr(bytes.data, 0, bytes.len) != NULL) {
        char name[64];
        go_name(field->name, name, sizeof(name));
        return errf(d->why, ERR_CORRUPT, "proto: zero byte in string field %s", name);
    }
    void *slot;
    TRY(field_slot(d, field, &slot));
    char *text = bytes.len == 0 ? arena_strndup(d->arena, "", 0)
                                : arena_strndup(d->arena, (const char *)bytes.data, bytes.len);
    memcpy(slot, &text, sizeof(text));
    return ERR_OK;
}

static FALLIBLE decode_bytes(struct decoder *d, pb_field *field, struct slice bytes)
{
    void *slot;
    TRY(field_slot(d, field, &slot));
    ProtobufCBinaryData binary = pb_binary(bytes);
    memcpy(slot, &binary, sizeof(binary));
    return ERR_OK;
}

static FALLIBLE decode_message(struct decoder *d, pb_field *field, struct slice bytes)
{
    pb_type *type = field->descriptor;
    const uint8_t *end = d->next;
    void *message = NULL;
    void *slot;
    if (!is_repeated(field)) { /* an element counts itself */
        TRY(count_element(d));
    }
    TRY(field_slot(d, field, &slot));
    if (!is_repeated(field) && !pb__is_oneof(field)) {
        memcpy(&message, slot, sizeof(message));
    }
    if (message == NULL) {
        message = pb_new(d->arena, type);
        memcpy(slot, &message, sizeof(message));
    }
    d->next = bytes.data;
    return push(d, message, type, end);
}

static FALLIBLE decode_known(struct decoder *d, pb_field *field, unsigned wire_type)
{
    if (is_scalar(field)) {
        return decode_scalar(d, field, wire_type);
    }
    if (wire_type != PBWIRE_BYTES) {
        return fail_wire_type(d, field, wire_type);
    }
    struct slice bytes;
    TRY(take_prefixed(d, &bytes));
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        return decode_string(d, field, bytes);
    }
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        return decode_bytes(d, field, bytes);
    }
    return decode_message(d, field, bytes);
}

/* Skips the value behind a tag; *depth counts open groups. */
static FALLIBLE skip_value(struct decoder *d, unsigned wire_type, size_t *depth)
{
    uint64_t ignored;
    struct slice bytes;
    switch (wire_type) {
    case PBWIRE_VARINT:
        return take_varint(d, top(d)->end, &ignored);
    case PBWIRE_FIXED64:
        return take_bytes(d, 8, &bytes);
    case PBWIRE_BYTES:
        return take_prefixed(d, &bytes);
    case PBWIRE_GROUP_START:
        (*depth)++;
        return ERR_OK;
    case PBWIRE_GROUP_END:
        (*depth)--;
        return ERR_OK;
    case PBWIRE_FIXED32:
        return take_bytes(d, 4, &bytes);
    default:
        return errf(d->why, ERR_CORRUPT, "proto: illegal wireType %u", wire_type);
    }
}

static FALLIBLE skip_unknown(struct decoder *d, unsigned wire_type)
{
    size_t depth = 0;
    TRY(skip_value(d, wire_type, &depth));
    while (depth > 0) {
        uint64_t tag = 0;
        TRY(take_varint(d, top(d)->end, &tag));
        TRY(skip_value(d, (unsigned)(tag & 7), &depth));
    }
    return ERR_OK;
}

static FALLIBLE decode_field(struct decoder *d)
{
    uint64_t tag = 0;
    TRY(take_varint(d, top(d)->end, &tag));
    unsigned wire_type = (unsigned)(tag & 7);
    int32_t number = (int32_t)(uint32_t)(tag >> 3);
    const char *type_name = top(d)->type->short_name;
    if (wire_type == PBWIRE_GROUP_END) {
        return errf(d->why, ERR_CORRUPT, "proto: %s: wiretype end group for non-group", type_name);
    }
    if (number <= 0) {
        return errf(d->why, ERR_CORRUPT, "proto: %s: illegal tag %d (wire type %llu)", type_name,
                    (int)number, (unsigned long long)tag);
    }
    pb_field *field = field_find(top(d)->type, (uint32_t)number);
    return field == NULL ? skip_unknown(d, wire_type) : decode_known(d, field, wire_type);
}

FALLIBLE pb_decode_limits(struct arena *arena, const ProtobufCMessageDescriptor *type,
                          struct slice in, struct pb_limits limits, void *out, struct errbuf *why)
{
    static const uint8_t none[1];
    struct decoder d;
    d.arena = arena;
    d.limits = limits;
    d.why = why;
    d.next = in.data == NULL ? none : in.data;
    d.elements = 0;
    d.frames = d.inlined;
    d.depth = 0;
    d.cap = FRAMES_INLINE;
    void *message = pb_new(arena, type);
    TRY(push(&d, message, type, d.next + in.len));
    while (d.depth > 0) {
        ASSERT(d.next <= top(&d)->end);
        if (d.next == top(&d)->end) {
            d.depth--;
        } else {
            TRY(decode_field(&d));
        }
    }
    memcpy(out, &message, sizeof(message));
    return ERR_OK;
}

FALLIBLE pb_decode(struct arena *arena, const ProtobufCMessageDescriptor *type, struct slice in,
                   void *out, struct errbuf *why)
{
    return pb_decode_limits(arena, type, in, PB_LIMITS_REQUEST, out, why);
}

/* ---- encoding ---------------------------------------------------------------------------- */

static uint64_t load_scalar(pb_field *field, const void *slot)
{
    switch ((int)field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM: {
        int32_t value; /* negative ones leave with ten bytes */
        memcpy(&value, slot, sizeof(value));
        return (uint64_t)(int64_t)value;
    }
    case PROTOBUF_C_TYPE_UINT32: {
        uint32_t value;
        memcpy(&value, slot, sizeof(value));
        return value;
    }
    case PROTOBUF_C_TYPE_BOOL: {
        protobuf_c_boolean value;
        memcpy(&value, slot, sizeof(value));
        return value != 0;
    }
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64: {
        uint64_t value = 0;
        memcpy(&value, slot, sizeof(value));
        return value;
    }
    }
    UNREACHABLE();
}

static struct slice load_bytes(pb_field *field, const void *slot)
{
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *text;
        memcpy(&text, slot, sizeof(text));
        return text == NULL ? SLICE_EMPTY : slice_str(text);
    }
    ProtobufCBinaryData binary;
    memcpy(&binary, slot, sizeof(binary));
    return pb_bytes(binary);
}

static const void *load_pointer(const void *slot)
{
    const void *pointer;
    memcpy(&pointer, slot, sizeof(pointer));
    return pointer;
}

static bool is_zero(pb_field *field, const void *slot)
{
    if (pb__element_size(field) == 8) {
        uint64_t value;
        memcpy(&value, slot, sizeof(value));
        return value == 0;
    }
    uint32_t value; /* int, enum and bool alike */
    memcpy(&value, slot, sizeof(value));
    return value == 0;
}

static bool has_quantifier(const void *message, pb_field *field)
{
    protobuf_c_boolean has;
    memcpy(&has, (const uint8_t *)message + field->quantifier_offset, sizeof(has));
    return has != 0;
}

static bool is_chosen(const void *message, pb_field *field)
{
    uint32_t which;
    memcpy(&which, (const uint8_t *)message + field->quantifier_offset, sizeof(which));
    return which == field->id && (field->type != PROTOBUF_C_TYPE_MESSAGE ||
                                  load_pointer(field_at_const(message, field)) != NULL);
}

/* Does a singular field leave? A message never set does not, whatever the label says. The most
 * frequent question comes first: an entry of the log has 35 sub-messages, of which two are set. */
static inline bool is_present(const void *message, pb_field *field)
{
    const void *slot = field_at_const(message, field);
    if (pb__is_oneof(field)) {
        return is_chosen(message, field);
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return load_pointer(slot) != NULL;
    }
    if (field->label == PROTOBUF_C_LABEL_OPTIONAL) {
        return field->type == PROTOBUF_C_TYPE_STRING ? load_pointer(slot) != NULL
                                                     : has_quantifier(message, field);
    }
    return is_scalar(field) ? !is_zero(field, slot) : load_bytes(field, slot).len > 0;
}

static size_t array_count(const void *message, pb_field *field)
{
    size_t count;
    memcpy(&count, (const uint8_t *)message + field->quantifier_offset, sizeof(count));
    return count;
}

static const void *array_element(const void *message, pb_field *field, size_t i)
{
    const uint8_t *array = load_pointer(field_at_const(message, field));
    return array + i * pb__element_size(field);
}

/* A value without its tag; for bytes and messages with its length. */
static size_t value_size(pb_field *field, const void *slot)
{
    if (is_scalar(field)) {
        return pbwire_varint_size(load_scalar(field, slot));
    }
    size_t len = field->type == PROTOBUF_C_TYPE_MESSAGE ? pb_size(load_pointer(slot))
                                                        : load_bytes(field, slot).len;
    return pbwire_varint_size(len) + len;
}

static size_t packed_size(const void *message, pb_field *field)
{
    size_t size = 0;
    for (size_t i = 0; i < array_count(message, field); i++) {
        size += value_size(field, array_element(message, field, i));
    }
    return size;
}

static size_t repeated_size(const void *message, pb_field *field)
{
    size_t count = array_count(message, field);
    if (count == 0) {
        return 0;
    }
    size_t size = packed_size(message, field);
    if (is_packed(field)) {
        return pbwire_head_size(field->id, size) + size;
    }
    return size + count * pbwire_tag_size(field->id);
}

size_t pb_size(const void *message)
{
    const ProtobufCMessage *base = message;
    pb_type *type = base->descriptor;
    size_t size = 0;
    for (size_t i = 0; i < type->n_fields; i++) {
        pb_field *field = &type->fields[i];
        if (is_repeated(field)) {
            size += repeated_size(message, field);
        } else if (is_present(message, field)) {
            size += pbwire_tag_size(field->id) + value_size(field, field_at_const(message, field));
        }
    }
    return size;
}

static uint8_t *back_varint(uint8_t *at, uint64_t value)
{
    at -= pbwire_varint_size(value);
    pbwire_put_varint(at, value);
    return at;
}

static uint8_t *back_message(uint8_t *at, const void *message);

static uint8_t *back_value(uint8_t *at, pb_field *field, const void *slot)
{
    if (is_scalar(field)) {
        return back_varint(at, load_scalar(field, slot));
    }
    const uint8_t *end = at;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        at = back_message(at, load_pointer(slot));
    } else {
        struct slice bytes = load_bytes(field, slot);
        at -= bytes.len;
        if (bytes.len > 0) {
            memcpy(at, bytes.data, bytes.len);
        }
    }
    return back_varint(at, (uint64_t)(end - at));
}

static uint8_t *back_tag(uint8_t *at, pb_field *field)
{
    return back_varint(at, pbwire_tag(field->id, is_scalar(field) ? PBWIRE_VARINT : PBWIRE_BYTES));
}

static uint8_t *back_repeated(uint8_t *at, const void *message, pb_field *field)
{
    const uint8_t *end = at;
    size_t count = array_count(message, field);
    for (size_t i = count; i > 0; i--) {
        at = back_value(at, field, array_element(message, field, i - 1));
        if (!is_packed(field)) {
            at = back_tag(at, field);
        }
    }
    if (count > 0 && is_packed(field)) {
        at = back_varint(at, (uint64_t)(end - at));
        at = back_varint(at, pbwire_tag(field->id, PBWIRE_BYTES));
    }
    return at;
}

static uint8_t *back_message(uint8_t *at, const void *message)
{
    const ProtobufCMessage *base = message;
    pb_type *type = base->descriptor;
    for (size_t i = type->n_fields; i > 0; i--) {
        pb_field *field = &type->fields[i - 1];
        if (is_repeated(field)) {
            at = back_repeated(at, message, field);
        } else if (is_present(message, field)) {
            at = back_value(at, field, field_at_const(message, field));
            at = back_tag(at, field);
        }
    }
    return at;
}

uint8_t *pb_put(uint8_t *at, size_t size, const void *message)
{
    uint8_t *start = back_message(at + size, message);
    ASSERT(start == at);
    return at + size;
}

void pb_encode(const void *message, struct buf *out)
{
    size_t size = pb_size(message);
    pb_put(buf_extend(out, size), size, message);
}

struct slice pb_encode_arena(const void *message, struct arena *arena)
{
    size_t size = pb_size(message);
    uint8_t *at = arena_alloc(arena, size);
    pb_put(at, size, message);
    return slice_of(at, size);
}
