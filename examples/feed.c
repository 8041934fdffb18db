/* A copy of the strings under "config:", kept in step with the cluster, and through the end of this program: it is kept
 * in a file together with the position, and begins there the next time. feed [URL [FILE]]; ends when config:end is set.
 *
 * Its order is what makes it right: the feed first, then the keys, then what is told with a newer version. */
#include <cohort/cohort.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ENTRIES = 1000, BYTES = 128 };

struct entry {
    char key[BYTES], value[BYTES]; /* each of one line */
    unsigned long long version;
};

static struct entry entries[ENTRIES];
static size_t count;

static struct entry *find(struct cohort_bytes key)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(entries[i].key) == key.size && memcmp(entries[i].key, key.data, key.size) == 0) {
            return &entries[i];
        }
    }
    return NULL;
}

static void put(struct cohort_bytes key, struct cohort_bytes value, unsigned long long version)
{
    struct entry *entry = find(key);
    if (key.size >= BYTES || value.size >= BYTES || (entry == NULL && count == ENTRIES)) {
        fprintf(stderr, "%.*s: there is no room for it\n", (int)key.size, (const char *)key.data);
    } else if (entry == NULL || entry->version < version) { /* else it was read, and what was told of it is older */
        entry = entry != NULL ? entry : &entries[count++];
        (void)snprintf(entry->key, BYTES, "%.*s", (int)key.size, (const char *)key.data);
        (void)snprintf(entry->value, BYTES, "%.*s", (int)value.size, (const char *)value.data);
        entry->version = version;
    }
}

static void drop(struct entry *entry, unsigned long long version)
{
    if (entry != NULL && entry->version < version) {
        *entry = entries[--count];
    }
}

static int read_key(struct cohort *cohort, struct cohort_bytes key)
{
    int64_t version;
    struct cohort_reply *reply;
    enum cohort_status status = cohort_getv(cohort, key, &version, &reply);
    if (status == COHORT_OK) {
        put(key, cohort_reply_bytes(cohort_reply_at(reply, 0)), (unsigned long long)version);
    }
    cohort_reply_free(reply);
    return status == COHORT_OK || status == COHORT_NOTFOUND || status == COHORT_WRONGTYPE ? 0 : -1;
}

static int read_all(struct cohort *cohort)
{
    char cursor[32] = "0";
    do {
        struct cohort_bytes words[] = {cohort_text("SCAN"), cohort_text(cursor), cohort_text("MATCH"),
                                       cohort_text("config:*")};
        const struct cohort_call call = {.flags = COHORT_READ};
        struct cohort_reply *reply;
        enum cohort_status status = cohort_command(cohort, 4, words, &call, &reply);
        const struct cohort_reply *keys = cohort_reply_at(reply, 1);
        int failed = status != COHORT_OK;
        for (size_t i = 0; i < cohort_reply_count(keys) && !failed; i++) {
            failed = read_key(cohort, cohort_reply_bytes(cohort_reply_at(keys, i)));
        }
        (void)snprintf(cursor, sizeof(cursor), "%s", cohort_reply_text(cohort_reply_at(reply, 0)));
        cohort_reply_free(reply);
        if (failed) {
            return -1;
        }
    } while (strcmp(cursor, "0") != 0);
    return 0;
}

static void drop_slots(const struct cohort_feed_change *change)
{
    for (size_t i = count; i-- > 0;) {
        uint32_t slot = cohort_key_slot(cohort_text(entries[i].key));
        if (slot >= change->first_slot && slot <= change->last_slot) {
            drop(&entries[i], change->version);
        }
    }
}

static int apply(struct cohort *cohort, const struct cohort_feed_change *change)
{
    switch (change->kind) {
    case COHORT_FEED_SET: put(change->key, change->value, change->version); return 0;
    case COHORT_FEED_DEL:
    case COHORT_FEED_EXPIRED: drop(find(change->key), change->version); return 0;
    case COHORT_FEED_RELOAD: return read_key(cohort, change->key);
    case COHORT_FEED_FLUSH: drop_slots(change); return 0;
    case COHORT_FEED_STALE: drop_slots(change); return read_all(cohort);
    default: return 0; /* hashes, and what does not change a value */
    }
}

/* ---- the file: the position, and two lines for each entry ---- */

