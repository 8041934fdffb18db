#include "server/script_texts.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/memory.h"

enum { BUCKETS = 1024 };

struct text {
    struct list by_name, by_text; /* in their buckets */
    struct list by_use;           /* the longest unused first */
    char sha[SCRIPT_SHA_BYTES];
    uint64_t hash; /* of the bytes */
    size_t size;
    uint8_t bytes[];
};

struct script_texts {
    struct list names[BUCKETS], texts[BUCKETS];
    struct list used;
    size_t count, bytes;
    uint64_t epoch, floor;
};

struct script_texts *script_texts_create(void)
{
    struct script_texts *texts = memory_allocate_zeroed(1, sizeof(*texts));
    for (size_t i = 0; i < BUCKETS; i++) {
        list_init(&texts->names[i]);
        list_init(&texts->texts[i]);
    }
    list_init(&texts->used);
    texts->epoch = texts->floor = SCRIPT_TEXTS_FIRST;
    return texts;
}

static void forget(struct script_texts *texts, struct text *text)
{
    list_remove(&text->by_name);
    list_remove(&text->by_text);
    list_remove(&text->by_use);
    texts->count--;
    texts->bytes -= text->size;
    free(text);
}

static void forget_down_to(struct script_texts *texts, size_t count, size_t bytes)
{
    while (texts->count > count || texts->bytes > bytes) {
        forget(texts, CONTAINER_OF(texts->used.next, struct text, by_use));
    }
}

void script_texts_destroy(struct script_texts *texts)
{
    if (texts != NULL) {
        forget_down_to(texts, 0, 0);
        free(texts);
    }
}

/* ---- finding ---- */

static struct list *bucket_of_name(struct script_texts *texts, const char *sha)
{
    uint32_t hash = 0;
    for (int i = 0; i < 8; i++) {
        hash = hash * 31 + (uint8_t)sha[i];
    }
    return &texts->names[hash % BUCKETS];
}

static void use(struct script_texts *texts, struct text *text)
{
    list_remove(&text->by_use);
    list_append(&texts->used, &text->by_use);
}

bool script_texts_find(struct script_texts *texts, struct slice name, struct slice *ret_text)
{
    char sha[SCRIPT_SHA_BYTES];
    if (name.size != sizeof(sha)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(sha); i++) {
        uint8_t byte = name.data[i];
        sha[i] = (char)(byte >= 'A' && byte <= 'F' ? byte + 32 : byte);
    }
    LIST_FOR_EACH (node, bucket_of_name(texts, sha)) {
        struct text *text = CONTAINER_OF(node, struct text, by_name);
        if (memcmp(text->sha, sha, sizeof(sha)) == 0) {
            use(texts, text);
            *ret_text = slice_of(text->bytes, text->size);
            return true;
        }
    }
    return false;
}

/* Without its name, which takes longer to make. */
static struct text *find_text(struct script_texts *texts, struct slice bytes, uint64_t hash)
{
    LIST_FOR_EACH (node, &texts->texts[hash % BUCKETS]) {
        struct text *text = CONTAINER_OF(node, struct text, by_text);
        if (text->hash == hash && slice_equal(slice_of(text->bytes, text->size), bytes)) {
            return text;
        }
    }
    return NULL;
}

/* ---- keeping ---- */

bool script_texts_keep(struct script_texts *texts, struct slice source, char ret_sha[static SCRIPT_SHA_BYTES])
{
    if (source.size > SCRIPT_SOURCE_BYTES) {
        script_sha(source, ret_sha);
        return false;
    }
    uint64_t hash = hash_bytes(0, source.data, source.size);
    struct text *text = find_text(texts, source, hash);
    if (text != NULL) {
        use(texts, text);
        memcpy(ret_sha, text->sha, SCRIPT_SHA_BYTES);
        return false;
    }
    forget_down_to(texts, SCRIPTS_COUNT - 1, SCRIPTS_BYTES - source.size);
    script_sha(source, ret_sha);
    text = memory_allocate(sizeof(*text) + source.size);
    text->hash = hash;
    text->size = source.size;
    memcpy(text->sha, ret_sha, SCRIPT_SHA_BYTES);
    if (source.size > 0) {
        memcpy(text->bytes, source.data, source.size);
    }
    list_append(bucket_of_name(texts, ret_sha), &text->by_name);
    list_append(&texts->texts[hash % BUCKETS], &text->by_text);
    list_append(&texts->used, &text->by_use);
    texts->count++;
    texts->bytes += source.size;
    return true;
}

/* ---- epochs ---- */

uint64_t script_texts_epoch(const struct script_texts *texts) { return texts->epoch; }

bool script_texts_welcome(const struct script_texts *texts, uint64_t epoch) { return epoch >= texts->floor; }

void script_texts_enter(struct script_texts *texts, uint64_t epoch, bool forgetting)
{
    if (epoch > texts->epoch) {
        texts->epoch = epoch;
        if (forgetting) {
            texts->floor = epoch;
            forget_down_to(texts, 0, 0);
        }
    }
}
