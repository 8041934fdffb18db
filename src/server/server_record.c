/* What a data folder says of itself, before anybody serves it. Its two files are replaced whole, and what is read of
 * them never changes after the founding: no lock is needed. */
#include "cluster/founding_record.h"
#include "server/node_file.h"
#include "server/server.h"

enum status server_record_read(struct env *env, const char *directory, struct server_record *ret_record,
                               char ret_message[static SERVER_MESSAGE_BYTES])
{
    struct node_file node = {0};
    struct founding_record founded = {0};
    enum founding_state state = FOUNDING_FRESH;
    struct server_record record = {0};
    enum status status = node_file_read(env, directory, NODE_FILE_ANY, &record.known, &node, ret_message);
    if (status == STATUS_OK && record.known) {
        status = founding_record_read(env, directory, &state, &founded, ret_message);
    }
    if (status != STATUS_OK) {
        return status;
    }
    record.node_id = node.id;
    record.workers = node.workers;
    record.nodes = founded.count;
    record.shards = founded.shards;
    record.replicas = founded.replicas;
    *ret_record = record;
    return STATUS_OK;
}
