/* Escapes in paths and queries, as Go's net/url reads them. */
#include "base/mem.h"
#include "net/http.h"

FALLIBLE http_unescape(struct slice text, bool is_query, struct arena *arena, struct slice *out)
{
    uint8_t *bytes = arena_alloc(arena, text.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '%') {
            int high = i + 2 < text.len ? hex_value(text.data[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_value(text.data[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return ERR_INVALID;
            }
            bytes[len++] = (uint8_t)(high * 16 + low);
            i += 2;
        } else {
            bytes[len++] = is_query && c == '+' ? ' ' : c;
        }
    }
    bytes[len] = 0;
    *out = slice_of(bytes, len);
    return ERR_OK;
}

struct slice http_path_clean(struct slice path, struct arena *arena)
{
    uint8_t *bytes = arena_alloc(arena, path.len + 2);
    size_t len = 0;
    bool is_folder = path.len > 0 && path.data[path.len - 1] == '/';
    while (path.len > 0) {
        struct slice part;
        path = slice_split(path, '/', &part);
        if (slice_eq_str(part, "..")) {
            while (len > 0 && bytes[--len] != '/') {
            }
        } else if (part.len > 0 && !slice_eq_str(part, ".")) {
            bytes[len++] = '/';
            memcpy(bytes + len, part.data, part.len);
            len += part.len;
        }
    }
    if (len == 0 || is_folder) {
        bytes[len++] = '/';
    }
    return slice_of(bytes, len);
}

/* net/url's encodePath: what RFC 3986 reserves for inside of a path stays as it is. */
static bool stays_in_path(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != 0 && strchr("-_.~$&+,/:;=@", c) != NULL);
}

void http_path_escape(struct slice path, struct buf *out)
{
    for (size_t i = 0; i < path.len; i++) {
        if (stays_in_path(path.data[i])) {
            buf_append_byte(out, path.data[i]);
        } else {
            buf_printf(out, "%%%02X", path.data[i]);
        }
    }
}

bool http_query_get(struct slice query, const char *name, size_t index, struct arena *arena,
                    struct slice *out)
{
    while (query.len > 0) {
        struct slice pair;
        struct slice key;
        struct slice value;
        query = slice_split(query, '&', &pair);
        /* Go drops pairs with a ';' or a bad escape. */
        if (pair.len == 0 || memchr(pair.data, ';', pair.len) != NULL) {
            continue;
        }
        value = slice_split(pair, '=', &key);
        if (http_unescape(key, true, arena, &key) != ERR_OK ||
            http_unescape(value, true, arena, &value) != ERR_OK || !slice_eq_str(key, name)) {
            continue;
        }
        if (index == 0) {
            *out = value;
            return true;
        }
        index--;
    }
    return false;
}
