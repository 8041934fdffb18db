"""What comes to the port between nodes and does not belong there: garbage, strangers, nodes of other clusters, nodes
whose disk is another. Each is refused, counted and told why, and the nodes go on as if nothing had been."""

import os
import random
import shutil
import socket
import struct
import subprocess
import time

import cluster
import pytest
import resp
import servers

MAGIC = b"\xc0COHORT\n"
HELLO, READY, REFUSE = 1, 2, 3
GARBAGE, DAMAGED, VERSION, PURPOSE, CLUSTER, STRANGER, RECEIVER, DIRECTION, INCARNATION = range(1, 10)
REFUSED_STATUSES = {69, 78}  # of sysexits: unavailable, configuration

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def crc32c(*parts):
    """Castagnoli, as RFC 3720 has it."""
    crc = 0xFFFFFFFF
    for byte in b"".join(parts):
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def frame(kind, payload, size=None, flags=0):
    """As src/wire/frame.h has it; `size` may lie."""
    head = struct.pack("<IBB", len(payload) if size is None else size, kind, flags)
    head += struct.pack("<H", crc32c(head) & 0xFFFF)
    return head + struct.pack("<I", crc32c(head, payload)) + payload


def hello(cluster_id=bytes(16), sender=1, receiver=2, incarnation=b"i" * 16, versions=(3, 3), purpose=1):
    """As src/cluster/transport_hello.h has it."""
    numbers = struct.pack("<QQQQQ", random.getrandbits(64), 1, 1, 0, 0)
    return frame(HELLO, struct.pack("<HHBxxx", *versions, purpose) + cluster_id + struct.pack("<Q", sender) + incarnation
                 + struct.pack("<Q", receiver) + numbers)  # fmt: skip


def talk(node, data, seconds=60):
    """What a node answers until it closes, or for so long."""
    with socket.create_connection(("127.0.0.1", node.port + cluster.PEER_OFFSET), seconds) as connection:
        out = b""
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                out += part
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            pass
        return out


def refusals(answer):
    """Reasons in an answer's frames."""
    assert answer.startswith(MAGIC) or answer == b"", answer[:20]
    at, found = len(MAGIC), []
    while at + 12 <= len(answer):
        size, kind = struct.unpack_from("<IB", answer, at)
        if kind == REFUSE:
            found.append(answer[at + 12])
        at += 12 + size
    return found


def still_whole(three):
    for node in three:
        assert node.alive()
        with node.connect() as connection:
            for shard in range(1, three.shards + 1):
                assert connection.call("INCR", three.key_of(shard, "well")) > 0


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0" * 100_000,
        MAGIC[:5] + b"X" * 100,
    ],
    ids=["http", "redis", "tls", "zeros", "almost"],
)
def test_garbage(three, data):
    for node in three:
        assert refusals(talk(node, data)) == []  # dropped without a word
    still_whole(three)


def test_random_bytes_behind_the_right_beginning(three):
    chance = random.Random(7)
    for _ in range(60):
        node = chance.choice(three.nodes)
        size = chance.randrange(200)
        data = MAGIC + (frame(chance.randrange(256), os.urandom(size)) if chance.random() < 0.5 else os.urandom(size))
        assert set(refusals(talk(node, data))) <= {DAMAGED, VERSION, PURPOSE, CLUSTER, STRANGER}
    still_whole(three)


@pytest.mark.parametrize(
    "data, reasons",
    [
        (MAGIC + frame(HELLO, b"", size=0xFFFFFFFF), [DAMAGED]),
        (MAGIC + frame(HELLO, b"", size=64 << 20), [DAMAGED]),
        (MAGIC + frame(HELLO, b"short"), [DAMAGED]),
        (MAGIC + hello()[:-1] + b"\xff", [DAMAGED]),
        (MAGIC + frame(HELLO, b"x" * 80, flags=1), [DAMAGED]),
        (MAGIC + frame(READY, b""), [DAMAGED]),
        (MAGIC + frame(77, b"an entry for your log"), [DAMAGED]),
        (MAGIC + hello(versions=(9, 9)), [VERSION]),
        (MAGIC + hello(purpose=9), [PURPOSE]),
        (MAGIC + hello(), [CLUSTER]),
    ],
    ids=["size", "oversize", "short", "checksum", "flags", "ready", "entry", "version", "purpose", "cluster"],
)
def test_refused_with_a_reason(three, data, reasons):
    for node in three:
        assert refusals(talk(node, data)) == reasons
    still_whole(three)


