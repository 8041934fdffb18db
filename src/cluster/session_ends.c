/* The ends of sessions: told by the leader of the shard where they lived to each shard that joined them, until it says
 * that nothing of them is left there; then that is noted where they lived, and forgotten.
 *
 * What to do is read from the machine's state each time, so a new leader carries on, and whatever is lost is said
 * again: no message here is needed twice, and none hurts twice. To each shard one command is under way at a time, with
 * as many ends as there are for it, SESSION_ENDS at most; what failed is tried again after a pause. */
#include "cluster/cluster_internal.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"
#include "machine/session/session_id.h"
#include "machine/session/sessions.h"

#include <stdlib.h>

enum { ENDS_PAUSE_MS = 100, ENDS_AGAIN_MS = 20, ENDS_LOOK = 65536 /* sessions that a turn looks at */ };
#define NS_PER_MS INT64_C(1000000)

/* From one shard to another. */
struct ends {
    struct requester requester; /* first */
    struct cluster *cluster;
    uint32_t home, shard;
    bool telling, noting; /* END, or LEFT, is under way */
    int64_t next_ns;
    uint32_t count;
    uint64_t numbers[SESSION_ENDS];
    struct buffer reply;
    struct resp_writer writer;
};

/* ---- to a shard, and back ---- */

static struct resp_writer *ends_begin(struct requester *requester, uint64_t tag)
{
    struct ends *ends = (struct ends *)requester;
    (void)tag;
    buffer_clear(&ends->reply);
    ends->writer = resp_writer_to(&ends->reply, RESP2);
    return &ends->writer;
}

static void over(struct ends *ends, bool good)
{
    ends->telling = false;
    ends->noting = false;
    ends->count = 0;
    ends->next_ns = good ? 0 : env_monotonic_ns(ends->cluster->env) + ENDS_PAUSE_MS * NS_PER_MS;
    lane_of(ends->cluster, ends->home)->ends_next_ns = 0;
    buffer_deinit(&ends->reply);
    env_wake(ends->cluster->env);
}

static enum status submit(struct ends *ends, uint32_t shard, uint16_t id, const struct slice *argv, uint32_t argc)
{
    const struct command command = {command_by_id(id), argv, argc, RESP2};
    return cluster_submit(ends->cluster, shard, &command, CLUSTER_PLAIN, &ends->requester, 0);
}

/* Those are left of which the shard has nothing any more. */
static void keep_over(struct ends *ends)
{
    struct slice reply = buffer_slice(&ends->reply);
    uint32_t kept = 0;
    const uint8_t *at = reply.size == 0 ? NULL : memchr(reply.data, '\n', reply.size);
    for (uint32_t i = 0; at != NULL && i < ends->count; i++) {
        const uint8_t *end = reply.data + reply.size;
        if (end - at > 2 && at[1] == ':' && at[2] == '1') {
            ends->numbers[kept++] = ends->numbers[i];
        }
        at = memchr(at + 1, '\n', (size_t)(end - at - 1));
    }
    ends->count = kept;
}

static void note(struct ends *ends)
{
    char(*digits)[NUMBER_INT64_BYTES] = memory_allocate((SESSION_ENDS + 1) * sizeof(*digits));
    struct slice argv[3 + SESSION_ENDS] = {SLICE_LITERAL("COHORT.SESSION.SHARD"), SLICE_LITERAL("LEFT")};
    argv[2] = slice_of(digits[SESSION_ENDS], number_format_uint64(digits[SESSION_ENDS], ends->shard));
    for (uint32_t i = 0; i < ends->count; i++) {
        argv[3 + i] = slice_of(digits[i], number_format_uint64(digits[i], ends->numbers[i]));
    }
    ends->noting = true;
    if (submit(ends, ends->home, COMMAND_COHORT_SESSION_SHARD, argv, 3 + ends->count) != STATUS_OK) {
        over(ends, false);
    }
    free(digits);
}

