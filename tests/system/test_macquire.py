"""LOCK.MACQUIRE: several locks in several shards, all or none, through any node."""

import random

import pytest
import resp
from locks import LONG, acquire, fresh, info, until, waiting


def macquire(client, locks, owner, *how, ttl=LONG):
    return client.call("LOCK.MACQUIRE", len(locks), *locks, owner, "PX", ttl, *how)


def release(client, locks, owner, grants):
    for lock, (token, _) in zip(locks, grants, strict=True):
        assert client.call("LOCK.RELEASE", lock, owner, token) == 1


def names(count):
    return [fresh(f"many{number}") for number in range(count)]


def modes(client, locks):
    return [info(client, lock)[b"mode"] for lock in locks]


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_all_or_none(anywhere, count):
    """Tokens in the order of the keys; asked again, the same; beside another's lock, none."""
    locks = names(count)
    grants = macquire(anywhere[0], locks, "a")
    assert [ttl for _, ttl in grants] == [LONG] * count
    for lock, (token, _) in zip(locks, grants, strict=True):
        (holder,) = info(anywhere[1], lock)[b"holders"]
        assert (holder[b"owner"], holder[b"token"]) == (b"a", token)
        assert acquire(anywhere[2], lock, "a")[0] == token
    again = macquire(anywhere[1], locks, "a")
    assert [token for token, _ in again] == [token for token, _ in grants]
    assert macquire(anywhere[2], locks, "b") is None
    release(anywhere[2], locks[1:], "a", grants[1:])
    assert macquire(anywhere[2], locks, "b") is None
    assert modes(anywhere[0], locks) == [b"exclusive", *[b"free"] * (count - 1)]
    release(anywhere[1], locks[:1], "a", grants[:1])
    later = macquire(anywhere[2], locks[::-1], "b")
    for (token, _), (before, _) in zip(later[::-1], grants, strict=True):
        assert token > before
    release(anywhere[0], locks[::-1], "b", later)


def test_words(anywhere):
    client = anywhere[0]
    assert client.call("LOCK.MACQUIRE", 2, "x", "y", "", "PX", 10) == "ERR the name of an owner has 1 to 256 bytes"
    assert client.call("LOCK.MACQUIRE", 2, "x", "x", "a", "PX", 10) == "ERR LOCK.MACQUIRE takes each lock once; one is named twice"
    assert client.call("LOCK.MACQUIRE", 0, "x", "a", "PX", 10) == "ERR numkeys is the number of locks, from 1 to 64"
    assert client.call("LOCK.MACQUIRE", 65, *names(65), "a", "PX", 10) == "ERR numkeys is the number of locks, from 1 to 64"
    assert client.call("LOCK.MACQUIRE", 9, "x", "y", "a", "PX", 10).startswith("ERR syntax error; LOCK.MACQUIRE is")
    assert client.call("LOCK.MACQUIRE", 2, "x", "y", "a", "PX", 0).startswith("ERR PX is the time to live")
    assert client.call("LOCK.MACQUIRE", 2, "x", "y", "a", "PX", 10, "WAIT", -1).startswith("ERR WAIT is a time")
    assert client.call("LOCK.MACQUIRE", 2, "x", "y", "a", "PX", 10, "MODE", "SHARED").startswith("ERR syntax error")
    assert client.call("LOCK.MACQUIRE", 2, "x", "y" * 1025, "a", "PX", 10).startswith("ERR the name of a lock has")
    assert client.call("LOCK.MACQUIRE", 1, "x", "a", "SESSION", "x") == "ERR SESSION is followed by the id that SESSION.OPEN gave"
    both = client.call("LOCK.MACQUIRE", 1, "x", "a", "PX", 10, "SESSION", "1-1")
    assert both == "ERR locks have a time to live of their own (PX), or end with a SESSION, not both"
    assert client.call("LOCK.MACQUIRE", 2, "x", "y", "a", "SESSION", "1-1").startswith("NOSESSION the session has ended")
    assert client.call("LOCK.MACQUIRE", 1, "x", "a", "PX", 10, "NOTE", "n" * 513) == "ERR a NOTE has 512 bytes at most"
    for option in ("PX", 10), ("WAIT", 0), ("NOTE", "n"):
        assert client.call("LOCK.MACQUIRE", 1, "x", "a", "PX", 10, *option, *option).startswith("ERR syntax error")
    client.call("MULTI")
    assert client.call("LOCK.MACQUIRE", 1, "x", "a", "PX", 10) == "ERR Command not allowed inside a transaction"
    client.call("DISCARD")


