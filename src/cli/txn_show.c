/* cohort txn list, status: a look at transactions. */
#include "cli/cohort_call.h"
#include "cli/table.h"
#include "cli/txn.h"

#include <stdio.h>

enum { SHOWN = 64, PAGE = 1000 };

static int64_t number_of(const struct cohort_reply *map, const char *name)
{
    const struct cohort_reply *reply = cohort_reply_get(map, name);
    return cohort_reply_type(reply) == COHORT_REPLY_NIL ? -1 : cohort_reply_integer(reply);
}

static void set_text(struct table_cell *cell, const struct cohort_reply *reply)
{
    struct cohort_bytes text = cohort_reply_bytes(reply);
    table_set_text(cell, slice_of(text.data, text.size), SHOWN);
}

/* ---- list ---- */

struct list {
    const char *state; /* NULL: any */
    int64_t older_ms;
    bool json;
    json_t *all;
    struct table table;
};

static void take_page(struct list *list, const struct cohort_reply *page)
{
    for (size_t i = 0; i < cohort_reply_count(page); i++) {
        const struct cohort_reply *record = cohort_reply_at(page, i);
        if (list->json) {
            (void)json_array_append_new(list->all, cohort_call_json(record));
            continue;
        }
        struct table_cell *row = table_add_row(&list->table);
        set_text(&row[0], cohort_reply_get(record, "id"));
        set_text(&row[1], cohort_reply_get(record, "protocol"));
        set_text(&row[2], cohort_reply_get(record, "state"));
        set_text(&row[3], cohort_reply_get(record, "outcome"));
        table_set_duration(&row[4], number_of(record, "age_ms"));
    }
    if (!list->json) {
        table_print(&list->table);
    }
}

static enum cohort_status ask_page(struct cohort *cohort, const struct list *list, struct cohort_bytes cursor,
                                   struct cohort_reply **ret_reply)
{
    char older[24];
    char count[24];
    struct cohort_bytes argv[9] = {cohort_text("TXN.LIST")};
    size_t argc = 1;
    if (list->state != NULL) {
        argv[argc++] = cohort_text("STATE");
        argv[argc++] = cohort_text(list->state);
    }
    (void)snprintf(older, sizeof(older), "%lld", (long long)list->older_ms);
    (void)snprintf(count, sizeof(count), "%d", PAGE);
    if (list->older_ms > 0) {
        argv[argc++] = cohort_text("OLDER");
        argv[argc++] = cohort_text(older);
    }
    argv[argc++] = cohort_text("COUNT");
    argv[argc++] = cohort_text(count);
    argv[argc++] = cohort_text("CURSOR");
    argv[argc++] = cursor;
    const struct cohort_call call = {.size = sizeof(call), .flags = COHORT_READ, .key = cohort_bytes_of("", 0)};
    return cohort_command(cohort, argc, argv, &call, ret_reply);
}

static int list_all(const struct cli_command *command, struct cohort *cohort, struct list *list)
{
    char cursor[64] = "0";
    do {
        struct cohort_reply *reply = NULL;
        enum cohort_status status = ask_page(cohort, list, cohort_text(cursor), &reply);
        if (status != COHORT_OK) {
            int code = cohort_call_failed(command, status, reply);
            cohort_reply_free(reply);
            return code;
        }
        (void)snprintf(cursor, sizeof(cursor), "%s", cohort_reply_text(cohort_reply_at(reply, 0)));
        take_page(list, cohort_reply_at(reply, 1));
        cohort_reply_free(reply);
    } while (strcmp(cursor, "0") != 0 && cursor[0] != '\0');
    return EX_OK;
}

static int run_list(const struct cli_command *command, int argc, char **argv)
{
    static const char *const titles[] = {"ID", "PROTOCOL", "STATE", "OUTCOME", "AGE", NULL};
    struct list list = {.table = {.titles = titles}};
    const char *url = NULL;
    const struct cli_option options[] = {
        {"state", CLI_TEXT, &list.state, "STATE", "only those that are BEGUN, OPEN, COMMIT, ABORT or DONE"},
        {"older", CLI_DURATION, &list.older_ms, "DURATION", "only those that began so long ago, or longer"},
        {"json", CLI_FLAG, &list.json, NULL, "print JSON"},
        {"url", CLI_TEXT, &url, "URL", "of the cohort (default cohort://127.0.0.1:6379)"},
        {0},
    };
    struct cli_arguments arguments;
    struct cohort *cohort;
    int code = cli_parse(command, options, argc, argv, &arguments);
    code = code == CLI_CONTINUE ? cohort_call_open(command, url, &cohort) : code;
    if (code != CLI_CONTINUE) {
        return code;
    }
    list.all = list.json ? json_array() : NULL;
    code = list_all(command, cohort, &list);
    if (list.json && code == EX_OK) {
        cohort_call_print_json(json_incref(list.all));
    }
    json_decref(list.all);
    table_deinit(&list.table);
    cohort_close(cohort);
    return code;
}

