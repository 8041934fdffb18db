#include "shard_fixture.h"

#include "base/assert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { NODE = 0, WORDS = 16, SETTLE_STEPS = 2000000 };

/* ---- the sink ---- */

static struct fixture_reply *answered(struct fixture *fixture, uint64_t tag)
{
    assert_int_equal(fixture->failures, 0);
    struct fixture_reply *reply = &fixture->replies[tag];
    assert_int_equal(reply->tag, 0); /* once */
    struct shard_stats stats = fixture_stats(fixture);
    *reply = (struct fixture_reply){
        .tag = tag, .order = ++fixture->reply_count, .syncs = stats.log.syncs, .at_ns = sim_now_ns(fixture->sim)};
    return reply;
}

static struct resp_writer *begin(void *owner, void *origin, uint64_t tag)
{
    struct fixture *fixture = owner;
    assert_ptr_equal(origin, fixture->replies);
    assert_true(tag >= 1 && tag <= fixture->tags);
    buffer_clear(&fixture->text);
    fixture->writer = resp_writer_to(&fixture->text, RESP2);
    return &fixture->writer;
}

static const char *flatten(struct buffer *text, char to[FIXTURE_TEXT_BYTES])
{
    size_t size = 0;
    for (size_t i = 0; i + 2 < text->size && size + 1 < FIXTURE_TEXT_BYTES; i++) { /* without the last line's end */
        if (text->data[i] != '\r') {
            to[size++] = text->data[i] == '\n' ? ' ' : (char)text->data[i];
        }
    }
    to[size] = '\0';
    return to;
}

static void end(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    struct fixture *fixture = owner;
    assert_ptr_equal(origin, fixture->replies);
    assert_non_null(command->spec);
    (void)flatten(&fixture->text, answered(fixture, tag)->text);
    if (tag == fixture->snapshot_at) {
        assert_int_equal(shard_snapshot(fixture->shard), STATUS_OK);
    }
}

static void refused(void *owner, void *origin, uint64_t tag, enum status status)
{
    struct fixture *fixture = owner;
    assert_ptr_equal(origin, fixture->replies);
    answered(fixture, tag)->refused = status;
}

static void repeated(void *owner, void *origin, uint64_t tag)
{
    struct fixture *fixture = owner;
    assert_ptr_equal(origin, fixture->replies);
    (void)snprintf(answered(fixture, tag)->text, FIXTURE_TEXT_BYTES, "repeated");
}

static void failed(void *owner, enum status status, const char *what)
{
    struct fixture *fixture = owner;
    fixture->failures++;
    fixture->failure = status;
    (void)snprintf(fixture->message, sizeof(fixture->message), "%s", what);
}

/* ---- life ---- */

static void turn(void *owner)
{
    struct fixture *fixture = owner;
    if (fixture->shard != NULL && store_turn(fixture->store)) {
        env_wake(fixture->env);
    }
}

struct fixture *fixture_create(uint64_t seed)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    ASSERT(fixture != NULL);
    fixture->sim = sim_create(seed);
    fixture->env = sim_node_start(fixture->sim, NODE);
    static const uint64_t member = 1;
    fixture->segment_bytes = FIXTURE_SEGMENT_BYTES;
    fixture->options =
        (struct shard_options){.member = member, .voters = &member, .voter_count = 1, .directory = "/data"};
    fixture->replies = calloc(FIXTURE_REPLIES, sizeof(fixture->replies[0]));
    ASSERT(fixture->replies != NULL);
    assert_int_equal(env_make_directory(fixture->env, "/data"), STATUS_OK);
    assert_int_equal(env_sync_directory(fixture->env, "/"), STATUS_OK);
    return fixture;
}

