"""What people build with scripts, with redis-py as it is: a lock, two rate limiters, a queue of work. Each is a load of
threads on the nodes of a cluster, and a check of what it was told; a node may die at any time.

They do what careful users do: another node when a connection is lost, once more what was refused (-CLUSTERDOWN, -BUSY:
it was not executed), and what may have been executed (-UNCERTAIN, a lost connection) only where twice is as once."""

import itertools
import random
import threading
import time

import redis

REFUSALS = ("CLUSTERDOWN", "BUSY", "TXNABORT", "MISCONF")
RETRY_SECONDS = 0.02


class Unknown(Exception):
    """It may have been executed."""


class Load:
    """Threads that call `step(nodes, random, number)` until told to stop; a failed one ends the test."""

    threads = 6

    def __init__(self, nodes, seed):
        self.nodes, self.seed = list(nodes), seed
        self.stopping, self.problem, self.steps = threading.Event(), None, 0
        self.running = [threading.Thread(target=self.run, args=(number,)) for number in range(self.threads)]

    def __enter__(self):
        for thread in self.running:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.running:
            thread.join()
        if self.problem:
            raise self.problem

    def run(self, number):
        chance = random.Random(self.seed * 1000 + number)
        try:
            with Door(self.nodes, number, self.stopping) as door:
                while not self.stopping.is_set():
                    self.step(door, chance, number)
                    self.steps += 1
        except Stopped:
            pass
        except BaseException as problem:  # told to the main thread
            self.problem = self.problem or problem

    def wait_for(self, count, seconds=60):
        """So many steps more; the machine may be slow, the cluster not dead."""
        target, deadline = self.steps + count, time.monotonic() + seconds
        while self.steps < target and not self.problem:
            assert time.monotonic() < deadline, f"{type(self).__name__}: {self.steps} steps of {target}"
            time.sleep(0.01)


class Stopped(Exception):
    pass


class Door:
    """A client of the cluster: a redis-py client of one node, and of the next one when that is lost."""

    def __init__(self, nodes, first, stopping):
        self.clients = [redis.Redis(node.host, node.port, socket_timeout=10) for node in nodes]
        self.turns, self.stopping = itertools.cycle(range(len(nodes))), stopping
        for _ in range(first % len(nodes) + 1):
            self.at = next(self.turns)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.close()

    @property
    def client(self):
        return self.clients[self.at]

    def once(self, work):
        """work(client). Refusals are tried again, also at other nodes; Unknown when it may have been executed."""
        while True:
            try:
                return work(self.client)
            except (redis.ConnectionError, redis.TimeoutError) as problem:
                refused = "refused" in str(problem)  # by a machine where nobody listens
                self.at = next(self.turns)
            except redis.ResponseError as problem:
                refused = str(problem).startswith(REFUSALS)
                if not refused and not str(problem).startswith("UNCERTAIN"):
                    raise
            if not refused:
                raise Unknown
            self.pause()

    def repeatedly(self, work):
        """For what may be executed twice."""
        while True:
            try:
                return self.once(work)
            except Unknown:
                self.pause()

    def pause(self):
        if self.stopping.is_set():
            raise Stopped
        time.sleep(RETRY_SECONDS)


# ---- a lock ----

