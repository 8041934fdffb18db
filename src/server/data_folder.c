/* Start, first part: the data folder. */
#include "server/data_folder.h"

#include "base/number.h"
#include "server/node_file.h"
#include "server/server_state.h"
#include "server/worker_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { OWNER_BYTES = 48 };

char *data_folder_path(const char *directory, const char *name)
{
    struct buffer text;
    buffer_init(&text);
    buffer_append_format(&text, "%s/%s", directory, name);
    buffer_append_byte(&text, '\0');
    return (char *)text.data;
}

char *data_folder_of_worker(const char *directory, uint32_t worker)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "worker-%" PRIu32, worker);
    return data_folder_path(directory, name);
}

static const char *folder_advice(enum status status)
{
    switch (status) {
    case STATUS_NOTFOUND: return "the folder it would be in is not there; make that, or correct --data";
    case STATUS_EXISTS: return "something else has this name; move it away, or give another --data";
    case STATUS_INVALID: return "the name is too long; give another --data";
    case STATUS_DENIED: return "permission denied; give the user that runs cohort the folder, or another --data";
    default: return status_text(status);
    }
}

void data_folder_advise(const struct server *server, char message[static SERVER_MESSAGE_BYTES])
{
    size_t size = strlen(message);
    (void)snprintf(message + size, SERVER_MESSAGE_BYTES - size, "; %s",
                   server->options.founder_count < 2
                       ? "restore the folder from a backup, or start with an empty one"
                       : "the others serve without this node; bring the folder back as the node left it last, but no "
                         "backup: it has forgotten what the node promised since");
}

/* Makes the data folder, and its name as durable as what it will hold. */
static enum status make_folder(struct server *server)
{
    enum status status = env_make_directory(server->env, server->directory);
    if (status != STATUS_OK) {
        return status;
    }
    char *parent = data_folder_path(server->directory, "..");
    status = env_sync_directory(server->env, parent);
    free(parent);
    return status == STATUS_DENIED ? STATUS_OK : status; /* whoever made the folder there has seen to its name */
}

static void note_log_file(void *owner, const char *name)
{
    bool *found = owner;
    size_t size = strlen(name);
    *found = *found || (size > 4 && strcmp(name + size - 4, ".log") == 0);
}

/* The log and the node file vouch for each other (node_file.h): where one of them is missing that was there, data was
 * lost, and an empty or unknown node must not take its place in silence. */
static enum status match_log(struct server *server, const char *folder, bool known,
                             char ret_message[static SERVER_MESSAGE_BYTES])
{
    bool found = false;
    enum status status = env_list_directory(server->env, folder, note_log_file, &found);
    if (status != STATUS_OK) {
        (void)snprintf(ret_message, SERVER_MESSAGE_BYTES, "cannot list %s: %s", folder, status_text(status));
    } else if (known && server->node_file.log_made && !found) {
        status = STATUS_CORRUPT;
        (void)snprintf(ret_message, SERVER_MESSAGE_BYTES,
                       "%s: the files of the log are missing, though this node has had some", folder);
    } else if (!known && found) {
        status = STATUS_CORRUPT;
        (void)snprintf(ret_message, SERVER_MESSAGE_BYTES, "%.440s/node is missing, though %.440s has a log",
                       server->directory, folder);
    }
    return status;
}

/* A worker's folder, made when missing. */
static enum status open_worker_folder(struct server *server, uint32_t worker, bool known,
                                      char ret_message[static SERVER_MESSAGE_BYTES])
{
    char *folder = data_folder_of_worker(server->directory, worker);
    enum status status = env_make_directory(server->env, folder);
    if (status == STATUS_OK) {
        status = env_sync_directory(server->env, server->directory);
    }
    if (status != STATUS_OK) {
        (void)snprintf(ret_message, SERVER_MESSAGE_BYTES, "cannot make %s: %s", folder,
                       status == STATUS_EXISTS ? "a file has this name; move it away" : status_text(status));
    } else {
        status = match_log(server, folder, known, ret_message);
    }
    if (status == STATUS_OK && server->node_file.opened != 0) {
        status = worker_file_check(server->env, folder, worker, &server->node_file, ret_message);
    }
    free(folder);
    return status;
}

/* The shards' logs are in their workers' folders, so their number stays. */
static enum status match_workers(struct server *server, bool known, char ret_message[static SERVER_MESSAGE_BYTES])
{
    if (!known || server->node_file.workers == server->worker_count) {
        return STATUS_OK;
    }
    (void)snprintf(ret_message, SERVER_MESSAGE_BYTES,
                   "the data folder %.600s was made with --workers %" PRIu32 ", not %" PRIu32
                   ", and has a log for each; "
                   "give it that number, or take `workers` from the options and the configuration file",
                   server->directory, server->node_file.workers, server->worker_count);
    return STATUS_INVALID;
}

