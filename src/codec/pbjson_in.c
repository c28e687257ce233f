/* Reading the gateway's style.
 *
 * The text is one value that gojson_next() has found well-formed, so the cursor below never looks
 * for an end; what remains to be checked are types, ranges, names and strings. Recursion follows
 * the messages' nesting and is bounded by PB_DEPTH_MAX.
 *
 * Errors are worded and placed as protojson does: line and column, in characters, of the token. */
#include "codec/pbjson.h"

#include "base/digest.h"
#include "base/utf8.h"
#include "codec/pb_priv.h"

#include <stdio.h>

struct json_in {
    struct arena *arena;
    struct slice text; /* the whole */
    const uint8_t *at;
    struct errbuf *why;
    size_t depth;
    size_t elements;
};

/* ---- tokens -----------------------------------------------------------------------------------
 */

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static uint8_t peek(struct json_in *in)
{
    while (is_blank(*in->at)) {
        in->at++;
    }
    return *in->at;
}

/* True when the next character is `c`, which is then behind us. */
static bool take(struct json_in *in, char c)
{
    if (peek(in) != (uint8_t)c) {
        return false;
    }
    in->at++;
    return true;
}

static const uint8_t *text_end(const struct json_in *in)
{
    return in->text.data + in->text.len;
}

/* Moves past the token at the cursor and returns it: a bracket, a string with its quotes, or a bare
 * word. */
static struct slice next_token(struct json_in *in)
{
    uint8_t c = peek(in);
    const uint8_t *start = in->at++;
    if (c == '"') {
        while (*in->at != '"') {
            in->at += *in->at == '\\' ? 2 : 1;
        }
        in->at++;
    } else if (strchr("{}[]:,", c) == NULL) {
        while (in->at < text_end(in) && strchr(",:{}[]\" \t\r\n", *in->at) == NULL) {
            in->at++;
        }
    }
    return slice_of(start, (size_t)(in->at - start));
}

/* Moves past a whole value without looking at it. The text is well-formed: counting is enough. */
static void skip_value(struct json_in *in)
{
    size_t open = 0;
    do {
        uint8_t first = next_token(in).data[0];
        open += first == '{' || first == '[';
        open -= first == '}' || first == ']';
    } while (open > 0);
}

/* ---- errors ------------------------------------------------------------------------------------
 */

struct place {
    size_t line;
    size_t column;
};

static struct place place_of(const struct json_in *in, const uint8_t *where)
{
    struct place place = {.line = 1, .column = 1};
    for (const uint8_t *p = in->text.data; p < where; p++) {
        if (*p == '\n') {
            place.line++;
            place.column = 1;
        } else if ((*p & 0xc0) != 0x80) {
            place.column++;
        }
    }
    return place;
}

static enum err unexpected(struct json_in *in, struct slice token)
{
    struct place place = place_of(in, token.data);
    return errf(in->why, ERR_INVALID, "proto: syntax error (line %zu:%zu): unexpected token %.*s",
                place.line, place.column, (int)token.len, (const char *)token.data);
}

/* The name in lowerCamelCase, as errors show it. */
static void camel_name(const char *name, char *out, size_t size)
{
    size_t len = 0;
    bool is_upper = false;
    for (; *name != 0 && len + 1 < size; name++) {
        if (*name == '_') {
            is_upper = true;
            continue;
        }
        out[len++] = is_upper && *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name;
        is_upper = false;
    }
    out[len] = 0;
}

static const char *kind_name(pb_field *field)
{
    switch ((int)field->type) {
    case PROTOBUF_C_TYPE_INT32:
        return "int32";
    case PROTOBUF_C_TYPE_UINT32:
        return "uint32";
    case PROTOBUF_C_TYPE_ENUM:
        return "enum";
    case PROTOBUF_C_TYPE_BOOL:
        return "bool";
    case PROTOBUF_C_TYPE_INT64:
        return "int64";
    case PROTOBUF_C_TYPE_UINT64:
        return "uint64";
    case PROTOBUF_C_TYPE_STRING:
        return "string";
    case PROTOBUF_C_TYPE_BYTES:
        return "bytes";
    }
    UNREACHABLE();
}

static enum err bad_value(struct json_in *in, pb_field *field, struct slice token)
{
    char name[64];
    struct place place = place_of(in, token.data);
    camel_name(field->name, name, sizeof(name));
    return errf(in->why, ERR_INVALID, "proto: (line %zu:%zu): invalid value for %s field %s: %.*s",
                place.line, place.column, kind_name(field), name, (int)token.len,
                (const char *)token.data);
}

