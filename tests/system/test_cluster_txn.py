"""Transactions of real clusters that somebody wants to break: finished by many at once, left behind, or without those who
decide about them."""

import contextlib
import itertools
import re
import select
import threading
import time

import cluster
import pytest
import resp

LONG_MS = 24 * 3600 * 1000
WAIT_SECONDS = 60
HOME_MS = 15000  # then a home that was away asks what its participants came to

both = pytest.mark.parametrize("protocol", ["2PC", "3PC"])


def status_of(connection, name):
    reply = until_done(lambda: connection.call("TXN.STATUS", name))
    return None if reply is None else {key.decode(): value for key, value in zip(reply[::2], reply[1::2], strict=True)}


def is_of_a_busy_machine(reply):
    """Leaders are lost there."""
    return str(reply).split()[0] in ("CLUSTERDOWN", "BUSY", "TXNABORT", "UNCERTAIN")


def until_done(say):
    """What a busy machine refuses is said again; nothing else is taken for an answer."""
    for _ in range(60):
        reply = say()
        if not isinstance(reply, resp.Error):
            return reply
        assert is_of_a_busy_machine(reply), reply
        time.sleep(0.5)
    return reply


def prepared(node, name, pairs, protocol="2PC", timeout_ms=60000):
    """A transaction that writes these, prepared by a client that is gone then."""
    with node.connect() as connection:
        begin = ["TXN.BEGIN", "ID", name, "PROTOCOL", protocol, "TIMEOUT", timeout_ms]
        replies = connection.calls([begin, *(["SET", *pair] for pair in pairs), ["TXN.PREPARE"]])
        assert replies[-1] == "PREPARED", replies


def wait_for(so, what):
    deadline = time.monotonic() + WAIT_SECONDS
    while not so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def value_when_free(connection, key):
    """Reads it; whoever holds it has WAIT_SECONDS to let go."""
    replies = []
    wait_for(lambda: not isinstance(replies.append(connection.call("GET", key)) or replies[-1], resp.Error), replies[-1:])
    return replies[-1]


@both
def test_commit_and_rollback_race(new_cluster, protocol):
    """By its id, from many connections at all nodes at once: all are told the same, and that is what there is."""
    three = new_cluster(shards=8)
    keys = [three.key_of(shard) for shard in (1, 2, 5)]
    seen = set()
    for turn in range(60):
        name = f"race{turn}"
        prepared(three[turn % 3 + 1], name, [(key, name) for key in keys], protocol)
        told = []

        def finish(number, word, told=told, name=name):
            with three[number % 3 + 1].connect() as connection:
                told.append((word, connection.call(f"TXN.{word}", name)))

        words = ["COMMIT", "ROLLBACK"] * 3 if turn % 4 else ["COMMIT"] * 10
        threads = [threading.Thread(target=finish, args=args) for args in enumerate(words)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(told) == len(words)
        committed = ("COMMIT", "OK") in told
        for word, reply in told:
            assert (reply == "OK") == (committed == (word == "COMMIT")), told
        with three[1].connect() as connection:
            there = [value_when_free(connection, key) == name.encode() for key in keys]
        assert there == [committed] * len(keys), (told, there)
        assert committed or turn % 4, told
        seen.add(committed)
    assert seen == {True, False}


@both
def test_the_largest_over_the_most_shards(new_cluster, protocol):
    """65,536 keys in 1,024 shards, all of which take part: by MSET, and by TXN.COMMIT of what was said before."""
    keys = 65536
    three = new_cluster(shards=1024, arguments=["--txn-protocol", protocol.lower(), "--command-timeout", "60000"])
    with three[2].connect(timeout=600) as connection:

        def all_of(value):
            return ["MSET", *itertools.chain.from_iterable((f"k{n}", f"{value}{n}") for n in range(keys))]

        def interactive():
            begun = connection.call("TXN.BEGIN", "PROTOCOL", protocol)
            replies = connection.calls([["DBSIZE"], all_of("second"), ["TXN.COMMIT"], ["TXN.ROLLBACK"]])
            if replies[2] == "OK":
                assert replies[:2] == [keys, "OK"], (begun, replies)
            return replies[2]

        assert until_done(lambda: connection.call(*all_of("first"))) == "OK"
        assert until_done(interactive) == "OK"
        ends = until_done(lambda: connection.call("MGET", "k0", f"k{keys - 1}"))
        assert ends == [b"second0", f"second{keys - 1}".encode()]
        moves = [["MULTI"], ["RENAME", "k1", "other"], ["COPY", "k2", "more", "REPLACE"], ["DBSIZE"], ["EXEC"]]
        assert until_done(lambda: connection.calls(moves)[-1])[1:] == [1, keys + 1]


@both
def test_nobody_sees_a_flush_half_done(new_cluster, protocol):
    """Keys of all shards, written together and flushed together, alone and in MULTI: they are equal in every look, through
    whichever node; and what was written behind a flush stays."""
    three = new_cluster(shards=8, arguments=["--txn-protocol", protocol.lower()])
    keys = [three.key_of(shard, "flushed") for shard in range(1, 9)]
    stop = threading.Event()
    seen = []

    wrong = []

    def again(node, commands, look=None):
        try:
            with three[node].connect(60) as connection:
                while not stop.is_set():
                    replies = connection.calls(commands)
                    wrong.extend(reply for reply in replies if isinstance(reply, resp.Error) and not is_of_a_busy_machine(reply))
                    if look is not None and isinstance(replies[look], list):
                        seen.append(tuple(replies[look]))
        except Exception as problem:  # in a thread: told at the end
            wrong.append(problem)

    work = [(node, [["MSET", *itertools.chain(*((key, value) for key in keys))]]) for node, value in ((1, "x"), (2, "y"))]
    work += [(3, [["FLUSHALL"]]), (1, [["MULTI"], ["SET", keys[0], "z"], ["FLUSHDB"], ["MSET", *itertools.chain(*((key, "w") for key in keys))], ["EXEC"]])]
    work += [(node, [["MGET", *keys]], 0) for node in (1, 2, 3)]
    threads = [threading.Thread(target=again, args=args) for args in work]
    for thread in threads:
        thread.start()
    time.sleep(4)
    deadline = time.monotonic() + 120
    while not {None, b"w"} <= {look[0] for look in seen.copy()} and time.monotonic() < deadline:
        time.sleep(0.1)  # a sanitizer build on a busy machine has hardly begun
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]
    assert all(len(set(look)) == 1 for look in seen), [look for look in seen if len(set(look)) != 1][:3]
    assert {None, b"w"} <= {look[0] for look in seen}, len(seen)
    with three[1].connect() as connection, three[2].connect() as other:
        for turn in range(20):
            assert until_done(lambda: connection.call("FLUSHALL")) == "OK"
            assert until_done(lambda: other.call("MSET", *itertools.chain(*((key, turn) for key in keys)))) == "OK"  # noqa: B023
            assert until_done(lambda: connection.call("MGET", *keys)) == [b"%d" % turn] * len(keys)


