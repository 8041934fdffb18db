#include "cli/dev_ready.h"

#include <stdio.h>

enum { ASK_TIMEOUT_MS = 200 };

static bool contains(struct slice text, const char *word)
{
    return memmem(text.data, text.size, word, strlen(word)) != NULL;
}

bool dev_ready(int port, char ret_why[static NODE_PROBLEM_BYTES])
{
    struct client_endpoint endpoint = {.host = "127.0.0.1", .port = port};
    struct client_connection connection;
    struct slice reply;
    client_connection_init(&connection);
    bool ready = node_ask(&connection, &endpoint, ASK_TIMEOUT_MS, "CLUSTER INFO", &reply, ret_why);
    if (!ready) {
        ready = strstr(ret_why, " refuses CLUSTER INFO: NOAUTH ") != NULL ||
                strstr(ret_why, " refuses AUTH: WRONGPASS ") != NULL;
    } else if (!contains(reply, "cluster_state:ok")) {
        (void)snprintf(ret_why, NODE_PROBLEM_BYTES, "127.0.0.1:%d does not know a leader for every shard yet", port);
        ready = false;
    }
    client_connection_deinit(&connection);
    return ready;
}
