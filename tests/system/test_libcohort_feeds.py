"""Feeds of libcohort against real nodes: none lost or told twice, whoever is killed, and the example's copy of some keys."""

import collections
import random
import signal
import subprocess
import time

import cluster
import feeds
import servers
import test_libcohort

SHARDS = 8
SECONDS = 120


class Follower:
    """The program that keeps what it is told in a file. `start` it again, and it goes on from there."""

    def __init__(self, whole, prefix, file):
        self.words = [servers.BUILD / "tests" / "system" / "libcohort_feed", test_libcohort.url(whole), prefix, file]
        self.file, self.process, self.starts = file, None, 0

    def start(self):
        self.process = subprocess.Popen(self.words, stderr=subprocess.PIPE, text=True, preexec_fn=servers.end_with_parent)
        self.starts += 1

    def kill(self):
        self.process.kill()
        _, complaint = self.process.communicate()
        assert self.process.returncode == -signal.SIGKILL, complaint

    def lines(self):
        """Whole batches: what stands before the last position."""
        text = self.file.read_text() if self.file.exists() else ""
        return text[: text.rfind("\n@") + 1].splitlines()

    def changes(self):
        """As feeds.Follower has them, of keys and values without spaces."""
        told = [line.encode().split(b" ") for line in self.lines() if not line.startswith("@")]
        return [(kind, key, int(version), *rest) for kind, key, version, *rest in told]

    def wait(self, condition):
        deadline = time.monotonic() + SECONDS
        while not condition(self.changes()):
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_every_kind(three, tmp_path):
    follower = Follower(three, "k:", tmp_path / "told")
    follower.start()
    follower.wait(lambda _: follower.file.exists() and "@" in follower.file.read_text())
    with three[1].connect() as client:
        for words in (
            ["SET", "x:1", "not ours"], ["SET", "k:1", "x"], ["PEXPIREAT", "k:1", "99999999999000"], ["PERSIST", "k:1"],
            ["DEL", "k:1"], ["HSET", "k:2", "f", "1"], ["HDEL", "k:2", "f"], ["SET", "k:3", "y" * (2 << 20)],
            ["SET", "k:4", "z", "PX", "20"],
        ):  # fmt: skip
            client.call(*words)
        follower.wait(lambda changes: any(change[0] == b"expired" for change in changes))
        client.call("FLUSHALL")
        client.call("SET", "k:end", "1")
    follower.wait(lambda changes: any(map(feeds.is_set("k:end", 1), changes)) and any(flushes("k:3", change) for change in changes))
    told = collections.defaultdict(list)
    for kind, key, _, *rest in follower.changes():
        told[key].append((kind, *rest))
    assert told[b"k:1"] == [(b"set", b"x"), (b"expire", b"99999999999000"), (b"persist",), (b"del",)]
    assert told[b"k:2"] == [(b"hset", b"f", b"1"), (b"hdel", b"f"), (b"del",)]
    assert told[b"k:3"] == [(b"reload",)]
    assert [change[0] for change in told[b"k:4"]] == [b"set", b"expire", b"expired"]
    follower.kill()


def flushes(key, change):
    return change[0] == b"flush" and int(change[3]) <= cluster.slot_of(key) <= int(change[4])


def test_none_is_lost_or_told_twice(tmp_path):
    """kill -9 of leaders, of nodes, of all of them, and of the follower itself, which then begins where it was."""
    keys = [f"c{i}" for i in range(16)]
    rng = random.Random(8)
    with cluster.Cluster(tmp_path, nodes=3, shards=SHARDS, arguments=["--snapshot-log-size", "1mb"]) as whole:
        follower = Follower(whole, "c", tmp_path / "told")
        follower.start()
        follower.wait(lambda _: follower.file.exists() and "@" in follower.file.read_text())
        writers = [feeds.Writer(whole, number, keys) for number in range(3)]
        for writer in writers:
            writer.start()
        try:
            for _ in range(5):
                feeds.break_things(whole, rng, 1)
                if rng.random() < 0.7:
                    follower.kill()
                    follower.start()
        finally:
            for writer in writers:
                writer.over.set()
                writer.join()
        whole.wait_for_leaders()
        lasts = {whole.key_of(shard, "c-last").encode() for shard in range(1, SHARDS + 1)}
        with whole[1].connect(30) as client:
            for key in lasts:  # behind all that is under way, in each shard
                feeds.asked(client, "SET", key, "end")
        follower.wait(lambda changes: lasts <= {change[1] for change in changes})
        follower.kill()
        assert follower.starts > 2
        check_counters(whole, follower.changes(), writers, keys)


