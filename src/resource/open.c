/* resource_open: which module a URL means. */
#include "client/shared_object.h"
#include "resource/module.h"

#include <stdio.h>

#ifndef RESOURCE_FOLDER
#define RESOURCE_FOLDER "/usr/lib/cohort"
#endif

static const struct {
    const char *scheme, *module;
} known[] = {
    {"postgresql", "postgresql"}, {"postgres", "postgresql"}, {"mariadb", "mariadb"},
    {"mysql", "mariadb"},         {"http", "http"},           {"https", "http"},
};

static const struct resource_ops *find(const struct resource_module *module, const char *scheme)
{
    for (size_t i = 0; module != NULL && module->form == RESOURCE_MODULE_FORM && module->list[i] != NULL; i++) {
        if (strcmp(module->list[i]->scheme, scheme) == 0) {
            return module->list[i];
        }
    }
    return NULL;
}

enum status resource_open(const char *url, struct resource **ret_resource,
                          char ret_problem[static RESOURCE_PROBLEM_BYTES])
{
    static const struct shared_object_kind kind = {"resource", RESOURCE_FOLDER, RESOURCE_MODULE_SYMBOL};
    size_t at = 0;
    size_t count = sizeof(known) / sizeof(known[0]);
    while (at < count && (strncmp(url, known[at].scheme, strlen(known[at].scheme)) != 0 ||
                          strncmp(url + strlen(known[at].scheme), "://", 3) != 0)) {
        at++;
    }
    if (at == count) {
        (void)snprintf(ret_problem, RESOURCE_PROBLEM_BYTES,
                       "there are postgresql://, mariadb://, http:// and https://, and cohort:// for a cohort itself");
        return STATUS_INVALID;
    }
    const struct resource_module *module =
        shared_object_find(&kind, known[at].module, ret_problem, RESOURCE_PROBLEM_BYTES);
    if (ret_problem[0] != '\0') {
        return STATUS_UNSUPPORTED;
    }
    const struct resource_ops *ops = find(module, known[at].scheme);
    if (ops == NULL) {
        (void)snprintf(ret_problem, RESOURCE_PROBLEM_BYTES, "cohort-resource-%s.so is of another version of cohort",
                       known[at].module);
        return STATUS_UNSUPPORTED;
    }
    return ops->open(url, ret_resource, ret_problem);
}
