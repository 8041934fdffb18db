"""Nodes with several workers: one node to its clients, whichever worker serves them."""

import time

import cluster
import conftest
import pytest
import redis
import resp
import servers

SHARDS = 8
WRONG_SETTING = 78  # of sysexits: configuration
CLIENTS = 9  # three at each of three workers


def connect(server, count=CLIENTS):
    return [resp.Connection(server.port) for _ in range(count)]


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    arguments = ["--workers", "3", "--shards", str(SHARDS), "--enable-debug-command", "yes"]
    server = conftest.start_cohort_or_fail(tmp_path_factory.mktemp("workers"), arguments)
    yield server
    status = server.stop()
    conftest.complain_of_sanitizers(server)
    assert status == 0, server.log()


@pytest.fixture
def clients(workers):
    made = connect(workers)
    made[0].call("FLUSHALL")
    yield made
    for client in made:
        client.close()


def info(client, section):
    lines = client.call("INFO", section).decode().split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def test_every_key_at_every_worker(clients):
    for i in range(40):
        assert clients[i % CLIENTS].call("SET", f"key:{i}", f"value {i}") == "OK"
    for client in clients:
        assert client.calls(["GET", f"key:{i}"] for i in range(40)) == [f"value {i}".encode() for i in range(40)]
        assert client.call("DBSIZE") == 40
        assert sorted(client.call("KEYS", "*")) == sorted(f"key:{i}".encode() for i in range(40))
        assert info(client, "keyspace")["db0"] == "keys=40,expires=0,avg_ttl=0"


