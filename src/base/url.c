/* A URL is taken apart from left to right as net/url does:
 *
 *   scheme ":" opaque                          when the rest does not start with "/"
 *   scheme ":" "//" [user "@"] host path       otherwise; then "?" query and "#" fragment
 *
 * The text that is shown is put together again from the parts, so that http and HTTP are the same
 * URL and a path is escaped the way Go escapes it. Queries, fragments and users keep their bytes.
 */
#include "base/url.h"

#include "base/gotext.h"

#include <stdlib.h>

/* What a percent escape may hide in, as net/url's encoding modes. */
enum part {
    PART_HOST,
    PART_PATH,
    PART_OTHER,
};

/* ---- sentences ------------------------------------------------------------------------------- */

/* `parse "x": ...` around the sentence that is in *why. */
static enum err parse_error(struct slice text, struct errbuf *why)
{
    struct buf quoted = {0};
    go_quote(text, &quoted);
    enum err err = err_wrap(why, ERR_INVALID, "parse %s", buf_cstr(&quoted));
    buf_fini(&quoted);
    return err;
}

static enum err quoted_error(struct errbuf *why, const char *before, struct slice text,
                             const char *after)
{
    struct buf quoted = {0};
    go_quote(text, &quoted);
    enum err err = errf(why, ERR_INVALID, "%s%s%s", before, buf_cstr(&quoted), after);
    buf_fini(&quoted);
    return err;
}

/* ---- escapes ------------------------------------------------------------------------------------
 */

static bool is_alnum(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_among(uint8_t c, const char *set)
{
    return c != 0 && strchr(set, c) != NULL;
}

/* Must net/url escape this byte when it prints the part? */
static bool needs_escape(uint8_t c, enum part part)
{
    if (is_alnum(c) || is_among(c, "-_.~")) {
        return false;
    }
    switch (part) {
    case PART_HOST:
        return !is_among(c, "!$&'()*+,;=:[]<>\"");
    case PART_PATH:
        return !is_among(c, "$&+,/:;=@");
    case PART_OTHER:
        return true;
    }
    UNREACHABLE();
}

/* Decodes percent escapes; the result ends with a 0 and holds no other. */
static enum err unescape(struct arena *arena, struct slice text, enum part part, const char **out,
                         struct errbuf *why)
{
    char *copy = arena_strndup(arena, "", 0);
    size_t len = 0;
    if (text.len > 0) {
        copy = arena_alloc(arena, text.len + 1);
    }
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '%') {
            int high = i + 2 < text.len ? hex_value(text.data[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_value(text.data[i + 2]) : -1;
            struct slice escape = slice_of(text.data + i, text.len - i < 3 ? text.len - i : 3);
            bool is_percent = slice_eq_str(escape, "%25");
            if (high < 0 || low < 0 || (part == PART_HOST && high < 8 && !is_percent)) {
                return quoted_error(why, "invalid URL escape ", escape, "");
            }
            c = (uint8_t)(high << 4 | low);
            i += 2;
        } else if (part == PART_HOST && c < 0x80 && needs_escape(c, part)) {
            return quoted_error(why, "invalid character ", slice_of(&c, 1), " in host name");
        }
        if (c == 0) {
            return errf(why, ERR_INVALID, "a URL must not hide a zero byte");
        }
        copy[len++] = (char)c;
    }
    copy[len] = 0;
    *out = copy;
    return ERR_OK;
}

static void escape(const char *text, enum part part, struct buf *out)
{
    for (; *text != 0; text++) {
        uint8_t c = (uint8_t)*text;
        if (needs_escape(c, part)) {
            buf_printf(out, "%%%02X", c);
        } else {
            buf_append_byte(out, c);
        }
    }
}

/* May the path be shown as it was written? Else it is escaped anew (URL.EscapedPath). */
static bool path_is_encoded(struct slice raw)
{
    for (size_t i = 0; i < raw.len; i++) {
        uint8_t c = raw.data[i];
        if (!is_among(c, "!$&'()*+,;=:@[]%") && needs_escape(c, PART_PATH)) {
            return false;
        }
    }
    return true;
}

/* ---- parts
 * ---------------------------------------------------------------------------------------- */

/* The bytes of a URL's parts, before anything is decoded. */
struct parts {
    struct slice scheme;
    struct slice opaque;
    struct slice user;
    struct slice host;
    struct slice path;
    struct slice query;
    struct slice fragment;
    bool has_query;
    bool has_user;
    bool omits_host; /* "unix:/x": no "//" */
    bool has_opaque;
};

static enum err take_scheme(struct slice text, struct slice *scheme, struct slice *rest,
                            struct errbuf *why)
{
    *scheme = SLICE_EMPTY;
    *rest = text;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        bool is_letter = is_alnum(c) && !(c >= '0' && c <= '9');
        if (c == ':') {
            if (i == 0) {
                return errf(why, ERR_INVALID, "missing protocol scheme");
            }
            *scheme = slice_of(text.data, i);
            *rest = slice_skip(text, i + 1);
            return ERR_OK;
        }
        if (!is_letter && (i == 0 || !(is_alnum(c) || is_among(c, "+-.")))) {
            return ERR_OK;
        }
    }
    return ERR_OK;
}

