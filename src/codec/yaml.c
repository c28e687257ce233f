/* libyaml's events become nodes, bottom up: a collection's children gather on one stack and are
 * copied into the arena when it ends. An anchor gets its name when its node begins, and its node
 * when that is whole: an alias in between would be a cycle and is refused. */
#include "codec/yaml.h"

#include "base/gotext.h"

#include <math.h>
#include <stdlib.h>
#include <yaml.h>

struct anchor {
    struct anchor *next;
    const char *name;
    const struct yaml_node *node; /* NULL until it is whole */
};

struct loader {
    struct arena *arena;
    struct errbuf *why;
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    struct anchor *anchors; /* newest first: a name may be used again */
    unsigned anchor_count;
    const struct yaml_node **stack;
    size_t stack_len;
    size_t stack_cap;
    uint32_t nodes; /* made so far, aliases written out */
};

/* ---- events
 * ---------------------------------------------------------------------------------------- */

/* The sentence of go-yaml v2, which is a port of libyaml, down to how it counts lines. */
static enum err parser_error(struct loader *loader)
{
    const yaml_parser_t *parser = &loader->parser;
    const char *problem =
        parser->problem != NULL ? parser->problem : "unknown problem parsing YAML content";
    size_t line = 0;
    if (parser->problem_mark.line != 0) {
        line = parser->problem_mark.line + (parser->error == YAML_SCANNER_ERROR ? 1 : 0);
    } else if (parser->context_mark.line != 0) {
        line = parser->context_mark.line;
    }
    if (parser->error == YAML_READER_ERROR || line == 0) {
        return errf(loader->why, ERR_INVALID, "yaml: %s", problem);
    }
    return errf(loader->why, ERR_INVALID, "yaml: line %zu: %s", line, problem);
}

static enum err next_event(struct loader *loader)
{
    if (loader->has_event) {
        yaml_event_delete(&loader->event);
        loader->has_event = false;
    }
    if (yaml_parser_parse(&loader->parser, &loader->event) == 0) {
        return parser_error(loader);
    }
    loader->has_event = true;
    return ERR_OK;
}

static uint32_t event_line(const struct loader *loader)
{
    return (uint32_t)loader->event.start_mark.line + 1;
}

/* ---- anchors
 * ---------------------------------------------------------------------------------------- */

/* *out is NULL when the node has no anchor. */
static enum err anchor_open(struct loader *loader, const yaml_char_t *name, struct anchor **out)
{
    *out = NULL;
    if (name == NULL) {
        return ERR_OK;
    }
    if (loader->anchor_count == YAML_ANCHORS_MAX) {
        return errf(loader->why, ERR_TOO_LARGE, "yaml: line %u: more than %d anchors",
                    event_line(loader), YAML_ANCHORS_MAX);
    }
    loader->anchor_count++;
    struct anchor *anchor = ARENA_NEW(loader->arena, struct anchor);
    const char *text = (const char *)name;
    anchor->name = arena_strndup(loader->arena, text, strlen(text));
    anchor->next = loader->anchors;
    loader->anchors = anchor;
    *out = anchor;
    return ERR_OK;
}

static void anchor_close(struct anchor *anchor, const struct yaml_node *node)
{
    if (anchor != NULL) {
        anchor->node = node;
    }
}

static enum err too_many_nodes(struct loader *loader)
{
    return errf(loader->why, ERR_TOO_LARGE,
                "yaml: the document has more than %d values, aliases written out", YAML_NODES_MAX);
}

/* Makes room for `size` more nodes. */
static enum err count_nodes(struct loader *loader, uint32_t size)
{
    if (size > YAML_NODES_MAX - loader->nodes) {
        return too_many_nodes(loader);
    }
    loader->nodes += size;
    return ERR_OK;
}

static enum err find_alias(struct loader *loader, const struct yaml_node **out)
{
    const char *name = (const char *)loader->event.data.alias.anchor;
    const struct anchor *anchor = loader->anchors;
    while (anchor != NULL && strcmp(anchor->name, name) != 0) {
        anchor = anchor->next;
    }
    if (anchor == NULL) {
        return errf(loader->why, ERR_INVALID, "yaml: unknown anchor '%s' referenced", name);
    }
    if (anchor->node == NULL) {
        return errf(loader->why, ERR_INVALID, "yaml: anchor '%s' value contains itself", name);
    }
    TRY(count_nodes(loader, anchor->node->size));
    *out = anchor->node;
    return ERR_OK;
}

/* ---- scalars
 * ---------------------------------------------------------------------------------------- */

static bool is_one_of(struct slice text, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (slice_eq_str(text, *words)) {
            return true;
        }
    }
    return false;
}

