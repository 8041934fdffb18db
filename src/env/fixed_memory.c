#include "env/fixed_memory.h"

#include <errno.h>
#include <sys/mman.h>

/* What a leak checker must look for pointers in: it knows the heap, and not what was mapped. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
static void show_to_leak_checker(void *at, size_t size) { __lsan_register_root_region(at, size); }
static void hide_from_leak_checker(void *at, size_t size) { __lsan_unregister_root_region(at, size); }
#else
static void show_to_leak_checker(void *at, size_t size) { (void)at, (void)size; }
static void hide_from_leak_checker(void *at, size_t size) { (void)at, (void)size; }
#endif

enum status fixed_memory_map(uintptr_t address, size_t size)
{
    void *wanted = (void *)address; /* NOLINT(performance-no-int-to-ptr) */
    void *at = mmap(wanted, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (at == wanted) {
        show_to_leak_checker(at, size);
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
    hide_from_leak_checker(at, size);
    (void)munmap(at, size);
}

void fixed_memory_release(void *at, size_t size) { (void)madvise(at, size, MADV_DONTNEED); }
