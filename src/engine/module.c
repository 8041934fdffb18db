#include "engine/module.h"

#include "client/shared_object.h"

#include <stdio.h>

#ifndef ENGINE_FOLDER
#define ENGINE_FOLDER "/usr/lib/cohort"
#endif

enum status module_find(const char *name, const char *scheme, const struct engine_ops **ret_ops,
                        char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    static const struct shared_object_kind kind = {"engine", ENGINE_FOLDER, MODULE_SYMBOL};
    const struct engine_module *exported = shared_object_find(&kind, name, ret_problem, ENGINE_PROBLEM_BYTES);
    if (ret_problem[0] != '\0') {
        return STATUS_UNSUPPORTED;
    }
    for (size_t i = 0; exported != NULL && exported->form == MODULE_FORM && exported->list[i] != NULL; i++) {
        if (strcmp(exported->list[i]->scheme, scheme) == 0) {
            *ret_ops = exported->list[i];
            return STATUS_OK;
        }
    }
    (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "cohort-engine-%s.so is of another version of libcohort", name);
    return STATUS_UNSUPPORTED;
}
