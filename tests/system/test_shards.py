"""One node with several shards: what is the same as with one, and what is not (docs/differences.md)."""

import collections
import random
import threading

import conftest
import pytest
import redis
import resp
from redis.cluster import ClusterNode, RedisCluster
from test_cluster_commands import redis_cluster  # noqa: F401 (a fixture)

SHARDS = 8


@pytest.fixture(scope="module")
def sharded_server(tmp_path_factory):
    server = conftest.start_cohort_or_fail(tmp_path_factory.mktemp("sharded"), ["--shards", str(SHARDS)])
    yield server
    status = server.stop()
    conftest.complain_of_sanitizers(server)
    assert status == 0, server.log()


@pytest.fixture
def sharded(sharded_server):
    redis.Redis("127.0.0.1", sharded_server.port).flushall()
    return sharded_server


CROSSING = [
    [["MGET", "a", "b"]],
    [["MSET", "a", "1", "b", "2"], ["EXISTS", "a", "b", "a"], ["MGET", "b", "c", "a", "b"], ["TOUCH", "a", "b", "c"]],
    [["SET", "a", "1"], ["DEL", "a", "{a}2", "b"], ["UNLINK", "a", "b"]],
    [["RENAME", "a", "b"], ["SET", "a", "1", "EXAT", "9999999999"], ["RENAME", "a", "b"], ["EXPIRETIME", "b"], ["RENAMENX", "b", "c"], ["GET", "c"]],
    [["HSET", "a", "f", "v"], ["COPY", "a", "b"], ["HGETALL", "b"], ["COPY", "a", "b"], ["COPY", "a", "b", "REPLACE"], ["COPY", "a", "b", "X"]],
    [["MSETNX", "a", "1", "b", "2"], ["MSETNX", "b", "3", "c", "4"], ["MGET", "a", "b", "c"]],
    [["WATCH", "a", "b"], ["MULTI"], ["SET", "a", "1"], ["EXEC"]],
    [["WATCH", "a", "b"], ["SET", "b", "1"], ["MULTI"], ["SET", "a", "1"], ["EXEC"], ["GET", "a"]],
    [["WATCH", "a"], ["SET", "a", "1"], ["DEL", "a"], ["MULTI"], ["SET", "b", "1"], ["EXEC"], ["GET", "b"]],
    [["MULTI"], ["MGET", "a", "b"], ["SET", "a", "1"], ["EXEC"], ["GET", "a"]],
    [["MULTI"], ["SET", "a", "1"], ["SET", "b", "2"], ["EXEC"], ["EXEC"], ["DISCARD"], ["GET", "a"]],
    [["MULTI"], ["SET", "a", "x"], ["INCR", "a"], ["INCR", "b"], ["RENAME", "a", "c"], ["MGET", "a", "b", "c"], ["PING"], ["EXEC"], ["GET", "c"]],
    [["WATCH", "a"], ["MULTI"], ["SET", "{a}b", "1"], ["PING"], ["EXEC"], ["GET", "{a}b"]],
    [["SET", "a", "1"], ["WATCH", "a", "b"], ["EXEC", "x"], ["SET", "b", "1"], ["MULTI"], ["EXEC"]],
    [["WATCH", "a"], ["EXEC", "x"], ["SET", "a", "1"], ["MULTI"], ["GET", "a"], ["EXEC"]],
    [["WATCH", "a"], ["MULTI"], ["EXEC", "x"], ["SET", "a", "1"], ["MULTI"], ["GET", "a"], ["EXEC"]],
    [["MGET"], ["GET", "a", "b"], ["MSET", "a", "1", "b"], ["MULTI"], ["GET", "a", "b"], ["EXEC"]],
    [["MULTI"], ["MGET", "a", "b"], ["HGETALL", "c"], ["EXISTS", "a", "b"], ["EXEC"]],
    [["MSET", "a", "1", "b", "2", "c", "3"], ["FLUSHALL"], ["MGET", "a", "b", "c"], ["SET", "a", "1"], ["FLUSHDB", "ASYNC"], ["FLUSHALL", "NOW"], ["GET", "a"]],
    [["MSET", "a", "1", "b", "2"], ["MULTI"], ["SET", "a", "3"], ["FLUSHALL"], ["INCR", "b"], ["FLUSHDB", "x"], ["EXEC"], ["MGET", "a", "b"], ["DBSIZE"]],
    [["MSET", "a", "1", "b", "2"], ["MULTI"], ["RENAME", "a", "c"], ["FLUSHALL", "SYNC"], ["COPY", "c", "a"], ["MSETNX", "d", "1", "e", "2"], ["EXEC"], ["MGET", "a", "b", "c", "d", "e"]],
    [["MSET", "a", "1", "b", "2"], ["WATCH", "a", "b"], ["FLUSHALL"], ["MULTI"], ["SET", "c", "1"], ["EXEC"], ["GET", "c"]],
    [["MSET", "a", "1", "b", "2"], ["WATCH", "a", "b"], ["SET", "b", "3"], ["MULTI"], ["FLUSHALL"], ["EXEC"], ["MGET", "a", "b"]],
    [["SET", "a", "1"], ["WATCH", "a", "none"], ["MULTI"], ["FLUSHDB"], ["FLUSHALL"], ["EXEC"], ["DBSIZE"]],
    [["MSET", "a", "1", "b", "2"], ["MULTI"], ["DBSIZE"], ["KEYS", "b"], ["DEL", "b"], ["RANDOMKEY"], ["SET", "c", "3"], ["DBSIZE"], ["EXEC"]],
    [["MSET", "a", "1", "b", "2"], ["MULTI"], ["DBSIZE"], ["KEYS", "c*"], ["KEYS"], ["EXEC"], ["MULTI"], ["DBSIZE"], ["KEYS", "a"], ["MGET", "a", "b"], ["EXEC"]],
    [["SET", "a", "1"], ["MULTI"], ["FLUSHALL"], ["DBSIZE"], ["KEYS", "*"], ["RANDOMKEY"], ["SET", "d", "1"], ["KEYS", "*"], ["RANDOMKEY"], ["EXEC"], ["DBSIZE"]],
]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("commands", CROSSING, ids=lambda commands: " ".join(commands[0]))
def test_several_shards_as_one_redis(redis_server, sharded, commands, protocol):
    replies = []
    for server in (redis_server, sharded):
        with resp.Connection(server.port, protocol=protocol) as connection:
            connection.call("FLUSHALL")
            replies.append(connection.calls(commands))
    assert replies[0] == replies[1]


