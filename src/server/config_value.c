/* One value of each kind: from text, from a node of the file, and back to text. */
#include "server/config_priv.h"

#include "base/gotext.h"

#include <stdlib.h>

/* ---- rows --------------------------------------------------------------------------------------
 */

const struct config_row *config__row(const char *name)
{
    for (size_t i = 0; i < config__row_count; i++) {
        if (strcmp(config__rows[i].name, name) == 0) {
            return &config__rows[i];
        }
    }
    return NULL;
}

size_t config__row_index(const struct config_row *row)
{
    size_t index = (size_t)(row - config__rows);
    ASSERT(index < config__row_count);
    return index;
}

bool config__given(const struct config *config, const char *name)
{
    const struct config_row *row = config__row(name);
    ASSERT(row != NULL);
    return config->priv->given[config__row_index(row)];
}

void *config__place(struct config *config, const struct config_row *row)
{
    struct config *home = row->successor == NULL ? config : &config->priv->old;
    return (char *)home + row->offset;
}

const void *config__value(const struct config *config, const struct config_row *row)
{
    const struct config *home = row->successor == NULL ? config : &config->priv->old;
    return (const char *)home + row->offset;
}

const char *config__quote(const struct config *config, const char *text)
{
    struct buf quoted = {0};
    go_quote(slice_str(text), &quoted);
    const char *copy = arena_strndup(&config->priv->arena, buf_cstr(&quoted), quoted.len);
    buf_fini(&quoted);
    return copy;
}

const char *config__duration(const struct config *config, int64_t ns)
{
    struct buf text = {0};
    go_format_duration(ns, &text);
    const char *copy = arena_strndup(&config->priv->arena, buf_cstr(&text), text.len);
    buf_fini(&text);
    return copy;
}

/* ---- lists --------------------------------------------------------------------------------------
 */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts and drops what repeats. */
static size_t unique(const char **items, size_t count)
{
    size_t kept = 0;
    qsort(items, count, sizeof(*items), by_text);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || strcmp(items[kept - 1], items[i]) != 0) {
            items[kept++] = items[i];
        }
    }
    return kept;
}

FALLIBLE config__split(struct arena *arena, struct slice text, bool sorted,
                       struct config_strings *out, struct errbuf *why)
{
    size_t count = 1;
    for (size_t i = 0; i < text.len; i++) {
        count += text.data[i] == ',';
    }
    if (count > CONFIG_LIST_MAX) {
        return errf(why, ERR_INVALID, "a list may have at most %d parts, this one has %zu",
                    CONFIG_LIST_MAX, count);
    }
    const char **items = arena_alloc(arena, count * sizeof(*items));
    for (size_t i = 0; i < count; i++) {
        struct slice part;
        text = slice_split(text, ',', &part);
        items[i] = part.len == 0 ? "" : arena_strndup(arena, (const char *)part.data, part.len);
    }
    *out = (struct config_strings){.items = items, .count = sorted ? unique(items, count) : count};
    return ERR_OK;
}

static const char *join(struct arena *arena, const struct config_strings *list)
{
    struct buf text = {0};
    for (size_t i = 0; i < list->count; i++) {
        buf_append_str(&text, i == 0 ? "" : ",");
        buf_append_str(&text, list->items[i]);
    }
    const char *copy = arena_strndup(arena, buf_cstr(&text), text.len);
    buf_fini(&text);
    return copy;
}

static enum err set_cors(struct config *config, struct config_strings *place, const char *value,
                         struct errbuf *why)
{
    struct arena *arena = &config->priv->arena;
    if (strcmp(value, "*") == 0) { /* joins whatever is there */
        const char **items = arena_alloc(arena, (place->count + 1) * sizeof(*items));
        for (size_t i = 0; i < place->count; i++) {
            items[i] = place->items[i];
        }
        items[place->count] = "*";
        size_t count = unique(items, place->count + 1);
        *place = (struct config_strings){.items = items, .count = count};
        return ERR_OK;
    }
    struct url_list urls;
    TRY(url_list_parse(arena, slice_str(value), &urls, why));
    const char **items = arena_alloc(arena, (urls.count + 1) * sizeof(*items));
    for (size_t i = 0; i < urls.count; i++) {
        items[i] = urls.items[i].text;
    }
    *place = (struct config_strings){.items = items, .count = unique(items, urls.count)};
    return ERR_OK;
}

