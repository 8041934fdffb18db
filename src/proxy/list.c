/* Lists of backends: copied once, shared by the workers, and freed by whoever gives one up last.
 *
 * A new list is tried on a balancer that has no traffic (the pattern), so it is refused as a whole or taken by all
 * workers. A worker takes it in its next turn. What only a worker can refuse, too many that left and still have
 * connections, it tries again whenever it is woken, as for figures. */
#include "base/assert.h"
#include "base/memory.h"
#include "proxy/worker.h"

static size_t text_bytes(const struct proxy_backend *backends, uint32_t count)
{
    size_t size = 1; /* memory is never asked for nothing */
    for (uint32_t i = 0; i < count; i++) {
        const struct balancer_listing *listing = &backends[i].listing;
        size += listing->id.size + listing->address.size + listing->zone.size;
    }
    return size;
}

static struct slice keep_text(char **texts, struct slice text)
{
    if (text.size == 0) {
        return slice_of(NULL, 0);
    }
    char *kept = *texts;
    memcpy(kept, text.data, text.size);
    *texts += text.size;
    return slice_of(kept, text.size);
}

static struct proxy_list *list_create(const struct proxy_backend *backends, uint32_t count)
{
    struct proxy_list *list = memory_allocate_zeroed(1, sizeof(*list));
    list->texts = memory_allocate(text_bytes(backends, count));
    char *texts = list->texts;
    for (uint32_t i = 0; i < count; i++) {
        struct balancer_listing *listing = &list->listings[i];
        *listing = backends[i].listing;
        listing->id = keep_text(&texts, listing->id);
        listing->address = keep_text(&texts, listing->address);
        listing->zone = keep_text(&texts, listing->zone);
        list->addresses[i] = backends[i].at;
    }
    list->count = count;
    atomic_init(&list->users, 1);
    return list;
}

static struct proxy_list *share(struct proxy_list *list)
{
    atomic_fetch_add(&list->users, 1);
    return list;
}

void proxy_list_release(struct proxy_list *list)
{
    if (list != NULL && atomic_fetch_sub(&list->users, 1) == 1) {
        free(list->texts);
        free(list);
    }
}

enum status proxy_update(struct proxy *proxy, const struct proxy_backend *backends, uint32_t count,
                         struct balancer_refused *ret_refused)
{
    ASSERT(count >= 1 && count <= PROXY_MAXIMUM_BACKENDS);
    struct proxy_list *list = list_create(backends, count);
    enum status status =
        balancer_update(proxy->pattern, list->listings, list->count, proxy_worker_clock_ns(), ret_refused);
    if (status != STATUS_OK) {
        proxy_list_release(list);
        return status;
    }
    proxy_list_release(proxy->list);
    proxy->list = list;
    for (uint32_t i = 0; i < proxy->worker_count; i++) {
        struct proxy_worker *worker = proxy->workers[i];
        pthread_mutex_lock(&worker->lock);
        proxy_list_release(worker->next_list); /* one that it has not seen */
        worker->next_list = share(list);
        pthread_mutex_unlock(&worker->lock);
        proxy_worker_wake(worker);
    }
    return STATUS_OK;
}

static void set_targets(struct proxy_worker *worker, const struct proxy_list *list)
{
    for (uint32_t i = 0; i < worker->target_count; i++) {
        worker->targets[i].listed = false;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        uint32_t handle = balancer_listed(worker->balancer, i);
        if (handle >= worker->target_count) {
            uint32_t count = handle + 1;
            worker->targets = memory_resize(worker->targets, count * sizeof(worker->targets[0]));
            for (; worker->target_count < count; worker->target_count++) {
                worker->targets[worker->target_count] = (struct proxy_target){.check = {.fd = -1}};
            }
        }
        worker->targets[handle].listed = true;
        worker->targets[handle].at = list->addresses[i];
        worker->targets[handle].host = list->listings[i].address;
    }
}

void proxy_worker_take_list(struct proxy_worker *worker)
{
    struct proxy_list *list = worker->next_list;
    if (list == NULL ||
        balancer_update(worker->balancer, list->listings, list->count, worker->now_ns, NULL) != STATUS_OK) {
        return;
    }
    bool first = worker->list == NULL;
    worker->next_list = NULL;
    proxy_list_release(worker->list);
    worker->list = list;
    set_targets(worker, list);
    backend_check_listed(worker, first);
}
