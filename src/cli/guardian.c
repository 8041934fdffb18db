#include "cli/guardian.h"

#include "cli/descendants.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    KILL_AGAIN_MS = 5, /* who was born while the others were killed */
    PATIENCE_MAXIMUM_MS = 60000,
    CANNOT_RUN = 126,
    NOT_FOUND = 127,
    SIGNALLED = 128,
};

static const int64_t GIVE_UP = INT64_MIN;

/* What the holder asks for. */
enum asks { ASK_SIGNAL, ASK_LOST };

struct asking {
    int asks;
    int signal_number;
};

/* The guardian's own view. */
struct watch {
    struct guardian_page *page;
    int channel;
    int signals;
    int timer;
    pid_t command;
    int64_t grace_ns;
    int64_t margin_ns;
    int64_t kill_ns; /* INT64_MAX while running */
};

static int64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- the command ---- */

__attribute__((noreturn)) static void become_command(const struct guardian_options *options, struct guardian_page *page,
                                                     pid_t parent)
{
    /* The second look is for a guardian that went before the first line took effect. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent) {
        (void)sigprocmask(SIG_SETMASK, options->mask, NULL);
        (void)execvp(options->argv[0], options->argv);
        atomic_store(&page->exec_errno, errno);
    }
    _exit(NOT_FOUND);
}

/* ---- the guardian ---- */

static int64_t last_moment(const struct watch *watch)
{
    return atomic_load(&watch->page->valid_until_ns) - watch->margin_ns;
}

/* How many it reached. */
static size_t signal_all(const struct watch *watch, int signal_number)
{
    pid_t refused;
    size_t count = descendants_signal(getpid(), signal_number, &refused);
    atomic_store(&watch->page->refused_pid, refused);
    return count;
}

/* SIGTERM now and SIGKILL by then. */
static void begin_end(struct watch *watch, int64_t kill_ns)
{
    if (watch->kill_ns == INT64_MAX) {
        (void)signal_all(watch, SIGTERM);
        (void)signal_all(watch, SIGCONT); /* one that is stopped could not hear it */
    }
    watch->kill_ns = kill_ns < watch->kill_ns ? kill_ns : watch->kill_ns;
}

/* Takes note of all who ended; false: nobody is left. */
static bool reap(struct watch *watch)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
        if (pid <= 0) {
            return pid == 0;
        }
        if (pid == watch->command) {
            watch->command = 0;
            atomic_store(&watch->page->status, status);
            atomic_store(&watch->page->has_ended, true);
        }
    }
}

static void take_asking(struct watch *watch)
{
    struct asking asking;
    ssize_t size = recv(watch->channel, &asking, sizeof(asking), MSG_DONTWAIT);
    if (size == sizeof(asking) && asking.asks == ASK_SIGNAL) {
        (void)signal_all(watch, asking.signal_number);
    } else if (size == sizeof(asking)) {
        int64_t soon_ns = now_ns() + (int64_t)GUARDIAN_LOST_MS * 1000000;
        begin_end(watch, soon_ns < last_moment(watch) ? soon_ns : last_moment(watch));
    } else if (size == 0 || errno == ECONNRESET) {
        watch->kill_ns = INT64_MIN; /* the holder is gone */
        watch->channel = -1;
    }
}

/* Does what is due, and returns when there is more; GIVE_UP: whoever is left is another user's. */
static int64_t act(struct watch *watch)
{
    int64_t now = now_ns();
    int64_t last = last_moment(watch);
    if (watch->kill_ns == INT64_MAX) {
        if (watch->command == 0) { /* and left others behind */
            begin_end(watch, now + watch->grace_ns < last ? now + watch->grace_ns : last);
        } else if (now >= last - watch->grace_ns) {
            atomic_store(&watch->page->is_late, true);
            begin_end(watch, last);
        }
    }
    if (watch->kill_ns == INT64_MAX) {
        return last - watch->grace_ns;
    }
    if (now < watch->kill_ns) {
        return watch->kill_ns;
    }
    if (watch->command != 0) {
        (void)kill(watch->command, SIGKILL); /* before the others are looked for */
    }
    if (signal_all(watch, SIGKILL) == 0 && atomic_load(&watch->page->refused_pid) != 0) {
        return GIVE_UP;
    }
    return now_ns() + (int64_t)KILL_AGAIN_MS * 1000000;
}

