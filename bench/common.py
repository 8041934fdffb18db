"""What the comparisons share: programs run to their end, the machine's name, the table's place in the document."""

import datetime
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "system"))

import servers  # noqa: E402

DOCUMENT = ROOT / "docs" / "performance.md"
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOAD_BEFORE = os.getloadavg()[0]


def note(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Failed(RuntimeError):
    """A program that we ran did not do what it was to do; with its own words."""


def run(words, timeout=600):
    """What it prints. It ends when we do."""
    try:
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=timeout,
                              preexec_fn=servers.end_with_parent)  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(map(str, words))}\ndid not end in {timeout} s") from None
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, words))}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def supervised(folder, body):
    """Exits with what body(work) returns (None: 0); it runs in a child, in a new folder that is removed at the end. On Ctrl-C,
    SIGTERM or SIGHUP, the child is killed, and what it started ends with it (PR_SET_PDEATHSIG). A handler that raises in the
    child would not do: Python drops what is raised in one of its own hooks, as around a fork."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="bench.", dir=folder))
    child = os.fork()
    if child == 0:
        run_child(body, work)
    ended_by = []

    def end(number, _):
        ended_by.append(number)
        os.kill(child, signal.SIGKILL)

    for number in ENDING_SIGNALS:
        signal.signal(number, end)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        time.sleep(0.5)  # what it started is ending, and may still write
    shutil.rmtree(work, ignore_errors=True)
    raise SystemExit(128 + ended_by[0] if ended_by else abs(status))


def run_child(body, work):
    code = 1
    try:
        servers.end_with_parent()
        for number in ENDING_SIGNALS:
            signal.signal(number, lambda *_: None)  # the parent decides; what is started from here has its own handlers
        code = body(work) or 0
    except SystemExit as end:
        print(end, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def tell_when_busy():
    if LOAD_BEFORE > 1:
        note(f"the machine is busy (load average {LOAD_BEFORE:.1f}): these numbers will be about that, too")


def cpu_seconds(pids):
    """Used by these processes so far, all threads."""
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


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
