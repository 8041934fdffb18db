"""Holders of locks made of Redis commands (holders.py), by what people use: redis-py's `Lock` as it is, and the article's lock in
its correct form (test_article.py). Such locks have no tokens, so nothing but time keeps two holders apart: each believes to
hold its lock for its time to live, counted from before it asked, and nobody else may believe it then."""

import threading
import time

import redis
import test_article
from holders import Hold, Holder

TIMEOUT_SECONDS = 5
NOT_NOW = ("CLUSTERDOWN", "BUSY")
NAMES = ("lock:0", "lock:1")


class Unknown(Exception):
    """It may have been executed, or was refused."""


class OfRedis(Holder):
    def __init__(self, specification, number):
        super().__init__(specification, number)
        self.clients = [redis.Redis(host, port, socket_timeout=TIMEOUT_SECONDS) for host, port in self.addresses]

    def ask(self, work):
        """work(client), once."""
        try:
            return work(self.clients[self.at])
        except (redis.ConnectionError, redis.TimeoutError):
            self.at = (self.at + 1) % len(self.clients)
            self.rest()
            raise Unknown from None
        except redis.ResponseError as problem:
            assert str(problem).startswith((*NOT_NOW, "UNCERTAIN", "EXECABORT")), problem
            self.rest()
            raise Unknown from None

    def round(self):
        try:
            hold = self.acquire(self.chance.choice(NAMES))
        except Unknown:
            return  # when it was granted, nobody uses it, and it ends by itself
        if hold is None:
            self.rest()
            return
        try:
            while hold.believed() and self.chance.randrange(4):
                self.is_stopped_sometimes()
                self.keep(hold)
            self.rest(0.005)
            if self.chance.randrange(6):
                hold.ends()
                self.release(hold)
        except Unknown:
            pass
        self.note_hold(hold)

    def acquire(self, name):
        raise NotImplementedError

    def keep(self, hold):
        raise NotImplementedError

    def release(self, hold):
        raise NotImplementedError

    def kept(self, hold, asked):
        hold.until = max(hold.until, self.believed_until(asked, self.ttl_ms))

    def is_lost(self, hold):
        assert not hold.believed(), f"{hold.key} was lost {(hold.until - time.monotonic_ns()) / 1e9} s before its time"


class RedisPy(OfRedis):
    """`blocking` waits an unknown part of its time before the grant: then the lock is reacquired first of all."""

    def acquire(self, name):
        blocking, local = bool(self.chance.randrange(2)), bool(self.chance.randrange(2))
        start = time.monotonic_ns()
        self.lock = self.clients[self.at].lock(name, timeout=self.ttl_ms / 1000, sleep=0.02, blocking=blocking,
                                               blocking_timeout=1 if blocking else None, thread_local=local)  # fmt: skip
        if not self.ask(lambda client: self.lock.acquire()):
            return None
        end = time.monotonic_ns()
        if local and self.chance.randrange(20) == 0:
            self.nobody_else_has_its_token()
        hold = Hold(name, start, end, end if blocking else self.believed_until(start, self.ttl_ms))
        if blocking:
            self.keep(hold)
        return hold

    def nobody_else_has_its_token(self):
        """Another thread of this process does not own it."""
        seen = []
        thread = threading.Thread(target=lambda: seen.append(self.lock.local.__dict__.get("token")))
        thread.start()
        thread.join()
        assert seen == [None] and self.lock.local.token is not None

    def bound(self, client):
        self.lock.redis = client  # the scripts are the class's, and the token the lock's
        return self.lock

    def keep(self, hold):
        asked = time.monotonic_ns()
        try:
            if self.chance.randrange(2):
                self.ask(lambda client: self.bound(client).extend(self.ttl_ms / 1000, replace_ttl=True))
            else:
                self.ask(lambda client: self.bound(client).reacquire())
        except redis.exceptions.LockError:
            self.is_lost(hold)
        else:
            self.kept(hold, asked)

    def release(self, hold):
        try:
            self.ask(lambda client: self.bound(client).release())
        except redis.exceptions.LockError:
            pass  # its time was over


class Article(OfRedis):
    def acquire(self, name):
        start = time.monotonic_ns()
        self.lock = test_article.Lock(self.clients[self.at], name, self.ttl_ms)
        if not self.ask(lambda client: self.bound(client).acquire()):
            return None
        return Hold(name, start, time.monotonic_ns(), self.believed_until(start, self.ttl_ms))

    def bound(self, client):
        self.lock.client = client
        return self.lock

    def keep(self, hold):
        """Beyond Redis: in one step, while it is still its owner's."""
        owner, asked = self.lock.owner, time.monotonic_ns()
        words = ["SET", hold.key, owner, "IFEQ", owner, "PX", self.ttl_ms]
        if self.ask(lambda client: client.execute_command(*words)) is None:
            self.is_lost(hold)
        else:
            self.kept(hold, asked)

    def release(self, hold):
        self.ask(lambda client: self.bound(client).release())
