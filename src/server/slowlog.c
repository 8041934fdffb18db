#include "server/slowlog.h"

#include "base/memory.h"
#include "script/script.h"
#include "server/secret_words.h"

#include <stdlib.h>
#include <string.h>

struct slow_command {
    struct list node;
    uint64_t id;
    int64_t wall_s, duration_us;
    char *peer, *name;
    struct slow_words words;
};

void slow_words_deinit(struct slow_words *words)
{
    buffer_deinit(&words->text);
    *words = (struct slow_words){0};
}

static void slow_command_destroy(struct slow_command *slow)
{
    list_remove(&slow->node);
    slow_words_deinit(&slow->words);
    free(slow->peer);
    free(slow->name);
    free(slow);
}

void slowlog_init(struct slowlog *slowlog, uint32_t place, uint32_t count)
{
    *slowlog = (struct slowlog){.next_id = place, .id_step = count};
    list_init(&slowlog->entries);
}

void slowlog_trim(struct slowlog *slowlog, size_t limit)
{
    while (slowlog->count > limit) {
        slow_command_destroy(CONTAINER_OF(slowlog->entries.prev, struct slow_command, node));
        slowlog->count--;
    }
}

void slowlog_clear(struct slowlog *slowlog) { slowlog_trim(slowlog, 0); }

static void keep_argument(struct buffer *out, struct slice argument)
{
    if (argument.size <= SLOWLOG_ARGUMENT_BYTES) {
        buffer_append_slice(out, argument);
        return;
    }
    buffer_append(out, argument.data, SLOWLOG_ARGUMENT_BYTES);
    buffer_append_format(out, "... (%zu more bytes)", argument.size - SLOWLOG_ARGUMENT_BYTES);
}

/* As its client said it: by name, where that was it. */
static struct slice argument_at(const struct command *command, uint32_t place, char sha[static SCRIPT_SHA_BYTES])
{
    if (!command->by_name || place > 1) {
        return secret_words_shown(command, place);
    }
    if (place == 0) {
        return slice_from_string(command_called(command)->shown);
    }
    script_sha(command->argv[1], sha);
    return slice_of(sha, SCRIPT_SHA_BYTES);
}

void slow_words_take(struct slow_words *words, const struct command *command)
{
    char sha[SCRIPT_SHA_BYTES];
    bool cut = command->argc > SLOWLOG_ARGUMENTS;
    slow_words_deinit(words);
    words->count = cut ? SLOWLOG_ARGUMENTS : command->argc;
    for (uint32_t i = 0; i < words->count; i++) {
        if (cut && i == SLOWLOG_ARGUMENTS - 1) {
            buffer_append_format(&words->text, "... (%u more arguments)", command->argc - SLOWLOG_ARGUMENTS + 1);
        } else {
            keep_argument(&words->text, argument_at(command, i, sha));
        }
        words->ends[i] = (uint32_t)words->text.size;
    }
}

void slowlog_add(struct slowlog *slowlog, struct slow_words *words, int64_t duration_us, int64_t wall_s,
                 const char *peer, const char *name, size_t limit)
{
    if (limit == 0) {
        slow_words_deinit(words);
        return;
    }
    struct slow_command *slow = memory_allocate_zeroed(1, sizeof(*slow));
    slow->id = slowlog->next_id;
    slowlog->next_id += slowlog->id_step;
    slow->wall_s = wall_s;
    slow->duration_us = duration_us;
    slow->peer = memory_copy_text(peer);
    slow->name = memory_copy_text(name);
    slow->words = *words;
    *words = (struct slow_words){0};
    list_prepend(&slowlog->entries, &slow->node);
    slowlog->count++;
    slowlog_trim(slowlog, limit);
}

/* Before an entry in what is exported; its reply follows. */
struct slow_head {
    int64_t wall_s;
    uint64_t id;
    size_t size;
};

static void write_one(const struct slow_command *slow, struct resp_writer *reply)
{
    resp_array(reply, 6);
    resp_integer(reply, (int64_t)slow->id);
    resp_integer(reply, slow->wall_s);
    resp_integer(reply, slow->duration_us);
    const struct slow_words *words = &slow->words;
    resp_array(reply, words->count);
    for (uint32_t i = 0; i < words->count; i++) {
        uint32_t start = i == 0 ? 0 : words->ends[i - 1];
        resp_bulk(reply, slice_of(words->text.data + start, words->ends[i] - start));
    }
    resp_bulk_string(reply, slow->peer);
    resp_bulk_string(reply, slow->name);
}

void slowlog_export(const struct slowlog *slowlog, struct buffer *out)
{
    LIST_FOR_EACH (at, &slowlog->entries) {
        const struct slow_command *slow = CONTAINER_OF(at, struct slow_command, node);
        struct slow_head head = {.wall_s = slow->wall_s, .id = slow->id};
        size_t start = out->size;
        buffer_append(out, &head, sizeof(head));
        struct resp_writer writer = resp_writer_to(out, RESP2); /* what it writes is the same in both */
        write_one(slow, &writer);
        head.size = out->size - start - sizeof(head);
        memcpy(out->data + start, &head, sizeof(head));
    }
}

struct slow_place {
    struct slow_head head;
    struct slice reply;
};

static int newest_first(const void *a, const void *b)
{
    const struct slow_head *x = &((const struct slow_place *)a)->head;
    const struct slow_head *y = &((const struct slow_place *)b)->head;
    return x->wall_s != y->wall_s ? (x->wall_s < y->wall_s ? 1 : -1) : (x->id < y->id) - (x->id > y->id);
}

void slowlog_reply(const struct slowlog *slowlog, struct slice others, int64_t count, struct resp_writer *reply)
{
    struct buffer all;
    struct buffer places;
    buffer_init(&all);
    buffer_init(&places);
    slowlog_export(slowlog, &all);
    buffer_append_slice(&all, others);
    for (size_t at = 0; at < all.size;) {
        struct slow_place place;
        memcpy(&place.head, all.data + at, sizeof(place.head));
        place.reply = slice_of(all.data + at + sizeof(place.head), place.head.size);
        buffer_append(&places, &place, sizeof(place));
        at += sizeof(place.head) + place.head.size;
    }
    struct slow_place *items = (struct slow_place *)(void *)places.data;
    size_t shown = places.size / sizeof(*items);
    if (shown > 1) {
        qsort(items, shown, sizeof(*items), newest_first);
    }
    shown = count < 0 || (uint64_t)count > shown ? shown : (size_t)count;
    resp_array(reply, shown);
    for (size_t i = 0; i < shown; i++) {
        resp_raw(reply, items[i].reply);
    }
    buffer_deinit(&all);
    buffer_deinit(&places);
}