def test_looks_beside_what_moves_values(sharded):
    with resp.Connection(sharded.port) as connection:
        moves = [["COPY", "a", "b"], ["DBSIZE"], ["RENAME", "a", "c"], ["KEYS", "*"]]
        replies = connection.calls([["SET", "a", "1"], ["MULTI"], *moves, ["EXEC"]])
        assert replies[-1][:3] == [1, 2, "OK"]
        assert sorted(replies[-1][3]) == [b"b", b"c"]


def test_whole_cluster_commands(sharded):
    with redis.Redis("127.0.0.1", sharded.port) as client:
        assert (client.dbsize(), client.keys(), client.randomkey(), client.scan()[1]) == (0, [], None, [])
        keys = {b"key:%d" % n for n in range(500)}
        for key in keys:
            client.set(key, 1)
        assert client.dbsize() == 500
        assert sorted(client.keys()) == sorted(keys)
        assert sorted(client.keys("key:*7")) == sorted(key for key in keys if key.endswith(b"7"))
        assert client.keys("nothing*") == []
        assert {client.randomkey() for _ in range(300)} <= keys
        found = list(client.scan_iter(count=7))
        assert sorted(found) == sorted(keys)  # each once, as nothing changes
        assert sorted(client.scan_iter("key:1*", count=100)) == sorted(key for key in keys if key.startswith(b"key:1"))
        client.hset("hash", "f", "v")
        assert list(client.scan_iter(_type="hash")) == [b"hash"]
        assert client.flushall() and client.dbsize() == 0


