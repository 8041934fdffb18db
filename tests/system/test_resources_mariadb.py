"""As test_resources.py, over a MariaDB and a PostgreSQL, and what is MariaDB's own."""

import os
import subprocess
import time

import cluster
import mariadb
import postgresql
import pytest
import resources
import servers

ROWS = 400


@pytest.fixture(scope="module")
def banks():
    with mariadb.MariaDB() as one, postgresql.Postgres(["max_prepared_transactions=100"]) as two:
        one.sql("CREATE TABLE account (id INT PRIMARY KEY, balance INT CHECK (balance >= 0)) ENGINE=InnoDB;"
                f"INSERT INTO account SELECT seq, 100 FROM seq_0_to_{ROWS - 1}")  # fmt: skip
        two.sql("CREATE TABLE account (id int PRIMARY KEY, balance int CHECK (balance >= 0));"
                f"INSERT INTO account SELECT id, 100 FROM generate_series(0, {ROWS - 1}) AS id")  # fmt: skip
        yield one, two


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with cluster.Cluster(tmp_path_factory.mktemp("home"), nodes=1, shards=3, replicas=1) as one:
        yield one


@pytest.fixture
def account(counter=iter(range(ROWS))):
    return next(counter)


def run(home, banks, account, *words):
    return resources.txn(*resources.transfer(home, resources.urls_of(banks), account), *words)


def test_all_or_none(home, banks, account):
    done = run(home, banks, account)
    assert done.returncode == 0, done.stderr
    assert resources.assert_all_or_nothing(home, banks, account) and resources.prepared(banks) == ["", ""]


def test_none(home, banks, account):
    done = run(home, banks, account, "--on", "bank1", "--do", f"UPDATE account SET balance = -1 WHERE id = {account}")
    assert done.returncode == 1 and "CONSTRAINT" in done.stderr
    assert not resources.assert_all_or_nothing(home, banks, account) and resources.prepared(banks) == ["", ""]


def test_client_killed_between_messages(home, banks):
    every = 1 if os.environ.get("COHORT_LONG") else 5
    outcomes = resources.kill_at_messages(home, banks, iter(range(100, ROWS)), every)
    assert True in outcomes[:-2] and False in outcomes


def test_database_dies_while_prepared(home, banks, account):
    """All that was prepared is there when it comes back, and is committed by somebody else."""
    resources.killed_when(home, banks, account, lambda data, asks: asks and b"XA COMMIT" in data)
    assert all(resources.prepared(banks))
    banks[0].kill()
    events, done = resources.resolve(resources.url_of(home), *resources.urls_of(banks).items())
    assert done.returncode == 75 and [event["end"] for event in events] == ["committed"], done.stderr
    banks[0].start()
    said = resources.finish(home, banks)
    assert [event["end"] for event in said] == ["committed"]
    assert resources.assert_all_or_nothing(home, banks, account)


@pytest.mark.parametrize("question", [True, False])
def test_prepare_is_cut(home, banks, account, question):
    """The server says whether it has prepared: the branch is listed, or the connection that could is gone."""
    done = resources.cut(home, banks, account, b"XA PREPARE", question)
    assert done.returncode == question, done.stderr
    assert resources.assert_all_or_nothing(home, banks, account) != question and resources.prepared(banks) == ["", ""]


@pytest.mark.parametrize("question", [True, False])
def test_commit_is_cut(home, banks, account, question):
    done = resources.cut(home, banks, account, b"XA COMMIT", question)
    assert done.returncode == 0, done.stderr
    assert resources.assert_all_or_nothing(home, banks, account) and resources.prepared(banks) == ["", ""]


def test_who_prepared_lives(home, banks, account):
    """While it does, others are told that there is no such branch (XAER_NOTA), which is listed all the same: that is not
    taken for an end. When it is gone they commit."""
    taps = resources.Taps(*(bank.port for bank in banks))
    seen = []

    def watch(data, asks):
        if asks and b"XA COMMIT" in data and not seen:
            seen.append(resources.resolve(resources.url_of(home), ("bank1", banks[0].url()), options=["--timeout", "4s"]))
        return data

    taps.relays[0].watch = watch
    urls = resources.urls_of(banks, [each.port for each in taps.relays])
    done = resources.txn(*resources.transfer(home, urls, account))
    taps.close()
    events, resolved = seen[0]
    assert [event["end"] for event in events] == ["not yet"] and resolved.returncode == 75
    assert "still lives" in events[0]["problem"]
    assert done.returncode == 0, done.stderr
    assert resources.assert_all_or_nothing(home, banks, account)


def test_another_server_proves_nothing(home, banks, account):
    """`localhost` is another server on another machine: that a branch is not there does not mean that it is finished."""
    url = banks[0].url()
    with home[1].connect() as client:
        assert client.call("TXN.BEGIN", "ID", f"elsewhere:{account}") == f"elsewhere:{account}".encode()
        public = url.replace("cohort:s3cret@", "")
        name = client.call("TXN.JOIN", f"elsewhere:{account}", public, "bank", "EVIDENCE", "server@0123456789abcdef")
        assert client.call("TXN.COMMIT") == "OK"
        (event,), done = resources.resolve(resources.url_of(home), ("bank", url))
        assert done.returncode == 65 and event["end"] == "needs a person" and "not known to be the server" in event["problem"]
        assert client.call("TXN.DONE", f"elsewhere:{account}", name, "ABANDONED") == 0


