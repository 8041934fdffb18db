"""A cluster in good health: any node serves any client, for all keys; what is ordered stays ordered; what belongs to
a node stays there. Faults are in test_cluster_faults.py, strangers in test_cluster_strangers.py."""

import collections
import itertools
import socket
import threading
import time

import pytest
import redis
import resp
import servers

SECONDS = 60  # for what must happen, but not at once


def until(condition, what):
    deadline = time.monotonic() + SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        time.sleep(0.02)
    return value


def connections(of):
    return [node.connect() for node in of]


# ---- any node, any key ----


def test_a_write_through_one_node_is_read_through_each(any_cluster):
    clients = connections(any_cluster)
    for shard in range(1, any_cluster.shards + 1):
        key = any_cluster.key_of(shard)
        for writer, client in enumerate(clients):
            assert client.call("SET", key, f"{shard} {writer}") == "OK"
            assert {reader.call("GET", key) for reader in clients} == {b"%d %d" % (shard, writer)}


def test_all_leaders_take_writes(any_cluster):
    """Each node leads something, so all ways are taken: executed here, and forwarded there."""
    leaders = {any_cluster.leader_of(shard).number for shard in range(1, any_cluster.shards + 1)}
    assert len(leaders) > 1


@pytest.mark.parametrize("through", ["leader", "follower"])
def test_a_pipeline_keeps_its_order(three, through):
    """A read between two writes of its shard sees the first and not the second."""
    for shard in (1, 3):
        leader = three.leader_of(shard)
        node = leader if through == "leader" else three.followers_of(shard)[0]
        text, number = three.key_of(shard, "text"), three.key_of(shard, "number")
        commands, expected = [], []
        for n in range(300):
            commands += [["SET", text, n], ["GET", text], ["INCR", number], ["GET", number], ["ECHO", n]]
            expected += ["OK", b"%d" % n, n + 1, b"%d" % (n + 1), b"%d" % n]
        with node.connect() as connection:
            assert connection.calls(commands) == expected


def test_replies_come_in_order_whoever_has_the_key(any_cluster):
    keys = [any_cluster.key_of(shard, "order") for shard in range(1, any_cluster.shards + 1)] * 20
    for node in any_cluster:
        with node.connect() as connection:
            commands = [[word, key] for key in keys for word in ("INCR", "GET", "PING")]
            replies = connection.calls(commands)
            for at, (_, key) in enumerate(commands):
                assert replies[at] == key.encode() or isinstance(replies[at], int) or int(replies[at]) == replies[at - 1]


