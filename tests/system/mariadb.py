"""MariaDB's server from Debian's package mariadb-server-core, on a free port, with a database `bank` and users `cohort` (all
rights) and `teller` (rights on the database alone).

    with MariaDB() as server:
        server.url()               # what cohort takes
        server.sql("SELECT 1")     # as text, tabs between fields

It runs as somebody who is not root; its folder is in /tmp, which everybody may enter. As postgresql.Postgres otherwise."""

import atexit
import pathlib
import shutil
import signal
import subprocess
import tempfile

import postgresql
import servers

# Small, and without io_uring, whose memory all servers of a user share. Each has a tmpdir of its own: one that starts removes
# the temporary tables of all in it.
SETTINGS = ["--innodb-log-file-size=8M", "--innodb-use-native-aio=0", "--innodb-buffer-pool-size=16M"]


class MariaDB(postgresql.Postgres):
    kind = "mariadb"
    made = None  # by the first of this process: the others are copies

    def __init__(self, options=(), port=None):
        super().__init__(options, port)
        self.socket = self.folder / "socket"

    def __enter__(self):
        self.initdb()
        self.start()
        return self

    def initdb(self):
        if MariaDB.made is None:
            MariaDB.made = tempfile.mkdtemp(prefix="cohort-mariadb-")
            atexit.register(shutil.rmtree, MariaDB.made, ignore_errors=True)
            self.run("mariadb-install-db", "--no-defaults", f"--datadir={self.data}", "--auth-root-authentication-method=normal",
                     "--skip-test-db", "--skip-name-resolve", f"--tmpdir={self.folder}", *SETTINGS)  # fmt: skip
            self.options.append("skip-networking")
            self.start()
            self.options.pop()
            self.sql("CREATE DATABASE bank; CREATE USER cohort@'%' IDENTIFIED BY 's3cret'; GRANT ALL ON *.* TO cohort@'%';"
                     "CREATE USER teller@'%' IDENTIFIED BY 's3cret'; GRANT ALL ON bank.* TO teller@'%'", None)  # fmt: skip
            self.stop(signal.SIGTERM)
            subprocess.run(["cp", "-a", self.data, MariaDB.made], check=True)
        else:
            subprocess.run(["cp", "-a", MariaDB.made + "/data", self.data], check=True)

    def run(self, program, *words, check=True):
        done = subprocess.run([*self.user, program, *words], cwd=self.folder, capture_output=True, text=True, env=postgresql.ENVIRONMENT)
        logs = [path.read_text(errors="replace") for path in self.data.glob("*.err")] if self.data.is_dir() else []
        assert not check or done.returncode == 0, "\n".join([done.stdout, done.stderr, *logs])
        return done

    def start(self):
        words = [*self.user, shutil.which("mariadbd") or "/usr/sbin/mariadbd", "--no-defaults", f"--datadir={self.data}",
                 f"--port={self.port}", f"--bind-address={self.host}", f"--socket={self.socket}", "--skip-name-resolve",
                 "--skip-log-bin", f"--tmpdir={self.folder}", *SETTINGS,
                 *(f"--{option}" for option in self.options)]  # fmt: skip
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder,
                                            env=postgresql.ENVIRONMENT, preexec_fn=servers.end_with_parent)  # fmt: skip
        servers.Server.wait(self, self.answers, "did not answer")
        return self

    def answers(self):
        return pathlib.Path(self.socket).exists() and self.client("SELECT 1", None).returncode == 0

    def client(self, text, database="bank"):
        words = ["mariadb", "--no-defaults", "-uroot", f"--socket={self.socket}", "-N", "-B", "-e", text, *([database] if database else [])]
        return subprocess.run(words, capture_output=True, text=True, env=postgresql.ENVIRONMENT)

    def sql(self, text, database="bank"):
        done = self.client(text, database)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def url(self, database="bank", port=None, user="cohort", options=""):
        return f"mariadb://{user}:s3cret@{self.host}:{port or self.port}/{database}{options}"

    def prepared(self):
        return self.sql("XA RECOVER")
