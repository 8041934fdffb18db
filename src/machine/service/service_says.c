#include "machine/service/service_says.h"

#include "base/number.h"
#include "base/record.h"
#include "machine/lock/lock_arguments.h"
#include "machine/service/service_limits.h"
#include "machine/session/session_id.h"

enum { PORT = 65535 };

_Static_assert(SERVICE_NAME_BYTES == 512 && SERVICE_ID_BYTES == 255 && SERVICE_ADDRESS_BYTES == 280 &&
                   SERVICE_ZONE_BYTES == 63 && SERVICE_META_FIELDS == 32 && SERVICE_META_BYTES == 4096 &&
                   SERVICE_WEIGHT == 65535,
               "as the texts say");

/* ---- bytes ---- */

bool service_says_next(struct slice *fields, struct slice *ret_text)
{
    return fields->size > 0 && record_take_text(fields, SERVICE_META_BYTES, ret_text);
}

bool service_says_take(struct slice bytes, struct service_says *ret_says)
{
    uint64_t weight;
    if (!record_take_text(&bytes, SERVICE_ADDRESS_BYTES, &ret_says->address) || ret_says->address.size == 0 ||
        !record_take_number(&bytes, SERVICE_WEIGHT, &weight) || weight == 0 ||
        !record_take_text(&bytes, SERVICE_ZONE_BYTES, &ret_says->zone) ||
        !record_take_number(&bytes, SERVICE_META_FIELDS, &ret_says->field_count)) {
        return false;
    }
    ret_says->weight = (uint32_t)weight;
    ret_says->fields = bytes;
    struct slice text;
    size_t all = 0;
    for (uint64_t i = 0; i < 2 * ret_says->field_count; i++) {
        if (!record_take_text(&bytes, SERVICE_META_BYTES, &text)) {
            return false;
        }
        all += text.size;
    }
    return bytes.size == 0 && all <= SERVICE_META_BYTES;
}

/* ---- words ---- */

/* What tables, logs and load balancers show as it is. */
static bool is_word(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] <= ' ' || text.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

const char *service_names_fit(struct slice name, struct slice id)
{
    if (name.size == 0 || name.size > SERVICE_NAME_BYTES) {
        return "ERR the name of a service has 1 to 512 bytes";
    }
    return id.size > 0 && id.size <= SERVICE_ID_BYTES && is_word(id)
               ? NULL
               : "ERR the id of an endpoint has 1 to 255 bytes, without spaces and control characters";
}

static bool is_host(struct slice host)
{
    bool bracketed = host.size > 2 && host.data[0] == '[' && host.data[host.size - 1] == ']';
    for (size_t i = 0; i < host.size; i++) {
        uint8_t byte = host.data[i];
        if (byte <= ' ' || byte >= 0x7f || (byte == ':' && !bracketed)) {
            return false;
        }
    }
    return host.size > 0;
}

const char *service_address_fits(struct slice address)
{
    static const char text[] = "ERR an address is host:port, of 280 bytes at most; that of IPv6 is [host]:port";
    size_t size = address.size;
    int64_t port;
    while (size > 0 && address.data[size - 1] != ':') {
        size--;
    }
    if (address.size > SERVICE_ADDRESS_BYTES || size < 2) {
        return text;
    }
    struct slice digits = slice_of(address.data + size, address.size - size);
    bool good = number_parse_int64(digits, &port) && port >= 1 && port <= PORT;
    return good && is_host(slice_of(address.data, size - 1)) ? NULL : text;
}

struct words {
    struct service_words *words;
    struct slice zone;
    int64_t weight;
    bool px, session, weighs, zoned;
};

static const char *take_px(struct words *words, struct slice value)
{
    return lock_time_parse(value, 1, "ERR PX is the time to live in ms, from 1 to 31536000000 (a year)",
                           &words->words->ttl_ms);
}

