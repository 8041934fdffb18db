"""redis:// and redlock:// where the wall clock of a server is set, never that of this machine (wall_clock.c): what
docs/engines.md says of it."""

import os

import engines
import pytest
import servers
from redis_engines import PATIENCE_SECONDS, TTL_MS, Asked, WallClock, client_of, until, url_of
from test_engine_redis import wait_in
from test_engines import end, process

HOUR = 3600
WAIT_MS = PATIENCE_SECONDS * 1000


@pytest.fixture
def clocked(tmp_path, monkeypatch):
    """clocked(): a server with a `clock`."""
    made = []

    def make():
        folder = tmp_path / f"redis{len(made)}"
        clock = WallClock(folder)
        with monkeypatch.context() as patched:
            for name, value in WallClock.preload.items():
                patched.setenv(name, value)
            server = servers.Server("redis", folder, []).start()
        server.clock = clock
        made.append(server)
        before = int(client_of(server).time()[0])
        clock.shift(HOUR)
        assert int(client_of(server).time()[0]) >= before + HOUR
        clock.shift(0)
        return server

    assert os.path.isfile(WallClock.preload["LD_PRELOAD"])
    yield make
    for server in made:
        server.kill()


def test_set_forward(clocked):
    """The lease ends early, and the next one has the lock. Whoever had it learns so when it asks."""
    server = clocked()
    with engines.Engine(url_of(server)) as engine, engines.Engine(url_of(server)) as other:
        token, _ = engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
        waits = Asked(other, "LOCK.ACQUIRE", "a", "other", "PX", TTL_MS, "WAIT", WAIT_MS)
        server.clock.shift(HOUR)
        assert waits.end()[0] > token
        assert engine.call("LOCK.RENEW", "a", "me", token, "PX", TTL_MS).startswith("LOCKLOST")


def test_set_back(clocked):
    """Nobody is told of more than its ttl; a renewal counts anew; tokens grow; who is gone is in nobody's way."""
    server = clocked()
    with engines.Engine(url_of(server)) as engine, engines.Engine(url_of(server)) as other:
        token, _ = engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
        gone = process(FakeStore(url_of(server)), "a", "gone", TTL_MS, WAIT_MS)
        until(lambda: b"gone" in client_of(server).hget("cohort:lock/of:a", "waiters"))
        waits = wait_in(other, None, "a", "other")
        end(gone)
        server.clock.shift(-HOUR)
        assert client_of(server).pttl("a") > TTL_MS
        assert engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)[1] <= TTL_MS
        assert TTL_MS // 2 < engine.call("LOCK.RENEW", "a", "me", token, "PX", TTL_MS) <= TTL_MS
        assert client_of(server).pttl("a") <= TTL_MS
        assert engine.call("LOCK.RELEASE", "a", "me", token) == 1
        assert waits.end()[0] > token


def test_clocks_of_few(clocked):
    """One of three is no matter; with two the quorum is lost, and another is granted the lock."""
    three = [clocked() for _ in range(3)]
    with engines.Engine(url_of(*three)) as engine, engines.Engine(url_of(*three)) as other:
        while True:
            token, _ = engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
            if all(client_of(server).exists("a") for server in three):
                break
            engine.call("LOCK.RELEASE", "a", "me", token)
        three[0].clock.shift(HOUR)
        assert other.call("LOCK.ACQUIRE", "a", "other", "PX", TTL_MS) is None
        assert engine.call("LOCK.RENEW", "a", "me", token, "PX", TTL_MS) > 0
        three[1].clock.shift(HOUR)
        until(lambda: isinstance(other.call("LOCK.ACQUIRE", "a", "other", "PX", TTL_MS), list))
        assert engine.call("LOCK.RENEW", "a", "me", token, "PX", TTL_MS).startswith("LOCKLOST")


class FakeStore:
    """For test_engines.process."""

    def __init__(self, url):
        self.url = url
