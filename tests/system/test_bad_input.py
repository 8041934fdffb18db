"""What strangers, broken clients and broken disks do: nothing but the promised may stop, and nobody else may suffer."""

import contextlib
import os
import resource
import socket
import subprocess
import threading
import time

import pytest
import resp


def resident_kb(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def raw(port, data, size):
    """Sends bytes, reads until the server closes, or falls silent behind so many."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(data)
        out = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while len(out) < size and (part := connection.recv(65536)):
                out += part
            connection.settimeout(0.1)
            while part := connection.recv(65536):
                out += part
        return out


def still_well(server):
    with resp.Connection(server.port) as other:
        assert other.call("PING") == "PONG"


@pytest.mark.parametrize(
    "data, answer",
    [
        (b"*1\r\n$999999999999\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n$536870913\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n$-5\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*99999999999\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n+PING\r\n", b"-ERR Protocol error: expected '$', got '+'\r\n"),
        (b"*1\r\n*1\r\n*1\r\n*1\r\n", b"-ERR Protocol error: expected '$', got '*'\r\n"),
        (b"*-5\r\n*0\r\n\r\nPING\r\n", b"+PONG\r\n"),
        (b'SET "a\r\n', b"-ERR Protocol error: unbalanced quotes in request\r\n"),
        (b"x" * 70000, b"-ERR Protocol error: too big inline request\r\n"),
        (b"*" + b"1" * 70000, b"-ERR Protocol error: too big mbulk count string\r\n"),
    ],
)
def test_malformed_requests_get_redis_words(server, data, answer):
    assert raw(server.port, data, len(answer)) == answer
    still_well(server)


def test_a_lower_bulk_limit_holds(new_server):
    server = new_server("cohort", "--proto-max-bulk-len", "1mb")
    answer = b"-ERR Protocol error: invalid bulk length\r\n"
    assert raw(server.port, b"*2\r\n$4\r\nECHO\r\n$1048577\r\n", len(answer)) == answer
    with resp.Connection(server.port) as connection:
        assert len(connection.call("ECHO", b"x" * 1048576)) == 1048576


def test_a_request_larger_than_the_query_buffer_is_cut_off(new_server):
    server = new_server("cohort", "--client-query-buffer-limit", "1mb")
    part = b"$100000\r\n" + b"x" * 100000 + b"\r\n"
    with pytest.raises((ConnectionError, BrokenPipeError)):
        with resp.Connection(server.port) as connection:
            connection.send(b"*20\r\n" + part * 20)
            reply = connection.read()
            assert isinstance(reply, resp.Error)
            connection.read()
    still_well(server)


def test_an_announced_size_costs_nothing_before_its_bytes(cohort):
    before = resident_kb(cohort.pid)
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", cohort.port)))
            connection.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$536870912\r\nhello")
        still_well(cohort)
        assert resident_kb(cohort.pid) - before < 32 * 1024


def test_half_a_command_then_silence(new_server):
    server = new_server("cohort", "--timeout", "1")
    with socket.create_connection(("127.0.0.1", server.port), 30) as silent:
        silent.sendall(b"*2\r\n$3\r\nGET\r\n$100\r\nabc")
        assert silent.recv(10) == b""  # closed by the idle timeout
    still_well(server)


def test_a_command_in_single_bytes(cohort):
    with socket.create_connection(("127.0.0.1", cohort.port)) as slow:
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\nxy\r\n":
            slow.sendall(bytes([byte]))
        assert slow.recv(100) == b"+OK\r\n"


def test_half_closed_clients_get_their_replies(server):
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"SET a 1\r\nGET a\r\n")
        connection.shutdown(socket.SHUT_WR)
        out = b""
        while part := connection.recv(1000):
            out += part
    assert out == b"+OK\r\n$1\r\n1\r\n"


@pytest.mark.parametrize(
    ("command", "count", "size"),
    [(b"INCR n", 40_000, None), (b"GET big", 300, 20_010), (b"SET n 1\r\nGET big", 200, 20_015), (b"ECHO x", 50_000, 7),
     (b"INCR", 1, None)],
)  # fmt: skip
def test_half_closed_clients_get_all_replies_however_many(cohort, command, count, size):
    """More than is taken at once: of pending writes, of bytes of replies, of commands."""
    with resp.Connection(cohort.port) as connection:
        assert connection.call("SET", "big", b"x" * 20_000) == "OK"
    with socket.create_connection(("127.0.0.1", cohort.port), 60) as connection:
        sender = threading.Thread(
            target=lambda: (connection.sendall((command + b"\r\n") * count), connection.shutdown(socket.SHUT_WR))
        )
        sender.start()
        time.sleep(0.3)  # the replies have to wait
        out = bytearray()
        while part := connection.recv(1 << 20):
            out += part
        sender.join()
    if size:
        assert len(out) == count * size
    elif count > 1:
        assert out.endswith(b":%d\r\n" % count)


def test_a_client_that_never_reads_is_bounded_and_alone(new_server):
    server = new_server("cohort")
    with resp.Connection(server.port) as writer:
        assert writer.call("SET", "big", b"x" * 100_000) == "OK"
    before = resident_kb(server.pid)
    with socket.create_connection(("127.0.0.1", server.port)) as deaf:
        deaf.settimeout(2)
        request = resp.encode("GET", "big") * 1000
        with contextlib.suppress(TimeoutError):
            for _ in range(2000):  # would be 200 GB of replies
                deaf.sendall(request)
        still_well(server)
        assert resident_kb(server.pid) - before < 64 * 1024


def test_a_monitor_that_never_reads_is_cut_off(new_server):
    server = new_server("cohort", "--client-output-buffer-limit", "1mb")
    with socket.create_connection(("127.0.0.1", server.port)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(b"MONITOR\r\n")
        time.sleep(0.2)
        with resp.Connection(server.port) as talker:
            for _ in range(300):
                talker.calls([("ECHO", b"y" * 10000)] * 10)
                if "clients_cut_output:1" in talker.call("INFO", "stats").decode():
                    break
            else:
                pytest.fail("the slow monitor was never cut off")
        still_well(server)


def test_all_clients_buffers_together_are_bounded(new_server):
    server = new_server("cohort", "--maxmemory-clients", "16mb")
    with contextlib.ExitStack() as stack:
        greedy = []
        for _ in range(10):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.settimeout(5)
            with contextlib.suppress(OSError):
                connection.sendall(b"*2\r\n$4\r\nECHO\r\n$100000000\r\n" + b"z" * 4_000_000)
            greedy.append(connection)
        deadline = time.monotonic() + 60
        with resp.Connection(server.port) as watcher:
            while "clients_cut_memory:0" in watcher.call("INFO", "stats").decode():
                assert time.monotonic() < deadline
                time.sleep(0.1)
    still_well(server)


def test_ten_thousand_idle_connections(new_server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 10_000
    if hard < wanted + 200:
        pytest.skip(f"the limit of open files is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, wanted + 200), hard))
    server = new_server("cohort", "--maxclients", "10100")
    before = resident_kb(server.pid)
    try:
        with contextlib.ExitStack() as stack:
            idle = [
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 30)) for _ in range(wanted)
            ]
            for connection in idle[::100]:
                connection.sendall(b"PING\r\n")
                assert connection.recv(100) == b"+PONG\r\n"
            still_well(server)
            grown_kb = resident_kb(server.pid) - before
        assert grown_kb < 4 * wanted, f"{grown_kb} KB for {wanted} idle connections"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_maxclients_refuses_with_redis_words(new_server):
    server = new_server("cohort", "--maxclients", "3")
    answer = b"-ERR max number of clients reached\r\n"
    kept = []
    while len(kept) < 3:  # who looked whether it is up may not be gone yet
        one = resp.Connection(server.port)
        with contextlib.suppress(OSError):
            kept += [one] if one.call("PING") == "PONG" else []
    assert raw(server.port, b"", len(answer)) == answer
    assert [one.call("PING") for one in kept] == ["PONG"] * 3
    for one in kept:
        one.close()


def test_maxmemory_refuses_writes_and_serves_reads(new_server):
    server = new_server("cohort", "--maxmemory", "1mb")
    with resp.Connection(server.port) as connection:
        for n in range(100):
            reply = connection.call("SET", f"k{n}", b"x" * 50_000)
            if reply != "OK":
                break
        assert reply == "OOM command not allowed when used memory > 'maxmemory'."
        assert n > 10
        assert len(connection.call("GET", "k0")) == 50_000
        assert connection.call("MULTI") == "OK"
        assert connection.call("SET", "k0", "1").startswith("OOM ")
        assert connection.call("EXEC").startswith("EXECABORT ")
        assert connection.call("DEL", *[f"k{i}" for i in range(n)]) == n
        assert connection.call("SET", "k", "v") == "OK"


def test_passwords(new_server):
    server = new_server("cohort", "--requirepass", "open sesame")
    with resp.Connection(server.port) as connection:
        assert connection.call("GET", "a") == "NOAUTH Authentication required."
        assert connection.call("AUTH", "wrong").startswith("WRONGPASS ")
        assert connection.call("AUTH", "open sesame") == "OK"
        assert connection.call("GET", "a") is None
    oversize = b"*1\r\n$20000\r\n"
    answer = b"-ERR Protocol error: unauthenticated bulk length\r\n"
    assert raw(server.port, oversize, len(answer)) == answer


@pytest.mark.parametrize("size", [300, 20_000, 700_000, 3_000_000])
def test_a_full_disk_refuses_writes_and_loses_nothing(new_server, small_disk, size):
    server = new_server("cohort", "--log-segment-size", "1mb", folder=small_disk / "node")
    acknowledged = {}
    batch = max(1, 100_000 // size)
    reply = "OK"
    with resp.Connection(server.port) as connection:
        while reply == "OK":
            keys = [b"k%d" % (len(acknowledged) + i) for i in range(batch)]
            values = [os.urandom(size) for _ in keys]
            for key, value, reply in zip(keys, values, connection.calls([["SET", *pair] for pair in zip(keys, values)])):
                if reply != "OK":
                    break
                acknowledged[key] = value
        assert reply.startswith("MISCONF the disk is full; the command was not executed"), reply
        assert len(acknowledged) * size > 2_000_000
        assert connection.call("MULTI") == "OK"
        assert connection.call("SET", "a", os.urandom(3_500_000)) == "QUEUED"
        assert connection.call("CLIENT", "ID") == "QUEUED"
        assert connection.call("EXEC").startswith("MISCONF ")
        for key, value in acknowledged.items():
            assert connection.call("GET", key) == value  # reads go on
        assert connection.call("EXISTS", "a") == 0
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    with resp.Connection(server.port) as connection:
        deadline = time.monotonic() + 60
        while connection.call("SET", "again", os.urandom(size)) != "OK":  # by itself, once there is space
            assert time.monotonic() < deadline
            time.sleep(0.2)
    server.kill()
    server.start()
    with resp.Connection(server.port) as connection:
        for key, value in acknowledged.items():
            assert connection.call("GET", key) == value
