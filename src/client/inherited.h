/* Whether this process has a handle by fork alone: then everything of it is the parent's (cohort/client.h, 7).
 *
 * A child shares the parent's connections, and its epoll, which watches the parent's descriptors: what it read, sent or
 * took out of there would be missing in the parent. The mutex may be held, for ever, by a thread that is not here. So
 * each call of the API looks before it takes the mutex. The look is one load: of a page that the kernel wipes in a
 * child (MADV_WIPEONFORK); where it cannot, the process is asked for its id. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

struct cohort;
struct cohort_reply;

struct handle_mark {
    uint8_t *page; /* its first byte is 1, and 0 in a child; NULL: by `opener` */
    pid_t opener;
};

void handle_mark_init(struct handle_mark *mark);
void handle_mark_deinit(struct handle_mark *mark);

static inline bool handle_mark_is_inherited(const struct handle_mark *mark)
{
    return mark->page != NULL ? *(volatile const uint8_t *)mark->page == 0 : getpid() != mark->opener;
}
