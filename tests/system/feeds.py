"""A client of COHORT.FEED: reads pushes from the wire, keeps its position, and goes on from there at any node."""

import collections
import random
import select
import socket
import threading
import time

import resp


class Follower:
    """Changes in the order in which they came. `nodes`: where it may connect, one after the other."""

    def __init__(self, nodes, prefix, position=None, protocol=3):
        self.nodes, self.prefix, self.position, self.protocol = list(nodes), prefix, position, protocol
        self.changes = []
        self.connection = None
        self.heartbeats = 0
        self.connects = 0
        self.ended = None

    def connect(self, node, timeout=60):
        """An error reply, or None. What is silent for longer than the time between two positions hangs."""
        self.close()
        self.connection = resp.Connection(node.port, timeout=timeout, protocol=self.protocol, host=node.host)
        words = ["COHORT.FEED", "PREFIX", self.prefix] + (["FROM", self.position] if self.position else [])
        reply = self.connection.call(*words)
        if isinstance(reply, resp.Error):
            return reply
        assert reply[0] == "OK", reply
        assert self.position in (None, reply[1])
        self.position = reply[1]
        self.connects += 1
        return None

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def take(self, push):
        assert isinstance(push, resp.Push if self.protocol == 3 else list), push
        if push[0] == b"unfeed":
            self.ended = push[2]
            return []
        word, prefix, position, changes = push
        assert word == b"feed" and prefix == self.prefix.encode(), push
        self.position = position
        self.heartbeats += not changes
        self.changes += [tuple(change) for change in changes]
        return changes

    def take_what_is_there(self):
        """What has come already."""
        while select.select([self.connection.socket], [], [], 0)[0]:
            self.take(self.connection.read())

    def read(self, until):
        """Pushes until a change is what `until` says, or the feed has ended; those changes."""
        start = len(self.changes)
        while self.ended is None and not any(until(change) for change in self.changes[start:]):
            self.take(self.connection.read())
        return self.changes[start:]

    def follow(self, until):
        """The same through whatever happens: another node whenever one does not answer."""
        turn = 0
        start = len(self.changes)
        while not any(until(change) for change in self.changes[start:]):
            try:
                if self.connection is None:
                    turn += 1
                    error = self.connect(self.nodes[turn % len(self.nodes)], 3)
                    assert error is None or error.startswith("CLUSTERDOWN"), error
                    if error is not None:
                        self.close()
                        continue
                self.take(self.connection.read())
                assert self.ended is None, self.ended
            except (OSError, socket.timeout, ConnectionError):
                self.close()
        return self.changes[start:]


def is_set(key, value):
    return lambda change: change[0] == b"set" and change[1] == key.encode() and change[3] == str(value).encode()


def check_order(changes):
    """Each key's versions only grow: nothing twice, nothing back in time."""
    last = {}
    for kind, key, version, *_ in changes:
        if kind in (b"set", b"del", b"expired"):
            assert version > last.get(key, 0), (kind, key, version, last.get(key))
            last[key] = version


# ---- who changes what is told, and who breaks things meanwhile ----


def asked(client, *words):
    """The reply, once it is no refusal: who leads may be lost when it is asked. What is asked again must be the same as once."""
    deadline = time.monotonic() + 60
    while isinstance(reply := client.call(*words), resp.Error):
        assert reply.startswith(("CLUSTERDOWN", "UNCERTAIN", "BUSY")) and time.monotonic() < deadline, (words, reply)
        time.sleep(0.02)
    return reply


class Writer(threading.Thread):
    """Increments counters; a reply that is lost leaves it open whether that one was."""

    def __init__(self, whole, number, keys):
        super().__init__()
        self.whole, self.number, self.keys = whole, number, keys
        self.over = threading.Event()
        self.acknowledged = collections.defaultdict(set)

    def run(self):
        rng = random.Random(self.number)
        connection = None
        while not self.over.is_set():
            try:
                if connection is None:
                    connection = rng.choice(self.whole.nodes).connect(3)
                batch = [rng.choice(self.keys) for _ in range(rng.randrange(1, 20))]
                for key, reply in zip(batch, connection.calls([["INCR", key] for key in batch])):
                    if isinstance(reply, int):
                        self.acknowledged[key].add(reply)
            except OSError:
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(0.02)
        if connection is not None:
            connection.close()


def break_things(whole, rng, rounds):
    for _ in range(rounds):
        kind = rng.randrange(4)
        if kind == 0:
            victims = [whole.leader_of(rng.randrange(whole.shards) + 1)]
        elif kind == 1:
            victims = [rng.choice(whole.nodes)]
        elif kind == 2:
            victims = list(whole.nodes)
        else:
            victims = [whole.leader_of(1)]
            victims[0].stop()
        for victim in victims:
            if victim.alive():
                victim.kill()
        time.sleep(rng.random() * 0.3)
        whole.start()
        time.sleep(rng.random() * 0.5)
