"""embedded:// alone (src/embedded): a node within a program. Who has the folder, processes that are killed and forked, folders
that move to `cohort serve` and back, disks and memory that fail, and that the program stays the program's."""

import json
import os
import subprocess
import sys
import threading
import time

import engines
import pytest
import resp
import servers
from sqlites import deceiver  # noqa: F401 (a fixture)

HOST = servers.BUILD / "tests" / "system" / "embedded_host"
SANITIZED = "sanitize" in str(servers.BUILD) or "threads" in str(servers.BUILD)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "app"


@pytest.fixture
def url(folder):
    return f"embedded://{folder}"


def refused(url):
    with pytest.raises(engines.Refused) as found:
        engines.Engine(url).close()
    return found.value.words


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def run(*words, **options):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120,
                          preexec_fn=servers.end_with_parent, **options)  # fmt: skip


CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import engines, json
try:
    engine = engines.Engine(sys.argv[2])
except engines.Refused as refused:
    print(json.dumps(["refused", refused.status, refused.words]), flush=True)
    sys.exit(0)
print(json.dumps(["open"]), flush=True)
for line in sys.stdin:
    print(json.dumps(engine.ask(*json.loads(line)), default=lambda value: value.decode()), flush=True)
engine.close()
"""


class Child:
    """A process that has it open."""

    def __init__(self, url, **environment):
        self.process = subprocess.Popen([sys.executable, "-c", CHILD, os.path.dirname(__file__), url], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env={**os.environ, **environment}, preexec_fn=servers.end_with_parent)  # fmt: skip
        self.opened = json.loads(self.process.stdout.readline())

    def ask(self, *words):
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        """Cleanly; what it has printed besides."""
        return self.process.communicate(timeout=60)

    def kill(self):
        self.process.kill()
        self.process.communicate()


# ---- everything is there ----


@pytest.mark.parametrize("name, last", [("get_set", "hello\n"), ("lock", None), ("session", None), ("transaction", None),
                                        ("script", None), ("poll_loop", None)])  # fmt: skip
def test_the_examples_of_a_cohort(url, name, last):
    """Keys, locks, keepers, sessions, transactions, scripts, and cohort_process on the caller's loop."""
    done = run(servers.BUILD / "examples" / f"example_{name}", url + "?shards=4")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert last is None or done.stdout == last


def test_its_own_example(url):
    program = servers.BUILD / "examples" / "example_embedded"
    assert run(program, url).stdout == "run 1\nlocked\n"
    assert run(program, url).stdout == "run 2\nlocked\n"


@pytest.mark.parametrize("what", ["feed", "uv"])
def test_feeds_and_the_callers_loop(url, what):
    done = run(HOST, what, url, 200)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_it_can(url):
    with engines.Engine(url) as engine:
        assert [name for name in engines.CAN if not engine.can(name)] == ["SURVIVE", "PROCESSES"]
        assert engine.call("LOCK.MACQUIRE", 2, "a", "b", "me", "PX", 60_000)
        assert engine.call("EVAL", "return redis.call('incr', KEYS[1]) + 1", 1, "n") == 2
        session = engine.call("SESSION.OPEN", "PX", 60_000)
        assert engine.call("SET", "k", "v", "SESSION", session) == b"OK"
        assert engine.call("SESSION.CLOSE", session) == 1
        until(lambda: engine.call("GET", "k") is None)


