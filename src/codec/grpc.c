#include "codec/grpc.h"

#include "base/digest.h"
#include "base/utf8.h"

#include <stdio.h>

/* ---- status ---------------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned http;
} statuses[GRPC_STATUS_COUNT] = {
    [GRPC_OK] = {"OK", 200},
    [GRPC_CANCELED] = {"Canceled", 499},
    [GRPC_UNKNOWN] = {"Unknown", 500},
    [GRPC_INVALID_ARGUMENT] = {"InvalidArgument", 400},
    [GRPC_DEADLINE_EXCEEDED] = {"DeadlineExceeded", 504},
    [GRPC_NOT_FOUND] = {"NotFound", 404},
    [GRPC_ALREADY_EXISTS] = {"AlreadyExists", 409},
    [GRPC_PERMISSION_DENIED] = {"PermissionDenied", 403},
    [GRPC_RESOURCE_EXHAUSTED] = {"ResourceExhausted", 429},
    [GRPC_FAILED_PRECONDITION] = {"FailedPrecondition", 400},
    [GRPC_ABORTED] = {"Aborted", 409},
    [GRPC_OUT_OF_RANGE] = {"OutOfRange", 400},
    [GRPC_UNIMPLEMENTED] = {"Unimplemented", 501},
    [GRPC_INTERNAL] = {"Internal", 500},
    [GRPC_UNAVAILABLE] = {"Unavailable", 503},
    [GRPC_DATA_LOSS] = {"DataLoss", 500},
    [GRPC_UNAUTHENTICATED] = {"Unauthenticated", 401},
};

const char *grpc_status_name(uint32_t code)
{
    static _Thread_local char other[24];
    if (code < GRPC_STATUS_COUNT) {
        return statuses[code].name;
    }
    snprintf(other, sizeof(other), "Code(%u)", code);
    return other;
}

unsigned grpc_status_http(enum grpc_status status)
{
    ASSERT(status < GRPC_STATUS_COUNT);
    return statuses[status].http;
}

enum grpc_status grpc_status_of_http(unsigned http_status)
{
    switch (http_status) {
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}

/* ---- content-type ---------------------------------------------------------------------- */

bool grpc_content_type(struct slice value, struct slice *subtype_out)
{
    static const char base[] = "application/grpc";
    if (!slice_starts(value, slice_str(base))) {
        return false;
    }
    struct slice rest = slice_skip(value, sizeof(base) - 1);
    if (rest.len == 0) {
        *subtype_out = SLICE_EMPTY;
        return true;
    }
    if (rest.data[0] != '+' && rest.data[0] != ';') {
        return false;
    }
    *subtype_out = slice_skip(rest, 1);
    return true;
}

/* ---- grpc-timeout ---------------------------------------------------------------------- */

#define NS_MAX ((uint64_t)INT64_MAX)

static const struct {
    char unit;
    uint64_t ns;
} timeout_units[] = {
    {'n', 1},          {'u', 1000},         {'m', 1000000},
    {'S', 1000000000}, {'M', 60000000000u}, {'H', 3600000000000u},
};

static uint64_t unit_ns(uint8_t unit)
{
    for (size_t i = 0; i < ARRAY_LEN(timeout_units); i++) {
        if (timeout_units[i].unit == (char)unit) {
            return timeout_units[i].ns;
        }
    }
    return 0;
}

FALLIBLE grpc_timeout_parse(struct slice text, uint64_t *ns_out, struct errbuf *why)
{
    /* A header value is at most a few kilobytes; the sentence shows what fits. */
    int shown = text.len < 200 ? (int)text.len : 200;
    const char *chars = (const char *)text.data;
    if (text.len < 2) {
        return errf(why, ERR_INVALID, "transport: timeout string is too short: \"%.*s\"", shown,
                    chars == NULL ? "" : chars);
    }
    if (text.len > 9) {
        return errf(why, ERR_INVALID, "transport: timeout string is too long: \"%.*s\"", shown,
                    chars);
    }
    uint64_t ns = unit_ns(text.data[text.len - 1]);
    if (ns == 0) {
        return errf(why, ERR_INVALID, "transport: timeout unit is not recognized: \"%.*s\"", shown,
                    chars);
    }
    uint64_t value;
    if (slice_to_u64(slice_of(text.data, text.len - 1), &value) != ERR_OK) {
        return errf(why, ERR_INVALID, "strconv.ParseUint: parsing \"%.*s\": invalid syntax",
                    shown - 1, chars);
    }
    *ns_out = value > NS_MAX / ns ? NS_MAX : value * ns;
    return ERR_OK;
}

void grpc_timeout_format(uint64_t ns, char out[GRPC_TIMEOUT_TEXT])
{
    for (size_t i = 0; i < ARRAY_LEN(timeout_units); i++) {
        uint64_t unit = timeout_units[i].ns;
        uint64_t value = ns / unit + (ns % unit != 0);
        if (value < 100000000) {
            snprintf(out, GRPC_TIMEOUT_TEXT, "%u%c", (unsigned)value, timeout_units[i].unit);
            return;
        }
    }
    UNREACHABLE();
}

/* ---- grpc-message ---------------------------------------------------------------------- */

static bool is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte <= 0x7e && byte != '%';
}

