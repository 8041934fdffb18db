/* MONITOR: a line for each command, to the clients that asked. */
#pragma once

#include "base/slice.h"

struct connection;
struct server;
struct command;

/* Shows a line of another worker's. */
void monitor_show(struct server *server, struct slice line);
void monitor_feed(struct connection *connection, const struct command *command);
