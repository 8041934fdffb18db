"""redis-py, unmodified: strings, hashes, expiry, pipelines, transactions, scans, decoding, pools, errors."""

import threading
import time

import pytest
import redis
import servers


def test_strings(client):
    assert client.ping() is True
    assert client.set("a", "1") is True
    assert client.get("a") == b"1"
    assert client.get("none") is None
    assert client.set("a", "2", nx=True) is None
    assert client.set("a", "2", xx=True, get=True) == b"1"
    assert client.setnx("a", "3") is False
    assert client.getset("a", b"\x00\xff\r\n") == b"2"
    assert client.get("a") == b"\x00\xff\r\n"
    assert client.mset({"x": 1, "y": "two", "z": b"\x03"}) is True
    assert client.mget("x", "y", "none", "z") == [b"1", b"two", None, b"\x03"]
    assert client.msetnx({"x": 9, "new": 9}) is False
    assert client.incr("x") == 2 and client.incrby("x", 40) == 42 and client.decr("x", 2) == 40
    assert client.incrbyfloat("x", 0.5) == 40.5
    assert client.append("y", "!!") == 5 and client.strlen("y") == 5
    assert client.getrange("y", 1, 3) == b"wo!" and client.setrange("y", 5, "?") == 6
    assert client.getdel("y") == b"two!!?" and client.exists("y") == 0
    assert client.delete("x", "z", "none") == 2


def test_expiry(client):
    assert client.set("a", "1", ex=100) is True
    assert 99 <= client.ttl("a") <= 100 and 99000 <= client.pttl("a") <= 100000
    assert client.persist("a") is True and client.ttl("a") == -1
    assert client.ttl("none") == -2
    assert client.expire("a", 50, xx=True) is False
    assert client.expire("a", 50, nx=True) is True
    assert client.expireat("a", int(time.time()) + 1000) is True
    assert client.expiretime("a") == pytest.approx(time.time() + 1000, abs=3)
    assert client.set("b", "1", px=50) is True
    deadline = time.monotonic() + 10
    while client.get("b") is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert client.get("b") is None and client.exists("b") == 0
    assert client.set("a", 2, keepttl=True) is True and client.ttl("a") > 900
    assert client.getex("a", persist=True) == b"2" and client.ttl("a") == -1


def test_hashes(client):
    assert client.hset("h", mapping={"f": "1", "g": b"\xff", "n": 5}) == 3
    assert client.hset("h", "f", "2") == 0
    assert client.hget("h", "f") == b"2" and client.hget("h", "none") is None
    assert client.hgetall("h") == {b"f": b"2", b"g": b"\xff", b"n": b"5"}
    assert client.hmget("h", "n", "none") == [b"5", None]
    assert client.hincrby("h", "n", -7) == -2 and client.hincrbyfloat("h", "n", 0.25) == -1.75
    assert client.hexists("h", "f") is True and client.hlen("h") == 3
    assert sorted(client.hkeys("h")) == [b"f", b"g", b"n"] and len(client.hvals("h")) == 3
    assert client.hsetnx("h", "f", "x") == 0 and client.hstrlen("h", "n") == 5
    assert client.hdel("h", "f", "g", "none") == 2
    assert client.hset("big", mapping={f"field{i}": i for i in range(3000)}) == 3000
    assert dict(client.hscan_iter("big", count=100)) == {b"field%d" % i: b"%d" % i for i in range(3000)}
    assert client.hrandfield("h") == b"n"
    with pytest.raises(redis.ResponseError, match="WRONGTYPE Operation against a key holding the wrong kind of value"):
        client.get("h")


def test_keys(client):
    client.mset({f"k:{i}": i for i in range(2500)})
    assert client.dbsize() == 2500
    assert sorted(client.scan_iter("k:*", count=200)) == sorted(b"k:%d" % i for i in range(2500))
    assert sorted(client.keys("k:1?")) == [b"k:%d" % i for i in range(10, 20)]
    assert client.randomkey().startswith(b"k:")
    assert client.rename("k:1", "renamed") is True and client.get("renamed") == b"1"
    assert client.renamenx("k:2", "renamed") is False
    assert client.copy("renamed", "copied") is True and client.get("copied") == b"1"
    assert client.type("renamed") == b"string" and client.type("none") == b"none"
    assert client.touch("renamed", "none") == 1 and client.unlink("renamed", "copied") == 2
    with pytest.raises(redis.ResponseError, match="no such key"):
        client.rename("none", "x")
    assert client.flushdb() is True and client.dbsize() == 0


def test_decode_responses(server):
    with redis.Redis("127.0.0.1", server.port, decode_responses=True) as client:
        client.set("ключ", "значение")
        client.hset("h", "поле", "é")
        assert client.get("ключ") == "значение"
        assert client.hgetall("h") == {"поле": "é"}
        assert client.type("h") == "hash"


