#include "server/slowlog.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

struct slow_command {
    struct list node;
    uint64_t id;
    int64_t wall_s, duration_us;
    char *peer, *name;
    uint32_t argument_count;
    struct buffer arguments[SLOWLOG_ARGUMENTS];
};

static void slow_command_destroy(struct slow_command *slow)
{
    list_remove(&slow->node);
    for (uint32_t i = 0; i < slow->argument_count; i++) {
        buffer_deinit(&slow->arguments[i]);
    }
    free(slow->peer);
    free(slow->name);
    free(slow);
}

void slowlog_init(struct slowlog *slowlog)
{
    *slowlog = (struct slowlog){0};
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

void slowlog_add(struct slowlog *slowlog, const struct command *command, int64_t duration_us, int64_t wall_s,
                 const char *peer, const char *name, size_t limit)
{
    if (limit == 0) {
        return;
    }
    struct slow_command *slow = memory_allocate_zeroed(1, sizeof(*slow));
    slow->id = slowlog->next_id++;
    slow->wall_s = wall_s;
    slow->duration_us = duration_us;
    slow->peer = memory_copy_text(peer);
    slow->name = memory_copy_text(name);
    bool cut = command->argc > SLOWLOG_ARGUMENTS;
    slow->argument_count = cut ? SLOWLOG_ARGUMENTS : command->argc;
    for (uint32_t i = 0; i < slow->argument_count; i++) {
        if (cut && i == SLOWLOG_ARGUMENTS - 1) {
            buffer_append_format(&slow->arguments[i], "... (%u more arguments)", command->argc - SLOWLOG_ARGUMENTS + 1);
        } else {
            keep_argument(&slow->arguments[i], command->argv[i]);
        }
    }
    list_prepend(&slowlog->entries, &slow->node);
    slowlog->count++;
    slowlog_trim(slowlog, limit);
}

void slowlog_reply(const struct slowlog *slowlog, int64_t count, struct resp_writer *reply)
{
    size_t shown = count < 0 || (uint64_t)count > slowlog->count ? slowlog->count : (size_t)count;
    resp_array(reply, shown);
    LIST_FOR_EACH (at, &slowlog->entries) {
        if (shown-- == 0) {
            break;
        }
        const struct slow_command *slow = CONTAINER_OF(at, struct slow_command, node);
        resp_array(reply, 6);
        resp_integer(reply, (int64_t)slow->id);
        resp_integer(reply, slow->wall_s);
        resp_integer(reply, slow->duration_us);
        resp_array(reply, slow->argument_count);
        for (uint32_t i = 0; i < slow->argument_count; i++) {
            resp_bulk(reply, buffer_slice(&slow->arguments[i]));
        }
        resp_bulk_string(reply, slow->peer);
        resp_bulk_string(reply, slow->name);
    }
}
