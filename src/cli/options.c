/* Options and help texts of the subcommands. */
#include "base/assert.h"
#include "base/number.h"
#include "base/units.h"
#include "cli/cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { NAMES_MAXIMUM = 64, SUGGEST_DISTANCE = 2, SUGGEST_BYTES = 32 };

int cli_error(const struct cli_command *command, int exit_code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fprintf(stderr, "cohort %s: ", command->name);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
    return exit_code;
}

int cli_usage_hint(const struct cli_command *command)
{
    (void)fprintf(stderr, "try: cohort %s --help\n", command->name);
    return EX_USAGE;
}

/* Edits (insert, delete, replace) from a to b; Wagner and Fischer, 1974. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[SUGGEST_BYTES + 1];
    size_t width = strlen(b);
    for (size_t j = 0; j <= width; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < width; j++) {
            size_t replace = diagonal + (a[i] != b[j]);
            size_t step = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            diagonal = row[j + 1];
            row[j + 1] = replace < step ? replace : step;
        }
    }
    return row[width];
}

const char *cli_suggest(const char *word, const char *const *names)
{
    const char *best = NULL;
    size_t best_distance = SUGGEST_DISTANCE + 1;
    for (; *names != NULL; names++) {
        if (strlen(*names) > SUGGEST_BYTES || strlen(word) > SUGGEST_BYTES) {
            continue;
        }
        bool begins = strlen(word) >= 3 && strncmp(*names, word, strlen(word)) == 0;
        size_t distance = begins ? 1 : edit_distance(word, *names);
        if (distance < best_distance && distance < strlen(*names)) {
            best_distance = distance;
            best = *names;
        }
    }
    return best;
}

static size_t print_option(const char *name, const char *placeholder, const char *help, size_t width)
{
    char left[96];
    int size = snprintf(left, sizeof(left), "--%s%s%s", name, placeholder == NULL ? "" : " ",
                        placeholder == NULL ? "" : placeholder);
    if (help != NULL) {
        printf("  %-*s  %s\n", (int)width, left, help);
    }
    return (size_t)size;
}

static void print_help(const struct cli_command *command, const struct cli_option *options)
{
    printf("usage: cohort %s [OPTION …]%s%s\n\n", command->name, command->arguments[0] == '\0' ? "" : " ",
           command->arguments);
    printf("%s\n", command->summary);
    if (command->details != NULL) {
        printf("\n%s\n", command->details);
    }
    size_t width = 0;
    for (const struct cli_option *option = options; option->name != NULL; option++) {
        size_t size = print_option(option->name, option->placeholder, NULL, 0);
        width = size > width ? size : width;
    }
    printf("\noptions:\n");
    for (const struct cli_option *option = options; option->name != NULL; option++) {
        (void)print_option(option->name, option->placeholder, option->help, width);
    }
    (void)print_option("help", NULL, "this text", width);
    printf("\nexamples:\n%s\n", command->examples);
}

static int bad_value(const struct cli_command *command, const struct cli_option *option, const char *text,
                     const char *expected)
{
    (void)cli_error(command, EX_USAGE, "--%s: '%s' is not %s", option->name, text, expected);
    return cli_usage_hint(command);
}

/* As it would be written on the command line. */
static void put_bound(const struct cli_option *option, int64_t value, char ret_text[static UNITS_TEXT_BYTES])
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    size_t i = 0;
    if (option->kind != CLI_DURATION || value == 0) {
        (void)snprintf(ret_text, UNITS_TEXT_BYTES, "%" PRId64, value);
        return;
    }
    while (value % units[i].ms != 0) {
        i++;
    }
    (void)snprintf(ret_text, UNITS_TEXT_BYTES, "%" PRId64 "%s", value / units[i].ms, units[i].name);
}

static int out_of_range(const struct cli_command *command, const struct cli_option *option, const char *text)
{
    char least[UNITS_TEXT_BYTES];
    char most[UNITS_TEXT_BYTES];
    put_bound(option, option->minimum, least);
    put_bound(option, option->maximum, most);
    if (option->maximum > 0) {
        return cli_error(command, EX_USAGE, "--%s: '%s' is not between %s and %s", option->name, text, least, most);
    }
    return cli_error(command, EX_USAGE, "--%s: '%s' is too small: at least %s", option->name, text, least);
}