static void wait_until(struct watch *watch, int64_t due_ns)
{
    int64_t at_ns = due_ns < 1 ? 1 : due_ns;
    struct itimerspec due = {.it_value = {.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000}};
    (void)timerfd_settime(watch->timer, TFD_TIMER_ABSTIME, &due, NULL);
    struct pollfd events[] = {{.fd = watch->channel, .events = POLLIN},
                              {.fd = watch->signals, .events = POLLIN},
                              {.fd = watch->timer, .events = POLLIN}};
    if (poll(events, 3, -1) <= 0) {
        return;
    }
    if (events[0].revents != 0) {
        take_asking(watch);
    }
    if (events[1].revents != 0) {
        struct signalfd_siginfo information;
        (void)!read(watch->signals, &information, sizeof(information));
    }
}

/* Its descriptors in the place of the standard ones, and no others: what the holder has open would stay open with it.
 */
static bool keep_only(struct watch *watch)
{
    int *const kept[] = {&watch->channel, &watch->signals, &watch->timer};
    for (int i = 0; i < 3; i++) {
        *kept[i] = fcntl(*kept[i], F_DUPFD_CLOEXEC, 3);
    }
    for (int i = 0; i < 3; i++) {
        *kept[i] = dup2(*kept[i], i);
    }
    return close_range(3, ~0U, 0) == 0 && watch->channel >= 0 && watch->signals >= 0 && watch->timer >= 0;
}

static bool open_watch(struct watch *watch)
{
    sigset_t all;
    sigset_t child;
    (void)sigfillset(&all);
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    watch->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    watch->timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    return watch->signals >= 0 && watch->timer >= 0 && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
}

static bool start_command(struct watch *watch, const struct guardian_options *options)
{
    pid_t self = getpid();
    watch->command = fork();
    if (watch->command == 0) {
        become_command(options, watch->page, self);
    }
    return watch->command > 0;
}

__attribute__((noreturn)) static void guard(const struct guardian_options *options, struct guardian_page *page,
                                            int channel)
{
    struct watch watch = {.page = page,
                          .channel = channel,
                          .grace_ns = options->grace_ms * 1000000,
                          .margin_ns = options->margin_ms * 1000000,
                          .kill_ns = INT64_MAX};
    if (!open_watch(&watch) || !start_command(&watch, options)) {
        atomic_store(&page->exec_errno, errno);
        _exit(EXIT_FAILURE);
    }
    (void)setsid(); /* no group of the command is orphaned with it: the kernel would hang it up */
    (void)prctl(PR_SET_NAME, "cohort-guardian");
    if (!keep_only(&watch)) {
        watch.kill_ns = INT64_MIN;
    }
    while (reap(&watch)) {
        int64_t due_ns = act(&watch);
        if (due_ns == GIVE_UP) {
            break;
        }
        wait_until(&watch, due_ns);
    }
    _exit(EXIT_SUCCESS);
}

/* ---- the holder ---- */

