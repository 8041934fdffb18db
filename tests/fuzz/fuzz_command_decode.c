/* Commands in the log: what decodes is what the encoder writes for it, to the byte; the rest is refused. */
#include "base/buffer.h"
#include "command/command.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice from = slice_of(data, size);
    struct command_arguments arguments;
    command_arguments_init(&arguments);
    struct command command;
    while (from.size > 0) {
        struct slice before = from;
        enum status status = command_decode(&from, &arguments, &command);
        if (status != STATUS_OK) {
            ASSERT(status == STATUS_CORRUPT || status == STATUS_VERSION);
            break;
        }
        ASSERT(from.size < before.size && from.data + from.size == before.data + before.size);
        struct command_exec exec; /* of EXEC the arguments in the log are not those of the protocol */
        ASSERT(command.spec->id == COMMAND_EXEC ? command_exec_parts(&command, &exec)
                                                : command_arity_ok(command.spec, command.argc));
        struct buffer encoded;
        buffer_init(&encoded);
        command_encode(&encoded, &command);
        ASSERT(slice_equal(buffer_slice(&encoded), slice_of(before.data, before.size - from.size)));
        buffer_deinit(&encoded);
    }
    command_arguments_deinit(&arguments);
    return 0;
}
