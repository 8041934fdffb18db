"""Locks as clients see them, through any node: tokens, waits in one round trip, what is lost and who is told; and all of
it while leaders are killed and everything starts anew."""

import json
import random
import subprocess
import threading
import time

import pytest
import resp
import servers
from locks import LONG, acquire, figures, fresh, info, until, waiting


def test_any_node_serves(anywhere):
    lock = fresh("any")
    token, ttl = acquire(anywhere[0], lock, "a", "NOTE", "hello")
    assert ttl == LONG
    for client in anywhere:
        assert acquire(client, lock, "b") is None
        assert acquire(client, lock, "a")[0] == token  # asking again is safe
        shown = info(client, lock)
        assert shown[b"mode"] == b"exclusive"
        (holder,) = shown[b"holders"]
        assert (holder[b"owner"], holder[b"token"], holder[b"note"]) == (b"a", token, b"hello")
        assert holder[b"client"].startswith(b"1:")
    assert anywhere[1].call("LOCK.RENEW", lock, "a", token, "PX", 4000_000) == 4000_000
    assert anywhere[2].call("LOCK.RELEASE", lock, "a", token) == 1
    assert anywhere[0].call("LOCK.RELEASE", lock, "a", token) == 0
    assert anywhere[0].call("LOCK.RENEW", lock, "a", token, "PX", 1000).startswith("LOCKLOST")
    later, _ = acquire(anywhere[1], lock, "b")
    assert later > token
    (past,) = anywhere[2].call("LOCK.HISTORY", lock)
    assert dict(zip(past[::2], past[1::2], strict=True))[b"why"] == b"released"


def test_waits_are_served_in_turn(anywhere, any_cluster, pool):
    """Who waits at whichever node is told at once, in the order of asking; shared ones together."""
    lock = fresh("turn")
    token, _ = acquire(anywhere[0], lock, "first")
    order = []
    nodes = list(any_cluster)

    def wait(number):
        with resp.Connection(nodes[number % len(nodes)].port) as client:
            mine, _ = acquire(client, lock, f"w{number}", "WAIT", LONG)
            order.append((number, mine))
            assert client.call("LOCK.RELEASE", lock, f"w{number}", mine) == 1

    waits = []
    for number in range(12):
        waits.append(pool.submit(wait, number))
        waiting(anywhere[0], lock, number + 1)
    assert order == []
    assert anywhere[1].call("LOCK.RELEASE", lock, "first", token) == 1
    for one in waits:
        one.result(60)
    assert [number for number, _ in order] == list(range(12))
    tokens = [token, *(mine for _, mine in order)]
    assert tokens == sorted(set(tokens))


def test_a_wait_ends_with_nil(anywhere):
    lock = fresh("nil")
    token, _ = acquire(anywhere[0], lock, "a")
    for client in anywhere:
        began = time.monotonic()
        assert acquire(client, lock, "b", "WAIT", 300) is None
        assert time.monotonic() - began >= 0.29
    assert info(anywhere[0], lock)[b"waiters"] == []
    assert anywhere[0].call("LOCK.RELEASE", lock, "a", token) == 1


def test_what_comes_behind_a_wait_is_held_back(anywhere):
    lock = fresh("behind")
    token, _ = acquire(anywhere[0], lock, "a")
    anywhere[1].send(resp.encode("LOCK.ACQUIRE", lock, "b", "PX", LONG, "WAIT", LONG)
                     + resp.encode("INCR", "behind") + resp.encode("GET", "behind"))  # fmt: skip
    waiting(anywhere[0], lock, 1)
    assert anywhere[0].call("GET", "behind") is None
    assert anywhere[0].call("LOCK.RELEASE", lock, "a", token) == 1
    assert anywhere[1].read()[0] > token
    assert anywhere[1].read() == 1
    assert anywhere[1].read() == b"1"


