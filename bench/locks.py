#!/usr/bin/python3
"""Locks of three nodes of Cohort, etcd, ZooKeeper and Redis: pairs of acquire and release in a second, and one lock that 64 want.

All are up from the beginning and one at a time is loaded, at the node that leads, in short rounds by turns; numbers are
medians of the rounds, ratios medians of the rounds' own ratios. A release is sent when its acquire was answered. As many requests
in flight are spread over different numbers of connections, and the targets compare each system over the number that suits it best.

  cohort     LOCK.ACQUIRE … PX 10000 (one lock for all: WAIT 1000), LOCK.RELEASE with the token (`cohort bench --mode lock`); with one shard, and
             with four, of which a node leads one or two, and a client is at one node
  ZooKeeper  its own recipe, by its C client without waiting between requests: create a sequential ephemeral node, list the
             children, delete, in the nodes of as many locks, which are there; with one lock for all, who is not first watches the one
             before (zookeeper_load.c). Its servers run for 24 s under that load before anything is measured
  etcd       a transaction that creates the key if it is absent, and a delete. h2load sends one body in every request, so
             both are one body here: create when absent, else delete. With one lock for all, 64 connections ask for the
             creation all the time and one for the deletion; grants are what its revision counts. It has no tokens to check,
             leases are left out
  Redis      SET NX PX and EVAL of a compare-and-delete (`--form set`); the primary and two replicas sync each write, and the
             primary answers before a replica has it. Who does not get the lock asks again at once

usage: bench/locks.py [--quick] [--write] [--rounds N] [--folder DIR]"""

import argparse
import json
import os
import subprocess
import tempfile

import common
import loads
import rivals
from common import note, run, servers
from three import Samples, number

SHAPES = [(1, 128), (4, 32), (16, 8), (4, 128), (16, 32), (1, 1)]  # connections, and requests in flight on each
OWNERS = 64
KEYS = 100_000
MAKE = {
    "cohort, 1 shard": lambda folder: rivals.Cohort(folder, 1),
    "cohort, 4 shards": lambda folder: rivals.Cohort(folder, 4),
    "etcd": rivals.Etcd,
    "ZooKeeper": rivals.ZooKeeper,
    "Redis": rivals.Redis,
}
OURS, RIVALS = "cohort, 1 shard", ["etcd", "ZooKeeper", "Redis"]
LOCK = b"bench-lock"


def of_bench(node, clients, in_flight, seconds, keys, *form):
    told = json.loads(run([servers.COHORT, "bench", "--url", f"cohort://127.0.0.1:{node.port}", "--json", "--mode", "lock", "--keys",
                           keys, "--clients", clients, "--pipeline", in_flight, "--duration", f"{int(seconds * 1000)}ms", *form]))  # fmt: skip
    latency, grants = told["operations"]["lock"]["latency_us"], told["grants"]
    return {"rate": grants["count"] / told["seconds"], "p50": latency["p50"], "p99": latency["p99"],
            "fairness": grants["fairness"], "messages": grants["messages_per_grant"]}  # fmt: skip


def of_zookeeper(node, mode, clients, in_flight, seconds):
    told = json.loads(run(loads.zookeeper_words(node, mode, clients, in_flight, seconds, KEYS)))
    return told | {"rate": told["requests"] / told["seconds"]}


def absent(key):
    """Compare { result EQUAL, target VERSION, key, version 0 }."""
    return b"\x08\x00\x10\x00" + loads.field(3, key) + b"\x20\x00"


def create_if_absent(key, otherwise=b""):
    """TxnRequest { compare, success: put, failure }."""
    put = loads.field(2, loads.put_request(key, b"owner"))
    return loads.field(1, absent(key)) + loads.field(2, put) + otherwise


def delete(key):
    """DeleteRangeRequest."""
    return loads.field(1, key)


