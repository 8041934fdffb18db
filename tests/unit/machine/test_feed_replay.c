/* Whoever applies what the history tells has the same keys: random commands on one machine, what is told on another.
 * What is to be read (reload) is unknown to the follower until the key is set or goes. */
#include "harness.h"

#include "base/prng.h"
#include "machine/feed/feed_log.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEYS = 12, COMMANDS = 8000 };

struct follower {
    struct harness source, copy;
    struct feed_mark mark;
    bool unknown[KEYS];
    int reloads, checks;
};

static void random_command(struct prng *prng, char *out, size_t size)
{
    static const char *const templates[] = {
        "SET %k %v",
        "SET %k %v PX %n",
        "SET %k %v PXAT %t",
        "APPEND %k %v",
        "SETRANGE %k 0 %v",
        "INCR %k",
        "DEL %k",
        "DEL %k %k",
        "RENAME %k %k",
        "RENAMENX %k %k",
        "COPY %k %k REPLACE",
        "PEXPIRE %k %n",
        "PEXPIREAT %k %t",
        "PERSIST %k",
        "HSET %k %f %v",
        "HSET %k %f %v",
        "HSET %k %f %v %f %v %f %v",
        "HINCRBY %k %f 3",
        "HDEL %k %f %f",
        "HDEL %k %f %f",
        "GETDEL %k",
        "GETEX %k PERSIST",
        "GETSET %k %v",
        "MSET %k %v %k %v",
        "HSETNX %k %f %v",
        "SET %k %v KEEPTTL",
        "GETEX %k PX %n",
    };
    const char *template = templates[prng_below(prng, sizeof(templates) / sizeof(templates[0]))];
    template = prng_chance(prng, 1, 500) ? "FLUSHALL" : template;
    size_t used = 0;
    for (const char *at = template; *at != '\0'; at++) {
        if (*at != '%') {
            out[used++] = *at;
            continue;
        }
        switch (*++at) {
        case 'k': used += (size_t)snprintf(out + used, size - used, "k%d", (int)prng_below(prng, KEYS)); break;
        case 'f': used += (size_t)snprintf(out + used, size - used, "f%d", (int)prng_below(prng, 6)); break;
        case 'v':
            used += (size_t)snprintf(out + used, size - used, "%0*d", prng_chance(prng, 1, 100) ? 400 : 3,
                                     (int)prng_below(prng, 1000));
            break;
        case 'n': used += (size_t)snprintf(out + used, size - used, "%d", (int)prng_below(prng, 900) + 1); break;
        default:
            used +=
                (size_t)snprintf(out + used, size - used, "%lld", 1700000000000LL + (long long)prng_below(prng, 30000));
        }
    }
    out[used] = '\0';
}

static int number_of(struct slice key)
{
    int number = 0;
    for (size_t i = 1; i < key.size; i++) {
        number = number * 10 + key.data[i] - '0';
    }
    return number;
}

static void follow(struct follower *f, const struct feed_change *change)
{
    static const char *const commands[FEED_KINDS] = {"SET",       "HSET",    "HDEL",     "DEL", "DEL",
                                                     "PEXPIREAT", "PERSIST", "FLUSHALL", NULL,  NULL};
    if (change->kind == FEED_FLUSH) {
        memset(f->unknown, 0, sizeof(f->unknown));
        (void)harness_apply(&f->copy, "FLUSHALL");
        return;
    }
    int number = number_of(change->key);
    bool whole = change->kind == FEED_SET || change->kind == FEED_DEL || change->kind == FEED_EXPIRED;
    f->unknown[number] = change->kind == FEED_RELOAD || (f->unknown[number] && !whole);
    if (f->unknown[number]) {
        f->reloads++;
        return;
    }
    char command[2048];
    int used = snprintf(command, sizeof(command), "%s k%d", commands[change->kind], number);
    const struct slice parts[] = {change->field, change->value};
    for (int i = 0; i < 2; i++) {
        if (parts[i].data != NULL) {
            used += snprintf(command + used, sizeof(command) - (size_t)used, " \"%.*s\"", (int)parts[i].size,
                             (const char *)parts[i].data);
        }
    }
    if (change->kind == FEED_EXPIRE) {
        (void)snprintf(command + used, sizeof(command) - (size_t)used, " %lld", (long long)change->due_ms);
    }
    if (change->kind == FEED_DEL || change->kind == FEED_EXPIRED) { /* SET with a time that is past tells of it, too */
        (void)harness_apply(&f->copy, command);
        return;
    }
    const char *reply = harness_apply(&f->copy, command);
    assert_true(reply[0] != '-');
    if (change->kind == FEED_SET) {
        f->unknown[number] = false;
    }
}

