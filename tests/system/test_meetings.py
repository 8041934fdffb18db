"""Barriers and latches as clients see them, through any node, and while nodes are killed."""

import resp
from locks import LONG, figures, fresh, until


def waiting(client):
    """Who waits at barriers and latches, of all shards of which this node has a replica."""
    return int(figures(client, "locks")["meeting_waiters"])


def enter(client, barrier, owner, count, *how):
    return client.call("BARRIER.ENTER", barrier, owner, "COUNT", count, *how)


def test_a_barrier_lets_all_pass_again_and_again(any_cluster, pool):
    """Twelve, whichever node each waits at; nobody is in the next turn before all are out of the last one."""
    barrier = fresh("barrier")
    nodes = list(any_cluster)
    turns = [[] for _ in range(6)]

    def work(number):
        with resp.Connection(nodes[number % len(nodes)].port) as client:
            for turn in turns:
                turn.append(number)
                assert enter(client, barrier, f"o{number}", 12, "WAIT", LONG) == 1
                assert len(turn) == 12

    for one in [pool.submit(work, number) for number in range(12)]:
        one.result(60)


def test_who_does_not_wait_is_out(anywhere, any_cluster, pool):
    barrier = fresh("out")
    assert enter(anywhere[0], barrier, "a", 2) is None
    assert enter(anywhere[0], barrier, "a", 2, "WAIT", 50) is None
    with resp.Connection(any_cluster[1].port) as client, resp.Connection(any_cluster[2].port) as other:
        first = pool.submit(enter, client, barrier, "a", 3, "WAIT", LONG)
        until(lambda: str(enter(anywhere[0], barrier, "b", 2)).startswith("ERR those who are in this barrier gave COUNT 3"))
        again = pool.submit(enter, other, barrier, "a", 3, "WAIT", LONG)  # the same owner, from elsewhere
        assert first.result(60) == "ERR a later request of the same owner waits in the place of this one"
        second = pool.submit(enter, client, barrier, "b", 3, "WAIT", LONG)
        until(lambda: enter(anywhere[0], barrier, "c", 3) == 1)
        assert (again.result(60), second.result(60)) == (1, 1)
    with resp.Connection(any_cluster[1].port) as client:
        client.send(resp.encode("BARRIER.ENTER", barrier, "a", "COUNT", 2, "WAIT", LONG))
        until(lambda: str(enter(anywhere[0], barrier, "b", 3)).startswith("ERR those who are in"))
    # its client is gone, and so is its place
    until(lambda: enter(anywhere[0], barrier, "b", 9) is None)


def test_a_latch_opens_after_n(anywhere, any_cluster, pool):
    latch = fresh("latch")
    nodes = list(any_cluster)
    assert anywhere[0].call("LATCH.WAIT", latch).startswith("ERR no latch of this name is set")
    assert anywhere[0].call("LATCH.SET", latch, 5) == 1
    assert anywhere[1].call("LATCH.SET", latch, 9) == 0
    assert anywhere[1].call("LATCH.WAIT", latch, "WAIT", 50) is None

    def wait(number):
        with resp.Connection(nodes[number % len(nodes)].port) as client:
            return client.call("LATCH.WAIT", latch, "WAIT", LONG)

    waits = [pool.submit(wait, number) for number in range(9)]
    for left in (4, 3, 2, 1):
        assert anywhere[left % len(anywhere)].call("LATCH.DOWN", latch) == left
        assert not any(each.done() for each in waits)
    assert anywhere[0].call("LATCH.DOWN", latch) == 0
    assert [each.result(60) for each in waits] == [1] * 9
    assert anywhere[2].call("LATCH.DOWN", latch) == 0
    assert anywhere[2].call("LATCH.WAIT", latch) == 1
    assert anywhere[2].call("LATCH.SET", latch, 1) == 1
    assert anywhere[1].call("LATCH.WAIT", latch) is None
    assert anywhere[1].call("LATCH.SET", latch, 0) == 1
    assert anywhere[1].call("LATCH.WAIT", latch).startswith("ERR no latch of this name is set")


def test_refused_in_transactions(anywhere):
    client = anywhere[0]
    for command in (["BARRIER.ENTER", "b", "a", "COUNT", 2], ["LATCH.SET", "l", 1], ["LATCH.DOWN", "l"], ["LATCH.WAIT", "l"]):
        assert client.call("MULTI") == "OK"
        assert client.call(*command) == "ERR Command not allowed inside a transaction"
        assert client.call("EXEC").startswith("EXECABORT")
        client.call("TXN.BEGIN")
        assert client.call(*command).startswith("ERR locks, elections, barriers, latches and services do not go together")
        assert client.call("TXN.ROLLBACK") == "OK"


def test_leaders_are_killed_under_waits(new_cluster, pool):
    """kill -9 of the shard's leader, then of all: who waits through a node that lives goes on when the others have come,
    a latch has what was left."""
    three = new_cluster(nodes=3, shards=2)
    barrier, latch = three.key_of(1, "barrier"), three.key_of(1, "latch")
    with resp.Connection(three.leader_of(1).port) as client:
        assert client.call("LATCH.SET", latch, 4) == 1
    for turn in range(2):
        victim = three.leader_of(1)
        others = [node for node in three if node is not victim]
        with resp.Connection(others[0].port) as at_barrier, resp.Connection(others[1].port) as at_latch, \
                resp.Connection(others[0].port) as client:  # fmt: skip
            in_barrier = pool.submit(enter, at_barrier, barrier, f"a{turn}", 2, "WAIT", LONG)
            at_the_latch = pool.submit(at_latch.call, "LATCH.WAIT", latch, "WAIT", LONG)
            until(lambda client=client: waiting(client) == 2)
            victim.kill()
            three.wait_for_leaders()
            assert client.call("LATCH.DOWN", latch) == 3 - turn
            assert not in_barrier.done() and not at_the_latch.done()
            assert enter(client, barrier, f"b{turn}", 2, "WAIT", LONG) == 1
            assert in_barrier.result(60) == 1
            at_latch.close()
            until(lambda client=client: waiting(client) == 0)
        victim.start()
        three.wait_for_leaders()
    three.kill()
    three.start()
    with resp.Connection(three[2].port) as client, resp.Connection(three[1].port) as other:
        wait = pool.submit(client.call, "LATCH.WAIT", latch, "WAIT", LONG)
        assert other.call("LATCH.DOWN", latch) == 1
        assert other.call("LATCH.DOWN", latch) == 0
        assert wait.result(60) == 1


def test_waits_of_a_killed_node_end(new_cluster):
    """Who waited there is out of the barrier, once the node has started anew."""
    three = new_cluster(nodes=3, shards=1)
    victim = next(node for node in three if node is not three.leader_of(1))
    with resp.Connection(three.leader_of(1).port) as client:
        with resp.Connection(victim.port) as lost:
            lost.send(resp.encode("BARRIER.ENTER", "b", "lost", "COUNT", 2, "WAIT", LONG))
            until(lambda: waiting(client) == 1)
            victim.kill()
        victim.start()
        three.wait_for_leaders()
        until(lambda: waiting(client) == 0)
        assert enter(client, "b", "a", 2) is None
