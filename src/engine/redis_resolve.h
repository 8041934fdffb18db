/* Addresses of names, found by a thread of the C library's (getaddrinfo_a), since what asks a name server may take
 * longer than a caller has. What is an address already is there at once. */
#pragma once

#include "engine/redis_url.h"

#include <netdb.h>

struct redis_resolving;

/* EAI_INPROGRESS: *ret_resolving is to be looked at. 0: *ret_addresses is the caller's (freeaddrinfo). */
int redis_resolve(const struct redis_place *place, struct redis_resolving **ret_resolving,
                  struct addrinfo **ret_addresses);

/* As above; when it is done *resolving is NULL. */
int redis_resolve_look(struct redis_resolving **resolving, struct addrinfo **ret_addresses);

/* NULL may be in it, and is in it afterwards. */
void redis_resolve_stop(struct redis_resolving **resolving);
