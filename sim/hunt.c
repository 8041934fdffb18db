#include "hunt.h"

#include "base/assert.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A run that takes so much of the processor never ends; virtual minutes take less than a second. Not of real time: a
 * machine that is asleep or busy with other work would stop runs that are well. */
enum { RUN_SECONDS = 60 };

static int64_t now_ns(clockid_t clock)
{
    struct timespec time;
    (void)clock_gettime(clock, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void guard_run(void)
{
    (void)setitimer(ITIMER_PROF, &(struct itimerval){.it_value = {.tv_sec = RUN_SECONDS}}, NULL);
}

static void add(struct sim_result *sum, const struct sim_result *one)
{
    for (int i = 0; i < SIM_MARKS; i++) {
        sum->marks[i] += one->marks[i];
    }
    sum->virtual_ns += one->virtual_ns;
    sum->acknowledged += one->acknowledged;
    sum->returned += one->returned;
    sum->uncertain += one->uncertain;
    sum->reads += one->reads;
    sum->leaders += one->leaders;
    sum->messages += one->messages;
    sum->undecided += one->undecided;
    sum->trace ^= one->trace;
}

static void run_seeds(const struct sim_hunt *hunt, struct sim_hunt_result *result)
{
    for (uint64_t i = 0; i < hunt->count && !result->last.failed; i++) {
        if (hunt->until_ns != 0 && now_ns(CLOCK_MONOTONIC) >= hunt->until_ns) {
            break;
        }
        result->seed = hunt->first_seed + i * hunt->step;
        result->seeds++;
        struct sim_profile profile;
        ASSERT(sim_profile_draw(result->seed, hunt->profile_changes, &profile) == STATUS_OK);
        guard_run();
        int64_t began_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID);
        sim_run(result->seed, &profile, hunt->mutation, NULL, &result->last);
        struct sim_level_sum *sum = &result->levels[profile.level];
        sum->seeds++;
        sum->processor_ns += now_ns(CLOCK_PROCESS_CPUTIME_ID) - began_ns;
        add(&sum->result, &result->last);
    }
}

/* Reads the last line of what the child said. */
static void take_last_words(FILE *words, const char *otherwise, char *ret_text, size_t capacity)
{
    char line[256];
    (void)snprintf(ret_text, capacity, "%s", otherwise);
    rewind(words);
    while (fgets(line, sizeof(line), words) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] != '\0') {
            (void)snprintf(ret_text, capacity, "%.200s", line);
        }
    }
}

enum status sim_hunt_run(const struct sim_hunt *hunt, struct sim_hunt_result *ret_result)
{
    struct sim_hunt_result *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    FILE *words = tmpfile();
    if (shared == MAP_FAILED || words == NULL) {
        return STATUS_IO;
    }
    memset(shared, 0, sizeof(*shared));
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(fileno(words), STDERR_FILENO);
        run_seeds(hunt, shared);
        _exit(0);
    }
    int status = 0;
    enum status result = child > 0 && waitpid(child, &status, 0) == child ? STATUS_OK : STATUS_IO;
    *ret_result = *shared;
    if (result == STATUS_OK && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        ret_result->last = (struct sim_result){.failed = true};
        bool late = WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF;
        take_last_words(words, late ? "the run did not end" : "the process died", ret_result->last.failure,
                        sizeof(ret_result->last.failure));
    }
    (void)fclose(words);
    (void)munmap(shared, sizeof(*shared));
    return result;
}

void sim_run_guarded(uint64_t seed, const struct sim_profile *profile, const struct sim_mutation *mutation,
                     struct sim_result *ret_result)
{
    char text[SIM_PROFILE_TEXT_BYTES];
    sim_profile_text(profile, text);
    struct sim_hunt hunt = {.first_seed = seed, .count = 1, .step = 1, .profile_changes = text, .mutation = mutation};
    struct sim_hunt_result result;
    ASSERT(sim_hunt_run(&hunt, &result) == STATUS_OK);
    *ret_result = result.last;
}

/* ---- making it smaller ---- */

enum { SMALLER_SIZES = 6, SMALLER_WAYS = SMALLER_SIZES + 10 };

/* The `way`-th smaller profile; false when it is not smaller. */
static bool smaller(const struct sim_profile *from, int way, struct sim_profile *ret_profile)
{
    *ret_profile = *from;
    switch (way) {
    case 0: ret_profile->faults = from->faults / 2; break;
    case 1: ret_profile->faults = from->faults * 4 / 5; break;
    case 2: ret_profile->groups = 1; break;
    case 3: ret_profile->members = from->members < 3 ? from->members : 3; break;
    case 4: ret_profile->replicas = from->members < 3 ? from->members : 3; break;
    case 5: ret_profile->clients = (from->clients + 1) / 2; break;
    default: ret_profile->classes &= ~(1U << (way - SMALLER_SIZES)); break;
    }
    return memcmp(ret_profile, from, sizeof(*from)) != 0;
}

int sim_shrink(uint64_t seed, const struct sim_mutation *mutation, struct sim_profile *profile,
               struct sim_result *result)
{
    int runs = 0;
    for (int way = 0; way < SMALLER_WAYS;) {
        struct sim_profile candidate;
        struct sim_result outcome = {0};
        if (smaller(profile, way, &candidate)) {
            runs++;
            sim_run_guarded(seed, &candidate, mutation, &outcome);
        }
        if (outcome.failed) {
            *profile = candidate;
            *result = outcome;
            way = 0;
        } else {
            way++;
        }
    }
    return runs;
}
