"""The wall clock is set forth and back under nodes and holders (wall_clock.c; never that of this machine): locks, sessions and
times to live go by clocks that nobody sets, and end neither early nor late. EXPIREAT alone goes by the wall clock."""

import mmap
import subprocess
import time

import cluster
import pytest
import servers
from locks import LONG, figures, fresh, info, until

SECOND = 10**9
DAY = 86400 * SECOND
YEAR = 365 * DAY
TTL = 2000

SHIM = servers.BUILD / "tests" / "system" / "wall_clock.so"


class WallClock:
    """That of a process which is started in this folder."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "wall_clock"
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self.page = mmap.mmap(file.fileno(), 8)

    def shift(self, ns):
        self.page[:] = ns.to_bytes(8, "little", signed=True)


def now_s(client):
    """As the node has it."""
    seconds, _ = client.call("TIME")
    return int(seconds)


@pytest.fixture
def preloaded(monkeypatch):
    assert SHIM.is_file(), f"{SHIM} is not built"
    monkeypatch.setenv("LD_PRELOAD", str(SHIM))
    monkeypatch.setenv("ASAN_OPTIONS", "verify_asan_link_order=0")


@pytest.fixture
def three(preloaded, tmp_path):
    """Nodes with `clock`s."""
    made = cluster.Cluster(tmp_path, nodes=3, shards=4)
    for node in made:
        node.clock = WallClock(node.folder)
    with made:
        yield made
        assert made.stop() == [0, 0, 0]


class Held:
    """A lock of TTL ms that somebody else waits for, and what was granted when."""

    def __init__(self, client, other, pool, session=None):
        self.name = fresh("held")
        self.asked_ns = time.monotonic_ns()
        how = ("SESSION", session) if session else ("PX", TTL)
        self.token, _ = client.call("LOCK.ACQUIRE", self.name, "a", *how)
        self.next = pool.submit(self.wait, other)

    def wait(self, client):
        token, _ = client.call("LOCK.ACQUIRE", self.name, "b", "PX", LONG, "WAIT", 60000)
        return token, time.monotonic_ns()

    def ends_in_time(self):
        token, granted_ns = self.next.result(100)  # not late, or the WAIT would have ended
        assert token > self.token
        assert granted_ns - self.asked_ns >= (TTL - 2) * 10**6


JUMPS = {
    "an hour forth": 3600 * SECOND,
    "an hour back": -3600 * SECOND,
    "fifty years forth": 50 * YEAR,
    "to 1970": -100 * YEAR,
    "forth and back": None,
}


def jump(clocks, ns):
    for shift in (ns,) if ns is not None else (YEAR, -YEAR, 0, 10 * SECOND, -10 * SECOND):
        for clock in clocks:
            clock.shift(shift)


@pytest.mark.parametrize(
    ("how", "who"),
    [("an hour forth", "leader"), ("an hour back", "all"), ("fifty years forth", "leader"), ("fifty years forth", "all"),
     ("to 1970", "leader"), ("to 1970", "follower"), ("forth and back", "all")],
)  # fmt: skip
def test_locks_and_sessions(three, pool, how, who):
    clients = [node.connect(100) for node in three]
    opened_ns = time.monotonic_ns()
    session = clients[0].call("SESSION.OPEN", "PX", TTL)
    assert clients[0].call("SET", "lasting", "v", "PX", LONG) == "OK"
    held = [Held(clients[1], three[1 + n % 3].connect(100), pool) for n in range(4)]
    bound = Held(clients[2], three[1].connect(100), pool, session)
    bound.asked_ns = opened_ns  # from then on the session lives
    bound_key = clients[1].call("SET", "bound", "v", "SESSION", session)
    leader = three.leader_of(1)
    at = {"all": list(three), "leader": [leader], "follower": three.followers_of(1)[:1]}[who]
    before = now_s(at[0].connect())
    jump([node.clock for node in at], JUMPS[how])
    assert how == "forth and back" or abs(now_s(at[0].connect()) - before) > 1800  # the nodes see it
    for lock in held:
        (holder,) = info(clients[0], lock.name)[b"holders"] or [None]
        assert holder is None or holder[b"ttl_ms"] <= TTL  # no busy machine made it end before we looked
    began_ns = time.monotonic_ns()
    assert LONG - 60000 < clients[0].call("PTTL", "lasting") <= LONG
    assert bound_key == "OK"
    assert clients[0].call("LOCK.ACQUIRE", fresh("new"), "a", "PX", LONG)[1] == LONG
    for lock in (*held, bound):
        lock.ends_in_time()
    until(lambda: clients[1].call("EXISTS", "bound") == 0)
    assert (time.monotonic_ns() - began_ns) / SECOND < 60
    # Whoever leads next has another wall clock, as a rule.
    kept = fresh("kept")
    token, _ = clients[0].call("LOCK.ACQUIRE", kept, "a", "PX", LONG)
    leader.kill()
    rest = [node.connect(100) for node in three if node is not leader]
    three.wait_for_leaders()
    assert rest[0].call("LOCK.RENEW", kept, "a", token, "PX", LONG) == LONG
    assert rest[1].call("LOCK.ACQUIRE", kept, "b", "PX", LONG) is None
    assert LONG - 100000 < rest[1].call("PTTL", "lasting") <= LONG
    leader.start()  # with the clock as it is
    three.wait_until_equal()


def test_a_restart_in_another_time(three):
    """All nodes at once are started anew with the clock set back by decades, and forth: what remained of the times to live
    remains, and nothing of the past is taken for older, or newer, than what comes."""
    tokens, kept = [], fresh("kept")
    for years in (0, -30, 30, 0):
        for node in three:
            node.clock.shift(years * YEAR)
        three.kill()
        three.start()
        with three[1].connect(60) as client:
            got = client.call("LOCK.ACQUIRE", kept, "a", "PX", LONG)
            assert got[1] > LONG - 200000
            tokens.append(got[0])
            lock = fresh("each")
            token, _ = client.call("LOCK.ACQUIRE", lock, "a", "PX", LONG)
            assert client.call("LOCK.RELEASE", lock, "a", token) == 1
            assert client.call("LOCK.ACQUIRE", lock, "b", "PX", LONG)[0] > token
            assert client.calls([["MULTI"], ["SET", "a", "1"], ["SET", "b", "1"], ["SET", "c", "1"], ["EXEC"]])[-1] == ["OK"] * 3
    assert len(set(tokens)) == 1
    three.wait_until_equal()


def test_keys_that_end_by_the_wall_clock(preloaded, tmp_path):
    """EXPIREAT means the wall clock, which moves the shard's reading forth and never back (docs/differences.md)."""
    server = servers.Server("cohort", tmp_path / "node", [])
    clock = WallClock(server.folder)
    server.start()
    try:
        with server.connect() as client:
            now = now_s(client)
            assert client.call("SET", "soon", "v", "EXAT", now + 3600) == "OK"
            assert client.call("SET", "later", "v", "EXAT", now + 7200) == "OK"
            assert client.call("SET", "relative", "v", "EX", 5000) == "OK"
            clock.shift(-DAY)
            assert now_s(client) < now - 80000
            assert client.call("EXISTS", "soon", "later", "relative") == 3  # none lives longer than it says, either:
            clock.shift(3700 * SECOND)
            assert client.call("EXISTS", "soon") == 0
            assert 3000 < client.call("TTL", "later") <= 3500
            assert 4000 < client.call("TTL", "relative") <= 5000
            clock.shift(-YEAR)
            assert client.call("EXISTS", "soon") == 0
            assert 3000 < client.call("TTL", "later") <= 3500  # its reading stands still until the clock is there
            assert 4000 < client.call("TTL", "relative") <= 5000
            assert client.call("SET", "next", "v", "EX", 1000) == "OK"
            assert int(figures(client, "server")["uptime_in_seconds"]) < 1000
    finally:
        assert server.stop() == 0


