/* External participants of transactions, for clients: TXN.OUTCOME and TXN.DONE ask home, TXN.BRANCHES every shard. */
#pragma once

#include "base/number.h"
#include "command/command.h"
#include "machine/txn/branch.h"

struct connection;
struct server;

/* What names of branches have of the cluster. */
void txn_branch_cluster(const struct server *server, char at[static BRANCH_CLUSTER_DIGITS + 1]);

/* What home is asked: words that live as long as this and the command. */
struct branch_question {
    uint32_t home;
    struct slice argv[6];
    struct command command;
    char restores[NUMBER_INT64_BYTES], position[NUMBER_INT64_BYTES];
};
/* NULL, or what is wrong with TXN.OUTCOME or TXN.DONE. */
const char *txn_branch_question(struct connection *connection, const struct command *command,
                                struct branch_question *ret_question);
