"""redis:// alone: whom it excludes, what it keeps in the store, and a server that is killed, stopped, cut off, and refuses.
What is the same for all engines is in test_engines.py."""

import os
import threading
import time

import engines
import pytest
import redis
import redis.lock
import relay
import resp
from redis_engines import (DENIED, DOWN, PATIENCE_SECONDS, TIMEOUT, TTL_MS, UNCERTAIN, Asked, client_of, excludes_npm, go_on,
                           holders, resets, stop, until, url_of)  # fmt: skip

SECONDS = int(os.environ.get("COHORT_ENGINES_SECONDS", 3))
LASTING = ["--appendonly", "yes", "--appendfsync", "always"]
WAIT_MS = PATIENCE_SECONDS * 1000
OWN = "cohort:lock/"


@pytest.fixture
def store(redis_server):
    return redis_server


@pytest.fixture
def plain(store):
    return client_of(store)


@pytest.fixture
def engine(store):
    with engines.Engine(url_of(store)) as opened:
        yield opened


def wait_in(engine, plain, name, owner, ttl_ms=TTL_MS):
    """A waiter that stands in the queue."""
    waits = Asked(engine, "LOCK.ACQUIRE", name, owner, "PX", ttl_ms, "WAIT", WAIT_MS)
    until(lambda: owner.encode() in waiters(engine, name))
    return waits


def waiters(engine, name):
    return [resp.pairs(each)[b"owner"] for each in resp.pairs(engine.call("LOCK.INFO", name))[b"waiters"]]


# ---- others at the same key ----


def test_what_stands_in_the_store(engine, plain):
    token, left_ms = engine.call("LOCK.ACQUIRE", "a", "me, here", "PX", TTL_MS, "NOTE", "why")
    assert plain.get("a") == b"me, here" and 0 < plain.pttl("a") <= TTL_MS
    assert left_ms <= TTL_MS - TTL_MS // 100
    assert plain.hget(f"{OWN}of:a", "token") == b"%d" % token == plain.get(f"{OWN}token")
    assert plain.hget(f"{OWN}of:a", "note") == b"why"
    assert plain.zrange(f"{OWN}index", 0, -1) == [b"a"]
    assert engine.call("LOCK.RELEASE", "a", "me, here", token) == 1
    assert plain.keys("*") and plain.get("a") is None and plain.zcard(f"{OWN}index") == 0
    assert 0 < plain.pttl(f"{OWN}of:a") <= 300_000  # nothing stays for ever but one counter
    assert plain.ttl(f"{OWN}token") == -1


def test_redis_py(engine, plain):
    theirs = redis.lock.Lock(plain, "a", timeout=60, blocking=False)
    token, _ = engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
    assert not theirs.acquire()
    assert engine.call("LOCK.RELEASE", "a", "me", token) == 1
    assert theirs.acquire()
    assert engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS) is None
    assert engine.call("LOCK.RELEASE", "a", "me", token) == 0
    assert engine.call("LOCK.RENEW", "a", "me", token, "PX", TTL_MS).startswith("LOCKLOST")
    holder = resp.pairs(resp.pairs(engine.call("LOCK.INFO", "a"))[b"holders"][0])
    assert holder[b"owner"] == theirs.local.token and holder[b"token"] == 0
    waits = wait_in(engine, plain, "a", "me")
    theirs.release()
    later, _ = waits.end()
    assert later > token
    with pytest.raises(redis.exceptions.LockError):
        theirs.release()
    assert plain.get("a") == b"me"


