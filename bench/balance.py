#!/usr/bin/python3
"""`cohort balance` beside HAProxy as a TCP balancer: one thread each, the same clients and the same backend.

Both are up all the time, one of them is loaded at a time, in short rounds by turns; numbers are medians of the rounds,
ratios medians of the rounds' own ratios. The balancer has one processor for itself, clients and backend (balance_load.c)
share another one.

  requests      64 bytes to the backend and back, again and again, over 64 connections that are kept
  connections   a new one for each 64 bytes, 32 at a time; the backend ends it
  bytes         four clients read what the backend pours
  memory        a thousand connections that have carried something and are idle: what the balancer's own memory grew by

HAProxy has `mode tcp`, `nbthread 1`, `leastconn` and `option splice-auto`, the last once for bytes and once without;
cohort its defaults and one worker. No checks. "direct" is without a balancer.

usage: bench/balance.py [--quick] [--write] [--rounds N] [--folder DIR]"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

import common
from common import note, run, servers
from three import Samples, number

LOAD = common.ROOT / "build" / "bench" / "balance_load"
HAPROXY = shutil.which("haproxy") or common.ROOT / "build" / "haproxy" / "usr" / "sbin" / "haproxy"
LOADS = [("requests", 64), ("connections", 32), ("bytes", 4)]
IDLE = 1000
OURS, RIVALS = "cohort", ["HAProxy", "HAProxy, splice"]
CONFIGURATION = """
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 3s
    timeout client 10m
    timeout server 10m
    {option}
"""
LISTEN = """
listen {name}
    bind 127.0.0.1:{port}
    balance leastconn
    server backend 127.0.0.1:{backend}
