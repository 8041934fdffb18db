#include "embedded/settings.h"

#include "base/number.h"
#include "cluster/slot.h"

#include <stdio.h>

/* Of a listener, or of those who come by it. */
static const char *const not_here[] = {"maxclients", "metrics", "protected-mode", "requirepass"};

static bool is_here(const char *name)
{
    for (size_t i = 0; i < sizeof(not_here) / sizeof(not_here[0]); i++) {
        if (strcmp(name, not_here[i]) == 0) {
            return false;
        }
    }
    return true;
}

static enum status refuse(char problem[static ENGINE_PROBLEM_BYTES], struct slice name, const char *why)
{
    (void)snprintf(problem, ENGINE_PROBLEM_BYTES, "option %.*s: %s", (int)(name.size < 64 ? name.size : 64),
                   (const char *)name.data, why);
    return STATUS_INVALID;
}

static bool take_choice(struct slice value, bool *ret_yes)
{
    *ret_yes = slice_equal(value, SLICE_LITERAL("yes"));
    return *ret_yes || slice_equal(value, SLICE_LITERAL("no"));
}

static bool take_shards(struct slice value, uint32_t *ret_shards)
{
    int64_t shards = 0;
    bool sound = number_parse_int64(value, &shards) && shards >= 1 && shards <= SLOT_MAXIMUM_SHARDS;
    *ret_shards = sound ? (uint32_t)shards : 0;
    return sound;
}

static bool take_log(struct slice value, struct embedded_settings *settings)
{
    bool sound = value.size > 0 && value.data[0] == '/' && value.size < sizeof(settings->log);
    if (sound) {
        memcpy(settings->log, value.data, value.size);
        settings->log[value.size] = '\0';
    }
    return sound;
}

/* Whether it is no setting of the node. */
static bool is_own(struct slice name)
{
    static const char *const own[] = {"create", "local", "log", "shards"};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (slice_equal(name, slice_from_string(own[i]))) {
            return true;
        }
    }
    return false;
}

static enum status check_setting(struct slice asked, char problem[static ENGINE_PROBLEM_BYTES])
{
    const char *name = NULL;
    if (config_find(asked, false, &name) != CONFIG_SET || !is_here(name)) {
        return refuse(problem, asked,
                      "there is none of this name; there are timeout, create, local, log, shards, and the settings of "
                      "`cohort serve --help` that are not about its listener");
    }
    return STATUS_OK;
}

static enum status take_option(const struct engine_option *option, struct embedded_settings *settings,
                               char problem[static ENGINE_PROBLEM_BYTES])
{
    if (slice_equal(option->name, SLICE_LITERAL("create"))) {
        return take_choice(option->value, &settings->create) ? STATUS_OK
                                                             : refuse(problem, option->name, "yes or no is needed");
    }
    if (slice_equal(option->name, SLICE_LITERAL("local"))) {
        return take_choice(option->value, &settings->local) ? STATUS_OK
                                                            : refuse(problem, option->name, "yes or no is needed");
    }
    if (slice_equal(option->name, SLICE_LITERAL("log"))) {
        return take_log(option->value, settings)
                   ? STATUS_OK
                   : refuse(problem, option->name, "the whole path of a file is needed, such as /var/log/app-cohort");
    }
    if (slice_equal(option->name, SLICE_LITERAL("shards"))) {
        char why[64];
        (void)snprintf(why, sizeof(why), "a number from 1 to %d is needed", SLOT_MAXIMUM_SHARDS);
        return take_shards(option->value, &settings->shards) ? STATUS_OK : refuse(problem, option->name, why);
    }
    return check_setting(option->name, problem);
}

/* Whether it is about the node, and not about the way to it. */
static bool is_said(struct slice name)
{
    return !slice_equal(name, SLICE_LITERAL("create")) && !slice_equal(name, SLICE_LITERAL("local"));
}

static bool say(const struct engine_option *option, struct embedded_settings *settings)
{
    size_t used = strlen(settings->said);
    size_t wanted = option->name.size + option->value.size + 2;
    if (used + wanted >= sizeof(settings->said)) {
        return false;
    }
    char *at = settings->said + used;
    memcpy(at, option->name.data, option->name.size);
    at += option->name.size;
    *at++ = '=';
    memcpy(at, option->value.data, option->value.size);
    at += option->value.size;
    memcpy(at, "&", sizeof("&"));
    return true;
}

static enum status take_options(const struct engine_url *url, struct embedded_settings *settings,
                                char problem[static ENGINE_PROBLEM_BYTES])
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < url->option_count && status == STATUS_OK; i++) {
        status = take_option(&url->options[i], settings, problem);
        if (status == STATUS_OK && is_said(url->options[i].name) && !say(&url->options[i], settings)) {
            status = refuse(problem, url->options[i].name, "the options are too long together");
        }
    }
    return status;
}

enum status embedded_settings_parse(const struct engine_url *url, struct embedded_settings *ret_settings,
                                    char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    if (url->place.size == 0 || url->place.data[0] != '/' || url->place.size >= sizeof(ret_settings->folder)) {
        (void)snprintf(
            ret_problem, ENGINE_PROBLEM_BYTES,
            "embedded:// wants the whole path of a folder: embedded:///var/lib/app; for what need not outlive "
            "the machine's power one on tmpfs, such as /dev/shm/app");
        return STATUS_INVALID;
    }
    *ret_settings = (struct embedded_settings){.create = true};
    memcpy(ret_settings->folder, url->place.data, url->place.size);
    ret_settings->folder[url->place.size] = '\0';
    return take_options(url, ret_settings, ret_problem);
}

enum status embedded_settings_configure(const struct engine_url *url, struct config *config,
                                        char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    for (uint32_t i = 0; i < url->option_count; i++) {
        const struct engine_option *option = &url->options[i];
        char why[CONFIG_MESSAGE_BYTES] = "";
        if (!is_own(option->name) && config_set(config, option->name, option->value, false, why) != CONFIG_SET) {
            return refuse(ret_problem, option->name, why);
        }
    }
    return STATUS_OK;
}
