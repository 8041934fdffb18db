/* http://host[:port]/path and https://: a service that reserves (try), and then confirms or cancels what it has
 * reserved (Helland, Life beyond Distributed Transactions, 2007; the pattern is known as try, confirm, cancel).
 *
 *      POST URL/try        the body is the --do; 2xx: reserved, and durable. 4xx: refused, nothing is reserved.
 *                          Anything else may have reserved, also 3xx: redirections are not followed
 *      POST URL/confirm    2xx: done, also when it was before. 409: it was cancelled
 *      POST URL/cancel     2xx: undone, also when it was before, or never tried: then a try that comes later is
 *                          refused. 409: it was confirmed
 *      GET  URL/prepared   a line for each branch that is tried and no more: its name, a space, its age in ms.
 *                          404, 405, 501: the service does not tell
 *
 * Each has the headers Cohort-Branch, the branch's name, and Cohort-Transaction, the id, written as in the name.
 * examples/http_service has this for a service to include.
 *
 * A try is sent when the branch is to be prepared. One that has no answer, or another one than 2xx and 4xx, may have
 * reserved: it is unknown, so home aborts, and a cancel is sent. An answer is its status; what of a body is beyond 4
 * MiB or the deadline nobody needs, but for the list. Confirm and cancel are sent again until they are answered, after
 * pauses that double up to a cap and are jittered, so that a service which comes back is not run over. */
#include "base/buffer.h"
#include "base/number.h"
#include "resource/module.h"
#include "resource/resource_url.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum {
    NS_PER_MS = 1000000,
    PAUSE_LEAST_MS = 50,
    PAUSE_MOST_MS = 2000,
    ANSWER_BYTES = 4 << 20,
    WORDS_BYTES = 160,
    HEADER_BYTES = BRANCH_NAME_BYTES + 64,
};

struct http {
    struct resource resource;
    const char *url;      /* the caller's */
    CURL *curl;           /* NULL: memory was refused */
    const char *name;     /* of the branch */
    char *body;           /* of the try; NULL: none was said */
    struct buffer answer; /* the last, */
    bool is_cut;          /* of which that is only the beginning */
    long status;          /* of the last answer; 0: there was none */
    bool was_reached;     /* by the last request, perhaps */
    char words[CURL_ERROR_SIZE];
};

static struct http *http_of(struct resource *resource) { return (struct http *)resource; }

/* ---- one request ---- */

/* What does not fit ends the request: what was done, the status has said before it. */
static size_t take_bytes(char *data, size_t size, size_t count, void *context)
{
    struct http *http = context;
    struct buffer *answer = &http->answer;
    bool fits = answer->size + size * count <= ANSWER_BYTES && buffer_try_reserve(answer, size * count + 1);
    if (fits) {
        buffer_append(answer, data, size * count);
    }
    http->is_cut = http->is_cut || !fits;
    return fits ? size * count : 0;
}

/* The URL's path gets the verb behind it; what stands behind a question mark stays there. */
static bool set_url(struct http *http, const char *verb)
{
    size_t size = strcspn(http->url, "?");
    const char *query = http->url + size;
    size -= size > 0 && http->url[size - 1] == '/';
    char *url = malloc(strlen(http->url) + strlen(verb) + 2);
    if (url == NULL) {
        return false;
    }
    (void)sprintf(url, "%.*s/%s%s", (int)size, http->url, verb, query);
    bool set = curl_easy_setopt(http->curl, CURLOPT_URL, url) == CURLE_OK; /* copied */
    free(url);
    return set;
}

