/* Services and their endpoints, by the rules of src/machine/service/services.h. Positions grow by 3. */
#include "base/prng.h"
#include "harness.h"
#include "machine/service/service_limits.h"
#include "machine/service/services.h"

#include <stdio.h>
#include <string.h>

#define NOENDPOINT "-NOENDPOINT the service has no endpoint of this id, or its lease has ended; register it again"

static void sound(struct harness *h) { assert_null(services_problem(machine_services(h->machine))); }

static void said(struct harness *h, const char *command, const char *expected)
{
    assert_string_equal(harness_apply(h, command), expected);
    sound(h);
}

static void time_entry(struct harness *h, int64_t ms)
{
    harness_pass(h, ms);
    h->position += 3;
    struct machine_context context = {h->position, h->time_ms, h->wall_ms, h->term};
    machine_apply_time(h->machine, &context);
    sound(h);
}

static void reload(struct harness *h)
{
    uint64_t digest = machine_digest(h->machine);
    struct machine *copy = harness_copy(h->machine, 64);
    assert_true(machine_digest(copy) == digest);
    machine_destroy(h->machine);
    h->machine = copy;
    sound(h);
}

/* So many endpoints, by the figures. */
static void counts(struct harness *h, uint64_t services, uint64_t endpoints)
{
    struct machine_stats stats;
    machine_stats(h->machine, &stats);
    assert_int_equal(stats.services, services);
    assert_int_equal(stats.endpoints, endpoints);
}

/* ---- leases ---- */

static void registered_and_listed(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SERVICE.LIST web", "*0");
    said(h, "SERVICE.REGISTER web a 10.0.0.1:80 PX 1000", "*2 :6 :1000");
    said(h, "SERVICE.REGISTER web b [::1]:81 PX 2000 WEIGHT 7 ZONE north META build 12 kind x", "*2 :9 :2000");
    counts(h, 1, 2);
    CHECK(h, "SERVICE.LIST web",
          "*2 *18 $2 id $1 a $7 address $11 10.0.0.1:80 $5 state $2 up $6 weight :100 $4 zone $0  $6 ttl_ms :1000 "
          "$6 age_ms :0 $5 since :6 $4 meta *0 "
          "*18 $2 id $1 b $7 address $8 [::1]:81 $5 state $2 up $6 weight :7 $4 zone $5 north $6 ttl_ms :2000 "
          "$6 age_ms :0 $5 since :9 $4 meta *4 $5 build $2 12 $4 kind $1 x");
    reload(h);
    harness_pass(h, 1500);
    assert_null(harness_read(h, "SERVICE.LIST web")); /* a is due: the log decides it */
    said(h, "SERVICE.RENEW web a PX 1000", NOENDPOINT);
    said(h, "SERVICE.RENEW web b PX 1000", ":1000");
    counts(h, 1, 1);
    time_entry(h, 1000);
    counts(h, 0, 0);
    CHECK(h, "SERVICE.LIST web", "*0");
    CHECK(h, "DBSIZE", ":0");
}

static void the_same_again_renews(void **state)
{
    struct harness *h = *state;
    said(h, "SERVICE.REGISTER web a h:80 PX 1000", "*2 :3 :1000");
    said(h, "COHORT.SERVICE.READ -1 1000 web 3", "*2 :3 :1");
    harness_pass(h, 900);
    said(h, "SERVICE.REGISTER web a h:80 PX 1000", "*2 :3 :1000");
    said(h, "COHORT.SERVICE.READ -1 1000 web 3", "*2 :3 :1"); /* no change */
    harness_pass(h, 900);
    said(h, "SERVICE.DRAIN web a", ":1");
    said(h, "SERVICE.DRAIN web a", ":1");
    said(h, "SERVICE.REGISTER web a h:80 PX 1000", "*2 :3 :1000"); /* drains nevertheless */
    said(h, "SERVICE.REGISTER web a h:81 PX 1000 WEIGHT 2", "*2 :3 :1000");
    said(h, "COHORT.SERVICE.READ -1 1000 web 3",
         "*3 :24 :1 *5 $3 web $7 CHANGES :3 :24 *2 *7 :15 $8 draining $1 a $4 h:80 :100 $0  *0 "
         "*7 :24 $7 changed $1 a $4 h:81 :2 $0  *0");
    said(h, "COHORT.SERVICE.READ -1 1000 web -1",
         "*3 :24 :1 *5 $3 web $4 LIST :-1 :24 *1 *6 $1 a $8 draining $4 h:81 :2 $0  *0");
    said(h, "SERVICE.REMOVE web a", ":1");
    said(h, "SERVICE.REMOVE web a", ":0");
    said(h, "SERVICE.DRAIN web a", ":0");
    said(h, "COHORT.SERVICE.READ -1 1000 web 24", "*3 :33 :1 *5 $3 web $7 CHANGES :24 :33 *1 *3 :33 $7 removed $1 a");
    reload(h);
}

