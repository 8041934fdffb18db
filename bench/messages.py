#!/usr/bin/python3
"""Messages delivered in a second: PUBLISH of 64 bytes to 1, 100 and 1,000 subscribers, beside Debian's redis-server.

One redis-server, one node of cohort alone, and three nodes of cohort, of which the first is published at and the others
have the subscribers. They are loaded by turns, in short rounds, by the same program (messages_load.c): rates are medians of
the rounds, ratios medians of the rounds' own ratios. The publisher has one PUBLISH on its way, or 32.

usage: bench/messages.py [--quick] [--write] [--folder DIR]"""

import argparse
import json
import statistics

import common
from common import ROOT, run, servers  # before cluster, which it makes known

import cluster
import nodes

LOAD = ROOT / "build" / "bench" / "messages_load"
SUBSCRIBERS = [1, 100, 1000]
IN_FLIGHT = [1, 32]
NAMES = {"redis": "redis-server", "one": "one node", "three": "from one node to two others"}


def rate(ports, subscribers, in_flight, seconds):
    told = json.loads(run([LOAD, seconds, subscribers, in_flight, ports[0], *(ports[1:] or ports)]))
    return told["delivered"] / told["seconds"]


def measure(ports, rounds, seconds):
    """Rates by case and rival."""
    found = {}
    for subscribers in SUBSCRIBERS:
        for in_flight in IN_FLIGHT:
            found[subscribers, in_flight] = {name: [] for name in ports}
    for _ in range(rounds):
        for (subscribers, in_flight), rates in found.items():
            for name in ports:
                rates[name].append(rate(ports[name], subscribers, in_flight, seconds))
    return found


def report(found, rounds, seconds):
    lines = [f"Measured {common.machine()}: {rounds} round{'s' if rounds > 1 else ''} of {seconds:g} s each.", "",
             "| subscribers | in flight | redis-server | one node | / redis | from one node to two others | / redis |",
             "|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for (subscribers, in_flight), rates in found.items():
        row = f"| {subscribers:,} | {in_flight} | {statistics.median(rates['redis']):,.0f} "
        for name in ("one", "three"):
            ratio = statistics.median(a / b for a, b in zip(rates[name], rates["redis"]))
            row += f"| {statistics.median(rates[name]):,.0f} | {ratio:.2f} "
        lines.append(row + "|")
    return "\n".join(lines)


def compare(work, options):
    nodes.allow_descriptors(20_000)
    redis = servers.Server("redis", work / "redis", [])
    one = servers.Server("cohort", work / "one", [])
    with cluster.Cluster(work / "three", nodes=3, shards=4) as three:
        try:
            redis.start()
            one.start()
            ports = {"redis": [redis.port], "one": [one.port], "three": [node.port for node in three]}
            found = measure(ports, options.rounds, options.seconds)
        finally:
            redis.kill()
            one.kill()
    table = report(found, options.rounds, options.seconds)
    print(table)
    if options.write:
        common.write_document(table, "messages.py")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: for a look, not for a claim")
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--seconds", type=float, help="of each load (default 1)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--folder", default=ROOT / "build", help="where the nodes keep their data (default: build/)")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (0.5 if options.quick else 1)
    if not options.quick:
        common.tell_when_busy()
    common.supervised(options.folder, lambda work: compare(work, options))


if __name__ == "__main__":
    main()
