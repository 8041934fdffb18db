/* DIR/worker-N/start: whose this worker's folder is, and the last start in which its log was opened.
 *
 *   cohort-worker 1
 *   incarnation = 32 hexadecimal digits, that of the data folder
 *   worker = 0
 *   start = 1794873600000
 *   before = 1794787200000   the one before it, as DIR/node said (`opened`); 0: none
 *   checksum = 8 hexadecimal digits, the CRC32C of what stands before
 *
 * A folder of one worker from a backup has its right name and a whole log, and has forgotten what the node promised
 * since. It is told by its start, which is older than the node's.
 *
 * Invariants, once DIR/node has `opened` (node_file.h)
 * 1. A start is durable in all workers' folders before DIR/node has it as `opened`: so a folder with an older one than
 *    that is an older copy.
 * 2. A start that is newer did not come as far as that: it came right after it (`before`), and nothing was promised in
 *    it. If not, DIR/node is the older copy.
 *
 * A copy that was made while the node ran has the number of that start, and is taken until the next one. */
#pragma once

#include "log/folder_name.h"
#include "server/node_file.h"

struct worker_file {
    struct folder_name folder;
    uint64_t start, before;
};

/* Looks whether the folder (`directory`) of this worker is the one that the node left last, by what DIR/node says.
 * INVALID: it is another's, or one of the two is an older copy; CORRUPT: damaged, or missing. Then ret_message says so,
 * and after INVALID what to do. */
MUST_USE enum status worker_file_check(struct env *env, const char *directory, uint32_t worker,
                                       const struct node_file *node, char ret_message[static LINE_FILE_MESSAGE_BYTES]);
/* Writes it atomically and durably. */
MUST_USE enum status worker_file_write(struct env *env, const char *directory, const struct worker_file *file,
                                       char ret_message[static LINE_FILE_MESSAGE_BYTES]);
