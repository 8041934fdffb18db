"""What tests of redis:// and redlock:// have in common: an engine at servers, and npm's redlock beside it."""

import contextlib
import mmap
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time

import crew
import engines
import guarded
import pytest
import redis
import servers

MODULES = servers.ROOT / "build" / "node" / "node_modules"
PATIENCE_SECONDS = 60
TTL_MS = 60_000
DENIED, DOWN, TIMEOUT, UNCERTAIN = -12, -7, -5, engines.UNCERTAIN


def until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def url_of(*made, scheme=None, before="", behind=""):
    scheme = scheme or ("redis" if len(made) == 1 else "redlock")
    return f"{scheme}://{before}" + ",".join(f"127.0.0.1:{each.port}" for each in made) + behind


def client_of(server, **how):
    return redis.Redis("127.0.0.1", server.port, **how)


def stop(server):
    os.kill(server.pid, signal.SIGSTOP)


def go_on(server):
    os.kill(server.pid, signal.SIGCONT)


class Asked(threading.Thread):
    """A call in a thread of its own: `reply`, when it has ended."""

    def __init__(self, engine, *words, **how):
        super().__init__(daemon=True)
        self.engine, self.words, self.how, self.reply = engine, words, how, "none yet"
        self.start()

    def run(self):
        self.reply = self.engine.call(*self.words, **self.how)

    def end(self):
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive()
        return self.reply


class Npm:
    """npm's redlock at servers: `ask` says acquire or release (node/redlock_beside.js)."""

    def __init__(self, version, name, *made):
        if not (MODULES / f"redlock{version}").is_dir():
            pytest.skip("redlock is not installed: the npm registry could not be reached (build/node/npm.txt)")
        assert shutil.which("node"), "nodejs is missing; ./dev test installs it"
        script = pathlib.Path(__file__).parent / "node" / "redlock_beside.js"
        words = ["node", script, str(version), name, *[str(each.port) for each in made]]
        self.process = subprocess.Popen(words, env={**os.environ, "NODE_PATH": str(MODULES)}, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, preexec_fn=servers.end_with_parent)  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


def excludes_npm(engine, version, *made):
    """Both ways."""
    with Npm(version, "shared name", *made) as npm:
        assert npm.ask("acquire") == "held"
        assert engine.call("LOCK.ACQUIRE", "shared name", "a", "PX", TTL_MS) is None
        waits = Asked(engine, "LOCK.ACQUIRE", "shared name", "a", "PX", TTL_MS, "WAIT", PATIENCE_SECONDS * 1000)
        assert npm.ask("release") == "released"
        token, _ = waits.end()
        assert npm.ask("acquire") == "not held"
        assert engine.call("LOCK.RELEASE", "shared name", "a", token) == 1
        assert npm.ask("acquire") == "held"
        assert npm.ask("release") == "released"


@contextlib.contextmanager
def resets(relay, seconds):
    """The connections through it break again and again."""
    stopping = threading.Event()

    def reset():
        while not stopping.wait(seconds):
            relay.reset()

    thread = threading.Thread(target=reset)
    thread.start()
    yield
    stopping.set()
    thread.join()


@contextlib.contextmanager
def holders(folder, seed, url):
    """Processes that hold locks there, and are stopped (crew.py)."""
    with guarded.Resource(folder) as resource:
        with crew.Crew([], folder, seed=seed, kind="engine", count=8, resource=resource, url=url) as load:
            yield load


class WallClock:
    """That of a server which is started in this folder, once `preload` is in its environment (wall_clock.c)."""

    preload = {"LD_PRELOAD": str(servers.BUILD / "tests" / "system" / "wall_clock.so"),
               "ASAN_OPTIONS": "verify_asan_link_order=0"}  # fmt: skip

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "wall_clock"
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self.page = mmap.mmap(file.fileno(), 8)

    def shift(self, seconds):
        self.page[:] = (seconds * 10**9).to_bytes(8, "little", signed=True)
