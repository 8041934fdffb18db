/* embedded:///folder: libcohort's door to the node. */
#include "embedded/nodes.h"
#include "engine/module.h"

#include <cohort/engine.h>
#include <stdlib.h>

extern const struct engine_ops engine_embedded;

struct embedded {
    struct engine engine; /* first */
    struct nodes_entry *entry;
};

static enum status open_folder(const struct engine_url *url, struct embedded *embedded,
                               char problem[static ENGINE_PROBLEM_BYTES])
{
    struct embedded_settings *settings = malloc(sizeof(*settings)); /* 9 KB are too much for a small thread's stack */
    if (settings == NULL) {
        (void)strcpy(problem, "memory was refused");
        return STATUS_NOMEM;
    }
    enum status status = embedded_settings_parse(url, settings, problem);
    if (status == STATUS_OK) {
        status = nodes_take(settings, url, &embedded->entry, problem);
    }
    free(settings);
    return status;
}

static enum status embedded_open(const struct engine_url *url, struct engine **ret_engine,
                                 char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    struct embedded *embedded = calloc(1, sizeof(*embedded));
    if (embedded == NULL) {
        (void)strcpy(ret_problem, "memory was refused");
        return STATUS_NOMEM;
    }
    embedded->engine.ops = &engine_embedded;
    enum status status = open_folder(url, embedded, ret_problem);
    if (status != STATUS_OK) {
        free(embedded);
        return status;
    }
    *ret_engine = &embedded->engine;
    return STATUS_OK;
}

static struct node *node_of(struct engine *engine) { return nodes_node(((struct embedded *)engine)->entry); }

static void embedded_close(struct engine *engine)
{
    nodes_leave(((struct embedded *)engine)->entry);
    free(engine);
}

static enum status embedded_connect(struct engine *engine, int *ret_fd)
{
    return node_connect(node_of(engine), ret_fd);
}

static void embedded_explain(struct engine *engine, char ret_why[static CLIENT_WHY_BYTES])
{
    node_explain(node_of(engine), ret_why);
}

const struct engine_ops engine_embedded = {
    .scheme = "embedded",
    .can = COHORT_CAN_LOCK | COHORT_CAN_SHARE | COHORT_CAN_PERMITS | COHORT_CAN_QUEUE | COHORT_CAN_FENCE |
           COHORT_CAN_ELECT | COHORT_CAN_LOOK | COHORT_CAN_ALL,
    .open = embedded_open,
    .close = embedded_close,
    .connect = embedded_connect,
    .explain = embedded_explain,
};

MODULE_OF(&engine_embedded);
