#!/usr/bin/python3
"""Three nodes of Cohort beside three of etcd, ZooKeeper and Redis: one machine, one disk, one run, by turns.

All are up from the beginning, in folders side by side; one at a time is loaded. Rates and latencies are medians of the
rounds, ratios the medians of the rounds' own ratios. rivals.py says how each is set up, loads.py how it is loaded.

  per second    writes and strong reads (of values of 64 bytes, of 100,000 keys) by 16 connections with 32 requests in
                flight and by 512 with one, at the node that leads and at one that follows. Cohort with --shards 1 has one
                leader, as the others have; with --shards 4 its leaders are spread, and a client at one node is at the leader
                for some keys and at a follower for others
  latency       one request in flight. The floor is what the machine itself takes (floor.c): for a write, round trip +
                max(own fdatasync, peer's round trip + its fdatasync), three processes syncing at once; for a read, which asks
                a majority, two round trips; at a follower one more
  CPU           of all three servers (from /proc), for each operation, in the same runs; and system calls, where perf works
  memory        resident, per node: idle, and with keys, in clusters that did nothing else
  no service    after kill -9 of the leader, for a client at another node (outage.py)

usage: bench/three.py [--quick] [--write] [--folder DIR]"""

import argparse
import dataclasses
import json
import shutil
import signal
import statistics
import subprocess
import time

import common
import loads
import outage
import rivals
from common import ROOT, note, servers

KEYS = 100_000
KEY_BYTES = 16
SHAPES = [(16, 32), (512, 1)]
PLACES = ["leader", "follower"]
PERCENTILES = ["p50", "p99", "p99.9"]
OURS, RIVALS = "cohort, 1 shard", ["etcd", "ZooKeeper", "Redis"]
COLUMNS = [OURS, "cohort, 4 shards", *RIVALS]
MAKE = {
    OURS: lambda folder: rivals.Cohort(folder, 1),
    "cohort, 4 shards": lambda folder: rivals.Cohort(folder, 4),
    "etcd": rivals.Etcd,
    "ZooKeeper": rivals.ZooKeeper,
    "Redis": rivals.Redis,
}
OPERATIONS = {"set": "SET", "get": "strong GET", "plain get": "GET of what that node has", "benchmark": "SET by redis-benchmark",
              "eval": "SET, EVAL of a compare-and-delete, by turns", "evalsha": "the same with EVALSHA"}
LATENCY = (1, 1)
SETTLE_SECONDS = 1  # replicas may be behind


@dataclasses.dataclass
class Size:
    rounds: int
    seconds: float
    latency_rounds: int
    latency_seconds: float
    warm_seconds: float
    memory_keys: tuple
    kills: int


FULL = Size(rounds=5, seconds=1, latency_rounds=3, latency_seconds=2, warm_seconds=3, memory_keys=(250_000, 1_000_000), kills=5)
QUICK = Size(rounds=1, seconds=0.4, latency_rounds=1, latency_seconds=0.5, warm_seconds=0.5, memory_keys=(50_000,), kills=1)


class Samples:
    """What was measured: lists of numbers by row and column; a round that failed is None. A row is a tuple that begins with
    its group."""

    def __init__(self):
        self.values = {}
        self.failures = []

    def add(self, row, column, value):
        self.values.setdefault((row, column), []).append(value)

    def failed(self, what, problem):
        note(f"{what}: {problem}")
        self.failures.append(what)

    def rounds(self, row, column):
        return self.values.get((row, column), [])

    def median(self, row, column):
        known = [value for value in self.rounds(row, column) if value is not None]
        return statistics.median(known) if known else None

    def ratio(self, row, over, under):
        pairs = zip(self.rounds(row, over), self.rounds(row, under))
        known = [a / b for a, b in pairs if a is not None and b]
        return statistics.median(known) if known else None


# ---- the load ----


