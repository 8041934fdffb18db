"""What clients see of real nodes is linearizable, whatever happens to the nodes meanwhile."""

import random

import history
import pytest

KILLS = 5


@pytest.mark.parametrize("pipeline", [1, 10])
def test_a_node_under_load(cohort, tmp_path, pipeline):
    with history.Load([cohort], seed=1, pipeline=pipeline, timeout=60) as load:
        load.wait_for(3000)
    load.read_everything([cohort])
    counts = load.check(tmp_path / "history.jsonl")
    assert counts["ok"] >= 2900 and counts["failed"] == counts["unknown"] == 0 and load.errors == {}


def test_a_node_killed_again_and_again(new_server, tmp_path):
    server = new_server("cohort", "--log-segment-size", "256kb", "--snapshot-log-size", "1mb")
    chance = random.Random(2)
    with history.Load([server], seed=2) as load:
        for _ in range(KILLS):
            load.wait_for(chance.randrange(200, 1500))
            server.kill()
            server.start()
        load.wait_for(500)
    counts = load.check(tmp_path / "history.jsonl")
    assert counts["ok"] > 1000 and counts["unknown"] > 0


def test_a_node_stopped_and_started(new_server, tmp_path):
    """SIGTERM answers what was received, so hardly anything is unknown: a reply may still be cut off."""
    server = new_server("cohort")
    with history.Load([server], seed=3) as load:
        for _ in range(3):
            load.wait_for(300)
            server.stop()
            server.start()
        load.wait_for(300)
    assert load.check(tmp_path / "history.jsonl")["ok"] > 1000


def test_a_server_that_forgets_is_found_out(new_server, tmp_path):
    """The proof of the test: redis-server without persistence loses everything when it is killed."""
    server = new_server("redis")
    with history.Load([server], seed=4) as load:
        load.wait_for(1000)
        server.kill()
        server.start()
        load.wait_for(1000)
    status, found = load.judge(tmp_path / "history.jsonl")
    assert status == 1 and found["verdict"] == "NOT linearizable"
    problems = {key["explanation"]["problem"] for key in found["keys"] if "explanation" in key}
    assert problems & {"lost write", "stale read", "same number twice", "no order"}


def test_stale_reads_are_found_out(new_server, tmp_path):
    """The proof of the judge: a redis-server and its replica, which is behind."""
    master = new_server("redis")
    replica = new_server("redis", "--replicaof", "127.0.0.1", str(master.port))
    with history.Load([master, replica], seed=5, pipeline=6) as load:
        load.wait_for(5000)
    assert load.judge(tmp_path / "history.jsonl")[0] == 1