enum status fixture_open(struct fixture *fixture)
{
    static const struct shard_sink sink = {.begin = begin, .end = end, .refused = refused, .repeated = repeated};
    static const struct store_events events = {failed};
    struct store_options options = {.directory = "/data",
                                    .log_segment_bytes = fixture->segment_bytes,
                                    .folder = FIXTURE_FOLDER,
                                    .turn_steps = fixture->turn_steps};
    fixture->failures = 0;
    fixture->message[0] = '\0';
    enum status status = store_open(fixture->env, &options, &events, fixture, &fixture->store, fixture->message,
                                    sizeof(fixture->message));
    if (status == STATUS_OK) {
        status = shard_open(fixture->store, &fixture->options, &sink, fixture, &fixture->shard, fixture->message,
                            sizeof(fixture->message));
        if (status != STATUS_OK) {
            store_close(fixture->store);
            fixture->store = NULL;
        }
    }
    if (status == STATUS_OK) {
        env_set_turn_hook(fixture->env, turn, fixture);
        env_wake(fixture->env);
    } else {
        assert_true(strlen(fixture->message) > 20);
        assert_int_equal(fixture->failures, 0); /* the caller knows */
    }
    return status;
}

void fixture_close(struct fixture *fixture)
{
    env_set_turn_hook(fixture->env, NULL, NULL);
    shard_close(fixture->shard);
    fixture->shard = NULL;
    store_close(fixture->store);
    fixture->store = NULL;
}

void fixture_crash(struct fixture *fixture, enum sim_crash how)
{
    sim_node_crash(fixture->sim, NODE, how);
    fixture_close(fixture); /* the dead process's memory */
    fixture->env = sim_node_start(fixture->sim, NODE);
}

void fixture_restart(struct fixture *fixture, enum sim_crash how)
{
    fixture_crash(fixture, how);
    if (fixture_open(fixture) != STATUS_OK) {
        fail_msg("%s", fixture->message);
    }
}

void fixture_destroy(struct fixture *fixture)
{
    if (fixture->shard != NULL) {
        fixture_close(fixture);
    }
    sim_destroy(fixture->sim);
    buffer_deinit(&fixture->text);
    free(fixture->replies);
    free(fixture);
}

/* ---- requests ---- */

struct request_words {
    struct slice items[WORDS];
    uint32_t count;
    char *bytes, *filler;
    struct buffer inner;
};

/* Internal commands are found by their names, too. */
static const struct command_spec *find(const struct request_words *words)
{
    const struct command_spec *spec = NULL;
    for (uint16_t id = 0; id < COMMAND_MAXIMUM; id++) {
        spec = command_by_id(id);
        if (spec != NULL && spec->internal && slice_is_word(words->items[0], spec->shown)) {
            return spec;
        }
    }
    ASSERT(command_lookup(words->items, words->count, &spec) == COMMAND_FOUND);
    return spec;
}

static struct slice encode_inner(struct request_words *words, const char *name)
{
    const struct slice argv[] = {slice_from_string(name)};
    const struct command_spec *spec = NULL;
    ASSERT(command_lookup(argv, 1, &spec) == COMMAND_FOUND && words->inner.size == 0);
    command_encode(&words->inner, &(struct command){spec, argv, 1, RESP2});
    return buffer_slice(&words->inner);
}

