/* The states are those of the grammar: what may come next, with a stack of open brackets.
 *
 * Each step looks at one token. The text of an error names the byte and the state it came in, in
 * the words of Go's scanner. */
#include "codec/gojson.h"

#include <stdio.h>

struct scan {
    const uint8_t *at;
    const uint8_t *end;
    size_t depth;
    bool in_object[GOJSON_DEPTH_MAX]; /* else in an array */
    struct errbuf *why;
};

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static void skip_blanks(struct scan *scan)
{
    while (scan->at < scan->end && is_blank(*scan->at)) {
        scan->at++;
    }
}

/* The byte as Go's quoteChar shows it: as a character of Latin-1, in single quotes. */
static enum err invalid(struct scan *scan, const char *context)
{
    uint8_t c = *scan->at;
    char shown[12];
    if (c == '\'') {
        snprintf(shown, sizeof(shown), "'\\''");
    } else if (c == '"') {
        snprintf(shown, sizeof(shown), "'\"'");
    } else if (c == '\\') {
        snprintf(shown, sizeof(shown), "'\\\\'");
    } else if (c >= 0x20 && c < 0x7f) {
        snprintf(shown, sizeof(shown), "'%c'", c);
    } else if (c > 0xa0 && c != 0xad) {
        snprintf(shown, sizeof(shown), "'%c%c'", 0xc0 | (c >> 6), 0x80 | (c & 0x3f));
    } else if (c >= '\a' && c <= '\r') {
        snprintf(shown, sizeof(shown), "'\\%c'", "abtnvfr"[c - '\a']);
    } else if (c < 0x80) {
        snprintf(shown, sizeof(shown), "'\\x%02x'", c);
    } else {
        snprintf(shown, sizeof(shown), "'\\u%04x'", c);
    }
    return errf(scan->why, ERR_INVALID, "invalid character %s %s", shown, context);
}

/* ---- scalars ----------------------------------------------------------------------------------
 */

static enum err scan_escape(struct scan *scan)
{
    if (scan->at == scan->end) {
        return ERR_AGAIN;
    }
    uint8_t c = *scan->at;
    if (c != 'u') {
        if (c == 0 || strchr("bfnrt\\/\"", c) == NULL) {
            return invalid(scan, "in string escape code");
        }
        scan->at++;
        return ERR_OK;
    }
    scan->at++;
    for (int i = 0; i < 4; i++) {
        if (scan->at == scan->end) {
            return ERR_AGAIN;
        }
        if (hex_value(*scan->at) < 0) {
            return invalid(scan, "in \\u hexadecimal character escape");
        }
        scan->at++;
    }
    return ERR_OK;
}

/* Behind the opening quote. */
static enum err scan_string(struct scan *scan)
{
    while (scan->at < scan->end) {
        uint8_t c = *scan->at;
        if (c < 0x20) {
            return invalid(scan, "in string literal");
        }
        scan->at++;
        if (c == '"') {
            return ERR_OK;
        }
        if (c == '\\') {
            TRY(scan_escape(scan));
        }
    }
    return ERR_AGAIN;
}

static enum err scan_digits(struct scan *scan, const char *context)
{
    if (scan->at == scan->end) {
        return ERR_AGAIN;
    }
    if (!is_digit(*scan->at)) {
        return invalid(scan, context);
    }
    while (scan->at < scan->end && is_digit(*scan->at)) {
        scan->at++;
    }
    return ERR_OK;
}

static enum err scan_number(struct scan *scan)
{
    if (*scan->at == '-') {
        scan->at++;
    }
    if (scan->at < scan->end && *scan->at == '0') {
        scan->at++;
    } else {
        TRY(scan_digits(scan, "in numeric literal"));
    }
    if (scan->at < scan->end && *scan->at == '.') {
        scan->at++;
        TRY(scan_digits(scan, "after decimal point in numeric literal"));
    }
    if (scan->at < scan->end && (*scan->at == 'e' || *scan->at == 'E')) {
        scan->at++;
        if (scan->at < scan->end && (*scan->at == '+' || *scan->at == '-')) {
            scan->at++;
        }
        TRY(scan_digits(scan, "in exponent of numeric literal"));
    }
    return ERR_OK;
}

static enum err scan_literal(struct scan *scan, const char *literal)
{
    for (const char *expected = literal; *expected != 0; expected++) {
        if (scan->at == scan->end) {
            return ERR_AGAIN;
        }
        if (*scan->at != (uint8_t)*expected) {
            char context[48];
            snprintf(context, sizeof(context), "in literal %s (expecting '%c')", literal,
                     *expected);
            return invalid(scan, context);
        }
        scan->at++;
    }
    return ERR_OK;
}

