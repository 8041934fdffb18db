/* SERVICE.LIST, and COHORT.SERVICE.READ, from which watches are served (src/server/service_watch.h). */
#include "command/machine_handlers.h"
#include "machine/call.h"
#include "machine/machine_mutation.h"
#include "machine/service/service.h"

static const char *state_text(enum endpoint_state state) { return state == ENDPOINT_UP ? "up" : "draining"; }

static void put_pair(struct call *call, const char *name, int64_t value)
{
    resp_bulk_string(&call->reply, name);
    resp_integer(&call->reply, value);
}

static void put_text(struct call *call, const char *name, struct slice value)
{
    resp_bulk_string(&call->reply, name);
    resp_bulk(&call->reply, value);
}

static void put_fields(struct call *call, const struct service_says *says)
{
    struct slice fields = says->fields;
    struct slice text;
    while (service_says_next(&fields, &text)) {
        resp_bulk(&call->reply, text);
    }
}

/* ---- SERVICE.LIST ---- */

/* As in lock_show.c: what is due by the applied time is not there; what is due only by the present one lets the command
 * go through the log. */
static bool is_over(struct call *call, const struct endpoint *endpoint)
{
    if (endpoint->tie != NULL) {
        return false;
    }
    call->must_log |= endpoint->due_ms > call->time.applied_time_ms && endpoint->due_ms <= call->time.present_time_ms;
    return endpoint->due_ms <= call->time.applied_time_ms;
}

static void put_endpoint_map(struct call *call, const struct endpoint *endpoint)
{
    struct service_says says = {0};
    int64_t now_ms = call->time.present_time_ms + call->ahead_ms;
    int64_t left_ms = endpoint->due_ms > now_ms ? endpoint->due_ms - now_ms : 1;
    (void)service_says_take(endpoint_says(endpoint), &says);
    resp_map(&call->reply, 9);
    put_text(call, "id", endpoint_id(endpoint));
    put_text(call, "address", says.address);
    put_text(call, "state", slice_from_string(state_text((enum endpoint_state)endpoint->state)));
    put_pair(call, "weight", says.weight);
    put_text(call, "zone", says.zone);
    put_pair(call, "ttl_ms", endpoint->tie != NULL ? -1 : left_ms);
    put_pair(call, "age_ms", now_ms - endpoint->since_ms);
    put_pair(call, "since", (int64_t)endpoint->since);
    resp_bulk_string(&call->reply, "meta");
    resp_map(&call->reply, says.field_count);
    put_fields(call, &says);
}

/* SERVICE.LIST service */
void service_list(struct call *call)
{
    const struct service *service = service_find(call->services, call->argv[1]);
    size_t begin = call_array_begin(call);
    size_t count = 0;
    for (const struct list *at = service == NULL ? NULL : service->endpoints.next;
         at != NULL && at != &service->endpoints; at = at->next) {
        if (!is_over(call, endpoint_of(at))) {
            put_endpoint_map(call, endpoint_of(at));
            count++;
        }
    }
    call_array_end(call, begin, count);
}

/* ---- COHORT.SERVICE.READ ----
 *
 *   COHORT.SERVICE.READ known bytes name revision …
 *     [last, done, answer …]     last: the newest revision of the shard; when it is `known`, nothing else was looked at
 *     done: so many of the names were looked at, before `bytes` were used up
 *     answer: [name, look, from, revision, [one …]]   of those of which there is something to say
 *
 * look CHANGES: what follows `from`, the revision that was given, up to the one that is told. MORE: the same, and more
 * follows. LIST: that revision is not known (or -1 was given): the endpoints, as they were at the one that is told.
 * AHEAD: it is not applied here yet. Both are the state, whatever is due in it: its end is a change to come. */

/* state of an endpoint, or NULL of a change */
static void put_says(struct call *call, struct slice id, const char *state, struct slice bytes)
{
    struct service_says says = {0};
    (void)service_says_take(bytes, &says);
    resp_bulk(&call->reply, id);
    if (state != NULL) {
        resp_bulk_string(&call->reply, state);
    }
    resp_bulk(&call->reply, says.address);
    resp_integer(&call->reply, says.weight);
    resp_bulk(&call->reply, says.zone);
    resp_array(&call->reply, 2 * says.field_count);
    put_fields(call, &says);
}

