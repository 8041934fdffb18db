/* cohort sim: many seeds of the simulator, one seed again, and a picture of it. */
#include "base/assert.h"
#include "cli/cli.h"
#include "sim/hunt.h"

#include <stdio.h>
#include <time.h>

enum { DEFAULT_COUNT = 400, LONG_RUN_SEEDS = 200, PICTURE_MS = 2500, NS_PER_MS = 1000000 };

struct settings {
    int64_t seed, count, hours, from_ms, for_ms;
    const char *profile, *html, *sequence, *history;
    bool log;
};

static int64_t now_ns(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void print_level(enum sim_level level, const struct sim_level_sum *sum)
{
    const struct sim_result *result = &sum->result;
    double cost = (double)sum->processor_ns / 1e9 + 1e-6;
    printf("%s: %llu seeds, %.2f virtual hours: %.1f seeds per second and core, %.0f virtual hours per hour and core\n",
           sim_level_name(level), (unsigned long long)sum->seeds, (double)result->virtual_ns / 3.6e12,
           (double)sum->seeds / cost, (double)result->virtual_ns / 1e9 / cost);
    printf("  %llu requests acknowledged, %llu refused, %llu uncertain; %llu leaders, %llu messages; trace %016llx\n",
           (unsigned long long)result->acknowledged, (unsigned long long)result->returned,
           (unsigned long long)result->uncertain, (unsigned long long)result->leaders,
           (unsigned long long)result->messages, (unsigned long long)result->trace);
    if (result->undecided != 0) {
        printf("  %llu histories were too hard to judge\n", (unsigned long long)result->undecided);
    }
}

/* Draws all that there is, of one level at least. */
static bool is_unchanged(const char *profile)
{
    return strcmp(profile, "random") == 0 || strcmp(profile, "groups") == 0 || strcmp(profile, "nodes") == 0;
}

/* False when a long run with all kinds of faults missed one. */
static bool print_marks(const struct sim_hunt_result *result, const bool wanted[SIM_LEVELS])
{
    bool reached_all = true;
    for (int level = 0; level < SIM_LEVELS; level++) {
        const struct sim_level_sum *sum = &result->levels[level];
        if (sum->seeds == 0) {
            continue;
        }
        print_level((enum sim_level)level, sum);
        for (int i = 0; i < SIM_MARKS; i++) {
            if (sim_mark_level((enum sim_mark)i) == (enum sim_level)level) {
                uint64_t times = sum->result.marks[i];
                bool missed = times == 0 && wanted[level];
                reached_all = reached_all && !missed;
                printf("  %8llu  %s%s\n", (unsigned long long)times, sim_mark_name((enum sim_mark)i),
                       missed ? "   MISSED" : "");
            }
        }
    }
    return reached_all;
}

static void print_line(void *owner, int64_t at_ns, int node, const char *text)
{
    (void)owner;
    printf("%10.6f  ", (double)at_ns / 1e9);
    printf(node < 0 ? "all     " : "node %-2d ", node + 1);
    printf("%s\n", text);
}

static bool is_recorded(const struct settings *settings)
{
    return settings->html != NULL || settings->sequence != NULL || settings->history != NULL || settings->log;
}

static int write_file(const struct cli_command *command, const char *path, const struct buffer *content)
{
    FILE *file = fopen(path, "we");
    bool written = file != NULL && fwrite(content->data, 1, content->size, file) == content->size;
    written = file != NULL && fclose(file) == 0 && written;
    if (!written) {
        return cli_error(command, EX_CANTCREAT, "cannot write %s", path);
    }
    printf("%s is written\n", path);
    return EX_OK;
}

/* The run once more, with a recorder, in this process: a broken assertion would lose what is recorded, so then the
 * picture ends where the guarded run says it failed. */
static int record(const struct cli_command *command, const struct settings *settings, uint64_t seed,
                  const struct sim_profile *profile, const struct sim_result *result)
{
    int64_t from_ms = settings->from_ms;
    if (from_ms < 0) {
        from_ms = result->failed ? result->virtual_ns / NS_PER_MS - settings->for_ms * 9 / 10 : 0;
        from_ms = from_ms < 0 ? 0 : from_ms;
    }
    struct buffer html = {0};
    struct buffer history = {0};
    struct sim_record recorder = {
        .diagram = diagram_create(profile->members, profile->level == SIM_LEVEL_NODES ? profile->clients : 0,
                                  profile->groups, from_ms * NS_PER_MS, (from_ms + settings->for_ms) * NS_PER_MS),
        .sequence = settings->sequence == NULL ? NULL : sequence_create(),
        .history = &history,
        .line = settings->log ? print_line : NULL,
    };
    struct sim_result again;
    sim_run(seed, profile, NULL, &recorder, &again);
    char text[SIM_PROFILE_TEXT_BYTES];
    char title[SIM_PROFILE_TEXT_BYTES + 300];
    sim_profile_text(profile, text);
    (void)snprintf(title, sizeof(title), "cohort sim --seed %llu --profile %s: %s", (unsigned long long)seed, text,
                   again.failed ? again.failure : "no failure");
    diagram_write(recorder.diagram, title, &html);
    diagram_destroy(recorder.diagram);
    int code = settings->html == NULL ? EX_OK : write_file(command, settings->html, &html);
    if (code == EX_OK && settings->sequence != NULL) {
        buffer_clear(&html);
        sequence_write(recorder.sequence, title, &html);
        code = write_file(command, settings->sequence, &html);
    }
    sequence_destroy(recorder.sequence);
    if (code == EX_OK && settings->history != NULL) {
        code = write_file(command, settings->history, &history);
    }
    buffer_deinit(&html);
    buffer_deinit(&history);
    return code;
}

static int report_failure(const struct cli_command *command, const struct settings *settings,
                          const struct sim_hunt_result *result)
{
    struct sim_profile profile;
    char text[SIM_PROFILE_TEXT_BYTES];
    struct sim_result smaller = result->last;
    ASSERT(sim_profile_draw(result->seed, settings->profile, &profile) == STATUS_OK);
    sim_profile_text(&profile, text);
    (void)fprintf(
        stderr, "cohort sim: seed %llu failed: %s\n  version: %s\n  replay:  cohort sim --seed %llu --profile %s\n",
        (unsigned long long)result->seed, result->last.failure, COHORT_VERSION, (unsigned long long)result->seed, text);
    int runs = sim_shrink(result->seed, NULL, &profile, &smaller);
    sim_profile_text(&profile, text);
    (void)fprintf(stderr, "  smaller (after %d runs): %s\n  replay:  cohort sim --seed %llu --profile %s\n", runs,
                  smaller.failure, (unsigned long long)result->seed, text);
    if (is_recorded(settings)) {
        sim_run_guarded(result->seed, &profile, NULL, &smaller);
        if (smaller.virtual_ns == 0) {
            (void)cli_error(command, EX_SOFTWARE, "nothing is recorded: the run aborts");
        } else if (record(command, settings, result->seed, &profile, &smaller) != EX_OK) {
            return EX_CANTCREAT;
        }
    }
    return EX_SOFTWARE;
}

static uint64_t arbitrary_seed(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_REALTIME, &time);
    return (uint64_t)time.tv_sec * 1000000; /* so that long runs on other days see other seeds */
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct settings settings = {.seed = -1, .count = 0, .from_ms = -1, .for_ms = PICTURE_MS, .profile = "random"};
    const struct cli_option options[] = {
        {"seed", CLI_NUMBER, &settings.seed, "N", "run this seed, or begin with it (default: 1; with --hours another)",
         0, 0},
        {"count", CLI_NUMBER, &settings.count, "N", "so many seeds (default: 400; with --seed 1)", 1, 0},
        {"hours", CLI_NUMBER, &settings.hours, "H", "run seeds for so many hours", 1, 1000},
        {"profile", CLI_TEXT, &settings.profile, "TEXT", "what kind of worlds: words separated by commas", 0, 0},
        {"html", CLI_TEXT, &settings.html, "FILE", "draw the run, or the one that failed", 0, 0},
        {"sequence", CLI_TEXT, &settings.sequence, "FILE", "draw its transaction as a sequence diagram, an SVG", 0, 0},
        {"history", CLI_TEXT, &settings.history, "FILE", "write what its clients saw, for cohort check", 0, 0},
        {"log", CLI_FLAG, &settings.log, NULL, "print what happens in it, and the logs of its nodes", 0, 0},
        {"from", CLI_DURATION, &settings.from_ms, "DURATION", "where the picture begins (default: the failure, or 0s)",
         0, 0},
        {"for", CLI_DURATION, &settings.for_ms, "DURATION", "how much of the run it shows (default: 2500ms)", 1,
         600000},
        {NULL, CLI_FLAG, NULL, NULL, NULL, 0, 0},
    };
    struct cli_arguments arguments;
    int code = cli_parse(command, options, argc, argv, &arguments);
    if (code != CLI_CONTINUE) {
        return code;
    }
    struct sim_profile profile;
    if (sim_profile_draw(0, settings.profile, &profile) != STATUS_OK) {
        return cli_error(command, EX_USAGE, "--profile: '%s' is none; see --help", settings.profile);
    }
    int64_t began_ns = now_ns();
    struct sim_hunt hunt = {.step = 1, .profile_changes = settings.profile};
    hunt.first_seed = settings.seed >= 0 ? (uint64_t)settings.seed : settings.hours > 0 ? arbitrary_seed() : 1;
    hunt.until_ns = settings.hours > 0 ? began_ns + settings.hours * 3600 * 1000000000 : 0;
    hunt.count = settings.count > 0   ? (uint64_t)settings.count
                 : settings.hours > 0 ? UINT64_MAX
                 : settings.seed >= 0 ? 1
                                      : DEFAULT_COUNT;
    struct sim_hunt_result result;
    if (sim_hunt_run(&hunt, &result) != STATUS_OK) {
        return cli_error(command, EX_OSERR, "cannot start a process for the runs");
    }
    bool wanted[SIM_LEVELS];
    for (int level = 0; level < SIM_LEVELS; level++) {
        wanted[level] = result.levels[level].seeds >= LONG_RUN_SEEDS && is_unchanged(settings.profile);
    }
    bool reached = print_marks(&result, wanted);
    printf("%llu seeds in %.1f s\n", (unsigned long long)result.seeds, (double)(now_ns() - began_ns) / 1e9);
    if (result.last.failed) {
        (void)fflush(stdout);
        return report_failure(command, &settings, &result);
    }
    if (is_recorded(&settings)) {
        ASSERT(sim_profile_draw(result.seed, settings.profile, &profile) == STATUS_OK);
        code = record(command, &settings, result.seed, &profile, &result.last);
        if (code != EX_OK) {
            return code;
        }
    }
    return reached ? EX_OK : cli_error(command, EX_SOFTWARE, "a long run must reach everything at least once");
}

