"""zookeeper:// alone (src/engine/zookeeper.c): kazoo beside us, servers that are killed and stopped, connections that are cut,
answers that are lost, sessions that end, nodes of others."""

import contextlib
import re
import signal
import subprocess
import sys
import threading
import time

import engines
import pytest
import relay
import resp
import zookeepers
from kazoo.client import KazooClient
from kazoo.exceptions import LockTimeout
from kazoo.security import make_digest_acl

TTL_MS = 60_000
PATIENCE_SECONDS = 60
WAIT = ("WAIT", PATIENCE_SECONDS * 1000)
SESSION_MS = 4000
OPTIONS = f"?session={SESSION_MS}ms"


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    with zookeepers.Servers(tmp_path_factory.mktemp("one")) as started:
        yield started


@pytest.fixture(scope="module")
def kazoo(one):
    client = KazooClient(one.hosts(), timeout=30)
    client.start(PATIENCE_SECONDS)
    yield client
    client.stop()
    client.close()


@pytest.fixture
def engine(one):
    with engines.Engine(one.url(options=OPTIONS)) as opened:
        yield opened


@pytest.fixture
def name(request):
    return request.node.name


def until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def acquire(engine, name, owner, *how, ttl_ms=TTL_MS):
    granted = engine.call("LOCK.ACQUIRE", name, owner, "PX", ttl_ms, *how, timeout_ms=PATIENCE_SECONDS * 1000)
    assert isinstance(granted, list), granted
    return granted[0]


class Waiting:
    """A wait in a thread; `token` when it is over."""

    def __init__(self, engine, name, owner, *how):
        self.result = None
        self.thread = threading.Thread(target=self.run, args=(engine, name, owner, how))
        self.thread.start()

    def run(self, *words):
        engine, name, owner, how = words
        self.result = engine.call("LOCK.ACQUIRE", name, owner, "PX", TTL_MS, *WAIT, *how, timeout_ms=PATIENCE_SECONDS * 1000)

    def token(self):
        self.thread.join(PATIENCE_SECONDS)
        assert isinstance(self.result, list), self.result
        return self.result[0]


def owners(engine, name, which):
    return [resp.pairs(each)[b"owner"] for each in resp.pairs(engine.call("LOCK.INFO", name))[which]]


def children(kazoo, name):
    return sorted(kazoo.get_children(f"/locks/{name}"), key=lambda child: child[-10:])


# ---- kazoo, a foreign user of the recipe ----


def test_kazoo_and_we_exclude_each_other(kazoo, engine, name):
    theirs = kazoo.Lock(f"/locks/{name}", "somebody")
    assert theirs.acquire()
    assert engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS) is None
    assert owners(engine, name, b"holders") == [b"somebody"]
    waiting = Waiting(engine, name, "a")
    until(lambda: owners(engine, name, b"waiters") == [b"a"])
    theirs.release()
    token = waiting.token()
    assert not kazoo.Lock(f"/locks/{name}").acquire(blocking=False)
    with pytest.raises(LockTimeout):
        kazoo.Lock(f"/locks/{name}").acquire(timeout=0.3)
    assert any("owner=a " in each for each in kazoo.Lock(f"/locks/{name}").contenders())
    patient = threading.Thread(target=theirs.acquire)
    patient.start()
    until(lambda: len(children(kazoo, name)) == 2)
    assert engine.call("LOCK.RELEASE", name, "a", token) == 1
    patient.join(PATIENCE_SECONDS)
    assert theirs.is_acquired
    theirs.release()


def test_kazoo_and_we_share(kazoo, engine, name):
    reads, writes = kazoo.ReadLock(f"/locks/{name}"), kazoo.WriteLock(f"/locks/{name}")
    assert reads.acquire()
    token = acquire(engine, name, "a", "MODE", "SHARED")
    assert engine.call("LOCK.ACQUIRE", name, "x", "PX", TTL_MS) is None
    assert not writes.acquire(blocking=False)
    reads.release()
    assert not writes.acquire(blocking=False)
    assert engine.call("LOCK.RELEASE", name, "a", token) == 1
    assert writes.acquire(timeout=PATIENCE_SECONDS)
    assert engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS, "MODE", "SHARED") is None
    writes.release()
    token = acquire(engine, name, "x")
    assert not kazoo.ReadLock(f"/locks/{name}").acquire(blocking=False)
    assert engine.call("LOCK.RELEASE", name, "x", token) == 1


