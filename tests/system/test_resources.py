"""`cohort txn run` and `resolve` over a cohort and two PostgreSQL: whatever is killed, stopped or cut, and whenever, money is
neither made nor lost, and nothing stays prepared."""

import os
import signal
import subprocess
import threading

import cluster
import postgresql
import pytest
import resources
import servers

ROWS = 400


@pytest.fixture(scope="module")
def banks():
    """Two databases, each with accounts of 100."""
    with postgresql.Postgres(["max_prepared_transactions=100"]) as one, postgresql.Postgres(["max_prepared_transactions=100"]) as two:
        for bank in (one, two):
            bank.sql("CREATE TABLE account (id int PRIMARY KEY, balance int CHECK (balance >= 0));"
                     f"INSERT INTO account SELECT id, 100 FROM generate_series(0, {ROWS - 1}) AS id")  # fmt: skip
        yield one, two


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with cluster.Cluster(tmp_path_factory.mktemp("home"), nodes=1, shards=3, replicas=1) as one:
        yield one


@pytest.fixture
def account(counter=iter(range(ROWS))):
    """The number of one that no other test has."""
    return next(counter)


def test_all_of_them(home, banks, account):
    done = resources.txn(*resources.transfer(home, resources.urls_of(banks), account), "--id", "order 17")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("order 17 committed\n") and "1 row" in done.stdout
    assert resources.assert_all_or_nothing(home, banks, account) and resources.prepared(banks) == ["", ""]
    assert resources.txn("status", "order 17", "--url", resources.url_of(home)).returncode == 0
    again = resources.txn(*resources.transfer(home, resources.urls_of(banks), account), "--id", "order 17")
    assert again.returncode != 0 and "nothing was done" in again.stderr
    assert "order 17" in resources.txn("list", "--url", resources.url_of(home)).stdout


def test_or_none(home, banks, account):
    """The last statement of all fails."""
    done = resources.txn(*resources.transfer(home, resources.urls_of(banks), account), "--do", f"UPDATE account SET balance = -1 WHERE id = {account}")
    assert done.returncode == 1 and "violates check constraint" in done.stderr and "nothing was done" in done.stderr
    assert not resources.assert_all_or_nothing(home, banks, account) and resources.prepared(banks) == ["", ""]


def test_a_part_that_cannot_be_prepared(home, banks, account):
    """PostgreSQL says so only at PREPARE TRANSACTION, when the other is prepared already."""
    done = resources.txn(*resources.transfer(home, resources.urls_of(banks), account), "--do", "CREATE TEMPORARY TABLE gone (a int)")
    assert done.returncode == 1 and "temporary" in done.stderr
    assert not resources.assert_all_or_nothing(home, banks, account) and resources.prepared(banks) == ["", ""]


def test_client_killed_between_messages(home, banks):
    outcomes = resources.kill_at_messages(home, banks, iter(range(100, ROWS)), 1 if os.environ.get("COHORT_LONG") else 3)
    assert True in outcomes[:-2] and False in outcomes


def test_databases_die_while_prepared(home, banks, account):
    """The client was killed after the decision, before it could tell anybody."""
    resources.killed_when(home, banks, account, lambda data, asks: asks and resources.COMMITS in data)
    assert all(resources.prepared(banks))
    for bank in banks:
        bank.kill()
    events, done = resources.resolve(resources.url_of(home), *resources.urls_of(banks).items())
    assert done.returncode == 75 and events == [] and "is it started" in done.stderr
    for bank in banks:
        bank.start()
    said = resources.finish(home, banks)
    assert [event["end"] for event in said] == ["committed", "committed"]
    assert resources.assert_all_or_nothing(home, banks, account)


def test_prepared_and_not_decided(home, banks, account):
    """The client was killed when it had prepared one: home is asked, and waits for its time before it says no."""
    resources.killed_when(home, banks, account, lambda data, asks: not asks and resources.PREPARED in data)
    assert any(resources.prepared(banks))
    said = resources.finish(home, banks)
    assert {event["end"] for event in said} <= {"under way", "rolled back"}
    assert not resources.assert_all_or_nothing(home, banks, account)


def test_question_of_prepare_is_cut(home, banks, account):
    """It did not arrive: that is proved by the end of the backend, and everything is rolled back at once."""
    done = resources.cut(home, banks, account, resources.PREPARED + b" '", True)
    assert done.returncode == 1 and "lost before it had prepared" in done.stderr
    assert not resources.assert_all_or_nothing(home, banks, account) and resources.prepared(banks) == ["", ""]


def test_answer_to_prepare_is_cut(home, banks, account):
    """It is found prepared, and so is a yes."""
    done = resources.cut(home, banks, account, resources.PREPARED + b" '", False)
    assert done.returncode == 0, done.stderr
    assert resources.assert_all_or_nothing(home, banks, account) and resources.prepared(banks) == ["", ""]


