#include "proxy/check_words.h"

#include "base/assert.h"

#include <stdio.h>

static bool is_path(struct slice path)
{
    if (path.size == 0 || path.size > PROXY_CHECK_PATH_BYTES || path.data[0] != '/') {
        return false;
    }
    for (size_t i = 0; i < path.size; i++) {
        if (path.data[i] <= ' ' || path.data[i] >= 0x7f) {
            return false;
        }
    }
    return true;
}

bool proxy_check_parse(struct slice text, enum proxy_check_kind *ret_kind, struct slice *ret_path)
{
    struct slice http = SLICE_LITERAL("http:");
    *ret_path = slice_of(NULL, 0);
    if (slice_equal(text, SLICE_LITERAL("tcp"))) {
        *ret_kind = PROXY_CHECK_TCP;
        return true;
    }
    if (slice_equal(text, SLICE_LITERAL("resp"))) {
        *ret_kind = PROXY_CHECK_RESP;
        return true;
    }
    if (!slice_starts_with(text, http)) {
        return false;
    }
    *ret_kind = PROXY_CHECK_HTTP;
    *ret_path = slice_of(text.data + http.size, text.size - http.size);
    return is_path(*ret_path);
}

size_t proxy_check_say(enum proxy_check_kind kind, struct slice path, struct slice host,
                       uint8_t ret_bytes[static PROXY_CHECK_SAID_BYTES])
{
    int size = 0;
    if (kind == PROXY_CHECK_RESP) {
        size = snprintf((char *)ret_bytes, PROXY_CHECK_SAID_BYTES, "*1\r\n$4\r\nPING\r\n");
    } else if (kind == PROXY_CHECK_HTTP) {
        size = snprintf((char *)ret_bytes, PROXY_CHECK_SAID_BYTES,
                        "GET %.*s HTTP/1.0\r\nHost: %.*s\r\nUser-Agent: cohort-balance\r\nConnection: close\r\n\r\n",
                        (int)path.size, (const char *)path.data, (int)host.size, (const char *)host.data);
    }
    ASSERT(size >= 0 && size < PROXY_CHECK_SAID_BYTES);
    return (size_t)size;
}

/* Whether it begins so, or may yet. */
static enum status begins(struct slice heard, struct slice with)
{
    size_t common = heard.size < with.size ? heard.size : with.size;
    if (!slice_equal(slice_of(heard.data, common), slice_of(with.data, common))) {
        return STATUS_INVALID;
    }
    return heard.size < with.size ? STATUS_AGAIN : STATUS_OK;
}

/* "HTTP/1.1 200" */
static enum status judge_http(struct slice heard)
{
    enum status status = begins(heard, SLICE_LITERAL("HTTP/1."));
    if (status != STATUS_OK || heard.size < PROXY_CHECK_HEARD_BYTES) {
        return status == STATUS_OK ? STATUS_AGAIN : status;
    }
    const uint8_t *code = heard.data + 9;
    bool number = code[1] >= '0' && code[1] <= '9' && code[2] >= '0' && code[2] <= '9';
    return heard.data[8] == ' ' && number && (code[0] == '2' || code[0] == '3') ? STATUS_OK : STATUS_INVALID;
}

enum status proxy_check_judge(enum proxy_check_kind kind, struct slice heard)
{
    if (kind == PROXY_CHECK_TCP) {
        return STATUS_OK;
    }
    if (heard.size == 0) {
        return STATUS_AGAIN;
    }
    if (kind == PROXY_CHECK_HTTP) {
        return judge_http(heard);
    }
    return begins(heard, heard.data[0] == '-' ? SLICE_LITERAL("-NOAUTH") : SLICE_LITERAL("+PONG\r\n"));
}
