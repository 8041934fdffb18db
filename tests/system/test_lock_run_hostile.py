"""cohort lock run with commands and surroundings that make it hard: guardians that are stopped, processes that flee from being
killed, parents that ignore SIGCHLD, closed descriptors, long paths."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import servers
from locks import until
from test_lock_run import Holder, Job, gone, lock, tell_time, token_of, url, url_of, waits

# Each process lives for a moment, writes the time down, and leaves a child that does the same, in a session of its own.
FLEEING = """
import os, sys, time
path = sys.argv[1]
if os.fork() == 0:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        os.write(file, b"%d\\n" % time.monotonic_ns())
        if os.fork() != 0:
            os._exit(0)
time.sleep(600)
"""


@pytest.fixture
def other(cohort):
    with cohort.connect() as client:
        yield client


def last_of(path):
    return int(path.read_text().split()[-1])


# ---- the guardian is stopped ----


def test_the_guardian_is_stopped_and_nobody_answers(new_server, tmp_path):
    server = new_server()
    job = Job(url(server), "stopped", tmp_path / "ticks", options=["--ttl", "3s"])
    os.kill(job.guardian(), signal.SIGSTOP)
    server.kill()
    code, _, errors = job.ended()
    assert code == 76 and "could not be renewed in time" in errors and gone(job.path)
    server.start()
    code, output, _ = Holder(url(server), "stopped", *tell_time(), options=["--wait", "60s"]).ended()
    assert code == 0 and job.last() < int(output)


def test_the_guardian_is_stopped_and_the_lock_is_lost(cohort, other, tmp_path):
    job = Job(url(cohort), "stopped", tmp_path / "ticks", options=["--ttl", "6s"])
    os.kill(job.guardian(), signal.SIGSTOP)
    owner, token = token_of(other, "stopped")
    assert other.call("LOCK.RELEASE", "stopped", owner, token) == 1
    code, _, errors = job.ended()
    assert code == 76 and "was lost while the command ran" in errors and gone(job.path)


def test_the_guardian_is_stopped_for_a_while(cohort):
    """While the lock is renewed nothing happens."""
    holder = Holder(url(cohort), "stopped for a while", "sh", "-c", "echo; read line; exit 3", options=["--ttl", "2s"],
                    stdin=subprocess.PIPE)  # fmt: skip
    holder.process.stdout.readline()
    (guardian,) = [int(pid) for pid in open(f"/proc/{holder.process.pid}/task/{holder.process.pid}/children").read().split()]
    os.kill(guardian, signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        holder.process.wait(3)
    os.kill(guardian, signal.SIGCONT)
    holder.process.stdin.write("\n")
    assert holder.ended() == (3, "", "")


# ---- processes that flee ----


def test_processes_that_flee(cohort, other, tmp_path):
    """Who is never the same process for longer than a moment is found all the same."""
    path = tmp_path / "ticks"
    holder = Holder(url(cohort), "flee", "/usr/bin/python3", "-c", FLEEING, path, options=["--ttl", "4s"])
    until(lambda: path.exists() and path.stat().st_size > 0)
    second = Holder(url(cohort), "flee", *tell_time(), options=["--wait", "60s"])
    waits(other, "flee")
    holder.kill()
    code, output, _ = second.ended()
    assert code == 0 and last_of(path) < int(output)
    size = path.stat().st_size
    with pytest.raises(AssertionError):
        until(lambda: path.stat().st_size > size, seconds=1)


# ---- surroundings ----


def run_as(words, setup):
    """`words` behind some lines of Python in the same process."""
    script = f"import os, signal, sys\n{setup}\nos.execv(sys.argv[1], sys.argv[1:])"
    return subprocess.run([sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True, timeout=120)


def test_a_parent_that_ignores_its_children(cohort):
    """As some daemons leave SIGCHLD to what they start: the exit status is that of the command all the same."""
    words = [servers.COHORT, "lock", "run", "--url", url(cohort), "chld", "--", "sh", "-c", "exit 7"]
    done = run_as(words, "signal.signal(signal.SIGCHLD, signal.SIG_IGN)")
    assert (done.returncode, done.stderr) == (7, "")


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1", "0 1 2"])
def test_closed_descriptors(cohort, tmp_path, closed):
    """What is closed stays closed for the command, and nothing else is taken for it."""
    path = tmp_path / "descriptors"
    listing = f"import os; open({str(path)!r}, 'w').write(' '.join(os.listdir('/proc/self/fd')))"
    words = [servers.COHORT, "lock", "run", "--url", url(cohort), "closed", "--", sys.executable, "-S", "-c", listing]
    done = run_as(words, "".join(f"os.close({number});" for number in closed.split()))
    assert done.returncode == 0
    assert "lock run" not in done.stdout
    assert lock("run", "--url", url(cohort), "closed", "--wait", "0", "--", "true").returncode == 0
    words = [servers.COHORT, "lock", "run", "--url", url(cohort), "closed", "--", "/nonexistent"]
    done = run_as(words, "".join(f"os.close({number});" for number in closed.split()))
    assert done.returncode == 127


def test_a_long_path(cohort, other, tmp_path):
    """Its end is the note."""
    folder = tmp_path
    while len(str(folder)) < 600:
        folder = folder / ("d" * 200)
    folder.mkdir(parents=True)
    shutil.copy(shutil.which("true"), folder / "job")
    assert Holder(url(cohort), "long", folder / "job").ended() == (0, "", "")
    assert Holder(url(cohort), "long", "x" * 2000).ended()[0] == 126


# ---- nodes that hang ----


def node_of_waiter(cluster):
    """The node at which the only waiter waits; None: at none that answers."""
    for node in cluster.alive():
        with node.connect() as client:
            if b"blocked_clients:1" in client.call("INFO", "clients"):
                return node
    return None


def test_the_node_at_which_it_waits_hangs(new_cluster):
    """It waits on elsewhere, and gets the lock when it is free, long before the node is back."""
    three = new_cluster(nodes=3, shards=1)
    first = Holder(url_of(three), "hang", "sh", "-c", "echo; read line", options=["--ttl", "20s"], stdin=subprocess.PIPE)
    first.process.stdout.readline()
    second = Holder(url_of(three), "hang", "echo", "mine", options=["--wait", "1h"])
    with three[1].connect() as client:
        waits(client, "hang")
    node = node_of_waiter(three)
    node.pause()
    until(lambda: node_of_waiter(three))
    first.process.stdin.write("\n")
    assert first.ended()[0] == 0
    assert second.ended() == (0, "mine\n", "")
    node.resume()


def test_the_node_at_which_it_waits_dies(new_cluster):
    """A wait that is asked for again is no longer than it was: 75 at its end, as if nothing had been."""
    three = new_cluster(nodes=3, shards=1)
    with three[1].connect() as client:
        client.call("LOCK.ACQUIRE", "dies", "me", "PX", 600000)
        second = Holder(url_of(three), "dies", "echo", "not me", options=["--wait", "12s"])
        waits(client, "dies")
    node = node_of_waiter(three)
    time.sleep(6)  # longer than the time limit of a request
    node.kill()
    code, output, errors = second.ended()
    assert (code, output) == (75, "") and "was not granted in time" in errors
