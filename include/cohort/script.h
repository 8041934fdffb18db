/* Lua scripts on the server: sent once, then run by their digest.
 *
 * A script must not end with an error of its own that begins with BUSY or CLUSTERDOWN, words by which the server says
 * that a command was not executed. Calls of scripts are not sent again after these. */
#ifndef COHORT_SCRIPT_H
#define COHORT_SCRIPT_H

#include <cohort/client.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cohort_script;

enum {
    COHORT_SCRIPT_READ_ONLY = 1 << 0, /* EVAL_RO: it changes nothing, and may be sent again */
};

/* A script in the program's memory, for any number of handles and threads. The text is copied. COHORT_NOMEM. */
COHORT_API enum cohort_status cohort_script_create(const char *text, unsigned flags, struct cohort_script **ret_script);

/* Calls of it that are under way are not touched. NULL is fine. */
COHORT_API void cohort_script_free(struct cohort_script *script);

/* Runs it: EVALSHA, or EVAL where it is not known. */
COHORT_API enum cohort_status cohort_script_run(struct cohort *cohort, struct cohort_script *script, size_t key_count,
                                                const struct cohort_bytes *keys, size_t argument_count,
                                                const struct cohort_bytes *arguments, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_script_run_start(struct cohort *cohort, struct cohort_script *script,
                                                      size_t key_count, const struct cohort_bytes *keys,
                                                      size_t argument_count, const struct cohort_bytes *arguments,
                                                      cohort_callback callback, void *data);

#ifdef __cplusplus
}
#endif

#endif