def can(system, operation, place):
    if operation == "plain get":
        return system.kind == "zookeeper"
    if operation == "benchmark":
        return place == "leader" and system.kind in ("cohort", "redis")
    if operation in loads.SCRIPTS and system.kind not in ("cohort", "redis"):
        return False
    if place == "follower":
        return system.strong_at_follower and system.name != "cohort, 4 shards"
    return True


def make_load(system, operation, place, shape, seconds, samples):
    node = system.at(place)
    if operation == "benchmark":
        expected = samples.median(("rate", "set", place, shape), system.name) or 10_000
        return loads.redis_benchmark(node, "set", *shape, max(1000, int(expected * seconds)), KEYS)
    return loads.LOADS[system.kind](node, operation, *shape, seconds, KEYS)


def measure(system, operation, place, shape, seconds, samples):
    """One run, made again once if it fails; its rate, CPU and latencies become samples."""
    rest = (operation, place, shape)
    for _ in range(2):
        try:
            if operation != "set":
                system.settle()
            before = system.cpu_seconds()
            result = make_load(system, operation, place, shape, seconds, samples)
            cpu = system.cpu_seconds() - before
            break
        except (RuntimeError, OSError) as problem:
            samples.failed(f"{system.name}, {name_of(*rest)}", problem)
            result, cpu = None, None
    samples.add(("rate", *rest), system.name, result and result.rate)
    samples.add(("cpu", *rest), system.name, result and cpu / result.served * 1e6)
    samples.add(("client cpu", *rest), system.name, result and result.client_cpu_seconds / result.served * 1e6)
    if shape == LATENCY:
        for percentile in PERCENTILES:
            samples.add(("latency", *rest, percentile), system.name, result and result.latency[percentile])


def in_turn(systems, turn):
    return systems if turn % 2 == 0 else list(reversed(systems))


def warm_up(systems, size):
    """A Java program runs many times faster once it was compiled; the others get the same."""
    for system in systems:
        note(f"{system.name}: {KEYS:,} keys, and warming up")
        loads.FILLS[system.kind](system.leader(), KEYS)
        for operation in ("set", "get"):
            for place in PLACES:
                if can(system, operation, place):
                    measure(system, operation, place, SHAPES[0], size.warm_seconds, Samples())


def throughput(systems, size, samples):
    for turn in range(size.rounds):
        note(f"round {turn + 1} of {size.rounds}")
        for shape in SHAPES:
            for place in PLACES:
                for operation in OPERATIONS:
                    for system in in_turn(systems, turn):
                        if can(system, operation, place):
                            measure(system, operation, place, shape, size.seconds, samples)


def measure_floor(folder, seconds, samples):
    told = json.loads(common.run([ROOT / "build" / "bench" / "floor", folder, seconds]))
    for name, values in told.items():
        for percentile in PERCENTILES:
            samples.add(("floor", name, percentile), "floor", values[percentile])
    trip, sync = told["round_trip"]["p50"], told["sync_three"]["p50"]
    floors = {"set": trip + max(sync, trip + sync), "get": trip + trip}
    for operation, floor in floors.items():
        for place in PLACES:
            samples.add(("latency", operation, place, LATENCY, "p50"), "floor", floor + (trip if place == "follower" else 0))


def latency(systems, folder, size, samples):
    for turn in range(size.latency_rounds):
        note(f"one request in flight, round {turn + 1} of {size.latency_rounds}")
        measure_floor(folder, size.latency_seconds, samples)
        for place in PLACES:
            for operation in ("set", "get", "plain get", *loads.SCRIPTS):
                for system in in_turn(systems, turn):
                    if can(system, operation, place):
                        measure(system, operation, place, LATENCY, size.latency_seconds, samples)


def counts_calls():
    """Does perf count system calls here?"""
    if shutil.which("perf") is None:
        return False
    words = ["perf", "stat", "-e", "raw_syscalls:sys_enter", "true"]
    return subprocess.run(words, capture_output=True).returncode == 0


