/* The URL of a resource: scheme://[user[:password]@]host[:port][/path][?option=value&…].
 *
 * Percent-encoding is decoded in users, passwords, paths and values. The text as it was given stays beside it, for
 * libraries that read URLs themselves. Passwords are told to nobody: resource_url_public is what others may see. */
#pragma once

#include "base/slice.h"
#include "base/status.h"

enum { RESOURCE_URL_BYTES = 2048, RESOURCE_OPTIONS = 16 };

struct resource_option {
    const char *name, *value;
};

struct resource_url {
    const char *text;                                   /* the caller's */
    const char *scheme, *user, *password, *host, *path; /* "": not said; in `bytes` */
    int port;                                           /* 0: not said */
    struct resource_option options[RESOURCE_OPTIONS];   /* without timeout= */
    uint32_t option_count;
    char bytes[RESOURCE_URL_BYTES];
};

/* STATUS_INVALID with a problem for a person (static storage). */
MUST_USE enum status resource_url_parse(const char *text, struct resource_url *ret_url, const char **ret_problem);

/* NULL: not said. */
const char *resource_url_option(const struct resource_url *url, const char *name);

/* Scheme, host, port and path of a URL, cut where `capacity` ends: no user, no password, no options. */
void resource_url_public(const char *text, char *ret_text, size_t capacity);