/* Counts this start, and names a new folder. */
static enum status count_start(struct server *server, bool known, char ret_message[static SERVER_MESSAGE_BYTES])
{
    struct node_file *file = &server->node_file;
    if (!known) {
        *file = (struct node_file){.id = server->options.node_id, .workers = server->worker_count};
        env_random(server->env, &file->incarnation, sizeof(file->incarnation));
    }
    int64_t wall_ms = env_wall_ms(server->env);
    uint64_t start = file->lineage.start + 1;
    lineage_begin(&file->lineage, wall_ms > 0 && (uint64_t)wall_ms > start ? (uint64_t)wall_ms : start);
    if (server->options.founder_count < 2) {
        lineage_join(&file->lineage); /* there are no others to know it */
    }
    id128_format(&file->incarnation, server->incarnation);
    return node_file_write(server->env, server->directory, file, ret_message);
}

/* This start, in each worker's folder. */
static enum status tell_workers(struct server *server, char ret_message[static SERVER_MESSAGE_BYTES])
{
    const struct node_file *node = &server->node_file;
    enum status status = STATUS_OK;
    for (uint32_t worker = 0; worker < server->worker_count && status == STATUS_OK; worker++) {
        char *folder = data_folder_of_worker(server->directory, worker);
        struct worker_file file = {{node->incarnation, worker}, node->lineage.start, node->opened};
        status = worker_file_write(server->env, folder, &file, ret_message);
        free(folder);
    }
    return status;
}

enum status data_folder_complete(struct server *server, char ret_message[static SERVER_MESSAGE_BYTES])
{
    enum status status = tell_workers(server, ret_message);
    if (status != STATUS_OK) {
        return status;
    }
    server->node_file.log_made = true;
    server->node_file.opened = server->node_file.lineage.start;
    return node_file_write(server->env, server->directory, &server->node_file, ret_message);
}

void data_folder_joined(struct server *server)
{
    char message[SERVER_MESSAGE_BYTES] = "";
    lineage_join(&server->node_file.lineage);
    if (node_file_write(server->env, server->directory, &server->node_file, message) != STATUS_OK) {
        env_log(server->env, ENV_LOG_WARNING, "%s", message); /* the start stays among those in between */
    }
}

/* " (process 123)", when whoever has locked the file has written that there. */
static void tell_owner(struct server *server, const char *path, char ret_owner[static OWNER_BYTES])
{
    struct env_file *file;
    char text[ENV_LOCK_OWNER_BYTES] = "";
    size_t size = 0;
    int64_t process = 0;
    ret_owner[0] = '\0';
    if (env_open(server->env, path, ENV_OPEN_READ, &file) != STATUS_OK) {
        return;
    }
    bool is_read = env_read(server->env, file, 0, text, sizeof(text), &size) == STATUS_OK;
    env_close(server->env, file);
    if (is_read && size > 1 && text[size - 1] == '\n' && number_parse_int64(slice_of(text, size - 1), &process)) {
        (void)snprintf(ret_owner, OWNER_BYTES, " (process %" PRId64 ")", process);
    }
}

static enum status lock_folder(struct server *server, char ret_message[static SERVER_MESSAGE_BYTES])
{
    char *path = data_folder_path(server->directory, "lock");
    enum status status = env_lock_file(server->env, path, &server->folder_lock);
    if (status == STATUS_BUSY) {
        char owner[OWNER_BYTES];
        tell_owner(server, path, owner);
        (void)snprintf(ret_message, SERVER_MESSAGE_BYTES,
                       "%s: another process serves this data folder%s; stop it, or take another folder",
                       server->directory, owner);
    } else if (status != STATUS_OK) {
        (void)snprintf(ret_message, SERVER_MESSAGE_BYTES, "%s: %s", server->directory, status_text(status));
    }
    free(path);
    return status;
}

enum status data_folder_open(struct server *server, char ret_message[static SERVER_MESSAGE_BYTES])
{
    struct env *env = server->env;
    enum status status = make_folder(server);
    if (status != STATUS_OK) {
        (void)snprintf(ret_message, SERVER_MESSAGE_BYTES, "cannot make the data folder %s: %s", server->directory,
                       folder_advice(status));
        return status;
    }
    status = lock_folder(server, ret_message);
    if (status != STATUS_OK) {
        return status;
    }
    bool known = false;
    status = node_file_read(env, server->directory, server->options.node_id, &known, &server->node_file, ret_message);
    if (status != STATUS_OK) {
        return status;
    }
    status = match_workers(server, known, ret_message);
    for (uint32_t worker = 0; worker < server->worker_count && status == STATUS_OK; worker++) {
        status = open_worker_folder(server, worker, known, ret_message);
    }
    return status == STATUS_OK ? count_start(server, known, ret_message) : status;
}

uint32_t server_recorded_workers(struct env *env, const char *directory, uint64_t node_id)
{
    char message[SERVER_MESSAGE_BYTES];
    struct node_file file = {0};
    bool known = false;
    enum status status = node_file_read(env, directory, node_id, &known, &file, message);
    return status == STATUS_OK && known ? file.workers : 0;
}
