/* Transactions as records of snapshots, and their digest, which is that of the records.
 *
 * After the kind and a version (1; 2: a home with branches, a part whose PREPARE has told who runs it, marks with
 * `abandoned`), u8 each; numbers are varints, texts a size and bytes:
 *
 *   'H' home    id · state · outcome · protocol · epoch · opened · decided · done · opened_ms · deadline_ms ·
 * decided_ms · done_ms · reason · participants, for each: shard · done · vote · of a client's id kept_ms, if it is not
 *               TXN_ID_KEPT_MS or replies follow · replies, if there are some
 *               version 2: kept_ms · replies, maybe empty · branches, for each: restores · position · joined_ms · state
 *               · label · resource · evidence, maybe empty
 *   'P' part    id · version 2: node · start · state · protocol · home · epoch · vote · since_ms · key count
 *               · participants · body, the rest
 *   'W' marks   version 2: abandoned · watermark · epochs
 *
 * The records of a list come in its order. */
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/record.h"
#include "machine/txn/home_internal.h"
#include "machine/txn/part_internal.h"
#include "machine/txn/txn.h"

#include <stdlib.h>

enum { RECORD_VERSION = 1, RECORD_BRANCHES = 2, RECORD_RUNNER = 2 };

static void put_head(struct buffer *out, uint8_t kind, uint8_t version, struct slice id)
{
    record_put_head(out, kind, version);
    record_put_text(out, id);
}

static struct slice text_or_nothing(const char *text)
{
    return text == NULL ? slice_of(NULL, 0) : slice_from_string(text);
}

static void put_branches(const struct home *home, struct buffer *out)
{
    record_put_number(out, home->branch_count);
    for (uint32_t i = 0; i < home->branch_count; i++) {
        const struct branch *branch = &home->branches[i];
        const uint64_t numbers[] = {branch->restores, branch->position, (uint64_t)branch->joined_ms, branch->state};
        record_put_numbers(out, numbers, sizeof(numbers) / sizeof(numbers[0]));
        record_put_text(out, slice_from_string(branch->label));
        record_put_text(out, slice_from_string(branch->resource));
        record_put_text(out, text_or_nothing(branch->evidence));
    }
}

void home_put(const struct home *home, struct buffer *out)
{
    bool joined = home->branch_count != 0;
    put_head(out, TXN_RECORD_HOME, joined ? RECORD_BRANCHES : RECORD_VERSION, home_id(home));
    const uint64_t numbers[] = {home->state,
                                home->outcome,
                                home->protocol,
                                home->epoch,
                                home->opened,
                                home->decided,
                                home->done,
                                (uint64_t)home->opened_ms,
                                (uint64_t)home->deadline_ms,
                                (uint64_t)home->decided_ms,
                                (uint64_t)home->done_ms};
    record_put_numbers(out, numbers, sizeof(numbers) / sizeof(numbers[0]));
    record_put_text(out, text_or_nothing(home->reason));
    record_put_number(out, home->participant_count);
    for (uint32_t i = 0; i < home->participant_count; i++) {
        record_put_number(out, home->participants[i].shard);
        record_put_number(out, home->participants[i].done ? 1 : 0);
        record_put_number(out, home->participants[i].vote);
    }
    if (joined || (!home->made && home->kept_ms != TXN_ID_KEPT_MS) || home->replies.size != 0) {
        record_put_number(out, (uint64_t)home->kept_ms);
    }
    if (joined || home->replies.size != 0) {
        record_put_text(out, buffer_slice(&home->replies));
    }
    if (joined) {
        put_branches(home, out);
    }
}

