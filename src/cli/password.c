#include "cli/password.h"

#include <stdlib.h>

const char *password_given(void)
{
    const char *password = getenv("COHORT_PASSWORD");
    return password == NULL || *password == '\0' ? NULL : password;
}

const char *password_problem(struct slice words)
{
    if (slice_starts_with(words, SLICE_LITERAL("NOAUTH "))) {
        return "NOAUTH a password is wanted: put it into the environment, as COHORT_PASSWORD";
    }
    return slice_starts_with(words, SLICE_LITERAL("WRONGPASS "))
               ? "WRONGPASS what COHORT_PASSWORD holds is not the password that is wanted"
               : NULL;
}

enum status password_say(struct client_connection *connection, int64_t deadline_ns, struct slice *ret_reply)
{
    *ret_reply = SLICE_LITERAL("+OK\r\n");
    if (password_given() == NULL) {
        return STATUS_OK;
    }
    const struct slice argv[] = {SLICE_LITERAL("AUTH"), SLICE_LITERAL("default"), slice_from_string(password_given())};
    return client_connection_call(connection, argv, 3, deadline_ns, ret_reply);
}
