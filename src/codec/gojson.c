/* An automaton over bytes, as Go's scanner is: the state says what may come next, a stack of bits
 * what is open. So a scan can stop between any two bytes and go on when more has come. Blanks, the
 * inside of strings and digits are passed over in loops of their own.
 *
 * The text of an error names the byte and the state it came in, in the words of Go's scanner. */
#include "codec/gojson.h"

#include <stdio.h>

enum state {
    STATE_VALUE,
    STATE_FIRST_ELEMENT, /* or ] */
    STATE_FIRST_KEY,     /* or } */
    STATE_KEY,
    STATE_COLON,
    STATE_AFTER,      /* a value inside an array or object */
    STATE_STRING,     /* inside a value */
    STATE_KEY_STRING, /* inside a key */
    STATE_ESCAPE,     /* behind a backslash; these know by KEY_BIT where they return to */
    STATE_HEX1,
    STATE_HEX2,
    STATE_HEX3,
    STATE_HEX4,
    STATE_MINUS,
    STATE_ZERO, /* from here on a number may end */
    STATE_DIGITS,
    STATE_POINT,
    STATE_FRACTION,
    STATE_E,
    STATE_E_SIGN,
    STATE_E_DIGITS,
    STATE_LITERAL,
    STATE_DONE,
    KEY_BIT = 0x40, /* or'ed to ESCAPE and HEX*: of a key */
};

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* The byte as Go's quoteChar shows it: as a character of Latin-1, in single quotes. */
static enum err invalid(struct errbuf *why, uint8_t c, const char *context)
{
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
    return errf(why, ERR_INVALID, "invalid character %s %s", shown, context);
}

/* ---- brackets ----------------------------------------------------------------------------------
 */

static bool in_object(const struct gojson *scan)
{
    size_t top = scan->depth - 1;
    return (scan->in_object[top / CHAR_BIT] >> top % CHAR_BIT & 1) != 0;
}

static enum state after_value(const struct gojson *scan)
{
    return scan->depth == 0 ? STATE_DONE : STATE_AFTER;
}

static enum err open_bracket(struct gojson *scan, bool is_object, struct errbuf *why)
{
    if (scan->depth == GOJSON_DEPTH_MAX) {
        return errf(why, ERR_INVALID, "exceeded max depth");
    }
    uint8_t bit = (uint8_t)(1U << scan->depth % CHAR_BIT);
    uint8_t *byte = &scan->in_object[scan->depth / CHAR_BIT];
    *byte = (uint8_t)(is_object ? *byte | bit : *byte & ~bit);
    scan->depth++;
    scan->state = is_object ? STATE_FIRST_KEY : STATE_FIRST_ELEMENT;
    return ERR_OK;
}

static void close_bracket(struct gojson *scan)
{
    scan->depth--;
    scan->state = after_value(scan);
}

/* ---- one byte ----------------------------------------------------------------------------------
 */

static enum err step_value(struct gojson *scan, uint8_t c, struct errbuf *why)
{
    if (c == '{' || c == '[') {
        return open_bracket(scan, c == '{', why);
    }
    if (c == '"') {
        scan->state = STATE_STRING;
    } else if (c == '-') {
        scan->state = STATE_MINUS;
    } else if (is_digit(c)) {
        scan->state = c == '0' ? STATE_ZERO : STATE_DIGITS;
    } else if (c == 't' || c == 'f' || c == 'n') {
        scan->literal = c == 't' ? "true" : c == 'f' ? "false" : "null";
        scan->literal_at = 1;
        scan->state = STATE_LITERAL;
    } else {
        return invalid(why, c, "looking for beginning of value");
    }
    return ERR_OK;
}

static enum err step_key(struct gojson *scan, uint8_t c, struct errbuf *why)
{
    if (c != '"') {
        return invalid(why, c, "looking for beginning of object key string");
    }
    scan->state = STATE_KEY_STRING;
    return ERR_OK;
}

static enum err step_after(struct gojson *scan, uint8_t c, struct errbuf *why)
{
    bool is_object = in_object(scan);
    if (c == ',') {
        scan->state = is_object ? STATE_KEY : STATE_VALUE;
        return ERR_OK;
    }
    if (c == (is_object ? '}' : ']')) {
        close_bracket(scan);
        return ERR_OK;
    }
    return invalid(why, c, is_object ? "after object key:value pair" : "after array element");
}