def test_settings(url, tmp_path):
    log = tmp_path / "node.log"
    with engines.Engine(f"{url}?maxmemory=1mb&log={log}&shards=4") as engine:
        assert resp.pairs(engine.call("CONFIG", "GET", "maxmemory"))[b"maxmemory"] == b"1048576"
        replies = [engine.call("SET", f"k{i}", "x" * 50_000) for i in range(40)]
        assert replies[0] == b"OK" and replies[-1].startswith("OOM")
        assert engine.call("MSET", "a", 1, "b", 2, "c", 3) == b"OK" or engine.call("DEL", "k0") == 1
        assert "other options" in refused(f"{url}?maxmemory=2mb")
        with engines.Engine(url) as second, engines.Engine(f"{url}?maxmemory=1mb&log={log}&shards=4&timeout=1s") as third:
            assert second.call("GET", "k0") == third.call("GET", "k0")
    assert f"serves process {os.getpid()}" in log.read_text()
    with engines.Engine(url) as engine:  # the shards are the folder's
        assert engine.call("GET", "k1") == b"x" * 50_000
    assert "shards=4" in refused(f"{url}?shards=2")
    first = log.read_text()
    with engines.Engine(f"{url}?log={log}&log-format=json"):
        pass
    assert log.read_text().startswith(first) and json.loads(log.read_text().splitlines()[-1])["message"] == "stopped"


def test_several_workers(url):
    with engines.Engine(f"{url}?workers=2&shards=4") as engine:
        assert [engine.call("SET", f"k{i}", i) for i in range(20)] == [b"OK"] * 20
        assert engine.call("MSET", *[word for i in range(20) for word in (f"k{i}", i + 1)]) == b"OK"
    with engines.Engine(url) as engine:
        assert [engine.call("GET", f"k{i}") for i in range(20)] == [str(i + 1).encode() for i in range(20)]
    assert "workers" in refused(f"{url}?workers=3")


@pytest.mark.parametrize("options, words", [("metrics=127.0.0.1:1", "none of this name"), ("requirepass=x", "none of this name"),
    ("nonsense=1", "none of this name"), ("shards=0", "from 1 to"), ("shards=x", "from 1 to"), ("create=maybe", "yes or no"),
    ("maxmemory=lots", "memory value"), ("log=relative", "whole path"), ("log=/nowhere/x", "log cannot be opened"),
    ("local=1", "yes or no"), ("appendfsync=no", "none of this name")])  # fmt: skip
def test_options_that_are_refused(url, options, words):
    assert words in refused(f"{url}?{options}")
    with engines.Engine(url) as engine:
        assert engine.call("PING") == b"PONG"


def test_places_that_are_refused(tmp_path, folder, url):
    assert "create=no" in refused(f"embedded://{tmp_path}?create=no")
    assert not folder.exists() and "No such file" in refused(f"{url}?create=no") and not folder.exists()
    assert "No such file" in refused(f"embedded://{tmp_path}/no/app")
    assert "whole path" in refused("embedded://app")
    (tmp_path / "file").touch()
    assert "no folder" in refused(f"embedded://{tmp_path}/file")


# ---- one node, many handles; one process ----


def test_handles_share_a_node(tmp_path, folder, url):
    with engines.Engine(url) as one:
        (tmp_path / "link").symlink_to(folder)
        with engines.Engine(f"embedded://{tmp_path}/link") as other:
            assert one.call("INCR", "n") == 1 and other.call("INCR", "n") == 2
        assert one.call("INCR", "n") == 3
        with engines.Engine(f"embedded://{tmp_path}/b") as elsewhere:
            assert elsewhere.call("GET", "n") is None
    with engines.Engine(url) as again:
        assert again.call("INCR", "n") == 4


def test_opened_and_closed_many_times(url, tmp_path):
    """By one thread and by eight: no descriptor, thread or signal's action is left behind, no memory (under the sanitizer), and
    nothing is printed, also by a process without a standard input, whose log is descriptor 0 otherwise."""
    done = run("sh", "-c", 'exec "$@" <&-', "sh", HOST, "cycles", f"{url}?log={tmp_path}/log", 100)
    assert (tmp_path / "log").read_text().count("stopped") > 100
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_process_is_told_who_has_it(url, folder):
    with engines.Engine(url) as engine:
        before = time.monotonic()
        other = Child(url)
        kind, status, words = other.opened
        assert (kind, status) == ("refused", -8) and time.monotonic() - before < 30
        assert f"process {os.getpid()})" in words and "cohort serve --data" in words and str(folder) in words
        other.end()
        served = run(servers.COHORT, "serve", "--data", folder, "--listen", f"127.0.0.1:{servers.free_port()}")
        assert served.returncode == 69 and f"process {os.getpid()})" in served.stderr
        assert engine.call("PING") == b"PONG"


