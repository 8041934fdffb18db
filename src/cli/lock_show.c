/* cohort lock info, list, history: a look at locks. */
#include "cli/cohort_call.h"
#include "cli/lock.h"
#include "cli/table.h"

#include <stdio.h>

enum { NAME_SHOWN = 64, OWNER_SHOWN = 64, NOTE_SHOWN = 48 };

struct show {
    const struct cli_command *command;
    struct cohort *cohort;
    const char *word; /* NULL: none was given */
    bool json;
};

static int64_t number_of(const struct cohort_reply *map, const char *name)
{
    return cohort_reply_integer(cohort_reply_get(map, name));
}

static void set_text(struct table_cell *cell, const struct cohort_reply *reply, size_t longest)
{
    struct cohort_bytes text = cohort_reply_bytes(reply);
    table_set_text(cell, slice_of(text.data, text.size), longest);
}

/* Opens, does, closes. */
static int show(const struct cli_command *command, int argc, char **argv, int words_minimum,
                enum cohort_status (*look)(const struct show *show, struct cohort_reply **ret_reply))
{
    struct show how = {.command = command};
    const char *url = NULL;
    const struct cli_option options[] = {
        {"json", CLI_FLAG, &how.json, NULL, "print JSON"},
        {"url", CLI_TEXT, &url, "URL", "of the cohort (default cohort://127.0.0.1:6379)"},
        {0},
    };
    struct cli_arguments arguments;
    int code = cli_parse(command, options, argc, argv, &arguments);
    if (code == CLI_CONTINUE && arguments.count < words_minimum) {
        (void)cli_error(command, EX_USAGE, "the name of the lock is missing");
        return cli_usage_hint(command);
    }
    code = code == CLI_CONTINUE ? cohort_call_open(command, url, &how.cohort) : code;
    if (code != CLI_CONTINUE) {
        return code;
    }
    how.word = arguments.count > 0 ? arguments.items[0] : NULL;
    struct cohort_reply *reply = NULL;
    enum cohort_status status = look(&how, &reply);
    code = status == COHORT_OK ? EX_OK : cohort_call_failed(command, status, reply);
    cohort_reply_free(reply);
    cohort_close(how.cohort);
    return code;
}

/* ---- info ---- */

static void print_holders(const struct cohort_reply *holders)
{
    static const char *const titles[] = {"OWNER", "TOKEN", "PERMITS", "HELD", "LEFT", "CLIENT", "NOTE", NULL};
    struct table table = {.titles = titles};
    for (size_t i = 0; i < cohort_reply_count(holders); i++) {
        const struct cohort_reply *holder = cohort_reply_at(holders, i);
        struct table_cell *row = table_add_row(&table);
        set_text(&row[0], cohort_reply_get(holder, "owner"), OWNER_SHOWN);
        table_set_number(&row[1], number_of(holder, "token"));
        table_set_number(&row[2], number_of(holder, "permits"));
        table_set_duration(&row[3], number_of(holder, "held_ms"));
        table_set_duration(&row[4], number_of(holder, "ttl_ms"));
        set_text(&row[5], cohort_reply_get(holder, "client"), OWNER_SHOWN);
        set_text(&row[6], cohort_reply_get(holder, "note"), NOTE_SHOWN);
    }
    table_print(&table);
    table_deinit(&table);
}

static void print_waiters(const struct cohort_reply *waiters)
{
    static const char *const titles[] = {"WAITS", "MODE", "PERMITS", "FOR", NULL};
    struct table table = {.titles = titles};
    for (size_t i = 0; i < cohort_reply_count(waiters); i++) {
        const struct cohort_reply *waiter = cohort_reply_at(waiters, i);
        struct table_cell *row = table_add_row(&table);
        set_text(&row[0], cohort_reply_get(waiter, "owner"), OWNER_SHOWN);
        set_text(&row[1], cohort_reply_get(waiter, "mode"), NAME_SHOWN);
        table_set_number(&row[2], number_of(waiter, "permits"));
        table_set_duration(&row[3], number_of(waiter, "waited_ms"));
    }
    table_print(&table);
    table_deinit(&table);
}

