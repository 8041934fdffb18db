#include "log_fixture.h"

#include "base/assert.h"
#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture *fixture_create(uint64_t seed)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    ASSERT(fixture != NULL);
    fixture->disk = sim_disk_create(seed);
    fixture->segment_bytes = FIXTURE_SEGMENT_BYTES;
    fixture->folder = (struct folder_name){{{1}}, 1};
    assert_int_equal(sim_disk_make_directory(fixture->disk, "log"), STATUS_OK);
    assert_int_equal(sim_disk_sync_directory(fixture->disk, "."), STATUS_OK);
    disk_env_init(&fixture->env, fixture->disk);
    fixture->env.random = seed;
    return fixture;
}

void fixture_destroy(struct fixture *fixture)
{
    fixture_close(fixture);
    sim_disk_destroy(fixture->disk);
    free(fixture);
}

static void durable(void *owner, uint64_t ticket)
{
    struct fixture *fixture = owner;
    assert_int_equal(fixture->failures, 0);
    while (fixture->durable < fixture->count && fixture->records[fixture->durable].ticket <= ticket) {
        fixture->durable++;
    }
}

static void failed(void *owner, enum status status, const char *what)
{
    struct fixture *fixture = owner;
    fixture->failures++;
    fixture->failure = status;
    (void)snprintf(fixture->what, sizeof(fixture->what), "%s", what);
}

static const struct log_events events = {.durable = durable, .failed = failed};

enum status fixture_open(struct fixture *fixture)
{
    fixture->failures = 0;
    fixture->message[0] = '\0';
    struct log_options options = {"log", fixture->segment_bytes, fixture->folder};
    enum status status = log_open(&fixture->env.env, &options, &events, fixture, &fixture->log, fixture->message,
                                  sizeof(fixture->message));
    for (size_t i = 0; i < fixture->count; i++) {
        fixture->records[i].ticket = 0;
    }
    return status;
}

void fixture_close(struct fixture *fixture)
{
    log_close(fixture->log);
    fixture->log = NULL;
    disk_env_run(&fixture->env);
    assert_int_equal(fixture->env.timer_count, 0);
}

void fixture_crash(struct fixture *fixture, bool power)
{
    if (power) {
        sim_disk_crash(fixture->disk);
    } else {
        sim_disk_kill(fixture->disk);
    }
    fixture_close(fixture); /* its files are dead */
}

/* ---- appending ---- */

static void fill(uint8_t *data, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(i % 8 == 0 ? prng_splitmix(&seed) : seed >> (i % 8 * 8));
    }
}

static uint64_t keep(struct fixture *fixture, struct fixture_record record)
{
    ASSERT(fixture->count < FIXTURE_RECORDS);
    fixture->records[fixture->count++] = record;
    return record.ticket;
}

uint64_t fixture_entry(struct fixture *fixture, uint32_t group, uint64_t index, uint64_t term, size_t size)
{
    uint64_t seed = ++fixture->next_seed;
    uint8_t *data = malloc(size + 1);
    ASSERT(data != NULL);
    fill(data, size, seed);
    struct slice parts[2] = {{data, size / 3}, {data + size / 3, size - size / 3}};
    struct log_entry entry = {.index = index, .term = term, .kind = (uint8_t)(index % 7)};
    uint64_t ticket = log_append(fixture->log, group, &entry, parts, 2);
    free(data);
    return keep(fixture, (struct fixture_record){FIXTURE_ENTRY, group, index, term, size, seed, ticket});
}

uint64_t fixture_next(struct fixture *fixture, uint32_t group, size_t size)
{
    return fixture_entry(fixture, group, fixture_last(fixture, group) + 1, 1 + fixture->count / 10, size);
}

uint64_t fixture_hard_state(struct fixture *fixture, uint32_t group, uint64_t term, uint64_t vote)
{
    struct log_hard_state state = {term, vote, term + vote};
    uint64_t ticket = log_append_hard_state(fixture->log, group, &state);
    return keep(fixture, (struct fixture_record){FIXTURE_HARD_STATE, group, term, vote, 0, 0, ticket});
}

uint64_t fixture_trim(struct fixture *fixture, uint32_t group, uint64_t index, uint64_t term)
{
    bool news = index > fixture_trimmed(fixture, group);
    uint64_t ticket = log_append_trim(fixture->log, group, index, term);
    return news ? keep(fixture, (struct fixture_record){FIXTURE_TRIM, group, index, term, 0, 0, ticket}) : ticket;
}

uint64_t fixture_last(struct fixture *fixture, uint32_t group)
{
    uint64_t trimmed, trimmed_term, last, last_term;
    log_bounds(fixture->log, group, &trimmed, &trimmed_term, &last, &last_term);
    return last;
}

uint64_t fixture_trimmed(struct fixture *fixture, uint32_t group)
{
    uint64_t trimmed, trimmed_term, last, last_term;
    log_bounds(fixture->log, group, &trimmed, &trimmed_term, &last, &last_term);
    return trimmed;
}

static void count_name(void *owner, const char *name) { *(int *)owner += strstr(name, ".log") != NULL; }

int fixture_files(struct fixture *fixture)
{
    int files = 0;
    assert_int_equal(sim_disk_list_directory(fixture->disk, "log", count_name, &files), STATUS_OK);
    return files;
}

/* ---- the model ---- */

struct model_group {
    bool there;
    uint64_t trimmed, trimmed_term, last;
    struct log_hard_state hard_state;
    const struct fixture_record *entries[FIXTURE_RECORDS + 1]; /* by index minus base */
    uint64_t base;
};

