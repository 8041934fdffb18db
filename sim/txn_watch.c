#include "txn_watch.h"

#include "base/assert.h"
#include "base/varint.h"
#include "cluster/forward_frame.h"
#include "command/command.h"
#include "raft/raft_codec.h"
#include "shard/shard_entry.h"
#include "wire/frame.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    ASKED_MAXIMUM = 512, /* parcels that are remembered */
    OWED_MAXIMUM = 256,  /* entries that followers have not confirmed */
    RAFT_HEAD_BYTES = 8,
    WORD_BYTES = 24,
};

/* A parcel that asks something about transactions. */
struct asked {
    int from, to;
    uint32_t shard;
    uint64_t parcel;
};

/* A follower has been sent such an entry. */
struct owed {
    int leader, follower;
    uint32_t group;
    uint64_t index;
};

struct txn_watch {
    struct asked asked[ASKED_MAXIMUM];
    struct owed owed[OWED_MAXIMUM];
    size_t asked_count, owed_count; /* ever; the oldest are forgotten */
    struct command_arguments arguments;
    struct raft_entry *entries;
};

struct txn_watch *txn_watch_create(void)
{
    struct txn_watch *watch = calloc(1, sizeof(*watch));
    ASSERT(watch != NULL);
    watch->entries = calloc(RAFT_MAXIMUM_APPEND_ENTRIES, sizeof(*watch->entries));
    ASSERT(watch->entries != NULL);
    command_arguments_init(&watch->arguments);
    return watch;
}

void txn_watch_destroy(struct txn_watch *watch)
{
    if (watch != NULL) {
        command_arguments_deinit(&watch->arguments);
        free(watch->entries);
        free(watch);
    }
}

/* What is found in one sending: the most telling kind, and words. */
struct found {
    enum txn_message kind;
    char *text; /* TXN_WATCH_TEXT_BYTES */
};

/* A kind that says more takes the words of one that says less away. */
static void find(struct found *found, enum txn_message kind, struct slice word)
{
    if (found->kind == TXN_MESSAGE_NONE || kind < found->kind) {
        found->kind = kind;
        found->text[0] = '\0';
    }
    size_t size = strlen(found->text);
    if (kind == found->kind && word.size != 0 && size + 2 + word.size < TXN_WATCH_TEXT_BYTES) {
        (void)snprintf(found->text + size, TXN_WATCH_TEXT_BYTES - size, "%s%.*s", size == 0 ? "" : ", ", (int)word.size,
                       (const char *)word.data);
    }
}

/* ---- commands ---- */

/* "DECIDE COMMIT"; empty: it is not about transactions. */
static void name_command(const struct command *command, char ret_word[static WORD_BYTES])
{
    static const char prefix[] = "COHORT.TXN.";
    const char *shown = command->spec->shown;
    int outcome = 0;
    switch (command->spec->id) {
    case COMMAND_COHORT_TXN_MOVE: outcome = 2; break;
    case COMMAND_COHORT_TXN_DECIDE:
    case COMMAND_COHORT_TXN_FINISH: outcome = 3; break;
    default: break;
    }
    ret_word[0] = '\0';
    if (strncmp(shown, prefix, sizeof(prefix) - 1) != 0) {
        return;
    }
    bool has_outcome = outcome != 0 && (uint32_t)outcome < command->argc;
    struct slice word = has_outcome ? command->argv[outcome] : slice_of(NULL, 0);
    (void)snprintf(ret_word, WORD_BYTES, "%s%s%.*s", shown + sizeof(prefix) - 1, has_outcome ? " " : "", (int)word.size,
                   has_outcome ? (const char *)word.data : "");
}

static void take_forward(struct txn_watch *watch, int from, int to, struct slice payload, struct found *found)
{
    struct forward_head head;
    bool any = false;
    if (forward_head_take(&payload, &head) != STATUS_OK) {
        return;
    }
    for (uint32_t i = 0; i < head.count && payload.size != 0; i++) {
        struct command command;
        uint64_t who;
        char word[WORD_BYTES];
        payload = slice_of(payload.data + 1, payload.size - 1); /* flags */
        if (!varint_take(&payload, &who) || command_decode(&payload, &watch->arguments, &command) != STATUS_OK) {
            return;
        }
        name_command(&command, word);
        if (word[0] != '\0') {
            find(found, TXN_MESSAGE_ASK, slice_from_string(word));
            any = true;
        }
    }
    if (any) {
        watch->asked[watch->asked_count++ % ASKED_MAXIMUM] = (struct asked){from, to, head.shard, head.parcel};
    }
}

/* The first bulk of a reply, or its error. */
static struct slice first_word(struct slice reply)
{
    static const char crlf[] = "\r\n";
    while (reply.size > 2) {
        const uint8_t *end = memmem(reply.data, reply.size, crlf, 2);
        if (end == NULL) {
            break;
        }
        size_t line = (size_t)(end - reply.data);
        struct slice rest = slice_of(end + 2, reply.size - line - 2);
        if (reply.data[0] == '-' || reply.data[0] == '+') {
            return slice_of(reply.data + 1, line - 1 < WORD_BYTES ? line - 1 : WORD_BYTES);
        }
        if (reply.data[0] == '$') {
            end = memmem(rest.data, rest.size, crlf, 2);
            return end == NULL ? slice_of(NULL, 0) : slice_of(rest.data, (size_t)(end - rest.data));
        }
        reply = rest;
    }
    return slice_of(NULL, 0);
}

