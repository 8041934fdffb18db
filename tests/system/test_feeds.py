"""COHORT.FEED over real processes: what is told, in which order, and from where a client can go on."""

import collections
import random
import re
import select
import threading
import time

import cluster
import conftest
import feeds
import pytest
import resp
import servers


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    server = conftest.start_cohort_or_fail(tmp_path_factory.mktemp("feeds"), ["--shards", "8"])
    yield server
    status = server.stop()
    conftest.complain_of_sanitizers(server)
    assert status == 0, server.log()


@pytest.fixture
def client(node):
    with node.connect() as connection:
        connection.call("FLUSHALL")
        connection.call("DBSIZE")  # waits until the last shard has heard of it
        yield connection


def follower_of(node, prefix, **options):
    follower = feeds.Follower([node], prefix, **options)
    assert follower.connect(node) is None
    return follower


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_is_told(node, client, protocol):
    follower = follower_of(node, "a:", protocol=protocol)
    for words in (
        ["SET", "b:1", "not ours"], ["SET", "a:1", "x"], ["APPEND", "a:1", "y"], ["PEXPIREAT", "a:1", "99999999999000"],
        ["PERSIST", "a:1"], ["HSET", "a:1:h", "f", "1", "g", "2"], ["HDEL", "a:1:h", "f"], ["DEL", "a:1"], ["HDEL", "a:1:h", "g"],
        ["SET", "a:", "last"],
    ):  # fmt: skip
        assert not isinstance(client.call(*words), resp.Error)
    ends = {(b"set", b"a:"), (b"del", b"a:1"), (b"del", b"a:1:h")}  # of each: between shards there is no order
    follower.follow(lambda _: ends <= {change[:2] for change in follower.changes})
    by_key = collections.defaultdict(list)
    for kind, key, version, *data in follower.changes:
        assert isinstance(version, int) and version > 0
        by_key[key].append((kind, *data))
    assert by_key[b"a:1"] == [(b"set", b"x"), (b"set", b"xy"), (b"expire", 99999999999000), (b"persist",), (b"del",)]
    assert by_key[b"a:1:h"] == [(b"hset", b"f", b"1"), (b"hset", b"g", b"2"), (b"hdel", b"f"), (b"hdel", b"g"), (b"del",)]
    assert set(by_key) == {b"a:", b"a:1", b"a:1:h"}
    follower.close()


def test_expiry_and_flush_are_told(node, client):
    follower = follower_of(node, "x")
    client.call("SET", "x1", "v", "PX", 30)
    changes = follower.read(lambda change: change[0] == b"expired")
    assert [change[:2] for change in changes] == [(b"set", b"x1"), (b"expire", b"x1"), (b"expired", b"x1")]
    client.call("SET", "y", "v")
    follower.close()


def test_a_flush_names_its_shard_by_slots(node, client):
    """So a follower of several shards has the keys, whatever is written around a flush."""
    follower = follower_of(node, "")
    client.calls([["SET", f"f{i}", "before"] for i in range(100)])
    client.call("FLUSHALL")
    client.calls([["SET", f"f{i}", "after"] for i in range(0, 100, 3)])
    client.call("SET", "f-end", "end")
    keys, slots = {}, []
    while len(slots) < 8 or keys.get(b"f-end") is None or sum(value == b"after" for value in keys.values()) < 34:
        for kind, key, version, *data in follower.take(follower.connection.read()):
            assert kind in (b"set", b"flush") and version > 0
            if kind == b"flush":
                first, last = data
                assert key == b"" and 0 <= first <= last < 16384
                slots.append((first, last))
                keys = {key: value for key, value in keys.items() if not first <= cluster.slot_of(key.decode()) <= last}
            else:
                keys[key] = data[0]
    assert keys == {b"f-end": b"end", **{b"f%d" % i: b"after" for i in range(0, 100, 3)}}
    assert [first for first, _ in sorted(slots)] == [0, *(last + 1 for _, last in sorted(slots)[:-1])]
    assert max(slots)[1] == 16383
    follower.close()


# ---- more changes at once than are kept ----


