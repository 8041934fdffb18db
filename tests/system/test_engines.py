"""The same for every engine (include/cohort/engine.h): what each says that it can, it can. `places` makes a store for a test,
and has its URL; a store is a real server where there is one."""

import os
import signal
import subprocess
import sys
import threading
import time

import crew
import engines
import etcds
import guarded
import postgresql
import pytest
import resp
import servers
import zookeepers

SECONDS = int(os.environ.get("COHORT_ENGINES_SECONDS", 8))
PATIENCE_SECONDS = 60
TTL_MS = 60_000


class Files:
    """file://"""

    scheme = "file"

    def __init__(self, folder):
        self.url = f"file://{folder}/locks"

    def close(self):
        pass


class Embedded:
    """embedded://, a node in this process."""

    scheme = "embedded"

    def __init__(self, folder):
        self.url = f"embedded://{folder}/app"

    def close(self):
        pass


class Sqlite:
    """sqlite://"""

    scheme = "sqlite"

    def __init__(self, folder):
        self.url = f"sqlite://{folder}/locks.db"

    def close(self):
        pass


class Redis:
    """redis://"""

    scheme = "redis"

    def __init__(self, folder):
        self.server = servers.Server("redis", folder, []).start()
        self.url = f"redis://127.0.0.1:{self.server.port}"

    def close(self):
        self.server.kill()


class Redlock:
    """redlock://, at three servers."""

    scheme = "redlock"

    def __init__(self, folder):
        self.servers = [servers.Server("redis", folder / str(number), []).start() for number in range(3)]
        self.url = "redlock://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def close(self):
        for server in self.servers:
            server.kill()


class Table:
    """postgresql://"""

    scheme = "postgresql"

    def __init__(self, folder):
        self.server = postgresql.Postgres().__enter__()
        self.url = self.server.url()

    def close(self):
        self.server.close()


class Etcd:
    """etcd://"""

    scheme = "etcd"

    def __init__(self, folder):
        self.etcd = etcds.Etcd(folder)
        self.url = self.etcd.url

    def close(self):
        self.etcd.close()


class ZooKeeper:
    """zookeeper://. What it tells is bounded by the session, of which more than half is told."""

    scheme = "zookeeper"
    ttl_ms = 1500

    def __init__(self, folder):
        self.servers = zookeepers.Servers(folder)
        self.url = self.servers.url(options="?session=6s")

    def close(self):
        self.servers.close()


KINDS = [Files, Embedded, Sqlite, Table, Redis, Redlock, Etcd, ZooKeeper]


@pytest.fixture(params=KINDS, ids=[kind.scheme for kind in KINDS], scope="module")
def store(request, tmp_path_factory):
    made = request.param(tmp_path_factory.mktemp(request.param.scheme))
    yield made
    made.close()


@pytest.fixture
def engine(store):
    with engines.Engine(store.url) as opened:
        yield opened


@pytest.fixture
def name(request):
    return request.node.name.split("[")[0]


def need(engine, what):
    if not engine.can(what):
        pytest.skip(f"the engine does not claim {what}")


def until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def holders(engine, name):
    return [resp.pairs(each)[b"owner"] for each in resp.pairs(engine.call("LOCK.INFO", name))[b"holders"]]


def waiters(engine, name):
    return [resp.pairs(each)[b"owner"] for each in resp.pairs(engine.call("LOCK.INFO", name))[b"waiters"]]


# ---- one owner after the other ----


def test_a_lock_excludes(store, engine, name):
    token, left_ms = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
    assert 0 < left_ms <= TTL_MS
    with engines.Engine(store.url) as other:
        assert other.call("LOCK.ACQUIRE", name, "b", "PX", TTL_MS) is None
        assert other.call("LOCK.RELEASE", name, "b", token) == 0
        assert other.call("LOCK.RELEASE", name, "a", token + 1) == 0
        assert engine.call("LOCK.RELEASE", name, "a", token) == 1
        assert engine.call("LOCK.RELEASE", name, "a", token) == 0
        later, _ = other.call("LOCK.ACQUIRE", name, "b", "PX", TTL_MS)
        assert later > token or not engine.can("FENCE")
        assert other.call("LOCK.RELEASE", name, "b", later) == 1


