"""Money moves between accounts in all shards while nodes are killed, stopped, cut off and started again: no look at all
accounts ever sees a wrong sum, every transaction stands in one order with all others, and nothing is in doubt for long."""

import itertools
import os
import time

import bank
import networks
import pytest

SECONDS = int(os.environ.get("COHORT_BANK_SECONDS", 30))
ACCOUNTS = 1000
DOUBT_SECONDS = 10


def kill_leader(of, leader, load, nets):
    leader.kill()
    load.wait_for(100)
    leader.start()


def kill_all(of, leader, load, nets):
    of.kill()
    of.start()


def stop_leader(of, leader, load, nets):
    leader.pause()
    time.sleep(2.5)
    leader.resume()


def stop_followers(of, leader, load, nets):
    others = [node for node in of if node is not leader]
    for node in others:
        node.pause()
    time.sleep(1)
    for node in others:
        node.resume()


def cut_off(outgoing, incoming):
    """The leader hears nobody, or nobody hears it, or both."""

    def fault(of, leader, load, nets):
        if nets is None:
            return
        for other in of:
            if other is not leader and outgoing:
                nets.cut(leader.number, other.number)
            if other is not leader and incoming:
                nets.cut(other.number, leader.number)
        time.sleep(2.5)
        nets.heal()

    return fault


FAULTS = [kill_leader, cut_off(True, True), stop_leader, cut_off(True, False), kill_all, cut_off(False, True), stop_followers]


def break_things(of, load, nets, seconds):
    """One fault after the other, until the time is up; all nodes run afterwards, and reach each other."""
    deadline = time.monotonic() + seconds
    for turn, fault in enumerate(itertools.cycle(FAULTS)):
        if time.monotonic() > deadline:
            return
        load.wait_for(200)
        fault(of, of.leader_of(turn % of.shards + 1), load, nets)


def nothing_in_doubt(of):
    """Every account can be written: no transaction holds one."""
    held = [f"account:{number}" for number in range(ACCOUNTS)]
    with of[1].connect(60) as connection:
        while held:
            replies = connection.calls([["PERSIST", name] for name in held])
            for reply in replies:
                assert reply == 0 or str(reply).startswith(("BUSY", "CLUSTERDOWN")), reply
            held = [name for name, reply in zip(held, replies, strict=True) if reply != 0]


def test_bank_without_faults(new_cluster, tmp_path):
    three = new_cluster(shards=8)
    with bank.Load(three, seed=21, clients=16, keys=50) as load:
        load.wait_for(1500)
    load.read_everything(three.nodes)
    counts = load.check(tmp_path / "history.jsonl")
    assert counts["ok"] > 1000 and load.sums() > 3
    assert counts["unknown"] == 0, load.errors


@pytest.fixture
def some_networks():
    """One for each node; None where they cannot be made: then nothing is cut."""
    try:
        nets = networks.Networks(3)
    except pytest.skip.Exception:
        yield None
        return
    with nets:
        yield nets


@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
def test_bank_under_faults(new_cluster, some_networks, tmp_path, figure, protocol):
    three = new_cluster(shards=8, networks=some_networks, arguments=["--txn-protocol", protocol, "--protected-mode", "no"])
    with bank.Load(three, seed=22, keys=ACCOUNTS) as load:
        break_things(three, load, some_networks, SECONDS)
        load.wait_for(500)
    began = time.monotonic()
    nothing_in_doubt(three)
    seconds = time.monotonic() - began
    assert seconds < DOUBT_SECONDS
    load.read_everything(three.nodes)
    counts = load.check(tmp_path / "history.jsonl")
    assert counts["ok"] > 1000 and load.sums() > 3
    three.wait_until_equal()
    figure(f"transactions of a bank in all shards under faults ({protocol})", f"{counts}, {load.errors}, {load.sums()} sums")
