"""EVAL and its kin with redis-py: what redis-server answers, its Lock, and scripts that are stopped."""

import hashlib
import threading

import pytest
import redis


def test_values(client):
    assert client.eval("return {1, 2.9, 'x', true, false, {KEYS[1], ARGV[1]}}", 1, "k", "a") == [1, 2, b"x", 1, None, [b"k", b"a"]]
    assert client.eval("return redis.call('set', KEYS[1], ARGV[1])", 1, "k", "v") == b"OK"
    assert client.eval("return redis.call('get', KEYS[1])", 1, "k") == b"v"
    with pytest.raises(redis.ResponseError, match="wrong type|Operation against a key"):
        client.eval("redis.call('hset', KEYS[1], 'f', 'v') return redis.call('get', KEYS[1])", 1, "h")
    assert client.hget("h", "f") == b"v"


def test_script_cache(client):
    text = "return redis.call('incrby', KEYS[1], ARGV[1])"
    sha = hashlib.sha1(text.encode()).hexdigest()
    client.script_flush()
    with pytest.raises(redis.exceptions.NoScriptError):
        client.evalsha(sha, 1, "n", 2)
    assert client.script_load(text) == sha
    assert client.script_exists(sha, "0" * 40) == [True, False]
    assert client.evalsha(sha, 1, "n", 2) == 2 and client.evalsha(sha.upper(), 1, "n", 3) == 5
    assert client.register_script(text)(keys=["n"], args=[1]) == 6
    with pytest.raises(redis.ResponseError, match=r"Error compiling script \(new function\): user_script:1:"):
        client.script_load("return (")


def test_read_only(client):
    client.set("k", "v")
    assert client.execute_command("EVAL_RO", "return redis.call('get', KEYS[1])", 1, "k") == b"v"
    for command, text in (
        ("EVAL_RO", "return redis.call('set', KEYS[1], 'x')"),
        ("EVAL", "#!lua flags=no-writes\nreturn redis.call('set', KEYS[1], 'x')"),
    ):
        with pytest.raises(redis.ResponseError, match="Write commands are not allowed from read-only scripts"):
            client.execute_command(command, text, 1, "k")
    assert client.get("k") == b"v"


def test_in_a_transaction(client):
    with client.pipeline(transaction=True) as pipe:
        pipe.set("n", 1)
        pipe.eval("return redis.call('incr', KEYS[1])", 1, "n")
        pipe.get("n")
        assert pipe.execute() == [True, 2, b"2"]


def test_lock(client):
    counter = {"inside": 0, "most": 0, "done": 0}

    def work():
        for _ in range(5):
            with client.lock("lock", timeout=10, sleep=0.005):
                counter["inside"] += 1
                counter["most"] = max(counter["most"], counter["inside"])
                counter["done"] += 1
                counter["inside"] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter["done"] == 20 and counter["most"] == 1
    lock = client.lock("lock", timeout=10)
    assert lock.acquire() and lock.extend(5) and lock.owned()
    lock.release()
    with pytest.raises(redis.exceptions.LockError):
        lock.release()


@pytest.mark.parametrize(
    "body",
    [
        "while true do end",
        "return string.rep('x', 2 ^ 31 - 1)",
        "return string.find(string.rep('a', 30000), '.-.-.-.-b')",
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "local function f() return pcall(f) end while true do f() end",
    ],
)
def test_stopped(cohort, body):
    """Nothing stays of a script that is over a limit, and others are served."""
    client = redis.Redis(port=cohort.port)
    client.set("{t}a", 1)
    with pytest.raises(redis.ResponseError, match="nothing of it stays"):
        client.eval("redis.call('set', KEYS[1], 2) redis.call('hset', KEYS[2], 'f', 'v') " + body, 2, "{t}a", "{t}b")
    assert client.get("{t}a") == b"1" and client.exists("{t}b") == 0


def test_undeclared_keys(cohort):
    client = redis.Redis(port=cohort.port)
    with pytest.raises(redis.ResponseError, match="Script attempted to access a non local key in a cluster node"):
        client.eval("return redis.call('get', 'other')", 1, "k")


def test_three_nodes(three):
    """Scripts at every node, whoever leads; a library falls back to the text where a node has not seen it."""
    clients = [redis.Redis(port=node.port) for node in three]
    script = clients[0].register_script("return redis.call('incrby', KEYS[1], ARGV[1])")
    for number, client in enumerate(clients * 4):
        assert script(keys=["n"], args=[1], client=client) == number + 1


def test_several_shards(three):
    """A script is a transaction over the shards of its keys, alone, in MULTI and when it is stopped."""
    client = redis.Redis(port=three[2].port)
    keys = [f"key{number}" for number in range(8)]
    move = "for i = 2, #KEYS do redis.call('incrby', KEYS[i], 1) end return redis.call('decrby', KEYS[1], #KEYS - 1)"
    assert client.eval(move, len(keys), *keys) == -7
    assert client.mget(keys) == [b"-7"] + [b"1"] * 7
    with pytest.raises(redis.ResponseError, match="nothing of it stays"):
        client.eval("for i = 1, #KEYS do redis.call('set', KEYS[i], 'x') end while true do end", len(keys), *keys)
    assert client.mget(keys) == [b"-7"] + [b"1"] * 7
    with client.pipeline(transaction=True) as pipe:
        pipe.set(keys[0], 5)
        pipe.eval("return redis.call('get', KEYS[1]) + redis.call('get', KEYS[2])", 2, keys[0], keys[3])
        pipe.eval("return #ARGV", 0, "a", "b")
        pipe.eval("return 1", 3)
        pipe.incr(keys[5])
        assert pipe.execute(raise_on_error=False)[:3] == [True, 6, 2]
    assert client.get(keys[5]) == b"2"
    assert client.execute_command("EVAL_RO", "return redis.call('mget', unpack(KEYS))", len(keys), *keys)[0] == b"5"
