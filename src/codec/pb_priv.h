/* What protobuf-c's descriptors say, for pb.c and pbjson_*.c. Only the field types that occur in
 * proto/ are known here; another one is a bug of ours. */
#ifndef CODEC_PB_PRIV_H
#define CODEC_PB_PRIV_H

#include "codec/pb.h"

typedef const ProtobufCFieldDescriptor pb_field;
typedef const ProtobufCMessageDescriptor pb_type;

static inline bool pb__is_oneof(pb_field *field)
{
    return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
}

/* Bytes of one value of the field in a generated struct. */
static inline size_t pb__element_size(pb_field *field)
{
    switch ((int)field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_ENUM:
        return 4;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    }
    UNREACHABLE();
}

#endif
