/* What an answer of etcd's gateway means: HTTP's status, gRPC's code and etcd's words. */
#pragma once

#include "engine/engine.h"

#include <jansson.h>

enum etcd_verdict_kind {
    ETCD_FINE,           /* `answer` */
    ETCD_UNREACHED,      /* nothing was sent */
    ETCD_SILENT,         /* sent, and nobody knows what was done */
    ETCD_NO_LEASE,       /* there is no such lease; not executed */
    ETCD_HAS_LEASE,      /* there is such a lease already */
    ETCD_WANTS_TOKEN,    /* a user is wanted, or the token is over */
    ETCD_HAS_NO_AUTH,    /* users are not known there */
    ETCD_WRONG_PASSWORD, /* the user, or the password */
    ETCD_FORBIDDEN,
    ETCD_FULL,     /* its database */
    ETCD_BUSY,     /* too many requests */
    ETCD_IS_OLD,   /* or no etcd */
    ETCD_REFUSING, /* `words` */
    ETCD_NO_MEMORY,
};

struct etcd_verdict {
    enum etcd_verdict_kind kind;
    json_t *answer; /* the caller's */
    char words[160];
};

struct etcd_verdict etcd_judge(long status, struct slice body);

/* `silent`: it was sent before to somebody who did not answer, and would have changed something. */
enum engine_code etcd_code_of(struct engine *engine, const struct etcd_verdict *verdict, bool silent,
                              const char *endpoint, uint32_t endpoints);
