#!/usr/bin/python3
"""Sends the same random commands to redis-server and to cohort, and compares every reply byte for byte.

    tests/system/differential.py [--count 200000] [--seed N] [--rival redis|cohort|leader|follower|nodes] [--shards N]
                                 [--protocol 2pc|3pc] [--keep-going N]

Commands come from commands/*.json (differential_generator.py). Only what may differ is normalised before it is compared:
times within a tolerance, ids, the order of unordered replies, what is random by its nature (docs/differences.md).

Work goes on in episodes: a few hundred steps on fresh connections and an empty keyspace. When a reply differs, the
episode is run again; what does not repeat was a matter of timing and is only counted. What repeats is shrunk to the
fewest steps that still differ, and printed."""

import argparse
import contextlib
import pathlib
import socket
import sys
import tempfile
import time
import zlib

import cluster
import differential_generator as generator
import differential_listeners as listeners
import servers
from differential_replies import end_of, pairs, parse, same

REPLY_SECONDS = 60
EPISODE_STEPS = 400


class Closed(Exception):
    pass


# ---- connections ----

class Connection:
    """A socket to one server; reads replies as raw bytes."""

    def __init__(self, port):
        self.port = port
        self.open()

    def open(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port), REPLY_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = bytearray()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # the reads that follow say it

    def fill(self):
        try:
            more = self.socket.recv(1 << 20)
        except socket.timeout:
            raise Closed(f"no reply within {REPLY_SECONDS} s") from None
        except OSError as error:
            raise Closed(f"connection broken: {error}") from None
        if not more:
            raise Closed("connection closed")
        self.data += more

    def replies(self, count):
        """The next replies, each as bytes. Those that came before the connection closed are in the exception."""
        found, at = [], 0
        while len(found) < count:
            try:
                end = end_of(self.data, at)
                if end < 0:
                    self.fill()
                    continue
            except Closed as closed:
                closed.found = found
                raise
            found.append(bytes(self.data[at:end]))
            at = end
        del self.data[:at]
        return found

    def rest(self):
        """Everything until the server closes, and how it ended."""
        try:
            while True:
                self.fill()
        except Closed as closed:
            return bytes(self.data) + f" ({closed})".encode()

    def close(self):
        self.socket.close()


class Difference(Exception):
    def __init__(self, step, queued, expected, got):
        super().__init__()
        self.step, self.queued, self.expected, self.got = step, queued, expected, got

    def signature(self):
        words = [] if self.step.argv is None else [word.upper() for word in self.step.argv[:1]]
        return tuple(words), self.expected[:24], self.got[:24]


# ---- one episode at both servers ----

def ports_of(server):
    return getattr(server, "ports", None) or [server.port]