static void catch_up(struct follower *f, struct prng *prng)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "COHORT.FEED.READ %llu %u %d", (unsigned long long)f->mark.position,
                   f->mark.sub, (int)prng_below(prng, 3000));
    (void)harness_read(&f->source, command);
    static const char head[] = "*5\r\n$4\r\nHERE\r\n:";
    assert_true(slice_starts_with(buffer_slice(&f->source.reply), slice_from_string(head)));
    buffer_append_byte(&f->source.reply, '\0');
    unsigned long long position;
    size_t size;
    int consumed;
    assert_int_equal(sscanf((const char *)f->source.reply.data + sizeof(head) - 1, "%llu\r\n:%u\r\n$%zu%n", &position,
                            &f->mark.sub, &size, &consumed),
                     3);
    struct slice rest = slice_of(f->source.reply.data + sizeof(head) - 1 + consumed + 2, size);
    f->mark.position = position;
    while (rest.size > 0) {
        struct feed_change change;
        assert_true(feed_take(&rest, &change));
        follow(f, &change);
    }
}

static void check_key(struct follower *f, int number)
{
    static const char *const looks[] = {"TYPE", "GET", "HGETALL", "PEXPIRETIME"};
    if (f->unknown[number]) {
        return;
    }
    f->checks++;
    for (int i = 0; i < 4; i++) {
        char command[64];
        char expected[8192];
        (void)snprintf(command, sizeof(command), "%s k%d", looks[i], number);
        (void)snprintf(expected, sizeof(expected), "%s", harness_apply(&f->source, command));
        f->copy.time_ms = f->source.time_ms;
        f->copy.wall_ms = f->source.wall_ms;
        assert_string_equal(harness_apply(&f->copy, command), expected);
    }
}

static void run(uint64_t seed)
{
    struct follower f = {0};
    struct prng prng;
    prng_seed(&prng, seed);
    harness_init(&f.source);
    harness_init(&f.copy);
    (void)harness_apply(&f.source, "COHORT.FEED.KEEP 2400 80000000 0 0");
    f.mark = (struct feed_mark){f.source.position, 0};
    for (int i = 0; i < COMMANDS; i++) {
        char command[2048];
        harness_pass(&f.source, (int64_t)prng_below(&prng, 4));
        random_command(&prng, command, sizeof(command));
        (void)harness_apply(&f.source, command);
        if (prng_chance(&prng, 1, 8)) {
            struct machine_context context = {++f.source.position, f.source.time_ms, f.source.wall_ms};
            machine_apply_time(f.source.machine, &context);
        }
        if (prng_chance(&prng, 1, 200)) {
            struct machine *copy = harness_copy(f.source.machine, 500);
            machine_destroy(f.source.machine);
            f.source.machine = copy;
        }
        f.copy.time_ms = f.source.time_ms;
        f.copy.wall_ms = f.source.wall_ms;
        struct feed_mark last = {0, 0};
        while (feed_mark_compare(last, f.mark) != 0) { /* at once: an expiry that is past would delete the key */
            last = f.mark;
            catch_up(&f, &prng);
        }
        for (int k = 0; i % 20 == 0 && k < KEYS; k++) {
            check_key(&f, k);
        }
    }
    assert_true(f.reloads > 10 && f.checks > COMMANDS / 20 * KEYS / 2);
    harness_deinit(&f.source);
    harness_deinit(&f.copy);
}

static void test_follower_has_the_same(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        run(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_follower_has_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
