/* cohort txn: transactions over a cohort, databases and services. */
#include "cli/txn.h"

#include "cli/actions.h"
#include "resource/resource_name.h"

#include <stdio.h>

int txn_take_participant(const struct cli_command *command, const char *option, const char *text,
                         char ret_label[static TXN_LABEL_BYTES], const char **ret_url)
{
    size_t size = strcspn(text, "=:/");
    if (text[size] != '=') {
        (void)cli_error(command, EX_USAGE, "--%s takes NAME=URL, such as bank=postgresql://user@host/database", option);
        return cli_usage_hint(command);
    }
    if (!resource_label_is_good(slice_of(text, size))) {
        return cli_error(command, EX_USAGE, "--%s: a NAME has 1 to %d letters, digits, '.', '_' and '-'", option,
                         TXN_LABEL_BYTES - 1);
    }
    memcpy(ret_label, text, size);
    ret_label[size] = '\0';
    *ret_url = text + size + 1;
    return CLI_CONTINUE;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    static const struct cli_command *const actions[] = {&cli_txn_run, &cli_txn_list, &cli_txn_status, &cli_txn_resolve,
                                                        NULL};
    return actions_run(command, actions, argc, argv);
}

const struct cli_command cli_txn = {
    .name = "txn",
    .arguments = "run --on NAME=URL --do STATEMENT … | list | status ID | resolve --resource NAME=URL …",
    .summary = "transactions over a cohort, databases and services",
    .examples = "  cohort txn run --do 'DECRBY stock:9 1' --on bank=postgresql://app@db/bank \\\n"
                "      --do 'UPDATE account SET balance = balance - 5 WHERE id = 7'\n"
                "  cohort txn list --state OPEN\n"
                "  cohort txn status order-17\n"
                "  cohort txn resolve --resource bank=postgresql://app@db/bank --watch\n",
    .run = run,
};
