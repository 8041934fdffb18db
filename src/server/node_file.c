#include "server/node_file.h"

#include "cluster/workers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODE_FILE_FORMAT = 2 };

static void render(const void *of, struct buffer *out)
{
    const struct node_file *file = of;
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

static bool parse(const char *begin, void *ret_file)
{
    struct node_file file = {0};
    char incarnation[ID128_DIGITS + 1] = "";
    char log[8] = "";
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
    *(struct node_file *)ret_file = file;
    return file.opened <= file.lineage.start && file.workers != 0 && file.workers <= WORKERS_MAXIMUM;
}

static const struct line_file_kind kind = {
    .name = "node",
    .word = "cohort-node",
    .format = NODE_FILE_FORMAT,
    .bare = 1,
    .limit_bytes = 4096,
    .render = render,
    .parse = parse,
};

enum status node_file_write(struct env *env, const char *directory, const struct node_file *file,
                            char ret_message[static LINE_FILE_MESSAGE_BYTES])
{
    return line_file_write(env, &kind, directory, file, ret_message);
}

enum status node_file_read(struct env *env, const char *directory, uint64_t node_id, bool *ret_known,
                           struct node_file *ret_file, char ret_message[static LINE_FILE_MESSAGE_BYTES])
{
    char path[LINE_FILE_PATH_BYTES];
    struct node_file file;
    enum status status = line_file_path(&kind, directory, path, ret_message);
    if (status == STATUS_OK) {
        status = line_file_read(env, &kind, path, &file, ret_message);
    }
    if (status == STATUS_NOTFOUND) {
        *ret_known = false;
        return STATUS_OK;
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (node_id != NODE_FILE_ANY && file.id != node_id) {
        (void)snprintf(ret_message, LINE_FILE_MESSAGE_BYTES,
                       "the data folder belongs to node %" PRIu64 ", not to node %" PRIu64
                       " (%.512s); start it with --id %" PRIu64 ", or give another --data",
                       file.id, node_id, path, file.id);
        return STATUS_INVALID;
    }
    *ret_known = true;
    *ret_file = file;
    return STATUS_OK;
}
