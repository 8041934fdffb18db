#include "machine/txn/home.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"
#include "machine/machine_mutation.h"
#include "machine/txn/home_internal.h"

#include <stdlib.h>

/* The moves that there are; every other one is a mistake of ours. */
static const bool moves[HOME_STATES][HOME_STATES] = {
    [HOME_ABSENT] = {[HOME_BEGUN] = true, [HOME_OPEN] = true, [HOME_ABORT] = true},
    [HOME_BEGUN] = {[HOME_OPEN] = true, [HOME_ABORT] = true},
    [HOME_OPEN] = {[HOME_COMMIT] = true, [HOME_ABORT] = true},
    [HOME_COMMIT] = {[HOME_DONE] = true},
    [HOME_ABORT] = {[HOME_DONE] = true},
};

const char *home_state_name(enum home_state state)
{
    static const char *const names[HOME_STATES] = {"ABSENT", "BEGUN", "OPEN", "COMMIT", "ABORT", "DONE"};
    return names[state];
}

bool home_state_parse(struct slice word, enum home_state *ret_state)
{
    for (enum home_state state = HOME_BEGUN; state < HOME_STATES; state++) {
        if (slice_is_word(word, home_state_name(state))) {
            *ret_state = state;
            return true;
        }
    }
    return false;
}

const char *home_told(const struct home *home)
{
    return home_state_name(home->outcome != HOME_ABSENT ? home->outcome : home->state);
}

void homes_init(struct homes *homes, uint64_t seed)
{
    *homes = (struct homes){0};
    table_init(&homes->table, seed, offsetof(struct home, id));
    list_init(&homes->open);
    list_init(&homes->decided);
    list_init(&homes->done);
    list_init(&homes->kept);
    list_init(&homes->replied);
}

void home_free(struct home *home)
{
    for (uint32_t i = 0; i < home->branch_count; i++) {
        branch_deinit(&home->branches[i]);
    }
    buffer_deinit(&home->replies);
    free(home->branches);
    free(home->participants);
    free(home->reason);
    free(home);
}

static void release_home(void *owner, void *item)
{
    (void)owner;
    home_free(item);
}

void homes_deinit(struct homes *homes)
{
    while (table_release(&homes->table, 1024, release_home, NULL)) {
    }
}

struct home *homes_find(const struct homes *homes, struct slice id)
{
    return table_find(&homes->table, table_hash(&homes->table, id), id);
}

/* ---- the lists, and what is forgotten ---- */

static struct list *list_for(struct homes *homes, const struct home *home)
{
    switch (home->state) {
    case HOME_BEGUN:
    case HOME_OPEN: return &homes->open;
    case HOME_COMMIT:
    case HOME_ABORT: return &homes->decided;
    default: return home->made ? &homes->done : &homes->kept;
    }
}

void home_enter(struct homes *homes, struct home *home)
{
    list_append(list_for(homes, home), &home->node);
    homes->open_count += home->state != HOME_DONE ? 1 : 0;
    homes->joined_count += home->state != HOME_DONE && home->branch_count != 0 ? 1 : 0;
    homes->done_count += home->state == HOME_DONE && home->made ? 1 : 0;
    if (home->state == HOME_DONE && home->replies.size != 0) {
        list_append(&homes->replied, &home->replied);
    }
}

static void leave(struct homes *homes, struct home *home)
{
    list_remove(&home->node);
    homes->open_count -= home->state != HOME_DONE ? 1 : 0;
    homes->joined_count -= home->state != HOME_DONE && home->branch_count != 0 ? 1 : 0;
    homes->done_count -= home->state == HOME_DONE && home->made ? 1 : 0;
}

static void drop_replies(struct homes *homes, struct home *home)
{
    homes->reply_bytes -= home->replies.size;
    buffer_deinit(&home->replies);
    list_remove(&home->replied);
}

static void forget(struct homes *homes, struct home *home)
{
    ASSERT(home->state == HOME_DONE);
    drop_replies(homes, home);
    leave(homes, home);
    homes->named_count -= home->made ? 0 : 1;
    table_remove(&homes->table, table_hash(&homes->table, home_id(home)), home);
    home_free(home);
}

static void move(struct homes *homes, struct home *home, enum home_state to)
{
    ASSERT(moves[home->state][to]);
    if (home->state != HOME_ABSENT) {
        leave(homes, home);
    }
    home->state = (uint8_t)to;
    home_enter(homes, home);
}

static void forget_some(struct homes *homes, int64_t time_ms)
{
    enum { AT_ONCE = 8 }; /* an entry adds one at most */
    for (int i = 0; i < AT_ONCE && homes->done_count > TXN_DONE; i++) {
        struct home *oldest = CONTAINER_OF(homes->done.next, struct home, node);
        if (oldest->id_position >= homes->watermark) {
            homes->watermark = oldest->id_position + 1;
        }
        forget(homes, oldest);
    }
    for (int i = 0; i < AT_ONCE && !list_empty(&homes->kept); i++) {
        struct home *oldest = CONTAINER_OF(homes->kept.next, struct home, node);
        if (time_ms - oldest->done_ms < oldest->kept_ms) {
            break;
        }
        forget(homes, oldest);
    }
}

