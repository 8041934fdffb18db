#include "base/prng.h"
#include "base/varint.h"
#include "cluster/transport_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SIGNAL_TYPE = 20 }; /* and those of the other priorities behind it */

/* Reads what was written, and checks that each lane's frames come whole and in order. */
struct reader {
    struct buffer bytes;
    uint64_t next[TRANSPORT_PRIORITIES];
    uint8_t last_type;
};

static void put(struct transport_queue *queue, enum transport_priority priority, uint64_t number, size_t size)
{
    struct buffer *out = &queue->lanes[priority].bytes;
    size_t at = frame_begin(out);
    uint8_t *payload = buffer_reserve(out, 8 + size);
    memset(payload, (int)number, 8 + size);
    put_u64(payload, number);
    out->size += 8 + size;
    frame_end(out, at, (uint8_t)(SIGNAL_TYPE + priority));
}

static void take_frames(struct reader *reader)
{
    struct frame frame;
    size_t missing;
    while (frame_decode(buffer_slice(&reader->bytes), 1 << 20, &frame, &missing) == STATUS_OK) {
        enum transport_priority priority = (enum transport_priority)(frame.type - SIGNAL_TYPE);
        assert_int_equal(get_u64(frame.payload.data), reader->next[priority]++);
        reader->last_type = frame.type;
        buffer_consume(&reader->bytes, frame.size);
    }
    assert_true(reader->bytes.size < FRAME_HEADER_BYTES || missing > 0);
}

/* Writes at most `room` bytes; returns how many. */
static size_t write_some(struct transport_queue *queue, struct reader *reader, size_t bulk_bytes, size_t room)
{
    struct iovec parts[TRANSPORT_QUEUE_PARTS];
    size_t offered, sum = 0, sent = 0;
    int count = transport_queue_parts(queue, bulk_bytes, parts, &offered);
    for (int i = 0; i < count; i++) {
        size_t take = parts[i].iov_len < room - sent ? parts[i].iov_len : room - sent;
        assert_true(parts[i].iov_len > 0);
        sum += parts[i].iov_len;
        buffer_append(&reader->bytes, parts[i].iov_base, take);
        sent += take;
    }
    assert_int_equal(sum, offered);
    transport_queue_sent(queue, sent);
    take_frames(reader);
    return sent;
}

static void test_empty(void **state)
{
    struct transport_queue queue = {0};
    struct reader reader = {0};
    assert_int_equal(write_some(&queue, &reader, 100, 100), 0);
    transport_queue_deinit(&queue);
}

static void test_urgent_overtakes(void **state)
{
    struct transport_queue queue = {0};
    struct reader reader = {0};
    put(&queue, TRANSPORT_BULK, 0, 1000);
    put(&queue, TRANSPORT_BULK, 1, 1000);
    (void)write_some(&queue, &reader, 1 << 20, 500); /* in the middle of the first bulk frame */
    put(&queue, TRANSPORT_URGENT, 0, 10);
    (void)write_some(&queue, &reader, 1 << 20, 1020 - 500 + 30);
    assert_int_equal(reader.next[TRANSPORT_BULK], 1);
    assert_int_equal(reader.next[TRANSPORT_URGENT], 1);
    assert_int_equal(reader.last_type, SIGNAL_TYPE + TRANSPORT_URGENT);
    (void)write_some(&queue, &reader, 1 << 20, SIZE_MAX);
    assert_int_equal(reader.next[TRANSPORT_BULK], 2);
    transport_queue_deinit(&queue);
    buffer_deinit(&reader.bytes);
}