const struct cli_command cli_txn_list = {
    .name = "txn list",
    .arguments = "",
    .arguments_maximum = 0,
    .summary = "list transactions",
    .details = "The records of all shards, one shard after the other, so not of one moment. What\n"
               "commands and MULTI do over several shards is among them.",
    .examples = "  cohort txn list\n"
                "  cohort txn list --state OPEN --older 1m\n"
                "  cohort txn list --json | jq '.[].id'\n",
    .run = run_list,
};

/* ---- status ---- */

static void print_fields(const struct cohort_reply *record)
{
    for (size_t i = 0; i + 1 < cohort_reply_count(record); i += 2) {
        const struct cohort_reply *value = cohort_reply_at(record, i + 1);
        enum cohort_reply_type type = cohort_reply_type(value);
        struct table_cell cell;
        if (type == COHORT_REPLY_INTEGER) {
            (void)snprintf(cell.text, sizeof(cell.text), "%lld", (long long)cohort_reply_integer(value));
        } else if (type == COHORT_REPLY_STRING && cohort_reply_bytes(value).size > 0) {
            set_text(&cell, value);
        } else {
            continue;
        }
        printf("%-12s %s\n", cohort_reply_text(cohort_reply_at(record, i)), cell.text);
    }
}

static void print_participants(const struct cohort_reply *participants)
{
    static const char *const titles[] = {"PARTICIPANT", "STATE", "AGE", "URL", NULL};
    struct table table = {.titles = titles};
    for (size_t i = 0; i < cohort_reply_count(participants); i++) {
        const struct cohort_reply *each = cohort_reply_at(participants, i);
        const struct cohort_reply *branch = cohort_reply_get(each, "branch");
        struct table_cell *row = table_add_row(&table);
        if (branch != NULL) {
            set_text(&row[0], branch);
        } else {
            (void)snprintf(row[0].text, sizeof(row[0].text), "shard %lld", (long long)number_of(each, "shard"));
        }
        set_text(&row[1], cohort_reply_get(each, "state"));
        table_set_duration(&row[2], number_of(each, "age_ms"));
        set_text(&row[3], cohort_reply_get(each, "url"));
    }
    if (table.rows > 0) {
        printf("\n");
        table_print(&table);
    }
    table_deinit(&table);
}

static int run_status(const struct cli_command *command, int argc, char **argv)
{
    bool json = false;
    const char *url = NULL;
    const struct cli_option options[] = {
        {"json", CLI_FLAG, &json, NULL, "print JSON; null when no such id is known"},
        {"url", CLI_TEXT, &url, "URL", "of the cohort (default cohort://127.0.0.1:6379)"},
        {0},
    };
    struct cli_arguments arguments;
    struct cohort *cohort;
    int code = cli_parse(command, options, argc, argv, &arguments);
    if (code == CLI_CONTINUE && arguments.count == 0) {
        (void)cli_error(command, EX_USAGE, "the id of the transaction is missing");
        code = cli_usage_hint(command);
    }
    code = code == CLI_CONTINUE ? cohort_call_open(command, url, &cohort) : code;
    if (code != CLI_CONTINUE) {
        return code;
    }
    struct cohort_reply *record = NULL;
    enum cohort_status status = cohort_txn_status(cohort, arguments.items[0], &record);
    bool is_record = cohort_reply_type(record) != COHORT_REPLY_ERROR; /* -BUSY is an answer, too */
    bool known = is_record && (status == COHORT_OK || status == COHORT_TXNABORT || status == COHORT_BUSY);
    if (json && (known || status == COHORT_NOTFOUND)) {
        cohort_call_print_json(cohort_call_json(record));
    } else if (known) {
        print_fields(record);
        print_participants(cohort_reply_get(record, "participants"));
    }
    code = known && status == COHORT_OK         ? EX_OK
           : known && status == COHORT_TXNABORT ? TXN_ROLLED_BACK
           : known                              ? TXN_LATER
           : status == COHORT_NOTFOUND
               ? cli_error(command, TXN_UNKNOWN, "no transaction '%s' is known: it never ran, or ended long ago",
                           arguments.items[0])
               : cohort_call_failed(command, status, record);
    cohort_reply_free(record);
    cohort_close(cohort);
    return code;
}

const struct cli_command cli_txn_status = {
    .name = "txn status",
    .arguments = "ID",
    .arguments_maximum = 1,
    .summary = "show what became of a transaction",
    .details = "Exit status: 0 committed, 1 rolled back, 75 under way, 76 no such id is known, 69 no\n"
               "answer, 64 wrong usage.",
    .examples = "  cohort txn status order-17\n"
                "  cohort txn status order-17 --json\n",
    .run = run_status,
};
