"""cohort dev: nodes as child processes, which start, die, come back and end with it."""

import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest
import redis
import servers

SECONDS = 60
NODES = 3  # as it has when nobody says otherwise
OFFSETS = [1, 2, 10000, 10001, 10002]  # of the other ports that it takes, seen from the first


class Dev:
    """A running `cohort dev` in a process group of its own, as a shell starts it."""

    def __init__(self, folder, *arguments, port=None):
        self.port = port or servers.free_port(*OFFSETS)
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.out, self.err = folder / "out.txt", folder / "err.txt"
        self.data = folder / "data"
        command = [str(servers.COHORT), "dev", "--port", str(self.port), "--data", str(self.data), *map(str, arguments)]
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder, preexec_fn=self.in_child
            )

    @staticmethod
    def in_child():
        os.setpgid(0, 0)
        servers.end_with_parent()

    def wait_until(self, condition, what):
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}\n{self.said()}"
            time.sleep(0.02)

    def up(self):
        self.wait_until(lambda: self.process.poll() is not None or b"stop it:" in self.out.read_bytes(), "up")
        assert self.process.poll() is None, self.said()
        return self

    def said(self):
        return self.err.read_text(errors="replace")

    def client(self, node=1, **how):
        return redis.Redis(port=self.port + node - 1, **how)

    def node_pid(self, node=1, password=None):
        with self.client(node, password=password) as client:
            return client.info("server")["process_id"]

    def status(self):
        done = subprocess.run(
            [str(servers.COHORT), "status", "--json", f"127.0.0.1:{self.port}"], capture_output=True, text=True, timeout=60
        )
        return done.returncode, json.loads(done.stdout)

    def end(self, with_signal=signal.SIGINT):
        os.killpg(self.process.pid, with_signal)  # as the terminal sends Ctrl-C: to the whole group
        return self.process.wait(SECONDS)


@pytest.fixture
def start(tmp_path):
    made = []

    def make(*arguments, **options):
        made.append(Dev(tmp_path / f"dev{len(made)}", *arguments, **options))
        return made[-1]

    yield make
    for dev in made:
        if dev.process.poll() is None:
            dev.process.kill()
            dev.process.wait()


def exists(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def one_line(text):
    assert text.count("\n") == 1 and text.endswith("\n"), text
    return text


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_starts_and_stops_cleanly(start, with_signal):
    dev = start().up()
    text = dev.out.read_text()
    assert "Cohort is up: 3 nodes, 4 shards." in text and str(dev.data) in text
    assert f"redis-cli -p {dev.port} set greeting hello" in text and f"redis-cli -p {dev.port + 2} get greeting" in text
    assert f"{servers.COHORT} status 127.0.0.1:{dev.port}" in text
    pids = [dev.node_pid(node) for node in (1, 2, 3)]
    assert dev.client(1).set("a", 1) and dev.client(2).set("b", 2)
    assert dev.client(3).get("a") == b"1" and dev.client(1).get("b") == b"2"
    dev.wait_until(lambda: dev.status()[0] == 0, "the group of all nodes has a leader too")
    _, status = dev.status()
    assert len(status["nodes"]) == 3 and len(status["shards"]) == 4
    assert dev.end(with_signal) == 0
    assert not any(map(exists, pids))
    for node in (1, 2, 3):  # each was told once
        assert len(re.findall(rf"^node {node} \| .* received$", dev.said(), re.MULTILINE)) == 1
        assert len(re.findall(rf"^node {node} \| .* stopped$", dev.said(), re.MULTILINE)) == 1
    again = Dev(dev.folder, port=dev.port)
    try:
        assert again.up().client(3).get("a") == b"1"
    finally:
        assert again.end() == 0


def test_nodes_die_with_it(start):
    dev = start().up()
    pids = [dev.node_pid(node) for node in (1, 2, 3)]
    dev.process.kill()
    dev.process.wait()
    dev.wait_until(lambda: not any(map(exists, pids)), "the nodes die")


def test_says_who_died_and_goes_on(start):
    dev = start().up()
    assert dev.client(1).set("a", 1)
    os.kill(dev.node_pid(2), signal.SIGKILL)
    said = f"cohort dev: node 2 (port {dev.port + 1}) died: killed by signal 9 (Killed); the others go on"
    dev.wait_until(lambda: said in dev.said(), "its death is told")
    dev.wait_until(lambda: dev.status()[0] == 75, "the others lead all shards")
    assert [node["up"] for node in dev.status()[1]["nodes"]] == [True, False, True]
    assert dev.client(3).get("a") == b"1" and dev.client(1).set("a", 2)
    assert dev.end() == 0


def test_ends_when_nobody_is_left(start):
    dev = start("--nodes", 1).up()
    assert "1 node, 4 shards." in dev.out.read_text()
    os.kill(dev.node_pid(), signal.SIGKILL)
    assert dev.process.wait(SECONDS) not in (0, None)
    assert f"cohort dev: node 1 (port {dev.port}) died: killed by signal 9 (Killed); no node is left\n" in dev.said()


def test_restart(start):
    dev = start("--restart").up()
    for round, node in enumerate([1, 3, 3]):
        assert dev.client(2).set("round", round)
        pid = dev.node_pid(node)
        os.kill(pid, signal.SIGKILL)
        back = f"cohort dev: node {node} (port {dev.port + node - 1}) serves again\n"
        times = dev.said().count(back)
        dev.wait_until(lambda back=back, times=times: dev.said().count(back) > times, "the node is back")
        assert dev.node_pid(node) != pid
        assert dev.client(node).get("round") == b"%d" % round
    assert dev.said().count("died: killed by signal 9 (Killed); it is started again\n") == 3
    dev.wait_until(lambda: dev.status()[0] == 0, "all is well")
    assert dev.end() == 0


def test_what_would_not_start_again_is_left_alone(start):
    dev = start("--restart").up()
    log = dev.data / "node-2" / "worker-0" / "0000000000000001.log"
    dev.wait_until(lambda: dev.status()[0] == 0, "all is well")
    pid = dev.node_pid(2)
    with open(log, "r+b") as file:  # which is read again by the next start
        byte = os.pread(file.fileno(), 1, 4096 + 50)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1]), 4096 + 50)
    os.kill(pid, signal.SIGKILL)
    said = f"cohort dev: node 2 (port {dev.port + 1}) died: exit status 65; it would not start again, as it says above"
    dev.wait_until(lambda: said in dev.said(), "it is given up")
    assert re.search(r"^node 2 \| .*0000000000000001.log: damaged at byte ", dev.said(), re.MULTILINE)
    time.sleep(1)
    assert dev.said().count("node 2 (port") == 2  # its death, and this
    assert dev.client(3).set("a", 1) and dev.end() == 0


