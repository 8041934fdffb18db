/* Runs the scripts of the folder transcripts, which drive a small group and show what follows, to be read as
 * specifications.
 *
 * A line is a command; lines that begin with "| " are what it printed. With RAFT_TRANSCRIPTS=update in the environment
 * the files are written anew; look at the difference before you keep it. Disks sync at once unless stalled; messages
 * stay in flight until delivered.
 * The commands are those of script.h.
 */
#include "base/assert.h"
#include "tests/unit/raft/script.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MAXIMUM_TRANSCRIPTS = 128 };

static void read_file(const char *path, struct buffer *out)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    uint8_t *at = buffer_reserve(out, 1 << 20);
    out->size = fread(at, 1, 1 << 20, file);
    fclose(file);
}

static void report_difference(const char *path, const struct buffer *expected, const struct buffer *got)
{
    size_t line = 1, start = 0, i = 0;
    while (i < expected->size && i < got->size && expected->data[i] == got->data[i]) {
        if (expected->data[i++] == '\n') {
            line++;
            start = i;
        }
    }
    int want = (int)strcspn((char *)expected->data + start, "\n");
    int have = (int)strcspn((char *)got->data + start, "\n");
    fail_msg("%s:%zu\n  expected: %.*s\n  got:      %.*s", path, line, want, (char *)expected->data + start, have,
             (char *)got->data + start);
}

static void run_transcript(void **state)
{
    const char *path = *state;
    struct buffer file, text;
    buffer_init(&file);
    buffer_init(&text);
    read_file(path, &file);
    buffer_append_byte(&file, 0);
    struct script *s = calloc(1, sizeof *s);
    assert_non_null(s);
    script_init(s);
    char *copy = strdup((char *)file.data);
    for (char *line = copy, *end; *line != '\0' && !s->lab.failed; line = end + 1) {
        end = strchr(line, '\n');
        assert_non_null(end);
        *end = '\0';
        if (line[0] != '|') {
            script_run_line(s, line, &text);
        }
    }
    const char *mode = getenv("RAFT_TRANSCRIPTS");
    file.size--; /* the NUL */
    bool same = slice_equal(buffer_slice(&text), buffer_slice(&file));
    if (!same && mode != NULL && strcmp(mode, "update") == 0) {
        FILE *out = fopen(path, "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(text.data, 1, text.size, out), text.size);
        fclose(out);
    } else if (!same) {
        buffer_append_byte(&text, 0);
        report_difference(path, &file, &text);
    }
    free(copy);
    script_deinit(s);
    free(s);
    buffer_deinit(&file);
    buffer_deinit(&text);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct CMUnitTest *)a)->name, ((const struct CMUnitTest *)b)->name);
}

int main(int argc, char **argv)
{
    ASSERT(argc == 2);
    static struct CMUnitTest tests[MAXIMUM_TRANSCRIPTS];
    size_t count = 0;
    DIR *folder = opendir(argv[1]);
    ASSERT(folder != NULL);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        size_t length = strlen(entry->d_name);
        if (length < 5 || strcmp(entry->d_name + length - 4, ".txt") != 0) {
            continue;
        }
        ASSERT(count < MAXIMUM_TRANSCRIPTS);
        char *path;
        ASSERT(asprintf(&path, "%s/%s", argv[1], entry->d_name) > 0);
        char *name = strndup(entry->d_name, length - 4);
        tests[count++] = (struct CMUnitTest){.name = name, .test_func = run_transcript, .initial_state = path};
    }
    closedir(folder);
    ASSERT(count > 0);
    qsort(tests, count, sizeof tests[0], by_name);
    int failures = _cmocka_run_group_tests("transcripts", tests, count, NULL, NULL);
    for (size_t i = 0; i < count; i++) {
        free((void *)(uintptr_t)tests[i].name);
        free(tests[i].initial_state);
    }
    return failures;
}