def test_tokens_are_czxids(kazoo, engine, name):
    """And grow when a person has removed the lock's node."""
    token = acquire(engine, name, "a")
    (child,) = children(kazoo, name)
    assert re.fullmatch(r"[0-9a-f]{32}__lock__\d{10}", child)
    assert kazoo.get(f"/locks/{name}/{child}")[1].czxid == token
    engine.call("LOCK.RELEASE", name, "a", token)
    kazoo.delete(f"/locks/{name}", recursive=True)
    later = acquire(engine, name, "a")
    assert later > token
    engine.call("LOCK.RELEASE", name, "a", later)


def test_the_time_to_live_ends_though_the_session_lives(kazoo, engine, name):
    """The host's thread removes the node: kazoo knows nothing of times to live."""
    before = time.monotonic()
    token = acquire(engine, name, "a", ttl_ms=700)
    theirs = kazoo.Lock(f"/locks/{name}")
    assert theirs.acquire(timeout=PATIENCE_SECONDS)
    assert 0.7 <= time.monotonic() - before < SESSION_MS / 1000 + 0.7
    assert engine.call("LOCK.RENEW", name, "a", token, "PX", TTL_MS).startswith("LOCKLOST")
    theirs.release()
    assert resp.pairs(engine.call("LOCK.HISTORY", name)[0])[b"why"] == b"expired"


HOLDING = """
import sys
sys.path.insert(0, sys.argv[1])
import engines
engine = engines.Engine(sys.argv[2])
print(engine.call("LOCK.ACQUIRE", sys.argv[3], "killed", "PX", 60000), flush=True)
sys.stdin.read()
"""


def test_a_kill_frees_the_lock_after_the_sessions_time(one, kazoo, name):
    words = [sys.executable, "-c", HOLDING, zookeepers.__file__.rsplit("/", 1)[0], one.url(options="?session=1s"), name]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline().startswith("[")
    holder.kill()
    holder.communicate()
    before = time.monotonic()
    theirs = kazoo.Lock(f"/locks/{name}")
    assert theirs.acquire(timeout=PATIENCE_SECONDS)
    assert time.monotonic() - before < 30
    theirs.release()


def test_what_is_told_ends_with_the_session(one, name):
    """A lock of a minute is told for less than the session's time; that more than half of it is told stays so."""
    with engines.Engine(one.url(options=OPTIONS)) as engine:
        token, told_ms = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        assert 0 < told_ms <= SESSION_MS
        for _ in range(5):
            time.sleep(0.7)
            told_ms = engine.call("LOCK.RENEW", name, "a", token, "PX", TTL_MS)
        assert SESSION_MS // 4 < told_ms <= SESSION_MS * 11 // 16
        assert engine.call("LOCK.RELEASE", name, "a", token) == 1


# ---- the network ----


class Deaf(relay.Relay):
    """`deaf`: what the server says is lost."""

    deaf = False

    def __init__(self, port):
        super().__init__(port)
        self.watch = lambda data, asks: b"" if self.deaf and not asks else data


@pytest.fixture
def network(one):
    between = Deaf(one.all[0].port)
    yield between
    between.close()


@pytest.fixture
def far(network):
    with engines.Engine(f"zookeeper://127.0.0.1:{network.port}{OPTIONS}") as opened:
        yield opened


def lose_the_answer(network, seconds=0.3):
    """To what is sent soon."""
    network.deaf = True

    def end():
        time.sleep(seconds)
        network.reset()
        network.deaf = False

    thread = threading.Thread(target=end)
    thread.start()
    return thread


