#include "engine/etcd_verdict.h"

#include <stdio.h>

enum { /* google.golang.org/grpc/codes */
       GRPC_NOT_FOUND = 5,
       GRPC_PERMISSION_DENIED = 7,
       GRPC_RESOURCE_EXHAUSTED = 8,
       GRPC_FAILED_PRECONDITION = 9,
       GRPC_UNIMPLEMENTED = 12,
       GRPC_UNAUTHENTICATED = 16,
};

/* Codes after which nobody knows: cancelled, unknown, deadline, aborted, internal, unavailable (no leader, or it
 * changed while the request was under way). */
static bool is_unsure(int64_t code)
{
    return code == 1 || code == 2 || code == 4 || code == 10 || code == 13 || code == 14;
}

static enum etcd_verdict_kind kind_of(int64_t code, const char *words)
{
    static const struct {
        const char *words;
        enum etcd_verdict_kind kind;
    } known[] = {
        {"requested lease not found", ETCD_NO_LEASE},
        {"lease already exists", ETCD_HAS_LEASE},
        {"authentication is not enabled", ETCD_HAS_NO_AUTH},
        {"invalid user ID or password", ETCD_WRONG_PASSWORD},
        {"user name not found", ETCD_WRONG_PASSWORD},
        {"user name is empty", ETCD_WANTS_TOKEN},
        {"invalid auth token", ETCD_WANTS_TOKEN},
        {"revision of auth store is old", ETCD_WANTS_TOKEN},
        {"permission denied", ETCD_FORBIDDEN},
        {"database space exceeded", ETCD_FULL},
        {"too many requests", ETCD_BUSY},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strstr(words, known[i].words) != NULL) {
            return known[i].kind;
        }
    }
    if (is_unsure(code)) {
        return ETCD_SILENT;
    }
    switch (code) {
    case GRPC_UNAUTHENTICATED: return ETCD_WANTS_TOKEN;
    case GRPC_PERMISSION_DENIED: return ETCD_FORBIDDEN;
    case GRPC_RESOURCE_EXHAUSTED: return ETCD_BUSY;
    case GRPC_UNIMPLEMENTED: return ETCD_IS_OLD;
    default: return ETCD_REFUSING;
    }
}

struct etcd_verdict etcd_judge(long status, struct slice body)
{
    struct etcd_verdict verdict = {.kind = ETCD_IS_OLD};
    json_t *answer = json_loadb((const char *)body.data, body.size, 0, NULL);
    if (!json_is_object(answer)) {
        json_decref(answer);
        verdict.kind = status == 200 || status == 404 ? ETCD_IS_OLD : ETCD_SILENT; /* a proxy's words */
        (void)snprintf(verdict.words, sizeof(verdict.words), "HTTP status %ld", status);
        return verdict;
    }
    const json_t *error = json_object_get(answer, "error");
    if (status == 200 && error == NULL) {
        verdict.kind = ETCD_FINE;
        verdict.answer = answer;
        return verdict;
    }
    bool nested = json_is_object(error); /* in answers that are streams */
    const char *words = json_string_value(nested ? json_object_get(error, "message") : error);
    const json_t *code = nested ? json_object_get(error, "grpc_code") : json_object_get(answer, "code");
    (void)snprintf(verdict.words, sizeof(verdict.words), "%s", words == NULL ? "no words" : words);
    verdict.kind = kind_of(json_integer_value(code), verdict.words);
    json_decref(answer);
    return verdict;
}

enum engine_code etcd_code_of(struct engine *engine, const struct etcd_verdict *verdict, bool silent,
                              const char *endpoint, uint32_t endpoints)
{
    const char *more = endpoints > 1 ? " and the others" : "";
    if (silent && verdict->kind != ETCD_FINE && verdict->kind != ETCD_NO_LEASE && verdict->kind != ETCD_HAS_LEASE) {
        return engine_problem(engine, ENGINE_UNCERTAIN, "%s%s did not answer (%s): it may have been done", endpoint,
                              more, verdict->words);
    }
    switch (verdict->kind) {
    case ETCD_FINE: return ENGINE_OK;
    case ETCD_HAS_LEASE: return ENGINE_OK; /* ids are ours: it was granted the first time */
    case ETCD_NO_LEASE: return ENGINE_NOT;
    case ETCD_UNREACHED:
    case ETCD_SILENT:
        return engine_problem(engine, ENGINE_DOWN, "%s%s: %s; is etcd running there, with a majority?", endpoint, more,
                              verdict->words);
    case ETCD_WANTS_TOKEN:
        return engine_problem(engine, ENGINE_REFUSED,
                              "NOAUTH etcd wants a user and a password: etcd://USER:PASSWORD@%s", endpoint);
    case ETCD_HAS_NO_AUTH:
    case ETCD_WRONG_PASSWORD:
        return engine_problem(engine, ENGINE_REFUSED,
                              "WRONGPASS etcd does not know this user with this password: look at the URL, and at "
                              "`etcdctl user list`");
    case ETCD_FORBIDDEN:
        return engine_problem(engine, ENGINE_REFUSED,
                              "NOPERM this user may not read and write the keys of the URL's prefix: `etcdctl role "
                              "grant-permission ROLE --prefix=true readwrite PREFIX/`");
    case ETCD_FULL:
        return engine_problem(engine, ENGINE_REFUSED,
                              "ERR etcd's database is full (its quota): compact and defragment it, then `etcdctl alarm "
                              "disarm`; nothing was changed");
    case ETCD_BUSY: return engine_problem(engine, ENGINE_BUSY, "%s", verdict->words);
    case ETCD_IS_OLD:
        return engine_problem(engine, ENGINE_REFUSED,
                              "ERR %s is no etcd 3.4 or newer, which have /v3 (%s); look at the URL", endpoint,
                              verdict->words);
    case ETCD_REFUSING: return engine_problem(engine, ENGINE_REFUSED, "ERR etcd says: %s", verdict->words);
    case ETCD_NO_MEMORY: break;
    }
    return engine_problem(engine, ENGINE_BUSY, "memory was refused");
}
