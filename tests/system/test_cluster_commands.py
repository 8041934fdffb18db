"""CLUSTER, READONLY and READWRITE beside a redis-server in cluster mode, and clients that know clusters."""

import os
import re
import shutil
import subprocess
import time

import pytest
import redis
import resp
import servers
from redis.cluster import ClusterNode, RedisCluster
from test_ioredis import MODULES, SCRIPT

MASKS = (
    (rb"\b[0-9a-f]{40}\b", b"ID"),
    (rb"(127\.0\.0\.1)?:\d+@\d+", b"ADDRESS"),
    (rb"epoch:\d+", b"epoch:N"),
    (rb" - 0 0 \d+ ", b" - 0 0 EPOCH "),
)


@pytest.fixture(scope="module")
def redis_cluster(tmp_path_factory):
    """A redis-server that is a cluster of one node."""
    bus = ["--cluster-enabled", "yes", "--cluster-port", str(servers.free_port())]
    server = servers.Server("redis", tmp_path_factory.mktemp("cluster"), bus).start()
    with resp.Connection(server.port) as connection:
        assert connection.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383) == "OK"
        while b"cluster_state:ok" not in connection.call("CLUSTER", "INFO"):
            pass
    yield server
    server.stop()


def masked(value, port):
    """The shape of a reply: ids, the address of the only node and epochs are the server's own."""
    if isinstance(value, resp.Map):
        return resp.Map((key, masked(item, port)) for key, item in value)
    if isinstance(value, list):
        return [masked(item, port) for item in value]
    if value in (port, b"", b"127.0.0.1"):
        return "ADDRESS"
    if isinstance(value, bytes):
        for pattern, replacement in MASKS:
            value = re.sub(pattern, replacement, value)
    return value


COMMANDS = [
    ["CLUSTER", "SLOTS"],
    ["CLUSTER", "SHARDS"],
    ["CLUSTER", "NODES"],
    ["CLUSTER", "INFO"],
    ["CLUSTER", "MYID"],
    ["CLUSTER", "COUNTKEYSINSLOT", 0],
    ["CLUSTER", "COUNTKEYSINSLOT", 16384],
    ["CLUSTER", "COUNTKEYSINSLOT", -1],
    ["CLUSTER", "COUNTKEYSINSLOT", "x"],
    ["CLUSTER", "COUNTKEYSINSLOT"],
    ["CLUSTER", "KEYSLOT"],
    ["CLUSTER", "NOSUCH"],
    ["CLUSTER"],
    ["READONLY"],
    ["READONLY", "x"],
    ["READWRITE"],
    ["INFO", "cluster"],
]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(map(str, words)))
def test_same_as_a_redis_cluster(redis_cluster, cohort, words, protocol):
    replies = []
    for server in (redis_cluster, cohort):
        with resp.Connection(server.port, protocol=protocol) as connection:
            reply = connection.call(*words)
            replies.append((type(reply), masked(reply, server.port)))
    assert replies[0] == replies[1]


def test_slots_of_keys(redis_cluster, cohort):
    keys = [b"", b"a", b"{", b"}", b"{}", b"{}a", b"a{b}c", b"a{b}{c}", b"a{{b}}", b"}{a}", b"{\0}", b"\xff" * 300]
    keys += [os.urandom(n % 40).replace(b"a", b"{").replace(b"b", b"}") for n in range(500)]
    with resp.Connection(redis_cluster.port) as one, resp.Connection(cohort.port) as other:
        commands = [["CLUSTER", "KEYSLOT", key] for key in keys]
        assert one.calls(commands) == other.calls(commands)


def test_keys_are_counted_after_what_was_pipelined(cohort):
    with resp.Connection(cohort.port) as connection:
        slot = connection.call("CLUSTER", "KEYSLOT", "{tag}")
        commands = [["SET", "{tag}%d" % n, n] for n in range(50)] + [["CLUSTER", "COUNTKEYSINSLOT", slot], ["DEL", "{tag}7"]]
        assert connection.calls([*commands, ["CLUSTER", "COUNTKEYSINSLOT", slot]])[50:] == [50, 1, 49]


def test_readonly_shows_in_client_list_until_reset(cohort):
    with resp.Connection(cohort.port) as connection:
        flags = []
        for words in (["PING"], ["READONLY"], ["READWRITE"], ["READONLY"], ["RESET"]):
            connection.call(*words)
            flags.append(re.search(rb" flags=(\w+) ", connection.call("CLIENT", "INFO"))[1])
        assert flags == [b"N", b"r", b"N", b"r", b"N"]