static void print_info(const struct show *show, const struct cohort_reply *info)
{
    struct table_cell name;
    struct table_cell mode;
    const struct cohort_reply *holders = cohort_reply_get(info, "holders");
    const struct cohort_reply *waiters = cohort_reply_get(info, "waiters");
    table_set_text(&name, slice_from_string(show->word), NAME_SHOWN);
    set_text(&mode, cohort_reply_get(info, "mode"), NAME_SHOWN);
    printf("%s: %s", name.text, mode.text);
    if (number_of(info, "limit") > 0) {
        printf(" of %lld", (long long)number_of(info, "limit"));
    }
    printf("\n");
    if (cohort_reply_count(holders) > 0) {
        printf("\n");
        print_holders(holders);
    }
    if (cohort_reply_count(waiters) > 0) {
        printf("\n");
        print_waiters(waiters);
    }
}

static enum cohort_status look_info(const struct show *show, struct cohort_reply **ret_reply)
{
    enum cohort_status status = cohort_lock_info(show->cohort, cohort_text(show->word), ret_reply);
    if (status == COHORT_OK && show->json) {
        cohort_call_print_json(cohort_call_json(*ret_reply));
    } else if (status == COHORT_OK) {
        print_info(show, *ret_reply);
    }
    return status;
}

/* ---- list ---- */

struct list {
    const struct show *show;
    struct table table;
    size_t count; /* printed as JSON; nothing is printed before the first page has come */
};

static void list_row(struct list *list, const struct cohort_reply *name, const struct cohort_reply *info)
{
    const struct cohort_reply *holders = cohort_reply_get(info, "holders");
    const struct cohort_reply *first = cohort_reply_at(holders, 0);
    struct table_cell *row = table_add_row(&list->table);
    set_text(&row[0], name, NAME_SHOWN);
    set_text(&row[1], cohort_reply_get(info, "mode"), NAME_SHOWN);
    table_set_number(&row[2], (int64_t)cohort_reply_count(holders));
    table_set_number(&row[3], (int64_t)cohort_reply_count(cohort_reply_get(info, "waiters")));
    table_set_duration(&row[4], first == NULL ? -1 : number_of(first, "ttl_ms"));
    set_text(&row[5], cohort_reply_get(first, "owner"), OWNER_SHOWN);
    set_text(&row[6], cohort_reply_get(first, "note"), NOTE_SHOWN);
}

static void list_json(struct list *list, const struct cohort_reply *name, const struct cohort_reply *info)
{
    json_t *json = json_object();
    json_t *rest = cohort_call_json(info);
    (void)json_object_set_new(json, "name", cohort_call_json(name));
    (void)json_object_update(json, rest);
    json_decref(rest);
    printf("%s\n", list->count++ == 0 ? "[" : ",");
    (void)json_dumpf(json, stdout, JSON_ENSURE_ASCII);
    json_decref(json);
}

/* One that was released meanwhile is left out. */
static enum cohort_status list_lock(struct list *list, const struct cohort_reply *name, struct cohort_reply **ret_reply)
{
    struct cohort_reply *info = NULL;
    enum cohort_status status = cohort_lock_info(list->show->cohort, cohort_reply_bytes(name), &info);
    if (status != COHORT_OK) {
        *ret_reply = info;
        return status;
    }
    if (cohort_reply_count(cohort_reply_get(info, "holders")) > 0) {
        (list->show->json ? list_json : list_row)(list, name, info);
    }
    cohort_reply_free(info);
    return COHORT_OK;
}

/* A thousand names, about: as many rows are measured together. */
static enum cohort_status next_page(const struct list *list, const char *cursor, struct cohort_reply **ret_reply)
{
    const char *pattern = list->show->word == NULL ? "*" : list->show->word;
    const struct cohort_bytes argv[] = {cohort_text("LOCK.LIST"), cohort_text("MATCH"), cohort_text(pattern),
                                        cohort_text("COUNT"),     cohort_text("1000"),  cohort_text("CURSOR"),
                                        cohort_text(cursor)};
    const struct cohort_call call = {.flags = COHORT_READ};
    return cohort_command(list->show->cohort, sizeof(argv) / sizeof(argv[0]), argv, &call, ret_reply);
}

static enum cohort_status list_page(struct list *list, const struct cohort_reply *names,
                                    struct cohort_reply **ret_reply)
{
    for (size_t i = 0; i < cohort_reply_count(names); i++) {
        enum cohort_status status = list_lock(list, cohort_reply_at(names, i), ret_reply);
        if (status != COHORT_OK) {
            return status;
        }
    }
    if (!list->show->json && list->table.rows > 0) {
        table_print(&list->table);
    }
    return COHORT_OK;
}

