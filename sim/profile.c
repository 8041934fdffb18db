#include "profile.h"

#include "base/number.h"
#include "base/prng.h"
#include "base/slice.h"

#include <stdio.h>

static const struct {
    const char *name;
    uint32_t classes;
} class_names[] = {
    {"network", SIM_FAULT_NETWORK}, {"disk", SIM_FAULT_DISK},         {"crash", SIM_FAULT_CRASH},
    {"timing", SIM_FAULT_TIMING},   {"split", SIM_FAULT_SPLIT},       {"blackout", SIM_FAULT_BLACKOUT},
    {"votes", SIM_FAULT_VOTES},     {"comeback", SIM_FAULT_COMEBACK}, {"rot", SIM_FAULT_ROT},
    {"memory", SIM_FAULT_MEMORY},   {"all", SIM_FAULT_ALL},           {"none", 0},
};

enum { CLASS_NAMES = sizeof(class_names) / sizeof(class_names[0]), CLASSES = CLASS_NAMES - 2 };

static const char *const level_names[SIM_LEVELS] = {[SIM_LEVEL_GROUPS] = "groups",
                                                    [SIM_LEVEL_NODES] = "nodes",
                                                    [SIM_LEVEL_PHASES] = "3pc",
                                                    [SIM_LEVEL_TEXTBOOK] = "3pc-no-quorum",
                                                    [SIM_LEVEL_TXN_2PC] = "transaction-2pc",
                                                    [SIM_LEVEL_TXN_3PC] = "transaction-3pc",
                                                    [SIM_LEVEL_EXTERNAL] = "transaction-external"};

const char *sim_level_name(enum sim_level level) { return level_names[level]; }

static bool change_size(struct sim_profile *profile, struct slice word)
{
    const struct {
        const char *name;
        int *value;
        int minimum, maximum;
    } sizes[] = {
        {"members=", &profile->members, 1, SIM_MEMBERS},
        {"groups=", &profile->groups, 1, SIM_GROUPS},
        {"replicas=", &profile->replicas, 1, SIM_MEMBERS},
        {"clients=", &profile->clients, 1, SIM_CLIENTS},
        {"faults=", &profile->faults, 0, SIM_FAULTS},
        {"workers=", &profile->workers, 1, SIM_NODE_WORKERS},
        {"flush=", &profile->flush, 0, 1},
        {"feeds=", &profile->feeds, 0, 1},
        {"scripts=", &profile->scripts, 0, 1},
        {"messages=", &profile->messages, 0, 1},
        {"locks=", &profile->locks, 0, 1},
        {"holders=", &profile->holders, 0, 1},
        {"sessions=", &profile->sessions, 0, 1},
        {"meets=", &profile->meets, 0, 1},
        {"services=", &profile->services, 0, 1},
        {"moves=", &profile->moves, 0, 1},
        {"levels=", &profile->levels, 0, 1},
        {"changes=", &profile->changes, 0, 1},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t size = strlen(sizes[i].name);
        int64_t value = 0;
        if (word.size > size && memcmp(word.data, sizes[i].name, size) == 0) {
            if (!number_parse_int64(slice_of(word.data + size, word.size - size), &value) || value < sizes[i].minimum ||
                value > sizes[i].maximum) {
                return false;
            }
            *sizes[i].value = (int)value;
            return true;
        }
    }
    return false;
}

static bool change_word(struct sim_profile *profile, struct slice word, bool *named)
{
    for (size_t i = 0; i < CLASS_NAMES; i++) {
        if (slice_equal(word, slice_from_string(class_names[i].name))) {
            profile->classes = (*named ? profile->classes : 0) | class_names[i].classes;
            *named = true;
            return true;
        }
    }
    for (int level = 0; level < SIM_LEVELS; level++) {
        if (slice_equal(word, slice_from_string(level_names[level]))) {
            profile->level = (enum sim_level)level;
            return true;
        }
    }
    return slice_equal(word, SLICE_LITERAL("random")) || change_size(profile, word);
}

/* What is drawn is drawn always, so that a word that is given changes nothing else. */
static void draw_all(struct prng *prng, struct sim_profile *profile)
{
    for (int i = 0; i < SIM_FAULT_CLASSES; i++) {
        profile->classes |= prng_chance(prng, 2, 3) ? 1U << i : 0;
    }
    profile->members = prng_chance(prng, 1, 3) ? SIM_MEMBERS : 3;
    profile->groups = 1 + (int)prng_below(prng, 3);
    profile->clients = 2 + (int)prng_below(prng, 7);
    profile->faults = 5 + (int)prng_below(prng, 36);
    profile->level = prng_chance(prng, 1, 8) ? SIM_LEVEL_NODES : SIM_LEVEL_GROUPS;
    for (int i = SIM_FAULT_CLASSES; i < SIM_PLANS_END; i++) {
        profile->classes |= prng_chance(prng, 1, 8) ? 1U << i : 0;
    }
    profile->replicas = prng_chance(prng, 3, 4) ? 3 : SIM_MEMBERS;
    bool many = prng_chance(prng, 1, 10);
    profile->groups = many && profile->level == SIM_LEVEL_NODES ? SIM_GROUPS : profile->groups;
    profile->workers = prng_chance(prng, 1, 2) ? 1 : 2 + (int)prng_below(prng, SIM_NODE_WORKERS - 1);
    profile->classes |= prng_chance(prng, 1, 3) ? SIM_FAULT_ROT : 0;
    profile->classes |= prng_chance(prng, 1, 2) ? SIM_FAULT_MEMORY : 0;
    profile->flush = prng_chance(prng, 1, 8) ? 1 : 0;
    profile->scripts = prng_chance(prng, 1, 4) ? 1 : 0;
    profile->feeds = prng_chance(prng, 1, 3) ? 1 : 0;
    profile->messages = prng_chance(prng, 1, 4) ? 1 : 0;
    profile->locks = prng_chance(prng, 1, 4) ? 1 : 0;
    profile->holders = prng_chance(prng, 1, 4) ? 1 : 0;
    profile->sessions = prng_chance(prng, 1, 4) ? 1 : 0;
    profile->meets = prng_chance(prng, 1, 4) ? 1 : 0;
    profile->moves = prng_chance(prng, 1, 4) ? 1 : 0;
    profile->levels = prng_chance(prng, 1, 4) ? 1 : 0;
    profile->services = prng_chance(prng, 1, 4) ? 1 : 0;
    profile->changes = prng_chance(prng, 1, 4) ? 1 : 0;
}