@both
def test_prepared_waits_for_its_time(three, protocol):
    """Longer than anybody waits who must find out what became of a transaction: five seconds of the home shard's time."""
    keys = [three.key_of(shard, "patient") for shard in (1, 2)]
    name = f"patient {protocol}"
    prepared(three[1], name, [(key, "new") for key in keys], protocol)
    with three[2].connect() as connection:
        wait_for(lambda: status_of(connection, name)["age_ms"] > 5000, "its time does not go on")
        assert status_of(connection, name)["state"] == b"OPEN"
        assert connection.call("TXN.COMMIT", name) == "OK"
        assert connection.call("MGET", *keys) == [b"new", b"new"]


@both
def test_prepared_ends_when_its_time_is_over(three, protocol):
    keys = [three.key_of(shard, "late") for shard in (1, 2)]
    name = f"late {protocol}"
    prepared(three[1], name, [(key, "new") for key in keys], protocol, timeout_ms=1500)
    with three[2].connect() as connection:
        wait_for(lambda: status_of(connection, name)["outcome"] != b"", "it is open for ever")
        assert status_of(connection, name)["outcome"] == b"ABORT"
        assert [value_when_free(connection, key) for key in keys] == [None, None]
        assert str(connection.call("TXN.COMMIT", name)).startswith("TXNABORT")


@both
def test_a_client_that_is_killed_before_begin_is_answered(new_cluster, protocol):
    """Nobody knows its id, so nobody could end it."""
    three = new_cluster()
    key = three.key_of(1, "order")
    leader = three.leader_of(1)
    others = three.followers_of(1)
    with leader.connect() as victim, leader.connect() as killer:
        number = victim.call("CLIENT", "ID")
        for node in others:
            node.pause()
        victim.send(resp.encode("TXN.BEGIN", "ID", key, "PROTOCOL", protocol, "TIMEOUT", LONG_MS))
        time.sleep(0.2)
        assert killer.call("CLIENT", "KILL", "ID", number) == 1
        for node in others:
            node.resume()
    with three[1].connect() as connection:

        def ended():
            status = status_of(connection, key)
            return not isinstance(status, resp.Error) and status is not None and status["state"] == b"DONE"

        wait_for(ended, "its id is taken for a day")


def is_held(connection, key):
    """Whether who asks for it waits; its reply is still to come then."""
    connection.send(resp.encode("GET", key))
    if not select.select([connection.socket], [], [], 0.1)[0]:
        return True
    connection.read()
    return False


def of_lost_nodes(node):
    """How often this node did not wait for what a lost one has prepared."""
    with node.connect() as connection:
        return int(re.search(rb"transactions_of_lost_nodes:(\d+)", connection.call("INFO", "stats"))[1])


