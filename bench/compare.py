#!/usr/bin/python3
"""Cohort beside Debian's redis-server: the same clients, the same machine, the same disk, the same promise.

redis-server runs with `appendonly yes, appendfsync always`: as Cohort does, it answers a write when it is on stable
storage. Both servers live in the same folder and hold one million keys of 16 bytes with values of 64. They are measured
by turns, in short rounds, so that what else the machine does meets both alike: the rates are medians of the rounds, and the
last column is the median of the rounds' own ratios. A claim still needs a machine that does nothing else; the table says
what load it began with.

  throughput   redis-benchmark, SET and GET on random keys of the million, at 1, 64 and 512 clients, without and with
               pipelining of 32
  memory       what the resident set grew by while the keys were written, per key, less key and value
  snapshot     latencies of 64 clients (one SET to nine GETs) while snapshots are made one after the other (redis:
               BGREWRITEAOF; cohort: DEBUG SNAPSHOT), and without; as `cohort bench` measures them
  start-up     from the start of the process to the first PONG, after a clean end, from what such a snapshot left

usage: bench/compare.py [--quick] [--write] [--folder DIR]"""

import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import common
from common import ROOT, note, run, servers  # before resp, which it makes known

import resp

KEYS = 1_000_000
KEY_BYTES, VALUE_BYTES = 16, 64
KINDS = ["redis", "cohort"]
ARGUMENTS = {
    "redis": ["--appendonly", "yes", "--appendfsync", "always"],
    "cohort": ["--enable-debug-command", "yes"],
}
LOADS = [(clients, pipeline) for pipeline in (1, 32) for clients in (1, 64, 512)]


# ---- the servers ----


def info(server, name):
    """One value of INFO, or None."""
    with resp.Connection(server.port) as connection:
        for line in connection.call("INFO").decode().splitlines():
            if line.startswith(name + ":"):
                return line.split(":", 1)[1]
    return None


def resident_bytes(server):
    status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def at_rest(server):
    """Waits until no snapshot or rewrite runs, the server's own included."""
    while any(info(server, name) == "1" for name in ("aof_rewrite_in_progress", "snapshot_in_progress")):
        time.sleep(0.05)
    return server


def begin_snapshot(server):
    with resp.Connection(server.port) as connection:
        reply = connection.call("BGREWRITEAOF") if server.kind == "redis" else connection.call("DEBUG", "SNAPSHOT")
    if isinstance(reply, resp.Error):
        raise SystemExit(f"{server.kind}: {reply}")


def cohort_bench(server, *words):
    url = f"cohort://127.0.0.1:{server.port}"
    return json.loads(run([servers.COHORT, "bench", "--url", url, "--json", "--keys", KEYS, *words]))


# ---- what is measured ----


def memory_per_key(server):
    """Writes the keys; returns the bytes that each one costs over key and value."""
    before = resident_bytes(server)
    cohort_bench(server, "--mode", "get", "--prepare", "--requests", 1000, "--clients", 16, "--pipeline", 32)
    at_rest(server)
    with resp.Connection(server.port) as connection:
        count = connection.call("DBSIZE")
    if count != KEYS:
        raise SystemExit(f"{server.kind} holds {count} keys, not {KEYS}")
    return (resident_bytes(server) - before) / KEYS - KEY_BYTES - VALUE_BYTES


LIGHT = "get by cohort bench"  # a client that is not the limit itself, where redis-benchmark is


def requests_per_second(server, test, clients, pipeline, requests):
    if test == LIGHT:
        words = ["--mode", "get", "--clients", clients, "--requests", requests, "--value-size", VALUE_BYTES]
        return cohort_bench(server, *words)["requests_per_second"]
    words = ["redis-benchmark", "-p", server.port, "-t", test, "-c", clients, "-P", pipeline, "-n", requests,
             "-r", KEYS, "-d", VALUE_BYTES, "--csv"]  # fmt: skip
    return float(next(csv.DictReader(run(words).splitlines()))["rps"])


def throughput(pair, rounds, seconds):
    """{(test, clients, pipeline): {kind: median, "ratio": median of ratios}}; both get the same number of requests, enough for `seconds`."""
    rows = {}
    for clients, pipeline in LOADS:
        for test in ("set", "get", LIGHT) if pipeline == 1 else ("set", "get"):
            sample = [requests_per_second(server, test, clients, pipeline, max(1000, clients * pipeline * 20)) for server in pair]
            requests = max(clients * pipeline * 20, int(min(sample) * seconds))
            results = {server.kind: [] for server in pair}
            for turn in range(rounds):
                for server in pair if turn % 2 == 0 else reversed(pair):
                    at_rest(server)
                    results[server.kind].append(requests_per_second(server, test, clients, pipeline, requests))
            row = {kind: statistics.median(values) for kind, values in results.items()}
            row["ratio"] = statistics.median(ours / theirs for ours, theirs in zip(results["cohort"], results["redis"]))
            rows[test, clients, pipeline] = row
            note(f"{test} {clients} clients, pipeline {pipeline}: {rows[test, clients, pipeline]}")
    return rows