"""


def start(words, processor, **options):
    def prepare():
        servers.end_with_parent()
        os.sched_setaffinity(0, {processor})

    return subprocess.Popen([str(word) for word in words], preexec_fn=prepare, text=True, **options)


class Balancer:
    """`ports` by load."""

    def __init__(self, name, backends, folder, processor):
        self.name, self.processes, self.ports = name, [], {}
        if name == "direct":
            self.ports = backends
        elif name == OURS:
            for load, port in backends.items():
                words = [servers.COHORT, "balance", "--listen", "127.0.0.1:0", f"--backend=127.0.0.1:{port}", "--workers=1",
                         "--check-interval=0"]  # fmt: skip
                self.processes.append(start(words, processor, stderr=subprocess.PIPE))
                self.ports[load] = int(re.search(r"port (\d+),", self.processes[-1].stderr.readline())[1])
        else:
            text = CONFIGURATION.format(option="option splice-auto" if "splice" in name else "")
            self.ports = {load: servers.free_port() for load in backends}
            text += "".join(LISTEN.format(name=load, port=self.ports[load], backend=port) for load, port in backends.items())
            path = folder / f"{name}.cfg"
            path.write_text(text)
            self.processes.append(start([HAPROXY, "-q", "-db", "-f", path], processor))
            self.wait_until_ready()

    def wait_until_ready(self):
        end = time.monotonic() + servers.START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.ports["requests"])):
                return
            if time.monotonic() > end:
                raise common.Failed("haproxy does not listen")
            time.sleep(0.02)

    def cpu_seconds(self):
        return common.cpu_seconds([process.pid for process in self.processes])

    def resident_bytes(self):
        total = 0
        for process in self.processes:
            total += int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{process.pid}/status").read_text())[1]) * 1024
        return total

    def kill(self):
        for process in self.processes:
            process.kill()
            process.wait()


def idle_bytes(balancer):
    """For each of a thousand."""
    before = balancer.resident_bytes()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", balancer.ports["requests"]))) for _ in range(IDLE)]
        for client in clients:
            client.sendall(bytes(64))
        for client in clients:
            client.recv(64, socket.MSG_WAITALL)
        return (balancer.resident_bytes() - before) / IDLE


def measure(balancers, options, samples, processor):
    words = ["taskset", "-c", processor, LOAD]
    for turn in range(-1, options.rounds):  # the first is to warm up
        note(f"round {turn + 1} of {options.rounds}" if turn >= 0 else "warming up")
        into = samples if turn >= 0 else Samples()
        for load, clients in LOADS:
            for balancer in balancers if turn % 2 == 0 else reversed(balancers):
                cpu, begun = balancer.cpu_seconds(), time.monotonic()
                try:
                    found = json.loads(run([*words, load, options.seconds, clients, balancer.ports[load]]))
                except RuntimeError as problem:
                    into.failed(f"{balancer.name}, {load}", problem)
                    found = {}
                share = (balancer.cpu_seconds() - cpu) / (time.monotonic() - begun)
                for key in ("rate", "p50", "p99"):
                    into.add((key, load), balancer.name, found.get(key))
                into.add(("cpu", load), balancer.name, share / found["rate"] if found.get("rate") and balancer.processes else None)


ROWS = [
    ("requests per second", ("rate", "requests"), 1),
    ("p50, µs", ("p50", "requests"), 1),
    ("p99, µs", ("p99", "requests"), 1),
    ("CPU for a request, µs", ("cpu", "requests"), 1e6),
    ("connections per second", ("rate", "connections"), 1),
    ("p99 of a connection, µs", ("p99", "connections"), 1),
    ("CPU for a connection, µs", ("cpu", "connections"), 1e6),
    ("GB per second", ("rate", "bytes"), 1e-9),
    ("CPU for a GB, ms", ("cpu", "bytes"), 1e12),
    ("memory for an idle connection, bytes", ("memory",), 1),
]


def report(samples, version, options):
    names = ["direct", OURS, *RIVALS]
    lines = [f"Measured {common.machine()}, {version}: {options.rounds} round{'s' if options.rounds > 1 else ''} of {options.seconds:g} s each.",
             "", "| | " + " | ".join([*names, *(f"{OURS} / {rival}" for rival in RIVALS)]) + " |",
             "|---" + "|---:" * (len(names) + len(RIVALS)) + "|"]  # fmt: skip
    for title, key, factor in ROWS:
        medians = [samples.median(key, name) for name in names]
        cells = [number(None if median is None else median * factor) for median in medians]
        cells += ["" if (ratio := samples.ratio(key, OURS, rival)) is None else f"{ratio:.2f}" for rival in RIVALS]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    if samples.failures:
        lines += ["", f"Runs that failed: {'; '.join(samples.failures)}."]
    return "\n".join(lines)


def compare(work, options):
    samples, balancers = Samples(), []
    processors = sorted(os.sched_getaffinity(0))
    own, others = processors[0], processors[-1]
    backend = start([LOAD, "serve"], others, stdout=subprocess.PIPE)
    try:
        ports = dict(zip((load for load, _ in LOADS), map(int, backend.stdout.readline().split())))
        balancers = [Balancer(name, ports, work, own) for name in ("direct", OURS, *RIVALS)]
        for balancer in balancers[1:]:
            samples.add(("memory",), balancer.name, idle_bytes(balancer))
        measure(balancers, options, samples, others)
    finally:
        for balancer in balancers:
            balancer.kill()
        backend.kill()
    version = "HAProxy " + run([HAPROXY, "-v"]).split()[2]
    table = report(samples, version, options)
    print(table)
    if options.write:
        common.write_document(table, "balance.py")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: for a look, not for a claim")
    parser.add_argument("--rounds", type=int, help="default 7")
    parser.add_argument("--seconds", type=float, help="of each load (default 1)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--folder", default=common.ROOT / "build", help="where configurations are kept (default: build/)")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 7)
    options.seconds = options.seconds or (0.5 if options.quick else 1)
    if not options.quick:
        common.tell_when_busy()
    common.supervised(options.folder, lambda work: compare(work, options))


if __name__ == "__main__":
    main()
