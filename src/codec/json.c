#include "codec/json.h"

#include "base/utf8.h"

#include <json-c/json.h>

static struct json *convert(struct arena *arena, struct json_object *in);

static struct slice string_dup(struct arena *arena, const char *text, size_t len)
{
    return slice_of(arena_strndup(arena, text, len), len);
}

static struct json *convert_array(struct arena *arena, struct json_object *in)
{
    struct json *out = ARENA_NEW(arena, struct json);
    struct json **tail = &out->children.first;
    out->kind = JSON_ARRAY;
    out->children.count = json_object_array_length(in);
    for (size_t i = 0; i < out->children.count; i++) {
        *tail = convert(arena, json_object_array_get_idx(in, i));
        tail = &(*tail)->next;
    }
    return out;
}

static struct json *convert_object(struct arena *arena, struct json_object *in)
{
    struct json *out = ARENA_NEW(arena, struct json);
    struct json **tail = &out->children.first;
    out->kind = JSON_OBJECT;
    json_object_object_foreach(in, name, value)
    {
        *tail = convert(arena, value);
        (*tail)->key = string_dup(arena, name, strlen(name));
        tail = &(*tail)->next;
        out->children.count++;
    }
    return out;
}

static struct json *convert_int(struct arena *arena, struct json_object *in)
{
    struct json *out = ARENA_NEW(arena, struct json);
    out->kind = JSON_INT;
    out->integer = json_object_get_int64(in);
    uint64_t large = json_object_get_uint64(in);
    if (out->integer == INT64_MAX && large > (uint64_t)INT64_MAX) {
        out->kind = JSON_UINT;
        out->uinteger = large;
    }
    return out;
}

/* Recursion is bounded by JSON_DEPTH_MAX, which the tokener has enforced. */
static struct json *convert(struct arena *arena, struct json_object *in)
{
    struct json *out;
    switch (json_object_get_type(in)) {
    case json_type_array:
        return convert_array(arena, in);
    case json_type_object:
        return convert_object(arena, in);
    case json_type_int:
        return convert_int(arena, in);
    case json_type_boolean:
        out = ARENA_NEW(arena, struct json);
        out->kind = JSON_BOOL;
        out->boolean = json_object_get_boolean(in);
        return out;
    case json_type_double:
        out = ARENA_NEW(arena, struct json);
        out->kind = JSON_DOUBLE;
        out->number = json_object_get_double(in);
        return out;
    case json_type_string:
        out = ARENA_NEW(arena, struct json);
        out->kind = JSON_STRING;
        out->string =
            string_dup(arena, json_object_get_string(in), (size_t)json_object_get_string_len(in));
        return out;
    case json_type_null:
        break;
    }
    return ARENA_NEW(arena, struct json);
}

FALLIBLE json_parse(struct arena *arena, struct slice text, struct json **out, struct errbuf *why)
{
    if (text.len == 0 || text.len > INT32_MAX) {
        return errf(why, ERR_CORRUPT, "JSON: %s", text.len == 0 ? "no text" : "too long");
    }
    if (!utf8_valid(text)) { /* the tokener lets surrogates and more than U+10FFFF pass */
        return errf(why, ERR_CORRUPT, "JSON: invalid UTF-8");
    }
    struct json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH_MAX);
    ASSERT(tokener != NULL);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    struct json_object *object =
        json_tokener_parse_ex(tokener, (const char *)text.data, (int)text.len);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    if (error == json_tokener_continue) {
        /* A bare number ends only where the text does: tell the tokener so. */
        object = json_tokener_parse_ex(tokener, "", 1);
        error = json_tokener_get_error(tokener);
    }
    enum err err = ERR_OK;
    if (error != json_tokener_success) {
        err = errf(why, ERR_CORRUPT, "JSON: %s at byte %zu", json_tokener_error_desc(error),
                   json_tokener_get_parse_end(tokener));
    } else {
        *out = convert(arena, object);
    }
    json_object_put(object);
    json_tokener_free(tokener);
    return err;
}

const struct json *json_get(const struct json *json, const char *name)
{
    if (json == NULL || json->kind != JSON_OBJECT) {
        return NULL;
    }
    for (const struct json *child = json->children.first; child != NULL; child = child->next) {
        if (slice_eq_str(child->key, name)) {
            return child; /* json-c has kept only the last of equal names */
        }
    }
    return NULL;
}

struct slice json_string_or(const struct json *json, struct slice fallback)
{
    return json != NULL && json->kind == JSON_STRING ? json->string : fallback;
}

bool json_bool_or(const struct json *json, bool fallback)
{
    return json != NULL && json->kind == JSON_BOOL ? json->boolean : fallback;
}

FALLIBLE json_to_u64(const struct json *json, uint64_t *out)
{
    if (json == NULL) {
        return ERR_NOT_FOUND;
    }
    if (json->kind == JSON_UINT) {
        *out = json->uinteger;
        return ERR_OK;
    }
    if (json->kind != JSON_INT || json->integer < 0) {
        return ERR_INVALID;
    }
    *out = (uint64_t)json->integer;
    return ERR_OK;
}

static void append_ascii(struct buf *out, uint8_t c)
{
    switch (c) {
    case '"':
        buf_append_str(out, "\\\"");
        return;
    case '\\':
        buf_append_str(out, "\\\\");
        return;
    case '\n':
        buf_append_str(out, "\\n");
        return;
    case '\r':
        buf_append_str(out, "\\r");
        return;
    case '\t':
        buf_append_str(out, "\\t");
        return;
    default:
        break;
    }
    if (c < 0x20 || c == '<' || c == '>' || c == '&') {
        buf_printf(out, "\\u%04x", c);
    } else {
        buf_append_byte(out, c);
    }
}

void json_append_string(struct buf *out, struct slice text)
{
    buf_append_byte(out, '"');
    for (size_t i = 0; i < text.len;) {
        const uint8_t *at = text.data + i;
        size_t len = utf8_len(slice_skip(text, i));
        if (len == 1) {
            append_ascii(out, *at);
        } else if (len == 0) {
            buf_append_str(out, "\\ufffd");
            len = 1;
        } else if (len == 3 && at[0] == 0xe2 && at[1] == 0x80 && (at[2] & 0xfe) == 0xa8) {
            buf_append_str(out, at[2] == 0xa8 ? "\\u2028" : "\\u2029");
        } else {
            buf_append(out, at, len);
        }
        i += len;
    }
    buf_append_byte(out, '"');
}