static enum err step_string(struct gojson *scan, uint8_t c, struct errbuf *why)
{
    bool is_key = scan->state == STATE_KEY_STRING;
    if (c == '"') {
        scan->state = is_key ? STATE_COLON : after_value(scan);
    } else if (c == '\\') {
        scan->state = is_key ? STATE_ESCAPE | KEY_BIT : STATE_ESCAPE;
    } else if (c < 0x20) {
        return invalid(why, c, "in string literal");
    }
    return ERR_OK;
}

static enum err step_escape(struct gojson *scan, uint8_t c, struct errbuf *why)
{
    unsigned key = scan->state & KEY_BIT;
    unsigned state = scan->state & ~(unsigned)KEY_BIT;
    unsigned back = key != 0 ? STATE_KEY_STRING : STATE_STRING;
    if (state == STATE_ESCAPE) {
        if (c == 0 || strchr("bfnrtu\\/\"", c) == NULL) {
            return invalid(why, c, "in string escape code");
        }
        scan->state = c == 'u' ? STATE_HEX1 | key : back;
        return ERR_OK;
    }
    if (hex_value(c) < 0) {
        return invalid(why, c, "in \\u hexadecimal character escape");
    }
    scan->state = state == STATE_HEX4 ? back : (state + 1) | key;
    return ERR_OK;
}

static enum err step_literal(struct gojson *scan, uint8_t c, struct errbuf *why)
{
    char expected = scan->literal[scan->literal_at];
    if (c != (uint8_t)expected) {
        char context[48];
        snprintf(context, sizeof(context), "in literal %s (expecting '%c')", scan->literal,
                 expected);
        return invalid(why, c, context);
    }
    scan->literal_at++;
    if (scan->literal[scan->literal_at] == 0) {
        scan->state = after_value(scan);
    }
    return ERR_OK;
}

/* A digit must come. */
static enum err want_digit(struct gojson *scan, uint8_t c, enum state next, const char *context,
                           struct errbuf *why)
{
    if (!is_digit(c)) {
        return invalid(why, c, context);
    }
    scan->state = next;
    return ERR_OK;
}

static bool may_number_end(unsigned state)
{
    return state == STATE_ZERO || state == STATE_DIGITS || state == STATE_FRACTION ||
           state == STATE_E_DIGITS;
}

/* In a number that may end. False: `c` is not of it. */
static bool number_goes_on(struct gojson *scan, uint8_t c)
{
    bool is_whole = scan->state == STATE_ZERO || scan->state == STATE_DIGITS;
    if (is_digit(c) && scan->state != STATE_ZERO) {
        return true;
    }
    if (c == '.' && is_whole) {
        scan->state = STATE_POINT;
        return true;
    }
    if ((c == 'e' || c == 'E') && (is_whole || scan->state == STATE_FRACTION)) {
        scan->state = STATE_E;
        return true;
    }
    return false;
}

/* Takes the byte, which is not one to be passed over, and not behind a number. */
static enum err step(struct gojson *scan, uint8_t c, struct errbuf *why)
{
    switch (scan->state & ~(unsigned)KEY_BIT) {
    case STATE_FIRST_ELEMENT:
        if (c == ']') {
            close_bracket(scan);
            return ERR_OK;
        }
        return step_value(scan, c, why);
    case STATE_VALUE:
        return step_value(scan, c, why);
    case STATE_FIRST_KEY:
        if (c == '}') {
            close_bracket(scan);
            return ERR_OK;
        }
        return step_key(scan, c, why);
    case STATE_KEY:
        return step_key(scan, c, why);
    case STATE_COLON:
        if (c != ':') {
            return invalid(why, c, "after object key");
        }
        scan->state = STATE_VALUE;
        return ERR_OK;
    case STATE_AFTER:
        return step_after(scan, c, why);
    case STATE_STRING:
    case STATE_KEY_STRING:
        return step_string(scan, c, why);
    case STATE_ESCAPE:
    case STATE_HEX1:
    case STATE_HEX2:
    case STATE_HEX3:
    case STATE_HEX4:
        return step_escape(scan, c, why);
    case STATE_MINUS:
        return want_digit(scan, c, c == '0' ? STATE_ZERO : STATE_DIGITS, "in numeric literal", why);
    case STATE_POINT:
        return want_digit(scan, c, STATE_FRACTION, "after decimal point in numeric literal", why);
    case STATE_E:
        if (c == '+' || c == '-') {
            scan->state = STATE_E_SIGN;
            return ERR_OK;
        }
        return want_digit(scan, c, STATE_E_DIGITS, "in exponent of numeric literal", why);
    case STATE_E_SIGN:
        return want_digit(scan, c, STATE_E_DIGITS, "in exponent of numeric literal", why);
    case STATE_LITERAL:
        return step_literal(scan, c, why);
    }
    UNREACHABLE();
}