def test_many_clients_through_all_nodes_count_together(any_cluster):
    keys = [any_cluster.key_of(shard, "sum") for shard in range(1, any_cluster.shards + 1)]
    seen = collections.defaultdict(list)
    lock = threading.Lock()

    def count(node):
        with node.connect(60) as connection:
            for _ in range(10):
                replies = connection.calls(["INCR", key] for key in keys)
                with lock:
                    for key, reply in zip(keys, replies, strict=True):
                        seen[key].append(reply)

    threads = [threading.Thread(target=count, args=(node,)) for node in any_cluster for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for key in keys:
        assert sorted(seen[key]) == list(range(1, 10 * len(threads) + 1))


def test_large_values_cross_nodes(three):
    value = bytes(range(256)) * servers.large(20 << 10)  # 5 MB
    for writer, reader in itertools.permutations(three, 2):
        with writer.connect() as one, reader.connect() as other:
            assert one.call("SET", "large", value) == "OK"
            assert other.call("GET", "large") == value


def test_a_client_that_leaves_takes_nothing_with_it(three):
    """Its last commands are executed, or not; others see either for ever."""
    key = three.key_of(1)
    for node in three:
        with node.connect() as connection:
            connection.send(resp.encode("APPEND", key, "x") * 100)
    values = set()
    for _ in range(3):
        for client in connections(three):
            values.add(len(client.call("GET", key) or b""))
    assert max(values) <= 300
    with three[1].connect() as connection:
        assert connection.call("STRLEN", key) >= max(values)


# ---- several keys ----


def test_keys_of_one_shard_in_one_command(three):
    """Other slots, same shard."""
    one, other = three.key_of(2, "one"), three.key_of(2, "other")
    for n, client in enumerate(connections(three)):
        assert client.call("MSET", one, n, other, n) == "OK"
        assert client.call("MGET", one, other) == [b"%d" % n] * 2
        assert client.call("EXISTS", one, other, one) == 3
        assert client.call("RENAME", one, other) == "OK"
        assert client.call("DEL", one, other) == 1


def test_keys_of_two_shards(three):
    one, other = three.key_of(1), three.key_of(2)
    for client in connections(three):
        assert client.call("MSET", one, 1, other, 2) == "OK"
        assert client.call("MGET", one, other) == [b"1", b"2"]
        assert client.call("MSETNX", one, 3, other, 4) == 0
        assert client.call("RENAME", one, other) == "OK"
        assert client.call("EXISTS", one, other) == 1
        assert client.call("COPY", other, one) == 1
        assert client.call("DEL", one, other) == 2
        assert [client.call("EXISTS", key) for key in (one, other)] == [0, 0]


def test_multi_exec_through_each_node(three):
    one, other = three.key_of(3, "one"), three.key_of(3, "other")
    for n, client in enumerate(connections(three)):
        words = [["MULTI"], ["SET", one, n], ["INCR", one], ["GET", one], ["HSET", other, n, "x"], ["HLEN", other], ["EXEC"]]
        assert client.calls(words) == ["OK", *["QUEUED"] * 5, ["OK", n + 1, b"%d" % (n + 1), 1, n + 1]]


def test_multi_over_two_shards(three):
    one, other = three.key_of(1), three.key_of(4)
    for client in connections(three):
        replies = client.calls([["MULTI"], ["SET", one, 1], ["SET", other, 1], ["MGET", one, other], ["EXEC"]])
        assert replies[-1] == ["OK", "OK", [b"1", b"1"]]
        assert client.calls([["WATCH", one, other], ["DEL", other], ["MULTI"], ["SET", one, 2], ["EXEC"]])[-1] is None
        assert client.call("DEL", one, other) == 1


def test_watch_through_each_node(three):
    key = three.key_of(2)
    clients = connections(three)
    for mine, other in itertools.product(clients, repeat=2):
        if mine is other:
            continue
        assert mine.calls([["SET", key, 1], ["WATCH", key], ["GET", key]]) == ["OK", "OK", b"1"]
        assert other.call("SET", key, 2) == "OK"
        assert mine.calls([["MULTI"], ["SET", key, 3], ["EXEC"]]) == ["OK", "QUEUED", None]
        assert mine.calls([["WATCH", key], ["MULTI"], ["SET", key, 4], ["EXEC"]]) == ["OK", "OK", "QUEUED", ["OK"]]
        assert other.call("GET", key) == b"4"
        refused, *_, executed = mine.calls([["WATCH", key], ["EXEC", "x"], ["SET", key, 5], ["MULTI"], ["EXEC"]])[1:]
        assert str(refused).startswith("EXECABORT") and executed == []  # refused, it forgets what was watched, as in Redis


def test_transfers_with_watch_through_all_nodes(three):
    """Retries until it works; the sum stays, and each move counts once."""
    left, right = three.key_of(1, "left"), three.key_of(1, "right")

    def move(node):
        with redis.Redis("127.0.0.1", node.port) as client:
            for _ in range(15):

                def transfer(pipe):
                    values = [int(pipe.get(key)) for key in (left, right)]
                    pipe.multi()
                    pipe.mset({left: values[0] - 1, right: values[1] + 1})

                client.transaction(transfer, left, right)

    with redis.Redis("127.0.0.1", three[1].port) as client:
        client.mset({left: 1000, right: 0})
        threads = [threading.Thread(target=move, args=(node,)) for node in three]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert client.mget(left, right) == [b"%d" % (1000 - 45), b"45"]


# ---- the whole keyspace ----


def test_the_whole_keyspace_through_each_node(any_cluster):
    names = {b"whole:%d" % n for n in range(200)}
    clients = connections(any_cluster)
    for client, some in zip(itertools.cycle(clients), names, strict=False):
        assert client.call("SET", some, 1) == "OK"
    for client in clients:
        assert client.call("DBSIZE") == 200
        assert sorted(client.call("KEYS", "*")) == sorted(names)
        assert sorted(client.call("KEYS", "whole:1?")) == sorted(name for name in names if len(name) == 8 and name[6:7] == b"1")
        found, cursor = [], b"0"
        for _ in range(1000):
            cursor, some = client.call("SCAN", cursor, "COUNT", 17)
            found += some
            if cursor == b"0":
                break
        assert cursor == b"0" and sorted(found) == sorted(names)
        assert {client.call("RANDOMKEY") for _ in range(50)} <= names
        assert len({any_cluster.shard_of(client.call("RANDOMKEY").decode()) for _ in range(100)}) > 1


def test_a_scan_goes_on_at_another_node(three):
    names = {b"scan:%d" % n for n in range(300)}
    clients = connections(three)
    clients[0].calls(["SET", name, 1] for name in names)
    found, cursor = [], b"0"
    for client in itertools.islice(itertools.cycle(clients), 1000):
        cursor, some = client.call("SCAN", cursor, "MATCH", "scan:*", "COUNT", 10)
        found += some
        if cursor == b"0":
            break
    assert cursor == b"0" and sorted(found) == sorted(names)


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB"])
def test_flushing_empties_all_shards(any_cluster, command):
    clients = connections(any_cluster)
    for client in clients:
        clients[0].calls(["SET", any_cluster.key_of(shard), 1] for shard in range(1, any_cluster.shards + 1))
        assert client.call(command) == "OK"
        assert [other.call("DBSIZE") for other in clients] == [0] * len(clients)
        assert client.call("RANDOMKEY") is None


# ---- time ----


def test_keys_expire_for_everybody_at_once(three):
    clients = connections(three)
    for shard in range(1, 5):
        key = three.key_of(shard, "brief")
        assert clients[shard % 3].call("SET", key, 1, "PX", 150) == "OK"
        left = [client.call("PTTL", key) for client in clients]
        # 0: its time is over by the clock of who leads, and no entry has said so yet; then it is there for everybody.
        assert all(0 <= ttl <= 150 for ttl in left if ttl != -2)
        gone = False
        for client in itertools.islice(itertools.cycle(clients), 10000):
            there = client.call("EXISTS", key)
            assert not (gone and there), "it came back"
            gone = gone or not there
            if gone and client is clients[-1]:
                break
        assert gone


# ---- weaker reads, and waiting ----


def test_readonly_reads_the_nodes_own_state_and_catches_up(three):
    for shard in (1, 2):
        key = three.key_of(shard)
        with three.leader_of(shard).connect() as writer:
            for follower in three.followers_of(shard):
                with follower.connect() as reader:
                    assert reader.call("READONLY") == "OK"
                    value = f"for {follower.number}"
                    assert writer.call("SET", key, value) == "OK"
                    until(lambda reader=reader, value=value: reader.call("GET", key) == value.encode(), "the follower has it")
                    assert reader.call("SET", key, "written here") == "OK"  # writes go where they belong
                    assert reader.call("READWRITE") == "OK" and reader.call("GET", key) == b"written here"


def test_wait_counts_the_others_that_have_it(three):
    for node in three:
        with node.connect() as connection:
            for shard in (1, 2, 3, 4):
                assert connection.call("SET", three.key_of(shard), 1) == "OK"
            assert connection.call("WAIT", 1, 5000) >= 1  # what is acknowledged is on a majority
            assert connection.call("WAIT", 0, 0) >= 1
            began = time.monotonic()
            assert 1 <= connection.call("WAIT", 9, 100) <= 2  # there are no nine
            assert time.monotonic() - began < 30


# ---- what a node tells ----


def slots(connection):
    return connection.call("CLUSTER", "SLOTS")


def test_slots_shards_and_nodes_agree(any_cluster):
    addresses = {(node.host.encode(), node.port) for node in any_cluster}
    ids = [client.call("CLUSTER", "MYID") for client in connections(any_cluster)]
    assert len(set(ids)) == len(ids) and {len(name) for name in ids} == {40}

    def consistent():
        seen = []
        for client, own in zip(connections(any_cluster), ids, strict=True):
            with client:
                seen.append([[first, last, leader[:3], sorted(other[:3] for other in others)]
                             for first, last, leader, *others in slots(client)])  # fmt: skip
                lines = [line.split() for line in client.call("CLUSTER", "NODES").decode().splitlines()]
            assert {line[0].encode() for line in lines} == set(ids)
            assert [line[0].encode() for line in lines if "myself" in line[2]] == [own]
            assert {(address.split(":")[0].encode(), int(address.split(":")[1].split("@")[0])) for _, address, *_ in lines} == addresses
        return all(one == seen[0] for one in seen) and seen[0]

    table = until(consistent, "all nodes tell the same")
    assert len(table) == any_cluster.shards
    assert [row[0] for row in table] == [0, *(row[1] + 1 for row in table[:-1])] and table[-1][1] == 16383
    for _, _, leader, others in table:
        assert len(others) == any_cluster.replicas - 1
        assert {(host, port) for host, port, _ in [leader, *others]} <= addresses
    with any_cluster[1].connect(protocol=3) as client:
        for shard in client.call("CLUSTER", "SHARDS"):
            fields = dict(shard)
            assert [dict(node)[b"role"] for node in fields[b"nodes"]].count(b"master") == 1
            assert {dict(node)[b"health"] for node in fields[b"nodes"]} == {b"online"}


def test_placement_and_leaders_are_even(any_cluster):
    """Voters differ by at most one between nodes; and soon so do leaders."""
    with any_cluster[1].connect() as client:
        voters = collections.Counter(node[1] for _, _, *nodes in slots(client) for node in nodes)
    assert sum(voters.values()) == any_cluster.shards * any_cluster.replicas
    assert len(voters) == len(any_cluster.nodes) and max(voters.values()) - min(voters.values()) <= 1

    def even():
        leaders = collections.Counter(any_cluster.leaders(any_cluster[1]).values())
        return len(leaders) == len(any_cluster.nodes) and max(leaders.values()) - min(leaders.values()) <= 1

    until(even, "leaders are even")


def test_cluster_info_of_a_whole_cluster(any_cluster):
    for client in connections(any_cluster):
        info = dict(line.split(":") for line in client.call("CLUSTER", "INFO").decode().splitlines())
        assert info["cluster_state"] == "ok" and info["cluster_slots_ok"] == "16384"
        assert info["cluster_known_nodes"] == info["cluster_size"] == str(len(any_cluster.nodes))
        assert int(info["cluster_stats_messages_sent"]) > 0


def test_keyslot_and_keys_in_a_slot(three):
    for client in connections(three):
        assert client.call("CLUSTER", "KEYSLOT", "foo{bar}") == 5061
    key = three.key_of(1)
    with three.leader_of(1).connect() as leader:
        slot = leader.call("CLUSTER", "KEYSLOT", key)
        assert leader.calls([["SET", key, 1], ["CLUSTER", "COUNTKEYSINSLOT", slot]]) == ["OK", 1]


def test_monitor_and_client_are_a_nodes_own(three):
    with three[1].connect() as watcher, three[1].connect() as here, three[2].connect() as there:
        assert watcher.call("MONITOR") == "OK"
        assert there.call("SET", three.key_of(1), "not shown") == "OK"
        assert here.call("CLIENT", "SETNAME", "here") == "OK" and there.call("CLIENT", "SETNAME", "there") == "OK"
        assert here.call("SET", three.key_of(2), "shown") == "OK"
        lines = [watcher.read() for _ in range(2)]
        assert "SETNAME" in lines[0] and '"shown"' in lines[1]
        assert b"name=here" in here.call("CLIENT", "LIST") and b"name=there" not in here.call("CLIENT", "LIST")


# ---- limits ----


def test_who_asks_for_large_values_and_does_not_read_holds_up_nobody(three):
    """Each asks for 2 GB; the node makes no more of that than a few replies for each."""
    leader = three.leader_of(1)
    large = three.key_of(1, "large")
    client = leader.connect()
    assert client.call("SET", large, b"x" * servers.large(5_000_000)) == "OK"
    before = peak_bytes(client)
    sockets = [socket.create_connection(("127.0.0.1", leader.port), timeout=SECONDS) for _ in range(4)]
    try:
        for asking in sockets:
            asking.sendall(f"GET {large}\r\n".encode() * 400)
        for node in three:
            assert node.connect().call("PING") == "PONG"
        assert client.call("SET", large, "1") == "OK"
        assert peak_bytes(client) - before < 800_000_000
    finally:
        for asking in sockets:
            asking.close()


def peak_bytes(client):
    return int(client.call("INFO", "memory").decode().split("used_memory_peak_rss:")[1].split()[0])


# ---- SLOWLOG ----


def slow_commands(node):
    """Client's address and name of each entry, by its words."""
    with node.connect() as connection:
        return {tuple(entry[3]): (entry[4].decode(), entry[5].decode()) for entry in connection.call("SLOWLOG", "GET", -1)}


def test_a_slow_command_is_shown_where_it_ran_and_where_its_client_is(three):
    leader, (follower, other) = three.leader_of(2), three.followers_of(2)
    key = three.key_of(2, "slow")
    with follower.connect() as client, leader.connect() as near, other.connect() as far:
        assert client.call("CLIENT", "SETNAME", "asker") == "OK"
        address = client.call("CLIENT", "INFO").decode().split(" addr=")[1].split()[0]

        def shown_with(*limits):
            """Where the commands are shown when leader and follower have these limits."""
            for connection, limit in zip((near, client, far), (*limits, 0)):
                assert connection.call("CONFIG", "SET", "slowlog-log-slower-than", limit) == "OK"
                assert connection.call("SLOWLOG", "RESET") == "OK"
            assert client.calls([["SET", key, "text"], ["MULTI"], ["STRLEN", key], ["EXEC"], ["GET", key]])[0] == "OK"
            words = [(b"SET", key.encode(), b"text"), (b"EXEC",), (b"GET", key.encode())]
            shown = [slow_commands(node) for node in (leader, follower, other)]
            return [{entries.get(command) for command in words} for entries in shown]

        none = {None}
        assert shown_with(-1, -1) == [none, none, none]
        assert shown_with(0, -1) == [{(follower.address, "")}, none, none]
        assert shown_with(-1, 0) == [none, {(address, "asker")}, none]  # by its own limit
        assert shown_with(0, 0) == [{(follower.address, "")}, {(address, "asker")}, none]
        for connection in (near, client, far):
            assert connection.call("CONFIG", "SET", "slowlog-log-slower-than", 10000) == "OK"
