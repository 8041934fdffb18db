/* Which folder a file of the log belongs to: of which data folder, and of which of its workers. Another one's passes
 * every other check, and what it says of votes and entries is true there only. */
#pragma once

#include "base/id128.h"

struct folder_name {
    struct id128 incarnation; /* of the data folder, not zero */
    uint32_t worker;
};

enum { FOLDER_NAME_TEXT_BYTES = 160 };

bool folder_name_equal(const struct folder_name *a, const struct folder_name *b);
/* "it belongs to …", of two that are not equal. */
void folder_name_explain(const struct folder_name *theirs, const struct folder_name *ours,
                         char ret_text[static FOLDER_NAME_TEXT_BYTES]);
