#include "ctl/goscan.h"

#include "base/utf8.h"

#define REPLACEMENT 0xfffd

/* The next character of *in, which is not empty; what is no UTF-8 is one U+FFFD a byte. */
static uint32_t next_rune(struct slice *in)
{
    uint32_t rune = REPLACEMENT;
    size_t len = utf8_decode(*in, &rune);
    if (len == 0) {
        rune = REPLACEMENT;
        len = 1;
    }
    *in = slice_skip(*in, len);
    return rune;
}

static void append_rune(uint32_t rune, struct buf *out)
{
    if (rune < 0x80) {
        buf_append_byte(out, (uint8_t)rune);
        return;
    }
    unsigned count = rune < 0x800 ? 1 : rune < 0x10000 ? 2 : 3;
    static const uint8_t leads[] = {0, 0xc0, 0xe0, 0xf0};
    buf_append_byte(out, (uint8_t)(leads[count] | (rune >> (6 * count))));
    while (count-- > 0) {
        buf_append_byte(out, (uint8_t)(0x80 | ((rune >> (6 * count)) & 0x3f)));
    }
}

bool goscan_is_space(uint32_t rune)
{
    return (rune >= '\t' && rune <= '\r') || rune == ' ' || rune == 0x85 || rune == 0xa0 ||
           rune == 0x1680 || (rune >= 0x2000 && rune <= 0x200a) || rune == 0x2028 ||
           rune == 0x2029 || rune == 0x202f || rune == 0x205f || rune == 0x3000;
}

void goscan_skip_space(struct slice *in)
{
    while (in->len > 0) {
        struct slice rest = *in;
        if (!goscan_is_space(next_rune(&rest))) {
            break;
        }
        *in = rest;
    }
}

struct slice goscan_trim(struct slice text)
{
    goscan_skip_space(&text);
    size_t end = 0;
    for (struct slice rest = text; rest.len > 0;) {
        if (!goscan_is_space(next_rune(&rest))) {
            end = text.len - rest.len;
        }
    }
    return slice_of(text.data, end);
}

static bool hex_digit(uint32_t rune, uint32_t *out)
{
    if (rune >= '0' && rune <= '9') {
        *out = rune - '0';
    } else if ((rune | 0x20) >= 'a' && (rune | 0x20) <= 'f') {
        *out = (rune | 0x20) - 'a' + 10;
    } else {
        return false;
    }
    return true;
}

/* What a backslash and `rune` begin: `digits` of a number in base 16 or 8; ERR_INVALID. */
static FALLIBLE escape_number(struct slice *in, unsigned base, unsigned digits, uint32_t start,
                              uint32_t *out)
{
    uint32_t value = start;
    for (unsigned i = 0; i < digits; i++) {
        if (in->len == 0) {
            return ERR_EOF;
        }
        uint32_t digit = 0;
        if (!hex_digit(next_rune(in), &digit) || digit >= base) {
            return ERR_INVALID;
        }
        value = value * base + digit;
    }
    *out = value;
    return ERR_OK;
}

static FALLIBLE escape(struct slice *in, struct buf *out)
{
    static const char names[] = "abfnrtv\\\"";
    static const char values[] = "\a\b\f\n\r\t\v\\\"";
    if (in->len == 0) {
        return ERR_EOF;
    }
    uint32_t rune = next_rune(in);
    const char *name = rune == 0 || rune >= 0x80 ? NULL : strchr(names, (int)rune);
    if (name != NULL) {
        buf_append_byte(out, (uint8_t)values[name - names]);
        return ERR_OK;
    }
    uint32_t value = 0;
    if (rune == 'x') {
        TRY(escape_number(in, 16, 2, 0, &value));
        buf_append_byte(out, (uint8_t)value);
        return ERR_OK;
    }
    if (rune >= '0' && rune <= '7') {
        TRY(escape_number(in, 8, 2, rune - '0', &value));
        if (value > 255) {
            return ERR_INVALID;
        }
        buf_append_byte(out, (uint8_t)value);
        return ERR_OK;
    }
    if (rune != 'u' && rune != 'U') {
        return ERR_INVALID;
    }
    TRY(escape_number(in, 16, rune == 'u' ? 4 : 8, 0, &value));
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
        return ERR_INVALID;
    }
    append_rune(value, out);
    return ERR_OK;
}

enum err goscan_quoted(struct slice *in, struct buf *out)
{
    goscan_skip_space(in);
    if (in->len == 0) {
        return ERR_EOF;
    }
    uint32_t quote = next_rune(in);
    if (quote != '"' && quote != '`') {
        return ERR_INVALID;
    }
    while (in->len > 0) {
        uint32_t rune = next_rune(in);
        if (rune == quote) {
            return ERR_OK;
        }
        if (rune == '\\' && quote == '"') {
            TRY(escape(in, out));
        } else if (rune == '\n' && quote == '"') {
            return ERR_INVALID;
        } else {
            append_rune(rune, out);
        }
    }
    return ERR_EOF;
}

enum err goscan_word(struct slice *in, struct slice *out)
{
    goscan_skip_space(in);
    if (in->len == 0) {
        return ERR_EOF;
    }
    const uint8_t *start = in->data;
    while (in->len > 0) {
        struct slice rest = *in;
        if (goscan_is_space(next_rune(&rest))) {
            break;
        }
        *in = rest;
    }
    *out = slice_of(start, (size_t)(in->data - start));
    return ERR_OK;
}

enum err goscan_blank(struct slice *in)
{
    size_t before = in->len;
    goscan_skip_space(in);
    return before == 0 || in->len < before ? ERR_OK : ERR_INVALID;
}

enum err goscan_char(struct slice *in, char c)
{
    if (in->len == 0) {
        return ERR_EOF;
    }
    if (in->data[0] != (uint8_t)c) {
        return ERR_INVALID;
    }
    *in = slice_skip(*in, 1);
    return ERR_OK;
}
