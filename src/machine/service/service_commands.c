/* SERVICE.REGISTER, RENEW, DRAIN, REMOVE. */
#include "command/machine_handlers.h"
#include "machine/call.h"
#include "machine/lock/lock_arguments.h"
#include "machine/service/service_says.h"
#include "machine/service/services.h"
#include "machine/session/session_words.h"

_Static_assert(SERVICE_ENDPOINTS == 4096 && SERVICES_ENDPOINTS == 131072 && SERVICES_MAXIMUM == 65536 &&
                   SESSION_CLAIMS == 16384,
               "as the texts say");

static struct lock_now now_of(const struct call *call)
{
    return (struct lock_now){call->position, call->time.applied_time_ms};
}

static void put_refusal(struct call *call, enum service_outcome outcome)
{
    switch (outcome) {
    case SERVICE_DONE: return;
    case SERVICE_NONE:
        resp_error(&call->reply,
                   "NOENDPOINT the service has no endpoint of this id, or its lease has ended; register it again");
        return;
    case SERVICE_TIED:
        resp_error(&call->reply, "ERR this endpoint stays as long as its session lives: SESSION.KEEPALIVE renews that");
        return;
    case SERVICE_MANY_ENDPOINTS:
        resp_error(&call->reply, "BUSY this service has 4096 endpoints, which is the most; remove some");
        return;
    case SERVICE_MANY_ENDPOINTS_IN_ALL:
        resp_error(&call->reply,
                   "BUSY the services of this shard have 131072 endpoints, which is the most; remove some");
        return;
    case SERVICE_MANY:
        resp_error(&call->reply, "BUSY 65536 services of this shard have endpoints, which is the most; remove some");
        return;
    case SERVICE_SESSION_FULL:
        resp_error(&call->reply, "BUSY this session has 16384 endpoints in this shard, which is the most; remove some, "
                                 "or open another one");
        return;
    }
}

/* SERVICE.REGISTER service id host:port PX ttl_ms | SESSION sid [WEIGHT n] [ZONE z] [META field value …] */
void service_register(struct call *call)
{
    struct buffer says = {0};
    struct service_words words;
    struct service_request request = {.tie = NULL};
    const char *problem = service_words_parse(call->argv + 1, call->argc - 1, &says, &words);
    if (problem == NULL && words.session.size != 0) {
        problem = tie_of_name(call->ties, words.session, &request.tie);
    }
    if (problem != NULL) {
        resp_error(&call->reply, problem);
        buffer_deinit(&says);
        return;
    }
    uint64_t since = 0;
    struct lock_now now = now_of(call);
    request.name = words.name;
    request.id = words.id;
    request.ttl_ms = words.ttl_ms;
    request.says = buffer_slice(&says);
    enum service_outcome outcome = services_register(call->services, &request, &now, &since);
    if (outcome == SERVICE_DONE) {
        resp_array(&call->reply, 2);
        resp_integer(&call->reply, (int64_t)since);
        resp_integer(&call->reply, words.ttl_ms);
    } else {
        put_refusal(call, outcome);
    }
    buffer_deinit(&says);
}

/* SERVICE.RENEW service id PX ttl_ms */
void service_renew(struct call *call)
{
    int64_t ttl_ms = 0;
    const char *problem =
        slice_is_word(call->argv[3], "PX")
            ? lock_time_parse(call->argv[4], 1, "ERR PX is the time to live in ms, from 1 to 31536000000 (a year)",
                              &ttl_ms)
            : "ERR syntax error";
    if (problem != NULL) {
        resp_error(&call->reply, problem);
        return;
    }
    struct lock_now now = now_of(call);
    enum service_outcome outcome = services_renew(call->services, call->argv[1], call->argv[2], ttl_ms, &now);
    if (outcome == SERVICE_DONE) {
        resp_integer(&call->reply, ttl_ms);
    } else {
        put_refusal(call, outcome);
    }
}

/* SERVICE.DRAIN service id */
void service_drain(struct call *call)
{
    struct lock_now now = now_of(call);
    bool done = services_drain(call->services, call->argv[1], call->argv[2], &now) == SERVICE_DONE;
    resp_integer(&call->reply, done ? 1 : 0);
}

/* SERVICE.REMOVE service id */
void service_remove(struct call *call)
{
    struct lock_now now = now_of(call);
    bool done = services_remove(call->services, call->argv[1], call->argv[2], &now) == SERVICE_DONE;
    resp_integer(&call->reply, done ? 1 : 0);
}
