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


# ---- partitions of five: who is cut off, and how ----


def apart(nets, few, others):
    """Two groups, each whole."""
    for one in few:
        for other in others:
            nets.cut(one, other)
            nets.cut(other, one)


def alone(nets, few, others):
    """Each of the few by itself."""
    for one in few:
        nets.isolate(one)


def unheard(nets, few, others):
    """The few hear the others, and are not heard."""
    for one in few:
        for other in others:
            nets.cut(one, other)


def deaf(nets, few, others):
    """The few are heard, and hear none of the others."""
    unheard(nets, others, few)


def bridged(nets, few, others):
    """Two groups, and one of the others that hears all and is heard by all."""
    apart(nets, few, others[1:])


PARTITIONS = [apart, unheard, alone, bridged, deaf]


def break_apart(of, load, nets, seconds, chance, some=20):
    """Two are cut off, then others, three, at once; then all is mended. Whoever leads is among the first as often as not."""
    deadline = time.monotonic() + seconds
    numbers = [node.number for node in of]
    for turn in itertools.count():
        if time.monotonic() > deadline:
            return turn
        load.wait_for(some)
        first = of.leader_of(turn % of.shards + 1).number
        for count in (2, 3):
            order = chance.sample(numbers, len(numbers))
            if count == 2 and chance.randrange(2):
                order.sort(key=lambda number: number != first)  # noqa: B023 (used at once)
            nets.heal()
            PARTITIONS[(turn + count) % len(PARTITIONS)](nets, order[:count], order[count:])
            time.sleep(chance.uniform(0.8, 2))
        nets.heal()


def break_things(of, load, nets, seconds, some=200, least=1):
    """One fault after the other, until the time is up and so many have been; all nodes run afterwards, and reach each other."""
    deadline = time.monotonic() + seconds
    for turn, fault in enumerate(itertools.cycle(FAULTS)):
        if time.monotonic() > deadline and turn >= least:
            return
        load.wait_for(some)
        fault(of, of.leader_of(turn % of.shards + 1), load, nets, some)
