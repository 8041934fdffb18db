/* A server whose answers a test decides: one thread, any number of connections, on a free port of 127.0.0.1.
 *
 * HELLO and CLUSTER SLOTS it answers by itself; all else goes to `answer`, in the thread of the server. Answers may be
 * sent a byte at a time, and connections cut at any byte. */
#pragma once

#include "base/buffer.h"

#include <cohort/cohort.h>
#include <pthread.h>
#include <stdatomic.h>

enum { SCRIPTED_CONNECTIONS = 64 };

enum scripted_verdict {
    SCRIPTED_ANSWER, /* send what was written to `out` */
    SCRIPTED_CLOSE,  /* send it, and close */
    SCRIPTED_STOP,   /* read nothing more on this connection, and leave it open */
};

struct scripted_server;

/* `request` is an array of strings. */
typedef enum scripted_verdict (*scripted_answer)(struct scripted_server *server, int connection,
                                                 const struct cohort_reply *request, struct buffer *out);

struct scripted_server {
    scripted_answer answer;
    void *data;            /* the test's */
    size_t piece;          /* bytes sent at a time; 0: all at once */
    const char *slots;     /* what CLUSTER SLOTS answers, as RESP; NULL: nobody leads anything */
    const char *hello;     /* what HELLO answers; NULL: a map */
    atomic_long cut_after; /* closes the connection when so many more bytes of answers are sent; −1: never */
    atomic_int requests;   /* that came to `answer` */
    atomic_int accepted;   /* connections */

    int port;
    char url[64];
    int listener;
    int stop_fd;
    pthread_t thread;
    struct {
        int fd;
        bool stopped;
        struct buffer in;
    } connections[SCRIPTED_CONNECTIONS];
};

/* Fields above `port` are set by the test before; cut_after by start. */
void scripted_start(struct scripted_server *server);

/* Closes everything and waits for the thread. */
void scripted_stop(struct scripted_server *server);

/* Stops listening and closes what is there, as a server that dies; scripted_start_again listens on the same port. */
void scripted_start_again(struct scripted_server *server);

/* Waits until every socket of this process that was connected to the server has heard that its connection is closed:
 * also on the loopback a close takes its time, on a busy machine. */
void scripted_wait_until_heard(const struct scripted_server *server);

/* Whether the request is this command. */
bool scripted_is(const struct cohort_reply *request, const char *name);

/* A word of the request as text. */
const char *scripted_word(const struct cohort_reply *request, size_t index);
