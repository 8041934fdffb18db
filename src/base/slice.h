/* A borrowed run of bytes. It owns nothing and may hold zero bytes anywhere. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *data;
    size_t size;
};

/* A slice of a string literal. */
#define SLICE_LITERAL(text) ((struct slice){(const uint8_t *)(text), sizeof(text) - 1})

static inline struct slice slice_of(const void *data, size_t size) { return (struct slice){data, size}; }

static inline struct slice slice_from_string(const char *string)
{
    return (struct slice){(const uint8_t *)string, strlen(string)};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool slice_starts_with(struct slice whole, struct slice start)
{
    return start.size <= whole.size && slice_equal((struct slice){whole.data, start.size}, start);
}

/* Lexicographic order of unsigned bytes; a prefix comes first. */
static inline int slice_compare(struct slice a, struct slice b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) {
        return order;
    }
    return (a.size > b.size) - (a.size < b.size);
}

/* ASCII case-insensitive comparison with a C string. */
static inline bool slice_is_word(struct slice a, const char *word)
{
    size_t size = strlen(word);
    if (a.size != size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        uint8_t x = a.data[i];
        uint8_t y = (uint8_t)word[i];
        x = (x >= 'A' && x <= 'Z') ? (uint8_t)(x + 32) : x;
        y = (y >= 'A' && y <= 'Z') ? (uint8_t)(y + 32) : y;
        if (x != y) {
            return false;
        }
    }
    return true;
}