def test_many_of_both(store, plain):
    """redis-py's Lock and this engine: each adds one to a number that nobody guards but the lock."""
    number, each = [0], 20

    def add():
        seen = number[0]
        time.sleep(0.0005)
        number[0] = seen + 1

    def of_redis_py():
        mine = redis.Redis("127.0.0.1", store.port)
        for _ in range(each):
            with mine.lock("a", timeout=60, sleep=0.001):
                add()

    def of_engine(owner):
        with engines.Engine(url_of(store)) as mine:
            for _ in range(each):
                token, _ = mine.call("LOCK.ACQUIRE", "a", owner, "PX", TTL_MS, "WAIT", WAIT_MS)
                add()
                assert mine.call("LOCK.RELEASE", "a", owner, token) == 1

    threads = [threading.Thread(target=of_redis_py) for _ in range(3)]
    threads += [threading.Thread(target=of_engine, args=(f"o{i}",)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number == [6 * each]


@pytest.mark.parametrize("version", [4, 5])
def test_npm(store, engine, version):
    excludes_npm(engine, version, store)


def test_a_lock_that_never_ends(engine, plain):
    """As SET NX without PX makes one: it excludes until it is deleted."""
    plain.set("a", "for ever")
    assert engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS) is None
    waits = wait_in(engine, plain, "a", "me")
    plain.delete("a")
    assert isinstance(waits.end(), list)


def test_deleted_by_hand(engine, plain):
    token, _ = engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
    plain.delete("a")
    assert engine.call("LOCK.RENEW", "a", "me", token, "PX", TTL_MS).startswith("LOCKLOST")
    later, _ = engine.call("LOCK.ACQUIRE", "a", "other", "PX", TTL_MS)
    assert later > token
    assert [resp.pairs(past)[b"why"] for past in engine.call("LOCK.HISTORY", "a")] == [b"client gone"]


def test_other_types_and_own_names(engine, plain):
    plain.rpush("a", "x")
    assert engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS).startswith("WRONGTYPE redis: the key of that name")
    for name in ("token", "index", "of:x"):
        assert engine.call("LOCK.ACQUIRE", OWN + name, "me", "PX", TTL_MS).startswith("ERR redis: names that begin")
    assert engine.call("LOCK.ACQUIRE", "b", "me", "PX", 9).startswith("ERR redis: PX is at least")


def test_databases(store, engine):
    with engines.Engine(url_of(store, behind="/3")) as third, engines.Engine(url_of(store, behind="?db=3")) as same:
        assert isinstance(engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS), list)
        assert isinstance(third.call("LOCK.ACQUIRE", "a", "other", "PX", TTL_MS), list)
        assert same.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS) is None
    with engines.Engine(url_of(store, behind="/99")) as none:
        assert "out of range" in none.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)


# ---- who waits ----


def test_the_release_wakes_who_is_first(store, engine, plain):
    token, _ = engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
    assert plain.pubsub_channels(f"{OWN}wake:*") == []  # while nobody waits
    with engines.Engine(url_of(store)) as first, engines.Engine(url_of(store)) as second:
        one = wait_in(first, plain, "a", "1")
        until(lambda: len(plain.pubsub_channels(f"{OWN}wake:*")) == 1)
        (channel,) = plain.pubsub_channels(f"{OWN}wake:*")
        two = wait_in(second, plain, "a", "2")
        listener = plain.pubsub()
        listener.psubscribe(f"{OWN}wake:*")
        assert listener.get_message(timeout=PATIENCE_SECONDS)["type"] == "psubscribe"
        assert engine.call("LOCK.RELEASE", "a", "me", token) == 1
        heard = listener.get_message(timeout=PATIENCE_SECONDS)
        assert (heard["channel"], heard["data"]) == (channel, b"a")
        assert first.call("LOCK.RELEASE", "a", "1", one.end()[0]) == 1
        assert second.call("LOCK.RELEASE", "a", "2", two.end()[0]) == 1


def test_who_is_cut_off_while_it_waits(store, engine, plain):
    """Its subscription and its connection break: it asks by itself, and has its place still."""
    between = relay.Relay(store.port)
    token, _ = engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
    with engines.Engine(f"redis://127.0.0.1:{between.port}") as other:
        waits = wait_in(other, plain, "a", "1")
        for _ in range(5):
            between.reset()
            time.sleep(0.05)
        assert engine.call("LOCK.RELEASE", "a", "me", token) == 1
        assert isinstance(waits.end(), list)
    between.close()


def test_a_limit_of_waiters(engine, plain):
    """Waiters of whatever engine: the queue has an end, in words."""
    engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
    script = f"""local t = redis.call('TIME') local now = t[1] * 1000 local all = {{}}
        for i = 1, 256 do all[i] = {{'w' .. i, 'none', now, now + 60000, now + 60000}} end
        redis.call('HSET', '{OWN}of:a', 'waiters', cmsgpack.pack(all))"""
    plain.eval(script, 0)
    assert engine.call("LOCK.ACQUIRE", "a", "late", "PX", TTL_MS, "WAIT", 100).startswith("BUSY redis: too many wait")


