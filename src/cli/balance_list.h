/* The backends of `cohort balance`: those of --backend, and a line each of the file --backends, read again on SIGHUP.
 *
 *   HOST:PORT[,weight=N][,zone=ZONE][,drain]
 *
 * In the file, blank lines and what follows a # are left out. A host name is resolved whenever the list is made. */
#pragma once

#include "proxy/proxy.h"

enum { BALANCE_FILE_MAXIMUM_BYTES = 1 << 20 };

struct balance_sources {
    const char *given[PROXY_MAXIMUM_BACKENDS]; /* borrowed */
    uint32_t given_count;
    const char *path; /* NULL: no file */
};

struct balance_list {
    char *text; /* the file's; listings point into it, and into sources->given */
    uint32_t count;
    struct proxy_backend backends[PROXY_MAXIMUM_BACKENDS];
};

/* CLI_CONTINUE, or the exit code of an error that it has told. Names take a while to resolve. */
int balance_list_make(const struct balance_sources *sources, struct balance_list **ret_list);
/* NULL is harmless. */
void balance_list_destroy(struct balance_list *list);
/* Those that `list` has and `other` does not, by their ids. */
uint32_t balance_list_count_besides(const struct balance_list *list, const struct balance_list *other);
