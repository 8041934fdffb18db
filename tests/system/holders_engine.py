"""Holders of an engine's locks (holders.py, engines.py): as those of Cohort's own, as far as the engine can. A holder is
one process with one handle; what it asks for and how it is judged is the same."""

import engines
import resp
from holders_cohort import Cohort, LIMIT, TIMEOUT_SECONDS

MS = 1000


class OnEngine(Cohort):
    def __init__(self, specification, number):
        super().__init__(specification, number)
        self.engine = engines.Engine(specification["url"])

    def call(self, *words):
        wait_ms = words[words.index("WAIT") + 1] if "WAIT" in words else 0
        status, reply = self.engine.ask(*words, timeout_ms=TIMEOUT_SECONDS * MS + wait_ms)
        if status == engines.OK or not isinstance(reply, resp.Error) or reply.split(" ")[0].isupper():
            return reply
        self.rest()
        return resp.Error("LOST")  # the library's own words: there was no answer

    def choose(self):
        names = ["x0", "x1"] + ["shared"] * self.engine.can("SHARE") + ["permits"] * self.engine.can("PERMITS")
        key = self.chance.choice(names)
        if key == "shared" and self.chance.randrange(4):
            return key, ["MODE", "SHARED"], {"mode": "shared"}
        if key == "permits":
            permits = self.chance.randint(1, LIMIT)
            return key, ["PERMITS", permits, "LIMIT", LIMIT], {"mode": "permits", "permits": permits, "limit": LIMIT}
        return key, [], {}

    def guard(self, hold, owner):
        return None  # there is nothing to execute beside the lock

    def note_hold(self, hold, key=None):
        """Where tokens are no order of grants, nothing but time keeps holders apart."""
        token, hold.token = hold.token, hold.token if self.engine.can("FENCE") else None
        super().note_hold(hold, key)
        hold.token = token

    def note_use(self, hold, judge, start, passed):
        return super().note_use(hold, judge if self.engine.can("FENCE") else "@no order", start, passed)

    def check(self, hold, owner):
        return super().check(hold, owner) if self.engine.can("FENCE") else None

    def use_resource(self, hold, owner):
        return super().use_resource(hold, owner) if self.engine.can("FENCE") else None
