#include "resource/resource_url.h"

#include "base/number.h"

#include <stdio.h>

struct taking {
    const char *at;
    struct resource_url *url;
    size_t used;
    const char *problem; /* NULL: fine so far */
};

static int digit_of(char letter)
{
    if (letter >= '0' && letter <= '9') {
        return letter - '0';
    }
    letter = (char)(letter | 0x20);
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* Decodes `size` bytes of the text into the URL's. */
static const char *take(struct taking *taking, size_t size)
{
    char *start = &taking->url->bytes[taking->used];
    const char *end = taking->at + size;
    while (taking->at < end && taking->problem == NULL) {
        char letter = *taking->at++;
        if (letter == '%') {
            int high = taking->at + 1 < end ? digit_of(taking->at[0]) : -1;
            int low = high < 0 ? -1 : digit_of(taking->at[1]);
            if (low < 0 || (high == 0 && low == 0)) {
                taking->problem = "% must be followed by two hexadecimal digits, not 00";
                return "";
            }
            letter = (char)(16 * high + low);
            taking->at += 2;
        }
        if (taking->used + 2 > RESOURCE_URL_BYTES) {
            taking->problem = "it is too long";
            return "";
        }
        taking->url->bytes[taking->used++] = letter;
    }
    if (taking->used + 1 >= RESOURCE_URL_BYTES) {
        taking->problem = "it is too long";
        return "";
    }
    taking->url->bytes[taking->used++] = '\0';
    return start;
}

static void take_user(struct taking *taking, size_t authority)
{
    const char *at = memrchr(taking->at, '@', authority);
    if (at == NULL) {
        return;
    }
    size_t size = (size_t)(at - taking->at);
    const char *colon = memchr(taking->at, ':', size);
    taking->url->user = take(taking, colon == NULL ? size : (size_t)(colon - taking->at));
    if (colon != NULL) {
        taking->at = colon + 1;
        taking->url->password = take(taking, (size_t)(at - taking->at));
    }
    taking->at = at + 1;
}

static void take_port(struct taking *taking, const char *end)
{
    int64_t port = 0;
    if (*taking->at == ':' && taking->at < end) {
        taking->at++;
        struct slice text = slice_of(taking->at, (size_t)(end - taking->at));
        if (text.size > 0 && (!number_parse_int64(text, &port) || port < 1 || port > 65535)) {
            taking->problem = "the port must be a number from 1 to 65535";
        }
    } else if (taking->at < end) {
        taking->problem = "behind an address in brackets stands a port or nothing";
    }
    taking->url->port = (int)port;
    taking->at = end;
}

static void take_host(struct taking *taking, const char *end)
{
    size_t size = (size_t)(end - taking->at);
    if (*taking->at == '[') {
        const char *bracket = memchr(taking->at, ']', size);
        if (bracket == NULL) {
            taking->problem = "an IPv6 address ends with a bracket";
            return;
        }
        taking->at++;
        taking->url->host = take(taking, (size_t)(bracket - taking->at));
        taking->at = bracket + 1;
    } else {
        const char *colon = memchr(taking->at, ':', size);
        taking->url->host = take(taking, colon == NULL ? size : (size_t)(colon - taking->at));
    }
    if (taking->problem == NULL) {
        take_port(taking, end);
    }
}

static void take_option(struct taking *taking)
{
    struct resource_url *url = taking->url;
    size_t size = strcspn(taking->at, "&");
    size_t name = strcspn(taking->at, "=&");
    if (size == 0) {
        return;
    }
    if (url->option_count == RESOURCE_OPTIONS) {
        taking->problem = "it has too many options";
        return;
    }
    const char *end = taking->at + size;
    struct resource_option option = {.value = ""};
    option.name = take(taking, name);
    if (taking->at < end && taking->problem == NULL) {
        taking->at++;
        option.value = take(taking, (size_t)(end - taking->at));
    }
    taking->at = end;
    url->options[url->option_count++] = option;
}

enum status resource_url_parse(const char *text, struct resource_url *ret_url, const char **ret_problem)
{
    struct resource_url *url = ret_url;
    *url = (struct resource_url){.text = text, .scheme = "", .user = "", .password = "", .host = "", .path = ""};
    struct taking taking = {.at = text, .url = url};
    const char *scheme = strstr(text, "://");
    if (scheme == NULL || scheme == text) {
        *ret_problem = "it has no scheme://";
        return STATUS_INVALID;
    }
    url->scheme = take(&taking, (size_t)(scheme - text));
    taking.at = scheme + strlen("://");
    size_t authority = strcspn(taking.at, "/?");
    const char *end = taking.at + authority;
    take_user(&taking, authority);
    if (taking.problem == NULL) {
        take_host(&taking, end);
    }
    if (taking.problem == NULL && *taking.at == '/') {
        taking.at++;
        url->path = take(&taking, strcspn(taking.at, "?"));
    }
    while (taking.problem == NULL && *taking.at != '\0') {
        taking.at++; /* ? or & */
        take_option(&taking);
    }
    *ret_problem = taking.problem;
    return taking.problem == NULL ? STATUS_OK : STATUS_INVALID;
}

const char *resource_url_option(const struct resource_url *url, const char *name)
{
    for (uint32_t i = 0; i < url->option_count; i++) {
        if (strcmp(url->options[i].name, name) == 0) {
            return url->options[i].value;
        }
    }
    return NULL;
}

void resource_url_public(const char *text, char *ret_text, size_t capacity)
{
    const char *scheme = strstr(text, "://");
    const char *at = scheme == NULL ? text : scheme + strlen("://");
    const char *user =
        memrchr(at, '@', strcspn(at, "?")); /* also one that is not as it must be: no part of it is told */
    const char *host = user == NULL ? at : user + 1;
    (void)snprintf(ret_text, capacity, "%.*s%.*s", (int)(at - text), text, (int)strcspn(host, "?"), host);
}