static struct command parse(struct request_words *words, const char *text)
{
    *words = (struct request_words){.bytes = strdup(text)};
    ASSERT(words->bytes != NULL);
    char *rest = words->bytes;
    for (char *word = strtok_r(rest, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        ASSERT(words->count < WORDS);
        if (word[0] == '~') {
            size_t size = strtoul(word + 1, NULL, 10);
            ASSERT(words->filler == NULL);
            words->filler = malloc(size + 1);
            ASSERT(words->filler != NULL);
            memset(words->filler, 'x', size);
            words->items[words->count++] = slice_of(words->filler, size);
        } else if (word[0] == '=') {
            words->items[words->count++] = encode_inner(words, word + 1);
        } else {
            words->items[words->count++] = slice_from_string(word);
        }
    }
    return (struct command){find(words), words->items, words->count, RESP2};
}

static void words_free(struct request_words *words)
{
    free(words->bytes);
    free(words->filler);
    buffer_deinit(&words->inner);
}

static enum status submit(struct fixture *fixture, const char *text, bool logged, uint64_t *ret_tag)
{
    struct request_words words;
    struct command command = parse(&words, text);
    uint64_t tag = fixture->tags + 1;
    ASSERT(tag < FIXTURE_REPLIES);
    enum status status = logged ? shard_submit_logged(fixture->shard, &command, fixture->replies, tag)
                                : shard_submit(fixture->shard, &command, fixture->replies, tag);
    words_free(&words);
    if (status == STATUS_OK) {
        *ret_tag = fixture->tags = tag;
        env_wake(fixture->env);
    }
    return status;
}

uint64_t fixture_submit_as(struct fixture *fixture, uint64_t who, const char *text)
{
    struct request_words words;
    struct command command = parse(&words, text);
    bool logged = (command.spec->flags & COMMAND_READONLY) == 0;
    struct shard_request request = {.origin = fixture->replies, .tag = ++fixture->tags, .who = who};
    assert_int_equal(shard_take(fixture->shard, &command, logged, &request), STATUS_OK);
    words_free(&words);
    env_wake(fixture->env);
    return request.tag;
}

enum status fixture_try(struct fixture *fixture, const char *words, uint64_t *ret_tag)
{
    return submit(fixture, words, false, ret_tag);
}

uint64_t fixture_submit(struct fixture *fixture, const char *words)
{
    uint64_t tag = 0;
    assert_int_equal(submit(fixture, words, false, &tag), STATUS_OK);
    return tag;
}

uint64_t fixture_submit_logged(struct fixture *fixture, const char *words)
{
    uint64_t tag = 0;
    assert_int_equal(submit(fixture, words, true, &tag), STATUS_OK);
    return tag;
}

const char *fixture_read(struct fixture *fixture, const char *text)
{
    static char out[FIXTURE_TEXT_BYTES];
    struct request_words words;
    struct command command = parse(&words, text);
    buffer_clear(&fixture->text);
    struct resp_writer writer = resp_writer_to(&fixture->text, RESP2);
    bool read = shard_read(fixture->shard, &command, &writer);
    words_free(&words);
    assert_true(read || fixture->text.size == 0);
    return read ? flatten(&fixture->text, out) : NULL;
}

const char *fixture_call(struct fixture *fixture, const char *words)
{
    uint64_t tag = fixture_submit(fixture, words);
    fixture_settle(fixture);
    return fixture_reply(fixture, tag);
}

void fixture_settle(struct fixture *fixture)
{
    for (int i = 0; i < SETTLE_STEPS && fixture->failures == 0; i++) {
        if (shard_idle(fixture->shard)) {
            return;
        }
        assert_true(sim_step(fixture->sim));
    }
    assert_int_equal(fixture->failures, 1);
}

const char *fixture_reply(const struct fixture *fixture, uint64_t tag)
{
    const struct fixture_reply *reply = &fixture->replies[tag];
    return reply->tag == 0 || reply->refused != STATUS_OK ? NULL : reply->text;
}

struct shard_stats fixture_stats(const struct fixture *fixture)
{
    struct shard_stats stats;
    shard_stats(fixture->shard, &stats);
    return stats;
}

struct count {
    const char *part;
    int count;
};

static void count_name(void *owner, const char *name)
{
    struct count *count = owner;
    count->count += strstr(name, count->part) != NULL;
}

int fixture_files(struct fixture *fixture, const char *part)
{
    struct count count = {part, 0};
    assert_int_equal(sim_disk_list_directory(fixture_disk(fixture), "/data", count_name, &count), STATUS_OK);
    return count.count;
}

struct sim_disk *fixture_disk(struct fixture *fixture) { return sim_node_disk(fixture->sim, NODE); }
