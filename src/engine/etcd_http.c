#include "engine/etcd_http_parts.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    EVENTS = 16,
    NS_PER_MS = 1000000,
    ANSWER_BYTES = 16 << 20,
    SENT_TIMEOUT_MS = 1000,
    URL_BYTES = ETCD_HOST_BYTES + 64,
};

/* ---- libcurl's sockets and timers ---- */

static void set_timer(int fd, int64_t after_ns)
{
    struct itimerspec when = {0};
    if (after_ns >= 0) {
        when.it_value.tv_sec = after_ns / 1000000000;
        when.it_value.tv_nsec = after_ns % 1000000000 + (after_ns == 0);
    }
    (void)timerfd_settime(fd, 0, &when, NULL);
}

static int on_timer(CURLM *multi, long timeout_ms, void *data)
{
    (void)multi;
    const struct etcd_http *http = data;
    set_timer(http->curl_timer, timeout_ms < 0 ? -1 : timeout_ms * NS_PER_MS);
    return 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *known)
{
    (void)easy;
    struct etcd_http *http = data;
    struct epoll_event event = {.data.fd = fd};
    event.events = ((what & CURL_POLL_IN) != 0 ? EPOLLIN : 0U) | ((what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0U);
    if (what == CURL_POLL_REMOVE) {
        (void)epoll_ctl(http->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    (void)epoll_ctl(http->epoll_fd, known == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
    (void)curl_multi_assign(http->multi, fd, http);
    return 0;
}

/* A stream's lines are taken out as they come. */
static void take_lines(struct etcd_stream *stream)
{
    const uint8_t *end = memchr(stream->in.data, '\n', stream->in.size);
    while (end != NULL) {
        size_t size = (size_t)(end - stream->in.data) + 1;
        json_t *line = json_loadb((const char *)stream->in.data, size, 0, NULL);
        if (line != NULL) {
            stream->answered(stream->data, line);
            json_decref(line);
        }
        buffer_consume(&stream->in, size);
        end = stream->in.size == 0 ? NULL : memchr(stream->in.data, '\n', stream->in.size);
    }
}

static size_t on_bytes(char *bytes, size_t one, size_t size, void *data)
{
    struct etcd_stream *stream = data;
    if (stream->in.size + size > ANSWER_BYTES || !buffer_try_reserve(&stream->in, size)) {
        return CURL_WRITEFUNC_ERROR;
    }
    buffer_append(&stream->in, bytes, one * size);
    if (stream->kind == EXCHANGE_STREAMED) {
        take_lines(stream);
    }
    return size;
}

/* ---- one exchange ---- */

void etcd_exchange_forget(struct etcd_stream *stream)
{
    list_remove(&stream->node);
    if (stream->easy != NULL) {
        (void)curl_multi_remove_handle(stream->http->multi, stream->easy);
        curl_easy_cleanup(stream->easy);
    }
    curl_slist_free_all(stream->headers);
    buffer_deinit(&stream->in);
    free(stream);
}

static bool add_header(struct etcd_stream *stream, const char *text)
{
    struct curl_slist *longer = curl_slist_append(stream->headers, text);
    stream->headers = longer == NULL ? stream->headers : longer;
    return longer != NULL;
}

static bool set_tls(CURL *easy, const struct etcd_place *place)
{
    return (place->cacert[0] == '\0' || curl_easy_setopt(easy, CURLOPT_CAINFO, place->cacert) == CURLE_OK) &&
           (place->cert[0] == '\0' || curl_easy_setopt(easy, CURLOPT_SSLCERT, place->cert) == CURLE_OK) &&
           (place->key[0] == '\0' || curl_easy_setopt(easy, CURLOPT_SSLKEY, place->key) == CURLE_OK);
}

static bool set_up(struct etcd_stream *stream, const char *path, struct slice body, int64_t timeout_ms)
{
    struct etcd_http *http = stream->http;
    CURL *easy = stream->easy;
    char url[URL_BYTES];
    char authorization[ETCD_TOKEN_BYTES + 32];
    (void)snprintf(url, sizeof(url), "http%s://%s%s", http->place.tls ? "s" : "",
                   http->place.endpoints[stream->endpoint], path);
    (void)snprintf(authorization, sizeof(authorization), "Authorization: %s", http->token);
    bool done = add_header(stream, "Content-Type: application/json") && add_header(stream, "Expect:") &&
                (http->token[0] == '\0' || add_header(stream, authorization));
    done = done && curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK;
    done = done && curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)body.size) == CURLE_OK;
    done = done && curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body.data) == CURLE_OK;
    done = done && set_tls(easy, &http->place);
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, stream->headers);
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 5L);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 2L);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, stream);
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, stream);
    (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    return done;
}

struct etcd_stream *etcd_exchange_begin(struct etcd_http *http, enum exchange_kind kind, const char *path,
                                        struct slice body, int64_t timeout_ms)
{
    struct etcd_stream *stream = calloc(1, sizeof(*stream));
    if (stream == NULL) {
        return NULL;
    }
    stream->http = http;
    stream->kind = kind;
    stream->endpoint = http->current;
    stream->easy = curl_easy_init();
    list_append(&http->streams, &stream->node);
    if (stream->easy == NULL || !set_up(stream, path, body, timeout_ms) ||
        curl_multi_add_handle(http->multi, stream->easy) != CURLM_OK) {
        etcd_exchange_forget(stream);
        return NULL;
    }
    return stream;
}

void etcd_next_endpoint(struct etcd_http *http, uint32_t failed)
{
    if (http->current == failed) {
        http->current = (failed + 1) % http->place.endpoint_count;
    }
}

