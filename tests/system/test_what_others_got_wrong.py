"""What other transaction systems got wrong over several shards, asked of three real nodes (docs/transactions.md has the list)."""

import cluster
import pytest
import resp

SHARDS = 8


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    with cluster.Cluster(tmp_path_factory.mktemp("wrong"), nodes=3, shards=SHARDS) as nodes:
        yield nodes


@pytest.fixture
def keys(three):
    """One in each shard; nothing is there."""
    with three[1].connect() as connection:
        assert connection.call("FLUSHALL") == "OK"
    return [three.key_of(shard) for shard in range(1, SHARDS + 1)]


@pytest.mark.parametrize("there", [True, False])
def test_delete_and_recreate_under_watch(three, keys, there):
    """The watched key looks as before, and is another one."""
    with three[1].connect() as one, three[2].connect() as other:
        if there:
            one.call("SET", keys[1], "v")
        before = one.call("GET", keys[1])
        assert one.call("WATCH", keys[0], keys[1]) == "OK"
        changes = [["DEL", keys[1]], ["SET", keys[1], "v"]] if there else [["SET", keys[1], "v"], ["DEL", keys[1]]]
        assert "OK" in other.calls(changes)
        assert other.call("GET", keys[1]) == before
        assert one.calls([["MULTI"], ["SET", keys[0], "w"], ["SET", keys[2], "w"], ["EXEC"]])[3] is None
        assert one.calls([["GET", keys[0]], ["GET", keys[2]]]) == [None, None]


def test_delete_and_recreate_under_a_transaction(three, keys):
    """What TXN.* has read counts as watched."""
    with three[1].connect() as one, three[2].connect() as other:
        one.call("SET", keys[1], "v")
        one.call("TXN.BEGIN")
        assert one.calls([["GET", keys[1]], ["SET", keys[0], "w"]]) == [b"v", "OK"]
        assert other.calls([["DEL", keys[1]], ["SET", keys[1], "v"]]) == [1, "OK"]
        assert one.call("TXN.COMMIT").startswith("TXNABORT")
        assert one.call("GET", keys[0]) is None


@pytest.mark.parametrize("protocol", ["2PC", "3PC"])
def test_outcome_is_visible_when_it_is_told(three, keys, protocol):
    """Whoever hears OK finds everything, at every node: what is not there yet makes readers wait."""
    with three[1].connect() as one, three[2].connect() as two, three[3].connect() as other:
        for n in range(20):
            value = f"{protocol}{n}"
            one.call("TXN.BEGIN", "PROTOCOL", protocol)
            one.calls([["SET", key, value] for key in keys])
            assert one.call("TXN.COMMIT") == "OK"
            for connection in (two, other):
                assert connection.calls([["GET", key] for key in keys]) == [value.encode()] * SHARDS


@pytest.mark.parametrize("protocol", ["2PC", "3PC"])
def test_commit_asked_again_applies_once(three, keys, protocol):
    """A client that does not know what came of its COMMIT says it again, here and there."""
    for n in range(5):
        name = f"again:{protocol}:{n}"
        with three[1].connect() as one:
            assert one.call("TXN.BEGIN", "ID", name, "PROTOCOL", protocol) == name.encode()
            one.calls([["INCR", key] for key in keys])
            assert one.call("TXN.PREPARE") == "PREPARED"
        for node in (2, 3, 1, 2):
            with three[node].connect() as other:
                assert other.calls([["TXN.COMMIT", name], ["TXN.COMMIT", name]]) == ["OK", "OK"]
        with three[3].connect() as reader:
            assert reader.calls([["GET", key] for key in keys]) == [b"%d" % (n + 1)] * SHARDS


@pytest.mark.parametrize("looked_at", [[], [2]], ids=["two shards", "and one that is only read"])
@pytest.mark.parametrize("protocol", ["2PC", "3PC"])
def test_the_read_only_participant_that_leaves_early(three, keys, protocol, looked_at):
    """Write skew: one reads x and writes y, the other reads y and writes x; if a shard that was only read forgot them at its
    vote, both could commit, and neither had seen the other."""
    x, y, more = keys[0], keys[1], [["GET", keys[shard]] for shard in looked_at]
    with three[1].connect() as one, three[2].connect() as other:
        for n in range(40):
            one.calls([["DEL", x], ["DEL", y]])
            for connection, read, written in ((one, x, y), (other, y, x)):
                connection.call("TXN.BEGIN", "PROTOCOL", protocol)
                assert connection.calls([["GET", read], *more, ["SET", written, n]])[0] is None
            if n % 8 == 0:  # one after the other: the first must commit, and the second has read what is no longer so
                assert one.call("TXN.COMMIT") == "OK"
                outcomes = ["OK", other.call("TXN.COMMIT")]
            else:  # at once: either may be in the other's way, both too
                one.send(resp.encode("TXN.COMMIT"))
                other.send(resp.encode("TXN.COMMIT"))
                outcomes = [one.read(), other.read()]
            assert outcomes.count("OK") < 2
            assert one.call("EXISTS", x, y) == outcomes.count("OK")
            for connection in (one, other):
                connection.call("TXN.ROLLBACK")
            # Said at once: one may see what the other wrote, but they do not both see nothing.
            one.calls([["DEL", x], ["DEL", y]])
            for connection, read, written in ((one, x, y), (other, y, x)):
                words = [["MULTI"], ["GET", read], *more, ["SET", written, n], ["EXEC"]]
                connection.send(b"".join(resp.encode(*command) for command in words))
            seen = [[connection.read() for _ in range(4 + len(more))][-1][0] for connection in (one, other)]
            assert sorted(seen, key=str) == sorted([None, b"%d" % n], key=str)


def listed(connection):
    """Ids of all that TXN.LIST gives and that are not done, step by step."""
    found, cursor = set(), b"0"
    while True:
        cursor, items = connection.call("TXN.LIST", "COUNT", "3", "CURSOR", cursor)
        records = [dict(zip(item[::2], item[1::2])) for item in items]
        found |= {record[b"id"] for record in records if record[b"state"] != b"DONE"}
        if cursor == b"0":
            return found


def test_the_list_misses_none_that_is_in_doubt(three, keys):
    """Prepared through every node, at every home; all are listed through every node, and none when they are finished."""
    names = [f"doubt:{n}" for n in range(24)]
    for n, name in enumerate(names):
        with three[n % 3 + 1].connect() as connection:
            connection.call("TXN.BEGIN", "ID", name)
            connection.calls([["SET", f"{{{keys[n % SHARDS]}}}:{n}", n], ["SET", f"{{{keys[(n + 3) % SHARDS]}}}:{n}", n]])
            assert connection.call("TXN.PREPARE") == "PREPARED"
    wanted = {name.encode() for name in names}
    for node in three:
        with node.connect() as connection:
            assert wanted <= listed(connection)
    with three[2].connect() as connection:
        for n, name in enumerate(names):
            assert connection.call("TXN.COMMIT" if n % 2 else "TXN.ROLLBACK", name) == "OK"
    with three[1].connect() as connection:
        states = [connection.call("TXN.STATUS", name) for name in names]
        outcomes = [dict(zip(state[::2], state[1::2]))[b"outcome"] for state in states]
        assert outcomes == [b"COMMIT" if n % 2 else b"ABORT" for n in range(len(names))]