def test_an_owner_with_some_of_them(anywhere):
    locks = names(5)
    token, _ = acquire(anywhere[0], locks[3], "a")
    assert macquire(anywhere[1], locks, "a").startswith("ERR this owner holds some of these locks already")
    until(lambda: modes(anywhere[0], locks) == [b"free", b"free", b"free", b"exclusive", b"free"])
    assert anywhere[0].call("LOCK.RELEASE", locks[3], "a", token) == 1
    release(anywhere[1], locks, "a", macquire(anywhere[0], locks, "a"))


def test_an_owner_with_some_of_them_does_not_wait_for_the_others(anywhere, any_cluster):
    """Also when one of the others is held: it would hold what it has for the whole wait, and be refused in the end."""
    locks = [any_cluster.key_of(shard, fresh("some")) for shard in (1, 2, 3, 4)]
    mine, _ = acquire(anywhere[0], locks[3], "a")
    other, _ = acquire(anywhere[0], locks[1], "b")
    for how in ((), ("WAIT", LONG)):
        assert macquire(anywhere[1], locks, "a", *how).startswith("ERR this owner holds some of these locks already")
    assert anywhere[0].call("LOCK.RELEASE", locks[3], "a", mine) == 1
    assert macquire(anywhere[1], locks, "a") is None
    assert anywhere[0].call("LOCK.RELEASE", locks[1], "b", other) == 1


def test_client_unblock(anywhere, any_cluster):
    locks = names(3)
    token, _ = acquire(anywhere[0], locks[1], "a")
    with resp.Connection(any_cluster[3].port) as waits:
        number = waits.call("CLIENT", "ID")
        for how, expected in (("TIMEOUT",), None), (("ERROR",), "UNBLOCKED client unblocked via CLIENT UNBLOCK"):
            waits.send(resp.encode("LOCK.MACQUIRE", 3, *locks, "b", "PX", LONG, "WAIT", LONG))
            waiting(anywhere[0], locks[1], 1)
            until(lambda: anywhere[2].call("CLIENT", "UNBLOCK", number, *how) == 1)
            assert waits.read() == expected
            until(lambda: modes(anywhere[0], locks) == [b"free", b"exclusive", b"free"])
            waiting(anywhere[0], locks[1], 0)
    assert anywhere[0].call("LOCK.RELEASE", locks[1], "a", token) == 1


def test_what_was_told_to_a_later_request_stays(anywhere, any_cluster, pool):
    """Clients that go away at any moment, and their owner, who asks again elsewhere: whoever is told all has all."""
    locks = names(6)
    draw = random.Random(9)
    for turn in range(60):
        owner = f"o{turn}"
        lost = resp.Connection(any_cluster[turn % 3 + 1].port)
        lost.send(resp.encode("LOCK.MACQUIRE", 6, *locks, owner, "PX", LONG, "WAIT", LONG))
        again = pool.submit(macquire, anywhere[turn % 3], locks, owner, "WAIT", LONG)
        for _ in range(draw.randrange(300)):
            pass
        lost.close()
        grants = again.result(60)
        assert isinstance(grants, list), grants
        for lock, (token, _) in zip(locks, grants, strict=True):
            (holder,) = info(anywhere[0], lock)[b"holders"]
            assert (holder[b"owner"], holder[b"token"]) == (owner.encode(), token)
        release(anywhere[1], locks, owner, grants)


def test_as_long_as_a_session_lives(anywhere, pool):
    """Held, waited for and reserved: all of it ends with the session, and nobody is granted behind its end."""
    locks = names(6)
    session = anywhere[0].call("SESSION.OPEN", "PX", LONG)
    how = ("SESSION", session, "NOTE", "five")
    grants = anywhere[1].call("LOCK.MACQUIRE", 5, *locks[:5], "a", *how)
    for lock, (token, ttl) in zip(locks, grants, strict=False):
        (holder,) = info(anywhere[2], lock)[b"holders"]
        assert (holder[b"owner"], holder[b"token"], holder[b"ttl_ms"], holder[b"note"]) == (b"a", token, -1, b"five")
        assert LONG - 60_000 < ttl <= LONG
        assert anywhere[0].call("LOCK.RENEW", lock, "a", token, "PX", 10).startswith("ERR this lock is held as long as")
    again = anywhere[2].call("LOCK.MACQUIRE", 5, *locks[:5], "a", *how)
    assert [token for token, _ in again] == [token for token, _ in grants]
    assert macquire(anywhere[0], locks[:5], "a").startswith("ERR this owner holds the lock, or waits for it,")
    other, _ = acquire(anywhere[0], locks[5], "b")
    wait = pool.submit(anywhere[1].call, "LOCK.MACQUIRE", 6, *locks, "c", "SESSION", session, "WAIT", LONG)
    until(lambda: any(info(anywhere[0], lock)[b"waiters"] for lock in locks))
    assert anywhere[0].call("SESSION.CLOSE", session) == 1
    until(lambda: modes(anywhere[0], locks) == [*[b"free"] * 5, b"exclusive"])
    assert wait.result(60).startswith("NOSESSION the session has ended")
    assert anywhere[2].call("LOCK.MACQUIRE", 5, *locks[:5], "a", *how).startswith("NOSESSION the session has ended")
    assert anywhere[0].call("LOCK.RELEASE", locks[5], "b", other) == 1
    release(anywhere[2], locks, "d", macquire(anywhere[2], locks, "d"))