class Locks(Load):
    """redis-py's Lock: acquired, sometimes extended, released. A holder is sure of it from the moment it is told until
    its time to live, counted from before it asked; nobody else may be sure at any time of that."""

    ttl = 4

    def __init__(self, nodes, seed):
        super().__init__(nodes, seed)
        self.held = []  # (name, from, until)

    def step(self, door, chance, number):
        name = f"lock:{chance.randrange(3)}"
        asked = time.monotonic()
        lock = door.client.lock(name, timeout=self.ttl, sleep=0.01, blocking_timeout=1, thread_local=bool(number % 2))
        try:
            got = door.once(lambda client: self.bound(lock, client).acquire(blocking=bool(chance.randrange(2))))
        except Unknown:
            return  # if it was granted, nobody uses it, and it ends by itself
        since, until = time.monotonic(), asked + self.ttl
        if not got or since >= until:
            return
        if chance.randrange(3) == 0:
            until = self.extend(door, lock, until)
        time.sleep(chance.uniform(0, 0.01))
        self.release(door, lock, name, since, until)

    @staticmethod
    def bound(lock, client):
        lock.redis = client  # the scripts are the class's, and the token the lock's
        return lock

    def extend(self, door, lock, until):
        asked = time.monotonic()
        try:
            door.once(lambda client: self.bound(lock, client).extend(self.ttl, replace_ttl=True))
        except Unknown:
            return until
        except redis.exceptions.LockNotOwnedError:
            assert time.monotonic() >= until, "a lock was lost before its time"
            return until
        return asked + self.ttl

    def release(self, door, lock, name, since, until):
        token = lock.local.token

        def release(client):
            lock.redis, lock.local.token = client, token  # release() forgets it before it asks
            lock.release()

        self.held.append((name, since, min(until, time.monotonic())))
        while True:
            try:
                door.once(release)
                return
            except redis.exceptions.LockNotOwnedError:
                return  # by now: it may have been released before, without an answer
            except Unknown:
                door.pause()

    def check(self):
        for name in {name for name, _, _ in self.held}:
            spans = sorted((since, until) for other, since, until in self.held if other == name)
            for (_, until), (since, _) in itertools.pairwise(spans):
                assert until <= since, f"{name} had two holders for {until - since} s"
        return len(self.held)


# ---- rate limiters: both tell the time of each grant, which is the shard's ----

SLIDING_WINDOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local grants = redis.call('HGETALL', KEYS[1])
local count = 0
for i = 1, #grants, 2 do
    if grants[i] == ARGV[1] then
        return grants[i + 1]
    elseif tonumber(grants[i + 1]) <= now - window then
        redis.call('HDEL', KEYS[1], grants[i])
    else
        count = count + 1
    end
end
if count >= limit then
    return false
end
redis.call('HSET', KEYS[1], ARGV[1], now)
redis.call('PEXPIRE', KEYS[1], window)
return tostring(now)
"""

TOKEN_BUCKET = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local rate, capacity = tonumber(ARGV[1]), tonumber(ARGV[2])
local tokens = tonumber(redis.call('GET', KEYS[1]) or capacity)
local at = tonumber(redis.call('GET', KEYS[2]) or now)
tokens = math.min(capacity, tokens + math.max(0, now - at) * rate / 1000)
local granted = tokens >= 1
redis.call('SET', KEYS[1], tostring(granted and tokens - 1 or tokens))
redis.call('SET', KEYS[2], now)
return granted and tostring(now) or false
"""


