/* DIR/node: who this data folder belongs to, and how often it was started.
 *
 *   cohort-node 2            (1: without `opened`)
 *   id = 1
 *   incarnation = 32 hexadecimal digits, random: a node that lost its disk comes back with another one
 *   starts = 1794873600000
 *   joined = 1794700800000
 *   between = 1794787200000 1794787300000
 *   log = made
 *   opened = 1794873600000   (not yet, and in folders of older versions)
 *   workers = 2              (when there are more than one)
 *   checksum = 8 hexadecimal digits, the CRC32C of what stands before (in format 1 it may be missing)
 *
 * Invariants
 * 1. The file is there before the log's first file is, so a log without it has lost it.
 * 2. `log = made` is written when the log's first file is durable, and before anything is promised on it: from then on
 * a log that is missing was lost. Before that it says `log = none`.
 * 3. `starts` is larger at each start, and durable before anything else uses it: the previous plus one, or the wall
 *    clock (in ms) where that is more, so that a folder from a backup does not repeat numbers either. What a node
 *    forwards to others carries it (src/cluster), so they can tell a process from its predecessors.
 * 4. `joined` and `between` say which starts were before it on this folder (cluster/lineage.h), so others can tell the
 *    folder from its copies.
 * 5. `opened` is the last start whose logs were opened, and on which something may have been promised. It is durable
 *    before that, and behind the same number in each worker's folder, which so can be told from its copies
 *    (worker_file.h). */
#pragma once

#include "base/id128.h"
#include "cluster/lineage.h"
#include "server/line_file.h"

struct node_file {
    uint64_t id;
    struct id128 incarnation;
    struct lineage lineage; /* of this start */
    bool log_made;
    uint64_t opened;  /* 0: none */
    uint32_t workers; /* each has a log of its own, worker-0 … */
};

enum { NODE_FILE_ANY = 0 }; /* no node has this id */

/* Reads directory/node, of this node or of any; *ret_known tells whether there is one. Everything that is not byte for
 * byte what node_file_write makes, or an older version made, is damage. On failure ret_message says what to do. */
MUST_USE enum status node_file_read(struct env *env, const char *directory, uint64_t node_id, bool *ret_known,
                                    struct node_file *ret_file, char ret_message[static LINE_FILE_MESSAGE_BYTES]);
/* Writes it atomically and durably. */
MUST_USE enum status node_file_write(struct env *env, const char *directory, const struct node_file *file,
                                     char ret_message[static LINE_FILE_MESSAGE_BYTES]);
