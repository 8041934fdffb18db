/* Who leads which slot, as CLUSTER SLOTS tells. It is a hint: any node serves any key. */
#include "base/number.h"
#include "client/handle.h"

struct node *handle_leader(struct cohort *cohort, int slot)
{
    if (slot < 0 || cohort->leader_of[slot] == HANDLE_NODE_UNKNOWN) {
        return NULL;
    }
    return cohort->nodes[cohort->leader_of[slot]];
}

/* The index of a node with this address, which becomes one if it is not. */
static uint8_t node_at(struct cohort *cohort, struct slice host, int64_t port)
{
    struct client_endpoint endpoint = {.port = (int)port};
    if (host.size == 0 || host.size >= CLIENT_HOST_BYTES || port < 1 || port > 65535) {
        return HANDLE_NODE_UNKNOWN;
    }
    memcpy(endpoint.host, host.data, host.size);
    for (uint32_t i = 0; i < cohort->node_count; i++) {
        const struct client_endpoint *known = &cohort->nodes[i]->endpoint;
        if (known->port == endpoint.port && strcmp(known->host, endpoint.host) == 0) {
            return (uint8_t)i;
        }
    }
    return handle_add_node(cohort, &endpoint, true) == NULL ? HANDLE_NODE_UNKNOWN : (uint8_t)(cohort->node_count - 1);
}

/* [first slot, last slot, [host, port, id], …] */
static void take_range(struct cohort *cohort, const struct cohort_reply *range)
{
    const struct cohort_reply *leader = cohort_reply_at(range, 2);
    int64_t first = cohort_reply_integer(cohort_reply_at(range, 0));
    int64_t last = cohort_reply_integer(cohort_reply_at(range, 1));
    if (leader == NULL || first < 0 || last < first || last >= KEY_SLOTS) {
        return;
    }
    uint8_t index =
        node_at(cohort, reply_slice(cohort_reply_at(leader, 0)), cohort_reply_integer(cohort_reply_at(leader, 1)));
    memset(&cohort->leader_of[first], index, (size_t)(last - first + 1));
}

static void told(struct operation *operation)
{
    struct cohort *cohort = operation->cohort;
    cohort->leaders_asked = false;
    if (operation->status != COHORT_OK) {
        return;
    }
    memset(cohort->leader_of, HANDLE_NODE_UNKNOWN, sizeof(cohort->leader_of));
    for (size_t i = 0; i < cohort_reply_count(operation->reply); i++) {
        take_range(cohort, cohort_reply_at(operation->reply, i));
    }
}

void handle_ask_leaders(struct cohort *cohort, struct link *link)
{
    if ((cohort->settings.flags & COHORT_ANY_NODE) != 0 || cohort->leaders_asked || cohort->closing) {
        return;
    }
    int64_t now_ns = client_clock_ns();
    int64_t age_ms = (now_ns - cohort->leaders_ns) / 1000000;
    bool is_time =
        cohort->leaders_ns == 0 || age_ms >= (cohort->leaders_doubted ? HANDLE_LEADERS_SOON_MS : HANDLE_LEADERS_MS);
    if (!is_time) {
        return;
    }
    struct cohort_bytes argv[] = {cohort_text("CLUSTER"), cohort_text("SLOTS")};
    struct client_request request = {
        .argv = argv, .argc = 2, .flags = COHORT_READ | OPERATION_INTERNAL | OPERATION_NO_RETRY, .link = link};
    struct operation *operation;
    cohort->leaders_ns = now_ns;
    if (operation_create(cohort, &request, &operation) != STATUS_OK) {
        return; /* another time */
    }
    operation->ended = told;
    cohort->leaders_asked = true;
    cohort->leaders_doubted = false;
    (void)operation_submit(operation);
}
