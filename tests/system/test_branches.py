"""External participants of transactions: what clients and resolvers are told, also when what they talk to is lost."""

import pytest
import resp
from test_cluster_txn import status_of, wait_for

URL = "db://bank@host/money"


def branches(connection, *words):
    found, cursor = [], b"0"
    while True:
        cursor, some = connection.call("TXN.BRANCHES", *words, "CURSOR", cursor)
        found += [{key.decode(): value for key, value in zip(each[::2], each[1::2], strict=True)} for each in some]
        if cursor == b"0":
            return found


def refused(reply, *words):
    return isinstance(reply, resp.Error) and all(word in str(reply) for word in words)


@pytest.fixture
def three(new_cluster):
    return new_cluster(shards=4)


def test_from_begin_to_the_last_branch(three):
    with three[1].connect() as client, three[2].connect() as other:
        assert client.call("TXN.BEGIN", "ID", "order") == b"order"
        bank = client.call("TXN.JOIN", "order", URL, "bank")
        cluster, epoch, *rest = bank.decode().split(":")[1:]
        assert len(cluster) == 32 and epoch.startswith("0.") and rest == ["order", "bank"]
        assert client.call("TXN.JOIN", "order", URL, "bank", "EVIDENCE", "77") == bank
        shop = client.call("TXN.JOIN", "order", "http://shop", "shop")
        assert refused(client.call("TXN.JOIN", "order", "http://shop", "bank"), "another resource")
        assert refused(client.call("TXN.JOIN", "order", "http://u:secret@shop", "third"), "password")
        assert refused(client.call("TXN.JOIN", "other", URL, "bank"), "only the connection")
        assert refused(other.call("TXN.JOIN", "order", URL, "bank"), "only the connection")
        client.call("SET", "paid", "17")
        word, left = other.call("TXN.OUTCOME", "order", bank)
        assert word == b"OPEN" and 0 < left <= 60000
        assert client.call("TXN.COMMIT") == "OK"
        assert other.call("GET", "paid") == b"17"
        assert other.call("TXN.OUTCOME", "order", bank) == [b"COMMIT", 0]
        assert {each["branch"] for each in branches(other)} == {b"bank", b"shop"}
        (mine,) = branches(other, "RESOURCE", URL, "COUNT", "1")
        assert mine["name"] == bank and mine["state"] == b"COMMIT" and mine["evidence"] == b"77"
        assert refused(other.call("TXN.DONE", "order", bank, "ABORTED"), "committed")
        assert other.call("TXN.DONE", "order", bank, "COMMITTED") == 1
        states = {p[1]: p[9] for p in status_of(client, "order")["participants"] if p[0] == b"branch"}
        assert states == {b"bank": b"COMMITTED", b"shop": b"COMMIT"}
        assert status_of(client, "order")["state"] == b"COMMIT"
        assert other.call("TXN.DONE", "order", shop, "ABANDONED") == 0
        assert status_of(client, "order")["state"] == b"DONE"
        assert branches(other) == []


def test_a_password_that_was_refused_is_shown_to_nobody(three):
    """Neither by MONITOR nor by SLOWLOG; a URL that is as it must be is."""
    with three[1].connect() as client, three[1].connect() as watcher:
        assert client.call("CONFIG", "SET", "slowlog-log-slower-than", "0") == "OK"
        assert watcher.call("MONITOR") == "OK"
        client.call("TXN.BEGIN", "ID", "careless")
        for url in ("db://bank:s3cret@host/money", "db://host/money?password=s3cret", "s3cret://"):
            assert isinstance(client.call("TXN.JOIN", "careless", url, "bank"), resp.Error)
            client.call("TXN.BRANCHES", "RESOURCE", url)
        client.call("TXN.JOIN", "careless", URL, "bank")
        assert client.call("CONFIG", "SET", "requirepass", "s3cret") == "OK"
        assert client.call("CONFIG", "SET", "requirepass", "") == "OK"
        assert client.call("ECHO", "end") == b"end"
        shown = [watcher.read()]
        while '"end"' not in shown[-1]:
            shown.append(watcher.read())
        slow = str(client.call("SLOWLOG", "GET", -1))
        assert "s3cret" not in slow + "".join(shown)
        assert "(redacted)" in slow and URL in "".join(shown) and "".join(shown).count("(redacted)") == 6


def test_nobody_prepares_behind_the_statement(three):
    with three[1].connect() as client:
        assert client.call("TXN.BEGIN", "ID", "late", "TIMEOUT", "1000") == b"late"
        client.call("SET", "late", "1")
        assert client.call("TXN.PREPARE") == "PREPARED"
        assert refused(client.call("TXN.JOIN", "late", URL, "bank"), "is prepared")
        assert client.call("TXN.ROLLBACK") == "OK"
        client.call("TXN.BEGIN", "ID", "three", "PROTOCOL", "3PC")
        assert refused(client.call("TXN.JOIN", "three", URL, "bank"), "3PC", "2PC")
        assert client.call("TXN.ROLLBACK") == "OK"


def test_a_client_that_goes_away_is_rolled_back(three):
    with three[2].connect() as other:
        with three[1].connect() as client:
            client.call("TXN.BEGIN", "ID", "gone")
            bank = client.call("TXN.JOIN", "gone", URL, "bank")
        wait_for(lambda: other.call("TXN.OUTCOME", "gone", bank) == [b"ABORT", 0], "its client is gone")
        assert refused(other.call("TXN.DONE", "gone", bank, "COMMITTED"), "aborted")
        assert other.call("TXN.DONE", "gone", bank, "ABORTED") == 0


def test_absence_is_no_answer(three):
    with three[1].connect() as client:
        assert client.call("TXN.OUTCOME", "nobody") == [b"ABORT", 0]
        assert refused(client.call("TXN.BEGIN", "ID", "nobody"), "TXNEXISTS")
        for wrong in ("cohort:0:0.1:nobody:bank", "cohort:" + 32 * "0" + ":0.1:nobody:bank", "bank"):
            assert refused(client.call("TXN.OUTCOME", "nobody", wrong), "leave it alone")


def test_the_decision_outlives_restarts(new_cluster):
    three = new_cluster(shards=2)
    with three[1].connect() as client:
        made = client.call("TXN.BEGIN")
        bank = client.call("TXN.JOIN", made, URL, "bank")
        assert client.call("TXN.COMMIT") == "OK"  # no keys: the record is there all the same
    three.stop()
    three.start()
    with three[2].connect() as other:
        wait_for(lambda: other.call("TXN.OUTCOME", made, bank) == [b"COMMIT", 0], "it was decided before")
        assert [each["name"] for each in branches(other, "RESOURCE", URL)] == [bank]
        assert other.call("TXN.DONE", made, bank, "COMMITTED") == 0