/* ---- what changed ---- */

static void reading_on(void **state)
{
    struct harness *h = *state;
    said(h, "SERVICE.REGISTER web a h:80 PX 100000", "*2 :3 :100000");
    said(h, "SERVICE.REGISTER web b h:81 PX 100000", "*2 :6 :100000");
    said(h, "COHORT.SERVICE.READ 6 1000 web 3", "*2 :6 :0"); /* as is known */
    said(h, "COHORT.SERVICE.READ -1 1000 web 5",             /* which never was */
         "*3 :6 :1 *5 $3 web $4 LIST :5 :6 *2 *6 $1 a $2 up $4 h:80 :100 $0  *0 *6 $1 b $2 up $4 h:81 :100 $0  *0");
    said(h, "COHORT.SERVICE.READ -1 1000 web 7", "*3 :6 :1 *5 $3 web $5 AHEAD :7 :7 *0");
    said(h, "COHORT.SERVICE.READ -1 1000 other 0", "*2 :6 :1");
    said(h, "COHORT.SERVICE.READ -1 1000 other 3", "*3 :6 :1 *5 $5 other $4 LIST :3 :0 *0");
    said(h, "COHORT.SERVICE.READ -1 1 web 0 other 0",
         "*3 :6 :1 *5 $3 web $4 MORE :0 :3 *1 *7 :3 $10 registered $1 a $4 h:80 :100 $0  *0");
    said(h, "COHORT.SERVICE.READ -1 1000", "*2 :6 :0");
    said(h, "COHORT.SERVICE.READ -1 x web 1", "-ERR no node of ours can have said this");
    for (int i = 0; i <= SERVICE_CHANGES; i++) {
        (void)harness_apply(h, i % 2 == 0 ? "SERVICE.REGISTER web c h:82 PX 100000"
                                          : "SERVICE.REGISTER web c h:82 PX 100000 WEIGHT 7");
    }
    sound(h);
    assert_non_null(strstr(harness_apply(h, "COHORT.SERVICE.READ -1 1000 web 3"), "$4 LIST :3")); /* forgotten */
    reload(h);
}

/* ---- sessions ---- */

static void ends_with_a_session(void **state)
{
    struct harness *h = *state;
    assert_non_null(strstr(harness_apply(h, "SERVICE.REGISTER web a h:80 SESSION 1-7/500"), "-NOSESSION"));
    said(h, "COHORT.SESSION.TIE 1-7", ":1");
    said(h, "COHORT.SESSION.TIE 1-7 1", ":1");
    said(h, "SERVICE.REGISTER web a h:80 SESSION 1-7/500", "*2 :12 :500");
    said(h, "SERVICE.REGISTER web b h:81 SESSION 1-7/500", "*2 :15 :500");
    said(h, "SERVICE.REGISTER web c h:82 PX 1000", "*2 :18 :1000");
    said(h, "SERVICE.RENEW web a PX 10",
         "-ERR this endpoint stays as long as its session lives: SESSION.KEEPALIVE renews that");
    said(h, "SERVICE.REGISTER web b h:81 PX 5000", "*2 :15 :5000"); /* from now on it has a lease */
    said(h, "SERVICE.REGISTER web c h:82 SESSION 1-7/400", "*2 :18 :400");
    reload(h);
    time_entry(h, 2000);
    counts(h, 1, 3);
    said(h, "COHORT.SESSION.END 1-7", "*1 :1");
    said(h, "COHORT.SERVICE.READ -1 1000 web 18",
         "*3 :34 :1 *5 $3 web $7 CHANGES :18 :34 *2 *3 :33 $7 session $1 a *3 :34 $7 session $1 c");
    counts(h, 1, 1);
    assert_non_null(strstr(harness_apply(h, "SERVICE.REGISTER web a h:80 SESSION 1-7/500"), "-NOSESSION"));
    time_entry(h, 4000);
    counts(h, 0, 0);
    reload(h);
}

/* ---- refusals ---- */

