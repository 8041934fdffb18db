/* History files: any bytes, in any pieces, give a history or a message; a history is judged within its memory, and what
 * is written of it reads back as the same one. The first byte steers the pieces. */
#include "check/check.h"
#include "check/history_reader.h"
#include "check/history_writer.h"
#include "fuzz.h"

enum { MEMORY_BYTES = 256 * 1024, OPERATIONS_JUDGED = 200 };

static enum status read_pieces(struct slice text, uint64_t seed, struct history *history)
{
    struct history_reader reader;
    struct prng prng;
    prng_seed(&prng, seed);
    history_init(history);
    history_reader_init(&reader, history);
    enum status status = STATUS_OK;
    while (status == STATUS_OK && text.size > 0) {
        size_t size = seed == 0 ? text.size : fuzz_cut(&prng, text.size);
        status = history_reader_feed(&reader, slice_of(text.data, size));
        text = slice_of(text.data + size, text.size - size);
    }
    status = status == STATUS_OK ? history_reader_end(&reader) : status;
    ASSERT((status == STATUS_OK) == (reader.problem[0] == '\0'));
    history_reader_deinit(&reader);
    return status;
}

static struct buffer write_all(const struct history *history)
{
    struct buffer text;
    buffer_init(&text);
    history_write_header(NULL, &text);
    for (uint32_t i = 0; i < history->count; i++) {
        history_write_operation(history, i, &text);
    }
    return text;
}

static void check_written(const struct history *history)
{
    struct history again;
    struct buffer once = write_all(history);
    ASSERT(read_pieces(buffer_slice(&once), 0, &again) == STATUS_OK);
    struct buffer twice = write_all(&again);
    ASSERT(slice_equal(buffer_slice(&once), buffer_slice(&twice)));
    buffer_deinit(&once);
    buffer_deinit(&twice);
    history_deinit(&again);
}

static void judge(const struct history *history)
{
    struct check check;
    struct buffer text;
    buffer_init(&text);
    if (check_run(&check, history, MEMORY_BYTES) == STATUS_OK) {
        for (uint32_t i = 0; i < check.group_count; i++) {
            if (check.groups[i].verdict == CHECK_NOT_LINEARIZABLE) {
                check_write_group(&check, &check.groups[i], &text);
            }
        }
        for (uint32_t i = 0; i < check.key_count; i++) {
            if (check.keys[i].group == CHECK_ALONE && check.keys[i].verdict == CHECK_NOT_LINEARIZABLE) {
                struct check_explanation explanation;
                check_explain(&check, &check.keys[i], &explanation);
                check_write_explanation(&check, &explanation, &text);
                check_explanation_deinit(&explanation);
            }
        }
        check_write_summary(&check, 10, &text);
    }
    buffer_deinit(&text);
    check_deinit(&check);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    uint8_t seed = fuzz_take_byte(&text);
    struct history history;
    if (read_pieces(text, seed, &history) == STATUS_OK) {
        check_written(&history);
        if (history.count <= OPERATIONS_JUDGED) {
            judge(&history);
        }
    }
    history_deinit(&history);
    return 0;
}