void part_put(const struct part *part, struct buffer *out)
{
    struct txn_id id;
    bool told = part->runner.node != 0 && txn_id_parse(part_id(part), &id) && !id.made; /* a made one says it */
    put_head(out, TXN_RECORD_PART, told ? RECORD_RUNNER : RECORD_VERSION, part_id(part));
    if (told) {
        record_put_number(out, part->runner.node);
        record_put_number(out, part->runner.start);
    }
    const uint64_t numbers[] = {part->state, part->protocol,           part->home,      part->epoch,
                                part->vote,  (uint64_t)part->since_ms, part->key_count, part->participant_count};
    record_put_numbers(out, numbers, sizeof(numbers) / sizeof(numbers[0]));
    for (uint32_t i = 0; i < part->participant_count; i++) {
        record_put_number(out, part->participants[i]);
    }
    buffer_append_slice(out, buffer_slice(&part->body));
}

static void marks_put(const struct txns *txns, struct buffer *out)
{
    uint64_t abandoned = txns->homes.abandoned;
    record_put_head(out, TXN_RECORD_MARKS, abandoned == 0 ? RECORD_VERSION : RECORD_BRANCHES);
    if (abandoned != 0) {
        record_put_number(out, abandoned);
    }
    record_put_number(out, txns->homes.watermark);
    record_put_number(out, txns->parts.epoch_count);
    record_put_numbers(out, txns->parts.epochs, txns->parts.epoch_count);
}

/* ---- all of them ---- */

struct each {
    void (*record)(void *owner, struct slice record);
    void *owner;
    struct buffer bytes;
};

static void give(struct each *each)
{
    each->record(each->owner, buffer_slice(&each->bytes));
    buffer_clear(&each->bytes);
}

static void give_homes(struct each *each, const struct list *homes)
{
    LIST_FOR_EACH (at, homes) {
        home_put(CONTAINER_OF(at, struct home, node), &each->bytes);
        give(each);
    }
}

static void give_parts(struct each *each, const struct list *parts)
{
    LIST_FOR_EACH (at, parts) {
        part_put(CONTAINER_OF(at, struct part, node), &each->bytes);
        give(each);
    }
}

static void each_record(const struct txns *txns, void (*record)(void *owner, struct slice record), void *owner)
{
    struct each each = {.record = record, .owner = owner};
    if (txns->homes.watermark != 0 || txns->homes.abandoned != 0 || txns->parts.epoch_count != 0) {
        marks_put(txns, &each.bytes);
        give(&each);
    }
    give_homes(&each, &txns->homes.open);
    give_homes(&each, &txns->homes.decided);
    give_homes(&each, &txns->homes.done);
    give_homes(&each, &txns->homes.kept);
    give_parts(&each, &txns->parts.prepared);
    give_parts(&each, &txns->parts.finished);
    buffer_deinit(&each.bytes);
}

static void emit_record(void *owner, struct slice record) { record_put_text(owner, record); }

void txns_emit(const struct txns *txns, struct buffer *out) { each_record(txns, emit_record, out); }

static void add_digest(void *owner, struct slice record)
{
    *(uint64_t *)owner += hash_bytes(0, record.data, record.size);
}

uint64_t txns_digest(const struct txns *txns)
{
    uint64_t sum = 0;
    each_record(txns, add_digest, &sum);
    return sum;
}

/* ---- back: whatever the bytes are, what was taken before stays sound ---- */

static bool take_participants(struct slice *from, struct home *home)
{
    for (uint32_t i = 0; i < home->participant_count; i++) {
        uint64_t shard;
        uint64_t done;
        if (!record_take_number(from, TXN_PARTICIPANTS, &shard) || shard == 0 || !record_take_number(from, 1, &done) ||
            !record_take_number(from, INT64_MAX, &home->participants[i].vote)) {
            return false;
        }
        home->participants[i].shard = (uint32_t)shard;
        home->participants[i].done = done != 0;
        home->done_count += done != 0 ? 1 : 0;
    }
    return true;
}