# ---- servers that fail ----


def test_killed_and_it_keeps_its_data(new_server):
    server = new_server("redis", *LASTING)
    with engines.Engine(url_of(server)) as engine, engines.Engine(url_of(server)) as other:
        token, _ = engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
        waits = wait_in(other, None, "a", "other")
        server.kill()
        server.start()
        assert engine.call("LOCK.RENEW", "a", "me", token, "PX", TTL_MS) > 0
        assert engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)[0] == token
        assert waits.is_alive()
        assert engine.call("LOCK.RELEASE", "a", "me", token) == 1
        assert waits.end()[0] > token


def test_killed_and_it_forgets(new_server):
    """As docs/engines.md warns: whoever waited has the lock within the lease of who held it. Its token is larger still."""
    server = new_server("redis")
    with engines.Engine(url_of(server)) as engine, engines.Engine(url_of(server)) as other:
        token, _ = engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
        waits = wait_in(other, None, "a", "other")
        server.kill()
        server.start()
        assert waits.end()[0] > token
        assert engine.call("LOCK.RENEW", "a", "me", token, "PX", TTL_MS).startswith("LOCKLOST")
        assert not engine.can("FENCE")


def test_stopped(new_server):
    """What was sent and not answered may be executed; asked again it is the same grant. Nobody waits longer than he said."""
    server = new_server("redis")
    with engines.Engine(url_of(server, behind="?timeout=300ms")) as engine:
        assert engine.call("LOCK.ACQUIRE", "warm", "me", "PX", TTL_MS)[0] > 0
        stop(server)
        status, words = engine.ask("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS, timeout_ms=500)
        assert status in (UNCERTAIN, DOWN, TIMEOUT), words
        go_on(server)
        plain = client_of(server)
        until(lambda: isinstance(engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS), list))
        token, _ = engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
        assert plain.hget(f"{OWN}of:a", "token") == b"%d" % token
        assert engine.call("LOCK.HISTORY", "a") == []  # it was one grant
        assert engine.call("LOCK.RELEASE", "a", "me", token) == 1


def test_nobody_there(new_server):
    server = new_server("redis", start=False)
    with engines.Engine(url_of(server)) as engine:
        status, words = engine.ask("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS, timeout_ms=300)
        assert status != engines.OK and "Connection refused; is the server there?" in words
        server.start()
        assert isinstance(engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS), list)


