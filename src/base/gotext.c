#include "base/gotext.h"

#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MAGNITUDE_MAX ((uint64_t)1 << 63)
#define FLOAT_TEXT_MAX 512
#define EXPONENT_PLAIN_MAX 6 /* %g with the shortest digits shows 1000000 as 1e+06 */

static enum err syntax(struct errbuf *why)
{
    return errf(why, ERR_INVALID, "invalid syntax");
}

static enum err out_of_range(struct errbuf *why)
{
    return errf(why, ERR_TOO_LARGE, "value out of range");
}

/* ---- booleans and integers --------------------------------------------------------------- */

FALLIBLE go_parse_bool(struct slice text, bool *out, struct errbuf *why)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (slice_eq_str(text, yes[i])) {
            *out = true;
            return ERR_OK;
        }
        if (slice_eq_str(text, no[i])) {
            *out = false;
            return ERR_OK;
        }
    }
    return syntax(why);
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

/* The value of a digit in any base, or 255. */
static unsigned digit_value(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return (unsigned)(c - '0');
    }
    c = lower(c);
    return c >= 'a' && c <= 'z' ? (unsigned)(c - 'a') + 10 : 255;
}

/* Underscores may stand only between digits, or between a base prefix and a digit. */
static bool underscores_fit(struct slice text)
{
    uint8_t last = '^';
    bool is_hex = false;
    if (text.len > 0 && (text.data[0] == '-' || text.data[0] == '+')) {
        text = slice_skip(text, 1);
    }
    if (text.len >= 2 && text.data[0] == '0' && strchr("box", lower(text.data[1])) != NULL) {
        is_hex = lower(text.data[1]) == 'x';
        last = '0';
        text = slice_skip(text, 2);
    }
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (digit_value(c) < (is_hex ? 16 : 10)) {
            last = '0';
        } else if (c == '_') {
            if (last != '0') {
                return false;
            }
            last = '_';
        } else {
            if (last == '_') {
                return false;
            }
            last = '!';
        }
    }
    return last != '_';
}

/* Takes a prefix off and says the base, as strconv does for base 0. */
static unsigned base_of_prefix(struct slice *text)
{
    if (text->data[0] != '0') {
        return 10;
    }
    uint8_t mark = text->len >= 3 ? lower(text->data[1]) : 0;
    unsigned base = mark == 'b' ? 2 : mark == 'o' ? 8 : mark == 'x' ? 16 : 0;
    *text = slice_skip(*text, base == 0 ? 1 : 2);
    return base == 0 ? 8 : base;
}

FALLIBLE go_parse_uint(struct slice text, int base, int bit_size, uint64_t *out, struct errbuf *why)
{
    ASSERT(base == 0 || base == 10);
    ASSERT(bit_size == 8 || bit_size == 16 || bit_size == 32 || bit_size == 64);
    if (text.len == 0) {
        return syntax(why);
    }
    uint64_t max = bit_size == 64 ? UINT64_MAX : ((uint64_t)1 << bit_size) - 1;
    struct slice digits = text;
    unsigned radix = base == 0 ? base_of_prefix(&digits) : 10;
    uint64_t value = 0;
    bool has_underscore = false;
    for (size_t i = 0; i < digits.len; i++) {
        uint8_t c = digits.data[i];
        if (c == '_' && base == 0) {
            has_underscore = true;
            continue;
        }
        unsigned digit = digit_value(c);
        if (digit >= radix) {
            return syntax(why);
        }
        if (__builtin_mul_overflow(value, radix, &value) ||
            __builtin_add_overflow(value, digit, &value) || value > max) {
            return out_of_range(why);
        }
    }
    if (has_underscore && !underscores_fit(text)) {
        return syntax(why);
    }
    *out = value;
    return ERR_OK;
}