@pytest.mark.parametrize("pipelined", [False, True])
def test_a_client_that_goes_away_leaves_the_queue(anywhere, any_cluster, pool, pipelined):
    lock = fresh("away")
    token, _ = acquire(anywhere[0], lock, "a")
    gone = resp.Connection(any_cluster[2].port)
    gone.send(resp.encode("LOCK.ACQUIRE", lock, "gone", "PX", LONG, "WAIT", LONG))
    if pipelined:
        gone.send(resp.encode("PING"))
    waiting(anywhere[0], lock, 1)
    stays = pool.submit(acquire, anywhere[1], lock, "stays", "WAIT", LONG)
    waiting(anywhere[0], lock, 2)
    gone.close()
    waiting(anywhere[0], lock, 1)
    assert anywhere[0].call("LOCK.RELEASE", lock, "a", token) == 1
    assert stays.result(60)[0] > token


def test_asking_again_keeps_the_place(anywhere, any_cluster, pool):
    lock = fresh("again")
    token, _ = acquire(anywhere[0], lock, "a")
    first = pool.submit(acquire, anywhere[1], lock, "b", "WAIT", LONG)
    waiting(anywhere[0], lock, 1)
    other = pool.submit(acquire, anywhere[2], lock, "c", "WAIT", LONG)
    waiting(anywhere[0], lock, 2)
    with resp.Connection(any_cluster[2].port) as again:
        second = pool.submit(acquire, again, lock, "b", "WAIT", LONG)
        assert first.result(60) == "ERR a later request of the same owner waits in the place of this one"
        assert anywhere[0].call("LOCK.RELEASE", lock, "a", token) == 1
        mine, _ = second.result(60)
        assert anywhere[0].call("LOCK.RELEASE", lock, "b", mine) == 1
        assert other.result(60)[0] > mine


def test_who_loses_a_lock_is_told(any_cluster, anywhere):
    """RESP3: a push, at whichever node the lock was acquired."""
    for node in any_cluster:
        lock = fresh("lost")
        with resp.Connection(node.port, protocol=3) as client:
            token, _ = acquire(client, lock, "a", ttl=50)
            pushed = client.read()
            assert isinstance(pushed, resp.Push)
            assert pushed == [b"lock-lost", lock.encode(), b"a", token]
            token, _ = acquire(client, lock, "b")
            assert client.call("LOCK.RELEASE", lock, "b", token) == 1
            assert client.call("PING") == "PONG"  # of a release nothing is told


def test_who_loses_a_lock_is_told_whichever_worker_it_is_at(new_cluster):
    """Also when the same owner has asked again from elsewhere."""
    (node,) = new_cluster(nodes=1, shards=4, arguments=["--workers", "2"])
    clients = [resp.Connection(node.port, protocol=3) for _ in range(8)]
    with resp.Connection(node.port) as other:
        session = other.call("SESSION.OPEN", "PX", LONG)
        locks = [f"l{number}" for number in range(len(clients))]
        asked = list(zip(clients, locks, strict=True))
        tokens = [client.call("LOCK.ACQUIRE", lock, "a", "SESSION", session)[0] for client, lock in asked]
        for lock, token in zip(locks, tokens, strict=True):
            assert other.call("LOCK.ACQUIRE", lock, "a", "SESSION", session)[0] == token
        assert other.call("SESSION.CLOSE", session) == 1
        for (client, lock), token in zip(asked, tokens, strict=True):
            assert client.read() == [b"lock-lost", lock.encode(), b"a", token]
            client.close()