def test_question_of_commit_is_cut(home, banks, account):
    done = resources.cut(home, banks, account, resources.COMMITS + b" '", True, count=2)
    assert done.returncode == 0, done.stderr
    assert resources.assert_all_or_nothing(home, banks, account)


def test_answer_to_commit_is_cut(home, banks, account):
    """Asked again the server knows no such branch, which proves nothing; its transaction's status does."""
    done = resources.cut(home, banks, account, resources.COMMITS + b" '", False)
    assert done.returncode == 0, done.stderr
    assert resources.assert_all_or_nothing(home, banks, account)


def test_rolled_back_by_hand(home, banks, account):
    """Somebody is faster than the commit, and wrong: that is told, and not taken for done."""
    taps = resources.Taps(*(bank.port for bank in banks))

    def watch(data, asks):
        if asks and resources.COMMITS + b" '" in data:
            for gid in resources.prepared(banks)[:1]:
                banks[0].sql(f"ROLLBACK PREPARED '{gid}'") if gid else None
        return data

    taps.relays[0].watch = watch
    done = resources.txn(*resources.transfer(home, resources.urls_of(banks, [each.port for each in taps.relays]), account))
    taps.close()
    assert done.returncode == 65 and "by hand" in done.stderr, done.stderr
    assert resources.balances(home, banks, account) == [98, 100, 101]


def test_database_stops_before_it_commits(home, banks, account):
    """It is committed, one has not heard so, and hears it from whoever resolves."""
    taps = resources.Taps(*(bank.port for bank in banks))

    def watch(data, asks):
        if asks and resources.COMMITS + b" '" in data:
            taps.relays[0].held = True
        return data

    taps.relays[0].watch = watch
    client = resources.begin(*resources.transfer(home, resources.urls_of(banks, [each.port for each in taps.relays]), account, resources.RUN_SECONDS))
    _, problem = client.communicate()
    taps.close()
    assert client.returncode == 75 and "resolve" in problem
    resources.finish(home, banks)
    assert resources.assert_all_or_nothing(home, banks, account)


def test_leaders_die(tmp_path, banks, account):
    """Of all shards, when the first bank is told to prepare."""
    with cluster.Cluster(tmp_path, nodes=3, shards=2) as three:
        taps = resources.Taps(*(bank.port for bank in banks))
        killed = []

        def watch(data, asks):
            if asks and resources.PREPARED + b" '" in data and not killed:
                killed.append(three.leader_of(1))
                killed[0].kill()
            return data

        taps.relays[0].watch = watch
        done = resources.txn(*resources.transfer(three, resources.urls_of(banks, [each.port for each in taps.relays]), account))
        taps.close()
        assert killed and done.returncode in (0, 1, 69, 76), done.stderr
        three.wait_for_leaders()
        resources.finish(three, banks)
        all_of_it = resources.assert_all_or_nothing(three, banks, account)
        assert done.returncode == 76 or all_of_it == (done.returncode == 0), done.stderr