/* ---- choices
 * -------------------------------------------------------------------------------------- */

static bool is_among(const char *value, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcmp(*words, value) == 0) {
            return true;
        }
    }
    return false;
}

static enum err set_choice(const char **place, const char *const *words, const char *value,
                           struct errbuf *why)
{
    if (!is_among(value, words)) {
        return errf(why, ERR_INVALID, "invalid value");
    }
    *place = value;
    return ERR_OK;
}

/* etcd keeps every phase that is named; only the one that skips a check has an effect. */
static enum err set_v2(struct config *config, const char **place, const char *value,
                       struct errbuf *why)
{
    static const char *const phases[] = {"write-only", "write-only-skip-check",
                                         "write-only-drop-data", "gone", NULL};
    struct config_strings parts;
    TRY(config__split(&config->priv->arena, slice_str(value), false, &parts, why));
    for (size_t i = 0; i < parts.count; i++) {
        if (!is_among(parts.items[i], phases)) {
            return errf(why, ERR_INVALID, "invalid value %s",
                        config__quote(config, parts.items[i]));
        }
    }
    *place = value;
    return ERR_OK;
}

/* ---- from text
 * ------------------------------------------------------------------------------------ */

/* What goflag sets by itself. */
static enum err set_plain(struct config *config, const struct config_row *row, const char *value,
                          struct errbuf *why)
{
    return goflag_assign(&config->priv->flags[config__row_index(row)], value, why);
}

FALLIBLE config__set_text(struct config *config, const struct config_row *row, const char *value,
                          struct errbuf *why)
{
    static const char *const states[] = {"new", "existing", NULL};
    static const char *const fallbacks[] = {"exit", "proxy", NULL};
    struct arena *arena = &config->priv->arena;
    void *place = config__place(config, row);
    switch (row->kind) {
    case CONFIG_KIND_BOOL:
    case CONFIG_KIND_GATE:
    case CONFIG_KIND_INT:
    case CONFIG_KIND_UINT:
    case CONFIG_KIND_UINT32:
    case CONFIG_KIND_DURATION:
    case CONFIG_KIND_STRING:
        return set_plain(config, row, value, why);
    case CONFIG_KIND_URLS:
        return value[0] == 0 ? ERR_OK : url_list_parse_unique(arena, slice_str(value), place, why);
    case CONFIG_KIND_CORS:
        return set_cors(config, place, value, why);
    case CONFIG_KIND_SET:
        return config__split(arena, slice_str(value), true, place, why);
    case CONFIG_KIND_WORDS:
        return config__split(arena, slice_str(value), false, place, why);
    case CONFIG_KIND_STATE:
        return set_choice(place, states, value, why);
    case CONFIG_KIND_FALLBACK:
        return set_choice(place, fallbacks, value, why);
    case CONFIG_KIND_V2:
        return set_v2(config, place, value, why);
    case CONFIG_KIND_GATES:
        return config__gates_set(config, slice_str(value), why);
    case CONFIG_KIND_IGNORED:
        LOG_WARN(&config->priv->early, "flag is no longer supported - ignoring",
                 log_str("flag-name", row->name));
        return ERR_OK;
    }
    UNREACHABLE();
}

