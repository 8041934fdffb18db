/* Snapshot files: any bytes are refused, with a message, or load; what loads is what the bytes say; and a file that
 * loads does not load any more when one bit of it is another.
 *
 * The first byte chooses how the rest is meant: as a whole file, or as the extra and bodies of blocks, which get the
 * checksums, header and trailer that they need to be looked at; its bit 6 makes the header that of another
 * folder, with bit 5 of another worker of the node. */
#include "../unit/log/disk_env.h"
#include "fuzz.h"
#include "log/snapshot_format.h"

#include <stdlib.h>

static const struct folder_name mine = {{{1}}, 0}, others[] = {{{{2}}, 0}, {{{1}}, 1}};

struct loading {
    uint64_t records, bytes;
};

static enum status take_header(void *owner, const struct snapshot_meta *meta)
{
    return meta->group == 141 ? STATUS_VERSION : STATUS_OK;
}

static enum status take_record(void *owner, struct slice record)
{
    struct loading *loading = owner;
    loading->records++;
    loading->bytes += record.size;
    return record.size == 77 ? STATUS_INVALID : STATUS_OK;
}

/* Returns whether the file is of another folder. */
static bool make_file(struct buffer *file, struct slice input)
{
    uint8_t how = fuzz_take_byte(&input);
    bool foreign = (how & 0x40) != 0;
    if (how % 4 == 0) {
        buffer_append_slice(file, input);
        return false;
    }
    size_t extra = fuzz_take_byte(&input);
    extra = extra < input.size ? extra : input.size;
    struct snapshot_meta meta = {.group = how,
                                 .index = 5,
                                 .term = 2,
                                 .folder = foreign ? others[how >> 5 & 1] : mine,
                                 .extra = {input.data, extra}};
    struct snapshot_trailer trailer = {0};
    snapshot_format_put_header(file, &meta, &trailer.crc);
    input = slice_of(input.data + extra, input.size - extra);
    while (input.size > 0) {
        size_t size = (size_t)fuzz_take_byte(&input) * (how % 4);
        size = size < input.size ? size : input.size;
        uint8_t *at = buffer_reserve(file, SNAPSHOT_BLOCK_HEADER_BYTES + size);
        struct slice body = slice_of(input.data, size);
        snapshot_format_put_block(at, ++trailer.blocks, body, &trailer.crc);
        file->size += SNAPSHOT_BLOCK_HEADER_BYTES;
        buffer_append_slice(file, body);
        trailer.bytes += size;
        input = slice_of(input.data + size, input.size - size);
    }
    snapshot_format_put_trailer(buffer_reserve(file, SNAPSHOT_TRAILER_BYTES), &trailer);
    file->size += SNAPSHOT_TRAILER_BYTES;
    return foreign;
}

static enum status load(struct env *env)
{
    struct loading loading = {0};
    struct snapshot_meta meta;
    struct buffer extra;
    buffer_init(&extra);
    char message[512] = "";
    enum status status =
        snapshot_load(env, "s", &mine, take_header, take_record, &loading, &meta, &extra, message, 512);
    ASSERT(status == STATUS_OK || strlen(message) > 10);
    ASSERT(status != STATUS_OK || meta.extra.size == extra.size);
    ASSERT(extra.size <= SNAPSHOT_EXTRA_BYTES);
    buffer_deinit(&extra);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer bytes;
    buffer_init(&bytes);
    bool foreign = make_file(&bytes, slice_of(data, size));
    struct sim_disk *disk = sim_disk_create(1);
    struct disk_env env;
    disk_env_init(&env, disk);
    struct env_file *file;
    struct iovec part = {bytes.data, bytes.size};
    ASSERT(sim_disk_open(disk, "s", ENV_OPEN_WRITE | ENV_OPEN_CREATE, &file) == STATUS_OK);
    ASSERT(sim_disk_write(disk, file, 0, &part, 1) == STATUS_OK);
    sim_disk_close(disk, file);
    if (load(&env.env) == STATUS_OK) {
        ASSERT(!foreign);
        ASSERT(sim_disk_flip(disk, "s", size * 2654435761u % bytes.size, data[size - 1] % 8) == STATUS_OK);
        ASSERT(load(&env.env) != STATUS_OK);
    }
    sim_disk_destroy(disk);
    buffer_deinit(&bytes);
    return 0;
}
