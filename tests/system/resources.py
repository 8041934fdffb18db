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
RUN_SECONDS = 2  # of a transaction whose client was killed: then home aborts it
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
    """One round; what it says of each branch at the resources, and how it ended. What a client joined through a relay home has
    under another URL."""
    named = [word for name, at in resources for word in ("--resource", f"{name}={at}")]
    done = txn("resolve", "--json", "--url", url, *named, *options)
    events = json.loads(done.stdout) if done.stdout else []
    return [event for event in events if event["end"] != "committed, not here"], done


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


# ---- a transfer: two from cohort's account, one to each of two banks ----


def url_of(home):
    return "cohort://" + ",".join(node.address for node in home)


def balances(home, banks, account):
    """What cohort's own account has, and those of both banks."""
    with next(iter(home.alive())).connect() as connection:
        value = connection.call("GET", f"account:{account}")
    return [100 if value is None else int(value), *(int(bank.sql(f"SELECT balance FROM account WHERE id = {account}")) for bank in banks)]


def transfer(home, urls, account, timeout=30):
    """Two from cohort's account, one to each bank's."""
    words = ["run", "--url", url_of(home), "--timeout", f"{timeout}s", "--do", f"SET account:{account} 98"]
    for name, url in urls.items():
        words += ["--on", f"{name}={url}", "--do", f"UPDATE account SET balance = balance + 1 WHERE id = {account}"]
    return words


def urls_of(banks, ports=(None, None)):
    return {f"bank{number}": bank.url(port=port) for number, (bank, port) in enumerate(zip(banks, ports, strict=True), 1)}


def prepared(banks):
    return [bank.prepared() for bank in banks]


def finish(home, banks):
    said = resolve_all(url_of(home), *urls_of(banks).items())
    assert prepared(banks) == ["", ""]
    return said


def assert_all_or_nothing(home, banks, account):
    """True: all."""
    seen = balances(home, banks, account)
    assert seen in ([98, 101, 101], [100, 100, 100]), seen
    return seen[0] == 98


def kill_at_messages(home, banks, accounts, every):
    """Clients that are killed at each `every`th message, before or after it has arrived; the accounts, by what became of
    them when all is resolved."""
    taps = Taps(*(bank.port for bank in banks))
    urls = urls_of(banks, [each.port for each in taps.relays])
    used, fatal, alive = [], 1, False
    while not alive:
        for delivered in (True, False):
            account = next(accounts)
            used.append(account)
            taps.arm(fatal, delivered)
            taps.client = client = begin(*transfer(home, urls, account, RUN_SECONDS))
            client.communicate()
            alive = client.returncode >= 0
        fatal += every
    taps.close()
    assert fatal > 30, "there are more messages than that in a transaction over two databases"
    finish(home, banks)
    return [assert_all_or_nothing(home, banks, account) for account in used]


def killed_when(home, banks, account, passes):
    """Kills the client when a piece passes of which `passes(data, asks)` is true; that piece does not arrive."""
    taps = Taps(*(bank.port for bank in banks))
    taps.arm(None, False)

    def watch(data, asks):
        if passes(data, asks):
            taps.fatal = 0
        return taps.watch(data, asks)

    for each in taps.relays:
        each.watch = watch
    taps.client = client = begin(*transfer(home, urls_of(banks, [each.port for each in taps.relays]), account, RUN_SECONDS))
    client.communicate()
    assert client.returncode == -signal.SIGKILL
    taps.close()


def cut(home, banks, account, text, question, count=1):
    """Runs one whose connection to the first bank breaks `count` times: instead of the question with this text, or of its
    answer."""
    taps = Taps(*(bank.port for bank in banks))
    left, asked = [count], [False]

    def watch(data, asks):
        if asks:
            asked[0] = text in data
        if asks == question and asked[0] and left[0] > 0:
            left[0] -= 1
            return None
        return data

    taps.relays[0].watch = watch
    done = txn(*transfer(home, urls_of(banks, [each.port for each in taps.relays]), account))
    taps.close()
    assert left[0] == 0
    return done


def refused(home, *words):
    done = txn("run", "--url", url_of(home), *words)
    assert done.returncode != 0 and done.stdout == "" and done.stderr.count("\n") <= 2, done
    return done.returncode, done.stderr
