#include "client/inherited.h"

#include <sys/mman.h>

void handle_mark_init(struct handle_mark *mark)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *mark = (struct handle_mark){.opener = getpid()};
    if (page != MAP_FAILED && madvise(page, size, MADV_WIPEONFORK) == 0) {
        mark->page = page;
        mark->page[0] = 1;
    } else if (page != MAP_FAILED) {
        (void)munmap(page, size);
    }
}

void handle_mark_deinit(struct handle_mark *mark)
{
    if (mark->page != NULL) {
        (void)munmap(mark->page, (size_t)sysconf(_SC_PAGESIZE));
        mark->page = NULL;
    }
}
