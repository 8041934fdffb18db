#!/usr/bin/python3
"""Three nodes that are asked for twice what they can do.

First clients that wait for their answers find the peak; then an open loop (bench/open_loop.c: it asks at its rate, whatever
becomes of the answers) asks for twice as much through all nodes. Once a second: accepted and refused requests, the
latency of both (from the moment at which a request was due), the nodes' memory, the terms of all shards. Then the peak once
more. In the end five questions, each with its answer; the exit code is 1 when one is no.

A peak is what can be kept up: a machine may do more in the first seconds of a load than later (a virtual one that gets its memory
page by page does), so the same load runs for --settle seconds before it is measured, and the peak is the mean of what it was
before and after. Both loads are made by one process of the same program over as many connections.

usage: bench/overload.py [--quick] [--seconds N] [--settle N] [--peak-seconds N] [--times X] [--connections N] [--shards N]
                         [--write] [--folder DIR]"""

import argparse
import dataclasses
import json
import os
import resource
import statistics

import common
import nodes
from nodes import cluster

SHARE_OF_PEAK = 0.8  # what throughput must hold
MEMORY_GROWTH = 1.25  # of the last third over the one before it, and MEMORY_SLACK_BYTES
LATENCY_GROWTH = 1.5  # so too, and LATENCY_SLACK_US
CLIENT_NICE = -10
MEMORY_SLACK_BYTES, LATENCY_SLACK_US = 32 << 20, 500_000
MEGABYTE = 1 << 20
WINDOWS = (16, 64, 256)  # requests under way in each connection, in search of the peak
LOOK_SECONDS = 2


def client_cpu_seconds():
    """Of the loads that have ended. They share the cores with the nodes, so what they take more of, the nodes lose."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclasses.dataclass
class Peak:
    per_second: float
    cost_us: float  # of the nodes' processor time, for each request
    client_cores: float


def best_window(three, options):
    """How many requests each connection has under way where clients that wait for their answers get the most: with few of
    them batches are small, and twice the rate of small batches would be no overload."""
    rates = {}
    for window in WINDOWS:
        load = nodes.Load(connections=options.connections, window=window, seconds=LOOK_SECONDS)
        rates[window] = load.run(three)["per_second"]
        common.note(f"{window} under way in each connection: {rates[window]:,.0f} per second")
    return max(rates, key=rates.get)


def peak_of(three, options, window):
    load = nodes.Load(connections=options.connections, window=window, seconds=options.peak_seconds)
    dataclasses.replace(load, seconds=LOOK_SECONDS).run(three)  # what was before it ends
    before, client_before = common.cpu_seconds([node.pid for node in three]), client_cpu_seconds()
    told = load.run(three)
    used = common.cpu_seconds([node.pid for node in three]) - before
    peak = Peak(told["per_second"], 1e6 * used / told["ok"], (client_cpu_seconds() - client_before) / told["seconds"])
    common.note(f"peak {peak.per_second:,.0f} per second, {peak.cost_us:.2f} µs each")
    return peak


def put_first(process):
    """Clients of busy nodes are elsewhere, and go on asking; one that waits for the nodes' processor asks for less."""
    try:
        os.setpriority(os.PRIO_PROCESS, process.pid, CLIENT_NICE)
    except PermissionError:
        common.note("no right to put the client first: it will be late, and ask for less than it is told to")


def overload(three, options, rate):
    """One dictionary for each second, with the nodes' memory; and one for the whole."""
    before, client_before = common.cpu_seconds([node.pid for node in three]), client_cpu_seconds()
    load = nodes.Load(connections=options.connections, rate=rate, seconds=options.seconds)
    process = load.start(three)
    put_first(process)
    seconds, whole, used = [], None, before
    for line in process.stdout:
        told = json.loads(line)
        if "seconds" in told:
            whole = told
            continue
        used = common.cpu_seconds([node.pid for node in three])  # not of the time after the last second, whose answers do not count
        told["memory"] = [nodes.resident_bytes(node) for node in three]
        seconds.append(told)
        if len(seconds) % 10 == 0:
            common.note(f"second {len(seconds)}: {told['ok']:,} accepted, {told['busy']:,} refused, "
                        f"p99 {told['accepted_us']['p99'] / 1000:,.0f} ms, {max(told['memory']) / MEGABYTE:,.0f} MB")  # fmt: skip
    if process.wait() != 0 or whole is None:
        raise SystemExit("open_loop failed")
    whole["cost_us"] = 1e6 * (used - before) / max(1, whole["ok"])
    whole["client_cores"] = (client_cpu_seconds() - client_before) / whole["seconds"]
    return seconds, whole