def etcd_pairs(node, clients, in_flight, seconds):
    body = create_if_absent(LOCK, loads.field(3, loads.field(3, delete(LOCK))))
    with tempfile.TemporaryDirectory() as folder:
        words = ["-c", clients, "-m", in_flight, "-D", f"{int(seconds * 1000)}ms", f"--warm-up-time={loads.WARM_UP_MS}ms"]
        log = os.path.join(folder, "log")
        if clients * in_flight == 1:
            words.append(f"--log-file={log}")
        done, _ = loads.h2load(node, "Txn", loads.grpc_file(folder, body), *words)
        found = {"rate": done / 2 / seconds, "messages": 4}
        if clients * in_flight == 1:
            half = loads.percentiles_of(log)
            found |= {name: 2 * half[name] for name in ("p50", "p99")}
        return found


def revision(node):
    return int(rivals.etcd_call(node.port, "/v3/maintenance/status", {})["header"]["revision"])


def etcd_contended(node, seconds):
    """Each grant and each release is one revision."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        base = ["h2load", "-t", "1", "-H", "content-type: application/grpc", "-H", "te: trailers", "-m", "1", "-D", f"{int(seconds)}"]
        url = f"http://127.0.0.1:{node.port}/etcdserverpb.KV/"
        before = revision(node)
        asked = loads.grpc_successes(node, "Txn") + loads.grpc_successes(node, "DeleteRange")
        running = [
            subprocess.Popen([*base, "-c", str(clients), "-d", loads.grpc_file(folder, body), url + method], stdout=subprocess.DEVNULL,
                             preexec_fn=servers.end_with_parent)
            for clients, method, body, folder in ((OWNERS, "Txn", create_if_absent(LOCK), one), (1, "DeleteRange", delete(LOCK), other))
        ]  # fmt: skip
        codes = [program.wait(timeout=seconds + 60) for program in running]
        if any(codes):
            raise common.Failed(f"h2load ended with {codes}")
        grants = (revision(node) - before) / 2
        asked = loads.grpc_successes(node, "Txn") + loads.grpc_successes(node, "DeleteRange") - asked
        return {"rate": grants / seconds, "messages": 2 * asked / grants if grants else None}


def pairs(system, clients, in_flight, seconds):
    node = system.leader()
    if system.kind == "zookeeper":
        return of_zookeeper(node, "lock", clients, in_flight, seconds)
    if system.kind == "etcd":
        return etcd_pairs(node, clients, in_flight, seconds)
    return of_bench(node, clients, in_flight, seconds, KEYS, *(["--form", "set"] if system.kind == "redis" else []))


def contended(system, seconds):
    node = system.leader()
    if system.kind == "zookeeper":
        return of_zookeeper(node, "contend", OWNERS, 1, seconds)
    if system.kind == "etcd":
        return etcd_contended(node, max(1, round(seconds)))
    return of_bench(node, OWNERS, 1, seconds, 1, *(["--form", "set"] if system.kind == "redis" else []))


def measure(systems, options, samples):
    for turn in range(-1, options.rounds):  # the first is to warm up
        note(f"round {turn + 1} of {options.rounds}" if turn >= 0 else "warming up")
        into = samples if turn >= 0 else Samples()
        for shape in [*SHAPES, None]:
            for system in systems if turn % 2 == 0 else reversed(systems):
                what = shape or "contended"
                before = system.cpu_seconds()
                try:
                    found = contended(system, options.seconds) if shape is None else pairs(system, *shape, options.seconds)
                except (RuntimeError, OSError, KeyError) as problem:
                    into.failed(f"{system.name}, {what}", problem)
                    found = {}
                cpu = system.cpu_seconds() - before
                for name in ("rate", "p50", "p99", "fairness", "messages"):
                    into.add((name, what), system.name, found.get(name))
                into.add(("cpu", what), system.name, cpu * 1e6 / (found["rate"] * options.seconds) if found.get("rate") else None)


def row(samples, title, key):
    cells = [number(samples.median(key, name)) for name in MAKE]
    cells += ["" if (ratio := samples.ratio(key, OURS, rival)) is None else f"{ratio:.2f}" for rival in RIVALS]
    return f"| {title} | " + " | ".join(cells) + " |"


def title(shape):
    clients, in_flight = shape
    if clients * in_flight == 1:
        return "one in flight"
    return f"{clients * in_flight} in flight over {clients} connection{'s' if clients > 1 else ''}"


def best(samples, system, in_flight):
    """Pairs per second over the number of connections that suits the system best."""
    rates = [samples.median(("rate", shape), system) for shape in SHAPES if shape[0] * shape[1] == in_flight]
    return max((rate for rate in rates if rate is not None), default=None)


def target(samples, rival, bound, in_flight):
    ours, theirs = (best(samples, system, in_flight) for system in (OURS, rival))
    ratio = None if ours is None or not theirs else ours / theirs
    same = [samples.ratio(("rate", shape), OURS, rival) for shape in SHAPES if shape[0] * shape[1] == in_flight]
    shown = ", ".join("?" if one is None else f"{one:.2f}" for one in same)
    verdict = "met" if ratio is not None and ratio >= bound else "missed"
    return f"- {bound} × {rival}, {in_flight} in flight, both at their best: {number(ratio)} – {verdict}; over as many connections as each other: {shown}."


def report(samples, versions, options):
    heads = ["", *MAKE, *(f"1 shard / {rival}" for rival in RIVALS)]
    lines = [f"Measured {common.machine()}; {', '.join(versions)}: {options.rounds} round{'s' if options.rounds > 1 else ''} of {options.seconds:g} s each.",
             "", "| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]  # fmt: skip
    lines += [row(samples, f"pairs per second, {title(shape)}", ("rate", shape)) for shape in SHAPES]
    lines += [row(samples, f"a pair's latency, one in flight, {name}, µs", (name, (1, 1))) for name in ("p50", "p99")]
    lines += [row(samples, f"CPU of all servers for a pair, {title(shape)}, µs", ("cpu", shape)) for shape in SHAPES]
    for name, what in (("rate", "grants per second"), ("fairness", "Jain's fairness"), ("messages", "messages for each grant"),
                       ("cpu", "CPU of all servers for a grant, µs")):  # fmt: skip
        lines.append(row(samples, f"{OWNERS} owners of one lock: {what}", (name, "contended")))
    lines.append("")
    for rival, bound in (("ZooKeeper", 20), ("etcd", 10), ("Redis", 1)):
        lines += [target(samples, rival, bound, in_flight) for in_flight in (128, 512)]
    if samples.failures:
        lines.append(f"- Runs that failed: {'; '.join(samples.failures)}.")
    return "\n".join(lines)


def warm_zookeeper(node):
    """Java compiles what it runs often: the rate of 128 in flight doubles in the first twenty seconds of such a load."""
    of_zookeeper(node, "locks", 1, 1, 1)
    for _ in range(6):
        for clients, in_flight in ((16, 8), (16, 32)):
            of_zookeeper(node, "lock", clients, in_flight, 2)


def compare(work, options):
    samples, systems = Samples(), []
    try:
        for name, make in MAKE.items():
            note(f"{name}: starting")
            systems.append(make(work / name))
            systems[-1].start()
            if systems[-1].kind == "zookeeper":
                warm_zookeeper(systems[-1].leader())
        versions = [version for version in (system.version() for system in systems) if version]
        measure(systems, options, samples)
    finally:
        for system in systems:
            system.kill()
    table = report(samples, versions, options)
    print(table)
    if options.write:
        common.write_document(table, "locks.py")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: for a look, not for a claim")
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--seconds", type=float, help="of each load (default 1)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--folder", default=common.ROOT / "build", help="where all keep their data (default: build/)")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (0.5 if options.quick else 1)
    if not options.quick:
        common.tell_when_busy()
    common.supervised(options.folder, lambda work: compare(work, options))


if __name__ == "__main__":
    main()