/* ---- a value -----------------------------------------------------------------------------------
 */

static bool in_string(unsigned state)
{
    return state == STATE_STRING || state == STATE_KEY_STRING;
}

/* Between tokens: blanks are of no account. */
static bool is_between(unsigned state)
{
    return state <= STATE_AFTER;
}

#define EACH(byte) (0x0101010101010101ULL * (byte))

/* Whether one of eight bytes ends the plain part of a string: a quote, a backslash, a control. The
 * borrow of a subtraction may tell of one too many, never of one too few. */
static bool has_special(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    uint64_t quote = word ^ EACH('"');
    uint64_t slash = word ^ EACH('\\');
    uint64_t found =
        ((quote - EACH(1)) & ~quote) | ((slash - EACH(1)) & ~slash) | ((word - EACH(0x20)) & ~word);
    return (found & EACH(0x80)) != 0;
}

/* The first byte from `at` on that is not to be passed over in this state. */
static const uint8_t *pass_over(const struct gojson *scan, const uint8_t *at, const uint8_t *end)
{
    if (in_string(scan->state)) {
        while (end - at >= 8 && !has_special(at)) {
            at += 8;
        }
        while (at < end && *at != '"' && *at != '\\' && *at >= 0x20) {
            at++;
        }
    } else if (is_between(scan->state)) {
        while (at < end && is_blank(*at)) {
            at++;
        }
    }
    return at;
}

/* Goes on until the value is whole or the text ends. */
static enum err run(struct gojson *scan, struct slice text, struct errbuf *why)
{
    const uint8_t *end = text.data + text.len;
    const uint8_t *at = text.data + scan->looked;
    enum err err = ERR_OK;
    while (scan->state != STATE_DONE && err == ERR_OK) {
        at = pass_over(scan, at, end);
        if (at == end) {
            break;
        }
        if (!scan->has_begun) {
            scan->has_begun = true;
            scan->start = (size_t)(at - text.data);
        }
        if (!may_number_end(scan->state)) {
            err = step(scan, *at++, why);
        } else if (number_goes_on(scan, *at)) {
            at++;
        } else {
            scan->state = after_value(scan); /* and the byte is looked at again */
        }
    }
    scan->looked = (size_t)(at - text.data);
    return err;
}

void gojson_init(struct gojson *scan)
{
    *scan = (struct gojson){.state = STATE_VALUE};
}

FALLIBLE gojson_continue(struct gojson *scan, struct slice *text, bool is_last, struct slice *out,
                         struct errbuf *why)
{
    ASSERT(scan->looked <= text->len);
    enum err err = run(scan, *text, why);
    if (err != ERR_OK) {
        gojson_init(scan);
        return err;
    }
    bool is_whole =
        scan->state == STATE_DONE || (is_last && scan->depth == 0 && may_number_end(scan->state));
    if (!is_whole) {
        return scan->has_begun ? errf(why, ERR_AGAIN, "unexpected EOF") : errf(why, ERR_EOF, "EOF");
    }
    *out = slice_of(text->data + scan->start, scan->looked - scan->start);
    *text = slice_skip(*text, scan->looked);
    gojson_init(scan);
    return ERR_OK;
}

FALLIBLE gojson_next(struct slice *text, struct slice *out, struct errbuf *why)
{
    struct gojson scan;
    gojson_init(&scan);
    return gojson_continue(&scan, text, true, out, why);
}
