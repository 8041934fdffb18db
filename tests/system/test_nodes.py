"""Which node leads a shard, when people say so: COHORT.TRANSFER and `cohort node transfer`."""

import time

import pytest
import resp
from test_cli import cohort

SECONDS = 60  # for what must happen, but not at once
UNAVAILABLE, NOT_YET = 69, 75


def leads(of, shard, number):
    """Until all say that this node leads the shard."""
    deadline = time.monotonic() + SECONDS
    while any(of.leaders(node).get(shard) != number for node in of.alive()):
        assert time.monotonic() < deadline, f"node {number} does not lead shard {shard}\n{of.log()}"
        time.sleep(0.05)


def said(connection, *words):
    """The reply; a cluster that was founded a moment ago may not have written down its nodes yet."""
    deadline = time.monotonic() + SECONDS
    while str(reply := connection.call("COHORT.TRANSFER", *words)).startswith("CLUSTERDOWN"):
        assert time.monotonic() < deadline, reply
        time.sleep(0.02)
    return reply


def transfer(connection, shard, number):
    assert said(connection, shard, number) == "OK"


def test_a_shard_goes_where_it_is_told_to_and_stays(new_cluster):
    """By any node, for any shard, while clients write; and it survives the whole cluster's restart."""
    three, shard = new_cluster(nodes=3, shards=2), 1
    counted = 0
    with three[1].connect() as client:
        for number in (2, 3, 1, 3):
            with three[number % 3 + 1].connect() as asked:  # each in turn
                transfer(asked, shard, number)
                transfer(asked, shard, number)  # said again it changes nothing
            leads(three, shard, number)
            counted += 1
            assert client.call("INCR", three.key_of(shard)) == counted
    three.kill()
    three.start()
    leads(three, shard, 3)  # where the founding had it elsewhere
    with three[2].connect() as client:
        assert client.call("GET", three.key_of(shard)) == b"%d" % counted


def test_who_is_lost_gets_it_back(new_cluster):
    three, shard = new_cluster(nodes=3, shards=2), 2
    with three[1].connect() as asked:
        transfer(asked, shard, 3)
        leads(three, shard, 3)
        three[3].kill()
        three.wait_for_leaders()
        refused = asked.call("COHORT.TRANSFER", shard, 3)
        assert isinstance(refused, resp.Error) and "node 3 cannot be reached from node 1" in str(refused)
    three[3].start()
    leads(three, shard, 3)


@pytest.mark.parametrize(
    "words, why",
    [
        (("0", "1"), "ERR the shard is a number"),
        (("x", "1"), "ERR the shard is a number"),
        (("5", "1"), "ERR there is no shard 5; the last one is 4"),
        (("1", "4"), "ERR node 4 is not a node of this cluster"),
        (("1", "0"), "ERR the node is a number"),
        (("1",), "ERR wrong number of arguments"),
    ],
)
def test_refusals(three, words, why):
    with three[1].connect() as asked:
        refused = said(asked, *words)
        assert isinstance(refused, resp.Error) and str(refused).startswith(why)
        assert asked.call("PING") == "PONG"


def test_refused_in_transactions(three):
    with three[1].connect() as asked:
        assert asked.call("MULTI") == "OK"
        assert "not allowed inside a transaction" in str(asked.call("COHORT.TRANSFER", 1, 1))
        assert "EXECABORT" in str(asked.call("EXEC"))


def test_a_node_that_does_not_vote(new_cluster):
    """Five nodes, three of which vote in each shard."""
    five_of_three, placed = new_cluster(nodes=5, shards=4), {}
    with five_of_three[1].connect() as asked:
        status = dict(zip(*[iter(asked.call("COHORT.STATUS"))] * 2))
        for shard in status[b"shards"]:
            shard = dict(zip(*[iter(shard)] * 2))
            placed[shard[b"shard"]] = shard[b"voters"]
        outside = next(number for number in range(1, 6) if number not in placed[1])
        refused = str(said(asked, 1, outside))
        assert refused.startswith(f"ERR node {outside} does not vote in shard 1; nodes {placed[1][0]}, ")
        transfer(asked, 1, placed[1][2])
    leads(five_of_three, 1, placed[1][2])


def test_alone(new_server):
    with new_server().connect() as asked:
        assert str(asked.call("COHORT.TRANSFER", 1, 1)).startswith("ERR this node is alone")


# ---- cohort node transfer ----


def test_the_command_waits_until_it_leads(three):
    url = f"cohort://{three[1].address}"
    for number in (1, 2, 3):
        done = cohort("node", "transfer", "4", str(number), "--url", url)
        assert (done.returncode, done.stdout) == (0, f"node {number} leads shard 4\n"), done.stderr
        assert three.leader_of(4).number == number


def test_the_command_says_why_not(new_cluster):
    three = new_cluster(nodes=3, shards=1)
    url = f"cohort://{three[1].address}"
    assert cohort("node", "transfer", "1").returncode == 64
    refused = cohort("node", "transfer", "9", "1", "--url", url)
    assert refused.returncode == UNAVAILABLE and "there is no shard 9" in refused.stderr
    leader = three.leader_of(1)
    lagging, other = three.followers_of(1)
    lagging.pause()  # it is connected, and hears nothing
    waits = cohort("node", "transfer", "1", str(lagging.number), "--url", f"cohort://{other.address}", "--wait", "100ms")
    lagging.resume()
    assert waits.returncode == NOT_YET, waits.stderr
    assert f"it is written down, but node {leader.number} leads it yet" in waits.stderr
    leads(three, 1, lagging.number)