def test_one_large_change_ends_no_feed(tmp_path):
    """In one turn 5 MB, and a hash of 60,000 fields, while 4 MiB are kept; with a client that reads."""
    server = conftest.start_cohort_or_fail(tmp_path, ["--shards", "1"])
    follower = follower_of(server, "big")
    with server.connect(120) as client:
        for turn in range(3):
            expected = {b"big%d" % i: b"%d" % turn + b"x" * 5000 for i in range(1000)}
            assert client.call("MSET", *(word for pair in expected.items() for word in pair)) == "OK"
            fields = {b"field-%d" % i: b"%d-" % turn + b"y" * 60 for i in range(60000)}
            assert client.call("HSET", "big-hash", *(word for pair in fields.items() for word in pair)) >= 0
            client.call("SET", "big-end", turn)
            changes = follower.read(feeds.is_set("big-end", turn))
            assert follower.ended is None
            told = {change[1]: change[3] for change in changes if change[0] == b"set"}
            assert told == {**expected, b"big-end": b"%d" % turn}
            assert {change[3]: change[4] for change in changes if change[0] == b"hset"} == fields
            client.call("DEL", "big-hash")
            follower.read(lambda change: change[0] == b"del")
    follower.close()
    server.stop()


def test_more_than_can_be_told_is_to_be_read(tmp_path):
    """Of much more than is kept the names are told, and of still more that everything is to be read."""
    server = conftest.start_cohort_or_fail(tmp_path, ["--shards", "1", "--feed-history-bytes", "65536"])
    follower = follower_of(server, "m")
    with server.connect(60) as client:
        for count, kinds in ((1500, {b"set"}), (3500, {b"set", b"reload"}), (20000, {b"set", b"reload", b"stale"})):
            assert client.call("MSET", *(word for i in range(count) for word in (f"m{i}", "x" * 100))) == "OK"
            client.call("SET", "m-end", count)
            changes = follower.read(feeds.is_set("m-end", count))
            assert follower.ended is None
            assert {change[0] for change in changes} == kinds
            if b"stale" in kinds:
                assert [change[1:] for change in changes if change[0] == b"stale"] == [(b"", changes[0][2], 0, 16383)]
            else:
                assert {change[1] for change in changes[:-1]} == {b"m%d" % i for i in range(count)}
        for i in range(20):  # one after the other, each alone more than is kept
            assert client.call("MSET", *(word for k in range(1000) for word in (f"m{k}", "z" * 100))) == "OK"
            client.call("SET", "m-end", f"again{i}")
            assert len(follower.read(feeds.is_set("m-end", f"again{i}"))) == 1001 and follower.ended is None
    follower.close()
    server.stop()


def test_positions_of_the_most_shards(tmp_path):
    """Also in an error a position is told as it is."""
    server = conftest.start_cohort_or_fail(tmp_path, ["--shards", "1024", "--feed-history-bytes", "65536"])
    follower = follower_of(server, "p")
    early = follower.position
    follower.connection.close()
    with server.connect(60) as client:
        while True:  # until it is too much, and too old
            client.calls([["SET", "p", "x" * 1000]] * 200)
            late = feeds.Follower([server], "p", position=early)
            error = late.connect(server, 60)
            if error is not None:
                break
            late.connection.close()
        oldest = error.split()[1]
        assert error.startswith("COMPACTED ") and len(oldest) > 1024 and "oldest position left" in error
        late.position = oldest.encode()
        assert late.connect(server, 60) is None
        client.call("SET", "p", "end")
        assert late.read(feeds.is_set("p", "end"))
        late.close()
        text = "x" * 20000
        assert client.call("EVAL", f"return redis.error_reply('MY {text}')", "0") == f"MY {text}"
    server.stop()


def test_transactions_and_versions(node, client):
    follower = follower_of(node, "t")
    client.calls([["MULTI"], ["SET", "t1", "1"], ["SET", "{t1}t", "2"], ["INCR", "t1"], ["EXEC"]])  # one shard
    client.calls([["MULTI"], *(["SET", f"t{i}", "all"] for i in range(20)), ["HSET", "th", "f", "v"], ["EXEC"]])
    all_of_them = {b"t%d" % i for i in range(20)} | {b"th"}
    while not all_of_them <= {change[1] for change in follower.changes if change[-1] in (b"all", b"v")}:
        follower.take(follower.connection.read())  # each shard's part becomes visible by itself
    told = [change for change in follower.changes if change[1] == b"t1"]
    assert [change[3] for change in told] == [b"1", b"2", b"all"] and told[0][2] == told[1][2] < told[2][2]
    assert told[2][2] == client.call("COHORT.GETV", "t1")[1]
    assert {change[1] for change in follower.changes if change[-1] == b"all"} == {b"t%d" % i for i in range(20)}
    assert any(change[0] == b"hset" and change[1] == b"th" and change[3:] == (b"f", b"v") for change in follower.changes)
    follower.close()


