#!/usr/bin/python3
"""What happens to Cohort when something grows: each thing by itself, three real nodes, medians of several rounds.

  shards       1 … 16
  connections  10 … 10,000, one request under way in each
  keys         10³ … 10⁷: rates, and what one key costs in memory over key and value
  values       16 B … 1 MB
  log          1 MB … 10 GB: from the start of one node to its first answer, with nothing but this log
  nodes        3, 5, 7: shards with three voters, and with all nodes as voters

Results are kept in FOLDER/growth.csv as they come; a run that was ended goes on where it was. The plots go to
docs/growth-*.svg and the numbers into docs/growth.md with --write, else into FOLDER. A log may take half of the free
disk, keys and values half of the free memory; what is left out is said.

usage: bench/growth.py [--quick] [--folder DIR] [--only SWEEP[,…]] [--write]"""

import argparse
import csv
import math
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

import common
import nodes
import resp
from common import servers
from nodes import KEY_BYTES, VALUE_BYTES, Load, cluster

DOCUMENT = common.ROOT / "docs" / "growth.md"
BEGIN, END = "<!-- made by bench/growth.py --write -->", "<!-- end of what bench/growth.py makes -->"
DESCRIPTORS = 12_000
LOG_VALUE_BYTES = 4096
REPLAY_PER_SECOND = 50_000_000  # a guess, for how long a start may take

WRITES, READS = "writes per second", "strong reads per second"
POINTS = {
    "shards": [1, 2, 4, 8, 16],
    "connections": [10, 100, 1000, 10_000],
    "keys": [10**3, 10**4, 10**5, 10**6, 10**7],
    "values": [16, 256, 4096, 65536, 1 << 20],
    "log": [10**6, 10**7, 10**8, 10**9, 10**10],
    "nodes": [3, 5, 7],
}
QUICK = {
    "shards": [1, 4],
    "connections": [10, 1000],
    "keys": [10**3, 10**5],
    "values": [16, 65536],
    "log": [10**6, 2 * 10**7],
    "nodes": [3, 5],
}
# Of each sweep: the plots, by name: what is on them, and the axes' titles.
PLOTS = {
    "shards": {"shards": ([WRITES, READS], "shards")},
    "connections": {"connections": ([WRITES, READS], "connections"), "latency": (["p99 of writes, ms", "p99 of reads, ms"], "connections")},
    "keys": {"keys": ([WRITES, READS], "keys"), "memory": (["bytes per key over key and value"], "keys")},
    "values": {"values": ([WRITES, READS], "bytes of a value"), "bandwidth": (["MB written per second", "MB read per second"], "bytes of a value")},
    "log": {"log": (["seconds to start"], "bytes of log")},
    "nodes": {"nodes": ([WRITES, READS, WRITES + ", all vote", READS + ", all vote"], "nodes")},
}  # fmt: skip


class Results:
    """Rows of sweep, x, metric, value; one for each round. A point is done when it has a row `done`."""

    def __init__(self, path):
        self.path, self.rows = path, []
        if path.exists():
            with open(path, newline="") as file:
                self.rows = [(sweep, int(x), metric, float(value)) for sweep, x, metric, value in csv.reader(file)]

    def add(self, sweep, x, metric, value):
        self.rows.append((sweep, x, metric, value))
        with open(self.path, "a", newline="") as file:
            csv.writer(file).writerow((sweep, x, metric, f"{value:.6g}"))
        common.note(f"{sweep} {x:,}: {metric} {value:,.4g}")

    def done(self, sweep, x):
        return any(row[:3] == (sweep, x, "done") for row in self.rows)

    def median(self, sweep, x, metric):
        values = [row[3] for row in self.rows if row[:3] == (sweep, x, metric)]
        return statistics.median(values) if values else None

    def points(self, sweep):
        return sorted({row[1] for row in self.rows if row[0] == sweep and row[2] == "done"})