static int set_value(const struct cli_command *command, const struct cli_option *option, const char *text)
{
    int64_t value = 0;
    switch (option->kind) {
    case CLI_FLAG: UNREACHABLE();
    case CLI_TEXT: *(const char **)option->value = text; return CLI_CONTINUE;
    case CLI_EACH: {
        const struct cli_each *each = option->value;
        return each->take(command, each->data, text);
    }
    case CLI_NUMBER:
        if (!number_parse_int64(slice_from_string(text), &value)) {
            return bad_value(command, option, text, "a whole number");
        }
        break;
    case CLI_DURATION:
        if (!units_parse_duration(slice_from_string(text), &value)) {
            return bad_value(command, option, text, "a duration like 250ms, 10s or 5m");
        }
        break;
    case CLI_SIZE:
        if (!units_parse_size(slice_from_string(text), &value)) {
            return bad_value(command, option, text, "a size like 100, 64kb or 1gb");
        }
        break;
    }
    if (value < option->minimum || (option->maximum > 0 && value > option->maximum)) {
        return out_of_range(command, option, text);
    }
    *(int64_t *)option->value = value;
    return CLI_CONTINUE;
}

static int unknown_option(const struct cli_command *command, const struct cli_option *options, const char *name)
{
    const char *names[NAMES_MAXIMUM];
    int count = 0;
    for (; options[count].name != NULL; count++) {
        ASSERT(count < NAMES_MAXIMUM - 1);
        names[count] = options[count].name;
    }
    names[count] = NULL;
    const char *meant = cli_suggest(name, names);
    if (meant != NULL) {
        return cli_error(command, EX_USAGE, "unknown option --%s; did you mean --%s?", name, meant);
    }
    (void)cli_error(command, EX_USAGE, "unknown option --%s", name);
    return cli_usage_hint(command);
}

/* Takes the option at argv[*at], and its value. */
static int take_option(const struct cli_command *command, const struct cli_option *options, int argc, char **argv,
                       int *at)
{
    char name[64];
    const char *text = argv[*at] + 2;
    const char *equals = strchr(text, '=');
    size_t size = equals == NULL ? strlen(text) : (size_t)(equals - text);
    if (size >= sizeof(name)) {
        return unknown_option(command, options, text);
    }
    memcpy(name, text, size);
    name[size] = '\0';
    const struct cli_option *option = options;
    while (option->name != NULL && strcmp(option->name, name) != 0) {
        option++;
    }
    if (option->name == NULL) {
        return unknown_option(command, options, name);
    }
    if (option->kind == CLI_FLAG) {
        if (equals != NULL) {
            return cli_error(command, EX_USAGE, "--%s takes no value", name);
        }
        *(bool *)option->value = true;
        return CLI_CONTINUE;
    }
    if (equals != NULL) {
        return set_value(command, option, equals + 1);
    }
    if (*at + 1 == argc) {
        return cli_error(command, EX_USAGE, "--%s needs a value: --%s %s", name, name, option->placeholder);
    }
    return set_value(command, option, argv[++*at]);
}

int cli_parse(const struct cli_command *command, const struct cli_option *options, int argc, char **argv,
              struct cli_arguments *ret_arguments)
{
    struct cli_arguments arguments = {0};
    for (int at = 0; at < argc; at++) {
        if (strcmp(argv[at], "--") == 0) {
            arguments.rest = argv + at + 1;
            arguments.rest_count = argc - at - 1;
            break;
        }
        if (strcmp(argv[at], "--help") == 0) {
            print_help(command, options);
            return EX_OK;
        }
        if (strncmp(argv[at], "--", 2) == 0) {
            int code = take_option(command, options, argc, argv, &at);
            if (code != CLI_CONTINUE) {
                return code;
            }
        } else if (argv[at][0] == '-' && argv[at][1] != '\0') {
            (void)cli_error(command, EX_USAGE, "unknown option %s; options are long: --name", argv[at]);
            return cli_usage_hint(command);
        } else if (arguments.count == command->arguments_maximum) {
            (void)cli_error(command, EX_USAGE, "unexpected argument '%s'", argv[at]);
            return cli_usage_hint(command);
        } else {
            arguments.items[arguments.count++] = argv[at];
        }
    }
    *ret_arguments = arguments;
    return CLI_CONTINUE;
}