def test_stop_while_a_restart_is_due(start):
    dev = start("--restart").up()
    for _ in range(4):  # the delay grows
        died = dev.said().count("died")
        dev.wait_until(lambda: answers(dev), "the node is back")
        os.kill(dev.node_pid(), signal.SIGKILL)
        dev.wait_until(lambda died=died: dev.said().count("died") > died, "its death is told")
    assert dev.end() == 0
    assert not answers(dev)


def answers(dev):
    try:
        return dev.client().ping()
    except redis.ConnectionError:
        return False


@pytest.mark.parametrize("offset", [2, 10001])
def test_one_of_the_ports_in_use(start, offset):
    port = servers.free_port(*OFFSETS)
    with socket.create_server(("127.0.0.1", port + offset)):
        dev = start(port=port)
        assert dev.process.wait(SECONDS) == 69
        assert f"cohort dev: port {port + offset} is in use; stop" in one_line(dev.said())
    assert not dev.data.exists()


def test_a_folder_of_another_cluster(start):
    first = start().up()
    assert first.end() == 0
    for arguments in (["--nodes", 5], ["--shards", 8]):
        other = start("--data", first.data, *arguments, port=first.port)
        assert other.process.wait(SECONDS) == 78
        assert "the cluster was founded" in other.said()


def test_says_whom_it_waits_for(start, tmp_path):
    settings = tmp_path / "settings"
    os.mkfifo(settings)  # the nodes wait until somebody opens the other end
    dev = start("--", "--config", settings)
    said = f"cohort dev: it takes long: waiting for node 1: no answer from 127.0.0.1:{dev.port}: connection refused"
    dev.wait_until(lambda: said in dev.said(), "it says whom it waits for")
    settings.write_text("")
    dev.up()
    assert dev.end() == 0


def test_port_in_use(start):
    port = servers.free_port(*OFFSETS)
    with socket.create_server(("127.0.0.1", port)):
        dev = start(port=port)
        assert dev.process.wait(SECONDS) == 69
        assert one_line(dev.said()) == (
            f"cohort dev: port {port} is in use; stop the program that has it, or choose others with --port\n"
        )
    assert not dev.data.exists() and dev.out.read_bytes() == b""


def test_no_data_folder(start, tmp_path):
    (tmp_path / "file").write_text("")
    dev = start("--data", tmp_path / "file" / "data")
    assert dev.process.wait(SECONDS) == 73
    assert re.fullmatch(r"cohort dev: cannot make the data folder \S+: Not a directory\n", dev.said())


def test_data_folder_in_use(start):
    first = start().up()
    second = start("--data", first.data)
    assert second.process.wait(SECONDS) == 69
    assert "another process serves this data folder" in second.said()
    assert first.end() == 0


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--nodes", "0"], "--nodes: '0' is not between 1 and 9"),
        (["--port", "65536"], "not between 1 and 65535"),
        (["--nodes", "10"], "--nodes: '10' is not between 1 and 9"),
        (["--shards", "1025"], "--shards: '1025' is not between 1 and 1024"),
        (["--port", "55534"], "--port 55534 is too high: the nodes need ports up to 65536"),
    ],
)
def test_wrong_usage(start, arguments, said):
    dev = start(*arguments)
    assert dev.process.wait(SECONDS) == 64
    assert said in one_line(dev.said())


def test_options_for_the_nodes(start):
    dev = start("--", "--requirepass", "secret").up()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=dev.port).ping()
    assert dev.node_pid(password="secret") > 0
    assert dev.end() == 0
    wrong = start("--", "--no-such-option")
    assert wrong.process.wait(SECONDS) == 64
    assert " | cohort serve: unknown option --no-such-option" in wrong.said()


def test_goes_on_when_nobody_reads_its_output(start, tmp_path):
    reader, writer = os.pipe()
    port = servers.free_port(*OFFSETS)
    process = subprocess.Popen(
        [str(servers.COHORT), "dev", "--port", str(port), "--data", str(tmp_path / "data"), "--", "--loglevel", "debug"],
        stdout=writer, stderr=writer, preexec_fn=servers.end_with_parent)  # fmt: skip
    os.close(writer)
    os.close(reader)
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                assert redis.Redis(port=port).set("a", 1)
                break
            except (redis.ConnectionError, redis.ResponseError):  # not there, or not founded yet
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.02)
        assert redis.Redis(port=port).get("a") == b"1"
    finally:
        process.terminate()
        process.wait(SECONDS)
