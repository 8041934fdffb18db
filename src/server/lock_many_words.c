/* What a LOCK.MACQUIRE says, and what is said to shards for it. */
#include "server/lock_many_internal.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"
#include "machine/lock/lock_arguments.h"
#include "machine/lock/lock_limits.h"
#include "machine/session/session_id.h"

#include <stdlib.h>

_Static_assert(LOCK_PARTS == 64, "as the texts say");
_Static_assert((int)LOCK_ORIGIN_WORKERS == (int)WORKERS_MAXIMUM, "a number's worker");

static const char syntax_text[] = "ERR syntax error; LOCK.MACQUIRE is: numkeys key ... owner PX ttl_ms | SESSION id "
                                  "[WAIT ms] [NOTE text]";

/* ---- the client's words ---- */

static int by_name(const void *a, const void *b)
{
    const struct many_key *x = a;
    const struct many_key *y = b;
    int by_shard = (x->shard > y->shard) - (x->shard < y->shard);
    return by_shard != 0 ? by_shard : slice_compare(x->name, y->name);
}

struct options {
    int64_t ttl_ms, wait_ms;
    struct slice session, note;
    bool ttl, wait, noted;
};

static const char *take_option(struct options *options, struct slice word, struct slice value)
{
    struct session_id id;
    if (slice_is_word(word, "PX") && !options->ttl) {
        options->ttl = true;
        return lock_time_parse(value, 1, "ERR PX is the time to live in ms, from 1 to 31536000000 (a year)",
                               &options->ttl_ms);
    }
    if (slice_is_word(word, "SESSION") && options->session.size == 0) {
        options->session = value;
        return session_name_parse(value, &id, &options->ttl_ms)
                   ? NULL
                   : "ERR SESSION is followed by the id that SESSION.OPEN gave";
    }
    if (slice_is_word(word, "WAIT") && !options->wait) {
        options->wait = true;
        return lock_time_parse(value, 0, "ERR WAIT is a time in ms, from 0 to 31536000000 (a year)", &options->wait_ms);
    }
    if (slice_is_word(word, "NOTE") && !options->noted) {
        _Static_assert(LOCK_NOTE_BYTES == 512, "as the text says");
        options->noted = true;
        options->note = value;
        return value.size <= LOCK_NOTE_BYTES ? NULL : "ERR a NOTE has 512 bytes at most";
    }
    return syntax_text;
}

static const char *take_options(const struct slice *argv, uint32_t argc, struct options *ret_options)
{
    const char *problem = NULL;
    *ret_options = (struct options){0};
    for (uint32_t i = 0; problem == NULL && i < argc; i += 2) {
        problem = i + 1 < argc ? take_option(ret_options, argv[i], argv[i + 1]) : syntax_text;
    }
    if (problem == NULL && ret_options->ttl && ret_options->session.size > 0) {
        problem = "ERR locks have a time to live of their own (PX), or end with a SESSION, not both";
    }
    return problem == NULL && !ret_options->ttl && ret_options->session.size == 0 ? syntax_text : problem;
}

static const char *take_names(const struct command *command, int64_t *ret_count)
{
    if (!number_parse_int64(command->argv[1], ret_count) || *ret_count < 1 || *ret_count > LOCK_PARTS) {
        return "ERR numkeys is the number of locks, from 1 to 64";
    }
    if ((uint32_t)*ret_count + 3 > command->argc) {
        return syntax_text;
    }
    for (uint32_t i = 2; i < 2 + (uint32_t)*ret_count; i++) {
        const char *problem = lock_names_fit(command->argv[i], command->argv[2 + *ret_count]);
        if (problem != NULL) {
            return problem;
        }
        for (uint32_t j = 2; j < i; j++) {
            if (slice_equal(command->argv[i], command->argv[j])) {
                return "ERR LOCK.MACQUIRE takes each lock once; one is named twice";
            }
        }
    }
    return NULL;
}

const char *lock_many_problem(const struct command *command)
{
    int64_t count;
    struct options options;
    const char *problem = take_names(command, &count);
    uint32_t first = 3 + (uint32_t)count;
    return problem != NULL ? problem : take_options(command->argv + first, command->argc - first, &options);
}

const char *many_parse(struct lock_many *many, const struct command *command)
{
    int64_t count;
    struct options options;
    const char *problem = take_names(command, &count);
    if (problem != NULL) {
        return problem;
    }
    uint32_t first = 3 + (uint32_t)count;
    problem = take_options(command->argv + first, command->argc - first, &options);
    if (problem != NULL) {
        return problem;
    }
    many->ttl_ms = options.ttl_ms;
    many->may_wait = options.wait_ms > 0;
    many->deadline_ns = many->waiter.began_ns + options.wait_ms * NS_PER_MS;
    many->key_count = (uint32_t)count;
    many->keys = memory_allocate_zeroed(many->key_count, sizeof(*many->keys));
    for (uint32_t i = 0; i <= many->key_count; i++) {
        buffer_append_slice(&many->names, command->argv[2 + i]);
    }
    buffer_append_slice(&many->names, options.session);
    buffer_append_slice(&many->names, options.note);
    const uint8_t *at = many->names.data;
    for (uint32_t i = 0; i < many->key_count; i++) {
        many->keys[i].name = slice_of(at, command->argv[2 + i].size);
        many->keys[i].place = i;
        at += many->keys[i].name.size;
    }
    many->owner = slice_of(at, command->argv[2 + many->key_count].size);
    at += many->owner.size;
    many->session = slice_of(at, options.session.size);
    many->note = slice_of(at + options.session.size, options.note.size);
    return NULL;
}