static void set_zero(void *place, enum config_kind kind)
{
    switch (kind) {
    case CONFIG_KIND_BOOL:
    case CONFIG_KIND_GATE:
        *(bool *)place = false;
        break;
    case CONFIG_KIND_INT:
    case CONFIG_KIND_DURATION:
        *(int64_t *)place = 0;
        break;
    case CONFIG_KIND_UINT:
    case CONFIG_KIND_UINT32:
        *(uint64_t *)place = 0;
        break;
    case CONFIG_KIND_STRING:
    case CONFIG_KIND_STATE:
    case CONFIG_KIND_FALLBACK:
    case CONFIG_KIND_V2:
        *(const char **)place = "";
        break;
    case CONFIG_KIND_URLS:
        *(struct url_list *)place = (struct url_list){0};
        break;
    case CONFIG_KIND_CORS:
    case CONFIG_KIND_SET:
    case CONFIG_KIND_WORDS:
        *(struct config_strings *)place = (struct config_strings){0};
        break;
    case CONFIG_KIND_GATES:
    case CONFIG_KIND_IGNORED:
        break;
    }
}

void config__set_defaults(struct config *config)
{
    for (size_t i = 0; i < config__row_count; i++) {
        const struct config_row *row = &config__rows[i];
        set_zero(config__place(config, row), row->kind);
        if (row->initial != NULL) {
            enum err err = config__set_text(config, row, row->initial, NULL);
            ASSERT(err == ERR_OK);
        }
    }
    config->priv->defaults = *config;
}

/* ---- from the file
 * --------------------------------------------------------------------------------- */

const char *config__kind_name(const struct yaml_node *node)
{
    switch (node->kind) {
    case YAML_KIND_NULL:
        return "null";
    case YAML_KIND_BOOL:
        return "bool";
    case YAML_KIND_INT:
    case YAML_KIND_UINT:
    case YAML_KIND_FLOAT:
        return "number";
    case YAML_KIND_STRING:
        return "string";
    case YAML_KIND_LIST:
        return "array";
    case YAML_KIND_MAP:
        return "object";
    }
    UNREACHABLE();
}

/* The number as encoding/json would have written it: decimal, not as it stands in the file. */
static void append_number(struct buf *out, const struct yaml_node *node)
{
    double magnitude = node->f64 < 0 ? -node->f64 : node->f64;
    if (node->kind == YAML_KIND_INT) {
        buf_printf(out, " %lld", (long long)node->i64);
    } else if (node->kind == YAML_KIND_UINT) {
        buf_printf(out, " %llu", (unsigned long long)node->u64);
    } else if (node->kind == YAML_KIND_FLOAT) {
        bool is_plain = magnitude == 0 || (magnitude >= 1e-6 && magnitude < 1e21);
        buf_append_byte(out, ' ');
        if (is_plain) {
            go_format_float(node->f64, out);
        } else {
            go_format_float_v(node->f64, out);
        }
    }
}

/* encoding/json's words for a node of the wrong kind. Numbers are shown where numbers are wanted.
 */
static enum err wrong_kind(const struct config_row *row, const struct yaml_node *node,
                           const char *wanted, struct errbuf *why)
{
    struct buf number = {0};
    bool wants_number = strstr(wanted, "int") != NULL || strcmp(wanted, "time.Duration") == 0;
    if (wants_number) {
        append_number(&number, node);
    }
    enum err err = errf(why, ERR_INVALID,
                        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal %s%s "
                        "into Go struct field configYAML.%s of type %s",
                        config__kind_name(node), buf_cstr(&number),
                        row->key == NULL ? row->name : row->key, wanted);
    buf_fini(&number);
    return err;
}

/* What Go's struct declares for a number: these three are 64 bits wide everywhere. */
static const char *number_type(const struct config_row *row)
{
    static const char *const wide[] = {"quota-backend-bytes", "snapshot-count",
                                       "snapshot-catchup-entries",
                                       "experimental-snapshot-catchup-entries", NULL};
    bool is_wide = is_among(row->name, wide);
    if (row->kind == CONFIG_KIND_DURATION) {
        return "time.Duration";
    }
    if (row->kind == CONFIG_KIND_UINT32) {
        return "uint32";
    }
    if (row->kind == CONFIG_KIND_INT) {
        return is_wide ? "int64" : "int";
    }
    return is_wide ? "uint64" : "uint";
}

