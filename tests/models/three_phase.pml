/* Three-phase commit: the textbook's, and the one with quorums that Cohort runs, for one transaction.
 *
 * V participants and home, which coordinates and holds no keys. Each is a replicated group, one process here, that
 * remembers its state and may crash, come back, and be cut off. What a coordinator or a terminator has heard is volatile
 * or old, and it may act on it: the rules must not mind.
 *
 * participant:  q → w (voted yes) → pre_commit → committed,  w → pre_abort → aborted;  q → aborted
 *
 * QUORUMS 1: the rules of Skeen's quorum-based protocol, with VC + VA = V + 1. Anybody may run the termination at any
 *   time, two at once, on what it heard however long ago: a participant that cannot be reached, or a request under way,
 *   is a step that is not taken yet. So without one cut or crash said aloud, every split of the network is there already.
 * QUORUMS 0: the textbook. Whoever does not answer is taken for dead: the coordinator goes on without it; when the
 *   coordinator does not answer, the first participant of those that reach each other decides for them.
 * CUTS: how often the network splits (and heals). CRASHES: how often a node goes. RETURN: nodes come back, as after a
 *   pause. HOME_LOST: home goes, once more, and may stay away. TERMINATORS: how many participants may terminate.
 * FINISH: claims that in the end everybody who is there has an outcome. NO_COMMIT, NO_TERMINATION: claim that nothing
 *   commits, and that nothing commits by termination. */

#define V 3
#ifndef VC
#define VC 2
#define VA 2
#endif
#ifndef TERMINATORS
#define TERMINATORS 2
#endif
#ifndef CUTS
#define CUTS 0
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#define HOME V

mtype = { unknown, q, w, pre_commit, pre_abort, committed, aborted };

mtype part[V] = q;
bool up[V + 1] = true;
bit side[V + 1];
bool cut = false;
byte cuts, crashes;
bool terminated_by_commit;

#define linked(a, b) (up[a] && up[b] && side[a] == side[b])

#define some(s) (part[0] == s || part[1] == s || part[2] == s)
#define all_committed (part[0] == committed && part[1] == committed && part[2] == committed)

/* What is claimed, by name: a checker prints the name of the one that fails. */
bool agreement = true;
bool everybody_finishes = true;
bool no_commit = true;
bool no_termination = true;

inline check()
{
    agreement = !(some(committed) && some(aborted));
    assert(agreement);
#ifdef NO_COMMIT
    no_commit = !all_committed;
    assert(no_commit);
#endif
#ifdef NO_TERMINATION
    no_termination = !(terminated_by_commit && all_committed);
    assert(no_termination);
#endif
}

/* A participant hears the outcome: one that has another breaks the agreement, which must never come up with quorums. */
inline hear(j, outcome)
{
    if
    :: part[j] != committed && part[j] != aborted -> part[j] = outcome
    :: part[j] == outcome -> skip
    :: else -> agreement = false; assert(agreement)
    fi;
    check()
}

/* The coordinator: votes, pre-commits, the decision. It ends with home's first crash: afterwards the participants
 * terminate, and home, should it return, has nothing to say that they do not. */
active proctype coordinator()
{
    byte k, yes_votes, pre_commits;
    do /* PREPARE */
    :: atomic {
           up[HOME] && k < V && linked(HOME, k) ->
           if
           :: part[k] == q -> part[k] = w; yes_votes++
           :: part[k] == q -> part[k] = aborted
           :: part[k] != q -> skip /* somebody terminates already */
           fi;
           k++
       }
    :: atomic { up[HOME] && k < V && !linked(HOME, k) -> k++ } /* no answer */
    :: atomic { up[HOME] && k == V -> k = 0; break }
    :: !up[HOME] -> goto ended
    od;
    if
    :: yes_votes < V -> goto ended /* what voted yes is terminated, as after a crash */
    :: else
    fi;
    do /* pre-commit */
    :: atomic {
           up[HOME] && k < V && linked(HOME, k) ->
           if
           :: part[k] == w -> part[k] = pre_commit; pre_commits++
           :: part[k] == pre_commit -> pre_commits++
           :: else
           fi;
           k++
       }
    :: atomic { up[HOME] && k < V && !linked(HOME, k) -> k++ }
    :: atomic { up[HOME] && k == V -> k = 0; break }
    :: !up[HOME] -> goto ended
    od;
#if QUORUMS
    if
    :: pre_commits < VC -> goto ended
    :: else
    fi;
#endif
    do /* commit */
    :: atomic { up[HOME] && k < V && linked(HOME, k) -> hear(k, committed); k++ }
    :: atomic { up[HOME] && k < V && !linked(HOME, k) -> k++ }
    :: k == V || !up[HOME] -> break
    od;
ended:
    skip
}