def test_random_keys_come_from_all_shards_alike(sharded):
    with redis.Redis("127.0.0.1", sharded.port) as client:
        for n in range(64):
            client.set(f"{{one}}{n}", 1)  # in one shard
        for n in range(64):
            client.set(f"many{n}", 1)
        with client.pipeline(transaction=False) as pipeline:
            for _ in range(4000):
                pipeline.randomkey()
            seen = collections.Counter(pipeline.execute())
        assert len(seen) == 128
        tagged = sum(count for key, count in seen.items() if key.startswith(b"{one}"))
        assert 1700 < tagged < 2300


def cursors(connection, *options):
    cursor = "0"
    while True:
        cursor, keys = connection.call("SCAN", cursor, *options)
        yield cursor, keys
        if cursor == b"0":
            return


def test_bad_cursors_and_options(sharded, redis_server):
    commands = [["SCAN", "x"], ["SCAN", "1x"], ["SCAN", ""], ["SCAN", "-1"], ["SCAN", "99999999999999999999999"], ["SCAN", "0", "COUNT"],
                ["SCAN", "0", "COUNT", "0"], ["SCAN", "0", "COUNT", "x"], ["SCAN", "0", "NO", "x"], ["SCAN"]]  # fmt: skip
    for words in commands:
        with resp.Connection(sharded.port) as ours, resp.Connection(redis_server.port) as theirs:
            got, expected = ours.call(*words), theirs.call(*words)
            assert type(got) is type(expected) and (got == expected or isinstance(got, list)), words


def test_cursors_hold_over_a_restart(new_server):
    server = new_server("cohort", "--shards", "4")
    with redis.Redis("127.0.0.1", server.port) as client:
        keys = {b"key:%d" % n for n in range(1000)}
        client_pipeline = client.pipeline(transaction=False)
        for key in keys:
            client_pipeline.set(key, 1)
        client_pipeline.execute()
        cursor, found = 0, []
        for step in range(1000):
            cursor, some = client.scan(cursor, count=20)
            found += some
            if cursor == 0:
                break
            if step == 15:
                server.kill()
                server.start()
    assert sorted(found) == sorted(keys)


def test_scan_is_complete_under_writes(sharded):
    """Every key that is there throughout is given at least once, whatever comes and goes beside it."""
    constant = {b"constant:%d" % n for n in range(1000)}
    stop = threading.Event()

    def write():
        rng = random.Random(5)
        with redis.Redis("127.0.0.1", sharded.port) as client:
            while not stop.is_set():
                with client.pipeline(transaction=False) as pipeline:
                    for _ in range(200):
                        name = f"passing:{rng.randrange(20000)}"
                        pipeline.set(name, 1) if rng.random() < 0.7 else pipeline.delete(name)
                    pipeline.execute()

    with redis.Redis("127.0.0.1", sharded.port) as client:
        for key in constant:
            client.set(key, 1)
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for count in (10, 100, 1000):
                found = set(client.scan_iter(count=count))
                assert constant <= found
                assert constant <= set(client.keys())
        finally:
            stop.set()
            writer.join()


def test_pipelines_over_shards(sharded):
    """Replies in the order of the commands, and in each shard effects too: every read sees the writes before it."""
    rng = random.Random(7)
    for _ in range(20):
        commands, expected, values = [["FLUSHALL"]], ["OK"], {}
        for _ in range(300):
            key = f"key:{rng.randrange(30)}"
            kind = rng.randrange(7)
            if kind <= 2:
                values[key] = values.get(key, 0) + 1
                commands.append(["INCR", key])
                expected.append(values[key])
            elif kind == 3:
                commands.append(["DEL", key])
                expected.append(1 if values.pop(key, None) else 0)
            elif kind == 4:
                commands.append(["DBSIZE"])
                expected.append(len(values))
            elif kind == 5:
                commands.append(["PING"])
                expected.append("PONG")
            else:
                commands.append(["GET", key])
                expected.append(b"%d" % values[key] if key in values else None)
        with resp.Connection(sharded.port) as connection:
            assert connection.calls(commands) == expected


