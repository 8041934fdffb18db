"""cohort balance moves bytes: all of them, in order, both ways, however slowly or suddenly either side behaves."""

import contextlib
import hashlib
import random
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
from balancing import Backend, Balancer, echo, eventually, receive_all, receive_exactly, reset
from servers import COHORT, free_port, large

NO_CHECKS = "--check-interval=0"


def digest_at_end(connection):
    """Reads to the end, then says what it read."""
    seen = hashlib.sha256()
    size = 0
    while data := connection.recv(1 << 20):
        seen.update(data)
        size += len(data)
    connection.sendall(f"{size} {seen.hexdigest()}".encode())


def pour(size):
    def serve(connection):
        block = bytes(range(256)) * 4096
        left = size
        while left > 0:
            connection.sendall(block[: min(left, len(block))])
            left -= len(block)

    return serve


def test_echo():
    with Backend(echo) as backend, Balancer(backend.option) as balancer:
        with balancer.connect() as client:
            for size in (1, 100, 65535, 65536, 65537, 300000):
                data = random.Random(size).randbytes(size)
                threading.Thread(target=client.sendall, args=(data,)).start()
                assert receive_exactly(client, size) == data
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        eventually(lambda: balancer.metrics()["connections"] == 0)
        numbers = balancer.metrics()
        assert numbers["bytes_in_total"] == numbers["bytes_out_total"] == 496709
        assert numbers["resets_total"] == 0
        assert balancer.stop() == 0


def test_each_direction_ends_by_itself():
    with Backend(digest_at_end) as backend, Balancer(backend.option, NO_CHECKS) as balancer:
        for size in (0, 1, 3000000):
            with balancer.connect() as client:
                data = random.Random(size).randbytes(size)
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                assert receive_all(client).decode() == f"{size} {hashlib.sha256(data).hexdigest()}"

    def ends_first(connection):
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        heard.append(receive_all(connection))

    heard = []
    with Backend(ends_first) as backend, Balancer(backend.option, NO_CHECKS) as balancer:
        with balancer.connect() as client:
            assert receive_all(client) == b"bye"
            client.sendall(b"still here")
        eventually(lambda: heard == [b"still here"])


def test_a_gigabyte():
    """From the backend, and back to it, by pipes inside the kernel."""
    size = large(1 << 30)
    with Backend(pour(size)) as backend, Balancer(backend.option, NO_CHECKS) as balancer:
        with balancer.connect() as client:
            room = memoryview(bytearray(1 << 20))
            got = 0
            while n := client.recv_into(room):
                assert room[0] == got % 256 and room[n - 1] == (got + n - 1) % 256
                got += n
            assert got == size
        assert balancer.metrics()["bytes_out_total"] == size
        assert balancer.metrics()["bytes_spliced_total"] > size / 2
    with Backend(digest_at_end) as backend, Balancer(backend.option, NO_CHECKS) as balancer:
        with balancer.connect() as client:
            data = random.Random(1).randbytes(1 << 20)
            seen = hashlib.sha256()
            for _ in range(size >> 24):
                client.sendall(data)
                seen.update(data)
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client).decode() == f"{(size >> 24) << 20} {seen.hexdigest()}"


@pytest.mark.parametrize("who", ["client", "backend"])
def test_a_slow_reader_holds_up_the_other_side(who):
    """What is sent waits at the sender: the balancer keeps 64 KB or a pipe, the kernel its buffers."""
    size = 40 << 20
    data = random.Random(2).randbytes(1 << 20) * (size >> 20)
    sent = []
    done = threading.Event()

    def send(connection):
        view = memoryview(data)
        while len(view) > 0:
            n = connection.send(view[:65536])
            sent.append(n)
            view = view[n:]
        connection.shutdown(socket.SHUT_WR)

    def serve(connection):
        if who == "client":
            send(connection)
        else:
            done.wait(60)
            connection.sendall(hashlib.sha256(receive_all(connection)).digest())

    with Backend(serve) as backend, Balancer(backend.option, NO_CHECKS) as balancer:
        with balancer.connect() as client:
            if who == "backend":
                threading.Thread(target=send, args=(client,), daemon=True).start()
            eventually(lambda: sum(sent) > 0)
            before = -1
            while sum(sent) != before:  # until it stands still
                before = sum(sent)
                time.sleep(0.3)
            assert sum(sent) < size
            memory = balancer.resident_bytes()
            done.set()
            assert receive_all(client) == (data if who == "client" else hashlib.sha256(data).digest())
            assert balancer.resident_bytes() < memory + (4 << 20) or balancer.is_sanitized()


