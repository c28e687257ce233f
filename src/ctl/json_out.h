/* Protobuf messages as Go's encoding/json shows the structs that gogo/protobuf makes of them:
 * names as in the .proto file, zero fields absent, numbers bare, bytes in base64, enums as numbers,
 * a oneof inside an object of its own Go name.
 *
 * Threads: no shared state. */
#ifndef CTL_JSON_OUT_H
#define CTL_JSON_OUT_H

#include "base/bytes.h"

/* Appends `message`, any generated struct, as one JSON object. The depth of what a server may nest
 * is bounded by the decoder. */
void json_out_message(const void *message, struct buf *out);

#endif
