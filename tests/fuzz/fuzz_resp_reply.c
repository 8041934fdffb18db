/* Replies: the same tokens however the bytes are cut, and what is read as whole replies is skipped as whole replies.
 * The first byte chooses the limits and seeds the cuts. */
#include "../support/resp_transcript.h"
#include "fuzz.h"

static const struct resp_reply_limits tight = {.bulk_bytes = 20, .line_bytes = 20, .elements = 5};

static struct buffer transcript(const struct resp_reply_limits *limits, struct transcript_feed feed, bool skip)
{
    struct buffer out;
    buffer_init(&out);
    transcript_replies(&out, limits, feed, skip);
    return out;
}

static void check_cuts(const struct resp_reply_limits *limits, struct slice bytes, struct prng *prng, bool skip)
{
    struct buffer whole = transcript(limits, transcript_feed_of(bytes, cut_whole, NULL), skip);
    struct buffer cut = transcript(limits, transcript_feed_of(bytes, fuzz_cut, prng), skip);
    ASSERT(slice_equal(buffer_slice(&whole), buffer_slice(&cut)));
    buffer_deinit(&whole);
    buffer_deinit(&cut);
}

/* Each reply that can be read ends where skipping it ends. */
static void check_skip(const struct resp_reply_limits *limits, struct slice bytes)
{
    struct resp_reader reader;
    struct resp_reader skipper;
    resp_reader_init(&reader);
    resp_reader_init(&skipper);
    struct slice rest = bytes;
    struct resp_token token;
    while (resp_reader_next(&reader, limits, rest.data, rest.size, &token) == RESP_REPLY_READY) {
        rest = slice_of(rest.data + reader.consumed, rest.size - reader.consumed);
        if (token.last) {
            enum resp_type root;
            ASSERT(resp_reader_skip(&skipper, limits, bytes.data, bytes.size, &root) == RESP_REPLY_READY);
            ASSERT(root == token.root && bytes.data + skipper.consumed == rest.data);
            bytes = rest;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_of(data, size);
    uint8_t seed = fuzz_take_byte(&bytes);
    struct resp_reply_limits limits = (seed & 1) != 0 ? tight : RESP_REPLY_DEFAULT_LIMITS;
    struct prng prng;
    prng_seed(&prng, seed);
    check_cuts(&limits, bytes, &prng, false);
    check_cuts(&limits, bytes, &prng, true);
    check_skip(&limits, bytes);
    return 0;
}
