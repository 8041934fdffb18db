#include "log/folder_name.h"

#include <inttypes.h>
#include <stdio.h>

bool folder_name_equal(const struct folder_name *a, const struct folder_name *b)
{
    return id128_equal(&a->incarnation, &b->incarnation) && a->worker == b->worker;
}

void folder_name_explain(const struct folder_name *theirs, const struct folder_name *ours,
                         char ret_text[static FOLDER_NAME_TEXT_BYTES])
{
    if (id128_equal(&theirs->incarnation, &ours->incarnation)) {
        (void)snprintf(ret_text, FOLDER_NAME_TEXT_BYTES,
                       "it belongs to worker %" PRIu32 " of this node, and this is the folder of worker %" PRIu32,
                       theirs->worker, ours->worker);
        return;
    }
    char their_text[ID128_DIGITS + 1];
    char our_text[ID128_DIGITS + 1];
    id128_format(&theirs->incarnation, their_text);
    id128_format(&ours->incarnation, our_text);
    (void)snprintf(ret_text, FOLDER_NAME_TEXT_BYTES,
                   "it belongs to another data folder (its incarnation is %s, that of this folder %s)", their_text,
                   our_text);
}
