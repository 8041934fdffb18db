/* The last slow commands, newest first; bounded in number and in the bytes of each. */
#pragma once

#include "base/list.h"
#include "command/command.h"
#include "wire/resp_writer.h"

enum { SLOWLOG_ARGUMENTS = 32, SLOWLOG_ARGUMENT_BYTES = 128 };

struct slowlog {
    struct list entries;
    size_t count;
    uint64_t next_id, id_step; /* of several together: each has ids of its own */
};

/* One of `count` that are shown together: `place` from 0. */
void slowlog_init(struct slowlog *slowlog, uint32_t place, uint32_t count);
void slowlog_clear(struct slowlog *slowlog);

/* The arguments of a command as an entry shows them: long ones are shortened as Redis does ("... (n more bytes)"). All
 * zero: none. */
struct slow_words {
    uint32_t count;
    uint32_t ends[SLOWLOG_ARGUMENTS];
    struct buffer text;
};
void slow_words_take(struct slow_words *words, const struct command *command);
void slow_words_deinit(struct slow_words *words);

/* Takes over the words. Keeps at most `limit` entries. */
void slowlog_add(struct slowlog *slowlog, struct slow_words *words, int64_t duration_us, int64_t wall_s,
                 const char *peer, const char *name, size_t limit);
void slowlog_trim(struct slowlog *slowlog, size_t limit);
/* What slowlog_reply takes from the logs of others. */
void slowlog_export(const struct slowlog *slowlog, struct buffer *out);
/* Up to `count` entries, all when negative, of this one and of those that were exported, one behind the other. */
void slowlog_reply(const struct slowlog *slowlog, struct slice others, int64_t count, struct resp_writer *reply);
