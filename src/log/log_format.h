/* The bytes of the log. Integers are little-endian.
 *
 * A segment file: one header page, then blocks without gaps, then zeros up to the preallocated size (and beyond it only
 * when one record is larger than a segment).
 *
 *   offset size  segment header (the rest of the first 4096 bytes is zero)
 *   0      8     magic "COHORTWL"
 *   8      4     format version: 3
 *   12     4     CRC32C of the first 64 bytes with this field zero
 *   16     8     number of the segment, as in its name
 *   24     8     salt, random: seeds every other checksum of the file
 *   32     8     preallocated size of the file, which is never shorter: it gets its name when it has this size
 *   40     16    incarnation of the data folder it belongs to
 *   56     4     worker to whose folder it belongs
 *   60     4     zero
 *
 *   offset size  block: what one flush wrote (or a part of it); starts at a multiple of 8
 *   0      4     magic
 *   4      4     CRC32C, salted, of the other 40 bytes of this header
 *   8      8     number of the segment
 *   16     8     sequence: 1, 2, 3, … in each segment
 *   24     8     synced: this many blocks of this segment were on stable storage when this one was written
 *   32     8     previous: how many blocks the segment before this one has (all synced before this one was written)
 *   40     4     size of the body, a multiple of 8; 0 in a mark, which is written only for what its header states
 *   44     4     CRC32C, salted, of the body
 *   48           body: records, then 0 to 7 zero bytes
 *
 *   offset size  record
 *   0      4     CRC32C, salted, of all that follows
 *   4      4     size of the payload
 *   8      4     group
 *   12     1     type (enum log_record_type)
 *   13     1     kind of an entry, else 0
 *   14     2     zero
 *   16     8     a: entry: index; hard state: term; trim: index; checkpoint: number of groups
 *   24     8     b: entry: term; hard state: vote; trim: term; checkpoint: 0
 *   32           payload: entry: the owner's bytes; hard state: committed (8); checkpoint: 56 bytes for each group:
 *                group (4), zero (4), term, vote, committed, trimmed, term of trimmed, last (8 each)
 *
 * The first record of each segment is a checkpoint, so that segments before it are needed for entries only.
 *
 * Salt: bytes that a user stored (a copy of a log file, say) can never pass for a block of this log.
 *
 * Why header and body have checksums of their own: a header alone is enough to prove what was synced, and a search for
 * headers costs nothing for a body that only looks like one. */
#pragma once

#include "base/slice.h"
#include "base/varint.h"
#include "log/folder_name.h"

enum {
    LOG_FORMAT_VERSION = 3,
    LOG_SEGMENT_HEADER_BYTES = 64,
    LOG_SEGMENT_START = 4096, /* where blocks begin */
    LOG_BLOCK_HEADER_BYTES = 48,
    LOG_BLOCK_ALIGNMENT = 8,
    LOG_RECORD_HEADER_BYTES = 32,
    LOG_CHECKPOINT_GROUP_BYTES = 56,
    LOG_NAME_BYTES = 32, /* of a segment file, with NUL */
};

#define LOG_BLOCK_MAGIC 0x4b4c4243u /* "CBLK" */

enum log_record_type {
    LOG_RECORD_ENTRY = 1,
    LOG_RECORD_HARD_STATE = 2,
    LOG_RECORD_TRIM = 3,
    LOG_RECORD_CHECKPOINT = 4,
};

struct log_segment_header {
    uint64_t number, salt, size;
    struct folder_name folder;
};

enum log_header_fault { LOG_HEADER_OK, LOG_HEADER_MAGIC, LOG_HEADER_CHECKSUM, LOG_HEADER_VERSION };

struct log_block_header {
    uint64_t segment, sequence, synced, previous;
    uint32_t body_size, body_crc;
};

struct log_record {
    uint32_t group;
    uint8_t type, kind;
    uint64_t a, b;
    struct slice payload;
};

/* The start value of a segment's checksums. */
uint32_t log_format_seed(uint64_t salt);

void log_format_put_segment(uint8_t at[LOG_SEGMENT_HEADER_BYTES], const struct log_segment_header *header);
/* bytes may be short: that is LOG_HEADER_MAGIC. */
enum log_header_fault log_format_take_segment(struct slice bytes, struct log_segment_header *ret_header);

void log_format_put_block(uint8_t at[LOG_BLOCK_HEADER_BYTES], uint32_t seed, const struct log_block_header *header);
uint32_t log_format_body_crc(struct slice body, uint32_t seed);
/* True when these bytes begin with a header that this segment's writer made. */
bool log_format_take_block(struct slice bytes, uint32_t seed, uint64_t segment, struct log_block_header *ret_header);
/* The body after a header, when it is all there and undamaged. */
bool log_format_take_body(struct slice bytes, uint32_t seed, const struct log_block_header *header,
                          struct slice *ret_body);

/* Writes the header of a record whose payload follows at `at` + LOG_RECORD_HEADER_BYTES (in place already); returns the
 * size of the whole. */
size_t log_format_put_record(uint8_t *at, uint32_t seed, const struct log_record *record);
/* Takes the record in front; false when it is damaged. ret_size is its whole size. */
bool log_format_take_record(struct slice bytes, uint32_t seed, struct log_record *ret_record, size_t *ret_size);

/* "0000000000000001.log" */
void log_format_name(uint64_t number, char name[LOG_NAME_BYTES]);
/* False for any other name. */
bool log_format_parse_name(const char *name, uint64_t *ret_number);
