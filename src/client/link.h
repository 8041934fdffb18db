/* A link: one connection of a handle to one node, with the operations that are on it.
 *
 *      closed ──▶ resolving ──▶ connecting ──▶ greeting ──▶ open ──failure──▶ closed
 *                 (a name)                     (HELLO 3)
 *
 * Invariants
 * 1. Replies come in the order of requests: `sent` is the queue of those that wait for one, ghosts among them.
 * 2. `queued` holds what the kernel does not have to its last byte; only the first of it may be there in part.
 * 3. A link that is lost gives everything back: queued ones are certainly not executed, sent ones perhaps.
 * 4. A link that was silent for too long is suspect and gets nothing new; bytes clear it, or a timeout closes it.
 * 5. The node's shared link lives as long as its node. A private one dies when it closes, and is freed
 * (handle_free_dead) when no caller looks at it any more, and no thread may hold an event of it.
 * 6. Nothing is sent on a link that has ended as far as this machine has heard.
 * 7. A paused link takes nothing: what was read stays where it is, and what comes later stays with the system, so the
 *    peer is held back. If it breaks meanwhile, it is lost with what was not taken. */
#pragma once

#include "client/connection.h"
#include "client/operation.h"

struct node;

enum link_state { LINK_CLOSED, LINK_RESOLVING, LINK_CONNECTING, LINK_GREETING, LINK_OPEN };

struct link {
    struct client_connection connection;
    struct cohort *cohort;
    struct node *node;
    enum link_state state;
    bool is_private;
    bool is_taken; /* private: by its owner, or by an operation */
    bool suspect;
    bool wants_write; /* registered so */
    bool paused;
    bool deaf;       /* paused, and registered so: something had come */
    bool overflowed; /* lost to a push that is larger than reply_bytes_max: it would come again */
    struct list all; /* in cohort.links, or cohort.dead */
    struct list queued;
    struct list sent;
    size_t taken; /* bytes of connection.in that were given out */
    int64_t received_ns;
    struct timer timer;              /* connecting, greeting, or suspect: until then */
    struct operation *probe;         /* whether the node can serve what is waited for here; NULL: not asked now */
    void (*lost)(struct link *link); /* the owner of a private link hears of its loss; may be NULL */
    void *owner;
    /* What came unasked; true: it was taken over. May be NULL. */
    bool (*pushed)(struct link *link, struct cohort_reply *push);
};

void link_init(struct link *link, struct cohort *cohort, struct node *node);

/* Begins to connect; a failure comes as a loss, also at once. */
void link_start(struct link *link);

/* What link_start left to whoever drives: asks the resolver, without the mutex meanwhile. */
void link_resolve(struct link *link);

/* The descriptor says that the attempt has ended. */
void link_connected(struct link *link);

/* Has epoll watch the descriptor for these events; how: EPOLL_CTL_ADD, EPOLL_CTL_MOD. */
void link_watch(struct link *link, uint32_t events, int how);

/* epoll's events. */
void link_ready(struct link *link, uint32_t events);

/* Its timer. */
void link_due(struct link *link);

/* Appends an operation; link_flush sends it, or loses the link when that has ended. */
void link_append(struct link *link, struct operation *operation);
void link_flush(struct link *link);

/* Takes nothing more: also within `pushed`. */
void link_pause(struct link *link);

/* Goes on with what is there already, and then with what comes. */
void link_resume(struct link *link);

/* Open, and not suspect. It may have ended unseen: link_flush looks. */
bool link_is_usable(const struct link *link);

/* It was silent for too long. */
void link_suspect(struct link *link);

void link_lose(struct link *link, const char *why);

/* probe.c: asks the node of a private link whether it can serve what is waited for on it; when not, the link is lost,
 * perhaps at once. */
void link_probe(struct link *link, const struct operation *waits);
void link_forget_probe(struct link *link);

/* Takes an operation off that has ended; a ghost stays when its reply is still to come. */
void link_remove(struct link *link, struct operation *operation);

/* A private link that its owner has done with: for the next one, or closed when it is not as new. */
void link_give_back(struct link *link, bool as_new);

/* Closes a link of whatever kind; what is on it ends. A private one is dead then. */
void link_destroy(struct link *link);
