#include "server/worker_file.h"

#include "base/buffer.h"
#include "base/crc32c.h"
#include "env/whole_file.h"
#include "log/storage_advice.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 4096, WORKER_FILE_BYTES = 512 };

static enum status make_path(const char *directory, char path[static PATH_BYTES],
                             char ret_message[static NODE_FILE_MESSAGE_BYTES])
{
    if (snprintf(path, PATH_BYTES, "%s/start", directory) < PATH_BYTES) {
        return STATUS_OK;
    }
    (void)snprintf(ret_message, NODE_FILE_MESSAGE_BYTES, "the data folder's path is longer than %d bytes", PATH_BYTES);
    return STATUS_TOO_LARGE;
}

static void render(const struct worker_file *file, struct buffer *out)
{
    size_t begin = out->size;
    char incarnation[ID128_DIGITS + 1];
    id128_format(&file->folder.incarnation, incarnation);
    buffer_append_format(
        out, "cohort-worker 1\nincarnation = %s\nworker = %" PRIu32 "\nstart = %" PRIu64 "\nbefore = %" PRIu64 "\n",
        incarnation, file->folder.worker, file->start, file->before);
    buffer_append_format(out, "checksum = %08" PRIx32 "\n", crc32c(0, out->data + begin, out->size - begin));
}

enum status worker_file_write(struct env *env, const char *directory, const struct worker_file *file,
                              char ret_message[static NODE_FILE_MESSAGE_BYTES])
{
    char path[PATH_BYTES];
    enum status status = make_path(directory, path, ret_message);
    if (status != STATUS_OK) {
        return status;
    }
    struct buffer text;
    buffer_init(&text);
    render(file, &text);
    status = whole_file_replace(env, path, buffer_slice(&text));
    if (status != STATUS_OK) {
        (void)snprintf(ret_message, NODE_FILE_MESSAGE_BYTES, "cannot write %.512s: %s", path, status_text(status));
    }
    buffer_deinit(&text);
    return status;
}

/* `text` ends with a NUL that is not part of it. False when this is not what render makes. */
static bool parse(struct slice text, struct worker_file *ret_file)
{
    struct worker_file file = {0};
    char incarnation[ID128_DIGITS + 1] = "";
    int fields = sscanf((const char *)text.data,
                        "cohort-worker 1 incarnation = %32s worker = %" SCNu32 " start = %" SCNu64 " before = %" SCNu64,
                        incarnation, &file.folder.worker, &file.start, &file.before);
    if (fields != 4 || !id128_parse(incarnation, &file.folder.incarnation) || file.start <= file.before ||
        file.start > INT64_MAX) {
        return false;
    }
    struct buffer again;
    buffer_init(&again);
    render(&file, &again);
    bool same = slice_equal(buffer_slice(&again), text);
    buffer_deinit(&again);
    *ret_file = same ? file : *ret_file;
    return same;
}

static enum status read_text(const char *path, struct slice text, struct worker_file *ret_file,
                             char ret_message[static NODE_FILE_MESSAGE_BYTES])
{
    unsigned version = 0;
    if (sscanf((const char *)text.data, "cohort-worker %u\n", &version) == 1 && version > 1) {
        (void)snprintf(ret_message, NODE_FILE_MESSAGE_BYTES,
                       "%.512s was written by a newer version of cohort (format %u); start that version", path,
                       version);
        return STATUS_VERSION;
    }
    if (!parse(text, ret_file)) {
        (void)snprintf(ret_message, NODE_FILE_MESSAGE_BYTES, "%.512s is damaged", path);
        return STATUS_CORRUPT;
    }
    return STATUS_OK;
}

static enum status read_file(struct env *env, const char *path, struct worker_file *ret_file,
                             char ret_message[static NODE_FILE_MESSAGE_BYTES])
{
    struct buffer text;
    buffer_init(&text);
    enum status status = whole_file_read(env, path, WORKER_FILE_BYTES, &text);
    if (status == STATUS_OK || status == STATUS_TOO_LARGE || status == STATUS_INVALID) { /* or no such file of ours */
        buffer_append_byte(&text, '\0');
        status = read_text(path, slice_of(text.data, text.size - 1), ret_file, ret_message);
    } else if (status == STATUS_NOTFOUND) {
        status = STATUS_CORRUPT;
        (void)snprintf(ret_message, NODE_FILE_MESSAGE_BYTES, "%.512s is missing, though this node has written it",
                       path);
    } else {
        (void)snprintf(ret_message, NODE_FILE_MESSAGE_BYTES, "cannot read %.512s: %s", path, status_text(status));
    }
    buffer_deinit(&text);
    return status;
}

/* Invariants 1 and 2. */
static enum status judge(const char *directory, const char *path, const struct folder_name *folder,
                         const struct worker_file *file, const struct node_file *node,
                         char ret_message[static NODE_FILE_MESSAGE_BYTES])
{
    char text[FOLDER_NAME_TEXT_BYTES];
    if (!folder_name_equal(&file->folder, folder)) {
        folder_name_explain(&file->folder, folder, text);
        (void)snprintf(ret_message, NODE_FILE_MESSAGE_BYTES, "%.512s: %s; %s", path, text,
                       storage_advice(STATUS_INVALID));
        return STATUS_INVALID;
    }
    if (file->start < node->opened) {
        (void)snprintf(ret_message, NODE_FILE_MESSAGE_BYTES,
                       "%.512s is an older copy of this worker's folder: it was last started as %" PRIu64
                       ", and the node as %" PRIu64
                       "; bring back the folder as the node left it last, for this one has forgotten what was written "
                       "since",
                       directory, file->start, node->opened);
        return STATUS_INVALID;
    }
    if (file->start > node->opened && file->before != node->opened) {
        (void)snprintf(ret_message, NODE_FILE_MESSAGE_BYTES,
                       "the file `node` of the data folder is an older copy: it says that the node was last started as "
                       "%" PRIu64 ", and %.512s that it was as %" PRIu64
                       "; bring back the data folder as the node left it last",
                       node->opened, path, file->start);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

enum status worker_file_check(struct env *env, const char *directory, uint32_t worker, const struct node_file *node,
                              char ret_message[static NODE_FILE_MESSAGE_BYTES])
{
    char path[PATH_BYTES];
    struct worker_file file;
    struct folder_name folder = {node->incarnation, worker};
    enum status status = make_path(directory, path, ret_message);
    if (status == STATUS_OK) {
        status = read_file(env, path, &file, ret_message);
    }
    if (status == STATUS_OK) {
        status = judge(directory, path, &folder, &file, node, ret_message);
    }
    return status;
}