def system_calls(systems, size, samples):
    """In runs of their own, for counting costs a little."""
    for shape in SHAPES:
        for operation in ("set", "get"):
            for system in systems:
                if operation != "set":
                    system.settle()
                words = ["perf", "stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", ",".join(map(str, system.pids()))]
                perf = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, preexec_fn=servers.end_with_parent)
                try:
                    result = make_load(system, operation, "leader", shape, size.seconds, samples)
                except (RuntimeError, OSError) as problem:
                    samples.failed(f"{system.name}, system calls", problem)
                    continue
                finally:
                    perf.send_signal(signal.SIGINT)
                    told = perf.communicate(timeout=60)[1]
                counted = int(next(line for line in told.splitlines() if "sys_enter" in line).split(",")[0])
                samples.add(("calls", operation, "leader", shape), system.name, counted / result.served)


# ---- memory and loss of the leader ----


def memory(folder, size, samples):
    """Each in a cluster of its own that does nothing else."""
    for name, make in MAKE.items():
        system = make(folder / f"memory.{name}")
        try:
            system.start()
            time.sleep(SETTLE_SECONDS)
            idle = system.resident_bytes()
            samples.add(("idle",), name, idle / 1e6)
            for keys in memory_sizes(system, size):
                note(f"{name}: memory with {keys:,} keys")
                loads.FILLS[system.kind](system.leader(), keys)
                time.sleep(SETTLE_SECONDS)
                full = system.resident_bytes()
                samples.add(("filled", keys), name, full / 1e6)
                samples.add(("per key", keys), name, (full - idle) / keys - KEY_BYTES - loads.VALUE_BYTES)
        finally:
            system.kill()


def memory_sizes(system, size):
    """A million keys take etcd and ZooKeeper a minute each, and ZooKeeper the whole of its heap: they get a quarter."""
    return size.memory_keys if system.kind in ("cohort", "redis") else size.memory_keys[:1]


def loss_of_leader(systems, size, samples):
    for system in systems:
        if system.fails_over:
            note(f"{system.name}: kill -9 of the leader, {size.kills} times")
            key = system.cluster.key_of(1) if system.kind == "cohort" else "probe"
            try:
                for _ in range(size.kills):
                    samples.add(("outage",), system.name, outage.outage_ms(system, key))
            except (RuntimeError, OSError) as problem:
                samples.failed(f"{system.name}, loss of the leader", problem)


# ---- the report ----


def name_of(operation, place, shape):
    connections = f"{shape[0]} connection{'s' if shape[0] > 1 else ''} × {shape[1]}"
    return f"{OPERATIONS[operation]}, {connections}, at the {place}"


def number(value):
    if value is None:
        return ""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


class Table:
    def __init__(self, samples):
        self.samples = samples
        heads = ["", "floor", *COLUMNS, *(f"1 shard / {rival}" for rival in RIVALS), "1 shard / floor"]
        self.lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]

    def group(self, title):
        self.lines.append(f"| **{title}**" + " |" * (len(COLUMNS) + len(RIVALS) + 3))

    def row(self, title, key):
        cells = [number(self.samples.median(key, column)) for column in ("floor", *COLUMNS)]
        for under in (*RIVALS, "floor"):
            ratio = self.samples.ratio(key, OURS, under)
            cells.append("" if ratio is None else f"{ratio:.2f}")
        if any(cells):
            self.lines.append(f"| {title} | " + " | ".join(cells) + " |")


def loads_rows(table, group, shapes, operations=("set", "get"), places=("leader", "follower")):
    for shape in shapes:
        for operation in operations:
            for place in places:
                table.row(name_of(operation, place, shape), (group, operation, place, shape))


