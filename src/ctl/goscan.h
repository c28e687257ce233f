/* Pieces of Go's fmt.Sscanf, strconv.Unquote and strings.TrimSpace, for texts that people type in
 * Go's syntax.
 *
 * Threads: pure functions. */
#ifndef CTL_GOSCAN_H
#define CTL_GOSCAN_H

#include "base/bytes.h"

/* Unicode white space as fmt and strings see it. */
bool goscan_is_space(uint32_t rune);

/* Without white space at both ends. */
struct slice goscan_trim(struct slice text);

/* Moves *in behind white space. */
void goscan_skip_space(struct slice *in);

/* %q: skips white space, then reads "text" or `text` and appends what it means to *out. Bytes that
 * are no UTF-8 become U+FFFD.
 *
 * ERR_EOF      the text ends inside the quotes, or before them
 * ERR_INVALID  no quotes, or an escape that Go does not know: *out may have grown */
FALLIBLE goscan_quoted(struct slice *in, struct buf *out);

/* %s: skips white space, then takes what is not. ERR_EOF when nothing is left. */
FALLIBLE goscan_word(struct slice *in, struct slice *out);

/* A blank in the format: at least one white space, or the end. ERR_INVALID. */
FALLIBLE goscan_blank(struct slice *in);

/* A character in the format. ERR_INVALID, ERR_EOF. */
FALLIBLE goscan_char(struct slice *in, char c);

#endif
