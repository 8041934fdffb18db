"""Owners that wait for each other over shards and nodes: one is told, the right one, with names; nobody else is."""

import time

import pytest
import resp
from locks import LONG, acquire, figures, fresh, info, until, waiting


class Owner:
    """One connection at some node."""

    def __init__(self, nodes, pool, name):
        self.name = name
        self.pool = pool
        self.client = resp.Connection(nodes[len(name + fresh(name)) % len(nodes)].port)
        self.tokens = {}

    def take(self, lock, *how):
        self.tokens[lock], _ = acquire(self.client, lock, self.name, *how)

    def wait(self, looker, lock, *how):
        """Waits for it in the background, once that is seen."""
        before = len(info(looker, lock)[b"waiters"])
        future = self.pool.submit(acquire, self.client, lock, self.name, "WAIT", LONG, *how)
        waiting(looker, lock, before + 1)
        return future

    def release(self):
        for lock, token in self.tokens.items():
            assert self.client.call("LOCK.RELEASE", lock, self.name, token) == 1


@pytest.fixture
def owners(any_cluster, pool):
    """owners("a", "b", …): each with a name of its own."""
    made = []

    def make(*names):
        prefix = fresh("dead")
        made.extend(Owner(list(any_cluster), pool, f"{prefix}{name}") for name in names)
        return made[-len(names) :]

    yield make
    for owner in made:
        owner.client.close()


@pytest.fixture
def looker(any_cluster):
    with resp.Connection(any_cluster[0].port) as client:
        yield client


def test_a_circle_of_three(owners, looker):
    """The youngest wait ends, and who waits only behind the circle goes on waiting."""
    a, b, c, behind = owners("a", "b", "c", "d")
    locks = [fresh(f"circle{number}") for number in range(3)]
    for owner, lock in zip((a, b, c), locks, strict=True):
        owner.take(lock)
    first = a.wait(looker, locks[1])
    last = behind.wait(looker, locks[0])
    second = b.wait(looker, locks[2])
    third = c.wait(looker, locks[0])
    text = third.result(60)
    assert text.startswith(f"DEADLOCK {c.name} waits for lock {locks[0]} ")
    for owner, lock in ((a, locks[1]), (b, locks[2])):
        assert f"{owner.name} waits for lock {lock} held by " in text
    assert text.endswith("release what its owner holds, then try again")
    assert not first.done() and not second.done() and not last.done()
    c.release()
    b.tokens[locks[2]], _ = second.result(60)
    b.release()
    a.tokens[locks[1]], _ = first.result(60)
    a.release()
    assert last.result(60)[1] == LONG


def test_a_semaphore_is_a_knot(owners, looker):
    """Two hold a semaphore; one of them is in a circle, the other can go on: no victim. When it cannot, there is one."""
    a, b, c = owners("a", "b", "c")
    semaphore, lock = fresh("permits"), fresh("lock")
    permit = ("PERMITS", 1, "LIMIT", 2)
    a.take(semaphore, *permit)
    b.take(semaphore, *permit)
    c.take(lock)
    waits = [c.wait(looker, semaphore, *permit), a.wait(looker, lock)]
    time.sleep(4)  # some looks
    assert not any(wait.done() for wait in waits)
    closes = b.wait(looker, lock)
    assert closes.result(60).startswith(f"DEADLOCK {b.name} waits for lock {lock} ")
    assert not any(wait.done() for wait in waits)
    b.release()
    c.tokens[semaphore], _ = waits[0].result(60)
    c.release()
    assert waits[1].result(60)[1] == LONG


def test_shared_locks(owners, looker):
    a, b = owners("a", "b")
    one, two = fresh("one"), fresh("two")
    a.take(one, "MODE", "SHARED")
    b.take(two)
    waits = b.wait(looker, one)
    closes = a.wait(looker, two, "MODE", "SHARED")
    assert closes.result(60).startswith(f"DEADLOCK {a.name} waits for lock {two} held by {b.name}, {b.name} waits for ")
    a.release()
    assert waits.result(60)[1] == LONG


def test_told_in_figures(new_cluster, pool):
    """Also through the workers of one node alone."""
    one = new_cluster(nodes=1, shards=4, arguments=["--workers", "2"])
    nodes = list(one)
    with resp.Connection(nodes[0].port) as looker:
        a, b = (Owner(nodes, pool, name) for name in "ab")
        a.take("one")
        b.take("two")
        waits = a.wait(looker, "two")
        time.sleep(0.5)  # two workers: which wait is the younger one is told by two clocks
        assert b.wait(looker, "one").result(60).startswith("DEADLOCK b waits for lock one held by a, a waits for lock two ")
        told = figures(looker, "locks")
        assert told["lock_deadlocks"] == "1"
        b.release()
        assert waits.result(60)[1] == LONG
        until(lambda: info(looker, "one")[b"waiters"] == [])
        a.client.close()
        b.client.close()
