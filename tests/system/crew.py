"""Starts holders of locks (holders.py), stops them by SIGSTOP for longer than their time to live, and lets `cohort check`
judge what all of them could believe.

    with crew.Crew(nodes, tmp_path, seed=1, resource=resource) as load:
        …break things…
        load.wait_for(100)
    load.check()"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

import guarded
import history
import servers

STEP_SECONDS = 0.05
MODULES = servers.ROOT / "build" / "node" / "node_modules"
PATIENCE_SECONDS = 120  # the machine may be slow
NUMBERED = ("x0", "x1", "reentrant", "shared")  # of holders_cohort.py; what they read and write is there before


class Crew:
    """`count` processes at the nodes, with locks of `ttl_ms`; `together`: redlock asks all of them, and not one (its kinds). An
    engine (`url`) has no nodes."""

    def __init__(self, nodes, folder, seed, kind="cohort", count=50, ttl_ms=800, resource=None, networks=None,
                 together=False, url=None):  # fmt: skip
        self.nodes, self.folder, self.kind, self.ttl_ms = list(nodes), pathlib.Path(folder) / kind, kind, ttl_ms
        self.folder.mkdir()
        self.chance = random.Random(seed)
        self.specification = {
            "kind": kind, "count": count, "seed": seed, "ttl_ms": ttl_ms, "folder": str(self.folder),
            "together": together, "nodes": [(node.host, node.port) for node in self.nodes], "resource": resource and resource.path,
            "networks": [network.path() for network in networks] if networks else [], "url": url,
        }  # fmt: skip
        self.start_lines = []
        self.stopping = threading.Event()
        self.pauses = 0
        self.read = {}  # by file: how far its lines are counted
        self.counts = {"holds": 0, "refused": 0}

    def __enter__(self):
        if self.kind == "cohort":
            self.set_numbers()
        elif self.kind == "engine":
            self.start_numbers()
        path = self.folder / "specification.json"
        path.write_text(json.dumps(self.specification))
        self.errors = open(self.folder / "errors.txt", "ab")
        self.process = subprocess.Popen([sys.executable, pathlib.Path(__file__).parent / "holders.py", path],
                                        stdout=subprocess.PIPE, stderr=self.errors, text=True,
                                        env={**os.environ, "NODE_PATH": str(MODULES)},
                                        preexec_fn=servers.end_with_parent)  # fmt: skip
        self.pids = [int(word) for word in self.process.stdout.readline().split()]
        self.pauser = threading.Thread(target=self.pause, daemon=True)
        self.pauser.start()
        return self

    def start_numbers(self):
        """As the resource has them from the start."""
        now = time.monotonic_ns()
        for key in NUMBERED:
            self.start_lines.append({"process": 2**31, "op": "set", "key": f"{key}@resource", "value": guarded.START_TEXT,
                                     "outcome": "ok", "start": now, "end": now + 1})  # fmt: skip

    def set_numbers(self):
        with self.nodes[0].connect() as connection:
            for key in NUMBERED:
                start = time.monotonic_ns()
                assert connection.call("SET", f"{{{key}}}:number", guarded.START_TEXT) == "OK"
                for name in (f"{{{key}}}:number", f"{key}@resource"):
                    self.start_lines.append({"process": 2**31, "op": "set", "key": name, "value": guarded.START_TEXT,
                                             "outcome": "ok", "start": start, "end": time.monotonic_ns()})  # fmt: skip

    def __exit__(self, kind, *_):
        self.stopping.set()
        self.pauser.join()
        (self.folder / "stop").touch()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            for pid in self.pids:
                self.send(pid, signal.SIGCONT)
            time.sleep(STEP_SECONDS)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()
        if kind is None:
            assert self.process.returncode == 0, self.words()

    def words(self):
        return (self.folder / "errors.txt").read_text()[-4000:]

    # ---- pauses ----

    def send(self, pid, which):
        try:
            os.kill(pid, which)
        except ProcessLookupError:
            pass

    def pause(self):
        """Those that are stopped, by themselves or from here, go on when their time is over, and longer."""
        due = {}
        while not self.stopping.wait(STEP_SECONDS):
            if self.chance.randrange(6) == 0:
                self.send(self.chance.choice(self.pids), signal.SIGSTOP)
            now = time.monotonic()
            for pid in self.pids:
                if pid in due and now >= due[pid]:
                    self.send(pid, signal.SIGCONT)
                    del due[pid]
                elif pid not in due and is_stopped(pid):
                    due[pid] = now + self.ttl_ms / 1000 * self.chance.uniform(1.1, 2.5)
                    self.pauses += 1

    # ---- progress ----

    def look(self):
        """Counts what was noted since the last look."""
        for path in self.folder.glob("*.jsonl"):
            with open(path, "rb") as lines:
                lines.seek(self.read.get(path, 0))
                new = lines.read()
            new = new[: new.rfind(b"\n") + 1]
            self.read[path] = self.read.get(path, 0) + len(new)
            for line in new.splitlines():
                self.counts["holds"] += b'"hold"' in line and b"@" not in line  # once for all its judges
                self.counts["refused"] += b'"result": 0' in line
        return self.counts

    def wait_until(self, condition):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition(self.look()):
            assert self.process.poll() is None, self.words()
            assert time.monotonic() < deadline, f"no progress: {self.counts}\n{self.words()}"
            time.sleep(STEP_SECONDS)

    def wait_for(self, more):
        """So many holds more."""
        target = self.look()["holds"] + more
        self.wait_until(lambda counts: counts["holds"] >= target)

    # ---- the verdict ----

    def judge(self):
        """(exit status, text) of `cohort check`."""
        path = self.folder / "history.jsonl"
        with open(path, "wb") as out:
            for line in [{"history": 1}, *self.start_lines]:
                out.write(json.dumps(line).encode() + b"\n")
            for part in sorted(self.folder.glob("holder*.jsonl")):
                out.write(part.read_bytes())
        words = [servers.COHORT, "check", "--memory", history.JUDGE_MEMORY, path]
        done = subprocess.run(words, capture_output=True, text=True, timeout=600)
        return done.returncode, done.stdout + done.stderr

    def check(self):
        status, text = self.judge()
        assert status == 0, text
        assert "holds and uses of locks: fine" in text
        return f"{self.look()}, {self.pauses} pauses"


def is_stopped(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
    except OSError:
        return False