class Run:
    def __init__(self, options, results, work):
        self.points = QUICK if options.quick else POINTS
        self.rounds, self.seconds = (1, 1) if options.quick else (3, 3)
        self.results, self.work, self.left_out = results, work, []

    def sweep(self, name):
        """Points that are still to be measured; each is noted as done afterwards."""
        for x in self.points[name]:
            if self.results.done(name, x):
                continue
            yield x
            if (name, x) not in self.left_out:
                self.results.add(name, x, "done", 1)

    def leave_out(self, sweep, x, why):
        self.left_out.append((sweep, x))
        common.note(f"{sweep} {x:,} is left out: {why}")

    def cluster(self, count=3, shards=4, replicas=3, arguments=()):
        return cluster.Cluster(pathlib.Path(tempfile.mkdtemp(dir=self.work)), count, shards, replicas, arguments)

    def rates(self, sweep, x, some, suffix="", p99=False, megabytes=None, **load):
        """Writes and strong reads by turns, through all nodes."""
        for _ in range(self.rounds):
            for metric, name, percent in ((WRITES, "writes", 0), (READS, "reads", 100)):
                told = Load(seconds=self.seconds, reads_percent=percent, **load).run(some)
                self.results.add(sweep, x, metric + suffix, told["per_second"])
                if p99:
                    self.results.add(sweep, x, f"p99 of {name}, ms", told["accepted_us"]["p99"] / 1000)
                if megabytes:
                    verb = "written" if percent == 0 else "read"
                    self.results.add(sweep, x, f"MB {verb} per second", told["per_second"] * megabytes)

    # ---- the sweeps ----

    def shards(self):
        for x in self.sweep("shards"):
            with self.cluster(shards=x) as three:
                nodes.fill(three[1], 100_000)
                self.rates("shards", x, three)

    def connections(self):
        for x in self.sweep("connections"):
            with self.cluster() as three:
                nodes.fill(three[1], 100_000)
                self.rates("connections", x, three, p99=True, connections=x, window=1)

    def keys(self):
        with self.cluster() as three:
            empty = sum(map(nodes.resident_bytes, three))
            for x in self.sweep("keys"):
                if 3 * x * 250 > available_memory() / 2:
                    self.leave_out("keys", x, "it would take more than half of the free memory")
                    continue
                nodes.fill(three[1], x)
                for node in three:
                    node.wait(lambda node=node: snapshot_ended(node), "made a snapshot all the time")
                if x >= 10_000:  # below, it drowns in buffers
                    grown = (sum(map(nodes.resident_bytes, three)) - empty) / 3
                    self.results.add("keys", x, "bytes per key over key and value", grown / x - KEY_BYTES - VALUE_BYTES)
                self.rates("keys", x, three, keys=x)

    def values(self):
        for x in self.sweep("values"):
            keys = min(100_000, (256 << 20) // x)
            with self.cluster() as three:
                nodes.fill(three[1], keys, x)
                self.rates("values", x, three, keys=keys, value_bytes=x, connections=16, window=16 if x <= 4096 else 2,
                           megabytes=x / 1e6)  # fmt: skip

    def log(self):
        """Values of 4 KiB on 10,000 keys, again and again, and no snapshot."""
        arguments = ["--snapshot-log-size", "1000gb"]
        server = servers.Server("cohort", self.work / "log", arguments)
        written = 0
        try:
            for x in self.sweep("log"):
                if x - written > shutil.disk_usage(self.work).free / 2:
                    self.leave_out("log", x, "it would take more than half of the free disk")
                    continue
                if not server.alive():
                    server.start()
                words = [servers.COHORT, "bench", "--url", f"cohort://127.0.0.1:{server.port}", "--keys", 10_000, "--requests",
                         max(1, (x - written) // (LOG_VALUE_BYTES + 40)), "--value-size", LOG_VALUE_BYTES, "--clients", 16,
                         "--pipeline", 16]  # fmt: skip
                common.run(words, timeout=1200)
                written = x
                for _ in range(self.rounds):
                    self.results.add("log", x, "seconds to start", start_seconds(server, x))
        finally:
            server.kill()

    def nodes(self):
        for x in self.sweep("nodes"):
            for replicas, suffix in ((3, ""), (x, ", all vote")):
                with self.cluster(count=x, replicas=replicas) as some:
                    nodes.fill(some[1], 100_000)
                    self.rates("nodes", x, some, suffix)


def available_memory():
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def snapshot_ended(node):
    with resp.Connection(node.port) as connection:
        return b"snapshot_in_progress:1" not in connection.call("INFO")


def start_seconds(server, log_bytes):
    """From the start of the process to its first answer, after a kill -9."""
    server.kill()
    began = time.monotonic()
    server.launch()
    deadline = began + 60 + 4 * log_bytes / REPLAY_PER_SECOND
    while not server.answers():
        if not server.alive() or time.monotonic() > deadline:
            raise SystemExit(f"the node did not start:\n{server.log()}")
        time.sleep(0.002)
    return time.monotonic() - began


# ---- plots and table ----

GNUPLOT = """set terminal svg size 560,300 font 'sans-serif,12' background '#ffffff'
set output '{output}'
set datafile separator ','
{scale}
set xrange [{least}:{most}]
set yrange [0:*]
set format y '%.0s%c'
set format x '{format}'
{ticks}
set xlabel '{title}'
set grid ytics lc rgb '#dddddd'
set border 3
set tics nomirror
set key outside top center horizontal
set style data linespoints
plot {lines}
"""
COLORS = ["#0b5fa5", "#c8501e", "#3b8a3b", "#7d4aa0"]


def plot(results, sweep, name, metrics, title, folder, work):
    xs = results.points(sweep)
    if not xs:
        return
    data, lines = work / f"{name}.csv", []
    columns = [[results.median(sweep, x, metric) for x in xs] for metric in metrics]
    with open(data, "w", newline="") as file:
        for i, x in enumerate(xs):
            csv.writer(file).writerow([x, *("" if column[i] is None else column[i] for column in columns)])
    for i, metric in enumerate(metrics):
        lines.append(f"'{data}' using 1:{i + 2} title '{metric}' lw 2 pt 7 ps 0.6 lc rgb '{COLORS[i]}'")
    large, even = xs[-1] / xs[0] >= 100, sweep == "nodes"
    least, most = (xs[0] - 0.5, xs[-1] + 0.5) if even else (xs[0] / 1.2, xs[-1] * 1.2)
    scale = "" if even else f"set logscale x {10 if large else 2}"
    ticks = "" if large else "set xtics (" + ", ".join(map(str, xs)) + ")"
    text = GNUPLOT.format(output=folder / f"growth-{name}.svg", scale=scale, least=least, most=most, format="%.0s%c" if large else "%g",
                          ticks=ticks, title=title, lines=", ".join(lines))  # fmt: skip
    subprocess.run(["gnuplot"], input=text, text=True, check=True)


def shown(value):
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 100 else max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{digits}f}"


def table(results):
    lines = [f"Measured {common.machine()}."]
    for sweep, plots in PLOTS.items():
        metrics = [metric for names, _ in plots.values() for metric in names]
        xs = results.points(sweep)
        if xs:
            lines += ["", f"| {sweep} | " + " | ".join(metrics) + " |", "|---:" * (len(metrics) + 1) + "|"]
            lines += [f"| {x:,} | " + " | ".join(shown(results.median(sweep, x, metric)) for metric in metrics) + " |" for x in xs]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few small points, one short round of each: a look at the program")
    parser.add_argument("--folder", type=pathlib.Path, help="for results and data; a run goes on there (default: a new one)")
    parser.add_argument("--only", help="sweeps, separated by commas")
    parser.add_argument("--write", action="store_true", help="plots and numbers into docs/")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else list(POINTS)
    if unknown := set(wanted) - set(POINTS):
        raise SystemExit(f"--only: no sweep {', '.join(unknown)}; there are {', '.join(POINTS)}")
    common.tell_when_busy()
    nodes.allow_descriptors(DESCRIPTORS)
    folder = options.folder or pathlib.Path(tempfile.mkdtemp(prefix="growth.", dir=common.ROOT / "build"))
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    common.note(f"results are in {folder}; with --folder {folder} an ended run goes on")
    common.supervised(folder, lambda work: grow(options, wanted, folder, work))


def grow(options, wanted, folder, work):
    results = Results(folder / "growth.csv")
    run = Run(options, results, work)
    for sweep in wanted:
        if any(not results.done(sweep, x) for x in run.points[sweep]):
            getattr(run, sweep)()
    into = DOCUMENT.parent if options.write else folder
    for sweep, plots in PLOTS.items():
        for name, (metrics, title) in plots.items():
            plot(results, sweep, name, metrics, title, into, work)
    print(table(results))
    if options.write:
        before, rest = DOCUMENT.read_text().split(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
