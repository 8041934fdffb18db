"""sqlite:// and what it refuses, in words that say what to do."""

import os
import random
import re

import engines
import pytest
import resp
from sqlites import acquire, Child, database, deceiver, engine, path, remove, TTL_MS, until, url


# ---- refusals ----


def refused(url):
    with pytest.raises(engines.Refused) as caught:
        engines.Engine(url)
    assert caught.value.status == engines.INVALID
    return caught.value.words


def test_places_that_are_none(tmp_path, path, url):
    assert "whole path" in refused("sqlite://relative.db")
    assert "whole path" in refused("sqlite://")
    assert "cannot be used" in refused(f"sqlite://{tmp_path}/nowhere/x.db")
    assert "is no file" in refused(f"sqlite://{tmp_path}")
    assert "local=yes" in refused(url + "?nonsense=1")
    assert "yes or no" in refused(url + "?local=perhaps")
    os.mkfifo(tmp_path / "fifo")
    assert "is no file" in refused(f"sqlite://{tmp_path}/fifo")
    assert not path.exists()
    long = tmp_path / ("d" * 200) / ("e" * 200)
    long.mkdir(parents=True)
    (long / "x.db").write_bytes(b"not a database, but as long as one might be " * 100)
    with engines.Engine(f"sqlite://{long}/x.db") as engine:
        words = engine.call("LOCK.ACQUIRE", "k", "a", "PX", TTL_MS)
        assert words.startswith("ERR ...") and words.endswith("nothing was changed"), words


def test_a_file_that_is_no_database(path, url):
    for content in (b"no database at all\n" * 200, random.Random(1).randbytes(8192), b"short"):
        path.write_bytes(content)
        with engines.Engine(url) as engine:
            for words in [("LOCK.ACQUIRE", "k", "a", "PX", TTL_MS), ("LOCK.INFO", "k"), ("LOCK.LIST",), ("FENCE.CHECK", "k", 1)]:
                assert "no SQLite database, or an encrypted one" in engine.call(*words)
            assert path.read_bytes() == content
            path.unlink()
            acquire(engine, "k", "a")  # it was looked at anew
        remove(path)


def test_tables_of_somebody_else(path, url):
    ours = "name, token, fence, \"limit\""
    for table, columns in [("cohort_locks", "name, pid"), ("cohort_locks", ours), ("COHORT_Meta", "x"),
                           ("cohort_history", "id INTEGER PRIMARY KEY")]:  # fmt: skip
        remove(path)
        with database(path) as base, engines.Engine(url) as engine:
            base.execute(f"CREATE TABLE {table} ({columns})")
            words = engine.call("LOCK.ACQUIRE", "k", "a", "PX", TTL_MS)
            assert f"the table {table.lower()} has other columns" in words
            assert len(base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()) == 1
            base.execute(f"ALTER TABLE {table} RENAME TO mine")
            acquire(engine)


def test_tables_of_a_newer_cohort(path, url):
    with engines.Engine(url) as engine, database(path) as base:
        acquire(engine)
        base.execute("UPDATE cohort_meta SET form = 2")
        assert isinstance(engine.call("LOCK.ACQUIRE", "x", "a", "PX", TTL_MS), resp.Error)
        words = engine.call("LOCK.ACQUIRE", "x", "a", "PX", TTL_MS)
        assert "newer Cohort" in words
        base.execute("ALTER TABLE cohort_meta ADD COLUMN more")
        assert "newer Cohort" in engine.call("LOCK.INFO", "x")


def test_rows_that_somebody_spoiled(path, url):
    with engines.Engine(url) as engine, database(path) as base:
        acquire(engine)
        for spoil, table in [("UPDATE cohort_holders SET kind = 'mine'", "cohort_holders"),
                             ("UPDATE cohort_holders SET kind = 'exclusive', permits = 0", "cohort_holders"),
                             ("UPDATE cohort_holders SET permits = 1, owner = zeroblob(257)", "cohort_holders")]:  # fmt: skip
            base.execute(spoil)
            words = engine.call("LOCK.ACQUIRE", "k", "b", "PX", TTL_MS)
            assert f"a row of {table} is not as Cohort writes them" in words
        base.execute("DELETE FROM cohort_holders")
        token = acquire(engine, "k", "b")
        base.execute("DELETE FROM cohort_meta")
        until(lambda: isinstance(engine.call("LOCK.ACQUIRE", "k", "c", "PX", TTL_MS), list))
        assert engine.call("LOCK.RENEW", "k", "b", token, "PX", TTL_MS).startswith("LOCKLOST")
        base.execute("DROP TABLE cohort_waiters")
        until(lambda: isinstance(engine.call("LOCK.ACQUIRE", "y", "c", "PX", TTL_MS), list))