static void put_change(struct call *call, const struct service_change *change)
{
    static const char *const words[SERVICE_EVENTS] = {"registered", "changed", "draining",
                                                      "removed",    "expired", "session"};
    enum service_event event = (enum service_event)change->event;
    bool gone = service_event_is_end(event);
    resp_array(&call->reply, gone ? 3 : 7);
    resp_integer(&call->reply, (int64_t)change->revision);
    resp_bulk_string(&call->reply, words[event]);
    if (gone) {
        resp_bulk(&call->reply, change_id(change));
    } else {
        put_says(call, change_id(change), NULL, change_says(change));
    }
}

struct question {
    struct slice name;
    int64_t from;
    size_t most_bytes; /* of the answer, about */
};

static void begin_answer(struct call *call, const struct question *question, const char *look, uint64_t revision)
{
    resp_array(&call->reply, 5);
    resp_bulk(&call->reply, question->name);
    resp_bulk_string(&call->reply, look);
    resp_integer(&call->reply, question->from);
    resp_integer(&call->reply, (int64_t)revision);
}

static void put_list(struct call *call, const struct question *question, const struct service *service)
{
    begin_answer(call, question, "LIST", service == NULL ? call->services->floor : service->revision);
    resp_array(&call->reply, service == NULL ? 0 : service->endpoint_count);
    for (const struct list *at = service == NULL ? NULL : service->endpoints.next;
         at != NULL && at != &service->endpoints; at = at->next) {
        const struct endpoint *endpoint = endpoint_of(at);
        resp_array(&call->reply, 6);
        put_says(call, endpoint_id(endpoint), state_text((enum endpoint_state)endpoint->state),
                 endpoint_says(endpoint));
    }
}

/* Those from `from` on, as many as fit, but one at least. */
static void put_changes(struct call *call, const struct question *question, const struct service *service,
                        const struct list *from)
{
    uint64_t revision = 0;
    size_t bytes = 0;
    size_t count = 0;
    const struct list *end = from;
    for (; end != &service->changes && (count == 0 || bytes < question->most_bytes); end = end->next) {
        const struct service_change *change = change_of(end);
        bytes += 64 + change->id_size + change->says_size;
        revision = change->revision;
        count++;
    }
    begin_answer(call, question, end == &service->changes ? "CHANGES" : "MORE", revision);
    resp_array(&call->reply, count);
    for (const struct list *at = from; at != end; at = at->next) {
        put_change(call, change_of(at));
    }
}

/* True when there is something to say. */
static bool put_answer(struct call *call, const struct question *question)
{
    const struct services *services = call->services;
    const struct service *service = service_find(services, question->name);
    uint64_t from = (uint64_t)question->from;
    bool anywhere = question->from < 0;
    if (!anywhere && from > services->last_revision) {
        begin_answer(call, question, "AHEAD", from);
        resp_array(&call->reply, 0);
        return true;
    }
    if (!anywhere && service == NULL && from == services->floor) {
        return false;
    }
    const struct list *behind = service == NULL || anywhere ? NULL : service_behind(service, from);
    if (behind == NULL) {
        put_list(call, question, service);
        return true;
    }
    if (behind == &service->changes) {
        return false;
    }
    put_changes(call, question, service, behind);
    return true;
}

void service_read(struct call *call)
{
    int64_t known;
    int64_t bytes;
    if (call->argc % 2 == 0 || !number_parse_int64(call->argv[1], &known) ||
        !number_parse_int64(call->argv[2], &bytes) || bytes < 1) {
        resp_error(&call->reply, "ERR no node of ours can have said this");
        return;
    }
    uint64_t last = call->services->last_revision;
    bool moved = known < 0 || (uint64_t)known != last;
    size_t begin = call_array_begin(call);
    size_t count = 0;
    uint32_t at = 3;
    for (; moved && at < call->argc; at += 2) {
        struct question question = {.name = call->argv[at]};
        size_t used = call->reply.out == NULL ? 0 : call->reply.out->size - begin;
        if (used >= (size_t)bytes || !number_parse_int64(call->argv[at + 1], &question.from)) {
            break;
        }
        question.most_bytes = (size_t)bytes - used;
        count += put_answer(call, &question) ? 1 : 0;
    }
    struct buffer head = {0};
    struct resp_writer writer = resp_writer_to(&head, call->reply.protocol);
    resp_array(&writer, count + 2);
    resp_integer(&writer, (int64_t)last);
    resp_integer(&writer, (at - 3) / 2);
    call_insert(call, begin, buffer_slice(&head));
    buffer_deinit(&head);
}