class Limits(Load):
    """A sliding window in a hash, and a token bucket in two strings of any two shards."""

    window_ms, window_limit = 400, 20
    rate, capacity = 50, 10

    def __init__(self, nodes, seed):
        super().__init__(nodes, seed)
        self.window, self.bucket = [], []  # times of grants; (asked, told) of those of the window
        self.spans = []
        self.ids = itertools.count()
        plain = redis.Redis()
        self.sliding, self.tokens = plain.register_script(SLIDING_WINDOW), plain.register_script(TOKEN_BUCKET)

    def step(self, door, chance, number):
        if chance.randrange(2):
            arguments = [f"{next(self.ids)}", self.window_ms, self.window_limit]
            asked = time.monotonic()
            # the same id again: granted as before, or not at all. Later than its window it would be new.
            try:
                told = door.once(lambda client: self.sliding(["window"], arguments, client=client))
            except Unknown:
                return
            if told:
                self.window.append(int(told))
                self.spans.append((asked, time.monotonic()))
        else:
            try:
                told = door.once(lambda client: self.tokens(["bucket", "bucket:at"], [self.rate, self.capacity], client=client))
            except Unknown:
                return  # a token that nobody has
            if told:
                self.bucket.append(int(told))
        time.sleep(chance.uniform(0, 0.02))

    def check(self):
        times = sorted(self.window)
        for first, late in zip(times, times[self.window_limit:]):
            assert late - first >= self.window_ms, f"more than {self.window_limit} grants within {late - first} ms"
        # as clients saw it: one more than the limit cannot all be asked for and told within a window, clocks aside
        spans = sorted(self.spans, key=lambda span: span[1])
        for at in range(len(spans) - self.window_limit):
            some = spans[at:at + self.window_limit + 1]
            seconds = some[-1][1] - min(asked for asked, _ in some)
            assert seconds >= self.window_ms / 1000 * 0.98, f"more than {self.window_limit} grants within {seconds} s"
        times = sorted(self.bucket)
        for at, first in enumerate(times):
            for count, last in enumerate(times[at:at + 500], 1):
                assert count <= self.capacity + (last - first) * self.rate / 1000 + 1e-6, f"{count} in {last - first} ms"
        return len(self.window) + len(self.bucket)


# ---- a queue of work ----

CLAIM = """
local owner = redis.call('GET', KEYS[1])
if owner == ARGV[1] then
    return 1
elseif owner ~= 'new' then
    return 0
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], KEYS[1], ARGV[1])
redis.call('HINCRBY', KEYS[3], ARGV[1], 1)
return 1
"""


class Work(Load):
    """Items that each are to be claimed by one worker: a string for each, a hash of all claims, one of how many each
    worker has, in whichever shards. A worker that was not answered says the same again."""

    items = 60

    def __init__(self, nodes, seed):
        super().__init__(nodes, seed)
        self.claim = redis.Redis().register_script(CLAIM)
        self.mutex, self.round, self.rounds = threading.Lock(), 0, 0
        self.mine = {}  # by item: who was told that it is theirs
        self.found = {}  # by item of earlier rounds: whose it is
        self.next_round()

    def next_round(self):
        self.round += 1
        self.mine = {}
        self.left = {f"work:{self.round}:{number}" for number in range(self.items)}
        with Door(self.nodes, 0, threading.Event()) as door:
            door.repeatedly(lambda client: client.mset({name: "new" for name in self.left}))

    def step(self, door, chance, number):
        with self.mutex:
            if not self.left:
                self.check_round(door)
                self.next_round()
            item, round_number = chance.choice(sorted(self.left)), self.round
        keys = [item, f"claims:{round_number}", f"counts:{round_number}"]
        got = door.repeatedly(lambda client: self.claim(keys, [f"worker:{number}"], client=client))
        with self.mutex:
            if round_number != self.round:
                told = self.found[item] == f"worker:{number}".encode()  # another's answer may have ended the round
                assert not got or told, f"{item} was claimed again after its round"
                return
            self.left.discard(item)
            if got:
                owner = self.mine.setdefault(item, number)
                assert owner == number, f"{item} was claimed by {owner} and {number}"

    def check_round(self, door):
        names = [f"work:{self.round}:{number}" for number in range(self.items)]
        owners = door.repeatedly(lambda client: client.mget(names))
        claims = door.repeatedly(lambda client: client.hgetall(f"claims:{self.round}"))
        counts = door.repeatedly(lambda client: client.hgetall(f"counts:{self.round}"))
        found = dict(zip(names, owners))
        self.found.update(found)
        claimed = {name.decode(): owner for name, owner in claims.items()}
        assert found == claimed, f"work: found {found}, claimed {claimed}"
        assert sum(map(int, counts.values())) == self.items, f"work: counted {counts}"
        for item, number in self.mine.items():
            assert found[item] == f"worker:{number}".encode(), f"{item}: told {number}, and it is {found[item]}"
        self.rounds += 1

    def check(self):
        return self.rounds