def test_asking_again_changes_nothing(engine, name):
    token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
    again, left_ms = engine.call("LOCK.ACQUIRE", name, "a", "PX", 10 * TTL_MS)
    assert again == token and left_ms <= TTL_MS
    assert engine.call("LOCK.RELEASE", name, "a", token) == 1


def test_renewed(store, engine, name):
    ttl_ms = getattr(store, "ttl_ms", TTL_MS)
    token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", ttl_ms)
    assert ttl_ms < engine.call("LOCK.RENEW", name, "a", token, "PX", 2 * ttl_ms) <= 2 * ttl_ms
    assert engine.call("LOCK.RENEW", name, "a", token, "PX", 1000) > ttl_ms  # never shorter
    assert engine.call("LOCK.RENEW", name, "b", token, "PX", ttl_ms).startswith("LOCKLOST")
    engine.call("LOCK.RELEASE", name, "a", token)
    assert engine.call("LOCK.RENEW", name, "a", token, "PX", ttl_ms).startswith("LOCKLOST")


def test_taken_away(store, engine, name):
    token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
    with engines.Engine(store.url) as other:
        assert isinstance(other.call("LOCK.RELEASE", name, "a", token, "NOW"), resp.Error)
        assert other.call("LOCK.RELEASE", name, "a", token, "FORCE") == 1
    assert engine.call("LOCK.RENEW", name, "a", token, "PX", TTL_MS).startswith("LOCKLOST")


def test_a_lease_ends(engine, name):
    before = time.monotonic()
    token, left_ms = engine.call("LOCK.ACQUIRE", name, "a", "PX", 500)
    assert left_ms <= 500
    later, _ = engine.call("LOCK.ACQUIRE", name, "b", "PX", TTL_MS, "WAIT", PATIENCE_SECONDS * 1000)
    assert time.monotonic() - before >= 0.5
    assert engine.call("LOCK.RENEW", name, "a", token, "PX", 500).startswith("LOCKLOST")
    assert engine.call("LOCK.RELEASE", name, "b", later) == 1


def test_tokens_grow(store, name):
    last = 0
    for number in range(20):
        with engines.Engine(store.url) as engine:
            need(engine, "FENCE")
            token, _ = engine.call("LOCK.ACQUIRE", name, f"o{number}", "PX", TTL_MS)
            assert token > last
            last = token
            engine.call("LOCK.RELEASE", name, f"o{number}", token)


def test_fence(store, engine, name):
    need(engine, "FENCE")
    with engines.Engine(store.url) as other:
        assert [engine.call("FENCE.CHECK", name, token) for token in (7, 7, 6)] == [1, 1, 0]
        assert [other.call("FENCE.CHECK", name, token) for token in (6, 8)] == [0, 1]
    assert engine.call("FENCE.CHECK", name, 7) == 0


def test_all_who_hold_pass(store, engine, name):
    """Each has a token of its own; also the older ones are of who holds."""
    need(engine, "FENCE")
    need(engine, "SHARE")
    first, second = [engine.call("LOCK.ACQUIRE", name, owner, "PX", TTL_MS, "MODE", "SHARED")[0] for owner in "ab"]
    assert [engine.call("FENCE.CHECK", name, token) for token in (second, first)] == [1, 1]
    engine.call("LOCK.RELEASE", name, "a", first)
    assert [engine.call("FENCE.CHECK", name, token) for token in (second, first)] == [1, 0]
    engine.call("LOCK.RELEASE", name, "b", second)


# ---- who waits ----


def test_a_wait_ends(engine, name):
    token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
    before = time.monotonic()
    assert engine.call("LOCK.ACQUIRE", name, "b", "PX", TTL_MS, "WAIT", 300) is None
    assert time.monotonic() - before >= 0.3
    engine.call("LOCK.RELEASE", name, "a", token)


def test_first_come_first_served(store, engine, name):
    need(engine, "QUEUE")
    token, _ = engine.call("LOCK.ACQUIRE", name, "first", "PX", TTL_MS)
    order, others = [], [engines.Engine(store.url) for _ in range(5)]

    def wait(number):
        mine, _ = others[number].call("LOCK.ACQUIRE", name, f"w{number}", "PX", TTL_MS, "WAIT", PATIENCE_SECONDS * 1000)
        order.append(number)
        assert others[number].call("LOCK.RELEASE", name, f"w{number}", mine) == 1

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        until(lambda count=number + 1: len(waiters(engine, name)) == count)
    assert engine.call("LOCK.ACQUIRE", name, "late", "PX", TTL_MS) is None
    engine.call("LOCK.RELEASE", name, "first", token)
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert order == [0, 1, 2, 3, 4]
    for other in others:
        other.close()


