/* What a URL of embedded:// says: embedded:///folder[?option=value&…].
 *
 *   create=no      a folder in which there is no data is refused
 *   local=yes      the file system is of this machine alone, whatever it looks like
 *   log=FILE       the node's log goes there, behind what is in it; without it nowhere
 *   shards=N       parts of the data, fixed at the beginning (default 1)
 *   timeout=…      of the handle: not here
 *   others         settings of the node, as `cohort serve --NAME` takes them, but for those of a listener */
#pragma once

#include "engine/engine.h"
#include "server/config.h"

enum { EMBEDDED_SAID_BYTES = 1024 };

struct embedded_settings {
    char folder[ENGINE_PLACE_BYTES]; /* its whole path */
    char log[ENGINE_PLACE_BYTES];    /* "": none */
    uint32_t shards;                 /* 0: not said */
    bool create, local;
    /* The options that are the node's, in their order: who opens the same folder must say the same, or nothing. */
    char said[EMBEDDED_SAID_BYTES];
};

/* STATUS_INVALID with words. Touches no file, and takes no memory. Settings of the node are only looked for. */
MUST_USE enum status embedded_settings_parse(const struct engine_url *url, struct embedded_settings *ret_settings,
                                             char ret_problem[static ENGINE_PROBLEM_BYTES]);

/* Gives a configuration that was initialised the settings of the same URL. */
MUST_USE enum status embedded_settings_configure(const struct engine_url *url, struct config *config,
                                                 char ret_problem[static ENGINE_PROBLEM_BYTES]);