def test_commands_do_not_share_it(url, folder):
    done = run(servers.COHORT, "lock", "run", "--url", url, "nightly", "--", "true")
    assert done.returncode == 64 and "one process at a time" in done.stderr and not folder.exists()
    with engines.Engine(url) as engine:
        token, _ = engine.call("LOCK.ACQUIRE", "nightly", "me", "PX", 60_000)
    shown = run(servers.COHORT, "lock", "info", "--url", url, "nightly")
    assert shown.returncode == 0 and "me" in shown.stdout


FORKED = """
import os, sys
sys.path.insert(0, sys.argv[1])
import engines
engine = engines.Engine(sys.argv[2])
engine.call("SET", "k", "v")
if os.fork() != 0:
    os._exit(0)
print(engine.call("GET", "k"), flush=True)
try:
    engines.Engine(sys.argv[2] + "-other")
except engines.Refused as refused:
    print(refused.words, flush=True)
engine.close()
sys.stdin.read()
"""


def test_a_child_of_fork_has_nothing_of_it(url):
    """It is refused; and the folder is free when the parent is gone, though the child lives on."""
    words = [sys.executable, "-c", FORKED, os.path.dirname(__file__), url]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.wait(60) == 0  # the parent
    assert "fork" in child.stdout.readline()
    assert "forked" in child.stdout.readline()
    with engines.Engine(url) as engine:
        assert engine.call("GET", "k") == b"v"
    child.communicate()


# ---- crashes ----

WRITING = """
import sys
sys.path.insert(0, sys.argv[1])
import engines
engine = engines.Engine(sys.argv[2])
number = int(sys.argv[3])
while True:
    assert engine.call("SET", f"k{number}", "x" * 300 + str(number)) == b"OK"
    assert engine.call("INCR", "count") == number + 1
    number += 1
    print(number, flush=True)
"""


def test_killed_while_it_writes(url):
    """Whatever was answered is there at the next start, and nothing twice."""
    written = 0
    for turn in range(6):
        busy = subprocess.Popen([sys.executable, "-c", WRITING, os.path.dirname(__file__), url, str(written)], text=True,
                                stdout=subprocess.PIPE, preexec_fn=servers.end_with_parent)  # fmt: skip
        told = [busy.stdout.readline() for _ in range(5 + 20 * turn)]
        busy.kill()
        told += [line for line in busy.stdout if line.endswith("\n")]
        busy.wait()
        with engines.Engine(url) as engine:
            count = int(engine.call("GET", "count"))
            assert int(told[-1]) <= count <= int(told[-1]) + 1
            if engine.call("EXISTS", f"k{count}"):
                engine.call("INCR", "count")
                count += 1
            assert [engine.call("GET", f"k{i}") for i in range(count)] == [b"x" * 300 + str(i).encode() for i in range(count)]
            written = count


def test_a_sync_that_fails(url, tmp_path, deceiver):  # noqa: F811
    """The node stops, every call is told so at once, and the program lives; nothing that was answered is lost."""
    fails = tmp_path / "fails"
    child = Child(url, LD_PRELOAD=deceiver, COHORT_TEST_NO_SYNC=str(fails))
    assert child.ask("SET", "a", "1")[0] == 0
    fails.touch()
    status, words = child.ask("SET", "b", "2")
    assert status == engines.UNCERTAIN, words
    until(lambda: child.ask("GET", "a")[0] == -6)  # not what came to the node while it stopped
    before = time.monotonic()
    for _ in range(20):
        status, words = child.ask("GET", "a")
        assert status == -6 and "has stopped" in words and "open it again" in words, words
    assert (time.monotonic() - before) / 20 < 4  # the time limit of each would be 5 s
    fails.unlink()
    assert child.end() == ("", "") and child.process.returncode == 0
    with engines.Engine(url) as engine:
        assert engine.call("GET", "a") == b"1"