void grpc_message_encode(struct slice text, struct buf *out)
{
    while (text.len > 0) {
        if (is_plain(text.data[0])) {
            buf_append_byte(out, text.data[0]);
            text = slice_skip(text, 1);
            continue;
        }
        size_t len = utf8_len(text);
        if (len == 0) {
            /* grpc-go replaces what is not UTF-8 by U+FFFD. */
            buf_append_str(out, "%EF%BF%BD");
            text = slice_skip(text, 1);
            continue;
        }
        for (size_t i = 0; i < len; i++) {
            buf_printf(out, "%%%02X", text.data[i]);
        }
        text = slice_skip(text, len);
    }
}

void grpc_message_decode(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '%' && i + 2 < text.len) {
            int high = hex_value(text.data[i + 1]);
            int low = hex_value(text.data[i + 2]);
            if (high >= 0 && low >= 0) {
                buf_append_byte(out, (uint8_t)(high * 16 + low));
                i += 2;
                continue;
            }
        }
        buf_append_byte(out, text.data[i]);
    }
}

/* ---- metadata -------------------------------------------------------------------------- */

bool grpc_metadata_is_binary(struct slice name)
{
    return name.len >= 4 && memcmp(name.data + name.len - 4, "-bin", 4) == 0;
}

FALLIBLE grpc_metadata_decode(struct slice text, struct arena *arena, struct slice *out)
{
    struct buf padded = {0};
    struct buf bytes = {0};
    buf_append_slice(&padded, text);
    while (padded.len % 4 != 0) {
        buf_append_byte(&padded, '=');
    }
    enum err err = base64_decode(buf_slice(&padded), &bytes);
    if (err == ERR_OK) {
        *out = slice_of(arena_dup(arena, bytes.data, bytes.len), bytes.len);
    }
    buf_fini(&padded);
    buf_fini(&bytes);
    return err;
}

void grpc_metadata_encode(struct slice data, struct buf *out)
{
    base64_encode(data, out);
    while (out->len > 0 && out->data[out->len - 1] == '=') {
        out->len--;
    }
}

bool grpc_metadata_is_reserved(struct slice name)
{
    static const char *const reserved[] = {
        "content-type", "user-agent",  "grpc-message-type", "grpc-encoding",
        "grpc-message", "grpc-status", "grpc-timeout",      "te",
    };
    if (name.len > 0 && name.data[0] == ':') {
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        if (slice_eq_str(name, reserved[i])) {
            return true;
        }
    }
    return false;
}

/* ---- framing --------------------------------------------------------------------------- */

void grpc_prefix_put(uint8_t out[GRPC_PREFIX_LEN], bool compressed, uint32_t len)
{
    out[0] = compressed ? 1 : 0;
    put_be32(out + 1, len);
}

void grpc_deframer_init(struct grpc_deframer *deframer, uint32_t limit)
{
    *deframer = (struct grpc_deframer){.limit = limit};
}

void grpc_deframer_fini(struct grpc_deframer *deframer)
{
    buf_fini(&deframer->partial);
}

void grpc_deframer_reset(struct grpc_deframer *deframer, size_t keep)
{
    if (deframer->partial.cap > keep) {
        buf_fini(&deframer->partial);
    }
    buf_reset(&deframer->partial);
    deframer->prefix_len = 0;
    deframer->delivered = false;
    deframer->len = 0;
}

static FALLIBLE prefix_take(struct grpc_deframer *deframer, struct slice *in)
{
    size_t part = GRPC_PREFIX_LEN - (size_t)deframer->prefix_len;
    part = in->len < part ? in->len : part;
    if (part > 0) {
        memcpy(deframer->prefix + deframer->prefix_len, in->data, part);
        deframer->prefix_len = (uint8_t)(deframer->prefix_len + part);
        *in = slice_skip(*in, part);
    }
    if (deframer->prefix_len < GRPC_PREFIX_LEN) {
        return ERR_AGAIN;
    }
    deframer->len = get_be32(deframer->prefix + 1);
    if (deframer->len > deframer->limit) {
        return ERR_TOO_LARGE;
    }
    return deframer->prefix[0] > 1 ? ERR_CORRUPT : ERR_OK;
}

FALLIBLE grpc_deframer_next(struct grpc_deframer *deframer, struct slice *in,
                            struct grpc_frame *out)
{
    if (deframer->delivered) {
        buf_reset(&deframer->partial);
        deframer->delivered = false;
    }
    TRY(prefix_take(deframer, in));
    struct slice data;
    if (deframer->partial.len == 0 && in->len >= deframer->len) {
        data = slice_of(in->data, deframer->len);
        *in = slice_skip(*in, deframer->len);
    } else {
        size_t part = deframer->len - deframer->partial.len;
        part = in->len < part ? in->len : part;
        buf_append(&deframer->partial, in->data, part);
        *in = slice_skip(*in, part);
        if (deframer->partial.len < deframer->len) {
            return ERR_AGAIN;
        }
        deframer->delivered = true;
        data = buf_slice(&deframer->partial);
    }
    deframer->prefix_len = 0;
    *out = (struct grpc_frame){.data = data, .compressed = deframer->prefix[0] == 1};
    return ERR_OK;
}
