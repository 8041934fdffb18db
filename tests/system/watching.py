"""A watcher of a service, as a client's library does it: it goes on at another node from the revision it was told last."""

import itertools
import time

import resp


class Watcher:
    """`endpoints` are those it has: id → (state, address, weight, zone, meta); `events` what it was told, in order."""

    def __init__(self, nodes, service, protocol=3):
        self.nodes = itertools.cycle(nodes)
        self.service = service
        self.protocol = protocol
        self.client = None
        self.revision = None
        self.endpoints = {}
        self.events = []
        self.connect()

    def connect(self):
        self.close()
        self.client = resp.Connection(next(self.nodes).port, timeout=8, protocol=self.protocol)
        words = [] if self.revision is None else ["FROM", self.revision]
        assert self.client.call("SERVICE.WATCH", self.service, *words) == "OK"

    def close(self):
        if self.client is not None:
            self.client.close()
        self.client = None

    def take(self, push):
        kind, name, (revision, what, *rest) = push
        assert (kind, name) == (b"service", self.service.encode())
        if what == b"alive":
            assert revision == self.revision
            return
        if what == b"list":
            self.endpoints = {id: tuple(more) for id, *more in rest[0]}
        else:
            assert revision > self.revision
            (id, *says) = rest
            state = self.endpoints.get(id, [b"up"])[0]
            if says:
                self.endpoints[id] = (b"draining" if what == b"draining" else state, *says)
            else:
                del self.endpoints[id]
        self.revision = revision
        self.events.append((what.decode(), *(rest[:1] if what != b"list" else [])))

    def until(self, condition, seconds=60):
        """Reads, and connects anew when a connection is lost or silent, until the condition is true."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.events[-5:]
            try:
                if self.client is None:
                    self.connect()
                self.take(self.client.read())
            except (OSError, EOFError):
                self.close()
                time.sleep(0.05)
