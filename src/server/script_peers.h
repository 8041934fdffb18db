/* How texts of scripts travel: to the other workers of the node, and between nodes.
 *
 * A command that needs other nodes is parked; its worker asks the first one, which has the connections:
 *   FIND   names that are not known here: each node tells the texts that it has. Over when all names are known
 *   GIVE   a text that SCRIPT LOAD was told
 *   FLUSH  everything is forgotten
 * Each is over at the latest when every node that it was sent to has said DONE or is lost, or after SCRIPT_ASK_MS: then
 * the command goes on with what is known, FIND perhaps to NOSCRIPT. A node that could not be reached by a FLUSH forgets
 * when it is (epochs: script_texts.h); only one that has just met the first other one keeps what it was told before.
 *
 * Notes between nodes (cluster_note): kind u8 · epoch u64 · number u64 · for FIND names of 40 bytes, for GIVE and TEXT
 * the text. A text is believed: nodes trust each other, and its name is made from it anew.
 *
 * Bounded: SCRIPT_ASKS questions of a node at a time, beyond which the command goes on at once; SCRIPT_NAMES names in
 * one of them. */
#pragma once

#include "base/slice.h"
#include "base/status.h"
#include "script/script.h"

#include <stdbool.h>

enum { SCRIPT_ASK_MS = 1000, SCRIPT_ASKS = 1024, SCRIPT_NAMES = 1024 };

struct command;
struct command_spec;
struct connection;
struct resp_writer;
struct server;

/* Makes a text known at all workers of this node; gives its name. */
void script_peers_keep(struct server *server, struct slice text, char ret_sha[static SCRIPT_SHA_BYTES]);
/* Whether it compiles; else the reply says why not. */
bool script_peers_check(struct slice text, struct resp_writer *reply);
bool script_peers_flush_valid(const struct command *command);
/* All nodes forget; nobody waits for them. */
void script_peers_flush(struct server *server);

/* Other nodes must be asked, or told, before this command can go on: park it. */
bool script_peers_wait(struct connection *connection, const struct command *command);
/* It was parked, and the answers are not there. */
bool script_peers_pending(const struct connection *connection);
/* The command was executed, or its client is gone. Takes a connection that waits for nothing. */
void script_peers_end(struct connection *connection);

/* At the first worker: a node has come or gone; a note of one; ten times a second. */
void script_peers_met(struct server *server, uint64_t node, bool up);
MUST_USE enum status script_peers_noted(struct server *server, uint64_t node, struct slice note);
void script_peers_tick(struct server *server);

/* From another worker. */
enum script_tell {
    SCRIPT_TELL_TEXT,  /* epoch, text */
    SCRIPT_TELL_EPOCH, /* epoch, whether to forget */
    SCRIPT_TELL_ASK,   /* to the first: number, kind, what with */
    SCRIPT_TELL_DONE,  /* number */
};
void script_peers_told(struct server *server, uint32_t from, struct slice body);

void script_peers_init(struct server *server);
void script_peers_destroy(struct server *server);
