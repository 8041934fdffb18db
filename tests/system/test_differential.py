"""The differential tester (differential.py): what it says about cohort, and that it can be believed."""

import contextlib
import io
import re
import socket
import threading

import differential
import differential_generator
import pytest
import resp

COMMANDS = 20_000  # the long run is tests/system/differential.py --count 200000


@pytest.fixture
def redis_and(tmp_path):
    """A fresh redis-server and a fresh rival of the given kind."""
    with contextlib.ExitStack() as stack:
        yield lambda kind, shards=1: stack.enter_context(differential.rivals(kind, tmp_path, shards))


CASES = [("redis", 1), ("cohort", 1), ("cohort", 8), ("leader", 1), ("follower", 1), ("nodes", 8)]


@pytest.mark.parametrize("kind, shards", CASES)
def test_random_commands_get_the_same_replies(redis_and, kind, shards):
    """redis against redis: what is normalised is enough; cohort: no difference beyond docs/differences.md."""
    out = io.StringIO()
    result = differential.compare(redis_and(kind, shards), COMMANDS, seed=20, keep_going=5, out=out, shards=shards)
    assert not result.differences, out.getvalue()
    assert result.commands >= COMMANDS
    assert len(result.unrepeated) <= COMMANDS // 5000, [d.step.shown() for d in result.unrepeated]


class Liar(threading.Thread):
    """A server in the eyes of the tester. Passes bytes between clients and a server, except that it asks for another command than it was told to."""

    def __init__(self, port, pattern, replacement):
        super().__init__(daemon=True)
        self.server_port, self.pattern, self.replacement = port, re.compile(pattern, re.IGNORECASE), replacement
        self.tells_in_order = True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def run(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.server_port))
            for source, target, change in ((client, server, True), (server, client, False)):
                threading.Thread(target=self.pump, args=(source, target, change), daemon=True).start()

    def alive(self):
        return True

    def pump(self, source, target, change):
        try:
            while data := source.recv(1 << 20):
                target.sendall(self.pattern.sub(self.replacement, data) if change else data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.mark.parametrize(
    "pattern, replacement, steps",
    [
        (rb"\$6\r\nAPPEND\r\n", b"$6\r\nGETSET\r\n", 2),  # one command does something else
        (rb"\$7\r\nHEXISTS\r\n", b"$7\r\nHSTRLEN\r\n", 2),  # the same reply for most values
        (rb"\$5\r\nWATCH\r\n", b"$5\r\nTOUCH\r\n", 5),  # two connections are needed to see it
        (rb"\$7\r\nPERSIST\r\n", b"$7\r\nUNWATCH\r\n", 1),
        (rb"PUBLISH\r\n\$2\r\nc1\r\n", b"PUBLISH\r\n$2\r\nc2\r\n", 2),  # seen by who subscribes
    ],
)
def test_a_server_that_lies_is_caught(redis_and, pattern, replacement, steps):
    """One wrong command among all is found soon, and shrunk to next to nothing."""
    both = redis_and("redis")
    liar = Liar(both[1].port, pattern, replacement)
    liar.start()
    try:
        result = differential.compare([both[0], liar], COMMANDS, seed=3, out=io.StringIO())
    finally:
        liar.listener.close()
    assert result.differences
    assert len(result.differences[0][0]) <= steps


def without(pairs, *names):
    return [pair for pair in pairs if pair[0] not in names]


def comparable_info(entry):
    """COMMAND INFO without what is ours: notes on keys, and which subcommands there are."""
    return entry[:8] + [[without(key, b"notes") for key in entry[8]]]


def comparable_docs(docs):
    """COMMAND DOCS without texts and history, and without our additions."""
    kept = without(docs, b"summary", b"complexity", b"history", b"subcommands", b"replaced_by")
    return [(name, comparable_arguments(value) if name == b"arguments" else value) for name, value in kept]


def comparable_arguments(arguments):
    out = []
    for argument in arguments:
        if not dict(without(argument, b"flags", b"arguments")).get(b"since", b"").startswith(b"cohort"):
            out.append([
                (name, comparable_arguments(value) if name == b"arguments" else value) for name, value in argument
            ])  # fmt: skip
    return out



def test_command_info_and_docs(redis_and):
    names = [c.name.lower().replace(" ", "|") for c in differential_generator.load_commands()] + ["shutdown", "nosuch"]
    redis, cohort = (resp.Connection(server.port, protocol=3) for server in redis_and("cohort"))
    for name in names:
        expected, got = (side.call("COMMAND", "INFO", name)[0] for side in (redis, cohort))
        if expected is not None:
            expected, got = comparable_info(expected), comparable_info(got)
        assert got == expected, name
        expected, got = (side.call("COMMAND", "DOCS", name) for side in (redis, cohort))
        assert [comparable_docs(docs) for _, docs in got] == [comparable_docs(docs) for _, docs in expected], name
    with redis, cohort:
        listed = [[name for name, *_ in side.call("COMMAND")] for side in (redis, cohort)]
        assert cohort.call("COMMAND", "COUNT") == len(listed[1])
        ours = (b"barrier.", b"cohort.", b"elect.", b"fence.", b"latch.", b"lock.", b"service.", b"session.", b"txn.")
        assert {name for name in listed[1] if not name.startswith(ours)} <= set(listed[0])


def test_command_info_is_the_same_in_resp2(redis_and):
    """Byte for byte, for all commands without subcommands and without our own notes."""
    redis, cohort = (resp.Connection(server.port) for server in redis_and("cohort"))
    with redis, cohort:
        for command in differential_generator.load_commands():
            name = command.name.lower().replace(" ", "|")
            expected, got = (side.call("COMMAND", "INFO", name)[0] for side in (redis, cohort))
            if not expected[9] and "notes" not in str(expected):
                assert got == expected, name
