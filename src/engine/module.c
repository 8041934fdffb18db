#include "engine/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef ENGINE_FOLDER
#define ENGINE_FOLDER "/usr/lib/cohort"
#endif

static void *try_path(const char *path, char problem[static ENGINE_PROBLEM_BYTES])
{
    if (access(path, F_OK) != 0) {
        return NULL;
    }
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL) {
        const char *why = dlerror();
        (void)snprintf(problem, ENGINE_PROBLEM_BYTES, "%.300s", why == NULL ? path : why);
    }
    return module;
}

static void *try_folder(struct slice folder, const char *name, char problem[static ENGINE_PROBLEM_BYTES])
{
    char path[PATH_MAX];
    int size =
        snprintf(path, sizeof(path), "%.*s/cohort-engine-%s.so", (int)folder.size, (const char *)folder.data, name);
    bool fits = folder.size > 0 && size > 0 && (size_t)size < sizeof(path);
    return fits ? try_path(path, problem) : NULL;
}

/* The folders of COHORT_ENGINE_PATH. */
static void *try_named(const char *name, char problem[static ENGINE_PROBLEM_BYTES])
{
    const char *at = secure_getenv("COHORT_ENGINE_PATH");
    void *module = NULL;
    while (at != NULL && module == NULL) {
        const char *end = strchr(at, ':');
        module = try_folder(end == NULL ? slice_from_string(at) : slice_of(at, (size_t)(end - at)), name, problem);
        at = end == NULL ? NULL : end + 1;
    }
    return module;
}

/* Where this code is: libcohort, or a program that has it in itself; as they are built, that is in another folder. */
static void *try_beside(const char *name, char problem[static ENGINE_PROBLEM_BYTES])
{
    Dl_info found;
    char folder[PATH_MAX];
    char own[PATH_MAX];
    if (dladdr((const void *)(uintptr_t)&module_find, &found) == 0 || realpath(found.dli_fname, own) == NULL) {
        ssize_t size = readlink("/proc/self/exe", own, sizeof(own) - 1);
        own[size < 0 ? 0 : size] = '\0';
    }
    char *slash = strrchr(own, '/');
    if (slash == NULL) {
        return NULL;
    }
    *slash = '\0';
    void *module = try_folder(slice_from_string(own), name, problem);
    const char *const rooms[] = {"engine", name};
    for (size_t i = 0; i < 2 && module == NULL; i++) {
        int size = snprintf(folder, sizeof(folder), "%s/../%s", own, rooms[i]);
        bool fits = size > 0 && (size_t)size < sizeof(folder);
        module = fits ? try_folder(slice_from_string(folder), name, problem) : NULL;
    }
    return module;
}

enum status module_find(const char *name, const char *scheme, const struct engine_ops **ret_ops,
                        char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    ret_problem[0] = '\0';
    void *module = try_named(name, ret_problem);
    module = module == NULL ? try_beside(name, ret_problem) : module;
    module = module == NULL ? try_folder(slice_from_string(ENGINE_FOLDER), name, ret_problem) : module;
    if (module == NULL && ret_problem[0] == '\0') {
        (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES,
                       "cohort-engine-%s.so is not there: it is built when its library is (meson configure "
                       "-D%s=enabled), and looked for in COHORT_ENGINE_PATH, beside libcohort and in " ENGINE_FOLDER,
                       name, name);
    }
    if (module == NULL) {
        return STATUS_UNSUPPORTED;
    }
    const struct engine_module *exported = dlsym(module, MODULE_SYMBOL);
    for (size_t i = 0; exported != NULL && exported->form == MODULE_FORM && exported->list[i] != NULL; i++) {
        if (strcmp(exported->list[i]->scheme, scheme) == 0) {
            *ret_ops = exported->list[i];
            return STATUS_OK;
        }
    }
    (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "cohort-engine-%s.so is of another version of libcohort", name);
    return STATUS_UNSUPPORTED;
}