static size_t last_of(struct slice text, uint8_t wanted)
{
    size_t at = text.len;
    while (at > 0 && text.data[at - 1] != wanted) {
        at--;
    }
    return at; /* position + 1, or 0 */
}

static bool port_is_valid(struct slice port)
{
    if (port.len == 0) {
        return true;
    }
    for (size_t i = 1; i < port.len; i++) {
        if (port.data[i] < '0' || port.data[i] > '9') {
            return false;
        }
    }
    return port.data[0] == ':';
}

static enum err check_host(struct slice host, struct errbuf *why)
{
    struct slice port = SLICE_EMPTY;
    if (host.len > 0 && host.data[0] == '[') {
        size_t end = last_of(host, ']');
        if (end == 0) {
            return errf(why, ERR_INVALID, "missing ']' in host");
        }
        port = slice_skip(host, end);
    } else if (last_of(host, ':') > 0) {
        port = slice_skip(host, last_of(host, ':') - 1);
    }
    if (!port_is_valid(port)) {
        return quoted_error(why, "invalid port ", port, " after host");
    }
    return ERR_OK;
}

static enum err take_authority(struct slice text, struct parts *parts, struct errbuf *why)
{
    size_t at = last_of(text, '@');
    parts->host = slice_skip(text, at);
    TRY(check_host(parts->host, why));
    if (at > 0) {
        parts->has_user = true;
        parts->user = slice_of(text.data, at - 1);
    }
    for (size_t i = 0; i < parts->user.len; i++) {
        uint8_t c = parts->user.data[i];
        if (!is_alnum(c) && !is_among(c, "-._:~!$&'()*+,;=%@")) {
            return errf(why, ERR_INVALID, "net/url: invalid userinfo");
        }
    }
    return ERR_OK;
}

static enum err check_bytes(struct slice text, struct errbuf *why)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < ' ' || text.data[i] == 0x7f) {
            return errf(why, ERR_INVALID, "net/url: invalid control character in URL");
        }
    }
    return ERR_OK;
}

/* Everything but the fragment. */
static enum err split_parts(struct slice text, struct parts *parts, struct errbuf *why)
{
    struct slice rest;
    TRY(check_bytes(text, why));
    if (slice_eq_str(text, "*")) {
        parts->path = text;
        return ERR_OK;
    }
    TRY(take_scheme(text, &parts->scheme, &rest, why));
    struct slice before;
    parts->query = slice_split(rest, '?', &before);
    parts->has_query = before.len != rest.len;
    rest = before;
    bool is_rooted = slice_starts(rest, SLICE("/"));
    if (!is_rooted && parts->scheme.len > 0) {
        parts->opaque = rest;
        parts->has_opaque = true;
        return ERR_OK;
    }
    struct slice segment;
    slice_split(rest, '/', &segment);
    if (!is_rooted && last_of(segment, ':') > 0) {
        return errf(why, ERR_INVALID, "first path segment in URL cannot contain colon");
    }
    bool has_authority = slice_starts(rest, SLICE("//")) &&
                         (parts->scheme.len > 0 || !slice_starts(rest, SLICE("///")));
    parts->omits_host = !has_authority && parts->scheme.len > 0;
    parts->path = rest;
    if (!has_authority) {
        return ERR_OK;
    }
    rest = slice_skip(rest, 2);
    struct slice authority;
    slice_split(rest, '/', &authority);
    parts->path = slice_skip(rest, authority.len);
    return take_authority(authority, parts, why);
}

