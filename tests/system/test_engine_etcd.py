"""What is etcd://'s own (src/engine/etcd.c): etcd's own tools, members that are killed and stopped, answers that are lost, users,
TLS, URLs. What all engines promise is in test_engines.py."""

import base64
import contextlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time

import engines
import etcds
import pytest
import relay
import resp

TTL_MS = 60_000
WAIT_MS = 60_000
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def etcd(tmp_path_factory):
    with etcds.Etcd(tmp_path_factory.mktemp("etcd")) as made:
        yield made


@pytest.fixture
def engine(etcd):
    with engines.Engine(etcd.url) as opened:
        yield opened


@pytest.fixture
def name(request):
    return request.node.name.replace("[", "-").replace("]", "").replace("/", "-")


def until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def info(engine, name):
    found = resp.pairs(engine.call("LOCK.INFO", name))
    return [[resp.pairs(each)[b"owner"] for each in found[key]] for key in (b"holders", b"waiters")]


def served(engine, *words):
    """The reply, once it is no error: a member that was lost is not back at once."""
    return until(lambda: [told for told in [engine.call(*words, timeout_ms=WAIT_MS)] if not isinstance(told, resp.Error)])[0]


@contextlib.contextmanager
def waiting(url, name, owner, ttl_ms=TTL_MS):
    """Somebody who waits; what it was told is in the list when the block is left."""
    told = []
    with engines.Engine(url) as other:
        words = ("LOCK.ACQUIRE", name, owner, "PX", ttl_ms, "WAIT", WAIT_MS)
        thread = threading.Thread(target=lambda: told.append(other.call(*words, timeout_ms=WAIT_MS)))
        thread.start()
        yield told
        thread.join(PATIENCE_SECONDS)
        assert told, f"{owner} was told nothing"


# ---- etcdctl ----


@contextlib.contextmanager
def etcdctl(etcd, *words):
    """One that holds until it is interrupted; its first line is the key."""
    process = etcd.ctl(*words, start=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate()


def test_etcdctl_holds_and_ours_wait(etcd, engine, name):
    with etcdctl(etcd, "lock", f"cohort/{name}") as other:
        key = other.stdout.readline().strip()
        assert engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS) is None
        owner = b"etcd:" + key.rsplit("/", 1)[1].encode()
        assert info(engine, name) == [[owner], []]
        with waiting(etcd.url, name, "a") as told:
            until(lambda: info(engine, name)[1] == [b"a"])
            other.send_signal(signal.SIGINT)
        assert engine.call("LOCK.RELEASE", name, "a", told[0][0]) == 1


def test_ours_hold_and_etcdctl_waits(etcd, engine, name):
    token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
    with etcdctl(etcd, "lock", f"cohort/{name}", "echo", "has it") as other:
        until(lambda: len(info(engine, name)[1]) == 1)
        with waiting(etcd.url, name, "b") as told:
            until(lambda: info(engine, name)[1][-1:] == [b"b"])
            assert engine.call("LOCK.ACQUIRE", name, "c", "PX", TTL_MS) is None
            assert other.poll() is None
            assert engine.call("LOCK.RELEASE", name, "a", token) == 1
            assert "has it" in other.communicate(timeout=PATIENCE_SECONDS)[0]
        assert engine.call("LOCK.RELEASE", name, "b", told[0][0]) == 1


def test_elections_are_etcds(etcd, engine, name):
    with etcdctl(etcd, "elect", f"cohort/@{name}", "10.0.0.9") as other:
        other.stdout.readline()
        leader = until(lambda: engine.call("ELECT.LEADER", name))
        assert resp.pairs(leader)[b"value"] == b"10.0.0.9"
        assert engine.call("ELECT.CAMPAIGN", name, "a", "PX", TTL_MS) is None
    token, _ = engine.call("ELECT.CAMPAIGN", name, "a", "PX", TTL_MS, "WAIT", WAIT_MS)
    assert engine.call("ELECT.RESIGN", name, "a", token) == 1