struct home *home_create(struct slice id)
{
    struct home *home = memory_allocate_zeroed(1, sizeof(*home) + id.size);
    struct txn_id parts;
    ASSERT(txn_id_parse(id, &parts));
    home->id_size = (uint32_t)id.size;
    home->made = parts.made;
    home->kept_ms = parts.made ? 0 : TXN_ID_KEPT_MS;
    home->id_position = parts.position;
    memcpy(home->id, id.data, id.size);
    list_init(&home->node);
    list_init(&home->replied);
    return home;
}

void home_insert(struct homes *homes, struct home *home)
{
    table_insert(&homes->table, table_hash(&homes->table, home_id(home)), home);
    homes->named_count += home->made ? 0 : 1;
    homes->reply_bytes += home->replies.size;
}

/* ---- opening ---- */

static bool is_old(const struct homes *homes, struct slice id)
{
    struct txn_id parts;
    ASSERT(txn_id_parse(id, &parts));
    return parts.made && parts.position < homes->watermark;
}

static bool has_room(const struct homes *homes, struct slice id, uint64_t ids)
{
    return id.data[0] == '~' || homes->named_count < ids;
}

static void set_participants(struct home *home, const struct home_open *open)
{
    free(home->participants);
    home->participants = NULL;
    home->participant_count = open->participant_count;
    if (open->participant_count != 0) {
        home->participants = memory_allocate_zeroed(open->participant_count, sizeof(*home->participants));
    }
    for (uint32_t i = 0; i < open->participant_count; i++) {
        ASSERT(txn_shard_parse(open->participants[i], &home->participants[i].shard));
    }
}

/* `home` is its record; NULL: it has none. */
static enum home_outcome may_open(const struct homes *homes, const struct home *home, const struct home_open *open)
{
    if (home != NULL && (home->state != HOME_BEGUN || open->participant_count == 0)) {
        return HOME_EXISTS;
    }
    if (open->epoch != open->term) {
        return HOME_EPOCH;
    }
    if (home == NULL && is_old(homes, open->id)) {
        return HOME_OLD;
    }
    bool full = homes->open_count >= TXN_OPEN || !has_room(homes, open->id, TXN_IDS);
    return home == NULL && full ? HOME_FULL : HOME_OPENED;
}

enum home_outcome homes_open(struct homes *homes, const struct home_open *open)
{
    forget_some(homes, open->time_ms);
    struct home *home = homes_find(homes, open->id);
    enum home_outcome outcome = may_open(homes, home, open);
    if (outcome != HOME_OPENED) {
        return outcome;
    }
    if (home == NULL) {
        home = home_create(open->id);
        home_insert(homes, home);
    }
    home->epoch = open->epoch;
    home->protocol = (uint8_t)open->protocol;
    home->opened = open->position;
    home->opened_ms = open->time_ms;
    home->deadline_ms = open->time_ms + open->timeout_ms;
    home->kept_ms = home->made ? 0 : open->kept_ms;
    set_participants(home, open);
    move(homes, home, open->participant_count == 0 ? HOME_BEGUN : HOME_OPEN);
    return HOME_OPENED;
}

/* ---- deciding ---- */

void home_finish_if_all(struct homes *homes, struct home *home, uint64_t position, int64_t time_ms)
{
    bool remembers = home->outcome == HOME_COMMIT && home->branches_left != 0 && !MACHINE_MUTATED(BRANCHES_FORGOTTEN);
    if (home->done_count == home->participant_count && !remembers) {
        home->done = position;
        home->done_ms = time_ms;
        move(homes, home, HOME_DONE);
        forget_some(homes, time_ms);
    }
}

static void decide(struct homes *homes, struct home *home, enum home_state outcome, uint64_t position, int64_t time_ms)
{
    ASSERT(home->outcome == HOME_ABSENT);
    home->outcome = (uint8_t)outcome;
    home->decided = position;
    home->decided_ms = time_ms;
    move(homes, home, outcome);
    home_finish_if_all(homes, home, position, time_ms);
}

struct home *homes_resolve(struct homes *homes, struct slice id, uint64_t position, int64_t time_ms, bool *ret_full)
{
    struct home *home = homes_find(homes, id);
    *ret_full = false;
    if (home != NULL || is_old(homes, id)) {
        return home;
    }
    if (!has_room(homes, id, TXN_IDS + TXN_IDS_ASKED)) { /* those that are open take no room from it: it is DONE now */
        *ret_full = true;
        return NULL;
    }
    home = home_create(id);
    home_insert(homes, home);
    home->protocol = TXN_2PC;
    home->opened_ms = time_ms;
    home->deadline_ms = time_ms;
    home->reason = memory_copy_text("it was asked about before it was opened");
    decide(homes, home, HOME_ABORT, position, time_ms);
    return home;
}

