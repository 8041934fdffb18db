/* cohort_open: which engine a URL means. */
#include "client/handle.h"
#include "engine/file.h"
#include "engine/host.h"
#include "engine/module.h"

#include <cohort/engine.h>
#include <stdlib.h>

enum {
    CAN_EVERYTHING = COHORT_CAN_LOCK | COHORT_CAN_SHARE | COHORT_CAN_PERMITS | COHORT_CAN_QUEUE | COHORT_CAN_FENCE |
                     COHORT_CAN_ELECT | COHORT_CAN_LOOK | COHORT_CAN_SURVIVE | COHORT_CAN_ALL,
};

struct known {
    const char *scheme;
    const struct engine_ops *ops; /* NULL: in a module */
    const char *module;           /* also the name of Meson's option */
};

static const struct known engines[] = {
    {"file", &engine_file, NULL},     {"sqlite", NULL, "sqlite"}, {"postgresql", NULL, "postgresql"},
    {"postgres", NULL, "postgresql"}, {"redis", NULL, "redis"},   {"redlock", NULL, "redis"},
    {"zookeeper", NULL, "zookeeper"}, {"etcd", NULL, "etcd"},
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
    case STATUS_OK: return COHORT_OK;
    default: return COHORT_SYSTEM;
    }
}

/* A handle whose only node is the host. */
static enum cohort_status open_handle(struct host *host, const struct engine_ops *ops, int64_t timeout_ms,
                                      const struct cohort_options *options, struct cohort **ret_cohort)
{
    struct client_connector connector = {
        .context = host, .connect = connect_host, .close = close_host, .can = ops->can};
    struct client_url *url = calloc(1, sizeof(*url));
    if (url == NULL) {
        return COHORT_NOMEM;
    }
    url->timeout_ms = timeout_ms;
    url->endpoint_count = 1;
    memcpy(url->endpoints[0].host, ops->scheme, strlen(ops->scheme) + 1);
    struct cohort_options given;
    client_take_options(&given, sizeof(given), options);
    given.flags |= COHORT_ANY_NODE;
    given.password = NULL;
    enum cohort_status status = client_open(url, &given, &connector, ret_cohort);
    free(url);
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
    const struct engine_ops *made = engine->ops; /* its place may say what it can */
    struct host *host;
    enum cohort_status status = status_of(host_start(engine, url->timeout_ms, &host));
    if (status != COHORT_OK) {
        return client_refuse(status, ret_reply, cohort_status_text(status));
    }
    status = open_handle(host, made, url->timeout_ms, options, ret_cohort);
    if (status != COHORT_OK) {
        host_stop(host);
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
            return client_refuse(COHORT_INVALID, ret_reply,
                                 "the scheme is cohort://, or an engine's: file, sqlite, postgresql, redis, redlock, "
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