def test_who_no_longer_waits_is_out_of_the_way(store, engine, name):
    need(engine, "LOOK")
    token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
    other = engines.Engine(store.url)
    thread = threading.Thread(target=other.call, args=("LOCK.ACQUIRE", name, "b", "PX", TTL_MS, "WAIT", 300))
    thread.start()
    until(lambda: waiters(engine, name) == [b"b"])
    thread.join()
    assert waiters(engine, name) == []
    other.close()
    assert engine.call("LOCK.RELEASE", name, "a", token) == 1


WAITING = """
import sys
sys.path.insert(0, sys.argv[1])
import engines
engine = engines.Engine(sys.argv[2])
print(engine.call("LOCK.ACQUIRE", sys.argv[3], sys.argv[4], "PX", int(sys.argv[5]), "WAIT", int(sys.argv[6])), flush=True)
sys.stdin.read()
"""


def process(store, name, owner, ttl_ms, wait_ms):
    words = [sys.executable, "-c", WAITING, os.path.dirname(__file__), store.url, name, owner, str(ttl_ms), str(wait_ms)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                            preexec_fn=servers.end_with_parent)  # fmt: skip


def end(started):
    started.kill()
    started.communicate()


def test_a_waiter_that_is_killed_is_out_of_the_way(store, engine, name):
    need(engine, "PROCESSES")
    need(engine, "LOOK")
    token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
    killed = process(store, name, "b", TTL_MS, TTL_MS)
    until(lambda: waiters(engine, name) == [b"b"])
    end(killed)
    engine.call("LOCK.RELEASE", name, "a", token)
    later, _ = engine.call("LOCK.ACQUIRE", name, "c", "PX", TTL_MS, "WAIT", PATIENCE_SECONDS * 1000,
                           timeout_ms=PATIENCE_SECONDS * 1000)  # fmt: skip
    assert engine.call("LOCK.RELEASE", name, "c", later) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_holder_that_is_gone(store, engine, name, how):
    """Killed, or stopped: the next one has the lock when the time is over, and not before."""
    need(engine, "PROCESSES")
    name = f"{name} {how}"
    before = time.monotonic()
    holder = process(store, name, "a", 1500, 0)
    granted = holder.stdout.readline()
    token = int(granted.strip("[]\n").split(",")[0])
    os.kill(holder.pid, how)
    later, _ = engine.call("LOCK.ACQUIRE", name, "b", "PX", TTL_MS, "WAIT", PATIENCE_SECONDS * 1000)
    assert time.monotonic() - before >= 1.5 or engine.can("SURVIVE")
    assert later > token or not engine.can("FENCE")
    end(holder)
    assert engine.call("LOCK.RELEASE", name, "b", later) == 1


# ---- kinds ----


def test_shared(engine, name):
    need(engine, "SHARE")
    shared = ["PX", TTL_MS, "MODE", "SHARED"]
    first, second = engine.call("LOCK.ACQUIRE", name, "a", *shared)[0], engine.call("LOCK.ACQUIRE", name, "b", *shared)[0]
    assert engine.call("LOCK.ACQUIRE", name, "c", "PX", TTL_MS) is None
    assert engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS).startswith("ERR")  # no upgrade
    engine.call("LOCK.RELEASE", name, "a", first)
    engine.call("LOCK.RELEASE", name, "b", second)
    token, _ = engine.call("LOCK.ACQUIRE", name, "c", "PX", TTL_MS)
    assert engine.call("LOCK.ACQUIRE", name, "a", *shared) is None
    engine.call("LOCK.RELEASE", name, "c", token)