def test_resets_are_passed_on():
    def dies(connection):
        connection.recv(1)
        connection.sendall(b"half")
        connection.recv(1)
        reset(connection)

    def hears(connection):
        try:
            connection.recv(1)
            connection.recv(1)
            heard.append("end")
        except ConnectionResetError:
            heard.append("reset")

    heard = []
    with Backend(dies) as backend, Balancer(backend.option, NO_CHECKS) as balancer:
        with balancer.connect() as client:
            client.sendall(b"1")
            assert receive_exactly(client, 4) == b"half"
            client.sendall(b"2")
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        assert balancer.metrics()[("backend_errors_total", backend.address)] == 1
    with Backend(hears) as backend, Balancer(backend.option, NO_CHECKS) as balancer:
        client = balancer.connect()
        client.sendall(b"1")
        eventually(lambda: balancer.metrics()["bytes_in_total"] == 1)
        reset(client)
        eventually(lambda: heard == ["reset"])
        eventually(lambda: balancer.metrics()["connections"] == 0)
        assert balancer.metrics()[("backend_errors_total", backend.address)] == 0


def test_many_at_once():
    """Clients of random behaviour, over two workers; what is not broken off arrives whole."""
    kinds = random.Random(5)
    failures = []

    def one(seed):
        dice = random.Random(seed)
        try:
            with balancer.connect() as client:
                for _ in range(dice.randrange(1, 6)):
                    data = dice.randbytes(dice.choice([1, 50, 4000, 70000, 300000]))
                    sender = threading.Thread(target=client.sendall, args=(data,))
                    sender.start()
                    got = receive_exactly(client, len(data))
                    sender.join()
                    assert got == data
                if dice.random() < 0.3:
                    client.sendall(bytes(5000))
                    reset(client)
                elif dice.random() < 0.5:
                    client.shutdown(socket.SHUT_WR)
                    assert client.recv(1) == b""
        except Exception as problem:  # in a thread: told at the end
            failures.append((seed, repr(problem)))

    with Backend(echo) as first, Backend(echo) as second:
        with Balancer(first.option, second.option, "--workers=2", NO_CHECKS) as balancer:
            for _ in range(5):
                threads = [threading.Thread(target=one, args=(kinds.random(),)) for _ in range(30)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            assert failures == []
            eventually(lambda: balancer.metrics()["connections"] == 0)
            assert first.accepted + second.accepted == 150
            assert balancer.stop() == 0


def test_a_thousand_idle_connections_and_the_limit():
    with Backend(echo) as backend, Balancer(backend.option, NO_CHECKS, "--max-connections=1000") as balancer:
        before = balancer.resident_bytes()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(balancer.connect()) for _ in range(1000)]
            for i, client in enumerate(clients):
                client.sendall(b"%04d" % i)
            for i, client in enumerate(clients):
                assert receive_exactly(client, 4) == b"%04d" % i
            each = (balancer.resident_bytes() - before) / 1000
            assert each < 2000 or balancer.is_sanitized()
            with pytest.raises(ConnectionResetError), balancer.connect() as beyond:
                beyond.recv(1)
            numbers = balancer.metrics()
            assert numbers["connections"] == 1000 and numbers["refused_total"] == 1
            clients[0].close()
            eventually(lambda: balancer.metrics()["connections"] == 999)
            with balancer.connect() as again:
                again.sendall(b"room")
                assert receive_exactly(again, 4) == b"room"


def test_idle_connections_end():
    with Backend(echo) as backend, Balancer(backend.option, NO_CHECKS, "--idle-timeout=300ms") as balancer:
        with balancer.connect() as idle:
            assert receive_all(idle) == b""
        numbers = balancer.metrics()
        assert numbers["idle_timeouts_total"] == 1 and numbers["resets_total"] == 0


def test_what_came_during_a_pause_counts_before_the_time_that_passed():
    """The process stands still for longer than the idle timeout, as on a machine that is suspended."""
    with Backend(echo) as backend, Balancer(backend.option, "--check-interval=1s", "--idle-timeout=2s") as balancer:
        with balancer.connect() as client, balancer.connect() as other:
            for one in (client, other):
                one.sendall(b"1")
                assert receive_exactly(one, 1) == b"1"
            balancer.process.send_signal(signal.SIGSTOP)
            with open(f"/proc/{balancer.process.pid}/stat", encoding="ascii") as file:
                eventually(lambda: file.seek(0) == 0 and file.read().rsplit(")", 1)[1].split()[0] == "T")
            client.sendall(b"2")
            time.sleep(2.5)
            balancer.process.send_signal(signal.SIGCONT)
            assert receive_exactly(client, 1) == b"2"
            assert receive_all(other) == b""


