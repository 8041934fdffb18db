#include "server/worker_file.h"

#include "log/storage_advice.h"

#include <inttypes.h>
#include <stdio.h>

static void render(const void *of, struct buffer *out)
{
    const struct worker_file *file = of;
    char incarnation[ID128_DIGITS + 1];
    id128_format(&file->folder.incarnation, incarnation);
    buffer_append_format(
        out, "cohort-worker 1\nincarnation = %s\nworker = %" PRIu32 "\nstart = %" PRIu64 "\nbefore = %" PRIu64 "\n",
        incarnation, file->folder.worker, file->start, file->before);
}

static bool parse(const char *text, void *ret_file)
{
    struct worker_file file = {0};
    char incarnation[ID128_DIGITS + 1] = "";
    int fields =
        sscanf(text, "cohort-worker 1 incarnation = %32s worker = %" SCNu32 " start = %" SCNu64 " before = %" SCNu64,
               incarnation, &file.folder.worker, &file.start, &file.before);
    bool good = fields == 4 && id128_parse(incarnation, &file.folder.incarnation) && file.start > file.before &&
                file.start <= INT64_MAX;
    *(struct worker_file *)ret_file = file;
    return good;
}

static const struct line_file_kind kind = {
    .name = "start",
    .word = "cohort-worker",
    .format = 1,
    .limit_bytes = 512,
    .render = render,
    .parse = parse,
};

enum status worker_file_write(struct env *env, const char *directory, const struct worker_file *file,
                              char ret_message[static LINE_FILE_MESSAGE_BYTES])
{
    return line_file_write(env, &kind, directory, file, ret_message);
}

/* Invariants 1 and 2. */
static enum status judge(const char *directory, const char *path, const struct folder_name *folder,
                         const struct worker_file *file, const struct node_file *node,
                         char ret_message[static LINE_FILE_MESSAGE_BYTES])
{
    char text[FOLDER_NAME_TEXT_BYTES];
    if (!folder_name_equal(&file->folder, folder)) {
        folder_name_explain(&file->folder, folder, text);
        (void)snprintf(ret_message, LINE_FILE_MESSAGE_BYTES, "%.512s: %s; %s", path, text,
                       storage_advice(STATUS_INVALID));
        return STATUS_INVALID;
    }
    if (file->start < node->opened) {
        (void)snprintf(ret_message, LINE_FILE_MESSAGE_BYTES,
                       "%.512s is an older copy of this worker's folder: it was last started as %" PRIu64
                       ", and the node as %" PRIu64
                       "; bring back the folder as the node left it last, for this one has forgotten what was written "
                       "since",
                       directory, file->start, node->opened);
        return STATUS_INVALID;
    }
    if (file->start > node->opened && file->before != node->opened) {
        (void)snprintf(ret_message, LINE_FILE_MESSAGE_BYTES,
                       "the file `node` of the data folder is an older copy: it says that the node was last started as "
                       "%" PRIu64 ", and %.512s that it was as %" PRIu64
                       "; bring back the data folder as the node left it last",
                       node->opened, path, file->start);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

enum status worker_file_check(struct env *env, const char *directory, uint32_t worker, const struct node_file *node,
                              char ret_message[static LINE_FILE_MESSAGE_BYTES])
{
    char path[LINE_FILE_PATH_BYTES];
    struct worker_file file;
    struct folder_name folder = {node->incarnation, worker};
    enum status status = line_file_path(&kind, directory, path, ret_message);
    if (status == STATUS_OK) {
        status = line_file_read(env, &kind, path, &file, ret_message);
    }
    if (status == STATUS_NOTFOUND) {
        (void)snprintf(ret_message, LINE_FILE_MESSAGE_BYTES, "%.512s is missing, though this node has written it",
                       path);
        return STATUS_CORRUPT;
    }
    if (status == STATUS_OK) {
        status = judge(directory, path, &folder, &file, node, ret_message);
    }
    return status;
}
