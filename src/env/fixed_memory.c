#include "env/fixed_memory.h"

#include <errno.h>
#include <sys/mman.h>

enum status fixed_memory_map(uintptr_t address, size_t size)
{
    void *wanted = (void *)address; /* NOLINT(performance-no-int-to-ptr) */
    void *at = mmap(wanted, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (at == wanted) {
        return STATUS_OK;
    }
    if (at == MAP_FAILED) {
        return errno == EEXIST ? STATUS_BUSY : STATUS_NOMEM;
    }
    (void)munmap(at, size); /* a kernel before 4.17 takes the address for a hint */
    return STATUS_BUSY;
}

void fixed_memory_unmap(uintptr_t address, size_t size)
{
    (void)munmap((void *)address, size); /* NOLINT(performance-no-int-to-ptr) */
}

void fixed_memory_release(void *at, size_t size) { (void)madvise(at, size, MADV_DONTNEED); }
