/* What is said to a shard of a request that waits there. */
#include "server/lock_wait_internal.h"

#include "base/assert.h"
#include "base/number.h"
#include "machine/lock/lock_arguments.h"

/* The command with its origin, and with what is left of the wait. */
static uint32_t put_origin(const struct lock_wait *wait, struct slice *argv, uint32_t argc,
                           uint8_t origin[static LOCK_ORIGIN_BYTES], char digits[static NUMBER_INT64_BYTES])
{
    int64_t left_ms = (wait->deadline_ns - server_now_ns(wait->server) + NS_PER_MS - 1) / NS_PER_MS;
    struct lock_origin from = waiter_origin(&wait->waiter, wait->server);
    lock_origin_put(origin, &from);
    memmove(argv + 2, argv + 1, (argc - 1) * sizeof(*argv));
    argv[1] = slice_of(origin, LOCK_ORIGIN_BYTES);
    for (uint32_t i = wait->kind->options_from; i + 1 < argc + 1; i += 2) {
        if (slice_is_word(argv[i], "WAIT")) {
            argv[i + 1] = slice_of(digits, number_format_int64(digits, left_ms < 1 ? 1 : left_ms));
        }
    }
    return argc + 1;
}

enum status wait_submit(struct lock_wait *wait)
{
    struct server *server = wait->server;
    struct command_arguments *arguments = &server->arguments;
    struct slice from = buffer_slice(&wait->words);
    struct command command;
    uint8_t origin[LOCK_ORIGIN_BYTES];
    char digits[NUMBER_INT64_BYTES];
    ASSERT(command_decode(&from, arguments, &command) == STATUS_OK);
    wait->owner = wait->kind->options_from > 3 ? command.argv[2] : slice_of(NULL, 0);
    command_arguments_reserve(arguments, command.argc + 1);
    uint32_t argc = put_origin(wait, arguments->items, command.argc, origin, digits);
    const struct command inner = {command_by_id(wait->kind->inner), arguments->items, argc, command.protocol};
    wait->requester.id = wait->waiter.client;
    wait->state = WAIT_ASKED;
    wait->leader = cluster_leader(server->cluster, wait->shard);
    return cluster_submit(server->cluster, wait->shard, &inner, CLUSTER_PLAIN, &wait->requester,
                          slot_tag(wait->waiter.slot, wait->shard));
}

static enum status submit_about(struct lock_wait *wait, uint16_t id)
{
    uint8_t origin[LOCK_ORIGIN_BYTES];
    const char *about = wait->kind->about;
    struct lock_origin from = waiter_origin(&wait->waiter, wait->server);
    lock_origin_put(origin, &from);
    const struct slice argv[] = {SLICE_LITERAL("COHORT.LOCK"), slice_of(origin, sizeof(origin)),
                                 buffer_slice(&wait->name), wait->owner, slice_from_string(about == NULL ? "" : about)};
    const struct command command = {command_by_id(id), argv, about == NULL ? 4 : 5, RESP2};
    wait->requester.id = 0;
    wait->leader = cluster_leader(wait->server->cluster, wait->shard);
    return cluster_submit(wait->server->cluster, wait->shard, &command, CLUSTER_PLAIN, &wait->requester, 0);
}

void wait_set_next(struct lock_wait *wait, int64_t ms) { wait->next_ns = server_now_ns(wait->server) + ms * NS_PER_MS; }

void wait_set_next_ask(struct lock_wait *wait)
{
    int64_t crowd_ms = (int64_t)(wait->server->waiters.count * 1000 / LOCK_ASKS_PER_SECOND);
    int64_t soon_ns = wait->deadline_ns + LOCK_LATE_MS * NS_PER_MS;
    int64_t now_ns = server_now_ns(wait->server);
    wait_set_next(wait, crowd_ms > LOCK_ASK_MS ? crowd_ms : LOCK_ASK_MS);
    if (now_ns < soon_ns && soon_ns < wait->next_ns) {
        wait->next_ns = soon_ns; /* its end should have been told by then */
    }
}

void wait_ask(struct lock_wait *wait)
{
    wait_set_next_ask(wait);
    if (submit_about(wait, wait->kind->ask) == STATUS_OK) {
        wait->state = WAIT_ASKING;
    }
}

void wait_take_back(struct lock_wait *wait)
{
    wait->state = WAIT_LEAVES;
    wait_set_next(wait, LOCK_LEAVE_AGAIN_MS);
    if (submit_about(wait, wait->kind->leave) == STATUS_OK) {
        wait->state = WAIT_LEAVING;
    }
}
