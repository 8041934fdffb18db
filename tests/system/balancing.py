"""A `cohort balance` on a free port, and backends of all kinds to put behind it."""

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.request

from servers import COHORT, START_SECONDS, STOP_SECONDS, end_with_parent, free_port, workers

PATIENCE = 60  # until something that must happen is given up


def eventually(what, seconds=PATIENCE):
    """What `what` returns, as soon as it is true."""
    end = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)


class Balancer:
    def __init__(self, *arguments, nofile=None):
        self.metrics_port = free_port()
        self.arguments = [str(COHORT), "balance", "--metrics", f"127.0.0.1:{self.metrics_port}", *workers(arguments)]
        if "--listen" not in arguments:
            self.arguments += ["--listen", "127.0.0.1:0"]
        self.arguments += [str(argument) for argument in arguments]
        self.process = subprocess.Popen(
            self.arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=end_with_parent
        )
        line = self.process.stderr.readline()
        found = re.match(r"cohort balance: port (\d+), ", line)
        if not found:
            self.stop()
            raise AssertionError(line + self.errors)
        self.port = int(found[1])

    def __enter__(self):
        return self

    def __exit__(self, problem, *_):
        self.stop(signal.SIGKILL if problem else signal.SIGTERM)

    def stop(self, number=signal.SIGTERM):
        """Its exit status; twice the signal, so that it does not wait for open connections."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.3)
            if self.process.poll() is None:
                self.process.send_signal(number)
        out, self.errors = self.process.communicate(timeout=STOP_SECONDS)
        assert "Sanitizer" not in self.errors and "runtime error" not in self.errors, self.errors
        return self.process.returncode

    def connect(self, timeout=PATIENCE, source=None):
        return socket.create_connection(
            ("127.0.0.1", self.port), timeout=timeout, source_address=source and (source, 0)
        )

    def metrics(self):
        """Numbers by name, or by name and backend."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=START_SECONDS) as answer:
            text = answer.read().decode()
        numbers = {}
        for name, backend, value in re.findall(
            r'^cohort_balance_(\w+)(?:\{backend="([^"]*)"\})? (\d+)$', text, re.MULTILINE
        ):
            numbers[(name, backend) if backend else name] = int(value)
        return numbers

    def is_sanitized(self):
        """Its memory says nothing then."""
        with open(f"/proc/{self.process.pid}/maps", encoding="ascii") as file:
            return bool(re.search("lib[at]san", file.read()))

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def reset(connection):
    """Closes it with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def receive_all(connection):
    parts = []
    while part := connection.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def receive_exactly(connection, size):
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        assert part, f"ended after {len(data)} of {size} bytes"
        data += part
    return data


class Backend:
    """Each connection is given to `serve(connection)` in a thread of its own."""

    def __init__(self, serve, port=0, backlog=1024):
        self.serve = serve
        self.listener = socket.create_server(("127.0.0.1", port), backlog=backlog)
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.option = f"--backend={self.address}"
        self.open = []
        self.accepted = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.accepted += 1
                self.open.append(connection)
                threading.Thread(target=self.run, args=(connection,), daemon=True).start()

    def run(self, connection):
        with contextlib.suppress(OSError), connection:
            self.serve(connection)

    def stop(self):
        """Nothing is accepted any more, and what is open is reset."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.shutdown(socket.SHUT_RD)
                connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def echo(connection):
    while data := connection.recv(1 << 16):
        connection.sendall(data)


def named(name):
    """Says its name, then echoes."""

    def serve(connection):
        connection.sendall(name.encode())
        echo(connection)

    return serve
