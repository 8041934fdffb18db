"""COHORT.CONSISTENCY and COHORT.POSITION, at real nodes: docs/consistency.md."""

import base64
import struct

import cluster
import pytest
import resp

SHARDS = 4


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    nodes = cluster.Cluster(tmp_path_factory.mktemp("levels"), shards=SHARDS, arguments=["--command-timeout", "1000"])
    with nodes:
        yield nodes


def level(node, *words):
    connection = node.connect()
    assert connection.call("COHORT.CONSISTENCY", *words) == "OK"
    return connection


def figures(connection):
    info = connection.call("INFO", "stats").decode()
    return {name: int(value) for name, value in (line.split(":") for line in info.split()[2:]) if name.startswith("reads_")}


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def changed(position, head=None, version=None, rest=None):
    """The same position with other bytes in it, and a sum that fits."""
    data = base64.urlsafe_b64decode(position + b"=" * (-len(position) % 4))
    data = (version or data[:1]) + (head or data[1:9]) + (rest or data[9:-4])
    return base64.urlsafe_b64encode(data + struct.pack("<I", crc32c(data))).rstrip(b"=")


def test_words(three):
    with three[1].connect() as connection:
        for good in (["STRONG"], ["session"], ["Bounded", "0"], ["BOUNDED", "86400000"], ["eventual"]):
            assert connection.call("COHORT.CONSISTENCY", *good) == "OK"
        for bad in (["WEAK"], ["STRONG", "x"], ["BOUNDED"], ["EVENTUAL", "1"], ["SESSION", "a", "b"], ["BOUNDED", "1", "2"]):
            assert connection.call("COHORT.CONSISTENCY", *bad).startswith("ERR syntax error: COHORT.CONSISTENCY STRONG |")
        for bad in ("-1", "86400001", "x", ""):
            assert connection.call("COHORT.CONSISTENCY", "BOUNDED", bad).startswith("ERR the bound is milliseconds")
        assert connection.call("MULTI") == "OK"
        for words in (["COHORT.CONSISTENCY", "STRONG"], ["COHORT.POSITION"]):
            assert isinstance(connection.call(*words), resp.Error)
        assert connection.call("EXEC").startswith("EXECABORT")


def test_positions_that_are_none(three):
    with three[1].connect() as connection:
        assert connection.call("SET", "key", "1") == "OK"
        position = connection.call("COHORT.POSITION")
        assert connection.call("COHORT.CONSISTENCY", "SESSION", position) == "OK"
        assert connection.call("COHORT.POSITION") == position
        swapped = position[:9] + (b"A" if position[9:10] != b"A" else b"B") + position[10:]
        for bad in (b"", b"x", position[:-1], position + b"A", position.swapcase(), swapped, b"A" * 100000, b"=" * 9):
            assert connection.call("COHORT.CONSISTENCY", "SESSION", bad).startswith("ERR this is no position as")
        for rest in (b"\x04\x01\x04\x01", b"\x04\x01\x00\x00", b"\x04\x02\x00\x01", b"\x04\x01\x00\x01\x01", b"\x04\x05"):
            bad = changed(position, rest=rest)
            assert connection.call("COHORT.CONSISTENCY", "SESSION", bad).startswith("ERR this is no position as"), rest
        for foreign in (changed(position, head=b"12345678"), changed(position, rest=b"\x05\x00")):
            assert "of another cluster, or of this one before" in connection.call("COHORT.CONSISTENCY", "SESSION", foreign)
        newer = changed(position, version=b"\x02")
        assert "of a newer version" in connection.call("COHORT.CONSISTENCY", "SESSION", newer)
        assert connection.call("COHORT.POSITION") == position


def test_a_position_that_the_cluster_does_not_have(three):
    """It was put back to an earlier time: nobody will ever come so far by the same way, and it says so at once."""
    with three[1].connect() as connection:
        position = connection.call("COHORT.POSITION")
        key = three.key_of(1)
        beyond = changed(position, rest=b"\x04\x01\x00\xff\xff\xff\x7f")  # shard 1, an index of many entries
        for node in three:
            with level(node, "SESSION", beyond) as far:
                assert "STALE this connection has a position that this cluster does not have" in far.call("GET", key)
                assert far.call("RESET") == "RESET"
                assert far.call("GET", key) in (None, b"1")


def test_what_was_written_is_read_at_every_node(three):
    keys = [three.key_of(shard, "mine") for shard in range(1, SHARDS + 1)]
    connections = [level(node, "SESSION") for node in three]
    position = None
    for turn in range(60):
        writer = connections[turn % 3]
        if position is not None:
            assert writer.call("COHORT.CONSISTENCY", "SESSION", position) == "OK"
            assert [writer.call("GET", key) for key in keys] == [b"%d" % (turn - 1)] * SHARDS
        if turn % 2:
            replies = writer.calls([["SET", key, turn] for key in keys] + [["GET", key] for key in keys])
            assert replies == ["OK"] * SHARDS + [b"%d" % turn] * SHARDS
        else:  # a transaction over all shards: a replica has its locks until it has its outcome
            assert writer.call("MSET", *[word for key in keys for word in (key, turn)]) == "OK"
        assert [writer.call("GET", key) for key in keys] == [b"%d" % turn] * SHARDS
        position = writer.call("COHORT.POSITION")
    for connection in connections:
        connection.close()


