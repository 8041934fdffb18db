"""Bugs that other systems shipped, each tried on real nodes. docs/proof.md lists all of them with the tests that look
for them; here are those that need whole nodes and are no part of the histories in test_cluster_faults.py."""

import threading
import time

import pytest
import resp

SECONDS = 60


def wait_through(node, *words):
    """The first reply of a node that is no error."""
    deadline = time.monotonic() + SECONDS
    with node.connect() as connection:
        while isinstance(reply := connection.call(*words), resp.Error):
            assert time.monotonic() < deadline, (words, reply)
            time.sleep(0.02)
    return reply


def others_than(node, of):
    return [other for other in of if other is not node]


def test_redisraft_retried_or_proxied_command_applied_twice(new_cluster):
    """Clients of followers, whose commands are forwarded; the leader dies again and again. What was acknowledged counts
    once, what is uncertain once or not at all, and what failed not at all."""
    three = new_cluster()
    key = three.key_of(1, "count")
    lock, stop = threading.Lock(), threading.Event()
    acknowledged, uncertain = [], []

    def count(node):
        while not stop.is_set():
            try:
                with node.connect(5) as connection:
                    while not stop.is_set():
                        sent, replies = 8, []
                        try:
                            connection.send(resp.encode("INCR", key) * sent)
                            while len(replies) < sent:
                                replies.append(connection.read())
                        finally:
                            with lock:
                                acknowledged.extend(reply for reply in replies if isinstance(reply, int))
                                uncertain.extend(["UNCERTAIN"] * (sent - len(replies)))
                                uncertain.extend(reply for reply in replies if str(reply).startswith("UNCERTAIN"))
            except OSError:
                time.sleep(0.05)

    threads = [threading.Thread(target=count, args=(node,), daemon=True) for node in three for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.5)
        leader = three.leader_of(1)
        leader.kill()
        wait_through(others_than(leader, three)[0], "GET", key)
        leader.start()
    stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    value = int(wait_through(three[1], "GET", key))
    assert len(acknowledged) == len(set(acknowledged)) > 100
    assert max(acknowledged) <= value and len(acknowledged) <= value <= len(acknowledged) + len(uncertain)


def test_redisraft_total_loss_on_failover_and_empty_reads_after_restart(new_cluster):
    """From the first moment after a restart each reply is the value or an error, never nothing."""
    three = new_cluster()
    keys = [three.key_of(shard) for shard in (1, 2, 3, 4)]
    with three[1].connect() as connection:
        for key in keys:
            assert connection.call("SET", key, "here") == "OK"
    for round_number in range(2):
        three.kill()
        for node in three:
            node.launch()
        seen = set()
        deadline = time.monotonic() + SECONDS
        while len(seen) < 12:
            assert time.monotonic() < deadline, three.log()
            for node in three:
                for key in keys:
                    reply = three.attempt(node, "GET", key)
                    assert reply == b"here" or isinstance(reply, (resp.Error, OSError)), (round_number, reply)
                    if reply == b"here":
                        seen.add((node.number, key))


def test_redisraft_id_reuse(new_cluster):
    """A node forgets nothing of who asked what when it starts anew: its new forwarded commands are not taken for those
    of its former life, nor refused as such."""
    three = new_cluster()
    key = three.key_of(1, "lives")
    for life in range(3):
        follower = three.followers_of(1)[0]
        for number in range(5):
            assert wait_through(follower, "INCR", key) == 5 * life + number + 1
        follower.kill()
        follower.start()


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_etcd_remaining_ttl_reset_on_a_leader_change(new_cluster, fault):
    three = new_cluster()
    key, brief = three.key_of(1), three.key_of(1, "brief")
    began = time.monotonic()
    with three[1].connect() as connection:
        assert connection.call("SET", key, "x", "PX", 100_000) == "OK"
        assert connection.call("SET", brief, "x", "PX", 4000) == "OK"
    time.sleep(1.5)
    leader = three.leader_of(1)
    getattr(leader, fault)()
    other = others_than(leader, three)[0]
    left = wait_through(other, "PTTL", key)
    assert left <= 100_000 - 1500 + 1000  # not much of what the old leader counted is forgotten
    assert left >= 100_000 - 1000 * (time.monotonic() - began) - 200  # never early
    while (there := wait_through(other, "EXISTS", brief)) == 1:
        assert time.monotonic() - began < SECONDS
    assert there == 0 and time.monotonic() - began >= 4.0
    leader.resume() if fault == "pause" else leader.start()
    assert wait_through(leader, "EXISTS", brief) == 0


def test_etcd_an_old_leader_revokes_leases(new_cluster):
    """It slept while others prolonged a key. When it wakes, the time it knew of is over; the key stays."""
    three = new_cluster()
    key = three.key_of(1)
    leader = three.leader_of(1)
    with leader.connect() as connection:
        assert connection.call("SET", key, "x", "PX", 3000) == "OK"
    leader.pause()
    other = others_than(leader, three)[0]
    assert wait_through(other, "PEXPIRE", key, 600_000) == 1
    time.sleep(3.5)
    leader.resume()
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        for node in three:
            assert wait_through(node, "GET", key) == b"x"
            assert wait_through(node, "PTTL", key) > 500_000


def test_etcd_divergence_after_a_crash_under_load(new_cluster):
    """Nodes die at different moments under load, with logs that are cut and replaced; then all are equal."""
    three = new_cluster(arguments=["--log-segment-size", "256kb", "--snapshot-log-size", "1mb"])
    stop = threading.Event()

    def write(node, number):
        n = 0
        while not stop.is_set():
            try:
                with node.connect(5) as connection:
                    while not stop.is_set():
                        n += 1
                        connection.calls(["APPEND", f"{number}:{n % 7}:{k}", "x" * 100] for k in range(10))
                        if n % 50 == 0:
                            connection.calls(["DEL", f"{number}:{n % 7}:{k}"] for k in range(10))
            except OSError:
                time.sleep(0.05)

    threads = [threading.Thread(target=write, args=(node, n), daemon=True) for n, node in enumerate([*three] * 2)]
    for thread in threads:
        thread.start()
    for number in (1, 2, 3):
        time.sleep(0.4)
        three[number].kill()
        time.sleep(0.1)
        three[number].start()
    stop.set()
    for thread in threads:
        thread.join(60)
    three.wait_until_equal()