static void ends_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    struct ends *ends = (struct ends *)requester;
    (void)tag;
    (void)command;
    if (ends->noting) {
        over(ends, true);
        return;
    }
    keep_over(ends);
    ends->telling = false;
    if (ends->count == 0) {
        over(ends, buffer_slice(&ends->reply).size != 0 && ends->reply.data[0] == '*');
        return;
    }
    note(ends);
}

static void ends_failed(struct requester *requester, uint64_t tag, enum status status)
{
    (void)tag;
    (void)status;
    over((struct ends *)requester, false);
}

static const struct requester_events ends_events = {ends_begin, ends_end, ends_failed, NULL, NULL};

static void tell(struct ends *ends)
{
    char(*texts)[SESSION_ID_BYTES] = memory_allocate(SESSION_ENDS * sizeof(*texts));
    struct slice argv[1 + SESSION_ENDS] = {SLICE_LITERAL("COHORT.SESSION.END")};
    for (uint32_t i = 0; i < ends->count; i++) {
        struct session_id id = {.shard = ends->home, .number = ends->numbers[i]};
        argv[1 + i] = slice_of(texts[i], session_id_format(texts[i], id));
    }
    ends->telling = true;
    if (submit(ends, ends->shard, COMMAND_COHORT_SESSION_END, argv, 1 + ends->count) != STATUS_OK) {
        over(ends, false);
    } else {
        ends->cluster->counters.session_ends += ends->count;
    }
    free(texts);
}

/* ---- looking ---- */

static struct ends *ends_to(struct lane *lane, uint32_t shard)
{
    struct cluster *cluster = lane->cluster;
    if (lane->ends == NULL) {
        lane->ends = memory_allocate_zeroed(cluster->shard_count, sizeof(struct ends *));
    }
    struct ends **ends = &lane->ends[shard - 1];
    if (*ends == NULL) {
        *ends = memory_allocate_zeroed(1, sizeof(**ends));
        **ends = (struct ends){.requester = {.events = &ends_events}, .cluster = cluster, .shard = shard};
        (*ends)->home = (uint32_t)(lane - cluster->lanes);
        buffer_init(&(*ends)->reply);
    }
    return *ends;
}

/* Takes it up when there is room. */
static void take_up(struct lane *lane, const struct session *session, int64_t now_ns)
{
    for (uint16_t i = 0; i < session->count; i++) {
        uint32_t shard = session_shard(session, i);
        struct ends *ends = shard > lane->cluster->shard_count ? NULL : ends_to(lane, shard);
        if (ends != NULL && !ends->telling && !ends->noting && ends->next_ns <= now_ns && ends->count < SESSION_ENDS) {
            ends->numbers[ends->count++] = session->number;
        }
    }
}

static void look_at(struct lane *lane, const struct sessions *sessions, int64_t now_ns)
{
    uint32_t looked = 0;
    for (const struct list *at = sessions->ended.next; at != &sessions->ended && looked < ENDS_LOOK; at = at->next) {
        take_up(lane, session_of_ended(at), now_ns);
        looked++;
    }
    for (uint32_t i = 0; lane->ends != NULL && i < lane->cluster->shard_count; i++) {
        struct ends *ends = lane->ends[i];
        if (ends != NULL && ends->count != 0 && !ends->telling && !ends->noting) {
            tell(ends);
        }
    }
}

void session_ends_turn(struct cluster *cluster, uint32_t shard)
{
    struct lane *lane = lane_of(cluster, shard);
    const struct sessions *sessions = lane_leads(lane) ? shard_sessions(lane->local) : NULL;
    if (sessions == NULL || list_empty(&sessions->ended)) {
        return;
    }
    int64_t now_ns = env_monotonic_ns(cluster->env);
    if (now_ns >= lane->ends_next_ns) {
        lane->ends_next_ns = now_ns + ENDS_AGAIN_MS * NS_PER_MS;
        look_at(lane, sessions, now_ns);
    }
}

void session_ends_free(struct lane *lane)
{
    for (uint32_t i = 0; lane->ends != NULL && i < lane->cluster->shard_count; i++) {
        if (lane->ends[i] != NULL) {
            buffer_deinit(&lane->ends[i]->reply);
            free(lane->ends[i]);
        }
    }
    free(lane->ends);
    lane->ends = NULL;
}
