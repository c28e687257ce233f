/* Protobuf messages as JSON, and back, driven by protobuf-c's descriptors.
 *
 * Two styles are written:
 *   PBJSON_PROTO  the JSON mapping of protobuf as etcd's gateway has it: names as in the .proto,
 *                 64-bit numbers as strings, enums by name, bytes in base64, zero fields left out
 *   PBJSON_GO     what Go's encoding/json makes of the generated structs, as etcdctl prints them:
 *                 numbers as numbers, enums too, a oneof inside an object of its Go name
 * The gateway's style is also read.
 *
 * Threads: pure functions. */
#ifndef CODEC_PBJSON_H
#define CODEC_PBJSON_H

#include "codec/pb.h"

enum pbjson_style {
    PBJSON_PROTO,
    PBJSON_GO,
};

/* Appends. `message` is any generated struct of etcd's client API. */
void pbjson_encode(const void *message, enum pbjson_style style, struct buf *out);

/* Appends `text` quoted, with what JSON demands escaped and nothing else: PBJSON_PROTO's strings.
 */
void pbjson_append_string(struct buf *out, struct slice text);

/* A message that comes in pieces, as it is made, in PBJSON_PROTO's style: no more of it is in
 * memory than one field. Its fields must come in the order of their declaration; what is not
 * well-formed is an ASSERT, so this is for messages of our own making. */
struct pbjson_pieces {
    const ProtobufCMessageDescriptor *type;
    struct buf rest;  /* of a field that is not whole */
    const void *open; /* the repeated field whose list is open */
    bool has_fields;  /* the object is not empty */
    bool has_begun;
};
void pbjson_pieces_init(struct pbjson_pieces *pieces, const ProtobufCMessageDescriptor *type);
/* Appends what the piece completes; `is_last`: the end of the object too. */
void pbjson_pieces_add(struct pbjson_pieces *pieces, struct slice piece, bool is_last,
                       struct buf *out);
void pbjson_pieces_fini(struct pbjson_pieces *pieces);

/* Decodes one object. `text` must be one value of gojson_next(). `out` as in pb_decode(). Names are
 * taken as in the .proto or in lowerCamelCase, numbers also as strings, enums by name or number,
 * base64 of either alphabet with or without padding; unknown fields are skipped, null is absent.
 *
 * Everything decoded lives in the arena; nothing refers to the text.
 *
 * ERR_INVALID    *why has protojson's sentence: "proto: (line 1:8): invalid value for bytes field
 *                key: \"%%%\"", "proto: syntax error (line 1:2): unexpected token 5", …
 * ERR_TOO_LARGE  over PB_DEPTH_MAX or PB_ELEMENTS_MAX; *why names it */
FALLIBLE pbjson_decode(struct arena *arena, const ProtobufCMessageDescriptor *type,
                       struct slice text, void *out, struct errbuf *why);

#endif
