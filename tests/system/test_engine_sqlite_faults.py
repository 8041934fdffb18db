"""sqlite:// when processes are killed or stopped, the power fails, or files are taken away."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import engines
import pytest
import resp
import servers
from sqlites import (
    acquire, BUSY_TIMEOUT, CHILD, Child, database, deceiver, engine, path, remove, TTL_MS, until, url, WAIT,
)


# ---- processes that end ----


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_killed_at_any_time(path, url, mode):
    """Each takes and gives back, is killed at some time, and another is begun: nothing half-done is ever there."""
    chance = random.Random(5)
    with database(path) as base:
        base.execute(f"PRAGMA journal_mode = {mode}")
        base.execute("CREATE TABLE mine (x)")
    taking = CHILD.split("for line")[0] + "import itertools, os\nfor i in itertools.count():\n" + """
    token = engine.call("LOCK.ACQUIRE", f"k{i % 3}", f"{os.getpid()}", "PX", 150, "WAIT", 50)
    if isinstance(token, list):
        engine.call("FENCE.CHECK", f"k{i % 3}", token[0])
        engine.call("LOCK.RELEASE", f"k{i % 3}", f"{os.getpid()}", token[0])
    print(i, flush=True)
"""
    words = [sys.executable, "-c", taking, os.path.dirname(__file__), url]
    running = []
    for number in range(24):
        running.append(subprocess.Popen(words, stdout=subprocess.PIPE, preexec_fn=servers.end_with_parent))
        running[-1].stdout.readline()
        if len(running) == 3:
            time.sleep(chance.uniform(0, 0.05))
            one = running.pop(chance.randrange(3))
            one.kill()
            one.communicate()
            with database(path) as base:
                assert base.execute("SELECT lock FROM cohort_holders GROUP BY lock HAVING count(*) > 1").fetchall() == []
                assert base.execute("SELECT count(*) FROM cohort_holders AS h WHERE token > (SELECT token FROM cohort_locks"
                                    " WHERE name = h.lock) OR token > (SELECT token FROM cohort_meta)").fetchone() == (0,)
                assert base.execute("SELECT lock, token FROM cohort_history GROUP BY lock, token"
                                    " HAVING count(*) > 1").fetchall() == []  # fmt: skip
    for one in running:
        one.kill()
        one.communicate()
    with database(path) as base, engines.Engine(url) as engine:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        for number in range(3):
            acquire(engine, f"k{number}", "last", *WAIT)


def test_a_process_that_is_stopped_in_a_transaction(path, url):
    """Nobody can write, and each is told so; when it is killed, all goes on at once."""
    engine = engines.Engine(url + BUSY_TIMEOUT)
    acquire(engine)
    code = "import sqlite3, sys\nb = sqlite3.connect(sys.argv[1], isolation_level=None)\nb.execute('BEGIN IMMEDIATE')\n" \
           "b.execute('DELETE FROM cohort_holders')\nprint(1, flush=True)\nsys.stdin.read()"  # fmt: skip
    stopped = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               preexec_fn=servers.end_with_parent)  # fmt: skip
    stopped.stdout.readline()
    os.kill(stopped.pid, signal.SIGSTOP)
    reply = engine.call("LOCK.ACQUIRE", "other", "b", "PX", TTL_MS)
    assert reply.startswith("BUSY") and "stopped" in reply
    stopped.kill()
    stopped.communicate()
    acquire(engine, "other", "b", *WAIT)
    assert engine.call("LOCK.ACQUIRE", "k", "b", "PX", TTL_MS) is None  # what was not committed never was
    engine.close()


# ---- power that fails, other boots ----


def fail_power(path):
    """Of each file what was synced is left; what is done to it after that, is."""
    for end in ("", "-wal"):
        file, synced = path.with_name(path.name + end), path.with_name(path.name + end + ".synced")
        file.unlink(missing_ok=True)
        if synced.exists():
            shutil.copy(synced, file)
    path.with_name(path.name + "-shm").unlink(missing_ok=True)


def sync_all(path):
    path.with_name(path.name + "-wal.synced").unlink(missing_ok=True)
    shutil.copy(path, path.with_name(path.name + ".synced"))


@pytest.mark.parametrize("clock", ["right", "back"])
@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_tokens_grow_when_the_power_fails(path, url, tmp_path, deceiver, mode, clock):
    """Also when the wall clock was put back: what was given is behind what is on disk."""
    boot = tmp_path / "boot_id"
    last = 0
    environment = {"LD_PRELOAD": deceiver, "COHORT_TEST_SYNCED": "1", "COHORT_TEST_BOOT": str(boot)}
    if mode == "delete":
        with database(path) as base:
            base.execute("CREATE TABLE mine (x)")
        base.close()
        sync_all(path)
    for number in range(4):
        boot.write_text(f"{number:08x}-0000-4000-8000-000000000000\n")
        child = Child(url, **environment)
        for each in range(30):
            token, _ = child.call("LOCK.ACQUIRE", f"k{each % 5}", "a", "PX", TTL_MS)
            assert token > last
            last = token
            assert child.call("LOCK.RELEASE", f"k{each % 5}", "a", token) == 1
        token, _ = child.call("LOCK.ACQUIRE", "held", "a", "PX", TTL_MS)  # nobody lives who held it before
        assert token > last
        last = token
        assert child.call("FENCE.CHECK", "held", token) == 1
        child.kill()
        fail_power(path)
        with database(path) as base:
            assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert base.execute("SELECT fence FROM cohort_locks WHERE name = 'held'").fetchone() == (token,)
            if clock == "back":  # tokens are far ahead of the wall clock, as if that had been put back
                last = ahead(base, last)
        base.close()
        sync_all(path)


def ahead(base, last):
    """All that was given moves a year on."""
    year = 365 * 24 * 3600 << 20
    base.execute("UPDATE cohort_meta SET token = token + ?1, tokens_until = tokens_until + ?1", (year,))
    base.execute("UPDATE cohort_locks SET token = token + ?1, fence = fence + ?1", (year,))
    base.execute("UPDATE cohort_holders SET token = token + ?1", (year,))
    return last + year


def test_most_grants_need_no_sync(path, url, deceiver):
    child = Child(url, LD_PRELOAD=deceiver, COHORT_TEST_SYNCED="1")
    child.call("LOCK.ACQUIRE", "k", "a", "PX", TTL_MS)
    log = path.with_name("app.db-wal.synced")
    before = log.stat().st_mtime_ns
    for number in range(20):
        token, _ = child.call("LOCK.ACQUIRE", f"k{number}", "b", "PX", TTL_MS)
        assert child.call("LOCK.RELEASE", f"k{number}", "b", token) == 1
    assert log.stat().st_mtime_ns == before
    assert child.call("FENCE.CHECK", "k", token) == 1
    assert log.stat().st_mtime_ns > before
    child.kill()


def test_another_boot(path, url):
    with engines.Engine(url) as engine:
        for number in range(20):
            engine.call("LOCK.RELEASE", "k", f"o{number}", acquire(engine, "k", f"o{number}"))
        token = acquire(engine, "k", "a")
        shared = [acquire(engine, "s", f"s{i}", "MODE", "SHARED") for i in range(20)]
    with database(path) as base:
        base.execute("INSERT INTO cohort_waiters (lock, place, owner, note, kind, permits, since_ms, due_ms, asked_ms)"
                     " VALUES ('k', 1, 'w', '', 'exclusive', 1, 0, 1 << 60, 1 << 60)")  # fmt: skip
        base.execute("UPDATE cohort_meta SET boot = 'another'")
        (until,) = base.execute("SELECT tokens_until FROM cohort_meta").fetchone()
        with engines.Engine(url) as engine:
            assert engine.call("LOCK.LIST")[1] == []
            assert resp.pairs(engine.call("LOCK.INFO", "k"))[b"holders"] == []
            assert engine.call("LOCK.RENEW", "k", "a", token, "PX", TTL_MS).startswith("LOCKLOST")
            past = [resp.pairs(each) for each in engine.call("LOCK.HISTORY", "k")]
            assert (past[0][b"owner"], past[0][b"why"], len(past)) == (b"a", b"client gone", 16)
            past = [resp.pairs(each) for each in engine.call("LOCK.HISTORY", "s")]
            assert [each[b"token"] for each in past] == shared[:3:-1]
            assert acquire(engine, "k", "b") > until
        assert base.execute("SELECT count(*) FROM cohort_waiters").fetchone() == (0,)


# ---- files that are taken away ----


@pytest.mark.parametrize("how", ["all", "only the database", "another name"])
def test_the_database_is_removed(path, url, how):
    """Whoever held has lost; tokens grow; all find each other again."""
    with engines.Engine(url) as engine, engines.Engine(url) as other:
        token = acquire(engine)
        assert other.call("LOCK.ACQUIRE", "k", "b", "PX", TTL_MS) is None
        if how == "all":
            remove(path)
        elif how == "only the database":
            path.unlink()
        else:
            for end in ("", "-wal", "-shm"):
                path.with_name(path.name + end).rename(path.with_name("other.db" + end))
        later = []

        def again():
            reply = other.call("LOCK.ACQUIRE", "k", "b", "PX", TTL_MS)
            later.append(reply)
            return isinstance(reply, list)

        until(again)
        assert later[-1][0] > token
        assert engine.call("LOCK.RENEW", "k", "a", token, "PX", TTL_MS).startswith("LOCKLOST")
        assert engine.call("LOCK.ACQUIRE", "k", "a", "PX", TTL_MS) is None
    with database(path) as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_an_older_copy_is_put_back(path, url, tmp_path):
    with engines.Engine(url) as engine:
        acquire(engine, "k", "a")
    shutil.copy(path, tmp_path / "copy")
    with engines.Engine(url) as engine:
        for number in range(100):
            token = acquire(engine, "x", "a")
            engine.call("LOCK.RELEASE", "x", "a", token)
        os.rename(tmp_path / "copy", path)
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        assert acquire(engine, "x", "a") > token
        assert engine.call("LOCK.ACQUIRE", "k", "b", "PX", TTL_MS) is None
