"""Sessions as clients see them: one heartbeat for many locks and keys, in any shards, through any node; and what is left
of them when leaders are killed."""

import concurrent.futures
import time

import cluster
import pytest
import resp
from locks import LONG, fresh, info, until

SHORT = 300


def opened(client, ttl=LONG):
    session = client.call("SESSION.OPEN", "PX", ttl)
    assert isinstance(session, bytes), session
    return session


def waiters(client, lock):
    return len(info(client, lock)[b"waiters"])


def over(reply):
    return isinstance(reply, resp.Error) and reply.startswith("NOSESSION the session has ended")


def test_locks_and_keys_in_all_shards_end_with_it(anywhere):
    session = opened(anywhere[0])
    assert anywhere[1].call("SESSION.KEEPALIVE", session) == LONG
    names = [fresh("all") for _ in range(24)]
    tokens = {}
    for number, name in enumerate(names):
        client = anywhere[number % len(anywhere)]
        tokens[name], ttl = client.call("LOCK.ACQUIRE", name, "a", "SESSION", session)
        assert 0 < ttl <= LONG
        assert client.call("SET", name, "v", "SESSION", session) == "OK"
        assert client.call("LOCK.ACQUIRE", name, "b", "PX", LONG) is None
        assert client.call("LOCK.ACQUIRE", name, "a", "SESSION", session)[0] == tokens[name]
    assert anywhere[0].call("LOCK.RELEASE", names[0], "a", tokens[names[0]]) == 1
    assert anywhere[0].call("SET", names[0], "mine") == "OK"  # no longer its session's
    assert anywhere[2].call("SESSION.CLOSE", session) == 1
    assert anywhere[2].call("SESSION.CLOSE", session) == 0
    assert over(anywhere[0].call("SESSION.KEEPALIVE", session))
    assert over(anywhere[1].call("LOCK.ACQUIRE", names[0], "a", "SESSION", session))
    assert over(anywhere[1].call("SET", fresh("new"), "v", "SESSION", session))
    until(lambda: sum(anywhere[0].call("EXISTS", name) for name in names[1:]) == 0)
    for name in names[1:]:
        until(lambda: anywhere[1].call("LOCK.ACQUIRE", name, "b", "PX", LONG) is not None)
        (past, *_) = anywhere[2].call("LOCK.HISTORY", name)
        assert dict(zip(past[::2], past[1::2], strict=True))[b"why"] == b"session"
    assert anywhere[0].call("GET", names[0]) == b"mine"


def test_it_expires(anywhere):
    lock = fresh("short")

    def granted():
        """By a session that is still there, on a busy machine."""
        session = opened(anywhere[0], SHORT)
        grant = anywhere[0].call("LOCK.ACQUIRE", lock, "a", "SESSION", session)
        return None if over(grant) else (session, grant)

    session, (token, ttl) = until(granted)
    assert token > 0 and ttl <= SHORT
    assert anywhere[1].call("LOCK.ACQUIRE", lock, "b", "PX", LONG, "WAIT", LONG)[0] > token
    assert over(anywhere[2].call("SESSION.KEEPALIVE", session))


def test_waits_of_a_session_end_with_it(anywhere, any_cluster):
    lock = fresh("wait")
    session = opened(anywhere[0])
    token, _ = anywhere[0].call("LOCK.ACQUIRE", lock, "a", "PX", LONG)
    with concurrent.futures.ThreadPoolExecutor(1) as pool, resp.Connection(list(any_cluster)[1].port) as waiter:
        wait = pool.submit(waiter.call, "LOCK.ACQUIRE", lock, "b", "SESSION", session, "WAIT", LONG)
        until(lambda: waiters(anywhere[0], lock) == 1)
        assert anywhere[0].call("SESSION.CLOSE", session) == 1
        assert over(wait.result(60))
    assert anywhere[0].call("LOCK.RELEASE", lock, "a", token) == 1


def test_who_has_a_lock_otherwise_is_told_how(anywhere):
    lock = fresh("otherwise")
    session, other = opened(anywhere[0]), opened(anywhere[1])
    assert anywhere[0].call("LOCK.ACQUIRE", lock, "a", "SESSION", session)[0] > 0
    for asks, words in ((("PX", LONG), "PX"), (("SESSION", other), "SESSION " + other.decode())):
        assert anywhere[2].call("LOCK.ACQUIRE", lock, "a", *asks) == (
            f"ERR this owner holds the lock with MODE EXCLUSIVE and SESSION {session.decode()}, and now asks with MODE "
            f"EXCLUSIVE and {words}; ask as before, or LOCK.RELEASE it, then acquire it anew"
        )


def elsewhere(count, shards=4):
    """Names in different shards, of a cluster that has so many."""
    found = {}
    while len(found) < count:
        name = fresh("key")
        found.setdefault(cluster.slot_shard(cluster.slot_of(name), shards), name)
    return list(found.values())


