/* DIR, which this process alone serves: `lock` (held while it runs), `node` (whose it is), `worker-0` … (log and
 * snapshots of each worker, and its last start).
 */
#pragma once

#include "server/server.h"

/* Makes what is missing, locks it, looks whose it is, and counts this start (server->node_file). On failure ret_message
 * says what to do. */
MUST_USE enum status data_folder_open(struct server *server, char ret_message[static SERVER_MESSAGE_BYTES]);
/* The logs are open, so they are of this folder and their first files are there, durably; nothing was promised on them
 * in this start yet. Notes that they must be there from now on, and this start in each worker's folder. */
MUST_USE enum status data_folder_complete(struct server *server, char ret_message[static SERVER_MESSAGE_BYTES]);
/* The members have this start: notes it. */
void data_folder_joined(struct server *server);
/* Adds to the message of a start that met damage what a person can do; which depends on whether there are others. */
void data_folder_advise(const struct server *server, char message[static SERVER_MESSAGE_BYTES]);
/* A worker's, the caller's to free. */
char *data_folder_of_worker(const char *directory, uint32_t worker);
/* "directory/name", the caller's to free. */
char *data_folder_path(const char *directory, const char *name);
