"""Histories of real runs: clients that do random things to a few keys at the same time, and a record of what each was
told, in the format of docs/history.md, for `cohort check`.

    with history.Load([server], seed=1) as load:
        …break things…
    load.check(tmp_path / "history.jsonl")

Some clients send several commands at once. Values are unique, so that a read tells which write it saw."""

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
JUDGE_MEMORY = "8gb"  # ten minutes of a bank with a thousand accounts are nine million operations: 2 GB
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
    a process that does not know what became of its last operation never does another. Some stay with their server, so
    that each has clients all the time; others try the next."""

    def __init__(self, load, number):
        super().__init__(daemon=True)
        self.load = load
        self.random = random.Random(f"{load.seed}.{number}")
        first = number % len(load.servers)
        stays = number // len(load.servers) % 2 == 0
        self.servers = itertools.islice(itertools.cycle(load.servers), first, None, len(load.servers) if stays else 1)
        self.depth = load.pipeline if number % 2 else 1
        self.process = number
        self.done = 0
        self.seen = {}  # by key: a value that was there
        self.operations = []
        self.connection = self.port = None
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
            server = next(self.servers)
            self.connection, self.port = server.connect(self.load.timeout), server.port
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
        operation = {"process": self.process, "op": kind, "key": f"{self.load.prefix}{sort}{number}"}
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
        try:
            self.ask(self.connection, [self.choose() for _ in range(self.random.randint(1, self.depth))])
        except OSError:
            self.lose()
            return
        if self.load.pause:
            time.sleep(self.random.uniform(0, 2 * self.load.pause))

    def ask(self, connection, batch):
        """Operations in one write; whether all were done."""
        start = time.monotonic_ns()
        for operation in batch:
            operation.update(outcome="unknown", start=start, port=self.port)
        self.operations += batch
        connection.send(b"".join(resp.encode(*words(operation)) for operation in batch))
        for operation in batch:
            self.take(operation, connection.read())
        return all(operation["outcome"] == "ok" for operation in batch)

    def take(self, operation, reply):
        end = time.monotonic_ns()
        if isinstance(reply, resp.Error):
            self.refused(operation, reply)
            return
        operation.update(outcome="ok", end=end)
        if operation["op"] != "set":
            operation["result"] = result(operation["op"], reply)
        if operation["op"] == "get" and reply is not None:
            self.seen[operation["key"]] = operation["result"]

    def refused(self, operation, error):
        code = error.split(" ", 1)[0]
        assert code in DEFINITE | INDEFINITE, f"{words(operation)}: is nothing done after '{error}'?"
        self.load.count(code)
        if code in DEFINITE:
            operation["outcome"] = "failed"
        else:
            self.process += self.load.clients
        time.sleep(RETRY_SECONDS)

    def lose(self):
        self.process += self.load.clients
        self.disconnect()


class Load:
    """Clients at work while the `with` block runs, spread over `servers`, which serve the same data. `keys` of each
    sort, whose names begin with `prefix`; every second client sends up to `pipeline` commands at once; `timeout` and
    `pause` (mean) in seconds."""

    def __init__(self, servers, seed, clients=8, keys=3, timeout=10, pause=0.0, pipeline=1, prefix=""):
        self.servers, self.seed, self.clients, self.keys, self.prefix = list(servers), seed, clients, keys, prefix
        self.timeout, self.pause, self.pipeline = timeout, pause, pipeline
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

    def all(self):
        return [operation for thread in self.threads for operation in list(thread.operations)]

    def wait_for(self, more, seconds=60):
        """Until so many more operations were sent."""
        target, deadline = self.begun() + more, time.monotonic() + seconds
        while self.begun() < target:
            self.complain()
            assert time.monotonic() < deadline, f"no progress: {self.begun()} of {target} sent, {self.errors}"
            time.sleep(0.02)

    def complain(self):
        """Of what a client has met."""
        for thread in self.threads:
            if thread.problem is not None:
                raise thread.problem

    def read_everything(self, servers, seconds=60):
        """Reads each key through each server, after all else: what was acknowledged must be there."""
        looker = Client(self, self.clients)
        looker.process = 2**32 - 1
        deadline = time.monotonic() + seconds
        asked = sorted({(operation["key"], operation.get("field", "")) for operation in self.all()})
        self.threads.append(looker)
        for server in servers:
            with server.connect() as connection:
                for key, field in asked:
                    look = {"process": looker.process, "op": "get", "key": key}
                    if field:
                        look.update(op="hget", field=field)
                    while not looker.ask(connection, [{**look}]):
                        assert time.monotonic() < deadline, looker.operations[-1]

    def write(self, path):
        operations = self.all()
        operations.sort(key=lambda operation: operation["start"])
        with open(path, "w") as out:
            print(json.dumps({"history": 1, "about": f"seed {self.seed}"}), file=out)
            for operation in operations:
                print(json.dumps(operation), file=out)

    def judge(self, path):
        """Writes the history and lets `cohort check` judge it: (exit status, its JSON)."""
        self.complain()
        self.write(path)
        done = subprocess.run(
            [str(servers.COHORT), "check", "--json", "--memory", JUDGE_MEMORY, str(path)], capture_output=True, text=True, timeout=300
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def check(self, path):
        """The same, and fails with the explanation unless the history is linearizable. Returns how many operations
        went how."""
        status, found = self.judge(path)
        if status != 0:
            command = [str(servers.COHORT), "check", "--memory", JUDGE_MEMORY, str(path)]
            text = subprocess.run(command, capture_output=True, text=True, timeout=300)
            raise AssertionError(f"exit status {status} for {path}\n{text.stdout}{text.stderr}")
        return {name: sum(key[name] for key in found["keys"]) for name in ("ok", "failed", "unknown")}