def test_nothing_that_was_acknowledged_before_it_is_told(node, client):
    for i in range(50):
        client.call("SET", f"before{i % 7}", i)
        with_own = feeds.Follower([node], "before")
        assert with_own.connect(node) is None
        client.call("SET", "before-mine", i)
        changes = with_own.read(feeds.is_set("before-mine", i))
        assert [change[1] for change in changes] == [b"before-mine"]
        with_own.close()


def test_every_push_is_a_place_to_go_on(node, client):
    first = follower_of(node, "p")
    start = first.position
    rng = random.Random(5)
    for i in range(300):
        if rng.random() < 0.2:
            client.calls([["MULTI"], *(["SET", f"p{{{i % 5}}}{j}", i] for j in range(4)), ["EXEC"]])
        else:
            client.call("SET", f"p{rng.randrange(40)}", i)
    client.call("SET", "p-end", "end")
    first.connection.close()
    # Reads a few pushes, goes, and begins anew where it was.
    pieces = feeds.Follower([node], "p", position=start)
    while not any(feeds.is_set("p-end", "end")(change) for change in pieces.changes):
        assert pieces.connect(node) is None
        for _ in range(rng.randrange(1, 4)):
            pieces.take(pieces.connection.read())
            if any(feeds.is_set("p-end", "end")(change) for change in pieces.changes):
                break
    whole = feeds.Follower([node], "p", position=start)
    assert whole.connect(node) is None
    whole.follow(feeds.is_set("p-end", "end"))
    by_key = [collections.defaultdict(list), collections.defaultdict(list)]
    for one, follower in zip(by_key, (whole, pieces)):
        for change in follower.changes:
            one[change[1]].append(change)
    # After the last one of its shard other shards' changes may still come: those are not compared.
    for key, changes in by_key[0].items():
        assert by_key[1][key] == changes[: len(by_key[1][key])]
    feeds.check_order([change for change in whole.changes if b"{" not in change[1]])
    whole.close()
    pieces.close()


def test_unfeed_and_reset(node, client):
    with resp.Connection(node.port, protocol=3) as mine:
        for prefix in ("u1", "u2", "u3"):
            assert mine.call("COHORT.FEED", "PREFIX", prefix)[0] == "OK"
        assert mine.call("COHORT.FEED", "PREFIX", "u2").startswith("ERR this connection has a feed of this prefix already")
        assert mine.call("COHORT.UNFEED", "PREFIX", "u9") == 0
        assert mine.call("COHORT.UNFEED", "PREFIX", "u2") == 1
        client.call("MSET", "u1", "1", "u2", "1", "u3", "1")
        assert {mine.read()[1] for _ in range(2)} == {b"u1", b"u3"}
        assert mine.call("COHORT.UNFEED") == 2
        client.call("MSET", "u1", "2", "u2", "2", "u3", "2")
        assert mine.call("PING") == "PONG"
        assert mine.call("COHORT.FEED", "PREFIX", "u1")[0] == "OK"
        assert mine.call("RESET") == "RESET"
        client.call("SET", "u1", "3")
        assert mine.call("GET", "u1") == b"3"


def test_over_resp2_other_commands_are_refused(node, client):
    with resp.Connection(node.port) as mine:
        assert mine.calls([["COHORT.FEED", "PREFIX", "r"], ["GET", "r"]])[1].startswith("ERR only COHORT.FEED")
        assert mine.call("PING") == "PONG"
        assert mine.call("COHORT.FEED", "PREFIX", "s")[0] == "OK"
        client.call("SET", "r", "1")
        assert mine.read()[:2] == [b"feed", b"r"]
        assert mine.call("COHORT.UNFEED") == 2 and mine.call("GET", "r") == b"1"


def test_requests_beside_a_feed_over_resp3(node, client):
    with resp.Connection(node.port, protocol=3) as mine:
        mine.call("COHORT.FEED", "PREFIX", "mine")
        mine.send(b"".join(resp.encode("INCR", "mine") for _ in range(200)))
        replies, changes = [], []
        while len(replies) < 200 or len(changes) < 200:
            one = mine.read()
            if isinstance(one, resp.Push):
                changes += [int(change[3]) for change in one[3]]
            else:
                replies.append(one)
        assert replies == changes == list(range(1, 201))