@pytest.mark.parametrize("kind", ["TXN", "MULTI"])
def test_a_lost_node_frees_its_keys(new_cluster, kind):
    """The node that runs a transaction is killed, and so is home's leader, which was stopped: nobody knows of it but who has
    prepared it. Who reads its key waits, and is told a value, not that it is busy. (A turn in which another node led home
    before that, or in which nothing was prepared, as home was the other one, shows nothing.)"""
    five = new_cluster(nodes=5, replicas=5, shards=5)
    for turn in range(10):
        leaders = {five.leader_of(shard): shard for shard in range(1, 6)}
        if len(leaders) < 2:
            continue
        stopped, other = list(leaders)[:2]
        runner = next(node for node in five if node not in (stopped, other))
        away, key = (five.key_of(leaders[node], f"lost{turn}-") for node in (stopped, other))
        with runner.connect() as client, other.connect(WAIT_SECONDS) as reader:
            begin = ["TXN.BEGIN", "ID", away] if kind == "TXN" else ["MULTI"]
            writes = [["SET", key, "new"], *([] if kind == "TXN" else [["SET", away, "new"]])]
            replies = client.calls([begin, *writes])
            assert not any(isinstance(reply, resp.Error) for reply in replies), replies
            before = of_lost_nodes(other)
            stopped.pause()
            client.send(resp.encode("TXN.COMMIT" if kind == "TXN" else "EXEC"))
            held = False
            while not held and not select.select([client.socket], [], [], 0)[0]:  # answered when home is led anew
                held = is_held(reader, key)
            stopped.kill()
            runner.kill()
            if held:
                value = reader.read()
                assert value in (None, b"new"), value
            assert value_when_free(reader, key) in (None, b"new")
        early = of_lost_nodes(other) > before
        five.start()
        if held and early:
            return
    raise AssertionError("no turn came to it")


def without_majority(five):
    """(home, two nodes without which it has no majority, three shards that have one then)."""
    with five[1].connect() as connection:
        ranges = connection.call("CLUSTER", "SLOTS")
    numbers = {node.port: node.number for node in five}
    voters = {cluster.slot_shard(first, five.shards): {numbers[port] for _, port, *_ in members}
              for first, _, *members in ranges}  # fmt: skip
    for home in voters:
        for pair in itertools.combinations(sorted(voters[home]), 2):
            others = [shard for shard in voters if len(voters[shard] & set(pair)) < 2]
            if len(others) >= 3:
                return home, [five[number] for number in pair], others[:3]
    raise AssertionError(voters)


def test_home_is_gone(new_cluster):
    """Five nodes, three voters a shard, and two nodes less: home has no majority, the shards that take part have theirs.
    Three-phase transactions are committed and aborted without home; those of two phases wait until it is back."""
    five = new_cluster(nodes=5, shards=8)
    home, gone, shards = without_majority(five)
    node, other = [each for each in five if each not in gone][:2]

    def keys(name):
        return [five.key_of(shard, f"{name}-") for shard in shards]

    def named(name):
        return five.key_of(home, f"{name}-id-")  # an id of a client is at home where a key of that name is

    def values(connection, name):
        return [value_when_free(connection, key) for key in keys(name)]

    def locked(*names):
        """Asked beside each other: each reply comes only when its time is over."""
        with contextlib.ExitStack() as stack:
            asked = [(stack.enter_context(other.connect(WAIT_SECONDS)), key) for name in names for key in keys(name)]
            for connection, key in asked:
                connection.send(resp.encode("GET", key))
            return all(str(connection.read()).startswith("BUSY") for connection, _ in asked)

    for name, protocol, timeout_ms in (("open3", "3PC", HOME_MS), ("open2", "2PC", LONG_MS), ("late2", "2PC", 3000)):
        prepared(node, named(name), [(key, "new") for key in keys(name)], protocol, timeout_ms)
    with node.connect(WAIT_SECONDS) as third, node.connect(WAIT_SECONDS) as second, other.connect(WAIT_SECONDS) as reader:
        for connection, name, protocol in ((third, "own3", "3PC"), (second, "own2", "2PC")):
            begin = ["TXN.BEGIN", "ID", named(name), "PROTOCOL", protocol, "TIMEOUT", HOME_MS if protocol == "3PC" else LONG_MS]
            assert connection.calls([begin, *(["SET", key, "new"] for key in keys(name)), ["TXN.PREPARE"]])[-1] == "PREPARED"
        for each in gone:
            each.kill()
        for shard in shards:
            wait_for(lambda shard=shard: reader.call("SET", five.key_of(shard, "free"), 1) == "OK", f"nobody leads {shard}")

        assert third.call("TXN.COMMIT") == "OK"
        assert values(reader, "own3") == [b"new"] * 3
        assert values(reader, "open3") == [None] * 3  # nobody had said COMMIT
        assert str(second.call("TXN.COMMIT")).split()[0] in ("CLUSTERDOWN", "UNCERTAIN")
        assert locked("own2", "open2", "late2")  # the last one though its time is over

        five.start()
        for name in ("own2", "open2"):
            assert reader.call("TXN.COMMIT", named(name)) == "OK"
            assert values(reader, name) == [b"new"] * 3
        assert values(reader, "late2") == [None] * 3
        for name, outcome in (("own3", b"COMMIT"), ("open3", b"ABORT"), ("late2", b"ABORT")):
            wait_for(lambda name=name: status_of(reader, named(name))["state"] == b"DONE", f"home does not end {name}")
            assert status_of(reader, named(name))["outcome"] == outcome
