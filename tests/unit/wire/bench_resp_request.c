/* Requests per second of the parser alone, one core: pipelined SETs of 16-byte keys and 64-byte values, in regions of
 * 16 KB. Prints one line; `meson test --benchmark` runs it. */
#include "base/assert.h"
#include "wire/resp_command.h"
#include "wire/resp_request.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

enum { REQUESTS_PER_REGION = 140, ROUNDS = 20000 };

int main(void)
{
    struct buffer bytes;
    buffer_init(&bytes);
    struct slice argv[] = {SLICE_LITERAL("SET"), SLICE_LITERAL("key:000000000001"),
                           SLICE_LITERAL("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")};
    for (int i = 0; i < REQUESTS_PER_REGION; i++) {
        resp_command(&bytes, argv, 3);
    }
    struct resp_request_limits limits = RESP_REQUEST_DEFAULT_LIMITS;
    struct resp_request_parser parser;
    resp_request_init(&parser);
    struct timespec start;
    struct timespec end;
    uint64_t requests = 0;
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    for (int round = 0; round < ROUNDS; round++) {
        size_t at = 0;
        while (resp_request_parse(&parser, &limits, bytes.data + at, bytes.size - at) == RESP_REQUEST_READY) {
            at += parser.consumed;
            requests++;
        }
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    ASSERT(requests == (uint64_t)REQUESTS_PER_REGION * ROUNDS);
    double seconds = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
    printf("%" PRIu64 " requests in %.3f s: %.1f million/s\n", requests, seconds, (double)requests / seconds / 1e6);
    resp_request_deinit(&parser);
    buffer_deinit(&bytes);
    return 0;
}