static void set_limits(struct http *http)
{
    int64_t left_ms = (http->resource.deadline_ns - resource_clock_ns()) / NS_PER_MS;
    (void)curl_easy_setopt(http->curl, CURLOPT_TIMEOUT_MS, (long)(left_ms < 1 ? 1 : left_ms));
    (void)curl_easy_setopt(http->curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(http->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(http->curl, CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL);
    (void)curl_easy_setopt(http->curl, CURLOPT_ERRORBUFFER, http->words);
    (void)curl_easy_setopt(http->curl, CURLOPT_WRITEFUNCTION, take_bytes);
    (void)curl_easy_setopt(http->curl, CURLOPT_WRITEDATA, http);
}

static struct curl_slist *add_header(struct curl_slist *headers, const char *name, struct slice value)
{
    char text[HEADER_BYTES];
    (void)snprintf(text, sizeof(text), "%s: %.*s", name, (int)value.size, (const char *)value.data);
    struct curl_slist *longer = curl_slist_append(headers, text);
    return longer == NULL ? headers : longer;
}

/* TXID of cohort:CLUSTER:R.P:TXID:BRANCH. */
static struct slice txid_of(const char *name)
{
    for (int colons = 0; colons < 3; colons++) {
        name += strcspn(name, ":");
        name += *name == ':';
    }
    return slice_of(name, strcspn(name, ":"));
}

static struct curl_slist *make_headers(const char *name, const char *body)
{
    bool json = body[0] == '{' || body[0] == '[';
    struct curl_slist *headers = add_header(NULL, "Cohort-Branch", slice_from_string(name));
    headers = add_header(headers, "Cohort-Transaction", txid_of(name));
    headers = add_header(headers, "Expect", slice_of("", 0)); /* no 100-continue */
    return add_header(headers, "Content-Type",
                      slice_from_string(json ? "application/json" : "text/plain; charset=utf-8"));
}

/* The status has come, and something behind it perhaps not. */
static bool was_answered(struct http *http)
{
    (void)curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &http->status);
    http->status = http->status < 200 ? 0 : http->status; /* 1xx comes before an answer */
    return http->status != 0;
}

/* False: there was no answer. One whose status has come is one, however its body ended; `is_cut` tells. */
static bool request(struct http *http, const char *verb, const char *name, const char *body)
{
    http->status = 0;
    http->was_reached = false;
    http->is_cut = false;
    buffer_clear(&http->answer);
    http->words[0] = '\0';
    curl_easy_reset(http->curl);
    set_limits(http);
    struct curl_slist *headers = NULL;
    if (!set_url(http, verb)) {
        (void)snprintf(http->words, sizeof(http->words), "memory was refused");
        return false;
    }
    if (body != NULL) {
        headers = make_headers(name, body);
        (void)curl_easy_setopt(http->curl, CURLOPT_POSTFIELDS, body);
        (void)curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, headers);
    }
    CURLcode code = curl_easy_perform(http->curl);
    curl_slist_free_all(headers);
    http->was_reached = code != CURLE_COULDNT_CONNECT && code != CURLE_COULDNT_RESOLVE_HOST &&
                        code != CURLE_COULDNT_RESOLVE_PROXY && code != CURLE_PEER_FAILED_VERIFICATION;
    if (code != CURLE_OK && http->words[0] == '\0') {
        (void)snprintf(http->words, sizeof(http->words), "%s", curl_easy_strerror(code));
    }
    http->is_cut = http->is_cut || code != CURLE_OK;
    return was_answered(http);
}

static bool is_good(const struct http *http) { return http->status >= 200 && http->status < 300; }

/* With the first line of what the service said. */
static enum resource_code explain(struct http *http, enum resource_code code, const char *verb)
{
    if (http->status == 0) {
        return resource_problem(&http->resource, code, "the service does not answer %s: %s", verb, http->words);
    }
    const char *text = http->answer.size == 0 ? "" : (const char *)http->answer.data;
    size_t size = http->answer.size < WORDS_BYTES ? http->answer.size : WORDS_BYTES;
    const char *newline = size == 0 ? NULL : memchr(text, '\n', size);
    size = newline == NULL ? size : (size_t)(newline - text);
    return resource_problem(&http->resource, code, "the service answers %s with %ld%s%.*s", verb, http->status,
                            size == 0 ? "" : ": ", (int)size, text);
}

/* ---- the work ---- */

static enum resource_code begin(struct resource *resource, const char *name,
                                char ret_evidence[static RESOURCE_EVIDENCE_BYTES])
{
    http_of(resource)->name = name;
    ret_evidence[0] = '\0';
    return RESOURCE_OK;
}

static enum resource_code run(struct resource *resource, const char *statement, int64_t *ret_changed)
{
    struct http *http = http_of(resource);
    if (http->body != NULL) {
        return resource_problem(resource, RESOURCE_REFUSED,
                                "a service takes one --do, the body of its try: give it a second --on, with another "
                                "name, for a second one");
    }
    http->body = strdup(statement);
    *ret_changed = 0;
    return http->body != NULL ? RESOURCE_OK : resource_problem(resource, RESOURCE_DOWN, "memory was refused");
}

static void roll_back(struct resource *resource) {}

static enum resource_code prepare(struct resource *resource)
{
    struct http *http = http_of(resource);
    bool answered = request(http, "try", http->name, http->body == NULL ? "" : http->body);
    if (answered && is_good(http)) {
        return RESOURCE_OK;
    }
    bool refused = http->status >= 400 && http->status < 500; /* also behind a redirection it may have reserved */
    return explain(http,
                   answered && refused             ? RESOURCE_REFUSED
                   : answered || http->was_reached ? RESOURCE_UNKNOWN
                                                   : RESOURCE_DOWN,
                   "try");
}

/* ---- by anybody ---- */

/* Between half of it and all of it. */
static int64_t jittered(int64_t pause_ms)
{
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof(random), 0);
    return pause_ms / 2 + random % (pause_ms / 2 + 1);
}

