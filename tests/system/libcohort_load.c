/* Threads that count through libcohort while a test breaks the cluster: libcohort_load URL THREADS CALLS
 *
 * Each thread adds 1 to counters of its own, by itself, in batches and in transactions, and prints how many were done
 * and how many are uncertain: "counter done uncertain", at the end. A definite refusal is tried again. */
#include <cohort/cohort.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS_MAXIMUM = 32, KEYS = 4 };

struct worker {
    struct cohort *cohort;
    pthread_t thread;
    int number;
    int calls;
    int done;
    int unsure;
    int batch_done;
    int batch_unsure;
    int txn_done;
    int txn_unsure;
};

static void key_of(char *key, size_t size, const char *kind, const struct worker *worker, int part)
{
    (void)snprintf(key, size, "%s:%d:%d", kind, worker->number, part);
}

static void note(enum cohort_status status, int *done, int *unsure)
{
    *done += status == COHORT_OK;
    *unsure += status == COHORT_UNCERTAIN;
}

static void count(struct worker *worker, int call)
{
    char key[32];
    key_of(key, sizeof(key), "single", worker, 0);
    note(cohort_incr(worker->cohort, cohort_text(key), 1, NULL, NULL), &worker->done, &worker->unsure);
}

static void count_in_batch(struct worker *worker)
{
    struct cohort_batch *batch;
    if (cohort_batch_create(&batch) != COHORT_OK) {
        abort();
    }
    for (int part = 0; part < KEYS; part++) {
        char key[32];
        key_of(key, sizeof(key), "batch", worker, part);
        struct cohort_bytes words[] = {cohort_text("INCR"), cohort_text(key)};
        if (cohort_batch_add(batch, 2, words) != COHORT_OK) {
            abort();
        }
    }
    note(cohort_batch_run(worker->cohort, batch, NULL), &worker->batch_done, &worker->batch_unsure);
    cohort_batch_free(batch);
}

static void count_in_transaction(struct worker *worker)
{
    struct cohort_txn *txn;
    if (cohort_txn_begin(worker->cohort, NULL, &txn, NULL) != COHORT_OK) {
        return;
    }
    bool whole = true; /* of a transaction that had no room for a command nothing may stay */
    for (int part = 0; part < KEYS; part++) {
        char key[32];
        key_of(key, sizeof(key), "txn", worker, part);
        struct cohort_bytes words[] = {cohort_text("INCR"), cohort_text(key)};
        whole = cohort_txn_command(txn, 2, words, NULL) == COHORT_OK && whole;
    }
    enum cohort_status status = whole ? cohort_txn_commit(txn, NULL) : cohort_txn_rollback(txn, NULL);
    if (!whole) {
        cohort_txn_free(txn);
        return;
    }
    if (status == COHORT_UNCERTAIN) { /* by its id it can be known later */
        status = cohort_txn_status(worker->cohort, cohort_txn_id(txn), NULL);
        status = status == COHORT_OK || status == COHORT_TXNABORT ? status : COHORT_UNCERTAIN;
    }
    note(status, &worker->txn_done, &worker->txn_unsure);
    cohort_txn_free(txn);
}

static void *work(void *owner)
{
    struct worker *worker = owner;
    for (int call = 0; call < worker->calls; call++) {
        count(worker, call);
        if (call % 4 == 0) {
            count_in_batch(worker);
        }
        if (call % 8 == 0) {
            count_in_transaction(worker);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct worker workers[THREADS_MAXIMUM];
    int threads = argc == 4 ? atoi(argv[2]) : 0;
    struct cohort *cohort;
    struct cohort_options options = {.timeout_ms = 10000};
    if (threads < 1 || threads > THREADS_MAXIMUM || cohort_open(argv[1], &options, &cohort, NULL) != COHORT_OK) {
        fprintf(stderr, "usage: libcohort_load URL THREADS CALLS\n");
        return 64;
    }
    for (int i = 0; i < threads; i++) {
        workers[i] = (struct worker){.cohort = cohort, .number = i, .calls = atoi(argv[3])};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            return 71;
        }
    }
    for (int i = 0; i < threads; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        printf("single:%d %d %d\nbatch:%d %d %d\ntxn:%d %d %d\n", i, workers[i].done, workers[i].unsure, i,
               workers[i].batch_done, workers[i].batch_unsure, i, workers[i].txn_done, workers[i].txn_unsure);
    }
    cohort_close(cohort);
    return 0;
}