FALLIBLE go_parse_int(struct slice text, int base, int bit_size, int64_t *out, struct errbuf *why)
{
    if (text.len == 0) {
        return syntax(why);
    }
    bool negative = text.data[0] == '-';
    bool has_sign = negative || text.data[0] == '+';
    uint64_t magnitude;
    TRY(go_parse_uint(has_sign ? slice_skip(text, 1) : text, base, 64, &magnitude, why));
    uint64_t limit = (uint64_t)1 << (bit_size - 1);
    if (magnitude > limit || (magnitude == limit && !negative)) {
        return out_of_range(why);
    }
    *out = (int64_t)(negative ? 0 - magnitude : magnitude);
    return ERR_OK;
}

/* ---- floats -------------------------------------------------------------------------------- */

static size_t skip_digits(struct slice text, size_t at, bool is_hex, bool *any)
{
    while (at < text.len && digit_value(text.data[at]) < (is_hex ? 16 : 10)) {
        *any = true;
        at++;
    }
    return at;
}

/* Is it what strconv.ParseFloat takes (without underscores, which strtod does not know)? */
static bool float_grammar(struct slice text)
{
    size_t at = text.len > 0 && (text.data[0] == '-' || text.data[0] == '+') ? 1 : 0;
    bool is_hex = text.len >= at + 2 && text.data[at] == '0' && lower(text.data[at + 1]) == 'x';
    bool any = false;
    at = skip_digits(text, is_hex ? at + 2 : at, is_hex, &any);
    if (at < text.len && text.data[at] == '.') {
        at = skip_digits(text, at + 1, is_hex, &any);
    }
    if (!any) {
        return false;
    }
    if (at == text.len) {
        return !is_hex; /* a hexadecimal mantissa needs its exponent */
    }
    if (lower(text.data[at]) != (is_hex ? 'p' : 'e')) {
        return false;
    }
    at++;
    if (at < text.len && (text.data[at] == '-' || text.data[at] == '+')) {
        at++;
    }
    any = false;
    at = skip_digits(text, at, false, &any);
    return any && at == text.len;
}

static bool float_word(struct slice text, double *out)
{
    static const struct {
        const char *word;
        double value;
    } words[] = {{"inf", INFINITY}, {"infinity", INFINITY}, {"nan", NAN}};
    bool negative = text.len > 0 && text.data[0] == '-';
    bool has_sign = negative || (text.len > 0 && text.data[0] == '+');
    struct slice rest = has_sign ? slice_skip(text, 1) : text;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        size_t at = 0;
        while (at < rest.len && words[i].word[at] != 0 &&
               lower(rest.data[at]) == (uint8_t)words[i].word[at]) {
            at++;
        }
        bool is_nan = words[i].word[0] == 'n';
        if (at == rest.len && words[i].word[at] == 0 && !(is_nan && has_sign)) {
            *out = negative ? -words[i].value : words[i].value;
            return true;
        }
    }
    return false;
}

FALLIBLE go_parse_float(struct slice text, double *out, struct errbuf *why)
{
    if (float_word(text, out)) {
        return ERR_OK;
    }
    char copy[FLOAT_TEXT_MAX];
    if (text.len >= sizeof(copy) || !float_grammar(text)) {
        return syntax(why);
    }
    memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    double value = strtod(copy, NULL);
    if (isinf(value)) {
        return out_of_range(why);
    }
    *out = value;
    return ERR_OK;
}

/* The shortest digits that read back as `number`, and where its point is: 0.DIGITS * 10^point. */
static void shortest(double number, char digits[32], int *count, int *point)
{
    char text[64];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof(text), "%.*e", precision, number);
        if (strtod(text, NULL) == number) {
            break;
        }
    }
    int n = 0;
    char *at = text;
    for (; *at != 'e'; at++) {
        if (*at >= '0' && *at <= '9') {
            digits[n++] = *at;
        }
    }
    *point = atoi(at + 1) + 1;
    while (n > 1 && digits[n - 1] == '0') {
        n--;
    }
    *count = n;
}

