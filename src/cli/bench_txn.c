#include "cli/bench_txn.h"

#include "cli/cli.h"
#include "cli/node.h"
#include "cluster/slot.h"

#include <inttypes.h>
#include <strings.h>

enum { KEYS_DEFAULT = 2 };

static bool choose_form(const char *text, enum bench_form *ret_form)
{
    static const char *const names[] = {[BENCH_MULTI] = "multi", [BENCH_BEGIN] = "txn", [BENCH_MSET] = "mset"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret_form = (enum bench_form)i;
            return true;
        }
    }
    return false;
}

static int choose_protocol(const char *text, enum bench_form form, const char **ret_protocol)
{
    static const char *const names[] = {"2PC", "3PC"};
    if (form != BENCH_BEGIN) {
        return cli_error(
            &cli_bench, EX_USAGE,
            "--protocol is of --form txn; other transactions take the server's (its setting txn-protocol)");
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcasecmp(text, names[i]) == 0) {
            *ret_protocol = names[i];
            return CLI_CONTINUE;
        }
    }
    return cli_error(&cli_bench, EX_USAGE, "--protocol: '%s' is neither 2pc nor 3pc", text);
}

int bench_txn_choose(const struct bench_txn_options *options, bool wanted, struct bench_txn *ret_txn)
{
    bool given = options->form != NULL || options->protocol != NULL || options->keys != 0 || options->hot_percent != -1;
    if (!wanted) {
        return given ? cli_error(&cli_bench, EX_USAGE, "--shards, --hot, --form and --protocol are of --mode txn")
                     : CLI_CONTINUE;
    }
    struct bench_txn txn = {.keys = options->keys == 0 ? KEYS_DEFAULT : (uint32_t)options->keys,
                            .hot_percent = options->hot_percent == -1 ? 0 : (uint32_t)options->hot_percent};
    if (options->form != NULL && !choose_form(options->form, &txn.form)) {
        return cli_error(&cli_bench, EX_USAGE, "--form: '%s' is none of multi, txn, mset", options->form);
    }
    int code = CLI_CONTINUE;
    if (options->protocol != NULL) {
        code = choose_protocol(options->protocol, txn.form, &txn.protocol);
    }
    *ret_txn = txn;
    return code;
}

/* As a node tells it; a server that is no Cohort is one shard. */
static uint32_t ask_shard_count(const struct client_url *url)
{
    char problem[NODE_PROBLEM_BYTES];
    json_t *status = node_ask_json(&url->endpoints[0], url->timeout_ms, "COHORT.STATUS", problem);
    size_t count = json_array_size(json_object_get(status, "shards"));
    json_decref(status);
    return count == 0 || count > SLOT_MAXIMUM_SHARDS ? 1 : (uint32_t)count;
}

int bench_txn_ask_shards(const struct client_url *url, struct bench_mix *mix)
{
    struct bench_txn *txn = &mix->txn;
    if (txn->keys == 0) {
        return CLI_CONTINUE;
    }
    txn->shard_count = ask_shard_count(url);
    if (txn->shard_count < txn->keys) {
        return cli_error(&cli_bench, EX_USAGE, "--shards: %" PRIu32 " are more than the server has (%" PRIu32 ")",
                         txn->keys, txn->shard_count);
    }
    uint32_t with_keys = bench_txn_shards(mix->keys, txn->shard_count, txn->keys);
    if (with_keys < txn->keys) {
        return cli_error(&cli_bench, EX_USAGE, "--keys: %" PRIu64 " are in %" PRIu32 " shards only, not %" PRIu32,
                         mix->keys, with_keys, txn->keys);
    }
    return CLI_CONTINUE;
}
