/* A LOCK.MACQUIRE's way through the shards: what is asked, and what their answers lead to. */
#include "server/lock_many_internal.h"

#include "server/figures.h"
#include "server/route_refuse.h"

static struct lock_many *of(struct requester *requester)
{
    return CONTAINER_OF(requester, struct lock_many, requester);
}

/* ---- trying ---- */

void many_try_all(struct lock_many *many)
{
    many->phase = MANY_TRIES;
    many->anew = false;
    many->may_be_granted = false;
    many->stays = false;
    waiter_set_number(&many->waiter, many->server);
    for (uint32_t i = 0; i < many->part_count; i++) {
        many->parts[i].told = 0;
        many->parts[i].granted = false;
        many_ask(many, i, COMMAND_COHORT_LOCK_RESERVE, many->part_count == 1 ? many_left_ms(many) : 0);
    }
}

/* ---- granting ---- */

void many_ask_grants(struct lock_many *many)
{
    bool home = many->parts[0].granted;
    for (uint32_t i = home ? 1 : 0; i < (home ? many->part_count : 1); i++) {
        if (!many->parts[i].granted && many->parts[i].asked == 0) {
            many_ask(many, i, COMMAND_COHORT_LOCK_GRANT, 0);
        }
    }
    many_set_next(many, LOCK_MANY_AGAIN_MS);
}

static void begin_grants(struct lock_many *many)
{
    many->phase = MANY_GRANTS;
    many->may_be_granted = true;
    many->grants_until_ns = server_now_ns(many->server) + LOCK_MANY_GRANT_MS * NS_PER_MS;
    many_ask_grants(many);
}

static bool all_granted(const struct lock_many *many)
{
    for (uint32_t i = 0; i < many->part_count; i++) {
        if (!many->parts[i].granted) {
            return false;
        }
    }
    return true;
}

static void granted(struct lock_many *many, struct many_part *part)
{
    if (part->status != STATUS_OK) {
        return; /* it is asked again */
    }
    part->granted = many_take_told(many, part);
    if (!part->granted && part == &many->parts[0]) {
        many_begin_anew(many);
    } else if (!part->granted) { /* the time to live at home was over before */
        many_end_with(many, NULL);
    } else if (all_granted(many)) {
        many_answer_grants(many);
        many_free(many);
    } else if (part == &many->parts[0]) {
        many_ask_grants(many);
    }
}

/* ---- reserving ---- */

void many_ask_current(struct lock_many *many)
{
    int64_t left_ms = many_left_ms(many);
    many->leader = cluster_leader(many->server->cluster, many->parts[many->current].shard);
    many_set_next(many, LOCK_MANY_POLL_MS);
    if (many->parts[many->current].asked == 0) {
        many_ask(many, many->current, COMMAND_COHORT_LOCK_RESERVE, left_ms < 1 ? 1 : left_ms);
    }
}

static bool part_is_there(const struct lock_many *many, const struct many_part *part)
{
    for (uint32_t i = 0; i < part->told; i++) {
        if (!many_is_there(&many->keys[part->first + i].told)) {
            return false;
        }
    }
    return part->told == part->count;
}

/* What stopped a part that is not all there. */
static enum lock_part_state last_state(const struct lock_many *many, uint32_t at)
{
    const struct many_part *part = &many->parts[at];
    return part->told == 0 ? LOCK_PART_BUSY : many->keys[part->first + part->told - 1].told.state;
}

/* The first part that is not all there; part_count: all are. */
static uint32_t first_missing(const struct lock_many *many)
{
    uint32_t at = 0;
    while (at < many->part_count && part_is_there(many, &many->parts[at])) {
        at++;
    }
    return at;
}

static uint32_t held_already(const struct lock_many *many)
{
    uint32_t held = 0;
    for (uint32_t i = 0; i < many->part_count; i++) {
        const struct many_part *part = &many->parts[i];
        for (uint32_t j = 0; j < part->told; j++) {
            held += many->keys[part->first + j].told.state == LOCK_PART_HELD ? 1 : 0;
        }
    }
    return held;
}

/* The owner's earlier request may be giving them back at this moment: so it begins again, once. */
static void has_some(struct lock_many *many)
{
    if (!many->had_some && many_in_time(many)) {
        many->had_some = true;
        many->anew_ns = server_now_ns(many->server) + LOCK_MANY_AGAIN_MS * NS_PER_MS;
        many_begin_anew(many);
    } else {
        many_end_with(many,
                      "ERR this owner holds some of these locks already, but not all; release those, then ask for all");
    }
}

/* What an earlier request was granted is granted to this one, too: from then on that one does not take it back. */
static void all_there(struct lock_many *many)
{
    uint32_t held = held_already(many);
    if (held == many->key_count && many->part_count == 1) {
        many_answer_grants(many);
        many_free(many);
    } else if (held > 0 && held < many->key_count) {
        has_some(many);
    } else {
        begin_grants(many);
    }
}