/* ---- one URL
 * --------------------------------------------------------------------------------------- */

/* URL.String(). */
static const char *compose(struct arena *arena, const struct url *url, const struct parts *parts)
{
    struct buf text = {0};
    if (url->scheme[0] != 0) {
        buf_append_str(&text, url->scheme);
        buf_append_byte(&text, ':');
    }
    buf_append_slice(&text, parts->opaque);
    bool omits_host = parts->omits_host && url->host[0] == 0 && !parts->has_user;
    if (!parts->has_opaque && !omits_host &&
        (url->host[0] != 0 || (url->path[0] != 0 && url->scheme[0] != 0) || parts->has_user)) {
        buf_append_str(&text, "//");
    }
    if (parts->has_user) {
        buf_append_slice(&text, parts->user);
        buf_append_byte(&text, '@');
    }
    escape(url->host, PART_HOST, &text);
    if (path_is_encoded(parts->path)) {
        buf_append_slice(&text, parts->path);
    } else {
        escape(url->path, PART_PATH, &text);
    }
    if (parts->has_query) {
        buf_append_byte(&text, '?');
        buf_append_slice(&text, parts->query);
    }
    if (parts->fragment.len > 0) {
        buf_append_byte(&text, '#');
        buf_append_slice(&text, parts->fragment);
    }
    const char *copy = arena_strndup(arena, buf_cstr(&text), text.len);
    buf_fini(&text);
    return copy;
}

static const char *lower_copy(struct arena *arena, struct slice text)
{
    char *copy = arena_strndup(arena, (const char *)text.data, text.len);
    for (char *at = copy; *at != 0; at++) {
        *at = (char)(*at >= 'A' && *at <= 'Z' ? *at | 0x20 : *at);
    }
    return copy;
}

static const char *slice_copy(struct arena *arena, struct slice text)
{
    return text.len == 0 ? "" : arena_strndup(arena, (const char *)text.data, text.len);
}

/* URL.Hostname() and URL.Port() of an already checked host. */
static void split_host(struct arena *arena, struct url *url)
{
    struct slice host = slice_str(url->host);
    bool is_literal = slice_starts(host, SLICE("["));
    size_t end = is_literal ? last_of(host, ']') : last_of(host, ':');
    struct slice name = host;
    struct slice port = SLICE_EMPTY;
    if (is_literal && end > 0) {
        name = slice_of(host.data + 1, end - 2);
        port = slice_skip(host, end);
        port = port.len > 0 ? slice_skip(port, 1) : port;
    } else if (!is_literal && end > 0) {
        name = slice_of(host.data, end - 1);
        port = slice_skip(host, end);
    }
    url->hostname = slice_copy(arena, name);
    url->port = slice_copy(arena, port);
}

static enum err decode_parts(struct arena *arena, const struct parts *parts, struct url *url,
                             struct errbuf *why)
{
    const char *ignored;
    *url = (struct url){.has_user = parts->has_user};
    url->scheme = parts->scheme.len == 0 ? "" : lower_copy(arena, parts->scheme);
    url->opaque = slice_copy(arena, parts->opaque);
    TRY(unescape(arena, parts->host, PART_HOST, &url->host, why));
    TRY(unescape(arena, parts->user, PART_OTHER, &ignored, why));
    TRY(unescape(arena, parts->path, PART_PATH, &url->path, why));
    split_host(arena, url);
    return ERR_OK;
}

FALLIBLE url_parse(struct arena *arena, struct slice text, struct url *out, struct errbuf *why)
{
    if (text.len > URL_LEN_MAX) {
        return errf(why, ERR_INVALID, "a URL may have at most %d bytes, this one has %zu",
                    URL_LEN_MAX, text.len);
    }
    struct parts parts = {0};
    struct url url;
    struct slice before;
    parts.fragment = slice_split(text, '#', &before);
    if (split_parts(before, &parts, why) != ERR_OK ||
        decode_parts(arena, &parts, &url, why) != ERR_OK) {
        return parse_error(before, why);
    }
    const char *ignored;
    if (unescape(arena, parts.fragment, PART_OTHER, &ignored, why) != ERR_OK) {
        return parse_error(text, why);
    }
    url.text = compose(arena, &url, &parts);
    *out = url;
    return ERR_OK;
}

