/* Tables for people: columns as wide as their widest cell, colours on a terminal alone. */
#pragma once

#include "base/slice.h"

enum { TABLE_CELL_BYTES = 320, TABLE_COLUMNS = 8, TABLE_GAP = 2 };

enum table_colour { TABLE_PLAIN, TABLE_GOOD, TABLE_WARN, TABLE_BAD };

struct table_cell {
    char text[TABLE_CELL_BYTES]; /* fit for a terminal */
    enum table_colour colour;
};

/* All zero but `titles`, which ends with NULL and has TABLE_COLUMNS names at most. */
struct table {
    const char *const *titles;
    struct table_cell *cells; /* rows of as many as there are titles */
    size_t rows;
    size_t capacity;
    size_t widths[TABLE_COLUMNS];
    bool has_titles; /* printed */
};

/* A new row, empty; good until the next call. */
struct table_cell *table_add_row(struct table *table);

/* Prints the rows and forgets them; the titles come before the first. What is added and printed later goes on below. */
void table_print(struct table *table);

void table_deinit(struct table *table);

/* ---- cells ---- */

/* As far as it fits in `longest` bytes, escaped; "-" for an empty text. */
void table_set_text(struct table_cell *cell, struct slice text, size_t longest);

/* "-" for a negative number. */
void table_set_number(struct table_cell *cell, int64_t number);

/* "250 ms", "12 s", "3 d 4 h"; "-" for a negative number. */
void table_set_duration(struct table_cell *cell, int64_t ms);

bool table_has_colours(void);

/* Characters, for texts whose characters are as wide as a letter. */
size_t table_width(const char *text);

void table_print_cell(const struct table_cell *cell, size_t width, bool last, bool colours);
