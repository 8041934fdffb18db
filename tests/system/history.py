"""Histories of real runs: clients that do random things to a few keys at the same time, and a record of what each was
told, in the format of docs/history.md, for `cohort check`.

    with history.Load([server.port], seed=1) as load:
        …break things…
    load.check(tmp_path / "history.jsonl")

Values are unique, so that a read tells which write it saw."""

import itertools
import json
import random
import subprocess
import threading
import time

import resp
import servers

# The command was not executed.
DEFINITE = {"CLUSTERDOWN", "BUSY", "READONLY", "LOADING", "OOM", "MISCONF", "ERR"}
# It may have been.
INDEFINITE = {"UNCERTAIN"}

RETRY_SECONDS = 0.02
LIST_APPENDS = 200  # operations of one client, after which it goes on to another list: reads of long ones are slow

# What is done to a key of each sort. Each sort has commands that belong together, so that every reply tells much.
SORTS = {
    "register": ["get", "get", "get", "set", "set", "setnx", "getset", "getdel", "del", "ifeq", "ifeq"],
    "counter": ["incr", "incr", "get"],
    "list": ["append", "append", "get"],
    "field": ["hget", "hget", "hset", "hset", "hsetnx", "hdel"],
    "tally": ["hincrby", "hincrby", "hget"],
}


def words(operation):
    """The command that an operation sends."""
    kind, key = operation["op"], operation["key"]
    if kind == "ifeq":
        return ["SET", key, operation["value"], "IFEQ", operation["expected"]]
    if kind == "incr":
        return ["INCRBY", key, operation["by"]]
    optional = [operation[name] for name in ("field", "value", "by") if name in operation]
    return [kind.upper(), key, *optional]


def result(kind, reply):
    """A reply as a history has it."""
    if kind == "ifeq":
        return 1 if reply == "OK" else 0
    return reply.decode() if isinstance(reply, bytes) else reply


class Client(threading.Thread):
    """Does one thing after another until told to stop, and comes back when the connection is lost, as somebody else:
    a process that does not know what became of its last operation never does another."""

    def __init__(self, load, number):
        super().__init__(daemon=True)
        self.load = load
        self.random = random.Random(f"{load.seed}.{number}")
        self.ports = itertools.cycle(load.ports[number % len(load.ports):] + load.ports[: number % len(load.ports)])  # fmt: skip
        self.process = number
        self.done = 0
        self.seen = {}  # by key: a value that was there
        self.operations = []
        self.connection = None
        self.problem = None

    def run(self):
        try:
            while not self.load.stopping.is_set():
                if self.connection is None:
                    self.connect()
                else:
                    self.step()
        except Exception as problem:  # shown by the test, which a thread cannot fail
            self.problem = problem
        finally:
            self.disconnect()

    def connect(self):
        try:
            self.connection = resp.Connection(next(self.ports), timeout=self.load.timeout)
        except OSError:
            time.sleep(RETRY_SECONDS)

    def disconnect(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def choose(self):
        sort = self.random.choice(list(SORTS))
        kind = self.random.choice(SORTS[sort])
        number = self.random.randrange(self.load.keys)
        self.done += 1
        unique = f"{self.process}.{self.done}"
        operation = {"process": self.process, "op": kind, "key": f"{sort}{number}"}
        if sort == "list":
            operation["key"] += f".{self.done // LIST_APPENDS}"
            unique += ","
        if kind.startswith("h"):
            operation["field"] = f"f{self.random.randrange(2)}"
        if kind == "ifeq":
            operation["expected"] = self.seen.get(operation["key"], "")
        if kind in ("set", "setnx", "getset", "ifeq", "append", "hset", "hsetnx"):
            operation["value"] = unique
        if kind in ("incr", "hincrby"):
            operation["by"] = self.random.randrange(1, 4)
        return operation

    def step(self):
        operation = self.choose()
        self.operations.append(operation)
        operation["outcome"] = "unknown"
        operation["start"] = time.monotonic_ns()
        try:
            reply = self.connection.call(*words(operation))
            end = time.monotonic_ns()
        except OSError:
            self.lose()
            return
        if isinstance(reply, resp.Error):
            self.refused(operation, reply)
            return
        operation.update(outcome="ok", end=end)
        if operation["op"] != "set":
            operation["result"] = result(operation["op"], reply)
        if operation["op"] == "get" and reply is not None:
            self.seen[operation["key"]] = operation["result"]
        if self.load.pause:
            time.sleep(self.random.uniform(0, 2 * self.load.pause))

    def refused(self, operation, error):
        code = error.split(" ", 1)[0]
        assert code in DEFINITE | INDEFINITE, f"{words(operation)}: is nothing done after '{error}'?"
        self.load.count(code)
        if code in DEFINITE:
            operation["outcome"] = "failed"
        else:
            self.process += self.load.clients

    def lose(self):
        self.process += self.load.clients
        self.disconnect()


class Load:
    """Clients at work while the `with` block runs. `ports` are of nodes that serve the same data."""

    def __init__(self, ports, seed, clients=8, keys=3, timeout=10, pause=0.0):
        self.ports, self.seed, self.clients, self.keys = list(ports), seed, clients, keys
        self.timeout, self.pause = timeout, pause
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.errors = {}
        self.threads = [Client(self, number) for number in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(self.timeout + 30)
            assert not thread.is_alive(), "a client hangs"

    def count(self, code):
        with self.lock:
            self.errors[code] = self.errors.get(code, 0) + 1

    def begun(self):
        """How many operations were sent so far."""
        return sum(len(thread.operations) for thread in self.threads)

    def write(self, path):
        operations = [operation for thread in self.threads for operation in thread.operations]
        operations.sort(key=lambda operation: operation["start"])
        with open(path, "w") as out:
            print(json.dumps({"history": 1, "about": f"seed {self.seed}"}), file=out)
            for operation in operations:
                print(json.dumps(operation), file=out)

    def judge(self, path):
        """Writes the history and lets `cohort check` judge it: (exit status, its JSON)."""
        for thread in self.threads:
            if thread.problem is not None:
                raise thread.problem
        self.write(path)
        done = subprocess.run(
            [str(servers.COHORT), "check", "--json", str(path)], capture_output=True, text=True, timeout=300
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def check(self, path):
        """The same, and fails with the explanation unless the history is linearizable. Returns how many operations
        went how."""
        status, found = self.judge(path)
        if status != 0:
            text = subprocess.run([str(servers.COHORT), "check", str(path)], capture_output=True, text=True, timeout=300)
            raise AssertionError(f"exit status {status} for {path}\n{text.stdout}{text.stderr}")
        return {name: sum(key[name] for key in found["keys"]) for name in ("ok", "failed", "unknown")}