/* A whole number: YAML has 1e3 as a float, which JSON then shows without its exponent. */
static bool whole(const struct yaml_node *node, int64_t *out)
{
    if (node->kind == YAML_KIND_INT) {
        *out = node->i64;
        return true;
    }
    bool fits = node->kind == YAML_KIND_FLOAT && node->f64 >= -9.0e15 && node->f64 <= 9.0e15 &&
                (double)(int64_t)node->f64 == node->f64;
    if (fits) {
        *out = (int64_t)node->f64;
    }
    return fits;
}

static enum err set_int_node(int64_t *place, const struct config_row *row,
                             const struct yaml_node *node, struct errbuf *why)
{
    if (!whole(node, place)) {
        return wrong_kind(row, node, number_type(row), why);
    }
    return ERR_OK;
}

static enum err set_uint_node(uint64_t *place, const struct config_row *row,
                              const struct yaml_node *node, struct errbuf *why)
{
    int64_t number;
    bool is_small = row->kind == CONFIG_KIND_UINT32;
    if (node->kind == YAML_KIND_UINT && !is_small) {
        *place = node->u64;
        return ERR_OK;
    }
    if (!whole(node, &number) || number < 0 || (is_small && number > UINT32_MAX)) {
        return wrong_kind(row, node, number_type(row), why);
    }
    *place = (uint64_t)number;
    return ERR_OK;
}

/* A scalar's text; what YAML takes for a number or boolean is text where text is wanted. */
static enum err node_text(const struct config_row *row, const struct yaml_node *node,
                          const char **out, struct errbuf *why)
{
    if (node->kind == YAML_KIND_LIST || node->kind == YAML_KIND_MAP) {
        return wrong_kind(row, node, "string", why);
    }
    if (memchr(node->text.data, 0, node->text.len) != NULL) {
        return errf(why, ERR_INVALID, "the value of %s has a zero byte in it", row->name);
    }
    if (node->kind == YAML_KIND_BOOL) {
        *out = node->boolean ? "true" : "false";
    } else {
        *out = (const char *)node->text.data;
    }
    return ERR_OK;
}

/* A YAML list of texts, in its order. */
static enum err set_list_node(struct config *config, struct config_strings *place,
                              const struct config_row *row, const struct yaml_node *node,
                              struct errbuf *why)
{
    if (node->kind != YAML_KIND_LIST) {
        return wrong_kind(row, node, "[]string", why);
    }
    if (node->count > CONFIG_LIST_MAX) {
        return errf(why, ERR_INVALID, "%s: a list may have at most %d parts, this one has %zu",
                    row->name, CONFIG_LIST_MAX, node->count);
    }
    const char **items = arena_alloc(&config->priv->arena, (node->count + 1) * sizeof(*items));
    for (size_t i = 0; i < node->count; i++) {
        if (node->items[i]->kind == YAML_KIND_NULL) {
            items[i] = "";
            continue;
        }
        TRY(node_text(row, node->items[i], &items[i], why));
    }
    *place = (struct config_strings){.items = items, .count = node->count};
    return ERR_OK;
}

/* etcd writes this one itself and exits. */
static enum err set_urls_node(struct config *config, struct url_list *place,
                              const struct config_row *row, const char *text, struct errbuf *why)
{
    struct url_list list;
    if (text[0] == 0) {
        return ERR_OK;
    }
    if (url_list_parse(&config->priv->arena, slice_str(text), &list, why) != ERR_OK) {
        bool is_client = strcmp(row->name, "advertise-client-urls") == 0;
        return err_wrap(why, ERR_CANCELED, "unexpected error setting up %s",
                        is_client ? "advertise-peer-urls" : row->name);
    }
    *place = list;
    return ERR_OK;
}

