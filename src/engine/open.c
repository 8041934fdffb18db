/* cohort_open: which engine a URL means. */
#include "client/handle.h"
#include "engine/file.h"
#include "engine/host.h"
#include "engine/module.h"

#include <cohort/engine.h>
#include <stdlib.h>

enum {
    CAN_EVERYTHING = COHORT_CAN_LOCK | COHORT_CAN_SHARE | COHORT_CAN_PERMITS | COHORT_CAN_QUEUE | COHORT_CAN_FENCE |
                     COHORT_CAN_ELECT | COHORT_CAN_LOOK | COHORT_CAN_SURVIVE | COHORT_CAN_ALL | COHORT_CAN_PROCESSES,
};

struct known {
    const char *scheme;
    const struct engine_ops *ops; /* NULL: in a module */
    const char *module;           /* also the name of Meson's option */
};

static const struct known engines[] = {
    {"file", &engine_file, NULL},     {"sqlite", NULL, "sqlite"}, {"postgresql", NULL, "postgresql"},
    {"postgres", NULL, "postgresql"}, {"redis", NULL, "redis"},   {"redlock", NULL, "redis"},
    {"zookeeper", NULL, "zookeeper"}, {"etcd", NULL, "etcd"},     {"embedded", NULL, "embedded"},
};

static const struct known *find_engine(const char *url)
{
    for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++) {
        size_t size = strlen(engines[i].scheme);
        if (strncmp(url, engines[i].scheme, size) == 0 && strncmp(url + size, "://", 3) == 0) {
            return &engines[i];
        }
    }
    return NULL;
}

/* A scheme that nobody has: whoever writes one may mean an engine. */
static bool is_of_another_scheme(const char *url)
{
    return strstr(url, "://") != NULL && strncmp(url, "cohort://", strlen("cohort://")) != 0;
}

/* ---- a cohort ---- */

static enum cohort_status open_cohort(const char *url, const struct cohort_options *options, struct cohort **ret_cohort,
                                      struct cohort_reply **ret_reply)
{
    struct client_url *parsed = malloc(sizeof(*parsed)); /* 16 KB are too much for a small thread's stack */
    if (parsed == NULL) {
        return client_refuse(COHORT_NOMEM, ret_reply, "memory was refused");
    }
    const char *problem;
    enum cohort_status status;
    if (client_url_parse(url == NULL ? CLIENT_URL_DEFAULT : url, parsed, &problem) != STATUS_OK) {
        status = client_refuse(COHORT_INVALID, ret_reply, problem);
    } else {
        struct client_connector over_tcp = {.can = CAN_EVERYTHING};
        status = client_open(parsed, options, &over_tcp, ret_cohort);
        if (status != COHORT_OK) {
            (void)client_refuse(status, ret_reply, cohort_status_text(status));
        }
    }
    free(parsed);
    return status;
}

/* ---- an engine ---- */

static enum status connect_host(void *context, int *ret_fd) { return host_connect(context, ret_fd); }
static void close_host(void *context) { host_stop(context); }

static enum cohort_status status_of(enum status status)
{
    switch (status) {
    case STATUS_NOMEM: return COHORT_NOMEM;
    case STATUS_INVALID: return COHORT_INVALID;
    case STATUS_UNSUPPORTED: return COHORT_UNSUPPORTED;
    case STATUS_BUSY: return COHORT_BUSY;
    case STATUS_OK: return COHORT_OK;
    default: return COHORT_SYSTEM;
    }
}

/* A handle whose only node is behind this connector. */
static enum cohort_status open_handle(const struct client_connector *connector, const char *scheme, int64_t timeout_ms,
                                      const struct cohort_options *options, struct cohort **ret_cohort)
{
    struct client_url *url = calloc(1, sizeof(*url));
    if (url == NULL) {
        return COHORT_NOMEM;
    }
    url->timeout_ms = timeout_ms;
    url->endpoint_count = 1;
    memcpy(url->endpoints[0].host, scheme, strlen(scheme) + 1);
    struct cohort_options given;
    client_take_options(&given, sizeof(given), options);
    given.flags |= COHORT_ANY_NODE;
    given.password = NULL;
    enum cohort_status status = client_open(url, &given, connector, ret_cohort);
    free(url);
    return status;
}

