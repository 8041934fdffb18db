#include "env/listen_advice.h"

#include <stdio.h>

static const char *reason(enum status status)
{
    switch (status) {
    case STATUS_BUSY: return "in use; another program has this port, stop it or give another ";
    case STATUS_NOTFOUND: return "no such host; correct ";
    case STATUS_INVALID: return "this machine does not have this address; correct ";
    case STATUS_DENIED: return "permission denied; ports below 1024 are for root, give another ";
    default: return NULL;
    }
}

void listen_advice(enum status status, const char *option, char ret_text[static LISTEN_ADVICE_BYTES])
{
    const char *known = reason(status);
    (void)snprintf(ret_text, LISTEN_ADVICE_BYTES, "%s%s", known != NULL ? known : status_text(status),
                   known != NULL ? option : "");
}
