"""Messages and keyspace events: real clients, several nodes and workers, faults between them."""

import contextlib
import os
import pathlib
import select
import shutil
import subprocess
import threading
import time

import cluster
import conftest
import pytest
import redis
import resp
import servers

SECONDS = 60  # nothing takes so long; it ends what hangs
MODULES = servers.ROOT / "build" / "node" / "node_modules"
EVENT = "__keyevent@0__:"


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    with cluster.Cluster(tmp_path_factory.mktemp("messages"), nodes=3, shards=4) as nodes:
        yield nodes


def until(so, what=""):
    deadline = time.monotonic() + SECONDS
    while not so():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def subscribe(node, *channels, protocol=2, word="SUBSCRIBE"):
    connection = resp.Connection(node.port, timeout=SECONDS, protocol=protocol)
    connection.send(resp.encode(word, *channels))
    for channel in channels:
        assert connection.read()[:2] == [word.lower().encode(), channel.encode()]
    return connection


def messages(connection, count):
    return [connection.read()[-1] for _ in range(count)]


# ---- the same as Redis, with real clients ----

def test_redis_py(server):
    client = redis.Redis(port=server.port, decode_responses=True)
    with client.pubsub() as pubsub:
        pubsub.subscribe("news", alerts=lambda message: heard.append(message["data"]))
        pubsub.psubscribe("n?ws")
        heard = []
        assert [pubsub.get_message(timeout=SECONDS)["type"] for _ in range(3)] == ["subscribe", "subscribe", "psubscribe"]
        assert client.publish("news", "hello") == 2
        assert client.publish("alerts", "fire") == 1
        found = [pubsub.get_message(timeout=SECONDS) for _ in range(3)]
        assert sorted((m["type"], m["channel"], m["data"]) for m in found if m) == [
            ("message", "news", "hello"), ("pmessage", "news", "hello")]  # fmt: skip
        assert heard == ["fire"]
        assert dict(client.pubsub_numsub("news", "nobody")) == {"news": 1, "nobody": 0}
        assert client.pubsub_numpat() == 1
        assert set(client.pubsub_channels("*s")) == {"news", "alerts"}
        pubsub.ping()
        assert pubsub.get_message(timeout=SECONDS) == {"type": "pong", "pattern": None, "channel": None, "data": ""}
        pubsub.unsubscribe()
        pubsub.punsubscribe()
        while pubsub.subscribed:
            assert pubsub.get_message(timeout=SECONDS)


def test_redis_py_in_a_thread(server):
    client = redis.Redis(port=server.port, decode_responses=True)
    heard = []
    pubsub = client.pubsub()
    pubsub.subscribe(jobs=lambda message: heard.append(message["data"]))
    thread = pubsub.run_in_thread(sleep_time=0.01, daemon=True)
    until(lambda: client.pubsub_numsub("jobs")[0][1] == 1)
    for i in range(100):
        client.publish("jobs", i)
    until(lambda: len(heard) == 100, heard)
    assert heard == [str(i) for i in range(100)]
    thread.stop()
    thread.join(SECONDS)


def test_redis_cli(server):
    process = subprocess.Popen(["redis-cli", "-p", str(server.port), "SUBSCRIBE", "cli"], stdout=subprocess.PIPE, text=True)
    try:
        assert [process.stdout.readline() for _ in range(3)] == ["subscribe\n", "cli\n", "1\n"]
        client = redis.Redis(port=server.port)
        assert client.publish("cli", "from the other side") == 1
        assert [process.stdout.readline() for _ in range(3)] == ["message\n", "cli\n", "from the other side\n"]
    finally:
        process.kill()
        process.wait()


