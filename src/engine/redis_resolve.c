#include "engine/redis_resolve.h"

#include <stdlib.h>

/* It may outlive who asked. */
struct redis_resolving {
    struct gaicb request;
    struct gaicb *requests[1];
    struct addrinfo hints;
    struct redis_place place;
};

int redis_resolve(const struct redis_place *place, struct redis_resolving **ret_resolving,
                  struct addrinfo **ret_addresses)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    int code = getaddrinfo(place->host, place->port, &hints, ret_addresses);
    if (code != EAI_NONAME) {
        return code;
    }
    struct redis_resolving *resolving = calloc(1, sizeof(*resolving));
    if (resolving == NULL) {
        return EAI_MEMORY;
    }
    resolving->place = *place;
    resolving->hints = hints;
    resolving->hints.ai_flags = AI_NUMERICSERV;
    resolving->request = (struct gaicb){
        .ar_name = resolving->place.host, .ar_service = resolving->place.port, .ar_request = &resolving->hints};
    resolving->requests[0] = &resolving->request;
    code = getaddrinfo_a(GAI_NOWAIT, resolving->requests, 1, NULL);
    if (code != 0) {
        free(resolving);
        return code;
    }
    *ret_resolving = resolving;
    return EAI_INPROGRESS;
}

int redis_resolve_look(struct redis_resolving **resolving, struct addrinfo **ret_addresses)
{
    int code = gai_error(&(*resolving)->request);
    if (code != EAI_INPROGRESS) {
        *ret_addresses = (*resolving)->request.ar_result;
        free(*resolving);
        *resolving = NULL;
    }
    return code;
}

void redis_resolve_stop(struct redis_resolving **resolving)
{
    struct redis_resolving *stopped = *resolving;
    *resolving = NULL;
    if (stopped == NULL) {
        return;
    }
    int code = gai_error(&stopped->request);
    if (code == EAI_INPROGRESS && gai_cancel(&stopped->request) == EAI_CANCELED) {
        code = EAI_CANCELED;
    }
    if (code == EAI_INPROGRESS) {
        return; /* it cannot be stopped now: its few bytes are the system's */
    }
    if (stopped->request.ar_result != NULL) {
        freeaddrinfo(stopped->request.ar_result);
    }
    free(stopped);
}