def test_resolvers_beside_live_transactions(home, banks):
    """Two that look all the time roll nothing back that is about to commit."""
    named = [word for name, url in resources.urls_of(banks).items() for word in ("--resource", f"{name}={url}")]
    watchers = [resources.begin("resolve", "--watch", "--every", "100ms", "--url", resources.url_of(home), *named) for _ in range(2)]
    accounts = range(60, 80)
    ends = {}

    def run(part):
        for account in part:
            ends[account] = resources.txn(*resources.transfer(home, resources.urls_of(banks), account))

    threads = [threading.Thread(target=run, args=(accounts[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for watcher in watchers:
        watcher.send_signal(signal.SIGTERM)
    assert [watcher.wait(30) for watcher in watchers] == [0, 0]
    for account in accounts:
        assert ends[account].returncode == 0, ends[account].stderr
        assert resources.assert_all_or_nothing(home, banks, account)


def test_foreign_branches_are_left_alone(home, banks):
    names = ["cohort:mine", "x", "cohort:" + 32 * "e" + ":1:a:b"]
    for number, name in enumerate(names):
        banks[0].sql(f"BEGIN; UPDATE account SET balance = 0 WHERE id = {90 + number}; PREPARE TRANSACTION '{name}'")
    events, done = resources.resolve(resources.url_of(home), *resources.urls_of(banks).items())
    assert (events, done.returncode) == ([], 0)
    for name in names:
        banks[0].sql(f"ROLLBACK PREPARED '{name}'")


# ---- in words ----


def test_prepared_transactions_are_off(home):
    with postgresql.Postgres() as server:
        code, words = resources.refused(home, "--on", f"bank={server.url()}", "--do", "SELECT 1")
        assert code == 1 and "max_prepared_transactions" in words and "restart" in words


def test_the_servers_own_protocol_is_3pc(tmp_path, banks, account):
    """Participants that are not cohort's are of 2PC, unless somebody says 3PC."""
    with cluster.Cluster(tmp_path, nodes=1, shards=2, replicas=1, arguments=["--txn-protocol", "3pc"]) as home:
        done = resources.txn(*resources.transfer(home, resources.urls_of(banks), account))
        assert done.returncode == 0, done.stderr
        assert resources.assert_all_or_nothing(home, banks, account)
        code, words = resources.refused(home, "--protocol", "3pc", "--on", f"bank={banks[0].url()}", "--do", "SELECT 1")
        assert code == 1 and "3PC" in words


@pytest.mark.skipif(servers.is_sanitized(servers.COHORT), reason="the sanitizer takes all addresses there are")
def test_rows_are_not_kept(home, banks):
    """However many a statement has: 600 MB of them here, of a process that may have 400."""
    words = resources.words(["run", "--url", resources.url_of(home), "--on", f"bank={banks[0].url()}", "--do",
                             "SELECT repeat('x', 1000000) FROM generate_series(1, 600)"])  # fmt: skip
    done = subprocess.run(["prlimit", f"--data={400 << 20}", "--", *words], capture_output=True, timeout=120)
    assert done.returncode == 0 and b"600 rows" in done.stdout, done


def test_nobody_reads_what_it_prints(home, account):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(resources.words(["run", "--url", resources.url_of(home), "--do", f"SET unread:{account} 1"]), stdout=writer)
    os.close(writer)
    assert done.returncode >= 0
    with home[1].connect() as connection:
        assert connection.call("GET", f"unread:{account}") == b"1"


def test_bad_input(home, banks):
    url = banks[0].url()
    for words, code, said in [
        (["--do", "SET a 1", "--on", f"bank={banks[0].url(user='stranger')}", "--do", "SELECT 1"], 1, "user and password"),
        (["--on", f"bank={banks[0].url('nowhere')}", "--do", "SELECT 1"], 1, "make the database first"),
        (["--on", f"bank={url}", "--do", "COMMIT"], 1, "may not begin or end"),
        (["--on", f"bank={url}", "--do", "SELECT 1; COMMIT"], 1, "multiple commands"),
        (["--on", f"bank={url}", "--do", "SELECT nothing"], 1, "nothing"),
        (["--on", f"bank={url}", "--do", ""], 1, "empty"),
        (["--on", f"bank={url}", "--do", "COPY account FROM STDIN"], 1, "COPY"),
        (["--on", f"bank={banks[0].url(port=1)}", "--do", "SELECT 1"], 69, "is it started"),
        (["--on", "bank=oracle://x/y", "--do", "SELECT 1"], 1, "postgresql://"),
        (["--on", "bank=postgresql://x@/", "--do", "SELECT 1"], 1, "database"),
        (["--on", "bank", "--do", "SELECT 1"], 64, "NAME=URL"),
        (["--on", f"b k={url}", "--do", "SELECT 1"], 64, "NAME"),
        (["--do", "SET a"], 1, "wrong number"),
        (["--do", 'SET "a'], 1, "quotation"),
        (["--do", "WATCH a"], 64, "nothing was done"),
        (["--do", "SHUTDOWN"], 64, "nothing was done"),
        ([], 64, "nothing to do"),
        (["--do", "GET a", "--protocol", "4pc"], 64, "neither"),
    ]:
        got, told = resources.refused(home, *words)
        assert (got, said in told) == (code, True), (words, got, told)
    with home[1].connect() as connection:
        assert connection.call("GET", "a") is None


def test_passwords_are_told_to_nobody(home, banks):
    """Neither in words, nor in cohort's records."""
    url = banks[0].url().replace("cohort@", "stranger:s3cret@")
    _, words = resources.refused(home, "--id", "secretive", "--on", f"bank={url}", "--do", "SELECT 1")
    record = resources.txn("status", "secretive", "--json", "--url", resources.url_of(home)).stdout
    assert "s3cret" not in words + record


def test_resolve_says_what_is_wrong(home, banks):
    for words, code, said in [
        ([], 64, "--resource"),
        (["--resource", "bank=nowhere"], 64, "postgresql://"),
        (["--resource", f"a={banks[0].url()}", "--once", "--watch"], 64, "exclude"),
        (["--resource", f"a={banks[0].url()}", "--resource", f"a={banks[1].url()}"], 64, "two"),
        (["--resource", f"a={banks[0].url(port=1)}"], 75, "is it started"),
    ]:
        done = resources.txn("resolve", "--url", resources.url_of(home), *words)
        assert (done.returncode, said in done.stderr) == (code, True), (words, done)
