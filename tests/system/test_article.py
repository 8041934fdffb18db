"""The lock and the two-phase commit of a well-known kind of tutorial, in redis-py: what such code really answers, the same
on redis-server and on Cohort, and the correct form. docs/article.md explains each point.

The tutorial's functions open a client per call, SET a lock key with an expiry and compare the result with the text 'OK';
its commit and rollback compare what GET returns with a str."""

import threading
import uuid

import pytest
import redis

EXPIRY_SECONDS = 30


class Tutorial:
    """The same calls in the same order, on a given port."""

    def __init__(self, port):
        self.port = port

    def connect(self):
        return redis.Redis(host="127.0.0.1", port=self.port, db=0)

    def acquire_lock(self, lock_key, lock_timeout=EXPIRY_SECONDS):
        answer = self.connect().set(lock_key, "1", ex=lock_timeout)
        return answer == "OK"

    def release_lock(self, lock_key):
        self.connect().delete(lock_key)

    def prepare(self, lock_key, transaction_key):
        client = self.connect()
        client.set(lock_key, "1", ex=EXPIRY_SECONDS)
        client.set(transaction_key, "0", ex=EXPIRY_SECONDS)
        return True

    def finish(self, lock_key, transaction_key, expected, then):
        client = self.connect()
        if client.get(transaction_key) == expected:
            client.set(transaction_key, then, ex=EXPIRY_SECONDS)
            client.delete(lock_key)
            return True
        return False

    def commit(self, lock_key, transaction_key):
        return self.finish(lock_key, transaction_key, "0", "1")

    def rollback(self, lock_key, transaction_key):
        return self.finish(lock_key, transaction_key, "1", "0")


@pytest.fixture
def tutorial(server):
    return Tutorial(server.port)


def test_the_tutorials_lock_is_never_had(tutorial, client):
    assert tutorial.acquire_lock("lock") is False  # redis-py turns +OK into True, and True != 'OK'
    assert client.get("lock") == b"1"  # yet the key is set …
    assert 0 < client.ttl("lock") <= EXPIRY_SECONDS
    assert tutorial.acquire_lock("lock", lock_timeout=5) is False
    assert 0 < client.ttl("lock") <= 5  # … and a second caller overwrote it: SET without NX excludes nobody
    assert tutorial.release_lock("lock") is None
    assert client.get("lock") is None  # anybody may delete it: the value names no owner
    assert tutorial.release_lock("lock") is None


def test_the_tutorials_transaction_never_commits(tutorial, client):
    assert tutorial.prepare("lock", "transaction") is True
    assert client.mget("lock", "transaction") == [b"1", b"0"]
    assert tutorial.commit("lock", "transaction") is False  # GET answers b'0', and b'0' != '0'
    assert tutorial.rollback("lock", "transaction") is False
    assert client.mget("lock", "transaction") == [b"1", b"0"]  # nothing happened, and the lock stays until it expires
    assert 0 < client.ttl("lock") <= EXPIRY_SECONDS


def test_what_the_client_library_makes_of_the_replies(client):
    """The two facts behind the bugs."""
    assert client.set("k", "0", ex=EXPIRY_SECONDS) is True
    assert client.execute_command("PING") is True
    assert client.get("k") == b"0"
    assert redis.Redis("127.0.0.1", client.connection_pool.connection_kwargs["port"], decode_responses=True).get("k") == "0"


class Lock:
    """The correct form for one node: an owner, NX with an expiry in one step, and release by the owner alone."""

    def __init__(self, client, name, ttl_ms=10000):
        self.client, self.name, self.ttl_ms = client, name, ttl_ms
        self.owner = uuid.uuid4().hex.encode()

    def acquire(self):
        return self.client.set(self.name, self.owner, nx=True, px=self.ttl_ms) is True

    def release(self):
        """Deletes the key only while it holds our owner; WATCH makes compare and delete one step."""
        with self.client.pipeline() as pipe:
            try:
                pipe.watch(self.name)
                if pipe.get(self.name) != self.owner:
                    return False
                pipe.multi()
                pipe.delete(self.name)
                return pipe.execute() == [1]
            except redis.WatchError:
                return False


def test_the_correct_lock(client):
    mine, yours = Lock(client, "lock"), Lock(client, "lock")
    assert mine.acquire() is True
    assert yours.acquire() is False
    assert yours.release() is False and client.get("lock") == mine.owner
    assert mine.release() is True and client.exists("lock") == 0
    assert mine.release() is False
    assert yours.acquire() is True


def test_a_late_owner_does_not_release_the_next_ones_lock(client):
    late, next_one = Lock(client, "lock", ttl_ms=20), Lock(client, "lock")
    assert late.acquire() is True
    while not next_one.acquire():  # until the first one's time is over
        pass
    assert late.release() is False
    assert client.get("lock") == next_one.owner


def test_the_correct_lock_excludes(server):
    """Eight threads add to a number with separate GET and SET: only exclusion makes the sum right."""
    rounds = 25

    def work():
        with redis.Redis("127.0.0.1", server.port) as client:
            for _ in range(rounds):
                lock = Lock(client, "lock", ttl_ms=60000)
                while not lock.acquire():
                    pass
                client.set("sum", int(client.get("sum") or 0) + 1)
                assert lock.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    with redis.Redis("127.0.0.1", server.port) as client:
        assert client.get("sum") == b"%d" % (8 * rounds)


def test_compare_and_set_in_one_command(cohort):
    """Beyond Redis: SET … IFEQ renews or hands over in one step, with no WATCH and no script."""
    with redis.Redis("127.0.0.1", cohort.port) as client:
        lock = Lock(client, "lock")
        assert lock.acquire() is True
        assert client.execute_command("SET", "lock", lock.owner, "IFEQ", lock.owner, "PX", 60000) in (True, b"OK")
        assert client.pttl("lock") > 50000
        assert client.execute_command("SET", "lock", "thief", "IFEQ", "somebody else") is None
        assert client.get("lock") == lock.owner