/* ---- strings -----------------------------------------------------------------------------------
 */

static uint32_t hex4(const uint8_t *digits)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        value = value << 4 | (uint32_t)hex_value(digits[i]);
    }
    return value;
}

static uint8_t *put_rune(uint8_t *to, uint32_t rune)
{
    if (rune < 0x80) {
        *to++ = (uint8_t)rune;
    } else if (rune < 0x800) {
        *to++ = (uint8_t)(0xc0 | rune >> 6);
        *to++ = (uint8_t)(0x80 | (rune & 0x3f));
    } else if (rune < 0x10000) {
        *to++ = (uint8_t)(0xe0 | rune >> 12);
        *to++ = (uint8_t)(0x80 | (rune >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (rune & 0x3f));
    } else {
        *to++ = (uint8_t)(0xf0 | rune >> 18);
        *to++ = (uint8_t)(0x80 | (rune >> 12 & 0x3f));
        *to++ = (uint8_t)(0x80 | (rune >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (rune & 0x3f));
    }
    return to;
}

/* Reads the escape at *from (behind the backslash). False: half a surrogate pair. */
static bool unescape(const uint8_t **from, uint8_t **to)
{
    static const char letters[] = "bfnrt\"\\/";
    static const char values[] = "\b\f\n\r\t\"\\/";
    uint8_t c = *(*from)++;
    if (c != 'u') {
        *(*to)++ = (uint8_t)values[strchr(letters, c) - letters];
        return true;
    }
    uint32_t rune = hex4(*from);
    *from += 4;
    if (rune >= 0xd800 && rune < 0xe000) {
        bool has_pair = rune < 0xdc00 && (*from)[0] == '\\' && (*from)[1] == 'u';
        uint32_t low = has_pair ? hex4(*from + 2) : 0;
        if (low < 0xdc00 || low >= 0xe000) {
            return false;
        }
        *from += 6;
        rune = 0x10000 + ((rune - 0xd800) << 10) + (low - 0xdc00);
    }
    *to = put_rune(*to, rune);
    return true;
}

/* What is between the quotes, unescaped, into the arena with a 0 behind it. An escape is never
 * shorter than what it stands for. */
static FALLIBLE string_value(struct json_in *in, struct slice token, struct slice *out)
{
    const uint8_t *from = token.data + 1;
    const uint8_t *end = token.data + token.len - 1;
    uint8_t *data = arena_alloc(in->arena, token.len);
    uint8_t *to = data;
    while (from < end) {
        if (*from != '\\') {
            *to++ = *from++;
            continue;
        }
        from++;
        const uint8_t *escape = from - 1;
        if (!unescape(&from, &to)) {
            struct place place = place_of(in, escape);
            return errf(in->why, ERR_INVALID,
                        "proto: syntax error (line %zu:%zu): invalid escape code \"%.*s\" in "
                        "string",
                        place.line, place.column, 6, (const char *)escape);
        }
    }
    *to = 0;
    *out = slice_of(data, (size_t)(to - data));
    if (!utf8_valid(*out)) {
        struct place place = place_of(in, token.data);
        return errf(in->why, ERR_INVALID,
                    "proto: syntax error (line %zu:%zu): invalid UTF-8 in string", place.line,
                    place.column);
    }
    return ERR_OK;
}

/* ---- scalars -----------------------------------------------------------------------------------
 */

static bool is_string(struct slice token)
{
    return token.data[0] == '"';
}

/* A JSON number that is whole: "12", "-3", "1.50e2". */
struct whole {
    bool is_negative;
    uint64_t magnitude;
};

/* The digits of mantissa and fraction, without leading zeros, and where the point is in them. */
struct digits {
    char text[24];
    size_t len;    /* digits seen from the first that is not zero; those beyond text are zeros */
    int64_t point; /* digits in front of it */
    bool is_exact; /* no digit beyond text was anything but 0 */
};

static void digit_add(struct digits *digits, uint8_t c, bool is_fraction)
{
    if (digits->len == 0 && c == '0') {
        digits->point -= is_fraction;
        return;
    }
    if (digits->len < sizeof(digits->text)) {
        digits->text[digits->len] = (char)c;
    } else if (c != '0') {
        digits->is_exact = false;
    }
    digits->len++;
    digits->point += !is_fraction;
}

/* The exponent; beyond a million it makes no difference any more. */
static FALLIBLE exponent_read(struct slice text, size_t at, int64_t *out)
{
    bool is_negative = false;
    int64_t value = 0;
    if (at < text.len && (text.data[at] == '+' || text.data[at] == '-')) {
        is_negative = text.data[at] == '-';
        at++;
    }
    if (at == text.len) {
        return ERR_INVALID;
    }
    for (; at < text.len; at++) {
        uint8_t c = text.data[at];
        if (c < '0' || c > '9') {
            return ERR_INVALID;
        }
        value = value < 1000000 ? value * 10 + (c - '0') : value;
    }
    *out = is_negative ? -value : value;
    return ERR_OK;
}

static FALLIBLE number_grammar(struct slice text)
{
    size_t at = text.len > 0 && text.data[0] == '-';
    size_t digits = at;
    while (at < text.len && text.data[at] >= '0' && text.data[at] <= '9') {
        at++;
    }
    if (at == digits || (text.data[digits] == '0' && at > digits + 1)) {
        return ERR_INVALID;
    }
    if (at < text.len && text.data[at] == '.') {
        digits = ++at;
        while (at < text.len && text.data[at] >= '0' && text.data[at] <= '9') {
            at++;
        }
        if (at == digits) {
            return ERR_INVALID;
        }
    }
    return at == text.len || text.data[at] == 'e' || text.data[at] == 'E' ? ERR_OK : ERR_INVALID;
}

static FALLIBLE whole_read(struct slice text, struct whole *out)
{
    struct digits digits = {.is_exact = true};
    bool is_fraction = false;
    int64_t exponent = 0;
    TRY(number_grammar(text));
    *out = (struct whole){.is_negative = text.data[0] == '-'};
    for (size_t i = out->is_negative; i < text.len; i++) {
        if (text.data[i] == '.') {
            is_fraction = true;
        } else if (text.data[i] == 'e' || text.data[i] == 'E') {
            TRY(exponent_read(text, i + 1, &exponent));
            break;
        } else {
            digit_add(&digits, text.data[i], is_fraction);
        }
    }
    while (digits.is_exact && digits.len > 0 &&
           (digits.len > sizeof(digits.text) || digits.text[digits.len - 1] == '0')) {
        digits.len--; /* trailing zeros say nothing */
    }
    digits.point += exponent;
    if (digits.len == 0) {
        return ERR_OK;
    }
    if (!digits.is_exact || digits.point < (int64_t)digits.len || digits.point > 20) {
        return ERR_INVALID; /* a fraction remains, or it is too large */
    }
    for (int64_t i = 0; i < digits.point; i++) {
        uint64_t digit = i < (int64_t)digits.len ? (uint64_t)(digits.text[i] - '0') : 0;
        if (__builtin_mul_overflow(out->magnitude, 10, &out->magnitude) ||
            __builtin_add_overflow(out->magnitude, digit, &out->magnitude)) {
            return ERR_INVALID;
        }
    }
    return ERR_OK;
}

/* A number, also inside quotes, between the bounds of the field's type. */
static FALLIBLE integer_read(struct slice token, uint64_t below_zero_max, uint64_t max, bool quoted,
                             int64_t *out)
{
    struct whole whole;
    if (is_string(token)) {
        if (!quoted) {
            return ERR_INVALID;
        }
        token = slice_of(token.data + 1, token.len - 2);
    }
    TRY(whole_read(token, &whole));
    if (whole.magnitude > (whole.is_negative ? below_zero_max : max)) {
        return ERR_INVALID;
    }
    *out = (int64_t)(whole.is_negative ? 0 - whole.magnitude : whole.magnitude);
    return ERR_OK;
}

static FALLIBLE enum_read(struct json_in *in, pb_field *field, struct slice token, int32_t *out)
{
    int64_t number;
    if (!is_string(token)) {
        if (integer_read(token, (uint64_t)INT32_MAX + 1, INT32_MAX, false, &number) != ERR_OK) {
            return bad_value(in, field, token);
        }
        *out = (int32_t)number;
        return ERR_OK;
    }
    struct slice name;
    TRY(string_value(in, token, &name));
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value_by_name(field->descriptor, (const char *)name.data);
    *out = value == NULL ? 0 : value->value; /* protojson drops what it does not know */
    return ERR_OK;
}

/* Both alphabets, with or without padding, but not a mixture. */
static FALLIBLE bytes_read(struct json_in *in, struct slice text, ProtobufCBinaryData *out)
{
    struct buf plain = {0};
    struct buf decoded = {0};
    bool is_url = memchr(text.data, '-', text.len) != NULL || memchr(text.data, '_', text.len);
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (is_url && (c == '+' || c == '/')) {
            c = '!'; /* in neither alphabet */
        }
        buf_append_byte(&plain, c == '-' ? '+' : c == '_' ? '/' : c);
    }
    while (plain.len % 4 != 0 && text.len % 4 != 1 &&
           (text.len == 0 || text.data[text.len - 1] != '=')) {
        buf_append_byte(&plain, '=');
    }
    enum err err = base64_decode(buf_slice(&plain), &decoded);
    if (err == ERR_OK) {
        out->len = decoded.len;
        out->data = arena_dup(in->arena, decoded.data, decoded.len);
    }
    buf_fini(&plain);
    buf_fini(&decoded);
    return err;
}

static FALLIBLE scalar_read(struct json_in *in, pb_field *field, void *value)
{
    struct slice token = next_token(in);
    struct slice text;
    int64_t number;
    switch ((int)field->type) {
    case PROTOBUF_C_TYPE_ENUM:
        return enum_read(in, field, token, value);
    case PROTOBUF_C_TYPE_BOOL:
        if (!slice_eq_str(token, "true") && !slice_eq_str(token, "false")) {
            return bad_value(in, field, token);
        }
        *(protobuf_c_boolean *)value = token.data[0] == 't';
        return ERR_OK;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_UINT32: {
        bool is_signed = field->type == PROTOBUF_C_TYPE_INT32;
        if (integer_read(token, is_signed ? (uint64_t)INT32_MAX + 1 : 0,
                         is_signed ? INT32_MAX : UINT32_MAX, true, &number) != ERR_OK) {
            return bad_value(in, field, token);
        }
        *(uint32_t *)value = (uint32_t)number;
        return ERR_OK;
    }
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64: {
        bool is_signed = field->type == PROTOBUF_C_TYPE_INT64;
        if (integer_read(token, is_signed ? (uint64_t)INT64_MAX + 1 : 0,
                         is_signed ? INT64_MAX : UINT64_MAX, true, &number) != ERR_OK) {
            return bad_value(in, field, token);
        }
        *(int64_t *)value = number;
        return ERR_OK;
    }
    case PROTOBUF_C_TYPE_STRING:
        if (!is_string(token)) {
            return bad_value(in, field, token);
        }
        TRY(string_value(in, token, &text));
        if (memchr(text.data, 0, text.len) != NULL) {
            return bad_value(in, field, token); /* our strings end at a zero byte: codec/pb.h */
        }
        *(const char **)value = (const char *)text.data;
        return ERR_OK;
    case PROTOBUF_C_TYPE_BYTES:
        if (!is_string(token)) {
            return bad_value(in, field, token);
        }
        TRY(string_value(in, token, &text));
        return bytes_read(in, text, value) == ERR_OK ? ERR_OK : bad_value(in, field, token);
    }
    UNREACHABLE();
}

/* ---- messages ----------------------------------------------------------------------------------
 */

static FALLIBLE message_read(struct json_in *in, pb_type *type, void **out);

static FALLIBLE value_read(struct json_in *in, pb_field *field, void *value)
{
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return message_read(in, field->descriptor, value);
    }
    return scalar_read(in, field, value);
}