KEEPS = "CREATE TABLE locked (a INT); LOCK TABLES locked WRITE; SELECT 1; DO SLEEP(1000)"
ASKS = "SELECT 1 FROM information_schema.PROCESSLIST WHERE USER = 'cohort' AND COMMAND <> 'Sleep'"


def test_what_was_given_up_ends_at_the_server(home, banks, account):
    """Else it goes on there, and keeps its locks: what sleeps, what has no end, what waits for a table."""
    keeper = subprocess.Popen(["mariadb", "--no-defaults", "-uroot", f"--socket={banks[0].socket}", "-N", "--unbuffered", "bank", "-e", KEEPS],
                              stdout=subprocess.PIPE, preexec_fn=servers.end_with_parent)  # fmt: skip
    assert keeper.stdout.readline() == b"1\n"
    words = ["run", "--url", resources.url_of(home), "--timeout", "1s", "--on", f"bank={banks[0].url()}", "--do",
             f"UPDATE account SET balance = 1 WHERE id = {account}", "--do"]  # fmt: skip
    for statement in ("DO SLEEP(1000)", "SELECT seq FROM seq_1_to_1000000000000000", "UPDATE locked SET a = 1"):
        done = resources.txn(*words, statement)
        assert done.returncode in (1, 69), (statement, done)
    deadline = time.monotonic() + 60
    while banks[0].sql(ASKS):
        assert time.monotonic() < deadline, banks[0].sql("SHOW PROCESSLIST")
        time.sleep(0.05)
    keeper.kill()
    keeper.communicate()
    banks[0].sql("KILL " + banks[0].sql("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE '%SLEEP(1000)' AND USER = 'root'"))


def test_a_branch_that_wrote_nothing(home, banks, account):
    """It ends by itself, and keeps nobody from committing."""
    words = ["run", "--url", resources.url_of(home), "--do", f"SET account:{account} 1"]
    for statement in ("SELECT * FROM account", f"UPDATE account SET balance = balance WHERE id = {account}",
                      f"INSERT IGNORE INTO account VALUES ({account}, 5)", f"SELECT * FROM account WHERE id = {account} FOR UPDATE"):  # fmt: skip
        done = resources.txn(*words, "--on", f"bank={banks[0].url()}", "--do", statement)
        assert done.returncode == 0, (statement, done.stderr)
        assert banks[0].prepared() == ""


def test_who_has_rights_on_the_database_alone(home, banks, account):
    done = resources.txn("run", "--url", resources.url_of(home), "--on", f"bank={banks[0].url(user='teller')}", "--do",
                         f"UPDATE account SET balance = 1 WHERE id = {account}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert banks[0].sql(f"SELECT balance FROM account WHERE id = {account}") == "1"


def test_foreign_branches_are_left_alone(home, banks):
    banks[0].sql("XA START 'cohort:x','y'; INSERT INTO account VALUES (9999, 1); XA END 'cohort:x','y'; XA PREPARE 'cohort:x','y'")
    events, done = resources.resolve(resources.url_of(home), *resources.urls_of(banks).items())
    assert (events, done.returncode) == ([], 0)
    banks[0].sql("XA ROLLBACK 'cohort:x','y'")


def test_bad_input(home, banks):
    url = banks[0].url()
    for words, code, said in [
        (["--on", f"bank={url.replace('s3cret', 'wrong')}", "--do", "SELECT 1"], 1, "user and password"),
        (["--on", f"bank={banks[0].url('nowhere')}", "--do", "SELECT 1"], 1, "make the database first"),
        (["--on", f"bank={url}", "--do", "COMMIT"], 1, "may not begin or end"),
        (["--on", f"bank={url}", "--do", "/*!40000 COMMIT */"], 1, "may not begin or end"),
        (["--on", f"bank={url}", "--do", "SELECT 1; COMMIT"], 1, "syntax"),
        (["--on", f"bank={url}", "--do", "CREATE TABLE x (a INT)"], 1, "MariaDB commits before"),
        (["--on", f"bank={url}", "--do", "CALL mysql.nothing()"], 1, "nothing"),
        (["--on", f"bank={url}", "--do", "SET PASSWORD = ''"], 1, "would commit"),
        (["--on", f"bank={url}", "--do", "SELECT nothing"], 1, "nothing"),
        (["--on", f"bank={banks[0].url(port=1)}", "--do", "SELECT 1"], 69, "is it started"),
        (["--on", "bank=mariadb://x:y:z@h:p/d", "--do", "SELECT 1"], 1, "port"),
        (["--on", f"bank={url}?sokcet=/x", "--do", "SELECT 1"], 1, "not known"),
        (["--on", f"bank={url}?defaults-file=/nowhere", "--do", "SELECT 1"], 1, "cannot be read"),
        (["--id", 70 * "x", "--on", f"bank={url}", "--do", "DELETE FROM account"], 1, "too long"),
    ]:
        got, told = resources.refused(home, *words)
        assert (got, said in told) == (code, True), (words, got, told)
        assert "s3cret" not in told
    assert banks[0].sql("SHOW TABLES LIKE 'x'") == ""
