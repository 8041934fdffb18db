#include "sim_names.h"

#include "base/assert.h"

#include <stdlib.h>

bool sim_path_clean(const char *path, char clean[SIM_PATH_BYTES])
{
    size_t size = 0;
    while (*path != '\0') {
        size_t part = strcspn(path, "/");
        if (part == 2 && path[0] == '.' && path[1] == '.') {
            while (size > 0 && clean[--size] != '/') {
            }
        } else if (part > 0 && !(part == 1 && path[0] == '.')) {
            if (size + part + 2 > SIM_PATH_BYTES) {
                return false;
            }
            if (size > 0) {
                clean[size++] = '/';
            }
            memcpy(clean + size, path, part);
            size += part;
        }
        path += part;
        path += *path == '/';
    }
    clean[size] = '\0';
    return true;
}

/* The length of the path of the folder that holds it. */
static size_t parent_size(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : (size_t)(slash - path);
}

static bool is_in(const char *path, const char *directory)
{
    size_t size = parent_size(path);
    return path[0] != '\0' && strlen(directory) == size && memcmp(path, directory, size) == 0;
}

static char *copy_path(const char *path)
{
    char *copy = path == NULL ? NULL : strdup(path);
    ASSERT(path == NULL || copy != NULL);
    return copy;
}

/* ---- nodes ---- */

struct sim_node *sim_node_hold(struct sim_node *node)
{
    if (node != NULL) {
        node->references++;
    }
    return node;
}

void sim_node_release(struct sim_node *node)
{
    if (node != NULL && --node->references == 0) {
        sim_content_deinit(&node->content);
        free(node);
    }
}

static struct sim_node *make_node(bool directory)
{
    struct sim_node *node = calloc(1, sizeof(*node));
    ASSERT(node != NULL);
    node->directory = directory;
    sim_content_init(&node->content);
    return node;
}

/* ---- tables ---- */

static struct sim_name *table_find(const struct sim_name_table *table, const char *path)
{
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->names[i].path, path) == 0) {
            return &table->names[i];
        }
    }
    return NULL;
}

static void table_remove(struct sim_name_table *table, const char *path)
{
    struct sim_name *name = table_find(table, path);
    if (name != NULL) {
        free(name->path);
        sim_node_release(name->node);
        *name = table->names[--table->count];
    }
}

static void table_put(struct sim_name_table *table, const char *path, struct sim_node *node)
{
    sim_node_hold(node);
    table_remove(table, path);
    if (table->count == table->capacity) {
        table->capacity = table->capacity == 0 ? 16 : table->capacity * 2;
        table->names = realloc(table->names, table->capacity * sizeof(table->names[0]));
        ASSERT(table->names != NULL);
    }
    table->names[table->count++] = (struct sim_name){copy_path(path), node};
}

static void table_clear(struct sim_name_table *table)
{
    while (table->count > 0) {
        table_remove(table, table->names[0].path);
    }
}

/* ---- changes ---- */

static void apply(struct sim_name_table *table, const struct sim_name_change *change)
{
    if (change->gone != NULL) {
        table_remove(table, change->gone);
    }
    if (change->path != NULL) {
        table_put(table, change->path, change->node);
    }
}

static void free_change(struct sim_name_change *change)
{
    free(change->gone);
    free(change->path);
    sim_node_release(change->node);
}

static void add(struct sim_names *names, const char *gone, const char *path, struct sim_node *node)
{
    if (names->count == names->capacity) {
        names->capacity = names->capacity == 0 ? 16 : names->capacity * 2;
        names->changes = realloc(names->changes, names->capacity * sizeof(names->changes[0]));
        ASSERT(names->changes != NULL);
    }
    struct sim_name_change *change = &names->changes[names->count++];
    *change = (struct sim_name_change){copy_path(gone), copy_path(path), sim_node_hold(node)};
    apply(&names->now, change);
}

void sim_names_init(struct sim_names *names) { *names = (struct sim_names){0}; }

void sim_names_deinit(struct sim_names *names)
{
    table_clear(&names->now);
    table_clear(&names->disk);
    for (size_t i = 0; i < names->count; i++) {
        free_change(&names->changes[i]);
    }
    free(names->now.names);
    free(names->disk.names);
    free(names->changes);
}

struct sim_node *sim_names_find(const struct sim_names *names, const char *path)
{
    const struct sim_name *name = table_find(&names->now, path);
    return name == NULL ? NULL : name->node;
}