def test_guarded_commands(anywhere):
    client = anywhere[0]
    lock = fresh("{guard}lock")
    key = "{guard}key"
    token, _ = acquire(client, lock, "a")
    assert client.call("LOCK.GUARD", lock, token, "SET", key, "v") == "OK"
    assert anywhere[1].call("LOCK.GUARD", lock, token, "GET", key) == b"v"
    script = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])"
    assert anywhere[1].call("LOCK.GUARD", lock, token, "EVAL", script, 1, key, "w") == b"w"
    assert client.call("LOCK.GUARD", lock, token, "SET", "elsewhere" * 3, "v").startswith("CROSSSLOT a key")
    assert client.call("LOCK.GUARD", lock, token, "PING").startswith("ERR LOCK.GUARD takes")
    assert client.call("LOCK.GUARD", lock, token, "NONSENSE").startswith("ERR unknown command behind")
    assert client.call("LOCK.GUARD", lock, token, "GET").startswith("ERR wrong number of arguments for the command")
    assert client.call("LOCK.GUARD", lock, token, "EVALSHA", "0" * 40, 0).startswith("ERR LOCK.GUARD takes a script")
    assert client.call("LOCK.GUARD", lock, token, "LOCK.INFO", lock).startswith("ERR LOCK.GUARD takes")
    assert client.call("LOCK.RELEASE", lock, "a", token) == 1
    assert client.call("LOCK.GUARD", lock, token, "SET", key, "x").startswith("FENCED")
    assert client.call("GET", key) == b"w"
    assert client.call("FENCE.CHECK", lock, token) == 1


def test_refused_in_transactions(anywhere):
    client = anywhere[0]
    assert client.call("MULTI") == "OK"
    assert client.call("LOCK.ACQUIRE", "l", "a", "PX", 10) == "ERR Command not allowed inside a transaction"
    assert client.call("EXEC").startswith("EXECABORT")
    client.call("TXN.BEGIN")
    assert client.call("LOCK.ACQUIRE", "l", "a", "PX", 10).startswith("ERR locks, elections, barriers, latches and services do not go together with TXN.BEGIN")
    assert client.call("TXN.ROLLBACK") == "OK"
    assert "not allowed from script" in client.call("EVAL", "return redis.call('LOCK.INFO', KEYS[1])", 1, "l")


def test_listed_over_all_shards(anywhere):
    tag = fresh("list")
    names = {f"{tag}:{number}".encode() for number in range(60)}
    for name in names:
        assert acquire(anywhere[0], name, "a")[1] == LONG
    found = []
    cursor = b"0"
    while True:
        cursor, some = anywhere[1].call("LOCK.LIST", "MATCH", f"{tag}:*", "COUNT", 7, "CURSOR", cursor)
        found += some
        if cursor == b"0":
            break
    assert len(found) == len(names)
    assert set(found) == names
    assert anywhere[0].call("LOCK.LIST", "COUNT", 0) == "ERR COUNT is 1 to 1000"


def test_figures(cohort, pool):
    with resp.Connection(cohort.port) as client, resp.Connection(cohort.port) as other:
        lock = fresh("figures")
        token, _ = acquire(client, lock, "a")
        for _ in range(1000):
            assert acquire(other, lock, "b") is None
        wait = pool.submit(acquire, other, lock, "b", "WAIT", LONG)
        waiting(client, lock, 1)
        told = figures(client, "locks", "clients")
        assert int(told["locks"]) >= 1
        assert (told["lock_waiters"], told["blocked_clients"]) == ("1", "1")
        assert lock in told["hot_lock_0"]
        assert client.call("LOCK.RELEASE", lock, "a", token) == 1
        assert wait.result(60)[0] > token