def test_a_lost_answer_of_an_acquire(kazoo, engine, far, network, name):
    """Committed, and nobody was told: the child is found again."""
    assert engine.call("LOCK.RELEASE", name, "x", acquire(engine, name, "x")) == 1
    far.call("LOCK.INFO", name)
    thread = lose_the_answer(network)
    token = acquire(far, name, "b", *WAIT)
    thread.join()
    assert children_token(kazoo, name) == token
    assert far.call("LOCK.RENEW", name, "b", token, "PX", TTL_MS) > 0
    assert far.call("LOCK.RELEASE", name, "b", token) == 1
    assert children(kazoo, name) == []


def children_token(kazoo, name):
    (child,) = children(kazoo, name)
    return kazoo.get(f"/locks/{name}/{child}")[1].czxid


def test_lost_answers_of_the_others(kazoo, far, network, name):
    token = acquire(far, name, "a")
    thread = lose_the_answer(network)
    assert far.call("LOCK.RENEW", name, "a", token, "PX", TTL_MS) > 0
    thread.join()
    thread = lose_the_answer(network)
    assert far.call("FENCE.CHECK", name, token) == 1
    thread.join()
    thread = lose_the_answer(network)
    assert far.call("LOCK.RELEASE", name, "a", token) == 1
    thread.join()
    assert children(kazoo, name) == []


def test_who_is_not_asked_for_again_is_out_of_the_way(kazoo, engine, far, network, name):
    """An acquire whose answer never came, and whose caller has given up: at most for the time to live."""
    engine.call("LOCK.RELEASE", name, "x", acquire(engine, name, "x"))
    far.call("LOCK.INFO", name)
    network.deaf = True
    status, _ = far.ask("LOCK.ACQUIRE", name, "a", "PX", 2000, "WAIT", 1, timeout_ms=300)
    assert status != engines.OK
    assert len(children(kazoo, name)) == 1
    network.reset()
    network.deaf = False
    token = acquire(engine, name, "b", *WAIT)
    assert engine.call("LOCK.RELEASE", name, "b", token) == 1


def test_cut_at_any_moment(kazoo, far, network, name):
    """What is done again and again while the connection breaks: no lock is lost, none is left."""
    ended = threading.Event()

    def cut():
        pause = 0.05
        while not ended.wait(pause):
            network.reset()
            pause *= 1.02  # on a machine that needs longer for one, too, something is done in the end

    thread = threading.Thread(target=cut)
    last = done = 0
    thread.start()
    begun = time.monotonic()
    while time.monotonic() - begun < (PATIENCE_SECONDS if done == 0 else 4):
        granted = far.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS, *WAIT, timeout_ms=PATIENCE_SECONDS * 1000)
        if not isinstance(granted, list):
            assert granted.split()[0] in ("UNCERTAIN", "CLUSTERDOWN", "BUSY"), granted
            continue
        assert granted[0] > last, (granted, last)
        last, done = granted[0], done + 1
        released = far.call("LOCK.RELEASE", name, "a", last, timeout_ms=PATIENCE_SECONDS * 1000)
        while released not in (0, 1):
            released = far.call("LOCK.RELEASE", name, "a", last, timeout_ms=PATIENCE_SECONDS * 1000)
    ended.set()
    thread.join()
    assert done > 0
    until(lambda: children(kazoo, name) == [])


def test_a_session_that_has_ended(kazoo, engine, network, name):
    """The holder is cut off: it is told so when it comes back; others have the lock by then."""
    with engines.Engine(f"zookeeper://127.0.0.1:{network.port}?session=1s&timeout=1s") as far:
        token, told_ms = far.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        before = time.monotonic()
        assert told_ms <= 1000
        network.held = True
        later = acquire(engine, name, "b", *WAIT)
        assert time.monotonic() - before > told_ms / 1000 - 0.2 and later > token
        status, _ = far.ask("LOCK.RENEW", name, "a", token, "PX", TTL_MS)
        assert status != engines.OK
        network.held = False
        until(lambda: str(far.call("LOCK.RENEW", name, "a", token, "PX", TTL_MS)).startswith("LOCKLOST"))
        assert engine.call("LOCK.RELEASE", name, "b", later) == 1
        assert acquire(far, name, "a") > later


