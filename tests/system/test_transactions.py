"""TXN.* on three nodes: what is remembered of a transaction, and what can be seen of all of them."""

import threading
import time

import pytest
import resp
import servers


def maps(reply):
    """Of TXN.LIST's and TXN.STATUS's maps, which are arrays in RESP2."""
    return [dict(zip([name.decode() for name in each[::2]], each[1::2], strict=True)) for each in reply]


def listed(connection, *options):
    """All pages of TXN.LIST."""
    cursor, found = b"0", []
    while True:
        cursor, page = connection.call("TXN.LIST", *options, "CURSOR", cursor)
        found += maps(page)
        if cursor == b"0":
            return {each["id"].decode(): each for each in found}


def call_until(node, words, wanted, seconds=20):
    """The first reply that is wanted; a node that has just started answers errors for a while."""
    deadline = time.monotonic() + seconds
    while True:
        with node.connect() as connection:
            reply = connection.call(*words)
        if wanted(reply):
            return reply
        assert time.monotonic() < deadline, reply
        time.sleep(0.1)


def code(reply):
    return str(reply).split(" ")[0] if isinstance(reply, resp.Error) else reply


@pytest.fixture
def three_nodes(new_cluster):
    return new_cluster(shards=8, arguments=["--txn-id-kept", "3600000"])


def test_what_is_remembered_over_restarts(three_nodes):
    """An id that ran is refused, and an outcome is known, after kill -9 of all nodes; and what was prepared by a client that
    is lost is finished by its id, at any node."""
    names = [three_nodes.key_of(shard) for shard in (1, 4, 8)]
    with three_nodes[1].connect() as one, three_nodes[2].connect() as two:
        for id, protocol in (("done", "2PC"), ("prepared", "2PC"), ("third", "3PC")):
            assert one.call("TXN.BEGIN", "ID", id, "PROTOCOL", protocol, "TIMEOUT", "600000") == id.encode()
            assert one.calls([["SET", name + id, id] for name in names]) == ["OK"] * 3
            assert one.call("TXN.COMMIT" if id == "done" else "TXN.PREPARE") == ("OK" if id == "done" else "PREPARED")
            if id == "prepared":
                one = three_nodes[1].connect()  # the connection is lost
        assert two.call("TXN.BEGIN", "ID", "begun") == b"begun"
        assert code(two.call("TXN.BEGIN", "ID", "other")) == "ERR"
    three_nodes.kill()
    three_nodes.start()
    known = lambda reply: not isinstance(reply, resp.Error)
    for node in three_nodes:
        for id in ("done", "prepared", "third"):
            assert code(call_until(node, ["TXN.BEGIN", "ID", id], lambda reply: code(reply) == "TXNEXISTS")) == "TXNEXISTS"
        state = maps([call_until(node, ["TXN.STATUS", "done"], known)])[0]
        assert (state["state"], state["outcome"]) in ((b"DONE", b"COMMIT"), (b"COMMIT", b"COMMIT"))
    for node, id in ((three_nodes[2], "prepared"), (three_nodes[3], "third")):
        assert maps([call_until(node, ["TXN.STATUS", id], known)])[0]["outcome"] == b""
        assert call_until(node, ["TXN.COMMIT", id], known) == "OK"
        assert call_until(three_nodes[1], ["MGET", *[name + id for name in names]], known) == [id.encode()] * 3
        assert code(call_until(node, ["TXN.BEGIN", "ID", id], lambda reply: code(reply) == "TXNEXISTS")) == "TXNEXISTS"


def test_list_over_all_shards(three_nodes):
    with three_nodes[1].connect() as one, three_nodes[2].connect() as two, three_nodes[3].connect() as three:
        for number in range(30):
            assert one.call("TXN.BEGIN", "ID", f"job-{number}")
            assert one.call("TXN.COMMIT" if number % 3 else "TXN.ROLLBACK") == "OK"
        until(lambda: "job-29" in listed(three, "OLDER", "150", "COUNT", "3"))
        assert two.call("TXN.BEGIN", "ID", "young") == b"young"
        assert set(listed(three)) >= {f"job-{number}" for number in range(30)} | {"young"}
        assert set(listed(three, "STATE", "BEGUN")) == {"young"}
        assert set(listed(three, "STATE", "begun", "OLDER", "100000")) == set()
        old = listed(three, "OLDER", "150", "COUNT", "3")
        assert "job-29" in old and ("young" not in old or int(old["young"]["age_ms"]) >= 150)
        assert all(each["state"] == b"DONE" for each in listed(three, "STATE", "DONE").values())
        cursor, page = three.call("TXN.LIST", "STATE", "DONE", "COUNT", "1")
        assert len(page) <= 30
        assert two.call("TXN.ROLLBACK") == "OK"
        for words, problem in (
            (["STATE", "NOISY"], "ERR STATE is BEGUN, OPEN, COMMIT, ABORT or DONE"),
            (["STATE", "ABSENT"], "ERR STATE is BEGUN, OPEN, COMMIT, ABORT or DONE"),
            (["OLDER", "-1"], "ERR OLDER is a time in ms, 0 or more"),
            (["OLDER", "x"], "ERR OLDER is a time in ms, 0 or more"),
            (["COUNT", "0"], "ERR COUNT is 1 to 1000"),
            (["COUNT", "1001"], "ERR COUNT is 1 to 1000"),
            (["CURSOR", "x"], "ERR invalid cursor"),
            (["STATE"], "ERR syntax error"),
            (["YOUNGER", "1"], "ERR syntax error"),
        ):
            assert str(three.call("TXN.LIST", *words)) == problem


