#include "machine/txn/prepare.h"

#include "base/number.h"
#include "machine/txn/txn_limits.h"

/* Walks the arguments: n, then n times `each` of them. */
struct cursor {
    const struct slice *argv;
    uint32_t at, argc;
};

static bool take_number(struct cursor *cursor, int64_t *ret_value)
{
    return cursor->at < cursor->argc && number_parse_int64(cursor->argv[cursor->at++], ret_value) && *ret_value >= 0;
}

static bool take_list(struct cursor *cursor, uint32_t each, const struct slice **ret_items, uint32_t *ret_count)
{
    int64_t count;
    if (!take_number(cursor, &count) || count > (cursor->argc - cursor->at) / each) {
        return false;
    }
    *ret_items = cursor->argv + cursor->at;
    *ret_count = (uint32_t)count;
    cursor->at += (uint32_t)count * each;
    return true;
}

bool txn_shard_parse(struct slice text, uint32_t *ret_shard)
{
    int64_t number;
    if (!number_parse_int64(text, &number) || number <= 0 || number > TXN_PARTICIPANTS) {
        return false;
    }
    *ret_shard = (uint32_t)number;
    return true;
}

bool txn_shards_parse(struct slice text, uint32_t *ret_first, uint32_t *ret_last)
{
    const uint8_t *dash = text.size == 0 ? NULL : memchr(text.data, '-', text.size);
    size_t size = dash == NULL ? text.size : (size_t)(dash - text.data);
    if (!txn_shard_parse(slice_of(text.data, size), ret_first)) {
        return false;
    }
    *ret_last = *ret_first;
    return dash == NULL ||
           (txn_shard_parse(slice_of(dash + 1, text.size - size - 1), ret_last) && *ret_last > *ret_first);
}

static bool take_mode(struct slice word, enum txn_prepare_mode *ret_mode)
{
    static const char *const words[] = {"NOW", "WAIT", "HOLD"};
    for (enum txn_prepare_mode mode = PREPARE_NOW; mode <= PREPARE_HOLD; mode++) {
        if (slice_is_word(word, words[mode])) {
            *ret_mode = mode;
            return true;
        }
    }
    return false;
}

/* Every vote is named, but home's own, which is the entry itself. */
static bool votes_valid(const struct txn_prepare *prepare, uint32_t vote_count)
{
    uint32_t shard;
    int64_t vote;
    for (uint32_t i = 0; i < vote_count; i++) {
        if (!txn_shard_parse(prepare->participants[i], &shard) || !number_parse_int64(prepare->votes[i], &vote) ||
            vote < 0 || (vote == 0) != (shard == prepare->home)) {
            return false;
        }
    }
    return vote_count == prepare->participant_count;
}

/* In ascending order, so none twice. */
static bool shards_valid(struct txn_prepare *prepare)
{
    uint32_t before = 0;
    prepare->shard_count = 0;
    for (uint32_t i = 0; i < prepare->participant_count; i++) {
        uint32_t first;
        uint32_t last;
        if (!txn_shards_parse(prepare->participants[i], &first, &last) || first <= before) {
            return false;
        }
        prepare->shard_count += last - first + 1;
        before = last;
    }
    return prepare->shard_count > 0 || (prepare->protocol == TXN_2PC && prepare->mode != PREPARE_LAST);
}

static bool versions_valid(const struct txn_prepare *prepare)
{
    int64_t version;
    for (uint32_t i = 0; i < prepare->check_count; i++) {
        if (!number_parse_int64(prepare->checks[2 * i + 1], &version) || version < 0) {
            return false;
        }
    }
    return true;
}

/* Who runs it, when the id does not say so: BY node start. */
static bool take_runner(struct cursor *cursor, struct txn_prepare *prepare)
{
    int64_t node;
    int64_t start;
    if (cursor->at >= cursor->argc || !slice_is_word(cursor->argv[cursor->at], "BY")) {
        return true;
    }
    cursor->at++;
    if (prepare->runner.node != 0 || !take_number(cursor, &node) || !take_number(cursor, &start) || node == 0) {
        return false;
    }
    prepare->runner = (struct txn_runner){(uint64_t)node, (uint64_t)start};
    return true;
}

/* Behind the epoch: protocol and mode, who runs it, and the participants. */
static bool take_participants(struct cursor *cursor, struct txn_prepare *prepare)
{
    int64_t protocol;
    if (!take_number(cursor, &protocol) || (protocol != TXN_2PC && protocol != TXN_3PC) ||
        !take_mode(cursor->argv[cursor->at], &prepare->mode)) {
        return false;
    }
    prepare->protocol = protocol == TXN_3PC ? TXN_3PC : TXN_2PC;
    cursor->at++;
    return take_runner(cursor, prepare) && take_list(cursor, 1, &prepare->participants, &prepare->participant_count);
}

/* The same of LAST: the record it goes on from, the participants, their votes. */
static bool take_voters(struct cursor *cursor, struct txn_prepare *prepare)
{
    int64_t begun;
    uint32_t vote_count;
    if (!take_number(cursor, &begun) || !take_list(cursor, 1, &prepare->participants, &prepare->participant_count) ||
        !take_list(cursor, 1, &prepare->votes, &vote_count)) {
        return false;
    }
    prepare->begun = (uint64_t)begun;
    prepare->protocol = TXN_2PC;
    prepare->mode = PREPARE_LAST;
    return votes_valid(prepare, vote_count);
}

bool txn_prepare_parse(const struct command *command, struct txn_prepare *ret_prepare)
{
    struct txn_prepare prepare = {.id = command->argv[1]};
    struct cursor cursor = {command->argv, 3, command->argc};
    bool last = command->spec->id == COMMAND_COHORT_TXN_LAST;
    struct txn_id id;
    int64_t epoch;
    if (!txn_id_parse(prepare.id, &id) || !txn_shard_parse(command->argv[2], &prepare.home) ||
        !take_number(&cursor, &epoch)) {
        return false;
    }
    prepare.epoch = (uint64_t)epoch;
    prepare.runner = (struct txn_runner){id.node, id.start};
    if (!(last ? take_voters(&cursor, &prepare) : take_participants(&cursor, &prepare)) ||
        !take_list(&cursor, 2, &prepare.checks, &prepare.check_count) ||
        !take_list(&cursor, 2, &prepare.writes, &prepare.write_count)) {
        return false;
    }
    prepare.commands = command->argv + cursor.at;
    prepare.command_count = command->argc - cursor.at;
    if (!shards_valid(&prepare) || !versions_valid(&prepare)) {
        return false;
    }
    *ret_prepare = prepare;
    return true;
}