/* ---- lists
 * ------------------------------------------------------------------------------------------- */

static struct slice trim(struct slice text)
{
    while (text.len > 0 && is_among(text.data[0], " \t\n\v\f\r")) {
        text = slice_skip(text, 1);
    }
    while (text.len > 0 && is_among(text.data[text.len - 1], " \t\n\v\f\r")) {
        text.len--;
    }
    return text;
}

/* What types.NewURLs asks of each URL. */
static enum err check_member(const struct url *url, struct slice text, struct errbuf *why)
{
    struct slice host;
    struct slice port;
    int len = (int)text.len;
    const char *shown = (const char *)text.data;
    if (strcmp(url->scheme, "unix") == 0 || strcmp(url->scheme, "unixs") == 0) {
        return ERR_OK;
    }
    if (strcmp(url->scheme, "http") != 0 && strcmp(url->scheme, "https") != 0) {
        return errf(why, ERR_INVALID, "URL scheme must be http, https, unix, or unixs: %.*s", len,
                    len == 0 ? "" : shown);
    }
    if (host_port_split(slice_str(url->host), &host, &port, NULL) != ERR_OK) {
        return errf(why, ERR_INVALID, "URL address does not have the form \"host:port\": %.*s", len,
                    shown);
    }
    if (url->path[0] != 0) {
        return errf(why, ERR_INVALID, "URL must not contain a path: %.*s", len, shown);
    }
    return ERR_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct url *)a)->text, ((const struct url *)b)->text);
}

static size_t count_parts(struct slice text)
{
    size_t count = 1;
    for (size_t i = 0; i < text.len; i++) {
        count += text.data[i] == ',';
    }
    return count;
}

static enum err parse_parts(struct arena *arena, const struct slice *texts, size_t count,
                            struct url_list *out, struct errbuf *why)
{
    struct url *urls = arena_zalloc(arena, count * sizeof(*urls));
    for (size_t i = 0; i < count; i++) {
        struct slice text = trim(texts[i]);
        TRY(url_parse(arena, text, &urls[i], why));
        TRY(check_member(&urls[i], text, why));
    }
    qsort(urls, count, sizeof(*urls), by_text);
    *out = (struct url_list){.items = urls, .count = count};
    return ERR_OK;
}

FALLIBLE url_list_parse(struct arena *arena, struct slice text, struct url_list *out,
                        struct errbuf *why)
{
    size_t count = count_parts(text);
    if (count > URL_COUNT_MAX) {
        return errf(why, ERR_INVALID, "a list may have at most %d URLs, this one has %zu",
                    URL_COUNT_MAX, count);
    }
    struct slice *texts = arena_alloc(arena, count * sizeof(*texts));
    for (size_t i = 0; i < count; i++) {
        text = slice_split(text, ',', &texts[i]);
    }
    return parse_parts(arena, texts, count, out, why);
}

FALLIBLE url_list_parse_unique(struct arena *arena, struct slice text, struct url_list *out,
                               struct errbuf *why)
{
    struct url_list list = {0};
    if (text.len > 0) {
        TRY(url_list_parse(arena, text, &list, why));
    }
    size_t kept = 0;
    for (size_t i = 0; i < list.count; i++) {
        if (kept == 0 || strcmp(list.items[kept - 1].text, list.items[i].text) != 0) {
            list.items[kept++] = list.items[i];
        }
    }
    list.count = kept;
    *out = list;
    return ERR_OK;
}

/* ---- maps
 * ---------------------------------------------------------------------------------------------- */

struct named {
    struct slice name;
    struct slice url;
    size_t order; /* keeps URLs of one name in their order while sorting */
};

static int by_name(const void *a, const void *b)
{
    const struct named *left = a;
    const struct named *right = b;
    int order = slice_cmp(left->name, right->name);
    return order != 0 ? order : (left->order > right->order) - (left->order < right->order);
}

/* "name=url" pairs in order of name. */
static size_t split_pairs(struct slice text, struct named *pairs)
{
    size_t count = 0;
    while (text.len > 0) {
        struct slice part;
        text = slice_split(text, ',', &part);
        if (part.len == 0) {
            continue;
        }
        struct named *pair = &pairs[count];
        pair->url = slice_split(part, '=', &pair->name);
        pair->order = count++;
    }
    if (count > 1) {
        qsort(pairs, count, sizeof(*pairs), by_name);
    }
    return count;
}