static void finish(struct etcd_stream *stream, CURLcode code)
{
    stream->ended = true;
    stream->code = code;
    (void)curl_easy_getinfo(stream->easy, CURLINFO_RESPONSE_CODE, &stream->status);
    if (stream->kind == EXCHANGE_CALLED) {
        return; /* its caller looks */
    }
    struct etcd_http *http = stream->http;
    if (code != CURLE_OK) {
        etcd_next_endpoint(http, stream->endpoint);
    }
    if (stream->kind == EXCHANGE_STREAMED) {
        stream->answered(stream->data, NULL); /* who opened it closes it */
        return;
    }
    json_t *answer = code == CURLE_OK && stream->status == 200
                         ? json_loadb((const char *)stream->in.data, stream->in.size, 0, NULL)
                         : NULL;
    if (stream->status == 401) {
        http->token[0] = '\0'; /* the next call asks for another */
    }
    if (stream->answered != NULL) {
        stream->answered(stream->data, answer);
    }
    json_decref(answer);
    etcd_exchange_forget(stream);
}

/* ---- driving ---- */

static void take_event(struct etcd_http *http, const struct epoll_event *event)
{
    int running;
    uint64_t count;
    int fd = event->data.fd;
    if (fd == http->curl_timer || fd == http->wake_timer) {
        ssize_t size = read(fd, &count, sizeof(count));
        (void)size;
        if (fd == http->curl_timer) {
            (void)curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        }
        return;
    }
    int flags = ((event->events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                ((event->events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                ((event->events & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);
    (void)curl_multi_socket_action(http->multi, fd, flags, &running);
}

void etcd_http_drive(struct etcd_http *http, int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(http->epoll_fd, events, EVENTS, timeout_ms);
    for (int i = 0; i < count; i++) {
        take_event(http, &events[i]);
    }
    int left;
    for (CURLMsg *message = curl_multi_info_read(http->multi, &left); message != NULL;
         message = curl_multi_info_read(http->multi, &left)) {
        struct etcd_stream *stream = NULL;
        if (message->msg == CURLMSG_DONE &&
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &stream) == CURLE_OK) {
            finish(stream, message->data.result);
        }
    }
    if (engine_clock_ns() >= http->wake_ns) {
        http->wake_ns = INT64_MAX;
        http->tick(http->data);
    }
}

void etcd_http_wake(struct etcd_http *http, int64_t at_ns)
{
    if (at_ns < http->wake_ns) {
        http->wake_ns = at_ns;
        int64_t left_ns = at_ns - engine_clock_ns();
        set_timer(http->wake_timer, left_ns > 0 ? left_ns : 0);
    }
}

int etcd_http_fd(const struct etcd_http *http) { return http->epoll_fd; }

bool etcd_http_is_busy(const struct etcd_http *http)
{
    LIST_FOR_EACH (at, &http->streams) {
        if (CONTAINER_OF(at, struct etcd_stream, node)->kind == EXCHANGE_SENT) {
            return true;
        }
    }
    return false;
}

bool etcd_send(struct etcd_http *http, const char *path, struct slice body, etcd_answered answered, void *data)
{
    struct etcd_stream *stream = etcd_exchange_begin(http, EXCHANGE_SENT, path, body, SENT_TIMEOUT_MS);
    if (stream == NULL) {
        return false;
    }
    stream->answered = answered;
    stream->data = data;
    return true;
}

struct etcd_stream *etcd_stream_open(struct etcd_http *http, const char *path, struct slice body,
                                     etcd_answered answered, void *data)
{
    struct etcd_stream *stream = etcd_exchange_begin(http, EXCHANGE_STREAMED, path, body, 0);
    if (stream != NULL) {
        stream->answered = answered;
        stream->data = data;
    }
    return stream;
}

void etcd_stream_close(struct etcd_stream *stream) { etcd_exchange_forget(stream); }

/* ---- begin and end ---- */

static void init_curl(void) { (void)curl_global_init(CURL_GLOBAL_DEFAULT); }

static bool watch(struct etcd_http *http, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

enum status etcd_http_create(const struct etcd_place *place, void (*tick)(void *data), void *data,
                             struct etcd_http **ret_http)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, init_curl);
    struct etcd_http *http = calloc(1, sizeof(*http));
    if (http == NULL) {
        return STATUS_NOMEM;
    }
    http->place = *place;
    http->tick = tick;
    http->data = data;
    http->wake_ns = INT64_MAX;
    list_init(&http->streams);
    http->current = (uint32_t)(engine_clock_ns() / 1000 % place->endpoint_count); /* not all at the first */
    http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    http->curl_timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    http->wake_timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    http->multi = curl_multi_init();
    if (http->multi == NULL || !watch(http, http->curl_timer) || !watch(http, http->wake_timer)) {
        enum status status = http->multi == NULL ? STATUS_NOMEM : STATUS_FULL;
        etcd_http_destroy(http);
        return status;
    }
    (void)curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    (void)curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    (void)curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    *ret_http = http;
    return STATUS_OK;
}

static void close_fd(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

void etcd_http_destroy(struct etcd_http *http)
{
    LIST_FOR_EACH_SAFE (at, after, &http->streams) {
        etcd_exchange_forget(CONTAINER_OF(at, struct etcd_stream, node));
    }
    if (http->multi != NULL) {
        (void)curl_multi_cleanup(http->multi);
    }
    close_fd(http->curl_timer);
    close_fd(http->wake_timer);
    close_fd(http->epoll_fd);
    explicit_bzero(&http->place, sizeof(http->place));
    free(http);
}
