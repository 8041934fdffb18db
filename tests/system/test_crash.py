"""kill -9 under load: what was acknowledged is there, and nothing that was never sent."""

import os
import random
import socket
import subprocess
import threading
import time

import pytest
import resp

WRITERS = 4
ROUNDS = int(os.environ.get("COHORT_CRASH_ROUNDS", 6))


class Writer(threading.Thread):
    """Counts its own keys upwards, one pipeline at a time, and remembers what it sent and what was acknowledged."""

    def __init__(self, number, port, seed):
        super().__init__(daemon=True)
        self.number, self.port = number, port
        self.random = random.Random(seed)
        self.sent = {}
        self.acknowledged = {}

    def run(self):
        try:
            with resp.Connection(self.port, timeout=30) as connection:
                while True:
                    self.one_pipeline(connection)
        except (ConnectionError, OSError):
            pass

    def one_pipeline(self, connection):
        keys = [b"w%d:%d" % (self.number, self.random.randrange(50)) for _ in range(self.random.randrange(1, 20))]
        values = []
        for key in keys:
            self.sent[key] = self.sent.get(key, 0) + 1
            values.append(self.sent[key])
        connection.send(b"".join(resp.encode("SET", key, value) for key, value in zip(keys, values, strict=True)))
        for key, value in zip(keys, values, strict=True):
            assert connection.read() == "OK"
            self.acknowledged[key] = value


def check(port, acknowledged, sent):
    with resp.Connection(port) as connection:
        for key, value in acknowledged.items():
            found = int(connection.call("GET", key) or 0)
            assert value <= found <= sent[key], f"{key}: acknowledged {value}, sent {sent[key]}, found {found}"
        keys = connection.call("KEYS", "*")
        assert set(keys) <= set(sent)


@pytest.fixture(params=["one", "three"])
def nodes(request, new_server, new_cluster):
    """nodes(arguments): a node, or a cluster of three; either has kill() and start(), and these are its nodes."""

    def make(*arguments):
        if request.param == "three":
            cluster = new_cluster(arguments=arguments)
            return cluster, cluster.nodes
        server = new_server("cohort", *arguments)
        return server, [server]

    return make


def test_kill_9_in_a_loop_under_load(nodes):
    server, all_nodes = nodes("--log-segment-size", "256kb", "--snapshot-log-size", "1mb")
    ports = [node.port for node in all_nodes]
    acknowledged, sent = {}, {}
    for round_number in range(ROUNDS):
        writers = [Writer(n, ports[n % len(ports)], round_number * WRITERS + n) for n in range(WRITERS)]
        for writer in writers:
            writer.sent = {key: count for key, count in sent.items() if key.startswith(b"w%d:" % writer.number)}
            writer.start()
        time.sleep(random.Random(round_number).uniform(0.2, 1.0))
        server.kill()
        for writer in writers:
            writer.join(30)
            assert not writer.is_alive()
            sent.update(writer.sent)
            acknowledged.update(writer.acknowledged)
        server.start()
        check(ports[round_number % len(ports)], acknowledged, sent)
    assert sum(acknowledged.values()) > 1000


def test_sigterm_answers_what_was_received(new_server):
    server = new_server("cohort")
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        connection.sendall(resp.encode("SET", "a", "1") * 1000)
        assert connection.recv(5) == b"+OK\r\n"
        assert server.stop() == 0
        out = b""
        while part := connection.recv(65536):
            out += part
    assert out == b"+OK\r\n" * 999
    server.start()
    with resp.Connection(server.port) as connection:
        assert connection.call("GET", "a") == b"1"


def test_time_to_live_is_neither_reset_nor_lost_by_a_restart(nodes):
    server, (first, *_) = nodes()
    with first.connect() as connection:
        assert connection.call("SET", "short", "1", "PX", 2500) == "OK"
        assert connection.call("SET", "long", "1", "EX", 1000) == "OK"
    time.sleep(1.2)
    server.kill()
    server.start()
    with first.connect() as connection:
        left = connection.call("PTTL", "short")
        assert 0 < left <= 2500
        assert connection.call("PTTL", "long") <= 1_000_000
        deadline = time.monotonic() + 10
        while connection.call("EXISTS", "short") == 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_flipped_bit_in_the_synced_log_stops_the_node_with_file_and_offset(new_server):
    server = new_server("cohort")
    with resp.Connection(server.port) as connection:
        for n in range(50):
            assert connection.call("SET", f"key{n}", "precious" * 10) == "OK"
    server.kill()
    segment = sorted((server.data / "worker-0").glob("*.log"))[0]
    data = bytearray(segment.read_bytes())
    at = data.find(b"precious")
    data[at] ^= 1
    segment.write_bytes(data)
    try:
        server.start()
    except RuntimeError as error:
        text = str(error)
        assert segment.name in text and "damaged at byte" in text, text
    else:
        raise AssertionError("it started on damaged data")


def test_a_second_process_on_the_same_folder_is_refused(new_server):
    server = new_server("cohort")
    second = new_server("cohort", folder=server.folder, start=False)
    ended = subprocess.run(second.command_line(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 69
    assert "another process serves this data folder" in ended.stderr


def test_a_port_in_use_is_one_clear_line(new_server):
    server = new_server("cohort")
    second = new_server("cohort", port=server.port, start=False)
    ended = subprocess.run(second.command_line(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 69
    assert ended.stderr.startswith(f"cohort serve: cannot listen on 127.0.0.1:{server.port}: in use")
    assert ended.stderr.count("\n") == 1


def test_a_folder_of_another_node_is_refused(new_server):
    server = new_server("cohort")
    server.stop()
    other = new_server("cohort", "--id", "2", folder=server.folder, start=False)
    ended = subprocess.run(other.command_line(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 78
    assert "belongs to node 1, not to node 2" in ended.stderr