enum status sim_profile_draw(uint64_t seed, const char *changes, struct sim_profile *ret_profile)
{
    struct prng prng;
    prng_seed(&prng, seed ^ UINT64_C(0x70726f66696c65)); /* a stream of its own */
    struct sim_profile profile = {0};
    draw_all(&prng, &profile);
    bool named = false;
    while (changes != NULL && changes[0] != '\0') {
        size_t size = strcspn(changes, ",");
        if (!change_word(&profile, slice_of(changes, size), &named)) {
            return STATUS_INVALID;
        }
        changes += size + (changes[size] == ',' ? 1 : 0);
    }
    if (profile.level != SIM_LEVEL_NODES && profile.members < 3) {
        return STATUS_INVALID;
    }
    if (profile.level == SIM_LEVEL_NODES) {
        profile.classes &= ~(uint32_t)(SIM_FAULT_VOTES | SIM_FAULT_COMEBACK);
    }
    profile.flush = profile.level == SIM_LEVEL_NODES ? profile.flush : 0;
    profile.feeds = profile.level == SIM_LEVEL_NODES ? profile.feeds : 0;
    profile.scripts = profile.level == SIM_LEVEL_NODES ? profile.scripts : 0;
    profile.messages = profile.level == SIM_LEVEL_NODES ? profile.messages : 0;
    profile.locks = profile.level == SIM_LEVEL_NODES ? profile.locks : 0;
    profile.holders = profile.level == SIM_LEVEL_NODES ? profile.holders : 0;
    profile.sessions = profile.level == SIM_LEVEL_NODES && profile.flush == 0 ? profile.sessions : 0;
    profile.meets = profile.level == SIM_LEVEL_NODES ? profile.meets : 0;
    profile.services = profile.level == SIM_LEVEL_NODES ? profile.services : 0;
    profile.moves = profile.level == SIM_LEVEL_NODES && profile.members > 1 ? profile.moves : 0;
    profile.levels = profile.level == SIM_LEVEL_NODES && profile.flush == 0 ? profile.levels : 0;
    profile.changes = profile.level == SIM_LEVEL_GROUPS ? profile.changes : 0;
    if (profile.level == SIM_LEVEL_GROUPS) {
        profile.classes &= ~(uint32_t)(SIM_FAULT_ROT | SIM_FAULT_MEMORY);
    }
    if (profile.level >= SIM_LEVEL_TXN_2PC) { /* txn_run.h, external_run.h: one size */
        int faults = profile.faults < 2 ? profile.faults : 2;
        profile = (struct sim_profile){.level = profile.level,
                                       .classes = named ? profile.classes & SIM_FAULT_BLACKOUT : 0,
                                       .members = 5,
                                       .groups = 3,
                                       .replicas = 3,
                                       .clients = 1,
                                       .faults = faults,
                                       .workers = 1};
    }
    profile.replicas = profile.replicas < profile.members ? profile.replicas : profile.members;
    *ret_profile = profile;
    return STATUS_OK;
}

void sim_profile_text(const struct sim_profile *profile, char ret_text[SIM_PROFILE_TEXT_BYTES])
{
    char classes[96] = "";
    char of_nodes[160] = "";
    if (profile->level == SIM_LEVEL_NODES) {
        (void)snprintf(of_nodes, sizeof(of_nodes),
                       ",flush=%d,scripts=%d,feeds=%d,messages=%d,locks=%d,holders=%d,sessions=%d,meets=%d,moves=%d,"
                       "levels=%d,services=%d",
                       profile->flush, profile->scripts, profile->feeds, profile->messages, profile->locks,
                       profile->holders, profile->sessions, profile->meets, profile->moves, profile->levels,
                       profile->services);
    }
    if (profile->level == SIM_LEVEL_GROUPS) {
        (void)snprintf(of_nodes, sizeof(of_nodes), ",changes=%d", profile->changes);
    }
    size_t size = 0;
    for (int i = 0; i < CLASSES; i++) {
        if (profile->classes & class_names[i].classes) {
            size += (size_t)snprintf(classes + size, sizeof(classes) - size, "%s,", class_names[i].name);
        }
    }
    (void)snprintf(ret_text, SIM_PROFILE_TEXT_BYTES,
                   "%s,%smembers=%d,groups=%d,replicas=%d,clients=%d,faults=%d,workers=%d%s",
                   level_names[profile->level], size == 0 ? "none," : classes, profile->members, profile->groups,
                   profile->replicas, profile->clients, profile->faults, profile->workers, of_nodes);
}
