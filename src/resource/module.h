/* Resources are modules, cohort-resource-NAME.so (client/shared_object.h): a program needs a database's library only
 * when it uses that database. */
#pragma once

#include "resource/resource.h"

/* What a module exports, by this name. */
#define RESOURCE_MODULE_SYMBOL "cohort_resource_module"

enum { RESOURCE_MODULE_FORM = 1 }; /* grows when struct resource_ops or what it points to changes */

struct resource_module {
    uint32_t form;                          /* RESOURCE_MODULE_FORM */
    const struct resource_ops *const *list; /* ends with NULL */
};

/* In the module's own source: RESOURCE_MODULE_OF(&resource_a, &resource_b). */
#define RESOURCE_MODULE_OF(...)                                                                                        \
    static const struct resource_ops *const module_list[] = {__VA_ARGS__, NULL};                                       \
    extern const struct resource_module cohort_resource_module;                                                        \
    __attribute__((visibility("default")))                                                                             \
    const struct resource_module cohort_resource_module = {RESOURCE_MODULE_FORM, module_list}
