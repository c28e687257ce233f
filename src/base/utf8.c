#include "base/utf8.h"

/* RFC 3629 section 4: what may follow each first byte. */
static size_t announced_len(uint8_t first)
{
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xc2 && first < 0xe0) {
        return 2;
    }
    if ((first & 0xf0) == 0xe0) {
        return 3;
    }
    return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

size_t utf8_len(struct slice text)
{
    ASSERT(text.len > 0);
    const uint8_t *at = text.data;
    size_t len = announced_len(at[0]);
    if (len == 0 || len > text.len) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool is_overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool is_outside = (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f);
    return is_overlong || is_outside ? 0 : len;
}

size_t utf8_decode(struct slice text, uint32_t *rune_out)
{
    size_t len = utf8_len(text);
    if (len == 0) {
        return 0;
    }
    uint32_t rune = len == 1 ? text.data[0] : text.data[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        rune = rune << 6 | (text.data[i] & 0x3fu);
    }
    *rune_out = rune;
    return len;
}

bool utf8_valid(struct slice text)
{
    while (text.len > 0) {
        size_t len = utf8_len(text);
        if (len == 0) {
            return false;
        }
        text = slice_skip(text, len);
    }
    return true;
}
