#include "engine/redis_error.h"

#include <stdio.h>
#include <string.h>

/* Both old servers, which put a script's error behind words of their own, and new ones, which put them behind it. */
enum engine_code redis_error(const char *scheme, const char *text, char *ret_problem, size_t size)
{
    static const struct {
        const char *word;
        enum engine_code code;
        const char *prefix, *next;
    } known[] = {
        {"NOAUTH", ENGINE_REFUSED, "NOAUTH ", "give the password: user:password@host, or ?password-file="},
        {"WRONGPASS", ENGINE_REFUSED, "WRONGPASS ", "the user or the password is wrong"},
        {"invalid password", ENGINE_REFUSED, "WRONGPASS ", "the password is wrong"},
        {"executing the script can't", ENGINE_REFUSED, "NOPERM ",
         "the user needs the rights that docs/engines.md names"},
        {"NOPERM", ENGINE_REFUSED, "NOPERM ", "the user needs the rights that docs/engines.md names"},
        {"WRONGTYPE", ENGINE_REFUSED, "WRONGTYPE ", "the key of that name is no lock; use another name"},
        {"CROSSSLOT", ENGINE_REFUSED, "UNSUPPORTED ", "Redis Cluster is not supported; use a server without it"},
        {"MOVED", ENGINE_REFUSED, "UNSUPPORTED ", "Redis Cluster is not supported; use a server without it"},
        {"without any password configured", ENGINE_REFUSED, "WRONGPASS ", "the server has no password; give none"},
        {"READONLY", ENGINE_DOWN, "", "it is a replica; give the primary's address"},
        {"MASTERDOWN", ENGINE_DOWN, "", "it is a replica; give the primary's address"},
        {"LOADING", ENGINE_DOWN, "", "the server is starting; try again"},
        {"CLUSTERDOWN", ENGINE_DOWN, "", "Redis Cluster is not supported; use a server without it"},
        {"max number of clients", ENGINE_BUSY, "", "raise maxclients, or use fewer connections"},
        {"OOM", ENGINE_BUSY, "", "the server is at maxmemory; make room there"},
        {"MISCONF", ENGINE_BUSY, "", "the server cannot save its data; look at its log"},
        {"NOREPLICAS", ENGINE_BUSY, "", "the server wants replicas before it writes"},
        {"non deterministic", ENGINE_REFUSED, "UNSUPPORTED ", "Redis 5 or later is needed"},
        {"BUSY", ENGINE_BUSY, "", "somebody's script runs there; try again"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strstr(text, known[i].word) != NULL) {
            (void)snprintf(ret_problem, size, "%s%s%s%s (%.80s)", known[i].prefix,
                           known[i].code == ENGINE_REFUSED ? scheme : "", known[i].code == ENGINE_REFUSED ? ": " : "",
                           known[i].next, text);
            return known[i].code;
        }
    }
    (void)snprintf(ret_problem, size, "ERR %s: the server says: %.120s", scheme, text);
    return ENGINE_REFUSED;
}