def target(text, ratios, bound, at_least=True):
    """One line: the bound, what was measured, and whether it holds."""
    shown = ", ".join("?" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
    met = all(ratio is not None and (ratio >= bound if at_least else ratio <= bound) for ratio in ratios)
    return f"- {text}: {shown} – {'met' if met else 'missed'}."


def targets(samples):
    def against(rival, operation, shape):
        return samples.ratio(("rate", operation, "leader", shape), OURS, rival)

    write = ("latency", "set", "leader", LATENCY, "p50")
    ten = [against("etcd", operation, SHAPES[0]) for operation in ("set", "get")]
    redis = [against("Redis", "set", shape) for shape in SHAPES]
    scripts = [against("Redis", operation, shape) for operation in loads.SCRIPTS for shape in SHAPES]
    return [
        target("Ten times etcd's writes and strong reads, 16 × 32, at the leader", ten, 10),
        target("At least Redis's SET rate, 16 × 32 and 512 × 1", redis, 1),
        target("At least Redis's rate of scripts, EVAL and EVALSHA, 16 × 32 and 512 × 1", scripts, 1),
        target("One write in flight within 1.3 times the floor", [samples.ratio(write, OURS, "floor")], 1.3, at_least=False),
    ]


def report(samples, size, versions):
    table = Table(samples)
    table.group("per second: more is better")
    loads_rows(table, "rate", SHAPES, OPERATIONS)
    table.group("latency in µs, one request in flight: less is better")
    for percentile in PERCENTILES:
        for operation in ("set", "get", "plain get", *loads.SCRIPTS):
            for place in PLACES:
                table.row(f"{'EVAL' if operation == 'eval' else 'EVALSHA' if operation == 'evalsha' else OPERATIONS[operation]}, {percentile}, at the {place}", ("latency", operation, place, LATENCY, percentile))
    table.group("CPU of all servers, µs per operation: less is better")
    loads_rows(table, "cpu", [*SHAPES, LATENCY], ("set", "get", *loads.SCRIPTS))
    table.group("CPU of the program that makes the load, µs per operation")
    loads_rows(table, "client cpu", SHAPES, places=["leader"])
    table.group("system calls of all servers, per operation: less is better")
    loads_rows(table, "calls", SHAPES, places=["leader"])
    table.group("memory and loss: less is better")
    table.row("resident when idle, MB per node", ("idle",))
    for keys in size.memory_keys:
        table.row(f"resident with {keys:,} keys, MB per node", ("filled", keys))
        table.row("the difference, bytes per key over key and value", ("per key", keys))
    table.row("no service after kill -9 of the leader, ms", ("outage",))
    floor = {name: samples.median(("floor", name, "p50"), "floor") for name in ("round_trip", "sync_alone", "sync_three")}
    parts = (
        f"The floor's parts, medians: round trip of 64 bytes {number(floor['round_trip'])} µs; append of 4 KiB and fdatasync "
        f"{number(floor['sync_alone'])} µs alone, {number(floor['sync_three'])} µs when three processes do it at once."
    )
    lines = [f"Measured {common.machine()}; {', '.join(versions)}.", "", *table.lines, "", parts]
    if not any(key[0][0] == "calls" for key in samples.values):
        lines.append("System calls were not counted: no perf here that may count them.")
    if samples.failures:
        lines.append(f"Runs that failed (each was made again once): {'; '.join(samples.failures)}.")
    return "\n".join([*lines, "", *targets(samples)])


def compare(work, size):
    samples = Samples()
    memory(work, size, samples)
    systems = []
    try:
        for name, make in MAKE.items():
            note(f"{name}: starting")
            systems.append(make(work / name))
            systems[-1].start()
        versions = [version for version in (system.version() for system in systems) if version]
        warm_up(systems, size)
        throughput(systems, size, samples)
        latency(systems, work, size, samples)
        if counts_calls():
            note("system calls")
            system_calls(systems, size, samples)
        loss_of_leader(systems, size, samples)
    finally:
        for system in systems:
            system.kill()
    return report(samples, size, versions)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round of each: for a look, not for a claim")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--folder", default=ROOT / "build", help="where all keep their data (default: build/)")
    options = parser.parse_args()
    if not options.quick:
        common.tell_when_busy()

    def body(work):
        text = compare(work, QUICK if options.quick else FULL)
        print(text)
        if options.write:
            common.write_document(text, "three.py")

    common.supervised(options.folder, body)


if __name__ == "__main__":
    main()
