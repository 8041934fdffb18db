"""Nodes that lost their majority: what they refuse, how soon, and what they still answer."""

import time

import pytest
import resp

TIMEOUT_MS = 1500


@pytest.fixture
def minority(new_cluster):
    """The one node that is left of three; `a`, `b`, `c`, `d` were 1."""
    three = new_cluster(nodes=3, shards=4, arguments=["--command-timeout", str(TIMEOUT_MS)])
    with resp.Connection(three[1].port) as connection:
        assert connection.calls([["SET", key, 1] for key in "abcd"]) == ["OK"] * 4
    three.wait_until_equal()
    three[2].kill()
    three[3].kill()
    # Leaders without a majority step down within an election's time.
    deadline = time.monotonic() + 60
    with resp.Connection(three[1].port) as connection:
        while b"shards_without_leader:4" not in connection.call("INFO", "replication"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    return three


def code(reply):
    return reply.split(" ")[0] if isinstance(reply, resp.Error) else reply


def in_time(ask):
    """What is said, which takes no longer than it may. Where a busy machine made it late it is asked again."""
    seconds = []
    while len(seconds) < 5:
        began = time.monotonic()
        said = ask()
        seconds.append(time.monotonic() - began)
        if seconds[-1] < TIMEOUT_MS / 1000 + 1:
            return said
    raise AssertionError(seconds)


def test_everything_is_refused_in_time_and_not_executed(minority):
    commands = [["INCR", "a"], ["GET", "b"], ["DBSIZE"], ["KEYS", "*"], ["SCAN", "0"], ["RANDOMKEY"], ["MSET", "{c}1", 1, "{c}2", 2],
                ["WATCH", "d"], ["MULTI"], ["INCR", "d"], ["EXEC"], ["EXEC"]]  # fmt: skip
    with resp.Connection(minority[1].port) as connection:
        replies = in_time(lambda: connection.calls(commands))
        assert [code(reply) for reply in replies] == ["CLUSTERDOWN"] * 8 + ["OK", "QUEUED", "EXECABORT", "ERR"]
        assert all("not executed" in reply or "send it again" in reply for reply in replies[:8])
        # transactions over several shards, which begin when what was sent before them has ended
        for words in (["FLUSHALL"], ["MSET", "a", 2, "b", 2]):
            reply = in_time(lambda words=words: connection.call(*words))
            assert code(reply) == "CLUSTERDOWN" and "not executed" in reply
        # a transaction without WATCH
        assert [code(reply) for reply in connection.calls([["MULTI"], ["INCR", "d"], ["PING"], ["EXEC"]])] == ["OK", "QUEUED", "QUEUED", "CLUSTERDOWN"]
        assert b"cluster_state:fail" in connection.call("CLUSTER", "INFO")
    minority.start()
    with resp.Connection(minority[1].port) as connection:
        assert connection.calls([["GET", key] for key in "abcd"] + [["DBSIZE"]]) == [b"1"] * 4 + [4]


def test_readonly_reads_go_on(minority):
    with resp.Connection(minority[1].port) as connection:
        assert connection.call("READONLY") == "OK"
        replies = connection.calls([["GET", "a"], ["MGET", "b", "{b}x"], ["DBSIZE"], ["KEYS", "a"], ["PING"], ["EXISTS", "d"]])
        assert replies == [b"1", [b"1", None], 4, [b"a"], "PONG", 1]
        assert connection.call("RANDOMKEY") in (b"a", b"b", b"c", b"d")
        cursor, found = b"0", []
        for _ in range(100):
            cursor, keys = connection.call("SCAN", cursor)
            found += keys
            if cursor == b"0":
                break
        assert sorted(found) == [b"a", b"b", b"c", b"d"]
        # behind a write they are in its place, and strong
        assert [code(reply) for reply in connection.calls([["INCR", "a"], ["GET", "a"]])] == ["CLUSTERDOWN", "CLUSTERDOWN"]
        assert connection.call("GET", "a") == b"1"


def test_a_client_that_leaves_and_a_node_that_stops(minority):
    """With everything still waiting for a leader."""
    for _ in range(5):
        with resp.Connection(minority[1].port) as connection:
            connection.send(b"".join(resp.encode(*words) for words in (["INCR", "a"], ["FLUSHALL"], ["DBSIZE"], ["WATCH", "a"], ["KEYS", "*"])))
            time.sleep(0.05)
    with resp.Connection(minority[1].port) as connection:
        connection.send(resp.encode("INCR", "a") + resp.encode("DBSIZE"))
        time.sleep(0.05)
        minority[1].process.terminate()
        assert [code(connection.read()) for _ in range(2)] == ["CLUSTERDOWN"] * 2
        assert minority[1].process.wait(30) == 0