/* From now on one part after the other. */
static void wait_for(struct lock_many *many, uint32_t missing)
{
    if (many->phase == MANY_TRIES && many->server->phase != SERVER_SERVING) {
        many_end_with(many, "CLUSTERDOWN this node is stopping, and has not acquired the locks; try another node");
        return;
    }
    if (many->waiter.connection->finished_reading) {
        connection_close(many->waiter.connection);
        return;
    }
    bool tried_all = many->phase == MANY_TRIES;
    many->phase = MANY_WAITS;
    many->current = missing;
    for (uint32_t i = missing + 1; tried_all && i < many->part_count; i++) { /* what fails is said again in time */
        many->parts[i].told = 0;
        if (many->parts[i].has && many->parts[i].asked == 0) {
            many_ask(many, i, COMMAND_COHORT_LOCK_BACK, 0);
        }
    }
    enum lock_part_state last = last_state(many, missing);
    if (last == LOCK_PART_BUSY || many->parts[missing].again) {
        many_ask_current(many);
    } else {
        many_set_next(many, last == LOCK_PART_OTHER ? LOCK_MANY_OTHER_MS : LOCK_MANY_POLL_MS);
    }
}

/* Nothing of what was asked is on its way, apart from what is given back. */
static void reserved(struct lock_many *many)
{
    uint32_t missing = first_missing(many);
    if (missing == many->part_count) {
        all_there(many);
    } else if (held_already(many) > 0 && last_state(many, missing) != LOCK_PART_OTHER) {
        has_some(many);
        many_go_on(many);
    } else if (!many_in_time(many)) {
        many_end_with(many, NULL);
        many_go_on(many); /* it may have nothing to give back */
    } else {
        wait_for(many, missing);
    }
}

/* A RESERVE is answered. False: the request goes another way now. */
static bool take_reserve(struct lock_many *many, struct many_part *part)
{
    if (part->status == STATUS_EXECUTED) {
        part->has = true;
        many_ask(many, (uint32_t)(part - many->parts), COMMAND_COHORT_LOCK_RESERVE, 0); /* what it was is told again */
        return true;
    }
    if (part->status != STATUS_OK) {
        part->has = part->has || part->status == STATUS_UNCERTAIN;
        figures_failed(many->server, COMMAND_LOCK_MACQUIRE, part->status);
        many_end_with(many, part->status == STATUS_UNCERTAIN && many->part_count > 1
                                ? "CLUSTERDOWN a shard of these locks does not answer; none was granted, try again"
                                : route_refusal(part->status, false));
        return false;
    }
    if (!many_take_told(many, part)) {
        struct slice error = buffer_slice(&part->answer);
        many->anew = false;
        buffer_clear(&many->reply);
        buffer_append_slice(&many->reply, error);
        part->has = true;
        many_give_back(many);
        return false;
    }
    const struct lock_part_told *last = &many->keys[part->first + part->told - 1].told;
    part->has = part->has || part->told > 1 || many_is_there(last) || last->state == LOCK_PART_QUEUED;
    if (last->state == LOCK_PART_ANEW) {
        many_begin_anew(many);
        return false;
    }
    return true;
}

/* ---- what comes ---- */

static bool reserves(const struct lock_many *many)
{
    for (uint32_t i = 0; i < many->part_count; i++) {
        if (many->parts[i].asked == COMMAND_COHORT_LOCK_RESERVE) {
            return true;
        }
    }
    return false;
}

/* Behind each answer, and when nothing could be asked. */
void many_go_on(struct lock_many *many)
{
    if (many->waiter.connection == NULL && many->phase != MANY_GIVES_BACK) {
        many_give_back(many);
    }
    switch (many->phase) {
    case MANY_TRIES:
    case MANY_WAITS:
        for (uint32_t i = 0; i < many->part_count; i++) { /* what was refused at once */
            struct many_part *part = &many->parts[i];
            if (part->asked == 0 && part->status != STATUS_OK && !take_reserve(many, part)) {
                many_go_on(many);
                return;
            }
        }
        if (!reserves(many)) {
            reserved(many);
        }
        return;
    case MANY_GRANTS: return;
    case MANY_GIVES_BACK: many_go_back(many); return;
    }
}

static struct resp_writer *many_begin(struct requester *requester, uint64_t tag)
{
    struct many_part *part = &of(requester)->parts[tag];
    buffer_clear(&part->answer);
    part->writer = resp_writer_to(&part->answer, RESP2);
    return &part->writer;
}

/* What a BACK was answered. */
static bool stays(const struct many_part *part)
{
    return slice_equal(buffer_slice(&part->answer), SLICE_LITERAL(":1\r\n"));
}

static void many_answered(struct requester *requester, uint64_t tag, enum status status)
{
    struct lock_many *many = of(requester);
    struct many_part *part = &many->parts[tag];
    uint16_t asked = part->asked;
    part->asked = 0;
    part->status = status;
    if (asked == COMMAND_COHORT_LOCK_BACK || (asked == COMMAND_COHORT_LOCK_GRANT && many->stays)) {
        part->has = part->has && status != STATUS_OK;
        part->status = STATUS_OK;
        many->stays = many->stays || (many->may_be_granted && part == &many->parts[0] && stays(part));
        if (many->may_be_granted && part == &many->parts[0] && !part->has) {
            many_back_all(many);
        }
    } else if (many->phase == MANY_GIVES_BACK) {
        bool perhaps = status == STATUS_OK || status == STATUS_UNCERTAIN || status == STATUS_EXECUTED;
        part->has = part->has || perhaps;
        many_back_all(many);
    } else if (asked == COMMAND_COHORT_LOCK_RESERVE && !take_reserve(many, part)) {
        /* it gives back */
    } else if (asked == COMMAND_COHORT_LOCK_GRANT && many->phase == MANY_GRANTS && many->waiter.connection != NULL) {
        granted(many, part);
        return;
    }
    many_go_on(many);
}

static void many_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    (void)command;
    many_answered(requester, tag, STATUS_OK);
}

const struct requester_events many_events = {many_begin, many_end, many_answered, NULL, NULL};
