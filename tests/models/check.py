#!/usr/bin/env python3
"""Checks the models of the commit protocols with spin: those that must hold, and those that must fail, by the claim that
must fail. A model in which nothing can go wrong proves nothing, so a violation that is not found is a failure too."""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
HOLDS = None
# Two terminators on any old knowledge; and one with splits and crashes said aloud.
ANY = ["QUORUMS=1", "CRASHES=0", "HOME_LOST", "FINISH"]
FAULTS = ["QUORUMS=1", "CRASHES=1", "RETURN", "CUTS=1", "HOME_LOST", "TERMINATORS=1", "FINISH"]
CASES = [
    # model, switches, the claim that must fail, what it shows
    ("two_phase", [], HOLDS, "2PC: all or none, nothing is said before it is decided, everything ends"),
    ("two_phase", ["NO_COMMIT"], "no_commit", "… and it does commit"),
    ("two_phase", ["HOME_LOST"], "nobody_waits", "2PC blocks: home is lost, participants wait"),
    ("two_phase", ["LONE_ABORT"], "agreement", "a participant that decides alone splits it"),
    ("two_phase", ["ABSENCE_ANSWERS"], "agreement", "absence that is taken for an answer splits it"),
    ("two_phase", ["EARLY_REPLY"], "told_is_decided", "a reply before the decision lies"),
    ("last_vote", [], HOLDS, "2PC, home votes last: all or none, and everything ends"),
    ("last_vote", ["NO_COMMIT"], "no_commit", "… and it does commit"),
    ("last_vote", ["HOME_LOST"], "nobody_waits", "… and it blocks, too: home is lost, participants wait"),
    ("last_vote", ["ABSENCE_ANSWERS"], "agreement", "absence that is taken for an answer splits it"),
    ("last_vote", ["TOO_EARLY"], "agreement", "home that is asked before the others have voted splits it"),
    ("last_vote", ["DROPS_IN_DOUBT"], "agreement", "so does a driver that ends the parts in doubt"),
    ("last_vote", ["FORGETS"], "agreement", "… and a home that forgets that it was asked"),
    ("three_phase", ["QUORUMS=0", "CRASHES=2"], HOLDS, "textbook 3PC: all or none while the dead stay dead"),
    ("three_phase", ["QUORUMS=0", "CRASHES=0", "CUTS=1", "HOME_LOST"], "agreement", "a partition splits it"),
    ("three_phase", ["QUORUMS=0", "CRASHES=2", "RETURN"], "agreement", "a long pause splits it"),
    ("three_phase", ANY, HOLDS, "3PC with quorums: all or none, and all finish without home"),
    ("three_phase", FAULTS, HOLDS, "… and so with a partition, a crash and a return"),
    ("three_phase", ["QUORUMS=1", "CRASHES=0", "NO_COMMIT"], "no_commit", "… and it does commit"),
    ("three_phase", ["QUORUMS=1", "CRASHES=0", "HOME_LOST", "NO_TERMINATION"], "no_termination",
     "… also by termination"),
    ("three_phase", ["QUORUMS=1", "CRASHES=2", "HOME_LOST", "FINISH"], "everybody_finishes",
     "… and it blocks when two of three groups are gone"),
    ("three_phase", ["QUORUMS=1", "CRASHES=0", "HOME_LOST", "VC=1", "VA=2"], "agreement",
     "quorums that do not intersect split it (Vc + Va = V)"),
    ("three_phase", ["QUORUMS=1", "CRASHES=0", "HOME_LOST", "VC=2", "VA=1"], "agreement",
     "… the other way round, too"),
]
MEMORY_MB = 2000
DEPTH = 100_000


def run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0 and command[0] != "./pan":
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def judge(output, claim):
    """(what is wrong, or None; states)"""
    states = re.search(r"([\d.e+]+) states, stored", output)
    errors = re.search(r"errors: (\d+)", output)
    if not states or not errors:
        return "it did not end: " + output[-500:], "?"
    violated = re.search(r"assertion violated \(?(\w+)", output)
    if claim is HOLDS:
        if int(errors[1]) or violated:
            return f"violated: {violated[1] if violated else output}", states[1]
        if "max search depth too small" in output or "Search not completed" in output:
            return "the search was not complete", states[1]
        return None, states[1]
    if not violated:
        return f"{claim} should be violated, and is not", states[1]
    return (None if violated[1] == claim else f"{violated[1]} is violated instead of {claim}"), states[1]


def check(model, switches, claim):
    with tempfile.TemporaryDirectory() as folder:
        run(["spin", "-a", *(f"-D{switch}" for switch in switches), str(HERE / f"{model}.pml")], folder)
        run(["gcc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MB}", "-o", "pan", "pan.c"], folder)
        return judge(run(["./pan", "-E", f"-m{DEPTH}"], folder), claim)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-k", metavar="WORD", default="", help="only the cases that have WORD in their text")
    word = parser.parse_args().k
    failed = 0
    for model, switches, claim, text in CASES:
        if word not in f"{model} {' '.join(switches)} {text}":
            continue
        problem, states = check(model, switches, claim)
        failed += problem is not None
        found = "holds" if claim is HOLDS else f"found: {claim} fails"
        print(f"{model:11} {text:70} {problem or found} ({states} states)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