def test_who_may_not_write(path, url, tmp_path):
    """May look at locks, and is told what is missing."""
    if os.geteuid() != 0:
        pytest.skip("to become another user needs root")
    with engines.Engine(url) as engine:
        token = acquire(engine, "k", "a", "NOTE", "n")
        for folder in [tmp_path, *tmp_path.parents][:-2]:
            folder.chmod(folder.stat().st_mode | 0o055)
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).chmod(0o644)
        nobody = Child(url, user=65534)
        if nobody.process.poll() is None:
            assert nobody.call("LOCK.LIST")[1] == ["k"]
            words = nobody.call("LOCK.ACQUIRE", "x", "a", "PX", TTL_MS)
            assert "cannot be written" in words and "folder must be writable" in words, words
            assert "cannot be written" in nobody.call("LOCK.RELEASE", "k", "a", token)
        nobody.kill()
    remove(path)
    tmp_path.chmod(0o755)
    nobody = Child(url, user=65534)
    words = nobody.call("LOCK.ACQUIRE", "x", "a", "PX", TTL_MS)
    assert words.startswith("ERR") and str(path) in words, words
    nobody.kill()


def test_a_full_disk(small_disk):
    with engines.Engine(f"sqlite://{small_disk}/app.db") as engine:
        token = acquire(engine)
        with open(small_disk / "filler", "wb") as filler:
            with pytest.raises(OSError):
                while True:
                    filler.write(b"x" * 65536)
                    filler.flush()
        names, words = [], None
        for number in range(2000):
            reply = engine.call("LOCK.ACQUIRE", f"n{number}" + "x" * 900, "a", "PX", TTL_MS)
            if isinstance(reply, resp.Error):
                words = reply
                break
            names.append((number, reply[0]))
        assert words is not None and "the disk is full" in words and "nothing was changed" in words, words
        assert engine.call("LOCK.ACQUIRE", "k", "b", "PX", TTL_MS) is None
        (small_disk / "filler").unlink()
        assert engine.call("LOCK.RENEW", "k", "a", token, "PX", TTL_MS) > 0
        for number, granted in names:
            assert engine.call("LOCK.RELEASE", f"n{number}" + "x" * 900, "a", granted) == 1
        with database(small_disk / "app.db") as base:
            assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_sync_that_fails(path, url, tmp_path, deceiver):
    """Nobody is told of a token that may be lost."""
    fails = tmp_path / "fails"
    child = Child(url, LD_PRELOAD=deceiver, COHORT_TEST_NO_SYNC=str(fails))
    token, _ = child.call("LOCK.ACQUIRE", "k", "a", "PX", TTL_MS)
    fails.touch()
    words = child.call("FENCE.CHECK", "k", token)
    assert isinstance(words, str) and re.match("UNCERTAIN|ERR", words), words
    fails.unlink()
    assert child.call("FENCE.CHECK", "k", token) == 1
    assert child.call("LOCK.RELEASE", "k", "a", token) == 1
    child.kill()


@pytest.mark.parametrize("kind, name", [(0x6969, "NFS"), (0xFF534D42, "CIFS"), (0x65735546, "FUSE"), (0x01021997, "9P")])
def test_file_systems_of_several_machines(path, url, deceiver, kind, name):
    environment = {"LD_PRELOAD": deceiver, "COHORT_TEST_TYPE": str(kind)}
    errors = Child(url, **environment).errors()
    assert f"of other machines, too ({name})" in errors and "local=yes" in errors, errors
    assert not path.exists()
    trusted = Child(url + "?local=yes", **environment)
    assert isinstance(trusted.call("LOCK.ACQUIRE", "k", "a", "PX", TTL_MS), list)
    trusted.kill()