def test_watch_and_exec_count_right(sharded):
    """The classic: many clients raise the same counters by WATCH, GET, MULTI, SET, EXEC, in whatever shard they are."""
    counters = [f"counter:{n}" for n in range(4)]
    raised = collections.Counter()

    def raise_them(seed):
        rng = random.Random(seed)
        mine = collections.Counter()
        with resp.Connection(sharded.port) as connection:
            for _ in range(100):
                key = rng.choice(counters)
                value = int(connection.calls([["WATCH", key], ["GET", key]])[1] or 0)
                done = connection.calls([["MULTI"], ["SET", key, value + 1], ["GET", key], ["EXEC"]])[3]
                mine[key] += done is not None
                assert done in (None, ["OK", b"%d" % (value + 1)])
        raised.update(mine)

    threads = [threading.Thread(target=raise_them, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with resp.Connection(sharded.port) as connection:
        assert [int(connection.call("GET", key) or 0) for key in counters] == [raised[key] for key in counters]
    assert sum(raised.values()) >= 100


def test_watch_right_before_exec_in_one_pipeline(sharded):
    with resp.Connection(sharded.port) as one, resp.Connection(sharded.port) as other:
        for n in range(50):
            key = f"key:{n}"
            assert one.calls([["SET", key, 1], ["WATCH", key], ["MULTI"], ["INCR", key], ["EXEC"]]) == ["OK", "OK", "OK", "QUEUED", [2]]
            assert one.calls([["WATCH", key], ["SET", key, 7], ["MULTI"], ["INCR", key], ["EXEC"]]) == ["OK", "OK", "OK", "QUEUED", None]
            assert one.call("WATCH", key) == other.call("SET", key, 8) == "OK"
            assert one.calls([["MULTI"], ["INCR", key], ["EXEC"], ["GET", key]]) == ["OK", "QUEUED", None, b"8"]


def test_figures_count_a_command_once(sharded):
    with redis.Redis("127.0.0.1", sharded.port) as client:
        client.config_resetstat()
        client.set("a", 1)
        for call in (client.dbsize, client.randomkey, client.keys, client.scan, client.flushall):
            call()
        with resp.Connection(sharded.port) as connection:
            connection.calls([["SET", "a", 1], ["DBSIZE"], ["WATCH", "a"], ["SCAN", 0]])
        stats = {name: value["calls"] for name, value in client.info("commandstats").items()}
        for name, calls in {"dbsize": 2, "randomkey": 1, "keys": 1, "scan": 2, "flushall": 1, "set": 2, "watch": 1}.items():
            assert stats[f"cmdstat_{name}"] == calls, name
        assert not [name for name in stats if "cohort" in name]


def test_replication_figures(sharded, cohort):
    for server, shards in ((sharded, SHARDS), (cohort, 1)):
        with redis.Redis("127.0.0.1", server.port) as client:
            figures = client.info("replication")
            assert (figures["role"], figures["connected_slaves"]) == ("master", 0)
            assert figures["shards"] == figures["shards_voting"] == figures["shards_leading"] == shards
            assert figures["shards_without_leader"] == 0
            client.set("a", 1)
            assert client.wait(0, 0) == 0


def test_monitor_and_slowlog_show_what_was_asked(sharded):
    with redis.Redis("127.0.0.1", sharded.port) as client, resp.Connection(sharded.port) as watcher:
        assert watcher.call("MONITOR") == "OK"
        client.flushall()
        client.config_set("slowlog-log-slower-than", 0)
        client.slowlog_reset()
        client.dbsize()
        client.config_set("slowlog-log-slower-than", -1)
        assert b"DBSIZE" in [entry["command"] for entry in client.slowlog_get()]
        assert [watcher.read().split()[-1] for _ in range(2)] == ['"FLUSHALL"', '"DBSIZE"']  # each once


def test_redis_py_cluster(sharded):
    with RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", sharded.port)]) as client:
        client.mset_nonatomic({f"key:{n}": n for n in range(100)})
        assert client.mget_nonatomic(*[f"key:{n}" for n in range(100)]) == [b"%d" % n for n in range(100)]
        assert client.dbsize() == 100 and len(client.keys()) == 100 and len(list(client.scan_iter())) == 100
        one = {"target_nodes": RedisCluster.RANDOM}  # what docs/differences.md says of several nodes
        assert client.dbsize(**one) == len(client.keys(**one)) == len(list(client.scan_iter(**one))) == 100
        assert client.randomkey(**one).startswith(b"key:") and client.flushdb(**one)
        assert client.flushall() and client.dbsize() == 0