def test_holders(preloaded, tmp_path, shared_servers):
    """Who holds has its clock set: it renews, its command goes on, and nothing is told as lost."""
    server = shared_servers("cohort")
    url = f"cohort://{server.host}:{server.port}"
    clock = WallClock(tmp_path)
    name = fresh("held")
    keeper = subprocess.Popen(
        [servers.BUILD / "tests" / "system" / "lock_keeper", url, name, "3000"],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    job = subprocess.Popen(
        [servers.COHORT, "lock", "run", "--url", url, "--ttl", "3s", f"{name}:job", "--", "cat"],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        token = int(keeper.stdout.readline().split()[1])
        with server.connect() as client:
            until(lambda: info(client, f"{name}:job")[b"holders"])
            for shift in (50 * YEAR, -100 * YEAR, -DAY, 0):
                clock.shift(shift)
                time.sleep(1.2)  # it was renewed meanwhile
                for lock in (name, f"{name}:job"):
                    (holder,) = info(client, lock)[b"holders"]
                    assert lock != name or holder[b"token"] == token
        assert job.communicate("went on\n", timeout=60)[0] == "went on\n" and job.returncode == 0
        assert keeper.communicate("\n", timeout=60)[0] == "stopped\n"  # not lost
    finally:
        keeper.kill()
        keeper.wait()
        job.kill()
        job.wait()