void many_arrange(struct lock_many *many)
{
    qsort(many->keys, many->key_count, sizeof(*many->keys), by_name);
    many->parts = memory_allocate_zeroed(many->key_count, sizeof(*many->parts));
    for (uint32_t i = 0; i < many->key_count; i++) {
        if (i == 0 || many->keys[i].shard != many->keys[i - 1].shard) {
            many->parts[many->part_count].shard = many->keys[i].shard;
            many->parts[many->part_count++].first = i;
        }
        many->parts[many->part_count - 1].count++;
    }
}

void many_free_words(struct lock_many *many)
{
    for (uint32_t i = 0; i < many->part_count; i++) {
        buffer_deinit(&many->parts[i].answer);
    }
    buffer_deinit(&many->names);
    buffer_deinit(&many->reply);
    free(many->keys);
    free(many->parts);
}

void many_put_grants(const struct lock_many *many, struct buffer *out)
{
    struct resp_writer writer = resp_writer_to(out, RESP2);
    const struct many_key *in_order[LOCK_PARTS];
    for (uint32_t i = 0; i < many->key_count; i++) {
        in_order[many->keys[i].place] = &many->keys[i];
    }
    resp_array(&writer, many->key_count);
    for (uint32_t i = 0; i < many->key_count; i++) {
        resp_array(&writer, 2);
        resp_integer(&writer, (int64_t)in_order[i]->told.token);
        resp_integer(&writer, many->session.size > 0 ? many->ttl_ms /* newer than an earlier request's */
                                                     : in_order[i]->told.ttl_ms);
    }
}

/* ---- to the shards, and what they tell ---- */

int64_t many_left_ms(const struct lock_many *many)
{
    int64_t left = (many->deadline_ns - server_now_ns(many->server) + NS_PER_MS - 1) / NS_PER_MS;
    return left < 0 ? 0 : left;
}

/* Beyond what every RESERVE says. */
static bool has_words(const struct lock_many *many) { return many->session.size > 0 || many->note.size > 0; }

/* The words before the keys. */
static uint32_t put_head(const struct lock_many *many, uint32_t at, uint16_t id, int64_t wait_ms, struct slice *argv,
                         char digits[static 3][NUMBER_INT64_BYTES])
{
    uint32_t argc = 2;
    if (id == COMMAND_COHORT_LOCK_RESERVE) {
        argv[argc++] = at == 0 ? slice_of(NULL, 0) : many->keys[0].name;
    }
    argv[argc++] = many->owner;
    if (id == COMMAND_COHORT_LOCK_RESERVE) {
        argv[argc++] = slice_of(digits[0], number_format_int64(digits[0], many->ttl_ms));
        argv[argc++] = slice_of(digits[1], number_format_int64(digits[1], wait_ms));
        argv[argc++] = slice_of(digits[2], number_format_int64(digits[2], many_left_ms(many) + LOCK_PART_KEEP_MS));
        argv[argc++] = many->part_count == 1 ? SLICE_LITERAL("1") : SLICE_LITERAL("0");
        if (has_words(many)) {
            argv[argc++] = many->session;
            argv[argc++] = many->note;
        }
    }
    return argc;
}

void many_ask(struct lock_many *many, uint32_t at, uint16_t id, int64_t wait_ms)
{
    struct server *server = many->server;
    struct many_part *part = &many->parts[at];
    struct slice argv[10 + LOCK_PARTS];
    uint8_t origin[LOCK_ORIGIN_BYTES];
    char digits[3][NUMBER_INT64_BYTES];
    ASSERT(part->asked == 0);
    struct lock_origin from = waiter_origin(&many->waiter, server);
    lock_origin_put(origin, &from);
    argv[0] = SLICE_LITERAL("COHORT.LOCK");
    argv[1] = slice_of(origin, sizeof(origin));
    uint32_t argc = put_head(many, at, id, wait_ms, argv, digits);
    for (uint32_t i = 0; i < part->count; i++) {
        argv[argc++] = many->keys[part->first + i].name;
    }
    bool with = id == COMMAND_COHORT_LOCK_RESERVE && has_words(many);
    const struct command command = {command_by_id(with ? COMMAND_COHORT_LOCK_RESERVE_WITH : id), argv, argc, RESP2};
    part->again = false;
    enum status status = cluster_submit(server->cluster, part->shard, &command, CLUSTER_PLAIN, &many->requester, at);
    part->asked = status == STATUS_OK ? id : 0;
    part->status = id == COMMAND_COHORT_LOCK_RESERVE ? status : STATUS_OK; /* the others are said again in time */
}

bool many_take_told(struct lock_many *many, struct many_part *part)
{
    const uint8_t *line = part->answer.size == 0 ? NULL : memchr(part->answer.data, '\n', part->answer.size);
    if (line == NULL || part->answer.data[0] != '$' || part->answer.data[1] == '-') {
        return false;
    }
    struct slice body = slice_of(line + 1, (size_t)(part->answer.data + part->answer.size - line) - 1);
    for (part->told = 0; part->told < part->count && body.size > 2; part->told++) {
        if (!lock_part_told_take(&body, &many->keys[part->first + part->told].told)) {
            return false;
        }
    }
    return part->told > 0;
}