def test_pipelines_keep_their_order(clients):
    for client in clients:
        client.call("FLUSHALL")
        commands = [["APPEND", f"text:{i % SHARDS}", chr(97 + i % 26)] for i in range(400)]
        assert client.calls(commands) == [i // SHARDS + 1 for i in range(400)]


def test_transactions_and_watches_of_any_shard(clients):
    one, other = clients[0], clients[1]
    for i in range(12):
        key = f"watched:{i}"
        assert one.calls([["WATCH", key], ["MULTI"], ["INCR", key], ["GET", key], ["EXEC"]]) == ["OK", "OK", "QUEUED", "QUEUED", [1, b"1"]]
        assert one.call("WATCH", key) == "OK"
        assert other.call("INCR", key) == 2
        assert one.calls([["MULTI"], ["INCR", key], ["EXEC"]]) == ["OK", "QUEUED", None]


def test_participants_are_seen_from_every_worker(clients):
    """TXN.STATUS asks those that somebody leads: also in the shards of other workers."""
    keys = {cluster.slot_shard(cluster.slot_of(f"part:{i}"), SHARDS): f"part:{i}" for i in range(10 * SHARDS)}
    assert clients[0].call("TXN.BEGIN", "ID", "seen", "TIMEOUT", "600000") == b"seen"
    assert clients[0].calls(["SET", key, "1"] for key in keys.values()) == ["OK"] * SHARDS
    assert clients[0].call("TXN.PREPARE") == "PREPARED"
    for client in clients:
        status = client.call("TXN.STATUS", "seen")
        participants = status[status.index(b"participants") + 1]
        states = {each[each.index(b"shard") + 1]: each[each.index(b"state") + 1] for each in participants}
        assert states == dict.fromkeys(keys, b"WAIT")
    assert clients[0].call("TXN.ROLLBACK") == "OK"


def test_large_values_go_both_ways(clients):
    large = b"x" * servers.large(20 << 20)
    for i in range(4):
        assert clients[i].call("SET", f"large:{i}", large) == "OK"
        assert clients[i + 1].call("GET", f"large:{i}") == large
    clients[0].call("FLUSHALL")


def digests_agree(clients):
    """Whoever is asked. What was answered long ago may still end (the FINISH and DONE of a FLUSHALL), in entries of its own, so
    a shard has one digest at each, and all have one when nothing ends."""
    known = {}
    for client in clients:
        said = client.call("DEBUG", "DIGEST", "SHARDS")
        assert all(known.setdefault((shard, applied), digest) == digest for shard, applied, digest in said), (said, known)
    deadline = time.monotonic() + 60
    while len(digests := {client.call("DEBUG", "DIGEST") for client in clients}) > 1:
        assert time.monotonic() < deadline, digests
    return True


def test_the_node_as_a_whole(clients, workers):
    assert int(info(clients[0], "clients")["connected_clients"]) == CLIENTS
    listed = [client.call("CLIENT", "LIST").decode().splitlines() for client in clients]
    assert all(len(lines) == CLIENTS for lines in listed)
    ids = [client.call("CLIENT", "ID") for client in clients]
    assert ids == sorted(set(ids))
    before = int(info(clients[0], "stats")["total_commands_processed"])
    for client in clients:
        client.calls([["PING"]] * 10)
    assert int(info(clients[-1], "stats")["total_commands_processed"]) - before >= 10 * CLIENTS
    assert digests_agree(clients)
    assert clients[4].call("DEBUG", "SNAPSHOT") == "OK"
    slots = sum(client.call("CLUSTER", "COUNTKEYSINSLOT", "0") for client in clients)
    assert slots == 0


def test_settings_hold_at_every_worker_once_they_are_acknowledged(clients):
    for turn, client in enumerate(clients):
        assert client.call("CONFIG", "SET", "slowlog-max-len", str(100 + turn)) == "OK"
        for other in clients:
            assert other.call("CONFIG", "GET", "slowlog-max-len")[1] == str(100 + turn).encode()
    assert clients[1].call("CONFIG", "SET", "maxclients", "no number").startswith("ERR")
    refused = clients[0].calls([["MULTI"], ["INFO"], ["EXEC"]])
    assert refused[0] == "OK" and refused[1].startswith("ERR") and refused[2].startswith("EXECABORT")


def test_a_password_set_at_one_worker_is_asked_for_at_all(workers, clients):
    assert clients[2].call("CONFIG", "SET", "requirepass", "secret") == "OK"
    try:
        for client in connect(workers, 6):
            assert client.call("GET", "a").startswith("NOAUTH")
            assert client.call("AUTH", "secret") == "OK"
            client.close()
    finally:
        assert clients[3].call("CONFIG", "SET", "requirepass", "") == "OK"


def test_killed_paused_and_counted(workers, clients):
    victims = connect(workers, 4)
    for victim in victims:
        identity = victim.call("CLIENT", "ID")
        assert clients[0].call("CLIENT", "KILL", "ID", str(identity)) == 1
        with pytest.raises(OSError):
            victim.call("PING")
            victim.call("PING")
    assert clients[5].call("CLIENT", "PAUSE", "60000", "WRITE") == "OK"
    clients[6].send(resp.encode("SET", "paused", "1"))
    assert clients[7].call("EXISTS", "paused") == 0
    assert clients[8].call("CLIENT", "UNPAUSE") == "OK"
    assert clients[6].read() == "OK"


def test_unblocked_from_any_worker(clients):
    """Who waits for a lock, from clients of its own worker and of the others."""
    holder, *others = clients
    token, _ = holder.call("LOCK.ACQUIRE", "unblock", "holder", "PX", 600_000)
    ways = {(): None, ("TIMEOUT",): None, ("ERROR",): "UNBLOCKED client unblocked via CLIENT UNBLOCK"}
    for number, waits in enumerate(others):
        client = waits.call("CLIENT", "ID")
        how, expected = list(ways.items())[number % len(ways)]
        assert holder.call("CLIENT", "UNBLOCK", client) == 0
        waits.send(resp.encode("LOCK.ACQUIRE", "unblock", f"other {number}", "PX", 600_000, "WAIT", 600_000))
        deadline = time.monotonic() + 60
        while holder.call("LOCK.INFO", "unblock")[-1] == []:
            assert time.monotonic() < deadline
        asks = clients[number]  # of another worker, and of the same one, in turn
        assert asks.call("CLIENT", "UNBLOCK", client, *how) == 1
        assert waits.read() == expected
    assert holder.call("CLIENT", "UNBLOCK", "x").startswith("ERR value is not an integer")
    assert holder.call("CLIENT", "UNBLOCK", 1, "WHY").startswith("ERR CLIENT UNBLOCK reason")
    assert holder.call("LOCK.RELEASE", "unblock", "holder", token) == 1


def test_slow_commands_of_all_workers(clients):
    assert clients[0].call("CONFIG", "SET", "slowlog-log-slower-than", "0") == "OK"
    assert clients[0].call("SLOWLOG", "RESET") == "OK"
    for i, client in enumerate(clients):
        client.call("SET", f"slow:{i}", "x")
    assert clients[0].call("CONFIG", "SET", "slowlog-log-slower-than", "-1") == "OK"
    shown = [entry[3] for entry in clients[4].call("SLOWLOG", "GET", "-1")]
    assert all([b"SET", f"slow:{i}".encode(), b"x"] in shown for i in range(CLIENTS))
    assert clients[5].call("SLOWLOG", "RESET") == "OK"
    assert clients[6].call("SLOWLOG", "LEN") == 0


def test_no_slow_log_entries_for_questions_of_transactions(clients):
    """A transaction over shards may be over, and gone, when a worker tells that a part of it was slow."""
    assert clients[0].call("CONFIG", "SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "1000") == "OK"
    assert clients[0].call("SLOWLOG", "RESET") == "OK"
    for turn in range(20):
        for client in clients:
            assert client.call("MSET", *(word for i in range(SHARDS) for word in (f"part:{i}", turn))) == "OK"
            assert client.call("MGET", *(f"part:{i}" for i in range(SHARDS))) == [b"%d" % turn] * SHARDS
    for client in clients:
        client.call("SET", "alone", "1")
    assert clients[0].call("CONFIG", "SET", "slowlog-log-slower-than", "-1", "slowlog-max-len", "128") == "OK"
    shown = [entry[3] for entry in clients[1].call("SLOWLOG", "GET", "-1")]
    assert shown.count([b"SET", b"alone", b"1"]) == CLIENTS and not [words for words in shown if words[0].startswith(b"COHORT")]


def test_monitors_see_every_worker(workers, clients):
    with resp.Connection(workers.port) as monitor:
        assert monitor.call("MONITOR") == "OK"
        for i, client in enumerate(clients):
            client.call("ECHO", f"seen {i}")
        lines = [str(monitor.read()) for _ in range(CLIENTS)]
        assert all(any(f"seen {i}" in line for line in lines) for i in range(CLIENTS))


def test_maxclients_is_of_the_node(workers, clients):
    assert clients[0].call("CONFIG", "SET", "maxclients", str(CLIENTS + 2)) == "OK"
    try:
        more = connect(workers, 2)
        assert [client.call("PING") for client in more] == ["PONG", "PONG"]
        with resp.Connection(workers.port) as refused:
            assert refused.read().startswith("ERR max number of clients")
        for client in more:
            client.close()
    finally:
        assert clients[0].call("CONFIG", "SET", "maxclients", "10000") == "OK"


def test_a_folder_keeps_its_number_and_its_data(new_server, monkeypatch):
    monkeypatch.setattr(servers, "WORKERS", "")
    server = new_server("cohort", "--workers", "2", "--shards", "4")
    client = redis.Redis("127.0.0.1", server.port)
    for i in range(20):
        client.set(f"kept:{i}", i)
    server.kill()
    again = new_server("cohort", "--shards", "4", folder=server.folder, start=False)
    again.start()
    assert [redis.Redis("127.0.0.1", again.port).get(f"kept:{i}") for i in range(20)] == [str(i).encode() for i in range(20)]
    assert again.stop() == 0
    other = new_server("cohort", "--workers", "3", "--shards", "4", folder=server.folder, start=False)
    other.launch()
    assert other.process.wait(30) == WRONG_SETTING
    assert other.log(1).endswith(
        f"the data folder {server.data} was made with --workers 2, not 3, and has a log for each; "
        "give it that number, or take `workers` from the options and the configuration file"
    )


def test_the_number_stands_in_the_configuration_file(new_server, tmp_path, monkeypatch):
    """The option wins over the file, and neither is changed while the node runs."""
    monkeypatch.setattr(servers, "WORKERS", "")
    settings = tmp_path / "settings"
    settings.write_text("workers = 3\n")
    server = new_server("cohort", "--config", str(settings))
    client = redis.Redis("127.0.0.1", server.port)
    assert client.config_get("workers") == {"workers": "3"}
    with pytest.raises(redis.ResponseError, match="can't set immutable config"):
        client.config_set("workers", 2)
    client.config_rewrite()
    assert settings.read_text() == "workers = 3\n"
    assert server.stop() == 0
    assert sorted(path.name for path in server.data.glob("worker-*")) == ["worker-0", "worker-1", "worker-2"]
    for text, arguments, status in (
        ("workers = 2\n", ["--workers", "3"], 0),
        ("workers = 0\n", [], 0),
        ("workers = 2\n", [], WRONG_SETTING),
        ("workers = 65\n", [], WRONG_SETTING),
        ("workers = 3\n", ["--workers", "65"], WRONG_SETTING),
    ):
        settings.write_text(text)
        again = new_server("cohort", "--config", str(settings), *arguments, folder=server.folder, start=False)
        if status == 0:
            assert again.start().stop() == 0, text
        else:
            again.launch()
            assert again.process.wait(60) == status, text
        said = again.log(1)
        assert ("between 0 and 64 inclusive" in said) == ("65" in text + "".join(arguments)), said


def test_the_cluster_looks_the_same_at_every_worker(new_cluster):
    made = new_cluster(nodes=2, shards=4, replicas=2, arguments=["--workers", "3"])
    clients = connect(made[1], 6)
    for client in clients:
        told = dict(line.split(":") for line in client.call("CLUSTER", "INFO").decode().splitlines())
        assert told["cluster_state"] == "ok" and int(told["cluster_stats_messages_sent"]) > 0
    made[2].kill()
    made[1].wait(lambda: "no leader for" in made[1].log(), "did not say so")
    time.sleep(1)
    assert made[1].log().count("no leader for") == 1, "once for all workers"
    assert "commands for 4 of 4 shards" in made[1].log() and "(shards 1, 2, 3, 4; nodes that" in made[1].log()
    made.start()
    made[1].wait(lambda: "every shard has a leader again" in made[1].log(), "did not say that it is over")


def test_nodes_with_different_numbers_are_one_cluster(new_cluster):
    made = new_cluster(nodes=3, shards=6, start=False)
    for node, count in zip(made.nodes, ("1", "2", "3")):
        node.arguments += ["--workers", count]
    made.start()
    clients = [redis.Redis("127.0.0.1", node.port) for node in made.nodes for _ in range(2)]
    for i in range(60):
        clients[i % 6].set(f"key:{i}", i)
    assert all(client.get(f"key:{i}") == str(i).encode() for client in clients for i in range(60))
    made.nodes[1].kill()
    deadline = time.monotonic() + 60
    for i in range(60):
        while True:
            try:
                assert clients[4].get(f"key:{i}") == str(i).encode()
                break
            except redis.exceptions.ResponseError:
                assert time.monotonic() < deadline
    for number in (0, 2):
        assert made.nodes[number].stop() == 0
