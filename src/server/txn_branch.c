#include "server/txn_branch.h"

#include "base/printable.h"
#include "machine/txn/txn_id.h"
#include "server/server_state.h"
#include "server/txn_session.h"

void txn_branch_cluster(const struct server *server, char at[static BRANCH_CLUSTER_DIGITS + 1])
{
    struct cluster_view view;
    _Static_assert((int)BRANCH_CLUSTER_DIGITS == (int)ID128_DIGITS, "a cluster's id");
    const struct id128 none = {0};
    id128_format(cluster_look(server->cluster, &view) ? &view.members->cluster : &none, at);
}

/* A person does what no program should: whoever reads the log later must find it. */
static void log_abandoned(const struct connection *connection, const struct command *command)
{
    env_log(connection->server->env, ENV_LOG_WARNING,
            "%s gives up the branch %.*s of a transaction (TXN.DONE … ABANDONED): what became of it is not known here",
            connection->peer, (int)command->argv[2].size, (const char *)command->argv[2].data);
}

const char *txn_branch_question(struct connection *connection, const struct command *command,
                                struct branch_question *ret_question)
{
    struct branch_question *ask = ret_question;
    bool done = command->spec->id == COMMAND_TXN_DONE;
    struct txn_id parsed;
    struct slice id = command->argv[1];
    ask->home = txn_session_home(connection->server, id);
    if (command->argc > (done ? 4U : 3U)) {
        return "ERR syntax error";
    }
    if (ask->home == 0 || !txn_id_parse(id, &parsed)) {
        return "ERR this is no id of a transaction";
    }
    if (parsed.runs) {
        return "ERR this is the transaction of a command or a MULTI, which has no external participants";
    }
    enum branch_state state;
    if (done && !branch_state_parse(command->argv[3], &state)) {
        return "ERR a branch is COMMITTED, ABORTED or ABANDONED";
    }
    uint32_t argc = 0;
    ask->argv[argc++] = slice_from_string(done ? "COHORT.TXN.ENDED" : "COHORT.TXN.OUTCOME");
    ask->argv[argc++] = id;
    if (command->argc > 2) {
        struct branch_name name;
        char cluster[BRANCH_CLUSTER_DIGITS + 1];
        txn_branch_cluster(connection->server, cluster);
        if (!branch_name_parse(command->argv[2], slice_from_string(cluster), id, &name)) {
            return "ERR this is no name of a branch of that transaction in this cluster; leave it alone";
        }
        ask->argv[argc++] = name.label;
        ask->argv[argc++] = slice_of(ask->restores, number_format_uint64(ask->restores, name.restores));
        ask->argv[argc++] = slice_of(ask->position, number_format_uint64(ask->position, name.position));
    }
    if (done) {
        ask->argv[argc++] = command->argv[3];
        if (state == BRANCH_ABANDONED) {
            log_abandoned(connection, command);
        }
    }
    uint16_t asked = done ? COMMAND_COHORT_TXN_ENDED : COMMAND_COHORT_TXN_OUTCOME;
    ask->command = (struct command){command_by_id(asked), ask->argv, argc, RESP2};
    return NULL;
}