static const char *take_session(struct words *words, struct slice value)
{
    struct session_id id;
    words->words->session = value;
    bool good = session_name_parse(value, &id, &words->words->ttl_ms);
    return good ? NULL : "ERR SESSION is followed by the id that SESSION.OPEN gave";
}

static const char *take_weight(struct words *words, struct slice value)
{
    bool good = number_parse_int64(value, &words->weight) && words->weight >= 1 && words->weight <= SERVICE_WEIGHT;
    return good ? NULL : "ERR WEIGHT is a number from 1 to 65535";
}

static const char *take_zone(struct words *words, struct slice value)
{
    words->zone = value;
    return value.size <= SERVICE_ZONE_BYTES && is_word(value)
               ? NULL
               : "ERR the name of a ZONE has 63 bytes at most, without spaces and control characters";
}

static const char *once(bool *given, const char *twice, const char *problem)
{
    bool again = *given;
    *given = true;
    return again ? twice : problem;
}

static const char *take_option(struct words *words, struct slice word, struct slice value)
{
    if (slice_is_word(word, "PX")) {
        return once(&words->px, LOCK_TWICE("PX"), take_px(words, value));
    }
    if (slice_is_word(word, "SESSION")) {
        return once(&words->session, LOCK_TWICE("SESSION"), take_session(words, value));
    }
    if (slice_is_word(word, "WEIGHT")) {
        return once(&words->weighs, LOCK_TWICE("WEIGHT"), take_weight(words, value));
    }
    if (slice_is_word(word, "ZONE")) {
        return once(&words->zoned, LOCK_TWICE("ZONE"), take_zone(words, value));
    }
    return "ERR syntax error";
}

static const char *meta_fits(const struct slice *texts, uint32_t count)
{
    size_t bytes = 0;
    if (count == 0 || count % 2 != 0) {
        return "ERR META is followed by fields and values, a value for each field, to the end of the command";
    }
    if (count > 2 * SERVICE_META_FIELDS) {
        return "ERR META has 32 fields at most";
    }
    for (uint32_t i = 0; i < count; i++) {
        bytes += texts[i].size;
        for (uint32_t j = i % 2; i % 2 == 0 && j < i; j += 2) {
            if (slice_equal(texts[i], texts[j])) {
                return "ERR META names a field twice";
            }
        }
    }
    return bytes > SERVICE_META_BYTES ? "ERR META has 4096 bytes at most, names and values together" : NULL;
}

static void put(struct buffer *out, struct slice address, const struct words *words, const struct slice *meta,
                uint32_t count)
{
    record_put_text(out, address);
    record_put_number(out, (uint64_t)words->weight);
    record_put_text(out, words->zone);
    record_put_number(out, count / 2);
    for (uint32_t i = 0; i < count; i++) {
        record_put_text(out, meta[i]);
    }
}

const char *service_words_parse(const struct slice *argv, uint32_t argc, struct buffer *out,
                                struct service_words *ret_words)
{
    *ret_words = (struct service_words){.name = argv[0], .id = argv[1]};
    struct words words = {.words = ret_words, .weight = SERVICE_WEIGHT_DEFAULT, .zone = slice_of(NULL, 0)};
    const char *problem = service_names_fit(argv[0], argv[1]);
    problem = problem == NULL ? service_address_fits(argv[2]) : problem;
    uint32_t meta = argc;
    for (uint32_t i = 3; problem == NULL && i < argc; i += 2) {
        if (slice_is_word(argv[i], "META")) {
            meta = i + 1;
            problem = meta_fits(argv + meta, argc - meta);
            break;
        }
        problem = i + 1 == argc ? "ERR syntax error" : take_option(&words, argv[i], argv[i + 1]);
    }
    if (problem == NULL && words.px == words.session) {
        problem = "ERR an endpoint has a time to live of its own (PX ttl_ms), or ends with a session (SESSION id)";
    }
    if (problem == NULL) {
        put(out, argv[2], &words, argv + meta, argc - meta);
    }
    return problem;
}
