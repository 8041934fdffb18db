#!/usr/bin/python3
"""Transactions over the shards of three nodes, beside single writes in the same run.

Every round loads the cluster with SETs and with each kind of transaction, for as long and by as many clients, in an order that
turns around from round to round. Rates and latencies are medians of the rounds, ratios the medians of the rounds' own ratios
to SET. A transaction writes one key of 64 bytes in each of its shards; clients are connected to all nodes in turn.

  round trips   between nodes, one after the other, for a commit of one client at one node: its mean latency over the time of
                one, with relays between all nodes that keep every byte for DELAY_S
  entries       log entries per commit, counted by the nodes that lead (INFO: log_entries)
  syncs         fdatasync calls of all three nodes per commit (log_syncs)
                Of one client both say what a commit costs; of many, what commits share, and attempts that failed are in
                them
  CPU           of all nodes, µs per commit
  errors        transactions that ended with an error, of all rounds

usage: bench/transactions.py [--quick] [--rounds N] [--seconds X] [--only TEXT] [--write] [--folder DIR]"""

import argparse
import dataclasses
import json
import statistics
import subprocess
import time

import common
import resp
from common import note, servers
from nodes import cluster

KEYS = 100_000
SHARDS = 8
DELAY_S = 0.01  # one way, so that what else a commit takes is little beside it
LATENCY_TARGET, RATE_TARGET = 2.5, 1 / 3
MANY = 64


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    clients: int
    words: tuple = ()  # of cohort bench; none: SETs
    protocol: str = "2pc"  # the setting of the nodes

    @property
    def lingers(self):
        """Participants of three-phase commit remember the outcome, and ask after a second whether they may forget it."""
        return "3PC" in self.name


def txn(shards, *more):
    return ("--mode", "txn", "--shards", str(shards), *more)


def group(clients):
    """The same by one client and by many."""
    cases = [Case("SET", clients)]
    cases += [Case(f"{n} shard{'s' if n > 1 else ''}", clients, txn(n)) for n in (1, 2, 4, 8)]
    cases += [
        Case("2 shards, 3PC", clients, txn(2), "3pc"),
        Case("2 shards, one MSET", clients, txn(2, "--form", "mset")),
        Case("2 shards, TXN.*", clients, txn(2, "--form", "txn", "--protocol", "2pc")),
        Case("2 shards, TXN.*, 3PC", clients, txn(2, "--form", "txn", "--protocol", "3pc")),
    ]
    return cases


CASES = group(1) + group(MANY)
CASES += [Case(f"2 shards, {hot} % of them on one key", MANY, txn(2, "--hot", str(hot))) for hot in (10, 50, 100)]
CASES += [Case("2 shards, all on one key, 3PC", MANY, txn(2, "--hot", "100"), "3pc")]


# ---- one load ----


def counters(three):
    """Of all nodes together."""
    sums = {"log_entries": 0, "log_syncs": 0}
    for node in three:
        with resp.Connection(node.port, timeout=60) as connection:
            lines = connection.call("INFO", "stats", "persistence").decode().splitlines()
        for line in lines:
            name, _, value = line.partition(":")
            if name in sums:
                sums[name] += int(value)
    return sums | {"cpu": common.cpu_seconds([node.pid for node in three])}


def set_protocol(three, protocol):
    for node in three:
        with resp.Connection(node.port) as connection:
            connection.call("CONFIG", "SET", "txn-protocol", protocol)


def load(three, case, seconds):
    """Commits per second, latencies in µs, and what each commit took."""
    url = "cohort://" + ",".join(f"127.0.0.1:{node.port}" for node in three)
    words = [servers.COHORT, "bench", "--url", url, "--json", "--keys", KEYS, "--clients", case.clients,
             "--duration", f"{int(seconds * 1000)}ms", *(case.words or ("--mode", "set"))]  # fmt: skip
    before = counters(three)
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=600,
                          preexec_fn=servers.end_with_parent)  # fmt: skip
    if done.returncode not in (0, 69) or not done.stdout:
        raise common.Failed(f"cohort bench ended with {done.returncode}:\n{done.stderr}")
    told = json.loads(done.stdout)
    settle(three, case)
    after = counters(three)
    commits = max(1, told["requests"])
    latency = told["operations"].get("txn" if case.words else "set", {"latency_us": {"p50": 0, "p99": 0}})["latency_us"]
    return {
        "rate": told["requests"] / told["seconds"],
        "p50": latency["p50"],
        "p99": latency["p99"],
        "entries": (after["log_entries"] - before["log_entries"]) / commits,
        "syncs": (after["log_syncs"] - before["log_syncs"]) / commits,
        "cpu": 1e6 * (after["cpu"] - before["cpu"]) / commits,
        "errors": told["errors"],
        "error": told["error_texts"][0]["text"] if told["errors"] else "",
    }


