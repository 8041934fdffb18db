#include "client/shared_object.h"

#include "base/slice.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct search {
    const struct shared_object_kind *kind;
    const char *name;
    char *problem; /* of what was there and could not be loaded */
    size_t capacity;
};

static void *try_path(const struct search *search, const char *path)
{
    if (access(path, F_OK) != 0) {
        return NULL;
    }
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL) {
        const char *why = dlerror();
        (void)snprintf(search->problem, search->capacity, "%.300s", why == NULL ? path : why);
    }
    return module;
}

static void *try_folder(const struct search *search, struct slice folder)
{
    char path[PATH_MAX];
    int size = snprintf(path, sizeof(path), "%.*s/cohort-%s-%s.so", (int)folder.size, (const char *)folder.data,
                        search->kind->name, search->name);
    bool fits = folder.size > 0 && size > 0 && (size_t)size < sizeof(path);
    return fits ? try_path(search, path) : NULL;
}

/* The folders of COHORT_ENGINE_PATH. */
static void *try_named(const struct search *search)
{
    const char *at = secure_getenv("COHORT_ENGINE_PATH");
    void *module = NULL;
    while (at != NULL && module == NULL) {
        const char *end = strchr(at, ':');
        module = try_folder(search, end == NULL ? slice_from_string(at) : slice_of(at, (size_t)(end - at)));
        at = end == NULL ? NULL : end + 1;
    }
    return module;
}

/* Where this code is: libcohort, or a program that has it in itself; as they are built, that is in another folder. */
static void *try_beside(const struct search *search)
{
    Dl_info found;
    char folder[PATH_MAX];
    char own[PATH_MAX];
    if (dladdr((const void *)(uintptr_t)&shared_object_find, &found) == 0 || realpath(found.dli_fname, own) == NULL) {
        ssize_t size = readlink("/proc/self/exe", own, sizeof(own) - 1);
        own[size < 0 ? 0 : size] = '\0';
    }
    char *slash = strrchr(own, '/');
    if (slash == NULL) {
        return NULL;
    }
    *slash = '\0';
    void *module = try_folder(search, slice_from_string(own));
    const char *const rooms[] = {search->kind->name, search->name};
    for (size_t i = 0; i < 2 && module == NULL; i++) {
        int size = snprintf(folder, sizeof(folder), "%s/../%s", own, rooms[i]);
        bool fits = size > 0 && (size_t)size < sizeof(folder);
        module = fits ? try_folder(search, slice_from_string(folder)) : NULL;
    }
    return module;
}

const void *shared_object_find(const struct shared_object_kind *kind, const char *name, char *problem, size_t capacity)
{
    struct search search = {.kind = kind, .name = name, .problem = problem, .capacity = capacity};
    problem[0] = '\0';
    void *module = try_named(&search);
    module = module == NULL ? try_beside(&search) : module;
    module = module == NULL ? try_folder(&search, slice_from_string(kind->folder)) : module;
    if (module == NULL && problem[0] == '\0') {
        (void)snprintf(problem, capacity,
                       "cohort-%s-%s.so is not there: it is built when its library is (meson configure -D%s=enabled), "
                       "and looked for in COHORT_ENGINE_PATH, beside libcohort and in %s",
                       kind->name, name, name, kind->folder);
    }
    if (module == NULL) {
        return NULL;
    }
    problem[0] = '\0';
    return dlsym(module, kind->symbol);
}
