/* What is said to an owner who asks for a lock otherwise than it has it: in another mode, with other permits, with a
 * time to live instead of a session. Nothing of that can be changed while it is held. */
#include "machine/lock/lock_commands.h"
#include "machine/session/ties.h"

#include <inttypes.h>
#include <stdio.h>

enum { MANNER_BYTES = 128 };

/* In the words of LOCK.ACQUIRE. */
static void describe(char text[static MANNER_BYTES], const struct lock_manner *manner)
{
    char mode[48];
    char session[SESSION_ID_BYTES];
    if (manner->mode == LOCK_PERMITS_MODE) {
        (void)snprintf(mode, sizeof(mode), "PERMITS %" PRIu32 " LIMIT %" PRIu32, manner->permits, manner->limit);
    } else {
        (void)snprintf(mode, sizeof(mode), "MODE %s", manner->mode == LOCK_SHARED ? "SHARED" : "EXCLUSIVE");
    }
    if (manner->session.shard == 0) {
        (void)snprintf(text, MANNER_BYTES, "%s and PX", mode);
    } else {
        (void)session_id_format(session, manner->session);
        (void)snprintf(text, MANNER_BYTES, "%s and SESSION %s", mode, session);
    }
}

static struct lock_manner asked(const struct lock_request *request)
{
    return (struct lock_manner){
        .mode = request->mode,
        .permits = request->permits,
        .limit = request->limit,
        .session = request->tie == NULL ? (struct session_id){0} : tie_id(request->tie),
    };
}

void lock_put_otherwise(struct call *call, const struct lock_manner *had, const struct lock_request *request)
{
    char has[MANNER_BYTES];
    char asks[MANNER_BYTES];
    const struct lock_manner now = asked(request);
    describe(has, had);
    describe(asks, &now);
    resp_error_format(&call->reply,
                      had->waits ? "ERR this owner waits for the lock with %s, and now asks with %s; ask as before, or "
                                   "end that wait first (CLIENT UNBLOCK)"
                                 : "ERR this owner holds the lock with %s, and now asks with %s; ask as before, or "
                                   "LOCK.RELEASE it, then acquire it anew",
                      has, asks);
}