def gone(client, *names):
    until(lambda: client.call("EXISTS", *names) == 0)


@pytest.mark.parametrize("how", ["RENAME", "COPY"])
@pytest.mark.parametrize("same", [True, False])
def test_a_key_takes_its_session_along(three, how, same):
    """Whether the new name is in the same shard or another: nobody can see it."""
    one, other = elsewhere(2)
    to = "{%s}:too" % one if same else other
    with three[1].connect() as client, three[2].connect() as second:
        for large in (False, True):
            session = opened(client)
            assert client.call("SET", one, "v", "SESSION", session) == "OK"
            if large:
                assert client.call("APPEND", one, "w" * 100_000) == 100_001
            assert second.call(how, one, to) == ("OK" if how == "RENAME" else 1)
            assert client.call("EXISTS", one, to) == (1 if how == "RENAME" else 2)
            assert client.call("PTTL", to) == -1
            assert client.call("SESSION.CLOSE", session) == 1
            gone(second, one, to)
        assert client.call("SET", one, "v") == "OK"
        assert second.call(how, one, to) == ("OK" if how == "RENAME" else 1)
        assert client.call("GET", to) == b"v"
        client.call("DEL", one, to)


def test_transactions_keep_what_ends_with_a_session(three):
    names = elsewhere(3)
    with three[1].connect() as client, three[3].connect() as second:
        for begin, end in (("MULTI", "EXEC"), ("TXN.BEGIN", "TXN.COMMIT")):
            for moves in (False, True):
                queued = begin == "MULTI"
                session = opened(client)
                assert client.call("SET", names[0], "v", "SESSION", session) == "OK"
                client.call(begin)
                wanted = ["QUEUED"] * 4 if queued else [2, "OK", "OK", "OK"]
                commands = [("APPEND", names[0], "w"), ("SET", names[1], "v", "SESSION", session), ("SET", names[2], "v")]
                commands.append(("RENAME", names[1], names[2] + ":moved") if moves else ("SET", names[2], "w"))
                assert [client.call(*command) for command in commands] == wanted
                assert client.call(end) == ([2, "OK", "OK", "OK"] if queued else "OK")
                assert second.call("MGET", *names) == [b"vw", None if moves else b"v", b"v" if moves else b"w"]
                assert second.call("SESSION.CLOSE", session) == 1
                gone(client, names[0], names[1], names[2] + ":moved")
                assert client.call("DEL", *names) == 1


def test_sessions_that_are_over_in_transactions(three):
    names = elsewhere(2)
    with three[1].connect() as client:
        session = opened(client)
        assert client.call("SESSION.CLOSE", session) == 1
        assert client.call("MULTI") == "OK"
        assert over(client.call("SET", names[0], "v", "SESSION", session))
        assert client.call("SET", names[1], "v") == "QUEUED"
        assert client.call("EXEC").startswith("EXECABORT")
        client.call("TXN.BEGIN")
        assert over(client.call("SET", names[0], "v", "SESSION", session))
        assert client.call("SET", names[1], "v") == "OK"
        assert client.call("TXN.COMMIT") == "OK"
        session = opened(client)
        client.call("TXN.BEGIN")
        assert client.call("SET", names[0], "v", "SESSION", session) == "OK"
        assert client.call("COPY", names[0], names[1], "REPLACE") == 1
        with three[2].connect() as second:
            assert second.call("SESSION.CLOSE", session) == 1
        until(lambda: over(client.call("SESSION.KEEPALIVE", session)))
        reply = client.call("TXN.COMMIT")
        assert reply == "TXNABORT a session that one of its keys ends with has ended" or reply == "OK", reply
        gone(client, names[0])
        script = "return redis.call('SET', KEYS[1], 'v', 'SESSION', ARGV[1])"
        assert client.call("EVAL", script, 2, *names, session).startswith("NOSESSION")
        assert client.call("EVAL", script, 2, *names, "60000-1").startswith("NOSESSION")
        session = opened(client)
        assert client.call("EVAL", script, 2, *names, session) == "OK"
        assert client.call("SESSION.CLOSE", session) == 1
        gone(client, names[0])
        client.call("DEL", *names)


def test_heartbeats_of_many_are_gathered(anywhere):
    """As many as there are leave in few commands."""
    client = anywhere[0]
    sessions = [opened(client) for _ in range(200)]
    assert client.calls([("SESSION.KEEPALIVE", session) for session in sessions]) == [LONG] * len(sessions)
    for session in sessions:
        assert client.call("SESSION.CLOSE", session) == 1


