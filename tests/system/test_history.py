"""What clients see of real nodes is linearizable, whatever happens to the nodes meanwhile."""

import random
import time

import history

KILLS = 5


def wait_for(load, more):
    """Until so many more operations were sent."""
    target = load.begun() + more
    deadline = time.monotonic() + 60
    while load.begun() < target:
        assert time.monotonic() < deadline, "no progress"
        time.sleep(0.02)


def test_a_node_under_load(cohort, tmp_path):
    with history.Load([cohort.port], seed=1) as load:
        wait_for(load, 3000)
    counts = load.check(tmp_path / "history.jsonl")
    assert counts["ok"] >= 2900 and counts["failed"] == counts["unknown"] == 0 and load.errors == {}


def test_a_node_killed_again_and_again(new_server, tmp_path):
    server = new_server("cohort", "--log-segment-size", "256kb", "--snapshot-log-size", "1mb")
    chance = random.Random(2)
    with history.Load([server.port], seed=2) as load:
        for _ in range(KILLS):
            wait_for(load, chance.randrange(200, 1500))
            server.kill()
            server.start()
        wait_for(load, 500)
    counts = load.check(tmp_path / "history.jsonl")
    assert counts["ok"] > 1000 and counts["unknown"] > 0


def test_a_node_stopped_and_started(new_server, tmp_path):
    """SIGTERM answers what was received, so hardly anything is unknown: a reply may still be cut off."""
    server = new_server("cohort")
    with history.Load([server.port], seed=3) as load:
        for _ in range(3):
            wait_for(load, 300)
            server.stop()
            server.start()
        wait_for(load, 300)
    assert load.check(tmp_path / "history.jsonl")["ok"] > 1000


def test_a_server_that_forgets_is_found_out(new_server, tmp_path):
    """The proof of the test: redis-server without persistence loses everything when it is killed."""
    server = new_server("redis")
    with history.Load([server.port], seed=4) as load:
        wait_for(load, 1000)
        server.kill()
        server.start()
        wait_for(load, 1000)
    status, found = load.judge(tmp_path / "history.jsonl")
    assert status == 1 and found["verdict"] == "NOT linearizable"
    problems = {key["explanation"]["problem"] for key in found["keys"] if "explanation" in key}
    assert problems & {"lost write", "stale read", "same number twice", "no order"}
