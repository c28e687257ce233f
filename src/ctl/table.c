/* A cell is wrapped when it is added: its words (parted by blanks and newlines) are laid into lines
 * of at most 30 columns, or as wide as its longest word, so that the sum of the squares of what is
 * left free on all lines but the last is least. A column is as wide as its widest line. */
#include "ctl/table.h"

#include "ctl/width.h"

#include <stdarg.h>
#include <stdio.h>

#define CELL_WIDTH_MAX 30
/* Past so many words the layout, quadratic in them, gives way to filling line by line. */
#define WRAP_WORDS_MAX 512

struct cell {
    struct slice *lines;
    size_t count;
};

struct table {
    struct arena arena;
    size_t columns;
    struct slice titles[TABLE_COLUMNS_MAX];
    size_t widths[TABLE_COLUMNS_MAX];
    struct cell *cells;
    size_t cell_count;
    size_t cell_cap;
    struct slice *texts; /* of the cells, as given */
};

/* Which words a line may end with, so that the lines from each word on cost least. */
struct wrap {
    struct slice words[WRAP_WORDS_MAX];
    size_t widths[WRAP_WORDS_MAX];
    size_t next[WRAP_WORDS_MAX]; /* the first word of the line after the one that starts here */
    uint64_t cost[WRAP_WORDS_MAX];
    size_t count;
    size_t limit;
};

/* A title as it is shown: '_' and '.' become blanks, letters capitals. */
static struct slice title_text(struct arena *arena, const char *title)
{
    char *text = arena_strndup(arena, title, strlen(title));
    for (char *p = text; *p != 0; p++) {
        if (*p == '_' || *p == '.') {
            *p = ' ';
        } else if (*p >= 'a' && *p <= 'z') {
            *p = (char)(*p - 'a' + 'A');
        }
    }
    return slice_str(text);
}

struct table *table_new(const char *const *titles, size_t columns)
{
    ASSERT(columns > 0);
    ASSERT(columns <= TABLE_COLUMNS_MAX);
    struct table *table = NEW(struct table);
    arena_init(&table->arena);
    table->columns = columns;
    for (size_t i = 0; i < columns; i++) {
        table->titles[i] = title_text(&table->arena, titles[i]);
        table->widths[i] = width_of(table->titles[i]);
    }
    return table;
}

void table_free(struct table **table)
{
    if (*table != NULL) {
        mem_free((*table)->cells);
        mem_free((*table)->texts);
        arena_fini(&(*table)->arena);
        mem_free(*table);
        *table = NULL;
    }
}

/* ---- wrapping -------------------------------------------------------------------------- */

/* The width of words [first, end) on one line. */
static size_t line_width(const struct wrap *wrap, size_t first, size_t end)
{
    size_t width = end - first - 1;
    for (size_t i = first; i < end; i++) {
        width += wrap->widths[i];
    }
    return width;
}

/* Splits at every blank and newline; false when there are too many words. */
static bool wrap_init(struct wrap *wrap, struct slice text)
{
    wrap->count = 0;
    wrap->limit = CELL_WIDTH_MAX;
    size_t start = 0;
    for (size_t i = 0; i <= text.len; i++) {
        if (i < text.len && text.data[i] != ' ' && text.data[i] != '\n') {
            continue;
        }
        if (wrap->count == WRAP_WORDS_MAX) {
            return false;
        }
        struct slice word = slice_of(text.data + start, i - start);
        wrap->words[wrap->count] = word;
        wrap->widths[wrap->count] = width_of(word);
        if (wrap->widths[wrap->count] > wrap->limit) {
            wrap->limit = wrap->widths[wrap->count];
        }
        wrap->count++;
        start = i + 1;
    }
    return true;
}

static void wrap_choose(struct wrap *wrap)
{
    for (size_t i = wrap->count; i-- > 0;) {
        if (line_width(wrap, i, wrap->count) <= wrap->limit) {
            wrap->cost[i] = 0;
            wrap->next[i] = wrap->count;
            continue;
        }
        wrap->cost[i] = UINT64_MAX;
        for (size_t j = i + 1; j < wrap->count; j++) {
            size_t width = line_width(wrap, i, j);
            if (width > wrap->limit) {
                break;
            }
            uint64_t left = wrap->limit - width;
            uint64_t cost = left * left + wrap->cost[j];
            if (cost < wrap->cost[i]) {
                wrap->cost[i] = cost;
                wrap->next[i] = j;
            }
        }
        ASSERT(wrap->cost[i] != UINT64_MAX); /* no word is wider than the limit */
    }
}

