"""Starts the servers that the tests talk to: cohort, and Debian's redis-server beside it for comparison.

Each runs on a free port of 127.0.0.1 with its files in a folder of its own, and is stopped by its own process id."""

import collections
import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import resp

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("COHORT_BUILD", ROOT / "build"))
COHORT = pathlib.Path(os.environ.get("COHORT_BINARY", BUILD / "src" / "cli" / "cohort"))

# So many workers in every node of every test that says nothing else; "": as cohort does by itself.
WORKERS = os.environ.get("COHORT_WORKERS", "")

# Under the thread sanitizer a megabyte that goes from node to node takes half a second of processor time, so that values of
# some megabytes are no test of what they are meant for; there they are so many times smaller.
SMALLER = int(os.environ.get("COHORT_SMALLER", "1"))

START_SECONDS = 60  # a sanitizer build on a busy machine is slow
STOP_SECONDS = 60

# Not given again so soon: the nodes of a cluster are told theirs before the first of them listens, and a node that was
# stopped wants its own again.
RECENT_PORTS = collections.deque(maxlen=100)

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def workers(arguments):
    """The option, unless the arguments have it."""
    return ["--workers", WORKERS] if WORKERS and "--workers" not in arguments else []


def large(size):
    """How many bytes a large value has, where its exact size does not matter."""
    return size // SMALLER


def end_with_parent():
    """In a new child: when the test runner dies, however it dies, its servers do too. And it hears the signals that the
    runner does not when it was begun behind a script's & or by nohup(1): a child inherits what is ignored."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def is_sanitized(path):
    """The program or library was built with AddressSanitizer."""
    return b"libasan" in path.read_bytes()


def sanitizer():
    """Its library."""
    return subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip()


def forget_sanitizer():
    """This process was begun with the sanitizer's library before all others, and is to look for no leaks: Python has some. What
    it starts is not."""
    libraries = [each for each in os.environ.get("LD_PRELOAD", "").split(":") if each and "libasan" not in each]
    if "libasan" in os.environ.pop("LD_PRELOAD", ""):
        os.environ.pop("ASAN_OPTIONS", None)
    if libraries:
        os.environ["LD_PRELOAD"] = ":".join(libraries)


def free_port(*offsets):
    """A port that was free a moment ago, and so were those at `offsets` (up to 10000) from it. All are below the range
    that the kernel gives to outgoing connections."""
    beside = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = 10240 + int.from_bytes(os.urandom(2), "big") % 9900  # so that no port is another one plus 10000
        port -= port % beside - worker  # tests that run beside each other have ports of their own, also for what starts later
        if port in RECENT_PORTS:
            continue
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for offset in (0, *offsets):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port + offset))
            RECENT_PORTS.append(port)
            return port


def redis_server_program(folder):
    """Debian ships the server inside redis-tools as redis-check-rdb: it is a server when called by that name."""
    program = shutil.which("redis-server")
    if program:
        return program
    link = folder / "redis-server"
    if not link.exists():
        link.symlink_to(shutil.which("redis-check-rdb") or "/usr/bin/redis-check-rdb")
    return str(link)


class Server:
    """A running server: `port`, `folder` (its files), `pid`. `kind` is "cohort" or "redis". `network` (networks.py) is
    where it runs, when that is not this machine's own."""

    host = "127.0.0.1"
    network = None

    def __init__(self, kind, folder, arguments, port=None):
        self.kind = kind
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.arguments = list(arguments)
        self.port = port or free_port()
        self.log_path = self.folder / "log.txt"
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    @property
    def data(self):
        return self.folder / "data"

    def command_line(self):
        if self.kind == "cohort":
            return [str(COHORT), "serve", "--id", "1", "--data", str(self.data),
                    "--listen", f"{self.host}:{self.port}", *workers(self.arguments), *self.arguments]  # fmt: skip
        self.data.mkdir(exist_ok=True)
        return [redis_server_program(self.folder), "--port", str(self.port), "--bind", "127.0.0.1",
                "--dir", str(self.data), "--save", "", "--appendonly", "no", *self.arguments]  # fmt: skip

    def start(self):
        """Starts it and waits until it answers PING. Raises with the server's own words when it does not."""
        self.launch()
        return self.wait(self.answers, "did not answer")

    def launch(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command_line(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                preexec_fn=self.in_child,
            )

    def in_child(self):
        end_with_parent()
        if self.network is not None:
            self.network.enter()

    def wait(self, condition, otherwise):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.kind} ended with {self.process.returncode}:\n{self.log()}")
            if condition():
                return self
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"{self.kind} {otherwise} in {START_SECONDS} s:\n{self.log()}")

    def connect(self, timeout=30, protocol=2):
        """A client of it, which is in its network."""
        return resp.Connection(self.port, timeout, protocol, self.host, self.network)

    def answers(self):
        try:
            with resp.connect(self.port, 5, self.host, self.network) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def stop(self):
        """A clean end by SIGTERM; returns the exit status (None when it was not running)."""
        return self.end(signal.SIGTERM)

    def kill(self):
        """kill -9: what a crash of the process looks like."""
        return self.end(signal.SIGKILL)

    def end(self, with_signal):
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        return self.ended()

    def ended(self):
        """Waits for the end of a process that was told to; its exit status."""
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"{self.kind} did not stop in {STOP_SECONDS} s:\n{self.log()}") from None
        self.process = None
        return status

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def log(self, last=60):
        try:
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-last:])
        except OSError:
            return "(no log)"
