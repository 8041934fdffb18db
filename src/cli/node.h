/* Asking one node one question: what the subcommands share of it. */
#pragma once

#include "cli/cli.h"
#include "client/connection.h"

#include <jansson.h>

enum { NODE_PROBLEM_BYTES = CLIENT_ENDPOINT_TEXT_BYTES + 256 };

/* CLI_CONTINUE, or EX_USAGE after an error that it has reported. */
int node_parse_url(const struct cli_command *command, const char *text, struct client_url *ret_url);

/* What a person can do about a connection that failed so, with "; " in front; "": nobody knows. */
const char *node_hint(enum status status);

/* Connects (the connection must be closed), says the password, sends a command (words with one space between) and waits
 * for its reply, all within the timeout. False with a sentence for a person, fit for a terminal, when that failed or
 * the reply is an error. */
bool node_ask(struct client_connection *connection, const struct client_endpoint *endpoint, int64_t timeout_ms,
              const char *question, struct slice *ret_reply, char ret_problem[static NODE_PROBLEM_BYTES]);

/* The same on a connection of its own, with the reply as JSON (see reply_json.h), which the caller releases; NULL with
 * a sentence. May be called from several threads. */
json_t *node_ask_json(const struct client_endpoint *endpoint, int64_t timeout_ms, const char *question,
                      char ret_problem[static NODE_PROBLEM_BYTES]);
