"""Many sessions, each with a lock, kept alive over a hundred connections to three nodes, while others are opened and
closed: what a session costs in memory, and its heartbeats in processor time.

    bench/sessions.py [SESSIONS …] [--ttl S] [--every S] [--seconds N] [--turnover N]

Each session has a heartbeat every third of its time to live, as client libraries do it, or every S seconds. Memory is what all processes
grew by, over nodes and sessions; every node has every session, as each shard has three voters."""

import argparse
import concurrent.futures
import pathlib
import selectors
import socket
import tempfile
import time

from common import servers  # noqa: F401 (first: it makes the modules of tests/system known)

import cluster
import nodes
import resp

CONNECTIONS, TICK_S = 100, 0.1
TICKS = 100


def cpu_seconds(three):
    return sum(sum(int(field) for field in pathlib.Path(f"/proc/{node.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13])
               for node in three.nodes) / TICKS  # fmt: skip


def resident(three):
    return sum(nodes.resident_bytes(node) for node in three.nodes)


def figure(three, section, name):
    """Of all nodes together."""
    total = 0
    for node in three.nodes:
        with resp.Connection(node.port, timeout=60) as client:
            text = client.call("INFO", section).decode()
        total += sum(int(line.split(":")[1]) for line in text.splitlines() if line.startswith(name + ":"))
    return total


class Client:
    """A connection with its sessions."""

    def __init__(self, node, number, ttl_s):
        self.connection = resp.Connection(node.port, timeout=120)
        self.number, self.ttl_s = number, ttl_s
        self.sessions, self.beaten = [], time.monotonic()

    def beat_if_due(self):
        if time.monotonic() - self.beaten < self.ttl_s / 3 or not self.sessions:
            return
        self.beaten = time.monotonic()
        self.connection.socket.sendall(b"".join(resp.encode("SESSION.KEEPALIVE", each) for each in self.sessions))
        assert all(self.connection.read() == self.ttl_s * 1000 for _ in self.sessions)

    def open(self, count):
        for begin in range(0, count, 100):
            some = min(100, count - begin)
            self.sessions += self.connection.calls([("SESSION.OPEN", "PX", self.ttl_s * 1000)] * some)
            for at in range(begin, begin + some):
                reply = self.connection.call("LOCK.ACQUIRE", f"lock:{self.number}:{at}", "owner", "SESSION", self.sessions[at])
                assert isinstance(reply, list), reply
                self.beat_if_due()


def prepare(three, count, ttl_s):
    clients = [Client(three.nodes[number % 3], number, ttl_s) for number in range(CONNECTIONS)]
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(lambda client: client.open(count // CONNECTIONS), clients))
    return clients


class Turnover:
    """Sessions that are opened, and closed when that is answered: `rate` a second, through all nodes by turns."""

    def __init__(self, three, ttl_s, rate):
        self.rate, self.opened, self.began = rate, 0, None
        self.connections = [resp.Connection(node.port, timeout=60) for node in three.nodes]
        self.open = resp.encode("SESSION.OPEN", "PX", ttl_s * 1000)
        self.rest = {each: b"" for each in self.connections}
        self.closed = self.bad = 0

    def send(self, now):
        """What is due by now, from the first call on."""
        self.began = self.began or now
        due = int((now - self.began + TICK_S) * self.rate) - self.opened
        for number, each in enumerate(self.connections):
            each.socket.sendall(self.open * len(range(self.opened + number, self.opened + due, len(self.connections))))
        self.opened += due

    def take(self, connection, data):
        """Ids are two lines ($size, text), what a close says is one."""
        *lines, self.rest[connection] = (self.rest[connection] + data).split(b"\r\n")
        ids = [line for line in lines if b"-" in line and not line.startswith(b"-")]
        connection.socket.sendall(b"".join(resp.encode("SESSION.CLOSE", each) for each in ids)) if ids else None
        self.closed += lines.count(b":1")
        self.bad += sum(line.startswith(b"-") or line == b":0" for line in lines)


def beat(clients, seconds, every_s, turnover):
    """Heartbeats of all, spread evenly; returns how many were answered, and how many of them badly."""
    selector = selectors.DefaultSelector()
    slices = max(1, round(every_s / TICK_S))
    for client in clients:
        client.parts = [b"".join(resp.encode("SESSION.KEEPALIVE", each) for each in client.sessions[part::slices])
                        for part in range(slices)]  # fmt: skip
        selector.register(client.connection.socket, selectors.EVENT_READ, None)
    for each in turnover.connections if turnover else []:
        selector.register(each.socket, selectors.EVENT_READ, each)
    answered = bad = turn = 0
    began = time.monotonic()
    while turn < round(seconds / TICK_S):
        for client in clients:
            client.connection.socket.sendall(client.parts[turn % slices])
        if turnover:
            turnover.send(time.monotonic())
        turn += 1
        while (left := began + turn * TICK_S - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                data = key.fileobj.recv(1 << 20, socket.MSG_DONTWAIT)
                if key.data is not None:
                    turnover.take(key.data, data)
                    continue
                answered += data.count(b"\r\n")
                bad += data.count(b"-")
    return answered, bad + (turnover.bad if turnover else 0)


def end_all(three, ttl_s):
    """Nobody sends heartbeats any more: seconds from when the last session is due until no node has a lock of one."""
    due = time.monotonic() + ttl_s
    while figure(three, "sessions", "session_locks") != 0:
        assert time.monotonic() < due + 300
        time.sleep(0.1)
    return time.monotonic() - due


def measure(count, seconds, ttl_s, every_s, rate, folder):
    with cluster.Cluster(folder, nodes=3, shards=8) as three:
        before, told = resident(three), figure(three, "memory", "used_memory")
        began = time.monotonic()
        clients = prepare(three, count, ttl_s)
        took = time.monotonic() - began
        memory = (resident(three) - before) / 3 / count
        used = (figure(three, "memory", "used_memory") - told) / 3 / count
        idle = cpu_seconds(three)
        answered, bad = beat(clients, seconds, every_s, None)
        beats = (cpu_seconds(three) - idle) / seconds
        idle = cpu_seconds(three)
        turnover = Turnover(three, ttl_s, rate)
        _, worse = beat(clients, seconds, every_s, turnover)
        both = (cpu_seconds(three) - idle) / seconds
        ends = end_all(three, ttl_s)
        print(f"{count:9,} sessions of {ttl_s} s  {count / took:6,.0f}/s with their locks  {memory:5.0f} bytes each, {used:5.0f} by INFO  "
              f"{answered / seconds:7,.0f} heartbeats/s  {beats:5.2f} cores, {both:5.2f} with {turnover.closed / seconds:,.0f} opened and "
              f"closed a second  {bad + worse} refused  all locks free {ends:.1f} s after the last was due", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sessions", nargs="*", type=int, default=[100_000])
    parser.add_argument("--ttl", type=int, default=10)
    parser.add_argument("--every", type=float)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--turnover", type=int, default=1000, help="sessions that are opened, and closed, in each second")
    options = parser.parse_args()
    for count in options.sessions:
        with tempfile.TemporaryDirectory() as folder:
            measure(count, options.seconds, options.ttl, options.every or options.ttl / 3, options.turnover, folder)


if __name__ == "__main__":
    main()