def test_shared_ones_do_not_starve_an_exclusive_one(store, engine, name):
    need(engine, "SHARE")
    shared = ["PX", TTL_MS, "MODE", "SHARED"]
    token, _ = engine.call("LOCK.ACQUIRE", name, "a", *shared)
    other, granted = engines.Engine(store.url), []
    thread = threading.Thread(target=lambda: granted.append(
        other.call("LOCK.ACQUIRE", name, "x", "PX", TTL_MS, "WAIT", PATIENCE_SECONDS * 1000)))  # fmt: skip
    thread.start()
    until(lambda: waiters(engine, name) == [b"x"])
    assert engine.call("LOCK.ACQUIRE", name, "b", *shared) is None
    engine.call("LOCK.RELEASE", name, "a", token)
    thread.join(PATIENCE_SECONDS)
    assert engine.call("LOCK.RELEASE", name, "x", granted[0][0]) == 1
    other.close()


def test_permits(engine, name):
    need(engine, "PERMITS")
    first, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS, "PERMITS", 2, "LIMIT", 3)
    assert engine.call("LOCK.ACQUIRE", name, "b", "PX", TTL_MS, "PERMITS", 2, "LIMIT", 3) is None
    second, _ = engine.call("LOCK.ACQUIRE", name, "b", "PX", TTL_MS, "PERMITS", 1, "LIMIT", 3)
    assert engine.call("LOCK.ACQUIRE", name, "c", "PX", TTL_MS, "PERMITS", 1, "LIMIT", 4).startswith("ERR")
    assert engine.call("LOCK.ACQUIRE", name, "c", "PX", TTL_MS) is None
    engine.call("LOCK.RELEASE", name, "a", first)
    third, _ = engine.call("LOCK.ACQUIRE", name, "c", "PX", TTL_MS, "PERMITS", 2, "LIMIT", 3)
    engine.call("LOCK.RELEASE", name, "b", second)
    engine.call("LOCK.RELEASE", name, "c", third)


def test_an_election(store, engine, name):
    need(engine, "ELECT")
    assert engine.call("ELECT.LEADER", name) is None
    ttl_ms = getattr(store, "ttl_ms", TTL_MS)
    token, _ = engine.call("ELECT.CAMPAIGN", name, "a", "PX", ttl_ms, "VALUE", "10.0.0.1")
    assert resp.pairs(engine.call("ELECT.LEADER", name))[b"value"] == b"10.0.0.1"
    with engines.Engine(store.url) as other:
        assert other.call("ELECT.CAMPAIGN", name, "b", "PX", TTL_MS) is None
        assert engine.call("ELECT.CAMPAIGN", name, "a", "PX", 2 * ttl_ms)[1] > ttl_ms
        assert engine.call("LOCK.ACQUIRE", name, "x", "PX", 100) is not None  # another thing of the same name
        assert engine.call("ELECT.RESIGN", name, "a", token) == 1
        later, _ = other.call("ELECT.CAMPAIGN", name, "b", "PX", TTL_MS)
        assert later > token
        assert other.call("ELECT.RESIGN", name, "b", later) == 1


# ---- looks ----


def test_looks(engine, name):
    need(engine, "LOOK")
    token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS, "NOTE", "for people")
    info = resp.pairs(engine.call("LOCK.INFO", name))
    holder = resp.pairs(info[b"holders"][0])
    assert (info[b"mode"], holder[b"owner"], holder[b"token"], holder[b"note"]) == (b"exclusive", b"a", token, b"for people")
    assert 0 < holder[b"ttl_ms"] <= TTL_MS
    assert name.encode() in engine.call("LOCK.LIST", "MATCH", name[:-1] + "?")[1]
    engine.call("LOCK.RELEASE", name, "a", token)
    past = resp.pairs(engine.call("LOCK.HISTORY", name)[0])
    assert (past[b"owner"], past[b"token"], past[b"why"]) == (b"a", token, b"released")
    assert name.encode() not in engine.call("LOCK.LIST")[1]


def test_names(engine):
    """Whatever bytes and lengths: each name is a lock of its own."""
    names = [b"", b" ", b".", b"..", b"/", b"a/b", b"%", b"%2f", b"A", b"a", b"\xff\xfe", "ü".encode(), b"\n", b"'\"\\;--",
             b"a\0b", b"a\0c", b"n" * 1024, b"n" * 1023, b"n" * 1023 + b"m"]  # fmt: skip
    tokens = [engine.call("LOCK.ACQUIRE", each, "a", "PX", TTL_MS) for each in names]
    assert all(isinstance(token, list) for token in tokens), tokens
    if engine.can("LOOK"):
        assert set(names) <= set(engine.call("LOCK.LIST", "COUNT", 1000)[1])
    for each, (token, _) in zip(names, tokens, strict=True):
        assert engine.call("LOCK.RELEASE", each, "a", token) == 1