def test_what_people_see(etcd, name):
    with engines.Engine(etcd.url + "/my/app") as engine:
        token, _ = engine.call("LOCK.ACQUIRE", f"{name}/x y", "me", "PX", TTL_MS, "NOTE", "for people")
        seen = etcd.ctl("get", "--prefix", f"my/app/{name}%2fx%20y/").split("\n")
        assert seen[1].startswith("cohort owner=me note=for%20people since_ms=") and seen[1].endswith(f" ttl_ms={TTL_MS}")
        assert engine.call("LOCK.RELEASE", f"{name}/x y", "me", token) == 1


# ---- leases ----


def test_a_key_that_an_operator_deletes(etcd, engine, name):
    token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
    etcd.ctl("del", "--prefix", f"cohort/{name}/")
    assert engine.call("LOCK.RENEW", name, "a", token, "PX", TTL_MS).startswith("LOCKLOST")
    token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
    etcd.ctl("del", "--prefix", f"cohort/{name}/")
    again, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
    assert again > token and engine.call("LOCK.RELEASE", name, "a", again) == 1


def test_a_lease_that_an_operator_revokes(etcd, engine, name):
    token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
    lease = etcd.ctl("get", "--prefix", "--keys-only", f"cohort/{name}/").strip().rsplit("/", 1)[1]
    with waiting(etcd.url, name, "b") as told:
        until(lambda: info(engine, name)[1] == [b"b"])
        etcd.ctl("lease", "revoke", lease)
    assert told[0][0] > token
    assert engine.call("LOCK.RENEW", name, "a", token, "PX", TTL_MS).startswith("LOCKLOST")
    assert engine.call("LOCK.RELEASE", name, "b", told[0][0]) == 1


def test_a_place_that_an_operator_deletes_is_taken_again(etcd, engine, name):
    token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
    with waiting(etcd.url, name, "b") as told:
        until(lambda: info(engine, name)[1] == [b"b"])
        etcd.ctl("del", etcd.ctl("get", "--prefix", "--keys-only", "--sort-by=CREATE", f"cohort/{name}/").split()[1])
        until(lambda: info(engine, name)[1] == [b"b"])
        assert engine.call("LOCK.RELEASE", name, "a", token) == 1
    assert engine.call("LOCK.RELEASE", name, "b", told[0][0]) == 1


def test_the_same_owner_elsewhere_goes_on(etcd, engine, name):
    """Whoever extended it last is who ends it."""
    token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", 300)
    with engines.Engine(etcd.url) as other:
        assert other.call("LOCK.RENEW", name, "a", token, "PX", TTL_MS) > 300
        time.sleep(0.6)
        assert info(engine, name)[0] == [b"a"]
        again, left_ms = other.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        assert again == token and left_ms > 1000
        assert engine.call("LOCK.RELEASE", name, "a", token) == 1


def test_how_they_ended(engine, name):
    first, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", 200)
    second, _ = engine.call("LOCK.ACQUIRE", name, "b", "PX", TTL_MS, "WAIT", WAIT_MS, timeout_ms=WAIT_MS)
    engine.call("LOCK.RELEASE", name, "b", second)
    ends = [resp.pairs(each) for each in engine.call("LOCK.HISTORY", name)]
    assert [(each[b"owner"], each[b"token"]) for each in ends][0] == (b"b", second)
    assert ends[0][b"why"] == b"released"
    assert all(each[b"why"] == b"expired" and each[b"token"] == first for each in ends[1:])


def test_too_many_wait(etcd, name):
    with engines.Engine(etcd.url) as engine:
        token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        for i in range(256):
            etcd.members[0].ask("/v3/kv/put", {"key": encoded(f"cohort/{name}/x{i}")})
        words = engine.call("LOCK.ACQUIRE", name, "b", "PX", TTL_MS, "WAIT", 400)
        assert words.startswith("BUSY too many wait")
        assert engine.call("LOCK.RELEASE", name, "a", token) == 1


def encoded(text):
    return base64.b64encode(text.encode()).decode()


# ---- one member ----


