#include "sim_content.h"

#include "base/assert.h"

#include <stdlib.h>

void sim_content_init(struct sim_content *content) { *content = (struct sim_content){0}; }

static void drop_changes(struct sim_content *content)
{
    for (size_t i = 0; i < content->count; i++) {
        free(content->changes[i].data);
    }
    content->count = 0;
}

void sim_content_deinit(struct sim_content *content)
{
    drop_changes(content);
    free(content->changes);
    buffer_deinit(&content->cache);
    buffer_deinit(&content->disk);
}

static void resize(struct buffer *bytes, uint64_t size)
{
    if (size > bytes->size) {
        memset(buffer_reserve(bytes, size - bytes->size), 0, size - bytes->size);
    }
    bytes->size = size;
}

static void apply(struct buffer *bytes, const struct sim_change *change)
{
    if (change->data == NULL) {
        resize(bytes, change->offset);
        return;
    }
    if (bytes->size < change->offset + change->size) {
        resize(bytes, change->offset + change->size);
    }
    memcpy(bytes->data + change->offset, change->data, change->size);
}

static void add(struct sim_content *content, struct sim_change change)
{
    if (content->count == content->capacity) {
        content->capacity = content->capacity == 0 ? 8 : content->capacity * 2;
        content->changes = realloc(content->changes, content->capacity * sizeof(content->changes[0]));
        ASSERT(content->changes != NULL);
    }
    content->changes[content->count++] = change;
    apply(&content->cache, &change);
}

void sim_content_write(struct sim_content *content, uint64_t offset, const void *data, size_t size)
{
    if (size == 0) {
        return;
    }
    uint8_t *copy = malloc(size);
    ASSERT(copy != NULL);
    memcpy(copy, data, size);
    add(content, (struct sim_change){.offset = offset, .data = copy, .size = size});
}

void sim_content_truncate(struct sim_content *content, uint64_t size)
{
    add(content, (struct sim_change){.offset = size});
}

void sim_content_sync(struct sim_content *content)
{
    for (size_t i = 0; i < content->count; i++) {
        apply(&content->disk, &content->changes[i]);
    }
    drop_changes(content);
}

void sim_content_reload(struct sim_content *content)
{
    content->cache.size = 0;
    buffer_append(&content->cache, content->disk.data, content->disk.size);
}

/* How the unsynced changes of one file meet their fate. */
enum fate { FATE_LOST, FATE_KEPT, FATE_PREFIX, FATE_EACH_SECTOR, FATE_ALL_OR_NOTHING, FATES };

struct settling {
    enum fate fate;
    uint64_t seed;  /* of the draws for each sector */
    size_t cut;     /* FATE_PREFIX: this many changes */
    size_t changes; /* in all */
    bool tears;     /* sectors may be torn inside */
};

/* How many of the changes a sector has seen. */
static size_t changes_seen(const struct settling *settling, uint64_t sector, struct prng *ret_prng)
{
    prng_seed(ret_prng, settling->seed ^ (sector * 0x9e3779b97f4a7c15ULL));
    switch (settling->fate) {
    case FATE_LOST: return 0;
    case FATE_KEPT: return settling->changes;
    case FATE_PREFIX: return settling->cut;
    case FATE_EACH_SECTOR: return prng_below(ret_prng, settling->changes + 1);
    case FATE_ALL_OR_NOTHING: return prng_chance(ret_prng, 1, 2) ? settling->changes : 0;
    case FATES: break;
    }
    UNREACHABLE();
}

/* Brings the part of a change that lies in [begin, end) to the disk; only its first bytes when torn. */
static void apply_to_sector(struct buffer *disk, const struct sim_change *change, uint64_t begin, uint64_t end,
                            bool torn, struct prng *prng)
{
    uint64_t from = change->offset > begin ? change->offset : begin;
    uint64_t to = change->data == NULL ? end : change->offset + change->size;
    to = to < end ? to : end;
    if (from >= to) {
        return;
    }
    if (torn) {
        to = from + prng_below(prng, to - from);
    }
    if (change->data == NULL) {
        memset(disk->data + from, 0, to - from);
    } else {
        memcpy(disk->data + from, change->data + (from - change->offset), to - from);
    }
}

static void settle_sector(struct sim_content *content, const struct settling *settling, uint64_t begin, uint64_t end,
                          uint64_t sector)
{
    struct prng prng;
    size_t seen = changes_seen(settling, sector, &prng);
    bool torn = settling->tears && seen < content->count && prng_chance(&prng, 1, 4);
    for (size_t i = 0; i < seen + (torn ? 1 : 0); i++) {
        apply_to_sector(&content->disk, &content->changes[i], begin, end, i == seen, &prng);
    }
}

void sim_content_settle(struct sim_content *content, struct prng *prng, size_t sector_bytes)
{
    struct settling settling = {
        .fate = (enum fate)prng_below(prng, FATES),
        .seed = prng_next(prng),
        .cut = prng_below(prng, content->count + 1),
        .changes = content->count,
        .tears = prng_chance(prng, 1, 2),
    };
    /* The size is one that the file had; lengths are ordered by the journal even where data is not. */
    size_t sizes_seen = changes_seen(&settling, UINT64_MAX, &(struct prng){{0}});
    uint64_t size = content->disk.size;
    uint64_t largest = size;
    for (size_t i = 0; i < content->count; i++) {
        const struct sim_change *change = &content->changes[i];
        uint64_t end = change->offset + change->size;
        largest = end > largest ? end : largest;
        if (i < sizes_seen) {
            size = change->data == NULL || end > size ? end : size;
        }
    }
    resize(&content->disk, largest);
    for (uint64_t begin = 0; content->count > 0 && begin < largest; begin += sector_bytes) {
        uint64_t end = begin + sector_bytes < largest ? begin + sector_bytes : largest;
        settle_sector(content, &settling, begin, end, begin / sector_bytes);
    }
    resize(&content->disk, size);
    drop_changes(content);
}
