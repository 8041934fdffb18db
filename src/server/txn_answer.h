/* What shards answer to the internal commands of transactions, taken apart: each takes the next part from the front of
 * *from, and is false when something else stands there. */
#pragma once

#include "wire/resp_reply.h"

bool answer_token(struct slice *from, struct resp_token *ret_token);
bool answer_array(struct slice *from, uint64_t *ret_count);
bool answer_text(struct slice *from, struct slice *ret_text);
bool answer_integer(struct slice *from, int64_t *ret_value);
/* An error instead of any other answer. */
bool answer_error_text(struct slice answer, struct slice *ret_text);

/* A PREPARE's yes: `[YES, vote, …]`. */
bool answer_yes(struct slice answer, uint64_t *ret_vote);
/* `[word, …]`, of at least one element. */
bool answer_word(struct slice answer, struct slice *ret_word);

/* OPEN's `[word, term, position]`. */
struct open_answer {
    struct slice word;
    uint64_t term, position;
};
bool answer_open(struct slice answer, struct open_answer *ret_open);
