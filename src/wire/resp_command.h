/* Writes a request: an array of bulk strings. */
#pragma once

#include "wire/resp_writer.h"

static inline void resp_command(struct buffer *out, const struct slice *argv, size_t argc)
{
    struct resp_writer writer = resp_writer_to(out, RESP2);
    resp_array(&writer, argc);
    for (size_t i = 0; i < argc; i++) {
        resp_bulk(&writer, argv[i]);
    }
}
