"""cohort lock run: who runs, who waits, and that a command is gone before anyone else gets its lock, whatever happens to
its holder. The commands write down when they were alive, by the clock of the machine."""

import contextlib
import os
import pathlib
import select
import signal
import subprocess
import time

import networks
import pytest
import servers
from locks import until

# Writes the time down again and again; SIGTERM is ignored. Its own child, in a session of its own, does the same.
JOB = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
path = sys.argv[1]
if os.fork() == 0:
    os.setsid()
    path += ".child"
with open(path, "a", buffering=1) as file:
    while True:
        file.write(f"{time.monotonic_ns()}\\n")
        time.sleep(0.001)
"""


class Holder:
    """A running `cohort lock run`."""

    action = "lock"

    def __init__(self, url, lock, *command, options=(), network=None, action=None, **how):
        words = [str(servers.COHORT), action or self.action, "run", "--url", url, *options, lock, "--", *map(str, command)]

        def in_child():
            servers.end_with_parent()
            if network is not None:
                network.enter()

        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=in_child, **how)  # fmt: skip

    def ended(self):
        """Exit status, standard output, errors."""
        output, errors = self.process.communicate(timeout=120)
        return self.process.returncode, output, errors

    def kill(self):
        self.process.kill()
        self.process.wait(60)


class Job(Holder):
    """One whose command is JOB."""

    def __init__(self, url, lock, path, **how):
        self.path, self.child = pathlib.Path(path), pathlib.Path(f"{path}.child")
        super().__init__(url, lock, "/usr/bin/python3", "-c", JOB, path, **how)
        until(lambda: self.last() > 0)

    def last(self):
        """When one of both was alive last; 0 while one of them has not begun."""
        times = [int(([0, *path.read_text().split()])[-1]) if path.exists() else 0 for path in (self.path, self.child)]
        return max(times) if all(times) else 0

    def guardian(self):
        return children(self.process.pid)[0]


def children(pid):
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def signals_pending(pid):
    status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["ShdPnd"], 16) != 0


def gone(path):
    """Nobody who has this path among the words of its command line is left."""
    for command in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = command.read_bytes().split(b"\0")
            if str(path).encode() in words and b"run" not in words:
                return False
    return True


def url(server):
    return f"cohort://{server.host}:{server.port}"


def url_of(cluster):
    return "cohort://" + ",".join(node.address for node in cluster)


def lock(*words):
    return subprocess.run([servers.COHORT, "lock", *words], capture_output=True, text=True, timeout=120)


def tell_time():
    """A command that prints when it runs."""
    return ["/usr/bin/python3", "-c", "import time; print(time.monotonic_ns())"]


def waits(client, name, count=1):
    def waiters():
        reply = client.call("LOCK.INFO", name)
        return len(dict(zip(reply[::2], reply[1::2], strict=True))[b"waiters"]) == count

    until(waiters)


def token_of(client, name):
    """Owner and token of the only holder."""
    reply = client.call("LOCK.INFO", name)
    (holder,) = dict(zip(reply[::2], reply[1::2], strict=True))[b"holders"]
    holder = dict(zip(holder[::2], holder[1::2], strict=True))
    return holder[b"owner"], holder[b"token"]


@pytest.fixture
def other(cohort):
    with cohort.connect() as client:
        yield client


# ---- two shells ----


def test_one_runs_and_the_other_waits(cohort, other, tmp_path):
    first = Holder(url(cohort), "nightly", "sh", "-c", "echo first; read line; echo $line", stdin=subprocess.PIPE)
    until(lambda: "nightly" in lock("list", "--url", url(cohort)).stdout)
    code, output, errors = Holder(url(cohort), "nightly", "echo", "not me", options=["--wait", "0"]).ended()
    assert (code, output) == (75, "") and "was not granted in time" in errors
    code, output, errors = Holder(url(cohort), "nightly", "echo", "not me", options=["--wait", "200ms"]).ended()
    assert (code, output) == (75, "")
    second = Holder(url(cohort), "nightly", "echo", "second")
    waits(other, "nightly")
    assert second.process.poll() is None
    first.process.stdin.write("done\n")
    assert first.ended() == (0, "first\ndone\n", "")
    assert second.ended() == (0, "second\n", "")


def test_longer_than_the_time_to_live(cohort, other):
    """It is renewed: nobody gets it in between."""
    first = Holder(url(cohort), "long", "sh", "-c", "echo; sleep 5", options=["--ttl", "2s"])
    first.process.stdout.readline()
    second = Holder(url(cohort), "long", "echo", "second", options=["--wait", "60s"])
    waits(other, "long")
    assert first.ended()[0] == 0
    assert second.ended() == (0, "second\n", "")
    (ended, *_) = other.call("LOCK.HISTORY", "long")[1:]
    assert ended[-1] == b"released"


@pytest.mark.parametrize("kind, options", [("shared", ["--shared"]), ("permits", ["--permits", "1", "--limit", "2"])])
def test_shared_and_permits(cohort, kind, options):
    words = ["sh", "-c", "echo; read line; exit 0"]
    two = [Holder(url(cohort), kind, *words, options=options, stdin=subprocess.PIPE) for _ in range(2)]
    for one in two:
        one.process.stdout.readline()
    third = [] if kind == "shared" else options
    assert Holder(url(cohort), kind, "true", options=[*third, "--wait", "0"]).ended()[0] == 75
    for one in two:
        one.process.stdin.write("\n")
        assert one.ended()[0] == 0


# ---- what the command gets and says ----


def test_exit_status(cohort, tmp_path):
    def status(*command):
        return Holder(url(cohort), "status", *command).ended()

    assert status("sh", "-c", "exit 7")[0] == 7
    assert status("sh", "-c", "kill -USR1 $$")[0] == 128 + signal.SIGUSR1
    code, _, errors = status("/nonexistent")
    assert code == 127 and "cannot run /nonexistent: No such file or directory" in errors
    (tmp_path / "text").write_text("no program")
    assert status(tmp_path / "text")[0] == 126
    assert status("env")[0] == 0


def test_token(cohort):
    tokens = [int(Holder(url(cohort), "token", "sh", "-c", "echo $COHORT_TOKEN").ended()[1]) for _ in range(3)]
    assert tokens == sorted(set(tokens)) and tokens[0] > 0


def test_the_commands_descriptors_and_signals(cohort):
    """As if it had been exec'd: nothing of the holder is open in it or blocked."""
    listing = "import os; print(os.listdir('/proc/self/fd')); print(open('/proc/self/status').read())"
    output = Holder(url(cohort), "clean", "/usr/bin/python3", "-c", listing).ended()[1]
    assert output.startswith("['0', '1', '2', '3']")
    assert "SigBlk:\t0000000000000000" in output


