#include "engine/etcd_place.h"

#include <stdio.h>

static enum status refuse(char problem[static ENGINE_PROBLEM_BYTES], const char *why)
{
    (void)snprintf(problem, ENGINE_PROBLEM_BYTES, "%s", why);
    return STATUS_INVALID;
}

static bool keep(char *at, size_t capacity, struct slice text)
{
    if (text.size >= capacity || memchr(text.data, '\0', text.size) != NULL) {
        return false;
    }
    memcpy(at, text.data, text.size);
    at[text.size] = '\0';
    return true;
}

/* Cuts what stands before the first (last) `mark` off; false: there is none. */
static bool cut(struct slice *text, char mark, bool last, struct slice *ret_before)
{
    const uint8_t *found =
        last ? memrchr(text->data, mark, text->size) : (const uint8_t *)memchr(text->data, mark, text->size);
    if (found == NULL) {
        return false;
    }
    size_t before = (size_t)(found - text->data);
    *ret_before = slice_of(text->data, before);
    *text = slice_of(found + 1, text->size - before - 1);
    return true;
}

static const uint8_t *port_of(struct slice host)
{
    const uint8_t *colon = memrchr(host.data, ':', host.size);
    const uint8_t *bracket = memrchr(host.data, ']', host.size);
    return colon != NULL && (bracket == NULL || colon > bracket) ? colon + 1 : NULL;
}

static bool is_host(struct slice host)
{
    const uint8_t *port = port_of(host);
    size_t digits = port == NULL ? 0 : (size_t)(host.data + host.size - port);
    bool opens = host.size > 0 && host.data[0] == '[';
    if (opens != (host.size > 0 && memchr(host.data, ']', host.size) != NULL)) {
        return false;
    }
    if (port != NULL && (digits == 0 || digits > 5 || host.size == digits + 1)) {
        return false;
    }
    for (size_t i = 0; i < digits; i++) {
        if (port[i] < '0' || port[i] > '9') {
            return false;
        }
    }
    for (size_t i = 0; i < host.size; i++) {
        uint8_t byte = host.data[i];
        if (byte <= ' ' || byte >= 0x7f || strchr("\"'\\#@?", byte) != NULL) {
            return false;
        }
    }
    return host.size > 0;
}

static enum status take_hosts(struct slice hosts, struct etcd_place *place, char problem[static ENGINE_PROBLEM_BYTES])
{
    bool more = true;
    while (more) {
        struct slice host = hosts;
        more = cut(&hosts, ',', false, &host);
        if (!is_host(host) || host.size >= ETCD_HOST_BYTES - sizeof(":2379")) {
            return refuse(problem, "etcd:// wants hosts: etcd://host1:2379,host2:2379/prefix");
        }
        if (place->endpoint_count == ETCD_ENDPOINTS) {
            return refuse(problem, "etcd:// takes at most nine hosts");
        }
        (void)snprintf(place->endpoints[place->endpoint_count++], ETCD_HOST_BYTES, "%.*s%s", (int)host.size,
                       (const char *)host.data, port_of(host) != NULL ? "" : ":2379");
    }
    return STATUS_OK;
}

static enum status take_option(const struct engine_option *option, struct etcd_place *place,
                               char problem[static ENGINE_PROBLEM_BYTES])
{
    const struct {
        const char *name;
        char *at;
    } texts[] = {
        {"user", place->user}, {"password", place->password}, {"cacert", place->cacert},
        {"cert", place->cert}, {"key", place->key},
    };
    if (slice_is_word(option->name, "tls")) {
        place->tls = slice_is_word(option->value, "yes");
        return place->tls || slice_is_word(option->value, "no") ? STATUS_OK : refuse(problem, "tls is yes or no");
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (slice_is_word(option->name, texts[i].name)) {
            return keep(texts[i].at, ETCD_WORD_BYTES, option->value)
                       ? STATUS_OK
                       : refuse(problem, "user, password, cacert, cert and key have at most 511 bytes");
        }
    }
    return refuse(problem, "unknown option; there are: timeout=DURATION, user=, password=, tls=yes, cacert=FILE, "
                           "cert=FILE, key=FILE");
}

static enum status take_place(struct slice rest, struct etcd_place *place, char problem[static ENGINE_PROBLEM_BYTES])
{
    struct slice hosts = rest;
    struct slice prefix = SLICE_LITERAL("cohort");
    if (cut(&rest, '/', false, &hosts) && rest.size > 0) {
        prefix = rest;
    }
    while (prefix.size > 1 && prefix.data[prefix.size - 1] == '/') {
        prefix.size--;
    }
    if (!keep(place->prefix, sizeof(place->prefix), prefix)) {
        return refuse(problem, "the prefix of the keys has at most 511 bytes");
    }
    struct slice user;
    if (cut(&hosts, '@', true, &user)) {
        struct slice name = user;
        if (!cut(&user, ':', false, &name)) {
            user = slice_of("", 0);
        }
        if (!keep(place->user, sizeof(place->user), name) || !keep(place->password, sizeof(place->password), user)) {
            return refuse(problem, "a user and a password have at most 511 bytes");
        }
    }
    enum status status = take_hosts(hosts, place, problem);
    if (status != STATUS_OK && memchr(prefix.data, '@', prefix.size) != NULL) {
        return refuse(problem, "a password with a slash in it is given as an option: ?user=…&password=…");
    }
    return status;
}

enum status etcd_place_parse(const struct engine_url *url, struct etcd_place *ret_place,
                             char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    *ret_place = (struct etcd_place){0};
    enum status status = take_place(url->place, ret_place, ret_problem);
    for (uint32_t i = 0; status == STATUS_OK && i < url->option_count; i++) {
        status = take_option(&url->options[i], ret_place, ret_problem);
    }
    if (status == STATUS_OK && !ret_place->tls &&
        (ret_place->cacert[0] != '\0' || ret_place->cert[0] != '\0' || ret_place->key[0] != '\0')) {
        return refuse(ret_problem, "cacert, cert and key are for tls=yes");
    }
    if (status == STATUS_OK && ret_place->user[0] == '\0' && ret_place->password[0] != '\0') {
        return refuse(ret_problem, "a password needs a user");
    }
    return status;
}