# ---- the PROXY protocol ----


def header_first(connection):
    """Echoes all that it gets."""
    connection.sendall(receive_all(connection))


def v2(source, destination, ports, family=socket.AF_INET, more=b""):
    body = socket.inet_pton(family, source) + socket.inet_pton(family, destination) + struct.pack("!HH", *ports) + more
    kind = 0x11 if family == socket.AF_INET else 0x21
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x21, kind]) + struct.pack("!H", len(body)) + body


def through(balancer, *parts):
    """What comes back when these parts are sent, one after the other, and then the end."""
    with balancer.connect() as client:
        local = client.getsockname()
        for part in parts:
            client.sendall(part)
            if len(parts) > 1:
                time.sleep(0.02)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)  # it may be reset already, which the next line tells
        return receive_all(client), local


def test_backends_are_told_who_the_client_is():
    with Backend(header_first) as backend:
        with Balancer(backend.option, NO_CHECKS, "--send-proxy=v1") as balancer:
            got, (host, port) = through(balancer, b"hello")
            assert got == f"PROXY TCP4 {host} 127.0.0.1 {port} {balancer.port}\r\nhello".encode()
            got, _ = through(balancer)
            assert got.startswith(b"PROXY TCP4 ") and got.endswith(b"\r\n")
        with Balancer(backend.option, NO_CHECKS, "--send-proxy=v2") as balancer:
            got, (host, port) = through(balancer, b"hello")
            assert got == v2(host, "127.0.0.1", (port, balancer.port)) + b"hello"


def test_a_listener_of_both_families_tells_addresses_as_they_are():
    with Backend(header_first) as backend:
        with Balancer(backend.option, NO_CHECKS, "--send-proxy=v1", "--listen", "[::]:0") as balancer:
            got, (host, port) = through(balancer)
            assert got == f"PROXY TCP4 {host} 127.0.0.1 {port} {balancer.port}\r\n".encode()


