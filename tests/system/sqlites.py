"""What the tests of sqlite:// have in common: a database, engines on it, also in processes of their own."""

import json
import os
import sqlite3
import subprocess
import sys
import time

import engines
import pytest
import servers

TTL_MS = 60_000
PATIENCE_SECONDS = 60
WAIT = ("WAIT", PATIENCE_SECONDS * 1000)
BUSY_TIMEOUT = "?timeout=300ms"


def database(path):
    """A connection whose transactions are what the words say."""
    return sqlite3.connect(path, isolation_level=None, timeout=PATIENCE_SECONDS)


def acquire(engine, name="k", owner="a", *options):
    reply = engine.call("LOCK.ACQUIRE", name, owner, "PX", TTL_MS, *options)
    assert isinstance(reply, list), reply
    return reply[0]


def until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def remove(path):
    for end in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)


# ---- fixtures ----


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.db"


@pytest.fixture
def url(path):
    return f"sqlite://{path}"


@pytest.fixture
def engine(url):
    with engines.Engine(url) as opened:
        yield opened


# ---- processes ----

CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import engines, json
engine = engines.Engine(sys.argv[2])
for line in sys.stdin:
    print(json.dumps(engine.call(*json.loads(line)), default=lambda value: value.decode()), flush=True)
"""


class Child:
    """An engine in a process of its own, which can be killed, stopped, and deceived by power_loss.c."""

    def __init__(self, url, user=None, **environment):
        def before():
            servers.end_with_parent()
            if user is not None:
                os.setgid(user)
                os.setuid(user)

        self.process = subprocess.Popen([sys.executable, "-c", CHILD, os.path.dirname(__file__), url], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env={**os.environ, **environment}, preexec_fn=before)  # fmt: skip

    def call(self, *words):
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def errors(self):
        return self.process.communicate()[1]

    def kill(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def deceiver():
    """What LD_PRELOAD takes."""
    made = servers.BUILD / "tests" / "system" / "power_loss.so"
    return f"{servers.sanitizer()}:{made}" if servers.is_sanitized(made) else str(made)
