"""sqlite:// (src/engine/sqlite.c): what is its own, beside what test_engines.py asks of every engine. The database is read and
written by Python's sqlite3, as an application would."""

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import engines
import pytest
import resp
import servers

TTL_MS = 60_000
PATIENCE_SECONDS = 60
WAIT = ("WAIT", PATIENCE_SECONDS * 1000)
BUSY_TIMEOUT = "?timeout=300ms"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.db"


@pytest.fixture
def url(path):
    return f"sqlite://{path}"


@pytest.fixture
def engine(url):
    with engines.Engine(url) as opened:
        yield opened


def database(path):
    """A connection whose transactions are what the words say."""
    return sqlite3.connect(path, isolation_level=None, timeout=PATIENCE_SECONDS)


def acquire(engine, name="k", owner="a", *options):
    reply = engine.call("LOCK.ACQUIRE", name, owner, "PX", TTL_MS, *options)
    assert isinstance(reply, list), reply
    return reply[0]


def until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def remove(path):
    for end in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)


# ---- processes ----

CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import engines, json
engine = engines.Engine(sys.argv[2])
for line in sys.stdin:
    print(json.dumps(engine.call(*json.loads(line)), default=lambda value: value.decode()), flush=True)
"""


class Child:
    """An engine in a process of its own, which can be killed, stopped, and deceived by power_loss.c."""

    def __init__(self, url, user=None, **environment):
        def before():
            servers.end_with_parent()
            if user is not None:
                os.setgid(user)
                os.setuid(user)

        self.process = subprocess.Popen([sys.executable, "-c", CHILD, os.path.dirname(__file__), url], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env={**os.environ, **environment}, preexec_fn=before)  # fmt: skip

    def call(self, *words):
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def errors(self):
        return self.process.communicate()[1]

    def kill(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def deceiver():
    """What LD_PRELOAD takes."""
    made = servers.BUILD / "tests" / "system" / "power_loss.so"
    before = os.environ.get("LD_PRELOAD")
    return f"{before}:{made}" if before else str(made)


# ---- what people and programs read ----


def test_rows_for_people(engine, path):
    token = acquire(engine, "nightly", "host:1", "NOTE", "for people")
    waits = threading.Thread(target=engine.call, args=("LOCK.ACQUIRE", "nightly", "host:2", "PX", TTL_MS, *WAIT))
    waits.start()
    with database(path) as base:
        until(lambda: base.execute("SELECT count(*) FROM cohort_waiters").fetchone() == (1,))
        held = base.execute("SELECT lock, token, owner, note, kind, permits, due_ms - since_ms FROM cohort_holders").fetchall()
        assert held == [("nightly", token, "host:1", "for people", "exclusive", 1, TTL_MS)]
        assert base.execute("SELECT lock, owner FROM cohort_waiters").fetchall() == [("nightly", "host:2")]
        assert base.execute("SELECT abs(julianday(since) - julianday('now')) < 1 FROM cohort_holders").fetchone() == (1,)
        assert engine.call("LOCK.RELEASE", "nightly", "host:1", token) == 1
        waits.join()
        assert base.execute("SELECT token, owner, why FROM cohort_history").fetchall() == [(token, "host:1", "released")]
        (later,) = base.execute("SELECT token FROM cohort_holders WHERE lock = 'nightly'").fetchone()
        assert base.execute("SELECT token FROM cohort_locks WHERE name = 'nightly'").fetchone() == (later,) and later > token
        assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_last_16_grants_are_kept(engine, path):
    for number in range(40):
        assert engine.call("LOCK.RELEASE", "k", f"o{number}", acquire(engine, "k", f"o{number}")) == 1
    with database(path) as base:
        kept = [owner for (owner,) in base.execute("SELECT owner FROM cohort_history ORDER BY number DESC")]
    assert kept == [f"o{number}" for number in range(39, 23, -1)]
    assert [resp.pairs(each)[b"owner"].decode() for each in engine.call("LOCK.HISTORY", "k")] == kept


GUARD = """INSERT INTO ledger SELECT ?1 WHERE EXISTS
           (SELECT 1 FROM cohort_holders WHERE lock = ?2 AND token = ?3)"""


def test_a_fenced_write_within_the_application_s_transaction(url, path):
    """docs/engines.md: in the same transaction it is asked who holds, so no write of an old holder gets in."""
    with database(path) as base, engines.Engine(url) as engine:
        base.execute("CREATE TABLE ledger (entry TEXT)")
        token = engine.call("LOCK.ACQUIRE", "ledger", "old", "PX", 100)[0]
        assert base.execute(GUARD, ("first", "ledger", token)).rowcount == 1
        later = acquire(engine, "ledger", "new", *WAIT)
        assert base.execute(GUARD, ("late", "ledger", token)).rowcount == 0
        assert base.execute(GUARD, ("second", "ledger", later)).rowcount == 1
        base.execute("BEGIN IMMEDIATE")  # and nobody can take the lock before this ends
        assert base.execute(GUARD, ("third", "ledger", later)).rowcount == 1
        granted = []
        other = threading.Thread(target=lambda: granted.append(acquire(engine, "other", "x", *WAIT)))
        other.start()
        time.sleep(0.05)
        assert not granted
        base.execute("COMMIT")
        other.join()
        assert base.execute("SELECT entry FROM ledger").fetchall() == [("first",), ("second",), ("third",)]


def test_names_are_text_where_they_are(path, url):
    names = {"plain": "plain", "ü€😀": "ü€😀", "": "", "12": "12", "\ufeffx": None, "x\uffff": None, "a\0b": None}
    odd = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"a\xfe"]
    for encoding in ("UTF-8", "UTF-16le"):
        remove(path)
        with database(path) as base:
            base.execute(f"PRAGMA encoding = '{encoding}'")
            base.execute("CREATE TABLE mine (x)")
            with engines.Engine(url) as engine:
                wanted = {name.encode(): name.encode() if text is None else text for name, text in names.items()}
                wanted |= {name: name for name in odd}
                for name in wanted:
                    acquire(engine, name, name or b"empty", "NOTE", name)
                assert set(engine.call("LOCK.LIST")[1]) == set(wanted)
                for name in wanted:
                    held = resp.pairs(resp.pairs(engine.call("LOCK.INFO", name))[b"holders"][0])
                    assert (held[b"owner"], held[b"note"]) == (name or b"empty", name)
            assert {row[0] for row in base.execute("SELECT name FROM cohort_locks")} == set(wanted.values())


# ---- the database of an application ----


@pytest.mark.parametrize("mode", ["delete", "wal", "truncate"])
def test_an_application_s_database_stays_as_it_is(path, url, mode):
    with database(path) as base:
        base.execute(f"PRAGMA journal_mode = {mode}")
        base.execute("PRAGMA user_version = 7")
        base.execute("CREATE TABLE mine (x)")
        base.execute("INSERT INTO mine VALUES (1)")
        with engines.Engine(url) as engine, engines.Engine(url) as other:
            token = acquire(engine)
            waits = threading.Thread(target=acquire, args=(other, "k", "b", *WAIT))
            waits.start()
            until(lambda: base.execute("SELECT count(*) FROM cohort_waiters").fetchone() == (1,))
            base.executemany("INSERT INTO mine VALUES (?)", [(i,) for i in range(100)])
            assert engine.call("LOCK.RELEASE", "k", "a", token) == 1
            waits.join()
        assert base.execute("SELECT count(*) FROM mine").fetchone() == (101,)
        assert base.execute("PRAGMA user_version").fetchone() == (7,)
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with database(path) as again:
        assert again.execute("PRAGMA journal_mode").fetchone() == ("wal" if mode == "wal" else "delete",)


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_waiting_is_no_loop(path, url, mode):
    """Those who wait wake each other, and the application wakes them; none of that goes on by itself."""
    with database(path) as base:
        base.execute(f"PRAGMA journal_mode = {mode}")
        base.execute("CREATE TABLE mine (x)")
        with engines.Engine(url) as engine:
            token = acquire(engine)
            waits = [threading.Thread(target=engine.call, args=("LOCK.ACQUIRE", "k", f"w{i}", "PX", 100, "WAIT", 3000))
                     for i in range(4)]  # fmt: skip
            for each in waits:
                each.start()
            until(lambda: base.execute("SELECT count(*) FROM cohort_waiters").fetchone() == (4,))
            before, start = time.process_time(), time.monotonic()
            time.sleep(1.5)
            share = (time.process_time() - before) / (time.monotonic() - start)
            assert share < 0.3, share
            engine.call("LOCK.RELEASE", "k", "a", token)
            for each in waits:
                each.join()


def test_a_transaction_of_somebody_else_is_waited_for_until_the_deadline(url, path):
    with engines.Engine(url + BUSY_TIMEOUT) as engine, database(path) as base:
        token = acquire(engine)
        base.execute("BEGIN IMMEDIATE")
        start = time.monotonic()
        for words in [("LOCK.ACQUIRE", "free", "a", "PX", TTL_MS), ("LOCK.RENEW", "k", "a", token, "PX", 2 * TTL_MS),
                      ("LOCK.RELEASE", "k", "a", token), ("FENCE.CHECK", "k", token)]:  # fmt: skip
            reply = engine.call(*words)
            assert reply.startswith("BUSY sqlite: ") and "nothing was changed" in reply, reply
        assert time.monotonic() - start >= 4 * 0.2
        assert engine.call("LOCK.ACQUIRE", "k", "b", "PX", TTL_MS) is None  # who only reads waits for nobody
        assert len(resp.pairs(engine.call("LOCK.INFO", "k"))[b"holders"]) == 1
        base.execute("ROLLBACK")
        assert engine.call("LOCK.INFO", "free") == engine.call("LOCK.INFO", "never")
        assert engine.call("LOCK.RELEASE", "k", "a", token) == 1


def test_whoever_reads_for_long_is_in_nobody_s_way(engine, path):
    acquire(engine)
    with database(path) as base:
        base.execute("BEGIN")
        assert base.execute("SELECT count(*) FROM cohort_holders").fetchone() == (1,)
        for number in range(50):
            assert engine.call("LOCK.RELEASE", "x", "a", acquire(engine, "x", "a")) == 1
        assert base.execute("SELECT count(*) FROM cohort_history").fetchone() == (0,)
        base.execute("COMMIT")


def test_many_begin_at_once(path, url):
    children = [Child(url) for _ in range(8)]
    tokens = []
    threads = [threading.Thread(target=lambda each: tokens.append(each.call("LOCK.ACQUIRE", str(id(each)), "a", "PX", TTL_MS)),
                                args=(each,)) for each in children]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({token for token, _ in tokens}) == 8
    for each in children:
        each.kill()
    with database(path) as base:
        assert base.execute("SELECT count(*) FROM cohort_meta").fetchone() == (1,)
        assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)


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


# ---- limits ----


def test_as_many_as_may_hold(url):
    with engines.Engine(url + "?timeout=1s") as engine:
        as_many_as_may_hold(engine)


def as_many_as_may_hold(engine):
    tokens = [acquire(engine, "s", f"s{i}", "MODE", "SHARED") for i in range(256)]
    assert engine.call("LOCK.ACQUIRE", "s", "more", "PX", TTL_MS, "MODE", "SHARED").startswith("BUSY too many hold")
    assert len(resp.pairs(engine.call("LOCK.INFO", "s"))[b"holders"]) == 256
    for i, token in enumerate(tokens):
        assert engine.call("LOCK.RELEASE", "s", f"s{i}", token) == 1
    assert len(engine.call("LOCK.HISTORY", "s")) == 16


def test_forgotten_locks(engine, path):
    """What docs/engines.md says to tidy up with."""
    tokens = [acquire(engine, f"job:{i}", "a") for i in range(10)]
    for i in range(9):
        assert engine.call("LOCK.RELEASE", f"job:{i}", "a", tokens[i]) == 1
    with database(path) as base:
        free = "NOT IN (SELECT lock FROM cohort_holders UNION SELECT lock FROM cohort_waiters)"
        base.execute("BEGIN IMMEDIATE")
        base.execute(f"DELETE FROM cohort_history WHERE lock {free}")
        base.execute(f"DELETE FROM cohort_locks WHERE name {free}")
        base.execute("COMMIT")
        assert base.execute("SELECT name FROM cohort_locks").fetchall() == [("job:9",)]
    assert acquire(engine, "job:0", "b") > max(tokens)
    assert engine.call("LOCK.RENEW", "job:9", "a", tokens[9], "PX", TTL_MS) > 0
