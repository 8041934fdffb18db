/* sqlite:///path/to.db: locks of the processes of one machine, in tables of an SQLite database. */
#pragma once

#include "engine/engine.h"

extern const struct engine_ops engine_sqlite;