static enum err set_text_node(struct config *config, void *place, const struct config_row *row,
                              const char *text, struct errbuf *why)
{
    switch (row->kind) {
    case CONFIG_KIND_URLS:
        return set_urls_node(config, place, row, text, why);
    case CONFIG_KIND_CORS:
        return text[0] == 0 ? ERR_OK : set_cors(config, place, text, why);
    case CONFIG_KIND_SET: /* host-whitelist, the only one that is no list in the file */
        return text[0] == 0
                   ? ERR_OK
                   : config__split(&config->priv->arena, slice_str(text), true, place, why);
    case CONFIG_KIND_GATES:
        return config__gates_set(config, slice_str(text), why);
    case CONFIG_KIND_STRING:
    case CONFIG_KIND_STATE:
    case CONFIG_KIND_FALLBACK:
    case CONFIG_KIND_V2:
        *(const char **)place = text;
        return ERR_OK;
    case CONFIG_KIND_BOOL:
    case CONFIG_KIND_GATE:
    case CONFIG_KIND_INT:
    case CONFIG_KIND_UINT:
    case CONFIG_KIND_UINT32:
    case CONFIG_KIND_DURATION:
    case CONFIG_KIND_WORDS:
    case CONFIG_KIND_IGNORED:
        break;
    }
    UNREACHABLE();
}

static bool is_list_in_file(const struct config_row *row)
{
    return row->kind == CONFIG_KIND_WORDS ||
           (row->kind == CONFIG_KIND_SET && strcmp(row->name, "host-whitelist") != 0);
}

FALLIBLE config__set_node(struct config *config, const struct config_row *row,
                          const struct yaml_node *node, struct errbuf *why)
{
    void *place = config__place(config, row);
    const char *text = NULL;
    if (node->kind == YAML_KIND_NULL) {
        return ERR_OK;
    }
    if (is_list_in_file(row)) {
        return set_list_node(config, place, row, node, why);
    }
    switch (row->kind) {
    case CONFIG_KIND_BOOL:
    case CONFIG_KIND_GATE:
        if (node->kind != YAML_KIND_BOOL) {
            return wrong_kind(row, node, "bool", why);
        }
        *(bool *)place = node->boolean;
        return ERR_OK;
    case CONFIG_KIND_INT:
    case CONFIG_KIND_DURATION:
        return set_int_node(place, row, node, why);
    case CONFIG_KIND_UINT:
    case CONFIG_KIND_UINT32:
        return set_uint_node(place, row, node, why);
    case CONFIG_KIND_STRING:
    case CONFIG_KIND_URLS:
    case CONFIG_KIND_CORS:
    case CONFIG_KIND_SET:
    case CONFIG_KIND_WORDS:
    case CONFIG_KIND_STATE:
    case CONFIG_KIND_FALLBACK:
    case CONFIG_KIND_V2:
    case CONFIG_KIND_GATES:
        TRY(node_text(row, node, &text, why));
        return set_text_node(config, place, row, text, why);
    case CONFIG_KIND_IGNORED:
        return ERR_OK;
    }
    UNREACHABLE();
}

/* ---- to text
 * --------------------------------------------------------------------------------------- */

const char *config__show(const struct config *config, const struct config_row *row)
{
    struct arena *arena = &config->priv->arena;
    const void *place = config__value(config, row);
    switch (row->kind) {
    case CONFIG_KIND_BOOL:
    case CONFIG_KIND_GATE:
        return *(const bool *)place ? "true" : "false";
    case CONFIG_KIND_INT:
        return arena_printf(arena, "%lld", (long long)*(const int64_t *)place);
    case CONFIG_KIND_UINT:
    case CONFIG_KIND_UINT32:
        return arena_printf(arena, "%llu", (unsigned long long)*(const uint64_t *)place);
    case CONFIG_KIND_DURATION:
        return config__duration(config, *(const int64_t *)place);
    case CONFIG_KIND_STRING:
    case CONFIG_KIND_STATE:
    case CONFIG_KIND_FALLBACK:
    case CONFIG_KIND_V2:
        return *(const char *const *)place;
    case CONFIG_KIND_URLS:
        return url_list_text(arena, place);
    case CONFIG_KIND_CORS:
    case CONFIG_KIND_SET:
    case CONFIG_KIND_WORDS:
        return join(arena, place);
    case CONFIG_KIND_GATES:
        return config->gates_text;
    case CONFIG_KIND_IGNORED:
        return "";
    }
    UNREACHABLE();
}