/* The old one or the new one, whenever this ends. */
static int save(const char *name, const char *position)
{
    char other[4096];
    (void)snprintf(other, sizeof(other), "%s.new", name);
    FILE *file = fopen(other, "w");
    if (file == NULL) {
        return -1;
    }
    (void)fprintf(file, "%s\n", position);
    for (size_t i = 0; i < count; i++) {
        (void)fprintf(file, "%llu %s\n%s\n", entries[i].version, entries[i].key, entries[i].value);
    }
    int written = fflush(file) == 0 && fsync(fileno(file)) == 0 ? 0 : -1;
    return fclose(file) == 0 && written == 0 ? rename(other, name) : -1;
}

/* A line without its end; −1: there is none. */
static int read_line(FILE *file, char *line, size_t size)
{
    if (fgets(line, (int)size, file) == NULL) {
        return -1;
    }
    line[strcspn(line, "\n")] = '\0';
    return 0;
}

/* The position, or "" when there is no such file. */
static void load(const char *name, char *position, size_t size)
{
    FILE *file = fopen(name, "r");
    char line[BYTES + 32];
    position[0] = '\0';
    if (file == NULL) {
        return;
    }
    (void)read_line(file, position, size);
    while (count < ENTRIES && read_line(file, line, sizeof(line)) == 0) {
        char *key;
        entries[count].version = strtoull(line, &key, 10);
        (void)snprintf(entries[count].key, BYTES, "%s", *key == ' ' ? key + 1 : key);
        if (read_line(file, entries[count].value, BYTES) == 0) {
            count++;
        }
    }
    (void)fclose(file);
}

/* ---- following ---- */

static struct cohort_feed *open_feed(struct cohort *cohort, const char *position)
{
    struct cohort_feed *feed = NULL;
    struct cohort_reply *reply = NULL;
    struct cohort_feed_options options = {.size = sizeof(options)};
    if (position[0] != '\0') {
        options.from = cohort_text(position);
    }
    enum cohort_status status = cohort_feed_open(cohort, cohort_text("config:"), &options, &feed, &reply);
    if (position[0] == '\0' || status == COHORT_COMPACTED) { /* never here, or away for too long: all anew */
        count = 0;
        cohort_reply_free(reply);
        reply = NULL;
        status = feed != NULL ? status : cohort_feed_open(cohort, cohort_text("config:"), NULL, &feed, &reply);
        if (status == COHORT_OK && read_all(cohort) != 0) {
            cohort_feed_close(feed);
            feed = NULL;
        }
    }
    if (status != COHORT_OK) {
        fprintf(stderr, "%s\n", cohort_reply_text(reply));
    }
    cohort_reply_free(reply);
    return feed;
}

static enum cohort_status follow(struct cohort *cohort, struct cohort_feed *feed, const char *name)
{
    enum cohort_status status = COHORT_OK;
    size_t changes = 0;
    do {
        for (size_t i = 0; i < changes; i++) {
            if (apply(cohort, cohort_feed_change(feed, i)) != 0) {
                return COHORT_UNREACHABLE; /* nothing is kept of this batch: it comes again */
            }
        }
        if (save(name, cohort_feed_position(feed)) != 0) {
            perror(name);
            return COHORT_SYSTEM;
        }
        if (find(cohort_text("config:end")) != NULL) {
            return COHORT_OK;
        }
        status = cohort_feed_next(feed, -1, &changes, NULL);
    } while (status == COHORT_OK);
    return status;
}

int main(int argc, char **argv)
{
    const char *name = argc > 2 ? argv[2] : "config.copy";
    char position[4096];
    struct cohort *cohort;
    if (cohort_open(argc > 1 ? argv[1] : NULL, NULL, &cohort, NULL) != COHORT_OK) {
        return 1;
    }
    load(name, position, sizeof(position));
    struct cohort_feed *feed = open_feed(cohort, position);
    enum cohort_status status = COHORT_UNREACHABLE;
    if (feed != NULL) {
        status = follow(cohort, feed, name);
    }
    printf("%s: %zu entries in %s\n", cohort_status_text(status), count, name);
    cohort_feed_close(feed);
    cohort_close(cohort);
    return status == COHORT_OK ? 0 : 1;
}
