/* The half of etcd_http.h that waits for answers. */
#include "engine/etcd_http_parts.h"
#include "engine/etcd_verdict.h"

#include <stdio.h>
#include <stdlib.h>

enum { NS_PER_MS = 1000000 };

static struct etcd_verdict attempt(struct etcd_http *http, const char *path, struct slice body, int64_t until_ns)
{
    int64_t left_ms = (until_ns - engine_clock_ns()) / NS_PER_MS;
    struct etcd_stream *stream = etcd_exchange_begin(http, EXCHANGE_CALLED, path, body, left_ms > 1 ? left_ms : 1);
    if (stream == NULL) {
        return (struct etcd_verdict){.kind = ETCD_NO_MEMORY};
    }
    while (!stream->ended) {
        left_ms = (until_ns - engine_clock_ns()) / NS_PER_MS;
        if (left_ms < -100) {
            stream->code = CURLE_OPERATION_TIMEDOUT; /* libcurl itself did not end it */
            break;
        }
        etcd_http_drive(http, left_ms > 0 ? (int)left_ms + 1 : 1);
    }
    long sent = 0;
    (void)curl_easy_getinfo(stream->easy, CURLINFO_REQUEST_SIZE, &sent);
    struct etcd_verdict verdict = stream->code == CURLE_OK
                                      ? etcd_judge(stream->status, buffer_slice(&stream->in))
                                      : (struct etcd_verdict){.kind = sent > 0 ? ETCD_SILENT : ETCD_UNREACHED};
    if (stream->code != CURLE_OK) {
        (void)snprintf(verdict.words, sizeof(verdict.words), "%s", curl_easy_strerror(stream->code));
    }
    etcd_exchange_forget(stream);
    return verdict;
}

/* A token for the user, if there is one. */
static struct etcd_verdict log_in(struct etcd_http *http, int64_t until_ns)
{
    struct etcd_verdict fine = {.kind = ETCD_FINE};
    if (http->place.user[0] == '\0' || http->token[0] != '\0' || http->no_auth) {
        return fine;
    }
    json_t *words = json_pack("{ssss}", "name", http->place.user, "password", http->place.password);
    char *body = words == NULL ? NULL : json_dumps(words, 0);
    json_decref(words);
    if (body == NULL) {
        return (struct etcd_verdict){.kind = ETCD_WRONG_PASSWORD}; /* no UTF-8, so it is none of etcd's */
    }
    struct etcd_verdict verdict = attempt(http, "/v3/auth/authenticate", slice_from_string(body), until_ns);
    free(body);
    if (verdict.kind == ETCD_FINE) {
        const char *token = json_string_value(json_object_get(verdict.answer, "token"));
        (void)snprintf(http->token, sizeof(http->token), "%s", token == NULL ? "" : token);
        json_decref(verdict.answer);
        return fine;
    }
    if (verdict.kind == ETCD_HAS_NO_AUTH) {
        http->no_auth = true;
        return fine;
    }
    return verdict.kind == ETCD_SILENT ? (struct etcd_verdict){.kind = ETCD_UNREACHED} : verdict;
}

/* At the present endpoint; with another token when this one is over. */
static struct etcd_verdict ask_endpoint(struct etcd_http *http, const char *path, struct slice body, int64_t until_ns)
{
    struct etcd_verdict verdict = log_in(http, until_ns);
    if (verdict.kind != ETCD_FINE) {
        return verdict;
    }
    verdict = attempt(http, path, body, until_ns);
    if (verdict.kind != ETCD_WANTS_TOKEN || http->place.user[0] == '\0') {
        return verdict;
    }
    http->token[0] = '\0';
    http->no_auth = false;
    verdict = log_in(http, until_ns);
    return verdict.kind == ETCD_FINE ? attempt(http, path, body, until_ns) : verdict;
}

enum engine_code etcd_call(struct etcd_http *http, struct engine *engine, const char *path, struct slice body,
                           bool changes, json_t **ret_answer)
{
    bool silent = false;
    struct etcd_verdict verdict = {0};
    uint32_t count = http->place.endpoint_count;
    for (uint32_t i = 0; i < count; i++) {
        int64_t now_ns = engine_clock_ns();
        if (i > 0 && now_ns >= engine->deadline_ns) {
            break;
        }
        uint32_t endpoint = http->current;
        verdict = ask_endpoint(http, path, body, now_ns + (engine->deadline_ns - now_ns) / (count - i));
        silent = silent || (changes && verdict.kind == ETCD_SILENT);
        if (verdict.kind != ETCD_SILENT && verdict.kind != ETCD_UNREACHED) {
            break;
        }
        etcd_next_endpoint(http, endpoint);
    }
    *ret_answer = verdict.answer;
    return etcd_code_of(engine, &verdict, silent, http->place.endpoints[0], count);
}