def test_left_in_the_background(cohort, tmp_path):
    """What outlives the command is ended before the lock is released, SIGTERM or not."""
    path = tmp_path / "ticks"
    script = f"/usr/bin/python3 -c '{JOB}' {path} & until test -s {path}.child; do sleep 0.01; done; exit 5"
    assert Holder(url(cohort), "background", "sh", "-c", script, options=["--grace", "100ms"]).ended()[0] == 5
    assert gone(path)


# ---- how a holder ends ----


def test_the_holder_is_killed(cohort, other, tmp_path):
    """kill -9: its command dies with it, and the other gets the lock when the time to live is over."""
    job = Job(url(cohort), "killed", tmp_path / "ticks", options=["--ttl", "4s"])
    second = Holder(url(cohort), "killed", *tell_time(), options=["--wait", "60s"])
    waits(other, "killed")
    job.kill()
    until(lambda: gone(job.path))
    code, output, _ = second.ended()
    assert code == 0 and job.last() < int(output)
    assert other.call("LOCK.HISTORY", "killed")[-1][-1] == b"expired"


def test_the_holder_is_stopped(cohort, other, tmp_path):
    """It renews nothing: its command is ended before the lease is over."""
    job = Job(url(cohort), "stopped", tmp_path / "ticks", options=["--ttl", "2s"])
    second = Holder(url(cohort), "stopped", *tell_time(), options=["--wait", "60s"])
    waits(other, "stopped")
    job.process.send_signal(signal.SIGSTOP)
    code, output, _ = second.ended()
    assert code == 0 and job.last() < int(output) and gone(job.path)
    job.process.send_signal(signal.SIGCONT)
    code, _, errors = job.ended()
    assert code == 76 and "could not be renewed in time" in errors


# A session whose only group has nobody outside, as of a service: the kernel sends SIGHUP to all of it when it comes to be
# orphaned while one of it is stopped.
SERVICE = """
trap 'echo hung up; exit 1' HUP
"$@" &
until grep -q . "$TICKS" 2>/dev/null; do sleep 0.05; done
kill -STOP $!
pid=$(cat "$TICKS")
while kill -0 $pid 2>/dev/null; do sleep 0.05; done
sleep 0.5
kill -KILL $!
echo all is well
"""