bool guardian_start(struct guardian *guardian, const struct guardian_options *options)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return false;
    }
    guardian->page = mmap(NULL, sizeof(*guardian->page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    guardian->channel = ends[0];
    guardian->pid = -1;
    guardian->margin_ns = options->margin_ms * 1000000;
    guardian->lost_ns = INT64_MAX;
    guardian->was_stuck = false;
    if (guardian->page != MAP_FAILED) {
        guardian_extend(guardian, options->valid_until_ns);
        (void)signal(SIGCHLD, SIG_DFL); /* ignored, as some parents leave it, nobody could be waited for */
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
        guardian->pid = fork();
    }
    if (guardian->pid == 0) {
        (void)close(ends[0]); /* the guardian hears of the holder's end by the end of this */
        guard(options, guardian->page, ends[1]);
    }
    int problem = errno;
    (void)close(ends[1]);
    if (guardian->pid < 0) {
        (void)close(ends[0]);
        if (guardian->page != MAP_FAILED) {
            (void)munmap(guardian->page, sizeof(*guardian->page));
        }
        errno = problem;
        return false;
    }
    return true;
}

void guardian_extend(struct guardian *guardian, int64_t valid_until_ns)
{
    atomic_store(&guardian->page->valid_until_ns, valid_until_ns);
}

static void ask(struct guardian *guardian, enum asks asks, int signal_number)
{
    const struct asking asking = {.asks = asks, .signal_number = signal_number};
    (void)send(guardian->channel, &asking, sizeof(asking), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void guardian_signal(struct guardian *guardian, int signal_number) { ask(guardian, ASK_SIGNAL, signal_number); }

void guardian_lost(struct guardian *guardian)
{
    guardian->lost_ns = now_ns();
    ask(guardian, ASK_LOST, 0);
}

/* By then nobody should be left. */
static int64_t overdue_ns(const struct guardian *guardian)
{
    int64_t by_lease_ns = atomic_load(&guardian->page->valid_until_ns) - guardian->margin_ns / 2;
    if (guardian->lost_ns == INT64_MAX) {
        return by_lease_ns;
    }
    int64_t by_loss_ns = guardian->lost_ns + (int64_t)GUARDIAN_LOST_MS * 1000000 + guardian->margin_ns / 2;
    return by_loss_ns < by_lease_ns ? by_loss_ns : by_lease_ns;
}

int guardian_patience_ms(const struct guardian *guardian)
{
    int64_t left_ns = overdue_ns(guardian) - now_ns();
    int64_t left_ms = guardian->was_stuck ? PATIENCE_MAXIMUM_MS : left_ns <= 0 ? 0 : left_ns / 1000000 + 1;
    return left_ms < PATIENCE_MAXIMUM_MS ? (int)left_ms : PATIENCE_MAXIMUM_MS;
}

void guardian_watch(struct guardian *guardian)
{
    if (!guardian->was_stuck && now_ns() >= overdue_ns(guardian)) {
        guardian->was_stuck = true;
        (void)kill(guardian->pid, SIGKILL);
    }
}

/* The guardian was killed: what was below it is below the holder now. */
static void end_all(void)
{
    struct timespec pause = {.tv_nsec = (long)KILL_AGAIN_MS * 1000000};
    pid_t refused = 0;
    while (waitpid(-1, NULL, WNOHANG | __WALL) >= 0) {
        if (descendants_signal(getpid(), SIGKILL, &refused) == 0 && refused != 0) {
            return;
        }
        (void)nanosleep(&pause, NULL);
    }
}

struct guardian_end guardian_finish(struct guardian *guardian)
{
    int status;
    while (waitpid(guardian->pid, &status, 0) < 0 && errno == EINTR) {
    }
    struct guardian_page *page = guardian->page;
    struct guardian_end end = {.exec_errno = atomic_load(&page->exec_errno),
                               .refused_pid = atomic_load(&page->refused_pid),
                               .is_late = atomic_load(&page->is_late) ||
                                          (guardian->was_stuck && guardian->lost_ns == INT64_MAX),
                               .was_killed = WIFSIGNALED(status)};
    if (end.was_killed) {
        end_all();
    }
    if (end.exec_errno != 0) {
        end.code = end.exec_errno == ENOENT ? NOT_FOUND : CANNOT_RUN;
    } else if (atomic_load(&page->has_ended)) {
        int command = atomic_load(&page->status);
        end.code = WIFSIGNALED(command) ? SIGNALLED + WTERMSIG(command) : WEXITSTATUS(command);
    } else {
        end.code = SIGNALLED + SIGKILL; /* by the kernel, when the guardian went */
    }
    (void)munmap(page, sizeof(*page));
    (void)close(guardian->channel);
    return end;
}
