/* DIR, which this process alone serves: `lock` (held while it runs), `node` (whose it is), `worker-0` … (log and
 * snapshots of each worker).
 */
#pragma once

#include "server/server.h"

/* Makes what is missing, locks it, looks whose it is, and counts this start (server->node_file). On failure ret_message
 * says what to do. */
MUST_USE enum status data_folder_open(struct server *server, char ret_message[static SERVER_MESSAGE_BYTES]);
/* The log's first file is there, durably, and nothing was promised on it yet: notes that it must be there from now on.
 */
MUST_USE enum status data_folder_complete(struct server *server, char ret_message[static SERVER_MESSAGE_BYTES]);
/* The members have this start: notes it. */
void data_folder_joined(struct server *server);
/* Adds to the message of a start that met damage what a person can do; which depends on whether there are others. */
void data_folder_advise(const struct server *server, char message[static SERVER_MESSAGE_BYTES]);
/* A worker's, the caller's to free. */
char *data_folder_of_worker(const char *directory, uint32_t worker);
/* "directory/name", the caller's to free. */
char *data_folder_path(const char *directory, const char *name);