def latencies(server, seconds, snapshots):
    """{"p99.9": ms, "p100": ms, "count": snapshots made} of a mixed load, with or without snapshots meanwhile."""
    at_rest(server)
    words = [servers.COHORT, "bench", "--url", f"cohort://127.0.0.1:{server.port}", "--json", "--keys", KEYS,
             "--mode", "mixed", "--ratio", "1:9", "--clients", 64, "--duration", f"{seconds}s"]  # fmt: skip
    load = subprocess.Popen(
        [str(word) for word in words], stdout=subprocess.PIPE, text=True, preexec_fn=servers.end_with_parent
    )
    count = 0
    if snapshots:
        time.sleep(0.5)
        while load.poll() is None:
            begin_snapshot(server)
            count += 1
            at_rest(server)
            time.sleep(0.2)
    result = json.loads(load.communicate(timeout=600)[0])
    at_rest(server)
    worst = {
        name: max(result["operations"][operation]["latency_us"][name] for operation in ("set", "get")) / 1000
        for name in ("p99.9", "p100")
    }
    return {**worst, "count": count, "rps": result["requests_per_second"]}


def start_up_ms(server):
    """A clean end and a start, with the keys in place."""
    server.stop()
    began = time.monotonic()
    server.start()
    took_ms = (time.monotonic() - began) * 1000
    at_rest(server)
    with resp.Connection(server.port) as connection:
        if connection.call("DBSIZE") != KEYS:
            raise SystemExit(f"{server.kind} came back without its keys")
    return took_ms


# ---- the report ----


def ratio(ours, theirs):
    return f"{ours / theirs:.2f}" if theirs > 0 else "–"


def report(rows, memory, starts, quiet, busy):
    redis = common.redis_version(pathlib.Path(tempfile.gettempdir()))
    lines = [f"Measured {common.machine()}; redis-server {redis}.", "", "| | redis-server | cohort | cohort / redis |", "|---|---:|---:|---:|"]
    for (test, clients, pipeline), row in rows.items():
        lines.append(
            f"| {test.upper().replace('BY COHORT BENCH', 'by cohort bench')} per second, {clients} client{'s' if clients > 1 else ''}, pipeline {pipeline} "
            f"| {row['redis']:,.0f} | {row['cohort']:,.0f} | {row['ratio']:.2f} |"
        )

    def line(name, values, form):
        both = f"{values['redis']:{form}} | {values['cohort']:{form}}"
        lines.append(f"| {name} | {both} | {ratio(values['cohort'], values['redis'])} |")

    line("memory per key over key and value, bytes", memory, ".0f")
    line("start-up with a million keys, ms", starts, ".0f")
    for name, shown in (("p99.9", "p99.9"), ("p100", "longest pause")):
        line(f"{shown} without snapshots, ms", {kind: quiet[kind][name] for kind in KINDS}, ".1f")
        line(f"{shown} during snapshots, ms", {kind: busy[kind][name] for kind in KINDS}, ".1f")
    line("requests per second during snapshots", {kind: busy[kind]["rps"] for kind in KINDS}, ",.0f")
    line("snapshots made in that time", {kind: busy[kind]["count"] for kind in KINDS}, "d")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round of each: for a look, not for a claim")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--folder", default=ROOT / "build", help="where both keep their data (default: build/)")
    options = parser.parse_args()
    if not options.quick:
        common.tell_when_busy()
    common.supervised(options.folder, lambda work: compare(work, options.quick, options.write))


def compare(work, quickly, write):
    rounds, seconds = (1, 0.5) if quickly else (7, 1)
    pair = [servers.Server(kind, work / kind, ARGUMENTS[kind]) for kind in KINDS]
    try:
        memory = {}
        for server in pair:
            server.start()
            note(f"{server.kind}: writing {KEYS:,} keys")
            memory[server.kind] = memory_per_key(server)
        rows = throughput(pair, rounds, seconds)
        quiet, busy, starts = {}, {}, {}
        for server in pair:
            note(f"{server.kind}: latencies, snapshots, start-up")
            quiet[server.kind] = latencies(server, 3 if quickly else 10, snapshots=False)
            busy[server.kind] = latencies(server, 3 if quickly else 10, snapshots=True)
            starts[server.kind] = statistics.median(start_up_ms(server) for _ in range(rounds))
    finally:
        for server in pair:
            server.kill()
    table = report(rows, memory, starts, quiet, busy)
    print(table)
    if write:
        common.write_document(table, "compare.py")


if __name__ == "__main__":
    main()
