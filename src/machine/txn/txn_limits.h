/* How much of transactions one shard keeps. What is past a limit is refused, and nothing is changed. */
#pragma once

enum {
    TXN_PARTICIPANTS = 1024,           /* of one transaction; as many as there are shards at most */
    TXN_OPEN = 4096,                   /* not DONE, at their home */
    TXN_DONE = 16384,                  /* of Cohort's ids, remembered after they are done */
    TXN_IDS = 65536,                   /* of clients' ids, remembered … */
    TXN_IDS_ASKED = 4096,              /* more of them, that somebody asked about who holds locks for them, … */
    TXN_ID_KEPT_MS = 24 * 3600 * 1000, /* … for so long after they are done, when their OPEN says nothing else: */
    TXN_ID_KEPT_MINIMUM_MS = 60 * 1000,
    TXN_ID_KEPT_MAXIMUM_MS = 7 * 24 * 3600 * 1000,
    TXN_TIMEOUT_MS = 24 * 3600 * 1000, /* the longest time until home's deadline */
    TXN_PARTS = 4096,                  /* prepared in a shard */
    TXN_PART_KEYS = 65536,             /* locked by one */
    TXN_PART_BYTES = 32 << 20,         /* of keys and values kept back by one … */
    TXN_KEYS = 65536,                  /* of one transaction, over all shards: what its client's node refuses … */
    TXN_BYTES = 32 << 20,              /* … of what is said and written, too */
    TXN_PARTS_BYTES = 128 << 20,       /* … and by all */
    TXN_GROWTH_BYTES = 64 << 20,       /* so much larger one may become while its commands run */
    TXN_TOUCHED_BYTES = 513 << 20,     /* of values before that: one of any size, and some more */
    TXN_READ_BYTES = 64 << 20,         /* of values that a transaction takes to the node of its client */
    TXN_VALUES_BYTES = 128 << 20,      /* what it has read and written there */
    TXN_FINISHED = 16384,              /* outcomes of three-phase commit that are remembered until FORGET */
    TXN_REASON_BYTES = 128,            /* why it was aborted */
    TXN_REPLY_BYTES = 4 << 10,         /* of home's replies, kept with a record that was committed by LAST, … */
    TXN_REPLIES_BYTES = 256 << 10,     /* … and with all: those that are DONE lose them first */
    TXN_BRANCHES = 16,                 /* external participants of one transaction */
    TXN_JOINED = 1024,                 /* transactions with some that are not DONE */
    TXN_LABEL_BYTES = 31,              /* of a branch */
    TXN_URL_BYTES = 255,               /* of its resource */
    TXN_EVIDENCE_BYTES = 64,           /* of what its driver needs to find out what became of it */
    TXN_LIST_SEEN = 4096,              /* records that one LIST looks at, roughly */
    TXN_LIST_COUNT = 1000,             /* records in one reply of LIST and PARTS, roughly */
};

/* What is said of one that is past TXN_KEYS or TXN_BYTES. */
#define TXN_TOO_LARGE                                                                                                  \
    "ERR the transaction is larger than one over several shards may be (65536 keys, 32 MiB); it was not executed, "    \
    "send it in parts"
/* What is said of one that is past TXN_READ_BYTES. */
#define TXN_READS_TOO_MUCH                                                                                             \
    "ERR the transaction reads more than 64 MiB of values to move or change them over shards; it was not executed, "   \
    "use less or smaller keys in one"