def settle(three, case):
    """Until what transactions leave behind (FINISH, DONE, FORGET) is logged, so that it is counted with what caused it."""
    if case.lingers:
        time.sleep(1.5)
    seen = -1
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        now = counters(three)["log_entries"]
        if now - seen < 3:
            return
        seen = now
        time.sleep(0.15)


# ---- all of them ----


def measure(three, cases, rounds, seconds):
    """{case: [result of each round]}."""
    results = {case: [] for case in cases}
    protocol = None
    for turn in range(rounds):
        for case in cases if turn % 2 == 0 else reversed(cases):
            if case.protocol != protocol:
                protocol = case.protocol
                set_protocol(three, protocol)
            result = load(three, case, seconds)
            results[case].append(result)
            note(f"{turn + 1}/{rounds} {case.clients} × {case.name}: "
                 + ", ".join(f"{name} {value:,.1f}" for name, value in result.items() if name != "error")
                 + (f" ({result['error']})" if result["errors"] else ""))  # fmt: skip
    return results


def round_trips(work, cases, seconds):
    """{case: round trips}, of those with one client."""
    trips = {}
    with cluster.Cluster(work / "far", nodes=3, shards=SHARDS, relays=True) as far:
        for node in far:
            node.relay.delay_s = DELAY_S
        for case in cases:
            if case.clients == 1:
                set_protocol(far, case.protocol)
                trips[case] = 1 / load(far, case, seconds)["rate"] / (2 * DELAY_S)
                note(f"{case.name}: {trips[case]:.2f} round trips")
    return trips


def median(results, name):
    return statistics.median(one[name] for one in results)


def ratio(results, base, name):
    return statistics.median(one[name] / max(other[name], 1e-9) for one, other in zip(results, base))


def report(results, trips, rounds, seconds):
    lines = [f"Measured {common.machine()}: {rounds} round{'s' if rounds > 1 else ''} of {seconds:g} s each.", "",
             "| | commits per second | / SET | p50 µs | / SET | p99 µs | round trips | entries | syncs | CPU µs | errors |",
             "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    answers = []
    clients = None
    for case, own in results.items():
        base = next(results[other] for other in results if other.name == "SET" and other.clients == case.clients)
        if case.clients != clients:
            clients = case.clients
            lines.append(f"| **{clients} client{'s' if clients > 1 else ''}** | | | | | | | | | | |")
        rate, latency = ratio(own, base, "rate"), ratio(own, base, "p50")
        trip = f"{trips[case]:.1f}" if case in trips else ""
        lines.append(f"| {case.name} | {median(own, 'rate'):,.0f} | {rate:.2f} | {median(own, 'p50'):,.0f} | {latency:.2f} "
                     f"| {median(own, 'p99'):,.0f} | {trip} | {median(own, 'entries'):.2f} | {median(own, 'syncs'):.2f} "
                     f"| {median(own, 'cpu'):,.1f} | {sum(one['errors'] for one in own):,} |")  # fmt: skip
        if case.name == "2 shards" and case.clients == 1:
            answers.append((f"A commit over two shards within {LATENCY_TARGET} times the latency of a single write, one client",
                            latency, latency <= LATENCY_TARGET))  # fmt: skip
        if case.name == "2 shards" and case.clients == MANY:
            answers.append((f"At more than a third of its throughput, {MANY} clients", rate, rate > RATE_TARGET))
    lines.append("")
    lines += [f"- {question}: {value:.2f} – {'met' if met else '**not met**'}." for question, value, met in answers]
    return "\n".join(lines), all(met for _, _, met in answers)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: for a look, not for a claim")
    parser.add_argument("--rounds", type=int, help="default 7")
    parser.add_argument("--seconds", type=float, help="of each load (default 2)")
    parser.add_argument("--only", default="", metavar="TEXT", help="the cases with TEXT in their name, beside SET")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--folder", default=common.ROOT / "build", help="where the nodes keep their data (default: build/)")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 7)
    options.seconds = options.seconds or (0.5 if options.quick else 2)
    if not options.quick:
        common.tell_when_busy()
    common.supervised(options.folder, lambda work: compare(work, options))


def compare(work, options):
    """Whether the targets are met, as an exit code."""
    cases = [case for case in CASES if case.name == "SET" or options.only in case.name]
    with cluster.Cluster(work, nodes=3, shards=SHARDS) as three:
        common.run([servers.COHORT, "bench", "--url", f"cohort://127.0.0.1:{three[1].port}", "--prepare", "--keys", KEYS,
                    "--clients", 16, "--requests", 16])  # fmt: skip
        results = measure(three, cases, options.rounds, options.seconds)
    trips = round_trips(work, cases, max(1, options.seconds))
    table, met = report(results, trips, options.rounds, options.seconds)
    print(table)
    if options.write:
        common.write_document(table, "transactions.py")
    return 0 if met else 1


if __name__ == "__main__":
    main()