def test_ioredis(server):
    if not (MODULES / "ioredis").is_dir():
        pytest.skip("ioredis is not installed: the npm registry could not be reached (build/node/npm.txt)")
    assert shutil.which("node"), "nodejs is missing; ./dev test installs it"
    script = pathlib.Path(__file__).parent / "node" / "ioredis_messages.js"
    done = subprocess.run(["node", script, str(server.port)], env={**os.environ, "NODE_PATH": str(MODULES)},
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr


def is_last(message):
    return message is not None and message["data"] in ("del", "expired")


def test_keyspace_events_with_redis_py(server):
    client = redis.Redis(port=server.port, decode_responses=True)
    before = client.config_get("notify-keyspace-events")["notify-keyspace-events"]
    client.config_set("notify-keyspace-events", "KEA")
    try:
        with client.pubsub() as pubsub:
            pubsub.psubscribe("__keyspace@0__:event:*")
            assert pubsub.get_message(timeout=SECONDS)["type"] == "psubscribe"
            until(lambda: client.set("event:warm", 1) and pubsub.get_message(timeout=0.1))  # who leads knows of the wish
            client.set("event:1", "v", px=30)
            client.hset("event:2", "f", 1)
            client.rename("event:2", "event:3")
            client.delete("event:3")
            found = []
            until(lambda: found.append(pubsub.get_message(timeout=0.1)) or sum(map(is_last, found)) == 2)
            found = [m for m in found if m and not m["channel"].endswith(":warm")]
            words = [(m["channel"].rpartition(":")[2], m["data"]) for m in found]
            assert [w for w in words if w != ("1", "expired")] == [
                ("1", "set"), ("1", "expire"), ("2", "hset"), ("2", "rename_from"), ("3", "rename_to"), ("3", "del")]  # fmt: skip
            assert ("1", "expired") in words
    finally:
        client.config_set("notify-keyspace-events", before)


# ---- nodes ----

@pytest.mark.parametrize("protocol", [2, 3])
def test_from_each_node_to_each(three, protocol):
    subscribers = [subscribe(node, "all", protocol=protocol) for node in three]
    publishers = [resp.Connection(node.port) for node in three]
    for i in range(300):
        assert publishers[i % 3].call("PUBLISH", "all", f"{i % 3} {i}") == 1  # clients of that node
    for subscriber in subscribers:
        heard = [tuple(map(int, message.split())) for message in messages(subscriber, 300)]
        for publisher in range(3):
            assert [i for by, i in heard if by == publisher] == list(range(publisher, 300, 3))
    for connection in subscribers + publishers:
        connection.close()


def test_a_message_comes_after_what_was_written_before_it(three):
    with contextlib.ExitStack() as stack:
        subscriber = stack.enter_context(subscribe(three[2], "written"))
        publisher = stack.enter_context(resp.Connection(three[1].port))
        reader = stack.enter_context(resp.Connection(three[3].port))
        for i in range(200):
            key = f"key:{i}"
            publisher.send(resp.encode("SET", key, i) + resp.encode("PUBLISH", "written", key))
            assert messages(subscriber, 1) == [key.encode()]
            assert reader.call("GET", key) == str(i).encode()
            assert publisher.read() == "OK" and publisher.read() == 0


def test_a_message_of_a_transaction(three):
    a, b = three.key_of(1), three.key_of(2)
    with subscribe(three[3], "done") as subscriber, resp.Connection(three[1].port) as client:
        client.calls([["MULTI"], ["SET", a, 1], ["PUBLISH", "done", "first"], ["SET", b, 1]])
        assert client.call("EXEC") == ["OK", 0, "OK"]
        assert client.call("WATCH", a) == "OK"
        with resp.Connection(three[2].port) as other:
            assert other.call("SET", a, 2) == "OK"
        client.calls([["MULTI"], ["SET", b, 2], ["PUBLISH", "done", "never"]])
        assert client.call("EXEC") is None
        assert client.call("EVAL", "redis.call('set', KEYS[1], 3) return redis.call('publish', 'done', 'script')", 1, a) == 0
        assert client.call("PUBLISH", "done", "last") == 0
        assert sorted(messages(subscriber, 3)) == [b"first", b"last", b"script"]


def test_events_of_keys_led_anywhere(three):
    """The setting of the node where a client is decides what it hears, wherever the key's shard is led."""
    assert three.attempt(three[2], "CONFIG", "SET", "notify-keyspace-events", "EA") == "OK"
    try:
        with subscribe(three[2], EVENT + "set", EVENT + "expired") as subscriber, \
                subscribe(three[1], EVENT + "set") as deaf, redis.Redis(port=three[3].port) as client:  # fmt: skip
            keys = {three.key_of(shard, "event").encode() for shard in range(1, 5)}

            def heard(key):
                client.set(key, 1)
                while select.select([subscriber.socket], [], [], 0.2)[0]:
                    if subscriber.read()[2] == key:
                        return True
                return False

            for key in keys:  # who leads hears of the wish a moment later
                until(lambda warm=b"{%s}warm" % key: heard(warm))
            for key in keys:
                client.set(key, 1, px=20)
            found = []
            while len(found) < 8:  # keys of other tests may fall due meanwhile
                channel, key = subscriber.read()[1:]
                found += [(channel, key)] if key in keys else []
            assert {key for channel, key in found if channel.endswith(b"set")} == keys
            assert {key for channel, key in found if channel.endswith(b"expired")} == keys
            with resp.Connection(three[1].port) as publisher:
                publisher.call("PUBLISH", EVENT + "set", "by hand")
            assert messages(deaf, 1) == [b"by hand"]
    finally:
        three.attempt(three[2], "CONFIG", "SET", "notify-keyspace-events", "")


def test_a_slow_subscriber_is_cut_off(three):
    node = three[1]
    assert three.attempt(node, "CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0") == "OK"
    slow, well = subscribe(node, "much"), subscribe(node, "much")
    text = b"x" * 100_000
    with resp.Connection(three[2].port) as publisher, resp.Connection(node.port) as client:
        def is_cut_off():  # sockets take some megabytes before anything waits
            publisher.call("PUBLISH", "much", text)
            assert messages(well, 1) == [text]
            return client.call("PUBSUB", "NUMSUB", "much") == [b"much", 1]
        until(is_cut_off, "the slow one stays")
    with pytest.raises((ConnectionError, OSError)):
        messages(slow, 1000)
    assert "more than client-output-buffer-limit" in node.log()
    three.attempt(node, "CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60")
    well.close()


def test_limits(three):
    node = three[1]
    with resp.Connection(node.port) as client:
        assert client.call("CONFIG", "SET", "max-client-subscriptions", 2) == "OK"
        reply = client.call("SUBSCRIBE", "a", "b", "c")
        assert isinstance(reply, resp.Error) and "max-client-subscriptions" in reply
        assert client.call("PUBSUB", "CHANNELS") == []
        assert client.call("CONFIG", "SET", "max-client-subscriptions", 65536) == "OK"
        large = b"x" * ((32 << 20) + 1)
        reply = client.call("PUBLISH", "c", large)
        assert isinstance(reply, resp.Error) and "32 MiB" in reply


# ---- workers ----

def test_workers(tmp_path):
    server = conftest.start_cohort_or_fail(tmp_path, ["--workers", "3", "--shards", "6"])
    clients = [resp.Connection(server.port) for _ in range(9)]
    try:
        assert clients[0].call("CONFIG", "SET", "notify-keyspace-events", "EA") == "OK"
        subscribers = [subscribe(server, "w", EVENT + "set") for _ in range(9)]
        for i in range(90):
            assert clients[i % 9].call("PUBLISH", "w", i) == 9
        for subscriber in subscribers:
            heard = [int(message) for message in messages(subscriber, 90)]
            for publisher in range(9):
                assert [i for i in heard if i % 9 == publisher] == list(range(publisher, 90, 9))
        for client in clients:
            assert client.call("PUBSUB", "CHANNELS", "w") == [b"w"]
            assert client.call("PUBSUB", "NUMSUB", "w") == [b"w", 9]
        for i in range(12):
            assert clients[0].call("SET", f"key:{i}", 1) == "OK"
        for subscriber in subscribers:
            assert set(messages(subscriber, 12)) == {b"key:%d" % i for i in range(12)}
        for subscriber in subscribers:
            subscriber.close()
        until(lambda: all(client.call("PUBSUB", "CHANNELS") == [] for client in clients))
        assert clients[4].call("PUBLISH", "w", "nobody") == 0
    finally:
        for client in clients:
            client.close()
        assert server.stop() == 0, server.log()


# ---- faults ----

class Publisher(threading.Thread):
    """Publishes growing numbers at one node, as fast as it can, until it is told to stop."""

    def __init__(self, node, name):
        super().__init__(daemon=True)
        self.node, self.publisher, self.ended = node, name, threading.Event()
        self.said = 0
        self.start()

    def run(self):
        with contextlib.suppress(OSError), resp.Connection(self.node.port, timeout=SECONDS) as connection:
            while not self.ended.is_set():
                self.said += 1
                connection.call("PUBLISH", "numbers", f"{self.publisher} {self.said}")
                connection.call("SET", f"said:{self.publisher}", self.said)

    def end(self):
        self.ended.set()
        self.join(SECONDS)
        assert not self.is_alive()


class Subscriber(threading.Thread):
    """Checks: each publisher's numbers grow, so none comes twice, and none comes late."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.connection = subscribe(node, "numbers")
        self.last, self.count, self.wrong = {}, {}, []
        self.start()

    def run(self):
        with contextlib.suppress(OSError, ValueError):
            while True:
                publisher, number = self.connection.read()[-1].split()
                if int(number) <= self.last.get(publisher, 0):
                    self.wrong.append((publisher, number, self.last[publisher]))
                self.last[publisher] = int(number)
                self.count[publisher] = self.count.get(publisher, 0) + 1

    def end(self):
        self.connection.socket.shutdown(2)
        self.join(SECONDS)
        assert not self.is_alive()


def test_order_of_publishers_while_leaders_die_and_connections_break(tmp_path):
    """Node 3 dies and comes back; connections between nodes break. Subscribers stay with their nodes, and hear each
    publisher in its order, at most once; in the end everything again."""
    with cluster.Cluster(tmp_path, nodes=3, shards=4, relays=True) as nodes:
        subscribers = [Subscriber(nodes[number]) for number in (1, 2)]
        publishers = [Publisher(nodes[number], f"{number}-{at}".encode().decode()) for number in (1, 2) for at in (1, 2)]
        for round_ in range(4):
            before = [dict(subscriber.count) for subscriber in subscribers]
            if round_ % 2 == 0:
                nodes[3].kill()
                nodes.wait_for_leaders()
                nodes[3].start()
            else:
                for node in nodes:
                    node.relay.reset()
            for subscriber, had in zip(subscribers, before):  # every publisher is heard again
                until(lambda s=subscriber, h=had: all(
                    s.count.get(p.publisher.encode(), 0) > h.get(p.publisher.encode(), 0) + 20 for p in publishers))
        for publisher in publishers:
            publisher.end()
        said = {publisher.publisher.encode(): publisher.said for publisher in publishers}
        for subscriber in subscribers:
            until(lambda s=subscriber: s.last == said, (subscriber.last, said))
            subscriber.end()
            assert not subscriber.wrong
            for publisher, last in subscriber.last.items():
                assert subscriber.count[publisher] <= last
        # at the node itself nothing was lost: no connection between nodes was in the way
        assert subscribers[0].count[b"1-1"] == said[b"1-1"]
        assert subscribers[1].count[b"2-2"] == said[b"2-2"]