def check_counters(whole, changes, writers, keys):
    feeds.check_order(changes)
    told = collections.defaultdict(list)
    for kind, key, _, *rest in changes:
        if kind == b"set":
            told[key.decode()].append(rest[0])
    with whole[1].connect(30) as client:
        for key in keys:
            last = int(feeds.asked(client, "GET", key) or 0)
            assert told[key] == [b"%d" % value for value in range(1, last + 1)], (key, last, told[key][-5:])
            for writer in writers:
                assert {b"%d" % value for value in writer.acknowledged[key]} <= set(told[key])


def test_goes_on_at_another_node(tmp_path):
    """Its node is stopped, without a word: after the time of silence another one is asked, and nothing is missing."""
    with cluster.Cluster(tmp_path, nodes=3, shards=2) as whole:
        follower = Follower(whole, "c", tmp_path / "told")
        follower.start()
        follower.wait(lambda _: follower.file.exists() and "@" in follower.file.read_text())
        victim = next(node for node in whole if feeds_of(node) == 1)
        others = [node for node in whole if node is not victim]
        victim.pause()
        for shard in (1, 2):
            whole.leader_of(shard, among=others)
        with others[0].connect(30) as client:
            for i in range(100):
                assert client.call("INCR", "c1") == i + 1
        follower.wait(lambda changes: changes and changes[-1][3] == b"100")
        assert [int(change[3]) for change in follower.changes()] == list(range(1, 101))
        follower.kill()
        victim.resume()


def feeds_of(node):
    with node.connect() as client:
        return int(next(line for line in client.call("INFO", "stats").split(b"\r\n") if line.startswith(b"feeds:")).split(b":")[1])


# ---- the example ----


def entries(file):
    lines = file.read_text().splitlines()[1:]
    return {line.split(" ", 1)[1]: value for line, value in zip(lines[::2], lines[1::2], strict=True)}


def run_example(whole, file):
    program = servers.BUILD / "examples" / "example_feed"
    return subprocess.Popen([program, test_libcohort.url(whole), file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            preexec_fn=servers.end_with_parent)  # fmt: skip


def test_example(three, tmp_path):
    """It begins with what is there, is killed and goes on, and is away for too long and begins anew."""
    file = tmp_path / "copy"
    with three[1].connect() as client:
        client.call("FLUSHALL")
        for i in range(20):
            client.call("SET", f"config:{i}", "first")
        client.call("HSET", "config:hash", "f", "v")
        program = run_example(three, file)
        wait_for(lambda: file.exists() and len(entries(file)) == 20, program)
        program.kill()
        program.communicate()
        for i in range(10):
            client.call("SET", f"config:{i}", "second")
        client.call("DEL", "config:19")
        program = run_example(three, file)
        now = {**{f"config:{i}": "first" for i in range(10, 19)}, **{f"config:{i}": "second" for i in range(10)}}
        wait_for(lambda: entries(file) == now, program)  # not all at once: between shards there is no order
        client.call("FLUSHALL")
        wait_for(lambda: entries(file) == {}, program)
        client.call("SET", "config:end", "now")
        output, complaint = program.communicate(timeout=SECONDS)
    assert (program.returncode, complaint) == (0, "")
    assert output == f"done: 1 entries in {file}\n"


def wait_for(condition, program):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert program.poll() is None, program.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_example_was_away_for_too_long(new_cluster, tmp_path):
    whole = new_cluster(nodes=3, shards=2, arguments=["--feed-history-bytes", "65536"])
    file = tmp_path / "copy"
    with whole[1].connect() as client:
        client.call("SET", "config:1", "first")
        program = run_example(whole, file)
        wait_for(lambda: file.exists() and len(entries(file)) == 1, program)
        program.kill()
        program.communicate()
        client.call("SET", "config:1", "second")
        before = file.read_text()
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:  # what is younger than two seconds is kept in any case
            for i in range(20):
                client.call("SET", f"x{i}", "x" * 8000)  # one of more than 8 KiB would be told as `reload`, in some bytes
            follower = feeds.Follower([whole[1]], "config:", position=before.split("\n", 1)[0].encode())
            refusal = follower.connect(whole[1])
            follower.close()
            if refusal is not None:
                break
            time.sleep(0.2)
        assert refusal.startswith("COMPACTED "), refusal
        client.call("SET", "config:end", "now")
        program = run_example(whole, file)
        output, complaint = program.communicate(timeout=SECONDS)
    assert (program.returncode, complaint, output) == (0, "", f"done: 2 entries in {file}\n")
    assert entries(file) == {"config:1": "second", "config:end": "now"}
