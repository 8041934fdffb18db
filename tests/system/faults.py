"""What is done to a cluster under load, one after the other: whoever leads is killed, stopped, cut off both ways and one way;
the others are stopped; all are killed. `load.wait_for(n)` waits until so much more was done."""

import itertools
import time


def kill_leader(of, leader, load, nets, some):
    leader.kill()
    load.wait_for(some // 2)
    leader.start()


def kill_all(of, leader, load, nets, some):
    of.kill()
    of.start()


def stop_leader(of, leader, load, nets, some):
    leader.pause()
    time.sleep(2.5)
    leader.resume()


def stop_followers(of, leader, load, nets, some):
    others = [node for node in of if node is not leader]
    for node in others:
        node.pause()
    time.sleep(1)
    for node in others:
        node.resume()


def cut_off(outgoing, incoming):
    """The leader hears nobody, or nobody hears it, or both."""

    def fault(of, leader, load, nets, some):
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


def break_things(of, load, nets, seconds, some=200):
    """One fault after the other, until the time is up; all nodes run afterwards, and reach each other."""
    deadline = time.monotonic() + seconds
    for turn, fault in enumerate(itertools.cycle(FAULTS)):
        if time.monotonic() > deadline:
            return
        load.wait_for(some)
        fault(of, of.leader_of(turn % of.shards + 1), load, nets, some)
