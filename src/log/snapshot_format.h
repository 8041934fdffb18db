/* The bytes of a snapshot file. Integers are little-endian.
 *
 *   offset size  header
 *   0      8     magic "COHORTSN"
 *   8      4     format version: 3
 *   12     4     CRC32C of the first 64 bytes, with this field zero, and extra
 *   16     4     group
 *   20     4     size of extra, up to 64 KiB
 *   24     8     index        the last entry whose effects are in here, and its term
 *   32     8     term
 *   40     8     time_ms      applied times
 *   48     8     wall_ms
 *   56     8     hash seed
 *   64     16    incarnation of the data folder it belongs to
 *   80     4     worker to whose folder it belongs
 *   84     4     CRC32C of these two: of their own, as a snapshot that travels to another node comes to belong there
 *   88           extra
 * (Bytes 0 to 24 mean the same in every later version.)
 *
 *   offset size  block
 *   0      4     magic "SBLK"
 *   4      4     CRC32C of all that follows
 *   8      8     number: 1, 2, 3, …
 *   16     4     size of the body
 *   20     4     zero
 *   24           body: records, each a varint size and so many bytes
 *
 *   offset size  trailer, the last bytes of the file
 *   0      4     magic "STRL"
 *   4      4     CRC32C of the other 24 bytes
 *   8      8     number of blocks
 *   16     8     size of all bodies
 *   24     4     CRC32C over the CRC32Cs of the header and of each block, in order
 *   28     4     zero */
#pragma once

#include "base/varint.h"
#include "log/snapshot.h"

enum {
    SNAPSHOT_FORMAT_VERSION = 3,
    SNAPSHOT_FOLDER_AT = 64,
    SNAPSHOT_FOLDER_BYTES = 24, /* with its checksum */
    SNAPSHOT_HEADER_BYTES = 88,
    SNAPSHOT_EXTRA_BYTES = 64 * 1024,
    SNAPSHOT_BLOCK_HEADER_BYTES = 24,
    SNAPSHOT_TRAILER_BYTES = 32,
    SNAPSHOT_PATH_BYTES = 1024,
};

/* A block larger than this is no block: 1 GiB of records and a little. */
#define SNAPSHOT_MAXIMUM_BLOCK_BYTES ((1u << 30) + (64u << 20))

enum snapshot_fault { SNAPSHOT_OK, SNAPSHOT_MAGIC, SNAPSHOT_SHORT, SNAPSHOT_CHECKSUM, SNAPSHOT_VERSION };

struct snapshot_block {
    uint64_t number;
    uint32_t body_size, crc;
};

struct snapshot_trailer {
    uint64_t blocks, bytes;
    uint32_t crc;
};

/* Appends header and extra; *chain is the first link of the trailer's checksum. */
void snapshot_format_put_header(struct buffer *out, const struct snapshot_meta *meta, uint32_t *chain);
void snapshot_format_put_folder(uint8_t at[SNAPSHOT_FOLDER_BYTES], const struct folder_name *folder);
/* The extra in ret_meta is borrowed from bytes. */
enum snapshot_fault snapshot_format_take_header(struct slice bytes, struct snapshot_meta *ret_meta, uint32_t *chain);

void snapshot_format_put_block(uint8_t at[SNAPSHOT_BLOCK_HEADER_BYTES], uint64_t number, struct slice body,
                               uint32_t *chain);
/* bytes: SNAPSHOT_BLOCK_HEADER_BYTES or more. */
bool snapshot_format_take_block(struct slice bytes, struct snapshot_block *ret_block);
/* bytes: header and body. */
bool snapshot_format_check_block(struct slice bytes, const struct snapshot_block *block, uint32_t *chain);

void snapshot_format_put_trailer(uint8_t at[SNAPSHOT_TRAILER_BYTES], const struct snapshot_trailer *trailer);
bool snapshot_format_take_trailer(struct slice bytes, struct snapshot_trailer *ret_trailer);

/* "<directory>/snapshot-<group>-<index>.snap" and the temporary name. */
void snapshot_format_path(const char *directory, uint32_t group, uint64_t index, const char *suffix,
                          char path[SNAPSHOT_PATH_BYTES]);
enum snapshot_name { SNAPSHOT_NAME_OTHER, SNAPSHOT_NAME_COMPLETE, SNAPSHOT_NAME_TEMPORARY };
enum snapshot_name snapshot_format_parse_name(const char *name, uint32_t *ret_group, uint64_t *ret_index);
