/* Questions about texts of scripts to other nodes, at the first worker: inside of script_peers.h. */
#pragma once

#include "server/script_peers.h"

/* The numbers travel. */
enum script_note {
    SCRIPT_NOTE_MET,
    SCRIPT_NOTE_FIND,
    SCRIPT_NOTE_GIVE,
    SCRIPT_NOTE_FLUSH,
    SCRIPT_NOTE_TEXT, /* one that was asked for */
    SCRIPT_NOTE_DONE,
};

/* For a worker, which calls it by that number; 0: it does not wait. It hears script_peers_done, perhaps at once. */
void script_asks_begin(struct server *server, uint32_t worker, uint64_t number, enum script_note kind,
                       struct slice bytes);
void script_asks_destroy(struct server *server);

/* ---- of script_peers.c ---- */

/* The answer is there. */
void script_peers_done(struct server *server, uint32_t worker, uint64_t number);
/* A later epoch, here and at the other workers. */
void script_peers_enter(struct server *server, uint64_t epoch, bool forget);
/* A text for a worker that does not have it. */
void script_peers_give(struct server *server, uint32_t worker, struct slice text);
