"""On a machine that is busy beyond its cores: everything is answered, nothing is lost. How long that takes, and who leads in the
end, is the machine's affair, and is told as figures."""

import itertools
import os
import subprocess
import sys
import threading
import time

import pytest

BURNERS = 2 * (os.cpu_count() or 2) + 2
LARGE = 31 << 20
KEYS, ROUNDS = 2, 3
TIMEOUT_MS = 120000


@pytest.fixture
def busy():
    """Processes that do nothing but count, for the time of the test."""
    burners = [subprocess.Popen([sys.executable, "-c", "import time\nend = time.time() + 300\nwhile time.time() < end: pass"])
               for _ in range(BURNERS)]  # fmt: skip
    yield
    for burner in burners:
        burner.kill()
        burner.wait()


def terms(three):
    with three[1].connect(60) as client:
        shards = dict(zip(*[iter(client.call("COHORT.STATUS"))] * 2))[b"shards"]
    return [dict(zip(*[iter(shard)] * 2))[b"term"] for shard in shards]


def value_of(number):
    """Told apart at both ends."""
    return b"%08d" % number + b"x" * (LARGE - 16) + b"%08d" % number


def again_until_done(client, *words):
    """What is unknown, or refused, after the loss of a leader is sent again; it is the same value."""
    for _ in range(20):
        reply = client.call(*words)
        if reply == "OK":
            return True
        assert reply.startswith(("UNCERTAIN", "CLUSTERDOWN", "BUSY")), reply
        time.sleep(0.2)
    return False


def test_values_of_31_mb(new_cluster, busy, figure):
    """One client at each node writes and reads large values of all shards; a fourth one's small commands come between them."""
    three = new_cluster(arguments=["--command-timeout", str(TIMEOUT_MS)])
    before = terms(three)
    stored, unknown, waits, failures = [], [], [], []
    over = threading.Event()

    def write(node):
        try:
            with node.connect(300) as client:
                for number in range(KEYS * ROUNDS):
                    key = f"large{node.number}.{number % KEYS}"
                    stored.append(again_until_done(client, "SET", key, value_of(number)))
                    assert client.call("GETRANGE", key, LARGE - 8, -1) == b"%08d" % number
        except Exception as error:
            failures.append(error)

    def others():
        try:
            with three[2].connect(300) as client:
                while not over.is_set():
                    began = time.monotonic()
                    reply = client.call("INCR", f"small{len(waits) % KEYS}")
                    waits.append(time.monotonic() - began)
                    if not isinstance(reply, int):
                        assert reply.startswith("UNCERTAIN"), reply
                        unknown.append(reply)
        except Exception as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(node,)) for node in three]
    other = threading.Thread(target=others)
    for thread in [*writers, other]:
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    other.join()
    assert not failures and stored == [True] * (3 * KEYS * ROUNDS) and waits
    for reader in three:
        with reader.connect(300) as client:
            for key, number in itertools.product(range(KEYS), range(1, 4)):
                value = b"%08d" % (KEYS * (ROUNDS - 1) + key)
                assert client.call("STRLEN", f"large{number}.{key}") == LARGE
                assert client.call("GETRANGE", f"large{number}.{key}", 0, 7) == value
                assert client.call("GETRANGE", f"large{number}.{key}", LARGE - 8, -1) == value
    with three[3].connect(300) as client:
        counted = sum(int(client.call("GET", f"small{key}") or 0) for key in range(KEYS))
    assert len(waits) - len(unknown) <= counted <= len(waits)
    three.wait_until_equal()
    figure("elections while values of 31 MB were written on a busy machine", sum(terms(three)) - sum(before))
    figure("the longest wait of others meanwhile", f"{max(waits):.2f} s")
