#include "server/node_file.h"

#include <inttypes.h>
#include <stdio.h>

enum { PATH_BYTES = 4096, NODE_FILE_BYTES = 4096 };

void make_hex(struct env *env, char *at, size_t digits)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < digits; i++) {
        uint8_t byte = 0;
        env_random(env, &byte, 1);
        at[i] = hex[byte & 15];
    }
    at[digits] = '\0';
}

enum status file_read(struct env *env, const char *path, size_t limit, struct buffer *out)
{
    struct env_file *file = NULL;
    enum status status = env_open(env, path, ENV_OPEN_READ, &file);
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t size = 0;
    status = env_size(env, file, &size);
    if (status == STATUS_OK && size > limit) {
        status = STATUS_TOO_LARGE;
    }
    if (status == STATUS_OK) {
        size_t got = 0;
        status = env_read(env, file, 0, buffer_reserve(out, (size_t)size + 1), (size_t)size, &got);
        out->size += status == STATUS_OK ? got : 0;
    }
    env_close(env, file);
    return status;
}

enum status file_replace(struct env *env, const char *directory, const char *path, struct slice content)
{
    char temporary[PATH_BYTES];
    if (snprintf(temporary, sizeof(temporary), "%s.tmp", path) >= (int)sizeof(temporary)) {
        return STATUS_TOO_LARGE;
    }
    struct env_file *file = NULL;
    enum status status = env_open(env, temporary, ENV_OPEN_WRITE | ENV_OPEN_CREATE | ENV_OPEN_TRUNCATE, &file);
    if (status != STATUS_OK) {
        return status;
    }
    struct iovec part = {(void *)(uintptr_t)content.data, content.size};
    status = env_write(env, file, 0, &part, 1);
    if (status == STATUS_OK) {
        status = env_sync(env, file);
    }
    env_close(env, file);
    if (status == STATUS_OK) {
        status = env_rename(env, temporary, path);
    }
    if (status == STATUS_OK) {
        status = env_sync_directory(env, directory);
    }
    return status;
}

static enum status make_path(const char *directory, char path[static PATH_BYTES],
                             char ret_message[static SERVER_MESSAGE_BYTES])
{
    if (snprintf(path, PATH_BYTES, "%s/node", directory) < PATH_BYTES) {
        return STATUS_OK;
    }
    (void)snprintf(ret_message, SERVER_MESSAGE_BYTES, "the data folder's path is longer than %d bytes", PATH_BYTES);
    return STATUS_TOO_LARGE;
}

enum status node_file_make(struct env *env, const char *directory, uint64_t node_id,
                           char ret_incarnation[static INCARNATION_DIGITS + 1],
                           char ret_message[static SERVER_MESSAGE_BYTES])
{
    char path[PATH_BYTES];
    enum status status = make_path(directory, path, ret_message);
    if (status != STATUS_OK) {
        return status;
    }
    char text[NODE_FILE_BYTES];
    make_hex(env, ret_incarnation, INCARNATION_DIGITS);
    int size =
        snprintf(text, sizeof(text), "cohort-node 1\nid = %" PRIu64 "\nincarnation = %s\n", node_id, ret_incarnation);
    status = file_replace(env, directory, path, slice_of(text, (size_t)size));
    if (status != STATUS_OK) {
        (void)snprintf(ret_message, SERVER_MESSAGE_BYTES, "cannot write %.512s: %s", path, status_text(status));
    }
    return status;
}

static enum status node_file_check(const char *path, const char *text, uint64_t node_id,
                                   char ret_incarnation[static INCARNATION_DIGITS + 1],
                                   char ret_message[static SERVER_MESSAGE_BYTES])
{
    unsigned version = 0;
    uint64_t id = 0;
    char incarnation[INCARNATION_DIGITS + 1] = "";
    int fields =
        sscanf(text, "cohort-node %u\nid = %" SCNu64 "\nincarnation = %32[0-9a-f]\n", &version, &id, incarnation);
    if (fields >= 1 && version > 1) {
        (void)snprintf(ret_message, SERVER_MESSAGE_BYTES,
                       "%.512s was written by a newer version of cohort (format %u); start that version", path,
                       version);
        return STATUS_VERSION;
    }
    if (fields != 3 || strlen(incarnation) != INCARNATION_DIGITS) {
        (void)snprintf(ret_message, SERVER_MESSAGE_BYTES,
                       "%.512s is damaged; restore it from a backup, or start with an empty data folder", path);
        return STATUS_CORRUPT;
    }
    if (id != node_id) {
        (void)snprintf(ret_message, SERVER_MESSAGE_BYTES,
                       "the data folder belongs to node %" PRIu64 ", not to node %" PRIu64
                       " (%.512s); start it with --id %" PRIu64 ", or give another --data",
                       id, node_id, path, id);
        return STATUS_INVALID;
    }
    memcpy(ret_incarnation, incarnation, sizeof(incarnation));
    return STATUS_OK;
}

enum status node_file_read(struct env *env, const char *directory, uint64_t node_id, bool *ret_known,
                           char ret_incarnation[static INCARNATION_DIGITS + 1],
                           char ret_message[static SERVER_MESSAGE_BYTES])
{
    char path[PATH_BYTES];
    enum status status = make_path(directory, path, ret_message);
    if (status != STATUS_OK) {
        return status;
    }
    struct buffer text;
    buffer_init(&text);
    status = file_read(env, path, NODE_FILE_BYTES, &text);
    if (status == STATUS_OK || status == STATUS_TOO_LARGE || status == STATUS_INVALID) { /* or no such file of ours */
        *ret_known = true;
        buffer_append_byte(&text, '\0');
        status = node_file_check(path, (const char *)text.data, node_id, ret_incarnation, ret_message);
    } else if (status == STATUS_NOTFOUND) {
        *ret_known = false;
        status = STATUS_OK;
    } else {
        (void)snprintf(ret_message, SERVER_MESSAGE_BYTES, "cannot read %.512s: %s", path, status_text(status));
    }
    buffer_deinit(&text);
    return status;
}
