/* What home and participants answer, taken apart. */
#include "base/number.h"
#include "cluster/txn_finisher_internal.h"

static bool take_line(struct slice *from, char type, int64_t *ret_number)
{
    const uint8_t *end = from->size == 0 ? NULL : memchr(from->data, '\n', from->size);
    size_t size = end == NULL ? 0 : (size_t)(end - from->data) + 1;
    if (size < 4 || from->data[0] != (uint8_t)type ||
        !number_parse_int64(slice_of(from->data + 1, size - 3), ret_number)) {
        return false;
    }
    *from = slice_of(from->data + size, from->size - size);
    return true;
}

static bool take_bulk(struct slice *from, struct slice *ret_text)
{
    int64_t size;
    if (!take_line(from, '$', &size) || size < 0 || from->size < (size_t)size + 2) {
        return false;
    }
    *ret_text = slice_of(from->data, (size_t)size);
    *from = slice_of(from->data + size + 2, from->size - (size_t)size - 2);
    return true;
}

static bool take_word(struct answer *answer, struct slice word)
{
    if (word.size >= sizeof(answer->word)) {
        return false;
    }
    memcpy(answer->word, word.data, word.size);
    answer->word[word.size] = '\0';
    return true;
}

/* COHORT.TXN.STATUS, as RESOLVE would say it: nil, or names and values, of which the epoch comes behind what is wanted.
 */
static void take_status(struct answer *answer, struct slice reply)
{
    int64_t count;
    struct slice name;
    struct slice value;
    if (slice_equal(reply, SLICE_LITERAL("$-1\r\n"))) {
        answer->good = take_word(answer, SLICE_LITERAL("ABSENT"));
        return;
    }
    for (bool more = take_line(&reply, '*', &count); more && take_bulk(&reply, &name);) {
        if (slice_is_word(name, "epoch")) {
            answer->good = take_line(&reply, ':', &answer->number);
            return;
        }
        more = take_bulk(&reply, &value);
        if (more && slice_is_word(name, "state")) {
            answer->last = slice_is_word(value, "DONE") ? 1 : 0;
            more = take_word(answer, value);
        } else if (more && slice_is_word(name, "outcome") && value.size != 0) {
            more = take_word(answer, value);
        }
    }
}

void finisher_take(struct answer *answer, struct slice reply)
{
    int64_t count;
    struct slice word;
    if (answer->status) {
        take_status(answer, reply);
        return;
    }
    if (!take_line(&reply, '*', &count) || count < 1 || !take_bulk(&reply, &word) || !take_word(answer, word)) {
        return;
    }
    answer->good = true;
    if (take_line(&reply, ':', &answer->number)) {
        (void)take_line(&reply, ':', &answer->last);
    }
}