class Pair:
    """The connections of an episode to both servers, side by side."""

    def __init__(self, pair_of_servers):
        self.sides = []
        for server in pair_of_servers:
            ports = ports_of(server)
            self.sides.append([Connection(ports[at % len(ports)]) for at in range(generator.CONNECTIONS)])
        self.queued = [[] for _ in range(generator.CONNECTIONS)]  # argv of the queued commands of a transaction
        self.listeners = listeners.Listeners([[Connection(ports[at % len(ports)])
                                               for at in range(len(listeners.SUBSCRIPTIONS))]
                                              for ports in map(ports_of, pair_of_servers)],
                                             single=all(server.tells_in_order for server in pair_of_servers))  # fmt: skip
        for side in self.sides:
            side[0].send(generator.encode([b"FLUSHALL"]))
            side[0].replies(1)
            for connection in side:
                connection.send(generator.encode([b"CONFIG", b"SET", b"maxmemory", b"0"]))
                connection.replies(1)
            for connection in side[1::2]:
                connection.send(generator.encode([b"HELLO", b"3"]))
                connection.replies(1)

    def close(self):
        for side in self.sides:
            for connection in side:
                connection.close()
        self.listeners.close()

    def run(self, batches):
        for batch in batches:
            if batch[0].scan:
                self.run_scan(batch[0])
            else:
                self.run_batch(batch)
            if batch[-1].sleep_ms:
                time.sleep(batch[-1].sleep_ms / 1000)
            self.listeners.take(batch[-1])
        found = self.listeners.difference(batches[-1][-1])
        if found is not None:
            raise Difference(found[0], [], *found[1:])

    def run_batch(self, batch):
        ends = [side[batch[0].connection] for side in self.sides]
        data = b"".join(step.data for step in batch)
        cut = zlib.crc32(data) % (8 * len(data) + 1)  # one batch in eight is cut in two, anywhere
        for end in ends:
            end.send(data[:cut])
            if cut < len(data):
                end.send(data[cut:])
        if batch[-1].closes:
            self.compare_rest(batch[-1], ends)
            return
        count = sum(step.replies for step in batch)
        found, closed = [], None
        for end in ends:
            try:
                found.append(end.replies(count))
            except Closed as error:
                closed = str(error)
                found.append(error.found)
        answering = [step for step in batch for _ in range(step.replies)]
        for step, expected, got in zip(answering, *found):
            self.compare(step, expected, got)
        if closed is not None:
            texts = [side[-1] if len(side) == count else closed.encode() for side in found]
            raise Difference(answering[min(map(len, found))], [], *texts)

    def compare(self, step, expected, got):
        queued = self.queued[step.connection]
        if expected == b"+QUEUED\r\n":
            queued.append(step.argv)
        ended = None
        if step.argv and len(step.argv) == 1 and step.argv[0].upper() in (b"EXEC", b"DISCARD", b"RESET"):
            self.queued[step.connection], ended = [], queued
        if expected != got and not same(step.argv, parse(expected)[0], parse(got)[0], ended):
            raise Difference(step, ended or [], expected, got)

    def compare_rest(self, step, ends):
        expected, got = (end.rest() for end in ends)
        self.queued[step.connection] = []
        for end in ends:
            end.close()
            end.open()
        if expected != got:
            raise Difference(step, [], expected, got)

    def run_scan(self, step):
        """Both servers' whole scans give the same; each element at least once."""
        found = []
        at = 1 if step.argv[0] == b"SCAN" else 2
        for side in self.sides:
            connection = side[step.connection]
            argv, elements = list(step.argv), []
            for _ in range(100000):
                connection.send(generator.encode(argv))
                raw = connection.replies(1)[0]
                reply = parse(raw)[0]
                if reply[0] != b"*":
                    elements = raw
                    break
                items = reply[1][1][1]
                elements += pairs(items) if at == 2 else items
                argv[at] = reply[1][0][1]
                if argv[at] == b"0":
                    break
            found.append(elements if isinstance(elements, bytes) else sorted(set(map(repr, elements))))
        if found[0] == b"+QUEUED\r\n":  # while shrinking, when what ended the transaction was taken away
            self.queued[step.connection].append(step.argv)
        if found[0] != found[1]:
            raise Difference(step, [], *(str(elements).encode() for elements in found))


def run(pair_of_servers, batches):
    """The first difference, or None. A server that died is one, and is started again."""
    pair = Pair(pair_of_servers)
    try:
        pair.run(batches)
    except Difference as difference:
        time.sleep(0.05 if "clos" in str(difference.got) else 0)
        for server in pair_of_servers:
            if not server.alive():
                difference.got += f"; {server.kind} died:\n{server.log(15)}".encode()
                server.start()
                prepare([server])
        return difference
    finally:
        pair.close()
    return None


def batches_of(steps, single):
    """Steps that one connection sends in one write. `single`: each for itself."""
    batches = []
    for step in steps:
        last = batches[-1] if batches else None
        joins = last and not single and last[-1].connection == step.connection and len(last) < 40
        if joins and not last[-1].alone and not step.alone:
            last.append(step)
        else:
            batches.append([step])
    return batches


# ---- shrinking ----

def differs_alike(both, batches, difference):
    """Whether a run differs at the same command: shrinking must not end up at another difference."""
    found = run(both, batches)
    return found is not None and found.signature()[0] == difference.signature()[0]