static enum status connect_server(void *context, int *ret_fd)
{
    struct engine *engine = context;
    return engine->ops->connect(engine, ret_fd);
}

static void explain_server(void *context, char ret_why[static CLIENT_WHY_BYTES])
{
    struct engine *engine = context;
    engine->ops->explain(engine, ret_why);
}

static void close_server(void *context)
{
    struct engine *engine = context;
    engine->ops->close(engine);
}

/* What takes the engine over: a host, or, when it is a server itself, nothing more. */
static enum cohort_status make_connector(struct engine *engine, int64_t timeout_ms,
                                         struct client_connector *ret_connector)
{
    unsigned can = engine->ops->can; /* its place may say what it can */
    if (engine->ops->connect != NULL) {
        *ret_connector = (struct client_connector){engine, connect_server, explain_server, close_server, can};
        return COHORT_OK;
    }
    struct host *host;
    enum cohort_status status = status_of(host_start(engine, timeout_ms, &host));
    if (status == COHORT_OK) {
        *ret_connector = (struct client_connector){host, connect_host, NULL, close_host, can};
    }
    return status;
}

static enum cohort_status open_engine(const struct engine_ops *ops, const struct engine_url *url,
                                      const struct cohort_options *options, struct cohort **ret_cohort,
                                      struct cohort_reply **ret_reply)
{
    char problem[ENGINE_PROBLEM_BYTES];
    struct engine *engine;
    enum status opened = ops->open(url, &engine, problem);
    if (opened != STATUS_OK) {
        return client_refuse(status_of(opened), ret_reply, problem);
    }
    struct client_connector connector;
    enum cohort_status status = make_connector(engine, url->timeout_ms, &connector);
    if (status != COHORT_OK) {
        return client_refuse(status, ret_reply, cohort_status_text(status));
    }
    status = open_handle(&connector, ops->scheme, url->timeout_ms, options, ret_cohort);
    if (status != COHORT_OK) {
        connector.close(connector.context);
        (void)client_refuse(status, ret_reply, cohort_status_text(status));
    }
    return status;
}

static enum cohort_status open_engine_url(const struct engine_ops *ops, const char *text,
                                          const struct cohort_options *options, struct cohort **ret_cohort,
                                          struct cohort_reply **ret_reply)
{
    struct engine_url *url = malloc(sizeof(*url));
    if (url == NULL) {
        return client_refuse(COHORT_NOMEM, ret_reply, "memory was refused");
    }
    const char *problem;
    enum cohort_status status;
    if (engine_url_parse(text, url, &problem) != STATUS_OK) {
        status = client_refuse(COHORT_INVALID, ret_reply, problem);
    } else {
        status = open_engine(ops, url, options, ret_cohort, ret_reply);
    }
    free(url);
    return status;
}

enum cohort_status cohort_open(const char *url, const struct cohort_options *options, struct cohort **ret_cohort,
                               struct cohort_reply **ret_reply)
{
    if (ret_reply != NULL) {
        *ret_reply = NULL;
    }
    const struct known *known = url == NULL ? NULL : find_engine(url);
    if (known == NULL) {
        if (url != NULL && is_of_another_scheme(url)) {
            return client_refuse(
                COHORT_INVALID, ret_reply,
                "the scheme is cohort://, or an engine's: embedded, file, sqlite, postgresql, redis, redlock, "
                "zookeeper or etcd");
        }
        return open_cohort(url, options, ret_cohort, ret_reply);
    }
    const struct engine_ops *ops = known->ops;
    char problem[ENGINE_PROBLEM_BYTES];
    if (ops == NULL && module_find(known->module, known->scheme, &ops, problem) != STATUS_OK) {
        return client_refuse(COHORT_UNSUPPORTED, ret_reply, problem);
    }
    return open_engine_url(ops, url, options, ret_cohort, ret_reply);
}