static bool format_special(double number, struct buf *out)
{
    if (isnan(number)) {
        buf_append_str(out, "NaN");
        return true;
    }
    if (isinf(number)) {
        buf_append_str(out, number > 0 ? "+Inf" : "-Inf");
        return true;
    }
    if (signbit(number)) {
        buf_append_byte(out, '-');
    }
    if (number == 0) {
        buf_append_byte(out, '0');
        return true;
    }
    return false;
}

static void format_plain(const char *digits, int count, int point, struct buf *out)
{
    if (point <= 0) {
        buf_append_str(out, "0.");
        for (int i = point; i < 0; i++) {
            buf_append_byte(out, '0');
        }
        buf_append(out, digits, (size_t)count);
        return;
    }
    for (int i = 0; i < point; i++) {
        buf_append_byte(out, (uint8_t)(i < count ? digits[i] : '0'));
    }
    if (count > point) {
        buf_append_byte(out, '.');
        buf_append(out, digits + point, (size_t)(count - point));
    }
}

void go_format_float(double number, struct buf *out)
{
    if (format_special(number, out)) {
        return;
    }
    char digits[32];
    int count;
    int point;
    shortest(fabs(number), digits, &count, &point);
    format_plain(digits, count, point, out);
}

void go_format_float_v(double number, struct buf *out)
{
    if (format_special(number, out)) {
        return;
    }
    char digits[32];
    int count;
    int point;
    shortest(fabs(number), digits, &count, &point);
    int exponent = point - 1;
    if (exponent >= -4 && exponent < EXPONENT_PLAIN_MAX) {
        format_plain(digits, count, point, out);
        return;
    }
    buf_append_byte(out, (uint8_t)digits[0]);
    if (count > 1) {
        buf_append_byte(out, '.');
        buf_append(out, digits + 1, (size_t)count - 1);
    }
    buf_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
}

/* ---- durations ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int64_t ns;
} units[] = {
    {"ns", 1},
    {"us", GO_NS_PER_US},
    {"\xc2\xb5s", GO_NS_PER_US}, /* U+00B5 micro sign */
    {"\xce\xbcs", GO_NS_PER_US}, /* U+03BC Greek mu */
    {"ms", GO_NS_PER_MS},
    {"s", GO_NS_PER_SEC},
    {"m", GO_NS_PER_MIN},
    {"h", GO_NS_PER_HOUR},
};

/* The time package's own quoting: every byte that is not printable ASCII as \xNN. */
static void time_quote(struct slice text, struct buf *out)
{
    buf_append_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '"' || c == '\\') {
            buf_append_byte(out, '\\');
            buf_append_byte(out, c);
        } else if (c < ' ' || c >= 0x80) {
            buf_printf(out, "\\x%02x", c);
        } else {
            buf_append_byte(out, c);
        }
    }
    buf_append_byte(out, '"');
}

static enum err bad_duration(struct slice text, struct errbuf *why)
{
    struct buf line = {0};
    buf_append_str(&line, "time: invalid duration ");
    time_quote(text, &line);
    enum err err = errf(why, ERR_INVALID, "%s", buf_cstr(&line));
    buf_fini(&line);
    return err;
}