def test_leaders_are_killed_under_waits(new_cluster, pool):
    """kill -9 of the lock's leader, twice: who waits through a node that lives is granted in turn, once the lock is
    released; the lease goes on with what it had; tokens grow."""
    three = new_cluster(nodes=3, shards=2)
    lock = three.key_of(1, "lock")
    with resp.Connection(three.leader_of(1).port) as client:
        token, _ = acquire(client, lock, "first")
    tokens = [token]
    for _ in range(2):
        leader = three.leader_of(1)
        others = [node for node in three if node is not leader]
        clients = [resp.Connection(node.port) for node in others]
        holder = f"o{len(tokens)}" if len(tokens) > 1 else "first"
        waits = []
        for number, client in enumerate(clients):
            waits.append(pool.submit(acquire, client, lock, f"o{len(tokens) + 1}" if number == 0 else f"x{number}",
                                     "WAIT", LONG))  # fmt: skip
            with resp.Connection(others[0].port) as looker:
                waiting(looker, lock, number + 1)
        leader.kill()
        three.wait_for_leaders()
        with resp.Connection(others[1].port) as other:
            assert len(info(other, lock)[b"waiters"]) == 2
            assert not any(wait.done() for wait in waits)
            assert other.call("LOCK.RELEASE", lock, holder, tokens[-1]) == 1
            mine, ttl = waits[0].result(60)
            assert mine > tokens[-1] and ttl > LONG - 60_000
            tokens.append(mine)
            clients[1].close()  # the other one gives up
            waiting(other, lock, 0)
        clients[0].close()
        leader.start()
        three.wait_for_leaders()
    assert tokens == sorted(set(tokens))


def test_waits_of_a_killed_node_end(new_cluster, pool):
    """Those who waited there cannot take a grant: once the node has started anew, they are out of the queue."""
    three = new_cluster(nodes=3, shards=1)
    victim = next(node for node in three if node is not three.leader_of(1))
    with resp.Connection(three.leader_of(1).port) as client:
        token, _ = acquire(client, "lock", "a")
        with resp.Connection(victim.port) as lost:
            lost.send(resp.encode("LOCK.ACQUIRE", "lock", "lost", "PX", LONG, "WAIT", LONG))
            waiting(client, "lock", 1)
            victim.kill()
        victim.start()
        three.wait_for_leaders()
        with resp.Connection(victim.port) as later:
            stays = pool.submit(acquire, later, "lock", "stays", "WAIT", LONG)
            until(lambda: [each[b"owner"] for each in info(client, "lock")[b"waiters"]] == [b"stays"])
            assert client.call("LOCK.RELEASE", "lock", "a", token) == 1
            assert stays.result(60)[0] > token


def test_everything_starts_anew(new_cluster):
    """A lease has what it had left, no more; the history, tokens and fences are there."""
    three = new_cluster(nodes=3, shards=2)
    with resp.Connection(three[1].port) as client:
        held, _ = acquire(client, "held", "a", ttl=LONG)
        short, _ = acquire(client, "short", "a", ttl=1500)
        past, _ = acquire(client, "past", "a")
        assert client.call("FENCE.CHECK", "past", past) == 1
        assert client.call("LOCK.RELEASE", "past", "a", past) == 1
        newer, _ = acquire(client, "past", "b")
        assert client.call("FENCE.CHECK", "past", newer) == 1
    three.kill()
    three.start()
    with resp.Connection(three[2].port) as client:
        token, ttl = acquire(client, "held", "a")
        assert token == held and LONG - 120_000 < ttl <= LONG
        until(lambda: acquire(client, "short", "b") is not None)
        assert client.call("LOCK.RENEW", "short", "a", short, "PX", 10).startswith("LOCKLOST")
        assert client.call("FENCE.CHECK", "past", past) == 0
        assert len(client.call("LOCK.HISTORY", "past")) == 1
        assert client.call("LOCK.RELEASE", "held", "a", held) == 1
        assert acquire(client, "held", "a")[0] > held


def test_a_node_that_stops_ends_its_waits(new_cluster, pool):
    three = new_cluster(nodes=3, shards=1)
    node = next(node for node in three if node is not three.leader_of(1))
    with resp.Connection(three.leader_of(1).port) as client, resp.Connection(node.port) as other:
        acquire(client, "lock", "a")
        wait = pool.submit(acquire, other, "lock", "b", "WAIT", LONG)
        waiting(client, "lock", 1)
        assert node.stop() == 0
        assert wait.result(60).startswith("CLUSTERDOWN this node is stopping, and the wait has ended")
        waiting(client, "lock", 0)