def test_killed_and_started_while_held_and_waited_for(tmp_path, name):
    with etcds.Etcd(tmp_path / "one") as etcd, engines.Engine(etcd.url) as engine:
        token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        assert engine.call("FENCE.CHECK", name, token) == 1
        with waiting(etcd.url, name, "b") as told:
            until(lambda: info(engine, name)[1] == [b"b"])
            etcd.members[0].kill()
            status, words = engine.ask("LOCK.RELEASE", name, "a", token + 1, timeout_ms=300)
            assert status != engines.OK and "etcd" in str(words), words
            etcd.restart(etcd.members[0])
            assert served(engine, "LOCK.RENEW", name, "a", token, "PX", TTL_MS) > 0
            assert engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)[0] == token
            assert engine.call("LOCK.RELEASE", name, "a", token) == 1
        assert told[0][0] > token
        assert engine.call("FENCE.CHECK", name, token - 1) == 0
        assert engine.call("LOCK.RELEASE", name, "b", told[0][0]) == 1


def test_a_member_that_is_stopped(tmp_path, name):
    with etcds.Etcd(tmp_path / "one") as etcd, engines.Engine(etcd.url + "?timeout=400ms") as engine:
        token, _ = served(engine, "LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        etcd.members[0].stop()
        for words in [("LOCK.ACQUIRE", name, "b", "PX", TTL_MS), ("LOCK.RENEW", name, "a", token, "PX", TTL_MS),
                      ("LOCK.RELEASE", name, "a", token), ("LOCK.INFO", name), ("FENCE.CHECK", name, token)]:  # fmt: skip
            status, told = engine.ask(*words)
            assert status != engines.OK, (words, told)
        etcd.members[0].go_on()
        until(lambda: engine.call("LOCK.RELEASE", name, "a", token) in (0, 1))
        later, _ = until(lambda: granted(engine.call("LOCK.ACQUIRE", name, "b", "PX", TTL_MS)))
        assert later >= token and served(engine, "LOCK.RELEASE", name, "b", later) in (0, 1)  # 0: asked twice


# ---- three members ----


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    with etcds.Etcd(tmp_path_factory.mktemp("three"), count=3) as made:
        yield made


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_leader_that_is_lost(three, name, how):
    with engines.Engine(three.url) as engine:
        token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        with waiting(three.url, name, "b") as told:
            until(lambda: info(engine, name)[1] == [b"b"])
            leader, _ = three.leader()
            getattr(leader, how)()
            assert served(engine, "LOCK.RENEW", name, "a", token, "PX", TTL_MS) > 0
            assert served(engine, "LOCK.RELEASE", name, "a", token) in (0, 1)  # 0: asked twice
        assert told[0][0] > token
        assert served(engine, "LOCK.RELEASE", name, "b", told[0][0]) in (0, 1)
        if how == "kill":
            three.restart(leader)
        else:
            leader.go_on()
            three.wait()


def test_without_a_majority(three, name):
    leader, others = three.leader()
    with engines.Engine(three.url + "?timeout=600ms") as engine:
        token, _ = served(engine, "LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        for one in others:
            one.stop()
        for words in [("LOCK.ACQUIRE", name, "b", "PX", TTL_MS), ("LOCK.RENEW", name, "a", token, "PX", TTL_MS)]:
            status, told = engine.ask(*words)
            assert status != engines.OK, told
        for one in others:
            one.go_on()
        three.wait()
        assert served(engine, "LOCK.RENEW", name, "a", token, "PX", TTL_MS) > 0
        assert served(engine, "LOCK.RELEASE", name, "a", token) in (0, 1)


# ---- answers that are lost ----


class Losing(relay.Relay):
    """The next answer to a request of `path` is lost, and its connection with it."""

    path = None

    def __init__(self, port):
        self.doomed, self.lost = set(), 0
        super().__init__(port)

    def pump(self, source, target, asks):
        with contextlib.suppress(OSError):
            while data := source.recv(relay.PIECE_BYTES):
                if self.path and f"POST {self.path} ".encode() in data:
                    self.path = None
                    self.doomed.add(target)
                if source in self.doomed:
                    self.lost += 1
                    break
                target.sendall(data)
        self.end({source, target})


@pytest.mark.parametrize("path", ["/v3/lease/grant", "/v3/kv/txn", "/v3/kv/range", "/v3/lease/keepalive"])
def test_an_answer_that_is_lost(etcd, name, path):
    """Asked again, by libcohort itself, each request does no more than it did."""
    between = Losing(etcd.members[0].port)
    try:
        with engines.Engine(f"etcd://127.0.0.1:{between.port}") as engine:
            first, _ = engine.call("LOCK.ACQUIRE", name, "z", "PX", TTL_MS)
            engine.call("LOCK.RELEASE", name, "z", first)
            between.path = path
            token, _ = again(engine, "LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
            assert token > first and engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)[0] == token
            assert len(etcd.ctl("get", "--prefix", "--keys-only", f"cohort/{name}/").split()) == 1
            between.path = path
            assert again(engine, "LOCK.RENEW", name, "a", token, "PX", TTL_MS) > 0
            assert again(engine, "LOCK.RENEW", name, "a", token, "PX", 2 * TTL_MS) > TTL_MS
            between.path = path
            assert again(engine, "FENCE.CHECK", name, token) == 1
            assert engine.call("FENCE.CHECK", name, token - 1) == 0
            with waiting(f"etcd://127.0.0.1:{between.port}", name, "b") as told:
                until(lambda: info(engine, name)[1] == [b"b"])
                between.path = path
                assert again(engine, "LOCK.RELEASE", name, "a", token) in (0, 1)
            assert told[0][0] > token
            assert engine.call("LOCK.RELEASE", name, "b", told[0][0]) == 1
            assert between.lost >= 1
    finally:
        between.close()


def again(engine, *words):
    """As long as nobody knows."""
    return until(lambda: [told for status, told in [engine.ask(*words)] if status != engines.UNCERTAIN] or None)[0]


def test_connections_that_break_all_the_time(etcd, name):
    """Three want one lock through a network that breaks: each adds one to what nobody guards but the lock."""
    between, number, stopping, seen = relay.Relay(etcd.members[0].port), [0], threading.Event(), []
    between.delay_s = 0.001

    def add(owner):
        with engines.Engine(f"etcd://127.0.0.1:{between.port}") as mine:
            for _ in range(15):
                token, _ = until(lambda: granted(mine.call("LOCK.ACQUIRE", name, owner, "PX", TTL_MS, "WAIT", WAIT_MS)))
                before = number[0]
                time.sleep(0.001)
                number[0] = before + 1
                seen.append(token)
                until(lambda token=token: mine.call("LOCK.RELEASE", name, owner, token) in (0, 1))

    def break_them():
        while not stopping.wait(0.1):
            between.reset()

    threads = [threading.Thread(target=add, args=(f"o{i}",)) for i in range(3)]
    breaker = threading.Thread(target=break_them)
    for thread in [*threads, breaker]:
        thread.start()
    for thread in threads:
        thread.join()
    stopping.set()
    breaker.join()
    between.close()
    assert number == [45] and seen == sorted(set(seen))


def granted(told):
    return told if isinstance(told, list) else None


# ---- users, TLS, URLs ----


def test_users(tmp_path, name):
    with etcds.Etcd(tmp_path / "one") as etcd:
        for words in ["user add root:r", "user grant-role root root", "role add locks", "user add me:s3cret",
                      "role grant-permission locks --prefix=true readwrite cohort/", "user grant-role me locks",
                      "user add other:s3cret"]:  # fmt: skip
            etcd.ctl(*words.split())
        with engines.Engine(etcd.url.replace("://", "://me:s3cret@")) as engine:  # no users are wanted yet
            assert engine.call("LOCK.ACQUIRE", f"{name} before", "a", "PX", 500)
            etcd.ctl("auth", "enable")
            token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
            etcd.members[0].kill()
            etcd.restart(etcd.members[0])  # which forgets tokens
            assert served(engine, "LOCK.RENEW", name, "a", token, "PX", TTL_MS) > 0
            with waiting(etcd.url.replace("://", "://me:s3cret@"), name, "b") as told:
                until(lambda: info(engine, name)[1] == [b"b"])
                assert engine.call("LOCK.RELEASE", name, "a", token) == 1
            assert engine.call("LOCK.RELEASE", name, "b", told[0][0]) == 1
        for url, code in [(etcd.url, "NOAUTH"), (etcd.url.replace("://", "://me:wr0ng@"), "WRONGPASS"),
                          (etcd.url.replace("://", "://you:wr0ng@"), "WRONGPASS"),
                          (etcd.url + "?user=other&password=s3cret", "NOPERM")]:  # fmt: skip
            with engines.Engine(url) as engine:
                words = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
                assert words.startswith(code) and "wr0ng" not in words and "s3cret" not in words, words


def test_tls(tmp_path, name):
    with etcds.Etcd(tmp_path / "one", arguments=["--auto-tls"], scheme="https") as etcd:
        certificate = etcd.members[0].folder / "data" / "fixtures" / "client" / "cert.pem"
        until(certificate.exists)
        with engines.Engine(f"{etcd.url}?tls=yes&cacert={certificate}") as engine:
            token, _ = until(lambda: granted(engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)))
            assert engine.call("LOCK.RELEASE", name, "a", token) == 1
        for options in ["?tls=yes&timeout=300ms", "?timeout=300ms"]:
            with engines.Engine(etcd.url + options) as engine:
                assert isinstance(engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS), resp.Error)


