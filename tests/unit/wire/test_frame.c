#include "base/crc32c.h"
#include "base/varint.h"
#include "wire/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LIMIT = 1000 };

static void put(struct buffer *out, uint8_t type, const char *payload)
{
    size_t at = frame_begin(out);
    buffer_append_string(out, payload);
    frame_end(out, at, type);
}

/* The form is for ever: nodes of different versions must understand each other's first frame. */
static void test_bytes(void **state)
{
    static const uint8_t expected[] = {3, 0, 0, 0, 7, 0};
    struct buffer out = {0};
    put(&out, 7, "abc");
    assert_int_equal(out.size, FRAME_HEADER_BYTES + 3);
    assert_memory_equal(out.data, expected, sizeof(expected));
    assert_int_equal(get_u16(out.data + 6), crc32c(0, out.data, 6) & 0xffff);
    assert_int_equal(get_u32(out.data + 8), crc32c(crc32c(0, out.data, 8), "abc", 3));
    assert_memory_equal(out.data + FRAME_HEADER_BYTES, "abc", 3);
    assert_int_equal(frame_size(out.data), out.size);
    buffer_deinit(&out);
}

static void test_frames_follow_each_other(void **state)
{
    static const char *const payloads[] = {"one", "", "three and more"};
    struct buffer out = {0};
    for (uint8_t i = 0; i < 3; i++) {
        put(&out, (uint8_t)(200 + i), payloads[i]);
    }
    struct slice rest = buffer_slice(&out);
    for (uint8_t i = 0; i < 3; i++) {
        struct frame frame;
        size_t missing = 0;
        assert_int_equal(frame_decode(rest, LIMIT, &frame, &missing), STATUS_OK);
        assert_int_equal(frame.type, 200 + i);
        assert_true(slice_equal(frame.payload, slice_from_string(payloads[i])));
        rest = slice_of(rest.data + frame.size, rest.size - frame.size);
    }
    assert_int_equal(rest.size, 0);
    buffer_deinit(&out);
}

/* However it is cut, it is not whole before its last byte, and `missing` never asks for more than it needs. */
static void test_cut(void **state)
{
    struct buffer out = {0};
    put(&out, 99, "some payload");
    for (size_t size = 0; size < out.size; size++) {
        struct frame frame;
        size_t missing = 0;
        assert_int_equal(frame_decode(slice_of(out.data, size), LIMIT, &frame, &missing), STATUS_AGAIN);
        assert_true(missing > 0 && size + missing <= out.size);
        assert_true(size < FRAME_HEADER_BYTES || size + missing == out.size);
    }
    buffer_deinit(&out);
}

/* A flipped bit is found wherever it is; in the header without waiting for the payload. */
static void test_damage(void **state)
{
    struct buffer out = {0};
    put(&out, 99, "some payload");
    for (size_t bit = 0; bit < out.size * 8; bit++) {
        struct frame frame;
        size_t missing = 0;
        out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        bool in_checked_header = bit / 8 < 8;
        assert_int_equal(frame_decode(buffer_slice(&out), LIMIT, &frame, &missing),
                         in_checked_header ? STATUS_INVALID : STATUS_CORRUPT);
        if (in_checked_header) {
            assert_int_equal(frame_decode(slice_of(out.data, FRAME_HEADER_BYTES), LIMIT, &frame, &missing),
                             STATUS_INVALID);
        }
        out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    buffer_deinit(&out);
}

static void test_limit(void **state)
{
    struct buffer out = {0};
    struct frame frame;
    size_t missing = 0;
    put(&out, 99, "0123456789");
    assert_int_equal(frame_decode(buffer_slice(&out), 10, &frame, &missing), STATUS_OK);
    assert_int_equal(frame_decode(slice_of(out.data, FRAME_HEADER_BYTES), 9, &frame, &missing), STATUS_TOO_LARGE);
    buffer_deinit(&out);
}

static void test_flags_of_later_versions(void **state)
{
    struct buffer out = {0};
    struct frame frame;
    size_t missing = 0;
    put(&out, 99, "x");
    out.data[5] = 1;
    put_u16(out.data + 6, (uint16_t)crc32c(0, out.data, 6));
    assert_int_equal(frame_decode(buffer_slice(&out), LIMIT, &frame, &missing), STATUS_VERSION);
    buffer_deinit(&out);
}

/* What arrives by mistake at the port is no frame; zeros neither. */
static void test_foreign(void **state)
{
    static const char *const texts[] = {"*1\r\n$4\r\nPING\r\n", "GET / HTTP/1.1\r\n", "SSH-2.0-OpenSSH_9.2\r\n",
                                        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"};
    for (int i = 0; i < 4; i++) {
        struct frame frame;
        size_t missing = 0;
        assert_int_equal(frame_decode(slice_of(texts[i], 14), SIZE_MAX, &frame, &missing), STATUS_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),   cmocka_unit_test(test_frames_follow_each_other),
        cmocka_unit_test(test_cut),     cmocka_unit_test(test_damage),
        cmocka_unit_test(test_limit),   cmocka_unit_test(test_flags_of_later_versions),
        cmocka_unit_test(test_foreign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