static struct slice join_words(struct arena *arena, const struct wrap *wrap, size_t first,
                               size_t end)
{
    struct buf line = {0};
    for (size_t i = first; i < end; i++) {
        if (i > first) {
            buf_append_byte(&line, ' ');
        }
        buf_append_slice(&line, wrap->words[i]);
    }
    struct slice out = slice_of(arena_dup(arena, line.data, line.len), line.len);
    buf_fini(&line);
    return out;
}

static struct cell wrap_cell(struct table *table, struct slice text)
{
    struct cell cell = {.lines = ARENA_NEW(&table->arena, struct slice), .count = 1};
    cell.lines[0] = text;
    struct wrap *wrap = NEW(struct wrap);
    if (wrap_init(wrap, text)) {
        wrap_choose(wrap);
        cell.lines = arena_alloc(&table->arena, wrap->count * sizeof(*cell.lines));
        cell.count = 0;
        for (size_t i = 0; i < wrap->count; i = wrap->next[i]) {
            cell.lines[cell.count++] = join_words(&table->arena, wrap, i, wrap->next[i]);
        }
    }
    mem_free(wrap);
    return cell;
}

/* ---- filling --------------------------------------------------------------------------- */

void table_cell(struct table *table, struct slice text)
{
    if (table->cell_count == table->cell_cap) {
        table->cell_cap = table->cell_cap == 0 ? 32 : table->cell_cap * 2;
        table->cells = mem_realloc(table->cells, table->cell_cap * sizeof(*table->cells));
        table->texts = mem_realloc(table->texts, table->cell_cap * sizeof(*table->texts));
    }
    struct slice copy = slice_of(arena_dup(&table->arena, text.data, text.len), text.len);
    struct cell cell = wrap_cell(table, copy);
    size_t *width = &table->widths[table->cell_count % table->columns];
    for (size_t i = 0; i < cell.count; i++) {
        size_t line = width_of(cell.lines[i]);
        *width = line > *width ? line : *width;
    }
    table->cells[table->cell_count] = cell;
    table->texts[table->cell_count] = copy;
    table->cell_count++;
}

void table_cellf(struct table *table, const char *format, ...)
{
    char text[64];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ASSERT(len >= 0);
    ASSERT((size_t)len < sizeof(text)); /* numbers only */
    table_cell(table, slice_of(text, (size_t)len));
}

/* ---- drawing --------------------------------------------------------------------------- */

static void append_times(char c, size_t count, struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        buf_append_byte(out, (uint8_t)c);
    }
}

static void draw_rule(const struct table *table, struct buf *out)
{
    buf_append_byte(out, '+');
    for (size_t i = 0; i < table->columns; i++) {
        append_times('-', table->widths[i] + 2, out);
        buf_append_byte(out, '+');
    }
    buf_append_byte(out, '\n');
}

static void draw_titles(const struct table *table, struct buf *out)
{
    buf_append_byte(out, '|');
    for (size_t i = 0; i < table->columns; i++) {
        size_t gap = table->widths[i] - width_of(table->titles[i]);
        append_times(' ', gap / 2 + 1, out);
        buf_append_slice(out, table->titles[i]);
        append_times(' ', gap - gap / 2 + 1, out);
        buf_append_byte(out, '|');
    }
    buf_append_byte(out, '\n');
}

static void draw_row(const struct table *table, const struct cell *cells, struct buf *out)
{
    size_t height = 0;
    for (size_t i = 0; i < table->columns; i++) {
        height = cells[i].count > height ? cells[i].count : height;
    }
    for (size_t line = 0; line < height; line++) {
        for (size_t i = 0; i < table->columns; i++) {
            struct slice text = line < cells[i].count ? cells[i].lines[line] : SLICE_EMPTY;
            size_t width = width_of(text);
            ASSERT(width <= table->widths[i]);
            buf_append_str(out, "| ");
            append_times(' ', table->widths[i] - width, out);
            buf_append_slice(out, text);
            buf_append_byte(out, ' ');
        }
        buf_append_str(out, "|\n");
    }
}

void table_draw(const struct table *table, struct buf *out)
{
    ASSERT(table->cell_count % table->columns == 0);
    draw_rule(table, out);
    draw_titles(table, out);
    draw_rule(table, out);
    for (size_t i = 0; i < table->cell_count; i += table->columns) {
        draw_row(table, &table->cells[i], out);
    }
    draw_rule(table, out);
}

void table_join(const struct table *table, const char *separator, struct buf *out)
{
    ASSERT(table->cell_count % table->columns == 0);
    for (size_t i = 0; i < table->cell_count; i++) {
        buf_append_slice(out, table->texts[i]);
        buf_append_str(out, (i + 1) % table->columns == 0 ? "\n" : separator);
    }
}
