/* libcohort: a client of Cohort (man 3 libcohort). */
#ifndef COHORT_COHORT_H
#define COHORT_COHORT_H

#include <cohort/client.h>
#include <cohort/elect.h>
#include <cohort/engine.h>
#include <cohort/feed.h>
#include <cohort/keys.h>
#include <cohort/lock.h>
#include <cohort/script.h>
#include <cohort/session.h>
#include <cohort/transaction.h>

#endif