const struct cli_command cli_sim = {
    .name = "sim",
    .arguments = "",
    .summary = "run clusters under faults in the simulator",
    .details = "Each seed is a small world on virtual time: nodes (or groups of members alone) that crash,\n"
               "disks that fail, a network that loses, clients whose every answer is checked. The same seed\n"
               "is the same world, event by event. A failure prints the seed, makes the world smaller while\n"
               "it still fails, and says how to replay it.\n"
               "\n"
               "A profile names a level (nodes, groups; 3pc: three-phase commit alone; 3pc-no-quorum: the same\n"
               "without its quorums, which fails; transaction-2pc, transaction-3pc: one transaction over three\n"
               "shards of five nodes, with up to two crashes at any step; transaction-external: the same with\n"
               "participants that are not Cohort's), classes of faults (network, disk,\n"
               "crash, timing, split, blackout, votes, comeback, rot, memory, all, none) and sizes (members=\n"
               "groups= replicas= clients= faults= workers= flush= scripts= feeds= messages= locks= holders=\n"
               "sessions=).\n"
               "What it does not name is drawn from the seed.",
    .examples = "  cohort sim\n"
                "  cohort sim --hours 1\n"
                "  cohort sim --seed 7 --html seven.html --log\n"
                "  cohort sim --count 1000 --profile nodes,network,crash,members=5\n"
                "  cohort sim --seed 1 --profile transaction-3pc,faults=0 --sequence commit.svg\n",
    .run = run,
};