# ---- servers ----


def test_a_server_that_is_killed_and_started_anew(tmp_path, name):
    with zookeepers.Servers(tmp_path) as servers, engines.Engine(servers.url(options="?session=10s&timeout=1s")) as engine:
        with engines.Engine(servers.url(options="?session=10s&timeout=1s")) as other:
            token = acquire(engine, name, "a")
            waiting = Waiting(other, name, "b")
            until(lambda: owners(engine, name, b"waiters") == [b"b"])
            servers.all[0].kill()
            before = time.monotonic()
            status, words = engine.ask("LOCK.RENEW", name, "a", token, "PX", TTL_MS)
            assert status != engines.OK and "zookeeper" in words or "time limit" in words
            assert time.monotonic() - before < 10
            servers.all[0].start()
            servers.all[0].wait()
            until(lambda: isinstance(engine.call("LOCK.RENEW", name, "a", token, "PX", TTL_MS), int))
            assert waiting.result is None
            assert engine.call("LOCK.RELEASE", name, "a", token) == 1
            assert waiting.token() > token


def test_a_server_that_is_stopped(tmp_path, name):
    with zookeepers.Servers(tmp_path) as servers, engines.Engine(servers.url(options="?session=2s&timeout=500ms")) as engine:
        granted = []
        until(lambda: isinstance(granted.append(engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)) or granted[-1], list))
        token = granted[-1][0]
        servers.all[0].send(signal.SIGSTOP)
        for words in [("LOCK.RENEW", name, "a", token, "PX", TTL_MS), ("LOCK.ACQUIRE", name, "b", "PX", TTL_MS),
                      ("LOCK.INFO", name), ("LOCK.LIST",), ("FENCE.CHECK", name, token)]:  # fmt: skip
            before = time.monotonic()
            status, _ = engine.ask(*words)
            assert status != engines.OK and time.monotonic() - before < PATIENCE_SECONDS
        servers.all[0].send(signal.SIGCONT)
        until(lambda: isinstance(engine.call("LOCK.LIST"), list))
        assert acquire(engine, name, "c", *WAIT) > token if not owners(engine, name, b"holders") else True


def test_three_servers_and_a_leader_that_is_killed(tmp_path, name):
    with zookeepers.Servers(tmp_path, 3) as servers, contextlib.ExitStack() as stack:
        mine, other = (stack.enter_context(engines.Engine(servers.url(options="?session=10s"))) for _ in range(2))
        token = acquire(mine, name, "a")
        waiting = Waiting(other, name, "b")
        until(lambda: owners(mine, name, b"waiters") == [b"b"])
        servers.leader().kill()
        until(lambda: isinstance(mine.call("LOCK.RENEW", name, "a", token, "PX", TTL_MS), int))
        assert waiting.result is None
        assert mine.call("LOCK.RELEASE", name, "a", token, timeout_ms=PATIENCE_SECONDS * 1000) == 1
        assert waiting.token() > token
        for server in servers.all:
            if server.process is not None and server is not servers.leader():
                server.kill()  # no majority is left
                break
        status, words = mine.ask("LOCK.ACQUIRE", "another", "c", "PX", TTL_MS, timeout_ms=3000)
        assert status != engines.OK, words


# ---- nodes of others, and people ----


def test_nodes_that_a_person_removes(kazoo, engine, one, name):
    token = acquire(engine, name, "a")
    with engines.Engine(one.url(options=OPTIONS)) as other:
        waiting = Waiting(other, name, "b")
        until(lambda: owners(engine, name, b"waiters") == [b"b"])
        holder, waiter = children(kazoo, name)
        kazoo.delete(f"/locks/{name}/{waiter}")
        kazoo.delete(f"/locks/{name}/{holder}")
        assert engine.call("LOCK.RENEW", name, "a", token, "PX", TTL_MS).startswith("LOCKLOST")
        later = waiting.token()
        assert later > token
        assert other.call("LOCK.RELEASE", name, "b", later) == 1


