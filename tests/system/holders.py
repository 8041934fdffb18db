"""Clients that take locks, each in a process of its own that may be stopped for longer than its time to live (crew.py
starts and stops them).

    holders.py SPECIFICATION.json

forks as many processes as it says, tells their ids in one line, and ends when all have. Each notes what it could believe,
and what it was told, in the form of docs/history.md, in a file of its own. They end when a file `stop` is there.

What a holder believes is the arithmetic of docs/locks.md: from before it asked, for the time that it was told, less a
hundredth for clocks. It looks at its clock, and only then uses the lock; where it is stopped in between, it uses it too late
and does not know."""

import ctypes
import importlib
import json
import os
import pathlib
import random
import signal
import sys
import time
import traceback

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
CLONE_NEWNET = 0x40000000
MS = 1_000_000
KINDS = {"cohort": "holders_cohort.Cohort", "redis-py": "holders_redis.RedisPy", "article": "holders_redis.Article",
         "engine": "holders_engine.OnEngine"}  # fmt: skip
NODE_KINDS = {"redlock4": "4", "redlock5": "5"}  # node/redlock_holder.js


class Hold:
    """A grant, as its holder knows it: asked for at `start`, told at `end`, believed until `until`."""

    def __init__(self, key, start, end, until, token=None, **how):
        self.key, self.start, self.end, self.until, self.token, self.how = key, start, end, until, token, how

    def believed(self):
        return time.monotonic_ns() < self.until

    def ends(self):
        """Just before its release is asked for."""
        self.until = min(self.until, time.monotonic_ns())


class Holder:
    """Takes one lock after the other; `round` is of its kind."""

    def __init__(self, specification, number):
        self.count, self.ttl_ms = specification["count"], specification["ttl_ms"]
        self.folder = pathlib.Path(specification["folder"])
        self.addresses, self.resource = [tuple(each) for each in specification["nodes"]], specification["resource"]
        self.chance = random.Random(f"{specification['seed']}.{number}")
        self.number = self.process = number
        self.serial = 0
        self.at = number % max(1, len(self.addresses))
        self.out = open(self.folder / f"holder{number}.jsonl", "a", buffering=1)

    def run(self):
        while not (self.folder / "stop").exists():
            self.round()

    def round(self):
        raise NotImplementedError

    # ---- notes ----

    def note(self, op, **facts):
        self.out.write(json.dumps({"process": self.process, "op": op, **facts}) + "\n")

    def note_hold(self, hold, key=None):
        token = {} if hold.token is None else {"token": hold.token}
        self.note("hold", key=key or hold.key, outcome="ok", start=hold.start, end=hold.end, until=hold.until, **token, **hold.how)

    def note_update(self, key, seen, text, start, outcome):
        """What was read and then written: one step, if the lock excludes."""
        known = {"end": time.monotonic_ns(), "result": 1} if outcome == "ok" else {}
        self.note("ifeq", key=key, expected=seen, value=text, outcome=outcome, start=start, **known)
        if outcome == "unknown":
            self.process += self.count

    def believed_until(self, asked, ttl_ms):
        return asked + int(ttl_ms * MS * 0.99) - 2 * MS

    def new_text(self, seen):
        self.serial += 1
        return f"{int(seen.split('.')[0]) + 1}.{self.process}.{self.serial}"

    # ---- time ----

    def is_stopped_sometimes(self, times=12):
        """As any process can be, by its machine; whoever watches it lets it go on."""
        if self.chance.randrange(times) == 0:
            os.kill(os.getpid(), signal.SIGSTOP)

    def rest(self, seconds=0.02):
        time.sleep(self.chance.uniform(0, 2 * seconds))


def live(specification, number):
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    networks = specification["networks"]
    if networks:
        descriptor = os.open(networks[number % len(networks)], os.O_RDONLY)
        if LIBC.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError("setns")
        os.close(descriptor)
    if specification["kind"] in NODE_KINDS:
        script = pathlib.Path(__file__).parent / "node" / "redlock_holder.js"
        os.execvp("node", ["node", str(script), NODE_KINDS[specification["kind"]], sys.argv[1], str(number)])
    module, name = KINDS[specification["kind"]].split(".")
    getattr(importlib.import_module(module), name)(specification, number).run()


def main():
    specification = json.loads(pathlib.Path(sys.argv[1]).read_text())
    if specification["kind"] in KINDS:
        importlib.import_module(KINDS[specification["kind"]].split(".")[0])  # once, before all are made
    children = []
    for number in range(specification["count"]):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                live(specification, number)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    print(*children, flush=True)
    sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children))


if __name__ == "__main__":
    main()
