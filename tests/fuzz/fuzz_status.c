/* What a node answers to COHORT.STATUS: any bytes give JSON or are refused, and any JSON gives a view within its
 * limits. */
#include "cli/reply_json.h"
#include "cli/status_view.h"
#include "fuzz.h"

static void check_shard(const struct view *view, uint32_t number)
{
    struct view_shard shard;
    view_shard(view, number, &shard);
    ASSERT(shard.led == NULL || (shard.led >= view->nodes && shard.led < view->nodes + view->node_count));
    ASSERT(shard.term >= -1 && shard.commit >= -1 && shard.keys >= -1);
    for (size_t i = 0; i < view->node_count; i++) {
        struct view_replica replica;
        view_replica(view, &shard, &view->nodes[i], &replica);
        ASSERT(view_role_name(replica.role) != NULL);
        ASSERT((replica.role == VIEW_LEADER) == (shard.led == &view->nodes[i]));
        ASSERT(replica.lag >= -1 && (replica.applied < 0) == (replica.lag < 0));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct view view;
    json_t *json = NULL;
    if (reply_json(slice_of(data, size), &json) != STATUS_OK) {
        ASSERT(json == NULL);
        return 0;
    }
    if (!json_is_object(json)) {
        json_decref(json);
        return 0;
    }
    struct view_node asked = {.id = -1, .answer = json};
    view_of(&asked, &view);
    ASSERT(view.node_count >= 1 && view.node_count <= PLACEMENT_MAXIMUM_NODES);
    ASSERT(view.first->answer == json && view.shard_count <= SLOT_MAXIMUM_SHARDS);
    for (uint32_t number = view.has_meta ? 0 : 1; number <= view.shard_count; number++) {
        check_shard(&view, number);
    }
    view_close(&view);
    return 0;
}