def test_what_is_not_ours(kazoo, engine, name):
    kazoo.create(f"/locks/{name}", b"somebody's", makepath=True)
    kazoo.create(f"/locks/{name}/lease", b"x")
    kazoo.create(f"/locks/{name}/__lock__no", b"x")
    token = acquire(engine, name, "a")
    assert engine.call("FENCE.CHECK", name, token).startswith("ERR somebody")
    assert engine.call("LOCK.RELEASE", name, "a", token) == 1
    assert kazoo.get(f"/locks/{name}")[0] == b"somebody's"
    assert engine.call("LOCK.HISTORY", name) == []


def test_names_as_kazoo_has_them(kazoo, engine):
    for key, node in [("plain name", "plain name"), ("a/b", "a%2fb"), ("ü", "%c3%bc"), (".", "%2e"), ("", "%")]:
        token = acquire(engine, key, "a")
        assert not kazoo.Lock(f"/locks/{node}").acquire(blocking=False), key
        assert engine.call("LOCK.RELEASE", key, "a", token) == 1


def test_too_many_wait(kazoo, engine, name):
    kazoo.ensure_path(f"/locks/{name}")
    made = [kazoo.create_async(f"/locks/{name}/{i:032x}__lock__", ephemeral=True, sequence=True) for i in range(4100)]
    for each in made:
        each.get(timeout=PATIENCE_SECONDS)
    reply = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS, "WAIT", 1000, timeout_ms=900)
    assert reply.startswith("BUSY") or "too many" in reply or "time limit" in reply
    until(lambda: len(kazoo.get_children(f"/locks/{name}")) == 4100)
    for child in kazoo.get_children(f"/locks/{name}"):
        kazoo.delete_async(f"/locks/{name}/{child}")
    until(lambda: kazoo.get_children(f"/locks/{name}") == [])


def test_folders_are_made(kazoo, one):
    for folder in ["/x/y/z", "/"]:
        with engines.Engine(one.url(folder, OPTIONS)) as engine:
            assert engine.call("LOCK.LIST") == [b"0", []] or folder == "/"
            token = acquire(engine, "made", "a")
            assert kazoo.exists(f"{folder.rstrip('/')}/made")
            assert b"made" in engine.call("LOCK.LIST")[1]
            assert engine.call("LOCK.RELEASE", "made", "a", token) == 1


def test_permissions(kazoo, one, name):
    acl = make_digest_acl("who", "secret", all=True)
    kazoo.create("/private", b"", acl=[acl])
    with engines.Engine(one.url("/private", OPTIONS)) as engine:
        reply = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        assert reply.startswith("NOPERM") and "USER:PASSWORD" in reply
    with engines.Engine(f"zookeeper://who:secret@{one.hosts()}/private{OPTIONS}") as engine:
        token = acquire(engine, name, "a")
        assert engine.call("LOCK.RELEASE", name, "a", token) == 1
    with engines.Engine(f"zookeeper://who:wrong@{one.hosts()}/private{OPTIONS}") as engine:
        reply = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        assert reply.startswith("NOPERM") and "wrong" not in reply


@pytest.mark.parametrize("rest", [",", "h,", ":2181", "h/a//b", "h/../x", "h/a/.", "h?session=soon", "h?session=1ms", "h?session=2h",
                                  "me@h", "h?auth=x", "h" * 3000])  # fmt: skip
def test_bad_urls(rest):
    with pytest.raises(engines.Refused) as refused:
        engines.Engine(f"zookeeper://{rest}")
    assert refused.value.status == engines.INVALID and len(refused.value.words) > 20


QUIET = """
import sys
sys.path.insert(0, sys.argv[1])
import engines
with engines.Engine(sys.argv[2]) as engine:
    assert engine.ask("LOCK.ACQUIRE", "a", "me", "PX", 1000)[0] != engines.OK
"""


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no.such.host.invalid"])
def test_nothing_is_printed(host):
    """The client library does, by itself, of every connection that fails."""
    before = time.monotonic()
    words = [sys.executable, "-c", QUIET, zookeepers.__file__.rsplit("/", 1)[0], f"zookeeper://u:hidden@{host}?timeout=1s"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - before < 30