static struct home_participant *participant(const struct home *home, uint32_t shard)
{
    for (uint32_t i = 0; i < home->participant_count; i++) {
        if (home->participants[i].shard == shard) {
            return &home->participants[i];
        }
    }
    return NULL;
}

/* Takes over the votes; false when one is missing. */
static bool take_votes(struct home *home, const struct slice *votes, uint32_t vote_count)
{
    if (vote_count != home->participant_count) {
        return false;
    }
    for (uint32_t i = 0; i < vote_count; i++) {
        uint32_t shard;
        int64_t vote;
        if (!txn_shard_parse(votes[2 * i], &shard) || !number_parse_int64(votes[2 * i + 1], &vote) || vote <= 0) {
            return false;
        }
        struct home_participant *of = participant(home, shard);
        if (of == NULL) {
            return false;
        }
        of->vote = (uint64_t)vote;
    }
    for (uint32_t i = 0; i < home->participant_count; i++) {
        if (home->participants[i].vote == 0) {
            return false;
        }
    }
    return true;
}

bool home_commit(struct homes *homes, struct home *home, uint64_t epoch, const struct slice *votes, uint32_t vote_count,
                 uint64_t position, int64_t time_ms)
{
    if (home->state != HOME_OPEN || home->epoch != epoch) {
        return false;
    }
    if (!take_votes(home, votes, vote_count)) {
        for (uint32_t i = 0; i < home->participant_count; i++) {
            home->participants[i].vote = 0;
        }
        return false;
    }
    decide(homes, home, HOME_COMMIT, position, time_ms);
    return true;
}

bool home_abort(struct homes *homes, struct home *home, struct slice reason, uint64_t position, int64_t time_ms)
{
    if (home->state != HOME_BEGUN && home->state != HOME_OPEN) {
        return false;
    }
    size_t size = reason.size < TXN_REASON_BYTES ? reason.size : TXN_REASON_BYTES;
    home->reason = memory_make_text(reason.data, size);
    decide(homes, home, HOME_ABORT, position, time_ms);
    return true;
}

/* ---- both at once ---- */

enum home_outcome homes_take_last(struct homes *homes, const struct home_open *open)
{
    forget_some(homes, open->time_ms);
    const struct home *home = homes_find(homes, open->id);
    enum home_outcome outcome = may_open(homes, home, open);
    uint64_t begun = home == NULL ? 0 : home->opened;
    bool other = begun != open->begun || (home == NULL && open->id.data[0] != '~');
    return outcome == HOME_OPENED && other ? HOME_EXISTS : outcome; /* it was somebody else's, or has ended */
}

struct home *homes_open_last(struct homes *homes, const struct home_open *open)
{
    const struct home *begun = homes_find(homes, open->id);
    struct home_open so = *open;
    so.kept_ms = begun == NULL ? 0 : begun->kept_ms;
    ASSERT(homes_open(homes, &so) == HOME_OPENED);
    struct home *home = homes_find(homes, open->id);
    for (uint32_t i = 0; i < home->participant_count; i++) {
        int64_t vote;
        ASSERT(number_parse_int64(open->votes[i], &vote) && vote >= 0);
        home->participants[i].vote = vote == 0 ? open->position : (uint64_t)vote;
    }
    decide(homes, home, HOME_COMMIT, open->position, open->time_ms);
    return home;
}

void home_keep_replies(struct homes *homes, struct home *home, struct slice replies)
{
    ASSERT(home->outcome == HOME_COMMIT && home->replies.size == 0);
    if (MACHINE_MUTATED(OTHER_REPLIES)) {
        replies = SLICE_LITERAL("$-1\r\n");
    }
    if (replies.size == 0 || replies.size > TXN_REPLY_BYTES) {
        return;
    }
    while (homes->reply_bytes + replies.size > TXN_REPLIES_BYTES && !list_empty(&homes->replied)) {
        drop_replies(homes, CONTAINER_OF(homes->replied.next, struct home, replied));
    }
    if (homes->reply_bytes + replies.size > TXN_REPLIES_BYTES) {
        return; /* too many are not DONE */
    }
    buffer_append_slice(&home->replies, replies);
    homes->reply_bytes += replies.size;
    if (home->state == HOME_DONE) {
        list_append(&homes->replied, &home->replied);
    }
}

void home_acknowledge(struct homes *homes, struct home *home, uint32_t shard, uint64_t position, int64_t time_ms)
{
    struct home_participant *of = participant(home, shard);
    if ((home->state != HOME_COMMIT && home->state != HOME_ABORT) || of == NULL || of->done) {
        return;
    }
    of->done = true;
    home->done_count++;
    home_finish_if_all(homes, home, position, time_ms);
}
