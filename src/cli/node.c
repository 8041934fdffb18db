#include "cli/node.h"

#include <stdio.h>

int node_parse_url(const struct cli_command *command, const char *text, struct client_url *ret_url)
{
    const char *problem;
    if (client_url_parse(text, ret_url, &problem) != STATUS_OK) {
        return cli_error(command, EX_USAGE, "'%s' is no URL of a cohort: %s", text, problem);
    }
    return CLI_CONTINUE;
}

static const char *hint(enum status status)
{
    switch (status) {
    case STATUS_REFUSED: return "; is `cohort serve` running there?";
    case STATUS_NOTFOUND: return "; there is no host of that name";
    case STATUS_CORRUPT: return "; it does not speak the Redis protocol";
    default: return "";
    }
}

bool node_ask(struct client_connection *connection, const struct client_endpoint *endpoint, int64_t timeout_ms,
              const char *question, struct slice *ret_reply, char ret_problem[static NODE_PROBLEM_BYTES])
{
    int64_t deadline_ns = client_clock_ns() + timeout_ms * 1000000;
    struct slice words[] = {slice_from_string(question)};
    struct slice reply;
    char name[CLIENT_ENDPOINT_TEXT_BYTES];
    client_endpoint_format(endpoint, name);
    enum status status = client_connection_open(connection, endpoint, deadline_ns);
    if (status == STATUS_OK) {
        status = client_connection_call(connection, words, 1, deadline_ns, &reply);
    }
    if (status != STATUS_OK) {
        (void)snprintf(ret_problem, NODE_PROBLEM_BYTES, "no answer from %s: %s%s", name, status_text(status),
                       hint(status));
        return false;
    }
    if (reply.data[0] == '-') {
        (void)snprintf(ret_problem, NODE_PROBLEM_BYTES, "%s refuses %s: %.*s", name, question, (int)(reply.size - 3),
                       (const char *)reply.data + 1);
        return false;
    }
    *ret_reply = reply;
    return true;
}
