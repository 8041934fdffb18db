"""redlock:// alone: quorums, servers that are killed, hung, empty, and others who follow the same algorithm. What is the same
for all engines is in test_engines.py."""

import os
import time

import engines
import pytest
import resp
from redis_engines import (DENIED, DOWN, PATIENCE_SECONDS, TIMEOUT, TTL_MS, UNCERTAIN, Asked, client_of, excludes_npm, go_on,
                           holders, stop, until, url_of)  # fmt: skip

SECONDS = int(os.environ.get("COHORT_ENGINES_SECONDS", 3))
WAIT_MS = PATIENCE_SECONDS * 1000
NOT_NOW = (DOWN, TIMEOUT, UNCERTAIN)


@pytest.fixture
def five(new_server):
    return [new_server("redis") for _ in range(5)]


@pytest.fixture
def engine(five):
    with engines.Engine(url_of(*five)) as opened:
        yield opened


def values(made, name):
    """What stands at those that live."""
    return [client_of(server).get(name) for server in made]


def acquire(engine, name, owner="me", *more, **how):
    return engine.call("LOCK.ACQUIRE", name, owner, "PX", TTL_MS, *more, **how)


def acquire_everywhere(five, engine, name):
    """A token. On a machine that stands still a quorum may have the lock, and not all."""
    while True:
        token, _ = acquire(engine, name)
        if None not in values(five, name):
            return token
        assert engine.call("LOCK.RELEASE", name, "me", token) == 1


# ---- what is held ----


def test_what_stands_at_the_servers(five, engine):
    engine.call("LOCK.RELEASE", "a", "me", acquire_everywhere(five, engine, "a"))
    token, left_ms = acquire(engine, "a", "me, here")
    assert 0 < left_ms <= TTL_MS - TTL_MS // 100 - 2
    until(lambda: values(five, "a") == [f"me, here {token:016x}".encode()] * 5)
    assert all(0 < client_of(server).pttl("a") <= TTL_MS for server in five)
    assert engine.call("LOCK.RENEW", "a", "me, here", token, "PX", 2 * TTL_MS) > TTL_MS
    until(lambda: all(client_of(server).pttl("a") > TTL_MS for server in five))
    assert engine.call("LOCK.RELEASE", "a", "me, here", token) == 1
    until(lambda: values(five, "a") == [None] * 5)
    assert all(client_of(server).dbsize() == 0 for server in five)


def test_what_it_claims(five):
    for count, survives in [(1, False), (2, False), (3, True), (5, True)]:
        with engines.Engine(url_of(*five[:count], scheme="redlock")) as engine:
            assert engine.can("LOCK") and engine.can("SURVIVE") == survives
            assert not any(engine.can(what) for what in ("FENCE", "ELECT", "QUEUE", "SHARE", "PERMITS", "LOOK", "ALL"))
            token, _ = acquire(engine, f"{count}")
            assert engine.call("LOCK.RELEASE", f"{count}", "me", token) == 1
            for words in [("LOCK.INFO", "a"), ("LOCK.LIST",), ("FENCE.CHECK", "a", 1), ("ELECT.LEADER", "a"),
                          ("ELECT.CAMPAIGN", "a", "me", "PX", TTL_MS)]:  # fmt: skip
                assert engine.ask(*words)[0] == engines.UNSUPPORTED


def test_owners_of_whatever_form(five, engine):
    """An owner's text is no other's, whatever stands in it."""
    owners = [b" ", b"a", b"a 0123456789abcdef", b"\xff\n", b"o" * 256]
    for owner in owners:
        token, _ = acquire(engine, "a", owner)
        assert [acquire(engine, "a", other) for other in owners if other != owner] == [None] * (len(owners) - 1)
        assert acquire(engine, "a", owner)[0] == token
        assert engine.call("LOCK.RELEASE", "a", owner, token) == 1
    assert engine.call("LOCK.RELEASE", "a", "o" * 5000, 1) == 0
    assert engine.call("LOCK.RENEW", "a", "o" * 5000, 1, "PX", TTL_MS).startswith("LOCKLOST")
    assert engine.call("LOCK.ACQUIRE", "a", "me", "PX", 19).startswith("ERR redlock: PX is at least 20 ms")


