/* JSON: hostile text into a small tree, and strings out in Go's escaping.
 *
 * The door to json-c. A parsed tree lives in the caller's arena and is read-only. Numbers keep
 * all 64 bits: member ids do not fit a double.
 *
 * Threads: no shared state. */
#ifndef CODEC_JSON_H
#define CODEC_JSON_H

#include "base/bytes.h"
#include "base/mem.h"

enum json_kind {
    JSON_NULL,
    JSON_BOOL,
    JSON_INT,  /* fits int64_t */
    JSON_UINT, /* above INT64_MAX, fits uint64_t */
    JSON_DOUBLE,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json {
    enum json_kind kind;
    struct slice key; /* in an object: the member's name */
    union {
        bool boolean;
        int64_t integer;
        uint64_t uinteger;
        double number;
        struct slice string; /* UTF-8, unescaped, and a final 0 behind it */
        struct {
            struct json *first;
            size_t count;
        } children;
    };
    struct json *next; /* sibling, in document order */
};

#define JSON_DEPTH_MAX 64

/* One value, blanks around it allowed. ERR_CORRUPT with a sentence on anything else, and when it
 * is deeper than JSON_DEPTH_MAX. The caller bounds text.len. */
FALLIBLE json_parse(struct arena *arena, struct slice text, struct json **out, struct errbuf *why);

/* The member of that name (the last one, as Go), or NULL; NULL too when `json` is NULL or no
 * object. */
const struct json *json_get(const struct json *json, const char *name);

/* The value as the type wanted, or `fallback` when it is absent (NULL) or of another kind. */
struct slice json_string_or(const struct json *json, struct slice fallback);
bool json_bool_or(const struct json *json, bool fallback);
/* ERR_NOT_FOUND when absent, ERR_INVALID when negative, fractional or no number. */
FALLIBLE json_to_u64(const struct json *json, uint64_t *out);

/* Appends `text` quoted and escaped as Go's encoding/json does: control characters, quotes, <, >,
 * &, U+2028 and U+2029 escaped, invalid UTF-8 replaced by \ufffd. */
void json_append_string(struct buf *out, struct slice text);

#endif
