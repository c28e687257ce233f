/* Each field is looked at once, when it comes: first its name, which says what it is, then its
 * value, by the rule of that name. What must be there is known when the block ends. */
#include "codec/h2_fields.h"

#include <nghttp2/nghttp2.h>

typedef bool value_ok_fn(struct h2_fields *fields, struct slice value);

enum {
    SEEN_METHOD = 1 << 0,
    SEEN_SCHEME = 1 << 1,
    SEEN_PATH = 1 << 2,
    SEEN_AUTHORITY = 1 << 3,
    SEEN_LENGTH = 1 << 4,
    SEEN_REQUIRED = SEEN_METHOD | SEEN_SCHEME | SEEN_PATH,
};

/* ---- values ----------------------------------------------------------------------------- */

static bool any_ok(struct h2_fields *fields, struct slice value)
{
    UNUSED(fields);
    return nghttp2_check_header_value(value.data, value.len) != 0;
}

static bool method_ok(struct h2_fields *fields, struct slice value)
{
    UNUSED(fields);
    return value.len > 0 && nghttp2_check_method(value.data, value.len) != 0;
}

static bool is_alpha(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* RFC 3986 section 3.1. */
static bool scheme_ok(struct h2_fields *fields, struct slice value)
{
    UNUSED(fields);
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.data[i];
        bool is_mark = c == '+' || c == '-' || c == '.';
        if (!is_alpha(c) && !(i > 0 && (is_digit(c) || is_mark))) {
            return false;
        }
    }
    return value.len > 0;
}

static bool path_ok(struct h2_fields *fields, struct slice value)
{
    UNUSED(fields);
    return value.len > 0 && nghttp2_check_path(value.data, value.len) != 0;
}

static bool length_ok(struct h2_fields *fields, struct slice value)
{
    uint64_t length = 0;
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.data[i];
        if (!is_digit(c) || length > (INT64_MAX - 9) / 10) {
            return false;
        }
        length = length * 10 + (c - '0');
    }
    fields->length = length;
    return value.len > 0;
}

static bool te_ok(struct h2_fields *fields, struct slice value)
{
    UNUSED(fields);
    return slice_eq_str(value, "trailers");
}

/* RFC 9113 section 8.2.2: fields of the connection have no place in a stream. */
static bool never_ok(struct h2_fields *fields, struct slice value)
{
    UNUSED(fields);
    UNUSED(value);
    return false;
}

/* ---- names ------------------------------------------------------------------------------ */

struct rule {
    struct slice name;
    unsigned seen; /* may come once, and not in trailers; 0: as often as it likes */
    value_ok_fn *value_ok;
};

static const struct rule pseudo_rules[] = {
    {SLICE(":method"), SEEN_METHOD, method_ok},
    {SLICE(":scheme"), SEEN_SCHEME, scheme_ok},
    {SLICE(":path"), SEEN_PATH, path_ok},
    {SLICE(":authority"), SEEN_AUTHORITY, any_ok},
};

static const struct rule regular_rules[] = {
    {SLICE("te"), 0, te_ok},
    {SLICE("upgrade"), 0, never_ok},
    {SLICE("connection"), 0, never_ok},
    {SLICE("keep-alive"), 0, never_ok},
    {SLICE("content-length"), SEEN_LENGTH, length_ok},
    {SLICE("proxy-connection"), 0, never_ok},
    {SLICE("transfer-encoding"), 0, never_ok},
};

static const struct rule any_rule = {.value_ok = any_ok};

static const struct rule *rule_find(const struct rule *rules, size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_eq(name, rules[i].name)) {
            return &rules[i];
        }
    }
    return NULL;
}

static const struct rule *rule_of(struct h2_fields *fields, struct slice name)
{
    if (name.len > 0 && name.data[0] == ':') {
        return fields->has_regular || fields->is_trailers
                   ? NULL
                   : rule_find(pseudo_rules, ARRAY_LEN(pseudo_rules), name);
    }
    fields->has_regular = true;
    /* Refuses the empty name and capitals as well. */
    if (nghttp2_check_header_name(name.data, name.len) == 0) {
        return NULL;
    }
    const struct rule *rule = rule_find(regular_rules, ARRAY_LEN(regular_rules), name);
    return rule != NULL ? rule : &any_rule;
}

/* ---- blocks ----------------------------------------------------------------------------- */

void h2_fields_init(struct h2_fields *fields, bool is_trailers)
{
    *fields = (struct h2_fields){.is_trailers = is_trailers, .length = H2_LENGTH_NONE};
}

bool h2_fields_add(struct h2_fields *fields, struct slice name, struct slice value)
{
    const struct rule *rule = rule_of(fields, name);
    if (rule == NULL) {
        return false;
    }
    if (rule->seen != 0) {
        if (fields->is_trailers || (fields->seen & rule->seen) != 0) {
            return false;
        }
        fields->seen |= rule->seen;
    }
    return rule->value_ok(fields, value);
}

bool h2_fields_finish(const struct h2_fields *fields, bool is_end)
{
    if (fields->is_trailers) {
        /* RFC 9113 section 8.1: nothing follows the trailers. */
        return is_end;
    }
    if ((fields->seen & SEEN_REQUIRED) != SEEN_REQUIRED) {
        return false;
    }
    return !is_end || fields->length == H2_LENGTH_NONE || fields->length == 0;
}