def test_bad_words_and_positions(node, client):
    position = client.call("COHORT.FEED", "PREFIX", "w")[1].decode()
    client.call("COHORT.UNFEED")
    syntax = "ERR syntax error"
    for words in (["PREFIX"], ["FROM", position], ["PREFIX", "w", "FROM"], ["PREFIX", "w", "TO", position], ["PREFIX", "w", "FROM", position, "x"]):
        reply = client.call("COHORT.FEED", *words)
        assert reply == syntax or reply.startswith("ERR wrong number of arguments"), (words, reply)
    for bad in ("", "x", "!", position[:-1], position + "A", position[:10] + ("A" if position[10] != "A" else "B") + position[11:]):
        assert client.call("COHORT.FEED", "PREFIX", "w", "FROM", bad).startswith("ERR invalid position"), bad
    assert client.call("COHORT.FEED", "PREFIX", "w", "FROM", "A" * 100000).startswith("ERR the position is of a cluster with another")
    assert client.call("COHORT.FEED", "PREFIX", "w" * 513) == "ERR the prefix of a feed has at most 512 bytes"
    assert client.call("COHORT.FEED", "PREFIX", "w" * 512)[0] == "OK"
    client.call("COHORT.UNFEED")
    client.call("MULTI")
    assert isinstance(client.call("COHORT.FEED", "PREFIX", "w"), resp.Error)
    client.call("DISCARD")
    client.call("TXN.BEGIN")
    assert client.call("COHORT.FEED", "PREFIX", "w").startswith("ERR feeds do not go together with TXN.BEGIN")
    client.call("TXN.ROLLBACK")


def test_positions_of_another_cluster(node, client, tmp_path):
    position = client.call("COHORT.FEED", "PREFIX", "w")[1]
    client.call("COHORT.UNFEED")
    for shards, error in (("8", "ERR the position is of another cluster"), ("4", "ERR the position is of a cluster with another number of shards")):
        other = conftest.start_cohort_or_fail(tmp_path / shards, ["--shards", shards])
        with other.connect() as connection:
            assert connection.call("COHORT.FEED", "PREFIX", "w", "FROM", position).startswith(error)
        other.stop()


def answers(connection, commands):
    """To each of them. What a feed has to say meanwhile stands between them when that takes a while."""
    connection.send(b"".join(resp.encode(*words) for words in commands))
    replies = []
    while len(replies) < len(commands):
        reply = connection.read()
        replies += [] if isinstance(reply, resp.Push) else [reply]
    return replies


def test_limits(tmp_path):
    server = conftest.start_cohort_or_fail(tmp_path, ["--feed-max", "1500", "--shards", "2"])
    with resp.Connection(server.port, protocol=3) as one, resp.Connection(server.port, protocol=3) as two:
        replies = answers(one, [["COHORT.FEED", "PREFIX", f"p{i}"] for i in range(1025)])
        assert all(reply[0] == "OK" for reply in replies[:1024])
        assert replies[1024].startswith("ERR this connection has 1024 feeds, which is the most")
        replies = answers(two, [["COHORT.FEED", "PREFIX", f"p{i}"] for i in range(477)])
        assert all(reply[0] == "OK" for reply in replies[:476])
        assert replies[476].startswith("ERR this node has as many feeds as feed-max allows")
        with server.connect() as connection:
            assert b"\r\nfeeds:1500\r\n" in connection.call("INFO", "stats")
        assert answers(one, [["COHORT.UNFEED"]]) == [1024]
        assert answers(two, [["COHORT.FEED", "PREFIX", "again"]])[0][0] == "OK"
    server.stop()


@pytest.mark.parametrize("workers", [1, 2])
def test_feeds_that_begin_at_once_count(tmp_path, workers):
    server = conftest.start_cohort_or_fail(tmp_path, ["--feed-max", "50", "--shards", "8", "--workers", str(workers)])
    connections = [resp.Connection(server.port, protocol=3) for _ in range(120)]
    for connection in connections:
        connection.send(resp.encode("COHORT.FEED", "PREFIX", "p"))
    replies = [connection.read() for connection in connections]
    begun = [reply for reply in replies if not isinstance(reply, resp.Error)]
    assert 25 <= len(begun) <= 50 and all(reply[0] == "OK" for reply in begun)
    assert all("as many feeds as feed-max allows" in reply for reply in replies if isinstance(reply, resp.Error))
    for connection in connections:
        connection.close()
    server.stop()