def test_a_service_whose_holder_is_stopped_is_not_hung_up(cohort, tmp_path):
    ticks = tmp_path / "ticks"
    words = [str(servers.COHORT), "lock", "run", "--url", url(cohort), "--ttl", "1s", "service", "--", "sh", "-c", f"echo $$ >{ticks}; exec sleep 600"]
    done = subprocess.run(["sh", "-c", SERVICE, "sh", *words], env={**os.environ, "TICKS": str(ticks)}, stdout=subprocess.PIPE, text=True,
                          timeout=60, start_new_session=True)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "all is well\n")


def test_the_guardian_is_killed(cohort, tmp_path):
    job = Job(url(cohort), "guardian", tmp_path / "ticks")
    os.kill(job.guardian(), signal.SIGKILL)
    code, _, errors = job.ended()
    assert code == 128 + signal.SIGKILL and "guardian was killed" in errors
    assert gone(job.path)
    assert Holder(url(cohort), "guardian", "true", options=["--wait", "0"]).ended()[0] == 0  # it was released


def test_the_group_of_the_holder_is_killed(cohort, tmp_path):
    job = Job(url(cohort), "group", tmp_path / "ticks", process_group=0)
    os.killpg(job.process.pid, signal.SIGKILL)
    until(lambda: gone(job.path))


# ---- how a lock is lost ----


def test_cut_off(new_cluster, tmp_path):
    """The holder's machine loses its network: its command is gone before anyone else gets the lock."""
    with networks.Networks(4) as nets:
        three = new_cluster(networks=nets, arguments=["--protected-mode", "no"])
        job = Job(url_of(three), "cut", tmp_path / "ticks", options=["--ttl", "3s"], network=nets[4])
        second = Holder(url_of(three), "cut", *tell_time(), options=["--wait", "60s"], network=nets[1])
        with three[1].connect() as client:
            waits(client, "cut")
        time.sleep(1.5)  # the first renewal has been
        nets.isolate(4)
        code, output, errors = second.ended()
        assert (code, errors) == (0, "") and job.last() < int(output) and gone(job.path)
        code, _, errors = job.ended()
        assert code == 76 and "could not be renewed in time" in errors


def test_nobody_answers_any_more(new_server, tmp_path):
    server = new_server()
    job = Job(url(server), "down", tmp_path / "ticks", options=["--ttl", "2s"])
    until(lambda: server.kill() is not None)
    code, _, errors = job.ended()
    assert code == 76 and gone(job.path)
    server.start()
    code, output, _ = Holder(url(server), "down", *tell_time(), options=["--wait", "60s"]).ended()
    assert code == 0 and job.last() < int(output)


def test_released_by_somebody(cohort, other, tmp_path):
    """It is another's at once: the command gets SIGTERM, and SIGKILL soon, long before the time to live is over."""
    for name, command, said in (
        ("released", ["sh", "-c", "trap 'echo ended; exit 3' TERM; echo; while :; do sleep 0.01; done"], "\nended\n"),
        ("stubborn", ["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.01; done"], "\n"),
    ):
        holder = Holder(url(cohort), name, *command, options=["--ttl", "6s"])
        until(lambda name=name: name in lock("list", "--url", url(cohort)).stdout)
        owner, token = token_of(other, name)
        first = holder.process.stdout.readline()
        assert other.call("LOCK.RELEASE", name, owner, token) == 1
        code, output, errors = holder.ended()
        assert (code, first + output) == (76, said) and "was lost while the command ran" in errors


def test_leaders_are_killed(new_cluster):
    """Nothing is lost by that: the lock is kept, and released at the end."""
    three = new_cluster(nodes=3, shards=1)
    holder = Holder(url_of(three), "kept", "sh", "-c", "echo; read line; echo kept", options=["--ttl", "20s"],
                    stdin=subprocess.PIPE)  # fmt: skip
    holder.process.stdout.readline()
    for _ in range(2):
        leader = three.leader_of(1)
        leader.kill()
        three.leader_of(1)
        code, _, _ = Holder(url_of(three), "kept", "true", options=["--wait", "0"]).ended()
        assert code == 75
        leader.start()
    holder.process.stdin.write("\n")
    assert holder.ended() == (0, "kept\n", "")
    assert Holder(url_of(three), "kept", "true", options=["--wait", "0"]).ended()[0] == 0


