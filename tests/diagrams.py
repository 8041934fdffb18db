#!/usr/bin/python3
"""Draws the sequence diagrams of docs/transactions.md from runs of the simulator.

    tests/diagrams.py [--write]       without --write: they can be drawn, and show what the page says they do

A change of the protocol moves messages and times in them, so they are not compared byte by byte: --write draws them anew.
COHORT_BUILD is the folder of the build."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
COHORT = pathlib.Path(os.environ.get("COHORT_BUILD", ROOT / "build")) / "src" / "cli" / "cohort"
SIZES = "members=3,groups=1,replicas=3,clients=1,faults=0,workers=3"

# Name, seed, profile, whether the run fails, and words that must be seen in this order, top to bottom.
DIAGRAMS = [
    ("transaction-2pc", 1, "transaction-2pc,faults=0", 0,
     ["OPEN, PREPARE", "WAIT", "DECIDE COMMIT", "home COMMIT, finished", "OK, OK, OK", "home DONE"]),
    ("transaction-3pc", 1, "transaction-3pc,faults=0", 0,
     ["OPEN, PREPARE", "WAIT", "MOVE PRECOMMIT", "PRECOMMIT", "OK, OK, OK", "home COMMIT, COMMITTED", "forgotten"]),
    ("transaction-2pc-home-lost", 1, "transaction-2pc,faults=1", 0,
     ["DECIDE COMMIT", "home COMMIT, finished", "power lost", "leads shard 3", "FINISH COMMIT", "OK, OK, OK"]),
    ("transaction-2pc-client-node-lost", 11, "transaction-2pc,faults=1", 0,
     ["OPEN, PREPARE", "WAIT", "power lost", "RESOLVE", "OPEN", "home ABORT, finished", "FINISH ABORT"]),
    ("transaction-3pc-split", 2, f"3pc-no-quorum,none,{SIZES}", 1,
     ["lost", "the network splits: coordinator, 2 | 1, 3", "PREABORT", "COMMITTED", "ABORTED",
      "the transaction is split: 3 has committed, 2 has aborted"]),
]  # fmt: skip


def draw(name, seed, profile, fails, folder):
    path = pathlib.Path(folder) / f"{name}.svg"
    # A run that fails is made smaller first; these are as small as they get.
    done = subprocess.run([COHORT, "sim", "--seed", str(seed), "--profile", profile, "--sequence", path],
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert (done.returncode != 0) == bool(fails), f"{name}: {done.stdout}{done.stderr}"
    return path.read_text()


def texts(svg):
    """What stands in it, from top to bottom."""
    words = xml.etree.ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return [word.text or "" for word in sorted(words, key=lambda word: float(word.get("y")))]


def check(name, svg, words):
    seen = texts(svg)
    at = 0
    for word in words:
        assert word in seen[at:], f"{name}: no '{word}' below '{seen[at - 1]}'"
        at += seen[at:].index(word) + 1


def main():
    page = (DOCS / "transactions.md").read_text()
    assert set(re.findall(r"\]\((transaction[^)]*)\.svg\)", page)) == {name for name, *_ in DIAGRAMS}
    with tempfile.TemporaryDirectory() as folder:
        for name, seed, profile, fails, words in DIAGRAMS:
            svg = draw(name, seed, profile, fails, folder)
            check(name, svg, words)
            if "--write" in sys.argv[1:]:
                (DOCS / f"{name}.svg").write_text(svg)
            shown = (DOCS / f"{name}.svg").read_text()
            check(name, shown, words)
            assert f"cohort sim --seed {seed} --profile {profile.split(',')[0]}" in shown, name


if __name__ == "__main__":
    main()