def test_a_transaction_that_another_connection_commits(three):
    keys = [three.key_of(shard, "named") for shard in (1, 2, 3)]
    with level(three[2], "SESSION") as second:
        for turn in range(5):
            with three[1].connect() as first:
                name = first.call("TXN.BEGIN")
                for key in keys:
                    assert first.call("SET", key, turn) == "OK"
                assert first.call("TXN.PREPARE") == "PREPARED"
            assert second.call("TXN.COMMIT", name) == "OK"
            assert second.call("COHORT.POSITION").startswith("STALE this connection has a write whose place is not known")
            assert [second.call("GET", key) for key in keys] == [b"%d" % turn] * 3


def test_bounded_reads_are_those_of_the_present_or_nearly(three):
    key = three.key_of(2, "bounded")
    with three[1].connect() as writer:
        readers = [level(node, "BOUNDED", "0") for node in three]
        for turn in range(30):  # 0 ms: nothing that was acknowledged before is missing
            assert writer.call("SET", key, turn) == "OK"
            assert [reader.call("GET", key) for reader in readers] == [b"%d" % turn] * 3
        for reader in readers:
            assert reader.call("COHORT.CONSISTENCY", "BOUNDED", "60000") == "OK"
            values = {reader.call("GET", key) for _ in range(20)}
            assert values == {b"29"}  # it had it before, and a replica does not go back
            reader.close()


def test_what_they_count(three):
    key = three.key_of(1, "counted")
    with three[1].connect() as connection:
        before = figures(connection)
        for words in (["STRONG"], ["SESSION"], ["BOUNDED", "100"], ["EVENTUAL"]):
            assert connection.call("COHORT.CONSISTENCY", *words) == "OK"
            assert connection.calls([["GET", key]] * 3) == [None] * 3
        after = figures(connection)
        for name in ("strong", "session", "bounded", "eventual"):
            assert after[f"reads_{name}"] - before[f"reads_{name}"] == 3
        assert b"flags=r " in connection.call("CLIENT", "INFO")
        assert connection.call("READWRITE") == "OK"
        assert b"flags=N " in connection.call("CLIENT", "INFO")


def test_what_is_strong_at_every_level(three):
    keys = [three.key_of(shard, "whole") for shard in range(1, SHARDS + 1)]
    with three[1].connect() as writer:
        for words in (["SESSION"], ["BOUNDED", "60000"]):
            with level(three[2], *words) as reader:
                for turn in range(10):
                    assert writer.call("MSET", *[word for key in keys for word in (key, turn)]) == "OK"
                    want = [b"%d" % turn] * SHARDS
                    assert reader.call("MGET", *keys) == want
                    assert reader.call("EVAL_RO", "return redis.call('GET', KEYS[1])", 1, keys[0]) == want[0]
                    replies = reader.calls([["MULTI"], *[["GET", key] for key in keys], ["EXEC"]])
                    assert replies[-1] == want
                    assert reader.calls([["MULTI"], ["GET", keys[0]], ["EXEC"]])[-1] == want[:1]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_node_that_is_behind_and_alone(tmp_path, workers):
    """It says so, and what it can do is read what is there."""
    arguments = ["--command-timeout", "1000", "--workers", str(workers)]
    with cluster.Cluster(tmp_path, shards=2, arguments=arguments) as three:
        keys = [three.key_of(shard) for shard in (1, 2)]
        behind = three[3]
        with behind.connect() as connection:
            for key in keys:
                assert connection.call("SET", key, "old") == "OK"
            assert connection.call("COHORT.CONSISTENCY", "SESSION") == "OK"
            assert [connection.call("GET", key) for key in keys] == [b"old"] * 2
            held = connection.call("COHORT.POSITION")
        behind.pause()
        with three[1].connect() as connection:
            for key in keys:
                while connection.call("SET", key, "new") != "OK":
                    pass
            position = connection.call("COHORT.POSITION")
        three[1].kill()
        three[2].kill()
        behind.resume()
        with level(behind, "SESSION", held) as session:
            assert [session.call("GET", key) for key in keys] == [b"old"] * 2  # all that this one knows of
        with level(behind, "SESSION", position) as session:
            replies = session.calls([["GET", key] for key in keys] + [["GET", keys[0]], ["PING"]])
            assert all(reply.startswith("STALE this node does not have yet what this connection") for reply in replies[:3])
            assert replies[3] == "PONG"
        with level(behind, "BOUNDED", "1") as bounded:
            replies = bounded.calls([["GET", key] for key in keys])
            assert all(reply.startswith("STALE no leader of the shard has confirmed in time") for reply in replies)
        with level(behind, "EVENTUAL") as eventual:
            assert [eventual.call("GET", key) for key in keys] == [b"old"] * 2
        three[1].start()
        with level(behind, "SESSION", position) as session:
            assert [session.call("GET", key) for key in keys] == [b"new"] * 2
