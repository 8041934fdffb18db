/* Parts with a library of their own are modules: shared objects that are loaded when a URL first names them, so that
 * libcohort and `cohort` themselves need nothing but the C library.
 *
 * A module is cohort-KIND-NAME.so. It is looked for in the folders of COHORT_ENGINE_PATH (colons between them; not in
 * programs with more rights than their user), beside the library or the program, as they are built in the folder
 * ../KIND from there, and where it was installed. It stays loaded. */
#pragma once

#include <stddef.h>

struct shared_object_kind {
    const char *name;   /* "engine" */
    const char *folder; /* where they are installed */
    const char *symbol; /* what each exports */
};

/* What the module exports; NULL: `problem` has words. */
const void *shared_object_find(const struct shared_object_kind *kind, const char *name, char *problem, size_t capacity);