/* At the end of the record, when there are replies or kept_ms is not what it mostly is. */
static bool take_kept(struct slice *from, struct home *home)
{
    uint64_t kept_ms = 0;
    struct slice replies = {0};
    if (from->size == 0) {
        return true;
    }
    bool good = record_take_number(from, TXN_ID_KEPT_MAXIMUM_MS, &kept_ms) &&
                (home->made ? kept_ms == 0 : kept_ms >= TXN_ID_KEPT_MINIMUM_MS);
    home->kept_ms = (int64_t)kept_ms;
    if (good && from->size != 0) {
        good = record_take_text(from, TXN_REPLY_BYTES, &replies) && replies.size != 0 && home->outcome == HOME_COMMIT;
        buffer_append_slice(&home->replies, replies);
    } else {
        good = good && !home->made && kept_ms != TXN_ID_KEPT_MS;
    }
    return good && from->size == 0;
}

static bool take_branch(struct slice *from, struct home *home)
{
    uint64_t numbers[4];
    struct slice label;
    struct slice resource;
    struct slice evidence;
    if (!record_take_numbers(from, INT64_MAX, numbers, 4) || numbers[3] >= BRANCH_STATES ||
        !record_take_text(from, TXN_LABEL_BYTES, &label) || !record_take_text(from, TXN_URL_BYTES, &resource) ||
        !record_take_text(from, TXN_EVIDENCE_BYTES, &evidence) || !branch_name_fits(home_id(home), label) ||
        branch_url_problem(resource) != NULL ||
        (evidence.size != 0 && !branch_text_valid(evidence, TXN_EVIDENCE_BYTES))) {
        return false;
    }
    home->branches[home->branch_count++] =
        (struct branch){.restores = numbers[0],
                        .position = numbers[1],
                        .joined_ms = (int64_t)numbers[2],
                        .state = (uint8_t)numbers[3],
                        .label = memory_make_text(label.data, label.size),
                        .resource = memory_make_text(resource.data, resource.size),
                        .evidence = evidence.size == 0 ? NULL : memory_make_text(evidence.data, evidence.size)};
    home->branches_left += numbers[3] == BRANCH_JOINED ? 1 : 0;
    return true;
}

/* Of version 2: in place of take_kept. */
static bool take_branches(struct slice *from, struct home *home)
{
    uint64_t kept_ms;
    struct slice replies;
    uint64_t count;
    if (!record_take_number(from, TXN_ID_KEPT_MAXIMUM_MS, &kept_ms) ||
        (home->made ? kept_ms != 0 : kept_ms < TXN_ID_KEPT_MINIMUM_MS) ||
        !record_take_text(from, TXN_REPLY_BYTES, &replies) || (replies.size != 0 && home->outcome != HOME_COMMIT) ||
        !record_take_number(from, TXN_BRANCHES, &count) || count == 0 || home->protocol == TXN_3PC) {
        return false;
    }
    home->kept_ms = (int64_t)kept_ms;
    buffer_append_slice(&home->replies, replies);
    home->branches = memory_allocate_zeroed(TXN_BRANCHES, sizeof(*home->branches));
    while (count-- > 0) {
        if (!take_branch(from, home)) {
            return false;
        }
    }
    return from->size == 0;
}

/* Each state of a branch fits that of its transaction; a commit that is DONE has none left. */
static bool branches_sound(const struct home *home)
{
    bool sound = home->state != HOME_DONE || home->outcome != HOME_COMMIT || home->branches_left == 0;
    for (uint32_t i = 0; i < home->branch_count && sound; i++) {
        enum branch_state state = (enum branch_state)home->branches[i].state;
        sound = state == BRANCH_JOINED ||
                (home->outcome != HOME_ABSENT &&
                 (state == BRANCH_ABANDONED || (state == BRANCH_COMMITTED) == (home->outcome == HOME_COMMIT)));
    }
    return sound;
}

static bool home_sound(const struct home *home)
{
    bool decided = home->state >= HOME_COMMIT;
    bool outcome = home->outcome == HOME_COMMIT || home->outcome == HOME_ABORT;
    return home->state > HOME_ABSENT && home->state < HOME_STATES && decided == outcome &&
           (decided || home->outcome == HOME_ABSENT) &&
           (home->state == HOME_DONE || !decided || home->state == home->outcome) &&
           (home->state != HOME_DONE || home->done_count == home->participant_count) &&
           (home->protocol == TXN_2PC || home->protocol == TXN_3PC) && branches_sound(home);
}