static enum cohort_status list_pages(struct list *list, struct cohort_reply **ret_reply)
{
    char cursor[32] = "0";
    do {
        struct cohort_reply *page = NULL;
        enum cohort_status status = next_page(list, cursor, &page);
        if (status != COHORT_OK) {
            *ret_reply = page;
            return status;
        }
        (void)snprintf(cursor, sizeof(cursor), "%s", cohort_reply_text(cohort_reply_at(page, 0)));
        status = list_page(list, cohort_reply_at(page, 1), ret_reply);
        cohort_reply_free(page);
        if (status != COHORT_OK) {
            return status;
        }
    } while (strcmp(cursor, "0") != 0);
    return COHORT_OK;
}

static enum cohort_status look_list(const struct show *show, struct cohort_reply **ret_reply)
{
    static const char *const titles[] = {"NAME", "MODE", "HOLDERS", "WAITING", "LEFT", "OWNER", "NOTE", NULL};
    struct list list = {.show = show, .table = {.titles = titles}};
    enum cohort_status status = list_pages(&list, ret_reply);
    if (show->json && (list.count > 0 || status == COHORT_OK)) {
        printf("%s]\n", list.count > 0 ? "\n" : "[");
    }
    table_deinit(&list.table);
    return status;
}

/* ---- history ---- */

static void print_history(const struct cohort_reply *grants)
{
    static const char *const titles[] = {"OWNER", "TOKEN", "HELD", "ENDED", NULL};
    struct table table = {.titles = titles};
    for (size_t i = 0; i < cohort_reply_count(grants); i++) {
        const struct cohort_reply *grant = cohort_reply_at(grants, i);
        struct table_cell *row = table_add_row(&table);
        set_text(&row[0], cohort_reply_get(grant, "owner"), OWNER_SHOWN);
        table_set_number(&row[1], number_of(grant, "token"));
        table_set_duration(&row[2], number_of(grant, "to") - number_of(grant, "from"));
        set_text(&row[3], cohort_reply_get(grant, "why"), NAME_SHOWN);
    }
    if (table.rows > 0) {
        table_print(&table);
    }
    table_deinit(&table);
}

static enum cohort_status look_history(const struct show *show, struct cohort_reply **ret_reply)
{
    const struct cohort_bytes argv[] = {cohort_text("LOCK.HISTORY"), cohort_text(show->word)};
    const struct cohort_call call = {.flags = COHORT_READ};
    enum cohort_status status = cohort_command(show->cohort, 2, argv, &call, ret_reply);
    if (status == COHORT_OK && show->json) {
        cohort_call_print_json(cohort_call_json(*ret_reply));
    } else if (status == COHORT_OK) {
        print_history(*ret_reply);
    }
    return status;
}

/* ---- the commands ---- */

static int run_info(const struct cli_command *command, int argc, char **argv)
{
    return show(command, argc, argv, 1, look_info);
}

static int run_list(const struct cli_command *command, int argc, char **argv)
{
    return show(command, argc, argv, 0, look_list);
}

static int run_history(const struct cli_command *command, int argc, char **argv)
{
    return show(command, argc, argv, 1, look_history);
}

const struct cli_command cli_lock_info = {
    .name = "lock info",
    .arguments = "NAME",
    .arguments_maximum = 1,
    .summary = "show who holds a lock, and who waits for it",
    .examples = "  cohort lock info nightly\n"
                "  cohort lock info nightly --json\n",
    .run = run_info,
};

const struct cli_command cli_lock_list = {
    .name = "lock list",
    .arguments = "[PATTERN]",
    .arguments_maximum = 1,
    .summary = "list the locks that are held",
    .details = "The pattern is as that of KEYS: * for any text, ? for any byte. LEFT and OWNER are of the\n"
               "first holder. It is no look at one moment.",
    .examples = "  cohort lock list\n"
                "  cohort lock list 'job:*' --json\n",
    .run = run_list,
};

const struct cli_command cli_lock_history = {
    .name = "lock history",
    .arguments = "NAME",
    .arguments_maximum = 1,
    .summary = "show the last grants of a lock that ended, the newest first",
    .examples = "  cohort lock history nightly\n"
                "  cohort lock history nightly --json\n",
    .run = run_history,
};