FALLIBLE url_map_parse(struct arena *arena, struct slice text, struct url_map *out,
                       struct errbuf *why)
{
    size_t most = count_parts(text);
    if (most > URL_COUNT_MAX) {
        return errf(why, ERR_INVALID, "a cluster may have at most %d URLs, this one has %zu",
                    URL_COUNT_MAX, most);
    }
    if (text.len > 0 && memchr(text.data, 0, text.len) != NULL) {
        return errf(why, ERR_INVALID, "a member's name must not have a zero byte in it");
    }
    struct named *pairs = arena_alloc(arena, most * sizeof(*pairs));
    size_t count = split_pairs(text, pairs);
    struct url_map map = {.items = arena_zalloc(arena, (count + 1) * sizeof(*map.items))};
    struct slice *texts = arena_alloc(arena, (count + 1) * sizeof(*texts));
    for (size_t i = 0; i < count;) {
        struct url_map_entry *entry = &map.items[map.count++];
        size_t same = 0;
        entry->name = slice_copy(arena, pairs[i].name);
        while (i + same < count && slice_eq(pairs[i + same].name, pairs[i].name)) {
            texts[same] = pairs[i + same].url;
            same++;
        }
        TRY(parse_parts(arena, texts, same, &entry->urls, why));
        i += same;
    }
    *out = map;
    return ERR_OK;
}

const struct url_map_entry *url_map_find(const struct url_map *map, const char *name)
{
    for (size_t i = 0; i < map->count; i++) {
        if (strcmp(map->items[i].name, name) == 0) {
            return &map->items[i];
        }
    }
    return NULL;
}