#define sees(s) (view[0] == s || view[1] == s || view[2] == s)
#define count(s) ((view[0] == s -> 1 : 0) + (view[1] == s -> 1 : 0) + (view[2] == s -> 1 : 0))
#define decided (sees(committed) || sees(aborted))
#define can_commit (sees(pre_commit) && count(pre_commit) < VC && count(pre_commit) + count(w) >= VC)
#define can_abort (count(pre_abort) < VA && count(pre_abort) + count(w) >= VA)
#define unasked(j) (linked(me, j) && view[j] == unknown)
#define asked_all (!unasked(0) && !unasked(1) && !unasked(2))

inline tell_all(outcome)
{
    k = 0;
    do
    :: atomic { up[me] && k < V && linked(me, k) -> hear(k, outcome); k++ }
    :: atomic { up[me] && k < V && !linked(me, k) -> k++ }
    :: k == V || !up[me] -> break
    od;
    k = 0
}

/* Who may terminate: with quorums anybody; in the textbook the first of those that reach each other, once home does
 * not answer. */
#if QUORUMS
#define my_turn (up[me])
#else
#define my_turn (up[me] && !linked(me, HOME) && !(me == 1 && linked(1, 0)) && !(me == 2 && (linked(2, 0) || linked(2, 1))))
#endif

#define undecided(j) (part[j] != committed && part[j] != aborted)
/* There is something to do: somebody that can be reached has no outcome. */
#define work \
    (my_turn && (linked(me, 0) && undecided(0) || linked(me, 1) && undecided(1) || linked(me, 2) && undecided(2)))
#define news(j) (work && linked(me, j) && view[j] != part[j])

/* Who has not voted refuses to, now and for ever. */
inline ask(j)
{
    part[j] = (part[j] == q -> aborted : part[j]);
    view[j] = part[j];
    check()
}

/* Moves those that it saw in w; each compares and sets, whenever the request comes. */
inline move_all(to)
{
    k = 0;
    do
    :: atomic {
           up[me] && k < V && view[k] == w && linked(me, k) ->
           part[k] = (part[k] == w -> to : part[k]);
           view[k] = part[k];
           k++
       }
    :: atomic { up[me] && k < V && view[k] == w && !linked(me, k) -> view[k] = unknown; k++ }
    :: atomic { k < V && view[k] != w -> k++ }
    :: k == V || !up[me] -> break
    od;
    k = 0
}

proctype terminator(byte me)
{
    mtype view[V] = unknown;
    byte k;
again:
    do
    :: atomic { news(0) -> ask(0) }
    :: atomic { news(1) -> ask(1) }
    :: atomic { news(2) -> ask(2) }
#if QUORUMS
    :: work && sees(committed) -> goto commit
    :: work && !sees(committed) && sees(aborted) -> goto abort
    :: work && !decided && count(pre_commit) >= VC -> terminated_by_commit = true; goto commit
    :: work && !decided && count(pre_abort) >= VA -> goto abort
    :: work && !decided && can_commit -> goto move_commit
    :: work && !decided && !can_commit && can_abort -> goto move_abort
#else
    :: work && asked_all && sees(committed) -> goto commit
    :: work && asked_all && !sees(committed) && sees(aborted) -> goto abort
    :: work && asked_all && !decided && sees(pre_commit) && sees(w) -> goto move_commit
    :: work && asked_all && !decided && sees(pre_commit) && !sees(w) -> terminated_by_commit = true; goto commit
    :: work && asked_all && !decided && !sees(pre_commit) -> goto abort
#endif
    od;
move_commit:
    move_all(pre_commit);
    goto again;
move_abort:
    move_all(pre_abort);
    goto again;
commit:
    tell_all(committed);
    goto again;
abort:
    tell_all(aborted);
    goto again
}

active proctype faults()
{
    byte n;
    do
    :: atomic {
           crashes < CRASHES ->
           if
           :: up[0] -> up[0] = false
           :: up[1] -> up[1] = false
           :: up[2] -> up[2] = false
           :: up[HOME] -> up[HOME] = false
           fi;
           crashes++
       }
#ifdef RETURN
    :: atomic { !up[0] -> up[0] = true }
    :: atomic { !up[1] -> up[1] = true }
    :: atomic { !up[2] -> up[2] = true }
#endif
#ifdef HOME_LOST
    :: atomic { up[HOME] -> up[HOME] = false }
#endif
    :: atomic { /* home stays on side 0, so each split is there once */
           !cut && cuts < CUTS ->
           do
           :: n < V -> side[n] = 0; n++
           :: n < V -> side[n] = 1; n++
           :: n == V -> n = 0; break
           od;
           cut = true;
           cuts++
       }
    :: atomic {
           cut ->
           do
           :: n < V -> side[n] = 0; n++
           :: n == V -> n = 0; break
           od;
           cut = false
       }
    od
}

#ifdef FINISH
active proctype quiet()
{
    byte k;
    timeout;
    do
    :: k < V ->
        everybody_finishes = !up[k] || !undecided(k);
        assert(everybody_finishes);
        k++
    :: else -> break
    od
}
#endif

init
{
    byte t;
    atomic {
        do
        :: t < TERMINATORS -> run terminator(t); t++
        :: else -> break
        od
    }
}