@pytest.mark.parametrize("rest, words", [
    ("", "wants hosts"), ("a,,b", "wants hosts"), ("a b", "wants hosts"), (",".join("abcdefghij"), "at most nine"),
    ("a?tls=maybe", "yes or no"), ("a?nonsense=1", "unknown option"), ("a?cacert=/x", "tls=yes"), ("a?password=x", "needs a user"),
    ("u:p%2fq@a", "option"), ("a:b", "wants hosts"), ("[::1", "wants hosts"), (":1", "wants hosts"), ("a/" + "p" * 600, "prefix"), ("a?user=" + "u" * 600, "511 bytes"), ("u:" + "p" * 600 + "@a", "511 bytes")])  # fmt: skip
def test_urls_that_are_none(rest, words):
    with pytest.raises(engines.Refused) as refused:
        engines.Engine("etcd://" + rest)
    assert refused.value.status == engines.INVALID
    assert words in refused.value.words, refused.value.words


def test_what_is_no_etcd(name):
    class Other(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with engines.Engine(f"etcd://127.0.0.1:{server.server_port}") as engine:
        words = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        assert words.startswith("ERR") and "no etcd 3.4" in words
    server.shutdown()
    server.server_close()
    with engines.Engine(f"etcd://127.0.0.1:{server.server_port}?timeout=300ms") as engine:
        words = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        assert words.startswith("CLUSTERDOWN etcd:") and "running" in words


def test_one_of_the_hosts_is_not_there(etcd, name):
    with engines.Engine(f"etcd://127.0.0.1:1,{etcd.members[0].address},127.0.0.1:2") as engine:
        token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        assert engine.call("LOCK.RELEASE", name, "a", token) == 1


# ---- who does not wait for an answer ----

HOLDING = """
import sys
sys.path.insert(0, sys.argv[1])
import engines
engine = engines.Engine(sys.argv[2])
print(engine.call("LOCK.ACQUIRE", sys.argv[3], "a", "PX", 60000)[0], flush=True)
engine.close()
"""


def test_a_process_that_ends_holds_until_its_lease_does(etcd, engine, name):
    """As shells do it: one process acquires, others renew and release."""
    folder = os.path.dirname(__file__)
    token = int(subprocess.run([sys.executable, "-c", HOLDING, folder, etcd.url, name], capture_output=True, text=True).stdout)
    assert info(engine, name)[0] == [b"a"]
    assert engine.call("LOCK.RENEW", name, "a", token, "PX", 2 * TTL_MS) > TTL_MS
    assert engine.call("LOCK.RELEASE", name, "a", token) == 1