@pytest.mark.parametrize("workers", [1, 3])
def test_many_wait_at_once(new_cluster, pool, workers):
    """Through all nodes and workers: each is granted exactly once, none is forgotten."""
    three = new_cluster(nodes=3, shards=4, arguments=["--workers", str(workers)])
    lock = fresh("many")
    inside, worst, total = [0], [0], [0]

    def work(number):
        with resp.Connection(three[number % 3 + 1].port) as client:
            for _ in range(8):
                token, _ = acquire(client, lock, f"w{number}", "WAIT", LONG)
                inside[0] += 1
                worst[0] = max(worst[0], inside[0])
                total[0] += 1
                inside[0] -= 1
                assert client.call("LOCK.RELEASE", lock, f"w{number}", token) == 1

    for one in [pool.submit(work, number) for number in range(24)]:
        one.result(120)
    assert (worst[0], total[0]) == (1, 24 * 8)


class Locker(threading.Thread):
    """Takes locks at random nodes, shows their tokens to a resource, and notes what it may believe (docs/history.md)."""

    def __init__(self, nodes, seed, lines, stop):
        super().__init__(daemon=True)
        self.nodes, self.chance, self.lines, self.stopped = nodes, random.Random(seed), lines, stop
        self.number, self.serial, self.client = seed, 0, None

    def call(self, *words):
        """The reply; None when there is none, or an error."""
        try:
            if self.client is None:
                self.client = resp.Connection(self.chance.choice(self.nodes).port, timeout=8)
            reply = self.client.call(*words)
        except OSError:
            self.client = None
            time.sleep(0.05)
            return None
        return None if isinstance(reply, resp.Error) else reply

    def note(self, op, **facts):
        self.lines.append({"process": self.number, "op": op, "outcome": "ok", **facts})

    def believed(self, asked, ttl):
        return asked + ttl * 1_000_000 * 99 // 100

    def once(self):
        self.serial += 1
        lock, owner, ttl = f"lock{self.chance.randrange(2)}", f"o{self.number}.{self.serial}", 400
        wait = self.chance.choice([0, 300])
        start = time.monotonic_ns()
        granted = self.call("LOCK.ACQUIRE", lock, owner, "PX", ttl, "WAIT", wait)
        end = time.monotonic_ns()
        if granted is None:
            return
        token, left = granted
        until = end if wait else self.believed(start, left)
        if self.chance.random() < 0.6:
            asked = time.monotonic_ns()
            left = self.call("LOCK.RENEW", lock, owner, token, "PX", ttl)
            until = until if left is None else self.believed(asked, left)
        used = time.monotonic_ns()
        passed = self.call("FENCE.CHECK", lock, token)
        if passed is not None:
            self.note("use", key=lock, token=token, start=used, end=time.monotonic_ns(), result=passed)
        if self.chance.random() < 0.8:
            until = min(until, time.monotonic_ns())
            self.call("LOCK.RELEASE", lock, owner, token)
        self.note("hold", key=lock, token=token, start=start, end=end, until=until)

    def run(self):
        while not self.stopped.is_set():
            self.once()
        if self.client is not None:
            self.client.close()


