#include "server/node_file.h"

#include "base/buffer.h"
#include "base/crc32c.h"
#include "cluster/workers.h"
#include "env/whole_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096, NODE_FILE_BYTES = 4096, NODE_FILE_FORMAT = 2 };

static enum status make_path(const char *directory, char path[static PATH_BYTES],
                             char ret_message[static NODE_FILE_MESSAGE_BYTES])
{
    if (snprintf(path, PATH_BYTES, "%s/node", directory) < PATH_BYTES) {
        return STATUS_OK;
    }
    (void)snprintf(ret_message, NODE_FILE_MESSAGE_BYTES, "the data folder's path is longer than %d bytes", PATH_BYTES);
    return STATUS_TOO_LARGE;
}

/* Without the checksum, as the oldest versions wrote it. */
static void render_fields(const struct node_file *file, struct buffer *out)
{
    char incarnation[ID128_DIGITS + 1];
    id128_format(&file->incarnation, incarnation);
    buffer_append_format(
        out,
        "cohort-node %d\nid = %" PRIu64 "\nincarnation = %s\nstarts = %" PRIu64 "\njoined = %" PRIu64 "\nbetween =",
        file->opened != 0 ? NODE_FILE_FORMAT : 1, file->id, incarnation, file->lineage.start, file->lineage.joined);
    for (uint32_t i = 0; i < file->lineage.count; i++) {
        buffer_append_format(out, " %" PRIu64, file->lineage.between[i]);
    }
    buffer_append_format(out, "\nlog = %s\n", file->log_made ? "made" : "none");
    if (file->opened != 0) {
        buffer_append_format(out, "opened = %" PRIu64 "\n", file->opened);
    }
    if (file->workers > 1) {
        buffer_append_format(out, "workers = %" PRIu32 "\n", file->workers);
    }
}

static void render(const struct node_file *file, struct buffer *out)
{
    size_t start = out->size;
    render_fields(file, out);
    buffer_append_format(out, "checksum = %08" PRIx32 "\n", crc32c(0, out->data + start, out->size - start));
}

enum status node_file_write(struct env *env, const char *directory, const struct node_file *file,
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

/* The numbers behind "between ="; returns where they end. */
static const char *parse_between(const char *at, struct lineage *lineage)
{
    while (*at == ' ' && lineage->count < LINEAGE_BETWEEN) {
        char *end;
        lineage->between[lineage->count++] = strtoull(at, &end, 10);
        if (end == at) {
            break;
        }
        at = end;
    }
    return at;
}

static bool is_rendered(const struct node_file *file, struct slice text,
                        void (*by)(const struct node_file *file, struct buffer *out))
{
    struct buffer again;
    buffer_init(&again);
    by(file, &again);
    bool same = slice_equal(buffer_slice(&again), text);
    buffer_deinit(&again);
    return same;
}

/* `text` ends with a NUL that is not part of it. False when this is not what render makes. */
static bool parse(struct slice text, struct node_file *ret_file)
{
    struct node_file file = {0};
    char incarnation[ID128_DIGITS + 1] = "";
    char log[8] = "";
    const char *begin = (const char *)text.data;
    int size = 0;
    unsigned version = 0;
    int fields = sscanf(begin,
                        "cohort-node %u id = %" SCNu64 " incarnation = %32s starts = %" SCNu64 " joined = %" SCNu64
                        " between =%n",
                        &version, &file.id, incarnation, &file.lineage.start, &file.lineage.joined, &size);
    if (fields != 5 || size == 0 || sscanf(parse_between(begin + size, &file.lineage), " log = %7s", log) != 1 ||
        !id128_parse(incarnation, &file.incarnation) || id128_is_zero(&file.incarnation) ||
        !lineage_valid(&file.lineage) || file.lineage.start > INT64_MAX) {
        return false;
    }
    file.log_made = strcmp(log, "made") == 0;
    const char *opened = strstr(begin, "\nopened = ");
    file.opened = opened == NULL ? 0 : strtoull(opened + strlen("\nopened = "), NULL, 10);
    const char *workers = strstr(begin, "\nworkers = ");
    file.workers = workers == NULL ? 1 : (uint32_t)strtoul(workers + strlen("\nworkers = "), NULL, 10);
    if (file.opened > file.lineage.start || file.workers == 0 || file.workers > WORKERS_MAXIMUM) {
        return false;
    }
    bool same = is_rendered(&file, text, render) || (version == 1 && is_rendered(&file, text, render_fields));
    *ret_file = same ? file : *ret_file;
    return same;
}

static enum status check(const char *path, struct slice text, uint64_t node_id, struct node_file *ret_file,
                         char ret_message[static NODE_FILE_MESSAGE_BYTES])
{
    unsigned version = 0;
    struct node_file file;
    if (sscanf((const char *)text.data, "cohort-node %u\n", &version) == 1 && version > NODE_FILE_FORMAT) {
        (void)snprintf(ret_message, NODE_FILE_MESSAGE_BYTES,
                       "%.512s was written by a newer version of cohort (format %u); start that version", path,
                       version);
        return STATUS_VERSION;
    }
    if (!parse(text, &file)) {
        (void)snprintf(ret_message, NODE_FILE_MESSAGE_BYTES, "%.512s is damaged", path);
        return STATUS_CORRUPT;
    }
    if (file.id != node_id) {
        (void)snprintf(ret_message, NODE_FILE_MESSAGE_BYTES,
                       "the data folder belongs to node %" PRIu64 ", not to node %" PRIu64
                       " (%.512s); start it with --id %" PRIu64 ", or give another --data",
                       file.id, node_id, path, file.id);
        return STATUS_INVALID;
    }
    *ret_file = file;
    return STATUS_OK;
}

enum status node_file_read(struct env *env, const char *directory, uint64_t node_id, bool *ret_known,
                           struct node_file *ret_file, char ret_message[static NODE_FILE_MESSAGE_BYTES])
{
    char path[PATH_BYTES];
    enum status status = make_path(directory, path, ret_message);
    if (status != STATUS_OK) {
        return status;
    }
    struct buffer text;
    buffer_init(&text);
    status = whole_file_read(env, path, NODE_FILE_BYTES, &text);
    if (status == STATUS_OK || status == STATUS_TOO_LARGE || status == STATUS_INVALID) { /* or no such file of ours */
        *ret_known = true;
        buffer_append_byte(&text, '\0');
        status = check(path, slice_of(text.data, text.size - 1), node_id, ret_file, ret_message);
    } else if (status == STATUS_NOTFOUND) {
        *ret_known = false;
        status = STATUS_OK;
    } else {
        (void)snprintf(ret_message, NODE_FILE_MESSAGE_BYTES, "cannot read %.512s: %s", path, status_text(status));
    }
    buffer_deinit(&text);
    return status;
}