static bool take_home(struct slice from, bool joined, struct home *home)
{
    uint64_t numbers[11];
    struct slice reason;
    uint64_t count;
    if (!record_take_numbers(&from, INT64_MAX, numbers, 11) || numbers[0] >= HOME_STATES || numbers[1] >= HOME_STATES ||
        numbers[2] > TXN_3PC || !record_take_text(&from, TXN_REASON_BYTES, &reason) ||
        !record_take_number(&from, TXN_PARTICIPANTS, &count)) {
        return false;
    }
    home->state = (uint8_t)numbers[0];
    home->outcome = (uint8_t)numbers[1];
    home->protocol = (uint8_t)numbers[2];
    home->epoch = numbers[3];
    home->opened = numbers[4];
    home->decided = numbers[5];
    home->done = numbers[6];
    home->opened_ms = (int64_t)numbers[7];
    home->deadline_ms = (int64_t)numbers[8];
    home->decided_ms = (int64_t)numbers[9];
    home->done_ms = (int64_t)numbers[10];
    home->reason = reason.size == 0 ? NULL : memory_make_text(reason.data, reason.size);
    home->participant_count = (uint32_t)count;
    home->participants = count == 0 ? NULL : memory_allocate_zeroed(count, sizeof(*home->participants));
    return take_participants(&from, home) && (joined ? take_branches(&from, home) : take_kept(&from, home)) &&
           home_sound(home);
}

static bool take_id(struct slice *from, struct slice *ret_id, struct txn_id *ret_parts)
{
    return record_take_text(from, TXN_ID_BYTES, ret_id) && txn_id_parse(*ret_id, ret_parts);
}

enum status homes_load(struct homes *homes, struct slice record, bool joined)
{
    struct slice id;
    struct txn_id parts;
    if (!take_id(&record, &id, &parts) || homes_find(homes, id) != NULL) {
        return STATUS_CORRUPT;
    }
    struct home *home = home_create(id);
    if (!take_home(record, joined, home) || homes->reply_bytes + home->replies.size > TXN_REPLIES_BYTES) {
        home_free(home);
        return STATUS_CORRUPT;
    }
    home_insert(homes, home);
    home_enter(homes, home);
    return STATUS_OK;
}

/* A body is sound when its keys are free, each comes once, what is about all comes first, and each value is one. */
static bool body_sound(struct parts *parts, struct slice body, uint32_t keys, bool prepared, struct overlay *overlay)
{
    struct part_key key;
    bool sound = true;
    const uint8_t *start = body.data;
    while (sound && part_next(&body, &key)) {
        if (key.all) {
            sound = prepared && !lock_table_blocks_all(&parts->locks, key.exclusive, NULL) && body.data == start + 1;
            continue;
        }
        sound = prepared && !lock_table_blocks(&parts->locks, key.key, key.exclusive, NULL) &&
                !overlay_has(overlay, key.key) && keys-- > 0 &&
                overlay_load(overlay, key.key, 1, key.value) == STATUS_OK &&
                (!key.written || key.deleted || key.value.size != 0);
    }
    overlay_clear(overlay);
    return sound && body.size == 0 && keys == 0;
}

