/* The machine: lines of words are commands. Each gives exactly one well-formed reply, a read gives the same as when it
 * is logged, and a snapshot taken while commands go on loads to the state it was begun at.
 *
 * A line that begins with '+' lets as many ms pass as it has bytes; '!' begins a snapshot or takes a step of it; '@'
 * and four bytes is a batch from another node; '~' and a letter is a command between nodes about transactions, of which
 * a word "=GET,a" is a command in the form of the log. */
#include "base/varint.h"
#include "fuzz.h"
#include "machine/machine.h"
#include "wire/resp_reply.h"

enum { WORDS_MAXIMUM = 32, SEED = 7 };

struct run {
    struct machine *machine;
    struct machine_context context;
    struct buffer reply, again, records;
    bool snapshot_runs;
    uint64_t digest;
};

static void check_reply(const struct buffer *reply)
{
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_reader reader;
    resp_reader_init(&reader);
    enum resp_type root;
    ASSERT(resp_reader_skip(&reader, &limits, reply->data, reply->size, &root) == RESP_REPLY_READY);
    ASSERT(reader.consumed == reply->size);
}

static void execute(struct run *run, const struct command *command)
{
    buffer_clear(&run->reply);
    struct resp_writer writer = resp_writer_to(&run->reply, command->protocol);
    run->context.position++;
    machine_apply(run->machine, &run->context, command, &writer);
    check_reply(&run->reply);
    uint16_t id = command->spec->id;
    if ((command->spec->flags & COMMAND_READONLY) != 0 && id != COMMAND_RANDOMKEY && id != COMMAND_HRANDFIELD) {
        buffer_clear(&run->again);
        writer.out = &run->again;
        ASSERT(machine_read(run->machine, &run->context, command, &writer));
        ASSERT(slice_equal(buffer_slice(&run->reply), buffer_slice(&run->again)));
    }
}

static void load_and_compare(struct run *run)
{
    struct machine *loaded = machine_create(&(struct machine_options){SEED});
    struct slice rest = buffer_slice(&run->records);
    while (rest.size > 0) {
        uint64_t size;
        ASSERT(varint_take(&rest, &size) && size <= rest.size);
        ASSERT(machine_load_record(loaded, slice_of(rest.data, size)) == STATUS_OK);
        rest = slice_of(rest.data + size, rest.size - size);
    }
    ASSERT(machine_digest(loaded) == run->digest);
    machine_destroy(loaded);
}

static void step_snapshot(struct run *run)
{
    if (!run->snapshot_runs) {
        run->digest = machine_digest(run->machine);
        buffer_clear(&run->records);
        machine_snapshot_begin(run->machine);
        run->snapshot_runs = true;
    } else if (!machine_snapshot_step(run->machine, &run->records, 64)) {
        machine_snapshot_end(run->machine);
        run->snapshot_runs = false;
        load_and_compare(run);
    }
}

/* One word less than WORDS_MAXIMUM. */
static uint32_t split(struct slice line, int between, struct slice *words)
{
    uint32_t count = 0;
    while (line.size > 0 && count < WORDS_MAXIMUM - 1) {
        const uint8_t *space = memchr(line.data, between, line.size);
        size_t size = space == NULL ? line.size : (size_t)(space - line.data);
        words[count++] = slice_of(line.data, size);
        size_t taken = space == NULL ? size : size + 1;
        line = slice_of(line.data + taken, line.size - taken);
    }
    return count;
}

static void take_origin(struct run *run, const uint8_t bytes[static 4])
{
    struct machine_origin origin = {bytes[0], bytes[1], bytes[2], bytes[3]};
    if (machine_origin_valid(&origin)) {
        run->context.position++;
        bool fresh = machine_apply_origin(run->machine, &run->context, &origin, false);
        run->context.position++;
        bool again = machine_apply_origin(run->machine, &run->context, &origin, false);
        ASSERT(!again || !fresh);
    }
}

/* "=SET,a,1" into the form of the log; false when it cannot stand there. */
static bool encode_inner(struct slice word, struct buffer *out)
{
    struct slice words[WORDS_MAXIMUM];
    const struct command_spec *spec;
    uint32_t count = split(slice_of(word.data + 1, word.size - 1), ',', words);
    if (count == 0 || command_lookup(words, count, &spec) != COMMAND_FOUND || spec->place != COMMAND_AT_MACHINE ||
        spec->id == COMMAND_EXEC || (spec->id == COMMAND_SETRANGE && words[2].size > 6)) {
        return false;
    }
    command_encode(out, &(struct command){spec, words, count, RESP2});
    return true;
}

static void take_internal(struct run *run, struct slice line)
{
    struct slice words[WORDS_MAXIMUM];
    struct buffer inner[WORDS_MAXIMUM] = {{0}};
    const struct command_spec *spec = command_by_id((uint16_t)(COMMAND_COHORT_DUMP + (line.data[1] - 'a')));
    uint32_t count = split(slice_of(line.data + 2, line.size - 2), ' ', words + 1) + 1;
    if (line.data[1] < 'a' || spec == NULL || !spec->internal || spec->place != COMMAND_AT_MACHINE) {
        return;
    }
    words[0] = slice_from_string(spec->shown);
    bool known = true;
    for (uint32_t i = 1; i < count; i++) {
        if (words[i].size > 1 && words[i].data[0] == '=') {
            known = known && encode_inner(words[i], &inner[i]);
            words[i] = buffer_slice(&inner[i]);
        }
    }
    if (known && command_arity_ok(spec, count)) {
        execute(run, &(struct command){spec, words, count, RESP2});
    }
    for (uint32_t i = 1; i < count; i++) {
        buffer_deinit(&inner[i]);
    }
}

static void take_line(struct run *run, struct slice line)
{
    struct slice words[WORDS_MAXIMUM];
    const struct command_spec *spec;
    if (line.size > 0 && line.data[0] == '+') {
        run->context.time_ms += (int64_t)line.size;
        run->context.wall_ms += (int64_t)line.size;
    } else if (line.size > 0 && line.data[0] == '!') {
        step_snapshot(run);
    } else if (line.size == 5 && line.data[0] == '@') {
        take_origin(run, line.data + 1);
    } else if (line.size > 2 && line.data[0] == '~') {
        take_internal(run, line);
    } else {
        uint32_t count = split(line, ' ', words);
        if (count == 0 || command_lookup(words, count, &spec) != COMMAND_FOUND || spec->place != COMMAND_AT_MACHINE ||
            spec->id == COMMAND_EXEC || (spec->id == COMMAND_SETRANGE && words[2].size > 6)) { /* too much memory */
            return;
        }
        execute(run, &(struct command){spec, words, count, RESP3});
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run run = {.machine = machine_create(&(struct machine_options){SEED}),
                      .context = {.position = 1, .time_ms = 1, .wall_ms = 1700000000000}};
    while (size > 0) {
        const uint8_t *end = memchr(data, '\n', size);
        size_t line = end == NULL ? size : (size_t)(end - data);
        take_line(&run, slice_of(data, line));
        size_t taken = end == NULL ? line : line + 1;
        data += taken;
        size -= taken;
    }
    while (run.snapshot_runs) {
        step_snapshot(&run);
    }
    machine_destroy(run.machine);
    buffer_deinit(&run.reply);
    buffer_deinit(&run.again);
    buffer_deinit(&run.records);
    return 0;
}