@pytest.fixture
def either_cluster(request, redis_cluster, shared_servers, shared_clusters):
    """A node of a cluster: redis-server, cohort alone, or the second of three that have four shards."""
    if request.param == "three":
        server = shared_clusters("three")[2]
    else:
        server = redis_cluster if request.param == "redis" else shared_servers("cohort")
    redis.Redis("127.0.0.1", server.port).flushall()
    return server


each_cluster = pytest.mark.parametrize("either_cluster", ["redis", "cohort", "three"], indirect=True)


@each_cluster
@pytest.mark.parametrize("replicas", [False, True])
def test_redis_py_cluster(either_cluster, replicas):
    """With replicas, reads are those of READONLY: they may be behind, and are repeated. The whole keyspace is asked of
    every primary and added up, though with us each of them knows all of it."""

    def soon(look, expected):
        deadline = time.monotonic() + 60
        while (found := look()) != expected:
            assert replicas and time.monotonic() < deadline, found

    node = ClusterNode("127.0.0.1", either_cluster.port)
    with RedisCluster(startup_nodes=[node], read_from_replicas=replicas) as client:
        primaries = len(client.get_primaries())
        assert client.set("greeting", "hello")
        soon(lambda: client.get("greeting"), b"hello")
        with client.pipeline() as pipeline:
            for n in range(200):
                pipeline.incr("n:%d" % (n % 10))
            assert pipeline.execute() == [n // 10 + 1 for n in range(200)]
        assert client.mset_nonatomic({"a": 1, "b": 2, "c": 3})
        soon(lambda: client.mget_nonatomic("a", "b", "c"), [b"1", b"2", b"3"])
        soon(lambda: sorted(client.scan_iter("n:*")), sorted([b"n:%d" % n for n in range(10)] * primaries))
        soon(lambda: client.dbsize(), 14 * primaries)
        soon(lambda: client.dbsize(target_nodes=client.get_random_node()), 14)
        assert client.cluster_keyslot("foo{bar}") == client.keyslot("foo{bar}") == 5061
        soon(lambda: client.cluster_countkeysinslot(client.keyslot("greeting")), 1)
        assert client.cluster_info()["cluster_state"] == "ok"
        nodes = client.cluster_nodes().values()
        assert ["myself" in node["flags"] for node in nodes].count(True) == 1
        slots = sorted([int(first), int(last)] for node in nodes for first, last in node["slots"])
        assert slots[0][0] == 0 and slots[-1][1] == 16383
        client.flushall()
        soon(lambda: client.dbsize(), 0)


@each_cluster
def test_ioredis_cluster(either_cluster):
    if not (MODULES / "ioredis").is_dir():
        pytest.skip("ioredis is not installed: the npm registry could not be reached (build/node/npm.txt)")
    done = subprocess.run(
        [shutil.which("node"), SCRIPT.with_name("ioredis_cluster.js"), str(either_cluster.port)],
        env={**os.environ, "NODE_PATH": str(MODULES)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@each_cluster
def test_redis_cli_in_cluster_mode(either_cluster):
    done = subprocess.run(
        ["redis-cli", "-c", "-p", str(either_cluster.port)],
        input="set {a}1 x\nget {a}1\ncluster keyslot {a}1\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "OK\nx\n15495\n")


def as_dict(value):
    if isinstance(value, resp.Map):
        return {key.decode(): as_dict(item) for key, item in value}
    return [as_dict(item) for item in value] if isinstance(value, list) else value


def test_status_tells_of_each_shard_and_node(new_server):
    server = new_server("cohort", "--shards", "1")
    with resp.Connection(server.port, protocol=3) as connection:
        assert connection.call("SET", "key", "value") == "OK"
        status = as_dict(connection.call("COHORT.STATUS"))
    assert status["node"] == 1 and status["keys"] == 1 and len(status["incarnation"]) == 32
    assert status["meta"] is None and len(status["cluster"]) == 32
    (shard,) = status["shards"]
    assert shard["shard"] == 1 and shard["role"] == b"leader" and shard["leader"] == 1 and shard["voters"] == [1]
    assert shard["term"] >= 1 and shard["keys"] == 1
    assert 1 <= shard["applied"] <= shard["commit"] <= shard["last"]
    (node,) = status["nodes"]
    assert (node["node"], node["host"], node["port"]) == (1, b"127.0.0.1", server.port)
    assert node["state"] == b"active" and node["up"] is True
    with resp.Connection(server.port) as connection:
        assert len(connection.call("COHORT.STATUS")) == 2 * len(status)
