/* gRPC over HTTP/2, the parts that are pure text and bytes: status codes, message framing,
 * timeouts, percent-encoded messages, content types, binary metadata.
 *
 * It knows no stream and no socket: net/ joins it to codec/h2.
 *
 * Source: the "gRPC over HTTP2" protocol description; where that leaves a choice, grpc-go's,
 * because that is what stock servers answer with.
 *
 * Threads: no shared state. */
#ifndef CODEC_GRPC_H
#define CODEC_GRPC_H

#include "base/bytes.h"
#include "base/mem.h"

enum grpc_status {
    GRPC_OK = 0,
    GRPC_CANCELED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_ALREADY_EXISTS = 6,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
};
#define GRPC_STATUS_COUNT 17

/* "OK", "Canceled", "InvalidArgument", … as Go prints them (metrics, logs, etcdctl). Codes that do
 * not exist give "Code(99)" in a buffer of the calling thread. */
const char *grpc_status_name(uint32_t code);
/* The HTTP status a JSON gateway answers with. */
unsigned grpc_status_http(enum grpc_status status);
/* What a client makes of a response without a grpc-status, from its HTTP status. */
enum grpc_status grpc_status_of_http(unsigned http_status);

/* ---- content-type ---------------------------------------------------------------------- */

/* "application/grpc" in lower case, optionally followed by '+' or ';' and anything, which
 * *subtype_out gets. */
bool grpc_content_type(struct slice value, struct slice *subtype_out);

/* ---- grpc-timeout ---------------------------------------------------------------------- */

/* "1H" "2M" "3S" "4m" "5u" "6n": 1 to 8 digits and a unit, into nanoseconds; what does not fit
 * becomes the largest int64. ERR_INVALID otherwise, with grpc-go's sentence in `why`. */
FALLIBLE grpc_timeout_parse(struct slice text, uint64_t *ns_out, struct errbuf *why);
/* The shortest text that loses nothing a timeout needs, rounded up; at most 9 characters and the
 * final 0. */
#define GRPC_TIMEOUT_TEXT 12
void grpc_timeout_format(uint64_t ns, char out[GRPC_TIMEOUT_TEXT]);

/* ---- grpc-message ---------------------------------------------------------------------- */

/* Percent-encodes for a header: bytes 0x20 to 0x7e except '%' stay. */
void grpc_message_encode(struct slice text, struct buf *out);
/* The reverse; what is no valid escape stays as it is. Never fails. */
void grpc_message_decode(struct slice text, struct buf *out);

/* ---- metadata -------------------------------------------------------------------------- */

/* A name ending in "-bin" carries bytes in base64, with or without padding. */
bool grpc_metadata_is_binary(struct slice name);
/* Decodes one such value into the arena. ERR_INVALID. */
FALLIBLE grpc_metadata_decode(struct slice text, struct arena *arena, struct slice *out);
/* Without padding, as gRPC libraries send it. */
void grpc_metadata_encode(struct slice data, struct buf *out);
/* Names gRPC keeps for itself (":path", "te", "grpc-…", …): applications never see them. */
bool grpc_metadata_is_reserved(struct slice name);

/* ---- message framing ------------------------------------------------------------------- */

#define GRPC_PREFIX_LEN 5 /* u8 flag (1: compressed), u32 big-endian length */
void grpc_prefix_put(uint8_t out[GRPC_PREFIX_LEN], bool compressed, uint32_t len);

struct grpc_frame {
    struct slice data; /* as sent: still compressed when `compressed` */
    bool compressed;
};

/* Cuts a byte stream that arrives in arbitrary pieces into messages.
 * A message that lies whole in the input is borrowed from it; else it gathers in `partial`, which
 * grows with what has arrived, never with what was announced. */
struct grpc_deframer {
    uint32_t limit; /* largest announced length accepted */
    uint32_t len;   /* announced length of the message in progress: for ERR_TOO_LARGE's sentence */
    uint8_t prefix[GRPC_PREFIX_LEN];
    uint8_t prefix_len;
    bool delivered; /* the last call returned `partial`: reset it before the next */
    struct buf partial;
};

void grpc_deframer_init(struct grpc_deframer *deframer, uint32_t limit);
void grpc_deframer_fini(struct grpc_deframer *deframer);
/* Forgets everything but the limit and the memory (kept up to `keep` bytes). */
void grpc_deframer_reset(struct grpc_deframer *deframer, size_t keep);
/* Takes bytes off the front of *in until one message is complete; out->data is valid until the
 * next call or until the input goes away.
 *
 * ERR_AGAIN      *in is used up, the message is not complete
 * ERR_TOO_LARGE  deframer->len is over the limit
 * ERR_CORRUPT    the flag byte (deframer->prefix[0]) is neither 0 nor 1
 * After the last two the stream is finished. */
FALLIBLE grpc_deframer_next(struct grpc_deframer *deframer, struct slice *in,
                            struct grpc_frame *out);
/* Whether the stream may end here: no message has begun. */
static inline bool grpc_deframer_between(const struct grpc_deframer *deframer)
{
    return deframer->prefix_len == 0;
}

#endif
