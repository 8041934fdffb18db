#!/usr/bin/python3
"""Instructions and allocations of one SET and one GET, from the bytes of the request to those of the answer, against the
numbers in expected.txt. Counted under callgrind, in the simulator: no clock, no noise; a slower hot path cannot hide.

Counted is what the functions of our own sources (src/) execute; the simulator, the C library and the test itself are not. The
numbers hold for one compiler, which expected.txt names; with another the test is skipped.

usage: count.py HOT_PATH COMPILER [--update]
  --update   writes expected.txt anew, for a change that is meant to cost that much"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

EXPECTED = pathlib.Path(__file__).parent / "expected.txt"
TOLERANCE = 0.03
SKIPPED = 77
ALLOCATIONS = {"malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"}
OURS = re.compile(r"(^|/)src/([a-z_]+/)+[a-z0-9_]+\.[ch]$")
PHASES = {2: "SET", 3: "GET"}  # the numbers of the dumps


def count(path):
    """Instructions of our sources and calls to allocate, in one dump (the format: callgrind's manual)."""
    instructions = allocations = 0
    ours, called, skip = False, "", False
    for line in path.read_text().splitlines():
        if line.startswith("fl="):  # of the function; fi= and fe= are of what is inlined into it
            ours = OURS.search(line[3:]) is not None
        elif line.startswith("cfn="):
            called = line[4:]
        elif line.startswith("calls="):
            allocations += int(line[6:].split()[0]) if called in ALLOCATIONS and ours else 0
            skip = True  # what follows is the cost of the called
        elif line[:1].isdigit():
            if ours and not skip:
                instructions += int(line.split()[1])
            skip = False
    return instructions, allocations


def measure(program):
    """{name: (instructions, allocations)} of one request."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "callgrind"
        words = ["valgrind", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no", f"--callgrind-out-file={out}",
                 *(f"--dump-before={name}" for name in ("begin_sets", "begin_gets", "begin_end")), program]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True)
        told = re.search(r"(\d+) requests of each", done.stdout)
        if done.returncode != 0 or told is None:
            raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
        requests = int(told[1])
        return {name: tuple(value / requests for value in count(out.with_name(f"callgrind.{number}"))) for number, name in PHASES.items()}


def write(compiler, measured):
    lines = ["# Of one request: instructions, allocations. Made by tests/instructions/count.py --update", f"compiler {compiler}"]
    lines += [f"{name} {instructions:.1f} {allocations:.3f}" for name, (instructions, allocations) in measured.items()]
    EXPECTED.write_text("\n".join(lines) + "\n")


def read():
    lines = [line.split(" ", 1) for line in EXPECTED.read_text().splitlines() if not line.startswith("#")]
    compiler = next(rest for name, rest in lines if name == "compiler")
    return compiler, {name: tuple(map(float, rest.split())) for name, rest in lines if name != "compiler"}


def judge(expected, measured):
    failures = 0
    for name, (instructions, allocations) in measured.items():
        wanted, wanted_allocations = expected[name]
        change = instructions / wanted - 1
        good = abs(change) <= TOLERANCE and abs(allocations - wanted_allocations) <= 0.01
        failures += not good
        print(f"{name}: {instructions:.1f} instructions ({wanted:.1f} expected, {change:+.1%}), {allocations:.3f} allocations "
              f"({wanted_allocations:.3f} expected){'' if good else ': DIFFERENT'}")  # fmt: skip
    if failures:
        words = f"{pathlib.Path(__file__).resolve()} {pathlib.Path(sys.argv[1]).resolve()} {sys.argv[2]} --update"
        print(f"When the change is meant (less is one, too): {words}\nand say why in the commit.")
    return 1 if failures else 0


def main():
    program, compiler, *rest = sys.argv[1:]
    if shutil.which("valgrind") is None:
        print("valgrind is not here: apt-get install valgrind")
        return SKIPPED
    if rest == ["--update"]:
        measured = measure(program)
        write(compiler, measured)
        print(EXPECTED.read_text(), end="")
        return 0
    expected_compiler, expected = read()
    if compiler != expected_compiler:
        print(f"the numbers are of {expected_compiler}; this is {compiler}")
        return SKIPPED
    return judge(expected, measure(program))


if __name__ == "__main__":
    sys.exit(main())