def test_pipeline(client):
    with client.pipeline(transaction=False) as pipe:
        for i in range(2000):
            pipe.set(f"p:{i}", i).incr("count")
        replies = pipe.execute()
    assert replies == [reply for i in range(1, 2001) for reply in (True, i)]
    with client.pipeline(transaction=False) as pipe:
        replies = pipe.set("s", "text").incr("s").get("s").execute(raise_on_error=False)
    assert replies[0] is True and isinstance(replies[1], redis.ResponseError) and replies[2] == b"text"


def test_transaction(client):
    with client.pipeline() as pipe:
        assert pipe.set("a", 1).incr("a").hset("h", "f", "v").hgetall("h").execute() == [True, 2, 1, {b"f": b"v"}]
    with client.pipeline() as pipe:
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            pipe.set("a", 5).incr("h").set("b", 6).execute()
    assert client.mget("a", "b") == [b"5", b"6"]  # one command's error does not undo the others
    with client.pipeline() as pipe:
        pipe.set("a", 7).execute_command("NOSUCH")
        with pytest.raises(redis.ResponseError, match="unknown command 'NOSUCH'"):
            pipe.execute()  # redis-py shows the cause of the EXECABORT that it got
    assert client.get("a") == b"5"


def test_watch(client):
    client.set("watched", 1)
    with client.pipeline() as pipe:
        pipe.watch("watched")
        assert pipe.get("watched") == b"1"
        client.set("watched", 2)
        pipe.multi()
        pipe.set("watched", 3)
        with pytest.raises(redis.WatchError):
            pipe.execute()
        pipe.watch("watched")
        client.set("other", 2)
        pipe.multi()
        assert pipe.set("watched", 3).execute() == [True]
    assert client.get("watched") == b"3"


def test_watch_retry_loop(server):
    """Four threads move money with WATCH and retries; the sum stays and each move counts once."""
    moves = 40

    def move(account):
        with redis.Redis("127.0.0.1", server.port) as own:
            for _ in range(moves):

                def transfer(pipe):
                    left, right = int(pipe.get("left")), int(pipe.get("right"))
                    pipe.multi()
                    pipe.mset({"left": left - 1, "right": right + 1})
                    pipe.incr(account)

                own.transaction(transfer, "left", "right")

    with redis.Redis("127.0.0.1", server.port) as client:
        client.mset({"left": 1000, "right": 0})
        threads = [threading.Thread(target=move, args=(f"moved:{i}",)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert client.mget("left", "right") == [b"%d" % (1000 - 4 * moves), b"%d" % (4 * moves)]
        assert client.mget([f"moved:{i}" for i in range(4)]) == [b"%d" % moves] * 4


def test_connection_and_server_commands(server):
    with redis.Redis("127.0.0.1", server.port, client_name="tester", health_check_interval=1) as client:
        assert client.client_getname() == "tester"
        assert any(entry["name"] == "tester" for entry in client.client_list())
        assert client.client_id() > 0
        assert client.echo("héllo") == "héllo".encode()
        info = client.info()
        assert info["redis_version"].startswith("7.") and info["loading"] == 0 and info["connected_clients"] >= 1
        client.set("k", "v")
        deadline = time.monotonic() + 30  # a follower tells of what it has
        while client.info("keyspace").get("db0", {}).get("keys") != 1:
            assert time.monotonic() < deadline
        assert client.config_get("maxmemory") == {"maxmemory": "0"}
        seconds, microseconds = client.time()
        assert abs(seconds - time.time()) < 60 and 0 <= microseconds < 1000000
        assert client.command_count() > 80
        assert client.command()["get"]["arity"] == 2
        assert client.command_getkeys("MSET", "a", 1, "b", 2) == ["a", "b"]
        assert client.object("encoding", "k") in (b"embstr", "embstr")
        with pytest.raises(redis.ResponseError, match="DB index is out of range"):
            client.select(99)


def test_many_connections(server):
    """A pool under threads: each thread sees its own replies."""
    pool = redis.BlockingConnectionPool(host="127.0.0.1", port=server.port, max_connections=20, timeout=60)
    wrong = []

    def work(number):
        client = redis.Redis(connection_pool=pool)
        for i in range(50):
            client.set(f"t{number}", f"{number}:{i}")
            if client.get(f"t{number}") != b"%d:%d" % (number, i):
                wrong.append((number, i))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    pool.disconnect()
    assert wrong == []


def test_large_values(client):
    value = bytes(range(256)) * servers.large(40000)  # 10 MB
    assert client.set("large", value) is True
    assert client.get("large") == value
    assert client.strlen("large") == len(value)