def test_refusals(anywhere):
    client = anywhere[0]
    assert client.call("SESSION.OPEN", "PX", 99).startswith("ERR PX is the time to live of the session")
    assert client.call("SESSION.OPEN", "PX", 86400_001).startswith("ERR PX is the time to live of the session")
    assert client.call("SESSION.OPEN", "EX", 100) == "ERR syntax error"
    assert client.call("SESSION.KEEPALIVE", "1-0").startswith("ERR the id of a session")
    assert over(client.call("SESSION.KEEPALIVE", "1-1"))
    assert client.call("SESSION.CLOSE", "1-1") == 0
    assert client.call("LOCK.ACQUIRE", "l", "a", "SESSION", "1-1/500").startswith("ERR SESSION is followed by")
    assert over(client.call("LOCK.ACQUIRE", fresh("l"), "a", "SESSION", "1-1"))
    assert over(client.call("LOCK.ACQUIRE", "l", "a", "SESSION", "1-1", "PX", 5))
    assert client.call("MULTI") == "OK"
    assert client.call("SESSION.OPEN", "PX", 1000).startswith("ERR")
    client.call("DISCARD")


def with_lock_and_key(client, number, ttl):
    """A session that has them; another one when it was over before that, on a busy machine."""
    for _ in range(20):
        session = opened(client, ttl)
        grant = client.call("LOCK.ACQUIRE", f"l{number}", "a", "SESSION", session, "WAIT", LONG)
        kept = client.call("SET", f"k{number}", "v", "SESSION", session)
        if not over(grant) and not over(kept):
            assert grant[0] > 0 and kept == "OK"
            return session
    raise AssertionError("no session lives long enough")


def test_leaders_are_killed(tmp_path):
    """What remained remains: a session that is kept alive keeps its locks, one that is not loses them, whoever leads."""
    with cluster.Cluster(tmp_path, nodes=3, shards=3) as three:
        nodes = list(three.nodes)
        with nodes[0].connect(60) as client:
            kept = [with_lock_and_key(client, number, 30_000) for number in range(6)]
            lost = [with_lock_and_key(client, number, 2000) for number in range(6, 12)]
        for shard in (1, 2, 3):
            leader = three.leader_of(shard)
            leader.kill()
            others = [node for node in nodes if node is not leader]
            three.wait_for_leaders()
            with others[0].connect(60) as client:
                for session in kept:
                    until(lambda: client.call("SESSION.KEEPALIVE", session) == 30_000)
            leader.start()
        three.wait_for_leaders()
        with nodes[1].connect(60) as client:
            until(lambda: sum(client.call("EXISTS", f"k{number}") for number in range(6, 12)) == 0)
            for number in range(6):
                assert client.call("LOCK.ACQUIRE", f"l{number}", "b", "PX", 5000) is None
                assert client.call("EXISTS", f"k{number}") == 1
            for number in range(6, 12):
                assert client.call("LOCK.ACQUIRE", f"l{number}", "b", "PX", LONG, "WAIT", LONG)[0] > 0
            for session in lost:
                assert over(client.call("SESSION.KEEPALIVE", session))
            for session in kept:
                assert client.call("SESSION.CLOSE", session) == 1
            until(lambda: sum(client.call("EXISTS", f"k{number}") for number in range(6)) == 0)


def believes(node, name, lock, rounds):
    """Holds the lock by sessions that are kept alive for a while and then left alone; returns when it believed to hold:
    from an answer to the time that was told, counted from before the request."""
    beliefs = []
    with node.connect(60) as client:
        for number in range(rounds):
            ttl = SHORT * (1 + number % 3)
            session = client.call("SESSION.OPEN", "PX", ttl)
            if not isinstance(session, bytes):
                continue  # nobody leads
            sent = time.monotonic()
            reply = client.call("LOCK.ACQUIRE", lock, f"{name}.{number}", "SESSION", session, "WAIT", LONG)
            if not isinstance(reply, list):
                continue  # it had ended, or nobody leads
            begin = time.monotonic()
            end = sent + reply[1] / 1000
            for _ in range(number % 4):
                sent = time.monotonic()
                if client.call("SESSION.KEEPALIVE", session) == ttl:
                    end = max(end, sent + ttl / 1000)
            if end > begin:
                beliefs.append((begin, end, reply[0], f"{name}.{number}"))
    return beliefs


def test_two_holders_around_session_expiry(tmp_path):
    """While one may believe to hold, nobody else does; also when the leaders of its lock and of its session are killed."""
    with cluster.Cluster(tmp_path, nodes=3, shards=2) as three, concurrent.futures.ThreadPoolExecutor(6) as pool:
        nodes, lock = list(three.nodes), "expiring"
        clients = [pool.submit(believes, nodes[number % 2], f"o{number}", lock, 12) for number in range(6)]
        victim = nodes[2]  # clients are at the others
        for _ in range(2):
            victim.kill()
            three.wait_for_leaders()
            victim.start()
            three.wait_for_leaders()
        beliefs = sorted(belief for client in clients for belief in client.result(300))
        assert beliefs
        for (_, end, token, owner), (begin, _, later, other) in zip(beliefs, beliefs[1:], strict=False):
            assert begin >= end - 0.001, (owner, other, end - begin)
            assert later > token
