/* What the files of the simulator share. A `sim_host` is a machine, a `sim_env` a process on it; a connection joins two
 * ends, which are the streams that processes hold.
 *
 *             ends[0]          ways[0] ──►           ends[1]
 *    env ── env_stream ─┐                      ┌─ env_stream ── env
 *                       └──── connection ──────┘
 *                              ◄── ways[1]
 */
#pragma once

#include "base/assert.h"
#include "base/buffer.h"
#include "env/timer_heap.h"
#include "sim_net.h"

enum { SIM_DESCRIPTORS = 4096, SIM_ADDRESS_BYTES = 16, SIM_FIRST_FREE_PORT = 40000 };

struct sim_host {
    struct sim *sim;
    int number;
    char address[SIM_ADDRESS_BYTES];
    struct sim_disk *disk;
    uint32_t disks;                    /* that were replaced */
    struct sim_env *envs[SIM_WORKERS]; /* the process; a dead one until the next start */
    int env_count;                     /* 0 before the first */
    bool powered;
    int next_port;
    uint32_t starts;
    int64_t paused_until_ns;
    uint64_t ends_after; /* so many operations; 0: it does not */
    bool ended;

    /* The monotonic clock shows anchor_local_ns at virtual time anchor_ns and goes on at 1 + rate_ppm / 1e6. */
    int64_t anchor_ns, anchor_local_ns;
    int32_t rate_ppm;
    int64_t wall_offset_ms;
};

struct sim {
    int64_t now_ns;
    uint64_t hash;
    uint64_t seed;
    struct prng prng[SIM_DRAWS];
    /* At each time first everything that arrives, then the turns of the nodes it arrives at. */
    struct timer_heap arrivals, turns;
    struct sim_host hosts[SIM_NODES];
    struct sim_timing timing;
    struct sim_network network;
    bool blocked[SIM_NODES][SIM_NODES]; /* [from][to] */
    int64_t clogged_until_ns[SIM_NODES][SIM_NODES];
    struct list connections;
    struct sim_network_watcher watcher; /* zero: nobody looks */
    void *watcher_owner;
    void (*crashed)(void *owner, int node);
    void *crashed_owner;
    void (*log)(void *owner, int node, int64_t at_ns, enum env_log_level level, const char *text);
    void *log_owner;
};

/* ---- sim.c ---- */

/* Folds an event into the trace. */
enum sim_event {
    SIM_EVENT_START = 1,
    SIM_EVENT_CRASH,
    SIM_EVENT_TURN,
    SIM_EVENT_TIMERS,
    SIM_EVENT_WORK_RUN,
    SIM_EVENT_WORK_DONE,
    SIM_EVENT_FILE,
    SIM_EVENT_ACCEPTED,
    SIM_EVENT_READ,
    SIM_EVENT_WRITE,
    SIM_EVENT_ARRIVAL,
    SIM_EVENT_MESSAGE,
};
void sim_trace(struct sim *sim, int node, enum sim_event event, uint64_t a, uint64_t b);
/* Uniform in [minimum, maximum]. */
int64_t sim_between(struct sim *sim, enum sim_draw draw, int64_t minimum, int64_t maximum);
/* One in `one_in`; never when that is 0 (and then nothing is drawn). */
bool sim_one_in(struct sim *sim, enum sim_draw draw, uint32_t one_in);

/* ---- sim_env.c: processes ---- */

struct sim_env {
    struct env env; /* first */
    struct sim *sim;
    struct sim_host *host;
    int worker;
    bool dead;
    bool in_turn;
    bool waking;
    uint64_t turn_number;
    void (*hook)(void *owner);
    void *hook_owner;
    struct timer_heap timers; /* by the node's own clock */
    struct env_timer turn;    /* in sim->turns */
    int64_t turn_at_ns;       /* when that is due; INT64_MAX: not */
    int64_t busy_until_ns;
    int64_t *spent_ns;    /* where the cost of what is done now is added up; NULL outside turn and work */
    int64_t shown_ns;     /* the last reading of the monotonic clock */
    struct list work;     /* submitted or run, not done */
    struct list finished; /* run; done is called in the next turn */
    struct list messages; /* on their way */
    struct env_message *arrived, **arrived_end;
    int64_t posted_ns[SIM_WORKERS]; /* when the last message to each of the process's workers arrives */
    struct list streams;            /* the owner's, attached or not */
    struct list closed;             /* freed at the end of the turn */
    struct list listeners;
    struct prng random;
    uint8_t descriptors[SIM_DESCRIPTORS / 8]; /* bit set: in use; those of the first worker are the process's */
};

