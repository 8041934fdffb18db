/* MONITOR: a line for each command, to the clients that asked. */
#pragma once

struct connection;
struct command;

void monitor_feed(struct connection *connection, const struct command *command);
