/* The options of `cohort bench --mode txn`. */
#pragma once

#include "cli/bench_request.h"
#include "client/url.h"

struct bench_txn_options {
    const char *form;
    const char *protocol; /* NULL: not given */
    int64_t keys;         /* 0: not given */
    int64_t hot_percent;  /* -1: not given */
};

#define BENCH_TXN_OPTIONS_DEFAULT                                                                                      \
    {                                                                                                                  \
        .hot_percent = -1                                                                                              \
    }

/* Both return CLI_CONTINUE, or an exit code after an error that they have reported. */

/* What transactions are to be; none are asked for unless `wanted`, and the options are an error then. */
int bench_txn_choose(const struct bench_txn_options *options, bool wanted, struct bench_txn *ret_txn);
/* How many shards the server has, for transactions, and whether they and the keys are enough. */
int bench_txn_ask_shards(const struct client_url *url, struct bench_mix *mix);
