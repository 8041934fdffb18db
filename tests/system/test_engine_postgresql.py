"""postgresql:// beyond what test_engines.py asks of every engine: servers that are killed, stopped, promoted, full; connections
that are cut at each step; what people see in the table."""

import os
import signal
import subprocess
import sys
import threading
import time

import engines
import postgresql
import pytest
import resp
import wire

TTL_MS = 60_000
PATIENCE_SECONDS = 60
WRITES = b"UPDATE \"cohort\""


@pytest.fixture(scope="module")
def server():
    with postgresql.Postgres() as made:
        yield made


@pytest.fixture
def name(request):
    return request.node.name


@pytest.fixture
def between(server):
    made = wire.Wire(server.port)
    yield made
    made.close()


def row(server, name, what="token"):
    return server.sql(f"SELECT {what} FROM cohort.locks WHERE name = '{name}'")


def until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def in_background(function, *arguments):
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)))
    thread.start()

    def result():
        thread.join(PATIENCE_SECONDS)
        return results[0]

    return result


def acquire(engine, name, owner, *more):
    """Asked again until there is an answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        reply = engine.call("LOCK.ACQUIRE", name, owner, "PX", TTL_MS, *more)
        if not isinstance(reply, resp.Error):
            return reply
        assert time.monotonic() < deadline, reply


def refusal(url, *words):
    with engines.Engine(url) as engine:
        status, reply = engine.ask(*(words or ("LOCK.ACQUIRE", "x", "a", "PX", TTL_MS)))
    assert isinstance(reply, resp.Error), reply
    return str(reply)


# ---- what people see ----


def test_people_read_it(server, name):
    with engines.Engine(server.url()) as engine:
        token, _ = engine.call("LOCK.ACQUIRE", name, 'host "7"', "PX", TTL_MS, "NOTE", b"\xff\\n\n'")
        seen = server.sql(f"SELECT lock, owner, mode, token, note FROM cohort.holders WHERE lock = '{name}'")
        assert seen == f"{name}|host \"7\"|exclusive|{token}|\\377\\\\n\\012'"
        assert server.sql(f"SELECT until - since FROM cohort.holders WHERE lock = '{name}'") == "00:01:00"
        waits = in_background(engine.call, "LOCK.ACQUIRE", name, "b", "PX", TTL_MS, "WAIT", TTL_MS)
        until(lambda: server.sql(f"SELECT owner FROM cohort.waiters WHERE lock = '{name}'") == "b")
        engine.call("LOCK.RELEASE", name, 'host "7"', token)
        assert waits()[0] > token
        info = resp.pairs(engine.call("LOCK.INFO", name))
        assert resp.pairs(info[b"holders"][0])[b"owner"] == b"b"
        assert server.sql(f"SELECT past->0->>'why' FROM cohort.locks WHERE name = '{name}'") == "released"


GUARDED = """BEGIN;
SELECT 1 / count(*) FROM (SELECT 1 FROM cohort.locks WHERE name = '{name}' AND token = {token} FOR SHARE) AS mine;
INSERT INTO written VALUES ({token});
COMMIT;"""


def test_a_write_that_the_lock_guards(server, name):
    """As docs/engines.md says: in one transaction with the lock's row."""
    server.sql("CREATE TABLE written (token bigint)")
    with engines.Engine(server.url()) as engine:
        token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        server.sql(GUARDED.format(name=name, token=token))
        engine.call("LOCK.RELEASE", name, "a", token)
        later, _ = engine.call("LOCK.ACQUIRE", name, "b", "PX", TTL_MS)
        assert "division by zero" in server.psql(GUARDED.format(name=name, token=token)).stderr
        server.sql(GUARDED.format(name=name, token=later))
    assert server.sql("SELECT token FROM written ORDER BY token") == f"{token}\n{later}"


def test_schemas_are_apart(server, name):
    with engines.Engine(server.url()) as one, engines.Engine(server.url(options="?schema=Other_1")) as other:
        assert one.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS) and other.call("LOCK.ACQUIRE", name, "b", "PX", TTL_MS)
    assert server.sql('SELECT owner FROM "Other_1".holders') == "b"


def test_rows_may_be_removed(server, name):
    """Also then tokens grow."""
    with engines.Engine(server.url()) as engine:
        token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        engine.call("LOCK.RELEASE", name, "a", token)
        server.sql("DELETE FROM cohort.locks WHERE holders = '[]' AND waiters = '[]'")
        assert engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)[0] > token
        server.sql("DROP SCHEMA cohort CASCADE")
        assert acquire(engine, name, "a")


