/* Nodes that are not behind TCP but in this process (engines). */
#pragma once

#include "base/status.h"

enum { CLIENT_WHY_BYTES = 1280 };

/* How links reach a node that is not behind TCP but in this process (an engine): by a descriptor that is connected
 * already, non-blocking and closed on exec. All NULL: over TCP. */
struct client_connector {
    void *context;
    /* Under the mutex: it does not wait. STATUS_CLOSED: there will be nobody any more. */
    enum status (*connect)(void *context, int *ret_fd);
    /* Then: why, in words for whoever waits. May be NULL when connect never says so. */
    void (*explain)(void *context, char ret_why[static CLIENT_WHY_BYTES]);
    void (*close)(void *context); /* after all links are closed */
    unsigned can;                 /* COHORT_CAN_… */
};
