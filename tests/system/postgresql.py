"""PostgreSQL's server from Debian's package postgresql-15, on a free port, with a database `locks` and a superuser `cohort`.

    with Postgres(folder) as server:
        server.url("locks")           # what libcohort takes
        server.sql("SELECT 1")        # psql's output, as text

It runs as somebody who is not root, since it refuses to run as root; its folder is in /tmp, which everybody may enter."""

import atexit
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import servers

PASSWORD = "s3cret"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # a sanitizer is this program's


def programs():
    """The folder of initdb and postgres, which Debian keeps out of PATH."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "no initdb: ./dev test installs postgresql-15"
    return found[-1].parent


def is_running(pid):
    """And no zombie."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Postgres:
    host = "127.0.0.1"

    def __init__(self, options=(), port=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cohort-postgresql-"))
        self.data, self.log_path = self.folder / "data", self.folder / "log.txt"
        self.port, self.options, self.process = port or servers.free_port(), list(options), None
        self.user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--pdeathsig", "SIGKILL"] if os.getuid() == 0 else []
        if self.user:
            shutil.chown(self.folder, "nobody", "nogroup")

    def __enter__(self):
        self.initdb()
        self.start()
        self.sql("CREATE DATABASE locks", "postgres")
        return self

    def __exit__(self, *_):
        self.close()

    made = None  # by the first initdb of this process: the others are copies

    def initdb(self):
        if Postgres.made is None:
            Postgres.made = tempfile.mkdtemp(prefix="cohort-postgresql-")
            atexit.register(shutil.rmtree, Postgres.made, ignore_errors=True)
            self.run("initdb", "-D", self.data, "-A", "trust", "-N", "-U", "cohort", "-E", "UTF8", "--locale=C")
            subprocess.run(["cp", "-a", self.data, Postgres.made], check=True)
        else:
            subprocess.run(["cp", "-a", Postgres.made + "/data", self.data], check=True)

    def run(self, program, *words, check=True):
        return subprocess.run([*self.user, programs() / program, *words], cwd=self.folder, check=check, capture_output=True,
                              text=True, env=ENVIRONMENT)  # fmt: skip

    def start(self):
        words = [*self.user, programs() / "postgres", "-D", self.data, "-p", str(self.port), "-k", self.folder,
                 "-c", f"listen_addresses={self.host}", "-c", "shared_buffers=16MB", "-c", "max_wal_size=64MB"]  # fmt: skip
        for option in self.options:
            words += ["-c", option]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                            cwd=self.folder, env=ENVIRONMENT, preexec_fn=servers.end_with_parent)  # fmt: skip
        servers.Server.wait(self, self.answers, "did not answer")
        return self

    kind = "postgres"

    def answers(self):
        return self.psql("SELECT 1", "postgres").returncode == 0

    def log(self):
        return self.log_path.read_text(errors="replace")[-4000:]

    # ---- its end ----

    def kill(self):
        """kill -9 of the server, which its other processes see, and end. Stopped before, it makes no new one of them; the next
        server starts when none is left."""
        if self.process is not None:
            self.send(self.process.pid, signal.SIGSTOP)
            others = self.children()
            for pid in [self.process.pid, *others]:
                self.send(pid, signal.SIGKILL)
            self.process.wait()
            deadline = time.monotonic() + servers.STOP_SECONDS
            while any(map(is_running, others)):
                assert time.monotonic() < deadline, others
                time.sleep(0.01)
        self.process = None

    def stop(self, how=signal.SIGINT):
        """SIGINT ends all transactions and connections."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(servers.STOP_SECONDS)
        self.process = None

    def close(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def children(self):
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True,
                               text=True, env=ENVIRONMENT)  # fmt: skip
        return [int(word) for word in found.stdout.split()]

    def send(self, pid, which):
        try:
            os.kill(pid, which)
        except ProcessLookupError:
            pass

    def freeze(self, which=signal.SIGSTOP):
        """All of its processes, or SIGCONT."""
        for pid in [self.process.pid, *self.children()]:
            self.send(pid, which)

    def prepared(self):
        """The names of Cohort's branches, as text."""
        return self.sql("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'cohort:%'")

    # ---- asking it ----

    def url(self, database="locks", port=None, user="cohort", options=""):
        return f"postgresql://{user}@{self.host}:{port or self.port}/{database}{options}"

    def psql(self, text, database="locks", user="cohort"):
        words = [programs() / "psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", self.host, "-p", str(self.port),
                 "-U", user, "-d", database, "-c", text]  # fmt: skip
        environment = {**ENVIRONMENT, "PGPASSWORD": PASSWORD, "PGCONNECT_TIMEOUT": "10"}
        return subprocess.run(words, capture_output=True, text=True, env=environment)

    def sql(self, text, database="locks", user="cohort"):
        done = self.psql(text, database, user)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
