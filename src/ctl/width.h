/* How many terminal columns text takes. */
#ifndef CTL_WIDTH_H
#define CTL_WIDTH_H

#include "base/bytes.h"

/* 0 for combining marks and control characters, 2 for wide East Asian characters and emoji. */
unsigned width_of_rune(uint32_t rune);
/* Of UTF-8 text; a byte that is none counts as one replacement character. Terminal colour
 * sequences count nothing. */
size_t width_of(struct slice text);

#endif
