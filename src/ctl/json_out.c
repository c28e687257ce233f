#include "ctl/json_out.h"

#include "base/digest.h"
#include "codec/json.h"
#include "codec/pb.h"
#include "rpc.pb-c.h"

/* What Go's generator calls the field that holds a oneof. Only what etcdctl prints is here. */
static const char *oneof_name(const ProtobufCMessageDescriptor *type)
{
    ASSERT(strcmp(type->name, "etcdserverpb.ResponseOp") == 0);
    return "Response";
}

static const void *at(const void *base, size_t offset)
{
    return (const uint8_t *)base + offset;
}

static bool is_oneof(const ProtobufCFieldDescriptor *field)
{
    return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
}

static bool is_zero(const ProtobufCFieldDescriptor *field, const void *value)
{
    switch (field->type) {
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
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        break; /* no message of etcd's has them */
    }
    UNREACHABLE();
}

static size_t element_size(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        return sizeof(int64_t);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return sizeof(int32_t);
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        break;
    }
    UNREACHABLE();
}

static void append_value(const ProtobufCFieldDescriptor *field, const void *value, struct buf *out)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM:
        buf_printf(out, "%d", *(const int32_t *)value);
        return;
    case PROTOBUF_C_TYPE_UINT32:
        buf_printf(out, "%u", *(const uint32_t *)value);
        return;
    case PROTOBUF_C_TYPE_BOOL:
        buf_append_str(out, *(const protobuf_c_boolean *)value != 0 ? "true" : "false");
        return;
    case PROTOBUF_C_TYPE_INT64:
        buf_printf(out, "%lld", (long long)*(const int64_t *)value);
        return;
    case PROTOBUF_C_TYPE_UINT64:
        buf_printf(out, "%llu", (unsigned long long)*(const uint64_t *)value);
        return;
    case PROTOBUF_C_TYPE_STRING:
        json_append_string(out, slice_str(*(const char *const *)value));
        return;
    case PROTOBUF_C_TYPE_BYTES:
        buf_append_byte(out, '"');
        base64_encode(pb_bytes(*(const ProtobufCBinaryData *)value), out);
        buf_append_byte(out, '"');
        return;
    case PROTOBUF_C_TYPE_MESSAGE:
        json_out_message(*(const void *const *)value, out);
        return;
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        break;
    }
    UNREACHABLE();
}

static void append_name(const char *name, bool *any, struct buf *out)
{
    buf_printf(out, "%s\"%s\":", *any ? "," : "", name);
    *any = true;
}

static void append_repeated(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                            bool *any, struct buf *out)
{
    size_t count = *(const size_t *)at(message, field->quantifier_offset);
    const uint8_t *elements = *(const uint8_t *const *)at(message, field->offset);
    if (count == 0) {
        return;
    }
    append_name(field->name, any, out);
    for (size_t i = 0; i < count; i++) {
        buf_append_byte(out, i == 0 ? '[' : ',');
        append_value(field, elements + i * element_size(field), out);
    }
    buf_append_byte(out, ']');
}

static void append_single(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                          bool *any, struct buf *out)
{
    const void *value = at(message, field->offset);
    if (is_oneof(field)) {
        if (*(const uint32_t *)at(message, field->quantifier_offset) == field->id) {
            append_name(oneof_name(message->descriptor), any, out);
            buf_printf(out, "{\"%s\":", field->name);
            append_value(field, value, out);
            buf_append_byte(out, '}');
        }
    } else if (!is_zero(field, value)) {
        append_name(field->name, any, out);
        append_value(field, value, out);
    }
}

void json_out_message(const void *base, struct buf *out)
{
    const ProtobufCMessage *message = base;
    bool any = false;
    buf_append_byte(out, '{');
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            append_repeated(message, field, &any, out);
        } else {
            append_single(message, field, &any, out);
        }
    }
    /* Go shows an interface that holds nothing as null. */
    if (!any && message->descriptor == &etcdserverpb__response_op__descriptor) {
        buf_append_str(out, "\"Response\":null");
    }
    buf_append_byte(out, '}');
}