static void malformed(void **state)
{
    struct harness *h = *state;
    static const struct {
        const char *command, *error;
    } cases[] = {
        {"SERVICE.REGISTER web a h:80 WEIGHT 3", "-ERR an endpoint has a time to live"},
        {"SERVICE.REGISTER web a h:80 PX 5 SESSION 1-1", "-ERR an endpoint has a time to live"},
        {"SERVICE.REGISTER web a h:80 PX 0", "-ERR PX is"},
        {"SERVICE.REGISTER web a h:80 PX 5 PX 6", "-ERR syntax error: PX is given twice"},
        {"SERVICE.REGISTER web a h:80 PX 5 WEIGHT 0", "-ERR WEIGHT"},
        {"SERVICE.REGISTER web a h:80 PX 5 WEIGHT 65536", "-ERR WEIGHT"},
        {"SERVICE.REGISTER web a h:80 PX 5 META a", "-ERR META is followed"},
        {"SERVICE.REGISTER web a h:80 PX 5 META a 1 a 2", "-ERR META names a field twice"},
        {"SERVICE.REGISTER web a h:80 PX 5 MORE 1", "-ERR syntax error"},
        {"SERVICE.REGISTER web a h:80 PX 5 WEIGHT", "-ERR syntax error"},
        {"SERVICE.REGISTER web a h PX 5", "-ERR an address"},
        {"SERVICE.REGISTER web a :80 PX 5", "-ERR an address"},
        {"SERVICE.REGISTER web a h: PX 5", "-ERR an address"},
        {"SERVICE.REGISTER web a h:0 PX 5", "-ERR an address"},
        {"SERVICE.REGISTER web a h:65536 PX 5", "-ERR an address"},
        {"SERVICE.REGISTER web a ::1:80 PX 5", "-ERR an address"},
        {"SERVICE.REGISTER web a \"h h:80\" PX 5", "-ERR an address"},
        {"SERVICE.REGISTER web \"\" h:80 PX 5", "-ERR the id"},
        {"SERVICE.REGISTER web \"a b\" h:80 PX 5", "-ERR the id"},
        {"SERVICE.REGISTER web a h:80 PX 5 ZONE \"a\\n\"", "-ERR the name of a ZONE"},
        {"SERVICE.REGISTER \"\" a h:80 PX 5", "-ERR the name"},
        {"SERVICE.REGISTER web a h:80 SESSION nonsense", "-ERR SESSION"},
        {"SERVICE.RENEW web a PX 0", "-ERR PX"},
        {"SERVICE.RENEW web a EX 1", "-ERR syntax error"},
        {"SERVICE.RENEW web a PX 1", "-NOENDPOINT"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *reply = harness_apply(h, cases[i].command);
        if (strncmp(reply, cases[i].error, strlen(cases[i].error)) != 0) {
            fail_msg("%s: %s", cases[i].command, reply);
        }
    }
    counts(h, 0, 0);
}

static void too_long(void **state)
{
    struct harness *h = *state;
    char command[16384];
    char text[8192];
    memset(text, 'x', sizeof(text));
    (void)snprintf(command, sizeof(command), "SERVICE.REGISTER %.513s a h:80 PX 5", text);
    assert_string_equal(harness_apply(h, command), "-ERR the name of a service has 1 to 512 bytes");
    (void)snprintf(command, sizeof(command), "SERVICE.REGISTER web %.256s h:80 PX 5", text);
    assert_string_equal(harness_apply(h, command),
                        "-ERR the id of an endpoint has 1 to 255 bytes, without spaces and control characters");
    (void)snprintf(command, sizeof(command), "SERVICE.REGISTER web a %.278s:80 PX 5", text);
    assert_non_null(strstr(harness_apply(h, command), "280 bytes"));
    (void)snprintf(command, sizeof(command), "SERVICE.REGISTER web a h:80 PX 5 ZONE %.64s", text);
    assert_non_null(strstr(harness_apply(h, command), "63 bytes"));
    (void)snprintf(command, sizeof(command), "SERVICE.REGISTER web a h:80 PX 5 META f %.4096s", text);
    assert_non_null(strstr(harness_apply(h, command), "4096 bytes"));
    size_t size = (size_t)snprintf(command, sizeof(command), "SERVICE.REGISTER web a h:80 PX 5 META");
    for (int i = 0; i <= SERVICE_META_FIELDS; i++) {
        size += (size_t)snprintf(command + size, sizeof(command) - size, " f%d v", i);
    }
    assert_non_null(strstr(harness_apply(h, command), "32 fields"));
    (void)snprintf(command, sizeof(command), "SERVICE.REGISTER %.512s %.255s %.277s:80 PX 5 ZONE %.63s META f %.4095s",
                   text, text, text, text, text);
    assert_non_null(strstr(harness_apply(h, command), "*2 :"));
    sound(h);
    reload(h);
}

static void many(void **state)
{
    struct harness *h = *state;
    char command[128];
    for (int i = 0; i < SERVICE_ENDPOINTS; i++) {
        (void)snprintf(command, sizeof(command), "SERVICE.REGISTER web e%d h:80 PX 100000", i);
        assert_int_equal(harness_apply(h, command)[0], '*');
    }
    said(h, "SERVICE.REGISTER web more h:80 PX 5",
         "-BUSY this service has 4096 endpoints, which is the most; remove some");
    assert_int_equal(harness_apply(h, "SERVICE.REGISTER web e7 h:80 PX 100000")[0], '*');
    time_entry(h, 50000);
    assert_int_equal(harness_apply(h, "SERVICE.REMOVE web e7")[1], '1');
    assert_int_equal(harness_apply(h, "SERVICE.REGISTER web more h:80 PX 5000")[0], '*');
    counts(h, 1, SERVICE_ENDPOINTS);
    for (int i = 0; i < SERVICE_ENDPOINTS / MACHINE_EXPIRE_STEP + 1; i++) {
        harness_pass(h, 60000);
        h->position += 3;
        struct machine_context context = {h->position, h->time_ms, h->wall_ms, h->term};
        machine_apply_time(h->machine, &context);
    }
    counts(h, 0, 0);
    sound(h);
}

static void services_are_forgotten(void **state)
{
    struct harness *h = *state;
    char command[128];
    for (int i = 0; i <= SERVICES_IDLE; i++) {
        (void)snprintf(command, sizeof(command), "SERVICE.REGISTER s%d a h:80 PX 100000", i);
        (void)harness_apply(h, command);
        (void)snprintf(command, sizeof(command), "SERVICE.REMOVE s%d a", i);
        (void)harness_apply(h, command);
    }
    sound(h);
    assert_non_null(strstr(harness_apply(h, "COHORT.SERVICE.READ -1 1000 s0 3"), "$4 LIST :3 :6 *0"));
    assert_non_null(strstr(harness_apply(h, "COHORT.SERVICE.READ -1 1000 s1 9"), "$7 CHANGES :9 :12"));
    assert_int_equal(harness_apply(h, "SERVICE.REGISTER s0 a h:80 PX 100000")[0], '*');
    sound(h);
    reload(h);
}

/* ---- at random: replicas, one of them made anew from snapshots ---- */

static void random_command(struct prng *prng, char text[static 256])
{
    unsigned service = (unsigned)prng_below(prng, 3);
    unsigned id = (unsigned)prng_below(prng, 5);
    unsigned ttl = 1 + (unsigned)prng_below(prng, 400);
    unsigned session = 1 + (unsigned)prng_below(prng, 3);
    switch (prng_below(prng, 10)) {
    case 0:
    case 1:
        (void)snprintf(text, 256, "SERVICE.REGISTER s%u e%u h:80 PX %u WEIGHT %u META a %u", service, id, ttl,
                       1 + ttl % 3, id);
        return;
    case 2:
        (void)snprintf(text, 256, "SERVICE.REGISTER s%u e%u h:80 SESSION 1-%u/%u", service, id, session, ttl);
        return;
    case 3: (void)snprintf(text, 256, "COHORT.SESSION.TIE 1-%u", session); return;
    case 4: (void)snprintf(text, 256, "COHORT.SESSION.TIE 1-%u %u", session, 1 + ttl % 40); return;
    case 5: (void)snprintf(text, 256, "COHORT.SESSION.%s 1-%u", ttl % 5 == 0 ? "END" : "TIE", session); return;
    case 6: (void)snprintf(text, 256, "SERVICE.DRAIN s%u e%u", service, id); return;
    case 7: (void)snprintf(text, 256, "SERVICE.REMOVE s%u e%u", service, id); return;
    case 8: (void)snprintf(text, 256, "SERVICE.LIST s%u", service); return;
    default: (void)snprintf(text, 256, "SERVICE.RENEW s%u e%u PX %u", service, id, ttl); return;
    }
}

static void replicas_agree(void **state)
{
    struct harness *h = *state;
    struct harness other;
    struct prng prng;
    char text[256];
    char reply[8192];
    harness_init(&other);
    prng_seed(&prng, 11);
    for (int i = 0; i < 20000; i++) {
        int64_t pass_ms = (int64_t)prng_below(&prng, 40);
        if (prng_below(&prng, 4) == 0) {
            time_entry(h, pass_ms);
            time_entry(&other, pass_ms);
        } else {
            harness_pass(h, pass_ms);
            harness_pass(&other, pass_ms);
        }
        random_command(&prng, text);
        (void)snprintf(reply, sizeof(reply), "%s", harness_apply(h, text));
        assert_string_equal(harness_apply(&other, text), reply);
        if (prng_below(&prng, 20) == 0) {
            sound(h);
            struct machine *copy = harness_copy(other.machine, 1 + (size_t)prng_below(&prng, 200));
            machine_destroy(other.machine);
            other.machine = copy;
            assert_true(machine_digest(copy) == machine_digest(h->machine));
        }
    }
    harness_deinit(&other);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(registered_and_listed),
        CASE(the_same_again_renews),
        CASE(reading_on),
        CASE(ends_with_a_session),
        CASE(malformed),
        CASE(too_long),
        CASE(many),
        CASE(services_are_forgotten),
        CASE(replicas_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
