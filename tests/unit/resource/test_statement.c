#include "resource/statement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_ends_the_transaction(void **unused)
{
    static const char *const bad[] = {
        "COMMIT",
        "commit and chain",
        " ; COMMIT",
        "\n\tEnd",
        "ROLLBACK TO a",
        "-- words\nCOMMIT",
        "/* a */ COMMIT",
        "/* a */-- b\n/**/;;begin",
        "ABORT",
        "START TRANSACTION",
        "SAVEPOINT a",
        "RELEASE a",
        "prepare /* x */ transaction 'y'",
        "",
        "  ",
        "-- nothing",
        "/* not closed",
        ";",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_non_null(statement_problem(STATEMENT_POSTGRESQL, bad[i]));
        assert_non_null(statement_problem(STATEMENT_MARIADB, bad[i]));
    }
    assert_non_null(statement_problem(STATEMENT_POSTGRESQL, "/* a /* b */ c */ COMMIT"));
    assert_non_null(statement_problem(STATEMENT_POSTGRESQL, "COPY a FROM STDIN"));
    assert_non_null(statement_problem(STATEMENT_MARIADB, "/*!50000 COMMIT */"));
    assert_non_null(statement_problem(STATEMENT_MARIADB, "/*M!100100 XA END 'a' */"));
    assert_non_null(statement_problem(STATEMENT_MARIADB, "# words\nCOMMIT"));
    assert_non_null(statement_problem(STATEMENT_MARIADB, "xa end 'a'"));
    assert_non_null(statement_problem(STATEMENT_MARIADB, "CREATE TABLE a (b INT)"));
    assert_non_null(statement_problem(STATEMENT_MARIADB, "Truncate a"));
}

static void test_may_be_sent(void **unused)
{
    static const char *const good[] = {
        "UPDATE a SET b = 'COMMIT'",
        "(SELECT 1)",
        "COMMITMENT",
        "INSERT INTO a VALUES ('-- ')",
        "WITH a AS (SELECT 1) …",
        "PREPARE a AS …",
        "/* COMMIT */ DELETE FROM a",
        "-- COMMIT\nSELECT 1",
        "endless",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_null(statement_problem(STATEMENT_POSTGRESQL, good[i]));
        assert_null(statement_problem(STATEMENT_MARIADB, good[i]));
    }
    assert_null(statement_problem(STATEMENT_POSTGRESQL, "CREATE TABLE a (b INT)"));
    assert_null(statement_problem(STATEMENT_MARIADB, "CREATE TEMPORARY TABLE a (b INT)"));
    assert_null(statement_problem(STATEMENT_MARIADB, "/* a /* b */ SELECT 1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ends_the_transaction), cmocka_unit_test(test_may_be_sent)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