# ---- refusals ----


def test_what_is_no_request(engine, name):
    for words in [("LOCK.ACQUIRE", name, "a"), ("LOCK.ACQUIRE", name, "a", "PX"), ("LOCK.ACQUIRE", name, "a", "PX", 0),
                  ("LOCK.ACQUIRE", name, "a", "PX", 1000, "WAIT", -1), ("LOCK.ACQUIRE", name, "a", "WAIT", 5),
                  ("LOCK.ACQUIRE", name, "a", "PX", 1000, "MODE", "SOME"), ("LOCK.ACQUIRE", name, "o" * 257, "PX", 1000),
                  ("LOCK.ACQUIRE", "n" * 1025, "a", "PX", 1000), ("LOCK.ACQUIRE", b"\0x", "a", "PX", 1000),
                  ("LOCK.ACQUIRE", name, "", "PX", 1000), ("LOCK.ACQUIRE", name, "a", "PX", 1000, "PERMITS", 2, "LIMIT", 1),
                  ("LOCK.ACQUIRE", name, "a", "PX", 1000, "NOTE", "n" * 513), ("LOCK.RENEW", name, "a", "x", "PX", 1000),
                  ("LOCK.RENEW", name, "a", 1, "EX", 1000), ("LOCK.RELEASE", name, "a"), ("FENCE.CHECK", name, -1)]:  # fmt: skip
        assert isinstance(engine.call(*words), resp.Error), words
    token, _ = engine.call("LOCK.ACQUIRE", name, "b", "PX", TTL_MS)
    assert engine.call("LOCK.RELEASE", name, "b", token) == 1


def test_what_it_cannot(engine, name):
    if engine.can("ALL"):
        pytest.skip("it can everything")
    for words in [("GET", "x"), ("LOCK.MACQUIRE", 1, name, "a", "PX", 1000), ("SESSION.OPEN", "PX", 1000),
                  ("LOCK.ACQUIRE", name, "a", "SESSION", "1-a")]:  # fmt: skip
        status, reply = engine.ask(*words)
        assert status == engines.UNSUPPORTED and reply.startswith("UNSUPPORTED"), reply


def test_urls(store):
    scheme = store.url.split("://")[0]
    for rest in ["", "?", "%", "%0", "%00/x", "/x?nonsense=1", "/x?timeout=soon", "/" + "x" * 5000]:
        with pytest.raises(engines.Refused) as refused:
            engines.Engine(f"{scheme}://{rest}")
        assert refused.value.status == engines.INVALID and len(refused.value.words) > 10


# ---- many ----


def test_many_at_one_lock(store, name):
    """Each adds one to a number that nobody guards but the lock."""
    number = [0]
    each = 40

    def add(owner):
        with engines.Engine(store.url) as mine:
            for _ in range(each):
                token, _ = mine.call("LOCK.ACQUIRE", name, owner, "PX", TTL_MS, "WAIT", PATIENCE_SECONDS * 1000)
                seen = number[0]
                time.sleep(0.0005)
                number[0] = seen + 1
                assert mine.call("LOCK.RELEASE", name, owner, token) == 1

    threads = [threading.Thread(target=add, args=(f"o{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number == [6 * each]


def test_holders_that_are_stopped(store, engine, tmp_path, figure):
    """As test_lock_safety: processes that are stopped for longer than their time to live, a resource that looks at tokens,
    and what all could believe judged by `cohort check`."""
    need(engine, "PROCESSES")
    with guarded.Resource(tmp_path) as resource:
        with crew.Crew([], tmp_path, seed=71, kind="engine", count=12, resource=resource, url=store.url) as load:
            ends = time.monotonic() + SECONDS
            load.wait_until(lambda counts: counts["refused"] > 0 and time.monotonic() > ends)
            load.wait_for(50)
        figure(f"holders of {store.scheme}", load.check())
