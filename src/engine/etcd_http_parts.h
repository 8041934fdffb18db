/* What etcd_http.c (exchanges over libcurl) and etcd_call.c (calls that go from endpoint to endpoint) both know. */
#pragma once

#include "base/list.h"
#include "engine/etcd_http.h"

#include <curl/curl.h>

enum { ETCD_TOKEN_BYTES = 1024 };

enum exchange_kind { EXCHANGE_CALLED, EXCHANGE_SENT, EXCHANGE_STREAMED };

struct etcd_stream {
    struct list node;
    struct etcd_http *http;
    enum exchange_kind kind;
    CURL *easy;
    struct curl_slist *headers;
    uint32_t endpoint;
    struct buffer in;
    bool ended;
    CURLcode code;
    long status;
    etcd_answered answered;
    void *data;
};

struct etcd_http {
    struct etcd_place place;
    CURLM *multi;
    int epoll_fd, curl_timer, wake_timer;
    int64_t wake_ns;
    void (*tick)(void *data);
    void *data;
    struct list streams; /* all that are under way */
    uint32_t current;    /* endpoint that answered last */
    char token[ETCD_TOKEN_BYTES];
    bool no_auth; /* the cluster has none */
};

/* To the present endpoint. NULL: memory was refused. */
struct etcd_stream *etcd_exchange_begin(struct etcd_http *http, enum exchange_kind kind, const char *path,
                                        struct slice body, int64_t timeout_ms);
void etcd_exchange_forget(struct etcd_stream *stream);
/* This one did not answer. */
void etcd_next_endpoint(struct etcd_http *http, uint32_t failed);
