#include "engine/redis_url.h"

#include "base/number.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { PORT_MAXIMUM = 65535, DB_MAXIMUM = 1000000 };

static const char *const port_default = "6379";

/* What is looked for is split off from the end of `text`. */
static bool split_last(struct slice *text, char at, struct slice *ret_behind)
{
    for (size_t i = text->size; i > 0; i--) {
        if (text->data[i - 1] == (uint8_t)at) {
            *ret_behind = slice_of(text->data + i, text->size - i);
            text->size = i - 1;
            return true;
        }
    }
    return false;
}

static bool split_first(struct slice *text, char at, struct slice *ret_before)
{
    const uint8_t *found = text->size == 0 ? NULL : memchr(text->data, at, text->size);
    if (found == NULL) {
        return false;
    }
    *ret_before = slice_of(text->data, (size_t)(found - text->data));
    *text = slice_of(found + 1, text->size - ret_before->size - 1);
    return true;
}

static bool copy(struct slice from, char *to, size_t size)
{
    if (from.size >= size) {
        return false;
    }
    memcpy(to, from.data, from.size);
    to[from.size] = '\0';
    return true;
}

/* NULL: taken; else what is wrong. */
static const char *take_db(struct slice text, struct redis_url *url)
{
    int64_t number;
    if (!number_parse_int64(text, &number) || number < 0 || number > DB_MAXIMUM) {
        return "a database is a number, as in redis://host/3";
    }
    url->login.db = (int)number;
    return NULL;
}

static const char *take_text(struct slice text, char *to)
{
    return copy(text, to, REDIS_TEXT_BYTES) ? NULL : "a user's name or a password has at most 511 bytes";
}

static const char *take_place(struct slice text, struct redis_url *url)
{
    if (url->count == REDIS_SERVERS) {
        return "it has more than 31 servers";
    }
    struct redis_place *place = &url->places[url->count];
    struct slice port = slice_from_string(port_default);
    if (text.size > 0 && text.data[0] == '[') {
        struct slice inside;
        text = slice_of(text.data + 1, text.size - 1);
        if (!split_first(&text, ']', &inside) || (text.size > 0 && text.data[0] != ':')) {
            return "an IPv6 address stands in brackets, as in [::1]:6379";
        }
        port = text.size > 0 ? slice_of(text.data + 1, text.size - 1) : port;
        text = inside;
    } else {
        (void)split_last(&text, ':', &port);
    }
    int64_t number;
    if (!number_parse_int64(port, &number) || number < 1 || number > PORT_MAXIMUM) {
        return "a port is a number from 1 to 65535";
    }
    if (text.size == 0 || !copy(text, place->host, sizeof(place->host))) {
        return "a host is missing, or has more than 255 bytes: redis://host:6379, redlock://host1,host2,host3";
    }
    (void)copy(port, place->port, sizeof(place->port));
    for (size_t i = 0; i < url->count; i++) {
        if (strcmp(url->places[i].host, place->host) == 0 && strcmp(url->places[i].port, place->port) == 0) {
            return "a server is there twice: a quorum counts each once";
        }
    }
    url->count++;
    return NULL;
}

static const char *take_places(struct slice place, struct redis_url *url)
{
    struct slice hosts;
    struct slice user;
    struct slice one;
    const char *problem = NULL;
    if (split_last(&place, '@', &hosts)) {
        struct slice password = place;
        if (!split_first(&password, ':', &user)) {
            return "before @ stands user:password";
        }
        problem = take_text(user, url->login.user);
        problem = problem == NULL ? take_text(password, url->login.password) : problem;
        place = hosts;
    }
    if (problem == NULL && split_first(&place, '/', &one)) {
        problem = place.size > 0 ? take_db(place, url) : NULL;
        place = one;
    }
    while (problem == NULL && split_first(&place, ',', &one)) {
        problem = take_place(one, url);
    }
    return problem == NULL ? take_place(place, url) : problem;
}

static const char *take_password_file(struct slice name, struct redis_url *url)
{
    char path[ENGINE_PLACE_BYTES];
    char text[REDIS_TEXT_BYTES];
    int fd = copy(name, path, sizeof(path)) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text));
    if (fd >= 0) {
        (void)close(fd);
    }
    if (size < 0) {
        return "the password file cannot be read; does this user have the right to?";
    }
    struct slice rest = slice_of(text, (size_t)size);
    struct slice line = rest;
    (void)split_first(&rest, '\n', &line);
    return take_text(line, url->login.password);
}

static const char *take_option(const struct engine_option *option, struct redis_url *url)
{
    if (slice_equal(option->name, SLICE_LITERAL("user"))) {
        return take_text(option->value, url->login.user);
    }
    if (slice_equal(option->name, SLICE_LITERAL("password"))) {
        return take_text(option->value, url->login.password);
    }
    if (slice_equal(option->name, SLICE_LITERAL("password-file"))) {
        return take_password_file(option->value, url);
    }
    if (slice_equal(option->name, SLICE_LITERAL("db"))) {
        return take_db(option->value, url);
    }
    return "an option is none of user, password, password-file, db, timeout";
}

enum status redis_url_take(const struct engine_url *url, struct redis_url *ret_url,
                           char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    memset(ret_url, 0, sizeof(*ret_url));
    const char *problem = take_places(url->place, ret_url);
    for (uint32_t i = 0; problem == NULL && i < url->option_count; i++) {
        problem = take_option(&url->options[i], ret_url);
    }
    if (problem == NULL && ret_url->login.user[0] != '\0' && ret_url->login.password[0] == '\0') {
        problem = "a user has a password: user:password@host";
    }
    if (problem == NULL) {
        return STATUS_OK;
    }
    (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "%.*s://: %s", (int)url->scheme.size,
                   (const char *)url->scheme.data, problem);
    return STATUS_INVALID;
}
