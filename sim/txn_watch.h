/* What nodes say to each other about transactions, read from the bytes that travel: requests that one node forwards to
 * the leader of a shard, their answers, and the log entries that carry them. It changes nothing, and understands what
 * travels in whole frames (the network of a run without splits). */
#pragma once

#include "base/buffer.h"

enum txn_message {
    TXN_MESSAGE_NONE,   /* nothing about transactions */
    TXN_MESSAGE_ASK,    /* a command to a shard's leader */
    TXN_MESSAGE_ANSWER, /* what it answered */
    TXN_MESSAGE_ENTRY,  /* an entry with such commands, to a follower */
    TXN_MESSAGE_STORED, /* a follower has it on its disk */
};

enum { TXN_WATCH_TEXT_BYTES = 96 };

struct txn_watch;

struct txn_watch *txn_watch_create(void);
/* Takes NULL. */
void txn_watch_destroy(struct txn_watch *watch);
/* What one node sends to another; the text says what of transactions is in it: "OPEN, PREPARE", "YES", … */
enum txn_message txn_watch_sent(struct txn_watch *watch, int from, int to, struct slice data,
                                char ret_text[static TXN_WATCH_TEXT_BYTES]);
