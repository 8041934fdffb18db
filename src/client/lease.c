#include "client/lease.h"

#include <stdio.h>
#include <sys/random.h>

void lease_confirm(struct lease *lease, int64_t sent_boottime_ns, int64_t left_ms)
{
    left_ms = left_ms < 0 ? 0 : left_ms < LEASE_WAIT_MAXIMUM_MS ? left_ms : LEASE_WAIT_MAXIMUM_MS; /* a year */
    int64_t allowance_ns = (int64_t)LEASE_DRIFT_MS * 1000000 + left_ms * 1000000 / LEASE_DRIFT_DIVISOR;
    int64_t until_ns = sent_boottime_ns + left_ms * 1000000 - allowance_ns;
    if (!lease->is_over && until_ns > lease->valid_until_ns) {
        lease->valid_until_ns = until_ns;
    }
}

void lease_end(struct lease *lease)
{
    lease->is_over = true;
    lease->valid_until_ns = 0;
}

int64_t lease_valid_until(const struct lease *lease)
{
    if (handle_is_inherited(lease->cohort)) {
        return 0;
    }
    handle_lock(lease->cohort);
    int64_t until_ns = lease->valid_until_ns;
    handle_unlock(lease->cohort);
    return until_ns;
}

void lease_give_up(struct lease *lease)
{
    if (handle_is_inherited(lease->cohort)) {
        return; /* the parent has it */
    }
    handle_lock(lease->cohort);
    lease_end(lease);
    handle_unlock(lease->cohort);
}

bool lease_make_name(char name[static LEASE_NAME_BYTES])
{
    uint8_t random[16];
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(random); i++) {
        (void)snprintf(name + 2 * i, 3, "%02x", random[i]);
    }
    return true;
}