def thirds(seconds, what):
    """The median of the middle third and of the last one."""
    values = [what(second) for second in seconds]
    third = max(1, len(values) // 3)
    return statistics.median(values[third : 2 * third] or values), statistics.median(values[-third:])


def judge(seconds, whole, peaks, before, after):
    accepted = whole["ok"] / whole["seconds"]
    peak, cost_us, client_cores = (statistics.mean(getattr(one, name) for one in peaks) for name in
                                   ("per_second", "cost_us", "client_cores"))  # fmt: skip
    memory = thirds(seconds, lambda second: max(second["memory"]))
    latency = thirds([second for second in seconds if second["ok"]], lambda second: second["accepted_us"]["p99"])
    most = max(max(second["memory"]) for second in seconds) / MEGABYTE
    return [
        ("throughput holds", accepted >= SHARE_OF_PEAK * peak,
         f"{accepted:,.0f} accepted per second, {accepted / peak:.0%} of the peak of {peak:,.0f} "
         f"({peaks[0].per_second:,.0f} before, {peaks[1].per_second:,.0f} after); an accepted one "
         f"costs the nodes {whole['cost_us']:.2f} µs of the processor, refusals included, at the peak {cost_us:.2f}; "
         f"the client takes {whole['client_cores']:.2f} cores, at the peak {client_cores:.2f}"),
        ("the rest is refused", whole["busy"] > 0,
         f"{whole['busy'] / whole['seconds']:,.0f} -BUSY per second, after {whole['refused_us']['p50'] / 1000:,.0f} ms "
         f"(median); of {whole['asked'] / whole['seconds']:,.0f} that were due per second {whole['held'] / whole['seconds']:,.0f} "
         "found no room in their connection, or their client without time for them; "
         f"{whole['other']} other errors"),
        ("latency is bounded", latency[1] <= LATENCY_GROWTH * latency[0] + LATENCY_SLACK_US,
         f"of what was accepted: median {whole['accepted_us']['p50'] / 1000:,.0f} ms, p99 {whole['accepted_us']['p99'] / 1000:,.0f}, "
         f"longest {whole['accepted_us']['p100'] / 1000:,.0f}; p99 in the middle third {latency[0] / 1000:,.0f}, in the last {latency[1] / 1000:,.0f}"),
        ("memory is bounded", memory[1] <= MEMORY_GROWTH * memory[0] + MEMORY_SLACK_BYTES,
         f"at most {most:,.0f} MB in a node; middle third {memory[0] / MEGABYTE:,.0f}, last {memory[1] / MEGABYTE:,.0f}"),
        ("nobody is elected", before == after, f"terms of the shards {before} before, {after} after"),
    ]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="twenty seconds: for a look, not for a claim")
    parser.add_argument("--seconds", type=int, help="of overload (default 300)")
    parser.add_argument("--settle", type=int, help="seconds of load before the peak is measured (default 60)")
    parser.add_argument("--peak-seconds", type=int, help="for each of the two measurements of the peak (default 30)")
    parser.add_argument("--times", type=float, default=2, help="the peak that is asked for (default 2)")
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--write", action="store_true", help="put the answers into docs/performance.md")
    parser.add_argument("--folder", default=common.ROOT / "build", help="where the nodes keep their data (default: build/)")
    options = parser.parse_args()
    options.seconds = options.seconds or (20 if options.quick else 300)
    options.settle = options.settle or (10 if options.quick else 60)
    options.peak_seconds = options.peak_seconds or (5 if options.quick else 30)
    common.tell_when_busy()
    common.supervised(options.folder, lambda work: compare(work, options))


def compare(work, options):
    """Whether all is well, as an exit code."""
    with cluster.Cluster(work, nodes=3, shards=options.shards) as three:
        window = best_window(three, options)
        nodes.Load(connections=options.connections, window=window, seconds=options.settle).run(three)
        peaks = [peak_of(three, options, window)]
        common.note(f"asking for {options.times:g} times as much, {options.seconds} s long")
        before = nodes.terms(three[1])
        seconds, whole = overload(three, options, int(options.times * peaks[0].per_second))
        after = nodes.terms(three[1])
        peaks.append(peak_of(three, options, window))
        answers = judge(seconds, whole, peaks, before, after)
    lines = [f"Measured {common.machine()}: SET of 64 bytes, {options.connections} connections to three nodes with "
             f"{options.shards} shards, {options.times:g} times the peak, {options.seconds} s; each peak {options.peak_seconds} s.", "", "| | | |", "|---|---|---|"]  # fmt: skip
    lines += [f"| {question} | {'yes' if yes else '**no**'} | {told} |" for question, yes, told in answers]
    print("\n".join(lines))
    if options.write:
        common.write_document("\n".join(lines), "overload.py")
    return 0 if all(yes for _, yes, _ in answers) else 1


if __name__ == "__main__":
    main()
