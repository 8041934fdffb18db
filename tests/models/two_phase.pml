/* Two-phase commit over replicated groups, as Cohort runs it for one transaction.
 *
 * A group (home, a participant) is one process here: consensus makes it one thing that remembers every step it took, and
 * that is away for a while when its leader is lost. The client's driver remembers nothing and may end at any moment.
 * A message is a bit that stays set, so it arrives late, twice, or in any order; a lost one is one that never arrives
 * before something else decided. Every step moves something forward, so a run ends, and what is true at the end of every
 * run is true in the end.
 *
 * home:         ABSENT → OPEN → COMMIT | ABORT → DONE
 * participant:  q → w (voted yes) → committed | aborted;  q → aborted (voted no)
 *
 * Switches: HOME_LOST: home may go and never come back. ABSENCE_ANSWERS: a question about a record that is not there is
 * answered "aborted" without writing it down. EARLY_REPLY: the client hears of the commit before it is decided.
 * LONE_ABORT: a participant that waited long decides by itself. NO_COMMIT: claims that nothing ever commits. */

#define N 3
#define HOME_CRASHES 2

mtype = { ABSENT, OPEN, COMMIT, ABORT };
mtype = { q, w, committed, aborted };

mtype home = ABSENT;
bool done = false; /* the outcome above stays; every participant has it */
bool home_up = true;
bool home_lost = false;
mtype part[N] = q;

/* under way: once said, for ever */
bool open_said, decide_said;
bool prepare_said[N], yes[N], no[N], acknowledged[N];
bool told_commit, told_abort; /* what the client heard */

#define some(s) (part[0] == s || part[1] == s || part[2] == s)
#define all_said(what) (what[0] && what[1] && what[2])
#define all_committed (part[0] == committed && part[1] == committed && part[2] == committed)

/* What is claimed, by name: a checker prints the name of the one that fails. */
bool agreement = true;
bool every_vote_was_yes = true;
bool told_is_decided = true;
bool nobody_waits = true;
bool every_record_ends = true;
bool no_commit = true;

inline check()
{
    agreement = !(some(committed) && some(aborted));
    assert(agreement);
    every_vote_was_yes = !(some(committed) && (no[0] || no[1] || no[2]));
    assert(every_vote_was_yes);
    told_is_decided = !(told_commit && home != COMMIT) && !(told_abort && home != ABORT);
    assert(told_is_decided);
#ifdef NO_COMMIT
    no_commit = !(done && all_committed && told_commit);
    assert(no_commit);
#endif
}

/* The client's node: OPEN and the PREPAREs together, then DECIDE. It may end between any two steps. */
active proctype driver()
{
    byte k;
    do
    :: atomic { !open_said -> open_said = true }
    :: atomic {
           k < N -> /* the PREPAREs leave in an order, OPEN anywhere among them */
           prepare_said[k] = true;
           k++
       }
    :: atomic {
           home == OPEN && all_said(yes) && !decide_said ->
           decide_said = true;
#ifdef EARLY_REPLY
           told_commit = true;
           check()
#endif
       }
    :: atomic { home == COMMIT -> told_commit = true; check(); break }
    :: atomic { home == ABORT -> told_abort = true; check(); break }
    :: break /* it ends, or gives up: what it said stays said */
    od
}

/* The home shard: a record, changed by compare-and-set. */
active proctype home_shard()
{
    byte crashes, k;
    do
    :: atomic { home_up && open_said && home == ABSENT -> home = OPEN }
    :: atomic { home_up && decide_said && home == OPEN -> home = COMMIT; check() }
    :: atomic { home_up && home == OPEN -> home = ABORT; check() } /* the deadline, or a no vote */
    :: atomic { /* FINISH reaches a participant and is acknowledged; one that knows nothing of it needs nothing */
           home_up && !done && (home == COMMIT || home == ABORT) ->
           if
           :: !acknowledged[0] -> k = 0
           :: !acknowledged[1] -> k = 1
           :: !acknowledged[2] -> k = 2
           :: all_said(acknowledged) -> done = true; check(); goto finished
           fi;
           if
           :: home == COMMIT -> part[k] = committed
           :: home == ABORT && part[k] == w -> part[k] = aborted
           :: home == ABORT && part[k] != w -> skip /* it voted no, or never heard of it */
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

/* A participant. Its own crashes are pauses here: it takes no step for as long as the others like. */
proctype participant(byte me)
{
    do
    :: atomic { prepare_said[me] && part[me] == q -> part[me] = w; yes[me] = true }
    :: atomic { prepare_said[me] && part[me] == q -> part[me] = aborted; no[me] = true; check() }
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
#ifdef LONE_ABORT
    :: atomic { !home_up && part[me] == w -> part[me] = aborted; check() }
#endif
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
    every_record_ends = home == ABSENT || done;
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
