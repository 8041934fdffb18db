"""What other lock services shipped, asked of real nodes (docs/proof.md has the list, and the mutations that show that the
simulator would see each). Tests of clients are shown to be able to fail by a client that is wrong."""

import concurrent.futures
import contextlib
import subprocess
import threading
import time

import pytest
import resp
import servers
from locks import LONG, until

SHORT = 300
PATIENCE = 60  # seconds; the machine may be slow


@pytest.fixture
def nodes(new_cluster):
    return new_cluster(nodes=3, shards=1)


def settled(node, *words):
    """The reply, once the cluster is able to give one; what is asked again must be the same as once."""
    while True:
        try:
            with node.connect(PATIENCE) as connection:
                reply = connection.call(*words)
        except OSError:
            continue
        if not str(reply).startswith(("CLUSTERDOWN", "UNCERTAIN", "BUSY")):
            return reply
        time.sleep(0.02)


def acquire(node, lock, owner, *how, ttl=LONG):
    return settled(node, "LOCK.ACQUIRE", lock, owner, "PX", ttl, *how)


def part(node, lock, name):
    """Owners that hold, or wait."""
    reply = settled(node, "LOCK.INFO", lock)
    some = dict(zip(reply[::2], reply[1::2], strict=True))[name]
    return [dict(zip(each[::2], each[1::2], strict=True))[b"owner"] for each in some]


def waits(connection, node, lock, owner, wait=LONG, ttl=LONG):
    """Is in the queue, on a connection on which its answer will be."""
    connection.send(resp.encode("LOCK.ACQUIRE", lock, owner, "PX", ttl, "WAIT", wait))
    until(lambda: owner.encode() in part(node, lock, b"waiters"))


# ---- granted after the lease ended ----


def test_a_grant_that_is_read_after_its_lease_ended_is_worth_nothing(nodes):
    """etcd: who had waited was told that it holds the lock, though its lease was over by then. Here the answer may lie unread
    for as long: nothing can be done with it, and the next one is not kept out."""
    token, _ = acquire(nodes[1], "lock", "first")
    with nodes[2].connect() as slow:
        waits(slow, nodes[1], "lock", "slow", ttl=SHORT)
        assert settled(nodes[1], "LOCK.RELEASE", "lock", "first", token) == 1
        next_token, _ = acquire(nodes[3], "lock", "next", "WAIT", LONG)  # behind it, once its lease has ended
        assert part(nodes[3], "lock", b"holders") == [b"next"]
        late, _ = slow.read()
        assert token < late < next_token
        assert slow.call("LOCK.RENEW", "lock", "slow", late, "PX", LONG).startswith("LOCKLOST")
        assert slow.call("LOCK.GUARD", "lock", late, "SET", "{lock}", "late").startswith("FENCED")
        assert slow.call("FENCE.CHECK", "lock", next_token) == 1
        assert slow.call("FENCE.CHECK", "lock", late) == 0
        assert slow.call("LOCK.RELEASE", "lock", "slow", late) == 0
        assert part(nodes[3], "lock", b"holders") == [b"next"]


def test_asking_again_after_the_lease_ended_is_another_grant(nodes):
    """The same owner, the same words: not the old token, which others may have overtaken."""
    first, _ = acquire(nodes[1], "lock", "a", ttl=SHORT)
    between, _ = acquire(nodes[2], "lock", "b", "WAIT", LONG)
    assert settled(nodes[2], "LOCK.RELEASE", "lock", "b", between) == 1
    again, _ = acquire(nodes[1], "lock", "a")
    assert first < between < again


def test_nobody_is_granted_behind_the_end_of_a_wait(nodes):
    """The wait ends while the leader is stopped; when it goes on, the lock is free, and whoever no longer waits is not given it."""
    leader = nodes.leader_of(1)
    other = nodes.followers_of(1)[0]
    token, _ = acquire(leader, "lock", "first")
    with other.connect(PATIENCE) as client:
        waits(client, other, "lock", "late", wait=1000)
        leader.pause()
        until(lambda: nodes.leader_of(1, nodes.alive()) is not leader)
        until(lambda: part(other, "lock", b"waiters") == [])
        leader.resume()
        assert not isinstance(client.read(), list)
    assert settled(leader, "LOCK.RELEASE", "lock", "first", token) == 1
    for node in nodes:
        assert part(node, "lock", b"holders") == []


# ---- an old leader revokes leases ----