def test_how_long_ids_are_kept_is_a_setting(three_nodes):
    with three_nodes[1].connect() as connection:
        assert connection.call("CONFIG", "GET", "txn-id-kept") == [b"txn-id-kept", b"3600000"]
        assert connection.call("CONFIG", "SET", "txn-id-kept", "60000") == "OK"
        for wrong in ("59999", "604800001", "day"):
            assert code(connection.call("CONFIG", "SET", "txn-id-kept", wrong)) == "ERR"


def status(connection, id):
    """The record, and its participants by shard; None and none: it is over and forgotten."""
    told = connection.call("TXN.STATUS", id)
    if told is None:
        return None, {}
    record = maps([told])[0]
    return record, {each["shard"]: each for each in maps(record["participants"])}


def until(look, seconds=60):
    """What `look` finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_who_waits_for_whom(three_nodes):
    """A command and a transaction wait for one that is prepared: each is named at the others."""
    names = [three_nodes.key_of(shard) for shard in (2, 5)]
    stop = threading.Event()

    def again(*commands):
        """Each waits for two seconds at most, then it is refused."""
        with three_nodes[2].connect(60) as connection:
            while not stop.is_set():
                connection.calls(commands)

    with three_nodes[1].connect() as holder, three_nodes[3].connect() as other:
        assert holder.call("TXN.BEGIN", "ID", "holder", "TIMEOUT", "600000") == b"holder"
        record, participants = status(other, "holder")
        assert (record["state"], record["decided_ms"], participants) == (b"BEGUN", None, {})
        assert holder.calls([["SET", name, "1"] for name in names]) == ["OK"] * 2
        assert holder.call("TXN.PREPARE") == "PREPARED"
        record, participants = status(other, "holder")
        assert (record["state"], record["outcome"]) == (b"OPEN", b"")
        assert {(shard, each["state"], each["keys"]) for shard, each in participants.items()} == {(2, b"WAIT", 1), (5, b"WAIT", 1)}
        assert all(each["waits_for"] == each["waited_for_by"] == [] for each in participants.values())
        waiting = [
            threading.Thread(target=again, args=commands)
            for commands in ([["INCR", names[0]]], [["MULTI"], *[["SET", name, "2"] for name in names], ["EXEC"]])
        ]
        for thread in waiting:
            thread.start()

        def who():
            _, participants = status(other, "holder")
            found = {each[0]: each for each in participants[2]["waited_for_by"]}
            return found if set(found) == {b"command", b"transaction"} else None

        def what_it_waits_for():
            found = who()
            _, participants = status(other, found[b"transaction"][1]) if found else (None, {})
            return 2 in participants and participants[2].get("waits_for")

        found = until(who)
        assert found[b"command"][1] == b"INCR" and 0 <= found[b"command"][2] < 60000
        assert until(what_it_waits_for) == [b"holder"]
        stop.set()
        assert holder.call("TXN.COMMIT") == "OK"
        for thread in waiting:
            thread.join()

        def done():
            record, participants = status(other, "holder")
            return record["state"] == b"DONE" and (record, participants)

        record, participants = until(done)
        assert record["outcome"] == b"COMMIT" and record["decided_ms"] >= record["done_ms"] >= 0
        assert {each["state"] for each in participants.values()} == {b"COMMITTED"}
        assert other.call("TXN.STATUS", "nobody") is None


def test_status_without_a_participant(new_cluster):
    """The outcome is told although a shard that takes part has lost its majority; that one is UNKNOWN."""
    five = new_cluster(nodes=5, shards=8, replicas=1, arguments=["--command-timeout", "3000"])
    home = five.shard_of("job")
    lost = next(shard for shard in range(1, 9) if five.leader_of(shard) is not five.leader_of(home))
    node = next(each for each in five if each is not five.leader_of(lost))
    with node.connect() as connection:
        assert connection.call("TXN.BEGIN", "ID", "job", "TIMEOUT", "600000") == b"job"
        assert connection.call("SET", five.key_of(lost), "1") == "OK"
        assert connection.call("TXN.PREPARE") == "PREPARED"
        five.leader_of(lost).kill()

        def unknown():
            reply = connection.call("TXN.STATUS", "job")
            return not isinstance(reply, resp.Error) and status(connection, "job")[1][lost]["state"] == b"UNKNOWN"

        assert until(unknown)


def peak_bytes(node):
    """The most memory that the process had at once."""
    with open(f"/proc/{node.pid}/status", encoding="ascii") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))


@pytest.mark.parametrize("kind", ["values", "a part"])
def test_one_that_makes_too_much_is_refused_on_the_way(three_nodes, kind):
    """It says little and would make gigabytes: at the node of its client, or in a shard. It hears so soon, nothing is executed,
    and no node has held more than a part of that."""
    if kind == "values":
        commands = [["COPY", "big", f"copy{n}"] for n in range(100 * servers.SMALLER)]
    else:
        commands = [["SETRANGE", f"{{s}}{n}", 100 << 20, "x"] for n in range(20)] + [["SET", "elsewhere", "x"]]
    made = [words[2 if kind == "values" else 1] for words in commands]
    with three_nodes[1].connect() as one:
        assert one.call("SET", "big", b"x" * servers.large(20 << 20)) == "OK"
        for _ in range(20):
            refusal = str(one.calls([["MULTI"], *commands, ["EXEC"]])[-1])
            assert until(lambda: one.call("EXISTS", *made) == 0)
            if not refusal.startswith(("UNCERTAIN", "CLUSTERDOWN")):  # of a machine on which leaders are lost
                break
        assert refusal.startswith("ERR the transaction is larger than one may be"), refusal
    if servers.SMALLER == 1:
        assert max(peak_bytes(node) for node in three_nodes) < 1 << 30