static void apply(struct model_group *group, const struct fixture_record *record)
{
    group->there = true;
    switch (record->kind) {
    case FIXTURE_HARD_STATE:
        group->hard_state = (struct log_hard_state){record->a, record->b, record->a + record->b};
        break;
    case FIXTURE_ENTRY:
        if (group->last == group->trimmed) {
            group->base = group->trimmed;
        }
        group->entries[record->a - group->base] = record;
        group->last = record->a;
        break;
    case FIXTURE_TRIM: {
        bool within = record->a > group->trimmed && record->a <= group->last;
        bool same = within && group->entries[record->a - group->base]->b == record->b;
        group->last = same ? group->last : record->a;
        group->trimmed = record->a;
        group->trimmed_term = record->b;
        break;
    }
    }
}

#define DIFFERS(...) ((void)snprintf(fixture->message, sizeof(fixture->message), __VA_ARGS__), false)

static bool entry_matches(struct fixture *fixture, uint32_t id, const struct fixture_record *record)
{
    struct buffer out;
    buffer_init(&out);
    buffer_append_string(&out, "before");
    struct log_entry entry = {0};
    enum status status = log_read(fixture->log, id, record->a, &out, &entry);
    uint8_t *expected = malloc(record->size + 1);
    ASSERT(expected != NULL);
    fill(expected, record->size, record->seed);
    bool same = status == STATUS_OK && entry.index == record->a && entry.term == record->b &&
                entry.kind == record->a % 7 && slice_equal(entry.payload, slice_of(expected, record->size)) &&
                out.size == 6 + record->size && log_term(fixture->log, id, record->a) == record->b;
    same = same && log_look(fixture->log, id, record->a, &out, &entry) == STATUS_OK && out.size == 6 + record->size &&
           slice_equal(entry.payload, slice_of(expected, record->size)) && entry.term == record->b &&
           log_entry_bytes(fixture->log, id, record->a) > record->size;
    free(expected);
    buffer_deinit(&out);
    return same ? true : DIFFERS("group %u entry %llu: %s", id, (unsigned long long)record->a, status_text(status));
}

static bool group_matches(struct fixture *fixture, uint32_t id, const struct model_group *group)
{
    uint64_t trimmed, trimmed_term, last, last_term;
    log_bounds(fixture->log, id, &trimmed, &trimmed_term, &last, &last_term);
    struct log_hard_state state = log_hard_state(fixture->log, id);
    uint64_t expected_last_term =
        group->last > group->trimmed ? group->entries[group->last - group->base]->b : group->trimmed_term;
    if (trimmed != group->trimmed || trimmed_term != group->trimmed_term || last != group->last ||
        last_term != expected_last_term) {
        return DIFFERS("group %u has (%llu, %llu], not (%llu, %llu]", id, (unsigned long long)trimmed,
                       (unsigned long long)last, (unsigned long long)group->trimmed, (unsigned long long)group->last);
    }
    if (memcmp(&state, &group->hard_state, sizeof(state)) != 0) {
        return DIFFERS("group %u has another hard state", id);
    }
    struct log_entry entry;
    struct buffer out;
    buffer_init(&out);
    bool none = log_read(fixture->log, id, trimmed, &out, &entry) == STATUS_NOTFOUND &&
                log_read(fixture->log, id, last + 1, &out, &entry) == STATUS_NOTFOUND && out.capacity == 0 &&
                log_look(fixture->log, id, last + 1, &out, &entry) == STATUS_NOTFOUND &&
                log_entry_bytes(fixture->log, id, last + 1) == 0;
    if (!none) {
        return DIFFERS("group %u has entries outside its bounds", id);
    }
    for (uint64_t index = trimmed + 1; index <= last; index++) {
        if (!entry_matches(fixture, id, group->entries[index - group->base])) {
            return false;
        }
    }
    return true;
}

bool fixture_matches(struct fixture *fixture, size_t count)
{
    struct model_group *groups = calloc(FIXTURE_GROUPS, sizeof(struct model_group));
    ASSERT(groups != NULL);
    for (size_t i = 0; i < count; i++) {
        apply(&groups[fixture->records[i].group], &fixture->records[i]);
    }
    bool same = true;
    size_t there = 0;
    for (uint32_t id = 0; id < FIXTURE_GROUPS && same; id++) {
        there += groups[id].there;
        same = group_matches(fixture, id, &groups[id]);
    }
    if (same && log_groups(fixture->log, NULL, 0) != there) {
        same = DIFFERS("%zu groups, not %zu", log_groups(fixture->log, NULL, 0), there);
    }
    free(groups);
    return same;
}

void fixture_check(struct fixture *fixture)
{
    if (!fixture_matches(fixture, fixture->count)) {
        fail_msg("%s", fixture->message);
    }
}

void fixture_recover(struct fixture *fixture)
{
    enum status status = fixture_open(fixture);
    if (status != STATUS_OK) {
        fail_msg("does not open: %s", fixture->message);
    }
    char first[512] = "";
    for (size_t count = fixture->durable; count <= fixture->count; count++) {
        if (fixture_matches(fixture, count)) {
            fixture->count = count;
            fixture->durable = count;
            return;
        }
        if (first[0] == '\0') {
            memcpy(first, fixture->message, sizeof(first));
        }
    }
    fail_msg("%zu durable of %zu, but: %s; %s", fixture->durable, fixture->count, first, fixture->message);
}
