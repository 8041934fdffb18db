#include "server/notify.h"

#include <stdio.h>

/* In the order in which Redis writes them. */
static const struct {
    char letter;
    int64_t flag;
} letters[] = {
    {'g', EVENT_GENERIC}, {'$', EVENT_STRING},  {'l', EVENT_LIST},      {'s', EVENT_SET},    {'h', EVENT_HASH},
    {'z', EVENT_SORTED},  {'x', EVENT_EXPIRED}, {'e', EVENT_EVICTED},   {'t', EVENT_STREAM}, {'d', EVENT_MODULE},
    {'n', EVENT_NEW},     {'K', NOTIFY_BY_KEY}, {'E', NOTIFY_BY_EVENT}, {'m', EVENT_MISSED},
};

enum {
    LETTERS = sizeof(letters) / sizeof(letters[0]),
    CLASSES_OF_A = EVENT_GENERIC | EVENT_STRING | EVENT_LIST | EVENT_SET | EVENT_HASH | EVENT_SORTED | EVENT_EXPIRED |
                   EVENT_EVICTED | EVENT_STREAM | EVENT_MODULE,

};

bool notify_parse(struct slice text, int64_t *ret_flags)
{
    int64_t flags = 0;
    for (size_t i = 0; i < text.size; i++) {
        int64_t flag = text.data[i] == 'A' ? CLASSES_OF_A : 0;
        for (size_t l = 0; l < LETTERS; l++) {
            flag |= text.data[i] == (uint8_t)letters[l].letter ? letters[l].flag : 0;
        }
        if (flag == 0) {
            return false;
        }
        flags |= flag;
    }
    *ret_flags = flags;
    return true;
}

void notify_format(int64_t flags, char ret_text[static NOTIFY_TEXT_BYTES])
{
    size_t size = 0;
    bool all = (flags & CLASSES_OF_A) == CLASSES_OF_A;
    if (all) {
        ret_text[size++] = 'A';
    }
    for (size_t l = 0; l < LETTERS; l++) {
        if ((flags & letters[l].flag) != 0 && !(all && (letters[l].flag & CLASSES_OF_A) != 0)) {
            ret_text[size++] = letters[l].letter;
        }
    }
    ret_text[size] = '\0';
}
