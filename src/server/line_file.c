#include "server/line_file.h"

#include "base/crc32c.h"
#include "env/whole_file.h"

#include <inttypes.h>
#include <stdio.h>

enum status line_file_path(const struct line_file_kind *kind, const char *directory,
                           char ret_path[static LINE_FILE_PATH_BYTES], char ret_message[static LINE_FILE_MESSAGE_BYTES])
{
    if (snprintf(ret_path, LINE_FILE_PATH_BYTES, "%s/%s", directory, kind->name) < LINE_FILE_PATH_BYTES) {
        return STATUS_OK;
    }
    (void)snprintf(ret_message, LINE_FILE_MESSAGE_BYTES, "the data folder's path is longer than %d bytes",
                   LINE_FILE_PATH_BYTES);
    return STATUS_TOO_LARGE;
}

static void put_checksum(struct buffer *text)
{
    buffer_append_format(text, "checksum = %08" PRIx32 "\n", crc32c(0, text->data, text->size));
}

enum status line_file_write(struct env *env, const struct line_file_kind *kind, const char *directory, const void *file,
                            char ret_message[static LINE_FILE_MESSAGE_BYTES])
{
    char path[LINE_FILE_PATH_BYTES];
    enum status status = line_file_path(kind, directory, path, ret_message);
    if (status != STATUS_OK) {
        return status;
    }
    struct buffer text;
    buffer_init(&text);
    kind->render(file, &text);
    put_checksum(&text);
    status = whole_file_replace(env, path, buffer_slice(&text));
    if (status != STATUS_OK) {
        (void)snprintf(ret_message, LINE_FILE_MESSAGE_BYTES, "cannot write %.512s: %s", path, status_text(status));
    }
    buffer_deinit(&text);
    return status;
}

/* Invariant 1. */
static bool is_rendered(const struct line_file_kind *kind, const void *file, struct slice text, unsigned format)
{
    struct buffer again;
    buffer_init(&again);
    kind->render(file, &again);
    bool same = format <= kind->bare && slice_equal(buffer_slice(&again), text);
    put_checksum(&again);
    same = same || slice_equal(buffer_slice(&again), text);
    buffer_deinit(&again);
    return same;
}

/* `text` ends with a NUL that is not part of it. */
static enum status check(const struct line_file_kind *kind, const char *path, struct slice text, void *ret_file,
                         char ret_message[static LINE_FILE_MESSAGE_BYTES])
{
    unsigned format = 0;
    const char *begin = (const char *)text.data;
    size_t word = strlen(kind->word);
    if (strncmp(begin, kind->word, word) == 0 && sscanf(begin + word, " %u\n", &format) == 1 && format > kind->format) {
        (void)snprintf(ret_message, LINE_FILE_MESSAGE_BYTES,
                       "%.512s was written by a newer version of cohort (format %u); start that version", path, format);
        return STATUS_VERSION;
    }
    if (!kind->parse(begin, ret_file) || !is_rendered(kind, ret_file, text, format)) {
        (void)snprintf(ret_message, LINE_FILE_MESSAGE_BYTES, "%.512s is damaged", path);
        return STATUS_CORRUPT;
    }
    return STATUS_OK;
}

enum status line_file_read(struct env *env, const struct line_file_kind *kind, const char *path, void *ret_file,
                           char ret_message[static LINE_FILE_MESSAGE_BYTES])
{
    struct buffer text;
    buffer_init(&text);
    enum status status = whole_file_read(env, path, kind->limit_bytes, &text);
    if (status == STATUS_OK || status == STATUS_TOO_LARGE || status == STATUS_INVALID) { /* or no such file of ours */
        buffer_append_byte(&text, '\0');
        status = check(kind, path, slice_of(text.data, text.size - 1), ret_file, ret_message);
    } else if (status != STATUS_NOTFOUND) {
        (void)snprintf(ret_message, LINE_FILE_MESSAGE_BYTES, "cannot read %.512s: %s", path, status_text(status));
    }
    buffer_deinit(&text);
    return status;
}
