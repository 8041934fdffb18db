/* What an etcd:// URL says. */
#pragma once

#include "engine/engine.h"

enum {
    ETCD_ENDPOINTS = 9,
    ETCD_HOST_BYTES = 264, /* name and port */
    ETCD_PREFIX_BYTES = 512,
    ETCD_WORD_BYTES = 512, /* of a user, a password, the path of a file */
};

struct etcd_place {
    char endpoints[ETCD_ENDPOINTS][ETCD_HOST_BYTES]; /* host:port */
    uint32_t endpoint_count;
    char prefix[ETCD_PREFIX_BYTES]; /* without a slash at its end */
    char user[ETCD_WORD_BYTES];     /* empty: no authentication */
    char password[ETCD_WORD_BYTES];
    bool tls;
    char cacert[ETCD_WORD_BYTES], cert[ETCD_WORD_BYTES], key[ETCD_WORD_BYTES]; /* files; empty: the system's, none */
};

/* STATUS_INVALID with a problem for a person, in which no password is. */
MUST_USE enum status etcd_place_parse(const struct engine_url *url, struct etcd_place *ret_place,
                                      char ret_problem[static ENGINE_PROBLEM_BYTES]);
