/* Random histories for the checker's tests: made by executing operations for real on one value, in an order and at
 * times that are then blurred into overlapping intervals. The model here is written apart from the checker's. */
#pragma once

#include "base/assert.h"
#include "base/prng.h"
#include "check/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifndef MODEL_TEXT_BYTES
#define MODEL_TEXT_BYTES 256 /* of the largest value */
#endif

/* What a string or a field is. */
struct model {
    bool present;
    char text[MODEL_TEXT_BYTES];
};

static inline struct history_result model_null(void) { return (struct history_result){.shape = HISTORY_RESULT_NULL}; }

static inline struct history_result model_number(int64_t number)
{
    return (struct history_result){.shape = HISTORY_RESULT_NUMBER, .number = number};
}

static inline struct history_result model_read(const struct model *model, char *copy)
{
    if (!model->present) {
        return model_null();
    }
    strcpy(copy, model->text);
    return (struct history_result){.shape = HISTORY_RESULT_TEXT, .text = slice_from_string(copy)};
}

static inline void model_write(struct model *model, struct slice text)
{
    ASSERT(text.size < MODEL_TEXT_BYTES);
    model->present = true;
    if (text.size > 0) {
        memcpy(model->text, text.data, text.size);
    }
    model->text[text.size] = '\0';
}

/* False when Redis would answer with an error. */
static inline bool model_add(struct model *model, int64_t by, struct history_result *ret_result)
{
    char *end = model->text;
    char again[32];
    long long number = model->present ? strtoll(model->text, &end, 10) : 0;
    (void)snprintf(again, sizeof(again), "%lld", number);
    if (model->present && strcmp(again, model->text) != 0) {
        return false;
    }
    number += by;
    (void)snprintf(again, sizeof(again), "%lld", number);
    model_write(model, slice_from_string(again));
    *ret_result = model_number(number);
    return true;
}

/* Executes one operation as Redis would. `copy` has room for a text that the result points to. */
static inline bool model_execute(struct model *model, const struct history_call *call, char *copy,
                                 struct history_result *ret_result)
{
    bool was = model->present;
    switch (call->kind) {
    case HISTORY_GET:
    case HISTORY_HGET: *ret_result = model_read(model, copy); return true;
    case HISTORY_SET:
        model_write(model, call->value);
        *ret_result = (struct history_result){.shape = HISTORY_RESULT_NONE};
        return true;
    case HISTORY_SETNX:
    case HISTORY_HSETNX:
        if (!was) {
            model_write(model, call->value);
        }
        *ret_result = model_number(!was);
        return true;
    case HISTORY_GETSET:
        *ret_result = model_read(model, copy);
        model_write(model, call->value);
        return true;
    case HISTORY_GETDEL:
        *ret_result = model_read(model, copy);
        model->present = false;
        return true;
    case HISTORY_DEL:
    case HISTORY_HDEL:
        model->present = false;
        *ret_result = model_number(was);
        return true;
    case HISTORY_IFEQ: {
        bool equal = was && slice_equal(slice_from_string(model->text), call->expected);
        if (equal) {
            model_write(model, call->value);
        }
        *ret_result = model_number(equal);
        return true;
    }
    case HISTORY_APPEND: {
        char joined[2 * MODEL_TEXT_BYTES];
        size_t size = was ? strlen(model->text) : 0;
        memcpy(joined, model->text, size);
        if (call->value.size > 0) {
            memcpy(joined + size, call->value.data, call->value.size);
        }
        model_write(model, slice_of(joined, size + call->value.size));
        *ret_result = model_number((int64_t)(size + call->value.size));
        return true;
    }
    case HISTORY_CLEAR:
        model->present = false;
        *ret_result = (struct history_result){.shape = HISTORY_RESULT_NONE};
        return true;
    case HISTORY_HSET:
        model_write(model, call->value);
        *ret_result = model_number(!was);
        return true;
    case HISTORY_INCR:
    case HISTORY_HINCRBY: return model_add(model, call->by, ret_result);
    case HISTORY_KINDS: break;
    }
    UNREACHABLE();
}