static enum err bad_unit(struct slice text, struct slice unit, struct errbuf *why)
{
    struct buf line = {0};
    if (unit.len == 0) {
        buf_append_str(&line, "time: missing unit in duration ");
    } else {
        buf_append_str(&line, "time: unknown unit ");
        time_quote(unit, &line);
        buf_append_str(&line, " in duration ");
    }
    time_quote(text, &line);
    enum err err = errf(why, ERR_INVALID, "%s", buf_cstr(&line));
    buf_fini(&line);
    return err;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* Digits before the point; false when they do not fit. */
static bool leading_int(struct slice *text, uint64_t *out)
{
    uint64_t value = 0;
    while (text->len > 0 && is_digit(text->data[0])) {
        if (value > MAGNITUDE_MAX / 10) {
            return false;
        }
        value = value * 10 + (uint64_t)(text->data[0] - '0');
        if (value > MAGNITUDE_MAX) {
            return false;
        }
        *text = slice_skip(*text, 1);
    }
    *out = value;
    return true;
}

/* Digits behind the point; what no longer fits is dropped. */
static uint64_t leading_fraction(struct slice *text, double *scale)
{
    uint64_t value = 0;
    bool is_full = false;
    for (; text->len > 0 && is_digit(text->data[0]); *text = slice_skip(*text, 1)) {
        if (is_full || value > (MAGNITUDE_MAX - 1) / 10) {
            is_full = true;
            continue;
        }
        uint64_t next = value * 10 + (uint64_t)(text->data[0] - '0');
        if (next > MAGNITUDE_MAX) {
            is_full = true;
            continue;
        }
        value = next;
        *scale *= 10;
    }
    return value;
}

static struct slice take_unit(struct slice *text)
{
    size_t len = 0;
    while (len < text->len && text->data[len] != '.' && !is_digit(text->data[len])) {
        len++;
    }
    struct slice unit = slice_of(text->data, len);
    *text = slice_skip(*text, len);
    return unit;
}

static int64_t unit_ns(struct slice unit)
{
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (slice_eq_str(unit, units[i].name)) {
            return units[i].ns;
        }
    }
    return 0;
}

/* One "1.5h" of a duration, added to *sum. */
static enum err duration_part(struct slice whole, struct slice *rest, uint64_t *sum,
                              struct errbuf *why)
{
    uint64_t value = 0;
    uint64_t fraction = 0;
    double scale = 1;
    size_t before = rest->len;
    if (rest->data[0] != '.' && !is_digit(rest->data[0])) {
        return bad_duration(whole, why);
    }
    if (!leading_int(rest, &value)) {
        return bad_duration(whole, why);
    }
    bool has_digits = rest->len != before;
    if (rest->len > 0 && rest->data[0] == '.') {
        *rest = slice_skip(*rest, 1);
        before = rest->len;
        fraction = leading_fraction(rest, &scale);
        has_digits = has_digits || rest->len != before;
    }
    if (!has_digits) {
        return bad_duration(whole, why);
    }
    struct slice unit = take_unit(rest);
    int64_t ns = unit_ns(unit);
    if (ns == 0) {
        return bad_unit(whole, unit, why);
    }
    if (value > MAGNITUDE_MAX / (uint64_t)ns) {
        return bad_duration(whole, why);
    }
    value *= (uint64_t)ns;
    if (fraction > 0) {
        value += (uint64_t)((double)fraction * ((double)ns / scale));
    }
    if (value > MAGNITUDE_MAX || *sum + value > MAGNITUDE_MAX) {
        return bad_duration(whole, why);
    }
    *sum += value;
    return ERR_OK;
}

FALLIBLE go_parse_duration(struct slice text, int64_t *out_ns, struct errbuf *why)
{
    struct slice rest = text;
    bool negative = rest.len > 0 && rest.data[0] == '-';
    if (negative || (rest.len > 0 && rest.data[0] == '+')) {
        rest = slice_skip(rest, 1);
    }
    if (slice_eq_str(rest, "0")) {
        *out_ns = 0;
        return ERR_OK;
    }
    if (rest.len == 0) {
        return bad_duration(text, why);
    }
    uint64_t sum = 0;
    while (rest.len > 0) {
        TRY(duration_part(text, &rest, &sum, why));
    }
    if (sum == MAGNITUDE_MAX && !negative) {
        return bad_duration(text, why);
    }
    *out_ns = (int64_t)(negative ? 0 - sum : sum);
    return ERR_OK;
}

