#include "cli/node.h"

#include "base/assert.h"
#include "base/printable.h"
#include "cli/password.h"
#include "cli/reply_json.h"

#include <stdio.h>

enum { NODE_SHOWN_BYTES = 192 /* of an error reply */, NODE_WORDS = 4 };

int node_parse_url(const struct cli_command *command, const char *text, struct client_url *ret_url)
{
    const char *problem;
    if (client_url_parse(text, ret_url, &problem) != STATUS_OK) {
        return cli_error(command, EX_USAGE, "'%s' is no URL of a cohort: %s", text, problem);
    }
    return CLI_CONTINUE;
}

const char *node_hint(enum status status)
{
    switch (status) {
    case STATUS_REFUSED: return "; is `cohort serve` running there?";
    case STATUS_NOTFOUND: return "; there is no host of that name";
    case STATUS_CORRUPT: return "; it does not speak the Redis protocol";
    default: return "";
    }
}

/* A connection that is open, with what its errors are told about. */
struct call {
    struct client_connection *connection;
    const char *question;
    int64_t deadline_ns;
    char name[CLIENT_ENDPOINT_TEXT_BYTES];
    char *problem;
};

static bool fail(const struct call *call, enum status status)
{
    (void)snprintf(call->problem, NODE_PROBLEM_BYTES, "no answer from %s: %s%s", call->name, status_text(status),
                   node_hint(status));
    return false;
}

static bool refused(const struct call *call, const char *question, struct slice reply)
{
    char shown[NODE_SHOWN_BYTES];
    struct slice words = slice_of(reply.data + 1, reply.size - 3);
    const char *about_password = password_problem(words);
    (void)printable_copy(about_password == NULL ? words : slice_from_string(about_password), shown, sizeof(shown));
    (void)snprintf(call->problem, NODE_PROBLEM_BYTES, "%s refuses %s: %s", call->name, question, shown);
    return false;
}

static bool open_call(struct call *call, const struct client_endpoint *endpoint)
{
    client_endpoint_format(endpoint, call->name);
    enum status status = client_connection_open(call->connection, endpoint, call->deadline_ns);
    struct slice reply = SLICE_LITERAL("+");
    if (status == STATUS_OK) {
        status = password_say(call->connection, call->deadline_ns, &reply);
    }
    if (status != STATUS_OK) {
        return fail(call, status);
    }
    return reply.data[0] != '-' || refused(call, "AUTH", reply);
}

/* `question`: words with one space between them. */
static bool ask(const struct call *call, const char *question, struct slice *ret_reply)
{
    struct slice words[NODE_WORDS];
    size_t count = 0;
    for (const char *word = question; word != NULL;) {
        ASSERT(count < NODE_WORDS);
        const char *end = strchrnul(word, ' ');
        words[count++] = slice_of(word, (size_t)(end - word));
        word = *end == '\0' ? NULL : end + 1;
    }
    enum status status = client_connection_call(call->connection, words, count, call->deadline_ns, ret_reply);
    if (status != STATUS_OK) {
        return fail(call, status);
    }
    return ret_reply->data[0] != '-' || refused(call, call->question, *ret_reply);
}

static struct call new_call(struct client_connection *connection, int64_t timeout_ms, const char *question,
                            char *ret_problem)
{
    return (struct call){.connection = connection,
                         .question = question,
                         .deadline_ns = client_clock_ns() + timeout_ms * 1000000,
                         .problem = ret_problem};
}

bool node_ask(struct client_connection *connection, const struct client_endpoint *endpoint, int64_t timeout_ms,
              const char *question, struct slice *ret_reply, char ret_problem[static NODE_PROBLEM_BYTES])
{
    struct call call = new_call(connection, timeout_ms, question, ret_problem);
    struct slice reply;
    if (!open_call(&call, endpoint) || !ask(&call, question, &reply)) {
        return false;
    }
    *ret_reply = reply;
    return true;
}

json_t *node_ask_json(const struct client_endpoint *endpoint, int64_t timeout_ms, const char *question,
                      char ret_problem[static NODE_PROBLEM_BYTES])
{
    struct client_connection connection;
    client_connection_init(&connection);
    struct call call = new_call(&connection, timeout_ms, question, ret_problem);
    struct slice reply;
    json_t *json = NULL;
    /* RESP3 tells maps from arrays. */
    if (open_call(&call, endpoint) && ask(&call, "HELLO 3", &reply) && ask(&call, question, &reply)) {
        enum status status = reply_json(reply, &json);
        if (status != STATUS_OK) {
            (void)fail(&call, status);
        }
    }
    client_connection_deinit(&connection);
    return json;
}
