/* Who waits long hears nothing, also from a node that hangs or is cut off from the others. So such a node is asked now
 * and then, on its shared link, for something of the same shard; when it cannot tell that, the wait is asked for
 * elsewhere. */
#include "base/number.h"
#include "client/handle.h"

static void cannot_serve(struct link *link)
{
    handle_doubt_node(link->cohort, link->node);
    link_lose(link, "its node cannot serve what is waited for");
}

static void probed(struct operation *probe)
{
    struct link *link = probe->data;
    if (link == NULL) {
        return; /* the wait is over */
    }
    link->probe = NULL;
    switch (probe->status) {
    case COHORT_CLUSTERDOWN:
    case COHORT_UNCERTAIN:
    case COHORT_TIMEOUT:
    case COHORT_UNREACHABLE: cannot_serve(link); break;
    default: break; /* whatever it says, it says something */
    }
}

void link_forget_probe(struct link *link)
{
    if (link->probe != NULL) {
        link->probe->data = NULL;
        link->probe = NULL;
    }
}

/* Takes "$size", the word and their line ends. */
static struct slice take_word(struct slice *rest)
{
    int64_t size = 0;
    const uint8_t *end = memchr(rest->data, '\r', rest->size);
    (void)number_parse_int64(slice_of(rest->data + 1, (size_t)(end - rest->data) - 1), &size);
    struct slice word = slice_of(end + 2, (size_t)size);
    const uint8_t *behind = word.data + word.size + 2;
    *rest = slice_of(behind, rest->size - (size_t)(behind - rest->data));
    return word;
}

/* The second word of a request. */
static struct slice key_of(const struct buffer *request)
{
    struct slice rest = buffer_slice(request);
    size_t head = (size_t)((const uint8_t *)memchr(rest.data, '\n', rest.size) - rest.data) + 1;
    rest = slice_of(rest.data + head, rest.size - head);
    (void)take_word(&rest);
    return take_word(&rest);
}

void link_probe(struct link *link, const struct operation *waits)
{
    struct link *shared = &link->node->shared;
    if (link->probe != NULL) {
        return;
    }
    if (shared->suspect || (shared->state == LINK_CLOSED && link->node->failures > 0)) {
        cannot_serve(link);
        return;
    }
    if (shared->state != LINK_OPEN) {
        if (shared->state == LINK_CLOSED) {
            link_start(shared); /* the next time */
        }
        return;
    }
    struct slice key = key_of(&waits->request);
    struct cohort_bytes argv[] = {cohort_text("EXISTS"), cohort_bytes_of(key.data, key.size)};
    struct client_request request = {
        .argv = argv, .argc = 2, .flags = COHORT_READ | OPERATION_INTERNAL | OPERATION_NO_RETRY, .link = shared};
    struct operation *probe;
    if (operation_create(link->cohort, &request, &probe) != STATUS_OK) {
        return; /* another time */
    }
    probe->ended = probed;
    probe->data = link;
    link->probe = probe;
    (void)operation_submit(probe);
    handle_wake(link->cohort);
}
