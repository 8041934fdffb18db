/* Two-phase commit over replicated groups in which home votes last, as Cohort runs it at a first attempt: home hears of
 * the transaction when all others are prepared, and opens it, votes and commits in one step (LAST), or changes nothing.
 *
 * Groups, messages and the driver are as in two_phase.pml. LAST is executed once, if ever: a group executes what is
 * forwarded to it once.
 *
 * home:         ABSENT → COMMIT → done;  ABSENT → ABORT (asked before) and done
 * participant:  q → w (voted yes) → committed | aborted;  q → aborted (voted no)
 *
 * Switches: HOME_LOST: home may go and never come back. ABSENCE_ANSWERS: a question about a record that is not there is
 * answered "aborted" without writing it down. TOO_EARLY: LAST is said before all have voted. DROPS_IN_DOUBT: the driver
 * ends the parts when it does not know what came of LAST. FORGETS: home forgets that it was asked, and takes LAST
 * after all. NO_COMMIT: claims that nothing ever commits. */

#define N 2
#define HOME_CRASHES 2

mtype = { ABSENT, COMMIT, ABORT };
mtype = { q, w, committed, aborted };

mtype home = ABSENT;
bool done = false;  /* every participant has the outcome */
bool own = false;   /* home's own writes are there */
bool home_up = true;
bool home_lost = false;
mtype part[N] = q;

/* under way: once said, for ever */
bool last_said, last_yes, last_no, drop_said;
bool prepare_said[N], yes[N], no[N], acknowledged[N];
bool told_commit, told_abort; /* what the client heard */

#define some(s) (part[0] == s || part[1] == s)
#define all_said(what) (what[0] && what[1])

bool agreement = true;
bool every_vote_was_yes = true;
bool told_is_decided = true;
bool nobody_waits = true;
bool every_record_ends = true;
bool no_commit = true;

inline check()
{
    agreement = !((own || some(committed)) && some(aborted)) && !(some(committed) && !own);
    assert(agreement);
    every_vote_was_yes = !(own && (no[0] || no[1]));
    assert(every_vote_was_yes);
    told_is_decided = !(told_commit && home != COMMIT) && !(told_abort && home == COMMIT);
    assert(told_is_decided);
#ifdef NO_COMMIT
    no_commit = !(done && own && told_commit);
    assert(no_commit);
#endif
}

/* The client's node. It may end between any two steps; it says LAST, or ends the parts, and the latter after LAST only
 * when that was a no, or home has told ABORT. */
active proctype driver()
{
    byte k;
    do
    :: atomic {
           k < N && !drop_said ->
           prepare_said[k] = true;
           k++
       }
    :: atomic {
#ifdef TOO_EARLY
           k == N && !last_said && !drop_said ->
#else
           all_said(yes) && !last_said && !drop_said ->
#endif
           last_said = true
       }
    :: atomic { !last_said && !drop_said -> drop_said = true; told_abort = true; check() }
    :: atomic { last_no && !drop_said -> drop_said = true; told_abort = true; check() }
#ifdef DROPS_IN_DOUBT
    :: atomic { last_said && !drop_said -> drop_said = true }
#endif
    :: atomic { last_yes -> told_commit = true; check(); break }
    :: atomic { /* the answer is lost: RESOLVE */
           home_up && last_said ->
           if
           :: home == ABSENT -> home = ABORT
           :: else -> skip
           fi;
           if
           :: home == COMMIT -> told_commit = true
           :: home == ABORT -> told_abort = true; drop_said = true
           fi;
           check();
           break
       }
    :: break /* it ends, or gives up: what it said stays said */
    od
}

active proctype home_shard()
{
    byte crashes, k;
    do
    :: atomic {
           home_up && last_said && !last_yes && !last_no && home == ABSENT ->
           home = COMMIT;
           own = true;
           last_yes = true;
           check()
       }
    :: atomic { home_up && last_said && !last_yes && !last_no -> last_no = true } /* its own vote, its epoch, or a record */
#ifdef FORGETS
    :: atomic { home_up && home == ABORT -> home = ABSENT }
#endif
    :: atomic { /* FINISH reaches a participant and is acknowledged */
           home_up && !done && home == COMMIT ->
           if
           :: !acknowledged[0] -> k = 0
           :: !acknowledged[1] -> k = 1
           :: all_said(acknowledged) -> done = true; check(); goto finished
           fi;
           if
           :: part[k] == w -> part[k] = committed
           :: else -> skip /* it asked, or knows nothing of it */
           fi;
           acknowledged[k] = true;
           check();
finished:
           k = 0
       }
    :: atomic { home_up && crashes < HOME_CRASHES -> home_up = false; crashes++ }
    :: atomic { !home_up && !home_lost -> home_up = true }
#ifdef HOME_LOST
    :: atomic { !home_up && !home_lost -> home_lost = true }
#endif
    od
}

/* A participant. Its own crashes are pauses here. */
proctype participant(byte me)
{
    do
    :: atomic { prepare_said[me] && part[me] == q -> part[me] = w; yes[me] = true }
    :: atomic { prepare_said[me] && part[me] == q -> part[me] = aborted; no[me] = true; check() }
    :: atomic { drop_said && part[me] == w -> part[me] = aborted; check() }
    :: atomic { /* RESOLVE: home writes down what it answers */
           home_up && part[me] == w && home == ABSENT ->
#ifndef ABSENCE_ANSWERS
           home = ABORT;
#endif
           part[me] = aborted;
           check()
       }
    :: atomic { home_up && part[me] == w && home == ABORT -> part[me] = aborted; check() }
    :: atomic { home_up && part[me] == w && home == COMMIT -> part[me] = committed; check() }
    od
}

/* Runs when nothing else can: the end of a run. */
active proctype quiet()
{
    byte k;
    timeout;
    do
    :: k < N ->
        nobody_waits = part[k] != w;
        assert(nobody_waits);
        k++
    :: else -> break
    od;
    every_record_ends = home != COMMIT || done;
    assert(every_record_ends)
}

init
{
    byte n;
    atomic {
        do
        :: n < N -> run participant(n); n++
        :: else -> break
        od
    }
}