def test_many_make_the_table_at_once(server, name):
    words = [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1]); import engines\n"
             "print(engines.Engine(sys.argv[2]).call('LOCK.ACQUIRE', sys.argv[3], sys.argv[3], 'PX', 1000))",
             os.path.dirname(__file__), server.url(options="?schema=made")]  # fmt: skip
    started = [subprocess.Popen([*words, str(i)], stdout=subprocess.PIPE, text=True) for i in range(6)]
    assert all(one.communicate()[0].startswith("[") for one in started)


# ---- the server's end ----


def test_killed_while_held_and_waited_for(name):
    with postgresql.Postgres() as server, engines.Engine(server.url()) as holder, engines.Engine(server.url()) as other:
        token, _ = holder.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        waits = in_background(acquire, other, name, "b", "WAIT", TTL_MS)
        until(lambda: server.sql("SELECT count(*) FROM cohort.waiters") == "1")
        server.kill()
        status, reply = holder.ask("LOCK.RENEW", name, "a", token, "PX", TTL_MS, timeout_ms=500)
        assert status != engines.OK, reply
        server.start()
        until(lambda: holder.call("LOCK.RENEW", name, "a", token, "PX", TTL_MS) == TTL_MS)
        assert holder.call("LOCK.RELEASE", name, "a", token) == 1
        assert waits()[0] > token


def test_shut_down_and_started(name):
    with postgresql.Postgres() as server, engines.Engine(server.url()) as engine:
        token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        for how in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            if how == signal.SIGTERM:
                engine.close()  # it waits for its clients
                engine.__init__(server.url())
            server.stop(how)
            server.start()
            assert acquire(engine, name, "a")[0] == token


def test_stopped(name):
    """No call lasts longer than its time."""
    with postgresql.Postgres() as server, engines.Engine(server.url(options="?timeout=700ms")) as engine:
        token, _ = acquire(engine, name, "a")
        server.freeze()
        for words in [("LOCK.ACQUIRE", name, "a", "PX", TTL_MS), ("LOCK.RELEASE", name, "x", token), ("LOCK.INFO", name)]:
            status, reply = engine.ask(*words)
            assert status != engines.OK, reply
        server.freeze(signal.SIGCONT)
        assert acquire(engine, name, "a")[0] == token


def test_connections_that_are_ended(server, name):
    with engines.Engine(server.url()) as holder, engines.Engine(server.url()) as other:
        token, _ = holder.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        waits = in_background(acquire, other, name, "b", "WAIT", TTL_MS)
        ends = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'cohort'"
        until(lambda: row(server, name, "jsonb_array_length(waiters)") == "1")
        for _ in range(3):
            assert int(server.sql(ends)) >= 1
            until(lambda: holder.call("LOCK.RENEW", name, "a", token, "PX", TTL_MS) == TTL_MS)
        holder.call("LOCK.RELEASE", name, "a", token)
        assert waits()[0] > token


# ---- the connection's end ----


def test_cut_at_each_step(server, between, name):
    """Whatever is told is true, and then it goes on."""
    passed, limit = [0], [0]

    def request(data):
        passed[0] += 1
        if passed[0] > limit[0]:
            raise wire.Cut
        return data

    between.request = request
    for steps in range(12):
        passed[0], limit[0] = 0, steps
        key = f"{name} {steps}"
        with engines.Engine(server.url(port=between.port, options="?timeout=300ms")) as engine:
            patience_ms = 300 if steps < 11 else TTL_MS  # the last one is not cut
            status, reply = engine.ask("LOCK.ACQUIRE", key, "a", "PX", TTL_MS, timeout_ms=patience_ms)
            limit[0] = 1 << 30
            held = server.sql("SELECT to_regclass('cohort.locks')") and row(server, key, "holders->0->>'token'")
            if status == engines.OK:
                assert held == str(reply[0])
            elif held:
                assert status == engines.UNCERTAIN, reply
            again = acquire(engine, key, "a")
            assert not held or str(again[0]) == held
    assert status == engines.OK