def test_asked_again_it_is_told_what_the_session_has_left_now(anywhere):
    """Its owner counts from when it asked again."""
    locks = names(5)
    session = anywhere[0].call("SESSION.OPEN", "PX", LONG)
    grants = anywhere[1].call("LOCK.MACQUIRE", 5, *locks, "a", "SESSION", session)

    def told():
        again = anywhere[2].call("LOCK.MACQUIRE", 5, *locks, "a", "SESSION", session)
        assert [token for token, _ in again] == [token for token, _ in grants]
        return max(ttl for _, ttl in again)

    until(lambda: told() < min(ttl for _, ttl in grants))  # as soon as a millisecond has passed
    assert anywhere[0].call("SESSION.CLOSE", session) == 1


def test_waits_for_the_last_one(anywhere, pool):
    """Parts are reserved: shown as such, held by nobody, and others wait behind them in their order."""
    locks = names(6)
    held = [acquire(anywhere[0], lock, "a") for lock in locks]
    wait = pool.submit(macquire, anywhere[1], locks, "b", "WAIT", LONG)
    seen = set()
    left = list(zip(locks, held, strict=True))
    random.Random(6).shuffle(left)
    for lock, (token, _) in left:
        assert not wait.done()
        until(lambda: any(waiter[b"owner"] == b"b" for other in locks for waiter in info(anywhere[0], other)[b"waiters"]))
        assert anywhere[0].call("LOCK.RELEASE", lock, "a", token) == 1
        for other in locks:
            shown = info(anywhere[2], other)
            seen.add(shown[b"mode"])
            if shown[b"mode"] == b"reserved":
                assert shown[b"holders"] == []
                assert [(w[b"owner"], w[b"mode"]) for w in shown[b"waiters"]] == [(b"b", b"reserved")]
                assert acquire(anywhere[2], other, "c") is None
    assert b"reserved" in seen
    grants = wait.result(60)
    assert [ttl for _, ttl in grants] == [LONG] * 6
    assert modes(anywhere[0], locks) == [b"exclusive"] * 6
    release(anywhere[2], locks, "b", grants)


def test_first_come_first_served_behind_a_reservation(anywhere, pool):
    first, last = sorted(names(2))
    many = [first, last]
    blockers = {lock: acquire(anywhere[0], lock, "x")[0] for lock in many}
    wait = pool.submit(macquire, anywhere[1], many, "many", "WAIT", LONG)
    until(lambda: any(info(anywhere[0], lock)[b"waiters"] for lock in many))
    queued = next(lock for lock in many if info(anywhere[0], lock)[b"waiters"])
    behind = pool.submit(acquire, anywhere[2], queued, "behind", "WAIT", LONG)
    waiting(anywhere[0], queued, 2)
    assert anywhere[0].call("LOCK.RELEASE", queued, "x", blockers.pop(queued)) == 1
    ((other, token),) = blockers.items()
    until(lambda: info(anywhere[0], queued)[b"mode"] == b"reserved" and len(info(anywhere[0], other)[b"waiters"]) == 1)
    assert not behind.done() and not wait.done()
    assert anywhere[0].call("LOCK.RELEASE", other, "x", token) == 1
    grants = wait.result(60)
    assert not behind.done()
    release(anywhere[0], many, "many", grants)
    assert behind.result(60)[0] > dict(zip(many, grants, strict=True))[queued][0]


