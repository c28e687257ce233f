/* Text tables as Go's tablewriter 0.0.5 draws them for etcdctl: ASCII frames, titles in capitals
 * and centred, cells to the right, cells over 30 columns wrapped between words.
 *
 * Widths are counted in terminal columns: wide East Asian characters take two, combining marks
 * none.
 *
 * Threads: one at a time. */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include "base/bytes.h"
#include "base/mem.h"

#define TABLE_COLUMNS_MAX 16

struct table;

/* `titles` are copied; at most TABLE_COLUMNS_MAX. */
struct table *table_new(const char *const *titles, size_t columns);
void table_free(struct table **table); /* safe on NULL */

/* Adds one cell, left to right, row by row; copied. */
void table_cell(struct table *table, struct slice text);
__attribute__((format(printf, 2, 3))) void table_cellf(struct table *table, const char *format,
                                                       ...);

/* Draws it; every row must be full. Appends. */
void table_draw(const struct table *table, struct buf *out);
/* Each row on a line, its cells joined by `separator`; without the titles. Appends. */
void table_join(const struct table *table, const char *separator, struct buf *out);

#endif