/* "1.5", without the zeros that do not count. `digits` digits belong behind the point. */
static void format_fraction(uint64_t value, unsigned digits, struct buf *out)
{
    uint64_t scale = 1;
    for (unsigned i = 0; i < digits; i++) {
        scale *= 10;
    }
    uint64_t fraction = value % scale;
    buf_printf(out, "%llu", (unsigned long long)(value / scale));
    if (fraction == 0) {
        return;
    }
    while (fraction % 10 == 0) {
        fraction /= 10;
        digits--;
    }
    buf_printf(out, ".%0*llu", (int)digits, (unsigned long long)fraction);
}

void go_format_duration(int64_t duration_ns, struct buf *out)
{
    uint64_t ns = (uint64_t)duration_ns;
    if (duration_ns == 0) {
        buf_append_str(out, "0s");
        return;
    }
    if (duration_ns < 0) {
        buf_append_byte(out, '-');
        ns = 0 - ns;
    }
    if (ns < (uint64_t)GO_NS_PER_US) {
        buf_printf(out, "%lluns", (unsigned long long)ns);
    } else if (ns < (uint64_t)GO_NS_PER_MS) {
        format_fraction(ns, 3, out);
        buf_append_str(out, "\xc2\xb5s");
    } else if (ns < (uint64_t)GO_NS_PER_SEC) {
        format_fraction(ns, 6, out);
        buf_append_str(out, "ms");
    } else {
        uint64_t minutes = ns / (uint64_t)GO_NS_PER_MIN;
        if (minutes >= 60) {
            buf_printf(out, "%lluh", (unsigned long long)(minutes / 60));
        }
        if (minutes > 0) {
            buf_printf(out, "%llum", (unsigned long long)(minutes % 60));
        }
        format_fraction(ns % (uint64_t)GO_NS_PER_MIN, 9, out);
        buf_append_byte(out, 's');
    }
}

/* ---- characters ---------------------------------------------------------------------------------
 */

/* Close to strconv.IsPrint: what is no blank, control, format, private or surrogate character. */
static bool is_print(uint32_t rune)
{
    static const uint32_t hidden[][2] = {
        {0, 0x1f},        {0x7f, 0xa0},       {0xad, 0xad},        {0x1680, 0x1680},
        {0x180e, 0x180e}, {0x2000, 0x200f},   {0x2028, 0x202f},    {0x205f, 0x206f},
        {0x3000, 0x3000}, {0xd800, 0xf8ff},   {0xfeff, 0xfeff},    {0xfff0, 0xfffb},
        {0xfffe, 0xffff}, {0xe0000, 0xe00ff}, {0xf0000, 0x10ffff},
    };
    for (size_t i = 0; i < ARRAY_LEN(hidden); i++) {
        if (rune >= hidden[i][0] && rune <= hidden[i][1]) {
            return false;
        }
    }
    return true;
}

void go_quote(struct slice text, struct buf *out)
{
    static const char escapes[] = {
        ['\a'] = 'a', ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n',  ['\r'] = 'r',
        ['\t'] = 't', ['\v'] = 'v', ['"'] = '"',  ['\\'] = '\\',
    };
    buf_append_byte(out, '"');
    for (size_t i = 0; i < text.len;) {
        uint32_t rune;
        size_t len = utf8_decode(slice_skip(text, i), &rune);
        if (len == 0) {
            buf_printf(out, "\\x%02x", text.data[i]);
            i++;
            continue;
        }
        if (rune < sizeof(escapes) && escapes[rune] != 0) {
            buf_append_byte(out, '\\');
            buf_append_byte(out, (uint8_t)escapes[rune]);
        } else if (is_print(rune)) {
            buf_append(out, text.data + i, len);
        } else if (rune < 0x80) {
            buf_printf(out, "\\x%02x", rune);
        } else {
            buf_printf(out, rune < 0x10000 ? "\\u%04x" : "\\U%08x", rune);
        }
        i += len;
    }
    buf_append_byte(out, '"');
}