def test_shut_down_by_a_client(url):
    """Handles that have it are told; who opens it anew has a node."""
    with engines.Engine(url) as one:
        one.call("SET", "a", 1)
        one.call("SHUTDOWN")
        words = one.call("GET", "a")
        assert "SHUTDOWN" in words and "open it again" in words
        with engines.Engine(url) as other:
            assert other.call("GET", "a") == b"1"
        assert "SHUTDOWN" in one.call("GET", "a")


@pytest.mark.skipif(SANITIZED, reason="a sanitizer takes memory by itself")
def test_no_memory(url):
    """A server ends its process then. Here its thread stops where it is, with words for all who ask, and the folder stays its."""
    done = run(HOST, "memory", url + "?timeout=1s", 48)
    assert (done.returncode, done.stderr) == (0, ""), done
    lines = done.stdout.splitlines()
    assert "out of memory" in lines[0] and "start the program anew" in lines[0] and "out of memory" in lines[1], lines
    assert "start the program anew" in lines[2] and lines[3] == "still here"
    with engines.Engine(url) as engine:
        assert len(engine.call("GET", "first")) == 16 << 10


# ---- to cohort serve, and back ----


def test_who_outgrows_it_serves_the_folder(tmp_path, new_server):
    url = f"embedded://{tmp_path}/data"
    with engines.Engine(url) as engine:
        assert engine.call("SET", "a", "1") == b"OK"
        token, _ = engine.call("LOCK.ACQUIRE", "l", "me", "PX", 600_000)
    server = new_server("cohort", folder=tmp_path)
    with server.connect() as connection:
        assert connection.call("GET", "a") == b"1"
        assert connection.call("LOCK.RENEW", "l", "me", token, "PX", 600_000) > 0
        assert connection.call("SET", "a", "2") == "OK"
    assert "another process serves" in refused(url)
    server.stop()
    with engines.Engine(f"{url}?create=no") as engine:
        assert engine.call("GET", "a") == b"2"
        later, _ = engine.call("LOCK.ACQUIRE", "m", "me", "PX", 1000)
        assert later > token


class Seventh(servers.Server):
    """A node that is not the first, and has several workers."""

    def command_line(self):
        return [str(servers.COHORT), "serve", "--id", "7", "--data", str(self.data), "--listen", f"{self.host}:{self.port}",
                "--shards", "4", "--workers", "2"]  # fmt: skip


def test_a_folder_of_a_node_with_a_number(tmp_path):
    server = Seventh("cohort", tmp_path, []).start()
    with server.connect() as connection:
        assert connection.call("MSET", "a", "1", "b", "2", "c", "3") == "OK"
    server.kill()
    with engines.Engine(f"embedded://{server.data}") as engine:
        assert engine.call("MGET", "a", "b", "c") == [b"1", b"2", b"3"]


def test_a_folder_of_a_cluster_is_refused(new_cluster):
    cluster = new_cluster(nodes=3, shards=2)
    for node in cluster.nodes:
        node.stop()
    words = refused(f"embedded://{cluster[2].data}")
    assert "cluster of 3 nodes" in words and "cohort://" in words


def test_many_threads(url):
    """One handle, and one each; the sum is exact."""
    with engines.Engine(url) as shared:

        def add(own):
            for _ in range(100):
                own.call("INCR", "n")
                shared.call("INCR", "n")

        handles = [engines.Engine(url) for _ in range(6)]
        threads = [threading.Thread(target=add, args=(handle,)) for handle in handles]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for handle in handles:
            handle.close()
        assert shared.call("GET", "n") == b"1200"