/* Doubles whenever the count is a power of two, so that no capacity has to be kept. */
static void *element_add(struct json_in *in, pb_field *field, void **array, size_t count)
{
    size_t size = pb__element_size(field);
    if ((count & (count - 1)) == 0) {
        size_t cap = count == 0 ? 1 : count * 2;
        void *grown = arena_zalloc(in->arena, cap * size);
        if (count > 0) {
            memcpy(grown, *array, count * size);
        }
        *array = grown;
    }
    return (uint8_t *)*array + count * size;
}

static FALLIBLE element_count(struct json_in *in)
{
    if (++in->elements > PB_ELEMENTS_MAX) {
        return errf(in->why, ERR_TOO_LARGE, "message has more than %zu elements", PB_ELEMENTS_MAX);
    }
    return ERR_OK;
}

static FALLIBLE repeated_read(struct json_in *in, pb_field *field, void *message)
{
    size_t *count = (size_t *)(void *)((uint8_t *)message + field->quantifier_offset);
    void **array = (void **)(void *)((uint8_t *)message + field->offset);
    struct slice bracket = next_token(in);
    if (bracket.data[0] != '[') {
        return unexpected(in, bracket);
    }
    if (take(in, ']')) {
        return ERR_OK;
    }
    do {
        TRY(element_count(in));
        TRY(value_read(in, field, element_add(in, field, array, *count)));
        (*count)++;
    } while (take(in, ','));
    bool is_closed = take(in, ']');
    ASSERT(is_closed); /* the text is well-formed */
    return ERR_OK;
}

