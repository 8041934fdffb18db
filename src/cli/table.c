#include "cli/table.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/printable.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FIRST_ROWS = 16 };

bool table_has_colours(void)
{
    const char *no = getenv("NO_COLOR"); /* https://no-color.org */
    return isatty(STDOUT_FILENO) == 1 && (no == NULL || no[0] == '\0');
}

size_t table_width(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

void table_print_cell(const struct table_cell *cell, size_t width, bool last, bool colours)
{
    const char *const codes[] = {
        [TABLE_PLAIN] = "", [TABLE_GOOD] = "\x1b[32m", [TABLE_WARN] = "\x1b[33m", [TABLE_BAD] = "\x1b[31m"};
    bool coloured = colours && cell->colour != TABLE_PLAIN;
    printf("%s%s%s", coloured ? codes[cell->colour] : "", cell->text, coloured ? "\x1b[0m" : "");
    size_t size = table_width(cell->text);
    for (; !last && size < width + TABLE_GAP; size++) {
        (void)putchar(' ');
    }
}

/* ---- cells ---- */

void table_set_text(struct table_cell *cell, struct slice text, size_t longest)
{
    ASSERT(longest < sizeof(cell->text));
    (void)printable_copy(text.size == 0 ? SLICE_LITERAL("-") : text, cell->text, longest + 1);
}

void table_set_number(struct table_cell *cell, int64_t number)
{
    (void)snprintf(cell->text, sizeof(cell->text), number < 0 ? "-" : "%" PRId64, number);
}

void table_set_duration(struct table_cell *cell, int64_t ms)
{
    char text[UNITS_TEXT_BYTES] = "-";
    if (ms >= 0 && ms < 1000) {
        (void)snprintf(text, sizeof(text), "%d ms", (int)ms);
    } else if (ms >= 0) {
        units_format_duration(text, (uint64_t)ms / 1000);
    }
    (void)snprintf(cell->text, sizeof(cell->text), "%s", text);
}

/* ---- rows ---- */

static size_t columns_of(const struct table *table)
{
    size_t columns = 0;
    while (table->titles[columns] != NULL) {
        columns++;
    }
    ASSERT(columns > 0 && columns <= TABLE_COLUMNS);
    return columns;
}

struct table_cell *table_add_row(struct table *table)
{
    size_t columns = columns_of(table);
    if (table->rows == table->capacity) {
        table->capacity = table->capacity == 0 ? FIRST_ROWS : 2 * table->capacity;
        table->cells = memory_resize(table->cells, table->capacity * columns * sizeof(*table->cells));
    }
    struct table_cell *row = &table->cells[columns * table->rows++];
    memset(row, 0, columns * sizeof(*row));
    return row;
}

static void measure(struct table *table, size_t columns)
{
    for (size_t i = 0; i < columns * table->rows; i++) {
        size_t *widest = &table->widths[i % columns];
        size_t width = table_width(table->cells[i].text);
        *widest = width > *widest ? width : *widest;
    }
}

/* Cells at the end that are empty are left out. */
static void print_row(const struct table *table, const struct table_cell *row, size_t columns, bool colours)
{
    while (columns > 1 && row[columns - 1].text[0] == '\0') {
        columns--;
    }
    for (size_t c = 0; c < columns; c++) {
        table_print_cell(&row[c], table->widths[c], c + 1 == columns, colours);
    }
    printf("\n");
}

static void print_titles(struct table *table, size_t columns)
{
    for (size_t c = 0; c < columns; c++) {
        size_t width = table_width(table->titles[c]);
        table->widths[c] = width > table->widths[c] ? width : table->widths[c];
        printf("%-*s", c + 1 < columns ? (int)table->widths[c] + TABLE_GAP : 0, table->titles[c]);
    }
    printf("\n");
    table->has_titles = true;
}

void table_print(struct table *table)
{
    size_t columns = columns_of(table);
    bool colours = table_has_colours();
    measure(table, columns);
    if (!table->has_titles) {
        print_titles(table, columns);
    }
    for (size_t i = 0; i < table->rows; i++) {
        print_row(table, &table->cells[i * columns], columns, colours);
    }
    table->rows = 0;
}

void table_deinit(struct table *table)
{
    free(table->cells);
    table->cells = NULL;
}
