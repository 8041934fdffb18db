"""Subscribers beside the connections of differential.py: what each of them hears is compared at the end of an episode.

A server promises no order between two subscriptions of a client (Redis walks a table of patterns), so messages are
compared subscription by subscription. Where several shards or nodes tell, each in its own time, the order between them is
nobody's: then the same messages must come, in any order, and events of keys are not listened to, since over several
shards they have other names (docs/differences.md)."""

import time

from differential_replies import parse

EVENTS = b"AKEmn"
EVENT_PATTERNS = [b"__key*", b"__keyspace@0__:s*"]
CHANNELS = [b"c1", b"c2", b"c3"]  # c3: of scripts alone, which tell before the PUBLISHes of their transaction
SUBSCRIPTIONS = [  # protocol, channels, patterns, shard channels
    (2, CHANNELS, [b"c[12]", *EVENT_PATTERNS], []),
    (3, [b"c1", b"__keyevent@0__:set", b"__keyevent@0__:del"], [b"c3", *EVENT_PATTERNS], [b"c1", b"c2"]),
    (3, [], EVENT_PATTERNS, []),
]
SECONDS = 60


class Listener:
    """One subscriber; `heard` is (subscription, message) and the step behind which it came."""

    def __init__(self, connection, number, events):
        self.connection, self.heard, self.pings = connection, [], 0
        protocol, channels, patterns, shard_channels = SUBSCRIPTIONS[number]
        if protocol == 3:
            connection.send(encode(b"HELLO", b"3"))
            connection.replies(1)
        for word, names in ((b"SUBSCRIBE", channels), (b"PSUBSCRIBE", patterns), (b"SSUBSCRIBE", shard_channels)):
            names = [name for name in names if events or not name.startswith(b"__")]
            if names:
                connection.send(encode(word, *names))
                connection.replies(len(names))

    def take(self, step):
        """Everything that has come before the answer to a PING."""
        self.pings += 1
        word = b"ping%d" % self.pings
        self.connection.send(encode(b"PING", word))
        while True:
            kind, value = parse(self.connection.replies(1)[0])[0]
            if value == word or (kind == b"*" and value[-1][1] == word):
                return
            words = [item[1] for item in value]
            self.heard.append((tuple(words[:2]), words[2:], step))

    def by_subscription(self, ordered):
        found = {}
        for name, message, step in self.heard:
            found.setdefault(name, []).append((message, step))
        return found if ordered else {name: sorted(list_, key=lambda item: item[0]) for name, list_ in found.items()}


def encode(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Listeners:
    """Those of both servers, side by side."""

    def __init__(self, sides, single):
        """sides: of each server, as many connections as there are SUBSCRIPTIONS; single: one node, and one shard."""
        self.single = single
        self.sides = [[Listener(connection, at, single) for at, connection in enumerate(side)] for side in sides]

    def take(self, step):
        for side in self.sides:
            for listener in side:
                listener.take(step)

    def close(self):
        for side in self.sides:
            for listener in side:
                listener.connection.close()

    def difference(self, last_step):
        """(step, expected, got) of the first message that differs, or None."""
        deadline = time.monotonic() + SECONDS
        self.take(last_step)
        while not self.single and time.monotonic() < deadline and self.counts(0) != self.counts(1):
            time.sleep(0.01)
            self.take(last_step)
        for expected, got in zip(*self.sides):
            found = first_difference(expected.by_subscription(self.single), got.by_subscription(self.single))
            if found:
                return found
        return None

    def counts(self, side):
        return [len(listener.heard) for listener in self.sides[side]]


def first_difference(expected, got):
    for name in sorted(set(expected) | set(got)):
        one, other = expected.get(name, []), got.get(name, [])
        for at in range(max(len(one), len(other))):
            a, b = (side[at][0] if at < len(side) else "nothing" for side in (one, other))
            if a != b:
                step = (one if at < len(one) else other)[at][1]
                return step, f"{name}: {a}".encode(), f"{name}: {b}".encode()
    return None

