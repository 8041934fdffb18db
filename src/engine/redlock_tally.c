#include "engine/redlock_tally.h"

/* An array's text and number, or a number alone, which is left as the text that was asked for. */
static bool take(const redisReply *reply, struct slice *ret_value, int64_t *ret_left_ms)
{
    if (reply->type == REDIS_REPLY_INTEGER) {
        *ret_value = slice_of("", 0);
        *ret_left_ms = reply->integer;
        return true;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_INTEGER) {
        return false;
    }
    *ret_value = slice_of(reply->element[0]->str, (size_t)reply->element[0]->len);
    *ret_left_ms = reply->element[1]->integer;
    return true;
}

bool redlock_take(const struct redis_answer *answer, struct slice *ret_value, int64_t *ret_left_ms)
{
    return answer->outcome == REDIS_ANSWERED && take(answer->reply, ret_value, ret_left_ms);
}

static size_t count_of(const struct redis_answer *answers, size_t count, struct slice value)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        struct slice one;
        int64_t left_ms;
        found += redlock_take(&answers[i], &one, &left_ms) && slice_equal(one, value);
    }
    return found;
}

static void order(int64_t *lefts_ms, size_t count) /* the longest first */
{
    for (size_t i = 1; i < count; i++) {
        for (size_t j = i; j > 0 && lefts_ms[j - 1] < lefts_ms[j]; j--) {
            int64_t left_ms = lefts_ms[j];
            lefts_ms[j] = lefts_ms[j - 1];
            lefts_ms[j - 1] = left_ms;
        }
    }
}

struct redlock_tally redlock_count_values(const struct redis_answer *answers, size_t count)
{
    struct redlock_tally tally = {0};
    struct slice one;
    int64_t left_ms;
    for (size_t i = 0; i < count; i++) {
        if (redlock_take(&answers[i], &one, &left_ms)) {
            tally.answered++;
            size_t same = one.size == 0 ? 0 : count_of(answers, count, one);
            if (same > tally.yes) {
                tally.yes = same;
                tally.value = one;
            }
        }
    }
    size_t filled = 0;
    for (size_t i = 0; i < count; i++) {
        if (!redlock_take(&answers[i], &one, &left_ms)) {
            continue;
        }
        if (tally.yes > 0 && slice_equal(one, tally.value)) {
            tally.lefts_ms[filled++] = left_ms;
        } else if (one.size == 0 && left_ms > 0 && (tally.others_ms == 0 || left_ms < tally.others_ms)) {
            tally.others_ms = left_ms;
        }
    }
    order(tally.lefts_ms, tally.yes);
    return tally;
}

struct redlock_tally redlock_count_yes(const struct redis_answer *answers, size_t count)
{
    struct redlock_tally tally = {0};
    for (size_t i = 0; i < count; i++) {
        struct slice one;
        int64_t left_ms;
        if (redlock_take(&answers[i], &one, &left_ms)) {
            tally.answered++;
            if (left_ms > 0) {
                tally.lefts_ms[tally.yes++] = left_ms;
            }
        }
    }
    order(tally.lefts_ms, tally.yes);
    return tally;
}
