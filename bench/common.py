"""What the comparisons share: programs run to their end, the machine's name, the table's place in the document."""

import datetime
import os
import pathlib
import platform
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "system"))

import servers  # noqa: E402

DOCUMENT = ROOT / "docs" / "performance.md"
LOAD_BEFORE = os.getloadavg()[0]


def note(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Failed(RuntimeError):
    """A program that we ran did not do what it was to do; with its own words."""


def run(words, timeout=600):
    """What it prints. It ends when we do."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=timeout,
                          preexec_fn=servers.end_with_parent)  # fmt: skip
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, words))}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def end_on_signals():
    """Ctrl-C, SIGTERM and SIGHUP: what was started is stopped, its folder removed."""

    def leave(number, _):
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def tell_when_busy():
    if LOAD_BEFORE > 1:
        note(f"the machine is busy (load average {LOAD_BEFORE:.1f}): these numbers will be about that, too")


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return (
        f"{datetime.date.today()}, {model}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"cohort {run([servers.COHORT, '--version']).split()[1]}, load average at the start {LOAD_BEFORE:.1f}"
    )


def redis_version(folder):
    return run([servers.redis_server_program(folder), "--version"]).split()[2].removeprefix("v=")


def write_document(text, program):
    """Between the two lines that name the program."""
    begin, end = f"<!-- made by bench/{program} --write -->", f"<!-- end of what bench/{program} makes -->"
    before, rest = DOCUMENT.read_text().split(begin)
    DOCUMENT.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")
