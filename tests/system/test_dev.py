"""cohort dev: nodes as child processes, which start, die, come back and end with it."""

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


class Dev:
    """A running `cohort dev` in a process group of its own, as a shell starts it."""

    def __init__(self, folder, *arguments, port=None):
        self.port = port or servers.free_port()
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

    def node_pid(self, password=None):
        with redis.Redis(port=self.port, password=password) as client:
            return client.info("server")["process_id"]

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
    assert f"redis-cli -p {dev.port} set greeting hello" in text and str(dev.data) in text
    pid = dev.node_pid()
    assert redis.Redis(port=dev.port).set("a", 1)
    assert dev.end(with_signal) == 0
    assert not exists(pid)
    assert f"node 1 | " in dev.said() and dev.said().endswith("stopped\n")
    assert dev.said().count("received") == 1  # the node was told once
    again = Dev(dev.folder)
    try:
        assert redis.Redis(port=again.up().port).get("a") == b"1"
    finally:
        assert again.end() == 0


def test_nodes_die_with_it(start):
    dev = start().up()
    pid = dev.node_pid()
    dev.process.kill()
    dev.process.wait()
    dev.wait_until(lambda: not exists(pid), "the node dies")


def test_says_who_died_and_ends_when_nobody_is_left(start):
    dev = start().up()
    os.kill(dev.node_pid(), signal.SIGKILL)
    assert dev.process.wait(SECONDS) not in (0, None)
    assert f"cohort dev: node 1 (port {dev.port}) died: killed by signal 9 (Killed); no node is left\n" in dev.said()


def test_restart(start):
    dev = start("--restart").up()
    client = redis.Redis(port=dev.port, retry_on_timeout=True)
    for round in range(3):
        assert client.set("round", round)
        pid = dev.node_pid()
        os.kill(pid, signal.SIGKILL)

        def is_back(pid=pid):
            try:
                return dev.node_pid() != pid
            except redis.ConnectionError:
                return False

        dev.wait_until(is_back, "the node is back")
        assert client.get("round") == b"%d" % round
    assert dev.said().count("died: killed by signal 9 (Killed); it is started again\n") == 3
    assert dev.end() == 0


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
        return redis.Redis(port=dev.port).ping()
    except redis.ConnectionError:
        return False


def test_port_in_use(start):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
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
    assert "another process serves this data folder" in one_line(second.said())
    assert first.end() == 0


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--nodes", "0"], "--nodes: '0' is not between 1 and 9"),
        (["--port", "65536"], "not between 1 and 65535"),
        (["--nodes", "3"], "leave --nodes and --shards at 1"),
        (["--shards", "2"], "leave --nodes and --shards at 1"),
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
    assert dev.node_pid("secret") > 0
    assert dev.end() == 0
    wrong = start("--", "--no-such-option")
    assert wrong.process.wait(SECONDS) == 64
    assert "node 1 | cohort serve: unknown option --no-such-option" in wrong.said()


def test_goes_on_when_nobody_reads_its_output(start, tmp_path):
    reader, writer = os.pipe()
    port = servers.free_port()
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
            except redis.ConnectionError:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.02)
        assert redis.Redis(port=port).get("a") == b"1"
    finally:
        process.terminate()
        process.wait(SECONDS)