static bool is_directory(const struct sim_name_table *table, const char *path, size_t size)
{
    char copy[SIM_PATH_BYTES];
    memcpy(copy, path, size);
    copy[size] = '\0';
    const struct sim_name *name = table_find(table, copy);
    return size == 0 || (name != NULL && name->node->directory);
}

enum status sim_names_make(struct sim_names *names, const char *path, bool directory, struct sim_node **ret_node)
{
    if (path[0] == '\0') {
        return STATUS_INVALID;
    }
    if (!is_directory(&names->now, path, parent_size(path))) {
        return STATUS_NOTFOUND;
    }
    struct sim_node *node = make_node(directory);
    add(names, NULL, path, node);
    *ret_node = node;
    return STATUS_OK;
}

enum status sim_names_rename(struct sim_names *names, const char *from, const char *to)
{
    struct sim_node *node = sim_names_find(names, from);
    struct sim_node *target = sim_names_find(names, to);
    if (node == NULL || !is_directory(&names->now, to, parent_size(to))) {
        return STATUS_NOTFOUND;
    }
    if (node->directory || (target != NULL && target->directory)) {
        return STATUS_UNSUPPORTED;
    }
    if (node != target) {
        add(names, from, to, node);
    }
    return STATUS_OK;
}

enum status sim_names_unlink(struct sim_names *names, const char *path)
{
    struct sim_node *node = sim_names_find(names, path);
    if (node == NULL) {
        return STATUS_NOTFOUND;
    }
    if (node->directory) {
        return STATUS_UNSUPPORTED;
    }
    add(names, path, NULL, NULL);
    return STATUS_OK;
}

enum status sim_names_sync(struct sim_names *names, const char *directory)
{
    if (!is_directory(&names->now, directory, strlen(directory))) {
        return STATUS_NOTFOUND;
    }
    size_t kept = 0;
    for (size_t i = 0; i < names->count; i++) {
        struct sim_name_change *change = &names->changes[i];
        bool here = (change->gone != NULL && is_in(change->gone, directory)) ||
                    (change->path != NULL && is_in(change->path, directory));
        if (here) {
            apply(&names->disk, change);
            free_change(change);
        } else {
            names->changes[kept++] = *change;
        }
    }
    names->count = kept;
    return STATUS_OK;
}

enum status sim_names_list(struct sim_names *names, const char *directory, void (*entry)(void *owner, const char *name),
                           void *owner)
{
    size_t size = strlen(directory);
    if (!is_directory(&names->now, directory, size)) {
        return STATUS_NOTFOUND;
    }
    /* By copies, because entry may change the names. */
    struct buffer found;
    buffer_init(&found);
    for (size_t i = 0; i < names->now.count; i++) {
        const char *path = names->now.names[i].path;
        if (is_in(path, directory)) {
            const char *name = path + size + (size > 0);
            buffer_append(&found, name, strlen(name) + 1);
        }
    }
    for (size_t at = 0; at < found.size; at += strlen((char *)found.data + at) + 1) {
        entry(owner, (char *)found.data + at);
    }
    buffer_deinit(&found);
    return STATUS_OK;
}

uint64_t sim_names_used(const struct sim_names *names)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < names->now.count; i++) {
        sum += names->now.names[i].node->content.cache.size;
    }
    return sum;
}

/* ---- crash ---- */

/* Journals keep the order of changes; POSIX does not ask for it. */
static void settle_names(struct sim_names *names, struct prng *prng)
{
    bool ordered = prng_chance(prng, 1, 2);
    size_t cut = prng_below(prng, names->count + 1);
    for (size_t i = 0; i < names->count; i++) {
        struct sim_name_change *change = &names->changes[i];
        if (ordered ? i < cut : (bool)prng_chance(prng, 1, 2)) {
            apply(&names->disk, change);
        }
        free_change(change);
    }
    names->count = 0;
}

/* Names whose folder was lost are lost. */
static void drop_orphans(struct sim_name_table *table)
{
    for (size_t i = 0; i < table->count;) {
        const char *path = table->names[i].path;
        if (is_directory(table, path, parent_size(path))) {
            i++;
        } else {
            table_remove(table, path);
            i = 0;
        }
    }
}

void sim_names_crash(struct sim_names *names, struct prng *prng, size_t sector_bytes)
{
    settle_names(names, prng);
    drop_orphans(&names->disk);
    table_clear(&names->now);
    for (size_t i = 0; i < names->disk.count; i++) {
        const struct sim_name *name = &names->disk.names[i];
        table_put(&names->now, name->path, name->node);
        sim_content_settle(&name->node->content, prng, sector_bytes);
        sim_content_reload(&name->node->content);
    }
}