static inline struct sim_env *sim_env_of(struct env *env) { return (struct sim_env *)env; }

struct sim_env *sim_env_create(struct sim_host *host, int worker);
/* The process's; NULL before the first. */
static inline struct sim_env *sim_host_first(const struct sim_host *host) { return host->envs[0]; }
/* The process is no more: what is to come never comes. */
void sim_env_kill(struct sim_env *env);
/* After sim_env_kill, of all its process's: messages on their way to it are dropped. */
void sim_env_drop_messages(struct sim_env *env);
/* After that: as the comment at sim_node_start says. */
void sim_env_destroy(struct sim_env *env);
/* Something is ready: a turn as soon as the process is free, not before at_ns. */
void sim_env_need_turn(struct sim_env *env, int64_t at_ns);
/* Virtual time as this process sees it, in the middle of a turn too. */
int64_t sim_env_now_ns(const struct sim_env *env);
/* What is done now costs the process so much time. */
static inline void sim_env_spend(struct sim_env *env, int64_t ns)
{
    if (env->spent_ns != NULL) {
        *env->spent_ns += ns;
    }
}
/* Before an operation that others could see: false when the process has ended, now or before. */
bool sim_env_goes_on(struct sim_env *env);
/* Nothing that it does is seen by anyone any more. */
bool sim_env_mute(const struct sim_env *env);

int64_t sim_host_local_ns(const struct sim_host *host, int64_t at_ns);
/* The first virtual time at which the clock shows at least this. */
int64_t sim_host_virtual_ns(const struct sim_host *host, int64_t local_ns);

/* ---- sim_file.c: files ---- */

enum status sim_file_open(struct env *env, const char *path, int flags, struct env_file **ret_file);
void sim_file_close(struct env *env, struct env_file *file);
enum status sim_file_read(struct env *env, struct env_file *file, uint64_t offset, void *data, size_t size,
                          size_t *ret_size);
enum status sim_file_write(struct env *env, struct env_file *file, uint64_t offset, const struct iovec *parts,
                           int count);
enum status sim_file_sync(struct env *env, struct env_file *file);
enum status sim_file_size(struct env *env, struct env_file *file, uint64_t *ret_size);
enum status sim_file_truncate(struct env *env, struct env_file *file, uint64_t size);
enum status sim_file_rename(struct env *env, const char *from, const char *to);
enum status sim_file_unlink(struct env *env, const char *path);
enum status sim_make_directory(struct env *env, const char *path);
enum status sim_sync_directory(struct env *env, const char *path);
enum status sim_list_directory(struct env *env, const char *path, void (*entry)(void *owner, const char *name),
                               void *owner);
enum status sim_lock_file(struct env *env, const char *path, struct env_file **ret_file);

/* ---- sim_net.c: connections ---- */

enum sim_segment_kind { SIM_OPEN, SIM_OPENED, SIM_REFUSED, SIM_DATA, SIM_ROOM, SIM_END, SIM_RESET };

struct sim_segment {
    struct sim_segment *next;
    enum sim_segment_kind kind;
    size_t size; /* DATA: bytes at the front of the way's; ROOM: bytes read */
    int64_t at_ns;
    int64_t first_attempt_ns; /* INT64_MAX before it */
    size_t watched;           /* DATA: what the watcher gave */
};

