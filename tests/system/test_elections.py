"""Elections as clients see them, through any node: one leader, candidates that wait, who is told; and all of it while
nodes are killed and everything starts anew."""

import resp
from locks import LONG, figures, fresh, until


def campaign(client, election, candidate, *how, ttl=LONG):
    return client.call("ELECT.CAMPAIGN", election, candidate, "PX", ttl, *how)


def leader(client, election):
    """(candidate, token, value) or None."""
    reply = client.call("ELECT.LEADER", election)
    if reply is None:
        return None
    told = resp.pairs(reply)
    assert list(told) == [b"candidate", b"token", b"ttl_ms", b"value"] and told[b"ttl_ms"] > 0
    return told[b"candidate"], told[b"token"], told[b"value"]


def waiters(client):
    return int(figures(client, "locks")["lock_waiters"])


def test_followers_are_told_by_a_feed(anywhere, any_cluster):
    """As docs/elections.md has it: the leader says it, and a follower that is pushed that asks who leads."""
    election = fresh("told")
    with resp.Connection(any_cluster[3].port, protocol=3) as follower:
        assert follower.call("COHORT.FEED", "PREFIX", f"{election}:leader")[0] in ("OK", b"OK")
        for turn, candidate in enumerate(("a", "b")):
            client = anywhere[turn]
            token, _ = campaign(client, election, candidate)
            assert client.call("SET", f"{election}:leader", candidate, "PX", 300) == "OK"
            kinds = []
            while b"expired" not in kinds:
                _, _, _, changes = follower.read()
                kinds += [change[0] for change in changes]
                if b"set" in kinds:
                    assert leader(anywhere[2], election)[:2] == (candidate.encode(), token)
            assert kinds[0] == b"set"
            assert client.call("ELECT.RESIGN", election, candidate, token) == 1


def test_any_node_serves(anywhere):
    election = fresh("any")
    assert leader(anywhere[0], election) is None
    token, ttl = campaign(anywhere[0], election, "a", "VALUE", "10.0.0.1:80")
    assert ttl == LONG
    for client in anywhere:
        assert campaign(client, election, "b") is None
        assert campaign(client, election, "a", ttl=LONG + 1000) == [token, LONG + 1000]
        assert campaign(client, election, "a", ttl=1000)[1] > LONG - 60_000  # never shorter
        assert leader(client, election) == (b"a", token, b"10.0.0.1:80")
    assert anywhere[1].call("ELECT.RESIGN", election, "b", token) == 0
    assert anywhere[2].call("ELECT.RESIGN", election, "a", token) == 1
    assert anywhere[0].call("ELECT.RESIGN", election, "a", token) == 0
    assert [leader(client, election) for client in anywhere] == [None] * len(anywhere)
    assert campaign(anywhere[1], election, "b")[0] > token


def test_beside_locks_and_keys(anywhere):
    client = anywhere[0]
    name = fresh("beside")
    office, _ = campaign(client, name, "a")
    lock, _ = client.call("LOCK.ACQUIRE", name, "b", "PX", LONG)
    client.call("SET", name, "value")
    assert client.call("DEL", name) == 1
    assert client.call("LOCK.RELEASE", name, "a", office) == 0
    assert client.call("LOCK.RELEASE", name, "b", lock) == 1
    assert leader(client, name) == (b"a", office, b"")
    reserved = b"\0E" + name.encode()
    for command in (["LOCK.ACQUIRE", reserved, "a", "PX", 10], ["LOCK.RELEASE", reserved, "a", office],
                    ["LOCK.RENEW", reserved, "a", office, "PX", 10], ["LOCK.INFO", reserved], ["LOCK.HISTORY", reserved],
                    ["LOCK.GUARD", reserved, office, "GET", name]):  # fmt: skip
        assert client.call(*command).startswith("ERR no name of a lock begins with a zero byte")
    assert client.call("MULTI") == "OK"
    assert campaign(client, name, "a") == "ERR Command not allowed inside a transaction"
    assert client.call("DISCARD") == "OK"


