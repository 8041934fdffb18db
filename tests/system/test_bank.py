"""Money moves between accounts in all shards while nodes are killed, stopped, cut off and started again: no look at all
accounts ever sees a wrong sum, every transaction stands in one order with all others, and nothing is in doubt for long."""

import os
import time

import bank
import faults
import pytest

SECONDS = int(os.environ.get("COHORT_BANK_SECONDS", 30))
ACCOUNTS = 1000
DOUBT_SECONDS = 10


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


@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
def test_bank_under_faults(new_cluster, some_networks, tmp_path, figure, protocol):
    three = new_cluster(shards=8, networks=some_networks, arguments=["--txn-protocol", protocol, "--protected-mode", "no"])
    with bank.Load(three, seed=22, keys=ACCOUNTS) as load:
        faults.break_things(three, load, some_networks, SECONDS)
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
