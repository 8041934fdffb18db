#!/usr/bin/python3
"""Feeds: how many changes a node hands on, and what feeds cost those who write.

One node with four shards, beside one redis-server (appendfsync always) with keyspace notifications, which are the nearest thing
that it has: they tell the key alone, and what a client misses is lost. By turns in each round, median of the rounds:

  idle     writes per second with none, and with 10,000 and 50,000 feeds (Redis: subscriptions) of which none is concerned,
           1,000 to a connection
  told     1, 100 and 1,000 connections that follow every key, while keys are set at a rate that nobody has to refuse: changes
           that came per second, of those that should have, and the server's CPU for each

usage: bench/feeds.py [--quick] [--rounds N] [--write] [--folder DIR]"""

import argparse
import statistics
import subprocess
import sys
import time

import common
from common import note, servers
from nodes import Load, allow_descriptors

IDLE = (0, 10_000, 50_000)
TOLD = ((1, 50_000), (100, 5_000), (1_000, 500))  # followers, keys set per second
PER_CONNECTION = 1_000

FEED = "COHORT.FEED,PREFIX,%s"
KINDS = {
    "cohort": {"idle": FEED % "idle%d:", "told": FEED % "", "mark": "$3\r\nset\r\n"},
    "redis": {"idle": "SUBSCRIBE,__keyspace@0__:idle%d", "told": "PSUBSCRIBE,__keyevent@0__:set", "mark": "$8\r\npmessage\r\n"},
}
ARGUMENTS = {
    "cohort": ["--shards", "4", "--feed-history-bytes", "64mb", "--maxclients", "20000"],
    "redis": ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--notify-keyspace-events", "KEA"],
}  # fmt: skip


class Reader:
    def __init__(self, server, connections, each, words, mark):
        program = [sys.executable, str(common.ROOT / "bench" / "feed_reader.py")]
        self.process = subprocess.Popen([*program, str(server.port), str(connections), str(each), words, mark], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=servers.end_with_parent)  # fmt: skip
        if self.process.stdout.readline() != "ready\n":
            raise common.Failed("the reader did not begin")

    def count(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def idle(server, count, seconds):
    """Writes per second."""
    words = KINDS[server.kind]
    reader = Reader(server, count // PER_CONNECTION, PER_CONNECTION, words["idle"], words["mark"]) if count else None
    rate = Load(connections=16, window=32, seconds=seconds).run([server])["per_second"]
    if reader is not None:
        assert reader.count() == 0
        reader.close()
    return rate


def told(server, followers, rate, seconds):
    """Changes that came per second, the share of those that should have, µs of CPU for each."""
    words = KINDS[server.kind]
    reader = Reader(server, followers, 1, words["told"], words["mark"])
    cpu = common.cpu_seconds([server.pid])
    began = time.monotonic()
    accepted = Load(connections=4, window=1, rate=rate, seconds=seconds).run([server])["ok"]
    took = time.monotonic() - began
    last = -1
    while (count := reader.count()) != last:  # what is under way still comes
        last = count
        time.sleep(0.5)
    cpu = common.cpu_seconds([server.pid]) - cpu
    reader.close()
    return count / took, count / (accepted * followers), cpu * 1e6 / max(count, 1)


def one_round(running, seconds, rates, shares):
    for count in IDLE:
        for kind, server in running.items():
            rates.setdefault((kind, count), []).append(idle(server, count, seconds))
            note(f"{kind}, {count} idle: {rates[kind, count][-1]:.0f} writes/s")
    for followers, rate in TOLD:
        for kind, server in running.items():
            shares.setdefault((kind, followers), []).append(told(server, followers, rate, seconds))
            note(f"{kind}, {followers} followers: %.0f changes/s, %.1f %%, %.2f µs" % (
                shares[kind, followers][-1][0], 100 * shares[kind, followers][-1][1], shares[kind, followers][-1][2]))  # fmt: skip


def table(rates, shares):
    lines = ["| writes per second, feeds that are not concerned | cohort | redis |", "|---|---|---|"]
    for count in IDLE:
        cells = [f"{statistics.median(rates[kind, count]):,.0f}" for kind in KINDS]
        lines.append(f"| {count:,} | {' | '.join(cells)} |")
    lines += ["", "| followers of every key | keys set per second | cohort: changes per second | came | CPU each | redis: changes per second | came | CPU each |",
              "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for followers, rate in TOLD:
        cells = []
        for kind in KINDS:
            per_second, share, cpu = (statistics.median(values) for values in zip(*shares[kind, followers]))
            cells += [f"{per_second:,.0f}", f"{100 * share:.1f} %", f"{cpu:.2f} µs"]
        lines.append(f"| {followers:,} | {rate:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def body(arguments, work):
    common.tell_when_busy()
    allow_descriptors(20_000)
    rates, shares = {}, {}
    for number in range(arguments.rounds):
        # New ones each time: a node that was asked for a feed keeps a history for a while.
        running = {kind: servers.Server(kind, work / f"{kind}{number}", ARGUMENTS[kind]) for kind in KINDS}
        for server in running.values():
            server.start()
        one_round(running, arguments.seconds, rates, shares)
        for server in running.values():
            server.stop()
    text = f"{common.machine()}, redis {common.redis_version(work)}; {arguments.rounds} rounds\n\n{table(rates, shares)}"
    print(text)
    if arguments.write:
        common.write_document(text, "feeds.py")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    parser.add_argument("--folder", help="where the servers keep their data")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 2
    common.supervised(arguments.folder, lambda work: body(arguments, work))


main()