static enum resource_code finish(struct resource *resource, const char *name, const char *evidence, bool commits)
{
    struct http *http = http_of(resource);
    const char *verb = commits ? "confirm" : "cancel";
    int64_t pause_ms = PAUSE_LEAST_MS;
    do {
        if (request(http, verb, name, "") && is_good(http)) {
            return RESOURCE_OK;
        }
        if (http->status == 409) {
            return explain(http, RESOURCE_REFUSED, verb);
        }
        pause_ms = pause_ms * 2 < PAUSE_MOST_MS ? pause_ms * 2 : PAUSE_MOST_MS;
    } while (resource_pause(resource, jittered(pause_ms)));
    return explain(http, RESOURCE_DOWN, verb);
}

static void list_line(struct slice line, resource_listed listed, void *data)
{
    line.size -= line.size > 0 && line.data[line.size - 1] == '\r';
    struct resource_branch branch = {.name = line, .age_ms = -1, .owner = ""};
    const uint8_t *space = line.size == 0 ? NULL : memchr(line.data, ' ', line.size);
    if (space != NULL) {
        int64_t age_ms;
        size_t size = (size_t)(space - line.data);
        branch.name.size = size;
        branch.age_ms =
            number_parse_int64(slice_of(space + 1, line.size - size - 1), &age_ms) && age_ms >= 0 ? age_ms : -1;
    }
    if (branch.name.size > 0) {
        listed(data, &branch);
    }
}

static enum resource_code list(struct resource *resource, resource_listed listed, void *data)
{
    struct http *http = http_of(resource);
    if (!request(http, "prepared", "", NULL)) {
        return explain(http, RESOURCE_DOWN, "prepared");
    }
    if (http->status == 404 || http->status == 405 || http->status == 501) {
        return RESOURCE_OK; /* what home remembers is looked after all the same */
    }
    if (!is_good(http)) {
        return explain(http, RESOURCE_DOWN, "prepared");
    }
    if (http->is_cut) {
        return resource_problem(resource, RESOURCE_DOWN, "the service's list of what is prepared does not end well: %s",
                                http->answer.size + CURL_MAX_WRITE_SIZE > ANSWER_BYTES ? "it is longer than 4 MiB"
                                                                                       : http->words);
    }
    struct buffer answer = http->answer; /* who is told may finish branches meanwhile */
    http->answer = (struct buffer){0};
    size_t at = 0;
    while (at < answer.size) {
        const uint8_t *end = memchr(&answer.data[at], '\n', answer.size - at);
        size_t size = end == NULL ? answer.size - at : (size_t)(end - &answer.data[at]);
        list_line(slice_of(&answer.data[at], size), listed, data);
        at += size + 1;
    }
    buffer_deinit(&answer);
    return RESOURCE_OK;
}

/* ---- its life ---- */

static void close_resource(struct resource *resource)
{
    struct http *http = http_of(resource);
    curl_easy_cleanup(http->curl);
    buffer_deinit(&http->answer);
    free(http->body);
    free(http);
}

static const struct resource_ops resource_http;

static enum status open_resource(const char *url, struct resource **ret_resource,
                                 char ret_problem[static RESOURCE_PROBLEM_BYTES])
{
    struct resource_url parsed;
    const char *problem;
    enum status status = resource_url_parse(url, &parsed, &problem);
    problem = status != STATUS_OK        ? problem
              : parsed.host[0] == '\0'   ? "it has no host"
              : strchr(url, '#') != NULL ? "it has a #, which is no part of a service's address"
                                         : NULL;
    if (problem != NULL) {
        (void)snprintf(ret_problem, RESOURCE_PROBLEM_BYTES, "%s: http://host[:port]/path", problem);
        return STATUS_INVALID;
    }
    struct http *http = calloc(1, sizeof(*http));
    CURL *curl = http == NULL ? NULL : curl_easy_init();
    if (curl == NULL) {
        (void)snprintf(ret_problem, RESOURCE_PROBLEM_BYTES, "memory was refused");
        free(http);
        return STATUS_NOMEM;
    }
    http->resource.ops = &resource_http;
    http->url = url;
    http->curl = curl;
    *ret_resource = &http->resource;
    return STATUS_OK;
}

#define OPS(word)                                                                                                      \
    {                                                                                                                  \
        .scheme = (word), .open = open_resource, .close = close_resource, .begin = begin, .run = run,                  \
        .roll_back = roll_back, .prepare = prepare, .finish = finish, .list = list, .cancels_unseen = true,            \
    }

static const struct resource_ops resource_http = OPS("http");
static const struct resource_ops resource_https = OPS("https");

RESOURCE_MODULE_OF(&resource_http, &resource_https);