def test_history_of_locks_under_kills(new_cluster, tmp_path):
    """What holders may believe never overlaps, tokens only grow, and no old one passes: as `cohort check` judges it."""
    three = new_cluster(nodes=3, shards=2)
    lines, stop = [], threading.Event()
    lockers = [Locker(three.nodes, seed, lines, stop) for seed in range(9)]
    for locker in lockers:
        locker.start()
    for _ in range(3):
        before = len(lines)
        until(lambda before=before: len(lines) > before + 60)
        victim = three.leader_of(1)
        victim.kill()
        before = len(lines)
        until(lambda before=before: len(lines) > before + 40)
        victim.start()
        three.wait_for_leaders()
    stop.set()
    for locker in lockers:
        locker.join(60)
    path = tmp_path / "locks.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in [{"history": 1}, *lines]))
    judged = subprocess.run([servers.COHORT, "check", path], capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout
    assert f"{len(lines)} holds and uses of locks: fine" in judged.stdout


def test_who_has_gone_takes_back_nothing_that_its_owner_was_told_elsewhere(new_cluster):
    """B waits through a node that is stopped, and asks again through another, as locks.md says. What it is told holds when the
    stopped node goes on and finds that its client is gone."""
    made = new_cluster(nodes=3, shards=1)
    stopped, other = made.followers_of(1)
    with other.connect() as client:
        for turn in range(3):
            lock = fresh("elsewhere")
            token, _ = acquire(client, lock, "a")
            waits = stopped.connect()
            waits.send(resp.encode("LOCK.ACQUIRE", lock, "b", "PX", LONG, "WAIT", LONG))
            waiting(client, lock, 1)
            stopped.pause()
            waits.close()
            assert client.call("LOCK.RELEASE", lock, "a", token) == 1
            told, _ = acquire(client, lock, "b", "WAIT", LONG)
            stopped.resume()
            mark = f"mark:{turn}"  # the node has seen what was there when it went on
            with stopped.connect() as behind:
                until(lambda behind=behind, mark=mark: behind.call("SET", mark, "x") == "OK")
                waiters = acquire(behind, lock, "nobody", "WAIT", 1000)
            assert waiters is None
            (holder,) = info(client, lock)[b"holders"]
            assert (holder[b"owner"], holder[b"token"]) == (b"b", told)


def test_a_wait_ends_where_nobody_leads(new_cluster):
    made = new_cluster(nodes=3, shards=1)
    leader = made.leader_of(1)
    alone, other = made.followers_of(1)
    with alone.connect() as client, alone.connect(servers.START_SECONDS) as waits:
        token, _ = acquire(client, "alone", "a")
        waits.send(resp.encode("LOCK.ACQUIRE", "alone", "b", "PX", LONG, "WAIT", 3000))
        waiting(client, "alone", 1)
        leader.pause()
        other.pause()
        reply = waits.read()
        assert reply is None or reply.startswith("UNCERTAIN"), reply  # nil: it was told in time
        leader.resume()
        other.resume()
        until(lambda: info(client, "alone")[b"waiters"] == [])
        assert client.call("LOCK.RELEASE", "alone", "a", token) == 1


def test_client_unblock(cohort):
    with cohort.connect() as client, cohort.connect() as waits:
        lock = fresh("unblock")
        number = waits.call("CLIENT", "ID")
        assert client.call("CLIENT", "UNBLOCK", number) == 0
        token, _ = acquire(client, lock, "a")
        for how, expected in (("TIMEOUT",), None), (("ERROR",), "UNBLOCKED client unblocked via CLIENT UNBLOCK"), ((), None):
            waits.send(resp.encode("LOCK.ACQUIRE", lock, "b", "PX", LONG, "WAIT", LONG))
            waiting(client, lock, 1)
            assert client.call("CLIENT", "UNBLOCK", number, *how) == 1
            assert waits.read() == expected
            waiting(client, lock, 0)
        assert client.call("LOCK.RELEASE", lock, "a", token) == 1


def test_client_unblock_of_several_locks(cohort):
    with cohort.connect() as client, cohort.connect() as waits:
        held, free = fresh("unblock"), fresh("unblock")
        number = waits.call("CLIENT", "ID")
        token, _ = acquire(client, held, "a")
        waits.send(resp.encode("LOCK.MACQUIRE", 2, held, free, "b", "PX", LONG, "WAIT", LONG))
        waiting(client, held, 1)
        assert client.call("CLIENT", "UNBLOCK", number) == 1
        assert waits.read() is None
        waiting(client, held, 0)
        assert acquire(client, free, "a", "WAIT", LONG) is not None
        assert client.call("LOCK.RELEASE", held, "a", token) == 1