static bool resolve_word(struct yaml_node *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "YES",
                                      "on",   "On",   "ON",   "y",   "Y",   NULL};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No", "NO",
                                     "off",   "Off",   "OFF",   "n",  "N",  NULL};
    static const char *const infinities[] = {".inf",  ".Inf",  ".INF", "+.inf",
                                             "+.Inf", "+.INF", NULL};
    static const char *const minus_infinities[] = {"-.inf", "-.Inf", "-.INF", NULL};
    static const char *const nans[] = {".nan", ".NaN", ".NAN", NULL};
    if (is_one_of(node->text, nulls)) {
        node->kind = YAML_KIND_NULL;
    } else if (is_one_of(node->text, yes) || is_one_of(node->text, no)) {
        node->kind = YAML_KIND_BOOL;
        node->boolean = is_one_of(node->text, yes);
    } else if (is_one_of(node->text, infinities) || is_one_of(node->text, minus_infinities)) {
        node->kind = YAML_KIND_FLOAT;
        node->f64 = node->text.data[0] == '-' ? -INFINITY : INFINITY;
    } else if (is_one_of(node->text, nans)) {
        node->kind = YAML_KIND_FLOAT;
        node->f64 = NAN;
    } else {
        return false;
    }
    return true;
}

/* Digits, point, exponent: go-yaml's own expression, narrower than strconv's grammar. */
static bool looks_like_float(struct slice text)
{
    bool any = false;
    size_t at = text.data[0] == '-' || text.data[0] == '+' ? 1 : 0;
    for (int part = 0; part < 2; part++) {
        while (at < text.len && text.data[at] >= '0' && text.data[at] <= '9') {
            any = true;
            at++;
        }
        if (part == 0 && at < text.len && text.data[at] == '.') {
            at++;
        }
    }
    if (!any || at == text.len) {
        return any;
    }
    if (text.data[at] != 'e' && text.data[at] != 'E') {
        return false;
    }
    at++;
    at += at < text.len && (text.data[at] == '-' || text.data[at] == '+') ? 1 : 0;
    size_t digits = at;
    while (at < text.len && text.data[at] >= '0' && text.data[at] <= '9') {
        at++;
    }
    return at == text.len && at > digits;
}

static bool resolve_number(struct yaml_node *node)
{
    char plain[80]; /* without underscores, which YAML 1.1 allows anywhere */
    size_t len = 0;
    uint8_t first = node->text.data[0];
    bool may_be = (first >= '0' && first <= '9') || first == '-' || first == '+' || first == '.';
    if (!may_be || node->text.len >= sizeof(plain)) {
        return false;
    }
    for (size_t i = 0; i < node->text.len; i++) {
        if (node->text.data[i] != '_') {
            plain[len++] = (char)node->text.data[i];
        }
    }
    struct slice text = slice_of(plain, len);
    if (go_parse_int(text, 0, 64, &node->i64, NULL) == ERR_OK) {
        node->kind = YAML_KIND_INT;
    } else if (go_parse_uint(text, 0, 64, &node->u64, NULL) == ERR_OK) {
        node->kind = YAML_KIND_UINT;
    } else if (len > 0 && looks_like_float(text) &&
               go_parse_float(text, &node->f64, NULL) == ERR_OK) {
        node->kind = YAML_KIND_FLOAT;
    } else {
        return false;
    }
    return true;
}

static enum err load_scalar(struct loader *loader, struct yaml_node *node)
{
    const yaml_event_t *event = &loader->event;
    size_t len = event->data.scalar.length;
    const char *text = (const char *)event->data.scalar.value;
    const char *tag = (const char *)event->data.scalar.tag;
    bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->text = slice_of(arena_strndup(loader->arena, text, len), len);
    node->kind = YAML_KIND_STRING;
    bool forced = tag != NULL && strcmp(tag, YAML_STR_TAG) == 0;
    if ((is_plain || tag != NULL) && !forced) {
        if (!resolve_word(node)) {
            resolve_number(node);
        }
    }
    return ERR_OK;
}

/* ---- collections
 * ------------------------------------------------------------------------------------ */

static void push(struct loader *loader, const struct yaml_node *node)
{
    if (loader->stack_len == loader->stack_cap) {
        loader->stack_cap = loader->stack_cap == 0 ? 64 : loader->stack_cap * 2;
        loader->stack = mem_realloc(loader->stack, loader->stack_cap * sizeof(*loader->stack));
    }
    loader->stack[loader->stack_len++] = node;
}

static void finish_list(struct loader *loader, struct yaml_node *node, size_t base)
{
    size_t count = loader->stack_len - base;
    node->count = count;
    if (count > 0) {
        node->items = arena_dup(loader->arena, loader->stack + base, count * sizeof(*node->items));
    }
}

