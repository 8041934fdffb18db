"""Holders of Cohort's own locks (holders.py): exclusive, reentrant, shared, and a semaphore, at once and after a wait, at
whichever node. A holder uses its lock in three ways, each judged by itself (docs/history.md):

- KEY: FENCE.CHECK;
- KEY@guard: LOCK.GUARD. With an exclusive lock it reads a number by one, and writes the next by another;
- KEY@resource: a resource that is no part of the cluster (guarded.py) and keeps the newest token that it has seen; the
  same two steps."""

import time

import guarded
import resp
from holders import Hold, Holder

TIMEOUT_SECONDS = 5
LIMIT = 3
NAMES = ("x0", "x1", "reentrant", "shared", "permits")
NOT_NOW = ("CLUSTERDOWN", "BUSY")
UNKNOWN = ("UNCERTAIN", "LOST")


class Cohort(Holder):
    def __init__(self, specification, number):
        super().__init__(specification, number)
        self.connection = None
        self.store = guarded.Client(self.resource)

    # ---- asking ----

    def call(self, *words):
        """The reply, or an error; LOST when there is no reply."""
        try:
            if self.connection is None:
                host, port = self.addresses[self.at]
                self.connection = resp.Connection(port, TIMEOUT_SECONDS, host=host)
            reply = self.connection.call(*words)
        except OSError:
            self.lose()
            return resp.Error("LOST")
        if isinstance(reply, resp.Error) and reply.startswith(NOT_NOW + UNKNOWN):
            self.rest()
        return reply

    def lose(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None
        self.at = (self.at + 1) % len(self.addresses)
        self.rest()

    def no_answer(self, reply, *refusals):
        """It is an error, of those that may be given."""
        if not isinstance(reply, resp.Error):
            return False
        assert reply.startswith(NOT_NOW + UNKNOWN + refusals), reply
        return True

    # ---- a lock's life ----

    def choose(self):
        """A key, how it is asked for, and how a history says it."""
        key = self.chance.choice(NAMES)
        if key == "shared" and self.chance.randrange(4):
            return key, ["MODE", "SHARED"], {"mode": "shared"}
        if key == "permits":
            permits = self.chance.randint(1, LIMIT)
            return key, ["PERMITS", permits, "LIMIT", LIMIT], {"mode": "permits", "permits": permits, "limit": LIMIT}
        return key, ["REENTRANT", "first"] if key == "reentrant" else [], {}

    def round(self):
        key, how, said = self.choose()
        self.serial += 1
        owner = f"{self.number}.{self.serial}"
        wait = self.chance.choice([0, 0, 300, 4000])
        start = time.monotonic_ns()
        reply = self.call("LOCK.ACQUIRE", key, owner, "PX", self.ttl_ms, "WAIT", wait, *how)
        end = time.monotonic_ns()
        if reply is None or self.no_answer(reply):
            self.rest()
            return
        token, left_ms = reply
        until = end if wait else self.believed_until(start, left_ms)  # when in a wait it was granted, nobody knows
        hold = Hold(key, start, end, until, token, **said)
        if wait == 0 or self.renew(hold, owner):
            self.work(hold, owner)
        if self.chance.randrange(8):
            self.release(hold, owner)
        for judge in ("", "@guard", "@resource"):
            self.note_hold(hold, key + judge)

    def work(self, hold, owner):
        """While it believes to hold it; what it does once it has looked may come too late."""
        inner = hold.key == "reentrant" and self.once_more(hold, owner)
        while hold.believed() and self.chance.randrange(5):
            self.is_stopped_sometimes()
            what = self.chance.choice([self.check, self.guard, self.use_resource, self.renew])
            if what(hold, owner) is False:
                break
        if inner:
            reply = self.call("LOCK.RELEASE", hold.key, owner, hold.token, "REENTRANT", "second")
            assert self.no_answer(reply) or reply in (0, 1)

    def once_more(self, hold, owner):
        """The same owner, by another id: another acquire of the same grant; told what it has now."""
        if not hold.believed():
            return False
        reply = self.call("LOCK.ACQUIRE", hold.key, owner, "PX", self.ttl_ms, "REENTRANT", "second")
        if self.no_answer(reply) or reply is None:
            return not isinstance(reply, type(None))
        assert reply[0] == hold.token or not hold.believed()
        return reply[0] == hold.token

    def renew(self, hold, owner):
        start = time.monotonic_ns()
        reply = self.call("LOCK.RENEW", hold.key, owner, hold.token, "PX", self.ttl_ms)
        if not self.no_answer(reply, "LOCKLOST"):
            hold.until = max(hold.until, self.believed_until(start, reply))
        elif reply.startswith("LOCKLOST"):
            self.note_use(hold, "", start, 0)
            return False
        return True

    def release(self, hold, owner):
        hold.ends()
        reply = self.call("LOCK.RELEASE", hold.key, owner, hold.token)
        self.no_answer(reply)

    # ---- uses ----

    def note_use(self, hold, judge, start, passed):
        how = {"mode": hold.how["mode"]} if hold.how else {}
        self.note("use", key=hold.key + judge, token=hold.token, outcome="ok", start=start, end=time.monotonic_ns(),
                  result=passed, **how)  # fmt: skip
        return bool(passed)

    def check(self, hold, owner):
        start = time.monotonic_ns()
        reply = self.call("FENCE.CHECK", hold.key, hold.token)
        return None if self.no_answer(reply) else self.note_use(hold, "", start, reply)

    def guarded_call(self, hold, *words):
        """The reply, once it is noted whether the token passed."""
        start = time.monotonic_ns()
        reply = self.call("LOCK.GUARD", hold.key, hold.token, *words)
        if not self.no_answer(reply, "FENCED"):
            self.note_use(hold, "@guard", start, 1)
        elif reply.startswith("FENCED"):
            self.note_use(hold, "@guard", start, 0)
        return reply

    def guard(self, hold, owner):
        name, start = f"{{{hold.key}}}:number", time.monotonic_ns()
        seen = self.guarded_call(hold, "GET", name)
        if isinstance(seen, resp.Error):
            return not seen.startswith("FENCED")
        if hold.how:
            return True
        self.is_stopped_sometimes()
        text = self.new_text(seen.decode())
        reply = self.guarded_call(hold, "SET", name, text)
        outcome = "ok" if reply == "OK" else "unknown" if reply.startswith(UNKNOWN) else "failed"
        self.note_update(name, seen.decode(), text, start, outcome)
        return outcome != "failed"

    def ask_resource(self, hold, *words):
        start = time.monotonic_ns()
        answer = self.store.call(words[0], hold.key, hold.token, *words[1:])
        self.note_use(hold, "@resource", start, int(answer != "refused"))
        return answer

    def use_resource(self, hold, owner):
        if hold.how:
            return None  # of shared ones and permits no order of tokens tells who holds
        start = time.monotonic_ns()
        seen = self.ask_resource(hold, "get")
        if seen == "refused":
            return False
        self.is_stopped_sometimes()
        text = self.new_text(seen[2:])
        done = self.ask_resource(hold, "set", text) == "done"
        self.note_update(f"{hold.key}@resource", seen[2:], text, start, "ok" if done else "failed")
        return done
