/* Engines with a library of their own are modules, cohort-engine-NAME.so: client/shared_object.h. */
#pragma once

#include "engine/engine.h"

/* What a module exports, by this name. */
#define MODULE_SYMBOL "cohort_engine_module"

enum { MODULE_FORM = 2 }; /* grows when struct engine_ops or what it points to changes */

struct engine_module {
    uint32_t form;                        /* MODULE_FORM */
    const struct engine_ops *const *list; /* ends with NULL */
};

/* In the module's own source: MODULE_OF(&engine_a, &engine_b). */
#define MODULE_OF(...)                                                                                                 \
    static const struct engine_ops *const module_list[] = {__VA_ARGS__, NULL};                                         \
    extern const struct engine_module cohort_engine_module;                                                            \
    __attribute__((visibility("default"))) const struct engine_module cohort_engine_module = {MODULE_FORM, module_list}

/* The engine of this scheme in that module. STATUS_UNSUPPORTED with words when it cannot be had. */
MUST_USE enum status module_find(const char *name, const char *scheme, const struct engine_ops **ret_ops,
                                 char ret_problem[static ENGINE_PROBLEM_BYTES]);
