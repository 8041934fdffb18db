"""sqlite:// (src/engine/sqlite.c): what is its own, beside what test_engines.py asks of every engine. The database is read and
written by Python's sqlite3, as an application would."""

import threading
import time

import engines
import pytest
import resp
from sqlites import acquire, BUSY_TIMEOUT, Child, database, engine, path, remove, TTL_MS, until, url, WAIT


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
