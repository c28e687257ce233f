/* Writing, in both styles. The walk over the descriptor is one; where the styles differ, a function
 * of few lines says how. */
#include "codec/pbjson.h"

#include "base/digest.h"
#include "base/utf8.h"
#include "codec/json.h"
#include "codec/pb_priv.h"

#include "rpc.pb-c.h"

/* What Go's generator calls the field that holds a oneof. Only what etcdctl prints is here. */
static const char *go_oneof_name(const ProtobufCMessageDescriptor *type)
{
    ASSERT(type == &etcdserverpb__response_op__descriptor);
    return "Response";
}

static const void *at(const void *base, size_t offset)
{
    return (const uint8_t *)base + offset;
}

static bool is_zero(pb_field *field, const void *value)
{
    switch ((int)field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_BOOL:
        return *(const int32_t *)value == 0;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        return *(const int64_t *)value == 0;
    case PROTOBUF_C_TYPE_STRING:
        return (*(const char *const *)value)[0] == 0;
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)value)->len == 0;
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(const void *const *)value == NULL;
    }
    UNREACHABLE(); /* no message of etcd's has other types */
}

/* protojson escapes what JSON demands and nothing else; what is no UTF-8 it would refuse to write,
 * and here becomes U+FFFD. */
void pbjson_append_string(struct buf *out, struct slice text)
{
    buf_append_byte(out, '"');
    while (text.len > 0) {
        size_t len = utf8_len(text);
        uint8_t c = text.data[0];
        const char *escape = c == 0 ? NULL : strchr("\"\\\b\f\n\r\t", c);
        if (len == 0) {
            buf_append_str(out, "\xef\xbf\xbd");
            len = 1;
        } else if (escape != NULL) {
            static const char letters[] = "\"\\bfnrt";
            buf_append_byte(out, '\\');
            buf_append_byte(out, (uint8_t)letters[escape - "\"\\\b\f\n\r\t"]);
        } else if (c < 0x20) {
            buf_printf(out, "\\u%04x", c);
        } else {
            buf_append(out, text.data, len);
        }
        text = slice_skip(text, len);
    }
    buf_append_byte(out, '"');
}

static void append_string(struct buf *out, struct slice text, enum pbjson_style style)
{
    if (style == PBJSON_PROTO) {
        pbjson_append_string(out, text);
    } else {
        json_append_string(out, text);
    }
}

/* An enum that has no name for a number is shown by the number. */
static void append_enum(struct buf *out, pb_field *field, int32_t number, enum pbjson_style style)
{
    const ProtobufCEnumValue *value =
        style == PBJSON_PROTO ? protobuf_c_enum_descriptor_get_value(field->descriptor, number)
                              : NULL;
    if (value != NULL) {
        buf_printf(out, "\"%s\"", value->name);
    } else {
        buf_printf(out, "%d", number);
    }
}

static void append_value(pb_field *field, const void *value, enum pbjson_style style,
                         struct buf *out)
{
    const char *quote = style == PBJSON_PROTO ? "\"" : "";
    switch ((int)field->type) {
    case PROTOBUF_C_TYPE_INT32:
        buf_printf(out, "%d", *(const int32_t *)value);
        return;
    case PROTOBUF_C_TYPE_ENUM:
        append_enum(out, field, *(const int32_t *)value, style);
        return;
    case PROTOBUF_C_TYPE_UINT32:
        buf_printf(out, "%u", *(const uint32_t *)value);
        return;
    case PROTOBUF_C_TYPE_BOOL:
        buf_append_str(out, *(const protobuf_c_boolean *)value != 0 ? "true" : "false");
        return;
    case PROTOBUF_C_TYPE_INT64:
        buf_printf(out, "%s%lld%s", quote, (long long)*(const int64_t *)value, quote);
        return;
    case PROTOBUF_C_TYPE_UINT64:
        buf_printf(out, "%s%llu%s", quote, (unsigned long long)*(const uint64_t *)value, quote);
        return;
    case PROTOBUF_C_TYPE_STRING:
        append_string(out, slice_str(*(const char *const *)value), style);
        return;
    case PROTOBUF_C_TYPE_BYTES:
        buf_append_byte(out, '"');
        base64_encode(pb_bytes(*(const ProtobufCBinaryData *)value), out);
        buf_append_byte(out, '"');
        return;
    case PROTOBUF_C_TYPE_MESSAGE:
        pbjson_encode(*(const void *const *)value, style, out);
        return;
    }
    UNREACHABLE();
}

static void append_name(const char *name, bool *any, struct buf *out)
{
    buf_append_str(out, *any ? ",\"" : "\"");
    buf_append_str(out, name);
    buf_append_str(out, "\":");
    *any = true;
}

static void append_repeated(const ProtobufCMessage *message, pb_field *field,
                            enum pbjson_style style, bool *any, struct buf *out)
{
    size_t count = *(const size_t *)at(message, field->quantifier_offset);
    const uint8_t *elements = *(const uint8_t *const *)at(message, field->offset);
    if (count == 0) {
        return;
    }
    append_name(field->name, any, out);
    for (size_t i = 0; i < count; i++) {
        buf_append_byte(out, i == 0 ? '[' : ',');
        append_value(field, elements + i * pb__element_size(field), style, out);
    }
    buf_append_byte(out, ']');
}

static void append_oneof(const ProtobufCMessage *message, pb_field *field, enum pbjson_style style,
                         bool *any, struct buf *out)
{
    const void *value = at(message, field->offset);
    if (*(const uint32_t *)at(message, field->quantifier_offset) != field->id) {
        return;
    }
    if (style == PBJSON_PROTO) {
        append_name(field->name, any, out);
        append_value(field, value, style, out);
        return;
    }
    append_name(go_oneof_name(message->descriptor), any, out);
    buf_printf(out, "{\"%s\":", field->name);
    append_value(field, value, style, out);
    buf_append_byte(out, '}');
}

void pbjson_encode(const void *base, enum pbjson_style style, struct buf *out)
{
    const ProtobufCMessage *message = base;
    bool any = false;
    buf_append_byte(out, '{');
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        pb_field *field = &message->descriptor->fields[i];
        const void *value = at(message, field->offset);
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            append_repeated(message, field, style, &any, out);
        } else if (pb__is_oneof(field)) {
            append_oneof(message, field, style, &any, out);
        } else if (!is_zero(field, value)) {
            append_name(field->name, &any, out);
            append_value(field, value, style, out);
        }
    }
    /* Go shows an interface that holds nothing as null. */
    if (style == PBJSON_GO && !any &&
        message->descriptor == &etcdserverpb__response_op__descriptor) {
        buf_append_str(out, "\"Response\":null");
    }
    buf_append_byte(out, '}');
}
