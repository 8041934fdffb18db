/* Who held which lock, as the holders could know it, and what a resource let pass: no order is looked for, each is
 * judged by its times.
 *
 * A *hold* was asked for at `start`, told at `end`, and could be believed until `until`: the end of the lease by its
 * holder's reckoning (from before it asked), or the moment before it asked for its release. A *use* of a token began at
 * `start`; at `end` it was told whether the resource let it pass.
 *
 * What must be:
 * 1. At no moment more is believed than can be: one exclusive hold, or shared ones, or permits up to their limit.
 * 2. A grant that was asked for after another was told has a larger token; no token is granted twice.
 * 3. A use that began after another had passed does not pass with a smaller token, unless that hold was shared or had
 *    permits: those are fenced only when they no longer hold, which nobody outside can know.
 * 4. A use is not refused that began and ended while a hold with its token was believed.
 *
 * Locks without tokens have 0; rule 1 alone is for them. */
#pragma once

#include "base/buffer.h"
#include "check/texts.h"

enum hold_mode { HOLD_EXCLUSIVE, HOLD_SHARED, HOLD_PERMITS, HOLD_MODES };

struct hold {
    uint32_t key; /* text */
    uint32_t process;
    uint64_t start, end, until; /* of a use, until is not looked at */
    int64_t token;              /* 0: there is none */
    uint32_t permits, limit;    /* of HOLD_PERMITS */
    uint8_t mode;
    bool use;
    bool passed; /* of a use */
};

struct holds {
    struct hold *items;
    uint32_t count, capacity;
};

enum hold_problem {
    HOLD_FINE,
    HOLD_TOGETHER,       /* both are believed at once */
    HOLD_TOO_MANY,       /* with others more permits than the limit; the second began while the first was believed */
    HOLD_TOKEN_TWICE,    /* both have one token */
    HOLD_TOKEN_BACK,     /* the second was asked for after the first was told, and its token is smaller */
    HOLD_OLD_USE_PASSED, /* the second began after the first had passed, with a smaller token */
    HOLD_USE_REFUSED,    /* the second is a use that was refused while the first was believed */
    HOLD_PROBLEMS,
};
const char *hold_problem_name(enum hold_problem problem);

struct hold_finding {
    enum hold_problem problem;
    uint32_t first, second; /* of the holds */
};

void holds_deinit(struct holds *holds);
void holds_add(struct holds *holds, const struct hold *hold);
/* The first thing that is wrong, key by key. */
void holds_check(const struct holds *holds, struct hold_finding *ret_finding);
/* Two holds and what is wrong, for a person. */
void holds_write(const struct holds *holds, const struct texts *texts, const struct hold_finding *finding,
                 struct buffer *out);