def test_an_old_leader_revokes_nothing(nodes):
    """etcd: a leader that was stopped woke up, and ended the leases that were over by its clock, though they had been renewed
    at the new one."""
    old = nodes.leader_of(1)
    with old.connect(protocol=3) as told:
        token, _ = told.call("LOCK.ACQUIRE", "lock", "a", "PX", 4000)
        old.pause()
        new = nodes.leader_of(1, nodes.alive())
        renewed = settled(new, "LOCK.RENEW", "lock", "a", token, "PX", LONG)
        time.sleep(4.1)  # by the old one's clock it is over now
        old.resume()
        for node in nodes:
            assert acquire(node, "lock", "b") is None
            assert settled(node, "LOCK.RENEW", "lock", "a", token, "PX", LONG) >= renewed
        assert told.call("PING") == "PONG"  # no ["lock-lost", …] came before it


# ---- remaining time reset ----


def left(node, lock, owner, token):
    """Of the lease, as its owner is told who asks again."""
    same, ttl = acquire(node, lock, owner)
    assert same == token
    return ttl


def test_what_is_left_of_a_lease_is_not_reset_by_changes_of_leader(nodes):
    """etcd: each new leader gave all leases their whole time again, so that none ended while leaders changed."""
    token, ttl = acquire(nodes[1], "lock", "a")
    for _ in range(3):
        leader = nodes.leader_of(1)
        before = left(nodes.followers_of(1)[0], "lock", "a", token)
        assert before <= ttl
        until(lambda leader=leader, before=before: left(leader, "lock", "a", token) < before)  # it goes on
        ttl = left(leader, "lock", "a", token)
        leader.kill()
        nodes.wait_for_leaders()
        after = left(nodes.alive()[0], "lock", "a", token)
        assert after <= ttl
        ttl = after
        leader.start()


def test_what_is_left_of_a_lease_is_not_reset_by_a_restart_of_everything(nodes):
    token, ttl = acquire(nodes[1], "lock", "a")
    for end in (nodes.kill, nodes.stop, nodes.kill):
        until(lambda ttl=ttl: left(nodes[2], "lock", "a", token) < ttl)
        before = left(nodes[2], "lock", "a", token)
        end()
        nodes.start()
        ttl = left(nodes[3], "lock", "a", token)
        assert before - 60_000 < ttl <= before


def test_leases_end_though_leaders_change_all_the_time(nodes):
    """The same, to its end: whoever waits is granted the lock, however often it gets a new leader."""
    acquire(nodes[1], "lock", "gone", ttl=2000)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        wait = pool.submit(acquire, nodes[2], "lock", "next", "WAIT", LONG)
        for _ in range(30):
            if wait.done():
                break
            leader = nodes.leader_of(1)
            leader.kill()
            leader.start()
            nodes.wait_for_leaders()
        assert wait.result(PATIENCE)[1] > 0


# ---- renewers that never stop, or stop early ----