static bool take_part(struct parts *parts, struct slice from, struct part *part, struct overlay *overlay)
{
    uint64_t numbers[8];
    if (!record_take_numbers(&from, INT64_MAX, numbers, 8) || numbers[0] == PART_NONE || numbers[0] >= PART_STATES ||
        (numbers[1] != TXN_2PC && numbers[1] != TXN_3PC) || numbers[2] == 0 || numbers[2] > TXN_PARTICIPANTS ||
        numbers[6] > TXN_PART_KEYS || numbers[7] > TXN_PARTICIPANTS || from.size > TXN_PARTS_BYTES) {
        return false;
    }
    part->state = (uint8_t)numbers[0];
    part->protocol = (uint8_t)numbers[1];
    part->home = (uint32_t)numbers[2];
    part->epoch = numbers[3];
    part->vote = numbers[4];
    part->since_ms = (int64_t)numbers[5];
    part->key_count = (uint32_t)numbers[6];
    part->participant_count = (uint32_t)numbers[7];
    part->participants = memory_allocate_zeroed(part->participant_count + 1, sizeof(*part->participants));
    for (uint32_t i = 0; i < part->participant_count; i++) {
        uint64_t shard;
        if (!record_take_number(&from, TXN_PARTICIPANTS, &shard) || shard == 0) {
            return false;
        }
        part->participants[i] = (uint32_t)shard;
    }
    bool prepared = part->state != PART_COMMITTED && part->state != PART_ABORTED;
    if (part->protocol != TXN_3PC && part->state != PART_WAIT && part->state != PART_HELD) {
        return false;
    }
    buffer_append_slice(&part->body, from);
    return body_sound(parts, from, part->key_count, prepared, overlay);
}

/* Version 2: it was told. */
static bool take_runner(struct slice *from, bool told, const struct txn_id *id, struct txn_runner *ret_runner)
{
    *ret_runner = (struct txn_runner){id->node, id->start};
    return !told || (!id->made && record_take_number(from, INT64_MAX, &ret_runner->node) &&
                     record_take_number(from, INT64_MAX, &ret_runner->start) && ret_runner->node != 0);
}

static enum status part_load(struct txns *txns, struct slice record, bool told)
{
    struct slice id;
    struct txn_id parts;
    struct txn_runner runner;
    if (!take_id(&record, &id, &parts) || parts_find(&txns->parts, id) != NULL ||
        !take_runner(&record, told, &parts, &runner)) {
        return STATUS_CORRUPT;
    }
    if (txns->overlay == NULL) {
        txns->overlay = overlay_create(txns->hash_seed);
    }
    struct part *part = part_create(id);
    part->runner = runner;
    if (!take_part(&txns->parts, record, part, txns->overlay)) {
        part_free(part);
        return STATUS_CORRUPT;
    }
    part_enter(&txns->parts, part);
    return STATUS_OK;
}

static enum status marks_load(struct txns *txns, struct slice record, bool abandoned)
{
    uint64_t count;
    uint64_t epoch;
    if (txns->homes.watermark != 0 || txns->homes.abandoned != 0 || txns->parts.epoch_count != 0 ||
        (abandoned &&
         (!record_take_number(&record, INT64_MAX, &txns->homes.abandoned) || txns->homes.abandoned == 0)) ||
        !record_take_number(&record, INT64_MAX, &txns->homes.watermark) ||
        !record_take_number(&record, TXN_PARTICIPANTS, &count)) {
        return STATUS_CORRUPT;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!record_take_number(&record, INT64_MAX, &epoch)) {
            return STATUS_CORRUPT;
        }
        ASSERT(parts_see_epoch(&txns->parts, i + 1, epoch));
    }
    return record.size == 0 ? STATUS_OK : STATUS_CORRUPT;
}

enum status txns_load(struct txns *txns, struct slice record)
{
    ASSERT(txns_record(record));
    uint8_t kind;
    bool newer = record.size > 1 && record.data[1] == RECORD_BRANCHES; /* of each kind */
    enum status status = record_take_head(&record, newer ? RECORD_BRANCHES : RECORD_VERSION, &kind);
    if (status != STATUS_OK) {
        return status;
    }
    switch (kind) {
    case TXN_RECORD_HOME: return homes_load(&txns->homes, record, newer);
    case TXN_RECORD_PART: return part_load(txns, record, newer);
    default: return marks_load(txns, record, newer);
    }
}
