"""Commands that ask where nobody listens: an answer at once, which says where it was looked, and what to do. The URLs give them
ten minutes, so that a command which waits for that is ended by the test."""

import json
import os
import subprocess
import time

import pytest
import servers

UNAVAILABLE = 69
PATIENCE = "?timeout=600s"


def cohort(*words):
    return subprocess.run([servers.COHORT, *words], capture_output=True, text=True, timeout=120)


def nobody():
    return f"127.0.0.1:{servers.free_port()}"


COMMANDS = {
    "lock run": (["x", "--", "true"], "--url"),
    "lock run --wait 0": (["x", "--", "true"], "--url"),
    "lock info": (["x"], "--url"),
    "lock list": ([], "--url"),
    "lock list --json": ([], "--url"),
    "lock history": (["x"], "--url"),
    "elect run": (["x", "--", "true"], "--url"),
    "elect leader": (["x"], "--url"),
    "elect leader --json": (["x"], "--url"),
    "bench": ([], "--url"),
    "status": ([], None),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("hosts", [1, 3])
def test_an_answer_at_once(command, hosts):
    rest, option = COMMANDS[command]
    nodes = [nobody() for _ in range(hosts)]
    url = "cohort://" + ",".join(nodes) + PATIENCE
    done = cohort(*command.split(), *([option, url] if option else [url]), *rest)
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (UNAVAILABLE, ""), done
    assert len(lines) == (hosts if command == "status" else 1)  # which tells of each node
    for line in lines:
        assert any(node in line for node in nodes)
        assert line.endswith("connection refused; is `cohort serve` running there?")


def test_status_as_json_says_who_is_away():
    """For programs the picture is whole, though nobody is in it."""
    done = cohort("status", "--json", f"cohort://{nobody()}{PATIENCE}")
    assert done.returncode == UNAVAILABLE
    assert [node["up"] for node in json.loads(done.stdout)["nodes"]] == [False]


def test_one_of_the_url_is_there(shared_servers):
    server = shared_servers("cohort")
    for at in range(3):
        nodes = [nobody() for _ in range(3)]
        nodes[at] = f"127.0.0.1:{server.port}"
        url = "cohort://" + ",".join(nodes) + PATIENCE
        done = cohort("lock", "run", "--url", url, f"nobody-{at}", "--", "echo", "ran")
        assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
        done = cohort("lock", "history", "--url", url, f"nobody-{at}")
        assert done.returncode == 0 and "released" in done.stdout


@pytest.mark.parametrize("command", ["lock", "elect"])
def test_who_says_wait_waits_for_a_node(command, tmp_path):
    """--wait is for the cluster, too, when it is given: one that is started meanwhile serves."""
    port = servers.free_port(10000)
    words = [servers.COHORT, command, "run", "--url", f"cohort://127.0.0.1:{port}", "--wait", "100s", "x", "--", "echo", "ran"]
    waiting = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    server = None
    try:
        time.sleep(0.5)  # it has asked, as a rule
        assert waiting.poll() is None
        server = subprocess.Popen(
            [servers.COHORT, "serve", "--data", tmp_path / "node", "--listen", f"127.0.0.1:{port}"],
            stderr=subprocess.DEVNULL,
        )
        said = waiting.communicate(timeout=120)
        assert (waiting.returncode, *said) == (0, "ran\n", "")
    finally:
        waiting.kill()
        waiting.wait()
        if server is not None:
            server.terminate()
            assert server.wait(60) == 0


def test_a_wait_for_a_node_ends():
    done = cohort("lock", "run", "--url", f"cohort://{nobody()}{PATIENCE}", "--wait", "300ms", "x", "--", "true")
    assert done.returncode == UNAVAILABLE and len(done.stderr.splitlines()) == 1


def test_a_signal_ends_the_wait_for_a_node():
    words = [servers.COHORT, "lock", "run", "--url", f"cohort://{nobody()}{PATIENCE}", "--wait", "1h", "x", "--", "true"]
    terminal, other_end = os.openpty()
    waiting = subprocess.Popen(words, stderr=other_end)
    try:
        os.close(other_end)
        said = b""
        while b"\n" not in said:  # a person at a terminal hears at once what it waits for
            said += os.read(terminal, 1000)
        assert b"waiting for a node to come: no node can be reached: 127.0.0.1:" in said
        waiting.terminate()
        assert waiting.wait(60) == 128 + 15
    finally:
        waiting.kill()
        waiting.wait()
        os.close(terminal)
