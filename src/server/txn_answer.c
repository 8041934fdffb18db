#include "server/txn_answer.h"

bool answer_token(struct slice *from, struct resp_token *ret_token)
{
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_reader reader;
    resp_reader_init(&reader);
    if (resp_reader_next(&reader, &limits, from->data, from->size, ret_token) != RESP_REPLY_READY) {
        return false;
    }
    *from = slice_of(from->data + reader.consumed, from->size - reader.consumed);
    return true;
}

bool answer_array(struct slice *from, uint64_t *ret_count)
{
    struct resp_token token;
    bool taken = answer_token(from, &token) && token.type == RESP_ARRAY;
    *ret_count = taken ? token.count : 0;
    return taken;
}

bool answer_text(struct slice *from, struct slice *ret_text)
{
    struct resp_token token;
    bool taken = answer_token(from, &token) && token.type == RESP_BULK;
    *ret_text = taken ? token.text : slice_of(NULL, 0);
    return taken;
}

bool answer_integer(struct slice *from, int64_t *ret_value)
{
    struct resp_token token;
    bool taken = answer_token(from, &token) && token.type == RESP_INTEGER;
    *ret_value = taken ? token.integer : 0;
    return taken;
}

bool answer_error_text(struct slice answer, struct slice *ret_text)
{
    struct resp_token token;
    bool taken = answer_token(&answer, &token) && token.type == RESP_ERROR;
    *ret_text = taken ? token.text : slice_of(NULL, 0);
    return taken;
}

bool answer_yes(struct slice answer, uint64_t *ret_vote)
{
    uint64_t count = 0;
    struct slice word;
    int64_t vote = 0;
    bool yes = answer_array(&answer, &count) && count == 3 && answer_text(&answer, &word) &&
               slice_is_word(word, "YES") && answer_integer(&answer, &vote);
    *ret_vote = (uint64_t)vote;
    return yes;
}

bool answer_word(struct slice answer, struct slice *ret_word)
{
    uint64_t count = 0;
    *ret_word = slice_of(NULL, 0);
    return answer_array(&answer, &count) && count > 0 && answer_text(&answer, ret_word);
}

bool answer_open(struct slice answer, struct open_answer *ret_open)
{
    uint64_t count = 0;
    int64_t term = 0;
    int64_t position = 0;
    bool taken = answer_array(&answer, &count) && count == 3 && answer_text(&answer, &ret_open->word) &&
                 answer_integer(&answer, &term) && answer_integer(&answer, &position);
    ret_open->term = (uint64_t)term;
    ret_open->position = (uint64_t)position;
    return taken;
}
