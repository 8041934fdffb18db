#include "env/fixed_memory.h"

#include "base/sanitized.h"

#include <errno.h>
#include <sys/mman.h>

/* The leak checker follows pointers out of what was allocated, and out of such memory only when told to. */
#if SANITIZED_ADDRESS
#include <sanitizer/lsan_interface.h>
#define FOLLOW(at, size) __lsan_register_root_region(at, size)
#define FOLLOW_NO_MORE(at, size) __lsan_unregister_root_region(at, size)
#else
#define FOLLOW(at, size) (void)0
#define FOLLOW_NO_MORE(at, size) (void)0
#endif

enum status fixed_memory_map(uintptr_t address, size_t size)
{
    void *wanted = (void *)address; /* NOLINT(performance-no-int-to-ptr) */
    void *at = mmap(wanted, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (at == wanted) {
        FOLLOW(wanted, size);
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
    void *at = (void *)address; /* NOLINT(performance-no-int-to-ptr) */
    FOLLOW_NO_MORE(at, size);
    (void)munmap(at, size);
}

void fixed_memory_release(void *at, size_t size) { (void)madvise(at, size, MADV_DONTNEED); }