class Keeper:
    """libcohort's, in a program (lock_keeper.c)."""

    def __init__(self, nodes, lock, ttl):
        url = "cohort://" + ",".join(node.address for node in nodes)
        program = servers.BUILD / "tests" / "system" / "lock_keeper"
        self.process = subprocess.Popen([program, url, lock, str(ttl)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=servers.end_with_parent)  # fmt: skip
        self.words = []
        assert self.process.stdout.readline().startswith("token")
        self.reader = threading.Thread(target=lambda: self.words.extend(self.process.stdout), daemon=True)
        self.reader.start()

    def stop(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        until(lambda: "stopped\n" in self.words)

    def is_lost(self):
        return any(word.startswith("lost") for word in self.words)

    def close(self):
        self.process.kill()
        self.process.wait()


class Wrong:
    """A renewer as others have shipped it: one that goes on when it was told to stop, or that stops after `times` renewals."""

    def __init__(self, nodes, lock, ttl, times=None):
        self.node, self.lock, self.ttl, self.times = nodes[1], lock, ttl, times
        self.token, _ = acquire(self.node, lock, "wrong", "WAIT", LONG, ttl=ttl)
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self.renew, daemon=True)
        self.thread.start()

    def renew(self):
        while not self.closed.wait(self.ttl / 4000) and self.times != 0:
            settled(self.node, "LOCK.RENEW", self.lock, "wrong", self.token, "PX", self.ttl)
            self.times = self.times and self.times - 1

    def stop(self):
        pass

    def is_lost(self):
        return False

    def close(self):
        self.closed.set()
        self.thread.join()


TTL = 1000


def judge_renewer(nodes, make):
    """While it runs nobody else gets the lock, unless it says that it has lost it; once it has stopped, the next one does."""
    for attempt in range(10):
        lock = f"lock{attempt}"
        renewer = make(nodes, lock, TTL)
        try:
            stolen = acquire(nodes[2], lock, "thief", "WAIT", 4 * TTL)
            if renewer.is_lost():
                continue  # the machine stood still for so long; it knows
            assert stolen is None, "it stopped early"
            renewer.stop()
            assert acquire(nodes[3], lock, "next", "WAIT", 8 * TTL) is not None, "it never stopped"
            return
        finally:
            renewer.close()
    raise AssertionError("the machine stands still all the time")


def test_a_keeper_renews_until_it_is_stopped_and_not_longer(nodes):
    judge_renewer(nodes, Keeper)


def test_a_renewer_that_never_stops_is_found_out(nodes):
    with pytest.raises(AssertionError, match="never stopped"):
        judge_renewer(nodes, Wrong)


def test_a_renewer_that_stops_early_is_found_out(nodes):
    with pytest.raises(AssertionError, match="stopped early"):
        judge_renewer(nodes, lambda *how: Wrong(*how, times=2))


def test_a_keeper_ends_with_its_process(nodes):
    keeper = Keeper(nodes, "lock", TTL)
    keeper.process.kill()
    assert acquire(nodes[1], "lock", "next", "WAIT", LONG) is not None
    keeper.close()


def test_a_keeper_that_was_stopped_with_its_process_knows_that_it_has_lost(nodes):
    """SIGSTOP for longer than the lease: another holds the lock; the keeper says so, and takes nothing back."""
    keeper = Keeper(nodes, "lock", TTL)
    keeper.process.send_signal(servers.signal.SIGSTOP)
    token, _ = acquire(nodes[1], "lock", "next", "WAIT", LONG)
    keeper.process.send_signal(servers.signal.SIGCONT)
    until(keeper.is_lost)
    assert acquire(nodes[2], "lock", "next")[0] == token
    assert part(nodes[3], "lock", b"holders") == [b"next"]
    keeper.close()


# ---- fair queues that deadlock ----


def test_a_fair_queue_goes_on_whoever_leaves_it(nodes):
    """Those in front of it give up, are lost, wait for shared or for permits, or hang at a node that is killed: whoever still
    waits is granted the lock in the end, and first who asked first."""
    token, _ = acquire(nodes[1], "lock", "first")
    leader = nodes.leader_of(1)
    killed, other = nodes.followers_of(1)
    stay = [other.connect(PATIENCE) for _ in range(3)]
    gone, lost = other.connect(), killed.connect()
    waits(gone, other, "lock", "gone")
    waits(stay[0], other, "lock", "one")
    waits(lost, other, "lock", "lost")
    waits(stay[1], other, "lock", "two")
    short = other.connect(PATIENCE)
    waits(short, other, "lock", "short", wait=500)
    waits(stay[2], other, "lock", "three")
    gone.close()
    killed.kill()
    assert short.read() is None
    killed.start()
    until(lambda: part(other, "lock", b"waiters") == [b"one", b"two", b"three"])
    leader.kill()
    leader.start()
    nodes.wait_for_leaders()
    assert settled(other, "LOCK.RELEASE", "lock", "first", token) == 1
    for connection, owner in zip(stay, ("one", "two", "three"), strict=True):
        mine, _ = connection.read()
        assert mine > token
        assert part(other, "lock", b"holders") == [owner.encode()]
        assert settled(other, "LOCK.RELEASE", "lock", owner, mine) == 1
        token = mine


# ---- quorum errors counted as success ----


def test_a_leader_without_its_majority_grants_nothing(nodes):
    """Redis locks: errors of most of the servers were counted as consent."""
    leader = nodes.leader_of(1)
    others = nodes.followers_of(1)
    token, _ = acquire(leader, "held", "a")
    for node in others:
        node.pause()
    requests = (["LOCK.ACQUIRE", "lock", "a", "PX", LONG], ["LOCK.ACQUIRE", "held", "a", "PX", LONG],
                ["LOCK.RENEW", "held", "a", token, "PX", LONG], ["LOCK.GUARD", "held", token, "SET", "{held}", "v"],
                ["FENCE.CHECK", "held", token])  # fmt: skip
    with contextlib.ExitStack() as stack:  # beside each other: each is answered only when its time is over
        clients = [stack.enter_context(leader.connect(PATIENCE)) for _ in requests]
        for client, words in zip(clients, requests, strict=True):
            client.send(resp.encode(*words))
        for client, words in zip(clients, requests, strict=True):
            assert str(client.read()).startswith(("CLUSTERDOWN", "UNCERTAIN")), words
    for node in others:
        node.resume()
    assert left(others[0], "held", "a", token) > 0
