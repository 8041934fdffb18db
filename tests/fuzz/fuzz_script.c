/* Scripts: the input as it is, or, after a NUL, bytes that pick words of a grammar, so that most are programs. Each
 * runs twice, with a long run in between: the same reply, the same calls, the same steps, and one whole reply. */

#include "base/hash.h"
#include "env/fixed_memory.h"
#include "fuzz.h"
#include "script/script.h"
#include "wire/resp_reply.h"

static const char *const words[] = {
    " local a = ",
    " b = ",
    " return ",
    " for i = 1, 9 do ",
    " for k, v in pairs(",
    ") do ",
    " while true do ",
    " if ",
    " then ",
    " end ",
    " function() ",
    " function(...) ",
    "a",
    "b",
    "KEYS",
    "ARGV",
    "_G",
    "string",
    "table",
    "math",
    "cjson",
    "bit",
    "redis",
    "coroutine",
    ".rep",
    ".find",
    ".gsub",
    ".gmatch",
    ".format",
    ".concat",
    ".sort",
    ".insert",
    ".remove",
    ".random",
    ".encode",
    ".decode",
    ".tohex",
    ".call",
    ".pcall",
    ".error_reply",
    ".sha1hex",
    ".setresp",
    ".wrap",
    ".resume",
    ".create",
    ".yield",
    ".fmod",
    ".byte",
    ".char",
    ".gfind",
    ".new",
    ".encode_sparse_array",
    ".maxn",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    "=",
    "..",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "#",
    "<",
    "==",
    " and ",
    " or ",
    " not ",
    "1",
    "0",
    "-1",
    "1e9",
    "2147483647",
    "-2147483648",
    "0/0",
    "1e308",
    "nil",
    "true",
    "'x'",
    "'%a+'",
    "'(.-)%1'",
    "'%b()'",
    "'ok'",
    "'err'",
    "'map'",
    "'set'",
    "'double'",
    "'echo'",
    "'answer'",
    "'*3\\r\\n'",
    "('x'):rep(1000)",
    "pcall(",
    "xpcall(",
    "error(",
    "unpack(",
    "select(",
    "tostring(",
    "tonumber(",
    "loadstring(",
    "setmetatable(",
    "getmetatable(",
    "rawset(",
    "rawget(",
    "next(",
    "{}",
    "__index",
    "__mode",
    "__newindex",
    "__concat",
    "__eq",
    "'%99.99f'",
    "'%q'",
    "...",
    "#KEYS",
    " elseif ",
    "2^52",
    "'k'",
    "\n",
    ";",
    " do ",
    " break ",
    " until ",
    " repeat ",
    " else ",
};

struct outcome {
    enum script_end end;
    uint64_t used;
    uint64_t calls; /* a hash of what the host was asked */
    struct buffer reply;
};

static uint64_t answer(void *context, const struct slice *argv, uint32_t argc, int protocol, struct buffer *reply)
{
    struct outcome *outcome = context;
    struct resp_writer writer = resp_writer_to(reply, protocol);
    for (uint32_t i = 0; i < argc; i++) {
        outcome->calls = hash_bytes(outcome->calls, argv[i].data, argv[i].size);
    }
    if (slice_is_word(argv[0], "answer")) {
        resp_map(&writer, 2);
        resp_double(&writer, 1.5);
        resp_null(&writer);
        resp_boolean(&writer, true);
        resp_set(&writer, 1);
        resp_verbatim(&writer, "txt", argv[argc - 1]);
    } else if (slice_is_word(argv[0], "echo")) {
        resp_bulk(&writer, argv[argc - 1]);
    } else {
        resp_error(&writer, "ERR Unknown Redis command called from script");
    }
    return 1;
}

static bool knows(void *context, struct slice name) { return name.size % 2 == 0; }

static void execute(struct script_engine *engine, struct slice source, uint64_t budget, struct outcome *outcome)
{
    const struct slice texts[] = {SLICE_LITERAL("k1"), SLICE_LITERAL("k2")};
    struct script_run run = {.source = source,
                             .keys = texts,
                             .args = texts,
                             .key_count = 2,
                             .arg_count = 2,
                             .seed = source.size,
                             .budget = budget,
                             .memory_bytes = 4 << 20};
    struct script_host host = {.context = outcome, .call = answer, .knows = knows};
    outcome->calls = 0;
    buffer_clear(&outcome->reply);
    struct resp_writer writer = resp_writer_to(&outcome->reply, source.size % 2 == 0 ? RESP2 : RESP3);
    outcome->end = script_run(engine, &run, &host, &writer, &outcome->used);
}

static struct script_engine *engine_once(void)
{
    static struct script_engine *engine;
    if (engine == NULL) {
        ASSERT(fixed_memory_map(SCRIPT_ADDRESS, SCRIPT_REGION_BYTES) == STATUS_OK);
        struct script_place place = {.region = (void *)SCRIPT_ADDRESS, .release = fixed_memory_release, .verify = true};
        engine = script_engine_open(&place);
    }
    return engine;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome first, second;
    static struct buffer text;
    struct script_engine *engine = engine_once();
    buffer_clear(&text);
    if (size > 0 && data[0] == '\0') {
        for (size_t i = 1; i < size; i++) {
            buffer_append_string(&text, words[data[i] % (sizeof(words) / sizeof(words[0]))]);
        }
    } else {
        buffer_append(&text, data, size);
    }
    struct slice source = buffer_slice(&text);
    execute(engine, source, 200000, &first);
    execute(engine, SLICE_LITERAL("return 1"), 1000000, &second); /* which verifies the memory that it begins with */
    execute(engine, SLICE_LITERAL("local t = {} for i = 1, 3000 do t[{}] = ('x'):rep(i) end"), 1000000, &second);
    execute(engine, source, 200000, &second);
    ASSERT(first.end == second.end && first.used == second.used && first.calls == second.calls);
    ASSERT(slice_equal(buffer_slice(&first.reply), buffer_slice(&second.reply)));
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_reader reader;
    resp_reader_init(&reader);
    enum resp_type root;
    ASSERT(resp_reader_skip(&reader, &limits, first.reply.data, first.reply.size, &root) == RESP_REPLY_READY);
    ASSERT(reader.consumed == first.reply.size);
    return 0;
}
