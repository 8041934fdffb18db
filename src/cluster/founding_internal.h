/* What the files of founding share. */
#pragma once

#include "cluster/founding.h"

#define FOUNDING_SECOND_NS 1000000000LL

struct founding_peer {
    bool up, heard;                 /* connected; has said something since */
    bool agreed;                    /* it has agreed to our set: for ever */
    struct id128 incarnation;       /* of the connection */
    struct id128 set;               /* what it has agreed to, by name; zero: nothing */
    int64_t refuses_ns, refused_ns; /* since when it refuses us, and the last time; 0: it does not */
};

struct founding {
    struct env *env;
    struct founding_events events;
    void *owner;
    char *directory;
    uint32_t self; /* place in the record */
    struct id128 incarnation;
    enum founding_state state;
    bool refused;
    struct founding_record record; /* with incarnations as soon as AGREED */
    struct founding_peer peers[PLACEMENT_MAXIMUM_NODES];
    struct env_timer tell;
};

struct founding_message {
    enum founding_state state;
    struct id128 set[PLACEMENT_MAXIMUM_NODES]; /* unless FRESH */
};

void founding_message_encode(const struct founding_record *record, enum founding_state state, struct buffer *out);
MUST_USE enum status founding_message_decode(const struct founding_record *record, struct slice payload,
                                             struct founding_message *ret_message);

/* A name for a set. */
struct id128 founding_set_name(const struct id128 *incarnations, uint32_t count);
/* Our set: the one we agreed to, or, while FRESH, the one that is up. */
void founding_set(const struct founding *founding, struct id128 ret_set[static PLACEMENT_MAXIMUM_NODES]);
struct id128 founding_own_name(const struct founding *founding);

/* Says what we know to all that are up. */
void founding_tell_all(struct founding *founding);

/* ---- lines for people ---- */

void founding_timer_start(struct founding *founding, int64_t after_ns);
/* Of env_timer: logs whom it waits for. */
void founding_tell(struct env_timer *timer);
void founding_explain_folder(const struct founding *founding, uint64_t by, bool founded,
                             char ret_line[static FOUNDING_MESSAGE_BYTES]);
