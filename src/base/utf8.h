/* UTF-8 (RFC 3629): is it, and how long is the next character.
 *
 * Threads: pure functions. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/bytes.h"

/* Bytes of the character at the front of `text` (1 to 4), or 0 when it is none: cut short,
 * overlong, a surrogate, or above U+10FFFF. `text` must not be empty. */
size_t utf8_len(struct slice text);

/* The same, and the character. Untouched when it is none. */
size_t utf8_decode(struct slice text, uint32_t *rune_out);

/* Whether all of it is UTF-8. */
bool utf8_valid(struct slice text);

#endif