static int by_string(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *join(struct arena *arena, const char *const *texts, size_t count)
{
    struct buf text = {0};
    for (size_t i = 0; i < count; i++) {
        buf_append_str(&text, i == 0 ? "" : ",");
        buf_append_str(&text, texts[i]);
    }
    const char *copy = arena_strndup(arena, buf_cstr(&text), text.len);
    buf_fini(&text);
    return copy;
}

const char *url_map_text(struct arena *arena, const struct url_map *map)
{
    size_t count = 0;
    for (size_t i = 0; i < map->count; i++) {
        count += map->items[i].urls.count;
    }
    const char **pairs = arena_alloc(arena, (count + 1) * sizeof(*pairs));
    count = 0;
    for (size_t i = 0; i < map->count; i++) {
        const struct url_map_entry *entry = &map->items[i];
        for (size_t k = 0; k < entry->urls.count; k++) {
            pairs[count++] = arena_printf(arena, "%s=%s", entry->name, entry->urls.items[k].text);
        }
    }
    qsort(pairs, count, sizeof(*pairs), by_string);
    return join(arena, pairs, count);
}

const char *const *url_list_texts(struct arena *arena, const struct url_list *list)
{
    const char **texts = arena_alloc(arena, (list->count + 1) * sizeof(*texts));
    for (size_t i = 0; i < list->count; i++) {
        texts[i] = list->items[i].text;
    }
    return texts;
}

const char *url_list_text(struct arena *arena, const struct url_list *list)
{
    return join(arena, url_list_texts(arena, list), list->count);
}

/* ---- hosts and addresses
 * ------------------------------------------------------------------------------ */

static enum err address_error(struct slice address, struct errbuf *why, const char *what)
{
    if (address.len == 0) {
        return errf(why, ERR_INVALID, "%s", what);
    }
    return errf(why, ERR_INVALID, "address %.*s: %s", (int)address.len, (const char *)address.data,
                what);
}

static size_t first_of(struct slice text, size_t from, uint8_t wanted)
{
    while (from < text.len && text.data[from] != wanted) {
        from++;
    }
    return from; /* text.len when there is none */
}

FALLIBLE host_port_split(struct slice address, struct slice *host_out, struct slice *port_out,
                         struct errbuf *why)
{
    static const char missing_port[] = "missing port in address";
    static const char many_colons[] = "too many colons in address";
    size_t colon = last_of(address, ':'); /* + 1 */
    size_t no_open = 0;                   /* from here on no '[' may stand */
    size_t no_close = 0;
    struct slice host;
    if (colon == 0) {
        return address_error(address, why, missing_port);
    }
    if (address.data[0] == '[') {
        size_t end = first_of(address, 0, ']');
        if (end == address.len) {
            return address_error(address, why, "missing ']' in address");
        }
        if (end + 1 != colon - 1) {
            bool has_more = end + 1 < address.len && address.data[end + 1] == ':';
            return address_error(address, why, has_more ? many_colons : missing_port);
        }
        host = slice_of(address.data + 1, end - 1);
        no_open = 1;
        no_close = end + 1;
    } else {
        host = slice_of(address.data, colon - 1);
        if (last_of(host, ':') > 0) {
            return address_error(address, why, many_colons);
        }
    }
    if (first_of(address, no_open, '[') < address.len) {
        return address_error(address, why, "unexpected '[' in address");
    }
    if (first_of(address, no_close, ']') < address.len) {
        return address_error(address, why, "unexpected ']' in address");
    }
    *host_out = host;
    *port_out = slice_skip(address, colon);
    return ERR_OK;
}

static bool parse_ip4(struct slice text, uint8_t bytes[4])
{
    for (int i = 0; i < 4; i++) {
        struct slice part;
        bool is_last = i == 3;
        size_t dot = first_of(text, 0, '.');
        if (is_last != (dot == text.len)) {
            return false;
        }
        text = slice_split(text, '.', &part);
        uint64_t value;
        bool has_zero = part.len > 1 && part.data[0] == '0';
        if (part.len > 3 || has_zero || slice_to_u64(part, &value) != ERR_OK || value > 255) {
            return false;
        }
        bytes[i] = (uint8_t)value;
    }
    return true;
}

/* Up to four hexadecimal digits; false when there are none or more. */
static bool take_group(struct slice *text, unsigned *out)
{
    unsigned value = 0;
    size_t len = 0;
    while (len < text->len && hex_value(text->data[len]) >= 0) {
        value = value << 4 | (unsigned)hex_value(text->data[len]);
        len++;
        if (len > 4) {
            return false;
        }
    }
    *out = value;
    *text = slice_skip(*text, len);
    return len > 0;
}

/* Opens the "::" at `gap` with zeros. */
static void spread(uint8_t bytes[16], size_t len, size_t gap)
{
    uint8_t spread_bytes[16] = {0};
    ASSERT(gap <= len);
    ASSERT(len <= 16);
    size_t tail = len - gap;
    memcpy(spread_bytes, bytes, gap);
    memcpy(spread_bytes + (16 - tail), bytes + gap, tail);
    memcpy(bytes, spread_bytes, sizeof(spread_bytes));
}

static bool parse_ip6(struct slice text, uint8_t bytes[16])
{
    size_t len = 0;
    size_t gap = SIZE_MAX;
    if (slice_starts(text, SLICE("::"))) {
        gap = 0;
        text = slice_skip(text, 2);
    }
    while (text.len > 0 && len < 16) {
        struct slice before = text;
        unsigned group;
        if (!take_group(&text, &group)) {
            return false;
        }
        if (slice_starts(text, SLICE("."))) { /* the last four bytes may be dotted */
            if (len > 12 || (gap == SIZE_MAX && len != 12) || !parse_ip4(before, bytes + len)) {
                return false;
            }
            len += 4;
            text = SLICE_EMPTY;
            break;
        }
        bytes[len++] = (uint8_t)(group >> 8);
        bytes[len++] = (uint8_t)group;
        if (text.len == 0) {
            break;
        }
        if (text.data[0] != ':' || text.len == 1) {
            return false;
        }
        text = slice_skip(text, 1);
        if (text.data[0] == ':') {
            if (gap != SIZE_MAX) {
                return false;
            }
            gap = len;
            text = slice_skip(text, 1);
        }
    }
    if (text.len > 0 || (len == 16) != (gap == SIZE_MAX)) {
        return false;
    }
    if (gap != SIZE_MAX) {
        spread(bytes, len, gap);
    }
    return true;
}

int ip_parse(struct slice text, uint8_t bytes[16])
{
    uint8_t unused[16];
    uint8_t *into = bytes == NULL ? unused : bytes;
    if (parse_ip4(text, into)) {
        return 4;
    }
    return parse_ip6(text, into) ? 6 : 0;
}