# ---- quorums ----


@pytest.mark.parametrize("others", [0, 1, 2, 3, 4, 5])
def test_a_quorum_grants(five, engine, others):
    """What others hold at two of five does not count; at three it does, and nothing of the attempt stays."""
    for server in five[:others]:
        client_of(server).set("a", "other", px=TTL_MS)
    granted = acquire(engine, "a")
    if others <= 2:
        assert isinstance(granted, list)
        assert engine.call("LOCK.RELEASE", "a", "me", granted[0]) == 1
    else:
        assert granted is None
    until(lambda: values(five, "a") == [b"other"] * others + [None] * (5 - others))


@pytest.mark.parametrize("gone", [0, 1, 2, 3, 4, 5])
def test_a_quorum_renews(five, engine, gone):
    """Where it cannot be had any more the lock is given up, at all of them."""
    token = acquire_everywhere(five, engine, "a")
    for server in five[:gone]:
        client_of(server).delete("a")
    renewed = engine.call("LOCK.RENEW", "a", "me", token, "PX", 2 * TTL_MS)
    if gone <= 2:
        assert renewed > TTL_MS
        assert engine.call("LOCK.RELEASE", "a", "me", token) == 1
    else:
        assert renewed.startswith("LOCKLOST")
        assert engine.call("LOCK.RELEASE", "a", "me", token) == 0
    until(lambda: values(five, "a") == [None] * 5)


def test_the_least_that_a_quorum_has(five, engine):
    """Two of five have a shorter time to live: the quorum's is told. Three have: theirs is."""
    token = acquire_everywhere(five, engine, "a")
    for server in five[:2]:
        client_of(server).pexpire("a", 10_000)
    until(lambda: acquire(engine, "a")[1] > 30_000)  # when all have answered
    client_of(five[2]).pexpire("a", 20_000)
    assert acquire(engine, "a")[0] == token
    assert 0 < acquire(engine, "a")[1] <= 20_000


def test_votes_are_split(five, engine):
    """Nobody has a quorum: it is tried again until somebody has."""
    for number, server in enumerate(five):
        client_of(server).set("a", f"other {number}", px=400 if number < 4 else TTL_MS)
    assert acquire(engine, "a") is None
    assert isinstance(acquire(engine, "a", "me", "WAIT", WAIT_MS), list)


# ---- servers that fail ----


def test_killed(five, engine):
    """Two of five are no matter; without a quorum nothing is told to be held."""
    token = acquire_everywhere(five, engine, "a")
    for server in five[:2]:
        server.kill()
    assert engine.call("LOCK.RENEW", "a", "me", token, "PX", TTL_MS) > 0
    assert acquire(engine, "a", "other") is None
    later, _ = acquire(engine, "b")
    five[2].kill()
    for words in [("LOCK.RENEW", "a", "me", token, "PX", TTL_MS), ("LOCK.ACQUIRE", "c", "me", "PX", TTL_MS),
                  ("LOCK.RELEASE", "b", "me", later)]:  # fmt: skip
        status, said = engine.ask(*words, timeout_ms=400)
        assert status in NOT_NOW and isinstance(said, resp.Error), said
    until(lambda: "2 of 5 servers answered, and 3 are needed; " in engine.call("LOCK.ACQUIRE", "c", "me", "PX", TTL_MS, timeout_ms=400))
    for server in five[:3]:
        server.start()  # they are empty
    until(lambda: isinstance(acquire(engine, "c"), list))


@pytest.mark.parametrize("count", [1, 2])
def test_hung(five, engine, count):
    """They eat nothing of what is told, and what they were asked they undo when they go on."""
    token, _ = acquire(engine, "warm")
    for server in five[:count]:
        stop(server)
    for turn in range(20):
        token, left_ms = acquire(engine, f"a{turn}")
        assert left_ms > TTL_MS * 9 // 10
        assert engine.call("LOCK.RENEW", f"a{turn}", "me", token, "PX", TTL_MS) > TTL_MS * 9 // 10
        assert acquire(engine, f"a{turn}", "other") is None
        assert engine.call("LOCK.RELEASE", f"a{turn}", "me", token) == 1
    for server in five[:count]:
        go_on(server)
    until(lambda: all(server.keys("a*") == [] for server in map(client_of, five)))
    acquire_everywhere(five, engine, "b")  # they take part again


