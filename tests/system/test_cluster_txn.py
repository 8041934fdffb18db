"""Transactions of real clusters that somebody wants to break: finished by many at once, left behind, or without those who
decide about them."""

import threading
import time

import pytest
import resp

LONG_MS = 24 * 3600 * 1000
WAIT_SECONDS = 60

both = pytest.mark.parametrize("protocol", ["2PC", "3PC"])


def status_of(connection, name):
    reply = connection.call("TXN.STATUS", name)
    return None if reply is None else {key.decode(): value for key, value in zip(reply[::2], reply[1::2], strict=True)}


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