def test_candidates_wait_their_turn(anywhere, any_cluster, pool):
    """In the order of asking, whichever node they wait at."""
    election = fresh("turn")
    token, _ = campaign(anywhere[0], election, "first")
    order = []
    nodes = list(any_cluster)

    def stand(number):
        with resp.Connection(nodes[number % len(nodes)].port) as client:
            mine, _ = campaign(client, election, f"c{number}", "WAIT", LONG)
            order.append((number, mine))
            assert leader(client, election)[:2] == (f"c{number}".encode(), mine)
            assert client.call("ELECT.RESIGN", election, f"c{number}", mine) == 1

    before = [waiters(looker) for looker in anywhere]
    candidates = []
    for number in range(9):  # who keeps the shard counts them
        candidates.append(pool.submit(stand, number))
        until(lambda count=number: max(waiters(at) - had for at, had in zip(anywhere, before, strict=True)) == count + 1)
    assert order == []
    assert anywhere[1].call("ELECT.RESIGN", election, "first", token) == 1
    for candidate in candidates:
        candidate.result(60)
    assert [number for number, _ in order] == list(range(9))
    tokens = [token, *(mine for _, mine in order)]
    assert tokens == sorted(set(tokens))
    assert campaign(anywhere[0], election, "a")[0] > tokens[-1]
    assert campaign(anywhere[1], election, "b", "WAIT", 200) is None


def test_who_loses_an_office_is_told(any_cluster):
    for node in any_cluster:
        election = fresh("lost")
        with resp.Connection(node.port, protocol=3) as client:
            token, _ = campaign(client, election, "a", ttl=50)
            pushed = client.read()
            assert isinstance(pushed, resp.Push)
            assert pushed == [b"office-lost", election.encode(), b"a", token]


def test_leaders_are_killed(new_cluster, pool):
    """kill -9 of the node that leads the election's shard, and of all: the office is kept with what its term had, who
    waits through a node that lives is elected when it is free, tokens grow."""
    three = new_cluster(nodes=3, shards=2)
    election = three.key_of(1, "election")
    with resp.Connection(three.leader_of(1).port) as client:
        tokens = [campaign(client, election, "c0", "VALUE", "v")[0]]
    for turn in range(2):
        victim = three.leader_of(1)
        other = next(node for node in three if node is not victim)
        with resp.Connection(other.port) as waiter, resp.Connection(other.port) as client:
            wait = pool.submit(campaign, waiter, election, f"c{turn + 1}", "WAIT", LONG)
            until(lambda client=client: waiters(client) == 1)
            victim.kill()
            three.wait_for_leaders()
            until(lambda client=client: leader(client, election) == (f"c{turn}".encode(), tokens[-1], b"v" if turn == 0 else b""))
            assert not wait.done()
            assert client.call("ELECT.RESIGN", election, f"c{turn}", tokens[-1]) == 1
            token, ttl = wait.result(60)
            assert token > tokens[-1] and ttl > LONG - 60_000
            tokens.append(token)
        victim.start()
        three.wait_for_leaders()
    three.kill()
    three.start()
    with resp.Connection(three[2].port) as client:
        until(lambda: leader(client, election) == (b"c2", tokens[-1], b""))
        assert campaign(client, election, "c2", ttl=LONG)[0] == tokens[-1]
        assert campaign(client, election, "else") is None


def test_a_leader_leads_on_beyond_maxmemory(new_server):
    """Its campaigns take no memory. Nobody else comes to lead, or to wait."""
    server = new_server()
    with server.connect() as client:
        token = campaign(client, "e", "a", ttl=LONG)[0]
        lock = client.call("LOCK.ACQUIRE", "l", "a", "PX", LONG)[0]
        campaign(client, "over", "a", ttl=1)
        until(lambda: client.call("ELECT.LEADER", "over") is None)
        client.call("CONFIG", "SET", "maxmemory", 1)
        assert client.call("LOCK.RENEW", "l", "a", lock, "PX", LONG) == LONG
        assert client.call("FENCE.CHECK", "l", lock) == 1  # who holds a lock can go on, too
        assert campaign(client, "e", "a", ttl=2 * LONG) == [token, 2 * LONG]
        for refused in (campaign(client, "e", "b"), campaign(client, "e", "b", "WAIT", LONG), campaign(client, "over", "a")):
            assert refused.startswith("OOM ")
        assert client.call("ELECT.RESIGN", "e", "a", token) == 1
        assert campaign(client, "e", "a").startswith("OOM ")
        client.call("CONFIG", "SET", "maxmemory", 0)
        assert campaign(client, "e", "b")[0] > token
