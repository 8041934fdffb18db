/* Requests: the same result however the bytes are cut. The first byte chooses the limits and seeds the cuts. */
#include "../support/resp_transcript.h"
#include "fuzz.h"

static const struct resp_request_limits tight = {
    .bulk_bytes = 40, .arguments = 6, .line_bytes = 30, .total_bytes = 100};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_of(data, size);
    uint8_t seed = fuzz_take_byte(&bytes);
    struct resp_request_limits limits = (seed & 1) != 0 ? tight : RESP_REQUEST_DEFAULT_LIMITS;
    limits.unauthenticated = (seed & 2) != 0;
    struct prng prng;
    prng_seed(&prng, seed);
    struct buffer whole;
    struct buffer cut;
    buffer_init(&whole);
    buffer_init(&cut);
    transcript_requests(&whole, &limits, transcript_feed_of(bytes, cut_whole, NULL));
    transcript_requests(&cut, &limits, transcript_feed_of(bytes, fuzz_cut, &prng));
    ASSERT(slice_equal(buffer_slice(&whole), buffer_slice(&cut)));
    buffer_deinit(&whole);
    buffer_deinit(&cut);
    return 0;
}