def test_clients_may_begin_with_a_header():
    with Backend(header_first) as backend:
        with Balancer(backend.option, NO_CHECKS, "--accept-proxy", "--send-proxy=v1") as balancer:
            v1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 2000\r\n"
            v1_six = b"PROXY TCP6 2001:db8::1 2001:db8::2 1000 2000\r\n"
            four = v2("192.0.2.1", "192.0.2.2", (1000, 2000))
            six = v2("2001:db8::1", "2001:db8::2", (1000, 2000), socket.AF_INET6, b"\3\0\4abcd")
            assert through(balancer, v1 + b"x")[0] == v1 + b"x"
            assert through(balancer, four + b"x")[0] == v1 + b"x"
            assert through(balancer, six)[0] == v1_six
            assert through(balancer, *(bytes([byte]) for byte in v1), b"x")[0] == v1 + b"x"
            local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
            for nobody in (b"PROXY UNKNOWN whatever\r\n", local):
                got, (host, port) = through(balancer, nobody + b"x")
                assert got == f"PROXY TCP4 {host} 127.0.0.1 {port} {balancer.port}\r\nx".encode()
            for bad in (b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 1 2 3 4\r\n", b"PROXY " + b"x" * 200, four[:-3], b""):
                with pytest.raises(ConnectionResetError):
                    through(balancer, bad)
            assert balancer.metrics()["bad_headers_total"] == 5
        with Balancer(backend.option, NO_CHECKS, "--accept-proxy", "--connect-timeout=300ms") as balancer:
            with balancer.connect() as late, pytest.raises(ConnectionResetError):
                late.sendall(b"PROXY ")
                late.recv(1)
            assert balancer.metrics()["bad_headers_total"] == 1


# ---- life ----


def test_open_connections_may_end_after_a_stop():
    with Backend(echo) as backend, Balancer(backend.option, NO_CHECKS) as balancer:
        with balancer.connect() as client:
            client.sendall(b"1")
            assert receive_exactly(client, 1) == b"1"
            balancer.process.send_signal(signal.SIGTERM)

            def refused():
                try:
                    balancer.connect().close()
                except ConnectionRefusedError:
                    return True
                except ConnectionResetError:
                    pass  # it came while the listener was being closed
                return False

            eventually(refused)
            client.sendall(b"2")
            assert receive_exactly(client, 1) == b"2"
        assert balancer.process.wait(60) == 0
    with Backend(echo) as backend, Balancer(backend.option, NO_CHECKS, "--drain=100ms") as balancer:
        with balancer.connect() as client:
            client.sendall(b"1")
            assert receive_exactly(client, 1) == b"1"
            balancer.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        assert balancer.process.wait(60) == 0


def test_table_of_backends():
    with Backend(echo) as backend, Balancer(backend.option + ",weight=7", NO_CHECKS) as balancer:
        with balancer.connect() as client:
            client.sendall(b"1")
            assert receive_exactly(client, 1) == b"1"
            balancer.process.send_signal(signal.SIGUSR1)
            titles = balancer.process.stdout.readline()
            row = balancer.process.stdout.readline()
            assert titles.split() == "BACKEND STATE WEIGHT OPEN PICKED ERRORS FAILED CHECKS EJECTIONS".split()
            assert row.split() == [backend.address, "up", "7", "1", "1", "0", "0", "0"]


LISTEN = "--listen=127.0.0.1:0"
BACKEND = "--backend=127.0.0.1:1"


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        ([BACKEND], 64, "--listen HOST:PORT"),
        ([LISTEN], 64, "at least one --backend"),
        (["--listen=127.0.0.1", BACKEND], 64, "not HOST:PORT"),
        ([LISTEN, "--backend=127.0.0.1"], 64, "not HOST:PORT[,weight=N]"),
        ([LISTEN, "--backend=127.0.0.1:0"], 64, "not HOST:PORT[,weight=N]"),
        ([LISTEN, "--backend=127.0.0.1:1,weight=0"], 64, "weight=1 to weight=65535"),
        ([LISTEN, "--backend=127.0.0.1:1,weight=65536"], 64, "weight=1 to weight=65535"),
        ([LISTEN, "--backend=127.0.0.1:1,speed=3"], 64, "weight=1 to weight=65535"),
        ([LISTEN, "--backend=127.0.0.1:1,"], 64, "weight=1 to weight=65535"),
        ([LISTEN, "--backend=127.0.0.1:1,zone=" + "z" * 64], 64, "at most 63 bytes"),
        ([LISTEN, "--backend=nowhere.invalid:1"], 68, "no address is known"),
        (["--listen=nowhere.invalid:1", BACKEND], 68, "no address is known"),
        (["--listen=192.0.2.1:0", BACKEND], 68, "no address of this machine"),
        ([LISTEN, BACKEND, BACKEND], 64, "the same id"),
        ([LISTEN, *[f"--backend=127.0.0.1:{i}" for i in range(1, 258)]], 64, "more than 256 times"),
        ([LISTEN, BACKEND, "--policy=rign"], 64, "did you mean 'ring'?"),
        ([LISTEN, BACKEND, "--send-proxy=v3"], 64, "not none, v1 or v2"),
        ([LISTEN, BACKEND, "--check=http:up"], 64, "not tcp, resp or http:/PATH"),
        ([LISTEN, BACKEND, "--workers=65"], 64, "between 1 and 64"),
        ([LISTEN, BACKEND, "--retries=9"], 64, "between 0 and 8"),
        ([LISTEN, BACKEND, "--max-connections=1000001"], 64, "between 1 and 1000000"),
        ([LISTEN, BACKEND, "--zone=" + "z" * 64], 64, "zone's name is longer"),
        ([LISTEN, BACKEND, "--metrics=nonsense"], 64, "not a numeric HOST:PORT"),
        ([LISTEN, BACKEND, "extra"], 64, "unexpected argument"),
    ],
)
def test_bad_options(arguments, status, words):
    done = subprocess.run([COHORT, "balance", *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr


def test_a_port_in_use_and_too_few_descriptors():
    port = free_port()
    with Backend(echo) as backend, Balancer(backend.option, NO_CHECKS, "--listen", f"127.0.0.1:{port}"):
        command = [COHORT, "balance", backend.option, f"--listen=127.0.0.1:{port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 69 and "is in use" in done.stderr
    command = ["bash", "-c", f"ulimit -n 1024; exec {COHORT} balance {LISTEN} {BACKEND} --max-connections=500 --workers=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 71 and "500 connections and 1 workers need 1320" in done.stderr