def test_the_reply_is_lost(server, between, name):
    """COMMIT was executed and nobody heard: whoever asks again has what it has."""
    cut = [False]

    def request(data):
        cut[0] = cut[0] or WRITES in data
        return data

    def reply(data):
        if cut[0]:
            raise wire.Cut
        return data

    with engines.Engine(server.url(port=between.port)) as engine:
        engine.call("LOCK.RELEASE", name, "nobody", 1)
        between.request, between.reply = request, reply
        status, answer = engine.ask("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        assert status == engines.UNCERTAIN and "UNCERTAIN" in answer
        token = int(row(server, name))
        between.request = between.reply = wire.same
        assert acquire(engine, name, "a")[0] == token
        assert row(server, name) == str(token)


def test_a_transaction_that_stands_still_is_ended(server, between, name):
    """Its program was stopped between reading and writing, as one is by SIGSTOP."""
    held = threading.Event()

    def request(data):
        if WRITES in data:
            held.set()
            time.sleep(6)
        return data

    between.request = request
    with engines.Engine(server.url(port=between.port)) as slow, engines.Engine(server.url()) as other:
        ends = in_background(slow.ask, "LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        assert held.wait(PATIENCE_SECONDS)
        assert acquire(other, name, "b")
        assert row(server, name, "holders->0->>'owner'") == "b"
        assert ends()[0] != engines.OK


def test_a_row_that_others_keep(server, name):
    with engines.Engine(server.url(options="?timeout=1s")) as engine:
        token, _ = acquire(engine, name, "a")
        keeps = in_background(server.psql, f"BEGIN; SELECT 1 FROM cohort.locks WHERE name = '{name}' FOR UPDATE; "
                                           "SELECT pg_sleep(600); COMMIT")  # fmt: skip
        sleeping = "FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        until(lambda: server.sql(f"SELECT count(*) {sleeping}") == "1")
        status, reply = engine.ask("LOCK.RENEW", name, "a", token, "PX", TTL_MS)
        assert status != engines.OK and "keeps the lock's row" in reply, reply
        assert resp.pairs(engine.call("LOCK.INFO", name, timeout_ms=TTL_MS))[b"mode"] == b"exclusive"  # looks need it not
        server.sql(f"SELECT pg_terminate_backend(pid) {sleeping}")
        keeps()
        assert TTL_MS <= engine.call("LOCK.RENEW", name, "a", token, "PX", TTL_MS, timeout_ms=TTL_MS) <= TTL_MS + 1


# ---- waiting ----


def test_who_waits_makes_no_loop_of_wakes(server, name):
    count = 12
    others = [engines.Engine(server.url()) for _ in range(count)]
    token, _ = others[0].call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
    waits = [in_background(acquire, other, name, f"w{i}", "WAIT", TTL_MS) for i, other in enumerate(others)]
    until(lambda: row(server, name, "jsonb_array_length(waiters)") == str(count))
    xacts = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'locks'"
    before, since = int(server.sql(xacts)), time.monotonic()
    time.sleep(3)
    rate = (int(server.sql(xacts)) - before) / (time.monotonic() - since)
    assert rate < 20 * count  # each asks four times a second
    for i in range(count + 1):
        owner = row(server, name, "holders->0->>'owner'")
        engine = others[0] if owner == "a" else others[int(owner[1:])]
        engine.call("LOCK.RELEASE", name, owner, int(row(server, name)))
        if i < count:
            until(lambda: row(server, name, "jsonb_array_length(holders)") == "1")
    assert all(isinstance(wait(), list) for wait in waits) and token
    for other in others:
        other.close()


def test_behind_a_pooler(server, between, name):
    """The process that it says is not the server's: nothing is listened to, and whoever waits asks."""

    def reply(data):
        at = data.find(b"K\0\0\0\x0c")
        return data if at < 0 else data[: at + 5] + b"\0\0\0\1" + data[at + 9 :]

    between.reply = reply
    url = server.url(port=between.port)
    with engines.Engine(url) as holder, engines.Engine(url) as other:
        token, _ = holder.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        waits = in_background(other.call, "LOCK.ACQUIRE", name, "b", "PX", TTL_MS, "WAIT", TTL_MS)
        until(lambda: row(server, name, "jsonb_array_length(waiters)") == "1")
        holder.call("LOCK.RELEASE", name, "a", token)
        assert waits()[0] > token
    assert server.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN cohort%' AND state IS NULL") == "0"


# ---- clocks ----


def test_a_clock_that_was_set_back(server, name):
    """As if the server's had been an hour ahead when the lock was granted."""
    with engines.Engine(server.url()) as engine:
        token, _ = engine.call("LOCK.ACQUIRE", name, "a", "PX", 3000)
        server.sql(f"""UPDATE cohort.locks SET changed = changed + '1 h', holders = jsonb_set(jsonb_set(holders, '{{0,until}}',
            to_jsonb((holders->0->>'until')::timestamptz + '1 h')), '{{0,since}}',
            to_jsonb((holders->0->>'since')::timestamptz + '1 h')) WHERE name = '{name}'""")
        info = resp.pairs(engine.call("LOCK.INFO", name))
        assert 0 < resp.pairs(info[b"holders"][0])[b"ttl_ms"] <= 3000
        assert engine.call("LOCK.ACQUIRE", name, "b", "PX", TTL_MS) is None
        assert engine.call("LOCK.ACQUIRE", name, "b", "PX", TTL_MS, "WAIT", TTL_MS)[0] > token


# ---- other servers ----


def standby_of(server):
    other = postgresql.Postgres()
    server.run("pg_basebackup", "-h", server.host, "-p", str(server.port), "-U", "cohort", "-D", other.data, "-R", "-c", "fast",
               "-X", "stream")  # fmt: skip
    return other.start()


def test_a_standby_and_its_promotion(name):
    """Commits that the standby never saw are lost, as asynchronous replication loses them; tokens grow nevertheless."""
    with postgresql.Postgres() as server:
        standby = standby_of(server)
        try:
            assert "name all servers in the URL" in refusal(standby.url())
            both = server.url().replace(f":{server.port}/", f":{standby.port},{server.host}:{server.port}/")
            with engines.Engine(both) as engine:
                token, _ = acquire(engine, name, "a")
                until(lambda: standby.sql("SELECT to_regclass('cohort.locks')") and row(standby, name) == str(token))
                standby.sql("ALTER SYSTEM SET primary_conninfo = ''")  # it hears nothing any more
                standby.sql("SELECT pg_reload_conf()")
                until(lambda: server.sql("SELECT count(*) FROM pg_stat_replication") == "0")
                engine.call("LOCK.RELEASE", name, "a", token)
                lost = token
                for i in range(5):
                    lost, _ = acquire(engine, name, f"lost {i}")
                    engine.call("LOCK.RELEASE", name, f"lost {i}", lost)
                assert row(standby, name) == str(token) < str(lost)
                server.kill()
                standby.sql("SELECT pg_promote(wait => false)")
                until(lambda: standby.sql("SELECT pg_is_in_recovery()") == "f")
                until(lambda: engine.call("LOCK.RELEASE", name, "a", token) in (0, 1))
                assert acquire(engine, name, "b")[0] > lost
        finally:
            standby.close()


def test_a_server_that_does_not_sync(name):
    with postgresql.Postgres(["fsync=off"]) as server:
        assert "fsync=off" in refusal(server.url())


# ---- refusals ----


def test_urls():
    for url, words in [("postgresql://", "names no database"), ("postgresql://h", "names no database"),
                       ("postgresql:///x?schema=", "schema must"), ("postgresql:///x?schema=a-b", "schema must"),
                       ("postgresql:///x?schema=1", "schema must"), ("postgresql:///x?sslmod=require", "sslmod"),
                       ("postgresql://u:s3cret@[h/x", "libpq does not"), ("postgresql://a,b:1,c:2,d/x?port=1,2", "ports"),
                       ("postgresql://" + "h," * 16 + "h/x", "16 at most")]:  # fmt: skip
        with pytest.raises(engines.Refused) as refused:
            engines.Engine(url)
        assert refused.value.status == engines.INVALID and words in refused.value.words, refused.value
        assert postgresql.PASSWORD not in refused.value.words


def test_libpq_forms(server, name):
    """Whatever libpq takes."""
    folder = str(server.folder).replace("/", "%2F")
    for url in [f"postgres://cohort@{server.host}:{server.port}/locks", f"postgresql://cohort@{folder}:{server.port}/locks",
                f"postgresql:///locks?host={folder}&port={server.port}&user=cohort&timeout=9s&connect_timeout=3",
                f"postgresql://cohort@{server.host}:1,{server.host}:{server.port}/locks?application_name=me&schema=cohort",
                f"postgresql://cohort@/?dbname=locks&hostaddr={server.host}&port={server.port}"]:  # fmt: skip
        with engines.Engine(url) as engine:
            assert acquire(engine, name, "a"), url


def test_nobody_is_there():
    assert "CLUSTERDOWN" in refusal(f"postgresql://h@127.0.0.1:{postgresql.servers.free_port()}/x?timeout=300ms")


def test_passwords(server):
    hba = server.data / "pg_hba.conf"
    before = hba.read_text()
    server.sql(f"CREATE ROLE secret LOGIN SUPERUSER PASSWORD '{postgresql.PASSWORD}'")
    hba.write_text("host all secret all scram-sha-256\n" + before)
    server.sql("SELECT pg_reload_conf()")
    until(lambda: "no password" in refusal(server.url(user="secret")))
    words = refusal(server.url(user="secret:Wrong-1"))
    assert "password" in words and "pg_hba.conf" in words and "Wrong-1" not in words
    with engines.Engine(server.url(user=f"secret:{postgresql.PASSWORD}")) as engine:
        assert acquire(engine, "x", "a")
    hba.write_text(before)
    server.sql("SELECT pg_reload_conf()")


def test_no_such_database(server):
    assert "createdb" in refusal(server.url("nonsense"))
    assert "role" in refusal(server.url(user="nobody_here"))


def test_permissions(server):
    server.sql("CREATE DATABASE strict", "postgres")
    server.sql("CREATE ROLE plain LOGIN", "postgres")
    assert "GRANT" in refusal(server.url("strict", user="plain"))  # CREATE SCHEMA
    with engines.Engine(server.url("strict")) as engine:
        assert acquire(engine, "x", "a")
    assert "GRANT" in refusal(server.url("strict", user="plain"))
    server.sql("GRANT USAGE ON SCHEMA cohort TO plain; GRANT SELECT, INSERT, UPDATE ON cohort.locks TO plain", "strict")
    with engines.Engine(server.url("strict", user="plain")) as engine:
        assert acquire(engine, "y", "a")


def test_too_many_connections(server):
    server.sql("CREATE ROLE few LOGIN CONNECTION LIMIT 1 IN ROLE pg_write_all_data, pg_read_all_data")
    with engines.Engine(server.url()) as owner:
        acquire(owner, "x", "a")  # the table is there
    with engines.Engine(server.url(user="few")) as one:
        assert acquire(one, "few", "a")
        for limit in ("2s", "8s", "30s"):  # until the machine has had the time to connect at all
            words = refusal(server.url(user="few", options=f"?timeout={limit}"))
            if "no answer came" not in words:
                break
        assert "BUSY" in words and "too many" in words, words
    with engines.Engine(server.url(user="few")) as one:
        assert acquire(one, "few", "a")


def test_tables_of_others(server):
    server.sql("CREATE SCHEMA other; CREATE TABLE other.locks (name text)")
    assert "?schema=NAME" in refusal(server.url(options="?schema=other"))
    server.sql("CREATE SCHEMA view; CREATE VIEW view.locks AS SELECT 1 AS x")
    assert "?schema=NAME" in refusal(server.url(options="?schema=view"))
    with engines.Engine(server.url(options="?schema=quick")) as engine:
        assert acquire(engine, "x", "a")
        server.sql("ALTER TABLE quick.locks SET UNLOGGED")
    assert "unlogged" in refusal(server.url(options="?schema=quick"))


@pytest.mark.parametrize("damage", ["holders = '[{}]'", "holders = '7'", "token = -1", "permit_limit = -1",
                                    """waiters = '[{"owner": "\\\\x"}]'""", """past = '[{"owner": 1}]'"""])  # fmt: skip
def test_rows_that_somebody_changed(server, name, damage):
    with engines.Engine(server.url(options="?schema=damaged")) as engine:
        acquire(engine, "damaged", "a")
        server.sql(f"UPDATE damaged.locks SET {damage}")
        reply = engine.call("LOCK.ACQUIRE", "damaged", "b", "PX", TTL_MS)
        assert isinstance(reply, resp.Error) and "by hand" in reply, reply
        assert "by hand" in engine.call("LOCK.INFO", "damaged")
        server.sql("DELETE FROM damaged.locks")
        assert acquire(engine, "damaged", "b")


def test_a_newer_form(server, name):
    with engines.Engine(server.url()) as engine:
        acquire(engine, name, "a")
        server.sql(f"UPDATE cohort.locks SET form = 2 WHERE name = '{name}'")
        assert "newer Cohort" in engine.call("LOCK.ACQUIRE", name, "a", "PX", TTL_MS)
        server.sql(f"DELETE FROM cohort.locks WHERE name = '{name}'")
