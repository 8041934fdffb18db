/* Memory is there, or the process ends with one line. */
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

/* Sanitizers end the process themselves otherwise. They are a library, which must see this in the program. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

static const size_t too_much = SIZE_MAX / 4; /* not to be seen through by the compiler */

static void test_blocks(void **state)
{
    unsigned char *zeroed = memory_allocate_zeroed(3, 100);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(zeroed[i], 0);
    }
    zeroed[299] = 7;
    zeroed = memory_resize(zeroed, 100000);
    assert_int_equal(zeroed[299], 7);
    free(zeroed);
    free(memory_resize(NULL, 10));
    void *aligned = memory_allocate_aligned(4096, 8192);
    assert_int_equal((uintptr_t)aligned % 4096, 0);
    free(aligned);
    char *text = memory_copy_text("text");
    assert_string_equal(text, "text");
    free(text);
    text = memory_make_text("text", 2);
    assert_string_equal(text, "te");
    free(text);
    text = memory_make_text(NULL, 0);
    assert_string_equal(text, "");
    free(text);
}

static void ask(int how)
{
    volatile size_t bytes = too_much;
    void *block = NULL;
    switch (how) {
    case 0: block = memory_allocate(bytes); break;
    case 1: block = memory_allocate_zeroed(bytes, 1); break;
    case 2: block = memory_allocate_aligned(64, bytes + 1); break;
    case 3: block = memory_resize(memory_allocate(8), bytes); break;
    default: block = memory_allocate_zeroed(bytes, 64); break; /* more than a size can say */
    }
    free(block);
}

static void test_refused(void **state)
{
    for (int how = 0; how < 5; how++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)dup2(ends[1], STDERR_FILENO);
            ask(how);
            _exit(0);
        }
        close(ends[1]);
        char said[4096] = "";
        size_t size = 0;
        for (ssize_t got = 1; got > 0 && size < sizeof(said) - 1; size += (size_t)got) {
            got = read(ends[0], said + size, sizeof(said) - 1 - size);
            assert_true(got >= 0);
        }
        close(ends[0]);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), EX_OSERR);
        const char *line = strstr(said, "cohort: out of memory: "); /* a sanitizer may speak first */
        assert_non_null(line);
        assert_string_equal(strstr(line, " bytes were refused"),
                            " bytes were refused; give this process more memory, or a lower maxmemory\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
