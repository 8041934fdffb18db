"""Waits at locks, elections, barriers and latches end: by the client's clock when the shard's stands still, with the truth
when they are ended from outside, and in words when nobody can be asked."""

import concurrent.futures
import time

import resp
from locks import LONG, figures, until

ROUNDS = 60


def begin(node, *words):
    """A client whose request is on its way."""
    client = resp.Connection(node.port, timeout=90)
    client.send(resp.encode(*words))
    return client


def figure_of(node, name):
    with node.connect() as client:
        return int(figures(client, "locks")[name])


def test_all_or_none_pass_when_one_is_unblocked(three):
    """Whether it has left the barrier, or has passed it with the other one, both are told the same."""
    nodes = list(three)
    outcomes = set()
    with concurrent.futures.ThreadPoolExecutor(2) as pool, nodes[0].connect() as first, nodes[1].connect() as second:
        with nodes[0].connect() as third:
            number = first.call("CLIENT", "ID")
            before = figure_of(nodes[0], "meeting_waiters")
            for turn in range(ROUNDS):
                until(lambda: figure_of(nodes[0], "meeting_waiters") == before)
                first.send(resp.encode("BARRIER.ENTER", f"unblocked{turn}", "a", "COUNT", 2, "WAIT", LONG))
                until(lambda: figure_of(nodes[0], "meeting_waiters") == before + 1)
                entered = pool.submit(second.call, "BARRIER.ENTER", f"unblocked{turn}", "b", "COUNT", 2)
                third.call("CLIENT", "UNBLOCK", number)
                both = (first.read(), entered.result())
                assert both in ((1, 1), (None, None)), both
                outcomes.add(both)
    assert outcomes


def test_time_without_a_leader_is_over_for_who_waits(new_cluster):
    """The shard's clock stands still while nobody leads, and leases with it; a wait does not. So what began before and
    is over ends ahead of a shorter one that begins when there is a leader again."""
    cluster = new_cluster(nodes=3, shards=1)
    leader = cluster.leader_of(1)
    stays = next(node for node in cluster if node is not leader)
    with stays.connect() as client:
        assert len(client.call("LOCK.ACQUIRE", "held", "holder", "PX", LONG)) == 2
        client.call("LATCH.SET", "closed", 1)
    waits = [
        begin(stays, "LOCK.ACQUIRE", "held", "early", "PX", LONG, "WAIT", 6000),
        begin(stays, "ELECT.CAMPAIGN", "held", "early", "PX", LONG, "WAIT", 6000),
        begin(stays, "BARRIER.ENTER", "alone", "early", "COUNT", 2, "WAIT", 6000),
        begin(stays, "LATCH.WAIT", "closed", "WAIT", 6000),
    ]
    assert len(waits[1].read()) == 2  # nobody else stood: the place is taken now, and the next one waits
    waits[1] = begin(stays, "ELECT.CAMPAIGN", "held", "late", "PX", LONG, "WAIT", 6000)
    began = time.monotonic()
    until(lambda: figure_of(stays, "lock_waiters") == 2 and figure_of(stays, "meeting_waiters") == 2)
    others = [node for node in cluster if node is not stays]
    for node in others:
        node.kill()
    time.sleep(max(0, began + 6.5 - time.monotonic()))  # over by the clock of who waits
    for node in others:
        node.start()
    later = begin(stays, "LOCK.ACQUIRE", "held", "later", "PX", LONG, "WAIT", 4000)
    with concurrent.futures.ThreadPoolExecutor(len(waits)) as pool:
        ends = [pool.submit(client.read) for client in waits]
        assert later.read() is None
        assert [end.done() for end in ends] == [True] * len(ends)
        assert [end.result() for end in ends] == [None] * len(ends)
    until(lambda: figure_of(stays, "lock_waiters") == 0 and figure_of(stays, "meeting_waiters") == 0)


def test_who_waits_for_a_shard_without_a_majority_is_told_so(new_cluster):
    """Ten seconds behind the end, though what it was asked about may take a minute; and in the words of its kind."""
    cluster = new_cluster(nodes=3, shards=1, arguments=["--command-timeout", "60000"])
    stays = cluster.leader_of(1)
    with stays.connect() as client:
        client.call("LOCK.ACQUIRE", "held", "holder", "PX", LONG)
        client.call("ELECT.CAMPAIGN", "held", "holder", "PX", LONG)
        client.call("LATCH.SET", "closed", 1)
    waits = {
        "acquire it again as the same owner": ("LOCK.ACQUIRE", "held", "owner", "PX", LONG),
        "campaign again as the same candidate": ("ELECT.CAMPAIGN", "held", "owner", "PX", LONG),
        "look at the others": ("BARRIER.ENTER", "alone", "owner", "COUNT", 2),
        "wait again": ("LATCH.WAIT", "closed"),
    }
    clients = {words: begin(stays, *command, "WAIT", 3000) for words, command in waits.items()}
    until(lambda: figure_of(stays, "lock_waiters") == 2 and figure_of(stays, "meeting_waiters") == 2)
    others = [node for node in cluster if node is not stays]
    for node in others:
        node.pause()
    with stays.connect() as client:
        client.send(resp.encode("GET", "nothing"))  # it is answered when its minute is over
        for words, waiting in clients.items():
            reply = waiting.read()
            assert isinstance(reply, resp.Error) and reply.startswith("UNCERTAIN ") and words in reply
        client.socket.setblocking(False)
        try:
            assert client.socket.recv(1) is None
        except BlockingIOError:
            pass
    for node in others:
        node.resume()
    with stays.connect() as client:
        until(lambda: figure_of(stays, "lock_waiters") == 0 and figure_of(stays, "meeting_waiters") == 0)
        assert client.call("LOCK.INFO", "held")[5][0][1] == b"holder"


def test_who_waits_is_seen_among_the_clients(three):
    """CLIENT LIST says b, as Redis does, and INFO counts."""
    node = three[1]
    with node.connect() as waiter, node.connect() as looker:
        number = waiter.call("CLIENT", "ID")
        waiter.send(resp.encode("BARRIER.ENTER", "seen", "a", "COUNT", 2, "WAIT", LONG))
        until(lambda: b" flags=b " in looker.call("CLIENT", "LIST", "ID", number))
        until(lambda: b"\r\nblocked_clients:1\r\n" in looker.call("INFO", "clients"))
        assert looker.call("BARRIER.ENTER", "seen", "b", "COUNT", 2) == waiter.read() == 1
        assert b" flags=N " in looker.call("CLIENT", "LIST", "ID", number)
