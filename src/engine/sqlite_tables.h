/* The tables of sqlite://, and the statements on them. */
#pragma once

#include "engine/sqlite_base.h"

struct sqlite_table {
    const char *name;
    const char *columns; /* "name:position in the primary key,…" */
    const char *create;
};

enum { TABLES = 5 };

extern const struct sqlite_table sqlite_tables[TABLES]; /* cohort_meta is the first */
extern const char *const sqlite_texts[STATEMENTS];