def test_refusals_are_counted(new_cluster):
    ports = [servers.free_port() for _ in range(3)]
    three = new_cluster(start=False, shards=1)
    for node, port in zip(three, ports, strict=True):
        node.arguments = [*node.arguments, "--metrics", f"127.0.0.1:{port}"]
    three.start()
    for _ in range(3):
        talk(three[1], b"GET / HTTP/1.1\r\n\r\n")
    talk(three[1], MAGIC + hello())
    with socket.create_connection(("127.0.0.1", ports[0]), 30) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = connection.makefile().read()
    counts = {line.split('"')[1]: float(line.split()[-1]) for line in text.splitlines()
              if line.startswith("cohort_peer_refusals_total{")}  # fmt: skip
    assert counts["garbage"] == 3 and counts["cluster"] == 1
    assert "it does not speak the protocol between nodes" in three[1].log(1000)


def test_half_handshakes_and_many_of_them(new_cluster):
    """They cost nothing but a socket for a while, and real nodes come through."""
    three = new_cluster(shards=1)
    sockets = []
    for n in range(300):
        one = socket.create_connection(("127.0.0.1", three[n % 3 + 1].port + cluster.PEER_OFFSET), 10)
        one.sendall((MAGIC + hello())[: n % 90])
        sockets.append(one)
    still_whole(three)
    three[2].kill()
    three[2].start()  # it is let in past the crowd
    still_whole(three)
    for one in sockets:
        one.close()


def test_two_clusters_do_not_speak(new_cluster):
    """A node that is started with the addresses of another cluster is refused there, and that cluster is unharmed."""
    three = new_cluster(shards=1)
    with three[1].connect() as connection:
        assert connection.call("SET", "key", "mine") == "OK"
    other = new_cluster(shards=1, start=False, arguments=["--command-timeout", "1000"])
    three[3].stop()
    lost = other[3]
    lost.port = three[3].port  # where the cluster expects its node 3
    other.nodes = [three[1], three[2], lost]
    other.shards = 2
    lost.launch()
    deadline = time.monotonic() + 60
    while lost.alive() and "cluster" not in lost.log().lower():
        assert time.monotonic() < deadline, lost.log()
        time.sleep(0.05)
    with three[1].connect() as connection:
        assert connection.call("GET", "key") == b"mine"
    if lost.alive():
        assert isinstance(other.attempt(lost, "GET", "key"), (resp.Error, OSError))  # it may end at any time
        lost.kill()
    other.nodes = [lost]
    three[3].start()
    still_whole(three)


@pytest.mark.parametrize("what", ["shards", "replicas", "peers"])
def test_a_node_that_was_told_otherwise_is_refused(new_cluster, what):
    """Fresh, and one of them has other --shards, --replicas or --peers: it takes no part, the others wait for it."""
    three = new_cluster(start=False, shards=2)
    odd = three[3]
    correct = odd.command_line()
    wrong = {"shards": ("--shards", "3"), "replicas": ("--replicas", "1"), "peers": None}[what]
    if wrong:
        odd.arguments = [*odd.arguments, *wrong]
    else:
        odd.command_line = lambda: [word.replace(f"2={three[2].address}", f"4={three[2].address}") for word in correct]
    for node in three:
        node.launch()
    deadline = time.monotonic() + 60
    words = ("refuse", "another cluster", "is of cluster", "--peers")
    while not any(word in node.log() for node in three for word in words):
        assert time.monotonic() < deadline, three.log()
        time.sleep(0.05)
    time.sleep(0.5)
    for node in three:
        if node.alive():
            assert not node.ready(), node.log()
    odd.kill()
    shutil.rmtree(odd.data, ignore_errors=True)
    odd.arguments = three[1].arguments
    odd.command_line = lambda: correct
    odd.launch()
    for node in three:
        node.wait(node.ready, "did not take part")
    three.wait_for_leaders()
    still_whole(three)