struct sim_way {
    struct sim_connection *connection;
    int from;             /* which end sends */
    struct env_timer due; /* of the first segment, in sim->arrivals */
    struct sim_segment *first, *last;
    struct buffer bytes; /* of DATA segments */
    int64_t resend_ns;
};

struct sim_connection {
    struct list link; /* sim->connections */
    struct sim *sim;
    struct env_stream *ends[2]; /* NULL when gone or not yet there; 0 is the one that connected */
    int nodes[2];
    int ports[2];
    bool loopback;          /* by 127.0.0.1 rather than the node's address */
    struct sim_way ways[2]; /* [i] from end i to the other */
};

struct env_stream {
    struct list link; /* env->streams, env->closed or listener->waiting */
    struct sim_env *env;
    struct sim_connection *connection; /* NULL once the process died */
    int side;
    int id;
    const struct env_stream_events *events;
    void *owner;
    bool want_read, want_write;
    bool connecting, ended, closed;
    enum status error;
    struct buffer received;
    size_t outstanding; /* sent, not yet known to be read */
    uint64_t attached_turn;
};

struct env_listener {
    struct list link; /* env->listeners */
    struct sim_env *env;
    const struct env_listener_events *events;
    void *owner;
    int port;
    bool loopback, outside; /* which of the node's addresses */
    bool closed;
    struct list waiting; /* streams not yet accepted */
    struct env_timer resume;
};

/* Makes the connection and sends OPEN. */
struct sim_connection *sim_connection_open(struct env_stream *stream, int to, int port, bool loopback);
/* Sends from this end; `parts` are the bytes of DATA. */
void sim_connection_send(struct sim_connection *connection, int side, enum sim_segment_kind kind, const void *data,
                         size_t size);
/* The end goes as its owner closes it: end or reset is sent. */
void sim_connection_leave(struct env_stream *stream);
/* The end goes without a word, and of what it sent lately some is lost. */
void sim_connection_vanish(struct env_stream *stream);
void sim_connection_destroy(struct sim_connection *connection);

/* ---- sim_stream.c: what processes see of connections ---- */

/* A connection arrives; false when nobody listens there. */
bool sim_stream_arrives(struct sim_env *env, struct sim_connection *connection);
bool sim_stream_readable(const struct env_stream *stream);
bool sim_stream_writable(const struct env_stream *stream);
/* One callback for each ready stream, in drawn order, and for each arrived connection; true when more is ready. */
void sim_streams_turn(struct sim_env *env);
bool sim_streams_ready(const struct sim_env *env);
void sim_streams_free_closed(struct sim_env *env);
/* Takes all ends from their connections: politely (as the kernel does for a killed process) or silently. */
void sim_streams_abandon(struct sim_env *env, bool silently);
void sim_streams_free_all(struct sim_env *env);

enum status sim_listen(struct env *env, const char *host, int port, const struct env_listener_events *events,
                       void *owner, struct env_listener **ret_listener);
int sim_listener_port(struct env *env, struct env_listener *listener);
void sim_listener_close(struct env *env, struct env_listener *listener);
enum status sim_connect(struct env *env, const char *host, int port, struct env_stream **ret_stream);
struct env_stream *sim_stream_give(struct env *env, struct env_stream *stream);
enum status sim_stream_take(struct env *env, struct env_stream *stream);
void sim_stream_attach(struct env *env, struct env_stream *stream, const struct env_stream_events *events, void *owner);
enum status sim_stream_read(struct env *env, struct env_stream *stream, void *data, size_t size, size_t *ret_size);
enum status sim_stream_write(struct env *env, struct env_stream *stream, const struct iovec *parts, int count,
                             size_t *ret_size);
void sim_stream_want_read(struct env *env, struct env_stream *stream, bool wanted);
void sim_stream_want_write(struct env *env, struct env_stream *stream, bool wanted);
void sim_stream_name(struct env *env, struct env_stream *stream, bool peer, char *ret_text, size_t capacity);
int sim_stream_id(struct env *env, struct env_stream *stream);
void sim_stream_close(struct env *env, struct env_stream *stream);