@pytest.mark.parametrize("goes", [False, True])
def test_what_is_not_granted_is_free_again(anywhere, any_cluster, goes):
    """At the end of WAIT, and when the client goes away."""
    locks = names(8)
    token, _ = acquire(anywhere[0], locks[5], "a")
    client = resp.Connection(any_cluster[1].port)
    if goes:
        client.send(resp.encode("LOCK.MACQUIRE", 8, *locks, "b", "PX", LONG, "WAIT", LONG))
        waiting(anywhere[0], locks[5], 1)
        client.close()
    else:
        assert macquire(client, locks, "b", "WAIT", 300) is None
        client.close()
    until(lambda: modes(anywhere[0], locks) == [*[b"free"] * 5, b"exclusive", b"free", b"free"])
    assert info(anywhere[0], locks[5])[b"waiters"] == []
    assert anywhere[0].call("LOCK.RELEASE", locks[5], "a", token) == 1
    release(anywhere[0], locks, "c", macquire(anywhere[2], locks, "c"))


def test_never_a_deadlock_among_them(any_cluster, pool):
    """Many at once, each with some locks of few, in any order: all are served, tokens grow, nobody is told DEADLOCK."""
    locks = names(6)
    tokens = {lock: [] for lock in locks}

    def work(number):
        draw = random.Random(number)
        with resp.Connection(any_cluster[number % len(list(any_cluster))].port) as client:
            for turn in range(5):
                some = draw.sample(locks, draw.randint(2, 4))
                grants = macquire(client, some, f"w{number}.{turn}", "WAIT", LONG)
                assert isinstance(grants, list), grants
                for lock, (token, _) in zip(some, grants, strict=True):
                    tokens[lock].append(token)
                release(client, some, f"w{number}.{turn}", grants)

    for done in [pool.submit(work, number) for number in range(12)]:
        done.result(200)
    for each in tokens.values():
        assert each == sorted(set(each))


def test_a_circle_with_a_single_lock(anywhere, pool):
    """A MACQUIRE that has reserved what another owner waits for, and waits for what that one holds."""
    locks = names(2)
    token, _ = acquire(anywhere[0], locks[1], "single")
    held, _ = acquire(anywhere[0], locks[0], "first")
    many = pool.submit(macquire, anywhere[1], locks, "many", "WAIT", LONG)
    until(lambda: any(info(anywhere[0], lock)[b"waiters"] for lock in locks))
    waits = next(lock for lock in locks if info(anywhere[0], lock)[b"waiters"])
    mine, other = (locks[1], locks[0]) if waits == locks[0] else (locks[0], locks[1])
    # "many" waits for `waits`; free it, so that it is reserved, and the other one is waited for
    owner = {locks[1]: ("single", token), locks[0]: ("first", held)}
    name, mark = owner[waits]
    assert anywhere[0].call("LOCK.RELEASE", waits, name, mark) == 1
    until(lambda: info(anywhere[0], waits)[b"mode"] == b"reserved" and info(anywhere[0], mine)[b"waiters"])
    name, mark = owner[mine]
    single = pool.submit(acquire, anywhere[2], waits, name, "WAIT", LONG)
    text = single.result(60)
    assert text.startswith(f"DEADLOCK {name} waits for lock {waits} held by many, many waits for lock {mine} held by {name};")
    assert other == waits
    assert anywhere[0].call("LOCK.RELEASE", mine, name, mark) == 1
    release(anywhere[0], locks, "many", many.result(60))


@pytest.mark.parametrize("moment", range(3))
def test_a_node_is_killed_in_the_middle(new_cluster, pool, moment):
    """What it had reserved is free again soon; what was granted is all granted."""
    three = new_cluster(nodes=3, shards=4)
    nodes = list(three)
    locks = [three.key_of(shard, f"lock{moment}") for shard in (1, 2, 3, 4)]
    victim = nodes[moment]
    lookers = [node for node in nodes if node is not victim]
    with resp.Connection(lookers[0].port) as client:
        token, _ = acquire(client, locks[3], "a")
        lost = resp.Connection(victim.port)
        lost.send(resp.encode("LOCK.MACQUIRE", 4, *locks, "lost", "PX", LONG, "WAIT", LONG))
        until(lambda: sum(mode == b"reserved" for mode in modes(client, locks)) == 3)
        victim.kill()
        lost.close()
        three.wait_for_leaders()
        until(lambda: modes(client, locks) == [b"free", b"free", b"free", b"exclusive"])
        assert client.call("LOCK.RELEASE", locks[3], "a", token) == 1
        release(client, locks, "b", macquire(client, locks, "b", "WAIT", 30_000))
