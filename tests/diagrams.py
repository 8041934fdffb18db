#!/usr/bin/python3
"""Draws the sequence diagrams of docs/transactions.md from runs of the simulator.

    tests/diagrams.py [--write]       without --write: they can be drawn, and show what the page says they do

A change of times moves what a seed does, so they are not compared byte by byte, and no seed is named here: one of the first
SEEDS of the profile must show it, and --write draws that. COHORT_BUILD is the folder of the build."""

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

SEEDS = 300
# Name, profile, whether the run fails, and words that must be seen in this order, top to bottom (one that ends with a space: how a
# text begins).
DIAGRAMS = [
    ("transaction-2pc", "transaction-2pc,faults=0", 0,
     ["PREPARE", "WAIT", "LAST", "home COMMIT", "OK, OK, OK", "finished", "home DONE"]),
    ("transaction-3pc", "transaction-3pc,faults=0", 0,
     ["OPEN, PREPARE", "WAIT", "MOVE PRECOMMIT", "PRECOMMIT", "OK, OK, OK", "home COMMIT, COMMITTED", "forgotten"]),
    ("transaction-2pc-home-lost", "transaction-2pc,blackout,faults=1", 0,
     ["LAST", "home COMMIT", "power lost", "leads shard ", "FINISH COMMIT"]),
    ("transaction-2pc-client-node-lost", "transaction-2pc,faults=1", 0,
     ["PREPARE", "WAIT", "power lost", "STATUS", "RESOLVE", "ABORT", "finished"]),
    ("transaction-3pc-split", f"3pc-no-quorum,none,{SIZES}", 1,
     ["lost", "the network splits: coordinator, 2 | 1, 3", "PREABORT", "COMMITTED", "ABORTED",
      "the transaction is split: 3 has committed, 2 has aborted"]),
]  # fmt: skip


def draw(seed, profile, fails, folder):
    """None: this seed does not fail, or does."""
    path = pathlib.Path(folder) / f"{seed}.svg"
    # A run that fails is made smaller first; these are as small as they get.
    done = subprocess.run([COHORT, "sim", "--seed", str(seed), "--profile", profile, "--sequence", path],
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0 or fails, f"{profile}: {done.stdout}{done.stderr}"
    return path.read_text() if (done.returncode != 0) == bool(fails) else None


def texts(svg):
    """What stands in it, from top to bottom."""
    words = xml.etree.ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return [word.text or "" for word in sorted(words, key=lambda word: float(word.get("y")))]


def is_seen(word, text):
    return text.startswith(word) if word.endswith(" ") else text == word


def shows(svg, words):
    seen = texts(svg)
    at = 0
    for word in words:
        found = next((i for i in range(at, len(seen)) if is_seen(word, seen[i])), None)
        if found is None:
            return False
        at = found + 1
    return True


def first_that_shows(name, profile, fails, words, folder):
    for seed in range(1, SEEDS + 1):
        svg = draw(seed, profile, fails, folder)
        if svg is not None and shows(svg, words):
            return svg
    raise AssertionError(f"{name}: none of {SEEDS} seeds of {profile} shows {', '.join(words)}")


def main():
    page = (DOCS / "transactions.md").read_text()
    assert set(re.findall(r"\]\((transaction[^)]*)\.svg\)", page)) == {name for name, *_ in DIAGRAMS}
    with tempfile.TemporaryDirectory() as folder:
        for name, profile, fails, words in DIAGRAMS:
            svg = first_that_shows(name, profile, fails, words, folder)
            if "--write" in sys.argv[1:]:
                (DOCS / f"{name}.svg").write_text(svg)
            shown = (DOCS / f"{name}.svg").read_text()
            assert shows(shown, words), name
            assert re.search(rf"cohort sim --seed \d+ --profile {profile.split(',')[0]}", shown), name


if __name__ == "__main__":
    main()