# ---- signals ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_go_on_to_the_command(cohort, number):
    script = f"import signal, sys; signal.signal({int(number)}, lambda *_: sys.exit(9)); print(flush=True); signal.pause()"
    holder = Holder(url(cohort), f"signal {int(number)}", "/usr/bin/python3", "-c", script)
    holder.process.stdout.readline()
    holder.process.send_signal(number)
    assert holder.ended() == (9, "", "")


def test_a_signal_that_is_ignored_stays_so(cohort):
    """As under nohup(1)."""
    words = [str(servers.COHORT), "lock", "run", "--url", url(cohort), "nohup", "--", "sh", "-c", "echo; read line; exit 4"]
    ran = subprocess.Popen(["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *words], stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE, preexec_fn=servers.end_with_parent)  # fmt: skip
    ran.stdout.readline()
    ran.send_signal(signal.SIGHUP)
    ran.communicate(b"\n", timeout=60)
    assert ran.returncode == 4


def test_a_signal_ends_the_wait(cohort, other):
    first = Holder(url(cohort), "wait", "sh", "-c", "echo; read line", stdin=subprocess.PIPE)
    first.process.stdout.readline()
    second = Holder(url(cohort), "wait", "echo", "not me", options=["--wait", "1h"])
    waits(other, "wait")
    second.process.send_signal(signal.SIGTERM)
    assert second.ended() == (128 + signal.SIGTERM, "", "")
    waits(other, "wait", 0)
    first.kill()


# The server reads no write of its clients meanwhile, so the first question has no answer.
@contextlib.contextmanager
def no_answers(other):
    assert other.call("CLIENT", "PAUSE", 60000, "WRITE") == "OK"
    try:
        yield
    finally:
        assert other.call("CLIENT", "UNPAUSE") == "OK"


def is_asking(other):
    """A client of libcohort has heard who leads what, and asks its question next."""
    return any(b"cmd=cluster|slots" in line for line in other.call("CLIENT", "LIST").splitlines())


@contextlib.contextmanager
def told_while_it_asks(other, server, name, *options):
    """A holder that got SIGTERM when its question was on its way, and its lock. On a busy machine that may come too early, which
    ends it at once: then it is another one."""
    for turn in range(20):
        with no_answers(other):
            holder = Holder(url(server), f"{name}{turn}", "echo", "not me", options=options)
            until(lambda: is_asking(other))
            holder.process.send_signal(signal.SIGTERM)
            try:
                holder.process.wait(0.3)
            except subprocess.TimeoutExpired:
                yield holder, f"{name}{turn}"
                return
        assert holder.ended() == (128 + signal.SIGTERM, "", "")
    raise AssertionError("none asks")


def test_a_signal_during_the_first_question(cohort, other):
    """Its answer is waited for, and what was granted given back."""
    with told_while_it_asks(other, cohort, "first", "--ttl", "1h") as (holder, name):
        assert other.call("CLIENT", "UNPAUSE") == "OK"
        assert holder.ended() == (128 + signal.SIGTERM, "", "")
        (last,) = other.call("LOCK.HISTORY", name, "COUNT", 1)
        assert dict(zip(last[::2], last[1::2], strict=True))[b"why"] == b"released"


def test_a_second_signal_during_the_first_question(cohort, other):
    with told_while_it_asks(other, cohort, "second") as (holder, name):
        until(lambda: not signals_pending(holder.process.pid))
        holder.process.send_signal(signal.SIGINT)
        code, output, errors = holder.ended()
    assert (code, output) == (128 + signal.SIGINT, "")
    assert errors == f"cohort lock run: no answer came; '{name}' may be held in vain until its time to live is over\n"


class Terminal:
    """bash with a terminal, as a person has it."""

    def __init__(self):
        self.pid, self.end = os.forkpty()
        if self.pid == 0:
            servers.end_with_parent()
            os.execv("/bin/bash", ["bash", "--norc", "--noediting", "-i"])
        self.said = ""

    def type(self, text):
        os.write(self.end, text.encode())

    def wait_for(self, text):
        while text not in self.said:
            assert select.select([self.end], [], [], 60)[0], self.said
            self.said += os.read(self.end, 4096).decode(errors="replace")
        self.said = self.said.split(text, 1)[1]

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.end)
        os.waitpid(self.pid, 0)


# Echoes lines; tells of each ^C.
TALKER = """
import signal, sys
signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
print("ready", flush=True)
for line in sys.stdin:
    print("got-" + line, flush=True)
sys.exit(7)
"""


def test_at_a_terminal(cohort, tmp_path):
    """Keys reach the command, once; it reads the terminal; ^Z stops the job and fg goes on; pipes are pipes."""
    (tmp_path / "talker.py").write_text(TALKER)
    (tmp_path / "run.sh").write_text(f"exec {servers.COHORT} lock run --url {url(cohort)} --ttl 1m tty -- \"$@\"\n")
    terminal = Terminal()
    terminal.type(f"cd {tmp_path}; sh run.sh /usr/bin/python3 talker.py\n")
    terminal.wait_for("ready")
    terminal.type("hello\n")
    terminal.wait_for("got-hello")
    terminal.type("\x03")
    terminal.wait_for("interrupted")
    terminal.type("\x1a")
    terminal.wait_for("Stopped")
    terminal.type("echo the sh''ell\n")
    terminal.wait_for("the shell")
    terminal.type("fg\n")
    terminal.wait_for("run.sh")
    terminal.type("again\n")
    terminal.wait_for("got-again")
    terminal.type("\x04")  # the end of what it reads
    terminal.type("echo st''atus-$?\n")
    terminal.wait_for("status-7")
    terminal.type("sh run.sh sh -c 'echo re''ady; cat' | tr a-z A-Z; echo pi''pe-$?\n")
    terminal.wait_for("READY")
    terminal.type("through\n\x04")
    terminal.wait_for("THROUGH")
    terminal.wait_for("pipe-0")
    assert "interrupted" not in terminal.said
    terminal.close()


# ---- a look at locks ----


def test_show(cohort, other):
    name = "show:{x}\x1b[31m"
    token, _ = other.call("LOCK.ACQUIRE", name, "me", "PX", 60000, "NOTE", "a note")
    shown = lock("info", name, "--url", url(cohort))
    assert shown.returncode == 0 and "\x1b" not in shown.stdout
    assert "exclusive" in shown.stdout and "a note" in shown.stdout and str(token) in shown.stdout
    assert '"owner": "me"' in lock("info", name, "--json", "--url", url(cohort)).stdout
    listed = lock("list", "show:*", "--json", "--url", url(cohort)).stdout
    assert '"mode": "exclusive"' in listed
    assert lock("list", "nothing:*", "--json", "--url", url(cohort)).stdout == "[]\n"
    other.call("LOCK.RELEASE", name, "me", token)
    assert "free" in lock("info", name, "--url", url(cohort)).stdout
    assert "released" in lock("history", name, "--url", url(cohort)).stdout
    assert '"why": "released"' in lock("history", name, "--json", "--url", url(cohort)).stdout
    assert lock("history", "never", "--url", url(cohort)).stdout == ""


def test_many_are_listed(three):
    """Over several shards and pages; the locks go again, for tests of this cluster that count them."""
    names = [f"many:{n}" for n in range(300)]
    with three[1].connect() as client:
        tokens = [client.call("LOCK.ACQUIRE", name, "me", "PX", 60000)[0] for name in names]
        lines = lock("list", "many:*", "--url", url_of(three)).stdout.splitlines()
        for name, token in zip(names, tokens, strict=True):
            assert client.call("LOCK.RELEASE", name, "me", token) == 1
    assert lines[0].startswith("NAME") and sorted(line.split()[0] for line in lines[1:]) == sorted(names)


# ---- elections ----


class Candidate(Holder):
    """A running `cohort elect run`."""

    action = "elect"


@pytest.fixture
def elections(cohort):
    with cohort.connect() as client:
        if client.call("COMMAND", "INFO", "ELECT.CAMPAIGN") in ([None], [[]]):
            pytest.skip("no elections yet")
    return cohort


def elect(*words):
    return subprocess.run([servers.COHORT, "elect", *words], capture_output=True, text=True, timeout=120)


def test_one_leads(elections):
    address = url(elections)
    assert elect("leader", "billing", "--url", address).returncode == 1
    first = Candidate(address, "billing", "sh", "-c", "echo $COHORT_TOKEN; read line; exit 6", stdin=subprocess.PIPE,
                      options=["--value", "10.0.0.1:80", "--ttl", "2s"])  # fmt: skip
    token = first.process.stdout.readline().strip()
    leader = elect("leader", "billing", "--url", address)
    assert leader.returncode == 0 and "10.0.0.1:80" in leader.stdout and token in leader.stdout
    assert f'"token": {token}' in elect("leader", "billing", "--json", "--url", address).stdout
    code, output, errors = Candidate(address, "billing", "echo", "not me", options=["--wait", "0"]).ended()
    assert (code, output) == (75, "") and "cohort elect leader" in errors
    second = Candidate(address, "billing", "sh", "-c", "echo $COHORT_TOKEN")
    time.sleep(3)  # longer than a term
    assert second.process.poll() is None
    first.process.stdin.write("\n")
    assert first.ended()[0] == 6
    code, output, _ = second.ended()
    assert code == 0 and int(output) > int(token)
    assert elect("leader", "billing", "--json", "--url", address).stdout == "null\n"


def test_a_leader_is_killed(elections, tmp_path):
    job = Job(url(elections), "killed", tmp_path / "ticks", options=["--ttl", "2s"], action="elect")
    second = Candidate(url(elections), "killed", *tell_time())
    job.kill()
    until(lambda: gone(job.path))
    code, output, _ = second.ended()
    assert code == 0 and job.last() < int(output)


# ---- wrong use ----


@pytest.mark.parametrize(
    "words, said",
    [
        (["run"], "the name is missing"),
        (["run", "a"], "the command is missing"),
        (["run", "a", "--"], "the command is missing"),
        (["run", "a", "b", "--", "true"], "unexpected argument 'b'"),
        (["run", "a", "--ttl", "10ms", "--", "true"], "--ttl: '10ms' is not between 1s and 1d"),
        (["run", "a", "--wait", "400d", "--", "true"], "--wait: '400d' is not between 0 and 365d"),
        (["run", "a", "--permits", "2000000000", "--limit", "2000000000", "--", "true"], "between 1 and 1073741824"),
        (["run", "a", "--permits", "1", "--", "true"], "are given together"),
        (["run", "a", "--permits", "3", "--limit", "2", "--", "true"], "must not be more than --limit"),
        (["run", "a", "--shared", "--permits", "1", "--limit", "2", "--", "true"], "not both"),
        (["run", "a", "--grace", "6s", "--", "true"], "--grace must not be more than half of --ttl"),
        (["run", "a", "--url", "http://x", "--", "true"], "the URL 'http://x' is wrong: the scheme is cohort://, or an engine's"),
        (["run", "a", "--url", "cohort://", "--", "true"], "the URL 'cohort://' is wrong: a host is missing\n"),
        (["run", "a", "--url", "file://x", "--", "true"], "cohort lock run: the URL 'file://x' is wrong: file:// wants the whole path"),
        (["rum"], "did you mean 'run'?"),
        ([], "say what to do"),
        (["info"], "the name of the lock is missing"),
    ],
)
def test_wrong_use(words, said):
    done = lock(*words)
    assert (done.returncode, done.stdout) == (64, "") and said in done.stderr


def test_nobody_there(tmp_path):
    nobody = f"cohort://127.0.0.1:{servers.free_port()}?timeout=200ms"
    for words in (["run", "a", "--url", nobody, "--", "true"], ["info", "a", "--url", nobody], ["list", "--url", nobody]):
        done = lock(*words)
        assert done.returncode == 69 and "no node can be reached" in done.stderr


def test_password(new_server, monkeypatch):
    """From the environment; without it, or with another one, the error says what to do."""
    server = new_server("cohort", "--requirepass", "secret")
    commands = (["run", "a", "--url", url(server), "--", "true"], ["info", "a", "--url", url(server)])
    for password, said in (("", "NOAUTH a password is wanted"), ("wrong", "WRONGPASS what COHORT_PASSWORD holds")):
        monkeypatch.setenv("COHORT_PASSWORD", password)
        for words in commands:
            done = lock(*words)
            assert done.returncode == 77 and said in done.stderr and "COHORT_PASSWORD" in done.stderr
    monkeypatch.setenv("COHORT_PASSWORD", "secret")
    for words in commands:
        assert lock(*words).returncode == 0
    open_to_all = new_server("cohort")
    assert lock("run", "a", "--url", url(open_to_all), "--", "true").returncode == 0


def test_names_that_are_refused(cohort):
    done = lock("run", "n" * 1025, "--url", url(cohort), "--", "true")
    assert done.returncode == 69 and len(done.stderr.splitlines()) == 1
