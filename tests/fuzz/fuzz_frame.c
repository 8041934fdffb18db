/* Frames between nodes, and what is said in a handshake: any bytes are refused or decoded, the same however they are
 * cut; what is decoded can be encoded to the same bytes; and a frame does not pass any more when one bit of it is
 * another.
 *
 * The first byte chooses how the rest is meant: as a stream, or as payloads that get the header and checksums that they
 * need to be looked at. */
#include "cluster/transport_hello.h"
#include "fuzz.h"

#include <stdlib.h>

enum { LIMIT_BYTES = 4096 };

static void check_hello(struct slice payload)
{
    struct transport_hello hello;
    if (transport_hello_decode(payload, &hello) != STATUS_OK) {
        return;
    }
    ASSERT(hello.from != 0 && hello.version_lowest <= hello.version_highest);
    ASSERT(transport_common_version(&hello, &hello) == hello.version_highest);
    struct buffer again = {0};
    struct transport_hello same;
    transport_hello_encode(&hello, &again);
    size_t size = TRANSPORT_HELLO_BYTES + 8 * hello.lineage.count;
    ASSERT(again.size == FRAME_HEADER_BYTES + size);
    const uint8_t *body = again.data + FRAME_HEADER_BYTES;
    ASSERT(transport_hello_decode(slice_of(body, size), &same) == STATUS_OK);
    ASSERT(memcmp(body, payload.data, 5) == 0 && memcmp(body + 8, payload.data + 8, size - 8) == 0);
    buffer_deinit(&again);
}

static void check_refusal(struct slice payload)
{
    struct transport_refusal refusal;
    if (transport_refusal_decode(payload, &refusal) == STATUS_OK) {
        ASSERT(transport_reason_name((enum transport_reason)refusal.reason) != NULL);
    }
}

/* Any one bit that is another is noticed. */
static void check_damage(struct slice bytes, const struct frame *frame, size_t bit)
{
    struct frame damaged;
    size_t missing;
    uint8_t *copy = malloc(frame->size);
    ASSERT(copy != NULL);
    memcpy(copy, bytes.data, frame->size);
    copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
    ASSERT(frame_decode(slice_of(copy, frame->size), LIMIT_BYTES, &damaged, &missing) != STATUS_OK);
    free(copy);
}

static void check_cuts(struct slice bytes, enum status status, const struct frame *frame)
{
    size_t end = status == STATUS_OK ? frame->size : bytes.size;
    for (size_t size = 0; size < end; size += 1 + size / 8) {
        struct frame early;
        size_t missing = 0;
        enum status result = frame_decode(slice_of(bytes.data, size), LIMIT_BYTES, &early, &missing);
        ASSERT(result == STATUS_AGAIN || result == status);
        ASSERT(result != STATUS_OK);
        ASSERT(result != STATUS_AGAIN || (missing > 0 && missing <= LIMIT_BYTES + FRAME_HEADER_BYTES));
        ASSERT(result != STATUS_AGAIN || status != STATUS_OK || size + missing <= end);
    }
}

static void check_stream(struct slice bytes, size_t bit)
{
    while (bytes.size > 0) {
        struct frame frame = {0};
        size_t missing = 0;
        enum status status = frame_decode(bytes, LIMIT_BYTES, &frame, &missing);
        check_cuts(bytes, status, &frame);
        if (status != STATUS_OK) {
            return;
        }
        ASSERT(frame.size <= bytes.size && frame.payload.size + FRAME_HEADER_BYTES == frame.size);
        ASSERT(frame_size(bytes.data) == frame.size);
        check_damage(bytes, &frame, bit % (frame.size * 8));
        check_hello(frame.payload);
        check_refusal(frame.payload);
        bytes = slice_of(bytes.data + frame.size, bytes.size - frame.size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = {data, size};
    struct buffer stream = {0};
    uint8_t how = fuzz_take_byte(&input);
    if (how % 2 == 0) {
        buffer_append_slice(&stream, input);
    }
    while (how % 2 == 1 && input.size > 0) {
        uint8_t type = fuzz_take_byte(&input);
        size_t take = (size_t)fuzz_take_byte(&input) * (1 + how % 7);
        take = take < input.size ? take : input.size;
        size_t at = frame_begin(&stream);
        buffer_append(&stream, input.data, take);
        frame_end(&stream, at, type);
        input = slice_of(input.data + take, input.size - take);
    }
    check_stream(buffer_slice(&stream), (size_t)how * 31);
    buffer_deinit(&stream);
    return 0;
}