static bool name_matches(pb_field *field, struct slice name)
{
    char camel[64];
    if (slice_eq_str(name, field->name)) {
        return true;
    }
    camel_name(field->name, camel, sizeof(camel));
    return slice_eq_str(name, camel);
}

static pb_field *field_by_name(pb_type *type, struct slice name)
{
    for (unsigned i = 0; i < type->n_fields; i++) {
        if (name_matches(&type->fields[i], name)) {
            return &type->fields[i];
        }
    }
    return NULL;
}

/* The descriptors do not keep how a oneof is called: the client API has these. */
static const char *oneof_name(pb_type *type)
{
    static const char *const names[][2] = {
        {"RequestOp", "request"},
        {"ResponseOp", "response"},
        {"Compare", "target_union"},
        {"WatchRequest", "request_union"},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(type->short_name, names[i][0]) == 0) {
            return names[i][1];
        }
    }
    return "?";
}

static FALLIBLE oneof_take(struct json_in *in, pb_field *field, pb_type *type, void *message,
                           struct slice token)
{
    uint32_t *which = (uint32_t *)(void *)((uint8_t *)message + field->quantifier_offset);
    if (*which != 0) {
        struct place place = place_of(in, token.data);
        return errf(in->why, ERR_INVALID,
                    "proto: (line %zu:%zu): error parsing %.*s, oneof %s.%s is already set",
                    place.line, place.column, (int)token.len, (const char *)token.data, type->name,
                    oneof_name(type));
    }
    *which = field->id;
    return ERR_OK;
}