# ---- disks that are gone ----


def test_a_node_whose_disk_was_emptied_is_refused_and_told_what_to_do(new_cluster):
    three = new_cluster()
    with three[1].connect() as connection:
        assert connection.call("SET", "key", "value") == "OK"
    three[3].kill()
    shutil.rmtree(three[3].data)
    three[3].launch()
    assert three[3].process.wait(60) in REFUSED_STATUSES, three[3].log()
    said = three[3].log()
    assert "node 3" in said and "add" in said, said
    for node in (three[1], three[2]):
        with node.connect() as connection:
            assert connection.call("GET", "key") == b"value"
            assert connection.call("INCR", three.key_of(2, "n")) > 0
    assert "data folder" in three[1].log(1000) + three[2].log(1000)


def test_two_emptied_nodes_do_not_make_a_new_cluster(new_cluster):
    """The one that remembers cannot be outvoted by two that know nothing: that would lose what was acknowledged."""
    three = new_cluster(shards=1, arguments=["--command-timeout", "1000"])
    with three[1].connect() as connection:
        assert connection.call("SET", "key", "value") == "OK"
    three.kill()
    for node in (three[2], three[3]):
        shutil.rmtree(node.data)
    for node in three:
        node.launch()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(node.alive() for node in (three[2], three[3])):
        for node in (three[2], three[3]):
            if node.alive():
                reply = three.attempt(node, "GET", "key")
                assert reply is not None, "an acknowledged write is gone"
        time.sleep(0.2)
    for node in three:
        if node.alive():
            reply = three.attempt(node, "SET", "key", "other")
            assert reply != "OK"


# ---- beginnings ----


def test_founding_waits_for_all_and_says_for_whom(new_cluster):
    three = new_cluster(start=False, arguments=["--command-timeout", "1000"])
    for node in (three[1], three[3]):
        node.launch()
        node.wait(node.answers, "did not answer")
    three[1].wait(lambda: f"waiting for node 2 at 127.0.0.1:{three[2].peer_port}" in three[1].log(), "did not say whom")
    for words in (["GET", "key"], ["SET", "key", "value"], ["DBSIZE"]):
        reply = three.attempt(three[1], *words)
        assert isinstance(reply, resp.Error) and reply.startswith("CLUSTERDOWN "), (words, reply)
    three.start()
    still_whole(three)


@pytest.mark.parametrize("seed", range(4))
def test_nodes_killed_while_they_found_a_cluster(new_cluster, seed):
    """At any moment of their first second; started again, they are one cluster."""
    chance = random.Random(seed)
    three = new_cluster(start=False)
    for _ in range(4):
        for node in chance.sample(three.nodes, 3):
            if not node.alive():
                node.launch()
            time.sleep(chance.uniform(0, 0.04))
        time.sleep(chance.uniform(0, 0.15))
        for node in chance.sample(three.nodes, chance.randrange(1, 4)):
            node.kill()
    three.start()
    still_whole(three)


@pytest.mark.parametrize("changed", [("--shards", "5"), ("--replicas", "1"), "peers"], ids=["shards", "replicas", "peers"])
def test_a_founded_node_is_not_started_as_something_else(new_cluster, changed):
    three = new_cluster(shards=2)
    assert three[2].stop() == 0
    if changed == "peers":
        other = f"127.0.0.1:{servers.free_port()}"
        command = [word.replace(three[3].address, other) for word in three[2].command_line()]
    else:
        command = [*three[2].command_line(), *changed]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, preexec_fn=servers.end_with_parent)
    assert done.returncode == 78, done.stderr
    assert "cohort serve: " in done.stderr, done.stderr
    three[2].start()
    still_whole(three)
