#include "machine/meet/meet_arguments.h"

#include "base/number.h"
#include "machine/lock/lock_arguments.h"

_Static_assert(MEET_NAME_BYTES == 512 && MEET_OWNER_BYTES == 256 && MEET_MEMBERS == 4096, "as the texts say");

static const char *wait_parse(struct slice value, bool *given, int64_t *ret_ms)
{
    if (*given) {
        return LOCK_TWICE("WAIT");
    }
    *given = true;
    return lock_time_parse(value, 0, "ERR WAIT is a time in ms, from 0 to 31536000000 (a year)", ret_ms);
}

static const char *count_parse(struct slice value, uint32_t *ret_count)
{
    int64_t count;
    if (*ret_count != 0) {
        return LOCK_TWICE("COUNT");
    }
    if (!number_parse_int64(value, &count) || count < 1 || count > MEET_MEMBERS) {
        return "ERR COUNT is how many owners meet, from 1 to 4096";
    }
    *ret_count = (uint32_t)count;
    return NULL;
}

const char *barrier_request_parse(const struct slice *argv, uint32_t argc, struct meet_request *ret_request)
{
    *ret_request = (struct meet_request){.name = argv[0], .owner = argv[1]};
    bool fits = argv[1].size >= 1 && argv[1].size <= MEET_OWNER_BYTES;
    const char *problem = argv[0].size > MEET_NAME_BYTES ? "ERR the name of a barrier has 512 bytes at most"
                          : !fits                        ? "ERR the name of an owner has 1 to 256 bytes"
                                                         : NULL;
    bool wait = false;
    for (uint32_t i = 2; problem == NULL && i < argc; i += 2) {
        if (i + 1 < argc && slice_is_word(argv[i], "COUNT")) {
            problem = count_parse(argv[i + 1], &ret_request->count);
        } else if (i + 1 < argc && slice_is_word(argv[i], "WAIT")) {
            problem = wait_parse(argv[i + 1], &wait, &ret_request->wait_ms);
        } else {
            problem = "ERR syntax error";
        }
    }
    return problem == NULL && ret_request->count == 0 ? "ERR COUNT is how many owners meet, from 1 to 4096" : problem;
}

const char *latch_name_fits(struct slice name)
{
    return name.size > MEET_NAME_BYTES ? "ERR the name of a latch has 512 bytes at most" : NULL;
}

const char *latch_request_parse(const struct slice *argv, uint32_t argc, struct meet_request *ret_request)
{
    bool wait = false;
    *ret_request = (struct meet_request){.name = argv[0]};
    const char *problem = latch_name_fits(argv[0]);
    for (uint32_t i = 1; problem == NULL && i < argc; i += 2) {
        bool known = i + 1 < argc && slice_is_word(argv[i], "WAIT");
        problem = known ? wait_parse(argv[i + 1], &wait, &ret_request->wait_ms) : "ERR syntax error";
    }
    return problem;
}

bool meet_kind_parse(struct slice word, enum meet_kind *ret_kind)
{
    *ret_kind = slice_is_word(word, "latch") ? MEET_LATCH : MEET_BARRIER;
    return *ret_kind == MEET_LATCH || slice_is_word(word, "barrier");
}
