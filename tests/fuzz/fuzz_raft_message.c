/* Messages between members: what decodes makes sense, and is what the encoder writes for it, unless numbers were
 * written longer than need be; then it is so after one more round. */
#include "fuzz.h"
#include "raft/raft_codec.h"

static struct raft_entry entries[RAFT_MAXIMUM_APPEND_ENTRIES];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct raft_message message, again;
    enum status status = raft_message_decode(slice_of(data, size), entries, &message);
    if (status != STATUS_OK) {
        ASSERT(status == STATUS_INVALID);
        return 0;
    }
    ASSERT(raft_message_valid(&message));
    struct buffer first, second;
    buffer_init(&first);
    buffer_init(&second);
    raft_message_encode(&message, &first);
    ASSERT(first.size <= size);
    static struct raft_entry entries_again[RAFT_MAXIMUM_APPEND_ENTRIES];
    status = raft_message_decode(buffer_slice(&first), entries_again, &again);
    ASSERT(status == STATUS_OK);
    raft_message_encode(&again, &second);
    ASSERT(slice_equal(buffer_slice(&first), buffer_slice(&second)));
    buffer_deinit(&first);
    buffer_deinit(&second);
    return 0;
}