/* That, or of a record as COHORT.TXN.STATUS tells it, its state. */
static struct slice told_word(struct slice reply)
{
    static const char name[] = "state\r\n";
    struct slice word = first_word(reply);
    const uint8_t *at = slice_is_word(word, "id") ? memmem(reply.data, reply.size, name, sizeof(name) - 1) : NULL;
    if (at == NULL) {
        return word;
    }
    at += sizeof(name) - 1;
    return first_word(slice_of(at, reply.size - (size_t)(at - reply.data)));
}

static void take_answers(struct txn_watch *watch, int from, int to, struct slice payload, struct found *found)
{
    uint32_t shard;
    uint64_t parcel;
    bool known = false;
    if (answers_head_take(&payload, &shard, &parcel) != STATUS_OK) {
        return;
    }
    for (size_t i = 0; i < ASKED_MAXIMUM; i++) {
        const struct asked *asked = &watch->asked[i];
        known = known || (asked->parcel == parcel && asked->shard == shard && asked->from == to && asked->to == from);
    }
    struct answer_head head;
    struct slice reply;
    while (known && answer_take(&payload, &head, &reply) == STATUS_OK) {
        find(found, TXN_MESSAGE_ANSWER,
             head.outcome == FORWARD_REPLIED || head.outcome == FORWARD_REPLIED_LONG ? told_word(reply)
                                                                                     : SLICE_LITERAL("not executed"));
    }
}

/* ---- entries ---- */

static bool entry_tells(struct txn_watch *watch, const struct raft_entry *entry, struct found *found)
{
    struct slice payload = entry->payload;
    struct entry_header header;
    bool any = false;
    if (entry->kind != ENTRY_COMMANDS || entry_header_take(&payload, &header) != STATUS_OK) {
        return false;
    }
    for (uint16_t i = 0; i < header.commands; i++) {
        struct command command;
        char word[WORD_BYTES];
        if (command_decode_logged(&payload, &watch->arguments, &command) != STATUS_OK) {
            break;
        }
        name_command(&command, word);
        if (word[0] != '\0') {
            find(found, TXN_MESSAGE_ENTRY, slice_from_string(word));
            any = true;
        }
    }
    return any;
}

static void take_reply(struct txn_watch *watch, int from, int to, uint32_t group, uint64_t index, struct found *found)
{
    for (size_t i = 0; i < OWED_MAXIMUM; i++) {
        struct owed *owed = &watch->owed[i];
        if (owed->index != 0 && owed->index <= index && owed->group == group && owed->follower == from &&
            owed->leader == to) {
            owed->index = 0;
            find(found, TXN_MESSAGE_STORED, slice_of(NULL, 0));
        }
    }
}

static void take_raft(struct txn_watch *watch, int from, int to, struct slice payload, struct found *found)
{
    while (payload.size > RAFT_HEAD_BYTES) {
        uint32_t group = get_u32(payload.data);
        size_t size = get_u32(payload.data + 4);
        struct raft_message message;
        if (size > payload.size - RAFT_HEAD_BYTES || raft_message_decode(slice_of(payload.data + RAFT_HEAD_BYTES, size),
                                                                         watch->entries, &message) != STATUS_OK) {
            return;
        }
        payload = slice_of(payload.data + RAFT_HEAD_BYTES + size, payload.size - RAFT_HEAD_BYTES - size);
        for (uint32_t i = 0; message.type == RAFT_APPEND && i < message.append.count; i++) {
            if (entry_tells(watch, &watch->entries[i], found)) {
                watch->owed[watch->owed_count++ % OWED_MAXIMUM] =
                    (struct owed){from, to, group, watch->entries[i].index};
            }
        }
        if (message.type == RAFT_APPEND_REPLY && !message.append_reply.rejected) {
            take_reply(watch, from, to, group, message.append_reply.index, found);
        }
    }
}

enum txn_message txn_watch_sent(struct txn_watch *watch, int from, int to, struct slice data,
                                char ret_text[static TXN_WATCH_TEXT_BYTES])
{
    struct found found = {.kind = TXN_MESSAGE_NONE, .text = ret_text};
    struct frame frame;
    size_t missing;
    ret_text[0] = '\0';
    while (frame_decode(data, FRAME_MAXIMUM_BYTES, &frame, &missing) == STATUS_OK) {
        switch (frame.type) {
        case NODE_FORWARD: take_forward(watch, from, to, frame.payload, &found); break;
        case NODE_ANSWERS: take_answers(watch, from, to, frame.payload, &found); break;
        case NODE_RAFT: take_raft(watch, from, to, frame.payload, &found); break;
        default: break;
        }
        data = slice_of(data.data + frame.size, data.size - frame.size);
    }
    return found.kind;
}
