/* Moves money between two accounts, in two ways: all or nothing. */
#include <cohort/cohort.h>
#include <stdio.h>

static enum cohort_status add(struct cohort_batch *batch, const char *account, const char *amount)
{
    struct cohort_bytes words[] = {cohort_text("INCRBY"), cohort_text(account), cohort_text(amount)};
    return cohort_batch_add(batch, 3, words);
}

/* Known in advance: a batch. */
static enum cohort_status transfer_at_once(struct cohort *cohort)
{
    struct cohort_batch *batch;
    enum cohort_status status = cohort_batch_create(&batch);
    if (status == COHORT_OK) {
        (void)add(batch, "account:1", "-10");
        (void)add(batch, "account:2", "10");
        status = cohort_batch_run(cohort, batch, NULL);
        cohort_batch_free(batch);
    }
    return status;
}

/* Looks first: an interactive transaction. */
static enum cohort_status transfer_if_there(struct cohort *cohort)
{
    struct cohort_txn *txn;
    struct cohort_reply *balance;
    enum cohort_status status = cohort_txn_begin(cohort, NULL, &txn, NULL);
    if (status != COHORT_OK) {
        return status;
    }
    struct cohort_bytes get[] = {cohort_text("GET"), cohort_text("account:2")};
    struct cohort_bytes take[] = {cohort_text("DECRBY"), cohort_text("account:2"), cohort_text("10")};
    struct cohort_bytes give[] = {cohort_text("INCRBY"), cohort_text("account:1"), cohort_text("10")};
    status = cohort_txn_command(txn, 2, get, &balance);
    if (status == COHORT_OK && cohort_reply_integer(balance) >= 10) {
        (void)cohort_txn_command(txn, 3, take, NULL);
        (void)cohort_txn_command(txn, 3, give, NULL);
        status = cohort_txn_commit(txn, NULL); /* what was aborted before says so here */
    } else {
        (void)cohort_txn_rollback(txn, NULL);
    }
    cohort_reply_free(balance);
    cohort_txn_free(txn);
    return status;
}

int main(int argc, char **argv)
{
    struct cohort *cohort;
    if (cohort_open(argc > 1 ? argv[1] : NULL, NULL, &cohort, NULL) != COHORT_OK) {
        return 1;
    }
    enum cohort_status status = transfer_at_once(cohort);
    printf("at once: %s\n", cohort_status_text(status));
    if (status == COHORT_OK) {
        status = transfer_if_there(cohort);
        printf("if there: %s\n", cohort_status_text(status));
    }
    cohort_close(cohort);
    return status == COHORT_OK ? 0 : 1;
}
