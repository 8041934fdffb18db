/* Follows a prefix through libcohort while a test breaks the cluster, and this program: libcohort_feed URL PREFIX FILE
 *
 * Each change becomes a line of the file, "kind key version …", and each batch ends with a line "@position". Started
 * again, it drops what stands behind the last of these, and goes on from there. */
#include <cohort/cohort.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const kinds[] = {"set",    "hset",    "hdel",  "del",    "expired",
                                    "expire", "persist", "flush", "reload", "stale"};

/* What follows the last whole line that begins with '@' is cut off; the position in it, or "". */
static void find_position(FILE *file, char *position, size_t size)
{
    char *line = NULL;
    size_t room = 0;
    long end = 0;
    ssize_t length;
    position[0] = '\0';
    while ((length = getline(&line, &room, file)) > 0) {
        if (line[0] == '@' && line[length - 1] == '\n') {
            (void)snprintf(position, size, "%.*s", (int)length - 2, line + 1);
            end = ftell(file);
        }
    }
    free(line);
    if (ftruncate(fileno(file), end) != 0 || fseek(file, end, SEEK_SET) != 0) {
        abort();
    }
}

static void put_bytes(FILE *file, struct cohort_bytes bytes)
{
    (void)fputc(' ', file);
    (void)fwrite(bytes.data, 1, bytes.size, file);
}

static void put(FILE *file, const struct cohort_feed_change *change)
{
    (void)fputs(kinds[change->kind], file);
    put_bytes(file, change->key);
    (void)fprintf(file, " %llu", (unsigned long long)change->version);
    switch (change->kind) {
    case COHORT_FEED_SET: put_bytes(file, change->value); break;
    case COHORT_FEED_HDEL: put_bytes(file, change->field); break;
    case COHORT_FEED_HSET:
        put_bytes(file, change->field);
        put_bytes(file, change->value);
        break;
    case COHORT_FEED_EXPIRE: (void)fprintf(file, " %lld", (long long)change->expires_ms); break;
    case COHORT_FEED_FLUSH:
    case COHORT_FEED_STALE: (void)fprintf(file, " %u %u", change->first_slot, change->last_slot); break;
    default: break;
    }
    (void)fputc('\n', file);
}

static int follow(struct cohort_feed *feed, FILE *file)
{
    size_t count;
    struct cohort_reply *reply = NULL;
    enum cohort_status status;
    do {
        (void)fprintf(file, "@%s\n", cohort_feed_position(feed));
        (void)fflush(file);
        status = cohort_feed_next(feed, -1, &count, &reply);
        for (size_t i = 0; status == COHORT_OK && i < count; i++) {
            put(file, cohort_feed_change(feed, i));
        }
    } while (status == COHORT_OK);
    fprintf(stderr, "%s: %s\n", cohort_status_text(status), cohort_reply_text(reply));
    return 1;
}

int main(int argc, char **argv)
{
    char position[4096];
    struct cohort *cohort;
    struct cohort_feed *feed;
    struct cohort_reply *reply;
    const struct cohort_options patient = {.timeout_ms = 60000};
    FILE *file = argc == 4 ? fopen(argv[3], "a+") : NULL;
    if (file == NULL || cohort_open(argv[1], &patient, &cohort, NULL) != COHORT_OK) {
        fprintf(stderr, "usage: libcohort_feed URL PREFIX FILE\n");
        return 64;
    }
    rewind(file);
    find_position(file, position, sizeof(position));
    struct cohort_feed_options options = {.silence_ms = 0};
    if (position[0] != '\0') {
        options.from = cohort_text(position);
    }
    enum cohort_status status = cohort_feed_open(cohort, cohort_text(argv[2]), &options, &feed, &reply);
    if (status != COHORT_OK) {
        fprintf(stderr, "%s: %s\n", cohort_status_text(status), cohort_reply_text(reply));
        return 1;
    }
    cohort_reply_free(reply);
    return follow(feed, file);
}