def test_names_of_hosts(store):
    with engines.Engine(f"redis://localhost:{store.port}") as engine:
        assert isinstance(engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS), list)
    with engines.Engine("redis://no-such-host.invalid") as engine:
        status, words = engine.ask("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS, timeout_ms=300)
        assert status != engines.OK and "no-such-host.invalid" in words
    with engines.Engine("redis://no-such-host.invalid") as engine:
        pass  # closed at once


def test_the_reply_is_lost(store, plain):
    """Once the store has committed: asked again, it is the same grant."""
    between = relay.Relay(store.port)
    with engines.Engine(f"redis://127.0.0.1:{between.port}") as engine:
        assert isinstance(engine.call("LOCK.ACQUIRE", "warm", "me", "PX", TTL_MS), list)
        between.delay_s = 0.2
        asked = Asked(engine, "LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
        until(lambda: plain.exists("a"))
        between.reset()
        asked.end()
        token, _ = engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
        assert plain.hget(f"{OWN}of:a", "token") == b"%d" % token == plain.get(f"{OWN}token")
        assert engine.call("LOCK.HISTORY", "a") == []
        asked = Asked(engine, "LOCK.RENEW", "a", "me", token, "PX", 3 * TTL_MS)
        until(lambda: plain.pttl("a") > 2 * TTL_MS)
        between.reset()
        asked.end()
        assert engine.call("LOCK.RENEW", "a", "me", token, "PX", TTL_MS) > 2 * TTL_MS
        asked = Asked(engine, "LOCK.RELEASE", "a", "me", token)
        until(lambda: not plain.exists("a"))
        between.reset()
        asked.end()
        assert engine.call("LOCK.RELEASE", "a", "me", token) == 0
    between.close()


def test_cut_in_the_middle_of_anything(store, plain):
    """Whatever is told holds: who has a token holds the lock, who was told so no longer does."""
    between = relay.Relay(store.port)
    with engines.Engine(f"redis://127.0.0.1:{between.port}?timeout=2s") as engine, resets(between, 0.01):
        for turn in range(40):
            owner = f"o{turn}"
            granted = engine.call("LOCK.ACQUIRE", "a", owner, "PX", TTL_MS)
            while not isinstance(granted, list):
                assert isinstance(granted, resp.Error), granted  # nobody else is there
                granted = engine.call("LOCK.ACQUIRE", "a", owner, "PX", TTL_MS)
            assert plain.get("a") == owner.encode()
            renewed = engine.call("LOCK.RENEW", "a", owner, granted[0], "PX", 2 * TTL_MS)
            assert isinstance(renewed, resp.Error) or renewed > TTL_MS
            released = engine.call("LOCK.RELEASE", "a", owner, granted[0])
            while isinstance(released, resp.Error):
                assert not released.startswith("LOCKLOST")
                released = engine.call("LOCK.RELEASE", "a", owner, granted[0])
            assert plain.get("a") is None
    between.close()


def test_scripts_that_are_forgotten(engine, plain):
    token, _ = engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
    plain.script_flush()
    assert engine.call("LOCK.RENEW", "a", "me", token, "PX", TTL_MS) > 0
    plain.script_flush()
    assert engine.call("LOCK.RELEASE", "a", "me", token) == 1


def test_connections_that_the_server_closes(engine, plain):
    """While nothing is asked: nobody notices."""
    for turn in range(5):
        token, _ = engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
        plain.client_kill_filter(_type="normal", skipme=True)
        assert engine.call("LOCK.RELEASE", "a", "me", token) == 1


def test_holders_under_faults(new_server, tmp_path, figure):
    """A server that keeps what it said is killed and stopped: never are there two holders."""
    server = new_server("redis", *LASTING)
    with holders(tmp_path, 81, url_of(server, behind="?timeout=1s")) as load:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            load.wait_for(6)
            server.kill()
            server.start()
            load.wait_for(6)
            stop(server)
            time.sleep(0.5)
            go_on(server)
        load.wait_for(20)
    figure("holders of redis:// at a server that is killed and stopped", load.check())


def test_a_server_that_forgets_is_found_out(new_server, tmp_path):
    """The same judge sees what is warned of."""
    server = new_server("redis")
    for attempt in range(10):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with holders(folder, 83 + attempt, url_of(server)) as load:
            for _ in range(3):
                load.wait_for(6)
                server.kill()
                server.start()
            load.wait_for(6)
        if load.judge()[0] == 1 and "two holders" in load.judge()[1]:
            return
    raise AssertionError("two holders were never seen")


# ---- refusals ----


def test_passwords(new_server, tmp_path):
    server = new_server("redis", "--requirepass", "se:c@r/et")
    (tmp_path / "password").write_text("se:c@r/et\n")
    for url in (url_of(server, before=":se:c@r/et@"), url_of(server, behind="?password=se:c@r/et"),
                url_of(server, before="default:se:c@r/et@", behind="/0"),
                url_of(server, behind=f"?password-file={tmp_path}/password")):  # fmt: skip
        with engines.Engine(url) as engine:
            assert isinstance(engine.call("LOCK.ACQUIRE", url[:500], "me", "PX", TTL_MS), list)
    with engines.Engine(url_of(server)) as engine:
        status, words = engine.ask("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
        assert status == DENIED and words.startswith("NOAUTH redis: give the password")
    for before in (":wr0ng@", "default:wr0ng@", "nobody:wr0ng@"):
        with engines.Engine(url_of(server, before=before)) as engine:
            status, words = engine.ask("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS)
            assert status == DENIED and words.startswith("WRONGPASS redis:") and "wr0ng" not in words


RIGHTS = ["+get", "+set", "+del", "+pttl", "+exists", "+pexpire", "+time", "+hmget", "+hset", "+hdel", "+zadd", "+zrem", "+zrange",
          "+zremrangebyscore", "+publish", "+subscribe", "+eval", "+evalsha", "+script|load", "+select"]  # fmt: skip


def test_rights(new_server):
    """With those that docs/engines.md names, everything goes; each that is missing is told of, or is not needed."""
    server = new_server("redis")
    plain = client_of(server)
    holder = engines.Engine(url_of(server))

    def try_all(url, name):
        with engines.Engine(url) as engine:
            token = holder.call("LOCK.ACQUIRE", name, "other", "PX", 100)[0]
            replies = [engine.call("LOCK.ACQUIRE", name, "me", "PX", TTL_MS, "WAIT", WAIT_MS)]
            if not isinstance(replies[0], list):
                holder.call("LOCK.RELEASE", name, "other", token)
                return replies
            token = replies[0][0]
            return [*replies, engine.call("LOCK.RENEW", name, "me", token, "PX", 2 * TTL_MS), engine.call("LOCK.LIST"),
                    engine.call("LOCK.INFO", name), engine.call("LOCK.RELEASE", name, "me", token)]  # fmt: skip

    plain.execute_command("ACL", "SETUSER", "all", "on", ">pw", "~*", "&cohort:lock/wake:*", "-@all", *RIGHTS)
    assert [reply for reply in try_all(url_of(server, before="all:pw@"), "all") if isinstance(reply, resp.Error)] == []
    for missing in RIGHTS:
        plain.execute_command("ACL", "SETUSER", "less", "reset", "on", ">pw", "~*", "&cohort:lock/wake:*", "-@all",
                              *[right for right in RIGHTS if right != missing])  # fmt: skip
        needless = ("+publish", "+subscribe", "+script|load", "+select", "+zrem", "+zremrangebyscore", "+exists")
        for attempt in range(10):  # where a busy machine is late nobody has to wait, and so to stand in the queue
            replies = try_all(url_of(server, before="less:pw@"), f"{missing}{attempt}")
            errors = [reply for reply in replies if isinstance(reply, resp.Error)]
            assert all(error.startswith("NOPERM redis: the user needs the rights") for error in errors), (missing, errors)
            if errors or missing in needless:
                break
        assert errors or missing in needless, missing
    holder.close()


def test_a_replica(new_server):
    primary = new_server("redis", "--repl-diskless-sync-delay", "0")
    replica = new_server("redis", "--replicaof", "127.0.0.1", str(primary.port))
    until(lambda: client_of(replica).info("replication")["master_link_status"] == "up")
    with engines.Engine(url_of(replica)) as engine:
        status, words = engine.ask("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS, timeout_ms=500)
        assert status == DOWN and "it is a replica; give the primary's address" in words
        client_of(replica).execute_command("REPLICAOF", "NO", "ONE")
        assert isinstance(engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS), list)


def test_memory_is_full(new_server):
    server = new_server("redis", "--maxmemory", "1")
    plain = client_of(server)
    with engines.Engine(url_of(server)) as engine:
        status, words = engine.ask("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS, timeout_ms=500)
        assert status != engines.OK and "the server is at maxmemory" in words
        plain.config_set("maxmemory", 0)
        assert isinstance(engine.call("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS), list)


def test_what_is_no_redis(tmp_path):
    """Something else answers there."""
    import http.server

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    with engines.Engine(f"redis://127.0.0.1:{web.server_address[1]}") as engine:
        status, words = engine.ask("LOCK.ACQUIRE", "a", "me", "PX", TTL_MS, timeout_ms=500)
        assert status != engines.OK and isinstance(words, resp.Error), words
    web.shutdown()


URLS = ["redis://host/x", "redis://host/-1", "redis://host:0", "redis://host:70000", "redis://host:x", "redis://:6379",
        "redis://user@host", "redis://user:@host", "redis://a,b", "redis://[::1", "redis://[::1]x", "redis://" + "h" * 256,
        "redis://host?password=" + "p" * 600, "redis://host?password-file=/nowhere/at/all", "redis://host?db=x",
        "redis://host?passwort=x", "redlock://a,b,a", "redlock://a,,b", "redlock://a,b,", "redlock://h/1,b",
        "redlock://" + ",".join(f"h{i}" for i in range(32))]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_urls(url):
    with pytest.raises(engines.Refused) as refused:
        engines.Engine(url)
    assert refused.value.status == engines.INVALID and refused.value.words.startswith(url.split(":")[0] + "://: ")
