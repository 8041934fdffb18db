"""Many sessions, each with a lock, kept alive over a hundred connections to three nodes, while others are opened and
closed: what a session costs in memory, and its heartbeats in processor time.

    bench/sessions.py [SESSIONS …] [--seconds N]

Each session lives for 10 s and has a heartbeat every third of that, as client libraries do it."""

import argparse
import pathlib
import selectors
import tempfile
import time

from common import servers  # noqa: F401 (first: it makes the modules of tests/system known)

import cluster
import nodes
import resp

CONNECTIONS, TTL_MS, BEAT_S, TURNOVER = 100, 10_000, 10 / 3, 1000
TICKS = 100


def cpu_seconds(three):
    return sum(sum(int(field) for field in pathlib.Path(f"/proc/{node.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13])
               for node in three.nodes) / TICKS  # fmt: skip


def resident(three):
    return sum(nodes.resident_bytes(node) for node in three.nodes)


class Client:
    """A connection that sends much and counts replies."""

    def __init__(self, node):
        self.connection = resp.Connection(node.port, timeout=120)
        self.sessions, self.pending, self.bad = [], 0, 0

    def open(self, count, number):
        for begin in range(0, count, 500):
            some = min(500, count - begin)
            self.sessions += self.connection.calls([("SESSION.OPEN", "PX", 60_000)] * some)
        for at, session in enumerate(self.sessions):
            if at % 200 == 0:
                self.connection.calls([("SESSION.KEEPALIVE", each) for each in self.sessions])
            reply = self.connection.call("LOCK.ACQUIRE", f"lock:{number}:{at}", "owner", "SESSION", session)
            assert isinstance(reply, list), reply


def prepare(three, count):
    """Opened with a long time to live over threads: one command of a connection at a time."""
    import concurrent.futures

    clients = [Client(three.nodes[number % 3]) for number in range(CONNECTIONS)]
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(lambda pair: pair[1].open(count // CONNECTIONS, pair[0]), enumerate(clients)))
    return clients


def beat(clients, seconds, turnover):
    """Heartbeats of all, spread evenly; returns how many were answered, and how many of them badly."""
    selector = selectors.DefaultSelector()
    slices = int(BEAT_S * 10)
    for client in clients:
        client.parts = [b"".join(resp.encode("SESSION.KEEPALIVE", each) for each in client.sessions[part::slices])
                        for part in range(slices)]  # fmt: skip
        client.connection.socket.setblocking(False)
        selector.register(client.connection.socket, selectors.EVENT_READ, client)
    answered = bad = turn = 0
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        for client in clients:
            client.connection.socket.setblocking(True)
            client.connection.socket.sendall(client.parts[turn % slices])
            client.connection.socket.setblocking(False)
        for connection in turnover:
            some = TURNOVER // 10 // len(turnover)
            for session in connection.calls([("SESSION.OPEN", "PX", TTL_MS)] * some):
                connection.send(resp.encode("SESSION.CLOSE", session))
            bad += sum(connection.read() != 1 for _ in range(some))
        turn += 1
        until = now + 0.1
        while (left := until - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                data = key.fileobj.recv(1 << 20)
                answered += data.count(b"\r\n")
                bad += data.count(b"-")
    return answered, bad


def measure(count, seconds, folder):
    with cluster.Cluster(folder, nodes=3, shards=8) as three:
        before = resident(three)
        began = time.monotonic()
        clients = prepare(three, count)
        took = time.monotonic() - began
        memory = (resident(three) - before) / 3 / count
        turnover = [resp.Connection(node.port, timeout=60) for node in three.nodes]
        idle = cpu_seconds(three)
        answered, bad = beat(clients, seconds, [])
        beats = (cpu_seconds(three) - idle) / seconds
        idle = cpu_seconds(three)
        more, worse = beat_again(clients, seconds, turnover)
        both = (cpu_seconds(three) - idle) / seconds
        print(f"{count:9,} sessions  {count / took:8,.0f}/s with their locks  {memory:6.0f} bytes each  "
              f"{answered / seconds:8,.0f} heartbeats/s  {beats:5.2f} cores, {both:5.2f} with {TURNOVER} opened and closed a second  "
              f"{bad + worse} refused", flush=True)  # fmt: skip


def beat_again(clients, seconds, turnover):
    for client in clients:
        client.connection.socket.setblocking(True)
    return beat(clients, seconds, turnover)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sessions", nargs="*", type=int, default=[100_000])
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    for count in options.sessions:
        with tempfile.TemporaryDirectory() as folder:
            measure(count, options.seconds, folder)


if __name__ == "__main__":
    main()