static enum err finish_map(struct loader *loader, struct yaml_node *node, size_t base)
{
    size_t count = (loader->stack_len - base) / 2;
    struct yaml_pair *pairs = arena_alloc(loader->arena, (count + 1) * sizeof(*pairs));
    for (size_t i = 0; i < count; i++) {
        pairs[i].key = loader->stack[base + 2 * i];
        pairs[i].value = loader->stack[base + 2 * i + 1];
        if (pairs[i].key->kind == YAML_KIND_LIST || pairs[i].key->kind == YAML_KIND_MAP) {
            return errf(loader->why, ERR_INVALID, "yaml: line %u: invalid map key",
                        pairs[i].key->line);
        }
    }
    node->pairs = pairs;
    node->count = count;
    return ERR_OK;
}

static enum err load_node(struct loader *loader, unsigned depth, const struct yaml_node **out);

/* Everything up to the collection's end. */
static enum err load_children(struct loader *loader, struct yaml_node *node, unsigned depth)
{
    yaml_event_type_t end =
        node->kind == YAML_KIND_LIST ? YAML_SEQUENCE_END_EVENT : YAML_MAPPING_END_EVENT;
    size_t base = loader->stack_len;
    for (;;) {
        TRY(next_event(loader));
        if (loader->event.type == end) {
            break;
        }
        const struct yaml_node *child;
        TRY(load_node(loader, depth + 1, &child));
        push(loader, child);
        node->size += child->size;
    }
    if (node->kind == YAML_KIND_LIST) {
        finish_list(loader, node, base);
    } else {
        TRY(finish_map(loader, node, base));
    }
    loader->stack_len = base;
    return ERR_OK;
}

/* The node that the current event begins. */
static enum err load_node(struct loader *loader, unsigned depth, const struct yaml_node **out)
{
    const yaml_event_t *event = &loader->event;
    if (event->type == YAML_ALIAS_EVENT) {
        return find_alias(loader, out);
    }
    if (depth > YAML_DEPTH_MAX) {
        return errf(loader->why, ERR_TOO_LARGE, "yaml: line %u: more than %d levels deep",
                    event_line(loader), YAML_DEPTH_MAX);
    }
    TRY(count_nodes(loader, 1));
    struct yaml_node *node = ARENA_NEW(loader->arena, struct yaml_node);
    struct anchor *anchor;
    node->line = event_line(loader);
    node->size = 1;
    if (event->type == YAML_SCALAR_EVENT) {
        TRY(anchor_open(loader, event->data.scalar.anchor, &anchor));
        TRY(load_scalar(loader, node));
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        TRY(anchor_open(loader, event->data.sequence_start.anchor, &anchor));
        node->kind = YAML_KIND_LIST;
        TRY(load_children(loader, node, depth));
    } else {
        ASSERT(event->type == YAML_MAPPING_START_EVENT);
        TRY(anchor_open(loader, event->data.mapping_start.anchor, &anchor));
        node->kind = YAML_KIND_MAP;
        TRY(load_children(loader, node, depth));
    }
    anchor_close(anchor, node);
    *out = node;
    return ERR_OK;
}

/* The first document of the stream. */
static enum err load_document(struct loader *loader, const struct yaml_node **out)
{
    TRY(next_event(loader));
    ASSERT(loader->event.type == YAML_STREAM_START_EVENT);
    TRY(next_event(loader));
    if (loader->event.type == YAML_STREAM_END_EVENT) {
        *out = ARENA_NEW(loader->arena, struct yaml_node); /* null */
        return ERR_OK;
    }
    ASSERT(loader->event.type == YAML_DOCUMENT_START_EVENT);
    TRY(next_event(loader));
    TRY(load_node(loader, 1, out));
    return next_event(loader); /* the document's end: an error just behind it counts */
}

FALLIBLE yaml_parse(struct arena *arena, struct slice text, const struct yaml_node **out,
                    struct errbuf *why)
{
    struct loader loader = {.arena = arena, .why = why};
    if (text.len > YAML_LEN_MAX) {
        return errf(why, ERR_TOO_LARGE, "yaml: a document may have at most %u bytes, this has %zu",
                    YAML_LEN_MAX, text.len);
    }
    if (yaml_parser_initialize(&loader.parser) == 0) {
        fatal("out of memory");
    }
    yaml_parser_set_input_string(&loader.parser,
                                 text.len == 0 ? (const yaml_char_t *)"" : text.data, text.len);
    const struct yaml_node *root = NULL;
    enum err err = load_document(&loader, &root);
    if (err == ERR_OK) {
        *out = root;
    }
    if (loader.has_event) {
        yaml_event_delete(&loader.event);
    }
    yaml_parser_delete(&loader.parser);
    mem_free(loader.stack);
    return err;
}

const struct yaml_node *yaml_find(const struct yaml_node *map, const char *key)
{
    if (map == NULL || map->kind != YAML_KIND_MAP) {
        return NULL;
    }
    for (size_t i = map->count; i > 0; i--) {
        if (slice_eq_str(map->pairs[i - 1].key->text, key)) {
            return map->pairs[i - 1].value;
        }
    }
    return NULL;
}
