#include "resource/statement.h"

#include <ctype.h>

enum { WORD_BYTES = 16 };

/* Behind a comment of several lines; PostgreSQL's may stand in each other. */
static const char *skip_comment(enum statement_dialect dialect, const char *at)
{
    int depth = 0;
    while (*at != '\0') {
        if (strncmp(at, "/*", 2) == 0 && (depth == 0 || dialect == STATEMENT_POSTGRESQL)) {
            depth++;
            at += 2;
        } else if (strncmp(at, "*/", 2) == 0) {
            at += 2;
            if (--depth == 0) {
                return at;
            }
        } else {
            at++;
        }
    }
    return at;
}

/* What stands before the first word: spaces, semicolons, comments. MariaDB executes what is in its own kind of comment
 * (as in C, with an exclamation mark and perhaps a version), so there the word is looked for within. */
static const char *skip_space(enum statement_dialect dialect, const char *at)
{
    for (;;) {
        bool is_mariadb = dialect == STATEMENT_MARIADB;
        if (isspace((unsigned char)*at) || *at == ';') {
            at++;
        } else if (strncmp(at, "--", 2) == 0 || (is_mariadb && *at == '#')) {
            at += strcspn(at, "\n");
        } else if (is_mariadb && (strncmp(at, "/*!", 3) == 0 || strncmp(at, "/*M!", 4) == 0)) {
            at += at[2] == 'M' ? 4 : 3;
            at += strspn(at, "0123456789");
        } else if (strncmp(at, "/*", 2) == 0) {
            at = skip_comment(dialect, at);
        } else {
            return at;
        }
    }
}

static const char *take_word(enum statement_dialect dialect, const char *at, char ret_word[static WORD_BYTES])
{
    size_t size = 0;
    at = skip_space(dialect, at);
    while (isalpha((unsigned char)*at) || *at == '_') {
        if (size + 1 < WORD_BYTES) {
            ret_word[size++] = (char)toupper((unsigned char)*at);
        }
        at++;
    }
    ret_word[size] = '\0';
    return at;
}

static bool is_one_of(const char *word, const char *const *words)
{
    while (*words != NULL && strcmp(word, *words) != 0) {
        words++;
    }
    return *words != NULL;
}

const char *statement_problem(enum statement_dialect dialect, const char *text)
{
    static const char *const ends[] = {"BEGIN", "START",     "COMMIT",  "END", "ROLLBACK",
                                       "ABORT", "SAVEPOINT", "RELEASE", NULL};
    static const char *const implicit[] = {"ALTER",  "DROP",  "TRUNCATE", "RENAME", "GRANT",
                                           "REVOKE", "LOCK",  "UNLOCK",   "FLUSH",  "ANALYZE",
                                           "CHECK",  "RESET", "OPTIMIZE", "REPAIR", NULL};
    char word[WORD_BYTES];
    char next[WORD_BYTES];
    const char *rest = take_word(dialect, text, word);
    (void)take_word(dialect, rest, next);
    if (word[0] == '\0' && *skip_space(dialect, text) == '\0') {
        return "the statement is empty";
    }
    if (is_one_of(word, ends) || (strcmp(word, "PREPARE") == 0 && strcmp(next, "TRANSACTION") == 0) ||
        (dialect == STATEMENT_MARIADB && strcmp(word, "XA") == 0)) {
        return "statements may not begin or end transactions or savepoints: the transaction is cohort's, and ends here "
               "as it does everywhere";
    }
    if (strcmp(word, "COPY") == 0 && dialect == STATEMENT_POSTGRESQL) {
        return "COPY wants a stream of data: use INSERT, or COPY into a table before, and move it from there";
    }
    bool creates = strcmp(word, "CREATE") == 0 && strcmp(next, "TEMPORARY") != 0;
    if (dialect == STATEMENT_MARIADB && (is_one_of(word, implicit) || creates)) {
        return "MariaDB commits before this kind of statement, so it cannot stand in a transaction";
    }
    return NULL;
}
