"""Thousands of connections that hold and wait for locks, at all nodes of a cluster: half of them are closed at once, half of them
die with their process. Those who waited are gone from the queues, the others are served, and nothing is left of them."""

import resource
import subprocess
import sys
import time

import pytest
import resp
import servers
from locks import LONG, figures, info, until

CLIENTS = 2400 // servers.SMALLER  # of each of the two programs
LOCKS = 20

# Opens the connections, in turn at each port. Those with an even number wait for locks that others have, the others take one
# each. Then it does what it is told, by lines.
CROWD = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import resp
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
name, count, locks, ports = sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), [int(port) for port in sys.argv[5:]]
crowd = [resp.connect(ports[number % len(ports)], 120) for number in range(count)]
for number, one in enumerate(crowd):
    lock = f"crowd:{number // 2 % locks}" if number % 2 == 0 else f"own:{name}:{number}"
    one.sendall(resp.encode("LOCK.ACQUIRE", lock, f"{name}:{number}", "PX", 3600000, "WAIT", 3600000))
for one in crowd[1::2]:
    assert one.recv(100).startswith(b"*2")
print("asked", flush=True)
sys.stdin.readline()
for one in crowd:
    one.close()
print("closed", flush=True)
sys.stdin.readline()
"""


class Crowd:
    def __init__(self, name, ports):
        words = [sys.executable, "-c", CROWD, str(servers.ROOT / "tests" / "system"), name, CLIENTS, LOCKS, *ports]
        self.process = subprocess.Popen(map(str, words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def said(self, word):
        assert self.process.stdout.readline() == word + "\n"

    def close_all(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.said("closed")

    def kill(self):
        self.process.kill()
        self.process.wait()


def sum_of(cluster, section, name):
    total = 0
    for node in cluster:
        with node.connect(60) as client:
            total += int(figures(client, section)[name])
    return total


@pytest.fixture
def first_holders(three):
    """Who has what the crowds wait for."""
    with three[1].connect(60) as client:
        tokens = [client.call("LOCK.ACQUIRE", f"crowd:{n}", "first", "PX", LONG)[0] for n in range(LOCKS)]
        yield tokens


def test_crowds_come_and_go(three, first_holders):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2 * CLIENTS + 500:
        pytest.skip("the hard limit of open files does not allow so many")
    ports = [node.port for node in three]
    admin = three[2].connect(60)
    crowds = []
    clients = sum_of(three, "clients", "connected_clients")
    try:
        crowds = [Crowd(name, ports) for name in ("a", "b")]
        for crowd in crowds:
            crowd.said("asked")
        until(lambda: sum(len(info(admin, f"crowd:{n}")[b"waiters"]) for n in range(LOCKS)) == CLIENTS)
        assert sum_of(three, "clients", "blocked_clients") == CLIENTS
        # One lock goes on from one to the next, in the order in which they came.
        order = [waiter[b"owner"] for waiter in info(admin, "crowd:0")[b"waiters"]][:20]
        token, owner = first_holders[0], b"first"
        for expected in order:
            assert admin.call("LOCK.RELEASE", "crowd:0", owner, token) == 1
            (holder,) = info(admin, "crowd:0")[b"holders"]
            assert holder[b"owner"] == expected and holder[b"token"] > token
            owner, token = holder[b"owner"], holder[b"token"]
        crowds[1].kill()
        crowds[0].close_all()
        until(lambda: sum(len(info(admin, f"crowd:{n}")[b"waiters"]) for n in range(LOCKS)) == 0)
        until(lambda: sum_of(three, "clients", "blocked_clients") == 0)
        until(lambda: sum_of(three, "clients", "connected_clients") <= clients + 1)
        # Grants go on: who held still holds, or the lock is free when a grant was under way to one who is gone.
        for number, first in enumerate(first_holders):
            lock = f"crowd:{number}"
            for holder in info(admin, lock)[b"holders"]:
                assert number == 0 or holder[b"token"] == first
                assert admin.call("LOCK.RELEASE", lock, holder[b"owner"], holder[b"token"], "FORCE") == 1
            began = time.monotonic()
            token, _ = admin.call("LOCK.ACQUIRE", lock, "next", "PX", LONG, "WAIT", 60000)
            assert token > first and time.monotonic() - began < 30
            assert admin.call("LOCK.RELEASE", lock, "next", token) == 1
        cursor = None
        while cursor != b"0":
            cursor, locks = admin.call("LOCK.LIST", "MATCH", "own:*", "COUNT", 1000, "CURSOR", cursor or b"0")
            for lock in locks:
                (holder,) = info(admin, lock.decode())[b"holders"]
                assert admin.call("LOCK.RELEASE", lock, holder[b"owner"], holder[b"token"]) == 1
        three.wait_until_equal()
    finally:
        for crowd in crowds:
            crowd.kill()
        admin.close()


def test_one_client_too_many(new_server):
    """What is refused is told in words, by those who ask on a person's behalf, too."""
    server = new_server("cohort", "--maxclients", "3")
    taken = []
    while len(taken) < 3:  # who looked whether it is up may not be gone yet
        one = server.connect()
        taken += [one] if one.call("PING") == "PONG" else []
    words = [servers.COHORT, "lock", "info", "--url", f"cohort://127.0.0.1:{server.port}?timeout=3s", "x"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 69 and "max number of clients reached" in done.stderr
    with server.connect() as refused:
        said = refused.read()
        assert isinstance(said, resp.Error) and "max number of clients reached" in said
    for one in taken:
        one.close()
    until(lambda: subprocess.run(words, capture_output=True, timeout=120).returncode == 0)
