/* DIR, which this process alone serves: `lock` (held while it runs), `node` (whose it is), `worker-0` (log, snapshots).
 */
#pragma once

#include "server/server.h"

/* Makes what is missing, locks it, and looks whose it is; an incarnation that stays "" tells that it is new. On failure
 * ret_message says what to do. */
MUST_USE enum status data_folder_open(struct server *server, char ret_message[static SERVER_MESSAGE_BYTES]);
/* "directory/name", the caller's to free. */
char *data_folder_path(const char *directory, const char *name);
