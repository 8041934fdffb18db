"""Locks that are made of Redis commands, by what people use: redis-py's `Lock`, npm's `redlock` 4 and 5, the article's lock in its
correct form. Those who hold them are stopped (SIGSTOP) for longer than their time to live, nodes are killed, stopped and cut
off, and never are there two holders within that time, as `cohort check` judges it (crew.py, holders_redis.py,
node/redlock_holder.js)."""

import itertools
import os
import time

import crew
import faults
import pytest

SECONDS = int(os.environ.get("COHORT_LIBRARIES_SECONDS", 10))
SOME = 20  # holds between one fault and the next, …
FEW = 20 if SECONDS > 60 else 8  # … where most of three must give a lock whose holders are stopped for seconds
REDLOCK = ["redlock4", "redlock5"]


def need(kind):
    if kind in REDLOCK and not (crew.MODULES / kind).is_dir():
        pytest.skip("redlock is not installed: the npm registry could not be reached (build/node/npm.txt)")


@pytest.mark.parametrize("kind", ["redis-py", "article", *REDLOCK])
def test_one_cluster_under_faults(new_cluster, some_networks, tmp_path, figure, kind):
    need(kind)
    three = new_cluster(shards=8, networks=some_networks, arguments=["--protected-mode", "no"])
    with crew.Crew(three, tmp_path, seed=61, kind=kind, count=12, networks=some_networks) as load:
        faults.break_things(three, load, some_networks, SECONDS, some=SOME)
        load.wait_for(2 * SOME)
    figure(f"locks of {kind} under faults and pauses", load.check())
    three.wait_until_equal()


def kill(node, number, load, nets):
    node.kill()
    load.wait_for(FEW)
    node.start()


def stop(node, number, load, nets):
    node.pause()
    load.wait_for(FEW)
    node.resume()


def cut_off(node, number, load, nets):
    if nets is not None:
        nets.isolate(number)
        load.wait_for(FEW)
        nets.heal()


@pytest.mark.parametrize("kind", REDLOCK)
def test_three_single_nodes_under_faults(new_cluster, some_networks, tmp_path, figure, kind):
    """As redlock is meant: a lock is held that most of the three have given. One after the other is killed, stopped, cut off from
    those who are not beside it, and comes back."""
    need(kind)
    nodes = [
        new_cluster(nodes=1, shards=2, replicas=1, networks=some_networks and {1: some_networks[number]},
                    arguments=["--protected-mode", "no"])[1] for number in (1, 2, 3)
    ]  # fmt: skip
    with crew.Crew(nodes, tmp_path, seed=62, kind=kind, count=9, ttl_ms=2000, networks=some_networks, together=True) as load:
        deadline = time.monotonic() + SECONDS
        for turn, fault in enumerate(itertools.cycle([kill, stop, cut_off])):
            victim = (turn + turn // 3) % 3  # another one each time
            load.wait_for(FEW)
            fault(nodes[victim], victim + 1, load, some_networks)
            if turn >= 2 and time.monotonic() > deadline:
                break
        load.wait_for(2 * FEW)
    figure(f"locks of {kind} at three single nodes under faults and pauses", load.check())


@pytest.mark.parametrize("kind", ["redis-py", *REDLOCK])
def test_a_server_that_forgets_is_found_out(new_server, tmp_path, kind):
    """The same load and the same judge, at a redis-server that is killed: it loses its locks, and there are two holders."""
    need(kind)
    server = new_server("redis")
    for attempt in range(10):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with crew.Crew([server], folder, seed=63 + attempt, kind=kind, count=9, together=True) as load:
            for _ in range(3):
                load.wait_for(SOME)
                server.kill()
                server.start()
            load.wait_for(SOME)
        if load.judge()[0] == 1 and "two holders" in load.judge()[1]:
            return
    raise AssertionError("two holders were never seen")