def test_compacted_tells_the_oldest_position(tmp_path):
    server = conftest.start_cohort_or_fail(tmp_path, ["--shards", "4", "--feed-history-bytes", "65536"])
    follower = follower_of(server, "k")
    early = follower.position
    with server.connect() as client:
        error, turn = None, 0
        while error is None:  # until it is too much, and too old
            for start in range(0, 4000, 500):
                client.calls([["SET", f"k{i}", "x" * 100] for i in range(start, start + 500)])
            turn += 1
            client.call("SET", "k-end", turn)
            late = feeds.Follower([server], "k", position=early)
            error = late.connect(server)
            late.close()
        word, oldest, *text = error.split()
        assert word == "COMPACTED" and "oldest position left" in error
        assert isinstance(follower.connection.read(), resp.Push)  # who was there is not concerned
        late.position = oldest.encode()
        assert late.connect(server) is None
        late.read(feeds.is_set("k-end", turn))
        assert 65536 / 250 < len(late.changes) < 4 * 8 * 65536 / 100  # of one shard all
        late.close()
    follower.close()
    server.stop()


def test_a_slow_reader_is_ended_and_holds_nothing(tmp_path):
    server = conftest.start_cohort_or_fail(tmp_path, ["--shards", "2", "--feed-history-bytes", "1mb"])
    slow = follower_of(server, "k")
    fast = follower_of(server, "k")
    with server.connect() as client:
        written = 0
        for start in range(0, 200000, 1000):
            replies = client.calls([["SET", f"k{i % 100}", "x" * 400] for i in range(start, start + 1000)])
            assert set(replies) == {"OK"}
            written += 1000
            while fast.connection is not None and len(fast.changes) < written - 900:
                fast.take(fast.connection.read())
        info = client.call("INFO", "stats")
        # Two; or one, when the slow one's sockets took a little more, late on a busy machine, so that it was told its end.
        assert re.search(rb"\r\nfeeds:[12]\r\n", info), info
        # Unread so far is at most what sockets and a few pushes hold.
        clients = client.call("CLIENT", "LIST").decode()
        assert all(int(part.split("=")[1]) < 2 << 20 for part in clients.split() if part.startswith("omem="))
    slow.read(lambda change: False)
    assert slow.ended is not None and slow.ended.startswith("COMPACTED "), slow.ended
    assert 0 < len(slow.changes) < written
    feeds.check_order(slow.changes)
    position = slow.ended.split()[1].encode()
    assert position == slow.position
    fast.close()
    slow.close()
    server.stop()


def test_large_values_are_to_be_read(node, client):
    follower = follower_of(node, "l")
    client.call("SET", "l1", "x" * (600 << 10))
    client.call("SET", "l2", "x" * (500 << 10))
    client.call("SET", "l-end", "1")
    follower.follow(feeds.is_set("l-end", 1))
    told = {change[1]: change for change in follower.changes}
    assert told[b"l1"][0] == b"reload" and len(told[b"l1"]) == 3
    assert told[b"l2"][0] == b"set" and len(told[b"l2"][3]) == 500 << 10
    follower.close()


def test_positions_are_told_without_changes(tmp_path):
    """The history of other keys goes on: a feed without changes of its own is told where it is."""
    server = conftest.start_cohort_or_fail(tmp_path, ["--shards", "2", "--feed-history-bytes", "65536"])
    quiet = follower_of(server, "quiet")
    first = quiet.position
    with server.connect() as client:
        deadline = time.monotonic() + 60
        told = threading.Event()

        def write():
            while not told.is_set() and time.monotonic() < deadline:
                client.calls([["SET", f"other{i}", "x" * 100] for i in range(200)])

        thread = threading.Thread(target=write)
        thread.start()
        while quiet.heartbeats < 2:
            quiet.take(quiet.connection.read())
        told.set()
        thread.join()
    assert quiet.changes == [] and quiet.position != first
    late = feeds.Follower([server], "other", position=first)
    assert late.connect(server).startswith("COMPACTED ")
    quiet.close()
    late.close()
    server.stop()


# ---- clusters ----