/* ---- structure ---------------------------------------------------------------------------------
 */

enum state {
    STATE_VALUE,
    STATE_FIRST_ELEMENT, /* or ] */
    STATE_FIRST_KEY,     /* or } */
    STATE_KEY,
    STATE_COLON,
    STATE_AFTER, /* a value inside an array or object */
    STATE_DONE,
};

static enum state after_value(const struct scan *scan)
{
    return scan->depth == 0 ? STATE_DONE : STATE_AFTER;
}

static enum err open_bracket(struct scan *scan, bool is_object, enum state *next)
{
    if (scan->depth == GOJSON_DEPTH_MAX) {
        return errf(scan->why, ERR_INVALID, "exceeded max depth");
    }
    scan->at++;
    scan->in_object[scan->depth++] = is_object;
    *next = is_object ? STATE_FIRST_KEY : STATE_FIRST_ELEMENT;
    return ERR_OK;
}

static enum state close_bracket(struct scan *scan)
{
    scan->at++;
    scan->depth--;
    return after_value(scan);
}

static enum err step_value(struct scan *scan, enum state *next)
{
    uint8_t c = *scan->at;
    *next = after_value(scan);
    if (c == '{' || c == '[') {
        return open_bracket(scan, c == '{', next);
    }
    if (c == '"') {
        scan->at++;
        return scan_string(scan);
    }
    if (c == '-' || is_digit(c)) {
        return scan_number(scan);
    }
    if (c == 't' || c == 'f' || c == 'n') {
        return scan_literal(scan, c == 't' ? "true" : c == 'f' ? "false" : "null");
    }
    return invalid(scan, "looking for beginning of value");
}

static enum err step_key(struct scan *scan, enum state *next)
{
    if (*scan->at != '"') {
        return invalid(scan, "looking for beginning of object key string");
    }
    scan->at++;
    *next = STATE_COLON;
    return scan_string(scan);
}

static enum err step_colon(struct scan *scan, enum state *next)
{
    if (*scan->at != ':') {
        return invalid(scan, "after object key");
    }
    scan->at++;
    *next = STATE_VALUE;
    return ERR_OK;
}

static enum err step_after(struct scan *scan, enum state *next)
{
    bool in_object = scan->in_object[scan->depth - 1];
    uint8_t c = *scan->at;
    if (c == ',') {
        scan->at++;
        *next = in_object ? STATE_KEY : STATE_VALUE;
        return ERR_OK;
    }
    if (c == (in_object ? '}' : ']')) {
        *next = close_bracket(scan);
        return ERR_OK;
    }
    return invalid(scan, in_object ? "after object key:value pair" : "after array element");
}

static enum err step(struct scan *scan, enum state *state)
{
    uint8_t c = *scan->at;
    switch (*state) {
    case STATE_FIRST_ELEMENT:
        if (c == ']') {
            *state = close_bracket(scan);
            return ERR_OK;
        }
        return step_value(scan, state);
    case STATE_VALUE:
        return step_value(scan, state);
    case STATE_FIRST_KEY:
        if (c == '}') {
            *state = close_bracket(scan);
            return ERR_OK;
        }
        return step_key(scan, state);
    case STATE_KEY:
        return step_key(scan, state);
    case STATE_COLON:
        return step_colon(scan, state);
    case STATE_AFTER:
        return step_after(scan, state);
    case STATE_DONE:
        break;
    }
    UNREACHABLE();
}

FALLIBLE gojson_next(struct slice *text, struct slice *out, struct errbuf *why)
{
    struct scan scan = {.at = text->data, .end = text->data + text->len, .why = why};
    enum state state = STATE_VALUE;
    skip_blanks(&scan);
    const uint8_t *start = scan.at;
    if (start == scan.end) {
        return errf(why, ERR_EOF, "EOF");
    }
    while (state != STATE_DONE) {
        skip_blanks(&scan);
        enum err err = scan.at == scan.end ? ERR_AGAIN : step(&scan, &state);
        if (err == ERR_AGAIN) {
            return errf(why, ERR_AGAIN, "unexpected EOF");
        }
        TRY(err);
    }
    *out = slice_of(start, (size_t)(scan.at - start));
    *text = slice_of(scan.at, (size_t)(scan.end - scan.at));
    return ERR_OK;
}
