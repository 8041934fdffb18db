/* What COMMAND and the HELP subcommands answer: all of it stands in the table, so it needs no server.
 * The shapes are those of Redis 7.0, in both protocols; the texts are ours. */
#pragma once

#include "command/command.h"
#include "wire/resp_writer.h"

/* Answers COMMAND, COMMAND COUNT, DOCS, INFO, LIST, GETKEYS, GETKEYSANDFLAGS, and HELP of any container.
 * Other commands are the programmer's error. */
void command_reply(const struct command *command, struct resp_writer *reply);