def shrink(both, steps, difference, single, budget_seconds=60):
    """The fewest steps that still differ (Zeller's ddmin), as far as the time goes."""
    deadline = time.monotonic() + budget_seconds
    chunk = max(1, len(steps) // 2)
    while time.monotonic() < deadline:
        at, changed = 0, False
        while at < len(steps) and time.monotonic() < deadline:
            fewer = steps[:at] + steps[at + chunk:]
            if fewer and differs_alike(both, batches_of(fewer, single), difference):
                steps, changed = fewer, True
            else:
                at += chunk
        if chunk > 1:
            chunk = (chunk + 1) // 2
        elif not changed:
            break
    return steps


def examine(both, steps, difference):
    """The smallest reproducer of a difference: (steps, difference, single), or None when it does not repeat."""
    for single in (True, False):
        if all(differs_alike(both, batches_of(steps, single), difference) for _ in range(2)):
            steps = shrink(both, steps, difference, single)
            for _ in range(3):
                again = run(both, batches_of(steps, single))
                if again is not None:
                    return steps, again, single
            return steps, difference, single
    return None


def report(steps, difference, single, out):
    print(f"\n--- a difference ({len(steps)} steps{'' if single else ', pipelined'})", file=out)
    for step in steps:
        print("   ", step.shown(), file=out)
    print("    at:      ", difference.step.shown(), file=out)
    for argv in difference.queued:
        print("    queued:  ", " ".join(generator.shown(word) for word in argv), file=out)
    print("    expected:", difference.expected[:400], file=out)
    got, died, log = difference.got.partition(b"; ")
    print("    got:     ", got[:400], (died + log).decode(errors="replace"), file=out, flush=True)


class Result:
    def __init__(self):
        self.commands = 0
        self.differences = []  # (steps, difference, single)
        self.unrepeated = []  # differences that a second run did not show


def compare(both, count, seed, keep_going=1, out=sys.stdout, progress=False, shards=1):
    """Runs `count` commands; stops after `keep_going` different differences."""
    random_steps = generator.Generator(seed, shards)
    result, seen = Result(), set()
    while result.commands < count and len(result.differences) < keep_going:
        random_steps.in_multi = [False] * generator.CONNECTIONS
        steps = []
        while len(steps) < EPISODE_STEPS:
            steps += random_steps.next()
        result.commands += len(steps)
        difference = run(both, batches_of(steps, single=False))
        if progress and sys.stderr.isatty():
            print(f"\r{result.commands} commands, {len(result.differences)} differences ", end="", file=sys.stderr)
        if difference is None or difference.signature() in seen:
            continue
        seen.add(difference.signature())
        found = examine(both, steps, difference)
        if found is None:
            result.unrepeated.append(difference)
            continue
        if found[1].signature() in seen and found[1].signature() != difference.signature():
            continue
        seen.add(found[1].signature())
        result.differences.append(found)
        report(*found, out)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200_000, help="how many commands")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed gives the same commands")
    parser.add_argument("--rival", choices=KINDS, default="cohort",
                        help="redis: check the tester itself; leader, follower: of a shard with three voters; nodes: each "
                        "connection to another of three")
    parser.add_argument("--shards", type=int, default=1, metavar="N", help="of cohort; commands have keys in any of them")
    parser.add_argument("--protocol", choices=["2pc", "3pc"], default="2pc", help="of transactions over shards")
    parser.add_argument("--keep-going", type=int, default=1, metavar="N", help="stop after N differences")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        both = stack.enter_context(rivals(options.rival, folder, options.shards, options.protocol))
        began = time.monotonic()
        result = compare(both, options.count, options.seed, options.keep_going, progress=True, shards=options.shards)
    seconds = time.monotonic() - began
    print(f"\nseed {options.seed}: {result.commands} commands in {seconds:.0f} s, {len(result.differences)} differences, "
          f"{len(result.unrepeated)} that did not repeat")
    for difference in result.unrepeated:
        print("   ", difference.step.shown(), difference.expected[:80], difference.got[:80])
    return 1 if result.differences else 0


KINDS = ("redis", "cohort", "leader", "follower", "nodes")


class Nodes:
    """Three nodes in the eyes of the tester: a server whose connections are spread over them."""

    kind = "cohort"
    tells_in_order = False

    def __init__(self, three):
        self.three = three
        self.ports = [node.port for node in three]

    def alive(self):
        return all(node.alive() for node in self.three)

    def start(self):
        self.three.start()

    def log(self, last):
        return self.three.log(last)


@contextlib.contextmanager
def rivals(kind, folder, shards=1, protocol="2pc"):
    """A redis-server with one database, as ours, and one of KINDS."""
    one_database = ["--databases", "1"]
    transactions = ["--txn-protocol", protocol]
    with contextlib.ExitStack() as stack:
        both = [servers.Server("redis", folder / "redis", one_database)]
        stack.callback(both[0].kill)
        both[0].start()
        if kind in ("leader", "follower", "nodes"):
            three = stack.enter_context(cluster.Cluster(folder / "rival", shards=shards, arguments=transactions))
            both.append(Nodes(three) if kind == "nodes" else
                        three.leader_of(1) if kind == "leader" else three.followers_of(1)[0])  # fmt: skip
        else:
            options = one_database if kind == "redis" else ["--shards", str(shards), *transactions]
            both.append(servers.Server(kind, folder / "rival", options))
            stack.callback(both[1].kill)
            both[1].start()
        both[0].tells_in_order = True
        both[1].tells_in_order = kind in ("redis", "cohort") and shards == 1
        prepare(both)
        yield both


def prepare(both):
    """Nothing in the slow log, also not of the start, and nothing comes; and keys tell what happens to them."""
    for port in (port for server in both for port in ports_of(server)):
        connection = Connection(port)
        connection.send(generator.encode([b"CONFIG", b"SET", b"slowlog-log-slower-than", b"-1"]))
        connection.send(generator.encode([b"SLOWLOG", b"RESET"]))
        connection.send(generator.encode([b"CONFIG", b"SET", b"notify-keyspace-events", listeners.EVENTS]))
        connection.replies(3)
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
