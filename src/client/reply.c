/* What cohort/reply.h and cohort/status.h promise. */
#include "client/reply.h"

#include "base/number.h"

#include <stdlib.h>

static bool is_text(const struct cohort_reply *reply)
{
    return reply != NULL && (reply->type == COHORT_REPLY_STRING || reply->type == COHORT_REPLY_ERROR);
}

static bool has_parts(const struct cohort_reply *reply)
{
    return reply != NULL && (reply->type == COHORT_REPLY_ARRAY || reply->type == COHORT_REPLY_MAP);
}

enum cohort_reply_type cohort_reply_type(const struct cohort_reply *reply)
{
    return reply == NULL ? COHORT_REPLY_NIL : reply->type;
}

struct cohort_bytes cohort_reply_bytes(const struct cohort_reply *reply)
{
    return is_text(reply) ? cohort_bytes_of(reply->text, reply->size) : cohort_bytes_of("", 0);
}

const char *cohort_reply_text(const struct cohort_reply *reply) { return is_text(reply) ? reply->text : ""; }

int64_t cohort_reply_integer(const struct cohort_reply *reply)
{
    if (reply != NULL && reply->type == COHORT_REPLY_INTEGER) {
        return reply->integer;
    }
    int64_t value = 0;
    bool is_number = reply != NULL && reply->type == COHORT_REPLY_STRING &&
                     number_parse_int64(slice_of(reply->text, reply->size), &value);
    return is_number ? value : 0;
}

double cohort_reply_double(const struct cohort_reply *reply)
{
    if (reply != NULL && reply->type == COHORT_REPLY_DOUBLE) {
        return reply->number;
    }
    if (reply != NULL && reply->type == COHORT_REPLY_STRING) {
        return strtod(reply->text, NULL);
    }
    return (double)cohort_reply_integer(reply);
}

size_t cohort_reply_count(const struct cohort_reply *reply) { return has_parts(reply) ? reply->size : 0; }

const struct cohort_reply *cohort_reply_at(const struct cohort_reply *reply, size_t index)
{
    return index < cohort_reply_count(reply) ? &reply->parts[index] : NULL;
}

const struct cohort_reply *cohort_reply_get(const struct cohort_reply *reply, const char *key)
{
    struct slice wanted = slice_from_string(key);
    for (size_t i = 0; i + 1 < cohort_reply_count(reply); i += 2) {
        if (is_text(&reply->parts[i]) && slice_equal(reply_slice(&reply->parts[i]), wanted)) {
            return &reply->parts[i + 1];
        }
    }
    return NULL;
}

void cohort_reply_free(struct cohort_reply *reply) { free(reply); }

enum cohort_status reply_status(const struct cohort_reply *reply)
{
    static const struct {
        const char *code;
        enum cohort_status status;
    } codes[] = {
        {"CLUSTERDOWN ", COHORT_CLUSTERDOWN},
        {"BUSY ", COHORT_BUSY},
        {"UNCERTAIN ", COHORT_UNCERTAIN},
        {"WRONGTYPE ", COHORT_WRONGTYPE},
        {"NOAUTH ", COHORT_DENIED},
        {"WRONGPASS ", COHORT_DENIED},
        {"NOPERM ", COHORT_DENIED},
        {"LOCKLOST ", COHORT_LOCKLOST},
        {"FENCED ", COHORT_FENCED},
        {"DEADLOCK ", COHORT_DEADLOCK},
        {"TXNEXISTS ", COHORT_TXNEXISTS},
        {"TXNABORT ", COHORT_TXNABORT},
        {"STALE ", COHORT_STALE},
        {"COMPACTED ", COHORT_COMPACTED},
        {"NOSESSION ", COHORT_NOSESSION},
        {"UNSUPPORTED ", COHORT_UNSUPPORTED},
    };
    if (reply == NULL || reply->type != COHORT_REPLY_ERROR) {
        return COHORT_OK;
    }
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (slice_starts_with(reply_slice(reply), slice_from_string(codes[i].code))) {
            return codes[i].status;
        }
    }
    return COHORT_REFUSED;
}

const char *cohort_status_text(enum cohort_status status)
{
    static const char *const texts[] = {
        "done",
        "not found",
        "the condition did not hold, nothing was changed",
        "the lock was not granted in time",
        "the outcome is unknown: it may have been executed; look before you do it again",
        "the time limit passed",
        "no node can be reached",
        "no majority of the shard answers; it was not executed",
        "the server has too much to do; it was not executed",
        "too much is under way on this handle",
        "memory was refused",
        "the arguments are not valid",
        "access was denied",
        "the key holds another kind of value",
        "the server refused it",
        "what was received is no reply of a cohort",
        "it was cancelled",
        "the lock is no longer held",
        "the token does not hold the lock",
        "the owners wait for each other in a circle",
        "a transaction with this id runs or ran already",
        "the transaction was rolled back",
        "the asked bound cannot be met",
        "the feed's position is no longer kept",
        "the system refused a descriptor or a thread",
        "the session has ended",
        "the engine of this URL cannot do that",
    };
    int index = -(int)status;
    return index >= 0 && index < (int)(sizeof(texts) / sizeof(texts[0])) ? texts[index] : "unknown status";
}
