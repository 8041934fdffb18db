/* What a person can do when storage fails, in words that fit after "…: ". */
#pragma once

#include "base/id128.h"
#include "base/status.h"

const char *storage_advice(enum status status);

enum { STORAGE_FOREIGN_BYTES = 160 };
/* "it belongs to another data folder …" */
void storage_foreign(const struct id128 *theirs, const struct id128 *ours, char ret_text[static STORAGE_FOREIGN_BYTES]);
