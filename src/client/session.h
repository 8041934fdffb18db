/* The inside of a session (cohort/session.h): a lease with an id that the server chose. */
#pragma once

#include "client/lease.h"

#include <cohort/session.h>

enum { SESSION_ID_BYTES = 64 };

struct cohort_session {
    struct lease lease;
    char id[SESSION_ID_BYTES];
};