static FALLIBLE field_read(struct json_in *in, pb_type *type, void *message, struct slice token,
                           uint64_t *seen)
{
    struct slice name;
    TRY(string_value(in, token, &name));
    bool has_colon = take(in, ':');
    ASSERT(has_colon);
    pb_field *field = field_by_name(type, name);
    if (field == NULL) {
        skip_value(in);
        return ERR_OK;
    }
    size_t position = (size_t)(field - type->fields);
    ASSERT(position < 64);
    if ((*seen >> position & 1) != 0) {
        struct place place = place_of(in, token.data);
        return errf(in->why, ERR_INVALID, "proto: (line %zu:%zu): duplicate field %.*s", place.line,
                    place.column, (int)token.len, (const char *)token.data);
    }
    *seen |= (uint64_t)1 << position;
    if (peek(in) == 'n') {
        skip_value(in); /* null */
        return ERR_OK;
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return repeated_read(in, field, message);
    }
    if (pb__is_oneof(field)) {
        TRY(oneof_take(in, field, type, message, token));
    }
    return value_read(in, field, (uint8_t *)message + field->offset);
}

static FALLIBLE message_read(struct json_in *in, pb_type *type, void **out)
{
    uint64_t seen = 0;
    struct slice bracket = next_token(in);
    if (bracket.data[0] != '{') {
        return unexpected(in, bracket);
    }
    if (in->depth == PB_DEPTH_MAX) {
        return errf(in->why, ERR_TOO_LARGE, "message nested deeper than %zu levels", PB_DEPTH_MAX);
    }
    TRY(element_count(in));
    in->depth++;
    void *message = pb_new(in->arena, type);
    if (!take(in, '}')) {
        do {
            peek(in);
            TRY(field_read(in, type, message, next_token(in), &seen));
        } while (take(in, ','));
        bool is_closed = take(in, '}');
        ASSERT(is_closed);
    }
    in->depth--;
    *out = message;
    return ERR_OK;
}

FALLIBLE pbjson_decode(struct arena *arena, const ProtobufCMessageDescriptor *type,
                       struct slice text, void *out, struct errbuf *why)
{
    struct json_in in = {.arena = arena, .text = text, .at = text.data, .why = why};
    void *message = NULL;
    TRY(message_read(&in, type, &message));
    *(void **)out = message;
    return ERR_OK;
}