def test_too_many_hang(five, engine):
    acquire(engine, "warm")
    for server in five[:3]:
        stop(server)
    before = time.monotonic()
    status, words = engine.ask("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS, timeout_ms=300)
    assert status in NOT_NOW and isinstance(words, resp.Error), words
    assert time.monotonic() - before < PATIENCE_SECONDS
    for server in five[:3]:
        go_on(server)
    until(lambda: isinstance(acquire(engine, "a"), list))


def test_one_comes_back_empty(five, engine):
    """The others still have it: nobody else is granted the lock."""
    token = acquire_everywhere(five, engine, "a")
    for server in five[:2]:
        server.kill()
        server.start()
        assert acquire(engine, "a", "other") is None
    assert engine.call("LOCK.RENEW", "a", "me", token, "PX", TTL_MS) > 0


def test_most_come_back_empty(five, engine):
    """As docs/engines.md warns: within the lease another is granted the lock. Who had it learns so when it renews."""
    token = acquire_everywhere(five, engine, "a")
    for server in five[:3]:
        server.kill()
        server.start()
    until(lambda: isinstance(acquire(engine, "a", "other"), list))
    assert engine.call("LOCK.RENEW", "a", "me", token, "PX", TTL_MS).startswith("LOCKLOST")


def test_scripts_that_are_forgotten(five, engine):
    token, _ = acquire(engine, "a")
    for server in five:
        client_of(server).script_flush()
    assert engine.call("LOCK.RENEW", "a", "me", token, "PX", TTL_MS) > 0
    for server in five:
        client_of(server).script_flush()
    assert engine.call("LOCK.RELEASE", "a", "me", token) == 1


def test_passwords(new_server):
    with_one = [new_server("redis", "--requirepass", "right") for _ in range(2)]
    without = new_server("redis")
    with engines.Engine(url_of(*with_one, without, before=":right@")) as engine:
        token, _ = acquire(engine, "a")  # at the third the password is too much
        assert engine.call("LOCK.RELEASE", "a", "me", token) == 1
    with engines.Engine(url_of(*with_one, without)) as engine:
        status, words = engine.ask("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
        assert status == DENIED and words.startswith("NOAUTH ")
    with engines.Engine(url_of(*with_one, without, behind="?password=wr0ng")) as engine:
        status, words = engine.ask("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
        assert status == DENIED and words.startswith("WRONGPASS ") and "wr0ng" not in words
    assert without is not None and client_of(without).get("a") is None


def test_a_key_that_is_no_lock(five, engine):
    for server in five[:3]:
        client_of(server).rpush("a", "x")
    assert acquire(engine, "a").startswith("WRONGTYPE ")
    client_of(five[0]).delete("a")
    assert isinstance(acquire(engine, "a"), list)


# ---- others ----


@pytest.mark.parametrize("version", [4, 5])
def test_npm(five, version):
    with engines.Engine(url_of(*five[:3])) as engine:
        excludes_npm(engine, version, *five[:3])


def test_who_waits_has_it_when_the_lease_ends(five, engine):
    engine.call("LOCK.ACQUIRE", "a", "me", "PX", 300)
    with engines.Engine(url_of(*five)) as other:
        assert isinstance(Asked(other, "LOCK.ACQUIRE", "a", "other", "PX", TTL_MS, "WAIT", WAIT_MS).end(), list)


def test_holders_under_faults(new_server, tmp_path, figure):
    """One after the other is killed, keeps what it said, and is stopped: never are there two holders."""
    three = [new_server("redis", "--appendonly", "yes", "--appendfsync", "always") for _ in range(3)]
    with holders(tmp_path, 91, url_of(*three)) as load:
        deadline = time.monotonic() + SECONDS
        turn = 0
        while time.monotonic() < deadline or turn < 3:
            load.wait_for(5)
            three[turn % 3].kill()
            load.wait_for(5)
            three[turn % 3].start()
            stop(three[(turn + 1) % 3])
            load.wait_for(5)
            go_on(three[(turn + 1) % 3])
            turn += 1
        load.wait_for(20)
    figure("holders of redlock:// at three servers that are killed and stopped", load.check())
