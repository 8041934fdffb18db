"""Money moves between accounts in all shards while nodes are killed, stopped, cut off and started again: no look at all
accounts ever sees a wrong sum, every transaction stands in one order with all others, and nothing is in doubt for long."""

import contextlib
import os
import time

import bank
import faults
import pytest
import resp

SECONDS = int(os.environ.get("COHORT_BANK_SECONDS", 30))
ACCOUNTS = 1000
DOUBT_SECONDS = 10


@contextlib.contextmanager
def history_kept(load, path):
    """Whatever fails: what the clients were told is there to look at."""
    try:
        yield
    except BaseException:
        load.write(path)
        raise


def in_doubt(of):
    """What is not over, as homes and participants say, for a complaint."""
    told, cursor = [], "0"
    with of[1].connect(60) as connection:
        while not isinstance(answer := connection.call("TXN.LIST", "COUNT", "1000", "CURSOR", cursor), resp.Error):
            cursor, page = answer
            told += [record for record in page if b"DONE" not in record]
            if cursor == b"0":
                break
        told += [connection.call("TXN.STATUS", record[record.index(b"id") + 1]) for record in told[:20]]
    return "\n".join(map(str, [answer, *told]))


def nothing_in_doubt(of):
    """Waits until every account can be written, as no transaction holds one; for how many seconds. A write may be told to
    be uncertain, as any other: it is asked again."""
    began, seconds, told = time.monotonic(), 0, {}
    held = [f"account:{number}" for number in range(ACCOUNTS)]
    with of[1].connect(60) as connection:
        while held:
            replies = connection.calls([["PERSIST", name] for name in held])
            for name, reply in zip(held, replies, strict=True):
                code = str(reply).split(" ", 1)[0]
                told[code] = told.get(code, 0) + 1
                assert code in ("0", "BUSY", "CLUSTERDOWN", "UNCERTAIN"), f"{name}: {reply}"
            held = [name for name, reply in zip(held, replies, strict=True) if reply != 0]
            seconds = time.monotonic() - began
            assert seconds < DOUBT_SECONDS, f"after {seconds} s, {told}: {held[:20]}\n{in_doubt(of)}"
    return seconds


def test_bank_without_faults(new_cluster, tmp_path):
    three = new_cluster(shards=8)
    with bank.Load(three, seed=21, clients=16, keys=50, timeout=60) as load:
        load.wait_for(1500)
    load.read_everything(three.nodes)
    counts = load.check(tmp_path / "history.jsonl")
    assert counts["ok"] > 1000 and load.sums() > 3, (counts, load.errors, load.sums())
    assert counts["unknown"] == 0, (counts, load.errors)


@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
def test_bank_under_faults(new_cluster, some_networks, tmp_path, figure, protocol):
    three = new_cluster(shards=8, networks=some_networks, arguments=["--txn-protocol", protocol, "--protected-mode", "no"])
    load = bank.Load(three, seed=22, keys=ACCOUNTS)
    with history_kept(load, tmp_path / "history.jsonl"):
        with load:
            faults.break_things(three, load, some_networks, SECONDS, least=len(faults.FAULTS))
            load.wait_for(500)
        seconds = nothing_in_doubt(three)
        load.read_everything(three.nodes)
    counts = load.check(tmp_path / "history.jsonl")
    assert counts["ok"] > 1000 and load.sums() > 3, (counts, load.errors, load.sums())
    three.wait_until_equal()
    told = f"{counts}, {load.errors}, {load.sums()} sums, all free after {seconds:.2f} s"
    figure(f"transactions of a bank in all shards under faults ({protocol})", told)
