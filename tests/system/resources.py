"""Transactions over a cohort and databases: `cohort txn`, its clients killed, its messages cut.

    done = resources.txn("run", "--url", url, "--do", "SET a 1", "--on", f"bank={database.url()}", "--do", "UPDATE …")
    done.returncode, done.stdout, done.stderr"""

import json
import os
import signal
import subprocess
import time

import relay
import servers

TIMEOUT_SECONDS = 120  # of a command, on a busy machine
PREPARED = b"PREPARE TRANSACTION"
COMMITS = b"COMMIT PREPARED"


def words(arguments):
    return [str(servers.COHORT), "txn", *map(str, arguments)]


def txn(*arguments, environment=None):
    return subprocess.run(words(arguments), capture_output=True, text=True, timeout=TIMEOUT_SECONDS,
                          env={**os.environ, **(environment or {})})  # fmt: skip


def begin(*arguments):
    return subprocess.Popen(words(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            preexec_fn=servers.end_with_parent)  # fmt: skip


def resolve(url, *resources, options=()):
    """One round; what it says of each branch, and its exit status."""
    named = [word for name, at in resources for word in ("--resource", f"{name}={at}")]
    done = txn("resolve", "--json", "--url", url, *named, *options)
    return (json.loads(done.stdout) if done.stdout else []), done


def resolve_all(url, *resources, seconds=60):
    """Rounds until nothing is left prepared; all that was said."""
    said, deadline = [], time.monotonic() + seconds
    while True:
        events, done = resolve(url, *resources)
        said += events
        if done.returncode == 0:
            return said
        assert done.returncode == 75, done.stderr + done.stdout
        assert time.monotonic() < deadline, f"{said}\n{done.stderr}"
        time.sleep(0.05)


class Taps:
    """Relays in front of databases that count the pieces which pass, and kill the client at one of them: piece `fatal` is
    the last that it sends or gets; `delivered`: that one still arrives."""

    def __init__(self, *ports):
        self.relays = [relay.Relay(port) for port in ports]
        for each in self.relays:
            each.watch = self.watch
        self.client, self.fatal, self.delivered, self.count = None, None, True, 0

    def arm(self, fatal, delivered):
        self.client, self.fatal, self.delivered, self.count = None, fatal, delivered, 0

    def watch(self, data, asks):
        self.count += 1
        if self.fatal is None or self.count < self.fatal:
            return data
        deadline = time.monotonic() + 10
        while self.client is None and time.monotonic() < deadline:  # it runs, and its Popen has not come back
            time.sleep(0.001)
        self.client.send_signal(signal.SIGKILL)
        self.client.wait()
        return data if self.delivered and self.count == self.fatal else None

    def close(self):
        for each in self.relays:
            each.close()