/* All that has begun is finished first; then signals go before everything else, however much is there. */
static void test_signals_overtake_all(void **state)
{
    struct transport_queue queue = {0};
    struct reader reader = {0};
    put(&queue, TRANSPORT_BULK, 0, 1000);
    put(&queue, TRANSPORT_URGENT, 0, 1000);
    put(&queue, TRANSPORT_URGENT, 1, 1000);
    (void)write_some(&queue, &reader, 1 << 20, 500); /* in the middle of the first urgent frame */
    put(&queue, TRANSPORT_SIGNAL, 0, 10);
    (void)write_some(&queue, &reader, 1 << 20, 1020 - 500 + 30);
    assert_int_equal(reader.next[TRANSPORT_URGENT], 1);
    assert_int_equal(reader.next[TRANSPORT_SIGNAL], 1);
    assert_int_equal(reader.next[TRANSPORT_BULK], 0);
    (void)write_some(&queue, &reader, 1 << 20, SIZE_MAX);
    assert_int_equal(reader.next[TRANSPORT_URGENT], 2);
    assert_int_equal(reader.next[TRANSPORT_BULK], 1);
    transport_queue_deinit(&queue);
    buffer_deinit(&reader.bytes);
}

/* One write takes about so much of bulk, and a frame at least. */
static void test_bulk_in_portions(void **state)
{
    struct transport_queue queue = {0};
    struct reader reader = {0};
    for (uint64_t i = 0; i < 10; i++) {
        put(&queue, TRANSPORT_BULK, i, 980); /* 1000 with header */
    }
    assert_int_equal(write_some(&queue, &reader, 1, SIZE_MAX), 1000);
    assert_int_equal(write_some(&queue, &reader, 1001, SIZE_MAX), 2000);
    assert_int_equal(write_some(&queue, &reader, 1 << 20, SIZE_MAX), 7000);
    transport_queue_deinit(&queue);
    buffer_deinit(&reader.bytes);
}

/* Urgent frames that fill every write cannot hold up bulk for ever. */
static void test_bulk_is_not_starved(void **state)
{
    struct transport_queue queue = {0};
    struct reader reader = {0};
    uint64_t urgent = 0;
    put(&queue, TRANSPORT_BULK, 0, 100);
    int writes = 0;
    for (; reader.next[TRANSPORT_BULK] == 0; writes++) {
        put(&queue, TRANSPORT_URGENT, urgent++, 1000);
        (void)write_some(&queue, &reader, 1 << 20, 1000);
        assert_true(writes < 20);
    }
    assert_int_equal(writes, TRANSPORT_PASSED_OVER + 1);
    transport_queue_deinit(&queue);
    buffer_deinit(&reader.bytes);
}

static void test_memory_is_given_back(void **state)
{
    struct transport_queue queue = {0};
    struct reader reader = {0};
    for (uint64_t i = 0; i < 4; i++) {
        put(&queue, TRANSPORT_URGENT, i, TRANSPORT_QUEUE_KEEP_BYTES);
    }
    while (write_some(&queue, &reader, 1 << 20, 100000) > 0) {
    }
    assert_int_equal(queue.lanes[TRANSPORT_URGENT].bytes.capacity, 0);
    transport_queue_deinit(&queue);
    buffer_deinit(&reader.bytes);
}

/* Whatever is put and however writes are cut: whole frames, each lane in order, everything at last. */
static void test_random(void **state)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct transport_queue queue = {0};
        struct reader reader = {0};
        struct prng prng;
        uint64_t numbers[TRANSPORT_PRIORITIES] = {0};
        prng_seed(&prng, seed);
        for (int step = 0; step < 300; step++) {
            int priority = (int)prng_below(&prng, TRANSPORT_PRIORITIES);
            for (uint64_t i = prng_below(&prng, 4); i > 0; i--) {
                put(&queue, (enum transport_priority)priority, numbers[priority]++, prng_below(&prng, 200));
            }
            (void)write_some(&queue, &reader, prng_below(&prng, 1000), prng_below(&prng, 300));
        }
        while (write_some(&queue, &reader, 500, 1 + prng_below(&prng, 300)) > 0) {
        }
        assert_int_equal(transport_queue_size(&queue), 0);
        assert_int_equal(reader.bytes.size, 0);
        assert_memory_equal(reader.next, numbers, sizeof(numbers));
        transport_queue_deinit(&queue);
        buffer_deinit(&reader.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_urgent_overtakes),
        cmocka_unit_test(test_signals_overtake_all),
        cmocka_unit_test(test_bulk_in_portions),
        cmocka_unit_test(test_bulk_is_not_starved),
        cmocka_unit_test(test_memory_is_given_back),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