def check_counters(whole, follower, writers, keys):
    told = collections.defaultdict(list)
    for kind, key, _, *data in follower.changes:
        if kind == b"set" and key.decode() in keys:
            told[key.decode()].append(int(data[0]))
    feeds.check_order(follower.changes)
    with whole[1].connect(30) as client:
        for key in keys:
            last = int(feeds.asked(client, "GET", key) or 0)
            assert told[key] == list(range(1, last + 1)), (key, last, told[key][-5:])
            for writer in writers:
                assert writer.acknowledged[key] <= set(told[key])


@pytest.mark.parametrize(
    "nodes, shards, arguments",
    [(3, 4, []), (3, 4, ["--workers", "2"]), (5, 8, [])],
    ids=["three", "workers", "five"],
)
def test_none_is_lost_or_told_twice(tmp_path, nodes, shards, arguments):
    """kill -9 of leaders, of nodes, of all of them; snapshots all the time; the client goes to another node each time."""
    keys = [f"c{i}" for i in range(16)]
    arguments = [*arguments, "--snapshot-log-size", "1mb"]
    with cluster.Cluster(tmp_path, nodes=nodes, shards=shards, arguments=arguments) as whole:
        follower = feeds.Follower(list(whole.nodes), "c")
        assert follower.connect(whole[1], 10) is None
        writers = [feeds.Writer(whole, number, keys) for number in range(3)]
        reader = threading.Thread(target=follower.follow, args=(feeds.is_set("c-end", "end"),))
        for thread in (*writers, reader):
            thread.start()
        try:
            feeds.break_things(whole, random.Random(nodes), 5)
        finally:
            for writer in writers:
                writer.over.set()
                writer.join()
        whole.wait_for_leaders()
        with whole[1].connect(30) as client:
            for shard in range(1, shards + 1):  # behind all that is under way, in each shard
                feeds.asked(client, "SET", whole.key_of(shard, "c-last"), "end")
            feeds.asked(client, "SET", "c-end", "end")
            reader.join(120)
            assert not reader.is_alive(), whole.log()
            lasts = {whole.key_of(shard, "c-last").encode() for shard in range(1, shards + 1)}
            while not lasts <= {change[1] for change in follower.changes}:
                if follower.connection is None:
                    assert follower.connect(whole[1]) is None
                follower.take(follower.connection.read())
        check_counters(whole, follower, writers, keys)
        assert follower.connects > 1
        follower.close()


def until_lag(node, is_so):
    """INFO's feed_lag_ms."""
    deadline = time.monotonic() + 60
    with node.connect(60) as client:
        while not is_so(lag := int(re.search(rb"feed_lag_ms:(\d+)", client.call("INFO", "stats"))[1])):
            assert time.monotonic() < deadline, lag
            time.sleep(0.05)


def test_a_node_that_is_cut_off_tells_no_position(tmp_path):
    """So a client that hears nothing for more than ten seconds knows that it is to go elsewhere."""
    with cluster.Cluster(tmp_path, nodes=3, shards=2) as whole:
        follower = feeds.Follower([whole[1]], "c")
        assert follower.connect(whole[1]) is None
        until_lag(whole[1], lambda ms: ms < 300)
        for number in (2, 3):
            whole[number].kill()
        until_lag(whole[1], lambda ms: ms > 2000)
        follower.take_what_is_there()  # on a slow machine its time may have come before the others were killed
        position, follower.heartbeats = follower.position, 0
        assert select.select([follower.connection.socket], [], [], 13)[0] == []
        whole.start()
        while follower.heartbeats == 0:
            follower.take(follower.connection.read())
        assert follower.changes == [] and follower.position == position
        until_lag(whole[1], lambda ms: ms < 300)
        follower.close()
        until_lag(whole[1], lambda ms: ms == 0)  # nobody follows


def test_a_node_that_is_cut_off_tells_nothing_new(tmp_path):
    """It may lag, and catches up; what it tells was committed."""
    with cluster.Cluster(tmp_path, nodes=3, shards=1) as whole:
        leader = whole.leader_of(1)
        follower = feeds.Follower([leader], "c")
        assert follower.connect(leader) is None
        others = whole.followers_of(1)
        leader.pause()
        other = whole.leader_of(1, among=others)
        with other.connect(30) as client:
            for i in range(100):
                assert client.call("SET", "c", i) == "OK"
        leader.resume()
        changes = follower.follow(feeds.is_set("c", 99))
        assert [int(change[3]) for change in changes] == list(range(100))
        follower.close()
